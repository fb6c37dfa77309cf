//! Sets of object numbers, one bit for each, as the dump maps have them.

use tapedump_core::record::map::MapView;
use tapedump_core::units::Ino;

/// Bytes of the map that are kept or missing together.
const CHUNK_LEN: usize = 4096;

type Chunk = [u8; CHUNK_LEN];

/// A set of numbers. Where there are none for long, it takes no memory.
#[derive(Clone, Default)]
pub struct Bits(Vec<Option<Box<Chunk>>>);

impl Bits {
    /// Adds a number; 0, which no map holds, is passed over.
    pub fn insert(&mut self, ino: Ino) {
        let Some(index) = ino.0.checked_sub(1) else { return };
        let (byte, bit) = ((index / 8) as usize, 1 << (index % 8));
        let chunk = byte / CHUNK_LEN;
        if self.0.len() <= chunk {
            self.0.resize_with(chunk + 1, || None);
        }
        self.0[chunk].get_or_insert_with(|| Box::new([0; CHUNK_LEN]))[byte % CHUNK_LEN] |= bit;
    }

    /// The set that a map shows.
    pub fn of(map: &[u8]) -> Self {
        let chunk = |bytes: &[u8]| {
            let mut chunk = Box::new([0; CHUNK_LEN]);
            chunk[..bytes.len()].copy_from_slice(bytes);
            bytes.iter().any(|byte| *byte != 0).then_some(chunk)
        };
        Self(map.chunks(CHUNK_LEN).map(chunk).collect())
    }

    /// Removes a number.
    pub fn remove(&mut self, ino: Ino) {
        let Some(index) = ino.0.checked_sub(1) else { return };
        let (byte, bit) = ((index / 8) as usize, 1 << (index % 8));
        if let Some(Some(chunk)) = self.0.get_mut(byte / CHUNK_LEN) {
            chunk[byte % CHUNK_LEN] &= !bit;
        }
    }

    /// Adds all of another set.
    pub fn add(&mut self, other: Self) {
        if self.0.len() < other.0.len() {
            self.0.resize_with(other.0.len(), || None);
        }
        for (chunk, other) in self.0.iter_mut().zip(other.0) {
            match (chunk, other) {
                (Some(chunk), Some(other)) => {
                    chunk.iter_mut().zip(other.iter()).for_each(|(byte, other)| *byte |= other);
                }
                (chunk, Some(other)) => *chunk = Some(other),
                (_, None) => {}
            }
        }
    }

    /// Whether the number is in the set.
    pub fn contains(&self, ino: Ino) -> bool {
        let Some(index) = ino.0.checked_sub(1) else { return false };
        self.byte((index / 8) as usize) & 1 << (index % 8) != 0
    }

    /// The map's byte `at`.
    pub fn byte(&self, at: usize) -> u8 {
        let chunk = self.0.get(at / CHUNK_LEN).and_then(Option::as_ref);
        chunk.map_or(0, |chunk| chunk[at % CHUNK_LEN])
    }

    /// How many numbers there are.
    pub fn count(&self) -> u64 {
        self.0.iter().flatten().map(|chunk| MapView::new(chunk.as_slice()).count()).sum()
    }

    /// The highest number.
    pub fn highest(&self) -> Option<Ino> {
        let (index, chunk) = self.0.iter().enumerate().rev().find_map(|(index, chunk)| {
            let chunk = chunk.as_ref()?;
            Some((index, MapView::new(chunk.as_slice()).iter().last()?))
        })?;
        Some(Ino((index * CHUNK_LEN * 8) as u32 + chunk.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_set_holds_what_was_added() {
        let (mut a, mut b) = (Bits::default(), Bits::default());
        assert_eq!((a.count(), a.highest()), (0, None));
        let mut expected = BTreeSet::new();
        for index in 0..3000_u32 {
            let number = index.wrapping_mul(0x9e37_79b9) % 500_000 + 1;
            if index % 3 == 0 {
                a.insert(Ino(number))
            } else {
                b.insert(Ino(number))
            }
            expected.insert(number);
        }
        b.insert(Ino(9_000_000));
        b.insert(Ino(0));
        expected.insert(9_000_000);
        a.add(b);
        assert_eq!(a.count(), expected.len() as u64);
        assert_eq!(a.highest(), Some(Ino(9_000_000)));
        assert!((0..600_000).all(|number| a.contains(Ino(number)) == expected.contains(&number)));
        assert!(!a.contains(Ino(u32::MAX)));
        let bytes: Vec<u8> = (0..70_000).map(|at| a.byte(at)).collect();
        let mut of = Bits::of(&bytes);
        assert!((0..70_000).all(|at| of.byte(at) == bytes[at]));
        expected.range(..560_001).for_each(|number| of.remove(Ino(*number)));
        of.remove(Ino(u32::MAX));
        assert_eq!(of.count(), 0);
        assert!(MapView::new(&bytes).iter().map(|ino| ino.0).eq(expected.range(..560_001).copied()));
    }
}
