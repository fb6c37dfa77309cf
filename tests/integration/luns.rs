//! LUNs: made, shown, changed and dumped (R-DATA-6 to R-DATA-8).

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{XattrFlags, lgetxattr, setxattr};
use serde_json::Value;
use tapedump_tests::cli::{Run, code};
use tapedump_tests::needs::Need;
use tapedump_tests::product::{dump, dump_snapshot, restore, verify};
use tapedump_tests::random::{Random, seed};
use tapedump_tests::scratch::{Mount, Scratch, make_btrfs, make_ext4, make_xfs, run};

use crate::Case;

pub(crate) const ON_BTRFS: &[Need] = &[Need::Root, Need::Loop, Need::BTRFS];

pub(crate) const CASES: &[Case] = &[
    Case { name: "made_shown_and_changed", needs: ON_BTRFS, run: made_shown_and_changed },
    Case { name: "through_a_chain", needs: ON_BTRFS, run: through_a_chain },
    Case { name: "clones", needs: &[Need::Root, Need::Loop, Need::MKFS_XFS], run: clones },
    Case { name: "what_is_not_dumped", needs: ON_BTRFS, run: what_is_not_dumped },
    Case { name: "bad_input", needs: &[Need::Root, Need::Loop, Need::MKE2FS], run: bad_input },
    Case { name: "alignment", needs: ON_BTRFS, run: alignment },
];

pub(crate) const MARK: &str = "trusted.tapedump.lun";
const ALIGNMENT: &str = "trusted.tapedump.vm-align";
/// So large that a restore does not refuse it; most of it is never written.
const VOLUME_LEN: u64 = 500 << 20;

/// A new volume of btrfs.
pub(crate) fn volume(scratch: &Scratch, name: &str) -> Mount {
    let image = scratch.join(&format!("{name}.img"));
    make_btrfs(&image, VOLUME_LEN, &[]);
    Mount::image(&image, &scratch.join(name), "")
}

pub(crate) fn lun(scratch: &Scratch, command: &str, path: &Path) -> Run {
    Run::tapedump(scratch).args(["lun", command]).arg(path)
}

/// Makes a LUN with some data in it.
pub(crate) fn create(scratch: &Scratch, path: &Path, size: &str) {
    let _ = lun(scratch, "create", path).args(["--size", size]).outcome().done();
    write(path, 70_000, &[1; 9000]);
}

pub(crate) fn write(path: &Path, at: u64, data: &[u8]) {
    File::options().write(true).open(path).and_then(|file| file.write_all_at(data, at)).expect("written");
}

pub(crate) fn mark(path: &Path) -> Option<Vec<u8>> {
    let mut value = vec![0; 100];
    let len = lgetxattr(path, MARK, &mut value[..]).ok()?;
    value.truncate(len);
    Some(value)
}

/// What `lun list` tells of one file.
pub(crate) fn listed(scratch: &Scratch, path: &Path) -> Value {
    let listed = lun(scratch, "list", path).arg("--json").outcome().done().out();
    serde_json::from_str(&listed).unwrap_or_else(|error| panic!("{}: {error}: {listed}", path.display()))
}

pub(crate) fn dump_level(scratch: &Scratch, tree: &Path, level: u32) -> (PathBuf, Run) {
    let tape = scratch.join(&format!("level{level}"));
    let run = dump(scratch, tree, &tape).args(["--level", &level.to_string()]);
    (tape, run)
}

fn made_shown_and_changed() {
    let scratch = Scratch::new("luns-made");
    let volume = volume(&scratch, "volume");
    let at = |name: &str| volume.path().join(name);
    let said = lun(&scratch, "create", &at("a")).args(["--size", "1G", "--serial", "abcdefghijkl"]).outcome();
    assert!(said.done().says("abcdefghijkl").mentions("online"));
    let metadata = fs::metadata(at("a")).expect("made");
    assert_eq!((metadata.len(), metadata.blocks(), metadata.mode() & 0o777), (1 << 30, 0, 0o600));
    let found = listed(&scratch, &at("a"));
    assert_eq!((&found["serial"], &found["size"]), (&"abcdefghijkl".into(), &(1u64 << 30).into()));
    assert_eq!((&found["state"], &found["mapped"]), (&"online".into(), &false.into()));
    assert_eq!((&found["os_type"], &found["kind"]), (&"linux".into(), &"lun".into()));
    let refused = lun(&scratch, "create", &at("a")).args(["--size", "1G"]).outcome().expect(code::FAILED);
    assert!(refused.mentions("exists") && refused.mentions("leave --size away"), "{refused}");

    fs::write(at("b"), "a file that was there").expect("written");
    let _ = lun(&scratch, "set", &at("b")).args(["--state", "offline"]).outcome().expect(code::FAILED);
    let _ = lun(&scratch, "create", &at("b")).args(["--os-type", "VMware"]).outcome().done();
    let _ = lun(&scratch, "create", &at("b")).outcome().expect(code::FAILED).says("already");
    let changes = ["--state", "offline", "--os-type", "hyper_v", "--mapped", "yes", "--serial", "new"];
    let before = listed(&scratch, &at("b"))["serial"].clone();
    let _ = lun(&scratch, "set", &at("b")).args(changes).outcome().done();
    let found = listed(&scratch, &at("b"));
    assert_eq!((&found["state"], &found["os_type"]), (&"offline".into(), &"hyper_v".into()));
    assert_eq!((&found["mapped"], &found["size"]), (&true.into(), &21.into()));
    assert_ne!(found["serial"], before);
    let _ = lun(&scratch, "set", &at("b")).outcome().expect(code::USAGE);
    let _ = lun(&scratch, "set", &at("b")).args(["--state", "lost"]).outcome().expect(code::USAGE);
    let _ = lun(&scratch, "create", &at("c")).args(["--size", "1M", "--serial", "short"]).outcome().expect(2);

    // Hosts would take both for one disk.
    fs::create_dir_all(volume.path().join("d/e")).expect("made");
    for (command, path, more) in [("set", "b", &[][..]), ("create", "d/e/new", &["--size", "1M"])] {
        let run = lun(&scratch, command, &at(path)).args(["--serial", "abcdefghijkl"]).args(more);
        let refused = run.outcome().expect(code::FAILED);
        assert!(refused.mentions("volume/a has the serial abcdefghijkl already"), "{refused}");
    }
    assert!(!at("d/e/new").exists());
    assert_eq!(listed(&scratch, &at("b")), found);
    let _ = lun(&scratch, "set", &at("a")).args(["--serial", "abcdefghijkl"]).outcome().done();
    let to = at("d/clone");
    let run = lun(&scratch, "clone", &at("b")).arg(&to).args(["--serial", "abcdefghijkl"]);
    let _ = run.outcome().expect(code::FAILED).says("has the serial abcdefghijkl already");

    let text = lun(&scratch, "list", volume.path()).outcome().done().out();
    let names: Vec<&str> = text.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(names[1..], [at("a").to_str().expect("text"), at("b").to_str().expect("text")], "{text}");
    assert_eq!(lun(&scratch, "list", &scratch.directory("empty")).outcome().done().out(), "");
    let seen = Run::tapedump(&scratch).args(["lun", "list"]).arg(volume.path()).as_nobody().outcome();
    let _ = seen.expect(code::FAILED).says("only root");
}

/// R-DATA-6, R-RESTORE-8: whole, with holes and attributes, in increments, too; restored straight from its place as well.
fn through_a_chain() {
    let scratch = Scratch::new("luns-chain");
    let volume_of_dump = volume(&scratch, "volume");
    let tree = volume_of_dump.path();
    create(&scratch, &tree.join("lun"), "300M");
    let mut random = Random::new(seed());
    write(&tree.join("lun"), 100 << 20, &random.bytes(3 << 20));
    let _ = lun(&scratch, "clone", &tree.join("lun")).arg(tree.join("clone")).outcome().done();
    fs::write(tree.join("file"), "beside them").expect("written");
    let serials = ["lun", "clone"].map(|name| listed(&scratch, &tree.join(name))["serial"].clone());
    assert_ne!(serials[0], serials[1]);
    // What changed in the second of a dump is taken by the next one as well.
    std::thread::sleep(std::time::Duration::from_millis(1100));

    for level in 0..3 {
        let (tape, run) = dump_level(&scratch, tree, level);
        let said = run.outcome().done();
        if level > 0 {
            // Not only what changed of it: its data is 3 MiB and some, and that of the clone is not there.
            assert!(said.mentions("1 other object, 3.0 MiB"), "{said}");
        }
        let out = volume(&scratch, &format!("out{level}"));
        let _ = restore(&scratch, &tape, out.path()).outcome().done().says("hosts must drop");
        for (name, serial) in ["lun", "clone"].iter().zip(&serials) {
            let (old, new) = (tree.join(name), out.path().join(name));
            run_cmp(&old, &new);
            assert_eq!(mark(&old), mark(&new), "{name}");
            assert_eq!(listed(&scratch, &new)["serial"], *serial);
            assert!(fs::metadata(&new).expect("there").blocks() * 512 < 5 << 20, "holes are holes");
        }
        let _ = verify(&scratch, &tape).outcome().done();
        let straight = volume(&scratch, &format!("straight{level}"));
        let found = restore(&scratch, &tape, straight.path()).arg("lun").outcome().done();
        // An increment is so short that nothing has to be passed over.
        assert!(level > 0 || found.mentions("went straight to it"), "{found}");
        assert_eq!(mark(&tree.join("lun")), mark(&straight.path().join("lun")));
        run_cmp(&tree.join("lun"), &straight.path().join("lun"));
        std::thread::sleep(std::time::Duration::from_millis(1100));
        write(&tree.join("lun"), 200 << 20, &[level as u8 + 1; 100]);
    }
    let (tape, _) = dump_level(&scratch, tree, 2);
    let listing = Run::tapedump(&scratch).arg("list").arg("--of").arg(tree).outcome().done().out();
    assert!(listing.contains("lun") && listing.contains("clone"), "{listing}");
    let found = verify(&scratch, &tape).arg("--against").arg(tree).outcome().expect(code::INCOMPLETE);
    assert!(found.mentions("lun: differs"), "it changed since: {found}");
}

fn run_cmp(one: &Path, other: &Path) {
    let _ = run("cmp", &[one.to_str().expect("text"), other.to_str().expect("text")]);
}

/// R-DATA-6: a clone shares its data, and is a LUN of its own.
fn clones() {
    let scratch = Scratch::new("luns-clones");
    let image = scratch.join("volume.img");
    make_xfs(&image);
    let volume = Mount::image(&image, &scratch.join("volume"), "");
    let (original, clone) = (volume.path().join("lun"), volume.path().join("clone"));
    create(&scratch, &original, "40M");
    write(&original, 0, &vec![3; 20 << 20]);
    let _ = lun(&scratch, "set", &original).args(["--mapped", "yes", "--os-type", "xen"]).outcome().done();
    let _ =
        lun(&scratch, "clone", &original).arg(&clone).args(["--serial", "a-clone-of-it"]).outcome().expect(2);
    let serial = listed(&scratch, &original)["serial"].as_str().expect("serial").to_owned();
    let same = lun(&scratch, "clone", &original).arg(&clone).args(["--serial", &serial]).outcome();
    assert!(same.expect(code::FAILED).mentions("of its own") && !clone.exists());
    let _ = lun(&scratch, "clone", &original).arg(&clone).args(["--serial", "clone-of-lun"]).outcome().done();
    let found = listed(&scratch, &clone);
    assert_eq!((&found["serial"], &found["mapped"]), (&"clone-of-lun".into(), &false.into()));
    assert_eq!((&found["os_type"], &found["state"]), (&"xen".into(), &"online".into()));
    run_cmp(&original, &clone);
    write(&clone, 5, b"its own");
    let tape = scratch.join("tape");
    let _ = dump(&scratch, volume.path(), &tape).outcome().done();
    let image = scratch.join("out.img");
    make_xfs(&image);
    let out = Mount::image(&image, &scratch.join("out"), "");
    let _ = restore(&scratch, &tape, out.path()).outcome().done();
    for name in ["lun", "clone"] {
        run_cmp(&volume.path().join(name), &out.path().join(name));
        let (old, new) =
            (listed(&scratch, &volume.path().join(name)), listed(&scratch, &out.path().join(name)));
        assert_eq!((&old["serial"], &old["os_type"]), (&new["serial"], &new["os_type"]));
        assert_eq!(new["mapped"], Value::from(false), "which hosts see it is not on the dump");
    }
    let over = lun(&scratch, "clone", &original).arg(&clone).outcome().expect(code::FAILED);
    assert!(over.mentions("exists") && over.mentions("give another name"), "{over}");
    let _ = lun(&scratch, "set", &original).args(["--state", "inconsistent"]).outcome().done();
    let refused = lun(&scratch, "clone", &original).arg(volume.path().join("third")).outcome();
    assert!(refused.expect(code::FAILED).mentions("inconsistent"));
}

/// R-DATA-7: named, recorded, and taken by the next dump.
fn what_is_not_dumped() {
    let scratch = Scratch::new("luns-skipped");
    let volume_of_dump = volume(&scratch, "volume");
    let tree = volume_of_dump.path();
    for name in ["good", "restricted", "inconsistent", "garbage", "file"] {
        if name == "file" || name == "garbage" {
            fs::write(tree.join(name), name).expect("written");
        } else {
            create(&scratch, &tree.join(name), "1M");
        }
    }
    let set = |name: &str, state: &str| {
        let _ = lun(&scratch, "set", &tree.join(name)).args(["--state", state]).outcome().done();
    };
    set("restricted", "restricted");
    set("inconsistent", "inconsistent");
    setxattr(tree.join("garbage"), MARK, b"no LUN at all, but 32 bytes long", XattrFlags::empty())
        .expect("set");
    // As a restore that was killed leaves a file.
    let left = tapedump_core::record::lun::LunRepr::restricted_file().value();
    setxattr(tree.join("file"), MARK, &left, XattrFlags::empty()).expect("set");

    for level in 0..2 {
        let tape = scratch.join(&format!("level{level}"));
        let run = dump_snapshot(&scratch, tree, &tape).args(["--level", &level.to_string()]);
        let said = run.outcome().expect(code::INCOMPLETE);
        for (name, why) in
            [("restricted", "restricted"), ("inconsistent", "inconsistent"), ("file", "restricted")]
        {
            let line = said.err().lines().find(|line| line.contains(&format!("/{name}:"))).map(str::to_owned);
            assert!(line.as_ref().is_some_and(|line| line.contains(why)), "level {level}, {name}: {said}");
        }
        assert!(said.mentions("incomplete: 3 objects"), "{said}");
        let history = Run::tapedump(&scratch).args(["history", "--json"]).outcome().done().out();
        let last: Value = serde_json::from_str(history.lines().last().expect("a line")).expect("JSON");
        assert_eq!((&last["outcome"], &last["skipped"]), (&"incomplete".into(), &3.into()), "{history}");
        let out = volume(&scratch, &format!("out{level}"));
        let restored = restore(&scratch, &tape, out.path()).outcome().expect(code::INCOMPLETE);
        assert!(restored.mentions("garbage: LUN attributes not restored"), "{restored}");
        assert!(restored.mentions("restricted: not on the dump"), "{restored}");
        assert!(out.path().join("garbage").exists() && mark(&out.path().join("garbage")).is_none());
        assert!(out.path().join("good").exists() && !out.path().join("inconsistent").exists());
        std::thread::sleep(std::time::Duration::from_millis(1100));
    }
    let seen = lun(&scratch, "list", tree).outcome().expect(code::INCOMPLETE);
    assert!(seen.mentions("garbage: its LUN attributes are not understood"), "{seen}");
    assert!(seen.out().contains("plain file"), "{seen}");
    let refused = lun(&scratch, "set", &tree.join("garbage")).args(["--state", "online"]).outcome();
    let _ = refused.expect(code::FAILED).says("not understood");
    let _ = lun(&scratch, "create", &tree.join("garbage")).outcome().done();
    let refused = lun(&scratch, "set", &tree.join("file")).args(["--mapped", "yes"]).outcome();
    let _ = refused.expect(code::FAILED).says("no LUN");
    for name in ["restricted", "inconsistent", "file"] {
        set(name, "online");
    }
    assert_eq!(mark(&tree.join("file")), None);
    let tape = scratch.join("level2");
    let said = dump_snapshot(&scratch, tree, &tape).args(["--level", "2"]).outcome().done();
    assert!(said.mentions("4 other objects"), "those three, and what was garbage: {said}");
    let out = volume(&scratch, "out2");
    let _ = restore(&scratch, &tape, out.path()).outcome().done();
    for name in ["good", "restricted", "inconsistent", "garbage", "file"] {
        run_cmp(&tree.join(name), &out.path().join(name));
        assert_eq!(mark(&tree.join(name)), mark(&out.path().join(name)), "{name}");
    }
}

fn bad_input() {
    let scratch = Scratch::new("luns-bad");
    let image = scratch.join("ext4.img");
    make_ext4(&image, 64 << 20, &[]);
    let ext4 = Mount::image(&image, &scratch.join("ext4"), "");
    let original = ext4.path().join("lun");
    create(&scratch, &original, "1M");
    let clone = ext4.path().join("clone");
    let refused = lun(&scratch, "clone", &original).arg(&clone).outcome().expect(code::FAILED);
    assert!(refused.mentions("btrfs and XFS can") && !clone.exists(), "{refused}");
    let ramfs = Mount::ramfs(&scratch.join("ramfs"));
    let elsewhere = lun(&scratch, "clone", &original).arg(ramfs.path().join("clone")).outcome();
    assert!(elsewhere.expect(code::FAILED).mentions("another file system"));
    let nowhere = lun(&scratch, "create", &ramfs.path().join("lun")).args(["--size", "1M"]).outcome();
    let nowhere = nowhere.expect(code::FAILED);
    assert!(nowhere.mentions("can hold no LUNs"), "{nowhere}");
    assert_eq!(fs::read_dir(ramfs.path()).expect("read").count(), 0, "nothing is left");
    let directory = lun(&scratch, "create", ext4.path()).outcome().expect(code::FAILED);
    assert!(directory.mentions("not a regular file"), "{directory}");
    let _ = lun(&scratch, "list", &scratch.join("nowhere")).outcome().expect(code::FAILED);
    for no_lun in ["set", "clone"] {
        let run = lun(&scratch, no_lun, &image);
        let run = if no_lun == "set" { run.args(["--state", "online"]) } else { run.arg(&clone) };
        assert!(run.outcome().expect(code::FAILED).mentions("no LUN"));
    }
    // A target without such attributes holds no LUNs.
    let tape = scratch.join("tape");
    let _ = dump(&scratch, ext4.path(), &tape).outcome().done();
    let said = restore(&scratch, &tape, ramfs.path()).arg("--force").outcome().done();
    assert!(said.mentions("1 LUN of these restored as plain files"), "{said}");
    run_cmp(&original, &ramfs.path().join("lun"));
}

/// R-DATA-8, R-RESTORE-12: files take the alignment of the volume they are restored to, which keeps its own.
fn alignment() {
    let scratch = Scratch::new("luns-alignment");
    let source = volume(&scratch, "volume");
    fs::create_dir(source.path().join("sub")).expect("made");
    fs::write(source.path().join("sub/vmdk"), "aligned").expect("written");
    let value = |path: PathBuf| {
        let mut value = [0; 16];
        lgetxattr(&path, ALIGNMENT, &mut value[..]).ok().map(|len| value[..len].to_vec())
    };
    let set = |path: &Path, to: &[u8]| setxattr(path, ALIGNMENT, to, XattrFlags::empty()).expect("set");
    let (seven, eight) = ([0, 0, 0, 7], [0, 0, 0, 8]);
    set(source.path(), &seven);
    set(&source.path().join("sub/vmdk"), &seven);
    let tape = scratch.join("tape");
    let _ = dump(&scratch, source.path(), &tape).outcome().done();

    let fresh = volume(&scratch, "fresh");
    let _ = restore(&scratch, &tape, fresh.path()).outcome().done();
    let found = (value(fresh.path().into()), value(fresh.path().join("sub/vmdk")));
    assert_eq!(found, (Some(seven.to_vec()), Some(seven.to_vec())), "both from the dump");

    let other = volume(&scratch, "other");
    set(other.path(), &eight);
    let _ = restore(&scratch, &tape, other.path()).outcome().done();
    let found = (value(other.path().into()), value(other.path().join("sub/vmdk")));
    assert_eq!(found, (Some(eight.to_vec()), Some(eight.to_vec())), "that of the volume");
    let below = other.path().join("deep/er");
    fs::create_dir_all(&below).expect("made");
    let _ = restore(&scratch, &tape, &below).outcome().done();
    let found = (value(below.clone()), value(below.join("sub/vmdk")));
    assert_eq!(found, (None, Some(eight.to_vec())), "a directory is no volume");

    let none = volume(&scratch, "none");
    let below = none.path().join("below");
    let said = restore(&scratch, &tape, &below).outcome().done();
    assert_eq!(value(below.join("sub/vmdk")), None);
    assert!(said.mentions("1 file lost the alignment"), "{said}");
}
