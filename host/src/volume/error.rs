//! The error of a mounted volume: what was tried, on what, and why it failed.

use super::errno::kind_of;
use crate::text::{printable, printable_path};
use rustix::io::Errno;
use std::fmt;
use std::path::{Path, PathBuf};
use tapedump_core::device::{DeviceError, ErrorKind};
use tapedump_core::units::Ino;

/// Failure of a source or target volume. Shown as "cannot OPERATION PATH: REASON"; in the alternate form (`{:#}`) only
/// as the extended attribute it concerns, with a space before it, or as nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeError {
    operation: &'static str,
    path: Option<PathBuf>,
    cause: Cause,
    /// The extended attribute it concerns.
    attribute: Option<Box<[u8]>>,
}

/// Why it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// The kernel says so.
    System(Errno),
    /// We say so.
    Own(ErrorKind, &'static str),
}

impl VolumeError {
    /// The kernel refused `operation`, a verb with what goes before the path ("set the owner of"), on `path`.
    pub fn system(operation: &'static str, path: impl Into<PathBuf>, errno: Errno) -> Self {
        Self { operation, path: Some(path.into()), cause: Cause::System(errno), attribute: None }
    }

    /// The kernel refused something that concerns no path.
    #[must_use]
    pub const fn pathless(operation: &'static str, errno: Errno) -> Self {
        Self { operation, path: None, cause: Cause::System(errno), attribute: None }
    }

    /// We refuse `operation` on `path` for a reason of our own.
    pub fn own(
        operation: &'static str,
        path: impl Into<PathBuf>,
        kind: ErrorKind,
        reason: &'static str,
    ) -> Self {
        Self { operation, path: Some(path.into()), cause: Cause::Own(kind, reason), attribute: None }
    }

    /// Names the extended attribute it concerns.
    #[must_use]
    pub fn of_attribute(mut self, name: &[u8]) -> Self {
        self.attribute = Some(name.into());
        self
    }

    /// Names what it concerns by its number from now on; the path takes memory no longer.
    pub(crate) fn forget_path(&mut self, ino: Ino) {
        self.path = Some(PathBuf::from(ino.to_string()));
    }

    /// What it concerns, when it concerns a single thing.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// The kernel's error number, when it was the kernel that refused.
    #[must_use]
    pub const fn errno(&self) -> Option<Errno> {
        match self.cause {
            Cause::System(errno) => Some(errno),
            Cause::Own(..) => None,
        }
    }
}

impl DeviceError for VolumeError {
    fn kind(&self) -> ErrorKind {
        match self.cause {
            Cause::System(errno) => kind_of(errno),
            Cause::Own(kind, _) => kind,
        }
    }
}

impl fmt::Display for VolumeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if f.alternate() {
            let name = self.attribute.as_deref();
            return name.map_or(Ok(()), |name| write!(f, " {}", printable(name)));
        }
        write!(f, "cannot {}", self.operation)?;
        if let Some(path) = &self.path {
            write!(f, " {}", printable_path(path))?;
        }
        match self.cause {
            Cause::System(errno) => write!(f, ": {errno}"),
            Cause::Own(_, reason) => write!(f, ": {reason}"),
        }
    }
}

impl std::error::Error for VolumeError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_operation_path_and_reason() {
        let error = VolumeError::system("create", "/to/file", Errno::ACCESS);
        assert_eq!(error.to_string(), "cannot create /to/file: Permission denied (os error 13)");
        assert_eq!(error.kind(), ErrorKind::Denied);
        assert_eq!(error.path(), Some(Path::new("/to/file")));
        assert_eq!(error.errno(), Some(Errno::ACCESS));

        assert_eq!(format!("{error:#}"), "");
        assert_eq!(format!("{:#}", error.of_attribute(b"user.a\n")), " user.a\\n");
        let error = VolumeError::system("create", "/to/\x1b[2K\r", Errno::ACCESS);
        assert!(error.to_string().starts_with("cannot create /to/\\x1b[2K\\r: "), "{error}");

        let own = VolumeError::own("compare", "/to/file", ErrorKind::Changed, "it differs");
        assert_eq!(own.to_string(), "cannot compare /to/file: it differs");
        assert_eq!((own.kind(), own.errno()), (ErrorKind::Changed, None));
        assert_eq!(
            VolumeError::pathless("start a thread", Errno::AGAIN).to_string(),
            "cannot start a thread: Resource temporarily unavailable (os error 11)"
        );
    }
}
