//! An open object of the target, and how its owner, permissions, times and properties are changed through the
//! descriptor alone, so that nobody can put something else in its place meanwhile.

use super::directory::descriptor_path;
use rustix::buffer::spare_capacity;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{self, AtFlags, Mode, Stat, Timespec, Timestamps, XattrFlags};
use rustix::io::{self, Errno};
use rustix::process::{Gid, Uid};
use tapedump_core::device::volume::Attributes;
use tapedump_core::units::Timestamp;

/// Longest list of names of Linux (`XATTR_LIST_MAX`), in bytes.
const LIST_LEN_MAX: usize = 64 * 1024;

/// An open object.
#[derive(Debug)]
pub(super) enum Handle {
    /// A regular file open for writing: changed by its descriptor.
    File(OwnedFd),
    /// Anything else, or a file made earlier, open by `O_PATH`: changed by the descriptor's path in `/proc`, which
    /// needs no right to read or write the object and ends at the object itself, be it a symbolic link.
    Path(OwnedFd),
}

impl Handle {
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::File(fd) | Self::Path(fd) => fd.as_fd(),
        }
    }

    pub(super) fn into_fd(self) -> OwnedFd {
        match self {
            Self::File(fd) | Self::Path(fd) => fd,
        }
    }

    pub(super) fn stat(&self) -> io::Result<Stat> {
        fs::fstat(self.fd())
    }

    /// Changes owner and group; `None` leaves one as it is.
    pub(super) fn set_owner(&self, uid: Option<u32>, gid: Option<u32>) -> io::Result<()> {
        // The highest number means "leave it" to the kernel; as an owner it exists nowhere.
        if uid == Some(u32::MAX) || gid == Some(u32::MAX) {
            return Err(Errno::INVAL);
        }
        let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
        match self {
            Self::File(fd) => fs::fchown(fd, uid, gid),
            Self::Path(fd) => fs::chownat(fd, "", uid, gid, AtFlags::EMPTY_PATH),
        }
    }

    pub(super) fn set_permissions(&self, permissions: u16) -> io::Result<()> {
        let mode = Mode::from_raw_mode(permissions.into());
        match self {
            Self::File(fd) => fs::fchmod(fd, mode),
            Self::Path(fd) => fs::chmod(descriptor_path(fd.as_fd()).as_str(), mode),
        }
    }

    pub(super) fn set_times(&self, attributes: &Attributes) -> io::Result<()> {
        let times = Timestamps {
            last_access: timespec(attributes.accessed)?,
            last_modification: timespec(attributes.modified)?,
        };
        match self {
            Self::File(fd) => fs::futimens(fd, &times),
            Self::Path(fd) => {
                fs::utimensat(fs::CWD, descriptor_path(fd.as_fd()).as_str(), &times, AtFlags::empty())
            }
        }
    }

    pub(super) fn set_xattr(&self, name: &[u8], value: &[u8]) -> io::Result<()> {
        match self {
            Self::File(fd) => fs::fsetxattr(fd, name, value, XattrFlags::empty()),
            Self::Path(fd) => {
                fs::setxattr(descriptor_path(fd.as_fd()).as_str(), name, value, XattrFlags::empty())
            }
        }
    }

    /// Removes all properties in `user.` and `trusted.` but one.
    pub(super) fn remove_foreign_xattrs(&self, kept: &[u8]) -> io::Result<()> {
        let mut names = Vec::with_capacity(LIST_LEN_MAX);
        let path = descriptor_path(self.fd());
        match fs::listxattr(path.as_str(), spare_capacity(&mut names)) {
            Ok(_) | Err(Errno::OPNOTSUPP) => {}
            Err(errno) => return Err(errno),
        }
        for name in names.split(|byte| *byte == 0).filter(|name| *name != kept) {
            if name.starts_with(b"user.") || name.starts_with(b"trusted.") {
                fs::removexattr(path.as_str(), name)?;
            }
        }
        Ok(())
    }

    /// Removes a property; that it is not there, or cannot be there, is as good.
    pub(super) fn remove_xattr(&self, name: &str) -> io::Result<()> {
        let removed = match self {
            Self::File(fd) => fs::fremovexattr(fd, name),
            Self::Path(fd) => fs::removexattr(descriptor_path(fd.as_fd()).as_str(), name),
        };
        match removed {
            Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(()),
            other => other,
        }
    }
}

/// Type and permission bits: the low 16 ones.
pub(super) const fn mode_of(stat: &Stat) -> u16 {
    (stat.st_mode & 0xffff) as u16
}

/// The kernel's form of a time. Nanoseconds outside their range would mean "now" or "leave it" to the kernel.
fn timespec(time: Timestamp) -> Result<Timespec, Errno> {
    if time.nanos >= 1_000_000_000 {
        return Err(Errno::INVAL);
    }
    Ok(Timespec { tv_sec: time.secs, tv_nsec: time.nanos.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nanoseconds_that_mean_something_else_to_the_kernel_are_refused() {
        assert!(timespec(Timestamp { secs: -1, nanos: 999_999_999 }).is_ok());
        for nanos in [1_000_000_000, (1 << 30) - 1, (1 << 30) - 2, u32::MAX] {
            assert_eq!(timespec(Timestamp { secs: 0, nanos }), Err(Errno::INVAL));
        }
    }
}
