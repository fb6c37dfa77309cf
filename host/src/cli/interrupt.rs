//! Ctrl-C and its kin, and events of the system that abort sessions: a flag that work looks at between two steps.

use super::exit::{CliError, FAILED};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use tapedump_core::session::Abort;

/// Set once somebody asks the program to stop.
#[derive(Clone, Debug)]
pub struct Interrupt {
    flag: Arc<AtomicBool>,
    abort: Arc<OnceLock<Abort>>,
}

/// Why the program was asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// By a signal.
    Signal,
    /// By an event of the system.
    Event(Abort),
}

impl Cause {
    /// Whether a dump that ended so may leave something to go on with (R-RESTART-6).
    pub const fn is_restartable(&self) -> bool {
        match self {
            Self::Signal => true,
            Self::Event(abort) => abort.is_restartable(),
        }
    }
}

impl fmt::Display for Cause {
    /// `interrupted`, `interrupted by a takeover, after which it cannot be restarted`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signal => f.write_str("interrupted"),
            Self::Event(abort) if self.is_restartable() => write!(f, "interrupted by {abort}"),
            Self::Event(abort) => write!(f, "interrupted by {abort}, after which it cannot be restarted"),
        }
    }
}

impl Interrupt {
    /// Takes the signals from now on. The second one ends the program at once.
    pub fn install() -> Result<Self, CliError> {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            // In this order: a signal that comes when the flag is set already is not the first.
            signal_hook::flag::register_conditional_shutdown(signal, FAILED.into(), Arc::clone(&flag))
                .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&flag)))
                .map_err(|error| CliError::failed(format!("cannot handle signals: {error}")))?;
        }
        // A file that may not grow further is told as an error of writing it.
        signal_hook::flag::register(SIGXFSZ, Arc::default())
            .map_err(|error| CliError::failed(format!("cannot handle signals: {error}")))?;
        Ok(Self { flag, abort: Arc::default() })
    }

    /// One that no signal sets.
    #[cfg(test)]
    pub fn unset() -> Self {
        Self { flag: Arc::default(), abort: Arc::default() }
    }

    /// Whether to stop.
    pub fn is_set(&self) -> bool {
        self.flag.load(Ordering::Relaxed)
    }

    /// The flag itself, for threads that look at it.
    pub fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.flag)
    }

    /// An event aborts the work.
    pub fn abort(&self, why: Abort) {
        // The first one counts; it is there before the flag is.
        _ = self.abort.set(why);
        self.flag.store(true, Ordering::Release);
    }

    /// Why to stop, once it is set. Of a signal and an event it is the event.
    pub fn cause(&self) -> Cause {
        self.abort.get().map_or(Cause::Signal, |abort| Cause::Event(*abort))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tapedump_core::session::Event;

    /// R-RESTART-6
    #[test]
    fn the_cause_is_told() {
        let interrupt = Interrupt::unset();
        assert!(!interrupt.is_set());
        assert_eq!(interrupt.cause().to_string(), "interrupted");
        assert!(interrupt.cause().is_restartable());
        interrupt.abort(Abort { event: Event::Takeover, is_automatic: false });
        interrupt.abort(Abort { event: Event::Switchover, is_automatic: true });
        assert!(interrupt.is_set());
        assert_eq!(
            interrupt.cause().to_string(),
            "interrupted by a takeover, after which it cannot be restarted"
        );
        assert!(!interrupt.cause().is_restartable());
        let switched = Cause::Event(Abort { event: Event::Switchover, is_automatic: true });
        assert_eq!(switched.to_string(), "interrupted by a switchover that the system began");
        assert!(switched.is_restartable());
    }
}
