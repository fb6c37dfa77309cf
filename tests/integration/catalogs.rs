//! The catalog behind a dump on its tape: what Debian's `restore` makes of it, and catalogs and history made from tapes alone.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use tapedump_tests::cli::{Outcome, Run, code};
use tapedump_tests::debian;
use tapedump_tests::fixtures;
use tapedump_tests::needs::Need;
use tapedump_tests::product::{dump, list, restore, verify};
use tapedump_tests::scratch::{Scratch, make_ext4, path_text};
use tapedump_tests::tape::BLOCK;
use tapedump_tests::tree::{Compare, Tree};

use crate::Case;

pub(crate) const CASES: &[Case] = &[
    Case { name: "everything_from_the_tape_alone", needs: &[], run: everything_from_the_tape_alone },
    Case { name: "a_scan_gives_the_same", needs: &[], run: a_scan_gives_the_same },
    Case { name: "an_increment_goes_on_after_it", needs: &[], run: an_increment_goes_on_after_it },
    Case { name: "the_archive_of_debian", needs: &[Need::RESTORE], run: the_archive_of_debian },
    Case { name: "the_positions_of_debian", needs: &[Need::RESTORE], run: the_positions_of_debian },
    Case {
        name: "dumps_of_debian",
        needs: &[Need::Root, Need::Loop, Need::MKE2FS, Need::DUMP],
        run: dumps_of_debian,
    },
    Case { name: "every_damaged_page_is_named", needs: &[], run: every_damaged_page_is_named },
    Case { name: "cut_short_and_of_another_dump", needs: &[], run: cut_short_and_of_another_dump },
    Case { name: "a_full_tape_has_the_dump", needs: &[], run: a_full_tape_has_the_dump },
    Case { name: "what_is_behind_is_no_dump", needs: &[], run: what_is_behind_is_no_dump },
    Case { name: "without_it", needs: &[], run: without_it },
    Case { name: "a_damaged_catalog_is_made_anew", needs: &[], run: a_damaged_catalog_is_made_anew },
    Case { name: "damaged_dumps", needs: &[], run: damaged_dumps },
];

fn catalog(scratch: &Scratch, arguments: &[&str]) -> Outcome {
    Run::tapedump(scratch).arg("catalog").args(arguments).outcome()
}

fn rebuild(scratch: &Scratch, tape: &Path, arguments: &[&str]) -> Outcome {
    Run::tapedump(scratch).args(["catalog", "rebuild", "--tape"]).arg(tape).args(arguments).outcome()
}

/// A tape without anything on it, in the scratch directory.
fn blank(scratch: &Scratch, name: &str, capacity: Option<&str>) -> PathBuf {
    let tape = scratch.join(name);
    let capacity = capacity.map(|capacity| ["--capacity", capacity]);
    let _ = Run::tapedump(scratch)
        .args(["tape", "create"])
        .arg(&tape)
        .args(capacity.iter().flatten())
        .outcome()
        .done();
    tape
}

fn file(tape: &Path, number: u32) -> PathBuf {
    tape.join(format!("file-{number:04}.tape"))
}

/// A tree of some files, one in a directory.
fn small_tree(scratch: &Scratch, files: u64) -> PathBuf {
    let tree = scratch.directory("tree");
    fs::create_dir(tree.join("directory")).expect("directory");
    for number in 0..files {
        let data = vec![number as u8; 3000 + 100 * number as usize];
        fs::write(tree.join(format!("file {number}")), data).expect("file");
    }
    fs::write(tree.join("directory/inner"), "within").expect("file");
    fs::hard_link(tree.join("file 0"), tree.join("directory/link")).expect("link");
    tree
}

/// What the state directory has of its dumps: the files in their folders.
fn state_of(scratch: &Scratch) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for folder in fs::read_dir(scratch.join("state/dumps")).expect("state") {
        for file in fs::read_dir(folder.expect("entry").path()).expect("folder") {
            let path = file.expect("entry").path();
            let content = fs::read(&path).expect("file");
            found.insert(path, content);
        }
    }
    found
}

fn lose_state(scratch: &Scratch) {
    fs::rename(scratch.join("state"), scratch.join("lost")).expect("state");
    fs::remove_dir_all(scratch.join("lost")).expect("state");
}

/// Dumps of levels 0 and 1 behind each other on one tape, and the trees as they were.
fn two_levels(scratch: &Scratch) -> (PathBuf, [Tree; 2]) {
    let tree = scratch.directory("tree");
    fixtures::build_small(&tree).expect("fixtures");
    let tape = blank(scratch, "tape", None);
    let _ = dump(scratch, &tree, &tape).outcome().done();
    let first = Tree::read(&tree).expect("tree");
    fs::write(tree.join("new"), "since level 0").expect("file");
    let _ = dump(scratch, &tree, &tape).args(["--level", "1", "--append"]).outcome().done();
    (tape, [first, Tree::read(&tree).expect("tree")])
}

fn assert_restores(scratch: &Scratch, tape: &Path, file: &str, expected: &Tree) {
    let out = scratch.directory(&format!("out {file}"));
    let _ = restore(scratch, tape, &out).args(["--file", file]).outcome().done();
    Compare::EXACT.assert_equal(expected, &Tree::read(&out).expect("tree"));
    tapedump_tests::scratch::remove_tree(&out).expect("own directory");
}

fn everything_from_the_tape_alone() {
    let scratch = Scratch::new("catalogs-alone");
    let (tape, trees) = two_levels(&scratch);
    let before = state_of(&scratch);
    let (listed, entries) = (list(&scratch, &tape).arg("--json").outcome().done().stdout, history(&scratch));
    lose_state(&scratch);
    let outcome = rebuild(&scratch, &tape, &["--all"]).done();
    assert_eq!(
        outcome.out().matches("from the catalog behind it; new in the history").count(),
        2,
        "{outcome}"
    );
    assert!(state_of(&scratch) == before, "the folders of the dumps are as they were");
    assert_eq!(history(&scratch), entries);
    assert_eq!(list(&scratch, &tape).arg("--json").outcome().done().stdout, listed);
    for (number, tree) in ["0", "2"].iter().zip(&trees) {
        assert_restores(&scratch, &tape, number, tree);
    }
    // What is there stays, and a second time nothing is new.
    let again = rebuild(&scratch, &tape, &["--all"]).done();
    assert!(!again.out().contains("new in the history"), "{again}");
    assert_eq!(history(&scratch), entries);
    let checked = catalog(&scratch, &["check"]).done();
    assert_eq!(checked.out().matches(": good, ").count(), 2, "{checked}");
}

/// The history with the dumps' catalogs, as it is listed.
fn history(scratch: &Scratch) -> String {
    catalog(scratch, &["list", "--json"]).done().out()
}

fn a_scan_gives_the_same() {
    let scratch = Scratch::new("catalogs-scan");
    let (tape, trees) = two_levels(&scratch);
    let (before, entries) = (state_of(&scratch), history(&scratch));
    // The history knows the volume; the catalogs are the same to the byte.
    for path in before.keys().filter(|path| path.ends_with("catalog")) {
        fs::remove_file(path).expect("file");
    }
    let outcome = rebuild(&scratch, &tape, &["--all", "--scan"]).done();
    assert_eq!(outcome.out().matches("by reading the dump").count(), 2, "{outcome}");
    assert!(state_of(&scratch) == before, "the folders of the dumps are as they were");
    assert_eq!(history(&scratch), entries);
    // Without the history, and through a pipe, all but the volume is known.
    lose_state(&scratch);
    for number in [0, 2] {
        let piped = Run::tapedump(&scratch).args(["catalog", "rebuild", "--tape", "-"]);
        let _ = piped.stdin_file(&file(&tape, number)).outcome().done();
    }
    let _ = rebuild(&scratch, &tape, &["--all", "--scan"]).done();
    for (path, content) in state_of(&scratch) {
        match path.file_name().and_then(|name| name.to_str()) {
            Some("catalog") => assert_eq!(content.len(), before[&path].len()),
            Some("known") => assert_eq!(content, before[&path]),
            _ => assert_eq!(content, b"-", "where it went first: through a pipe"),
        }
    }
    lose_state(&scratch);
    let _ = rebuild(&scratch, &tape, &["--all", "--scan"]).done();
    for (number, tree) in ["0", "2"].iter().zip(&trees) {
        assert_restores(&scratch, &tape, number, tree);
    }
}

fn an_increment_goes_on_after_it() {
    let scratch = Scratch::new("catalogs-next");
    let tree = small_tree(&scratch, 5);
    // What changed in the second of its base is in an increment in any case.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let tape = blank(&scratch, "tape", None);
    let _ = dump(&scratch, &tree, &tape).outcome().done();
    lose_state(&scratch);
    let level_1 = || dump(&scratch, &tree, &tape).args(["--level", "1", "--append"]).outcome();
    let _ = level_1().expect(code::FAILED).says("a baseline is needed");
    let _ = rebuild(&scratch, &tape, &["--all"]).done();
    fs::write(tree.join("newer"), "since level 0").expect("file");
    let _ = level_1().done().says("1 directory and 1 other object");
    assert_restores(&scratch, &tape, "2", &Tree::read(&tree).expect("tree"));
}

fn the_archive_of_debian() {
    let scratch = Scratch::new("catalogs-archive");
    let tree = small_tree(&scratch, 4);
    let tape = blank(&scratch, "tape", None);
    let _ = dump(&scratch, &tree, &tape).outcome().done();
    let (data, archive) = (file(&tape, 0), file(&tape, 1));
    let out = scratch.directory("out");
    let listed = debian::restore(["-t", "-A", path_text(&archive)], &out).done();
    let direct = debian::restore(["-t", "-f", path_text(&data)], &out).done();
    let sorted = |outcome: &Outcome| {
        let mut listed = debian::listed(outcome);
        listed.sort();
        listed
    };
    assert_eq!(sorted(&listed), sorted(&direct));
    assert_eq!(listed.out().matches("file 3").count(), 1);
    let outcome = Run::program("restore")
        .args(["-x", "-A", path_text(&archive), "-f", path_text(&data), "./file 2", "./directory"])
        .within(&out)
        .stdin_bytes(b"\ny\n")
        .outcome()
        .done();
    for name in ["file 2", "directory/inner", "directory/link"] {
        assert_eq!(
            fs::read(out.join(name)).unwrap_or_else(|error| panic!("{name}: {error}: {outcome}")),
            fs::read(tree.join(name)).expect("tree")
        );
    }
    assert!(!out.join("file 1").exists());
}

fn the_positions_of_debian() {
    let scratch = Scratch::new("catalogs-positions");
    let tree = small_tree(&scratch, 60);
    let tape = scratch.join("tape");
    let _ = dump(&scratch, &tree, &tape).outcome().done();
    let positions = scratch.join("positions");
    let export = ["catalog", "export", "--qfa", "--tape"];
    let _ = Run::tapedump(&scratch).args(export).arg(&tape).arg("-o").arg(&positions).outcome().done();
    let text = fs::read_to_string(&positions).expect("positions");
    let rows: Vec<[u64; 3]> = text
        .lines()
        .skip(5)
        .map(|line| {
            let numbers: Vec<u64> = line.split('\t').map(|number| number.parse().expect("number")).collect();
            numbers.try_into().expect("three columns")
        })
        .collect();
    assert!(text.starts_with("495115637697\n1.0\n") && rows.is_sorted(), "{text}");
    assert_eq!(rows.len(), 61);
    let bytes = fs::read(&tape).expect("tape");
    for [number, _, at] in &rows {
        let header = &bytes[*at as usize..][..BLOCK];
        assert_eq!(u64::from(u32::from_be_bytes(header[20..24].try_into().expect("four"))), *number);
    }
    // The last object on the tape. All before it is destroyed, so that only who goes straight to it gets it.
    let [number, _, at] = *rows.iter().max_by_key(|row| row[2]).expect("a row");
    let first = rows.iter().map(|row| row[2]).min().expect("a row");
    let names = (0..60).map(|number| format!("file {number}")).chain(["directory/inner".to_owned()]);
    let has_number =
        |name: &String| MetadataExt::ino(&fs::metadata(tree.join(name)).expect("file")) == number;
    let name = names.into_iter().find(has_number).expect("its file");
    let mut bad = bytes;
    bad[first as usize..at as usize].fill(0x5a);
    fs::write(&tape, bad).expect("tape");
    let out = scratch.directory("out");
    let path = format!("./{name}");
    let arguments = ["-x", "-Q", path_text(&positions), "-f", path_text(&tape), &path];
    let with = Run::program("restore").args(arguments).within(&out).stdin_bytes(b"1\ny\n").outcome().done();
    assert_eq!(fs::read(out.join(&name)).expect("restored"), fs::read(tree.join(&name)).expect("file"));
    assert!(!with.mentions("resync") && !with.mentions("skip"), "{with}");
    // The newest dump of the history is the same.
    let newest = catalog(&scratch, &["export", "--qfa"]).done();
    assert_eq!(newest.out(), text);
    let _ = catalog(&scratch, &["export", "--qfa", "ffffffff"]).expect(code::FAILED).says("no such dump");
}

fn dumps_of_debian() {
    let scratch = Scratch::new("catalogs-debian");
    let tree = small_tree(&scratch, 5);
    let image = scratch.join("image");
    make_ext4(&image, 16 << 20, &["-d", path_text(&tree)]);
    let (plain, packed) = (scratch.join("plain"), scratch.join("packed"));
    debian::dump(&image, &plain, &[]);
    debian::dump(&image, &packed, &["-z"]);
    for tape in [&plain, &packed] {
        let outcome = rebuild(&scratch, tape, &[]).done();
        assert!(outcome.out().contains("3 directories and 6 other objects"), "{outcome}");
        let listed = list(&scratch, tape).outcome().done();
        let positions = scratch.join("positions");
        let export = ["catalog", "export", "--qfa", "--tape"];
        let _ = Run::tapedump(&scratch).args(export).arg(tape).arg("-o").arg(&positions).outcome().done();
        let text = fs::read_to_string(&positions).expect("positions");
        assert_eq!(text.lines().count(), 5 + 6, "{text}");
        assert!(listed.out().contains("directory/inner"));
    }
    // A plain one is a baseline of Debian's like any other: found, and restored by name, straight from its place.
    let bytes = fs::read(&plain).expect("tape");
    let out =
        Run::tapedump(&scratch).args(["catalog", "export", "--qfa", "--tape"]).arg(&plain).outcome().done();
    for line in out.out().lines().skip(5) {
        let numbers: Vec<u64> = line.split('\t').map(|number| number.parse().expect("number")).collect();
        let header = &bytes[numbers[2] as usize..][..BLOCK];
        assert_eq!(u64::from(u32::from_le_bytes(header[20..24].try_into().expect("four"))), numbers[0]);
    }
    // The same dump again is no second one.
    let again = rebuild(&scratch, &plain, &[]).done();
    assert!(!again.out().contains("new in the history"), "{again}");
    let listed = history(&scratch);
    assert!(listed.lines().all(|line| line.contains("\"ours\":false")), "{listed}");
}

fn every_damaged_page_is_named() {
    let scratch = Scratch::new("catalogs-pages");
    let tree = scratch.directory("tree");
    for number in 0..120 {
        fs::write(tree.join(format!("a file of a longer name {number}")), "x").expect("file");
    }
    let tape = blank(&scratch, "tape", None);
    let _ = dump(&scratch, &tree, &tape).outcome().done();
    let good = fs::read(file(&tape, 1)).expect("catalog");
    let is_head = |block: &[u8]| block.starts_with(b"TDOM");
    let head = good.chunks(BLOCK).position(is_head).expect("head");
    let pages = u64::from_be_bytes(good[head * BLOCK + 88..][..8].try_into().expect("eight")) as usize;
    assert!(pages > 8, "{pages}");
    let original = state_of(&scratch);
    for page in 0..pages {
        let mut bad = good.clone();
        bad[(head + 1 + page) * BLOCK + (37 * page) % BLOCK] ^= 1 << (page % 8);
        fs::write(file(&tape, 1), &bad).expect("catalog");
        let outcome = rebuild(&scratch, &tape, &[]).done();
        assert!(outcome.mentions(&format!("page {page} of the catalog is damaged")), "{outcome}");
        assert!(outcome.out().contains("by reading the dump"), "{outcome}");
        assert!(state_of(&scratch) == original, "page {page}");
    }
    // Neither the archive before nor one of the two heads is needed.
    for block in [0, 1, head - 1, head, good.len() / BLOCK - 1] {
        let mut bad = good.clone();
        bad[block * BLOCK + 8] ^= 1;
        fs::write(file(&tape, 1), &bad).expect("catalog");
        let outcome = rebuild(&scratch, &tape, &[]).done();
        assert!(outcome.out().contains("from the catalog behind it"), "block {block}: {outcome}");
        assert!(state_of(&scratch) == original, "block {block}");
    }
}

fn cut_short_and_of_another_dump() {
    let scratch = Scratch::new("catalogs-cut");
    let tree = small_tree(&scratch, 5);
    let tape = blank(&scratch, "tape", None);
    let _ = dump(&scratch, &tree, &tape).outcome().done();
    let _ = dump(&scratch, &tree, &tape).arg("--append").outcome().done();
    let (first, second) = (fs::read(file(&tape, 1)).expect("one"), fs::read(file(&tape, 3)).expect("other"));
    assert_eq!(first.len(), second.len());
    fs::write(file(&tape, 1), &second).expect("catalog");
    let outcome = rebuild(&scratch, &tape, &["--file", "0"]).done();
    assert!(outcome.mentions("the catalog of another dump"), "{outcome}");
    assert!(outcome.out().contains("by reading the dump"), "{outcome}");
    let head = first.chunks(BLOCK).position(|block| block.starts_with(b"TDOM")).expect("head");
    for blocks in [head + 3, head + 1, head, 1] {
        fs::write(file(&tape, 1), &first[..blocks * BLOCK]).expect("catalog");
        let outcome = rebuild(&scratch, &tape, &["--file", "0"]).done();
        let why = "tape file 1: the catalog there cannot be used";
        assert!(outcome.mentions(why) && outcome.out().contains("by reading the dump"), "{outcome}");
        let info =
            Run::tapedump(&scratch).args(["tape", "info"]).arg(&tape).outcome().expect(code::INCOMPLETE);
        assert!(info.out().contains("catalog of the dump in tape file 0, cut short"), "{info}");
    }
    let _ = catalog(&scratch, &["check"]).done();
}

fn a_full_tape_has_the_dump() {
    let scratch = Scratch::new("full");
    let tree = small_tree(&scratch, 5);
    let measure = blank(&scratch, "measure", None);
    let _ = dump(&scratch, &tree, &measure).outcome().done();
    let len = |number| fs::metadata(file(&measure, number)).expect("tape file").len();
    let (dumped, catalogued) = (len(0), len(1));
    let expected = Tree::read(&tree).expect("tree");
    for room in [0, 1, catalogued / 2, catalogued - 1] {
        let tape = blank(&scratch, &format!("tape {room}"), Some(&(dumped + room).to_string()));
        let outcome = dump(&scratch, &tree, &tape).outcome().done();
        assert!(outcome.mentions("the dump is whole, but its catalog is not behind it"), "{outcome}");
        assert!(outcome.mentions("the tape is full"), "{outcome}");
        let info = Run::tapedump(&scratch).args(["tape", "info"]).arg(&tape).outcome().done();
        assert!(!info.out().contains("catalog of"), "{info}");
        assert_restores(&scratch, &tape, "0", &expected);
        let _ = verify(&scratch, &tape).outcome().done();
        let newest = history(&scratch).lines().next().unwrap_or_default().to_owned();
        assert!(
            newest.contains("\"catalog_file\":null") && !newest.contains("\"catalog_len\":null"),
            "{newest}"
        );
        let outcome = rebuild(&scratch, &tape, &[]).done();
        assert!(outcome.out().contains("by reading the dump"), "{outcome}");
    }
    let tape = blank(&scratch, "tape", Some(&(dumped + catalogued).to_string()));
    let outcome = dump(&scratch, &tree, &tape).outcome().done();
    assert!(!outcome.mentions("catalog"), "{outcome}");
}

fn what_is_behind_is_no_dump() {
    let scratch = Scratch::new("behind");
    let tree = small_tree(&scratch, 3);
    let tape = blank(&scratch, "tape", None);
    let _ = dump(&scratch, &tree, &tape).args(["--label", "first"]).outcome().done();
    fs::write(tree.join("second"), "only there").expect("file");
    let outcome = dump(&scratch, &tree, &tape).args(["--label", "second", "--append"]).outcome().done();
    assert!(!outcome.mentions("catalog"), "{outcome}");
    let info = Run::tapedump(&scratch).args(["tape", "info"]).arg(&tape).outcome().done().out();
    for line in [
        "dump 'first'",
        "catalog of the dump in tape file 0",
        "dump 'second'",
        "catalog of the dump in tape file 2",
    ] {
        assert!(info.contains(line), "{line}: {info}");
    }
    // The last tape file is that of the last dump.
    let listed = list(&scratch, &tape).outcome().done().says("tape file 2, the last dump");
    assert!(listed.out().contains("second"), "{listed}");
    let _ = verify(&scratch, &tape).outcome().done();
    for (number, of) in [("1", "tape file 0"), ("3", "tape file 2")] {
        let outcome = list(&scratch, &tape).args(["--file", number]).outcome().expect(code::FAILED);
        assert!(
            outcome.mentions("is the catalog of a dump, and not a dump") && outcome.mentions(of),
            "{outcome}"
        );
    }
    // Somewhere else, it is none either.
    let copied = scratch.join("copied");
    fs::copy(file(&tape, 1), &copied).expect("copy");
    let out = scratch.directory("out");
    let outcome = restore(&scratch, &copied, &out).outcome().expect(code::FAILED);
    assert!(outcome.mentions("the catalog of a dump, and not a dump"), "{outcome}");
    assert_eq!(fs::read_dir(&out).expect("directory").count(), 0);
}

fn without_it() {
    let scratch = Scratch::new("catalogs-without");
    let tree = small_tree(&scratch, 3);
    let tape = blank(&scratch, "tape", None);
    let _ = dump(&scratch, &tree, &tape).arg("--no-catalog").outcome().done();
    assert!(!file(&tape, 1).exists());
    let before = state_of(&scratch);
    assert!(before.keys().any(|path| path.ends_with("catalog")));
    lose_state(&scratch);
    let outcome = rebuild(&scratch, &tape, &[]).done();
    assert!(outcome.out().contains("by reading the dump; new in the history"), "{outcome}");
    // Plain files have one tape file.
    let plain = scratch.join("plain");
    let _ = dump(&scratch, &tree, &plain).outcome().done();
    assert_eq!(fs::metadata(&plain).expect("tape").len() % (64 << 10), 0);
    assert!(!fs::read(&plain).expect("tape").windows(4).any(|bytes| bytes == b"TDOM"));
    let empty = blank(&scratch, "empty", None);
    let _ = rebuild(&scratch, &empty, &[]).expect(code::FAILED).says("empty");
    let _ = rebuild(&scratch, &empty, &["--all"]).expect(code::FAILED).says("no dump");
}

fn a_damaged_catalog_is_made_anew() {
    let scratch = Scratch::new("catalogs-anew");
    let tree = small_tree(&scratch, 3);
    let tape = blank(&scratch, "tape", None);
    let _ = dump(&scratch, &tree, &tape).outcome().done();
    let before = state_of(&scratch);
    let (path, good) = before.iter().find(|(path, _)| path.ends_with("catalog")).expect("catalog");
    for at in (0..good.len()).step_by(BLOCK) {
        let mut bad = good.clone();
        bad[at + 500] ^= 0x40;
        fs::write(path, &bad).expect("catalog");
        let outcome = catalog(&scratch, &["check"]).expect(code::INCOMPLETE);
        assert!(outcome.mentions("catalog rebuild"), "{outcome}");
        let _ = rebuild(&scratch, &tape, &[]).done();
        assert!(state_of(&scratch) == before, "page {}", at / BLOCK);
    }
}

/// What is damaged on the tape is flawed in the catalog, and the next increment takes it again.
fn damaged_dumps() {
    let scratch = Scratch::new("catalogs-damaged");
    let tree = small_tree(&scratch, 3);
    let tape = blank(&scratch, "tape", None);
    let _ = dump(&scratch, &tree, &tape).arg("--no-catalog").outcome().done();
    let good = fs::read(file(&tape, 0)).expect("tape");
    let at = good.windows(600).position(|bytes| bytes.iter().all(|byte| *byte == 2)).expect("data of file 2");
    let mut bad = good.clone();
    bad[at] ^= 1;
    fs::write(file(&tape, 0), &bad).expect("tape");
    let outcome = rebuild(&scratch, &tape, &[]).expect(code::INCOMPLETE);
    assert!(outcome.out().contains("1 object not whole"), "{outcome}");
    // Of damaged maps nothing can be made.
    let mut bad = good;
    bad[2 * BLOCK + 20] ^= 1;
    fs::write(file(&tape, 0), &bad).expect("tape");
    let before = state_of(&scratch);
    let outcome = rebuild(&scratch, &tape, &[]).expect(code::FAILED);
    assert!(outcome.mentions("maps are damaged"), "{outcome}");
    assert!(state_of(&scratch) == before, "what was there stays");
}
