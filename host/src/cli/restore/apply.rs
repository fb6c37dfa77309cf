//! `tapedump restore --apply`: dumps applied one after the other to a tree that stays, as Debian's `restore -r` does.
//!
//! ```text
//! level 0   into an empty directory; its catalog is kept beside the tree
//! level N   names that are gone are taken away, moved ones moved, then what the dump holds is restored over it
//! ```
//!
//! Which names these are tell the catalogs of the dumps applied before and of the new one: `.tapedump` in the tree has them.

use crate::cli::exit::{CliError, Ended};
use crate::cli::history::tree_view::{HostCatalogError, HostView};
use crate::cli::interrupt::Interrupt;
use crate::cli::list::utc;
use crate::cli::progress::count;
use crate::cli::raw;
use crate::cli::reading::first_header::Named;
use crate::cli::{restore, session};
use crate::state::StateDir;
use crate::state::applied::{Applied, FOLDER};
use crate::state::catalogs::{self, HostCatalog};
use crate::text::printable_path;
use crate::volume::rearrange::Rearrangement;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use tapedump_core::catalog::{ObjectRow, View};
use tapedump_core::limits::TREE_PATH_LEN_MAX;
use tapedump_core::units::Ino;

type Answer<T> = Result<T, HostCatalogError>;

/// Applies the dump that the arguments name to the tree at `to`.
pub fn run(
    raw: &raw::Restore,
    to: &Path,
    state: &StateDir,
    interrupt: &Interrupt,
) -> Result<Ended, CliError> {
    let session = session::restore(raw, to, state, interrupt)?;
    let journal = session.as_ref().map(|session| session.journal());
    let named = Named::find(&raw.from, state, "a dump is applied from a tape", "; save it to a file first")?;
    let (header, id) = (named.first.repr, named.first.id());
    let mut memory = vec![0; catalogs::MEMORY_LEN];
    let refused = |why: &str| CliError::failed(format!("{}: {why}", printable_path(to)));
    // Without the catalog it is not known which names are gone.
    let mut catalog = catalogs::open(state, id, &mut memory).map_err(CliError::failed)?;
    let identity = *catalog.identity();
    let holds_folder = holds_folder(&mut catalog);
    if holds_folder.map_err(|error| CliError::failed(catalogs::failure(state, id, &error)))? {
        return Err(refused(
            "the dump has a .tapedump of its own, which is where it would be kept what was applied: restore it without --apply",
        ));
    }
    let applied = Applied::find(to).map_err(CliError::failed)?;
    let Some(mut applied) = applied else {
        if header.level != 0 {
            return Err(refused(&format!(
                "no dump was applied here before, and this one has level {}: begin with its level 0, in an empty directory",
                header.level
            )));
        }
        if std::fs::read_dir(to).is_ok_and(|mut entries| entries.next().is_some()) {
            return Err(refused(
                "the first dump is applied to an empty directory, and there is something in it",
            ));
        }
        let ended = restore::all(raw, to, state, interrupt, journal)?;
        Applied::begin(to, state, id).map_err(CliError::failed)?;
        return Ok(ended);
    };
    if let Some(unfinished) = applied.unfinished() {
        return Err(refused(&format!(
            "applying the dump {unfinished} was interrupted, and the tree is neither as before nor as after it: \
             restore it anew into an empty directory"
        )));
    }
    if header.level == 0 {
        return Err(refused(
            "a level 0 is applied to an empty directory, and dumps were applied here before",
        ));
    }
    let newest = applied.newest().map_err(CliError::failed)?;
    if newest.dump == id {
        return Err(refused("this dump was applied already"));
    }
    if newest.date != i64::from(header.base_date) || identity.base.is_some_and(|base| base != newest.dump) {
        return Err(refused(&format!(
            "the tree is as of {} (level {}), and this dump is based on the one of {}: apply that first",
            utc(newest.date),
            newest.level,
            utc(header.base_date.into())
        )));
    }
    applied.start(state, id).map_err(CliError::failed)?;
    let moves = plan(&applied).map_err(CliError::failed)?;
    let aside = applied.aside().map_err(CliError::failed)?;
    let tree = Rearrangement::open(to, aside).map_err(CliError::failed)?;
    let mut failures = moves.before(&tree);
    let ended = restore::all(raw, to, state, interrupt, journal)?;
    failures += moves.after(&tree);
    applied.finish().map_err(CliError::failed)?;
    eprintln!(
        "applied level {}: {} removed, {} moved",
        header.level,
        count(moves.gone.len() as u64, "name"),
        count(moves.aside.len() as u64, "object")
    );
    if failures > 0 {
        eprintln!(
            "tapedump: {} could not be changed: was the tree changed meanwhile?",
            count(failures, "name")
        );
        return Ok(Ended::Incomplete);
    }
    Ok(ended)
}

/// Whether something on the dump has the place of the folder that is kept in the tree.
fn holds_folder(catalog: &mut HostCatalog<'_>) -> Answer<bool> {
    let mut view = View::new(std::slice::from_mut(catalog));
    let Some(mut cursor) = view.names_from(Ino::ROOT, FOLDER.as_bytes())? else { return Ok(false) };
    Ok(view.next_name(&mut cursor)?.is_some_and(|found| found.name == FOLDER.as_bytes()))
}

/// What happens to the names of the tree before the dump is restored over it, and what after it.
#[derive(Debug, Default)]
struct Moves {
    /// Objects that get other names, by the names they had; the deepest first.
    aside: Vec<(Vec<u8>, Ino)>,
    /// Names of what is gone, or made anew as something else; whether it was a directory. The deepest first.
    gone: Vec<(Vec<u8>, bool)>,
    /// New directories, and new names of what was put aside; those above first.
    placed: Vec<(Vec<u8>, Placed)>,
    /// Names in directories that the dump does not hold, of objects that it does: another name, and the name.
    links: Vec<(Vec<u8>, Vec<u8>)>,
}

#[derive(Clone, Copy, Debug)]
enum Placed {
    NewDirectory,
    Aside { ino: Ino, directory: bool },
}

impl Moves {
    /// Brings the names into their new shape; gives how many could not be changed.
    fn before(&self, tree: &Rearrangement) -> u64 {
        let mut failures = 0;
        let mut tell = |result: std::io::Result<()>| {
            if let Err(error) = result {
                eprintln!("tapedump: {error}");
                failures += 1;
            }
        };
        // The deepest first, whichever it is: what is in a directory is gone when the directory goes.
        let mut away: Vec<(&[u8], Option<Ino>, bool)> =
            self.aside.iter().map(|(path, ino)| (&path[..], Some(*ino), false)).collect();
        away.extend(self.gone.iter().map(|(path, directory)| (&path[..], None, *directory)));
        away.sort_by_key(|(path, ..)| std::cmp::Reverse(depth(path)));
        for (path, ino, directory) in away {
            tell(match ino {
                Some(ino) => tree.put_aside(path, ino),
                None => tree.remove(path, directory),
            });
        }
        for (path, placed) in &self.placed {
            tell(match placed {
                Placed::NewDirectory => tree.make_directory(path),
                Placed::Aside { ino, directory } => tree.bring_back(*ino, path, *directory),
            });
        }
        for (_, placed) in &self.placed {
            if let Placed::Aside { ino, directory: false } = placed {
                tell(tree.drop_aside(*ino));
            }
        }
        failures
    }

    fn after(&self, tree: &Rearrangement) -> u64 {
        let mut failures = 0;
        for (existing, path) in &self.links {
            if let Err(error) = tree.link(existing, path) {
                eprintln!("tapedump: {error}");
                failures += 1;
            }
        }
        failures
    }
}

fn depth(path: &[u8]) -> usize {
    path.iter().filter(|byte| **byte == b'/').count()
}

fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    if directory.is_empty() { name.to_vec() } else { [directory, name].join(&b'/') }
}

/// Compares the tree as it is with the tree as of the new dump.
fn plan(applied: &Applied) -> Result<Moves, String> {
    let (mut old_memory, mut new_memory) = (Vec::new(), Vec::new());
    let mut old = applied.catalogs(&mut old_memory, false).map_err(|error| error.to_string())?;
    let mut new = applied.catalogs(&mut new_memory, true).map_err(|error| error.to_string())?;
    let (old, new) = (View::new(&mut old), View::new(&mut new));
    Planner { old, new, moves: Moves::default() }.plan().map_err(|error| catalogs::text(&error))
}

struct Planner<'v, 'm> {
    old: HostView<'v, 'm>,
    new: HostView<'v, 'm>,
    moves: Moves,
}

impl Planner<'_, '_> {
    fn plan(mut self) -> Answer<Moves> {
        let dumped = self.dumped()?;
        let mut changed: BTreeSet<Ino> =
            dumped.iter().filter(|row| row.is_directory).map(|row| row.ino).collect();
        changed.extend(self.directories_gone()?);
        for directory in &changed {
            self.names_gone(*directory)?;
        }
        let mut new_paths = BTreeMap::new();
        for directory in changed {
            if self.is_directory_now(directory)?
                && let Some(path) = path_of(&mut self.new, directory)?
            {
                new_paths.insert((depth(&path), path), directory);
            }
        }
        for ((_, path), directory) in new_paths {
            self.names_new(directory, &path)?;
        }
        for row in dumped.iter().filter(|row| !row.is_directory && row.links > 1) {
            self.other_names(row.ino)?;
        }
        Ok(self.moves)
    }

    /// What the new dump holds.
    fn dumped(&mut self) -> Answer<Vec<ObjectRow>> {
        let mut rows = Vec::new();
        let newest = self.new.len().saturating_sub(1);
        if let Some(catalog) = self.new.catalog(newest) {
            let mut cursor = catalog.first_by_number()?;
            while let Some(row) = catalog.next_by_number(&mut cursor)? {
                if row.is_on_tape() && (row.is_directory || row.links > 1) {
                    rows.push(row);
                }
            }
        }
        Ok(rows)
    }

    /// Directories that are none any more.
    fn directories_gone(&mut self) -> Answer<Vec<Ino>> {
        let mut gone = Vec::new();
        for dump in 0..self.old.len() {
            let Some(catalog) = self.old.catalog(dump) else { continue };
            let mut cursor = catalog.first_by_number()?;
            while let Some(catalog) = self.old.catalog(dump) {
                let Some(row) = catalog.next_by_number(&mut cursor)? else { break };
                if row.is_directory
                    && is_directory(&mut self.old, row.ino)?
                    && !self.is_directory_now(row.ino)?
                {
                    gone.push(row.ino);
                }
            }
        }
        Ok(gone)
    }

    fn is_directory_now(&mut self, ino: Ino) -> Answer<bool> {
        is_directory(&mut self.new, ino)
    }

    /// The object is what it was, and not restored anew: a directory, or an object that the new dump does not hold.
    fn stays(&mut self, ino: Ino) -> Answer<bool> {
        let newest = self.new.len().saturating_sub(1);
        let was = self.old.newest(ino)?.map(|(_, row)| row.is_directory);
        Ok(match self.new.newest(ino)? {
            Some((dump, row)) => was == Some(row.is_directory) && (row.is_directory || dump < newest),
            None => false,
        })
    }

    /// Names of a directory, as they were, that it has no more.
    fn names_gone(&mut self, directory: Ino) -> Answer<()> {
        if !is_directory(&mut self.old, directory)? {
            return Ok(());
        }
        let Some(above) = path_of(&mut self.old, directory)? else { return Ok(()) };
        for (name, ino) in names(&mut self.old, directory)? {
            let was_directory = is_directory(&mut self.old, ino)?;
            let same = self.new.child(directory, &name)? == Some(ino);
            if same && was_directory == self.is_directory_now(ino)? {
                continue;
            }
            let path = join(&above, &name);
            if !same && self.stays(ino)? {
                self.moves.aside.push((path, ino));
            } else {
                self.moves.gone.push((path, was_directory));
            }
        }
        Ok(())
    }

    /// Names of a directory that it did not have.
    fn names_new(&mut self, directory: Ino, above: &[u8]) -> Answer<()> {
        let was_directory = is_directory(&mut self.old, directory)?;
        for (name, ino) in names(&mut self.new, directory)? {
            let now_directory = self.is_directory_now(ino)?;
            let same = was_directory
                && self.old.child(directory, &name)? == Some(ino)
                && is_directory(&mut self.old, ino)? == now_directory;
            if same {
                continue;
            }
            let path = join(above, &name);
            if self.stays(ino)? {
                self.moves.placed.push((path, Placed::Aside { ino, directory: now_directory }));
            } else if now_directory {
                self.moves.placed.push((path, Placed::NewDirectory));
            }
        }
        Ok(())
    }

    /// Names of an object of the new dump in directories that it does not hold.
    fn other_names(&mut self, ino: Ino) -> Answer<()> {
        let newest = self.new.len().saturating_sub(1);
        let mut all = Vec::new();
        if let Some(mut cursor) = self.new.names_of(ino)? {
            while let Some(row) = self.new.next_name_of(&mut cursor)? {
                all.push((row.parent, row.name.to_vec()));
            }
        }
        let mut made = None;
        let mut others = Vec::new();
        for (parent, name) in all {
            let on_dump = self.new.newest(parent)?.is_some_and(|(dump, _)| dump == newest);
            let Some(above) = path_of(&mut self.new, parent)? else { continue };
            let path = join(&above, &name);
            if on_dump { made = made.or(Some(path)) } else { others.push(path) }
        }
        if let Some(made) = made {
            self.moves.links.extend(others.into_iter().map(|path| (made.clone(), path)));
        }
        Ok(())
    }
}

fn is_directory(view: &mut HostView<'_, '_>, ino: Ino) -> Answer<bool> {
    Ok(view.newest(ino)?.is_some_and(|(_, row)| row.is_directory))
}

fn path_of(view: &mut HostView<'_, '_>, ino: Ino) -> Answer<Option<Vec<u8>>> {
    // Longer ones cannot be named to the system at once, but a tree can have them.
    let mut room = vec![0; 16 * TREE_PATH_LEN_MAX];
    Ok(view.path_of(ino, &mut room)?.map(<[u8]>::to_vec))
}

fn names(view: &mut HostView<'_, '_>, directory: Ino) -> Answer<Vec<(Vec<u8>, Ino)>> {
    let mut found = Vec::new();
    let Some(mut cursor) = view.names_from(directory, b"")? else { return Ok(found) };
    while let Some(row) = view.next_name(&mut cursor)? {
        found.push((row.name.to_vec(), row.ino));
    }
    Ok(found)
}
