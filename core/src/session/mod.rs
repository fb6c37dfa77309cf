//! Sessions: how many dumps and restores may run at once, and what becomes of them when something happens to the system.
//!
//! Layer: above `units` and `limits`, beside `chain`. Pure rules over values: who keeps the list of sessions, and who ends one,
//! is the integrator's matter. The rules are those that the documentation of the ONTAP 9 dump engine gives ("Scalability limits
//! for dump backup and restore sessions", "How dump works with SFO and ARL operations", "How dump works with volume move", "How
//! dump backup and restore operations are affected in MetroCluster configurations"); the identifiers are those of the project's
//! list of requirements.
//!
//! ```
//! use tapedump_core::session::{Event, Kind, Occurrence, Session, Verdict, limit};
//! use tapedump_core::units::VolumeId;
//!
//! assert_eq!(limit(8 << 30), 4);
//! let running = [Session { kind: Kind::Dump, volume: VolumeId([1; 16]) }];
//! let asked = Occurrence::new(Event::Takeover);
//! assert_eq!(asked.verdict(running), Verdict::Vetoed { sessions: 1 });
//! let Verdict::Proceeds(proceeding) = Occurrence { overrides_vetoes: true, ..asked }.verdict(running) else { panic!() };
//! assert!(proceeding.aborts(&running[0]) && !proceeding.abort.unwrap().is_restartable());
//! ```

mod event;
mod limit;

pub use event::{Abort, Event, Occurrence, Proceeding, Refuses, Verdict};
pub use limit::{Refusal, admit, limit};

use crate::units::VolumeId;

/// What a session does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Kind {
    /// It dumps a volume, or a part of it.
    Dump,
    /// It restores into a volume.
    Restore,
    /// It copies within the system: a dump and a restore joined.
    Copy,
}

impl Kind {
    /// How many sessions it counts as (R-SESSION-2).
    #[must_use]
    pub const fn sessions(self) -> u32 {
        match self {
            Self::Dump | Self::Restore => 1,
            Self::Copy => 2,
        }
    }
}

/// A session, as far as the rules go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Session {
    /// What it does.
    pub kind: Kind,
    /// The volume that it reads or writes. A copy between two volumes is two values of kind `Dump` and `Restore`, which count
    /// the same.
    pub volume: VolumeId,
}

#[cfg(test)]
mod tests;
