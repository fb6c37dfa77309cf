//! What travels to a worker: calls in their order, with their bytes.

use crate::volume::target::Directory;
use std::ops::Range;
use std::sync::Arc;
use tapedump_core::device::volume::{Attributes, PropertyKind};
use tapedump_core::units::Ino;

/// Bytes of data and names in one batch.
pub(super) const BATCH_LEN_MAX: usize = 256 * 1024;

/// Calls in one batch; bounds it where objects have no data.
pub(super) const BATCH_CALLS_MAX: usize = 512;

/// Where a piece of a batch's bytes is.
pub(super) type Span = Range<u32>;

/// A call on its way to a worker.
#[derive(Debug)]
pub(super) enum Call {
    Create { directory: Arc<Directory>, name: Span, ino: Ino, attributes: Attributes },
    Reopen { directory: Arc<Directory>, name: Span, ino: Ino, known: Option<Arc<Directory>> },
    Write { offset: u64, data: Span },
    Property { kind: PropertyKind, name: Span, value_len: u32 },
    Value { value: Span },
    Finish { attributes: Attributes },
    Release,
    Link { from: Arc<Directory>, existing: Span, to: Arc<Directory>, name: Span, ino: Ino },
}

/// Calls in their order, with their bytes. Used again and again.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) bytes: Vec<u8>,
    pub(super) calls: Vec<Call>,
    /// The stream whose open object its first calls are for.
    pub(super) continues: Option<u64>,
    /// The stream whose object it leaves open.
    pub(super) leaves_open: Option<u64>,
}

impl Batch {
    pub(super) fn room(&self) -> usize {
        BATCH_LEN_MAX.saturating_sub(self.bytes.len())
    }

    pub(super) fn has_room(&self, len: usize) -> bool {
        self.room() >= len && self.calls.len() < BATCH_CALLS_MAX
    }

    /// Whether an object with `size` bytes of data, its name and some properties most likely fits.
    pub(super) fn has_room_for_object(&self, size: u64) -> bool {
        const BESIDES: usize = 4096;
        const CALLS: usize = 16;
        let len = usize::try_from(size).unwrap_or(usize::MAX).min(BATCH_LEN_MAX - BESIDES) + BESIDES;
        self.bytes.is_empty() || self.room() >= len && self.calls.len() + CALLS <= BATCH_CALLS_MAX
    }

    pub(super) fn keep(&mut self, bytes: &[u8]) -> Span {
        self.reserve();
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        // Bounded by `BATCH_LEN_MAX` and a few names.
        start as u32..self.bytes.len() as u32
    }

    /// Takes all the memory it may have at once, so that it never grows into twice as much.
    pub(super) fn reserve(&mut self) {
        if self.bytes.capacity() == 0 {
            self.bytes.reserve_exact(BATCH_LEN_MAX);
            self.calls.reserve_exact(BATCH_CALLS_MAX);
        }
    }

    /// Adds data to the write before, when it goes on there.
    pub(super) fn append(&mut self, offset: u64, data: &[u8]) -> bool {
        let len = self.bytes.len();
        let fits = self.room() >= data.len();
        match self.calls.last_mut() {
            Some(Call::Write { offset: before, data: span })
                if fits
                    && span.end as usize == len
                    && before.checked_add(u64::from(span.end - span.start)) == Some(offset) =>
            {
                span.end += data.len() as u32;
                self.bytes.extend_from_slice(data);
                true
            }
            _ => false,
        }
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.calls.clear();
        self.continues = None;
        self.leaves_open = None;
    }
}
