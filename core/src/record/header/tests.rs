use super::*;
use crate::checksum::PortableCrc32c;
use crate::device::volume::Kind;
use crate::units::{DumpId, Timestamp};

fn repr() -> HeaderRepr {
    let mut attributes = Attributes::new(Kind::File);
    attributes.permissions = 0o4755;
    attributes.links = 3;
    attributes.uid = 70_000;
    attributes.gid = 12;
    attributes.size = 0x1_2345_6789;
    attributes.accessed = Timestamp { secs: -5, nanos: 999_999_999 };
    attributes.modified = Timestamp { secs: 5_000_000_000, nanos: 1 };
    attributes.changed = Timestamp { secs: 1, nanos: 123_456_789 };
    attributes.born = Some(Timestamp { secs: 7, nanos: 8 });
    attributes.real_ino = 0xdead_beef_0000_0001;
    attributes.generation = 9;
    attributes.qtree = 0x0a0b_0c0d;
    let mut extension = Extension::new(DumpId([7; 16]));
    extension.offset = 1 << 40;
    extension.segment = 4;
    extension.preceding_crc = 0x1234_5678;
    extension.trailing_blocks = 2;
    extension.payload_len = 1500;
    HeaderRepr {
        kind: HeaderKind::Inode,
        date: 1_700_000_000,
        base_date: 0,
        tape: TapeNo::FIRST,
        addr: BlockAddr(0x5_0000_0007),
        ino: 4711,
        mode: 0o104_755,
        attributes: Some(attributes),
        count: 5,
        level: 0,
        flags: flags::NEW_HEADER,
        first_block: 0,
        blocking: 64,
        linux_extended: 0,
        extension: Some(extension),
    }
}

fn emitted(repr: &HeaderRepr) -> TapeBlock {
    let template = HeaderTemplate::new(&VolumeNames::default(), b"label\0\0\0\0\0\0\0\0\0\0\0");
    let mut holes = Holes::all_data(5);
    holes.set_hole(1);
    let mut block = [0xa5; TAPE_BLOCK_LEN];
    template.emit::<PortableCrc32c>(repr, &holes, &mut block);
    block
}

#[test]
fn parse_gives_back_what_emit_wrote() {
    let block = emitted(&repr());
    let header = Header::new(&block);
    assert_eq!(header.detect(), Ok(Dialect::OURS));
    assert_eq!(header.parse::<PortableCrc32c>(Dialect::OURS), Ok(repr()));
    let holes = header.holes(5);
    assert!(holes.is_data(0) && !holes.is_data(1) && holes.is_data(4));
    assert_eq!(&header.label()[..5], b"label");
}

#[test]
fn fields_stand_where_the_format_says() {
    let block = emitted(&repr());
    assert_eq!(&block[0..4], &[0, 0, 0, 2]);
    assert_eq!(&block[20..24], &4711u32.to_be_bytes());
    assert_eq!(&block[24..28], &60012u32.to_be_bytes());
    assert_eq!(&block[32..34], &0o104_755u16.to_be_bytes());
    assert_eq!(&block[36..38], &65534u16.to_be_bytes());
    assert_eq!(&block[52..56], &999_999u32.to_be_bytes());
    assert_eq!(&block[144..148], &70_000u32.to_be_bytes());
    assert_eq!(&block[164..170], &[1, 0, 1, 1, 1, 0]);
    assert_eq!(&block[904..909], b"TDH1\x01");
    assert_eq!(&block[992..996], &[0, 0, 0, 5]);
}

#[test]
fn every_flipped_bit_is_refused() {
    let block = emitted(&repr());
    for bit in 0..TAPE_BLOCK_LEN * 8 {
        let mut bad = block;
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(Header::new(&bad).parse::<PortableCrc32c>(Dialect::OURS).is_err(), "bit {bit}");
    }
}

#[test]
fn tape_header_has_the_unknown_mark_in_its_second_slot() {
    let mut tape = repr();
    tape.kind = HeaderKind::Tape;
    tape.attributes = None;
    tape.count = 0;
    let block = emitted(&tape);
    assert_eq!(&block[164..172], &[0, 0, 0, 0, 255, 255, 255, 255]);
}

#[test]
fn the_mark_of_a_catalog_and_the_first_object_at_its_end() {
    let mut tape = repr();
    tape.kind = HeaderKind::Tape;
    tape.attributes = None;
    tape.count = 0;
    let mut block = emitted(&tape);
    assert!(!tape.is_catalog());
    set_extension_flags::<PortableCrc32c>(&mut block, extension_flags::CATALOG);
    assert_eq!(block[910..912], [0x80, 0]);
    let marked = Header::new(&block).parse::<PortableCrc32c>(Dialect::OURS).unwrap();
    assert!(marked.is_catalog());
    tape.kind = HeaderKind::End;
    tape.flags = flags::NEW_INODE_FORMAT;
    assert_eq!(emitted(&tape)[164..172], [0, 0, 0, 0, 0, 0, 0, 2]);
    tape.flags = 0;
    assert_eq!(emitted(&tape)[164..172], [0; 8]);
}

#[test]
fn solaris_owners_are_read_from_their_places() {
    let mut block = emitted(&repr());
    block[904..].fill(0);
    block[888..892].fill(0);
    block[36..40].copy_from_slice(&[0xff, 0xff, 0, 44]);
    block[148..152].copy_from_slice(&100_000u32.to_be_bytes());
    block[28..32].fill(0);
    let fix = CHECKSUM.wrapping_sub(sum::<BE>(&block));
    block[28..32].copy_from_slice(&fix.to_be_bytes());
    let header = Header::new(&block);
    let dialect = header.detect().unwrap();
    assert_eq!(dialect.layout, InodeLayout::Solaris);
    let attributes = header.parse::<PortableCrc32c>(dialect).unwrap().attributes.unwrap();
    assert_eq!((attributes.uid, attributes.gid), (100_000, 44));
}
