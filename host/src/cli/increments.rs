//! Increments: what a dump builds on, keeping it in the history, and the chain that a restore needs.

use super::exit::CliError;
use crate::state::history::{DumpFolder, Generation, HistoryFile, forget_tape};
use crate::state::{StateDir, StateError};
use crate::tape::TapeSpec;
use crate::text::{printable, printable_path};
use crate::volume::btrfs::Role;
use crate::volume::identity::TreeIdentity;
use crate::volume::source::{self, LinuxSource, NumberMap};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tapedump_core::chain::{
    Access, Application, BaseError, BaseRef, BaselineReason, CatalogPlace, Dump, DumpRequest, Dumps, Entry,
    Maker, Numbering, Outcome, Point, Release, Tape, VolumeState, base, plan,
};
use tapedump_core::device::tape::TapePosition;
use tapedump_core::engine::dump::DumpSummary;
use tapedump_core::limits::NAME_LEN_MAX;
use tapedump_core::record::extension::EXTENSION_VERSION;
use tapedump_core::stream::writer::DumpIdentity;
use tapedump_core::units::{BlockAddr, BlockingFactor, DumpId, Ino, Level, Timestamp};

/// What a dump builds on.
pub struct Base {
    pub tree: TreeIdentity,
    /// `None`: it is a baseline.
    pub dump: Option<Dump>,
    /// What of that dump is needed to read the tree.
    pub source: Option<source::Base>,
}

/// What the user can do where no base will do.
const WITHOUT_IT: &str = "without it a baseline is needed: dump with --level 0";

fn needs_baseline(path: &Path, reason: &BaselineReason) -> CliError {
    let shown = printable_path(path);
    CliError::failed(format!(
        "{shown}: a baseline is needed: {reason}; make one with: tapedump dump --level 0 {shown}"
    ))
}

/// Where a tape is found again: an absolute path, or `-`.
pub fn place_of(spec: &TapeSpec) -> Option<PathBuf> {
    match spec {
        TapeSpec::Null => None,
        TapeSpec::Standard => Some("-".into()),
        TapeSpec::Virtual(path) | TapeSpec::File(path) | TapeSpec::Drive(path) => {
            Some(std::path::absolute(path).unwrap_or_else(|_| path.clone()))
        }
    }
}

impl Base {
    /// Finds the base of a dump of this level.
    pub fn find(
        state: &StateDir,
        path: &Path,
        level: Level,
        date: Timestamp,
        overwritten: Option<&TapeSpec>,
    ) -> Result<Self, CliError> {
        let tree = TreeIdentity::of(path).map_err(CliError::failed)?;
        if level == Level::BASELINE {
            return Ok(Self { tree, dump: None, source: None });
        }
        let request = DumpRequest {
            level,
            date,
            state: tree.state(),
            // Known only when the tree has been read: see `check_numbers`.
            real_numbers_fit: true,
            has_namesake: false,
            replaced: None,
            release: Release::CURRENT,
            application: Application::default(),
        };
        let mut history = HistoryFile::open(state).map_err(CliError::failed)?;
        let request = DumpRequest { replaced: replaced(&mut history, &tree)?, ..request };
        let mut found = None;
        history
            .with(|history, device| {
                found = Some(base(&mut history.dumps_of(device, tree.volume, &tree.path), &request));
                Ok(())
            })
            .map_err(CliError::failed)?;
        let dump = match found {
            Some(Ok(Some(dump))) => dump,
            Some(Err(BaseError::Baseline(reason))) => return Err(needs_baseline(path, &reason)),
            _ => {
                let what = "the history of its dumps cannot be read";
                return Err(CliError::failed(format!("{}: {what}", printable_path(path))));
            }
        };
        let folder = DumpFolder::of(state, dump.id);
        let without = |error: StateError| CliError::failed(format!("{error}; {WITHOUT_IT}"));
        // Where that is not known, its tape may be written over unnoticed, now or earlier.
        folder.known_tapes().map_err(without)?;
        if let Some(spec) = overwritten {
            check_base_is_elsewhere(state, Some(dump.id), spec)?;
        }
        let known = folder.known().map_err(without)?.into();
        let numbers = match dump.numbering {
            Numbering::Real => None,
            Numbering::Dense => Some(Arc::new(numbers_in(&folder).map_err(without)?)),
        };
        let source = source::Base { since: dump.date.secs, known, numbers };
        Ok(Self { tree, dump: Some(dump), source: Some(source) })
    }

    /// Whether the numbers of the tree can go on in the chain, now that it has been read.
    pub fn check_numbers(&self, path: &Path, source: &LinuxSource) -> Result<(), CliError> {
        let was_real = self.dump.is_some_and(|dump| dump.numbering == Numbering::Real);
        if was_real && source.numbering() == source::Numbering::Dense {
            return Err(needs_baseline(path, &BaselineReason::NumbersTooLarge));
        }
        Ok(())
    }

    /// The base's part of the dump's identity: date and level.
    pub fn date(&self) -> u32 {
        self.dump.map_or(0, |dump| dump.date.secs as u32)
    }

    /// Fills the map with what the base's chain holds; of numbers beyond the map nothing is left.
    pub fn put_known(&self, map: &mut [u8]) {
        if let Some(base) = &self.source {
            map.iter_mut().zip(base.known.iter()).for_each(|(to, from)| *to = *from);
        }
    }
}

/// Refuses a tape that is to be written over and holds the dump that is the base.
pub fn check_base_is_elsewhere(
    state: &StateDir,
    base: Option<DumpId>,
    spec: &TapeSpec,
) -> Result<(), CliError> {
    let (Some(base), Some(place)) = (base, place_of(spec)) else { return Ok(()) };
    if !DumpFolder::of(state, base).tapes().contains(&place) {
        return Ok(());
    }
    Err(CliError::failed(format!(
        "{}: it holds the dump that this one is based on: take another tape, or --append",
        printable_path(&place)
    )))
}

/// What the newest volume was that had the name of this one, if no dump of this one is recorded.
fn replaced(history: &mut HistoryFile, tree: &TreeIdentity) -> Result<Option<Access>, CliError> {
    let (mut is_recorded, mut before) = (false, None);
    history
        .visit(|_, entry| {
            if entry.path == tree.path && matches!(entry.dump.maker, Maker::Tapedump { .. }) {
                is_recorded |= entry.volume == tree.volume;
                let is_namesake = !tree.name.is_empty() && entry.volume_name == kept_name(&tree.name);
                before = before.or(is_namesake.then_some(entry.dump.state.access));
            }
            !is_recorded
        })
        .map_err(CliError::failed)?;
    Ok(before.filter(|_| !is_recorded))
}

/// As much of a volume's name as the history keeps.
fn kept_name(name: &[u8]) -> &[u8] {
    name.get(..name.len().min(NAME_LEN_MAX)).unwrap_or_default()
}

impl TreeIdentity {
    /// What of its volume decides whether a base is still valid.
    fn state(&self) -> VolumeState {
        let (access, mirror_resyncs) = match self.role {
            Role::ReadWrite => (Access::ReadWrite, 0),
            Role::ReadOnly => (Access::ReadOnly, 0),
            Role::Mirror { received } => (Access::Mirror, received),
        };
        VolumeState { access, mirror_resyncs, ..VolumeState::default() }
    }
}

/// The numbers of a dump's objects.
fn numbers_in(folder: &DumpFolder) -> Result<NumberMap, StateError> {
    NumberMap::read(folder.numbers()?).map_err(|error| folder.failed("numbers", &error))
}

/// A tape that a dump is written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsedTape {
    pub spec: TapeSpec,
    /// Where on it the dump begins.
    pub begin: TapePosition,
    /// The dump's first block on it.
    pub first: BlockAddr,
}

/// A dump that was made, for the history.
pub struct Made<'a> {
    pub base: &'a Base,
    pub identity: DumpIdentity,
    pub date: Timestamp,
    pub source: &'a LinuxSource,
    pub ino_limit: Ino,
    pub known: &'a [u8],
    /// The generation of the volume that was read, and the objects that were in use, if the next dump can go by it.
    pub generation: Option<(Generation, &'a [u8])>,
    /// The tapes in order.
    pub tapes: &'a [UsedTape],
    pub blocking: BlockingFactor,
    pub summary: &'a DumpSummary,
    /// Bytes of the catalog in the state directory, if there is one.
    pub catalog_len: Option<u64>,
    /// Tape file of the catalog on the tape, if there is one.
    pub catalog_file: Option<u32>,
}

impl Made<'_> {
    /// Takes the dump up in the history: from here on increments can be based on it.
    pub fn record(&self, state: &StateDir) -> Result<(), CliError> {
        let places: Vec<PathBuf> = self.tapes.iter().filter_map(|tape| place_of(&tape.spec)).collect();
        if places.is_empty() {
            return Ok(());
        }
        let folder = DumpFolder::of(state, self.identity.id);
        let dense = self.source.numbering() == source::Numbering::Dense;
        if dense {
            folder.keep_numbers(|file| self.source.write_numbers(file))?;
        }
        if let Some((generation, in_use)) = self.generation.filter(|_| !dense) {
            folder.keep_generation(generation, in_use)?;
        }
        folder.keep(self.known, &places)?;
        let tape = |(place, used): (&PathBuf, &UsedTape)| {
            let label = place.file_name().unwrap_or(place.as_os_str());
            Tape::new([0; 16], label.as_bytes(), used.begin.file, used.first)
        };
        let tapes: Vec<Tape> = places.iter().zip(self.tapes).map(tape).collect();
        let incomplete = u32::try_from(self.summary.incomplete).unwrap_or(u32::MAX);
        let dump = Dump {
            id: self.identity.id,
            level: self.identity.level,
            date: self.date,
            order: 0,
            base: self.base.dump.map(|base| BaseRef { id: Some(base.id), date: base.date }),
            outcome: match incomplete {
                0 => Outcome::Good,
                skipped => Outcome::Incomplete { skipped },
            },
            numbering: if dense { Numbering::Dense } else { Numbering::Real },
            ino_limit: self.ino_limit,
            maker: Maker::Tapedump { release: Release::CURRENT, format: EXTENSION_VERSION },
            state: self.base.tree.state(),
        };
        let objects = self.summary.directories + self.summary.others;
        let entry = Entry {
            dump,
            volume: self.base.tree.volume,
            volume_name: kept_name(&self.base.tree.name),
            path: &self.base.tree.path,
            blocking: self.blocking,
            blocks: self.summary.blocks,
            objects: u32::try_from(objects).unwrap_or(u32::MAX),
            catalog: self.catalog_len.map(|len| CatalogPlace { at: 0, len }),
            catalog_file: self.catalog_file,
            tapes: &tapes,
        };
        let mut history = HistoryFile::open(state).map_err(CliError::failed)?;
        history.with(|history, device| history.append(device, &entry).map(drop)).map_err(CliError::failed)
    }
}

/// Takes the dumps of a tape that is erased or written over out of the history.
pub fn forget(state: &StateDir, spec: &TapeSpec) -> Result<(), CliError> {
    let Some(place) = place_of(spec) else { return Ok(()) };
    let mut history = HistoryFile::open(state).map_err(CliError::failed)?;
    match forget_tape(state, &mut history, &place).map_err(CliError::failed)? {
        0 => {}
        1 => eprintln!("a dump on this tape is no longer in the history"),
        count => eprintln!("{count} dumps on this tape are no longer in the history"),
    }
    Ok(())
}

/// A tape of a recorded dump, and its tape file there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TapeAt {
    pub path: PathBuf,
    pub file: u32,
}

/// A dump of a chain, and where it is.
#[derive(Clone, Debug)]
pub struct Placed {
    pub id: DumpId,
    pub level: Level,
    pub date: Timestamp,
    /// In order; none: not known.
    pub tapes: Vec<TapeAt>,
}

impl Placed {
    /// For messages.
    pub fn text(&self) -> String {
        let (level, date) = (self.level, crate::cli::list::utc(self.date.secs));
        match self.tapes.as_slice() {
            [] => format!("level {level} of {date}"),
            [TapeAt { path, file }] => {
                format!("level {level} of {date} on {}, tape file {file}", printable_path(path))
            }
            [TapeAt { path, file }, further @ ..] => format!(
                "level {level} of {date} on {}, tape file {file}, and {} further tapes",
                printable_path(path),
                further.len()
            ),
        }
    }
}

/// The tapes of a dump that is on several; none: it is on one, or the history does not have it.
pub fn tapes_of(state: &StateDir, id: DumpId) -> Result<Vec<TapeAt>, CliError> {
    let paths = DumpFolder::of(state, id).tapes();
    if paths.len() < 2 {
        // Most are, and the history is not read for them.
        return Ok(Vec::new());
    }
    let mut history = HistoryFile::open(state).map_err(CliError::failed)?;
    let mut files = None;
    history
        .visit(|_, entry| {
            if entry.dump.id == id {
                files = Some(entry.tapes.iter().map(Tape::file).collect::<Vec<_>>());
            }
            files.is_none()
        })
        .map_err(CliError::failed)?;
    let at = |(path, file)| TapeAt { path, file };
    Ok(paths.into_iter().zip(files.unwrap_or_default()).map(at).collect())
}

/// The chain of a dump, the newest first; `None`: the history does not have it.
pub fn chain_of(state: &StateDir, id: DumpId) -> Result<Option<Vec<Placed>>, CliError> {
    let mut history = HistoryFile::open(state).map_err(CliError::failed)?;
    let mut tree = None;
    history
        .visit(|_, entry| {
            if entry.dump.id == id {
                tree = Some((entry.volume, entry.path.to_vec()));
            }
            tree.is_none()
        })
        .map_err(CliError::failed)?;
    let Some((volume, path)) = tree else { return Ok(None) };
    let mut planned = Ok(Vec::new());
    history
        .with(|history, device| {
            let mut dumps = history.dumps_of(device, volume, &path);
            planned = match plan(&mut dumps, Point::Dump(id)) {
                Ok(chain) => chain
                    .links()
                    .iter()
                    .rev()
                    .map(|link| {
                        let mut tapes = Vec::new();
                        for (index, path) in DumpFolder::of(state, link.id).tapes().into_iter().enumerate() {
                            let file = dumps.tape(link.place, index)?.map_or(0, |tape| tape.file());
                            tapes.push(TapeAt { path, file });
                        }
                        Ok(Placed { id: link.id, level: link.level, date: link.date, tapes })
                    })
                    .collect::<Result<_, _>>()
                    .map(Ok)?,
                Err(error) => Err(error.to_string()),
            };
            Ok(())
        })
        .map_err(CliError::failed)?;
    planned.map(Some).map_err(|why| CliError::failed(format!("/{}: {why}", printable(&path))))
}
