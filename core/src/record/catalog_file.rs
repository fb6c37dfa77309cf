//! The block that says what the catalog of a dump on tape consists of (`format.md` 7.7): before its pages, and once more
//! at the very end of the tape file, so that it is found from either side.

use zerocopy::byteorder::{BE, I64, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::checksum::Crc32c;
use crate::record::header::TapeBlock;
use crate::units::{BlockingFactor, DumpId, Ino, Level, TAPE_BLOCK_LEN, Timestamp, VolumeId};

const MAGIC: [u8; 4] = *b"TDOM";
/// The version that is written and read.
const VERSION: u8 = 1;

const HAS_BASE: u8 = 0x01;
const DENSE: u8 = 0x02;
const HAS_PATH: u8 = 0x04;

/// Longest path that is told, in bytes.
pub const PATH_LEN_MAX: usize = 560;
/// Longest name of a volume that is told.
const VOLUME_NAME_LEN_MAX: usize = 255;

const CRC_AT: usize = 1020;

#[repr(C)]
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
struct Raw {
    magic: [u8; 4],
    version: u8,
    flags: u8,
    level: u8,
    name_len: u8,
    dump: [u8; 16],
    base: [u8; 16],
    volume: [u8; 16],
    date: I64<BE>,
    base_date: I64<BE>,
    nanos: U32<BE>,
    base_nanos: U32<BE>,
    archive_blocks: U64<BE>,
    pages: U64<BE>,
    blocks: U64<BE>,
    objects: U64<BE>,
    skipped: U64<BE>,
    ino_limit: U32<BE>,
    file: U32<BE>,
    blocking: U16<BE>,
    release: [U16<BE>; 3],
    path_len: U16<BE>,
    reserved: [u8; 54],
    path: [u8; PATH_LEN_MAX],
    name: [u8; 256],
    reserved_tail: [u8; 12],
    crc: U32<BE>,
}

const _: () = assert!(size_of::<Raw>() == TAPE_BLOCK_LEN);
const _: () = assert!(core::mem::offset_of!(Raw, crc) == CRC_AT);

/// What a catalog file consists of, and what it takes to know the dump again that it is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CatalogFileHead<'a> {
    /// The dump.
    pub dump: DumpId,
    /// Its base, where that is known.
    pub base: Option<DumpId>,
    /// Identity of the volume.
    pub volume: VolumeId,
    /// Level.
    pub level: Level,
    /// Date of the dump.
    pub date: Timestamp,
    /// Date of its base; the epoch for a baseline.
    pub base_date: Timestamp,
    /// Blocks of the archive before this block: its number in the tape file.
    pub archive_blocks: u64,
    /// Pages of the catalog behind this block.
    pub pages: u64,
    /// Blocks of the dump.
    pub blocks: u64,
    /// Objects announced on the dump.
    pub objects: u64,
    /// Objects that are not on the dump, or not rightly.
    pub skipped: u64,
    /// Above all numbers of objects.
    pub ino_limit: Ino,
    /// Objects have dense numbers instead of the volume's own.
    pub is_dense: bool,
    /// Tape file of the dump.
    pub file: u32,
    /// Blocking factor.
    pub blocking: BlockingFactor,
    /// The release that made the dump: major, minor, patch.
    pub release: [u16; 3],
    /// Path of the tree within its volume; `None`: it is longer than [`PATH_LEN_MAX`].
    pub path: Option<&'a [u8]>,
    /// Name of the volume, for people.
    pub volume_name: &'a [u8],
}

/// Why a block does not say what a catalog file consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum CatalogFileHeadError {
    /// It is another block.
    BadMagic,
    /// It is not what was written.
    BadChecksum,
    /// It is of a version that is not read.
    Version {
        /// The version's number.
        found: u8,
    },
    /// A field has a value that none can have.
    BadField,
}

impl<'a> CatalogFileHead<'a> {
    /// Writes it over the whole block. A path that is too long is left out, and a name cut.
    pub fn emit<C: Crc32c>(&self, block: &mut TapeBlock) {
        *block = [0; TAPE_BLOCK_LEN];
        let path = self.path.filter(|path| path.len() <= PATH_LEN_MAX);
        let name = self.volume_name.get(..VOLUME_NAME_LEN_MAX).unwrap_or(self.volume_name);
        let flag = |set: bool, bit| if set { bit } else { 0 };
        let raw: &mut Raw = zerocopy::transmute_mut!(&mut *block);
        raw.magic = MAGIC;
        raw.version = VERSION;
        raw.flags =
            flag(self.base.is_some(), HAS_BASE) | flag(self.is_dense, DENSE) | flag(path.is_some(), HAS_PATH);
        raw.level = self.level.number() as u8;
        raw.name_len = name.len() as u8;
        raw.dump = self.dump.0;
        raw.base = self.base.map_or([0; 16], |base| base.0);
        raw.volume = self.volume.0;
        raw.date.set(self.date.secs);
        raw.base_date.set(self.base_date.secs);
        raw.nanos.set(self.date.nanos);
        raw.base_nanos.set(self.base_date.nanos);
        raw.archive_blocks.set(self.archive_blocks);
        raw.pages.set(self.pages);
        raw.blocks.set(self.blocks);
        raw.objects.set(self.objects);
        raw.skipped.set(self.skipped);
        raw.ino_limit.set(self.ino_limit.0);
        raw.file.set(self.file);
        raw.blocking.set(self.blocking.blocks() as u16);
        for (to, from) in raw.release.iter_mut().zip(self.release) {
            to.set(from);
        }
        let path = path.unwrap_or_default();
        raw.path_len.set(path.len() as u16);
        raw.path.iter_mut().zip(path).for_each(|(to, from)| *to = *from);
        raw.name.iter_mut().zip(name).for_each(|(to, from)| *to = *from);
        let crc = crc_of::<C>(block);
        let raw: &mut Raw = zerocopy::transmute_mut!(block);
        raw.crc.set(crc);
    }

    /// Whether a block may be one, judged by its first bytes only.
    #[must_use]
    pub fn may_be(block: &TapeBlock) -> bool {
        block.starts_with(&MAGIC)
    }

    /// Checks the block and reads it.
    ///
    /// # Errors
    /// It is another block, not as it was written, or of another version.
    pub fn parse<C: Crc32c>(block: &'a TapeBlock) -> Result<Self, CatalogFileHeadError> {
        let raw: &Raw = zerocopy::transmute_ref!(block);
        if raw.magic != MAGIC {
            return Err(CatalogFileHeadError::BadMagic);
        }
        if crc_of::<C>(block) != raw.crc.get() {
            return Err(CatalogFileHeadError::BadChecksum);
        }
        if raw.version != VERSION {
            return Err(CatalogFileHeadError::Version { found: raw.version });
        }
        Self::of(raw).ok_or(CatalogFileHeadError::BadField)
    }

    fn of(raw: &'a Raw) -> Option<Self> {
        const SECOND: u32 = 1_000_000_000;
        let time = |secs: I64<BE>, nanos: U32<BE>| {
            Some(Timestamp { secs: secs.get(), nanos: nanos.get() }).filter(|time| time.nanos < SECOND)
        };
        let path = raw.path.get(..usize::from(raw.path_len.get()))?;
        let [major, minor, patch] = raw.release;
        Some(Self {
            dump: DumpId(raw.dump),
            base: (raw.flags & HAS_BASE != 0).then_some(DumpId(raw.base)),
            volume: VolumeId(raw.volume),
            level: Level::new(raw.level.into()).ok()?,
            date: time(raw.date, raw.nanos)?,
            base_date: time(raw.base_date, raw.base_nanos)?,
            archive_blocks: raw.archive_blocks.get(),
            pages: raw.pages.get(),
            blocks: raw.blocks.get(),
            objects: raw.objects.get(),
            skipped: raw.skipped.get(),
            ino_limit: Ino(raw.ino_limit.get()),
            is_dense: raw.flags & DENSE != 0,
            file: raw.file.get(),
            blocking: BlockingFactor::new(raw.blocking.get().into()).ok()?,
            release: [major.get(), minor.get(), patch.get()],
            path: (raw.flags & HAS_PATH != 0).then_some(path),
            volume_name: raw.name.get(..usize::from(raw.name_len))?,
        })
    }
}

fn crc_of<C: Crc32c>(block: &TapeBlock) -> u32 {
    let (covered, _) = block.split_at(CRC_AT);
    C::update(0, covered)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checksum::PortableCrc32c;

    fn head() -> CatalogFileHead<'static> {
        CatalogFileHead {
            dump: DumpId([1; 16]),
            base: Some(DumpId([2; 16])),
            volume: VolumeId([3; 16]),
            level: Level::MAX,
            date: Timestamp { secs: 0x0102_0304_0506, nanos: 999_999_999 },
            base_date: Timestamp { secs: -2, nanos: 7 },
            archive_blocks: 8,
            pages: 9,
            blocks: 10,
            objects: 11,
            skipped: 12,
            ino_limit: Ino(13),
            is_dense: true,
            file: 14,
            blocking: BlockingFactor::DEFAULT,
            release: [1, 2, 3],
            path: Some(b"home/anna"),
            volume_name: b"/dev/sda1",
        }
    }

    fn emitted(head: &CatalogFileHead<'_>) -> TapeBlock {
        let mut block = [0xa5; TAPE_BLOCK_LEN];
        head.emit::<PortableCrc32c>(&mut block);
        block
    }

    /// The block with other bytes from `at` on, and its checksum made right again.
    fn changed(at: usize, bytes: &[u8]) -> TapeBlock {
        let mut block = emitted(&head());
        block[at..at + bytes.len()].copy_from_slice(bytes);
        let crc = crc_of::<PortableCrc32c>(&block);
        block[CRC_AT..].copy_from_slice(&crc.to_be_bytes());
        block
    }

    fn parse(block: &TapeBlock) -> Result<CatalogFileHead<'_>, CatalogFileHeadError> {
        CatalogFileHead::parse::<PortableCrc32c>(block)
    }

    #[test]
    fn the_bytes_stand_where_the_format_says() {
        let block = emitted(&head());
        assert_eq!(block[..8], *b"TDOM\x01\x07\x1f\x09");
        assert_eq!(
            (&block[8..24], &block[24..40], &block[40..56]),
            (&[1; 16][..], &[2; 16][..], &[3; 16][..])
        );
        assert_eq!(block[56..64], [0, 0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(block[64..72], (-2_i64).to_be_bytes());
        assert_eq!(block[72..80], [0x3b, 0x9a, 0xc9, 0xff, 0, 0, 0, 7]);
        assert_eq!([block[87], block[95], block[103], block[111], block[119]], [8, 9, 10, 11, 12]);
        assert_eq!([block[123], block[127], block[129]], [13, 14, 64]);
        assert_eq!(block[130..138], [0, 1, 0, 2, 0, 3, 0, 9]);
        assert_eq!(block[138..192], [0; 54]);
        assert_eq!((&block[192..201], block[201]), (&b"home/anna"[..], 0));
        assert_eq!((&block[752..761], block[761]), (&b"/dev/sda1"[..], 0));
        assert_eq!(parse(&block), Ok(head()));
    }

    #[test]
    fn a_long_path_is_left_out_and_a_long_name_cut() {
        let long = [b'x'; 600];
        let head = CatalogFileHead { path: Some(&long), volume_name: &long, ..head() };
        let block = emitted(&head);
        let read = parse(&block).unwrap();
        assert_eq!((read.path, read.volume_name), (None, &long[..255]));
        let whole = CatalogFileHead { path: Some(&long[..PATH_LEN_MAX]), ..head };
        assert_eq!(parse(&emitted(&whole)).unwrap().path, whole.path);
    }

    #[test]
    fn every_flipped_bit_is_refused() {
        let good = emitted(&head());
        for bit in 0..8 * TAPE_BLOCK_LEN {
            let mut block = good;
            block[bit / 8] ^= 1 << (bit % 8);
            let expected =
                if bit < 32 { CatalogFileHeadError::BadMagic } else { CatalogFileHeadError::BadChecksum };
            assert_eq!(parse(&block), Err(expected), "bit {bit}");
        }
    }

    #[test]
    fn values_that_none_can_have_are_refused_under_a_right_checksum() {
        assert_eq!(parse(&changed(4, &[2])), Err(CatalogFileHeadError::Version { found: 2 }));
        for (at, bytes, what) in [
            (6, &[32][..], "level"),
            (72, &[0x3b, 0x9a, 0xca, 0], "nanoseconds"),
            (76, &[0xff; 4], "nanoseconds of the base"),
            (128, &[0, 3], "blocking factor"),
            (136, &[0x02, 0x31], "path"),
        ] {
            assert_eq!(parse(&changed(at, bytes)), Err(CatalogFileHeadError::BadField), "{what}");
        }
        assert!(parse(&changed(7, &[255])).is_ok() && parse(&changed(136, &[0x02, 0x30])).is_ok());
    }
}
