//! The arguments of `tapedump session`, and how a dump or a restore comes to its turn.

use clap::{Args, Subcommand};

/// How a dump or a restore comes to its turn.
#[derive(Clone, Copy, Debug, Args)]
pub struct Turn {
    /// Wait for other dumps and restores to end where as many run as this system allows, in the order in which they came
    ///
    /// With less than 16 GiB of memory 4 may run at once with one state directory, with less than 24 GiB 16, and with more 32. The
    /// variable TAPEDUMP_MEMORY (16G) takes the place of the memory that the system tells.
    #[arg(long)]
    pub wait: bool,
}

/// Show the dumps and restores that run, and those that wait
///
/// It is about those that use the same state directory.
#[derive(Debug, Args)]
pub struct Session {
    #[command(subcommand)]
    pub command: SessionCommand,
}

#[derive(Debug, Subcommand)]
pub enum SessionCommand {
    /// List the sessions, how many there may be, and the events that let none begin
    List {
        /// One JSON object for each session
        #[arg(long)]
        json: bool,
    },
}
