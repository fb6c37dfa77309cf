//! The dump maps: one bit for each object number (`TS_CLRI`: in use at dump time; `TS_BITS`: on this dump).
//!
//! The bit of number `i` is bit `(i - 1) % 8` of byte `(i - 1) / 8`, lowest first; bytes, so that no byte order matters.

use core::fmt;

use crate::units::{Ino, TAPE_BLOCK_LEN};

/// Numbers that one tape block of a map holds.
const INOS_PER_BLOCK: u32 = TAPE_BLOCK_LEN as u32 * 8;

/// Fewest tape blocks of a map we write: illumos takes no fewer for granted (`format.md` 7.4).
const BLOCKS_MIN: u32 = 8;

/// Tape blocks that the maps of a dump take whose numbers all lie below `limit` (`format.md` 7.4).
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

/// The number lies beyond the memory lent for the map, or is 0, which no map holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BeyondMap {
    /// Bytes that the map would need; 0 for the number 0.
    pub needed: usize,
}

impl fmt::Display for BeyondMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.needed {
            0 => f.write_str("no map holds the number 0"),
            needed => write!(f, "the map needs {needed} bytes"),
        }
    }
}

/// A map in memory that is only looked at.
#[derive(Clone, Copy, Debug)]
pub struct MapView<'a> {
    bytes: &'a [u8],
}

impl<'a> MapView<'a> {
    /// The map in `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// The map's bytes, as they stand on tape.
    #[must_use]
    pub const fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// Whether `ino` is in the map; what lies beyond it is not.
    #[must_use]
    pub fn contains(self, ino: Ino) -> bool {
        place(ino).is_some_and(|(byte, bit)| self.bytes.get(byte).is_some_and(|byte| byte & bit != 0))
    }

    /// The first number in the map that is at least `from`.
    #[must_use]
    pub fn next_from(self, from: Ino) -> Option<Ino> {
        let first = from.0.max(1) - 1;
        let start = (first / 8) as usize;
        let (words, rest) = self.bytes.get(start..)?.as_chunks::<8>();
        // Of the first byte, what is before `from` does not count.
        let mut mask = u64::MAX << (first % 8);
        for (index, word) in words.iter().enumerate() {
            let word = u64::from_le_bytes(*word) & mask;
            if word != 0 {
                return number(start + 8 * index, word);
            }
            mask = u64::MAX;
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        number(start + 8 * words.len(), u64::from_le_bytes(last) & mask)
    }

    /// The numbers in the map, ascending.
    pub fn iter(self) -> impl Iterator<Item = Ino> + 'a {
        let mut from = Some(Ino(1));
        core::iter::from_fn(move || {
            let ino = self.next_from(from?)?;
            from = ino.0.checked_add(1).map(Ino);
            Some(ino)
        })
    }

    /// How many numbers are in the map.
    #[must_use]
    pub fn count(self) -> u64 {
        let (words, rest) = self.bytes.as_chunks::<8>();
        let in_words: u64 = words.iter().map(|word| u64::from(u64::from_le_bytes(*word).count_ones())).sum();
        in_words + rest.iter().map(|byte| u64::from(byte.count_ones())).sum::<u64>()
    }
}

/// A map in lent memory.
#[derive(Debug)]
pub struct DumpMap<'a> {
    bytes: &'a mut [u8],
    /// From here on all bytes are zero: looking for a number ends here, not at the end of memory lent for any dump.
    end: usize,
}

impl<'a> DumpMap<'a> {
    /// A map over `bytes` as they are.
    #[must_use]
    pub const fn new(bytes: &'a mut [u8]) -> Self {
        let end = bytes.len();
        Self { bytes, end }
    }

    /// An empty map over `bytes`, which are all zero; those that no number needs are never touched.
    #[must_use]
    pub const fn zeroed(bytes: &'a mut [u8]) -> Self {
        Self { bytes, end: 0 }
    }

    /// The map, only to be looked at.
    #[must_use]
    pub fn view(&self) -> MapView<'_> {
        MapView::new(self.bytes.get(..self.end).unwrap_or_default())
    }

    /// The map's bytes, as they stand on tape.
    #[must_use]
    pub const fn bytes(&self) -> &[u8] {
        self.bytes
    }

    /// Puts `bytes` from tape at the byte `at`, as far as there is room; gives what there is no room for.
    pub fn put<'b>(&mut self, at: usize, bytes: &'b [u8]) -> &'b [u8] {
        let fits = self.bytes.len().saturating_sub(at).min(bytes.len());
        let (inside, beyond) = bytes.split_at_checked(fits).unwrap_or((bytes, &[]));
        if let Some(place) = self.bytes.get_mut(at..).and_then(|rest| rest.get_mut(..inside.len())) {
            place.copy_from_slice(inside);
            self.end = self.end.max(at.saturating_add(inside.len()));
        }
        beyond
    }

    /// Up to `len` bytes of the map from the byte `at` on, to be filled.
    pub fn stretch(&mut self, at: usize, len: usize) -> &mut [u8] {
        let rest = self.bytes.get_mut(at..).unwrap_or_default();
        let len = len.min(rest.len());
        self.end = self.end.max(at.saturating_add(len));
        rest.get_mut(..len).unwrap_or_default()
    }

    /// Removes all.
    pub fn clear(&mut self) {
        self.bytes.iter_mut().take(self.end).for_each(|byte| *byte = 0);
        self.end = 0;
    }

    /// As [`MapView::contains`].
    #[must_use]
    pub fn contains(&self, ino: Ino) -> bool {
        self.view().contains(ino)
    }

    /// Adds `ino`.
    ///
    /// # Errors
    /// The map is too small, or the number is 0.
    pub fn insert(&mut self, ino: Ino) -> Result<(), BeyondMap> {
        let (byte, bit) = place(ino).ok_or(BeyondMap { needed: 0 })?;
        let needed = byte + 1;
        *self.bytes.get_mut(byte).ok_or(BeyondMap { needed })? |= bit;
        self.end = self.end.max(needed);
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

    /// As [`MapView::next_from`].
    #[must_use]
    pub fn next_from(&self, from: Ino) -> Option<Ino> {
        self.view().next_from(from)
    }

    /// As [`MapView::count`].
    #[must_use]
    pub fn count(&self) -> u64 {
        self.view().count()
    }
}

/// Byte and bit of a number; 0 has none.
const fn place(ino: Ino) -> Option<(usize, u8)> {
    match ino.0.checked_sub(1) {
        Some(index) => Some(((index / 8) as usize, 1 << (index % 8))),
        None => None,
    }
}

/// The least number of the eight bytes from `byte` on; `None` when there is none, or it is beyond all numbers.
fn number(byte: usize, bits: u64) -> Option<Ino> {
    if bits == 0 {
        return None;
    }
    let number = (byte as u64).saturating_mul(8).saturating_add(u64::from(bits.trailing_zeros()) + 1);
    u32::try_from(number).ok().map(Ino)
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::{BeyondMap, DumpMap, MapView, map_blocks, max_ino};
    use crate::limits::MAP_LEN_MAX;
    use crate::units::{Ino, TAPE_BLOCK_LEN};
    use std::collections::BTreeSet;
    use std::vec;
    use std::vec::Vec;

    /// Everything the map tells, against the numbers that are in it.
    fn check(map: MapView<'_>, numbers: &BTreeSet<u32>) {
        assert_eq!(map.count(), numbers.len() as u64);
        for n in 0..8 * map.bytes().len() as u32 + 20 {
            assert_eq!(map.contains(Ino(n)), numbers.contains(&n), "contains {n}");
            assert_eq!(map.next_from(Ino(n)), numbers.range(n..).next().map(|&n| Ino(n)), "next {n}");
        }
        assert_eq!(
            map.iter().map(|ino| ino.0).collect::<Vec<_>>(),
            numbers.iter().copied().collect::<Vec<_>>()
        );
        assert!(!map.contains(Ino(u32::MAX)));
        assert_eq!(map.next_from(Ino(u32::MAX)), None);
    }

    #[test]
    fn bits_stand_where_the_format_says() {
        let mut bytes = [0; 4];
        let mut map = DumpMap::new(&mut bytes);
        for ino in [1, 2, 9, 32] {
            map.insert(Ino(ino)).unwrap();
        }
        assert_eq!(map.bytes(), [3, 1, 0, 0x80]);
        check(map.view(), &BTreeSet::from([1, 2, 9, 32]));
    }

    #[test]
    fn all_maps_of_two_bytes() {
        for bits in 0..=u16::MAX {
            let bytes = bits.to_le_bytes();
            let numbers: BTreeSet<u32> =
                (0..16).filter(|bit| bits >> bit & 1 == 1).map(|bit| bit + 1).collect();
            check(MapView::new(&bytes), &numbers);
        }
    }

    #[test]
    fn one_and_two_numbers_in_maps_of_every_small_length() {
        for len in 0..28usize {
            for a in 1..=8 * len as u32 {
                let mut bytes = vec![0xff; len];
                let mut map = DumpMap::new(&mut bytes);
                map.clear();
                map.insert(Ino(a)).unwrap();
                map.insert(Ino(a)).unwrap();
                check(map.view(), &BTreeSet::from([a]));
                let b = (a * 7) % (8 * len as u32) + 1;
                map.insert(Ino(b)).unwrap();
                check(map.view(), &BTreeSet::from([a, b]));
                assert!(map.remove(Ino(a)));
                assert!(!map.remove(Ino(a)));
                assert_eq!(
                    (map.count(), map.next_from(Ino(1))),
                    if a == b { (0, None) } else { (1, Some(Ino(b))) }
                );
            }
        }
    }

    #[test]
    fn maps_in_zeroed_memory_are_like_others() {
        let mut bytes = [0; 40];
        let mut map = DumpMap::zeroed(&mut bytes);
        check(map.view(), &BTreeSet::new());
        map.insert(Ino(100)).unwrap();
        check(map.view(), &BTreeSet::from([100]));
        assert_eq!(map.put(0, &[1, 0x80]), []);
        check(map.view(), &BTreeSet::from([1, 16, 100]));
        assert_eq!(map.put(38, &[2, 0, 4, 5]), [4, 5]);
        assert_eq!(map.put(50, &[6]), [6]);
        assert_eq!(map.put(usize::MAX, &[7]), [7]);
        check(map.view(), &BTreeSet::from([1, 16, 100, 306]));
        map.clear();
        check(map.view(), &BTreeSet::new());
        assert_eq!(bytes, [0; 40]);
    }

    #[test]
    fn numbers_without_a_bit_are_refused_and_absent() {
        let mut bytes = [0; 3];
        let mut map = DumpMap::new(&mut bytes);
        for (ino, needed) in [(0, 0), (25, 4), (33, 5), (u32::MAX, 1 << 29)] {
            assert_eq!(map.insert(Ino(ino)), Err(BeyondMap { needed }));
            assert!(!map.remove(Ino(ino)) && !map.contains(Ino(ino)));
        }
        assert_eq!(map.insert(Ino(24)), Ok(()));
        assert_eq!(bytes, [0, 0, 0x80]);
    }

    #[test]
    fn sizes_follow_the_format() {
        assert_eq!((map_blocks(Ino(3)), max_ino(8)), (8, 65537));
        assert_eq!((map_blocks(Ino(65537)), map_blocks(Ino(65538))), (8, 9));
        assert_eq!((map_blocks(Ino(0)), max_ino(0), max_ino(u32::MAX)), (8, 1, u32::MAX));
        let largest = map_blocks(Ino::LAST.next());
        assert_eq!(largest as usize * TAPE_BLOCK_LEN, MAP_LEN_MAX.next_multiple_of(TAPE_BLOCK_LEN));
        assert!(max_ino(largest) > Ino::LAST.0);
    }
}
