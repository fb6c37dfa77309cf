//! Where other volumes are in a tree: mount points, and nested subvolumes. Each is dumped as a symbolic link, and not
//! entered (R-DATA-5).
//!
//! The link's target says which volume it is: what is mounted, a colon, and the path in its file system, as
//! `/dev/sdb1:/` or `/dev/sda2:/home/alice/nested`. That is the same whenever the same is mounted, whatever it holds; and
//! it leads nowhere, so that nobody comes to write into a device or another volume through a restored link. Owner and times
//! are those of the directory that the link is in.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use tapedump_core::limits::SYMLINK_LEN_MAX;

use crate::volume::btrfs::names_of;
use crate::volume::identity::Mount;

/// The junctions of a tree, as far as they are mount points; and what nested subvolumes are called.
#[derive(Debug)]
pub struct Junctions {
    /// Paths of mount points beneath the tree, sorted, and what is mounted there.
    mounts: Vec<(Vec<u8>, Vec<u8>)>,
    /// What the tree itself is in its volume, as a target would have it.
    tree: Vec<u8>,
}

impl Junctions {
    /// Of the tree at an absolute path, as it is mounted now.
    pub fn of(tree: &Path) -> Self {
        let mounts = Mount::all();
        let beneath = mounts
            .iter()
            .filter_map(|mount| Some((mount.beneath(tree)?.to_vec(), target(&mount.source, &mount.root))));
        let tree = match Mount::of(tree) {
            Ok(Some(mount)) => target(&mount.source, &mount.path_in_volume(tree)),
            // Without /proc the path is all there is.
            _ => target(b"", tree.as_os_str().as_bytes()),
        };
        Self::new(beneath.collect(), tree)
    }

    /// Of mounts in the order in which they were made: of several on one directory, the last is what is seen.
    fn new(mut mounts: Vec<(Vec<u8>, Vec<u8>)>, tree: Vec<u8>) -> Self {
        mounts.reverse();
        mounts.sort_by(|(a, _), (b, _)| a.cmp(b));
        mounts.dedup_by(|(a, _), (b, _)| a == b);
        Self { mounts, tree }
    }

    fn mounted_on(&self, beneath: &[u8]) -> Option<&[u8]> {
        let found = self.mounts.binary_search_by(|(point, _)| point.as_slice().cmp(beneath)).ok()?;
        self.mounts.get(found).map(|(_, target)| target.as_slice())
    }

    /// Whether anything is mounted in the tree.
    pub fn has_mounts(&self) -> bool {
        !self.mounts.is_empty()
    }

    /// Whether something is mounted on the directory with this path beneath the tree.
    pub fn has_mount(&self, beneath: &[u8]) -> bool {
        self.mounted_on(beneath).is_some()
    }

    /// The target of the link that stands for the junction at this path beneath the tree.
    pub fn target(&self, beneath: &[u8]) -> Vec<u8> {
        let mut target = match self.mounted_on(beneath) {
            Some(target) => target.to_vec(),
            None if self.tree.ends_with(b"/") => [&self.tree, beneath].concat(),
            None => [&self.tree, b"/".as_slice(), beneath].concat(),
        };
        // No link is longer; it says what it says, and leads nowhere in any case.
        target.truncate(SYMLINK_LEN_MAX);
        target
    }
}

fn target(source: &[u8], path: &[u8]) -> Vec<u8> {
    [source, b":/", &names_of(Path::new(OsStr::from_bytes(path)))].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_name_what_is_mounted() {
        let mounts = [("a/top", "old:/x"), ("z", "z:/"), ("a/top", "new:/"), ("b", "b:/")];
        let mounts = mounts.map(|(point, target)| (point.into(), target.into()));
        let junctions = Junctions::new(mounts.to_vec(), b"/dev/sda2:/home".to_vec());
        assert!(junctions.has_mounts() && !Junctions::new(Vec::new(), Vec::new()).has_mounts());
        assert!(junctions.has_mount(b"a/top") && !junctions.has_mount(b"a"));
        assert_eq!(junctions.target(b"a/top"), b"new:/");
        assert_eq!((junctions.target(b"b"), junctions.target(b"z")), (b"b:/".to_vec(), b"z:/".to_vec()));
        assert_eq!(junctions.target(b"a/nested"), b"/dev/sda2:/home/a/nested");
        let whole = Junctions { tree: b"/dev/sda2:/".to_vec(), ..junctions };
        assert_eq!(whole.target(b"nested"), b"/dev/sda2:/nested");
        assert_eq!(whole.target(&[b'n'; 5000]).len(), SYMLINK_LEN_MAX);
    }

    #[test]
    fn the_root_has_proc() {
        let junctions = Junctions::of(Path::new("/"));
        assert!(junctions.has_mount(b"proc"));
        assert_eq!(junctions.target(b"proc"), b"proc:/");
        assert!(!Junctions::of(Path::new("/pro")).has_mount(b"c"));
    }
}
