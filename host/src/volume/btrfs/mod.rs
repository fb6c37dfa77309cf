//! Volumes on btrfs.

pub mod tree_search;
