//! Our extension of the header: bytes 904 to 1023, always big-endian, which third-party programs pass over.

use zerocopy::byteorder::{BE, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::units::{BlockAddr, DumpId, TAPE_BLOCK_LEN};

/// Offset of the extension in a header.
pub(super) const EXTENSION_AT: usize = 904;
/// First bytes of the extension.
pub(super) const EXTENSION_MAGIC: [u8; 4] = *b"TDH1";
/// Version of the header extension that is written.
pub const EXTENSION_VERSION: u8 = 1;

const _: () = assert!(size_of::<RawExtension>() == TAPE_BLOCK_LEN - EXTENSION_AT);

#[repr(C)]
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
pub(super) struct RawExtension {
    pub(super) magic: [u8; 4],
    pub(super) version: u8,
    pub(super) role: u8,
    pub(super) flags: U16<BE>,
    pub(super) dump_id: [u8; 16],
    pub(super) real_ino: U64<BE>,
    pub(super) generation: U32<BE>,
    pub(super) qtree: U32<BE>,
    pub(super) offset: U64<BE>,
    pub(super) segment: U32<BE>,
    pub(super) preceding_crc: U32<BE>,
    pub(super) trailing_blocks: U16<BE>,
    pub(super) reserved: U16<BE>,
    pub(super) payload_len: U32<BE>,
    /// High parts of access, modification, change and birth time, in 2³² s.
    pub(super) time_high: [i8; 4],
    pub(super) born: U32<BE>,
    pub(super) nanos: [U32<BE>; 4],
    pub(super) addr_high: U32<BE>,
    pub(super) reserved_tail: [u8; 24],
    pub(super) crc: U32<BE>,
}

/// What a record in stage V is, or that it is none (byte 909).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Not in stage V.
    Normal,
    /// Properties of an object (TLV payload).
    Attributes,
    /// Something a later version defines.
    Unknown(u8),
}

impl Role {
    const fn from_raw(raw: u8) -> Self {
        match raw {
            0 => Self::Normal,
            1 => Self::Attributes,
            other => Self::Unknown(other),
        }
    }

    const fn raw(self) -> u8 {
        match self {
            Self::Normal => 0,
            Self::Attributes => 1,
            Self::Unknown(other) => other,
        }
    }
}

/// Bits of the extension's flags.
pub mod extension_flags {
    /// The segment before this header holds bytes that could not be read from the volume; zeros stand for them.
    pub const PRECEDING_UNREAD: u16 = 0x0001;
    /// The object before this header changed while it was read.
    pub const PRECEDING_CHANGED: u16 = 0x0002;
    /// Properties of the object before this header could not be read, or no dump takes them (R-DATA-3): they are not on it.
    pub const PROPERTIES_UNREAD: u16 = 0x0004;
    /// Properties of this object stand apart from it, in stage V.
    pub const PROPERTIES_APART: u16 = 0x0008;
    /// In a tape header: no dump follows, but the catalog of one.
    pub const CATALOG: u16 = 0x8000;
}

/// The extension: bytes 904 to 1023 of every header we write (`format.md` 7.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extension {
    /// What this record is in stage V.
    pub role: Role,
    /// Bits of [`extension_flags`].
    pub flags: u16,
    /// Identity of the dump.
    pub dump_id: DumpId,
    /// Offset in the file of this segment's first entry, in bytes.
    pub offset: u64,
    /// Number of the segment within the object, from 0.
    pub segment: u32,
    /// CRC32C of all data blocks between the preceding header and this one.
    pub preceding_crc: u32,
    /// Blocks of this segment that are extension payload, behind its data blocks.
    pub trailing_blocks: u16,
    /// Length of the extension payload in bytes.
    pub payload_len: u32,
}

impl Extension {
    /// The extension of a plain header of dump `dump_id`.
    #[must_use]
    pub const fn new(dump_id: DumpId) -> Self {
        Self {
            role: Role::Normal,
            flags: 0,
            dump_id,
            offset: 0,
            segment: 0,
            preceding_crc: 0,
            trailing_blocks: 0,
            payload_len: 0,
        }
    }
}

pub(super) fn parse_extension(raw: &RawExtension) -> Extension {
    Extension {
        role: Role::from_raw(raw.role),
        flags: raw.flags.get(),
        dump_id: DumpId(raw.dump_id),
        offset: raw.offset.get(),
        segment: raw.segment.get(),
        preceding_crc: raw.preceding_crc.get(),
        trailing_blocks: raw.trailing_blocks.get(),
        payload_len: raw.payload_len.get(),
    }
}

pub(super) fn emit_extension(extension: &Extension, addr: BlockAddr, raw: &mut RawExtension) {
    raw.magic = EXTENSION_MAGIC;
    raw.version = EXTENSION_VERSION;
    raw.role = extension.role.raw();
    raw.flags.set(extension.flags);
    raw.dump_id = extension.dump_id.0;
    raw.offset.set(extension.offset);
    raw.segment.set(extension.segment);
    raw.preceding_crc.set(extension.preceding_crc);
    raw.trailing_blocks.set(extension.trailing_blocks);
    raw.payload_len.set(extension.payload_len);
    raw.addr_high.set((addr.0 >> 32) as u32);
}
