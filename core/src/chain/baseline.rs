//! When a base is no longer valid.

use core::fmt;

use super::dump::{Access, BaseRef, Dump, Maker, Numbering, Release, VolumeState};
use crate::units::{DumpId, Level, Timestamp};

/// A dump that is to be made, and the circumstances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct DumpRequest {
    /// Its level.
    pub level: Level,
    /// When the snapshot was made that it is to show.
    pub date: Timestamp,
    /// The volume now.
    pub state: VolumeState,
    /// Whether every inode number of the volume can be on tape: at most [`Ino::LAST`](crate::units::Ino::LAST), or
    /// what the maps have room for.
    pub real_numbers_fit: bool,
    /// Whether a volume of another owner bears the same name where the volume is now.
    pub has_namesake: bool,
    /// What the volume of this name was, which dumps are recorded of and this one is not: it was replaced by a copy, a
    /// clone or a new one.
    pub replaced: Option<Access>,
    /// This engine's release.
    pub release: Release,
    /// The backup application.
    pub application: Application,
}

/// What the backup application can do when a volume moves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Application {
    /// It supports the CAB extension.
    pub supports_cab: bool,
    /// It follows a volume that moved by itself.
    pub follows_volumes: bool,
}

/// Why a baseline has to be made (R-CHAIN-6, R-CHAIN-7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum BaselineReason {
    /// There is no dump of a lower level.
    NoLowerLevel {
        /// The level asked for.
        level: Level,
    },
    /// There are dumps of a lower level, and each builds on one that is not there any more. This is about the newest.
    ChainBroken {
        /// The dump whose base is not there.
        dump: DumpId,
        /// That base.
        base: BaseRef,
    },
    /// The engine went back to an older release.
    OlderRelease {
        /// What made the base, or a dump after it.
        made_by: Release,
        /// What is to build on it.
        now: Release,
    },
    /// The mirror was broken after the base.
    MirrorBroken,
    /// The mirror was resynchronized after the base.
    MirrorResynchronized,
    /// The volume's access type changed.
    AccessChanged {
        /// What it was.
        before: Access,
        /// What it is.
        now: Access,
    },
    /// After a move, a volume of another owner bears the same name, and the application tells volumes by their names.
    Namesake,
    /// The volume moved or failed over, and the application neither supports CAB nor follows it.
    Moved,
    /// Another volume had this name when it was dumped: this one is a copy or a clone of it, or new.
    Replaced,
    /// The chain has the volume's own inode numbers, and there are some now that do not fit on a tape.
    NumbersTooLarge,
}

impl fmt::Display for BaselineReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoLowerLevel { level } => write!(f, "there is no dump below level {level}"),
            Self::ChainBroken { dump, base } => {
                write!(f, "the dump {dump} builds on {base}, which is not there any more")
            }
            Self::OlderRelease { made_by, now } => {
                write!(f, "release {made_by} dumped this volume, and this is release {now}")
            }
            Self::MirrorBroken => f.write_str("the mirror was broken"),
            Self::MirrorResynchronized => f.write_str("the mirror was resynchronized"),
            Self::AccessChanged { now: Access::ReadOnly, .. } => f.write_str("the volume became read-only"),
            Self::AccessChanged { now: Access::ReadWrite, .. } => f.write_str("the volume became writable"),
            Self::AccessChanged { now: Access::Mirror, .. } => f.write_str("the volume became a mirror"),
            Self::Namesake => {
                f.write_str("another owner's volume bears the same name where the volume is now")
            }
            Self::Moved => f.write_str("the volume moved, and the backup application does not follow it"),
            Self::Replaced => f.write_str(
                "another volume had this name when it was dumped, and this one is a copy or clone of it, or new",
            ),
            Self::NumbersTooLarge => f.write_str("the volume's inode numbers do not fit on tape any more"),
        }
    }
}

impl DumpRequest {
    /// Why there is no dump to build on at all.
    pub(super) const fn nothing_recorded(&self) -> BaselineReason {
        match (self.replaced, self.state.access) {
            (None, _) => BaselineReason::NoLowerLevel { level: self.level },
            // A mirror that was received anew is a new volume to those who look at its identity.
            (Some(Access::Mirror), Access::Mirror) => BaselineReason::MirrorResynchronized,
            (Some(Access::Mirror), _) => BaselineReason::MirrorBroken,
            (Some(_), _) => BaselineReason::Replaced,
        }
    }

    /// What stands against building on a dump. `newest` is the newest release that made it or a dump after it.
    ///
    /// Of several reasons it is the first in the order of [`BaselineReason`].
    pub(super) fn objection(&self, base: &Dump, newest: Option<Release>) -> Option<BaselineReason> {
        let (before, now) = (&base.state, &self.state);
        let own = match base.maker {
            Maker::Tapedump { release, .. } => Some(release),
            Maker::Foreign => None,
        };
        if let Some(made_by) = own.max(newest)
            && made_by > self.release
        {
            return Some(BaselineReason::OlderRelease { made_by, now: self.release });
        }
        let is_broken = before.access == Access::Mirror && now.access != Access::Mirror;
        if is_broken || before.mirror_breaks != now.mirror_breaks {
            return Some(BaselineReason::MirrorBroken);
        }
        let is_new = before.access != Access::Mirror && now.access == Access::Mirror;
        if !is_new && before.mirror_resyncs != now.mirror_resyncs {
            return Some(BaselineReason::MirrorResynchronized);
        }
        if before.access != now.access {
            return Some(BaselineReason::AccessChanged { before: before.access, now: now.access });
        }
        // With CAB the application knows the volume by its identity, as the history does (R-CHAIN-8).
        if before.node != now.node && !self.application.supports_cab {
            if self.has_namesake {
                return Some(BaselineReason::Namesake);
            }
            if !self.application.follows_volumes {
                return Some(BaselineReason::Moved);
            }
        }
        if base.numbering == Numbering::Real && !self.real_numbers_fit {
            return Some(BaselineReason::NumbersTooLarge);
        }
        None
    }
}
