//! The block device contract: random access storage for what is too large for memory, and for what must
//! outlive the machine's power.

use super::DeviceError;

/// Random access storage of fixed capacity, addressed in bytes.
///
/// Every `at` and every length is a multiple of [`block_len`](Self::block_len). A write of one block is atomic
/// under loss of power: afterwards the block holds the old bytes or the new ones. Writes since the last
/// [`flush`](Self::flush) may be lost in any selection; those before it are durable.
/// A read gives what was last written, flushed or not; never-written blocks read as anything.
pub trait BlockDevice {
    /// The device's own error.
    type Error: DeviceError;

    /// Unit of access in bytes: a power of two, at most [`crate::limits::PAGE_LEN`].
    fn block_len(&self) -> usize;

    /// Capacity in bytes.
    fn capacity(&self) -> u64;

    /// Fills `buf` from `at`.
    ///
    /// # Errors
    /// The range could not be read, or lies outside the device.
    fn read(&mut self, at: u64, buf: &mut [u8]) -> Result<(), Self::Error>;

    /// Writes `data` at `at`.
    ///
    /// # Errors
    /// The range could not be written, lies outside the device, or the device is full
    /// ([`super::ErrorKind::Full`], where capacity is not reserved in advance).
    fn write(&mut self, at: u64, data: &[u8]) -> Result<(), Self::Error>;

    /// Returns when all writes before are durable.
    ///
    /// # Errors
    /// Some write before could not be made durable.
    fn flush(&mut self) -> Result<(), Self::Error>;
}

impl<D: BlockDevice + ?Sized> BlockDevice for &mut D {
    type Error = D::Error;

    fn block_len(&self) -> usize {
        (**self).block_len()
    }
    fn capacity(&self) -> u64 {
        (**self).capacity()
    }
    fn read(&mut self, at: u64, buf: &mut [u8]) -> Result<(), Self::Error> {
        (**self).read(at, buf)
    }
    fn write(&mut self, at: u64, data: &[u8]) -> Result<(), Self::Error> {
        (**self).write(at, data)
    }
    fn flush(&mut self) -> Result<(), Self::Error> {
        (**self).flush()
    }
}
