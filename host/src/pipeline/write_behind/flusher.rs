//! Makes what is restored durable along the way.
//!
//! A restore ends with a flush of the whole volume. Left to that, most of the writing would begin when the making of
//! objects is over; begun early, both go on at the same time.

use rustix::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

/// Bytes after which the volume is flushed. Small enough that little is left for the end, large enough that the
/// file system's journal is not closed all the time.
const FLUSH_EVERY: u64 = 128 * 1024 * 1024;

/// What a call takes on the volume besides its data: an inode, a name, their share of the journal.
const CALL_COST: u64 = 512;

/// A thread that flushes a volume now and then.
#[derive(Debug)]
pub(super) struct Flusher {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Debug, Default)]
struct State {
    unflushed: u64,
    closed: bool,
}

impl Flusher {
    /// Flushes the volume of `fd`. Without a thread nothing is flushed along the way, which the end makes good.
    ///
    /// An error is told to each open file of the volume, so the flush at the end hears of it through its own.
    pub(super) fn start(fd: OwnedFd) -> Self {
        let shared: Arc<Shared> = Arc::default();
        let theirs = Arc::clone(&shared);
        let thread = thread::Builder::new().name("flush".into()).spawn(move || {
            while theirs.wait() {
                let _ = rustix::fs::syncfs(&fd);
            }
        });
        Self { shared, thread: thread.ok() }
    }

    /// Counts what is on its way.
    pub(super) fn count(&self, bytes: usize, calls: usize) {
        let mut state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.unflushed = state.unflushed.saturating_add(bytes as u64 + calls as u64 * CALL_COST);
        if state.unflushed >= FLUSH_EVERY {
            self.shared.work.notify_one();
        }
    }
}

impl Shared {
    /// Whether there is something to flush, or it is over.
    fn wait(&self) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while !state.closed && state.unflushed < FLUSH_EVERY {
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.unflushed = 0;
        !state.closed
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.shared.work.notify_one();
        if let Some(thread) = self.thread.take() {
            // It only waits and flushes.
            let _ = thread.join();
        }
    }
}
