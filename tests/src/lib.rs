//! Test support: what the integration tests in `integration/` stand on.
//!
//! Nothing here uses the engine: tapes are read ([`tape`]), forged ([`forge`]) and byte-swapped ([`swap`]) by code
//! that was written from the format document alone, so that an error in the engine cannot hide itself.

pub mod cli;
pub mod debian;
pub mod digest;
pub mod fixtures;
pub mod forge;
pub mod needs;
pub mod product;
pub mod random;
pub mod scratch;
pub mod swap;
pub mod tape;
pub mod terminal;
pub mod tree;
