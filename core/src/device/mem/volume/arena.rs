//! Byte memory given out in pieces, and the three kinds of pieces a volume keeps in it. A piece is named by its
//! offset; fields are little-endian and unaligned; pieces of one list name the next one.

use crate::device::ErrorKind;
use crate::device::volume::PropertyKind;

/// No piece.
pub(super) const NONE: u32 = u32::MAX;

pub(super) struct Arena<'a> {
    bytes: &'a mut [u8],
    used: usize,
}

/// A name in a directory: `next` u32 · `node` u32 · `name_len` u8 · the name.
#[derive(Clone, Copy)]
pub(super) struct EntryPiece {
    pub at: u32,
    pub next: u32,
    pub node: u32,
    pub name_len: u8,
}

/// Data of a file: `next` u32 · `start` u64 · `len` u32 · the data.
#[derive(Clone, Copy)]
pub(super) struct ExtentPiece {
    pub at: u32,
    pub next: u32,
    pub start: u64,
    pub len: u32,
}

/// A property: `next` u32 · `kind` u8 · `name_len` u8 · `value_len` u32 · the name · the value.
#[derive(Clone, Copy)]
pub(super) struct PropertyPiece {
    pub at: u32,
    pub next: u32,
    pub kind: PropertyKind,
    pub name_len: u8,
    pub value_len: u32,
}

const ENTRY_HEAD_LEN: usize = 9;
const EXTENT_HEAD_LEN: usize = 16;
const EXTENT_LEN_FIELD: u32 = 12;
const PROPERTY_HEAD_LEN: usize = 10;

impl<'a> Arena<'a> {
    /// Offsets are `u32` and `NONE` is none, so that more memory than that stays unused.
    pub fn new(bytes: &'a mut [u8]) -> Self {
        let len = bytes.len().min(NONE as usize);
        Self { bytes: bytes.get_mut(..len).unwrap_or_default(), used: 0 }
    }

    pub fn free(&self) -> usize {
        self.bytes.len().saturating_sub(self.used)
    }

    fn allocate(&mut self, len: usize) -> Result<u32, ErrorKind> {
        if len > self.free() {
            return Err(ErrorKind::Full);
        }
        let at = self.used;
        self.used += len;
        Ok(at as u32)
    }

    pub fn slice(&self, at: u32, len: usize) -> &[u8] {
        let at = at as usize;
        self.bytes.get(at..at.saturating_add(len)).unwrap_or_default()
    }

    fn put(&mut self, at: u32, data: &[u8]) {
        let at = at as usize;
        if let Some(place) = self.bytes.get_mut(at..at.saturating_add(data.len())) {
            place.copy_from_slice(data);
        }
    }

    fn array<const LEN: usize>(&self, at: u32) -> Option<[u8; LEN]> {
        self.bytes.get(at as usize..)?.first_chunk::<LEN>().copied()
    }

    fn u32_at(&self, at: u32) -> Option<u32> {
        self.array(at).map(u32::from_le_bytes)
    }

    /// Every piece begins with the offset of the next.
    pub fn set_next(&mut self, at: u32, next: u32) {
        self.put(at, &next.to_le_bytes());
    }

    pub fn add_entry(&mut self, node: u32, name: &[u8]) -> Result<u32, ErrorKind> {
        let name_len = u8::try_from(name.len()).map_err(|_| ErrorKind::Invalid)?;
        let at = self.allocate(ENTRY_HEAD_LEN + name.len())?;
        self.put(at, &NONE.to_le_bytes());
        self.put(at + 4, &node.to_le_bytes());
        self.put(at + 8, &[name_len]);
        self.put(at + ENTRY_HEAD_LEN as u32, name);
        Ok(at)
    }

    pub fn entry(&self, at: u32) -> Option<EntryPiece> {
        let [name_len] = self.array(at.checked_add(8)?)?;
        Some(EntryPiece { at, next: self.u32_at(at)?, node: self.u32_at(at.checked_add(4)?)?, name_len })
    }

    pub fn entry_name(&self, entry: &EntryPiece) -> &[u8] {
        self.slice(entry.at.saturating_add(ENTRY_HEAD_LEN as u32), entry.name_len.into())
    }

    /// Adds an extent with as much of the front of `data` as there is room for, at least one byte.
    pub fn add_extent(&mut self, start: u64, data: &[u8], next: u32) -> Result<(u32, usize), ErrorKind> {
        let room =
            self.free().checked_sub(EXTENT_HEAD_LEN).filter(|&room| room > 0).ok_or(ErrorKind::Full)?;
        let data = data.get(..room).unwrap_or(data);
        let at = self.allocate(EXTENT_HEAD_LEN + data.len())?;
        self.put(at, &next.to_le_bytes());
        self.put(at + 4, &start.to_le_bytes());
        self.put(at + EXTENT_LEN_FIELD, &(data.len() as u32).to_le_bytes());
        self.put(at + EXTENT_HEAD_LEN as u32, data);
        Ok((at, data.len()))
    }

    pub fn extent(&self, at: u32) -> Option<ExtentPiece> {
        let start = u64::from_le_bytes(self.array(at.checked_add(4)?)?);
        let len = self.u32_at(at.checked_add(EXTENT_LEN_FIELD)?)?;
        Some(ExtentPiece { at, next: self.u32_at(at)?, start, len })
    }

    pub fn set_extent_len(&mut self, extent: &ExtentPiece, len: u32) {
        self.put(extent.at.saturating_add(EXTENT_LEN_FIELD), &len.to_le_bytes());
    }

    /// Makes an extent longer where nothing was given out behind it; gives how many bytes of `data` it took.
    pub fn grow_extent(&mut self, extent: &ExtentPiece, data: &[u8]) -> usize {
        let end = extent.data_at(extent.len);
        let taken = data.len().min(self.free());
        if end as usize != self.used || taken == 0 {
            return 0;
        }
        self.used += taken;
        self.put(end, data.get(..taken).unwrap_or_default());
        self.set_extent_len(extent, extent.len + taken as u32);
        taken
    }

    pub fn put_extent(&mut self, extent: &ExtentPiece, offset: u32, data: &[u8]) {
        self.put(extent.data_at(offset), data);
    }

    /// Makes a property whose value is zeros until [`put_value`](Self::put_value).
    pub fn add_property(
        &mut self,
        kind: PropertyKind,
        name: &[u8],
        value_len: u32,
    ) -> Result<PropertyPiece, ErrorKind> {
        let name_len = u8::try_from(name.len()).map_err(|_| ErrorKind::Invalid)?;
        let len = (PROPERTY_HEAD_LEN + name.len()).checked_add(value_len as usize).ok_or(ErrorKind::Full)?;
        let at = self.allocate(len)?;
        self.put(at, &NONE.to_le_bytes());
        self.put(at + 4, &[kind.number(), name_len]);
        self.put(at + 6, &value_len.to_le_bytes());
        self.put(at + PROPERTY_HEAD_LEN as u32, name);
        Ok(PropertyPiece { at, next: NONE, kind, name_len, value_len })
    }

    pub fn property(&self, at: u32) -> Option<PropertyPiece> {
        let [code, name_len] = self.array(at.checked_add(4)?)?;
        let value_len = self.u32_at(at.checked_add(6)?)?;
        Some(PropertyPiece {
            at,
            next: self.u32_at(at)?,
            kind: PropertyKind::from_number(code)?,
            name_len,
            value_len,
        })
    }

    pub fn property_name(&self, property: &PropertyPiece) -> &[u8] {
        self.slice(property.at.saturating_add(PROPERTY_HEAD_LEN as u32), property.name_len.into())
    }

    pub fn property_value(&self, property: &PropertyPiece) -> &[u8] {
        self.slice(property.value_at(), property.value_len as usize)
    }

    /// `offset` plus the length of `piece` is within the value.
    pub fn put_value(&mut self, property: &PropertyPiece, offset: u32, piece: &[u8]) {
        self.put(property.value_at().saturating_add(offset), piece);
    }
}

impl ExtentPiece {
    pub fn end(&self) -> u64 {
        self.start.saturating_add(self.len.into())
    }

    pub fn data_at(&self, offset: u32) -> u32 {
        self.at.saturating_add(EXTENT_HEAD_LEN as u32).saturating_add(offset)
    }
}

impl PropertyPiece {
    fn value_at(&self) -> u32 {
        self.at.saturating_add(PROPERTY_HEAD_LEN as u32).saturating_add(self.name_len.into())
    }
}
