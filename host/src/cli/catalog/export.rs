//! `tapedump catalog export --qfa`: where the files of a dump are, for Debian's `restore -Q`.

use super::super::exit::{CliError, Ended};
use super::{dumps, find};
use crate::cli::raw::Export;
use crate::cli::reading::first_header::first_header;
use crate::cli::reading::tape_file::find_file;
use crate::state::StateDir;
use crate::state::catalogs;
use crate::tape::{Mode, TapeSpec, open};
use crate::text::printable_path;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use tapedump_core::units::DumpId;

/// What the text begins with: its kind and version.
const HEAD: &str = "495115637697\n1.0\n";

pub fn run(raw: &Export, state: &StateDir) -> Result<Ended, CliError> {
    let id = match (&raw.dump, &raw.tape) {
        (Some(dump), _) => find(state, dump)?,
        (None, Some(tape)) => on_tape(state, tape, raw.file)?,
        (None, None) => {
            let newest = dumps(state)?.into_iter().next();
            newest.ok_or_else(|| CliError::failed("the history has no dump; name a tape with --tape"))?.0
        }
    };
    match &raw.output {
        Some(path) => {
            let failed = |error: io::Error| CliError::failed(format!("{}: {error}", printable_path(path)));
            write(state, id, File::create(path).map_err(failed)?, Some(path))
        }
        None => write(state, id, io::stdout().lock(), None),
    }
}

/// The identity of the dump on a tape.
fn on_tape(state: &StateDir, tape: &std::ffi::OsStr, file: Option<u32>) -> Result<DumpId, CliError> {
    let spec = TapeSpec::resolve(tape, &state.library(), Mode::Read)?;
    let mut tape = open(&spec, Mode::Read)?;
    find_file(&spec, &mut tape, file)?;
    let first = first_header(&mut tape)?;
    first.map(|first| first.id()).ok_or_else(|| CliError::failed(format!("{spec}: there is no dump")))
}

fn write(state: &StateDir, id: DumpId, to: impl Write, path: Option<&Path>) -> Result<Ended, CliError> {
    let mut memory = vec![0; catalogs::MEMORY_LEN];
    let mut catalog = catalogs::open(state, id, &mut memory).map_err(CliError::failed)?;
    let mut out = BufWriter::new(to);
    let date = catalog.identity().date;
    let wrong = |error| CliError::failed(catalogs::failure(state, id, &error));
    let mut cursor = catalog.first_by_number().map_err(wrong)?;
    let mut write = || -> Result<(), CliError> {
        write!(out, "{HEAD}{date}\n\nino\ttapeno\ttapepos\n")?;
        while let Some(row) = catalog.next_by_number(&mut cursor).map_err(wrong)? {
            // Directories are read in any case.
            if let Some(block) = row.place.filter(|_| row.is_on_tape() && !row.is_directory) {
                let place = catalog.place(block).map_err(wrong)?;
                writeln!(out, "{}\t{}\t{}", row.ino.0, place.tape.0, place.block.byte_offset())?;
            }
        }
        Ok(out.flush()?)
    };
    write().map_err(|error| match path {
        Some(path) => CliError::failed(format!("{}: {error}", printable_path(path))),
        None => error,
    })?;
    Ok(Ended::Done)
}
