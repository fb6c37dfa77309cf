//! A tree that changes at random.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use tapedump_tests::random::Random;
use tapedump_tests::scratch::Scratch;
use tapedump_tests::tree::{Kind, Tree};

/// The tree, and a copy of what it is.
pub(crate) struct World {
    pub(crate) tree: PathBuf,
    pub(crate) random: Random,
}

impl World {
    pub(crate) fn new(scratch: &Scratch, seed: u64) -> Self {
        Self::within(scratch.directory("tree"), seed)
    }

    /// Fills a directory.
    pub(crate) fn within(tree: PathBuf, seed: u64) -> Self {
        let mut world = Self { tree, random: Random::new(seed) };
        for _ in 0..60 {
            world.change();
        }
        world
    }

    fn paths(&self, directories: bool) -> Vec<PathBuf> {
        let tree = Tree::read(&self.tree).expect("tree");
        let paths = tree.entries.iter().filter(|(_, entry)| (entry.kind == Kind::Directory) == directories);
        paths.map(|(path, _)| self.tree.join(tapedump_tests::tree::os_path(path))).collect()
    }

    fn any(&mut self, paths: &[PathBuf]) -> Option<PathBuf> {
        let index = self.random.below(paths.len().max(1) as u64) as usize;
        paths.get(index).cloned()
    }

    fn new_path(&mut self) -> PathBuf {
        let directories = self.paths(true);
        let parent = self.any(&directories).expect("the root is one");
        parent.join(format!("n{}", self.random.below(50)))
    }

    /// One change; what is not possible here changes nothing.
    pub(crate) fn change(&mut self) {
        let new = self.new_path();
        let files = self.paths(false);
        let directories = self.paths(true);
        let old = self.any(&files);
        let len = self.random.below(9000) as usize;
        let data = self.random.bytes(len);
        match (self.random.below(11), old) {
            (0..=2, _) | (_, None) => _ = fs::symlink_metadata(&new).is_err().then(|| fs::write(&new, &data)),
            (3, _) => _ = fs::create_dir(&new),
            (4, Some(old)) => _ = fs::symlink_metadata(&new).is_err().then(|| fs::rename(old, &new)),
            (5, _) => {
                let from = self.any(&directories).filter(|from| *from != self.tree);
                _ = from.filter(|_| fs::symlink_metadata(&new).is_err()).map(|from| fs::rename(from, &new));
            }
            (6, Some(old)) => _ = fs::remove_file(old),
            (7, Some(old)) => _ = fs::hard_link(old, &new),
            (8, Some(old)) if old.is_file() => _ = fs::write(old, &data),
            (9, Some(old)) if old.is_file() => {
                let mode = 0o600 + self.random.below(0o177) as u32;
                _ = fs::set_permissions(old, fs::Permissions::from_mode(mode));
            }
            (10, _) => _ = symlink("somewhere", &new),
            _ => {
                // A directory and all in it.
                let gone = self.any(&directories).filter(|gone| *gone != self.tree);
                _ = gone.map(fs::remove_dir_all);
            }
        }
    }

    pub(crate) fn now(&self) -> Tree {
        Tree::read(&self.tree).expect("tree")
    }
}
