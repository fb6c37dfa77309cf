//! The random numbers faults are drawn with.

use super::What;

/// SplitMix64 (Steele, Lea and Flood, 2014): small, and every seed is as good as any other.
#[derive(Clone, Debug)]
pub struct SplitMix64 {
    state: u64,
}

impl SplitMix64 {
    /// The sequence of a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next number.
    pub const fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`; 0 when that is 0.
    pub const fn below(&mut self, limit: u64) -> u64 {
        // The product's upper half is spread evenly enough for faults: its bias is below `limit` / 2⁶⁴.
        ((self.next_u64() as u128 * limit as u128) >> 64) as u64
    }

    /// One of `menu`, with places drawn anew.
    pub(super) fn pick(&mut self, menu: &[What]) -> Option<What> {
        let index = self.below(menu.len() as u64) as usize;
        Some(match *menu.get(index)? {
            What::FlipBit(_) => What::FlipBit(self.next_u64()),
            What::Zero { .. } => What::Zero { from: self.next_u64(), len: 1 + self.below(1024) },
            What::Short(_) => What::Short(self.next_u64()),
            what => what,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_the_published_sequence() {
        let mut random = SplitMix64::new(1_234_567);
        let expected = [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423];
        assert_eq!(expected, core::array::from_fn(|_| random.next_u64()));
    }

    #[test]
    fn numbers_below_a_limit_reach_all_and_no_more() {
        let mut random = SplitMix64::new(1);
        let mut seen = [0; 5];
        for _ in 0..1000 {
            seen[random.below(5) as usize] += 1;
        }
        assert!(seen.iter().all(|&times| times > 100), "{seen:?}");
        assert_eq!(random.below(0), 0);
    }
}
