//! Which snapshots a volume's present state comes after. A file system that was brought back from an older image has the
//! generations of its snapshots once more, for other changes; so each snapshot gets a random mark, which is in the volume
//! before the snapshot is made, and in all that comes after it.
//!
//! ```text
//! trusted.tapedump.past, of the directory of snapshots:  entries, the oldest first
//! entry:  16  random mark | u32 CRC-32C of the snapshot's name, big-endian
//! ```

use crate::checksum::HostCrc32c;
use rustix::buffer::spare_capacity;
use rustix::fd::AsFd;
use rustix::fs::{Mode, OFlags, XattrFlags, fgetxattr, fsetxattr, openat};
use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};
use tapedump_core::checksum::Crc32c;

const ATTRIBUTE: &str = "trusted.tapedump.past";
const MARK_LEN: usize = 16;
const ENTRY_LEN: usize = MARK_LEN + 4;
/// Entries that are kept; an increment to an older snapshot visits all files.
const ENTRIES_MAX: usize = 128;

/// What a snapshot is known by in all that comes after it.
pub type Mark = [u8; MARK_LEN];

/// The marks in a volume, or in a snapshot of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Past(Vec<[u8; ENTRY_LEN]>);

impl Past {
    /// Of the open directory of snapshots; what is not understood is none.
    fn read(directory: impl AsFd) -> Self {
        let mut value = Vec::with_capacity(4 * ENTRIES_MAX * ENTRY_LEN);
        match fgetxattr(directory, ATTRIBUTE, spare_capacity(&mut value)) {
            Ok(_) => Self(value.as_chunks().0.to_vec()),
            Err(_) => Self::default(),
        }
    }

    /// Of a snapshot whose root is open.
    pub(super) fn of(snapshot: impl AsFd) -> Self {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = openat(snapshot, super::SNAPSHOT_DIRECTORY, flags, Mode::empty());
        directory.map(Self::read).unwrap_or_default()
    }

    /// The mark of the snapshot that this is of. `None`: it has none, as somebody else made it.
    #[must_use]
    pub fn mark(&self, name: &[u8]) -> Option<Mark> {
        let (mark, of) = self.0.last()?.split_first_chunk()?;
        (of == name_crc(name)).then_some(*mark)
    }

    /// Whether this comes after the snapshot with this mark.
    #[must_use]
    pub fn holds(&self, mark: &Mark) -> bool {
        self.0.iter().any(|entry| entry.starts_with(mark))
    }

    fn push(&mut self, mark: Mark, name: &[u8]) {
        let mut entry = [0; ENTRY_LEN];
        entry.iter_mut().zip(mark.iter().chain(&name_crc(name))).for_each(|(to, from)| *to = *from);
        self.0.push(entry);
        let surplus = self.0.len().saturating_sub(ENTRIES_MAX);
        self.0.drain(..surplus);
    }
}

fn name_crc(name: &[u8]) -> [u8; 4] {
    HostCrc32c::update(0, name).to_be_bytes()
}

/// Marks the volume before a snapshot is made, by its open directory of snapshots.
///
/// # Errors
/// The mark cannot be set.
pub fn note(directory: impl AsFd, name: &[u8]) -> Result<(), Errno> {
    let mut mark = [0; MARK_LEN];
    if getrandom(&mut mark, GetRandomFlags::empty())? != MARK_LEN {
        return Err(Errno::IO);
    }
    let directory = directory.as_fd();
    let mut past = Past::read(directory);
    past.push(mark, name);
    fsetxattr(directory, ATTRIBUTE, past.0.as_flattened(), XattrFlags::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_mark_is_the_snapshots_own() {
        let mut past = Past::default();
        assert_eq!(past.mark(b"s"), None);
        for number in 0..200 {
            past.push([number; MARK_LEN], b"s");
        }
        assert_eq!(past.mark(b"s"), Some([199; MARK_LEN]));
        assert_eq!(past.mark(b"of somebody else"), None);
        assert!(past.holds(&[72; MARK_LEN]) && past.holds(&[199; MARK_LEN]));
        assert!(!past.holds(&[71; MARK_LEN]) && !past.holds(&[200; MARK_LEN]));
    }
}
