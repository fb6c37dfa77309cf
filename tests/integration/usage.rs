//! Wrong use: each case has a message of its own that names what is wrong, the right exit code, and writes nothing.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use tapedump_tests::cli::{Run, code};
use tapedump_tests::fixtures::{self, Section};
use tapedump_tests::needs::Need;
use tapedump_tests::product::{dump, list, restore, verify};
use tapedump_tests::scratch::{Mount, Scratch};
use tapedump_tests::tree::{Compare, Tree};

use crate::Case;

pub(crate) const CASES: &[Case] = &[
    Case { name: "each_mistake_has_its_message", needs: &[], run: each_mistake_has_its_message },
    Case { name: "data_is_not_overwritten_unasked", needs: &[], run: data_is_not_overwritten_unasked },
    Case { name: "full_destination", needs: &[Need::Root], run: full_destination },
    Case { name: "destination_without_inodes", needs: &[Need::Root], run: destination_without_inodes },
    Case { name: "destination_fills_up", needs: &[Need::Root], run: destination_fills_up },
    Case { name: "read_only_destination", needs: &[Need::Root], run: read_only_destination },
    Case { name: "full_tape", needs: &[], run: full_tape },
    Case {
        name: "file_system_of_the_tape_is_full",
        needs: &[Need::Root],
        run: file_system_of_the_tape_is_full,
    },
];

/// A mistake: the run, its exit code, and what its message must name.
struct Mistake {
    name: &'static str,
    run: Run,
    code: i32,
    names: &'static [&'static str],
}

fn mistake(name: &'static str, run: Run, code: i32, names: &'static [&'static str]) -> Mistake {
    Mistake { name, run, code, names }
}

fn each_mistake_has_its_message() {
    let scratch = Scratch::new("mistakes");
    let tree = scratch.directory("tree");
    fixtures::build(&tree, &[Section::Types]).expect("fixtures");
    let good = scratch.join("good");
    let _ = dump(&scratch, &tree, &good).outcome().done();
    fs::write(scratch.join("text"), "no tape at all\n".repeat(5000)).expect("file");
    fs::write(scratch.join("zeros"), vec![0; 100_000]).expect("file");
    fs::write(scratch.join("nothing"), b"").expect("file");
    fs::create_dir(scratch.join("destination")).expect("directory");
    fs::create_dir(scratch.join("no tape directory")).expect("directory");
    fs::write(scratch.join("no tape directory/file"), b"x").expect("file");
    fs::create_dir_all(scratch.join("state")).expect("directory");
    let (new, destination) = (scratch.join("new"), scratch.join("destination"));
    let before = visible(&scratch);
    for mistake in mistakes(&scratch, &tree, &good, &new, &destination) {
        let outcome = mistake.run.outcome();
        assert!(
            outcome.ended_with(mistake.code),
            "{}: not exit code {}\n{outcome}",
            mistake.name,
            mistake.code
        );
        for name in mistake.names {
            assert!(
                outcome.mentions(name),
                "{}: the message does not name '{name}'\n{outcome}",
                mistake.name
            );
        }
        let differences = Compare::EXACT.differences(&before, &visible(&scratch));
        assert!(
            differences.is_empty(),
            "{}: something was written: {}\n{outcome}",
            mistake.name,
            differences[0]
        );
    }
    let messages: BTreeSet<String> = mistakes(&scratch, &tree, &good, &new, &destination)
        .into_iter()
        .map(|mistake| mistake.run.outcome().err().trim().to_owned())
        .collect();
    assert_eq!(messages.len(), mistakes(&scratch, &tree, &good, &new, &destination).len(), "{messages:#?}");
}

/// The scratch directory without the program's own state.
fn visible(scratch: &Scratch) -> Tree {
    Tree::read(scratch.path()).expect("tree").without(|path, _| path.starts_with(b"state"))
}

fn mistakes(scratch: &Scratch, tree: &Path, good: &Path, new: &Path, destination: &Path) -> Vec<Mistake> {
    let factor = |value: &str| dump(scratch, tree, new).args(["--blocking-factor", value]);
    let with_tape = |name: &str| restore(scratch, scratch.join(name), destination);
    let bare = || Run::tapedump(scratch);
    vec![
        mistake("factor 3", factor("3"), code::USAGE, &["3", "4", "256"]),
        mistake("factor 0", factor("0"), code::USAGE, &["0", "4", "256"]),
        mistake("factor 257", factor("257"), code::USAGE, &["257", "4", "256"]),
        mistake("factor -1", factor("-1"), code::USAGE, &["-1"]),
        mistake("factor x", factor("x"), code::USAGE, &["x"]),
        mistake("factor of 2^32 + 64", factor("4294967360"), code::USAGE, &["4294967360"]),
        mistake("no threads", dump(scratch, tree, new).args(["--threads", "0"]), code::USAGE, &["threads"]),
        mistake(
            "threads x",
            dump(scratch, tree, new).args(["--threads", "x"]),
            code::USAGE,
            &["threads", "x"],
        ),
        mistake(
            "label too long",
            dump(scratch, tree, new).args(["--label", &"l".repeat(17)]),
            code::USAGE,
            &["label"],
        ),
        mistake("no such tree", dump(scratch, &scratch.join("missing"), new), code::FAILED, &["missing"]),
        mistake(
            "tree is a file",
            dump(scratch, &scratch.join("text"), new),
            code::FAILED,
            &["text", "directory"],
        ),
        mistake("tape in no directory", dump(scratch, tree, scratch.join("a/b")), code::FAILED, &["a/b"]),
        mistake(
            "tape is a directory of files",
            dump(scratch, tree, scratch.join("no tape directory")),
            code::FAILED,
            &["no tape directory"],
        ),
        mistake(
            "destination is a file",
            restore(scratch, good, &scratch.join("text")),
            code::FAILED,
            &["text"],
        ),
        mistake("no such tape", with_tape("missing tape"), code::FAILED, &["missing tape"]),
        mistake("text for a tape", with_tape("text"), code::FAILED, &["text", "tape"]),
        mistake("zeros for a tape", with_tape("zeros"), code::FAILED, &["zeros", "tape"]),
        mistake("empty file for a tape", with_tape("nothing"), code::FAILED, &["nothing"]),
        mistake("directory for a tape", with_tape("destination"), code::FAILED, &["destination"]),
        mistake("restore to nowhere", bare().arg("restore").arg("--tape").arg(good), code::USAGE, &["--to"]),
        mistake("list of no tape", list(scratch, scratch.join("not there")), code::FAILED, &["not there"]),
        mistake("verify of no tape", verify(scratch, scratch.join("nowhere")), code::FAILED, &["nowhere"]),
        mistake(
            "verify against nothing",
            verify(scratch, good).arg("--against").arg(scratch.join("no tree")),
            code::FAILED,
            &["no tree"],
        ),
        mistake("no command", bare(), code::USAGE, &["usage"]),
        mistake("unknown command", bare().arg("dmup"), code::USAGE, &["dmup"]),
        mistake(
            "unknown option",
            dump(scratch, tree, new).arg("--no-such-option"),
            code::USAGE,
            &["--no-such-option"],
        ),
        mistake("dump of nothing", bare().args(["dump", "--tape"]).arg(new), code::USAGE, &["path"]),
        mistake(
            "capacity x",
            bare().args(["tape", "create"]).arg(new).args(["--capacity", "x"]),
            code::USAGE,
            &["capacity"],
        ),
        mistake(
            "capacity 0",
            bare().args(["tape", "create"]).arg(new).args(["--capacity", "0"]),
            code::USAGE,
            &["capacity", "0"],
        ),
        mistake(
            "info on no tape",
            bare().args(["tape", "info"]).arg(scratch.join("absent")),
            code::FAILED,
            &["absent"],
        ),
    ]
}

/// "A tape that holds data is never overwritten without being asked to."
fn data_is_not_overwritten_unasked() {
    let scratch = Scratch::new("overwrite");
    let tree = scratch.directory("tree");
    fixtures::build(&tree, &[Section::Types]).expect("fixtures");
    let virtual_tape = scratch.join("virtual");
    let created =
        Run::tapedump(&scratch).args(["tape", "create"]).arg(&virtual_tape).args(["--capacity", "10M"]);
    let _ = created.outcome().done();
    fs::write(scratch.join("precious"), b"somebody's file").expect("file");
    for tape in [scratch.join("plain"), virtual_tape] {
        let _ = dump(&scratch, &tree, &tape).outcome().done();
        let before = visible(&scratch);
        let refused = dump(&scratch, &tree, &tape).outcome();
        assert!(matches!(refused.is_orderly(), Ok(code::USAGE | code::FAILED)), "{refused}");
        assert!(refused.mentions("--overwrite"), "says what to do: {refused}");
        Compare::EXACT.assert_equal(&before, &visible(&scratch));
        fs::write(tree.join("new file"), b"new").expect("tree");
        let _ = dump(&scratch, &tree, &tape).arg("--overwrite").outcome().done();
        assert!(list(&scratch, &tape).outcome().done().out().contains("new file"));
        fs::remove_file(tree.join("new file")).expect("tree");
    }
    let refused = dump(&scratch, &tree, scratch.join("precious")).outcome();
    assert!(matches!(refused.is_orderly(), Ok(code::USAGE | code::FAILED)), "{refused}");
    assert_eq!(fs::read(scratch.join("precious")).expect("kept"), b"somebody's file");
}

/// R-RESTORE-6: refused before anything is written, with both figures.
fn full_destination() {
    let scratch = Scratch::new("full");
    let tree = scratch.directory("tree");
    fixtures::build(&tree, &[Section::Sizes]).expect("fixtures");
    let _ = dump(&scratch, &tree, scratch.join("tape")).outcome().done();
    let mount = Mount::tmpfs(&scratch.join("small"), "size=2m,mode=755");
    let refused = restore(&scratch, scratch.join("tape"), mount.path()).outcome().expect(code::FAILED);
    assert!(refused.mentions("space"), "{refused}");
    let figures = refused
        .err()
        .split(|character: char| !character.is_ascii_digit())
        .filter(|run| !run.is_empty())
        .count();
    assert!(figures >= 2, "both figures: {refused}");
    assert_eq!(Tree::read(mount.path()).expect("tree").entries.len(), 1, "nothing has been written");
}

/// R-RESTORE-6.
fn destination_without_inodes() {
    let scratch = Scratch::new("inodes");
    let tree = scratch.directory("tree");
    fixtures::build(&tree, &[Section::Names]).expect("fixtures");
    let _ = dump(&scratch, &tree, scratch.join("tape")).outcome().done();
    let mount = Mount::tmpfs(&scratch.join("small"), "size=400m,nr_inodes=50,mode=755");
    let refused = restore(&scratch, scratch.join("tape"), mount.path()).outcome().expect(code::FAILED);
    assert!(refused.mentions("inodes"), "{refused}");
    assert_eq!(Tree::read(mount.path()).expect("tree").entries.len(), 1, "nothing has been written");
}

/// Where the need cannot be known first, as on a pipe: what does not fit is reported, by name.
fn destination_fills_up() {
    let scratch = Scratch::new("fills");
    let tree = scratch.directory("tree");
    fixtures::build(&tree, &[Section::Types]).expect("fixtures");
    for index in 0..200 {
        fs::write(tree.join(format!("file {index:03}")), vec![7; 1 << 20]).expect("tree");
    }
    let tape = scratch.join("tape");
    let _ = dump(&scratch, &tree, &tape).outcome().done();
    let mount = Mount::tmpfs(&scratch.join("small"), "size=150m,mode=755");
    let outcome = restore(&scratch, "-", mount.path()).stdin_file(&tape).outcome();
    let code = outcome.is_orderly().expect("orderly");
    assert!(code == code::FAILED || code == code::INCOMPLETE, "{outcome}");
    assert!(outcome.mentions("space") && outcome.mentions("make room"), "{outcome}");
    assert!(outcome.err().contains("tapedump: the destination"), "it is not the tape's matter\n{outcome}");
    for path in
        Tree::read(mount.path()).expect("tree").entries.keys().filter(|path| path.starts_with(b"file "))
    {
        let name = std::str::from_utf8(path).expect("own name");
        let whole = fs::read(mount.path().join(name)).expect("file").len() == 1 << 20;
        assert!(whole || outcome.mentions(name), "{name} is cut short and not reported\n{outcome}");
    }
}

fn read_only_destination() {
    let scratch = Scratch::new("read-only");
    let tree = scratch.directory("tree");
    fixtures::build(&tree, &[Section::Types]).expect("fixtures");
    let _ = dump(&scratch, &tree, scratch.join("tape")).outcome().done();
    let mount = Mount::tmpfs(&scratch.join("mount"), "size=400m,mode=755");
    mount.make_read_only();
    let refused = restore(&scratch, scratch.join("tape"), mount.path()).outcome().expect(code::FAILED);
    assert!(refused.mentions("read-only"), "{refused}");
    let refused = dump(&scratch, &tree, mount.path().join("tape")).outcome().expect(code::FAILED);
    assert!(refused.mentions("read-only"), "{refused}");
}

/// The end of the medium is an error that says so, and what is on the tape is no dump.
fn full_tape() {
    let scratch = Scratch::new("full-tape");
    let tree = scratch.directory("tree");
    fixtures::build(&tree, &[Section::Sizes]).expect("fixtures");
    let tape = scratch.join("virtual");
    let created = Run::tapedump(&scratch).args(["tape", "create"]).arg(&tape).args(["--capacity", "1M"]);
    let _ = created.outcome().done();
    let failed = dump(&scratch, &tree, &tape).outcome().expect(code::FAILED);
    assert!(
        failed.mentions("the tape is full, and there is no further one: name it with --tape"),
        "{failed}"
    );
    let verified = verify(&scratch, &tape).outcome();
    assert!(verified.is_orderly().expect("orderly") != code::DONE, "{verified}");
}

fn file_system_of_the_tape_is_full() {
    let scratch = Scratch::new("full-fs");
    let tree = scratch.directory("tree");
    fixtures::build(&tree, &[Section::Sizes]).expect("fixtures");
    let mount = Mount::tmpfs(&scratch.join("small"), "size=1m,mode=755");
    let failed = dump(&scratch, &tree, mount.path().join("tape")).outcome().expect(code::FAILED);
    assert!(failed.mentions("space") && failed.mentions("make room there"), "{failed}");
}
