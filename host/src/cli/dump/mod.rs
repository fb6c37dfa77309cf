//! `tapedump dump`: a directory tree to a tape.

mod behind;
mod image;
mod plan;
mod report;
mod tree;

use self::behind::{Beginning, Behind};
use self::image::Taken;
use self::plan::{Plan, now, resolve};
use self::report::{LeftOut, begin_stage, describe, explain, path_of, report, tell_long_name};
use self::tree::{Opened, open_tree};
use super::changer::{Wanted, with_changes};
use super::exit::{CliError, Ended};
use super::increments::{Made, forget, place_of};
use super::interrupt::Interrupt;
use super::progress::{Progress, Progressed};
use crate::checksum::HostCrc32c;
use crate::cli::raw;
use crate::state::StateDir;
use crate::state::catalogs::{self, HostCatalogWriter};
use crate::state::file_device::FileError;
use crate::state::history::DumpFolder;
use crate::tape::copied::Copied;
use crate::tape::{Existing, Mode, Stop, Tape, TapeError, TapeSpec, ahead_or_behind, open};
use crate::volume::source::{LinuxSource, Numbering};
use std::time::Instant;
use tapedump_core::catalog::{CatalogError, CatalogIdentity};
use tapedump_core::device::tape::{TapeDevice, TapePosition};
use tapedump_core::device::volume::SourceVolume;
use tapedump_core::engine::dump::{
    Dump, DumpEvent, DumpMemory, DumpOptions, DumpSummary, NotPortable, Stage,
};
use tapedump_core::stream::writer::DumpIdentity;
use tapedump_core::units::{BlockAddr, TAPE_BLOCK_LEN};
use zerocopy::FromZeros;

/// Bytes written behind the dump.
const BEHIND_LEN: usize = 4 << 20;
/// Tape records filled at once, in bytes: as long as the largest segment, and some.
const STREAM_LEN: usize = 1 << 20;

type Engine<'m> = Dump<'m, LinuxSource, Copied, HostCrc32c, Option<HostCatalogWriter<'m>>>;

pub fn run(raw: raw::Dump) -> Result<Ended, CliError> {
    let state = StateDir::find()?;
    let interrupt = Interrupt::install()?;
    let plan = resolve(raw, &state)?;
    let taken =
        plan.choice.take(&state, &plan.tree, plan.identity.id).inspect_err(|_| plan.created.remove())?;
    let ended = to_tape(&plan, &state, &taken, &interrupt);
    taken.end(&state, ended)
}

/// Dumps what was taken of the tree.
fn to_tape(
    plan: &Plan,
    state: &StateDir,
    taken: &Taken<'_>,
    interrupt: &Interrupt,
) -> Result<Ended, CliError> {
    let wanted = Wanted { purpose: "write", number: 1, label: &plan.label_text };
    let opened = with_changes(plan.changer.as_ref(), &plan.tape, &wanted, interrupt, || {
        let mut tape = open(&plan.tape, plan.mode)?;
        let begin = tape.position()?;
        let record_len = plan.blocking.record_len();
        if plan.tape == TapeSpec::Null {
            // Takes no time: handing records to a thread would cost more than it saves.
            return Ok((tape, begin));
        }
        let tape = ahead_or_behind(
            &plan.tape,
            tape,
            plan.mode,
            BEHIND_LEN,
            record_len,
            Stop::when(interrupt.flag()),
        )?;
        Ok((tape, begin))
    });
    let (tape, begin) = opened.inspect_err(|_| plan.created.remove())?;
    let mut progress = Progress::new();
    let source = match open_tree(plan, state, taken, interrupt, &mut progress) {
        Ok(source) => source,
        Err(error) => {
            progress.end();
            drop(tape);
            plan.created.remove();
            return Err(error);
        }
    };
    write(plan, state, source, tape, begin, interrupt, progress)
}

/// Runs the engine; whatever ends it early, the tape is closed behind what is on it.
fn write(
    plan: &Plan,
    state: &StateDir,
    opened: Opened,
    tape: Box<dyn Tape>,
    begin: TapePosition,
    interrupt: &Interrupt,
    mut progress: Progress,
) -> Result<Ended, CliError> {
    let started = Instant::now();
    let Opened { mut source, generation, is_subtree } = opened;
    let no_memory = || CliError::failed("there is no memory for the maps of the dump");
    let ino_limit = source.ino_limit().map_err(CliError::failed)?;
    let map_len = ino_limit.0.saturating_sub(1).div_ceil(8) as usize;
    let mut in_use = <[u8]>::new_box_zeroed_with_elems(map_len).map_err(|_| no_memory())?;
    let mut on_tape = <[u8]>::new_box_zeroed_with_elems(map_len).map_err(|_| no_memory())?;
    let record_len = plan.blocking.record_len();
    let mut stream = vec![0; STREAM_LEN.div_ceil(record_len) * record_len];
    let mut known = <[u8]>::new_box_zeroed_with_elems(map_len).map_err(|_| no_memory())?;
    plan.base.put_known(&mut known);
    // What is on the tape from here on is gone with the first record.
    if plan.mode == Mode::Write(Existing::Overwrite) {
        forget(state, &plan.tape)?;
    }
    let memory =
        DumpMemory { stream: &mut stream, in_use: &mut in_use, on_tape: &mut on_tape, known: &mut known };
    let options = DumpOptions { identity: plan.identity, blocking: plan.blocking, label: plan.label };
    let mut catalog_memory = vec![0; catalogs::MEMORY_LEN];
    let catalog = match place_of(&plan.tape) {
        Some(_) => Some(begin_catalog(plan, state, &mut source, &mut catalog_memory)?),
        None => None,
    };
    let (beginning, tape) = Beginning::keep(plan, state, tape);
    let mut engine = Engine::with_catalog(source, tape, catalog, memory, options)
        .map_err(|error| CliError::failed(explain(&error, &plan.tape)))?;
    engine.leave_out(plan.left_out);
    let mut driven = Driven { plan, beginning: &beginning, is_subtree, left_out: LeftOut::default() };
    let ended = drive(&mut engine, &mut driven, interrupt, &mut progress);
    progress.end();
    let (source, tape, catalog) = engine.into_parts();
    let (mut tape, copy) = tape.into_parts();
    let took = started.elapsed();
    match ended {
        Ok(summary) => {
            let ended = report(&summary, &driven.left_out, &plan.tape, took);
            let (catalog_len, ended) = end_catalog(plan, state, catalog, ended);
            let is_dense = source.numbering() == Numbering::Dense;
            let behind = catalog_len.map(|len| Behind {
                plan,
                state,
                beginning: &beginning,
                summary: &summary,
                begin,
                ino_limit,
                is_dense,
                len,
            });
            let catalog_file =
                behind.zip(copy).and_then(|(behind, copy)| behind.write(&mut tape, copy, interrupt));
            give_back(&mut tape, plan)?;
            source.forget_junctions(&mut known);
            let made = Made {
                base: &plan.base,
                identity: plan.identity,
                date: plan.date,
                source: &source,
                ino_limit,
                known: &known,
                generation: generation.map(|generation| (generation, in_use.as_ref())),
                spec: &plan.tape,
                file: begin.file,
                blocking: plan.blocking,
                summary: &summary,
                catalog_len,
                catalog_file,
            };
            if plan.date > now() {
                eprintln!("tapedump: the dump's date is in the future: no increment can be based on it");
                DumpFolder::of(state, plan.identity.id).remove();
                return Ok(ended);
            }
            match made.record(state) {
                Ok(()) => Ok(ended),
                Err(error) => {
                    eprintln!("tapedump: the dump is whole, but no increment can be based on it: {error}");
                    Ok(Ended::Incomplete)
                }
            }
        }
        Err(message) => {
            DumpFolder::of(state, plan.identity.id).remove();
            Err(give_up(&message, tape, begin, plan))
        }
    }
}

fn begin_catalog<'m>(
    plan: &Plan,
    state: &StateDir,
    source: &mut LinuxSource,
    memory: &'m mut [u8],
) -> Result<HostCatalogWriter<'m>, CliError> {
    let DumpIdentity { id, date, base_date, level } = plan.identity;
    let identity = CatalogIdentity {
        dump: id,
        base: plan.base.dump.map(|base| base.id),
        level,
        date: date.into(),
        base_date: base_date.into(),
        volume: plan.base.tree.volume.0,
        names: source.names().map_err(CliError::failed)?,
        label: plan.label,
    };
    catalogs::create(state, identity, memory).map_err(CliError::failed)
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
    plan: &'a Plan,
    beginning: &'a Beginning,
    is_subtree: bool,
    left_out: LeftOut,
}

/// Steps through the dump. The error is what ended it early.
fn drive(
    engine: &mut Engine<'_>,
    driven: &mut Driven<'_>,
    interrupt: &Interrupt,
    progress: &mut Progress,
) -> Result<DumpSummary, String> {
    loop {
        if interrupt.is_set() {
            return Err("interrupted".into());
        }
        match engine.step() {
            Ok(DumpEvent::Done(summary)) => return Ok(summary),
            Ok(DumpEvent::Stage(stage)) => {
                if stage == Stage::Files {
                    driven.beginning.ends(BlockAddr(engine.progress().blocks));
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
            Err(_) if interrupt.is_set() => return Err("interrupted".into()),
            Err(error) => return Err(explain(&error, &driven.plan.tape)),
        }
        progress.step(|| {
            let done = engine.progress();
            Progressed { objects: done.handled, bytes: done.blocks * TAPE_BLOCK_LEN as u64 }
        });
    }
}

/// Closes the tape behind what is on it, and says in what state it is.
fn give_up(message: &str, mut tape: Box<dyn Tape>, begin: TapePosition, plan: &Plan) -> CliError {
    let again = match plan.tape {
        TapeSpec::Virtual(_) | TapeSpec::File(_) => "; make it anew, over this one with --overwrite",
        _ => "; make it anew",
    };
    if !tape.capabilities().can_position {
        return CliError::Failed(format!("{message}; the dump on {} is incomplete{again}", plan.tape));
    }
    // An error that was on its way is told by the first call; after it the position is the true one.
    let at = tape.position().or_else(|_| tape.position());
    if at.as_ref().is_ok_and(|at| *at == begin) {
        drop(tape);
        plan.created.remove();
        return CliError::Failed(format!("{message}; nothing was written"));
    }
    let closed = tape.write_filemark().and_then(|_| give_back(&mut tape, plan));
    match closed {
        Ok(()) => CliError::Failed(format!("{message}; the dump on {} is incomplete{again}", plan.tape)),
        Err(error) => CliError::Failed(format!(
            "{message}; the dump on {} is incomplete, and could not be closed: {error}",
            plan.tape
        )),
    }
}

/// The dump is over, and the filemark behind it durable. A cartridge stays in its drive, for the next dump or program.
fn give_back(tape: &mut Box<dyn Tape>, plan: &Plan) -> Result<(), TapeError> {
    if matches!(plan.tape, TapeSpec::Drive(_)) && !plan.eject { Ok(()) } else { tape.unload() }
}
