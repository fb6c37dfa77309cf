//! Numbers with units. Layer: below everything. What is stored on a medium is `u32` or `u64`, never `usize`.

use core::fmt;

/// Length of a tape block in bytes: the unit of the format (`TP_BSIZE` of the BSD headers).
pub const TAPE_BLOCK_LEN: usize = 1024;

/// Index of a tape block in the dump, counted over all tapes and including tape headers (`c_tapea`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct BlockAddr(pub u64);

impl BlockAddr {
    /// The address `count` blocks further on; saturates, since the operand may come from a tape.
    #[must_use]
    pub const fn plus(self, count: u64) -> Self {
        Self(self.0.saturating_add(count))
    }

    /// Blocks from `earlier` to here, or `None` when `earlier` lies behind.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Option<u64> {
        self.0.checked_sub(earlier.0)
    }

    /// Position in the dump's byte stream.
    #[must_use]
    pub const fn byte_offset(self) -> u64 {
        self.0.saturating_mul(TAPE_BLOCK_LEN as u64)
    }
}

impl fmt::Display for BlockAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "block {}", self.0)
    }
}

/// Number of an object in a dump (`c_inumber`). It identifies the object across the levels of a chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Ino(pub u32);

impl Ino {
    /// The root of every dumped tree.
    pub const ROOT: Self = Self(2);
    /// The lowest number an object may have.
    pub const FIRST: Self = Self::ROOT;
    /// The highest number an object may have (`format.md` 2.4: third-party readers fail from here on).
    pub const LAST: Self = Self(0x7fff_ffff - 8192);

    /// The number after this one; saturates.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Ino {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "inode {}", self.0)
    }
}

/// Tape blocks per tape record, 4 to 256 (R-BLOCK-1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct BlockingFactor(u16);

impl BlockingFactor {
    /// The smallest blocking factor.
    pub const MIN: Self = Self(4);
    /// The largest blocking factor.
    pub const MAX: Self = Self(256);
    /// What is used when nothing else is asked for: 64 KiB records.
    pub const DEFAULT: Self = Self(64);

    /// # Errors
    /// The number itself, when it is not from 4 to 256.
    pub const fn new(blocks: u32) -> Result<Self, u32> {
        if blocks >= Self::MIN.0 as u32 && blocks <= Self::MAX.0 as u32 {
            Ok(Self(blocks as u16))
        } else {
            Err(blocks)
        }
    }

    /// Tape blocks per record.
    #[must_use]
    pub const fn blocks(self) -> u32 {
        self.0 as u32
    }

    /// Length of a record in bytes.
    #[must_use]
    pub const fn record_len(self) -> usize {
        self.0 as usize * TAPE_BLOCK_LEN
    }
}

impl Default for BlockingFactor {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl fmt::Display for BlockingFactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Dump level, 0 (baseline) to 31 (R-CHAIN-1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Level(u8);

impl Level {
    /// A baseline dump.
    pub const BASELINE: Self = Self(0);
    /// The highest level.
    pub const MAX: Self = Self(31);

    /// # Errors
    /// The number itself, when it is not from 0 to 31.
    pub const fn new(level: u32) -> Result<Self, u32> {
        if level <= Self::MAX.0 as u32 { Ok(Self(level as u8)) } else { Err(level) }
    }

    /// The level as a number.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0 as u32
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Number of a tape in a dump that spans several, from 1 (`c_volume`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct TapeNo(pub u32);

impl TapeNo {
    /// The first tape of a dump.
    pub const FIRST: Self = Self(1);

    /// The one that follows.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// A block of a dump, counted without the headers of its second and further tapes: wherever a tape ends, it stays the
/// same. [`StreamBlock::on`] gives the block as its header counts it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct StreamBlock(pub u64);

impl StreamBlock {
    /// The block with this address on that tape.
    #[must_use]
    pub const fn of(addr: BlockAddr, tape: TapeNo) -> Self {
        Self(addr.0.saturating_sub(tape.0.saturating_sub(1) as u64))
    }

    /// Blocks from `earlier` to here, or `None` when `earlier` lies behind.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Option<u64> {
        self.0.checked_sub(earlier.0)
    }

    /// Its address, when it is on that tape.
    #[must_use]
    pub const fn on(self, tape: TapeNo) -> BlockAddr {
        BlockAddr(self.0.saturating_add(tape.0.saturating_sub(1) as u64))
    }
}

/// Point in time since 1970-01-01 00:00 UTC; `nanos` counts forward from `secs` and stays below 10⁹.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Timestamp {
    /// Whole seconds, negative before 1970.
    pub secs: i64,
    /// Nanoseconds, 0 to 999,999,999.
    pub nanos: u32,
}

/// Identity of one dump; written in every header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct DumpId(pub [u8; 16]);

impl fmt::Display for DumpId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_uuid(f, &self.0)
    }
}

/// Identity of a volume: what stays with it wherever it moves and whatever it is called (R-CHAIN-8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct VolumeId(pub [u8; 16]);

impl fmt::Display for VolumeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_uuid(f, &self.0)
    }
}

/// In the customary groups.
fn write_uuid(f: &mut fmt::Formatter<'_>, bytes: &[u8; 16]) -> fmt::Result {
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            f.write_str("-")?;
        }
        write!(f, "{byte:02x}")?;
    }
    Ok(())
}
