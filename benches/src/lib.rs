//! Inputs of the benchmarks: providers of checksums, sizes of files, trees, and an allocator that counts.

pub mod allocations;
pub mod checksums;
pub mod sizes;
pub mod tree;
