//! The arguments of `tapedump snapshot`.

use clap::{Args, Subcommand, ValueHint};
use std::ffi::OsString;
use std::path::PathBuf;

/// Make, list and delete the snapshots of a volume
///
/// A volume is a subvolume of btrfs. Its snapshots are in the directory .snapshot in its root, which is on no dump. Dumps make and
/// delete theirs by themselves.
#[derive(Debug, Args)]
pub struct Snapshot {
    #[command(subcommand)]
    pub command: SnapshotCommand,
}

#[derive(Debug, Subcommand)]
pub enum SnapshotCommand {
    /// List the snapshots, and which dumps hold them
    ///
    /// Those that a killed dump left are named as such.
    List {
        /// A directory of the volume
        #[arg(value_hint = ValueHint::DirPath)]
        tree: PathBuf,
        /// One JSON object for each snapshot
        #[arg(long)]
        json: bool,
    },
    /// Make a snapshot, which stays until it is deleted
    Create {
        /// A directory of the volume
        #[arg(value_hint = ValueHint::DirPath)]
        tree: PathBuf,
        /// Its name
        name: OsString,
    },
    /// Delete a snapshot, unless a dump holds it
    Delete {
        /// A directory of the volume
        #[arg(value_hint = ValueHint::DirPath)]
        tree: PathBuf,
        /// Its name
        name: OsString,
    },
}
