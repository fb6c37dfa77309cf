extern crate std;

use super::*;
use crate::device::fault::SplitMix64;
use std::vec::Vec;

const KINDS: [Kind; 7] = [
    Kind::File,
    Kind::Directory,
    Kind::Symlink,
    Kind::Fifo,
    Kind::CharDevice,
    Kind::BlockDevice,
    Kind::Socket,
];

fn parse<'a>(key: &'a [u8], value: &'a [u8]) -> Option<Row<'a>> {
    Row::parse(Entry { key, value })
}

#[test]
fn the_bytes_of_an_object() {
    let mut row = ObjectRow::new(Ino(0x102), Kind::File);
    (row.permissions, row.links, row.uid, row.gid) = (0o644, 1, 1000, 5);
    row.size = 300;
    row.modified = Timestamp { secs: 1, nanos: 5 };
    row.changed = Timestamp { secs: -1, nanos: 6 };
    row.place = Some(StreamBlock(0x80));
    row.flaws.changed = true;
    assert_eq!(object_key(row.ino, row.is_directory), [0x80, 0, 1, 2]);
    let value = [0x99, 4, 0xa4, 3, 1, 0xe8, 7, 5, 0xac, 2, 2, 0, 0, 0, 5, 3, 0, 0, 0, 6, 0x80, 1];
    assert_eq!(object_value(&row).get(), value);
    assert_eq!(parse(&[0x80, 0, 1, 2], &value), Some(Row::Object(row)));
    for len in 0..value.len() {
        assert_eq!(parse(&[0x80, 0, 1, 2], &value[..len]), None, "{len}");
    }
    assert_eq!(parse(&[0x80, 0, 1, 2], &[&value[..], &[0]].concat()), None);
}

#[test]
fn every_object_comes_back() {
    let mut random = SplitMix64::new(3);
    for round in 0..20_000 {
        // Now and then the most extreme number, else one of any length.
        let mut number = || match random.below(8) {
            0 => u64::MAX,
            1 => 0,
            _ => random.next_u64() >> random.below(64),
        };
        let time =
            |secs: u64, nanos: u64| Timestamp { secs: unzigzag(secs), nanos: (nanos % 1_000_000_000) as u32 };
        let mut row = ObjectRow::skipped(Ino(number() as u32 % (Ino::LAST.0 + 1)), round % 2 == 0);
        row.kind = KINDS.get(number() as usize % 8).copied();
        row.permissions = number() as u16;
        (row.links, row.uid, row.gid) = (number() as u32, number() as u32, number() as u32);
        row.size = number();
        row.modified = time(number(), number());
        row.changed = if round % 3 == 0 { row.modified } else { time(number(), number()) };
        let place = StreamBlock(number());
        row.place = (round % 5 != 0).then_some(place);
        row.real_ino = (round % 7 == 0).then(&mut number);
        row.digest = (round % 11 == 0).then(|| [number() as u8; 32]);
        row.flaws = Flaws::from_bits(number() as u8 & 15).unwrap();
        if row.ino == Ino(0) {
            continue;
        }
        let (key, value) = (object_key(row.ino, row.is_directory), object_value(&row));
        assert_eq!(parse(&key, value.get()), Some(Row::Object(row)));
    }
}

#[test]
fn names_pieces_tapes_links_and_positions() {
    let key = name_key(Ino(0x0102_0304), b"name");
    assert_eq!(key.get(), b"\x01\x02\x03\x04name");
    for kind in KINDS.map(Some).into_iter().chain([None]) {
        let value = name_value(Ino(7), kind);
        let row = NameRow { parent: Ino(0x0102_0304), name: b"name", ino: Ino(7), kind };
        assert_eq!(parse(key.get(), value.get()), Some(Row::Name(row)));
    }
    assert_eq!(parse(key.get(), &[0, 0, 0]), None);
    assert_eq!(parse(key.get(), &[0, 0, 0, 1, 8]), None, "no kind");
    assert_eq!(parse(key.get(), &[0, 0, 0, 1, 1, 1]), None, "too long");
    assert_eq!(parse(b"\x81\0\0\x04name", &[0, 0, 0, 1]), None, "names of no directory");
    let key = piece_key(WhichMap::OnTape, Ino(2049));
    assert_eq!(key.get(), [0, 0, 0, 0, 1, 0, 0, 2]);
    assert_eq!(piece_key(WhichMap::OnTape, Ino(2048)).get()[7], 1);
    let bytes = &[3; PIECE_LEN];
    let piece = Row::MapPiece { which: WhichMap::OnTape, first: Ino(2049), bytes };
    assert_eq!(parse(key.get(), bytes), Some(piece));
    assert_eq!(parse(key.get(), &bytes[1..]), None);
    assert_eq!(parse(&[0, 0, 0, 0, 2, 0, 0, 2], bytes), None, "no such map");
    assert_eq!(parse(&[0, 0, 0, 0, 1, 255, 255, 255], bytes), None, "beyond all numbers");
    let tape = Row::Tape { tape: TapeNo(2), first: BlockAddr(9) };
    assert_eq!(parse(tape_key(TapeNo(2)).get(), &9u64.to_be_bytes()), Some(tape));
    let place = StreamBlock(0x0102);
    let apart = Row::Apart { ino: Ino(7), place };
    let (key, value) = (apart_key(Ino(7)), apart_value(place));
    assert_eq!((key.get(), &value[..]), (&b"\xff\xff\xff\xfe\0\0\0\x07"[..], &b"\0\0\0\0\0\0\x01\x02"[..]));
    assert_eq!(parse(key.get(), &value), Some(apart));
    assert_eq!(parse(key.get(), &value[1..]), None);
    let key = link_key(Ino(5), 9);
    assert_eq!(parse_link(Entry { key: &key, value: &[] }), Some((Ino(5), 9)));
    assert_eq!(parse_link(Entry { key: &key, value: &[1] }), None);
    let key = position_key(StreamBlock(0x0102), [1, 2, 3, 4]);
    assert_eq!(key, [0, 0, 0, 0, 0, 0, 1, 2, 1, 2, 3, 4]);
    assert_eq!(parse_position(Entry { key: &key, value: &[] }), Some([1, 2, 3, 4]));
    assert_eq!(parse_position(Entry { key: &key[1..], value: &[] }), None);
}

#[test]
fn any_bytes_are_a_row_or_none() {
    let mut random = SplitMix64::new(5);
    let mut rows = 0;
    for _ in 0..200_000 {
        let mut bytes = |len: u64| -> Vec<u8> {
            (0..random.below(len)).map(|_| random.next_u64() as u8 & random.next_u64() as u8).collect()
        };
        let (key, value) = (bytes(12), bytes(80));
        rows += u32::from(parse(&key, &value).is_some());
    }
    assert!(rows > 100, "{rows}");
}
