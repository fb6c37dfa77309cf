//! Reading ahead: a thread reads the tape while the restore writes its volume. Layer: on top of any tape.
//!
//! The thread fills buffers, which go round, up to a number of bytes, and stops at whatever is not a record or a filemark.
//! It starts with the first read. Every other call first brings the tape to where the caller stands.

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

/// Length of the buffers until a record turns out to be longer.
const FIRST_BUF_LEN: usize = 64 << 10;

/// A tape behind a reading thread. See the module's head.
#[derive(Debug)]
pub struct ReadAhead<T> {
    shared: Arc<Shared<T>>,
    worker: Option<JoinHandle<()>>,
    capabilities: TapeCapabilities,
    stop: Stop,
    /// Where the caller stands while the thread is ahead.
    at: TapePosition,
}

#[derive(Debug)]
struct Shared<T> {
    /// Taken by the worker for one read, and by the caller when the worker rests.
    tape: Mutex<T>,
    queue_len: usize,
    state: Mutex<State>,
    /// The worker may go on.
    go: Condvar,
    /// The worker read something, or came to rest.
    done: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// What was read, in order. A buffer longer than its record keeps its length.
    ready: VecDeque<(Result<TapeRead, TapeError>, Vec<u8>)>,
    free: Vec<Vec<u8>>,
    /// Bytes of the buffers in `ready`.
    ready_len: usize,
    /// Length of the buffers the worker reads into: as long as the records are so far.
    buf_len: usize,
    /// Length of the caller's buffer: longer records are not for it.
    buf_len_max: usize,
    /// The worker is to read ahead.
    running: bool,
    /// The worker is in a read.
    busy: bool,
    stop: bool,
}

impl<T: Tape + 'static> ReadAhead<T> {
    /// Puts a thread that reads up to `queue_len` bytes ahead, at least one record, before `tape`. `stop` ends waits.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn new(tape: T, queue_len: usize, stop: Stop) -> Result<Self, TapeError> {
        let capabilities = tape.capabilities();
        let state = State::default();
        let shared = Arc::new(Shared {
            tape: Mutex::new(tape),
            queue_len,
            state: Mutex::new(state),
            go: Condvar::new(),
            done: Condvar::new(),
        });
        let work = Arc::clone(&shared);
        let worker =
            std::thread::Builder::new().name("tape-reader".into()).spawn(move || work.run()).map_err(
                |error| TapeError::new(ErrorKind::Other, "tape", format!("no thread for reading: {error}")),
            )?;
        Ok(Self { shared, worker: Some(worker), capabilities, stop, at: TapePosition::default() })
    }

    /// Brings the worker to rest and the tape to where the caller stands.
    fn settle(&mut self) -> Result<MutexGuard<'_, T>, TapeError> {
        let mut state = locked(&self.shared.state);
        let was_running = state.running || !state.ready.is_empty();
        state.running = false;
        while state.busy {
            state = self.stop.wait(&self.shared.done, state)?;
        }
        let ahead = !state.ready.is_empty();
        while let Some((_, buffer)) = state.ready.pop_front() {
            state.free.push(buffer);
        }
        state.ready_len = 0;
        drop(state);
        let mut tape = locked(&self.shared.tape);
        if was_running && ahead {
            tape.locate(self.at)?;
        }
        Ok(tape)
    }

    /// Positions only where the tape can; otherwise what was read ahead would be lost.
    fn settle_to_move(&mut self) -> Result<MutexGuard<'_, T>, TapeError> {
        if self.capabilities.can_position {
            return self.settle();
        }
        Err(TapeError::new(ErrorKind::Unsupported, "tape", "a pipe cannot be positioned"))
    }

    /// Starts the worker, reading into buffers of `buf_len`.
    fn start(&mut self, buf_len: usize) -> Result<(), TapeError> {
        // Asked before each start, since only the tape knows where an error left it.
        let at = locked(&self.shared.tape).position()?;
        self.at = at;
        let mut state = locked(&self.shared.state);
        state.buf_len_max = buf_len;
        state.buf_len = state.buf_len.max(FIRST_BUF_LEN).min(buf_len);
        state.running = true;
        drop(state);
        self.shared.go.notify_one();
        Ok(())
    }
}

impl<T: Tape> Shared<T> {
    fn run(&self) {
        let mut state = locked(&self.state);
        loop {
            if state.stop {
                return;
            }
            let has_room = state.ready.is_empty() || state.ready_len + state.buf_len <= self.queue_len;
            if !(state.running && has_room) {
                state = wait(&self.go, state);
                continue;
            }
            state.busy = true;
            let mut buffer = state.free.pop().unwrap_or_default();
            let (len, len_max) = (state.buf_len, state.buf_len_max);
            drop(state);
            buffer.resize(len, 0);
            let mut tape = locked(&self.tape);
            let mut read = tape.read(&mut buffer);
            if let Ok(TapeRead::BufferTooSmall { needed }) = read
                && needed <= len_max
            {
                // The position is before the record again: these tapes can go back.
                buffer.resize(needed, 0);
                read = tape.read(&mut buffer);
            }
            drop(tape);
            state = locked(&self.state);
            state.busy = false;
            state.buf_len = state.buf_len.max(buffer.len());
            state.ready_len += buffer.len();
            if !matches!(read, Ok(TapeRead::Record(_) | TapeRead::Filemark)) {
                state.running = false;
            }
            state.ready.push_back((read, buffer));
            self.done.notify_all();
        }
    }
}

impl<T: Tape + 'static> TapeDevice for ReadAhead<T> {
    type Error = TapeError;

    fn capabilities(&self) -> TapeCapabilities {
        self.capabilities
    }

    fn read(&mut self, buf: &mut [u8]) -> Result<TapeRead, TapeError> {
        let mut state = locked(&self.shared.state);
        if !state.running && !state.busy && state.ready.is_empty() {
            drop(state);
            self.start(buf.len())?;
            state = locked(&self.shared.state);
        }
        while state.ready.is_empty() {
            state = self.stop.wait(&self.shared.done, state)?;
        }
        let Some((read, record)) = state.ready.pop_front() else { return Ok(TapeRead::EndOfData) };
        state.ready_len -= record.len();
        drop(state);
        if let Ok(TapeRead::Record(len)) = read {
            let Some(to) = buf.get_mut(..len) else {
                let mut state = locked(&self.shared.state);
                state.ready_len += record.len();
                state.ready.push_front((read, record));
                return Ok(TapeRead::BufferTooSmall { needed: len });
            };
            to.copy_from_slice(&record[..len]);
            self.at.record += 1;
        }
        if let Ok(TapeRead::Filemark) = read {
            self.at = TapePosition { file: self.at.file + 1, record: 0 };
        }
        let mut state = locked(&self.shared.state);
        // Should records get longer, buffers get fewer.
        if state.ready_len + (state.free.len() + 1) * state.buf_len <= self.shared.queue_len {
            state.free.push(record);
        }
        drop(state);
        self.shared.go.notify_one();
        match read {
            // It was too long for the buffers of an earlier, shorter caller's.
            Ok(TapeRead::BufferTooSmall { needed }) if needed <= buf.len() && !buf.is_empty() => {
                self.read(buf)
            }
            read => read,
        }
    }

    fn write(&mut self, record: &[u8]) -> Result<TapeWrite, TapeError> {
        self.settle_to_move()?.write(record)
    }

    fn write_filemark(&mut self) -> Result<TapeWrite, TapeError> {
        self.settle_to_move()?.write_filemark()
    }

    fn flush(&mut self) -> Result<(), TapeError> {
        self.settle_to_move()?.flush()
    }

    fn position(&mut self) -> Result<TapePosition, TapeError> {
        let state = locked(&self.shared.state);
        if state.running || state.busy || !state.ready.is_empty() {
            return Ok(self.at);
        }
        drop(state);
        locked(&self.shared.tape).position()
    }

    fn locate(&mut self, to: TapePosition) -> Result<Spaced, TapeError> {
        self.settle_to_move()?.locate(to)
    }

    fn space(&mut self, by: Space) -> Result<Spaced, TapeError> {
        self.settle_to_move()?.space(by)
    }

    fn rewind(&mut self) -> Result<(), TapeError> {
        self.settle_to_move()?.rewind()
    }

    fn unload(&mut self) -> Result<(), TapeError> {
        let mut state = locked(&self.shared.state);
        state.running = false;
        while state.busy {
            state = self.stop.wait(&self.shared.done, state)?;
        }
        drop(state);
        locked(&self.shared.tape).unload()
    }
}

impl<T> Drop for ReadAhead<T> {
    fn drop(&mut self) {
        let mut state = locked(&self.shared.state);
        state.stop = true;
        let busy = state.busy;
        drop(state);
        self.shared.go.notify_one();
        // A thread that waits for a pipe to deliver is left behind: it ends with its read, or with the process.
        if let Some(worker) = self.worker.take().filter(|_| self.capabilities.can_position || !busy) {
            // A panic of the worker was printed when it happened.
            _ = worker.join();
        }
    }
}

#[cfg(test)]
#[path = "read_ahead_tests.rs"]
mod tests;
