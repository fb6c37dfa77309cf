//! Reading a sorted table: by key, by prefix, or in order from any place.

use core::fmt;
use core::marker::PhantomData;
use core::ops::Range;

use crate::checksum::{Crc32c, PortableCrc32c};
use crate::device::block::BlockDevice;
use crate::device::{DeviceError, ErrorKind};

use super::cache::CachedRun;
use super::page::{Entry, Region, entry_at, place_of, prefix_of, rest_of};
use super::sort::{SLOT_LEN, slot_entry};

/// Why a table could not be built or read. `E` is the device's error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum TableError<E> {
    /// The lent memory is too small.
    MemoryTooSmall {
        /// Bytes that suffice.
        needed: usize,
    },
    /// Key and value are longer than [`crate::limits::ENTRY_LEN_MAX`].
    EntryTooLong {
        /// Their length in bytes.
        len: usize,
    },
    /// The table's region of the device is too small.
    RegionTooSmall {
        /// Bytes that suffice for the entries so far, the refused one included ([`super::region_len`]).
        needed: u64,
    },
    /// A page is not what was written.
    Damaged {
        /// Its number, counted from the start of the region.
        page: u64,
    },
    /// The device failed.
    Device {
        /// First byte of the failed access.
        at: u64,
        /// Why.
        source: E,
    },
}

impl<E: DeviceError> TableError<E> {
    /// The kind of failure, as of a device.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::MemoryTooSmall { .. } | Self::EntryTooLong { .. } => ErrorKind::Invalid,
            Self::RegionTooSmall { .. } => ErrorKind::Full,
            Self::Damaged { .. } => ErrorKind::Medium,
            Self::Device { source, .. } => source.kind(),
        }
    }
}

impl<E: DeviceError> fmt::Display for TableError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MemoryTooSmall { needed } => write!(f, "a table needs {needed} bytes of memory"),
            Self::EntryTooLong { len } => write!(f, "an entry of {len} bytes is too long for a table"),
            Self::RegionTooSmall { needed } => write!(f, "the table needs {needed} bytes on its device"),
            Self::Damaged { page } => write!(f, "page {page} of the table is damaged"),
            Self::Device { at, source } => write!(f, "byte {at} of the table's device: {}", source.kind()),
        }
    }
}

/// A place in one table: before an entry, or at the end. Any number of them may be used in turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    pub(super) page: u32,
    /// In memory: number of the entry. On a device: offset in the page, 0 for the first entry.
    pub(super) at: u32,
}

impl Cursor {
    /// Before the first entry of any table.
    pub const START: Self = Self { page: 0, at: 0 };
}

/// A sorted table, made by [`super::TableBuilder`].
///
/// The device is lent for each call; it must be the one the table was built on.
#[derive(Debug)]
pub struct Table<'m, C = PortableCrc32c> {
    memory: &'m mut [u8],
    entries: u64,
    store: Store,
    crc: PhantomData<fn() -> C>,
}

#[derive(Debug)]
enum Store {
    /// The entries are in memory, and slots in order at these bytes.
    Memory(Range<usize>),
    /// The memory is a cache.
    Device(CachedRun),
}

impl<'m, C: Crc32c> Table<'m, C> {
    pub(super) fn in_memory(memory: &'m mut [u8], slots: Range<usize>) -> Self {
        let entries = (slots.len() / SLOT_LEN) as u64;
        Self { memory, entries, store: Store::Memory(slots), crc: PhantomData }
    }

    pub(super) fn on_device(
        memory: &'m mut [u8],
        entries: u64,
        region: Region,
        second: bool,
        pages: u32,
        pass: u8,
    ) -> Self {
        let run = CachedRun::new(region, second, pages, pass, memory);
        Self { memory, entries, store: Store::Device(run), crc: PhantomData }
    }

    /// Number of entries.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.entries
    }

    /// Whether there is no entry.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// Gives the lent memory back.
    #[must_use]
    pub fn into_memory(self) -> &'m mut [u8] {
        self.memory
    }

    /// The place before the first entry whose key is `key` or above.
    ///
    /// # Errors
    /// A page is damaged, or the device failed.
    pub fn seek<D: BlockDevice>(
        &mut self,
        device: &mut D,
        key: &[u8],
    ) -> Result<Cursor, TableError<D::Error>> {
        match &mut self.store {
            Store::Memory(slots) => {
                let slots = self.memory.get(slots.clone()).unwrap_or_default().as_chunks().0;
                let prefix = prefix_of(key);
                let at = slots.partition_point(|slot| {
                    let (slot_prefix, bytes) = slot_entry(slot, self.memory);
                    slot_prefix < prefix
                        || (slot_prefix == prefix && Entry::parse(bytes).is_some_and(|entry| entry.key < key))
                });
                Ok(Cursor { page: 0, at: at as u32 })
            }
            Store::Device(run) => seek_page::<D, C>(device, run, self.memory, key),
        }
    }

    /// The entry behind the place, which moves on; `None` at the end.
    ///
    /// # Errors
    /// A page is damaged, or the device failed. The place stays.
    pub fn next<D: BlockDevice>(
        &mut self,
        device: &mut D,
        cursor: &mut Cursor,
    ) -> Result<Option<Entry<'_>>, TableError<D::Error>> {
        let damaged = TableError::Damaged { page: u64::from(cursor.page) };
        match &mut self.store {
            Store::Memory(slots) => {
                let slots = self.memory.get(slots.clone()).unwrap_or_default().as_chunks().0;
                let Some(slot) = slots.get(cursor.at as usize) else {
                    return Ok(None);
                };
                let entry = Entry::parse(slot_entry(slot, self.memory).1).ok_or(damaged)?;
                cursor.at += 1;
                Ok(Some(entry))
            }
            Store::Device(run) => {
                if cursor.page >= run.pages {
                    return Ok(None);
                }
                let page = run.page::<D, C>(device, self.memory, cursor.page)?;
                let (entry, moved) = entry_at(page, *cursor).ok_or(damaged)?;
                *cursor = moved;
                Ok(Some(entry))
            }
        }
    }

    /// As [`next`](Self::next), while keys begin with `prefix`: `None` and the place stays at one that does not.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub fn next_with_prefix<D: BlockDevice>(
        &mut self,
        device: &mut D,
        cursor: &mut Cursor,
        prefix: &[u8],
    ) -> Result<Option<Entry<'_>>, TableError<D::Error>> {
        let before = *cursor;
        let entry = self.next(device, cursor)?.filter(|entry| entry.key.starts_with(prefix));
        if entry.is_none() {
            *cursor = before;
        }
        Ok(entry)
    }

    /// The first entry whose key begins with `prefix`.
    ///
    /// # Errors
    /// A page is damaged, or the device failed.
    pub fn first_with_prefix<D: BlockDevice>(
        &mut self,
        device: &mut D,
        prefix: &[u8],
    ) -> Result<Option<Entry<'_>>, TableError<D::Error>> {
        let mut cursor = self.seek(device, prefix)?;
        self.next_with_prefix(device, &mut cursor, prefix)
    }

    /// The first entry of this key.
    ///
    /// # Errors
    /// A page is damaged, or the device failed.
    pub fn find<D: BlockDevice>(
        &mut self,
        device: &mut D,
        key: &[u8],
    ) -> Result<Option<Entry<'_>>, TableError<D::Error>> {
        let mut cursor = self.seek(device, key)?;
        Ok(self.next(device, &mut cursor)?.filter(|entry| entry.key == key))
    }
}

/// The first place in the run whose key is `key` or above.
fn seek_page<D: BlockDevice, C: Crc32c>(
    device: &mut D,
    run: &mut CachedRun,
    memory: &mut [u8],
    key: &[u8],
) -> Result<Cursor, TableError<D::Error>> {
    // Pages below `low` begin below the key; those from `high` on do not.
    let (mut low, mut high) = (0, run.pages);
    while low < high {
        let middle = low + (high - low) / 2;
        let page = run.page::<D, C>(device, memory, middle)?;
        let first = Entry::parse(rest_of(page, 0).0);
        if first.is_some_and(|first| first.key < key) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    // The last page that begins below the key may hold it further on.
    let Some(last) = low.checked_sub(1) else {
        return Ok(Cursor::START);
    };
    let page = run.page::<D, C>(device, memory, last)?;
    Ok(match place_of(page, key) {
        Some(at) => Cursor { page: last, at },
        None => Cursor { page: low, at: 0 },
    })
}
