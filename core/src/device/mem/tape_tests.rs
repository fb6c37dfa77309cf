extern crate std;

use std::vec;
use std::vec::Vec;

use super::*;

const fn place(file: u32, record: u64) -> TapePosition {
    TapePosition { file, record }
}

/// Two files: `a`, `bb`, `ccc` and `dddd`, then nothing.
fn two_files(tape: &mut MemTape<'_>) {
    for record in [&b"a"[..], b"bb", b"ccc"] {
        assert_eq!(tape.write(record), Ok(TapeWrite::Written));
    }
    assert_eq!(tape.write_filemark(), Ok(TapeWrite::Written));
    assert_eq!(tape.write(b"dddd"), Ok(TapeWrite::Written));
    assert_eq!(tape.write_filemark(), Ok(TapeWrite::Written));
}

fn read_all(tape: &mut MemTape<'_>) -> Vec<Option<Vec<u8>>> {
    let mut found = Vec::new();
    let mut buf = [0; 64];
    loop {
        match tape.read(&mut buf).unwrap() {
            TapeRead::Record(len) => found.push(Some(buf[..len].to_vec())),
            TapeRead::Filemark => found.push(None),
            TapeRead::EndOfData => return found,
            TapeRead::BufferTooSmall { needed } => panic!("{needed}"),
        }
    }
}

#[test]
fn gives_back_records_and_filemarks() {
    let mut bytes = [0xa5; 200];
    let mut tape = MemTape::blank(&mut bytes);
    assert_eq!(tape.read(&mut [0; 8]), Ok(TapeRead::EndOfData));
    two_files(&mut tape);
    assert_eq!(tape.position(), Ok(place(2, 0)));
    tape.rewind().unwrap();
    let expected = [
        Some(b"a".to_vec()),
        Some(b"bb".to_vec()),
        Some(b"ccc".to_vec()),
        None,
        Some(b"dddd".to_vec()),
        None,
    ];
    assert_eq!(read_all(&mut tape), expected);
    assert_eq!(tape.read(&mut [0; 8]), Ok(TapeRead::EndOfData));
    assert_eq!(tape.position(), Ok(place(2, 0)));
    assert_eq!(tape.records(0).collect::<Vec<_>>(), [&b"a"[..], b"bb", b"ccc"]);
    assert_eq!(tape.records(1).collect::<Vec<_>>(), [b"dddd"]);
    assert_eq!(tape.records(2).count(), 0);
}

#[test]
fn a_small_buffer_leaves_the_record_where_it_is() {
    let mut bytes = [0; 64];
    let mut tape = MemTape::blank(&mut bytes);
    tape.write(b"four").unwrap();
    tape.write_filemark().unwrap();
    tape.rewind().unwrap();
    for len in [0, 3] {
        assert_eq!(tape.read(&mut [0; 8][..len]), Ok(TapeRead::BufferTooSmall { needed: 4 }));
        assert_eq!(tape.position(), Ok(place(0, 0)));
    }
    let mut buf = [0; 4];
    assert_eq!(tape.read(&mut buf), Ok(TapeRead::Record(4)));
    assert_eq!(&buf, b"four");
    assert_eq!(tape.read(&mut []), Ok(TapeRead::Filemark));
}

#[test]
fn writing_cuts_what_is_behind() {
    let mut bytes = [0; 200];
    let mut tape = MemTape::blank(&mut bytes);
    two_files(&mut tape);
    assert_eq!(tape.locate(place(0, 1)), Ok(Spaced::Done));
    tape.write(b"new").unwrap();
    assert_eq!(tape.read(&mut [0; 8]), Ok(TapeRead::EndOfData));
    tape.rewind().unwrap();
    assert_eq!(read_all(&mut tape), [Some(b"a".to_vec()), Some(b"new".to_vec())]);
    assert_eq!(tape.locate(place(0, 0)), Ok(Spaced::Done));
    tape.write_filemark().unwrap();
    tape.rewind().unwrap();
    assert_eq!(read_all(&mut tape), [None]);
}

#[test]
fn locates_every_place_from_every_place() {
    let mut bytes = [0; 200];
    let mut tape = MemTape::blank(&mut bytes);
    two_files(&mut tape);
    let places = [place(0, 0), place(0, 1), place(0, 2), place(0, 3), place(1, 0), place(1, 1), place(2, 0)];
    for from in places {
        for to in places {
            assert_eq!(tape.locate(from), Ok(Spaced::Done), "{from:?}");
            assert_eq!(tape.locate(to), Ok(Spaced::Done), "{from:?} to {to:?}");
            assert_eq!(tape.position(), Ok(to));
        }
    }
    assert_eq!(tape.locate(place(2, 1)), Ok(Spaced::EndOfData));
    assert_eq!(tape.position(), Ok(place(2, 0)));
    assert_eq!(tape.locate(place(7, 0)), Ok(Spaced::EndOfData));
    assert_eq!(tape.position(), Ok(place(2, 0)));
    assert_eq!(tape.locate(place(0, 9)), Ok(Spaced::Filemark));
    assert_eq!(tape.position(), Ok(place(1, 0)));
}

#[test]
fn spaces_over_records_and_stops_at_filemarks() {
    let mut bytes = [0; 200];
    let mut tape = MemTape::blank(&mut bytes);
    two_files(&mut tape);
    let mut check = |by, expected, at| {
        assert_eq!(tape.space(by), Ok(expected), "{by:?}");
        assert_eq!(tape.position(), Ok(at), "{by:?}");
    };
    check(Space::Records(-1), Spaced::Filemark, place(1, 1));
    check(Space::Records(-1), Spaced::Done, place(1, 0));
    check(Space::Records(-5), Spaced::Filemark, place(0, 3));
    check(Space::Records(-2), Spaced::Done, place(0, 1));
    check(Space::Records(-2), Spaced::BeginningOfTape, place(0, 0));
    check(Space::Records(2), Spaced::Done, place(0, 2));
    check(Space::Records(2), Spaced::Filemark, place(1, 0));
    check(Space::Records(2), Spaced::Filemark, place(2, 0));
    check(Space::Records(1), Spaced::EndOfData, place(2, 0));
    check(Space::Filemarks(-1), Spaced::Done, place(1, 1));
    check(Space::Filemarks(-2), Spaced::BeginningOfTape, place(0, 0));
    check(Space::Filemarks(2), Spaced::Done, place(2, 0));
    check(Space::Filemarks(-2), Spaced::Done, place(0, 3));
    check(Space::Filemarks(9), Spaced::EndOfData, place(2, 0));
    check(Space::Records(0), Spaced::Done, place(2, 0));
    check(Space::Filemarks(-1), Spaced::Done, place(1, 1));
    check(Space::EndOfData, Spaced::Done, place(2, 0));
}

#[test]
fn warns_early_and_ends_with_room_for_filemarks() {
    // Five records of 10 bytes fit beside the room kept at the end; warned when no further one would.
    let mut bytes = [0; 5 * (10 + ITEM_OVERHEAD) + TAIL_LEN];
    let mut tape = MemTape::blank(&mut bytes).with_early_warning(10);
    for n in 0..4 {
        assert_eq!(tape.write(&[n; 10]), Ok(TapeWrite::Written), "{n}");
    }
    assert_eq!(tape.write(&[4; 10]), Ok(TapeWrite::EarlyWarning));
    assert_eq!(tape.write(&[5; 1]), Ok(TapeWrite::EndOfMedium));
    assert_eq!(tape.write_filemark(), Ok(TapeWrite::EarlyWarning));
    assert_eq!(tape.write_filemark(), Ok(TapeWrite::EarlyWarning));
    assert_eq!(tape.write_filemark(), Ok(TapeWrite::EndOfMedium));
    tape.rewind().unwrap();
    let mut expected: Vec<_> = (0..5).map(|n| Some(vec![n; 10])).collect();
    expected.extend([None, None]);
    assert_eq!(read_all(&mut tape), expected);
}

#[test]
fn any_amount_of_memory_is_a_tape() {
    for len in 0..60 {
        let mut bytes = vec![0xa5; len];
        let mut tape = MemTape::blank(&mut bytes);
        let mut written = 0;
        while tape.write(b"abc").unwrap() != TapeWrite::EndOfMedium {
            written += 1;
        }
        while tape.write_filemark().unwrap() != TapeWrite::EndOfMedium {}
        let tape = MemTape::open(&mut bytes).unwrap();
        assert_eq!(tape.records(0).count(), written, "{len}");
    }
}

#[test]
fn refuses_writes_outside_the_contract() {
    let mut bytes = [0; 64];
    let mut tape = MemTape::blank(&mut bytes).with_record_len_max(4);
    assert_eq!(tape.capabilities().record_len_max, 4);
    assert_eq!(tape.write(b""), Err(ErrorKind::Invalid));
    assert_eq!(tape.write(b"12345"), Err(ErrorKind::Invalid));
    assert_eq!(tape.write(b"1234"), Ok(TapeWrite::Written));
    tape.set_write_protected(true);
    assert!(tape.capabilities().write_protected);
    assert_eq!(tape.write(b"1"), Err(ErrorKind::ReadOnly));
    assert_eq!(tape.write_filemark(), Err(ErrorKind::ReadOnly));
    assert_eq!(tape.items().collect::<Vec<_>>(), [TapeItem::Record(b"1234")]);
}

#[test]
fn unloaded_gives_nothing_until_loaded() {
    let mut bytes = [0; 64];
    let mut tape = MemTape::blank(&mut bytes);
    tape.write(b"1").unwrap();
    tape.unload().unwrap();
    assert_eq!(tape.read(&mut [0; 4]), Err(ErrorKind::NotFound));
    assert_eq!(tape.write(b"2"), Err(ErrorKind::NotFound));
    assert_eq!(tape.rewind(), Err(ErrorKind::NotFound));
    tape.load();
    assert_eq!(tape.read(&mut [0; 4]), Ok(TapeRead::Record(1)));
}

#[test]
fn opens_what_it_left_and_refuses_anything_else() {
    let mut bytes = [0xa5; 100];
    let mut tape = MemTape::blank(&mut bytes);
    two_files(&mut tape);
    let used = tape.used();
    let tape = MemTape::open(&mut bytes).unwrap();
    assert_eq!(tape.used(), used);
    assert_eq!(tape.items().count(), 6);
    assert!(MemTape::open(&mut [0xa5; 100]).is_err());
    assert_eq!(MemTape::open(&mut [0; 100]).unwrap().items().count(), 0);
    let mut cut = bytes;
    cut[7] ^= 1;
    assert!(MemTape::open(&mut cut).is_err());
}

#[test]
fn a_file_is_loaded_from_bytes_and_its_records_can_be_damaged() {
    let mut bytes = [0; 100];
    let mut tape = MemTape::blank(&mut bytes);
    tape.write_file(b"0123456789", 4).unwrap();
    tape.write_file(b"abcd", 4).unwrap();
    tape.record_mut(place(0, 1)).unwrap()[0] ^= 1;
    tape.record_mut(place(1, 0)).unwrap()[3] = b'!';
    assert!(tape.record_mut(place(0, 3)).is_none());
    assert_eq!(tape.records(0).collect::<Vec<_>>(), [&b"0123"[..], b"5567", b"89"]);
    assert_eq!(tape.records(1).collect::<Vec<_>>(), [b"abc!"]);
    assert_eq!(tape.write_file(&[0; 100], 4), Err(ErrorKind::Full));
}
