//! What a restore leaves in the backup log.

use super::tally::Tally;
use crate::cli::raw;
use crate::text::{printable, size};
use std::os::unix::ffi::OsStrExt;
use tapedump_core::engine::restore::RestoreSummary;

/// What it was asked to do.
pub(super) fn options(raw: &raw::Restore) -> String {
    let mut options: Vec<String> = Vec::new();
    let flags = [
        ("apply", raw.apply),
        ("only", raw.only),
        ("force", raw.force),
        ("no-acls", raw.no_acls),
        ("ignore-qtrees", raw.ignore_qtrees),
    ];
    options.extend(flags.iter().filter(|(_, is_set)| *is_set).map(|(name, _)| (*name).to_owned()));
    options.push(if raw.paths.is_empty() { "all".into() } else { format!("paths={}", raw.paths.len()) });
    options.extend(raw.from.tape.iter().map(|tape| format!("tape={}", printable(tape.as_bytes()))));
    options.extend(raw.from.file.map(|file| format!("file={file}")));
    options.join(", ")
}

/// What came back.
pub(super) fn end(summary: &RestoreSummary, tally: &Tally) -> String {
    let incomplete = if summary.is_good() { "" } else { ", incomplete" };
    format!(
        "{} objects, {} bytes, {}{incomplete}",
        tally.directories() + tally.others(),
        summary.data_len,
        size(summary.data_len)
    )
}
