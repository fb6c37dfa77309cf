//! The demonstration: a volume goes to tape and comes back, and faults of the tape are told, not swallowed.
//!
//! All memory is in [`Memory`]; its lengths are below.

use tapedump_core::catalog::MEMORY_LEN_MIN;
use tapedump_core::checksum::PortableCrc32c;
use tapedump_core::device::fault::{Fault, FaultInjector, Operation, SplitMix64, What, When};
use tapedump_core::device::mem::{MemBlock, MemTape, MemVolume, Node, NullTarget, Where, differs};
use tapedump_core::device::tape::{TapeDevice, TapePosition};
use tapedump_core::device::volume::{FailedPart, SourceVolume, TargetVolume};
use tapedump_core::device::{DeviceError, ErrorKind};
use tapedump_core::engine::dump::{Dump, DumpError, DumpEvent, DumpMemory, DumpOptions, DumpSummary};
use tapedump_core::engine::restore::{
    Damage, Restore, RestoreError, RestoreEvent, RestoreMemory, RestoreSummary,
};
use tapedump_core::limits::PAGE_LEN;
use tapedump_core::stream::writer::DumpIdentity;
use tapedump_core::units::{BlockAddr, BlockingFactor, DumpId, Ino, Level, TAPE_BLOCK_LEN};

use crate::board::Board;
use crate::tree;

/// Objects a volume may hold.
const NODES: usize = 24;
/// Bytes for the names, data and properties of a volume.
const ARENA_LEN: usize = 24 * 1024;
/// Bytes of a tape.
const TAPE_LEN: usize = 96 * 1024;
/// Bytes of a map: as many as a map on tape takes at least, so that a damaged one cannot name a number beyond.
const MAP_LEN: usize = 8 * TAPE_BLOCK_LEN;
/// Bytes of one tape record.
const RECORD_LEN: usize = BlockingFactor::MIN.record_len();
/// Bytes for sorting the names of a dump that is restored.
const NAMES_LEN: usize = 2 * MEMORY_LEN_MIN;
/// Bytes of the device that names are sorted through when they do not fit.
const SCRATCH_LEN: usize = 32 * 1024;

/// Everything the demonstration uses besides its stack.
pub struct Memory {
    source_nodes: [Node; NODES],
    source_arena: [u8; ARENA_LEN],
    tape: [u8; TAPE_LEN],
    target: Target,
    work: Work,
}

/// What a volume that is restored to lives in.
struct Target {
    nodes: [Node; NODES],
    arena: [u8; ARENA_LEN],
}

/// What an engine works with.
struct Work {
    /// One tape record, and for reading one tape block more.
    stream: [u8; RECORD_LEN + TAPE_BLOCK_LEN],
    /// Two maps for a dump, six for a restore.
    maps: [u8; 6 * MAP_LEN],
    names: [u8; NAMES_LEN],
    scratch: [u8; SCRATCH_LEN],
}

impl Memory {
    /// Length in bytes.
    pub const LEN: usize = size_of::<Self>();

    /// The memory, for a `static`.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            source_nodes: [Node::EMPTY; NODES],
            source_arena: [0; ARENA_LEN],
            tape: [0; TAPE_LEN],
            target: Target { nodes: [Node::EMPTY; NODES], arena: [0; ARENA_LEN] },
            work: Work {
                stream: [0; RECORD_LEN + TAPE_BLOCK_LEN],
                maps: [0; 6 * MAP_LEN],
                names: [0; NAMES_LEN],
                scratch: [0; SCRATCH_LEN],
            },
        }
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

/// What went otherwise than it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deviation {
    /// A volume could not be filled or read.
    Volume(ErrorKind),
    /// The tape failed, at this block of the dump when one was under way.
    Tape {
        /// The block, if any.
        at: Option<BlockAddr>,
        /// How.
        kind: ErrorKind,
    },
    /// The tape was full before this block of the dump.
    EndOfMedium(BlockAddr),
    /// [`Memory`] is too small for a step.
    Memory,
    /// A dump told something that the tree gives no reason for.
    DumpEvent(DumpEvent),
    /// A dump counted something else than the tree holds.
    DumpSummary(DumpSummary),
    /// A restore found no dump, or could not go on for another reason than those above.
    Restore,
    /// A restore told trouble where there is none, or other trouble than there is.
    Trouble(Trouble),
    /// A restore counted something else than was dumped.
    RestoreSummary(RestoreSummary),
    /// What came back is not what was dumped.
    Different(Where),
    /// The data of a file is not on the tape.
    NotOnTape,
    /// A fault was not told.
    Unnoticed(Fault),
}

/// What a restore tells that is not as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// On the tape.
    Damage(Damage),
    /// This part of an object could not be made on the target.
    Failed(Ino, FailedPart),
}

/// Runs the whole demonstration.
///
/// # Errors
/// The first thing that went otherwise than it should; it was logged.
pub fn run(memory: &mut Memory, board: &mut impl Board) -> Result<(), Deviation> {
    board.log(format_args!("static memory: {} bytes, no heap", Memory::LEN));
    let result = steps(memory, board);
    match &result {
        Ok(()) => board.log(format_args!("passed")),
        Err(deviation) => board.log(format_args!("FAILED: {deviation:?}")),
    }
    result
}

fn steps(memory: &mut Memory, board: &mut impl Board) -> Result<(), Deviation> {
    let Memory { source_nodes, source_arena, tape, target, work } = memory;
    let mut source = MemVolume::new(source_nodes, source_arena).map_err(Deviation::Volume)?;
    tree::fill(&mut source).map_err(Deviation::Volume)?;
    board.log(format_args!("filled a volume: {} directories, {} others", tree::DIRECTORIES, tree::OTHERS));

    let mut tape = MemTape::blank(tape);
    failing_dumps(&mut source, &mut tape, work, board)?;
    let summary = dump(&mut source, &mut tape, work)?;
    let found = (summary.directories, summary.others, summary.incomplete);
    if found != (tree::DIRECTORIES, tree::OTHERS, 0) {
        return Err(Deviation::DumpSummary(summary));
    }
    board.log(format_args!("dumped it: {} tape blocks, {} bytes of data", summary.blocks, summary.data_len));

    check_summary(&restore(&mut tape, &mut NullTarget::new(), work, no_trouble)?)?;
    board.log(format_args!("verified the tape"));
    let mut restored = target.empty()?;
    check_summary(&restore(&mut tape, &mut restored, work, no_trouble)?)?;
    if let Some(place) = differs(&source, &restored) {
        return Err(Deviation::Different(place));
    }
    board.log(format_args!("restored it to another volume: the two are equal"));

    damaged_file(&source, &mut tape, target, work, board)?;
    damaged_records(&source, &mut tape, target, work, board)
}

/// A dump to a tape that fails says at which block, and is none: for each record that it writes.
fn failing_dumps(
    source: &mut MemVolume<'_>,
    tape: &mut MemTape<'_>,
    work: &mut Work,
    board: &mut impl Board,
) -> Result<(), Deviation> {
    let mut counting = FaultInjector::counting(&mut *tape);
    dump(source, &mut counting, work)?;
    let writes = counting.operations_of(Operation::Write);
    for n in 0..writes {
        let at = BlockAddr(n * u64::from(BlockingFactor::MIN.blocks()));
        let failed = Deviation::Tape { at: Some(at), kind: ErrorKind::Medium };
        let faults =
            [(What::Error(ErrorKind::Medium), failed), (What::EndOfMedium, Deviation::EndOfMedium(at))];
        for (what, expected) in faults {
            let schedule = [Fault { when: When::Nth(Operation::Write, n), what }];
            match dump(source, &mut FaultInjector::scheduled(&mut *tape, &schedule), work) {
                Err(found) if found == expected => {}
                Err(other) => return Err(other),
                Ok(_) => return Err(Deviation::Unnoticed(schedule[0])),
            }
        }
    }
    board.log(format_args!("dumped to failing tapes: {writes} write errors and early ends, all told"));
    Ok(())
}

fn options() -> DumpOptions {
    let identity = DumpIdentity {
        id: DumpId(*b"firmware demo 01"),
        date: 1_750_000_000,
        base_date: 0,
        level: Level::BASELINE,
    };
    DumpOptions { identity, blocking: BlockingFactor::MIN, label: *b"demo\0\0\0\0\0\0\0\0\0\0\0\0" }
}

/// Dumps the whole volume from the beginning of the tape. All of it can be read: only stages are to be told.
fn dump<T: TapeDevice>(
    source: &mut MemVolume<'_>,
    tape: &mut T,
    work: &mut Work,
) -> Result<DumpSummary, Deviation> {
    tape.rewind().map_err(|error| Deviation::Tape { at: None, kind: error.kind() })?;
    // A dump that failed before left its object open; else there is nothing to close.
    let _ = source.close();
    let (in_use, rest) = work.maps.split_at_mut(MAP_LEN);
    let (on_tape, _) = rest.split_at_mut(MAP_LEN);
    let memory = DumpMemory { stream: &mut work.stream[..RECORD_LEN], in_use, on_tape };
    let mut dump =
        Dump::<_, _, PortableCrc32c>::new(source, tape, memory, options()).map_err(dump_deviation)?;
    loop {
        match dump.step().map_err(dump_deviation)? {
            DumpEvent::Working | DumpEvent::Stage(_) => {}
            DumpEvent::Done(summary) => return Ok(summary),
            event => return Err(Deviation::DumpEvent(event)),
        }
    }
}

fn dump_deviation<T: DeviceError>(error: DumpError<ErrorKind, T>) -> Deviation {
    match error {
        DumpError::Source(kind) => Deviation::Volume(kind),
        DumpError::Tape { at, source } => Deviation::Tape { at: Some(at), kind: source.kind() },
        DumpError::EndOfMedium { at } => Deviation::EndOfMedium(at),
        _ => Deviation::Memory,
    }
}

/// One bit of a file's data is wrong on the tape: the restore says of which file, and brings back all others.
fn damaged_file(
    source: &MemVolume<'_>,
    tape: &mut MemTape<'_>,
    target: &mut Target,
    work: &mut Work,
    board: &mut impl Board,
) -> Result<(), Deviation> {
    let (record, offset) = find_pattern(tape).ok_or(Deviation::NotOnTape)?;
    let fault = Fault {
        when: When::Record(TapePosition { file: 0, record }),
        what: What::FlipBit(offset as u64 * 8 + 3),
    };
    let damaged = source.look_up(Ino::ROOT, tree::PATTERN_NAME).ok_or(Deviation::NotOnTape)?;
    let schedule = [fault];
    let mut restored = target.empty()?;
    let mut tellings = 0;
    let mut tape = FaultInjector::scheduled(tape, &schedule);
    let summary = restore(&mut tape, &mut restored, work, |trouble| {
        tellings += 1;
        if matches!(trouble, Trouble::Damage(Damage::Data { ino, .. }) if ino == damaged) {
            Ok(())
        } else {
            no_trouble(trouble)
        }
    })?;
    if tellings == 0 || summary.is_good() {
        return Err(Deviation::Unnoticed(fault));
    }
    if (summary.directories, summary.objects) != (tree::DIRECTORIES, tree::OTHERS) {
        return Err(Deviation::RestoreSummary(summary));
    }
    // With the damaged file out of the way there is no difference left.
    tree::repair(source, &mut restored).map_err(Deviation::Volume)?;
    if let Some(place) = differs(source, &restored) {
        return Err(Deviation::Different(place));
    }
    board.log(format_args!("flipped a bit of a file on the tape: told, and all other files are equal"));
    Ok(())
}

/// Every record of the tape in turn is damaged in every way: that is told each time.
fn damaged_records(
    source: &MemVolume<'_>,
    tape: &mut MemTape<'_>,
    target: &mut Target,
    work: &mut Work,
    board: &mut impl Board,
) -> Result<(), Deviation> {
    let records = tape.records(0).count() as u64;
    let mut random = SplitMix64::new(1);
    let mut runs = 0;
    for record in 0..records {
        let faults = [
            What::FlipBit(random.below(RECORD_LEN as u64 * 8)),
            What::Zero { from: random.below(RECORD_LEN as u64), len: TAPE_BLOCK_LEN as u64 },
            What::Short(random.below(RECORD_LEN as u64)),
            What::Error(ErrorKind::Medium),
            What::Remove,
            What::Repeat,
        ];
        for what in faults {
            let fault = Fault { when: When::Record(TapePosition { file: 0, record }), what };
            let schedule = [fault];
            let mut restored = target.empty()?;
            let mut tape = FaultInjector::scheduled(&mut *tape, &schedule);
            let summary = restore(&mut tape, &mut restored, work, |_| Ok(()))?;
            // Zeros do no damage where there were zeros before, and nothing does behind the header that ends the dump.
            let may_be_harmless = matches!(what, What::Zero { .. }) || record + 1 == records;
            let is_harmless = may_be_harmless && differs(source, &restored).is_none();
            if tape.injected() == 0 || summary.is_good() && !is_harmless {
                return Err(Deviation::Unnoticed(fault));
            }
            runs += 1;
        }
    }
    board.log(format_args!("damaged each of {records} tape records: {runs} restores, no loss untold"));
    Ok(())
}

/// A record with data of the pattern file, and where in it that is.
fn find_pattern(tape: &MemTape<'_>) -> Option<(u64, usize)> {
    let needle = [tree::PATTERN; TAPE_BLOCK_LEN];
    tape.records(0).enumerate().find_map(|(number, record)| {
        let blocks = record.chunks(TAPE_BLOCK_LEN);
        let place = blocks.enumerate().find(|(_, block)| *block == needle)?.0;
        Some((number as u64, place * TAPE_BLOCK_LEN + 100))
    })
}

impl Target {
    fn empty(&mut self) -> Result<MemVolume<'_>, Deviation> {
        MemVolume::new(&mut self.nodes, &mut self.arena).map_err(Deviation::Volume)
    }
}

/// A tape without damage gives no reason for any trouble.
fn no_trouble(trouble: Trouble) -> Result<(), Deviation> {
    Err(Deviation::Trouble(trouble))
}

fn check_summary(summary: &RestoreSummary) -> Result<(), Deviation> {
    let found = (summary.directories, summary.objects, summary.links, summary.checked);
    if summary.is_good() && found == (tree::DIRECTORIES, tree::OTHERS, tree::LINKS, true) {
        Ok(())
    } else {
        Err(Deviation::RestoreSummary(*summary))
    }
}

/// Restores the tape's first file to `target`; `judge` decides what may be told.
fn restore<T: TapeDevice, V: TargetVolume>(
    tape: &mut T,
    target: &mut V,
    work: &mut Work,
    mut judge: impl FnMut(Trouble) -> Result<(), Deviation>,
) -> Result<RestoreSummary, Deviation> {
    tape.rewind().map_err(|error| Deviation::Tape { at: None, kind: error.kind() })?;
    work.maps.fill(0);
    let scratch = MemBlock::new(&mut work.scratch, PAGE_LEN).map_err(Deviation::Volume)?;
    let memory = RestoreMemory { stream: &mut work.stream, maps: &mut work.maps, names: &mut work.names };
    let mut restore = Restore::<_, _, _, PortableCrc32c>::new(tape, target, scratch, memory)
        .map_err(|error| restore_deviation(&error))?;
    loop {
        match restore.step().map_err(|error| restore_deviation(&error))? {
            RestoreEvent::Damage(damage) => judge(Trouble::Damage(damage))?,
            RestoreEvent::Failed(failure) => judge(Trouble::Failed(failure.ino, failure.what))?,
            RestoreEvent::Done(summary) => return Ok(summary),
            // There is one tape; to step on without another one is what a lost end is made of.
            _ => {}
        }
    }
}

fn restore_deviation<T: DeviceError, V: DeviceError, B>(error: &RestoreError<T, V, B>) -> Deviation {
    match error {
        RestoreError::Tape { at, source } => Deviation::Tape { at: Some(*at), kind: source.kind() },
        RestoreError::Target { source, .. } => Deviation::Volume(source.kind()),
        RestoreError::Scratch(_) | RestoreError::MapTooSmall { .. } => Deviation::Memory,
        _ => Deviation::Restore,
    }
}
