//! What a board gives to the demonstration, and what it is told.

use core::fmt;

use tapedump_core::catalog::{CatalogFigures, TapePlace};
use tapedump_core::engine::dump::{DumpEvent, DumpSummary};
use tapedump_core::engine::restore::{DumpInfo, RestoreStage, RestoreSummary};
use tapedump_core::units::{BlockingFactor, Ino, Level};

use crate::demo::{Deviation, Trouble};

/// A board.
pub trait Board {
    /// Shows a report to whoever watches.
    fn log(&mut self, report: &Report);
}

/// What the demonstration tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(target_os = "none", derive(defmt::Format))]
pub enum Report {
    /// It begins; bytes of memory lent to the engines, and of that for tape records.
    Memory {
        /// All of it.
        engine: usize,
        /// For tape records.
        records: usize,
    },
    /// A volume was filled.
    Filled {
        /// With directories.
        directories: u64,
        /// With objects that are none.
        others: u64,
    },
    /// All that follows is with tape records of this length.
    Blocking(BlockingFactor),
    /// A dump told this.
    Dumping(DumpEvent),
    /// The volume was dumped.
    Dumped(DumpSummary),
    /// A restore found this dump.
    Found(DumpInfo),
    /// A restore began a stage.
    Restoring(RestoreStage),
    /// A restore told this trouble, as it should.
    Told(Trouble),
    /// The tape was verified.
    Verified(RestoreSummary),
    /// The tape was restored to another volume, and the two are equal.
    Equal,
    /// So many writes failed one after the other, and as many met an early end of the tape; each was told.
    WritesFailed(u64),
    /// A bit of a file was flipped on the tape: told, and all other files are equal.
    BitFlipped {
        /// First byte of the file that the restore did not trust.
        from: u64,
    },
    /// Each record of the tape was damaged in every way.
    Damaged {
        /// Records of the tape.
        records: u64,
        /// Restores made.
        runs: u64,
    },
    /// A catalog does not fit in this part of the device.
    CatalogTooSmall {
        /// The dump was still under way.
        lost: bool,
        /// Bytes there were.
        len: u64,
        /// Bytes that suffice.
        needed: u64,
    },
    /// A dump of this level is to be made.
    Level {
        /// The level.
        level: Level,
        /// That of the dump it builds on.
        base: Option<Level>,
    },
    /// The catalog of a dump is there.
    Catalog(CatalogFigures),
    /// The newest copy of a file, as the catalogs of the chain have it.
    Newest {
        /// The file.
        ino: Ino,
        /// Level of the dump.
        level: u32,
        /// Where it is on that dump's tape.
        place: TapePlace,
    },
    /// The file was restored straight from its place.
    Straight(RestoreSummary),
    /// The chain was restored to another volume, and the two are equal.
    ChainEqual(RestoreSummary),
    /// The volume was dumped to two tapes and restored from them, and the two volumes are equal.
    TwoTapes(DumpSummary),
    /// The power was cut at each write of such a dump, and the volume restored from its tapes each time: it is equal.
    PowerCuts {
        /// Writes, and dumps.
        cuts: u64,
        /// Dumps that went on from their context; the others were not far enough, and began anew.
        restarted: u64,
        /// Those of them that went on on the second tape.
        on_second: u64,
    },
    /// Everything went as it should.
    Passed,
    /// Something did not.
    Failed(Deviation),
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory { engine, records } => {
                write!(
                    f,
                    "memory of the engines: {engine} bytes, {records} of them for tape records; no heap"
                )
            }
            Self::Filled { directories, others } => {
                write!(f, "filled a volume: {directories} directories, {others} others")
            }
            Self::Blocking(factor) => write!(f, "blocking factor {factor}"),
            Self::Dumping(event) => write!(f, "dump: {event:?}"),
            Self::Dumped(summary) => {
                write!(f, "dumped it: {} tape blocks, {} bytes of data", summary.blocks, summary.data_len)
            }
            Self::Found(dump) => write!(f, "found a dump of level {}, date {}", dump.level, dump.date),
            Self::Restoring(stage) => write!(f, "restore: {stage:?}"),
            Self::Told(trouble) => write!(f, "told: {trouble:?}"),
            Self::Verified(summary) => write!(f, "verified the tape: {} tape blocks", summary.blocks),
            Self::Equal => f.write_str("restored it to another volume: the two are equal"),
            Self::WritesFailed(writes) => {
                write!(f, "dumped to failing tapes: {writes} write errors and early ends, all told")
            }
            Self::BitFlipped { from } => write!(
                f,
                "flipped a bit of a file on the tape: told from byte {from} on, and all other files are equal"
            ),
            Self::Damaged { records, runs } => {
                write!(f, "damaged each of {records} tape records: {runs} restores, no loss untold")
            }
            Self::CatalogTooSmall { lost, len, needed } => {
                let when = if *lost { "lost, the dump went on" } else { "not to be finished" };
                write!(f, "catalog {when}: {len} bytes on the device, {needed} are needed")
            }
            Self::Level { level, base: Some(base) } => write!(f, "level {level}, based on level {base}"),
            Self::Level { level, base: None } => write!(f, "level {level}"),
            Self::Catalog(figures) => write!(
                f,
                "catalog: {} directories, {} others, {} names in {} bytes",
                figures.directories, figures.others, figures.names, figures.len
            ),
            Self::Newest { ino, level, place } => {
                write!(f, "looked a file up: the newest copy of {ino} is on level {level}, {}", place.block)
            }
            Self::Straight(summary) => write!(
                f,
                "restored it straight from there: {} tape records, {} seeks",
                summary.records, summary.seeks
            ),
            Self::ChainEqual(summary) => write!(
                f,
                "restored the chain to another volume: the two are equal; {} tape records",
                summary.records
            ),
            Self::TwoTapes(summary) => write!(
                f,
                "dumped it to two tapes, {} tape blocks, and restored it from there: the two are equal",
                summary.blocks
            ),
            Self::PowerCuts { cuts, restarted, on_second } => write!(
                f,
                "cut the power at each of {cuts} writes: {restarted} dumps went on from their context, {on_second} of them \
                 on the second tape, and the others began anew; all are equal"
            ),
            Self::Passed => f.write_str("passed"),
            Self::Failed(deviation) => write!(f, "FAILED: {deviation:?}"),
        }
    }
}
