//! Headers that stand among the blocks of a segment: signs that blocks are missing, or the content of a file.
//!
//! Our own dumps have an identity that nobody knows who wrote a file before the dump. The dumps of others have only
//! their date, which can be guessed: a file of a user could then hold records of other objects. So in an object of such a
//! dump the header that is due decides. It is in the window when this is [`Reader::new`]'s memory:
//!
//! ```text
//! header   data  data [found] data  data   header
//!   |                   |                    |
//! address a           a < found            due: when it stands here, nothing is missing, and `found` is data
//! ```
//!
//! Where it cannot be seen, because the memory does not reach so far, what was found is data.

use super::{Gap, Reader, ReaderAction, State};
use crate::checksum::Crc32c;
use crate::limits::SEGMENT_BLOCKS_MAX;
use crate::record::header::{Header, HeaderKind, HeaderRepr, TapeBlock};
use crate::units::{BlockAddr, TAPE_BLOCK_LEN};

/// What a block is that looks like a header.
enum Verdict {
    Header,
    Data,
    /// The header that is due tells, and is still to be read.
    Later,
}

impl<C: Crc32c> Reader<'_, C> {
    /// Passes over a record that could not be read. Nothing is left of the one before it but a part of a block.
    pub(super) fn pass_unreadable(&mut self, record_len: usize) {
        let mut blocks = record_len / TAPE_BLOCK_LEN;
        self.broken = true;
        self.start = self.end;
        self.addr = self.addr.plus(blocks as u64);
        while self.state == State::Body && blocks > 0 && self.entry < self.count {
            let run = self.run_len();
            let passed = if self.is_data(self.entry) { run.min(blocks) } else { run };
            blocks -= if self.is_data(self.entry) { passed } else { 0 };
            self.entry += passed;
        }
        if blocks > 0 {
            self.state = State::Search { skipped: 0 };
        }
    }

    /// Takes up to `most` blocks of data, as far as no header of this dump is among them.
    pub(super) fn blocks(&mut self, most: usize) -> ReaderAction<'_> {
        let foreign = self.identity.is_some_and(|identity| identity.id.is_none());
        let mut len = 0;
        while len < most {
            let at = self.start + len * TAPE_BLOCK_LEN;
            match self.block_at(at).and_then(|block| self.intruder(block, self.addr.plus(len as u64))) {
                None => len += 1,
                Some(_) if len > 0 => break,
                Some(addr) => match self.judge(addr) {
                    Verdict::Later => return self.need_record(),
                    Verdict::Data => {
                        self.sealed = true;
                        len += 1;
                    }
                    Verdict::Header => return ReaderAction::Gap(self.believe(addr, foreign)),
                },
            }
        }
        let (from, to) = (self.start, self.start + len * TAPE_BLOCK_LEN);
        let entry = self.entry;
        self.data_from = from;
        self.start = to;
        self.entry += len;
        self.addr = self.addr.plus(len as u64);
        let bytes = self.memory.get(from..to).unwrap_or_default();
        self.crc = C::update(self.crc, bytes);
        ReaderAction::Data { entry, bytes }
    }

    /// Goes on with the header that was found at `addr`; what that says of the blocks before.
    fn believe(&mut self, addr: BlockAddr, foreign: bool) -> Gap {
        self.broken |= foreign;
        let expected = self.addr;
        if addr == self.header_addr {
            // The header before stands here a second time.
            self.start += TAPE_BLOCK_LEN;
            return Gap { expected, found: Some(expected), skipped: TAPE_BLOCK_LEN as u64 };
        }
        self.state = State::AtHeader;
        self.addr = addr;
        Gap { expected, found: Some(addr), skipped: 0 }
    }

    /// Whether the block at the front of the window, which says to be the header at `found`, is one.
    fn judge(&self, found: BlockAddr) -> Verdict {
        if !self.of_object || self.identity.is_some_and(|identity| identity.id.is_some()) {
            return Verdict::Header;
        }
        // Between a header and the one that is due there is none.
        if found != self.header_addr && found < self.due {
            return Verdict::Data;
        }
        let at = self.start.saturating_add(self.data_left().saturating_mul(TAPE_BLOCK_LEN));
        if let Some(block) = self.block_at(at) {
            return if self.is_due(block) { Verdict::Data } else { Verdict::Header };
        }
        let room = self.memory.len().saturating_sub(self.window_len());
        if self.unreadable.is_some() || self.ended && self.ends_with_end() {
            Verdict::Header
        } else if self.ended || room < self.record_len {
            Verdict::Data
        } else {
            Verdict::Later
        }
    }

    /// The block is the header that has the address that is due. Dialects without long addresses count in 32 bits.
    fn is_due(&self, block: &TapeBlock) -> bool {
        self.header_in(block).is_some_and(|repr| repr.addr.0 as u32 == self.due.0 as u32)
    }

    /// The window ends with the dump's end, so that no further tape has the header that is due.
    fn ends_with_end(&self) -> bool {
        let whole = self.window_len() / TAPE_BLOCK_LEN;
        let last = self.start + whole.saturating_sub(1) * TAPE_BLOCK_LEN;
        let last = self.block_at(last).and_then(|block| self.header_in(block));
        last.is_some_and(|repr| repr.kind == HeaderKind::End)
    }

    fn header_in(&self, block: &TapeBlock) -> Option<HeaderRepr> {
        self.genuine(block).ok().flatten()
    }

    /// The address of a genuine header of this dump that stands where a data block should, if it is one.
    fn intruder(&self, block: &TapeBlock, here: BlockAddr) -> Option<BlockAddr> {
        let identity = self.identity.filter(|_| !self.sealed)?;
        let header = Header::new(block);
        if !header.may_be(identity.dialect) {
            return None;
        }
        let repr = self.genuine(block).ok()??;
        // Without our identity only a header that is due within this segment's length is believed.
        let limit = if identity.id.is_some() { u64::MAX } else { SEGMENT_BLOCKS_MAX as u64 };
        let ahead = repr.addr > here && repr.addr.since(here).is_some_and(|ahead| ahead <= limit);
        (ahead || repr.addr == self.header_addr).then_some(repr.addr)
    }

    pub(super) fn data_left(&self) -> usize {
        if self.count > SEGMENT_BLOCKS_MAX {
            return self.count.saturating_sub(self.entry);
        }
        (self.entry..self.count).filter(|entry| self.is_data(*entry)).count()
    }
}
