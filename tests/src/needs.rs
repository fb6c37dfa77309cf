//! What a test needs of the machine, and what happens where it is missing.

use std::path::Path;

/// Something a machine may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Root's privileges.
    Root,
    /// A program, by name, and the Debian package that has it.
    Program(&'static str, &'static str),
    /// Loop devices that can be mounted.
    Loop,
}

impl Need {
    /// Debian's `dump`.
    pub const DUMP: Self = Self::Program("dump", "dump");
    /// Debian's `restore`.
    pub const RESTORE: Self = Self::Program("restore", "dump");
    /// The program that makes ext4 images.
    pub const MKE2FS: Self = Self::Program("mke2fs", "e2fsprogs");

    /// The programs that make btrfs images, and subvolumes on them.
    pub const BTRFS: Self = Self::Program("mkfs.btrfs", "btrfs-progs");
    /// The program that makes XFS images.
    pub const MKFS_XFS: Self = Self::Program("mkfs.xfs", "xfsprogs");

    /// Why the machine does not have it; `None` when it does.
    #[must_use]
    pub fn missing(self) -> Option<String> {
        match self {
            Self::Root if rustix::process::geteuid().is_root() => None,
            Self::Root => Some("needs root".into()),
            Self::Program(name, _) if program_exists(name) => None,
            Self::Program(name, package) => {
                Some(format!("needs the program {name} (Debian package {package})"))
            }
            Self::Loop if Path::new("/dev/loop-control").exists() => None,
            Self::Loop => Some("needs loop devices".into()),
        }
    }
}

fn program_exists(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(name).is_file())
        || Path::new("/sbin").join(name).is_file()
}

/// True where a missing tool is a failure and not a skip.
#[must_use]
pub fn everything_is_required() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true")
}
