//! The tapes of a dump: the next one, in the midst of whatever the one before ended with, or any other.

use super::{EMPTY_BLOCK, Gap, Preceding, Reader, ReaderAction, ReaderError, State};
use crate::checksum::Crc32c;
use crate::record::header::{Header, HeaderKind};
use crate::units::{BlockAddr, TAPE_BLOCK_LEN, TapeNo};

impl<C: Crc32c> Reader<'_, C> {
    /// The next tape is in place; also another one, after [`ReaderError::WrongTape`].
    pub fn handle_next_tape(&mut self) {
        self.ended = false;
        self.unreadable = None;
        self.start = self.end;
        if !matches!(self.state, State::AtTape { .. } | State::AtAnyTape) {
            self.tape = self.tape.next();
            self.tape_from = None;
            self.state = State::AtTape { in_body: self.state == State::Body };
        }
    }

    /// That tape is in place, and what was read before does not go on on it.
    pub const fn handle_tape(&mut self, tape: TapeNo) {
        self.handle_seek(BlockAddr(0), 0);
        self.tape = tape;
        self.tape_from = None;
        self.state = State::AtAnyTape;
    }

    /// The header of a further tape: the stream goes on behind it, in the middle of a segment if need be. `None`: it does not.
    pub(super) fn at_tape(&mut self, in_body: Option<bool>) -> Result<ReaderAction<'_>, ReaderError> {
        let wanted = self.tape;
        let Some(block) = self.block_at(self.start) else {
            if self.ended {
                return Err(ReaderError::WrongTape { wanted, found: None });
            }
            return Ok(ReaderAction::NeedRecord);
        };
        let repr = match self.genuine(block)? {
            Some(repr) if repr.kind == HeaderKind::Tape && repr.tape == wanted => repr,
            None if Header::new(block).detect().is_err() => {
                // Damaged; whose tape it is shows with the next header.
                self.broken = true;
                self.state = State::Search { skipped: 0 };
                return self.search(0);
            }
            Some(repr) if repr.kind == HeaderKind::Tape => {
                return Err(ReaderError::WrongTape { wanted, found: Some(repr.tape) });
            }
            _ => return Err(ReaderError::WrongTape { wanted, found: None }),
        };
        let left = if in_body == Some(true) { self.data_left() } else { 0 };
        let expected = self.addr;
        let fits = repr.count as usize == left && (repr.extension.is_none() || repr.addr == expected);
        self.start += TAPE_BLOCK_LEN;
        self.tape_from = Some(repr.addr);
        self.addr = repr.addr.plus(1);
        self.due = self.due.plus(1);
        if let Some(extension) = repr.extension {
            self.broken |= extension.preceding_crc != self.crc;
            self.crc = 0;
        }
        if fits || in_body.is_none() {
            self.state = if in_body == Some(true) { State::Body } else { State::AtHeader };
            let at = self.start - TAPE_BLOCK_LEN;
            let block = self.memory.get(at..).and_then(<[u8]>::first_chunk).unwrap_or(&EMPTY_BLOCK);
            return Ok(ReaderAction::Header {
                repr,
                view: Header::new(block),
                preceding: if repr.extension.is_some() { Preceding::Good } else { Preceding::Unchecked },
            });
        }
        self.broken = true;
        self.state = State::Search { skipped: 0 };
        Ok(ReaderAction::Gap(Gap { expected, found: Some(repr.addr), skipped: 0 }))
    }
}
