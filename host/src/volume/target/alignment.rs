//! Files that are aligned for virtual machines: they take the alignment of the volume they are restored to (R-RESTORE-12).

use super::directory::Directory;
use crate::volume::carrier::attribute_of;
use crate::volume::place::is_volume_root;
use rustix::buffer::spare_capacity;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{self, Mode, OFlags, fgetxattr};
use tapedump_core::device::volume::PropertyKind;

/// Directories above the destination that are looked at for its volume's root.
const DEPTH_MAX: usize = 4096;
/// More than any alignment takes.
const VALUE_LEN_MAX: usize = 64;

/// What becomes of the alignment of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Alignment {
    /// It stays as on the dump, whose root brings the volume's own.
    #[default]
    OfDump,
    /// It is the volume's.
    OfVolume(Vec<u8>),
    /// The volume has none.
    None,
}

impl Alignment {
    /// That of the volume that holds the destination.
    pub(super) fn of(destination: &Directory) -> Self {
        let is_root = is_volume_root(destination).unwrap_or(false);
        let root = if is_root { open(destination, ".") } else { volume_root(destination) };
        let name = attribute_of(PropertyKind::VmAlignment, b"");
        let mut value = Vec::with_capacity(VALUE_LEN_MAX);
        let found = root.map(|root| fgetxattr(&root, name.as_ref(), spare_capacity(&mut value)));
        match found {
            Some(Ok(_)) => Self::OfVolume(value),
            _ if is_root => Self::OfDump,
            _ => Self::None,
        }
    }
}

fn open(directory: impl AsFd, name: &str) -> Option<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    fs::openat(directory, name, flags, Mode::empty()).ok()
}

/// The root of the volume that holds a directory.
fn volume_root(directory: &Directory) -> Option<OwnedFd> {
    let mut at = open(directory, "..")?;
    for _ in 0..DEPTH_MAX {
        if is_volume_root(&at).ok()? {
            return Some(at);
        }
        at = open(&at, "..")?;
    }
    None
}
