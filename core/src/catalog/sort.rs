//! External merge sort in lent memory.
//!
//! While entries come, they are stored at the front of the memory, and a slot for each at the back; only the slots
//! are moved when sorting. The very end is where pages are packed. When merging, the same memory is the
//! buffers of the runs read and of the one written.

use core::cmp::Ordering;
use core::marker::PhantomData;
use core::ops::Range;

use crate::checksum::{Crc32c, PortableCrc32c};
use crate::device::block::BlockDevice;
use crate::limits::{ENTRY_LEN_MAX, PAGE_LEN};

use super::page::{
    BODY_LEN, Entry, HEADER_LEN, PageAt, PageHeader, Region, RunWriter, STORED_LEN_MAX, compare, prefix_of,
};
use super::quick;
use super::table::{Table, TableError};

/// The least memory a table works in.
pub const MEMORY_LEN_MIN: usize = 4 * PAGE_LEN;

/// Most runs merged at once: what is kept of each is on the stack.
const FAN_IN_MAX: usize = 32;
/// Most pages that one access to the device moves.
const TRANSFER_PAGES_MAX: usize = 64;
/// Key prefix (8) and place of the entry (4).
pub(super) const SLOT_LEN: usize = 12;

type Slot = [u8; SLOT_LEN];

/// Length in bytes of a region that suffices for a table of so many entries, whose keys and values have `bytes`
/// bytes together, sorted in `memory_len` bytes of memory. It is 0 when the memory alone suffices.
#[must_use]
pub fn region_len(entries: u64, bytes: u64, memory_len: usize) -> u64 {
    let stored = bytes.saturating_add(entries.saturating_mul(4));
    let held = stored.saturating_add(entries.saturating_mul(SLOT_LEN as u64));
    let layout = Layout::new(memory_len);
    let room = layout.room as u64;
    if held <= room {
        return 0;
    }
    // A run is written when the next entry does not fit in memory, and a page when it does not fit in there.
    let runs = held / (room.saturating_sub((STORED_LEN_MAX + SLOT_LEN) as u64) + 1).max(1) + 1;
    let pages = stored / (BODY_LEN - STORED_LEN_MAX + 1) as u64 + runs;
    pages.saturating_mul(2 * PAGE_LEN as u64)
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
    /// Runs of pass 0 on the device, and the page after them.
    runs: u32,
    end: u32,
    /// Entries taken in all, and the bytes of their keys and values.
    entries: u64,
    bytes: u64,
    crc: PhantomData<fn() -> C>,
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
        if memory.len() < MEMORY_LEN_MIN {
            return Err(TableError::MemoryTooSmall { needed: MEMORY_LEN_MIN });
        }
        // Slots have 32 bits for the place.
        let len = memory.len().min(u32::MAX as usize);
        let (memory, _) = memory.split_at_mut_checked(len).unwrap_or_default();
        let region = Region::new(region.start, region.end.min(device.capacity()));
        Ok(Self {
            layout: Layout::new(len),
            memory,
            region,
            used: 0,
            slots: 0,
            runs: 0,
            end: 0,
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
            self.spill(device, needed)?;
        }
        let slots_from = self.layout.room.saturating_sub((self.slots + 1) * SLOT_LEN);
        let (stored, slots) = self.memory.split_at_mut_checked(slots_from).unwrap_or_default();
        let emitted = stored.get_mut(self.used..).and_then(|room| entry.emit(room));
        debug_assert!(emitted.is_some(), "an empty memory takes any entry");
        if let Some(slot) = slots.first_chunk_mut::<SLOT_LEN>() {
            slot[..8].copy_from_slice(&prefix_of(key).to_be_bytes());
            slot[8..].copy_from_slice(&(self.used as u32).to_be_bytes());
        }
        self.used += entry.stored_len();
        self.slots += 1;
        self.entries += 1;
        self.bytes += len as u64;
        Ok(())
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
        let needed = region_len(self.entries, self.bytes, self.memory.len());
        self.spill(device, needed)?;
        let mut half = Half { second: false, end: self.end, runs: self.runs, pass: 0 };
        while half.runs > 1 {
            half = self.merge_pass(device, half, needed)?;
        }
        Ok(Table::on_device(self.memory, self.entries, self.region, half.second, half.end, half.pass))
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

    /// Writes what is in memory as a run. `needed` bytes of region suffice.
    fn spill<D: BlockDevice>(&mut self, device: &mut D, needed: u64) -> Result<(), TableError<D::Error>> {
        if self.slots == 0 {
            return Ok(());
        }
        self.sort();
        let region = self.region;
        let at = PageAt { second: false, page: self.end };
        let (stored, slots, pages) = self.parts();
        let mut writer = RunWriter::new(region, at, 0, needed, pages);
        for slot in slots {
            if let Some(bytes) = first_stored(slot_entry(slot, stored).1) {
                writer.push::<D, C>(device, bytes)?;
            }
        }
        self.end = writer.finish::<D, C>(device)?;
        self.runs += 1;
        self.used = 0;
        self.slots = 0;
        Ok(())
    }

    /// Merges the runs of one half into fewer ones in the other.
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
    let &[p7, p6, p5, p4, p3, p2, p1, p0, a3, a2, a1, a0] = slot;
    let at = u32::from_be_bytes([a3, a2, a1, a0]) as usize;
    (u64::from_be_bytes([p7, p6, p5, p4, p3, p2, p1, p0]), stored.get(at..).unwrap_or_default())
}

/// The bytes of the entry at the front.
fn first_stored(bytes: &[u8]) -> Option<&[u8]> {
    bytes.get(..Entry::parse(bytes)?.stored_len())
}

/// The runs in one half of the region, one behind the other from its start.
#[derive(Clone, Copy, Debug)]
struct Half {
    second: bool,
    /// Page after the last run.
    end: u32,
    runs: u32,
    pass: u8,
}

impl Half {
    /// First page of the last run, by the number in its last page.
    fn take_last<D: BlockDevice, C: Crc32c>(
        &self,
        region: Region,
        device: &mut D,
        buffer: &mut [[u8; PAGE_LEN]],
    ) -> Result<u32, TableError<D::Error>> {
        let at = PageAt { second: self.second, page: self.end.saturating_sub(1) };
        let page = buffer.get_mut(..1).unwrap_or_default();
        region.read(device, at, page)?;
        page.first()
            .and_then(PageHeader::parse::<C>)
            .filter(|header| header.pass == self.pass)
            .and_then(|header| at.page.checked_sub(header.number))
            // The first run of all starts the half, and no other does.
            .filter(|&first| (first == 0) == (self.runs == 1))
            .ok_or(region.damaged(at))
    }
}

/// A run being read, of which one entry is the next. What a buffer and a page bound is small here.
#[derive(Clone, Copy, Debug, Default)]
struct Input {
    /// Key prefix of the next entry.
    prefix: u64,
    /// First page of the run, the one after it, and the one to read next from the device.
    first: u32,
    end: u32,
    next: u32,
    /// Offset of the next entry in its page, and how many are left from there.
    at: u16,
    left: u8,
    /// Pages in the buffer, and which of them is being read.
    buffered: u8,
    page: u8,
}

const _: () = assert!(PAGE_LEN <= u16::MAX as usize && TRANSFER_PAGES_MAX < u8::MAX as usize);

/// Several runs read at once: a binary heap by their next entries.
struct Merge<'b> {
    region: Region,
    /// Where the runs are.
    from: Half,
    buffer: &'b mut [[u8; PAGE_LEN]],
    transfer_pages: usize,
    inputs: [Input; FAN_IN_MAX],
    added: usize,
    /// Inputs that have an entry left, the least at the front.
    heap: [u8; FAN_IN_MAX],
    live: usize,
}

impl<'b> Merge<'b> {
    fn new(region: Region, from: Half, buffer: &'b mut [[u8; PAGE_LEN]], transfer_pages: usize) -> Self {
        Self {
            region,
            from,
            buffer,
            transfer_pages,
            inputs: [Input::default(); FAN_IN_MAX],
            added: 0,
            heap: [0; FAN_IN_MAX],
            live: 0,
        }
    }

    /// Adds a run, which has a page at least.
    fn add<D: BlockDevice, C: Crc32c>(
        &mut self,
        device: &mut D,
        run: Range<u32>,
    ) -> Result<(), TableError<D::Error>> {
        let index = self.added;
        if let (Some(input), Some(position)) = (self.inputs.get_mut(index), self.heap.get_mut(index)) {
            *input = Input { first: run.start, end: run.end, next: run.start, ..Input::default() };
            *position = index as u8;
        }
        self.added += 1;
        self.live += usize::from(self.next_page::<D, C>(device, index)?);
        Ok(())
    }

    /// Makes the heap, when all runs are added.
    fn start(&mut self) {
        for position in (0..self.live / 2).rev() {
            self.sift_down(position);
        }
    }

    /// The least entry left, as it is stored.
    fn least(&self) -> Option<&[u8]> {
        let &least = self.heap.get(..self.live)?.first()?;
        first_stored(self.head(least).1)
    }

    /// Goes on behind the least entry.
    fn advance<D: BlockDevice, C: Crc32c>(&mut self, device: &mut D) -> Result<(), TableError<D::Error>> {
        let [least, ..] = self.heap;
        let least = usize::from(least);
        let len = self.least().map_or(0, <[u8]>::len);
        let Some(input) = self.inputs.get_mut(least) else { return Ok(()) };
        input.at += len as u16;
        input.left = input.left.saturating_sub(1);
        if input.left > 0 {
            self.set_prefix(least);
        } else if !self.next_page::<D, C>(device, least)? {
            self.live -= 1;
            if let Some(&last) = self.heap.get(self.live) {
                self.heap[0] = last;
            }
        }
        self.sift_down(0);
        Ok(())
    }

    /// Key prefix and bytes of an input's next entry.
    fn head(&self, input: u8) -> (u64, &[u8]) {
        let index = usize::from(input);
        let Input { page, at, prefix, .. } = self.inputs.get(index).copied().unwrap_or_default();
        let page = self.buffer.get(index * self.transfer_pages + usize::from(page));
        (prefix, page.and_then(|page| page.get(usize::from(at)..)).unwrap_or_default())
    }

    fn set_prefix(&mut self, input: usize) {
        let prefix = Entry::parse(self.head(input as u8).1).map_or(0, |entry| prefix_of(entry.key));
        if let Some(input) = self.inputs.get_mut(input) {
            input.prefix = prefix;
        }
    }

    /// Goes to the next page of an input; `false` when there is none.
    fn next_page<D: BlockDevice, C: Crc32c>(
        &mut self,
        device: &mut D,
        index: usize,
    ) -> Result<bool, TableError<D::Error>> {
        let first = index * self.transfer_pages;
        let buffer = self.buffer.get_mut(first..first + self.transfer_pages).unwrap_or_default();
        let Some(input) = self.inputs.get_mut(index) else { return Ok(false) };
        input.page += 1;
        if input.page >= input.buffered {
            let pages = buffer.len().min((input.end - input.next) as usize);
            if pages == 0 {
                return Ok(false);
            }
            let at = PageAt { second: self.from.second, page: input.next };
            self.region.read(device, at, buffer.get_mut(..pages).unwrap_or_default())?;
            input.next += pages as u32;
            input.buffered = pages as u8;
            input.page = 0;
        }
        let page = input.next - u32::from(input.buffered - input.page);
        let header = buffer
            .get(usize::from(input.page))
            .and_then(PageHeader::parse::<C>)
            .filter(|header| header.number == page - input.first && header.pass == self.from.pass)
            .ok_or(self.region.damaged(PageAt { second: self.from.second, page }))?;
        input.at = HEADER_LEN as u16;
        input.left = header.count;
        self.set_prefix(index);
        Ok(true)
    }

    fn sift_down(&mut self, mut position: usize) {
        loop {
            let mut child = 2 * position + 1;
            if child >= self.live {
                return;
            }
            if child + 1 < self.live && self.order(child + 1, child).is_lt() {
                child += 1;
            }
            if self.order(position, child).is_le() {
                return;
            }
            quick::swap(&mut self.heap, position, child);
            position = child;
        }
    }

    fn order(&self, a: usize, b: usize) -> Ordering {
        let at = |position| self.heap.get(position).copied().unwrap_or_default();
        compare(self.head(at(a)), self.head(at(b)))
    }
}
