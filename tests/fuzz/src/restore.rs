//! The restore engine over a tape of any bytes, with little memory.
//!
//! Input: settings, what they need more, and the bytes of one or two dumps.

use tapedump_core::checksum::PortableCrc32c;
use tapedump_core::device::mem::{MemBlock, MemTape, MemVolume, Node, NullTarget};
use tapedump_core::device::tape::TapeDevice;
use tapedump_core::device::volume::TargetVolume;
use tapedump_core::engine::restore::{
    ChainStop, Leg, Restore, RestoreEvent, RestoreMemory, RestoreSummary, Selected,
};
use tapedump_core::limits::NAME_LEN_MAX;
use tapedump_core::units::{BlockAddr, Ino, TAPE_BLOCK_LEN, TapeNo};

use crate::input::Input;
use crate::repair;

/// Bits of the first byte.
pub const HEADERS: u8 = 1;
pub const DATA: u8 = 2;
/// Into a volume; otherwise it is only read.
pub const VOLUME: u8 = 4;
/// The paths that follow are selected.
pub const PATHS: u8 = 8;
/// The second dump is the base of the first one.
pub const CHAIN: u8 = 16;
/// The second dump is the first one's second tape.
pub const TAPES: u8 = 32;
/// Only to the places that follow.
pub const ROUTE: u8 = 64;

const RECORD_LEN: usize = 4096;
/// Bytes of one map: numbers up to 2,048.
const MAP_LEN: usize = 256;
/// Steps that no tape of the length that the fuzzer gives takes.
const STEPS_MAX: usize = 4_000_000;

pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let settings = input.byte();
    let (paths, places) = (input.some(), input.some());
    let split = (usize::from(input.byte()) << 8 | usize::from(input.byte())) * 16;
    let mut bytes = input.0.to_vec();
    let (first, second) = bytes.split_at_mut(split.min(input.0.len()));
    if settings & HEADERS != 0 {
        repair::tape(first, settings & DATA != 0);
        repair::tape(second, settings & DATA != 0);
    }
    let case = Case { settings, paths, places, first, second };
    if settings & VOLUME != 0 {
        let (mut nodes, mut arena) = (vec![Node::EMPTY; 64], vec![0; 64 << 10]);
        let mut volume = MemVolume::new(&mut nodes, &mut arena).expect("room for a root");
        case.restore(&mut volume);
    } else {
        let mut target = NullTarget::new();
        if let Some(summary) = case.restore(&mut target) {
            // What was not refused was made; what was cut off before it began cannot have been.
            assert!(target.objects >= summary.objects, "{summary:?} {target:?}");
        }
    }
}

/// A tape with these bytes, at its beginning.
fn tape<'a>(memory: &'a mut Vec<u8>, bytes: &[u8]) -> MemTape<'a> {
    memory.resize(bytes.len() + bytes.len() / RECORD_LEN * 16 + 256, 0);
    let mut tape = MemTape::blank(memory);
    tape.write_file(bytes, RECORD_LEN).expect("room for the records");
    tape.rewind().expect("a tape in memory rewinds");
    tape
}

struct Case<'a> {
    settings: u8,
    paths: &'a [u8],
    places: &'a [u8],
    first: &'a [u8],
    second: &'a [u8],
}

impl Case<'_> {
    fn stops(&self) -> Vec<ChainStop> {
        let legs = [Leg::Directories, Leg::Others, Leg::Attributes];
        let stop = |[place, what]: &[u8; 2]| ChainStop {
            dump: u32::from(what >> 7),
            leg: legs[usize::from(what >> 5) % 3],
            block: BlockAddr(u64::from(*place)),
            ino: Ino(u32::from(what & 31)),
            tape: TapeNo(1 + u32::from(place & 1)),
        };
        let mut stops: Vec<_> = self.places.as_chunks().0.iter().map(stop).collect();
        stops.sort_unstable();
        stops.dedup();
        stops
    }

    /// The summary, where it comes to an end.
    fn restore<V: TargetVolume>(&self, target: V) -> Option<RestoreSummary> {
        let has = |bit| self.settings & bit != 0;
        let (mut first, mut second) = (Vec::new(), Vec::new());
        let first = tape(&mut first, self.first);
        let mut second = Some(tape(&mut second, self.second)).filter(|_| has(CHAIN) || has(TAPES));
        let mut scratch = vec![0; 128 << 10];
        let scratch = MemBlock::new(&mut scratch, 512).expect("the length of a block");
        let (mut stream, mut maps) = (vec![0; TAPE_BLOCK_LEN + RECORD_LEN], vec![0; 6 * MAP_LEN]);
        let (mut chain, mut names) = (vec![0; 3 * MAP_LEN], vec![0; 8 << 10]);
        // Half of what all extended attributes of Linux need, so that some do not fit.
        let mut attributes = vec![0; 2048];
        let memory = RestoreMemory {
            stream: &mut stream,
            maps: &mut maps,
            chain: &mut chain,
            names: &mut names,
            attributes: &mut attributes,
        };
        let stops = self.stops();
        let mut route = stops.as_slice();
        let len = if has(CHAIN) { 2 } else { 1 };
        let made = Restore::<_, _, _, PortableCrc32c>::of_chain(first, target, scratch, memory, len);
        let mut restore = made.unwrap_or_else(|_| panic!("the memory suffices"));
        if has(ROUTE) {
            restore.go_along(&mut route);
        }
        let mut name = [0; NAME_LEN_MAX];
        for _ in 0..STEPS_MAX {
            match restore.step() {
                Ok(RestoreEvent::Catalogued) if has(PATHS) => {
                    for path in self.paths.split(|byte| *byte == b'\n') {
                        if restore.select(path).is_ok_and(|found| found == Selected::NoSuchPath) {
                            assert_ne!(path, b"", "the root is always there");
                        }
                    }
                }
                Ok(RestoreEvent::Entry { ino, parent, .. }) => {
                    assert!(restore.entry_name().len() <= NAME_LEN_MAX);
                    restore.component(ino, &mut name).ok();
                    restore.component(parent, &mut name).ok();
                }
                Ok(RestoreEvent::NeedTape(_)) => {
                    if let Some(tape) = second.take() {
                        restore.next_tape(tape);
                    }
                }
                Ok(RestoreEvent::NeedDump { .. }) => match second.take() {
                    Some(tape) => second = restore.next_dump(Some(tape)),
                    None => {
                        restore.tape_mut().rewind().expect("a tape in memory rewinds");
                        restore.next_dump(None);
                    }
                },
                Ok(RestoreEvent::Done(summary)) => return Some(summary),
                Ok(_) => {}
                Err(_) => return None,
            }
        }
        panic!("the restore comes to no end");
    }
}
