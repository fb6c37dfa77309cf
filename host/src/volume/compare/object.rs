//! An object of the tree that is being compared: its data, and zeros where the dump has none.

use crate::volume::target::{Directory, descriptor_path};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{self, AtFlags, Mode, OFlags, SeekFrom, Stat, StatxAttributes, StatxFlags};
use rustix::io::{self, Errno};
use std::path::PathBuf;
use tapedump_core::device::volume::{Difference, Kind};
use tapedump_core::units::Ino;

/// The open object. Without one, what the dump says of it is passed over.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) ino: Ino,
    pub(super) kind: Kind,
    /// By `O_PATH`.
    pub(super) object: OwnedFd,
    /// A file, open for reading.
    pub(super) data: Option<OwnedFd>,
    /// A link's target.
    pub(super) link_target: Vec<u8>,
    pub(super) stat: Stat,
    pub(super) path: PathBuf,
    /// Up to where the data was compared.
    pub(super) compared: u64,
    pub(super) data_differs: bool,
}

impl Open {
    /// Whether the object has the property, as far as can be told.
    pub(super) fn has_property(&self, name: &[u8]) -> bool {
        let path = descriptor_path(self.object.as_fd());
        let mut nothing = [0_u8; 0];
        let found = fs::getxattr(path.as_str(), name, &mut nothing[..]);
        !matches!(found, Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::INVAL | Errno::RANGE))
    }

    /// Compares data with the file's, and what was left out before with zeros. Gives the first difference.
    pub(super) fn compare(
        &mut self,
        offset: u64,
        data: &[u8],
        buffer: &mut [u8],
    ) -> io::Result<Option<Difference>> {
        if self.kind == Kind::Symlink {
            let at = usize::try_from(offset).unwrap_or(usize::MAX);
            let same = self.link_target.get(at..).is_some_and(|rest| rest.starts_with(data));
            return Ok((!same).then_some(Difference::Data(offset)));
        }
        let hole = self.compare_zeros(offset, buffer)?;
        if hole.is_some() {
            return Ok(hole);
        }
        let Some(fd) = &self.data else { return Ok(None) };
        let mut at = offset;
        for expected in data.chunks(buffer.len()) {
            let Some(space) = buffer.get_mut(..expected.len()) else { break };
            let found = read_all(fd.as_fd(), at, space)?;
            if let Some(first) = found.iter().zip(expected).position(|(found, expected)| found != expected) {
                return Ok(Some(Difference::Data(at + first as u64)));
            }
            at = at.saturating_add(expected.len() as u64);
            // Shorter: its size tells.
        }
        self.compared = self.compared.max(at);
        Ok(None)
    }

    /// Compares what lies between the data compared so far and `end` with zeros.
    pub(super) fn compare_zeros(&mut self, end: u64, buffer: &mut [u8]) -> io::Result<Option<Difference>> {
        let Some(fd) = &self.data else { return Ok(None) };
        if self.data_differs {
            return Ok(None);
        }
        let end = end.min(self.stat.st_size as u64);
        while self.compared < end {
            let at = match fs::seek(fd, SeekFrom::Data(self.compared)) {
                Ok(at) => at.max(self.compared),
                Err(Errno::NXIO) => end,
                // A file system that knows no holes.
                Err(Errno::INVAL | Errno::OPNOTSUPP) => self.compared,
                Err(errno) => return Err(errno),
            };
            if at >= end {
                self.compared = end;
                break;
            }
            let len = usize::try_from(end - at).unwrap_or(usize::MAX).min(buffer.len());
            let found = read_all(fd.as_fd(), at, buffer.get_mut(..len).unwrap_or_default())?;
            if let Some(first) = found.iter().position(|&byte| byte != 0) {
                return Ok(Some(Difference::Data(at + first as u64)));
            }
            self.compared = at + len as u64;
        }
        Ok(None)
    }
}

/// Opens what has the name, whatever it is, without touching it.
pub(super) fn open_object(directory: &Directory, name: &[u8]) -> io::Result<(OwnedFd, Stat, Kind)> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let object = fs::openat(directory, name, flags, Mode::empty())?;
    let stat = fs::fstat(&object)?;
    let kind = Kind::from_mode((stat.st_mode & 0xffff) as u16).ok_or(Errno::INVAL)?;
    Ok((object, stat, kind))
}

/// Whether the directory in `parent` is the root of another volume: something is mounted there, or it is a subvolume.
pub(super) fn begins_volume(parent: &Directory, directory: &OwnedFd) -> bool {
    let stat = |fd: BorrowedFd<'_>| fs::statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS);
    let (Ok(above), Ok(here)) = (stat(parent.as_fd()), stat(directory.as_fd())) else { return false };
    here.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)
        || (above.stx_dev_major, above.stx_dev_minor) != (here.stx_dev_major, here.stx_dev_minor)
}

/// Opens the data of a regular file that is open as an object; leaves its access time alone where that is allowed.
pub(super) fn open_data(object: &OwnedFd) -> io::Result<OwnedFd> {
    let path = descriptor_path(object.as_fd());
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    match fs::open(path.as_str(), flags | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => fs::open(path.as_str(), flags, Mode::empty()),
        other => other,
    }
}

/// Reads until the buffer is full or the file ends; gives what was read.
fn read_all<'a>(fd: BorrowedFd<'_>, offset: u64, buffer: &'a mut [u8]) -> io::Result<&'a [u8]> {
    let mut len = 0;
    while let Some(space) = buffer.get_mut(len..).filter(|space| !space.is_empty()) {
        match io::retry_on_intr(|| io::pread(fd, &mut *space, offset + len as u64))? {
            0 => break,
            read => len += read,
        }
    }
    Ok(buffer.get(..len).unwrap_or_default())
}
