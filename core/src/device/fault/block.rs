//! Faults of a block device, and what a power cut leaves of the writes since the last flush.

use super::{FaultError, FaultInjector, Operation, SplitMix64, Subject, What};
use crate::device::ErrorKind;
use crate::device::block::BlockDevice;

const READ_MENU: &[What] = &[What::Error(ErrorKind::Medium), What::FlipBit(0)];
const OTHER_MENU: &[What] = &[What::Error(ErrorKind::Medium)];

/// Address and mark before a block's old content.
pub(super) const SLOT_HEAD_LEN: usize = 9;

/// The old contents of blocks written since the last flush, oldest first, in a ring of slots:
/// address u64 · whether the write survived a power cut u8 · content.
pub(super) struct Journal<'f> {
    memory: &'f mut [u8],
    first: usize,
    count: usize,
}

impl<'f> Journal<'f> {
    pub fn new(memory: &'f mut [u8]) -> Self {
        Self { memory, first: 0, count: 0 }
    }

    fn slots(&self, block_len: usize) -> usize {
        self.memory.len().checked_div(block_len.saturating_add(SLOT_HEAD_LEN)).unwrap_or(0)
    }

    fn slot(&mut self, index: usize, block_len: usize) -> Option<(&mut [u8; 8], &mut u8, &mut [u8])> {
        let slot_len = SLOT_HEAD_LEN + block_len;
        let at = (self.first + index).checked_rem(self.slots(block_len))? * slot_len;
        let (head, content) = self.memory.get_mut(at..at + slot_len)?.split_at_mut_checked(SLOT_HEAD_LEN)?;
        let (address, rest) = head.split_first_chunk_mut::<8>()?;
        Some((address, rest.first_mut()?, content))
    }

    /// Makes room for the block at `at` and gives where its old content goes.
    fn push(&mut self, at: u64, block_len: usize) -> Option<&mut [u8]> {
        let slots = self.slots(block_len);
        if self.count >= slots {
            // The oldest write is safe from here on: a device may make it durable when it likes.
            self.first = (self.first + 1).checked_rem(slots)?;
            self.count = self.count.saturating_sub(1);
        }
        let index = self.count;
        self.count += 1;
        let (address, _, content) = self.slot(index, block_len)?;
        *address = at.to_le_bytes();
        Some(content)
    }

    fn clear(&mut self) {
        self.first = 0;
        self.count = 0;
    }

    /// Takes writes back, newest first. A write survives by chance; one before a surviving write of the same block
    /// cannot be told from one that was lost.
    fn roll_back<D: BlockDevice>(&mut self, device: &mut D, random: &mut SplitMix64) {
        let block_len = device.block_len();
        for index in (0..self.count).rev() {
            let survives = random.below(2) == 0;
            let Some((address, mark, _)) = self.slot(index, block_len) else { return };
            *mark = survives.into();
            let address = *address;
            let mut later = index + 1..self.count;
            let is_covered = later.any(|later| {
                self.slot(later, block_len).is_some_and(|(other, mark, _)| *mark != 0 && *other == address)
            });
            if !survives
                && !is_covered
                && let Some((_, _, content)) = self.slot(index, block_len)
            {
                // A block that cannot be written now keeps the newer content, as if that had survived.
                let _ = device.write(u64::from_le_bytes(address), content);
            }
        }
        self.clear();
    }
}

impl<D: BlockDevice> FaultInjector<'_, D> {
    /// Notes what a write is about to replace.
    fn note(&mut self, at: u64, len: usize) -> Result<(), FaultError<D::Error>> {
        let block_len = self.device.block_len().max(1);
        if self.journal.slots(block_len) == 0 {
            return Ok(());
        }
        for offset in (0..len).step_by(block_len) {
            let at = at.saturating_add(offset as u64);
            if let Some(content) = self.journal.push(at, block_len) {
                self.device.read(at, content).map_err(FaultError::Device)?;
            }
        }
        Ok(())
    }
}

impl<D: BlockDevice> BlockDevice for FaultInjector<'_, D> {
    type Error = FaultError<D::Error>;

    fn block_len(&self) -> usize {
        self.device.block_len()
    }

    fn capacity(&self) -> u64 {
        self.device.capacity()
    }

    fn read(&mut self, at: u64, buf: &mut [u8]) -> Result<(), Self::Error> {
        let len = buf.len();
        let occurrence = self.begin(Operation::Read, Subject::Range { at, len: len as u64 }, READ_MENU);
        self.check_power(&occurrence)?;
        self.device.read(at, buf).map_err(FaultError::Device)?;
        self.damage(&occurrence, buf, len);
        Ok(())
    }

    fn write(&mut self, at: u64, data: &[u8]) -> Result<(), Self::Error> {
        let subject = Subject::Range { at, len: data.len() as u64 };
        let occurrence = self.begin(Operation::Write, subject, OTHER_MENU);
        if self.has_power && occurrence.faults(self.schedule).any(|(what, _)| what == What::PowerCut) {
            // The power fails while this is being written: it is one of the writes that may be lost.
            self.note(at, data.len())?;
            self.device.write(at, data).map_err(FaultError::Device)?;
        }
        self.check_power(&occurrence)?;
        self.note(at, data.len())?;
        self.device.write(at, data).map_err(FaultError::Device)
    }

    fn flush(&mut self) -> Result<(), Self::Error> {
        let occurrence = self.begin(Operation::Flush, Subject::Nothing, OTHER_MENU);
        self.check_power(&occurrence)?;
        self.device.flush().map_err(FaultError::Device)?;
        self.journal.clear();
        Ok(())
    }
}

impl<D: BlockDevice> FaultInjector<'_, D> {
    /// As `check`, and rolls back when the power fails here.
    fn check_power(&mut self, occurrence: &super::Occurrence) -> Result<(), FaultError<D::Error>> {
        let had_power = self.has_power;
        let result = self.check(occurrence);
        if had_power && !self.has_power {
            self.journal.roll_back(&mut self.device, &mut self.random);
        }
        result
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::collections::BTreeSet;

    use super::super::{Fault, Operation::*, When};
    use super::*;
    use crate::device::mem::MemBlock;

    fn cut(when: When) -> [Fault; 1] {
        [Fault { when, what: What::PowerCut }]
    }

    #[test]
    fn errors_and_rot_strike_where_they_are_told() {
        let faults = [
            Fault { when: When::Nth(Read, 1), what: What::Error(ErrorKind::Medium) },
            Fault { when: When::Nth(Write, 0), what: What::Error(ErrorKind::Full) },
            Fault { when: When::Nth(Flush, 0), what: What::Error(ErrorKind::Other) },
            Fault { when: When::Address(20), what: What::FlipBit(3) },
            Fault { when: When::Address(21), what: What::FlipBit(0) },
        ];
        let mut bytes = [0; 64];
        let mut device = FaultInjector::scheduled(MemBlock::new(&mut bytes, 8).unwrap(), &faults);
        let mut buf = [0; 16];
        device.read(0, &mut buf).unwrap();
        assert_eq!(buf, [0; 16]);
        assert_eq!(device.read(0, &mut buf), Err(FaultError::Injected(ErrorKind::Medium)));
        assert_eq!(device.write(0, &[1; 8]), Err(FaultError::Injected(ErrorKind::Full)));
        assert_eq!(device.flush(), Err(FaultError::Injected(ErrorKind::Other)));
        device.flush().unwrap();
        for _ in 0..2 {
            device.read(16, &mut buf).unwrap();
            assert_eq!(buf, [0, 0, 0, 0, 8, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        }
        assert_eq!((device.injected(), device.operations()), (7, 7));
        assert!(device.device().bytes().iter().all(|&byte| byte == 0));
    }

    /// Blocks 0 to 2 flushed as 1; then block 0 written as 2, blocks 1 and 2 as 3, block 0 as 4; then the cut.
    fn after_cut(seed: u64) -> [u8; 3] {
        let mut bytes = [0; 32];
        let faults = cut(When::Nth(Write, 3));
        let mut memory = [0; 8 * (8 + SLOT_HEAD_LEN)];
        let device = MemBlock::new(&mut bytes, 8).unwrap();
        let mut device = FaultInjector::scheduled(device, &faults).with_seed(seed).with_journal(&mut memory);
        device.write(0, &[1; 24]).unwrap();
        device.flush().unwrap();
        device.write(0, &[2; 8]).unwrap();
        device.write(8, &[3; 16]).unwrap();
        assert_eq!(device.write(0, &[4; 8]), Err(FaultError::PowerLost));
        assert_eq!(device.flush(), Err(FaultError::PowerLost));
        assert_eq!(device.read(0, &mut [0; 8]), Err(FaultError::PowerLost));
        let blocks: &[[u8; 8]] = device.device().bytes().as_chunks().0;
        assert!(blocks.iter().all(|block| block.iter().all(|byte| *byte == block[0])), "blocks are atomic");
        core::array::from_fn(|index| blocks[index][0])
    }

    #[test]
    fn a_power_cut_loses_any_selection_of_unflushed_writes_and_nothing_else() {
        let found: BTreeSet<_> = (0..500).map(after_cut).collect();
        let mut expected = BTreeSet::new();
        for first in [1, 2, 4] {
            for second in [1, 3] {
                expected.extend([1, 3].map(|third| [first, second, third]));
            }
        }
        assert_eq!(found, expected);
        assert_eq!(after_cut(7), after_cut(7));
    }

    #[test]
    fn flushed_writes_and_those_a_full_journal_forgot_survive() {
        for seed in 0..50 {
            let mut bytes = [0; 64];
            let faults = cut(When::Nth(Flush, 1));
            let mut memory = [0; 2 * (8 + SLOT_HEAD_LEN)];
            let device = MemBlock::new(&mut bytes, 8).unwrap();
            let mut device =
                FaultInjector::scheduled(device, &faults).with_seed(seed).with_journal(&mut memory);
            device.write(0, &[1; 8]).unwrap();
            device.flush().unwrap();
            for (block, value) in [(1, 2), (2, 3), (3, 4)] {
                device.write(block * 8, &[value; 8]).unwrap();
            }
            assert_eq!(device.flush(), Err(FaultError::PowerLost));
            let bytes = device.device().bytes();
            assert_eq!((bytes[0], bytes[8]), (1, 2));
            assert!([0, 3].contains(&bytes[16]) && [0, 4].contains(&bytes[24]));
        }
    }

    #[test]
    fn counting_tells_the_operations_and_each_can_be_cut() {
        let run = |faults: &[Fault]| {
            let mut bytes = [0; 64];
            let mut device = FaultInjector::scheduled(MemBlock::new(&mut bytes, 8).unwrap(), faults);
            let done = device.write(0, &[1; 8]).is_ok()
                && device.flush().is_ok()
                && device.read(0, &mut [0; 8]).is_ok()
                && device.write(8, &[2; 8]).is_ok();
            (done, device.operations())
        };
        let (done, operations) = run(&[]);
        assert_eq!((done, operations), (true, 4));
        for n in 0..operations {
            assert_eq!(run(&cut(When::Any(n))), (false, n + 1));
        }
    }
}
