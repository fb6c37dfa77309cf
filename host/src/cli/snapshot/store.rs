//! The snapshots of a volume, with what the state directory knows of who holds them.

use crate::state::StateDir;
use crate::state::StateError;
use crate::state::contexts;
use crate::state::snapshots::{Hold, Holder, Origin, SnapshotsFolder};
use crate::text::{printable, printable_path, size};
use crate::volume::VolumeError;
use crate::volume::btrfs::{Shortage, Snapshot, Subvolume};
use std::fmt;
use std::path::{Path, PathBuf};
use tapedump_core::device::snapshot::{SnapshotName, Snapshots};
use tapedump_core::device::{DeviceError, ErrorKind};
use tapedump_core::units::DumpId;

/// The snapshots of one volume; nobody else who uses this state directory makes or deletes one meanwhile.
pub struct Store<'a> {
    state: StateDir,
    volume: &'a Subvolume,
    /// As the user named it.
    tree: &'a Path,
    folder: SnapshotsFolder,
    /// Those that dumps of this process hold.
    holds: Vec<Hold>,
}

/// Why something cannot be done with snapshots.
#[derive(Debug)]
pub enum StoreError {
    Volume(VolumeError),
    State(StateError),
    /// There is one of this name.
    Exists(PathBuf),
    /// A dump holds it.
    Held {
        path: PathBuf,
        holder: Holder,
    },
    /// A dump that can be restarted holds it (R-SNAP-5).
    Kept {
        path: PathBuf,
        dump: DumpId,
    },
    /// There is no room for it.
    NoRoom {
        tree: PathBuf,
        shortage: Option<Shortage>,
    },
}

impl From<VolumeError> for StoreError {
    fn from(error: VolumeError) -> Self {
        Self::Volume(error)
    }
}

impl From<StateError> for StoreError {
    fn from(error: StateError) -> Self {
        Self::State(error)
    }
}

impl DeviceError for StoreError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Volume(error) => error.kind(),
            Self::State(_) => ErrorKind::Other,
            Self::Exists(_) => ErrorKind::Exists,
            Self::Held { .. } | Self::Kept { .. } => ErrorKind::Busy,
            Self::NoRoom { .. } => ErrorKind::Full,
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Volume(error) => {
                error.fmt(f)?;
                match error.kind() {
                    ErrorKind::Denied => f.write_str("; this needs root's rights"),
                    _ => Ok(()),
                }
            }
            Self::State(error) => error.fmt(f),
            Self::Exists(path) => write!(f, "{}: there is a snapshot of this name", printable_path(path)),
            Self::Held { path, holder } => {
                let Holder { dump, process, .. } = holder;
                write!(
                    f,
                    "{}: the dump {dump} (process {process}) holds this snapshot",
                    printable_path(path)
                )?;
                f.write_str("; delete it when that has ended")
            }
            Self::Kept { path, dump } => write!(
                f,
                "{}: the context {dump}, of a dump that ended early, holds this snapshot; go on with the dump by:                  tapedump context restart {dump}; or give it up with: tapedump context delete {dump}",
                printable_path(path)
            ),
            Self::NoRoom { tree, shortage } => {
                let tree = printable_path(tree);
                write!(f, "{tree}: there is no room for a snapshot on this volume")?;
                if let Some(Shortage { needed, free }) = shortage {
                    write!(f, ": it needs {} of metadata, {} are free", size(*needed), size(*free))?;
                }
                f.write_str("; delete files or old snapshots (see tapedump snapshot list")?;
                write!(
                    f,
                    " {tree}), or add a device; data that was deleted only now may take a minute to be gone"
                )
            }
        }
    }
}

impl<'a> Store<'a> {
    /// Those of the volume that `tree` is in.
    pub fn open(state: &StateDir, volume: &'a Subvolume, tree: &'a Path) -> Result<Self, StoreError> {
        Ok(Self {
            state: state.clone(),
            volume,
            tree,
            folder: SnapshotsFolder::open(state)?,
            holds: Vec::new(),
        })
    }

    /// The folder in the state directory.
    pub fn folder(&self) -> &SnapshotsFolder {
        &self.folder
    }

    /// What dumps of this process hold from here on; the snapshots are theirs as long as this is there.
    pub fn into_holds(self) -> Vec<Hold> {
        self.holds
    }

    /// The dumps that hold a snapshot, or held it when they were killed.
    pub fn holders(&self, name: &SnapshotName) -> Result<Vec<Holder>, StoreError> {
        Ok(self.folder.holders(self.volume.id(), name)?)
    }

    /// A dump of this process goes on with the snapshot that it made, or could not delete it.
    pub fn own_again(&mut self, name: &SnapshotName, dump: DumpId) -> Result<(), StoreError> {
        self.holds.push(self.folder.hold(self.volume.id(), name, dump, Origin::Dump)?);
        Ok(())
    }

    /// The dump that ended early and holds the snapshot, should it be restarted.
    pub fn kept_for(&self, holders: &[Holder]) -> Option<DumpId> {
        let mut dumps = holders.iter().map(|holder| holder.dump);
        dumps.find(|dump| contexts::exists(&self.state, *dump))
    }

    /// Whether there is room for one more (R-EVENT-4).
    fn check_room(&self) -> Result<(), StoreError> {
        match self.volume.shortage()? {
            None => Ok(()),
            shortage => Err(StoreError::NoRoom { tree: self.tree.to_path_buf(), shortage }),
        }
    }
}

impl Snapshots for Store<'_> {
    type Error = StoreError;
    type Image = Snapshot;

    fn create(&mut self, name: &SnapshotName, holder: Option<DumpId>) -> Result<(), StoreError> {
        let path = self.volume.path_of(name)?;
        if path.symlink_metadata().is_ok() {
            return Err(StoreError::Exists(path));
        }
        self.check_room()?;
        // Before it is there: should this be the last that this process does, its owner is known.
        let hold = |dump| self.folder.hold(self.volume.id(), name, dump, Origin::Dump);
        let hold = holder.map(hold).transpose()?;
        if let Err(error) = self.volume.create(name) {
            if let Some(dump) = holder {
                // What is left of it otherwise is about a snapshot that is not there.
                _ = self.folder.release(dump);
            }
            return Err(match error.kind() {
                ErrorKind::Exists => StoreError::Exists(path),
                ErrorKind::Full => StoreError::NoRoom { tree: self.tree.to_path_buf(), shortage: None },
                _ => error.into(),
            });
        }
        self.holds.extend(hold);
        Ok(())
    }

    fn open(&mut self, name: &SnapshotName) -> Result<Snapshot, StoreError> {
        Ok(self.volume.find(name)?)
    }

    fn lock(&mut self, name: &SnapshotName, holder: DumpId) -> Result<(), StoreError> {
        self.volume.find(name)?;
        self.holds.push(self.folder.hold(self.volume.id(), name, holder, Origin::User)?);
        Ok(())
    }

    fn unlock(&mut self, _name: &SnapshotName, holder: DumpId) -> Result<(), StoreError> {
        // A dump holds one snapshot.
        Ok(self.folder.release(holder)?)
    }

    /// What a dump that was killed holds is nobody's any more.
    fn delete(&mut self, name: &SnapshotName) -> Result<(), StoreError> {
        let path = self.volume.find(name)?.path;
        let holders = self.holders(name)?;
        if let Some(holder) = holders.iter().find(|holder| holder.is_alive) {
            return Err(StoreError::Held { path, holder: *holder });
        }
        if let Some(dump) = self.kept_for(&holders) {
            return Err(StoreError::Kept { path, dump });
        }
        self.volume.delete(name)?;
        holders.iter().try_for_each(|holder| self.folder.release(holder.dump))?;
        Ok(())
    }
}

/// The name of a snapshot, for people.
pub fn shown(name: &SnapshotName) -> String {
    printable(name.bytes())
}
