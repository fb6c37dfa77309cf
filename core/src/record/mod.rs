//! Bytes of the format: one structure, one file. No device, no clock.
//!
#![doc = include_str!("../../docs/format.md")]

pub mod dirent;
pub mod header;
pub mod holes;
pub mod linux_xattr;
pub mod map;
pub mod payload;
