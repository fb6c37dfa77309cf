//! Pages and entries as bytes; `docs/catalog.md` has the layout.

use core::cmp::Ordering;

use crate::checksum::Crc32c;
use crate::device::block::BlockDevice;
use crate::limits::{ENTRY_LEN_MAX, PAGE_LEN};

use super::table::{Cursor, TableError};

/// Offset of a page's first entry.
pub(super) const HEADER_LEN: usize = 16;
/// Bytes a page has for entries.
pub(super) const BODY_LEN: usize = PAGE_LEN - HEADER_LEN;
/// Bytes of an entry before its key.
const LENGTHS_LEN: usize = 4;
/// Longest entry as it is stored.
pub(super) const STORED_LEN_MAX: usize = LENGTHS_LEN + ENTRY_LEN_MAX;

const MAGIC: [u8; 4] = *b"TDP1";

const _: () = assert!(BODY_LEN / LENGTHS_LEN <= u8::MAX as usize);
const _: () = assert!(3 * STORED_LEN_MAX <= BODY_LEN);

/// One entry of a table. Entries are ordered by their keys, then by their values, both compared as bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry<'a> {
    /// What it is found by.
    pub key: &'a [u8],
    /// What is kept for the key.
    pub value: &'a [u8],
}

impl<'a> Entry<'a> {
    /// Bytes the entry takes in a page.
    pub(super) const fn stored_len(&self) -> usize {
        LENGTHS_LEN + self.key.len() + self.value.len()
    }

    /// Stores the entry at the front of `bytes`, if it fits.
    pub(super) fn emit(&self, bytes: &mut [u8]) -> Option<()> {
        let (key_len, rest) = bytes.split_first_chunk_mut::<2>()?;
        let (value_len, rest) = rest.split_first_chunk_mut::<2>()?;
        let (key, rest) = rest.split_at_mut_checked(self.key.len())?;
        let value = rest.get_mut(..self.value.len())?;
        *key_len = u16::try_from(self.key.len()).ok()?.to_be_bytes();
        *value_len = u16::try_from(self.value.len()).ok()?.to_be_bytes();
        key.copy_from_slice(self.key);
        value.copy_from_slice(self.value);
        Some(())
    }

    /// The entry at the front of `bytes`, or `None` when there is no whole one.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (&[k1, k0, v1, v0], rest) = bytes.split_first_chunk::<LENGTHS_LEN>()?;
        let (key, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([k1, k0])))?;
        let value = rest.get(..usize::from(u16::from_be_bytes([v1, v0])))?;
        Some(Self { key, value })
    }
}

/// Room for a copy of one entry, for use of the table in between.
#[derive(Clone, Debug)]
pub struct EntryBuf {
    bytes: [u8; ENTRY_LEN_MAX],
    key_len: usize,
    len: usize,
}

impl EntryBuf {
    /// Room that holds an empty entry.
    #[must_use]
    pub const fn new() -> Self {
        Self { bytes: [0; ENTRY_LEN_MAX], key_len: 0, len: 0 }
    }

    /// A copy of an entry; see [`set`](Self::set).
    #[must_use]
    pub fn of(entry: Entry<'_>) -> Self {
        let mut copy = Self::new();
        copy.set(entry);
        copy
    }

    /// Takes a copy. What a table gave always fits; of a longer entry the end is cut off.
    pub fn set(&mut self, entry: Entry<'_>) {
        let key_len = entry.key.len().min(ENTRY_LEN_MAX);
        let (key, rest) = self.bytes.split_at_mut(key_len);
        let value_len = entry.value.len().min(rest.len());
        key.copy_from_slice(&entry.key[..key_len]);
        rest[..value_len].copy_from_slice(&entry.value[..value_len]);
        self.key_len = key_len;
        self.len = key_len + value_len;
    }

    /// The entry.
    #[must_use]
    pub fn entry(&self) -> Entry<'_> {
        let stored = self.bytes.get(..self.len).unwrap_or_default();
        let (key, value) = stored.split_at_checked(self.key_len).unwrap_or_default();
        Entry { key, value }
    }
}

impl Default for EntryBuf {
    fn default() -> Self {
        Self::new()
    }
}

/// The first eight bytes of a key as a number, filled up with zeros. Where those of two keys differ, the keys
/// are in the same order; where they are equal, the keys have to be compared.
pub(super) fn prefix_of(key: &[u8]) -> u64 {
    if let Some(head) = key.first_chunk::<8>() {
        return u64::from_be_bytes(*head);
    }
    let prefix: u64 = key.iter().fold(0, |prefix, &byte| prefix << 8 | u64::from(byte));
    // Wraps for the empty key only, whose prefix is 0 anyway.
    prefix.wrapping_shl(8 * (8 - key.len()) as u32)
}

/// Order of two stored entries whose key prefixes are known.
pub(super) fn compare<'a>(a: (u64, &'a [u8]), b: (u64, &'a [u8])) -> Ordering {
    a.0.cmp(&b.0).then_with(|| Entry::parse(a.1).cmp(&Entry::parse(b.1)))
}

/// What a page's header tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PageHeader {
    /// Position of the page within its run.
    pub number: u32,
    /// Bytes of entries.
    pub used: u16,
    /// Number of entries.
    pub count: u8,
    /// Merge pass that wrote the page.
    pub pass: u8,
}

impl PageHeader {
    /// Completes `page`, whose entries are in place: clears its rest and writes its header.
    pub(super) fn emit<C: Crc32c>(self, salt: u32, page: &mut [u8; PAGE_LEN]) {
        page[HEADER_LEN + usize::from(self.used).min(BODY_LEN)..].fill(0);
        page[4..8].copy_from_slice(&MAGIC);
        page[8..12].copy_from_slice(&self.number.to_be_bytes());
        page[12..14].copy_from_slice(&self.used.to_be_bytes());
        page[14] = self.count;
        page[15] = self.pass;
        let checksum = C::update(salt, &page[4..]);
        page[..4].copy_from_slice(&checksum.to_be_bytes());
    }

    /// The header of a page that is whole: checksum, magic and entries are right. `None` otherwise.
    pub(super) fn parse<C: Crc32c>(salt: u32, page: &[u8; PAGE_LEN]) -> Option<Self> {
        let (checksum, covered) = page.split_first_chunk::<4>()?;
        if C::update(salt, covered) != u32::from_be_bytes(*checksum) || page[4..8] != MAGIC {
            return None;
        }
        let header = Self {
            number: u32::from_be_bytes([page[8], page[9], page[10], page[11]]),
            used: u16::from_be_bytes([page[12], page[13]]),
            count: page[14],
            pass: page[15],
        };
        let mut rest = page.get(HEADER_LEN..HEADER_LEN + usize::from(header.used))?;
        for _ in 0..header.count {
            let len = Entry::parse(rest)?.stored_len();
            if len > STORED_LEN_MAX {
                return None;
            }
            rest = rest.get(len..)?;
        }
        (header.count > 0 && rest.is_empty()).then_some(header)
    }
}

/// Offset after the last entry of a page that was checked.
fn end_of(page: &[u8; PAGE_LEN]) -> usize {
    HEADER_LEN + usize::from(u16::from_be_bytes([page[12], page[13]]))
}

/// The entries of a page that was checked from an offset on (0: from the first), and that offset.
pub(super) fn rest_of(page: &[u8; PAGE_LEN], at: u32) -> (&[u8], usize) {
    let at = (at as usize).max(HEADER_LEN);
    (page.get(at..end_of(page)).unwrap_or_default(), at)
}

/// The entries of a page that was checked.
pub(super) fn entries_of(page: &[u8; PAGE_LEN]) -> impl Iterator<Item = Entry<'_>> {
    let (mut rest, _) = rest_of(page, 0);
    core::iter::from_fn(move || {
        let entry = Entry::parse(rest)?;
        rest = rest.get(entry.stored_len()..).unwrap_or_default();
        Some(entry)
    })
}

/// Offset of the first entry of a page whose key is `key` or above.
pub(super) fn place_of(page: &[u8; PAGE_LEN], key: &[u8]) -> Option<u32> {
    let mut at = HEADER_LEN;
    for entry in entries_of(page) {
        if entry.key >= key {
            return Some(at as u32);
        }
        at += entry.stored_len();
    }
    None
}

/// The entry at a place of a page, and the place behind it.
pub(super) fn entry_at(page: &[u8; PAGE_LEN], cursor: Cursor) -> Option<(Entry<'_>, Cursor)> {
    let (rest, at) = rest_of(page, cursor.at);
    let entry = Entry::parse(rest)?;
    let behind = at + entry.stored_len();
    let moved = if behind < end_of(page) {
        Cursor { page: cursor.page, at: behind as u32 }
    } else {
        Cursor { page: cursor.page.saturating_add(1), at: 0 }
    };
    Some((entry, moved))
}

/// The part of a device that a table may use, in pages. While runs are merged it has two sides: what one pass reads is
/// on the one, what it writes on the other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Region {
    /// First byte on the device.
    start: u64,
    /// Length in pages.
    pub pages: u32,
    /// Where the second side begins; before any merge it is empty.
    pub second_from: u32,
    /// What the checksums of its pages start with.
    pub salt: u32,
}

/// A page of one side of a region.
#[derive(Clone, Copy, Debug)]
pub(super) struct PageAt {
    /// Second side.
    pub second: bool,
    /// Number within the side.
    pub page: u32,
}

impl PageAt {
    /// The page of a region that is not divided.
    pub(super) const fn new(page: u32) -> Self {
        Self { second: false, page }
    }
}

impl Region {
    /// The whole pages within the given bytes.
    pub(super) fn new(start: u64, end: u64, salt: u32) -> Self {
        const PAGE: u64 = PAGE_LEN as u64;
        let start = start.checked_next_multiple_of(PAGE).unwrap_or(u64::MAX);
        let pages = u32::try_from(end.saturating_sub(start) / PAGE).unwrap_or(u32::MAX);
        Self { start, pages, second_from: pages, salt }
    }

    /// What is left from a page on.
    pub(super) fn rest(self, from: u32) -> Self {
        let start = self.byte(PageAt::new(from));
        let pages = self.pages.saturating_sub(from);
        Self { start, pages, second_from: pages, salt: self.salt }
    }

    /// Pages of one side.
    fn side_pages(self, second: bool) -> u32 {
        if second { self.pages.saturating_sub(self.second_from) } else { self.second_from }
    }

    /// Number of the page, counted from the start of the region.
    pub(super) fn page_no(self, at: PageAt) -> u32 {
        at.page.saturating_add(if at.second { self.second_from } else { 0 })
    }

    /// What to report when the page is damaged.
    pub(super) fn damaged<E>(self, at: PageAt) -> TableError<E> {
        TableError::Damaged { page: self.page_no(at).into() }
    }

    /// Reads pages from `at` on into the whole of `pages`, unchecked.
    pub(super) fn read<D: BlockDevice>(
        self,
        device: &mut D,
        at: PageAt,
        pages: &mut [[u8; PAGE_LEN]],
    ) -> Result<(), TableError<D::Error>> {
        let at = self.byte(at);
        device.read(at, pages.as_flattened_mut()).map_err(|source| TableError::Device { at, source })
    }

    /// Writes pages from `at` on.
    pub(super) fn write<D: BlockDevice>(
        self,
        device: &mut D,
        at: PageAt,
        pages: &[[u8; PAGE_LEN]],
    ) -> Result<(), TableError<D::Error>> {
        let at = self.byte(at);
        device.write(at, pages.as_flattened()).map_err(|source| TableError::Device { at, source })
    }

    /// The byte of the device at which a page begins.
    pub(super) fn byte(self, at: PageAt) -> u64 {
        self.start.saturating_add(u64::from(self.page_no(at)).saturating_mul(PAGE_LEN as u64))
    }
}

/// Writes one run.
pub(super) struct RunWriter<'b> {
    region: Region,
    /// Where the first page of `buffer` goes.
    at: PageAt,
    /// Where the run began.
    first: u32,
    pass: u8,
    /// Length of a region that suffices, told when this one does not.
    needed: u64,
    buffer: &'b mut [[u8; PAGE_LEN]],
    /// Page of `buffer` that is being filled.
    open: usize,
    used: usize,
    count: u8,
}

impl<'b> RunWriter<'b> {
    /// A run from `at` on, packed in `buffer`, which must not be empty.
    pub(super) fn new(
        region: Region,
        at: PageAt,
        pass: u8,
        needed: u64,
        buffer: &'b mut [[u8; PAGE_LEN]],
    ) -> Self {
        Self::resumed(region, at.page, at, pass, needed, buffer)
    }

    /// A run that began at the page `first`, gone on with at `at`.
    pub(super) fn resumed(
        region: Region,
        first: u32,
        at: PageAt,
        pass: u8,
        needed: u64,
        buffer: &'b mut [[u8; PAGE_LEN]],
    ) -> Self {
        debug_assert!(!buffer.is_empty());
        Self { region, at, first, pass, needed, buffer, open: 0, used: 0, count: 0 }
    }

    /// Whether a stored entry of this length goes to a page of its own making, as the first one in there.
    pub(super) const fn begins_page(&self, len: usize) -> bool {
        self.count == 0 || self.used + len > BODY_LEN
    }

    /// Appends a stored entry.
    pub(super) fn push<D: BlockDevice, C: Crc32c>(
        &mut self,
        device: &mut D,
        stored: &[u8],
    ) -> Result<(), TableError<D::Error>> {
        if self.used + stored.len() > BODY_LEN {
            self.seal::<C>();
            if self.open == self.buffer.len() {
                self.write_out(device)?;
            }
        }
        let from = HEADER_LEN + self.used;
        if let Some(room) =
            self.buffer.get_mut(self.open).and_then(|page| page.get_mut(from..from + stored.len()))
        {
            room.copy_from_slice(stored);
            self.used += stored.len();
            self.count += 1;
        }
        Ok(())
    }

    /// Writes what is left, and gives the page after the run.
    pub(super) fn finish<D: BlockDevice, C: Crc32c>(
        mut self,
        device: &mut D,
    ) -> Result<u32, TableError<D::Error>> {
        if self.count > 0 {
            self.seal::<C>();
        }
        self.write_out(device)?;
        Ok(self.at.page)
    }

    fn seal<C: Crc32c>(&mut self) {
        let number = self.at.page.wrapping_sub(self.first).wrapping_add(self.open as u32);
        let header = PageHeader { number, used: self.used as u16, count: self.count, pass: self.pass };
        if let Some(page) = self.buffer.get_mut(self.open) {
            header.emit::<C>(self.region.salt, page);
        }
        self.open += 1;
        self.used = 0;
        self.count = 0;
    }

    fn write_out<D: BlockDevice>(&mut self, device: &mut D) -> Result<(), TableError<D::Error>> {
        let pages = self.open as u32;
        if pages > self.region.side_pages(self.at.second).saturating_sub(self.at.page) {
            return Err(TableError::RegionTooSmall { needed: self.needed });
        }
        self.region.write(device, self.at, self.buffer.get(..self.open).unwrap_or_default())?;
        self.at.page += pages;
        self.open = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::{Entry, HEADER_LEN, PAGE_LEN, PageHeader, prefix_of};
    use crate::checksum::{Crc32c, PortableCrc32c};
    use crate::limits::ENTRY_LEN_MAX;
    use std::vec::Vec;

    const STORED: [u8; 15] = *b"\0\x03\0\x02keyab\0\0\0\x02\xff\xfe";

    fn page() -> [u8; PAGE_LEN] {
        let mut page = [0xa5; PAGE_LEN];
        Entry { key: b"key", value: b"ab" }.emit(&mut page[HEADER_LEN..]).unwrap();
        Entry { key: b"", value: &[0xff, 0xfe] }.emit(&mut page[HEADER_LEN + 9..]).unwrap();
        PageHeader { number: 0x0102_0304, used: 15, count: 2, pass: 3 }.emit::<PortableCrc32c>(0, &mut page);
        page
    }

    /// The page with bytes replaced from `at` on, and the checksum made right again.
    fn changed(at: usize, bytes: &[u8]) -> [u8; PAGE_LEN] {
        let mut page = page();
        page[at..at + bytes.len()].copy_from_slice(bytes);
        let checksum = PortableCrc32c::update(0, &page[4..]);
        page[..4].copy_from_slice(&checksum.to_be_bytes());
        page
    }

    #[test]
    fn the_bytes_of_a_page() {
        let page = page();
        assert_eq!(page[4..16], *b"TDP1\x01\x02\x03\x04\0\x0f\x02\x03");
        assert_eq!(page[16..31], STORED);
        assert_eq!(page[31..], [0; PAGE_LEN - 31]);
        assert_eq!(page[..4], PortableCrc32c::update(0, &page[4..]).to_be_bytes());
        let header = PageHeader { number: 0x0102_0304, used: 15, count: 2, pass: 3 };
        assert_eq!(PageHeader::parse::<PortableCrc32c>(0, &page), Some(header));
    }

    #[test]
    fn refuses_every_flipped_bit() {
        for bit in 0..8 * PAGE_LEN {
            let mut page = page();
            page[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(PageHeader::parse::<PortableCrc32c>(0, &page), None, "bit {bit}");
        }
    }

    #[test]
    fn refuses_lengths_that_do_not_add_up_under_a_right_checksum() {
        let parse = |at, bytes: &[u8]| PageHeader::parse::<PortableCrc32c>(0, &changed(at, bytes));
        assert!(parse(16, &STORED).is_some());
        assert_eq!(parse(4, b"TDP2"), None);
        assert_eq!(parse(12, &[0, 14]), None, "used too small");
        assert_eq!(parse(12, &[0, 16]), None, "used too large");
        assert_eq!(parse(12, &[0xff, 0xff]), None, "used beyond the page");
        assert_eq!(parse(14, &[1]), None, "count too small");
        assert_eq!(parse(14, &[3]), None, "count too large");
        assert_eq!(parse(12, &[0, 0, 0]), None, "no entry at all");
        assert_eq!(parse(16, &[0xff, 0xff]), None, "key beyond the page");
        assert_eq!(parse(18, &[0, 3]), None, "value into the next entry");
        let too_long = (ENTRY_LEN_MAX as u16 + 1).to_be_bytes();
        let mut header = [0; 12];
        header[..2].copy_from_slice(&(ENTRY_LEN_MAX as u16 + 5).to_be_bytes());
        header[2] = 1;
        header[4..6].copy_from_slice(&too_long);
        assert_eq!(parse(12, &header), None, "longer than an entry may be");
        header[5] -= 1;
        header[1] -= 1;
        assert!(parse(12, &header).is_some(), "as long as an entry may be");
    }

    #[test]
    fn refuses_a_page_of_another_salt() {
        let mut page = page();
        assert_eq!(PageHeader::parse::<PortableCrc32c>(1, &page), None);
        let header = PageHeader { number: 1, used: 15, count: 2, pass: 0 };
        header.emit::<PortableCrc32c>(7, &mut page);
        assert_eq!(PageHeader::parse::<PortableCrc32c>(7, &page), Some(header));
        assert_eq!(PageHeader::parse::<PortableCrc32c>(0, &page), None);
    }

    #[test]
    fn prefixes_never_contradict_the_order_of_keys() {
        let mut keys: Vec<Vec<u8>> = Vec::new();
        for len in 0..11 {
            for fill in [0, 1, 0x7f, 0xff] {
                for last in [0, 1, 0xff] {
                    let mut key = std::vec![fill; len];
                    key.extend(std::iter::repeat_n(last, len.min(1)));
                    keys.push(key);
                }
            }
        }
        for a in &keys {
            for b in &keys {
                assert!(
                    prefix_of(a).cmp(&prefix_of(b)).is_eq() || prefix_of(a).cmp(&prefix_of(b)) == a.cmp(b)
                );
            }
        }
    }
}
