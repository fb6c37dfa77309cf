//! The contracts an integrator implements, and what every device's errors have in common.
//!
//! Layer: below `record`. Each contract takes `&mut self`, is implemented for `&mut D` too, and comes with a
//! memory implementation (`mem`) and a fault-injecting wrapper (`fault`), so that firmware, host and tests
//! meet the same faults.
//!
#![doc = include_str!("../../docs/integrating.md")]

pub mod block;
pub mod fault;
pub mod mem;
pub mod snapshot;
pub mod tape;
pub mod volume;

use core::fmt;

/// What kind of failure a device reports; enough for the engine to decide whether to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ErrorKind {
    /// The medium could not be read or written at this place.
    Medium,
    /// The object is not there (any more).
    NotFound,
    /// The caller may not do this.
    Denied,
    /// The object exists already and may not be replaced.
    Exists,
    /// No space, inodes or quota left.
    Full,
    /// The device is write-protected.
    ReadOnly,
    /// Somebody else holds the device or object.
    Busy,
    /// The user or the system asked to stop.
    Interrupted,
    /// The device cannot do this at all.
    Unsupported,
    /// The object is no longer what it was when it was found: another type, another file, a mount point.
    Changed,
    /// The request does not fit the contract.
    Invalid,
    /// Anything else.
    Other,
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Medium => "the medium cannot be read or written here",
            Self::NotFound => "not found",
            Self::Denied => "permission denied",
            Self::Exists => "exists already",
            Self::Full => "no space left",
            Self::ReadOnly => "write-protected",
            Self::Busy => "in use",
            Self::Interrupted => "interrupted",
            Self::Unsupported => "not supported",
            Self::Changed => "changed while it was in use",
            Self::Invalid => "invalid request",
            Self::Other => "failed",
        })
    }
}

/// A device's own error.
pub trait DeviceError: fmt::Debug {
    /// The kind the engine acts on.
    fn kind(&self) -> ErrorKind;
}

impl DeviceError for ErrorKind {
    fn kind(&self) -> ErrorKind {
        *self
    }
}

impl DeviceError for core::convert::Infallible {
    fn kind(&self) -> ErrorKind {
        match *self {}
    }
}
