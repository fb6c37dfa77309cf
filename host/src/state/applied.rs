//! What is kept beside a tree to which dumps are applied one after the other.
//!
//! ```text
//! .tapedump/applied        identities of the dumps, the oldest first, a line each; one being applied has "begun " before it
//! .tapedump/ID.catalog     the catalog of each
//! .tapedump/aside/         objects on their way to other names
//! ```
//!
//! So the tree can be moved to another machine, and needs no state directory of its own.

use super::catalogs::{CatalogFailure, HostCatalog, MEMORY_LEN, open_file, path_of};
use super::file_device::open_private;
use super::history::parse_id;
use super::{StateDir, mode_700};
use crate::text::printable_path;
use std::fmt;
use std::fs::{self, File, FileTimes};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use tapedump_core::catalog::CatalogIdentity;
use tapedump_core::units::DumpId;

/// Name of the folder in the tree.
pub const FOLDER: &str = ".tapedump";
const BEGUN: &str = "begun ";
/// The chain has no more dumps than there are levels.
const LIST_LEN_MAX: u64 = 4096;

/// The dumps of a tree.
#[derive(Debug)]
pub struct Applied {
    folder: PathBuf,
    dumps: Vec<DumpId>,
    /// The one being applied.
    begun: Option<DumpId>,
}

/// Why they are not known.
#[derive(Debug)]
pub struct AppliedError {
    path: PathBuf,
    what: String,
}

impl fmt::Display for AppliedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", printable_path(&self.path), self.what)
    }
}

impl std::error::Error for AppliedError {}

fn error(path: &Path, what: impl fmt::Display) -> AppliedError {
    AppliedError { path: path.to_owned(), what: what.to_string() }
}

impl Applied {
    /// What was applied to the tree at `root`. `None`: nothing.
    ///
    /// # Errors
    /// It cannot be read, or is not what was written.
    pub fn find(root: &Path) -> Result<Option<Self>, AppliedError> {
        let folder = root.join(FOLDER);
        let list = folder.join("applied");
        let file = match File::open(&list) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(error(&list, source)),
        };
        let mut text = String::new();
        io::Read::read_to_string(&mut io::Read::take(file, LIST_LEN_MAX), &mut text)
            .map_err(|source| error(&list, source))?;
        let (mut dumps, mut begun) = (Vec::new(), None);
        for line in text.lines() {
            let (id, is_begun) = match line.strip_prefix(BEGUN) {
                Some(id) => (id, true),
                None => (line, false),
            };
            let id = parse_id(id).filter(|_| begun.is_none());
            let id = id.ok_or_else(|| error(&list, "this is no list of applied dumps"))?;
            if is_begun { begun = Some(id) } else { dumps.push(id) }
        }
        if dumps.is_empty() && begun.is_none() {
            return Err(error(&list, "this is no list of applied dumps"));
        }
        Ok(Some(Self { folder, dumps, begun }))
    }

    /// The first dump was applied.
    ///
    /// # Errors
    /// It cannot be written down.
    pub fn begin(root: &Path, state: &StateDir, id: DumpId) -> Result<(), AppliedError> {
        let folder = root.join(FOLDER);
        // The root has its times from the dump by now.
        let made = || {
            let opened = File::open(root)?;
            let before = opened.metadata()?;
            mode_700(&folder)?;
            opened
                .set_times(FileTimes::new().set_accessed(before.accessed()?).set_modified(before.modified()?))
        };
        made().map_err(|source| error(&folder, source))?;
        let applied = Self { folder, dumps: vec![id], begun: None };
        applied.take_catalog(state, id)?;
        applied.write()
    }

    /// A dump is about to be applied.
    ///
    /// # Errors
    /// It cannot be written down.
    pub fn start(&mut self, state: &StateDir, id: DumpId) -> Result<(), AppliedError> {
        self.take_catalog(state, id)?;
        mode_700(&self.aside()).map_err(|source| error(&self.aside(), source))?;
        self.begun = Some(id);
        self.write()
    }

    /// The dump is applied.
    ///
    /// # Errors
    /// It cannot be written down.
    pub fn finish(&mut self) -> Result<(), AppliedError> {
        // It stays when something in it found no place.
        _ = fs::remove_dir(self.aside());
        self.dumps.extend(self.begun.take());
        self.write()
    }

    /// A dump whose application did not come to its end.
    #[must_use]
    pub fn unfinished(&self) -> Option<DumpId> {
        self.begun
    }

    /// Where objects are put aside.
    #[must_use]
    pub fn aside(&self) -> PathBuf {
        self.folder.join("aside")
    }

    fn catalog_path(&self, id: DumpId) -> PathBuf {
        self.folder.join(format!("{id}.catalog"))
    }

    /// What the newest dump says of itself.
    ///
    /// # Errors
    /// Its catalog cannot be read.
    pub fn newest(&self) -> Result<CatalogIdentity, CatalogFailure> {
        let id = self.dumps.last().copied().unwrap_or(DumpId([0; 16]));
        let mut memory = vec![0; MEMORY_LEN];
        open_file(self.catalog_path(id), id, &mut memory).map(|catalog| *catalog.identity())
    }

    /// The catalogs of the dumps, the oldest first; with the one being applied, or without.
    ///
    /// # Errors
    /// One cannot be read.
    pub fn catalogs<'m>(
        &self,
        memory: &'m mut Vec<u8>,
        with_begun: bool,
    ) -> Result<Vec<HostCatalog<'m>>, CatalogFailure> {
        let ids: Vec<DumpId> =
            self.dumps.iter().chain(self.begun.iter().filter(|_| with_begun)).copied().collect();
        memory.resize(ids.len() * MEMORY_LEN, 0);
        let each = ids.iter().zip(memory.chunks_mut(MEMORY_LEN));
        each.map(|(id, memory)| open_file(self.catalog_path(*id), *id, memory)).collect()
    }

    fn take_catalog(&self, state: &StateDir, id: DumpId) -> Result<(), AppliedError> {
        let path = self.catalog_path(id);
        fs::copy(path_of(state, id), &path)
            .and_then(|_| File::open(&path)?.sync_all())
            .map_err(|source| error(&path, source))
    }

    /// Writes the list anew: the old one or the new one is there, whatever happens.
    fn write(&self) -> Result<(), AppliedError> {
        let (list, new) = (self.folder.join("applied"), self.folder.join("applied.new"));
        let lines = self.dumps.iter().map(|id| format!("{id}\n"));
        let begun = self.begun.iter().map(|id| format!("{BEGUN}{id}\n"));
        let text: String = lines.chain(begun).collect();
        let written = || {
            let mut file = open_private(&new)?;
            file.set_len(0)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, &list)?;
            File::open(&self.folder)?.sync_all()
        };
        written().map_err(|source| error(&list, source))
    }
}
