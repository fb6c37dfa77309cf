//! Qtrees of a volume: top-level directories that an extended attribute marks (R-DATA-4), and the rules by which one keeps
//! its number.

use super::VolumeError;
use super::carrier::attribute_of;
use super::place::{is_below_volume_root, is_volume_root};
use super::target::descriptor_path;
use rustix::buffer::spare_capacity;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{
    Dir, FlockOperation, Mode, OFlags, XattrFlags, flock, getxattr, openat, removexattr, setxattr,
};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use tapedump_core::device::ErrorKind;
use tapedump_core::device::volume::PropertyKind;
use tapedump_core::record::qtree::{DEFAULT_MODE, QTREE_LEN_MAX, Qtree, SecurityStyle};

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A qtree of a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Name of its directory.
    pub name: Vec<u8>,
    /// Its attributes; `None`: they are not understood.
    pub qtree: Option<Qtree>,
}

/// The attributes of the qtree whose root is open; `Ok(None)`: it is none. `Some(None)`: they are not understood.
///
/// # Errors
/// They cannot be read.
pub fn read(directory: impl AsFd) -> Result<Option<Option<Qtree>>, Errno> {
    let mut value = Vec::with_capacity(4 * QTREE_LEN_MAX);
    let path = descriptor_path(directory.as_fd());
    match getxattr(path.as_str(), attribute().as_slice(), spare_capacity(&mut value)) {
        Ok(_) => Ok(Some(Qtree::parse(&value).map(|(qtree, _)| qtree))),
        Err(Errno::RANGE) => Ok(Some(None)),
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(None),
        Err(errno) => Err(errno),
    }
}

fn attribute() -> Vec<u8> {
    attribute_of(PropertyKind::Qtree, b"").into_owned()
}

/// The qtrees of a volume, its open root's own included as one without a name, ordered by name.
///
/// # Errors
/// The root cannot be read.
pub fn list(root: impl AsFd) -> Result<Vec<Found>, Errno> {
    let root = root.as_fd();
    let mut found = Vec::new();
    if let Some(qtree) = read(root)? {
        found.push(Found { name: Vec::new(), qtree });
    }
    for entry in Dir::new(openat(root, ".", DIRECTORY, Mode::empty())?)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // What is no directory, and what is gone, is no qtree.
        let Ok(directory) = openat(root, name, flags, Mode::empty()) else { continue };
        if let Some(qtree) = read(&directory)? {
            found.push(Found { name: name.to_bytes().to_vec(), qtree });
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// The root of the qtree that an open directory is in, or of its volume, if that has qtree attributes; `None`: the directory
/// is in no qtree, or the system cannot tell.
pub fn enclosing(directory: impl AsFd) -> Option<OwnedFd> {
    /// Longer paths than any.
    const DEPTH_MAX: usize = 4096;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut at = openat(directory, ".", flags, Mode::empty()).ok()?;
    let mut below = None;
    for _ in 0..DEPTH_MAX {
        if is_volume_root(&at).ok()? {
            let root = below.unwrap_or(at);
            return read(&root).ok()?.map(|_| root);
        }
        let above = openat(&at, "..", flags, Mode::empty()).ok()?;
        below = Some(std::mem::replace(&mut at, above));
    }
    None
}

/// The lowest number that none of these has.
fn free_id(taken: &[Found]) -> u32 {
    let mut ids: Vec<u32> = taken.iter().filter_map(|found| Some(found.qtree?.id)).collect();
    ids.sort_unstable();
    ids.iter().fold(1, |free, id| if *id == free { free.saturating_add(1) } else { free })
}

/// Holds the qtrees of a volume as they are, between processes, until it is dropped.
struct Lock(#[expect(dead_code, reason = "it is locked while it is open")] OwnedFd);

fn lock(root: impl AsFd) -> Result<Lock, Errno> {
    let fd = openat(root, ".", DIRECTORY, Mode::empty())?;
    rustix::io::retry_on_intr(|| flock(&fd, FlockOperation::LockExclusive))?;
    Ok(Lock(fd))
}

/// What is to be written for the qtree `value` of a dump on the open directory, a qtree already or not: `None`, where
/// another qtree has the directory, and stays as it is (R-RESTORE-4). A number that another one has is replaced.
fn admitted(
    root: impl AsFd,
    name: &[u8],
    value: &[u8],
    here: Option<Qtree>,
) -> Result<Option<Vec<u8>>, Errno> {
    let Some((mut qtree, text)) = Qtree::parse(value) else { return Ok(Some(value.to_vec())) };
    if here.is_some_and(|here| here.id != qtree.id) {
        return Ok(None);
    }
    let mut others = list(root)?;
    others.retain(|other| other.name != name);
    if others.iter().any(|other| other.qtree.is_some_and(|other| other.id == qtree.id)) {
        qtree.id = free_id(&others);
    }
    let mut bytes = [0; QTREE_LEN_MAX];
    let len = qtree
        .emit(std::str::from_utf8(name).ok().filter(|name| !name.is_empty()).unwrap_or(text), &mut bytes);
    Ok(Some(bytes[..len].to_vec()))
}

/// Gives a directory that is open, called `name` in the root of its volume, the qtree attributes of a dump.
///
/// # Errors
/// They cannot be set.
pub fn restore(directory: impl AsFd, value: &[u8]) -> Result<(), Errno> {
    let directory = directory.as_fd();
    let here = read(directory)?.flatten();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = if is_volume_root(directory)? { "." } else { ".." };
    let root = openat(directory, root, flags, Mode::empty())?;
    let _lock = lock(&root)?;
    let name = if is_below_volume_root(directory).unwrap_or(false) { name_of(directory) } else { Vec::new() };
    let Some(value) = admitted(&root, &name, value, here)? else { return Ok(()) };
    write(directory, &value)
}

fn name_of(directory: impl AsFd) -> Vec<u8> {
    let path = super::target::path_of(directory.as_fd(), b"");
    path.file_name().map_or_else(Vec::new, |name| name.as_bytes().to_vec())
}

fn write(directory: impl AsFd, value: &[u8]) -> Result<(), Errno> {
    let path = descriptor_path(directory.as_fd());
    setxattr(path.as_str(), attribute().as_slice(), value, XattrFlags::empty())
}

/// What is to change of a qtree; what is not given stays, or is as it is by default.
#[derive(Clone, Copy, Debug, Default)]
pub struct Change {
    /// Its number.
    pub id: Option<u32>,
    /// Whose permissions count.
    pub style: Option<SecurityStyle>,
    /// Clients may cache.
    pub oplocks: Option<bool>,
    /// Permission bits of what comes with an NT descriptor only.
    pub default_mode: Option<u16>,
}

/// A directory of the top level of a volume, by its path.
#[derive(Debug)]
pub struct TopLevel {
    root: OwnedFd,
    path: PathBuf,
    name: Vec<u8>,
}

impl TopLevel {
    /// Finds the volume of `path`, which need not be there.
    ///
    /// # Errors
    /// The directory it is in is not the root of a volume, or its name cannot be a qtree's.
    pub fn find(path: &Path) -> Result<Self, VolumeError> {
        let refused = |why| VolumeError::own(MARK, path, ErrorKind::Invalid, why);
        let system = |errno| VolumeError::system(MARK, path, errno);
        let absolute = std::path::absolute(path).map_err(|_| refused("it is no path"))?;
        let (Some(parent), Some(name)) = (absolute.parent(), absolute.file_name()) else {
            return Err(refused(NOT_TOP_LEVEL));
        };
        if std::str::from_utf8(name.as_bytes()).is_err() {
            return Err(refused("its name is no text in UTF-8"));
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(parent, flags, Mode::empty()).map_err(system)?;
        if !is_volume_root(&root).map_err(system)? {
            return Err(refused(NOT_TOP_LEVEL));
        }
        Ok(Self { root, path: path.to_path_buf(), name: name.as_bytes().to_vec() })
    }

    /// Makes it a qtree, and the directory where there is none.
    ///
    /// # Errors
    /// It is one already, or a number is wanted that another one has.
    pub fn create(&self, change: Change) -> Result<Qtree, VolumeError> {
        let system = |errno| VolumeError::system(MARK, &self.path, errno);
        let _lock = lock(&self.root).map_err(system)?;
        let name = OsStr::from_bytes(&self.name);
        let is_new = match rustix::fs::mkdirat(&self.root, name, Mode::from_raw_mode(0o777)) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(errno) => return Err(system(errno)),
        };
        let made = self.open().and_then(|directory| {
            if read(&directory).map_err(system)?.is_some() {
                return Err(self.refused("it is a qtree already; tapedump qtree set changes it"));
            }
            let default =
                Qtree { id: 0, style: SecurityStyle::Unix, oplocks: true, default_mode: DEFAULT_MODE };
            self.apply(&directory, default, change)
        });
        if made.is_err() && is_new {
            // Empty as it is made; whatever else is in it by now stays.
            _ = rustix::fs::unlinkat(&self.root, name, rustix::fs::AtFlags::REMOVEDIR);
        }
        made
    }

    /// Changes the qtree.
    ///
    /// # Errors
    /// It is none, or a number is wanted that another one has.
    pub fn set(&self, change: Change) -> Result<Qtree, VolumeError> {
        let system = |errno| VolumeError::system(MARK, &self.path, errno);
        let _lock = lock(&self.root).map_err(system)?;
        let directory = self.open()?;
        match read(&directory).map_err(system)? {
            Some(Some(qtree)) => self.apply(&directory, qtree, change),
            Some(None) => Err(self.refused("its attributes are not understood: those of a later version?")),
            None => Err(self.refused("it is no qtree; tapedump qtree create makes one of it")),
        }
    }

    /// Makes it a directory like any other.
    ///
    /// # Errors
    /// It is no qtree.
    pub fn clear(&self) -> Result<(), VolumeError> {
        let directory = self.open()?;
        let path = descriptor_path(directory.as_fd());
        match removexattr(path.as_str(), attribute().as_slice()) {
            Err(Errno::NODATA) => Err(self.refused("it is no qtree")),
            other => other.map_err(|errno| VolumeError::system(MARK, &self.path, errno)),
        }
    }

    fn open(&self) -> Result<OwnedFd, VolumeError> {
        let opened = openat(&self.root, OsStr::from_bytes(&self.name), DIRECTORY, Mode::empty());
        opened.map_err(|errno| VolumeError::system(MARK, &self.path, errno))
    }

    fn refused(&self, why: &'static str) -> VolumeError {
        VolumeError::own(MARK, &self.path, ErrorKind::Invalid, why)
    }

    fn apply(&self, directory: &OwnedFd, mut qtree: Qtree, change: Change) -> Result<Qtree, VolumeError> {
        let system = |errno| VolumeError::system(MARK, &self.path, errno);
        let mut others = list(&self.root).map_err(system)?;
        others.retain(|other| other.name != self.name);
        qtree.id = match change.id {
            Some(id) if others.iter().any(|other| other.qtree.is_some_and(|other| other.id == id)) => {
                return Err(self.refused("another qtree of the volume has this number"));
            }
            Some(id) => id,
            None if qtree.id == 0 => free_id(&others),
            None => qtree.id,
        };
        qtree.style = change.style.unwrap_or(qtree.style);
        qtree.oplocks = change.oplocks.unwrap_or(qtree.oplocks);
        qtree.default_mode = change.default_mode.unwrap_or(qtree.default_mode);
        let mut value = [0; QTREE_LEN_MAX];
        let len = qtree.emit(std::str::from_utf8(&self.name).unwrap_or_default(), &mut value);
        write(directory, &value[..len]).map_err(system)?;
        Ok(qtree)
    }
}

const MARK: &str = "make a qtree of";
const NOT_TOP_LEVEL: &str =
    "qtrees are in the root of a volume (a mounted file system, or a subvolume), and this is not";

#[cfg(test)]
mod tests {
    use super::*;
    use tapedump_core::device::DeviceError;

    fn found(name: &str, id: u32) -> Found {
        let qtree = Qtree { id, style: SecurityStyle::Unix, oplocks: true, default_mode: 0o777 };
        Found { name: name.into(), qtree: Some(qtree) }
    }

    #[test]
    fn numbers_that_are_free() {
        assert_eq!(free_id(&[]), 1);
        assert_eq!(free_id(&[found("a", 1), found("b", 3), found("c", 2)]), 4);
        assert_eq!(free_id(&[found("a", 2), Found { name: b"x".to_vec(), qtree: None }]), 1);
    }

    #[test]
    fn only_top_level_directories_are_found() {
        let directory = tempfile::tempdir().unwrap();
        let error = TopLevel::find(&directory.path().join("a/b")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        let error = TopLevel::find(&directory.path().join("a")).unwrap_err().to_string();
        assert!(error.contains("root of a volume"), "{error}");
        assert!(TopLevel::find(Path::new("/")).is_err());
    }
}
