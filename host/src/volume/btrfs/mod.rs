//! Volumes on btrfs: a volume is a subvolume, its snapshots are in the directory `.snapshot` in its root.
//!
//! ```text
//! ioctl   the kernel's interface
//! past    which snapshots a volume's state comes after
//! room    whether there is space for a snapshot
//! tree_search   what is in a subvolume, and what changed since when
//! ```

mod ioctl;
mod past;
mod room;
pub mod tree_search;

use std::ffi::OsStr;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, StatxFlags, fstatfs, mkdirat, open, openat, statx};
use rustix::io::Errno;
use tapedump_core::device::ErrorKind;
use tapedump_core::device::snapshot::SnapshotName;
use tapedump_core::units::{Timestamp, VolumeId};

use super::VolumeError;
pub use past::Past;
pub use room::Shortage;

/// The directory in a volume's root that holds its snapshots; they never dump themselves (R-SNAP-6).
pub const SNAPSHOT_DIRECTORY: &str = ".snapshot";

/// `BTRFS_SUPER_MAGIC`
pub(super) const MAGIC: u64 = 0x9123_683e;
/// `BTRFS_FIRST_FREE_OBJECTID`: the number of every subvolume's root.
const ROOT_NUMBER: u64 = 256;
/// `BTRFS_EMPTY_SUBVOL_DIR_OBJECTID`: of the directory that is in a snapshot where the volume has a nested subvolume.
pub(super) const EMPTY_SUBVOLUME_NUMBER: u64 = 2;

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// What a volume is to those who use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It can be written to.
    ReadWrite,
    /// It can only be read.
    ReadOnly,
    /// It was received from elsewhere, and can only be read. The number is another one whenever it was received again.
    Mirror {
        /// The low bits of the transaction in which it was received.
        received: u32,
    },
}

/// The subvolume that a tree is in.
#[derive(Debug)]
pub struct Subvolume {
    tree: PathBuf,
    fd: OwnedFd,
    info: ioctl::Subvolume,
    fsid: [u8; 16],
    /// Its root and the tree beneath it; `None`: the root cannot be reached from the tree.
    root: Option<(PathBuf, PathBuf)>,
}

/// A snapshot that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Its root.
    pub path: PathBuf,
    /// When it was made.
    pub made: Timestamp,
    /// The generation of the volume that it shows: what changes after it has a later one.
    pub generation: u64,
    /// The snapshots that it comes after, and its own mark.
    pub past: Past,
    /// Its identity, and the generation in which it changed last: another snapshot of the name, or one that was written to, has
    /// others.
    pub image: ([u8; 16], u64),
}

/// Whether the tree that `fd` is in is on btrfs.
pub(super) fn is_btrfs(fd: impl AsFd) -> bool {
    fstatfs(fd).is_ok_and(|stat| stat.f_type as u64 & 0xffff_ffff == MAGIC)
}

impl Subvolume {
    /// That of the directory `tree`; `None`: it is on another file system, or the kernel is too old (4.18) to tell.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn of(tree: &Path) -> Result<Option<Self>, VolumeError> {
        let failed = |errno| VolumeError::system("identify the volume of", tree, errno);
        let tree = fs::canonicalize(tree)
            .map_err(|error| failed(Errno::from_io_error(&error).unwrap_or(Errno::IO)))?;
        let fd = open(&tree, DIRECTORY, Mode::empty()).map_err(failed)?;
        if !is_btrfs(&fd) {
            return Ok(None);
        }
        let (info, fsid) = match (ioctl::subvolume(&fd), ioctl::file_system(&fd)) {
            (Ok(info), Ok(file_system)) => (info, file_system.fsid),
            (Err(Errno::NOTTY), _) => return Ok(None),
            (Err(errno), _) | (_, Err(errno)) => return Err(failed(errno)),
        };
        let root = find_root(&tree, &fd).map_err(failed)?;
        Ok(Some(Self { tree, fd, info, fsid, root }))
    }

    /// What it is known by wherever it is: a snapshot or clone of it is another volume.
    #[must_use]
    pub fn id(&self) -> VolumeId {
        let mut id = self.fsid;
        // Both are random where they are not zero, as the top subvolume's is on old file systems.
        id.iter_mut().zip(self.info.uuid).for_each(|(byte, other)| *byte ^= other);
        VolumeId(id)
    }

    /// What it is to those who use it.
    #[must_use]
    pub fn role(&self) -> Role {
        match self.info {
            ioctl::Subvolume { is_read_only: false, .. } => Role::ReadWrite,
            ioctl::Subvolume { received_uuid: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], .. } => {
                Role::ReadOnly
            }
            info => Role::Mirror { received: info.received_transid as u32 },
        }
    }

    /// Its root, and the tree beneath that; `None`: the root cannot be reached from the tree, which is mounted alone.
    #[must_use]
    pub fn root(&self) -> Option<(&Path, &Path)> {
        self.root.as_ref().map(|(root, beneath)| (root.as_path(), beneath.as_path()))
    }

    /// What is missing of the space that a snapshot needs; `None`: nothing (R-EVENT-4).
    ///
    /// # Errors
    /// The file system does not tell.
    pub fn shortage(&self) -> Result<Option<Shortage>, VolumeError> {
        self.find_shortage()
            .map_err(|errno| VolumeError::system("find out the free space of", &self.tree, errno))
    }

    fn find_shortage(&self) -> Result<Option<Shortage>, Errno> {
        let file_system = ioctl::file_system(&self.fd)?;
        let mut unallocated = Vec::new();
        for device in 1..=file_system.highest_device {
            unallocated.extend(ioctl::unallocated(&self.fd, device)?);
        }
        Ok(room::shortage(&ioctl::spaces(&self.fd)?, &unallocated, file_system.node_len))
    }

    fn need_root(&self) -> Result<&Path, VolumeError> {
        let (root, _) = self.root().ok_or_else(|| {
            let reason = "only a part of its subvolume is mounted here; name it where the whole is mounted";
            VolumeError::own("find the snapshots of", &self.tree, ErrorKind::Unsupported, reason)
        })?;
        Ok(root)
    }

    /// The directory of its snapshots; `None`: there is none.
    fn directory(&self) -> Result<Option<(PathBuf, OwnedFd)>, VolumeError> {
        let path = self.need_root()?.join(SNAPSHOT_DIRECTORY);
        match open(&path, DIRECTORY, Mode::empty()) {
            Ok(fd) => Ok(Some((path, fd))),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(VolumeError::system("open the directory of snapshots", path, errno)),
        }
    }

    /// The path of a snapshot, whether it is there or not.
    ///
    /// # Errors
    /// The root of the subvolume cannot be reached.
    pub fn path_of(&self, name: &SnapshotName) -> Result<PathBuf, VolumeError> {
        Ok(self.need_root()?.join(SNAPSHOT_DIRECTORY).join(OsStr::from_bytes(name.bytes())))
    }

    /// Makes a snapshot; also the directory for it, which only its owner can enter.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn create(&self, name: &SnapshotName) -> Result<(), VolumeError> {
        let root_path = self.need_root()?;
        let failed = |errno| VolumeError::system("make a snapshot of", root_path, errno);
        let root = open(root_path, DIRECTORY, Mode::empty()).map_err(failed)?;
        match mkdirat(&root, SNAPSHOT_DIRECTORY, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(failed(errno)),
        }
        let directory = openat(&root, SNAPSHOT_DIRECTORY, DIRECTORY, Mode::empty()).map_err(failed)?;
        // Without its mark an increment to it visits all files.
        let _ = past::note(&directory, name.bytes());
        ioctl::create_snapshot(directory.as_fd(), name.bytes(), root.as_fd()).map_err(failed)
    }

    /// A snapshot by its name.
    ///
    /// # Errors
    /// There is none, or what has the name is no snapshot of this volume.
    pub fn find(&self, name: &SnapshotName) -> Result<Snapshot, VolumeError> {
        const WHAT: &str = "use the snapshot";
        let path = self.path_of(name)?;
        let none = || VolumeError::own(WHAT, &path, ErrorKind::NotFound, "there is no such snapshot");
        let Some((_, directory)) = self.directory()? else { return Err(none()) };
        match self.found(&directory, name.bytes()) {
            Ok(Some(snapshot)) => Ok(Snapshot { path, ..snapshot }),
            Ok(None) => {
                let reason = "this is no snapshot of the volume: another one's, or it can be written to";
                Err(VolumeError::own(WHAT, path, ErrorKind::Invalid, reason))
            }
            Err(Errno::NOENT) => Err(none()),
            Err(errno) => Err(VolumeError::system(WHAT, path, errno)),
        }
    }

    /// The snapshot `name` of the directory, without its path; `None`: it is none of this volume.
    fn found(&self, directory: &OwnedFd, name: &[u8]) -> Result<Option<Snapshot>, Errno> {
        let fd = match openat(directory, name, DIRECTORY, Mode::empty()) {
            Err(Errno::NOTDIR | Errno::LOOP) => return Ok(None),
            other => other?,
        };
        if !is_btrfs(&fd) || number_of(&fd)?.0 != ROOT_NUMBER {
            return Ok(None);
        }
        let info = ioctl::subvolume(&fd)?;
        let (secs, nanos) = info.made;
        let made = Timestamp { secs: i64::try_from(secs).unwrap_or(0), nanos };
        let is_ours = info.is_read_only && info.parent_uuid == self.info.uuid;
        let (path, generation) = (PathBuf::new(), info.made_transid);
        let image = (info.uuid, info.changed_transid);
        Ok(is_ours.then(|| Snapshot { path, made, generation, past: Past::of(&fd), image }))
    }

    /// All snapshots, by name.
    ///
    /// # Errors
    /// Their directory cannot be read.
    pub fn list(&self) -> Result<Vec<(SnapshotName, Snapshot)>, VolumeError> {
        let Some((path, directory)) = self.directory()? else { return Ok(Vec::new()) };
        let failed = |errno| VolumeError::system("list the snapshots in", &path, errno);
        let mut snapshots = Vec::new();
        for entry in Dir::read_from(&directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_bytes();
            let Ok(valid) = SnapshotName::new(name) else { continue };
            if !matches!(entry.file_type(), FileType::Directory | FileType::Unknown) {
                continue;
            }
            match self.found(&directory, name) {
                Ok(Some(found)) => {
                    let path = path.join(OsStr::from_bytes(name));
                    snapshots.push((valid, Snapshot { path, ..found }));
                }
                // Deleted meanwhile.
                Ok(None) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(failed(errno)),
            }
        }
        snapshots.sort_by(|(a, _), (b, _)| a.bytes().cmp(b.bytes()));
        Ok(snapshots)
    }

    /// Deletes a snapshot, whoever uses it.
    ///
    /// # Errors
    /// There is none, or the kernel refuses.
    pub fn delete(&self, name: &SnapshotName) -> Result<(), VolumeError> {
        let path = self.find(name)?.path;
        let failed = |errno| VolumeError::system("delete the snapshot", &path, errno);
        let Some((_, directory)) = self.directory()? else { return Err(failed(Errno::NOENT)) };
        ioctl::destroy(directory.as_fd(), name.bytes()).map_err(failed)
    }
}

/// Number and device of a directory.
fn number_of(fd: impl AsFd) -> Result<(u64, u32, u32), Errno> {
    let stat = statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)?;
    Ok((stat.stx_ino, stat.stx_dev_major, stat.stx_dev_minor))
}

/// The root of the subvolume that the open directory at the absolute path `tree` is in, and the rest of the path.
fn find_root(tree: &Path, fd: &OwnedFd) -> Result<Option<(PathBuf, PathBuf)>, Errno> {
    let (_, major, minor) = number_of(fd)?;
    for ancestor in tree.ancestors() {
        // Those above need not be readable, only on the way.
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let (number, its_major, its_minor) = number_of(open(ancestor, flags, Mode::empty())?)?;
        if (its_major, its_minor) != (major, minor) {
            break;
        }
        if number == ROOT_NUMBER {
            let beneath = tree.strip_prefix(ancestor).unwrap_or(Path::new("")).to_path_buf();
            return Ok(Some((ancestor.to_path_buf(), beneath)));
        }
    }
    Ok(None)
}

/// A path as the names on it, without slashes at either end.
#[must_use]
pub fn names_of(path: &Path) -> Vec<u8> {
    let path = path.as_os_str().to_os_string().into_vec();
    path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).collect::<Vec<_>>().join(&b'/')
}
