//! What is kept beside a tree to which dumps are applied one after the other.
//!
//! ```text
//! .tapedump/applied        identities of the dumps, the oldest first, a line each; one being applied has "begun " before it
//! .tapedump/ID.catalog     the catalog of each
//! .tapedump/aside/         objects on their way to other names
//! ```
//!
//! So the tree can be moved to another machine, and needs no state directory of its own. Others may own the tree: everything is
//! reached from the open folder by single names, and no link is followed.

use super::StateDir;
use super::catalogs::{CatalogFailure, HostCatalog, MEMORY_LEN, open_file, path_of};
use super::history::parse_id;
use super::kept::{make_in, open_kept, open_kept_in};
use crate::text::printable_path;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, Mode, OFlags, fsync, mkdirat, openat, renameat, unlinkat};
use rustix::io::Errno;
use std::fmt;
use std::fs::{File, FileTimes};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use tapedump_core::catalog::CatalogIdentity;
use tapedump_core::units::DumpId;

/// Name of the folder in the tree.
pub const FOLDER: &str = ".tapedump";
const LIST: &str = "applied";
const NEW_LIST: &str = "applied.new";
const ASIDE: &str = "aside";
const BEGUN: &str = "begun ";
/// The chain has no more dumps than there are levels.
const LIST_LEN_MAX: u64 = 4096;

/// The dumps of a tree.
#[derive(Debug)]
pub struct Applied {
    folder: OwnedFd,
    /// Where the folder is, for messages.
    path: PathBuf,
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

/// Opens a directory by its name in another one.
fn open_directory(above: impl AsFd, name: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(above, name, flags, Mode::empty()).map_err(|errno| match errno {
        Errno::LOOP | Errno::NOTDIR => {
            io::Error::other("this is no directory, and not what is kept here: put it away")
        }
        errno => errno.into(),
    })
}

impl Applied {
    /// What was applied to the tree at `root`. `None`: nothing.
    ///
    /// # Errors
    /// It cannot be read, or is not what was written.
    pub fn find(root: &Path) -> Result<Option<Self>, AppliedError> {
        const NO_LIST: &str =
            "this is no list of applied dumps: restore the tree anew into an empty directory, with --apply";
        let path = root.join(FOLDER);
        let list = path.join(LIST);
        let is_absent = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
        let folder = match File::open(root).and_then(|root| open_directory(root, FOLDER)) {
            Ok(folder) => folder,
            Err(error) if is_absent(&error) => return Ok(None),
            Err(source) => return Err(error(&path, source)),
        };
        let file = match open_kept_in(&folder, LIST) {
            Ok(file) => file,
            Err(error) if is_absent(&error) => return Ok(None),
            Err(source) => return Err(error(&list, source)),
        };
        let mut text = String::new();
        file.take(LIST_LEN_MAX).read_to_string(&mut text).map_err(|_| error(&list, NO_LIST))?;
        let (mut dumps, mut begun) = (Vec::new(), None);
        for line in text.lines() {
            let (id, is_begun) = match line.strip_prefix(BEGUN) {
                Some(id) => (id, true),
                None => (line, false),
            };
            let id = parse_id(id).filter(|_| begun.is_none());
            let id = id.ok_or_else(|| error(&list, NO_LIST))?;
            if is_begun { begun = Some(id) } else { dumps.push(id) }
        }
        // It is written anew as a whole, and so has its last line whole.
        if dumps.is_empty() && begun.is_none() || !text.ends_with('\n') {
            return Err(error(&list, NO_LIST));
        }
        Ok(Some(Self { folder, path, dumps, begun }))
    }

    /// The first dump was applied.
    ///
    /// # Errors
    /// It cannot be written down, or the dump has something in the folder's place.
    pub fn begin(root: &Path, state: &StateDir, id: DumpId) -> Result<(), AppliedError> {
        let path = root.join(FOLDER);
        // The root has its times from the dump by now.
        let made = || {
            let opened = File::open(root)?;
            let before = opened.metadata()?;
            mkdirat(&opened, FOLDER, Mode::RWXU)?;
            let folder = open_directory(&opened, FOLDER)?;
            let times = FileTimes::new().set_accessed(before.accessed()?).set_modified(before.modified()?);
            opened.set_times(times)?;
            Ok::<_, io::Error>(folder)
        };
        let folder = made().map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => error(
                &path,
                "it came with the dump, so that nothing can be kept here, and no further dump be applied: restore \
                 without --apply",
            ),
            _ => error(&path, source),
        })?;
        let applied = Self { folder, path, dumps: vec![id], begun: None };
        applied.take_catalog(state, id)?;
        applied.write()
    }

    /// A dump is about to be applied.
    ///
    /// # Errors
    /// It cannot be written down.
    pub fn start(&mut self, state: &StateDir, id: DumpId) -> Result<(), AppliedError> {
        self.take_catalog(state, id)?;
        match mkdirat(&self.folder, ASIDE, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(error(&self.path.join(ASIDE), io::Error::from(errno))),
        }
        self.begun = Some(id);
        self.write()
    }

    /// The dump is applied.
    ///
    /// # Errors
    /// It cannot be written down.
    pub fn finish(&mut self) -> Result<(), AppliedError> {
        // It stays when something in it found no place.
        _ = unlinkat(&self.folder, ASIDE, AtFlags::REMOVEDIR);
        self.dumps.extend(self.begun.take());
        self.write()
    }

    /// A dump whose application did not come to its end.
    #[must_use]
    pub fn unfinished(&self) -> Option<DumpId> {
        self.begun
    }

    /// Where objects are put aside, opened.
    ///
    /// # Errors
    /// It is not there.
    pub fn aside(&self) -> Result<OwnedFd, AppliedError> {
        open_directory(&self.folder, ASIDE).map_err(|source| error(&self.path.join(ASIDE), source))
    }

    fn open_catalog<'m>(&self, id: DumpId, memory: &'m mut [u8]) -> Result<HostCatalog<'m>, CatalogFailure> {
        let name = catalog_name(id);
        open_file(open_kept_in(&self.folder, &name), self.path.join(name), id, memory)
    }

    /// What the newest dump says of itself.
    ///
    /// # Errors
    /// Its catalog cannot be read.
    pub fn newest(&self) -> Result<CatalogIdentity, CatalogFailure> {
        let id = self.dumps.last().copied().unwrap_or(DumpId([0; 16]));
        let mut memory = vec![0; MEMORY_LEN];
        self.open_catalog(id, &mut memory).map(|catalog| *catalog.identity())
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
        each.map(|(id, memory)| self.open_catalog(*id, memory)).collect()
    }

    fn take_catalog(&self, state: &StateDir, id: DumpId) -> Result<(), AppliedError> {
        let name = catalog_name(id);
        let taken = || {
            let mut from = open_kept(&path_of(state, id))?;
            let mut to = make_in(&self.folder, &name)?;
            io::copy(&mut from, &mut to)?;
            to.sync_all()
        };
        taken().map_err(|source| error(&self.path.join(&name), source))
    }

    /// Writes the list anew: the old one or the new one is there, whatever happens.
    fn write(&self) -> Result<(), AppliedError> {
        let lines = self.dumps.iter().map(|id| format!("{id}\n"));
        let begun = self.begun.iter().map(|id| format!("{BEGUN}{id}\n"));
        let text: String = lines.chain(begun).collect();
        let written = || {
            let mut file = make_in(&self.folder, NEW_LIST)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            renameat(&self.folder, NEW_LIST, &self.folder, LIST)?;
            Ok::<_, io::Error>(fsync(&self.folder)?)
        };
        written().map_err(|source| error(&self.path.join(LIST), source))
    }
}

fn catalog_name(id: DumpId) -> String {
    format!("{id}.catalog")
}
