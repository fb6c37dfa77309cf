//! Temporary directories and mounts that disappear with their owner.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// A directory of its own for one test, removed on drop.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// An empty directory on the file system of the temporary directory.
    ///
    /// # Panics
    /// When it cannot be created.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self::in_directory(&std::env::temp_dir(), name)
    }

    /// An empty directory in memory where the system has such a place, for tests of thousands of short runs.
    #[must_use]
    pub fn in_memory(name: &str) -> Self {
        let shm = Path::new("/dev/shm");
        let usable =
            rustix::fs::access(shm, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK).is_ok();
        if usable { Self::in_directory(shm, name) } else { Self::new(name) }
    }

    fn in_directory(parent: &Path, name: &str) -> Self {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("tapedump-test-{}-{serial}-{name}", std::process::id()));
        fs::create_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        // Tests that drop privileges must be able to reach what they are given.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("own directory");
        Self { path }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path in it.
    #[must_use]
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// A new, empty directory in it.
    ///
    /// # Panics
    /// When it cannot be created.
    #[must_use]
    pub fn directory(&self, name: &str) -> PathBuf {
        let path = self.join(name);
        fs::create_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = remove_tree(&self.path) {
            eprintln!("left behind: {}: {error}", self.path.display());
        }
    }
}

/// Removes a tree, also one that holds directories without permissions.
///
/// # Errors
/// Whatever keeps the tree from being removed.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            unlock(path)?;
            fs::remove_dir_all(path)
        }
        other => other,
    }
}

fn unlock(directory: &Path) -> io::Result<()> {
    fs::set_permissions(directory, fs::Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            unlock(&entry.path())?;
        }
    }
    Ok(())
}

/// A mounted file system, unmounted on drop.
#[derive(Debug)]
pub struct Mount {
    at: PathBuf,
}

impl Mount {
    /// Mounts an image file at a new directory `at`.
    ///
    /// # Panics
    /// When the system refuses; callers declare the need for root.
    #[must_use]
    pub fn image(image: &Path, at: &Path, options: &str) -> Self {
        let options = format!("loop,{options}");
        Self::with_arguments(&["-o", options.trim_end_matches(','), path_text(image)], at)
    }

    /// Mounts a new tmpfs at a new directory `at`.
    ///
    /// # Panics
    /// When the system refuses; callers declare the need for root.
    #[must_use]
    pub fn tmpfs(at: &Path, options: &str) -> Self {
        Self::with_arguments(&["-t", "tmpfs", "-o", options, "tmpfs"], at)
    }

    /// Mounts a new ramfs, which has no extended attributes, at a new directory `at`.
    ///
    /// # Panics
    /// When the system refuses; callers declare the need for root.
    #[must_use]
    pub fn ramfs(at: &Path) -> Self {
        Self::with_arguments(&["-t", "ramfs", "ramfs"], at)
    }

    fn with_arguments(arguments: &[&str], at: &Path) -> Self {
        fs::create_dir_all(at).expect("mount point");
        run("mount", &[arguments, &[path_text(at)]].concat());
        Self { at: at.to_path_buf() }
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.at
    }

    /// Makes it read-only.
    ///
    /// # Panics
    /// When the system refuses.
    pub fn make_read_only(&self) {
        run("mount", &["-o", "remount,ro", path_text(&self.at)]);
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let done = Command::new("umount").arg(&self.at).status();
        if !done.is_ok_and(|status| status.success()) {
            eprintln!("left mounted: {}", self.at.display());
        }
    }
}

/// A new file system image of `size` bytes; `arguments` go to `mke2fs`.
///
/// # Panics
/// When `mke2fs` fails; callers declare the need for it.
pub fn make_ext4(image: &Path, size: u64, arguments: &[&str]) {
    fs::File::create(image).and_then(|file| file.set_len(size)).expect("image file");
    // Small images would get small blocks, and with them shorter links and fewer attributes.
    run("mke2fs", &[&["-q", "-F", "-t", "ext4", "-b", "4096"], arguments, &[path_text(image)]].concat());
}

/// A new XFS image so large that the inode numbers of most directories are large. It takes 64 MiB of room.
///
/// # Panics
/// When `mkfs.xfs` fails; callers declare the need for it.
pub fn make_large_xfs(image: &Path) {
    // New directories go to one allocation group after the other, and a number begins with that of its group.
    fs::File::create(image).and_then(|file| file.set_len(2 << 40)).expect("image file");
    run("mkfs.xfs", &["-q", "-l", "size=64m", path_text(image)]);
}

/// A new XFS image of the least size there is, with little of it on disk.
///
/// # Panics
/// When `mkfs.xfs` fails; callers declare the need for it.
pub fn make_xfs(image: &Path) {
    fs::File::create(image).and_then(|file| file.set_len(320 << 20)).expect("image file");
    run("mkfs.xfs", &["-q", path_text(image)]);
}

/// A new btrfs image of `size` bytes; `arguments` go to `mkfs.btrfs`.
///
/// # Panics
/// When `mkfs.btrfs` fails; callers declare the need for it.
pub fn make_btrfs(image: &Path, size: u64, arguments: &[&str]) {
    fs::File::create(image).and_then(|file| file.set_len(size)).expect("image file");
    run("mkfs.btrfs", &[&["-q"], arguments, &[path_text(image)]].concat());
}

/// Runs a program that must succeed and gives what it wrote.
///
/// # Panics
/// When it cannot be started or fails, with what it said.
pub fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("{program} cannot be started: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {}: {said}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The text of a path that a test has made itself.
///
/// # Panics
/// When it is not UTF-8, which only a strange temporary directory can cause.
#[must_use]
pub fn path_text(path: &Path) -> &str {
    path.to_str().expect("the temporary directory has a UTF-8 name")
}
