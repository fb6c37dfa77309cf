//! The demonstration: a volume goes to tape and comes back, and faults of the tape are told, not swallowed.
//!
//! The board lends all memory ([`Memory`]), tapes, and a block device for what has to outlive its power, and for what does not fit
//! the memory of a restore.

use core::cell::RefCell;

use tapedump_core::device::DeviceError;
use tapedump_core::device::ErrorKind;
use tapedump_core::device::fault::{Fault, FaultInjector, Operation, SplitMix64, What, When};
use tapedump_core::device::mem::{MemVolume, Node, Where, differs};
use tapedump_core::device::tape::{TapeDevice, TapePosition, TapeRead};
use tapedump_core::device::volume::FailedPart;
use tapedump_core::engine::restore::{Damage, RestoreSummary};
use tapedump_core::units::{BlockAddr, BlockingFactor, Ino, TAPE_BLOCK_LEN};

use crate::board::{Board, Report};
use crate::drive::Drive;
use crate::engine::{BLOCKING_MAX, CHAIN_LEN, Told, Work, dump, restore};
use crate::nowhere::Nowhere;
use crate::part::{Part, Storage};
use crate::tree;

/// Objects a volume may hold.
const NODES: usize = 24;
/// Bytes for the names, data and properties of a volume.
const ARENA_LEN: usize = 112 * 1024;

/// The board's disks, each a volume: the objects. Apart from their content, which is zero in the beginning.
pub type Nodes = [[Node; NODES]; 2];
/// The board's disks: names, data and properties.
pub type Arenas = [[u8; ARENA_LEN]; 2];

/// Disks without anything on them: the objects.
#[must_use]
pub const fn no_nodes() -> Nodes {
    [[Node::EMPTY; NODES]; 2]
}

/// Disks without anything on them: the rest.
#[must_use]
pub const fn no_arenas() -> Arenas {
    [[0; ARENA_LEN]; 2]
}

/// Everything the demonstration uses besides its stack.
pub struct Memory<'m> {
    /// Of the disk that is dumped, and of the one that is restored to.
    pub nodes: &'m mut Nodes,
    /// Likewise.
    pub arenas: &'m mut Arenas,
    /// What the engines work with.
    pub work: &'m mut Work,
}

/// What went otherwise than it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(target_os = "none", derive(defmt::Format))]
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
    /// A dump told something that the tree gives no reason for; what, was logged.
    DumpEvent,
    /// A dump counted something else than the tree holds; what, was logged.
    DumpSummary,
    /// A restore found no dump, or could not go on for another reason than those above.
    Restore,
    /// A restore told trouble where there is none, or other trouble than there is.
    Trouble(Trouble),
    /// A restore counted something else than was dumped; what, was logged.
    RestoreSummary,
    /// What came back is not what was dumped.
    Different(Where),
    /// The data of a file is not on the tape.
    NotOnTape,
    /// A fault was not told.
    Unnoticed(Fault),
    /// The history failed.
    History(ErrorKind),
    /// Another dump was found as base, or none.
    Base,
    /// The catalog failed.
    Catalog(ErrorKind),
    /// A context could not be stored or read.
    Context(ErrorKind),
    /// A dump that was cut off could not go on: what is on the tape is not what its context says, or the volume is not.
    NotThisTape,
    /// No dump that was cut off went on from its context on the first tape, or none on the second.
    NotRestarted,
    /// A catalog has or does not have a path, or has the object on another dump than it is on.
    NotFound,
}

/// What a restore tells that is not as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(target_os = "none", derive(defmt::Format))]
pub enum Trouble {
    /// On the tape.
    Damage(Damage),
    /// This part of an object could not be made on the target.
    Failed(Ino, FailedPart),
}

/// Bytes that the block device must have.
pub const STORAGE_LEN: u64 = 320 << 10;

/// Tapes of the demonstration: those of a chain, and two of one dump.
pub const TAPES: usize = CHAIN_LEN + 2;

/// Runs the whole demonstration. In the end `tapes` hold, with records of blocking factor 32, a chain of three dumps, the baseline
/// first, and on the last two a dump of all that the chain gives.
///
/// # Errors
/// The first thing that went otherwise than it should; it was logged.
pub fn run<T: TapeDevice>(
    memory: Memory<'_>,
    tapes: [&mut T; TAPES],
    storage: &mut Storage<'_>,
    board: &mut impl Board,
) -> Result<(), Deviation> {
    board.log(&Report::Memory { engine: size_of::<Work>(), records: Work::RECORDS_LEN });
    let [source_nodes, target_nodes] = memory.nodes;
    let [source_arena, target_arena] = memory.arenas;
    let target = Target { nodes: target_nodes, arena: target_arena };
    let [tape, tape_1, tape_2, first, second] = tapes;
    let storage = RefCell::new(storage);
    let storage = Part::new(&storage, 0, STORAGE_LEN);
    let increments = [tape_1, tape_2];
    let pair = [first, second];
    let mut demo = Demo { tape, increments, pair, storage, target, work: memory.work, board };
    let result = demo.all(source_nodes, source_arena);
    demo.board.log(&match result {
        Ok(()) => Report::Passed,
        Err(deviation) => Report::Failed(deviation),
    });
    result
}

/// What all steps work with.
pub struct Demo<'d, 'm, T, L> {
    /// Of the baseline.
    pub tape: &'d mut T,
    /// Of level 1 and of level 2.
    pub increments: [&'d mut T; CHAIN_LEN - 1],
    /// Of one dump.
    pub pair: [&'d mut T; 2],
    pub storage: Part<'d>,
    pub target: Target<'m>,
    pub work: &'m mut Work,
    pub board: &'d mut L,
}

/// The disk that is restored to.
pub struct Target<'m> {
    nodes: &'m mut [Node],
    arena: &'m mut [u8],
}

impl Target<'_> {
    pub fn empty(&mut self) -> Result<MemVolume<'_>, Deviation> {
        MemVolume::new(self.nodes, self.arena).map_err(Deviation::Volume)
    }
}

// The steps are kept apart, so that each has its variables on the stack only while it runs.
impl<T: TapeDevice, L: Board> Demo<'_, '_, T, L> {
    /// Fills a volume and does everything to it, with short tape records and with long ones.
    fn all(&mut self, nodes: &mut [Node], arena: &mut [u8]) -> Result<(), Deviation> {
        for blocking in [BlockingFactor::MIN, BLOCKING_MAX] {
            let mut source = MemVolume::new(nodes, arena).map_err(Deviation::Volume)?;
            tree::fill(&mut source).map_err(Deviation::Volume)?;
            self.board.log(&Report::Filled { directories: tree::DIRECTORIES, others: tree::OTHERS });
            self.board.log(&Report::Blocking(blocking));
            self.failing_dumps(&mut source, blocking)?;
            self.there_and_back(&mut source, blocking)?;
            self.damaged_file(&source)?;
            self.damaged_records(&source, blocking)?;
            self.small_device(&mut source, blocking)?;
            self.levels(&mut source, blocking)?;
            self.two_tapes(&mut source, blocking)?;
        }
        let ([level_1, level_2], [first, second]) = (&mut self.increments, &mut self.pair);
        for tape in [&mut *self.tape, level_1, level_2, first, second] {
            tape.unload().map_err(|error| Deviation::Tape { at: None, kind: error.kind() })?;
        }
        Ok(())
    }

    /// A dump to a tape that fails says at which block, and is none: for each record that it writes.
    #[inline(never)]
    fn failing_dumps(
        &mut self,
        source: &mut MemVolume<'_>,
        blocking: BlockingFactor,
    ) -> Result<(), Deviation> {
        let job = self.baseline(blocking);
        let silent = None::<&mut L>;
        let mut counting = FaultInjector::counting(Drive::with(&mut *self.tape));
        dump(source, &mut counting, &job, self.work, None, silent)?;
        let writes = counting.operations_of(Operation::Write);
        for n in 0..writes {
            let at = BlockAddr(n * u64::from(blocking.blocks()));
            let failed = Deviation::Tape { at: Some(at), kind: ErrorKind::Medium };
            let faults =
                [(What::Error(ErrorKind::Medium), failed), (What::EndOfMedium, Deviation::EndOfMedium(at))];
            for (what, expected) in faults {
                let fault = Fault { when: When::Nth(Operation::Write, n), what };
                let schedule = [fault];
                let mut tape = FaultInjector::scheduled(Drive::with(&mut *self.tape), &schedule);
                match dump(source, &mut tape, &job, self.work, None, None::<&mut L>) {
                    Err(found) if found == expected => {}
                    Err(other) => return Err(other),
                    Ok(_) => return Err(Deviation::Unnoticed(fault)),
                }
            }
        }
        self.board.log(&Report::WritesFailed(writes));
        Ok(())
    }

    /// Dumps, verifies, restores and compares, without any fault.
    #[inline(never)]
    fn there_and_back(
        &mut self,
        source: &mut MemVolume<'_>,
        blocking: BlockingFactor,
    ) -> Result<(), Deviation> {
        let scratch = self.scratch();
        let job = self.baseline(blocking);
        let mut tape = FaultInjector::counting(Drive::with(&mut *self.tape));
        let summary = dump(source, &mut tape, &job, self.work, None, Some(&mut *self.board))?.summary;
        self.board.log(&Report::Dumped(summary));
        let found = (summary.directories, summary.others, summary.incomplete);
        if found != (tree::DIRECTORIES, tree::OTHERS, 0) {
            return Err(Deviation::DumpSummary);
        }

        let mut nowhere = Nowhere::new();
        let summary =
            restore(1, [Some(&mut tape), None, None], &mut nowhere, scratch, self.work, None, &mut quiet)?;
        self.board.log(&Report::Verified(summary));
        check_summary(&summary)?;

        let mut restored = self.target.empty()?;
        let board = &mut *self.board;
        let summary = restore(
            1,
            [Some(&mut tape), None, None],
            &mut restored,
            scratch,
            self.work,
            None,
            &mut |told| {
                if let Told::Report(report) = &told {
                    board.log(report);
                }
                quiet(told)
            },
        )?;
        check_summary(&summary)?;
        equal(source, &restored)?;
        self.board.log(&Report::Equal);
        Ok(())
    }

    /// One bit of a file's data is wrong on the tape: the restore says of which file, and brings back all others.
    #[inline(never)]
    fn damaged_file(&mut self, source: &MemVolume<'_>) -> Result<(), Deviation> {
        let (record, offset) = find_pattern(self.tape, self.work.record())?.ok_or(Deviation::NotOnTape)?;
        let fault = Fault {
            when: When::Record(TapePosition { file: 0, record }),
            what: What::FlipBit(offset as u64 * 8 + 3),
        };
        let scratch = self.scratch();
        let damaged = source.look_up(Ino::ROOT, tree::PATTERN_NAME).ok_or(Deviation::NotOnTape)?;
        let schedule = [fault];
        let mut restored = self.target.empty()?;
        let mut told_from = None;
        let mut tape = FaultInjector::scheduled(Drive::with(&mut *self.tape), &schedule);
        let board = &mut *self.board;
        let summary = restore(
            1,
            [Some(&mut tape), None, None],
            &mut restored,
            scratch,
            self.work,
            None,
            &mut |told| match told {
                Told::Trouble(trouble @ Trouble::Damage(Damage::Data { ino, from, .. }))
                    if ino == damaged =>
                {
                    told_from.get_or_insert(from);
                    board.log(&Report::Told(trouble));
                    Ok(())
                }
                told => quiet(told),
            },
        )?;
        let Some(from) = told_from.filter(|_| !summary.is_good()) else {
            return Err(Deviation::Unnoticed(fault));
        };
        if (summary.directories, summary.objects) != (tree::DIRECTORIES, tree::OTHERS) {
            return Err(Deviation::RestoreSummary);
        }
        // With the damaged file out of the way there is no difference left.
        tree::repair(source, &mut restored).map_err(Deviation::Volume)?;
        equal(source, &restored)?;
        self.board.log(&Report::BitFlipped { from });
        Ok(())
    }

    /// Every record of the tape in turn is damaged in every way: that is told each time.
    #[inline(never)]
    fn damaged_records(&mut self, source: &MemVolume<'_>, blocking: BlockingFactor) -> Result<(), Deviation> {
        let scratch = self.scratch();
        let record_len = blocking.record_len() as u64;
        let records = count_records(self.tape, self.work.record())?;
        let mut random = SplitMix64::new(1);
        let mut runs = 0;
        for record in 0..records {
            let faults = [
                What::FlipBit(random.below(record_len * 8)),
                What::Zero { from: random.below(record_len), len: TAPE_BLOCK_LEN as u64 },
                What::Short(random.below(record_len)),
                What::Error(ErrorKind::Medium),
                What::Remove,
                What::Repeat,
            ];
            for what in faults {
                let fault = Fault { when: When::Record(TapePosition { file: 0, record }), what };
                let schedule = [fault];
                let mut restored = self.target.empty()?;
                let mut tape = FaultInjector::scheduled(Drive::with(&mut *self.tape), &schedule);
                let tapes = [Some(&mut tape), None, None];
                let summary = restore(1, tapes, &mut restored, scratch, self.work, None, &mut |_| Ok(()))?;
                // Zeros do no damage where there were zeros before, and nothing does behind the header that ends the dump.
                let may_be_harmless = matches!(what, What::Zero { .. }) || record + 1 == records;
                let is_harmless = may_be_harmless && differs(source, &restored).is_none();
                if tape.injected() == 0 || summary.is_good() && !is_harmless {
                    return Err(Deviation::Unnoticed(fault));
                }
                runs += 1;
            }
        }
        self.board.log(&Report::Damaged { records, runs });
        Ok(())
    }
}

/// The next record of the tape: its length.
fn next_record<T: TapeDevice>(tape: &mut T, buf: &mut [u8]) -> Result<Option<usize>, Deviation> {
    let failed = |kind| Deviation::Tape { at: None, kind };
    match tape.read(buf).map_err(|error| failed(error.kind()))? {
        TapeRead::Record(len) => Ok(Some(len)),
        TapeRead::Filemark | TapeRead::EndOfData => Ok(None),
        TapeRead::BufferTooSmall { .. } => Err(Deviation::Memory),
    }
}

fn count_records<T: TapeDevice>(tape: &mut T, buf: &mut [u8]) -> Result<u64, Deviation> {
    tape.rewind().map_err(|error| Deviation::Tape { at: None, kind: error.kind() })?;
    let mut count = 0;
    while next_record(tape, buf)?.is_some() {
        count += 1;
    }
    Ok(count)
}

/// A record with data of the pattern file, and where in it that is.
fn find_pattern<T: TapeDevice>(tape: &mut T, buf: &mut [u8]) -> Result<Option<(u64, usize)>, Deviation> {
    tape.rewind().map_err(|error| Deviation::Tape { at: None, kind: error.kind() })?;
    let mut number = 0;
    while let Some(len) = next_record(tape, buf)? {
        let mut blocks = buf.get(..len).unwrap_or_default().chunks(TAPE_BLOCK_LEN);
        if let Some(place) = blocks.position(|block| block.iter().all(|byte| *byte == tree::PATTERN)) {
            return Ok(Some((number, place * TAPE_BLOCK_LEN + 100)));
        }
        number += 1;
    }
    Ok(None)
}

/// A tape without damage gives no reason for any trouble.
pub fn quiet(told: Told) -> Result<(), Deviation> {
    match told {
        Told::Trouble(trouble) => Err(Deviation::Trouble(trouble)),
        Told::Report(_) => Ok(()),
    }
}

pub fn equal(source: &MemVolume<'_>, restored: &MemVolume<'_>) -> Result<(), Deviation> {
    differs(source, restored).map_or(Ok(()), |place| Err(Deviation::Different(place)))
}

fn check_summary(summary: &RestoreSummary) -> Result<(), Deviation> {
    let found = (summary.directories, summary.objects, summary.links, summary.checked);
    if summary.is_good() && found == (tree::DIRECTORIES, tree::OTHERS, tree::LINKS, true) {
        Ok(())
    } else {
        Err(Deviation::RestoreSummary)
    }
}
