//! Writes behind: a target's objects are made by several threads while the engine reads on.
//!
//! Layer: behind the device contracts. The calls for an object, from its creation to the links that follow it, go
//! into a *batch*; a batch goes to whichever worker is free, because creating files is the kernel's work and the
//! more evenly it is spread, the better. An object too large for one batch goes on in further ones, which only the
//! worker that began it takes (a *stream*). Directories are made at once, so they are there before what they hold.
//!
//! Memory: at most `BATCHES_MAX` batches exist, each of bounded size; when all are on their way, the engine waits.

mod batch;
mod flusher;
mod worker;

use crate::volume::VolumeError;
use crate::volume::failures::shortened;
use crate::volume::target::LinuxTarget;
use batch::{BATCH_CALLS_MAX, BATCH_LEN_MAX, Batch, Call, Span};
use flusher::Flusher;
use std::collections::VecDeque;
use std::mem;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use tapedump_core::device::ErrorKind;
use tapedump_core::device::volume::{
    Attributes, FailedPart, Failure, Made, Place, PropertyKind, Room, TargetCapabilities, TargetVolume,
};
use tapedump_core::units::Ino;
use worker::Worker;

/// Batches there are: all the memory of this module.
const BATCHES_MAX: usize = 64;

/// Bytes the batches may take together.
const MEMORY_MAX: usize = 24 * 1024 * 1024;

const _: () = assert!(BATCHES_MAX * (BATCH_LEN_MAX + BATCH_CALLS_MAX * size_of::<Call>()) <= MEMORY_MAX);

/// A [`LinuxTarget`] that works behind on several threads. With one thread it works at once.
#[derive(Debug)]
pub struct WriteBehind {
    target: LinuxTarget,
    pool: Option<Pool>,
}

impl WriteBehind {
    /// Works with that many threads; 0: one for each processor. Gets along with fewer when the system gives no more.
    #[must_use]
    pub fn new(target: LinuxTarget, threads: usize) -> Self {
        let threads = match threads {
            0 => thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        };
        let pool = if threads > 1 { Pool::start(threads, &target) } else { None };
        Self { target, pool }
    }

    /// Threads that make objects.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.pool.as_ref().map_or(1, |pool| pool.workers.len())
    }

    /// Lets the jobs that hold directories open finish before yet another one is opened.
    fn make_room(&mut self) {
        if self.target.directories.crowded() {
            self.barrier();
        }
    }
}

impl TargetVolume for WriteBehind {
    type Error = VolumeError;

    fn capabilities(&self) -> TargetCapabilities {
        self.target.capabilities()
    }

    fn room(&mut self) -> Result<Room, VolumeError> {
        self.target.room()
    }

    fn knows(&mut self, directory: Ino) -> bool {
        self.target.knows(directory)
    }

    fn enter(&mut self, place: Place<'_>, directory: Ino) -> Result<(), VolumeError> {
        self.make_room();
        self.target.enter(place, directory)
    }

    fn make_directory(&mut self, place: Place<'_>, directory: Ino) -> Result<Made, VolumeError> {
        self.make_room();
        self.target.make_directory(place, directory)
    }

    fn create(&mut self, place: Place<'_>, ino: Ino, attributes: &Attributes) -> Result<(), VolumeError> {
        let Some(pool) = &mut self.pool else { return self.target.create(place, ino, attributes) };
        let directory = self.target.directory(place.parent)?;
        pool.begin(ino, attributes.size)?;
        let name = pool.batch.keep(place.name);
        pool.batch.calls.push(Call::Create { directory, name, ino, attributes: *attributes });
        Ok(())
    }

    fn reopen(&mut self, place: Place<'_>, ino: Ino) -> Result<(), VolumeError> {
        let Some(pool) = &mut self.pool else { return self.target.reopen(place, ino) };
        let directory = self.target.directory(place.parent)?;
        let known = self.target.directories.look_up(ino).cloned();
        pool.begin(ino, 0)?;
        let name = pool.batch.keep(place.name);
        pool.batch.calls.push(Call::Reopen { directory, name, ino, known });
        Ok(())
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Result<(), VolumeError> {
        match &mut self.pool {
            Some(pool) => pool.write(offset, data),
            None => self.target.write(offset, data),
        }
    }

    fn begin_property(&mut self, kind: PropertyKind, name: &[u8], value_len: u32) -> Result<(), VolumeError> {
        let Some(pool) = &mut self.pool else { return self.target.begin_property(kind, name, value_len) };
        pool.make_room(name.len())?;
        let name = pool.batch.keep(name);
        pool.batch.calls.push(Call::Property { kind, name, value_len });
        Ok(())
    }

    fn write_property(&mut self, piece: &[u8]) -> Result<(), VolumeError> {
        match &mut self.pool {
            Some(pool) => pool.in_pieces(piece, |value, _| Call::Value { value }),
            None => self.target.write_property(piece),
        }
    }

    fn finish(&mut self, attributes: &Attributes) -> Result<(), VolumeError> {
        let Some(pool) = &mut self.pool else { return self.target.finish(attributes) };
        pool.end(Call::Finish { attributes: *attributes })
    }

    fn release(&mut self) {
        match &mut self.pool {
            // That the workers are gone was told by the calls before.
            Some(pool) => drop(pool.end(Call::Release)),
            None => self.target.release(),
        }
    }

    fn link(&mut self, existing: Place<'_>, place: Place<'_>, ino: Ino) -> Result<(), VolumeError> {
        let Some(pool) = &mut self.pool else { return self.target.link(existing, place, ino) };
        if pool.last != Some(ino) || !pool.batch.has_room(existing.name.len() + place.name.len()) {
            // The object is in a batch on its way, nobody knows which; or none is, and there is nothing to wait for.
            pool.barrier();
            let to = self.target.directory(place.parent)?;
            return match pool.is_unmade(ino) {
                true => Err(unmade(to.path_of(place.name))),
                false => self.target.link(existing, place, ino),
            };
        }
        let from = self.target.directory(existing.parent)?;
        let to = self.target.directory(place.parent)?;
        let existing = pool.batch.keep(existing.name);
        let name = pool.batch.keep(place.name);
        pool.batch.calls.push(Call::Link { from, existing, to, name, ino });
        Ok(())
    }

    fn poll_failure(&mut self) -> Option<Failure<VolumeError>> {
        self.pool.as_ref().and_then(Pool::poll_failure).or_else(|| self.target.poll_failure())
    }

    fn barrier(&mut self) {
        if let Some(pool) = &mut self.pool {
            pool.barrier();
        }
    }

    fn flush(&mut self) -> Result<(), VolumeError> {
        self.barrier();
        self.target.flush()?;
        match &self.pool {
            Some(pool) => pool.check(),
            None => Ok(()),
        }
    }
}

/// The workers, and the batch being filled.
#[derive(Debug)]
struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    flusher: Option<Flusher>,
    batch: Batch,
    /// The object that the calls are for, as long as links to it may go into the same batch.
    last: Option<Ino>,
    /// An object is open.
    open: bool,
    streams: u64,
}

impl Pool {
    /// `None`: no thread could be started.
    fn start(threads: usize, target: &LinuxTarget) -> Option<Self> {
        let shared: Arc<Shared> = Arc::default();
        let mut workers = Vec::new();
        for number in 0..threads {
            let worker = Worker {
                shared: Arc::clone(&shared),
                writer: target.another_writer(),
                ino: Ino::ROOT,
                skip: false,
                unmade: false,
            };
            match thread::Builder::new().name(format!("restore-{number}")).spawn(move || worker.run()) {
                Ok(handle) => workers.push(handle),
                Err(_) => break,
            }
        }
        let flusher = target.open_for_sync().map(Flusher::start);
        let batch = Batch::default();
        let pool = Self { shared, workers, flusher, batch, last: None, open: false, streams: 0 };
        (!pool.workers.is_empty()).then_some(pool)
    }

    /// Gets ready for the calls of another object with `size` bytes of data: one that fits in a batch is not torn.
    fn begin(&mut self, ino: Ino, size: u64) -> Result<(), VolumeError> {
        self.open = false;
        if !self.batch.has_room_for_object(size) {
            self.send()?;
        }
        self.last = Some(ino);
        self.open = true;
        Ok(())
    }

    fn end(&mut self, call: Call) -> Result<(), VolumeError> {
        if !self.open {
            return Ok(());
        }
        self.make_room(0)?;
        self.batch.calls.push(call);
        self.open = false;
        Ok(())
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Result<(), VolumeError> {
        if self.batch.append(offset, data) {
            return Ok(());
        }
        self.in_pieces(data, |data, at| Call::Write { offset: offset.saturating_add(at as u64), data })
    }

    /// Puts `bytes` into this batch and, when they do not fit, into further ones; a call for each piece.
    fn in_pieces(&mut self, bytes: &[u8], call: impl Fn(Span, usize) -> Call) -> Result<(), VolumeError> {
        // Whole batches, so that what is written stays aligned as the caller gave it.
        for (index, piece) in bytes.chunks(BATCH_LEN_MAX).enumerate() {
            self.make_room(piece.len())?;
            let span = self.batch.keep(piece);
            self.batch.calls.push(call(span, index * BATCH_LEN_MAX));
        }
        Ok(())
    }

    /// Makes sure that one more call with `len` bytes fits in the batch.
    fn make_room(&mut self, len: usize) -> Result<(), VolumeError> {
        if self.batch.has_room(len) { Ok(()) } else { self.send() }
    }

    /// Sends the batch away and begins another; the open object goes on in it.
    fn send(&mut self) -> Result<(), VolumeError> {
        if self.batch.calls.is_empty() {
            return self.check();
        }
        if let Some(flusher) = &self.flusher {
            flusher.count(self.batch.bytes.len(), self.batch.calls.len());
        }
        let mut state = self.shared.lock();
        while state.spare.is_empty() && state.made == BATCHES_MAX && !state.broken {
            state = self.shared.wait_idle(state);
        }
        let mut next = state.spare.pop().unwrap_or_else(|| {
            state.made += 1;
            Batch::default()
        });
        if self.open {
            let stream = self.batch.continues.unwrap_or_else(|| {
                self.streams += 1;
                self.streams
            });
            self.batch.leaves_open = Some(stream);
            next.continues = Some(stream);
        } else {
            self.last = None;
        }
        state.ready.push_back(mem::replace(&mut self.batch, next));
        drop(state);
        // All of them: only a certain one may take the rest of a stream.
        self.shared.work.notify_all();
        self.check()
    }

    /// Returns when everything asked for so far is done.
    fn barrier(&mut self) {
        // What can fail here is told by `check` at the next call.
        let _ = self.send();
        let mut state = self.shared.lock();
        while !(state.ready.is_empty() && state.busy == 0 || state.broken) {
            state = self.shared.wait_idle(state);
        }
    }

    /// A worker that panicked leaves objects unmade that nobody names: then nothing more is accepted.
    fn check(&self) -> Result<(), VolumeError> {
        if self.shared.lock().broken {
            return Err(VolumeError::own(
                "go on with",
                "",
                ErrorKind::Other,
                "a thread of the restore failed",
            ));
        }
        Ok(())
    }

    /// Whether a failure that nobody asked for yet says that the object could not be made.
    fn is_unmade(&self, ino: Ino) -> bool {
        self.shared.failed.load(Ordering::Acquire)
            && self
                .shared
                .lock_failures()
                .iter()
                .any(|failure| failure.ino == ino && failure.what == FailedPart::Create)
    }

    fn poll_failure(&self) -> Option<Failure<VolumeError>> {
        if !self.shared.failed.load(Ordering::Acquire) {
            return None;
        }
        let mut failures = self.shared.lock_failures();
        let failure = failures.pop_front();
        self.shared.failed.store(!failures.is_empty(), Ordering::Release);
        failure
    }
}

impl Drop for Pool {
    /// Finishes what was asked for.
    fn drop(&mut self) {
        self.barrier();
        self.shared.lock().closed = true;
        self.shared.work.notify_all();
        for worker in self.workers.drain(..) {
            // A panic was told by `check`.
            let _ = worker.join();
        }
    }
}

/// What the engine's thread and the workers share.
#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// There are batches to take, or it is over.
    work: Condvar,
    /// A batch was done.
    idle: Condvar,
    failures: Mutex<VecDeque<Failure<VolumeError>>>,
    /// Whether there are failures; saves the engine the lock after each object.
    failed: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    ready: VecDeque<Batch>,
    spare: Vec<Batch>,
    made: usize,
    busy: usize,
    closed: bool,
    broken: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_failures(&self) -> MutexGuard<'_, VecDeque<Failure<VolumeError>>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_idle<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.idle.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    /// The next batch for a worker that has the object of `stream` open, or none. `None`: it is over.
    fn take(&self, stream: Option<u64>) -> Option<Batch> {
        let mut state = self.lock();
        loop {
            if let Some(at) = state.ready.iter().position(|batch| batch.continues == stream) {
                state.busy += 1;
                return state.ready.remove(at);
            }
            if state.closed {
                return None;
            }
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn give_back(&self, mut batch: Batch) {
        batch.clear();
        let mut state = self.lock();
        state.busy -= 1;
        state.spare.push(batch);
        drop(state);
        self.idle.notify_one();
    }

    fn tell(&self, failures: &mut Vec<Failure<VolumeError>>) {
        if !failures.is_empty() {
            let mut told = self.lock_failures();
            for failure in failures.drain(..) {
                let waiting = told.len();
                told.push_back(shortened(failure, waiting));
            }
            self.failed.store(true, Ordering::Release);
        }
    }
}

/// Tells everybody when its thread panics, so that nobody waits for it.
struct Alarm(Arc<Shared>);

impl Drop for Alarm {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.lock().broken = true;
            self.0.idle.notify_all();
        }
    }
}

/// The error of a further name for an object that is not there.
fn unmade(path: PathBuf) -> VolumeError {
    VolumeError::own("link", path, ErrorKind::NotFound, "the object it names could not be made")
}

#[cfg(test)]
mod tests;
