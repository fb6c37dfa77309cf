//! Permissions across security styles (R-DATA-10): what comes into a qtree of another style than its own.
//!
//! | object has | in a qtree of style | it gets |
//! |---|---|---|
//! | an NT descriptor and no POSIX ACL | unix | the qtree's default mode, and no descriptor |
//! | no NT descriptor | ntfs | the descriptor of the qtree's root, where that has one; else Samba goes by the mode |
//! | anything else, anywhere else | | what it had |
//!
//! Only qtrees count that were there before the restore: one that it makes is as the dump has it.

use crate::volume::carrier::attribute_of;
use crate::volume::qtree;
use crate::volume::target::descriptor_path;
use rustix::buffer::spare_capacity;
use rustix::fd::AsFd;
use rustix::fs::getxattr;
use tapedump_core::device::volume::PropertyKind;
use tapedump_core::record::acl::descriptor_at;
use tapedump_core::record::qtree::{Qtree, SecurityStyle};

/// Longest value Linux gives (`XATTR_SIZE_MAX`).
const VALUE_LEN_MAX: usize = 65_536;

/// What becomes of permissions in a qtree.
#[derive(Debug)]
pub(crate) enum Crossing {
    /// Permission bits of what has an NT descriptor only.
    IntoUnix { default_mode: u16 },
    /// NT descriptor of what has none.
    IntoNtfs { default: Vec<u8> },
}

impl Crossing {
    /// That of the qtree whose root is open; `None`: everything keeps what it has.
    pub(crate) fn of(directory: impl AsFd) -> Option<Self> {
        let qtree: Qtree = qtree::read(&directory).ok()???;
        match qtree.style {
            SecurityStyle::Unix => Some(Self::IntoUnix { default_mode: qtree.default_mode }),
            SecurityStyle::Mixed => None,
            SecurityStyle::Ntfs => {
                let mut value = Vec::with_capacity(VALUE_LEN_MAX);
                let path = descriptor_path(directory.as_fd());
                let attribute = attribute_of(PropertyKind::NtDescriptor, b"");
                getxattr(path.as_str(), attribute.as_ref(), spare_capacity(&mut value)).ok()?;
                Some(Self::IntoNtfs { default: without_hash(&value)? })
            }
        }
    }
}

/// A descriptor without the hash that ties it to one object's POSIX permissions: version 1 of Samba's forms. Its offsets
/// count from the beginning of the value.
fn without_hash(value: &[u8]) -> Option<Vec<u8>> {
    const HEAD: [u8; 8] = [1, 0, 1, 0, 0, 0, 2, 0];
    const OFFSETS: [usize; 4] = [4, 8, 12, 16];
    let at = descriptor_at(value)?;
    let mut made = [HEAD.as_slice(), value.get(at..)?].concat();
    for offset in OFFSETS {
        let field = made.get_mut(HEAD.len() + offset..)?.first_chunk_mut::<4>()?;
        let old = u32::from_le_bytes(*field);
        if old != 0 {
            let from_descriptor = old.checked_sub(u32::try_from(at).ok()?)?;
            *field = (from_descriptor + HEAD.len() as u32).to_le_bytes();
        }
    }
    Some(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All forms hold the same descriptor, as Samba made them.
    #[test]
    fn every_form_becomes_the_first() {
        const FORMS: [&[u8]; 4] = [
            include_bytes!("../../../../tests/fixtures/samba/ntacl-1.bin"),
            include_bytes!("../../../../tests/fixtures/samba/ntacl-2.bin"),
            include_bytes!("../../../../tests/fixtures/samba/ntacl-3.bin"),
            include_bytes!("../../../../tests/fixtures/samba/ntacl-4.bin"),
        ];
        for form in FORMS {
            assert_eq!(without_hash(form).as_deref(), Some(FORMS[0]));
        }
        for garbage in [&b""[..], b"garbage", &[4; 100], &FORMS[3][..170]] {
            assert_eq!(without_hash(garbage), None);
        }
    }
}
