//! What a directory is within its volume: the volume's root, the root of a qtree, or any other one.

use super::carrier::attribute_of;
use super::identity::Mount;
use rustix::fd::AsFd;
use rustix::fs::{self, AtFlags, Mode, OFlags, StatxAttributes, StatxFlags, fstatfs, getxattr_query, statx};
use rustix::io::Errno;
use tapedump_core::device::volume::{PropertyKind, TargetRoot};

/// `f_type` of btrfs, where each subvolume is a volume, and the number that the root of each has.
const BTRFS: u64 = 0x9123_683e;
const SUBVOLUME_ROOT: u64 = 256;

/// Whether an open directory is the root of a volume: of a mounted file system or of a subvolume, but not a
/// directory that is mounted elsewhere once more.
///
/// # Errors
/// The system cannot tell.
pub fn is_volume_root(directory: impl AsFd) -> Result<bool, Errno> {
    let wanted = StatxFlags::INO | StatxFlags::MNT_ID;
    let stat = statx(&directory, c"", AtFlags::EMPTY_PATH, wanted)?;
    if fstatfs(&directory)?.f_type as u64 & 0xffff_ffff == BTRFS {
        return Ok(stat.stx_ino == SUBVOLUME_ROOT);
    }
    let is_mounted = stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT);
    Ok(is_mounted && Mount::find(stat.stx_mnt_id).is_none_or(|mount| mount.is_whole()))
}

/// What an open directory is. Where the system cannot tell, it is a directory like any other.
pub fn place_of(directory: impl AsFd) -> TargetRoot {
    if is_volume_root(&directory).unwrap_or(false) {
        return TargetRoot::Volume;
    }
    match is_below_volume_root(&directory) {
        Ok(true) if has_qtree_attributes(&directory) => TargetRoot::Qtree,
        Ok(true) => TargetRoot::TopLevel,
        _ => TargetRoot::Directory,
    }
}

/// Whether an open directory is one of the top level: the only ones that can be qtrees.
///
/// # Errors
/// The system cannot tell.
pub fn is_below_volume_root(directory: impl AsFd) -> Result<bool, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    is_volume_root(fs::openat(directory, "..", flags, Mode::empty())?)
}

fn has_qtree_attributes(directory: impl AsFd) -> bool {
    let path = super::target::descriptor_path(directory.as_fd());
    let attribute = attribute_of(PropertyKind::Qtree, b"");
    matches!(getxattr_query(path.as_str(), attribute.as_ref()), Ok(1..))
}
