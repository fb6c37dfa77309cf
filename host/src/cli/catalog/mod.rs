//! `tapedump catalog`: the catalogs of dumps, made from tapes, checked, and given to other programs.

mod entry;
mod export;
mod rebuild;

use super::exit::{CliError, Ended};
use super::json;
use crate::cli::list::utc;
use crate::cli::raw::{Catalog, CatalogCommand};
use crate::state::StateDir;
use crate::state::catalogs;
use crate::state::history::HistoryFile;
use crate::text::{printable, size};
use serde::Serialize;
use std::io::{self, Write};
use tapedump_core::chain::Maker;
use tapedump_core::units::DumpId;

pub fn run(raw: Catalog) -> Result<Ended, CliError> {
    let state = StateDir::find()?;
    match raw.command {
        CatalogCommand::Rebuild(raw) => rebuild::run(&raw, &state),
        CatalogCommand::Export(raw) => export::run(&raw, &state),
        CatalogCommand::List { json } => list(&state, json),
        CatalogCommand::Check { dump } => check(&state, dump.as_deref()),
    }
}

/// A dump of the history with its catalog.
#[derive(Serialize)]
struct Listed {
    dump: String,
    /// RFC 3339, in UTC.
    date: String,
    level: u32,
    path: String,
    /// tapedump made it.
    ours: bool,
    /// Length of its catalog in bytes; none: there is no catalog that could be used.
    catalog_len: Option<u64>,
    /// Tape file of its catalog on the last of its tapes.
    catalog_file: Option<u32>,
}

/// All dumps of the history, the newest first.
fn dumps(state: &StateDir) -> Result<Vec<(DumpId, Listed)>, CliError> {
    let mut found = Vec::new();
    let mut history = HistoryFile::open(state).map_err(CliError::failed)?;
    history
        .visit(|_, entry| {
            let dump = &entry.dump;
            let listed = Listed {
                dump: dump.id.to_string(),
                date: utc(dump.date.secs).replace(' ', "T"),
                level: dump.level.number(),
                path: printable(entry.path),
                ours: dump.maker != Maker::Foreign,
                catalog_len: None,
                catalog_file: entry.catalog_file,
            };
            found.push((dump.id, listed));
            true
        })
        .map_err(CliError::failed)?;
    Ok(found)
}

fn list(state: &StateDir, json: bool) -> Result<Ended, CliError> {
    let mut out = io::stdout().lock();
    let mut memory = vec![0; catalogs::MEMORY_LEN];
    for (id, mut listed) in dumps(state)? {
        let opened = catalogs::open(state, id, &mut memory);
        listed.catalog_len = opened.as_ref().ok().map(|catalog| catalog.figures().len);
        if json {
            writeln!(out, "{}", json::text(&listed)?)?;
            continue;
        }
        let len = match (&opened, listed.catalog_len) {
            (_, Some(len)) => size(len),
            (Err(failure), _) if failure.absent => "none".into(),
            _ => "damaged".into(),
        };
        let on_tape = listed.catalog_file.map_or_else(String::new, |file| format!(", tape file {file}"));
        let made = if listed.ours { "" } else { ", of another program" };
        writeln!(
            out,
            "{} level {} {} /{}: {len}{on_tape}{made}",
            listed.dump,
            listed.level,
            listed.date.replace('T', " "),
            listed.path
        )?;
    }
    Ok(Ended::Done)
}

fn check(state: &StateDir, dump: Option<&str>) -> Result<Ended, CliError> {
    let wanted = match dump {
        Some(dump) => vec![find(state, dump)?],
        None => dumps(state)?.into_iter().map(|(id, _)| id).collect(),
    };
    let mut ended = Ended::Done;
    let mut out = io::stdout().lock();
    for id in wanted {
        match catalogs::check(state, id) {
            Ok(len) => writeln!(out, "{id}: good, {}", size(len))?,
            Err(failure) => {
                eprintln!("tapedump: {failure}");
                ended = Ended::Incomplete;
            }
        }
    }
    Ok(ended)
}

/// The dump of the history whose identity begins like this.
fn find(state: &StateDir, text: &str) -> Result<DumpId, CliError> {
    let plain = |text: &str| text.replace('-', "").to_ascii_lowercase();
    let wanted = plain(text);
    let found: Vec<DumpId> = dumps(state)?
        .into_iter()
        .filter(|(_, listed)| plain(&listed.dump).starts_with(&wanted))
        .map(|(id, _)| id)
        .collect();
    let shown = printable(text.as_bytes());
    let advice = "see what there is with: tapedump catalog list";
    match *found {
        [id] => Ok(id),
        [] => Err(CliError::failed(format!("{shown}: the history has no such dump; {advice}"))),
        _ => Err(CliError::failed(format!("{shown}: several dumps begin like this; {advice}"))),
    }
}
