//! Any mounted Linux file system as the target of a restore.
//!
//! Layer: volume. Everything is reached by single names relative to open directories, never through a symbolic
//! link: what somebody plants in the destination is replaced (R-RESTORE-4) or refused, but not followed. A file replaces
//! what has its name unless that is a directory; a directory replaces nothing.
//!
//! Owners: the superuser gives each object its own. Anybody else keeps what he restores, as with other programs; an
//! object that did not get its owner or group loses its set-id bits. These are counted.

mod alignment;
mod caller;
mod crossing;
mod directory;
mod handle;
mod make;
mod object;
mod property;
mod restricted;
mod setting;

pub(crate) use caller::{Caller, Kept, umask};
pub(crate) use directory::{
    ACL_ACCESS, ACL_DEFAULT, Directories, Directory, check_name, descriptor_path, open_directory, open_root,
    path_of,
};
pub(crate) use object::ObjectWriter;
pub(crate) use property::Properties;
pub(crate) use restricted::{Report, Restrictions};

use super::VolumeError;
use super::failures::shortened;
use super::place::place_of;
use alignment::Alignment;
use crossing::Crossing;
use handle::{Handle, mode_of};
use rustix::fd::OwnedFd;
use rustix::fs::{self, Mode, OFlags};
use rustix::io::{self, Errno};
use rustix::process::geteuid;
use std::collections::{HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tapedump_core::device::ErrorKind;
use tapedump_core::device::volume::{
    Attributes, Failure, Made, Place, PropertyKind, Room, TargetCapabilities, TargetRoot, TargetVolume,
};
use tapedump_core::units::Ino;

/// Permissions of a directory while it is filled: nobody else gets in before it has its own.
const FILLING: Mode = Mode::RWXU;

/// A directory of a mounted file system as target. Works in the calling thread; see
/// [`WriteBehind`](crate::pipeline::write_behind::WriteBehind) for several.
///
/// What fails of an object after it was created is told by [`poll_failure`](TargetVolume::poll_failure).
#[derive(Debug)]
pub struct LinuxTarget {
    pub(crate) directories: Directories<Arc<Directory>>,
    pub(crate) caller: Arc<Caller>,
    restrictions: Arc<Restrictions>,
    alignment: Arc<Alignment>,
    writer: ObjectWriter,
    failures: VecDeque<Failure<VolumeError>>,
    /// Opened before anything is written: a flush tells the errors since its file was opened. `None`: the
    /// destination may be entered and written but not read.
    for_sync: Option<OwnedFd>,
    capabilities: TargetCapabilities,
    /// Directories of a volume's root that are new.
    new_top_level: HashSet<Ino>,
}

impl LinuxTarget {
    /// Opens the destination, a directory that exists. Raises the process' soft limit of open files.
    ///
    /// # Errors
    /// It is not there, not a directory, or may not be entered.
    pub fn open(root: &Path) -> Result<Self, VolumeError> {
        let caller = Arc::new(Caller::of_this_process());
        let directories = Directories::new(open_root(root)?, |root| {
            let crossing = crate::volume::qtree::enclosing(&*root).and_then(Crossing::of);
            root.with_crossing(crossing.map(Arc::new))
        });
        let mut capabilities = TargetCapabilities::ALL;
        capabilities.root = place_of(directories.root());
        let restrictions = Arc::default();
        let alignment = Arc::new(Alignment::of(directories.root()));
        let writer =
            ObjectWriter::new(Arc::clone(&caller), Arc::clone(&restrictions), Arc::clone(&alignment));
        Ok(Self {
            capabilities,
            new_top_level: HashSet::new(),
            for_sync: open_for_sync(directories.root()),
            directories,
            writer,
            caller,
            restrictions,
            alignment,
            failures: VecDeque::new(),
        })
    }

    /// As a target that can hold no more than this; where it is in its volume stays as it is.
    #[must_use]
    pub fn limited_to(mut self, capabilities: TargetCapabilities) -> Self {
        let root = self.capabilities.root;
        self.capabilities = capabilities;
        self.capabilities.root = root;
        if !capabilities.luns || capabilities.older_release {
            self.restrictions.without_luns();
        }
        self
    }

    /// What makes objects in another thread.
    pub(crate) fn another_writer(&self) -> ObjectWriter {
        ObjectWriter::new(
            Arc::clone(&self.caller),
            Arc::clone(&self.restrictions),
            Arc::clone(&self.alignment),
        )
    }

    /// What is restricted while the restore lasts.
    pub(crate) fn restrictions(&self) -> Arc<Restrictions> {
        Arc::clone(&self.restrictions)
    }

    /// The process' part, which counts what it may not do.
    pub(crate) fn kept(&self) -> Arc<Caller> {
        Arc::clone(&self.caller)
    }

    /// The directory with that number, which the engine made sure is known.
    pub(crate) fn directory(&mut self, ino: Ino) -> Result<Arc<Directory>, VolumeError> {
        self.directories.look_up(ino).cloned().ok_or_else(|| {
            VolumeError::own("use", ino.to_string(), ErrorKind::Invalid, "the directory is not open")
        })
    }

    /// The destination opened once more, to flush its volume.
    pub(crate) fn open_for_sync(&self) -> Option<OwnedFd> {
        open_for_sync(self.directories.root())
    }

    fn open_again(&mut self, place: Place<'_>, directory: Ino) -> Result<(), VolumeError> {
        let parent = self.directory(place.parent)?;
        let fd = check_name(place.name)
            .and_then(|()| open_directory(&parent, place.name))
            .map_err(|errno| VolumeError::system("enter", parent.path_of(place.name), errno))?;
        let crossing = self.crossing(place.parent, &parent, &fd, directory);
        let opened = self.directories.adopt(fd).with_crossing(crossing);
        self.directories.insert(directory, opened);
        Ok(())
    }

    /// What becomes of permissions in a directory: what becomes of them in the one above, except in a qtree's root.
    fn crossing(
        &self,
        above: Ino,
        parent: &Directory,
        fd: &OwnedFd,
        directory: Ino,
    ) -> Option<Arc<Crossing>> {
        let is_top_level = above == Ino::ROOT && self.capabilities.root == TargetRoot::Volume;
        if is_top_level && !self.new_top_level.contains(&directory) {
            return Crossing::of(fd).map(Arc::new);
        }
        parent.crossing().cloned()
    }

    fn make(&mut self, place: Place<'_>, directory: Ino) -> Result<Made, VolumeError> {
        let parent = self.directory(place.parent)?;
        let (fd, how) = check_name(place.name)
            .and_then(|()| make_directory(&self.caller, &parent, place.name))
            .map_err(|errno| not_made(parent.path_of(place.name), errno))?;
        if place.parent == Ino::ROOT && how == Made::New && self.capabilities.root == TargetRoot::Volume {
            self.new_top_level.insert(directory);
        }
        let crossing = self.crossing(place.parent, &parent, &fd, directory);
        let made = self.directories.adopt(fd).with_crossing(crossing);
        self.directories.insert(directory, made);
        Ok(how)
    }

    fn collect(&mut self) {
        for failure in self.writer.failures().drain(..) {
            self.failures.push_back(shortened(failure, self.failures.len()));
        }
    }
}

/// Makes a directory or keeps the one that is there. What else has the name is not the dump's to remove: what it holds
/// would be lost for a directory that somebody may have named by mistake.
fn make_directory(caller: &Caller, parent: &Directory, name: &[u8]) -> io::Result<(OwnedFd, Made)> {
    for _ in 0..8 {
        match fs::mkdirat(parent, name, FILLING) {
            Ok(()) => {
                let fd = open_directory(parent, name)?;
                let handle = Handle::Path(fd);
                let inherits = parent.has_default_acl();
                if inherits {
                    handle.remove_xattr(ACL_ACCESS)?;
                    handle.remove_xattr(ACL_DEFAULT)?;
                }
                if inherits || caller.masks_owner() {
                    handle.set_permissions(0o700)?;
                }
                return Ok((handle.into_fd(), Made::New));
            }
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
        match open_directory(parent, name) {
            Ok(fd) => {
                let handle = Handle::Path(fd);
                if !caller.is_superuser() {
                    unlock(&handle)?;
                }
                return Ok((handle.into_fd(), Made::Kept));
            }
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
    Err(Errno::EXIST)
}

fn not_made(path: PathBuf, errno: Errno) -> VolumeError {
    const ACTION: &str = "make the directory";
    match errno {
        Errno::NOTDIR | Errno::LOOP => {
            VolumeError::own(ACTION, path, ErrorKind::Exists, "something else has this name")
        }
        errno => VolumeError::system(ACTION, path, errno),
    }
}

/// Lets the owner of a directory that is kept make objects in it; it gets its own permissions later.
fn unlock(directory: &Handle) -> io::Result<()> {
    let stat = directory.stat()?;
    let permissions = mode_of(&stat) & 0o7777;
    if permissions & 0o700 == 0o700 || stat.st_uid != geteuid().as_raw() {
        return Ok(());
    }
    directory.set_permissions(permissions | 0o700)
}

/// Room on the volume that holds `root`.
pub(crate) fn room_of(root: &Directory) -> Result<Room, VolumeError> {
    let volume = fs::fstatvfs(root)
        .map_err(|errno| VolumeError::system("see the free space of", root.path_of(b""), errno))?;
    // File systems that make inodes as they go have no number of them.
    let inodes = if volume.f_files == 0 { u64::MAX } else { volume.f_favail };
    Ok(Room { bytes: volume.f_bavail.saturating_mul(volume.f_frsize), inodes })
}

impl TargetVolume for LinuxTarget {
    type Error = VolumeError;

    fn capabilities(&self) -> TargetCapabilities {
        self.capabilities
    }

    fn room(&mut self) -> Result<Room, VolumeError> {
        room_of(self.directories.root())
    }

    fn knows(&mut self, directory: Ino) -> bool {
        self.directories.look_up(directory).is_some()
    }

    fn enter(&mut self, place: Place<'_>, directory: Ino) -> Result<(), VolumeError> {
        self.open_again(place, directory)
    }

    fn make_directory(&mut self, place: Place<'_>, directory: Ino) -> Result<Made, VolumeError> {
        self.make(place, directory)
    }

    fn create(&mut self, place: Place<'_>, ino: Ino, attributes: &Attributes) -> Result<(), VolumeError> {
        let parent = self.directory(place.parent)?;
        self.writer.create(&parent, place.name, ino, attributes)
    }

    fn reopen(&mut self, place: Place<'_>, ino: Ino) -> Result<(), VolumeError> {
        let parent = self.directory(place.parent)?;
        let known = self.directories.look_up(ino).cloned();
        self.writer.reopen(&parent, place.name, ino, known)
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Result<(), VolumeError> {
        self.writer.write(offset, data)
    }

    fn begin_property(&mut self, kind: PropertyKind, name: &[u8], value_len: u32) -> Result<(), VolumeError> {
        self.writer.begin_property(kind, name, value_len)
    }

    fn write_property(&mut self, piece: &[u8]) -> Result<(), VolumeError> {
        self.writer.write_property(piece)
    }

    fn finish(&mut self, attributes: &Attributes) -> Result<(), VolumeError> {
        self.writer.finish(attributes);
        Ok(())
    }

    fn release(&mut self) {
        self.writer.release();
    }

    fn link(&mut self, existing: Place<'_>, place: Place<'_>, _ino: Ino) -> Result<(), VolumeError> {
        let from = self.directory(existing.parent)?;
        let to = self.directory(place.parent)?;
        self.writer.link((&from, existing.name), (&to, place.name))
    }

    fn poll_failure(&mut self) -> Option<Failure<VolumeError>> {
        self.collect();
        self.failures.pop_front()
    }

    fn barrier(&mut self) {}

    fn flush(&mut self) -> Result<(), VolumeError> {
        self.writer.discard();
        self.writer.lock_directories();
        match &self.for_sync {
            None => fs::sync(),
            Some(fd) => match fs::syncfs(fd) {
                Ok(()) => {}
                // What is restricted is freed all the same.
                Err(Errno::NOSYS | Errno::OPNOTSUPP) => fs::sync(),
                Err(errno) => {
                    let root = self.directories.root();
                    return Err(VolumeError::system("flush", root.path_of(b""), errno));
                }
            },
        }
        self.failures.extend(self.restrictions.free());
        Ok(())
    }
}

fn open_for_sync(root: &Directory) -> Option<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    fs::openat(root, ".", flags, Mode::empty()).ok()
}

#[cfg(test)]
pub(crate) mod tests;
