//! Pages as bytes; `docs/history.md` has the layout.

use zerocopy::byteorder::{BE, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::HistoryId;
use crate::checksum::Crc32c;
use crate::limits::PAGE_LEN;

/// Number of the first page of the log: the two before are the copies of the superblock.
pub(super) const PAGES_AT: u32 = 2;
/// Bytes of a page before its part of the payload.
pub(super) const HEAD_LEN: usize = 48;
/// Bytes of payload in a page.
pub(super) const BODY_LEN: usize = PAGE_LEN - HEAD_LEN;
/// Most pages of a record.
pub(super) const RECORD_PAGES_MAX: usize = 10;

const SUPERBLOCK_MAGIC: [u8; 4] = *b"TDS1";
const RECORD_MAGIC: [u8; 4] = *b"TDL1";

const _: () = assert!(size_of::<RawHead>() == HEAD_LEN);
const _: () = assert!(super::encode::PAYLOAD_LEN_MAX <= RECORD_PAGES_MAX * BODY_LEN);

/// A page of bytes.
pub(super) type Page = [u8; PAGE_LEN];

/// The part of a device that a history uses, in pages.
#[derive(Clone, Copy, Debug)]
pub(super) struct Region {
    /// First byte on the device.
    pub start: u64,
    /// Number of pages.
    pub pages: u32,
}

impl Region {
    /// The whole pages within the given bytes.
    pub(super) fn new(start: u64, end: u64) -> Self {
        const PAGE: u64 = PAGE_LEN as u64;
        let start = start.checked_next_multiple_of(PAGE).unwrap_or(u64::MAX);
        let pages = end.saturating_sub(start) / PAGE;
        Self { start, pages: u32::try_from(pages).unwrap_or(u32::MAX) }
    }

    /// Where a page begins on the device.
    pub(super) const fn byte(self, page: u32) -> u64 {
        self.start.saturating_add(Self::len_of(page))
    }

    /// Bytes that so many pages take.
    pub(super) const fn len_of(pages: u32) -> u64 {
        pages as u64 * PAGE_LEN as u64
    }
}

/// What is recorded, and how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Superblock {
    pub id: HistoryId,
    /// The higher one of two copies is the newer one.
    pub generation: u64,
    /// Sequence number of the record after the last.
    pub next_sequence: u64,
    /// Page after the last record.
    pub end: u32,
}

#[repr(C)]
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
struct RawSuperblock {
    checksum: U32<BE>,
    magic: [u8; 4],
    id: HistoryId,
    generation: U64<BE>,
    next_sequence: U64<BE>,
    end: U32<BE>,
}

impl Superblock {
    pub(super) fn emit<C: Crc32c>(&self, page: &mut Page) {
        page.fill(0);
        if let Ok((raw, _)) = RawSuperblock::mut_from_prefix(page) {
            raw.magic = SUPERBLOCK_MAGIC;
            raw.id = self.id;
            raw.generation = self.generation.into();
            raw.next_sequence = self.next_sequence.into();
            raw.end = self.end.into();
        }
        seal::<C>(page);
    }

    /// The superblock of a genuine page.
    pub(super) fn parse<C: Crc32c>(page: &Page) -> Option<Self> {
        let (raw, _) = RawSuperblock::ref_from_prefix(page).ok()?;
        if !is_sealed::<C>(page) || raw.magic != SUPERBLOCK_MAGIC || raw.end.get() < PAGES_AT {
            return None;
        }
        Some(Self {
            id: raw.id,
            generation: raw.generation.get(),
            next_sequence: raw.next_sequence.get(),
            end: raw.end.get(),
        })
    }
}

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A dump.
    Entry,
    /// An entry is no longer valid.
    Removal,
}

/// What the pages of a record have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordHead {
    pub id: HistoryId,
    pub sequence: u64,
    /// CRC32C of the payload, which tells the pages of one record from those of another that was cut off by the power.
    pub payload_checksum: u32,
    /// Bytes.
    pub payload_len: usize,
    pub kind: Kind,
}

#[repr(C)]
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
struct RawHead {
    checksum: U32<BE>,
    magic: [u8; 4],
    id: HistoryId,
    sequence: U64<BE>,
    payload_checksum: U32<BE>,
    payload_len: U32<BE>,
    index: u8,
    kind: u8,
    reserved: [u8; 6],
}

impl RecordHead {
    /// Pages of the record.
    pub(super) const fn pages(&self) -> u32 {
        self.payload_len.div_ceil(BODY_LEN) as u32
    }

    /// Completes a page of the record, whose part of the payload is in place.
    pub(super) fn emit<C: Crc32c>(&self, index: usize, page: &mut Page) {
        if let Ok((raw, _)) = RawHead::mut_from_prefix(page) {
            raw.magic = RECORD_MAGIC;
            raw.id = self.id;
            raw.sequence = self.sequence.into();
            raw.payload_checksum = self.payload_checksum.into();
            raw.payload_len = (self.payload_len as u32).into();
            raw.index = index as u8;
            raw.kind = match self.kind {
                Kind::Entry => 1,
                Kind::Removal => 2,
            };
            raw.reserved = [0; 6];
        }
        seal::<C>(page);
    }

    /// The head in a genuine page that is the `index`-th of its record.
    pub(super) fn parse<C: Crc32c>(index: usize, page: &Page) -> Option<Self> {
        let (raw, _) = RawHead::ref_from_prefix(page).ok()?;
        if !is_sealed::<C>(page) || raw.magic != RECORD_MAGIC || usize::from(raw.index) != index {
            return None;
        }
        let kind = match raw.kind {
            1 => Kind::Entry,
            2 => Kind::Removal,
            _ => return None,
        };
        let payload_len = raw.payload_len.get() as usize;
        if payload_len == 0 || payload_len > RECORD_PAGES_MAX * BODY_LEN {
            return None;
        }
        Some(Self {
            id: raw.id,
            sequence: raw.sequence.get(),
            payload_checksum: raw.payload_checksum.get(),
            payload_len,
            kind,
        })
    }
}

fn checksum_of<C: Crc32c>(page: &Page) -> u32 {
    page.split_first_chunk::<4>().map_or(0, |(_, covered)| C::update(0, covered))
}

fn seal<C: Crc32c>(page: &mut Page) {
    let checksum = checksum_of::<C>(page);
    page[..4].copy_from_slice(&checksum.to_be_bytes());
}

fn is_sealed<C: Crc32c>(page: &Page) -> bool {
    page[..4] == checksum_of::<C>(page).to_be_bytes()
}
