//! Stages I and II: which objects are dumped, and the maps that say so on tape.

use super::{Dump, DumpError, DumpEvent, State, Step};
use crate::catalog::{CatalogSink, WhichMap};
use crate::checksum::Crc32c;
use crate::device::tape::TapeDevice;
use crate::device::volume::{Mapped, SourceVolume, Stretch};
use crate::device::{DeviceError, ErrorKind};
use crate::record::header::HeaderKind;
use crate::record::holes::Holes;
use crate::record::map::DumpMap;
use crate::units::{Ino, TAPE_BLOCK_LEN};

/// Bytes of the maps that are filled in one step: those of 4,096 numbers.
const MAPPED_PER_STEP: usize = 512;
/// Directories that are looked at in one step.
const PARENTS_PER_STEP: u32 = 4096;

fn insert<S, T>(map: &mut DumpMap<'_>, ino: Ino) -> Result<(), DumpError<S, T>> {
    map.insert(ino).map_err(|error| DumpError::MapTooSmall { needed: error.needed })
}

impl<S: SourceVolume, T: TapeDevice, C: Crc32c, K: CatalogSink> Dump<'_, S, T, C, K> {
    /// Maps the next stretch of numbers, from the byte `at` of the maps on.
    pub(super) fn map_objects(&mut self, at: u32) -> Step<S, T> {
        let from = at as usize;
        let end = self.in_use.bytes().len().min(self.map_blocks as usize * TAPE_BLOCK_LEN);
        let len = end.saturating_sub(from).min(MAPPED_PER_STEP);
        if len == 0 {
            // The root is dumped in any case: it is where the names on this tape begin.
            if self.in_use.contains(Ino::ROOT) && !self.pending.contains(Ino::ROOT) {
                insert(&mut self.pending, Ino::ROOT)?;
                self.summary.directories += 1;
                self.summary.unchanged = self.summary.unchanged.saturating_sub(1);
            }
            self.state = match self.since {
                Some(_) => State::Parents { from: Ino::FIRST, above: None },
                None => State::Header,
            };
            return Ok(DumpEvent::Working);
        }
        let mut stretch = Stretch {
            from: Ino(at.saturating_mul(8).saturating_add(1)),
            since: self.since,
            known: self.known.bytes().get(from..).unwrap_or_default(),
            in_use: self.in_use.stretch(from, len),
            changed: self.pending.stretch(from, len),
            found: Mapped::default(),
        };
        self.source.map(&mut stretch).map_err(DumpError::Source)?;
        let found = stretch.found;
        self.summary.directories += u64::from(found.directories);
        self.summary.others += u64::from(found.others);
        self.summary.unchanged += u64::from(found.unchanged);
        self.state = State::Map { at: at.saturating_add(len as u32) };
        Ok(DumpEvent::Working)
    }

    /// Dumps the directories on the way from the root to what is dumped, so that the names on this tape are a tree.
    pub(super) fn map_parents(&mut self, from: Ino, above: Option<Ino>) -> Step<S, T> {
        let (mut from, mut above) = (from, above);
        for _ in 0..PARENTS_PER_STEP {
            let Some(ino) = above.or_else(|| self.pending.next_from(from)) else {
                self.source.will_open(self.pending.bytes());
                self.state = State::Header;
                return Ok(DumpEvent::Working);
            };
            if above.is_none() {
                from = ino.next();
            }
            above = match self.source.parent(ino) {
                Ok(parent) if self.pending.contains(parent) || !self.in_use.contains(parent) => None,
                Ok(parent) => {
                    insert(&mut self.pending, parent)?;
                    self.summary.directories += 1;
                    self.summary.unchanged = self.summary.unchanged.saturating_sub(1);
                    Some(parent)
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => return Err(DumpError::Source(error)),
                // Gone, which opening it will tell; the chain has its names.
                Err(_) => None,
            };
        }
        self.state = State::Parents { from, above };
        Ok(DumpEvent::Working)
    }

    /// From here on the map is of what this dump and its chain hold; what turns out not to be is taken out.
    pub(super) fn begin_known(&mut self) {
        self.known.clear();
        self.known.put(0, self.in_use.bytes());
    }

    /// Writes the header of a map, or one block of it; gives the next block.
    pub(super) fn map_block(
        &mut self,
        kind: HeaderKind,
        block: Option<u32>,
    ) -> Result<Option<u32>, DumpError<S::Error, T::Error>> {
        let Some(block) = block else {
            let mut header = self.writer.plain(kind);
            header.count = self.map_blocks;
            self.header(header, &Holes::NONE)?;
            return Ok(Some(0));
        };
        self.make_room()?;
        let (map, which) = match kind {
            HeaderKind::InUseMap => (&self.in_use, WhichMap::InUse),
            _ => (&self.pending, WhichMap::OnTape),
        };
        let at = block as usize * TAPE_BLOCK_LEN;
        let bytes = map.bytes();
        let piece = bytes.get(at..bytes.len().min(at + TAPE_BLOCK_LEN)).unwrap_or_default();
        let noted = self.catalog.as_mut().ok().map(|catalog| catalog.map(which, at as u32, piece));
        if let Some(space) = self.writer.space().get_mut(..piece.len()) {
            space.copy_from_slice(piece);
        }
        self.writer.commit(piece.len());
        if piece.is_empty() {
            self.zero_block()?;
        } else {
            self.writer.pad();
        }
        if let Some(Err(error)) = noted {
            self.note(|_| Err(error));
        }
        Ok(Some(block + 1).filter(|next| *next < self.map_blocks))
    }
}
