//! The checks of the suite: every sentence of the tape contract that holds for any healthy tape, by behavior.
//!
//! A tape under test gets records of one length per tape file (the last may be shorter), which is what every
//! dump writes and all that tapes in plain files can keep.

use super::{Area, Check, Make, Outcome};
use std::fmt::Debug;
use tapedump_core::device::tape::{Space, Spaced, TapeDevice, TapePosition, TapeRead, TapeWrite};

/// Fails unless the two are equal.
macro_rules! same {
    ($got:expr, $want:expr $(, $($note:tt)+)?) => {{
        let (got, want) = ($got, $want);
        if got != want {
            let note = String::new() $(+ " (" + &format!($($note)+) + ")")?;
            return Err(format!("{} is {got:?} instead of {want:?}{note}", stringify!($got)));
        }
    }};
}

/// Fails unless it is true.
macro_rules! holds {
    ($condition:expr, $($note:tt)+) => {
        if !$condition {
            return Err(format!("not so: {}", format!($($note)+)));
        }
    };
}

/// What was being done, for an error.
fn told<E: Debug>(doing: &'static str) -> impl Fn(E) -> String {
    move |error| format!("{doing}: {error:?}")
}

/// The checks, in the order in which a fault of a tape shows best.
pub(super) fn all<T: TapeDevice>() -> Vec<Check<T>> {
    let check = |area, name, run| Check { area, name, run };
    vec![
        check(Area::Blank, "a blank tape has an end and nothing else", |make| blank(make()?)),
        check(Area::Records, "records come back as they were written", |make| keeps_records(make()?)),
        check(Area::Records, "short buffers get the length that is needed", |make| small_buffers(make()?)),
        check(Area::Records, "records of no and of too great length are refused", |make| {
            refuses_impossible_records(make()?)
        }),
        check(Area::Records, "the longest record comes back", |make| longest_record(make()?)),
        check(Area::Filemarks, "tape files are read one after the other", |make| {
            reads_all_tape_files(make()?)
        }),
        check(
            Area::Filemarks,
            "a filemark in the middle ends the tape",
            a_filemark_in_the_middle_ends_the_tape,
        ),
        check(Area::Filemarks, "a write in the middle ends the tape", writing_in_the_middle_ends_the_tape),
        check(Area::Filemarks, "a tape file that was not closed ends in the end of data", |make| {
            unclosed_file_ends_in_end_of_data(make()?)
        }),
        check(Area::Positioning, "it goes to a place", |make| locates(written(make()?)?)),
        check(Area::Positioning, "it spaces over records", |make| spaces_over_records(written(make()?)?)),
        check(Area::Positioning, "it spaces over filemarks", |make| spaces_over_filemarks(written(make()?)?)),
        check(Area::Positioning, "it works by reference", |make| works_by_reference(&mut make()?)),
        check(Area::Unloading, "it unloads", |make| unload(make()?)),
    ]
}

const LEN: usize = 4096;

const fn at(file: u32, record: u64) -> TapePosition {
    TapePosition { file, record }
}

/// A record whose every byte depends on `seed` and its place.
pub(super) fn record(seed: u8, len: usize) -> Vec<u8> {
    (0..len).map(|index| (index as u8).wrapping_mul(31).wrapping_add((index >> 8) as u8) ^ seed).collect()
}

fn read<T: TapeDevice>(tape: &mut T) -> Result<(TapeRead, Vec<u8>), String> {
    let mut buf = vec![0xa5; LEN];
    let read = tape.read(&mut buf).map_err(told("reading"))?;
    if let TapeRead::Record(len) = read {
        holds!(buf[len..].iter().all(|byte| *byte == 0xa5), "bytes behind the record are left alone");
        buf.truncate(len);
    } else {
        buf.clear();
    }
    Ok((read, buf))
}

fn expect_record<T: TapeDevice>(tape: &mut T, seed: u8, len: usize) -> Outcome {
    let (got, bytes) = read(tape)?;
    same!(got, TapeRead::Record(len));
    holds!(bytes == record(seed, len), "the record {seed} reads back as it was written");
    Ok(())
}

fn expect_mark<T: TapeDevice>(tape: &mut T, mark: TapeRead) -> Outcome {
    same!(read(tape)?.0, mark);
    Ok(())
}

fn write<T: TapeDevice>(tape: &mut T, seed: u8, len: usize) -> Outcome {
    same!(tape.write(&record(seed, len)).map_err(told("writing"))?, TapeWrite::Written);
    Ok(())
}

fn filemark<T: TapeDevice>(tape: &mut T) -> Outcome {
    same!(tape.write_filemark().map_err(told("filemark"))?, TapeWrite::Written);
    Ok(())
}

fn expect_at<T: TapeDevice>(tape: &mut T, place: TapePosition) -> Outcome {
    same!(tape.position().map_err(told("position"))?, place);
    Ok(())
}

/// Three tape files: records 1, 2, 3; none; 4, 5 with the last shorter. At the end of data.
fn written<T: TapeDevice>(mut tape: T) -> Result<T, String> {
    for seed in 1..=3 {
        write(&mut tape, seed, LEN)?;
    }
    filemark(&mut tape)?;
    filemark(&mut tape)?;
    write(&mut tape, 4, LEN)?;
    write(&mut tape, 5, 1024)?;
    filemark(&mut tape)?;
    expect_at(&mut tape, at(3, 0))?;
    Ok(tape)
}

fn blank<T: TapeDevice>(mut tape: T) -> Outcome {
    let capabilities = tape.capabilities();
    holds!(capabilities.can_position && !capabilities.write_protected, "it can position and is writable");
    expect_at(&mut tape, at(0, 0))?;
    for _ in 0..3 {
        expect_mark(&mut tape, TapeRead::EndOfData)?;
        expect_at(&mut tape, at(0, 0))?;
    }
    same!(tape.read(&mut []).map_err(told("empty buffer"))?, TapeRead::EndOfData);
    same!(tape.space(Space::Records(1)).map_err(told("spacing"))?, Spaced::EndOfData);
    same!(tape.space(Space::Records(-1)).map_err(told("spacing"))?, Spaced::BeginningOfTape);
    same!(tape.space(Space::Filemarks(1)).map_err(told("spacing"))?, Spaced::EndOfData);
    same!(tape.space(Space::Filemarks(-1)).map_err(told("spacing"))?, Spaced::BeginningOfTape);
    same!(tape.space(Space::EndOfData).map_err(told("spacing"))?, Spaced::Done);
    same!(tape.locate(at(0, 1)).map_err(told("locating"))?, Spaced::EndOfData);
    same!(tape.locate(at(1, 0)).map_err(told("locating"))?, Spaced::EndOfData);
    expect_at(&mut tape, at(0, 0))?;
    same!(tape.capabilities(), capabilities);
    Ok(())
}

fn keeps_records<T: TapeDevice>(mut tape: T) -> Outcome {
    let capabilities = tape.capabilities();
    for seed in 0..40 {
        expect_at(&mut tape, at(0, u64::from(seed)))?;
        write(&mut tape, seed, LEN)?;
    }
    write(&mut tape, 40, 512)?;
    filemark(&mut tape)?;
    expect_at(&mut tape, at(1, 0))?;
    expect_mark(&mut tape, TapeRead::EndOfData)?;
    for _ in 0..2 {
        tape.rewind().map_err(told("rewinding"))?;
        expect_at(&mut tape, at(0, 0))?;
        for seed in 0..40 {
            expect_record(&mut tape, seed, LEN)?;
            expect_at(&mut tape, at(0, u64::from(seed) + 1))?;
        }
        expect_record(&mut tape, 40, 512)?;
        expect_mark(&mut tape, TapeRead::Filemark)?;
        expect_at(&mut tape, at(1, 0))?;
        expect_mark(&mut tape, TapeRead::EndOfData)?;
        expect_mark(&mut tape, TapeRead::EndOfData)?;
        expect_at(&mut tape, at(1, 0))?;
    }
    same!(tape.capabilities(), capabilities);
    Ok(())
}

fn small_buffers<T: TapeDevice>(mut tape: T) -> Outcome {
    write(&mut tape, 1, LEN)?;
    write(&mut tape, 2, LEN)?;
    filemark(&mut tape)?;
    tape.rewind().map_err(told("rewinding"))?;
    for len in [0, 1, LEN - 1] {
        let mut buf = vec![0; len];
        let read = tape.read(&mut buf).map_err(told("reading"))?;
        same!(read, TapeRead::BufferTooSmall { needed: LEN });
        expect_at(&mut tape, at(0, 0))?;
    }
    expect_record(&mut tape, 1, LEN)?;
    same!(tape.read(&mut [0; 8]).map_err(told("reading"))?, TapeRead::BufferTooSmall { needed: LEN });
    expect_at(&mut tape, at(0, 1))?;
    let mut exact = vec![0; LEN];
    same!(tape.read(&mut exact).map_err(told("reading"))?, TapeRead::Record(LEN));
    holds!(exact == record(2, LEN), "a buffer of the very length gets the record");
    same!(tape.read(&mut []).map_err(told("empty buffer"))?, TapeRead::Filemark);
    expect_at(&mut tape, at(1, 0))?;
    Ok(())
}

fn refuses_impossible_records<T: TapeDevice>(mut tape: T) -> Outcome {
    write(&mut tape, 1, LEN)?;
    let too_long = vec![0; tape.capabilities().record_len_max + 1];
    for impossible in [&[][..], &too_long] {
        holds!(tape.write(impossible).is_err(), "a record of {} bytes is refused", impossible.len());
        expect_at(&mut tape, at(0, 1))?;
    }
    write(&mut tape, 2, LEN)?;
    filemark(&mut tape)?;
    tape.rewind().map_err(told("rewinding"))?;
    expect_record(&mut tape, 1, LEN)?;
    expect_record(&mut tape, 2, LEN)?;
    expect_mark(&mut tape, TapeRead::Filemark)?;
    Ok(())
}

fn longest_record<T: TapeDevice>(mut tape: T) -> Outcome {
    let len = tape.capabilities().record_len_max;
    write(&mut tape, 9, len)?;
    filemark(&mut tape)?;
    tape.rewind().map_err(told("rewinding"))?;
    let mut buf = vec![0; len];
    same!(tape.read(&mut buf).map_err(told("reading"))?, TapeRead::Record(len));
    holds!(buf == record(9, len), "the longest record comes back as it was written");
    Ok(())
}

fn unload<T: TapeDevice>(mut tape: T) -> Outcome {
    write(&mut tape, 1, LEN)?;
    tape.unload().map_err(told("unloading makes durable and gives the medium back"))?;
    Ok(())
}

fn reads_all_tape_files<T: TapeDevice>(tape: T) -> Outcome {
    let mut tape = written(tape)?;
    tape.rewind().map_err(told("rewinding"))?;
    for seed in 1..=3 {
        expect_record(&mut tape, seed, LEN)?;
    }
    expect_mark(&mut tape, TapeRead::Filemark)?;
    expect_at(&mut tape, at(1, 0))?;
    expect_mark(&mut tape, TapeRead::Filemark)?;
    expect_at(&mut tape, at(2, 0))?;
    expect_record(&mut tape, 4, LEN)?;
    expect_record(&mut tape, 5, 1024)?;
    expect_at(&mut tape, at(2, 2))?;
    expect_mark(&mut tape, TapeRead::Filemark)?;
    expect_mark(&mut tape, TapeRead::EndOfData)?;
    expect_at(&mut tape, at(3, 0))?;
    Ok(())
}

fn locates<T: TapeDevice>(mut tape: T) -> Outcome {
    for (place, seed, len) in
        [(at(2, 1), 5, 1024), (at(0, 2), 3, LEN), (at(2, 0), 4, LEN), (at(0, 0), 1, LEN)]
    {
        same!(tape.locate(place).map_err(told("locating"))?, Spaced::Done);
        expect_at(&mut tape, place)?;
        expect_record(&mut tape, seed, len)?;
    }
    for place in [at(0, 3), at(1, 0), at(2, 2)] {
        same!(tape.locate(place).map_err(told("locating"))?, Spaced::Done);
        expect_at(&mut tape, place)?;
        expect_mark(&mut tape, TapeRead::Filemark)?;
        expect_at(&mut tape, at(place.file + 1, 0))?;
    }
    same!(tape.locate(at(3, 0)).map_err(told("locating"))?, Spaced::Done);
    for behind in [at(3, 1), at(4, 0), at(u32::MAX, u64::MAX)] {
        tape.rewind().map_err(told("rewinding"))?;
        same!(tape.locate(behind).map_err(told("locating"))?, Spaced::EndOfData);
        expect_at(&mut tape, at(3, 0))?;
    }
    Ok(())
}

/// From a place, spaces; checks where that ends and what for.
fn spaces<T: TapeDevice>(
    tape: &mut T,
    from: TapePosition,
    by: Space,
    to: TapePosition,
    how: Spaced,
) -> Outcome {
    same!(tape.locate(from).map_err(told("locating"))?, Spaced::Done);
    let spaced = tape.space(by).map_err(told("spacing"))?;
    let ended = tape.position().map_err(told("position"))?;
    same!((ended, spaced), (to, how), "from {from:?} by {by:?}");
    Ok(())
}

fn spaces_over_records<T: TapeDevice>(mut tape: T) -> Outcome {
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
        spaces(tape, from, Space::Records(count), to, how)?;
    }
    spaces(tape, at(0, 0), Space::Records(2), at(0, 2), Spaced::Done)?;
    expect_record(tape, 3, LEN)?;
    same!(tape.space(Space::Records(-2)).map_err(told("spacing"))?, Spaced::Done);
    expect_record(tape, 2, LEN)?;
    Ok(())
}

fn spaces_over_filemarks<T: TapeDevice>(mut tape: T) -> Outcome {
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
        spaces(tape, from, Space::Filemarks(count), to, how)?;
    }
    spaces(tape, at(0, 1), Space::EndOfData, at(3, 0), Spaced::Done)?;
    expect_mark(tape, TapeRead::EndOfData)?;
    // Reading on after a move goes on from there, however far ahead the device had read.
    tape.rewind().map_err(told("rewinding"))?;
    expect_record(tape, 1, LEN)?;
    same!(tape.space(Space::Filemarks(2)).map_err(told("spacing"))?, Spaced::Done);
    expect_record(tape, 4, LEN)?;
    Ok(())
}

fn writing_in_the_middle_ends_the_tape<T: TapeDevice>(make: &Make<'_, T>) -> Outcome {
    for (place, before) in [(at(0, 0), 0), (at(0, 1), 1), (at(0, 3), 3)] {
        let mut tape = written(make()?)?;
        tape.locate(place).map_err(told("locating"))?;
        write(&mut tape, 77, LEN)?;
        expect_at(&mut tape, at(0, place.record + 1))?;
        expect_mark(&mut tape, TapeRead::EndOfData)?;
        tape.rewind().map_err(told("rewinding"))?;
        for seed in 1..=before {
            expect_record(&mut tape, seed, LEN)?;
        }
        expect_record(&mut tape, 77, LEN)?;
        expect_mark(&mut tape, TapeRead::EndOfData)?;
        expect_mark(&mut tape, TapeRead::EndOfData)?;
        filemark(&mut tape)?;
        expect_mark(&mut tape, TapeRead::EndOfData)?;
        expect_at(&mut tape, at(1, 0))?;
    }
    Ok(())
}

fn a_filemark_in_the_middle_ends_the_tape<T: TapeDevice>(make: &Make<'_, T>) -> Outcome {
    for (place, before) in [(at(0, 0), 0), (at(0, 2), 2)] {
        let mut tape = written(make()?)?;
        tape.locate(place).map_err(told("locating"))?;
        filemark(&mut tape)?;
        expect_at(&mut tape, at(1, 0))?;
        expect_mark(&mut tape, TapeRead::EndOfData)?;
        tape.rewind().map_err(told("rewinding"))?;
        for seed in 1..=before {
            expect_record(&mut tape, seed, LEN)?;
        }
        expect_mark(&mut tape, TapeRead::Filemark)?;
        expect_mark(&mut tape, TapeRead::EndOfData)?;
    }
    Ok(())
}

fn unclosed_file_ends_in_end_of_data<T: TapeDevice>(tape: T) -> Outcome {
    let mut tape = written(tape)?;
    write(&mut tape, 6, LEN)?;
    write(&mut tape, 7, LEN)?;
    expect_at(&mut tape, at(3, 2))?;
    same!(tape.space(Space::Records(-1)).map_err(told("spacing"))?, Spaced::Done);
    expect_record(&mut tape, 7, LEN)?;
    expect_mark(&mut tape, TapeRead::EndOfData)?;
    spaces(&mut tape, at(3, 0), Space::Records(3), at(3, 2), Spaced::EndOfData)?;
    spaces(&mut tape, at(0, 0), Space::EndOfData, at(3, 2), Spaced::Done)?;
    write(&mut tape, 8, LEN)?;
    filemark(&mut tape)?;
    spaces(&mut tape, at(3, 0), Space::Records(2), at(3, 2), Spaced::Done)?;
    expect_record(&mut tape, 8, LEN)?;
    expect_mark(&mut tape, TapeRead::Filemark)?;
    Ok(())
}

fn works_by_reference<T: TapeDevice>(mut tape: &mut T) -> Outcome {
    write(&mut tape, 1, LEN)?;
    filemark(&mut tape)?;
    tape.rewind().map_err(told("rewinding"))?;
    expect_record(&mut tape, 1, LEN)?;
    Ok(())
}

/// What a run to the end of the medium found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Filled {
    pub accepted: u64,
    pub warned_at: u64,
}

/// Runs to the end of the medium, and reads all of it back. `records_max` ends a run on a medium without end.
pub(super) fn fill<T: TapeDevice>(
    mut tape: T,
    record_len: usize,
    records_max: u64,
) -> Result<Filled, String> {
    let mut accepted = 0_u64;
    let mut warned_at = None;
    loop {
        match tape.write(&record(accepted as u8, record_len)).map_err(told("writing"))? {
            TapeWrite::Written => same!(warned_at, None, "once warned, always warned"),
            TapeWrite::EarlyWarning => _ = warned_at.get_or_insert(accepted),
            TapeWrite::EndOfMedium => break,
        }
        accepted += 1;
        holds!(accepted < records_max, "the medium ends before {records_max} records");
    }
    let warned_at = warned_at.ok_or("no early warning came before the end of the medium")?;
    expect_at(&mut tape, at(0, accepted))?;
    same!(tape.write(&record(0, record_len)).map_err(told("writing"))?, TapeWrite::EndOfMedium);
    let closed = tape.write_filemark().map_err(told("a filemark at the end of the medium"))?;
    holds!(closed != TapeWrite::EndOfMedium, "a full tape still takes its filemark");
    tape.rewind().map_err(told("rewinding"))?;
    let mut buf = vec![0; record_len];
    for index in 0..accepted {
        same!(tape.read(&mut buf).map_err(told("reading"))?, TapeRead::Record(record_len), "record {index}");
        holds!(buf == record(index as u8, record_len), "record {index} is on the medium");
    }
    same!(tape.read(&mut buf).map_err(told("reading"))?, TapeRead::Filemark);
    same!(tape.read(&mut buf).map_err(told("reading"))?, TapeRead::EndOfData);
    Ok(Filled { accepted, warned_at })
}
