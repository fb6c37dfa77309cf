//! Which volume a tree is in, and where: what increments of it are known by, wherever it is mounted (R-CHAIN-8).
//!
//! On btrfs the volume is the subvolume, known by the identities that it and its file system bear: a snapshot or clone of it
//! is another one, and what it was received from, too. Elsewhere it is the file system together with the directory.

use super::VolumeError;
use super::btrfs::{Role, Subvolume, names_of};
use crate::text::printable;
use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags, fstatfs, fstatvfs, open, statx};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use tapedump_core::units::VolumeId;

/// XFS: what it calls its identity is the number of its device, which another file system has tomorrow.
const XFS: u64 = 0x5846_5342;

/// What a tree is known by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeIdentity {
    /// The file system and the directory: a tree that was made anew is another one.
    pub volume: VolumeId,
    /// Path from the file system's root, without a slash at either end.
    pub path: Vec<u8>,
    /// What is mounted: a device, for people; of a subvolume as `/dev/sda2[/path]`.
    pub name: Vec<u8>,
    /// What the volume is to those who use it.
    pub role: Role,
}

impl TreeIdentity {
    /// Of the directory `tree`.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn of(tree: &Path) -> Result<Self, VolumeError> {
        match Subvolume::of(tree)? {
            Some(subvolume) => Self::in_subvolume(tree, &subvolume),
            None => Self::elsewhere(tree),
        }
    }

    fn in_subvolume(tree: &Path, subvolume: &Subvolume) -> Result<Self, VolumeError> {
        let Some((root, beneath)) = subvolume.root() else {
            // Only a part of the subvolume is mounted: the path is what the mount tells, from the file system's root.
            let known = Self::elsewhere(tree)?;
            return Ok(Self { volume: subvolume.id(), role: subvolume.role(), ..known });
        };
        let failed = |errno| VolumeError::system("identify the tree", tree, errno);
        let mount = Mount::of(root).map_err(failed)?;
        let name = mount.map_or_else(Vec::new, |mount| {
            let path: Vec<u8> = names_of(Path::new(OsStr::from_bytes(&mount.path_in_volume(root))));
            if path.is_empty() { mount.source } else { [&mount.source, &b"[/"[..], &path, b"]"].concat() }
        });
        Ok(Self { volume: subvolume.id(), path: names_of(beneath), name, role: subvolume.role() })
    }

    fn elsewhere(tree: &Path) -> Result<Self, VolumeError> {
        let failed = |errno| VolumeError::system("identify the tree", tree, errno);
        let absolute = fs::canonicalize(tree).map_err(|error| {
            failed(rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::IO))
        })?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = open(&absolute, flags, Mode::empty()).map_err(failed)?;
        let wanted = StatxFlags::BASIC_STATS | StatxFlags::BTIME | StatxFlags::MNT_ID;
        let stat = statx(&fd, c"", AtFlags::EMPTY_PATH, wanted).map_err(failed)?;
        let kind = fstatfs(&fd).map_err(failed)?.f_type as u64 & 0xffff_ffff;
        let fsid = if kind == XFS { 0 } else { fstatvfs(&fd).map_err(failed)?.f_fsid };
        // When the directory was made tells it from another one with the same number, on a file system made anew.
        let born = stat.stx_btime.tv_sec.wrapping_mul(1_000_000_000) as u64;
        let second = born.wrapping_add(stat.stx_btime.tv_nsec.into()) ^ stat.stx_ino.rotate_left(40);
        let first = fsid ^ kind.rotate_left(32);
        let mut id = [0; 16];
        id[..8].copy_from_slice(&first.to_be_bytes());
        id[8..].copy_from_slice(&second.to_be_bytes());
        let mount = Mount::find(stat.stx_mnt_id);
        let (path, name) = match &mount {
            Some(mount) => (mount.path_in_volume(&absolute), mount.source.clone()),
            // Without /proc the path is all there is.
            None => (absolute.as_os_str().as_bytes().to_vec(), Vec::new()),
        };
        let path = names_of(Path::new(OsStr::from_bytes(&path)));
        Ok(Self { volume: VolumeId(id), path, name, role: Role::ReadWrite })
    }
}

/// The volume that a directory is in, as a whole: events happen to volumes, and sessions run on them. On btrfs it is the
/// subvolume, as for increments; elsewhere the file system, however it is mounted.
///
/// # Errors
/// It cannot be read.
pub fn volume_of(directory: &Path) -> Result<VolumeId, VolumeError> {
    if let Some(subvolume) = Subvolume::of(directory)? {
        return Ok(subvolume.id());
    }
    let failed = |errno| VolumeError::system("identify the volume of", directory, errno);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = open(directory, flags, Mode::empty()).map_err(failed)?;
    let kind = fstatfs(&fd).map_err(failed)?.f_type as u64 & 0xffff_ffff;
    let number = match fstatvfs(&fd).map_err(failed)?.f_fsid {
        // What is made of memory has no other name than the number of its device.
        0 => rustix::fs::fstat(&fd).map_err(failed)?.st_dev,
        fsid => fsid,
    };
    let mut id = [0; 16];
    id[..8].copy_from_slice(&kind.to_be_bytes());
    id[8..].copy_from_slice(&number.to_be_bytes());
    Ok(VolumeId(id))
}

/// The type of the file system that a tree is on, for people.
#[must_use]
pub fn file_system_of(tree: &Path) -> String {
    let mount = Mount::of(tree).ok().flatten();
    mount.map_or_else(|| "of an unknown type".into(), |mount| printable(&mount.kind))
}

/// A line of `/proc/self/mountinfo`.
pub(super) struct Mount {
    /// The directory of the file system that is mounted, and where.
    pub(super) root: Vec<u8>,
    point: Vec<u8>,
    kind: Vec<u8>,
    pub(super) source: Vec<u8>,
    id: Vec<u8>,
}

impl Mount {
    /// That of a path.
    pub(super) fn of(path: &Path) -> Result<Option<Self>, Errno> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let fd = open(path, flags, Mode::empty())?;
        let stat = statx(&fd, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?;
        Ok(Self::find(stat.stx_mnt_id))
    }

    pub(super) fn find(id: u64) -> Option<Self> {
        let id = id.to_string();
        Self::all().into_iter().find(|mount| mount.id == id.as_bytes())
    }

    /// Whether the file system is mounted as a whole, and not one of its directories.
    pub(super) fn is_whole(&self) -> bool {
        self.root == b"/"
    }

    /// All mounts, in the order in which they were made; none without `/proc`.
    pub(super) fn all() -> Vec<Self> {
        let text = fs::read("/proc/self/mountinfo").unwrap_or_default();
        text.split(|byte| *byte == b'\n').filter_map(Self::parse).collect()
    }

    fn parse(line: &[u8]) -> Option<Self> {
        let mut fields = line.split(|byte| *byte == b' ');
        let id = fields.next()?.to_vec();
        let root = unescaped(fields.nth(2)?);
        let point = unescaped(fields.next()?);
        // Behind a lone "-" come type and source.
        let mut fields = fields.skip_while(|field| *field != b"-").skip(1);
        let kind = unescaped(fields.next()?);
        let source = unescaped(fields.next()?);
        Some(Self { root, point, kind, source, id })
    }

    /// Where it is beneath the directory with this absolute path; `None`: elsewhere.
    pub(super) fn beneath(&self, tree: &Path) -> Option<&[u8]> {
        let beneath = Path::new(OsStr::from_bytes(&self.point)).strip_prefix(tree).ok()?;
        Some(beneath.as_os_str().as_bytes()).filter(|beneath| !beneath.is_empty())
    }

    pub(super) fn path_in_volume(&self, absolute: &Path) -> Vec<u8> {
        let absolute = absolute.as_os_str().as_bytes();
        let beneath = absolute.strip_prefix(self.point.as_slice()).unwrap_or(absolute);
        [self.root.as_slice(), b"/", beneath].concat()
    }
}

/// Replaces `\ooo` by the byte it stands for.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = field;
    while let Some((first, tail)) = rest.split_first() {
        let octal = tail.get(..3).filter(|digits| digits.iter().all(|digit| (b'0'..=b'7').contains(digit)));
        match octal {
            Some(digits) if *first == b'\\' => {
                bytes.push(digits.iter().fold(0, |value: u8, digit| value << 3 | (digit - b'0')));
                rest = &tail[3..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_known_again_and_told_from_others() {
        let scratch = tempfile();
        let (a, b) = (scratch.join("a"), scratch.join("b"));
        fs::create_dir_all(a.join("within")).unwrap();
        fs::create_dir_all(&b).unwrap();
        let of = |path: &Path| TreeIdentity::of(path).unwrap();
        assert_eq!(of(&a), of(&a.join("within/..")));
        assert_ne!(of(&a), of(&b));
        assert_eq!(of(&a.join("within")).path, [of(&a).path.as_slice(), b"/within"].concat());
        fs::remove_dir_all(&scratch).unwrap();
        assert!(TreeIdentity::of(&a).is_err());
    }

    fn tempfile() -> std::path::PathBuf {
        std::env::temp_dir().join(format!("tapedump-identity-{}", std::process::id()))
    }

    #[test]
    fn mounted_places_are_unescaped() {
        assert_eq!(unescaped(br"/dev/disk\040one\134x\0"), br"/dev/disk one\x\0");
    }
}
