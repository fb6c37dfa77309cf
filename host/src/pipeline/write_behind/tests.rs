//! That any number of threads makes the same tree, and that what fails behind is told.

use super::*;
use crate::volume::target::tests::{at, attributes, is_root, put, tree};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use std::path::Path;
use tapedump_core::device::DeviceError;
use tapedump_core::device::volume::Kind;
use tempfile::tempdir;

/// Numbers that are the same each time.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// Gives a target a tree of many small files, some large and sparse ones, links and properties.
fn give(target: &mut WriteBehind, seed: u64) {
    let mut random = Random(seed);
    for ino in 10..30 {
        let parent = if ino < 14 { 2 } else { 10 + random.below(4) as u32 };
        target.make_directory(at(parent, &format!("dir{ino}")), Ino(ino)).unwrap();
    }
    let bytes: Vec<u8> = (0..3 << 20).map(|_| random.below(256) as u8).collect();
    for ino in 100..1_000 {
        let (parent, name) = (10 + random.below(20) as u32, format!("object{ino}"));
        let place = at(parent, &name);
        let mut object = attributes(Kind::File, 0o600 | random.below(0o177) as u16, random.below(9_000));
        match random.below(100) {
            0..3 => object.size = random.below(3 << 20),
            3..6 => object.kind = Kind::Fifo,
            6..10 => object = attributes(Kind::Symlink, 0o777, 1 + random.below(200)),
            _ => {}
        }
        object.modified.secs += i64::from(ino);
        target.create(place, Ino(ino), &object).unwrap();
        let data = bytes.get(..object.size as usize).unwrap();
        let piece_len = 1 + random.below(600_000) as usize;
        if object.kind == Kind::Symlink {
            let text: Vec<u8> = data.iter().map(|byte| b'a' + byte % 26).collect();
            target.write(0, &text).unwrap();
        } else if object.kind == Kind::File {
            for (index, piece) in data.chunks(piece_len).enumerate() {
                if piece.len() < piece_len || random.below(8) > 0 {
                    target.write((index * piece_len) as u64, piece).unwrap();
                }
            }
            if random.below(10) == 0 {
                let value = bytes.get(..random.below(300) as usize).unwrap();
                target.begin_property(PropertyKind::Xattr, b"user.some", value.len() as u32).unwrap();
                target.write_property(value).unwrap();
            }
        }
        if random.below(50) == 0 {
            target.release();
        } else {
            target.finish(&object).unwrap();
            for further in 0..random.below(30).saturating_sub(26) {
                if object.kind == Kind::File {
                    let other = 10 + random.below(20) as u32;
                    target.link(place, at(other, &format!("link{ino}-{further}")), Ino(ino)).unwrap();
                }
            }
        }
    }
    target.barrier();
    for ino in 10..14 {
        target.reopen(at(2, &format!("dir{ino}")), Ino(ino)).unwrap();
        target.finish(&attributes(Kind::Directory, 0o751, 0)).unwrap();
    }
    target.flush().unwrap();
}

/// The tree without the times of what gets none in the end.
fn given(threads: usize, seed: u64) -> Vec<String> {
    let root = tempdir().unwrap();
    let mut target = WriteBehind::new(LinuxTarget::open(root.path()).unwrap(), threads);
    assert_eq!(target.threads(), threads);
    give(&mut target, seed);
    assert_eq!(target.poll_failure(), None);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    tree(root.path())
        .into_iter()
        .map(|line| {
            let (before, time) = line.split_once('.').map_or((line.as_str(), ""), |split| split);
            let (rest, secs) = before.rsplit_once(' ').unwrap();
            let is_recent = secs.parse::<u64>().is_ok_and(|secs| secs.abs_diff(now) < 1_000);
            if is_recent { rest.to_owned() } else { format!("{rest} {secs}.{time}") }
        })
        .collect()
}

#[test]
fn any_number_of_threads_makes_the_same_tree() {
    let expected = given(1, 1);
    assert!(expected.len() > 800);
    for threads in [2, 4] {
        let found = given(threads, 1);
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!(found, expected, "{threads} threads");
        }
        assert_eq!(found.len(), expected.len());
    }
}

fn target(root: &Path) -> WriteBehind {
    WriteBehind::new(LinuxTarget::open(root).unwrap(), 3)
}

fn failures(target: &mut WriteBehind) -> Vec<(u32, FailedPart, ErrorKind)> {
    target.barrier();
    std::iter::from_fn(|| target.poll_failure())
        .map(|failure| (failure.ino.0, failure.what, failure.error.kind()))
        .collect()
}

#[test]
fn what_fails_behind_is_told_and_concerns_its_object_only() {
    let root = tempdir().unwrap();
    let mut target = target(root.path());
    std::fs::create_dir(root.path().join("taken")).unwrap();
    let file = attributes(Kind::File, 0o644, 3);
    put(&mut target, at(2, "before"), 10, &file, b"one");
    put(&mut target, at(2, "taken"), 11, &file, b"two");
    target.link(at(2, "taken"), at(2, "link"), Ino(11)).unwrap();
    put(&mut target, at(2, "after"), 12, &file, b"six");
    let told = failures(&mut target);
    let expected = [(11, FailedPart::Create, ErrorKind::Exists), (11, FailedPart::Link, ErrorKind::NotFound)];
    assert_eq!(told, expected);
    assert_eq!(std::fs::read(root.path().join("before")).unwrap(), b"one");
    assert_eq!(std::fs::read(root.path().join("after")).unwrap(), b"six");
    assert!(!root.path().join("link").exists());
    assert_eq!(target.poll_failure(), None);
}

#[test]
fn a_link_that_comes_late_finds_its_object() {
    let root = tempdir().unwrap();
    let mut target = target(root.path());
    std::fs::create_dir(root.path().join("taken")).unwrap();
    let file = attributes(Kind::File, 0o644, 3);
    for ino in 10..500 {
        put(&mut target, at(2, &format!("file{ino}")), ino, &file, b"abc");
    }
    put(&mut target, at(2, "taken"), 500, &file, b"abc");
    for ino in 10..500 {
        target.link(at(2, &format!("file{ino}")), at(2, &format!("link{ino}")), Ino(ino)).unwrap();
    }
    let late = target.link(at(2, "taken"), at(2, "x"), Ino(500)).unwrap_err();
    assert_eq!(late.kind(), ErrorKind::NotFound, "{late}");
    assert_eq!(failures(&mut target), [(500, FailedPart::Create, ErrorKind::Exists)]);
    for ino in 10..500 {
        let (one, other) = (format!("file{ino}"), format!("link{ino}"));
        let inode = |name| rustix::fs::lstat(root.path().join(name)).unwrap().st_ino;
        assert_eq!(inode(one), inode(other));
    }
}

#[test]
fn an_object_larger_than_all_batches_keeps_its_order() {
    let root = tempdir().unwrap();
    let mut target = target(root.path());
    let piece = |index: u64| (index + 1).to_le_bytes().repeat(12_500);
    let pieces = 400_u64;
    let large = attributes(Kind::File, 0o644, pieces * 100_000);
    for (ino, name) in [(10, "large"), (11, "larger"), (12, "largest")] {
        target.create(at(2, name), Ino(ino), &large).unwrap();
        for index in 0..pieces {
            target.write(index * 100_000, &piece(index)).unwrap();
        }
        target.finish(&large).unwrap();
    }
    assert_eq!(failures(&mut target), []);
    let pool = target.pool.as_ref().unwrap();
    assert!(pool.shared.lock().made <= BATCHES_MAX);
    for name in ["large", "larger", "largest"] {
        let found = std::fs::read(root.path().join(name)).unwrap();
        assert_eq!(found.len(), 40_000_000);
        assert!((0..).zip(found.chunks(100_000)).all(|(index, chunk)| chunk == piece(index)), "{name}");
    }
}

#[test]
fn a_full_volume_is_told_for_each_object_that_did_not_fit() {
    const NAME: &str = "a_full_volume_is_told_for_each_object_that_did_not_fit";
    if !is_root(NAME) {
        return;
    }
    let root = tempdir().unwrap();
    if let Err(errno) = mount("tmpfs", root.path(), "tmpfs", MountFlags::empty(), Some(c"size=1m")) {
        eprintln!("SKIPPED {NAME}: cannot mount a tmpfs: {errno}");
        return;
    }
    let mut target = target(root.path());
    let file = attributes(Kind::File, 0o644, 100_000);
    for ino in 10..30 {
        put(&mut target, at(2, &format!("file{ino}")), ino, &file, &[1; 100_000]);
    }
    let told = failures(&mut target);
    drop(target);
    let whole = (10..30).filter(|ino| {
        let data = std::fs::read(root.path().join(format!("file{ino}"))).unwrap();
        let is_whole = data == [1; 100_000];
        assert_ne!(is_whole, told.iter().any(|failure| failure.0 == *ino), "file{ino}");
        is_whole
    });
    // Ten fit; but those that do not may have taken some room before.
    let whole = whole.count();
    unmount(root.path(), UnmountFlags::DETACH).unwrap();
    assert!((5..=10).contains(&whole), "{told:?}");
    assert!(
        told.iter().all(|failure| (failure.1, failure.2) == (FailedPart::Data, ErrorKind::Full)),
        "{told:?}"
    );
}

#[test]
fn dropping_it_finishes_what_was_asked_for() {
    let root = tempdir().unwrap();
    let mut target = target(root.path());
    for ino in 10..100 {
        put(&mut target, at(2, &format!("file{ino}")), ino, &attributes(Kind::File, 0o644, 1), b"x");
    }
    target.create(at(2, "open"), Ino(100), &attributes(Kind::File, 0o644, 1)).unwrap();
    drop(target);
    assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 91);
}

#[test]
fn a_worker_that_panics_stops_the_restore() {
    let root = tempdir().unwrap();
    let mut target = target(root.path());
    let shared = Arc::clone(&target.pool.as_ref().unwrap().shared);
    let panicked = thread::spawn(move || {
        let _alarm = Alarm(shared);
        panic!("for the test");
    });
    assert!(panicked.join().is_err());
    target.barrier();
    assert!(target.flush().is_err());
    let file = attributes(Kind::File, 0o644, 1 << 20);
    target.create(at(2, "file"), Ino(10), &file).unwrap();
    assert!((0..64).any(|_| target.write(0, &[0; 1 << 19]).is_err()));
}
