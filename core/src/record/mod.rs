//! Bytes of the format: one structure, one file. No device, no clock.
//!
#![doc = include_str!("../../docs/format.md")]

pub mod acl;
pub mod catalog_file;
pub mod dialect;
pub mod dirent;
pub mod dos;
pub mod extension;
pub mod header;
pub mod holes;
mod inode;
pub mod linux_xattr;
pub mod lun;
pub mod map;
pub mod payload;
pub mod qtree;

use zerocopy::byteorder::{BE, U64};

/// A number as it is stored. A machine whose own order is another one needs dozens of instructions for it, and there are many
/// of these.
#[inline(never)]
pub(crate) const fn get_u64(number: &U64<BE>) -> u64 {
    number.get()
}

/// As it is to be stored; see [`get_u64`].
#[inline(never)]
pub(crate) fn put_u64(number: u64) -> U64<BE> {
    number.into()
}
