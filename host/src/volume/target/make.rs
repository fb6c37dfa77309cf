//! Makes and opens objects under their names; what has a name already is replaced, and nothing is followed.

use super::caller::Caller;
use super::directory::{Birth, Directory, remove};
use super::handle::{Handle, mode_of};
use crate::volume::carrier::attribute_of;
use rustix::fd::OwnedFd;
use rustix::fs::{self, AtFlags, FileType, Mode, OFlags};
use rustix::io::{self, Errno};
use tapedump_core::device::volume::{Attributes, Kind, PropertyKind};

/// Tries to take a name that somebody else keeps taking.
const REPLACE_TRIES: u32 = 8;

/// What the object has already.
#[derive(Clone, Copy, Debug)]
pub(super) struct State {
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// `None`: unknown.
    pub(super) permissions: Option<u16>,
    /// It inherited an ACL.
    pub(super) acl: bool,
}

impl Caller {
    pub(super) fn make_file(
        &self,
        directory: &Directory,
        name: &[u8],
        attributes: &Attributes,
        open_lun: impl FnOnce() -> io::Result<Option<OwnedFd>>,
    ) -> io::Result<(Handle, State)> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let (mode, permissions) = self.birth_mode(attributes.permissions);
        let make = || fs::openat(directory, name, flags, mode);
        let fd = match make() {
            Err(Errno::EXIST) => match open_lun()? {
                Some(fd) => return replaced_in_place(fd),
                None => replacing(directory, name, make)?,
            },
            made => made?,
        };
        let birth = match directory.birth() {
            Some(birth) => birth,
            None => {
                let stat = fs::fstat(&fd)?;
                let birth = Birth { uid: stat.st_uid, gid: stat.st_gid, acl: directory.has_default_acl() };
                directory.set_birth(Some(birth));
                birth
            }
        };
        let permissions = (!birth.acl).then_some(permissions);
        Ok((Handle::File(fd), State { uid: birth.uid, gid: birth.gid, permissions, acl: birth.acl }))
    }

    pub(super) fn make_node(
        &self,
        directory: &Directory,
        name: &[u8],
        attributes: &Attributes,
    ) -> io::Result<(Handle, State)> {
        let file_type = FileType::from_raw_mode(attributes.kind.mode_bits().into());
        let (mode, _) = self.birth_mode(attributes.permissions);
        let is_device = matches!(attributes.kind, Kind::CharDevice | Kind::BlockDevice);
        let device =
            if is_device { fs::makedev(attributes.device.major, attributes.device.minor) } else { 0 };
        replacing(directory, name, || fs::mknodat(directory, name, file_type, mode, device))?;
        let (handle, kind, mut now) = open_path(directory, name)?;
        let stat = handle.stat()?;
        if kind != attributes.kind || stat.st_nlink != 1 {
            return Err(Errno::LOOP);
        }
        if is_device && stat.st_rdev != device {
            // A number beyond what this system's nodes hold; another device must not stay behind.
            remove(directory, name)?;
            return Err(Errno::OVERFLOW);
        }
        now.acl = directory.has_default_acl();
        Ok((handle, now))
    }
}

/// What a file that stays in its place has already: its own name and owner, and nothing else that it had.
fn replaced_in_place(fd: OwnedFd) -> io::Result<(Handle, State)> {
    let stat = fs::fstat(&fd)?;
    let handle = Handle::File(fd);
    handle.remove_foreign_xattrs(&attribute_of(PropertyKind::Lun, b""))?;
    let permissions = Some(mode_of(&stat) & 0o7777);
    Ok((handle, State { uid: stat.st_uid, gid: stat.st_gid, permissions, acl: true }))
}

/// Opens what has the name, whatever it is, without touching it.
pub(super) fn open_path(directory: &Directory, name: &[u8]) -> io::Result<(Handle, Kind, State)> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let handle = Handle::Path(fs::openat(directory, name, flags, Mode::empty())?);
    let stat = handle.stat()?;
    let mode = mode_of(&stat);
    let kind = Kind::from_mode(mode).ok_or(Errno::INVAL)?;
    let permissions = Some(mode & 0o7777);
    Ok((handle, kind, State { uid: stat.st_uid, gid: stat.st_gid, permissions, acl: false }))
}

/// Makes something at a name; removes what has the name already.
pub(super) fn replacing<T>(
    directory: &Directory,
    name: &[u8],
    mut make: impl FnMut() -> io::Result<T>,
) -> io::Result<T> {
    for _ in 1..REPLACE_TRIES {
        match make() {
            Err(Errno::EXIST) => remove(directory, name)?,
            other => return other,
        }
    }
    make()
}

pub(super) fn is_same(from: &Directory, existing: &[u8], to: &Directory, name: &[u8]) -> io::Result<bool> {
    let one = fs::statat(from, existing, AtFlags::SYMLINK_NOFOLLOW)?;
    let other = fs::statat(to, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok((one.st_dev, one.st_ino) == (other.st_dev, other.st_ino))
}
