//! Debian's `dump` and `restore`, as the tests run them.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cli::{Outcome, Run};
use crate::scratch::{path_text, run};
use crate::tree::{Kind, Tree};

/// A loop device over an image file, given back on drop.
#[derive(Debug)]
pub struct LoopDevice {
    path: PathBuf,
}

impl LoopDevice {
    /// Puts a device over the image; callers declare the need for root and loop devices.
    #[must_use]
    pub fn over(image: &Path) -> Self {
        let path = run("losetup", &["--find", "--show", "--read-only", path_text(image)]);
        Self { path: PathBuf::from(path.trim()) }
    }

    /// The device.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        let done = Command::new("losetup").arg("--detach").arg(&self.path).status();
        if !done.is_ok_and(|status| status.success()) {
            eprintln!("left attached: {}", self.path.display());
        }
    }
}

/// A level-0 dump of an ext4 image by Debian's `dump`, with further options.
///
/// # Panics
/// When the dump fails.
pub fn dump(image: &Path, tape: &Path, options: &[&str]) {
    let device = LoopDevice::over(image);
    let _ =
        Run::program("dump").arg("-0").args(options).arg("-f").arg(tape).arg(device.path()).outcome().done();
}

/// Debian's `restore` in a directory; questions are answered with yes.
#[must_use]
pub fn restore<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>, within: &Path) -> Outcome {
    Run::program("restore")
        .args(arguments)
        .within(within)
        .env("TMPDIR", within.parent().expect("a scratch directory has a parent"))
        .stdin_bytes(&b"y\n".repeat(8))
        .outcome()
}

/// What `restore` said beyond what it always says.
#[must_use]
pub fn unusual_messages(outcome: &Outcome) -> Vec<String> {
    const NORMAL: &[&str] = &[
        "Dump   date:",
        "Dumped from:",
        "Level 0 dump of",
        "Label:",
        "filesys = ",
        "set owner/mode for '.'? [yn]",
    ];
    let is_normal =
        |line: &&str| line.trim().is_empty() || NORMAL.iter().any(|start| line.starts_with(start));
    outcome.err().lines().filter(|line| !is_normal(line)).map(str::to_owned).collect()
}

/// The paths that `restore -t` lists, with the objects' numbers.
#[must_use]
pub fn listed(outcome: &Outcome) -> Vec<(u32, Vec<u8>)> {
    outcome
        .stdout
        .split(|&byte| byte == b'\n')
        .filter_map(|line| {
            let tab = line.iter().position(|&byte| byte == b'\t')?;
            let number = std::str::from_utf8(&line[..tab]).ok()?.trim().parse().ok()?;
            let path = &line[tab + 1..];
            Some((number, path.strip_prefix(b"./").unwrap_or(b"").to_vec()))
        })
        .collect()
}

/// The tree without what Debian's `restore` is known to lose from its own program's tapes: the access ACL of a
/// directory that has a default ACL as well.
#[must_use]
pub fn as_restore_knows(mut tree: Tree) -> Tree {
    for entry in tree.entries.values_mut() {
        if entry.kind == Kind::Directory && entry.xattrs.contains_key(&b"system.posix_acl_default"[..]) {
            entry.xattrs.remove(&b"system.posix_acl_access"[..]);
        }
    }
    tree
}
