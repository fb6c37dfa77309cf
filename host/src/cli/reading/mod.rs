//! What restore, list and verify share: finding the dump, lending the memory, driving the engine.

pub mod directions;
mod ending;
pub mod first_header;
mod front;
mod front_of_catalog;
mod mending;
pub mod names;
pub mod repeats;
pub mod sources;
pub mod tape_file;
mod tapes;
mod visitor;

use self::ending::{Stopped, explain, list_awaiting, list_missing, settle};
use self::mending::{Ending, Found, Mending, Survey};
use self::names::{Finding, Kind, Purpose};
use self::repeats::Repeats;
use self::sources::{Scope, Sources};
use self::tape_file::find_file;
use self::tapes::Tapes;
pub use self::visitor::{Entry, Flow, Visitor};
use crate::checksum::HostCrc32c;
use crate::cli::changer::{Wanted, with_changes};
use crate::cli::exit::{CliError, Ended};
use crate::cli::further::Further;
use crate::cli::increments::UsedTape;
use crate::cli::interrupt::Interrupt;
use crate::cli::journal::Journal;
use crate::cli::progress::{Progress, Progressed};
use crate::cli::raw::From;
use crate::state::StateDir;
use crate::state::backup_log::LogEvent;
use crate::state::scratch::ScratchDevice;
use crate::tape::null::NullTape;
use crate::tape::{Mode, Stop, Tape, TapeError, TapeSpec, ahead_or_behind, open};
use crate::text::printable;
use std::fmt::Display;
use std::path::PathBuf;
use tapedump_core::device::volume::{FailedPart, TargetVolume};
use tapedump_core::device::{DeviceError, ErrorKind};
use tapedump_core::engine::restore::{
    LINUX_XATTRS_LEN_MAX, Reduction, Restore, RestoreError, RestoreEvent, RestoreMemory, RestoreStage,
    RestoreSummary, Selected,
};
use tapedump_core::limits::{MAP_LEN_MAX, SEGMENT_LEN_MAX};
use tapedump_core::stream::reader::ReaderError;
use tapedump_core::units::{BlockAddr, DumpId, Ino, TAPE_BLOCK_LEN};

/// The engine as the host puts it together.
pub type Engine<'m, V> = Restore<'m, Box<dyn Tape>, V, ScratchDevice, HostCrc32c>;

/// The longest record that is read: Linux `dump` writes up to 1,024 tape blocks, we no more than 256.
pub const RECORD_LEN_MAX: usize = 1024 * TAPE_BLOCK_LEN;
/// Bytes read ahead of the restore.
const AHEAD_LEN: usize = 8 << 20;
/// For sorting names.
const NAMES_LEN: usize = 8 << 20;
const MAPS: usize = 6;
const CHAIN_MAPS: usize = 3;
/// Damage that waits for the names.
const EARLY_MAX: usize = 10_000;

/// A dump about to be read.
pub struct Reading {
    tape: Box<dyn Tape>,
    tapes: Tapes,
    /// The tapes that the user named.
    named: Vec<TapeSpec>,
    sources: Sources,
    /// The tape, for messages.
    pub name: String,
    /// Bytes of the tape file, where that is known: no more file data than this is on it.
    pub len: Option<u64>,
    /// The plain file with the dump, where it is in one; the dump is on this tape only.
    pub data: Option<PathBuf>,
    state: StateDir,
    /// Where it is noted, if it is.
    journal: Option<Journal>,
}

impl Reading {
    /// What it does is noted.
    pub fn noted(self, journal: Option<&Journal>) -> Self {
        Self { journal: journal.cloned(), ..self }
    }

    /// Finds and opens the dump that the arguments name. Where `paths` are given, only these are going to be selected, and the
    /// reading goes straight to them if the catalogs tell where they are.
    pub fn open(
        from: &From,
        scope: Scope<'_>,
        paths: &[Vec<u8>],
        state: &StateDir,
        interrupt: &Interrupt,
    ) -> Result<Self, CliError> {
        let library = state.library();
        let mut specs = Vec::new();
        for tape in &from.tape {
            specs.push(TapeSpec::resolve(tape, &library, Mode::Read)?);
        }
        if specs.is_empty() {
            let newest = library.newest()?;
            eprintln!("reading {}, the newest tape of the library", newest.name);
            specs.push(TapeSpec::Virtual(newest.path));
        }
        let spec = specs.first().cloned().unwrap_or(TapeSpec::Null);
        let further = Further::new(&from.cartridges, &specs, library, Mode::Read)?;
        let wanted = Wanted { purpose: "read", number: 1, label: "" };
        let (mut tape, found) = with_changes(further.changer.as_ref(), &spec, &wanted, interrupt, || {
            let mut tape = open(&spec, Mode::Read)?;
            let found = find_file(&spec, &mut tape, from.file)?;
            Ok((tape, found))
        })?;
        let (sources, older_len) = Sources::find(&mut tape, &specs, scope, paths, state)?;
        let tape = if sources.is_short() { tape } else { read_ahead(&spec, tape, interrupt)? };
        let name = spec.to_string();
        let (data, len) = found.unzip();
        let len = len.map(|len| len + older_len);
        let data = data.filter(|_| sources.tapes() == 1 && sources.len() == 1);
        let tapes = Tapes::new(spec, further);
        let named = specs;
        Ok(Self { tape, tapes, named, sources, name, len, data, state: state.clone(), journal: None })
    }

    /// The tape file with the dump.
    pub fn file(&self) -> u32 {
        self.sources.file()
    }

    /// The dumps that are read, from the newest on, where all of them are known.
    pub fn ids(&self) -> Option<Vec<DumpId>> {
        self.sources.ids()
    }

    /// Reads the dump over `target`. Gives the target back, and how it ended: `None` where the visitor had enough.
    pub fn run<V>(
        mut self,
        target: V,
        visitor: &mut impl Visitor<V>,
        interrupt: &Interrupt,
    ) -> Result<(V, RestoreSummary), CliError>
    where
        V: TargetVolume,
        V::Error: Display,
    {
        let tape = std::mem::replace(&mut self.tape, Box::new(NullTape::default()));
        let (target, survey, found) = match self.read(tape, target, visitor, interrupt, None)? {
            Ending::Over(target, summary) => return Ok((target, summary)),
            Ending::Again(target, survey, found) => (target, survey, found),
        };
        self.sources.begin_again(&mut self.tapes);
        let mending = Mending::gather(&self.sources, &survey, found, &self.state, interrupt)?;
        let tape = read_ahead(&self.tapes.present, self.sources.reopen(0)?, interrupt)?;
        let tape = mending.over(0, tape);
        match self.read(tape, target, visitor, interrupt, Some(mending))? {
            Ending::Over(target, summary) => Ok((target, summary)),
            Ending::Again(..) => Err(CliError::failed("the tapes change while they are read")),
        }
    }

    /// Reads it, and gives up when all names are read if there may be copies of what is damaged, unless this is what was
    /// gathered of them.
    fn read<V>(
        &mut self,
        tape: Box<dyn Tape>,
        target: V,
        visitor: &mut impl Visitor<V>,
        interrupt: &Interrupt,
        mending: Option<Mending>,
    ) -> Result<Ending<V>, CliError>
    where
        V: TargetVolume,
        V::Error: Display,
    {
        let scratch = ScratchDevice::new(self.state.scratch_file()?);
        let mut stream = vec![0; RECORD_LEN_MAX + TAPE_BLOCK_LEN + SEGMENT_LEN_MAX];
        let mut names = vec![0; NAMES_LEN];
        let mut attributes = [0; LINUX_XATTRS_LEN_MAX];
        // Pages that no number on the tape touches are never there.
        // Not reserved either: a machine with less memory than address space would refuse it.
        let mut maps = memmap2::MmapOptions::new()
            .len((MAPS + CHAIN_MAPS) * MAP_LEN_MAX)
            .no_reserve_swap()
            .map_anon()
            .map_err(|error| {
                CliError::failed(format!("no address space for the maps of the dump: {error}"))
            })?;
        let (maps, chain) = maps.split_at_mut(MAPS * MAP_LEN_MAX);
        let memory = RestoreMemory {
            stream: &mut stream,
            maps,
            chain,
            names: &mut names,
            attributes: &mut attributes,
        };
        let Self { tapes, named, sources, name, journal, state, .. } = self;
        let stops = sources.stops().map(<[_]>::to_vec);
        let mut route = stops.as_deref();
        let mut engine = Engine::of_chain(tape, target, scratch, memory, sources.len())
            .map_err(|error| CliError::Failed(format!("{name}: {}", explain::<V>(&error))))?;
        if let Some(route) = &mut route {
            engine.go_along(route);
        }
        engine.leave_out(visitor.left_out());
        if visitor.directories_only() {
            engine.directories_only();
        }
        let mut progress = Progress::noted(journal.clone());
        progress.note(LogEvent::TapeOpen, name);
        let survey = (mending.is_none() && visitor.takes_copies()).then(Survey::default);
        let mut drive = Drive {
            tapes,
            named,
            sources,
            visitor,
            interrupt,
            progress: &mut progress,
            is_again: mending.is_some(),
            survey,
            moved: false,
            mending: mending.unwrap_or_default(),
            state,
            made_good: 0,
            object: None,
            lost: false,
            enough: false,
            early: Some(Vec::new()),
            repeats: Repeats::default(),
        };
        let ended = drive.run(&mut engine);
        if let (Err(Stopped::Again), Some(survey)) = (&ended, drive.survey.take()) {
            let found = drive.early.take().unwrap_or_default();
            progress.end();
            return Ok(Ending::Again(engine.into_devices().1, survey, found));
        }
        let told = drive.tell_early(&mut engine).and_then(|()| drive.tell_rest::<V>());
        let ended = ended.and_then(|summary| drive.tell_unread::<V>(summary).map_err(Stopped::from));
        let ended = ended.and_then(|summary| told.map(|()| summary).map_err(Stopped::from));
        let purpose = drive.visitor.purpose();
        let open = drive.object.and_then(|ino| names::path_of(&mut engine, ino));
        let lists_missing = drive.visitor.restores_what_fits();
        progress.end();
        let missing = match &ended {
            Err(Stopped::Full(_)) if lists_missing => {
                Some(list_missing(&mut engine) + list_awaiting(&mut engine))
            }
            _ => None,
        };
        let (_, mut target, _) = engine.into_devices();
        progress.note(LogEvent::TapeClose, name);
        match ended {
            Ok(summary) => Ok(Ending::Over(target, summary)),
            Err(error) => {
                if purpose == Purpose::Restore {
                    settle(&mut target, open.as_deref());
                }
                Err(error.told(name, missing))
            }
        }
    }
}

/// The engine's steps, and what is told of them.
struct Drive<'a, W> {
    tapes: &'a mut Tapes,
    named: &'a [TapeSpec],
    sources: &'a mut Sources,
    visitor: &'a mut W,
    interrupt: &'a Interrupt,
    progress: &'a mut Progress,
    /// The object that began last.
    object: Option<Ino>,
    /// Parts of the tape could not be used.
    lost: bool,
    /// The visitor did not want to see the end.
    enough: bool,
    /// Damage found before the names are known, with the name it is about: told as soon as they are.
    early: Option<Vec<Found>>,
    repeats: Repeats,
    /// The names are read for the second time, and the visitor was told what comes before them.
    is_again: bool,
    /// What is found before the names are known, where the reading may begin again.
    survey: Option<Survey>,
    /// Another tape of a dump was asked for.
    moved: bool,
    mending: Mending,
    state: &'a StateDir,
    /// Damage of which the copies had what was lost.
    made_good: u64,
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
            if self.repeats.count(names::kind_of_damage(&damage)) {
                let finding = names::damage(engine, &damage, &culprit, true);
                self.visitor.finding(&finding, self.progress)?;
            }
        }
        Ok(())
    }

    /// Tells what the target cannot hold: each loss, and of what only has another form there one of each kind.
    fn tell_reduced<V>(
        &mut self,
        engine: &mut Engine<'_, V>,
        ino: Ino,
        what: Reduction,
    ) -> Result<(), CliError>
    where
        V: TargetVolume,
        W: Visitor<V>,
    {
        if !what.is_loss() && self.visitor.purpose() == Purpose::Look {
            return Ok(());
        }
        let (kind, text) = names::reduction(what);
        let is_told = if what.is_loss() { self.repeats.count(kind) } else { self.repeats.count_once(kind) };
        let finding_kind = if what.is_loss() { Kind::Reduced } else { Kind::Adapted };
        let finding = Finding::about(finding_kind, Some(ino), names::path_of(engine, ino), text);
        if is_told {
            return self.visitor.finding(&finding, self.progress);
        }
        self.visitor.unlisted(&finding);
        Ok(())
    }

    /// Tells how many findings there were beside those that were told.
    fn tell_rest<V>(&mut self) -> Result<(), CliError>
    where
        V: TargetVolume,
        W: Visitor<V>,
    {
        let rest = std::mem::take(&mut self.repeats).rest();
        rest.into_iter().try_for_each(|rest| self.visitor.finding(&rest, self.progress))
    }

    /// Tells of the tapes that were named and not needed: a user takes them for restored.
    fn tell_unread<V>(&mut self, mut summary: RestoreSummary) -> Result<RestoreSummary, CliError>
    where
        V: TargetVolume,
        W: Visitor<V>,
    {
        // Going straight to what is wanted, not all are.
        if self.enough || self.sources.stops().is_some() {
            return Ok(summary);
        }
        for spec in self.named.iter().skip(self.tapes.highest as usize) {
            let text = format!("{spec}: this tape was not read: the dump ends before it; name it alone");
            self.visitor.finding(&Finding::about(Kind::Failure, None, None, text), self.progress)?;
            summary.failed += 1;
        }
        Ok(summary)
    }

    fn run<V>(&mut self, engine: &mut Engine<'_, V>) -> Result<RestoreSummary, Stopped>
    where
        V: TargetVolume,
        V::Error: Display,
        W: Visitor<V>,
    {
        let restores = self.visitor.purpose() == Purpose::Restore;
        let interrupted = || {
            let cause = self.interrupt.cause();
            CliError::failed(if restores {
                format!(
                    "{cause}; what was restored so far stays, the rest is missing; restore again to have it all"
                )
            } else {
                format!("{cause}; the rest of the dump was not looked at; start again to see all of it")
            })
        };
        loop {
            if self.interrupt.is_set() {
                return Err(interrupted().into());
            }
            let event = engine.step();
            if let Ok(event) = &event
                && !self.is_again
            {
                self.visitor.event(engine, event)?;
            }
            let flow = match event {
                Err(_) if self.interrupt.is_set() => return Err(interrupted().into()),
                Err(RestoreError::Stream(ReaderError::WrongTape { wanted, .. }))
                    if self.tapes.may_change() =>
                {
                    let why = format!("{}: this is not tape {} of the dump", self.tapes.present, wanted.0);
                    self.moved = true;
                    self.tapes.changes += 1;
                    self.tapes.change(engine, wanted.0, &why, self.interrupt, self.progress)?;
                    Flow::On
                }
                // It is the destination's matter, and not the tape's.
                Err(error @ RestoreError::Target { .. }) => {
                    return Err(Stopped::Full(explain::<V>(&error)));
                }
                Err(error) => return Err(Stopped::Engine(explain::<V>(&error))),
                Ok(RestoreEvent::Done(summary)) => return Ok(self.counted(summary)),
                Ok(RestoreEvent::NeedTape(number)) => {
                    let place = self.sources.place(number.0);
                    self.tapes.bring(engine, number.0, place, self.interrupt, self.progress)?;
                    if self.tapes.number == number.0 {
                        self.moved = true;
                        let (spec, begin) = (self.tapes.present.clone(), self.tapes.begin);
                        self.visitor.tape(UsedTape {
                            spec,
                            begin,
                            first: BlockAddr(engine.progress().blocks),
                        });
                    } else {
                        self.lost = true;
                    }
                    Flow::On
                }
                Ok(RestoreEvent::NeedDump { index }) => {
                    self.sources.give(engine, index, self.tapes, &self.mending, self.interrupt)?;
                    Flow::On
                }
                Ok(RestoreEvent::Damage(damage)) if self.is_early() => {
                    self.lost |= names::may_lose_objects(&damage);
                    let culprit = engine.culprit().to_vec();
                    if let Some(survey) = &mut self.survey {
                        survey.damage(self.sources.present(), &damage);
                    }
                    self.early.get_or_insert_default().push((damage, culprit));
                    Flow::On
                }
                Ok(RestoreEvent::Catalogued) => {
                    if self.is_to_begin_again() {
                        return Err(Stopped::Again);
                    }
                    self.survey = None;
                    self.is_again = false;
                    self.tell_mended(engine)?;
                    self.tell_early(engine)?;
                    self.visitor.catalogued(engine)?;
                    Flow::On
                }
                Ok(RestoreEvent::Object { ino, .. }) => {
                    self.object = Some(ino);
                    self.visitor.object(ino);
                    Flow::On
                }
                Ok(RestoreEvent::Damage(damage)) => {
                    self.survey = None;
                    self.lost |= names::may_lose_objects(&damage);
                    let culprit = engine.culprit().to_vec();
                    let finding = names::damage(engine, &damage, &culprit, self.lost);
                    if self.repeats.count(names::kind_of_damage(&damage)) {
                        self.visitor.finding(&finding, self.progress)?;
                    } else {
                        self.visitor.unlisted(&finding);
                    }
                    Flow::On
                }
                Ok(RestoreEvent::Reduced { ino, what }) => {
                    self.tell_reduced(engine, ino, what)?;
                    Flow::On
                }
                Ok(RestoreEvent::Failed(failure)) => {
                    let finding = names::failure(engine, &failure, self.visitor.purpose());
                    let is_told = match (failure.what, failure.error.kind()) {
                        (FailedPart::Property(kind), ErrorKind::Unsupported) => {
                            self.repeats.count_once(names::kind_of_unsupported(kind))
                        }
                        (what, _) => self.repeats.count(names::kind_of_failure(what)),
                    };
                    if is_told {
                        self.visitor.finding(&finding, self.progress)?;
                    } else {
                        self.visitor.unlisted(&finding);
                    }
                    Flow::On
                }
                Ok(event) => {
                    if let RestoreEvent::Dump(info) = &event {
                        if info.is_catalog {
                            let what = "this is the catalog of a dump, and not a dump";
                            return Err(Stopped::Engine(what.into()));
                        }
                        self.sources.found(info)?;
                        if let Some(survey) = &mut self.survey {
                            survey.found(self.sources.present(), info.id);
                        }
                        self.tapes.label = printable(label_text(&info.label));
                        self.tapes.dump = info.id;
                    }
                    if self.is_again { Flow::On } else { tell(engine, event, self.visitor, self.progress)? }
                }
            };
            if flow == Flow::Enough {
                self.enough = true;
                return Ok(self.counted(engine.progress()));
            }
            self.progress.step(|| {
                let done = engine.progress();
                Progressed { objects: done.objects, bytes: done.blocks * TAPE_BLOCK_LEN as u64 }
            });
        }
    }
}

/// The tape, read ahead of the engine.
pub fn read_ahead(
    spec: &TapeSpec,
    tape: Box<dyn Tape>,
    interrupt: &Interrupt,
) -> Result<Box<dyn Tape>, TapeError> {
    ahead_or_behind(spec, tape, Mode::Read, AHEAD_LEN, 0, Stop::when(interrupt.flag()))
}

/// A label without the NULs behind it.
fn label_text(label: &[u8]) -> &[u8] {
    label.split(|byte| *byte == 0).next().unwrap_or_default()
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
        _ => {}
    }
    Ok(Flow::On)
}

/// Selects what the user named; what is not there is named before anything is written.
pub fn select<V: TargetVolume>(engine: &mut Engine<'_, V>, paths: &[Vec<u8>]) -> Result<(), CliError>
where
    V::Error: Display,
{
    let (mut missing, mut unchanged) = (Vec::new(), Vec::new());
    for path in paths {
        match engine.select(path) {
            Ok(Selected::Yes) => {}
            Ok(Selected::NotOnDump) => unchanged.push(printable(path)),
            Ok(Selected::NoSuchPath) => missing.push(printable(path)),
            Err(error) => return Err(CliError::Failed(explain::<V>(&error))),
        }
    }
    let mut why = Vec::new();
    if !missing.is_empty() {
        why.push(directions::not_there(&missing));
    }
    if !unchanged.is_empty() {
        let paths = unchanged.join(", ");
        why.push(format!("only named on this increment, and held by a dump it is based on: {paths}"));
    }
    if why.is_empty() { Ok(()) } else { Err(CliError::Failed(why.join("; "))) }
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
