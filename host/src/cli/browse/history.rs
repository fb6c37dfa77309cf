//! What the selected name was in all dumps of the tree, looked for dump by dump.

use crate::cli::history::points::Way;
use crate::cli::history::recorded::Recordings;
use crate::cli::history::tree_view::{self, HostCatalogError, ids_of};
use crate::cli::history::versions::{Track, Version, What};
use crate::cli::list::utc;
use crate::state::StateDir;
use crate::text::size;
use tapedump_core::catalog::View;

/// The versions of one path.
#[derive(Default)]
pub struct Past<'r> {
    path: Option<Vec<u8>>,
    /// So many points in time were looked at.
    looked_at: usize,
    track: Track<'r>,
    lines: Vec<String>,
}

impl<'r> Past<'r> {
    /// From now on of this path.
    pub fn look_at(&mut self, path: Option<Vec<u8>>) {
        if self.path != path {
            *self = Self { path, ..Self::default() };
        }
    }

    /// Whether there are points in time yet to be looked at.
    pub fn is_looking(&self, ways: &[Way<'r>]) -> bool {
        self.path.is_some() && self.looked_at < ways.len()
    }

    /// A line for each version found so far.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    /// Looks at one more point in time. One whose catalogs are no use tells nothing.
    pub fn step(&mut self, state: &StateDir, recordings: &Recordings, ways: &[Way<'r>]) {
        let (Some(path), Some(way)) = (&self.path, ways.get(self.looked_at)) else { return };
        self.looked_at += 1;
        let Some(at) = way.last() else { return };
        let Some(found) = look_up(state, path, way) else { return };
        self.track.see(self.looked_at, at, found);
        let line = |version: &Version<'_>| line(state, recordings, version);
        self.lines = self.track.versions.iter().map(line).collect();
    }
}

fn look_up<'r>(state: &StateDir, path: &[u8], way: &Way<'r>) -> Option<What<'r>> {
    let mut memory = Vec::new();
    let mut catalogs = tree_view::open(state, &ids_of(way), &mut memory).ok()?;
    let mut view = View::new(&mut catalogs);
    let mut found = || -> Result<What<'r>, HostCatalogError> {
        let Some(ino) = view.look_up(path)? else { return Ok(What::Gone) };
        let newest = view.newest(ino)?;
        let held = newest.and_then(|(dump, row)| Some(What::Held { by: way.dumps.get(dump)?, row }));
        Ok(held.unwrap_or(What::Unheld))
    };
    found().ok()
}

fn line(state: &StateDir, recordings: &Recordings, version: &Version<'_>) -> String {
    let dump = match &version.what {
        What::Held { by, .. } => by,
        What::Unheld | What::Gone => version.at,
    };
    let date: String = utc(dump.dump.date.secs).chars().take(16).collect();
    let head = format!("{date} level {:<2} {}", dump.dump.level.number(), recordings.short(dump.dump.id));
    match &version.what {
        What::Gone => format!("{head}  gone"),
        What::Unheld => format!("{head}  on no dump"),
        What::Held { row, .. } if row.is_directory => format!("{head}             {}", dump.tape(state)),
        What::Held { row, .. } => format!("{head}  {:>10} {}", size(row.size), dump.tape(state)),
    }
}
