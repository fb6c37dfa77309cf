//! The snapshot contract: frozen images of a volume, which dumps read instead of the volume itself (R-SNAP-1), and the
//! rules for the names of those that dumps make (R-SNAP-3, R-SNAP-4).

use core::fmt;

use super::{DeviceError, ErrorKind};
use crate::limits::NAME_LEN_MAX;
use crate::units::DumpId;

/// What the names of snapshots begin with that dumps make for themselves; their number follows.
pub const BACKUP_PREFIX: &[u8] = b"snapshot_for_backup.";

/// Numbers passed over in one go because snapshots of these names are there: more than dumps were killed since they were
/// last cleaned up.
pub const NUMBERS_TRIED_MAX: u32 = 1024;

/// The name of a snapshot: at least one byte, and such that it can be the name of a directory.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SnapshotName {
    bytes: [u8; NAME_LEN_MAX],
    len: u8,
}

/// Why something is no name of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum SnapshotNameError {
    /// It has no bytes.
    Empty,
    /// It has more than [`NAME_LEN_MAX`] bytes.
    TooLong {
        /// How many.
        len: usize,
    },
    /// It is `.` or `..`, or has a slash or a zero byte.
    Path,
}

impl fmt::Display for SnapshotNameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the name of a snapshot has at least one character"),
            Self::TooLong { len } => {
                write!(f, "it has {len} bytes, and the name of a snapshot has up to {NAME_LEN_MAX}")
            }
            Self::Path => f.write_str("it is a path, not the name of a snapshot"),
        }
    }
}

impl SnapshotName {
    /// Takes a name.
    ///
    /// # Errors
    /// It is none.
    pub fn new(name: &[u8]) -> Result<Self, SnapshotNameError> {
        let len = u8::try_from(name.len()).map_err(|_| SnapshotNameError::TooLong { len: name.len() })?;
        match name {
            [] => return Err(SnapshotNameError::Empty),
            b"." | b".." => return Err(SnapshotNameError::Path),
            _ if name.iter().any(|byte| matches!(byte, b'/' | 0)) => return Err(SnapshotNameError::Path),
            _ => {}
        }
        Ok(Self::filled(name.iter().copied(), len))
    }

    /// The name of the snapshot that a dump makes for itself (R-SNAP-3).
    #[must_use]
    pub fn for_backup(number: u32) -> Self {
        let mut divisor = 1_u32;
        while let Some(higher) = divisor.checked_mul(10).filter(|higher| *higher <= number) {
            divisor = higher;
        }
        let mut len = BACKUP_PREFIX.len() as u8;
        let mut digits = [0; 10];
        for digit in &mut digits {
            if divisor == 0 {
                break;
            }
            *digit = b'0' + number.checked_div(divisor).unwrap_or(0).wrapping_rem(10) as u8;
            len = len.wrapping_add(1);
            divisor /= 10;
        }
        Self::filled(BACKUP_PREFIX.iter().chain(&digits).copied(), len)
    }

    fn filled(name: impl Iterator<Item = u8>, len: u8) -> Self {
        let mut bytes = [0; NAME_LEN_MAX];
        bytes.iter_mut().zip(name).for_each(|(to, from)| *to = from);
        Self { bytes, len }
    }

    /// The name.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}

impl fmt::Debug for SnapshotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bytes().escape_ascii().fmt(f)
    }
}

/// What tells one run of a system from the next: new with every boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct BootId(pub [u8; 16]);

/// Which number the next snapshot for a dump gets. It is kept where all dumps of the system find it, and whoever uses it
/// keeps others from it meanwhile: so no two dumps get the same number (R-SNAP-4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct BackupNumbers {
    /// The boot in which it counts.
    pub boot: BootId,
    /// The next number.
    pub next: u32,
}

impl BackupNumbers {
    /// The same in this boot: after another one the numbers start again at 0 (R-SNAP-3).
    #[must_use]
    pub fn in_boot(self, boot: BootId) -> Self {
        if self.boot == boot { self } else { Self { boot, next: 0 } }
    }

    /// Makes the snapshot for a dump, locked for it, and counts it. Numbers of snapshots that are there, as a dump before
    /// the last boot may have left one, are passed over.
    ///
    /// # Errors
    /// It cannot be made, or [`NUMBERS_TRIED_MAX`] numbers are in use.
    pub fn create<S: Snapshots + ?Sized>(
        &mut self,
        snapshots: &mut S,
        holder: DumpId,
    ) -> Result<SnapshotName, S::Error> {
        let mut tries_left = NUMBERS_TRIED_MAX;
        loop {
            let name = SnapshotName::for_backup(self.next);
            match snapshots.create(&name, Some(holder)) {
                Ok(()) => {
                    self.next = self.next.wrapping_add(1);
                    return Ok(name);
                }
                Err(error) if error.kind() == ErrorKind::Exists && tries_left > 0 => {
                    tries_left -= 1;
                    self.next = self.next.wrapping_add(1);
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// The snapshots of a volume.
///
/// A snapshot shows the whole volume as it was in one instant, whatever happens to the volume since, and cannot be
/// changed. Locks last until they are taken away, also when the system is started anew.
pub trait Snapshots {
    /// Their own error.
    type Error: DeviceError;
    /// What a snapshot is read through: a [`SourceVolume`](super::volume::SourceVolume), or what one is made of.
    type Image;

    /// Makes a snapshot of the volume as it is now. With a holder it is locked for it from the beginning, so that
    /// whatever ends the program, there is no moment in which nobody knows whose it is.
    ///
    /// # Errors
    /// [`ErrorKind::Exists`]: there is one of this name; [`ErrorKind::Full`]: there is no room for it;
    /// [`ErrorKind::Unsupported`]: there are no snapshots on this volume. None was made then.
    fn create(&mut self, name: &SnapshotName, holder: Option<DumpId>) -> Result<(), Self::Error>;

    /// Opens a snapshot for reading.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`]: there is none of this name; or it cannot be read.
    fn open(&mut self, name: &SnapshotName) -> Result<Self::Image, Self::Error>;

    /// Locks a snapshot for a dump that reads it, or that can be restarted from it (R-SNAP-5). A snapshot can have several
    /// holders; to be locked twice for one is to be locked once.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`]: there is none of this name; or the lock cannot be kept.
    fn lock(&mut self, name: &SnapshotName, holder: DumpId) -> Result<(), Self::Error>;

    /// Takes the lock of a holder away, if it has one.
    ///
    /// # Errors
    /// The lock cannot be taken away.
    fn unlock(&mut self, name: &SnapshotName, holder: DumpId) -> Result<(), Self::Error>;

    /// Deletes a snapshot.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`]: there is none of this name; [`ErrorKind::Busy`]: it is locked (R-SNAP-5). It is still
    /// there, as it was, in this case and every other one.
    fn delete(&mut self, name: &SnapshotName) -> Result<(), Self::Error>;
}

impl<S: Snapshots + ?Sized> Snapshots for &mut S {
    type Error = S::Error;
    type Image = S::Image;

    fn create(&mut self, name: &SnapshotName, holder: Option<DumpId>) -> Result<(), Self::Error> {
        (**self).create(name, holder)
    }
    fn open(&mut self, name: &SnapshotName) -> Result<Self::Image, Self::Error> {
        (**self).open(name)
    }
    fn lock(&mut self, name: &SnapshotName, holder: DumpId) -> Result<(), Self::Error> {
        (**self).lock(name, holder)
    }
    fn unlock(&mut self, name: &SnapshotName, holder: DumpId) -> Result<(), Self::Error> {
        (**self).unlock(name, holder)
    }
    fn delete(&mut self, name: &SnapshotName) -> Result<(), Self::Error> {
        (**self).delete(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::mem::{MemSnapshot, MemSnapshots};
    extern crate std;
    use std::format;

    #[test]
    fn names_of_backups_have_their_number() {
        for number in [0, 1, 9, 10, 11, 99, 100, 65536, 1_000_000_000, u32::MAX] {
            let name = SnapshotName::for_backup(number);
            assert_eq!(name.bytes(), format!("snapshot_for_backup.{number}").as_bytes());
            assert_eq!(SnapshotName::new(name.bytes()), Ok(name));
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for name in [&b"a"[..], b"...", b"a b", b"-", &[0xff; NAME_LEN_MAX]] {
            assert_eq!(SnapshotName::new(name).unwrap().bytes(), name);
        }
        assert_eq!(SnapshotName::new(b""), Err(SnapshotNameError::Empty));
        assert_eq!(SnapshotName::new(&[b'a'; 256]), Err(SnapshotNameError::TooLong { len: 256 }));
        for name in [&b"."[..], b"..", b"/", b"a/b", b"a\0"] {
            assert_eq!(SnapshotName::new(name), Err(SnapshotNameError::Path), "{name:?}");
        }
    }

    fn number(name: Result<SnapshotName, ErrorKind>) -> u32 {
        let name = name.unwrap();
        (0..100).find(|number| SnapshotName::for_backup(*number) == name).unwrap()
    }

    /// R-SNAP-3, R-SNAP-4
    #[test]
    fn numbers_rise_by_one_and_start_again_after_a_boot() {
        let mut slots = [MemSnapshot::EMPTY; 4];
        let mut snapshots = MemSnapshots::new(&mut slots);
        let (first, second) = (BootId([1; 16]), BootId([2; 16]));
        let mut numbers = BackupNumbers::default().in_boot(first);
        let next = |numbers: &mut BackupNumbers, snapshots: &mut MemSnapshots<'_>| {
            number(numbers.create(snapshots, DumpId([7; 16])))
        };
        assert_eq!((next(&mut numbers, &mut snapshots), next(&mut numbers, &mut snapshots)), (0, 1));
        // What was deleted does not come again.
        snapshots.unlock(&SnapshotName::for_backup(1), DumpId([7; 16])).unwrap();
        snapshots.delete(&SnapshotName::for_backup(1)).unwrap();
        numbers = numbers.in_boot(first);
        assert_eq!(next(&mut numbers, &mut snapshots), 2);
        // A new boot; 0 and 2 were left.
        numbers = numbers.in_boot(second);
        assert_eq!((next(&mut numbers, &mut snapshots), next(&mut numbers, &mut snapshots)), (1, 3));
        // No room is no number.
        let full = numbers;
        assert_eq!(numbers.create(&mut snapshots, DumpId([7; 16])), Err(ErrorKind::Full));
        assert_eq!(numbers, full);
    }
}
