//! A directory of the merged tree, a window of it at a time: of a large one, neither names nor objects are kept, but where
//! each so-and-so-many-th name is.

use super::state::{Row, State};
use crate::cli::history::tree_view::{HostCatalogError, HostView};
use tapedump_core::catalog::ViewCursor;
use tapedump_core::units::Ino;

/// Names from one place that is kept to the next.
const STRIDE: usize = 256;

/// See the module's head.
pub struct Directory {
    filter: String,
    /// Names that pass the filter.
    pub count: usize,
    /// Before the names 0, 256, 512 … of these.
    places: Vec<ViewCursor>,
}

impl Directory {
    /// Goes through a directory once; gives the index of the name `near`, or of the one behind its place, too.
    pub fn open(
        view: &mut HostView<'_, '_>,
        ino: Ino,
        filter: &str,
        near: &[u8],
    ) -> Result<(Self, usize), HostCatalogError> {
        let mut directory = Self { filter: filter.to_owned(), count: 0, places: Vec::new() };
        let mut before = 0;
        let Some(mut cursor) = view.names_from(ino, b"")? else { return Ok((directory, 0)) };
        loop {
            let place = cursor;
            let Some(row) = view.next_name(&mut cursor)? else { break };
            if !State::passes(filter, row.name) {
                continue;
            }
            if row.name < near {
                before += 1;
            }
            if directory.count.is_multiple_of(STRIDE) {
                directory.places.push(place);
            }
            directory.count += 1;
        }
        Ok((directory, before))
    }

    /// The rows from one index on.
    pub fn rows(
        &self,
        view: &mut HostView<'_, '_>,
        from: usize,
        len: usize,
    ) -> Result<Vec<Row>, HostCatalogError> {
        let Some(mut cursor) = self.places.get(from / STRIDE).copied() else { return Ok(Vec::new()) };
        let mut passed = from % STRIDE;
        let mut rows = Vec::new();
        while rows.len() < len {
            let Some(found) = view.next_name(&mut cursor)? else { break };
            if !State::passes(&self.filter, found.name) {
                continue;
            }
            if passed > 0 {
                passed -= 1;
                continue;
            }
            let (name, ino) = (found.name.to_vec(), found.ino);
            let object = view.newest(ino)?.map(|(_, row)| row);
            rows.push(Row { name, ino, directory: object.is_some_and(|row| row.is_directory), object });
        }
        Ok(rows)
    }
}
