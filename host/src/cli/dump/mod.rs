//! `tapedump dump`: a directory tree to a tape.

pub mod again;
mod behind;
mod image;
mod keep;
mod note;
mod output;
mod plan;
mod report;
mod tree;

use self::behind::{Beginning, Behind};
use self::image::Taken;
use self::keep::Keeper;
use self::output::{Output, UsedTapes};
use self::plan::{Plan, now, resolve};
use self::report::{LeftOut, begin_stage, describe, explain, path_of, report, tell_long_name};
use self::tree::{Opened, open_tree};
use super::changer::{Wanted, with_changes};
use super::exit::{CliError, Ended};
use super::increments::{Made, UsedTape, forget, place_of};
use super::interrupt::{Cause, Interrupt};
use super::journal::Journal;
use super::progress::{Progress, Progressed};
use super::session;
use crate::checksum::HostCrc32c;
use crate::cli::raw;
use crate::state::StateDir;
use crate::state::backup_log::LogEvent;
use crate::state::catalogs::{self, HostCatalogWriter};
use crate::state::contexts::Suspended;
use crate::state::file_device::FileError;
use crate::state::history::DumpFolder;
use crate::tape::{Existing, Mode, Tape, TapeError, TapeSpec, open};
use crate::volume::VolumeError;
use crate::volume::source::{LinuxSource, Numbering};
use std::fs::File;
use std::time::Instant;
use tapedump_core::catalog::{CatalogError, CatalogIdentity};
use tapedump_core::context::BackupStatus;
use tapedump_core::device::tape::{TapeDevice, TapePosition};
use tapedump_core::device::volume::SourceVolume;
use tapedump_core::engine::dump::{
    Dump, DumpError, DumpEvent, DumpMemory, DumpOptions, DumpSummary, NotPortable, Stage,
};
use tapedump_core::stream::writer::DumpIdentity;
use tapedump_core::units::{BlockAddr, Ino, TAPE_BLOCK_LEN};
use zerocopy::FromZeros;

/// Bytes written behind the dump.
const BEHIND_LEN: usize = 4 << 20;
/// Tape records filled at once, in bytes: as long as the largest segment, and some.
const STREAM_LEN: usize = 1 << 20;

type Engine<'m> = Dump<'m, LinuxSource, Output<'m>, HostCrc32c, Option<HostCatalogWriter<'m>>>;

/// How a dump ended.
enum Finished {
    /// In whatever way, and nothing more is to come of it.
    Over(Result<Ended, CliError>),
    /// Early; it can be restarted, and what it needs for that stays.
    Restartable(CliError),
}

impl Finished {
    /// Lets go of what was read, if nothing more is to come.
    fn end(self, taken: Taken<'_>, state: &StateDir) -> Result<Ended, CliError> {
        match self {
            Self::Over(ended) => taken.end(state, ended),
            Self::Restartable(error) => Err(error),
        }
    }
}

impl From<CliError> for Finished {
    fn from(error: CliError) -> Self {
        Self::Over(Err(error))
    }
}

/// What ended a dump early.
pub enum FailedDump {
    /// A user or a program, or an event of the system.
    Interrupted(Cause),
    /// The volume or the tape.
    Engine(DumpError<VolumeError, TapeError>),
}

impl From<DumpError<VolumeError, TapeError>> for FailedDump {
    fn from(error: DumpError<VolumeError, TapeError>) -> Self {
        Self::Engine(error)
    }
}

impl FailedDump {
    fn text(&self, tape: &TapeSpec) -> String {
        match self {
            Self::Interrupted(cause) => cause.to_string(),
            Self::Engine(error) => explain(error, tape),
        }
    }

    /// Why nothing is won by a restart.
    fn obstacle(&self) -> Option<&'static str> {
        match self {
            // R-RESTART-6.
            Self::Interrupted(cause) if !cause.is_restartable() => Some("an event of the system ended it"),
            Self::Engine(DumpError::NotThisDump) => Some("what it read is not what it was"),
            _ => None,
        }
    }

    fn status(&self) -> BackupStatus {
        match self {
            Self::Interrupted(Cause::Event(_)) => BackupStatus::Event,
            Self::Interrupted(Cause::Signal) => BackupStatus::Interrupted,
            Self::Engine(DumpError::Source(_)) => BackupStatus::Volume,
            Self::Engine(_) => BackupStatus::Tape,
        }
    }
}

pub fn run(raw: raw::Dump) -> Result<Ended, CliError> {
    let state = StateDir::find()?;
    let interrupt = Interrupt::install()?;
    let mut session = session::begin(&state, session::dump(&raw), raw.turn, &interrupt)?;
    let journal = session.journal().clone();
    note::start(&journal, &raw);
    let dumped = || {
        let plan = resolve(raw, &state)?;
        session.on_tape(&plan.tape);
        let taken =
            plan.choice.take(&state, &plan.tree, plan.identity.id).inspect_err(|_| plan.created.remove())?;
        note::base(&journal, &plan, &taken);
        let finished = to_tape(&plan, &state, &taken, &interrupt, &journal);
        finished.unwrap_or_else(Finished::from).end(taken, &state)
    };
    journal.ends(dumped())
}

/// A tape that stands where a dump goes on or begins.
struct Placed {
    tape: Box<dyn Tape>,
    /// Where the dump begins.
    begin: TapePosition,
}

/// Dumps what was taken of the tree.
fn to_tape(
    plan: &Plan,
    state: &StateDir,
    taken: &Taken<'_>,
    interrupt: &Interrupt,
    journal: &Journal,
) -> Result<Finished, CliError> {
    let wanted = Wanted { purpose: "write", number: 1, label: &plan.label_text };
    let placed = with_changes(plan.further.changer.as_ref(), &plan.tape, &wanted, interrupt, || {
        let mut tape = open(&plan.tape, Mode::Write(plan.existing))?;
        let begin = tape.position()?;
        Placed { tape, begin }.written_behind(&plan.tape, plan, interrupt)
    });
    let placed = placed.inspect_err(|_| plan.created.remove())?;
    journal.note(LogEvent::TapeOpen, &plan.tape.to_string());
    let mut progress = Progress::noted(Some(journal.clone()));
    let source = match open_tree(plan, state, taken, interrupt, &mut progress) {
        Ok(source) => source,
        Err(error) => {
            progress.end();
            drop(placed);
            progress.note(LogEvent::TapeClose, &plan.tape.to_string());
            plan.created.remove();
            return Err(error);
        }
    };
    let obstacle = keep::obstacle(plan, taken, placed.tape.capabilities().can_position);
    let first = UsedTape { spec: plan.tape.clone(), begin: placed.begin, first: BlockAddr(0) };
    let used = UsedTapes::new(vec![first]);
    let start = match obstacle {
        None => Start::New(Ok(Box::new(Keeper::begin(plan, state, taken, &source.source, used.clone())))),
        Some(why) => Start::New(Err(why)),
    };
    write(plan, state, source, (placed, used), start, interrupt, progress)
}

/// Where a dump starts.
enum Start {
    /// At its beginning; what keeps it restartable, or why it is not.
    New(Result<Box<Keeper>, &'static str>),
    /// Where it was suspended. Of its beginning the file has a copy with so many bytes.
    Again {
        keeper: Box<Keeper>,
        from: Box<Suspended>,
        copied: Option<(File, u64)>,
        files_from: Option<BlockAddr>,
    },
}

/// Memory for the maps of a dump.
struct Maps {
    in_use: Box<[u8]>,
    on_tape: Box<[u8]>,
    known: Box<[u8]>,
}

impl Maps {
    /// As a dump starts.
    fn new(plan: &Plan, ino_limit: Ino, start: &Start) -> Result<Self, CliError> {
        let len = ino_limit.0.saturating_sub(1).div_ceil(8) as usize;
        let no_memory = || CliError::failed("there is no memory for the maps of the dump");
        let zeros = || <[u8]>::new_box_zeroed_with_elems(len).map_err(|_| no_memory());
        let mut maps = Self { in_use: zeros()?, on_tape: zeros()?, known: zeros()? };
        match start {
            Start::New(_) => plan.base.put_known(&mut maps.known),
            Start::Again { from, .. } => {
                for (map, kept) in [
                    (&mut maps.in_use, &from.in_use),
                    (&mut maps.on_tape, &from.pending),
                    (&mut maps.known, &from.known),
                ] {
                    if map.len() != kept.len() {
                        return Err(CliError::failed(
                            "the dump cannot be restarted: the tree is not what it was",
                        ));
                    }
                    map.copy_from_slice(kept);
                }
            }
        }
        Ok(maps)
    }
}

/// Runs the engine; whatever ends it early, the tape is closed behind what is on it.
fn write(
    plan: &Plan,
    state: &StateDir,
    opened: Opened,
    (placed, used): (Placed, UsedTapes),
    start: Start,
    interrupt: &Interrupt,
    mut progress: Progress,
) -> Result<Finished, CliError> {
    let started = Instant::now();
    let Placed { tape, begin } = placed;
    let Opened { mut source, generation, is_subtree } = opened;
    let ino_limit = source.ino_limit().map_err(CliError::failed)?;
    let mut maps = Maps::new(plan, ino_limit, &start)?;
    let record_len = plan.blocking.record_len();
    let mut stream = vec![0; TAPE_BLOCK_LEN + STREAM_LEN.div_ceil(record_len) * record_len];
    // What is on the tape from here on is gone with the first record.
    if plan.existing == Existing::Overwrite && matches!(start, Start::New(_)) {
        forget(state, &plan.tape)?;
    }
    let Maps { in_use, on_tape, known } = &mut maps;
    let memory = DumpMemory { stream: &mut stream, in_use, on_tape, known };
    let mut catalog_memory = vec![0; catalogs::MEMORY_LEN];
    let onto = Onto { tape, used: used.clone(), interrupt, journal: progress.journal() };
    let begun = begin_engine(plan, state, source, onto, start, memory, &mut catalog_memory)?;
    let Begun { mut engine, beginning, mut keeper } = begun;
    engine.leave_out(plan.left_out);
    let keeping = keeper.as_deref_mut().ok();
    let mut driven =
        Driven { beginning: &beginning, keeper: keeping, is_subtree, left_out: LeftOut::default() };
    let ended = drive(&mut engine, &mut driven, interrupt, &mut progress);
    let left_out = driven.left_out;
    progress.end();
    let (source, tape, catalog) = engine.into_parts();
    let (mut tape, copy) = tape.into_parts();
    let took = started.elapsed();
    let summary = match ended {
        Ok(summary) => summary,
        Err(failure) => {
            let present = used.present().map_or_else(|| plan.tape.clone(), |tape| tape.spec);
            let finished = give_up(&failure, keeper, tape, (begin, &present), plan, state);
            progress.note(LogEvent::TapeClose, &present.to_string());
            return Ok(finished);
        }
    };
    let tapes = used.all();
    let last = tapes.last().map_or(&plan.tape, |tape| &tape.spec);
    let ended = report(&summary, &left_out, &tapes, took);
    progress.note(LogEvent::End, &note::end(&summary, ended));
    if keeper.is_ok()
        && catalog.as_ref().is_ok_and(Option::is_some)
        && let Err(error) = catalogs::keep_suspended(state, plan.identity.id)
    {
        eprintln!("tapedump: should the program be cut off now, the dump has no catalog: {error}");
    }
    let (catalog_len, ended) = end_catalog(plan, state, catalog, ended);
    let is_dense = source.numbering() == Numbering::Dense;
    let behind = catalog_len.map(|len| Behind {
        plan,
        state,
        beginning: &beginning,
        summary: &summary,
        last: tapes.last(),
        ino_limit,
        is_dense,
        len,
    });
    let catalog_file = behind.zip(copy).and_then(|(behind, copy)| behind.write(&mut tape, copy, interrupt));
    give_back(&mut tape, last, plan)?;
    progress.note(LogEvent::TapeClose, &last.to_string());
    source.forget_junctions(&mut maps.known);
    let made = Made {
        base: &plan.base,
        identity: plan.identity,
        date: plan.date,
        source: &source,
        ino_limit,
        known: &maps.known,
        generation: generation.map(|generation| (generation, maps.in_use.as_ref())),
        tapes: &tapes,
        blocking: plan.blocking,
        summary: &summary,
        catalog_len,
        catalog_file,
    };
    let ended = record(&made, plan, state, ended);
    if let Ok(keeper) = keeper {
        keeper.end();
    }
    Ok(Finished::Over(Ok(ended)))
}

/// Takes a dump that is whole up in the history.
fn record(made: &Made<'_>, plan: &Plan, state: &StateDir, ended: Ended) -> Ended {
    if plan.date > now() {
        eprintln!("tapedump: the dump's date is in the future: no increment can be based on it");
        DumpFolder::of(state, plan.identity.id).remove();
        return ended;
    }
    match made.record(state) {
        Ok(()) => ended,
        Err(error) => {
            eprintln!("tapedump: the dump is whole, but no increment can be based on it: {error}");
            Ended::Incomplete
        }
    }
}

/// The engine, and what goes along with it.
struct Begun<'m> {
    engine: Engine<'m>,
    beginning: Beginning,
    keeper: Result<Box<Keeper>, &'static str>,
}

/// What the engine writes to.
struct Onto<'p> {
    tape: Box<dyn Tape>,
    used: UsedTapes,
    interrupt: &'p Interrupt,
    journal: Option<Journal>,
}

fn begin_engine<'m>(
    plan: &'m Plan,
    state: &'m StateDir,
    mut source: LinuxSource,
    onto: Onto<'m>,
    start: Start,
    memory: DumpMemory<'m>,
    catalog_memory: &'m mut [u8],
) -> Result<Begun<'m>, CliError> {
    let options = DumpOptions { identity: plan.identity, blocking: plan.blocking, label: plan.label };
    let failed = |error| CliError::failed(explain(&error, &plan.tape));
    let identity = catalog_identity(plan, &mut source)?;
    let Onto { tape, used, interrupt, journal } = onto;
    match start {
        Start::New(keeper) => {
            let catalog = place_of(&plan.tape).map(|_| catalogs::create(state, identity, catalog_memory));
            let catalog = catalog.transpose().map_err(CliError::failed)?;
            let (beginning, tape) = Beginning::keep(plan, state, tape);
            let output = Output::new(tape, (plan, state), interrupt, journal, used, (0, false));
            let engine = Engine::with_catalog(source, output, catalog, memory, options).map_err(failed)?;
            Ok(Begun { engine, beginning, keeper })
        }
        Start::Again { keeper, from, copied, files_from } => {
            let catalog = catalogs::resume(state, identity, catalog_memory, &from.catalog);
            let catalog = Some(catalog.map_err(CliError::failed)?);
            let (beginning, tape) = Beginning::keep_again(plan, tape, files_from, copied);
            let on_tape = from.state.record_at().0;
            let output = Output::new(tape, (plan, state), interrupt, journal, used, (on_tape, true));
            let engine = Engine::restarted(source, output, catalog, memory, options, &from.state, &from.rest);
            Ok(Begun { engine: engine.map_err(failed)?, beginning, keeper: Ok(keeper) })
        }
    }
}

fn catalog_identity(plan: &Plan, source: &mut LinuxSource) -> Result<CatalogIdentity, CliError> {
    let DumpIdentity { id, date, base_date, level } = plan.identity;
    Ok(CatalogIdentity {
        dump: id,
        base: plan.base.dump.map(|base| base.id),
        level,
        date: date.into(),
        base_date: base_date.into(),
        volume: plan.base.tree.volume.0,
        names: source.names().map_err(CliError::failed)?,
        label: plan.label,
    })
}

/// Makes the catalog durable; gives its length. A dump without one is whole all the same.
fn end_catalog(
    plan: &Plan,
    state: &StateDir,
    catalog: Result<Option<HostCatalogWriter<'_>>, CatalogError<FileError>>,
    ended: Ended,
) -> (Option<u64>, Ended) {
    let made = match catalog {
        Ok(None) => return (None, ended),
        Ok(Some(writer)) => {
            catalogs::finish(state, plan.identity.id, writer).map_err(|error| error.to_string())
        }
        Err(error) => Err(catalogs::text(&error)),
    };
    match made {
        Ok(len) => (Some(len), ended),
        Err(why) => {
            eprintln!("tapedump: the dump is whole, but it has no catalog: {why}");
            (None, Ended::Incomplete)
        }
    }
}

/// What is known of a dump while the engine steps through it.
struct Driven<'a> {
    beginning: &'a Beginning,
    /// `None`: the dump cannot be restarted.
    keeper: Option<&'a mut Keeper>,
    is_subtree: bool,
    left_out: LeftOut,
}

/// Steps through the dump. The error is what ended it early.
fn drive(
    engine: &mut Engine<'_>,
    driven: &mut Driven<'_>,
    interrupt: &Interrupt,
    progress: &mut Progress,
) -> Result<DumpSummary, FailedDump> {
    let beginning = driven.beginning;
    loop {
        if let Some(keeper) = &mut driven.keeper {
            if interrupt.is_set() {
                // What was stored before is good, too.
                _ = keeper.store(engine, beginning);
            } else {
                keeper.keep(engine, beginning)?;
            }
        }
        if interrupt.is_set() {
            return Err(FailedDump::Interrupted(interrupt.cause()));
        }
        match engine.step() {
            Ok(DumpEvent::Done(summary)) => return Ok(summary),
            Ok(DumpEvent::Stage(stage)) => {
                if stage == Stage::Files && beginning.files_from().is_none() {
                    beginning.ends(BlockAddr(engine.progress().blocks));
                }
                begin_stage(engine, stage, driven.is_subtree, progress);
            }
            Ok(DumpEvent::Working) => {}
            Ok(event) => {
                driven.left_out.note(&event, engine.stage());
                if let DumpEvent::NotPortable { ino, why: NotPortable::Name } = event {
                    tell_long_name(engine, ino, progress);
                } else if let Some((ino, text)) = describe(&event) {
                    progress.tell(&format!("tapedump: {}: {text}", path_of(engine, ino)));
                }
            }
            Err(_) if interrupt.is_set() => return Err(FailedDump::Interrupted(interrupt.cause())),
            Err(error) => return Err(error.into()),
        }
        progress.step(|| {
            let done = engine.progress();
            Progressed { objects: done.handled, bytes: done.blocks * TAPE_BLOCK_LEN as u64 }
        });
    }
}

/// Closes the tape behind what is on it, and says in what state it is.
fn give_up(
    failure: &FailedDump,
    keeper: Result<Box<Keeper>, &'static str>,
    mut tape: Box<dyn Tape>,
    (begin, present): (TapePosition, &TapeSpec),
    plan: &Plan,
    state: &StateDir,
) -> Finished {
    let message = failure.text(present);
    let id = plan.identity.id;
    let is_new = keeper.as_ref().is_ok_and(|keeper| keeper.record.restart_pass == 0);
    // An error that was on its way is told by the first call; after it the position is the true one.
    let at = tape.position().or_else(|_| tape.position());
    let can_position = tape.capabilities().can_position;
    let is_first = *present == plan.tape;
    if can_position && is_first && at.as_ref().is_ok_and(|at| *at == begin) && (is_new || keeper.is_err()) {
        DumpFolder::of(state, id).remove();
        drop(tape);
        plan.created.remove();
        return CliError::Failed(format!("{message}; nothing was written")).into();
    }
    let closed = match can_position {
        true => tape.write_filemark().and_then(|_| give_back(&mut tape, present, plan)),
        false => Ok(()),
    };
    let kept = keeper.map_err(String::from).and_then(|keeper| keeper.end_early(failure));
    let since = match (&kept, failure) {
        // The message says it.
        (_, FailedDump::Interrupted(cause)) if !cause.is_restartable() => String::new(),
        (Err(why), _) => format!(": it cannot be restarted, since {why}"),
        (Ok(()), _) => String::new(),
    };
    let is_full = matches!(failure, FailedDump::Engine(DumpError::EndOfMedium { .. }));
    let again = match (&kept, present) {
        (Ok(()), _) if is_full => {
            format!(
                "go on with it on another one by: tapedump context restart {id} --tape {present} --tape NEXT"
            )
        }
        (Ok(()), _) => format!("go on with it by: tapedump context restart {id}"),
        (Err(_), TapeSpec::Virtual(_) | TapeSpec::File(_)) => {
            format!("make it anew, over this one with --overwrite{since}")
        }
        (Err(_), _) => format!("make it anew{since}"),
    };
    let error = CliError::Failed(match closed {
        Ok(()) => format!("{message}; the dump on {present} is incomplete; {again}"),
        Err(error) => {
            format!(
                "{message}; the dump on {present} is incomplete, and could not be closed: {error}; {again}"
            )
        }
    });
    if kept.is_ok() {
        return Finished::Restartable(error);
    }
    DumpFolder::of(state, id).remove();
    error.into()
}

/// The dump is over, and the filemark behind it durable. A cartridge stays in its drive, for the next dump or program.
fn give_back(tape: &mut Box<dyn Tape>, spec: &TapeSpec, plan: &Plan) -> Result<(), TapeError> {
    if matches!(spec, TapeSpec::Drive(_)) && !plan.eject { Ok(()) } else { tape.unload() }
}
