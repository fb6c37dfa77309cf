//! Restores that go straight to what is wanted (R-RESTORE-2), and what they do when the way is not as the catalogs say.

use std::fs;
use std::path::{Path, PathBuf};

use tapedump_tests::cli::{Outcome, Run, code};
use tapedump_tests::fixtures;
use tapedump_tests::needs::Need;
use tapedump_tests::product::{dump, restore};
use tapedump_tests::scratch::{Scratch, remove_tree};
use tapedump_tests::tape::{BLOCK, RecordKind, Tape};
use tapedump_tests::tree::{Compare, Tree};

use crate::Case;

pub(crate) const CASES: &[Case] = &[
    Case { name: "a_file_without_a_scan", needs: &[], run: a_file_without_a_scan },
    Case { name: "as_when_read_through", needs: &[Need::Root], run: as_when_read_through },
    Case { name: "only_the_dumps_that_hold_it", needs: &[], run: only_the_dumps_that_hold_it },
    Case { name: "damage_at_the_place", needs: &[], run: damage_at_the_place },
    Case { name: "catalogs_that_cannot_be_used", needs: &[], run: catalogs_that_cannot_be_used },
    Case { name: "paths_that_are_nowhere", needs: &[], run: paths_that_are_nowhere },
];

const DIRECTORIES: usize = 20;
const FILES: usize = 50;

fn content(directory: usize, file: usize) -> Vec<u8> {
    let mark = format!("{directory}/{file} ");
    mark.bytes().cycle().take(8000 + directory * 100 + file).collect()
}

fn big_tree(scratch: &Scratch) -> PathBuf {
    let tree = scratch.directory("tree");
    for directory in 0..DIRECTORIES {
        let path = tree.join(format!("d{directory}"));
        fs::create_dir(&path).expect("made");
        for file in 0..FILES {
            fs::write(path.join(format!("f{file}")), content(directory, file)).expect("written");
        }
    }
    tree
}

/// Tape records that a restore says it has read; `None`: it has read the tapes through.
fn records_read(outcome: &Outcome) -> Option<usize> {
    let line = outcome
        .err()
        .lines()
        .find_map(|line| line.strip_prefix("went straight to it: ").map(String::from))?;
    line.split(' ').next()?.parse().ok()
}

fn a_file_without_a_scan() {
    let scratch = Scratch::in_memory("direct-file");
    let tree = big_tree(&scratch);
    for (name, records) in [("tape", 120), ("file", 120)] {
        let tape = scratch.join(name);
        if name == "tape" {
            let _ = Run::tapedump(&scratch).args(["tape", "create"]).arg(&tape).outcome().done();
        }
        let _ = dump(&scratch, &tree, &tape).outcome().done();
        let out = scratch.join("out");
        let restored = restore(&scratch, &tape, &out).arg("d13/f7").outcome().done();
        let read = records_read(&restored).expect("straight to it");
        assert!(read <= 8 && records > 100, "{read} records: {restored}");
        assert_eq!(fs::read(out.join("d13/f7")).expect("restored"), content(13, 7));
        assert_eq!(Tree::read(&out).expect("tree").entries.len(), 3, "root, directory, file");
        remove_tree(&out).expect("own directory");
        // A directory brings all it holds, and is read in one go.
        let restored = restore(&scratch, &tape, &out).args(["d3", "d17/f49"]).outcome().done();
        assert!(records_read(&restored).expect("straight to it") <= 24, "{restored}");
        let expected = Tree::read(&tree).expect("tree").without(|path, _| {
            !path.is_empty() && !path.starts_with(b"d3") && path != b"d17" && path != b"d17/f49"
        });
        let not_root = |path: &[u8], _: &_| path.is_empty();
        Compare::EXACT
            .assert_equal(&expected.without(not_root), &Tree::read(&out).expect("tree").without(not_root));
        remove_tree(&out).expect("own directory");
    }
}

/// Every kind of object, one path at a time: straight from its place it is what it is when the tape is read through.
fn as_when_read_through() {
    let scratch = Scratch::new("direct-kinds");
    let tree = scratch.directory("tree");
    fixtures::build_small(&tree).expect("fixtures");
    let tape = scratch.join("tape");
    let _ = dump(&scratch, &tree, &tape).outcome().done();
    let away = scratch.directory("state of another machine");
    let mut paths = Vec::new();
    for entry in fs::read_dir(&tree).expect("read") {
        let name = entry.expect("entry").file_name();
        let inner = fs::read_dir(tree.join(&name)).ok().and_then(|mut entries| entries.next());
        paths.extend(inner.map(|inner| Path::new(&name).join(inner.expect("entry").file_name())));
        paths.push(name.into());
    }
    let mut straight_ones = 0;
    for path in paths {
        let (straight, through) = (scratch.join("straight"), scratch.join("through"));
        let outcome = restore(&scratch, &tape, &straight).arg("--").arg(&path).outcome().done();
        straight_ones += usize::from(records_read(&outcome).is_some());
        let outcome = restore(&scratch, &tape, &through).env("TAPEDUMP_STATE", &away).arg("--").arg(&path);
        assert_eq!(records_read(&outcome.outcome().done()), None);
        let not_root = |path: &[u8], _: &_| path.is_empty();
        let read = |path: &Path| Tree::read(path).expect("tree").without(not_root);
        Compare::EXACT.assert_equal(&read(&through), &read(&straight));
        remove_tree(&straight).and_then(|()| remove_tree(&through)).expect("own directories");
    }
    assert!(straight_ones > 5, "{straight_ones}");
}

fn only_the_dumps_that_hold_it() {
    let scratch = Scratch::in_memory("direct-chain");
    let tree = big_tree(&scratch);
    let tapes: Vec<PathBuf> = (0..3).map(|level| scratch.join(&format!("level{level}"))).collect();
    for (level, tape) in tapes.iter().enumerate() {
        if level > 0 {
            fs::write(tree.join(format!("d{level}/f{level}")), "changed").expect("written");
        }
        // What changed in the second of a dump is taken by the next one, too.
        std::thread::sleep(std::time::Duration::from_millis(1100));
        let _ = dump(&scratch, &tree, tape).args(["--level", &level.to_string()]).outcome().done();
    }
    // What level 1 holds is not wanted: its tape need not be there.
    let hidden = scratch.join("hidden");
    fs::rename(&tapes[1], &hidden).expect("renamed");
    let out = scratch.join("out");
    let _ = restore(&scratch, &tapes[2], &out).args(["d2/f2", "d9/f9"]).outcome().done();
    assert_eq!(fs::read(out.join("d2/f2")).expect("from level 2"), b"changed");
    assert_eq!(fs::read(out.join("d9/f9")).expect("from level 0"), content(9, 9));
    remove_tree(&out).expect("own directory");
    let missing = restore(&scratch, &tapes[2], &out).args(["d1/f1"]).outcome().expect(code::FAILED);
    let _ = missing.says("level1").says("nothing was restored");
    assert!(!out.exists());
    // Something else in its place is not taken for it.
    fs::copy(&tapes[0], &tapes[1]).expect("copied");
    let other = restore(&scratch, &tapes[2], &out).args(["d1/f1"]).outcome().expect(code::FAILED);
    let _ = other.says("another dump is there now");
    fs::rename(&hidden, &tapes[1]).expect("renamed");
    let _ = restore(&scratch, &tapes[2], &out).args(["d1"]).outcome().done();
    assert_eq!(fs::read(out.join("d1/f1")).expect("from level 1"), b"changed");
    assert_eq!(fs::read(out.join("d1/f2")).expect("from level 0"), content(1, 2));
}

fn damage_at_the_place() {
    let scratch = Scratch::in_memory("direct-damage");
    let tree = big_tree(&scratch);
    let tape = scratch.join("tape");
    let _ = dump(&scratch, &tree, &tape).outcome().done();
    let good = fs::read(&tape).expect("tape");
    let parsed = Tape::parse(good.clone()).expect("a tape");
    let paths = parsed.paths();
    let record_of = |path: &str| {
        let (number, _) = paths.iter().find(|(_, names)| names.contains(path.as_bytes())).expect("on it");
        parsed.records.iter().find(|record| record.kind == RecordKind::Inode && record.number == *number)
    };
    let file = record_of("d5/f5").expect("on it").at;
    let directory = record_of("d6").expect("on it").at;
    let out = scratch.join("out");
    let attempt = |block: usize, byte: usize, path: &str| {
        let mut bad = good.clone();
        bad[block * BLOCK + byte] ^= 1;
        fs::write(&tape, bad).expect("written");
        if out.exists() {
            remove_tree(&out).expect("own directory");
        }
        restore(&scratch, &tape, &out).arg(path).outcome()
    };
    // Its header, its data, a directory on the way to it, that one's names; and what is beside it.
    let _ = attempt(file, 40, "d5/f5").expect(code::INCOMPLETE).says("d5/f5");
    let _ = attempt(file + 1, 40, "d5/f5").expect(code::INCOMPLETE).says("d5/f5").says("damaged");
    let _ = attempt(directory, 40, "d6/f6").expect(code::INCOMPLETE).says("d6: ").says("made good");
    assert_eq!(fs::read(out.join("d6/f6")).expect("restored"), content(6, 6));
    let _ = attempt(directory + 1, 300, "d6/f6").expect(code::INCOMPLETE).says("d6");
    let whole = attempt(file, 40, "d5/f9").done();
    assert!(records_read(&whole).is_some());
    assert_eq!(fs::read(out.join("d5/f9")).expect("restored"), content(5, 9));
    // The tape is cut off before it.
    fs::write(&tape, &good[..file * BLOCK]).expect("written");
    remove_tree(&out).expect("own directory");
    let _ = restore(&scratch, &tape, &out).arg("d5/f5").outcome().expect(code::INCOMPLETE).says("d5/f5");
}

fn catalogs_that_cannot_be_used() {
    let scratch = Scratch::in_memory("direct-catalogs");
    let tree = big_tree(&scratch);
    let tape = scratch.join("tape");
    let _ = dump(&scratch, &tree, &tape).outcome().done();
    let dumps = scratch.join("state/dumps");
    let folder = fs::read_dir(&dumps).expect("read").next().expect("a dump").expect("entry").path();
    let catalog = folder.join("catalog");
    let good = fs::read(&catalog).expect("catalog");
    let out = scratch.join("out");
    let read_through = |words: &str| {
        let restored = restore(&scratch, &tape, &out).arg("d5/f5").outcome().done();
        assert_eq!(records_read(&restored), None, "{restored}");
        assert_eq!(fs::read(out.join("d5/f5")).expect("restored"), content(5, 5));
        remove_tree(&out).expect("own directory");
        let _ = restored.says(words).says("catalog rebuild").says("read through");
    };
    fs::remove_file(&catalog).expect("removed");
    read_through("no catalog");
    fs::write(&catalog, "").expect("written");
    read_through("no catalog");
    fs::write(&catalog, &good[..good.len() / 2]).expect("written");
    read_through("damaged");
    let mut bad = good.clone();
    bad.iter_mut().for_each(|byte| *byte ^= 0x10);
    fs::write(&catalog, bad).expect("written");
    read_through("no catalog");
    let mut bad = good.clone();
    bad.iter_mut().skip(2 * 1024 + 100).step_by(1024).for_each(|byte| *byte ^= 1);
    fs::write(&catalog, bad).expect("written");
    read_through("damaged");
    // That of another dump of the same tree.
    let second = scratch.join("second");
    let _ = dump(&scratch, &tree, &second).outcome().done();
    let others = fs::read_dir(&dumps).expect("read").map(|entry| entry.expect("entry").path());
    let other = others.into_iter().find(|path| *path != folder).expect("a second dump");
    fs::copy(other.join("catalog"), &catalog).expect("copied");
    read_through("another dump");
    fs::write(&catalog, good).expect("written");
    let restored = restore(&scratch, &tape, &out).arg("d5/f5").outcome().done();
    assert!(records_read(&restored).is_some());
}

fn paths_that_are_nowhere() {
    let scratch = Scratch::in_memory("direct-nowhere");
    let tree = big_tree(&scratch);
    let tape = scratch.join("tape");
    let _ = dump(&scratch, &tree, &tape).outcome().done();
    let out = scratch.join("out");
    let refused = restore(&scratch, &tape, &out).args(["d1", "d1/no", "no", "d1/f1/x"]).outcome();
    let _ = refused.expect(code::FAILED).says("not on the dump: d1/no, no, d1/f1/x");
    assert!(!out.exists());
}
