//! What is on our tapes, block by block, read without the engine: the format's promises and the writer's check list.

use std::collections::BTreeMap;
use std::fs;

use tapedump_tests::digest::crc32c;
use tapedump_tests::fixtures::{self, Section};
use tapedump_tests::needs::Need;
use tapedump_tests::product::{dump, reproducible};
use tapedump_tests::scratch::{Mount, Scratch, make_ext4};
use tapedump_tests::tape::{BLOCK, Order, Record, RecordKind, Tape};

use crate::Case;
use crate::round_trip::{ORDINARY, make_tree};

pub(crate) const CASES: &[Case] = &[
    Case { name: "tape_of_an_ordinary_tree", needs: &[], run: tape_of_an_ordinary_tree },
    Case {
        name: "tape_of_every_case",
        needs: &[Need::Root, Need::Loop, Need::MKE2FS],
        run: tape_of_every_case,
    },
];

const NEW_INODE_FORMAT: u32 = 2;

fn tape_of_an_ordinary_tree() {
    let scratch = Scratch::new("format");
    let (source, _) = make_tree(&scratch, &[ORDINARY, &[Section::Times, Section::Xattrs]].concat());
    check_dump_of(&scratch, &source);
}

fn tape_of_every_case() {
    let scratch = Scratch::new("format-all");
    make_ext4(&scratch.join("image"), 1 << 30, &["-O", "ea_inode", "-I", "512"]);
    let mount = Mount::image(&scratch.join("image"), &scratch.join("mount"), "");
    fixtures::build(mount.path(), fixtures::ALL).expect("fixtures");
    check_dump_of(&scratch, mount.path());
}

fn check_dump_of(scratch: &Scratch, source: &std::path::Path) {
    let path = scratch.join("tape");
    let _ = reproducible(dump(scratch, source, &path)).outcome().done();
    let tape = Tape::parse(fs::read(&path).expect("tape")).expect("a whole tape");
    assert_eq!(tape.order, Order::Big);
    check_order(&tape);
    check_constants(&tape);
    check_extensions(&tape);
    check_maps(&tape);
    for record in &tape.records {
        check_flags(&tape, record);
        check_inode(&tape, record);
    }
    check_segments(&tape);
    check_directories(&tape);
    check_padding(&tape);
}

fn header<'tape>(tape: &'tape Tape, record: &Record) -> &'tape [u8] {
    tape.block(record.at)
}

/// Section 2: the order of the records.
fn check_order(tape: &Tape) {
    let kinds: Vec<RecordKind> = tape.records.iter().map(|record| record.kind).collect();
    assert_eq!(kinds[..3], [RecordKind::Tape, RecordKind::Clri, RecordKind::Bits]);
    let limit = tape.number_limit();
    let objects: Vec<&Record> =
        tape.records.iter().filter(|record| record.kind == RecordKind::Inode).collect();
    let directories = objects.iter().take_while(|record| record.is_directory()).count();
    assert!(objects[directories..].iter().all(|record| !record.is_directory()), "all directories come first");
    let numbers = |records: &[&Record]| records.iter().map(|record| record.number).collect::<Vec<_>>();
    assert!(numbers(&objects[..directories]).is_sorted_by(|a, b| a < b), "directories ascend");
    let files = numbers(&objects[directories..]);
    let ordinary = files.iter().take_while(|&&number| number < limit).count();
    assert!(files[..ordinary].is_sorted_by(|a, b| a < b), "files ascend");
    assert!(
        files[ordinary..].iter().all(|&number| number == limit),
        "stage V comes last, under the limit's number"
    );
    assert_eq!(objects[0].number, 2, "the root is number 2");
}

/// Check list 13 and 14.
fn check_constants(tape: &Tape) {
    let first = tape.block(0);
    for record in &tape.records {
        let header = header(tape, record);
        assert_eq!(header[4..12], first[4..12], "block {}: dates", record.at);
        assert_eq!(Order::Big.u32(header, 16), record.at as u32, "block {}: address", record.at);
        assert_eq!(Order::Big.u32(header, 12), 1, "block {}: tape number", record.at);
    }
    assert_eq!(Order::Big.u32(first, 4), 1_700_000_000, "the date that was asked for");
    assert_eq!(Order::Big.u32(first, 8), 0, "level 0 has no base");
}

/// Section 7.2: the extension of every header, and the checksum of the data before it.
fn check_extensions(tape: &Tape) {
    let mut data = 0..0;
    for record in &tape.records {
        let header = header(tape, record);
        let at = record.at;
        assert_eq!(&header[904..908], b"TDH1", "block {at}: extension");
        assert_eq!(header[908], 1, "block {at}: version");
        assert_eq!(
            header[912..928],
            [0, 17, 34, 51, 68, 85, 102, 119, 136, 153, 170, 187, 204, 221, 238, 255]
        );
        let expected = if data.is_empty() { 0 } else { crc32c(&tape.bytes[data]) };
        assert_eq!(Order::Big.u32(header, 956), expected, "block {at}: checksum of the data before it");
        assert_eq!(header[996..1020], [0; 24], "block {at}: reserved");
        let mut unsealed = header[..1020].to_vec();
        unsealed[28..32].fill(0);
        assert_eq!(Order::Big.u32(header, 1020), crc32c(&unsealed), "block {at}: checksum of the header");
        data = (at + 1) * BLOCK..record.blocks().end * BLOCK;
    }
}

/// Check list 11.
fn check_maps(tape: &Tape) {
    let [clri, bits] = [1, 2].map(|index| &tape.records[index]);
    assert_eq!(clri.data, bits.data);
    assert!(bits.data >= 8);
    let map = &tape.bytes[(bits.at + 1) * BLOCK..bits.blocks().end * BLOCK];
    let limit = tape.number_limit();
    let is_set = |number: u32| map[(number as usize - 1) / 8] >> ((number - 1) % 8) & 1 == 1;
    let dumped: std::collections::BTreeSet<u32> = tape
        .records
        .iter()
        .filter(|record| record.kind == RecordKind::Inode && record.number < limit)
        .map(|record| record.number)
        .collect();
    for number in 2..limit {
        assert_eq!(is_set(number), dumped.contains(&number), "map of the dumped objects, number {number}");
    }
    for record in [clri, bits] {
        let entries = &header(tape, record)[164..676];
        assert!(entries.iter().all(|&entry| entry <= 1), "entries of a map are 0 or 1");
    }
}

/// Check list 1, 3 and 10.
fn check_flags(tape: &Tape, record: &Record) {
    let at = record.at;
    let format = record.flags & NEW_INODE_FORMAT != 0;
    let expected = matches!(record.kind, RecordKind::Tape | RecordKind::Clri | RecordKind::Bits);
    assert_eq!(format, expected, "block {at}: new inode format");
    assert_eq!(record.flags & !3, 0, "block {at}: flags of other programs");
    if record.kind == RecordKind::Tape {
        let table = &header(tape, record)[164..676];
        assert_eq!(table[4..8], [0xff; 4], "the first volume's slot is unknown");
        assert!(table[..4].iter().chain(&table[8..]).all(|&byte| byte == 0));
    }
}

/// Check list 6, 7 and 8.
fn check_inode(tape: &Tape, record: &Record) {
    if !matches!(record.kind, RecordKind::Inode | RecordKind::Addr) {
        return;
    }
    let header = header(tape, record);
    let at = record.at;
    for fraction in [52, 60, 68] {
        assert!(Order::Big.u32(header, fraction) < 1_000_000, "block {at}: microseconds");
    }
    for (short, long) in [(36, 144), (38, 148)] {
        let id = Order::Big.u32(header, long);
        let stand_in = u32::from(Order::Big.u16(header, short));
        assert_eq!(stand_in, id.min(65_534), "block {at}: owner in both places");
    }
    assert_eq!(header[72..76], header[76..80], "block {at}: device number in both places");
    assert_eq!(Order::Big.u32(header, 900), 0, "block {at}: no extended attribute record");
    let count = Order::Big.u32(header, 160) as usize;
    assert!(header[164..164 + count].iter().all(|&entry| entry <= 1), "block {at}: entries are 0 or 1");
    assert!(header[164 + count..676].iter().all(|&entry| entry == 0), "block {at}: unused entries are 0");
}

/// Check list 4, 5, 9 and 12, and the offsets of section 7.2.
fn check_segments(tape: &Tape) {
    let mut at = 0;
    let records = &tape.records;
    while at < records.len() {
        let first = &records[at];
        at += 1;
        if first.kind != RecordKind::Inode {
            continue;
        }
        let mut segments = vec![first];
        while records[at].kind == RecordKind::Addr {
            segments.push(&records[at]);
            at += 1;
        }
        check_object(tape, &segments);
    }
}

fn check_object(tape: &Tape, segments: &[&Record]) {
    let blocks = segments[0].size.div_ceil(BLOCK as u64);
    let mut before = 0;
    for (index, segment) in segments.iter().enumerate() {
        let header = header(tape, segment);
        let at = segment.at;
        assert_eq!(segment.number, segments[0].number, "block {at}: a segment of the same object");
        assert_eq!(segment.size, segments[0].size, "block {at}: size");
        assert_eq!(Order::Big.u64(header, 944), before * BLOCK as u64, "block {at}: offset");
        assert_eq!(Order::Big.u32(header, 952), index as u32, "block {at}: segment number");
        let count = u64::from(Order::Big.u32(header, 160));
        let trailing = u64::from(Order::Big.u16(header, 960));
        let last = index + 1 == segments.len();
        assert!(last || trailing == 0, "block {at}: extension blocks in the last segment only");
        assert_eq!(trailing == 0, Order::Big.u32(header, 964) == 0, "block {at}: length of the extension");
        // What has no data of its own carries its attributes as data.
        let is_special = !matches!(segment.mode >> 12, 0o4 | 0o10 | 0o12);
        let trailing = if is_special { 0 } else { trailing };
        before += count - trailing;
        if last {
            assert_eq!(before, blocks, "block {at}: the entries end with the size");
            if blocks > 0 {
                let final_entry = 164 + (count - trailing) as usize - 1;
                assert_ne!(header[final_entry], 0, "block {at}: the last block is never a hole");
            } else {
                assert_eq!(segment.data, 0, "block {at}: nothing follows an object without size");
            }
        } else {
            assert!(before < blocks, "block {at}: no segment behind the end");
        }
    }
}

/// Check list 2 and 18.
fn check_directories(tape: &Tape) {
    let mut data: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
    for record in tape.records.iter().filter(|record| record.is_directory()) {
        let bytes = &tape.bytes[(record.at + 1) * BLOCK..record.blocks().end * BLOCK];
        let held = data.entry(record.number).or_default();
        held.extend_from_slice(bytes);
        held.truncate(record.size as usize);
        assert_eq!(record.size % 512, 0, "directory {}: whole chunks", record.number);
    }
    for (number, data) in data {
        for chunk in data.chunks(512) {
            let mut at = 0;
            while at < chunk.len() {
                let len = usize::from(Order::Big.u16(chunk, at + 4));
                let name_len = usize::from(chunk[at + 7]);
                assert!(len > 8 + name_len && len.is_multiple_of(4), "directory {number}: entry length");
                assert_eq!(chunk[at + 6], 0, "directory {number}: no type");
                assert_eq!(chunk[at + 8 + name_len], 0, "directory {number}: name ends with NUL");
                at += len;
            }
            assert_eq!(at, chunk.len(), "directory {number}: entries fill the chunk");
        }
        let names = tapedump_tests::tape::directory_entries(Order::Big, &data);
        assert_eq!(names[0], (number, b".".to_vec()));
        assert_eq!(names[1].1, b"..");
    }
}

/// Section 7.6: the last record is filled with end headers.
fn check_padding(tape: &Tape) {
    let end = tape.records.last().expect("a tape has an end");
    assert_eq!(tape.bytes.len() % (64 * BLOCK), 0, "whole records of the default blocking factor");
    for at in end.at..tape.blocks() {
        let block = tape.block(at);
        assert_eq!(Order::Big.u32(block, 0), 5, "block {at}: an end header");
        assert_eq!(Order::Big.u32(block, 16), at as u32, "block {at}: address");
    }
    assert!(tape.blocks() - end.at <= 64, "no more than one record of them");
}
