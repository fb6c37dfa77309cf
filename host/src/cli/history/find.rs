//! `tapedump find`: all versions of a name over all dumps.
//!
//! First the names of each catalog are gone through, one after the other, and only those that match are kept; then these
//! are looked up in the merged tree as of each dump. So a directory that is renamed is found under both of its paths,
//! although no increment holds what is in it.

use crate::cli::exit::{CliError, Ended};
use crate::cli::history::chain::Forest;
use crate::cli::history::glob::Glob;
use crate::cli::history::points::{self, Way};
use crate::cli::history::recorded::{DumpedTree, RecordedDump, Recordings};
use crate::cli::history::tree_view::{self, HostCatalogError, HostView, ids_of};
use crate::cli::history::versions::{Track, Version, What, ways};
use crate::cli::json::{self, JsonPath};
use crate::cli::list::at::mode_of;
use crate::cli::list::{exact, kind_word, utc};
use crate::cli::raw::history::Find;
use crate::state::StateDir;
use crate::state::catalogs::{self, HostCatalog, MEMORY_LEN};
use crate::text::printable;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use tapedump_core::catalog::View;
use tapedump_core::limits::TREE_PATH_LEN_MAX;
use tapedump_core::units::Ino;

pub fn run(raw: Find) -> Result<Ended, CliError> {
    let state = StateDir::find()?;
    let glob = Glob::new(raw.pattern.as_bytes(), raw.ignore_case)
        .map_err(|why| CliError::failed(format!("{}: {why}", printable(raw.pattern.as_bytes()))))?;
    let recordings = Recordings::load(&state)?;
    let trees: Vec<&DumpedTree> = match &raw.of {
        Some(of) => vec![points::named(&recordings, of)?],
        None => recordings.trees.iter().collect(),
    };
    let mut ended = recordings.tell_damage(&state);
    let mut out = BufWriter::new(io::stdout().lock());
    let mut found = false;
    for tree in &trees {
        let mut search = Search { state: &state, recordings: &recordings, glob: &glob, flawed: false };
        let tracks = search.tree(tree);
        if search.flawed {
            ended = Ended::Incomplete;
        }
        if !tracks.is_empty() && !raw.json && trees.len() > 1 {
            writeln!(out, "{}{}:", if found { "\n" } else { "" }, tree.label)?;
        }
        found |= !tracks.is_empty();
        for (key, track) in &tracks {
            let path = path_of(key);
            if raw.json {
                writeln!(out, "{}", json::text(&TrackJson::new(&path, tree, track))?)?;
            } else {
                print(&mut out, &recordings, &state, &path, track)?;
            }
        }
    }
    out.flush()?;
    if !found {
        eprintln!("tapedump: {}: no dump holds a name like this", printable(raw.pattern.as_bytes()));
        ended = Ended::Incomplete;
    }
    Ok(ended)
}

/// A path whose slashes are NULs, so that its order is that of the tree.
type Key = Vec<u8>;

fn key_of(directory: &[u8], name: &[u8]) -> Key {
    let mut path = Vec::with_capacity(directory.len() + 1 + name.len());
    if !directory.is_empty() {
        path.extend(directory.iter().map(|byte| if *byte == b'/' { 0 } else { *byte }));
        path.push(0);
    }
    path.extend_from_slice(name);
    path
}

fn path_of(key: &[u8]) -> Vec<u8> {
    key.iter().map(|byte| if *byte == 0 { b'/' } else { *byte }).collect()
}

/// From name to name it is this far at most; a search is quicker beyond.
const STEPS_MAX: u32 = 16;

/// Names that match, by their directories.
type Names = BTreeMap<Ino, BTreeSet<Vec<u8>>>;

struct Search<'s> {
    state: &'s StateDir,
    recordings: &'s Recordings,
    glob: &'s Glob,
    /// Some dumps could not be looked at.
    flawed: bool,
}

impl<'s> Search<'s> {
    fn tree(&mut self, tree: &'s DumpedTree) -> BTreeMap<Key, Track<'s>> {
        let forest = Forest::of(self.recordings, tree);
        let (ways, left_out) = ways(&forest);
        for (recorded, why) in left_out {
            self.leave_out(recorded, why);
        }
        let mut names = Names::new();
        let mut told = Vec::new();
        for recorded in ways.iter().filter_map(Way::last) {
            if let Err(error) = self.scan(recorded, &mut names) {
                self.leave_out(recorded, &error.to_string());
                told.push(recorded.dump.id);
            }
        }
        let mut tracks = BTreeMap::new();
        let mut point = 0;
        for way in &ways {
            let Some(at) = way.last() else { continue };
            point += 1;
            match self.look_up(way, at, point, &names, &mut tracks) {
                Ok(()) => tracks.values_mut().for_each(|track: &mut Track<'_>| track.end_point(point, at)),
                Err(_) if told.contains(&at.dump.id) => {}
                Err(error) => self.leave_out(at, &error.to_string()),
            }
        }
        tracks
    }

    fn leave_out(&mut self, recorded: &RecordedDump, why: &str) {
        self.flawed = true;
        let (level, date) = (recorded.dump.level, utc(recorded.dump.date.secs));
        let id = self.recordings.short(recorded.dump.id);
        eprintln!("tapedump: the dump {id} (level {level}, {date}) is left out: {why}");
    }

    /// Adds the names of one catalog that match.
    fn scan(&self, recorded: &RecordedDump, names: &mut Names) -> Result<(), CliError> {
        let id = recorded.dump.id;
        let mut memory = vec![0; MEMORY_LEN];
        let mut catalog = catalogs::open(self.state, id, &mut memory).map_err(CliError::failed)?;
        self.scan_names(&mut catalog, names).map_err(|error| tree_view::failed(self.state, &[id], &error))
    }

    fn scan_names(&self, catalog: &mut HostCatalog<'_>, names: &mut Names) -> Result<(), HostCatalogError> {
        let mut objects = catalog.first_on_tape()?;
        // On tape, directories are before all other objects.
        while let Some(row) = catalog.next_on_tape(&mut objects)?.filter(|row| row.is_directory) {
            let mut cursor = catalog.names_from(row.ino, b"")?;
            while let Some(found) = catalog.next_name(&mut cursor)? {
                if self.glob.may_end_in(found.name) {
                    names.entry(row.ino).or_default().insert(found.name.to_vec());
                }
            }
        }
        Ok(())
    }

    /// Looks the names up in the tree as of a dump.
    fn look_up(
        &self,
        way: &Way<'s>,
        at: &'s RecordedDump,
        point: usize,
        names: &Names,
        tracks: &mut BTreeMap<Key, Track<'s>>,
    ) -> Result<(), CliError> {
        let ids = ids_of(way);
        let mut memory = Vec::new();
        let mut catalogs = tree_view::open(self.state, &ids, &mut memory)?;
        let mut view = View::new(&mut catalogs);
        let mut all = || {
            for (directory, names) in names {
                self.look_up_in(&mut view, *directory, names, |key, what| {
                    let what = what.map_or(What::Unheld, |(dump, row)| match way.dumps.get(dump) {
                        Some(by) => What::Held { by, row },
                        None => What::Unheld,
                    });
                    tracks.entry(key).or_default().see(point, at, what);
                })?;
            }
            Ok(())
        };
        all().map_err(|error: HostCatalogError| tree_view::failed(self.state, &ids, &error))
    }

    fn look_up_in(
        &self,
        view: &mut HostView<'_, '_>,
        directory: Ino,
        names: &BTreeSet<Vec<u8>>,
        mut see: impl FnMut(Key, Option<(usize, tapedump_core::catalog::ObjectRow)>),
    ) -> Result<(), HostCatalogError> {
        let mut room = [0; TREE_PATH_LEN_MAX];
        let path = match view.path_of(directory, &mut room) {
            Ok(Some(path)) => path.to_vec(),
            // It is in the catalog, and not in the tree any more; or further down than anybody can name.
            Ok(None) | Err(HostCatalogError::PathTooLong) => return Ok(()),
            Err(error) => return Err(error),
        };
        let Some(mut cursor) = view.names_from(directory, b"")? else { return Ok(()) };
        let mut wanted = names.iter().peekable();
        let mut here = Vec::new();
        let mut passed = 0;
        while wanted.peek().is_some() {
            let Some(found) = view.next_name(&mut cursor)? else { break };
            let ino = found.ino;
            here.clear();
            here.extend_from_slice(found.name);
            // What is not there is passed by.
            while wanted.next_if(|name| **name < here).is_some() {}
            if wanted.next_if(|name| **name == here).is_some() {
                passed = 0;
                let key = key_of(&path, &here);
                if self.glob.matches(&path_of(&key)) {
                    see(key, view.newest(ino)?);
                }
                continue;
            }
            passed += 1;
            if passed > STEPS_MAX
                && let Some(name) = wanted.peek()
                && let Some(there) = view.names_from(directory, name)?
            {
                (cursor, passed) = (there, 0);
            }
        }
        Ok(())
    }
}

fn print(
    out: &mut impl Write,
    recordings: &Recordings,
    state: &StateDir,
    path: &[u8],
    track: &Track<'_>,
) -> Result<(), CliError> {
    writeln!(out, "{}", printable(path))?;
    for version in &track.versions {
        writeln!(out, "    {}", version_line(recordings, state, version))?;
    }
    Ok(())
}

/// A version as a line of text.
pub fn version_line(recordings: &Recordings, state: &StateDir, version: &Version<'_>) -> String {
    let dump = match &version.what {
        What::Held { by, .. } => by,
        What::Unheld | What::Gone => version.at,
    };
    let head = format!(
        "{}  level {:<2}  {}",
        utc(dump.dump.date.secs),
        dump.dump.level.number(),
        recordings.short(dump.dump.id)
    );
    match &version.what {
        What::Gone => format!("{head}  gone"),
        What::Unheld => format!("{head}  could not be read, and is on no dump"),
        What::Held { row, .. } => {
            let file = dump.file().map_or_else(String::new, |file| format!(", file {file}"));
            let modified = utc(row.modified.secs);
            let flaws = if row.flaws.unread || row.flaws.changed { "  not whole" } else { "" };
            format!("{head}  {:>12}  {modified}  {}{file}{flaws}", row.size, dump.tape(state))
        }
    }
}

/// A path as `--json` shows it.
#[derive(Serialize)]
struct TrackJson<'t> {
    #[serde(flatten)]
    path: JsonPath,
    tree: &'t str,
    versions: Vec<VersionJson>,
}

#[derive(Serialize)]
struct VersionJson {
    dump: String,
    date: String,
    level: u32,
    gone: bool,
    #[serde(flatten)]
    held: Option<HeldJson>,
}

#[derive(Serialize)]
struct HeldJson {
    inode: u32,
    #[serde(rename = "type")]
    kind: &'static str,
    mode: String,
    size: u64,
    modified: String,
    whole: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    tape: Option<String>,
    file: Option<u32>,
}

impl<'t> TrackJson<'t> {
    fn new(path: &[u8], tree: &'t DumpedTree, track: &Track<'_>) -> Self {
        let versions = track.versions.iter().map(VersionJson::new).collect();
        Self { path: JsonPath::new(path), tree: &tree.label, versions }
    }
}

impl VersionJson {
    fn new(version: &Version<'_>) -> Self {
        let (dump, held) = match &version.what {
            What::Held { by, row } => (*by, Some(HeldJson::new(by, row))),
            What::Unheld | What::Gone => (version.at, None),
        };
        Self {
            dump: dump.dump.id.to_string(),
            date: exact(dump.dump.date),
            level: dump.dump.level.number(),
            gone: matches!(version.what, What::Gone),
            held,
        }
    }
}

impl HeldJson {
    fn new(by: &RecordedDump, row: &tapedump_core::catalog::ObjectRow) -> Self {
        Self {
            inode: row.ino.0,
            kind: kind_word(row.kind),
            mode: format!("{:04o}", mode_of(row) & 0o7777),
            size: row.size,
            modified: exact(row.modified),
            whole: !row.flaws.unread && !row.flaws.changed,
            tape: by.places.first().map(|place| place.to_string_lossy().into_owned()),
            file: by.file(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_in_the_order_of_the_tree() {
        let mut keys = [key_of(b"a", b"z"), key_of(b"", b"a-b"), key_of(b"a/b", b"c"), key_of(b"", b"a")];
        keys.sort();
        let paths = keys.map(|key| String::from_utf8(path_of(&key)).unwrap());
        assert_eq!(paths, ["a", "a/b/c", "a/z", "a-b"]);
    }
}
