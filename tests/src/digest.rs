//! Checksums written apart from the engine's: CRC32C for forged headers, and a digest of file content.

const CRC32C_REVERSED: u32 = 0x82f6_3b78;

const fn crc32c_table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut value = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { (value >> 1) ^ CRC32C_REVERSED } else { value >> 1 };
            bit += 1;
        }
        table[byte] = value;
        byte += 1;
    }
    table
}

static CRC32C: [u32; 256] = crc32c_table();

/// CRC32C (Castagnoli) over pieces of a message.
#[derive(Clone, Copy, Debug)]
pub struct Crc32c(u32);

impl Default for Crc32c {
    fn default() -> Self {
        Self(!0)
    }
}

impl Crc32c {
    /// Adds the next piece.
    pub fn update(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 >> 8) ^ CRC32C[((self.0 ^ u32::from(byte)) & 0xff) as usize];
        }
    }

    /// The checksum of all pieces so far.
    #[must_use]
    pub fn value(self) -> u32 {
        !self.0
    }
}

/// CRC32C of one message.
#[must_use]
pub fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = Crc32c::default();
    crc.update(bytes);
    crc.value()
}

/// A digest of a file's content that does not see where the holes are: pieces of zeros count for nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Content(u64, u64);

impl Content {
    /// Length of the pieces [`Content::add`] takes.
    pub const PIECE_LEN: u64 = 4096;

    /// Adds the piece of the file that begins at `offset`, a multiple of [`Content::PIECE_LEN`].
    pub fn add(&mut self, offset: u64, piece: &[u8]) {
        if piece.iter().all(|&byte| byte == 0) {
            return;
        }
        // The order of the pieces is in the digest through `offset`, so that holes need not be visited.
        let used = piece.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        for (state, salt) in [(&mut self.0, 0x9ae1_6a3b_2f90_404f_u64), (&mut self.1, 0xc949_d7c7_509e_6557)]
        {
            let mut mixed = offset ^ salt;
            for word in piece[..used].chunks(8) {
                let mut bytes = [0; 8];
                bytes[..word.len()].copy_from_slice(word);
                mixed = (mixed ^ u64::from_le_bytes(bytes)).wrapping_mul(0xff51_afd7_ed55_8ccd);
                mixed ^= mixed >> 29;
            }
            *state = state.wrapping_add(mixed);
        }
    }

    /// The digest of content held in memory.
    #[must_use]
    pub fn of(content: &[u8]) -> Self {
        let mut digest = Self::default();
        let mut offset = 0;
        for piece in content.chunks(Self::PIECE_LEN as usize) {
            digest.add(offset, piece);
            offset += Self::PIECE_LEN;
        }
        digest
    }
}

impl std::fmt::Display for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}{:016x}", self.0, self.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc32c_of_the_published_check_string() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
    }

    #[test]
    fn content_sees_every_byte_and_its_place_but_not_zeros() {
        let mut content = vec![7; 10_000];
        let whole = Content::of(&content);
        content[9_999] = 8;
        assert_ne!(whole, Content::of(&content));
        let mut moved = vec![0; 20_000];
        moved[4096..4196].fill(5);
        let mut elsewhere = vec![0; 20_000];
        elsewhere[8192..8292].fill(5);
        assert_ne!(Content::of(&moved), Content::of(&elsewhere));
        assert_eq!(Content::of(&[0; 50_000]), Content::default());
    }
}
