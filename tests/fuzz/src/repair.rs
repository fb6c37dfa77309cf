//! Sets checksums right (`format.md` 1.3, `catalog.md`, `history.md`, `context.md`).

use tapedump_core::checksum::{Crc32c, PortableCrc32c};
use tapedump_core::limits::PAGE_LEN;
use tapedump_core::units::TAPE_BLOCK_LEN;

const SUM: u32 = 84446;
const SUM_AT: usize = 28;
const MAGIC_AT: usize = 24;
const MAGICS: [u32; 4] = [60012, 60011, 60013, 0x1954_0119];
const EXTENSION_AT: usize = 904;
const DATA_CRC_AT: usize = 956;
const HEADER_CRC_AT: usize = 1020;
/// Bytes of a page of a history before the payload.
const HISTORY_HEAD_LEN: usize = 48;

fn crc(start: u32, bytes: &[u8]) -> u32 {
    PortableCrc32c::update(start, bytes)
}

fn word(bytes: &[u8], at: usize) -> [u8; 4] {
    bytes[at..at + 4].try_into().expect("four bytes")
}

/// Sets the checksums of a block right if it has the magic of a header: `true`.
pub fn header(block: &mut [u8], data_crc: Option<u32>) -> bool {
    let magic = word(block, MAGIC_AT);
    let read = if MAGICS.contains(&u32::from_be_bytes(magic)) {
        u32::from_be_bytes
    } else if MAGICS.contains(&u32::from_le_bytes(magic)) {
        u32::from_le_bytes
    } else {
        return false;
    };
    let big = MAGICS.contains(&u32::from_be_bytes(magic));
    block[SUM_AT..SUM_AT + 4].fill(0);
    if block[EXTENSION_AT..].starts_with(b"TDH1") {
        if let Some(data_crc) = data_crc {
            block[DATA_CRC_AT..DATA_CRC_AT + 4].copy_from_slice(&data_crc.to_be_bytes());
        }
        let own = crc(0, &block[..HEADER_CRC_AT]);
        block[HEADER_CRC_AT..HEADER_CRC_AT + 4].copy_from_slice(&own.to_be_bytes());
    }
    let sum = block.as_chunks().0.iter().fold(0_u32, |sum, word| sum.wrapping_add(read(*word)));
    let missing = SUM.wrapping_sub(sum);
    let missing = if big { missing.to_be_bytes() } else { missing.to_le_bytes() };
    block[SUM_AT..SUM_AT + 4].copy_from_slice(&missing);
    true
}

/// Sets the checksums of all headers on a tape right; those of data, too, if `with_data`.
pub fn tape(tape: &mut [u8], with_data: bool) {
    let mut data_crc = 0;
    for block in tape.chunks_exact_mut(TAPE_BLOCK_LEN) {
        if header(block, with_data.then_some(data_crc)) {
            data_crc = 0;
        } else {
            data_crc = crc(data_crc, block);
        }
    }
}

fn seal(page: &mut [u8], salt: u32) {
    let sum = crc(salt, &page[4..]);
    page[..4].copy_from_slice(&sum.to_be_bytes());
}

/// Sets the checksums of all pages of a catalog right.
pub fn catalog(image: &mut [u8]) {
    let is_head = |page: &[u8]| page[4..].starts_with(b"TDC");
    // The salt is that of the first head.
    let head = image.chunks_exact(PAGE_LEN).take(2).find(|page| is_head(page));
    let salt = head.map_or(0, |head| crc(crc(0, &head[8..24]), &head[56..64]));
    for page in image.chunks_exact_mut(PAGE_LEN) {
        seal(page, if is_head(page) { 0 } else { salt });
    }
}

/// Sets the checksums of a copy of a context right, of as many parts as lie in it.
pub fn context(copy: &mut [u8]) {
    let mut at = PAGE_LEN;
    for part in 0..8 {
        let place = 16 + 12 * part;
        let len: [u8; 8] = copy[place..place + 8].try_into().expect("eight bytes");
        let len = usize::try_from(u64::from_be_bytes(len)).unwrap_or(usize::MAX);
        let Some(bytes) = at.checked_add(len).and_then(|end| copy.get(at..end)) else { break };
        let sum = crc(0, bytes);
        copy[place + 8..place + 12].copy_from_slice(&sum.to_be_bytes());
        at += len.next_multiple_of(PAGE_LEN);
    }
    seal(&mut copy[..PAGE_LEN], 0);
}

/// Sets the checksums of all pages of a history right, and those of the records whose pages lie as they should.
pub fn history(image: &mut [u8]) {
    let mut at = 0;
    while let Some(head) = image.get(at..at + PAGE_LEN) {
        let len = u32::from_be_bytes(word(head, 36)) as usize;
        let pages = len.div_ceil(PAGE_LEN - HISTORY_HEAD_LEN).clamp(1, (image.len() - at) / PAGE_LEN);
        if head[4..].starts_with(b"TDL") {
            let mut left = len;
            let mut payload = 0;
            for page in image[at..].chunks_exact(PAGE_LEN).take(pages) {
                let piece = &page[HISTORY_HEAD_LEN..][..left.min(PAGE_LEN - HISTORY_HEAD_LEN)];
                payload = crc(payload, piece);
                left -= piece.len();
            }
            for page in image[at..].chunks_exact_mut(PAGE_LEN).take(pages) {
                page[32..36].copy_from_slice(&payload.to_be_bytes());
                seal(page, 0);
            }
            at += pages * PAGE_LEN;
        } else {
            seal(&mut image[at..at + PAGE_LEN], 0);
            at += PAGE_LEN;
        }
    }
}
