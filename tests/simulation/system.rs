//! A system that dumps a volume and keeps its books, made of nothing but the core: what a firmware does between boot and
//! power failure. Its order of commitment is that of `architecture.md`:
//!
//! ```text
//! snapshot -> context -> data on tape, context again and again -> filemark -> catalog -> map -> history -> no context -> no snapshot
//! ```

use std::cell::RefCell;
use std::fmt::Debug;
use std::rc::Rc;

use tapedump_core::catalog::{CATALOG_MEMORY_MIN, Catalog, CatalogIdentity, CatalogWriter};
use tapedump_core::chain::history::{History, HistoryError, memory_len};
use tapedump_core::chain::{
    Application, BaseRef, CatalogPlace, Dump as Recorded, DumpRequest, Entry, Maker, Numbering, Outcome,
    Place, Release, Tape, VolumeState, base, chain,
};
use tapedump_core::checksum::PortableCrc32c;
use tapedump_core::context::{BackupStatus, ContextRecord, ContextState};
use tapedump_core::device::ErrorKind;
use tapedump_core::device::block::BlockDevice;
use tapedump_core::device::fault::{Fault, FaultInjector, Operation, What, When};
use tapedump_core::device::mem::MemVolume;
use tapedump_core::device::snapshot::{BackupNumbers, Snapshots};
use tapedump_core::device::tape::{TapeDevice, TapePosition};
use tapedump_core::device::volume::{SourceVolume, VolumeNames};
use tapedump_core::engine::dump::restart::find_end;
use tapedump_core::engine::dump::{Dump, DumpError, DumpEvent, DumpMemory, DumpOptions, DumpSummary};
use tapedump_core::stream::writer::DumpIdentity;
use tapedump_core::units::{
    BlockAddr, BlockingFactor, DumpId, Ino, Level, TAPE_BLOCK_LEN, Timestamp, VolumeId,
};

use crate::catalog::rebuild;
use crate::changer::Changer;
use crate::kept::{self, Kept, REGIONS, Request, Stopped};
use crate::machine::{BLOCK_LEN, CATALOGS_LEN, Disk, HISTORY_LEN, Machine, TAPES};
use crate::world::{Image, MAP_LEN, Room};

pub const VOLUME: VolumeId = VolumeId(*b"simulated volume");
const HISTORY: std::ops::Range<u64> = 0..HISTORY_LEN as u64;
pub const BLOCKING: u32 = 4;
/// Steps of a dump between two times that its context is stored.
const STEPS: u32 = 9;
/// Of the catalogs' device, what is for the dump that begins on a tape: its map of what is known, and the catalog.
const SLOT_LEN: u64 = (CATALOGS_LEN / TAPES) as u64;

pub fn text(error: impl Debug) -> String {
    format!("{error:?}")
}

/// A dump to be made.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    pub id: DumpId,
    pub level: Level,
    pub date: u32,
}

/// How a dump ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It is whole, and in the history.
    Whole,
    /// It was stopped, and can be restarted.
    Stopped,
}

/// A dump of the history.
#[derive(Clone, Debug)]
pub struct Listed {
    pub place: Place,
    pub dump: Recorded,
    pub tapes: Vec<u8>,
    pub catalog: Option<CatalogPlace>,
}

/// The volume that is dumped.
#[derive(Clone, Copy, Debug)]
pub struct Volume<'v> {
    pub seed: u64,
    /// Objects that cannot be opened while these dumps are made.
    pub shut: &'v [(DumpId, Ino)],
}

/// The system, from when it is started until the power goes.
pub struct System<'s, 'm> {
    pub machine: &'s mut Machine<'m>,
    pub volume: Volume<'s>,
    history_memory: Vec<u8>,
}

/// Where on the catalogs' device the map and the catalog are of the dump that begins on a tape.
const fn known_at(tape: u8) -> u64 {
    tape as u64 * SLOT_LEN
}

pub fn catalog_of(tape: u8) -> CatalogPlace {
    CatalogPlace { at: known_at(tape) + BLOCK_LEN as u64, len: SLOT_LEN - BLOCK_LEN as u64 }
}

impl<'s, 'm> System<'s, 'm> {
    /// Starts the system of this volume, and tidies up what a dump left that ended where it should not have.
    pub fn start(machine: &'s mut Machine<'m>, volume: Volume<'s>) -> Result<Self, String> {
        let mut system = Self { machine, volume, history_memory: vec![0; memory_len(&HISTORY)] };
        let [history, ..] = &mut system.machine.disks;
        match History::open(history, HISTORY, &mut system.history_memory) {
            Ok(_) => {}
            Err(HistoryError::NoHistory) => {
                let id = *b"simulated past  ";
                History::create(history, HISTORY, id, &mut system.history_memory).map_err(text)?;
            }
            Err(error) => return Err(text(error)),
        }
        // What is read of the contexts is acted upon, and may have been written by one whose flush failed or never came.
        let [_, contexts, _] = &mut system.machine.disks;
        contexts.flush().map_err(text)?;
        // A dump that is recorded is over; only its context was left.
        let dumps = system.dumps()?;
        let mut in_use = Vec::new();
        for (region, kept) in system.contexts()? {
            if dumps.iter().any(|listed| listed.dump.id == kept.record.identity.id) {
                system.end_context(region, &kept)?;
            } else {
                in_use.push(kept.request.snapshot);
            }
        }
        for (name, holder) in system.machine.snapshots.all() {
            if !in_use.contains(&name) {
                system.drop_snapshot(&name, holder)?;
            }
        }
        Ok(system)
    }

    fn drop_snapshot(
        &mut self,
        name: &tapedump_core::device::snapshot::SnapshotName,
        holder: Option<DumpId>,
    ) -> Result<(), String> {
        let snapshots = &mut self.machine.snapshots;
        if let Some(holder) = holder {
            snapshots.unlock(name, holder).map_err(text)?;
        }
        snapshots.delete(name).map_err(text)
    }

    /// Does something with the history, none of which may be damaged.
    fn with_history<R>(
        &mut self,
        act: impl FnOnce(&mut History<'_>, &mut Disk<'m>) -> Result<R, String>,
    ) -> Result<R, String> {
        let [device, ..] = &mut self.machine.disks;
        let mut history = History::open(device, HISTORY, &mut self.history_memory).map_err(text)?;
        let result = act(&mut history, device);
        // What cannot be read may be that a dump is no more, or a newer one: nothing is decided upon the rest.
        match history.damaged().next() {
            Some(damaged) => Err(text(damaged)),
            None => result,
        }
    }

    /// The dumps in the history, the oldest first.
    pub fn dumps(&mut self) -> Result<Vec<Listed>, String> {
        self.with_history(|history, device| {
            let mut found = Vec::new();
            let mut place = Place(0);
            while let Some(next) = history.next_after(place) {
                place = next;
                let entry = history.entry(device, place).map_err(text)?;
                let tapes = entry.tapes.iter().map(|tape| tape.id()[0]).collect();
                found.push(Listed { place, dump: entry.dump, tapes, catalog: entry.catalog });
            }
            Ok(found)
        })
    }

    /// The dumps that are not whole, and where their contexts are.
    pub fn contexts(&mut self) -> Result<Vec<(usize, Kept)>, String> {
        let [_, contexts, _] = &mut self.machine.disks;
        let mut found = Vec::new();
        for region in 0..REGIONS {
            if let Some(kept) = kept::load(contexts, region).map_err(text)? {
                found.push((region, kept));
            }
        }
        Ok(found)
    }

    fn context(&mut self, id: DumpId) -> Result<(usize, Kept), String> {
        let all = self.contexts()?;
        all.into_iter().find(|(_, kept)| kept.record.identity.id == id).ok_or_else(|| "no context".into())
    }

    /// Removes a context, and the snapshot that was made for it.
    fn end_context(&mut self, region: usize, kept: &Kept) -> Result<(), String> {
        let [_, contexts, _] = &mut self.machine.disks;
        kept::remove(contexts, region, kept).map_err(text)?;
        let holder = kept.record.identity.id;
        self.drop_snapshot(&kept.request.snapshot, Some(holder))
    }

    pub fn delete_context(&mut self, id: DumpId) -> Result<(), String> {
        let (region, kept) = self.context(id)?;
        self.end_context(region, &kept)
    }

    /// Takes a dump out of the history, unless another one builds on it. Its tapes are free then.
    pub fn delete_dump(&mut self, id: DumpId) -> Result<(), String> {
        let dumps = self.dumps()?;
        let builds_on = |listed: &Listed| listed.dump.base.and_then(|base| base.id) == Some(id);
        if dumps.iter().any(builds_on)
            || self.contexts()?.iter().any(|(_, kept)| kept.request.base == Some(id))
        {
            return Err("another dump builds on it".into());
        }
        let listed = dumps.iter().find(|listed| listed.dump.id == id).ok_or("no such dump")?;
        self.with_history(|history, device| history.remove(device, listed.place).map_err(text))
    }

    /// Tapes that no dump is on.
    fn free_tapes(&mut self) -> Result<Vec<u8>, String> {
        let contexts = self.contexts()?;
        let dumps = self.dumps()?;
        let kept = contexts.iter().flat_map(|(_, kept)| &kept.request.tapes);
        let taken: Vec<u8> = dumps.iter().flat_map(|listed| &listed.tapes).chain(kept).copied().collect();
        Ok((0..TAPES as u8).filter(|tape| !taken.contains(tape)).collect())
    }

    /// What a dump is to build on.
    fn base(&mut self, order: &Order) -> Result<Option<Recorded>, String> {
        let request = DumpRequest {
            level: order.level,
            date: Timestamp { secs: order.date.into(), nanos: 0 },
            state: VolumeState::default(),
            real_numbers_fit: true,
            has_namesake: false,
            replaced: None,
            release: Release::CURRENT,
            application: Application::default(),
        };
        self.with_history(|history, device| {
            base(&mut history.dumps_of(device, VOLUME, b""), &request).map_err(text)
        })
    }

    /// The chain of a dump, the baseline first.
    pub fn chain(&mut self, id: DumpId) -> Result<Vec<DumpId>, String> {
        self.with_history(|history, device| {
            let found = chain(&mut history.dumps_of(device, VOLUME, b""), id).map_err(text)?;
            Ok(found.links().iter().map(|link| link.id).collect())
        })
    }

    /// Dumps the volume as it is now; stops after so many steps, if it is told to.
    pub fn dump(&mut self, order: &Order, stop_after: Option<u32>) -> Result<Ended, String> {
        let base = self.base(order)?;
        let tape = *self.free_tapes()?.first().ok_or("no tape is free")?;
        let contexts = self.contexts()?;
        let region = (0..REGIONS).find(|region| contexts.iter().all(|(other, _)| other != region));
        let region = region.ok_or("no context is free")?;
        let numbers = &mut BackupNumbers::default();
        let snapshot = numbers.create(&mut self.machine.snapshots, order.id).map_err(text)?;
        let base_date = base.map_or(0, |base| base.date.secs as u32);
        let record = ContextRecord {
            identity: DumpIdentity { id: order.id, date: order.date, base_date, level: order.level },
            blocking: BlockingFactor::new(BLOCKING).map_err(text)?,
            volume: VOLUME,
            begin: TapePosition::default(),
            updated: Timestamp { secs: order.date.into(), nanos: 0 },
            snapshot_is_own: true,
            has_offset_map: true,
            offset_verify: true,
            restartable: true,
            restart_pass: 0,
            status: BackupStatus::Unfinished,
            state: ContextState::Dumping,
        };
        let request = Request { tapes: vec![tape], base: base.map(|base| base.id), snapshot };
        let kept = Kept { record, request, stopped: None };
        let [_, contexts, _] = &mut self.machine.disks;
        kept::store(contexts, region, &kept).map_err(text)?;
        self.machine.begun.push(order.id);
        self.make(region, kept, stop_after)
    }

    /// Goes on with a dump that stopped or was cut off.
    pub fn restart(&mut self, id: DumpId, now: u32, stop_after: Option<u32>) -> Result<Ended, String> {
        let (region, mut kept) = self.context(id)?;
        let base = kept.request.base;
        if !kept.record.restartable {
            return Err("it cannot be restarted".into());
        }
        if base.is_some_and(|base| {
            !self.dumps().is_ok_and(|all| all.iter().any(|listed| listed.dump.id == base))
        }) {
            return Err("its base is gone".into());
        }
        kept.record.restart_pass += 1;
        kept.record.updated = Timestamp { secs: now.into(), nanos: 0 };
        (kept.record.status, kept.record.state) = (BackupStatus::Unfinished, ContextState::Dumping);
        self.make(region, kept, stop_after)
    }

    /// The rest of a dump, and all that follows it.
    fn make(&mut self, region: usize, mut kept: Kept, stop_after: Option<u32>) -> Result<Ended, String> {
        let mut room = Room::new();
        let changes = self.machine.snapshots.open(&kept.request.snapshot).map_err(text)?;
        let id = kept.record.identity.id;
        let shut = self.volume.shut.iter().filter(|(of, _)| *of == id).map(|(_, ino)| Fault {
            when: When::Object(*ino, Operation::Open),
            what: What::Error(ErrorKind::Denied),
        });
        let shut: Vec<Fault> = shut.collect();
        let source = Image { seed: self.volume.seed, changes }.volume(&mut room);
        let mut source = FaultInjector::scheduled(source, &shut);
        let known = match (&kept.stopped, kept.request.base) {
            (Some(stopped), _) => stopped.known.clone(),
            (None, Some(base)) => self.known_of(base)?,
            (None, None) => vec![0; MAP_LEN],
        };
        let mut maps = Maps { in_use: vec![0; MAP_LEN], on_tape: vec![0; MAP_LEN], known };
        if let Some(stopped) = &kept.stopped {
            (maps.in_use, maps.on_tape) = (stopped.in_use.clone(), stopped.pending.clone());
        }
        let written = self.write(region, &mut kept, &mut source, &mut maps, stop_after);
        match written {
            Ok(Some((summary, catalog))) => {
                self.commit(&kept, &maps.known, &summary, catalog, source.ino_limit().map_err(text)?)?;
                self.end_context(region, &kept)?;
                Ok(Ended::Whole)
            }
            Ok(None) => Ok(Ended::Stopped),
            Err(Failure::Final(why)) => match self.end_context(region, &kept) {
                Ok(()) => Err(why),
                Err(error) => Err(format!("{why}, and its context may be left: {error}")),
            },
            Err(Failure::Early(why)) => {
                // Whatever ended it, it is known how it ended, if the system still runs.
                if self.machine.power.is_on() {
                    (kept.record.status, kept.record.state) = (BackupStatus::Tape, ContextState::Ended);
                    let [_, contexts, _] = &mut self.machine.disks;
                    kept::store(contexts, region, &kept).map_err(text)?;
                }
                Err(why)
            }
        }
    }

    /// The map of what the chain of a dump gives rightly.
    fn known_of(&mut self, id: DumpId) -> Result<Vec<u8>, String> {
        let dumps = self.dumps()?;
        let base = dumps.iter().find(|listed| listed.dump.id == id).ok_or("its base is gone")?;
        let mut block = vec![0; BLOCK_LEN];
        let [_, _, catalogs] = &mut self.machine.disks;
        catalogs.read(known_at(base.tapes[0]), &mut block).map_err(text)?;
        block.truncate(MAP_LEN);
        Ok(block)
    }

    /// Writes the dump to its tape up to its end, and finishes the catalog; `None`: it was stopped.
    fn write(
        &mut self,
        region: usize,
        kept: &mut Kept,
        source: &mut FaultInjector<'_, MemVolume<'_>>,
        maps: &mut Maps,
        stop_after: Option<u32>,
    ) -> Result<Option<(DumpSummary, Option<CatalogPlace>)>, Failure> {
        let free = self.free_tapes().map_err(Failure::Early)?;
        let Machine { tapes, disks: [_, contexts, catalogs], power, .. } = &mut *self.machine;
        let first = kept.request.tapes[0];
        if let Some(stopped) = &kept.stopped {
            // What came behind is written anew.
            kept.request.tapes.truncate(stopped.state.tape().0 as usize);
        }
        let order = Rc::new(RefCell::new(kept.request.tapes.clone()));
        let tape = &mut Changer::new(tapes, Rc::clone(&order), free);
        let (mut memory, mut stream) =
            (vec![0; CATALOG_MEMORY_MIN], vec![0; kept.record.blocking.record_len() + TAPE_BLOCK_LEN]);
        let place = catalog_of(first);
        let (at, identity) = (place.at..place.at + place.len, catalog_identity(kept));
        let options =
            DumpOptions { identity: kept.record.identity, blocking: kept.record.blocking, label: [0; 16] };
        let Maps { in_use, on_tape, known } = maps;
        let lent = DumpMemory { stream: &mut stream, in_use, on_tape, known };
        let mut dump: Dump<'_, _, _, PortableCrc32c, CatalogWriter<'_, &mut Disk<'_>>> = match &kept.stopped {
            None => {
                tape.rewind().map_err(Failure::early)?;
                let catalog =
                    CatalogWriter::new(&mut *catalogs, at, &mut memory, identity).map_err(Failure::early)?;
                Dump::with_catalog(source, &mut *tape, catalog, lent, options).map_err(Failure::early)?
            }
            Some(from) => {
                let mut record = vec![0; options.blocking.record_len()];
                let (begin, id) = (kept.record.begin, &options.identity);
                if from.state.record_at() == from.state.tape_from() {
                    // Nothing of it is there yet: what the tape had before is free, and it is the right one.
                    tape.locate(begin).map_err(Failure::early)?;
                } else {
                    find_end::<_, PortableCrc32c>(
                        &mut *tape,
                        begin,
                        id,
                        options.blocking,
                        &from.state,
                        &from.rest,
                        &mut record,
                    )
                    .map_err(Failure::early)?;
                }
                let catalog =
                    CatalogWriter::resumed(&mut *catalogs, at, &mut memory, identity, &from.catalog)
                        .map_err(Failure::early)?;
                Dump::restarted(source, &mut *tape, catalog, lent, options, &from.state, &from.rest)
                    .map_err(Failure::early)?
            }
        };
        let mut steps = 0;
        let mut is_kept = true;
        let summary = loop {
            let stops = stop_after.is_some_and(|limit| steps >= limit);
            if is_kept
                && (stops || steps % STEPS == STEPS - 1)
                && let Some(state) = dump.suspend().map_err(Failure::of_dump)?
                && let Ok(catalog) = dump.catalog_mut().map(CatalogWriter::suspend)
            {
                let catalog = catalog.map_err(Failure::early)?;
                kept.request.tapes = order.borrow().clone();
                kept.stopped = Some(Stopped::new(state, catalog, dump.held()));
                if stops {
                    (kept.record.status, kept.record.state) =
                        (BackupStatus::Interrupted, ContextState::Ended);
                }
                kept::store(contexts, region, kept).map_err(Failure::early)?;
                if stops {
                    return Ok(None);
                }
            }
            steps += 1;
            match dump.step().map_err(Failure::of_dump)? {
                DumpEvent::Done(summary) => break summary,
                // What was kept before is still good; from here on there is no catalog that could be kept with it.
                DumpEvent::CatalogLost => is_kept = false,
                DumpEvent::Working | DumpEvent::Stage(_) | DumpEvent::Skipped { .. } => {}
                event => return Err(Failure::Early(format!("nothing is wrong with the volume: {event:?}"))),
            }
        };
        let (_, _, catalog) = dump.into_parts();
        kept.request.tapes = order.borrow().clone();
        match catalog.and_then(CatalogWriter::finish) {
            Ok(_) => Ok(Some((summary, Some(place)))),
            Err(error) if !power.is_on() => Err(Failure::early(error)),
            // What it was suspended to was overwritten when it was finished before, or its device failed.
            Err(_) => {
                let rebuilt = rebuild(tape.tapes(), catalogs, kept, summary.incomplete);
                if power.is_on() {
                    Ok(Some((summary, rebuilt.ok())))
                } else {
                    Err(Failure::early("rebuilding"))
                }
            }
        }
    }

    /// The dump is on its tape, and its catalog is made: keeps what an increment needs, and records it.
    fn commit(
        &mut self,
        kept: &Kept,
        known: &[u8],
        summary: &DumpSummary,
        catalog: Option<CatalogPlace>,
        ino_limit: Ino,
    ) -> Result<(), String> {
        let [_, _, catalogs] = &mut self.machine.disks;
        let mut block = vec![0; BLOCK_LEN];
        block[..MAP_LEN].copy_from_slice(known);
        catalogs.write(known_at(kept.request.tapes[0]), &block).map_err(text)?;
        catalogs.flush().map_err(text)?;
        let DumpIdentity { id, date, base_date, level } = kept.record.identity;
        let at = |secs: u32| Timestamp { secs: secs.into(), nanos: 0 };
        let dump = Recorded {
            id,
            level,
            date: at(date),
            order: 0,
            base: kept.request.base.map(|base| BaseRef { id: Some(base), date: at(base_date) }),
            outcome: match summary.incomplete as u32 {
                0 => Outcome::Good,
                skipped => Outcome::Incomplete { skipped },
            },
            numbering: Numbering::Real,
            ino_limit,
            maker: Maker::Tapedump { release: Release::CURRENT, format: 1 },
            state: VolumeState::default(),
        };
        let mut first = BlockAddr(0);
        let tapes = kept.request.tapes.iter().map(|number| {
            let records = self.machine.tapes[usize::from(*number)].records();
            let tape = Tape::new([*number; 16], b"simulated", 0, first);
            first = first.plus(records * u64::from(BLOCKING));
            tape
        });
        let tapes: Vec<Tape> = tapes.collect();
        let entry = Entry {
            dump,
            volume: VOLUME,
            volume_name: b"simulated",
            path: b"",
            blocking: kept.record.blocking,
            blocks: summary.blocks,
            objects: summary.handled as u32,
            catalog,
            catalog_file: None,
            tapes: &tapes,
        };
        self.with_history(|history, device| history.append(device, &entry).map(drop).map_err(text))
    }

    /// Opens the catalog of a dump.
    pub fn with_catalog<R>(
        &mut self,
        place: CatalogPlace,
        act: impl FnOnce(&mut Catalog<'_, &mut Disk<'m>, PortableCrc32c>) -> R,
    ) -> Result<R, String> {
        let mut memory = vec![0; CATALOG_MEMORY_MIN];
        let [_, _, catalogs] = &mut self.machine.disks;
        let mut catalog =
            Catalog::open(catalogs, place.at..place.at + place.len, &mut memory).map_err(text)?;
        Ok(act(&mut catalog))
    }
}

struct Maps {
    in_use: Vec<u8>,
    on_tape: Vec<u8>,
    known: Vec<u8>,
}

/// Why a dump ended early.
enum Failure {
    /// It can go on.
    Early(String),
    /// It cannot.
    Final(String),
}

impl Failure {
    fn early(error: impl Debug) -> Self {
        Self::Early(text(error))
    }

    fn of_dump<S: Debug, T: Debug>(error: DumpError<S, T>) -> Self {
        match error {
            DumpError::EndOfMedium { .. } => Self::Final(text(error)),
            error => Self::early(error),
        }
    }
}

pub fn catalog_identity(kept: &Kept) -> CatalogIdentity {
    let DumpIdentity { id, date, base_date, level } = kept.record.identity;
    CatalogIdentity {
        dump: id,
        base: kept.request.base,
        level,
        date: date.into(),
        base_date: base_date.into(),
        volume: VOLUME.0,
        names: VolumeNames::default(),
        label: [0; 16],
    }
}
