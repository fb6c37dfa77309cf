use super::super::stream_file::{ReadPipe, StreamFile};
use super::*;
use flate2::write::ZlibEncoder;
use std::io::Write;
use tapedump_core::device::DeviceError;

const PLAIN: &[u8] = include_bytes!("golden/plain.dump");
const ZLIB: &[u8] = include_bytes!("golden/zlib.dump");
const BZIP2: &[u8] = include_bytes!("golden/bzip2.dump");
const LZO: &[u8] = include_bytes!("golden/lzo.dump");
/// The golden dumps have 8 tape blocks per record.
const GOLDEN_LEN: usize = 8 * TAPE_BLOCK_LEN;

fn image(bytes: &[u8]) -> (tempfile::TempDir, Compressed<StreamFile>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image");
    std::fs::write(&path, bytes).unwrap();
    let tape = StreamFile::open(&path, 64 << 10).unwrap();
    (dir, Compressed::new(tape).unwrap())
}

/// Everything up to the filemark, and how many records failed.
fn read_all(tape: &mut impl Tape) -> (Vec<u8>, usize) {
    let mut bytes = Vec::new();
    let mut failed = 0;
    let mut buf = vec![0; 64 << 10];
    for _ in 0..10_000 {
        match tape.read(&mut buf) {
            Ok(TapeRead::Record(len)) => bytes.extend_from_slice(&buf[..len]),
            Ok(TapeRead::Filemark) => return (bytes, failed),
            Ok(other) => panic!("{other:?}"),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Medium, "{error}");
                failed += 1;
            }
        }
    }
    panic!("the tape does not end");
}

/// Blocks that are headers differ in dates and flags; all others are the same.
fn assert_same_dump(unpacked: &[u8]) {
    assert_eq!(unpacked.len(), PLAIN.len());
    let is_header = |block: &[u8]| block[24..28] == 60012_u32.to_le_bytes();
    let mut headers = 0;
    for (index, (ours, plain)) in
        unpacked.chunks(TAPE_BLOCK_LEN).zip(PLAIN.chunks(TAPE_BLOCK_LEN)).enumerate()
    {
        if is_header(plain) {
            let word = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().unwrap());
            let sum = ours.chunks(4).map(word).fold(0, u32::wrapping_add);
            assert_eq!(sum, 84446, "block {index}");
            assert_eq!(ours[..4], plain[..4], "block {index}");
            headers += 1;
        } else {
            // dump leaves what stands behind the name "." of a directory as it finds it in memory.
            let is_padding = |at| matches!(at, 10 | 11) && plain[8..10] == *b".\0";
            let differs = |at: &usize| ours[*at] != plain[*at] && !is_padding(*at);
            assert_eq!((0..TAPE_BLOCK_LEN).find(differs), None, "block {index}");
        }
    }
    assert!(headers > 10, "{headers} headers");
}

#[test]
fn dumps_of_linux_unpack() {
    for packed in [ZLIB, BZIP2, LZO] {
        let (_dir, mut tape) = image(packed);
        let (unpacked, failed) = read_all(&mut tape);
        assert_eq!(failed, 0);
        assert_same_dump(&unpacked);
        assert_eq!(tape.position().unwrap(), TapePosition { file: 1, record: 0 });
        assert_eq!(tape.read(&mut [0; 8]).unwrap(), TapeRead::EndOfData);
    }
}

#[test]
fn plain_dumps_pass_through() {
    let (_dir, mut tape) = image(PLAIN);
    let (bytes, failed) = read_all(&mut tape);
    assert!(bytes == PLAIN && failed == 0);
}

#[test]
fn a_pipe_unpacks_whatever_it_delivers() {
    for piece in [1, 3, 1024, 5000] {
        let pipe = ReadPipe::new("pipe", ZLIB, 1024.max(piece));
        let (unpacked, failed) = read_all(&mut Compressed::new(pipe).unwrap());
        assert_eq!(failed, 0);
        assert_same_dump(&unpacked);
    }
}

#[test]
fn positions_are_those_of_unpacked_records() {
    let (_dir, mut tape) = image(ZLIB);
    let mut records = Vec::new();
    let mut buf = vec![0; 64 << 10];
    while let TapeRead::Record(len) = tape.read(&mut buf).unwrap() {
        assert_eq!(len, GOLDEN_LEN);
        records.push(buf[..len].to_vec());
        assert_eq!(tape.position().unwrap(), TapePosition { file: 0, record: records.len() as u64 });
    }
    let last = records.len() as u64 - 1;
    let mut expect = |tape: &mut Compressed<StreamFile>, record: u64| {
        assert_eq!(tape.position().unwrap(), TapePosition { file: 0, record });
        assert_eq!(tape.read(&mut buf).unwrap(), TapeRead::Record(GOLDEN_LEN));
        assert!(buf[..GOLDEN_LEN] == records[record as usize][..], "record {record}");
    };
    for record in [2, 0, last, 1] {
        assert_eq!(tape.locate(TapePosition { file: 0, record }).unwrap(), Spaced::Done);
        expect(&mut tape, record);
    }
    assert_eq!(tape.space(Space::Records(2)).unwrap(), Spaced::Done);
    expect(&mut tape, 4);
    assert_eq!(tape.space(Space::Records(-4)).unwrap(), Spaced::Done);
    expect(&mut tape, 1);
    assert_eq!(tape.space(Space::Records(-3)).unwrap(), Spaced::BeginningOfTape);
    expect(&mut tape, 0);
    assert_eq!(tape.space(Space::Filemarks(0)).unwrap(), Spaced::Done);
    expect(&mut tape, 1);
    assert_eq!(tape.space(Space::Records(1000)).unwrap(), Spaced::Filemark);
    assert_eq!(tape.position().unwrap(), TapePosition { file: 1, record: 0 });
    tape.rewind().unwrap();
    expect(&mut tape, 0);
    assert_eq!(tape.space(Space::Filemarks(1)).unwrap(), Spaced::Done);
    assert_eq!(tape.position().unwrap(), TapePosition { file: 1, record: 0 });
}

#[test]
fn a_small_buffer_is_told_the_unpacked_length() {
    let (_dir, mut tape) = image(ZLIB);
    // The first read sees the record of the file below, the second knows better.
    let needed = match tape.read(&mut [0; 100]).unwrap() {
        TapeRead::BufferTooSmall { needed } => needed,
        other => panic!("{other:?}"),
    };
    assert_eq!(tape.read(&mut vec![0; needed]).unwrap(), TapeRead::Record(GOLDEN_LEN));
    for _ in 0..2 {
        assert_eq!(tape.read(&mut [0; 100]).unwrap(), TapeRead::BufferTooSmall { needed: GOLDEN_LEN });
        assert_eq!(tape.position().unwrap(), TapePosition { file: 0, record: 1 });
    }
    assert_eq!(tape.read(&mut [0; GOLDEN_LEN]).unwrap(), TapeRead::Record(GOLDEN_LEN));
}

#[test]
fn every_flipped_bit_and_every_truncation_is_survived() {
    for packed in [ZLIB, BZIP2, LZO] {
        for at in (GOLDEN_LEN..packed.len()).step_by(37) {
            let mut bytes = packed.to_vec();
            bytes[at] ^= 1 << (at % 8);
            let (_dir, mut tape) = image(&bytes);
            let (unpacked, failed) = read_all(&mut tape);
            assert!(unpacked.len() <= PLAIN.len() && failed <= 2, "flipped at {at}: {failed} failed");
            let (_dir, mut tape) = image(&packed[..at]);
            let (unpacked, failed) = read_all(&mut tape);
            assert!(unpacked.len() < PLAIN.len() && failed <= 1, "cut at {at}");
            assert_eq!(tape.read(&mut [0; 8]).unwrap(), TapeRead::EndOfData);
        }
    }
}

#[test]
fn one_damaged_record_loses_only_itself() {
    let mut bytes = ZLIB.to_vec();
    // In the packed bytes of the second record, behind its prefix.
    bytes[GOLDEN_LEN + PREFIX_LEN + 20] ^= 0x10;
    let (_dir, mut tape) = image(&bytes);
    let (unpacked, failed) = read_all(&mut tape);
    assert_eq!((unpacked.len(), failed), (PLAIN.len() - GOLDEN_LEN, 1));
}

/// A compressed dump in the other byte order: `dump` of a big-endian machine. The prefix stays little-endian.
#[test]
fn both_byte_orders_are_recognized() {
    let mut bytes = vec![0; 2 * TAPE_BLOCK_LEN];
    for (at, value) in [(0, 1_u32), (24, 60012), (888, 0x81), (896, 2)] {
        bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
    }
    let record = vec![7; 2 * TAPE_BLOCK_LEN];
    let mut packed = ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(&record).unwrap();
    let packed = packed.finish().unwrap();
    bytes.extend_from_slice(&((packed.len() as u32) << 4 | 1).to_le_bytes());
    bytes.extend_from_slice(&packed);
    bytes.extend_from_slice(&((record.len() as u32) << 4).to_le_bytes());
    bytes.extend_from_slice(&record);
    let (_dir, mut tape) = image(&bytes);
    let (unpacked, failed) = read_all(&mut tape);
    assert_eq!(failed, 0);
    assert!(unpacked[2 * TAPE_BLOCK_LEN..] == [&record[..], &record].concat());
}

#[test]
fn impossible_prefixes_end_the_tape_file() {
    for prefix in [0, 1, 0x30 | 7, u32::MAX, (GOLDEN_LEN as u32 + 1) << 4] {
        let mut bytes = ZLIB[..GOLDEN_LEN].to_vec();
        bytes.extend_from_slice(&prefix.to_le_bytes());
        bytes.extend_from_slice(&[0; 4096]);
        let (_dir, mut tape) = image(&bytes);
        assert_eq!(read_all(&mut tape), (ZLIB[..GOLDEN_LEN].to_vec(), 1), "{prefix:#x}");
    }
}
