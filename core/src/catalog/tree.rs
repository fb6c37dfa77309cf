//! Static search trees: a sorted run of pages, and levels of index pages behind it, each of which names the pages of
//! the level below by keys that tell them apart. `docs/catalog.md` has the layout.

use crate::checksum::Crc32c;
use crate::device::block::BlockDevice;
use crate::limits::PAGE_LEN;

use super::cache::{Expected, PageCache};
use super::page::{
    Entry, EntryBuf, PageAt, PageHeader, Region, RunWriter, STORED_LEN_MAX, entries_of, entry_at, place_of,
};
use super::row::Bytes;
use super::table::{Cursor, TableError};

/// Most levels of an index: pages hold three entries at least, and a region no more than 2^32 pages.
pub(super) const LEVELS_MAX: usize = 21;
const _: () = assert!(3u64.pow(LEVELS_MAX as u32) > u32::MAX as u64);

/// In the place of the merge pass: a page of the index; the level, from 1, is added.
const INDEX_MARK: u8 = 0x80;

/// Pages read at once while a tree is gone through from end to end.
const READ_PAGES_MAX: usize = 8;

/// Where a tree is in its region: the leaves, then level after level of the index, the last of which is one page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tree {
    /// First page.
    pub first: u32,
    /// Merge pass that wrote the leaves.
    pub pass: u8,
    /// Number of entries.
    pub entries: u64,
    /// Pages of the leaves, and of each level of the index; 0 above the last.
    pub levels: [u32; LEVELS_MAX + 1],
}

impl Tree {
    /// Page after the tree.
    pub(super) fn end(&self) -> Option<u32> {
        self.levels.iter().try_fold(self.first, |end, pages| end.checked_add(*pages))
    }

    /// Whether the levels make a tree: none without the one below, and one page at the top.
    pub(super) fn is_sound(&self) -> bool {
        let used = self.levels.iter().take_while(|pages| **pages > 0).count();
        let above = self.levels.iter().skip(used).all(|pages| *pages == 0);
        let top = used.checked_sub(1).and_then(|top| self.levels.get(top));
        above && top.is_none_or(|pages| *pages == 1) && self.end().is_some() && self.pass < INDEX_MARK
    }

    /// First page of a level, 0 for the leaves.
    fn level_from(&self, level: usize) -> u32 {
        self.levels.iter().take(level).fold(self.first, |from, pages| from.wrapping_add(*pages))
    }

    fn pages(&self, level: usize) -> u32 {
        self.levels.get(level).copied().unwrap_or(0)
    }

    fn expected(&self, level: usize, number: u32) -> Expected {
        let pass = if level == 0 { self.pass } else { INDEX_MARK | level as u8 };
        Expected { number, pass }
    }

    /// What the page `number` of the region must say of itself, if it is one of this tree.
    pub(super) fn expected_at(&self, number: u32) -> Option<Expected> {
        let mut within = number.checked_sub(self.first)?;
        for (level, pages) in self.levels.iter().enumerate() {
            match within.checked_sub(*pages) {
                None => return Some(self.expected(level, within)),
                Some(rest) => within = rest,
            }
        }
        None
    }

    /// Writes the index of leaves that are in place.
    pub(super) fn build_index<D: BlockDevice, C: Crc32c>(
        &mut self,
        region: Region,
        device: &mut D,
        memory: &mut [u8],
        needed: u64,
    ) -> Result<(), TableError<D::Error>> {
        for level in 0..LEVELS_MAX {
            let pages = self.pages(level);
            if pages <= 1 {
                break;
            }
            let (from, to) = (self.level_from(level), self.level_from(level + 1));
            let buffer = memory.as_chunks_mut::<PAGE_LEN>().0;
            let (output, input) = buffer.split_at_mut_checked(buffer.len() / 4).unwrap_or_default();
            let mark = INDEX_MARK | (level + 1) as u8;
            let mut writer = RunWriter::new(region, PageAt::new(to), mark, needed, output);
            let mut scan = Scan::new(region, self.expected(level, 0).pass, from, pages);
            let mut separator = Separator::new(level);
            while let Some((number, page)) = scan.next::<D, C>(device, input)? {
                let damaged = region.damaged(PageAt::new(from.wrapping_add(number)));
                separator.go_on(page);
                let len = separator.entry(&separator.value(None)).stored_len();
                let value = separator.value(writer.begins_page(len).then_some(number));
                let entry = separator.entry(&value);
                let mut stored = [0; STORED_LEN_MAX];
                let stored = entry.emit(&mut stored).and_then(|()| stored.get(..entry.stored_len()));
                writer.push::<D, C>(device, stored.ok_or(damaged)?)?;
            }
            let end = writer.finish::<D, C>(device)?;
            if let Some(above) = self.levels.get_mut(level + 1) {
                *above = end.saturating_sub(to);
            }
        }
        Ok(())
    }

    /// The place before the first entry whose key is `key` or above.
    pub(super) fn seek<D: BlockDevice, C: Crc32c>(
        &self,
        cache: &mut PageCache,
        device: &mut D,
        memory: &mut [u8],
        key: &[u8],
    ) -> Result<Cursor, TableError<D::Error>> {
        let mut number = 0;
        for level in (1..=LEVELS_MAX).rev().filter(|level| self.pages(*level) > 0) {
            let at = PageAt::new(self.level_from(level).wrapping_add(number));
            let page = cache.page::<D, C>(device, memory, at, self.expected(level, number))?;
            let child = child_for(page, key).filter(|child| *child < self.pages(level - 1));
            number = child.ok_or(cache.region().damaged(at))?;
        }
        if self.pages(0) == 0 {
            return Ok(Cursor::START);
        }
        let page = self.leaf::<D, C>(cache, device, memory, number)?;
        Ok(match place_of(page, key) {
            Some(at) => Cursor { page: number, at },
            None => Cursor { page: number.saturating_add(1), at: 0 },
        })
    }

    /// The entry behind the place, which moves on; `None` at the end.
    pub(super) fn next<'a, D: BlockDevice, C: Crc32c>(
        &self,
        cache: &mut PageCache,
        device: &mut D,
        memory: &'a mut [u8],
        cursor: &mut Cursor,
    ) -> Result<Option<Entry<'a>>, TableError<D::Error>> {
        if cursor.page >= self.pages(0) {
            return Ok(None);
        }
        let damaged = self.damaged(cache.region(), cursor.page);
        let page = self.leaf::<D, C>(cache, device, memory, cursor.page)?;
        let (entry, moved) = entry_at(page, *cursor).ok_or(damaged)?;
        *cursor = moved;
        Ok(Some(entry))
    }

    /// What to report when a leaf does not hold what it should.
    pub(super) fn damaged<E>(&self, region: Region, leaf: u32) -> TableError<E> {
        region.damaged(PageAt::new(self.first.wrapping_add(leaf)))
    }

    fn leaf<'a, D: BlockDevice, C: Crc32c>(
        &self,
        cache: &mut PageCache,
        device: &mut D,
        memory: &'a mut [u8],
        number: u32,
    ) -> Result<&'a [u8; PAGE_LEN], TableError<D::Error>> {
        let at = PageAt::new(self.first.wrapping_add(number));
        cache.page::<D, C>(device, memory, at, self.expected(0, number))
    }

    /// All leaves, one after the other.
    pub(super) fn scan(&self, region: Region) -> Scan {
        Scan::new(region, self.pass, self.first, self.pages(0))
    }
}

/// The child of an index page that holds the first entry whose key is `key` or above, or the last entry below.
fn child_for(page: &[u8; PAGE_LEN], key: &[u8]) -> Option<u32> {
    let mut child = None;
    for entry in entries_of(page) {
        child = Some(match child {
            None => u32::from_be_bytes(*entry.value.first_chunk()?),
            Some(child) if entry.key < key || (entry.key == key && !goes_on(entry)) => child + 1,
            Some(_) => break,
        });
    }
    child
}

/// Whether the child begins with the key that the one before it ends with.
fn goes_on(entry: Entry<'_>) -> bool {
    entry.value.len() % 4 == 1
}

/// What tells a page from the one before it: the shortest key above all of that one's, and not above any of its own.
struct Separator {
    level: usize,
    /// Of the leaves: the last entry of the page before.
    before: Option<EntryBuf>,
    key: EntryBuf,
    goes_on: bool,
}

impl Separator {
    fn new(level: usize) -> Self {
        Self { level, before: None, key: EntryBuf::new(), goes_on: false }
    }

    /// Goes on to the next page.
    fn go_on(&mut self, page: &[u8; PAGE_LEN]) {
        let mut entries = entries_of(page);
        let Some(first) = entries.next() else { return };
        if self.level > 0 {
            // The page below is an index page itself, whose first key is such a separator.
            self.key.set(Entry { key: first.key, value: &[] });
            self.goes_on = goes_on(first);
            return;
        }
        if let Some(before) = &self.before {
            let before = before.entry().key;
            let same = before.iter().zip(first.key).take_while(|(a, b)| a == b).count();
            self.key.set(Entry { key: first.key.get(..same + 1).unwrap_or(first.key), value: &[] });
            self.goes_on = before == first.key;
        }
        self.before = Some(EntryBuf::of(entries.last().unwrap_or(first)));
    }

    /// What is kept with the key: for the first one of a page the number of the child.
    fn value(&self, child: Option<u32>) -> Bytes<5> {
        let mut value = Bytes::new();
        if let Some(child) = child {
            value.put(&child.to_be_bytes());
        }
        if self.goes_on {
            value.put(&[1]);
        }
        value
    }

    fn entry<'a>(&'a self, value: &'a Bytes<5>) -> Entry<'a> {
        Entry { key: self.key.entry().key, value: value.get() }
    }
}

/// A page, and its number in its run.
type Numbered<'b> = (u32, &'b [u8; PAGE_LEN]);

/// Pages of one run, read in order, several at once.
pub(super) struct Scan {
    region: Region,
    pass: u8,
    from: u32,
    pages: u32,
    /// The page to read next from the device.
    next: u32,
    /// Pages in the buffer, and the one to give next.
    buffered: usize,
    at: usize,
}

impl Scan {
    fn new(region: Region, pass: u8, from: u32, pages: u32) -> Self {
        Self { region, pass, from, pages, next: 0, buffered: 0, at: 0 }
    }

    /// The next page and its number, by way of a buffer that is the same each time and not empty.
    pub(super) fn next<'b, D: BlockDevice, C: Crc32c>(
        &mut self,
        device: &mut D,
        buffer: &'b mut [[u8; PAGE_LEN]],
    ) -> Result<Option<Numbered<'b>>, TableError<D::Error>> {
        if self.at >= self.buffered {
            let left = self.pages.saturating_sub(self.next) as usize;
            let pages = left.min(buffer.len()).min(READ_PAGES_MAX);
            if pages == 0 {
                return Ok(None);
            }
            let at = PageAt::new(self.from.wrapping_add(self.next));
            self.region.read(device, at, buffer.get_mut(..pages).unwrap_or_default())?;
            self.next += pages as u32;
            self.buffered = pages;
            self.at = 0;
        }
        let number = self.next.wrapping_sub((self.buffered - self.at) as u32);
        let page = buffer.get(self.at);
        self.at += 1;
        let genuine = page.filter(|page| {
            PageHeader::parse::<C>(self.region.salt, page)
                .is_some_and(|header| header.number == number && header.pass == self.pass)
        });
        let at = PageAt::new(self.from.wrapping_add(number));
        genuine.map(|page| Some((number, page))).ok_or(self.region.damaged(at))
    }
}
