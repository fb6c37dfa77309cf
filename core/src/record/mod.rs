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
