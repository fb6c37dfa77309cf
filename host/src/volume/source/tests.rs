//! Trees in a temporary directory, read through the contract and compared with what the standard library sees.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use rustix::fs::{CWD, FileType, Mode, OFlags, XattrFlags, lsetxattr, mkdirat, mknodat, openat};
use tapedump_core::device::volume::{Attributes, Class, Kind, PropertyKind, SourceVolume};
use tapedump_core::device::{DeviceError, ErrorKind};
use tapedump_core::limits::NAME_LEN_MAX;
use tapedump_core::units::{Ino, Timestamp};

use super::numbers::Numbering;
use super::{LinuxSource, SourceOptions};

mod chains;

/// A directory that goes away with its value.
struct TempTree(PathBuf);

impl TempTree {
    fn new() -> Self {
        Self::within(&std::env::temp_dir())
    }

    fn within(dir: &Path) -> Self {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let path = dir.join(format!("tapedump-source-{}-{serial}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: impl AsRef<[u8]>) -> PathBuf {
        self.0.join(OsStr::from_bytes(name.as_ref()))
    }

    fn file(&self, name: impl AsRef<[u8]>, data: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, data).unwrap();
        path
    }

    fn open(&self, change: impl FnOnce(&mut SourceOptions)) -> LinuxSource {
        let mut options = SourceOptions::new(std::env::temp_dir());
        options.threads = 1;
        change(&mut options);
        LinuxSource::open(&self.0, options).unwrap()
    }
}

impl Drop for TempTree {
    fn drop(&mut self) {
        // What cannot be removed from the temporary directory harms nobody.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// An object as the contract shows it.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    attributes: Attributes,
    parent: Option<Ino>,
    entries: Vec<(Vec<u8>, Ino)>,
    data: Vec<u8>,
    ranges: Vec<(u64, u64)>,
    properties: Vec<(PropertyKind, Vec<u8>, Vec<u8>)>,
}

fn read_open_object(source: &mut LinuxSource, ino: Ino, mut attributes: Attributes) -> Seen {
    let is_directory = attributes.kind == Kind::Directory;
    if attributes.kind == Kind::Symlink {
        // Reading a link is an access that cannot be hidden.
        attributes.accessed = Timestamp::default();
    }
    let mut seen = Seen {
        attributes,
        parent: is_directory.then(|| source.parent(ino).unwrap()),
        entries: Vec::new(),
        data: Vec::new(),
        ranges: Vec::new(),
        properties: Vec::new(),
    };
    let mut name = [0; NAME_LEN_MAX];
    while let Some(entry) = if is_directory { source.next_entry(&mut name).unwrap() } else { None } {
        seen.entries.push((name[..entry.name_len].to_vec(), entry.ino));
    }
    if attributes.kind.has_data() {
        let mut from = 0;
        while let Some((start, end)) = source.next_data(from).unwrap() {
            assert!(from <= start && start < end && end <= attributes.size);
            // In pieces that do not fit together with anything.
            let mut piece = [0; 4099];
            for at in (start..end).step_by(piece.len()) {
                let wanted = piece.len().min((end - at) as usize);
                assert_eq!(source.read(at, &mut piece[..wanted]).unwrap(), wanted);
                seen.data.extend_from_slice(&piece[..wanted]);
            }
            seen.ranges.push((start, end));
            from = end;
        }
    }
    while let Some(property) = source.property(seen.properties.len() as u32, &mut name).unwrap() {
        let index = seen.properties.len() as u32;
        let mut value = vec![0; property.value_len as usize + 1];
        let (front, back) = value.split_at_mut(property.value_len as usize / 2);
        assert_eq!(source.read_property(index, 0, front).unwrap(), front.len());
        assert_eq!(source.read_property(index, front.len() as u32, back).unwrap(), back.len() - 1);
        value.pop();
        seen.properties.push((property.kind, name[..property.name_len].to_vec(), value));
    }
    seen.properties.sort_by(|a, b| a.1.cmp(&b.1));
    seen
}

/// Reads everything in the order of a dump.
fn read_all(source: &mut LinuxSource) -> BTreeMap<Ino, Seen> {
    let mut all = BTreeMap::new();
    let limit = source.ino_limit().unwrap();
    for class in [Class::Directories, Class::Others] {
        let mut from = Ino::FIRST;
        while let Some(ino) = source.next_inode(from, class).unwrap() {
            assert!(ino >= from && ino < limit);
            let attributes = source.open(ino).unwrap();
            assert_eq!(attributes.kind == Kind::Directory, class == Class::Directories);
            let seen = read_open_object(source, ino, attributes);
            assert!(source.close().unwrap(), "{} changed", source.path_of(ino).unwrap().display());
            assert!(all.insert(ino, seen).is_none());
            from = ino.next();
        }
    }
    all
}

/// The objects by their paths, without their numbers in the dump.
fn by_path(all: &BTreeMap<Ino, Seen>) -> BTreeMap<Vec<u8>, Seen> {
    let mut paths = BTreeMap::new();
    let mut to_do = vec![(Vec::new(), Ino::ROOT, Ino::ROOT)];
    while let Some((path, ino, parent)) = to_do.pop() {
        let mut seen = all[&ino].clone();
        if let Some(found) = seen.parent.take() {
            assert_eq!(found, parent);
        }
        for (name, child) in std::mem::take(&mut seen.entries) {
            to_do.push(([path.as_slice(), b"/", &name].concat(), child, ino));
        }
        assert!(paths.insert(path, seen).is_none());
    }
    paths
}

fn weird_tree() -> TempTree {
    let tree = TempTree::new();
    fs::create_dir_all(tree.path("a/b/c")).unwrap();
    fs::create_dir(tree.path("empty")).unwrap();
    tree.file("empty-file", b"");
    tree.file("a/one", b"1");
    tree.file("a/b/large", &(0..700_000_u32).map(|index| (index / 3) as u8).collect::<Vec<_>>());
    tree.file("a/b/medium", &vec![7; 200_000]);
    fs::hard_link(tree.path("a/one"), tree.path("a/b/c/other name of one")).unwrap();
    tree.file([b'n'; 255], b"longest name");
    tree.file(b"bytes \xff\xfe\n\t\\\x01", b"no text");
    symlink("a/../nowhere", tree.path("link")).unwrap();
    let long_link = |len| symlink("x".repeat(len), tree.path("long link"));
    // Not every file system takes links as long as a path may be.
    long_link(4095).or_else(|_| long_link(1023)).unwrap();
    symlink("/etc", tree.path("a/link to a directory")).unwrap();
    mknodat(CWD, tree.path("pipe"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    std::os::unix::net::UnixListener::bind(tree.path("socket")).unwrap();
    for index in 0..300 {
        tree.file(format!("a/b/small {index}"), format!("data {index} ").repeat(index).as_bytes());
    }
    let sparse = File::create(tree.path("sparse")).unwrap();
    sparse.set_len(3 << 20).unwrap();
    sparse.write_all_at(&[5; 5000], 1 << 20).unwrap();
    let small = File::create(tree.path("small and sparse")).unwrap();
    small.write_all_at(&[6; 4096], 65_536).unwrap();
    small.set_len(150_000).unwrap();
    tree
}

/// Compares what the contract showed with what the standard library shows.
fn assert_like_std(tree: &TempTree, paths: &BTreeMap<Vec<u8>, Seen>) {
    for (path, seen) in paths {
        let path = if path.is_empty() { tree.0.clone() } else { tree.path(&path[1..]) };
        let metadata = fs::symlink_metadata(&path).unwrap();
        let attributes = &seen.attributes;
        assert_eq!(u32::from(attributes.permissions | attributes.kind.mode_bits()), metadata.mode());
        assert_eq!(
            (attributes.modified.secs, i64::from(attributes.modified.nanos)),
            (metadata.mtime(), metadata.mtime_nsec())
        );
        assert_eq!((attributes.uid, attributes.gid), (metadata.uid(), metadata.gid()));
        assert_eq!(u64::from(attributes.links), metadata.nlink());
        // An overlay of several file systems shows numbers that mean nothing without their devices.
        if metadata.dev() == fs::metadata(&tree.0).unwrap().dev() {
            assert_eq!(attributes.real_ino, metadata.ino());
        }
        match attributes.kind {
            Kind::File => {
                assert_eq!(attributes.size, metadata.size());
                let mut data = vec![0; attributes.size as usize];
                let mut at = 0;
                for (start, end) in &seen.ranges {
                    let len = (end - start) as usize;
                    data[*start as usize..*end as usize].copy_from_slice(&seen.data[at..at + len]);
                    at += len;
                }
                assert!(data == fs::read(&path).unwrap(), "{}", path.display());
            }
            Kind::Symlink => {
                assert_eq!(seen.data, fs::read_link(&path).unwrap().as_os_str().as_bytes());
                assert_eq!(attributes.size, seen.data.len() as u64);
            }
            Kind::Directory => {
                let count = paths.keys().filter(|other| {
                    let name = other.strip_prefix(&path.as_os_str().as_bytes()[tree.0.as_os_str().len()..]);
                    name.is_some_and(|name| name.len() > 1 && name[0] == b'/' && !name[1..].contains(&b'/'))
                });
                assert_eq!(count.count(), fs::read_dir(&path).unwrap().count(), "{}", path.display());
            }
            _ => {}
        }
    }
}

#[test]
fn a_tree_of_every_kind_is_read_as_it_is() {
    let tree = weird_tree();
    let mut source = tree.open(|_| {});
    let all = read_all(&mut source);
    let paths = by_path(&all);
    assert_eq!(paths.len(), 319);
    assert_like_std(&tree, &paths);
    assert_eq!(paths[b"/pipe".as_slice()].attributes.kind, Kind::Fifo);
    assert_eq!(paths[b"/socket".as_slice()].attributes.kind, Kind::Socket);
    assert_eq!(paths[b"/sparse".as_slice()].data.len() % 4096, 0);
    assert!(paths[b"/sparse".as_slice()].data.len() <= 65_536, "holes are not data");
    assert_eq!(paths[b"/small and sparse".as_slice()].ranges, [(65_536, 69_632)]);
    assert_eq!(all.values().filter(|seen| seen.attributes.kind == Kind::Directory).count(), 5);
    assert_eq!(all.len(), 5 + 313);
    assert!(source.mount_points().is_empty());
}

#[test]
fn hard_links_are_one_object() {
    let tree = weird_tree();
    let mut source = tree.open(|_| {});
    let all = read_all(&mut source);
    let named: Vec<Ino> = all
        .values()
        .flat_map(|seen| &seen.entries)
        .filter(|(name, _)| name == b"one" || name == b"other name of one")
        .map(|(_, ino)| *ino)
        .collect();
    assert_eq!(named.len(), 2);
    assert_eq!(named[0], named[1]);
    assert_eq!(all[&named[0]].attributes.links, 2);
}

#[test]
fn any_number_of_threads_and_any_memory_give_the_same() {
    let tree = weird_tree();
    let expected = read_all(&mut tree.open(|_| {}));
    for threads in [2, 4, 7] {
        assert!(expected == read_all(&mut tree.open(|options| options.threads = threads)));
    }
    let tiny = |options: &mut SourceOptions| {
        options.threads = 4;
        options.tuning.sort_memory = 2000;
        options.tuning.spool_memory = 100;
    };
    assert!(expected == read_all(&mut tree.open(tiny)));
    assert!(expected == read_all(&mut tree.open(|options| options.tuning.openat2 = false)));
    assert!(expected == read_all(&mut tree.open(|options| options.tuning.entry_numbers = false)));
    assert!(expected == read_all(&mut tree.open(|options| options.frozen = true)));
}

#[test]
fn dense_numbers_give_the_same_tree() {
    let tree = weird_tree();
    let expected = by_path(&read_all(&mut tree.open(|_| {})));
    for spool_memory in [100, 1 << 20] {
        let mut dense = tree.open(|options| {
            options.tuning.direct_limit = 0;
            options.tuning.spool_memory = spool_memory;
        });
        assert_eq!(dense.numbering(), Numbering::Dense);
        let all = read_all(&mut dense);
        assert!(all.keys().copied().eq((2..2 + all.len() as u32).map(Ino)));
        assert_eq!(dense.ino_limit().unwrap(), Ino(2 + all.len() as u32));
        assert!(expected == by_path(&all));
    }
}

#[test]
fn objects_may_be_opened_in_any_order_and_again() {
    let tree = weird_tree();
    for threads in [1, 3] {
        let mut source = tree.open(|options| options.threads = threads);
        let all = read_all(&mut source);
        for (ino, expected) in all.iter().rev().chain(&all).chain(all.iter().step_by(3)) {
            let attributes = source.open(*ino).unwrap();
            assert!(read_open_object(&mut source, *ino, attributes) == *expected);
        }
        let missing = {
            let limit = source.ino_limit().unwrap();
            source.open(limit).unwrap_err()
        };
        assert_eq!(missing.kind(), ErrorKind::NotFound);
        assert_eq!(source.close().unwrap_err().kind(), ErrorKind::Invalid);
    }
}

#[test]
fn directories_rewind_to_the_same_entries() {
    let tree = weird_tree();
    // More than one buffer of entries.
    for index in 0..3000 {
        tree.file(format!("a name of forty bytes that fills the buf {index}"), b"");
    }
    let mut source = tree.open(|_| {});
    let attributes = source.open(Ino::ROOT).unwrap();
    let first = read_open_object(&mut source, Ino::ROOT, attributes);
    assert_eq!(first.entries.len(), fs::read_dir(&tree.0).unwrap().count());
    let mut name = [0; NAME_LEN_MAX];
    source.rewind_entries().unwrap();
    source.next_entry(&mut name).unwrap();
    source.rewind_entries().unwrap();
    assert_eq!(read_open_object(&mut source, Ino::ROOT, attributes), first);
}

#[test]
fn extended_attributes_and_acls_are_properties() {
    let tree = TempTree::new();
    let file = tree.file("file", b"x");
    let directory = tree.path("directory");
    fs::create_dir(&directory).unwrap();
    lsetxattr(&file, "user.note", b"\x00value\xff", XattrFlags::empty()).unwrap();
    lsetxattr(&file, "user.empty", b"", XattrFlags::empty()).unwrap();
    // Owner rwx, user 1000 r, group r, mask r, others none; version 2.
    let mut acl = vec![2, 0, 0, 0];
    for (tag, permissions, id) in
        [(1_u16, 7_u16, u32::MAX), (2, 4, 1000), (4, 4, u32::MAX), (16, 4, u32::MAX), (32, 0, u32::MAX)]
    {
        acl.extend_from_slice(&tag.to_le_bytes());
        acl.extend_from_slice(&permissions.to_le_bytes());
        acl.extend_from_slice(&id.to_le_bytes());
    }
    lsetxattr(&file, "system.posix_acl_access", &acl, XattrFlags::empty()).unwrap();
    lsetxattr(&directory, "system.posix_acl_default", &acl, XattrFlags::empty()).unwrap();
    for threads in [1, 4] {
        let paths = by_path(&read_all(&mut tree.open(|options| options.threads = threads)));
        assert_eq!(
            paths[b"/file".as_slice()].properties,
            [
                (PropertyKind::PosixAccessAcl, Vec::new(), acl.clone()),
                (PropertyKind::Xattr, b"user.empty".to_vec(), Vec::new()),
                (PropertyKind::Xattr, b"user.note".to_vec(), b"\x00value\xff".to_vec()),
            ]
        );
        let expected = [(PropertyKind::PosixDefaultAcl, Vec::new(), acl.clone())];
        assert_eq!(paths[b"/directory".as_slice()].properties, expected);
        assert_eq!(paths[b"".as_slice()].properties, []);
    }
}

#[test]
fn more_properties_than_are_kept_are_read_one_by_one() {
    let Some(tree) = Some(Path::new("/dev/shm")).filter(|dir| dir.is_dir()).map(TempTree::within) else {
        return eprintln!("skipped: no /dev/shm");
    };
    let file = tree.file("file", b"x");
    let value = |index: u8| vec![index; 60_000];
    for index in 0..8 {
        let name = format!("user.big{index}");
        if let Err(errno) = lsetxattr(&file, name, &value(index), XattrFlags::empty()) {
            return eprintln!("skipped: no large attributes here: {errno}");
        }
    }
    for threads in [1, 2] {
        let paths = by_path(&read_all(&mut tree.open(|options| options.threads = threads)));
        let properties = &paths[b"/file".as_slice()].properties;
        assert_eq!(properties.len(), 8);
        for (index, property) in properties.iter().enumerate() {
            assert_eq!(property.1, format!("user.big{index}").as_bytes());
            assert!(property.2 == value(index as u8));
        }
    }
}

#[test]
fn attributes_of_links_are_read_where_they_can_be_set() {
    let tree = TempTree::new();
    let link = tree.path("link");
    symlink("nowhere", &link).unwrap();
    if let Err(errno) = lsetxattr(&link, "trusted.note", b"on the link", XattrFlags::empty()) {
        return eprintln!("skipped: no attribute can be set on a link here: {errno}");
    }
    let paths = by_path(&read_all(&mut tree.open(|_| {})));
    let expected = [(PropertyKind::Xattr, b"trusted.note".to_vec(), b"on the link".to_vec())];
    assert_eq!(paths[b"/link".as_slice()].properties, expected);
}

#[test]
fn device_nodes_keep_their_numbers() {
    let tree = TempTree::new();
    let device = rustix::fs::makedev(259, 70_000);
    if let Err(errno) = mknodat(CWD, tree.path("node"), FileType::BlockDevice, Mode::RUSR, device) {
        return eprintln!("skipped: no device node can be made here: {errno}");
    }
    let paths = by_path(&read_all(&mut tree.open(|_| {})));
    let attributes = &paths[b"/node".as_slice()].attributes;
    assert_eq!(attributes.kind, Kind::BlockDevice);
    assert_eq!((attributes.device.major, attributes.device.minor), (259, 70_000));
}

#[test]
fn a_deep_tree_with_a_path_longer_than_the_system_takes_is_read() {
    let tree = TempTree::new();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut dir: OwnedFd = openat(CWD, &tree.0, flags, Mode::empty()).unwrap();
    let name = "deep directory with a long name ".repeat(2);
    for level in 0..300_u32 {
        mkdirat(&dir, &name, Mode::RWXU).unwrap();
        dir = openat(&dir, &name, flags, Mode::empty()).unwrap();
        let file = openat(&dir, "file", OFlags::CREATE | OFlags::WRONLY, Mode::RUSR).unwrap();
        rustix::io::write(&file, &level.to_le_bytes()).unwrap();
    }
    for openat2 in [true, false] {
        let mut source = tree.open(|options| {
            options.threads = 2;
            options.tuning.openat2 = openat2;
        });
        let all = read_all(&mut source);
        let mut ino = Ino::ROOT;
        for level in 0..300_u32 {
            let find =
                |wanted: &[u8]| all[&ino].entries.iter().find(|entry| entry.0 == wanted).map(|entry| entry.1);
            if let Some(file) = find(b"file") {
                assert_eq!(all[&file].data, (level - 1).to_le_bytes());
            }
            ino = find(name.as_bytes()).unwrap();
        }
        assert!(source.path_of(ino).unwrap().as_os_str().len() > 300 * 64);
    }
}

#[test]
fn snapshots_in_the_root_are_left_out_and_nowhere_else() {
    let tree = TempTree::new();
    fs::create_dir_all(tree.path(".snapshot/hourly")).unwrap();
    fs::create_dir_all(tree.path("a/.snapshot")).unwrap();
    let paths = by_path(&read_all(&mut tree.open(|_| {})));
    let names: Vec<&[u8]> = paths.keys().map(Vec::as_slice).collect();
    assert_eq!(names, [b"".as_slice(), b"/a", b"/a/.snapshot"]);
}

#[test]
fn what_changes_after_the_walk_is_told() {
    let tree = TempTree::new();
    for name in ["gone", "replaced", "other type", "stays"] {
        tree.file(name, b"before");
    }
    // Read by the consumer, so it is open when it changes.
    let large = tree.file("large", &vec![1; 300_000]);
    let mut source = tree.open(|_| {});
    let by_name = |source: &mut LinuxSource, wanted: &str| {
        let mut name = [0; NAME_LEN_MAX];
        source.open(Ino::ROOT).unwrap();
        while let Some(entry) = source.next_entry(&mut name).unwrap() {
            if &name[..entry.name_len] == wanted.as_bytes() {
                return entry.ino;
            }
        }
        panic!("{wanted} is not there");
    };
    let names = ["gone", "replaced", "other type", "stays", "large"];
    let [gone, replaced, other, stays, large_ino] = names.map(|name| by_name(&mut source, name));
    // First of all: a number given up by something else would make it look known.
    fs::create_dir(tree.path("new directory")).unwrap();
    fs::rename(tree.path("gone"), tree.path("moved")).unwrap();
    let kept = tree.file("new", b"a new file");
    fs::rename(&kept, tree.path("replaced")).unwrap();
    fs::remove_file(tree.path("other type")).unwrap();
    symlink("/etc/passwd", tree.path("other type")).unwrap();
    assert_eq!(source.open(gone).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(source.open(replaced).unwrap_err().kind(), ErrorKind::Changed);
    let error = source.open(other).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Changed);
    assert!(error.to_string().contains("other type"), "{error}");
    source.open(stays).unwrap();
    assert!(source.close().unwrap());
    source.open(large_ino).unwrap();
    File::options().write(true).open(&large).unwrap().write_all_at(b"x", 0).unwrap();
    assert!(!source.close().unwrap());
    // Names that came since are not shown: nothing could be said about their objects.
    let mut name = [0; NAME_LEN_MAX];
    source.open(Ino::ROOT).unwrap();
    while let Some(entry) = source.next_entry(&mut name).unwrap() {
        assert_ne!(&name[..entry.name_len], b"new directory");
    }
}

#[test]
fn mount_points_are_links() {
    // The tree that has some wherever tests run: the root, where it holds /proc.
    let tree = TempTree::new();
    fs::create_dir(tree.path("mnt")).unwrap();
    tree.file("mnt/beneath", b"");
    let _namespace = match rustix::mount::mount(
        c"none",
        tree.path("mnt"),
        c"tmpfs",
        rustix::mount::MountFlags::empty(),
        None,
    ) {
        Ok(()) => Unmount(tree.path("mnt")),
        Err(errno) => return eprintln!("skipped: nothing can be mounted here: {errno}"),
    };
    tree.file("mnt/on top", b"");
    for (openat2, entry_numbers) in [(true, true), (false, true), (true, false), (false, false)] {
        let mut source = tree.open(|options| {
            options.tuning.openat2 = openat2;
            options.tuning.entry_numbers = entry_numbers;
        });
        assert_eq!(source.mount_points(), [tree.path("mnt")]);
        let paths = by_path(&read_all(&mut source));
        let names: Vec<&[u8]> = paths.keys().map(Vec::as_slice).collect();
        assert_eq!(names, [b"".as_slice(), b"/mnt"]);
        let link = &paths[b"/mnt".as_slice()];
        assert_eq!((link.attributes.kind, link.data.as_slice()), (Kind::Symlink, b"none:/".as_slice()));
        assert_eq!(link.attributes.modified, paths[b"".as_slice()].attributes.modified);
    }
}

struct Unmount(PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        // The temporary directory cannot be removed otherwise; it is reported by that.
        let _ = rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH);
    }
}

#[test]
fn an_interruption_ends_the_walk_and_the_reading() {
    let tree = weird_tree();
    let flag = Arc::new(AtomicBool::new(false));
    let mut source = tree.open(|options| {
        options.interrupt = Some(Arc::clone(&flag));
        options.threads = 2;
    });
    let ino = source.next_inode(Ino::FIRST, Class::Others).unwrap().unwrap();
    flag.store(true, Ordering::Relaxed);
    assert_eq!(source.open(ino).unwrap_err().kind(), ErrorKind::Interrupted);
    assert_eq!(source.next_inode(ino, Class::Others).unwrap_err().kind(), ErrorKind::Interrupted);
    let mut options = SourceOptions::new(std::env::temp_dir());
    options.interrupt = Some(flag);
    assert_eq!(
        LinuxSource::open(&tree.0, options).err().map(|error| error.kind()),
        Some(ErrorKind::Interrupted)
    );
}

#[test]
fn a_root_that_is_no_directory_is_refused() {
    let tree = TempTree::new();
    let file = tree.file("file", b"");
    let open = |path: &Path| LinuxSource::open(path, SourceOptions::new(std::env::temp_dir())).err().unwrap();
    assert_eq!(open(&tree.path("missing")).kind(), ErrorKind::NotFound);
    let error = open(&file);
    assert!(
        error.to_string().starts_with(&format!("cannot open the directory {}: ", file.display())),
        "{error}"
    );
}

#[test]
fn headers_name_the_tree_the_device_and_the_host() {
    let tree = TempTree::new();
    let names = tree.open(|_| {}).names().unwrap();
    let path = fs::canonicalize(&tree.0).unwrap();
    let path = path.as_os_str().as_bytes();
    let len = path.len().min(63);
    assert_eq!((&names.path[..len], names.path[63]), (&path[..len], 0));
    assert_ne!(names.device[0], 0);
    assert!(names.host.starts_with(rustix::system::uname().nodename().to_bytes()));
}
