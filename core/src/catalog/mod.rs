#![doc = include_str!("../../docs/catalog.md")]
//!
//! Layer: above `record`, below `engine`; works on a device, as the history of `chain` does.

mod build;
mod cache;
mod check;
mod error;
mod page;
mod query;
mod quick;
mod row;
mod runs;
mod sink;
mod sort;
mod superblock;
mod table;
mod tree;
mod view;

pub use build::{CATALOG_MEMORY_MIN, CatalogSize, CatalogWriter, SuspendedCatalog};
pub use check::PageCheck;
pub use error::CatalogError;
pub use page::{Entry, EntryBuf};
pub use query::{Catalog, LinkCursor, MapCursor, NameCursor, NumberCursor, TapeCursor};
pub use row::{Flaws, NameRow, ObjectRow, TapePlace, WhichMap};
pub use sink::CatalogSink;
pub use sort::{MEMORY_LEN_MIN, TableBuilder, region_len};
pub use superblock::{CatalogFigures, CatalogIdentity};
pub use table::{Cursor, Table, TableError};
pub use view::{RestoreCursor, View, ViewCursor, ViewLinkCursor};

#[cfg(test)]
mod catalog_tests;
#[cfg(test)]
mod device_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod view_tests;
