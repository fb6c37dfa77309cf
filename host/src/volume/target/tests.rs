//! What a restored tree looks like, on the file system of the temporary directory.

use super::*;
use rustix::fs::XattrFlags;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use rustix::thread::{set_thread_res_gid, set_thread_res_uid};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;
use tapedump_core::device::DeviceError;
use tapedump_core::device::volume::{DeviceNumber, FailedPart, Kind};
use tapedump_core::units::Timestamp;
use tempfile::{TempDir, tempdir};

/// A user who is nobody here.
const SOMEBODY: u32 = 4321;

pub(crate) fn at<'a>(parent: u32, name: &'a str) -> Place<'a> {
    Place { parent: Ino(parent), name: name.as_bytes() }
}

/// Attributes of an object of the caller's own, changed at an odd time.
pub(crate) fn attributes(kind: Kind, permissions: u16, size: u64) -> Attributes {
    let mut attributes = Attributes::new(kind);
    attributes.permissions = permissions;
    attributes.size = size;
    attributes.uid = geteuid().as_raw();
    attributes.gid = rustix::process::getegid().as_raw();
    attributes.accessed = Timestamp { secs: 1_500_000_000, nanos: 123_456_789 };
    attributes.modified = Timestamp { secs: 1_600_000_001, nanos: 987_654_321 };
    attributes
}

pub(crate) fn put<T: TargetVolume<Error = VolumeError>>(
    target: &mut T,
    place: Place<'_>,
    ino: u32,
    attributes: &Attributes,
    data: &[u8],
) {
    target.create(place, Ino(ino), attributes).unwrap();
    if !data.is_empty() {
        target.write(0, data).unwrap();
    }
    target.finish(attributes).unwrap();
}

fn property(target: &mut LinuxTarget, kind: PropertyKind, name: &str, value: &[u8]) {
    target.begin_property(kind, name.as_bytes(), value.len() as u32).unwrap();
    for piece in value.chunks(7) {
        target.write_property(piece).unwrap();
    }
}

fn failures(target: &mut impl TargetVolume<Error = VolumeError>) -> Vec<(FailedPart, ErrorKind)> {
    std::iter::from_fn(|| target.poll_failure()).map(|failure| (failure.what, failure.error.kind())).collect()
}

fn new_target() -> (TempDir, LinuxTarget) {
    let root = tempdir().unwrap();
    let target = LinuxTarget::open(root.path()).unwrap();
    (root, target)
}

fn xattr(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 65_536];
    let len = fs::lgetxattr(path, name, &mut value[..]).ok()?;
    value.truncate(len);
    Some(value)
}

/// ACL entries (tag, permissions, id) in the kernel's form.
pub(crate) fn acl(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut value = vec![2, 0, 0, 0];
    for (tag, permissions, id) in entries {
        value.extend(tag.to_le_bytes());
        value.extend(permissions.to_le_bytes());
        value.extend(id.to_le_bytes());
    }
    value
}

/// An ACL that gives a named user more than the group has: mode 0674 with it.
fn some_acl() -> Vec<u8> {
    acl(&[(1, 6, !0), (2, 7, 1234), (4, 4, !0), (0x10, 7, !0), (0x20, 4, !0)])
}

/// Whether the caller is root; says that the test does nothing otherwise.
pub(crate) fn is_root(test: &str) -> bool {
    let root = geteuid().is_root();
    if !root {
        eprintln!("SKIPPED {test}: needs root");
    }
    root
}

/// Runs as somebody without rights. Only the credentials of its own thread change.
fn as_somebody(work: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let (uid, gid) =
                (rustix::process::Uid::from_raw(SOMEBODY), rustix::process::Gid::from_raw(SOMEBODY));
            set_thread_res_gid(gid, gid, gid).unwrap();
            set_thread_res_uid(uid, uid, uid).unwrap();
            work();
        });
        thread.join().unwrap();
    });
}

/// A file system of its own that is unmounted at the end.
struct Mounted(TempDir);

impl Mounted {
    fn tmpfs(test: &str, options: &str) -> Option<Self> {
        if !is_root(test) {
            return None;
        }
        let directory = tempdir().unwrap();
        let options = std::ffi::CString::new(options).unwrap();
        match mount("tmpfs", directory.path(), "tmpfs", MountFlags::empty(), Some(options.as_c_str())) {
            Ok(()) => Some(Self(directory)),
            Err(errno) => {
                eprintln!("SKIPPED {test}: cannot mount a tmpfs: {errno}");
                None
            }
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = unmount(self.0.path(), UnmountFlags::DETACH);
    }
}

#[test]
fn a_file_gets_its_bytes_permissions_and_times() {
    let (root, mut target) = new_target();
    for (ino, permissions) in
        [0o644, 0o600, 0o640, 0o777, 0o000, 0o4755, 0o2711, 0o1666].into_iter().enumerate()
    {
        let name = format!("file{permissions:o}");
        let attributes = attributes(Kind::File, permissions, 11);
        put(&mut target, at(2, &name), 10 + ino as u32, &attributes, b"hello world");
        assert_eq!(failures(&mut target), []);
        let found = std::fs::metadata(root.path().join(&name)).unwrap();
        assert_eq!(found.mode() & 0o7777, u32::from(permissions), "{name}");
        assert_eq!((found.mtime(), found.mtime_nsec()), (1_600_000_001, 987_654_321));
        assert_eq!((found.atime(), found.atime_nsec()), (1_500_000_000, 123_456_789));
        assert_eq!(found.len(), 11);
    }
    assert_eq!(std::fs::read(root.path().join("file644")).unwrap(), b"hello world");
}

#[test]
fn every_kind_of_object_is_made_as_it_was() {
    if !is_root("every_kind_of_object_is_made_as_it_was") {
        return;
    }
    let (root, mut target) = new_target();
    let device = DeviceNumber { major: 259, minor: 70_000 };
    let kinds = [
        ("file", Kind::File),
        ("link", Kind::Symlink),
        ("fifo", Kind::Fifo),
        ("char", Kind::CharDevice),
        ("block", Kind::BlockDevice),
        ("socket", Kind::Socket),
    ];
    for (ino, (name, kind)) in (10..).zip(kinds) {
        let mut attributes = attributes(kind, 0o6751, 0);
        (attributes.uid, attributes.gid, attributes.device) = (1001, 1002, device);
        attributes.modified = Timestamp { secs: -5, nanos: 7 };
        let data: &[u8] = if kind == Kind::Symlink { b"../no/where\xff" } else { b"" };
        attributes.size = data.len() as u64;
        put(&mut target, at(2, name), ino, &attributes, data);
        assert_eq!(failures(&mut target), [], "{name}");

        let found = std::fs::symlink_metadata(root.path().join(name)).unwrap();
        assert_eq!(Kind::from_mode(found.mode() as u16), Some(kind));
        assert_eq!((found.uid(), found.gid()), (1001, 1002), "{name}");
        assert_eq!((found.mtime(), found.mtime_nsec()), (-5, 7), "{name}");
        if kind != Kind::Symlink {
            assert_eq!(found.mode() & 0o7777, 0o6751, "{name}");
        }
        if found.file_type().is_char_device() || found.file_type().is_block_device() {
            assert_eq!((fs::major(found.rdev()), fs::minor(found.rdev())), (259, 70_000));
        }
    }
    let link = std::fs::read_link(root.path().join("link")).unwrap();
    assert_eq!(link.as_os_str().as_bytes(), b"../no/where\xff");
}

#[test]
fn a_device_number_the_system_cannot_hold_makes_no_other_device() {
    if !is_root("a_device_number_the_system_cannot_hold_makes_no_other_device") {
        return;
    }
    let (root, mut target) = new_target();
    let mut attributes = attributes(Kind::CharDevice, 0o600, 0);
    attributes.device = DeviceNumber { major: 0x0010_0001, minor: 3 };
    assert!(target.create(at(2, "device"), Ino(10), &attributes).is_err());
    assert!(!root.path().join("device").exists());
}

#[test]
fn what_has_the_name_is_replaced_unless_it_is_a_directory() {
    let (root, mut target) = new_target();
    let path = |name: &str| root.path().join(name);
    std::fs::write(path("old"), "to be replaced").unwrap();
    std::fs::hard_link(path("old"), path("other")).unwrap();
    std::fs::create_dir(path("dir")).unwrap();
    let attributes = attributes(Kind::File, 0o644, 3);
    put(&mut target, at(2, "old"), 10, &attributes, b"new");
    assert_eq!(std::fs::read(path("old")).unwrap(), b"new");
    assert_eq!(std::fs::read(path("other")).unwrap(), b"to be replaced", "its other name is another file's");

    let refused = target.create(at(2, "dir"), Ino(11), &attributes).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Exists);
    assert!(refused.to_string().starts_with("cannot create "), "{refused}");
    assert_eq!(refused.path(), Some(path("dir").as_path()));
    assert!(path("dir").is_dir());
}

#[test]
fn directories_are_kept_and_replace_nothing() {
    let (root, mut target) = new_target();
    let path = |name: &str| root.path().join(name);
    std::fs::create_dir(path("kept")).unwrap();
    std::fs::write(path("kept/inside"), "stays").unwrap();
    std::fs::set_permissions(path("kept"), std::fs::Permissions::from_mode(0o750)).unwrap();
    std::fs::write(path("file"), "stays, too").unwrap();
    symlink(path("kept"), path("link")).unwrap();
    for (ino, name) in [(10, "kept"), (12, "new")] {
        target.make_directory(at(2, name), Ino(ino)).unwrap();
        assert!(target.knows(Ino(ino)) && path(name).is_dir());
    }
    for name in ["file", "link"] {
        let refused = target.make_directory(at(2, name), Ino(11)).unwrap_err();
        assert_eq!((refused.kind(), refused.path()), (ErrorKind::Exists, Some(path(name).as_path())));
        assert!(!target.knows(Ino(11)) && !std::fs::symlink_metadata(path(name)).unwrap().is_dir());
    }
    assert_eq!(std::fs::read(path("file")).unwrap(), b"stays, too");
    assert_eq!(std::fs::read(path("kept/inside")).unwrap(), b"stays");
    assert_eq!(std::fs::metadata(path("kept")).unwrap().mode() & 0o7777, 0o750);
    assert_eq!(std::fs::metadata(path("new")).unwrap().mode() & 0o7777, 0o700, "until it has its own");
}

#[test]
fn directories_and_the_root_get_their_attributes_at_the_end() {
    let (root, mut target) = new_target();
    target.make_directory(at(2, "a"), Ino(10)).unwrap();
    target.make_directory(at(10, "b"), Ino(11)).unwrap();
    put(&mut target, at(11, "f"), 12, &attributes(Kind::File, 0o600, 1), b"x");
    target.barrier();
    for (place, ino, permissions) in
        [(at(2, ""), 2, 0o711), (at(2, "a"), 10, 0o500), (at(10, "b"), 11, 0o1777)]
    {
        target.reopen(place, Ino(ino)).unwrap();
        target.finish(&attributes(Kind::Directory, permissions, 0)).unwrap();
    }
    target.flush().unwrap();
    assert_eq!(failures(&mut target), []);
    for (name, permissions) in [("", 0o711), ("a", 0o500), ("a/b", 0o1777)] {
        let found = std::fs::metadata(root.path().join(name)).unwrap();
        assert_eq!((found.mode() & 0o7777, found.mtime_nsec()), (permissions, 987_654_321), "{name}");
    }
}

#[test]
fn no_link_planted_in_the_target_is_followed() {
    let outside = tempdir().unwrap();
    std::fs::write(outside.path().join("victim"), "precious").unwrap();
    std::fs::create_dir(outside.path().join("sub")).unwrap();
    let before = tree(outside.path());
    let (root, mut target) = new_target();
    let path = |name: &str| root.path().join(name);
    symlink(outside.path(), path("dir")).unwrap();
    symlink(outside.path(), path("entered")).unwrap();
    symlink(outside.path().join("victim"), path("file")).unwrap();
    symlink(outside.path().join("victim"), path("name")).unwrap();
    symlink(outside.path().join("victim"), path("set")).unwrap();

    assert_eq!(target.make_directory(at(2, "dir"), Ino(10)).unwrap_err().kind(), ErrorKind::Exists);
    put(&mut target, at(2, "file"), 12, &attributes(Kind::File, 0o777, 4), b"evil");
    let refused = target.enter(at(2, "entered"), Ino(13)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Changed);
    assert!(!target.knows(Ino(13)));
    target.link(at(2, "file"), at(2, "name"), Ino(12)).unwrap();
    target.reopen(at(2, "set"), Ino(14)).unwrap();
    property(&mut target, PropertyKind::Xattr, "user.evil", b"1");
    target.finish(&attributes(Kind::File, 0o777, 0)).unwrap();

    let told = failures(&mut target);
    assert!(told.contains(&(FailedPart::Attributes, ErrorKind::Changed)), "{told:?}");
    assert_eq!(tree(outside.path()), before, "nothing outside was touched");
    assert!(std::fs::symlink_metadata(path("dir")).unwrap().is_symlink());
    assert!(std::fs::symlink_metadata(path("file")).unwrap().is_file());
    assert!(std::fs::symlink_metadata(path("name")).unwrap().is_file());
}

#[test]
fn names_that_lead_out_are_refused() {
    let (root, mut target) = new_target();
    let file = attributes(Kind::File, 0o644, 0);
    put(&mut target, at(2, "good"), 9, &file, b"");
    for name in ["", ".", "..", "../x", "/x", "a/b", "a\0"] {
        assert_eq!(target.create(at(2, name), Ino(10), &file).unwrap_err().kind(), ErrorKind::Invalid);
        assert!(target.make_directory(at(2, name), Ino(10)).is_err());
        assert!(target.enter(at(2, name), Ino(10)).is_err());
        assert!(target.link(at(2, "good"), at(2, name), Ino(9)).is_err());
        assert!(target.link(at(2, name), at(2, "new"), Ino(9)).is_err());
    }
    assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 1);
}

#[test]
fn further_names_are_the_same_object() {
    let (root, mut target) = new_target();
    let path = |name: &str| root.path().join(name);
    target.make_directory(at(2, "dir"), Ino(10)).unwrap();
    put(&mut target, at(2, "one"), 11, &attributes(Kind::File, 0o644, 1), b"1");
    std::fs::write(path("dir/two"), "replaced").unwrap();
    target.link(at(2, "one"), at(10, "two"), Ino(11)).unwrap();
    target.link(at(2, "one"), at(10, "two"), Ino(11)).unwrap();
    let link = attributes(Kind::Symlink, 0o777, 7);
    put(&mut target, at(2, "symbolic"), 12, &link, b"nowhere");
    target.link(at(2, "symbolic"), at(2, "symbolic2"), Ino(12)).unwrap();
    assert_eq!(target.link(at(2, "one"), at(2, "dir"), Ino(11)).unwrap_err().kind(), ErrorKind::Exists);
    assert_eq!(target.link(at(2, "gone"), at(2, "x"), Ino(13)).unwrap_err().kind(), ErrorKind::NotFound);

    let ino = |name| std::fs::symlink_metadata(path(name)).unwrap().ino();
    assert_eq!(ino("one"), ino("dir/two"));
    assert_eq!(std::fs::metadata(path("one")).unwrap().nlink(), 2);
    assert_eq!(ino("symbolic"), ino("symbolic2"));
}

#[test]
fn what_is_never_written_takes_no_room() {
    let (root, mut target) = new_target();
    let sparse = attributes(Kind::File, 0o644, 10 << 30);
    target.create(at(2, "sparse"), Ino(10), &sparse).unwrap();
    target.write(1 << 30, &[1; 4096]).unwrap();
    target.write(5 << 30, &[2; 4096]).unwrap();
    target.finish(&sparse).unwrap();
    put(&mut target, at(2, "hole"), 11, &attributes(Kind::File, 0o644, 1 << 20), b"");
    put(&mut target, at(2, "cut"), 12, &attributes(Kind::File, 0o644, 2), b"longer than it was");
    assert_eq!(failures(&mut target), []);
    let found = std::fs::metadata(root.path().join("sparse")).unwrap();
    assert_eq!(found.len(), 10 << 30);
    assert!(found.blocks() * 512 <= 64 * 1024, "{} blocks", found.blocks());
    assert_eq!(std::fs::metadata(root.path().join("hole")).unwrap().len(), 1 << 20);
    assert_eq!(std::fs::read(root.path().join("cut")).unwrap(), b"lo");
}

#[test]
fn acls_and_capabilities_outlive_the_change_of_owner() {
    if !is_root("acls_and_capabilities_outlive_the_change_of_owner") {
        return;
    }
    let (root, mut target) = new_target();
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut attributes = attributes(Kind::File, 0o2674, 3);
    (attributes.uid, attributes.gid) = (SOMEBODY, SOMEBODY);
    target.create(at(2, "file"), Ino(10), &attributes).unwrap();
    property(&mut target, PropertyKind::PosixAccessAcl, "", &some_acl());
    property(&mut target, PropertyKind::Xattr, "security.capability", &capability);
    property(&mut target, PropertyKind::Xattr, "user.note", b"a note");
    property(&mut target, PropertyKind::Xattr, "user.empty", b"");
    target.write(0, b"abc").unwrap();
    target.finish(&attributes).unwrap();
    assert_eq!(failures(&mut target), []);

    let path = root.path().join("file");
    let found = std::fs::metadata(&path).unwrap();
    assert_eq!((found.uid(), found.gid(), found.mode() & 0o7777), (SOMEBODY, SOMEBODY, 0o2674));
    assert_eq!(found.mtime_nsec(), 987_654_321);
    assert_eq!(xattr(&path, ACL_ACCESS), Some(some_acl()));
    assert_eq!(xattr(&path, "security.capability").as_deref(), Some(&capability[..]));
    assert_eq!(xattr(&path, "user.note").as_deref(), Some(&b"a note"[..]));
    assert_eq!(xattr(&path, "user.empty").as_deref(), Some(&b""[..]));
}

#[test]
fn nothing_is_inherited_from_a_default_acl_of_the_destination() {
    let (root, mut target) = new_target();
    let inherited = acl(&[(1, 7, !0), (2, 7, 99), (4, 7, !0), (0x10, 7, !0), (0x20, 7, !0)]);
    match fs::setxattr(root.path(), ACL_DEFAULT, &inherited, XattrFlags::empty()) {
        Err(Errno::OPNOTSUPP) => {
            eprintln!("SKIPPED nothing_is_inherited_from_a_default_acl_of_the_destination: no ACLs here");
            return;
        }
        set => set.unwrap(),
    }
    for (ino, name) in [(10, "first"), (11, "second")] {
        put(&mut target, at(2, name), ino, &attributes(Kind::File, 0o640, 1), b"x");
    }
    put(&mut target, at(2, "fifo"), 12, &attributes(Kind::Fifo, 0o640, 0), b"");
    target.create(at(2, "own"), Ino(13), &attributes(Kind::File, 0o674, 0)).unwrap();
    property(&mut target, PropertyKind::PosixAccessAcl, "", &some_acl());
    target.finish(&attributes(Kind::File, 0o674, 0)).unwrap();
    target.make_directory(at(2, "dir"), Ino(14)).unwrap();
    put(&mut target, at(14, "deeper"), 15, &attributes(Kind::File, 0o640, 1), b"x");
    assert_eq!(failures(&mut target), []);
    for name in ["first", "second", "fifo", "dir/deeper", "dir"] {
        let path = root.path().join(name);
        assert_eq!(xattr(&path, ACL_ACCESS), None, "{name}");
        assert_eq!(xattr(&path, ACL_DEFAULT), None, "{name}");
        let expected = if name == "dir" { 0o700 } else { 0o640 };
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o7777, expected, "{name}");
    }
    assert_eq!(xattr(&root.path().join("own"), ACL_ACCESS), Some(some_acl()));

    target.reopen(at(2, "dir"), Ino(14)).unwrap();
    property(&mut target, PropertyKind::PosixDefaultAcl, "", &inherited);
    target.finish(&attributes(Kind::Directory, 0o755, 0)).unwrap();
    assert_eq!(failures(&mut target), []);
    assert_eq!(xattr(&root.path().join("dir"), ACL_DEFAULT), Some(inherited));
    put(&mut target, at(14, "late"), 16, &attributes(Kind::File, 0o640, 1), b"x");
    assert_eq!(xattr(&root.path().join("dir/late"), ACL_ACCESS), None, "what it inherits is looked at again");
}

#[test]
fn an_acl_that_cannot_be_set_leaves_nobody_more_than_it_gave() {
    let (root, mut target) = new_target();
    let attributes = attributes(Kind::File, 0o674, 0);
    target.create(at(2, "file"), Ino(10), &attributes).unwrap();
    // A second entry for the group: refused by every system.
    let mut broken = some_acl();
    broken.extend(acl(&[(4, 4, !0)]).split_off(4));
    property(&mut target, PropertyKind::PosixAccessAcl, "", &broken);
    target.finish(&attributes).unwrap();
    let told = failures(&mut target);
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].0, FailedPart::Property(PropertyKind::PosixAccessAcl));
    assert_eq!(std::fs::metadata(root.path().join("file")).unwrap().mode() & 0o7777, 0o644);
}

#[test]
fn a_property_that_does_not_fit_concerns_its_object_only() {
    let (root, mut target) = new_target();
    let attributes = attributes(Kind::File, 0o644, 1);
    target.create(at(2, "file"), Ino(10), &attributes).unwrap();
    property(&mut target, PropertyKind::Xattr, "user.huge", &vec![b'h'; 65_537]);
    property(&mut target, PropertyKind::Xattr, "user.large", &vec![b'l'; 60_000]);
    property(&mut target, PropertyKind::Xattr, "user.small", b"small");
    target.write(0, b"x").unwrap();
    target.finish(&attributes).unwrap();
    let told = failures(&mut target);
    // File systems differ in whether the second one fits.
    assert!((1..=2).contains(&told.len()), "{told:?}");
    let expected = (FailedPart::Property(PropertyKind::Xattr), ErrorKind::Other);
    assert!(told.iter().all(|failure| *failure == expected), "{told:?}");
    assert_eq!(xattr(&root.path().join("file"), "user.small").as_deref(), Some(&b"small"[..]));
    assert_eq!(std::fs::read(root.path().join("file")).unwrap(), b"x");
}

#[test]
fn a_released_object_stays_as_it_is() {
    let (root, mut target) = new_target();
    let attributes = attributes(Kind::File, 0o644, 10);
    target.create(at(2, "torn"), Ino(10), &attributes).unwrap();
    target.write(0, b"half").unwrap();
    target.release();
    assert_eq!(target.write(4, b"more").unwrap_err().kind(), ErrorKind::Invalid);
    target.create(at(2, "link"), Ino(11), &super::tests::attributes(Kind::Symlink, 0o777, 3)).unwrap();
    target.write(0, b"to").unwrap();
    target.release();
    let found = std::fs::metadata(root.path().join("torn")).unwrap();
    assert_eq!(found.len(), 4);
    assert_ne!(found.mtime(), 1_600_000_001);
    assert!(std::fs::symlink_metadata(root.path().join("link")).is_err());
}

#[test]
fn properties_that_come_last_leave_the_attributes() {
    let (root, mut target) = new_target();
    let file = attributes(Kind::File, 0o674, 1);
    put(&mut target, at(2, "file"), 10, &file, b"x");
    target.reopen(at(2, "file"), Ino(10)).unwrap();
    property(&mut target, PropertyKind::Xattr, "user.late", b"late");
    property(&mut target, PropertyKind::PosixAccessAcl, "", &some_acl());
    target.release();
    assert_eq!(failures(&mut target), []);
    let path = root.path().join("file");
    let found = std::fs::metadata(&path).unwrap();
    assert_eq!((found.mode() & 0o7777, found.mtime_nsec(), found.len()), (0o674, 987_654_321, 1));
    assert_eq!(xattr(&path, "user.late").as_deref(), Some(&b"late"[..]));
    assert_eq!(xattr(&path, ACL_ACCESS), Some(some_acl()));
}

#[test]
fn a_link_target_arrives_in_pieces_and_has_a_bound() {
    let (root, mut target) = new_target();
    let link = attributes(Kind::Symlink, 0o777, 4);
    target.create(at(2, "link"), Ino(10), &link).unwrap();
    target.write(0, b"ab").unwrap();
    target.write(2, b"cd").unwrap();
    target.finish(&link).unwrap();
    assert_eq!(std::fs::read_link(root.path().join("link")).unwrap(), PathBuf::from("abcd"));
    target.create(at(2, "long"), Ino(11), &link).unwrap();
    target.write(0, &[b'x'; 4095]).unwrap();
    assert_eq!(target.write(4095, b"x").unwrap_err().kind(), ErrorKind::Unsupported);
}

#[test]
fn directories_that_were_dropped_are_entered_again() {
    let (root, mut target) = new_target();
    target.directories.set_slots_max(2);
    for ino in 10..20 {
        let name = format!("dir{ino}");
        target.make_directory(at(2, &name), Ino(ino)).unwrap();
    }
    assert!(target.knows(Ino(18)) && target.knows(Ino(19)) && target.knows(Ino::ROOT));
    assert!(!target.knows(Ino(10)));
    assert!(target.create(at(10, "file"), Ino(30), &attributes(Kind::File, 0o644, 0)).is_err());
    target.enter(at(2, "dir10"), Ino(10)).unwrap();
    put(&mut target, at(10, "file"), 30, &attributes(Kind::File, 0o644, 0), b"");
    assert!(root.path().join("dir10/file").is_file());
    assert_eq!(target.enter(at(2, "gone"), Ino(40)).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn somebody_without_rights_keeps_what_he_restores() {
    if !is_root("somebody_without_rights_keeps_what_he_restores") {
        return;
    }
    let root = tempdir().unwrap();
    std::os::unix::fs::chown(root.path(), Some(SOMEBODY), Some(SOMEBODY)).unwrap();
    as_somebody(|| {
        let mut target = LinuxTarget::open(root.path()).unwrap();
        let mut foreign = attributes(Kind::File, 0o6755, 1);
        (foreign.uid, foreign.gid) = (0, 0);
        put(&mut target, at(2, "foreign"), 10, &foreign, b"x");
        assert_eq!(failures(&mut target), []);
        // Nor is it one that his own file does not get its group.
        foreign.uid = SOMEBODY;
        put(&mut target, at(2, "own"), 11, &foreign, b"x");
        assert_eq!(failures(&mut target), []);
        assert_eq!(target.kept().count(), Kept { owner: 2, set_id: 2 });
        // May not be written by its owner, but has properties.
        let read_only = attributes(Kind::File, 0o444, 0);
        target.create(at(2, "noted"), Ino(12), &read_only).unwrap();
        property(&mut target, PropertyKind::Xattr, "user.note", b"n");
        target.finish(&read_only).unwrap();
        assert_eq!(failures(&mut target), []);
    });
    let mode = |name: &str| std::fs::metadata(root.path().join(name)).unwrap().mode() & 0o7777;
    assert_eq!(std::fs::metadata(root.path().join("foreign")).unwrap().uid(), SOMEBODY);
    assert_eq!((mode("foreign"), mode("own"), mode("noted")), (0o755, 0o4755, 0o444));
    assert_eq!(xattr(&root.path().join("noted"), "user.note").as_deref(), Some(&b"n"[..]));
}

#[test]
fn directories_that_lock_their_owner_out_are_filled_first() {
    if !is_root("directories_that_lock_their_owner_out_are_filled_first") {
        return;
    }
    let root = tempdir().unwrap();
    std::os::unix::fs::chown(root.path(), Some(SOMEBODY), Some(SOMEBODY)).unwrap();
    as_somebody(|| {
        for _ in 0..2 {
            // The second time, all of it is there with its final permissions.
            let mut target = LinuxTarget::open(root.path()).unwrap();
            target.make_directory(at(2, "closed"), Ino(10)).unwrap();
            target.make_directory(at(10, "inner"), Ino(11)).unwrap();
            put(&mut target, at(11, "file"), 12, &attributes(Kind::File, 0o400, 1), b"x");
            for (place, ino) in [(at(2, "closed"), 10), (at(10, "inner"), 11)] {
                target.reopen(place, Ino(ino)).unwrap();
                target.finish(&attributes(Kind::Directory, 0o040, 0)).unwrap();
            }
            target.flush().unwrap();
            assert_eq!(failures(&mut target), []);
        }
    });
    for name in ["closed", "closed/inner"] {
        let found = std::fs::metadata(root.path().join(name)).unwrap();
        assert_eq!((found.mode() & 0o7777, found.mtime_nsec()), (0o040, 987_654_321), "{name}");
    }
}

#[test]
fn a_full_volume_is_told_apart() {
    let Some(mounted) = Mounted::tmpfs("a_full_volume_is_told_apart", "size=256k") else { return };
    let mut target = LinuxTarget::open(mounted.0.path()).unwrap();
    let room = target.room().unwrap();
    assert!(room.bytes <= 256 * 1024 && room.bytes > 0 && room.inodes > 0, "{room:?}");
    let attributes = attributes(Kind::File, 0o644, 1 << 20);
    target.create(at(2, "large"), Ino(10), &attributes).unwrap();
    let full = target.write(0, &vec![7; 1 << 20]).unwrap_err();
    assert_eq!(full.kind(), ErrorKind::Full);
    assert!(full.to_string().contains("large: No space left on device"), "{full}");
}

#[test]
fn a_read_only_volume_is_told_apart() {
    let Some(mounted) = Mounted::tmpfs("a_read_only_volume_is_told_apart", "ro") else { return };
    let mut target = LinuxTarget::open(mounted.0.path()).unwrap();
    let file = attributes(Kind::File, 0o644, 0);
    assert_eq!(target.create(at(2, "file"), Ino(10), &file).unwrap_err().kind(), ErrorKind::ReadOnly);
    assert_eq!(target.make_directory(at(2, "dir"), Ino(10)).unwrap_err().kind(), ErrorKind::ReadOnly);
}

#[test]
fn a_destination_that_is_no_directory_is_refused_by_name() {
    let root = tempdir().unwrap();
    let file = root.path().join("file");
    std::fs::write(&file, "").unwrap();
    let refused = LinuxTarget::open(&file).unwrap_err().to_string();
    assert!(refused.ends_with("/file: Not a directory (os error 20)"), "{refused}");
    assert_eq!(LinuxTarget::open(&root.path().join("gone")).unwrap_err().kind(), ErrorKind::NotFound);
}

/// Everything about a tree but the times of access and change: a line for each name.
pub(crate) fn tree(root: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut paths = vec![root.to_path_buf()];
    let mut first_names = std::collections::HashMap::new();
    while let Some(path) = paths.pop() {
        let found = std::fs::symlink_metadata(&path).unwrap();
        let name = path.strip_prefix(root).unwrap().to_path_buf();
        let data = match found.file_type() {
            kind if kind.is_dir() => {
                let mut entries: Vec<_> =
                    std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()).collect();
                entries.sort();
                paths.extend(entries);
                Vec::new()
            }
            kind if kind.is_file() => std::fs::read(&path).unwrap(),
            kind if kind.is_symlink() => {
                std::fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
            }
            _ => Vec::new(),
        };
        let first =
            if found.is_dir() { &name } else { first_names.entry(found.ino()).or_insert(name.clone()) };
        let mut names = vec![0; 65_536];
        let len = fs::llistxattr(&path, &mut names[..]).unwrap_or(0);
        let mut properties: Vec<_> = names[..len]
            .split(|&byte| byte == 0)
            .filter(|name| !name.is_empty())
            .map(|name| (OsStr::from_bytes(name), xattr(&path, str::from_utf8(name).unwrap())))
            .collect();
        properties.sort();
        let digest = data.iter().fold(data.len() as u64, |sum, &byte| {
            sum.wrapping_mul(0x0100_0000_01b3).wrapping_add(u64::from(byte))
        });
        lines.push(format!(
            "{name:?} = {first:?} {:o} {}:{} {} {digest:x} {}.{} {properties:?}",
            found.mode(),
            found.uid(),
            found.gid(),
            found.rdev(),
            found.mtime(),
            found.mtime_nsec(),
        ));
    }
    lines
}
