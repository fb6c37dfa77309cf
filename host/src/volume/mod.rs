//! Any mounted Linux file system as what a dump reads and a restore writes.

pub mod error;
pub mod linux;
pub mod spool;
