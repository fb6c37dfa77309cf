//! Increment chains: which dump an increment builds on, what a restore needs, and when a baseline has to be made.
//!
//! Layer: above `device`, below `engine`, beside `catalog`. The rules are pure: they ask a [`Dumps`], which a slice in
//! memory is as well as the [`history`] on a block device, and keep at most one chain.
//!
//! A dump counts as a base when it is [usable](Outcome::is_usable), when all dumps below it are there, and when it was
//! made by this engine. Dumps are in the order of their dates; where those are equal, in the order in which they were
//! recorded.

mod baseline;
mod dump;
pub mod history;
mod plan;
mod resolve;

pub use baseline::{Application, BaselineReason, DumpRequest};
pub use dump::{
    Access, BaseRef, CatalogPlace, Dump, Entry, EntryError, Maker, NodeId, Numbering, Outcome, OwnerId,
    Release, Tape, TapeId, VolumeState,
};
pub use plan::{CannotApply, MissingTape, PlannedTapes, Point, TapeDump, WrongDump, plan};
pub use resolve::{BaseError, Chain, ChainError, Dumps, Link, Place, Recorded, SliceDumps, base, chain};

#[cfg(test)]
mod tests;
