//! The providers of CRC32C that are compared.

use tapedump_core::checksum::Crc32c;

/// The `crc32c` crate: the processor's CRC instruction, three chains at a time; tables without it.
#[derive(Clone, Copy, Debug)]
pub struct Instruction;

impl Crc32c for Instruction {
    fn update(crc: u32, data: &[u8]) -> u32 {
        crc32c::crc32c_append(crc, data)
    }
}

/// The `crc-fast` crate: carry-less multiplication beside the CRC instruction.
#[derive(Clone, Copy, Debug)]
pub struct Folding;

impl Crc32c for Folding {
    fn update(crc: u32, data: &[u8]) -> u32 {
        let before = u64::from(!crc);
        let mut digest = crc_fast::Digest::new_with_init_state(crc_fast::CrcAlgorithm::Crc32Iscsi, before);
        digest.update(data);
        digest.finalize() as u32
    }
}

/// No checksum: what is left is the cost of everything else. Never for a tape.
#[derive(Clone, Copy, Debug)]
pub struct Nothing;

impl Crc32c for Nothing {
    fn update(crc: u32, _data: &[u8]) -> u32 {
        crc
    }
}

#[cfg(test)]
mod tests {
    use super::{Folding, Instruction};
    use tapedump_core::checksum::{Crc32c, PortableCrc32c};

    #[test]
    fn all_providers_agree_at_every_length() {
        let data: Vec<u8> = (0..4096u32).map(|n| (n.wrapping_mul(0x9e37_79b1) >> 13) as u8).collect();
        for len in (0..300).chain([1019, 1020, 1024, 2048, 4096]) {
            let (first, rest) = data[..len].split_at(len / 3);
            let expected = PortableCrc32c::update(0, &data[..len]);
            assert_eq!(Instruction::update(Instruction::update(0, first), rest), expected, "{len}");
            assert_eq!(Folding::update(Folding::update(0, first), rest), expected, "{len}");
        }
    }
}
