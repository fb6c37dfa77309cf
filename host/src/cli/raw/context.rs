//! Arguments of `tapedump context`.

use super::session::Turn;
use super::{Cartridges, TAPE_HELP};
use clap::{Args, Subcommand, ValueHint};
use std::ffi::OsString;

/// Go on with dumps that ended early
///
/// A dump of a snapshot that is interrupted or cut off, by a fault of its tape, a loss of power or a kill, leaves a context: it
/// knows how far the dump is, and keeps its snapshot. A restart goes on behind what is on the tape; the dump is then the one that would
/// have come without interruption. Until a context is restarted to the end or deleted, its snapshot cannot be deleted.
#[derive(Debug, Args)]
pub struct Context {
    #[command(subcommand)]
    pub command: ContextCommand,
}

/// What to do with contexts.
#[derive(Debug, Subcommand)]
pub enum ContextCommand {
    /// List the contexts
    List {
        /// One JSON object per line
        #[arg(long)]
        json: bool,
    },
    /// Show all that is known of a context
    Show {
        /// The context: its identity, or as much of its beginning as no other one has
        id: String,
        /// As a JSON object
        #[arg(long)]
        json: bool,
    },
    /// Go on with the dump of a context
    Restart {
        /// The context: its identity, or as much of its beginning as no other one has
        id: String,
        #[arg(
            short,
            long,
            help = format!(
                "{TAPE_HELP}: the one that the dump goes on on; once more for each further tape [default: as when the dump began]"
            ),
            value_hint = ValueHint::AnyPath
        )]
        tape: Vec<OsString>,
        #[command(flatten)]
        turn: Turn,
        #[command(flatten)]
        cartridges: Cartridges,
    },
    /// Delete a context: the dump cannot be restarted any more, and its snapshot is let go
    Delete {
        /// The context: its identity, or as much of its beginning as no other one has
        id: String,
    },
}
