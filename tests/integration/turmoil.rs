//! Volumes on btrfs that change in every way, and increments of them: none may miss a change, whether the volume tells what
//! changed or a walk does.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{
    CWD, FallocateFlags, FileType, Mode, RenameFlags, XattrFlags, fallocate, ioctl_ficlone, lremovexattr,
    lsetxattr, mknodat, renameat_with,
};
use tapedump_tests::product::{dump_snapshot, restore, snapshot};
use tapedump_tests::random::{Random, seed};
use tapedump_tests::scratch::{path_text, remove_tree, run};
use tapedump_tests::tree::{Compare, Tree};

use crate::Case;
use crate::snapshots::{BTRFS, Pool, btrfs};

pub(crate) const CASES: &[Case] =
    &[Case { name: "no_change_is_missed", needs: BTRFS, run: no_change_is_missed }];

/// A volume that everything may happen to.
struct Turmoil {
    pool: Pool,
    random: Random,
    /// Names made so far: new ones are told apart, old ones come again.
    made: u64,
}

/// What there is.
#[derive(Default)]
struct Found {
    directories: Vec<PathBuf>,
    files: Vec<PathBuf>,
    others: Vec<PathBuf>,
    /// Roots of nested subvolumes.
    nested: Vec<PathBuf>,
}

impl Found {
    fn look(&mut self, directory: &Path, device: u64) {
        self.directories.push(directory.to_path_buf());
        let entries = fs::read_dir(directory).expect("volume").map(|entry| entry.expect("volume").path());
        let mut entries: Vec<PathBuf> = entries.collect();
        entries.sort();
        for path in entries {
            let found = fs::symlink_metadata(&path).expect("volume");
            match found.file_type() {
                kind if kind.is_dir() && found.dev() != device => self.nested.push(path),
                kind if kind.is_dir() => self.look(&path, device),
                kind if kind.is_file() => self.files.push(path),
                _ => self.others.push(path),
            }
        }
    }
}

impl Turmoil {
    fn new(seed: u64) -> Self {
        let pool = Pool::new("turmoil");
        // The first dump would make it, and the root change.
        fs::create_dir(pool.volume().join(".snapshot")).expect("volume");
        let mut turmoil = Self { pool, random: Random::new(seed), made: 0 };
        for _ in 0..60 {
            turmoil.change();
        }
        turmoil
    }

    fn volume(&self) -> PathBuf {
        self.pool.volume()
    }

    fn found(&self) -> Found {
        let mut found = Found::default();
        let volume = self.volume();
        found.look(&volume, fs::metadata(&volume).expect("volume").dev());
        // Those of dumps and users are no nested subvolumes of the tree.
        let snapshots = volume.join(".snapshot");
        found.nested.retain(|path| !path.starts_with(&snapshots));
        found
    }

    fn one_of(&mut self, paths: &[PathBuf]) -> Option<PathBuf> {
        let index = self.random.below(paths.len().max(1) as u64) as usize;
        paths.get(index).cloned()
    }

    fn new_path(&mut self, found: &Found) -> PathBuf {
        let parent = self.one_of(&found.directories).expect("the root is one");
        self.made += 1;
        // Now and then a name that was there before.
        let number = if self.random.below(3) == 0 { self.random.below(self.made) } else { self.made };
        parent.join(format!("n{number}"))
    }

    fn any(&mut self, found: &Found) -> Option<PathBuf> {
        let volume = self.volume();
        let all = [&found.directories[..], &found.files, &found.others].concat();
        self.one_of(&all).filter(|path| *path != volume && *path != volume.join(".snapshot"))
    }

    fn data(&mut self) -> Vec<u8> {
        let len = match self.random.below(4) {
            0 => self.random.below(200),
            1..=2 => self.random.below(9000),
            _ => self.random.below(70_000),
        };
        self.random.bytes(len as usize)
    }

    /// One change; what is not possible here changes nothing.
    fn change(&mut self) {
        let found = self.found();
        let new = self.new_path(&found);
        let is_free = fs::symlink_metadata(&new).is_err();
        let file = self.one_of(&found.files);
        match self.random.below(24) {
            0..=3 if is_free => fs::write(&new, self.data()).expect("volume"),
            4..=5 if is_free => fs::create_dir(&new).expect("volume"),
            6 if is_free => _ = symlink("somewhere", &new),
            7 if is_free => {
                _ = mknodat(CWD, &new, FileType::Fifo, Mode::from_raw_mode(0o600), 0);
            }
            8..=9 => _ = self.any(&found).map(|old| fs::rename(old, &new)),
            10 => {
                let (one, other) = (self.any(&found), self.any(&found));
                let paths = one.zip(other);
                _ = paths.map(|(one, other)| renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE));
            }
            11 => _ = file.map(|old| fs::hard_link(old, &new)),
            12..=13 => _ = file.map(fs::remove_file),
            14 => {
                let volume = self.volume();
                let gone = self.one_of(&found.directories).filter(|gone| *gone != volume);
                _ = gone.filter(|gone| !gone.ends_with(".snapshot")).map(fs::remove_dir_all);
            }
            15 => self.change_attributes(&found),
            16..=20 => _ = file.map(|file| self.change_data(&file, &found)),
            21 => self.change_attributes(&found),
            22 => self.change_subvolumes(&found, &new),
            _ => self.make_anew(&found),
        }
    }

    fn change_attributes(&mut self, found: &Found) {
        let Some(path) = self.any(found) else { return };
        let is_link = fs::symlink_metadata(&path).is_ok_and(|found| found.is_symlink());
        let name = format!("user.a{}", self.random.below(3));
        match self.random.below(5) {
            0 => {
                let len = self.random.below(3000) as usize;
                let value = self.random.bytes(len);
                _ = lsetxattr(&path, name.as_str(), &value, XattrFlags::empty());
            }
            1 => _ = lremovexattr(&path, name.as_str()),
            2 if !is_link => {
                let mode = 0o600 + self.random.below(0o177) as u32;
                _ = fs::set_permissions(&path, fs::Permissions::from_mode(mode));
            }
            3 if !is_link => _ = chown(&path, Some(self.random.below(5) as u32), None),
            4 if path.is_file() => {
                // As an archive brings back old times.
                let past = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
                _ = File::open(&path).and_then(|file| file.set_modified(past));
            }
            _ => {}
        }
    }

    fn change_data(&mut self, file: &Path, found: &Found) {
        let open = OpenOptions::new().read(true).write(true).open(file).expect("volume");
        let len = open.metadata().expect("volume").len();
        let at = self.random.below(len + 1);
        match self.random.below(6) {
            0 => open.set_len(self.random.below(2 * len + 1)).expect("volume"),
            1 => {
                let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                _ = fallocate(&open, flags, at, len - at + 1);
            }
            2 => {
                let other = self.one_of(&found.files).expect("there is one");
                _ = File::open(other).map(|other| ioctl_ficlone(&open, other));
            }
            // Reserved before, and written in its place then.
            3 => {
                _ = fallocate(&open, FallocateFlags::KEEP_SIZE, len, 20_000);
                open.sync_all().expect("volume");
                let data = self.data();
                open.write_all_at(&data, len).expect("volume");
            }
            4 => {
                let data = self.random.bytes(10);
                open.write_all_at(&data, at).expect("volume");
            }
            _ => {
                let data = self.data();
                fs::write(file, data).expect("volume");
            }
        }
    }

    fn change_subvolumes(&mut self, found: &Found, new: &Path) {
        let nested = found.nested.first();
        match nested {
            Some(nested) => btrfs(&["subvolume", "delete", path_text(nested)]),
            None if self.random.below(3) > 0 => {}
            None if fs::symlink_metadata(new).is_ok() || new.starts_with(self.volume().join(".snapshot")) => {
            }
            None => btrfs(&["subvolume", "create", path_text(new)]),
        }
    }

    /// Something else under a name that is there.
    fn make_anew(&mut self, found: &Found) {
        let Some(old) = self.any(found) else { return };
        let is_directory = fs::symlink_metadata(&old).is_ok_and(|found| found.is_dir());
        if is_directory { fs::remove_dir_all(&old) } else { fs::remove_file(&old) }.expect("volume");
        match self.random.below(3) {
            0 => fs::create_dir(&old).expect("volume"),
            _ => fs::write(&old, self.data()).expect("volume"),
        }
    }

    /// What happens to the file system as a whole.
    fn shake(&mut self) {
        match self.random.below(6) {
            // The numbers of what is gone come again then.
            0..=2 => {
                let (image, root) = (self.pool.scratch.join("image"), self.pool.root().to_path_buf());
                run("umount", &[path_text(&root)]);
                run("mount", &["-o", "loop", path_text(&image), path_text(&root)]);
            }
            3 => btrfs(&["balance", "start", "--full-balance", path_text(self.pool.root())]),
            4 => run("sync", &[]).clear(),
            _ => {}
        }
    }

    /// The volume as a dump shows it, but for nested subvolumes: without its snapshots.
    fn now(&self) -> (Tree, Vec<Vec<u8>>) {
        let nested = self.found().nested;
        let volume = self.volume();
        let junctions: Vec<Vec<u8>> = nested
            .iter()
            .map(|path| path_text(path.strip_prefix(&volume).expect("in it")).as_bytes().to_vec())
            .collect();
        let tree = Tree::read(&volume).expect("tree");
        let tree = tree.without(|path, _| path == b".snapshot" || path.starts_with(b".snapshot/"));
        (without(tree, &junctions), junctions)
    }
}

fn without(tree: Tree, junctions: &[Vec<u8>]) -> Tree {
    tree.without(|path, _| {
        junctions.iter().any(|junction| {
            path.strip_prefix(&junction[..]).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
        })
    })
}

/// R-CHAIN-4: whatever happens to a volume between the levels, each chain gives it back as it was.
fn no_change_is_missed() {
    let seed = seed();
    println!("seed {seed}");
    let rounds = if std::env::var_os("TAPEDUMP_EXHAUSTIVE").is_some() { 40 } else { 2 };
    let mut asked = 0;
    for seed in seed..seed + rounds {
        asked += chains_of(seed);
    }
    assert!(asked > 0, "no volume was asked what changed");
}

/// Dumps of all levels of a volume; gives how often it was asked what changed.
fn chains_of(seed: u64) -> usize {
    let mut turmoil = Turmoil::new(seed);
    let volume = turmoil.volume();
    let (mut asked, mut made) = (0, Vec::new());
    for (index, level) in [0, 1, 2, 2, 1, 3, 4, 2].into_iter().enumerate() {
        let tape = turmoil.pool.scratch.join(&format!("tape {index}"));
        let mut run = dump_snapshot(&turmoil.pool.scratch, &volume, &tape);
        run = run.args(["--level", &level.to_string()]);
        let mut expected = None;
        if turmoil.random.below(6) == 0 {
            // A dump of a snapshot is of the second before that, and of a later time than its base.
            std::thread::sleep(Duration::from_millis(2100));
            let name = format!("s{index}");
            let _ = snapshot(&turmoil.pool.scratch, "create", &volume).arg(&name).outcome().done();
            expected = Some(turmoil.now());
            turmoil.changes();
            run = run.args(["--snapshot", &name]);
        }
        let expected = expected.unwrap_or_else(|| turmoil.now());
        let said = run.outcome().done().err();
        asked += usize::from(said.contains("the volume tells what changed"));
        made.push((tape, expected));
        turmoil.changes();
        turmoil.shake();
        turmoil.changes();
    }
    for (index, (tape, (expected, junctions))) in made.iter().enumerate() {
        println!("seed {seed}, dump {index}");
        let out = turmoil.pool.scratch.directory("restored");
        let _ = restore(&turmoil.pool.scratch, tape, &out).outcome().done();
        // What is reserved and not written is a hole here, and may be zeros there.
        Compare::EXACT
            .without_holes()
            .assert_equal(expected, &without(Tree::read(&out).expect("tree"), junctions));
        remove_tree(&out).expect("own directory");
    }
    asked
}

impl Turmoil {
    fn changes(&mut self) {
        for _ in 0..self.random.below(25) {
            self.change();
        }
    }
}
