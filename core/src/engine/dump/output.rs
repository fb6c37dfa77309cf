//! Headers and records on their way to the tapes, and from one tape to the next.

use super::{Done, Dump, DumpError, DumpEvent, State, Step};
use crate::catalog::CatalogSink;
use crate::checksum::Crc32c;
use crate::device::tape::{TapeDevice, TapeWrite};
use crate::device::volume::SourceVolume;
use crate::record::header::{HeaderKind, HeaderRepr};
use crate::record::holes::Holes;
use crate::units::{TAPE_BLOCK_LEN, TapeNo};

impl<S: SourceVolume, T: TapeDevice, C: Crc32c, K: CatalogSink> Dump<'_, S, T, C, K> {
    pub(super) fn end(&mut self) -> Step<S, T> {
        let header = self.writer.plain(HeaderKind::End);
        self.make_room()?;
        let end = self.writer.block();
        // Where a tape ends meanwhile, another block comes before what was filled: more of it is needed, or it goes over.
        while self.writer.unsent_block() <= end {
            self.header(header, &Holes::NONE)?;
            if self.writer.is_record_aligned() {
                self.write_records()?;
            }
        }
        self.summary.blocks = self.writer.unsent_addr().0;
        self.close_tape()?;
        self.state = State::Over;
        Ok(DumpEvent::Done(self.summary))
    }

    pub(super) fn header(&mut self, header: HeaderRepr, holes: &Holes) -> Done<S, T> {
        self.make_room()?;
        self.writer.header(header, holes);
        Ok(())
    }

    pub(super) fn zero_block(&mut self) -> Done<S, T> {
        self.make_room()?;
        if let Some(space) = self.writer.space().get_mut(..TAPE_BLOCK_LEN) {
            space.fill(0);
        }
        self.writer.commit(TAPE_BLOCK_LEN);
        Ok(())
    }

    /// Returns with at least one block of space, or in the midst of a block with its rest.
    pub(super) fn make_room(&mut self) -> Done<S, T> {
        if self.writer.space().is_empty() { self.write_records() } else { Ok(()) }
    }

    pub(super) fn write_records(&mut self) -> Done<S, T> {
        loop {
            let at = self.writer.unsent_addr();
            let Some(record) = self.writer.poll_record() else { return Ok(()) };
            if self.tape_ends {
                self.next_tape()?;
                continue;
            }
            match self.tape.write(record).map_err(|source| DumpError::Tape { at, source })? {
                TapeWrite::Written => self.writer.record_written(),
                TapeWrite::EarlyWarning => {
                    self.writer.record_written();
                    self.tape_ends = self.tape.has_next_tape(self.writer.tape().next());
                }
                TapeWrite::EndOfMedium => self.tape_ends = true,
            }
        }
    }

    /// The tape is full, and there is more to write.
    #[inline(never)]
    fn next_tape(&mut self) -> Done<S, T> {
        let at = self.writer.unsent_addr();
        let is_empty = self.writer.tape_is_empty();
        if is_empty && self.writer.tape() == TapeNo::FIRST {
            return Err(DumpError::EndOfMedium { at });
        }
        let tape = if is_empty { self.writer.tape() } else { self.writer.tape().next() };
        if !self.tape.has_next_tape(tape) {
            return Err(DumpError::EndOfMedium { at });
        }
        if !is_empty {
            self.close_tape()?;
        }
        if !self.tape.next_tape(tape).map_err(|source| DumpError::Tape { at, source })? {
            return Err(DumpError::EndOfMedium { at });
        }
        self.tape_ends = false;
        if !is_empty {
            self.writer.next_tape();
            self.note(|catalog| catalog.tape(tape, at));
        }
        Ok(())
    }

    /// Makes what is on the tape durable, with a filemark where one fits.
    fn close_tape(&mut self) -> Done<S, T> {
        let at = self.writer.unsent_addr();
        let closed = match self.tape.write_filemark() {
            Ok(TapeWrite::Written | TapeWrite::EarlyWarning) => Ok(()),
            Ok(TapeWrite::EndOfMedium) => self.tape.flush(),
            Err(error) => Err(error),
        };
        closed.map_err(|source| DumpError::Tape { at, source })
    }
}
