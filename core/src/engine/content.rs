//! What an object of a dump consists of on tape, as bytes to be pulled: file data, directory entries, or the payload
//! with its properties. Each `fill` puts content at the front of a slice and gives its length.

use crate::checksum::Crc32c;
use crate::device::volume::{Entry, NameBuf, Property, PropertyKind, PropertyKinds, SourceVolume};
use crate::limits::{ACL_ENTRIES_MAX, NAME_LEN_MAX, PROPERTIES_MAX};
use crate::record::acl::AclCounter;
use crate::record::dirent::{CHUNK_LEN, ChunkWriter, DirectoryLen};
use crate::record::lun::{LUN_LEN, LunRepr};
use crate::record::map::DumpMap;
use crate::record::payload::{
    PAYLOAD_HEAD_LEN, PAYLOAD_TAIL_LEN, ROW_HEAD_LEN, Row, payload_head, row_head, row_len, row_value_len,
};
use crate::units::Ino;

/// The entries of a directory, as chunks of the format (`format.md` 6). Two passes: the length first, then the chunks.
pub struct DirectoryContent {
    ino: Ino,
    parent: Ino,
    chunk: ChunkWriter,
    /// `.` and `..` come first: how many of them are written.
    dots: u8,
    /// An entry whose name is in `name` and that did not fit into the last chunk.
    waiting: Option<Entry>,
    name: NameBuf,
    exhausted: bool,
}

/// What the first pass over a directory found.
#[derive(Clone, Copy)]
pub struct DirectorySurvey {
    pub len: DirectoryLen,
    /// The longest name.
    pub longest: usize,
    /// Names of objects that are not in the in-use map: made since the volume was mapped.
    pub strangers: bool,
}

impl DirectoryContent {
    pub const fn new(ino: Ino, parent: Ino) -> Self {
        Self {
            ino,
            parent,
            chunk: ChunkWriter::new(),
            dots: 0,
            waiting: None,
            name: [0; NAME_LEN_MAX],
            exhausted: false,
        }
    }

    /// The first pass; leaves the open directory at its beginning.
    pub fn survey<S: SourceVolume>(
        source: &mut S,
        in_use: &DumpMap<'_>,
    ) -> Result<DirectorySurvey, S::Error> {
        let mut survey = DirectorySurvey { len: DirectoryLen::default(), longest: 0, strangers: false };
        survey.len.add(1);
        survey.len.add(2);
        let mut name = [0; NAME_LEN_MAX];
        while let Some(entry) = source.next_entry(&mut name)? {
            if in_use.contains(entry.ino) {
                survey.len.add(entry.name_len);
                survey.longest = survey.longest.max(entry.name_len);
            } else {
                survey.strangers = true;
            }
        }
        source.rewind_entries()?;
        Ok(survey)
    }

    /// The next chunk; a free one when the directory has become shorter than surveyed. `note` is told the names in it.
    pub fn next_chunk<S: SourceVolume>(
        &mut self,
        source: &mut S,
        in_use: &DumpMap<'_>,
        mut note: impl FnMut(Ino, &[u8]),
    ) -> Result<[u8; CHUNK_LEN], S::Error> {
        while let Some(dot) = [(self.ino, &b"."[..]), (self.parent, b"..")].get(usize::from(self.dots)) {
            self.dots += 1;
            self.chunk.push(dot.0, dot.1);
        }
        loop {
            let entry = match self.waiting.take() {
                Some(entry) => entry,
                None if self.exhausted => break,
                None => match source.next_entry(&mut self.name) {
                    Ok(Some(entry)) => entry,
                    Ok(None) => {
                        self.exhausted = true;
                        break;
                    }
                    Err(error) => {
                        self.exhausted = true;
                        return Err(error);
                    }
                },
            };
            if !in_use.contains(entry.ino) {
                continue;
            }
            let name = self.name.get(..entry.name_len).unwrap_or_default();
            if !self.chunk.push(entry.ino, name) {
                self.waiting = Some(entry);
                break;
            }
            note(entry.ino, name);
        }
        Ok(self.chunk.finish())
    }

    /// Whether every entry went into a chunk.
    pub fn is_complete<S: SourceVolume>(&mut self, source: &mut S, in_use: &DumpMap<'_>) -> bool {
        if self.waiting.is_some() {
            return false;
        }
        while !self.exhausted {
            match source.next_entry(&mut self.name) {
                Ok(Some(entry)) if in_use.contains(entry.ino) => return false,
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => self.exhausted = true,
            }
        }
        true
    }
}

/// What a property says of a LUN. What is not understood is dumped as it is.
fn lun<S: SourceVolume>(source: &mut S, index: u32, property: &Property) -> Option<LunRepr> {
    let mut value = [0; LUN_LEN];
    let mut done = 0;
    while let Some(rest) = value.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match source.read_property(index, done as u32, rest) {
            Ok(len) if len > 0 => done += len.min(rest.len()),
            _ => return None,
        }
    }
    if property.value_len < LUN_LEN as u32 { None } else { LunRepr::of_value(&value).ok() }
}

/// Bytes of an ACL that are looked at together.
const ACL_PIECE_LEN: usize = 256;

/// Bytes before a row's value at most: head, name length, name; or head and owner.
const HELD_MAX: usize = ROW_HEAD_LEN + 2 + NAME_LEN_MAX;

enum Next {
    Head,
    Owner,
    Row(u32),
    Tail,
    End,
}

/// What the first pass over the properties of an object found.
#[derive(Clone, Copy)]
pub struct PayloadSurvey {
    /// Length of the rows, 0 without properties.
    pub rows_len: u64,
    /// All of them can be read.
    pub whole: bool,
    /// What does not get into the payload.
    pub left_out: PropertyKinds,
    /// The first ACL that is left out because it has too many entries, and how many.
    pub too_long: Option<(PropertyKind, u32)>,
    /// The attributes of a LUN, if they are understood.
    pub lun: Option<LunRepr>,
}

impl PayloadSurvey {
    /// Counts a property that gets into the payload.
    fn add(&mut self, property: &Property) {
        if !self.left_out.contains(property.kind) {
            self.rows_len = self.rows_len.saturating_add(row_len(property_row_len(property)));
        }
    }
}

/// The properties of the open object as a payload. Two passes: the length first, then the bytes.
pub struct PayloadContent {
    owner: Option<Ino>,
    left_out: PropertyKinds,
    rows_len: u32,
    /// Bytes of rows still to come. The second pass may find other properties than the first; the length stays.
    rows_left: u64,
    next: Next,
    held: [u8; HELD_MAX],
    held_at: usize,
    held_len: usize,
    /// The value being copied: property, offset, length.
    value: (u32, u32, u32),
    pad: usize,
    crc: u32,
    /// A value could not be read, or the properties changed since the survey: the CRC is spoiled, so that no reader takes it for good.
    spoiled: bool,
}

impl PayloadContent {
    /// A payload with rows of `rows_len` bytes and nothing of the kinds `left_out`; `owner` is named in it when it stands in stage V.
    pub const fn new(rows_len: u32, owner: Option<Ino>, left_out: PropertyKinds) -> Self {
        Self {
            owner,
            left_out,
            rows_len,
            rows_left: rows_len as u64,
            next: Next::Head,
            held: [0; HELD_MAX],
            held_at: 0,
            held_len: 0,
            value: (0, 0, 0),
            pad: 0,
            crc: 0,
            spoiled: false,
        }
    }

    /// What the open object has, but for the kinds `left_out`, and for ACLs that no dump takes (R-DATA-3).
    pub fn survey<S: SourceVolume>(source: &mut S, left_out: PropertyKinds) -> PayloadSurvey {
        let mut name = [0; NAME_LEN_MAX];
        let mut survey = PayloadSurvey { rows_len: 0, whole: true, left_out, too_long: None, lun: None };
        for index in 0..PROPERTIES_MAX {
            match source.property(index, &mut name) {
                Ok(Some(property)) if property.kind == PropertyKind::Lun => {
                    survey.lun = lun(source, index, &property);
                    survey.add(&property);
                }
                Ok(Some(property)) if left_out.contains(property.kind) => {}
                Ok(Some(property)) => match acl_entries(source, index, &property) {
                    Some(entries) if entries > ACL_ENTRIES_MAX => {
                        survey.left_out = survey.left_out.with(property.kind);
                        survey.too_long = survey.too_long.or(Some((property.kind, entries)));
                    }
                    _ => survey.add(&property),
                },
                Ok(None) => return survey,
                Err(_) => survey.whole = false,
            }
        }
        survey.whole = false;
        survey
    }

    /// Length of the row that names the owner.
    pub const OWNER_ROW_LEN: u32 = row_len(4) as u32;

    /// Length of the whole payload.
    pub const fn len(rows_len: u64) -> u64 {
        PAYLOAD_HEAD_LEN as u64 + rows_len + PAYLOAD_TAIL_LEN as u64
    }

    /// Whether some value could not be read.
    pub const fn is_spoiled(&self) -> bool {
        self.spoiled
    }

    /// Fills the front of `space`; 0 only when `space` is empty or the payload at its end.
    pub fn fill<S: SourceVolume, C: Crc32c>(&mut self, source: &mut S, space: &mut [u8]) -> usize {
        let mut done = 0;
        while let Some(rest) = space.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let len = self.fill_once::<S, C>(source, rest);
            if len == 0 && matches!(self.next, Next::End) && self.held_at == self.held_len {
                break;
            }
            done += len;
        }
        done
    }

    fn fill_once<S: SourceVolume, C: Crc32c>(&mut self, source: &mut S, space: &mut [u8]) -> usize {
        let (index, offset, end) = self.value;
        if let Some(held) = self.held.get(self.held_at..self.held_len).filter(|held| !held.is_empty()) {
            let len = held.len().min(space.len());
            for (to, from) in space.iter_mut().zip(held) {
                *to = *from;
            }
            self.held_at += len;
            return self.sum::<C>(space, len);
        }
        if offset < end {
            let most = space.len().min((end - offset) as usize);
            let Some(space) = space.get_mut(..most) else { return 0 };
            let len = match source.read_property(index, offset, space) {
                Ok(len) if len > 0 => len.min(most),
                _ => {
                    self.spoiled = true;
                    space.fill(0);
                    most
                }
            };
            self.value.1 += len as u32;
            return self.sum::<C>(space, len);
        }
        if self.pad > 0 {
            let len = self.pad.min(space.len());
            space.iter_mut().take(len).for_each(|byte| *byte = 0);
            self.pad -= len;
            return self.sum::<C>(space, len);
        }
        self.advance(source);
        0
    }

    fn sum<C: Crc32c>(&mut self, space: &[u8], len: usize) -> usize {
        self.crc = C::update(self.crc, space.get(..len).unwrap_or_default());
        len
    }

    fn advance<S: SourceVolume>(&mut self, source: &mut S) {
        match self.next {
            Next::Head => {
                self.hold(&[&payload_head(self.rows_len)]);
                self.next = if self.owner.is_some() { Next::Owner } else { Next::Row(0) };
            }
            Next::Owner => {
                let owner = self.owner.map_or(0, |ino| ino.0).to_be_bytes();
                self.hold(&[&row_head(Row::Owner, 4), &owner, &[0; 4]]);
                self.rows_left = self.rows_left.saturating_sub(row_len(4));
                self.next = Next::Row(0);
            }
            Next::Row(index) => {
                let mut name = [0; NAME_LEN_MAX];
                self.next = Next::Row(index + 1);
                match source.property(index, &mut name) {
                    Ok(Some(property)) if self.left_out.contains(property.kind) => {}
                    Ok(Some(property)) if index < PROPERTIES_MAX => self.row(index, &property, &name),
                    Err(_) if index < PROPERTIES_MAX => {}
                    _ => self.next = Next::Tail,
                }
            }
            Next::Tail if self.rows_left > 0 => {
                self.spoiled = true;
                self.pad = self.rows_left as usize;
                self.rows_left = 0;
            }
            Next::Tail => {
                let crc = if self.spoiled { !self.crc } else { self.crc };
                self.hold(&[&crc.to_be_bytes()]);
                self.next = Next::End;
            }
            Next::End => {}
        }
    }

    fn row(&mut self, index: u32, property: &Property, name: &NameBuf) {
        let value_len = property_row_len(property);
        let Some(left) = self.rows_left.checked_sub(row_len(value_len)) else {
            self.spoiled = true;
            return;
        };
        self.rows_left = left;
        let head = row_head(Row::Property(property.kind), value_len);
        if property.kind.is_named() {
            let name = name.get(..property.name_len).unwrap_or(name);
            self.hold(&[&head, &(name.len() as u16).to_be_bytes(), name]);
        } else {
            self.hold(&[&head]);
        }
        self.value = (index, 0, property.value_len);
        self.pad = (value_len.next_multiple_of(8) - value_len) as usize;
    }

    /// What `parts` hold comes next.
    fn hold(&mut self, parts: &[&[u8]]) {
        self.held_at = 0;
        self.held_len = 0;
        for part in parts {
            if let Some(to) = self.held.get_mut(self.held_len..self.held_len + part.len()) {
                to.copy_from_slice(part);
                self.held_len += part.len();
            }
        }
    }
}

fn property_row_len(property: &Property) -> u32 {
    row_value_len(property.kind, property.name_len.min(NAME_LEN_MAX), property.value_len)
}

/// How many entries an ACL has, where there may be too many for a dump. What cannot be read is found out when it is written.
fn acl_entries<S: SourceVolume>(source: &mut S, index: u32, property: &Property) -> Option<u32> {
    if AclCounter::entries_max(property.value_len) <= ACL_ENTRIES_MAX {
        return None;
    }
    let mut counter = AclCounter::new(property.kind, property.value_len)?;
    let mut piece = [0; ACL_PIECE_LEN];
    let mut at = 0;
    while at < property.value_len && counter.entries().is_none() {
        let len = source.read_property(index, at, &mut piece).ok().filter(|len| *len > 0)?;
        counter.take(piece.get(..len)?);
        at = at.checked_add(len as u32)?;
    }
    counter.entries()
}
