//! Positioning on a tape whose layout is known: pure rules, shared by the tapes that are files. Layer: below them.

use tapedump_core::device::tape::{Space, Spaced, TapePosition};

/// What is written on a tape. Every tape file but the last ends in a filemark; the last may.
pub(super) trait Layout {
    /// Number of tape files.
    fn files(&self) -> u32;
    /// Records in a tape file.
    fn records(&self, file: u32) -> u64;
    /// Whether a filemark ends this file.
    fn ends_in_filemark(&self, file: u32) -> bool;
}

/// The end of data: behind the last filemark, or behind the last record where none follows it.
fn end_of_data(tape: &(impl Layout + ?Sized)) -> TapePosition {
    match tape.files().checked_sub(1) {
        Some(last) if !tape.ends_in_filemark(last) => TapePosition { file: last, record: tape.records(last) },
        _ => TapePosition { file: tape.files(), record: 0 },
    }
}

/// Where `locate(to)` ends.
pub(super) fn locate(tape: &(impl Layout + ?Sized), to: TapePosition) -> (TapePosition, Spaced) {
    let end = end_of_data(tape);
    if to > end {
        return (end, Spaced::EndOfData);
    }
    if to.record > tape.records(to.file) {
        // The filemark of that file is in the way.
        return (TapePosition { file: to.file + 1, record: 0 }, Spaced::Filemark);
    }
    (to, Spaced::Done)
}

/// Where `space(by)` from `at` ends.
pub(super) fn space(tape: &(impl Layout + ?Sized), at: TapePosition, by: Space) -> (TapePosition, Spaced) {
    match by {
        Space::EndOfData => (end_of_data(tape), Spaced::Done),
        Space::Records(count @ 0..) => records_forward(tape, at, count.unsigned_abs()),
        Space::Records(count) => records_back(tape, at, count.unsigned_abs()),
        Space::Filemarks(0) => (at, Spaced::Done),
        Space::Filemarks(count @ 1..) => {
            let end = end_of_data(tape);
            match u64::from(at.file).checked_add(count.unsigned_abs()) {
                Some(file) if file <= u64::from(end.file) => {
                    (TapePosition { file: file as u32, record: 0 }, Spaced::Done)
                }
                _ => (end, Spaced::EndOfData),
            }
        }
        Space::Filemarks(count) => match u64::from(at.file).checked_sub(count.unsigned_abs()) {
            Some(file) => (before_filemark(tape, file as u32), Spaced::Done),
            None => (TapePosition::default(), Spaced::BeginningOfTape),
        },
    }
}

fn before_filemark(tape: &(impl Layout + ?Sized), file: u32) -> TapePosition {
    TapePosition { file, record: tape.records(file) }
}

fn records_forward(tape: &(impl Layout + ?Sized), at: TapePosition, count: u64) -> (TapePosition, Spaced) {
    if at.record.checked_add(count).is_some_and(|record| record <= tape.records(at.file)) {
        return (TapePosition { file: at.file, record: at.record + count }, Spaced::Done);
    }
    if tape.ends_in_filemark(at.file) {
        (TapePosition { file: at.file + 1, record: 0 }, Spaced::Filemark)
    } else {
        (end_of_data(tape), Spaced::EndOfData)
    }
}

fn records_back(tape: &(impl Layout + ?Sized), at: TapePosition, count: u64) -> (TapePosition, Spaced) {
    if let Some(record) = at.record.checked_sub(count) {
        return (TapePosition { file: at.file, record }, Spaced::Done);
    }
    match at.file.checked_sub(1) {
        Some(file) => (before_filemark(tape, file), Spaced::Filemark),
        None => (TapePosition::default(), Spaced::BeginningOfTape),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Records per file; the last file ends in a filemark or not.
    struct Drawn(&'static [u64], bool);

    impl Layout for Drawn {
        fn files(&self) -> u32 {
            self.0.len() as u32
        }
        fn records(&self, file: u32) -> u64 {
            self.0.get(file as usize).copied().unwrap_or(0)
        }
        fn ends_in_filemark(&self, file: u32) -> bool {
            (file as usize) < self.0.len() - usize::from(!self.1)
        }
    }

    const fn at(file: u32, record: u64) -> TapePosition {
        TapePosition { file, record }
    }

    const CLOSED: Drawn = Drawn(&[3, 0, 2], true);
    const OPEN: Drawn = Drawn(&[3, 0, 2], false);

    #[test]
    fn locating() {
        assert_eq!(locate(&CLOSED, at(2, 2)), (at(2, 2), Spaced::Done));
        assert_eq!(locate(&CLOSED, at(3, 0)), (at(3, 0), Spaced::Done));
        assert_eq!(locate(&CLOSED, at(3, 1)), (at(3, 0), Spaced::EndOfData));
        assert_eq!(locate(&CLOSED, at(0, 4)), (at(1, 0), Spaced::Filemark));
        assert_eq!(locate(&OPEN, at(2, 3)), (at(2, 2), Spaced::EndOfData));
        assert_eq!(locate(&OPEN, at(u32::MAX, u64::MAX)), (at(2, 2), Spaced::EndOfData));
    }

    #[test]
    fn spacing_records() {
        let forward = |tape: &Drawn, from, count| space(tape, from, Space::Records(count));
        assert_eq!(forward(&CLOSED, at(0, 1), 2), (at(0, 3), Spaced::Done));
        assert_eq!(forward(&CLOSED, at(0, 1), 3), (at(1, 0), Spaced::Filemark));
        assert_eq!(forward(&OPEN, at(2, 0), i64::MAX), (at(2, 2), Spaced::EndOfData));
        assert_eq!(forward(&CLOSED, at(3, 0), 1), (at(3, 0), Spaced::EndOfData));
        assert_eq!(forward(&CLOSED, at(2, 2), -2), (at(2, 0), Spaced::Done));
        assert_eq!(forward(&CLOSED, at(2, 1), -2), (at(1, 0), Spaced::Filemark));
        assert_eq!(forward(&CLOSED, at(1, 0), -1), (at(0, 3), Spaced::Filemark));
        assert_eq!(forward(&CLOSED, at(0, 3), i64::MIN), (at(0, 0), Spaced::BeginningOfTape));
    }

    #[test]
    fn spacing_filemarks() {
        let marks = |tape: &Drawn, from, count| space(tape, from, Space::Filemarks(count));
        assert_eq!(marks(&CLOSED, at(0, 2), 3), (at(3, 0), Spaced::Done));
        assert_eq!(marks(&CLOSED, at(0, 2), 4), (at(3, 0), Spaced::EndOfData));
        assert_eq!(marks(&OPEN, at(0, 2), 3), (at(2, 2), Spaced::EndOfData));
        assert_eq!(marks(&CLOSED, at(0, 2), i64::MAX), (at(3, 0), Spaced::EndOfData));
        assert_eq!(marks(&CLOSED, at(3, 0), -1), (at(2, 2), Spaced::Done));
        assert_eq!(marks(&CLOSED, at(2, 1), -2), (at(0, 3), Spaced::Done));
        assert_eq!(marks(&CLOSED, at(2, 1), -3), (at(0, 0), Spaced::BeginningOfTape));
        assert_eq!(marks(&CLOSED, at(2, 1), 0), (at(2, 1), Spaced::Done));
        assert_eq!(space(&OPEN, at(0, 0), Space::EndOfData), (at(2, 2), Spaced::Done));
        assert_eq!(space(&Drawn(&[], true), at(0, 0), Space::EndOfData), (at(0, 0), Spaced::Done));
    }
}
