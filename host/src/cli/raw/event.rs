//! The arguments of `tapedump event`.

use clap::{Args, Subcommand, ValueHint};
use std::path::PathBuf;

/// Tell the dumps and restores that run what is about to happen to the system
///
/// It is for the scripts of a cluster, before they fail a node over, exchange a site or move a volume. The event is vetoed (exit
/// code 4) while sessions run that it would abort, unless it overrides vetoes, or the system itself began it; then they are aborted,
/// and the command ends when they have. A switchover, a switchback and a moving volume go on until their end is told; sessions
/// are refused meanwhile as tapedump event list says.
#[derive(Debug, Args)]
pub struct Event {
    #[command(subcommand)]
    pub command: EventCommand,
}

#[derive(Debug, Subcommand)]
pub enum EventCommand {
    /// Another node takes over the storage
    Takeover(Concerned),
    /// The storage is given back
    Giveback(Concerned),
    /// The storage moves to another node while both are up
    Relocation(Concerned),
    /// The other site takes over; until switchover-end no session begins
    Switchover(Force),
    /// The switchover is over
    SwitchoverEnd,
    /// The other site gives back; until switchback-end no session begins
    Switchback(Force),
    /// The switchback is over
    SwitchbackEnd,
    /// A volume begins to move; sessions run and begin beside that
    VolumeMoveStart(Volume),
    /// A moving volume is exchanged for its copy: sessions on it run to their end, and none begins until volume-move-end
    VolumeMoveCutover(Volume),
    /// The move of a volume is over, however it ended
    VolumeMoveEnd(Volume),
    /// List the events that are under way
    List {
        /// One JSON object for each event
        #[arg(long)]
        json: bool,
    },
}

#[derive(Clone, Copy, Debug, Args)]
pub struct Force {
    /// Go on although sessions run: they are aborted
    #[arg(long)]
    pub override_vetoes: bool,
    /// The system itself began it, and nobody can veto it: sessions are aborted
    #[arg(long)]
    pub automatic: bool,
}

#[derive(Debug, Args)]
pub struct Concerned {
    /// A directory of the only volume that it concerns [default: it concerns all]
    #[arg(value_hint = ValueHint::DirPath)]
    pub volume: Option<PathBuf>,
    #[command(flatten)]
    pub force: Force,
}

#[derive(Debug, Args)]
pub struct Volume {
    /// A directory of the volume
    #[arg(value_hint = ValueHint::DirPath)]
    pub volume: PathBuf,
}
