//! The extension payload of an object: its properties as type-length-value rows.
//!
//! ```text
//! "TDT1" | u32 length of the rows | rows | u32 CRC32C of all before
//! row:  u16 type | u16 flags | u32 value length | value, padded with zeros to 8
//! ```
//!
//! All numbers are big-endian. It travels in trailing blocks, as the data of nodes, or in stage V.

use crate::checksum::Crc32c;
use crate::device::volume::PropertyKind;
use crate::limits::NAME_LEN_MAX;

/// First bytes of a payload.
pub const PAYLOAD_MAGIC: [u8; 4] = *b"TDT1";
/// Bytes before the first row.
pub const PAYLOAD_HEAD_LEN: usize = 8;
/// Bytes behind the last row.
pub const PAYLOAD_TAIL_LEN: usize = 4;
/// Bytes before a row's value.
pub const ROW_HEAD_LEN: usize = 8;

/// Type of the row that names an object; those of properties are [`PropertyKind::number`]. A reader passes over types
/// that it does not know.
const OWNER: u16 = 1;

/// What a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Row {
    /// Stage V: the number of the object the payload belongs to; the value is a `u32`.
    Owner,
    /// A property. The value of one that is named is `u16 name length | name | value`.
    Property(PropertyKind),
    /// A row of a later version.
    Unknown(u16),
}

impl Row {
    const fn raw(self) -> u16 {
        match self {
            Self::Owner => OWNER,
            Self::Property(kind) => kind.number() as u16,
            Self::Unknown(raw) => raw,
        }
    }

    const fn from_raw(raw: u16) -> Self {
        if raw == OWNER {
            return Self::Owner;
        }
        match if raw < 256 { PropertyKind::from_number(raw as u8) } else { None } {
            Some(kind) => Self::Property(kind),
            None => Self::Unknown(raw),
        }
    }
}

/// Length of the value of a property's row.
#[must_use]
pub const fn row_value_len(kind: PropertyKind, name_len: usize, value_len: u32) -> u32 {
    if kind.is_named() { value_len.saturating_add(2 + name_len as u32) } else { value_len }
}

/// Length of a whole row with a value of this length.
#[must_use]
pub const fn row_len(value_len: u32) -> u64 {
    ROW_HEAD_LEN as u64 + (value_len as u64).next_multiple_of(8)
}

/// The bytes before a row's value.
#[must_use]
pub fn row_head(row: Row, value_len: u32) -> [u8; ROW_HEAD_LEN] {
    let [a, b] = row.raw().to_be_bytes();
    let [c, d, e, f] = value_len.to_be_bytes();
    [a, b, 0, 0, c, d, e, f]
}

/// The bytes before the first row.
#[must_use]
pub fn payload_head(rows_len: u32) -> [u8; PAYLOAD_HEAD_LEN] {
    let [a, b, c, d] = PAYLOAD_MAGIC;
    let [e, f, g, h] = rows_len.to_be_bytes();
    [a, b, c, d, e, f, g, h]
}

/// What the parser found in the bytes it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayloadPart<'a> {
    /// The object the payload belongs to.
    Owner(u32),
    /// A property begins; its value follows in [`Value`](Self::Value) parts.
    Property {
        /// What it is.
        kind: PropertyKind,
        /// Length of the name, which [`PayloadParser::name`] gives.
        name_len: usize,
        /// Length of its value.
        value_len: u32,
    },
    /// A piece of the property's value.
    Value(&'a [u8]),
    /// All rows are read; `true` when their CRC matches.
    End(bool),
    /// The bytes are no payload, or contradict themselves; nothing more comes.
    Damaged,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Head,
    RowHead,
    Owner,
    NameLen {
        kind: PropertyKind,
        value_len: u32,
    },
    Name {
        kind: PropertyKind,
        value_len: u32,
        name_len: usize,
    },
    Value {
        left: u32,
        pad: u32,
    },
    /// A row of unknown type, or padding.
    Skip {
        left: u64,
    },
    Tail,
    Done,
}

/// Reads a payload from pieces of any length, holding at most a name.
#[derive(Clone, Debug)]
pub struct PayloadParser {
    state: State,
    /// Bytes of the present small item: a head, a name, a number.
    held: [u8; NAME_LEN_MAX],
    held_len: usize,
    name_len: usize,
    rows_left: u64,
    /// Of everything taken so far.
    crc: u32,
    /// Of everything before the tail.
    rows_crc: u32,
}

impl Default for PayloadParser {
    fn default() -> Self {
        Self::new()
    }
}

impl PayloadParser {
    /// A parser at the beginning of a payload.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            state: State::Head,
            held: [0; NAME_LEN_MAX],
            held_len: 0,
            name_len: 0,
            rows_left: 0,
            crc: 0,
            rows_crc: 0,
        }
    }

    /// The name of the property announced last.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        self.held.get(..self.name_len).unwrap_or_default()
    }

    /// Whether the payload was read to its end, or given up.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Takes bytes from the front of `input` and gives the next part. `None`: more input is needed.
    pub fn next<'a, C: Crc32c>(&mut self, input: &mut &'a [u8]) -> Option<PayloadPart<'a>> {
        loop {
            match self.state {
                State::Head => {
                    let head = self.hold::<C>(input, PAYLOAD_HEAD_LEN)?;
                    let (magic, len) = head.split_at_checked(4)?;
                    if magic != PAYLOAD_MAGIC {
                        return self.damaged();
                    }
                    self.rows_left = len.try_into().map_or(0, u32::from_be_bytes).into();
                    self.next_row();
                }
                State::RowHead => {
                    let head: [u8; ROW_HEAD_LEN] = self.hold::<C>(input, ROW_HEAD_LEN)?.try_into().ok()?;
                    let [a, b, _, _, c, d, e, f] = head;
                    let (row, value_len) =
                        (Row::from_raw(u16::from_be_bytes([a, b])), u32::from_be_bytes([c, d, e, f]));
                    let Some(rest) = self.rows_left.checked_sub(row_len(value_len)) else {
                        return self.damaged();
                    };
                    self.rows_left = rest;
                    if let Some(part) = self.row(row, value_len) {
                        return Some(part);
                    }
                }
                State::Owner => {
                    let owner = self.hold::<C>(input, 8)?.first_chunk::<4>().copied()?;
                    self.next_row();
                    return Some(PayloadPart::Owner(u32::from_be_bytes(owner)));
                }
                State::NameLen { kind, value_len } => {
                    let name_len =
                        usize::from(u16::from_be_bytes(self.hold::<C>(input, 2)?.try_into().ok()?));
                    if name_len == 0 || name_len > NAME_LEN_MAX || name_len as u32 + 2 > value_len {
                        return self.damaged();
                    }
                    self.state = State::Name { kind, value_len, name_len };
                }
                State::Name { kind, value_len, name_len } => {
                    self.hold::<C>(input, name_len)?;
                    self.name_len = name_len;
                    return Some(self.value(kind, value_len - 2 - name_len as u32, value_len));
                }
                State::Value { left: 0, pad } => self.state = State::Skip { left: pad.into() },
                State::Value { left, pad } => {
                    let piece = self.take::<C>(input, left.into())?;
                    self.state = State::Value { left: left - piece.len() as u32, pad };
                    return Some(PayloadPart::Value(piece));
                }
                State::Skip { left: 0 } => self.next_row(),
                State::Skip { left } => {
                    let piece = self.take::<C>(input, left)?;
                    self.state = State::Skip { left: left - piece.len() as u64 };
                }
                State::Tail => {
                    let found: [u8; PAYLOAD_TAIL_LEN] =
                        self.hold::<C>(input, PAYLOAD_TAIL_LEN)?.try_into().ok()?;
                    self.state = State::Done;
                    return Some(PayloadPart::End(u32::from_be_bytes(found) == self.rows_crc));
                }
                State::Done => {
                    *input = &[];
                    return None;
                }
            }
        }
    }

    fn row<'a>(&mut self, row: Row, value_len: u32) -> Option<PayloadPart<'a>> {
        match row {
            Row::Owner if value_len == 4 => self.state = State::Owner,
            Row::Property(kind) if kind.is_named() && value_len >= 3 => {
                self.state = State::NameLen { kind, value_len };
            }
            Row::Owner => return self.damaged(),
            Row::Property(kind) if kind.is_named() => return self.damaged(),
            Row::Property(kind) => {
                self.name_len = 0;
                return Some(self.value(kind, value_len, value_len));
            }
            Row::Unknown(_) => self.state = State::Skip { left: u64::from(value_len).next_multiple_of(8) },
        }
        None
    }

    fn value<'a>(&mut self, kind: PropertyKind, value_len: u32, row_value_len: u32) -> PayloadPart<'a> {
        let pad = u64::from(row_value_len).next_multiple_of(8) - u64::from(row_value_len);
        self.state = State::Value { left: value_len, pad: pad as u32 };
        PayloadPart::Property { kind, name_len: self.name_len, value_len }
    }

    fn next_row(&mut self) {
        self.rows_crc = self.crc;
        self.state = if self.rows_left == 0 { State::Tail } else { State::RowHead };
    }

    fn damaged<'a>(&mut self) -> Option<PayloadPart<'a>> {
        self.state = State::Done;
        Some(PayloadPart::Damaged)
    }

    /// Up to `most` bytes of the input, if there are any.
    fn take<'a, C: Crc32c>(&mut self, input: &mut &'a [u8], most: u64) -> Option<&'a [u8]> {
        let len = input.len().min(usize::try_from(most).unwrap_or(usize::MAX));
        let (piece, rest) = input.split_at_checked(len).filter(|(piece, _)| !piece.is_empty())?;
        *input = rest;
        self.crc = C::update(self.crc, piece);
        Some(piece)
    }

    /// Collects `len` bytes, over several calls if need be.
    fn hold<C: Crc32c>(&mut self, input: &mut &[u8], len: usize) -> Option<&[u8]> {
        while self.held_len < len {
            let piece = self.take::<C>(input, (len - self.held_len) as u64)?;
            self.held.get_mut(self.held_len..)?.get_mut(..piece.len())?.copy_from_slice(piece);
            self.held_len += piece.len();
        }
        self.held_len = 0;
        self.held.get(..len)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::checksum::PortableCrc32c;
    use std::vec::Vec;

    fn payload() -> Vec<u8> {
        let mut rows = Vec::new();
        rows.extend(row_head(Row::Owner, 4));
        rows.extend([0, 0, 0, 77, 0, 0, 0, 0]);
        rows.extend(row_head(Row::Unknown(900), 5));
        rows.extend([1; 8]);
        let name = b"user.note";
        rows.extend(row_head(
            Row::Property(PropertyKind::Xattr),
            row_value_len(PropertyKind::Xattr, name.len(), 3),
        ));
        rows.extend((name.len() as u16).to_be_bytes());
        rows.extend(name);
        rows.extend(b"abc");
        rows.extend([0; 2]);
        rows.extend(row_head(Row::Property(PropertyKind::PosixAccessAcl), 0));
        let mut all = payload_head(rows.len() as u32).to_vec();
        all.extend(rows);
        all.extend(PortableCrc32c::update(0, &all).to_be_bytes());
        all
    }

    fn parse(bytes: &[u8], piece_len: usize) -> Vec<std::string::String> {
        let mut parser = PayloadParser::new();
        let mut out: Vec<std::string::String> = Vec::new();
        for piece in bytes.chunks(piece_len) {
            let mut input = piece;
            while let Some(part) = parser.next::<PortableCrc32c>(&mut input) {
                match part {
                    PayloadPart::Value(v) => match out.last_mut().filter(|last| last.starts_with("value")) {
                        Some(last) => last.push_str(&std::string::String::from_utf8_lossy(v)),
                        None => out.push(std::format!("value {}", std::string::String::from_utf8_lossy(v))),
                    },
                    PayloadPart::Property { kind, value_len, .. } => out.push(std::format!(
                        "{kind:?} {} {value_len}",
                        std::string::String::from_utf8_lossy(parser.name())
                    )),
                    other => out.push(std::format!("{other:?}")),
                }
            }
        }
        out
    }

    #[test]
    fn rows_are_read_from_pieces_of_any_length() {
        let bytes = payload();
        let whole = parse(&bytes, bytes.len());
        assert_eq!(whole, ["Owner(77)", "Xattr user.note 3", "value abc", "PosixAccessAcl  0", "End(true)"]);
        for piece_len in 1..40 {
            assert_eq!(parse(&bytes, piece_len), whole, "pieces of {piece_len}");
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let good = payload();
        for bit in 0..good.len() * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let parts = parse(&bytes, 64);
            assert!(
                parts.last().map(std::string::String::as_str) != Some("End(true)"),
                "bit {bit}: {parts:?}"
            );
        }
    }
}
