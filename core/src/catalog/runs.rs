//! Merging runs: several read at once, in order.

use core::cmp::Ordering;
use core::ops::Range;

use crate::checksum::Crc32c;
use crate::device::block::BlockDevice;
use crate::limits::PAGE_LEN;

use super::page::{Entry, HEADER_LEN, PageAt, PageHeader, Region, compare, prefix_of};
use super::quick;
use super::sort::first_stored;
use super::table::TableError;

/// Most runs merged at once: what is kept of each is on the stack.
pub(super) const FAN_IN_MAX: usize = 32;
/// Most pages that one access to the device moves.
pub(super) const TRANSFER_PAGES_MAX: usize = 64;

/// The runs in one side of the region, one behind the other from its start.
#[derive(Clone, Copy, Debug)]
pub(super) struct Half {
    pub second: bool,
    /// Page after the last run.
    pub end: u32,
    pub runs: u32,
    pub pass: u8,
}

impl Half {
    /// First page of the last run, by the number in its last page.
    pub(super) fn take_last<D: BlockDevice, C: Crc32c>(
        &self,
        region: Region,
        device: &mut D,
        buffer: &mut [[u8; PAGE_LEN]],
    ) -> Result<u32, TableError<D::Error>> {
        let at = PageAt { second: self.second, page: self.end.saturating_sub(1) };
        let page = buffer.get_mut(..1).unwrap_or_default();
        region.read(device, at, page)?;
        page.first()
            .and_then(|page| PageHeader::parse::<C>(region.salt, page))
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
pub(super) struct Merge<'b> {
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
    pub(super) fn new(
        region: Region,
        from: Half,
        buffer: &'b mut [[u8; PAGE_LEN]],
        transfer_pages: usize,
    ) -> Self {
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
    pub(super) fn add<D: BlockDevice, C: Crc32c>(
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
    pub(super) fn start(&mut self) {
        for position in (0..self.live / 2).rev() {
            self.sift_down(position);
        }
    }

    /// The least entry left, as it is stored.
    pub(super) fn least(&self) -> Option<&[u8]> {
        let &least = self.heap.get(..self.live)?.first()?;
        first_stored(self.head(least).1)
    }

    /// Goes on behind the least entry.
    pub(super) fn advance<D: BlockDevice, C: Crc32c>(
        &mut self,
        device: &mut D,
    ) -> Result<(), TableError<D::Error>> {
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
            .and_then(|page| PageHeader::parse::<C>(self.region.salt, page))
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
