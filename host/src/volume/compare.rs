//! Compares a tree with a dump: a target that writes nothing and tells what differs.
//!
//! Layer: volume. A restore over this target reads the whole dump and finds every difference that a restore of it
//! would remove, and properties that only the tree has. Names that only the tree has are found by [`extra`].

pub mod extra;
mod hidden;
mod object;

use super::VolumeError;
use super::carrier::{attribute_of, property_of};
use super::failures::shortened;
use super::target::{
    ACL_ACCESS, ACL_DEFAULT, Directories, Directory, Properties, check_name, descriptor_path, open_directory,
    open_root, room_of,
};
use hidden::Hidden;
use object::{Open, begins_volume, open_data, open_object};
use rustix::fd::AsFd;
use rustix::fs::{self, AtFlags};
use rustix::io::{self, Errno};
use std::collections::{HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tapedump_core::device::ErrorKind;
use tapedump_core::device::volume::{
    Attributes, DeviceNumber, Difference, FailedPart, Failure, Kind, Made, Place, PropertyKind, Room,
    TargetVolume,
};
use tapedump_core::units::{Ino, Timestamp};

/// Bytes compared at a time; also the longest property there is.
const BUFFER_LEN: usize = 64 * 1024;

/// Properties the dump did not mention so far that are remembered until the end.
const SURPLUS_MAX: usize = 16 * 1024;

/// A directory of a mounted file system that is compared with a dump. Differences are failures
/// ([`FailedPart::Different`]); data of a file must come in ascending order.
///
/// Properties that only the tree has are told by [`flush`](TargetVolume::flush) at the latest: until then the dump
/// may still bring them.
#[derive(Debug)]
pub struct CompareTarget {
    /// `None`: it is not there, and that was told.
    directories: Directories<Option<Arc<Directory>>>,
    open: Option<Open>,
    properties: Properties,
    /// Properties of the open object that both the tree and the dump have. Those that only the dump has are not
    /// kept: there may be any number of them.
    mentioned: HashSet<Vec<u8>>,
    surplus: VecDeque<Surplus>,
    /// Properties that the dump brought before the attributes of their object: of directories.
    early: Vec<(Ino, Vec<u8>)>,
    /// A bit for each object that was compared or told missing.
    done: Vec<u64>,
    failures: VecDeque<Failure<VolumeError>>,
    buffer: Vec<u8>,
    hidden: Hidden,
}

/// A property that the tree has and the dump did not mention yet.
#[derive(Debug)]
struct Surplus {
    ino: Ino,
    name: Vec<u8>,
    path: PathBuf,
}

impl CompareTarget {
    /// Opens the tree to compare with.
    ///
    /// # Errors
    /// It is not there, not a directory, or may not be entered.
    pub fn open(root: &Path) -> Result<Self, VolumeError> {
        Ok(Self {
            directories: Directories::new(open_root(root)?, Some),
            open: None,
            properties: Properties::default(),
            mentioned: HashSet::new(),
            surplus: VecDeque::new(),
            early: Vec::new(),
            done: Vec::new(),
            failures: VecDeque::new(),
            buffer: vec![0; BUFFER_LEN],
            hidden: Hidden::of(root),
        })
    }

    /// The directory with that number, or `None` when it is known to be missing.
    fn directory(&mut self, ino: Ino) -> Result<Option<Arc<Directory>>, VolumeError> {
        self.directories.look_up(ino).cloned().ok_or_else(|| {
            VolumeError::own("use", ino.to_string(), ErrorKind::Invalid, "the directory is not open")
        })
    }

    fn fail(&mut self, failure: Failure<VolumeError>) {
        self.failures.push_back(shortened(failure, self.failures.len()));
    }

    fn differs(&mut self, ino: Ino, path: PathBuf, difference: Difference) {
        let error = VolumeError::own("confirm", path, ErrorKind::Changed, reason(difference));
        self.fail(Failure { ino, what: FailedPart::Different(difference), error });
    }

    fn property_differs(&mut self, ino: Ino, path: PathBuf, name: &[u8]) {
        let (kind, _) = property_of(name);
        let difference = Difference::Property(kind);
        let mut error = VolumeError::own("confirm", path, ErrorKind::Changed, reason(difference));
        if kind.is_named() {
            error = error.of_attribute(name);
        }
        self.fail(Failure { ino, what: FailedPart::Different(difference), error });
    }

    /// Opens a directory of the tree; tells when it is not there, once.
    fn find_directory(&mut self, place: Place<'_>, ino: Ino, tell: bool) -> Result<(), VolumeError> {
        let Some(parent) = self.directory(place.parent)? else {
            self.directories.insert(ino, None);
            if tell {
                self.tell_missing(ino, PathBuf::from(ino.to_string()), Difference::Missing);
            }
            return Ok(());
        };
        let found = match check_name(place.name).and_then(|()| open_directory(&parent, place.name)) {
            Ok(fd) => Ok(Some(self.directories.adopt(fd))),
            Err(Errno::NOENT) => Err(Difference::Missing),
            Err(Errno::NOTDIR | Errno::LOOP) => Err(Difference::Kind),
            Err(errno) => return Err(VolumeError::system("open", parent.path_of(place.name), errno)),
        };
        if let (Err(difference), true) = (&found, tell) {
            self.tell_missing(ino, parent.path_of(place.name), *difference);
        }
        self.directories.insert(ino, found.unwrap_or_default());
        Ok(())
    }

    fn tell_missing(&mut self, ino: Ino, path: PathBuf, difference: Difference) {
        if !self.set_done(ino) {
            self.differs(ino, path, difference);
        }
    }

    /// Opens the object of the tree that has the name; `kind` is what it should be, if that is known.
    fn find(&mut self, place: Place<'_>, ino: Ino, kind: Option<Kind>) -> Result<(), VolumeError> {
        self.close();
        let Some(parent) = self.directory(place.parent)? else {
            self.tell_missing(ino, PathBuf::from(ino.to_string()), Difference::Missing);
            return Ok(());
        };
        if let Some(None) = self.directories.look_up(ino) {
            // A directory that was told missing or another kind of object.
            return Ok(());
        }
        let name = if place.name.is_empty() { b"." } else { place.name };
        let path = parent.path_of(place.name);
        let opened = match place.name {
            [] => open_object(&parent, name),
            name => check_name(name).and_then(|()| open_object(&parent, name)),
        };
        let (object, stat, found) = match opened {
            Ok(opened) => opened,
            Err(Errno::NOENT) => {
                self.tell_missing(ino, path, Difference::Missing);
                return Ok(());
            }
            Err(errno) => return Err(VolumeError::system("open", path, errno)),
        };
        if kind == Some(Kind::Symlink)
            && found == Kind::Directory
            && (begins_volume(&parent, &object) || self.hidden.is_junction(&object, &stat, &path))
        {
            // A junction is on the dump as a link (R-DATA-5).
            self.set_done(ino);
            return Ok(());
        }
        if kind.is_some_and(|kind| kind != found) {
            self.tell_missing(ino, path, Difference::Kind);
            return Ok(());
        }
        let is_new = kind.is_some();
        let read = |path: &Path, errno| VolumeError::system("read", path, errno);
        let data = match found {
            Kind::File if is_new => Some(open_data(&object).map_err(|errno| read(&path, errno))?),
            _ => None,
        };
        let link_target = match found {
            Kind::Symlink => {
                fs::readlinkat(&object, "", Vec::new()).map_err(|errno| read(&path, errno))?.into_bytes()
            }
            _ => Vec::new(),
        };
        self.open = Some(Open {
            ino,
            kind: found,
            object,
            data,
            link_target,
            stat,
            path,
            compared: 0,
            data_differs: false,
        });
        Ok(())
    }

    fn close(&mut self) {
        self.open = None;
        self.properties.clear();
        self.mentioned.clear();
    }

    fn is_done(&self, ino: Ino) -> bool {
        self.done.get(ino.0 as usize / 64).is_some_and(|word| word & 1 << (ino.0 % 64) != 0)
    }

    /// Marks the object as done; tells whether it was.
    fn set_done(&mut self, ino: Ino) -> bool {
        let (word, bit) = (ino.0 as usize / 64, 1 << (ino.0 % 64));
        if word >= self.done.len() {
            self.done.resize(word + 1, 0);
        }
        let was = self.done[word] & bit != 0;
        self.done[word] |= bit;
        was
    }

    /// The property whose value is complete.
    fn compare_property(&mut self, piece: &[u8]) {
        let Some(open) = &self.open else { return };
        let Some(property) = self.properties.take(piece) else { return };
        let (kind, name) = (property.kind, property.name.to_vec());
        let path = descriptor_path(open.object.as_fd());
        let found = match fs::getxattr(path.as_str(), property.name, &mut self.buffer[..]) {
            Ok(len) => self.buffer.get(..len) == Some(property.value),
            Err(Errno::NODATA | Errno::OPNOTSUPP) => false,
            Err(errno) => {
                let error =
                    VolumeError::system("read an attribute of", &open.path, errno).of_attribute(&name);
                self.fail(Failure { ino: open.ino, what: FailedPart::Property(kind), error });
                return;
            }
        };
        if !found {
            let (ino, path) = (open.ino, open.path.clone());
            self.property_differs(ino, path, &name);
        }
    }

    /// Compares what the dump does not bring as data, which must be zeros, and the attributes.
    fn compare_attributes(&mut self, mut open: Open, attributes: &Attributes) -> Result<(), VolumeError> {
        let stat = &open.stat;
        let mut found = Vec::new();
        if attributes.kind != open.kind {
            self.differs(open.ino, open.path, Difference::Kind);
            return Ok(());
        }
        if open.kind.has_data() && stat.st_size as u64 != attributes.size {
            found.push(Difference::Size);
        }
        // Links have no permissions of their own here.
        if open.kind != Kind::Symlink && (stat.st_mode & 0o7777) as u16 != attributes.permissions & 0o7777 {
            found.push(Difference::Permissions);
        }
        if (stat.st_uid, stat.st_gid) != (attributes.uid, attributes.gid) {
            found.push(Difference::Owner);
        }
        if (Timestamp { secs: stat.st_mtime, nanos: stat.st_mtime_nsec as u32 }) != attributes.modified {
            found.push(Difference::Modified);
        }
        let device = DeviceNumber { major: fs::major(stat.st_rdev), minor: fs::minor(stat.st_rdev) };
        if matches!(open.kind, Kind::CharDevice | Kind::BlockDevice) && device != attributes.device {
            found.push(Difference::Device);
        }
        let zeros = open.compare_zeros(attributes.size, &mut self.buffer);
        for difference in found.into_iter().chain(zeros.as_ref().ok().copied().flatten()) {
            self.differs(open.ino, open.path.clone(), difference);
        }
        let listed = self.list_surplus(&open);
        zeros.map_err(|errno| VolumeError::system("read", &open.path, errno))?;
        listed.map_err(|errno| VolumeError::system("list the attributes of", &open.path, errno))
    }

    /// Notes the properties of the object that the dump did not mention.
    fn list_surplus(&mut self, open: &Open) -> io::Result<()> {
        let path = descriptor_path(open.object.as_fd());
        let len = match fs::listxattr(path.as_str(), &mut self.buffer[..]) {
            Err(Errno::OPNOTSUPP) => 0,
            other => other?,
        };
        let mut surplus = Vec::new();
        for name in self.buffer.get(..len).unwrap_or_default().split(|&byte| byte == 0) {
            // Of the system's own, only ACLs are dumped, and those not twice: XFS lists them in its own form, too.
            let is_dumped =
                !(name.starts_with(b"system.") || name.starts_with(b"trusted.SGI_ACL_")) || is_acl(name);
            let is_mentioned = self.mentioned.contains(name)
                || self.early.iter().any(|(ino, early)| *ino == open.ino && early == name);
            if !name.is_empty() && is_dumped && !is_mentioned {
                surplus.push(Surplus { ino: open.ino, name: name.to_vec(), path: open.path.clone() });
            }
        }
        for surplus in surplus {
            if self.surplus.len() < SURPLUS_MAX {
                self.surplus.push_back(surplus);
            } else {
                self.tell_surplus(surplus);
            }
        }
        Ok(())
    }

    fn tell_surplus(&mut self, surplus: Surplus) {
        self.property_differs(surplus.ino, surplus.path, &surplus.name);
    }
}

impl TargetVolume for CompareTarget {
    type Error = VolumeError;

    fn room(&mut self) -> Result<Room, VolumeError> {
        match self.directories.root() {
            Some(root) => room_of(root),
            None => Ok(Room { bytes: 0, inodes: 0 }),
        }
    }

    fn knows(&mut self, directory: Ino) -> bool {
        self.directories.look_up(directory).is_some()
    }

    fn enter(&mut self, place: Place<'_>, directory: Ino) -> Result<(), VolumeError> {
        self.find_directory(place, directory, false)
    }

    fn make_directory(&mut self, place: Place<'_>, directory: Ino) -> Result<Made, VolumeError> {
        self.find_directory(place, directory, true).map(|()| Made::Kept)
    }

    fn create(&mut self, place: Place<'_>, ino: Ino, attributes: &Attributes) -> Result<(), VolumeError> {
        self.find(place, ino, Some(attributes.kind))
    }

    fn reopen(&mut self, place: Place<'_>, ino: Ino) -> Result<(), VolumeError> {
        self.find(place, ino, None)
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Result<(), VolumeError> {
        let Some(open) = &mut self.open else { return Ok(()) };
        if open.data_differs {
            return Ok(());
        }
        match open.compare(offset, data, &mut self.buffer) {
            Ok(None) => {}
            Ok(Some(difference)) => {
                open.data_differs = true;
                let (ino, path) = (open.ino, open.path.clone());
                self.differs(ino, path, difference);
            }
            Err(errno) => {
                open.data_differs = true;
                return Err(VolumeError::system("read", &open.path, errno));
            }
        }
        Ok(())
    }

    fn begin_property(&mut self, kind: PropertyKind, name: &[u8], value_len: u32) -> Result<(), VolumeError> {
        let Some(open) = &self.open else { return Ok(()) };
        let property = name;
        let name = attribute_of(kind, property);
        let name = name.as_ref();
        let ino = open.ino;
        self.surplus.retain(|surplus| surplus.ino != ino || surplus.name != name);
        if self.mentioned.len() < SURPLUS_MAX && !self.mentioned.contains(name) && open.has_property(name) {
            self.mentioned.insert(name.to_vec());
        }
        if self.properties.announce(kind, property, value_len).is_err() {
            // Longer than any value on this system.
            let path = open.path.clone();
            self.property_differs(ino, path, name);
        } else if value_len == 0 {
            self.compare_property(&[]);
        }
        Ok(())
    }

    fn write_property(&mut self, piece: &[u8]) -> Result<(), VolumeError> {
        self.compare_property(piece);
        Ok(())
    }

    fn finish(&mut self, attributes: &Attributes) -> Result<(), VolumeError> {
        let compared = match self.open.take() {
            Some(open) if !self.set_done(open.ino) => self.compare_attributes(open, attributes),
            _ => Ok(()),
        };
        self.close();
        compared
    }

    fn release(&mut self) {
        if let Some(Open { ino, .. }) = self.open
            && !self.is_done(ino)
        {
            let room = SURPLUS_MAX.saturating_sub(self.early.len());
            self.early.extend(self.mentioned.drain().take(room).map(|name| (ino, name)));
        }
        self.close();
    }

    fn link(&mut self, existing: Place<'_>, place: Place<'_>, ino: Ino) -> Result<(), VolumeError> {
        let stat_of = |directory: &Option<Arc<Directory>>, name: &[u8]| {
            check_name(name).ok()?;
            let stat = fs::statat(directory.as_ref()?, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
            Some((stat.st_dev, stat.st_ino))
        };
        let from = self.directory(existing.parent)?;
        let to = self.directory(place.parent)?;
        let other = stat_of(&to, place.name);
        if other.is_none() || other != stat_of(&from, existing.name) {
            let path = to.map_or_else(|| PathBuf::from(ino.to_string()), |to| to.path_of(place.name));
            self.differs(ino, path, Difference::Link);
        }
        Ok(())
    }

    fn poll_failure(&mut self) -> Option<Failure<VolumeError>> {
        self.failures.pop_front()
    }

    fn barrier(&mut self) {}

    fn flush(&mut self) -> Result<(), VolumeError> {
        for surplus in std::mem::take(&mut self.surplus) {
            self.tell_surplus(surplus);
        }
        Ok(())
    }
}

fn is_acl(name: &[u8]) -> bool {
    name == ACL_ACCESS.as_bytes() || name == ACL_DEFAULT.as_bytes()
}

/// What a difference is, in words that follow "cannot confirm PATH".
const fn reason(difference: Difference) -> &'static str {
    match difference {
        Difference::Missing => "it is not there",
        Difference::Kind => "it is another kind of object",
        Difference::Data(_) => "its data differs",
        Difference::Size => "its length differs",
        Difference::Permissions => "its permissions differ",
        Difference::Owner => "its owner or group differs",
        Difference::Modified => "its modification time differs",
        Difference::Device => "its device number differs",
        Difference::Property(PropertyKind::Xattr) => "an extended attribute differs",
        Difference::Property(PropertyKind::Stream) => "a stream differs",
        Difference::Property(PropertyKind::DosAttributes) => "its DOS attributes differ",
        Difference::Property(PropertyKind::Qtree) => "its attributes as a qtree differ",
        Difference::Property(PropertyKind::Lun) => "its attributes as a LUN differ",
        Difference::Property(PropertyKind::VmAlignment) => "its alignment for virtual machines differs",
        Difference::Property(_) => "its ACL differs",
        Difference::Link => "it is not the same object as its other name",
        _ => "it differs",
    }
}

#[cfg(test)]
mod tests;
