//! Long holes in the file of a tape: nobody can have written them, and reading terabytes of zeros would take days.
//! Layer: below the tapes that are files.
//!
//! Short ones are read as the zeros they stand for, since a program that copies a tape may leave out zeros. In a dump, a
//! header follows at the latest after a segment of 512 tape blocks, except in the maps, which are at its beginning.

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;
use std::fs::File;
use tapedump_core::limits::MAP_LEN_MAX;

/// The longest hole that stands for zeros of a dump: more than a segment.
const HOLE_LEN_MAX: u64 = 1 << 20;
/// Where both maps end at the latest.
const MAPS_END: u64 = 2 * MAP_LEN_MAX as u64 + HOLE_LEN_MAX;

/// Where data comes again, or the end, when `from` is in a long hole of a file of `len` bytes. `dense_until` is kept by
/// the caller from call to call: no need to ask again before.
pub(super) fn end_of_long_hole(file: &File, from: u64, len: u64, dense_until: &mut u64) -> Option<u64> {
    if from < MAPS_END || from < *dense_until {
        return None;
    }
    let data = match seek(file, SeekFrom::Data(from)) {
        Ok(data) => data.min(len),
        Err(Errno::NXIO) => len,
        Err(_) => {
            // A file system that does not tell.
            *dense_until = u64::MAX;
            return None;
        }
    };
    if data.saturating_sub(from) > HOLE_LEN_MAX {
        return Some(data);
    }
    *dense_until = seek(file, SeekFrom::Hole(data)).unwrap_or(len);
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    #[test]
    fn only_long_holes_behind_the_maps_are_passed_over() {
        let file = tempfile::tempfile().unwrap();
        // File systems tell holes by whole blocks.
        let (data, end) = (640 << 20, 656 << 20);
        file.write_all_at(&[1; 1 << 16], data).unwrap();
        file.set_len(end).unwrap();
        let mut dense_until = 0;
        let mut at = |from| end_of_long_hole(&file, from, end, &mut dense_until);
        assert_eq!(at(0), None);
        assert_eq!(at(MAPS_END - 1), None);
        assert_eq!(at(MAPS_END), Some(data));
        assert_eq!(at(data - HOLE_LEN_MAX), None);
        assert_eq!(at(data), None);
        assert_eq!(at(data + (1 << 16)), Some(end));
    }
}
