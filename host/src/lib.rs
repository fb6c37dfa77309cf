//! Host side of tapedump.

pub mod pipeline;
pub mod volume;
