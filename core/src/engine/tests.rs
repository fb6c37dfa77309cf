//! Dump and restore against each other on memory devices: whole tapes, and every place of a small one damaged.

extern crate std;
use std::boxed::Box;
use std::collections::BTreeMap;
use std::format;
use std::string::String;
use std::vec;
use std::vec::Vec;

use crate::checksum::{Crc32c, PortableCrc32c};
use crate::device::mem::{MemBlock, MemTape, MemVolume, Node, NullTarget, differs};
use crate::device::tape::TapeDevice;
use crate::device::volume::{
    Attributes, DeviceNumber, Kind, NameBuf, PropertyKind, TargetVolume, VolumeNames,
};
use crate::engine::dump::{Dump, DumpEvent, DumpMemory, DumpOptions, DumpSummary};
use crate::engine::restore::{
    Damage, LINUX_XATTRS_LEN_MAX, Restore, RestoreEvent, RestoreMemory, RestoreSummary, Selected,
};
use crate::limits::NAME_LEN_MAX;
use crate::record::dialect::Dialect;
use crate::record::header::{Header, HeaderKind, HeaderTemplate, LINUX_EXTENDED_XATTR, flags};
use crate::record::holes::Holes;
use crate::stream::writer::DumpIdentity;
use crate::units::{BlockAddr, BlockingFactor, DumpId, Ino, Level, TAPE_BLOCK_LEN, Timestamp};

pub(super) fn leak(len: usize) -> &'static mut [u8] {
    Box::leak(vec![0u8; len].into_boxed_slice())
}

pub(super) fn volume() -> MemVolume<'static> {
    let nodes = Box::leak(vec![Node::EMPTY; 200].into_boxed_slice());
    MemVolume::new(nodes, leak(3 << 20)).unwrap()
}

fn attributes(kind: Kind, seed: u32) -> Attributes {
    let mut attributes = Attributes::new(kind);
    attributes.permissions = (0o600 + seed % 0o177) as u16;
    attributes.uid = seed * 40_000;
    attributes.gid = seed;
    attributes.modified =
        Timestamp { secs: i64::from(seed) * 500_000_000 - 1_000_000_000, nanos: seed * 7_777 };
    attributes.accessed = Timestamp { secs: 1_700_000_000, nanos: seed };
    attributes
}

fn pattern(len: usize, seed: u32) -> Vec<u8> {
    (0..len as u32).map(|i| (i.wrapping_mul(seed * 2 + 1).wrapping_add(i >> 8) >> 3) as u8).collect()
}

/// A tree with everything a volume contract can express.
pub(super) fn sample() -> MemVolume<'static> {
    let mut v = volume();
    let dir = v.add_directory(Ino::ROOT, b"dir", &attributes(Kind::Directory, 1)).unwrap();
    let deep = v.add_directory(dir, b"deep", &attributes(Kind::Directory, 2)).unwrap();
    v.add_directory(deep, b"empty", &attributes(Kind::Directory, 3)).unwrap();
    for (index, len) in [0usize, 1, 1023, 1024, 1025, 5000, 20_000].into_iter().enumerate() {
        let parent = [Ino::ROOT, dir, deep][index % 3];
        let name = format!("file-{len}");
        let seed = index as u32 + 4;
        let file =
            v.add_file(parent, name.as_bytes(), &attributes(Kind::File, seed), &pattern(len, seed)).unwrap();
        if index % 2 == 0 {
            v.set_property(file, PropertyKind::Xattr, b"user.note", &pattern(10 + index * 900, seed))
                .unwrap();
        }
    }
    let linked = v.add_file(dir, b"linked", &attributes(Kind::File, 12), b"one of several").unwrap();
    v.add_link(linked, Ino::ROOT, b"a-link").unwrap();
    v.add_link(linked, deep, b"z-link").unwrap();
    v.set_property(linked, PropertyKind::PosixAccessAcl, b"", &pattern(44, 3)).unwrap();
    v.set_property(dir, PropertyKind::PosixDefaultAcl, b"", &pattern(44, 4)).unwrap();
    v.set_property(dir, PropertyKind::Xattr, b"user.directory", &pattern(700, 5)).unwrap();
    v.add_symlink(Ino::ROOT, b"symlink", &attributes(Kind::Symlink, 13), b"dir/deep/file-5000").unwrap();
    let mut node = attributes(Kind::CharDevice, 14);
    node.device = DeviceNumber { major: 10, minor: 200 };
    let node = v.add_node(dir, b"node", &node).unwrap();
    v.set_property(node, PropertyKind::Xattr, b"trusted.node", &pattern(30, 6)).unwrap();
    v.add_node(dir, b"fifo", &attributes(Kind::Fifo, 15)).unwrap();
    v.add_node(dir, b"socket", &attributes(Kind::Socket, 16)).unwrap();
    let sparse = v.add_file(deep, b"sparse", &attributes(Kind::File, 17), b"").unwrap();
    v.write_data(sparse, 700_000, &pattern(3000, 8)).unwrap();
    v.set_size(sparse, 2_000_000).unwrap();
    v.add_file(deep, &[b'n'; NAME_LEN_MAX], &attributes(Kind::File, 18), b"long name").unwrap();
    let mut root = attributes(Kind::Directory, 19);
    root.permissions = 0o1777;
    v.set_attributes(Ino::ROOT, &root).unwrap();
    v
}

pub(super) fn options(blocking: u32) -> DumpOptions {
    let id = DumpId(*b"0123456789abcdef");
    DumpOptions {
        identity: DumpIdentity { id, date: 1_700_000_000, base_date: 0, level: Level::BASELINE },
        blocking: BlockingFactor::new(blocking).unwrap(),
        label: *b"sample\0\0\0\0\0\0\0\0\0\0",
    }
}

fn dump(source: &mut MemVolume<'_>, blocking: u32, records: usize) -> (MemTape<'static>, DumpSummary) {
    let options = options(blocking);
    let mut tape = MemTape::blank(leak(4 << 20));
    let (mut stream, mut in_use, mut on_tape) =
        (vec![0; 1024 + options.blocking.record_len() * records], vec![0; 64], vec![0; 64]);
    let memory =
        DumpMemory { stream: &mut stream, in_use: &mut in_use, on_tape: &mut on_tape, known: &mut [] };
    let mut dump = Dump::<_, _, PortableCrc32c>::new(source, &mut tape, memory, options).unwrap();
    for _ in 0..100_000 {
        match dump.step().unwrap() {
            DumpEvent::Done(summary) => return (tape, summary),
            DumpEvent::Skipped { .. } | DumpEvent::Changed { .. } | DumpEvent::DataUnread { .. } => {
                panic!("incomplete")
            }
            _ => {}
        }
    }
    panic!("no end");
}

struct Outcome {
    summary: Option<RestoreSummary>,
    damage: Vec<Damage>,
    failures: usize,
    error: Option<String>,
}

fn restore<V: TargetVolume>(tape: &mut MemTape<'_>, target: V, paths: &[&[u8]]) -> Outcome {
    restore_lending(tape, target, paths, &mut [0; LINUX_XATTRS_LEN_MAX])
}

fn restore_lending<V: TargetVolume>(
    tape: &mut MemTape<'_>,
    target: V,
    paths: &[&[u8]],
    attributes: &mut [u8],
) -> Outcome {
    let mut scratch = vec![0; 1 << 20];
    let scratch = MemBlock::new(&mut scratch, 512).unwrap();
    let (mut stream, mut maps, mut names) = (vec![0; 257 << 10], vec![0; 6 * 1024], vec![0; 16 << 10]);
    let memory =
        RestoreMemory { stream: &mut stream, maps: &mut maps, chain: &mut [], names: &mut names, attributes };
    tape.rewind().unwrap();
    let mut restore = Restore::<_, _, _, PortableCrc32c>::new(tape, target, scratch, memory).unwrap();
    let mut outcome = Outcome { summary: None, damage: vec![], failures: 0, error: None };
    for _ in 0..1_000_000 {
        match restore.step() {
            Ok(RestoreEvent::Damage(damage)) => outcome.damage.push(damage),
            Ok(RestoreEvent::Failed(_)) => outcome.failures += 1,
            Ok(RestoreEvent::Catalogued) => {
                for path in paths {
                    assert_eq!(
                        restore.select(path).unwrap(),
                        Selected::Yes,
                        "{:?}",
                        String::from_utf8_lossy(path)
                    );
                }
            }
            Ok(RestoreEvent::Done(summary)) => {
                outcome.summary = Some(summary);
                return outcome;
            }
            Ok(_) => {}
            Err(error) => {
                outcome.error = Some(format!("{error:?}"));
                return outcome;
            }
        }
    }
    panic!("no end");
}

#[test]
fn a_tree_comes_back_with_every_blocking_factor() {
    for (blocking, records) in [(4, 1), (4, 7), (10, 1), (64, 2), (256, 1)] {
        let mut source = sample();
        let (mut tape, summary) = dump(&mut source, blocking, records);
        assert_eq!((summary.directories, summary.incomplete), (4, 0));
        let mut target = volume();
        let outcome = restore(&mut tape, &mut target, &[]);
        assert_eq!((outcome.error.clone(), outcome.failures), (None, 0));
        assert_eq!(outcome.damage, []);
        assert_eq!(differs(&source, &target), None, "blocking factor {blocking}");
        assert!(outcome.summary.unwrap().is_good());
    }
}

/// The length and the checksum of whole tapes. They were computed on a little-endian machine: these tests running on a
/// big-endian one show that both write the same bytes. A change of the format changes them.
#[test]
fn the_bytes_of_a_tape_are_the_same_on_every_machine() {
    let found = [4, 32].map(|blocking| {
        let (tape, _) = dump(&mut sample(), blocking, 1);
        let bytes = tape_bytes(&tape);
        (bytes.len(), PortableCrc32c::update(0, &bytes))
    });
    assert_eq!(found, [(102_400, 0x780b_9b00), (131_072, 0x9092_9747)]);
}

#[test]
fn a_tape_verifies_without_a_target() {
    let (mut tape, dumped) = dump(&mut sample(), 4, 1);
    let outcome = restore(&mut tape, NullTarget::new(), &[]);
    let summary = outcome.summary.unwrap();
    assert!(summary.is_good() && summary.checked);
    assert_eq!(summary.directories + summary.objects, dumped.directories + dumped.others);
}

#[test]
fn only_what_is_selected_comes_back() {
    let (mut tape, _) = dump(&mut sample(), 4, 1);
    let mut target = volume();
    let outcome = restore(&mut tape, &mut target, &[b"dir/deep", b"./a-link", b"dir/file-1"]);
    assert!(outcome.summary.unwrap().is_good(), "{:?}", outcome.damage);
    let dir = target.look_up(Ino::ROOT, b"dir").unwrap();
    let deep = target.look_up(dir, b"deep").unwrap();
    assert!(target.look_up(deep, b"sparse").is_some() && target.look_up(deep, b"empty").is_some());
    assert_eq!(target.look_up(Ino::ROOT, b"a-link"), target.look_up(deep, b"z-link"));
    assert_eq!(target.look_up(dir, b"linked"), None, "another name of what was selected");
    assert!(target.look_up(dir, b"file-1").is_some());
    assert_eq!(target.look_up(Ino::ROOT, b"symlink"), None);
    assert_eq!(target.look_up(dir, b"node"), None);
}

const PROPERTY: &[u8] = b"user.property";

/// Every path of a volume, with what `differs` would compare of it.
fn listing(v: &MemVolume<'_>) -> BTreeMap<Vec<u8>, (Ino, String)> {
    let mut all = BTreeMap::new();
    for number in 2..200 {
        let ino = Ino(number);
        let Ok(mut found) = v.attributes(ino) else { continue };
        let mut path = Vec::new();
        let mut at = ino;
        let mut name: NameBuf = [0; NAME_LEN_MAX];
        while let Some((parent, len)) = v.name_of(at, &mut name) {
            path.splice(0..0, name[..len].iter().copied().chain(*b"/"));
            at = parent;
        }
        found.changed = Timestamp::default();
        found.real_ino = 0;
        found.generation = 0;
        found.born = None;
        let mut data = vec![0; if found.kind.has_data() { found.size as usize } else { 0 }];
        v.read_data(ino, 0, &mut data).ok();
        let sum = data.iter().fold(1u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
        if found.kind == Kind::Directory {
            found.size = 0;
            found.links = 0;
        }
        let property = v.property_value(ino, PropertyKind::Xattr, PROPERTY);
        all.insert(path, (ino, format!("{found:?} {sum} {property:?}")));
    }
    all
}

/// A smaller tree, so that every place of its tape can be damaged.
fn small() -> MemVolume<'static> {
    let mut v = volume();
    let dir = v.add_directory(Ino::ROOT, b"dir", &attributes(Kind::Directory, 1)).unwrap();
    for (index, len) in [3000usize, 0, 1024, 5000].into_iter().enumerate() {
        let seed = index as u32 + 2;
        for parent in [Ino::ROOT, dir] {
            let name = format!("file-{len}");
            v.add_file(
                parent,
                name.as_bytes(),
                &attributes(Kind::File, seed),
                &pattern(len, seed + parent.0),
            )
            .unwrap();
        }
    }
    v.add_symlink(dir, b"symlink", &attributes(Kind::Symlink, 8), b"file-0").unwrap();
    let fifo = v.add_node(dir, b"fifo", &attributes(Kind::Fifo, 9)).unwrap();
    let named = |parent, name: &[u8]| v.look_up(parent, name).unwrap();
    // In trailing blocks, as the data of a node, of a directory, and in stage V.
    let owners =
        [named(Ino::ROOT, b"file-3000"), fifo, dir, named(dir, b"file-0"), named(Ino::ROOT, b"file-0")];
    for (index, owner) in owners.into_iter().enumerate() {
        v.set_property(owner, PropertyKind::Xattr, PROPERTY, &pattern(60 + index * 20, index as u32))
            .unwrap();
    }
    v
}

/// Restores a tape of these bytes and checks that nothing wrong went unsaid. Gives the number of objects lost or wrong.
fn check_damaged(bytes: &[u8], original: &BTreeMap<Vec<u8>, (Ino, String)>, what: &str) -> usize {
    let mut tape = MemTape::blank(leak(bytes.len() + 4096));
    tape.write_file(bytes, 4096).unwrap();
    let mut target = volume();
    let outcome = restore(&mut tape, &mut target, &[]);
    let restored = listing(&target);
    let lost =
        original.iter().filter(|(path, found)| restored.get(*path).map(|r| &r.1) != Some(&found.1)).count();
    let extra = restored.keys().filter(|path| !original.contains_key(*path)).count();
    let good = outcome.summary.is_some_and(|summary| summary.is_good());
    assert!(!good || (lost == 0 && extra == 0), "{what}: {lost} lost, {extra} extra, and nothing said");
    lost
}

fn tape_bytes(tape: &MemTape<'_>) -> Vec<u8> {
    tape.records(0).flatten().copied().collect()
}

#[test]
fn every_block_zeroed_removed_or_doubled_costs_only_what_it_touches() {
    let mut source = small();
    let (tape, _) = dump(&mut source, 4, 1);
    let bytes = tape_bytes(&tape);
    let original = listing(&source);
    let blocks = bytes.len() / TAPE_BLOCK_LEN;
    for block in 0..blocks {
        let at = block * TAPE_BLOCK_LEN;
        let mut zeroed = bytes.clone();
        zeroed[at..at + TAPE_BLOCK_LEN].fill(0);
        let mut removed = bytes.clone();
        removed.drain(at..at + TAPE_BLOCK_LEN);
        let mut doubled = bytes.clone();
        doubled.splice(at..at, bytes[at..at + TAPE_BLOCK_LEN].iter().copied());
        for (what, bytes) in [("zeroed", zeroed), ("removed", removed), ("doubled", doubled)] {
            let lost = check_damaged(&bytes, &original, &format!("block {block} of {blocks} {what}"));
            // A lost directory costs the names of what is in it; anything else costs one object.
            let limit = if (18..26).contains(&block) { original.len() } else { 1 };
            assert!(lost <= limit, "block {block} {what}: {lost} objects lost");
        }
    }
}

#[test]
fn every_truncation_and_leading_garbage_is_survived() {
    let mut source = small();
    let (tape, _) = dump(&mut source, 4, 1);
    let bytes = tape_bytes(&tape);
    let original = listing(&source);
    for len in (1..bytes.len()).step_by(509) {
        check_damaged(&bytes[..len], &original, &format!("cut to {len} bytes"));
    }
    for len in [1usize, 7, 511, 512, 1024, 3000] {
        let mut shifted = pattern(len, 99);
        shifted.extend(&bytes);
        let lost = check_damaged(&shifted, &original, &format!("{len} bytes of garbage before"));
        assert_eq!(lost, 0);
    }
}

#[test]
fn flipped_bits_are_never_silent() {
    let mut source = small();
    let (tape, _) = dump(&mut source, 4, 1);
    let bytes = tape_bytes(&tape);
    let original = listing(&source);
    let mut bit = 5usize;
    while bit < bytes.len() * 8 {
        let mut bad = bytes.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        check_damaged(&bad, &original, &format!("bit {bit}"));
        bit += 1009;
    }
}

#[test]
fn what_is_no_dump_is_refused() {
    let mut tape = MemTape::blank(leak(1 << 20));
    tape.write_file(&pattern(100_000, 5), 4096).unwrap();
    let outcome = restore(&mut tape, NullTarget::new(), &[]);
    assert!(outcome.error.unwrap().contains("NotADump"));
    let mut blank = MemTape::blank(leak(1 << 16));
    assert!(restore(&mut blank, NullTarget::new(), &[]).error.unwrap().contains("NotADump"));
}

#[test]
fn a_full_tape_is_an_error_and_names_the_place() {
    let mut source = sample();
    let mut tape = MemTape::blank(leak(40 << 10));
    let options = options(4);
    let (mut stream, mut in_use, mut on_tape) = (vec![0; 5 * 1024], vec![0; 64], vec![0; 64]);
    let memory =
        DumpMemory { stream: &mut stream, in_use: &mut in_use, on_tape: &mut on_tape, known: &mut [] };
    let mut dump = Dump::<_, _, PortableCrc32c>::new(&mut source, &mut tape, memory, options).unwrap();
    let error = loop {
        match dump.step() {
            Ok(DumpEvent::Done(_)) => panic!("it cannot fit"),
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(error, crate::engine::dump::DumpError::EndOfMedium { at } if at.0 > 30), "{error:?}");
}

#[test]
fn directories_on_the_way_are_made_like_those_of_the_dump_or_stay_as_they_are() {
    let mut source = sample();
    let (mut tape, _) = dump(&mut source, 4, 1);
    for kept in [false, true] {
        let mut target = volume();
        let before = attributes(Kind::Directory, 77);
        if kept {
            target.add_directory(Ino::ROOT, b"dir", &before).unwrap();
        }
        let outcome = restore(&mut tape, &mut target, &[b"dir/linked"]);
        assert!(outcome.summary.unwrap().is_good());
        let dir = target.look_up(Ino::ROOT, b"dir").unwrap();
        let original = source.attributes(source.look_up(Ino::ROOT, b"dir").unwrap()).unwrap();
        let expected = if kept { before } else { original };
        let found = target.attributes(dir).unwrap();
        assert_eq!((found.permissions, found.modified), (expected.permissions, expected.modified));
        assert!(target.look_up(dir, b"linked").is_some() && target.look_up(Ino::ROOT, b"a-link").is_none());
    }
}

/// A tape as Linux' `dump` writes it, made of one of ours: without what is ours, and with this block of extended
/// attributes behind each file.
fn as_of_linux(ours: &[u8], attributes: &[u8]) -> Vec<u8> {
    let template = HeaderTemplate::new(&VolumeNames::default(), &[0; 16]);
    let mut bytes: Vec<u8> = Vec::new();
    let mut rest = ours;
    while let Some((block, behind)) = rest.split_first_chunk::<TAPE_BLOCK_LEN>() {
        let view = Header::new(block);
        let mut repr = view.parse::<PortableCrc32c>(Dialect::OURS).unwrap();
        let holes = view.holes(repr.count);
        let of_object = matches!(repr.kind, HeaderKind::Inode | HeaderKind::Continuation);
        let blocks = match repr.kind {
            HeaderKind::Tape | HeaderKind::End => 0,
            _ if of_object => holes.data_count(repr.count as usize),
            _ => repr.count as usize,
        };
        repr.extension = None;
        if !of_object {
            repr.flags |= flags::NEW_INODE_FORMAT;
        }
        let (data, behind) = behind.split_at(blocks * TAPE_BLOCK_LEN);
        let mut out = [0; TAPE_BLOCK_LEN];
        repr.addr = BlockAddr((bytes.len() / TAPE_BLOCK_LEN) as u64);
        template.emit::<PortableCrc32c>(&repr, &holes, &mut out);
        bytes.extend_from_slice(&out);
        bytes.extend_from_slice(data);
        if repr.attributes.is_some_and(|attributes| attributes.kind == Kind::File) {
            repr.addr = BlockAddr((bytes.len() / TAPE_BLOCK_LEN) as u64);
            repr.flags |= flags::LINUX_EXTENDED;
            repr.linux_extended = LINUX_EXTENDED_XATTR;
            repr.count = attributes.len().div_ceil(TAPE_BLOCK_LEN) as u32;
            repr.attributes.as_mut().unwrap().size = attributes.len() as u64;
            let holes = Holes::all_data(repr.count as usize);
            template.emit::<PortableCrc32c>(&repr, &holes, &mut out);
            bytes.extend_from_slice(&out);
            bytes.extend_from_slice(attributes);
            bytes.resize(bytes.len().next_multiple_of(TAPE_BLOCK_LEN), 0);
        }
        if repr.kind == HeaderKind::End {
            break;
        }
        rest = behind;
    }
    bytes.resize(bytes.len().next_multiple_of(4 * TAPE_BLOCK_LEN), 0);
    bytes
}

#[test]
fn attributes_of_linux_are_restored_in_the_memory_lent_for_them_or_told() {
    let mut source = volume();
    let file = source.add_file(Ino::ROOT, b"file", &attributes(Kind::File, 1), b"data").unwrap();
    // Attributes within the inode, whose hash may be 0: an entry, the end of the list, and the value at the end.
    let mut content = vec![0; 1100];
    content[..4].copy_from_slice(&0xea02_0001_u32.to_le_bytes());
    content[4..6].copy_from_slice(&[4, 1]);
    content[6..8].copy_from_slice(&1091_u16.to_le_bytes());
    content[12..16].copy_from_slice(&5_u32.to_le_bytes());
    content[20..24].copy_from_slice(b"note");
    content[1095..].copy_from_slice(b"value");
    let (tape, _) = dump(&mut source, 4, 1);
    let bytes = as_of_linux(&tape_bytes(&tape), &content);
    let mut tape = MemTape::blank(leak(1 << 20));
    tape.write_file(&bytes, 4096).unwrap();
    for (len, fits) in [(LINUX_XATTRS_LEN_MAX, true), (1100, true), (1099, false), (10, false), (0, false)] {
        let mut target = volume();
        let outcome = restore_lending(&mut tape, &mut target, &[], &mut vec![0xee; len]);
        assert_eq!(outcome.error, None, "{len}");
        let told = [Damage::Properties { ino: file }];
        assert_eq!(outcome.damage, if fits { &[][..] } else { &told[..] }, "{len}");
        let restored = target.look_up(Ino::ROOT, b"file").unwrap();
        let value = target.property_value(restored, PropertyKind::Xattr, b"user.note");
        assert_eq!(value, fits.then_some(&b"value"[..]), "{len}");
        let mut data = [0; 10];
        assert_eq!(target.read_data(restored, 0, &mut data).unwrap(), 4, "{len}");
    }
}
