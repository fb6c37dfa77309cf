//! The volume contracts: what a dump reads from and a restore writes to.
//!
//! Objects are named by their number in the dump ([`Ino`]); the root is [`Ino::ROOT`]. One object is open at a
//! time. A volume that works ahead or behind on several threads does so behind these contracts.

mod capabilities;
mod property;
mod stretch;

pub use capabilities::{TargetCapabilities, TargetRoot};
pub use property::{Property, PropertyKind, PropertyKinds};
pub use stretch::{Mapped, Stretch};

use super::DeviceError;
use crate::limits::NAME_LEN_MAX;
use crate::units::{Ino, Timestamp};

/// Type of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Kind {
    /// Regular file.
    File,
    /// Directory.
    Directory,
    /// Symbolic link; its target is its data.
    Symlink,
    /// Named pipe.
    Fifo,
    /// Character device node.
    CharDevice,
    /// Block device node.
    BlockDevice,
    /// Socket.
    Socket,
}

impl Kind {
    /// The `S_IFMT` bits of the mode.
    #[must_use]
    pub const fn mode_bits(self) -> u16 {
        match self {
            Self::Fifo => 0o010_000,
            Self::CharDevice => 0o020_000,
            Self::Directory => 0o040_000,
            Self::BlockDevice => 0o060_000,
            Self::File => 0o100_000,
            Self::Symlink => 0o120_000,
            Self::Socket => 0o140_000,
        }
    }

    /// The kind that a mode's `S_IFMT` bits name.
    #[must_use]
    pub const fn from_mode(mode: u16) -> Option<Self> {
        Some(match mode & 0o170_000 {
            0o010_000 => Self::Fifo,
            0o020_000 => Self::CharDevice,
            0o040_000 => Self::Directory,
            0o060_000 => Self::BlockDevice,
            0o100_000 => Self::File,
            0o120_000 => Self::Symlink,
            0o140_000 => Self::Socket,
            _ => return None,
        })
    }

    /// Whether the object has data of its own: a file's bytes or a link's target.
    #[must_use]
    pub const fn has_data(self) -> bool {
        matches!(self, Self::File | Self::Symlink)
    }
}

/// Device number of a device node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct DeviceNumber {
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
}

/// The attributes of an object (R-DATA-1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Attributes {
    /// Type.
    pub kind: Kind,
    /// Permission bits, set-id bits and sticky bit: `mode & 0o7777`.
    pub permissions: u16,
    /// Names the object has on its volume.
    pub links: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Length of the data in bytes; of a link, of its target. Meaningless for the other kinds.
    pub size: u64,
    /// Device number of a device node, zero otherwise.
    pub device: DeviceNumber,
    /// Last access.
    pub accessed: Timestamp,
    /// Last modification of the data.
    pub modified: Timestamp,
    /// Last change of data or attributes.
    pub changed: Timestamp,
    /// Creation, where the volume knows it.
    pub born: Option<Timestamp>,
    /// The volume's own 64-bit number for the object.
    pub real_ino: u64,
    /// The volume's generation number for it, or 0.
    pub generation: u32,
    /// Number of the qtree that it is in, or 0 (R-DATA-4).
    pub qtree: u32,
}

impl Attributes {
    /// Attributes of an object of `kind` with nothing set; all times are the epoch.
    #[must_use]
    pub const fn new(kind: Kind) -> Self {
        const EPOCH: Timestamp = Timestamp { secs: 0, nanos: 0 };
        Self {
            kind,
            permissions: 0,
            links: 1,
            uid: 0,
            gid: 0,
            size: 0,
            device: DeviceNumber { major: 0, minor: 0 },
            accessed: EPOCH,
            modified: EPOCH,
            changed: EPOCH,
            born: None,
            real_ino: 0,
            generation: 0,
            qtree: 0,
        }
    }
}

/// Space for one name.
pub type NameBuf = [u8; NAME_LEN_MAX];

/// One name in a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The object the name stands for.
    pub ino: Ino,
    /// Length of the name in bytes, 1 to [`NAME_LEN_MAX`].
    pub name_len: usize,
}

/// Which objects a walk gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Class {
    /// Directories only.
    Directories,
    /// Everything else.
    Others,
}

/// Names of the volume that are written in each header; longer ones are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct VolumeNames {
    /// Path of the dumped tree (`c_filesys`), NUL-padded.
    pub path: [u8; 64],
    /// Device or snapshot it was read from (`c_dev`), NUL-padded.
    pub device: [u8; 64],
    /// Host it belongs to (`c_host`), NUL-padded.
    pub host: [u8; 64],
}

impl Default for VolumeNames {
    fn default() -> Self {
        Self { path: [0; 64], device: [0; 64], host: [0; 64] }
    }
}

/// A volume, or a tree in it, as the source of a dump.
///
/// Numbers are stable while the dump runs, the root's is [`Ino::ROOT`], and no object has a number below it or
/// above [`Ino::LAST`]. An object with several names has one number.
///
/// An `Err` from [`map`](Self::map), [`next_inode`](Self::next_inode) and the getters ends the dump. An `Err` from a method that
/// concerns the open object (or [`open`](Self::open) itself) concerns that object only: the dump reports it and goes on.
pub trait SourceVolume {
    /// The volume's own error.
    type Error: DeviceError;

    /// The names to write in headers.
    ///
    /// # Errors
    /// The volume cannot be read.
    fn names(&mut self) -> Result<VolumeNames, Self::Error>;

    /// One more than the highest number in use; tells the caller how large the maps must be.
    ///
    /// # Errors
    /// The volume cannot be read.
    fn ino_limit(&mut self) -> Result<Ino, Self::Error>;

    /// Stages I and II: notes the objects of a stretch of numbers, and which of them may have changed. Stretches come
    /// in ascending order, each once, before anything is opened.
    ///
    /// # Errors
    /// The volume cannot be walked.
    fn map(&mut self, stretch: &mut Stretch<'_>) -> Result<(), Self::Error>;

    /// The first object of `class` with a number of at least `from`, in ascending order. What was mapped as neither
    /// changed nor unknown may be left out, unless it is a directory.
    ///
    /// # Errors
    /// The volume cannot be walked.
    fn next_inode(&mut self, from: Ino, class: Class) -> Result<Option<Ino>, Self::Error>;

    /// Of an increment, before the first [`open`](Self::open): only the objects of this map will be opened. The bit of
    /// number `i` is bit `(i - 1) % 8` of byte `(i - 1) / 8`. For a volume that reads ahead.
    fn will_open(&mut self, objects: &[u8]) {
        let _ = objects;
    }

    /// Opens an object and gives its attributes, which stay the same until [`close`](Self::close). Calls come in
    /// the order of [`next_inode`](Self::next_inode), directories first; a volume may read ahead by it.
    ///
    /// # Errors
    /// The object cannot be opened: gone, unreadable, or replaced by something else ([`super::ErrorKind::Changed`]).
    /// Nothing is open then.
    fn open(&mut self, ino: Ino) -> Result<Attributes, Self::Error>;

    /// The directory that holds the object, one of them if it has several names; the root's is the root.
    ///
    /// # Errors
    /// The volume cannot tell.
    fn parent(&mut self, ino: Ino) -> Result<Ino, Self::Error>;

    /// Of the open directory: the next name, without `.` and `..`, in any order that is the same each time.
    /// Names of objects that are not part of the dump (other volumes, snapshots) are left out.
    ///
    /// # Errors
    /// The directory cannot be read (further).
    fn next_entry(&mut self, name: &mut NameBuf) -> Result<Option<Entry>, Self::Error>;

    /// Of the open directory: starts again with the first name.
    ///
    /// # Errors
    /// The directory cannot be read again.
    fn rewind_entries(&mut self) -> Result<(), Self::Error>;

    /// Of the open file: the first range at or after `from` that holds data, as start and end, the end not above
    /// the size. `None`: a hole up to the end. A volume that knows no holes gives `(from, size)`.
    ///
    /// # Errors
    /// The volume cannot tell.
    fn next_data(&mut self, from: u64) -> Result<Option<(u64, u64)>, Self::Error>;

    /// Of the open file or link: reads data at `offset` into `buf` and gives the length. Less than `buf.len()`
    /// only at the end of the data.
    ///
    /// # Errors
    /// The data cannot be read.
    fn read(&mut self, offset: u64, buf: &mut [u8]) -> Result<usize, Self::Error>;

    /// Of the open object: the property `index`, from 0 without gaps; puts its name in `name`. `None`: no more.
    ///
    /// # Errors
    /// This property cannot be read; the ones behind it may be.
    fn property(&mut self, index: u32, name: &mut NameBuf) -> Result<Option<Property>, Self::Error>;

    /// Of the open object: reads the value of property `index` from `offset` and gives the length, as
    /// [`read`](Self::read).
    ///
    /// # Errors
    /// The value cannot be read.
    fn read_property(&mut self, index: u32, offset: u32, buf: &mut [u8]) -> Result<usize, Self::Error>;

    /// Closes the open object. `true`: it did not change while it was open; always so in a snapshot.
    ///
    /// # Errors
    /// The volume cannot tell.
    fn close(&mut self) -> Result<bool, Self::Error>;
}

impl<V: SourceVolume + ?Sized> SourceVolume for &mut V {
    type Error = V::Error;

    fn names(&mut self) -> Result<VolumeNames, Self::Error> {
        (**self).names()
    }
    fn ino_limit(&mut self) -> Result<Ino, Self::Error> {
        (**self).ino_limit()
    }
    fn next_inode(&mut self, from: Ino, class: Class) -> Result<Option<Ino>, Self::Error> {
        (**self).next_inode(from, class)
    }
    fn will_open(&mut self, objects: &[u8]) {
        (**self).will_open(objects);
    }
    fn open(&mut self, ino: Ino) -> Result<Attributes, Self::Error> {
        (**self).open(ino)
    }
    fn map(&mut self, stretch: &mut Stretch<'_>) -> Result<(), Self::Error> {
        (**self).map(stretch)
    }
    fn parent(&mut self, ino: Ino) -> Result<Ino, Self::Error> {
        (**self).parent(ino)
    }
    fn next_entry(&mut self, name: &mut NameBuf) -> Result<Option<Entry>, Self::Error> {
        (**self).next_entry(name)
    }
    fn rewind_entries(&mut self) -> Result<(), Self::Error> {
        (**self).rewind_entries()
    }
    fn next_data(&mut self, from: u64) -> Result<Option<(u64, u64)>, Self::Error> {
        (**self).next_data(from)
    }
    fn read(&mut self, offset: u64, buf: &mut [u8]) -> Result<usize, Self::Error> {
        (**self).read(offset, buf)
    }
    fn property(&mut self, index: u32, name: &mut NameBuf) -> Result<Option<Property>, Self::Error> {
        (**self).property(index, name)
    }
    fn read_property(&mut self, index: u32, offset: u32, buf: &mut [u8]) -> Result<usize, Self::Error> {
        (**self).read_property(index, offset, buf)
    }
    fn close(&mut self) -> Result<bool, Self::Error> {
        (**self).close()
    }
}

/// Whether a directory of the target is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Made {
    /// It was made.
    New,
    /// It was there.
    Kept,
}

/// A name in a directory of the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    /// The directory's number in the dump.
    pub parent: Ino,
    /// The name: 1 to [`NAME_LEN_MAX`] bytes, without `/` and NUL, neither `.` nor `..`.
    pub name: &'a [u8],
}

/// Free room on a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Bytes that may still be written.
    pub bytes: u64,
    /// Objects that may still be made.
    pub inodes: u64,
}

/// Something that failed on the target for one object, possibly some calls ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Failure<E> {
    /// The object.
    pub ino: Ino,
    /// What of it failed.
    pub what: FailedPart,
    /// Why.
    pub error: E,
}

/// What part of an object failed on the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum FailedPart {
    /// The object could not be made; nothing of it is there.
    Create,
    /// Its data is not (all) there.
    Data,
    /// A further name of it could not be made.
    Link,
    /// Owner, permissions or times are not what they were.
    Attributes,
    /// A property is not there.
    Property(PropertyKind),
    /// Comparing: the object differs from the dump's.
    Different(Difference),
}

/// How an object on the target differs from the one in the dump, when comparing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Difference {
    /// It is not there.
    Missing,
    /// Another type of object.
    Kind,
    /// Other bytes (or another link target); the first difference is at or after this offset.
    Data(u64),
    /// Another length.
    Size,
    /// Other permission bits.
    Permissions,
    /// Another owner or group.
    Owner,
    /// Another modification time.
    Modified,
    /// Another device number.
    Device,
    /// Another value of a property, or it is missing.
    Property(PropertyKind),
    /// A further name is missing, or is another object.
    Link,
}

/// A volume, or a directory in it, as the target of a restore.
///
/// The target's root directory is [`Ino::ROOT`] and always known. Directories are made before what they hold; a
/// target need not remember all of them: see [`knows`](Self::knows). Objects are made one at a time:
/// [`create`](Self::create) or [`reopen`](Self::reopen), then data and properties in any order, then [`finish`](Self::finish).
///
/// A target may work behind: what fails later is told by [`poll_failure`](Self::poll_failure), at the latest
/// after [`barrier`](Self::barrier); what only the end of the restore tells, after [`flush`](Self::flush). A failure concerns its object only, except [`super::ErrorKind::Full`],
/// [`super::ErrorKind::ReadOnly`] and [`super::ErrorKind::Interrupted`], upon which the engine stops.
/// No call follows a link somebody put in the target, nor leaves its root.
pub trait TargetVolume {
    /// The volume's own error.
    type Error: DeviceError;

    /// What the target can hold. What it cannot the engine keeps from it, and tells.
    fn capabilities(&self) -> TargetCapabilities {
        TargetCapabilities::ALL
    }

    /// Free room now.
    ///
    /// # Errors
    /// The volume cannot tell.
    fn room(&mut self) -> Result<Room, Self::Error>;

    /// Whether the directory may be named as a parent right now. The last three directories made, entered or
    /// asked for are always known.
    fn knows(&mut self, directory: Ino) -> bool;

    /// Makes a directory of the target, made earlier, known again. Its parent is known.
    ///
    /// # Errors
    /// It is no longer there, or is not a directory.
    fn enter(&mut self, place: Place<'_>, directory: Ino) -> Result<(), Self::Error>;

    /// Makes a directory, or keeps the one that is there (R-RESTORE-4); known afterwards.
    ///
    /// # Errors
    /// It cannot be made.
    fn make_directory(&mut self, place: Place<'_>, directory: Ino) -> Result<Made, Self::Error>;

    /// Makes an object that is not a directory and opens it. What has the name already is replaced, unless it
    /// is a directory. `attributes` may be used in advance (kind, size, device); they are set by
    /// [`finish`](Self::finish).
    ///
    /// # Errors
    /// It cannot be made. Nothing is open then.
    fn create(&mut self, place: Place<'_>, ino: Ino, attributes: &Attributes) -> Result<(), Self::Error>;

    /// Opens an object made earlier (or a known directory: then `place` is where it is, and for the root its
    /// name is empty), to set properties and attributes. Comes after a [`barrier`](Self::barrier).
    ///
    /// # Errors
    /// It is not there. Nothing is open then.
    fn reopen(&mut self, place: Place<'_>, ino: Ino) -> Result<(), Self::Error>;

    /// Writes data of the open object: a piece of a file, or the whole target of a link (in one or more pieces in
    /// ascending order). What is never written within the size is a hole.
    ///
    /// # Errors
    /// It cannot be written; the engine goes on with the next object.
    fn write(&mut self, offset: u64, data: &[u8]) -> Result<(), Self::Error>;

    /// Sets a property of the open object: announces it; its `value_len` bytes follow in
    /// [`write_property`](Self::write_property), in order, before anything else. An empty value needs none.
    ///
    /// # Errors
    /// It cannot be set.
    fn begin_property(&mut self, kind: PropertyKind, name: &[u8], value_len: u32) -> Result<(), Self::Error>;

    /// The next piece of the announced property's value. With the last piece the property takes effect.
    ///
    /// # Errors
    /// It cannot be set.
    fn write_property(&mut self, piece: &[u8]) -> Result<(), Self::Error>;

    /// Gives up the announced property, whose value does not come to its end: it never takes effect, and the object is whole
    /// without it. By default nothing is done: enough for a target that sets nothing before it has all of a value.
    fn abandon_property(&mut self) {}

    /// Gives the open object its length, owner, permissions and times, and closes it.
    ///
    /// # Errors
    /// Something of that failed; the object is closed all the same.
    fn finish(&mut self, attributes: &Attributes) -> Result<(), Self::Error>;

    /// Closes the open object and leaves its attributes as they are: only properties were to be set, or so much of it
    /// is lost that it must not look complete.
    fn release(&mut self);

    /// Gives the object `ino`, which has the name `existing`, the further name `place`; replaces as
    /// [`create`](Self::create) does.
    ///
    /// # Errors
    /// The name cannot be made.
    fn link(&mut self, existing: Place<'_>, place: Place<'_>, ino: Ino) -> Result<(), Self::Error>;

    /// A failure of earlier calls that was not told yet.
    fn poll_failure(&mut self) -> Option<Failure<Self::Error>>;

    /// Returns when everything asked for so far is done, whether well or not.
    fn barrier(&mut self);

    /// Returns when everything is durable.
    ///
    /// # Errors
    /// Something could not be made durable.
    fn flush(&mut self) -> Result<(), Self::Error>;
}

impl<V: TargetVolume + ?Sized> TargetVolume for &mut V {
    type Error = V::Error;

    fn capabilities(&self) -> TargetCapabilities {
        (**self).capabilities()
    }
    fn room(&mut self) -> Result<Room, Self::Error> {
        (**self).room()
    }
    fn knows(&mut self, directory: Ino) -> bool {
        (**self).knows(directory)
    }
    fn enter(&mut self, place: Place<'_>, directory: Ino) -> Result<(), Self::Error> {
        (**self).enter(place, directory)
    }
    fn make_directory(&mut self, place: Place<'_>, directory: Ino) -> Result<Made, Self::Error> {
        (**self).make_directory(place, directory)
    }
    fn create(&mut self, place: Place<'_>, ino: Ino, attributes: &Attributes) -> Result<(), Self::Error> {
        (**self).create(place, ino, attributes)
    }
    fn reopen(&mut self, place: Place<'_>, ino: Ino) -> Result<(), Self::Error> {
        (**self).reopen(place, ino)
    }
    fn write(&mut self, offset: u64, data: &[u8]) -> Result<(), Self::Error> {
        (**self).write(offset, data)
    }
    fn begin_property(&mut self, kind: PropertyKind, name: &[u8], value_len: u32) -> Result<(), Self::Error> {
        (**self).begin_property(kind, name, value_len)
    }
    fn write_property(&mut self, piece: &[u8]) -> Result<(), Self::Error> {
        (**self).write_property(piece)
    }
    fn abandon_property(&mut self) {
        (**self).abandon_property();
    }
    fn finish(&mut self, attributes: &Attributes) -> Result<(), Self::Error> {
        (**self).finish(attributes)
    }
    fn release(&mut self) {
        (**self).release();
    }
    fn link(&mut self, existing: Place<'_>, place: Place<'_>, ino: Ino) -> Result<(), Self::Error> {
        (**self).link(existing, place, ino)
    }
    fn poll_failure(&mut self) -> Option<Failure<Self::Error>> {
        (**self).poll_failure()
    }
    fn barrier(&mut self) {
        (**self).barrier();
    }
    fn flush(&mut self) -> Result<(), Self::Error> {
        (**self).flush()
    }
}
