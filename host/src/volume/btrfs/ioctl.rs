//! The kernel's btrfs interface, `<linux/btrfs.h>`: what the rest of [`super`] asks of it, and nothing else.
//!
//! All numbers are in the machine's byte order, identities are bytes. A descriptor of a file system that is not btrfs is
//! answered with `NOTTY`, since nobody else uses this group of numbers.

use std::mem::{offset_of, size_of};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::io::Errno;
use rustix::ioctl::{Getter, Opcode, Setter, Updater, ioctl, opcode};

/// `BTRFS_IOCTL_MAGIC`
const GROUP: u8 = 0x94;

/// `BTRFS_SUBVOL_RDONLY`, a flag of the request to make a snapshot.
const SNAPSHOT_READ_ONLY: u64 = 1 << 1;
/// `BTRFS_ROOT_SUBVOL_RDONLY`, a flag of a subvolume as it is stored.
const ROOT_READ_ONLY: u64 = 1 << 0;

/// Longest name of a subvolume in a request, its NUL included.
const SNAPSHOT_NAME_LEN: usize = 4040;
const DESTROY_NAME_LEN: usize = 4088;

/// `struct btrfs_ioctl_vol_args_v2`
#[repr(C)]
struct SnapshotArgs {
    fd: i64,
    transid: u64,
    flags: u64,
    unused: [u64; 4],
    name: [u8; SNAPSHOT_NAME_LEN],
}

/// `struct btrfs_ioctl_vol_args`
#[repr(C)]
struct DestroyArgs {
    fd: i64,
    name: [u8; DESTROY_NAME_LEN],
}

/// `struct btrfs_ioctl_timespec`
#[repr(C)]
#[derive(Clone, Copy)]
struct Time {
    secs: u64,
    nanos: u32,
    padding: u32,
}

/// `struct btrfs_ioctl_get_subvol_info_args`
#[repr(C)]
struct SubvolumeInfo {
    tree: u64,
    name: [u8; 256],
    parent: u64,
    directory: u64,
    generation: u64,
    flags: u64,
    uuid: [u8; 16],
    parent_uuid: [u8; 16],
    received_uuid: [u8; 16],
    changed_transid: u64,
    made_transid: u64,
    sent_transid: u64,
    received_transid: u64,
    changed: Time,
    made: Time,
    sent: Time,
    received: Time,
    reserved: [u64; 8],
}

/// `struct btrfs_ioctl_fs_info_args`
#[repr(C)]
struct FileSystemInfo {
    highest_device: u64,
    devices: u64,
    fsid: [u8; 16],
    node_len: u32,
    rest: [u32; 247],
}

/// `struct btrfs_ioctl_dev_info_args`
#[repr(C)]
struct DeviceInfo {
    device: u64,
    uuid: [u8; 16],
    used: u64,
    total: u64,
    rest: [u64; 507],
}

/// `struct btrfs_ioctl_space_info`
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Space {
    /// `BTRFS_BLOCK_GROUP_*`
    pub flags: u64,
    /// Bytes that can be stored.
    pub total: u64,
    /// Bytes that are.
    pub used: u64,
}

/// More than there are kinds of space: four, each in up to ten profiles.
const SPACES_MAX: usize = 64;

/// `struct btrfs_ioctl_space_args`
#[repr(C)]
struct SpaceArgs {
    slots: u64,
    total: u64,
    spaces: [Space; SPACES_MAX],
}

const _: () = assert!(size_of::<SnapshotArgs>() == 4096 && offset_of!(SnapshotArgs, name) == 56);
const _: () = assert!(size_of::<DestroyArgs>() == 4096);
const _: () = assert!(size_of::<SubvolumeInfo>() == 504 && offset_of!(SubvolumeInfo, uuid) == 296);
const _: () = assert!(size_of::<FileSystemInfo>() == 1024 && offset_of!(FileSystemInfo, node_len) == 32);
const _: () = assert!(size_of::<DeviceInfo>() == 4096 && offset_of!(DeviceInfo, total) == 32);
const _: () = assert!(size_of::<Space>() == 24 && offset_of!(SpaceArgs, spaces) == SPACE_HEAD_LEN);

const SNAP_DESTROY: Opcode = opcode::write::<DestroyArgs>(GROUP, 15);
/// The kernel's structure ends before the array, which is as long as its first field says.
const SPACE_INFO: Opcode =
    opcode::from_components(rustix::ioctl::Direction::ReadWrite, GROUP, 20, SPACE_HEAD_LEN);
const SPACE_HEAD_LEN: usize = 16;
const SNAP_CREATE_V2: Opcode = opcode::write::<SnapshotArgs>(GROUP, 23);
const DEV_INFO: Opcode = opcode::read_write::<DeviceInfo>(GROUP, 30);
const FS_INFO: Opcode = opcode::read::<FileSystemInfo>(GROUP, 31);
const GET_SUBVOL_INFO: Opcode = opcode::read::<SubvolumeInfo>(GROUP, 60);

/// What a subvolume is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Subvolume {
    pub uuid: [u8; 16],
    /// Of the subvolume that it is a snapshot of; zeros: it is none.
    pub parent_uuid: [u8; 16],
    /// Of the subvolume that it was received from; zeros: it was not.
    pub received_uuid: [u8; 16],
    /// The transaction in which it was received last.
    pub received_transid: u64,
    pub is_read_only: bool,
    /// When it was made, in seconds since 1970 and nanoseconds.
    pub made: (u64, u32),
    /// The transaction in which it was made.
    pub made_transid: u64,
    /// The transaction in which something in it changed last.
    pub changed_transid: u64,
}

/// A file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileSystem {
    pub fsid: [u8; 16],
    /// Bytes of a tree node.
    pub node_len: u32,
    pub highest_device: u64,
}

fn with_name<const LEN: usize>(name: &[u8]) -> Result<[u8; LEN], Errno> {
    let mut stored = [0; LEN];
    if name.len() >= LEN || name.contains(&0) {
        return Err(Errno::NAMETOOLONG);
    }
    stored.iter_mut().zip(name).for_each(|(to, from)| *to = *from);
    Ok(stored)
}

/// Makes the read-only snapshot `name` in `directory` of the subvolume whose root is `subvolume`; it is durable when this
/// returns.
pub(super) fn create_snapshot(
    directory: BorrowedFd<'_>,
    name: &[u8],
    subvolume: BorrowedFd<'_>,
) -> Result<(), Errno> {
    let args = SnapshotArgs {
        fd: subvolume.as_raw_fd().into(),
        transid: 0,
        flags: SNAPSHOT_READ_ONLY,
        unused: [0; 4],
        name: with_name(name)?,
    };
    // SAFETY: the request's number carries the length of `args`, which is the kernel's structure field by field (4,096 bytes,
    // see the assertions above; `unused` is the union that holds pointers only under a flag that is not set). The kernel
    // only reads it, and `subvolume` stays open during the call.
    unsafe { ioctl(directory, Setter::<SNAP_CREATE_V2, _>::new(args)) }
}

/// Deletes the subvolume `name` in `directory`. Its space is given back later, by the kernel.
pub(super) fn destroy(directory: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
    let args = DestroyArgs { fd: 0, name: with_name(name)? };
    // SAFETY: as for `create_snapshot`: a structure of 4,096 bytes without pointers, which the kernel only reads.
    unsafe { ioctl(directory, Setter::<SNAP_DESTROY, _>::new(args)) }
}

/// The subvolume that `fd` is in.
pub(super) fn subvolume(fd: impl AsFd) -> Result<Subvolume, Errno> {
    // SAFETY: the request's number carries the length of `SubvolumeInfo`, 504 bytes, all of which the kernel writes when it
    // succeeds; any bytes are valid in its fields, which are integers.
    let info = unsafe { ioctl(fd, Getter::<GET_SUBVOL_INFO, SubvolumeInfo>::new()) }?;
    Ok(Subvolume {
        uuid: info.uuid,
        parent_uuid: info.parent_uuid,
        received_uuid: info.received_uuid,
        received_transid: info.received_transid,
        is_read_only: info.flags & ROOT_READ_ONLY != 0,
        made: (info.made.secs, info.made.nanos),
        made_transid: info.made_transid,
        changed_transid: info.changed_transid,
    })
}

/// The file system that `fd` is on.
pub(super) fn file_system(fd: impl AsFd) -> Result<FileSystem, Errno> {
    // SAFETY: as for `subvolume`, with 1,024 bytes.
    let info = unsafe { ioctl(fd, Getter::<FS_INFO, FileSystemInfo>::new()) }?;
    let FileSystemInfo { highest_device, fsid, node_len, .. } = info;
    Ok(FileSystem { fsid, node_len, highest_device })
}

/// Bytes of a device that belong to no block group; `None`: there is no device of this number.
pub(super) fn unallocated(fd: impl AsFd, device: u64) -> Result<Option<u64>, Errno> {
    let mut info = DeviceInfo { device, uuid: [0; 16], used: 0, total: 0, rest: [0; 507] };
    // SAFETY: the request's number carries the length of `info`, 4,096 bytes of integers, which the kernel reads and writes
    // within; it is exclusively borrowed while the call lasts.
    match unsafe { ioctl(fd, Updater::<DEV_INFO, _>::new(&mut info)) } {
        Ok(()) => Ok(Some(info.total.saturating_sub(info.used))),
        Err(Errno::NODEV) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// How the space in block groups is used, by kind and profile.
pub(super) fn spaces(fd: impl AsFd) -> Result<Vec<Space>, Errno> {
    let empty = Space::default();
    let mut args = SpaceArgs { slots: SPACES_MAX as u64, total: 0, spaces: [empty; SPACES_MAX] };
    // SAFETY: the kernel reads and writes the two numbers at the front, and writes at most as many entries behind them as
    // `slots` says, which is what `args` has room for; all are integers, and `args` is exclusively borrowed meanwhile.
    unsafe { ioctl(fd, Updater::<SPACE_INFO, _>::new(&mut args)) }?;
    let count = usize::try_from(args.total).unwrap_or(SPACES_MAX).min(SPACES_MAX);
    Ok(args.spaces[..count].to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `<linux/btrfs.h>` makes them.
    #[test]
    fn the_requests_are_the_kernels() {
        let requests = [SNAP_CREATE_V2, SNAP_DESTROY, GET_SUBVOL_INFO, FS_INFO, DEV_INFO, SPACE_INFO];
        assert_eq!(requests, [0x5000_9417, 0x5000_940f, 0x81f8_943c, 0x8400_941f, 0xd000_941e, 0xc010_9414]);
    }

    #[test]
    fn names_end_in_a_zero() {
        assert_eq!(with_name::<4>(b"abc"), Ok(*b"abc\0"));
        assert_eq!(with_name::<4>(b"abcd"), Err(Errno::NAMETOOLONG));
        assert_eq!(with_name::<8>(b"a\0b"), Err(Errno::NAMETOOLONG));
    }

    #[test]
    fn other_file_systems_know_none_of_this() {
        let proc = std::fs::File::open("/proc").unwrap();
        assert_eq!(subvolume(&proc), Err(Errno::NOTTY));
        assert_eq!(file_system(&proc), Err(Errno::NOTTY));
        assert_eq!(spaces(&proc), Err(Errno::NOTTY));
        assert_eq!(unallocated(&proc, 1), Err(Errno::NOTTY));
        assert_eq!(create_snapshot(proc.as_fd(), b"a", proc.as_fd()), Err(Errno::NOTTY));
        assert_eq!(destroy(proc.as_fd(), b"a"), Err(Errno::NOTTY));
    }
}
