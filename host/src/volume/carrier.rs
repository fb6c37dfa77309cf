//! The extended attributes that carry the properties of a dump on Linux.
//!
//! NT descriptors, DOS attributes and streams are where Samba keeps them, so that a restored share is one again.
//! What has no customary place is in `trusted.`, where users cannot forge it.

use std::borrow::Cow;

use tapedump_core::device::volume::PropertyKind;
use tapedump_core::limits::NAME_LEN_MAX;

/// Attributes that carry a whole kind of property.
const CARRIERS: [(PropertyKind, &[u8]); 8] = [
    (PropertyKind::PosixAccessAcl, b"system.posix_acl_access"),
    (PropertyKind::PosixDefaultAcl, b"system.posix_acl_default"),
    (PropertyKind::Nfs4Acl, b"system.nfs4_acl"),
    (PropertyKind::NtDescriptor, b"security.NTACL"),
    (PropertyKind::DosAttributes, b"user.DOSATTRIB"),
    (PropertyKind::Qtree, b"trusted.tapedump.qtree"),
    (PropertyKind::Lun, b"trusted.tapedump.lun"),
    (PropertyKind::VmAlignment, b"trusted.tapedump.vm-align"),
];

/// Before the name of a stream.
const STREAM_PREFIX: &[u8] = b"user.DosStream.";

/// What the attribute of this name is in a dump, and the property's name there.
#[must_use]
pub fn property_of(attribute: &[u8]) -> (PropertyKind, &[u8]) {
    if let Some((kind, _)) = CARRIERS.iter().find(|(_, name)| *name == attribute) {
        return (*kind, b"");
    }
    match attribute.strip_prefix(STREAM_PREFIX) {
        Some(name) if !name.is_empty() => (PropertyKind::Stream, &name[..name.len().min(NAME_LEN_MAX)]),
        _ => (PropertyKind::Xattr, &attribute[..attribute.len().min(NAME_LEN_MAX)]),
    }
}

/// The name of the attribute that carries a property.
#[must_use]
pub fn attribute_of(kind: PropertyKind, name: &[u8]) -> Cow<'_, [u8]> {
    match CARRIERS.iter().find(|(carried, _)| *carried == kind) {
        Some((_, attribute)) => Cow::Borrowed(*attribute),
        None if kind == PropertyKind::Stream => Cow::Owned([STREAM_PREFIX, name].concat()),
        None => Cow::Borrowed(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_attribute_comes_back_under_its_name() {
        let names = CARRIERS.iter().map(|(_, name)| *name);
        let others: [&[u8]; 5] =
            [b"user.note", b"user.DosStream.a:$DATA", b"user.DosStream.", b"trusted.x", b"security.selinux"];
        for attribute in names.chain(others) {
            let (kind, name) = property_of(attribute);
            assert_eq!(kind.is_named(), !name.is_empty());
            assert_eq!(attribute_of(kind, name), attribute);
        }
        assert_eq!(property_of(b"user.DosStream.a:$DATA"), (PropertyKind::Stream, b"a:$DATA".as_slice()));
    }
}
