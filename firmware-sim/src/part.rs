//! Parts of one block device, each a device for itself: names while a restore sorts them, the history, the catalogs.

use core::cell::RefCell;

use tapedump_core::device::ErrorKind;
use tapedump_core::device::block::BlockDevice;

/// What the parts are of. One type, whatever the board has, so that the code of the engines is there once.
pub type Storage<'d> = dyn BlockDevice<Error = ErrorKind> + 'd;

/// A part of a block device.
#[derive(Clone, Copy)]
pub struct Part<'d> {
    device: &'d RefCell<Storage<'d>>,
    from: u64,
    len: u64,
}

impl<'d> Part<'d> {
    /// The bytes of the device from `from` on, so many.
    pub fn new(device: &'d RefCell<Storage<'d>>, from: u64, len: u64) -> Self {
        Self { device, from, len }
    }

    /// Some bytes of this part.
    pub fn part(&self, from: u64, len: u64) -> Self {
        let len = self.len.saturating_sub(from).min(len);
        Self { device: self.device, from: self.from.saturating_add(from), len }
    }

    fn place(&self, at: u64, len: usize) -> Result<u64, ErrorKind> {
        let inside = at.checked_add(len as u64).is_some_and(|end| end <= self.len);
        self.from.checked_add(at).filter(|_| inside).ok_or(ErrorKind::Invalid)
    }

    /// Never twice at the same time: nothing that is called from here calls back.
    fn with<R>(&self, act: impl FnOnce(&mut Storage<'d>) -> Result<R, ErrorKind>) -> Result<R, ErrorKind> {
        self.device.try_borrow_mut().map_or(Err(ErrorKind::Other), |mut device| act(&mut *device))
    }
}

impl BlockDevice for Part<'_> {
    type Error = ErrorKind;

    fn block_len(&self) -> usize {
        self.device.try_borrow().map_or(1, |device| device.block_len())
    }

    fn capacity(&self) -> u64 {
        let whole = self.device.try_borrow().map_or(0, |device| device.capacity());
        whole.saturating_sub(self.from).min(self.len)
    }

    fn read(&mut self, at: u64, buf: &mut [u8]) -> Result<(), ErrorKind> {
        let at = self.place(at, buf.len())?;
        self.with(|device| device.read(at, buf))
    }

    fn write(&mut self, at: u64, data: &[u8]) -> Result<(), ErrorKind> {
        let at = self.place(at, data.len())?;
        self.with(|device| device.write(at, data))
    }

    fn flush(&mut self) -> Result<(), ErrorKind> {
        self.with(|device| device.flush())
    }
}
