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
use tapedump_core::checksum::Crc32c;
use tapedump_core::device::tape::{
    Space, Spaced, TapeCapabilities, TapeDevice, TapePosition, TapeRead, TapeWrite,
};
use tapedump_core::device::volume::Kind;
use tapedump_core::device::{DeviceError, ErrorKind};
use tapedump_core::limits::{READ_ERRORS_MAX, SEGMENT_LEN_MAX};
use tapedump_core::record::dialect::Dialect;
use tapedump_core::record::extension::{Extension, Role, extension_flags};
use tapedump_core::record::header::{Header, HeaderKind, HeaderRepr, TapeBlock, set_extension_flags};
use tapedump_core::stream::reader::{Preceding, Reader, ReaderAction};
use tapedump_core::units::{BlockAddr, BlockingFactor, DumpId, TAPE_BLOCK_LEN};

/// Where the flags of a header's extension are.
const FLAGS: Range<usize> = 910..912;
/// Where it says what the blocks before it are.
const PRECEDING_CRC: Range<usize> = 956..960;

/// What one copy has is in a region of the scratch file of its own.
const REGION_LEN: u64 = 1 << 40;

/// A segment: its header, and the blocks behind it.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    at: BlockAddr,
    /// Blocks, the header's among them.
    blocks: u64,
    /// Where its region begins.
    region: u64,
}

impl Segment {
    pub const fn new(at: BlockAddr, blocks: u64, region: u64) -> Self {
        Self { at, blocks, region }
    }

    /// Where the next header is due.
    const fn due(&self) -> BlockAddr {
        self.at.plus(self.blocks)
    }
}

/// What was gathered of the front of one dump: each segment from whichever copy has it as it was written.
pub struct Front {
    id: DumpId,
    /// In the region of each copy, each block at its address in the dump.
    file: File,
    /// How many copies there were.
    copies: u64,
    /// Segments that are as they were written, by their first block; those behind each other in one copy are one here.
    good: BTreeMap<u64, Segment>,
    /// Segments of which only the header behind them could tell whether they are, and that is lost in the same copy.
    unsure: Vec<Segment>,
    /// Headers that are none of the front, each the first one in a copy.
    behind: Vec<u64>,
    /// What the header behind the segment made last is to say of it.
    told: Option<(BlockAddr, u32, u16)>,
}

impl Front {
    /// Of a dump, with nothing in it; `file` is empty.
    pub const fn new(id: DumpId, file: File) -> Self {
        Self {
            id,
            file,
            copies: 0,
            good: BTreeMap::new(),
            unsure: Vec::new(),
            behind: Vec::new(),
            told: None,
        }
    }

    /// Blocks that are there.
    pub fn blocks(&self) -> u64 {
        self.good.values().map(|segment| segment.blocks).sum()
    }

    /// All of it is there.
    pub fn is_whole(&self) -> bool {
        let mut end = 0;
        while let Some(segment) = self.good.get(&end) {
            end += segment.blocks;
        }
        self.behind.contains(&end)
    }

    /// Where the region of one more copy begins.
    pub const fn begin_copy(&mut self) -> u64 {
        let region = self.copies * REGION_LEN;
        self.copies += 1;
        region
    }

    /// The front ends before this block, in which there is a header.
    pub fn ends_at(&mut self, block: BlockAddr) {
        self.behind.push(block.0);
    }

    /// Writes into the region of a copy.
    pub fn write(&self, region: u64, at: BlockAddr, blocks: &[u8]) -> io::Result<()> {
        self.file.write_all_at(blocks, region + at.byte_offset())
    }

    /// Adds a segment that was made; the header behind it is made to say so.
    pub fn put(&mut self, segment: Segment, crc: u32, flags: u16) -> io::Result<()> {
        let due = segment.due();
        self.add(segment);
        self.told = Some((due, crc, flags));
        for region in (0..self.copies).map(|copy| copy * REGION_LEN) {
            let Some((mut block, _)) = self.header_at(region, due) else { continue };
            retell(&mut block, crc, flags);
            self.write(region, due, &block)?;
        }
        Ok(())
    }

    /// A header of the dump in the region of a copy.
    fn header_at(&self, region: u64, at: BlockAddr) -> Option<(TapeBlock, Extension)> {
        let mut block: TapeBlock = [0; TAPE_BLOCK_LEN];
        // Behind the end of the file, and where nothing was written, is no header.
        self.file.read_exact_at(&mut block, region + at.byte_offset()).ok()?;
        let repr = Header::new(&block).parse::<HostCrc32c>(Dialect::OURS).ok()?;
        let extension = repr.extension.filter(|told| told.dump_id == self.id && repr.addr == at)?;
        Some((block, extension))
    }

    /// What the header at a block says, or is to say, of the blocks before it: their CRC, and flags.
    pub fn told_at(&self, at: BlockAddr) -> Option<(u32, u16)> {
        if let Some((due, crc, flags)) = self.told
            && due == at
        {
            return Some((crc, flags));
        }
        let found = (0..self.copies).find_map(|copy| self.header_at(copy * REGION_LEN, at));
        found.map(|(_, told)| (told.preceding_crc, told.flags))
    }

    /// Takes away what there is of the blocks from `from` on up to `to`.
    pub fn clear(&mut self, from: BlockAddr, to: BlockAddr) {
        while let Some((_, segment)) =
            self.good.range(..to.0).next_back().filter(|(_, last)| last.due() > from)
        {
            let segment = *segment;
            self.good.remove(&segment.at.0);
            let before = Segment { blocks: from.0.saturating_sub(segment.at.0), ..segment };
            let behind = Segment { at: to, blocks: segment.due().0.saturating_sub(to.0), ..segment };
            let kept = [before, behind].into_iter().filter(|part| part.blocks > 0);
            self.good.extend(kept.map(|part| (part.at.0, part)));
        }
    }

    /// What a copy has from block `at` on up to `end`, where that is one segment, and nothing tells whether it is as it was
    /// written.
    pub fn unsure(&self, at: BlockAddr, end: BlockAddr) -> io::Result<Option<(Segment, Vec<u8>)>> {
        let is_it = |segment: &&Segment| segment.at == at && segment.due() == end;
        let Some(segment) = self.unsure.iter().find(is_it) else { return Ok(None) };
        let mut blocks = vec![0; usize::try_from(segment.blocks).unwrap_or_default() * TAPE_BLOCK_LEN];
        self.file.read_exact_at(&mut blocks, segment.region + at.byte_offset())?;
        Ok(Some((*segment, blocks)))
    }

    /// It was found to be as it was written, but for what only the header behind it could tell.
    pub fn take(&mut self, segment: Segment) {
        self.add(segment);
    }

    /// All blocks from `from` on up to `to` are there.
    pub fn has(&self, from: BlockAddr, to: BlockAddr) -> bool {
        let mut at = from.0;
        while at < to.0 {
            match self.next(at) {
                Some((next, segment)) if next == at => at = segment.due().0,
                _ => return false,
            }
        }
        true
    }

    /// Takes what is good, and not there yet, from the tape file before whose first record the tape stands: the dump, or the
    /// copy in its catalog. What the tape cannot read is passed over.
    pub fn gather(&mut self, tape: &mut Box<dyn Tape>, interrupt: &Interrupt) -> io::Result<()> {
        let region = self.begin_copy();
        let mut memory = vec![0; RECORD_LEN_MAX + TAPE_BLOCK_LEN + SEGMENT_LEN_MAX];
        let mut reader = Reader::<HostCrc32c>::new(&mut memory);
        let mut segment: Option<Segment> = None;
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
                    if let Some(segment) = segment.take() {
                        self.end(segment, preceding);
                    }
                    if repr.extension.is_none_or(|extension| extension.dump_id != self.id) {
                        break;
                    }
                    self.file
                        .write_all_at(&original(view.block(), &repr), region + repr.addr.byte_offset())?;
                    if !is_front(&repr) {
                        self.behind.push(repr.addr.0);
                        break;
                    }
                    segment = Some(Segment { at: repr.addr, blocks: 1, region });
                }
                Ok(ReaderAction::Data { bytes, .. }) => {
                    if let Some(segment) = &mut segment {
                        self.file.write_all_at(bytes, region + segment.due().byte_offset())?;
                        segment.blocks += (bytes.len() / TAPE_BLOCK_LEN) as u64;
                    }
                }
                Ok(ReaderAction::Gap(_)) => {}
                Ok(ReaderAction::Ended) | Err(_) => {
                    self.unsure.extend(segment);
                    break;
                }
            }
        }
        self.settle()
    }

    fn end(&mut self, segment: Segment, preceding: Preceding) {
        if preceding == Preceding::Good {
            self.add(segment);
        } else {
            self.unsure.push(segment);
        }
    }

    /// The block is there.
    pub fn is_there(&self, at: BlockAddr) -> bool {
        self.next(at.0).is_some_and(|(next, _)| next == at.0)
    }

    /// Adds what is as it was written, if it is not there yet: to what is before it in the same copy.
    fn add(&mut self, segment: Segment) {
        if self.is_there(segment.at) {
            return;
        }
        match self.good.range_mut(..segment.at.0).next_back() {
            Some((_, before)) if before.due() == segment.at && before.region == segment.region => {
                before.blocks += segment.blocks;
            }
            _ => drop(self.good.insert(segment.at.0, segment)),
        }
    }

    /// Asks the headers of the other copies about what is behind no header of its own.
    fn settle(&mut self) -> io::Result<()> {
        for segment in std::mem::take(&mut self.unsure) {
            if self.is_there(segment.at) {
                continue;
            }
            if self.is_confirmed(segment)? {
                self.add(segment);
            } else {
                self.unsure.push(segment);
            }
        }
        Ok(())
    }

    fn is_confirmed(&self, segment: Segment) -> io::Result<bool> {
        let mut crc = 0;
        let mut block: TapeBlock = [0; TAPE_BLOCK_LEN];
        for at in segment.at.0 + 1..segment.due().0 {
            self.file.read_exact_at(&mut block, segment.region + BlockAddr(at).byte_offset())?;
            crc = HostCrc32c::update(crc, &block);
        }
        let told = (0..self.copies).filter_map(|copy| self.header_at(copy * REGION_LEN, segment.due()));
        Ok(told.into_iter().any(|(_, told)| told.preceding_crc == crc))
    }

    /// The segment that block `at` is in, and where in the file that block is; or the first block of the next one.
    fn next(&self, at: u64) -> Option<(u64, Segment)> {
        let before = self.good.range(..=at).next_back().filter(|(_, segment)| segment.due().0 > at);
        let (_, segment) = before.or_else(|| self.good.range(at..).next())?;
        Some((at.max(segment.at.0), *segment))
    }
}

/// Has a header say something else of the blocks before it.
fn retell(block: &mut TapeBlock, crc: u32, flags: u16) {
    block[PRECEDING_CRC].copy_from_slice(&crc.to_be_bytes());
    set_extension_flags::<HostCrc32c>(block, flags);
}

/// The header as it stands in the dump: that of a copy says that it is one.
fn original(block: &TapeBlock, repr: &HeaderRepr) -> TapeBlock {
    let mut block = *block;
    if repr.is_catalog()
        && let [high, low] = &mut block[FLAGS]
    {
        let flags = u16::from_be_bytes([*high, *low]) & !extension_flags::CATALOG;
        [*high, *low] = flags.to_be_bytes();
        set_extension_flags::<HostCrc32c>(&mut block, 0);
    }
    block
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

    /// What was made is what the header behind it speaks of.
    fn retell(&self, block: Option<&mut TapeBlock>) {
        if let (Some(block), Some((at, crc, flags))) = (block, self.front.told)
            && Header::new(block).parse::<HostCrc32c>(Dialect::OURS).is_ok_and(|repr| repr.addr == at)
        {
            retell(block, crc, flags);
        }
    }

    fn read_front(&mut self, next: u64, buf: &mut [u8]) -> Result<TapeRead, TapeError> {
        let Some((at, segment)) = self.front.next(next) else {
            self.state = State::Search { rest: Vec::new(), errors: 0 };
            return self.read(buf);
        };
        let blocks = (buf.len() / TAPE_BLOCK_LEN) as u64;
        let blocks = blocks.min(u64::from(BlockingFactor::MAX.blocks())).min(segment.due().0 - at);
        if blocks == 0 {
            return Ok(TapeRead::BufferTooSmall { needed: TAPE_BLOCK_LEN });
        }
        let len = blocks as usize * TAPE_BLOCK_LEN;
        let from = segment.region + BlockAddr(at).byte_offset();
        self.front.file.read_exact_at(&mut buf[..len], from).map_err(|error| {
            TapeError::new(ErrorKind::Other, "the scratch file", format!("it failed: {error}"))
        })?;
        self.state = State::Front { next: at + blocks };
        Ok(TapeRead::Record(len))
    }

    fn search(&mut self, mut rest: Vec<u8>, mut errors: u32, buf: &mut [u8]) -> Result<TapeRead, TapeError> {
        let mut record = vec![0; RECORD_LEN_MAX];
        loop {
            match self.tape.read(&mut record) {
                Ok(TapeRead::Record(len)) => rest.extend_from_slice(record.get(..len).unwrap_or_default()),
                // What could not be read was told when the damage was found.
                Err(error) if errors < READ_ERRORS_MAX && error.kind() != ErrorKind::Interrupted => {
                    errors += 1;
                    rest.clear();
                    continue;
                }
                ended => return ended,
            }
            if let Some(at) = self.behind(&rest) {
                self.retell(rest.get_mut(at..).and_then(<[u8]>::first_chunk_mut));
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
