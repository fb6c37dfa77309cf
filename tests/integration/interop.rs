//! Debian's `dump` and `restore`, both ways.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use tapedump_tests::debian::{self, unusual_messages};
use tapedump_tests::fixtures::{self, Section};
use tapedump_tests::needs::Need;
use tapedump_tests::product::{dump, list, restore, verify};
use tapedump_tests::scratch::{Mount, Scratch, make_ext4};
use tapedump_tests::swap::swap;
use tapedump_tests::tape::Tape;
use tapedump_tests::tree::{Compare, Tree};

use crate::Case;

const OURS_TO_DEBIAN: &[Need] = &[Need::Root, Need::RESTORE];
const DEBIAN_TO_OURS: &[Need] = &[Need::Root, Need::Loop, Need::MKE2FS, Need::DUMP];

pub(crate) const CASES: &[Case] = &[
    Case { name: "restore_t_lists_our_tape", needs: OURS_TO_DEBIAN, run: restore_t_lists_our_tape },
    Case { name: "restore_x_extracts_our_tape", needs: OURS_TO_DEBIAN, run: restore_x_extracts_our_tape },
    Case {
        name: "restore_r_rebuilds_from_our_tape",
        needs: OURS_TO_DEBIAN,
        run: restore_r_rebuilds_from_our_tape,
    },
    Case { name: "restore_c_finds_no_difference", needs: OURS_TO_DEBIAN, run: restore_c_finds_no_difference },
    Case { name: "what_others_cannot_read_is_said", needs: &[], run: what_others_cannot_read_is_said },
    Case { name: "dump_of_ext4_is_restored", needs: DEBIAN_TO_OURS, run: dump_of_ext4_is_restored },
    Case { name: "compressed_dumps_are_restored", needs: DEBIAN_TO_OURS, run: compressed_dumps_are_restored },
    Case { name: "swapped_dump_is_restored", needs: DEBIAN_TO_OURS, run: swapped_dump_is_restored },
    Case {
        name: "dump_on_several_tapes_is_restored",
        needs: DEBIAN_TO_OURS,
        run: dump_on_several_tapes_is_restored,
    },
];

/// Dumps the portable tree in memory, where files bear no flags that `restore -C` would compare.
fn our_tape(scratch: &Scratch, options: &[&str]) -> (PathBuf, Tree) {
    tape_of(scratch, fixtures::PORTABLE, options)
}

fn tape_of(scratch: &Scratch, sections: &[Section], options: &[&str]) -> (PathBuf, Tree) {
    let source = scratch.directory("tree");
    fixtures::build(&source, sections).expect("fixtures");
    let tree = Tree::read(&source).expect("tree");
    let dumped = dump(scratch, &source, scratch.join("tape")).args(options).outcome().done();
    assert!(!dumped.mentions("warning"), "{dumped}");
    (source, tree)
}

fn restore_t_lists_our_tape() {
    for factor in ["4", "10", "64", "256"] {
        let scratch = Scratch::in_memory("restore-t");
        let (_, tree) = our_tape(&scratch, &["--blocking-factor", factor]);
        let out = scratch.directory("out");
        let listing = debian::restore(["-t", "-f", "../tape"], &out).done();
        assert!(unusual_messages(&listing).is_empty(), "{listing}");
        // Names that are not plain text are printed in the program's own way.
        let is_plain = |path: &&Vec<u8>| path.iter().all(|byte| (b' '..=b'~').contains(byte));
        let listed: BTreeSet<Vec<u8>> = debian::listed(&listing).into_iter().map(|(_, path)| path).collect();
        for path in tree.entries.keys().filter(is_plain) {
            assert!(listed.contains(path), "{} is not listed", String::from_utf8_lossy(path));
        }
    }
}

/// What `restore` can bring back of our tapes.
const KNOWN_TO_RESTORE: Compare = Compare::EXACT.to_the_second().without_xattrs().without_holes();

fn restore_x_extracts_our_tape() {
    let scratch = Scratch::in_memory("restore-x");
    let (_, tree) = our_tape(&scratch, &[]);
    let out = scratch.directory("out");
    let extracted = debian::restore(["-x", "-a", "-y", "-f", "../tape"], &out).done();
    assert!(unusual_messages(&extracted).is_empty(), "{extracted}");
    KNOWN_TO_RESTORE.assert_equal(&tree, &Tree::read(&out).expect("tree"));
}

fn restore_r_rebuilds_from_our_tape() {
    let scratch = Scratch::in_memory("restore-r");
    let (_, tree) = our_tape(&scratch, &[]);
    let out = scratch.directory("out");
    let rebuilt = debian::restore(["-r", "-f", "../tape"], &out).done();
    assert!(unusual_messages(&rebuilt).is_empty(), "{rebuilt}");
    fs::remove_file(out.join("restoresymtable")).expect("its own file");
    KNOWN_TO_RESTORE.without_root().assert_equal(&tree, &Tree::read(&out).expect("tree"));
}

fn restore_c_finds_no_difference() {
    let scratch = Scratch::in_memory("restore-c");
    // That program compares attributes with those of its own kind, and takes any other tape to have none.
    let with_attributes = [Section::Xattrs, Section::PrivilegedXattrs, Section::Acls];
    let sections: Vec<Section> =
        fixtures::PORTABLE.iter().copied().filter(|section| !with_attributes.contains(section)).collect();
    let (source, _) = tape_of(&scratch, &sections, &[]);
    let out = scratch.directory("out");
    let arguments = ["-C".as_ref(), "-f".as_ref(), "../tape".as_ref(), "-D".as_ref(), source.as_os_str()];
    let compared = debian::restore(arguments, &out).done();
    assert!(unusual_messages(&compared).is_empty(), "{compared}");
    fs::write(source.join("sizes/1"), b"!").expect("change");
    let arguments = ["-C".as_ref(), "-f".as_ref(), "../tape".as_ref(), "-D".as_ref(), source.as_os_str()];
    let compared = debian::restore(arguments, &out);
    assert!(!compared.ended_with(0), "the comparison sees a change");
}

/// Section 7.5: said once, and the dump is complete for us.
fn what_others_cannot_read_is_said() {
    let scratch = Scratch::new("said");
    let source = scratch.directory("tree");
    fixtures::build(&source, &[Section::LongNames, Section::DeepPath]).expect("fixtures");
    let dumped = dump(&scratch, &source, scratch.join("tape")).outcome().done();
    assert!(dumped.mentions("third-party"), "{dumped}");
}

/// An ext4 image with the portable tree, and what is in it.
fn image(scratch: &Scratch) -> (PathBuf, Tree) {
    let image = scratch.join("image");
    make_ext4(&image, 64 << 20, &[]);
    let mount = Mount::image(&image, &scratch.join("mount"), "");
    fixtures::build(mount.path(), fixtures::PORTABLE).expect("fixtures");
    let tree = Tree::read(mount.path()).expect("tree");
    (image, tree)
}

/// Lists, verifies and restores a tape of Debian's `dump`. That program keeps whole seconds.
fn check_foreign(scratch: &Scratch, tapes: &[&Path], tree: &Tree, name: &str) {
    let with_tapes = |mut run: tapedump_tests::cli::Run| {
        for tape in &tapes[1..] {
            run = run.arg("--tape").arg(tape);
        }
        run
    };
    let listing = with_tapes(list(scratch, tapes[0])).outcome().done();
    for path in ["sizes/1024", "types/directory/in a directory/leaf", "symlinks/dangling"] {
        assert!(listing.out().contains(path), "{name}: {path} is not listed\n{listing}");
    }
    let _ = with_tapes(verify(scratch, tapes[0])).outcome().done();
    let target = scratch.directory(&format!("target {name}"));
    let _ = with_tapes(restore(scratch, tapes[0], &target)).outcome().done();
    let compare = Compare::EXACT.to_the_second().without_holes();
    compare.assert_equal(tree, &Tree::read(&target).expect("tree"));
}

fn dump_of_ext4_is_restored() {
    let scratch = Scratch::new("ext4");
    let (image, tree) = image(&scratch);
    for (name, options) in [("plain", &[][..]), ("large records", &["-b", "64"])] {
        let tape = scratch.join(name);
        debian::dump(&image, &tape, options);
        check_foreign(&scratch, &[&tape], &tree, name);
    }
}

fn compressed_dumps_are_restored() {
    let scratch = Scratch::new("compressed");
    let (image, tree) = image(&scratch);
    for (name, option) in [("zlib", "-z"), ("zlib 9", "-z9"), ("bzip2", "-j"), ("lzo", "-y")] {
        let tape = scratch.join(name);
        debian::dump(&image, &tape, &[option]);
        check_foreign(&scratch, &[&tape], &tree, name);
    }
}

fn swapped_dump_is_restored() {
    let scratch = Scratch::new("swapped");
    let (image, tree) = image(&scratch);
    let little = scratch.join("little");
    debian::dump(&image, &little, &[]);
    let big = scratch.join("big");
    fs::write(&big, swap(&Tape::parse(fs::read(&little).expect("tape")).expect("tape"))).expect("tape");
    check_foreign(&scratch, &[&big], &tree, "swapped");
}

fn dump_on_several_tapes_is_restored() {
    let scratch = Scratch::new("several");
    let (image, tree) = image(&scratch);
    debian::dump(&image, &scratch.join("tape-"), &["-M", "-B", "3000"]);
    let mut tapes: Vec<PathBuf> = fs::read_dir(scratch.path())
        .expect("scratch")
        .map(|entry| entry.expect("entry").path())
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("tape-")))
        .collect();
    tapes.sort();
    assert!(tapes.len() >= 3, "several tapes");
    let paths: Vec<&Path> = tapes.iter().map(PathBuf::as_path).collect();
    check_foreign(&scratch, &paths, &tree, "several");
}
