//! Renaming while restoring (R-RESTORE-5), with and without going straight to what is wanted.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use tapedump_tests::cli::{Outcome, Run, code};
use tapedump_tests::product::{dump, restore};
use tapedump_tests::scratch::{Scratch, remove_tree};
use tapedump_tests::tree::Tree;

use crate::Case;
use crate::luns::{ON_BTRFS, create, listed, volume};

pub(crate) const CASES: &[Case] = &[
    Case { name: "one_path_under_another_name", needs: &[], run: one_path_under_another_name },
    Case { name: "several_in_a_whole_restore", needs: &[], run: several_in_a_whole_restore },
    Case { name: "through_a_chain", needs: &[], run: through_a_chain },
    Case { name: "what_is_refused", needs: &[], run: what_is_refused },
    Case { name: "directories_replace_nothing", needs: &[], run: directories_replace_nothing },
    Case { name: "a_lun", needs: ON_BTRFS, run: a_lun },
    Case { name: "a_dry_run_writes_nothing", needs: &[], run: a_dry_run_writes_nothing },
];

fn sample(scratch: &Scratch) -> (PathBuf, PathBuf) {
    let tree = scratch.directory("tree");
    fs::create_dir_all(tree.join("letters/old")).expect("made");
    fs::create_dir_all(tree.join("other")).expect("made");
    fs::write(tree.join("letters/landlord"), "dear landlord").expect("written");
    fs::write(tree.join("letters/a=b"), "equal").expect("written");
    fs::write(tree.join("letters/old/first"), "the first").expect("written");
    fs::write(tree.join("other/file"), "another").expect("written");
    fs::hard_link(tree.join("letters/landlord"), tree.join("other/link")).expect("linked");
    fs::set_permissions(tree.join("letters/old"), fs::Permissions::from_mode(0o750)).expect("set");
    let tape = scratch.join("tape");
    let _ = dump(scratch, &tree, &tape).outcome().done();
    (tree, tape)
}

/// The names below a directory.
fn names(root: &Path) -> Vec<String> {
    let tree = Tree::read(root).expect("tree");
    let paths = tree.entries.keys().map(|path| String::from_utf8_lossy(path).into_owned());
    paths.filter(|path| !path.is_empty() && path != ".").collect()
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path.as_ref()).unwrap_or_else(|error| panic!("{}: {error}", path.as_ref().display()))
}

fn went_straight(outcome: &Outcome) -> bool {
    outcome.mentions("went straight to it")
}

fn one_path_under_another_name() {
    let scratch = Scratch::in_memory("rename-one");
    let (_, tape) = sample(&scratch);
    for with_catalog in [true, false] {
        if !with_catalog {
            remove_tree(&scratch.join("state")).expect("no catalogs any more");
        }
        let out = scratch.join(&format!("out-{with_catalog}"));
        let as_name = |path: &str, name: &str| {
            let outcome = restore(&scratch, &tape, &out).args([path, "--as", name]).outcome().done();
            assert_eq!(went_straight(&outcome), with_catalog, "{outcome}");
        };
        as_name("letters/landlord", "new/place/to landlord");
        as_name("letters/old", "older");
        as_name("letters/a=b", "c=d");
        let expected =
            ["c=d", "new", "new/place", "new/place/to landlord", "older", "older/first"].map(String::from);
        assert_eq!(names(&out), expected, "nothing on the way, and nothing else");
        assert_eq!(read(out.join("new/place/to landlord")), "dear landlord");
        assert_eq!(
            (read(out.join("older/first")), read(out.join("c=d"))),
            ("the first".into(), "equal".into())
        );
        let mode = fs::metadata(out.join("older")).expect("there").mode();
        assert_eq!(mode & 0o7777, 0o750, "as on the dump");
        let mode = fs::metadata(out.join("new")).expect("there").mode();
        assert_eq!(mode & 0o700, 0o700);
        assert_ne!(mode & 0o055, 0, "as of any new directory");
        // Over what is there: a file is replaced, a directory kept (R-RESTORE-4).
        fs::write(out.join("c=d"), "changed").expect("written");
        fs::write(out.join("older/more"), "more").expect("written");
        as_name("letters/old", "older");
        as_name("letters/a=b", "c=d");
        assert_eq!((read(out.join("c=d")), read(out.join("older/more"))), ("equal".into(), "more".into()));
    }
}

fn several_in_a_whole_restore() {
    let scratch = Scratch::in_memory("rename-whole");
    let (_, tape) = sample(&scratch);
    let out = scratch.join("out");
    let _ = restore(&scratch, &tape, &out)
        .args(["--rename", "letters=post", "--rename", r"letters/a\=b=post/equal"])
        .args(["--rename", "other/link=deep/link", "--rename", "other/file=other/renamed"])
        .outcome()
        .done();
    let expected = [
        "deep",
        "deep/link",
        "other",
        "other/renamed",
        "post",
        "post/equal",
        "post/landlord",
        "post/old",
        "post/old/first",
    ];
    assert_eq!(names(&out), expected.map(String::from));
    let ino = |path: &str| fs::metadata(out.join(path)).expect("there").ino();
    assert_eq!(ino("deep/link"), ino("post/landlord"), "still two names of one file");
    assert_eq!(read(out.join("post/equal")), "equal");

    // Names that are exchanged, and a directory that goes into itself.
    let out = scratch.join("exchanged");
    let _ = restore(&scratch, &tape, &out)
        .args(["--rename", "letters=other", "--rename", "other=letters"])
        .outcome()
        .done();
    assert_eq!(
        (read(out.join("other/landlord")), read(out.join("letters/file"))),
        ("dear landlord".into(), "another".into())
    );
    let out = scratch.join("deeper");
    let _ = restore(&scratch, &tape, &out).args(["--rename", "letters=letters/of/2026"]).outcome().done();
    assert_eq!(read(out.join("letters/of/2026/old/first")), "the first");
    assert!(!out.join("letters/landlord").exists());
}

fn through_a_chain() {
    let scratch = Scratch::in_memory("rename-chain");
    let (tree, _) = sample(&scratch);
    std::thread::sleep(std::time::Duration::from_millis(1100));
    fs::write(tree.join("letters/landlord"), "dear new landlord").expect("written");
    let level1 = scratch.join("level1");
    let _ = dump(&scratch, &tree, &level1).args(["--level", "1"]).outcome().done();
    let out = scratch.join("out");
    let _ = restore(&scratch, &level1, &out).args(["--rename", "letters=post"]).outcome().done();
    assert_eq!(read(out.join("post/landlord")), "dear new landlord");
    assert_eq!(read(out.join("post/old/first")), "the first");
    let _ = restore(&scratch, &level1, &out).args(["letters/old/first", "--as", "last"]).outcome().done();
    assert_eq!(read(out.join("last")), "the first");
}

fn what_is_refused() {
    let scratch = Scratch::in_memory("rename-refused");
    let (_, tape) = sample(&scratch);
    let out = scratch.join("out");
    let refused = |arguments: &[&str], why: &str| {
        let outcome = restore(&scratch, &tape, &out).args(arguments).outcome();
        assert!(outcome.is_orderly().is_ok_and(|code| code >= code::USAGE), "{outcome}");
        assert!(outcome.mentions(why), "{outcome}");
        assert!(!out.exists() || names(&out).is_empty(), "nothing has been written: {outcome}");
    };
    refused(&["letters", "--as", "/x"], "below the destination");
    refused(&["letters", "--as", "x/../../y"], "below the destination");
    refused(&["letters", "other", "--as", "x"], "one path");
    refused(&["--as", "x"], "required");
    refused(&["--rename", "letters"], "OLD=NEW");
    refused(&["--rename", "nowhere=x"], "not among what is restored");
    refused(&["other", "--rename", "letters=x"], "not among what is restored");
    refused(&["--rename", ".=x"], "the root");
    refused(&["--rename", "letters=other"], "restored, too");
    refused(&["--rename", "letters=other/file/x"], "restored, too");
    refused(&["--rename", "letters=x", "--rename", "other=./x"], "the same new name");
    refused(&["--rename", "letters=x", "--rename", "letters=y"], "two new names");
    refused(&["--plan", "--rename", "letters=x"], "cannot be used with");
    // What is not restored is in nobody's way.
    let _ = restore(&scratch, &tape, &out).args(["letters", "--as", "other"]).outcome().done();
    assert_eq!(read(out.join("other/landlord")), "dear landlord");
}

/// R-RESTORE-4: a file replaces what has its name; a directory does not, however it came to its name.
fn directories_replace_nothing() {
    let scratch = Scratch::in_memory("rename-in-the-way");
    let (_, tape) = sample(&scratch);
    let elsewhere = scratch.directory("elsewhere");
    fs::write(elsewhere.join("landlord"), "not the dump's").expect("written");
    for threads in ["1", "4"] {
        let out = scratch.directory(&format!("out-{threads}"));
        fs::write(out.join("keep"), "precious").expect("written");
        fs::write(out.join("other"), "precious, too").expect("written");
        symlink(&elsewhere, out.join("letters")).expect("linked");
        let run = || restore(&scratch, &tape, &out).args(["--threads", threads]);
        let said = run().args(["letters/landlord", "--as", "keep/x"]).outcome().expect(code::INCOMPLETE);
        assert!(said.mentions("something else has this name"), "{said}");
        let said = run().args(["letters/old", "--as", "keep"]).outcome().expect(code::INCOMPLETE);
        assert!(said.mentions("rename or remove what is in the way"), "{said}");
        let said = run().outcome().expect(code::INCOMPLETE);
        for name in ["letters", "other"] {
            let is_named = |line: &str| line.contains("something else") && line.contains(name);
            assert!(said.err().lines().any(is_named), "{name} is not named: {said}");
        }
        for path in ["letters/a=b", "letters/old/first", "other/file"] {
            assert!(said.mentions(path), "{path} is not named: {said}");
        }
        assert_eq!(read(out.join("keep")), "precious");
        assert_eq!(read(out.join("other")), "precious, too");
        assert_eq!(names(&out), ["keep", "letters", "other"]);
        assert_eq!(names(&elsewhere), ["landlord"]);
        assert_eq!(read(elsewhere.join("landlord")), "not the dump's");
    }
}

/// A restore of a single LUN to a new name: it keeps its identifier where it is a LUN.
fn a_lun() {
    let scratch = Scratch::new("rename-lun");
    let source = volume(&scratch, "volume");
    fs::create_dir(source.path().join("sub")).expect("made");
    create(&scratch, &source.path().join("lun"), "1M");
    let tape = scratch.join("tape");
    let _ = dump(&scratch, source.path(), &tape).outcome().done();
    let out = volume(&scratch, "out");
    let run = || restore(&scratch, &tape, out.path()).arg("lun");
    let _ = run().args(["--as", "copy"]).outcome().done().says("hosts must drop");
    let serial = |path: PathBuf| listed(&scratch, &path)["serial"].clone();
    assert_eq!(serial(out.path().join("copy")), serial(source.path().join("lun")));
    // Two of one serial side by side: hosts cannot tell them apart.
    let said = run().args(["--as", "another"]).outcome().done();
    assert!(said.mentions("the same serial") && said.mentions("out/another"), "{said}");
    let said = run().args(["--as", "sub/copy"]).outcome().done();
    assert!(said.mentions("restored as plain files"), "{said}");
    assert!(!out.path().join("lun").exists());
    for name in ["copy", "sub/copy"] {
        assert_eq!(fs::read(out.path().join(name)).ok(), fs::read(source.path().join("lun")).ok());
    }
}

/// As NDMP's `NOWRITE`: everything is read and checked.
fn a_dry_run_writes_nothing() {
    let scratch = Scratch::in_memory("rename-dry");
    let (_, tape) = sample(&scratch);
    let out = scratch.join("out");
    let said = restore(&scratch, &tape, &out).arg("--dry-run").outcome().done();
    assert!(said.mentions("nothing was written") && said.mentions("4 other objects"), "{said}");
    assert!(!out.exists());
    let said =
        restore(&scratch, &tape, &out).args(["letters/old", "--as", "x", "--dry-run"]).outcome().done();
    assert!(said.mentions("1 other object"), "{said}");
    let refused = restore(&scratch, &tape, &out).args(["nowhere", "--dry-run"]).outcome();
    let _ = refused.expect(code::FAILED).says("not on the dump");
    assert!(!out.exists());
    let mut bytes = fs::read(&tape).expect("tape");
    let at = bytes.windows(13).position(|found| found == b"dear landlord").expect("its data");
    bytes[at] ^= 1;
    fs::write(&tape, bytes).expect("tape");
    let said = restore(&scratch, &tape, &out).arg("--dry-run").outcome().expect(code::INCOMPLETE);
    assert!(said.mentions("letters/landlord: damaged"), "{said}");
    let _ = Run::tapedump(&scratch).arg("history").outcome().done();
}
