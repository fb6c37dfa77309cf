//! Dumps applied one after the other to a tree that stays (R-CHAIN-4).

use std::fs;
use std::path::{Path, PathBuf};

use tapedump_tests::cli::{Run, code};
use tapedump_tests::product::{dump, restore};
use tapedump_tests::random::seed;
use tapedump_tests::scratch::Scratch;
use tapedump_tests::tree::{Compare, Tree};

use crate::Case;
use crate::world::World;

pub(crate) const CASES: &[Case] = &[
    Case { name: "random_changes", needs: &[], run: random_changes },
    Case { name: "names_exchanged_and_moved", needs: &[], run: names_exchanged_and_moved },
    Case { name: "what_does_not_belong_here", needs: &[], run: what_does_not_belong_here },
    Case { name: "a_tree_that_was_changed", needs: &[], run: a_tree_that_was_changed },
];

fn dump_level(scratch: &Scratch, tree: &Path, level: u32) -> PathBuf {
    let tape = scratch.join(&format!("level{level}"));
    let _ = dump(scratch, tree, &tape).args(["--level", &level.to_string()]).outcome().done();
    tape
}

fn apply(scratch: &Scratch, tape: &Path, to: &Path) -> Run {
    restore(scratch, tape, to).arg("--apply")
}

/// The tree without what is kept beside it.
fn applied_tree(root: &Path) -> Tree {
    Tree::read(root).expect("tree").without(|path, _| path.starts_with(b".tapedump"))
}

fn random_changes() {
    let seed = seed();
    println!("seed {seed}");
    for seed in seed..seed + 5 {
        let scratch = Scratch::in_memory("applying-random");
        let mut world = World::new(&scratch, seed);
        let out = scratch.join("out");
        for level in [0, 1, 3, 4, 7, 9, 20, 31] {
            let tape = dump_level(&scratch, &world.tree, level);
            let _ = apply(&scratch, &tape, &out).outcome().done();
            let what = world.now();
            println!("seed {seed}, level {level}");
            Compare::EXACT.assert_equal(&what, &applied_tree(&out));
            for _ in 0..world.random.below(30) {
                world.change();
            }
        }
        assert!(!out.join(".tapedump/aside").exists());
    }
}

fn names_exchanged_and_moved() {
    let scratch = Scratch::in_memory("applying-moves");
    let tree = scratch.directory("tree");
    let out = scratch.join("out");
    let make = |path: &str| fs::create_dir_all(tree.join(path)).expect("made");
    let write = |path: &str, content: &str| fs::write(tree.join(path), content).expect("written");
    let rename = |from: &str, to: &str| fs::rename(tree.join(from), tree.join(to)).expect("renamed");
    make("a/inner/deep");
    make("b/other");
    make("quiet");
    write("a/inner/deep/file", "deep");
    write("b/other/file", "other");
    write("one", "1");
    write("two", "2");
    write("gone", "gone");
    fs::hard_link(tree.join("one"), tree.join("quiet/one too")).expect("linked");
    let step = |level: u32| {
        std::thread::sleep(std::time::Duration::from_millis(1100));
        let tape = dump_level(&scratch, &tree, level);
        let _ = apply(&scratch, &tape, &out).outcome().done();
        Compare::EXACT.assert_equal(&Tree::read(&tree).expect("tree"), &applied_tree(&out));
        std::thread::sleep(std::time::Duration::from_millis(1100));
    };
    step(0);
    // a and b exchange names; what was deep in one is now in the other; a name of a file becomes a directory.
    rename("a", "c");
    rename("b", "a");
    rename("c", "b");
    rename("b/inner/deep", "a/other/deep");
    rename("one", "three");
    rename("two", "one");
    rename("three", "two");
    fs::remove_file(tree.join("gone")).expect("removed");
    make("gone");
    step(1);
    // A file with a name in a directory that nothing happened to; a directory above its own parent.
    write("two", "changed in place");
    rename("a/other", "other");
    rename("a", "other/a");
    fs::remove_dir(tree.join("gone")).expect("removed");
    write("gone", "a file again");
    step(2);
    // All of it goes.
    for path in ["b", "other"] {
        fs::remove_dir_all(tree.join(path)).expect("removed");
    }
    step(3);
}

fn what_does_not_belong_here() {
    let scratch = Scratch::in_memory("applying-wrong");
    let mut world = World::new(&scratch, 4);
    let tapes: Vec<PathBuf> = (0..3)
        .map(|level| {
            let tape = dump_level(&scratch, &world.tree, level);
            std::thread::sleep(std::time::Duration::from_millis(1100));
            (0..10).for_each(|_| world.change());
            tape
        })
        .collect();
    let out = scratch.directory("out");
    let refuse = |tape: &Path, why: &str| {
        let before = Tree::read(&out).expect("tree");
        let _ = apply(&scratch, tape, &out).outcome().expect(code::FAILED).says(why);
        Compare::EXACT.assert_equal(&before, &Tree::read(&out).expect("tree"));
    };
    refuse(&tapes[1], "begin with its level 0");
    fs::write(out.join("something"), "").expect("written");
    refuse(&tapes[0], "empty directory");
    fs::remove_file(out.join("something")).expect("removed");
    let _ = apply(&scratch, &tapes[0], &out).outcome().done();
    refuse(&tapes[0], "dumps were applied here before");
    refuse(&tapes[2], "apply that first");
    let _ = apply(&scratch, &tapes[1], &out).outcome().done();
    refuse(&tapes[1], "applied already");
    // An application that did not come to its end.
    let list = out.join(".tapedump/applied");
    let text = fs::read_to_string(&list).expect("list");
    fs::write(&list, format!("{text}begun 00112233-4455-6677-8899-aabbccddeeff\n")).expect("written");
    refuse(&tapes[2], "was interrupted");
    fs::write(&list, "nonsense").expect("written");
    refuse(&tapes[2], "no list of applied dumps");
    fs::write(&list, text).expect("written");
    // No catalog: it is not known what is gone.
    let away = scratch.directory("elsewhere");
    let unknown = apply(&scratch, &tapes[2], &out).env("TAPEDUMP_STATE", &away).outcome();
    let _ = unknown.expect(code::FAILED).says("catalog rebuild");
    let _ = apply(&scratch, &tapes[2], &out).outcome().done();
    let usage = apply(&scratch, &tapes[2], &out).arg("--only").outcome();
    let _ = usage.expect(code::USAGE);
}

fn a_tree_that_was_changed() {
    let scratch = Scratch::in_memory("applying-changed");
    let tree = scratch.directory("tree");
    for name in ["moved", "kept", "gone"] {
        fs::create_dir(tree.join(name)).expect("made");
        fs::write(tree.join(name).join("file"), name).expect("written");
    }
    let out = scratch.join("out");
    let base = dump_level(&scratch, &tree, 0);
    let _ = apply(&scratch, &base, &out).outcome().done();
    std::thread::sleep(std::time::Duration::from_millis(1100));
    fs::rename(tree.join("moved"), tree.join("away")).expect("renamed");
    fs::remove_dir_all(tree.join("gone")).expect("removed");
    let increment = dump_level(&scratch, &tree, 1);
    // Somebody put a file where all is to go, and took something away that is to be moved.
    fs::write(out.join("gone/mine"), "mine").expect("written");
    fs::remove_dir_all(out.join("moved")).expect("removed");
    let told = apply(&scratch, &increment, &out).outcome().expect(code::INCOMPLETE);
    let _ = told.says("gone: cannot remove it").says("moved: cannot move it").says("could not be changed");
    assert_eq!(fs::read(out.join("gone/mine")).expect("it stays"), b"mine");
    assert_eq!(fs::read(out.join("kept/file")).expect("as it was"), b"kept");
}
