//! Files of the state directory as block devices: what outlives one run.

use super::read_or_zeros;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
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
