//! The names in an open directory, read again after the walk.

use std::os::fd::BorrowedFd;

use rustix::fs::{RawDir, RawDirEntry, SeekFrom, seek};
use rustix::io::Errno;
use tapedump_core::units::Ino;

use super::Volume;
use super::reach::{Places, errno_of};
use super::walk::{ENTRIES_LEN, identify};

/// Entries of a directory, one buffer after the other.
#[derive(Default)]
pub struct Entries {
    buf: Vec<u8>,
    /// What is left of the buffer: number, length of the name, name.
    names: Vec<u8>,
    used: usize,
    is_at_end: bool,
}

/// Why a directory cannot be read.
pub enum EntryTrouble {
    System(Errno),
    /// The name stands for an object that the walk did not find, on a file system that should have shown it.
    Unknown(Vec<u8>),
}

impl Entries {
    /// Starts again.
    pub fn reset(&mut self) {
        self.names.clear();
        self.used = 0;
        self.is_at_end = false;
    }

    /// Starts again with the first entry of the directory.
    ///
    /// # Errors
    /// The directory cannot be read again.
    pub fn rewind(&mut self, fd: BorrowedFd<'_>) -> Result<(), Errno> {
        self.reset();
        seek(fd, SeekFrom::Start(0)).map(drop)
    }

    /// The next entry's number and name; `fd` is the directory at `place`.
    ///
    /// # Errors
    /// The directory cannot be read (further).
    pub fn next_entry(
        &mut self,
        volume: &Volume,
        fd: BorrowedFd<'_>,
        place: u64,
    ) -> Result<Option<(Ino, &[u8])>, EntryTrouble> {
        while self.used == self.names.len() {
            if self.is_at_end {
                return Ok(None);
            }
            self.fill(volume, fd, place)?;
        }
        let rest = &self.names[self.used..];
        let Some(([i0, i1, i2, i3, name_len], rest)) = rest.split_first_chunk::<5>() else { return Ok(None) };
        let name_len = usize::from(*name_len);
        self.used += 5 + name_len;
        Ok(Some((Ino(u32::from_le_bytes([*i0, *i1, *i2, *i3])), &rest[..name_len])))
    }

    /// Reads one buffer of entries.
    fn fill(&mut self, volume: &Volume, fd: BorrowedFd<'_>, place: u64) -> Result<(), EntryTrouble> {
        self.names.clear();
        self.used = 0;
        self.buf.reserve(ENTRIES_LEN);
        let has_strangers = volume.index.has_strangers(place);
        let mut entries = RawDir::new(fd, self.buf.spare_capacity_mut());
        loop {
            match entries.next() {
                Some(Ok(entry)) => {
                    let name = entry.file_name().to_bytes();
                    // The walk has noted longer names as a failure of the directory.
                    let name_len = u8::try_from(name.len());
                    let is_dumped = volume.options.excluded.takes(place == Places::ROOT, name);
                    if let (true, Ok(name_len)) = (is_dumped, name_len) {
                        let stranger = if has_strangers { volume.index.stranger(place, name) } else { None };
                        let ino = match stranger {
                            Some(ino) => Some(ino),
                            None => number(volume, fd, &entry)?,
                        };
                        if let Some(ino) = ino {
                            self.names.extend_from_slice(&ino.0.to_le_bytes());
                            self.names.push(name_len);
                            self.names.extend_from_slice(name);
                        }
                    }
                }
                Some(Err(Errno::INTR)) => {}
                Some(Err(errno)) => return Err(EntryTrouble::System(errno)),
                None => {
                    self.is_at_end = true;
                    return Ok(());
                }
            }
            if entries.is_buffer_empty() {
                return Ok(());
            }
        }
    }
}

/// The number of the object an entry stands for; `None`: it came after the walk, or is gone.
fn number(
    volume: &Volume,
    dir: BorrowedFd<'_>,
    entry: &RawDirEntry<'_>,
) -> Result<Option<Ino>, EntryTrouble> {
    let Some((real, _)) = identify(&volume.root, dir, entry).map_err(EntryTrouble::System)? else {
        return Ok(None);
    };
    let ino = volume.index.numbers.number(real).map_err(|error| EntryTrouble::System(errno_of(&error)))?;
    if ino.is_none() && !volume.root.has_lasting_numbers() {
        // It may as well be an object of the dump that has got another number since.
        return Err(EntryTrouble::Unknown(entry.file_name().to_bytes().to_vec()));
    }
    Ok(ino)
}
