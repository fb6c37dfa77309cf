//! Finds what a tree has and a dump does not name.
//!
//! The names of the dump come directory by directory, as its tree is walked: while a directory is open, so are those
//! above it. When a directory has been told, it is read, and each name that was not told is surplus. Of the names
//! only hashes are kept, and of the directories only the open ones.

use crate::volume::VolumeError;
use crate::volume::target::open_root;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{self, Dir, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use tapedump_core::units::Ino;

/// The directory that dumps leave out.
const SNAPSHOTS: &[u8] = b".snapshot";

/// See the module's head.
#[derive(Debug)]
pub struct ExtraFinder {
    root: OwnedFd,
    hasher: RandomState,
    /// The way to the directory whose names are being told.
    way: Vec<Level>,
    /// Directories of which the dump may have lost names: nothing can be said about them.
    unsure: HashSet<Ino>,
    found: VecDeque<Extra>,
}

/// A directory whose names are being told.
#[derive(Debug)]
struct Level {
    ino: Ino,
    name: Vec<u8>,
    names: HashSet<u64>,
}

/// Something that only the tree has, or a directory of it that could not be read.
#[derive(Debug, PartialEq, Eq)]
pub struct Extra {
    /// Its path from the root.
    pub path: Vec<u8>,
    /// Why the directory could not be read.
    pub error: Option<Errno>,
}

impl ExtraFinder {
    /// Looks through the tree at `root`.
    ///
    /// # Errors
    /// It cannot be entered.
    pub fn open(root: &Path) -> Result<Self, VolumeError> {
        Ok(Self {
            root: open_root(root)?,
            hasher: RandomState::new(),
            way: vec![Level { ino: Ino::ROOT, name: Vec::new(), names: HashSet::new() }],
            unsure: HashSet::new(),
            found: VecDeque::new(),
        })
    }

    /// The dump may have lost names of this directory.
    pub fn doubt(&mut self, directory: Ino) {
        self.unsure.insert(directory);
    }

    /// A name of the dump, in the order of the walk: those in a directory follow it.
    pub fn name(&mut self, parent: Ino, name: &[u8], ino: Ino, directory: bool) {
        let Some(level) = self.way.iter().rposition(|level| level.ino == parent) else {
            // In a directory that the walk did not reach.
            return;
        };
        self.leave(level + 1);
        let hash = self.hasher.hash_one(name);
        if let Some(level) = self.way.last_mut() {
            level.names.insert(hash);
        }
        if directory {
            self.way.push(Level { ino, name: name.to_vec(), names: HashSet::new() });
        }
    }

    /// All names have been told.
    pub fn end(&mut self) {
        self.leave(0);
    }

    /// What was found so far.
    pub fn found(&mut self) -> Option<Extra> {
        self.found.pop_front()
    }

    /// Ends the directories that are deeper than `depth`.
    fn leave(&mut self, depth: usize) {
        while self.way.len() > depth {
            let Some(names) = self.way.last_mut().map(|level| std::mem::take(&mut level.names)) else {
                return;
            };
            let unsure = self.way.last().is_some_and(|level| self.unsure.contains(&level.ino));
            if !unsure && let Err(errno) = self.look_through(&names) {
                let path = self.path(b"");
                self.found.push_back(Extra { path, error: Some(errno) });
            }
            self.way.pop();
        }
    }

    /// Reads the last directory of the way.
    fn look_through(&mut self, names: &HashSet<u64>) -> Result<(), Errno> {
        let directory = match self.open_last() {
            Ok(fd) => fd,
            // The comparison tells this; and what is mounted there is not of this tree.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => return Ok(()),
            Err(errno) => return Err(errno),
        };
        for entry in Dir::new(directory)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            let is_own = matches!(name, b"." | b"..") || self.way.len() == 1 && name == SNAPSHOTS;
            if !is_own && !names.contains(&self.hasher.hash_one(name)) {
                let path = self.path(name);
                self.found.push_back(Extra { path, error: None });
            }
        }
        Ok(())
    }

    fn open_last(&self) -> Result<OwnedFd, Errno> {
        let mut fd: Option<OwnedFd> = None;
        for level in self.way.iter().skip(1) {
            let above = fd.as_ref().map_or(self.root.as_fd(), AsFd::as_fd);
            fd = Some(self.open_in(above, &level.name, OFlags::PATH)?);
        }
        let above = fd.as_ref().map_or(self.root.as_fd(), AsFd::as_fd);
        // A comparison leaves the access times alone where it may.
        match self.open_in(above, b".", OFlags::RDONLY | OFlags::NOATIME) {
            Err(Errno::PERM) => self.open_in(above, b".", OFlags::RDONLY),
            other => other,
        }
    }

    fn open_in(&self, directory: BorrowedFd<'_>, name: &[u8], access: OFlags) -> Result<OwnedFd, Errno> {
        let flags = access | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let within = ResolveFlags::NO_XDEV | ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        match fs::openat2(directory, name, flags, Mode::empty(), within) {
            // An older kernel, or a sandbox that does not know the call.
            Err(Errno::NOSYS | Errno::PERM) => {}
            other => return other,
        }
        let fd = fs::openat(directory, name, flags, Mode::empty())?;
        let same = fs::fstat(&fd)?.st_dev == fs::fstat(&self.root)?.st_dev;
        if same { Ok(fd) } else { Err(Errno::XDEV) }
    }

    /// The path of `name` in the last directory of the way, or of that directory.
    fn path(&self, name: &[u8]) -> Vec<u8> {
        let way = self.way.iter().skip(1).map(|level| &level.name[..]);
        let path: Vec<&[u8]> = way.chain([name]).filter(|name| !name.is_empty()).collect();
        if path.is_empty() { b".".to_vec() } else { path.join(&b'/') }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(finder: &mut ExtraFinder) -> Vec<String> {
        let mut paths: Vec<_> = std::iter::from_fn(|| finder.found())
            .map(|extra| {
                assert_eq!(extra.error, None);
                String::from_utf8(extra.path).unwrap()
            })
            .collect();
        paths.sort();
        paths
    }

    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("a/b/c")).unwrap();
        std::fs::create_dir_all(dir.path().join(".snapshot/x")).unwrap();
        for name in ["1", "a/2", "a/b/3", "a/b/c/4", "z"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        dir
    }

    #[test]
    fn names_that_only_the_tree_has_are_found_at_every_depth() {
        let dir = tree();
        let mut finder = ExtraFinder::open(dir.path()).unwrap();
        finder.name(Ino::ROOT, b"a", Ino(3), true);
        finder.name(Ino(3), b"b", Ino(4), true);
        finder.name(Ino(4), b"3", Ino(5), false);
        finder.name(Ino(3), b"gone", Ino(7), true);
        finder.name(Ino::ROOT, b"z", Ino(6), false);
        finder.name(Ino(99), b"in no directory", Ino(98), true);
        assert_eq!(found(&mut finder), ["a/2", "a/b/c"]);
        finder.end();
        assert_eq!(found(&mut finder), ["1"]);
    }

    #[test]
    fn of_a_damaged_directory_nothing_is_said() {
        let dir = tree();
        let mut finder = ExtraFinder::open(dir.path()).unwrap();
        finder.doubt(Ino(3));
        finder.name(Ino::ROOT, b"1", Ino(8), false);
        finder.name(Ino::ROOT, b"a", Ino(3), true);
        finder.name(Ino::ROOT, b"z", Ino(6), false);
        finder.end();
        assert_eq!(found(&mut finder), Vec::<String>::new());
    }
}
