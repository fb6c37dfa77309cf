#![doc = include_str!("../../../docs/history.md")]
//!
//! Layer: above the rules of `chain`, which know nothing of it; it works on a device, as `catalog` does.
//!
//! A [`History`] holds no device: the one it was opened on is lent for each call. Invariant: what is told to be recorded is
//! on the device durably, and what is on the device is told as it was recorded or not at all.

mod encode;
mod log;
mod page;

use core::fmt;
use core::marker::PhantomData;
use core::ops::Range;

use self::encode::{Removal, parse_entry};
use self::log::{Marks, Memory};
use self::page::{Kind, PAGES_AT, Region, Superblock};
use super::dump::{Dump, Entry, EntryError, Tape};
use super::resolve::{Dumps, Place};
use crate::checksum::{Crc32c, PortableCrc32c};
use crate::device::block::BlockDevice;
use crate::device::{DeviceError, ErrorKind};
use crate::units::VolumeId;

pub use self::log::memory_len;

/// Identity of a history: random, so that what a former one left on the device is not taken for its own.
pub type HistoryId = [u8; 16];

/// Why a history could not be read or written. `E` is the device's error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum HistoryError<E> {
    /// The lent memory is too small.
    MemoryTooSmall {
        /// Bytes that suffice.
        needed: usize,
    },
    /// The region of the device is too small.
    RegionTooSmall {
        /// Bytes that suffice for what is recorded and what was to be.
        needed: u64,
    },
    /// There is no history in the region, or both copies of its superblock are damaged.
    NoHistory,
    /// The entry cannot be taken up.
    Entry(EntryError),
    /// There is no entry at this place (any more).
    NoEntry,
    /// The entry is not what was written; from now on it is among the damaged ones.
    Damaged {
        /// Number of its first page, counted from the start of the region.
        page: u32,
    },
    /// Whether the last change was made is not known since the device failed in the middle of it. Opening the history
    /// again tells.
    Uncertain,
    /// The device failed.
    Device {
        /// First byte of the failed access; of a flush, where the region begins.
        at: u64,
        /// Why.
        source: E,
    },
}

impl<E: DeviceError> HistoryError<E> {
    /// The kind of failure, as of a device.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::MemoryTooSmall { .. } | Self::Entry(_) => ErrorKind::Invalid,
            Self::RegionTooSmall { .. } => ErrorKind::Full,
            Self::NoHistory | Self::NoEntry => ErrorKind::NotFound,
            Self::Damaged { .. } => ErrorKind::Medium,
            Self::Uncertain => ErrorKind::Other,
            Self::Device { source, .. } => source.kind(),
        }
    }
}

impl<E: DeviceError> fmt::Display for HistoryError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MemoryTooSmall { needed } => write!(f, "the history needs {needed} bytes of memory"),
            Self::RegionTooSmall { needed } => write!(f, "the history needs {needed} bytes on its device"),
            Self::NoHistory => f.write_str("there is no history, or its beginning is damaged"),
            Self::Entry(error) => error.fmt(f),
            Self::NoEntry => f.write_str("the history has no such entry"),
            Self::Damaged { page } => write!(f, "the entry at page {page} of the history is damaged"),
            Self::Uncertain => f.write_str("the last change of the history failed in the middle"),
            Self::Device { at, source } => write!(f, "byte {at} of the history's device: {}", source.kind()),
        }
    }
}

/// Pages that hold nothing genuine although something was recorded there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct DamagedPages {
    /// Number of the first one, counted from the start of the region.
    pub page: u32,
    /// Their number.
    pub count: u32,
}

/// The history of dumps on a block device.
#[derive(Debug)]
pub struct History<'m, C = PortableCrc32c> {
    memory: Memory<'m>,
    region: Region,
    superblock: Superblock,
    /// The copy of the superblock that the next one replaces.
    slot: u32,
    /// Order of the next dump.
    order: u64,
    uncertain: bool,
    crc: PhantomData<fn() -> C>,
}

impl<'m> History<'m, PortableCrc32c> {
    /// An empty history in a region of the device, in place of whatever is there.
    ///
    /// # Errors
    /// The memory ([`memory_len`]) or the region is too small, or the device failed. A history that was there is there as it
    /// was, or gone.
    pub fn create<D: BlockDevice>(
        device: &mut D,
        region: Range<u64>,
        id: HistoryId,
        memory: &'m mut [u8],
    ) -> Result<Self, HistoryError<D::Error>> {
        Self::create_with_crc(device, region, id, memory)
    }

    /// The history that is in a region of the device.
    ///
    /// # Errors
    /// The memory ([`memory_len`]) or the region is too small, there is none, or the device failed.
    pub fn open<D: BlockDevice>(
        device: &mut D,
        region: Range<u64>,
        memory: &'m mut [u8],
    ) -> Result<Self, HistoryError<D::Error>> {
        Self::open_with_crc(device, region, memory)
    }
}

impl<'m, C: Crc32c> History<'m, C> {
    /// As [`create`](History::create), with another provider of CRC32C.
    ///
    /// # Errors
    /// As [`create`](History::create).
    pub fn create_with_crc<D: BlockDevice>(
        device: &mut D,
        region: Range<u64>,
        id: HistoryId,
        memory: &'m mut [u8],
    ) -> Result<Self, HistoryError<D::Error>> {
        let (mut history, found) = Self::start(device, region, memory)?;
        let generation = found.map_or(0, |superblock| superblock.generation);
        history.superblock = Superblock { id, generation, next_sequence: 1, end: PAGES_AT };
        // Both, one after the other: no copy of what was there may ever be the newest again.
        for _ in 0..PAGES_AT {
            history.commit(device, history.superblock)?;
        }
        Ok(history)
    }

    /// As [`open`](History::open), with another provider of CRC32C.
    ///
    /// # Errors
    /// As [`open`](History::open).
    pub fn open_with_crc<D: BlockDevice>(
        device: &mut D,
        region: Range<u64>,
        memory: &'m mut [u8],
    ) -> Result<Self, HistoryError<D::Error>> {
        let (mut history, found) = Self::start(device, region, memory)?;
        history.superblock = found.ok_or(HistoryError::NoHistory)?;
        if history.superblock.end > history.region.pages {
            return Err(HistoryError::RegionTooSmall { needed: Region::len_of(history.superblock.end) });
        }
        if history.scan(device)? {
            // What the power cut off from its commit may not be durable yet, and will be relied upon from now on.
            history.flush(device)?;
            history.commit(device, history.superblock)?;
        }
        Ok(history)
    }

    /// Checks memory and region, and reads the newest superblock.
    fn start<D: BlockDevice>(
        device: &mut D,
        region: Range<u64>,
        memory: &'m mut [u8],
    ) -> Result<(Self, Option<Superblock>), HistoryError<D::Error>> {
        let region = Region::new(region.start, region.end.min(device.capacity()));
        if region.pages < PAGES_AT {
            return Err(HistoryError::RegionTooSmall { needed: Region::len_of(PAGES_AT) });
        }
        let memory = Memory::new(memory, region.pages)
            .ok_or(HistoryError::MemoryTooSmall { needed: log::memory_for(region.pages) })?;
        let blank = Superblock { id: [0; 16], generation: 0, next_sequence: 1, end: PAGES_AT };
        let mut history =
            Self { memory, region, superblock: blank, slot: 0, order: 1, uncertain: false, crc: PhantomData };
        let mut newest: Option<Superblock> = None;
        for slot in 0..PAGES_AT {
            if history.read_page(device, slot)?
                && let Some(found) = Superblock::parse::<C>(history.memory.page())
                && newest.as_ref().is_none_or(|newest| newest.generation < found.generation)
            {
                newest = Some(found);
                history.slot = PAGES_AT - 1 - slot;
            }
        }
        Ok((history, newest))
    }

    /// Appends a dump and gives its place. It is durable then, and has its [`order`](Dump::order) from the history.
    ///
    /// # Errors
    /// The entry cannot be taken up, the region is full, or the device failed. What was recorded before stays.
    pub fn append<D: BlockDevice>(
        &mut self,
        device: &mut D,
        entry: &Entry<'_>,
    ) -> Result<Place, HistoryError<D::Error>> {
        let dump = Dump { order: self.order, ..entry.dump };
        self.append_entry(device, &Entry { dump, ..*entry }, None)
    }

    /// Puts an entry in the place of another one, in one step: a dump that was taken up again, a catalog that is somewhere
    /// else. It keeps its order. The place changes.
    ///
    /// # Errors
    /// As [`append`](Self::append), or there is no entry at the place.
    pub fn replace<D: BlockDevice>(
        &mut self,
        device: &mut D,
        place: Place,
        entry: &Entry<'_>,
    ) -> Result<Place, HistoryError<D::Error>> {
        let order = self.entry(device, place)?.dump.order;
        let dump = Dump { order, ..entry.dump };
        self.append_entry(device, &Entry { dump, ..*entry }, Some(place))
    }

    /// Takes an entry out: the dump's tapes are used for something else, or lost.
    ///
    /// # Errors
    /// There is no entry at the place, the region is full, or the device failed.
    pub fn remove<D: BlockDevice>(
        &mut self,
        device: &mut D,
        place: Place,
    ) -> Result<(), HistoryError<D::Error>> {
        if !self.memory.has(Marks::Live, place.0) {
            return Err(HistoryError::NoEntry);
        }
        let removal = Removal { page: place.0 };
        let len = removal.emit(self.memory.payload()).unwrap_or(0);
        self.append_record(device, Kind::Removal, len)?;
        self.memory.clear(Marks::Live, place.0);
        Ok(())
    }

    /// Appends what another history has, entry by entry in order, without what is removed or damaged there: so a full
    /// region is cleaned up, or given up for a larger one. Gives the number of entries.
    ///
    /// Until this is done nobody should rely on this history in the other one's place.
    ///
    /// # Errors
    /// One of the histories failed.
    pub fn append_all<D: BlockDevice, E: BlockDevice>(
        &mut self,
        device: &mut D,
        from: &mut History<'_, C>,
        from_device: &mut E,
    ) -> Result<u32, CopyError<D::Error, E::Error>> {
        let mut place = Place(0);
        let mut count = 0;
        while let Some(next) = from.next_after(place) {
            place = next;
            match from.entry(from_device, place) {
                Ok(entry) => {
                    self.append_entry(device, &entry, None).map_err(CopyError::To)?;
                    count += 1;
                }
                // It is named among the damaged ones of where it is.
                Err(HistoryError::Damaged { .. }) => {}
                Err(error) => return Err(CopyError::From(error)),
            }
        }
        Ok(count)
    }

    /// The entry at a place, read from the device and checked.
    ///
    /// # Errors
    /// There is none, it is damaged, or the device failed.
    pub fn entry<D: BlockDevice>(
        &mut self,
        device: &mut D,
        place: Place,
    ) -> Result<Entry<'_>, HistoryError<D::Error>> {
        if !self.memory.has(Marks::Live, place.0) {
            return Err(HistoryError::NoEntry);
        }
        let head = self.read_record(device, place.0, self.superblock.end)?;
        let is_entry = head.as_ref().is_some_and(|head| {
            head.kind == Kind::Entry && parse_entry(self.memory.stored(head.payload_len)).is_some()
        });
        let damaged = HistoryError::Damaged { page: place.0 };
        let Some(head) = head.filter(|_| is_entry) else {
            self.memory.clear(Marks::Live, place.0);
            self.memory.set(Marks::Damaged, place.0);
            return Err(damaged);
        };
        parse_entry(self.memory.stored(head.payload_len)).map(|(entry, _)| entry).ok_or(damaged)
    }

    /// The entry recorded last before a place; `None` for the place gives the last of all.
    #[must_use]
    pub fn next_before(&self, place: Option<Place>) -> Option<Place> {
        let end = place.map_or(self.superblock.end, |place| place.0.min(self.superblock.end));
        self.memory.last_before(end).map(Place)
    }

    /// The entry recorded first after a place; [`Place(0)`](Place) is before all.
    #[must_use]
    pub fn next_after(&self, place: Place) -> Option<Place> {
        self.memory.first_in(place.0.saturating_add(1)..self.superblock.end).map(Place)
    }

    /// The dumps of a path of a volume, for the rules.
    pub fn dumps_of<'h, D: BlockDevice>(
        &'h mut self,
        device: &'h mut D,
        volume: VolumeId,
        path: &'h [u8],
    ) -> DumpsOf<'h, 'm, D, C> {
        DumpsOf { history: self, device, volume, path, last: None }
    }

    /// Damage, as it was found when the history was opened and since then.
    pub fn damaged(&self) -> impl Iterator<Item = DamagedPages> + '_ {
        let mut page = PAGES_AT;
        core::iter::from_fn(move || {
            while page < self.superblock.end && !self.memory.has(Marks::Damaged, page) {
                page += 1;
            }
            let first = page;
            while page < self.superblock.end && self.memory.has(Marks::Damaged, page) {
                page += 1;
            }
            (page > first).then_some(DamagedPages { page: first, count: page - first })
        })
    }

    /// Identity of the history.
    #[must_use]
    pub const fn id(&self) -> HistoryId {
        self.superblock.id
    }

    /// Bytes of the region that are in use, from its beginning.
    #[must_use]
    pub const fn used_len(&self) -> u64 {
        Region::len_of(self.superblock.end)
    }
}

/// Why a history could not be taken over. `D` and `E` are the errors of the devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum CopyError<D, E> {
    /// The one that entries are appended to failed.
    To(HistoryError<D>),
    /// The one that they come from failed.
    From(HistoryError<E>),
}

/// The dumps of one path of one volume, newest first; see [`History::dumps_of`]. Entries that turn out to be damaged are
/// passed over, and are among [`History::damaged`] afterwards.
#[derive(Debug)]
pub struct DumpsOf<'h, 'm, D, C = PortableCrc32c> {
    history: &'h mut History<'m, C>,
    device: &'h mut D,
    volume: VolumeId,
    path: &'h [u8],
    last: Option<Place>,
}

impl<D: BlockDevice, C: Crc32c> Dumps for DumpsOf<'_, '_, D, C> {
    type Error = HistoryError<D::Error>;

    fn rewind(&mut self) {
        self.last = None;
    }

    fn next(&mut self) -> Result<Option<(Place, Dump)>, Self::Error> {
        while let Some(place) = self.history.next_before(self.last) {
            self.last = Some(place);
            match self.history.entry(self.device, place) {
                Ok(entry) if entry.volume == self.volume && entry.path == self.path => {
                    return Ok(Some((place, entry.dump)));
                }
                Ok(_) | Err(HistoryError::Damaged { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    fn tape(&mut self, place: Place, index: usize) -> Result<Option<Tape>, Self::Error> {
        Ok(self.history.entry(self.device, place)?.tapes.get(index).copied())
    }
}

#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod power_tests;
#[cfg(test)]
mod tests;
