//! The history of dumps in the state directory, and what is kept of each dump beside it.
//!
//! ```text
//! history            the core's history, on a file as block device
//! history.lock       held by whoever uses it
//! dumps/ID/known     map of the objects that a restore of the dump's chain gives rightly
//! dumps/ID/numbers   the numbers of its objects, where they are not the volume's own
//! dumps/ID/catalog   the dump's catalog, see `catalogs`
//! dumps/ID/tape      where the dump was written: a path for each of its tapes, with zeros between, or "-"
//! ```
//!
//! The folder of a dump is durable before the dump is in the history; a folder without an entry is of no use.

use super::file_device::{FileDevice, FileError};
use super::kept::{lock_alone, mode_700, open_kept, open_private, read_kept, sync_directory};
use super::{StateDir, StateError};
use crate::checksum::HostCrc32c;
use crate::text::printable_path;
use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use tapedump_core::chain::history::{History, HistoryError, memory_len};
use tapedump_core::chain::{Dump, Entry, Place};
use tapedump_core::checksum::Crc32c;
use tapedump_core::limits::MAP_LEN_MAX;
use tapedump_core::units::DumpId;

/// Room for some 30,000 dumps. The file grows only where it is written.
const REGION: std::ops::Range<u64> = 0..64 << 20;

/// Why the history cannot be used.
#[derive(Debug)]
pub struct HistoryFailure {
    path: PathBuf,
    what: String,
}

impl fmt::Display for HistoryFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", printable_path(&self.path), self.what)
    }
}

impl std::error::Error for HistoryFailure {}

/// The history as the host's core keeps it.
pub type HostHistory<'m> = History<'m, HostCrc32c>;

/// The history of the state directory. Nobody else uses it meanwhile.
#[derive(Debug)]
pub struct HistoryFile {
    path: PathBuf,
    device: FileDevice,
    memory: Vec<u8>,
    _lock: File,
}

impl HistoryFile {
    /// Opens the history, after others are done with it; makes it where there is none.
    ///
    /// # Errors
    /// The state directory cannot be used, or what is there is no history.
    pub fn open(state: &StateDir) -> Result<Self, HistoryFailure> {
        let path = state.root().join("history");
        let failed = |what: &str, error: &dyn fmt::Display| HistoryFailure {
            path: path.clone(),
            what: format!("cannot {what} the history of dumps: {error}"),
        };
        mode_700(state.root()).map_err(|error| failed("keep", &error))?;
        let lock_path = state.root().join("history.lock");
        let lock = lock_alone(&lock_path).map_err(|error| HistoryFailure {
            path: lock_path,
            what: format!("cannot lock the history of dumps: {error}"),
        })?;
        let file = open_private(&path).map_err(|error| failed("open", &error))?;
        let blank = file.metadata().map_err(|error| failed("open", &error))?.len() == 0;
        let memory = vec![0; memory_len(&REGION)];
        let mut history =
            Self { path: path.clone(), device: FileDevice::new(file, REGION.end), memory, _lock: lock };
        if blank {
            let mut id = [0; 16];
            rustix::rand::getrandom(&mut id, rustix::rand::GetRandomFlags::empty())
                .map_err(|error| failed("make", &io::Error::from(error)))?;
            HostHistory::create_with_crc(&mut history.device, REGION, id, &mut history.memory)
                .map_err(|error| failed("make", &text(&error)))?;
            sync_directory(state.root()).map_err(|error| failed("make", &error))?;
        }
        Ok(history)
    }

    /// Uses the history.
    ///
    /// # Errors
    /// It cannot be read, or what was done with it failed.
    pub fn with<R>(
        &mut self,
        work: impl FnOnce(&mut HostHistory<'_>, &mut FileDevice) -> Result<R, HistoryError<FileError>>,
    ) -> Result<R, HistoryFailure> {
        let result = HostHistory::open_with_crc(&mut self.device, REGION, &mut self.memory)
            .and_then(|mut history| work(&mut history, &mut self.device));
        result.map_err(|error| HistoryFailure {
            path: self.path.clone(),
            what: format!("the history of dumps failed: {}", text(&error)),
        })
    }

    /// Calls `visit` for each dump, the newest first, until it says that this is enough. Damaged entries are passed over.
    ///
    /// # Errors
    /// The history cannot be read.
    pub fn visit(&mut self, mut visit: impl FnMut(Place, &Entry<'_>) -> bool) -> Result<(), HistoryFailure> {
        self.with(|history, device| {
            let mut place = None;
            while let Some(next) = history.next_before(place) {
                place = Some(next);
                match history.entry(device, next) {
                    Ok(entry) if visit(next, &entry) => {}
                    Ok(_) => break,
                    Err(HistoryError::Damaged { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        })
    }

    /// Takes dumps out of the history.
    ///
    /// # Errors
    /// The history failed.
    pub fn remove(&mut self, places: &[Place]) -> Result<(), HistoryFailure> {
        self.with(|history, device| places.iter().try_for_each(|place| history.remove(device, *place)))
    }
}

fn text(error: &HistoryError<FileError>) -> String {
    match error {
        HistoryError::Device { source, .. } => source.to_string(),
        HistoryError::NoHistory => {
            "it is damaged, or something else; put it away, and take up the dumps on the tapes again \
                                    with: tapedump catalog rebuild --all"
                .into()
        }
        HistoryError::RegionTooSmall { .. } => {
            "it is full; erase or write over tapes that are not needed any more".into()
        }
        HistoryError::Damaged { page } => format!("its page {page} is not as it was written"),
        HistoryError::Uncertain => "whether the last change of it was made is not known; try again".into(),
        other => format!("{other:?}"),
    }
}

/// The identity of a dump as it is written: 32 hexadecimal digits, with dashes or without.
#[must_use]
pub fn parse_id(text: &str) -> Option<DumpId> {
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    (digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(())?;
    u128::from_str_radix(&digits, 16).ok().map(|id| DumpId(id.to_be_bytes()))
}

/// A generation of a volume that a dump shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generation {
    /// Its number in the volume.
    pub number: u64,
    /// What it is known by in all that comes after it.
    pub mark: [u8; 16],
}

/// What is kept of one dump beside the history.
#[derive(Debug)]
pub struct DumpFolder {
    path: PathBuf,
}

impl DumpFolder {
    /// The folder of a dump; it need not be there.
    #[must_use]
    pub fn of(state: &StateDir, id: DumpId) -> Self {
        Self { path: state.root().join("dumps").join(id.to_string()) }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the folder, if it is not there.
    pub(super) fn make(&self) -> io::Result<()> {
        mode_700(&self.path)
    }

    /// Something in the folder is of no use.
    pub fn failed(&self, what: &str, error: &dyn fmt::Display) -> StateError {
        StateError::Io { path: self.path.join(what), source: io::Error::other(error.to_string()) }
    }

    /// Makes map and tape of the dump durable, and the numbers with them.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn keep(&self, known: &[u8], tapes: &[PathBuf]) -> Result<(), StateError> {
        let used = known.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let known = &known[..used];
        let crc = HostCrc32c::update(0, known).to_be_bytes();
        self.put("known", |file| [&crc[..], known].iter().try_for_each(|part| file.write_all(part)))?;
        self.keep_tapes(tapes)
    }

    /// Makes durable where the dump is, and what else was stored.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn keep_tapes(&self, tapes: &[PathBuf]) -> Result<(), StateError> {
        let tapes: Vec<&[u8]> = tapes.iter().map(|tape| tape.as_os_str().as_bytes()).collect();
        self.put("tape", |file| file.write_all(&tapes.join(&0)))?;
        sync_directory(&self.path)
            .and_then(|()| sync_directory(self.path.parent().unwrap_or(Path::new("/"))))
            .map_err(|error| self.failed("", &error))
    }

    /// Stores the numbers of the dump's objects; they are durable after [`keep`](Self::keep).
    ///
    /// # Errors
    /// They cannot be written.
    pub fn keep_numbers(
        &self,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), StateError> {
        self.put("numbers", |file| write(file))
    }

    fn put(&self, name: &str, write: impl FnOnce(&mut File) -> io::Result<()>) -> Result<(), StateError> {
        let put = || {
            self.make()?;
            let mut file = open_private(&self.path.join(name))?;
            file.set_len(0)?;
            write(&mut file)?;
            file.sync_all()
        };
        put().map_err(|error| self.failed(name, &error))
    }

    /// The numbers of the dump's objects.
    ///
    /// # Errors
    /// They are not there.
    pub fn numbers(&self) -> Result<File, StateError> {
        open_kept(&self.path.join("numbers")).map_err(|error| self.failed("numbers", &error))
    }

    /// The map of the objects that a restore of the dump's chain gives rightly.
    ///
    /// # Errors
    /// It is not there, or not as it was written.
    pub fn known(&self) -> Result<Vec<u8>, StateError> {
        let failed = |error: &dyn fmt::Display| self.failed("known", error);
        let file = open_kept(&self.path.join("known")).map_err(|error| failed(&error))?;
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut io::Read::take(file, MAP_LEN_MAX as u64 + 5), &mut bytes)
            .map_err(|error| failed(&error))?;
        let (crc, known) = bytes.split_first_chunk::<4>().ok_or_else(|| failed(&"it is cut short"))?;
        if *crc != HostCrc32c::update(0, known).to_be_bytes() {
            return Err(failed(&"it is not as it was written"));
        }
        Ok(known.to_vec())
    }

    /// Makes durable which generation of its volume the dump shows, and which objects were in use.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn keep_generation(&self, generation: Generation, in_use: &[u8]) -> Result<(), StateError> {
        let head = [&generation.number.to_be_bytes()[..], &generation.mark].concat();
        let crc = HostCrc32c::update(HostCrc32c::update(0, &head), in_use).to_be_bytes();
        self.put("generation", |file| {
            [&crc[..], &head, in_use].iter().try_for_each(|part| file.write_all(part))
        })
    }

    /// Which generation of its volume the dump shows, and which objects were in use. `None`: that was not kept, or is not
    /// as it was written.
    #[must_use]
    pub fn generation(&self) -> Option<(Generation, Vec<u8>)> {
        let file = open_kept(&self.path.join("generation")).ok()?;
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut io::Read::take(file, MAP_LEN_MAX as u64 + 29), &mut bytes).ok()?;
        let (crc, kept) = bytes.split_first_chunk::<4>()?;
        if *crc != HostCrc32c::update(0, kept).to_be_bytes() {
            return None;
        }
        let (number, kept) = kept.split_first_chunk::<8>()?;
        let (mark, in_use) = kept.split_first_chunk()?;
        Some((Generation { number: u64::from_be_bytes(*number), mark: *mark }, in_use.to_vec()))
    }

    /// Where the dump was written; nothing: that is not known.
    #[must_use]
    pub fn tapes(&self) -> Vec<PathBuf> {
        self.known_tapes().unwrap_or_default()
    }

    /// Where the dump was written: its tapes in order, at least one.
    ///
    /// # Errors
    /// That is not known.
    pub fn known_tapes(&self) -> Result<Vec<PathBuf>, StateError> {
        let bytes = read_kept(&self.path.join("tape")).map_err(|error| self.failed("tape", &error))?;
        let tapes = bytes.split(|byte| *byte == 0);
        // Absolute paths, or `-`.
        if bytes != b"-" && !tapes.clone().all(|tape| tape.first() == Some(&b'/')) {
            return Err(self.failed("tape", &"it is not as it was written"));
        }
        Ok(tapes.map(|tape| PathBuf::from(OsStr::from_bytes(tape))).collect())
    }

    /// Removes it. What cannot be removed is of no use, and harms nobody.
    pub fn remove(&self) {
        _ = fs::remove_dir_all(&self.path);
    }
}

/// Takes all dumps out of the history that stand on this tape: it is written over.
///
/// # Errors
/// The history failed.
pub fn forget_tape(
    state: &StateDir,
    history: &mut HistoryFile,
    tape: &Path,
) -> Result<usize, HistoryFailure> {
    let mut gone: Vec<(Place, Dump)> = Vec::new();
    history.visit(|place, entry| {
        if DumpFolder::of(state, entry.dump.id).tapes().iter().any(|of_dump| of_dump == tape) {
            gone.push((place, entry.dump));
        }
        true
    })?;
    history.remove(&gone.iter().map(|(place, _)| *place).collect::<Vec<_>>())?;
    for (_, dump) in &gone {
        DumpFolder::of(state, dump.id).remove();
    }
    Ok(gone.len())
}
