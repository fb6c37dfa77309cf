//! Attributes and properties of directories, kept as notes until all that is in the directories is restored.
//!
//! ```text
//! 'A' | mode u16 | uid, gid u32 | real inode u64 | 4 x (secs i64, nanos u32)     attributes, first of all
//! 'P' | kind u8 | value length u32 | name                                        a property begins
//! 'V' | piece of its value
//! ```

use crate::device::volume::{Attributes, Kind, PropertyKind};
use crate::engine::names::NOTE_LEN_MAX;
use crate::units::Timestamp;

/// Longest piece of a value in one note.
pub const PIECE_LEN_MAX: usize = 256;
const _: () = assert!(PIECE_LEN_MAX < NOTE_LEN_MAX);

/// A note read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note<'a> {
    Attributes(Attributes),
    Property { kind: PropertyKind, name: &'a [u8], value_len: u32 },
    Piece(&'a [u8]),
}

/// A note being put together.
pub struct NoteBuf {
    bytes: [u8; NOTE_LEN_MAX],
    len: usize,
}

impl NoteBuf {
    fn new(parts: &[&[u8]]) -> Self {
        let mut note = Self { bytes: [0; NOTE_LEN_MAX], len: 0 };
        for (to, from) in note.bytes.iter_mut().zip(parts.iter().copied().flatten()) {
            *to = *from;
            note.len += 1;
        }
        note
    }

    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    pub fn attributes(attributes: &Attributes) -> Self {
        let mode = attributes.kind.mode_bits() | attributes.permissions & 0o7777;
        let born = attributes.born.unwrap_or(Timestamp { secs: 0, nanos: u32::MAX });
        let mut times = [0; 48];
        let all = [attributes.accessed, attributes.modified, attributes.changed, born];
        for (to, time) in times.chunks_exact_mut(12).zip(all) {
            let (secs, nanos) = to.split_at_mut(8);
            secs.copy_from_slice(&time.secs.to_be_bytes());
            nanos.copy_from_slice(&time.nanos.to_be_bytes());
        }
        Self::new(&[
            b"A",
            &mode.to_be_bytes(),
            &attributes.uid.to_be_bytes(),
            &attributes.gid.to_be_bytes(),
            &attributes.real_ino.to_be_bytes(),
            &times,
        ])
    }

    pub fn property(kind: PropertyKind, name: &[u8], value_len: u32) -> Self {
        Self::new(&[b"P", &[kind.number()], &value_len.to_be_bytes(), name])
    }

    /// `piece` has at most [`PIECE_LEN_MAX`] bytes.
    pub fn piece(piece: &[u8]) -> Self {
        Self::new(&[b"V", piece])
    }
}

impl<'a> Note<'a> {
    /// `None`: not a note.
    pub fn parse(note: &'a [u8]) -> Option<Self> {
        let (tag, rest) = note.split_first()?;
        match tag {
            b'A' => {
                let (mode, rest) = rest.split_first_chunk::<2>()?;
                let (uid, rest) = rest.split_first_chunk::<4>()?;
                let (gid, rest) = rest.split_first_chunk::<4>()?;
                let (real_ino, times) = rest.split_first_chunk::<8>()?;
                let mode = u16::from_be_bytes(*mode);
                let mut attributes = Attributes::new(Kind::from_mode(mode)?);
                attributes.permissions = mode & 0o7777;
                attributes.uid = u32::from_be_bytes(*uid);
                attributes.gid = u32::from_be_bytes(*gid);
                attributes.real_ino = u64::from_be_bytes(*real_ino);
                let mut times = times.chunks_exact(12).map(|time| {
                    let (secs, nanos) = time.split_first_chunk::<8>()?;
                    let nanos = u32::from_be_bytes(*nanos.first_chunk()?);
                    Some(Timestamp { secs: i64::from_be_bytes(*secs), nanos })
                });
                attributes.accessed = times.next()??;
                attributes.modified = times.next()??;
                attributes.changed = times.next()??;
                attributes.born = times.next()?.filter(|time| time.nanos != u32::MAX);
                Some(Self::Attributes(attributes))
            }
            b'P' => {
                let (kind, rest) = rest.split_first()?;
                let (value_len, name) = rest.split_first_chunk::<4>()?;
                let kind = PropertyKind::from_number(*kind)?;
                Some(Self::Property { kind, name, value_len: u32::from_be_bytes(*value_len) })
            }
            b'V' => Some(Self::Piece(rest)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_round_trip() {
        let mut attributes = Attributes::new(Kind::Directory);
        attributes.permissions = 0o1755;
        attributes.uid = 70_000;
        attributes.modified = Timestamp { secs: -3, nanos: 17 };
        for born in [None, Some(Timestamp { secs: 9, nanos: 8 })] {
            attributes.born = born;
            let note = NoteBuf::attributes(&attributes);
            assert_eq!(Note::parse(note.bytes()), Some(Note::Attributes(attributes)));
        }
        let name = [b'n'; 255];
        let note = NoteBuf::property(PropertyKind::Xattr, &name, 70_000);
        let expected = Note::Property { kind: PropertyKind::Xattr, name: &name, value_len: 70_000 };
        assert_eq!(Note::parse(note.bytes()), Some(expected));
        let piece = [7; PIECE_LEN_MAX];
        assert_eq!(Note::parse(NoteBuf::piece(&piece).bytes()), Some(Note::Piece(&piece)));
        assert_eq!(Note::parse(b"?"), None);
    }
}
