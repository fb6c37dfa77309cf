//! The arguments of the commands that look at the history and at catalogs, as they are written.

use crate::cli::history::points::{When, when};
use clap::{Args, ValueHint};
use std::ffi::OsString;
use std::path::PathBuf;

/// Show the dumps that the history knows, the newest last
///
/// What was written over is no longer in it. Times are UTC.
#[derive(Debug, Args)]
pub struct History {
    /// Only the dumps of this tree: its directory, or what this command shows as its tree
    #[arg(value_hint = ValueHint::DirPath)]
    pub path: Option<OsString>,
    /// One JSON object for each dump
    #[arg(long)]
    pub json: bool,
}

/// Draw which dump is based on which, and the chain that a restore of the newest takes
#[derive(Debug, Args)]
pub struct Chain {
    /// Only of this tree: its directory, or what `tapedump history` shows as its tree
    #[arg(value_hint = ValueHint::DirPath)]
    pub path: Option<OsString>,
    /// One JSON object for each tree
    #[arg(long)]
    pub json: bool,
    /// Draw it into this file instead, as SVG
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "json")]
    pub svg: Option<PathBuf>,
}

/// Which dump is meant, where it is not named by its tape.
#[derive(Clone, Debug, Default, Args)]
pub struct Moment {
    /// The tree as it was at this time (UTC: 2026-11-21, "2026-11-21 22:56", 2026-11-21T22:56:12Z, @SECONDS), by the newest dump
    /// up to then; or by the dump with this identity (its first four or more digits)
    ///
    /// A day is meant as a whole, and so is a minute: 2026-11-21 is the newest dump up to the end of that day. The dumps and
    /// their tapes are those of the history; see tapedump history.
    #[arg(long, value_name = "TIME|DUMP", value_parser = when, conflicts_with_all = ["tape", "file"])]
    pub at: Option<When>,
    /// The tree that was dumped: its directory, or what `tapedump history` shows as its tree [default: the only one in the
    /// history]; without --at as of its newest dump
    #[arg(long, value_name = "TREE", value_hint = ValueHint::DirPath, conflicts_with_all = ["tape", "file"])]
    pub of: Option<OsString>,
}

impl Moment {
    /// Whether the dump is chosen from the history.
    pub fn is_asked_for(&self) -> bool {
        self.at.is_some() || self.of.is_some()
    }
}

/// Find all versions of a name over all dumps
///
/// From the catalogs alone: no tape is read. For each path the versions are shown, the oldest first, each with the dump that
/// holds it; and when it was gone. With no such name in any dump the exit code is 1.
#[derive(Debug, Args)]
pub struct Find {
    /// The name, or with a slash the whole path from the root of the dump: * any characters, ? one, [a-z] one of some, **
    /// any number of directories, \ before a character that is meant itself
    pub pattern: OsString,
    /// Only in the dumps of this tree: its directory, or what `tapedump history` shows as its tree
    #[arg(long, value_name = "TREE", value_hint = ValueHint::DirPath)]
    pub of: Option<OsString>,
    /// Take small and capital letters for the same
    #[arg(short, long)]
    pub ignore_case: bool,
    /// One JSON object for each path
    #[arg(long)]
    pub json: bool,
}

/// Walk through a tree as of a dump, see what its files were in other dumps, and restore what is marked
///
/// A screen on the terminal, from the catalogs alone; ? shows its keys. Only a restore reads tapes.
#[derive(Debug, Args)]
pub struct Browse {
    /// The tree as it was at this time (UTC), or by the dump with this identity, as for restore [default: the newest dump]
    #[arg(long, value_name = "TIME|DUMP", value_parser = when)]
    pub at: Option<When>,
    /// The tree that was dumped: its directory, or what `tapedump history` shows as its tree [default: the only one in the
    /// history]
    #[arg(long, value_name = "TREE", value_hint = ValueHint::DirPath)]
    pub of: Option<OsString>,
}
