//! Files of the state directory as block devices: what outlives one run.

use super::read_or_zeros;
use rustix::fd::AsFd;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use tapedump_core::device::block::BlockDevice;
use tapedump_core::device::{DeviceError, ErrorKind};
use tapedump_core::limits::PAGE_LEN;

/// A file of the state directory as block device.
#[derive(Debug)]
pub struct FileDevice {
    file: File,
    capacity: u64,
}

/// Why the file failed.
#[derive(Debug)]
pub struct FileError(io::Error);

impl DeviceError for FileError {
    fn kind(&self) -> ErrorKind {
        match self.0.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                ErrorKind::Full
            }
            io::ErrorKind::ReadOnlyFilesystem => ErrorKind::ReadOnly,
            _ => ErrorKind::Medium,
        }
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FileDevice {
    /// The first `capacity` bytes of the file, which need not be there yet.
    pub(super) const fn new(file: File, capacity: u64) -> Self {
        Self { file, capacity }
    }

    /// Cuts off what is not used any more.
    pub(super) fn truncate(&self, len: u64) -> Result<(), FileError> {
        self.file.set_len(len).map_err(FileError)
    }
}

impl BlockDevice for FileDevice {
    type Error = FileError;

    fn block_len(&self) -> usize {
        PAGE_LEN
    }

    fn capacity(&self) -> u64 {
        self.capacity
    }

    fn read(&mut self, at: u64, buf: &mut [u8]) -> Result<(), FileError> {
        read_or_zeros(&self.file, at, buf).map_err(FileError)
    }

    fn write(&mut self, at: u64, data: &[u8]) -> Result<(), FileError> {
        self.file.write_all_at(data, at).map_err(FileError)
    }

    fn flush(&mut self) -> Result<(), FileError> {
        self.file.sync_data().map_err(FileError)
    }
}

/// Longest file that is read as a whole; what is kept in such files is far shorter.
const SHORT_LEN_MAX: u64 = 1 << 20;

/// Opens a file that nobody else may read; makes it where there is none. Never through a link, and nothing but a regular
/// file.
pub(super) fn open_private(path: &Path) -> io::Result<File> {
    open_regular(CWD, path, OFlags::RDWR | OFlags::CREATE)
}

/// Opens a file that is kept, to be read. Never through a link, and nothing but a regular file: others would wait, or lead
/// elsewhere.
pub(super) fn open_kept(path: &Path) -> io::Result<File> {
    open_regular(CWD, path, OFlags::RDONLY)
}

/// As [`open_kept`], of a name in an open directory.
pub(super) fn open_kept_in(directory: impl AsFd, name: &str) -> io::Result<File> {
    open_regular(directory, Path::new(name), OFlags::RDONLY)
}

/// Makes a file in an open directory, anew where there is one.
pub(super) fn make_in(directory: impl AsFd, name: &str) -> io::Result<File> {
    let directory = directory.as_fd();
    match rustix::fs::unlinkat(directory, name, rustix::fs::AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno.into()),
    }
    open_regular(directory, Path::new(name), OFlags::RDWR | OFlags::CREATE | OFlags::EXCL)
}

/// Removes a file; one that is not there is gone.
pub(super) fn remove_if_there(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Reads a short file that is kept.
pub(super) fn read_kept(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_kept(path)?.take(SHORT_LEN_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn open_regular(directory: impl AsFd, path: &Path, flags: OFlags) -> io::Result<File> {
    let something_else =
        || io::Error::other("this is a link, or no regular file, and not what is kept here: put it away");
    let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = match openat(directory, path, flags, Mode::RUSR | Mode::WUSR) {
        Ok(fd) => File::from(fd),
        // A link; a socket; a directory.
        Err(Errno::LOOP | Errno::NXIO | Errno::ISDIR) => return Err(something_else()),
        Err(errno) => return Err(errno.into()),
    };
    if file.metadata()?.is_file() { Ok(file) } else { Err(something_else()) }
}
