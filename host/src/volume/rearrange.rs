//! A tree as it was restored earlier, brought into another shape: names taken away, moved and added, before what changed is
//! restored over it.
//!
//! What is to have another name is put aside first, by its number, and brought to its new names when all old ones are gone: so
//! names can be exchanged and directories moved into each other. Everything happens beneath the root; no link is followed.

use crate::text::printable;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, Timestamps};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use tapedump_core::units::Ino;

const DIRECTORY: OFlags =
    OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The tree, and the directory in it where objects are put aside.
#[derive(Debug)]
pub struct Rearrangement {
    root: OwnedFd,
    aside: OwnedFd,
}

fn failed(what: &str, path: &[u8], errno: Errno) -> io::Error {
    let error = io::Error::from(errno);
    io::Error::new(error.kind(), format!("{}: cannot {what}: {error}", printable(path)))
}

impl Rearrangement {
    /// Of the tree at `root`, the one path that is followed; objects are put aside in the open directory `aside`, which is on
    /// the same file system and empty.
    ///
    /// # Errors
    /// The root cannot be opened.
    pub fn open(root: &Path, aside: OwnedFd) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::openat(CWD, root, flags, Mode::empty())
            .map_err(|errno| failed("open this directory", root.as_os_str().as_bytes(), errno))?;
        Ok(Self { root, aside })
    }

    /// The directory that a path is in, and its last name.
    fn place<'p>(&self, path: &'p [u8]) -> Result<(OwnedFd, &'p OsStr), Errno> {
        let mut names = path.split(|byte| *byte == b'/');
        let last = names.next_back().filter(|name| is_name(name)).ok_or(Errno::INVAL)?;
        let mut directory = self.root.try_clone().map_err(|_| Errno::MFILE)?;
        for name in names {
            if !is_name(name) {
                return Err(Errno::INVAL);
            }
            directory = rustix::fs::openat(&directory, OsStr::from_bytes(name), DIRECTORY, Mode::empty())?;
        }
        Ok((directory, OsStr::from_bytes(last)))
    }

    /// Takes a name away, and puts the object aside under its number; of an object that is aside already, only takes the name
    /// away.
    ///
    /// # Errors
    /// It is not there, or cannot be moved.
    pub fn put_aside(&self, path: &[u8], ino: Ino) -> io::Result<()> {
        let moved = || {
            let (directory, name) = self.place(path)?;
            rustix::fs::renameat(&directory, name, &self.aside, number(ino))?;
            // Two names of one object: renaming one to the other leaves both.
            match rustix::fs::unlinkat(&directory, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => Ok(()),
                Err(errno) => Err(errno),
            }
        };
        moved().map_err(|errno| failed("move it", path, errno))
    }

    /// Removes what is there: a directory only when it is empty.
    ///
    /// # Errors
    /// It cannot be removed. That it is not there is none.
    pub fn remove(&self, path: &[u8], directory: bool) -> io::Result<()> {
        let flags = if directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        let removed = self.place(path).and_then(|(parent, name)| rustix::fs::unlinkat(&parent, name, flags));
        match removed {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(failed("remove it", path, errno)),
        }
    }

    /// Gives an object that is aside a name: a directory its only one, another object one more.
    ///
    /// # Errors
    /// It is not aside, or the name is taken.
    pub fn bring_back(&self, ino: Ino, path: &[u8], directory: bool) -> io::Result<()> {
        let brought = self.place(path).and_then(|(parent, name)| {
            if directory {
                rustix::fs::renameat(&self.aside, number(ino), &parent, name)
            } else {
                rustix::fs::linkat(&self.aside, number(ino), &parent, name, AtFlags::empty())
            }
        });
        brought.map_err(|errno| failed("put it there", path, errno))
    }

    /// Makes a directory that is filled later; keeps one that is there.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn make_directory(&self, path: &[u8]) -> io::Result<()> {
        let made = self.place(path).and_then(|(parent, name)| rustix::fs::mkdirat(&parent, name, Mode::RWXU));
        match made {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(errno) => Err(failed("make this directory", path, errno)),
        }
    }

    /// Makes `path` a name of the object at `existing`, in place of what has it. The times of its directory stay.
    ///
    /// # Errors
    /// The object is not there, or the name cannot be changed.
    pub fn link(&self, existing: &[u8], path: &[u8]) -> io::Result<()> {
        let linked = || {
            let (from, old_name) = self.place(existing)?;
            let (parent, name) = self.place(path)?;
            let stat = rustix::fs::statat(&parent, "", AtFlags::EMPTY_PATH)?;
            match rustix::fs::unlinkat(&parent, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno),
            }
            rustix::fs::linkat(&from, old_name, &parent, name, AtFlags::empty())?;
            let time = |secs, nanos| rustix::fs::Timespec { tv_sec: secs, tv_nsec: nanos };
            let times = Timestamps {
                last_access: time(stat.st_atime, stat.st_atime_nsec as _),
                last_modification: time(stat.st_mtime, stat.st_mtime_nsec as _),
            };
            let opened =
                rustix::fs::openat(parent.as_fd(), ".", OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
            rustix::fs::futimens(&opened, &times)
        };
        linked().map_err(|errno| failed("make it a name of an object with several", path, errno))
    }

    /// Takes what was put aside and has its new names by now away.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn drop_aside(&self, ino: Ino) -> io::Result<()> {
        match rustix::fs::unlinkat(&self.aside, number(ino), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(failed("remove it", ino.to_string().as_bytes(), errno)),
        }
    }
}

fn is_name(name: &[u8]) -> bool {
    !matches!(name, [] | [b'.'] | [b'.', b'.']) && !name.contains(&0)
}

fn number(ino: Ino) -> String {
    ino.0.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn names_are_exchanged_and_links_kept() {
        let dir = tempfile::tempdir().unwrap();
        let (root, aside) = (dir.path().join("root"), dir.path().join("aside"));
        for made in [&root, &aside, &root.join("a"), &root.join("b")] {
            fs::create_dir(made).unwrap();
        }
        fs::write(root.join("a/file"), "file").unwrap();
        fs::hard_link(root.join("a/file"), root.join("b/link")).unwrap();
        let tree = Rearrangement::open(&root, fs::File::open(&aside).unwrap().into()).unwrap();
        // b goes into a, and a gets the name of b; the file has one other name of two.
        tree.put_aside(b"b/link", Ino(9)).unwrap();
        tree.put_aside(b"a/file", Ino(9)).unwrap();
        tree.put_aside(b"a", Ino(5)).unwrap();
        tree.put_aside(b"b", Ino(6)).unwrap();
        tree.bring_back(Ino(5), b"b", true).unwrap();
        tree.bring_back(Ino(6), b"b/inner", true).unwrap();
        tree.bring_back(Ino(9), b"b/one", false).unwrap();
        tree.bring_back(Ino(9), b"b/inner/two", false).unwrap();
        tree.drop_aside(Ino(9)).unwrap();
        assert_eq!(fs::read(root.join("b/inner/two")).unwrap(), b"file");
        fs::write(root.join("b/one"), "changed").unwrap();
        assert_eq!(fs::read(root.join("b/inner/two")).unwrap(), b"changed");
        assert_eq!(fs::read_dir(&aside).unwrap().count(), 0);
        fs::write(root.join("new"), "new").unwrap();
        tree.link(b"new", b"b/inner/two").unwrap();
        assert_eq!(fs::read(root.join("b/inner/two")).unwrap(), b"new");
        assert!(tree.remove(b"b", true).unwrap_err().to_string().starts_with("b: cannot remove it"));
        tree.remove(b"b/inner/two", false).unwrap();
        tree.remove(b"b/inner", true).unwrap();
        tree.remove(b"b/inner", true).unwrap();
    }

    #[test]
    fn nothing_outside_is_touched() {
        let dir = tempfile::tempdir().unwrap();
        let (root, aside, outside) =
            (dir.path().join("root"), dir.path().join("aside"), dir.path().join("out"));
        for made in [&root, &aside, &outside] {
            fs::create_dir(made).unwrap();
        }
        fs::write(outside.join("file"), "file").unwrap();
        std::os::unix::fs::symlink(&outside, root.join("way")).unwrap();
        let tree = Rearrangement::open(&root, fs::File::open(&aside).unwrap().into()).unwrap();
        for path in ["way/file", "../out/file", "", ".", "..", "a/../b", "/out/file"] {
            assert!(tree.put_aside(path.as_bytes(), Ino(3)).is_err(), "{path}");
            assert!(tree.make_directory(path.as_bytes()).is_err(), "{path}");
        }
        assert_eq!(fs::read(outside.join("file")).unwrap(), b"file");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    }
}
