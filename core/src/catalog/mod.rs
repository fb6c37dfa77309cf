#![doc = include_str!("../../docs/catalog.md")]
//!
//! Layer: above `record`, below `engine`; the one module besides it that works on a device.

mod cache;
mod page;
mod quick;
mod runs;
mod sort;
mod table;

pub use page::{Entry, EntryBuf};
pub use sort::{MEMORY_LEN_MIN, TableBuilder, region_len};
pub use table::{Cursor, Table, TableError};

#[cfg(test)]
mod tests;
