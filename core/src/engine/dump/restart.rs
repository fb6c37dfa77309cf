//! Going on with a dump that ended early (R-RESTART-4).
//!
//! ```text
//! Dump::suspend -> stored by the caller -> power returns -> find_end -> Dump::restarted
//! ```
//!
//! What is needed to go on is the [`DumpState`] of fixed length, less than a record of the stream that was not on tape yet, and the three
//! maps. The caller stores them durably once [`Dump::suspend`] has returned, for then all that they build on is on the
//! tape, and after it has suspended its catalog. The volume must be the same image of it: a snapshot.
//!
//! The stream that goes on is the one that would have come without interruption, byte for byte.

use zerocopy::byteorder::{BE, U16, U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::body::Reached;
use super::{Dump, DumpError, DumpEvent, DumpMemory, DumpOptions, DumpSummary, Stage, State};
use crate::catalog::{CatalogSink, Flaws};
use crate::checksum::Crc32c;
use crate::device::tape::{Spaced, TapeDevice, TapePosition, TapeRead};
use crate::device::volume::{Class, SourceVolume};
use crate::limits::SEGMENT_BLOCKS_MAX;
use crate::record::dialect::Dialect;
use crate::record::header::{Header, HeaderKind, HeaderRepr};
use crate::record::{get_u64, put_u64};
use crate::stream::writer::{DumpIdentity, Suspended};
use crate::units::{BlockAddr, BlockingFactor, Ino, StreamBlock, TAPE_BLOCK_LEN, TapeNo};

const AT_HEADER: u8 = 1;
const AT_DIRECTORIES: u8 = 2;
const AT_FILES: u8 = 3;
const AT_ATTRIBUTES: u8 = 4;
const AT_END: u8 = 5;

const TOLD_NAMES: u8 = 1;
const TOLD_DIRECTORIES: u8 = 2;
const IN_FILE: u8 = 4;
const TAPE_ENDS: u8 = 8;

/// Where a dump stands between two steps: as it is stored, all numbers big-endian. `docs/context.md` has the layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct DumpState {
    record_at: U64<BE>,
    header_at: U64<BE>,
    directories: U64<BE>,
    others: U64<BE>,
    unchanged: U64<BE>,
    handled: U64<BE>,
    incomplete: U64<BE>,
    data_len: U64<BE>,
    file_blocks: U64<BE>,
    file_size: U64<BE>,
    file_at: U64<BE>,
    tape_from: U64<BE>,
    tape: U32<BE>,
    /// Number of the object of the header before the first one that is not on tape.
    ino: U32<BE>,
    file_ino: U32<BE>,
    file_segment: U32<BE>,
    /// The object that comes next, or one before it.
    from: U32<BE>,
    crc: U32<BE>,
    header_flags: U16<BE>,
    file_flaws: u8,
    at: u8,
    told: u8,
    /// Blocks from `record_at` to the first header from there on, there or due: less than a record.
    header_ahead: u8,
    reserved: [u8; 2],
}

const _: () = assert!(size_of::<DumpState>() == 128);
const _: () = assert!(BlockingFactor::MAX.blocks() <= 1 << u8::BITS);

impl DumpState {
    /// As it is stored.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.as_bytes()
    }

    /// As it was stored; `None`: these bytes are none.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Self::read_from_bytes(bytes).ok()
    }

    /// The tape that it goes on on.
    #[must_use]
    pub const fn tape(&self) -> TapeNo {
        TapeNo(self.tape.get())
    }

    /// The dump's first block on that tape.
    #[must_use]
    pub const fn tape_from(&self) -> BlockAddr {
        BlockAddr(get_u64(&self.tape_from))
    }

    /// Blocks of the dump on its tapes before it goes on: whole records.
    #[must_use]
    pub const fn record_at(&self) -> BlockAddr {
        BlockAddr(get_u64(&self.record_at))
    }

    /// Block of the last header before that place, or behind it.
    #[must_use]
    pub const fn header_at(&self) -> BlockAddr {
        BlockAddr(get_u64(&self.header_at))
    }

    /// The file it stopped in, when it stopped in one.
    #[must_use]
    pub const fn in_file(&self) -> Option<Ino> {
        if self.told & IN_FILE == 0 { None } else { Some(Ino(self.file_ino.get())) }
    }

    /// The stage it goes on in.
    #[must_use]
    pub const fn stage(&self) -> Stage {
        match self.at {
            AT_HEADER => Stage::Map,
            AT_DIRECTORIES => Stage::Directories,
            AT_FILES => Stage::Files,
            _ => Stage::Attributes,
        }
    }

    /// How far the dump was.
    #[must_use]
    pub const fn progress(&self) -> DumpSummary {
        DumpSummary {
            directories: get_u64(&self.directories),
            others: get_u64(&self.others),
            unchanged: get_u64(&self.unchanged),
            handled: get_u64(&self.handled),
            incomplete: get_u64(&self.incomplete),
            data_len: get_u64(&self.data_len),
            blocks: get_u64(&self.record_at),
        }
    }

    /// Whether any dump can stand so: no count comes near an overflow.
    fn is_possible(&self) -> bool {
        const MOST: u64 = 1 << 48;
        let counts = [
            &self.directories,
            &self.others,
            &self.unchanged,
            &self.handled,
            &self.incomplete,
            &self.record_at,
            &self.header_at,
            &self.file_blocks,
            &self.file_at,
        ];
        counts.iter().all(|count| get_u64(count) < MOST)
            && get_u64(&self.data_len) < 1 << 62
            && self.file_segment.get() < 1 << 31
    }

    fn state(&self) -> Option<State> {
        let from = Ino(self.from.get());
        Some(match self.at {
            AT_HEADER => State::Header,
            AT_DIRECTORIES => State::Objects { class: Class::Directories, from },
            AT_FILES => State::Objects { class: Class::Others, from },
            AT_ATTRIBUTES => State::Attributes { from },
            AT_END => State::End,
            _ => return None,
        })
    }

    fn reached(&self) -> Option<Reached> {
        let place = StreamBlock(get_u64(&self.file_at));
        Some(Reached {
            ino: Ino(self.file_ino.get()),
            segment: self.file_segment.get(),
            blocks: get_u64(&self.file_blocks),
            size: get_u64(&self.file_size),
            place,
            flaws: Flaws::from_bits(self.file_flaws)?,
        })
    }

    fn stream(&self) -> Suspended {
        Suspended {
            tape: self.tape(),
            tape_from: self.tape_from(),
            record_at: self.record_at(),
            next_header: self.record_at().plus(self.header_ahead.into()),
            ino: self.ino.get(),
            header_at: BlockAddr(get_u64(&self.header_at)),
            crc: self.crc.get(),
            flags: self.header_flags.get(),
        }
    }
}

/// What is stored of a dump besides its [`DumpState`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held<'d> {
    /// The stream behind the last record on tape: less than a record.
    pub rest: &'d [u8],
    /// Map of the objects in use, as [`DumpMemory`] has it; the same from stage III on.
    pub in_use: &'d [u8],
    /// Map of the objects still to be dumped.
    pub pending: &'d [u8],
    /// Map of the objects that a restore of the chain gives rightly, as far as the dump is.
    pub known: &'d [u8],
}

/// Why a dump cannot go on on this tape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum RestartError<E> {
    /// Another dump stands where this one began, or none: it is another tape, or was overwritten.
    OtherDump,
    /// The tape ends, or cannot be read, before what is known to have been written on it.
    Missing {
        /// First block of the dump that is not there.
        at: BlockAddr,
    },
    /// Not what was written stands there.
    Differs {
        /// The dump's block from which on it was looked at.
        at: BlockAddr,
    },
    /// The memory lent is shorter than a tape record.
    MemoryTooSmall {
        /// Bytes needed.
        needed: usize,
    },
    /// The drive failed.
    Tape(E),
}

/// Puts the tape behind the last record on it that counts, having verified that it is the dump's tape, and that what
/// stands before that place is what was written: the last header, all that follows it, and the segment before. `begin` is where the dump
/// began on this tape, [`DumpState::tape`], `rest` what was stored with the state, `memory` room for a record.
///
/// # Errors
/// The dump cannot go on here; nothing was written.
pub fn find_end<T: TapeDevice, C: Crc32c>(
    tape: &mut T,
    begin: TapePosition,
    dump: &DumpIdentity,
    blocking: BlockingFactor,
    state: &DumpState,
    rest: &[u8],
    memory: &mut [u8],
) -> Result<(), RestartError<T::Error>> {
    let needed = blocking.record_len();
    let record = memory.get_mut(..needed).ok_or(RestartError::MemoryTooSmall { needed })?;
    let mut records = Records { tape, begin, from: state.tape_from(), blocks: blocking.blocks().into() };
    let (end, last_header) = (records.number(state.record_at()), state.header_at.get());
    records.go_to(0)?;
    match records.tape.read(record).map_err(RestartError::Tape)? {
        // Nothing that counts is there; what does not, but is of this dump, may be written over, and nothing else.
        TapeRead::EndOfData if end == 0 => return records.go_to(0),
        TapeRead::Record(len) if len >= TAPE_BLOCK_LEN => {}
        _ => return Err(RestartError::Missing { at: state.tape_from() }),
    }
    let header = header_at::<C>(record, dump, state.tape_from());
    if header.is_none_or(|header| header.kind != HeaderKind::Tape || header.tape != state.tape()) {
        return Err(RestartError::OtherDump);
    }
    if end == 0 {
        return records.go_to(0);
    }
    // The segment before the last header as well, which that header has the checksum of.
    let first = last_header.min(state.record_at.get()).saturating_sub(SEGMENT_BLOCKS_MAX as u64 + 1);
    let mut number = records.number(BlockAddr(first)).min(end.saturating_sub(1));
    records.go_to(number)?;
    let from = records.addr(number);
    let mut end_of_dump = EndOfDump { dump, at: from, header: None, crc: 0 };
    while number < end {
        records.read(number, record)?;
        end_of_dump.take::<C>(record).ok_or(RestartError::Differs { at: from })?;
        number += 1;
    }
    end_of_dump.take::<C>(rest).ok_or(RestartError::Differs { at: from })?;
    let is_it = end_of_dump.header == Some(BlockAddr(last_header)) && end_of_dump.crc == state.crc.get();
    if is_it { Ok(()) } else { Err(RestartError::Differs { at: from }) }
}

/// The dump's records on one tape.
struct Records<'t, T> {
    tape: &'t mut T,
    begin: TapePosition,
    /// The first block.
    from: BlockAddr,
    /// Blocks of each.
    blocks: u64,
}

impl<T: TapeDevice> Records<'_, T> {
    fn number(&self, addr: BlockAddr) -> u64 {
        addr.since(self.from).and_then(|blocks| blocks.checked_div(self.blocks)).unwrap_or(0)
    }

    /// Of a record up to the last that counts: far from an overflow.
    const fn addr(&self, number: u64) -> BlockAddr {
        self.from.plus(number.wrapping_mul(self.blocks))
    }

    fn go_to(&mut self, number: u64) -> Result<(), RestartError<T::Error>> {
        let record = self.begin.record.wrapping_add(number);
        match self.tape.locate(TapePosition { record, ..self.begin }).map_err(RestartError::Tape)? {
            Spaced::Done => Ok(()),
            _ => Err(RestartError::Missing { at: self.addr(number) }),
        }
    }

    fn read(&mut self, number: u64, record: &mut [u8]) -> Result<(), RestartError<T::Error>> {
        match self.tape.read(record).map_err(RestartError::Tape)? {
            TapeRead::Record(len) if len == record.len() => Ok(()),
            _ => Err(RestartError::Missing { at: self.addr(number) }),
        }
    }
}

/// A header of this dump that stands at the front, if one does.
#[inline(never)]
fn header_at<C: Crc32c>(bytes: &[u8], dump: &DumpIdentity, at: BlockAddr) -> Option<HeaderRepr> {
    let header = Header::new(bytes.first_chunk::<TAPE_BLOCK_LEN>()?);
    let header = header.may_be_ours().then(|| header.parse::<C>(Dialect::OURS).ok()).flatten()?;
    let is_of_dump = header.extension.is_some_and(|extension| extension.dump_id == dump.id);
    (is_of_dump && header.date == dump.date && header.addr == at).then_some(header)
}

/// The last blocks of what is on tape, as far as they were looked at.
struct EndOfDump<'d> {
    dump: &'d DumpIdentity,
    /// Where the next block is.
    at: BlockAddr,
    /// The last header, and the CRC32C of all behind it.
    header: Option<BlockAddr>,
    crc: u32,
}

impl EndOfDump<'_> {
    /// Takes the next blocks. `None`: what is between two headers is not what was written.
    fn take<C: Crc32c>(&mut self, blocks: &[u8]) -> Option<()> {
        for block in blocks.chunks(TAPE_BLOCK_LEN) {
            match header_at::<C>(block, self.dump, self.at) {
                Some(header) => {
                    let preceding = header.extension.map(|extension| extension.preceding_crc);
                    if self.header.is_some() && preceding != Some(self.crc) {
                        return None;
                    }
                    (self.header, self.crc) = (Some(self.at), 0);
                }
                None => self.crc = C::update(self.crc, block),
            }
            self.at = self.at.plus(1);
        }
        Some(())
    }
}

impl<'m, S: SourceVolume, T: TapeDevice, C: Crc32c, K: CatalogSink> Dump<'m, S, T, C, K> {
    /// Brings to the tape what there is in whole records, makes it durable, and tells how to go on from here, with what
    /// [`held`](Self::held) gives. `None`: not here; after some more steps. The dump itself goes on in any case.
    ///
    /// # Errors
    /// The tape failed; the dump cannot go on.
    pub fn suspend(&mut self) -> Result<Option<DumpState>, DumpError<S::Error, T::Error>> {
        let reached = self.body.as_ref().map(super::body::Body::reached);
        let (at, from) = match self.state {
            State::Header => (AT_HEADER, Ino::FIRST),
            State::Objects { class: Class::Directories, from } => (AT_DIRECTORIES, from),
            State::Objects { class: Class::Others, from } => (AT_FILES, from),
            State::Attributes { from } => (AT_ATTRIBUTES, from),
            State::End => (AT_END, Ino::FIRST),
            _ => return Ok(None),
        };
        if !self.waiting.is_empty() || matches!(reached, Some(None)) {
            return Ok(None);
        }
        self.write_records()?;
        let end = self.writer.unsent_addr();
        self.tape.flush().map_err(|source| DumpError::Tape { at: end, source })?;
        let (stream, _) = self.writer.suspended();
        let DumpSummary { directories, others, unchanged, handled, incomplete, data_len, .. } = self.summary;
        let mut state = DumpState {
            tape: stream.tape.0.into(),
            tape_from: put_u64(stream.tape_from.0),
            ino: stream.ino.into(),
            header_ahead: stream.next_header.0.saturating_sub(stream.record_at.0) as u8,
            record_at: put_u64(stream.record_at.0),
            header_at: put_u64(stream.header_at.0),
            directories: put_u64(directories),
            others: put_u64(others),
            unchanged: put_u64(unchanged),
            handled: put_u64(handled),
            incomplete: put_u64(incomplete),
            data_len: put_u64(data_len),
            from: from.0.into(),
            crc: stream.crc.into(),
            header_flags: stream.flags.into(),
            at,
            ..DumpState::new_zeroed()
        };
        if self.told_names {
            state.told |= TOLD_NAMES;
        }
        if self.told_directories {
            state.told |= TOLD_DIRECTORIES;
        }
        if self.tape_ends {
            state.told |= TAPE_ENDS;
        }
        if let Some(Some(reached)) = reached {
            state.told |= IN_FILE;
            state.file_ino = reached.ino.0.into();
            state.file_segment = reached.segment.into();
            state.file_blocks = put_u64(reached.blocks);
            state.file_size = put_u64(reached.size);
            state.file_at = put_u64(reached.place.0);
            state.file_flaws = reached.flaws.bits();
        }
        Ok(Some(state))
    }

    /// What is to be stored with the state that [`suspend`](Self::suspend) gave, before the next step.
    #[must_use]
    pub fn held(&self) -> Held<'_> {
        Held {
            rest: self.writer.suspended().1,
            in_use: self.in_use.bytes(),
            pending: self.pending.bytes(),
            known: self.known.bytes(),
        }
    }

    /// The catalog, to be suspended with the dump.
    ///
    /// # Errors
    /// What [`DumpEvent::CatalogLost`] was told for.
    pub const fn catalog_mut(&mut self) -> Result<&mut K, &K::Error> {
        match &mut self.catalog {
            Ok(catalog) => Ok(catalog),
            Err(error) => Err(error),
        }
    }

    /// The dump that was suspended: of the same image of the volume, with the same options, onto a tape that stands where
    /// [`find_end`] has put it, with the catalog as it was suspended. The maps of `memory` hold what was stored of them
    /// (`on_tape` what was pending).
    ///
    /// # Errors
    /// As [`with_catalog`](Self::with_catalog), and [`DumpError::NotThisDump`].
    pub fn restarted(
        source: S,
        tape: T,
        catalog: K,
        memory: DumpMemory<'m>,
        options: DumpOptions,
        state: &DumpState,
        rest: &[u8],
    ) -> Result<Self, DumpError<S::Error, T::Error>> {
        let mut dump = Self::with_catalog(source, tape, catalog, memory, options)?;
        dump.restart(state, rest)?;
        Ok(dump)
    }

    /// Before the first [`step`](Self::step): makes it the dump that was suspended, as [`restarted`](Self::restarted) does,
    /// where the dump stands in memory.
    ///
    /// # Errors
    /// [`DumpError::NotThisDump`], and what opening the object that it stopped in fails with; the dump is over then.
    #[inline(never)]
    pub fn restart(&mut self, state: &DumpState, rest: &[u8]) -> Result<(), DumpError<S::Error, T::Error>> {
        let gone_on = self.go_on_from(state, rest);
        if gone_on.is_err() {
            (self.state, self.body) = (State::Over, None);
        }
        gone_on
    }

    fn go_on_from(&mut self, state: &DumpState, rest: &[u8]) -> Result<(), DumpError<S::Error, T::Error>> {
        self.state = state.state().filter(|_| state.is_possible()).ok_or(DumpError::NotThisDump)?;
        if !self.writer.resume(state.stream(), rest) {
            return Err(DumpError::NotThisDump);
        }
        self.summary = state.progress();
        self.tape_ends = state.told & TAPE_ENDS != 0;
        self.told_names = state.told & TOLD_NAMES != 0;
        self.told_directories = state.told & TOLD_DIRECTORIES != 0;
        self.source.will_open(self.pending.bytes());
        if state.told & IN_FILE != 0 {
            let reached = state.reached().ok_or(DumpError::NotThisDump)?;
            self.go_on_with(&reached)?;
        }
        self.stage = state.stage();
        self.tell(Some(DumpEvent::Stage(self.stage)));
        Ok(())
    }
}
