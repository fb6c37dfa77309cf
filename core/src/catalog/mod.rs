#![doc = include_str!("../../docs/catalog.md")]
//!
//! Layer: above `record`, below `engine`; works on a device, as the history of `chain` does.

mod cache;
mod page;
mod quick;
mod sort;
mod table;

pub use page::{Entry, EntryBuf};
pub use sort::{MEMORY_LEN_MIN, TableBuilder, region_len};
pub use table::{Cursor, Table, TableError};

#[cfg(test)]
mod tests;
