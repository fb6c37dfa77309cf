//! Properties: ACLs, attributes and streams that an object has beside what every object has.

/// What a property is. The value's bytes are as the named source defines them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum PropertyKind {
    /// POSIX access ACL: the value of Linux' `system.posix_acl_access` (version 2, little-endian). No name.
    PosixAccessAcl,
    /// POSIX default ACL: the value of Linux' `system.posix_acl_default`. No name.
    PosixDefaultAcl,
    /// Extended attribute; the name includes its namespace (`user.note`).
    Xattr,
    /// NFSv4 ACL: the value of Linux' `system.nfs4_acl` (XDR, big-endian). No name.
    Nfs4Acl,
    /// NT security descriptor as Samba keeps it: the value of `security.NTACL` (NDR, `xattr_NTACL`). No name.
    NtDescriptor,
    /// DOS attributes and creation time as Samba keeps them: the value of `user.DOSATTRIB` (NDR). No name.
    DosAttributes,
    /// Windows NT stream; the name is the stream's, as behind `user.DosStream.` where Samba keeps it. The value is
    /// the stream's data.
    Stream,
    /// Attributes of a qtree. No name.
    Qtree,
    /// Attributes of a LUN. No name.
    Lun,
    /// The file is aligned for virtual machines; on the root directory, the volume's `vm-align-sector` option: `u32`
    /// sector offset, big-endian. No name.
    VmAlignment,
}

impl PropertyKind {
    /// Its number on a medium (the type of its row, `format.md` 7.3); never 0 or 1, below 256.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::PosixAccessAcl => 2,
            Self::PosixDefaultAcl => 3,
            Self::Xattr => 4,
            Self::Nfs4Acl => 5,
            Self::NtDescriptor => 6,
            Self::DosAttributes => 7,
            Self::Stream => 8,
            Self::Qtree => 9,
            Self::Lun => 10,
            Self::VmAlignment => 11,
        }
    }

    /// The kind of this number; `None`: one of a later version.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            2 => Self::PosixAccessAcl,
            3 => Self::PosixDefaultAcl,
            4 => Self::Xattr,
            5 => Self::Nfs4Acl,
            6 => Self::NtDescriptor,
            7 => Self::DosAttributes,
            8 => Self::Stream,
            9 => Self::Qtree,
            10 => Self::Lun,
            11 => Self::VmAlignment,
            _ => return None,
        })
    }

    /// Whether it says who may do what with the object.
    #[must_use]
    pub const fn is_acl(self) -> bool {
        matches!(self, Self::PosixAccessAcl | Self::PosixDefaultAcl | Self::Nfs4Acl | Self::NtDescriptor)
    }

    /// Whether properties of this kind have names, and an object may have several.
    #[must_use]
    pub const fn is_named(self) -> bool {
        matches!(self, Self::Xattr | Self::Stream)
    }
}

/// One property of an object, without its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Property {
    /// What it is.
    pub kind: PropertyKind,
    /// Length of its name in bytes, at most [`NAME_LEN_MAX`](crate::limits::NAME_LEN_MAX).
    pub name_len: usize,
    /// Length of its value in bytes.
    pub value_len: u32,
}

/// Some kinds of properties.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct PropertyKinds(u16);

impl PropertyKinds {
    /// None of them.
    pub const NONE: Self = Self(0);
    /// All ACLs.
    pub const ACLS: Self = Self::NONE
        .with(PropertyKind::PosixAccessAcl)
        .with(PropertyKind::PosixDefaultAcl)
        .with(PropertyKind::Nfs4Acl)
        .with(PropertyKind::NtDescriptor);

    /// These and one more.
    #[must_use]
    pub const fn with(self, kind: PropertyKind) -> Self {
        Self(self.0 | 1 << (kind.number() % 16))
    }

    /// Whether a kind is one of these.
    #[must_use]
    pub const fn contains(self, kind: PropertyKind) -> bool {
        self.0 & 1 << (kind.number() % 16) != 0
    }
}

const _: () = assert!(PropertyKind::VmAlignment.number() < 16);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_that_are_acls() {
        for number in 0..=u8::MAX {
            let Some(kind) = PropertyKind::from_number(number) else { continue };
            assert_eq!(kind.number(), number);
            assert_eq!(PropertyKinds::ACLS.contains(kind), kind.is_acl());
            assert!(PropertyKinds::NONE.with(kind).contains(kind) && !PropertyKinds::NONE.contains(kind));
        }
    }
}
