//! The front of a dump: its maps and directories, which stand before everything else. Its catalog on tape has a copy of them,
//! block by block, so that what damage took from one can be had from the other (`format.md` on damage).

use super::RECORD_LEN_MAX;
use crate::checksum::HostCrc32c;
use crate::cli::interrupt::Interrupt;
use crate::tape::{Tape, TapeError};
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use tapedump_core::device::tape::{
    Space, Spaced, TapeCapabilities, TapeDevice, TapePosition, TapeRead, TapeWrite,
};
use tapedump_core::device::volume::Kind;
use tapedump_core::device::{DeviceError, ErrorKind};
use tapedump_core::limits::{READ_ERRORS_MAX, SEGMENT_LEN_MAX};
use tapedump_core::record::dialect::Dialect;
use tapedump_core::record::extension::{Role, extension_flags};
use tapedump_core::record::header::{Header, HeaderKind, HeaderRepr, TapeBlock, set_extension_flags};
use tapedump_core::stream::reader::{Preceding, Reader, ReaderAction};
use tapedump_core::units::{BlockAddr, BlockingFactor, DumpId, TAPE_BLOCK_LEN};

/// Where the flags of a header's extension are.
const FLAGS: Range<usize> = 910..912;

/// A segment being read, of which it shows later whether it is what was written.
struct Pending {
    at: BlockAddr,
    /// Blocks that were put behind its header.
    blocks: u64,
}

/// What was gathered of the front of one dump: each segment from whichever copy has it as it was written.
pub struct Front {
    id: DumpId,
    /// Each block at its address in the dump.
    file: File,
    /// Blocks that are as they were written: where a stretch of them begins, and ends.
    good: BTreeMap<u64, u64>,
    /// The first block behind the front, when a copy told.
    end: Option<u64>,
}

impl Front {
    /// Of a dump, with nothing in it; `file` is empty.
    pub const fn new(id: DumpId, file: File) -> Self {
        Self { id, file, good: BTreeMap::new(), end: None }
    }

    /// Blocks that are there.
    pub fn blocks(&self) -> u64 {
        self.good.iter().map(|(from, to)| to - from).sum()
    }

    /// All of it is there.
    pub fn is_whole(&self) -> bool {
        self.end.is_some_and(|end| self.good.len() == 1 && self.good.get(&0) == Some(&end))
    }

    /// Takes what is good, and not there yet, from the tape file before whose first record the tape stands: the dump, or the
    /// copy in its catalog. What the tape cannot read is passed over.
    pub fn gather(&mut self, tape: &mut Box<dyn Tape>, interrupt: &Interrupt) -> io::Result<()> {
        let mut memory = vec![0; RECORD_LEN_MAX + TAPE_BLOCK_LEN + SEGMENT_LEN_MAX];
        let mut reader = Reader::<HostCrc32c>::new(&mut memory);
        let mut pending: Option<Pending> = None;
        let mut errors = 0;
        while !interrupt.is_set() {
            match reader.poll() {
                Ok(ReaderAction::NeedRecord) => match tape.read(reader.space()) {
                    Ok(TapeRead::Record(len)) => reader.handle_record(len),
                    Ok(TapeRead::Filemark | TapeRead::EndOfData) => reader.handle_end(),
                    Err(error) if errors < READ_ERRORS_MAX && error.kind() != ErrorKind::Interrupted => {
                        errors += 1;
                        reader.handle_unreadable(BlockingFactor::DEFAULT.record_len());
                    }
                    Ok(TapeRead::BufferTooSmall { .. }) | Err(_) => break,
                },
                Ok(ReaderAction::Header { repr, view, preceding }) => {
                    if let Some(pending) = pending.take().filter(|_| preceding == Preceding::Good) {
                        self.add(pending.at.0..pending.at.0 + 1 + pending.blocks);
                    }
                    if repr.extension.is_none_or(|extension| extension.dump_id != self.id) {
                        break;
                    }
                    if !is_front(&repr) {
                        self.end = self.end.or((preceding == Preceding::Good).then_some(repr.addr.0));
                        break;
                    }
                    pending = self.begin(&repr, view.block())?;
                }
                Ok(ReaderAction::Data { bytes, .. }) => {
                    if let Some(pending) = &mut pending {
                        let at = pending.at.0 + 1 + pending.blocks;
                        self.file.write_all_at(bytes, BlockAddr(at).byte_offset())?;
                        pending.blocks += (bytes.len() / TAPE_BLOCK_LEN) as u64;
                    }
                }
                Ok(ReaderAction::Gap(_)) => {}
                Ok(ReaderAction::Ended) | Err(_) => break,
            }
        }
        Ok(())
    }

    /// `None`: the segment is there already.
    fn begin(&self, repr: &HeaderRepr, block: &TapeBlock) -> io::Result<Option<Pending>> {
        let before = self.good.range(..=repr.addr.0).next_back();
        if before.is_some_and(|(_, to)| *to > repr.addr.0) {
            return Ok(None);
        }
        let mut block = *block;
        if repr.is_catalog() {
            let [high, low] = &mut block[FLAGS] else { return Ok(None) };
            let flags = u16::from_be_bytes([*high, *low]) & !extension_flags::CATALOG;
            [*high, *low] = flags.to_be_bytes();
            set_extension_flags::<HostCrc32c>(&mut block, 0);
        }
        self.file.write_all_at(&block, repr.addr.byte_offset())?;
        Ok(Some(Pending { at: repr.addr, blocks: 0 }))
    }

    /// These blocks are there, and were not before.
    fn add(&mut self, blocks: Range<u64>) {
        let before = self.good.range(..blocks.start).next_back().map(|(from, to)| (*from, *to));
        let from = before.filter(|(_, to)| *to == blocks.start).map_or(blocks.start, |(from, _)| from);
        let to = self.good.remove(&blocks.end).unwrap_or(blocks.end);
        self.good.insert(from, to);
    }

    /// The stretch that `at` is in, from there on; or the next one.
    fn stretch(&self, at: u64) -> Option<Range<u64>> {
        let before = self.good.range(..=at).next_back().filter(|(_, to)| **to > at);
        let found = before.or_else(|| self.good.range(at..).next())?;
        Some(at.max(*found.0)..*found.1)
    }
}

/// A header of what stands before the first object that is no directory.
fn is_front(repr: &HeaderRepr) -> bool {
    match repr.kind {
        HeaderKind::Tape | HeaderKind::InUseMap | HeaderKind::OnTapeMap => true,
        HeaderKind::Inode | HeaderKind::Continuation => {
            let role = repr.extension.map_or(Role::Normal, |extension| extension.role);
            let directory = repr.attributes.is_some_and(|attributes| attributes.kind == Kind::Directory);
            role == Role::Normal && directory
        }
        HeaderKind::End | HeaderKind::Unknown(_) => false,
    }
}

enum State {
    /// In the front, from this block on.
    Front { next: u64 },
    /// Behind it, on the tape: looking for the first header that is none of the front. These bytes are not looked at yet.
    Search { rest: Vec<u8>, errors: u32 },
    /// That was found: from this byte on these are yet to be given.
    Found { bytes: Vec<u8>, at: usize },
    /// What comes is the tape's.
    Through,
}

/// A tape that stands before a dump, and gives a [`Front`] in place of what it has there itself.
pub struct MendedTape {
    tape: Box<dyn Tape>,
    front: Arc<Front>,
    state: State,
}

impl MendedTape {
    pub fn new(tape: Box<dyn Tape>, front: Arc<Front>) -> Self {
        Self { tape, front, state: State::Front { next: 0 } }
    }

    /// Where in the bytes the dump goes on behind its front.
    fn behind(&self, bytes: &[u8]) -> Option<usize> {
        let block = |at: usize| bytes.get(at..).and_then(<[u8]>::first_chunk);
        (0..bytes.len())
            .map_while(|at| Some((at, block(at)?)))
            .find_map(|(at, block)| (Header::new(block).may_be_ours() && self.is_behind(block)).then_some(at))
    }

    fn is_behind(&self, block: &TapeBlock) -> bool {
        let repr = Header::new(block).parse::<HostCrc32c>(Dialect::OURS);
        repr.is_ok_and(|repr| {
            repr.extension.is_some_and(|extension| extension.dump_id == self.front.id) && !is_front(&repr)
        })
    }

    fn read_front(&mut self, next: u64, buf: &mut [u8]) -> Result<TapeRead, TapeError> {
        let Some(stretch) = self.front.stretch(next) else {
            self.state = State::Search { rest: Vec::new(), errors: 0 };
            return self.read(buf);
        };
        let blocks = (buf.len() / TAPE_BLOCK_LEN) as u64;
        let blocks = blocks.min(u64::from(BlockingFactor::MAX.blocks())).min(stretch.end - stretch.start);
        if blocks == 0 {
            return Ok(TapeRead::BufferTooSmall { needed: TAPE_BLOCK_LEN });
        }
        let len = blocks as usize * TAPE_BLOCK_LEN;
        let read = self.front.file.read_exact_at(&mut buf[..len], BlockAddr(stretch.start).byte_offset());
        read.map_err(|error| {
            TapeError::new(ErrorKind::Other, "the scratch file", format!("it failed: {error}"))
        })?;
        self.state = State::Front { next: stretch.start + blocks };
        Ok(TapeRead::Record(len))
    }

    fn search(&mut self, mut rest: Vec<u8>, mut errors: u32, buf: &mut [u8]) -> Result<TapeRead, TapeError> {
        loop {
            let before = rest.len();
            rest.resize(before + RECORD_LEN_MAX, 0);
            match self.tape.read(&mut rest[before..]) {
                Ok(TapeRead::Record(len)) => rest.truncate(before + len),
                // What could not be read was told when the damage was found.
                Err(error) if errors < READ_ERRORS_MAX && error.kind() != ErrorKind::Interrupted => {
                    errors += 1;
                    rest.clear();
                    continue;
                }
                ended => return ended,
            }
            if let Some(at) = self.behind(&rest) {
                self.state = State::Found { bytes: rest, at };
                return self.read(buf);
            }
            // The end may be the beginning of a header.
            rest.drain(..rest.len().saturating_sub(TAPE_BLOCK_LEN - 1));
        }
    }
}

impl TapeDevice for MendedTape {
    type Error = TapeError;

    fn capabilities(&self) -> TapeCapabilities {
        self.tape.capabilities()
    }

    fn read(&mut self, buf: &mut [u8]) -> Result<TapeRead, TapeError> {
        match std::mem::replace(&mut self.state, State::Through) {
            State::Front { next } => self.read_front(next, buf),
            State::Search { rest, errors } => self.search(rest, errors, buf),
            State::Found { bytes, at } => {
                let rest = bytes.get(at..).unwrap_or_default();
                let len = rest.len().min(buf.len());
                buf[..len].copy_from_slice(&rest[..len]);
                if len == 0 {
                    return self.tape.read(buf);
                }
                self.state = State::Found { bytes, at: at + len };
                Ok(TapeRead::Record(len))
            }
            State::Through => self.tape.read(buf),
        }
    }

    fn write(&mut self, record: &[u8]) -> Result<TapeWrite, TapeError> {
        self.tape.write(record)
    }
    fn write_filemark(&mut self) -> Result<TapeWrite, TapeError> {
        self.tape.write_filemark()
    }
    fn flush(&mut self) -> Result<(), TapeError> {
        self.tape.flush()
    }
    fn position(&mut self) -> Result<TapePosition, TapeError> {
        self.tape.position()
    }
    fn locate(&mut self, to: TapePosition) -> Result<Spaced, TapeError> {
        self.state = State::Through;
        self.tape.locate(to)
    }
    fn space(&mut self, by: Space) -> Result<Spaced, TapeError> {
        self.state = State::Through;
        self.tape.space(by)
    }
    fn rewind(&mut self) -> Result<(), TapeError> {
        self.state = State::Through;
        self.tape.rewind()
    }
    fn unload(&mut self) -> Result<(), TapeError> {
        self.tape.unload()
    }
}
