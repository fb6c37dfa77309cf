//! The front of a dump as its catalog tells it: maps and names as they were, of attributes what a catalog has. Each directory
//! goes where it was on the tape, so that what is not lost stays as it is.

use super::front::{Front, Segment};
use crate::checksum::HostCrc32c;
use crate::state::catalogs::{self, HostCatalog};
use crate::state::file_device::FileError;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::io;
use tapedump_core::catalog::{CatalogError, ObjectRow, WhichMap};
use tapedump_core::checksum::Crc32c;
use tapedump_core::device::volume::{Attributes, Kind};
use tapedump_core::limits::{NAME_LEN_MAX, SEGMENT_BLOCKS_MAX};
use tapedump_core::record::dialect::Dialect;
use tapedump_core::record::dirent::{CHUNK_LEN, ChunkWriter, Dirent, Dirents};
use tapedump_core::record::extension::{Extension, extension_flags};
use tapedump_core::record::header::{Header, HeaderKind, HeaderRepr, HeaderTemplate, TapeBlock, flags};
use tapedump_core::record::holes::Holes;
use tapedump_core::record::payload::{PayloadParser, PayloadPart};
use tapedump_core::units::{BlockAddr, Ino, TAPE_BLOCK_LEN, TapeNo};

/// Why the catalog does not tell.
pub struct NotTold(String);

impl Display for NotTold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<CatalogError<FileError>> for NotTold {
    fn from(error: CatalogError<FileError>) -> Self {
        Self(catalogs::text(&error))
    }
}

impl From<io::Error> for NotTold {
    fn from(error: io::Error) -> Self {
        Self(format!("the scratch file failed: {error}"))
    }
}

/// Makes what a front lacks.
struct Maker<'a, 'm> {
    front: &'a mut Front,
    catalog: &'a mut HostCatalog<'m>,
    template: HeaderTemplate,
    region: u64,
}

/// Puts what `front` lacks there, as the catalog tells it.
pub fn fill(front: &mut Front, catalog: &mut HostCatalog<'_>) -> Result<(), NotTold> {
    let identity = catalog.identity();
    let template = HeaderTemplate::new(&identity.names, &identity.label);
    let region = front.begin_copy();
    let mut cursor = catalog.first_on_tape()?;
    let mut maker = Maker { front, catalog, template, region };
    let mut before: Option<(ObjectRow, BlockAddr)> = None;
    while let Some(row) = maker.catalog.next_on_tape(&mut cursor)? {
        let Some(block) = row.place else { break };
        let place = maker.catalog.place(block)?;
        if place.tape != TapeNo::FIRST {
            break;
        }
        match before {
            Some((directory, at)) => maker.directory(&directory, at, place.block)?,
            None => maker.bookkeeping(place.block)?,
        }
        if !row.is_directory {
            maker.front.ends_at(place.block);
            break;
        }
        before = Some((row, place.block));
    }
    Ok(())
}

impl Maker<'_, '_> {
    fn header(&self, kind: HeaderKind, at: BlockAddr) -> HeaderRepr {
        let identity = self.catalog.identity();
        let time = |secs: i64| u32::try_from(secs).unwrap_or_default();
        HeaderRepr {
            kind,
            date: time(identity.date),
            base_date: time(identity.base_date),
            tape: TapeNo::FIRST,
            addr: at,
            ino: 0,
            mode: 0,
            attributes: None,
            count: 0,
            level: identity.level.number(),
            flags: match kind {
                HeaderKind::Tape => flags::NEW_HEADER | flags::NEW_INODE_FORMAT,
                HeaderKind::InUseMap | HeaderKind::OnTapeMap => flags::NEW_INODE_FORMAT,
                _ => 0,
            },
            first_block: 0,
            blocking: 0,
            linux_extended: 0,
            extension: Some(Extension::new(identity.dump)),
        }
    }

    /// Puts a header, with what the one that was there said of the blocks before it.
    fn put_header(&self, mut repr: HeaderRepr, holes: &Holes) -> io::Result<()> {
        if let (Some(extension), Some(told)) = (&mut repr.extension, self.front.told_at(repr.addr)) {
            (extension.preceding_crc, extension.flags) = told;
        }
        let mut block: TapeBlock = [0; TAPE_BLOCK_LEN];
        self.template.emit::<HostCrc32c>(&repr, holes, &mut block);
        self.front.write(self.region, repr.addr, &block)
    }

    /// The tape header and the maps, which end before the first directory.
    fn bookkeeping(&mut self, end: BlockAddr) -> Result<(), NotTold> {
        if !self.front.is_there(BlockAddr(0)) {
            self.put_header(self.header(HeaderKind::Tape, BlockAddr(0)), &Holes::NONE)?;
            self.end(BlockAddr(0), 1, 0, 0)?;
        }
        // Two of the same length, each behind its header.
        let Some(count) = end.0.checked_sub(3).filter(|both| both % 2 == 0).map(|both| both / 2) else {
            return Ok(());
        };
        let second = BlockAddr(2 + count);
        self.map(HeaderKind::InUseMap, WhichMap::InUse, BlockAddr(1), count)?;
        self.map(HeaderKind::OnTapeMap, WhichMap::OnTape, second, count)
    }

    fn map(&mut self, kind: HeaderKind, which: WhichMap, at: BlockAddr, count: u64) -> Result<(), NotTold> {
        if self.front.is_there(at) {
            return Ok(());
        }
        let mut header = self.header(kind, at);
        header.count = u32::try_from(count).unwrap_or_default();
        self.put_header(header, &Holes::NONE)?;
        let mut next = self.catalog.next_in_map(which, Ino(1))?;
        let mut crc = 0;
        for number in 0..count {
            let mut block: TapeBlock = [0; TAPE_BLOCK_LEN];
            while let Some(ino) = next {
                let bit = u64::from(ino.0) - 1;
                let Some(byte) = (bit / 8).checked_sub(number * TAPE_BLOCK_LEN as u64) else { break };
                let Some(byte) = block.get_mut(usize::try_from(byte).unwrap_or(usize::MAX)) else { break };
                *byte |= 1 << (bit % 8);
                next = self.catalog.next_in_map(which, ino.next())?;
            }
            crc = HostCrc32c::update(crc, &block);
            self.front.write(self.region, at.plus(1 + number), &block)?;
        }
        self.end(at, 1 + count, crc, 0)?;
        Ok(())
    }

    /// A directory, which lay from block `at` on up to `end`.
    fn directory(&mut self, row: &ObjectRow, at: BlockAddr, end: BlockAddr) -> Result<(), NotTold> {
        if self.front.has(at, end) {
            return Ok(());
        }
        if let Some((segment, blocks)) = self.front.unsure(at, end)?
            && self.is_as_told(row, &blocks)?
        {
            // With the properties, which no catalog has.
            self.front.take(segment);
            return Ok(());
        }
        let Some(mut data) = self.names(row)? else { return Ok(()) };
        // Parts of it that are there may have other names in them than these have.
        self.front.clear(at, end);
        // Behind the names were its properties: these no catalog has.
        let mut left = end.0.saturating_sub(at.0);
        let named = data.len().div_ceil(TAPE_BLOCK_LEN) as u64;
        let headers = left.div_ceil(1 + SEGMENT_BLOCKS_MAX as u64);
        let lacks_properties = left > named + headers;
        data.resize(usize::try_from(left).unwrap_or_default().max(1) * TAPE_BLOCK_LEN, 0);
        let mut rest = data.as_slice();
        let (mut at, mut told, mut offset, mut number) = (at, None, 0, 0);
        while left > 1 {
            let mut count = (left - 1).min(SEGMENT_BLOCKS_MAX as u64);
            if left - 1 - count == 1 {
                // A header alone would be none of a segment.
                count -= 1;
            }
            let kind = if number == 0 { HeaderKind::Inode } else { HeaderKind::Continuation };
            let mut header = self.header(kind, at);
            header.ino = row.ino.0;
            header.attributes = Some(attributes_of(row));
            header.count = u32::try_from(count).unwrap_or_default();
            if let Some(extension) = &mut header.extension {
                (extension.offset, extension.segment) = (offset, number);
            }
            self.put_header(header, &Holes::all_data(count as usize))?;
            if let Some((from, blocks, crc)) = told {
                self.end(from, blocks, crc, 0)?;
            }
            let (blocks, behind) =
                rest.split_at_checked(count as usize * TAPE_BLOCK_LEN).unwrap_or((rest, &[]));
            self.front.write(self.region, at.plus(1), blocks)?;
            rest = behind;
            told = Some((at, 1 + count, HostCrc32c::update(0, blocks)));
            at = at.plus(1 + count);
            offset += count * TAPE_BLOCK_LEN as u64;
            number += 1;
            left -= 1 + count;
        }
        if let Some((from, blocks, crc)) = told {
            let flags = if lacks_properties { extension_flags::PROPERTIES_UNREAD } else { 0 };
            self.end(from, blocks, crc, flags)?;
        }
        Ok(())
    }

    /// The blocks of a directory, its header first, have the names that the catalog has, and properties as they were written.
    fn is_as_told(&mut self, row: &ObjectRow, blocks: &[u8]) -> Result<bool, NotTold> {
        let Some((head, body)) = blocks.split_first_chunk::<TAPE_BLOCK_LEN>() else { return Ok(false) };
        let Ok(header) = Header::new(head).parse::<HostCrc32c>(Dialect::OURS) else { return Ok(false) };
        let payload_len =
            header.extension.map_or(0, |told| usize::from(told.trailing_blocks)) * TAPE_BLOCK_LEN;
        let parts = body.len().checked_sub(payload_len).map(|at| body.split_at(at));
        let Some((names, mut payload)) = parts.filter(|_| header.ino == row.ino.0) else { return Ok(false) };
        let mut found = BTreeSet::new();
        for entry in Dirents::new(names, Dialect::OURS) {
            match entry {
                Ok(Dirent { name: b"." | b"..", .. }) => {}
                Ok(entry) => drop(found.insert((entry.ino, entry.name.to_vec()))),
                Err(_) => return Ok(false),
            }
        }
        let mut told = BTreeSet::new();
        let mut cursor = self.catalog.names_from(row.ino, b"")?;
        while let Some(name) = self.catalog.next_name(&mut cursor)? {
            told.insert((name.ino.0, name.name.to_vec()));
        }
        let mut parser = PayloadParser::new();
        let mut is_read = payload_len == 0;
        while !is_read {
            is_read = match parser.next::<HostCrc32c>(&mut payload) {
                Some(PayloadPart::End(true)) => true,
                Some(PayloadPart::End(false) | PayloadPart::Damaged) | None => return Ok(false),
                Some(_) => false,
            };
        }
        Ok(found == told)
    }

    /// A segment is whole: the header behind it is made to say so.
    fn end(&mut self, at: BlockAddr, blocks: u64, crc: u32, flags: u16) -> io::Result<()> {
        self.front.put(Segment::new(at, blocks, self.region), crc, flags)
    }

    /// The names of a directory as they stand on tape, in as many chunks as it had. `None`: they do not fit into these.
    fn names(&mut self, row: &ObjectRow) -> Result<Option<Vec<u8>>, NotTold> {
        let mut by_len: Vec<Vec<(Ino, Vec<u8>)>> = vec![Vec::new(); NAME_LEN_MAX + 1];
        let mut cursor = self.catalog.names_from(row.ino, b"")?;
        while let Some(name) = self.catalog.next_name(&mut cursor)? {
            by_len[name.name.len().min(NAME_LEN_MAX)].push((name.ino, name.name.to_vec()));
        }
        let mut links = self.catalog.names_of(row.ino)?;
        let parent = self.catalog.next_name_of(&mut links)?.map_or(Ino::ROOT, |name| name.parent);
        let mut chunk = ChunkWriter::new();
        chunk.push(row.ino, b".");
        chunk.push(if row.ino == Ino::ROOT { Ino::ROOT } else { parent }, b"..");
        let mut data = Vec::new();
        for _ in 0..row.size / CHUNK_LEN as u64 {
            // The longest names first: what is left of a chunk is filled with shorter ones.
            for names in by_len.iter_mut().rev() {
                while names.last().is_some_and(|(ino, name)| chunk.push(*ino, name)) {
                    names.pop();
                }
            }
            data.extend_from_slice(&chunk.finish());
        }
        Ok(by_len.iter().all(Vec::is_empty).then_some(data))
    }
}

/// What a catalog has of a directory's attributes.
fn attributes_of(row: &ObjectRow) -> Attributes {
    let mut attributes = Attributes::new(Kind::Directory);
    attributes.permissions = row.permissions;
    attributes.links = row.links;
    attributes.uid = row.uid;
    attributes.gid = row.gid;
    attributes.size = row.size;
    attributes.accessed = row.modified;
    attributes.modified = row.modified;
    attributes.changed = row.changed;
    attributes.real_ino = row.real_ino.unwrap_or(row.ino.0.into());
    attributes
}
