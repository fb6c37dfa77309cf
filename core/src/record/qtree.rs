//! What a qtree is, beside a directory (R-DATA-4), as it stands in the attribute that carries it and on tape.
//!
//! | off | size | field |
//! |---|---|---|
//! | 0 | 4 | magic `TDQT` |
//! | 4 | 1 | version (1) |
//! | 5 | 1 | security style: 0 unix, 1 ntfs, 2 mixed |
//! | 6 | 1 | oplocks: 0 off, 1 on |
//! | 7 | 1 | reserved, zero |
//! | 8 | 4 | id, not 0; unique in the volume |
//! | 12 | 2 | default mode: permission bits of what comes with an NT descriptor only (R-DATA-10) |
//! | 14 | 2 | length of the name |
//! | 16 | | name, UTF-8, as its directory had it when it became a qtree |
//!
//! All numbers are big-endian. A reader takes longer values, of later versions of the same number, and ignores the rest.

use crate::limits::NAME_LEN_MAX;

/// First bytes.
pub const QTREE_MAGIC: [u8; 4] = *b"TDQT";
/// The version that is written, and read.
pub const QTREE_VERSION: u8 = 1;
/// Bytes before the name.
pub const QTREE_HEAD_LEN: usize = 16;
/// The longest value that is written.
pub const QTREE_LEN_MAX: usize = QTREE_HEAD_LEN + NAME_LEN_MAX;

/// Permissions of what has none of its own: everybody may do what the NT descriptors allow.
pub const DEFAULT_MODE: u16 = 0o777;

/// Whose permissions count in a qtree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum SecurityStyle {
    /// UNIX permission bits and ACLs.
    Unix,
    /// NT security descriptors.
    Ntfs,
    /// Of each object, those that were set last.
    Mixed,
}

impl SecurityStyle {
    const fn raw(self) -> u8 {
        match self {
            Self::Unix => 0,
            Self::Ntfs => 1,
            Self::Mixed => 2,
        }
    }

    const fn from_raw(raw: u8) -> Option<Self> {
        Some(match raw {
            0 => Self::Unix,
            1 => Self::Ntfs,
            2 => Self::Mixed,
            _ => return None,
        })
    }
}

/// The attributes of a qtree, without its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Qtree {
    /// Its number in the volume, not 0.
    pub id: u32,
    /// Whose permissions count.
    pub style: SecurityStyle,
    /// Clients may cache.
    pub oplocks: bool,
    /// Permission bits of what comes with an NT descriptor only, where the style is [`SecurityStyle::Unix`].
    pub default_mode: u16,
}

impl Qtree {
    /// Reads a value; gives the name, too, which is UTF-8. `None`: it is none, or of a later version.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<(Self, &str)> {
        let (head, rest) = value.split_first_chunk::<QTREE_HEAD_LEN>()?;
        let [m0, m1, m2, m3, version, style, oplocks, _, i0, i1, i2, i3, d0, d1, n0, n1] = *head;
        if [m0, m1, m2, m3] != QTREE_MAGIC || version != QTREE_VERSION || oplocks > 1 {
            return None;
        }
        let id = u32::from_be_bytes([i0, i1, i2, i3]);
        let name = rest.get(..usize::from(u16::from_be_bytes([n0, n1])))?;
        if id == 0 || name.len() > NAME_LEN_MAX {
            return None;
        }
        let style = SecurityStyle::from_raw(style)?;
        let default_mode = u16::from_be_bytes([d0, d1]) & 0o777;
        let qtree = Self { id, style, oplocks: oplocks == 1, default_mode };
        Some((qtree, core::str::from_utf8(name).ok()?))
    }

    /// Writes the value; gives its length. What is beyond the longest name is left out.
    pub fn emit(&self, name: &str, to: &mut [u8; QTREE_LEN_MAX]) -> usize {
        let mut end = name.len().min(NAME_LEN_MAX);
        while !name.is_char_boundary(end) {
            end = end.saturating_sub(1);
        }
        let name = name.as_bytes().get(..end).unwrap_or_default();
        let mut head = [0; QTREE_HEAD_LEN];
        let [m0, m1, m2, m3] = QTREE_MAGIC;
        let [i0, i1, i2, i3] = self.id.to_be_bytes();
        let [d0, d1] = self.default_mode.to_be_bytes();
        let [n0, n1] = (name.len() as u16).to_be_bytes();
        let style = self.style.raw();
        head.copy_from_slice(&[
            m0,
            m1,
            m2,
            m3,
            QTREE_VERSION,
            style,
            u8::from(self.oplocks),
            0,
            i0,
            i1,
            i2,
            i3,
            d0,
            d1,
            n0,
            n1,
        ]);
        for (to, from) in to.iter_mut().zip(head.iter().chain(name)) {
            *to = *from;
        }
        QTREE_HEAD_LEN + name.len()
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;

    const SALES: Qtree =
        Qtree { id: 0x0102_0304, style: SecurityStyle::Mixed, oplocks: true, default_mode: 0o750 };

    #[test]
    fn values_are_as_documented() {
        let mut value = [0xa5; QTREE_LEN_MAX];
        let len = SALES.emit("Büro", &mut value);
        let expected = b"TDQT\x01\x02\x01\0\x01\x02\x03\x04\x01\xe8\0\x05B\xc3\xbcro";
        assert_eq!(&value[..len], expected);
        assert_eq!(Qtree::parse(&value[..len]), Some((SALES, "Büro")));
        assert_eq!(Qtree::parse(&value), Some((SALES, "Büro")), "of a later version");
    }

    #[test]
    fn every_attribute_comes_back() {
        let mut value = [0; QTREE_LEN_MAX];
        for style in [SecurityStyle::Unix, SecurityStyle::Ntfs, SecurityStyle::Mixed] {
            for oplocks in [false, true] {
                let qtree = Qtree { id: u32::MAX, style, oplocks, default_mode: DEFAULT_MODE };
                let len = qtree.emit("", &mut value);
                assert_eq!(Qtree::parse(&value[..len]), Some((qtree, "")));
            }
        }
        let long = [0xc3, 0xbc].repeat(200);
        let len = SALES.emit(core::str::from_utf8(&long).unwrap(), &mut value);
        assert_eq!(len, QTREE_HEAD_LEN + NAME_LEN_MAX - 1, "no half of a character");
        assert!(Qtree::parse(&value[..len]).is_some());
    }

    #[test]
    fn anything_else_is_no_value() {
        let mut value = [0; QTREE_LEN_MAX];
        let len = SALES.emit("sales", &mut value);
        for short in 0..len {
            assert_eq!(Qtree::parse(&value[..short]), None);
        }
        for (at, byte) in [(0, b'X'), (4, 2), (5, 3), (6, 2), (14, 1), (16, 0xff)] {
            let mut bad = value;
            bad[at] = byte;
            assert_eq!(Qtree::parse(&bad[..len]), None, "byte {at}");
        }
        let mut no_id = value;
        no_id[8..12].fill(0);
        assert_eq!(Qtree::parse(&no_id[..len]), None);
    }
}
