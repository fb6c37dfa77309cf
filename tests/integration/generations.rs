//! Increments on btrfs, where the volume tells what changed since the base.

use std::fs;
use std::path::Path;

use tapedump_tests::product::{dump_snapshot, restore};
use tapedump_tests::random::seed;
use tapedump_tests::scratch::{Scratch, path_text, remove_tree, run};
use tapedump_tests::tree::{Compare, Tree};

use crate::Case;
use crate::snapshots::{BTRFS, Pool, btrfs};
use crate::world::World;

pub(crate) const CASES: &[Case] = &[
    Case { name: "random_histories_of_a_volume", needs: BTRFS, run: random_histories_of_a_volume },
    Case {
        name: "without_what_it_needs_a_walk_tells",
        needs: BTRFS,
        run: without_what_it_needs_a_walk_tells,
    },
    Case {
        name: "names_that_no_dump_holds_come_first",
        needs: BTRFS,
        run: names_that_no_dump_holds_come_first,
    },
    Case { name: "an_older_image_brought_back", needs: BTRFS, run: an_older_image_brought_back },
    Case { name: "other_subvolumes_need_a_walk", needs: BTRFS, run: other_subvolumes_need_a_walk },
    Case {
        name: "nothing_but_the_changes_is_looked_at",
        needs: BTRFS,
        run: nothing_but_the_changes_is_looked_at,
    },
];

/// How a dump found what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Asked,
    Walked,
}

fn dump(scratch: &Scratch, volume: &Path, level: usize, tape: &Path) -> Found {
    let run = dump_snapshot(scratch, volume, tape).args(["--level", &level.to_string(), "--overwrite"]);
    let said = run.outcome().done().err();
    match (said.contains("the volume tells what changed"), said.contains("finding files and directories")) {
        (true, false) => Found::Asked,
        (false, true) => Found::Walked,
        _ => panic!("it does not say how it found what changed: {said}"),
    }
}

/// The volume as a dump shows it: without its snapshots.
fn now(volume: &Path) -> Tree {
    let tree = Tree::read(volume).expect("tree");
    tree.without(|path, _| path == b".snapshot" || path.starts_with(b".snapshot/"))
}

fn check(scratch: &Scratch, tape: &Path, expected: &Tree, what: &str) {
    println!("{what}");
    let out = scratch.directory("restored");
    let _ = restore(scratch, tape, &out).outcome().done();
    Compare::EXACT.assert_equal(expected, &Tree::read(&out).expect("tree"));
    remove_tree(&out).expect("own directory");
}

/// R-CHAIN-4: what was created, changed, moved and deleted since the base, whatever is done to the volume: also things moved
/// to the snapshots, which no dump holds, and back.
fn random_histories_of_a_volume() {
    let seed = seed();
    println!("seed {seed}");
    let (mut asked, mut walked) = (0, 0);
    for seed in seed..seed + 4 {
        let pool = Pool::new("generations");
        let volume = pool.volume();
        let mut world = World::within(volume.clone(), seed);
        let mut made = Vec::new();
        for (index, level) in [0, 1, 2, 2, 1, 3, 4, 2].into_iter().enumerate() {
            let tape = pool.scratch.join(&format!("tape {index}"));
            match dump(&pool.scratch, &volume, level, &tape) {
                Found::Asked => asked += 1,
                Found::Walked => walked += 1,
            }
            made.push((tape, now(&volume)));
            for _ in 0..world.random.below(30) {
                world.change();
            }
        }
        for (index, (tape, expected)) in made.iter().enumerate() {
            check(&pool.scratch, tape, expected, &format!("seed {seed}, dump {index}"));
        }
    }
    assert!(asked >= 8, "asked for {asked}, walked for {walked}");
}

/// A volume with a directory of 20 files, dumped with level 0.
fn dumped() -> Pool {
    let pool = Pool::new("generations-needs");
    let directory = pool.volume().join("directory");
    fs::create_dir(&directory).expect("volume");
    for index in 0..20 {
        fs::write(directory.join(format!("file {index}")), [b'x'; 100]).expect("volume");
    }
    assert_eq!(dump(&pool.scratch, &pool.volume(), 0, &pool.scratch.join("base")), Found::Walked);
    fs::write(directory.join("file 7"), "changed").expect("volume");
    fs::remove_file(directory.join("file 8")).expect("volume");
    pool
}

/// The files of this name in the folders of dumps.
fn kept(pool: &Pool, name: &str) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![pool.scratch.join("state")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("state").map(|entry| entry.expect("state").path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else if entry.file_name().is_some_and(|found| found == name) {
                found.push(entry);
            }
        }
    }
    found
}

fn without_what_it_needs_a_walk_tells() {
    let damage = |path: &Path| {
        let mut bytes = fs::read(path).expect("state");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x10;
        fs::write(path, bytes).expect("state");
    };
    for (name, is_damaged) in
        [("catalog", false), ("generation", false), ("generation", true), ("catalog", true)]
    {
        let pool = dumped();
        let files = kept(&pool, name);
        assert_eq!(files.len(), 1, "{files:?}");
        for file in files {
            if is_damaged { damage(&file) } else { fs::remove_file(&file).expect("state") }
        }
        let tape = pool.scratch.join("increment");
        let found = dump(&pool.scratch, &pool.volume(), 1, &tape);
        // A catalog may be damaged where nobody looks.
        assert!(found == Found::Walked || (name, is_damaged) == ("catalog", true), "{name}");
        if name != "catalog" {
            check(&pool.scratch, &tape, &now(&pool.volume()), name);
        }
    }
}

/// A file with many names among the snapshots, which are left out, and some in the tree.
fn names_that_no_dump_holds_come_first() {
    let pool = Pool::new("generations-names");
    let volume = pool.volume();
    let directory = volume.join("directory");
    fs::create_dir(volume.join(".snapshot")).expect("volume");
    fs::create_dir(&directory).expect("volume");
    fs::write(directory.join("file"), "as it was").expect("volume");
    for index in 0..40 {
        fs::hard_link(directory.join("file"), volume.join(format!(".snapshot/name {index}"))).expect("link");
    }
    fs::hard_link(directory.join("file"), directory.join("other name")).expect("link");
    let _ = dump(&pool.scratch, &volume, 0, &pool.scratch.join("base"));
    fs::write(directory.join("file"), "changed").expect("volume");
    let tape = pool.scratch.join("increment");
    assert_eq!(dump(&pool.scratch, &volume, 1, &tape), Found::Asked);
    check(&pool.scratch, &tape, &now(&volume), "the file with many names");
}

/// Its generations come once more, with other changes.
fn an_older_image_brought_back() {
    let pool = Pool::new("generations-image");
    let volume = pool.volume();
    let (image, older) = (pool.scratch.join("image"), pool.scratch.join("older image"));
    let unmounted = |work: &dyn Fn()| {
        run("umount", &[path_text(pool.root())]);
        work();
        run("mount", &["-o", "loop", path_text(&image), path_text(pool.root())]);
    };
    let copy = |from: &Path, to: &Path| {
        run("cp", &["--sparse=always", path_text(from), path_text(to)]);
    };
    fs::write(volume.join("file"), "as it was").expect("volume");
    let _ = dump(&pool.scratch, &volume, 0, &pool.scratch.join("base"));
    unmounted(&|| copy(&image, &older));
    fs::write(volume.join("of the later image"), "lost").expect("volume");
    let _ = dump(&pool.scratch, &volume, 1, &pool.scratch.join("lost"));
    unmounted(&|| copy(&older, &image));
    fs::write(volume.join("file"), "changed").expect("volume");
    for index in 0..20 {
        fs::write(volume.join(format!("new {index}")), "new").expect("volume");
        run("sync", &["-f", path_text(&volume)]);
    }
    let tape = pool.scratch.join("increment");
    assert_eq!(dump(&pool.scratch, &volume, 2, &tape), Found::Walked);
    check(&pool.scratch, &tape, &now(&volume), "the older image");
    // The level 0 is of before.
    assert_eq!(dump(&pool.scratch, &volume, 1, &tape), Found::Asked);
    check(&pool.scratch, &tape, &now(&volume), "from what both images have");
}

fn other_subvolumes_need_a_walk() {
    let pool = dumped();
    let volume = pool.volume();
    btrfs(&["subvolume", "create", path_text(&volume.join("directory/nested"))]);
    let tapes = ["first", "second", "third"].map(|name| pool.scratch.join(name));
    assert_eq!(dump(&pool.scratch, &volume, 1, &tapes[0]), Found::Walked);
    assert_eq!(dump(&pool.scratch, &volume, 2, &tapes[1]), Found::Walked, "the base had one");
    btrfs(&["subvolume", "delete", path_text(&volume.join("directory/nested"))]);
    assert_eq!(dump(&pool.scratch, &volume, 1, &tapes[2]), Found::Asked);
    check(&pool.scratch, &tapes[2], &now(&volume), "without the nested subvolume");
}

/// As much is dumped for 60 changes among 600 files as among 6,000, and the volume is asked for both.
fn nothing_but_the_changes_is_looked_at() {
    for count in [600, 6000] {
        let pool = Pool::new("generations-visits");
        let volume = pool.volume();
        for index in 0..count {
            let directory = volume.join(format!("directory {}", index / 20));
            if index % 20 == 0 {
                fs::create_dir(&directory).expect("volume");
            }
            fs::write(directory.join(format!("file {index}")), "as it was").expect("volume");
        }
        let _ = dump(&pool.scratch, &volume, 0, &pool.scratch.join("base"));
        for index in (0..600).step_by(10) {
            let directory = volume.join(format!("directory {}", index / 20));
            fs::write(directory.join(format!("file {index}")), "changed").expect("volume");
        }
        let tape = pool.scratch.join("increment");
        let run = dump_snapshot(&pool.scratch, &volume, &tape).args(["--level", "1"]);
        let said = run.outcome().done().err();
        assert!(said.contains("the volume tells what changed"), "{said}");
        assert!(said.contains("dumped 31 directories and 60 other objects"), "{said}");
        check(&pool.scratch, &tape, &now(&volume), "with the changes");
    }
}
