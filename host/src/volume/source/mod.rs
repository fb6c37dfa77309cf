//! Any mounted Linux file system as the source of a dump.
//!
//! ```text
//! source      LinuxSource: the contract, one object at a time; entries: of its open directory
//! ahead       batches of objects read on several threads
//! load        one object: attributes, small data; properties
//! build       the index of all objects: numbers, tables, bits; number_map: the numbers that last
//! since       what changed in a btrfs volume, without a walk
//! walk        every directory read once; sort: what is found, by inode number
//! reach       opening beneath the root; junctions: where other volumes are in the tree
//! ```
//!
//! The root and everything beneath it on the same mount is dumped. A directory on which another file system is
//! mounted, or which is the root of another subvolume, is dumped as a symbolic link; `.snapshot` in the root is left out
//! (R-SNAP-6).
//!
//! Memory does not grow with the number of objects, except for some bits per inode number, and for what is mounted in
//! the tree: lists that outgrow memory go to unlinked files in a scratch directory. What an increment need not dump is a
//! bit and nothing else, so that it costs no more than being asked whether it changed.

mod ahead;
mod bits;
mod build;
mod entries;
mod exclude;
mod junctions;
mod load;
mod number_map;
mod numbers;
mod properties;
mod reach;
mod since;
mod sort;
mod table;
#[cfg(test)]
mod tests;
mod volume;
mod walk;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;

use crate::volume::place::is_volume_root;
use crate::volume::qtree;
use build::Index;
pub use exclude::{Excluded, Pattern};
pub(crate) use junctions::Junctions;
pub use number_map::NumberMap;
use numbers::DIRECT_LIMIT;
pub use numbers::Numbering;
use reach::Root;
pub use since::{Earlier, EarlierNames};
use tapedump_core::record::map::MapView;
use tapedump_core::units::Ino;
pub use volume::LinuxSource;

/// The most threads that are used unless more are asked for.
const DEFAULT_THREADS_MAX: usize = 8;

/// How a tree is read.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SourceOptions {
    /// Nothing in the tree can change (a read-only snapshot): it is not checked whether something did.
    pub frozen: bool,
    /// Threads that read ahead; 0: as many as suit the machine; 1: none beside the caller's.
    pub threads: usize,
    /// Where lists go that outgrow memory.
    pub scratch_dir: PathBuf,
    /// The dump that this one builds on; without it, everything is to be dumped.
    pub base: Option<Base>,
    /// The tree is read from a snapshot of it.
    pub image: Option<Image>,
    /// Set by somebody else to stop reading.
    pub interrupt: Option<Arc<AtomicBool>>,
    /// Names that are not part of the dump.
    pub excluded: Excluded,
    /// What has only another time of change counts as unchanged: its data are what they were, and its attributes may not be.
    pub ignore_ctime: bool,
    tuning: Tuning,
}

/// The dump that another one builds on.
#[derive(Clone, Debug)]
pub struct Base {
    /// What changed at or after this time, in seconds since 1970, is looked for.
    pub since: i64,
    /// Map of the objects that a restore of the base's chain gives rightly.
    pub known: Arc<[u8]>,
    /// Its numbers, if they were [`Numbering::Dense`]: what was there keeps its number.
    pub numbers: Option<Arc<NumberMap>>,
}

impl Base {
    /// Whether the chain has the object of this number, unless it changed. Only real numbers tell during the walk.
    fn has(&self, real: u64) -> bool {
        let ino = u32::try_from(real).ok().filter(|_| self.numbers.is_none());
        ino.is_some_and(|ino| MapView::new(&self.known).contains(Ino(ino)))
    }
}

/// What a snapshot is one of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The tree that the snapshot shows: what is read has its paths, in headers and messages.
    pub tree: PathBuf,
    /// The snapshot's name, which is in headers as the device.
    pub name: Vec<u8>,
}

/// Sizes that only tests change.
#[derive(Clone, Debug)]
struct Tuning {
    /// Real numbers below this are used as they are.
    direct_limit: u64,
    /// Bytes collected before a sorted run goes to disk.
    sort_memory: usize,
    /// Bytes of each list kept in memory.
    spool_memory: usize,
    /// Use `openat2` where it works.
    openat2: bool,
    /// Believe directory entries where the file system is known for telling the truth.
    entry_numbers: bool,
}

impl SourceOptions {
    /// A live tree, as many threads as suit the machine, no interruption.
    #[must_use]
    pub fn new(scratch_dir: impl Into<PathBuf>) -> Self {
        let tuning = Tuning {
            direct_limit: DIRECT_LIMIT,
            sort_memory: 8 << 20,
            spool_memory: 4 << 20,
            openat2: true,
            entry_numbers: true,
        };
        let scratch_dir = scratch_dir.into();
        Self {
            frozen: false,
            threads: 0,
            scratch_dir,
            base: None,
            image: None,
            interrupt: None,
            excluded: Excluded::default(),
            ignore_ctime: false,
            tuning,
        }
    }

    fn is_interrupted(&self) -> bool {
        self.interrupt.as_ref().is_some_and(|flag| flag.load(Ordering::Relaxed))
    }

    fn thread_count(&self) -> usize {
        if self.threads > 0 {
            return self.threads;
        }
        // Reading waits for the medium now and then, so more than one per core.
        let cores = thread::available_parallelism().map_or(1, usize::from);
        (cores * 2).min(DEFAULT_THREADS_MAX)
    }
}

/// What all threads share.
struct Volume {
    root: Root,
    index: Index,
    options: SourceOptions,
    qtrees: Qtrees,
    /// Map of the objects that will be opened; without it all.
    wanted: OnceLock<Box<[u8]>>,
    /// Objects that are open for the consumer.
    held: Arc<AtomicUsize>,
}

/// The numbers of the qtrees that objects are in.
#[derive(Debug, Default)]
struct Qtrees {
    /// That the root is in.
    own: u32,
    /// Those of directories in the root, where that is a volume's.
    top_level: HashMap<Vec<u8>, u32>,
}

impl Qtrees {
    /// Where the system cannot tell, there are none.
    fn of(root: &Root) -> Self {
        let own = qtree::enclosing(root.fd()).and_then(|root| qtree::read(&root).ok()??);
        let mut top_level = HashMap::new();
        if is_volume_root(root.fd()).unwrap_or(false) {
            let found = qtree::list(root.fd()).unwrap_or_default();
            top_level.extend(found.into_iter().filter_map(|found| Some((found.name, found.qtree?.id))));
        }
        Self { own: own.map_or(0, |qtree| qtree.id), top_level }
    }

    /// The qtree of what is in this directory, by its path beneath the root, or is it.
    fn of_path(&self, path: &[u8]) -> u32 {
        if self.top_level.is_empty() {
            return self.own;
        }
        let name = path.split(|byte| *byte == b'/').next().unwrap_or_default();
        self.top_level.get(name).copied().unwrap_or(self.own)
    }
}

impl Volume {
    fn is_wanted(&self, ino: Ino) -> bool {
        self.wanted.get().is_none_or(|map| MapView::new(map).contains(ino))
    }
}
