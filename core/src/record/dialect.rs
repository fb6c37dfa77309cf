//! How the headers of one dump are to be read: byte order and inode layout, both told by the magic and the flags.

/// `NFS_MAGIC`: 4.4BSD, Linux, Solaris and ONTAP.
pub const MAGIC_NFS: u32 = 60012;
/// `OFS_MAGIC`: 4.2BSD and before.
pub const MAGIC_OFS: u32 = 60011;
/// `FS_UFS2_MAGIC`: FreeBSD since 5.0.
pub const MAGIC_UFS2: u32 = 0x1954_0119;
/// `MTB_MAGIC` of Solaris, `XIX_MAGIC` of AIX.
pub const MAGIC_MTB: u32 = 60013;

/// Byte order of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Order {
    /// Most significant byte first.
    Big,
    /// Least significant byte first.
    Little,
}

/// Layout of the 128-byte inode image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum InodeLayout {
    /// 4.4BSD, as Linux and OpenBSD write it, and we do.
    Bsd,
    /// Solaris and ONTAP.
    Solaris,
    /// FreeBSD since 5.0.
    Ufs2,
}

/// How the headers of one dump are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Dialect {
    /// Byte order.
    pub order: Order,
    /// Inode layout.
    pub layout: InodeLayout,
}

impl Dialect {
    /// What we write.
    pub const OURS: Self = Self { order: Order::Big, layout: InodeLayout::Bsd };

    /// The magic as it stands on tape.
    #[must_use]
    pub const fn magic_bytes(self) -> [u8; 4] {
        let magic = match self.layout {
            InodeLayout::Bsd | InodeLayout::Solaris => MAGIC_NFS,
            InodeLayout::Ufs2 => MAGIC_UFS2,
        };
        match self.order {
            Order::Big => magic.to_be_bytes(),
            Order::Little => magic.to_le_bytes(),
        }
    }
}
