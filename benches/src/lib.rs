//! Inputs of the benchmarks: providers of checksums, a clock, sizes of files, trees, and an allocator that counts.

pub mod allocations;
pub mod checksums;
pub mod processor_time;
pub mod sizes;
pub mod tree;
