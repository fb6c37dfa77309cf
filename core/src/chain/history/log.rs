//! The log of records: reading it through, appending to it, and what is known of its pages.

use core::ops::Range;

use super::encode::{Removal, emit_entry, parse_entry};
use super::page::{
    BODY_LEN, HEAD_LEN, Kind, PAGES_AT, Page, RECORD_PAGES_MAX, RecordHead, Region, Superblock,
};
use super::{Entry, History, HistoryError, Place};
use crate::checksum::Crc32c;
use crate::device::block::BlockDevice;
use crate::device::{DeviceError, ErrorKind};
use crate::limits::PAGE_LEN;

/// Bytes for the payload of a record.
const PAYLOAD_LEN: usize = RECORD_PAGES_MAX * BODY_LEN;

/// Bytes of memory that a history in this region of a device needs: a page, a record, and two bits for each page.
#[must_use]
pub fn memory_len(region: &Range<u64>) -> usize {
    memory_for(Region::new(region.start, region.end).pages)
}

pub(super) fn memory_for(pages: u32) -> usize {
    2 * bits_len(pages) + PAGE_LEN + PAYLOAD_LEN
}

const fn bits_len(pages: u32) -> usize {
    (pages as usize).div_ceil(8)
}

/// What is known of each page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Marks {
    /// An entry begins here, and is valid.
    Live,
    /// Something was recorded here, and is not what was written.
    Damaged,
}

/// The lent memory.
#[derive(Debug)]
pub(super) struct Memory<'m> {
    live: &'m mut [u8],
    damaged: &'m mut [u8],
    page: &'m mut Page,
    payload: &'m mut [u8],
}

impl<'m> Memory<'m> {
    /// `None`: it is less than [`memory_for`] tells.
    pub(super) fn new(memory: &'m mut [u8], pages: u32) -> Option<Self> {
        let (live, rest) = memory.split_at_mut_checked(bits_len(pages))?;
        let (damaged, rest) = rest.split_at_mut_checked(bits_len(pages))?;
        let (page, rest) = rest.split_first_chunk_mut::<PAGE_LEN>()?;
        let payload = rest.get_mut(..PAYLOAD_LEN)?;
        live.fill(0);
        damaged.fill(0);
        Some(Self { live, damaged, page, payload })
    }

    /// The page that was read last.
    pub(super) fn page(&self) -> &Page {
        self.page
    }

    /// Room for the payload of a record.
    pub(super) fn payload(&mut self) -> &mut [u8] {
        self.payload
    }

    /// The payload of this length.
    pub(super) fn stored(&self, len: usize) -> &[u8] {
        self.payload.get(..len).unwrap_or_default()
    }

    fn bits(&mut self, marks: Marks) -> &mut [u8] {
        match marks {
            Marks::Live => self.live,
            Marks::Damaged => self.damaged,
        }
    }

    pub(super) fn has(&self, marks: Marks, page: u32) -> bool {
        let bits = match marks {
            Marks::Live => &*self.live,
            Marks::Damaged => &*self.damaged,
        };
        bits.get(page as usize / 8).is_some_and(|byte| byte >> (page % 8) & 1 != 0)
    }

    pub(super) fn set(&mut self, marks: Marks, page: u32) {
        if let Some(byte) = self.bits(marks).get_mut(page as usize / 8) {
            *byte |= 1 << (page % 8);
        }
    }

    pub(super) fn clear(&mut self, marks: Marks, page: u32) {
        if let Some(byte) = self.bits(marks).get_mut(page as usize / 8) {
            *byte &= !(1 << (page % 8));
        }
    }

    /// The last page of a valid entry before `end`.
    pub(super) fn last_before(&self, end: u32) -> Option<u32> {
        // Byte by byte: most pages of a long log may be those of removed entries.
        let bytes = self.live.iter().enumerate().take((end as usize).div_ceil(8)).rev();
        for (index, byte) in bytes {
            let first = (index as u32).wrapping_mul(8);
            let kept = match end.saturating_sub(first) {
                bits @ 0..8 => *byte & !(0xff << bits),
                _ => *byte,
            };
            if let Some(bit) = kept.checked_ilog2() {
                return Some(first.wrapping_add(bit));
            }
        }
        None
    }

    /// The first page of a valid entry in the range.
    pub(super) fn first_in(&self, mut pages: Range<u32>) -> Option<u32> {
        pages.find(|page| self.has(Marks::Live, *page))
    }
}

impl<C: Crc32c> History<'_, C> {
    /// Finds out what is recorded. `true`: more than the superblock tells.
    pub(super) fn scan<D: BlockDevice>(&mut self, device: &mut D) -> Result<bool, HistoryError<D::Error>> {
        let end_told = self.superblock.end;
        let (mut page, mut sequence) = (PAGES_AT, 1);
        while page < end_told {
            match self.read_record(device, page, end_told)?.filter(|head| head.sequence >= sequence) {
                Some(head) if self.take_up(page, &head) => {
                    sequence = head.sequence.saturating_add(1);
                    page = page.saturating_add(head.pages());
                }
                _ => {
                    self.memory.set(Marks::Damaged, page);
                    page = page.saturating_add(1);
                }
            }
        }
        // The same, unless somebody else wrote the superblock.
        self.superblock.next_sequence = self.superblock.next_sequence.max(sequence);
        // A whole record behind the end is one whose commit the power cut off, or is in a superblock that is damaged.
        loop {
            let Superblock { next_sequence: next, end, .. } = self.superblock;
            match self.read_record(device, end, self.region.pages)?.filter(|head| head.sequence == next) {
                Some(head) if self.take_up(end, &head) => {
                    self.superblock.next_sequence = next.saturating_add(1);
                    self.superblock.end = end.saturating_add(head.pages());
                }
                _ => return Ok(self.superblock.end != end_told),
            }
        }
    }

    /// Applies a record whose payload is in memory; `false`: it says nothing that can be applied.
    fn take_up(&mut self, page: u32, head: &RecordHead) -> bool {
        let stored = self.memory.stored(head.payload_len);
        let outdated = match head.kind {
            Kind::Entry => {
                let Some((entry, replaced)) = parse_entry(stored) else { return false };
                self.order = self.order.max(entry.dump.order.saturating_add(1));
                self.memory.set(Marks::Live, page);
                replaced
            }
            Kind::Removal => {
                let Some(removal) = Removal::parse(stored) else { return false };
                Some(removal.page)
            }
        };
        // What is behind this record cannot have been meant.
        if let Some(outdated) = outdated.filter(|outdated| *outdated < page) {
            self.memory.clear(Marks::Live, outdated);
        }
        true
    }

    /// Reads the record at a page that ends before `end`, its payload into the memory. `None`: there is no genuine one.
    pub(super) fn read_record<D: BlockDevice>(
        &mut self,
        device: &mut D,
        page: u32,
        end: u32,
    ) -> Result<Option<RecordHead>, HistoryError<D::Error>> {
        let mut first: Option<RecordHead> = None;
        for index in 0..RECORD_PAGES_MAX {
            let at = page.saturating_add(index as u32);
            if at >= end || !self.read_page(device, at)? {
                return Ok(None);
            }
            let (id, memory) = (self.superblock.id, &mut self.memory);
            let Some(head) = RecordHead::parse::<C>(index, memory.page).filter(|head| head.id == id) else {
                return Ok(None);
            };
            let first = *first.get_or_insert(head);
            if first != head {
                return Ok(None);
            }
            let from = memory.page.get(HEAD_LEN..).unwrap_or_default();
            let to = memory.payload.get_mut(index * BODY_LEN..).unwrap_or_default();
            to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
            if index as u32 + 1 == first.pages() {
                let is_whole = C::update(0, memory.stored(first.payload_len)) == first.payload_checksum;
                return Ok(is_whole.then_some(first));
            }
        }
        Ok(None)
    }

    /// Reads a page into the memory. `false`: the medium does not give it.
    pub(super) fn read_page<D: BlockDevice>(
        &mut self,
        device: &mut D,
        page: u32,
    ) -> Result<bool, HistoryError<D::Error>> {
        let at = self.region.byte(page);
        match device.read(at, self.memory.page) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::Medium => Ok(false),
            Err(source) => Err(HistoryError::Device { at, source }),
        }
    }

    /// Appends an entry, in place of another one if there is one to replace.
    pub(super) fn append_entry<D: BlockDevice>(
        &mut self,
        device: &mut D,
        entry: &Entry<'_>,
        replaced: Option<Place>,
    ) -> Result<Place, HistoryError<D::Error>> {
        entry.check().map_err(HistoryError::Entry)?;
        let replaced = replaced.map(|place| place.0);
        let len = emit_entry(entry, replaced, self.memory.payload).unwrap_or(0);
        let page = self.append_record(device, Kind::Entry, len)?;
        self.order = self.order.max(entry.dump.order.saturating_add(1));
        self.memory.set(Marks::Live, page);
        if let Some(replaced) = replaced {
            self.memory.clear(Marks::Live, replaced);
        }
        Ok(Place(page))
    }

    /// Appends a record whose payload is in the memory, and gives its page.
    pub(super) fn append_record<D: BlockDevice>(
        &mut self,
        device: &mut D,
        kind: Kind,
        payload_len: usize,
    ) -> Result<u32, HistoryError<D::Error>> {
        if self.uncertain {
            return Err(HistoryError::Uncertain);
        }
        let Superblock { id, next_sequence, end, .. } = self.superblock;
        let payload_checksum = C::update(0, self.memory.stored(payload_len));
        let head = RecordHead { id, sequence: next_sequence, payload_checksum, payload_len, kind };
        let new_end = end.saturating_add(head.pages());
        if new_end > self.region.pages {
            return Err(HistoryError::RegionTooSmall { needed: Region::len_of(new_end) });
        }
        self.uncertain = true;
        let payload = self.memory.payload.get(..payload_len).unwrap_or_default();
        for (index, part) in payload.chunks(BODY_LEN).enumerate() {
            let page = &mut *self.memory.page;
            page.fill(0);
            page.iter_mut().skip(HEAD_LEN).zip(part).for_each(|(to, from)| *to = *from);
            head.emit::<C>(index, page);
            let at = self.region.byte(end.saturating_add(index as u32));
            device.write(at, page).map_err(|source| HistoryError::Device { at, source })?;
        }
        // The superblock must not be ahead of what it tells.
        self.flush(device)?;
        let next_sequence = next_sequence.saturating_add(1);
        self.commit(device, Superblock { next_sequence, end: new_end, ..self.superblock })?;
        self.uncertain = false;
        Ok(end)
    }

    /// Makes a superblock the valid one, durably.
    pub(super) fn commit<D: BlockDevice>(
        &mut self,
        device: &mut D,
        superblock: Superblock,
    ) -> Result<(), HistoryError<D::Error>> {
        let generation = self.superblock.generation.saturating_add(1);
        let superblock = Superblock { generation, ..superblock };
        superblock.emit::<C>(self.memory.page);
        let at = self.region.byte(self.slot);
        device.write(at, self.memory.page).map_err(|source| HistoryError::Device { at, source })?;
        self.flush(device)?;
        self.superblock = superblock;
        self.slot = 1 - self.slot.min(1);
        Ok(())
    }

    pub(super) fn flush<D: BlockDevice>(&self, device: &mut D) -> Result<(), HistoryError<D::Error>> {
        device.flush().map_err(|source| HistoryError::Device { at: self.region.start, source })
    }
}
