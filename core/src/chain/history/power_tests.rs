//! Cuts of power: at every operation of a scenario, and again while it is repaired.

extern crate std;

use std::string::String;
use std::vec;
use std::vec::Vec;
use std::{format, println};

use super::tests::{ID, Owned, numbers};
use super::*;
use crate::device::fault::{Fault, FaultError, FaultInjector, What, When};
use crate::device::mem::MemBlock;
use crate::limits::PAGE_LEN;

const PAGES: usize = 48;
const ALL: Range<u64> = 0..u64::MAX;
type TestError = HistoryError<FaultError<ErrorKind>>;
type Device<'a> = FaultInjector<'a, MemBlock<'a>>;

/// Steps of the scenario, each of which is made whole or not at all.
#[derive(Clone, Copy, Debug)]
enum Step {
    Append(u8),
    AppendLargest(u8),
    /// The entry of this number.
    Remove(u8),
    Replace(u8, u8),
    Reopen,
}

const STEPS: [Step; 9] = [
    Step::Append(1),
    Step::Append(2),
    Step::AppendLargest(3),
    Step::Remove(1),
    Step::Reopen,
    Step::Replace(2, 4),
    Step::Append(5),
    Step::Remove(3),
    Step::AppendLargest(6),
];

/// Numbers in the order of their entries.
fn apply(model: &mut Vec<u8>, step: Step) {
    match step {
        Step::Append(number) | Step::AppendLargest(number) => model.push(number),
        Step::Remove(number) => model.retain(|found| *found != number),
        Step::Replace(old, new) => {
            model.retain(|found| *found != old);
            model.push(new);
        }
        Step::Reopen => {}
    }
}

fn place_of(device: &mut Device<'_>, history: &mut History<'_>, number: u8) -> Result<Place, TestError> {
    let mut place = Place(0);
    while let Some(next) = history.next_after(place) {
        place = next;
        if history.entry(device, place)?.dump.id.0[0] == number {
            return Ok(place);
        }
    }
    Err(HistoryError::NoEntry)
}

fn perform(device: &mut Device<'_>, history: &mut History<'_>, step: Step) -> Result<(), TestError> {
    match step {
        Step::Append(number) => history.append(device, &Owned::new(number, 0, b"a").entry()).map(|_| ()),
        Step::AppendLargest(number) => history.append(device, &Owned::largest(number).entry()).map(|_| ()),
        Step::Remove(number) => {
            let place = place_of(device, history, number)?;
            history.remove(device, place)
        }
        Step::Replace(old, new) => {
            let place = place_of(device, history, old)?;
            history.replace(device, place, &Owned::new(new, 0, b"b").entry()).map(|_| ())
        }
        Step::Reopen => Ok(()),
    }
}

/// Creates a history and goes through the steps; gives the number of steps done.
fn run(device: &mut Device<'_>, memory: &mut [u8]) -> Result<usize, (usize, TestError)> {
    let mut done = 0;
    History::create(device, ALL, ID, memory).map_err(|error| (0, error))?;
    while done < STEPS.len() {
        let mut history = History::open(device, ALL, memory).map_err(|error| (done, error))?;
        while let Some(step) = STEPS.get(done) {
            perform(device, &mut history, *step).map_err(|error| (done, error))?;
            done += 1;
            if matches!(step, Step::Reopen) {
                break;
            }
        }
    }
    Ok(done)
}

struct Rig {
    bytes: Vec<u8>,
    memory: Vec<u8>,
    journal: Vec<u8>,
    block_len: usize,
}

impl Rig {
    fn new(block_len: usize) -> Self {
        let bytes = vec![0; PAGES * PAGE_LEN];
        let memory = vec![0; memory_len(&(0..bytes.len() as u64))];
        // Enough for every block of the device.
        let journal = vec![0; PAGES * PAGE_LEN / block_len * (block_len + 9)];
        Self { bytes, memory, journal, block_len }
    }

    fn device<'a>(
        bytes: &'a mut [u8],
        journal: &'a mut [u8],
        block_len: usize,
        faults: &'a [Fault],
        seed: u64,
    ) -> Device<'a> {
        let device = MemBlock::new(bytes, block_len).unwrap();
        FaultInjector::scheduled(device, faults).with_seed(seed).with_journal(journal)
    }

    /// Opens what is there after a cut; `None` when there is no history.
    fn told(&mut self, context: &str) -> Option<Vec<u8>> {
        let mut device = MemBlock::new(&mut self.bytes, self.block_len).unwrap();
        match History::open(&mut device, ALL, &mut self.memory) {
            Ok(mut history) => {
                let told = numbers(&mut device, &mut history);
                assert_eq!(history.damaged().count(), 0, "{context}: damage");
                Some(told)
            }
            Err(HistoryError::NoHistory) => None,
            Err(error) => panic!("{context}: {error:?}"),
        }
    }

    /// What must be told: the state before the step that was cut, or the one after it.
    fn check(&mut self, done: usize, context: &str) {
        let mut before = Vec::new();
        STEPS.iter().take(done).for_each(|step| apply(&mut before, *step));
        let mut after = before.clone();
        STEPS.iter().skip(done).take(1).for_each(|step| apply(&mut after, *step));
        match self.told(context) {
            Some(told) => {
                assert!(told == before || told == after, "{context}: {told:?}, not {before:?} or {after:?}")
            }
            // Only as long as the history was being made.
            None => assert_eq!(done, 0, "{context}: no history"),
        }
    }
}

#[test]
fn a_cut_at_every_operation_leaves_what_was_there_or_what_was_to_be() {
    for block_len in [64, 512, 1024] {
        let mut rig = Rig::new(block_len);
        let mut device = Rig::device(&mut rig.bytes, &mut rig.journal, block_len, &[], 0);
        assert_eq!(run(&mut device, &mut rig.memory).unwrap(), STEPS.len());
        let operations = device.operations();
        let last = rig.told("uncut").unwrap();
        assert_eq!(last, [4, 5, 6]);
        let mut cuts = 0;
        for n in 0..operations {
            for seed in 0..24 {
                let context = format!("blocks of {block_len}, cut at {n}, seed {seed}");
                let faults = [Fault { when: When::Any(n), what: What::PowerCut }];
                let mut rig = Rig::new(block_len);
                let mut device = Rig::device(&mut rig.bytes, &mut rig.journal, block_len, &faults, seed);
                let (done, error) = run(&mut device, &mut rig.memory).expect_err(&context);
                assert_eq!(error.kind(), ErrorKind::Interrupted, "{context}: {error:?}");
                rig.check(done, &context);
                goes_on(rig, &context);
                cuts += 1;
            }
        }
        println!("blocks of {block_len}: {operations} operations, {cuts} cuts");
    }
}

/// A history that was cut off takes up more.
fn goes_on(mut rig: Rig, context: &str) {
    let Some(mut expected) = rig.told(context) else { return };
    let mut device = MemBlock::new(&mut rig.bytes, rig.block_len).unwrap();
    let mut history = History::open(&mut device, ALL, &mut rig.memory).unwrap();
    for number in [20, 21] {
        history.append(&mut device, &Owned::new(number, 0, b"c").entry()).unwrap();
        expected.push(number);
    }
    assert_eq!(rig.told(context), Some(expected), "{context}");
}

/// Opens and appends; what a start after a cut does.
fn repair(device: &mut Device<'_>, memory: &mut [u8]) -> Result<(), TestError> {
    let mut history = History::open(device, ALL, memory)?;
    history.append(device, &Owned::largest(30).entry()).map(|_| ())
}

#[test]
fn what_was_told_once_after_a_cut_stays_whatever_cuts_follow() {
    const BLOCK_LEN: usize = 512;
    let mut rig = Rig::new(BLOCK_LEN);
    let mut device = Rig::device(&mut rig.bytes, &mut rig.journal, BLOCK_LEN, &[], 0);
    run(&mut device, &mut rig.memory).unwrap();
    let operations = device.operations();
    let mut contexts: Vec<String> = Vec::new();
    for n in 0..operations {
        for seed in 0..4 {
            let faults = [Fault { when: When::Any(n), what: What::PowerCut }];
            let mut first = Rig::new(BLOCK_LEN);
            let mut device = Rig::device(&mut first.bytes, &mut first.journal, BLOCK_LEN, &faults, seed);
            let cut = run(&mut device, &mut first.memory);
            assert!(cut.is_err());
            // What the next start tells, before anything else happens, must be told ever after.
            let mut copy = Rig { bytes: first.bytes.clone(), ..Rig::new(BLOCK_LEN) };
            let Some(told) = copy.told("second") else { continue };
            for second in 0.. {
                let context = format!("cut at {n}, seed {seed}, and again at {second}");
                let faults = [Fault { when: When::Any(second), what: What::PowerCut }];
                let mut rig = Rig { bytes: first.bytes.clone(), ..Rig::new(BLOCK_LEN) };
                let mut device =
                    Rig::device(&mut rig.bytes, &mut rig.journal, BLOCK_LEN, &faults, second ^ seed);
                let repaired = repair(&mut device, &mut rig.memory);
                let mut with_more = told.clone();
                with_more.push(30);
                let found = rig.told(&context).unwrap();
                assert!(found == told || found == with_more, "{context}: {found:?} after {told:?}");
                if repaired.is_ok() {
                    assert_eq!(found, with_more, "{context}");
                    break;
                }
                contexts.push(context);
            }
        }
    }
    assert!(contexts.len() > 1000, "{}", contexts.len());
}
