//! The dumps of a chain that is read: found, opened and checked before anything is written.

use crate::cli::changer::Wanted;
use crate::cli::exit::CliError;
use crate::cli::increments::{TapeAt, chain_of, tapes_of};
use crate::cli::interrupt::Interrupt;
use crate::cli::list::utc;
use crate::cli::reading::directions;
use crate::cli::reading::first_header::{id_of, peek};
use crate::cli::reading::mending::Mending;
use crate::cli::reading::tape_file::{find_file, find_part};
use crate::cli::reading::tapes::Tapes;
use crate::cli::reading::{Engine, read_ahead};
use crate::state::StateDir;
use crate::tape::null::NullTape;
use crate::tape::{Mode, Tape, TapeError, TapeSpec, open};
use crate::text::printable_path;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use tapedump_core::device::ErrorKind;
use tapedump_core::device::tape::{Spaced, TapeDevice, TapePosition};
use tapedump_core::device::volume::TargetVolume;
use tapedump_core::engine::restore::{ChainStop, DumpInfo};
use tapedump_core::record::header::{HeaderKind, HeaderRepr};
use tapedump_core::units::{DumpId, TapeNo};

/// How much of an increment's chain is to be read.
#[derive(Clone, Copy, Debug)]
pub enum Scope<'a> {
    /// The dump alone.
    Dump,
    /// The whole chain; the tapes of the older dumps, where the user named them.
    Chain { bases: &'a [OsString] },
}

const UNKNOWN: &str = "the chain has no such dump";

/// More stops than these are worth reading ahead.
const STOPS_FEW: usize = 256;

/// Where a tape of a dump is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TapePlace {
    pub spec: TapeSpec,
    /// Its tape file there, if that is known.
    pub file: Option<u32>,
}

/// A dump of the chain.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its first tape.
    first: TapePlace,
    /// The further ones in order, as far as they are known.
    further: Vec<TapePlace>,
    id: Option<DumpId>,
    /// For messages.
    pub text: String,
}

/// The dumps of a chain, the newest first, of which one is being read.
#[derive(Clone, Debug)]
pub struct Sources {
    dumps: Vec<Source>,
    present: usize,
    /// Where in them the wanted paths are, when that is known: only these places are gone to.
    stops: Option<Vec<ChainStop>>,
}

impl Sources {
    /// Finds the chain of the dump before which `tape` stands; it stands there again afterwards. Gives the bytes of the older
    /// dumps' tape files, as far as they are known.
    pub fn find(
        tape: &mut Box<dyn Tape>,
        named: &[TapeSpec],
        scope: Scope<'_>,
        paths: &[Vec<u8>],
        state: &StateDir,
    ) -> Result<(Self, u64), CliError> {
        let (Some(spec), further) = (named.first(), named.get(1..).unwrap_or_default()) else {
            return Err(CliError::failed("no tape is named"));
        };
        let at = tape.position().unwrap_or_default();
        let first = TapePlace { spec: spec.clone(), file: Some(at.file) };
        let further = further.iter().map(|spec| TapePlace { spec: spec.clone(), file: None }).collect();
        let newest = Source { first, further, id: None, text: spec.to_string() };
        let mut sources = Self { dumps: vec![newest], present: 0, stops: None };
        let bases = match scope {
            Scope::Dump => &[],
            Scope::Chain { bases } => bases,
        };
        if !tape.capabilities().can_position {
            return if bases.is_empty() {
                Ok((sources, 0))
            } else {
                Err(CliError::failed(no_way_back(spec)))
            };
        }
        // What is no dump is refused where it is read.
        let Some(first) = peek(tape, at)? else { return Ok((sources, 0)) };
        let (id, header) = (first.id(), first.repr);
        if header.kind == HeaderKind::Tape && header.tape > TapeNo::FIRST {
            return Err(not_first(spec, header.tape, &tapes_of(state, id)?));
        }
        sources.dumps[0].id = Some(id);
        if sources.dumps[0].further.is_empty() {
            sources.dumps[0].further = tapes_of(state, id)?.into_iter().skip(1).map(TapePlace::of).collect();
        }
        if header.level == 0 || matches!(scope, Scope::Dump) {
            sources.find_stops(paths, state)?;
            return Ok((sources, 0));
        }
        let older = if bases.is_empty() {
            let level = header.level;
            let chain = chain_of(state, id)?.ok_or_else(|| {
                CliError::failed(format!(
                    "{spec}: this is an increment (level {level}), and the history does not have it: name the dumps it is \
                     based on with --base, or restore only what it holds with --only"
                ))
            })?;
            chain.into_iter().skip(1).map(|placed| from_history(&placed)).collect()
        } else {
            bases.iter().map(|base| from_argument(base, state)).collect::<Result<Vec<_>, _>>()?
        };
        sources.dumps.extend(older);
        sources.find_stops(paths, state)?;
        let len = sources.check(tape, at, header.base_date)?;
        Ok((sources, len))
    }

    /// Looks where the paths are, if all dumps are ones that the catalogs know.
    fn find_stops(&mut self, paths: &[Vec<u8>], state: &StateDir) -> Result<(), CliError> {
        let ids: Option<Vec<DumpId>> = self.dumps.iter().map(|dump| dump.id).collect();
        if let Some(ids) = ids.filter(|_| !paths.is_empty()) {
            self.stops = directions::find(state, &ids, paths)?;
        }
        Ok(())
    }

    /// The dumps from the newest on, where all of them are known.
    pub fn ids(&self) -> Option<Vec<DumpId>> {
        self.dumps.iter().map(|dump| dump.id).collect()
    }

    /// What a dump is on.
    pub fn spec(&self, index: usize) -> Option<&TapeSpec> {
        self.dumps.get(index).map(|source| &source.first.spec)
    }

    /// The place in the chain of the dump that is being read.
    pub const fn present(&self) -> usize {
        self.present
    }

    /// All is to be read once more, from the newest dump on, and read through.
    pub fn begin_again(&mut self, tapes: &mut Tapes) {
        self.present = 0;
        if let Some(newest) = self.dumps.first() {
            (tapes.present, tapes.number) = (newest.first.spec.clone(), 1);
        }
        self.stops = None;
    }

    /// Where on the dumps the wanted paths are, when that is known.
    pub fn stops(&self) -> Option<&[ChainStop]> {
        self.stops.as_deref()
    }

    /// Whether anything of the dump is wanted, as far as that is known.
    fn is_needed(&self, index: usize) -> bool {
        self.stops.as_ref().is_none_or(|stops| stops.iter().any(|stop| stop.dump as usize == index))
    }

    /// Opens every older dump that is needed, and names those that are not there.
    fn check(&self, tape: &mut Box<dyn Tape>, at: TapePosition, base_date: u32) -> Result<u64, CliError> {
        let mut missing = Vec::new();
        let mut sum = 0;
        let mut wanted = Some(base_date);
        for (index, source) in self.dumps.iter().enumerate().skip(1) {
            if !self.is_needed(index) {
                wanted = None;
                continue;
            }
            let checked = if source.first.spec == self.dumps[0].first.spec {
                source.check_on(tape)
            } else {
                source.look()
            };
            match checked {
                Ok((header, _)) if wanted.is_some_and(|wanted| header.date != wanted) => {
                    missing.push(format!(
                        "{}: the chain needs the dump of {} here, and this one is of {}",
                        source.text,
                        wanted.map_or_else(String::new, shown),
                        shown(header.date)
                    ));
                    break;
                }
                Ok((header, len)) => {
                    wanted = Some(header.base_date);
                    sum += len;
                }
                Err(why) => missing.push(format!("{}: {why}", source.text)),
            }
        }
        go_to(tape, at)?;
        if let Some(wanted) = wanted.filter(|wanted| *wanted != 0 && missing.is_empty()) {
            missing.push(format!("the dump of {}", shown(wanted)));
        }
        if missing.is_empty() {
            return Ok(sum);
        }
        Err(CliError::failed(format!(
            "nothing was restored: the chain is not whole: {}; name where they are with --base, or restore only what the \
             newest dump holds with --only",
            missing.join("; ")
        )))
    }

    /// So little is wanted that reading ahead would read more than that.
    pub fn is_short(&self) -> bool {
        self.stops.as_ref().is_some_and(|stops| stops.len() <= STOPS_FEW)
    }

    /// The tape file of the newest dump.
    pub fn file(&self) -> u32 {
        self.dumps.first().and_then(|dump| dump.first.file).unwrap_or(0)
    }

    /// How many dumps there are.
    pub fn len(&self) -> u32 {
        self.dumps.len() as u32
    }

    /// The engine found the dump that it was given: it must be the one that was meant.
    pub fn found(&self, info: &DumpInfo) -> Result<(), CliError> {
        match self.dumps.get(self.present) {
            Some(source) if source.id.is_some_and(|id| id != id_of(info)) => {
                Err(CliError::failed(format!("{}: another dump is there now", source.text)))
            }
            _ => Ok(()),
        }
    }

    /// Opens the first tape of a dump that was read before, and goes there.
    pub fn reopen(&self, index: usize) -> Result<Box<dyn Tape>, CliError> {
        let wanted = self.dumps.get(index).ok_or_else(|| CliError::failed(UNKNOWN))?;
        let TapePlace { spec, file } = &wanted.first;
        let mut tape = open(spec, Mode::Read)?;
        match (wanted.id, file) {
            (_, Some(_)) => wanted.go_on(&mut tape)?,
            (Some(id), None) => find_part(spec, &mut tape, id, 1)?,
            (None, None) => drop(find_file(spec, &mut tape, None)?),
        }
        Ok(tape)
    }

    /// Where a tape of the dump that is read is, if that is known.
    pub fn place(&self, number: u32) -> Option<&TapePlace> {
        let source = self.dumps.get(self.present)?;
        match number.checked_sub(2) {
            None => Some(&source.first),
            Some(index) => source.further.get(index as usize),
        }
    }

    /// Tapes of the newest dump, as far as they are known.
    pub fn tapes(&self) -> u32 {
        self.dumps.first().map_or(1, |dump| 1 + dump.further.len() as u32)
    }

    /// Gives the engine the dump it asked for.
    pub fn give<V: TargetVolume>(
        &mut self,
        engine: &mut Engine<'_, V>,
        index: u32,
        tapes: &mut Tapes,
        mending: &Mending,
        interrupt: &Interrupt,
    ) -> Result<(), CliError> {
        let unknown = || CliError::failed(UNKNOWN);
        let wanted = self.dumps.get(index as usize).ok_or_else(unknown)?;
        let TapePlace { spec, file } = &wanted.first;
        let is_drive = matches!(spec, TapeSpec::Drive(_));
        if *spec == tapes.present && (tapes.number == 1 || !is_drive) && mending.is_empty() {
            wanted.go_on(engine.tape_mut())?;
            drop(engine.next_dump(None));
        } else {
            // Closed before the next one is put in, since both may be in one drive.
            drop(engine.next_dump(Some(Box::new(NullTape::default()))));
            if *spec == tapes.present && tapes.number != 1 && is_drive {
                let why = format!("{spec}: the {} begins on another tape", wanted.text);
                let asked = Wanted { purpose: "read", number: 1, label: &tapes.label };
                if tapes.further.bring(&asked, spec, &why, interrupt)?.is_none() {
                    return Err(CliError::failed(format!(
                        "{why}; put it in, and name the command that changes tapes with --changer"
                    )));
                }
            }
            let tape = if mending.is_empty() {
                let mut tape = open(spec, Mode::Read)?;
                match (wanted.id, file) {
                    (Some(id), None) => find_part(spec, &mut tape, id, 1)?,
                    _ => drop(find_file(spec, &mut tape, *file)?),
                }
                tape
            } else {
                self.reopen(index as usize)?
            };
            let tape = if self.is_short() { tape } else { read_ahead(spec, tape, interrupt)? };
            drop(engine.next_dump(Some(mending.over(index as usize, tape))));
        }
        tapes.dump = wanted.id;
        (tapes.present, tapes.number) = (spec.clone(), 1);
        self.present = index as usize;
        Ok(())
    }
}

impl TapePlace {
    fn of(at: TapeAt) -> Self {
        let spec =
            if at.path == OsStr::new("-") { TapeSpec::Standard } else { TapeSpec::of_existing(&at.path) };
        Self { spec, file: Some(at.file) }
    }

    /// The history has it here, and it is not there any more. One that is named by the user is not lost but misspelt.
    pub fn is_lost(&self) -> bool {
        match &self.spec {
            TapeSpec::Virtual(path) | TapeSpec::File(path) => {
                self.file.is_some() && path.try_exists().is_ok_and(|exists| !exists)
            }
            _ => false,
        }
    }
}

impl Source {
    /// Whether the dump is where it was written; gives its header, and the length of its tape file as far as it is known.
    pub fn look(&self) -> Result<(HeaderRepr, u64), String> {
        if self.first.spec == TapeSpec::Standard {
            return Err("it went through a pipe: name where it is now with --base".into());
        }
        if matches!(&self.first.spec, TapeSpec::File(path) if path.as_os_str().is_empty()) {
            return Err("it is not known any more where it was written: name where it is with --base".into());
        }
        let mut tape = open(&self.first.spec, Mode::Read).map_err(|error| error.to_string())?;
        self.check_on(&mut tape)
    }

    /// Whether the dump is on this tape; gives its header, and the length of its tape file as far as it is known.
    fn check_on(&self, tape: &mut Box<dyn Tape>) -> Result<(HeaderRepr, u64), String> {
        let rewound = go_to(tape, TapePosition::default());
        let found = rewound.and_then(|()| find_file(&self.first.spec, tape, self.first.file));
        let len = found.map_err(|error| error.to_string())?;
        let at = tape.position().map_err(|error| error.to_string())?;
        let first = peek(tape, at).map_err(|error| error.to_string())?.ok_or("there is no dump")?;
        if self.id.is_some_and(|id| id != first.id()) {
            return Err("another dump is there now".into());
        }
        Ok((first.repr, len.map_or(0, |(_, len)| len)))
    }

    fn go_on(&self, tape: &mut Box<dyn Tape>) -> Result<(), CliError> {
        go_to(tape, TapePosition { file: self.first.file.unwrap_or(0), record: 0 }).map_err(CliError::failed)
    }
}

fn shown(date: u32) -> String {
    utc(date.into())
}

fn no_way_back(spec: &TapeSpec) -> String {
    format!(
        "{spec}: a chain is read from tapes that can go back, and this one cannot; save it to a file first"
    )
}

pub fn go_to(tape: &mut Box<dyn Tape>, at: TapePosition) -> Result<(), TapeError> {
    let gone =
        if at == TapePosition::default() { tape.rewind().map(|()| Spaced::Done) } else { tape.locate(at) };
    match gone? {
        Spaced::Done => Ok(()),
        _ => Err(TapeError::new(ErrorKind::NotFound, "tape", format!("there is no tape file {}", at.file))),
    }
}

pub fn from_history(placed: &crate::cli::increments::Placed) -> Source {
    let mut tapes = placed.tapes.iter().cloned().map(TapePlace::of);
    // A file without a name is nowhere.
    let nowhere = || TapePlace { spec: TapeSpec::File(PathBuf::new()), file: None };
    let first = tapes.next().unwrap_or_else(nowhere);
    Source { first, further: tapes.collect(), id: Some(placed.id), text: placed.text() }
}

/// Reading begins with the first tape.
fn not_first(spec: &TapeSpec, found: TapeNo, tapes: &[TapeAt]) -> CliError {
    let first =
        tapes.first().map_or_else(String::new, |first| format!(": it is {}", printable_path(&first.path)));
    CliError::failed(format!(
        "{spec}: this is tape {} of a dump; name its first tape{first}, and the further ones behind it",
        found.0
    ))
}

/// `TAPE` or `TAPE:N`.
pub fn from_argument(argument: &OsStr, state: &StateDir) -> Result<Source, CliError> {
    let library = state.library();
    let bytes = argument.as_bytes();
    let split = bytes.iter().rposition(|byte| *byte == b':').and_then(|at| {
        let number = std::str::from_utf8(&bytes[at + 1..]).ok()?.parse::<u32>().ok()?;
        Some((OsStr::from_bytes(&bytes[..at]), number))
    });
    let (tape, file) = match split {
        Some((tape, number)) if !std::path::Path::new(argument).exists() => (tape, Some(number)),
        _ => (argument, None),
    };
    let spec = TapeSpec::resolve(tape, &library, Mode::Read)?;
    let text = spec.to_string();
    Ok(Source { first: TapePlace { spec, file }, further: Vec::new(), id: None, text })
}
