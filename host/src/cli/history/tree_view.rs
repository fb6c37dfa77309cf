//! A tree as of a dump, out of the catalogs of the dump's chain.

use crate::checksum::HostCrc32c;
use crate::cli::exit::CliError;
use crate::cli::history::points::Way;
use crate::state::StateDir;
use crate::state::catalogs::{self, HostCatalog};
use crate::state::file_device::{FileDevice, FileError};
use tapedump_core::catalog::{CatalogError, View, ViewCursor};
use tapedump_core::units::{DumpId, Ino};

/// A tree as the core merges it.
pub type HostView<'v, 'm> = View<'v, 'm, FileDevice, HostCrc32c>;
pub type HostCatalogError = CatalogError<FileError>;

/// Directories below each other; more than paths can name are not followed.
const DEPTH_MAX: usize = 4096;

/// The identities of a way's dumps, the oldest first.
pub fn ids_of(way: &Way<'_>) -> Vec<DumpId> {
    way.dumps.iter().map(|recorded| recorded.dump.id).collect()
}

/// Opens the catalogs of a chain.
pub fn open<'m>(
    state: &StateDir,
    ids: &[DumpId],
    memory: &'m mut Vec<u8>,
) -> Result<Vec<HostCatalog<'m>>, CliError> {
    catalogs::open_chain(state, ids, memory).map_err(CliError::failed)
}

/// Says which catalog of a chain failed.
pub fn failed(state: &StateDir, ids: &[DumpId], error: &HostCatalogError) -> CliError {
    CliError::failed(catalogs::culprit(state, ids, error))
}

/// All names beneath a directory, each directory before what is in it, in the order of their bytes.
pub struct Walk {
    /// The path of the name given last, from the root.
    path: Vec<u8>,
    /// The directories on the way, with their place and the length of their path.
    way: Vec<(Ino, ViewCursor, usize)>,
    /// A directory that was given last, to be entered.
    entering: Option<Ino>,
}

impl Walk {
    /// What is beneath `directory`, whose path is `path`; of an object that is none, nothing.
    pub fn beneath(directory: Ino, path: &[u8]) -> Self {
        Self { path: path.to_vec(), way: Vec::new(), entering: Some(directory) }
    }

    /// The path of what was given last.
    pub fn path(&self) -> &[u8] {
        &self.path
    }

    /// The next object.
    pub fn next(&mut self, view: &mut HostView<'_, '_>) -> Result<Option<Ino>, HostCatalogError> {
        if let Some(directory) = self.entering.take() {
            // A catalog that puts a directory beneath itself would have no end.
            let is_new = self.way.len() < DEPTH_MAX && self.way.iter().all(|(ino, ..)| *ino != directory);
            if is_new && let Some(cursor) = view.names_from(directory, b"")? {
                self.way.push((directory, cursor, self.path.len()));
            }
        }
        while let Some((_, cursor, len)) = self.way.last_mut() {
            self.path.truncate(*len);
            if let Some(row) = view.next_name(cursor)? {
                if !self.path.is_empty() {
                    self.path.push(b'/');
                }
                self.path.extend_from_slice(row.name);
                self.entering = Some(row.ino);
                return Ok(Some(row.ino));
            }
            self.way.pop();
        }
        Ok(None)
    }
}

/// A path as its names with one `/` between each two: empty for the root.
pub fn plain_path(path: &[u8]) -> Vec<u8> {
    let names = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".");
    names.collect::<Vec<_>>().join(&b'/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_plain() {
        for (path, plain) in
            [("/a//b/./c/", "a/b/c"), ("", ""), ("/", ""), (".", ""), ("a", "a"), ("..", "..")]
        {
            assert_eq!(plain_path(path.as_bytes()), plain.as_bytes());
        }
    }
}
