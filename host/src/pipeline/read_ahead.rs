//! Batches of work done ahead on several threads and handed out in order.
//!
//! Threads claim batches from one feed, under a lock, and work on them at the same time; the consumer takes them in
//! the order in which they were claimed, so it sees the same sequence for any number of threads. At most `window`
//! batches exist at a time, and their buffers are used again.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

/// What is done ahead.
pub trait Work: Send + Sync + 'static {
    /// Where batches are claimed from, one after the other.
    type Feed: Send + 'static;
    /// A piece of work, and then its result.
    type Batch: Default + Send + 'static;
    /// What a thread keeps for itself from batch to batch.
    type Tool;

    /// A new thread's tool.
    fn tool(&self) -> Self::Tool;

    /// Puts the next piece of work in `batch`, which may hold an older result. `false`: there is no more.
    fn claim(&self, feed: &mut Self::Feed, batch: &mut Self::Batch) -> bool;

    /// Does the work.
    fn work(&self, tool: &mut Self::Tool, batch: &mut Self::Batch);
}

/// Batches in order, worked on ahead of their consumer.
pub struct ReadAhead<W: Work> {
    shared: Arc<Shared<W>>,
    threads: Vec<JoinHandle<()>>,
    /// Set when there are no threads: the consumer does the work itself.
    inline: Option<W::Tool>,
}

struct Shared<W: Work> {
    work: W,
    window: u64,
    state: Mutex<State<W>>,
    room: Condvar,
    ready: Condvar,
}

struct State<W: Work> {
    feed: W::Feed,
    /// Batches claimed and batches taken by the consumer, since the beginning.
    claimed: u64,
    taken: u64,
    /// The feed has no more, or must not be asked any more.
    ended: bool,
    /// A thread has panicked.
    failed: bool,
    /// One place for each batch between `taken` and `claimed`; empty while it is worked on.
    window: VecDeque<Option<W::Batch>>,
    spare: Vec<W::Batch>,
}

impl<W: Work> ReadAhead<W> {
    /// Starts `threads` threads (none for 0 and 1, or where the system gives none) that work up to `window`
    /// batches ahead.
    pub fn new(work: W, feed: W::Feed, threads: usize, window: usize) -> Self {
        let state = State {
            feed,
            claimed: 0,
            taken: 0,
            ended: false,
            failed: false,
            window: VecDeque::with_capacity(window),
            spare: Vec::new(),
        };
        let shared = Arc::new(Shared {
            work,
            window: window.max(1) as u64,
            state: Mutex::new(state),
            room: Condvar::new(),
            ready: Condvar::new(),
        });
        let mut handles = Vec::new();
        for number in 0..if threads > 1 { threads } else { 0 } {
            let shared = Arc::clone(&shared);
            let thread = thread::Builder::new().name(format!("read-ahead-{number}"));
            match thread.spawn(move || shared.run()) {
                Ok(handle) => handles.push(handle),
                // Fewer threads do the same work.
                Err(_) => break,
            }
        }
        let inline = handles.is_empty().then(|| shared.work.tool());
        Self { shared, threads: handles, inline }
    }

    /// The next batch; `None` after the last one, or when a thread failed.
    pub fn next_batch(&mut self) -> Option<W::Batch> {
        if let Some(tool) = &mut self.inline {
            let mut state = self.shared.lock();
            let mut batch = state.spare.pop().unwrap_or_default();
            if !self.shared.work.claim(&mut state.feed, &mut batch) {
                return None;
            }
            drop(state);
            self.shared.work.work(tool, &mut batch);
            return Some(batch);
        }
        let mut state = self.shared.lock();
        loop {
            if let Some(place) = state.window.front_mut() {
                if let Some(batch) = place.take() {
                    state.window.pop_front();
                    state.taken += 1;
                    self.shared.room.notify_one();
                    return Some(batch);
                }
            } else if state.ended {
                return None;
            }
            if state.failed {
                // The front batch may never be ready.
                return None;
            }
            state = self.shared.ready.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Gives a batch's buffers back for use.
    pub fn recycle(&self, batch: W::Batch) {
        self.shared.lock().spare.push(batch);
    }
}

impl<W: Work> Drop for ReadAhead<W> {
    fn drop(&mut self) {
        self.shared.end();
        for thread in self.threads.drain(..) {
            // A thread that failed has said so on standard error; there is nothing left to do about it here.
            let _ = thread.join();
        }
    }
}

/// Ends the feed when its thread unwinds, so that nobody waits for a batch that never comes.
struct EndOnPanic<'a, W: Work>(&'a Shared<W>);

impl<W: Work> Drop for EndOnPanic<'_, W> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.lock().failed = true;
            self.0.end();
        }
    }
}

impl<W: Work> Shared<W> {
    fn lock(&self) -> MutexGuard<'_, State<W>> {
        // No invariant spans a point at which the holder could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self) {
        self.lock().ended = true;
        self.room.notify_all();
        self.ready.notify_all();
    }

    fn run(&self) {
        let _guard = EndOnPanic(self);
        let mut tool = self.work.tool();
        while let Some((number, mut batch)) = self.claim() {
            self.work.work(&mut tool, &mut batch);
            let mut state = self.lock();
            // The place exists: the consumer takes a batch only once it is there.
            let index = (number - state.taken) as usize;
            if let Some(place) = state.window.get_mut(index) {
                *place = Some(batch);
            }
            if index == 0 {
                self.ready.notify_one();
            }
        }
    }

    fn claim(&self) -> Option<(u64, W::Batch)> {
        let mut state = self.lock();
        while !state.ended && state.claimed - state.taken >= self.window {
            state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.ended {
            return None;
        }
        let mut batch = state.spare.pop().unwrap_or_default();
        if !self.work.claim(&mut state.feed, &mut batch) {
            state.ended = true;
            self.room.notify_all();
            self.ready.notify_all();
            return None;
        }
        let number = state.claimed;
        state.claimed += 1;
        state.window.push_back(None);
        Some((number, batch))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts to `end` in batches of up to 3, with work that takes longer for some batches than for others.
    struct Count {
        end: u32,
        panic_at: Option<u32>,
    }

    impl Work for Count {
        type Feed = u32;
        type Batch = Vec<u32>;
        type Tool = u32;

        fn tool(&self) -> u32 {
            1000
        }

        fn claim(&self, feed: &mut u32, batch: &mut Vec<u32>) -> bool {
            batch.clear();
            while *feed < self.end && batch.len() < 3 {
                batch.push(*feed);
                *feed += 1;
            }
            !batch.is_empty()
        }

        fn work(&self, tool: &mut u32, batch: &mut Vec<u32>) {
            for number in batch {
                assert_ne!(Some(*number), self.panic_at);
                if number.is_multiple_of(7) {
                    thread::sleep(std::time::Duration::from_micros(300));
                }
                *number += *tool;
            }
        }
    }

    fn run(end: u32, threads: usize, window: usize, panic_at: Option<u32>) -> Vec<u32> {
        let mut ahead = ReadAhead::new(Count { end, panic_at }, 0, threads, window);
        let mut all = Vec::new();
        while let Some(batch) = ahead.next_batch() {
            all.extend_from_slice(&batch);
            ahead.recycle(batch);
        }
        all
    }

    #[test]
    fn batches_come_in_order_for_any_number_of_threads() {
        for end in [0, 1, 3, 4, 500] {
            let expected: Vec<u32> = (1000..1000 + end).collect();
            for threads in [0, 1, 2, 5] {
                for window in [1, 2, 9] {
                    assert_eq!(run(end, threads, window, None), expected);
                }
            }
        }
    }

    #[test]
    fn a_thread_that_panics_ends_the_sequence_early_and_nobody_waits() {
        let all = run(500, 3, 4, Some(250));
        assert!(all.len() <= 249);
        assert!(all.iter().copied().eq(1000..1000 + all.len() as u32));
    }

    #[test]
    fn dropping_it_half_way_joins_the_threads() {
        let mut ahead = ReadAhead::new(Count { end: 500, panic_at: None }, 0, 4, 3);
        assert_eq!(ahead.next_batch(), Some(vec![1000, 1001, 1002]));
        let shared = Arc::downgrade(&ahead.shared);
        drop(ahead);
        assert_eq!(shared.strong_count(), 0);
    }
}
