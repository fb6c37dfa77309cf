//! How one property is set on an object, and what is said where it cannot be.

use super::alignment::Alignment;
use super::caller::Caller;
use super::handle::{Handle, mode_of};
use super::property::Complete;
use crate::volume::{VolumeError, qtree};
use rustix::fs;
use rustix::io::{self, Errno};
use std::path::PathBuf;
use tapedump_core::device::ErrorKind;
use tapedump_core::device::volume::{Kind, PropertyKind};

/// Sets one property. Only who may write a file may give it `user.` properties: to one that its owner may not write,
/// they are given while he may.
pub(super) fn set_property(caller: &Caller, handle: &Handle, property: &Complete<'_>) -> io::Result<()> {
    let is_qtree = property.kind == PropertyKind::Qtree;
    let set = match is_qtree {
        true => qtree::restore(handle.fd(), property.value),
        false => handle.set_xattr(property.name, property.value),
    };
    match set {
        Err(Errno::ACCESS) if !is_qtree && !caller.is_superuser() => {
            let permissions = mode_of(&handle.stat()?) & 0o7777;
            handle.set_permissions(permissions | 0o200)?;
            let set = handle.set_xattr(property.name, property.value);
            handle.set_permissions(permissions)?;
            set
        }
        // It says "full" when one object's properties have no room, whatever the volume has.
        Err(Errno::NOSPC) if has_room(handle) => Err(Errno::TOOBIG),
        other => other,
    }
}

/// Whether the volume is not full.
fn has_room(handle: &Handle) -> bool {
    fs::fstatvfs(handle.fd()).is_ok_and(|volume| {
        let blocks_left = volume.f_bavail * volume.f_frsize > 64 * 1024;
        blocks_left && (volume.f_files == 0 || volume.f_favail > 0)
    })
}

/// What alignment an object gets: a file that of its volume, and a volume that has one keeps it (R-RESTORE-12).
pub(super) fn alignment_for<'p>(
    of: &'p Alignment,
    kind: Kind,
    property: &Complete<'p>,
) -> Option<Complete<'p>> {
    let value = match of {
        Alignment::OfDump => property.value,
        Alignment::OfVolume(value) if kind == Kind::File => value,
        _ => return None,
    };
    Some(Complete { kind: property.kind, name: property.name, value })
}

pub(super) fn property_error(path: PathBuf, kind: PropertyKind, name: &[u8], errno: Errno) -> VolumeError {
    const OPERATION: &str = "set an attribute of";
    let error = match errno {
        Errno::TOOBIG | Errno::RANGE => VolumeError::own(
            OPERATION,
            path,
            ErrorKind::Other,
            "the file system holds no attribute of this size",
        ),
        Errno::NAMETOOLONG => VolumeError::own(
            OPERATION,
            path,
            ErrorKind::Invalid,
            "no file system has an attribute of this name",
        ),
        Errno::EXIST => VolumeError::own(
            OPERATION,
            path,
            ErrorKind::Invalid,
            "the tape has it twice, and the first one counts",
        ),
        Errno::ILSEQ if kind == PropertyKind::Lun => VolumeError::own(
            OPERATION,
            path,
            ErrorKind::Invalid,
            "the attributes of a LUN are not understood",
        ),
        errno => VolumeError::system(OPERATION, path, errno),
    };
    // What has no name is called by its kind.
    if kind.is_named() { error.of_attribute(name) } else { error }
}
