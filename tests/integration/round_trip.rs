//! Dump, then restore: the tree equals itself, attribute by attribute.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use tapedump_tests::cli::{Run, code};
use tapedump_tests::fixtures::{self, Section};
use tapedump_tests::needs::Need;
use tapedump_tests::product::{dump, reproducible, restore, verify};
use tapedump_tests::scratch::{Mount, Scratch, make_ext4, path_text};
use tapedump_tests::tree::{Compare, Tree};

use crate::Case;

pub(crate) const CASES: &[Case] = &[
    Case { name: "every_case", needs: &[Need::Root, Need::Loop, Need::MKE2FS], run: every_case },
    Case { name: "from_memory_to_disk", needs: &[Need::Root], run: from_memory_to_disk },
    Case { name: "what_any_user_can_make", needs: &[], run: what_any_user_can_make },
    Case { name: "every_kind_of_tape", needs: &[], run: every_kind_of_tape },
    Case { name: "pipe_between_two_processes", needs: &[], run: pipe_between_two_processes },
    Case { name: "blocking_factors_and_threads", needs: &[], run: blocking_factors_and_threads },
    Case { name: "chosen_paths", needs: &[], run: chosen_paths },
    Case { name: "existing_files_are_replaced", needs: &[], run: existing_files_are_replaced },
    Case { name: "existing_links_are_not_followed", needs: &[], run: existing_links_are_not_followed },
    Case { name: "unreadable_files_are_reported", needs: &[Need::Root], run: unreadable_files_are_reported },
    Case { name: "mounts_are_not_entered", needs: &[Need::Root], run: mounts_are_not_entered },
    Case { name: "empty_tree", needs: &[], run: empty_tree },
];

/// A tree of a few sections, for tests that are not about its cases.
pub(crate) const ORDINARY: &[Section] =
    &[Section::Types, Section::HardLinks, Section::Holes, Section::Sizes, Section::Names, Section::Symlinks];

/// Makes `tree` in the scratch directory and reads it back.
pub(crate) fn make_tree(scratch: &Scratch, sections: &[Section]) -> (std::path::PathBuf, Tree) {
    let path = scratch.directory("tree");
    fixtures::build(&path, sections).expect("fixtures");
    let tree = Tree::read(&path).expect("tree");
    (path, tree)
}

/// R-DATA-1 and every case the host side names, on a file system that holds them all.
fn every_case() {
    let scratch = Scratch::new("every-case");
    make_ext4(&scratch.join("image"), 1 << 30, &["-O", "ea_inode", "-I", "512"]);
    let mount = Mount::image(&scratch.join("image"), &scratch.join("mount"), "");
    let source = mount.path().join("source");
    fs::create_dir(&source).expect("source");
    fixtures::build(&source, fixtures::ALL).expect("fixtures");
    let before = Tree::read(&source).expect("tree");
    let tape = scratch.join("tape");
    let dumped = dump(&scratch, &source, &tape).outcome().done();
    println!("peak memory of the dump {} KiB", dumped.peak_rss_kib);
    Compare::EXACT.with_access_times().assert_equal(&before, &Tree::read(&source).expect("tree"));
    let target = mount.path().join("target");
    fs::create_dir(&target).expect("target");
    let restored = restore(&scratch, &tape, &target).outcome().done();
    println!("peak memory of the restore {} KiB", restored.peak_rss_kib);
    Compare::EXACT.with_access_times().assert_equal(&before, &Tree::read(&target).expect("tree"));
    let _ = verify(&scratch, &tape).outcome().done();
    let _ = verify(&scratch, &tape).arg("--against").arg(&source).outcome().done();
}

/// Another file system on either side: what both hold comes across.
fn from_memory_to_disk() {
    let scratch = Scratch::new("memory");
    let memory = Mount::tmpfs(&scratch.join("memory"), "size=200m,mode=755");
    let source = memory.path().join("source");
    fs::create_dir(&source).expect("source");
    let sections = [ORDINARY, &[Section::Devices, Section::Modes, Section::Owners, Section::Times]].concat();
    fixtures::build(&source, &sections).expect("fixtures");
    let before = Tree::read(&source).expect("tree");
    let _ = dump(&scratch, &source, scratch.join("tape")).outcome().done();
    let target = scratch.directory("target");
    let _ = restore(&scratch, scratch.join("tape"), &target).outcome().done();
    Compare::EXACT.assert_equal(&before, &Tree::read(&target).expect("tree"));
}

fn what_any_user_can_make() {
    let scratch = Scratch::new("any-user");
    let (source, before) = make_tree(&scratch, fixtures::UNPRIVILEGED);
    let _ = dump(&scratch, &source, scratch.join("tape")).outcome().done();
    let target = scratch.directory("target");
    let _ = restore(&scratch, scratch.join("tape"), &target).outcome().done();
    Compare::EXACT.with_access_times().assert_equal(&before, &Tree::read(&target).expect("tree"));
}

fn every_kind_of_tape() {
    let scratch = Scratch::new("kinds");
    let (source, before) = make_tree(&scratch, ORDINARY);
    let check = |run: Run, name: &str| {
        let _ = run.outcome().done();
        let found = Tree::read(&scratch.join(name)).expect("tree");
        Compare::EXACT.assert_equal(&before, &found);
    };
    let target = |name: &str| scratch.directory(name);

    let plain = scratch.join("plain");
    let _ = reproducible(dump(&scratch, &source, &plain)).outcome().done();
    check(restore(&scratch, &plain, &target("from plain file")), "from plain file");

    let virtual_tape = scratch.join("virtual");
    let created =
        Run::tapedump(&scratch).args(["tape", "create"]).arg(&virtual_tape).args(["--capacity", "1G"]);
    let _ = created.outcome().done();
    let _ = reproducible(dump(&scratch, &source, &virtual_tape)).outcome().done();
    check(restore(&scratch, &virtual_tape, &target("from virtual tape")), "from virtual tape");
    let first_file = virtual_tape.join("file-0000.tape");
    check(restore(&scratch, &first_file, &target("from its file")), "from its file");
    assert!(
        fs::read(&plain).expect("tape") == fs::read(&first_file).expect("tape"),
        "the stream is the same"
    );

    let piped = scratch.join("piped");
    let _ = reproducible(dump(&scratch, &source, "-")).stdout_file(&piped).outcome().done();
    assert!(fs::read(&plain).expect("tape") == fs::read(&piped).expect("tape"), "the stream is the same");
    check(restore(&scratch, "-", &target("from standard input")).stdin_file(&piped), "from standard input");

    let _ = dump(&scratch, &source, "null:").outcome().done();
}

/// Short reads and writes, as pipes give them.
fn pipe_between_two_processes() {
    let scratch = Scratch::new("pipe");
    let (source, before) = make_tree(&scratch, ORDINARY);
    let target = scratch.directory("target");
    let binary = path_text(tapedump_tests::cli::binary());
    let line = format!(
        "set -o pipefail; '{binary}' dump '{}' --live --tape - | '{binary}' restore --to '{}' --tape -",
        path_text(&source),
        path_text(&target)
    );
    let _ = Run::program("bash")
        .args(["-c", &line])
        .env("TAPEDUMP_STATE", scratch.join("state"))
        .outcome()
        .done();
    Compare::EXACT.assert_equal(&before, &Tree::read(&target).expect("tree"));
}

/// R-BLOCK-1; and the same bytes whatever the number of threads.
fn blocking_factors_and_threads() {
    let scratch = Scratch::new("blocking");
    let (source, before) =
        make_tree(&scratch, &[ORDINARY, &[Section::WideDirectory, Section::Xattrs]].concat());
    for factor in [4_usize, 64, 256] {
        let mut first: Option<Vec<u8>> = None;
        for threads in [1, 2, 8] {
            let tape = scratch.join(&format!("tape {factor} {threads}"));
            let run = reproducible(dump(&scratch, &source, &tape));
            let run = run.args(["--blocking-factor", &factor.to_string(), "--threads", &threads.to_string()]);
            let _ = run.outcome().done();
            let bytes = fs::read(&tape).expect("tape");
            assert_eq!(bytes.len() % (factor * 1024), 0, "whole records");
            let same = first.as_ref().is_none_or(|first| *first == bytes);
            assert!(same, "blocking factor {factor}: the tape differs with {threads} threads");
            first.get_or_insert(bytes);
        }
        let target = scratch.directory(&format!("target {factor}"));
        let _ = restore(&scratch, scratch.join(&format!("tape {factor} 8")), &target).outcome().done();
        Compare::EXACT.assert_equal(&before, &Tree::read(&target).expect("tree"));
    }
}

/// R-RESTORE-2.
fn chosen_paths() {
    let scratch = Scratch::new("chosen");
    let (source, before) = make_tree(&scratch, ORDINARY);
    let tape = scratch.join("tape");
    let _ = dump(&scratch, &source, &tape).outcome().done();
    let target = scratch.directory("target");
    let _ = restore(&scratch, &tape, &target).args(["sizes/1025", "types"]).outcome().done();
    let found = Tree::read(&target).expect("tree");
    Compare::EXACT.assert_equal(&before.beneath(b"types"), &found.beneath(b"types"));
    let names: Vec<&[u8]> =
        found.entries.keys().map(Vec::as_slice).filter(|path| path.starts_with(b"si")).collect();
    assert_eq!(names, [&b"sizes"[..], b"sizes/1025"]);
    assert!(!found.entries.keys().any(|path| path.starts_with(b"holes")));

    let nothing = scratch.directory("nothing");
    let missing = restore(&scratch, &tape, &nothing).args(["types", "no/such path"]).outcome();
    assert!(missing.is_orderly().expect("orderly") != code::DONE, "{missing}");
    assert!(missing.mentions("no/such path"), "{missing}");

    // One name of an object with several: the data comes even when the other names do not.
    let linked = scratch.directory("linked");
    let _ = restore(&scratch, &tape, &linked).arg("hardlinks/two").outcome().done();
    assert_eq!(fs::read(linked.join("hardlinks/two/second")).expect("restored"), b"linked three times");
}

/// R-RESTORE-4.
fn existing_files_are_replaced() {
    let scratch = Scratch::new("existing");
    let (source, before) = make_tree(&scratch, &[Section::Types, Section::Sizes]);
    let tape = scratch.join("tape");
    let _ = dump(&scratch, &source, &tape).outcome().done();
    let target = scratch.directory("target");
    fs::create_dir_all(target.join("types/directory")).expect("target");
    fs::write(target.join("types/directory/kept"), b"not on the tape").expect("target");
    fs::write(target.join("types/regular"), vec![1; 100_000]).expect("target");
    fs::write(target.join("types/link"), b"a file where a link comes").expect("target");
    fs::write(target.join("types/fifo"), b"a file where a FIFO comes").expect("target");
    fs::write(target.join("other name"), b"x").expect("target");
    fs::hard_link(target.join("types/regular"), target.join("a link to what is replaced")).expect("target");
    let _ = restore(&scratch, &tape, &target).outcome().done();
    assert_eq!(fs::read(target.join("types/directory/kept")).expect("kept"), b"not on the tape");
    let link = fs::metadata(target.join("a link to what is replaced")).expect("kept");
    assert_eq!((link.len(), link.nlink()), (100_000, 1), "replaced, not written through");
    fs::remove_file(target.join("a link to what is replaced")).expect("target");
    fs::remove_file(target.join("other name")).expect("target");
    fs::remove_file(target.join("types/directory/kept")).expect("target");
    let found = Tree::read(&target).expect("tree");
    // Taking the names away again has changed the directories' times.
    let without_touched = |tree: Tree| tree.without(|path, _| path.is_empty() || path == b"types/directory");
    Compare::EXACT.assert_equal(&without_touched(before), &without_touched(found));
}

/// A link in the destination that somebody else has put there leads nowhere.
fn existing_links_are_not_followed() {
    let scratch = Scratch::new("links");
    let (source, _) = make_tree(&scratch, &[Section::Types]);
    let tape = scratch.join("tape");
    let _ = dump(&scratch, &source, &tape).outcome().done();
    let outside = scratch.directory("outside");
    fs::write(outside.join("regular"), b"precious").expect("outside");
    fs::create_dir(outside.join("directory")).expect("outside");
    let before = Tree::read(&outside).expect("tree");

    let target = scratch.directory("through a directory");
    symlink(&outside, target.join("types")).expect("link");
    let outcome = restore(&scratch, &tape, &target).outcome();
    outcome.is_orderly().expect("orderly");
    Compare::EXACT.assert_equal(&before, &Tree::read(&outside).expect("tree"));

    let target = scratch.directory("through a file");
    fs::create_dir(target.join("types")).expect("target");
    symlink(outside.join("regular"), target.join("types/regular")).expect("link");
    symlink(outside.join("new"), target.join("types/empty")).expect("link");
    let outcome = restore(&scratch, &tape, &target).outcome();
    outcome.is_orderly().expect("orderly");
    Compare::EXACT.assert_equal(&before, &Tree::read(&outside).expect("tree"));
    let replaced = fs::symlink_metadata(target.join("types/regular")).expect("restored");
    assert!(replaced.is_file(), "the link has been replaced");
}

fn unreadable_files_are_reported() {
    let scratch = Scratch::new("unreadable");
    let source = scratch.directory("tree");
    fixtures::build(&source, &[Section::Sizes]).expect("fixtures");
    fs::write(source.join("locked"), b"secret").expect("tree");
    fs::set_permissions(source.join("locked"), fs::Permissions::from_mode(0o000)).expect("tree");
    fs::create_dir(source.join("closed")).expect("tree");
    fs::write(source.join("closed/inside"), b"secret").expect("tree");
    fs::set_permissions(source.join("closed"), fs::Permissions::from_mode(0o000)).expect("tree");
    let before = Tree::read(&source).expect("tree");
    let state = scratch.directory("state of nobody");
    fs::set_permissions(&state, fs::Permissions::from_mode(0o777)).expect("state");
    let tape = scratch.join("tape");
    let dumped = dump(&scratch, &source, "-").env("TAPEDUMP_STATE", &state).as_nobody().stdout_file(&tape);
    let dumped = dumped.outcome().expect(code::INCOMPLETE);
    assert!(dumped.mentions("locked") && dumped.mentions("closed"), "{dumped}");
    let target = scratch.directory("target");
    let restored = restore(&scratch, &tape, &target).outcome();
    restored.is_orderly().expect("orderly");
    let unread =
        |tree: Tree| tree.without(|path, _| path.starts_with(b"locked") || path.starts_with(b"closed"));
    Compare::EXACT.assert_equal(&unread(before), &unread(Tree::read(&target).expect("tree")));
    let locked = fs::read(target.join("locked")).unwrap_or_default();
    assert!(locked.is_empty(), "nothing is invented");
}

fn mounts_are_not_entered() {
    let scratch = Scratch::new("mounts");
    let source = scratch.directory("tree");
    fixtures::build(&source, &[Section::Types]).expect("fixtures");
    let mount = Mount::tmpfs(&source.join("mounted"), "size=1m,mode=700");
    fs::write(mount.path().join("elsewhere"), b"of another file system").expect("mount");
    let tape = scratch.join("tape");
    let _ = dump(&scratch, &source, &tape).outcome().done();
    let target = scratch.directory("target");
    let _ = restore(&scratch, &tape, &target).outcome().done();
    assert!(Path::new(&target.join("types/regular")).exists());
    assert!(fs::symlink_metadata(target.join("mounted")).is_ok(), "the mount point itself is there");
    assert!(!target.join("mounted/elsewhere").exists(), "what is mounted there is not");
}

fn empty_tree() {
    let scratch = Scratch::new("empty");
    let (source, before) = make_tree(&scratch, &[]);
    let tape = scratch.join("tape");
    let _ = dump(&scratch, &source, &tape).outcome().done();
    let target = scratch.directory("target");
    let _ = restore(&scratch, &tape, &target).outcome().done();
    Compare::EXACT.assert_equal(&before, &Tree::read(&target).expect("tree"));
}
