//! Each way in which a tree may differ from a dump, and that an equal one does not.

use super::*;
use crate::volume::target::LinuxTarget;
use crate::volume::target::tests::{acl, at, attributes, is_root, put, tree};
use rustix::fs::XattrFlags;
use std::os::unix::fs::{PermissionsExt, symlink};
use tapedump_core::device::DeviceError;
use tempfile::{TempDir, tempdir};

fn note<T: TargetVolume<Error = VolumeError>>(target: &mut T, name: &str, value: &[u8]) {
    target.begin_property(PropertyKind::Xattr, name.as_bytes(), value.len() as u32).unwrap();
    target.write_property(value).unwrap();
}

/// What the dump holds, given to a target: the same calls make the tree and compare with it.
fn give<T: TargetVolume<Error = VolumeError>>(target: &mut T) {
    target.make_directory(at(2, "dir"), Ino(10)).unwrap();
    target.make_directory(at(10, "deep"), Ino(11)).unwrap();
    put(target, at(2, "file"), 12, &attributes(Kind::File, 0o640, 6), b"abcdef");
    target.link(at(2, "file"), at(10, "further"), Ino(12)).unwrap();
    let sparse = attributes(Kind::File, 0o600, 1 << 20);
    target.create(at(11, "sparse"), Ino(13), &sparse).unwrap();
    target.write(300_000, &[9; 100_000]).unwrap();
    target.finish(&sparse).unwrap();
    put(target, at(10, "link"), 14, &attributes(Kind::Symlink, 0o777, 5), b"there");
    put(target, at(10, "fifo"), 15, &attributes(Kind::Fifo, 0o600, 0), b"");
    let noted = attributes(Kind::File, 0o644, 0);
    target.create(at(10, "noted"), Ino(16), &noted).unwrap();
    note(target, "user.a", b"1");
    note(target, "user.empty", b"");
    target.finish(&noted).unwrap();
    target.barrier();
    // A property that came too late for the file itself.
    target.reopen(at(10, "noted"), Ino(16)).unwrap();
    note(target, "user.late", b"late");
    target.release();
    target.reopen(at(10, "deep"), Ino(11)).unwrap();
    note(target, "user.early", b"early");
    target.release();
    for (place, ino) in [(at(10, "deep"), 11), (at(2, "dir"), 10), (at(2, ""), 2)] {
        target.reopen(place, Ino(ino)).unwrap();
        target.finish(&attributes(Kind::Directory, 0o755, 0)).unwrap();
    }
    target.flush().unwrap();
}

fn restored() -> TempDir {
    let root = tempdir().unwrap();
    let mut target = LinuxTarget::open(root.path()).unwrap();
    give(&mut target);
    assert_eq!(target.poll_failure(), None);
    root
}

/// The differences that are found once `change` was done to the tree.
fn differences(change: impl FnOnce(&Path)) -> Vec<(u32, Difference)> {
    let root = restored();
    change(root.path());
    compare(root.path())
}

fn compare(root: &Path) -> Vec<(u32, Difference)> {
    let mut target = CompareTarget::open(root).unwrap();
    give(&mut target);
    std::iter::from_fn(|| target.poll_failure())
        .map(|failure| {
            assert_eq!(failure.error.kind(), ErrorKind::Changed);
            match failure.what {
                FailedPart::Different(difference) => (failure.ino.0, difference),
                other => panic!("{other:?}"),
            }
        })
        .collect()
}

/// Changes something without touching the times of it or its directory.
fn keeping_times(path: &Path, change: impl FnOnce()) {
    let times = |path: &Path| {
        let stat = fs::lstat(path).unwrap();
        let time = |secs, nanos: u64| fs::Timespec { tv_sec: secs, tv_nsec: nanos as i64 };
        fs::Timestamps {
            last_access: time(stat.st_atime, stat.st_atime_nsec),
            last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
        }
    };
    let parent = path.parent().unwrap();
    let (own, parents) = (times(path), times(parent));
    change();
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    if fs::lstat(path).is_ok() {
        fs::utimensat(fs::CWD, path, &own, flags).unwrap();
    }
    fs::utimensat(fs::CWD, parent, &parents, flags).unwrap();
}

#[test]
fn an_equal_tree_has_no_difference_and_stays_untouched() {
    let root = restored();
    let before = tree(root.path());
    assert_eq!(compare(root.path()), []);
    assert_eq!(tree(root.path()), before);
}

#[test]
fn data_is_compared_with_holes_as_zeros() {
    let changed = |name: &'static str, offset: u64| {
        differences(move |root| {
            let path = root.join(name);
            keeping_times(&path, || {
                let file = std::fs::File::options().write(true).open(&path).unwrap();
                std::os::unix::fs::FileExt::write_all_at(&file, b"\x01", offset).unwrap();
            });
        })
    };
    assert_eq!(changed("file", 4), [(12, Difference::Data(4))]);
    for offset in [0, 100, 299_999, 399_999, 400_000, (1 << 20) - 1] {
        assert_eq!(changed("dir/deep/sparse", offset), [(13, Difference::Data(offset))], "{offset}");
    }
    assert_eq!(changed("file", 6), [(12, Difference::Size)]);
}

#[test]
fn a_shorter_file_is_told_by_its_size() {
    let found = differences(|root| {
        let path = root.join("file");
        keeping_times(&path, || {
            std::fs::File::options().write(true).open(&path).unwrap().set_len(3).unwrap()
        });
    });
    assert_eq!(found, [(12, Difference::Size)]);
}

#[test]
fn attributes_are_compared() {
    let found = differences(|root| {
        std::fs::set_permissions(root.join("file"), std::fs::Permissions::from_mode(0o641)).unwrap();
        let file = std::fs::File::open(root.join("dir/noted")).unwrap();
        let stat = fs::fstat(&file).unwrap();
        let time = fs::Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec as i64 + 1 };
        fs::futimens(&file, &fs::Timestamps { last_access: time, last_modification: time }).unwrap();
        std::fs::set_permissions(root, std::fs::Permissions::from_mode(0o700)).unwrap();
    });
    let expected = [(12, Difference::Permissions), (16, Difference::Modified), (2, Difference::Permissions)];
    assert_eq!(found, expected);
}

#[test]
fn owners_and_devices_are_compared() {
    if !is_root("owners_and_devices_are_compared") {
        return;
    }
    let found = differences(|root| std::os::unix::fs::chown(root.join("dir/fifo"), Some(77), None).unwrap());
    assert_eq!(found, [(15, Difference::Owner)]);

    let root = tempdir().unwrap();
    let mut device = attributes(Kind::CharDevice, 0o600, 0);
    device.device = DeviceNumber { major: 1, minor: 3 };
    put(&mut LinuxTarget::open(root.path()).unwrap(), at(2, "null"), 10, &device, b"");
    let mut target = CompareTarget::open(root.path()).unwrap();
    put(&mut target, at(2, "null"), 10, &device, b"");
    assert_eq!(target.poll_failure(), None);
    device.device.minor = 5;
    let mut target = CompareTarget::open(root.path()).unwrap();
    put(&mut target, at(2, "null"), 10, &device, b"");
    assert_eq!(target.poll_failure().unwrap().what, FailedPart::Different(Difference::Device));
}

#[test]
fn what_is_missing_is_told_with_all_it_held() {
    let found = differences(|root| {
        let path = root.join("dir");
        keeping_times(&path, || std::fs::remove_dir_all(&path).unwrap());
    });
    let missing = |ino| (ino, Difference::Missing);
    let expected = [
        missing(10),
        missing(11),
        (12, Difference::Link),
        missing(13),
        missing(14),
        missing(15),
        missing(16),
    ];
    assert_eq!(found, expected);
}

#[test]
fn kinds_and_link_targets_are_compared_and_links_not_followed() {
    let found = differences(|root| {
        let deep = root.join("dir/deep");
        keeping_times(&deep, || {
            std::fs::rename(&deep, root.join("elsewhere")).unwrap();
            symlink(root.join("elsewhere"), &deep).unwrap();
        });
        let file = root.join("file");
        keeping_times(&file, || {
            std::fs::rename(&file, root.join("moved")).unwrap();
            symlink("moved", &file).unwrap();
        });
        let link = root.join("dir/link");
        keeping_times(&link, || {
            std::fs::remove_file(&link).unwrap();
            symlink("other", &link).unwrap();
        });
        let time = fs::Timespec { tv_sec: 1_600_000_001, tv_nsec: 987_654_321 };
        let times = fs::Timestamps { last_access: time, last_modification: time };
        fs::utimensat(fs::CWD, root, &times, AtFlags::empty()).unwrap();
    });
    let expected = [
        (11, Difference::Kind),
        (12, Difference::Kind),
        (12, Difference::Link),
        (13, Difference::Missing),
        (14, Difference::Data(0)),
    ];
    assert_eq!(found, expected);
}

#[test]
fn properties_are_compared_both_ways() {
    let set = |path: &Path, name: &str, value: &[u8]| {
        fs::setxattr(path, name, value, XattrFlags::empty()).unwrap();
    };
    let differs = |ino| (ino, Difference::Property(PropertyKind::Xattr));
    let changed = differences(|root| set(&root.join("dir/noted"), "user.a", b"2"));
    assert_eq!(changed, [differs(16)]);
    let late = differences(|root| set(&root.join("dir/noted"), "user.late", b"later"));
    assert_eq!(late, [differs(16)]);
    let early = differences(|root| set(&root.join("dir/deep"), "user.early", b""));
    assert_eq!(early, [differs(11)]);
    let gone = differences(|root| fs::removexattr(root.join("dir/noted"), "user.empty").unwrap());
    assert_eq!(gone, [differs(16)]);
    let surplus = differences(|root| {
        set(&root.join("file"), "user.more", b"");
        set(&root.join("dir"), "user.more", b"x");
    });
    assert_eq!(surplus, [differs(12), differs(10)]);
    let value = acl(&[(1, 6, !0), (2, 4, 99), (4, 4, !0), (0x10, 4, !0), (0x20, 0, !0)]);
    let with_acl = differences(|root| set(&root.join("file"), ACL_ACCESS, &value));
    assert_eq!(with_acl, [(12, Difference::Property(PropertyKind::PosixAccessAcl))]);
}
