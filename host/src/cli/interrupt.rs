//! Ctrl-C and its kin: a flag that work looks at between two steps.

use super::exit::{CliError, FAILED};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Set once somebody asks the program to stop.
#[derive(Clone, Debug)]
pub struct Interrupt(Arc<AtomicBool>);

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
        Ok(Self(flag))
    }

    /// Whether to stop.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// The flag itself, for threads that look at it.
    pub fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }
}
