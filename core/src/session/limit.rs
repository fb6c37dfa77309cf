//! Whether one more session may begin.

use core::fmt;

use super::{Refuses, Session};
use crate::limits::{
    SESSIONS_LARGE_MAX, SESSIONS_LARGE_MEMORY_MIN, SESSIONS_MEDIUM_MAX, SESSIONS_MEDIUM_MEMORY_MIN,
    SESSIONS_SMALL_MAX,
};

/// Sessions that may run at once on a system with so many bytes of memory (R-SESSION-1): what is built in, not what is free.
#[must_use]
pub const fn limit(memory_len: u64) -> u32 {
    if memory_len < SESSIONS_MEDIUM_MEMORY_MIN {
        SESSIONS_SMALL_MAX
    } else if memory_len < SESSIONS_LARGE_MEMORY_MIN {
        SESSIONS_MEDIUM_MAX
    } else {
        SESSIONS_LARGE_MAX
    }
}

/// Why a session may not begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Refusal {
    /// As many run as the memory allows; it may begin once enough of them have ended.
    Limit {
        /// How many may run.
        limit: u32,
        /// How many run, each counted by its kind.
        running: u32,
        /// What the new one counts.
        needed: u32,
    },
    /// Something is under way that lets no session begin: the place in the slice that was given.
    UnderWay {
        /// Its index.
        index: usize,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limit { limit, running, needed: 1 } => {
                write!(f, "{running} of {limit} dump and restore sessions run already")
            }
            Self::Limit { limit, running, needed } => {
                write!(f, "{running} of {limit} dump and restore sessions run already, and it takes {needed}")
            }
            Self::UnderWay { .. } => f.write_str("an event is under way that lets no session begin"),
        }
    }
}

/// Whether a session may begin beside those that run.
///
/// # Errors
/// What is under way refuses it (R-EVENT-2, R-EVENT-3), or the limit is reached (R-SESSION-1). Of both it is the former: no
/// waiting for a session's end helps then.
pub fn admit(
    new: &Session,
    running: impl IntoIterator<Item = Session>,
    limit: u32,
    under_way: &[Refuses],
) -> Result<(), Refusal> {
    if let Some(index) = under_way.iter().position(|refuses| refuses.refuses(new)) {
        return Err(Refusal::UnderWay { index });
    }
    let running = running.into_iter().fold(0_u32, |sum, session| sum.saturating_add(session.kind.sessions()));
    let needed = new.kind.sessions();
    if running.saturating_add(needed) > limit {
        return Err(Refusal::Limit { limit, running, needed });
    }
    Ok(())
}
