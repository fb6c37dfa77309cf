//! What dumps and restores: the two engines, in memory that they take turns in.
//!
//! Each is here once, for one type of each device, as in a product: whatever the demonstration does, it does by the same
//! code. So the tape always has an injector of faults in front, mostly without any, and a drive that could take another one.

use tapedump_core::catalog::{
    CATALOG_MEMORY_MIN, CatalogError, CatalogFigures, CatalogIdentity, CatalogWriter, MEMORY_LEN_MIN,
    SuspendedCatalog,
};
use tapedump_core::checksum::CompactCrc32c;
use tapedump_core::device::fault::{FaultError, FaultInjector};
use tapedump_core::device::mem::MemVolume;
use tapedump_core::device::tape::TapeDevice;
use tapedump_core::device::volume::{SourceVolume, TargetVolume, VolumeNames};
use tapedump_core::device::{DeviceError, ErrorKind};
use tapedump_core::engine::dump::{Dump, DumpError, DumpEvent, DumpMemory, DumpOptions, DumpSummary};
use tapedump_core::engine::restore::{
    Restore, RestoreError, RestoreEvent, RestoreMemory, RestoreSummary, Route, Selected,
};
use tapedump_core::stream::writer::DumpIdentity;
use tapedump_core::units::{BlockingFactor, DumpId, TAPE_BLOCK_LEN, VolumeId};

use crate::board::{Board, Report};
use crate::contexts::Contexts;
use crate::demo::{Deviation, Trouble};
use crate::drive::Drive;
use crate::part::Part;

/// The longest tape records.
pub const BLOCKING_MAX: BlockingFactor = match BlockingFactor::new(32) {
    Ok(factor) => factor,
    Err(_) => BlockingFactor::MIN,
};

/// Objects that a volume may have.
const OBJECTS_MAX: usize = 8192;
/// Bytes of a map.
pub const MAP_LEN: usize = OBJECTS_MAX / 8;
/// Bytes for sorting the names of a dump that is restored, or what a catalog is made of.
const NAMES_LEN: usize = 2 * MEMORY_LEN_MIN;
const _: () = assert!(NAMES_LEN >= CATALOG_MEMORY_MIN);
/// Maps: three for a dump, six for a restore, and three more when it is of a chain.
const MAPS: usize = 6;
const CHAIN_MAPS: usize = 3;

/// Dumps of the longest chain.
pub const CHAIN_LEN: usize = 3;

/// Memory that is lent to a dump, a restore, the history or a catalog, whichever is at work.
pub struct Work {
    /// One tape record, and one tape block more.
    stream: [u8; BLOCKING_MAX.record_len() + TAPE_BLOCK_LEN],
    /// The last ones are of a chain.
    maps: [u8; (MAPS + CHAIN_MAPS) * MAP_LEN],
    names: [u8; NAMES_LEN],
}

/// What of [`Work`] is lent to a dump, besides the memory for its catalog.
pub struct Lent<'w> {
    /// What the dump works with.
    pub memory: DumpMemory<'w>,
    /// What is left, and is used only when a dump is gone on with.
    pub idle: &'w mut [u8],
}

impl Work {
    /// Bytes of it that are for tape records.
    pub const RECORDS_LEN: usize = BLOCKING_MAX.record_len() + TAPE_BLOCK_LEN;

    /// The memory, for a `static`.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            stream: [0; BLOCKING_MAX.record_len() + TAPE_BLOCK_LEN],
            maps: [0; (MAPS + CHAIN_MAPS) * MAP_LEN],
            names: [0; NAMES_LEN],
        }
    }

    /// Lent to look at tape records, and to whatever else is at work while neither dump nor restore is.
    pub fn record(&mut self) -> &mut [u8] {
        &mut self.stream
    }

    /// The map of what the chain gives rightly: the base's before an increment, the dump's own after each dump.
    pub fn known(&mut self) -> &mut [u8] {
        self.maps.last_chunk_mut::<MAP_LEN>().map_or(&mut [], |map| map)
    }

    /// Lent to a dump, and to its catalog.
    pub fn lend(&mut self, blocking: BlockingFactor) -> Option<(Lent<'_>, &mut [u8])> {
        let stream = self.stream.get_mut(..TAPE_BLOCK_LEN + blocking.record_len())?;
        let (in_use, rest) = self.maps.split_first_chunk_mut::<MAP_LEN>()?;
        let (on_tape, rest) = rest.split_first_chunk_mut::<MAP_LEN>()?;
        let (idle, known) = rest.split_last_chunk_mut::<MAP_LEN>()?;
        Some((Lent { memory: DumpMemory { stream, in_use, on_tape, known }, idle }, &mut self.names))
    }

    /// The power is gone, and back: anything may be in it.
    pub fn lose(&mut self) {
        self.stream.fill(LOST);
        self.maps.fill(LOST);
        self.names.fill(LOST);
    }
}

/// What is found in memory that lost its content.
const LOST: u8 = 0x6d;

impl Default for Work {
    fn default() -> Self {
        Self::new()
    }
}

/// The tape, or two: perhaps with faults.
pub type Tape<'t, T> = FaultInjector<'t, Drive<'t, T>>;

/// What came of a dump.
pub struct Dumped {
    /// What it counted.
    pub summary: DumpSummary,
    /// [`DumpEvent::CatalogLost`] was told.
    pub lost: bool,
    /// The catalog; or why there is none.
    pub catalog: Result<CatalogFigures, CatalogError<ErrorKind>>,
}

/// What to dump as, and where the catalog goes.
pub struct Job<'d> {
    /// Identity, time and level.
    pub identity: DumpIdentity,
    /// The dump it builds on.
    pub base: Option<DumpId>,
    /// The volume's.
    pub volume: VolumeId,
    /// Tape blocks per record.
    pub blocking: BlockingFactor,
    /// For the catalog.
    pub catalog: Part<'d>,
}

impl Job<'_> {
    /// What the catalog begins with.
    fn of_catalog(&self) -> CatalogIdentity {
        let DumpIdentity { id, date, base_date, level } = self.identity;
        CatalogIdentity {
            dump: id,
            base: self.base,
            level,
            date: date.into(),
            base_date: base_date.into(),
            volume: self.volume.0,
            names: VolumeNames::default(),
            label: LABEL,
        }
    }
}

/// Label of all dumps.
const LABEL: [u8; 16] = *b"demo\0\0\0\0\0\0\0\0\0\0\0\0";

/// Dumps the whole volume, or what changed in it, from the beginning of the tape; or goes on with a dump that was cut off,
/// where `contexts` found one. All of it can be read: only stages are to be told, and that there is no room for the catalog.
#[inline(never)]
pub fn dump<'d, T: TapeDevice>(
    source: &mut MemVolume<'_>,
    tape: &mut Tape<'_, T>,
    job: &Job<'d>,
    work: &mut Work,
    mut contexts: Option<&mut Contexts<'d>>,
    board: Option<&mut impl Board>,
) -> Result<Dumped, Deviation> {
    // A dump that failed before left its object open; else there is nothing to close.
    let _ = source.close();
    let (mut lent, names) = work.lend(job.blocking).ok_or(Deviation::Memory)?;
    let kept = contexts.as_ref().and_then(|contexts| contexts.kept.as_ref());
    match kept {
        Some(kept) => kept.find_end(tape, job, &mut lent)?,
        None => rewind(tape)?,
    }
    let mut catalog = catalog(job, names, kept.map(|kept| &kept.catalog))?;
    if let Some(contexts) = contexts.as_deref_mut().filter(|contexts| contexts.kept.is_none()) {
        contexts.forget()?;
    }
    let (summary, lost) = stream_out(source, tape, &mut catalog, lent, job, contexts.as_deref_mut(), board)?;
    let catalog = lost.map_or_else(|| finish(catalog), Err);
    if let Some(contexts) = contexts {
        contexts.forget()?;
    }
    Ok(Dumped { summary, lost: lost.is_some(), catalog })
}

/// A new catalog, or the one that was suspended.
#[inline(never)]
fn catalog<'m, 'd>(
    job: &Job<'d>,
    memory: &'m mut [u8],
    suspended: Option<&SuspendedCatalog>,
) -> Result<CatalogWriter<'m, Part<'d>, CompactCrc32c>, Deviation> {
    let (device, region, identity) = (job.catalog, 0..u64::MAX, job.of_catalog());
    let catalog = match suspended {
        None => CatalogWriter::new(device, region, memory, identity),
        Some(suspended) => CatalogWriter::resumed(device, region, memory, identity, suspended),
    };
    catalog.map_err(|error| Deviation::Catalog(error.kind()))
}

/// Makes the catalog one that counts.
#[inline(never)]
fn finish(
    catalog: CatalogWriter<'_, Part<'_>, CompactCrc32c>,
) -> Result<CatalogFigures, CatalogError<ErrorKind>> {
    Ok(catalog.finish()?.figures())
}

type Summary = (DumpSummary, Option<CatalogError<ErrorKind>>);

/// The dump itself; gives why the catalog was lost, if it was.
#[inline(never)]
fn stream_out<'d, T: TapeDevice>(
    source: &mut MemVolume<'_>,
    tape: &mut Tape<'_, T>,
    catalog: &mut CatalogWriter<'_, Part<'d>, CompactCrc32c>,
    lent: Lent<'_>,
    job: &Job<'d>,
    mut contexts: Option<&mut Contexts<'d>>,
    mut board: Option<&mut impl Board>,
) -> Result<Summary, Deviation> {
    let Lent { memory, idle } = lent;
    let rest_max = idle.len();
    let options = DumpOptions { identity: job.identity, blocking: job.blocking, label: LABEL };
    let mut dump = Dump::<_, _, CompactCrc32c, _>::with_catalog(source, tape, catalog, memory, options);
    // Used where it is: taken out of the result, it would be on the stack once more.
    let dump = match &mut dump {
        Ok(dump) => dump,
        Err(error) => return Err(dump_deviation(error)),
    };
    if let Some(kept) = contexts.as_ref().and_then(|contexts| contexts.kept.as_ref()) {
        let rest = idle.get(..kept.rest_len).unwrap_or_default();
        dump.restart(&kept.state, rest).map_err(|error| dump_deviation(&error))?;
    }
    loop {
        match dump.step().map_err(|error| dump_deviation(&error))? {
            DumpEvent::Working | DumpEvent::CatalogLost => {}
            DumpEvent::Done(summary) => return Ok((summary, dump.catalog().err().copied())),
            event => {
                if let Some(board) = &mut board {
                    board.log(&Report::Dumping(event));
                }
                if !matches!(event, DumpEvent::Stage(_)) {
                    return Err(Deviation::DumpEvent);
                }
            }
        }
        if let Some(contexts) = &mut contexts {
            contexts.keep(dump, job, rest_max)?;
        }
    }
}

fn rewind<T: TapeDevice>(tape: &mut T) -> Result<(), Deviation> {
    tape.rewind().map_err(|error| Deviation::Tape { at: None, kind: error.kind() })
}

pub fn dump_deviation<T: DeviceError>(error: &DumpError<ErrorKind, FaultError<T>>) -> Deviation {
    match error {
        DumpError::Source(kind) => Deviation::Volume(*kind),
        DumpError::Tape { at, source } => Deviation::Tape { at: Some(*at), kind: source.kind() },
        DumpError::EndOfMedium { at } => Deviation::EndOfMedium(*at),
        DumpError::NotThisDump => Deviation::NotThisTape,
        _ => Deviation::Memory,
    }
}

/// What is restored to.
pub type Target<'t> = dyn TargetVolume<Error = ErrorKind> + 't;

/// The tapes of a chain, the newest dump's first; or those of one dump. One is in the drive, and that one is not here.
pub type Tapes<'a, 't, T> = [Option<&'a mut Tape<'t, T>>; CHAIN_LEN];

/// One object, straight from where it is.
pub struct Straight<'r> {
    /// Its path.
    pub path: &'r [u8],
    /// Where it is, and the directories above it.
    pub route: &'r mut dyn Route,
}

/// Restores so many dumps, as one tree, to `target`: all, or one object. `judge` decides what may be told.
#[inline(never)]
pub fn restore<'m, T: TapeDevice>(
    dumps: u32,
    mut tapes: Tapes<'_, '_, T>,
    target: &mut Target<'_>,
    scratch: Part<'_>,
    work: &'m mut Work,
    straight: Option<Straight<'m>>,
    judge: &mut dyn FnMut(Told) -> Result<(), Deviation>,
) -> Result<RestoreSummary, Deviation> {
    for tape in tapes.iter_mut().flatten() {
        rewind(tape)?;
    }
    work.maps.fill(0);
    let Work { stream, maps, names } = work;
    let (maps, chain) = maps.split_at_mut(MAPS * MAP_LEN);
    let memory = RestoreMemory { stream, maps, chain, names, attributes: &mut [] };
    let first = tapes.first_mut().and_then(Option::take).ok_or(Deviation::Restore)?;
    let mut restore = Restore::<_, _, _, CompactCrc32c>::of_chain(first, target, scratch, memory, dumps);
    // Used where it is: taken out of the result, it would be on the stack once more.
    let restore = match &mut restore {
        Ok(restore) => restore,
        Err(error) => return Err(restore_deviation(error)),
    };
    let mut path = None;
    if let Some(straight) = straight {
        path = Some(straight.path);
        restore.go_along(straight.route);
    }
    let mut present = 0;
    loop {
        let told = match restore.step() {
            Ok(RestoreEvent::Damage(damage)) => Told::Trouble(Trouble::Damage(damage)),
            Ok(RestoreEvent::Failed(failure)) => Told::Trouble(Trouble::Failed(failure.ino, failure.what)),
            Ok(RestoreEvent::Dump(info)) => Told::Report(Report::Found(info)),
            Ok(RestoreEvent::Stage(stage)) => Told::Report(Report::Restoring(stage)),
            Ok(RestoreEvent::Done(summary)) => return Ok(summary),
            Ok(RestoreEvent::Catalogued) => {
                let found = path.map(|path| restore.select(path));
                if matches!(found, None | Some(Ok(Selected::Yes))) {
                    continue;
                }
                return Err(Deviation::NotFound);
            }
            Ok(RestoreEvent::NeedDump { index }) => {
                let next = tapes.get_mut(index as usize).and_then(Option::take);
                let before = restore.next_dump(next);
                if let Some(place) = tapes.get_mut(present) {
                    *place = before;
                }
                present = index as usize;
                rewind(restore.tape_mut())?;
                continue;
            }
            // To step on without another tape is what a lost end is made of.
            Ok(RestoreEvent::NeedTape(number)) => {
                let others = tapes.get_mut(1..).filter(|_| dumps == 1).unwrap_or_default();
                let wanted = (number.0 as usize).checked_sub(2).and_then(|number| others.get_mut(number));
                if let Some(tape) = wanted.and_then(Option::take) {
                    let _ = restore.next_tape(tape);
                }
                continue;
            }
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
