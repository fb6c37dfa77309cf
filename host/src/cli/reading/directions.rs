//! Where on the tapes of a chain the wanted paths are, out of its catalogs (R-RESTORE-2).

use crate::cli::exit::CliError;
use crate::cli::history::tree_view::{HostCatalogError, HostView};
use crate::state::StateDir;
use crate::state::catalogs::{self, CatalogFailure};
use crate::text::printable;
use std::collections::HashSet;
use tapedump_core::catalog::View;
use tapedump_core::engine::restore::{ChainStop, stops_at, stops_on_the_way};
use tapedump_core::units::{DumpId, Ino};

/// The stops at the paths and all they hold, in the order of the tapes; `chain` has the dumps from the newest on. `None`: the
/// tapes have to be read through, and it was said why where that is worth a word.
pub fn find(
    state: &StateDir,
    chain: &[DumpId],
    paths: &[Vec<u8>],
) -> Result<Option<Vec<ChainStop>>, CliError> {
    let ids: Vec<DumpId> = chain.iter().rev().copied().collect();
    let mut memory = Vec::new();
    let mut catalogs = match catalogs::open_chain(state, &ids, &mut memory) {
        Ok(catalogs) => catalogs,
        Err(failure) => return Ok(read_through(&failure)),
    };
    let mut view = View::new(&mut catalogs);
    let mut stops = Vec::new();
    let mut missing = Vec::new();
    for path in paths {
        let found = stops_on_the_way(&mut view, path, &mut |stop| stops.push(stop));
        match found.map_err(|error| catalogs::culprit(state, &ids, &error)) {
            Err(failure) => return Ok(read_through(&failure)),
            Ok(Some(top)) => {
                match below(&mut view, top, &mut stops) {
                    Ok(true) => {}
                    // Something in it is on no dump, which only the tapes say why.
                    Ok(false) => return Ok(None),
                    Err(error) => return Ok(read_through(&catalogs::culprit(state, &ids, &error))),
                }
            }
            Ok(None) => match view.look_up(path) {
                Ok(None) => missing.push(printable(path)),
                // It is there, but it, or a directory above it, could not be dumped: the tapes tell.
                _ => return Ok(None),
            },
        }
    }
    if !missing.is_empty() {
        return Err(CliError::Failed(not_there(&missing)));
    }
    stops.sort_unstable();
    stops.dedup();
    Ok(Some(stops))
}

/// What is said of paths that no dump of the chain holds.
pub fn not_there(missing: &[String]) -> String {
    format!("not on the dump: {}; see what is with: tapedump list", missing.join(", "))
}

fn read_through<T>(failure: &CatalogFailure) -> Option<T> {
    eprintln!("tapedump: {failure}; until then the tapes are read through");
    None
}

/// The stops at all that a directory holds; at nothing, where `top` is none. `false`: something of it is on no dump.
fn below(
    view: &mut HostView<'_, '_>,
    top: Ino,
    stops: &mut Vec<ChainStop>,
) -> Result<bool, HostCatalogError> {
    let mut waiting = vec![top];
    // A directory that is named twice is gone through once.
    let mut seen = HashSet::new();
    while let Some(directory) = waiting.pop() {
        if !seen.insert(directory) {
            continue;
        }
        let Some(mut cursor) = view.names_from(directory, b"")? else { continue };
        while let Some(ino) = view.next_name(&mut cursor)?.map(|row| row.ino) {
            match stops_at(view, ino, &mut |stop| stops.push(stop))? {
                Some(true) => waiting.push(ino),
                Some(false) => {}
                None => return Ok(false),
            }
        }
    }
    Ok(true)
}
