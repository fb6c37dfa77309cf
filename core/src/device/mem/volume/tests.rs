extern crate std;

use std::string::{String, ToString};
use std::vec;
use std::vec::Vec;

use super::*;
use crate::device::volume::{
    Class, DeviceNumber, Difference, Place, Property, Room, SourceVolume, TargetVolume,
};
use crate::units::Timestamp;

const ACL: PropertyKind = PropertyKind::PosixAccessAcl;
const XATTR: PropertyKind = PropertyKind::Xattr;

fn at(secs: i64, nanos: u32) -> Timestamp {
    Timestamp { secs, nanos }
}

/// Attributes in which every field differs from the default and from the others'.
fn attributes(kind: Kind, seed: u32) -> Attributes {
    let mut attributes = Attributes::new(kind);
    attributes.permissions = 0o4000 | (seed as u16 & 0o777);
    attributes.uid = 70_000 + seed;
    attributes.gid = 80_000 + seed;
    attributes.accessed = at(i64::from(seed) * 1000, 1);
    attributes.modified = at(-5, 999_999_999);
    attributes.changed = at(7, 7);
    attributes.born = Some(at(3, 123_456_789));
    if matches!(kind, Kind::CharDevice | Kind::BlockDevice) {
        attributes.device = DeviceNumber { major: 300, minor: seed };
    }
    attributes
}

/// A tree with every kind of object, a hole, hard links and properties.
fn fill(volume: &mut MemVolume<'_>) {
    let sub = volume.add_directory(Ino::ROOT, b"sub", &attributes(Kind::Directory, 1)).unwrap();
    let deep = volume.add_directory(sub, b"deep", &attributes(Kind::Directory, 2)).unwrap();
    let file = volume.add_file(deep, b"file", &attributes(Kind::File, 3), b"content").unwrap();
    volume.set_property(file, ACL, b"", b"\x02\0\0\0acl").unwrap();
    volume.set_property(file, XATTR, b"user.note", b"a note").unwrap();
    volume.set_property(file, XATTR, b"user.empty", b"").unwrap();
    volume.add_link(file, Ino::ROOT, b"again").unwrap();
    let holes = volume.add_file(Ino::ROOT, b"holes", &attributes(Kind::File, 4), b"").unwrap();
    volume.write_data(holes, 10_000, &[1; 600]).unwrap();
    volume.write_data(holes, 1 << 40, b"far").unwrap();
    volume.set_size(holes, 1 << 41).unwrap();
    volume.add_symlink(sub, b"link", &attributes(Kind::Symlink, 5), b"../holes").unwrap();
    let nodes = [Kind::Fifo, Kind::CharDevice, Kind::BlockDevice, Kind::Socket];
    for (index, kind) in nodes.into_iter().enumerate() {
        volume.add_node(deep, &[b'0' + index as u8], &attributes(kind, 6 + index as u32)).unwrap();
    }
}

/// Moves everything from one volume to the other through the two contracts, as a dump and a restore do, with
/// numbers that are not the target's own.
fn copy(source: &mut MemVolume<'_>, target: &mut MemVolume<'_>) {
    let dumped = |ino: Ino| if ino == Ino::ROOT { ino } else { Ino(ino.0 * 1000 + 7) };
    let mut name = [0; crate::limits::NAME_LEN_MAX];
    let mut others: Vec<(Ino, Ino, Vec<u8>)> = Vec::new();
    let mut from = Ino::FIRST;
    while let Some(ino) = source.next_inode(from, Class::Directories).unwrap() {
        source.open(ino).unwrap();
        while let Some(entry) = source.next_entry(&mut name).unwrap() {
            let name = &name[..entry.name_len];
            if source.attributes(entry.ino).unwrap().kind == Kind::Directory {
                target.make_directory(Place { parent: dumped(ino), name }, dumped(entry.ino)).unwrap();
            }
            others.push((entry.ino, ino, name.to_vec()));
        }
        assert_eq!(source.close(), Ok(true));
        from = ino.next();
    }
    others.push((Ino::ROOT, Ino::ROOT, Vec::new()));
    let mut made: Vec<(Ino, Ino, Vec<u8>)> = Vec::new();
    for (ino, parent, name) in others {
        let place = Place { parent: dumped(parent), name: &name };
        if let Some((_, parent, first)) = made.iter().find(|(other, ..)| *other == ino) {
            let existing = Place { parent: dumped(*parent), name: first };
            target.link(existing, place, dumped(ino)).unwrap();
            continue;
        }
        let attributes = source.open(ino).unwrap();
        if attributes.kind == Kind::Directory {
            target.reopen(place, dumped(ino)).unwrap();
        } else {
            target.create(place, dumped(ino), &attributes).unwrap();
            copy_data(source, target, attributes.kind);
            made.push((ino, parent, name));
        }
        copy_properties(source, target);
        target.finish(&attributes).unwrap();
        source.close().unwrap();
    }
    assert_eq!(target.poll_failure(), None);
}

fn copy_data(source: &mut MemVolume<'_>, target: &mut MemVolume<'_>, kind: Kind) {
    let mut offset = 0;
    while let Some((start, end)) = if kind.has_data() { source.next_data(offset).unwrap() } else { None } {
        offset = start;
        while offset < end {
            let mut buf = vec![0; (end - offset).min(100) as usize];
            assert_eq!(source.read(offset, &mut buf), Ok(buf.len()));
            target.write(offset, &buf).unwrap();
            offset += buf.len() as u64;
        }
    }
}

fn copy_properties(source: &mut MemVolume<'_>, target: &mut MemVolume<'_>) {
    let mut name = [0; crate::limits::NAME_LEN_MAX];
    for index in 0.. {
        let Some(property) = source.property(index, &mut name).unwrap() else { return };
        target.begin_property(property.kind, &name[..property.name_len], property.value_len).unwrap();
        for offset in (0..property.value_len).step_by(4) {
            let mut piece = [0; 4];
            let len = source.read_property(index, offset, &mut piece).unwrap();
            target.write_property(&piece[..len]).unwrap();
        }
    }
}

/// Runs `check` with a filled volume and an equal one that came through the contracts.
fn with_pair(check: impl FnOnce(&mut MemVolume<'_>, &mut MemVolume<'_>)) {
    let (mut nodes_a, mut nodes_b) = ([Node::EMPTY; 16], [Node::EMPTY; 16]);
    let (mut arena_a, mut arena_b) = ([0xa5; 4096], [0x5a; 4096]);
    let mut a = MemVolume::new(&mut nodes_a, &mut arena_a).unwrap();
    let mut b = MemVolume::new(&mut nodes_b, &mut arena_b).unwrap();
    fill(&mut a);
    copy(&mut a, &mut b);
    check(&mut a, &mut b);
}

#[test]
fn what_the_source_gives_the_target_keeps() {
    with_pair(|a, b| {
        assert_eq!(differs(a, b), None);
        assert_eq!(differs(b, a), None);
        assert_eq!(a.look_up(Ino::ROOT, b"again"), a.look_up(a.look_up(Ino(3), b"deep").unwrap(), b"file"));
        assert_eq!(b.attributes(b.look_up(Ino::ROOT, b"again").unwrap()).unwrap().links, 2);
        assert_eq!(b.attributes(Ino::ROOT).unwrap().links, 3);
    });
}

#[test]
fn every_difference_is_found_and_named() {
    type Change = fn(&mut MemVolume<'_>, Ino);
    let file_changes: [(Change, Difference); 12] = [
        (|v, ino| v.write_data(ino, 3, b"X").unwrap(), Difference::Data(3)),
        (|v, ino| v.set_size(ino, 6).unwrap(), Difference::Size),
        (|v, ino| v.set_size(ino, 8).unwrap(), Difference::Size),
        (|v, ino| change(v, ino, |of| of.permissions = 1), Difference::Permissions),
        (|v, ino| change(v, ino, |of| of.uid = 1), Difference::Owner),
        (|v, ino| change(v, ino, |of| of.gid = 1), Difference::Owner),
        (|v, ino| change(v, ino, |of| of.modified.nanos -= 1), Difference::Modified),
        (|v, ino| change(v, ino, |of| of.born = None), Difference::Modified),
        (|v, ino| v.set_property(ino, ACL, b"", b"other").unwrap(), Difference::Property(ACL)),
        (|v, ino| v.remove_property(ino, XATTR, b"user.empty").unwrap(), Difference::Property(XATTR)),
        (|v, ino| v.set_property(ino, XATTR, b"user.new", b"").unwrap(), Difference::Property(XATTR)),
        (|v, ino| v.add_link(ino, Ino::ROOT, b"third").unwrap(), Difference::Missing),
    ];
    for (change, expected) in file_changes {
        for in_a in [false, true] {
            with_pair(|a, b| {
                let ino = a.look_up(Ino::ROOT, b"again").unwrap();
                let counterpart = b.look_up(Ino::ROOT, b"again").unwrap();
                if in_a {
                    change(a, ino)
                } else {
                    change(b, counterpart)
                }
                let found = differs(a, b).map(|place| place.what);
                assert_eq!(found, Some(expected), "{in_a}");
            });
        }
    }
}

fn change(volume: &mut MemVolume<'_>, ino: Ino, change: impl FnOnce(&mut Attributes)) {
    let mut attributes = volume.attributes(ino).unwrap();
    change(&mut attributes);
    volume.set_attributes(ino, &attributes).unwrap();
}

#[test]
fn differences_of_names_kinds_devices_and_link_groups_are_found() {
    with_pair(|a, b| {
        let deep = b.look_up(Ino(3), b"deep").unwrap();
        b.remove(deep, b"2").unwrap();
        let missing = a.look_up(a.look_up(Ino(3), b"deep").unwrap(), b"2");
        assert_eq!(differs(a, b), Some(Where { a: missing, b: None, what: Difference::Missing }));
        assert_eq!(differs(b, a), Some(Where { a: None, b: missing, what: Difference::Missing }));
        let again = b.add_node(deep, b"2", &attributes(Kind::Fifo, 8)).unwrap();
        assert_eq!(differs(a, b), Some(Where { a: missing, b: Some(again), what: Difference::Kind }));
        b.remove(deep, b"2").unwrap();
        b.add_node(deep, b"2", &attributes(Kind::BlockDevice, 8)).unwrap();
        assert_eq!(differs(a, b), None);
        change(b, again, |of| of.device.minor += 1);
        assert_eq!(differs(a, b), Some(Where { a: missing, b: Some(again), what: Difference::Device }));
    });
    // The same names, contents and link counts, but other groups.
    let (mut nodes_a, mut nodes_b) = ([Node::EMPTY; 4], [Node::EMPTY; 4]);
    let (mut arena_a, mut arena_b) = ([0; 256], [0; 256]);
    let mut volumes = [
        MemVolume::new(&mut nodes_a, &mut arena_a).unwrap(),
        MemVolume::new(&mut nodes_b, &mut arena_b).unwrap(),
    ];
    for (volume, names) in volumes.iter_mut().zip([[b"a", b"b", b"c", b"d"], [b"a", b"c", b"b", b"d"]]) {
        for pair in names.chunks(2) {
            let ino = volume.add_file(Ino::ROOT, pair[0], &Attributes::new(Kind::File), b"").unwrap();
            volume.add_link(ino, Ino::ROOT, pair[1]).unwrap();
        }
    }
    assert_eq!(differs(&volumes[0], &volumes[1]).map(|place| place.what), Some(Difference::Link));
    assert_eq!(differs(&volumes[0], &volumes[0]), None);
}

#[test]
fn holes_equal_zeros_and_are_told() {
    with_pair(|a, b| {
        let holes = b.look_up(Ino::ROOT, b"holes").unwrap();
        b.write_data(holes, 20_000, &[0; 300]).unwrap();
        assert_eq!(differs(a, b), None);
        b.write_data(holes, 20_299, &[9]).unwrap();
        assert_eq!(differs(a, b).map(|place| place.what), Some(Difference::Data(20_299)));
        b.open(holes).unwrap();
        assert_eq!(b.next_data(0), Ok(Some((10_000, 10_600))));
        assert_eq!(b.next_data(10_599), Ok(Some((10_599, 10_600))));
        assert_eq!(b.next_data(10_600), Ok(Some((20_000, 20_300))));
        assert_eq!(b.next_data(20_300), Ok(Some((1 << 40, (1 << 40) + 3))));
        assert_eq!(b.next_data((1 << 40) + 3), Ok(None));
        let mut buf = [0xa5; 4];
        assert_eq!(b.read(9_998, &mut buf), Ok(4));
        assert_eq!(buf, [0, 0, 1, 1]);
        assert_eq!(b.read((1 << 41) - 2, &mut buf), Ok(2));
        assert_eq!(b.read(1 << 41, &mut buf), Ok(0));
        assert_eq!(b.read(u64::MAX, &mut buf), Ok(0));
    });
}

/// Random writes and cuts against a plain array.
#[test]
fn data_is_as_in_a_plain_array() {
    let mut state = 1_u64;
    let mut random = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    for round in 0..200 {
        let mut nodes = [Node::EMPTY; 2];
        let mut arena = [0; 8192];
        let mut volume = MemVolume::new(&mut nodes, &mut arena).unwrap();
        let ino = volume.add_file(Ino::ROOT, b"f", &Attributes::new(Kind::File), b"").unwrap();
        let (mut model, mut written) = (Vec::new(), Vec::new());
        for step in 1..40_u8 {
            if random(5) == 0 {
                let size = random(300) as usize;
                volume.set_size(ino, size as u64).unwrap();
                model.resize(size, 0);
                written.resize(size, false);
            } else {
                let (offset, len) = (random(250) as usize, random(50) as usize);
                volume.write_data(ino, offset as u64, &vec![step; len]).unwrap();
                if len > 0 {
                    model.resize(model.len().max(offset + len), 0);
                    written.resize(model.len(), false);
                    model[offset..offset + len].fill(step);
                    written[offset..offset + len].fill(true);
                }
            }
            let mut found = vec![0xa5; 400];
            let len = volume.read_data(ino, 0, &mut found).unwrap();
            assert_eq!(found[..len], model, "round {round} step {step}");
        }
        volume.open(ino).unwrap();
        for from in 0..model.len() {
            let start = (from..model.len()).find(|&at| written[at]);
            let end = start.map(|start| (start..model.len()).find(|&at| !written[at]).unwrap_or(model.len()));
            let expected = start.zip(end).map(|(start, end)| (start as u64, end as u64));
            assert_eq!(volume.next_data(from as u64), Ok(expected), "round {round} from {from}");
        }
    }
}

#[test]
fn numbers_follow_the_nodes_and_walks_are_ascending() {
    with_pair(|a, _| {
        let mut seen: Vec<u32> = Vec::new();
        for class in [Class::Directories, Class::Others] {
            let mut from = Ino(0);
            while let Some(ino) = a.next_inode(from, class).unwrap() {
                let attributes = a.open(ino).unwrap();
                assert_eq!(attributes.kind == Kind::Directory, class == Class::Directories);
                assert_eq!(attributes.real_ino, u64::from(ino.0));
                assert!(a.open(ino).is_err(), "one object at a time");
                a.close().unwrap();
                seen.push(ino.0);
                from = ino.next();
            }
        }
        assert_eq!(seen[..3], [2, 3, 4]);
        seen.sort_unstable();
        assert_eq!(seen, (2..12).collect::<Vec<_>>());
        assert_eq!(a.ino_limit(), Ok(Ino(12)));
        for (ino, parent) in [(2, 2), (3, 2), (4, 3)] {
            assert_eq!(a.parent(Ino(ino)), Ok(Ino(parent)));
        }
        let mut name = [0; crate::limits::NAME_LEN_MAX];
        assert_eq!(a.name_of(Ino(4), &mut name), Some((Ino(3), 4)));
        assert_eq!(&name[..4], b"deep");
        assert_eq!(a.name_of(Ino::ROOT, &mut name), None);
    });
}

#[test]
fn entries_and_properties_are_read_again() {
    with_pair(|a, _| {
        let mut name = [0; crate::limits::NAME_LEN_MAX];
        a.open(Ino::ROOT).unwrap();
        let mut names = |a: &mut MemVolume<'_>| {
            let mut names: Vec<String> = Vec::new();
            while let Some(entry) = a.next_entry(&mut name).unwrap() {
                names.push(String::from_utf8_lossy(&name[..entry.name_len]).to_string());
            }
            names
        };
        assert_eq!(names(a), ["sub", "again", "holes"]);
        assert_eq!(names(a).len(), 0);
        a.rewind_entries().unwrap();
        assert_eq!(names(a).len(), 3);
        a.close().unwrap();
        let file = a.look_up(Ino::ROOT, b"again").unwrap();
        a.open(file).unwrap();
        assert_eq!(a.property(1, &mut name), Ok(Some(Property { kind: XATTR, name_len: 9, value_len: 6 })));
        assert_eq!(a.property(3, &mut name), Ok(None));
        let mut value = [0; 8];
        assert_eq!(a.read_property(1, 2, &mut value), Ok(4));
        assert_eq!(&value[..4], b"note");
        assert_eq!(a.read_property(1, 6, &mut value), Ok(0));
        assert_eq!(a.read_property(3, 0, &mut value), Err(ErrorKind::NotFound));
        assert_eq!(a.next_entry(&mut name), Err(ErrorKind::Invalid));
        a.close().unwrap();
        assert_eq!(a.read(0, &mut value), Err(ErrorKind::Invalid));
        assert_eq!(a.close(), Err(ErrorKind::Invalid));
    });
}

// R-RESTORE-4
#[test]
fn a_file_is_replaced_and_a_directory_is_kept() {
    with_pair(|_, b| {
        let (file, directory) = (attributes(Kind::File, 1), attributes(Kind::Directory, 1));
        let again = Place { parent: Ino::ROOT, name: b"again" };
        let old = b.look_up(Ino::ROOT, b"again").unwrap();
        b.create(again, Ino(50), &file).unwrap();
        b.write(0, b"new").unwrap();
        b.finish(&Attributes { size: 5, ..file }).unwrap();
        let new = b.look_up(Ino::ROOT, b"again").unwrap();
        assert_ne!(old, new);
        assert_eq!(b.attributes(old).unwrap().links, 1, "the other name still stands for it");
        let mut buf = [1; 8];
        assert_eq!(b.read_data(new, 0, &mut buf), Ok(5));
        assert_eq!(&buf[..5], b"new\0\0");
        let sub = Place { parent: Ino::ROOT, name: b"sub" };
        assert_eq!(b.create(sub, Ino(51), &file), Err(ErrorKind::Exists));
        b.make_directory(sub, Ino(52)).unwrap();
        assert!(b.knows(Ino(52)) && !b.knows(Ino(50)) && !b.knows(Ino(53)));
        let deep = Place { parent: Ino(52), name: b"deep" };
        b.enter(deep, Ino(53)).unwrap();
        assert!(b.knows(Ino(53)));
        assert_eq!(b.make_directory(again, Ino(54)), Err(ErrorKind::Exists));
        assert_eq!(b.enter(again, Ino(54)), Err(ErrorKind::Changed));
        assert_eq!(b.create(again, Ino(55), &directory), Err(ErrorKind::Invalid));
        assert_eq!(b.enter(Place { parent: Ino(99), name: b"x" }, Ino(54)), Err(ErrorKind::NotFound));
    });
}

#[test]
fn an_abandoned_object_keeps_what_was_written_and_nothing_else() {
    let mut nodes = [Node::EMPTY; 2];
    let mut arena = [0; 256];
    let mut volume = MemVolume::new(&mut nodes, &mut arena).unwrap();
    let place = Place { parent: Ino::ROOT, name: b"part" };
    volume.create(place, Ino(9), &attributes(Kind::File, 3)).unwrap();
    volume.write(2, b"ab").unwrap();
    volume.begin_property(XATTR, b"user.x", 4).unwrap();
    volume.write_property(b"va").unwrap();
    assert_eq!(volume.write_property(b"lue"), Err(ErrorKind::Invalid), "more than announced");
    assert_eq!(volume.write(0, b"x"), Err(ErrorKind::Invalid), "the value comes first");
    volume.release();
    let ino = volume.made_for(Ino(9)).unwrap();
    let found = volume.attributes(ino).unwrap();
    assert_eq!((found.size, found.permissions, found.uid, found.modified), (4, 0o600, 0, at(0, 0)));
    assert_eq!(volume.property_value(ino, XATTR, b"user.x"), None);
    volume.reopen(place, Ino(9)).unwrap();
    volume.begin_property(XATTR, b"user.x", 4).unwrap();
    volume.write_property(b"va").unwrap();
    assert_eq!(volume.finish(&found), Err(ErrorKind::Invalid), "half a value");
    volume.reopen(place, Ino(9)).unwrap();
    volume.begin_property(XATTR, b"user.x", 4).unwrap();
    volume.write_property(b"va").unwrap();
    volume.write_property(b"lu").unwrap();
    volume.finish(&found).unwrap();
    assert_eq!(volume.property_value(ino, XATTR, b"user.x"), Some(&b"valu"[..]));
}

#[test]
fn full_is_told_and_a_removed_object_frees_its_node() {
    let mut nodes = [Node::EMPTY; 3];
    let mut arena = [0; 200];
    let mut volume = MemVolume::new(&mut nodes, &mut arena).unwrap();
    let file = Attributes::new(Kind::File);
    assert_eq!(volume.room(), Ok(Room { bytes: 200, inodes: 2 }));
    let a = volume.add_file(Ino::ROOT, b"a", &file, b"").unwrap();
    volume.add_file(Ino::ROOT, b"b", &file, b"").unwrap();
    assert_eq!(volume.add_file(Ino::ROOT, b"c", &file, b""), Err(ErrorKind::Full));
    assert_eq!(volume.create(Place { parent: Ino::ROOT, name: b"c" }, Ino(9), &file), Err(ErrorKind::Full));
    let generation = volume.attributes(a).unwrap().generation;
    volume.remove(Ino::ROOT, b"a").unwrap();
    assert_eq!(volume.room().unwrap().inodes, 1);
    let c = volume.add_file(Ino::ROOT, b"c", &file, b"").unwrap();
    assert_eq!((c, volume.attributes(c).unwrap().generation), (a, generation + 1));
    assert_eq!(volume.write_data(c, 0, &[7; 200]), Err(ErrorKind::Full));
    assert_eq!(volume.set_property(c, XATTR, b"user.x", &[0; 200]), Err(ErrorKind::Full));
    assert_eq!(volume.room().unwrap().bytes, 0, "what fits is written");
    assert_eq!(volume.add_link(c, Ino::ROOT, b"d"), Err(ErrorKind::Full));
    assert_eq!(volume.attributes(c).unwrap().links, 1);
    assert!(MemVolume::new(&mut [], &mut [0; 10]).is_err());
}

#[test]
fn refuses_what_the_contracts_do_not_allow() {
    let mut nodes = [Node::EMPTY; 8];
    let mut arena = [0; 2048];
    let mut volume = MemVolume::new(&mut nodes, &mut arena).unwrap();
    let file = Attributes::new(Kind::File);
    let long = [b'x'; 256];
    for name in [&b""[..], b".", b"..", b"a/b", b"a\0", &long] {
        assert_eq!(volume.add_file(Ino::ROOT, name, &file, b""), Err(ErrorKind::Invalid), "{name:?}");
        let place = Place { parent: Ino::ROOT, name };
        assert_eq!(volume.create(place, Ino(9), &file), Err(ErrorKind::Invalid), "{name:?}");
        assert_eq!(volume.make_directory(place, Ino(9)), Err(ErrorKind::Invalid), "{name:?}");
    }
    let ino = volume.add_file(Ino::ROOT, &long[..255], &file, b"").unwrap();
    assert_eq!(volume.add_file(Ino::ROOT, &long[..255], &file, b""), Err(ErrorKind::Exists));
    assert_eq!(volume.add_file(ino, b"x", &file, b""), Err(ErrorKind::NotFound));
    assert_eq!(volume.add_link(Ino::ROOT, Ino::ROOT, b"x"), Err(ErrorKind::Invalid));
    assert_eq!(volume.set_property(ino, XATTR, b"", b""), Err(ErrorKind::Invalid));
    assert_eq!(volume.set_property(ino, ACL, b"name", b""), Err(ErrorKind::Invalid));
    assert_eq!(volume.write_data(ino, u64::MAX, b"ab"), Err(ErrorKind::Invalid));
    assert_eq!(volume.write_data(Ino::ROOT, 0, b"ab"), Err(ErrorKind::Invalid));
    assert_eq!(volume.attributes(Ino(0)), Err(ErrorKind::NotFound));
    assert_eq!(volume.open(Ino(200)), Err(ErrorKind::NotFound));
    let sub = volume.add_directory(Ino::ROOT, b"sub", &Attributes::new(Kind::Directory)).unwrap();
    volume.add_link(ino, sub, b"x").unwrap();
    assert_eq!(volume.remove(Ino::ROOT, b"sub"), Err(ErrorKind::Exists));
    volume.remove(sub, b"x").unwrap();
    volume.remove(Ino::ROOT, b"sub").unwrap();
    assert_eq!(volume.attributes(Ino::ROOT).unwrap().links, 2);
}

/// Mappings come, move and go as objects are replaced; the model is a plain list.
#[test]
fn numbers_of_the_dump_lead_to_the_objects_made_for_them() {
    let mut nodes = [Node::EMPTY; 8];
    let mut arena = [0; 8192];
    let mut volume = MemVolume::new(&mut nodes, &mut arena).unwrap();
    let file = Attributes::new(Kind::File);
    let mut model: Vec<(u8, u32)> = Vec::new();
    for step in 0..200_u32 {
        // Few names, and numbers of which many fall on one bucket.
        let (name, ino) = ((step * 7 % 5) as u8 + b'a', 10 + step * 5 % 23 * 8 % 64);
        volume.create(Place { parent: Ino::ROOT, name: &[name] }, Ino(ino), &file).unwrap();
        volume.finish(&file).unwrap();
        model.retain(|&(old_name, old_ino)| old_name != name && old_ino != ino);
        model.push((name, ino));
        for ino in 10..80 {
            let expected = model.iter().find(|found| found.1 == ino).map(|found| found.0);
            let expected = expected.and_then(|name| volume.look_up(Ino::ROOT, &[name]));
            assert_eq!(volume.made_for(Ino(ino)), expected, "step {step} number {ino}");
        }
    }
}
