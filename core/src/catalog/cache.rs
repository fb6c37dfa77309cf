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

/// The pages of one run on a device, behind a cache. The memory is the table's.
#[derive(Debug)]
pub(super) struct CachedRun {
    region: Region,
    second: bool,
    /// Pages of the run, which begins with its half.
    pub pages: u32,
    pass: u8,
    sets: usize,
    ways: usize,
    now: u32,
    /// The page asked for last, and its slot.
    recent: Option<(u32, usize)>,
}

impl CachedRun {
    /// A cache in `memory`, which takes one page at least.
    pub(super) fn new(region: Region, second: bool, pages: u32, pass: u8, memory: &mut [u8]) -> Self {
        let slots = (memory.len() / (PAGE_LEN + TAG_LEN)).max(1);
        let sets = (slots / WAYS).max(1);
        let ways = slots / sets;
        memory.iter_mut().take(sets * ways * TAG_LEN).for_each(|byte| *byte = 0);
        Self { region, second, pages, pass, sets, ways, now: 0, recent: None }
    }

    /// The page, read from the device unless it is cached.
    pub(super) fn page<'a, D: BlockDevice, C: Crc32c>(
        &mut self,
        device: &mut D,
        memory: &'a mut [u8],
        page: u32,
    ) -> Result<&'a [u8; PAGE_LEN], TableError<D::Error>> {
        let (tags, rest) = memory.split_at_mut((self.sets * self.ways * TAG_LEN).min(memory.len()));
        let slots = rest.as_chunks_mut::<PAGE_LEN>().0;
        let slot = match self.recent {
            Some((recent, slot)) if recent == page => slot,
            _ => self.load::<D, C>(device, tags.as_chunks_mut().0, slots, page)?,
        };
        slots.get(slot).ok_or(self.region.damaged(PageAt { second: self.second, page }))
    }

    /// Brings the page into a slot.
    fn load<D: BlockDevice, C: Crc32c>(
        &mut self,
        device: &mut D,
        tags: &mut [[u8; TAG_LEN]],
        slots: &mut [[u8; PAGE_LEN]],
        page: u32,
    ) -> Result<usize, TableError<D::Error>> {
        let at = PageAt { second: self.second, page };
        let (slot, hit) = self.find(tags, page);
        let (Some(tag), Some(pages)) = (tags.get_mut(slot), slots.get_mut(slot..=slot)) else {
            return Err(self.region.damaged(at));
        };
        self.recent = None;
        if !hit {
            *tag = [0; TAG_LEN];
            self.region.read(device, at, pages)?;
            match PageHeader::parse::<C>(&pages[0]) {
                Some(header) if header.number == page && header.pass == self.pass => {}
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
