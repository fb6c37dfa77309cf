//! Going on with a dump that ended early (R-RESTART-4).

use super::behind::wants_catalog;
use super::image::Choice;
use super::keep::{Keeper, junctions};
use super::note;
use super::output::UsedTapes;
use super::plan::{self, Created, Plan, label_of};
use super::{Finished, Placed, Start, open_tree, write};
use crate::checksum::HostCrc32c;
use crate::cli::changer::{Wanted, may_change};
use crate::cli::exit::{CliError, Ended};
use crate::cli::further::Further;
use crate::cli::increments::{Base, UsedTape, chain_of};
use crate::cli::interrupt::Interrupt;
use crate::cli::journal::Journal;
use crate::cli::progress::Progress;
use crate::cli::raw;
use crate::cli::raw::session::Turn;
use crate::cli::session;
use crate::cli::tape::existing;
use crate::state::StateDir;
use crate::state::backup_log::LogEvent;
use crate::state::contexts::{ContextFile, Request, Suspended, TapeUsed};
use crate::state::history::parse_id;
use crate::tape::{Existing, Mode, Tape, TapeError, TapeSpec, open};
use crate::text::printable_path;
use crate::volume::source::Excluded;
use clap::Parser;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use tapedump_core::context::{BackupStatus, ContextRecord, ContextState};
use tapedump_core::device::tape::{Spaced, TapeDevice, TapePosition, TapeRead};
use tapedump_core::device::volume::PropertyKinds;
use tapedump_core::engine::dump::Stage;
use tapedump_core::engine::dump::restart::{RestartError, find_end};
use tapedump_core::units::{BlockAddr, DumpId, TAPE_BLOCK_LEN, TapeNo, Timestamp};

/// Restarts the dump of a context; its tape can be named when it is elsewhere by now.
pub fn run(
    id: DumpId,
    tapes: &[OsString],
    turn: Turn,
    cartridges: raw::Cartridges,
) -> Result<Ended, CliError> {
    let state = StateDir::find()?;
    let interrupt = Interrupt::install()?;
    let mut context = ContextFile::open(&state, id, true).map_err(CliError::failed)?;
    let record = context.record().map_err(CliError::failed)?;
    let request = context.request().map_err(CliError::failed)?;
    if !record.restartable || record.state == ContextState::Deleting {
        return Err(CliError::failed(format!(
            "the dump {id} cannot be restarted; delete its context with: tapedump context delete {id}"
        )));
    }
    let mut raw = asked_for(&request, tapes)?;
    raw.cartridges.changer = cartridges.changer.or(raw.cartridges.changer);
    raw.cartridges.prompt |= cartridges.prompt;
    let mut session = session::begin(&state, session::dump(&raw), turn, &interrupt)?;
    let journal = session.journal().clone();
    journal.note(LogEvent::Restart, &format!("level {}", raw.level.number()));
    let restarted = || {
        let plan = plan_of(&state, &record, &request, raw)?;
        session.on_tape(&plan.tape);
        go_on(&plan, &state, (context, record, request), &interrupt, &journal)
    };
    journal.ends(restarted())
}

/// What is known of the dump.
type Known = (ContextFile, ContextRecord, Request);

fn go_on(
    plan: &Plan,
    state: &StateDir,
    known: Known,
    interrupt: &Interrupt,
    journal: &Journal,
) -> Result<Ended, CliError> {
    let (mut context, record, request) = known;
    let taken = plan.choice.take(state, &plan.tree, plan.identity.id)?;
    note::base(journal, plan, &taken);
    if chain_of(state, plan.identity.id)?.is_some() {
        // It was cut off when all was done, and only the context was left.
        let used = UsedTapes::new(Vec::new());
        Keeper::again(state, context, record, request, used, plan.context_interval).end();
        eprintln!("the dump on {} is whole, and in the history", plan.tape);
        return Finished::Over(Ok(Ended::Done)).end(taken, state);
    }
    let from = context.suspended().map_err(CliError::failed)?;
    let placed = place(plan, &record, &from, interrupt)?;
    journal.note(LogEvent::TapeOpen, &plan.tape.to_string());
    let (placed, copied) = copy_beginning(plan, state, placed, &request, &from)?;
    let placed = placed.written_behind(&plan.tape, plan, interrupt)?;
    let mut progress = Progress::noted(Some(journal.clone()));
    let opened = open_tree(plan, state, &taken, interrupt, &mut progress).inspect_err(|_| progress.end())?;
    if junctions(&opened.source) != request.junctions {
        progress.end();
        return Err(CliError::failed(format!(
            "{}: the dump cannot be restarted now: other volumes are mounted in the tree than when it began; mount or unmount \
             them, and restart it again",
            printable_path(&plan.tree)
        )));
    }
    let files_from = request.files_from.map(BlockAddr);
    let used = UsedTapes::new(tapes_so_far(plan, &record, &request));
    let keeper = Keeper::again(state, context, record, request, used.clone(), plan.context_interval);
    let (keeper, from) = (Box::new(keeper), Box::new(from));
    let start = Start::Again { keeper, from, copied, files_from };
    write(plan, state, opened, (placed, used), start, interrupt, progress)?.end(taken, state)
}

/// The tapes that the dump is on, the last of which is the present one.
fn tapes_so_far(plan: &Plan, record: &ContextRecord, request: &Request) -> Vec<UsedTape> {
    let used = |(spec, kept): (&TapeSpec, &TapeUsed)| UsedTape {
        spec: spec.clone(),
        begin: TapePosition { file: kept.file, record: 0 },
        first: BlockAddr(kept.first),
    };
    let mut tapes: Vec<_> = plan.tapes.iter().zip(&request.tapes).map(used).collect();
    if let Some(present) = tapes.last_mut() {
        present.begin = record.begin;
    }
    tapes
}

/// The command line that began the dump, with absolute paths. Of its tapes those that follow: the one that it goes on on, and
/// further ones.
fn asked_for(request: &Request, tapes: &[OsString]) -> Result<raw::Dump, CliError> {
    let arguments = request.arguments.iter().map(|argument| OsString::from_vec(argument.0.clone()));
    match raw::Arguments::try_parse_from(arguments).map(|arguments| arguments.command) {
        Ok(raw::Command::Dump(mut raw)) => {
            raw.path = PathBuf::from(OsStr::from_bytes(&request.path.0));
            raw.tape = match (tapes, request.tapes.last()) {
                ([], Some(present)) => {
                    let further = raw.tape.into_iter().skip(request.tapes.len());
                    std::iter::once(OsString::from_vec(present.path.0.clone())).chain(further).collect()
                }
                _ => tapes.to_vec(),
            };
            Ok(raw)
        }
        _ => Err(CliError::failed("the dump cannot be restarted: another release began it")),
    }
}

/// The dump as it was asked for.
fn plan_of(
    state: &StateDir,
    record: &ContextRecord,
    request: &Request,
    raw: raw::Dump,
) -> Result<Plan, CliError> {
    let tree = raw.path;
    let snapshot = request.snapshot.as_ref().map_or(&[][..], |name| &name.0);
    let choice = Choice::again(&tree, record.volume, snapshot, &request.image.0, record.snapshot_is_own)?;
    let date = Timestamp { secs: record.identity.date.into(), nanos: request.nanos };
    let base = Base::find(state, &tree, record.identity.level, date, None)?;
    if base.dump.map(|base| base.id) != request.base.as_deref().and_then(parse_id) {
        return Err(CliError::failed(format!(
            "{}: the dump cannot be restarted: the dump that it is based on is not in the history any more",
            printable_path(&tree)
        )));
    }
    let existing = existing(raw.overwrite, raw.append);
    let kept = |tape: &TapeUsed| TapeSpec::of_existing(Path::new(OsStr::from_bytes(&tape.path.0)));
    let mut tapes: Vec<TapeSpec> = request.tapes.iter().map(kept).collect();
    // A path, but for one that was named for the restart: that of the tape was kept.
    let present = tapes.pop().ok_or_else(|| CliError::failed("the context names no tape"))?;
    let is_named = request.tapes.last().zip(raw.tape.first());
    let is_named = is_named.is_some_and(|(kept, named)| kept.path.0 != named.as_bytes());
    let mut named = raw.tape.iter();
    let first = named.next().filter(|_| is_named);
    let library = state.library();
    let mode = Mode::Write(existing);
    let tape = first.map_or(Ok(present), |tape| TapeSpec::resolve(tape, &library, mode))?;
    tapes.push(tape.clone());
    let further: Vec<OsString> = named.cloned().collect();
    tapes.extend(plan::named(&further, &library, mode)?);
    let further = Further::new(&raw.cartridges, &tapes, library, mode)?;
    let excluded = Excluded {
        patterns: raw.exclude,
        top_level: request.left_out.iter().map(|name| name.0.clone()).collect(),
    };
    Ok(Plan {
        tree,
        tape,
        tapes,
        further,
        existing,
        created: Created::Nothing,
        blocking: record.blocking,
        label: label_of(raw.label.as_deref()),
        label_text: raw.label.unwrap_or_default(),
        identity: record.identity,
        base,
        date,
        choice,
        threads: raw.threads.unwrap_or(0),
        eject: raw.eject,
        catalog: !raw.no_catalog,
        left_out: if raw.no_acls { PropertyKinds::ACLS } else { PropertyKinds::NONE },
        excluded,
        ignore_ctime: raw.ignore_ctime,
        at_once: record.status == BackupStatus::Tape,
        context_interval: raw.context_interval,
    })
}

/// Opens the tape, and goes behind what counts of the dump on it, which is verified. Where another cartridge is in the drive, the
/// right one is asked for.
fn place(
    plan: &Plan,
    record: &ContextRecord,
    from: &Suspended,
    interrupt: &Interrupt,
) -> Result<Placed, CliError> {
    let mut changes = 0;
    loop {
        let (why, is_other) = match attempt(plan, record, from) {
            Ok(placed) => return Ok(placed),
            Err(why) => why,
        };
        let number = from.state.tape().0;
        let wanted = Wanted { purpose: "write", number, label: &plan.label_text };
        let is_drive = matches!(plan.tape, TapeSpec::Drive(_));
        if !(is_other && is_drive && may_change(changes)) {
            return Err(why);
        }
        let brought = plan.further.bring(&wanted, &plan.tape, &why.to_string(), interrupt)?;
        if brought.is_none_or(|spec| spec != plan.tape) {
            return Err(why);
        }
        changes += 1;
    }
}

/// The error, and whether another tape may do.
fn attempt(plan: &Plan, record: &ContextRecord, from: &Suspended) -> Result<Placed, (CliError, bool)> {
    let failed = |error: TapeError| {
        let is_other = error.wants_another_cartridge();
        (CliError::from(error), is_other)
    };
    let mut tape =
        open(&plan.tape, Mode::Write(Existing::GoOn(plan.blocking.record_len()))).map_err(failed)?;
    // What it was to write over is there still: the tape is the right one, since it has a path of its own.
    let is_untouched = from.state.record_at() == from.state.tape_from();
    if is_untouched && plan.existing == Existing::Overwrite && !matches!(plan.tape, TapeSpec::Drive(_)) {
        locate(&mut tape, record.begin).map_err(|error| (error, false))?;
        return Ok(Placed { tape, begin: record.begin });
    }
    let mut memory = vec![0; plan.blocking.record_len()];
    let found = find_end::<_, HostCrc32c>(
        &mut tape,
        record.begin,
        &plan.identity,
        plan.blocking,
        &from.state,
        &from.rest,
        &mut memory,
    );
    match found {
        Ok(()) => Ok(Placed { tape, begin: record.begin }),
        Err(error) => {
            let is_other = matches!(error, RestartError::OtherDump | RestartError::Missing { .. });
            Err((refused(&plan.tape, record, &error), is_other))
        }
    }
}

fn refused(tape: &TapeSpec, record: &ContextRecord, error: &RestartError<TapeError>) -> CliError {
    let why = match error {
        RestartError::Tape(error) => return CliError::failed(error),
        RestartError::OtherDump => {
            let file = record.begin.file;
            format!(
                "another dump, or none, is in its tape file {file}; put in the right tape, or name it with --tape"
            )
        }
        RestartError::Missing { at } => format!(
            "it ends before block {at} of the dump, which was written; with another tape, name it with --tape"
        ),
        RestartError::Differs { at } => {
            format!("it does not hold what was written from block {at} of the dump on")
        }
        other => format!("{other:?}"),
    };
    CliError::failed(format!("{tape}: the dump cannot be restarted on this tape: {why}; nothing was written"))
}

/// The beginning of the dump, for the catalog behind it, is read back from the tape.
fn copy_beginning(
    plan: &Plan,
    state: &StateDir,
    placed: Placed,
    request: &Request,
    from: &Suspended,
) -> Result<(Placed, Option<(File, u64)>), CliError> {
    if !wants_catalog(plan) {
        return Ok((placed, None));
    }
    if from.state.tape() != TapeNo::FIRST {
        eprintln!("tapedump: there will be no catalog behind the dump: its beginning is on another tape");
        return Ok((placed, None));
    }
    let Placed { mut tape, begin } = placed;
    let written = from.state.record_at().byte_offset();
    let limit = match request.files_from.filter(|_| from.state.stage() >= Stage::Files) {
        Some(first) => written.min(BlockAddr(first).byte_offset() + TAPE_BLOCK_LEN as u64),
        None => written,
    };
    let file = state.scratch_file()?;
    let end = tape.position()?;
    let copied = copy(&mut tape, begin, limit, plan, &file);
    locate(&mut tape, end)?;
    match copied {
        Ok(()) => Ok((Placed { tape, begin }, Some((file, limit)))),
        Err(error) => {
            eprintln!(
                "tapedump: there will be no catalog behind the dump: its beginning cannot be read: {error}"
            );
            Ok((Placed { tape, begin }, None))
        }
    }
}

fn copy(
    tape: &mut Box<dyn Tape>,
    begin: TapePosition,
    limit: u64,
    plan: &Plan,
    file: &File,
) -> Result<(), CliError> {
    locate(tape, begin)?;
    let mut record = vec![0; plan.blocking.record_len()];
    let mut len = 0;
    while len < limit {
        let TapeRead::Record(read) = tape.read(&mut record)? else {
            return Err(CliError::failed("the tape ends"));
        };
        let wanted = usize::try_from(limit - len).unwrap_or(usize::MAX).min(read);
        file.write_all_at(record.get(..wanted).unwrap_or_default(), len).map_err(CliError::failed)?;
        len += wanted as u64;
    }
    Ok(())
}

fn locate(tape: &mut Box<dyn Tape>, to: TapePosition) -> Result<(), CliError> {
    match tape.locate(to)? {
        Spaced::Done => Ok(()),
        _ => Err(CliError::failed("the tape ends where it did not before")),
    }
}
