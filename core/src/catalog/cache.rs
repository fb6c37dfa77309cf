//! A page cache in lent memory: sets of a few pages each, the least recently used page of a set goes first.

use crate::checksum::Crc32c;
use crate::device::block::BlockDevice;
use crate::limits::PAGE_LEN;

use super::page::{PageAt, PageHeader, Region};
use super::table::TableError;

/// Bytes per slot before the pages: page number plus one (0: empty), and when it was used last.
const TAG_LEN: usize = 8;
/// Pages of a set, where there are as many.
const WAYS: usize = 4;

/// What a page must be to be taken for the one asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Expected {
    /// Its number within its run.
    pub number: u32,
    /// The merge pass, or the mark of a level of the index.
    pub pass: u8,
}

/// Pages of a region on a device, behind a cache. The memory is the owner's.
#[derive(Debug)]
pub(super) struct PageCache {
    region: Region,
    sets: usize,
    ways: usize,
    now: u32,
    /// The page asked for last, by its number in the region, and its slot.
    recent: Option<(u32, usize)>,
}

impl PageCache {
    /// A cache in `memory`, which takes one page at least.
    pub(super) fn new(region: Region, memory: &mut [u8]) -> Self {
        let slots = (memory.len() / (PAGE_LEN + TAG_LEN)).max(1);
        let sets = (slots / WAYS).max(1);
        let ways = slots / sets;
        memory.iter_mut().take(sets * ways * TAG_LEN).for_each(|byte| *byte = 0);
        Self { region, sets, ways, now: 0, recent: None }
    }

    /// The region the pages are in.
    pub(super) const fn region(&self) -> Region {
        self.region
    }

    /// The page, read from the device unless it is cached.
    pub(super) fn page<'a, D: BlockDevice, C: Crc32c>(
        &mut self,
        device: &mut D,
        memory: &'a mut [u8],
        at: PageAt,
        expected: Expected,
    ) -> Result<&'a [u8; PAGE_LEN], TableError<D::Error>> {
        let (tags, rest) = memory.split_at_mut((self.sets * self.ways * TAG_LEN).min(memory.len()));
        let slots = rest.as_chunks_mut::<PAGE_LEN>().0;
        let slot = match self.recent {
            Some((recent, slot)) if recent == self.region.page_no(at) => slot,
            _ => self.load::<D, C>(device, tags.as_chunks_mut().0, slots, at, expected)?,
        };
        slots.get(slot).ok_or(self.region.damaged(at))
    }

    /// Brings the page into a slot.
    fn load<D: BlockDevice, C: Crc32c>(
        &mut self,
        device: &mut D,
        tags: &mut [[u8; TAG_LEN]],
        slots: &mut [[u8; PAGE_LEN]],
        at: PageAt,
        expected: Expected,
    ) -> Result<usize, TableError<D::Error>> {
        let page = self.region.page_no(at);
        let (slot, hit) = self.find(tags, page);
        let (Some(tag), Some(pages)) = (tags.get_mut(slot), slots.get_mut(slot..=slot)) else {
            return Err(self.region.damaged(at));
        };
        self.recent = None;
        if !hit {
            *tag = [0; TAG_LEN];
            self.region.read(device, at, pages)?;
            match PageHeader::parse::<C>(self.region.salt, &pages[0]) {
                Some(PageHeader { number, pass, .. }) if expected == Expected { number, pass } => {}
                _ => return Err(self.region.damaged(at)),
            }
        }
        self.now = self.now.wrapping_add(1);
        tag[..4].copy_from_slice(&page.wrapping_add(1).to_be_bytes());
        tag[4..].copy_from_slice(&self.now.to_be_bytes());
        self.recent = Some((page, slot));
        Ok(slot)
    }

    /// The slot that holds the page, and `true`; or the slot to put it in, and `false`.
    fn find(&self, tags: &[[u8; TAG_LEN]], page: u32) -> (usize, bool) {
        // Multiplicative hashing: a binary search visits pages whose numbers share their low bits.
        let hash = u64::from(page.wrapping_mul(0x9e37_79b1));
        let first = ((hash * self.sets as u64) >> 32) as usize * self.ways;
        let mut oldest = (first, 0);
        for (slot, &[p3, p2, p1, p0, t3, t2, t1, t0]) in tags.iter().enumerate().skip(first).take(self.ways) {
            let held = u32::from_be_bytes([p3, p2, p1, p0]);
            if held == page.wrapping_add(1) {
                return (slot, true);
            }
            let age = if held == 0 {
                u32::MAX
            } else {
                self.now.wrapping_sub(u32::from_be_bytes([t3, t2, t1, t0]))
            };
            if age >= oldest.1 {
                oldest = (slot, age);
            }
        }
        (oldest.0, false)
    }
}

/// The pages of one run behind a cache.
#[derive(Debug)]
pub(super) struct CachedRun {
    cache: PageCache,
    second: bool,
    /// Pages of the run, which begins with its side of the region.
    pub pages: u32,
    pass: u8,
}

impl CachedRun {
    /// A cache in `memory`, which takes one page at least.
    pub(super) fn new(region: Region, second: bool, pages: u32, pass: u8, memory: &mut [u8]) -> Self {
        Self { cache: PageCache::new(region, memory), second, pages, pass }
    }

    /// The page of this number in the run.
    pub(super) fn page<'a, D: BlockDevice, C: Crc32c>(
        &mut self,
        device: &mut D,
        memory: &'a mut [u8],
        page: u32,
    ) -> Result<&'a [u8; PAGE_LEN], TableError<D::Error>> {
        let at = PageAt { second: self.second, page };
        self.cache.page::<D, C>(device, memory, at, Expected { number: page, pass: self.pass })
    }
}
