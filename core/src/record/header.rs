//! The header: a tape block that says what follows (`struct s_spcl` of `<protocols/dumprestore.h>`).
//!
//! Layout, dialects and the extension in bytes 904 to 1023 are described in `docs/format.md`. [`Header`] is a view
//! over any 1,024 bytes; [`HeaderRepr`] a value. The byte order is found from the magic once
//! ([`Header::detect`]) and is a type parameter of the layout from there on.

use zerocopy::byteorder::{BE, I32, LE, U32, U64};
use zerocopy::{ByteOrder, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::checksum::Crc32c;
use crate::device::volume::{Attributes, VolumeNames};
use crate::limits::SEGMENT_BLOCKS_MAX;
use crate::record::dialect::{Dialect, InodeLayout, MAGIC_MTB, MAGIC_NFS, MAGIC_OFS, MAGIC_UFS2, Order};
use crate::record::extension::{
    EXTENSION_AT, EXTENSION_MAGIC, Extension, RawExtension, emit_extension, extension_flags, parse_extension,
};
use crate::record::holes::Holes;
use crate::record::inode::{RawInode, attributes_of, emit_attributes};
use crate::units::{BlockAddr, Ino, TAPE_BLOCK_LEN, TapeNo};

/// One tape block.
pub type TapeBlock = [u8; TAPE_BLOCK_LEN];

/// What the 256 words of a header sum up to.
const CHECKSUM: u32 = 84446;

/// Offset of the magic in a header.
pub(crate) const MAGIC_AT: usize = 24;
/// Offset of the extension's CRC, which covers all bytes before it but the checksum at 28.
const EXTENSION_CRC_AT: usize = 1020;
const CHECKSUM_AT: usize = 28;

/// Bits of `c_flags`.
pub mod flags {
    /// Names, label and level are valid.
    pub const NEW_HEADER: u32 = 0x0001;
    /// The inode image has the 4.4BSD layout; only meaningful in tape and map headers.
    pub const NEW_INODE_FORMAT: u32 = 0x0002;
    /// Solaris: meta data in place of label and names.
    pub const SOLARIS_META: u32 = 0x0010;
    /// Linux: records after the first are compressed.
    pub const COMPRESSED: u32 = 0x0080;
    /// Linux: attributes only, no data.
    pub const META_ONLY: u32 = 0x0100;
    /// Linux: this object is the extended attributes of the object before it.
    pub const LINUX_EXTENDED: u32 = 0x8000;
}

/// `c_extattributes` of Linux: the data is an ext2 extended attribute block.
pub const LINUX_EXTENDED_XATTR: u32 = 3;

/// What a header announces (`c_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderKind {
    /// Beginning of a tape (`TS_TAPE`).
    Tape,
    /// An object and its first segment (`TS_INODE`).
    Inode,
    /// Map of the objects on this dump (`TS_BITS`).
    OnTapeMap,
    /// A further segment of the object before (`TS_ADDR`).
    Continuation,
    /// End of the dump (`TS_END`).
    End,
    /// Map of the objects in use at dump time (`TS_CLRI`).
    InUseMap,
    /// Something else.
    Unknown(i32),
}

impl HeaderKind {
    const fn from_raw(raw: i32) -> Self {
        match raw {
            1 => Self::Tape,
            2 => Self::Inode,
            3 => Self::OnTapeMap,
            4 => Self::Continuation,
            5 => Self::End,
            6 => Self::InUseMap,
            other => Self::Unknown(other),
        }
    }

    const fn raw(self) -> i32 {
        match self {
            Self::Tape => 1,
            Self::Inode => 2,
            Self::OnTapeMap => 3,
            Self::Continuation => 4,
            Self::End => 5,
            Self::InUseMap => 6,
            Self::Unknown(other) => other,
        }
    }
}

/// Why a block is no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeaderError {
    /// No known magic in either byte order.
    BadMagic {
        /// The four bytes at offset 24.
        found: [u8; 4],
    },
    /// The words do not sum up to 84446.
    BadChecksum,
    /// The extension's CRC does not match.
    BadExtension,
    /// A dialect that is recognized but not read: 4.2BSD (60011), Solaris multi-terabyte or AIX (60013).
    UnsupportedDialect {
        /// The magic found.
        magic: u32,
    },
    /// A count beyond the format's limit.
    BadCount {
        /// The count found.
        found: u32,
    },
}

#[repr(C)]
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
struct RawHeader<O: ByteOrder> {
    kind: I32<O>,
    date: U32<O>,
    base_date: U32<O>,
    tape: U32<O>,
    addr: U32<O>,
    ino: U32<O>,
    magic: U32<O>,
    checksum: U32<O>,
    inode: RawInode<O>,
    count: U32<O>,
    holes: [u8; SEGMENT_BLOCKS_MAX],
    label: [u8; 16],
    level: U32<O>,
    path: [u8; 64],
    device: [u8; 64],
    host: [u8; 64],
    flags: U32<O>,
    first_block: U32<O>,
    blocking: U32<O>,
    linux_extended: U32<O>,
    extension: RawExtension,
}

const _: () = assert!(size_of::<RawHeader<BE>>() == TAPE_BLOCK_LEN);
const _: () = assert!(core::mem::offset_of!(RawHeader<BE>, holes) == 164);
const _: () = assert!(core::mem::offset_of!(RawHeader<BE>, extension) == EXTENSION_AT);

/// A header's content, without its hole map and names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeaderRepr {
    /// What it announces.
    pub kind: HeaderKind,
    /// Time of the dump, seconds since 1970.
    pub date: u32,
    /// Time of the base dump, 0 for a baseline.
    pub base_date: u32,
    /// Number of the tape.
    pub tape: TapeNo,
    /// Place of this header in the dump.
    pub addr: BlockAddr,
    /// Number of the object; raw, since a tape can hold any.
    pub ino: u32,
    /// The raw mode: type and permissions.
    pub mode: u16,
    /// Attributes of the object, where the header is of one and the mode names a known type.
    pub attributes: Option<Attributes>,
    /// Entries of the hole map, or blocks of a map.
    pub count: u32,
    /// Dump level.
    pub level: u32,
    /// Bits of [`flags`].
    pub flags: u32,
    /// First block on this tape (`c_firstrec`).
    pub first_block: u32,
    /// Blocking factor the tape was written with, or 0 (`c_ntrec` of Linux).
    pub blocking: u32,
    /// Kind of Linux' extended attributes (`c_extattributes`).
    pub linux_extended: u32,
    /// Our extension, where there is one.
    pub extension: Option<Extension>,
}

/// A view of a block as a header.
#[derive(Clone, Copy, Debug)]
pub struct Header<'a> {
    block: &'a TapeBlock,
}

impl<'a> Header<'a> {
    /// Looks at any block.
    #[must_use]
    pub const fn new(block: &'a TapeBlock) -> Self {
        Self { block }
    }

    /// The block itself.
    #[must_use]
    pub const fn block(&self) -> &'a TapeBlock {
        self.block
    }

    /// Finds the dialect from the magic, and the layout as far as this one header tells it: a tape or map header
    /// tells BSD from Solaris by its flags (`format.md` 3).
    ///
    /// # Errors
    /// No header, or one of a dialect that is not read.
    pub fn detect(&self) -> Result<Dialect, HeaderError> {
        let found = four(self.block, MAGIC_AT);
        for (order, magic) in
            [(Order::Big, u32::from_be_bytes(found)), (Order::Little, u32::from_le_bytes(found))]
        {
            let layout = match magic {
                MAGIC_NFS => InodeLayout::Bsd,
                MAGIC_UFS2 => InodeLayout::Ufs2,
                MAGIC_OFS | MAGIC_MTB if self.sum(order) == CHECKSUM => {
                    return Err(HeaderError::UnsupportedDialect { magic });
                }
                _ => continue,
            };
            if self.sum(order) != CHECKSUM {
                return Err(HeaderError::BadChecksum);
            }
            let raw_flags = match order {
                Order::Big => self.raw::<BE>().flags.get(),
                Order::Little => self.raw::<LE>().flags.get(),
            };
            let old = layout == InodeLayout::Bsd
                && raw_flags & flags::NEW_INODE_FORMAT == 0
                && four(self.block, EXTENSION_AT) != EXTENSION_MAGIC;
            return Ok(Dialect { order, layout: if old { InodeLayout::Solaris } else { layout } });
        }
        Err(HeaderError::BadMagic { found })
    }

    /// Whether this block carries our extension, judged by its first bytes only: a cheap test before
    /// [`parse`](Self::parse).
    #[must_use]
    pub fn may_be_ours(&self) -> bool {
        four(self.block, EXTENSION_AT) == EXTENSION_MAGIC
    }

    /// Whether the magic is that of `dialect`: a cheap test before [`parse`](Self::parse).
    #[must_use]
    pub fn may_be(&self, dialect: Dialect) -> bool {
        four(self.block, MAGIC_AT) == dialect.magic_bytes()
    }

    /// Checks the block and reads it.
    ///
    /// # Errors
    /// Wrong magic, sum, extension CRC or count.
    pub fn parse<C: Crc32c>(&self, dialect: Dialect) -> Result<HeaderRepr, HeaderError> {
        match dialect.order {
            Order::Big => self.parse_as::<BE, C>(dialect),
            Order::Little => self.parse_as::<LE, C>(dialect),
        }
    }

    fn parse_as<O: ByteOrder, C: Crc32c>(&self, dialect: Dialect) -> Result<HeaderRepr, HeaderError> {
        if !self.may_be(dialect) {
            return Err(HeaderError::BadMagic { found: four(self.block, MAGIC_AT) });
        }
        if self.sum(dialect.order) != CHECKSUM {
            return Err(HeaderError::BadChecksum);
        }
        let raw = self.raw::<O>();
        let extension = if self.may_be_ours() && dialect.layout == InodeLayout::Bsd {
            if extension_crc::<C>(self.block) != raw.extension.crc.get() {
                return Err(HeaderError::BadExtension);
            }
            Some(&raw.extension)
        } else {
            None
        };
        let kind = HeaderKind::from_raw(raw.kind.get());
        let count = raw.count.get();
        if matches!(kind, HeaderKind::Inode | HeaderKind::Continuation) && count as usize > SEGMENT_BLOCKS_MAX
        {
            return Err(HeaderError::BadCount { found: count });
        }
        let of_object = matches!(kind, HeaderKind::Inode | HeaderKind::Continuation);
        Ok(HeaderRepr {
            kind,
            date: raw.date.get(),
            base_date: raw.base_date.get(),
            tape: TapeNo(raw.tape.get()),
            addr: addr_of(raw, dialect.layout, extension),
            ino: raw.ino.get(),
            mode: raw.inode.mode.get(),
            attributes: if of_object { attributes_of(&raw.inode, dialect.layout, extension) } else { None },
            count,
            level: raw.level.get(),
            flags: raw.flags.get(),
            first_block: raw.first_block.get(),
            blocking: raw.blocking.get(),
            linux_extended: raw.linux_extended.get(),
            extension: extension.map(parse_extension),
        })
    }

    /// The entries of the hole map: `count` of them, at most 512.
    #[must_use]
    pub fn holes(&self, count: u32) -> Holes {
        let entries = self.raw::<BE>().holes.as_slice();
        Holes::parse(entries.get(..count as usize).unwrap_or(entries))
    }

    /// Blocks that follow the header before the next one, and the number of its object; of a header of this engine.
    #[must_use]
    pub(crate) fn announces(&self) -> (usize, u32) {
        let raw = self.raw::<BE>();
        let count = raw.count.get();
        let blocks = match HeaderKind::from_raw(raw.kind.get()) {
            HeaderKind::Inode | HeaderKind::Continuation => self.holes(count).data_count(count as usize),
            HeaderKind::InUseMap | HeaderKind::OnTapeMap => count as usize,
            HeaderKind::Tape | HeaderKind::End | HeaderKind::Unknown(_) => 0,
        };
        (blocks, raw.ino.get())
    }

    /// CRC32C of the blocks between the header before and this one, which is of this engine.
    #[must_use]
    pub(crate) fn preceding_crc(&self) -> u32 {
        self.raw::<BE>().extension.preceding_crc.get()
    }

    /// The names of the volume.
    #[must_use]
    pub fn names(&self) -> VolumeNames {
        let raw = self.raw::<BE>();
        VolumeNames { path: raw.path, device: raw.device, host: raw.host }
    }

    /// The label.
    #[must_use]
    pub fn label(&self) -> [u8; 16] {
        self.raw::<BE>().label
    }

    fn raw<O: ByteOrder>(&self) -> &'a RawHeader<O> {
        zerocopy::transmute_ref!(self.block)
    }

    fn sum(&self, order: Order) -> u32 {
        match order {
            Order::Big => sum::<BE>(self.block),
            Order::Little => sum::<LE>(self.block),
        }
    }
}

/// A block with everything in place that all headers of a dump have in common.
#[derive(Clone, Debug)]
pub struct HeaderTemplate {
    block: TapeBlock,
}

impl HeaderTemplate {
    /// The template for a dump with these names and label.
    #[must_use]
    pub fn new(names: &VolumeNames, label: &[u8; 16]) -> Self {
        let mut block = [0; TAPE_BLOCK_LEN];
        let raw: &mut RawHeader<BE> = zerocopy::transmute_mut!(&mut block);
        raw.magic.set(MAGIC_NFS);
        raw.label = *label;
        raw.path = names.path;
        raw.device = names.device;
        raw.host = names.host;
        Self { block }
    }

    /// Writes `repr` with its hole map over `block`, in the dialect [`Dialect::OURS`].
    pub fn emit<C: Crc32c>(&self, repr: &HeaderRepr, holes: &Holes, block: &mut TapeBlock) {
        debug_assert!(repr.count <= SEGMENT_BLOCKS_MAX as u32 || !repr.kind_has_holes());
        *block = self.block;
        let raw: &mut RawHeader<BE> = zerocopy::transmute_mut!(block);
        raw.kind.set(repr.kind.raw());
        raw.date.set(repr.date);
        raw.base_date.set(repr.base_date);
        raw.tape.set(repr.tape.0);
        raw.addr.set(repr.addr.0 as u32);
        raw.ino.set(repr.ino);
        raw.count.set(repr.count);
        raw.level.set(repr.level);
        raw.flags.set(repr.flags);
        raw.first_block.set(repr.first_block);
        raw.blocking.set(repr.blocking);
        raw.linux_extended.set(repr.linux_extended);
        if repr.kind_has_holes() {
            holes.emit(repr.count as usize, &mut raw.holes);
        } else if let Some(first) = repr.first_on_tape() {
            // c_inos[1]
            if let Some(slot) = raw.holes.get_mut(4..8) {
                slot.copy_from_slice(&first.to_be_bytes());
            }
        }
        if let Some(attributes) = &repr.attributes {
            emit_attributes(attributes, &mut raw.inode, &mut raw.extension);
        } else {
            raw.inode.mode.set(repr.mode);
        }
        if let Some(extension) = &repr.extension {
            emit_extension(extension, repr.addr, &mut raw.extension);
            let crc = extension_crc::<C>(block);
            let raw: &mut RawHeader<BE> = zerocopy::transmute_mut!(block);
            raw.extension.crc.set(crc);
        }
        let sum = sum::<BE>(block);
        let raw: &mut RawHeader<BE> = zerocopy::transmute_mut!(block);
        raw.checksum.set(CHECKSUM.wrapping_sub(sum));
    }
}

impl HeaderRepr {
    /// Whether a catalog of a dump begins here, and not the dump (`format.md` 7.7).
    #[must_use]
    pub fn is_catalog(&self) -> bool {
        let marked = self.extension.is_some_and(|extension| extension.flags & extension_flags::CATALOG != 0);
        marked && self.kind == HeaderKind::Tape
    }

    /// Number of the first object on the first tape, where the header tells it. Readers that look at it in a tape header
    /// must find "unknown": illumos believes that all files are on the first tape otherwise (`format.md` 1). At the end of a
    /// catalog it is that of the root.
    const fn first_on_tape(&self) -> Option<u32> {
        match self.kind {
            HeaderKind::Tape => Some(u32::MAX),
            HeaderKind::End if self.flags & flags::NEW_INODE_FORMAT != 0 => Some(Ino::ROOT.0),
            _ => None,
        }
    }

    const fn kind_has_holes(&self) -> bool {
        matches!(self.kind, HeaderKind::Inode | HeaderKind::Continuation)
    }
}

/// Sets bits of [`extension_flags`] in a header of this engine, and its checksums. Any other block becomes none.
pub fn set_extension_flags<C: Crc32c>(block: &mut TapeBlock, bits: u16) {
    let raw: &mut RawHeader<BE> = zerocopy::transmute_mut!(&mut *block);
    let flags = raw.extension.flags.get();
    raw.extension.flags.set(flags | bits);
    seal::<C>(block);
}

/// Moves a header of this engine to another place, with its checksums; `preceding_crc` where that is another one there.
pub(crate) fn move_to<C: Crc32c>(
    block: &mut TapeBlock,
    addr: BlockAddr,
    tape: TapeNo,
    preceding_crc: Option<u32>,
) {
    let raw: &mut RawHeader<BE> = zerocopy::transmute_mut!(&mut *block);
    raw.tape.set(tape.0);
    raw.addr.set(addr.0 as u32);
    raw.extension.addr_high.set((addr.0 >> 32) as u32);
    if let Some(crc) = preceding_crc {
        raw.extension.preceding_crc.set(crc);
    }
    seal::<C>(block);
}

/// Sets the checksums of a header with an extension.
fn seal<C: Crc32c>(block: &mut TapeBlock) {
    let crc = extension_crc::<C>(block);
    let raw: &mut RawHeader<BE> = zerocopy::transmute_mut!(&mut *block);
    raw.extension.crc.set(crc);
    raw.checksum.set(0);
    let sum = sum::<BE>(block);
    let raw: &mut RawHeader<BE> = zerocopy::transmute_mut!(block);
    raw.checksum.set(CHECKSUM.wrapping_sub(sum));
}

fn four(block: &TapeBlock, at: usize) -> [u8; 4] {
    block.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).unwrap_or_default()
}

fn sum<O: ByteOrder>(block: &TapeBlock) -> u32 {
    let words: &[U32<O>; TAPE_BLOCK_LEN / 4] = zerocopy::transmute_ref!(block);
    words.iter().fold(0u32, |sum, word| sum.wrapping_add(word.get()))
}

/// CRC32C of bytes 0 to 1019 with the checksum taken as zero.
fn extension_crc<C: Crc32c>(block: &TapeBlock) -> u32 {
    let (covered, _) = block.split_at(EXTENSION_CRC_AT);
    let (head, rest) = covered.split_at(CHECKSUM_AT);
    let (_, tail) = rest.split_at(4);
    C::update(C::update(C::update(0, head), &[0; 4]), tail)
}

fn addr_of<O: ByteOrder>(
    raw: &RawHeader<O>,
    layout: InodeLayout,
    extension: Option<&RawExtension>,
) -> BlockAddr {
    let low = u64::from(raw.addr.get());
    match (extension, layout) {
        (Some(extension), _) => BlockAddr(u64::from(extension.addr_high.get()) << 32 | low),
        (None, InodeLayout::Ufs2) => {
            // 912: c_tapea64 stands where the extension's dump id has its first half.
            let bytes = raw.extension.as_bytes().get(8..16);
            let wide = bytes.and_then(|bytes| U64::<O>::read_from_bytes(bytes).ok()).map_or(0, U64::get);
            BlockAddr(if wide == 0 { low } else { wide })
        }
        (None, _) => BlockAddr(low),
    }
}

#[cfg(test)]
mod tests;
