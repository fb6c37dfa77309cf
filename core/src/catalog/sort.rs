//! External merge sort in lent memory.
//!
//! While entries come, they are stored at the front of the memory, and a slot for each at the back; only the slots
//! are moved when sorting. The very end is where pages are packed. When merging, the same memory is the
//! buffers of the runs read and of the one written.
//!
//! Entries that come almost in order cost no merge: a run goes on as long as what is written next is above its end, by
//! the first eight bytes of keys, and what belongs behind the entry that came last, or to the same first four bytes of key, waits in memory for
//! those that may still come between, as long as it takes no more than half of the room.

use core::marker::PhantomData;
use core::ops::Range;

use zerocopy::byteorder::{BE, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::checksum::{Crc32c, PortableCrc32c};
use crate::device::block::BlockDevice;
use crate::limits::{ENTRY_LEN_MAX, PAGE_LEN};

use super::page::{BODY_LEN, Entry, PageAt, Region, RunWriter, STORED_LEN_MAX, compare, prefix_of};
use super::quick;
use super::runs::{FAN_IN_MAX, Half, Merge, TRANSFER_PAGES_MAX};
use super::table::{Table, TableError};

/// The least memory a table works in.
pub const MEMORY_LEN_MIN: usize = 4 * PAGE_LEN;

/// Key prefix (8) and place of the entry (4).
pub(super) const SLOT_LEN: usize = 12;

type Slot = [u8; SLOT_LEN];

/// Length in bytes of a region that suffices for a table of so many entries, whose keys and values have `bytes`
/// bytes together, sorted in `memory_len` bytes of memory. It is 0 when the memory alone suffices.
#[must_use]
pub fn region_len(entries: u64, bytes: u64, memory_len: usize) -> u64 {
    let held = bytes.saturating_add(entries.saturating_mul(4 + SLOT_LEN as u64));
    if held <= Layout::new(memory_len).room as u64 {
        0
    } else {
        run_len(entries, bytes, memory_len).saturating_mul(2)
    }
}

/// Length in bytes of a run that entries are sorted into on a device, at most; they are sorted in twice of that.
pub(super) fn run_len(entries: u64, bytes: u64, memory_len: usize) -> u64 {
    let stored = bytes.saturating_add(entries.saturating_mul(4));
    let held = stored.saturating_add(entries.saturating_mul(SLOT_LEN as u64));
    let room = Layout::new(memory_len).room as u64;
    // Half of the room at least is written when the next entry does not fit in memory, and a page when it does not
    // fit in there.
    let runs = held / ((room / 2).saturating_sub((STORED_LEN_MAX + SLOT_LEN) as u64) + 1).max(1) + 1;
    let pages = stored / (BODY_LEN - STORED_LEN_MAX + 1) as u64 + runs;
    pages.saturating_mul(PAGE_LEN as u64)
}

/// How the memory is divided.
#[derive(Clone, Copy, Debug)]
struct Layout {
    /// Bytes for entries and slots.
    room: usize,
    /// Pages moved at once, and the number of pages that are packed behind the room.
    transfer_pages: usize,
    /// Runs merged at once.
    fan_in: usize,
}

impl Layout {
    fn new(memory_len: usize) -> Self {
        let pages = memory_len / PAGE_LEN;
        let transfer_pages = (pages / FAN_IN_MAX).clamp(1, TRANSFER_PAGES_MAX);
        Self {
            room: memory_len.saturating_sub(transfer_pages * PAGE_LEN),
            transfer_pages,
            fan_in: (pages / transfer_pages).saturating_sub(1).min(FAN_IN_MAX),
        }
    }
}

/// Takes entries in any order and makes a [`Table`] of them.
///
/// The device is lent for each call, so that several tables can be built and read in turn on one device, each
/// on its own region. It must be the same at each call. Nothing is read or written as long as all entries
/// fit in the memory.
#[derive(Debug)]
pub struct TableBuilder<'m, C = PortableCrc32c> {
    memory: &'m mut [u8],
    layout: Layout,
    region: Region,
    /// Bytes of entries in memory, and their number.
    used: usize,
    slots: usize,
    /// Key prefix of the entry that came last.
    newest: u64,
    /// Runs of pass 0 on the device, and the page after them.
    runs: u32,
    end: u32,
    /// Page at which the last run begins, and the key prefix at its end.
    run_from: u32,
    run_last: u64,
    /// Entries taken in all, and the bytes of their keys and values.
    entries: u64,
    bytes: u64,
    crc: PhantomData<fn() -> C>,
}

/// Where a builder stands that has everything it took on the device; its layout is `docs/context.md`'s.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct SuspendedTable {
    run_last: U64<BE>,
    entries: U64<BE>,
    bytes: U64<BE>,
    runs: U32<BE>,
    end: U32<BE>,
    run_from: U32<BE>,
}

impl<'m> TableBuilder<'m> {
    /// A table on the bytes `region` of the device, of which it uses whole pages of [`PAGE_LEN`] bytes.
    ///
    /// # Errors
    /// [`TableError::MemoryTooSmall`]: less than [`MEMORY_LEN_MIN`].
    pub fn new<D: BlockDevice>(
        device: &D,
        region: Range<u64>,
        memory: &'m mut [u8],
    ) -> Result<Self, TableError<D::Error>> {
        Self::with_crc(device, region, memory)
    }
}

impl<'m, C: Crc32c> TableBuilder<'m, C> {
    /// As [`TableBuilder::new`], with another provider of CRC32C.
    ///
    /// # Errors
    /// As [`TableBuilder::new`].
    pub fn with_crc<D: BlockDevice>(
        device: &D,
        region: Range<u64>,
        memory: &'m mut [u8],
    ) -> Result<Self, TableError<D::Error>> {
        let region = Region::new(region.start, region.end.min(device.capacity()), 0);
        Self::on_region(region, memory).ok_or(TableError::MemoryTooSmall { needed: MEMORY_LEN_MIN })
    }

    /// A table on a region; `None`: less than [`MEMORY_LEN_MIN`].
    pub(super) fn on_region(region: Region, memory: &'m mut [u8]) -> Option<Self> {
        if memory.len() < MEMORY_LEN_MIN {
            return None;
        }
        // Slots have 32 bits for the place.
        let len = memory.len().min(u32::MAX as usize);
        let (memory, _) = memory.split_at_mut_checked(len).unwrap_or_default();
        Some(Self {
            layout: Layout::new(len),
            memory,
            region,
            used: 0,
            slots: 0,
            newest: 0,
            runs: 0,
            end: 0,
            run_from: 0,
            run_last: 0,
            entries: 0,
            bytes: 0,
            crc: PhantomData,
        })
    }

    /// Number of entries taken so far.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.entries
    }

    /// Whether no entry was taken so far.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// Takes an entry.
    ///
    /// # Errors
    /// [`TableError::EntryTooLong`], or the region is too small or failed. The entry is not taken then, and those
    /// before are kept: the call may be repeated.
    pub fn push<D: BlockDevice>(
        &mut self,
        device: &mut D,
        key: &[u8],
        value: &[u8],
    ) -> Result<(), TableError<D::Error>> {
        let len = key.len().saturating_add(value.len());
        if len > ENTRY_LEN_MAX {
            return Err(TableError::EntryTooLong { len });
        }
        let entry = Entry { key, value };
        if self.used + (self.slots + 1) * SLOT_LEN + entry.stored_len() > self.layout.room {
            let needed = region_len(self.entries + 1, self.bytes + len as u64, self.memory.len());
            self.spill(device, needed, false)?;
        }
        let prefix = prefix_of(key);
        let slots_from = self.layout.room.saturating_sub((self.slots + 1) * SLOT_LEN);
        let (stored, slots) = self.memory.split_at_mut_checked(slots_from).unwrap_or_default();
        let emitted = stored.get_mut(self.used..).and_then(|room| entry.emit(room));
        debug_assert!(emitted.is_some(), "an empty memory takes any entry");
        if let Some(slot) = slots.first_chunk_mut::<SLOT_LEN>() {
            slot[..8].copy_from_slice(&prefix.to_be_bytes());
            slot[8..].copy_from_slice(&(self.used as u32).to_be_bytes());
        }
        self.used += entry.stored_len();
        self.newest = prefix;
        self.slots += 1;
        self.entries += 1;
        self.bytes += len as u64;
        Ok(())
    }

    /// Writes all that is in memory to the device. The builder goes on from there, and so does one that is
    /// [`resumed`](Self::resumed), as long as what is in the region behind this is not read before it is written again.
    pub(super) fn suspend<D: BlockDevice>(
        &mut self,
        device: &mut D,
    ) -> Result<SuspendedTable, TableError<D::Error>> {
        self.spill(device, self.needed(), true)?;
        Ok(SuspendedTable {
            run_last: self.run_last.into(),
            entries: self.entries.into(),
            bytes: self.bytes.into(),
            runs: self.runs.into(),
            end: self.end.into(),
            run_from: self.run_from.into(),
        })
    }

    /// The builder of this region as it was suspended; `None`: less memory than [`MEMORY_LEN_MIN`], or none that was
    /// suspended in this region.
    pub(super) fn resumed(region: Region, memory: &'m mut [u8], at: &SuspendedTable) -> Option<Self> {
        let (runs, end, run_from) = (at.runs.get(), at.end.get(), at.run_from.get());
        let (entries, bytes) = (at.entries.get(), at.bytes.get());
        let is_possible = end <= region.pages
            && run_from <= end
            && runs <= end
            && (runs > 0) == (end > 0)
            && entries.max(bytes) < 1 << 48;
        if !is_possible {
            return None;
        }
        let mut builder = Self::on_region(region, memory)?;
        (builder.runs, builder.end, builder.run_from) = (runs, end, run_from);
        (builder.run_last, builder.newest) = (at.run_last.get(), at.run_last.get());
        (builder.entries, builder.bytes) = (entries, bytes);
        Some(builder)
    }

    /// Sorts what was taken.
    ///
    /// # Errors
    /// The region is too small, damaged or failed.
    pub fn finish<D: BlockDevice>(mut self, device: &mut D) -> Result<Table<'m, C>, TableError<D::Error>> {
        if self.runs == 0 {
            self.sort();
            let slots = self.layout.room - self.slots * SLOT_LEN..self.layout.room;
            return Ok(Table::in_memory(self.memory, slots));
        }
        let half = self.finish_sorting(device, false)?;
        Ok(Table::on_device(self.memory, self.entries, self.region, half.second, half.end, half.pass))
    }

    /// Sorts what was taken into one run on the device, from the beginning of the region on. Its page after the last
    /// and its pass are told, and the memory is given back.
    pub(super) fn finish_run<D: BlockDevice>(
        mut self,
        device: &mut D,
    ) -> Result<(Half, &'m mut [u8]), TableError<D::Error>> {
        let half = self.finish_sorting(device, true)?;
        Ok((half, self.memory))
    }

    fn finish_sorting<D: BlockDevice>(
        &mut self,
        device: &mut D,
        to_first_side: bool,
    ) -> Result<Half, TableError<D::Error>> {
        let needed = self.needed();
        self.spill(device, needed, true)?;
        let mut half = Half { second: false, end: self.end, runs: self.runs, pass: 0 };
        // However the entries are packed next time, they need no more pages than these.
        let worst = u32::try_from(needed / (2 * PAGE_LEN as u64)).unwrap_or(u32::MAX);
        let middle = worst.min(self.region.pages / 2);
        self.region.second_from = middle.max(self.end).min(self.region.pages);
        while half.runs > 1 || (to_first_side && half.second) {
            half = self.merge_pass(device, half, needed)?;
        }
        Ok(half)
    }

    /// Length of a region that suffices for what was taken.
    fn needed(&self) -> u64 {
        run_len(self.entries, self.bytes, self.memory.len()).saturating_mul(2)
    }

    /// The stored entries, their slots, and the pages for packing.
    fn parts(&mut self) -> (&[u8], &mut [Slot], &mut [[u8; PAGE_LEN]]) {
        // The parts lie in the memory, one behind the other; were they not to, they would be empty.
        let (room, pages) = self.memory.split_at_mut_checked(self.layout.room).unwrap_or_default();
        let slots_from = room.len().saturating_sub(self.slots * SLOT_LEN);
        let (stored, slots) = room.split_at_mut_checked(slots_from).unwrap_or_default();
        let pages = pages.as_chunks_mut().0.get_mut(..self.layout.transfer_pages).unwrap_or_default();
        (stored, slots.as_chunks_mut().0, pages)
    }

    fn sort(&mut self) {
        let (stored, slots, _) = self.parts();
        quick::sort(slots, &|a, b| compare(slot_entry(a, stored), slot_entry(b, stored)).is_lt());
    }

    /// Writes what is in memory, or what of it no entry to come is likely to belong before. `needed` bytes of region
    /// suffice.
    fn spill<D: BlockDevice>(
        &mut self,
        device: &mut D,
        needed: u64,
        all: bool,
    ) -> Result<(), TableError<D::Error>> {
        if self.slots == 0 {
            return Ok(());
        }
        self.sort();
        let (region, newest, run_last) = (self.region, self.newest, self.run_last);
        let (at, runs, run_from) = (PageAt::new(self.end), self.runs, self.run_from);
        let half_room = self.layout.room / 2;
        let (stored, slots, pages) = self.parts();
        let goes_on = runs > 0 && slots.first().is_some_and(|slot| slot_entry(slot, stored).0 > run_last);
        let mut written = slots.len();
        if !all && (goes_on || runs == 0) {
            let waiting = slots.partition_point(|slot| slot_entry(slot, stored).0 >> 32 < newest >> 32);
            let waiting = slots.get(waiting..).unwrap_or_default();
            let bytes: usize = waiting.iter().map(|slot| slot_len(slot, stored) + SLOT_LEN).sum();
            if bytes <= half_room {
                written = slots.len() - waiting.len();
            }
        }
        let run_from = if goes_on { run_from } else { at.page };
        let mut writer = RunWriter::resumed(region, run_from, at, 0, needed, pages);
        let slots = slots.get(..written).unwrap_or_default();
        for slot in slots {
            if let Some(bytes) = first_stored(slot_entry(slot, stored).1) {
                writer.push::<D, C>(device, bytes)?;
            }
        }
        let end = writer.finish::<D, C>(device)?;
        self.run_last = slots.last().map_or(run_last, |slot| slot_entry(slot, stored).0);
        self.end = end;
        self.run_from = run_from;
        self.runs += u32::from(!goes_on);
        self.keep_from(written);
        Ok(())
    }

    /// Forgets what the sorted slots before `written` are of, and moves the other entries to the front.
    fn keep_from(&mut self, written: usize) {
        self.slots = self.slots.saturating_sub(written);
        self.used = 0;
        let slots_from = self.layout.room.saturating_sub(self.slots * SLOT_LEN);
        let (stored, slots) = self.memory.split_at_mut_checked(slots_from).unwrap_or_default();
        let slots = slots.as_chunks_mut::<SLOT_LEN>().0.get_mut(..self.slots).unwrap_or_default();
        quick::sort(slots, &|a: &Slot, b: &Slot| slot_place(a) < slot_place(b));
        for slot in slots {
            let (from, len) = (slot_place(slot), slot_len(slot, stored));
            // Entries before this one have only moved forward, so there is room up to it.
            let distance = from.saturating_sub(self.used);
            if let Some(room) = stored.get_mut(self.used..).and_then(|room| room.get_mut(..distance + len))
                && distance <= room.len()
            {
                room.copy_within(distance.., 0);
            }
            slot[8..].copy_from_slice(&(self.used as u32).to_be_bytes());
            self.used += len;
        }
    }

    /// Merges the runs of one side into fewer ones on the other.
    fn merge_pass<D: BlockDevice>(
        &mut self,
        device: &mut D,
        from: Half,
        needed: u64,
    ) -> Result<Half, TableError<D::Error>> {
        let (region, layout) = (self.region, self.layout);
        let input_len = layout.fan_in * layout.transfer_pages;
        let pages = self.memory.as_chunks_mut::<PAGE_LEN>().0;
        let (inputs, output) = pages.split_at_mut_checked(input_len).unwrap_or_default();
        let output = output.get_mut(..layout.transfer_pages).unwrap_or_default();
        let mut to = Half { second: !from.second, end: 0, runs: 0, pass: from.pass + 1 };
        let mut rest = from;
        while rest.runs > 0 {
            let mut merge = Merge::new(region, from, inputs, layout.transfer_pages);
            for _ in 0..rest.runs.min(layout.fan_in as u32) {
                let first = rest.take_last::<D, C>(region, device, output)?;
                merge.add::<D, C>(device, first..rest.end)?;
                rest.end = first;
                rest.runs -= 1;
            }
            let at = PageAt { second: to.second, page: to.end };
            let mut writer = RunWriter::new(region, at, to.pass, needed, output);
            merge.start();
            while let Some(stored) = merge.least() {
                writer.push::<D, C>(device, stored)?;
                merge.advance::<D, C>(device)?;
            }
            to.end = writer.finish::<D, C>(device)?;
            to.runs += 1;
        }
        Ok(to)
    }
}

/// The key prefix and the bytes from the entry on.
pub(super) fn slot_entry<'a>(slot: &Slot, stored: &'a [u8]) -> (u64, &'a [u8]) {
    let &[p7, p6, p5, p4, p3, p2, p1, p0, ..] = slot;
    (u64::from_be_bytes([p7, p6, p5, p4, p3, p2, p1, p0]), stored.get(slot_place(slot)..).unwrap_or_default())
}

/// Where the entry is stored.
fn slot_place(slot: &Slot) -> usize {
    let &[.., a3, a2, a1, a0] = slot;
    u32::from_be_bytes([a3, a2, a1, a0]) as usize
}

/// Bytes of the entry as it is stored.
fn slot_len(slot: &Slot, stored: &[u8]) -> usize {
    first_stored(slot_entry(slot, stored).1).map_or(0, <[u8]>::len)
}

/// The bytes of the entry at the front.
pub(super) fn first_stored(bytes: &[u8]) -> Option<&[u8]> {
    bytes.get(..Entry::parse(bytes)?.stored_len())
}
