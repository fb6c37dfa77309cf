//! A reader of plain tapes for the tests: which block is what, and whose. It trusts its input, being given whole
//! tapes only; damage is applied after it has looked.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Length of a tape block.
pub const BLOCK: usize = 1024;

const MAGIC: u32 = 60012;
const MODE_KIND: u16 = 0o170_000;
const MODE_DIRECTORY: u16 = 0o040_000;
const EXTENDED_ATTRIBUTES: u32 = 0x8000;

/// Order of the bytes in a tape's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Most significant first, as we write.
    Big,
    /// Least significant first, as `dump` writes on most machines.
    Little,
}

impl Order {
    /// The 32-bit number at `at`.
    #[must_use]
    pub fn u32(self, bytes: &[u8], at: usize) -> u32 {
        let word: [u8; 4] = bytes[at..at + 4].try_into().expect("four bytes");
        match self {
            Self::Big => u32::from_be_bytes(word),
            Self::Little => u32::from_le_bytes(word),
        }
    }

    /// The 16-bit number at `at`.
    #[must_use]
    pub fn u16(self, bytes: &[u8], at: usize) -> u16 {
        let word: [u8; 2] = bytes[at..at + 2].try_into().expect("two bytes");
        match self {
            Self::Big => u16::from_be_bytes(word),
            Self::Little => u16::from_le_bytes(word),
        }
    }

    /// The 64-bit number at `at`.
    #[must_use]
    pub fn u64(self, bytes: &[u8], at: usize) -> u64 {
        let word: [u8; 8] = bytes[at..at + 8].try_into().expect("eight bytes");
        match self {
            Self::Big => u64::from_be_bytes(word),
            Self::Little => u64::from_le_bytes(word),
        }
    }

    /// Writes a 32-bit number at `at`.
    pub fn put_u32(self, bytes: &mut [u8], at: usize, value: u32) {
        let word = if self == Self::Big { value.to_be_bytes() } else { value.to_le_bytes() };
        bytes[at..at + 4].copy_from_slice(&word);
    }

    /// Writes a 16-bit number at `at`.
    pub fn put_u16(self, bytes: &mut [u8], at: usize, value: u16) {
        let word = if self == Self::Big { value.to_be_bytes() } else { value.to_le_bytes() };
        bytes[at..at + 2].copy_from_slice(&word);
    }

    /// Writes a 64-bit number at `at`.
    pub fn put_u64(self, bytes: &mut [u8], at: usize, value: u64) {
        let word = if self == Self::Big { value.to_be_bytes() } else { value.to_le_bytes() };
        bytes[at..at + 8].copy_from_slice(&word);
    }

    /// Sets the checksum of a header, so that its words add up to 84446.
    pub fn seal(self, header: &mut [u8]) {
        self.put_u32(header, 28, 0);
        let sum = (0..BLOCK).step_by(4).fold(0_u32, |sum, at| sum.wrapping_add(self.u32(header, at)));
        self.put_u32(header, 28, 84446_u32.wrapping_sub(sum));
    }
}

/// What a header announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordKind {
    /// Begin of a tape.
    Tape,
    /// First segment of an object.
    Inode,
    /// Map of the objects on the tape.
    Bits,
    /// Further segment of an object.
    Addr,
    /// End of the dump.
    End,
    /// Map of the objects in use.
    Clri,
}

/// A header and the data blocks that follow it.
#[derive(Clone, Debug)]
pub struct Record {
    /// Index of the header's block.
    pub at: usize,
    /// What it announces.
    pub kind: RecordKind,
    /// Number of the object.
    pub number: u32,
    /// Mode of the object, its kind included.
    pub mode: u16,
    /// Size of the object.
    pub size: u64,
    /// Value of `c_flags`.
    pub flags: u32,
    /// Data blocks that follow.
    pub data: usize,
}

impl Record {
    /// The blocks of the record, its header first.
    #[must_use]
    pub fn blocks(&self) -> Range<usize> {
        self.at..self.at + 1 + self.data
    }

    /// True for a segment of a directory's names.
    #[must_use]
    pub fn is_directory(&self) -> bool {
        matches!(self.kind, RecordKind::Inode | RecordKind::Addr)
            && self.mode & MODE_KIND == MODE_DIRECTORY
            && self.flags & EXTENDED_ATTRIBUTES == 0
    }
}

/// A tape that has been looked through.
#[derive(Clone, Debug)]
pub struct Tape {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Order of its numbers.
    pub order: Order,
    /// Its records up to the first end record.
    pub records: Vec<Record>,
}

impl Tape {
    /// Looks through a whole tape.
    ///
    /// # Errors
    /// What is wrong with it, and at which block.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, String> {
        let header = bytes.get(..BLOCK).ok_or("shorter than a block")?;
        let order = [Order::Big, Order::Little]
            .into_iter()
            .find(|order| order.u32(header, 24) == MAGIC)
            .ok_or("no magic in the first block")?;
        let mut records = Vec::new();
        let mut at = 0;
        loop {
            let record = record_at(&bytes, order, at).map_err(|error| format!("block {at}: {error}"))?;
            at = record.blocks().end;
            let ended = record.kind == RecordKind::End;
            records.push(record);
            if ended {
                return Ok(Self { bytes, order, records });
            }
        }
    }

    /// Number of blocks, padding included.
    #[must_use]
    pub fn blocks(&self) -> usize {
        self.bytes.len() / BLOCK
    }

    /// One block.
    #[must_use]
    pub fn block(&self, at: usize) -> &[u8] {
        &self.bytes[at * BLOCK..(at + 1) * BLOCK]
    }

    /// The record a block belongs to; `None` for what follows the first end record.
    #[must_use]
    pub fn record_of(&self, block: usize) -> Option<&Record> {
        self.records.iter().find(|record| record.blocks().contains(&block))
    }

    /// The number that bookkeeping records bear: one above the highest an object may have.
    #[must_use]
    pub fn number_limit(&self) -> u32 {
        let clri = self.records.iter().find(|record| record.kind == RecordKind::Clri);
        clri.map_or(0, |record| record.data as u32 * 8192 + 1)
    }

    /// The names in each directory, by the directory's number.
    #[must_use]
    pub fn directories(&self) -> BTreeMap<u32, Vec<(u32, Vec<u8>)>> {
        let mut data: BTreeMap<u32, (u64, Vec<u8>)> = BTreeMap::new();
        for record in self.records.iter().filter(|record| record.is_directory()) {
            let (_, bytes) = data.entry(record.number).or_insert((record.size, Vec::new()));
            bytes.extend_from_slice(&self.bytes[(record.at + 1) * BLOCK..record.blocks().end * BLOCK]);
        }
        let entries = |(size, mut bytes): (u64, Vec<u8>)| {
            bytes.truncate(size as usize);
            directory_entries(self.order, &bytes)
        };
        data.into_iter().map(|(number, data)| (number, entries(data))).collect()
    }

    /// All paths of each object, relative to the root.
    #[must_use]
    pub fn paths(&self) -> BTreeMap<u32, BTreeSet<Vec<u8>>> {
        let directories = self.directories();
        let mut paths: BTreeMap<u32, BTreeSet<Vec<u8>>> = BTreeMap::new();
        let mut open = vec![(2, Vec::new())];
        while let Some((number, path)) = open.pop() {
            paths.entry(number).or_default().insert(path.clone());
            for (child, name) in directories.get(&number).map_or(&[][..], Vec::as_slice) {
                if name != b"." && name != b".." {
                    let separator: &[u8] = if path.is_empty() { b"" } else { b"/" };
                    open.push((*child, [&path, separator, name].concat()));
                }
            }
        }
        paths
    }
}

fn record_at(bytes: &[u8], order: Order, at: usize) -> Result<Record, String> {
    let header = bytes.get(at * BLOCK..(at + 1) * BLOCK).ok_or("the tape ends")?;
    if order.u32(header, 24) != MAGIC {
        return Err("no magic".into());
    }
    let sum = (0..BLOCK).step_by(4).fold(0_u32, |sum, at| sum.wrapping_add(order.u32(header, at)));
    if sum != 84446 {
        return Err(format!("checksum {sum}"));
    }
    let kind = match order.u32(header, 0) {
        1 => RecordKind::Tape,
        2 => RecordKind::Inode,
        3 => RecordKind::Bits,
        4 => RecordKind::Addr,
        5 => RecordKind::End,
        6 => RecordKind::Clri,
        other => return Err(format!("record kind {other}")),
    };
    let count = order.u32(header, 160) as usize;
    let data = match kind {
        RecordKind::Inode | RecordKind::Addr => {
            let map = header.get(164..164 + count).filter(|_| count <= 512).ok_or("count above 512")?;
            map.iter().filter(|&&entry| entry != 0).count()
        }
        RecordKind::Bits | RecordKind::Clri => count,
        // A later volume's header says how many blocks of the interrupted record follow.
        RecordKind::Tape if order.u32(header, 12) > 1 => count,
        RecordKind::Tape | RecordKind::End => 0,
    };
    Ok(Record {
        at,
        kind,
        number: order.u32(header, 20),
        mode: order.u16(header, 32),
        size: order.u64(header, 40),
        flags: order.u32(header, 888),
        data,
    })
}

/// The entries of a directory's data, free ones left out.
#[must_use]
pub fn directory_entries(order: Order, data: &[u8]) -> Vec<(u32, Vec<u8>)> {
    let mut entries = Vec::new();
    let mut at = 0;
    while at + 8 <= data.len() {
        let number = order.u32(data, at);
        let len = usize::from(order.u16(data, at + 4));
        let name_len = usize::from(data[at + 7]);
        if len < 8 || at + 8 + name_len > data.len() {
            break;
        }
        if number != 0 {
            entries.push((number, data[at + 8..at + 8 + name_len].to_vec()));
        }
        at += len;
    }
    entries
}
