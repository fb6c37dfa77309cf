//! Forged properties: of what is no LUN and no qtree, that come twice, or before their object.

use std::fs;

use tapedump_tests::cli::code;
use tapedump_tests::digest::crc32c;
use tapedump_tests::forge::{Forge, Header, REGULAR, SYMLINK, directory_data};
use tapedump_tests::product::restore;
use tapedump_tests::scratch::Scratch;
use tapedump_tests::tape::Order;

use crate::Case;
use crate::hostile::{Arena, Findings};
use crate::luns::{ON_BTRFS, volume};

pub(crate) const CASES: &[Case] = &[
    Case { name: "on_what_cannot_have_them", needs: &[], run: on_what_cannot_have_them },
    Case { name: "that_come_twice", needs: &[], run: that_come_twice },
    Case { name: "before_their_object", needs: &[], run: before_their_object },
    Case { name: "too_long_for_a_qtree", needs: ON_BTRFS, run: too_long_for_a_qtree },
    Case { name: "names_of_streams", needs: &[], run: names_of_streams },
];

const OWNER: u16 = 1;
const XATTR: u16 = 4;
const STREAM: u16 = 8;
const QTREE: u16 = 9;
const LUN: u16 = 10;

const LUN_VALUE: &[u8; 32] = b"TDLU\x01\x01\x01\0\xff\xff\xff\xff\xff\xff\xff\xffABCDEFGHIJKL\0\x01\0\0";
const QTREE_VALUE: &[u8; 17] = b"TDQT\x01\0\x01\0\0\0\0\x05\x01\xff\0\x01q";

fn row(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut row = [&kind.to_be_bytes()[..], &[0, 0], &(value.len() as u32).to_be_bytes(), value].concat();
    row.resize(row.len().next_multiple_of(8), 0);
    row
}

fn named(kind: u16, name: &[u8], value: &[u8]) -> Vec<u8> {
    row(kind, &[&(name.len() as u16).to_be_bytes(), name, value].concat())
}

fn payload(rows: &[Vec<u8>]) -> Vec<u8> {
    let rows = rows.concat();
    let mut payload = [&b"TDT1"[..], &(rows.len() as u32).to_be_bytes(), &rows].concat();
    payload.extend_from_slice(&crc32c(&payload).to_be_bytes());
    payload
}

/// An object with its data and a payload behind it.
fn object(tape: &mut Forge, number: u32, mode: u16, data: &[u8], rows: &[Vec<u8>]) {
    let payload = payload(rows);
    let mut header = Header { trailing: (1, payload.len() as u32), ..Header::inode(number, mode, 0) };
    header.size = data.len() as u64;
    header = header.with_blocks(data.len().div_ceil(1024) + 1);
    tape.header(&header).data(data).data(&payload);
}

fn start(forge: &mut Forge, directory: &[Vec<u8>]) {
    forge.tape().maps(&[2, 3, 4, 5]);
    forge.directory(2, &[(2, b"."), (2, b".."), (3, b"culprit"), (4, b"folder"), (5, b"good file")]);
    let data = directory_data(Order::Big, &[(4, b"."), (2, b"..")]);
    object(forge, 4, 0o040_755, &data, directory);
}

fn with_file(mode: u16, directory: &[Vec<u8>], file: &[Vec<u8>]) -> Vec<u8> {
    let mut tape = Forge::ours();
    start(&mut tape, directory);
    object(&mut tape, 3, mode, b"content", file);
    tape.file(5, b"good").end()
}

fn on_what_cannot_have_them() {
    let mut findings = Findings::default();
    let (lun, qtree) = (row(LUN, LUN_VALUE), row(QTREE, QTREE_VALUE));
    let smuggled = |name: &[u8]| named(XATTR, name, LUN_VALUE);
    let tapes = [
        ("a LUN of a directory", "folder", with_file(REGULAR, std::slice::from_ref(&lun), &[])),
        ("a LUN of a link", "culprit", with_file(SYMLINK, &[], &[lun])),
        ("a qtree of a file", "culprit", with_file(REGULAR, &[], std::slice::from_ref(&qtree))),
        ("a qtree of a link", "culprit", with_file(SYMLINK, &[], &[qtree])),
        ("a LUN by its attribute", "culprit", with_file(REGULAR, &[], &[smuggled(b"trusted.tapedump.lun")])),
        (
            "a qtree by its attribute",
            "folder",
            with_file(REGULAR, &[smuggled(b"trusted.tapedump.qtree")], &[]),
        ),
    ];
    for (what, culprit, tape) in tapes {
        let arena = Arena::new("properties");
        let outcome = arena.run(&tape);
        findings.refused_by_name(what, culprit, &outcome);
        findings.restored(what, &arena, "good file", b"good", &outcome);
        for name in ["culprit", "folder"] {
            let mut names = vec![0; 4096];
            let len = rustix::fs::llistxattr(arena.target().join(name), &mut names[..]).unwrap_or(0);
            let names = String::from_utf8_lossy(&names[..len]).into_owned();
            findings.check(!names.contains("tapedump"), &format!("{what}: {name} has {names}"), &outcome);
        }
    }
    findings.finish();
}

/// Whichever of two values an object had, the other one is lost.
fn that_come_twice() {
    let mut findings = Findings::default();
    let twice = [
        ("an attribute", [named(XATTR, b"user.a", b"one"), named(XATTR, b"user.a", b"other")]),
        ("a stream", [named(STREAM, b"a", b"one"), named(XATTR, b"user.DosStream.a", b"other")]),
        ("a LUN", [row(LUN, LUN_VALUE), row(LUN, LUN_VALUE)]),
    ];
    for (what, rows) in twice {
        let arena = Arena::new("twice");
        let outcome = arena.run(&with_file(REGULAR, &[], &rows));
        findings.refused_by_name(what, "the tape has it twice", &outcome);
        findings.restored(what, &arena, "culprit", b"content", &outcome);
    }
    findings.finish();
}

fn before_their_object() {
    let payload = payload(&[row(OWNER, &3_u32.to_be_bytes()), named(XATTR, b"user.a", b"lost")]);
    let mut tape = Forge::ours();
    start(&mut tape, &[]);
    tape.stage_five(3, &payload).file(3, b"content").file(5, b"good");
    let arena = Arena::new("before");
    let outcome = arena.run(&tape.end());
    let mut findings = Findings::default();
    findings.refused_by_name("stage V before the files", "culprit", &outcome);
    findings.restored("stage V before the files", &arena, "culprit", b"content", &outcome);
    findings.restored("stage V before the files", &arena, "good file", b"good", &outcome);
    findings.finish();
}

/// The file system says that it is full then, and is not.
fn too_long_for_a_qtree() {
    let scratch = Scratch::new("properties-qtree");
    let out = volume(&scratch, "volume");
    let payload = payload(&[row(OWNER, &4_u32.to_be_bytes()), row(QTREE, &[b'q'; 65_536])]);
    let mut tape = Forge::ours();
    start(&mut tape, &[]);
    tape.file(3, b"content").file(5, b"good").stage_five(4, &payload);
    let path = scratch.join("tape");
    fs::write(&path, tape.end()).expect("tape");
    let outcome = restore(&scratch, &path, out.path()).outcome().expect(code::INCOMPLETE);
    assert!(outcome.mentions("folder") && !outcome.mentions("make room"), "{outcome}");
    assert_eq!(fs::read(out.path().join("good file")).expect("restored"), b"good");
}

/// A stream stays a stream, whatever it is called.
fn names_of_streams() {
    let mut findings = Findings::default();
    for name in [&b"../../security.capability"[..], b"/trusted.x", b".."] {
        let arena = Arena::new("streams");
        let outcome = arena.run(&with_file(REGULAR, &[], &[named(STREAM, name, b"value")]));
        let mut names = vec![0; 4096];
        let len = rustix::fs::listxattr(arena.target().join("culprit"), &mut names[..]).unwrap_or(0);
        let found = names[..len].split(|byte| *byte == 0).filter(|name| !name.is_empty());
        let expected = [b"user.DosStream.", name].concat();
        let is_whole = found.into_iter().all(|name| name == expected || name == b"security.selinux");
        findings.check(is_whole, "attributes of another kind", &outcome);
        let may_be_unsupported = outcome.ended_with(code::INCOMPLETE) && outcome.mentions("culprit");
        findings.check(
            outcome.ended_with(code::DONE) || may_be_unsupported,
            "a stream of a strange name",
            &outcome,
        );
    }
    for name in [&b"a\0b"[..], &[b'x'; 255]] {
        let arena = Arena::new("streams");
        let outcome = arena.run(&with_file(REGULAR, &[], &[named(STREAM, name, b"value")]));
        findings.refused_by_name("a name that no attribute has", "culprit", &outcome);
    }
    findings.finish();
}
