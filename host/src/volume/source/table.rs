//! The walk's result in order of dump numbers: one table for directories, one for everything else. A table is
//! written once in ascending order and then read in order, from any number on.

use std::io;
use std::path::Path;
use std::sync::Arc;

use tapedump_core::device::volume::Kind;
use tapedump_core::limits::NAME_LEN_MAX;
use tapedump_core::units::Ino;

use super::sort::Found;
use crate::volume::spool::Spool;

/// Length of a stored record without its name: dump number, real number, place, tag, length of the name.
const FIXED_LEN: usize = 4 + 8 + 8 + 1 + 1;
/// Records between two that can be found directly.
const LANDMARK_DISTANCE: u64 = 256;
/// Bytes read at once by a cursor.
const CURSOR_BUF_LEN: usize = 32 * 1024;

/// Kind of an object, and what the walk noticed about it, in one byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag(pub u8);

impl Tag {
    const KIND: u8 = 0x07;
    const COVERED: u8 = 0x08;
    const UNREAD: u8 = 0x10;
    const CHANGED: u8 = 0x20;

    /// The tag of an ordinary object.
    pub const fn new(kind: Kind) -> Self {
        Self(match kind {
            Kind::File => 0,
            Kind::Directory => 1,
            Kind::Symlink => 2,
            Kind::Fifo => 3,
            Kind::CharDevice => 4,
            Kind::BlockDevice => 5,
            Kind::Socket => 6,
        })
    }

    /// Of the link that stands for a directory on which another file system is mounted, or which is the root of another
    /// subvolume.
    pub const fn covered() -> Self {
        Self(Self::new(Kind::Symlink).0 | Self::COVERED)
    }

    /// Of a directory that the walk could not read (to its end); the record's name is the error number.
    pub const fn unread() -> Self {
        Self(Self::new(Kind::Directory).0 | Self::UNREAD)
    }

    /// The same, of an object that changed since the time that the walk was asked for.
    pub const fn changed_if(self, changed: bool) -> Self {
        if changed { Self(self.0 | Self::CHANGED) } else { self }
    }

    /// Whether the walk found that the object changed.
    pub const fn is_changed(self) -> bool {
        self.0 & Self::CHANGED != 0
    }

    /// The kind.
    pub const fn kind(self) -> Kind {
        match self.0 & Self::KIND {
            0 => Kind::File,
            1 => Kind::Directory,
            2 => Kind::Symlink,
            3 => Kind::Fifo,
            4 => Kind::CharDevice,
            5 => Kind::BlockDevice,
            _ => Kind::Socket,
        }
    }

    /// Whether it stands for a directory that the walk did not enter, since it belongs to another volume.
    pub const fn is_covered(self) -> bool {
        self.0 & Self::COVERED != 0
    }

    /// Whether the walk could not read the directory.
    pub const fn is_unread(self) -> bool {
        self.0 & Self::UNREAD != 0
    }
}

/// One object of the dump.
#[derive(Clone, Copy)]
pub struct Record {
    /// Number in the dump.
    pub ino: Ino,
    /// Number on the file system.
    pub real: u64,
    /// The place of the directory it was found in; for a directory, its own place.
    pub place: u64,
    /// Kind and flags.
    pub tag: Tag,
    name_len: u8,
    name: [u8; NAME_LEN_MAX],
}

impl Record {
    const EMPTY: Self =
        Self { ino: Ino(0), real: 0, place: 0, tag: Tag(0), name_len: 0, name: [0; NAME_LEN_MAX] };

    /// A record of a directory that nothing is to be said about.
    pub fn directory(ino: Ino, real: u64, place: u64, tag: Tag) -> Self {
        Self { ino, real, place, tag, ..Self::EMPTY }
    }

    /// A record of a link that stands for another volume, with this name in the directory at `place`.
    pub fn junction(ino: Ino, real: u64, place: u64, name: &[u8]) -> Self {
        let mut record = Self::directory(ino, real, place, Tag::covered());
        let len = name.len().min(NAME_LEN_MAX);
        record.name_len = len as u8;
        record.name[..len].copy_from_slice(&name[..len]);
        record
    }

    /// The record of a found name.
    pub fn from_found(ino: Ino, found: &Found) -> Self {
        let mut record = Self::directory(ino, found.real, found.place, Tag(found.tag));
        record.name_len = found.name().len() as u8;
        record.name[..found.name().len()].copy_from_slice(found.name());
        record
    }

    /// The name it was found by; empty for a directory.
    pub fn name(&self) -> &[u8] {
        if self.tag.is_unread() { &[] } else { self.stored() }
    }

    /// What is stored as the name: of a directory that the walk could not read, why.
    fn stored(&self) -> &[u8] {
        &self.name[..usize::from(self.name_len)]
    }

    /// Why the walk could not read the directory.
    pub fn walk_errno(&self) -> Option<i32> {
        let bytes = self.stored().first_chunk::<4>().filter(|_| self.tag.is_unread())?;
        Some(i32::from_le_bytes(*bytes))
    }

    fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.clear();
        bytes.extend_from_slice(&self.ino.0.to_le_bytes());
        bytes.extend_from_slice(&self.real.to_le_bytes());
        bytes.extend_from_slice(&self.place.to_le_bytes());
        bytes.extend_from_slice(&[self.tag.0, self.name_len]);
        bytes.extend_from_slice(self.stored());
    }

    fn decode(&mut self, bytes: &[u8]) -> Option<usize> {
        let (ino, rest) = bytes.split_first_chunk::<4>()?;
        let (real, rest) = rest.split_first_chunk::<8>()?;
        let (place, rest) = rest.split_first_chunk::<8>()?;
        let ([tag, name_len], rest) = rest.split_first_chunk::<2>()?;
        let name = rest.get(..usize::from(*name_len))?;
        self.ino = Ino(u32::from_le_bytes(*ino));
        self.real = u64::from_le_bytes(*real);
        self.place = u64::from_le_bytes(*place);
        self.tag = Tag(*tag);
        self.name_len = *name_len;
        self.name[..name.len()].copy_from_slice(name);
        Some(FIXED_LEN + name.len())
    }
}

/// Objects in ascending order of their dump numbers.
pub struct Table {
    spool: Spool,
    count: u64,
    /// Number and offset of every [`LANDMARK_DISTANCE`]th record.
    landmarks: Vec<(Ino, u64)>,
    /// Objects whose numbers are out of the order of real numbers; few, sorted.
    extra: Vec<Record>,
    scratch: Vec<u8>,
}

impl Table {
    /// An empty table.
    pub fn new(scratch_dir: Arc<Path>, memory_max: usize) -> Self {
        let spool = Spool::new(scratch_dir, memory_max);
        Self { spool, count: 0, landmarks: Vec::new(), extra: Vec::new(), scratch: Vec::new() }
    }

    /// Adds a record with a higher number than all before.
    ///
    /// # Errors
    /// The spool could not be written.
    pub fn push(&mut self, record: &Record) -> io::Result<()> {
        let mut bytes = std::mem::take(&mut self.scratch);
        record.encode(&mut bytes);
        let at = self.spool.append(&bytes)?;
        self.scratch = bytes;
        if self.count.is_multiple_of(LANDMARK_DISTANCE) {
            self.landmarks.push((record.ino, at));
        }
        self.count += 1;
        Ok(())
    }

    /// Adds a record with any number not used yet.
    pub fn push_extra(&mut self, record: Record) {
        let at = self.extra.partition_point(|other| other.ino < record.ino);
        self.extra.insert(at, record);
    }
}

/// Reads a table in order.
pub struct Cursor {
    table: Arc<Table>,
    /// Where the spool is read next, and what of it is in `buf` already.
    at: u64,
    buf: Vec<u8>,
    used: usize,
    /// The next record of the spool, if read already.
    ahead: Option<Record>,
    extra_next: usize,
}

impl Cursor {
    /// A cursor before the first record with a number of at least `from`.
    ///
    /// # Errors
    /// The table could not be read.
    pub fn new(table: Arc<Table>, from: Ino) -> io::Result<Self> {
        let landmark = table.landmarks.partition_point(|(ino, _)| *ino <= from);
        let at = landmark.checked_sub(1).map_or(0, |index| table.landmarks[index].1);
        let extra_next = table.extra.partition_point(|record| record.ino < from);
        let mut cursor = Self { table, at, buf: Vec::new(), used: 0, ahead: None, extra_next };
        while let Some(record) = cursor.next_in_spool()? {
            if record.ino >= from {
                cursor.ahead = Some(record);
                break;
            }
        }
        Ok(cursor)
    }

    /// The next record.
    ///
    /// # Errors
    /// The table could not be read.
    pub fn next_record(&mut self) -> io::Result<Option<Record>> {
        if self.ahead.is_none() {
            self.ahead = self.next_in_spool()?;
        }
        let extra = self.table.extra.get(self.extra_next);
        match (&self.ahead, extra) {
            (Some(record), Some(other)) if record.ino < other.ino => Ok(self.ahead.take()),
            (_, Some(other)) => {
                self.extra_next += 1;
                Ok(Some(*other))
            }
            (_, None) => Ok(self.ahead.take()),
        }
    }

    fn next_in_spool(&mut self) -> io::Result<Option<Record>> {
        let mut record = Record::EMPTY;
        loop {
            if let Some(len) = record.decode(&self.buf[self.used..]) {
                self.used += len;
                return Ok(Some(record));
            }
            let rest = self.buf.len() - self.used;
            self.buf.copy_within(self.used.., 0);
            self.buf.resize(CURSOR_BUF_LEN, 0);
            self.used = 0;
            let more = self.table.spool.read_at(self.at, &mut self.buf[rest..])?;
            self.buf.truncate(rest + more);
            self.at += more as u64;
            if more == 0 {
                return Ok(None);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(memory_max: usize) -> Arc<Table> {
        let mut table = Table::new(Arc::from(std::env::temp_dir()), memory_max);
        for index in 0..2000_u32 {
            let mut record =
                Record::directory(Ino(10 + 3 * index), u64::from(index) << 33, 7, Tag::new(Kind::Fifo));
            record.name_len = (index % 256) as u8;
            record.name = [b'n'; NAME_LEN_MAX];
            table.push(&record).unwrap();
        }
        for ino in [5000, 2, 9000, 11] {
            table.push_extra(Record::junction(Ino(ino), 1, 2, b"name"));
        }
        Arc::new(table)
    }

    #[test]
    fn a_cursor_starts_at_any_number_and_gives_all_records_in_order() {
        let mut expected: Vec<u32> =
            (0..2000).map(|index| 10 + 3 * index).chain([5000, 2, 9000, 11]).collect();
        expected.sort_unstable();
        for memory_max in [0, 1 << 20] {
            let table = table(memory_max);
            for from in [0, 2, 3, 11, 12, 777, 778, 3000, 5000, 6007, 6008, 9000, 9001] {
                let mut cursor = Cursor::new(Arc::clone(&table), Ino(from)).unwrap();
                let mut found = Vec::new();
                while let Some(record) = cursor.next_record().unwrap() {
                    found.push(record.ino.0);
                    if record.tag == Tag::new(Kind::Fifo) {
                        let index = (record.ino.0 - 10) / 3;
                        assert_eq!(record.real, u64::from(index) << 33);
                        assert_eq!(record.name(), vec![b'n'; index as usize % 256]);
                    }
                }
                assert!(found.iter().eq(expected.iter().filter(|ino| **ino >= from)), "from {from}");
            }
        }
    }

    #[test]
    fn tags_keep_every_kind() {
        let kinds = [
            Kind::File,
            Kind::Directory,
            Kind::Symlink,
            Kind::Fifo,
            Kind::CharDevice,
            Kind::BlockDevice,
            Kind::Socket,
        ];
        for kind in kinds {
            assert_eq!(Tag::new(kind).kind(), kind);
            assert!(!Tag::new(kind).is_covered() && !Tag::new(kind).is_unread());
        }
        assert!(Tag::covered().is_covered() && Tag::unread().is_unread());
        assert_eq!((Tag::unread().kind(), Tag::covered().kind()), (Kind::Directory, Kind::Symlink));
    }
}
