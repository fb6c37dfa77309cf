//! Takes tape records apart into headers and blocks, and finds its way after damage.
//!
//! A header is taken for genuine when its magic, sum and date hold, in our own dumps also the extension's CRC and the
//! dump's identity. What stands where a header is expected and is none begins a search, byte by byte, for the next
//! genuine one; its address tells how much is lost. While the blocks of a segment pass, each is looked at too: a genuine
//! header among them means that blocks before it are missing. So a cut, doubled or foreign stretch costs what it
//! touches, and a dump image stored in a dump is not mistaken for the dump. In a dump without identity a file can hold
//! what looks like a header of it: there the header that is due decides, see `intruder`.
//!
//! The blocks of a segment are only known to be good when the next header has come: see [`Preceding`].

mod intruder;
mod tapes;

use core::marker::PhantomData;

use super::window::move_to_front;
use crate::checksum::Crc32c;
use crate::limits::{SEARCH_LEN_MAX, SEGMENT_BLOCKS_MAX};
use crate::record::dialect::Dialect;
use crate::record::header::{Header, HeaderError, HeaderKind, HeaderRepr, MAGIC_AT, TapeBlock};
use crate::record::holes::Holes;
use crate::units::{BlockAddr, DumpId, TAPE_BLOCK_LEN, TapeNo};

/// What a header says of the blocks between the header before and itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preceding {
    /// They are what was written.
    Good,
    /// They are not, or not all there.
    Damaged,
    /// Nothing speaks against them, and nothing for them: the dump has no checksums of data (it is not one of ours),
    /// or the header that had this one is lost.
    Unchecked,
}

/// A place where the stream is not as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Gap {
    /// Where the stream should have gone on.
    pub expected: BlockAddr,
    /// Where it does go on, when a header tells.
    pub found: Option<BlockAddr>,
    /// Bytes passed over in search of it.
    pub skipped: u64,
}

/// Why a stream cannot be read at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ReaderError {
    /// No header was found in the first bytes.
    NotADump {
        /// Bytes looked at.
        searched: u64,
    },
    /// A dialect that is not read.
    UnsupportedDialect {
        /// Its magic.
        magic: u32,
    },
    /// The tape that was given as the next one is not.
    WrongTape {
        /// Number of the tape asked for.
        wanted: TapeNo,
        /// What it is instead: a tape of this dump with another number, or no tape of this dump.
        found: Option<TapeNo>,
    },
}

/// What the reader wants, or has for the caller.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one at a time, and there is no allocator")]
pub enum ReaderAction<'r> {
    /// More of the stream: put a record into [`Reader::space`] and call [`Reader::handle_record`], or
    /// [`Reader::handle_end`] when there is none.
    NeedRecord,
    /// A header; the blocks it announces follow as [`Data`](Self::Data).
    Header {
        /// What it says.
        repr: HeaderRepr,
        /// The block itself, for its names and label.
        view: Header<'r>,
        /// What it says of the blocks before.
        preceding: Preceding,
    },
    /// Whole blocks of the segment, from this entry on without holes between.
    Data {
        /// Entry of the hole map.
        entry: usize,
        /// Their bytes.
        bytes: &'r [u8],
    },
    /// Something is missing or foreign here.
    Gap(Gap),
    /// The input has ended without an end header: the next tape is wanted, or the end is lost.
    Ended,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A header is expected at the front of the window.
    AtHeader,
    /// Looking for one; so many bytes were passed over.
    Search { skipped: u64 },
    /// In a segment.
    Body,
    /// The next tape's header is expected, then the state before goes on.
    AtTape { in_body: bool },
    /// The header of a tape is expected that what was read before is not continued on.
    AtAnyTape,
    /// After the last end header.
    Over,
}

#[derive(Clone, Copy, Debug)]
struct Identity {
    dialect: Dialect,
    date: u32,
    id: Option<DumpId>,
}

/// A stream being read. See the module.
#[derive(Debug)]
pub struct Reader<'m, C> {
    memory: &'m mut [u8],
    /// The window: bytes of `memory` that were given and not yet taken.
    start: usize,
    end: usize,
    /// The bytes given last lie between here and `start`.
    data_from: usize,
    ended: bool,
    identity: Option<Identity>,
    state: State,
    /// Address of the block at the front of the window, as far as known.
    addr: BlockAddr,
    /// The header before: its address, and the tape it is on.
    header_addr: BlockAddr,
    tape: TapeNo,
    /// The first block that is on it, where that is known.
    tape_from: Option<BlockAddr>,
    count: usize,
    entry: usize,
    holes: Holes,
    /// CRC32C of all blocks since the header before.
    crc: u32,
    /// Something happened among them that a foreign dump cannot tell otherwise.
    broken: bool,
    /// Where the header is due that has their CRC.
    due: BlockAddr,
    /// The segment is one of an object, not of a map.
    of_object: bool,
    /// The segment is known to be whole: its blocks are data, whatever they look like.
    sealed: bool,
    /// Longest record so far.
    record_len: usize,
    /// Behind the window a record could not be read, which has this length in all likelihood.
    unreadable: Option<usize>,
    /// Bytes at the front of the next record that are not wanted.
    skip: usize,
    checksums: PhantomData<C>,
}

impl<'m, C: Crc32c> Reader<'m, C> {
    /// A reader at the beginning of a tape file. `memory` holds one tape block and the longest record. With a segment more,
    /// of 512 blocks, headers that are missing are found again in the dumps of others, too.
    #[must_use]
    pub const fn new(memory: &'m mut [u8]) -> Self {
        Self {
            memory,
            start: 0,
            end: 0,
            data_from: 0,
            ended: false,
            identity: None,
            state: State::AtHeader,
            addr: BlockAddr(0),
            header_addr: BlockAddr(0),
            tape: TapeNo::FIRST,
            tape_from: Some(BlockAddr(0)),
            count: 0,
            entry: 0,
            holes: Holes::NONE,
            crc: 0,
            broken: false,
            due: BlockAddr(0),
            of_object: false,
            sealed: false,
            record_len: 0,
            unreadable: None,
            skip: 0,
            checksums: PhantomData,
        }
    }

    /// Room for the next record; call it when [`ReaderAction::NeedRecord`] was given.
    pub fn space(&mut self) -> &mut [u8] {
        if let Some(record_len) = self.unreadable.take() {
            self.pass_unreadable(record_len);
        }
        let window = self.memory.get_mut(..self.end).unwrap_or_default();
        self.end = move_to_front(window, self.start);
        self.start = 0;
        self.memory.get_mut(self.end..).unwrap_or_default()
    }

    /// A record of this length is at the front of [`space`](Self::space).
    pub fn handle_record(&mut self, len: usize) {
        self.record_len = self.record_len.max(len);
        self.end = self.end.saturating_add(len).min(self.memory.len());
        let skip = core::mem::take(&mut self.skip);
        self.start = self.start.saturating_add(skip).min(self.end);
    }

    /// A record could not be read, which has this length in all likelihood: the stream goes on behind it.
    pub fn handle_unreadable(&mut self, record_len: usize) {
        if self.window_len() >= TAPE_BLOCK_LEN {
            self.unreadable = Some(record_len);
        } else {
            self.pass_unreadable(record_len);
        }
    }

    /// There are no more records on this tape.
    pub const fn handle_end(&mut self) {
        self.ended = true;
    }

    /// The tape was moved: the next record holds block `to` of the dump, behind `skip` bytes. It is to be a header.
    pub const fn handle_seek(&mut self, to: BlockAddr, skip: usize) {
        self.start = 0;
        self.end = 0;
        self.data_from = 0;
        self.skip = skip;
        self.ended = false;
        self.unreadable = None;
        self.state = State::AtHeader;
        self.addr = to;
        self.due = to;
        self.header_addr = BlockAddr(to.0.saturating_sub(1));
        self.count = 0;
        self.entry = 0;
        self.crc = 0;
        self.broken = false;
        self.sealed = false;
        self.of_object = false;
    }

    /// Begins again, at the beginning of another dump.
    pub fn restart(&mut self) {
        *self = Self::new(core::mem::take(&mut self.memory));
    }

    /// The tape being read.
    #[must_use]
    pub const fn tape(&self) -> TapeNo {
        self.tape
    }

    /// The dump's first block on that tape; `None`: not known, since its header is lost.
    #[must_use]
    pub const fn tape_from(&self) -> Option<BlockAddr> {
        self.tape_from
    }

    /// Address of the next block.
    #[must_use]
    pub const fn addr(&self) -> BlockAddr {
        self.addr
    }

    /// Address of the first block of the next record.
    #[must_use]
    pub const fn record_addr(&self) -> BlockAddr {
        self.addr.plus((self.window_len() / TAPE_BLOCK_LEN) as u64)
    }

    /// Dialect of the dump, once a header was found.
    #[must_use]
    pub fn dialect(&self) -> Option<Dialect> {
        self.identity.map(|identity| identity.dialect)
    }

    /// The bytes that [`ReaderAction::Data`] gave last, until the next record is taken.
    #[must_use]
    pub fn last_data(&self) -> &[u8] {
        self.memory.get(self.data_from..self.start).unwrap_or_default()
    }

    /// Hole map of the last header.
    #[must_use]
    pub const fn holes(&self) -> &Holes {
        &self.holes
    }

    /// What comes next.
    ///
    /// # Errors
    /// The stream is none that can be read.
    pub fn poll(&mut self) -> Result<ReaderAction<'_>, ReaderError> {
        if self.window_len() < TAPE_BLOCK_LEN
            && let Some(record_len) = self.unreadable.take()
        {
            self.pass_unreadable(record_len);
        }
        match self.state {
            State::AtHeader => self.at_header(),
            State::Search { skipped } => self.search(skipped),
            State::Body => Ok(self.body()),
            State::AtTape { in_body } => self.at_tape(Some(in_body)),
            State::AtAnyTape => self.at_tape(None),
            State::Over => Ok(ReaderAction::Ended),
        }
    }

    const fn window_len(&self) -> usize {
        self.end.saturating_sub(self.start)
    }

    fn block_at(&self, at: usize) -> Option<&TapeBlock> {
        self.memory.get(at..self.end)?.first_chunk()
    }

    fn need_record<'r>(&self) -> ReaderAction<'r> {
        if self.ended { ReaderAction::Ended } else { ReaderAction::NeedRecord }
    }

    fn at_header(&mut self) -> Result<ReaderAction<'_>, ReaderError> {
        let Some(block) = self.block_at(self.start) else {
            if self.ended && self.end > self.start {
                let skipped = (self.end - self.start) as u64;
                self.start = self.end;
                if self.identity.is_none() {
                    return Err(ReaderError::NotADump { searched: skipped });
                }
                return Ok(ReaderAction::Gap(Gap { expected: self.addr, found: None, skipped }));
            }
            if self.ended && self.identity.is_none() {
                return Err(ReaderError::NotADump { searched: 0 });
            }
            return Ok(self.need_record());
        };
        let Some(repr) = self.due_header(block)? else {
            self.broken |= self.identity.is_some_and(|identity| identity.id.is_none());
            self.state = State::Search { skipped: 0 };
            return self.search(0);
        };
        if self.identity.is_none() {
            self.identify(self.start)?;
        }
        if repr.extension.is_none() {
            // Others count in their own way; what matters is the distance from header to header.
            self.addr = repr.addr;
        } else if repr.addr != self.addr {
            let gap = Gap { expected: self.addr, found: Some(repr.addr), skipped: 0 };
            self.addr = repr.addr;
            return Ok(ReaderAction::Gap(gap));
        }
        Ok(self.take_header(repr))
    }

    fn take_header(&mut self, repr: HeaderRepr) -> ReaderAction<'_> {
        let complete = self.entry >= self.count;
        let preceding = match repr.extension {
            Some(extension)
                if repr.addr == self.due && extension.preceding_crc == self.crc && !self.broken =>
            {
                Preceding::Good
            }
            Some(_) if repr.addr != self.due && complete && !self.broken => Preceding::Unchecked,
            Some(_) => Preceding::Damaged,
            None if self.broken => Preceding::Damaged,
            None => Preceding::Unchecked,
        };
        let at = self.start;
        self.start += TAPE_BLOCK_LEN;
        self.header_addr = self.addr;
        self.addr = self.addr.plus(1);
        self.crc = 0;
        self.broken = false;
        self.entry = 0;
        self.of_object = matches!(repr.kind, HeaderKind::Inode | HeaderKind::Continuation);
        self.sealed = false;
        let block = self.memory.get(at..).and_then(<[u8]>::first_chunk).unwrap_or(&EMPTY_BLOCK);
        let view = Header::new(block);
        match repr.kind {
            HeaderKind::Inode | HeaderKind::Continuation => {
                self.count = repr.count as usize;
                self.holes = view.holes(repr.count);
                self.state = State::Body;
            }
            HeaderKind::InUseMap | HeaderKind::OnTapeMap => {
                self.count = repr.count as usize;
                self.state = State::Body;
            }
            HeaderKind::Tape | HeaderKind::End | HeaderKind::Unknown(_) => {
                self.count = 0;
                self.state = if repr.kind == HeaderKind::End { State::Over } else { State::AtHeader };
            }
        }
        if self.count > SEGMENT_BLOCKS_MAX
            || matches!(repr.kind, HeaderKind::InUseMap | HeaderKind::OnTapeMap)
        {
            self.holes = Holes::all_data(SEGMENT_BLOCKS_MAX);
        }
        let blocks =
            if self.count > SEGMENT_BLOCKS_MAX { self.count } else { self.holes.data_count(self.count) };
        self.due = self.addr.plus(blocks as u64);
        ReaderAction::Header { repr, view, preceding }
    }

    /// Reads the block as a header of this dump; `None` when it is none.
    fn genuine(&self, block: &TapeBlock) -> Result<Option<HeaderRepr>, ReaderError> {
        let header = Header::new(block);
        let dialect = match self.identity {
            Some(identity) => identity.dialect,
            None => match header.detect() {
                Ok(dialect) => dialect,
                Err(HeaderError::UnsupportedDialect { magic }) => {
                    return Err(ReaderError::UnsupportedDialect { magic });
                }
                Err(_) => return Ok(None),
            },
        };
        Ok(header.parse::<C>(dialect).ok().filter(|repr| self.belongs(repr)))
    }

    /// As [`genuine`](Self::genuine), without headers that were passed already: a stretch of the tape, or a copy of the
    /// tape in a file, comes a second time.
    fn due_header(&self, block: &TapeBlock) -> Result<Option<HeaderRepr>, ReaderError> {
        let passed = |repr: &HeaderRepr| {
            self.identity.is_some() && repr.extension.is_some() && repr.addr <= self.header_addr
        };
        Ok(self.genuine(block)?.filter(|repr| !passed(repr)))
    }

    fn belongs(&self, repr: &HeaderRepr) -> bool {
        self.identity.is_none_or(|identity| {
            repr.date == identity.date && repr.extension.map(|extension| extension.dump_id) == identity.id
        })
    }

    fn identify(&mut self, at: usize) -> Result<(), ReaderError> {
        if let Some(block) = self.block_at(at) {
            let header = Header::new(block);
            if let (Ok(dialect), Ok(Some(repr))) = (header.detect(), self.genuine(block)) {
                let id = repr.extension.map(|extension| extension.dump_id);
                self.identity = Some(Identity { dialect, date: repr.date, id });
            }
        }
        Ok(())
    }

    /// Passes over bytes until a genuine header is at the front of the window.
    fn search(&mut self, mut skipped: u64) -> Result<ReaderAction<'_>, ReaderError> {
        let expected = self.addr;
        while let Some(block) = self.block_at(self.start) {
            if self.identity.is_none() && skipped > SEARCH_LEN_MAX {
                return Err(ReaderError::NotADump { searched: skipped });
            }
            if let Some(repr) = self.due_header(block)? {
                self.identify(self.start)?;
                self.addr = repr.addr;
                // Searching began with the tape.
                self.tape_from.get_or_insert(BlockAddr(repr.addr.0.saturating_sub(skipped / BLOCK_LEN)));
                self.state = State::AtHeader;
                let gap = Gap { expected, found: Some(repr.addr), skipped };
                return Ok(ReaderAction::Gap(gap));
            }
            let step = self.distance_to_magic();
            self.start += step;
            skipped += step as u64;
        }
        self.state = State::Search { skipped };
        if self.ended {
            if self.identity.is_none() {
                return Err(ReaderError::NotADump { searched: skipped + (self.end - self.start) as u64 });
            }
            skipped += (self.end - self.start) as u64;
            self.start = self.end;
            self.state = State::AtHeader;
            if skipped > 0 {
                return Ok(ReaderAction::Gap(Gap { expected, found: None, skipped }));
            }
        }
        Ok(self.need_record())
    }

    /// Bytes to the next place, at least 1, where a header's magic might be; to the end of what can be judged otherwise.
    fn distance_to_magic(&self) -> usize {
        let window = self.memory.get(self.start + 1 + MAGIC_AT..self.end).unwrap_or_default();
        let wanted = self.identity.map(|identity| identity.dialect.magic_bytes());
        let hit = match wanted {
            Some(magic) => window.windows(4).position(|bytes| bytes == magic),
            // The magics all end, or in the other order begin, with one of these bytes.
            None => window.windows(4).position(|bytes| {
                matches!(
                    bytes,
                    [0, 0, 0xea, 0x6b..=0x6d] | [0x6b..=0x6d, 0xea, 0, 0] | [0x19, 0x54, 0x01, 0x19]
                )
            }),
        };
        let most = (self.end - self.start).saturating_sub(TAPE_BLOCK_LEN) + 1;
        hit.map_or(most, |at| (at + 1).min(most))
    }

    fn body(&mut self) -> ReaderAction<'_> {
        loop {
            if self.entry >= self.count {
                self.state = State::AtHeader;
                return match self.at_header() {
                    Ok(action) => action,
                    // Only the first header can be of an unsupported dialect, and nothing was found before it.
                    Err(_) => ReaderAction::Ended,
                };
            }
            let run = self.run_len();
            if !self.is_data(self.entry) {
                self.entry += run;
                continue;
            }
            let there = (self.end - self.start) / TAPE_BLOCK_LEN;
            if there == 0 {
                return self.need_record();
            }
            return self.blocks(run.min(there));
        }
    }

    fn is_data(&self, entry: usize) -> bool {
        self.count > SEGMENT_BLOCKS_MAX || self.holes.is_data(entry)
    }

    fn run_len(&self) -> usize {
        if self.count > SEGMENT_BLOCKS_MAX {
            self.count - self.entry
        } else {
            self.holes.run_len(self.entry, self.count)
        }
    }
}

const BLOCK_LEN: u64 = TAPE_BLOCK_LEN as u64;
static EMPTY_BLOCK: TapeBlock = [0; TAPE_BLOCK_LEN];
