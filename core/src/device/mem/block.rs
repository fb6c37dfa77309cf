//! A block device in memory.

use crate::device::ErrorKind;
use crate::device::block::BlockDevice;
use crate::limits::PAGE_LEN;

/// A block device over lent bytes. Every write is durable at once, as far as memory can be.
pub struct MemBlock<'a> {
    bytes: &'a mut [u8],
    block_len: usize,
}

impl<'a> MemBlock<'a> {
    /// A device whose content is `bytes`, as they are. The capacity is their length, rounded down to blocks.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`]: `block_len` is not a power of two from 1 to [`PAGE_LEN`].
    pub fn new(bytes: &'a mut [u8], block_len: usize) -> Result<Self, ErrorKind> {
        if block_len.is_power_of_two() && block_len <= PAGE_LEN {
            Ok(Self { bytes, block_len })
        } else {
            Err(ErrorKind::Invalid)
        }
    }

    /// The content.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.bytes
    }

    /// The content, for a test to damage.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.bytes
    }

    fn range(&mut self, at: u64, len: usize) -> Result<&mut [u8], ErrorKind> {
        let capacity = self.capacity();
        let end = at.checked_add(len as u64).filter(|&end| end <= capacity).ok_or(ErrorKind::Invalid)?;
        let mask = self.block_len as u64 - 1;
        if (at | end) & mask != 0 {
            return Err(ErrorKind::Invalid);
        }
        // Both fit usize: they are at most the length of a slice.
        self.bytes.get_mut(at as usize..end as usize).ok_or(ErrorKind::Invalid)
    }
}

impl BlockDevice for MemBlock<'_> {
    type Error = ErrorKind;

    fn block_len(&self) -> usize {
        self.block_len
    }

    fn capacity(&self) -> u64 {
        (self.bytes.len() & !(self.block_len - 1)) as u64
    }

    fn read(&mut self, at: u64, buf: &mut [u8]) -> Result<(), ErrorKind> {
        let range = self.range(at, buf.len())?;
        buf.copy_from_slice(range);
        Ok(())
    }

    fn write(&mut self, at: u64, data: &[u8]) -> Result<(), ErrorKind> {
        self.range(at, data.len())?.copy_from_slice(data);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_what_was_written_and_leaves_the_rest() {
        let mut bytes = [0xa5; 70];
        let mut device = MemBlock::new(&mut bytes, 16).unwrap();
        assert_eq!((device.capacity(), device.block_len()), (64, 16));
        device.write(16, &[1; 32]).unwrap();
        device.flush().unwrap();
        let mut buf = [0; 64];
        device.read(0, &mut buf).unwrap();
        assert_eq!((&buf[..16], &buf[16..48], &buf[48..]), (&[0xa5; 16][..], &[1; 32][..], &[0xa5; 16][..]));
        assert_eq!(device.bytes()[64..], [0xa5; 6]);
    }

    #[test]
    fn refuses_ranges_off_the_blocks_or_outside() {
        let mut bytes = [0; 70];
        let mut device = MemBlock::new(&mut bytes, 16).unwrap();
        for (at, len) in [(1, 16), (0, 15), (64, 16), (48, 32), (u64::MAX - 15, 16), (u64::MAX - 15, 32)] {
            assert_eq!(device.write(at, &[9; 32][..len]), Err(ErrorKind::Invalid), "{at} {len}");
            assert_eq!(device.read(at, &mut [0; 32][..len]), Err(ErrorKind::Invalid), "{at} {len}");
        }
        assert!(device.bytes().iter().all(|&byte| byte == 0));
    }

    #[test]
    fn refuses_a_block_length_outside_the_contract() {
        for len in [0, 3, 24, 2 * PAGE_LEN] {
            assert!(MemBlock::new(&mut [0; 64], len).is_err(), "{len}");
        }
    }
}
