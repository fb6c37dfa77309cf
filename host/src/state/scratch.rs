//! A scratch file as a block device: where a restore sorts the names of a dump.

use super::read_or_zeros;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use tapedump_core::device::block::BlockDevice;
use tapedump_core::device::{DeviceError, ErrorKind};
use tapedump_core::limits::PAGE_LEN;

/// Capacity it claims. The file grows only where it is written, so the room of its file system is the real limit.
const CAPACITY: u64 = 1 << 40;

/// A nameless file as a block device. Its content ends with it, so flushing has nothing to make durable.
#[derive(Debug)]
pub struct ScratchDevice {
    file: File,
}

/// Why the scratch file failed.
#[derive(Debug)]
pub struct ScratchError(io::Error);

impl std::fmt::Display for ScratchError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the scratch file in the state directory failed: {}", self.0)
    }
}

impl std::error::Error for ScratchError {}

impl DeviceError for ScratchError {
    fn kind(&self) -> ErrorKind {
        match self.0.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                ErrorKind::Full
            }
            io::ErrorKind::InvalidInput => ErrorKind::Invalid,
            _ => ErrorKind::Other,
        }
    }
}

impl ScratchDevice {
    /// Uses `file`, see [`StateDir::scratch_file`](super::StateDir::scratch_file).
    #[must_use]
    pub fn new(file: File) -> Self {
        Self { file }
    }

    fn check(at: u64, len: usize) -> Result<(), ScratchError> {
        match at.checked_add(len as u64) {
            Some(end) if end <= CAPACITY => Ok(()),
            _ => Err(ScratchError(io::Error::new(io::ErrorKind::InvalidInput, "outside the device"))),
        }
    }
}

impl BlockDevice for ScratchDevice {
    type Error = ScratchError;

    fn block_len(&self) -> usize {
        PAGE_LEN
    }

    fn capacity(&self) -> u64 {
        CAPACITY
    }

    fn read(&mut self, at: u64, buf: &mut [u8]) -> Result<(), ScratchError> {
        Self::check(at, buf.len())?;
        read_or_zeros(&self.file, at, buf).map_err(ScratchError)
    }

    fn write(&mut self, at: u64, data: &[u8]) -> Result<(), ScratchError> {
        Self::check(at, data.len())?;
        self.file.write_all_at(data, at).map_err(ScratchError)
    }

    fn flush(&mut self) -> Result<(), ScratchError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_what_was_written_and_zeros_elsewhere() {
        let mut device = ScratchDevice::new(tempfile::tempfile().unwrap());
        let at = CAPACITY / 2;
        device.write(at, &[7; PAGE_LEN]).unwrap();
        device.flush().unwrap();
        let mut buf = [1; 3 * PAGE_LEN];
        device.read(at - PAGE_LEN as u64, &mut buf).unwrap();
        assert_eq!(buf, [[0; PAGE_LEN], [7; PAGE_LEN], [0; PAGE_LEN]].concat()[..]);
    }

    #[test]
    fn outside_is_refused() {
        let mut device = ScratchDevice::new(tempfile::tempfile().unwrap());
        for at in [CAPACITY, u64::MAX] {
            assert_eq!(device.write(at, &[0; PAGE_LEN]).unwrap_err().kind(), ErrorKind::Invalid);
            assert_eq!(device.read(at, &mut [0; PAGE_LEN]).unwrap_err().kind(), ErrorKind::Invalid);
        }
    }
}
