//! The dump numbers of a tree's objects as they are kept for the next dump of a chain, where the real numbers are not
//! the dump numbers. All numbers are big-endian.
//!
//! | offset | size | |
//! |---|---|---|
//! | 0 | 8 | `TDnumber` |
//! | 8 | 4 | version, 1 |
//! | 12 | 4 | *u*: objects without a real number of their own |
//! | 16 | 8 | *n*: objects with one, the root left out |
//! | 24 | 12 × *n* | real number (8) and dump number (4) of each, by ascending real numbers |
//! | | 4 × *u* | dump numbers of those without |
//! | | 4 | CRC-32C of all before |
//!
//! The map holds all objects of one dump and no others. So a number that is not in it is clear in the in-use map of
//! that dump on tape, and the next dump of the chain may give it to another object.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use tapedump_core::checksum::Crc32c;
use tapedump_core::units::Ino;

use crate::checksum::HostCrc32c;
use crate::volume::spool::Spool;

const MAGIC: [u8; 8] = *b"TDnumber";
const VERSION: u32 = 1;
const HEADER_LEN: usize = 24;
/// Length of an entry: real number, dump number.
pub const ENTRY_LEN: usize = 8 + 4;
/// Bytes read at once: whole entries.
const BUF_LEN: usize = 4096 * ENTRY_LEN;

/// One entry, as it is stored.
pub fn encode(real: u64, ino: Ino) -> [u8; ENTRY_LEN] {
    let mut entry = [0; ENTRY_LEN];
    entry[..8].copy_from_slice(&real.to_be_bytes());
    entry[8..].copy_from_slice(&ino.0.to_be_bytes());
    entry
}

/// The real number and the dump number.
pub fn decode(entry: &[u8; ENTRY_LEN]) -> (u64, Ino) {
    let [r0, r1, r2, r3, r4, r5, r6, r7, i0, i1, i2, i3] = *entry;
    (u64::from_be_bytes([r0, r1, r2, r3, r4, r5, r6, r7]), Ino(u32::from_be_bytes([i0, i1, i2, i3])))
}

/// Writes a map: `entries` are encoded and in order, `unnamed` are the numbers of objects without a real one.
///
/// # Errors
/// The entries cannot be read, or the map not written.
pub fn write(entries: &Spool, unnamed: &[Ino], to: &mut dyn Write) -> io::Result<()> {
    let mut crc = 0;
    let mut put = |bytes: &[u8]| {
        crc = HostCrc32c::update(crc, bytes);
        to.write_all(bytes)
    };
    let unnamed_count = u32::try_from(unnamed.len()).map_err(|_| io::ErrorKind::QuotaExceeded)?;
    put(&MAGIC)?;
    put(&VERSION.to_be_bytes())?;
    put(&unnamed_count.to_be_bytes())?;
    put(&(entries.len() / ENTRY_LEN as u64).to_be_bytes())?;
    let mut buf = vec![0; BUF_LEN];
    let mut at = 0;
    while at < entries.len() {
        let len = entries.read_at(at, &mut buf)?;
        put(&buf[..len])?;
        at += len as u64;
    }
    unnamed.iter().try_for_each(|ino| put(&ino.0.to_be_bytes()))?;
    to.write_all(&crc.to_be_bytes())
}

/// The numbers of an earlier dump, in a file.
#[derive(Debug)]
pub struct NumberMap {
    file: File,
    count: u64,
    /// One bit for each number in use.
    used: Vec<u64>,
}

/// Why a map is of no use.
fn damaged(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

impl NumberMap {
    /// Reads all of a map once. The file is read again, from its beginning, when a tree is numbered.
    ///
    /// # Errors
    /// It cannot be read, or is not as it was written.
    pub fn read(file: File) -> io::Result<Self> {
        let mut header = [0; HEADER_LEN];
        let len = file.metadata()?.len();
        if len < HEADER_LEN as u64 {
            return Err(damaged("it is cut short"));
        }
        file.read_exact_at(&mut header, 0)?;
        let (magic, rest) = header.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(damaged("it is no map of numbers"));
        }
        let field =
            |at: usize| rest[at..].iter().take(4).fold(0, |value, byte| value << 8 | u64::from(*byte));
        let (version, unnamed) = (field(0), field(4));
        let count = field(8) << 32 | field(12);
        if version != u64::from(VERSION) {
            return Err(damaged("a newer release wrote it"));
        }
        let expected = count
            .checked_mul(ENTRY_LEN as u64)
            .and_then(|entries| entries.checked_add(HEADER_LEN as u64 + unnamed * 4 + 4));
        if expected != Some(len) {
            return Err(damaged("it is cut short"));
        }
        let mut map = Self { file, count, used: Vec::new() };
        map.check(&header, unnamed as usize)?;
        Ok(map)
    }

    /// Reads what is behind the header, and finds the numbers in use.
    fn check(&mut self, header: &[u8], unnamed: usize) -> io::Result<()> {
        let mut crc = HostCrc32c::update(0, header);
        let mut entries = Entries { at: 0, buf: Vec::new(), used: 0 };
        let mut last = None;
        while entries.fill(self)? {
            crc = HostCrc32c::update(crc, &entries.buf);
            let (list, _) = entries.buf.as_chunks::<ENTRY_LEN>();
            for (real, ino) in list.iter().map(decode) {
                if last.replace(real) >= Some(real) {
                    return Err(damaged("it is not as it was written"));
                }
                self.take(ino)?;
            }
            entries.used = entries.buf.len();
        }
        let mut rest = vec![0; unnamed * 4 + 4];
        self.file.read_exact_at(&mut rest, HEADER_LEN as u64 + self.count * ENTRY_LEN as u64)?;
        let (numbers, stored) = rest.split_at(unnamed * 4);
        for number in numbers.as_chunks::<4>().0 {
            self.take(Ino(u32::from_be_bytes(*number)))?;
        }
        if HostCrc32c::update(crc, numbers).to_be_bytes() != *stored {
            return Err(damaged("it is not as it was written"));
        }
        Ok(())
    }

    fn take(&mut self, ino: Ino) -> io::Result<()> {
        if ino <= Ino::ROOT || ino > Ino::LAST || self.is_used(ino) {
            return Err(damaged("it is not as it was written"));
        }
        let word = ino.0 as usize / 64;
        if word >= self.used.len() {
            self.used.resize(word + 1, 0);
        }
        self.used[word] |= 1 << (ino.0 % 64);
        Ok(())
    }

    /// Whether an object of that dump has this number.
    pub fn is_used(&self, ino: Ino) -> bool {
        self.used.get(ino.0 as usize / 64).is_some_and(|word| word & 1 << (ino.0 % 64) != 0)
    }
}

/// Some of a map's entries.
struct Entries {
    /// Entries read.
    at: u64,
    buf: Vec<u8>,
    used: usize,
}

impl Entries {
    /// Reads entries, when all of the last are used; `false` at the end.
    fn fill(&mut self, map: &NumberMap) -> io::Result<bool> {
        if self.used < self.buf.len() {
            return Ok(true);
        }
        let count = (map.count - self.at).min((BUF_LEN / ENTRY_LEN) as u64);
        self.buf.resize(count as usize * ENTRY_LEN, 0);
        self.used = 0;
        map.file.read_exact_at(&mut self.buf, HEADER_LEN as u64 + self.at * ENTRY_LEN as u64)?;
        self.at += count;
        Ok(count > 0)
    }
}

/// Looks up real numbers in ascending order.
pub struct Follower {
    map: Arc<NumberMap>,
    entries: Entries,
}

impl Follower {
    /// Before the first number.
    pub fn new(map: Arc<NumberMap>) -> Self {
        Self { map, entries: Entries { at: 0, buf: Vec::new(), used: 0 } }
    }

    /// The number of an object in that dump. Those asked for come in ascending order.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn find(&mut self, real: u64) -> io::Result<Option<Ino>> {
        while self.entries.fill(&self.map)? {
            let rest = self.entries.buf.get(self.entries.used..).unwrap_or_default();
            let Some(entry) = rest.first_chunk() else { break };
            let (other, ino) = decode(entry);
            if other > real {
                break;
            }
            self.entries.used += ENTRY_LEN;
            if other == real {
                return Ok(Some(ino));
            }
        }
        Ok(None)
    }

    /// Whether an object of that dump has this number.
    pub fn is_used(&self, ino: Ino) -> bool {
        self.map.is_used(ino)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(count: u64, unnamed: &[Ino]) -> Vec<u8> {
        let mut entries = Spool::new(Arc::from(std::env::temp_dir()), 1000);
        for index in 0..count {
            entries.append(&encode(index << 20, Ino(3 + (index as u32 ^ 1)))).unwrap();
        }
        let mut bytes = Vec::new();
        write(&entries, unnamed, &mut bytes).unwrap();
        bytes
    }

    fn read(bytes: &[u8]) -> io::Result<NumberMap> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        NumberMap::read(file)
    }

    #[test]
    fn a_map_is_read_as_it_was_written() {
        for count in [0, 2, 4096, 10_000] {
            let read = Arc::new(read(&map(count, &[Ino(70_000), Ino(80_000)])).unwrap());
            let mut follower = Follower::new(Arc::clone(&read));
            for index in 0..count {
                assert_eq!(follower.find((index << 20) + 1).unwrap(), None);
                let next = index + 1;
                let expected = (next < count).then_some(Ino(3 + (next as u32 ^ 1)));
                // Every other one, so that some are passed over.
                if next.is_multiple_of(2) {
                    assert_eq!(follower.find(next << 20).unwrap(), expected);
                }
            }
            let used = [70_000, 80_000].into_iter().chain(3..3 + count as u32);
            assert_eq!(used.clone().filter(|ino| read.is_used(Ino(*ino))).count(), count as usize + 2);
            for free in [0, 1, 2, 3 + count as u32, 69_999, 70_001, u32::MAX] {
                assert!(!follower.is_used(Ino(free)), "{free}");
            }
        }
    }

    #[test]
    fn a_damaged_map_is_refused() {
        let whole = map(50, &[Ino(90)]);
        assert!(read(&whole).is_ok());
        for index in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[index] ^= 0x40;
            assert!(read(&bytes).is_err(), "byte {index}");
            assert!(read(&whole[..index]).is_err(), "the first {index} bytes");
        }
        assert!(read(&[whole.as_slice(), &[0]].concat()).is_err());
    }

    #[test]
    fn a_number_of_two_objects_is_refused() {
        for unnamed in [Ino(3), Ino(2), Ino(0), Ino(u32::MAX)] {
            assert!(read(&map(4, &[unnamed])).is_err(), "{unnamed}");
        }
    }
}
