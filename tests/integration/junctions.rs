//! Other volumes in a tree: on the dump they are links (R-DATA-5), and come and go between the levels.

use std::fs;
use std::path::{Path, PathBuf};

use tapedump_tests::cli::code;
use tapedump_tests::needs::Need;
use tapedump_tests::product::{dump, dump_snapshot, list, restore, verify};
use tapedump_tests::scratch::{Mount, Scratch, path_text, run};
use tapedump_tests::tree::{Compare, Kind, Tree};

use crate::Case;
use crate::increments::dump_level;
use crate::snapshots::{BTRFS, Pool, btrfs};

pub(crate) const CASES: &[Case] = &[
    Case { name: "mounts_are_links", needs: &[Need::Root], run: mounts_are_links },
    Case { name: "the_same_in_a_snapshot", needs: BTRFS, run: the_same_in_a_snapshot },
    Case { name: "between_levels", needs: &[Need::Root], run: between_levels },
    Case { name: "between_levels_of_snapshots", needs: BTRFS, run: between_levels_of_snapshots },
];

fn restored(scratch: &Scratch, tape: &Path) -> Tree {
    let out = scratch.directory("restored");
    let _ = restore(scratch, tape, &out).outcome().done();
    let tree = Tree::read(&out).expect("tree");
    fs::remove_dir_all(&out).expect("own directory");
    tree
}

/// What a link in a tree says.
#[track_caller]
fn target(tree: &Tree, path: &str) -> String {
    match &tree.at(path).kind {
        Kind::Symlink(target) => String::from_utf8_lossy(target).into_owned(),
        other => panic!("{path} is no link: {other:?}"),
    }
}

fn without(tree: Tree, junctions: &[&str]) -> Tree {
    tree.without(|path, _| {
        junctions.iter().any(|junction| {
            path.strip_prefix(junction.as_bytes()).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
        })
    })
}

fn mounts_are_links() {
    let scratch = Scratch::new("junctions");
    let tree = scratch.directory("tree");
    fs::create_dir_all(tree.join("a/mounted/beneath")).expect("tree");
    fs::create_dir(tree.join("a/bound")).expect("tree");
    fs::create_dir_all(tree.join("source/part")).expect("tree");
    fs::write(tree.join("source/part/file"), "content").expect("tree");
    let _tmpfs = Mount::tmpfs(&tree.join("a/mounted"), "size=1m");
    fs::write(tree.join("a/mounted/on top"), "of another volume").expect("tmpfs");
    let bound = tree.join("a/bound");
    run("mount", &["--bind", path_text(&tree.join("source/part")), path_text(&bound)]);
    let tape = scratch.join("tape");
    let made = dump(&scratch, &tree, &tape).outcome();
    let same = verify(&scratch, &tape).arg("--against").arg(&tree).outcome();
    let place = run("findmnt", &["-no", "SOURCE", path_text(&bound)]);
    run("umount", &[path_text(&bound)]);
    let _ = made.done().says("a/mounted: another volume is here").says("a/bound: another volume");
    let _ = same.done();
    let names = list(&scratch, &tape).outcome().done().out();
    assert!(!names.contains("on top") && !names.contains("beneath") && !names.contains("bound/"), "{names}");
    let found = restored(&scratch, &tape);
    assert_eq!(target(&found, "a/mounted"), "tmpfs:/");
    // As `findmnt` has it, but for the brackets.
    assert_eq!(target(&found, "a/bound"), place.trim().replace('[', ":").replace(']', ""));
    assert_eq!(found.at("a/mounted").modified, found.at("a").modified);
    let junctions = ["a/mounted", "a/bound"];
    Compare::EXACT
        .assert_equal(&without(Tree::read(&tree).expect("tree"), &junctions), &without(found, &junctions));

    // R-RESTORE-4: where there is a directory it stays, and that is said.
    let again = restore(&scratch, &tape, &tree).outcome().expect(code::INCOMPLETE);
    assert!(again.mentions("a/mounted") && again.mentions("rename or remove what is in the way"), "{again}");
    assert_eq!(fs::read_to_string(tree.join("a/mounted/on top")).expect("tmpfs"), "of another volume");
}

/// What is mounted cannot be seen in a snapshot, and nested subvolumes are empty there: the dump is the same all the same.
fn the_same_in_a_snapshot() {
    let pool = Pool::new("junctions-snapshot");
    let data = pool.volume().join("data");
    fs::create_dir_all(data.join("mounted/beneath")).expect("volume");
    fs::write(data.join("mounted/beneath/file"), "not seen").expect("volume");
    btrfs(&["subvolume", "create", path_text(&data.join("nested"))]);
    fs::write(data.join("nested/file"), "of another volume").expect("volume");
    btrfs(&["subvolume", "create", path_text(&data.join("both"))]);
    let _tmpfs = Mount::tmpfs(&data.join("mounted"), "size=1m");
    let _over = Mount::tmpfs(&data.join("both"), "size=1m");
    let tapes = [pool.scratch.join("live"), pool.scratch.join("snapshot")];
    let _ = dump(&pool.scratch, &data, &tapes[0]).outcome().done();
    let _ = dump_snapshot(&pool.scratch, &data, &tapes[1]).outcome().done();
    let [live, snapshot] = tapes.each_ref().map(|tape| restored(&pool.scratch, tape));
    Compare::EXACT.assert_equal(&live, &snapshot);
    let device = run("findmnt", &["-no", "SOURCE", path_text(pool.root())]);
    assert_eq!(target(&snapshot, "nested"), format!("{}:/vol/data/nested", device.trim()));
    assert_eq!(["mounted", "both"].map(|path| target(&snapshot, path)), ["tmpfs:/", "tmpfs:/"]);
    assert_eq!(snapshot.entries.len(), 4, "{:?}", snapshot.entries.keys());
    // What does not look like a volume in a snapshot is the same thing all the same.
    let _ = tapedump_tests::product::snapshot(&pool.scratch, "create", &data).arg("kept").outcome().done();
    let kept = pool.volume().join(".snapshot/kept/data");
    for tape in &tapes {
        let _ = verify(&pool.scratch, tape).arg("--against").arg(&kept).outcome().done();
    }
    drop(_tmpfs);
    let differs = verify(&pool.scratch, &tapes[1]).arg("--against").arg(&kept).outcome();
    let differs = differs.expect(code::INCOMPLETE).says("mounted: differs: it is of another type");
    assert!(!differs.mentions("nested") && !differs.mentions("both"), "{differs}");
}

/// A directory that a volume is mounted on, and that it is taken from again.
fn between_levels() {
    let scratch = Scratch::new("junctions-levels");
    let tree = scratch.directory("tree");
    levels(&scratch, &tree, &|level, tape| dump_level(&scratch, &tree, level, tape).outcome().done());
}

fn between_levels_of_snapshots() {
    let pool = Pool::new("junctions-levels");
    let tree = pool.volume().join("data");
    fs::create_dir(&tree).expect("volume");
    levels(&pool.scratch, &tree, &|level, tape| {
        let run = dump_snapshot(&pool.scratch, &tree, tape).args(["--level", &level.to_string()]);
        run.outcome().done()
    });
    // A nested subvolume in the place of a directory, and a directory in its place.
    let scratch = &pool.scratch;
    let nested = tree.join("nested");
    let dumped = |name: &str, level: u32| {
        let tape = scratch.join(name);
        let run = dump_snapshot(scratch, &tree, &tape).args(["--level", &level.to_string()]);
        let _ = run.outcome().done();
        restored(scratch, &tape)
    };
    fs::create_dir_all(nested.join("old")).expect("volume");
    let before = Tree::read(&tree).expect("tree");
    Compare::EXACT.assert_equal(&before, &dumped("nested 0", 0));
    fs::rename(&nested, tree.join("aside")).expect("volume");
    btrfs(&["subvolume", "create", path_text(&nested)]);
    let with_link = dumped("nested 1", 1);
    assert!(target(&with_link, "nested").ends_with(":/vol/data/nested"));
    let all = without(Tree::read(&tree).expect("tree"), &["nested"]);
    Compare::EXACT.assert_equal(&all, &without(with_link, &["nested"]));
    btrfs(&["subvolume", "delete", path_text(&nested)]);
    fs::rename(tree.join("aside"), &nested).expect("volume");
    Compare::EXACT.assert_equal(&Tree::read(&tree).expect("tree"), &dumped("nested 2", 2));
}

fn levels(scratch: &Scratch, tree: &Path, dump: &dyn Fn(u32, &Path) -> tapedump_tests::cli::Outcome) {
    let place = tree.join("place");
    fs::create_dir_all(place.join("within")).expect("tree");
    fs::write(place.join("within/file"), "old and unchanged").expect("tree");
    fs::write(tree.join("beside"), "unchanged").expect("tree");
    let plain = Tree::read(tree).expect("tree");
    // What does not change from here on is older than the first dump.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let tapes: Vec<PathBuf> = (0..5).map(|index| scratch.join(&format!("level {index}"))).collect();
    let _ = dump(0, &tapes[0]);
    let mounted = Mount::tmpfs(&place, "size=1m");
    fs::write(place.join("on top"), "of another volume").expect("tmpfs");
    let _ = dump(1, &tapes[1]);
    // Still there.
    let _ = dump(2, &tapes[2]);
    drop(mounted);
    let _ = dump(3, &tapes[3]);
    // On the first one, which knows nothing of it.
    let _ = dump(1, &tapes[4]);
    let found: Vec<Tree> = tapes.iter().map(|tape| restored(scratch, tape)).collect();
    for index in [0, 3, 4] {
        println!("dump {index}");
        Compare::EXACT.assert_equal(&plain, &found[index]);
    }
    for index in [1, 2] {
        println!("dump {index}");
        assert_eq!(target(&found[index], "place"), "tmpfs:/");
        Compare::EXACT
            .assert_equal(&without(plain.clone(), &["place"]), &without(found[index].clone(), &["place"]));
    }
}
