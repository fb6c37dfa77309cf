//! What of a tree a dump reads (R-SNAP-1): a snapshot made for it, one that is there, or the tree itself.

use super::super::exit::{CliError, Ended};
use super::super::snapshot::store::{Store, StoreError, shown};
use super::super::snapshot::{named, volume_of};
use crate::state::StateDir;
use crate::state::history::Generation;
use crate::state::snapshots::Hold;
use crate::text::printable_path;
use crate::volume::btrfs::{Role, Snapshot, Subvolume};
use crate::volume::identity::file_system_of;
use crate::volume::source::Image;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use tapedump_core::device::DeviceError;
use tapedump_core::device::ErrorKind;
use tapedump_core::device::snapshot::{SnapshotName, Snapshots};
use tapedump_core::units::{DumpId, Timestamp, VolumeId};

/// What is to be read.
pub enum Choice {
    /// The tree while others may change it.
    Live,
    /// The tree, which nobody can change: its volume is read-only.
    Frozen,
    /// A snapshot that was there, and stays (R-SNAP-2).
    Existing(Box<Existing>),
    /// One that is made for the dump, and deleted (R-SNAP-3).
    New(Subvolume),
}

/// A snapshot that was there.
pub struct Existing {
    volume: Subvolume,
    name: SnapshotName,
    made: Timestamp,
    /// It was made for this dump, which goes on.
    is_ours: bool,
}

impl Choice {
    /// Finds out what can be read of the tree.
    pub fn find(tree: &Path, snapshot: Option<&OsStr>, is_live: bool) -> Result<Self, CliError> {
        if is_live {
            return Ok(Self::Live);
        }
        if let Some(name) = snapshot {
            let (volume, name) = (volume_of(tree)?, named(name)?);
            let made = volume.find(&name).map_err(CliError::failed)?.made;
            return Ok(Self::Existing(Box::new(Existing { volume, name, made, is_ours: false })));
        }
        let Some(volume) = Subvolume::of(tree).map_err(CliError::failed)? else {
            return Err(needs_live(tree, &format!("its file system ({}) has none", file_system_of(tree))));
        };
        if volume.role() != Role::ReadWrite {
            return Ok(Self::Frozen);
        }
        if volume.root().is_none() {
            return Err(needs_live(tree, "only a part of its subvolume is mounted here"));
        }
        // The kernel lets others make some, too, but not delete what is read-only.
        if !rustix::process::geteuid().is_root() {
            return Err(needs_live(tree, "only root can delete it again"));
        }
        Ok(Self::New(volume))
    }

    /// What a dump that goes on has read: this image of this volume.
    pub fn again(
        tree: &Path,
        volume: VolumeId,
        snapshot: &[u8],
        image: &[u8],
        is_ours: bool,
    ) -> Result<Self, CliError> {
        let refused = |why: &dyn std::fmt::Display| {
            let tree = printable_path(tree);
            CliError::failed(format!("{tree}: the dump cannot be restarted: {why}"))
        };
        let found = volume_of(tree)?;
        if found.id() != volume {
            return Err(refused(&"another volume is there"));
        }
        let name = SnapshotName::new(snapshot).map_err(|error| refused(&error))?;
        let made = match found.find(&name) {
            Ok(snapshot) if image_bytes(&snapshot) != image => {
                return Err(refused(&format!(
                    "its snapshot {} is another one, or was written to",
                    shown(&name)
                )));
            }
            Ok(snapshot) => snapshot.made,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(refused(&format!("its snapshot {} is gone", shown(&name))));
            }
            Err(error) => return Err(CliError::failed(error)),
        };
        Ok(Self::Existing(Box::new(Existing { volume: found, name, made, is_ours })))
    }

    /// The time that the dump is of, where it is not now. Whole seconds count for increments, and the kernel notes the time of
    /// a snapshot when it is made nearly: what changed in the second before is taken for changed after it, too.
    pub fn date(&self) -> Option<Timestamp> {
        match self {
            Self::Existing(existing) => Some(Timestamp { secs: existing.made.secs - 1, nanos: 999_999_999 }),
            _ => None,
        }
    }

    /// Makes the snapshot, if there is to be one, and holds it for the dump.
    pub fn take(&self, state: &StateDir, tree: &Path, dump: DumpId) -> Result<Taken<'_>, CliError> {
        let (volume, name, is_ours) = match self {
            Self::Live | Self::Frozen => {
                let is_frozen = matches!(self, Self::Frozen);
                return Ok(Taken { path: tree.to_path_buf(), is_frozen, held: None });
            }
            Self::Existing(existing) => (&existing.volume, Some(existing.name), existing.is_ours),
            Self::New(volume) => (volume, None, true),
        };
        let mut store = Store::open(state, volume, tree)?;
        let name = match name {
            Some(name) if is_ours => {
                store.own_again(&name, dump)?;
                name
            }
            Some(name) => {
                store.lock(&name, dump)?;
                name
            }
            None => create(&mut store, tree, dump)?,
        };
        let (_, beneath) = volume.root().unwrap_or((tree, Path::new("")));
        let snapshot = volume.find(&name).map_err(CliError::failed)?;
        let path = snapshot.path.join(beneath);
        let tree = tree.to_path_buf();
        let _holds = store.into_holds();
        let held = Held { volume, name, tree, dump, snapshot, is_ours, _holds };
        Ok(Taken { path, is_frozen: true, held: Some(held) })
    }
}

/// What tells one image of a volume from any other.
fn image_bytes(snapshot: &Snapshot) -> Vec<u8> {
    let (uuid, changed) = snapshot.image;
    [&uuid[..], &changed.to_be_bytes()].concat()
}

/// Makes the next snapshot for a dump, and counts it.
fn create(store: &mut Store<'_>, tree: &Path, dump: DumpId) -> Result<SnapshotName, CliError> {
    let mut numbers = store.folder().numbers()?;
    let made = numbers.create(store, dump);
    // Counted, whatever comes now.
    let name = made.map_err(|error| not_made(&error, tree))?;
    store.folder().keep_numbers(numbers)?;
    Ok(name)
}

fn not_made(error: &StoreError, tree: &Path) -> CliError {
    match error.kind() {
        ErrorKind::Denied | ErrorKind::ReadOnly | ErrorKind::Unsupported => {
            needs_live(tree, &error.to_string())
        }
        _ => CliError::failed(error),
    }
}

/// There is no snapshot to read.
fn needs_live(tree: &Path, why: &str) -> CliError {
    CliError::failed(format!(
        "{}: a dump reads a snapshot, so that the tree can change meanwhile, and there can be none: {why}; to read the tree \
         itself, and be told what changes meanwhile, use --live",
        printable_path(tree)
    ))
}

/// What is read.
pub struct Taken<'a> {
    /// The tree in the snapshot, or the tree itself.
    pub path: PathBuf,
    pub is_frozen: bool,
    held: Option<Held<'a>>,
}

/// A snapshot that the dump holds.
struct Held<'a> {
    volume: &'a Subvolume,
    name: SnapshotName,
    tree: PathBuf,
    dump: DumpId,
    snapshot: Snapshot,
    /// It was made for the dump.
    is_ours: bool,
    _holds: Vec<Hold>,
}

impl Taken<'_> {
    /// What of the tree the snapshot is, for the source; `None`: it is the tree itself.
    pub fn image(&self) -> Option<Image> {
        let held = self.held.as_ref()?;
        let tree = std::fs::canonicalize(&held.tree).unwrap_or_else(|_| held.tree.clone());
        Some(Image { tree, name: held.name.bytes().to_vec() })
    }

    /// The generation of the volume that is read, if that is the whole volume: the next dump asks the volume what changed since.
    pub fn generation(&self) -> Option<Generation> {
        let held = self.held.as_ref().filter(|_| self.is_whole_volume())?;
        let mark = held.snapshot.past.mark(held.name.bytes())?;
        Some(Generation { number: held.snapshot.generation, mark })
    }

    /// Whether a snapshot of the whole volume is read.
    pub fn is_whole_volume(&self) -> bool {
        let root = self.held.as_ref().and_then(|held| held.volume.root());
        root.is_some_and(|(_, beneath)| beneath.as_os_str().is_empty())
    }

    /// Whether what is read comes after another generation of the volume: one that was brought back from an older image may
    /// have the same numbers, of other changes.
    pub fn comes_after(&self, earlier: &Generation) -> bool {
        let snapshot = self.held.as_ref().map(|held| &held.snapshot);
        snapshot.is_some_and(|now| earlier.number <= now.generation && now.past.holds(&earlier.mark))
    }

    /// The snapshot that is read: its name, which image of the volume it is, and whether it was made for the dump.
    pub fn snapshot(&self) -> Option<(&SnapshotName, Vec<u8>, bool)> {
        self.held.as_ref().map(|held| (&held.name, image_bytes(&held.snapshot), held.is_ours))
    }

    /// The dump has ended, in whatever way: nothing can be restarted from it. Deletes the snapshot that was made for it.
    pub fn end(self, state: &StateDir, ended: Result<Ended, CliError>) -> Result<Ended, CliError> {
        let Some(held) = self.held else { return ended };
        let Err(error) = held.let_go(state) else { return ended };
        let Held { name, tree, .. } = &held;
        let name = shown(name);
        if held.is_ours {
            let tree = printable_path(tree);
            eprintln!(
                "tapedump: the snapshot {name} could not be deleted: {error}; delete it with: tapedump snapshot delete {tree} {name}"
            );
        } else {
            // It is the user's, and nobody holds it once this process is gone.
            eprintln!(
                "tapedump: what the dump keeps of its hold on the snapshot {name} could not be removed: {error}"
            );
        }
        ended.map(|_| Ended::Incomplete)
    }
}

impl Held<'_> {
    fn let_go(&self, state: &StateDir) -> Result<(), StoreError> {
        let mut store = Store::open(state, self.volume, &self.tree)?;
        store.unlock(&self.name, self.dump)?;
        if !self.is_ours {
            return Ok(());
        }
        store.delete(&self.name).inspect_err(|_| _ = store.own_again(&self.name, self.dump))
    }
}
