//! Directories of a target, held open: what every name of a restore is relative to.
//!
//! Only so many of them stay open, since descriptors are few; the engine walks down again to one that was dropped. Were
//! the least recently used one always dropped, a walk down a path longer than all that stay open would drop each before
//! it is of use again. So most of a walk are dropped soon, a few stay in place of any others, and those are spread over
//! the whole path: the next walk begins at one near its end.
//! Descriptors are `O_PATH`: they need no right to read and cost the least.

use super::crossing::Crossing;
use crate::volume::VolumeError;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{self, AtFlags, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tapedump_core::units::Ino;

/// Open files to ask the system for; a tree of this many directories is restored without opening one twice.
const OPEN_FILES_WANTED: u64 = 16_384;

/// Directories kept open at least, whatever the system allows; contract and speed need only a few.
const KEPT_MIN: usize = 256;

/// Where Linux keeps a file's ACL.
pub(crate) const ACL_ACCESS: &str = "system.posix_acl_access";

/// Where Linux keeps the ACL that objects made in a directory inherit.
pub(crate) const ACL_DEFAULT: &str = "system.posix_acl_default";

/// How a directory is opened.
pub(crate) const DIRECTORY: OFlags =
    OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// An open directory. Workers share it.
#[derive(Debug)]
pub(crate) struct Directory {
    fd: OwnedFd,
    birth: Mutex<Option<Birth>>,
    /// What becomes of permissions in it.
    crossing: Option<Arc<Crossing>>,
    live: Arc<AtomicUsize>,
}

/// What an object made in a directory gets by itself. Depends on the caller, the mount and the directory's
/// set-group-id bit and default ACL, so that only a look at a made object tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Birth {
    /// Owner.
    pub(crate) uid: u32,
    /// Group.
    pub(crate) gid: u32,
    /// Whether it inherits an ACL.
    pub(crate) acl: bool,
}

impl Directory {
    fn new(fd: OwnedFd, live: &Arc<AtomicUsize>) -> Self {
        live.fetch_add(1, Ordering::Relaxed);
        Self { fd, birth: Mutex::new(None), crossing: None, live: Arc::clone(live) }
    }

    /// As one in which this becomes of permissions; before anybody else has it.
    pub(crate) fn with_crossing(mut self: Arc<Self>, crossing: Option<Arc<Crossing>>) -> Arc<Self> {
        if let Some(own) = Arc::get_mut(&mut self) {
            own.crossing = crossing;
        }
        self
    }

    /// What becomes of permissions in it; `None`: they stay.
    pub(super) const fn crossing(&self) -> Option<&Arc<Crossing>> {
        self.crossing.as_ref()
    }

    /// Path of a name in it, for messages.
    pub(crate) fn path_of(&self, name: &[u8]) -> PathBuf {
        path_of(self.fd.as_fd(), name)
    }

    /// What is known of the objects made in it.
    pub(crate) fn birth(&self) -> Option<Birth> {
        *self.birth.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes (or forgets, after its own attributes changed) what objects made in it get.
    pub(crate) fn set_birth(&self, birth: Option<Birth>) {
        *self.birth.lock().unwrap_or_else(PoisonError::into_inner) = birth;
    }

    /// Whether objects made in it inherit an ACL.
    pub(crate) fn has_default_acl(&self) -> bool {
        matches!(fs::getxattr_query(descriptor_path(self.fd.as_fd()).as_str(), ACL_DEFAULT), Ok(1..))
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        self.live.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Path of `name` in the directory that is open as `fd`, for messages; as good as the system can tell it.
pub(crate) fn path_of(fd: BorrowedFd<'_>, name: &[u8]) -> PathBuf {
    let mut path = match fs::readlink(descriptor_path(fd).as_str(), Vec::new()) {
        Ok(path) => PathBuf::from(OsStr::from_bytes(path.as_bytes())),
        Err(_) => PathBuf::new(),
    };
    if !name.is_empty() {
        path.push(OsStr::from_bytes(name));
    }
    path
}

/// A path that stands for an open descriptor, also for one of a symbolic link: the way to change what an `O_PATH`
/// descriptor names. Needs `/proc`.
pub(crate) fn descriptor_path(fd: BorrowedFd<'_>) -> DescriptorPath {
    let mut path = DescriptorPath { text: [0; 32], len: 0 };
    // 14 bytes and at most 11 digits: it fits.
    let _ = write!(path, "/proc/self/fd/{}", fd.as_raw_fd());
    path
}

/// Text of a [`descriptor_path`]; made for each file, so not on the heap.
pub(crate) struct DescriptorPath {
    text: [u8; 32],
    len: usize,
}

impl DescriptorPath {
    pub(crate) fn as_str(&self) -> &str {
        self.text.get(..self.len).and_then(|text| str::from_utf8(text).ok()).unwrap_or_default()
    }
}

impl Write for DescriptorPath {
    fn write_str(&mut self, piece: &str) -> std::fmt::Result {
        let end = self.len + piece.len();
        self.text.get_mut(self.len..end).ok_or(std::fmt::Error)?.copy_from_slice(piece.as_bytes());
        self.len = end;
        Ok(())
    }
}

/// Refuses a name that would lead out of its directory. The engine gives none; a second look costs nothing.
pub(crate) fn check_name(name: &[u8]) -> Result<(), Errno> {
    if name.is_empty() || name == b"." || name == b".." || name.iter().any(|&byte| matches!(byte, b'/' | 0)) {
        return Err(Errno::INVAL);
    }
    Ok(())
}

/// The directories of one target that are open, by number. `T` is what is held for each.
#[derive(Debug)]
pub(crate) struct Directories<T> {
    root: T,
    slots: Vec<Slot<T>>,
    index: HashMap<u32, usize>,
    /// The slots used last, the latest one first.
    recent: [usize; RECENT + 1],
    slots_max: usize,
    /// For choosing the slot that goes.
    chance: u64,
    live: Arc<AtomicUsize>,
    live_max: usize,
}

#[derive(Debug)]
struct Slot<T> {
    ino: u32,
    directory: T,
}

/// No slot.
const NONE: usize = usize::MAX;

/// Directories that the contract promises to remember are those three made, entered or asked for last.
const RECENT: usize = 3;

/// One of so many that were dropped and are opened again stays for long.
const STAYING: u64 = 8;

impl<T> Directories<T> {
    /// Keeps the root (made by `root` from its open directory) and as many directories as open files allow.
    pub(crate) fn new(fd: OwnedFd, root: impl FnOnce(Arc<Directory>) -> T) -> Self {
        let allowed = raise_open_files();
        let live = Arc::default();
        let root = root(Arc::new(Directory::new(fd, &live)));
        // Half for what is remembered; the rest for what jobs still hold and for everybody else in the process.
        let slots_max = (allowed / 2).max(KEPT_MIN);
        let live_max = (allowed * 3 / 4).max(slots_max);
        let index = HashMap::new();
        Self {
            root,
            slots: Vec::new(),
            index,
            recent: [NONE; RECENT + 1],
            slots_max,
            chance: 1,
            live,
            live_max,
        }
    }

    /// The root.
    pub(crate) const fn root(&self) -> &T {
        &self.root
    }

    /// The directory with that number, if it is open; it is not dropped soon then.
    pub(crate) fn look_up(&mut self, ino: Ino) -> Option<&T> {
        if ino == Ino::ROOT {
            return Some(&self.root);
        }
        let at = *self.index.get(&ino.0)?;
        self.use_slot(at);
        Some(&self.slots[at].directory)
    }

    /// Remembers a directory; drops another one when there are too many.
    pub(crate) fn insert(&mut self, ino: Ino, directory: T) {
        if ino == Ino::ROOT {
            return;
        }
        let slot = Slot { ino: ino.0, directory };
        let at = if let Some(&at) = self.index.get(&ino.0) {
            self.slots[at] = slot;
            at
        } else if self.slots.len() < self.slots_max {
            self.slots.push(slot);
            self.slots.len() - 1
        } else {
            let at = self.dispensable();
            self.index.remove(&self.slots[at].ino);
            self.slots[at] = slot;
            at
        };
        self.index.insert(ino.0, at);
        self.use_slot(at);
    }

    /// A slot to be used anew: mostly the one used just before those that must stay.
    fn dispensable(&mut self) -> usize {
        let before = self.recent.get(RECENT.min(self.slots.len() - 1)).copied();
        loop {
            // Marsaglia's xorshift: nobody gains by knowing what comes.
            self.chance ^= self.chance << 13;
            self.chance ^= self.chance >> 7;
            self.chance ^= self.chance << 17;
            let any = (self.chance >> 32) as usize % self.slots.len();
            match before {
                Some(before) if self.slots.len() <= RECENT || !self.chance.is_multiple_of(STAYING) => {
                    return before;
                }
                _ if !self.recent.contains(&any) => return any,
                _ => {}
            }
        }
    }

    fn use_slot(&mut self, at: usize) {
        if self.recent[0] != at {
            let place = self.recent.iter().position(|&recent| recent == at).unwrap_or(RECENT);
            self.recent[..=place].rotate_right(1);
            self.recent[0] = at;
        }
    }

    /// A directory for [`insert`](Self::insert), counted as open.
    pub(crate) fn adopt(&self, fd: OwnedFd) -> Arc<Directory> {
        Arc::new(Directory::new(fd, &self.live))
    }

    /// Whether so many directories are open, here and in jobs not done yet, that the jobs should come first.
    pub(crate) fn crowded(&self) -> bool {
        self.live.load(Ordering::Relaxed) >= self.live_max
    }

    #[cfg(test)]
    pub(crate) fn set_slots_max(&mut self, slots_max: usize) {
        self.slots_max = slots_max;
    }
}

/// Raises the soft limit of open files as far as is useful and allowed; gives what holds then.
fn raise_open_files() -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let soft = current.unwrap_or(OPEN_FILES_WANTED);
    let wanted = OPEN_FILES_WANTED.min(maximum.unwrap_or(OPEN_FILES_WANTED));
    let allowed =
        if soft < wanted && setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum }).is_ok() {
            wanted
        } else {
            soft.min(OPEN_FILES_WANTED)
        };
    usize::try_from(allowed).unwrap_or(KEPT_MIN)
}

/// Opens the root of a target: the one path that is followed as the user gave it.
pub(crate) fn open_root(root: &std::path::Path) -> Result<OwnedFd, VolumeError> {
    fs::open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| VolumeError::system("open the directory", root, errno))
}

/// Opens the directory `name` in `parent`, as it is, never through a link.
pub(crate) fn open_directory(parent: &Directory, name: &[u8]) -> Result<OwnedFd, Errno> {
    fs::openat(parent, name, DIRECTORY, Mode::empty())
}

/// Removes what has the name, unless it is a directory.
pub(crate) fn remove(parent: &Directory, name: &[u8]) -> Result<(), Errno> {
    match fs::unlinkat(parent, name, AtFlags::empty()) {
        Err(Errno::NOENT) => Ok(()),
        // What POSIX says of a directory; Linux says `EISDIR`, some network file systems this.
        Err(Errno::PERM) if open_directory(parent, name).is_ok() => Err(Errno::ISDIR),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directories(slots_max: usize) -> Directories<Arc<Directory>> {
        let fd = open_root(std::path::Path::new("/")).unwrap();
        let mut directories = Directories::new(fd, |root| root);
        directories.set_slots_max(slots_max);
        directories
    }

    fn some_directory(directories: &Directories<Arc<Directory>>) -> Arc<Directory> {
        directories.adopt(open_root(std::path::Path::new("/")).unwrap())
    }

    #[test]
    fn the_three_used_last_stay_and_the_root_always() {
        let mut directories = directories(8);
        let mut recent: Vec<u32> = Vec::new();
        let mut state = 1_u32;
        for _ in 0..5_000 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let ino = 3 + (state >> 16) % 20;
            if state >> 31 == 0 {
                if directories.look_up(Ino(ino)).is_none() {
                    continue;
                }
            } else {
                let directory = some_directory(&directories);
                directories.insert(Ino(ino), directory);
            }
            recent.retain(|&other| other != ino);
            recent.insert(0, ino);
            recent.truncate(3);
            assert!(recent.iter().all(|ino| directories.index.contains_key(ino)));
            assert!(directories.look_up(Ino::ROOT).is_some());
        }
        assert_eq!(directories.live.load(Ordering::Relaxed), 9, "root and eight");
    }

    /// Walks to random places on a path of many times more directories than stay open.
    #[test]
    fn a_way_down_begins_near_its_end() {
        const DEPTH: u32 = 2_000;
        let mut directories = directories(100);
        let directory = some_directory(&directories);
        let mut state = 7_u32;
        let mut opened = 0;
        for walk in 0..1_000 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let to = 3 + (state >> 8) % DEPTH;
            let from = (3..=to).rev().find(|&ino| directories.look_up(Ino(ino)).is_some()).unwrap_or(2);
            for ino in from + 1..=to {
                directories.insert(Ino(ino), Arc::clone(&directory));
                opened += u32::from(walk >= 100);
            }
        }
        // Evenly spread, a hundred would leave ten to go on average.
        assert!(opened / 900 < 3 * 10, "{} opened on a walk", opened / 900);
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for name in [&b""[..], b".", b"..", b"a/b", b"/", b"a\0b"] {
            assert_eq!(check_name(name), Err(Errno::INVAL), "{name:?}");
        }
        for name in [&b"..."[..], b".a", b"\xff\n", &[b'x'; 255]] {
            assert_eq!(check_name(name), Ok(()));
        }
    }

    #[test]
    fn a_descriptor_path_leads_to_what_is_open() {
        let root = open_root(std::path::Path::new("/proc")).unwrap();
        assert_eq!(path_of(root.as_fd(), b"x"), PathBuf::from("/proc/x"));
        assert_eq!(path_of(root.as_fd(), b""), PathBuf::from("/proc"));
    }
}
