//! A small seeded generator: the same seed gives the same test on every machine.

/// Xorshift64*; statistically good enough to choose bits and fill files.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A generator whose sequence depends on `seed` alone.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        // Zero is the one state the generator cannot leave.
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number from 0 to `bound - 1`.
    ///
    /// # Panics
    /// When `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.bits() % bound
    }

    /// `len` bytes that do not compress and, with overwhelming likelihood, hold no block of zeros.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            bytes.extend_from_slice(&self.bits().to_le_bytes());
        }
        bytes.truncate(len);
        bytes
    }
}

/// The seed of this run: `TAPEDUMP_SEED`, or a fixed one. A failing test prints it.
#[must_use]
pub fn seed() -> u64 {
    std::env::var("TAPEDUMP_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(20_240_229)
}
