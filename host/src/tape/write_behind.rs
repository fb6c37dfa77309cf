//! Writing behind: a thread writes to the medium while the dump reads its volume. Layer: on top of any tape.
//!
//! The queue has a fixed number of buffers, which go round. Errors of the medium come up at a later write, at the latest
//! at the filemark, as the contract allows.
//!
//! End of medium: from the early warning on, each record is on the medium before its write returns. So where the
//! tape warns by at least the length of the queue before its end, as every tape of this program and every drive
//! does, the end of medium is reported with all records accepted before on the medium, as the contract demands. Where it
//! ends without warning while records are on their way, those cannot be taken back: that is an `Err` of kind
//! [`ErrorKind::Full`] that says how many they are.

use super::Tape;
use super::error::TapeError;
use super::thread::{Stop, locked, wait};
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use tapedump_core::device::ErrorKind;
use tapedump_core::device::tape::{
    Space, Spaced, TapeCapabilities, TapeDevice, TapePosition, TapeRead, TapeWrite,
};

/// A tape behind a writing thread. See the module's head.
#[derive(Debug)]
pub struct WriteBehind<T> {
    shared: Arc<Shared<T>>,
    worker: Option<JoinHandle<()>>,
    capabilities: TapeCapabilities,
    stop: Stop,
    /// Where the caller stands, while it only writes.
    at: Option<TapePosition>,
}

#[derive(Debug)]
struct Shared<T> {
    /// The tape, for messages.
    name: String,
    /// Taken by the worker for one record, and by the caller when nothing is queued.
    tape: Mutex<T>,
    state: Mutex<State>,
    /// A record was queued, or the end was asked for.
    queued: Condvar,
    /// A record was written or given up.
    done: Condvar,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Vec<u8>>,
    free: Vec<Vec<u8>>,
    /// The worker is writing a record.
    busy: bool,
    /// The tape gave its early warning.
    warned: bool,
    /// Told to the caller once; nothing is written until then.
    failure: Option<TapeError>,
    stop: bool,
}

impl<T: Tape + 'static> WriteBehind<T> {
    /// Puts a thread and a queue of `depth` records, at least one, before `tape`, which messages call `name`. `stop` ends waits.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn new(name: impl Into<String>, tape: T, depth: usize, stop: Stop) -> Result<Self, TapeError> {
        let capabilities = tape.capabilities();
        let state = State { free: vec![Vec::new(); depth.max(1)], ..State::default() };
        let shared = Arc::new(Shared {
            name: name.into(),
            tape: Mutex::new(tape),
            state: Mutex::new(state),
            queued: Condvar::new(),
            done: Condvar::new(),
        });
        let work = Arc::clone(&shared);
        let worker = std::thread::Builder::new()
            .name("tape-writer".into())
            .spawn(move || work.run())
            .map_err(|error| {
                let what = format!("no thread for writing: {error}");
                TapeError::new(ErrorKind::Other, shared.name.clone(), what)
            })?;
        Ok(Self { shared, worker: Some(worker), capabilities, stop, at: None })
    }

    /// Waits until the queue is empty, and tells a failure that was not told yet.
    fn drain(&self) -> Result<MutexGuard<'_, T>, TapeError> {
        let mut state = locked(&self.shared.state);
        while state.busy || !state.queue.is_empty() {
            state = self.stop.wait_for_medium(&self.shared.done, state, self.capabilities.can_position)?;
        }
        match state.failure.take() {
            Some(failure) => Err(failure),
            None => Ok(locked(&self.shared.tape)),
        }
    }
}

impl<T: Tape + 'static> WriteBehind<T> {
    /// Queues a record; from the early warning on, and when it is refused anyway, writes it at once.
    fn enqueue(&mut self, record: &[u8]) -> Result<TapeWrite, TapeError> {
        let refused = record.is_empty() || record.len() > self.capabilities.record_len_max;
        let mut state = locked(&self.shared.state);
        if state.warned || refused || self.capabilities.write_protected {
            drop(state);
            return self.drain()?.write(record);
        }
        let mut buffer = loop {
            if let Some(failure) = state.failure.take() {
                return Err(failure);
            }
            match state.free.pop() {
                Some(buffer) => break buffer,
                None => state = self.stop.wait(&self.shared.done, state)?,
            }
        };
        drop(state);
        buffer.clear();
        buffer.extend_from_slice(record);
        let mut state = locked(&self.shared.state);
        if let Some(failure) = state.failure.take() {
            // A record before this one failed meanwhile: this one is not accepted.
            state.free.push(buffer);
            return Err(failure);
        }
        state.queue.push_back(buffer);
        let warned = state.warned;
        drop(state);
        self.shared.queued.notify_one();
        Ok(if warned { TapeWrite::EarlyWarning } else { TapeWrite::Written })
    }
}

impl<T: Tape> Shared<T> {
    fn run(&self) {
        let mut state = locked(&self.state);
        loop {
            let Some(record) = state.queue.pop_front() else {
                if state.stop {
                    return;
                }
                state = wait(&self.queued, state);
                continue;
            };
            state.busy = true;
            drop(state);
            let written = locked(&self.tape).write(&record);
            state = locked(&self.state);
            state.busy = false;
            state.free.push(record);
            match written {
                Ok(TapeWrite::Written) => {}
                Ok(TapeWrite::EarlyWarning) => state.warned = true,
                Ok(TapeWrite::EndOfMedium) => {
                    let lost = state.queue.len() + 1;
                    let what = format!(
                        "the medium ended without early warning with {lost} records on their way to it"
                    );
                    let error = TapeError::new(ErrorKind::Full, self.name.clone(), what);
                    state.fail(error.advise("a restart of the dump writes them again, and each at once"));
                }
                Err(error) => state.fail(error),
            }
            self.done.notify_all();
        }
    }
}

impl State {
    /// What is queued behind a record that could not be written must not be written either.
    fn fail(&mut self, error: TapeError) {
        let void = std::mem::take(&mut self.queue);
        self.free.extend(void);
        self.failure = Some(error);
    }
}

impl<T: Tape + 'static> TapeDevice for WriteBehind<T> {
    type Error = TapeError;

    fn capabilities(&self) -> TapeCapabilities {
        self.capabilities
    }

    fn read(&mut self, buf: &mut [u8]) -> Result<TapeRead, TapeError> {
        self.at = None;
        self.drain()?.read(buf)
    }

    fn write(&mut self, record: &[u8]) -> Result<TapeWrite, TapeError> {
        let at = self.at.take();
        let written = self.enqueue(record)?;
        if written != TapeWrite::EndOfMedium {
            self.at = at.map(|at| TapePosition { record: at.record + 1, ..at });
        }
        Ok(written)
    }

    fn write_filemark(&mut self) -> Result<TapeWrite, TapeError> {
        self.at = None;
        let written = self.drain()?.write_filemark()?;
        if written == TapeWrite::EarlyWarning {
            locked(&self.shared.state).warned = true;
        }
        Ok(written)
    }

    fn flush(&mut self) -> Result<(), TapeError> {
        self.drain()?.flush()
    }

    fn position(&mut self) -> Result<TapePosition, TapeError> {
        if let Some(at) = self.at
            && locked(&self.shared.state).failure.is_none()
        {
            return Ok(at);
        }
        let at = self.drain()?.position()?;
        self.at = Some(at);
        Ok(at)
    }

    fn locate(&mut self, to: TapePosition) -> Result<Spaced, TapeError> {
        self.at = None;
        let spaced = self.drain()?.locate(to)?;
        locked(&self.shared.state).warned = false;
        Ok(spaced)
    }

    fn space(&mut self, by: Space) -> Result<Spaced, TapeError> {
        self.at = None;
        let spaced = self.drain()?.space(by)?;
        locked(&self.shared.state).warned = false;
        Ok(spaced)
    }

    fn rewind(&mut self) -> Result<(), TapeError> {
        self.at = None;
        self.drain()?.rewind()?;
        locked(&self.shared.state).warned = false;
        Ok(())
    }

    fn unload(&mut self) -> Result<(), TapeError> {
        self.at = None;
        self.drain()?.unload()
    }
}

impl<T> Drop for WriteBehind<T> {
    /// Writes what is queued. A failure has nobody to be told to: a caller who cares wrote a filemark.
    fn drop(&mut self) {
        locked(&self.shared.state).stop = true;
        self.shared.queued.notify_one();
        // A thread that waits for the reader of a pipe is left behind where the work was stopped.
        let may_wait = self.capabilities.can_position || !self.stop.is_set();
        if let Some(worker) = self.worker.take().filter(|_| may_wait) {
            // A panic of the worker was printed when it happened.
            _ = worker.join();
        }
    }
}

#[cfg(test)]
#[path = "write_behind_tests.rs"]
mod tests;
