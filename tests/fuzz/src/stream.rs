//! The reader over a tape: bytes in records of any lengths, records that cannot be read, seeks, and ends of tapes.
//!
//! Input: settings, a string of doings (one for each record wanted), and the bytes of the tape.

use tapedump_core::checksum::PortableCrc32c;
use tapedump_core::limits::SEGMENT_LEN_MAX;
use tapedump_core::stream::reader::{Reader, ReaderAction, ReaderError};
use tapedump_core::units::{BlockAddr, TAPE_BLOCK_LEN};

use crate::input::Input;
use crate::repair;

/// Bits of the first byte; the two above them choose the length of the records.
pub const HEADERS: u8 = 1;
pub const DATA: u8 = 2;
/// The memory has room for a whole segment.
pub const LARGE: u8 = 4;

const RECORD_LENS: [usize; 4] = [1024, 4096, 10240, 2560];
/// More than any input of the length that the fuzzer gives takes.
const STEPS_MAX: usize = 4_000_000;

pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let settings = input.byte();
    let record_len = RECORD_LENS[usize::from(settings >> 3) % RECORD_LENS.len()];
    let doings = input.some();
    let mut tape = input.0.to_vec();
    if settings & HEADERS != 0 {
        repair::tape(&mut tape, settings & DATA != 0);
    }
    let room = if settings & LARGE != 0 { SEGMENT_LEN_MAX } else { 0 };
    let mut memory = vec![0; TAPE_BLOCK_LEN + record_len + room];
    let mut driver = Driver { tape: &tape, at: 0, record_len, doings: Input(doings), changes: 0, seeks: 0 };
    let mut reader = Reader::<PortableCrc32c>::new(&mut memory);
    for _ in 0..STEPS_MAX {
        match reader.poll() {
            Ok(ReaderAction::NeedRecord) => driver.give(&mut reader),
            Ok(ReaderAction::Header { repr, view, .. }) => {
                assert!(view.detect().is_ok(), "{repr:?}");
            }
            Ok(ReaderAction::Data { bytes, .. }) => {
                let told = bytes.to_vec();
                assert!(!told.is_empty() && told.len().is_multiple_of(TAPE_BLOCK_LEN));
                assert_eq!(reader.last_data(), told);
            }
            Ok(ReaderAction::Gap(_)) => {}
            Ok(ReaderAction::Ended) | Err(ReaderError::WrongTape { .. }) if driver.has_tape() => {
                reader.handle_next_tape();
            }
            Ok(ReaderAction::Ended) | Err(_) => return,
        }
    }
    panic!("the reader comes to no end");
}

struct Driver<'a> {
    tape: &'a [u8],
    at: usize,
    record_len: usize,
    doings: Input<'a>,
    changes: u32,
    seeks: u32,
}

impl Driver<'_> {
    /// The tape changes a few times; the bytes go on.
    fn has_tape(&mut self) -> bool {
        self.changes += 1;
        self.changes <= 3 && self.at < self.tape.len()
    }

    fn give(&mut self, reader: &mut Reader<'_, PortableCrc32c>) {
        match self.doings.byte() % 16 {
            10 => {
                let len = 1 + self.doings.below(self.record_len);
                self.record(reader, len);
            }
            11 => {
                self.at += self.record_len;
                reader.handle_unreadable(self.record_len);
            }
            12 => {
                // As the engine does it: to the record that holds a block.
                let block = self.doings.below(self.tape.len() / TAPE_BLOCK_LEN + 1);
                self.seek(reader, block, block * TAPE_BLOCK_LEN % self.record_len);
            }
            13 => {
                let (block, skip) = (self.doings.below(1 << 16), self.doings.below(2 * self.record_len));
                self.seek(reader, block, skip);
            }
            14 => reader.handle_end(),
            15 => {
                reader.restart();
                self.at = 0;
            }
            _ => self.record(reader, self.record_len),
        }
    }

    fn seek(&mut self, reader: &mut Reader<'_, PortableCrc32c>, block: usize, skip: usize) {
        self.seeks += 1;
        self.at = (block * TAPE_BLOCK_LEN).saturating_sub(skip).min(self.tape.len());
        reader.handle_seek(BlockAddr(block as u64), skip);
        self.record(reader, self.record_len);
    }

    fn record(&mut self, reader: &mut Reader<'_, PortableCrc32c>, len: usize) {
        let rest = &self.tape[self.at.min(self.tape.len())..];
        let record = &rest[..len.min(rest.len())];
        if record.is_empty() {
            return reader.handle_end();
        }
        let space = reader.space();
        assert!(space.len() >= record.len(), "room for {} bytes only", space.len());
        space[..record.len()].copy_from_slice(record);
        self.at += record.len();
        reader.handle_record(record.len());
    }
}
