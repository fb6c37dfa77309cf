//! What the program says: no false success, faults where they lie, and what to do about them.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use serde_json::Value;
use tapedump_tests::cli::{Outcome, Run, binary, code};
use tapedump_tests::debian;
use tapedump_tests::needs::Need;
use tapedump_tests::product::{dump, list, restore, verify};
use tapedump_tests::random::Random;
use tapedump_tests::scratch::{Scratch, path_text, run};

use crate::Case;

pub(crate) const CASES: &[Case] = &[
    Case { name: "stages_are_named", needs: &[], run: stages_are_named },
    Case { name: "a_dump_without_its_end", needs: &[], run: a_dump_without_its_end },
    Case { name: "what_only_the_tree_has", needs: &[], run: what_only_the_tree_has },
    Case { name: "owners_that_are_not_restored", needs: &[Need::Root], run: owners_that_are_not_restored },
    Case { name: "dumps_are_private", needs: &[], run: dumps_are_private },
    Case { name: "what_could_not_be_dumped", needs: &[Need::Root], run: what_could_not_be_dumped },
    Case {
        name: "a_name_that_debian_leaves_out",
        needs: &[Need::Root, Need::Loop, Need::DUMP, Need::MKE2FS],
        run: a_name_that_debian_leaves_out,
    },
    Case { name: "dumps_are_told_apart", needs: &[], run: dumps_are_told_apart },
    Case { name: "tapes_that_were_not_read", needs: &[], run: tapes_that_were_not_read },
    Case { name: "figures_count_what_is_whole", needs: &[], run: figures_count_what_is_whole },
    Case { name: "refusals_name_a_remedy", needs: &[], run: refusals_name_a_remedy },
    Case { name: "a_tape_with_missing_files", needs: &[], run: a_tape_with_missing_files },
    Case { name: "attributes_are_named", needs: &[], run: attributes_are_named },
    Case { name: "a_long_name_is_named", needs: &[], run: a_long_name_is_named },
    Case { name: "appending_names_its_tape", needs: &[], run: appending_names_its_tape },
    Case { name: "a_file_being_written", needs: &[], run: a_file_being_written },
    Case { name: "a_limit_on_the_length_of_files", needs: &[], run: a_limit_on_the_length_of_files },
    Case { name: "manual_pages", needs: &[], run: manual_pages },
];

/// A tree with a directory and four files, 900 KB.
fn tree(scratch: &Scratch) -> PathBuf {
    let tree = scratch.directory("tree");
    let mut random = Random::new(3);
    fs::create_dir(tree.join("a")).expect("tree");
    fs::write(tree.join("a/h1"), "content").expect("tree");
    for name in ["f1", "f2", "f3"] {
        fs::write(tree.join(name), random.bytes(300_000)).expect("tree");
    }
    tree
}

fn json_lines(outcome: &Outcome) -> Vec<Value> {
    outcome.out().lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

/// R-SEL-2, R-RESTORE-1: the stages by their names, in their order.
fn stages_are_named() {
    let scratch = Scratch::new("stages");
    let (tree, tape) = (tree(&scratch), scratch.join("tape"));
    let dumped = dump(&scratch, &tree, &tape).outcome().done().err();
    let stages = |said: &str| -> Vec<String> {
        let lines = said.lines().filter(|line| line.starts_with("stage"));
        lines.map(|line| line.split(':').next().expect("a line").to_owned()).collect()
    };
    assert_eq!(stages(&dumped), ["stage I", "stage II", "stage III", "stage IV", "stage V"], "{dumped}");
    let restored = restore(&scratch, &tape, &scratch.join("out")).outcome().done().err();
    assert_eq!(stages(&restored), ["stage 1", "stage 2", "stage 3", "stage 4"], "{restored}");
}

fn a_dump_without_its_end() {
    let scratch = Scratch::new("no-end");
    let tree = tree(&scratch);
    let whole = scratch.join("whole");
    let _ = dump(&scratch, &tree, &whole).arg("--blocking-factor").arg("4").outcome().done();
    assert_eq!(list(&scratch, &whole).outcome().done().out().lines().count(), 5);
    let tape = fs::read(&whole).expect("tape");
    let cut = scratch.join("cut");
    // In the middle of the data, and one tape record before the end.
    for len in [tape.len() - 400 * 1024, tape.len() - 4096] {
        fs::write(&cut, &tape[..len]).expect("tape");
        let listing = list(&scratch, &cut).outcome().expect(code::INCOMPLETE).says("cut short");
        assert!(listing.out().contains("a/h1"), "{listing}");
        let verified = verify(&scratch, &cut).outcome().expect(code::INCOMPLETE).says("incomplete");
        assert!(verified.out().contains("incomplete") && !verified.mentions("goes on on"), "{verified}");
        let values = json_lines(&verify(&scratch, &cut).arg("--json").outcome().expect(code::INCOMPLETE));
        assert!(values.iter().any(|value| value["finding"] == "incomplete"), "{values:?}");
        assert_eq!(values.last().expect("result")["complete"], false);
        let _ = restore(&scratch, &cut, &scratch.directory(&format!("to {len}")))
            .outcome()
            .expect(code::INCOMPLETE)
            .says("cut short");
    }
}

fn what_only_the_tree_has() {
    let scratch = Scratch::new("extra");
    let tree = tree(&scratch);
    let tape = scratch.join("tape");
    let _ = dump(&scratch, &tree, &tape).outcome().done();
    let against = || verify(&scratch, &tape).arg("--against").arg(&tree);
    let accessed = || fs::metadata(tree.join("a")).expect("tree").accessed().expect("time");
    let before = accessed();
    let _ = against().outcome().done();
    assert_eq!(accessed(), before, "comparing leaves access times alone");
    fs::write(tree.join("a/extra"), "").expect("tree");
    fs::create_dir(tree.join("new")).expect("tree");
    fs::write(tree.join("new/inside"), "").expect("tree");
    let found = against().outcome().expect(code::INCOMPLETE);
    assert!(found.mentions("a/extra: differs") && found.mentions("new: differs"), "{found}");
    assert!(!found.mentions("new/inside"), "a directory stands for what is in it\n{found}");
    let values = json_lines(&against().arg("--json").outcome().expect(code::INCOMPLETE));
    assert!(values.iter().any(|value| value["path"] == "a/extra"), "{values:?}");
}

/// A directory that nobody may use.
fn for_nobody(scratch: &Scratch, name: &str) -> PathBuf {
    let path = scratch.directory(name);
    chown(&path, Some(65534), Some(65534)).expect("owner");
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o755)).expect("permissions");
    path
}

fn as_nobody(scratch: &Scratch, run: Run) -> Run {
    run.as_nobody().env("TAPEDUMP_STATE", for_nobody(scratch, "state of nobody"))
}

fn owners_that_are_not_restored() {
    let scratch = Scratch::new("owners");
    let tree = scratch.directory("tree");
    fs::write(tree.join("theirs"), "x").expect("tree");
    fs::write(tree.join("set-uid"), "x").expect("tree");
    fs::set_permissions(tree.join("set-uid"), fs::Permissions::from_mode(0o4755)).expect("mode");
    chown(tree.join("theirs"), Some(65534), Some(1000)).expect("owner");
    chown(&tree, Some(65534), Some(65534)).expect("owner");
    let tape = scratch.join("tape");
    let _ = dump(&scratch, &tree, &tape).outcome().done();
    fs::set_permissions(&tape, fs::Permissions::from_mode(0o644)).expect("mode");
    let to = for_nobody(&scratch, "to");
    let restored = as_nobody(&scratch, restore(&scratch, &tape, &to)).outcome().done();
    assert!(restored.mentions("owner or group of 2 objects, and 1 of them lost"), "{restored}");
    let mode = fs::metadata(to.join("set-uid")).expect("file").permissions().mode();
    assert_eq!(mode & 0o7777, 0o755);
    let by_root = restore(&scratch, &tape, &scratch.directory("by root")).outcome().done();
    assert!(!by_root.mentions("only root"), "{by_root}");
}

fn dumps_are_private() {
    let scratch = Scratch::new("private");
    let tree = tree(&scratch);
    let (plain, tape) = (scratch.join("plain"), scratch.join("virtual"));
    let _ = dump(&scratch, &tree, &plain).outcome().done();
    let _ = Run::tapedump(&scratch).args(["tape", "create"]).arg(&tape).outcome().done();
    let _ = dump(&scratch, &tree, &tape).outcome().done();
    for path in [&plain, &tape, &tape.join("file-0000.tape")] {
        let mode = fs::metadata(path).expect("tape").permissions().mode() & 0o7777;
        assert_eq!(mode & 0o077, 0, "{}: {mode:o}", path.display());
    }
    // What somebody opened for others stays so.
    fs::set_permissions(&plain, fs::Permissions::from_mode(0o640)).expect("mode");
    let _ = dump(&scratch, &tree, &plain).arg("--overwrite").outcome().done();
    assert_eq!(fs::metadata(&plain).expect("tape").permissions().mode() & 0o777, 0o640);
}

fn what_could_not_be_dumped() {
    let scratch = Scratch::new("unread");
    let tree = tree(&scratch);
    for name in ["closed", "a/closed"] {
        fs::create_dir(tree.join(name)).expect("tree");
        fs::set_permissions(tree.join(name), fs::Permissions::from_mode(0o0)).expect("mode");
    }
    let tape = for_nobody(&scratch, "for tapes").join("tape");
    let dumped = as_nobody(&scratch, dump(&scratch, &tree, &tape)).outcome().expect(code::INCOMPLETE);
    assert!(dumped.mentions("a/closed: not dumped: permission denied"), "{dumped}");
    assert!(dumped.mentions("dumped 2 directories and 4 other objects"), "{dumped}");
    let verified = verify(&scratch, &tape).outcome().expect(code::INCOMPLETE);
    assert!(verified.mentions("could not be read when the dump was made"), "{verified}");
    assert!(verified.out().contains("0 damaged, 2 not whole when dumped"), "{verified}");
    let restored = restore(&scratch, &tape, &scratch.directory("to")).outcome().expect(code::INCOMPLETE);
    assert!(restored.mentions("damaged on the tape: 0, not whole when dumped: 2"), "{restored}");
}

fn a_name_that_debian_leaves_out() {
    let scratch = Scratch::new("left-out");
    let tree = scratch.directory("tree");
    fs::create_dir(tree.join("a")).expect("tree");
    // Only with other names behind it in its block does Debian leave the name out.
    let long = "a".repeat(255);
    fs::write(tree.join("a").join(&long), "long").expect("tree");
    for index in 0..40 {
        fs::write(tree.join(format!("a/file {index:02}")), "short").expect("tree");
    }
    let image = scratch.join("image");
    let _ = run("mke2fs", &["-q", "-t", "ext4", "-d", path_text(&tree), path_text(&image), "4M"]);
    let tape = scratch.join("tape");
    debian::dump(&image, &tape, &[]);
    let to = scratch.directory("to");
    let outcome = restore(&scratch, &tape, &to).outcome().expect(code::INCOMPLETE);
    for index in 0..40 {
        let file = fs::read(to.join(format!("a/file {index:02}"))).expect("a file behind the long name");
        assert_eq!(file, b"short");
    }
    // Its data is there, and only its name is lost.
    let lost =
        fs::read_dir(to.join("lost+found")).expect("lost+found").map(|entry| entry.expect("entry").path());
    let lost: Vec<_> = lost.map(|path| fs::read(path).expect("file")).collect();
    assert_eq!(lost, [b"long"], "{outcome}");
    assert!(outcome.mentions("without a name"), "{outcome}");
}

fn dumps_are_told_apart() {
    let scratch = Scratch::new("apart");
    let tree = tree(&scratch);
    let tape = Run::tapedump(&scratch).args(["tape", "create", "weekly"]).outcome().done();
    drop(tape);
    let _ = dump(&scratch, &tree, "weekly")
        .args(["--label", "home"])
        .env("SOURCE_DATE_EPOCH", "1700000000")
        .outcome()
        .done();
    let _ = dump(&scratch, &tree, "weekly").args(["--append", "--label", "other"]).outcome().done();
    // Behind each dump there is its catalog.
    let second = scratch.join("state/tapes/weekly/file-0002.tape");
    let len = fs::metadata(&second).expect("tape").len();
    for command in [&["tape", "info", "weekly"][..], &["tape", "list"]] {
        let shown = Run::tapedump(&scratch).args(command).outcome().done().out();
        for words in ["'home'", "'other'", path_text(&tree), "level 0", "2023-11-14 22:13:20Z", "complete"] {
            assert!(shown.contains(words), "{words}: {shown}");
        }
        let json = Run::tapedump(&scratch).args(command).arg("--json").outcome().done();
        let files = &json_lines(&json)[0]["files"];
        assert_eq!(files[0]["dump"]["label"], "home");
        assert_eq!(files[0]["dump"]["date"], "2023-11-14T22:13:20Z");
        assert_eq!(files[2]["dump"]["extent"], "complete");
    }
    fs::File::options().write(true).open(&second).and_then(|file| file.set_len(len / 2)).expect("tape");
    let info = Run::tapedump(&scratch).args(["tape", "info", "weekly"]).outcome().expect(code::INCOMPLETE);
    assert!(info.out().contains("cut short") && info.out().contains("missing"), "{info}");
}

fn tapes_that_were_not_read() {
    let scratch = Scratch::new("not-read");
    let tree = tree(&scratch);
    let (first, second) = (scratch.join("first"), scratch.join("second"));
    for tape in [&first, &second] {
        let _ = dump(&scratch, &tree, tape).outcome().done();
    }
    let with_both = |run: Run| run.arg("--tape").arg(&second).outcome().expect(code::INCOMPLETE);
    for outcome in [
        with_both(verify(&scratch, &first)),
        with_both(restore(&scratch, &first, &scratch.directory("to"))),
        with_both(list(&scratch, &first).arg("--long")),
    ] {
        assert!(outcome.mentions("second: this tape was not read"), "{outcome}");
    }
}

fn figures_count_what_is_whole() {
    let scratch = Scratch::new("figures");
    let tree = tree(&scratch);
    let tape = scratch.join("tape");
    let _ = dump(&scratch, &tree, &tape).outcome().done();
    let chosen = restore(&scratch, &tape, &scratch.directory("chosen")).arg("a").outcome().done();
    assert!(chosen.mentions("restored 1 directory and 1 other object,"), "{chosen}");
    let all = restore(&scratch, &tape, &scratch.directory("all")).outcome().done();
    assert!(all.mentions("restored 2 directories and 4 other objects,"), "{all}");
    let mut bytes = fs::read(&tape).expect("tape");
    let content = fs::read(tree.join("f2")).expect("file");
    let at = bytes.windows(64).position(|window| window == &content[1000..1064]).expect("its data");
    bytes[at] ^= 1;
    fs::write(&tape, bytes).expect("tape");
    let damaged = restore(&scratch, &tape, &scratch.directory("damaged")).outcome().expect(code::INCOMPLETE);
    assert!(damaged.mentions("restored 2 directories and 3 other objects whole"), "{damaged}");
    let verified = verify(&scratch, &tape).outcome().expect(code::INCOMPLETE).out();
    assert!(verified.contains("3 other objects whole") && verified.contains("1 damaged"), "{verified}");
}

fn refusals_name_a_remedy() {
    let scratch = Scratch::new("remedies");
    let tree = tree(&scratch);
    let tape = scratch.join("tape");
    let tapedump = |arguments: &[&str]| Run::tapedump(&scratch).args(arguments);
    let _ = dump(&scratch, &tree, &tape).outcome().done();
    let made = tapedump(&["tape", "create"]).arg(&tape).outcome().expect(code::FAILED);
    assert!(made.mentions("choose another name"), "{made}");
    let to = scratch.directory("to");
    fs::create_dir_all(to.join("a/h1/inside")).expect("directory");
    let in_the_way = restore(&scratch, &tape, &to).outcome().expect(code::INCOMPLETE);
    assert!(in_the_way.mentions("rename or remove what is in the way"), "{in_the_way}");
    let _ = tapedump(&["tape", "create", "named"]).outcome().done();
    for (arguments, words) in [
        (&["dump", path_text(&tree), "--overwrite"][..], "--tape"),
        (&["tape", "label", "named", ""], "at least one character"),
        (&["tape", "label", "named", "a\nb"], "control characters"),
        (&["tape", "create", "tiny", "--capacity", "1"], "64K"),
        (&["list", "--file", "x"], "number of a tape file"),
    ] {
        let _ = tapedump(arguments).outcome().expect(code::USAGE).says(words);
    }
}

fn a_tape_with_missing_files() {
    let scratch = Scratch::new("missing");
    let tree = tree(&scratch);
    let tapedump = |arguments: &[&str]| Run::tapedump(&scratch).args(arguments);
    let _ = tapedump(&["tape", "create", "named"]).outcome().done();
    let _ = dump(&scratch, &tree, "named").outcome().done();
    let _ = dump(&scratch, &tree, "named").arg("--append").outcome().done();
    let files = scratch.join("state/tapes/named");
    fs::remove_file(files.join("file-0002.tape")).expect("tape");
    let refused = list(&scratch, "named").outcome().expect(code::FAILED);
    assert!(refused.mentions("file-0002.tape: this tape file is missing"), "{refused}");
    let info = tapedump(&["tape", "info", "named"]).outcome().expect(code::INCOMPLETE);
    assert!(info.out().contains("missing"), "{info}");
    let _ = list(&scratch, "named").args(["--file", "0"]).outcome().done();
    fs::remove_file(files.join("label.json")).expect("label");
    for outcome in [tapedump(&["tape", "list"]).outcome(), list(&scratch, "named").outcome()] {
        assert!(!outcome.ended_with(code::DONE), "{outcome}");
        assert!(outcome.mentions("label is missing") && outcome.mentions("file-0000.tape"), "{outcome}");
    }
    let _ = list(&scratch, files.join("file-0000.tape")).outcome().done();
}

fn attributes_are_named() {
    let scratch = Scratch::new("attributes");
    let tree = tree(&scratch);
    let path = tree.join("a/h1");
    rustix::fs::setxattr(&path, "user.color", b"red", rustix::fs::XattrFlags::empty()).expect("attribute");
    let tape = scratch.join("tape");
    let _ = dump(&scratch, &tree, &tape).outcome().done();
    let against = || verify(&scratch, &tape).arg("--against").arg(&tree).outcome().expect(code::INCOMPLETE);
    rustix::fs::setxattr(&path, "user.color", b"blue", rustix::fs::XattrFlags::empty()).expect("attribute");
    let _ = against().says("a/h1: differs: another extended attribute user.color");
    rustix::fs::setxattr(&path, "user.more", b"", rustix::fs::XattrFlags::empty()).expect("attribute");
    let _ = against().says("user.more");
}

fn a_long_name_is_named() {
    let scratch = Scratch::new("long-name");
    let tree = tree(&scratch);
    let long = format!("long-{}", "n".repeat(250));
    fs::write(tree.join("a").join(&long), "").expect("tree");
    let _ = dump(&scratch, &tree, scratch.join("tape")).outcome().done().says(&long);
}

fn appending_names_its_tape() {
    let scratch = Scratch::new("appending");
    let tree = tree(&scratch);
    let again = || Run::tapedump(&scratch).args(["dump", "--live"]).arg(&tree);
    let _ = again().args(["--label", "mine"]).outcome().done().says("the new tape mine");
    let _ = again().arg("--append").outcome().done().says("behind the last one on mine");
}

fn a_file_being_written() {
    let scratch = Scratch::new("being-written");
    let tree = tree(&scratch);
    let tape = scratch.join("tape");
    let _ = dump(&scratch, &tree, &tape).outcome().done();
    let held = fs::File::open(&tape).expect("tape");
    rustix::fs::flock(&held, FlockOperation::LockExclusive).expect("lock");
    let _ = list(&scratch, &tape).outcome().expect(code::FAILED).says("another program is writing");
    drop(held);
    let _ = list(&scratch, &tape).outcome().done();
}

fn a_limit_on_the_length_of_files() {
    let scratch = Scratch::new("limit");
    let tree = tree(&scratch);
    let tape = scratch.join("tape");
    // In units of 512 bytes.
    let script = "ulimit -f 1000; exec \"$@\"";
    let failed = Run::program("sh")
        .args(["-c", script, "sh"])
        .arg(binary())
        .args(["dump", "--live"])
        .arg(&tree)
        .arg("--tape")
        .arg(&tape)
        .env("TAPEDUMP_STATE", scratch.join("state"))
        .outcome()
        .expect(code::FAILED);
    assert!(failed.mentions("File too large") && failed.mentions(path_text(&tape)), "{failed}");
}

fn manual_pages() {
    let scratch = Scratch::new("pages");
    let pages = scratch.join("new/pages");
    let _ = Run::tapedump(&scratch).arg("man").arg(&pages).outcome().done();
    let text = |page: &Path| fs::read_to_string(page).expect("page");
    for page in ["tapedump.1", "tapedump-dump.1", "tapedump-tape-create.1"] {
        let page = text(&pages.join(page));
        for section in ["EXIT STATUS", "ENVIRONMENT", "TAPEDUMP_STATE", "FILES"] {
            assert!(page.contains(section), "{section}: {page}");
        }
        assert!(!page.contains("EXTRA"), "{page}");
    }
    let _ = Run::tapedump(&scratch).args(["tape", "create", "a-tape"]).outcome().done();
    let script = "cd /; eval \"$(\"$0\" completions bash)\"; PATH=\"$(dirname \"$0\"):$PATH\"; \
                  _tapedump_with_tapes tapedump a- --tape; echo \"${COMPREPLY[@]}\"";
    let completed = Run::program("bash")
        .args(["-c", script])
        .arg(binary())
        .env("TAPEDUMP_STATE", scratch.join("state"))
        .outcome()
        .done();
    assert_eq!(completed.out().trim(), "a-tape", "{completed}");
}
