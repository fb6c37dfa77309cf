//! The command line: raw arguments → resolved plan → work → exit code. Layer: top; the only one that prints.

mod browse;
mod catalog;
mod changer;
mod context;
mod dump;
mod event;
mod exit;
mod further;
mod generate;
mod history;
mod increments;
mod interrupt;
mod journal;
mod json;
mod list;
mod lun;
mod progress;
mod qtree;
mod raw;
mod reading;
mod restore;
mod session;
mod snapshot;
mod tape;
mod verify;

use clap::Parser;
use exit::{CliError, Ended};
use std::process::ExitCode;

/// Runs the program with the arguments of this process.
#[must_use]
pub fn main() -> ExitCode {
    let command = match raw::Arguments::try_parse() {
        Ok(arguments) => arguments.command,
        Err(error) => {
            // Nowhere to tell that nothing can be told.
            _ = error.print();
            return if error.use_stderr() { exit::USAGE.into() } else { exit::DONE.into() };
        }
    };
    exit::code(run(command))
}

fn run(command: raw::Command) -> Result<Ended, CliError> {
    match command {
        raw::Command::Dump(raw) => dump::run(raw),
        raw::Command::Restore(raw) => restore::run(raw),
        raw::Command::List(raw) => list::run(raw),
        raw::Command::Verify(raw) => verify::run(raw),
        raw::Command::History(raw) => history::run(raw),
        raw::Command::Chain(raw) => history::chain::run(raw),
        raw::Command::Browse(raw) => browse::run(raw),
        raw::Command::Find(raw) => history::find::run(raw),
        raw::Command::Lun(raw) => lun::run(raw),
        raw::Command::Tape(raw) => tape::run(raw),
        raw::Command::Qtree(raw) => qtree::run(raw),
        raw::Command::Catalog(raw) => catalog::run(raw),
        raw::Command::Snapshot(raw) => snapshot::run(raw),
        raw::Command::Context(raw) => context::run(raw),
        raw::Command::Session(raw) => session::list::run(raw),
        raw::Command::Event(raw) => event::run(raw),
        raw::Command::Log { json } => journal::run(json),
        raw::Command::Completions { shell } => generate::completions(shell),
        raw::Command::Man { directory } => generate::man(directory.as_deref()),
    }
}
