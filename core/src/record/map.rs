//! The dump maps: one bit for each object number (`TS_CLRI`: in use at dump time; `TS_BITS`: on this dump).
//!
//! The bit of number `i` is bit `(i - 1) % 8` of byte `(i - 1) / 8`, lowest first; bytes, so that no byte order matters.

use crate::units::{Ino, TAPE_BLOCK_LEN};

/// Numbers that one tape block of a map holds.
const INOS_PER_BLOCK: u32 = TAPE_BLOCK_LEN as u32 * 8;

/// Fewest tape blocks of a map we write: illumos takes no fewer for granted (`tape-format` 4).
const BLOCKS_MIN: u32 = 8;

/// Tape blocks that the maps of a dump take whose numbers all lie below `limit` (`tape-format` 7.4).
#[must_use]
pub const fn map_blocks(limit: Ino) -> u32 {
    let blocks = limit.0.saturating_sub(1).div_ceil(INOS_PER_BLOCK);
    if blocks < BLOCKS_MIN { BLOCKS_MIN } else { blocks }
}

/// `maxino` of a dump whose maps take this many blocks: one more than the highest number they hold.
#[must_use]
pub const fn max_ino(map_blocks: u32) -> u32 {
    map_blocks.saturating_mul(INOS_PER_BLOCK).saturating_add(1)
}

/// The number lies beyond the memory lent for the map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BeyondMap {
    /// Bytes that the map would need.
    pub needed: usize,
}

/// A map in lent memory.
#[derive(Debug)]
pub struct DumpMap<'a> {
    bytes: &'a mut [u8],
}

impl<'a> DumpMap<'a> {
    /// A map over `bytes` as they are.
    #[must_use]
    pub const fn new(bytes: &'a mut [u8]) -> Self {
        Self { bytes }
    }

    /// The map's bytes, as they stand on tape.
    #[must_use]
    pub const fn bytes(&self) -> &[u8] {
        self.bytes
    }

    /// The map's bytes, to be filled from tape.
    pub const fn bytes_mut(&mut self) -> &mut [u8] {
        self.bytes
    }

    /// Removes all.
    pub fn clear(&mut self) {
        self.bytes.fill(0);
    }

    /// Whether `ino` is in the map; what lies beyond it is not.
    #[must_use]
    pub fn contains(&self, ino: Ino) -> bool {
        place(ino).is_some_and(|(byte, bit)| self.bytes.get(byte).is_some_and(|byte| byte & bit != 0))
    }

    /// Adds `ino`.
    ///
    /// # Errors
    /// The map is too small, or the number is 0.
    pub fn insert(&mut self, ino: Ino) -> Result<(), BeyondMap> {
        let (byte, bit) = place(ino).ok_or(BeyondMap { needed: 0 })?;
        let byte = self.bytes.get_mut(byte).ok_or(BeyondMap { needed: byte + 1 })?;
        *byte |= bit;
        Ok(())
    }

    /// Removes `ino`, and tells whether it was there.
    pub fn remove(&mut self, ino: Ino) -> bool {
        let Some((byte, bit)) = place(ino) else { return false };
        let Some(byte) = self.bytes.get_mut(byte) else { return false };
        let was = *byte & bit != 0;
        *byte &= !bit;
        was
    }

    /// The first number in the map that is at least `from`.
    #[must_use]
    pub fn next_from(&self, from: Ino) -> Option<Ino> {
        let (first, bit) = place(Ino(from.0.max(1)))?;
        let (_, rest) = self.bytes.split_at_checked(first)?;
        let head = rest.first()? & !(bit - 1);
        if head != 0 {
            return Some(number(first, head));
        }
        let mut at = first + 1;
        let (words, tail) = rest.get(1..)?.as_chunks::<8>();
        for word in words {
            if *word != [0; 8] {
                break;
            }
            at += 8;
        }
        let left = self.bytes.get(at..).unwrap_or(tail);
        left.iter().position(|byte| *byte != 0).and_then(|skip| {
            let byte = left.get(skip)?;
            Some(number(at + skip, *byte))
        })
    }

    /// How many numbers are in the map.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.bytes.iter().map(|byte| u64::from(byte.count_ones())).sum()
    }
}

const fn place(ino: Ino) -> Option<(usize, u8)> {
    match ino.0.checked_sub(1) {
        Some(index) => Some(((index / 8) as usize, 1 << (index % 8))),
        None => None,
    }
}

const fn number(byte: usize, bits: u8) -> Ino {
    Ino((byte as u32).saturating_mul(8).saturating_add(bits.trailing_zeros() + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_stand_where_the_format_says() {
        let mut bytes = [0; 4];
        let mut map = DumpMap::new(&mut bytes);
        for ino in [1, 2, 9, 32] {
            map.insert(Ino(ino)).unwrap();
        }
        assert_eq!(map.bytes(), [3, 1, 0, 0x80]);
        assert_eq!(map.insert(Ino(33)), Err(BeyondMap { needed: 5 }));
        assert!(map.insert(Ino(0)).is_err());
        assert!(!map.contains(Ino(0)) && !map.contains(Ino(33)) && !map.contains(Ino(u32::MAX)));
    }

    #[test]
    fn next_from_agrees_with_contains_everywhere() {
        let mut bytes = [0; 40];
        let mut map = DumpMap::new(&mut bytes);
        for ino in [1u32, 7, 8, 9, 64, 65, 200, 319, 320] {
            map.insert(Ino(ino)).unwrap();
        }
        for from in 0..400 {
            let expected = (from..400).map(Ino).find(|ino| map.contains(*ino));
            assert_eq!(map.next_from(Ino(from)), expected, "from {from}");
        }
        assert_eq!(map.count(), 9);
        assert!(map.remove(Ino(200)) && !map.remove(Ino(200)) && !map.remove(Ino(5000)));
        assert_eq!(map.next_from(Ino(66)), Some(Ino(319)));
    }

    #[test]
    fn sizes_follow_the_format() {
        assert_eq!((map_blocks(Ino(3)), max_ino(8)), (8, 65537));
        assert_eq!((map_blocks(Ino(65537)), map_blocks(Ino(65538))), (8, 9));
    }
}
