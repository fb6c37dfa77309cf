//! Restartable contexts: what is kept of a dump so that it goes on after it ended early (R-RESTART), on a [`BlockDevice`].
//!
//! A device holds one context, twice: what is stored next goes to the place of the older one, and counts once its head is
//! durable. Whatever is cut off, a context that was stored is there, or the one before it. `docs/context.md` has the layout.

mod record;
#[cfg(test)]
mod tests;

use core::fmt;
use core::marker::PhantomData;
use core::ops::Range;

use zerocopy::byteorder::{BE, U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

pub use record::{BackupStatus, ContextRecord, ContextState};

use crate::checksum::{Crc32c, PortableCrc32c};
use crate::device::block::BlockDevice;
use crate::device::{DeviceError, ErrorKind};
use crate::limits::PAGE_LEN;

const MAGIC: [u8; 4] = *b"TDX1";
/// Parts of a context.
const PARTS: usize = 8;

type Page = [u8; PAGE_LEN];

/// What a context consists of. All but the record may be empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u8)]
pub enum Part {
    /// The [`ContextRecord`].
    Record,
    /// What the caller needs to make the same dump again: paths, names, options; in a form of his own.
    Request,
    /// The dump's [`DumpState`](crate::engine::dump::restart::DumpState).
    State,
    /// The catalog's [`SuspendedCatalog`](crate::catalog::SuspendedCatalog).
    Catalog,
    /// The stream behind the last record on tape.
    Rest,
    /// Map of the objects in use.
    InUse,
    /// Map of the objects still to be dumped.
    Pending,
    /// Map of the objects that a restore of the chain gives rightly.
    Known,
}

/// The parts of a context, each at the place that [`Part`] gives it.
pub type Parts<'p> = [&'p [u8]; PARTS];

/// Why a context cannot be stored or read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ContextError<E> {
    /// None was stored.
    Absent,
    /// Both copies are not what was stored.
    Damaged,
    /// The device is too small.
    DeviceTooSmall {
        /// Bytes that suffice.
        needed: u64,
    },
    /// The memory lent is shorter than the part.
    MemoryTooSmall {
        /// Bytes needed.
        needed: u64,
    },
    /// The device failed.
    Device(E),
}

impl<E: fmt::Display> fmt::Display for ContextError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("no context was stored"),
            Self::Damaged => f.write_str("both copies are damaged"),
            Self::DeviceTooSmall { needed } => write!(f, "the device is too small: {needed} bytes suffice"),
            Self::MemoryTooSmall { needed } => write!(f, "the memory is too small: {needed} bytes suffice"),
            Self::Device(error) => error.fmt(f),
        }
    }
}

impl<E: DeviceError> ContextError<E> {
    /// What to make of it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Absent => ErrorKind::NotFound,
            Self::Damaged => ErrorKind::Medium,
            Self::DeviceTooSmall { .. } | Self::MemoryTooSmall { .. } => ErrorKind::Full,
            Self::Device(error) => error.kind(),
        }
    }
}

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawPart {
    len: U64<BE>,
    checksum: U32<BE>,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawHead {
    /// Of all behind it in the page.
    checksum: U32<BE>,
    magic: [u8; 4],
    /// The higher one of two copies is the newer one.
    sequence: U64<BE>,
    parts: [RawPart; PARTS],
}

const _: () = assert!(size_of::<RawHead>() <= PAGE_LEN);

impl RawHead {
    fn of<C: Crc32c>(page: &Page) -> Option<Self> {
        let (head, _) = Self::read_from_prefix(page).ok()?;
        let covered = page.get(4..)?;
        let is_genuine = head.magic == MAGIC && head.checksum.get() == C::update(0, covered);
        is_genuine.then_some(head)
    }

    /// First byte of a part in its copy, and its length.
    fn place(&self, part: Part) -> (u64, u64) {
        let before = self.parts.iter().take(part as usize);
        let at = before.fold(PAGE_LEN as u64, |at, part| at.saturating_add(whole_pages(part.len.get())));
        (at, self.parts.get(part as usize).map_or(0, |part| part.len.get()))
    }
}

const fn whole_pages(len: u64) -> u64 {
    len.div_ceil(PAGE_LEN as u64).saturating_mul(PAGE_LEN as u64)
}

/// Bytes on the device that hold a context whose parts have these lengths.
#[must_use]
pub fn region_len(parts: &[u64]) -> u64 {
    let copy = parts.iter().fold(PAGE_LEN as u64, |sum, len| sum.saturating_add(whole_pages(*len)));
    copy.saturating_mul(2)
}

/// The place of one context on a device. See the [module](self).
#[derive(Debug)]
pub struct ContextStore<D, C = PortableCrc32c> {
    device: D,
    start: u64,
    /// Bytes of a copy.
    copy_len: u64,
    page: Page,
    /// Which copy is the newer one, and its head's sequence number.
    newest: Option<(u64, u64)>,
    /// Whoever stored the newer one may have been cut off before it was durable.
    doubtful: bool,
    crc: PhantomData<fn() -> C>,
}

impl<D: BlockDevice> ContextStore<D> {
    /// A place without a context: whatever is there, it is overwritten by what is stored first and next.
    pub fn blank(device: D, region: Range<u64>) -> Self {
        Self::blank_with_crc(device, region)
    }

    /// The context that was stored here, read through once. Where storing it failed or was cut off, the device may lose it
    /// again for the one before: who gives up something because of what it says, such as a snapshot, flushes the device first.
    ///
    /// # Errors
    /// There is none, it is damaged, or the device failed.
    pub fn open(device: D, region: Range<u64>) -> Result<Self, ContextError<D::Error>> {
        Self::open_with_crc(device, region)
    }
}

impl<D: BlockDevice, C: Crc32c> ContextStore<D, C> {
    /// As [`blank`](ContextStore::blank), with another provider of CRC32C.
    pub fn blank_with_crc(device: D, region: Range<u64>) -> Self {
        let end = region.end.min(device.capacity());
        let start = region.start.checked_next_multiple_of(PAGE_LEN as u64).unwrap_or(u64::MAX);
        let copy_len = end.saturating_sub(start) / (2 * PAGE_LEN as u64) * PAGE_LEN as u64;
        Self { device, start, copy_len, page: [0; PAGE_LEN], newest: None, doubtful: false, crc: PhantomData }
    }

    /// As [`open`](ContextStore::open), with another provider of CRC32C.
    ///
    /// # Errors
    /// As [`open`](ContextStore::open).
    pub fn open_with_crc(device: D, region: Range<u64>) -> Result<Self, ContextError<D::Error>> {
        let mut store = Self::blank_with_crc(device, region);
        let mut seen = false;
        let mut sequences = [None; 2];
        for (copy, sequence) in (0..).zip(&mut sequences) {
            store.read_page(copy, 0)?;
            seen |= store.page.get(4..8) == Some(&MAGIC);
            *sequence = RawHead::of::<C>(&store.page).map(|head| head.sequence.get());
        }
        let newer_first = if sequences[1] > sequences[0] { [1_u64, 0] } else { [0, 1] };
        for copy in newer_first {
            if let Some(sequence) = store.check(copy)? {
                (store.newest, store.doubtful) = (Some((copy, sequence)), true);
                return Ok(store);
            }
        }
        Err(if seen { ContextError::Damaged } else { ContextError::Absent })
    }

    /// Gives the device back.
    #[must_use]
    pub fn into_device(self) -> D {
        self.device
    }

    /// Stores a context in the place of the older copy. When it fails, what was stored before is still there.
    ///
    /// # Errors
    /// The device is too small, or failed.
    pub fn store(&mut self, parts: &Parts<'_>) -> Result<(), ContextError<D::Error>> {
        let needed = region_len(&parts.map(|part| part.len() as u64));
        if needed / 2 > self.copy_len {
            return Err(ContextError::DeviceTooSmall { needed });
        }
        if self.doubtful {
            // The older copy is given up only for one that is durable.
            self.device.flush().map_err(ContextError::Device)?;
            self.doubtful = false;
        }
        let (copy, sequence) = self.newest.map_or((0, 1), |(copy, last)| (1 - copy, last.wrapping_add(1)));
        let mut head = RawHead::new_zeroed();
        (head.magic, head.sequence) = (MAGIC, sequence.into());
        let mut at = PAGE_LEN as u64;
        for (part, raw) in parts.iter().zip(&mut head.parts) {
            raw.len = (part.len() as u64).into();
            raw.checksum = C::update(0, part).into();
            at = at.saturating_add(self.write(copy, at, part)?);
        }
        self.device.flush().map_err(ContextError::Device)?;
        self.page.fill(0);
        let _ = head.write_to_prefix(&mut self.page);
        head.checksum = C::update(0, self.page.get(4..).unwrap_or_default()).into();
        let _ = head.write_to_prefix(&mut self.page);
        let byte = self.byte(copy, 0);
        self.device.write(byte, &self.page).map_err(ContextError::Device)?;
        self.device.flush().map_err(ContextError::Device)?;
        self.newest = Some((copy, sequence));
        Ok(())
    }

    /// Length of a part.
    ///
    /// # Errors
    /// There is no context, or the device failed.
    pub fn len(&mut self, part: Part) -> Result<u64, ContextError<D::Error>> {
        let (_, head) = self.head()?;
        Ok(head.place(part).1)
    }

    /// Reads a part to the front of `buf`; gives its length.
    ///
    /// # Errors
    /// There is no context, it is damaged, does not fit, or the device failed.
    pub fn read(&mut self, part: Part, buf: &mut [u8]) -> Result<usize, ContextError<D::Error>> {
        let (copy, head) = self.head()?;
        let (at, len) = head.place(part);
        let buf = usize::try_from(len).ok().and_then(|len| buf.get_mut(..len));
        let buf = buf.ok_or(ContextError::MemoryTooSmall { needed: len })?;
        let (pages, tail) = buf.as_chunks_mut::<PAGE_LEN>();
        for (page, at) in pages.iter_mut().zip((at..).step_by(PAGE_LEN)) {
            let byte = self.byte(copy, at);
            self.device.read(byte, page).map_err(ContextError::Device)?;
        }
        if !tail.is_empty() {
            self.read_page(copy, at.saturating_add(pages.len() as u64 * PAGE_LEN as u64))?;
            tail.iter_mut().zip(self.page.iter()).for_each(|(to, from)| *to = *from);
        }
        let checksum = head.parts.get(part as usize).map_or(0, |part| part.checksum.get());
        if C::update(0, buf) != checksum {
            return Err(ContextError::Damaged);
        }
        Ok(buf.len())
    }

    fn head(&mut self) -> Result<(u64, RawHead), ContextError<D::Error>> {
        let (copy, sequence) = self.newest.ok_or(ContextError::Absent)?;
        self.read_page(copy, 0)?;
        let head = RawHead::of::<C>(&self.page).filter(|head| head.sequence.get() == sequence);
        Ok((copy, head.ok_or(ContextError::Damaged)?))
    }

    /// The sequence number of a copy all of which is what was stored.
    fn check(&mut self, copy: u64) -> Result<Option<u64>, ContextError<D::Error>> {
        self.read_page(copy, 0)?;
        let Some(head) = RawHead::of::<C>(&self.page) else { return Ok(None) };
        let lens = head.parts.map(|part| part.len.get());
        if region_len(&lens) / 2 > self.copy_len {
            return Ok(None);
        }
        let mut at = PAGE_LEN as u64;
        for part in &head.parts {
            let (mut left, mut crc) = (part.len.get(), 0);
            while left > 0 {
                self.read_page(copy, at)?;
                let len = left.min(PAGE_LEN as u64);
                crc = C::update(crc, self.page.get(..len as usize).unwrap_or_default());
                (left, at) = (left - len, at.saturating_add(PAGE_LEN as u64));
            }
            if crc != part.checksum.get() {
                return Ok(None);
            }
        }
        Ok(Some(head.sequence.get()))
    }

    /// Writes a part in whole pages; gives how much they take.
    fn write(&mut self, copy: u64, at: u64, part: &[u8]) -> Result<u64, ContextError<D::Error>> {
        let whole = part.len() - part.len() % PAGE_LEN;
        let (pages, tail) = part.split_at_checked(whole).unwrap_or((part, &[]));
        let byte = self.byte(copy, at);
        if !pages.is_empty() {
            self.device.write(byte, pages).map_err(ContextError::Device)?;
        }
        if !tail.is_empty() {
            self.page.fill(0);
            self.page.iter_mut().zip(tail).for_each(|(to, from)| *to = *from);
            let byte = byte.saturating_add(whole as u64);
            self.device.write(byte, &self.page).map_err(ContextError::Device)?;
        }
        Ok(whole_pages(part.len() as u64))
    }

    fn read_page(&mut self, copy: u64, at: u64) -> Result<(), ContextError<D::Error>> {
        if at >= self.copy_len {
            self.page.fill(0);
            return Ok(());
        }
        let byte = self.byte(copy, at);
        self.device.read(byte, &mut self.page).map_err(ContextError::Device)
    }

    const fn byte(&self, copy: u64, at: u64) -> u64 {
        self.start.saturating_add(copy.saturating_mul(self.copy_len)).saturating_add(at)
    }
}
