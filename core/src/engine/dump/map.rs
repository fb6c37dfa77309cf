//! Stages I and II: which objects are dumped, and the maps that say so on tape.

use super::{Dump, DumpError, DumpEvent, State, Step};
use crate::catalog::{CatalogSink, WhichMap};
use crate::checksum::Crc32c;
use crate::device::tape::TapeDevice;
use crate::device::volume::{Class, SourceVolume};
use crate::device::{DeviceError, ErrorKind};
use crate::record::header::HeaderKind;
use crate::record::holes::Holes;
use crate::record::map::DumpMap;
use crate::units::{Ino, TAPE_BLOCK_LEN};

/// Objects looked at in one step while mapping.
const MAPPED_PER_STEP: u32 = 4096;

fn insert<S, T>(map: &mut DumpMap<'_>, ino: Ino) -> Result<(), DumpError<S, T>> {
    map.insert(ino).map_err(|error| DumpError::MapTooSmall { needed: error.needed })
}

impl<S: SourceVolume, T: TapeDevice, C: Crc32c, K: CatalogSink> Dump<'_, S, T, C, K> {
    pub(super) fn map_objects(&mut self, class: Class, from: Ino) -> Step<S, T> {
        let mut from = from;
        for _ in 0..MAPPED_PER_STEP {
            let Some(ino) = self.source.next_inode(from, class).map_err(DumpError::Source)? else {
                self.state = match class {
                    Class::Directories => State::Map { class: Class::Others, from: Ino::FIRST },
                    Class::Others if self.since.is_some() => State::Parents { from: Ino::FIRST, above: None },
                    Class::Others => State::Header,
                };
                return Ok(DumpEvent::Working);
            };
            let changed = match self.since {
                Some(since) => {
                    !self.known.contains(ino)
                        || ino == Ino::ROOT
                        || self.source.changed_since(ino, since).map_err(DumpError::Source)?
                }
                None => true,
            };
            insert(&mut self.in_use, ino)?;
            if changed {
                insert(&mut self.pending, ino)?;
            }
            match class {
                _ if !changed => self.summary.unchanged += 1,
                Class::Directories => self.summary.directories += 1,
                Class::Others => self.summary.others += 1,
            }
            from = ino.next();
        }
        self.state = State::Map { class, from };
        Ok(DumpEvent::Working)
    }

    /// Dumps the directories on the way from the root to what is dumped, so that the names on this tape are a tree.
    pub(super) fn map_parents(&mut self, from: Ino, above: Option<Ino>) -> Step<S, T> {
        let (mut from, mut above) = (from, above);
        for _ in 0..MAPPED_PER_STEP {
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
