//! `tapedump catalog rebuild`: catalogs and history from tapes alone.

use super::super::exit::{CliError, Ended};
use super::super::interrupt::Interrupt;
use super::super::progress::count;
use super::entry::Found;
use crate::checksum::HostCrc32c;
use crate::cli::increments::UsedTape;
use crate::cli::list::utc;
use crate::cli::raw::{From, Rebuild as Raw};
use crate::cli::reading::first_header::{first_header, id_of, until_nul};
use crate::cli::reading::sources::Scope;
use crate::cli::reading::tape_file::{self, is_there, last_dump};
use crate::cli::reading::{Engine, RECORD_LEN_MAX, Reading, Visitor};
use crate::cli::tape::dumps::look_for_catalog;
use crate::state::StateDir;
use crate::state::catalogs::{self, HostCatalogWriter};
use crate::state::history::HistoryFile;
use crate::tape::label::data_path;
use crate::tape::virtual_tape::VirtualTape;
use crate::tape::{Mode, Tape, TapeSpec, open};
use crate::text::{printable, size};
use std::io::{self, Write};
use tapedump_core::catalog::CatalogIdentity;
use tapedump_core::chain::Outcome;
use tapedump_core::device::mem::NullTarget;
use tapedump_core::device::tape::{Spaced, TapeDevice, TapePosition};
use tapedump_core::engine::catalog_file::{CatalogFileReader, CatalogReadError, CatalogReadStep};
use tapedump_core::engine::rebuild::Rebuild;
use tapedump_core::engine::restore::{DumpInfo, RestoreEvent};
use tapedump_core::units::{DumpId, Level, TapeNo};

pub fn run(raw: &Raw, state: &StateDir) -> Result<Ended, CliError> {
    let interrupt = Interrupt::install()?;
    let library = state.library();
    let spec = match raw.from.tape.first() {
        Some(tape) => TapeSpec::resolve(tape, &library, Mode::Read)?,
        None => {
            let newest = library.newest()?;
            eprintln!("reading {}, the newest tape of the library", newest.name);
            TapeSpec::Virtual(newest.path)
        }
    };
    let mut ended = Ended::Done;
    let mut made = 0;
    for file in files(raw, &spec)? {
        let work = Work { raw, state, spec: &spec, file, interrupt: &interrupt };
        match work.run() {
            Ok(Ended::Done) => {}
            Ok(other) => ended = other,
            // The others on the tape are looked at all the same.
            Err(error) if raw.all && !interrupt.is_set() => {
                eprintln!("tapedump: {error}");
                ended = Ended::Incomplete;
                continue;
            }
            Err(error) => return Err(error),
        }
        made += 1;
    }
    if made == 0 {
        return Err(CliError::failed(format!("{spec}: there is no dump whose catalog could be made")));
    }
    Ok(ended)
}

/// The tape files with the dumps that are wanted; `None` where the tape has one only, or the last one is wanted.
fn files(raw: &Raw, spec: &TapeSpec) -> Result<Vec<Option<u32>>, CliError> {
    if raw.from.file.is_some() {
        return Ok(vec![raw.from.file]);
    }
    match spec {
        TapeSpec::Virtual(dir) => {
            let files = VirtualTape::inspect(dir)?.files;
            if !raw.all {
                return Ok(vec![last_dump(dir, &files)?]);
            }
            let numbered = (0..).zip(&files).filter(|(_, file)| file.records > 0);
            let dumps = numbered.filter(|(number, file)| !tape_file::is_catalog(dir, *number, file.len));
            Ok(dumps.map(|(number, _)| Some(number)).collect())
        }
        TapeSpec::Drive(_) if raw.all => {
            let mut tape = open(spec, Mode::Read)?;
            let mut dumps = Vec::new();
            for number in 0.. {
                match is_there(&mut tape, number)? {
                    tape_file::Found::Nothing => break,
                    tape_file::Found::Catalog => {}
                    tape_file::Found::Other => dumps.push(Some(number)),
                }
            }
            Ok(dumps)
        }
        _ => Ok(vec![None]),
    }
}

/// One dump.
struct Work<'a> {
    raw: &'a Raw,
    state: &'a StateDir,
    spec: &'a TapeSpec,
    file: Option<u32>,
    interrupt: &'a Interrupt,
}

impl Work<'_> {
    fn run(&self) -> Result<Ended, CliError> {
        if !self.raw.scan
            && let Some(found) = self.copy()?
        {
            return self.end(found, "from the catalog behind it", Ended::Done);
        }
        let (found, ended) = self.scan()?;
        self.end(found, "by reading the dump", ended)
    }

    /// Takes the catalog behind the dump, if there is one that is whole.
    fn copy(&self) -> Result<Option<Found>, CliError> {
        if !matches!(self.spec, TapeSpec::Virtual(_) | TapeSpec::Drive(_)) {
            return Ok(None);
        }
        let mut tape = open(self.spec, Mode::Read)?;
        tape_file::find_file(self.spec, &mut tape, self.file)?;
        let file = tape.position()?.file;
        let Some(first) = first_header(&mut tape)? else { return Ok(None) };
        if first.repr.tape > TapeNo::FIRST {
            // It does not tell where the tapes before are.
            return Ok(None);
        }
        let Some(id) = first.repr.extension.map(|extension| extension.dump_id) else { return Ok(None) };
        let behind = file + 1;
        let is_there = match self.spec {
            TapeSpec::Virtual(dir) => {
                let files = VirtualTape::inspect(dir)?.files;
                files.get(behind as usize).is_some_and(|found| {
                    look_for_catalog(&data_path(dir, behind), found.len).is_ok_and(|found| found.is_some())
                })
            }
            _ => is_there(&mut tape, behind)? == tape_file::Found::Catalog,
        };
        if !is_there || tape.locate(TapePosition { file: behind, record: 0 })? != Spaced::Done {
            return Ok(None);
        }
        let found = self.take(&mut tape, id, file);
        if found.is_err() {
            catalogs::give_up(self.state, id);
        }
        match found {
            Ok(found) => Ok(Some(found)),
            Err(_) if self.interrupt.is_set() => Err(interrupted()),
            Err(why) => {
                eprintln!(
                    "tapedump: {}, tape file {behind}: the catalog there cannot be used: {why}; reading the dump instead",
                    self.spec
                );
                Ok(None)
            }
        }
    }

    fn take(&self, tape: &mut Box<dyn Tape>, id: DumpId, file: u32) -> Result<Found, String> {
        let device = catalogs::device_anew(self.state, id).map_err(|error| error.to_string())?;
        let mut record = vec![0; RECORD_LEN_MAX];
        let explain = |error| match error {
            CatalogReadError::Tape(error) => format!("{error}"),
            CatalogReadError::Device(error) => format!("{error}"),
            other => format!("{other}"),
        };
        let mut reader = CatalogFileReader::<_, _, HostCrc32c>::new(tape, device, 0, Some(id), &mut record)
            .map_err(explain)?;
        loop {
            if self.interrupt.is_set() {
                return Err("interrupted".into());
            }
            if let CatalogReadStep::Done(_) = reader.step().map_err(explain)? {
                break;
            }
        }
        let head = reader.head().map_err(|error| format!("{error:?}"))?;
        catalogs::replace(self.state, id).map_err(|error| error.to_string())?;
        let mut memory = vec![0; catalogs::MEMORY_LEN];
        let catalog = catalogs::open(self.state, id, &mut memory).map_err(|error| error.to_string())?;
        Ok(Found::by_head(&head, file, file + 1, &catalog.identity().names))
    }

    /// Reads the dump.
    fn scan(&self) -> Result<(Found, Ended), CliError> {
        let mut from = From {
            tape: self.raw.from.tape.clone(),
            file: self.file,
            cartridges: self.raw.from.cartridges.clone(),
        };
        if let (true, TapeSpec::Virtual(dir)) = (from.tape.is_empty(), self.spec) {
            from.tape.push(dir.clone().into());
        }
        let reading = Reading::open(&from, Scope::Dump, &[], self.state, self.interrupt)?;
        let mut memory = vec![0; catalogs::MEMORY_LEN];
        let mut scanner =
            Scanner { state: self.state, file: reading.file(), memory: Some(&mut memory), made: None };
        let read = reading.run(NullTarget::new(), &mut scanner, self.interrupt);
        let made = scanner.made.take();
        let give_up = |id, error| {
            catalogs::give_up(self.state, id);
            Err(error)
        };
        let (summary, Some((mut found, rebuild))) = (match read {
            Ok((_, summary)) => (summary, made),
            Err(error) => {
                if let Some((found, _)) = made {
                    catalogs::give_up(self.state, found.dump.id);
                }
                return Err(error);
            }
        }) else {
            return Err(CliError::failed(format!("{}: there is no dump", self.spec)));
        };
        let id = found.dump.id;
        let (writer, rebuilt) = rebuild.finish();
        if rebuilt.maps_damaged {
            let what =
                "its maps are damaged, so that no catalog can be made of it; it can be restored without one";
            return give_up(id, CliError::failed(format!("{}: {what}", self.spec)));
        }
        if let Err(error) =
            catalogs::finish(self.state, id, writer).and_then(|_| catalogs::replace(self.state, id))
        {
            return give_up(id, CliError::failed(error));
        }
        found.blocks = summary.blocks;
        found.objects = summary.announced;
        found.skipped(rebuilt.flawed);
        found.is_exact = !rebuilt.flaws_missed;
        Ok((found, if summary.is_good() { Ended::Done } else { Ended::Incomplete }))
    }

    fn end(&self, mut found: Found, how: &str, ended: Ended) -> Result<Ended, CliError> {
        let is_new = found.record(self.state, self.spec)?;
        let mut memory = vec![0; catalogs::MEMORY_LEN];
        let catalog = catalogs::open(self.state, found.dump.id, &mut memory).map_err(CliError::failed)?;
        let (figures, names) = (catalog.figures(), catalog.identity().names);
        let flawed = match found.dump.outcome {
            Outcome::Incomplete { skipped } => format!(", {} not whole", count(skipped.into(), "object")),
            _ => String::new(),
        };
        writeln!(
            io::stdout(),
            "{}: level {} of {} of {}: {} and {}{flawed}, {}, {how}{}",
            found.dump.id,
            found.dump.level,
            utc(found.dump.date.secs),
            printable(until_nul(&names.path)),
            count(figures.directories, "directory"),
            count(figures.others, "other object"),
            size(figures.len),
            if is_new { "; new in the history" } else { "" }
        )?;
        Ok(ended)
    }
}

fn interrupted() -> CliError {
    CliError::failed("interrupted; the catalog is not made")
}

/// Takes the dump down as it is read.
struct Scanner<'s, 'm> {
    state: &'s StateDir,
    file: u32,
    memory: Option<&'m mut [u8]>,
    made: Option<(Found, Rebuild<HostCatalogWriter<'m>>)>,
}

impl Scanner<'_, '_> {
    fn begin(&mut self, info: &DumpInfo) -> Result<(), CliError> {
        let Some(memory) = self.memory.take().filter(|_| !info.is_catalog) else { return Ok(()) };
        let level = Level::new(info.level).map_err(|level| {
            CliError::failed(format!("a dump of level {level}, which is none from 0 to 31"))
        })?;
        let mut found = Found::by_headers(info, level, self.file);
        // What is known of it already is more than its headers tell.
        let mut history = HistoryFile::open(self.state).map_err(CliError::failed)?;
        let (id, mut base) = (id_of(info), None);
        history
            .visit(|_, entry| {
                if entry.dump.id == id {
                    found.volume = entry.volume;
                    base = entry.dump.base.and_then(|base| base.id);
                }
                entry.dump.id != id
            })
            .map_err(CliError::failed)?;
        drop(history);
        let identity = CatalogIdentity {
            dump: id,
            base,
            level,
            date: info.date.into(),
            base_date: info.base_date.into(),
            volume: found.volume.0,
            names: info.names,
            label: info.label,
        };
        let writer = catalogs::create_anew(self.state, identity, memory).map_err(CliError::failed)?;
        self.made = Some((found, Rebuild::new(writer)));
        Ok(())
    }
}

impl Visitor<NullTarget> for Scanner<'_, '_> {
    fn tape(&mut self, tape: UsedTape) {
        if let Some((found, _)) = &mut self.made {
            found.further.push(tape);
        }
    }

    fn takes_copies(&self) -> bool {
        // It was looked for a copy of the whole catalog first; and what is taken down is taken down once.
        false
    }

    fn event(
        &mut self,
        engine: &mut Engine<'_, NullTarget>,
        event: &RestoreEvent<std::convert::Infallible>,
    ) -> Result<(), CliError> {
        if let RestoreEvent::Dump(info) = event {
            self.begin(info)?;
        }
        let Some((found, rebuild)) = &mut self.made else { return Ok(()) };
        let id = found.dump.id;
        rebuild
            .handle_event(engine, event)
            .map_err(|error| CliError::failed(catalogs::failure(self.state, id, &error)))
    }
}
