//! Sorts what the walk finds by real inode number, or by dump number where that is another order, in bounded memory: records are collected in memory, sorted runs
//! go to a spool when they fill it, and all runs are merged on reading.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use tapedump_core::limits::NAME_LEN_MAX;
use tapedump_core::units::Ino;

use crate::volume::spool::Spool;

/// Length of a record without its name: real number, place, dump number, tag, length of the name.
const FIXED_LEN: usize = 8 + 8 + 4 + 1 + 1;
/// What the sort key of a record takes besides.
const KEY_LEN: usize = size_of::<(u64, u32)>();
/// Bytes read at once from each run.
const RUN_BUF_LEN: usize = 16 * 1024;

/// One name found by the walk.
#[derive(Clone, Copy)]
pub struct Found {
    /// The object's number on its file system.
    pub real: u64,
    /// Where the directory is described that holds the name; for a directory, where it is described itself.
    pub place: u64,
    /// Its number in the dump, by which it is sorted; 0 while it has none.
    pub ino: Ino,
    /// Kind and flags; see `table::Tag`.
    pub tag: u8,
    name_len: u8,
    name: [u8; NAME_LEN_MAX],
}

impl Found {
    const EMPTY: Self = Self { real: 0, place: 0, ino: Ino(0), tag: 0, name_len: 0, name: [0; NAME_LEN_MAX] };

    /// What it is sorted by.
    fn key(&self) -> u64 {
        if self.ino == Ino(0) { self.real } else { self.ino.0.into() }
    }

    /// The name.
    pub fn name(&self) -> &[u8] {
        &self.name[..usize::from(self.name_len)]
    }

    /// Takes a record from the front of `bytes` and gives its length; `None` if it is not whole.
    fn decode(&mut self, bytes: &[u8]) -> Option<usize> {
        let (fixed, rest) = bytes.split_at_checked(FIXED_LEN)?;
        let name = rest.get(..usize::from(fixed[21]))?;
        self.real = number(&fixed[..8]);
        self.place = number(&fixed[8..16]);
        self.ino = Ino(number(&fixed[16..20]) as u32);
        self.tag = fixed[20];
        self.name_len = fixed[21];
        self.name[..name.len()].copy_from_slice(name);
        Some(FIXED_LEN + name.len())
    }
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// Collects records.
pub struct Sorter {
    memory_max: usize,
    arena: Vec<u8>,
    /// Number and offset in the arena of each record there.
    keys: Vec<(u64, u32)>,
    spool: Spool,
    /// Beginning and end of each sorted run in the spool.
    runs: Vec<(u64, u64)>,
}

impl Sorter {
    /// A sorter that keeps about `memory_max` bytes in memory.
    pub fn new(scratch_dir: Arc<Path>, memory_max: usize) -> Self {
        let memory_max = memory_max.min(u32::MAX as usize);
        let spool = Spool::new(scratch_dir, 0);
        Self { memory_max, arena: Vec::new(), keys: Vec::new(), spool, runs: Vec::new() }
    }

    /// Adds a record without a dump number; `name` is at most [`NAME_LEN_MAX`] bytes long.
    ///
    /// # Errors
    /// A full run could not be written.
    pub fn push(&mut self, real: u64, place: u64, tag: u8, name: &[u8]) -> io::Result<()> {
        let name_len = name.len().min(NAME_LEN_MAX);
        let mut found = Found { real, place, tag, name_len: name_len as u8, ..Found::EMPTY };
        found.name[..name_len].copy_from_slice(&name[..name_len]);
        self.push_found(&found)
    }

    /// Adds a record. Either all have a dump number, or none has.
    ///
    /// # Errors
    /// A full run could not be written.
    pub fn push_found(&mut self, found: &Found) -> io::Result<()> {
        let used = self.arena.len() + self.keys.len() * KEY_LEN;
        if used + FIXED_LEN + found.name().len() + KEY_LEN > self.memory_max && !self.keys.is_empty() {
            self.write_run()?;
        }
        let at = self.arena.len() as u32;
        self.arena.extend_from_slice(&found.real.to_le_bytes());
        self.arena.extend_from_slice(&found.place.to_le_bytes());
        self.arena.extend_from_slice(&found.ino.0.to_le_bytes());
        self.arena.extend_from_slice(&[found.tag, found.name_len]);
        self.arena.extend_from_slice(found.name());
        self.keys.push((found.key(), at));
        Ok(())
    }

    fn record(&self, at: u32) -> &[u8] {
        let at = at as usize;
        let name_len = usize::from(self.arena[at + FIXED_LEN - 1]);
        &self.arena[at..at + FIXED_LEN + name_len]
    }

    /// What orders records of the same number: the place, then the rest.
    fn rest(&self, at: u32) -> (u64, &[u8]) {
        let record = self.record(at);
        (number(&record[8..16]), &record[16..])
    }

    fn sort(&mut self) {
        let mut keys = std::mem::take(&mut self.keys);
        keys.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| self.rest(a.1).cmp(&self.rest(b.1))));
        self.keys = keys;
    }

    fn write_run(&mut self) -> io::Result<()> {
        self.sort();
        let from = self.spool.len();
        let keys = std::mem::take(&mut self.keys);
        for (_, at) in &keys {
            let at = *at as usize;
            let name_len = usize::from(self.arena[at + FIXED_LEN - 1]);
            self.spool.append(&self.arena[at..at + FIXED_LEN + name_len])?;
        }
        self.runs.push((from, self.spool.len()));
        self.arena.clear();
        self.keys = keys;
        self.keys.clear();
        Ok(())
    }
}

/// All records of some sorters in ascending order of their numbers.
pub struct Merge {
    runs: Vec<Run>,
    /// Number, place and run of each run's next record.
    heap: BinaryHeap<Reverse<(u64, u64, usize)>>,
}

struct Run {
    source: Source,
    current: Found,
}

enum Source {
    Memory { sorter: Sorter, next: usize },
    Disk { spool: Arc<Spool>, at: u64, end: u64, buf: Vec<u8>, used: usize },
}

impl Merge {
    /// Starts reading what `sorters` collected.
    ///
    /// # Errors
    /// A run could not be read.
    pub fn new(sorters: Vec<Sorter>) -> io::Result<Self> {
        let mut merge = Self { runs: Vec::new(), heap: BinaryHeap::new() };
        for mut sorter in sorters {
            sorter.sort();
            let empty = Spool::new(Arc::from(Path::new("")), 0);
            let spool = Arc::new(std::mem::replace(&mut sorter.spool, empty));
            for &(at, end) in &sorter.runs {
                let spool = Arc::clone(&spool);
                merge.add(Source::Disk { spool, at, end, buf: Vec::new(), used: 0 })?;
            }
            merge.add(Source::Memory { sorter, next: 0 })?;
        }
        Ok(merge)
    }

    fn add(&mut self, source: Source) -> io::Result<()> {
        let mut run = Run { source, current: Found::EMPTY };
        if run.advance()? {
            self.heap.push(Reverse((run.current.key(), run.current.place, self.runs.len())));
            self.runs.push(run);
        }
        Ok(())
    }

    /// The next record.
    ///
    /// # Errors
    /// A run could not be read.
    pub fn next_found(&mut self) -> io::Result<Option<Found>> {
        let Some(Reverse((_, _, index))) = self.heap.pop() else { return Ok(None) };
        let run = &mut self.runs[index];
        let found = run.current;
        if run.advance()? {
            self.heap.push(Reverse((run.current.key(), run.current.place, index)));
        }
        Ok(Some(found))
    }
}

impl Run {
    /// Makes the next record the current one; `false` at the end.
    fn advance(&mut self) -> io::Result<bool> {
        match &mut self.source {
            Source::Memory { sorter, next } => {
                let Some(&(_, at)) = sorter.keys.get(*next) else { return Ok(false) };
                *next += 1;
                Ok(self.current.decode(sorter.record(at)).is_some())
            }
            Source::Disk { spool, at, end, buf, used } => loop {
                if let Some(len) = self.current.decode(&buf[*used..]) {
                    *used += len;
                    return Ok(true);
                }
                let rest = buf.len() - *used;
                if *at == *end {
                    return Ok(false);
                }
                buf.copy_within(*used.., 0);
                let more = (*end - *at).min((RUN_BUF_LEN - rest) as u64) as usize;
                buf.resize(rest + more, 0);
                *used = 0;
                if spool.read_at(*at, &mut buf[rest..])? < more {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                *at += more as u64;
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(count: u64, memory_max: usize, sorters: usize) -> Vec<(u64, u64, u8, Vec<u8>)> {
        let mut all: Vec<Sorter> =
            (0..sorters).map(|_| Sorter::new(Arc::from(std::env::temp_dir()), memory_max)).collect();
        for index in 0..count {
            let real = index.wrapping_mul(0x9e37_79b9_7f4a_7c15) % (count * 3 / 4 + 1);
            let name = vec![b'a' + (index % 26) as u8; 1 + (index % 255) as usize];
            all[(index % sorters as u64) as usize].push(real, index, (index % 7) as u8, &name).unwrap();
        }
        let mut merge = Merge::new(all).unwrap();
        let mut records = Vec::new();
        while let Some(found) = merge.next_found().unwrap() {
            records.push((found.real, found.place, found.tag, found.name().to_vec()));
        }
        records
    }

    #[test]
    fn the_order_does_not_depend_on_memory_or_on_who_collected() {
        let expected = sorted(3000, 1 << 20, 1);
        assert_eq!(expected.len(), 3000);
        assert!(expected.is_sorted_by_key(|record| (record.0, record.1)));
        assert!(expected.iter().all(|record| record.3.len() == 1 + (record.1 % 255) as usize));
        for memory_max in [0, 1000, 20_000] {
            for sorters in [1, 3] {
                assert_eq!(sorted(3000, memory_max, sorters), expected);
            }
        }
    }

    #[test]
    fn records_with_dump_numbers_are_sorted_by_them() {
        for memory_max in [1000, 1 << 20] {
            let new = || Sorter::new(Arc::from(std::env::temp_dir()), memory_max);
            let (mut by_real, mut by_ino) = (new(), new());
            for real in 0..1000 {
                by_real.push(real << 40, real, 1, b"name").unwrap();
            }
            let mut merge = Merge::new(vec![by_real]).unwrap();
            while let Some(mut found) = merge.next_found().unwrap() {
                found.ino = Ino(3 + (found.place as u32 * 7919) % 1000);
                by_ino.push_found(&found).unwrap();
            }
            let mut merge = Merge::new(vec![by_ino]).unwrap();
            for ino in 3..1003 {
                let found = merge.next_found().unwrap().unwrap();
                assert_eq!((found.ino, found.real), (Ino(ino), found.place << 40));
                assert_eq!(found.name(), b"name");
            }
            assert!(merge.next_found().unwrap().is_none());
        }
    }

    #[test]
    fn nothing_collected_gives_nothing() {
        assert!(sorted(0, 100, 2).is_empty());
    }
}
