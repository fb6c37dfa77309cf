//! Forged objects: copies of others, properties and names of what is none of the dump's, and trees that take long.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use tapedump_tests::cli::{Outcome, Run, binary, code};
use tapedump_tests::digest::crc32c;
use tapedump_tests::forge::{DIRECTORY, Forge, Header, REGULAR, SYMLINK, directory_data};
use tapedump_tests::random::Random;
use tapedump_tests::scratch::Scratch;
use tapedump_tests::tape::{BLOCK, Order};

use crate::Case;
use crate::hostile::{Arena, Findings, forges};

pub(crate) const CASES: &[Case] = &[
    Case { name: "headers_in_a_file", needs: &[], run: headers_in_a_file },
    Case { name: "missing_blocks_of_a_foreign_dump", needs: &[], run: missing_blocks_of_a_foreign_dump },
    Case { name: "objects_that_come_again", needs: &[], run: objects_that_come_again },
    Case { name: "properties_of_what_never_came", needs: &[], run: properties_of_what_never_came },
    Case { name: "names_in_lost_found", needs: &[], run: names_in_lost_found },
    Case { name: "blocks_of_another_directory", needs: &[], run: blocks_of_another_directory },
    Case { name: "what_is_lost_without_a_trace", needs: &[], run: what_is_lost_without_a_trace },
    Case { name: "attributes_that_overlap", needs: &[], run: attributes_that_overlap },
    Case { name: "many_names_of_many_copies", needs: &[], run: many_names_of_many_copies },
    Case { name: "a_long_way_down", needs: &[], run: a_long_way_down },
];

type Entries<'a> = &'a [(u32, &'a [u8])];

fn start(forge: &Forge, numbers: &[u32], root: Entries<'_>) -> Forge {
    let mut tape = forge.clone();
    tape.tape().maps(numbers).directory(2, &[&[(2, &b"."[..]), (2, b"..")], root].concat());
    tape
}

/// A payload with one extended attribute; stage V has its owner in the first row.
fn payload(name: &[u8], value: &[u8], owner: Option<u32>) -> Vec<u8> {
    let mut rows = Vec::new();
    let mut row = |kind: u16, content: &[u8]| {
        rows.extend_from_slice(&kind.to_be_bytes());
        rows.extend_from_slice(&[0, 0]);
        rows.extend_from_slice(&(content.len() as u32).to_be_bytes());
        rows.extend_from_slice(content);
        rows.resize(rows.len().next_multiple_of(8), 0);
    };
    if let Some(owner) = owner {
        row(1, &owner.to_be_bytes());
    }
    row(4, &[&(name.len() as u16).to_be_bytes(), name, value].concat());
    let mut payload = [&b"TDT1"[..], &(rows.len() as u32).to_be_bytes(), &rows].concat();
    payload.extend_from_slice(&crc32c(&payload).to_be_bytes());
    payload
}

fn stage_five(tape: &mut Forge, owner: u32, name: &[u8]) {
    let payload = payload(name, b"value", Some(owner));
    let header = Header::inode(65_537, 0o100_600, payload.len() as u64);
    tape.object(&Header { stage_five: 1, owner: Some(owner), ..header }, &payload);
}

fn has_attribute(path: &Path, name: &str) -> bool {
    let mut names = vec![0; 4096];
    let len = rustix::fs::listxattr(path, &mut names[..]).expect("names");
    names[..len].split(|byte| *byte == 0).any(|found| found == name.as_bytes())
}

/// A healthy dump of another program, with a file that somebody wrote in the hope of it.
fn headers_in_a_file() {
    let mut findings = Findings::default();
    for order in [Order::Big, Order::Little] {
        // Claims of being so many blocks further on than it is; and blocks of the file before and behind.
        for (further, before, behind) in [(0, 0, 2), (1, 2, 1), (100, 2, 1), (400, 2, 500), (511, 0, 700)] {
            let mut tape = start(
                &Forge::foreign(order),
                &[2, 3, 4, 5],
                &[(3, b"shadow"), (4, b"of a user"), (5, b"later")],
            );
            tape.file(3, b"genuine");
            let header = Header { mode: 0o104_755, ..Header::inode(3, REGULAR, 6) };
            let at = tape.next_block() + 1 + before + further;
            let forged = Forge::foreign_from(order, at).object(&header, b"forged").unfinished();
            let content = [&vec![b'A'; before * BLOCK], &forged[at * BLOCK..], &vec![b'B'; behind * BLOCK]];
            let content = content.concat();
            let tape = tape.file(4, &content).file(5, b"later").end();
            let what = format!("a header {further} blocks ahead in a file of {}", content.len() / BLOCK);
            let arena = Arena::new("header-in-file");
            let outcome = arena.run(&tape);
            findings.check(outcome.ended_with(code::DONE), &format!("{what}: refused"), &outcome);
            findings.restored(&what, &arena, "shadow", b"genuine", &outcome);
            findings.restored(&what, &arena, "of a user", &content, &outcome);
            findings.restored(&what, &arena, "later", b"later", &outcome);
            let mode =
                fs::metadata(arena.target().join("shadow")).map_or(0, |found| found.permissions().mode());
            findings.check(mode & 0o7777 == 0o644, &format!("{what}: mode {mode:o}"), &outcome);
        }
    }
    findings.finish();
}

/// Headers that are really among the blocks of a file are found, though the one that is due has to be looked for.
fn missing_blocks_of_a_foreign_dump() {
    let mut findings = Findings::default();
    for order in [Order::Big, Order::Little] {
        for (len, missing) in [(10, 1), (10, 9), (600, 1), (600, 40), (600, 300), (600, 511)] {
            let names: Entries<'_> = &[(3, b"cut"), (4, b"second"), (5, b"third"), (6, b"last")];
            let mut tape = start(&Forge::foreign(order), &[2, 3, 4, 5, 6], names);
            let from = (tape.next_block() + 1) * BLOCK;
            tape.file(3, &vec![b'x'; len * BLOCK])
                .file(4, b"second")
                .file(5, b"third")
                .file(6, &[b'l'; 5000]);
            let mut tape = tape.end();
            tape.drain(from..from + missing * BLOCK);
            let what = format!("{missing} of {len} blocks missing");
            let arena = Arena::new("cut");
            let outcome = arena.run(&tape);
            findings.refused_by_name(&what, "cut", &outcome);
            for (name, content) in [("second", &b"second"[..]), ("third", b"third"), ("last", &[b'l'; 5000])]
            {
                findings.restored(&what, &arena, name, content, &outcome);
            }
        }
    }
    findings.finish();
}

fn objects_that_come_again() {
    let mut findings = Findings::default();
    for forge in forges() {
        let arena = Arena::new("again");
        let mut tape = start(&forge, &[2, 3], &[(3, b"file"), (3, b"second name")]);
        let tape = tape.file(3, b"first").file(3, b"second").file(3, b"third").end();
        let outcome = arena.run(&tape);
        findings.refused_by_name("three copies", "file", &outcome);
        for name in ["file", "second name"] {
            findings.restored("three copies", &arena, name, b"first", &outcome);
        }

        // A second one is taken for a first one that is damaged; a third one never.
        let arena = Arena::new("better");
        let mut tape = start(&forge, &[2, 3], &[(3, b"file"), (3, b"second name")]);
        tape.header(&Header::inode(3, REGULAR, 3000).with_blocks(1)).data(b"first");
        let outcome = arena.run(&tape.file(3, b"second").file(3, b"third").end());
        findings.refused_by_name("the first copy is damaged", "file", &outcome);
        for name in ["file", "second name"] {
            findings.restored("the first copy is damaged", &arena, name, b"second", &outcome);
        }

        // Names in a second record of a directory are not taken, and that is said.
        let arena = Arena::new("directory-again");
        let mut tape = start(&forge, &[2, 3, 4, 5], &[(3, b"directory")]);
        tape.directory(3, &[(3, b"."), (2, b".."), (4, b"a")])
            .directory(3, &[(3, b"."), (2, b".."), (5, b"b")]);
        let outcome = arena.run(&tape.file(4, b"a").file(5, b"b").end());
        findings.refused_by_name("a directory again", "directory", &outcome);
        findings.restored("a directory again", &arena, "directory/a", b"a", &outcome);
        findings.restored("a directory again", &arena, "lost+found/5", b"b", &outcome);
    }
    findings.finish();
}

fn properties_of_what_never_came() {
    let mut findings = Findings::default();
    for announced in [false, true] {
        let arena = Arena::new("never-came");
        let mine = arena.target().join("mine");
        fs::write(&mine, b"none of the dump's").expect("file");
        let numbers: &[u32] = if announced { &[2, 3, 50] } else { &[2, 3] };
        let mut tape = start(&Forge::ours(), numbers, &[(3, b"empty"), (50, b"mine")]);
        tape.file(3, b"");
        stage_five(&mut tape, 3, b"user.of-empty");
        stage_five(&mut tape, 50, b"user.forged");
        let outcome = arena.run(&tape.end());
        findings.refused_by_name("an owner that never came", "mine", &outcome);
        findings.check(!has_attribute(&mine, "user.forged"), "an attribute of another's file", &outcome);
        let empty = arena.target().join("empty");
        findings.check(has_attribute(&empty, "user.of-empty"), "an attribute is not restored", &outcome);
    }

    // One payload for each object.
    let arena = Arena::new("payload-again");
    let mut tape = start(&Forge::ours(), &[2, 3], &[(3, b"empty")]);
    tape.file(3, b"");
    stage_five(&mut tape, 3, b"user.first");
    stage_five(&mut tape, 3, b"user.second");
    let outcome = arena.run(&tape.end());
    findings.refused_by_name("a payload again", "empty", &outcome);
    let empty = arena.target().join("empty");
    let taken = (has_attribute(&empty, "user.first"), has_attribute(&empty, "user.second"));
    findings.check(taken == (true, false), "the first payload is not the one", &outcome);
    findings.finish();
}

/// What goes to `lost+found` replaces nothing that the dump has there.
fn names_in_lost_found() {
    let mut findings = Findings::default();
    for forge in forges() {
        let arena = Arena::new("lost-found-file");
        let mut tape = start(&forge, &[2, 3, 4, 57], &[(3, b"lost+found"), (4, b"lost+found-2")]);
        let outcome = arena.run(&tape.file(3, b"a file").file(4, b"another").file(57, b"nameless").end());
        findings.refused("files of that name", &outcome);
        findings.restored("files of that name", &arena, "lost+found", b"a file", &outcome);
        findings.restored("files of that name", &arena, "lost+found-2", b"another", &outcome);
        findings.restored("files of that name", &arena, "lost+found-3/57", b"nameless", &outcome);

        let arena = Arena::new("lost-found-number");
        let mut tape = start(&forge, &[2, 3, 30, 56, 57, 60], &[(3, b"lost+found")]);
        tape.directory(3, &[(3, b"."), (2, b".."), (30, b"57")]);
        tape.directory(56, &[(56, b"."), (2, b".."), (60, b"in 56")]);
        let outcome = arena.run(&tape.file(30, b"precious").file(57, b"nameless").file(60, b"below").end());
        findings.refused("a number as a name", &outcome);
        findings.restored("a number as a name", &arena, "lost+found/57", b"precious", &outcome);
        findings.restored("a number as a name", &arena, "lost+found-2/57", b"nameless", &outcome);
        findings.restored("a number as a name", &arena, "lost+found-2/56/in 56", b"below", &outcome);

        // The dump's own directory will do where nothing in it is in the way.
        let arena = Arena::new("lost-found-own");
        let mut tape = start(&forge, &[2, 3, 30, 57], &[(3, b"lost+found")]);
        tape.directory(3, &[(3, b"."), (2, b".."), (30, b"57 or so")]);
        let outcome = arena.run(&tape.file(30, b"precious").file(57, b"nameless").end());
        findings.restored("its own", &arena, "lost+found/57 or so", b"precious", &outcome);
        findings.restored("its own", &arena, "lost+found/57", b"nameless", &outcome);
    }
    findings.finish();
}

/// The names of a directory whose header is lost, together with the blocks of the one before, are not that one's.
fn blocks_of_another_directory() {
    let mut findings = Findings::default();
    for forge in forges() {
        let arena = Arena::new("astray");
        fs::write(arena.target().join("passwd"), b"there before").expect("file");
        let mut tape = start(&forge, &[2, 3, 4, 5], &[(3, b"a"), (4, b"in the root")]);
        let lost = (tape.next_block() - 1) * BLOCK;
        tape.directory(3, &[(3, b"."), (2, b".."), (5, b"passwd")]);
        let mut tape = tape.file(4, b"r").file(5, b"of a").end();
        tape.drain(lost..lost + 2 * BLOCK);
        let outcome = arena.run(&tape);
        findings.refused("lost blocks", &outcome);
        findings.restored("lost blocks", &arena, "passwd", b"there before", &outcome);
        findings.restored("lost blocks", &arena, "lost+found/4", b"r", &outcome);
        findings.restored("lost blocks", &arena, "lost+found/5", b"of a", &outcome);
    }
    findings.finish();
}

/// Each of these ended with exit code 0 if only the checksums counted.
fn what_is_lost_without_a_trace() {
    let mut findings = Findings::default();
    let holes = |header: Header| Header { count: 2, map: vec![1, 0], ..header };
    let root: Entries<'_> = &[(3, b"culprit")];
    for forge in forges() {
        let mut tape = start(&forge, &[2, 3], root);
        tape.header(&holes(Header::inode(3, SYMLINK, 1500))).data(&[b'T'; BLOCK]);
        findings.refused_by_name("a link with a hole", "culprit", &Arena::new("hole").run(&tape.end()));

        let mut tape = start(&forge, &[2, 3, 4], root);
        let names = directory_data(Order::Big, &[(3, b"."), (2, b"..")]);
        tape.header(&holes(Header::inode(3, DIRECTORY, 2048))).data(&names).file(4, b"x");
        findings.refused_by_name("a directory with a hole", "culprit", &Arena::new("hole").run(&tape.end()));
    }

    let properties = payload(b"user.note", b"value", None);
    let len = properties.len() as u32;
    let with = |trailing| Header { trailing, ..Header::inode(3, REGULAR, 4) };
    let mut tape = start(&Forge::ours(), &[2, 3], root);
    tape.header(&with((1, 0)).with_blocks(2)).data(b"file").data(b"garbage");
    findings.refused_by_name("a payload of length 0", "culprit", &Arena::new("garbage").run(&tape.end()));

    let mut tape = start(&Forge::ours(), &[2, 3], root);
    tape.header(&with((1, len)).with_blocks(2)).data(b"file").data(&properties);
    let further = Header { kind: 4, segment: 1, offset: 1024, ..with((1, len)) };
    tape.header(&further.with_blocks(1)).data(&properties);
    findings.refused_by_name("two payloads", "culprit", &Arena::new("garbage").run(&tape.end()));

    let mut tape = start(&Forge::ours(), &[2, 4], &[(3, b"culprit"), (4, b"there")]);
    let outcome = Arena::new("unannounced").run(&tape.file(4, b"there").end());
    findings.refused_by_name("a name of nothing", "culprit", &outcome);
    findings.finish();
}

/// Linux' attribute blocks with values that share their bytes, again and again for one directory.
fn attributes_that_overlap() {
    let mut block = vec![0; 4096];
    block[..4].copy_from_slice(&0xea02_0001_u32.to_le_bytes());
    for entry in 0..100 {
        // Name length, namespace `user.`, offset and length of the value, name.
        let at = 4 + entry * 20;
        let value = at + 16;
        block[at] = 4;
        block[at + 1] = 1;
        block[at + 2..at + 4].copy_from_slice(&(value as u16).to_le_bytes());
        block[at + 8..at + 12].copy_from_slice(&((4096 - 4 - value) as u32).to_le_bytes());
        block[at + 16..at + 20].copy_from_slice(b"name");
    }
    let mut tape = start(&Forge::foreign(Order::Little), &[2, 3], &[(3, b"culprit")]);
    tape.directory(3, &[(3, b"."), (2, b"..")]);
    for _ in 0..300 {
        let header = Header { flags: 0x8000, linux: 3, ..Header::inode(3, DIRECTORY, 4096).with_blocks(4) };
        tape.header(&header).data(&block);
    }
    let tape = tape.end();
    let arena = Arena::new("overlap");
    let outcome = arena.run(&tape);
    let mut findings = Findings::default();
    findings.refused_by_name("values that overlap", "culprit", &outcome);

    // All notes of the directory, many times what is on the tape, would have to fit in a file of the tape's length.
    let scratch = Scratch::in_memory("overlap-scratch");
    let path = scratch.join("tape");
    fs::write(&path, &tape).expect("tape");
    let limit = tape.len() as u64 / 512;
    let outcome = limited(
        &scratch,
        &format!("ulimit -f {limit}"),
        &["verify".as_ref(), "--tape".as_ref(), path.as_ref()],
    );
    findings.check(outcome.mentions("culprit"), "the scratch file grew", &outcome);
    findings.finish();
}

/// The shipped binary under a limit that the shell sets.
fn limited(scratch: &Scratch, limit: &str, arguments: &[&std::ffi::OsStr]) -> Outcome {
    let run = Run::program("sh").args(["-c", &format!("{limit} && exec \"$0\" \"$@\"")]);
    let run = run.arg(binary()).args(arguments).env("TAPEDUMP_STATE", scratch.join("state"));
    run.timeout(Duration::from_secs(60)).outcome()
}

/// Work must not be names times copies.
fn many_names_of_many_copies() {
    let mut findings = Findings::default();
    let names: Vec<String> = (0..4000).map(|number| format!("{number:04}")).collect();
    let entries: Vec<(u32, &[u8])> = names.iter().map(|name| (3, name.as_bytes())).collect();
    for (what, size) in [("well", 0), ("damaged", 5000)] {
        let mut tape = start(&Forge::ours(), &[2, 3], &entries);
        for _ in 0..2000 {
            tape.header(&Header::inode(3, REGULAR, size));
        }
        let arena = Arena::new("copies");
        let outcome = arena.run(&tape.end());
        findings.refused(what, &outcome);
        findings.check(outcome.elapsed < Duration::from_secs(10), &format!("{what}: slow"), &outcome);
        let links = fs::metadata(arena.target().join("0000")).map_or(0, |found| found.nlink());
        findings.check(links == 4000, &format!("{what}: {links} names"), &outcome);
    }
    findings.finish();
}

/// Directories in each other, many more than can be open, in no order of their numbers.
fn a_long_way_down() {
    const DEPTH: usize = 4000;
    let mut numbers: Vec<u32> = (3..3 + DEPTH as u32).collect();
    let mut random = Random::new(1);
    for at in (1..numbers.len()).rev() {
        numbers.swap(at, random.below(at as u64 + 1) as usize);
    }
    let below = |number: u32| {
        let at = numbers.iter().position(|other| *other == number)?;
        numbers.get(at + 1).copied()
    };
    let mut all = numbers.clone();
    all.push(2);
    let mut tape = start(&Forge::ours(), &all, &[(numbers[0], b"d")]);
    for number in 3..3 + DEPTH as u32 {
        let mut entries: Vec<(u32, &[u8])> = vec![(number, b"."), (2, b"..")];
        entries.extend(below(number).map(|number| (number, &b"d"[..])));
        tape.directory(number, &entries);
    }
    let scratch = Scratch::in_memory("long-way");
    let (path, target) = (scratch.join("tape"), scratch.directory("target"));
    fs::write(&path, tape.end()).expect("tape");
    let arguments =
        ["restore".as_ref(), "--to".as_ref(), target.as_os_str(), "--tape".as_ref(), path.as_ref()];
    let outcome = limited(&scratch, "ulimit -n 600", &arguments);
    assert!(outcome.ended_with(code::DONE), "{outcome}");
    assert!(outcome.elapsed < Duration::from_secs(8), "slow\n{outcome}");
    tapedump_tests::scratch::remove_tree(&target).expect("own directory");
}
