//! `tapedump verify`: reads a whole dump, checks every checksum, and compares it with a tree on demand.

use super::exit::{CliError, Ended};
use super::interrupt::Interrupt;
use super::json;
use super::progress::{Progress, count};
use crate::cli::raw::Verify;
use crate::cli::reading::names::{Finding, Kind};
use crate::cli::reading::sources::Scope;
use crate::cli::reading::{self, Engine, Entry, Reading, Visitor};
use crate::cli::restore::tally::Tally;
use crate::state::StateDir;
use crate::text::size;
use crate::volume::compare::CompareTarget;
use crate::volume::compare::extra::ExtraFinder;
use serde::Serialize;
use std::io::{self, Write};
use tapedump_core::device::mem::NullTarget;
use tapedump_core::device::volume::TargetVolume;
use tapedump_core::engine::restore::{DumpInfo, RestoreSummary};
use tapedump_core::limits::NAME_LEN_MAX;
use tapedump_core::units::{Ino, TAPE_BLOCK_LEN};

pub fn run(raw: Verify) -> Result<Ended, CliError> {
    let state = StateDir::find()?;
    let interrupt = Interrupt::install()?;
    let extras = raw.against.as_deref().map(ExtraFinder::open).transpose().map_err(CliError::failed)?;
    let mut verifier = Verifier { json: raw.json, tally: Tally::new(true), extras, extra: 0 };
    let tree = raw.against.as_deref().map(CompareTarget::open).transpose().map_err(CliError::failed)?;
    let reading = Reading::open(&raw.from, Scope::Dump, &[], &state, &interrupt)?;
    let mut summary = match tree {
        Some(tree) => reading.run(tree, &mut verifier, &interrupt)?.1,
        None => reading.run(NullTarget::new(), &mut verifier, &interrupt)?.1,
    };
    if let Some(extras) = &mut verifier.extras {
        extras.end();
        verifier.tell_extras(&Progress::new())?;
    }
    summary.failed += verifier.extra;
    report(&summary, &verifier.tally, raw.json)?;
    Ok(reading::ended(&summary))
}

/// Tells findings as they come.
struct Verifier {
    json: bool,
    tally: Tally,
    /// Looks for what only the tree has, where there is one.
    extras: Option<ExtraFinder>,
    /// How much that is.
    extra: u64,
}

impl Verifier {
    fn tell(&mut self, finding: &Finding, progress: &Progress) -> Result<(), CliError> {
        self.tally.finding(finding);
        if self.json {
            let text = json::text(finding)?;
            progress.print(|| writeln!(io::stdout(), "{text}"))?;
        } else {
            progress.tell(&format!("tapedump: {}", finding.line()));
        }
        Ok(())
    }

    fn tell_extras(&mut self, progress: &Progress) -> Result<(), CliError> {
        while let Some(extra) = self.extras.as_mut().and_then(ExtraFinder::found) {
            self.extra += 1;
            let finding = match extra.error {
                None => {
                    let text = "differs: only the tree has it, and not the dump";
                    Finding::about(Kind::Difference, None, Some(extra.path), text)
                }
                Some(errno) => {
                    let text = format!("not searched for what only the tree has: {}", io::Error::from(errno));
                    Finding::about(Kind::Failure, None, Some(extra.path), text)
                }
            };
            self.tell(&finding, progress)?;
        }
        Ok(())
    }
}

impl<V: TargetVolume> Visitor<V> for Verifier {
    fn dump(&mut self, info: &DumpInfo) -> Result<(), CliError> {
        if info.level != 0 {
            // An increment does not hold all of the tree.
            self.extras = None;
        }
        Ok(())
    }

    fn object(&mut self, ino: Ino) {
        self.tally.object(ino);
    }

    fn entry(
        &mut self,
        engine: &mut Engine<'_, V>,
        entry: Entry,
        progress: &Progress,
    ) -> Result<(), CliError> {
        self.tally.entry(entry);
        if let Some(extras) = &mut self.extras {
            let mut buf = [0; NAME_LEN_MAX];
            let name = if entry.directory {
                // An error of the scratch device comes up again at the engine's next step.
                let len = engine.component(entry.ino, &mut buf).ok().flatten().map_or(0, |(_, len)| len);
                buf.get(..len).unwrap_or_default()
            } else {
                engine.entry_name()
            };
            extras.name(entry.parent, name, entry.ino, entry.directory);
            self.tell_extras(progress)?;
        }
        Ok(())
    }

    fn unlisted(&mut self, finding: &Finding) {
        self.tally.finding(finding);
    }

    fn finding(&mut self, finding: &Finding, progress: &Progress) -> Result<(), CliError> {
        if let (Some(extras), Some(ino), true) = (&mut self.extras, finding.ino(), finding.are_names_lost()) {
            extras.doubt(ino);
        }
        self.tell(finding, progress)
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
    /// Of the directories and other objects, those about which nothing was found.
    whole: u64,
    damaged: u64,
    /// What was not whole when the dump was made.
    incomplete: u64,
    /// The dump has its end.
    complete: bool,
    differences: u64,
    /// The dump has checksums of all data; without, damage inside of files does not show.
    checked: bool,
}

fn report(summary: &RestoreSummary, tally: &Tally, json: bool) -> Result<(), CliError> {
    let result = if summary.is_good() { "good" } else { "bad" };
    if json {
        let json = ResultJson {
            result,
            directories: summary.directories,
            objects: summary.objects,
            whole: tally.directories() + tally.others(),
            data_len: summary.data_len,
            tape_len: summary.blocks * TAPE_BLOCK_LEN as u64,
            damaged: tally.damaged(),
            incomplete: tally.incomplete(),
            complete: !tally.is_cut_short(),
            differences: summary.failed,
            checked: summary.checked,
        };
        writeln!(io::stdout(), "{}", json::text(&json)?)?;
        return Ok(());
    }
    writeln!(
        io::stdout(),
        "{result}: {}, {}{}, {} of data, {} damaged, {} not whole when dumped, {} different{}",
        count(tally.directories(), "directory"),
        count(tally.others(), "other object"),
        if summary.is_good() { "" } else { " whole" },
        size(summary.data_len),
        tally.damaged(),
        tally.incomplete(),
        summary.failed,
        if tally.is_cut_short() { "; the dump is incomplete" } else { "" }
    )?;
    if !summary.checked {
        writeln!(
            io::stdout(),
            "this dump has no checksums of data, so damage inside of files would not show"
        )?;
    }
    Ok(())
}
