//! ACLs of all kinds, and what Samba keeps of Windows' files: how much of them a dump takes, and what becomes of them on
//! targets that can hold less. The values are Samba's own (`tests/fixtures/samba`).

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{XattrFlags, lgetxattr, lremovexattr, lsetxattr};
use serde_json::Value;
use tapedump_tests::cli::{Outcome, code};
use tapedump_tests::needs::Need;
use tapedump_tests::product::{dump, list, restore, verify};
use tapedump_tests::random::Random;
use tapedump_tests::scratch::{Mount, Scratch, make_xfs};
use tapedump_tests::tree::{Compare, Tree};

use crate::Case;
use crate::increments::{check, dump_level};

const ROOT: &[Need] = &[Need::Root];
const XFS: &[Need] = &[Need::Root, Need::Loop, Need::MKFS_XFS];

pub(crate) const CASES: &[Case] = &[
    Case { name: "posix_acls_of_1024_entries_and_more", needs: XFS, run: posix_acls },
    Case { name: "nt_descriptors_of_1024_entries_and_more", needs: ROOT, run: other_acls },
    Case { name: "garbage_travels_as_it_is", needs: ROOT, run: garbage },
    Case { name: "a_target_that_takes_fewer_entries", needs: ROOT, run: fewer_entries },
    Case { name: "without_acls", needs: ROOT, run: without_acls },
    Case { name: "what_samba_keeps_goes_through_a_chain", needs: ROOT, run: samba_chain },
    Case { name: "a_target_without_extended_attributes", needs: ROOT, run: without_attributes },
];

const ACCESS: &str = "system.posix_acl_access";
const DEFAULT: &str = "system.posix_acl_default";
const NT: &str = "security.NTACL";
const DOS: &str = "user.DOSATTRIB";

const NT_VALUES: [&[u8]; 4] = [
    include_bytes!("../fixtures/samba/ntacl-1.bin"),
    include_bytes!("../fixtures/samba/ntacl-2.bin"),
    include_bytes!("../fixtures/samba/ntacl-3.bin"),
    include_bytes!("../fixtures/samba/ntacl-4.bin"),
];
const DOS_VALUES: [&[u8]; 5] = [
    include_bytes!("../fixtures/samba/dosattrib-1.bin"),
    include_bytes!("../fixtures/samba/dosattrib-2.bin"),
    include_bytes!("../fixtures/samba/dosattrib-3.bin"),
    include_bytes!("../fixtures/samba/dosattrib-4.bin"),
    include_bytes!("../fixtures/samba/dosattrib-5.bin"),
];

fn set(path: &Path, name: &str, value: &[u8]) {
    lsetxattr(path, name, value, XattrFlags::empty()).unwrap_or_else(|errno| panic!("{name}: {errno}"));
}

fn get(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = Vec::with_capacity(1 << 16);
    lgetxattr(path, OsStr::new(name), rustix::buffer::spare_capacity(&mut value)).ok()?;
    Some(value)
}

fn file(directory: &Path, name: &str, content: &str) -> PathBuf {
    let path = directory.join(name);
    fs::write(&path, content).expect("written");
    fs::set_permissions(&path, Permissions::from_mode(0o640)).expect("own file");
    path
}

/// A POSIX ACL as the kernel takes it, of so many entries.
fn posix(entries: u32) -> Vec<u8> {
    let mut value = 2_u32.to_le_bytes().to_vec();
    let mut entry = |tag: u16, permissions: u16, id: u32| {
        value.extend(tag.to_le_bytes());
        value.extend(permissions.to_le_bytes());
        value.extend(id.to_le_bytes());
    };
    entry(0x01, 6, u32::MAX);
    (0..entries - 4).for_each(|user| entry(0x02, 4, 10_000 + user));
    entry(0x04, 4, u32::MAX);
    entry(0x10, 4, u32::MAX);
    entry(0x20, 0, u32::MAX);
    value
}

/// Samba's descriptor of version 1, with the last entry of its DACL repeated until it has so many.
fn nt(entries: usize) -> Vec<u8> {
    const DACL: usize = 0x70;
    const ENTRY_LEN: usize = 36;
    let mut value = NT_VALUES[0].to_vec();
    let last = value[value.len() - ENTRY_LEN..].to_vec();
    (2..entries).for_each(|_| value.extend(&last));
    let len = u16::try_from(8 + ENTRY_LEN * entries).expect("a list of less than 64 KiB");
    value[DACL + 2..DACL + 4].copy_from_slice(&len.to_le_bytes());
    value[DACL + 4..DACL + 8].copy_from_slice(&(entries as u32).to_le_bytes());
    value
}

/// The command names the file with the number of its entries, and no other one.
fn refuses(outcome: Outcome, files: &[(&str, &str)]) -> Outcome {
    let mut outcome = outcome.expect(code::INCOMPLETE);
    for (name, entries) in files {
        let told = outcome.err().lines().any(|line| {
            line.contains(name) && line.contains(&format!("has {entries} entries")) && line.contains("1024")
        });
        assert!(told, "{name}:\n{outcome}");
    }
    outcome = outcome.says("the dump is incomplete");
    assert_eq!(outcome.err().matches("entries, and a dump takes").count(), files.len(), "{outcome}");
    outcome
}

/// R-DATA-3 with the ACLs of Linux: in a level 0, and again in a level 1 that takes what the level 0 did not.
fn posix_acls() {
    let scratch = Scratch::in_memory("acls-posix");
    let image = scratch.join("image");
    make_xfs(&image);
    let mount = Mount::image(&image, &scratch.directory("mounted"), "rw");
    let tree = mount.path();
    set(&file(tree, "most", "content"), ACCESS, &posix(1024));
    set(&file(tree, "more", "content"), ACCESS, &posix(1025));
    let directory = tree.join("directory");
    fs::create_dir(&directory).expect("made");
    set(&directory, DEFAULT, &posix(1026));
    set(&directory, "user.note", b"stays");
    let tapes = ["level0", "level1"].map(|name| scratch.join(name));
    let all = [("more", "1025"), ("directory", "1026")];
    let _ = refuses(dump_level(&scratch, tree, 0, &tapes[0]).outcome(), &all);
    let _ = refuses(dump_level(&scratch, tree, 1, &tapes[1]).outcome(), &all);
    let to = tree.join("restored");
    for tape in &tapes {
        let _ = restore(&scratch, tape, &to).outcome().expect(code::INCOMPLETE).says("ACLs or extended");
        assert_eq!(get(&to.join("most"), ACCESS).expect("an ACL"), posix(1024));
        assert_eq!(get(&to.join("more"), ACCESS), None);
        assert_eq!(fs::metadata(to.join("more")).expect("there").permissions().mode() & 0o7777, 0o640);
        assert_eq!(fs::read(to.join("more")).expect("there"), b"content");
        assert_eq!(get(&to.join("directory"), DEFAULT), None);
        assert_eq!(get(&to.join("directory"), "user.note").as_deref(), Some(&b"stays"[..]));
        fs::remove_dir_all(&to).expect("own directory");
    }
    // What is short enough again is dumped, and nothing is missing any more.
    set(&tree.join("more"), ACCESS, &posix(5));
    lremovexattr(&directory, DEFAULT).expect("removed");
    let tape = scratch.join("level2");
    let _ = dump_level(&scratch, tree, 2, &tape).outcome().done();
    let _ = restore(&scratch, &tape, &to).outcome().done();
    assert_eq!(get(&to.join("more"), ACCESS).expect("an ACL"), posix(5));
}

/// R-DATA-3 with the descriptors of Samba, in files with content and without (these travel in stage V).
fn other_acls() {
    let scratch = Scratch::in_memory("acls-others");
    let mount = Mount::tmpfs(&scratch.directory("mounted"), "size=400m");
    let tree = mount.path();
    for (name, entries) in [("most", 1024), ("more", 1025), ("far more", 1800)] {
        set(&file(tree, name, "content"), NT, &nt(entries));
        set(&file(tree, &format!("{name}, empty"), ""), NT, &nt(entries));
    }
    let tape = scratch.join("tape");
    let refused =
        [("more", "1025"), ("more, empty", "1025"), ("far more", "1800"), ("far more, empty", "1800")];
    let _ = refuses(dump(&scratch, tree, &tape).outcome(), &refused).says("NT security descriptor");
    let to = mount.path().join("restored");
    let _ = restore(&scratch, &tape, &to).outcome().expect(code::INCOMPLETE);
    for (name, entries) in
        [("most", Some(1024)), ("most, empty", Some(1024)), ("more", None), ("far more, empty", None)]
    {
        assert_eq!(get(&to.join(name), NT), entries.map(nt), "{name}");
    }
    // One of them alone, straight from its place.
    let alone = mount.path().join("alone");
    let _ = restore(&scratch, &tape, &alone).arg("most, empty").outcome().done();
    assert_eq!(get(&alone.join("most, empty"), NT), Some(nt(1024)));
}

/// R-DATA-3: what is no descriptor has no entries, and is dumped byte for byte.
fn garbage() {
    let scratch = Scratch::in_memory("acls-garbage");
    let mount = Mount::tmpfs(&scratch.directory("mounted"), "size=400m");
    let tree = mount.path().join("tree");
    fs::create_dir(&tree).expect("made");
    let mut random = Random::new(5);
    for index in 0..200 {
        let path = file(&tree, &format!("damaged {index}"), "content");
        let mut value = if index % 2 == 0 { nt(1500) } else { NT_VALUES[index % 4].to_vec() };
        let at = random.below(200.min(value.len() as u64)) as usize;
        value[at] ^= 1 << random.below(8);
        value.truncate(value.len() - random.below(3) as usize);
        // A value that is one all the same is refused, as it must be; that is not what is tested here.
        let list = u32::from_le_bytes(value[0x74..0x78].try_into().expect("long enough"));
        if index % 2 == 0 && list == 1500 && value.len() == nt(1500).len() {
            value.pop();
        }
        set(&path, NT, &value);
    }
    for (name, value) in [("zeros", vec![0; 60_000]), ("ones", vec![0xff; 60_000]), ("short", vec![4])] {
        set(&file(&tree, name, "content"), NT, &value);
        set(&file(&tree, &format!("dos {name}"), "content"), DOS, &value);
    }
    let tape = scratch.join("tape");
    let _ = dump(&scratch, &tree, &tape).outcome().done();
    let to = mount.path().join("restored");
    let restored = restore(&scratch, &tape, &to).arg("--target-capabilities").arg("aces=1400");
    let _ = restored.outcome().is_orderly().expect("an orderly end");
    let _ = restore(&scratch, &tape, &to).outcome().done();
    Compare::EXACT.assert_equal(&Tree::read(&tree).expect("tree"), &Tree::read(&to).expect("tree"));
}

/// R-RESTORE-10.
fn fewer_entries() {
    let scratch = Scratch::in_memory("acls-fewer");
    let mount = Mount::tmpfs(&scratch.directory("mounted"), "size=400m");
    let tree = mount.path().join("tree");
    fs::create_dir(&tree).expect("made");
    for (name, entries) in [("three", 3), ("four", 4), ("hundred", 100)] {
        set(&file(&tree, name, "content"), NT, &nt(entries));
    }
    set(&file(&tree, "posix", "content"), ACCESS, &posix(6));
    let directory = tree.join("directory");
    fs::create_dir(&directory).expect("made");
    set(&directory, DEFAULT, &posix(5));
    set(&directory, "user.note", b"stays");
    let tape = scratch.join("tape");
    let _ = dump(&scratch, &tree, &tape).outcome().done();
    let to = mount.path().join("restored");
    let outcome = restore(&scratch, &tape, &to).args(["--target-capabilities", "aces=4"]).outcome();
    let outcome = outcome
        .expect(code::INCOMPLETE)
        .says("hundred: its NT security descriptor has 100 entries, more than the target takes")
        .says("posix: its access ACL has 6 entries")
        .says("directory: its default ACL has 5 entries")
        .says("more than the target takes: 3");
    assert_eq!(outcome.err().matches(" entries, more").count(), 3, "{outcome}");
    assert_eq!(get(&to.join("three"), NT), Some(nt(3)));
    assert_eq!(get(&to.join("four"), NT), Some(nt(4)));
    assert_eq!(get(&to.join("hundred"), NT), None);
    assert_eq!(get(&to.join("posix"), ACCESS), None);
    assert_eq!(fs::metadata(to.join("posix")).expect("there").permissions().mode() & 0o7777, 0o640);
    assert_eq!(get(&to.join("directory"), DEFAULT), None);
    assert_eq!(get(&to.join("directory"), "user.note").as_deref(), Some(&b"stays"[..]));
    let wrong = restore(&scratch, &tape, &to).args(["--target-capabilities", "aces=few"]);
    let _ = wrong.outcome().expect(code::USAGE).says("'few' is no number of ACL entries");
}

/// `--no-acls` of a dump and of a restore (NO_ACLS, EXTRACT_ACL).
fn without_acls() {
    let scratch = Scratch::in_memory("acls-none");
    let mount = Mount::tmpfs(&scratch.directory("mounted"), "size=400m");
    let tree = mount.path().join("tree");
    fs::create_dir(&tree).expect("made");
    let with_all = |name: &str, content: &str| {
        let path = file(&tree, name, content);
        set(&path, NT, &nt(1200));
        set(&path, ACCESS, &posix(6));
        set(&path, DOS, DOS_VALUES[4]);
        set(&path, "user.DosStream.a:$DATA", b"a stream");
    };
    with_all("file", "content");
    with_all("empty", "");
    set(&tree, DEFAULT, &posix(5));
    let tape = scratch.join("tape");
    let _ = dump(&scratch, &tree, &tape).arg("--no-acls").outcome().done();
    let check = |to: &Path| {
        for name in ["file", "empty"] {
            assert_eq!(get(&to.join(name), NT), None);
            assert_eq!(get(&to.join(name), ACCESS), None);
            assert_eq!(get(&to.join(name), DOS).as_deref(), Some(DOS_VALUES[4]));
            assert_eq!(get(&to.join(name), "user.DosStream.a:$DATA").as_deref(), Some(&b"a stream"[..]));
        }
        assert_eq!(get(to, DEFAULT), None);
    };
    let to = mount.path().join("restored");
    let _ = restore(&scratch, &tape, &to).outcome().done();
    check(&to);
    for name in ["file", "empty"] {
        set(&tree.join(name), NT, &nt(20));
    }
    let tape = scratch.join("with acls");
    let _ = dump(&scratch, &tree, &tape).outcome().done();
    let to = mount.path().join("restored without");
    let _ = restore(&scratch, &tape, &to).arg("--no-acls").outcome().done();
    check(&to);
    let to = mount.path().join("restored with");
    let _ = restore(&scratch, &tape, &to).outcome().done();
    assert_eq!(get(&to.join("empty"), NT), Some(nt(20)));
}

/// R-DATA-2: of files whose attributes are with them and of those in stage V, and of directories.
fn dos_attributes_are_listed(scratch: &Scratch, tape: &Path) {
    const CREATED: &str = "2019-04-17 18:40:00Z";
    let long = list(scratch, tape).arg("--long").outcome().done().out();
    let json = list(scratch, tape).arg("--json").outcome().done().out();
    let shown = |path: &str| {
        let end = long.lines().find_map(|line| line.split_once(&format!("Z {path}")));
        end.unwrap_or_else(|| panic!("{path}: {long}")).1.to_owned()
    };
    let object = |path: &str| -> Value {
        let mut objects = json.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        objects.find(|object| object["path"] == path).unwrap_or_else(|| panic!("{path}: {json}"))
    };
    for path in ["dos 0", "dos 1", "dos 2", "dos 3", "dos 4", "shared"] {
        if path != "shared" {
            assert_eq!(shown(path), format!("  [DOS: rh-a, created {CREATED}]"));
        }
        let object = object(path);
        let created = CREATED.replace(' ', "T").replace('Z', ".000000000Z");
        assert_eq!((&object["dos_attributes"], &object["dos_created"]), (&"rha".into(), &created.into()));
    }
    assert!(long.contains(&format!("Z shared  [DOS: rh-a, created {CREATED}]")), "{long}");
    assert_eq!(shown("shared/streams"), "  [DOS: -hs-]");
    let streams = object("shared/streams");
    assert_eq!((&streams["dos_attributes"], streams.get("dos_created")), (&"hs".into(), None));
    assert_eq!((shown("nt 1").as_str(), object("nt 1").get("dos_attributes")), ("", None));
}

/// R-DATA-2, R-DATA-9: descriptors, DOS attributes and streams, through levels 0, 1 and 2, one path of them, and a check.
fn samba_chain() {
    let scratch = Scratch::in_memory("acls-chain");
    let mount = Mount::tmpfs(&scratch.directory("mounted"), "size=400m");
    let tree = mount.path().join("tree");
    fs::create_dir(&tree).expect("made");
    let mut random = Random::new(9);
    for (index, value) in NT_VALUES.iter().enumerate() {
        set(&file(&tree, &format!("nt {index}"), "content"), NT, value);
    }
    for (index, value) in DOS_VALUES.iter().enumerate() {
        set(&file(&tree, &format!("dos {index}"), ""), DOS, value);
    }
    let shared = tree.join("shared");
    fs::create_dir(&shared).expect("made");
    set(&shared, NT, NT_VALUES[3]);
    set(&shared, DOS, DOS_VALUES[4]);
    let streams = file(&shared, "streams", "content");
    set(&streams, "user.DosStream.Zone.Identifier:$DATA", b"[ZoneTransfer]\r\nZoneId=3\r\n\0");
    set(&streams, "user.DosStream.\u{fc}ber:$DATA", &random.bytes(60_000));
    set(&streams, "user.DosStream.:$DATA", b"");
    set(&streams, DOS, b"0x6\0");
    let mut made = Vec::new();
    for level in 0..3 {
        let tape = scratch.join(&format!("level{level}"));
        let _ = dump_level(&scratch, &tree, level, &tape).outcome().done();
        made.push((tape, Tree::read(&tree).expect("tree")));
        set(&tree.join("nt 0"), NT, &nt(3 + level as usize));
        lremovexattr(tree.join(format!("dos {level}")), DOS).expect("removed");
        set(&streams, "user.DosStream.Zone.Identifier:$DATA", format!("level {level}").as_bytes());
        set(&file(&shared, &format!("new {level}"), ""), DOS, DOS_VALUES[level as usize]);
    }
    for (tape, expected) in &made {
        check(&scratch, tape, expected, "what Samba keeps");
    }
    dos_attributes_are_listed(&scratch, &made[0].0);
    let (tape, expected) = made.last().expect("dumps");
    let to = scratch.directory("one");
    let _ = restore(&scratch, tape, &to).arg("shared/streams").outcome().done();
    let found = Tree::read(&to).expect("tree");
    assert_eq!(found.at(b"shared/streams").xattrs, expected.at(b"shared/streams").xattrs);
    let tape = scratch.join("again");
    let _ = dump(&scratch, &tree, &tape).outcome().done();
    let against = |expected| verify(&scratch, &tape).arg("--against").arg(&tree).outcome().expect(expected);
    let _ = against(code::DONE);
    set(&shared.join("streams"), "user.DosStream.Zone.Identifier:$DATA", b"another");
    set(&tree.join("nt 1"), NT, &nt(9));
    let differs = against(code::INCOMPLETE);
    let _ =
        differs.says("another stream user.DosStream.Zone.Identifier").says("another NT security descriptor");
}

/// What the destination's file system cannot hold is told once for each kind, with how many more there are.
fn without_attributes() {
    let scratch = Scratch::in_memory("acls-ramfs");
    let source = Mount::tmpfs(&scratch.directory("mounted"), "size=400m");
    for index in 0..7 {
        let path = file(source.path(), &format!("file {index}"), "content");
        set(&path, NT, NT_VALUES[3]);
        set(&path, ACCESS, &posix(5));
        set(&path, "user.note", b"value");
        set(&path, "user.DosStream.a:$DATA", b"a stream");
    }
    set(source.path(), DOS, DOS_VALUES[4]);
    let tape = scratch.join("tape");
    let _ = dump(&scratch, source.path(), &tape).outcome().done();
    let target = Mount::ramfs(&scratch.directory("without"));
    let outcome = restore(&scratch, &tape, target.path()).arg("--force").outcome().expect(code::INCOMPLETE);
    for (one, more) in [
        (
            "NT security descriptor not restored",
            "6 more of these are not listed: NT security descriptors that",
        ),
        ("access ACL not restored", "6 more of these are not listed: access ACLs that"),
        (
            "extended attribute user.note not restored",
            "6 more of these are not listed: extended attributes that",
        ),
        ("stream user.DosStream.a:$DATA not restored", "6 more of these are not listed: streams that"),
    ] {
        assert_eq!(outcome.err().matches(one).count(), 1, "{one}:\n{outcome}");
        assert_eq!(outcome.err().matches(more).count(), 1, "{more}:\n{outcome}");
    }
    let outcome = outcome.says("DOS attributes not restored").says("the restore is incomplete");
    assert!(!outcome.mentions("more of these are not listed: DOS"), "{outcome}");
    for index in 0..7 {
        let path = target.path().join(format!("file {index}"));
        assert_eq!(fs::read(&path).expect("there"), b"content");
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o7777, 0o640);
    }
}
