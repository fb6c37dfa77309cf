//! Sizes of small files as they are on file servers: log-normal around 3 KiB.

/// A generator of numbers that is the same on every machine (SplitMix64).
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number from 0 up to 1, without 1.
    pub fn fraction(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A number of mean 0 and deviation 1: twelve uniform ones, less their mean.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.fraction()).sum::<f64>() - 6.0
    }
}

/// `count` sizes in bytes, at most 16 KiB.
#[must_use]
pub fn small_files(count: usize) -> Vec<usize> {
    let mut random = Random(1);
    (0..count).map(|_| (3072.0 * (0.9 * random.normal()).exp()).min(16384.0) as usize).collect()
}

/// Bytes that neither compress nor repeat.
#[must_use]
pub fn noise(len: usize) -> Vec<u8> {
    let mut random = Random(2);
    let mut bytes: Vec<u8> = (0..len.div_ceil(8)).flat_map(|_| random.bits().to_le_bytes()).collect();
    bytes.truncate(len);
    bytes
}
