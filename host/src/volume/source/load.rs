//! Reads one object ahead: opens it, checks that it is what the walk found, and gets its attributes, its properties
//! and, if it is small, its data. What does not fit is left to whoever consumes it.

use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::buffer::spare_capacity;
use rustix::fs::{Advice, OFlags, SeekFrom, Statx, StatxTimestamp, fadvise, readlinkat_raw, seek};
use rustix::io::{Errno, pread};
use tapedump_core::device::volume::{Attributes, DeviceNumber, Kind};
use tapedump_core::units::Timestamp;

use super::Volume;
use super::properties::{Access, Kept, names};
use super::reach::{Reach, stat_fd, stat_name};
use super::table::Record;
use super::walk::DIRECTORY_FLAGS;

/// What a buffer holds before objects are left to the consumer.
pub const BUF_LEN: usize = 512 * 1024;
/// What is reserved for a buffer: one attribute and some links more, so that it does not grow as a rule.
pub const BUF_CAPACITY: usize = BUF_LEN + 96 * 1024;
/// Files up to this length are read ahead whole.
const SMALL_LEN_MAX: u64 = 256 * 1024;
/// Properties of an object up to this total length are read ahead.
const PROPERTIES_LEN_MAX: usize = 256 * 1024;
/// What the kernel is asked to read ahead of a larger file.
const ADVISED_LEN: u64 = 2 * 1024 * 1024;
/// Objects that may be kept open for the consumer.
const HELD_MAX: usize = 128;
/// Ranges of data of a small file with holes; one with more is left to the consumer.
const RANGES_MAX: usize = 64;

/// Why an object cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    System(&'static str, Errno),
    Replaced,
    MountPoint,
    Interrupted,
}

/// An object that was read ahead. Ranges are in the buffer it was read to.
pub struct Object {
    pub attributes: Attributes,
    /// Set if the object was left open.
    pub fd: Option<Held>,
    /// The data, if it was read.
    pub data: Option<Range<usize>>,
    /// Of data that was read: beginning and end of what is no hole, as `u32`s, if there are holes.
    pub extents: Option<Range<usize>>,
    /// The properties, if they were read, as [`Kept`].
    pub properties: Option<Range<usize>>,
    /// The file has fewer blocks than data.
    pub is_sparse: bool,
    /// It did not change while it was read ahead. Says nothing about what is left to the consumer.
    pub is_unchanged: bool,
}

/// An object that stays open, counted.
pub struct Held {
    fd: OwnedFd,
    count: Arc<AtomicUsize>,
}

impl Held {
    fn new(fd: OwnedFd, count: &Arc<AtomicUsize>) -> Option<Self> {
        if count.fetch_add(1, Ordering::Relaxed) >= HELD_MAX {
            count.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Self { fd, count: Arc::clone(count) })
    }

    /// Keeps a consumer's own object open, whatever the count.
    fn always(fd: OwnedFd, count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self { fd, count: Arc::clone(count) }
    }
}

impl AsFd for Held {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Reads objects; one for each thread.
pub struct Loader {
    volume: Arc<Volume>,
    reach: Reach,
    names: Vec<u8>,
    value: Vec<u8>,
}

impl Loader {
    pub fn new(volume: Arc<Volume>) -> Self {
        Self { volume, reach: Reach::new(), names: Vec::new(), value: Vec::new() }
    }

    /// Reads an object; data and properties go to the end of `bytes`, up to [`BUF_LEN`].
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn load(&mut self, record: &Record, bytes: &mut Vec<u8>) -> Result<Object, Trouble> {
        if self.volume.options.is_interrupted() {
            return Err(Trouble::Interrupted);
        }
        if record.tag.is_covered() {
            return self.load_junction(record, bytes);
        }
        let (fd, stat) = self.open(record)?;
        let kind = record.tag.kind();
        let mut object = Object {
            attributes: Attributes {
                qtree: self.volume.qtrees.of_path(self.reach.directory()),
                ..attributes(kind, &stat, record.real)
            },
            fd: None,
            data: None,
            extents: None,
            properties: None,
            is_sparse: kind == Kind::File && stat.stx_blocks.saturating_mul(512) < stat.stx_size,
            is_unchanged: true,
        };
        match kind {
            Kind::File => self.load_data(&mut object, fd.as_fd(), bytes),
            Kind::Symlink => load_link(&mut object, fd.as_fd(), bytes)?,
            _ => {}
        }
        object.properties = self.load_properties(fd.as_fd(), kind, bytes);
        let is_done = object.properties.is_some() && (object.data.is_some() || !kind.has_data());
        if is_done && kind != Kind::Directory {
            if !self.volume.options.frozen {
                let now = stat_fd(fd.as_fd()).map_err(|errno| Trouble::System(STAT, errno))?;
                object.is_unchanged &= is_unchanged(&object.attributes, &now);
            }
        } else {
            object.fd = Held::new(fd, &self.volume.held);
        }
        Ok(object)
    }

    /// Opens the object again for its consumer.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn reopen(&mut self, record: &Record) -> Result<Held, Trouble> {
        let (fd, _) = self.open(record)?;
        Ok(Held::always(fd, &self.volume.held))
    }

    fn open(&mut self, record: &Record) -> Result<(OwnedFd, Statx), Trouble> {
        let flags = match record.tag.kind() {
            Kind::File => OFlags::RDONLY | OFlags::NOATIME | OFlags::NONBLOCK | OFlags::NOCTTY,
            Kind::Directory => DIRECTORY_FLAGS,
            _ => OFlags::PATH,
        };
        let Volume { root, index, .. } = &*self.volume;
        let fd =
            self.reach.open(root, &index.places, record.place, record.name(), flags).map_err(|errno| {
                match errno {
                    Errno::XDEV => Trouble::MountPoint,
                    Errno::LOOP | Errno::NOTDIR | Errno::NXIO => Trouble::Replaced,
                    errno => Trouble::System(OPEN, errno),
                }
            })?;
        let stat = stat_fd(fd.as_fd()).map_err(|errno| Trouble::System(STAT, errno))?;
        if Kind::from_mode(stat.stx_mode) != Some(record.tag.kind()) || !root.is_same(&stat, record.real) {
            return Err(Trouble::Replaced);
        }
        Ok((fd, stat))
    }

    /// A junction: a link that nobody made, in the directory that holds it.
    fn load_junction(&mut self, record: &Record, bytes: &mut Vec<u8>) -> Result<Object, Trouble> {
        let Volume { root, index, .. } = &*self.volume;
        let system = |what| move |errno| Trouble::System(what, errno);
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let parent = self.reach.open(root, &index.places, record.place, b"", flags).map_err(system(OPEN))?;
        let name = [record.name(), b"\0"].concat();
        let name = std::ffi::CStr::from_bytes_with_nul(&name).map_err(|_| Trouble::Replaced)?;
        let found = stat_name(parent.as_fd(), name).map_err(system(STAT))?;
        if Kind::from_mode(found.stx_mode) != Some(Kind::Directory) {
            return Err(Trouble::Replaced);
        }
        let stat = stat_fd(parent.as_fd()).map_err(system(STAT))?;
        let directory = self.reach.found();
        let path = match directory {
            [] => record.name().to_vec(),
            _ => [directory, b"/", record.name()].concat(),
        };
        let start = bytes.len();
        bytes.extend_from_slice(&root.junctions.target(&path));
        let size = (bytes.len() - start) as u64;
        let attributes = attributes(Kind::Symlink, &stat, record.real);
        Ok(Object {
            attributes: Attributes { permissions: 0o777, links: 1, size, born: None, ..attributes },
            fd: None,
            data: Some(start..bytes.len()),
            extents: None,
            properties: Some(bytes.len()..bytes.len()),
            is_sparse: false,
            is_unchanged: true,
        })
    }

    /// Reads the data of a small file.
    fn load_data(&mut self, object: &mut Object, fd: BorrowedFd<'_>, bytes: &mut Vec<u8>) {
        let size = object.attributes.size;
        let start = bytes.len();
        if size > SMALL_LEN_MAX || size as usize > BUF_LEN.saturating_sub(start) {
            if !object.is_sparse {
                // Only advice: where it is not taken, reading is slower.
                let _ = fadvise(fd, 0, None, Advice::Sequential);
                let _ = fadvise(fd, 0, std::num::NonZeroU64::new(size.min(ADVISED_LEN)), Advice::WillNeed);
            }
            return;
        }
        if object.is_sparse {
            match load_extents(fd, size, bytes) {
                Some(extents) => object.extents = Some(extents),
                None => {
                    bytes.truncate(start);
                    return;
                }
            }
        }
        let start = bytes.len();
        let end = start + size as usize;
        bytes.reserve(size as usize);
        while bytes.len() < end {
            let offset = (bytes.len() - start) as u64;
            match pread(fd, spare_capacity(bytes), offset) {
                Ok(0) => break,
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => {
                    // The consumer reads what can be read, and meets the error at its place.
                    bytes.truncate(start);
                    object.extents = None;
                    return;
                }
            }
        }
        object.is_unchanged &= bytes.len() >= end;
        bytes.truncate(end);
        object.data = Some(start..bytes.len());
    }

    /// Reads the properties; `None`: they are too many to be kept.
    fn load_properties(
        &mut self,
        fd: BorrowedFd<'_>,
        kind: Kind,
        bytes: &mut Vec<u8>,
    ) -> Option<Range<usize>> {
        let access = Access::new(fd, is_path_only(kind));
        let start = bytes.len();
        if let Err(errno) = access.list(&mut self.names) {
            Kept { errno: Some(errno), name: b"", value: b"" }.encode(bytes);
            return Some(start..bytes.len());
        }
        let len_max = PROPERTIES_LEN_MAX.min(BUF_LEN.saturating_sub(start));
        for name in names(&self.names) {
            let errno = access.value(name, &mut self.value).err();
            Kept { errno, name: name.to_bytes(), value: &self.value }.encode(bytes);
            if bytes.len() - start > len_max {
                bytes.truncate(start);
                return None;
            }
        }
        Some(start..bytes.len())
    }
}

const OPEN: &str = "open";
pub const STAT: &str = "read the attributes of";

/// Whether objects of this kind are never opened for reading.
pub const fn is_path_only(kind: Kind) -> bool {
    !matches!(kind, Kind::File | Kind::Directory)
}

fn load_link(object: &mut Object, fd: BorrowedFd<'_>, bytes: &mut Vec<u8>) -> Result<(), Trouble> {
    let mut target = [0; 4096];
    let len =
        readlinkat_raw(fd, c"", &mut target).map_err(|errno| Trouble::System("read the link", errno))?;
    let start = bytes.len();
    bytes.extend_from_slice(&target[..len]);
    object.attributes.size = len as u64;
    object.data = Some(start..bytes.len());
    Ok(())
}

/// Appends where the data of a small file with holes is; `None` if that cannot be told or is too much.
fn load_extents(fd: BorrowedFd<'_>, size: u64, bytes: &mut Vec<u8>) -> Option<Range<usize>> {
    let start = bytes.len();
    let mut from = 0;
    while let Some((data, end)) = next_data(fd, from, size).ok()? {
        if bytes.len() - start >= RANGES_MAX * 8 {
            return None;
        }
        bytes.extend_from_slice(&(data as u32).to_le_bytes());
        bytes.extend_from_slice(&(end as u32).to_le_bytes());
        from = end;
    }
    Some(start..bytes.len())
}

/// The first range of data of a file at or after `from`, within its size.
///
/// # Errors
/// The file system cannot tell.
pub fn next_data(fd: BorrowedFd<'_>, from: u64, size: u64) -> Result<Option<(u64, u64)>, Errno> {
    if from >= size {
        return Ok(None);
    }
    match seek(fd, SeekFrom::Data(from)) {
        Ok(data) if data >= size => Ok(None),
        Ok(data) => {
            let end = seek(fd, SeekFrom::Hole(data)).unwrap_or(size).min(size);
            // A file system that answers nonsense is read whole.
            Ok(Some((data.max(from), if end > data { end } else { size })))
        }
        Err(Errno::NXIO) => Ok(None),
        Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(Some((from, size))),
        Err(errno) => Err(errno),
    }
}

/// Whether the object is still as `attributes` say.
pub fn is_unchanged(attributes: &Attributes, now: &Statx) -> bool {
    attributes.modified == timestamp(&now.stx_mtime)
        && attributes.changed == timestamp(&now.stx_ctime)
        && (attributes.kind != Kind::File || attributes.size == now.stx_size)
}

fn attributes(kind: Kind, stat: &Statx, real: u64) -> Attributes {
    let is_node = matches!(kind, Kind::CharDevice | Kind::BlockDevice);
    let device = DeviceNumber { major: stat.stx_rdev_major, minor: stat.stx_rdev_minor };
    let has_birth = stat.stx_mask & rustix::fs::StatxFlags::BTIME.bits() != 0;
    Attributes {
        kind,
        permissions: stat.stx_mode & 0o7777,
        links: stat.stx_nlink,
        uid: stat.stx_uid,
        gid: stat.stx_gid,
        size: stat.stx_size,
        device: if is_node { device } else { DeviceNumber::default() },
        accessed: timestamp(&stat.stx_atime),
        modified: timestamp(&stat.stx_mtime),
        changed: timestamp(&stat.stx_ctime),
        born: has_birth.then(|| timestamp(&stat.stx_btime)),
        real_ino: real,
        generation: 0,
        qtree: 0,
    }
}

fn timestamp(time: &StatxTimestamp) -> Timestamp {
    Timestamp { secs: time.tv_sec, nanos: time.tv_nsec }
}
