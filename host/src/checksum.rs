//! CRC32C by the processor's own instructions, where it has them.

use tapedump_core::checksum::Crc32c;

/// The host's provider of checksums.
#[derive(Clone, Copy, Debug, Default)]
pub struct HostCrc32c;

impl Crc32c for HostCrc32c {
    fn update(crc: u32, data: &[u8]) -> u32 {
        let before = u64::from(!crc);
        let mut digest = crc_fast::Digest::new_with_init_state(crc_fast::CrcAlgorithm::Crc32Iscsi, before);
        digest.update(data);
        // A 32-bit algorithm: the upper half is zero.
        digest.finalize() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tapedump_core::checksum::PortableCrc32c;

    #[test]
    fn agrees_with_the_portable_one() {
        let data: Vec<u8> = (0..5000_u32).map(|index| ((index * index) >> 3) as u8).collect();
        for len in [0, 1, 7, 8, 9, 1020, 1024, 5000] {
            for from in [0, 1, 3] {
                let part = &data[from.min(len)..len];
                let start = PortableCrc32c::update(0, &data[..from]);
                assert_eq!(
                    HostCrc32c::update(start, part),
                    PortableCrc32c::update(start, part),
                    "{from}..{len}"
                );
            }
        }
        assert_eq!(HostCrc32c::update(0, b"123456789"), 0xe306_9283);
    }
}
