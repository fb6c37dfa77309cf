use super::*;
use tapedump_core::limits::SYMLINK_LEN_MAX;

#[test]
fn paths_come_from_names_and_parents() {
    let mut tree = Tree::default();
    let mut seen = Vec::new();
    let mut looked_up = 0;
    for (parent, name, directory) in [
        (2, "a", Some(10)),
        (10, "b", Some(11)),
        (11, "c", None),
        (10, "d", None),
        (2, "e", None),
        (20, "f", Some(21)),
        (21, "g", None),
        (20, "h", None),
        (30, "i", None),
    ] {
        let look_up = || {
            looked_up += 1;
            (parent == 20).then(|| b"lost+found/20".to_vec())
        };
        let path = tree.place(Ino(parent), name.as_bytes(), look_up).to_vec();
        seen.push(String::from_utf8(path).unwrap());
        if let Some(ino) = directory {
            tree.enter(Ino(ino));
        }
    }
    let orphans = ["lost+found/20/f", "lost+found/20/f/g", "lost+found/20/h", "inode 30/i"];
    assert_eq!(seen[..5], ["a", "a/b", "a/b/c", "a/d", "e"]);
    assert_eq!(seen[5..], orphans);
    assert_eq!(looked_up, 2);
}

#[test]
fn modes() {
    for (mode, text) in [
        (0o100_644, "-rw-r--r--"),
        (0o040_755, "drwxr-xr-x"),
        (0o120_777, "lrwxrwxrwx"),
        (0o104_755, "-rwsr-xr-x"),
        (0o102_644, "-rw-r-Sr--"),
        (0o041_777, "drwxrwxrwt"),
        (0o041_770, "drwxrwx--T"),
        (0o020_600, "crw-------"),
        (0o060_600, "brw-------"),
        (0o010_600, "prw-------"),
        (0o140_600, "srw-------"),
    ] {
        assert_eq!(mode_text(mode), text);
    }
}

#[test]
fn times() {
    let time = |secs, nanos| Timestamp { secs, nanos };
    assert_eq!(exact(time(1_795_301_772, 5)), "2026-11-21T22:56:12.000000005Z");
    assert_eq!(utc(-1), "1969-12-31 23:59:59Z");
    assert_eq!(utc(-2_208_988_800), "1900-01-01 00:00:00Z");
}

fn kept(mode: u16) -> Kept {
    Kept {
        mode,
        links: 2,
        uid: 1000,
        gid: u32::MAX,
        size: u64::MAX,
        modified: Timestamp { secs: i64::MIN, nanos: 999_999_999 },
        device: (8, 1),
        dos: DosAttributes::default(),
    }
}

#[test]
fn the_table_keeps_what_it_is_given() {
    let mut table = Table { file: tempfile::tempfile().unwrap(), links_end: 0 };
    let link = vec![b'x'; SYMLINK_LEN_MAX];
    table.put(Ino(2), &kept(0o040_755), b"").unwrap();
    table.put(Ino::LAST, &kept(0o120_777), &link).unwrap();
    table.put(Ino(5), &kept(0o120_777), b"target").unwrap();
    assert_eq!(table.get(Ino(2)).unwrap(), Some((kept(0o040_755), Vec::new())));
    assert_eq!(table.get(Ino::LAST).unwrap(), Some((kept(0o120_777), link)));
    assert_eq!(table.get(Ino(5)).unwrap(), Some((kept(0o120_777), b"target".to_vec())));
    assert_eq!(table.get(Ino(3)).unwrap(), None);
    let created = Some(Timestamp { secs: -1, nanos: 999_999_900 });
    for dos in [
        DosAttributes { bits: Some(0), created: None },
        DosAttributes { bits: None, created },
        DosAttributes { bits: Some(u32::MAX), created },
    ] {
        let kept = Kept { dos, ..kept(0o100_644) };
        table.put(Ino(6), &kept, b"").unwrap();
        assert_eq!(table.get(Ino(6)).unwrap(), Some((kept, Vec::new())));
        assert_eq!(table.dos(Ino(6)).unwrap(), dos);
        // What stands apart comes before the attributes of a directory, and behind those of a file.
        table.put_dos(Ino(7), &dos).unwrap();
        assert_eq!((table.get(Ino(7)).unwrap(), table.dos(Ino(7)).unwrap()), (None, dos));
        table.put_dos(Ino(5), &dos).unwrap();
        let with_dos = table.get(Ino(5)).unwrap().expect("it is there");
        assert_eq!((with_dos.0.dos, with_dos.1), (dos, b"target".to_vec()));
    }
}

#[test]
fn dos_attributes_are_shown() {
    let mut object = kept(0o100_644);
    object.dos = DosAttributes { bits: Some(0x26), created: None };
    let line = long_line(b"a", Some((&object, b"")));
    assert!(line.ends_with("Z a  [DOS: -hsa]"), "{line}");
    assert_eq!(serde_json::to_value(attributes_json(&object, b"")).unwrap()["dos_attributes"], "hsa");
    object.dos.created = Some(Timestamp { secs: 0, nanos: 100 });
    object.dos.bits = Some(1);
    let line = long_line(b"a", Some((&object, b"")));
    assert!(line.ends_with("a  [DOS: r---, created 1970-01-01 00:00:00Z]"), "{line}");
    let json = serde_json::to_value(attributes_json(&object, b"")).unwrap();
    assert_eq!(json["dos_created"], "1970-01-01T00:00:00.000000100Z");
}

#[test]
fn lines_escape_and_json_does_not() {
    let mut object = kept(0o120_777);
    object.modified = Timestamp { secs: 0, nanos: 0 };
    object.size = 3;
    let line = long_line(b"a\nb", Some((&object, b"\xff")));
    assert_eq!(line, "lrwxrwxrwx    2     1000 4294967295            3 1970-01-01 00:00:00Z a\\nb -> \\xff");
    let json = serde_json::to_value(attributes_json(&object, b"\xff")).unwrap();
    assert_eq!(json["target_bytes"], "ff");
    assert_eq!(json["type"], "symlink");
    assert_eq!(json["mode"], "0777");
    assert_eq!(json["modified"], "1970-01-01T00:00:00.000000000Z");
    assert!(json.get("device").is_none());
}
