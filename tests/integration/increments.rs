//! Dumps at levels, chains of them, and what is refused.

use std::fs;
use std::path::{Path, PathBuf};

use tapedump_tests::cli::{Run, code};
use tapedump_tests::debian::{self, LoopDevice};
use tapedump_tests::fixtures;
use tapedump_tests::needs::Need;
use tapedump_tests::product::{dump, restore};
use tapedump_tests::random::{Random, seed};
use tapedump_tests::scratch::{Mount, Scratch, make_ext4, run};
use tapedump_tests::tree::{Compare, Kind, Tree};

use crate::Case;
use crate::world::World;

pub(crate) const CASES: &[Case] = &[
    Case { name: "the_documented_order", needs: &[], run: the_documented_order },
    Case { name: "random_histories", needs: &[], run: random_histories },
    Case { name: "everything_a_tree_holds", needs: &[Need::Root], run: everything_a_tree_holds },
    Case { name: "one_tape_for_all", needs: &[], run: one_tape_for_all },
    Case {
        name: "debian_applies_our_levels",
        needs: &[Need::Root, Need::RESTORE],
        run: debian_applies_our_levels,
    },
    Case {
        name: "levels_of_debian_are_a_chain",
        needs: &[Need::Root, Need::Loop, Need::MKE2FS, Need::DUMP],
        run: levels_of_debian_are_a_chain,
    },
    Case { name: "without_a_baseline", needs: &[], run: without_a_baseline },
    Case { name: "what_is_missing_is_named_first", needs: &[], run: what_is_missing_is_named_first },
    Case { name: "a_base_is_not_written_over", needs: &[], run: a_base_is_not_written_over },
    Case { name: "an_erased_tape_is_no_base", needs: &[], run: an_erased_tape_is_no_base },
    Case { name: "one_path_of_a_chain", needs: &[], run: one_path_of_a_chain },
];

pub(crate) fn dump_level(scratch: &Scratch, tree: &Path, level: u32, tape: &Path) -> Run {
    dump(scratch, tree, tape).args(["--level", &level.to_string()])
}

/// Restores a dump's chain and compares it.
pub(crate) fn check(scratch: &Scratch, tape: &Path, expected: &Tree, what: &str) {
    let out = scratch.directory(&format!("out of {what}"));
    let _ = restore(scratch, tape, &out).outcome().done();
    Compare::EXACT.assert_equal(expected, &Tree::read(&out).expect("tree"));
    tapedump_tests::scratch::remove_tree(&out).expect("own directory");
}

fn history(name: &str, seed: u64, levels: &[u32]) {
    let scratch = Scratch::in_memory(name);
    let mut world = World::new(&scratch, seed);
    dump_and_restore(&scratch, &mut world, levels, &format!("seed {seed}"));
}

/// Dumps a tree that changes meanwhile, and restores each of the dumps.
pub(crate) fn dump_and_restore(scratch: &Scratch, world: &mut World, levels: &[u32], what: &str) {
    let mut made = Vec::new();
    for (index, level) in levels.iter().enumerate() {
        let tape = scratch.join(&format!("tape {index}"));
        let _ = dump_level(scratch, &world.tree, *level, &tape).outcome().done();
        made.push((tape, world.now()));
        // In the second of the dump, most of them.
        for _ in 0..world.random.below(25) {
            world.change();
        }
    }
    for (index, (tape, expected)) in made.iter().enumerate() {
        check(scratch, tape, expected, &format!("{what}, dump {index} of levels {levels:?}"));
    }
}

/// R-CHAIN-2: level 2 builds on 0, 3 on 2, 1 on 0, 4 on 1.
fn the_documented_order() {
    history("order", 1, &[0, 2, 3, 1, 4]);
}

fn random_histories() {
    let seed = seed();
    println!("seed {seed}");
    for seed in seed..seed + 6 {
        let mut random = Random::new(!seed);
        let mut levels = vec![0];
        levels.extend((0..7).map(|_| random.below(5) as u32));
        history("random", seed, &levels);
    }
}

/// Attributes, ACLs, holes and special files in an increment; nothing of it changed but what was touched.
fn everything_a_tree_holds() {
    let scratch = Scratch::new("increments-all");
    let tree = scratch.directory("tree");
    fixtures::build_small(&tree).expect("fixtures");
    let (base, increment) = (scratch.join("base"), scratch.join("increment"));
    let _ = dump_level(&scratch, &tree, 0, &base).outcome().done();
    let copy = scratch.directory("more");
    fixtures::build_small(&copy).expect("fixtures");
    fs::rename(&copy, tree.join("more")).expect("same file system");
    let expected = Tree::read(&tree).expect("tree");
    let _ = dump_level(&scratch, &tree, 1, &increment).outcome().done();
    check(&scratch, &increment, &expected, "all");
}

fn one_tape_for_all() {
    let scratch = Scratch::in_memory("increments-one-tape");
    let mut world = World::new(&scratch, 3);
    let tape = scratch.join("tape");
    let _ = Run::tapedump(&scratch).args(["tape", "create"]).arg(&tape).outcome().done();
    let mut expected = Vec::new();
    for level in 0..3 {
        let _ = dump_level(&scratch, &world.tree, level, &tape).arg("--append").outcome().done();
        expected.push(world.now());
        (0..15).for_each(|_| world.change());
    }
    // Behind each dump there is its catalog.
    for (file, expected) in expected.iter().enumerate() {
        let out = scratch.directory("out");
        let _ = restore(&scratch, &tape, &out).args(["--file", &(2 * file).to_string()]).outcome().done();
        Compare::EXACT.assert_equal(expected, &Tree::read(&out).expect("tree"));
        tapedump_tests::scratch::remove_tree(&out).expect("own directory");
    }
}

fn debian_applies_our_levels() {
    let scratch = Scratch::in_memory("increments-debian");
    let mut world = World::new(&scratch, 5);
    debian_applies(&scratch, &mut world);
}

/// Dumps a tree that changes meanwhile, and has Debian's program restore it step by step.
pub(crate) fn debian_applies(scratch: &Scratch, world: &mut World) {
    let out = scratch.directory("out");
    for level in 0..3 {
        let name = format!("tape{level}");
        let _ = dump_level(scratch, &world.tree, level, &scratch.join(&name)).outcome().done();
        let applied = debian::restore(["-r", "-f", &format!("../{name}")], &out);
        assert!(applied.ended_with(0), "level {level}: {applied}");
        let found = Tree::read(&out).expect("tree").without(|path, _| path == b"restoresymtable");
        let known = Compare::EXACT.to_the_second().without_xattrs().without_holes();
        // The root's time is that of what Debian's program itself writes there.
        let not_root = |path: &[u8], _: &_| path.is_empty();
        known.assert_equal(&world.now().without(not_root), &found.without(not_root));
        (0..20).for_each(|_| world.change());
    }
}

/// The date of a dump by Debian's program on this machine, as its header has it.
fn date_of(tape: &Path) -> u32 {
    let header = fs::read(tape).expect("tape");
    u32::from_le_bytes(header[4..8].try_into().expect("four bytes"))
}

fn levels_of_debian_are_a_chain() {
    let scratch = Scratch::new("increments-of-debian");
    let image = scratch.join("image");
    make_ext4(&image, 64 << 20, &[]);
    let mounted = scratch.directory("mounted");
    let mut made: Vec<(PathBuf, Tree)> = Vec::new();
    for level in 0..3_u32 {
        let mount = Mount::image(&image, &mounted, "rw");
        let mut world =
            World { tree: mount.path().to_path_buf(), random: Random::new(u64::from(level) + 40) };
        (0..25).for_each(|_| world.change());
        let expected = world.now().without(|path, _| path.starts_with(b"lost+found"));
        drop(mount);
        let tape = scratch.join(&format!("tape{level}"));
        let device = LoopDevice::over(&image);
        let mut run_dump = Run::program("dump").arg(format!("-{level}")).arg("-f").arg(&tape);
        if let Some((base, _)) = made.last() {
            let date = run("date", &["--date", &format!("@{}", date_of(base)), "+%a %b %e %H:%M:%S %Y %z"]);
            run_dump = run_dump.args(["-T", date.trim()]);
        }
        let _ = run_dump.arg(device.path()).outcome().done();
        made.push((tape, expected));
        // Its dates are whole seconds, and it takes what changed after them.
        std::thread::sleep(std::time::Duration::from_millis(1100));
    }
    for (level, (tape, expected)) in made.iter().enumerate() {
        let out = scratch.directory("out");
        let mut run = restore(&scratch, tape, &out);
        for (base, _) in made[..level].iter().rev() {
            run = run.arg("--base").arg(base);
        }
        let _ = run.outcome().done();
        let found = Tree::read(&out).expect("tree").without(|path, _| path.starts_with(b"lost+found"));
        Compare::EXACT.to_the_second().without_holes().assert_equal(expected, &found);
        tapedump_tests::scratch::remove_tree(&out).expect("own directory");
    }
    // With catalogs made of them they are known as ours are.
    for (tape, _) in &made {
        let _ = Run::tapedump(&scratch).args(["catalog", "rebuild", "--tape"]).arg(tape).outcome().done();
    }
    let (out, applied) = (scratch.directory("out"), scratch.join("applied"));
    let (newest, expected) = made.last().expect("three");
    let _ = restore(&scratch, newest, &out).outcome().done();
    let known = Compare::EXACT.to_the_second().without_holes();
    let not_lost = |path: &[u8], _: &_| path.starts_with(b"lost+found");
    known.assert_equal(expected, &Tree::read(&out).expect("tree").without(not_lost));
    let file = expected
        .entries
        .iter()
        .find(|(_, entry)| matches!(entry.kind, Kind::Regular { .. }))
        .expect("a file")
        .0;
    let one = scratch.join("one");
    let path = tapedump_tests::tree::os_path(file);
    let straight = restore(&scratch, newest, &one).arg("--").arg(&path).outcome().done();
    let _ = straight.says("went straight to it");
    assert_eq!(fs::read(one.join(&path)).expect("restored"), fs::read(out.join(&path)).expect("restored"));
    for (tape, expected) in &made {
        let _ = restore(&scratch, tape, &applied).arg("--apply").outcome().done();
        let not_ours = |path: &[u8], _: &_| path.starts_with(b"lost+found") || path.starts_with(b".tapedump");
        known.assert_equal(expected, &Tree::read(&applied).expect("tree").without(not_ours));
    }
}

/// R-CHAIN-6: a baseline is asked for.
fn without_a_baseline() {
    let scratch = Scratch::in_memory("increments-baseline");
    let tree = scratch.directory("tree");
    let tape = scratch.join("tape");
    let refused = dump_level(&scratch, &tree, 1, &tape).outcome().expect(code::FAILED);
    let _ = refused.says("a baseline is needed").says("--level 0");
    assert!(!tape.exists());
    for level in ["32", "-1", "x", "4294967296"] {
        let refused = dump(&scratch, &tree, &tape).arg(format!("--level={level}")).outcome();
        let _ = refused.expect(code::USAGE).says("0 to 31");
    }
    // Another directory in its place is another tree.
    let _ = dump_level(&scratch, &tree, 0, &tape).outcome().done();
    fs::rename(&tree, scratch.join("moved")).expect("renamed");
    fs::create_dir(&tree).expect("made");
    let refused = dump_level(&scratch, &tree, 1, &scratch.join("tape 1")).outcome();
    let _ = refused.expect(code::FAILED).says("a baseline is needed");
}

/// A tree dumped at levels 0, 1 and 2.
fn three_levels(scratch: &Scratch) -> Vec<PathBuf> {
    let mut world = World::new(scratch, 9);
    let tapes: Vec<PathBuf> = (0..3).map(|level| scratch.join(&format!("level{level}"))).collect();
    for (level, tape) in tapes.iter().enumerate() {
        let _ = dump_level(scratch, &world.tree, level as u32, tape).outcome().done();
        std::thread::sleep(std::time::Duration::from_millis(1100));
        (0..10).for_each(|_| world.change());
    }
    tapes
}

/// R-RESTORE-3, R-CHAIN-5: the tapes of the chain are known before anything is written, and a missing one is named.
fn what_is_missing_is_named_first() {
    let scratch = Scratch::in_memory("increments-missing");
    let tapes = three_levels(&scratch);
    let (out, elsewhere) = (scratch.join("out"), scratch.join("elsewhere"));
    let expected = {
        let _ = restore(&scratch, &tapes[2], &out).outcome().done();
        let tree = Tree::read(&out).expect("tree");
        tapedump_tests::scratch::remove_tree(&out).expect("own directory");
        tree
    };
    fs::rename(&tapes[1], &elsewhere).expect("renamed");
    let missing = restore(&scratch, &tapes[2], &out).outcome().expect(code::FAILED);
    let _ = missing.says("level1").says("--base").says("nothing was restored");
    assert!(!out.exists());
    // Something else in its place.
    fs::copy(&tapes[0], &tapes[1]).expect("copied");
    let other = restore(&scratch, &tapes[2], &out).outcome().expect(code::FAILED);
    let _ = other.says("another dump is there now");
    assert!(!out.exists());
    // One that is left out, and all where they are.
    let wrong =
        restore(&scratch, &tapes[2], &out).arg("--base").arg(&tapes[0]).outcome().expect(code::FAILED);
    assert!(wrong.mentions("chain"), "{wrong}");
    assert!(!out.exists());
    let found = restore(&scratch, &tapes[2], &out).arg("--base").arg(&elsewhere).arg("--base").arg(&tapes[0]);
    let _ = found.outcome().done();
    Compare::EXACT.assert_equal(&expected, &Tree::read(&out).expect("tree"));
    // Without a history, as on another machine.
    let away = scratch.directory("another state");
    let unknown = restore(&scratch, &tapes[2], &scratch.join("out 2")).env("TAPEDUMP_STATE", &away);
    let _ = unknown.outcome().expect(code::FAILED).says("--base").says("--only");
    let only =
        restore(&scratch, &tapes[2], &scratch.join("out 3")).env("TAPEDUMP_STATE", &away).arg("--only");
    let _ = only.outcome().done();
}

fn a_base_is_not_written_over() {
    let scratch = Scratch::in_memory("increments-overwrite");
    let tree = scratch.directory("tree");
    let tape = scratch.join("tape");
    let _ = dump_level(&scratch, &tree, 0, &tape).outcome().done();
    let refused = dump_level(&scratch, &tree, 1, &tape).arg("--overwrite").outcome().expect(code::FAILED);
    let _ = refused.says("holds the dump that this one is based on");
    let _ = restore(&scratch, &tape, &scratch.join("out")).outcome().done();
    // A baseline may; what it was is no base any more.
    let other = scratch.directory("other");
    let _ = dump_level(&scratch, &other, 0, &tape).arg("--overwrite").outcome().done();
    let refused = dump_level(&scratch, &tree, 1, &scratch.join("tape 1")).outcome().expect(code::FAILED);
    let _ = refused.says("a baseline is needed");
}

fn an_erased_tape_is_no_base() {
    let scratch = Scratch::in_memory("increments-erased");
    let tree = scratch.directory("tree");
    let tape = scratch.join("tape");
    let of_tape = |arguments: &[&str]| {
        Run::tapedump(&scratch).arg("tape").args(arguments.iter().copied()).arg(&tape).outcome()
    };
    let _ = of_tape(&["create"]).done();
    let _ = dump_level(&scratch, &tree, 0, &tape).outcome().done();
    let _ = dump_level(&scratch, &tree, 1, &tape).arg("--append").outcome().done();
    // What is not erased stays a base.
    let _ = of_tape(&["label", "--protect"]).done();
    let _ = of_tape(&["erase"]).expect(code::FAILED).says("write-protected");
    let _ = dump_level(&scratch, &tree, 2, &scratch.join("tape 2")).outcome().done();
    let _ = of_tape(&["label", "--writable"]).done();
    let erased = of_tape(&["erase"]).done();
    assert!(erased.mentions("2 dumps on this tape are no longer in the history"), "{erased}");
    for level in [1, 3] {
        let refused = dump_level(&scratch, &tree, level, &scratch.join("tape 3")).outcome();
        let _ = refused.expect(code::FAILED).says("a baseline is needed");
    }
    let erased = of_tape(&["erase"]).done();
    assert!(!erased.mentions("history"), "{erased}");
}

fn one_path_of_a_chain() {
    let scratch = Scratch::in_memory("increments-path");
    let tree = scratch.directory("tree");
    for name in ["a", "b"] {
        fs::create_dir(tree.join(name)).expect("made");
        fs::write(tree.join(name).join("file"), name).expect("written");
    }
    let _ = dump_level(&scratch, &tree, 0, &scratch.join("level0")).outcome().done();
    fs::write(tree.join("b/file"), "changed").expect("written");
    let increment = scratch.join("level1");
    let _ = dump_level(&scratch, &tree, 1, &increment).outcome().done();
    let out = scratch.join("out");
    let _ = restore(&scratch, &increment, &out).args(["a/file", "b/file"]).outcome().done();
    assert_eq!(fs::read(out.join("a/file")).expect("from the baseline"), b"a");
    assert_eq!(fs::read(out.join("b/file")).expect("from the increment"), b"changed");
    let only =
        restore(&scratch, &increment, &scratch.join("out 2")).args(["--only", "b/file"]).outcome().done();
    assert!(only.mentions("level 1"), "{only}");
    let absent = restore(&scratch, &increment, &scratch.join("out 3")).args(["--only", "nowhere"]).outcome();
    let _ = absent.expect(code::FAILED).says("not on the dump: nowhere");
}
