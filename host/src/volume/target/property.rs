//! Properties of the open object on their way: the one whose value is arriving, and those that must wait until the
//! object has its owner and permissions.

use super::directory::{ACL_ACCESS, ACL_DEFAULT};
use crate::volume::carrier::attribute_of;
use rustix::io::Errno;
use std::collections::HashSet;
use tapedump_core::device::volume::PropertyKind;
use tapedump_core::limits::NAME_LEN_MAX;

/// Longest value Linux takes (`XATTR_SIZE_MAX`).
const VALUE_LEN_MAX: usize = 65_536;

/// Most bytes of properties that wait; more than the kernel lists for one object.
const HELD_LEN_MAX: usize = 4 * VALUE_LEN_MAX;

/// Most bytes of names that are remembered; what the kernel lists for one object has no more.
const SEEN_LEN_MAX: usize = 65_536;

/// Capabilities of a program; the kernel drops them whenever the owner changes.
const CAPABILITY: &[u8] = b"security.capability";

/// Buffers for the properties of one object; reused for the next.
#[derive(Debug, Default)]
pub(crate) struct Properties {
    announced: Option<Announced>,
    /// Value of the announced property, as far as it is there.
    value: Vec<u8>,
    held: Vec<Held>,
    held_bytes: Vec<u8>,
    /// Attributes announced so far, as many as are remembered.
    seen: HashSet<Box<[u8]>>,
    seen_len: usize,
}

#[derive(Debug)]
struct Announced {
    kind: PropertyKind,
    name: [u8; NAME_LEN_MAX],
    name_len: usize,
    value_len: usize,
    /// It was refused already; its value is skipped.
    refused: bool,
}

/// A property that waits: its name and value follow each other in the bytes.
#[derive(Clone, Copy, Debug)]
struct Held {
    kind: PropertyKind,
    start: usize,
    name_len: usize,
    value_len: usize,
}

/// A property that is complete.
#[derive(Debug)]
pub(crate) struct Complete<'a> {
    pub(crate) kind: PropertyKind,
    pub(crate) name: &'a [u8],
    pub(crate) value: &'a [u8],
}

impl Properties {
    /// Forgets everything; the buffers stay.
    pub(crate) fn clear(&mut self) {
        self.announced = None;
        self.value.clear();
        self.held.clear();
        self.held_bytes.clear();
        self.seen.clear();
        self.seen_len = 0;
    }

    /// Announces a property.
    ///
    /// # Errors
    /// Nothing of that size (`TOOBIG`) or name (`NAMETOOLONG`) can be set, or the object has it already (`EXIST`); the value
    /// is skipped.
    pub(crate) fn announce(&mut self, kind: PropertyKind, name: &[u8], value_len: u32) -> Result<(), Errno> {
        let name = attribute_of(kind, name);
        let name = name.as_ref();
        let value_len = usize::try_from(value_len).unwrap_or(usize::MAX);
        let admitted = if name.is_empty() || name.len() > NAME_LEN_MAX || name.contains(&0) {
            Err(Errno::NAMETOOLONG)
        } else if value_len > VALUE_LEN_MAX {
            Err(Errno::TOOBIG)
        } else if self.is_new(name) {
            Ok(())
        } else {
            Err(Errno::EXIST)
        };
        let refused = admitted.is_err();
        let mut announced = Announced { kind, name: [0; NAME_LEN_MAX], name_len: 0, value_len, refused };
        if let Some(space) = announced.name.get_mut(..name.len()) {
            space.copy_from_slice(name);
            announced.name_len = name.len();
        }
        self.value.clear();
        self.announced = Some(announced);
        admitted
    }

    /// Whether the attribute comes for the first time. Of very many, those behind the first ones always do.
    fn is_new(&mut self, attribute: &[u8]) -> bool {
        if self.seen.contains(attribute) {
            return false;
        }
        if self.seen_len < SEEN_LEN_MAX {
            self.seen_len += attribute.len();
            self.seen.insert(attribute.into());
        }
        true
    }

    /// Takes the next piece of the value. `Some`: it is complete and may be set.
    pub(crate) fn take(&mut self, piece: &[u8]) -> Option<Complete<'_>> {
        let announced = self.announced.as_ref()?;
        if announced.refused {
            return None;
        }
        let room = announced.value_len.saturating_sub(self.value.len());
        self.value.extend_from_slice(piece.get(..room).unwrap_or(piece));
        if self.value.len() < announced.value_len {
            return None;
        }
        let announced = self.announced.as_mut()?;
        // Once only, also when another (empty) piece follows.
        announced.refused = true;
        let name = announced.name.get(..announced.name_len)?;
        Some(Complete { kind: announced.kind, name, value: &self.value })
    }

    /// Keeps the property that is complete until [`held`](Self::held). `false`: no room for it.
    #[must_use]
    pub(crate) fn hold(&mut self) -> bool {
        let Some(announced) = &self.announced else { return false };
        let start = self.held_bytes.len();
        if start + announced.name_len + self.value.len() > HELD_LEN_MAX {
            return false;
        }
        self.held_bytes.extend_from_slice(announced.name.get(..announced.name_len).unwrap_or_default());
        self.held_bytes.extend_from_slice(&self.value);
        self.held.push(Held {
            kind: announced.kind,
            start,
            name_len: announced.name_len,
            value_len: self.value.len(),
        });
        true
    }

    /// Whether a property of this kind waits.
    pub(crate) fn holds(&self, kind: PropertyKind) -> bool {
        self.held.iter().any(|held| held.kind == kind)
    }

    /// Properties of this kind do not wait any more, and are not set.
    pub(crate) fn drop_held(&mut self, kind: PropertyKind) {
        self.held.retain(|held| held.kind != kind);
    }

    /// The properties that waited, in the order they came.
    pub(crate) fn held(&self) -> impl Iterator<Item = Complete<'_>> {
        self.held.iter().filter_map(|held| {
            let (name, value) = self
                .held_bytes
                .get(held.start..held.start + held.name_len + held.value_len)?
                .split_at_checked(held.name_len)?;
            Some(Complete { kind: held.kind, name, value })
        })
    }
}

impl Complete<'_> {
    /// Whether it may only be set when owner and permissions are: setting those changes or drops it.
    pub(crate) fn comes_late(&self) -> bool {
        self.is_access_acl() || self.name == ACL_DEFAULT.as_bytes() || self.name == CAPABILITY
    }

    /// Whether it is the ACL that takes part in the permissions, in whatever form the dump has it.
    pub(crate) fn is_access_acl(&self) -> bool {
        self.name == ACL_ACCESS.as_bytes()
    }
}

/// What an access ACL says about the permission bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AclPermissions {
    /// The bits that the file has once the ACL is set; those of the group are the ACL's mask.
    pub(crate) with_acl: u16,
    /// The bits that give nobody more than the ACL did, for when it cannot be set.
    pub(crate) without_acl: u16,
}

/// Reads an ACL in the kernel's form (version 2). `None`: it is not one.
pub(crate) fn acl_permissions(value: &[u8]) -> Option<AclPermissions> {
    const ENTRY_LEN: usize = 8;
    let (version, entries) = value.split_first_chunk::<4>()?;
    if *version != [2, 0, 0, 0] || !entries.len().is_multiple_of(ENTRY_LEN) {
        return None;
    }
    let (mut owner, mut group, mut mask, mut other) = (None, None, None, None);
    for entry in entries.chunks_exact(ENTRY_LEN) {
        let &[tag, 0, permissions @ 0..=7, 0, ..] = entry else { return None };
        let permissions = u16::from(permissions);
        match tag {
            0x01 => owner = Some(permissions),
            0x04 => group = Some(permissions),
            0x10 => mask = Some(permissions),
            0x20 => other = Some(permissions),
            _ => {}
        }
    }
    let (owner, group, other) = (owner? << 6, group?, other?);
    let mask = mask.unwrap_or(group);
    Some(AclPermissions {
        with_acl: owner | mask << 3 | other,
        without_acl: owner | (group & mask) << 3 | other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_arrives_in_pieces_and_once() {
        let mut properties = Properties::default();
        assert!(properties.announce(PropertyKind::Xattr, b"user.a", 5).is_ok());
        assert!(properties.take(b"ab").is_none());
        let complete = properties.take(b"cde").unwrap();
        assert_eq!((complete.name, complete.value), (&b"user.a"[..], &b"abcde"[..]));
        assert!(properties.take(b"").is_none(), "not set twice");
        assert!(properties.announce(PropertyKind::Xattr, b"user.empty", 0).is_ok());
        assert_eq!(properties.take(b"").unwrap().value, b"");
    }

    #[test]
    fn values_the_kernel_never_takes_are_refused_without_being_kept() {
        let mut properties = Properties::default();
        for (name, value_len) in [(&b"user.a"[..], 65_537), (b"user.a", u32::MAX), (b"", 1), (b"user.\0", 1)]
        {
            assert!(properties.announce(PropertyKind::Xattr, name, value_len).is_err());
            assert!(properties.take(&[0; 4096]).is_none());
            assert!(properties.value.is_empty());
        }
    }

    /// Whatever it is called on the tape.
    #[test]
    fn an_attribute_comes_once() {
        let mut properties = Properties::default();
        let stream = |name: &'static [u8]| (PropertyKind::Stream, name);
        for (kind, name) in
            [stream(b"a"), stream(b"b"), (PropertyKind::Lun, b""), (PropertyKind::Xattr, b"user.c")]
        {
            assert_eq!(properties.announce(kind, name, 1), Ok(()));
            assert_eq!(properties.announce(kind, name, 1), Err(Errno::EXIST));
            assert!(properties.take(b"x").is_none());
        }
        assert_eq!(properties.announce(PropertyKind::Xattr, b"user.DosStream.a", 1), Err(Errno::EXIST));
        properties.clear();
        assert_eq!(properties.announce(PropertyKind::Lun, b"", 1), Ok(()));
        for number in 0..20_000 {
            let name = format!("user.{number}");
            assert_eq!(properties.announce(PropertyKind::Xattr, name.as_bytes(), 1), Ok(()));
        }
        assert!(properties.seen.len() < 10_000);
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut properties = Properties::default();
        let mut held = 0;
        for number in 0..10 {
            let name = format!("security.x{number}");
            assert!(properties.announce(PropertyKind::Xattr, name.as_bytes(), 65_536).is_ok());
            assert!(properties.take(&[7; 65_536]).is_some());
            held += usize::from(properties.hold());
        }
        assert_eq!(held, 3);
        assert_eq!(properties.held().count(), 3);
        assert!(properties.held().all(|property| property.value == [7; 65_536]));
        properties.clear();
        assert_eq!(properties.held().count(), 0);
    }

    fn acl(entries: &[(u16, u16)]) -> Vec<u8> {
        let mut value = vec![2, 0, 0, 0];
        for (tag, permissions) in entries {
            value.extend(tag.to_le_bytes());
            value.extend(permissions.to_le_bytes());
            value.extend([0xff; 4]);
        }
        value
    }

    #[test]
    fn permissions_follow_from_an_acl() {
        let with_mask = acl(&[(1, 7), (2, 7), (4, 4), (0x10, 6), (0x20, 1)]);
        let expected = AclPermissions { with_acl: 0o761, without_acl: 0o741 };
        assert_eq!(acl_permissions(&with_mask), Some(expected));
        let minimal = acl(&[(1, 6), (4, 4), (0x20, 0)]);
        assert_eq!(acl_permissions(&minimal), Some(AclPermissions { with_acl: 0o640, without_acl: 0o640 }));
        for garbage in
            [&b""[..], b"\x02\0\0", b"\x01\0\0\0", &with_mask[..11], &acl(&[(1, 8)]), &acl(&[(1, 6)])]
        {
            assert_eq!(acl_permissions(garbage), None);
        }
    }
}
