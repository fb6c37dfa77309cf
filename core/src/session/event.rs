//! What happens to a system, and what that means for the sessions on it.
//!
//! | what happens | by a user, vetoes stand | by a user, vetoes overridden | by the system itself | new sessions meanwhile | aborted ones restartable |
//! |---|---|---|---|---|---|
//! | takeover, giveback, relocation | vetoed | goes on, sessions abort | goes on, sessions abort | begin | never (R-RESTART-6) |
//! | switchover, switchback | vetoed | goes on, sessions abort | goes on, sessions abort | refused | as after any interruption |
//! | move of a volume, until cutover | goes on | goes on | goes on | begin | |
//! | cutover of a move | goes on, sessions run to their end | likewise | likewise | refused on that volume | |
//!
//! Without a session nothing is vetoed. The documentation says of switchovers and switchbacks only what the two values of
//! `override-vetoes` do; where the system itself begins one, because a site is lost, nobody is left who could heed a veto.

use core::fmt;

use super::Session;
use crate::units::VolumeId;

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Event {
    /// The partner takes over a node's storage.
    Takeover,
    /// It gives it back.
    Giveback,
    /// Storage moves to another node while both are up.
    Relocation,
    /// The other site takes over.
    Switchover,
    /// It gives back.
    Switchback,
    /// A volume begins to move: its data is copied while it is in use.
    VolumeMoveStart,
    /// The last phase of that: the volume is exchanged for its copy.
    VolumeMoveCutover,
}

/// What an event is to the sessions, apart from who began it.
enum Class {
    /// Storage changes its node: R-EVENT-1.
    Failover,
    /// A site is exchanged for another: R-EVENT-2.
    SiteChange,
    /// R-EVENT-3, before cutover.
    Beside,
    /// R-EVENT-3, from then on.
    Cutover,
}

impl Event {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Takeover,
        Self::Giveback,
        Self::Relocation,
        Self::Switchover,
        Self::Switchback,
        Self::VolumeMoveStart,
        Self::VolumeMoveCutover,
    ];

    const fn class(self) -> Class {
        match self {
            Self::Takeover | Self::Giveback | Self::Relocation => Class::Failover,
            Self::Switchover | Self::Switchback => Class::SiteChange,
            Self::VolumeMoveStart => Class::Beside,
            Self::VolumeMoveCutover => Class::Cutover,
        }
    }

    /// Its name: `takeover`, `volume-move-cutover`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Takeover => "takeover",
            Self::Giveback => "giveback",
            Self::Relocation => "relocation",
            Self::Switchover => "switchover",
            Self::Switchback => "switchback",
            Self::VolumeMoveStart => "volume-move-start",
            Self::VolumeMoveCutover => "volume-move-cutover",
        }
    }

    /// The event of a name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|event| event.name() == name)
    }
}

impl fmt::Display for Event {
    /// With its article: `a takeover`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Takeover => "a takeover",
            Self::Giveback => "a giveback",
            Self::Relocation => "a relocation",
            Self::Switchover => "a switchover",
            Self::Switchback => "a switchback",
            Self::VolumeMoveStart => "a move of the volume",
            Self::VolumeMoveCutover => "the cutover of a move of the volume",
        })
    }
}

/// An event that is about to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Occurrence {
    /// What happens.
    pub event: Event,
    /// The volume that it happens to; `None`: all of the system's.
    pub volume: Option<VolumeId>,
    /// `override-vetoes`: whoever began it wants it although sessions run.
    pub overrides_vetoes: bool,
    /// The system itself began it, not a user.
    pub is_automatic: bool,
}

/// What becomes of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Verdict {
    /// It does not happen, and the sessions go on.
    Vetoed {
        /// How many sessions stand against it.
        sessions: u32,
    },
    /// It happens.
    Proceeds(Proceeding),
}

/// An event that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Proceeding {
    /// Why its sessions abort, if there are any and they do.
    pub abort: Option<Abort>,
    /// Which sessions it aborts: those on this volume; `None`: on any.
    pub volume: Option<VolumeId>,
    /// What may not begin from now on, until the event is over.
    pub refuses: Refuses,
}

/// Why a session aborts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Abort {
    /// What happens.
    pub event: Event,
    /// The system itself began it.
    pub is_automatic: bool,
}

/// Sessions that may not begin while an event is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Refuses {
    /// None is refused.
    Nothing,
    /// Those on this volume are.
    Volume(VolumeId),
    /// All are.
    All,
}

impl Refuses {
    /// Whether this session may not begin.
    #[must_use]
    pub fn refuses(&self, session: &Session) -> bool {
        match self {
            Self::Nothing => false,
            Self::Volume(volume) => *volume == session.volume,
            Self::All => true,
        }
    }
}

impl Abort {
    /// Whether a dump that aborted so may leave a restartable context, when all else is as it has to be (R-RESTART-1). After a
    /// failover or relocation it may not (R-RESTART-6).
    #[must_use]
    pub const fn is_restartable(&self) -> bool {
        !matches!(self.event.class(), Class::Failover)
    }
}

impl fmt::Display for Abort {
    /// `a takeover`, `a takeover that the system began`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = if self.is_automatic { " that the system began" } else { "" };
        write!(f, "{}{who}", self.event)
    }
}

impl Proceeding {
    /// Whether it aborts this session.
    #[must_use]
    pub fn aborts(&self, session: &Session) -> bool {
        self.abort.is_some() && self.volume.is_none_or(|volume| volume == session.volume)
    }
}

impl Occurrence {
    /// An event that a user begins, on the whole system, and that heeds vetoes.
    #[must_use]
    pub const fn new(event: Event) -> Self {
        Self { event, volume: None, overrides_vetoes: false, is_automatic: false }
    }

    /// What becomes of it while these sessions run.
    pub fn verdict(&self, running: impl IntoIterator<Item = Session>) -> Verdict {
        let concerned = running
            .into_iter()
            .filter(|session| self.volume.is_none_or(|volume| volume == session.volume))
            .fold(0_u32, |sum, session| sum.saturating_add(session.kind.sessions()));
        let class = self.event.class();
        let aborts = matches!(class, Class::Failover | Class::SiteChange) && concerned > 0;
        if aborts && !self.overrides_vetoes && !self.is_automatic {
            return Verdict::Vetoed { sessions: concerned };
        }
        let on_volumes = self.volume.map_or(Refuses::All, Refuses::Volume);
        Verdict::Proceeds(Proceeding {
            abort: aborts.then_some(Abort { event: self.event, is_automatic: self.is_automatic }),
            volume: self.volume,
            refuses: match class {
                Class::Failover | Class::Beside => Refuses::Nothing,
                Class::SiteChange | Class::Cutover => on_volumes,
            },
        })
    }
}
