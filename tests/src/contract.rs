//! The tape contract as a suite: every sentence of `TapeDevice` that holds for any healthy tape, checked by behavior.
//!
//! A tape under test gets records of one length per tape file (the last may be shorter), which is what every
//! dump writes and all that tapes in plain files can keep.

use std::fmt::Debug;
use tapedump_core::device::tape::{Space, Spaced, TapeDevice, TapePosition, TapeRead, TapeWrite};

const LEN: usize = 4096;

const fn at(file: u32, record: u64) -> TapePosition {
    TapePosition { file, record }
}

/// A record whose every byte depends on `seed` and its place.
fn record(seed: u8, len: usize) -> Vec<u8> {
    (0..len).map(|index| (index as u8).wrapping_mul(31).wrapping_add((index >> 8) as u8) ^ seed).collect()
}

fn read<T: TapeDevice>(tape: &mut T) -> (TapeRead, Vec<u8>) {
    let mut buf = vec![0xa5; LEN];
    let read = tape.read(&mut buf).expect("reading");
    if let TapeRead::Record(len) = read {
        assert!(buf[len..].iter().all(|byte| *byte == 0xa5), "bytes behind the record are left alone");
        buf.truncate(len);
    } else {
        buf.clear();
    }
    (read, buf)
}

fn expect_record<T: TapeDevice>(tape: &mut T, seed: u8, len: usize) {
    let (got, bytes) = read(tape);
    assert_eq!(got, TapeRead::Record(len));
    assert!(bytes == record(seed, len), "the record {seed} reads back as it was written");
}

fn expect_mark<T: TapeDevice>(tape: &mut T, mark: TapeRead) {
    assert_eq!(read(tape).0, mark);
}

fn write<T: TapeDevice>(tape: &mut T, seed: u8, len: usize) {
    assert_eq!(tape.write(&record(seed, len)).expect("writing"), TapeWrite::Written);
}

fn filemark<T: TapeDevice>(tape: &mut T) {
    assert_eq!(tape.write_filemark().expect("filemark"), TapeWrite::Written);
}

fn expect_at<T: TapeDevice>(tape: &mut T, place: TapePosition) {
    assert_eq!(tape.position().expect("position"), place);
}

/// Three tape files: records 1, 2, 3; none; 4, 5 with the last shorter. At the end of data.
fn written<T: TapeDevice>(mut tape: T) -> T {
    for seed in 1..=3 {
        write(&mut tape, seed, LEN);
    }
    filemark(&mut tape);
    filemark(&mut tape);
    write(&mut tape, 4, LEN);
    write(&mut tape, 5, 1024);
    filemark(&mut tape);
    expect_at(&mut tape, at(3, 0));
    tape
}

/// Runs the suite over tapes that keep several tape files. `make` gives a blank tape, at its beginning, with room
/// for at least 64 records of its longest length.
///
/// # Panics
/// When the tape breaks the contract.
pub fn tape_device_contract<T: TapeDevice>(make: impl Fn() -> T) {
    one_tape_file_contract(&make);
    reads_all_tape_files(make());
    locates(written(make()));
    spaces_over_records(written(make()));
    spaces_over_filemarks(written(make()));
    writing_in_the_middle_ends_the_tape(&make);
    a_filemark_in_the_middle_ends_the_tape(&make);
    unclosed_file_ends_in_end_of_data(make());
    works_by_reference(&mut make());
}

/// The part of the suite that a tape with room for one tape file can pass.
///
/// # Panics
/// When the tape breaks the contract.
pub fn one_tape_file_contract<T: TapeDevice>(make: impl Fn() -> T) {
    blank(make());
    keeps_records(make());
    small_buffers(make());
    refuses_impossible_records(make());
    longest_record(make());
    unload(make());
}

fn blank<T: TapeDevice>(mut tape: T) {
    let capabilities = tape.capabilities();
    assert!(capabilities.can_position && !capabilities.write_protected);
    expect_at(&mut tape, at(0, 0));
    for _ in 0..3 {
        expect_mark(&mut tape, TapeRead::EndOfData);
        expect_at(&mut tape, at(0, 0));
    }
    assert_eq!(tape.read(&mut []).expect("empty buffer"), TapeRead::EndOfData);
    assert_eq!(tape.space(Space::Records(1)).expect("spacing"), Spaced::EndOfData);
    assert_eq!(tape.space(Space::Records(-1)).expect("spacing"), Spaced::BeginningOfTape);
    assert_eq!(tape.space(Space::Filemarks(1)).expect("spacing"), Spaced::EndOfData);
    assert_eq!(tape.space(Space::Filemarks(-1)).expect("spacing"), Spaced::BeginningOfTape);
    assert_eq!(tape.space(Space::EndOfData).expect("spacing"), Spaced::Done);
    assert_eq!(tape.locate(at(0, 1)).expect("locating"), Spaced::EndOfData);
    assert_eq!(tape.locate(at(1, 0)).expect("locating"), Spaced::EndOfData);
    expect_at(&mut tape, at(0, 0));
    assert_eq!(tape.capabilities(), capabilities);
}

fn keeps_records<T: TapeDevice>(mut tape: T) {
    let capabilities = tape.capabilities();
    for seed in 0..40 {
        expect_at(&mut tape, at(0, u64::from(seed)));
        write(&mut tape, seed, LEN);
    }
    write(&mut tape, 40, 512);
    filemark(&mut tape);
    expect_at(&mut tape, at(1, 0));
    expect_mark(&mut tape, TapeRead::EndOfData);
    for _ in 0..2 {
        tape.rewind().expect("rewinding");
        expect_at(&mut tape, at(0, 0));
        for seed in 0..40 {
            expect_record(&mut tape, seed, LEN);
            expect_at(&mut tape, at(0, u64::from(seed) + 1));
        }
        expect_record(&mut tape, 40, 512);
        expect_mark(&mut tape, TapeRead::Filemark);
        expect_at(&mut tape, at(1, 0));
        expect_mark(&mut tape, TapeRead::EndOfData);
        expect_mark(&mut tape, TapeRead::EndOfData);
        expect_at(&mut tape, at(1, 0));
    }
    assert_eq!(tape.capabilities(), capabilities);
}

fn small_buffers<T: TapeDevice>(mut tape: T) {
    write(&mut tape, 1, LEN);
    write(&mut tape, 2, LEN);
    filemark(&mut tape);
    tape.rewind().expect("rewinding");
    for len in [0, 1, LEN - 1] {
        let mut buf = vec![0; len];
        let read = tape.read(&mut buf).expect("reading");
        assert_eq!(read, TapeRead::BufferTooSmall { needed: LEN });
        expect_at(&mut tape, at(0, 0));
    }
    expect_record(&mut tape, 1, LEN);
    assert_eq!(tape.read(&mut [0; 8]).expect("reading"), TapeRead::BufferTooSmall { needed: LEN });
    expect_at(&mut tape, at(0, 1));
    let mut exact = vec![0; LEN];
    assert_eq!(tape.read(&mut exact).expect("reading"), TapeRead::Record(LEN));
    assert!(exact == record(2, LEN));
    assert_eq!(tape.read(&mut []).expect("empty buffer"), TapeRead::Filemark);
    expect_at(&mut tape, at(1, 0));
}

fn refuses_impossible_records<T: TapeDevice>(mut tape: T) {
    write(&mut tape, 1, LEN);
    let too_long = vec![0; tape.capabilities().record_len_max + 1];
    for impossible in [&[][..], &too_long] {
        assert!(tape.write(impossible).is_err(), "a record of {} bytes", impossible.len());
        expect_at(&mut tape, at(0, 1));
    }
    write(&mut tape, 2, LEN);
    filemark(&mut tape);
    tape.rewind().expect("rewinding");
    expect_record(&mut tape, 1, LEN);
    expect_record(&mut tape, 2, LEN);
    expect_mark(&mut tape, TapeRead::Filemark);
}

fn longest_record<T: TapeDevice>(mut tape: T) {
    let len = tape.capabilities().record_len_max;
    write(&mut tape, 9, len);
    filemark(&mut tape);
    tape.rewind().expect("rewinding");
    let mut buf = vec![0; len];
    assert_eq!(tape.read(&mut buf).expect("reading"), TapeRead::Record(len));
    assert!(buf == record(9, len));
}

fn unload<T: TapeDevice>(mut tape: T) {
    write(&mut tape, 1, LEN);
    tape.unload().expect("unloading makes durable and gives the medium back");
}

fn reads_all_tape_files<T: TapeDevice>(tape: T) {
    let mut tape = written(tape);
    tape.rewind().expect("rewinding");
    for seed in 1..=3 {
        expect_record(&mut tape, seed, LEN);
    }
    expect_mark(&mut tape, TapeRead::Filemark);
    expect_at(&mut tape, at(1, 0));
    expect_mark(&mut tape, TapeRead::Filemark);
    expect_at(&mut tape, at(2, 0));
    expect_record(&mut tape, 4, LEN);
    expect_record(&mut tape, 5, 1024);
    expect_at(&mut tape, at(2, 2));
    expect_mark(&mut tape, TapeRead::Filemark);
    expect_mark(&mut tape, TapeRead::EndOfData);
    expect_at(&mut tape, at(3, 0));
}

fn locates<T: TapeDevice>(mut tape: T) {
    for (place, seed, len) in
        [(at(2, 1), 5, 1024), (at(0, 2), 3, LEN), (at(2, 0), 4, LEN), (at(0, 0), 1, LEN)]
    {
        assert_eq!(tape.locate(place).expect("locating"), Spaced::Done);
        expect_at(&mut tape, place);
        expect_record(&mut tape, seed, len);
    }
    for place in [at(0, 3), at(1, 0), at(2, 2)] {
        assert_eq!(tape.locate(place).expect("locating"), Spaced::Done);
        expect_at(&mut tape, place);
        expect_mark(&mut tape, TapeRead::Filemark);
        expect_at(&mut tape, at(place.file + 1, 0));
    }
    assert_eq!(tape.locate(at(3, 0)).expect("locating"), Spaced::Done);
    for behind in [at(3, 1), at(4, 0), at(u32::MAX, u64::MAX)] {
        tape.rewind().expect("rewinding");
        assert_eq!(tape.locate(behind).expect("locating"), Spaced::EndOfData);
        expect_at(&mut tape, at(3, 0));
    }
}

/// From a place, spaces; checks where that ends and what for.
fn spaces<T: TapeDevice>(tape: &mut T, from: TapePosition, by: Space, to: TapePosition, how: Spaced) {
    assert_eq!(tape.locate(from).expect("locating"), Spaced::Done);
    let spaced = tape.space(by).expect("spacing");
    let ended = tape.position().expect("position");
    assert_eq!((ended, spaced), (to, how), "from {from:?} by {by:?}");
}

fn spaces_over_records<T: TapeDevice>(mut tape: T) {
    let tape = &mut tape;
    for (from, count, to, how) in [
        (at(0, 0), 0, at(0, 0), Spaced::Done),
        (at(0, 0), 2, at(0, 2), Spaced::Done),
        (at(0, 1), 2, at(0, 3), Spaced::Done),
        (at(0, 1), 3, at(1, 0), Spaced::Filemark),
        (at(1, 0), i64::MAX, at(2, 0), Spaced::Filemark),
        (at(3, 0), 1, at(3, 0), Spaced::EndOfData),
        (at(2, 2), -2, at(2, 0), Spaced::Done),
        (at(2, 0), -1, at(1, 0), Spaced::Filemark),
        (at(1, 0), -1, at(0, 3), Spaced::Filemark),
        (at(3, 0), i64::MIN, at(2, 2), Spaced::Filemark),
        (at(0, 2), -3, at(0, 0), Spaced::BeginningOfTape),
    ] {
        spaces(tape, from, Space::Records(count), to, how);
    }
    spaces(tape, at(0, 0), Space::Records(2), at(0, 2), Spaced::Done);
    expect_record(tape, 3, LEN);
    assert_eq!(tape.space(Space::Records(-2)).expect("spacing"), Spaced::Done);
    expect_record(tape, 2, LEN);
}

fn spaces_over_filemarks<T: TapeDevice>(mut tape: T) {
    let tape = &mut tape;
    for (from, count, to, how) in [
        (at(0, 1), 0, at(0, 1), Spaced::Done),
        (at(0, 1), 1, at(1, 0), Spaced::Done),
        (at(0, 0), 3, at(3, 0), Spaced::Done),
        (at(0, 0), 4, at(3, 0), Spaced::EndOfData),
        (at(3, 0), -1, at(2, 2), Spaced::Done),
        (at(3, 0), -3, at(0, 3), Spaced::Done),
        (at(2, 1), -1, at(1, 0), Spaced::Done),
        (at(2, 1), -3, at(0, 0), Spaced::BeginningOfTape),
        (at(0, 2), -1, at(0, 0), Spaced::BeginningOfTape),
    ] {
        spaces(tape, from, Space::Filemarks(count), to, how);
    }
    spaces(tape, at(0, 1), Space::EndOfData, at(3, 0), Spaced::Done);
    expect_mark(tape, TapeRead::EndOfData);
    // Reading on after a move goes on from there, however far ahead the device had read.
    tape.rewind().expect("rewinding");
    expect_record(tape, 1, LEN);
    assert_eq!(tape.space(Space::Filemarks(2)).expect("spacing"), Spaced::Done);
    expect_record(tape, 4, LEN);
}

fn writing_in_the_middle_ends_the_tape<T: TapeDevice>(make: &impl Fn() -> T) {
    for (place, before) in [(at(0, 0), 0), (at(0, 1), 1), (at(0, 3), 3)] {
        let mut tape = written(make());
        tape.locate(place).expect("locating");
        write(&mut tape, 77, LEN);
        expect_at(&mut tape, at(0, place.record + 1));
        expect_mark(&mut tape, TapeRead::EndOfData);
        tape.rewind().expect("rewinding");
        for seed in 1..=before {
            expect_record(&mut tape, seed, LEN);
        }
        expect_record(&mut tape, 77, LEN);
        expect_mark(&mut tape, TapeRead::EndOfData);
        expect_mark(&mut tape, TapeRead::EndOfData);
        filemark(&mut tape);
        expect_mark(&mut tape, TapeRead::EndOfData);
        expect_at(&mut tape, at(1, 0));
    }
}

fn a_filemark_in_the_middle_ends_the_tape<T: TapeDevice>(make: &impl Fn() -> T) {
    for (place, before) in [(at(0, 0), 0), (at(0, 2), 2)] {
        let mut tape = written(make());
        tape.locate(place).expect("locating");
        filemark(&mut tape);
        expect_at(&mut tape, at(1, 0));
        expect_mark(&mut tape, TapeRead::EndOfData);
        tape.rewind().expect("rewinding");
        for seed in 1..=before {
            expect_record(&mut tape, seed, LEN);
        }
        expect_mark(&mut tape, TapeRead::Filemark);
        expect_mark(&mut tape, TapeRead::EndOfData);
    }
}

fn unclosed_file_ends_in_end_of_data<T: TapeDevice>(tape: T) {
    let mut tape = written(tape);
    write(&mut tape, 6, LEN);
    write(&mut tape, 7, LEN);
    expect_at(&mut tape, at(3, 2));
    assert_eq!(tape.space(Space::Records(-1)).expect("spacing"), Spaced::Done);
    expect_record(&mut tape, 7, LEN);
    expect_mark(&mut tape, TapeRead::EndOfData);
    spaces(&mut tape, at(3, 0), Space::Records(3), at(3, 2), Spaced::EndOfData);
    spaces(&mut tape, at(0, 0), Space::EndOfData, at(3, 2), Spaced::Done);
    write(&mut tape, 8, LEN);
    filemark(&mut tape);
    spaces(&mut tape, at(3, 0), Space::Records(2), at(3, 2), Spaced::Done);
    expect_record(&mut tape, 8, LEN);
    expect_mark(&mut tape, TapeRead::Filemark);
}

fn works_by_reference<T: TapeDevice>(mut tape: &mut T) {
    write(&mut tape, 1, LEN);
    filemark(&mut tape);
    tape.rewind().expect("rewinding");
    expect_record(&mut tape, 1, LEN);
}

/// Runs to the end of the medium. `make` gives a blank tape with room for about `capacity` bytes, whose early
/// warning comes at least `warned_records` records of `record_len` before the end.
///
/// # Panics
/// When the tape breaks the contract.
pub fn end_of_medium_contract<T: TapeDevice>(make: impl Fn() -> T, record_len: usize, warned_records: u64)
where
    T::Error: Debug,
{
    let mut tape = make();
    let mut accepted = 0_u64;
    let mut warned_at = None;
    loop {
        let written = tape.write(&record(accepted as u8, record_len)).expect("writing");
        match written {
            TapeWrite::Written => assert_eq!(warned_at, None, "once warned, always warned"),
            TapeWrite::EarlyWarning => {
                warned_at.get_or_insert(accepted);
            }
            TapeWrite::EndOfMedium => break,
        }
        accepted += 1;
        assert!(accepted < 1_000_000, "the medium ends");
    }
    let warned_at = warned_at.expect("an early warning comes first");
    assert!(accepted - warned_at >= warned_records, "warned at {warned_at} of {accepted}");
    expect_at(&mut tape, at(0, accepted));
    assert_eq!(tape.write(&record(0, record_len)).expect("writing"), TapeWrite::EndOfMedium);
    assert_ne!(tape.write_filemark().expect("a full tape still takes its filemark"), TapeWrite::EndOfMedium);

    tape.rewind().expect("rewinding");
    let mut buf = vec![0; record_len];
    for index in 0..accepted {
        assert_eq!(tape.read(&mut buf).expect("reading"), TapeRead::Record(record_len), "record {index}");
        assert!(buf == record(index as u8, record_len), "record {index} is on the medium");
    }
    assert_eq!(tape.read(&mut buf).expect("reading"), TapeRead::Filemark);
    assert_eq!(tape.read(&mut buf).expect("reading"), TapeRead::EndOfData);
}
