//! What restore, list and verify share: finding the dump, lending the memory, driving the engine.

use super::exit::{CliError, Ended};
use super::interrupt::Interrupt;
use super::names::{self, Finding};
use super::progress::{Progress, Progressed};
use super::raw::From;
use super::tally::Tally;
use crate::checksum::HostCrc32c;
use crate::state::StateDir;
use crate::state::scratch::ScratchDevice;
use crate::tape::label::TapeFile;
use crate::tape::virtual_tape::VirtualTape;
use crate::tape::{Mode, Stop, Tape, TapeError, TapeSpec, ahead_or_behind, open};
use crate::text::{printable, size};
use std::collections::VecDeque;
use std::fmt::Display;
use tapedump_core::catalog::TableError;
use tapedump_core::device::ErrorKind;
use tapedump_core::device::tape::{Spaced, TapeDevice, TapePosition};
use tapedump_core::device::volume::TargetVolume;
use tapedump_core::engine::restore::{
    Damage, DumpInfo, Restore, RestoreError, RestoreEvent, RestoreMemory, RestoreStage, RestoreSummary,
};
use tapedump_core::limits::MAP_LEN_MAX;
use tapedump_core::stream::reader::ReaderError;
use tapedump_core::units::{Ino, TAPE_BLOCK_LEN};
use zerocopy::FromZeros;

/// The engine as the host puts it together.
pub type Engine<'m, V> = Restore<'m, Box<dyn Tape>, V, ScratchDevice, HostCrc32c>;
type EngineError<V> =
    RestoreError<TapeError, <V as TargetVolume>::Error, crate::state::scratch::ScratchError>;

/// The longest record that is read: Linux `dump` writes up to 1,024 tape blocks, we no more than 256.
const RECORD_LEN_MAX: usize = 1024 * TAPE_BLOCK_LEN;
/// Bytes read ahead of the restore.
const AHEAD_LEN: usize = 8 << 20;
/// For sorting names.
const NAMES_LEN: usize = 8 << 20;
const MAPS: usize = 6;
/// Damage that waits for the names.
const EARLY_MAX: usize = 10_000;

/// A dump about to be read.
pub struct Reading {
    tape: Box<dyn Tape>,
    /// Further tapes of the dump, in order.
    further: VecDeque<TapeSpec>,
    /// The tape, for messages.
    pub name: String,
    /// Bytes of the tape file, where that is known: no more file data than this is on it.
    pub len: Option<u64>,
    state: StateDir,
}

/// What a caller wants after an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// To go on.
    On,
    /// To end here: it knows what it wanted to know.
    Enough,
}

/// What one command does with what the engine tells; everything has a default that does nothing.
pub trait Visitor<V: TargetVolume> {
    /// The dump was found.
    fn dump(&mut self, _info: &DumpInfo) -> Result<(), CliError> {
        Ok(())
    }
    /// All names are known and nothing is written yet.
    fn catalogued(&mut self, _engine: &mut Engine<'_, V>) -> Result<(), CliError> {
        Ok(())
    }
    /// A stage begins.
    fn stage(&mut self, _stage: RestoreStage) -> Flow {
        Flow::On
    }
    /// A name.
    fn entry(
        &mut self,
        _engine: &mut Engine<'_, V>,
        _entry: Entry,
        _progress: &Progress,
    ) -> Result<(), CliError> {
        Ok(())
    }
    /// Something is not as it should be.
    fn finding(&mut self, finding: &Finding, progress: &Progress) -> Result<(), CliError> {
        progress.tell(&format!("tapedump: {}", finding.line()));
        Ok(())
    }
}

/// A name that the engine visits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    pub ino: Ino,
    /// The directory it is in.
    pub parent: Ino,
    /// Its entries follow.
    pub directory: bool,
}

impl Reading {
    /// Finds and opens the dump that the arguments name.
    pub fn open(from: &From, state: &StateDir, interrupt: &Interrupt) -> Result<Self, CliError> {
        let library = state.library();
        let mut specs = VecDeque::new();
        for tape in &from.tape {
            specs.push_back(TapeSpec::resolve(tape, &library, Mode::Read)?);
        }
        let spec = match specs.pop_front() {
            Some(spec) => spec,
            None => {
                let newest = library.newest()?;
                eprintln!("reading {}, the newest tape of the library", newest.name);
                TapeSpec::Virtual(newest.path)
            }
        };
        let name = spec.to_string();
        let mut tape = open(&spec, Mode::Read)?;
        let len = find_file(&spec, &mut tape, from.file)?;
        let tape = ahead_or_behind(tape, Mode::Read, AHEAD_LEN, 0, Stop::when(interrupt.flag()))?;
        Ok(Self { tape, further: specs, name, len, state: state.clone() })
    }

    /// Reads the dump over `target`. Gives the target back, and how it ended: `None` where the visitor had enough.
    pub fn run<V>(
        self,
        target: V,
        visitor: &mut impl Visitor<V>,
        interrupt: &Interrupt,
    ) -> Result<(V, RestoreSummary), CliError>
    where
        V: TargetVolume,
        V::Error: Display,
    {
        let scratch = ScratchDevice::new(self.state.scratch_file()?);
        let mut stream = vec![0; RECORD_LEN_MAX + TAPE_BLOCK_LEN];
        let mut names = vec![0; NAMES_LEN];
        // Pages that no number on the tape touches are never there.
        let mut maps = <[u8]>::new_box_zeroed_with_elems(MAPS * MAP_LEN_MAX)
            .map_err(|_| CliError::failed("there is no address space for the maps of the dump"))?;
        let memory = RestoreMemory { stream: &mut stream, maps: &mut maps, names: &mut names };
        let Self { tape, mut further, name, .. } = self;
        let mut engine = Engine::new(tape, target, scratch, memory)
            .map_err(|error| CliError::Failed(format!("{name}: {}", explain::<V>(&error))))?;
        let mut progress = Progress::new();
        let mut drive = Drive {
            further: &mut further,
            visitor,
            interrupt,
            progress: &mut progress,
            object: None,
            early: Some(Vec::new()),
            tally: Tally::default(),
        };
        let ended = drive.run(&mut engine);
        let told = drive.tell_early(&mut engine).and_then(|()| drive.tell_rest::<V>());
        let ended = ended.and_then(|summary| told.map(|()| summary).map_err(Stopped::from));
        let open = drive.object.and_then(|ino| names::path_of(&mut engine, ino));
        progress.end();
        let (_, mut target, _) = engine.into_devices();
        match ended {
            Ok(summary) => Ok((target, summary)),
            Err(error) => {
                settle(&mut target, open.as_deref());
                Err(match error {
                    Stopped::Engine(why) => CliError::Failed(format!("{name}: {why}")),
                    Stopped::Other(error) => error,
                })
            }
        }
    }
}

/// Why the engine was stopped.
enum Stopped {
    /// By itself.
    Engine(String),
    /// By the command.
    Other(CliError),
}

impl std::convert::From<CliError> for Stopped {
    fn from(error: CliError) -> Self {
        Self::Other(error)
    }
}

/// The engine's steps, and what is told of them.
struct Drive<'a, W> {
    further: &'a mut VecDeque<TapeSpec>,
    visitor: &'a mut W,
    interrupt: &'a Interrupt,
    progress: &'a mut Progress,
    /// The object that began last.
    object: Option<Ino>,
    /// Damage found before the names are known, with the name it is about: told as soon as they are.
    early: Option<Vec<(Damage, Vec<u8>)>>,
    tally: Tally,
}

impl<W> Drive<'_, W> {
    /// Damage waits for the names; not all of it, where there is very much.
    fn is_early(&self) -> bool {
        self.early.as_ref().is_some_and(|early| early.len() < EARLY_MAX)
    }

    /// Tells the damage that has waited for the names.
    fn tell_early<V>(&mut self, engine: &mut Engine<'_, V>) -> Result<(), CliError>
    where
        V: TargetVolume,
        W: Visitor<V>,
    {
        for (damage, culprit) in self.early.take().unwrap_or_default() {
            if self.tally.count(names::kind_of_damage(&damage)) {
                let finding = names::damage(engine, &damage, &culprit);
                self.visitor.finding(&finding, self.progress)?;
            }
        }
        Ok(())
    }

    /// Tells how many findings there were beside those that were told.
    fn tell_rest<V>(&mut self) -> Result<(), CliError>
    where
        V: TargetVolume,
        W: Visitor<V>,
    {
        std::mem::take(&mut self.tally).rest().try_for_each(|rest| self.visitor.finding(&rest, self.progress))
    }

    fn run<V>(&mut self, engine: &mut Engine<'_, V>) -> Result<RestoreSummary, Stopped>
    where
        V: TargetVolume,
        V::Error: Display,
        W: Visitor<V>,
    {
        let interrupted =
            || CliError::failed("interrupted; what was restored so far stays, the rest is missing");
        loop {
            if self.interrupt.is_set() {
                return Err(interrupted().into());
            }
            let flow = match engine.step() {
                Err(_) if self.interrupt.is_set() => return Err(interrupted().into()),
                Err(error) => return Err(Stopped::Engine(explain::<V>(&error))),
                Ok(RestoreEvent::Done(summary)) => return Ok(summary),
                Ok(RestoreEvent::NeedTape(number)) => {
                    next_tape(engine, self.further, number.0, self.interrupt, self.progress)?;
                    Flow::On
                }
                Ok(RestoreEvent::Damage(damage)) if self.is_early() => {
                    let culprit = engine.culprit().to_vec();
                    self.early.get_or_insert_default().push((damage, culprit));
                    Flow::On
                }
                Ok(RestoreEvent::Catalogued) => {
                    self.tell_early(engine)?;
                    tell(engine, RestoreEvent::Catalogued, self.visitor, self.progress)?
                }
                Ok(RestoreEvent::Object { ino, .. }) => {
                    self.object = Some(ino);
                    Flow::On
                }
                Ok(RestoreEvent::Damage(damage)) if !self.tally.count(names::kind_of_damage(&damage)) => {
                    Flow::On
                }
                Ok(RestoreEvent::Failed(failure))
                    if !self.tally.count(names::kind_of_failure(failure.what)) =>
                {
                    Flow::On
                }
                Ok(event) => tell(engine, event, self.visitor, self.progress)?,
            };
            if flow == Flow::Enough {
                return Ok(engine.progress());
            }
            self.progress.step(|| {
                let done = engine.progress();
                Progressed { objects: done.objects, bytes: done.blocks * TAPE_BLOCK_LEN as u64 }
            });
        }
    }
}

/// After an early end: lets the target finish what it was given, and names what is not whole.
fn settle<V: TargetVolume>(target: &mut V, open: Option<&[u8]>)
where
    V::Error: Display,
{
    target.barrier();
    let mut tally = Tally::default();
    while let Some(failure) = target.poll_failure() {
        if tally.count(names::kind_of_failure(failure.what)) {
            eprintln!("tapedump: not restored, or not wholly: {}", failure.error);
        }
    }
    tally.rest().for_each(|rest| eprintln!("tapedump: {}", rest.line()));
    if let Some(path) = open {
        eprintln!("tapedump: {}: the last one begun; it may not be whole", printable(path));
    }
}

/// Goes to the tape file with the dump, by default the last one; gives its length where that is known.
fn find_file(spec: &TapeSpec, tape: &mut Box<dyn Tape>, file: Option<u32>) -> Result<Option<u64>, CliError> {
    let wrong = |what: String| {
        Err(CliError::from(
            TapeError::new(ErrorKind::NotFound, spec.to_string(), what)
                .advise("see what it holds with: tapedump tape info"),
        ))
    };
    match spec {
        TapeSpec::Virtual(dir) => {
            let (files, losses) =
                VirtualTape::inspect_losses(dir).map(|(label, losses)| (label.files, losses))?;
            let number = match file {
                Some(number) => number,
                None => last_file(&files, &losses, spec)?,
            };
            let (Some(found), Some(lost)) = (files.get(number as usize), losses.get(number as usize)) else {
                return wrong(format!("there is no tape file {number}; the last one is {}", files.len() - 1));
            };
            if found.records == 0 && *lost > 0 {
                return wrong(format!("tape file {number} is missing, with all of its {}", size(*lost)));
            }
            if found.records > 0 && (found.record_len as usize) < TAPE_BLOCK_LEN {
                let len = found.record_len;
                return wrong(format!("tape file {number} has records of {len} bytes, which no dump has"));
            }
            if number != 0 {
                let spaced =
                    tape.locate(TapePosition { file: number, record: 0 }).map_err(CliError::failed)?;
                if spaced != Spaced::Done {
                    return wrong(format!("there is no tape file {number}"));
                }
            }
            if file.is_none() && files.len() > 1 {
                eprintln!("reading tape file {number}, the last one of {}", spec);
            }
            Ok(Some(found.len))
        }
        _ if file.is_some_and(|file| file != 0) => wrong("there is one tape file only, number 0".into()),
        TapeSpec::File(path) => match std::fs::metadata(path) {
            Ok(metadata) if metadata.is_file() && metadata.len() == 0 => wrong("the file is empty".into()),
            Ok(metadata) if metadata.is_file() => Ok(Some(metadata.len())),
            _ => Ok(None),
        },
        TapeSpec::Standard | TapeSpec::Null => Ok(None),
    }
}

/// The tape file with the dump that was written last. One that is lost is not passed over: what is in the file
/// before it is an older dump.
fn last_file(files: &[TapeFile], losses: &[u64], spec: &TapeSpec) -> Result<u32, TapeError> {
    let last = files.iter().zip(losses).rposition(|(file, lost)| file.records > 0 || *lost > 0).ok_or_else(
        || {
            TapeError::new(
                ErrorKind::NotFound,
                spec.to_string(),
                "the tape is empty: nothing was written to it",
            )
            .advise("see what it holds with: tapedump tape info")
        },
    )?;
    let number = last as u32;
    match (files.get(last), losses.get(last)) {
        (Some(file), Some(lost)) if file.records == 0 && *lost > 0 => Err(TapeError::new(
            ErrorKind::NotFound,
            spec.to_string(),
            format!(
                "the newest dump is missing: nothing is left of tape file {number}, which had {}",
                size(*lost)
            ),
        )
        .advise("read an older dump with --file; see what there is with: tapedump tape info")),
        _ => {
            if last + 1 < files.len() {
                eprintln!("nothing was written to the tape files of {spec} behind number {number}");
            }
            Ok(number)
        }
    }
}

/// The tape on which the dump goes on. Without one the engine says what is missing.
fn next_tape<V: TargetVolume>(
    engine: &mut Engine<'_, V>,
    further: &mut VecDeque<TapeSpec>,
    number: u32,
    interrupt: &Interrupt,
    progress: &Progress,
) -> Result<(), CliError> {
    let Some(spec) = further.pop_front() else {
        progress.tell(&format!("tapedump: the dump goes on on tape {number}; name it with a further --tape"));
        return Ok(());
    };
    let mut tape = open(&spec, Mode::Read).map_err(CliError::failed)?;
    find_file(&spec, &mut tape, None)?;
    progress.tell(&format!("tape {number}: {spec}"));
    let tape = ahead_or_behind(tape, Mode::Read, AHEAD_LEN, 0, Stop::when(interrupt.flag()))?;
    drop(engine.next_tape(tape));
    Ok(())
}

/// Passes an event on to the visitor, and to the progress.
fn tell<V>(
    engine: &mut Engine<'_, V>,
    event: RestoreEvent<V::Error>,
    visitor: &mut impl Visitor<V>,
    progress: &mut Progress,
) -> Result<Flow, CliError>
where
    V: TargetVolume,
    V::Error: Display,
{
    match event {
        RestoreEvent::Dump(info) => visitor.dump(&info)?,
        RestoreEvent::Catalogued => visitor.catalogued(engine)?,
        RestoreEvent::Stage(stage) => {
            let (text, total) = match stage {
                RestoreStage::Catalog => ("stage 1: reading names", 0),
                RestoreStage::Directories => ("stage 2: directories", 0),
                RestoreStage::Files => ("stage 3: files", engine.progress().announced),
                RestoreStage::Attributes => ("stage 4: attributes of directories", 0),
            };
            progress.stage(text, total);
            return Ok(visitor.stage(stage));
        }
        RestoreEvent::Entry { ino, parent, directory, .. } => {
            visitor.entry(engine, Entry { ino, parent, directory }, progress)?;
        }
        RestoreEvent::Damage(damage) => {
            let culprit = engine.culprit().to_vec();
            visitor.finding(&names::damage(engine, &damage, &culprit), progress)?;
        }
        RestoreEvent::Failed(failure) => visitor.finding(&names::failure(engine, &failure), progress)?,
        _ => {}
    }
    Ok(Flow::On)
}

/// Why the engine stopped, with what the devices say.
fn explain<V: TargetVolume>(error: &EngineError<V>) -> String
where
    V::Error: Display,
{
    match error {
        RestoreError::Tape { at, source } => format!("the tape failed at {at} of the dump: {source}"),
        RestoreError::Target { source, .. } => {
            format!("the destination can take nothing more, and what follows is not restored: {source}")
        }
        RestoreError::Scratch(TableError::Device { source, .. }) => source.to_string(),
        RestoreError::Stream(ReaderError::NotADump { .. }) => format!("this tape holds no dump: {error}"),
        other => other.to_string(),
    }
}

/// Selects what the user named; what is not there is named before anything is written.
pub fn select<V: TargetVolume>(engine: &mut Engine<'_, V>, paths: &[Vec<u8>]) -> Result<(), CliError>
where
    V::Error: Display,
{
    let mut missing = Vec::new();
    for path in paths {
        match engine.select(path) {
            Ok(true) => {}
            Ok(false) => missing.push(printable(path)),
            Err(error) => return Err(CliError::Failed(explain::<V>(&error))),
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(CliError::Failed(format!("not on the dump: {}; see what is with: tapedump list", missing.join(", "))))
}

/// How a reading ended.
pub fn ended(summary: &RestoreSummary) -> Ended {
    if summary.is_good() { Ended::Done } else { Ended::Incomplete }
}

/// The bytes of a path argument.
pub fn path_bytes(paths: &[std::ffi::OsString]) -> Vec<Vec<u8>> {
    use std::os::unix::ffi::OsStrExt;
    paths.iter().map(|path| path.as_bytes().to_vec()).collect()
}
