//! Batches of objects in order of their numbers, read on several threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Volume;
use super::load::{BUF_CAPACITY, BUF_LEN, Loader, Object, Trouble};
use super::table::{Cursor, Record};
use crate::pipeline::read_ahead::{ReadAhead, Work};

/// Objects in a batch, at most: enough that handing over batches costs nothing beside reading them.
const OBJECTS_MAX: usize = 64;
/// Batches that exist at a time, for each thread and in all. A batch takes 640 KiB, records included, so that
/// all take 20 MiB.
const WINDOW_PER_THREAD: usize = 4;
const WINDOW_MAX: usize = 32;

/// Objects read ahead.
#[derive(Default)]
pub struct Batch {
    pub records: Vec<Record>,
    /// As many as records, in the same order.
    pub objects: Vec<Result<Object, Trouble>>,
    /// Data and properties of the objects.
    pub bytes: Vec<u8>,
}

/// Reading ahead.
pub type Ahead = ReadAhead<ReadObjects>;

/// What is done ahead: reading objects.
pub struct ReadObjects {
    volume: Arc<Volume>,
    /// How many objects to claim at once, so that they about fit in a buffer.
    objects_next: AtomicUsize,
}

/// Reads the objects that `cursor` gives ahead.
pub fn start(volume: &Arc<Volume>, cursor: Cursor) -> Ahead {
    let threads = volume.options.thread_count();
    let work = ReadObjects { volume: Arc::clone(volume), objects_next: AtomicUsize::new(OBJECTS_MAX / 4) };
    ReadAhead::new(work, cursor, threads, (threads * WINDOW_PER_THREAD).min(WINDOW_MAX))
}

impl Work for ReadObjects {
    type Feed = Cursor;
    type Batch = Batch;
    type Tool = Loader;

    fn tool(&self) -> Loader {
        Loader::new(Arc::clone(&self.volume))
    }

    fn claim(&self, cursor: &mut Cursor, batch: &mut Batch) -> bool {
        batch.records.clear();
        while batch.records.len() < self.objects_next.load(Ordering::Relaxed) {
            match cursor.next_record() {
                Ok(Some(record)) if self.volume.is_wanted(record.ino) => batch.records.push(record),
                Ok(Some(_)) => {}
                // The consumer meets an error again, where it asks for the next number.
                Ok(None) | Err(_) => break,
            }
        }
        !batch.records.is_empty()
    }

    fn work(&self, loader: &mut Loader, batch: &mut Batch) {
        batch.objects.clear();
        batch.bytes.clear();
        batch.bytes.shrink_to(BUF_CAPACITY);
        batch.bytes.reserve_exact(BUF_CAPACITY);
        for record in &batch.records {
            batch.objects.push(loader.load(record, &mut batch.bytes));
        }
        let used = batch.bytes.len();
        let claimed = batch.records.len();
        let next = if used > BUF_LEN / 2 { claimed / 2 } else { claimed * 2 };
        if !(BUF_LEN / 4..=BUF_LEN * 3 / 4).contains(&used) {
            self.objects_next.store(next.clamp(1, OBJECTS_MAX), Ordering::Relaxed);
        }
    }
}
