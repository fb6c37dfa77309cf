//! The commands of the shipped binary, as the tests give them.

use std::ffi::OsStr;
use std::path::Path;

use serde_json::Value;

use crate::cli::Run;
use crate::scratch::Scratch;

/// `tapedump dump TREE --live --tape TAPE`: of a tree that nobody changes meanwhile, on any file system.
#[must_use]
pub fn dump(scratch: &Scratch, tree: &Path, tape: impl AsRef<OsStr>) -> Run {
    Run::tapedump(scratch).arg("dump").arg(tree).arg("--live").arg("--tape").arg(tape)
}

/// `tapedump dump TREE --tape TAPE`: of a snapshot.
#[must_use]
pub fn dump_snapshot(scratch: &Scratch, tree: &Path, tape: impl AsRef<OsStr>) -> Run {
    Run::tapedump(scratch).arg("dump").arg(tree).arg("--tape").arg(tape)
}

/// `tapedump snapshot COMMAND TREE`.
#[must_use]
pub fn snapshot(scratch: &Scratch, command: &str, tree: &Path) -> Run {
    Run::tapedump(scratch).args(["snapshot", command]).arg(tree)
}

/// `tapedump context COMMAND`.
#[must_use]
pub fn context(scratch: &Scratch, command: &str) -> Run {
    Run::tapedump(scratch).args(["context", command])
}

/// What `tapedump context list --json` says of each dump that can go on.
///
/// # Panics
/// If it fails, or does not write JSON.
#[must_use]
pub fn contexts(scratch: &Scratch) -> Vec<Value> {
    let listed = context(scratch, "list").arg("--json").outcome().done().out();
    listed.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// `tapedump restore --to DESTINATION --tape TAPE`.
#[must_use]
pub fn restore(scratch: &Scratch, tape: impl AsRef<OsStr>, destination: &Path) -> Run {
    Run::tapedump(scratch).arg("restore").arg("--to").arg(destination).arg("--tape").arg(tape)
}

/// `tapedump list --tape TAPE`.
#[must_use]
pub fn list(scratch: &Scratch, tape: impl AsRef<OsStr>) -> Run {
    Run::tapedump(scratch).arg("list").arg("--tape").arg(tape)
}

/// `tapedump verify --tape TAPE`.
#[must_use]
pub fn verify(scratch: &Scratch, tape: impl AsRef<OsStr>) -> Run {
    Run::tapedump(scratch).arg("verify").arg("--tape").arg(tape)
}

/// Fixes what differs between two dumps of the same tree: the dump's identity and its date.
#[must_use]
pub fn reproducible(run: Run) -> Run {
    run.env("TAPEDUMP_DUMP_ID", "00112233445566778899aabbccddeeff").env("SOURCE_DATE_EPOCH", "1700000000")
}
