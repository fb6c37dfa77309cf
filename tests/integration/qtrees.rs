//! Qtrees: made, changed and listed, dumped with what they are, and restored to the root of a volume, or as directories.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::fs::{XattrFlags, lgetxattr, lremovexattr, lsetxattr};
use tapedump_tests::cli::{Run, code};
use tapedump_tests::needs::Need;
use tapedump_tests::product::{dump, list, restore, verify};
use tapedump_tests::scratch::{Mount, Scratch, make_ext4, run};
use tapedump_tests::tree::Tree;

use crate::Case;
use crate::increments::dump_level;

const ROOT: &[Need] = &[Need::Root];

pub(crate) const CASES: &[Case] = &[
    Case { name: "made_changed_and_listed", needs: ROOT, run: made_changed_and_listed },
    Case { name: "only_in_the_root_of_a_volume", needs: ROOT, run: only_in_the_root },
    Case { name: "through_a_chain", needs: ROOT, run: through_a_chain },
    Case { name: "restored_elsewhere", needs: ROOT, run: restored_elsewhere },
    Case { name: "one_qtree", needs: ROOT, run: one_qtree },
    Case { name: "what_is_there_keeps_its_number", needs: ROOT, run: keeps_its_number },
    Case { name: "names_the_target_does_not_have", needs: ROOT, run: names_the_target_does_not_have },
    Case { name: "numbers_in_headers", needs: ROOT, run: numbers_in_headers },
    Case { name: "across_security_styles", needs: ROOT, run: across_security_styles },
    Case {
        name: "on_ext4_and_in_subvolumes",
        needs: &[Need::Root, Need::Loop, Need::MKE2FS, Need::BTRFS],
        run: on_other_file_systems,
    },
];

const QTREE: &str = "trusted.tapedump.qtree";
const NT: &str = "security.NTACL";
const DESCRIPTOR: &[u8] = include_bytes!("../fixtures/samba/ntacl-4.bin");
/// The same without its hash, as it is given to other objects.
const WITHOUT_HASH: &[u8] = include_bytes!("../fixtures/samba/ntacl-1.bin");

fn get(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = Vec::with_capacity(1 << 16);
    lgetxattr(path, OsStr::new(name), rustix::buffer::spare_capacity(&mut value)).ok()?;
    Some(value)
}

fn set(path: &Path, name: &str, value: &[u8]) {
    lsetxattr(path, name, value, XattrFlags::empty()).unwrap_or_else(|errno| panic!("{name}: {errno}"));
}

fn qtree(scratch: &Scratch, what: &str, path: &Path, arguments: &[&str]) -> Run {
    Run::tapedump(scratch).args(["qtree", what]).arg(path).args(arguments)
}

fn qtrees(scratch: &Scratch, volume: &Path) -> Vec<String> {
    let listed = qtree(scratch, "list", volume, &["--json"]).outcome().done().out();
    listed.lines().map(str::to_owned).collect()
}

fn row(name: &str, id: u32, style: &str, oplocks: bool, mode: &str) -> String {
    format!(r#"{{"path":"{name}","id":{id},"style":"{style}","oplocks":{oplocks},"default_mode":"{mode}"}}"#)
}

fn volume(scratch: &Scratch, name: &str) -> Mount {
    Mount::tmpfs(&scratch.directory(name), "size=400m")
}

/// A volume with two qtrees, a directory, and files in each.
fn sample(scratch: &Scratch) -> Mount {
    let mount = volume(scratch, "source");
    let at = |name: &str| mount.path().join(name);
    let _ = qtree(scratch, "create", &at("sales"), &["--style", "ntfs", "--oplocks", "off"]).outcome().done();
    let _ = qtree(scratch, "create", &at("büro 部"), &["--style=mixed", "--id=77", "--default-mode=750"])
        .outcome()
        .done();
    fs::create_dir(at("plain")).expect("made");
    for name in ["sales", "büro 部", "plain"] {
        fs::create_dir(at(name).join("deep")).expect("made");
        fs::write(at(name).join("deep/file"), name).expect("written");
        fs::write(at(name).join("empty"), "").expect("written");
    }
    mount
}

fn expected() -> Vec<String> {
    vec![row("büro 部", 77, "mixed", true, "750"), row("sales", 1, "ntfs", false, "777")]
}

/// R-DATA-4.
fn made_changed_and_listed() {
    let scratch = Scratch::in_memory("qtrees-made");
    let mount = sample(&scratch);
    let at = |name: &str| mount.path().join(name);
    assert_eq!(qtrees(&scratch, mount.path()), expected());
    let text = qtree(&scratch, "list", mount.path(), &[]).outcome().done().out();
    assert!(
        text.lines().any(|line| line.split_whitespace().eq("1 ntfs oplocks off 777 sales".split(' '))),
        "{text}"
    );
    let _ = qtree(&scratch, "set", &at("sales"), &["--style=unix", "--oplocks=on"]).outcome().done();
    let _ = qtree(&scratch, "create", &at("plain"), &[]).outcome().done().says("number 2");
    let _ = qtree(&scratch, "set", &at("plain"), &["--id=5", "--default-mode=700"]).outcome().done();
    let found = qtrees(&scratch, mount.path());
    assert_eq!(found[1..], [row("plain", 5, "unix", true, "700"), row("sales", 1, "unix", true, "777")]);
    let _ = qtree(&scratch, "create", &at("sales"), &[]).outcome().expect(code::FAILED).says("already");
    for run in [
        qtree(&scratch, "set", &at("plain"), &["--id=77"]),
        qtree(&scratch, "create", &at("another"), &["--id=77"]),
    ] {
        let _ = run.outcome().expect(code::FAILED).says("has this number");
    }
    assert!(!at("another").exists());
    let _ = qtree(&scratch, "set", &at("plain"), &["--none"]).outcome().done();
    let none = qtree(&scratch, "set", &at("plain"), &["--style=unix"]).outcome();
    let _ = none.expect(code::FAILED).says("it is no qtree").says("qtree create");
    let _ = qtree(&scratch, "set", &at("plain"), &[]).outcome().expect(code::USAGE);
    let refused = qtree(&scratch, "create", &at("x"), &["--id=0"]).outcome().expect(code::USAGE);
    let _ = refused.says("the number of a qtree is from 1 to 4294967295");
    set(&at("plain"), QTREE, b"of a later version");
    let unknown = qtree(&scratch, "list", mount.path(), &[]).outcome().expect(code::INCOMPLETE).out();
    assert!(unknown.contains("not understood"), "{unknown}");
}

/// R-DATA-4: below the top level, and under names that are no text, there are none.
fn only_in_the_root() {
    let scratch = Scratch::in_memory("qtrees-below");
    let mount = volume(&scratch, "volume");
    fs::create_dir(mount.path().join("plain")).expect("made");
    for below in ["plain/below", "plain/below/deeper"] {
        fs::create_dir_all(mount.path().join(below)).expect("made");
        let run = qtree(&scratch, "create", &mount.path().join(below), &[]);
        let _ = run.outcome().expect(code::FAILED).says("in the root of a volume");
    }
    let missing = qtree(&scratch, "create", &mount.path().join("gone/below"), &[]);
    let _ = missing.outcome().expect(code::FAILED).says("No such file");
    assert!(!mount.path().join("gone").exists());
    let raw = mount.path().join(OsStr::from_bytes(b"\xff"));
    let _ = qtree(&scratch, "create", &raw, &[]).outcome().expect(code::FAILED).says("UTF-8");
    assert!(!raw.exists());
    let listed = qtree(&scratch, "list", &mount.path().join("plain"), &[]);
    let _ = listed.outcome().expect(code::FAILED).says("not the root of a volume");
    assert!(qtrees(&scratch, mount.path()).is_empty());
}

/// R-DATA-4: levels 0, 1 and 2, a single path, the dump's own list, and a check against the volume.
fn through_a_chain() {
    let scratch = Scratch::in_memory("qtrees-chain");
    let mount = sample(&scratch);
    let at = |name: &str| mount.path().join(name);
    let mut made = Vec::new();
    for level in 0..3 {
        let tape = scratch.join(&format!("level{level}"));
        let _ = dump_level(&scratch, mount.path(), level, &tape).outcome().done();
        made.push((tape, qtrees(&scratch, mount.path())));
        if level == 0 {
            let _ = qtree(&scratch, "set", &at("sales"), &["--style=mixed"]).outcome().done();
        } else if level == 1 {
            let _ = qtree(&scratch, "create", &at("new"), &["--style=ntfs"]).outcome().done();
            fs::rename(at("büro 部"), at("bureau")).expect("renamed");
        }
    }
    let tape = scratch.join("level3");
    let _ = dump_level(&scratch, mount.path(), 3, &tape).outcome().done();
    made.push((tape, qtrees(&scratch, mount.path())));
    for (index, (tape, expected)) in made.iter().enumerate() {
        let target = volume(&scratch, &format!("restored {index}"));
        let _ = restore(&scratch, tape, target.path()).outcome().done();
        assert_eq!(qtrees(&scratch, target.path()), *expected, "level {index}");
    }
    let target = volume(&scratch, "one of them");
    let _ = restore(&scratch, &made[3].0, target.path()).arg("sales").outcome().done();
    assert_eq!(qtrees(&scratch, target.path()), [row("sales", 1, "mixed", false, "777")]);
    let listed = list(&scratch, &made[0].0).args(["--qtrees", "--json"]).outcome().done().out();
    assert_eq!(listed.lines().collect::<Vec<_>>(), expected());
    let tape = scratch.join("again");
    let _ = dump(&scratch, mount.path(), &tape).outcome().done();
    let _ = verify(&scratch, &tape).arg("--against").arg(mount.path()).outcome().done();
    let _ = qtree(&scratch, "set", &at("sales"), &["--oplocks=on"]).outcome().done();
    let differs = verify(&scratch, &tape).arg("--against").arg(mount.path()).outcome();
    let _ = differs.expect(code::INCOMPLETE).says("sales: differs: another qtree attributes");
}

/// R-RESTORE-7: lower down they are directories, which is said once with how many more there are.
fn restored_elsewhere() {
    let scratch = Scratch::in_memory("qtrees-elsewhere");
    let mount = sample(&scratch);
    let tape = scratch.join("tape");
    let _ = dump(&scratch, mount.path(), &tape).outcome().done();
    let target = volume(&scratch, "target");
    let below = target.path().join("below");
    let outcome = restore(&scratch, &tape, &below).outcome().done();
    assert_eq!(outcome.err().matches("a qtree on the dump, and a directory here").count(), 1, "{outcome}");
    let outcome = outcome.says("1 more of these are not listed: qtrees that are not restored to the root");
    assert!(!outcome.mentions("incomplete"), "{outcome}");
    for name in ["sales", "büro 部"] {
        assert_eq!(get(&below.join(name), QTREE), None);
        assert_eq!(fs::read(below.join(name).join("deep/file")).expect("there"), name.as_bytes());
    }
    // A dump of what is lower down has none, and neither has a restore that does not want any.
    let ignored = volume(&scratch, "ignored");
    let outcome = restore(&scratch, &tape, ignored.path()).arg("--ignore-qtrees").outcome().done();
    assert!(!outcome.mentions("a qtree on the dump"), "{outcome}");
    assert!(qtrees(&scratch, ignored.path()).is_empty());
    assert!(ignored.path().join("sales/deep/file").exists());
    let _ = restore(&scratch, &tape, ignored.path()).outcome().done();
    assert_eq!(qtrees(&scratch, ignored.path()), expected());
}

/// R-SEL-1, R-RESTORE-7: the dump of one qtree, restored onto the root of a volume, as a top-level directory of one, and lower down.
fn one_qtree() {
    let scratch = Scratch::in_memory("qtrees-one");
    let mount = sample(&scratch);
    let tape = scratch.join("tape");
    let said = dump(&scratch, &mount.path().join("büro 部"), &tape).outcome().done();
    // R-SEL-2: the first two stages are one, as of a volume; of a directory in it they are two.
    let _ = said.says("stages I and II: ");
    let _ = dump(&scratch, mount.path(), "null:").outcome().done().says("stages I and II: ");
    let below = dump(&scratch, &mount.path().join("büro 部/deep"), "null:").outcome().done();
    let below = below.says("stage I: ").says("stage II: ");
    assert!(!below.mentions("stages I and II"), "{below}");
    let whole = volume(&scratch, "whole");
    let outcome = restore(&scratch, &tape, whole.path()).outcome().done();
    let _ =
        outcome.says(".: a qtree on the dump, and a directory here: qtrees are the directories in the root");
    assert!(qtrees(&scratch, whole.path()).is_empty());
    assert_eq!(get(whole.path(), QTREE), None);
    assert_eq!(fs::read(whole.path().join("deep/file")).expect("there"), "büro 部".as_bytes());
    let target = volume(&scratch, "target");
    let _ = restore(&scratch, &tape, &target.path().join("another name")).outcome().done();
    assert_eq!(qtrees(&scratch, target.path()), [row("another name", 77, "mixed", true, "750")]);
    let below = target.path().join("another name/below");
    let outcome = restore(&scratch, &tape, &below).outcome().done().says("a directory here");
    assert!(!outcome.mentions("more of these"), "{outcome}");
    assert_eq!(get(&below, QTREE), None);
    assert_eq!(fs::read(below.join("deep/file")).expect("there"), "büro 部".as_bytes());
}

/// R-DATA-4, R-RESTORE-4: a number is one qtree's in its volume, and a qtree that is there stays what it is.
fn keeps_its_number() {
    let scratch = Scratch::in_memory("qtrees-numbers");
    let mount = sample(&scratch);
    let tape = scratch.join("tape");
    let _ = dump(&scratch, mount.path(), &tape).outcome().done();
    let target = volume(&scratch, "target");
    let at = |name: &str| target.path().join(name);
    let _ = qtree(&scratch, "create", &at("other"), &["--id=77"]).outcome().done();
    let _ = qtree(&scratch, "create", &at("sales"), &["--id=9", "--style=unix"]).outcome().done();
    let _ = restore(&scratch, &tape, target.path()).outcome().done();
    let expected = [
        row("büro 部", 1, "mixed", true, "750"),
        row("other", 77, "unix", true, "777"),
        row("sales", 9, "unix", true, "777"),
    ];
    assert_eq!(qtrees(&scratch, target.path()), expected);
}

/// R-RESTORE-7.
fn names_the_target_does_not_have() {
    let scratch = Scratch::in_memory("qtrees-names");
    let mount = sample(&scratch);
    let tape = scratch.join("tape");
    let _ = dump(&scratch, mount.path(), &tape).outcome().done();
    let target = volume(&scratch, "target");
    let run = restore(&scratch, &tape, target.path()).args(["--target-capabilities", "no-unicode-qtrees"]);
    let _ = run.outcome().done().says("büro 部: a qtree on the dump, and a directory here").says("ASCII");
    assert_eq!(qtrees(&scratch, target.path()), [row("sales", 1, "ntfs", false, "777")]);
    assert!(target.path().join("büro 部/deep/file").exists());
}

/// Format 7.2: each object's header names its qtree, at 940.
fn numbers_in_headers() {
    const LEN: usize = 1024;
    let scratch = Scratch::in_memory("qtrees-headers");
    let mount = sample(&scratch);
    let numbers = |tree: &Path, tape: &str| {
        let tape = scratch.join(tape);
        let _ = dump(&scratch, tree, &tape).outcome().done();
        let bytes = fs::read(&tape).expect("tape");
        let word = |block: &[u8], at: usize| u32::from_be_bytes(block[at..at + 4].try_into().expect("four"));
        let headers =
            bytes.chunks_exact(LEN).filter(|block| word(block, 24) == 60_012 && word(block, 0) == 2);
        let mut numbers: Vec<u32> =
            headers.filter(|block| block[909] == 0).map(|block| word(block, 940)).collect();
        numbers.sort_unstable();
        numbers
    };
    // The root and what is in the plain directory; then each qtree with its two directories and two files.
    assert_eq!(numbers(mount.path(), "volume"), [0, 0, 0, 0, 0, 1, 1, 1, 1, 77, 77, 77, 77]);
    assert_eq!(numbers(&mount.path().join("sales"), "qtree"), [1; 4]);
    assert_eq!(numbers(&mount.path().join("sales/deep"), "subtree"), [1; 2]);
    assert_eq!(numbers(&mount.path().join("plain"), "plain"), [0; 4]);
}

/// R-DATA-10.
fn across_security_styles() {
    let scratch = Scratch::in_memory("qtrees-styles");
    let source = volume(&scratch, "source");
    let acl = [2_u32.to_le_bytes().to_vec(), acl_entries()].concat();
    for (name, content) in [("file", "content"), ("empty", "")] {
        for (kind, nt, posix) in [("nt", true, false), ("unix", false, false), ("both", true, true)] {
            let path = source.path().join(format!("{kind} {name}"));
            fs::write(&path, content).expect("written");
            fs::set_permissions(&path, Permissions::from_mode(0o604)).expect("own file");
            if nt {
                set(&path, NT, DESCRIPTOR);
            }
            if posix {
                set(&path, "system.posix_acl_access", &acl);
            }
        }
    }
    let directory = source.path().join("nt directory");
    fs::create_dir(&directory).expect("made");
    fs::write(directory.join("unix"), "content").expect("written");
    set(&directory, NT, DESCRIPTOR);
    let tape = scratch.join("tape");
    let _ = dump(&scratch, source.path(), &tape).outcome().done();
    let before = Tree::read(source.path()).expect("tree");

    let target = volume(&scratch, "target");
    let at = |name: &str| target.path().join(name);
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o7777;
    let _ = qtree(&scratch, "create", &at("unix"), &["--default-mode=751"]).outcome().done();
    let _ = qtree(&scratch, "create", &at("ntfs"), &["--style=ntfs"]).outcome().done();
    let _ = qtree(&scratch, "create", &at("mixed"), &["--style=mixed"]).outcome().done();
    let _ = qtree(&scratch, "create", &at("without default"), &["--style=ntfs"]).outcome().done();
    set(&at("ntfs"), NT, DESCRIPTOR);
    for threads in ["1", "3"] {
        for style in ["unix", "ntfs", "mixed", "without default", "plain"] {
            let to = at(style).join(format!("with {threads} threads"));
            fs::create_dir_all(&to).expect("made");
            let _ = restore(&scratch, &tape, &to).args(["--threads", threads]).outcome().done();
            for name in ["file", "empty"] {
                let (nt, unix, both) = (
                    to.join(format!("nt {name}")),
                    to.join(format!("unix {name}")),
                    to.join(format!("both {name}")),
                );
                let expected = match style {
                    "unix" => (0o751, None, None),
                    "ntfs" => (0o604, Some(DESCRIPTOR), Some(WITHOUT_HASH)),
                    _ => (0o604, Some(DESCRIPTOR), None),
                };
                let found = (mode(&nt), get(&nt, NT), get(&unix, NT));
                assert_eq!(
                    (found.0, found.1.as_deref(), found.2.as_deref()),
                    expected,
                    "{style}, {name}, {threads}"
                );
                assert_eq!(mode(&unix), 0o604, "{style}");
                assert!(get(&both, "system.posix_acl_access").is_some(), "{style}");
                assert_eq!(get(&both, NT).as_deref(), Some(DESCRIPTOR), "{style}");
                assert_eq!(mode(&both), before.at(format!("both {name}")).mode, "{style}");
            }
            let directory = to.join("nt directory");
            assert_eq!(get(&directory, NT).is_some(), style != "unix");
            assert_eq!(get(&directory.join("unix"), NT).is_some(), style == "ntfs");
            assert_eq!(fs::read(directory.join("unix")).expect("there"), b"content");
        }
    }
    // The restore of a volume over one whose qtrees are there.
    let volume_tape = scratch.join("volume");
    let whole = volume(&scratch, "whole");
    fs::create_dir(whole.path().join("unix")).expect("made");
    fs::write(whole.path().join("unix/file"), "content").expect("written");
    set(&whole.path().join("unix/file"), NT, DESCRIPTOR);
    let _ = dump(&scratch, whole.path(), &volume_tape).outcome().done();
    let _ = restore(&scratch, &volume_tape, target.path()).outcome().done();
    assert_eq!(get(&at("unix/file"), NT), None);
    assert_eq!(mode(&at("unix/file")), 0o751);
    lremovexattr(at("unix"), QTREE).expect("removed");
    let _ = restore(&scratch, &volume_tape, target.path()).outcome().done();
    assert_eq!(get(&at("unix/file"), NT).as_deref(), Some(DESCRIPTOR));
}

fn acl_entries() -> Vec<u8> {
    let entries =
        [(1_u16, 6_u16, u32::MAX), (2, 4, 1234), (4, 0, u32::MAX), (0x10, 4, u32::MAX), (0x20, 4, u32::MAX)];
    entries
        .into_iter()
        .flat_map(|(tag, permissions, id)| {
            [tag.to_le_bytes().to_vec(), permissions.to_le_bytes().to_vec(), id.to_le_bytes().to_vec()]
                .concat()
        })
        .collect()
}

/// The root of ext4, and the root of a subvolume of btrfs that is no mount point of its own.
fn on_other_file_systems() {
    let scratch = Scratch::in_memory("qtrees-others");
    let image = scratch.join("ext4");
    make_ext4(&image, 64 << 20, &[]);
    let ext4 = Mount::image(&image, &scratch.directory("on ext4"), "rw");
    let image = scratch.join("btrfs");
    fs::File::create(&image).and_then(|file| file.set_len(256 << 20)).expect("image");
    run("mkfs.btrfs", &["-q", image.to_str().expect("text")]);
    let btrfs = Mount::image(&image, &scratch.directory("on btrfs"), "rw");
    let subvolume = btrfs.path().join("subvolume");
    run("btrfs", &["subvolume", "create", subvolume.to_str().expect("text")]);
    let source = sample(&scratch);
    let tape = scratch.join("tape");
    let _ = dump(&scratch, source.path(), &tape).outcome().done();
    for target in [ext4.path(), btrfs.path(), &subvolume] {
        let _ = restore(&scratch, &tape, target).arg("--force").outcome().done();
        assert_eq!(qtrees(&scratch, target), expected(), "{}", target.display());
        let again = scratch.join("again");
        let _ = dump(&scratch, target, &again).arg("--overwrite").outcome().done();
        let listed = list(&scratch, &again).args(["--qtrees", "--json"]).outcome().done().out();
        assert_eq!(listed.lines().collect::<Vec<_>>(), expected());
    }
}
