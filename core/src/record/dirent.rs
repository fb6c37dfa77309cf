//! Directory data: packed entries `u32 ino, u16 entry length, u8 type, u8 name length, name, NUL, pad to 4`.
//!
//! Entries do not cross chunks of [`CHUNK_LEN`] bytes; the last one of a chunk absorbs the rest. We write type 0, so
//! that old readers, which see a 16-bit name length, read the same (`format.md` 6).

use crate::limits::NAME_LEN_MAX;
use crate::record::dialect::{Dialect, InodeLayout, Order};
use crate::units::{Ino, TAPE_BLOCK_LEN};

/// Chunk that no entry crosses (`DIRBLKSIZ`).
pub const CHUNK_LEN: usize = 512;

const FIXED_LEN: usize = 8;

/// Space an entry with a name of this length takes.
const fn entry_len(name_len: usize) -> usize {
    FIXED_LEN + (name_len + 1).next_multiple_of(4)
}

const _: () = assert!(entry_len(NAME_LEN_MAX) <= CHUNK_LEN);

/// Length of directory data, computed from the names in the order in which they will be written.
#[derive(Clone, Copy, Debug, Default)]
pub struct DirectoryLen {
    chunks: u64,
    filled: usize,
}

impl DirectoryLen {
    /// Accounts for one more entry.
    pub fn add(&mut self, name_len: usize) {
        let len = entry_len(name_len.min(NAME_LEN_MAX));
        if self.chunks == 0 || self.filled + len > CHUNK_LEN {
            self.chunks += 1;
            self.filled = 0;
        }
        self.filled += len;
    }

    /// Bytes so far, whole chunks.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.chunks * CHUNK_LEN as u64
    }
}

/// One chunk of directory data being filled.
#[derive(Clone, Debug)]
pub struct ChunkWriter {
    chunk: [u8; CHUNK_LEN],
    filled: usize,
    last: usize,
}

impl Default for ChunkWriter {
    fn default() -> Self {
        Self::new()
    }
}

impl ChunkWriter {
    /// An empty chunk.
    #[must_use]
    pub const fn new() -> Self {
        Self { chunk: [0; CHUNK_LEN], filled: 0, last: 0 }
    }

    /// Adds an entry; `false` when it does not fit: take the chunk with [`finish`](Self::finish) and try again. A name
    /// longer than [`NAME_LEN_MAX`] is cut.
    pub fn push(&mut self, ino: Ino, name: &[u8]) -> bool {
        let name = name.get(..NAME_LEN_MAX).unwrap_or(name);
        let len = entry_len(name.len());
        let Some(entry) = self.chunk.get_mut(self.filled..self.filled + len) else { return false };
        let (fixed, text) = entry.split_at_mut(FIXED_LEN);
        let [a, b, c, d] = ino.0.to_be_bytes();
        let [high, low] = (len as u16).to_be_bytes();
        fixed.copy_from_slice(&[a, b, c, d, high, low, 0, name.len() as u8]);
        text.fill(0);
        if let Some(text) = text.get_mut(..name.len()) {
            text.copy_from_slice(name);
        }
        self.last = self.filled;
        self.filled += len;
        true
    }

    /// Whether nothing was added.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// The chunk, its last entry stretched to the end; an empty one is a free entry. The writer is empty again.
    pub fn finish(&mut self) -> [u8; CHUNK_LEN] {
        let last_len = (CHUNK_LEN - self.last) as u16;
        if let Some(len) = self.chunk.get_mut(self.last + 4..self.last + 6) {
            len.copy_from_slice(&last_len.to_be_bytes());
        }
        core::mem::take(self).chunk
    }
}

/// Why directory data cannot be read (further).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DirentError<'a> {
    /// An entry's length is zero, odd, too short for its name, or reaches over the end.
    BadLength {
        /// The length found.
        found: u16,
    },
    /// A name is empty, or holds `/` or NUL.
    BadName {
        /// The name.
        name: &'a [u8],
    },
    /// An entry of 8 bytes that claims a name of 255: how Linux' `dump` writes such a name. The entries behind it are
    /// good.
    NameLeftOut {
        /// The object that had the name.
        ino: u32,
    },
}

/// One entry of directory data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dirent<'a> {
    /// The object; raw, since a tape can hold any number.
    pub ino: u32,
    /// Its name: not empty, without `/` and NUL. `.` and `..` occur.
    pub name: &'a [u8],
}

/// Reads the entries of directory data, or of any piece of it that begins where a chunk begins.
///
/// A bad length ends the chunk, not the directory: the reader goes on with the next [`CHUNK_LEN`] bytes.
#[derive(Clone, Debug)]
pub struct Dirents<'a> {
    data: &'a [u8],
    at: usize,
    dialect: Dialect,
}

impl<'a> Dirents<'a> {
    /// Reads `data` as `dialect` writes it.
    #[must_use]
    pub const fn new(data: &'a [u8], dialect: Dialect) -> Self {
        Self { data, at: 0, dialect }
    }

    fn skip_chunk(&mut self) {
        self.at = (self.at + 1).next_multiple_of(CHUNK_LEN);
    }

    fn number<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.data.get(at..at + N)?.try_into().ok()
    }

    /// Big-endian streams have the name's length in byte 7 either way; little-endian old ones in byte 6.
    fn name_len(&self, kind: u8, len: u8) -> usize {
        match (self.dialect.order, self.dialect.layout) {
            (Order::Little, InodeLayout::Solaris) => kind.into(),
            _ => len.into(),
        }
    }
}

impl<'a> Iterator for Dirents<'a> {
    type Item = Result<Dirent<'a>, DirentError<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.at < self.data.len() {
            let [a, b, c, d, high, low, kind, len] = self.number::<8>(self.at)?;
            let (ino, entry) = match self.dialect.order {
                Order::Big => (u32::from_be_bytes([a, b, c, d]), u16::from_be_bytes([high, low])),
                Order::Little => (u32::from_le_bytes([a, b, c, d]), u16::from_le_bytes([high, low])),
            };
            let name_len = self.name_len(kind, len);
            let end = self.at + usize::from(entry);
            let minimal = if ino == 0 { FIXED_LEN } else { entry_len(name_len) };
            // Linux' entries may cross 512, nobody's cross a tape block.
            let block_end = (self.at + 1).next_multiple_of(TAPE_BLOCK_LEN).min(self.data.len());
            if ino != 0 && usize::from(entry) == FIXED_LEN && name_len == NAME_LEN_MAX && end <= block_end {
                self.at = end;
                return Some(Err(DirentError::NameLeftOut { ino }));
            }
            if entry % 4 != 0 || usize::from(entry) < minimal || end > block_end {
                // What pads the last tape block of a directory is all zero.
                let padding = ino == 0 && entry == 0;
                self.skip_chunk();
                if padding {
                    continue;
                }
                return Some(Err(DirentError::BadLength { found: entry }));
            }
            let name_at = self.at + FIXED_LEN;
            self.at = end;
            if ino == 0 {
                continue;
            }
            let name = self.data.get(name_at..name_at + name_len)?;
            if name.is_empty() || name.iter().any(|byte| matches!(byte, b'/' | 0)) {
                return Some(Err(DirentError::BadName { name }));
            }
            return Some(Ok(Dirent { ino, name }));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec::Vec;

    fn written(names: &[(u32, Vec<u8>)]) -> Vec<u8> {
        let mut len = DirectoryLen::default();
        let mut writer = ChunkWriter::new();
        let mut data = Vec::new();
        for (ino, name) in names {
            len.add(name.len());
            if !writer.push(Ino(*ino), name) {
                data.extend(writer.finish());
                assert!(writer.push(Ino(*ino), name));
            }
        }
        if !writer.is_empty() {
            data.extend(writer.finish());
        }
        assert_eq!(len.bytes(), data.len() as u64);
        data
    }

    #[test]
    fn entries_of_every_length_round_trip() {
        let mut names = Vec::from([(2, b".".to_vec()), (2, b"..".to_vec())]);
        for len in 1..=NAME_LEN_MAX {
            names.push((len as u32 + 2, (0..len).map(|i| b'a' + ((i * 7 + len) % 26) as u8).collect()));
        }
        let data = written(&names);
        assert_eq!(data.len() % CHUNK_LEN, 0);
        let read: Vec<_> = Dirents::new(&data, Dialect::OURS)
            .map(|entry| entry.map(|entry| (entry.ino, entry.name.to_vec())).unwrap())
            .collect();
        assert_eq!(read, names);
    }

    #[test]
    fn padding_behind_the_last_chunk_is_no_error() {
        let mut data = written(&[(2, b".".to_vec()), (2, b"..".to_vec())]);
        data.resize(1024, 0);
        assert_eq!(Dirents::new(&data, Dialect::OURS).filter(Result::is_ok).count(), 2);
        assert_eq!(Dirents::new(&data, Dialect::OURS).count(), 2);
    }

    #[test]
    fn bad_lengths_cost_their_chunk_only() {
        let many: Vec<_> = (3..80).map(|ino| (ino, std::format!("name-{ino:04}").into_bytes())).collect();
        let good = written(&many);
        for bad in [0u16, 2, 7, 1032, 65532, 4] {
            let mut data = good.clone();
            data[4..6].copy_from_slice(&bad.to_be_bytes());
            let read: Vec<_> = Dirents::new(&data, Dialect::OURS).collect();
            assert_eq!(read[0], Err(DirentError::BadLength { found: bad }));
            let second_chunk = Dirents::new(&good[CHUNK_LEN..], Dialect::OURS).count();
            assert_eq!(read.len(), 1 + second_chunk);
        }
    }

    #[test]
    fn a_name_that_was_left_out_costs_itself_only() {
        let before = written(&[(3, b"before".to_vec())]);
        let behind = written(&[(4, b"behind".to_vec())]);
        // As Linux' dump 0.4b47 writes a name of 255 bytes, little-endian.
        let left_out = [17, 0, 0, 0, 8, 0, 8, 255];
        let mut data = Vec::new();
        for chunk in [&before, &behind] {
            let mut entry = chunk[..16].to_vec();
            entry[..4].reverse();
            entry[4..6].copy_from_slice(&16u16.to_le_bytes());
            data.extend(entry);
            data.extend(left_out);
        }
        let linux = Dialect { order: Order::Little, ..Dialect::OURS };
        let read: Vec<_> = Dirents::new(&data, linux).collect();
        assert_eq!(
            read,
            [
                Ok(Dirent { ino: 3, name: b"before" }),
                Err(DirentError::NameLeftOut { ino: 17 }),
                Ok(Dirent { ino: 4, name: b"behind" }),
                Err(DirentError::NameLeftOut { ino: 17 }),
            ]
        );
    }

    #[test]
    fn names_that_could_leave_the_directory_are_refused() {
        for bad in [&b"a/b"[..], b"/etc", b"a\0b"] {
            let data = written(&[(5, bad.to_vec())]);
            assert_eq!(
                Dirents::new(&data, Dialect::OURS).next(),
                Some(Err(DirentError::BadName { name: bad }))
            );
        }
    }

    #[test]
    fn any_bytes_end() {
        let mut state = 1u64;
        for _ in 0..2000 {
            let data: Vec<u8> = (0..1500)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    if state >> 62 == 0 { 0 } else { (state >> 40) as u8 & 0x3f }
                })
                .collect();
            assert!(Dirents::new(&data, Dialect::OURS).count() < 200);
        }
    }
}
