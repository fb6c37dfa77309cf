//! What a volume reports when something of it cannot be read: which path, what was tried, and the system's reason.

use std::fmt;
use std::path::PathBuf;

use rustix::io::Errno;
use tapedump_core::device::{DeviceError, ErrorKind};
use tapedump_core::units::Ino;

use crate::volume::errno::kind_of;

/// A failure of a volume or of one object in it.
#[derive(Debug)]
#[non_exhaustive]
pub enum SourceError {
    /// The system refused a call.
    System {
        /// What the call was about.
        path: PathBuf,
        /// What was being done, as in "cannot open".
        what: &'static str,
        /// The system's reason.
        errno: Errno,
    },
    /// What has the name now is not what was found there when the tree was walked.
    Replaced {
        /// The name.
        path: PathBuf,
    },
    /// Another file system is mounted on the object, so that it cannot be seen.
    MountPoint {
        /// The object's name.
        path: PathBuf,
    },
    /// The tree has more objects than a dump has numbers for.
    TooManyObjects {
        /// The tree.
        path: PathBuf,
    },
    /// No object of the volume has this number.
    NoSuchObject(Ino),
    /// A call that needs an open object of some type came while none is open.
    NotOpen,
    /// The user or the system asked to stop.
    Interrupted,
}

impl DeviceError for SourceError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::System { errno, .. } => kind_of(*errno),
            Self::Replaced { .. } | Self::MountPoint { .. } => ErrorKind::Changed,
            Self::TooManyObjects { .. } => ErrorKind::Unsupported,
            Self::NoSuchObject(_) => ErrorKind::NotFound,
            Self::NotOpen => ErrorKind::Invalid,
            Self::Interrupted => ErrorKind::Interrupted,
        }
    }
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System { path, what, errno } => {
                write!(f, "{}: {what}: {}", path.display(), std::io::Error::from(*errno))
            }
            Self::Replaced { path } => {
                write!(f, "{}: replaced by something else since the tree was walked", path.display())
            }
            Self::MountPoint { path } => {
                write!(f, "{}: another file system is mounted on it", path.display())
            }
            Self::TooManyObjects { path } => {
                write!(f, "{}: more objects than a dump can number ({})", path.display(), Ino::LAST.0)
            }
            Self::NoSuchObject(ino) => write!(f, "{ino}: no object of the volume has this number"),
            Self::NotOpen => f.write_str("no object of this type is open"),
            Self::Interrupted => f.write_str("interrupted"),
        }
    }
}

impl std::error::Error for SourceError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_names_the_path_what_was_tried_and_the_reason() {
        let error =
            SourceError::System { path: PathBuf::from("/srv/a"), what: "cannot open", errno: Errno::ACCESS };
        assert_eq!(error.to_string(), "/srv/a: cannot open: Permission denied (os error 13)");
        assert_eq!(error.kind(), ErrorKind::Denied);
    }

    #[test]
    fn kinds_follow_the_error_number() {
        assert_eq!(kind_of(Errno::XDEV), ErrorKind::Changed);
        assert_eq!(kind_of(Errno::NOENT), ErrorKind::NotFound);
        assert_eq!(kind_of(Errno::DQUOT), ErrorKind::Full);
        assert_eq!(kind_of(Errno::IO), ErrorKind::Medium);
        assert_eq!(kind_of(Errno::DOM), ErrorKind::Other);
    }
}
