//! Restartable contexts of dumps: `dumps/ID/context`, as the core keeps them (R-RESTART-2).
//!
//! The process that runs the dump, restarts or deletes it, holds a lock on the file: as long as that lives, the context is
//! busy.

use super::file_device::{FileDevice, FileError};
use super::history::{DumpFolder, parse_id};
use super::kept::{is_held, open_held, open_kept, open_private, remove_if_there, sync_directory};
use super::{StateDir, StateError};
use crate::checksum::HostCrc32c;
use crate::text::{from_hex, hex, printable_path};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use tapedump_core::catalog::SuspendedCatalog;
use tapedump_core::context::{ContextError, ContextRecord, ContextStore, Part, Parts, region_len};
use tapedump_core::engine::dump::restart::DumpState;
use tapedump_core::units::DumpId;

/// Version of the request.
const FORMAT: u32 = 2;
/// Longest request: arguments of any length that Linux takes, with names of qtrees.
const REQUEST_LEN_MAX: u64 = 4 << 20;

/// What is needed to make the same dump again. Bytes that need not be text are in hexadecimal.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Request {
    /// Version.
    pub format: u32,
    /// The command line.
    pub arguments: Vec<Bytes>,
    /// The tapes so far, in order; the last is the one that the dump goes on on.
    pub tapes: Vec<TapeUsed>,
    /// Label of the dump.
    pub label: String,
    /// The snapshot that is read.
    pub snapshot: Option<Bytes>,
    /// Which image of the volume that snapshot is: its identity, and the generation in which it changed last.
    pub image: Bytes,
    /// Checksum of the paths of other volumes in the tree, which are links on the dump.
    pub junctions: u32,
    /// Directories in the root that are left out.
    pub left_out: Vec<Bytes>,
    /// The dump that it is based on.
    pub base: Option<String>,
    /// When it began, beyond the second.
    pub nanos: u32,
    /// First block of the dump that is no directory's, as far as it is known.
    pub files_from: Option<u64>,
    /// Who owns the volume: the host.
    pub owner: String,
    /// The volume as people know it.
    pub volume_name: Bytes,
    /// The tree, by its absolute path.
    pub path: Bytes,
}

/// A tape of a dump.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TapeUsed {
    /// Its absolute path.
    pub path: Bytes,
    /// The tape file in which the dump begins there.
    pub file: u32,
    /// The dump's first block on it.
    pub first: u64,
}

/// Any bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Bytes(pub Vec<u8>);

impl From<Bytes> for String {
    fn from(bytes: Bytes) -> Self {
        hex(&bytes.0)
    }
}

impl TryFrom<String> for Bytes {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        from_hex(&text).map(Self).ok_or("not hexadecimal")
    }
}

impl Request {
    /// A request of the present format, with nothing in it.
    #[must_use]
    pub fn new() -> Self {
        Self {
            format: FORMAT,
            arguments: Vec::new(),
            tapes: Vec::new(),
            label: String::new(),
            snapshot: None,
            image: Bytes::default(),
            junctions: 0,
            left_out: Vec::new(),
            base: None,
            nanos: 0,
            files_from: None,
            owner: String::new(),
            volume_name: Bytes::default(),
            path: Bytes::default(),
        }
    }
}

impl Default for Request {
    fn default() -> Self {
        Self::new()
    }
}

/// Why a context cannot be used.
#[derive(Debug)]
pub enum ContextFailure {
    /// There is none of this dump.
    None(DumpId),
    /// A process holds it.
    Busy(DumpId),
    /// It is of no use.
    Broken {
        /// Its file.
        path: PathBuf,
        /// Why.
        what: String,
    },
}

impl fmt::Display for ContextFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None(id) => {
                write!(f, "there is no context {id}; see which there are with: tapedump context list")
            }
            Self::Busy(id) => {
                write!(f, "the context {id} is busy: a process works on its dump; wait until that has ended")
            }
            Self::Broken { path, what } => write!(
                f,
                "{}: this context is of no use: {what}; delete it with: tapedump context delete",
                printable_path(path)
            ),
        }
    }
}

impl std::error::Error for ContextFailure {}

/// What a dump is to be gone on from.
pub struct Suspended {
    /// The dump's state.
    pub state: DumpState,
    /// Its catalog's.
    pub catalog: SuspendedCatalog,
    /// The stream behind the last record on tape.
    pub rest: Vec<u8>,
    /// Map of the objects in use.
    pub in_use: Vec<u8>,
    /// Map of the objects still to be dumped.
    pub pending: Vec<u8>,
    /// Map of the objects that a restore of the chain gives rightly.
    pub known: Vec<u8>,
}

/// Maps of any length are under its checksum: it is the processor's.
type Store = ContextStore<FileDevice, HostCrc32c>;

/// The context of one dump.
pub struct ContextFile {
    store: Store,
    path: PathBuf,
    /// Where it is as long as nothing is stored in it.
    new: Option<PathBuf>,
    /// Holds it.
    _lock: Option<File>,
}

fn path_of(state: &StateDir, id: DumpId) -> PathBuf {
    DumpFolder::of(state, id).path().join("context")
}

impl ContextFile {
    /// Makes the place of the context of a dump, whose maps have `map_len` bytes, and its records `record_len`; holds it.
    ///
    /// # Errors
    /// The state directory cannot be used.
    pub fn create(
        state: &StateDir,
        id: DumpId,
        map_len: usize,
        record_len: usize,
    ) -> Result<Self, StateError> {
        let path = path_of(state, id);
        let new = path.with_extension("new");
        let parts = [map_len as u64, map_len as u64, map_len as u64, record_len as u64, REQUEST_LEN_MAX];
        let capacity = region_len(&parts) + (64 << 10);
        let make = || -> io::Result<(File, File)> {
            DumpFolder::of(state, id).make()?;
            let file = open_held(&new)?;
            file.set_len(0)?;
            file.set_len(capacity)?;
            DumpFolder::of(state, id).path().parent().map_or(Ok(()), sync_directory)?;
            Ok((file.try_clone()?, file))
        };
        let (file, lock) = make().map_err(|source| StateError::Io { path: path.clone(), source })?;
        let store = Store::blank_with_crc(FileDevice::new(file, capacity), 0..capacity);
        Ok(Self { store, path, new: Some(new), _lock: Some(lock) })
    }

    /// The context of a dump; held from now on when that `is_needed`.
    ///
    /// # Errors
    /// There is none, it is of no use, or a process holds it.
    pub fn open(state: &StateDir, id: DumpId, is_needed: bool) -> Result<Self, ContextFailure> {
        let path = path_of(state, id);
        let broken =
            |what: &dyn fmt::Display| ContextFailure::Broken { path: path.clone(), what: what.to_string() };
        match path.symlink_metadata() {
            Ok(metadata) if metadata.is_file() => {}
            Ok(_) => return Err(broken(&"it is no plain file")),
            Err(_) => return Err(ContextFailure::None(id)),
        }
        let file = open_private(&path).map_err(|error| broken(&error))?;
        let lock = match is_needed {
            true => match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => Some(file.try_clone().map_err(|error| broken(&error))?),
                Err(Errno::WOULDBLOCK) => return Err(ContextFailure::Busy(id)),
                Err(errno) => return Err(broken(&errno)),
            },
            false => None,
        };
        let capacity = file.metadata().map_err(|error| broken(&error))?.len();
        let store = Store::open_with_crc(FileDevice::new(file, capacity), 0..capacity)
            .map_err(|error| broken(&error))?;
        Ok(Self { store, path, new: None, _lock: lock })
    }

    fn broken(&self, what: impl fmt::Display) -> ContextFailure {
        ContextFailure::Broken { path: self.path.clone(), what: what.to_string() }
    }

    fn part(&mut self, part: Part) -> Result<Vec<u8>, ContextFailure> {
        let read = |store: &mut Store| -> Result<Vec<u8>, ContextError<FileError>> {
            let mut bytes = vec![0; usize::try_from(store.len(part)?).unwrap_or(0)];
            let _ = store.read(part, &mut bytes)?;
            Ok(bytes)
        };
        read(&mut self.store).map_err(|error| self.broken(error))
    }

    /// What is known of the dump.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn record(&mut self) -> Result<ContextRecord, ContextFailure> {
        let bytes = self.part(Part::Record)?;
        ContextRecord::from_bytes(&bytes).ok_or_else(|| self.broken("a later release wrote it"))
    }

    /// How to make the dump.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn request(&mut self) -> Result<Request, ContextFailure> {
        let bytes = self.part(Part::Request)?;
        let request =
            serde_json::from_slice::<Request>(&bytes).ok().filter(|request| request.format == FORMAT);
        request.ok_or_else(|| self.broken("a later release wrote it"))
    }

    /// How far the dump is.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn state(&mut self) -> Result<DumpState, ContextFailure> {
        let state = self.part(Part::State)?;
        DumpState::from_bytes(&state).ok_or_else(|| self.broken("a later release wrote it"))
    }

    /// How to go on with it.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn suspended(&mut self) -> Result<Suspended, ContextFailure> {
        let catalog = self.part(Part::Catalog)?;
        let catalog =
            SuspendedCatalog::from_bytes(&catalog).ok_or_else(|| self.broken("a later release wrote it"))?;
        Ok(Suspended {
            state: self.state()?,
            catalog,
            rest: self.part(Part::Rest)?,
            in_use: self.part(Part::InUse)?,
            pending: self.part(Part::Pending)?,
            known: self.part(Part::Known)?,
        })
    }

    /// Stores all of it, durably.
    ///
    /// # Errors
    /// It cannot be stored; what was stored before is still there.
    pub fn store(&mut self, parts: &Parts<'_>) -> Result<(), StateError> {
        let failed = |path: &Path, source| StateError::Io { path: path.to_path_buf(), source };
        self.store.store(parts).map_err(|error| failed(&self.path, io::Error::other(error.to_string())))?;
        let Some(new) = self.new.take() else { return Ok(()) };
        // From here on it is one; what was cut off before is none.
        fs::rename(new, &self.path)
            .and_then(|()| self.path.parent().map_or(Ok(()), sync_directory))
            .map_err(|source| failed(&self.path, source))
    }

    /// Stores another record with what is there.
    ///
    /// # Errors
    /// The context cannot be read, or not be stored.
    pub fn set_record(&mut self, record: &ContextRecord) -> Result<(), ContextFailure> {
        let kept =
            [Part::Request, Part::State, Part::Catalog, Part::Rest, Part::InUse, Part::Pending, Part::Known]
                .map(|part| self.part(part));
        let kept: Vec<Vec<u8>> = kept.into_iter().collect::<Result<_, _>>()?;
        let record = record.to_bytes();
        let mut parts: Parts<'_> = [&record, &[], &[], &[], &[], &[], &[], &[]];
        parts.iter_mut().skip(1).zip(&kept).for_each(|(to, part)| *to = part);
        self.store.store(&parts).map_err(|error| self.broken(error))
    }
}

/// Whether a process works on the dump.
#[must_use]
pub fn is_busy(state: &StateDir, id: DumpId) -> bool {
    open_kept(&path_of(state, id)).and_then(|file| is_held(&file)).unwrap_or(false)
}

/// Whether there is a context of this dump.
#[must_use]
pub fn exists(state: &StateDir, id: DumpId) -> bool {
    path_of(state, id).symlink_metadata().is_ok()
}

/// The dumps of which there are contexts, by their identities.
///
/// # Errors
/// The state directory cannot be read.
pub fn all(state: &StateDir) -> Result<Vec<DumpId>, StateError> {
    let path = state.root().join("dumps");
    let entries = match fs::read_dir(&path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(StateError::Io { path, source }),
    };
    let mut ids: Vec<DumpId> = entries
        .filter_map(|entry| parse_id(&entry.ok()?.file_name().to_string_lossy()))
        .filter(|id| exists(state, *id))
        .collect();
    ids.sort_by_key(|id| id.0);
    Ok(ids)
}

/// The dump is whole: its context goes, and the rest of its folder stays.
///
/// # Errors
/// It cannot be removed.
pub fn end(state: &StateDir, id: DumpId) -> Result<(), StateError> {
    let path = path_of(state, id);
    remove_if_there(&path).map_err(|source| StateError::Io { path, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_any() {
        let request = Request { path: Bytes(vec![0, 0xff, b'a']), ..Request::new() };
        let text = serde_json::to_string(&request).unwrap();
        assert!(text.contains("00ff61"), "{text}");
        assert_eq!(serde_json::from_str::<Request>(&text).unwrap().path, request.path);
        for bad in ["0", "0g", "+1"] {
            assert!(Bytes::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }

    #[test]
    fn one_process_holds_a_context() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::at(dir.path().join("s"));
        let id = DumpId([3; 16]);
        assert!(matches!(ContextFile::open(&state, id, false), Err(ContextFailure::None(_))));
        assert_eq!(all(&state).unwrap(), []);
        let mut context = ContextFile::create(&state, id, 4096, 65536).unwrap();
        assert!(!exists(&state, id), "nothing is stored in it yet");
        context.store(&[b"no record", &[], &[], &[], &[], &[], &[], &[]]).unwrap();
        assert!(is_busy(&state, id) && exists(&state, id));
        assert!(matches!(ContextFile::open(&state, id, true), Err(ContextFailure::Busy(_))));
        drop(context);
        assert!(!is_busy(&state, id));
        let mut context = ContextFile::open(&state, id, true).unwrap();
        assert!(matches!(context.record(), Err(ContextFailure::Broken { .. })));
        drop(context);
        fs::write(path_of(&state, id), [1; 9000]).unwrap();
        assert!(matches!(ContextFile::open(&state, id, true), Err(ContextFailure::Broken { .. })));
        assert_eq!(all(&state).unwrap(), [id]);
        end(&state, id).unwrap();
        end(&state, id).unwrap();
        assert!(!exists(&state, id));
    }
}
