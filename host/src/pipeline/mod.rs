//! Speed: reading ahead and writing behind, on several threads, behind the device contracts.

pub mod write_behind;
