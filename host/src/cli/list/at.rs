//! `tapedump list --at`: the whole tree as of a dump, from catalogs alone.

use crate::cli::exit::{CliError, Ended};
use crate::cli::history::points;
use crate::cli::history::recorded::Recordings;
use crate::cli::history::tree_view::{self, HostView, Walk, ids_of, plain_path};
use crate::cli::json::{self, JsonPath};
use crate::cli::list::{AttributesJson, ObjectJson, exact, kind_word, mode_text, unknown_line, utc};
use crate::cli::raw::List;
use crate::state::StateDir;
use crate::text::printable;
use std::io::{self, BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use tapedump_core::catalog::{ObjectRow, View};
use tapedump_core::device::volume::Kind;
use tapedump_core::units::{DumpId, Ino};

pub fn run(raw: &List, state: &StateDir) -> Result<Ended, CliError> {
    let recordings = Recordings::load(state)?;
    let way = points::way(&recordings, raw.moment.of.as_deref(), raw.moment.at.as_ref())?;
    let ids = ids_of(&way);
    let mut memory = Vec::new();
    let mut catalogs = tree_view::open(state, &ids, &mut memory)?;
    let form = match (raw.json, raw.long) {
        (true, _) => Form::Json,
        (false, true) => Form::Long,
        (false, false) => Form::Names,
    };
    let mut lister = Lister {
        view: View::new(&mut catalogs),
        state,
        ids: &ids,
        form,
        out: BufWriter::new(io::stdout().lock()),
    };
    let paths: Vec<Vec<u8>> = raw.paths.iter().map(|path| plain_path(path.as_bytes())).collect();
    let begins = lister.look_up(&outermost(paths))?;
    for (path, ino) in begins {
        lister.list(&path, ino)?;
    }
    lister.out.flush()?;
    Ok(Ended::Done)
}

/// The paths that are beneath no other one, in the order of the tree; without any, the root.
fn outermost(mut paths: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    if paths.is_empty() {
        paths.push(Vec::new());
    }
    paths.sort_by(|one, other| one.split(|byte| *byte == b'/').cmp(other.split(|byte| *byte == b'/')));
    paths.dedup_by(|path, above| {
        above.is_empty()
            || path.strip_prefix(above.as_slice()).is_some_and(|rest| matches!(rest, [] | [b'/', ..]))
    });
    paths
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Names,
    Long,
    Json,
}

struct Lister<'l, 'm, W> {
    view: HostView<'l, 'm>,
    state: &'l StateDir,
    ids: &'l [DumpId],
    form: Form,
    out: W,
}

impl<W: Write> Lister<'_, '_, W> {
    /// The objects of the paths; what is not there is named before anything is printed.
    fn look_up(&mut self, paths: &[Vec<u8>]) -> Result<Vec<(Vec<u8>, Ino)>, CliError> {
        let mut found = Vec::new();
        let mut missing = Vec::new();
        for path in paths {
            match self.view.look_up(path).map_err(|error| self.failed(&error))? {
                Some(ino) => found.push((path.clone(), ino)),
                None => missing.push(printable(path)),
            }
        }
        if missing.is_empty() {
            return Ok(found);
        }
        Err(CliError::failed(format!(
            "not in the tree as of this dump: {}; see in which dumps it is with: tapedump find",
            missing.join(", ")
        )))
    }

    /// Prints an object and what is beneath it; the root has no name of its own.
    fn list(&mut self, path: &[u8], ino: Ino) -> Result<(), CliError> {
        if !path.is_empty() {
            self.print(path, ino)?;
        }
        let mut walk = Walk::beneath(ino, path);
        while let Some(ino) = walk.next(&mut self.view).map_err(|error| self.failed(&error))? {
            self.print(walk.path(), ino)?;
        }
        Ok(())
    }

    fn print(&mut self, path: &[u8], ino: Ino) -> Result<(), CliError> {
        if self.form == Form::Names {
            writeln!(self.out, "{}", printable(path))?;
            return Ok(());
        }
        let row = self.view.newest(ino).map_err(|error| self.failed(&error))?.map(|(_, row)| row);
        if self.form == Form::Long {
            writeln!(self.out, "{}", row.map_or_else(|| unknown_line(path), |row| long_line(path, &row)))?;
            return Ok(());
        }
        let attributes = row.as_ref().map(attributes_json);
        let object = ObjectJson { path: JsonPath::new(path), inode: ino.0, attributes };
        writeln!(self.out, "{}", json::text(&object)?)?;
        Ok(())
    }

    fn failed(&self, error: &tree_view::HostCatalogError) -> CliError {
        tree_view::failed(self.state, self.ids, error)
    }
}

/// Names of an object and its length, as `list` has them from a tape: of a directory there is neither.
fn links_and_size(row: &ObjectRow) -> (u32, u64) {
    if row.is_directory { (1, 0) } else { (row.links, row.size) }
}

/// Type and permissions, as a mode.
pub fn mode_of(row: &ObjectRow) -> u16 {
    row.kind.map_or(0, Kind::mode_bits) | row.permissions
}

/// Targets of links and numbers of devices are on tape only.
fn long_line(path: &[u8], row: &ObjectRow) -> String {
    let (links, size) = links_and_size(row);
    let size = match row.kind {
        Some(Kind::CharDevice | Kind::BlockDevice) => "-".into(),
        _ => size.to_string(),
    };
    format!(
        "{} {:>4} {:>8} {:>8} {size:>12} {} {}",
        mode_text(mode_of(row)),
        links,
        row.uid,
        row.gid,
        utc(row.modified.secs),
        printable(path)
    )
}

fn attributes_json(row: &ObjectRow) -> AttributesJson {
    let (links, size) = links_and_size(row);
    AttributesJson {
        kind: kind_word(row.kind),
        mode: format!("{:04o}", row.permissions),
        links,
        uid: row.uid,
        gid: row.gid,
        size,
        modified: exact(row.modified),
        target: None,
        target_bytes: None,
        device: None,
        dos_attributes: None,
        dos_created: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_listed_twice() {
        let of = |paths: &[&str]| {
            let paths = outermost(paths.iter().map(|path| path.as_bytes().to_vec()).collect());
            paths.into_iter().map(|path| String::from_utf8(path).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(of(&[]), [""]);
        assert_eq!(of(&["b", "a/c", "a", "a-b", "a/c"]), ["a", "a-b", "b"]);
        assert_eq!(of(&["a", ""]), [""]);
        assert_eq!(of(&["a/b", "a/b/c", "a/bc"]), ["a/b", "a/bc"]);
    }
}
