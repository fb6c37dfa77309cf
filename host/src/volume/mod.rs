//! Any mounted Linux file system as source and target of a dump.
//!
//! Layer: above the device contracts, below `pipeline`. Everything is reached relative to open directories and
//! never through a symbolic link.

pub mod btrfs;
pub mod carrier;
pub mod compare;
pub mod errno;
mod error;
pub(crate) mod failures;
pub mod identity;
pub mod lun;
pub mod place;
pub mod qtree;
pub mod rearrange;
pub mod renamed;
pub mod source;
pub mod spool;
pub mod target;

pub use error::VolumeError;
