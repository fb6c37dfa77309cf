//! Junctions that a snapshot does not show: where its volume has a nested subvolume, it has an empty directory, and where
//! something is mounted in its volume, the directory beneath.

use crate::volume::btrfs::{EMPTY_SUBVOLUME_NUMBER, SNAPSHOT_DIRECTORY, is_btrfs};
use crate::volume::source::Junctions;
use rustix::fd::OwnedFd;
use rustix::fs::Stat;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// What a tree that may be a snapshot hides.
#[derive(Debug)]
pub(super) struct Hidden {
    /// Its path without links; what is mounted in the tree that it is a snapshot of.
    mounts: Option<(PathBuf, Junctions)>,
}

impl Hidden {
    /// Of the tree at `root`.
    pub(super) fn of(root: &Path) -> Self {
        let mounts = std::fs::canonicalize(root).ok().and_then(|root| {
            let junctions = Junctions::of(&live(&root)?);
            junctions.has_mounts().then_some((root, junctions))
        });
        Self { mounts }
    }

    /// Whether a directory of the tree stands for another volume.
    pub(super) fn is_junction(&self, directory: &OwnedFd, stat: &Stat, path: &Path) -> bool {
        if stat.st_ino == EMPTY_SUBVOLUME_NUMBER && is_btrfs(directory) {
            return true;
        }
        let Some((root, junctions)) = &self.mounts else { return false };
        path.strip_prefix(root).is_ok_and(|beneath| junctions.has_mount(beneath.as_os_str().as_bytes()))
    }
}

/// The tree that a path in a snapshot is of: what stands before `.snapshot/NAME`, with what stands behind it.
fn live(path: &Path) -> Option<PathBuf> {
    let mut components = path.components();
    let mut volume = PathBuf::new();
    loop {
        match components.next()? {
            Component::Normal(name) if name == OsStr::new(SNAPSHOT_DIRECTORY) => break,
            component => volume.push(component),
        }
    }
    components.next()?;
    Some(volume.join(components.as_path()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshots_are_beneath_their_volumes() {
        let live = |path| live(Path::new(path));
        assert_eq!(live("/srv/vol/.snapshot/monday/a/b").as_deref(), Some(Path::new("/srv/vol/a/b")));
        assert_eq!(live("/srv/vol/.snapshot/monday").as_deref(), Some(Path::new("/srv/vol")));
        assert_eq!(live("/srv/vol/.snapshot"), None);
        assert_eq!(live("/srv/vol/a"), None);
    }

    #[test]
    fn what_is_mounted_in_the_volume_is_a_junction_in_its_snapshot() {
        let directory = std::fs::File::open("/").unwrap().into();
        let mut stat = rustix::fs::fstat(&directory).unwrap();
        stat.st_ino = 5;
        let hidden = Hidden { mounts: Some(("/s/.snapshot/x".into(), Junctions::of(Path::new("/")))) };
        assert!(hidden.is_junction(&directory, &stat, Path::new("/s/.snapshot/x/proc")));
        assert!(!hidden.is_junction(&directory, &stat, Path::new("/s/.snapshot/x/pro")));
        assert!(!Hidden { mounts: None }.is_junction(&directory, &stat, Path::new("/s/.snapshot/x/proc")));
    }
}
