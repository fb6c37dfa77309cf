//! Speed: reading ahead and writing behind, on several threads, behind the device contracts.

pub mod read_ahead;
pub mod write_behind;
