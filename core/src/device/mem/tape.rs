//! A tape in memory.
//!
//! The lent bytes hold the tape as a sequence of items, so that they alone are the medium and can be kept,
//! copied and opened again:
//!
//! ```text
//! record       length (u32, little-endian, 1 to 0xffff_fffe) · the record's bytes · length again
//! filemark     0xffff_ffff
//! end of data  0
//! ```
//!
//! The length behind a record is what spacing backward needs. Zeroed memory is a blank tape.

use crate::device::ErrorKind;
use crate::device::tape::{Space, Spaced, TapeCapabilities, TapeDevice, TapePosition, TapeRead, TapeWrite};
use crate::units::BlockingFactor;

/// Bytes of the medium that a record takes in addition to its own.
pub const ITEM_OVERHEAD: usize = 2 * TAG_LEN;

const TAG_LEN: usize = 4;
const TAG_END: u32 = 0;
const TAG_MARK: u32 = u32::MAX;

/// What records leave free: a tape that is full of records still takes two filemarks and the end of data.
const TAIL_LEN: usize = 3 * TAG_LEN;

/// A tape drive with a medium of lent bytes in it.
pub struct MemTape<'a> {
    bytes: &'a mut [u8],
    /// Offset of the end of data.
    end: usize,
    /// Offset of the item that the next read gives.
    at: usize,
    /// The same as files and records.
    position: TapePosition,
    record_len_max: usize,
    early_warning: usize,
    write_protected: bool,
    loaded: bool,
}

/// One thing on a tape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TapeItem<'t> {
    /// A tape record.
    Record(&'t [u8]),
    /// A filemark.
    Filemark,
}

/// What is on a tape, from its beginning; see [`MemTape::items`].
#[derive(Clone, Debug)]
pub struct TapeItems<'t> {
    bytes: &'t [u8],
    at: usize,
}

impl<'t> Iterator for TapeItems<'t> {
    type Item = TapeItem<'t>;

    fn next(&mut self) -> Option<TapeItem<'t>> {
        let item = item_at(self.bytes, self.at)?;
        self.at = item.end();
        match item {
            Item::Mark { .. } => Some(TapeItem::Filemark),
            Item::Record { start, len } => self.bytes.get(start..start + len).map(TapeItem::Record),
        }
    }
}

impl<'a> MemTape<'a> {
    /// A blank tape; what was in `bytes` is gone.
    pub fn blank(bytes: &'a mut [u8]) -> Self {
        let mut tape = Self::at_beginning(bytes);
        tape.put_tag(0, TAG_END);
        tape
    }

    /// The tape that `bytes` hold, at its beginning.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`]: they are not what a [`MemTape`] leaves.
    pub fn open(bytes: &'a mut [u8]) -> Result<Self, ErrorKind> {
        let mut end = 0;
        while let Some(item) = item_at(bytes, end) {
            end = item.end();
        }
        // Memory too small for the tag of the end of data can only be an empty tape.
        if bytes.len() >= TAG_LEN && tag_at(bytes, end) != Some(TAG_END) {
            return Err(ErrorKind::Invalid);
        }
        let mut tape = Self::at_beginning(bytes);
        tape.end = end;
        Ok(tape)
    }

    fn at_beginning(bytes: &'a mut [u8]) -> Self {
        Self {
            bytes,
            end: 0,
            at: 0,
            position: TapePosition::default(),
            record_len_max: BlockingFactor::MAX.record_len(),
            early_warning: 0,
            write_protected: false,
            loaded: true,
        }
    }

    /// Sets the longest record it reads and writes; otherwise that of [`BlockingFactor::MAX`].
    #[must_use]
    pub fn with_record_len_max(mut self, len: usize) -> Self {
        self.record_len_max = len.clamp(1, TAG_MARK as usize - 1);
        self
    }

    /// Makes writes warn when fewer than `distance` bytes are left for records; otherwise none does.
    #[must_use]
    pub fn with_early_warning(mut self, distance: usize) -> Self {
        self.early_warning = distance;
        self
    }

    /// Sets or clears the write protection.
    pub fn set_write_protected(&mut self, protected: bool) {
        self.write_protected = protected;
    }

    /// Puts the medium back in after [`unload`](TapeDevice::unload), at its beginning.
    pub fn load(&mut self) {
        self.loaded = true;
        self.go_to_beginning();
    }

    /// Everything on the tape, from its beginning.
    #[must_use]
    pub fn items(&self) -> TapeItems<'_> {
        TapeItems { bytes: self.bytes.get(..self.end).unwrap_or_default(), at: 0 }
    }

    /// The records of one tape file, the first being 0.
    pub fn records(&self, file: u32) -> impl Iterator<Item = &[u8]> {
        let mut marks = 0;
        self.items().filter_map(move |item| match item {
            TapeItem::Record(record) => (marks == file).then_some(record),
            TapeItem::Filemark => {
                marks += 1;
                None
            }
        })
    }

    /// The bytes of the record at `place`, for a test to damage.
    pub fn record_mut(&mut self, place: TapePosition) -> Option<&mut [u8]> {
        let mut at = 0;
        let mut position = TapePosition::default();
        while let Some(item) = item_at(self.bytes, at).filter(|_| at < self.end) {
            if let Item::Record { start, len } = item
                && position == place
            {
                return self.bytes.get_mut(start..start + len);
            }
            at = item.end();
            position = item.after(position);
        }
        None
    }

    /// Writes `data` at the present position as a tape file: records of `record_len` bytes, the last as long as
    /// what is left, and a filemark.
    ///
    /// # Errors
    /// As [`TapeDevice::write`]; [`ErrorKind::Full`]: it does not fit.
    pub fn write_file(&mut self, data: &[u8], record_len: usize) -> Result<(), ErrorKind> {
        for record in data.chunks(record_len.max(1)) {
            if self.write(record)? == TapeWrite::EndOfMedium {
                return Err(ErrorKind::Full);
            }
        }
        match self.write_filemark()? {
            TapeWrite::EndOfMedium => Err(ErrorKind::Full),
            TapeWrite::Written | TapeWrite::EarlyWarning => Ok(()),
        }
    }

    /// Bytes of the medium in use.
    #[must_use]
    pub fn used(&self) -> usize {
        self.end
    }

    fn check_loaded(&self) -> Result<(), ErrorKind> {
        if self.loaded { Ok(()) } else { Err(ErrorKind::NotFound) }
    }

    fn check_writable(&self) -> Result<(), ErrorKind> {
        self.check_loaded()?;
        if self.write_protected { Err(ErrorKind::ReadOnly) } else { Ok(()) }
    }

    fn go_to_beginning(&mut self) {
        self.at = 0;
        self.position = TapePosition::default();
    }

    fn put_tag(&mut self, at: usize, tag: u32) {
        if let Some(place) = self.bytes.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
            *place = tag.to_le_bytes();
        }
    }

    /// Ends the data after the item that was just written from the present position.
    fn advance_written(&mut self, item: Item) -> TapeWrite {
        self.at = item.end();
        self.end = self.at;
        self.position = item.after(self.position);
        self.put_tag(self.end, TAG_END);
        let free = self.bytes.len().saturating_sub(self.end + TAIL_LEN + ITEM_OVERHEAD);
        if free < self.early_warning { TapeWrite::EarlyWarning } else { TapeWrite::Written }
    }

    fn next_item(&self) -> Option<Item> {
        item_at(self.bytes, self.at).filter(|_| self.at < self.end)
    }

    fn forward(&mut self, item: Item) {
        self.at = item.end();
        self.position = item.after(self.position);
    }

    fn backward(&mut self, item: Item) {
        self.at = item.begin();
        match item {
            Item::Record { .. } => self.position.record = self.position.record.saturating_sub(1),
            Item::Mark { .. } => self.position = self.position_here(),
        }
    }

    /// The position, counted from the beginning: how many records the file before a filemark has is known
    /// only that way.
    fn position_here(&self) -> TapePosition {
        let mut at = 0;
        let mut position = TapePosition::default();
        while let Some(item) = item_at(self.bytes, at).filter(|_| at < self.at) {
            at = item.end();
            position = item.after(position);
        }
        position
    }

    fn space_records(&mut self, count: i64) -> Spaced {
        for _ in 0..count.unsigned_abs() {
            if count > 0 {
                let Some(item) = self.next_item() else { return Spaced::EndOfData };
                self.forward(item);
                if matches!(item, Item::Mark { .. }) {
                    return Spaced::Filemark;
                }
            } else {
                let Some(item) = item_before(self.bytes, self.at) else { return Spaced::BeginningOfTape };
                self.backward(item);
                if matches!(item, Item::Mark { .. }) {
                    return Spaced::Filemark;
                }
            }
        }
        Spaced::Done
    }

    fn space_marks(&mut self, count: i64) -> Spaced {
        let mut left = count.unsigned_abs();
        while left > 0 {
            let item = if count > 0 {
                let Some(item) = self.next_item() else { return Spaced::EndOfData };
                self.forward(item);
                item
            } else {
                let Some(item) = item_before(self.bytes, self.at) else { return Spaced::BeginningOfTape };
                self.backward(item);
                item
            };
            left -= u64::from(matches!(item, Item::Mark { .. }));
        }
        Spaced::Done
    }
}

impl TapeDevice for MemTape<'_> {
    type Error = ErrorKind;

    fn capabilities(&self) -> TapeCapabilities {
        let mut capabilities = TapeCapabilities::new(self.record_len_max);
        capabilities.write_protected = self.write_protected;
        capabilities
    }

    fn read(&mut self, buf: &mut [u8]) -> Result<TapeRead, ErrorKind> {
        self.check_loaded()?;
        let Some(item) = self.next_item() else { return Ok(TapeRead::EndOfData) };
        let read = match item {
            Item::Mark { .. } => TapeRead::Filemark,
            Item::Record { start, len } => {
                let Some(place) = buf.get_mut(..len) else {
                    return Ok(TapeRead::BufferTooSmall { needed: len });
                };
                let record = self.bytes.get(start..).and_then(|bytes| bytes.get(..len));
                place.copy_from_slice(record.ok_or(ErrorKind::Medium)?);
                TapeRead::Record(len)
            }
        };
        self.forward(item);
        Ok(read)
    }

    fn write(&mut self, record: &[u8]) -> Result<TapeWrite, ErrorKind> {
        self.check_writable()?;
        if record.is_empty() || record.len() > self.record_len_max {
            return Err(ErrorKind::Invalid);
        }
        let len = record.len();
        let start = self.at + TAG_LEN;
        if self.bytes.len().saturating_sub(self.at) < len + ITEM_OVERHEAD + TAIL_LEN {
            return Ok(TapeWrite::EndOfMedium);
        }
        let place = self.bytes.get_mut(start..).and_then(|bytes| bytes.get_mut(..len));
        place.ok_or(ErrorKind::Medium)?.copy_from_slice(record);
        // `record_len_max` keeps the length in the tag's range.
        self.put_tag(self.at, len as u32);
        self.put_tag(start + len, len as u32);
        Ok(self.advance_written(Item::Record { start, len }))
    }

    fn write_filemark(&mut self) -> Result<TapeWrite, ErrorKind> {
        self.check_writable()?;
        if self.bytes.len().saturating_sub(self.at) < 2 * TAG_LEN {
            return Ok(TapeWrite::EndOfMedium);
        }
        self.put_tag(self.at, TAG_MARK);
        Ok(self.advance_written(Item::Mark { at: self.at }))
    }

    fn flush(&mut self) -> Result<(), ErrorKind> {
        self.check_writable()
    }

    fn position(&mut self) -> Result<TapePosition, ErrorKind> {
        self.check_loaded()?;
        Ok(self.position)
    }

    fn locate(&mut self, to: TapePosition) -> Result<Spaced, ErrorKind> {
        self.check_loaded()?;
        // Where it already is in the file asked for, the way on is shorter than the way from the beginning.
        if self.position.file != to.file || self.position.record > to.record {
            self.go_to_beginning();
            match self.space_marks(i64::from(to.file)) {
                Spaced::Done => {}
                other => return Ok(other),
            }
        }
        while self.position.record < to.record {
            match self.space_records(1) {
                Spaced::Done => {}
                other => return Ok(other),
            }
        }
        Ok(Spaced::Done)
    }

    fn space(&mut self, by: Space) -> Result<Spaced, ErrorKind> {
        self.check_loaded()?;
        Ok(match by {
            Space::Records(count) => self.space_records(count),
            Space::Filemarks(count) => self.space_marks(count),
            Space::EndOfData => {
                while let Some(item) = self.next_item() {
                    self.forward(item);
                }
                Spaced::Done
            }
        })
    }

    fn rewind(&mut self) -> Result<(), ErrorKind> {
        self.check_loaded()?;
        self.go_to_beginning();
        Ok(())
    }

    fn unload(&mut self) -> Result<(), ErrorKind> {
        self.check_loaded()?;
        self.loaded = false;
        Ok(())
    }
}

/// Where an item is on the medium.
#[derive(Clone, Copy)]
enum Item {
    Record { start: usize, len: usize },
    Mark { at: usize },
}

impl Item {
    fn begin(self) -> usize {
        match self {
            Self::Record { start, .. } => start - TAG_LEN,
            Self::Mark { at } => at,
        }
    }

    fn end(self) -> usize {
        match self {
            Self::Record { start, len } => start + len + TAG_LEN,
            Self::Mark { at } => at + TAG_LEN,
        }
    }

    /// The position after this item when the one before it is `position`.
    fn after(self, position: TapePosition) -> TapePosition {
        match self {
            Self::Record { .. } => TapePosition { record: position.record + 1, ..position },
            Self::Mark { .. } => TapePosition { file: position.file.saturating_add(1), record: 0 },
        }
    }
}

fn tag_at(bytes: &[u8], at: usize) -> Option<u32> {
    let tag = bytes.get(at..)?.first_chunk::<TAG_LEN>()?;
    Some(u32::from_le_bytes(*tag))
}

/// The item at `at`, unless data ends there or what is there is no item.
fn item_at(bytes: &[u8], at: usize) -> Option<Item> {
    match tag_at(bytes, at)? {
        TAG_END => None,
        TAG_MARK => Some(Item::Mark { at }),
        tag => {
            let start = at + TAG_LEN;
            let len = tag as usize;
            let behind = tag_at(bytes, start.checked_add(len)?)?;
            (behind == tag).then_some(Item::Record { start, len })
        }
    }
}

/// The item that ends at `at`.
fn item_before(bytes: &[u8], at: usize) -> Option<Item> {
    let behind = at.checked_sub(TAG_LEN)?;
    match tag_at(bytes, behind)? {
        TAG_END => None,
        TAG_MARK => Some(Item::Mark { at: behind }),
        tag => {
            let len = tag as usize;
            let start = behind.checked_sub(len)?;
            start.checked_sub(TAG_LEN)?;
            Some(Item::Record { start, len })
        }
    }
}

#[cfg(test)]
#[path = "tape_tests.rs"]
mod tests;
