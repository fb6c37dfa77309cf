//! Fills tape records with headers and the blocks they announce.
//!
//! The caller lends memory for one or more records, puts content straight into [`Writer::space`], and writes the
//! records that [`Writer::poll_record`] gives. Invariants: every header is block-aligned and bears its own address;
//! each header's extension holds the CRC32C of all blocks since the header before it.
//!
//! A tape ends when it does. What was filled and is not on it goes to the next one behind that tape's header, wherever that
//! cuts the stream, so all of it has other addresses then:
//!
//! ```text
//! memory   [block][ on tape | record that does not fit, and what follows it   ... free ]
//! becomes  [block][ on ta [header] ... the same, and its headers one block further on  ]
//! ```
//!
//! The block in front is for a tape that ends at the first record of the memory.

use core::marker::PhantomData;

use super::window::move_to_front;
use crate::checksum::{Crc32c, without};
use crate::record::extension::Extension;
use crate::record::header::{Header, HeaderKind, HeaderRepr, HeaderTemplate, TapeBlock, flags, move_to};
use crate::record::holes::Holes;
use crate::units::{BlockAddr, BlockingFactor, DumpId, Level, StreamBlock, TAPE_BLOCK_LEN, TapeNo};

/// What all headers of a dump share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct DumpIdentity {
    /// Identity of the dump.
    pub id: DumpId,
    /// Time of the dump, seconds since 1970.
    pub date: u32,
    /// Time of the base dump, 0 for a baseline.
    pub base_date: u32,
    /// Level.
    pub level: Level,
}

/// The memory lent is shorter than one tape record and a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryTooSmall {
    /// Bytes needed at least.
    pub needed: usize,
}

/// How a stream goes on: see [`Writer::suspended`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suspended {
    /// The tape, and the first block that is on it.
    pub tape: TapeNo,
    /// See [`tape`](Self::tape).
    pub tape_from: BlockAddr,
    /// First block of the record that comes next.
    pub record_at: BlockAddr,
    /// The first header that is not on tape, in or behind what is held.
    pub next_header: BlockAddr,
    /// Number of the object of the header before that.
    pub ino: u32,
    /// Block of the last header.
    pub header_at: BlockAddr,
    /// CRC32C of all behind that header.
    pub crc: u32,
    /// Flags for the next header.
    pub flags: u16,
}

/// A stream being written. See the module.
#[derive(Debug)]
pub struct Writer<'m, C> {
    memory: &'m mut [u8],
    record_len: usize,
    /// Bytes of `memory` that are in use and not on tape: from `sent` to `filled`. At least a block is before them, but on a tape
    /// that has nothing yet.
    sent: usize,
    filled: usize,
    /// Address of the block at `sent`.
    at: BlockAddr,
    tape: TapeNo,
    /// The first block that is on this tape.
    tape_from: BlockAddr,
    /// The first header from `at` on, there or due, and the object of the one before.
    next_header: BlockAddr,
    ino: u32,
    template: HeaderTemplate,
    identity: DumpIdentity,
    blocking: BlockingFactor,
    /// CRC32C of everything since the last header.
    crc: u32,
    /// Flags for the next header.
    flags: u16,
    /// Where the last header is.
    header_at: BlockAddr,
    checksums: PhantomData<C>,
}

impl<'m, C: Crc32c> Writer<'m, C> {
    /// A stream that begins at block 0, in as many whole records as fit into `memory` behind its first block.
    ///
    /// # Errors
    /// `memory` does not hold one record and a block.
    pub fn new(
        memory: &'m mut [u8],
        blocking: BlockingFactor,
        template: HeaderTemplate,
        identity: DumpIdentity,
    ) -> Result<Self, MemoryTooSmall> {
        let record_len = blocking.record_len();
        let room = memory.len().saturating_sub(TAPE_BLOCK_LEN);
        let whole = room.checked_rem(record_len).map_or(0, |rest| room - rest);
        match memory.get_mut(..TAPE_BLOCK_LEN + whole) {
            Some(memory) if whole > 0 => Ok(Self {
                memory,
                record_len,
                sent: TAPE_BLOCK_LEN,
                filled: TAPE_BLOCK_LEN,
                at: BlockAddr(0),
                tape: TapeNo::FIRST,
                tape_from: BlockAddr(0),
                next_header: BlockAddr(0),
                ino: 0,
                template,
                identity,
                blocking,
                crc: 0,
                flags: 0,
                header_at: BlockAddr(0),
                checksums: PhantomData,
            }),
            _ => Err(MemoryTooSmall { needed: TAPE_BLOCK_LEN + record_len }),
        }
    }

    /// Address of the next block.
    #[must_use]
    pub const fn addr(&self) -> BlockAddr {
        self.at.plus((self.filled.saturating_sub(self.sent) / TAPE_BLOCK_LEN) as u64)
    }

    /// The next block, wherever the tapes end.
    #[must_use]
    pub const fn block(&self) -> StreamBlock {
        StreamBlock::of(self.addr(), self.tape)
    }

    /// Address of the first block that [`poll_record`](Self::poll_record) gives next.
    #[must_use]
    pub const fn unsent_addr(&self) -> BlockAddr {
        self.at
    }

    /// The block that it begins with, wherever the tapes end.
    #[must_use]
    pub const fn unsent_block(&self) -> StreamBlock {
        StreamBlock::of(self.at, self.tape)
    }

    /// The tape that it goes to.
    #[must_use]
    pub const fn tape(&self) -> TapeNo {
        self.tape
    }

    /// Whether nothing of the dump is on this tape.
    #[must_use]
    pub const fn tape_is_empty(&self) -> bool {
        self.at.0 == self.tape_from.0
    }

    /// Whether the stream ends with a whole record.
    #[must_use]
    pub const fn is_record_aligned(&self) -> bool {
        (self.filled - self.sent).is_multiple_of(self.record_len)
    }

    /// The next whole record to write to tape. Confirm it with [`record_written`](Self::record_written).
    #[must_use]
    pub fn poll_record(&self) -> Option<&[u8]> {
        self.memory
            .get(self.sent..self.sent + self.record_len)
            .filter(|_| self.sent + self.record_len <= self.filled)
    }

    /// The record that [`poll_record`](Self::poll_record) gave is on tape.
    pub fn record_written(&mut self) {
        debug_assert!(self.sent + self.record_len <= self.filled);
        let behind = self.at.plus(self.blocking.blocks().into());
        while self.next_header < behind
            && let Some(block) = self.block_at(self.next_header)
        {
            let (blocks, ino) = Header::new(block).announces();
            self.next_header = self.next_header.plus(1 + blocks as u64);
            self.ino = ino;
        }
        self.at = behind;
        self.sent += self.record_len;
        if self.sent + self.record_len > self.filled {
            // Less than a record, and mostly nothing.
            let rest = self.memory.get_mut(TAPE_BLOCK_LEN..self.filled).unwrap_or_default();
            let len = move_to_front(rest, self.sent - TAPE_BLOCK_LEN);
            self.sent = TAPE_BLOCK_LEN;
            self.filled = TAPE_BLOCK_LEN + len;
        }
    }

    /// The block with this address, if it is there and not on tape.
    fn block_at(&mut self, addr: BlockAddr) -> Option<&mut TapeBlock> {
        let index = usize::try_from(addr.since(self.at)?).ok()?;
        let from = index.checked_mul(TAPE_BLOCK_LEN)?.checked_add(self.sent)?;
        self.memory.get_mut(from..self.filled)?.first_chunk_mut()
    }

    /// Goes on on the next tape, with what is not on this one, which must not be [empty](Self::tape_is_empty).
    #[inline(never)]
    pub fn next_tape(&mut self) {
        debug_assert!(!self.tape_is_empty());
        // Of the segment that the tape ends in: blocks that are left, and those of them that are filled.
        let left = self.next_header.0.saturating_sub(self.at.0);
        let filled = left.min(self.addr().0.saturating_sub(self.at.0)) as usize * TAPE_BLOCK_LEN;
        let cut = self.memory.get(self.sent..self.sent.saturating_add(filled)).unwrap_or_default();
        let crc = C::update(0, cut);
        let header = self.memory.get(self.sent.saturating_add(filled)..self.filled);
        let of_segment = match header.and_then(<[u8]>::first_chunk) {
            Some(block) => Header::new(block).preceding_crc(),
            None => core::mem::replace(&mut self.crc, crc),
        };
        let crc_before = without(of_segment, cut);

        self.tape = self.tape.next();
        self.tape_from = self.at;
        let (tape, mut addr, mut preceding) = (self.tape, self.next_header, Some(crc));
        while let Some(block) = self.block_at(addr) {
            let (blocks, _) = Header::new(block).announces();
            move_to::<C>(block, addr.plus(1), tape, preceding.take());
            addr = addr.plus(1 + blocks as u64);
        }
        self.next_header = self.next_header.plus(1);
        self.header_at = if self.header_at < self.at { self.at } else { self.header_at.plus(1) };

        let mut repr = self.plain(HeaderKind::Tape);
        repr.addr = self.at;
        repr.first_block = self.at.0 as u32;
        repr.ino = self.ino;
        repr.count = left as u32;
        if let Some(extension) = &mut repr.extension {
            extension.preceding_crc = crc_before;
        }
        self.sent = self.sent.saturating_sub(TAPE_BLOCK_LEN);
        if let Some(block) = self.memory.get_mut(self.sent..).and_then(<[u8]>::first_chunk_mut) {
            self.template.emit::<C>(&repr, &Holes::NONE, block);
        }
    }

    /// What is not on tape yet, less than a record, when all whole records are; and how the stream goes on behind it.
    #[must_use]
    pub fn suspended(&self) -> (Suspended, &[u8]) {
        let rest = self.memory.get(self.sent..self.filled).unwrap_or_default();
        let Self { tape, tape_from, next_header, ino, header_at, crc, flags, .. } = *self;
        (Suspended { tape, tape_from, record_at: self.at, next_header, ino, header_at, crc, flags }, rest)
    }

    /// Goes on behind `rest`, as [`suspended`](Self::suspended) gave both. `false`: the two do not belong to such a stream.
    #[must_use]
    pub fn resume(&mut self, at: Suspended, rest: &[u8]) -> bool {
        let blocks = u64::from(self.blocking.blocks());
        let is_whole = rest.len() < self.record_len
            && rest.len().is_multiple_of(TAPE_BLOCK_LEN)
            && at.record_at.since(at.tape_from).is_some_and(|on_tape| on_tape.is_multiple_of(blocks))
            && (at.tape == TapeNo::FIRST) == (at.tape_from.0 == 0)
            && at.next_header.since(at.record_at).is_some_and(|ahead| ahead < blocks);
        let filled = TAPE_BLOCK_LEN + rest.len();
        let Some(place) = self.memory.get_mut(TAPE_BLOCK_LEN..filled).filter(|_| is_whole) else {
            return false;
        };
        place.copy_from_slice(rest);
        (self.at, self.sent, self.filled) = (at.record_at, TAPE_BLOCK_LEN, filled);
        (self.tape, self.tape_from) = (at.tape, at.tape_from);
        (self.next_header, self.ino) = (at.next_header, at.ino);
        (self.header_at, self.crc, self.flags) = (at.header_at, at.crc, at.flags);
        true
    }

    /// Free space behind what is there; empty when records must be written first.
    pub fn space(&mut self) -> &mut [u8] {
        self.memory.get_mut(self.filled..).unwrap_or_default()
    }

    /// The first `len` bytes of [`space`](Self::space) are content now.
    pub fn commit(&mut self, len: usize) {
        let end = (self.filled + len).min(self.memory.len());
        self.crc = C::update(self.crc, self.memory.get(self.filled..end).unwrap_or_default());
        self.filled = end;
    }

    /// Fills the present block with zeros to its end. Never needs more room than there is.
    pub fn pad(&mut self) {
        let len = self.filled.next_multiple_of(TAPE_BLOCK_LEN) - self.filled;
        if let Some(rest) = self.space().get_mut(..len) {
            rest.fill(0);
        }
        self.commit(len);
    }

    /// Sets bits of [`extension_flags`](crate::record::extension::extension_flags) in the next header.
    pub fn flag_preceding(&mut self, bits: u16) {
        self.flags |= bits;
    }

    /// Writes a header: `repr` as [`plain`](Self::plain) gave it, completed by the caller. `false`: no room, write records first.
    pub fn header(&mut self, mut repr: HeaderRepr, holes: &Holes) -> bool {
        debug_assert!(self.filled.is_multiple_of(TAPE_BLOCK_LEN));
        repr.addr = self.addr();
        repr.tape = self.tape;
        if let Some(extension) = &mut repr.extension {
            extension.preceding_crc = self.crc;
            extension.flags |= self.flags;
        }
        let Some(block) =
            self.memory.get_mut(self.filled..).and_then(<[u8]>::first_chunk_mut::<TAPE_BLOCK_LEN>)
        else {
            return false;
        };
        let block: &mut TapeBlock = block;
        self.template.emit::<C>(&repr, holes, block);
        self.header_at = self.addr();
        self.filled += TAPE_BLOCK_LEN;
        self.crc = 0;
        self.flags = 0;
        true
    }

    /// A header of this dump with nothing announced.
    #[must_use]
    pub const fn plain(&self, kind: HeaderKind) -> HeaderRepr {
        // The layout bit is looked at in tape and map headers; elsewhere illumos takes it for something else and
        // scrambles the hole map (format.md 1.2).
        let flags = match kind {
            HeaderKind::Tape => flags::NEW_HEADER | flags::NEW_INODE_FORMAT,
            HeaderKind::InUseMap | HeaderKind::OnTapeMap => flags::NEW_INODE_FORMAT,
            _ => 0,
        };
        HeaderRepr {
            kind,
            date: self.identity.date,
            base_date: self.identity.base_date,
            tape: self.tape,
            addr: BlockAddr(0),
            ino: 0,
            mode: 0,
            attributes: None,
            count: 0,
            level: self.identity.level.number(),
            flags,
            first_block: 0,
            blocking: self.blocking.blocks(),
            linux_extended: 0,
            extension: Some(Extension::new(self.identity.id)),
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::checksum::PortableCrc32c;
    use crate::device::volume::VolumeNames;
    use crate::record::dialect::Dialect;
    use crate::record::header::Header;
    use std::vec;
    use std::vec::Vec;

    #[test]
    fn headers_carry_their_address_and_the_crc_of_what_came_before() {
        let mut memory = vec![0xa5; 10 * 1024];
        let identity = DumpIdentity { id: DumpId([1; 16]), date: 5, base_date: 0, level: Level::BASELINE };
        let template = HeaderTemplate::new(&VolumeNames::default(), &[0; 16]);
        let mut writer: Writer<'_, PortableCrc32c> =
            Writer::new(&mut memory, BlockingFactor::MIN, template, identity).unwrap();
        let mut tape = Vec::new();
        for round in 0..30u8 {
            if writer.space().is_empty() {
                while let Some(record) = writer.poll_record() {
                    tape.extend_from_slice(record);
                    writer.record_written();
                }
            }
            if round % 3 == 0 {
                assert!(writer.header(writer.plain(HeaderKind::Inode), &Holes::NONE));
            } else {
                writer.space()[..100].fill(round);
                writer.commit(100);
                writer.pad();
            }
        }
        let blocks: Vec<&TapeBlock> = tape.chunks_exact(1024).map(|b| b.try_into().unwrap()).collect();
        assert_eq!(blocks.len(), 24);
        for (index, block) in blocks.iter().enumerate().step_by(3) {
            let repr = Header::new(block).parse::<PortableCrc32c>(Dialect::OURS).unwrap();
            assert_eq!(repr.addr, BlockAddr(index as u64));
            let before: Vec<u8> =
                blocks[index.saturating_sub(2)..index].iter().flat_map(|b| b.iter()).copied().collect();
            let crc = PortableCrc32c::update(0, &before);
            assert_eq!(repr.extension.unwrap().preceding_crc, crc);
        }
    }

    #[test]
    fn too_little_memory_names_what_is_needed() {
        let identity = DumpIdentity { id: DumpId([1; 16]), date: 5, base_date: 0, level: Level::BASELINE };
        let template = HeaderTemplate::new(&VolumeNames::default(), &[0; 16]);
        let mut memory = [0; 5119];
        let result = Writer::<PortableCrc32c>::new(&mut memory, BlockingFactor::MIN, template, identity);
        assert_eq!(result.err(), Some(MemoryTooSmall { needed: 5120 }));
    }
}
