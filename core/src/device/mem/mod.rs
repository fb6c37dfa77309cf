//! The device contracts over memory lent by the caller: for firmware without other storage, for demonstrations,
//! and for tests that want to look at and damage what is on a medium.
//!
//! Nothing here allocates, and what is lent bounds everything. Errors are plain [`ErrorKind`](super::ErrorKind)s.

mod block;
mod null;
mod snapshot;
mod tape;
mod volume;

pub use block::MemBlock;
pub use null::NullTarget;
pub use snapshot::{MemSnapshot, MemSnapshots};
pub use tape::{ITEM_OVERHEAD, MemTape, TapeItem, TapeItems};
pub use volume::{MemVolume, Node, Where, differs};
