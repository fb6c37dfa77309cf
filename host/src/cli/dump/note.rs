//! What a dump leaves in the backup log.

use super::super::exit::Ended;
use super::super::journal::Journal;
use super::super::list::utc;
use super::image::Taken;
use super::plan::Plan;
use crate::cli::raw;
use crate::state::backup_log::LogEvent;
use crate::text::size;
use tapedump_core::engine::dump::DumpSummary;
use tapedump_core::units::TAPE_BLOCK_LEN;

/// It begins.
pub(super) fn start(journal: &Journal, raw: &raw::Dump) {
    journal.note(LogEvent::Start, &format!("level {}", raw.level.number()));
    let mut options = format!("b={}", raw.blocking_factor.record_len() / TAPE_BLOCK_LEN);
    let flags = [
        ("live", raw.live),
        ("overwrite", raw.overwrite),
        ("append", raw.append),
        ("no-catalog", raw.no_catalog),
        ("without-qtrees", raw.without_qtrees),
        ("ignore-ctime", raw.ignore_ctime),
        ("no-acls", raw.no_acls),
        ("eject", raw.eject),
    ];
    for (name, _) in flags.iter().filter(|(_, is_set)| *is_set) {
        options.push_str(", ");
        options.push_str(name);
    }
    if !raw.exclude.is_empty() {
        options.push_str(&format!(", exclude={}", raw.exclude.len()));
    }
    if let Some(label) = &raw.label {
        options.push_str(", label=");
        options.push_str(label);
    }
    journal.note(LogEvent::Options, &options);
}

/// What it reads, and what it is based on.
pub(super) fn base(journal: &Journal, plan: &Plan, taken: &Taken<'_>) {
    if let Some(image) = taken.image() {
        let name = String::from_utf8_lossy(&image.name).into_owned();
        journal.note(LogEvent::Snapshot, &format!("{name}, {}", utc(plan.date.secs)));
    }
    if let Some(base) = plan.base.dump {
        let text = format!("level {}, {}, {}", base.level.number(), utc(base.date.secs), base.id);
        journal.note(LogEvent::BaseDump, &text);
    }
}

/// What got onto the tape.
pub(super) fn end(summary: &DumpSummary, ended: Ended) -> String {
    let len = summary.blocks * TAPE_BLOCK_LEN as u64;
    let incomplete = if ended == Ended::Done { "" } else { ", incomplete" };
    format!("{len} bytes, {}{incomplete}", size(len))
}
