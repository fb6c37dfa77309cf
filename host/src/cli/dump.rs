//! `tapedump dump`: a directory tree to a tape.

use super::changer::{Changer, Wanted, with_changes};
use super::exit::{CliError, Ended};
use super::increments::{Base, Made, forget, place_of};
use super::interrupt::Interrupt;
use super::progress::{Progress, Progressed, count, rate};
use super::raw;
use super::tape::{existing, new_name};
use crate::checksum::HostCrc32c;
use crate::state::StateDir;
use crate::state::catalogs::{self, HostCatalogWriter};
use crate::state::file_device::FileError;
use crate::state::history::DumpFolder;
use crate::tape::virtual_tape::{Access, VirtualTape};
use crate::tape::{Existing, Mode, Stop, Tape, TapeError, TapeSpec, ahead_or_behind, open};
use crate::text::{printable, printable_path, size};
use crate::volume::VolumeError;
use crate::volume::source::{LinuxSource, SourceOptions};
use rustix::fs::OFlags;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tapedump_core::catalog::{CatalogError, CatalogIdentity};
use tapedump_core::device::tape::{TapeDevice, TapePosition};
use tapedump_core::device::volume::SourceVolume;
use tapedump_core::engine::dump::{
    Dump, DumpError, DumpEvent, DumpMemory, DumpOptions, DumpSummary, NotPortable, Stage,
};
use tapedump_core::stream::writer::DumpIdentity;
use tapedump_core::units::{BlockingFactor, DumpId, Ino, Level, TAPE_BLOCK_LEN, Timestamp};
use zerocopy::FromZeros;

/// Bytes written behind the dump.
const BEHIND_LEN: usize = 4 << 20;
/// Tape records filled at once, in bytes: as long as the largest segment, and some.
const STREAM_LEN: usize = 1 << 20;
/// Mount points that are named; more are counted.
const MOUNT_POINTS_NAMED: usize = 20;

type Engine<'m> = Dump<'m, LinuxSource, Box<dyn Tape>, HostCrc32c, Option<HostCatalogWriter<'m>>>;

/// What a dump is to do, with everything checked that can be checked before anything is touched.
struct Plan {
    tree: PathBuf,
    tape: TapeSpec,
    mode: Mode,
    created: Created,
    blocking: BlockingFactor,
    label: [u8; 16],
    label_text: String,
    identity: DumpIdentity,
    base: Base,
    /// When the dump began, as file systems count the time.
    date: Timestamp,
    threads: usize,
    eject: bool,
    changer: Option<Changer>,
}

/// What was made for this dump, to be removed should nothing get onto it.
enum Created {
    Nothing,
    Tape(PathBuf),
    File(PathBuf),
}

impl Created {
    fn remove(&self) {
        // Best effort: what cannot be removed is a blank tape.
        match self {
            Self::Nothing => {}
            Self::Tape(path) => _ = VirtualTape::open(path, Access::Write).and_then(VirtualTape::remove),
            Self::File(path) => {
                if std::fs::metadata(path).is_ok_and(|file| file.is_file() && file.len() == 0) {
                    _ = std::fs::remove_file(path);
                }
            }
        }
    }
}

pub fn run(raw: raw::Dump) -> Result<Ended, CliError> {
    let state = StateDir::find()?;
    let interrupt = Interrupt::install()?;
    let plan = resolve(raw, &state)?;
    let wanted = Wanted { purpose: "write", number: 1, label: &plan.label_text };
    let opened = with_changes(plan.changer.as_ref(), &plan.tape, &wanted, &interrupt, || {
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
    progress.stage("stages I and II: finding files and directories", 0);
    let source = match open_source(&plan, &state, &interrupt, &progress) {
        Ok(source) => source,
        Err(error) => {
            progress.end();
            drop(tape);
            plan.created.remove();
            return Err(error);
        }
    };
    write(&plan, &state, source, tape, begin, &interrupt, progress)
}

fn resolve(raw: raw::Dump, state: &StateDir) -> Result<Plan, CliError> {
    let tree = raw.path;
    let cannot = |why: &dyn std::fmt::Display| {
        CliError::failed(format!("{}: cannot dump this tree: {why}", printable_path(&tree)))
    };
    let metadata = std::fs::metadata(&tree).map_err(|error| cannot(&error))?;
    if !metadata.is_dir() {
        return Err(cannot(&"it is not a directory; name the directory it is in"));
    }
    let (mut identity, date) = identity()?;
    let library = state.library();
    let mode = Mode::Write(existing(raw.overwrite, raw.append));
    let mut created = Created::Nothing;
    let tape = match &raw.tape {
        Some(argument) => {
            let spec = TapeSpec::resolve(argument, &library, mode)?;
            if let TapeSpec::File(path) = &spec
                && !path.exists()
            {
                created = Created::File(path.clone());
            }
            spec
        }
        None if raw.append => {
            let newest = library.newest()?;
            eprintln!("the dump goes behind the last one on {}, the newest tape of the library", newest.name);
            TapeSpec::Virtual(newest.path)
        }
        None => {
            let name = new_name(&library, raw.label.as_deref(), u64::from(identity.date))?;
            let path = library.create(&name, None)?;
            eprintln!("the dump goes to the new tape {name}");
            created = Created::Tape(path.clone());
            TapeSpec::Virtual(path)
        }
    };
    let overwritten = Some(&tape).filter(|_| raw.overwrite);
    let base = Base::find(state, &tree, raw.level, date, overwritten).inspect_err(|_| created.remove())?;
    identity.level = raw.level;
    identity.base_date = base.date();
    let changer = Changer::find(raw.cartridges.changer.as_deref(), std::iter::once(&tape))?;
    let mut label = [0; 16];
    let text = raw.label.as_deref().unwrap_or("none");
    label.iter_mut().zip(text.bytes()).for_each(|(to, from)| *to = from);
    let threads = raw.threads.unwrap_or(0);
    let blocking = raw.blocking_factor;
    let (label_text, eject) = (raw.label.unwrap_or_default(), raw.eject);
    Ok(Plan {
        tree,
        tape,
        mode,
        created,
        blocking,
        label,
        label_text,
        identity,
        base,
        date,
        threads,
        eject,
        changer,
    })
}

/// Identity and time of the dump. For reproducible dumps both can be given: `TAPEDUMP_DUMP_ID` (32 hexadecimal
/// digits) and `SOURCE_DATE_EPOCH` (seconds since 1970).
fn identity() -> Result<(DumpIdentity, Timestamp), CliError> {
    let wrong =
        |name: &str, what: &str| CliError::failed(format!("{name}: it is {what}; correct or unset it"));
    let date = match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => {
            let secs: u32 =
                text.parse().map_err(|_| wrong("SOURCE_DATE_EPOCH", "not a number of seconds since 1970"))?;
            Timestamp { secs: secs.into(), nanos: 0 }
        }
        Err(_) => now(),
    };
    let secs = u32::try_from(date.secs)
        .map_err(|_| CliError::failed("the clock shows a year that no tape can hold"))?;
    let id = match std::env::var("TAPEDUMP_DUMP_ID") {
        Ok(text) => parse_id(&text).ok_or_else(|| wrong("TAPEDUMP_DUMP_ID", "not 32 hexadecimal digits"))?,
        Err(_) => random_id()?,
    };
    Ok((DumpIdentity { id, date: secs, base_date: 0, level: Level::BASELINE }, date))
}

/// The time as file systems note it: this clock is some milliseconds behind others, and a file that changes after the dump
/// has begun must not seem older than it.
fn now() -> Timestamp {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
    Timestamp { secs: now.tv_sec, nanos: u32::try_from(now.tv_nsec).unwrap_or(0) }
}

fn parse_id(text: &str) -> Option<DumpId> {
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    (digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(())?;
    u128::from_str_radix(&digits, 16).ok().map(|id| DumpId(id.to_be_bytes()))
}

/// A random UUID (version 4).
fn random_id() -> Result<DumpId, CliError> {
    let mut id = [0_u8; 16];
    let filled = rustix::rand::getrandom(&mut id, rustix::rand::GetRandomFlags::empty());
    if filled != Ok(id.len()) {
        return Err(CliError::failed("the system gives no random numbers for the dump's identity"));
    }
    id[6] = (id[6] & 0x0f) | 0x40;
    id[8] = (id[8] & 0x3f) | 0x80;
    Ok(DumpId(id))
}

fn open_source(
    plan: &Plan,
    state: &StateDir,
    interrupt: &Interrupt,
    progress: &Progress,
) -> Result<LinuxSource, CliError> {
    let mut options = SourceOptions::new(state.scratch_dir()?);
    options.threads = plan.threads;
    options.interrupt = Some(interrupt.flag());
    options.changed_since = plan.base.dump.map(|base| base.date.secs);
    options.base_numbers = plan.base.numbers.clone();
    let source = LinuxSource::open(&plan.tree, options).map_err(|error| {
        if interrupt.is_set() {
            CliError::failed("interrupted; nothing was written")
        } else {
            CliError::failed(error)
        }
    })?;
    plan.base.check_numbers(&plan.tree, &source)?;
    let mount_points = source.tally().mount_points;
    for path in mount_points.iter().take(MOUNT_POINTS_NAMED) {
        progress.tell(&format!("{}: another file system is mounted here; not entered", printable_path(path)));
    }
    if mount_points.len() > MOUNT_POINTS_NAMED {
        progress.tell(&format!("and {} further mount points", mount_points.len() - MOUNT_POINTS_NAMED));
    }
    Ok(source)
}

/// Runs the engine; whatever ends it early, the tape is closed behind what is on it.
fn write(
    plan: &Plan,
    state: &StateDir,
    mut source: LinuxSource,
    tape: Box<dyn Tape>,
    begin: TapePosition,
    interrupt: &Interrupt,
    mut progress: Progress,
) -> Result<Ended, CliError> {
    let started = Instant::now();
    let no_memory = || CliError::failed("there is no memory for the maps of the dump");
    let ino_limit = source.ino_limit().map_err(CliError::failed)?;
    let map_len = ino_limit.0.saturating_sub(1).div_ceil(8) as usize;
    let mut in_use = <[u8]>::new_box_zeroed_with_elems(map_len).map_err(|_| no_memory())?;
    let mut on_tape = <[u8]>::new_box_zeroed_with_elems(map_len).map_err(|_| no_memory())?;
    let record_len = plan.blocking.record_len();
    let mut stream = vec![0; STREAM_LEN.div_ceil(record_len) * record_len];
    let mut known = <[u8]>::new_box_zeroed_with_elems(map_len).map_err(|_| no_memory())?;
    if let Err(error) = plan.base.known(state, &mut known) {
        progress.end();
        drop(tape);
        plan.created.remove();
        return Err(error);
    }
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
    let mut engine = Engine::with_catalog(source, tape, catalog, memory, options)
        .map_err(|error| CliError::failed(explain(&error, &plan.tape)))?;
    let mut left_out = LeftOut::default();
    let ended = drive(&mut engine, plan, interrupt, &mut progress, &mut left_out);
    progress.end();
    let (source, mut tape, catalog) = engine.into_parts();
    match ended {
        Ok(summary) => {
            give_back(&mut tape, plan)?;
            let ended = report(&summary, &left_out, &plan.tape, started.elapsed());
            let (catalog_len, ended) = end_catalog(plan, state, catalog, ended);
            let made = Made {
                base: &plan.base,
                identity: plan.identity,
                date: plan.date,
                source: &source,
                ino_limit,
                known: &known,
                spec: &plan.tape,
                file: begin.file,
                blocking: plan.blocking,
                summary: &summary,
                catalog_len,
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

/// Steps through the dump. The error is what ended it early.
fn drive(
    engine: &mut Engine<'_>,
    plan: &Plan,
    interrupt: &Interrupt,
    progress: &mut Progress,
    left_out: &mut LeftOut,
) -> Result<DumpSummary, String> {
    loop {
        if interrupt.is_set() {
            return Err("interrupted".into());
        }
        match engine.step() {
            Ok(DumpEvent::Done(summary)) => return Ok(summary),
            Ok(DumpEvent::Stage(stage)) => begin_stage(engine, stage, progress),
            Ok(DumpEvent::Working) => {}
            Ok(event) => {
                left_out.note(&event, engine.stage());
                if let DumpEvent::NotPortable { ino, why: NotPortable::Name } = event {
                    tell_long_name(engine, ino, plan, progress);
                } else if let Some((ino, text)) = describe(&event) {
                    progress.tell(&format!("tapedump: {}: {text}", path_of(engine, ino)));
                }
            }
            Err(_) if interrupt.is_set() => return Err("interrupted".into()),
            Err(error) => return Err(explain(&error, &plan.tape)),
        }
        progress.step(|| {
            let done = engine.progress();
            Progressed { objects: done.handled, bytes: done.blocks * TAPE_BLOCK_LEN as u64 }
        });
    }
}

/// Objects that the engine counts and that did not get on the tape.
#[derive(Default)]
struct LeftOut {
    directories: u64,
    others: u64,
}

impl LeftOut {
    fn note(&mut self, event: &DumpEvent, stage: Stage) {
        match (event, stage) {
            (DumpEvent::Skipped { .. }, Stage::Directories) => self.directories += 1,
            (DumpEvent::Skipped { .. }, _) => self.others += 1,
            _ => {}
        }
    }
}

/// Tells the first name that third-party programs cannot read; the engine knows its directory.
fn tell_long_name(engine: &Engine<'_>, directory: Ino, plan: &Plan, progress: &Progress) {
    const NAME_LEN_PORTABLE: usize = 254;
    let path = engine.source().path_of(directory).unwrap_or_default();
    let name = long_name_in(&plan.tree.join(&path), NAME_LEN_PORTABLE);
    let name = name.map_or_else(|| "a name".into(), |name| printable(&name));
    progress.tell(&format!(
        "tapedump: {}: {name}: with more than {NAME_LEN_PORTABLE} bytes, third-party restore programs cannot \
         read it; tapedump can",
        printable_path(&path)
    ));
}

/// The first name longer than `len` in a directory, whose access time stays as it is on the dump.
fn long_name_in(directory: &Path, len: usize) -> Option<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOATIME;
    let directory = rustix::fs::open(directory, flags, rustix::fs::Mode::empty()).ok()?;
    let mut entries = rustix::fs::Dir::new(directory).ok()?;
    let long = entries.find_map(|entry| entry.ok().filter(|entry| entry.file_name().count_bytes() > len))?;
    Some(long.file_name().to_bytes().to_vec())
}

fn begin_stage(engine: &Engine<'_>, stage: Stage, progress: &mut Progress) {
    let found = engine.progress();
    let total = found.directories + found.others;
    let text = match stage {
        // Named when the tree was opened, which is where the time goes.
        Stage::Map => return,
        Stage::Directories => "directories to tape",
        Stage::Files => "files to tape",
        Stage::Attributes => "further attributes to tape",
    };
    progress.stage(&format!("stage {}: {text}", stage.number()), total);
}

fn path_of(engine: &Engine<'_>, ino: Ino) -> String {
    engine.source().path_of(ino).map_or_else(|| ino.to_string(), |path| printable_path(&path))
}

/// The object an event is about, and what the user is told of it.
fn describe(event: &DumpEvent) -> Option<(Ino, String)> {
    Some(match event {
        DumpEvent::Skipped { ino, error } => (*ino, format!("not dumped: {error}")),
        DumpEvent::EntriesUnread { ino } => (*ino, "its names could not all be read".into()),
        DumpEvent::DataUnread { ino, from, to } => {
            (*ino, format!("bytes {from} to {to} could not be read; the dump has zeros there and says so"))
        }
        DumpEvent::PropertiesUnread { ino } => {
            (*ino, "its ACLs or extended attributes could not all be read".into())
        }
        DumpEvent::Changed { ino } => (*ino, "changed while it was read".into()),
        DumpEvent::NotPortable { ino, why } => {
            let what = match why {
                NotPortable::Directory => "a directory of 256 MiB or more",
                _ => "something",
            };
            (*ino, format!("{what}: third-party restore programs cannot read this; tapedump can"))
        }
        _ => return None,
    })
}

fn explain(error: &DumpError<VolumeError, TapeError>, tape: &TapeSpec) -> String {
    match error {
        DumpError::Source(source) => source.to_string(),
        DumpError::Tape { source, .. } if !source.is_end_of_medium() => source.to_string(),
        DumpError::Tape { .. } | DumpError::EndOfMedium { .. } => {
            format!("{tape}: the tape is full; use a larger one")
        }
        DumpError::MapTooSmall { needed } => {
            format!("the maps need {needed} bytes: the tree grew while it was read")
        }
        DumpError::RecordTooLong { limit } => format!(
            "{tape}: it takes records of up to {limit} bytes only; use --blocking-factor {} or less",
            limit / TAPE_BLOCK_LEN
        ),
        other => format!("{tape}: {other:?}"),
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

fn report(summary: &DumpSummary, left_out: &LeftOut, tape: &TapeSpec, time: Duration) -> Ended {
    let DumpSummary { directories, others, data_len, blocks, incomplete, .. } = summary;
    let tape_len = blocks * TAPE_BLOCK_LEN as u64;
    eprintln!(
        "dumped {} and {}, {} of data in {} of tape, to {tape} ({})",
        count(directories.saturating_sub(left_out.directories), "directory"),
        count(others.saturating_sub(left_out.others), "other object"),
        size(*data_len),
        size(tape_len),
        rate(tape_len, time)
    );
    if *incomplete == 0 {
        return Ended::Done;
    }
    let objects = count(*incomplete, "object");
    eprintln!("tapedump: the dump is incomplete: {objects} named above, not on it or not as on the volume");
    Ended::Incomplete
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities() {
        let id = parse_id("00112233445566778899aabbccddeeff").unwrap();
        assert_eq!(id.to_string(), "00112233-4455-6677-8899-aabbccddeeff");
        assert_eq!(parse_id(&id.to_string()), Some(id));
        for bad in ["", "0", "+0112233445566778899aabbccddeeff", "x0112233445566778899aabbccddeeff"] {
            assert_eq!(parse_id(bad), None, "{bad}");
        }
        let (a, b) = (random_id().unwrap(), random_id().unwrap());
        assert_ne!(a, b);
        assert_eq!((a.0[6] >> 4, a.0[8] >> 6), (4, 2));
    }
}
