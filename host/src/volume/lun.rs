//! LUNs on Linux: regular files with the attributes of a LUN in an extended attribute (R-DATA-6).
//!
//! What hosts may do with a LUN stands in its attributes, which every process sees; while a restore is under way on it, an
//! exclusive lock on the file tells that it is alive (R-RESTORE-9). Whoever is killed leaves the attributes, and no lock.

use super::VolumeError;
use super::carrier::attribute_of;
use rustix::buffer::spare_capacity;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{
    self, CWD, FileType, FlockOperation, Gid, Mode, OFlags, Uid, XattrFlags, fgetxattr, flock, fremovexattr,
    fsetxattr, ioctl_ficlone,
};
use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};
use std::path::{Path, PathBuf};
use tapedump_core::device::ErrorKind;
use tapedump_core::device::volume::PropertyKind;
use tapedump_core::record::lun::{LunError, LunRepr, LunState, OsType, SERIAL_LEN, Serial};

/// Longest attributes that are looked at; those of a later version may be longer than ours.
const VALUE_LEN_MAX: usize = 4096;

/// What a file's attributes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marked {
    /// It is no LUN, and nothing is restored over it.
    Not,
    /// They are not understood.
    Garbage(LunError),
    /// It is a LUN, or restricted.
    As(LunRepr),
}

impl Marked {
    fn of(value: Result<Vec<u8>, Errno>) -> Result<Self, Errno> {
        match value {
            Ok(value) => Ok(LunRepr::of_value(&value).map_or_else(Self::Garbage, Self::As)),
            Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(Self::Not),
            Err(Errno::RANGE) => Ok(Self::Garbage(LunError::BadMagic)),
            Err(errno) => Err(errno),
        }
    }

    /// Reads the attributes of an open file.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn read(file: impl AsFd) -> Result<Self, Errno> {
        let mut value = Vec::with_capacity(VALUE_LEN_MAX);
        let read = fgetxattr(file, name().as_ref(), spare_capacity(&mut value));
        Self::of(read.map(|_| value))
    }

    /// Reads the attributes of the object at a path that may also be a descriptor's in `/proc`; a link is followed.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn read_path(path: &str) -> Result<Self, Errno> {
        let mut value = Vec::with_capacity(VALUE_LEN_MAX);
        let read = fs::getxattr(path, name().as_ref(), spare_capacity(&mut value));
        Self::of(read.map(|_| value))
    }

    /// Reads the attributes of the object at a path, which is no link.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn at(path: &Path) -> Result<Self, Errno> {
        let mut value = Vec::with_capacity(VALUE_LEN_MAX);
        let read = fs::lgetxattr(path, name().as_ref(), spare_capacity(&mut value));
        Self::of(read.map(|_| value))
    }
}

fn name() -> std::borrow::Cow<'static, [u8]> {
    attribute_of(PropertyKind::Lun, b"")
}

/// Gives an open file these attributes.
///
/// # Errors
/// The file system does not take them.
pub fn mark(file: impl AsFd, lun: &LunRepr) -> Result<(), Errno> {
    fsetxattr(file, name().as_ref(), &lun.value(), XattrFlags::empty())
}

/// Takes the attributes of an open file away.
///
/// # Errors
/// The file system does not let them go.
pub fn unmark(file: impl AsFd) -> Result<(), Errno> {
    match fremovexattr(file, name().as_ref()) {
        Err(Errno::NODATA) => Ok(()),
        other => other,
    }
}

/// Locks an open file against other restores and changes of its attributes, until it is closed. `false`: somebody else
/// holds a lock.
///
/// # Errors
/// The file system has no locks.
pub fn lock(file: impl AsFd) -> Result<bool, Errno> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// A new serial.
///
/// # Errors
/// The system gives no random numbers.
pub fn new_serial() -> Result<Serial, VolumeError> {
    const CHARACTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let failed = |errno| VolumeError::pathless("make a serial", errno);
    let mut bytes = [0; SERIAL_LEN];
    if getrandom(&mut bytes, GetRandomFlags::empty()).map_err(failed)? != SERIAL_LEN {
        return Err(failed(Errno::IO));
    }
    Serial::new(bytes.map(|byte| CHARACTERS[usize::from(byte % 64)])).ok_or_else(|| failed(Errno::IO))
}

/// An open regular file, with what it is marked as.
#[derive(Debug)]
pub struct LunFile {
    path: PathBuf,
    file: OwnedFd,
    marked: Marked,
}

impl LunFile {
    /// Opens a regular file; a link at its name is followed.
    ///
    /// # Errors
    /// It is no regular file, or cannot be read.
    pub fn open(path: &Path) -> Result<Self, VolumeError> {
        let failed = |errno| VolumeError::system("open", path, errno);
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = fs::open(path, flags, Mode::empty()).map_err(failed)?;
        let stat = fs::fstat(&file).map_err(failed)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(VolumeError::own("use", path, ErrorKind::Invalid, "it is not a regular file"));
        }
        let marked = Marked::read(&file).map_err(failed)?;
        Ok(Self { path: path.to_owned(), file, marked })
    }

    /// Makes a new LUN, all of it a hole.
    ///
    /// # Errors
    /// It cannot be made, or cannot be marked; nothing is left then.
    pub fn create(path: &Path, size: u64, serial: Serial, os_type: OsType) -> Result<Self, VolumeError> {
        let made = Self::make(path, |file| {
            fs::ftruncate(file, size).map_err(|errno| VolumeError::system("set the length of", path, errno))
        })?;
        made.marked_or_removed(LunRepr::new(serial, os_type, size))
    }

    /// Makes a clone: a LUN of its own that shares the data, as long as neither is written.
    ///
    /// # Errors
    /// It cannot be made or marked, or the file system has no reflinks; nothing is left then.
    pub fn clone_to(&self, path: &Path, lun: LunRepr) -> Result<Self, VolumeError> {
        let made = Self::make(path, |file| {
            ioctl_ficlone(file, &self.file).map_err(|errno| match errno {
                Errno::XDEV => {
                    VolumeError::own("clone to", path, ErrorKind::Unsupported, "it is on another file system")
                }
                Errno::OPNOTSUPP | Errno::NOTTY | Errno::INVAL => VolumeError::own(
                    "clone to",
                    path,
                    ErrorKind::Unsupported,
                    "this file system cannot share data between files; btrfs and XFS can",
                ),
                errno => VolumeError::system("clone to", path, errno),
            })?;
            let copy = || {
                let stat = fs::fstat(&self.file)?;
                fs::fchown(file, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
                fs::fchmod(file, Mode::from_raw_mode(stat.st_mode))
            };
            copy().map_err(|errno| VolumeError::system("set owner and permissions of", path, errno))
        })?;
        made.marked_or_removed(lun)
    }

    /// Makes a file; removes it again if `fill` fails.
    fn make(
        path: &Path,
        fill: impl FnOnce(&OwnedFd) -> Result<(), VolumeError>,
    ) -> Result<Self, VolumeError> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = fs::open(path, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|errno| VolumeError::system("create", path, errno))?;
        let made = Self { path: path.to_owned(), file, marked: Marked::Not };
        match fill(&made.file) {
            Ok(()) => Ok(made),
            Err(error) => Err(made.removed(error)),
        }
    }

    fn marked_or_removed(mut self, lun: LunRepr) -> Result<Self, VolumeError> {
        match self.set(lun) {
            Ok(()) => Ok(self),
            Err(error) => Err(self.removed(error)),
        }
    }

    fn removed(self, error: VolumeError) -> VolumeError {
        // The error says what went wrong; that an empty file stays behind shows by itself.
        let _ = fs::unlinkat(CWD, &self.path, fs::AtFlags::empty());
        error
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it is marked as.
    #[must_use]
    pub const fn marked(&self) -> Marked {
        self.marked
    }

    /// Its length in bytes.
    ///
    /// # Errors
    /// The system cannot tell.
    pub fn data_len(&self) -> Result<u64, VolumeError> {
        let stat = fs::fstat(&self.file);
        let stat = stat.map_err(|errno| VolumeError::system("read the attributes of", &self.path, errno))?;
        Ok(stat.st_size.unsigned_abs())
    }

    /// Keeps restores and other changes of the attributes away until it is closed. `false`: there is one already.
    ///
    /// # Errors
    /// The file system has no locks.
    pub fn lock(&self) -> Result<bool, VolumeError> {
        lock(&self.file).map_err(|errno| VolumeError::system("lock", &self.path, errno))
    }

    /// Gives it these attributes, durably. Those that mark nothing are taken away.
    ///
    /// # Errors
    /// The file system does not take them.
    pub fn set(&mut self, lun: LunRepr) -> Result<(), VolumeError> {
        let is_nothing = lun.plain_file && !lun.restricted;
        let set = if is_nothing { unmark(&self.file) } else { mark(&self.file, &lun) };
        set.map_err(|errno| match errno {
            Errno::PERM => VolumeError::own(
                "set the LUN attributes of",
                &self.path,
                ErrorKind::Denied,
                "only root can set them",
            ),
            Errno::OPNOTSUPP => VolumeError::own(
                "set the LUN attributes of",
                &self.path,
                ErrorKind::Unsupported,
                "this file system has no extended attributes of the kind trusted., so that it can hold no LUNs",
            ),
            errno => VolumeError::system("set the LUN attributes of", &self.path, errno),
        })?;
        fs::fsync(&self.file).map_err(|errno| VolumeError::system("flush", &self.path, errno))?;
        self.marked = if is_nothing { Marked::Not } else { Marked::As(lun) };
        Ok(())
    }
}

/// The state as users read and write it.
#[must_use]
pub const fn state_name(lun: &LunRepr) -> &'static str {
    match lun.state {
        _ if lun.restricted => "restricted",
        LunState::Online => "online",
        LunState::Offline => "offline",
        LunState::Inconsistent => "inconsistent",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serials_are_printable_and_different() {
        let (one, other) = (new_serial().unwrap(), new_serial().unwrap());
        assert_ne!(one, other);
        assert_eq!(one.to_string().len(), SERIAL_LEN);
    }

    #[test]
    fn only_regular_files_are_luns() {
        let dir = tempfile::tempdir().unwrap();
        let refused = LunFile::open(dir.path()).unwrap_err();
        assert!(refused.to_string().contains("not a regular file"), "{refused}");
        std::fs::write(dir.path().join("file"), "12345").unwrap();
        let file = LunFile::open(&dir.path().join("file")).unwrap();
        assert_eq!((file.marked(), file.data_len().unwrap()), (Marked::Not, 5));
        assert!(file.lock().unwrap());
        let again = LunFile::open(&dir.path().join("file")).unwrap();
        assert!(!again.lock().unwrap(), "the first one holds it");
        drop(file);
        assert!(again.lock().unwrap());
    }

    #[test]
    fn attributes_are_seen_by_others_and_nothing_is_left_where_they_cannot_be_set() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lun");
        let serial = new_serial().unwrap();
        match LunFile::create(&path, 1 << 30, serial, OsType::Linux) {
            Ok(made) => {
                let lun = LunRepr::new(serial, OsType::Linux, 1 << 30);
                assert_eq!(Marked::at(&path).unwrap(), Marked::As(lun));
                assert_eq!(made.data_len().unwrap(), 1 << 30);
                let mut again = LunFile::open(&path).unwrap();
                again.set(LunRepr { plain_file: true, ..lun }).unwrap();
                assert_eq!(Marked::read(&made.file).unwrap(), Marked::Not);
            }
            Err(error) => {
                assert!(error.to_string().contains("LUN attributes"), "{error}");
                assert!(!path.exists(), "not root, or no such attributes here");
            }
        }
    }
}
