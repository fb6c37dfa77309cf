//! Snapshots of nothing: their names and locks, in lent memory.

use crate::device::ErrorKind;
use crate::device::snapshot::{SnapshotName, Snapshots};
use crate::units::DumpId;

/// Holders that one snapshot can have at once.
const HOLDERS_MAX: usize = 4;

/// Room for one snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemSnapshot {
    name: Option<SnapshotName>,
    serial: u64,
    holders: [Option<DumpId>; HOLDERS_MAX],
}

impl MemSnapshot {
    /// No snapshot.
    pub const EMPTY: Self = Self { name: None, serial: 0, holders: [None; HOLDERS_MAX] };
}

/// The rules of the contract, for tests of what uses it: a snapshot's image is its serial number.
#[derive(Debug)]
pub struct MemSnapshots<'a> {
    slots: &'a mut [MemSnapshot],
    made: u64,
}

impl<'a> MemSnapshots<'a> {
    /// What is in the slots, and room for as many as are empty.
    #[must_use]
    pub fn new(slots: &'a mut [MemSnapshot]) -> Self {
        let made = slots.iter().map(|slot| slot.serial).max().unwrap_or(0);
        Self { slots, made }
    }

    fn slot(&mut self, name: &SnapshotName) -> Result<&mut MemSnapshot, ErrorKind> {
        let found = self.slots.iter_mut().find(|slot| slot.name.as_ref() == Some(name));
        found.ok_or(ErrorKind::NotFound)
    }
}

impl Snapshots for MemSnapshots<'_> {
    type Error = ErrorKind;
    type Image = u64;

    fn create(&mut self, name: &SnapshotName, holder: Option<DumpId>) -> Result<(), ErrorKind> {
        if self.slot(name).is_ok() {
            return Err(ErrorKind::Exists);
        }
        let serial = self.made.wrapping_add(1);
        let slot = self.slots.iter_mut().find(|slot| slot.name.is_none()).ok_or(ErrorKind::Full)?;
        *slot = MemSnapshot { name: Some(*name), serial, holders: [holder, None, None, None] };
        self.made = serial;
        Ok(())
    }

    fn open(&mut self, name: &SnapshotName) -> Result<u64, ErrorKind> {
        Ok(self.slot(name)?.serial)
    }

    fn lock(&mut self, name: &SnapshotName, holder: DumpId) -> Result<(), ErrorKind> {
        let slot = self.slot(name)?;
        if slot.holders.contains(&Some(holder)) {
            return Ok(());
        }
        let free = slot.holders.iter_mut().find(|held| held.is_none()).ok_or(ErrorKind::Full)?;
        *free = Some(holder);
        Ok(())
    }

    fn unlock(&mut self, name: &SnapshotName, holder: DumpId) -> Result<(), ErrorKind> {
        let Ok(slot) = self.slot(name) else { return Ok(()) };
        slot.holders.iter_mut().filter(|held| **held == Some(holder)).for_each(|held| *held = None);
        Ok(())
    }

    fn delete(&mut self, name: &SnapshotName) -> Result<(), ErrorKind> {
        let slot = self.slot(name)?;
        if slot.holders.iter().any(Option::is_some) {
            return Err(ErrorKind::Busy);
        }
        *slot = MemSnapshot::EMPTY;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R-SNAP-5
    #[test]
    fn a_locked_snapshot_stays() {
        let mut slots = [MemSnapshot::EMPTY; 2];
        let mut snapshots = MemSnapshots::new(&mut slots);
        let name = SnapshotName::new(b"nightly").unwrap();
        let (one, other) = (DumpId([1; 16]), DumpId([2; 16]));
        assert_eq!(snapshots.open(&name), Err(ErrorKind::NotFound));
        assert_eq!(snapshots.lock(&name, one), Err(ErrorKind::NotFound));
        snapshots.create(&name, Some(one)).unwrap();
        assert_eq!(snapshots.create(&name, None), Err(ErrorKind::Exists));
        snapshots.lock(&name, one).unwrap();
        snapshots.lock(&name, other).unwrap();
        assert_eq!(snapshots.delete(&name), Err(ErrorKind::Busy));
        snapshots.unlock(&name, one).unwrap();
        assert_eq!(snapshots.delete(&name), Err(ErrorKind::Busy));
        assert_eq!(snapshots.open(&name), Ok(1));
        snapshots.unlock(&name, other).unwrap();
        snapshots.delete(&name).unwrap();
        assert_eq!(snapshots.delete(&name), Err(ErrorKind::NotFound));
        // One of the same name is another one.
        snapshots.create(&name, None).unwrap();
        assert_eq!(snapshots.open(&name), Ok(2));
    }
}
