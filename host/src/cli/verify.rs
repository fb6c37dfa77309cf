//! `tapedump verify`: reads a whole dump, checks every checksum, and compares it with a tree on demand.

use super::exit::{CliError, Ended};
use super::interrupt::Interrupt;
use super::json;
use super::names::Finding;
use super::progress::Progress;
use super::raw::Verify;
use super::reading::{self, Reading, Visitor};
use crate::state::StateDir;
use crate::text::size;
use crate::volume::compare::CompareTarget;
use serde::Serialize;
use std::io::{self, Write};
use tapedump_core::device::mem::NullTarget;
use tapedump_core::device::volume::TargetVolume;
use tapedump_core::engine::restore::RestoreSummary;
use tapedump_core::units::TAPE_BLOCK_LEN;

pub fn run(raw: Verify) -> Result<Ended, CliError> {
    let state = StateDir::find()?;
    let interrupt = Interrupt::install()?;
    let mut verifier = Verifier { json: raw.json };
    let tree = raw.against.as_deref().map(CompareTarget::open).transpose().map_err(CliError::failed)?;
    let reading = Reading::open(&raw.from, &state, &interrupt)?;
    let summary = match tree {
        Some(tree) => reading.run(tree, &mut verifier, &interrupt)?.1,
        None => reading.run(NullTarget::new(), &mut verifier, &interrupt)?.1,
    };
    report(&summary, raw.json)?;
    Ok(reading::ended(&summary))
}

/// Tells findings as they come.
struct Verifier {
    json: bool,
}

impl<V: TargetVolume> Visitor<V> for Verifier {
    fn finding(&mut self, finding: &Finding, progress: &Progress) -> Result<(), CliError> {
        if self.json {
            let text = json::text(finding)?;
            progress.print(|| writeln!(io::stdout(), "{text}"))?;
        } else {
            progress.tell(&format!("tapedump: {}", finding.line()));
        }
        Ok(())
    }
}

/// The result as `--json` shows it, on the last line.
#[derive(Serialize)]
struct ResultJson {
    result: &'static str,
    directories: u64,
    objects: u64,
    data_len: u64,
    tape_len: u64,
    damaged: u64,
    differences: u64,
    /// The dump has checksums of all data; without, damage inside of files does not show.
    checked: bool,
}

fn report(summary: &RestoreSummary, json: bool) -> Result<(), CliError> {
    let result = if summary.is_good() { "good" } else { "bad" };
    if json {
        let json = ResultJson {
            result,
            directories: summary.directories,
            objects: summary.objects,
            data_len: summary.data_len,
            tape_len: summary.blocks * TAPE_BLOCK_LEN as u64,
            damaged: summary.damaged,
            differences: summary.failed,
            checked: summary.checked,
        };
        writeln!(io::stdout(), "{}", json::text(&json)?)?;
        return Ok(());
    }
    let RestoreSummary { directories, objects, data_len, damaged, failed, .. } = summary;
    writeln!(
        io::stdout(),
        "{result}: {directories} directories, {objects} other objects, {} of data, {damaged} damaged, {failed} different",
        size(*data_len)
    )?;
    if !summary.checked {
        writeln!(
            io::stdout(),
            "this dump has no checksums of data, so damage inside of files would not show"
        )?;
    }
    Ok(())
}
