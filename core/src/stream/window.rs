//! Moving bytes within the memory that a stream is read through.

/// Moves what begins at `from` to the front, and gives its length. In pieces that do not overlap: unlike
/// `copy_within`, that is free of panics for the compiler to see.
pub(super) fn move_to_front(bytes: &mut [u8], from: usize) -> usize {
    let len = bytes.len().saturating_sub(from);
    if from == 0 {
        return len;
    }
    let mut rest = bytes;
    let mut left = len;
    while left > 0 {
        let piece = left.min(from);
        let Some((front, back)) = rest.split_at_mut_checked(from) else { break };
        let (Some(to), Some(of)) = (front.get_mut(..piece), back.get(..piece)) else { break };
        to.copy_from_slice(of);
        left -= piece;
        rest = rest.get_mut(piece..).unwrap_or_default();
    }
    len
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::move_to_front;
    use std::vec::Vec;

    #[test]
    fn moves_any_part_to_the_front() {
        for len in 0..20 {
            for from in 0..25 {
                let mut bytes: Vec<u8> = (0..len).collect();
                let expected: Vec<u8> = (from..len).collect();
                let moved = move_to_front(&mut bytes, from.into());
                assert_eq!(bytes.get(..moved), Some(&expected[..]), "{from} of {len}");
            }
        }
    }
}
