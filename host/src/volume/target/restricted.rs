//! LUNs and single files while they are restored: their clients are kept away until the restore is complete (R-RESTORE-9).
//!
//! ```text
//! a LUN that is there   marked as restricted and locked, then its data is replaced, in its place
//! a new LUN             marked as restricted and locked as soon as the dump says that it is one
//! a file of its own     the same, by a mark that is taken away in the end
//! the end               all data is durable; then each gets the state it is to have, and the locks go
//! ```
//!
//! Should the restore be cut short, the marks stay and say so; the locks are gone with the process. Locks of others do not
//! hinder a restore (R-RESTORE-11).

use super::directory::{Directory, check_name, descriptor_path};
use super::handle::Handle;
use crate::volume::VolumeError;
use crate::volume::lun::{Marked, lock, mark, unmark};
use crate::volume::place::place_of;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{self, FileType, Mode, OFlags};
use rustix::io::{self, Errno};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tapedump_core::device::ErrorKind;
use tapedump_core::device::volume::{FailedPart, Failure, Kind, PropertyKind, TargetRoot};
use tapedump_core::record::lun::{LunRepr, LunState, Serial};
use tapedump_core::units::Ino;

/// Files that are held open for their locks; further ones are restricted by their marks alone.
const HELD_MAX: usize = 1024;

/// What is restricted by a restore; workers share it.
#[derive(Debug, Default)]
pub(crate) struct Restrictions {
    /// Something may be restricted; saves others the lock.
    any: AtomicBool,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// The target holds no LUNs.
    no_luns: bool,
    /// Files that are restored by themselves.
    single: BTreeSet<u32>,
    held: BTreeMap<u32, Held>,
    /// Objects that did not come whole from the tape.
    spoiled: BTreeSet<u32>,
    report: Report,
}

/// Something that is restricted.
#[derive(Debug)]
struct Held {
    file: Option<OwnedFd>,
    /// Device and number, by which it is known again when it was not held open.
    identity: (u64, u64),
    parent: Arc<Directory>,
    name: Vec<u8>,
    /// What it is in the end.
    lun: LunRepr,
    /// The LUN was there before.
    was_there: bool,
    finished: bool,
}

impl Held {
    fn path(&self) -> PathBuf {
        self.parent.path_of(&self.name)
    }
}

/// What came of the LUNs of a restore.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    /// LUNs that are LUNs again, with the states they have now.
    pub(crate) restored: Vec<(PathBuf, LunState)>,
    /// LUNs that are plain files, since they are in no root of a volume or qtree, or the target holds no LUNs.
    pub(crate) as_files: u64,
    /// Of these, new ones whose serial another LUN in the same directory has, too.
    pub(crate) doubled: Vec<PathBuf>,
    /// Files that lost their alignment, since the volume has none.
    pub(crate) unaligned: u64,
}

impl Restrictions {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The target holds no LUNs: what would be one is a plain file.
    pub(crate) fn without_luns(&self) {
        self.lock().no_luns = true;
    }

    /// The object is restored by itself, and restricted meanwhile.
    pub(crate) fn single(&self, ino: Ino) {
        self.lock().single.insert(ino.0);
        self.any.store(true, Ordering::Release);
    }

    /// The object is not whole on the tape. A LUN is inconsistent then.
    pub(crate) fn spoil(&self, ino: Ino) {
        self.lock().spoiled.insert(ino.0);
    }

    /// An object does not get the alignment that it had. Of a directory that means nothing: its volume has its own.
    pub(super) fn note_unaligned(&self, kind: Kind) {
        self.lock().report.unaligned += u64::from(kind == Kind::File);
    }

    /// What came of the LUNs, once all is flushed.
    pub(crate) fn report(&self) -> Report {
        self.lock().report.clone()
    }

    /// What is restricted still.
    pub(crate) fn left(&self) -> Vec<PathBuf> {
        self.lock().held.values().map(Held::path).collect()
    }

    /// A LUN that has the name is opened for its data to be replaced; it keeps what identifies it (R-RESTORE-8).
    pub(super) fn open_lun(
        &self,
        directory: &Arc<Directory>,
        name: &[u8],
        ino: Ino,
    ) -> io::Result<Option<OwnedFd>> {
        let Some((file, before)) = lun_at(directory, name)? else { return Ok(None) };
        let restricted = LunRepr { restricted: true, ..before };
        mark(&file, &restricted)?;
        // Clients are kept away before the first byte is another one, whatever happens then.
        fs::fsync(&file)?;
        let held = self.hold(&file, directory, name, LunRepr { restricted: false, ..before }, true)?;
        self.keep(ino, held);
        fs::ftruncate(&file, 0)?;
        Ok(Some(file))
    }

    /// A file was made. One that is restored by itself is restricted from now on, as far as the file system can.
    pub(super) fn made(&self, file: &OwnedFd, directory: &Arc<Directory>, name: &[u8], ino: Ino) {
        let is_new_single = |inner: &Inner| inner.single.contains(&ino.0) && !inner.held.contains_key(&ino.0);
        if !self.any.load(Ordering::Acquire) || !is_new_single(&self.lock()) {
            return;
        }
        // Without the mark the lock has to do.
        let _ = mark(file, &LunRepr::restricted_file());
        let lun = LunRepr { restricted: false, ..LunRepr::restricted_file() };
        // What cannot be looked at cannot be restricted either.
        if let Ok(held) = self.hold(file, directory, name, lun, false) {
            self.keep(ino, held);
        }
    }

    fn hold(
        &self,
        file: &OwnedFd,
        directory: &Arc<Directory>,
        name: &[u8],
        lun: LunRepr,
        was_there: bool,
    ) -> io::Result<Held> {
        let identity = identity_of(file)?;
        // Somebody else's lock is ignored (R-RESTORE-11); a file system without locks has none to take.
        let _ = lock(file);
        let few = self.lock().held.len() < HELD_MAX;
        // The descriptor is the same open file, and so is its lock.
        let file = if few { io::fcntl_dupfd_cloexec(file, 0).ok() } else { None };
        let parent = Arc::clone(directory);
        Ok(Held { file, identity, parent, name: name.to_vec(), lun, was_there, finished: false })
    }

    /// The dump says that the object is a LUN.
    ///
    /// # Errors
    /// The file system refuses its attributes.
    pub(super) fn take_lun(
        &self,
        ino: Ino,
        handle: &Handle,
        place: Option<(&Arc<Directory>, &[u8])>,
        value: &[u8],
    ) -> io::Result<()> {
        let lun = LunRepr::of_value(value).map_err(|_| Errno::ILSEQ)?;
        if lun.plain_file {
            // The restriction of another time is no attribute of this file.
            return Ok(());
        }
        let mut inner = self.lock();
        if let Some(held) = inner.held.get_mut(&ino.0).filter(|held| held.was_there) {
            held.lun = LunRepr { os_type: lun.os_type, size: lun.size, ..held.lun };
            return Ok(());
        }
        if inner.no_luns {
            inner.report.as_files += 1;
            return Ok(());
        }
        drop(inner);
        // A new directory of the top level may be a qtree in the end; what is deeper is none, ever (R-RESTORE-8).
        if place.is_some_and(|(directory, _)| place_of(&**directory) == TargetRoot::Directory) {
            self.lock().report.as_files += 1;
            return Ok(());
        }
        // Which hosts see it is not restored with it.
        let mut lun = LunRepr { restricted: false, mapped: false, ..lun };
        let opened;
        let file = match handle {
            Handle::File(file) => file,
            // It has all its data: that is its size, whatever its attributes said.
            Handle::Path(path) => {
                let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
                opened = fs::open(descriptor_path(path.as_fd()).as_str(), flags, Mode::empty())?;
                lun.size = fs::fstat(&opened)?.st_size.unsigned_abs();
                &opened
            }
        };
        match mark(file, &LunRepr { restricted: true, ..lun }) {
            Ok(()) => {}
            // Neither a file system without such attributes nor somebody who may not set them holds LUNs.
            Err(Errno::OPNOTSUPP | Errno::PERM) => {
                self.lock().report.as_files += 1;
                return Ok(());
            }
            Err(errno) => return Err(errno),
        }
        let Some((directory, name)) = place else { return Ok(()) };
        let mut held = self.hold(file, directory, name, lun, false)?;
        held.finished = matches!(handle, Handle::Path(_));
        self.keep(ino, held);
        Ok(())
    }

    fn keep(&self, ino: Ino, held: Held) {
        self.lock().held.insert(ino.0, held);
        self.any.store(true, Ordering::Release);
    }

    /// The object has all its data.
    pub(super) fn finished(&self, ino: Ino, size: u64) {
        if !self.any.load(Ordering::Acquire) {
            return;
        }
        if let Some(held) = self.lock().held.get_mut(&ino.0) {
            held.finished = true;
            held.lun.size = size;
        }
    }

    /// The restore ends before its time. What is to be a plain file where it is, is one; all else stays restricted, since
    /// clients come back only to what a restore has completed (R-RESTORE-9).
    pub(crate) fn end_early(&self) {
        let mut inner = self.lock();
        for (ino, held) in std::mem::take(&mut inner.held) {
            let stays = held.lun.plain_file || held.was_there || is_root(&held.parent);
            if !stays && held.open().and_then(|file| unmark(&file)).is_ok() {
                inner.report.as_files += 1;
            } else {
                inner.held.insert(ino, held);
            }
        }
    }

    /// The restore is complete, and all data is durable: clients may come back. Gives what failed.
    pub(super) fn free(&self) -> Vec<Failure<VolumeError>> {
        let mut inner = self.lock();
        const FREE: &str = "end the restriction of";
        let (mut failures, mut made) = (Vec::new(), Vec::new());
        let mut roots = BTreeMap::new();
        for (ino, held) in std::mem::take(&mut inner.held) {
            let in_root = *roots.entry(Arc::as_ptr(&held.parent)).or_insert_with(|| is_root(&held.parent));
            let stays = !held.lun.plain_file && (held.was_there || in_root);
            let mut lun = held.lun;
            if !held.finished || inner.spoiled.contains(&ino) {
                lun.state = LunState::Inconsistent;
            }
            let path = held.path();
            if stays && !held.was_there {
                made.push((Arc::clone(&held.parent), held.name.clone(), lun.serial));
            }
            let freed = held.open().and_then(|file| {
                if stays { mark(&file, &lun) } else { unmark(&file) }?;
                fs::fsync(&file)
            });
            match freed {
                Ok(()) if stays => inner.report.restored.push((path, lun.state)),
                Ok(()) => inner.report.as_files += u64::from(!lun.plain_file),
                // What was never marked need not be unmarked.
                Err(Errno::OPNOTSUPP | Errno::PERM) if lun.plain_file => {}
                Err(errno) => {
                    const REPLACED: &str = "something else has its name now, and stays as it is";
                    let error = match errno {
                        Errno::STALE => VolumeError::own(FREE, path, ErrorKind::Changed, REPLACED),
                        errno => VolumeError::system(FREE, path, errno),
                    };
                    let what = FailedPart::Property(PropertyKind::Lun);
                    failures.push(Failure { ino: Ino(ino), what, error });
                }
            }
        }
        inner.report.doubled.extend(doubled(&made));
        failures
    }
}

impl Held {
    /// The file, which is opened again where it is not open any more.
    fn open(&self) -> io::Result<OwnedFd> {
        match &self.file {
            Some(file) => io::fcntl_dupfd_cloexec(file, 0),
            None => {
                let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
                let file = fs::openat(&*self.parent, self.name.as_slice(), flags, Mode::empty())?;
                // Its name may lead to something else by now, which is nobody's LUN.
                if identity_of(&file)? == self.identity { Ok(file) } else { Err(Errno::STALE) }
            }
        }
    }
}

/// What a file is known by under whatever name.
fn identity_of(file: &OwnedFd) -> io::Result<(u64, u64)> {
    let stat = fs::fstat(file)?;
    Ok((stat.st_dev, stat.st_ino))
}

/// Whether LUNs in a directory are LUNs: it is the root of a volume or a qtree.
fn is_root(directory: &Directory) -> bool {
    matches!(place_of(directory), TargetRoot::Volume | TargetRoot::Qtree)
}

/// Of new LUNs those that are not the only ones of their serial in their directory.
fn doubled(made: &[(Arc<Directory>, Vec<u8>, Serial)]) -> Vec<PathBuf> {
    let mut found = BTreeMap::new();
    let is_doubled = |(parent, name, serial): &&(Arc<Directory>, Vec<u8>, Serial)| {
        let luns = found.entry(Arc::as_ptr(parent)).or_insert_with(|| luns_in(parent));
        luns.iter().any(|(other, of)| of == serial && other != name)
    };
    made.iter().filter(is_doubled).map(|(parent, name, _)| parent.path_of(name)).collect()
}

/// The LUNs in a directory, as far as they can be seen.
fn luns_in(directory: &Directory) -> Vec<(Vec<u8>, Serial)> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let entries = fs::openat(directory, ".", flags, Mode::empty()).and_then(fs::Dir::new);
    let entries = entries.into_iter().flatten().filter_map(Result::ok);
    let files =
        entries.filter(|entry| matches!(entry.file_type(), FileType::RegularFile | FileType::Unknown));
    files
        .filter_map(|entry| {
            let name = entry.file_name().to_bytes().to_vec();
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = fs::openat(directory, name.as_slice(), flags, Mode::empty()).ok()?;
            match Marked::read_path(descriptor_path(file.as_fd()).as_str()) {
                Ok(Marked::As(lun)) if !lun.plain_file => Some((name, lun.serial)),
                _ => None,
            }
        })
        .collect()
}

/// The LUN that has a name: open for writing, and its attributes. What is not understood is no LUN.
fn lun_at(directory: &Directory, name: &[u8]) -> io::Result<Option<(OwnedFd, LunRepr)>> {
    check_name(name)?;
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let found = match fs::openat(directory, name, flags, Mode::empty()) {
        Ok(found) => found,
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(errno),
    };
    let stat = fs::fstat(&found)?;
    // What has other names, too, is replaced under this one only: it may be outside of what is restored to.
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || stat.st_nlink != 1 {
        return Ok(None);
    }
    let path = descriptor_path(found.as_fd());
    match Marked::read_path(path.as_str()) {
        Ok(Marked::As(lun)) if !lun.plain_file => {
            let file = fs::open(path.as_str(), OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
            Ok(Some((file, lun)))
        }
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::target::{Directories, open_root};

    /// As those that are more than are held open.
    #[test]
    fn only_what_was_restricted_is_freed() {
        let dir = tempfile::tempdir().unwrap();
        let (lun, other) = (dir.path().join("lun"), dir.path().join("other"));
        std::fs::write(&lun, "lun").unwrap();
        std::fs::write(&other, "unrelated").unwrap();
        let directories = Directories::new(open_root(dir.path()).unwrap(), |root| root);
        let restrictions = Restrictions::default();
        let opened = || {
            let file = std::fs::File::open(&lun).unwrap().into();
            let held =
                restrictions.hold(&file, directories.root(), b"lun", LunRepr::restricted_file(), false);
            Held { file: None, ..held.unwrap() }
        };
        let (kept, replaced, linked) = (opened(), opened(), opened());
        assert!(kept.open().is_ok());
        std::fs::rename(&lun, dir.path().join("moved")).unwrap();
        std::fs::hard_link(&other, &lun).unwrap();
        assert_eq!(replaced.open().unwrap_err(), Errno::STALE);
        std::fs::remove_file(&lun).unwrap();
        std::os::unix::fs::symlink(dir.path().join("moved"), &lun).unwrap();
        assert_eq!(linked.open().unwrap_err(), Errno::LOOP);
    }
}
