//! Why a catalog could not be built or read.

use core::fmt;

use crate::device::{DeviceError, ErrorKind};
use crate::units::Ino;

use super::table::TableError;

/// Why a catalog could not be built or read. `E` is the device's error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum CatalogError<E> {
    /// There is no catalog here: none was made, or the making of one was not brought to its end.
    Absent,
    /// The catalog is of a version that this code does not know.
    Version {
        /// The version's character.
        found: u8,
    },
    /// A page is not what was written: the catalog is not to be trusted, and has to be made again from the tapes.
    Damaged {
        /// Its number, counted from the start of the catalog.
        page: u64,
    },
    /// The lent memory is too small.
    MemoryTooSmall {
        /// Bytes that suffice.
        needed: usize,
    },
    /// The part of the device for the catalog is too small.
    DeviceTooSmall {
        /// Bytes that suffice for what the catalog was told so far, in whatever order.
        needed: u64,
    },
    /// No object can have this number.
    BadNumber {
        /// The number.
        ino: Ino,
    },
    /// No name can have this length.
    BadName {
        /// The length in bytes.
        len: usize,
    },
    /// The path does not fit in the room lent for it, or has no end.
    PathTooLong,
    /// The device failed.
    Device {
        /// First byte of the failed access.
        at: u64,
        /// Why.
        source: E,
    },
}

impl<E> CatalogError<E> {
    /// As an error of a catalog: of a table that begins with the page `from`, on a region for which `needed` bytes
    /// would suffice.
    pub(super) fn of(error: TableError<E>, from: u32, needed: u64) -> Self {
        match error {
            TableError::MemoryTooSmall { needed } => Self::MemoryTooSmall { needed },
            TableError::EntryTooLong { len } => Self::BadName { len },
            TableError::RegionTooSmall { .. } => Self::DeviceTooSmall { needed },
            TableError::Damaged { page } => Self::Damaged { page: page.saturating_add(from.into()) },
            TableError::Device { at, source } => Self::Device { at, source },
        }
    }
}

impl<E> From<TableError<E>> for CatalogError<E> {
    fn from(error: TableError<E>) -> Self {
        Self::of(error, 0, 0)
    }
}

impl<E: DeviceError> CatalogError<E> {
    /// The kind of failure, as of a device.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Absent => ErrorKind::NotFound,
            Self::Version { .. } => ErrorKind::Unsupported,
            Self::Damaged { .. } => ErrorKind::Medium,
            Self::MemoryTooSmall { .. }
            | Self::BadNumber { .. }
            | Self::BadName { .. }
            | Self::PathTooLong => ErrorKind::Invalid,
            Self::DeviceTooSmall { .. } => ErrorKind::Full,
            Self::Device { source, .. } => source.kind(),
        }
    }
}

impl<E: DeviceError> fmt::Display for CatalogError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => write!(f, "there is no catalog"),
            Self::Version { found } => {
                write!(f, "the catalog is of version {}, which is not known here", char::from(*found))
            }
            Self::Damaged { page } => write!(f, "page {page} of the catalog is damaged"),
            Self::MemoryTooSmall { needed } => write!(f, "a catalog needs {needed} bytes of memory"),
            Self::DeviceTooSmall { needed } => write!(f, "the catalog needs {needed} bytes on its device"),
            Self::BadNumber { ino } => write!(f, "no object can be {ino}"),
            Self::BadName { len } => write!(f, "no name can have {len} bytes"),
            Self::PathTooLong => write!(f, "the path is too long"),
            Self::Device { at, source } => write!(f, "byte {at} of the catalog's device: {}", source.kind()),
        }
    }
}
