//! What dumps and restores: the two engines, in memory that they take turns in.
//!
//! Each is here once, for one type of each device, as in a product: whatever the demonstration does, it does by the same
//! code. So the tape always has an injector of faults in front, mostly without any.

use tapedump_core::catalog::MEMORY_LEN_MIN;
use tapedump_core::checksum::CompactCrc32c;
use tapedump_core::device::block::BlockDevice;
use tapedump_core::device::fault::{FaultError, FaultInjector};
use tapedump_core::device::mem::MemVolume;
use tapedump_core::device::tape::TapeDevice;
use tapedump_core::device::volume::{SourceVolume, TargetVolume};
use tapedump_core::device::{DeviceError, ErrorKind};
use tapedump_core::engine::dump::{Dump, DumpError, DumpEvent, DumpMemory, DumpOptions, DumpSummary};
use tapedump_core::engine::restore::{Restore, RestoreError, RestoreEvent, RestoreMemory, RestoreSummary};
use tapedump_core::stream::writer::DumpIdentity;
use tapedump_core::units::{BlockingFactor, DumpId, Level, TAPE_BLOCK_LEN};

use crate::board::{Board, Report};
use crate::demo::{Deviation, Trouble};

/// The longest tape records.
pub const BLOCKING_MAX: BlockingFactor = match BlockingFactor::new(32) {
    Ok(factor) => factor,
    Err(_) => BlockingFactor::MIN,
};

/// Objects that a volume may have.
const OBJECTS_MAX: usize = 8192;
/// Bytes of a map.
const MAP_LEN: usize = OBJECTS_MAX / 8;
/// Bytes for sorting the names of a dump that is restored.
const NAMES_LEN: usize = 2 * MEMORY_LEN_MIN;

/// Memory that is lent to a dump or a restore, whichever is under way.
pub struct Work {
    /// One tape record, and for reading one tape block more.
    stream: [u8; BLOCKING_MAX.record_len() + TAPE_BLOCK_LEN],
    /// Two maps for a dump, six for a restore.
    maps: [u8; 6 * MAP_LEN],
    names: [u8; NAMES_LEN],
}

impl Work {
    /// Bytes of it that are for tape records.
    pub const RECORDS_LEN: usize = BLOCKING_MAX.record_len() + TAPE_BLOCK_LEN;

    /// The memory, for a `static`.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            stream: [0; BLOCKING_MAX.record_len() + TAPE_BLOCK_LEN],
            maps: [0; 6 * MAP_LEN],
            names: [0; NAMES_LEN],
        }
    }

    /// Lent to look at tape records.
    pub fn record(&mut self) -> &mut [u8] {
        &mut self.stream
    }
}

impl Default for Work {
    fn default() -> Self {
        Self::new()
    }
}

fn options(blocking: BlockingFactor) -> DumpOptions {
    let identity = DumpIdentity {
        id: DumpId(*b"firmware demo 01"),
        date: 1_750_000_000,
        base_date: 0,
        level: Level::BASELINE,
    };
    DumpOptions { identity, blocking, label: *b"demo\0\0\0\0\0\0\0\0\0\0\0\0" }
}

/// The tape: perhaps with faults.
pub type Tape<'t, T> = FaultInjector<'t, &'t mut T>;

/// Dumps the whole volume from the beginning of the tape. All of it can be read: only stages are to be told.
#[inline(never)]
pub fn dump<T: TapeDevice>(
    source: &mut MemVolume<'_>,
    tape: &mut Tape<'_, T>,
    blocking: BlockingFactor,
    work: &mut Work,
    board: Option<&mut impl Board>,
) -> Result<DumpSummary, Deviation> {
    rewind(tape)?;
    // A dump that failed before left its object open; else there is nothing to close.
    let _ = source.close();
    let (in_use, rest) = work.maps.split_at_mut(MAP_LEN);
    let (on_tape, _) = rest.split_at_mut(MAP_LEN);
    let stream = work.stream.get_mut(..blocking.record_len()).ok_or(Deviation::Memory)?;
    let memory = DumpMemory { stream, in_use, on_tape, known: &mut [] };
    let mut dump = Dump::<_, _, CompactCrc32c>::new(source, tape, memory, options(blocking));
    // Used where it is: taken out of the result, it would be on the stack once more.
    let dump = match &mut dump {
        Ok(dump) => dump,
        Err(error) => return Err(dump_deviation(error)),
    };
    let mut board = board;
    loop {
        match dump.step().map_err(|error| dump_deviation(&error))? {
            DumpEvent::Working => {}
            event @ DumpEvent::Stage(_) => {
                if let Some(board) = &mut board {
                    board.log(&Report::Dumping(event));
                }
            }
            DumpEvent::Done(summary) => return Ok(summary),
            event => return Err(Deviation::DumpEvent(event)),
        }
    }
}

fn rewind<T: TapeDevice>(tape: &mut T) -> Result<(), Deviation> {
    tape.rewind().map_err(|error| Deviation::Tape { at: None, kind: error.kind() })
}

fn dump_deviation<T: DeviceError>(error: &DumpError<ErrorKind, FaultError<T>>) -> Deviation {
    match error {
        DumpError::Source(kind) => Deviation::Volume(*kind),
        DumpError::Tape { at, source } => Deviation::Tape { at: Some(*at), kind: source.kind() },
        DumpError::EndOfMedium { at } => Deviation::EndOfMedium(*at),
        _ => Deviation::Memory,
    }
}

/// What is restored to.
pub type Target<'t> = dyn TargetVolume<Error = ErrorKind> + 't;

/// Restores the tape's first file to `target`; `judge` decides what may be told.
#[inline(never)]
pub fn restore<T: TapeDevice, B: BlockDevice>(
    tape: &mut Tape<'_, T>,
    target: &mut Target<'_>,
    scratch: &mut B,
    work: &mut Work,
    judge: &mut dyn FnMut(Told) -> Result<(), Deviation>,
) -> Result<RestoreSummary, Deviation> {
    rewind(tape)?;
    work.maps.fill(0);
    let memory = RestoreMemory {
        stream: &mut work.stream,
        maps: &mut work.maps,
        chain: &mut [],
        names: &mut work.names,
        attributes: &mut [],
    };
    let mut restore = Restore::<_, _, _, CompactCrc32c>::new(tape, target, scratch, memory);
    let restore = match &mut restore {
        Ok(restore) => restore,
        Err(error) => return Err(restore_deviation(error)),
    };
    loop {
        let told = match restore.step() {
            Ok(RestoreEvent::Damage(damage)) => Told::Trouble(Trouble::Damage(damage)),
            Ok(RestoreEvent::Failed(failure)) => Told::Trouble(Trouble::Failed(failure.ino, failure.what)),
            Ok(RestoreEvent::Dump(info)) => Told::Report(Report::Found(info)),
            Ok(RestoreEvent::Stage(stage)) => Told::Report(Report::Restoring(stage)),
            Ok(RestoreEvent::Done(summary)) => return Ok(summary),
            // There is one tape; to step on without another one is what a lost end is made of.
            Ok(_) => continue,
            Err(error) => return Err(restore_deviation(&error)),
        };
        judge(told)?;
    }
}

/// What a restore tells.
#[expect(clippy::large_enum_variant, reason = "one at a time, and there is no allocator")]
pub enum Told {
    /// Something is not as it should be.
    Trouble(Trouble),
    /// How it goes.
    Report(Report),
}

fn restore_deviation<T: DeviceError, B>(error: &RestoreError<FaultError<T>, ErrorKind, B>) -> Deviation {
    match error {
        RestoreError::Tape { at, source } => Deviation::Tape { at: Some(*at), kind: source.kind() },
        RestoreError::Target { source, .. } => Deviation::Volume(*source),
        RestoreError::Scratch(_) | RestoreError::MapTooSmall { .. } => Deviation::Memory,
        _ => Deviation::Restore,
    }
}
