//! Opening what is beneath the root of a tree, never through a symbolic link and never across a mount, whatever
//! somebody does to the tree meanwhile and however long the path is.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, ResolveFlags, Statx, StatxAttributes, StatxFlags, fstatfs, openat, openat2,
    statx,
};
use rustix::io::Errno;
use tapedump_core::limits::NAME_LEN_MAX;

use super::junctions::Junctions;
use crate::volume::btrfs::{self, EMPTY_SUBVOLUME_NUMBER};
use crate::volume::identity::Mount;
use crate::volume::spool::Spool;

/// Longest path in bytes given to the system at once, NUL included (`PATH_MAX`).
const PATH_LEN_MAX: usize = 4096;
/// Longest path of a directory that is kept, and for how many: together with their number this bounds the cache
/// to about 512 KiB.
const KEPT_PATH_LEN_MAX: usize = 256;
const KEPT_PATHS: usize = 2048;

/// What is asked of `statx` for every object.
const STATX_MASK: StatxFlags = StatxFlags::BASIC_STATS
    .union(StatxFlags::BTIME)
    .union(StatxFlags::MNT_ID)
    .union(StatxFlags::from_bits_retain(STATX_SUBVOL));

/// `STATX_SUBVOL` (Linux 6.10): the subvolume of an object, where the file system has some; 0 elsewhere.
const STATX_SUBVOL: u32 = 0x8000;

/// `f_type` of the file systems whose directory entries carry the inode number that `stat` gives, and where that
/// number identifies the object as long as it exists. On any other one, every name is asked for its number.
const TRUSTED: [u64; 15] = [
    0xef53,      // ext2, ext3, ext4
    0x5846_5342, // XFS
    btrfs::MAGIC,
    0x0102_1994, // tmpfs
    0x8584_58f6, // ramfs
    0xf2f5_2010, // F2FS
    0xca45_1a4e, // bcachefs
    0x2fc1_2fc1, // ZFS
    0x3153_464a, // JFS
    0x5265_4973, // ReiserFS
    0x3434,      // NILFS
    0x2405_1905, // UBIFS
    0x7371_7368, // squashfs
    0xe0f5_e1e2, // EROFS
    0x6969,      // NFS
];

/// `f_type` of overlayfs: objects other than directories may show the device of the layer they are in.
const OVERLAY: u64 = 0x794c_7630;

/// The root of a tree and what is known of its file system.
pub struct Root {
    fd: OwnedFd,
    path: PathBuf,
    /// Another path that is shown in its place.
    shown: Option<PathBuf>,
    /// Of the tree that is shown.
    pub junctions: Junctions,
    stat: Statx,
    /// `openat2` works here.
    has_openat2: bool,
    /// Directory entries tell the numbers of objects.
    pub entries_have_numbers: bool,
    is_overlay: bool,
    is_btrfs: bool,
}

impl Root {
    /// Opens the directory `path`.
    ///
    /// # Errors
    /// It is not there, is no directory, or may not be read.
    pub fn open(path: &Path) -> Result<Self, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = openat(CWD, path, flags, Mode::empty())?;
        let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
        let stat = stat_fd(fd.as_fd())?;
        let fs_type = fstatfs(&fd)?.f_type as u64 & 0xffff_ffff;
        let resolve = ResolveFlags::BENEATH;
        let has_openat2 = openat2(&fd, c".", flags, Mode::empty(), resolve).is_ok();
        let entries_have_numbers = TRUSTED.contains(&fs_type);
        let junctions = Junctions::of(&path);
        let is_btrfs = fs_type == btrfs::MAGIC;
        Ok(Self {
            fd,
            path,
            shown: None,
            junctions,
            stat,
            has_openat2,
            entries_have_numbers,
            is_overlay: fs_type == OVERLAY,
            is_btrfs,
        })
    }

    /// The root itself.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The root's path, for messages and headers.
    pub fn path(&self) -> &Path {
        self.shown.as_deref().unwrap_or(&self.path)
    }

    /// The path by which it was opened.
    pub fn real_path(&self) -> &Path {
        &self.path
    }

    /// Shows another path in its place.
    pub fn show_as(&mut self, path: &Path) {
        self.junctions = Junctions::of(path);
        self.shown = Some(path.to_path_buf());
    }

    /// The root's attributes when it was opened.
    pub fn stat(&self) -> &Statx {
        &self.stat
    }

    /// Does without `openat2`.
    pub fn without_openat2(&mut self) {
        self.has_openat2 = false;
    }

    /// The number that identifies the object within the tree.
    pub fn real_number(&self, stat: &Statx) -> u64 {
        if self.is_overlay && !self.is_own_device(stat) {
            // Unique only together with the layer's device.
            return stat.stx_ino ^ (u64::from(stat.stx_dev_minor) << 40) ^ (1 << 62);
        }
        stat.stx_ino
    }

    /// Whether the object is on the tree's own device, and in the same subvolume there: numbers mean something
    /// else in another one, and bcachefs shows all of them as one device.
    pub fn is_own_device(&self, stat: &Statx) -> bool {
        let device = |stat: &Statx| (stat.stx_dev_major, stat.stx_dev_minor);
        // Overlayfs shows the subvolume of the layer, which is none of its own.
        device(stat) == device(&self.stat) && (self.is_overlay || stat.stx_subvol == self.stat.stx_subvol)
    }

    /// Whether something is mounted on the directory with this path, which cannot be seen in a snapshot.
    pub fn hides_mount(&self, beneath: &[u8]) -> bool {
        self.shown.is_some() && self.junctions.has_mount(beneath)
    }

    /// Whether a directory's entry tells its number also when something is mounted on it. On btrfs it may be that of a
    /// subvolume, which is some file's as well.
    pub fn mounts_have_numbers(&self) -> bool {
        self.entries_have_numbers && !self.is_btrfs
    }

    /// Whether the directory is what a btrfs snapshot has where its volume has another subvolume.
    pub fn is_empty_subvolume(&self, stat: &Statx) -> bool {
        self.is_btrfs && stat.stx_ino == EMPTY_SUBVOLUME_NUMBER
    }

    /// Whether an object keeps its number as long as it exists. File systems without numbers of their own (FAT,
    /// some FUSE ones) give an object a new one whenever it comes back into memory.
    pub fn has_lasting_numbers(&self) -> bool {
        self.entries_have_numbers || self.is_overlay
    }

    /// Whether `stat` is of the object that the walk found under the number `real`.
    pub fn is_same(&self, stat: &Statx, real: u64) -> bool {
        if self.has_lasting_numbers() {
            return self.real_number(stat) == real && (self.is_own_device(stat) || self.is_overlay);
        }
        // The device is all that can be checked.
        self.is_own_device(stat)
    }

    fn open_in(&self, dir: BorrowedFd<'_>, path: &CStr, flags: OFlags) -> Result<OwnedFd, Errno> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        if self.has_openat2 {
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
            return openat2(dir, path, flags, Mode::empty(), resolve);
        }
        let fd = open_stepwise(dir, path, flags)?;
        let stat = stat_fd(fd.as_fd())?;
        if stat.stx_mnt_id != self.stat.stx_mnt_id || is_mount_root(&stat) && path != c"." {
            return Err(Errno::XDEV);
        }
        Ok(fd)
    }
}

/// `openat2` with `RESOLVE_NO_SYMLINKS`, one component at a time.
fn open_stepwise(dir: BorrowedFd<'_>, path: &CStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    let step_flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut at: Option<OwnedFd> = None;
    let mut rest = path.to_bytes();
    while let Some(slash) = rest.iter().position(|byte| *byte == b'/') {
        let from = at.as_ref().map_or(dir, OwnedFd::as_fd);
        let next = openat(from, &rest[..slash], step_flags, Mode::empty())?;
        at = Some(next);
        rest = &rest[slash + 1..];
    }
    openat(at.as_ref().map_or(dir, OwnedFd::as_fd), rest, flags, Mode::empty())
}

/// Attributes of an open object.
pub fn stat_fd(fd: BorrowedFd<'_>) -> Result<Statx, Errno> {
    statx(fd, c"", AtFlags::EMPTY_PATH, STATX_MASK)
}

/// Attributes of a name in a directory, of a link itself, without mounting anything.
pub fn stat_name(dir: BorrowedFd<'_>, name: &CStr) -> Result<Statx, Errno> {
    statx(dir, name, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT, STATX_MASK)
}

/// Whether the object is the root of a mount.
pub fn is_mount_root(stat: &Statx) -> bool {
    stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)
}

/// The system's error number in an error of the standard library.
pub fn errno_of(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(match error.kind() {
        io::ErrorKind::QuotaExceeded => Errno::OVERFLOW,
        _ => Errno::IO,
    })
}

/// The directories of a tree: each is described at its *place* by its name, its number and its parent's place.
/// In the order in which they were found, parents first, so the list is also the walk's queue.
pub struct Places(Spool);

/// What is at a place.
pub struct Place {
    /// The parent's place; the root's is its own.
    pub parent: u64,
    /// Number on the file system.
    pub real: u64,
    /// Where the next place is.
    pub next: u64,
    name_len: u8,
    name: [u8; NAME_LEN_MAX],
}

const PLACE_FIXED_LEN: usize = 8 + 8 + 1;

impl Place {
    /// The directory's name; the root's is empty.
    pub fn name(&self) -> &[u8] {
        &self.name[..usize::from(self.name_len)]
    }
}

impl Places {
    /// Where the root is described.
    pub const ROOT: u64 = 0;

    /// Places with the root only.
    ///
    /// # Errors
    /// The spool could not be written.
    pub fn new(scratch_dir: Arc<Path>, memory_max: usize, root_real: u64) -> io::Result<Self> {
        let mut places = Self(Spool::new(scratch_dir, memory_max));
        places.push(Self::ROOT, root_real, b"")?;
        Ok(places)
    }

    /// Adds a directory and gives its place.
    ///
    /// # Errors
    /// The spool could not be written.
    pub fn push(&mut self, parent: u64, real: u64, name: &[u8]) -> io::Result<u64> {
        let mut bytes = [0; PLACE_FIXED_LEN + NAME_LEN_MAX];
        let name = &name[..name.len().min(NAME_LEN_MAX)];
        bytes[..8].copy_from_slice(&parent.to_le_bytes());
        bytes[8..16].copy_from_slice(&real.to_le_bytes());
        bytes[16] = name.len() as u8;
        bytes[PLACE_FIXED_LEN..PLACE_FIXED_LEN + name.len()].copy_from_slice(name);
        self.0.append(&bytes[..PLACE_FIXED_LEN + name.len()])
    }

    /// Where the next directory will be.
    pub fn end(&self) -> u64 {
        self.0.len()
    }

    /// What is at `place`.
    ///
    /// # Errors
    /// The spool could not be read, or nothing is there.
    pub fn read(&self, place: u64) -> io::Result<Place> {
        let mut bytes = [0; PLACE_FIXED_LEN + NAME_LEN_MAX];
        let len = self.0.read_at(place, &mut bytes)?;
        let unexpected = || io::Error::from(io::ErrorKind::UnexpectedEof);
        let (parent, rest) = bytes[..len].split_first_chunk::<8>().ok_or_else(unexpected)?;
        let (real, rest) = rest.split_first_chunk::<8>().ok_or_else(unexpected)?;
        let (name_len, rest) = rest.split_first().ok_or_else(unexpected)?;
        let source = rest.get(..usize::from(*name_len)).ok_or_else(unexpected)?;
        let mut name = [0; NAME_LEN_MAX];
        name[..source.len()].copy_from_slice(source);
        let next = place + (PLACE_FIXED_LEN + source.len()) as u64;
        let (parent, real) = (u64::from_le_bytes(*parent), u64::from_le_bytes(*real));
        Ok(Place { parent, real, next, name_len: *name_len, name })
    }

    /// Puts the path of the directory at `place` in `path`, beneath the root and without it.
    ///
    /// # Errors
    /// The spool could not be read.
    pub fn path(&self, mut place: u64, path: &mut Vec<u8>) -> io::Result<()> {
        path.clear();
        while place != Self::ROOT {
            let found = self.read(place)?;
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend(found.name().iter().rev());
            place = found.parent;
        }
        path.reverse();
        Ok(())
    }
}

/// Opens objects of one tree by place and name; one for each thread.
pub struct Reach {
    /// Paths of directories looked up lately, each where its place falls.
    kept: Vec<(u64, Box<[u8]>)>,
    /// The path in use, and NUL.
    path: Vec<u8>,
    /// A directory that long paths are opened from, and its path.
    anchor: Option<(Vec<u8>, OwnedFd)>,
}

impl Reach {
    pub fn new() -> Self {
        Self { kept: Vec::new(), path: Vec::new(), anchor: None }
    }

    /// Opens the object `name` in the directory at `place`; the directory itself if the name is empty.
    ///
    /// # Errors
    /// It is not there, is a link where `flags` wants something else, is on another mount, or may not be opened.
    pub fn open(
        &mut self,
        root: &Root,
        places: &Places,
        place: u64,
        name: &[u8],
        flags: OFlags,
    ) -> Result<OwnedFd, Errno> {
        self.find(places, place).map_err(|error| errno_of(&error))?;
        self.open_found(root, name, flags)
    }

    /// The path of the directory looked up last.
    pub fn directory(&self) -> &[u8] {
        &self.path
    }

    /// Looks up the path of a directory, for [`open_found`](Self::open_found).
    ///
    /// # Errors
    /// The list of directories could not be read.
    pub fn find(&mut self, places: &Places, place: u64) -> io::Result<()> {
        if self.kept.is_empty() {
            self.kept.resize(KEPT_PATHS, (u64::MAX, Box::default()));
        }
        // Places are some tens of bytes apart; a multiplication spreads them.
        let slot = (place.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48) as usize % KEPT_PATHS;
        let (kept_place, kept_path) = &mut self.kept[slot];
        if *kept_place == place {
            self.path.clear();
            self.path.extend_from_slice(kept_path);
            return Ok(());
        }
        places.path(place, &mut self.path)?;
        if self.path.len() <= KEPT_PATH_LEN_MAX {
            *kept_place = place;
            *kept_path = self.path.as_slice().into();
        }
        Ok(())
    }

    /// The path looked up last, beneath the root.
    pub fn found(&self) -> &[u8] {
        &self.path
    }

    /// Opens the object `name` in the directory looked up last.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_found(&mut self, root: &Root, name: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        let dir_len = self.path.len();
        if !name.is_empty() && dir_len > 0 {
            self.path.push(b'/');
        }
        self.path.extend_from_slice(name);
        if self.path.is_empty() {
            self.path.push(b'.');
        }
        self.path.push(0);
        let result = self.open_path(root, flags);
        self.path.truncate(dir_len);
        result
    }

    fn open_path(&mut self, root: &Root, flags: OFlags) -> Result<OwnedFd, Errno> {
        if self.path.len() <= PATH_LEN_MAX {
            return open_retrying(root, root.fd.as_fd(), &self.path, flags);
        }
        let step_flags = OFlags::PATH | OFlags::DIRECTORY;
        let mut from = 0;
        let mut dir: Option<OwnedFd> = None;
        if let Some((prefix, fd)) = self.anchor.take()
            && self.path.get(prefix.len()) == Some(&b'/')
            && self.path.starts_with(&prefix)
        {
            from = prefix.len() + 1;
            dir = Some(fd);
        }
        while self.path.len() - from > PATH_LEN_MAX {
            // A component is at most 255 bytes long, so there is a slash.
            let slash = self.path[from..from + PATH_LEN_MAX].iter().rposition(|byte| *byte == b'/');
            let piece_len = slash.ok_or(Errno::NAMETOOLONG)?;
            let mut piece = self.path[from..from + piece_len].to_vec();
            piece.push(0);
            let at = dir.as_ref().map_or(root.fd.as_fd(), OwnedFd::as_fd);
            dir = Some(open_retrying(root, at, &piece, step_flags)?);
            from += piece_len + 1;
        }
        let at = dir.as_ref().map_or(root.fd.as_fd(), OwnedFd::as_fd);
        let result = open_retrying(root, at, &self.path[from..], flags);
        if let Some(fd) = dir {
            self.anchor = Some((self.path[..from - 1].to_vec(), fd));
        }
        result
    }
}

/// Opens a path that ends in NUL; without what the system denies or postpones but does not need to know.
fn open_retrying(root: &Root, dir: BorrowedFd<'_>, path: &[u8], mut flags: OFlags) -> Result<OwnedFd, Errno> {
    let path = CStr::from_bytes_with_nul(path).map_err(|_| Errno::INVAL)?;
    loop {
        match root.open_in(dir, path, flags) {
            // Only the owner may read without leaving an access time.
            Err(Errno::PERM) if flags.contains(OFlags::NOATIME) => flags.remove(OFlags::NOATIME),
            // Somebody has a lease on the file: wait until it is given up. A pipe never gives this error.
            Err(Errno::AGAIN) if flags.contains(OFlags::NONBLOCK) => flags.remove(OFlags::NONBLOCK),
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}

/// The device or remote source that is mounted where `root` is.
pub fn mount_source(root: &Root) -> Option<Vec<u8>> {
    Mount::find(root.stat.stx_mnt_id).map(|mount| mount.source)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_rebuilt_from_places() {
        for memory_max in [0, 1 << 20] {
            let mut places = Places::new(Arc::from(std::env::temp_dir()), memory_max, 2).unwrap();
            let a = places.push(Places::ROOT, 10, b"a").unwrap();
            let b = places.push(a, 11, &[0xff, b'\n']).unwrap();
            let c = places.push(b, 12, &[b'c'; 255]).unwrap();
            let mut path = vec![1, 2, 3];
            places.path(c, &mut path).unwrap();
            assert_eq!(path, [b"a/\xff\n/".as_slice(), &[b'c'; 255]].concat());
            places.path(Places::ROOT, &mut path).unwrap();
            assert_eq!(path, b"");
            assert_eq!(places.read(Places::ROOT).unwrap().next, a);
            assert_eq!(places.read(c).unwrap().next, places.end());
            assert_eq!(places.read(b).unwrap().real, 11);
            assert!(places.read(places.end()).is_err());
        }
    }

    #[test]
    fn a_mount_source_is_found() {
        let root = Root::open(Path::new("/proc")).unwrap();
        assert_eq!(mount_source(&root).as_deref(), Some(b"proc".as_slice()));
    }
}
