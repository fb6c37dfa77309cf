//! The error of every tape on the host: what failed, on which tape, and what to do about it.

use crate::text::printable_path;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use tapedump_core::device::{DeviceError, ErrorKind};

/// Why a tape could not be opened, read, written or positioned.
#[derive(Clone, Debug)]
pub struct TapeError {
    kind: ErrorKind,
    tape: String,
    what: String,
    advice: Option<String>,
    source: Option<Arc<io::Error>>,
    another_cartridge: bool,
}

impl TapeError {
    /// An error of `kind` on `tape` (its path or name, already printable). `what` is a clause without a period.
    #[must_use]
    pub fn new(kind: ErrorKind, tape: impl Into<String>, what: impl Into<String>) -> Self {
        Self {
            kind,
            tape: tape.into(),
            what: what.into(),
            advice: None,
            source: None,
            another_cartridge: false,
        }
    }

    /// A failed system call on `path`; `what` says what could not be done ("cannot write").
    #[must_use]
    pub fn io(path: &Path, what: impl Into<String>, source: io::Error) -> Self {
        let mut error = Self::new(kind_of(&source), printable_path(path), what);
        error.advice = advice_for(error.kind).map(Into::into);
        error.source = Some(Arc::new(source));
        error
    }

    /// Marks that it is the cartridge which will not do, or that there is none: with another one in the drive, it may work.
    #[must_use]
    pub fn another_cartridge(mut self) -> Self {
        self.another_cartridge = true;
        self
    }

    /// Whether the drive works, and another cartridge may do.
    #[must_use]
    pub fn wants_another_cartridge(&self) -> bool {
        self.another_cartridge
    }

    /// Whether the tape has ended, and not a call of the system failed.
    #[must_use]
    pub fn is_end_of_medium(&self) -> bool {
        self.kind == ErrorKind::Full && self.source.is_none()
    }

    /// Says what the user can do, in place of what is said of every error of this kind.
    #[must_use]
    pub fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }
}

/// What helps against any failure of this kind.
const fn advice_for(kind: ErrorKind) -> Option<&'static str> {
    Some(match kind {
        ErrorKind::Full => "make room there, or use a tape elsewhere",
        ErrorKind::Denied => "use a tape that you may use, or run this as somebody who may",
        ErrorKind::ReadOnly => "use a tape on a file system that can be written",
        ErrorKind::Exists => "choose another name",
        ErrorKind::NotFound => "check the name",
        _ => return None,
    })
}

/// The contract's kind for a failed system call.
fn kind_of(error: &io::Error) -> ErrorKind {
    match error.kind() {
        io::ErrorKind::NotFound => ErrorKind::NotFound,
        io::ErrorKind::PermissionDenied => ErrorKind::Denied,
        io::ErrorKind::AlreadyExists => ErrorKind::Exists,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            ErrorKind::Full
        }
        io::ErrorKind::ReadOnlyFilesystem => ErrorKind::ReadOnly,
        io::ErrorKind::WouldBlock | io::ErrorKind::ResourceBusy => ErrorKind::Busy,
        io::ErrorKind::Interrupted => ErrorKind::Interrupted,
        io::ErrorKind::Unsupported => ErrorKind::Unsupported,
        io::ErrorKind::InvalidInput => ErrorKind::Invalid,
        _ if error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => ErrorKind::Medium,
        _ => ErrorKind::Other,
    }
}

impl fmt::Display for TapeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.tape, self.what)?;
        if let Some(source) = &self.source {
            write!(f, ": {source}")?;
        }
        if let Some(advice) = &self.advice {
            write!(f, "; {advice}")?;
        }
        Ok(())
    }
}

impl std::error::Error for TapeError {}

impl DeviceError for TapeError {
    fn kind(&self) -> ErrorKind {
        self.kind
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_where_and_what_to_do() {
        let error = TapeError::io(Path::new("/t/a\nb"), "cannot write", io::Error::from_raw_os_error(28))
            .advise("make room");
        assert_eq!(error.kind(), ErrorKind::Full);
        assert!(text_of(28).ends_with("; make room there, or use a tape elsewhere"), "{}", text_of(28));
        let text = error.to_string();
        assert!(text.starts_with("/t/a\\nb: cannot write: No space left on device"), "{text}");
        assert!(text.ends_with("; make room"), "{text}");
    }

    fn text_of(errno: i32) -> String {
        TapeError::io(Path::new("t"), "cannot write", io::Error::from_raw_os_error(errno)).to_string()
    }

    #[test]
    fn input_output_error_is_a_medium_error() {
        let error = TapeError::io(Path::new("t"), "cannot read", io::Error::from_raw_os_error(5));
        assert_eq!(error.kind(), ErrorKind::Medium);
    }
}
