//! The hole map of a segment (`c_addr`): data or hole for each of up to 512 tape blocks.

use crate::limits::SEGMENT_BLOCKS_MAX;

const WORDS: usize = SEGMENT_BLOCKS_MAX / 64;

/// Which entries of a segment have a data block on tape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holes {
    data: [u64; WORDS],
}

impl Holes {
    /// A segment that is all hole.
    pub const NONE: Self = Self { data: [0; WORDS] };

    /// The first `count` entries are data.
    #[must_use]
    pub fn all_data(count: usize) -> Self {
        let mut holes = Self::NONE;
        for (index, word) in holes.data.iter_mut().enumerate() {
            *word = match count.saturating_sub(index * 64) {
                0 => 0,
                rest if rest >= 64 => u64::MAX,
                rest => (1 << rest) - 1,
            };
        }
        holes
    }

    /// Reads the bytes of a header: whatever is not zero is data.
    #[must_use]
    pub fn parse(entries: &[u8]) -> Self {
        let mut holes = Self::NONE;
        for (word, bytes) in holes.data.iter_mut().zip(entries.chunks(64)) {
            *word = bytes.iter().enumerate().fold(0, |word, (bit, byte)| word | u64::from(*byte != 0) << bit);
        }
        holes
    }

    /// Writes the first `count` entries as bytes 0 and 1, and zeros behind them.
    pub fn emit(&self, count: usize, entries: &mut [u8; SEGMENT_BLOCKS_MAX]) {
        for (index, byte) in entries.iter_mut().enumerate() {
            *byte = u8::from(index < count && self.is_data(index));
        }
    }

    /// Whether entry `index` has a data block.
    #[must_use]
    pub fn is_data(&self, index: usize) -> bool {
        self.data.get(index / 64).is_some_and(|word| word >> (index % 64) & 1 == 1)
    }

    /// Marks entry `index` as data.
    pub fn set_data(&mut self, index: usize) {
        if let Some(word) = self.data.get_mut(index / 64) {
            *word |= 1 << (index % 64);
        }
    }

    /// Marks entry `index` as hole.
    pub fn set_hole(&mut self, index: usize) {
        if let Some(word) = self.data.get_mut(index / 64) {
            *word &= !(1 << (index % 64));
        }
    }

    /// Marks `count` entries from `first` as data.
    pub fn set_run(&mut self, first: usize, count: usize) {
        for index in first..first.saturating_add(count).min(SEGMENT_BLOCKS_MAX) {
            self.set_data(index);
        }
    }

    /// Entries from `from` on that are all data or all hole, at most up to `count`.
    #[must_use]
    pub fn run_len(&self, from: usize, count: usize) -> usize {
        let data = self.is_data(from);
        (from..count).take_while(|index| self.is_data(*index) == data).count()
    }

    /// Data blocks among the first `count` entries.
    #[must_use]
    pub fn data_count(&self, count: usize) -> usize {
        let mask = Self::all_data(count);
        self.data.iter().zip(mask.data).map(|(word, mask)| (word & mask).count_ones() as usize).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_data_covers_exactly_the_count() {
        for count in [0, 1, 63, 64, 65, 511, 512] {
            let holes = Holes::all_data(count);
            assert_eq!(holes.data_count(SEGMENT_BLOCKS_MAX), count);
            assert_eq!(
                holes.run_len(0, SEGMENT_BLOCKS_MAX),
                if count == 0 { SEGMENT_BLOCKS_MAX } else { count }
            );
        }
    }

    #[test]
    fn bytes_round_trip_and_any_non_zero_is_data() {
        let mut bytes = [0u8; SEGMENT_BLOCKS_MAX];
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = if index % 3 == 0 { (index % 255) as u8 | 1 } else { 0 };
        }
        let holes = Holes::parse(&bytes);
        let mut out = [0xa5; SEGMENT_BLOCKS_MAX];
        holes.emit(SEGMENT_BLOCKS_MAX, &mut out);
        for (index, byte) in out.iter().enumerate() {
            assert_eq!(*byte, u8::from(index % 3 == 0));
        }
        holes.emit(4, &mut out);
        assert_eq!(&out[..6], &[1, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn runs_alternate() {
        let mut holes = Holes::NONE;
        holes.set_run(3, 4);
        assert_eq!(holes.run_len(0, 10), 3);
        assert_eq!(holes.run_len(3, 10), 4);
        assert_eq!(holes.run_len(7, 10), 3);
        assert_eq!(holes.data_count(5), 2);
    }
}
