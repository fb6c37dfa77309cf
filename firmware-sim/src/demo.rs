//! The demonstration: a volume goes to tape and comes back, and faults of the tape are told, not swallowed.
//!
//! All memory is in [`Memory`]; its lengths are below.

use tapedump_core::checksum::PortableCrc32c;
use tapedump_core::device::fault::{Fault, FaultInjector, Operation, What, When};
use tapedump_core::device::mem::{MemTape, MemVolume, Node};
use tapedump_core::device::tape::TapeDevice;
use tapedump_core::device::volume::SourceVolume;
use tapedump_core::device::{DeviceError, ErrorKind};
use tapedump_core::engine::dump::{Dump, DumpError, DumpEvent, DumpMemory, DumpOptions, DumpSummary};
use tapedump_core::stream::writer::DumpIdentity;
use tapedump_core::units::{BlockAddr, BlockingFactor, DumpId, Level};

use crate::board::Board;
use crate::tree;

/// Objects a volume may hold.
const NODES: usize = 24;
/// Bytes for the names, data and properties of a volume.
const ARENA_LEN: usize = 24 * 1024;
/// Bytes of a tape.
const TAPE_LEN: usize = 96 * 1024;
/// Bytes of a map: a bit for each number.
const MAP_LEN: usize = 16;
/// Bytes of one tape record.
const RECORD_LEN: usize = BlockingFactor::MIN.record_len();

/// Everything the demonstration uses besides its stack.
pub struct Memory {
    source_nodes: [Node; NODES],
    source_arena: [u8; ARENA_LEN],
    tape: [u8; TAPE_LEN],
    work: Work,
}

/// What an engine works with.
struct Work {
    stream: [u8; RECORD_LEN],
    in_use: [u8; MAP_LEN],
    on_tape: [u8; MAP_LEN],
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
            work: Work { stream: [0; RECORD_LEN], in_use: [0; MAP_LEN], on_tape: [0; MAP_LEN] },
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
    /// A fault of the tape did not end the dump.
    Unnoticed,
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
    let Memory { source_nodes, source_arena, tape, work } = memory;
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
    Ok(())
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
                Ok(_) => return Err(Deviation::Unnoticed),
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
    let memory =
        DumpMemory { stream: &mut work.stream, in_use: &mut work.in_use, on_tape: &mut work.on_tape };
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
