//! DOS attributes and creation time as Samba keeps them (R-DATA-2): a view over the value of `user.DOSATTRIB`, whatever
//! is in it.
//!
//! NDR, little-endian (Samba, `librpc/idl/xattr.idl`, `xattr_DOSATTRIB`): the attributes as text, NUL, aligned to 2,
//! `u16` version, the same again, aligned to 4, and then by the version
//!
//! ```text
//! 1:  0 u32 attributes                                      24  u64 created       40 bytes
//! 2:  4 u32 attributes                                      28  u64 created       52 bytes and a name
//! 3:  0 u32 which are valid | 4 u32 attributes              28  u64 created       44 bytes
//! 4:  0 u32 which are valid | 4 u32 attributes              16  u64 created       24 bytes
//! 5:  0 u32 which are valid | 4 u32 attributes               8  u64 created       16 bytes
//! ```
//!
//! Times are in 100 ns since 1601. Values of before version 1 are the text alone.

use crate::units::Timestamp;

/// In the numbers of which are valid.
const VALID_ATTRIBUTES: u32 = 0x01;
const VALID_CREATED: u32 = 0x10;
/// Seconds from 1601 to 1970.
const SECS_1601_TO_1970: i64 = 11_644_473_600;
const TICKS_PER_SEC: u64 = 10_000_000;
/// The longest text before the version: `0x` and eight digits.
const TEXT_LEN_MAX: usize = 10;

/// What a value of `user.DOSATTRIB` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct DosAttributes {
    /// The attribute bits ([`dos_bits`]).
    pub bits: Option<u32>,
    /// Creation time.
    pub created: Option<Timestamp>,
}

/// DOS attribute bits (MS-FSCC, 2.6).
pub mod dos_bits {
    /// It may not be written.
    pub const READ_ONLY: u32 = 0x01;
    /// It is not listed as a rule.
    pub const HIDDEN: u32 = 0x02;
    /// It is part of the system.
    pub const SYSTEM: u32 = 0x04;
    /// A directory.
    pub const DIRECTORY: u32 = 0x10;
    /// It is to be backed up.
    pub const ARCHIVE: u32 = 0x20;
}

impl DosAttributes {
    /// Reads a value. `None`: it is none.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let text_len = value.iter().take(TEXT_LEN_MAX + 1).position(|byte| *byte == 0)?;
        let text = value.get(..text_len)?;
        let versions_at = (text_len + 1).next_multiple_of(2);
        let Some(versions) = value.get(versions_at..).filter(|rest| !rest.is_empty()) else {
            return Some(Self { bits: Some(bits_of_text(text)?), created: None });
        };
        let rest = value.get((versions_at + 4).next_multiple_of(4)..)?;
        let number = |at: usize| rest.get(at..)?.first_chunk().copied().map(u32::from_le_bytes);
        let time = |at: usize| rest.get(at..)?.first_chunk().copied().map(u64::from_le_bytes);
        let [a, b, c, d] = *versions.first_chunk()?;
        if [a, b] != [c, d] {
            return None;
        }
        let all = VALID_ATTRIBUTES | VALID_CREATED;
        let (valid, bits, created) = match u16::from_le_bytes([a, b]) {
            1 => (all, number(0)?, time(24)?),
            2 => (all, number(4)?, time(28)?),
            3 => (number(0)?, number(4)?, time(28)?),
            4 => (number(0)?, number(4)?, time(16)?),
            5 => (number(0)?, number(4)?, time(8)?),
            _ => return None,
        };
        Some(Self {
            bits: Some(bits).filter(|_| valid & VALID_ATTRIBUTES != 0),
            created: Some(created).filter(|_| valid & VALID_CREATED != 0).and_then(timestamp),
        })
    }
}

fn bits_of_text(text: &[u8]) -> Option<u32> {
    let digits = text.strip_prefix(b"0x")?;
    u32::from_str_radix(core::str::from_utf8(digits).ok()?, 16).ok()
}

/// `None`: it says that there is no time.
fn timestamp(ticks: u64) -> Option<Timestamp> {
    if ticks == 0 || ticks == u64::MAX {
        return None;
    }
    let secs = (ticks / TICKS_PER_SEC) as i64 - SECS_1601_TO_1970;
    Some(Timestamp { secs, nanos: (ticks % TICKS_PER_SEC) as u32 * 100 })
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use std::vec::Vec;

    /// Versions 1 to 5, as `tests/fixtures/samba/make.py` of the repository has Samba make them.
    const VALUES: [&str; 5] = [
        "30783233000001000100000023000000010000000200000000000000030000000000000000005af64cf5d40101005af64cf5d401",
        "3078323300000200020000000000000023000000010000000200000000000000030000000000000000005af64cf5d40101005af6\
         4cf5d40102005af64cf5d4017800",
        "3078323300000300030000001100000023000000010000000200000000000000030000000000000000005af64cf5d40101005af6\
         4cf5d401",
        "0000040004000000510000002300000003005af64cf5d40100005af64cf5d401",
        "0000050005000000110000002300000000005af64cf5d401",
    ];

    fn bytes(hex: &str) -> Vec<u8> {
        let digit = |byte: u8| (byte as char).to_digit(16).unwrap() as u8;
        hex.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
    }

    #[test]
    fn values_of_samba() {
        let expected = DosAttributes {
            bits: Some(dos_bits::READ_ONLY | dos_bits::HIDDEN | dos_bits::ARCHIVE),
            created: Some(Timestamp { secs: 1_555_526_400, nanos: 0 }),
        };
        for value in VALUES {
            assert_eq!(DosAttributes::parse(&bytes(value)), Some(expected), "{value}");
        }
        let text = DosAttributes { created: None, ..expected };
        assert_eq!(DosAttributes::parse(b"0x23\0"), Some(text), "as Samba 3 wrote it");
    }

    #[test]
    fn what_is_not_valid_is_not_there() {
        let mut value = bytes(VALUES[4]);
        value[8] = 0;
        assert_eq!(DosAttributes::parse(&value), Some(DosAttributes::default()));
    }

    #[test]
    fn anything_else_is_no_value() {
        for value in VALUES {
            let whole = bytes(value);
            for len in 7..whole.len().min(24) {
                assert_eq!(DosAttributes::parse(&whole[..len]), None);
            }
            for at in 0..whole.len() {
                let mut damaged = whole.clone();
                damaged[at] ^= 0xff;
                let _ = DosAttributes::parse(&damaged);
            }
        }
        for garbage in [&b""[..], b"\0", b"0x23", b"x\0", b"0xyz\0", b"\0\0\x07\0\x07\0", &[0xff; 100]] {
            assert_eq!(DosAttributes::parse(garbage), None, "{garbage:?}");
        }
    }
}
