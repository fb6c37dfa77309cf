//! What a dump leaves out by name (EXCLUDE), in increments as well, and volumes without their qtrees (NON_QUOTA_TREE).

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tapedump_tests::cli::{Run, code};
use tapedump_tests::needs::Need;
use tapedump_tests::product::{dump, dump_snapshot, list, restore, verify};
use tapedump_tests::scratch::{Mount, Scratch, make_btrfs};
use tapedump_tests::tree::{Compare, Tree};

use crate::Case;
use crate::increments::{check, dump_level};

pub(crate) const CASES: &[Case] = &[
    Case { name: "names_at_any_depth", needs: &[], run: names_at_any_depth },
    Case { name: "increments_leave_out_the_same", needs: &[], run: increments },
    Case { name: "a_file_with_another_name", needs: &[], run: another_name },
    Case { name: "other_permissions_only", needs: &[], run: other_permissions_only },
    Case {
        name: "a_volume_that_tells_what_changed",
        needs: &[Need::Root, Need::Loop, Need::BTRFS],
        run: volume_that_tells,
    },
    Case { name: "patterns_that_are_none", needs: &[], run: no_patterns },
    Case { name: "volumes_without_qtrees", needs: &[Need::Root], run: without_qtrees },
];

const PATTERNS: [&str; 4] = ["--exclude=core", "--exclude=*.o", "--exclude=tmp*", "--exclude=*cache*"];

fn is_left_out(path: &[u8]) -> bool {
    path.split(|byte| *byte == b'/').any(|name| {
        name == b"core"
            || name.ends_with(b".o")
            || name.starts_with(b"tmp")
            || name.windows(5).any(|part| part == b"cache")
    })
}

fn fill(directory: &Path) {
    for name in ["core", "core.1", "a.o", "a.out", "tmp", "tmp1", "atmp", "my cache", "cach e"] {
        fs::write(directory.join(name), name).expect("written");
    }
    for name in ["tmp directory", "kept", "a cached directory"] {
        fs::create_dir(directory.join(name)).expect("made");
        fs::write(directory.join(name).join("within"), "within").expect("written");
        fs::write(directory.join(name).join("b.o"), "object").expect("written");
    }
}

/// The tree as it is without what is left out.
fn expected(tree: &Path) -> Tree {
    Tree::read(tree).expect("tree").without(|path, _| is_left_out(path))
}

/// Directories with subdirectories that are left out have other numbers of links.
const RULES: Compare = Compare::EXACT;

fn names_at_any_depth() {
    let scratch = Scratch::in_memory("exclude-names");
    let tree = scratch.directory("tree");
    fill(&tree);
    fill(&tree.join("kept"));
    let tape = scratch.join("tape");
    let _ = dump(&scratch, &tree, &tape).args(PATTERNS).outcome().done();
    let names = list(&scratch, &tape).outcome().done().out();
    assert!(names.contains("core.1") && names.contains("kept/cach e"), "{names}");
    assert!(!names.lines().any(|path| is_left_out(path.as_bytes())), "{names}");
    let to = scratch.directory("restored");
    let _ = restore(&scratch, &tape, &to).outcome().done();
    RULES.assert_equal(&expected(&tree), &Tree::read(&to).expect("tree"));
    let _ = verify(&scratch, &tape).outcome().done();
}

/// In a level 1, too, and what the level 0 had and the level 1 leaves out is gone in its restore.
fn increments() {
    let scratch = Scratch::in_memory("exclude-increments");
    let tree = scratch.directory("tree");
    fill(&tree);
    let level = |level: u32, name: &str, patterns: &[&str]| {
        let tape = scratch.join(name);
        let _ = dump_level(&scratch, &tree, level, &tape).args(patterns).outcome().done();
        tape
    };
    let all = level(0, "level0", &PATTERNS);
    check(&scratch, &all, &expected(&tree), "level 0");
    fill_again(&tree);
    let first = level(1, "level1", &PATTERNS);
    check(&scratch, &first, &expected(&tree), "level 1");
    // No longer left out: it is on the next level, though nothing of it changed.
    let second = level(2, "level2", &PATTERNS[1..]);
    let with_cores = Tree::read(&tree).expect("tree").without(|path, _| {
        let parts = path.split(|byte| *byte == b'/');
        parts.into_iter().any(|name| name != b"core" && is_left_out(name))
    });
    check(&scratch, &second, &with_cores, "level 2");
    let third = level(3, "level3", &PATTERNS);
    check(&scratch, &third, &expected(&tree), "level 3");
}

fn fill_again(tree: &Path) {
    fs::write(tree.join("new.o"), "left out").expect("written");
    fs::write(tree.join("new"), "dumped").expect("written");
    fs::write(tree.join("core"), "changed and left out").expect("written");
    fs::rename(tree.join("kept"), tree.join("kept elsewhere")).expect("renamed");
}

/// A file that has a name that is left out and another one is dumped by the other one.
fn another_name() {
    let scratch = Scratch::in_memory("exclude-links");
    let tree = scratch.directory("tree");
    fs::write(tree.join("kept"), "content").expect("written");
    fs::hard_link(tree.join("kept"), tree.join("left.o")).expect("linked");
    let tape = scratch.join("tape");
    let _ = dump(&scratch, &tree, &tape).arg("--exclude=*.o").outcome().done();
    let to = scratch.directory("restored");
    let _ = restore(&scratch, &tape, &to).outcome().done();
    assert_eq!(fs::read(to.join("kept")).expect("there"), b"content");
    assert!(!to.join("left.o").exists());
}

/// IGNORE_CTIME.
fn other_permissions_only() {
    let scratch = Scratch::in_memory("exclude-ctime");
    let tree = scratch.directory("tree");
    for name in ["kept", "permissions", "content"] {
        fs::write(tree.join(name), "before").expect("written");
    }
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let _ = dump_level(&scratch, &tree, 0, &scratch.join("level0")).outcome().done();
    std::thread::sleep(std::time::Duration::from_millis(1100));
    fs::set_permissions(tree.join("permissions"), Permissions::from_mode(0o600)).expect("own file");
    fs::write(tree.join("content"), "after").expect("written");
    fs::write(tree.join("new"), "new").expect("written");
    let old = fs::metadata(tree.join("kept")).expect("there").modified().expect("a time");
    let new = fs::File::options().write(true).open(tree.join("new")).expect("there");
    new.set_modified(old).expect("own file");
    let held = |name: &str, arguments: &[&str]| {
        let tape = scratch.join(name);
        let _ = dump_level(&scratch, &tree, 1, &tape).args(arguments).outcome().done();
        let listed = list(&scratch, &tape).arg("--json").outcome().done().out();
        ["kept", "permissions", "content", "new"].map(|name| {
            let path = format!("{{\"path\":\"{name}\"");
            listed.lines().any(|line| line.starts_with(&path) && line.contains("\"type\""))
        })
    };
    assert_eq!(held("ignoring", &["--ignore-ctime"]), [false, false, true, true]);
    assert_eq!(held("heeding", &[]), [false, true, true, true]);
}

/// On btrfs, where increments need no walk: names that a base left out are taken by the next dump all the same, and the
/// other way round.
fn volume_that_tells() {
    let scratch = Scratch::new("exclude-btrfs");
    let image = scratch.join("image");
    make_btrfs(&image, 256 << 20, &[]);
    let mount = Mount::image(&image, &scratch.directory("mounted"), "rw");
    // The root itself changes with the snapshots in it.
    let tree = mount.path().join("tree");
    fs::create_dir(&tree).expect("made");
    fill(&tree);
    let check = |level: u32, patterns: &[&str], expected: &Tree| {
        let tape = scratch.join(&format!("level{level}"));
        let run = dump_snapshot(&scratch, mount.path(), &tape).args(["--level", &level.to_string()]);
        let _ = run.args(patterns).outcome().done();
        let to = scratch.directory(&format!("restored {level}"));
        let _ = restore(&scratch, &tape, &to).outcome().done();
        Compare::EXACT.assert_equal(expected, &Tree::read(&to.join("tree")).expect("tree"));
    };
    check(0, &PATTERNS, &expected(&tree));
    fs::write(tree.join("new"), "new").expect("written");
    check(1, &[], &Tree::read(&tree).expect("tree"));
    check(2, &PATTERNS, &expected(&tree));
}

fn no_patterns() {
    let scratch = Scratch::in_memory("exclude-none");
    let tree = scratch.directory("tree");
    let tape = scratch.join("tape");
    let refused = |pattern: &str, why: &str, code: i32| {
        let run = dump(&scratch, &tree, &tape).arg(format!("--exclude={pattern}"));
        let _ = run.outcome().expect(code).says(why);
        assert!(!tape.exists());
    };
    refused("a*b", "beginning or its end", code::USAGE);
    refused("a/b", "no slash", code::USAGE);
    refused("***", "beginning or its end", code::USAGE);
    refused("", "empty", code::USAGE);
    refused(&"n".repeat(256), "255 bytes", code::USAGE);
    let many: Vec<String> = (0..33).map(|index| format!("--exclude=name{index}")).collect();
    let _ = dump(&scratch, &tree, &tape).args(&many).outcome().expect(code::FAILED).says("up to 32 names");
    assert!(!tape.exists());
    let _ = dump(&scratch, &tree, &tape).args(&many[..32]).outcome().done();
    // It may well be the name of a file, but hardly ever is.
    fs::write(tree.join("?x"), "").expect("written");
    fs::write(tree.join("ax"), "").expect("written");
    let literal = scratch.join("literal");
    let said = dump(&scratch, &tree, &literal).arg("--exclude=?x").outcome().done();
    let _ = said.says("--exclude ?x: only asterisks at the beginning and the end stand for anything");
    assert_eq!(list(&scratch, &literal).outcome().done().out(), "ax\n");
    let both = dump(&scratch, &tree, scratch.join("both")).args(["--without-qtrees", "--exclude=a"]);
    let _ = both.outcome().expect(code::USAGE).says("cannot be used with");
}

fn without_qtrees() {
    let scratch = Scratch::in_memory("exclude-qtrees");
    let mount = Mount::tmpfs(&scratch.directory("mounted"), "size=16m");
    let volume = mount.path();
    for name in ["sales", "büro"] {
        let made = Run::tapedump(&scratch).args(["qtree", "create"]).arg(volume.join(name));
        let _ = made.outcome().done();
        fs::write(volume.join(name).join("file"), "in a qtree").expect("written");
    }
    fs::create_dir_all(volume.join("plain/sales")).expect("made");
    fs::write(volume.join("plain/sales/file"), "in no qtree").expect("written");
    let tape = scratch.join("tape");
    let _ = dump(&scratch, volume, &tape).arg("--without-qtrees").outcome().done();
    let to = scratch.directory("restored");
    let _ = restore(&scratch, &tape, &to).outcome().done();
    let expected = Tree::read(volume).expect("tree");
    let expected =
        expected.without(|path, _| path.starts_with(b"sales") || path.starts_with("büro".as_bytes()));
    Compare::EXACT.assert_equal(&expected, &Tree::read(&to).expect("tree"));
    let later = dump_level(&scratch, volume, 1, &scratch.join("later")).arg("--without-qtrees");
    let _ = later.outcome().expect(code::FAILED).says("level 0 only");
    let below = dump(&scratch, &volume.join("plain"), scratch.join("below")).arg("--without-qtrees");
    let _ = below.outcome().expect(code::FAILED).says("not the root of a volume");
}
