//! The catalog of a dump on tape, in the tape file behind the dump (`format.md` 7.7): writing it, and taking it back.
//!
//! ```text
//! archive: the dump's blocks up to its first object that is no directory, TS_END | head | catalog's pages | zeros | head
//! ```

mod read;
mod write;

pub use read::{CatalogFileReader, CatalogReadError, CatalogReadStep};
pub use write::{CatalogFileWriter, CatalogWriteError, CatalogWriteStep, seal_archive};

#[cfg(test)]
mod tests;
