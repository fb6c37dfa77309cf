//! What the threads behind a tape share: locks that outlive a panic, and waits that an interruption ends.

use super::error::TapeError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tapedump_core::device::ErrorKind;

/// How often a wait looks whether it is to end.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A flag that somebody sets to stop the work. What waits for a pipe that nobody serves ends then, too.
#[derive(Clone, Debug, Default)]
pub struct Stop(Option<Arc<AtomicBool>>);

impl Stop {
    /// Stops when `flag` is set.
    #[must_use]
    pub fn when(flag: Arc<AtomicBool>) -> Self {
        Self(Some(flag))
    }

    /// Never stops.
    #[must_use]
    pub fn never() -> Self {
        Self(None)
    }

    /// Whether to stop.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.as_ref().is_some_and(|flag| flag.load(Ordering::Relaxed))
    }

    /// Waits for a change of what `guard` guards.
    pub(super) fn wait<'a, S>(
        &self,
        condvar: &Condvar,
        guard: MutexGuard<'a, S>,
    ) -> Result<MutexGuard<'a, S>, TapeError> {
        if self.0.is_none() {
            return Ok(wait(condvar, guard));
        }
        if self.is_set() {
            return Err(TapeError::new(ErrorKind::Interrupted, "tape", "interrupted"));
        }
        Ok(condvar.wait_timeout(guard, LOOK_EVERY).unwrap_or_else(PoisonError::into_inner).0)
    }

    /// [`wait`](Self::wait) for a medium: a disk ends its writes, so that an interrupted dump can be closed behind
    /// them; a pipe may not.
    pub(super) fn wait_for_medium<'a, S>(
        &self,
        condvar: &Condvar,
        guard: MutexGuard<'a, S>,
        is_disk: bool,
    ) -> Result<MutexGuard<'a, S>, TapeError> {
        if is_disk { Ok(wait(condvar, guard)) } else { self.wait(condvar, guard) }
    }
}

/// A panic of the other thread is printed when it happens; what is behind the lock stays usable.
pub(super) fn locked<S>(mutex: &Mutex<S>) -> MutexGuard<'_, S> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn wait<'a, S>(condvar: &Condvar, guard: MutexGuard<'a, S>) -> MutexGuard<'a, S> {
    condvar.wait(guard).unwrap_or_else(PoisonError::into_inner)
}
