//! Where the blocks of an object go: to the maps, the catalog, or the target.
//!
//! It borrows what it needs of the restore, because the blocks themselves are borrowed from the reader.

use super::admission::{Admission, Piece};
use super::chain::Chain;
use super::{Catalog, Collect, Maps, Object, Use};
use crate::catalog::TableError;
use crate::checksum::Crc32c;
use crate::device::block::BlockDevice;
use crate::device::volume::{FailedPart, TargetVolume};
use crate::engine::notes::{NoteBuf, PIECE_LEN_MAX};
use crate::record::dialect::Dialect;
use crate::record::dirent::{DirentError, Dirents};
use crate::record::payload::PayloadPart;
use crate::units::{Ino, TAPE_BLOCK_LEN};

/// Why blocks were not taken.
pub enum SinkError<V, B> {
    Target(FailedPart, V),
    Scratch(TableError<B>),
}

pub struct Sink<'s, 'm, V, B, C> {
    pub object: &'s mut Object,
    pub maps: &'s mut Maps<'m>,
    pub chain: &'s mut Chain<'m>,
    pub target: &'s mut V,
    pub admission: &'s mut Admission,
    pub catalog: &'s mut Catalog<'m, C>,
    pub scratch: &'s mut B,
    pub linux_xattrs: &'s mut [u8],
    pub data_len: &'s mut u64,
    pub dialect: Dialect,
}

impl<V: TargetVolume, B: BlockDevice, C: Crc32c> Sink<'_, '_, V, B, C> {
    /// Takes blocks of the present segment from `entry` on.
    pub fn data(&mut self, entry: usize, bytes: &[u8]) -> Result<(), SinkError<V::Error, B::Error>> {
        match self.object.collect {
            Collect::Ignore => return Ok(()),
            Collect::LinuxXattrs { .. } => {
                let at = entry * TAPE_BLOCK_LEN;
                let space = self.linux_xattrs.get_mut(at..).unwrap_or_default();
                space.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
                return Ok(());
            }
            Collect::Own => {}
        }
        let own = self.object.data_entries.saturating_sub(entry).saturating_mul(TAPE_BLOCK_LEN);
        let (data, payload) = bytes.split_at(own.min(bytes.len()));
        let offset = self.object.segment_at.saturating_add(entry as u64 * TAPE_BLOCK_LEN as u64);
        let left = usize::try_from(self.object.attributes.size.saturating_sub(offset)).unwrap_or(usize::MAX);
        let used = data.get(..left.min(data.len())).unwrap_or_default();
        match self.object.taken {
            Use::Map { on_tape: false } if !self.chain.takes_in_use() => return Ok(()),
            Use::Discard => return Ok(()),
            Use::Map { on_tape } => {
                self.map(on_tape, entry, bytes);
                return Ok(());
            }
            Use::Directory => {
                self.object.data_len = self.object.data_len.saturating_add(used.len() as u64);
                self.entries(used)?;
            }
            Use::Target if self.object.attributes.kind.has_data() && !used.is_empty() => {
                self.object.data_len = self.object.data_len.saturating_add(used.len() as u64);
                *self.data_len += used.len() as u64;
                self.target
                    .write(offset, used)
                    .map_err(|error| SinkError::Target(FailedPart::Data, error))?;
            }
            Use::Target => {}
            Use::Attributes => return self.payload(data),
        }
        self.payload(payload)
    }

    fn map(&mut self, on_tape: bool, entry: usize, bytes: &[u8]) {
        // Solaris continues a map in further segments.
        let before = usize::try_from(self.object.segment_at).unwrap_or(usize::MAX);
        let at = before.saturating_add(entry.saturating_mul(TAPE_BLOCK_LEN));
        let beyond =
            if on_tape { self.maps.on_tape.put(at, bytes) } else { self.chain.put_in_use(at, bytes) };
        if let Some(last) = beyond.iter().rposition(|byte| *byte != 0) {
            self.object.map_needed = at.saturating_add(bytes.len() - beyond.len() + last + 1);
        }
    }

    fn entries(&mut self, bytes: &[u8]) -> Result<(), SinkError<V::Error, B::Error>> {
        let Catalog::Building(builder) = &mut *self.catalog else { return Ok(()) };
        let directory = self.object.ino;
        for entry in Dirents::new(bytes, self.dialect) {
            let entry = match entry {
                Ok(entry) => entry,
                Err(DirentError::BadName { name }) => {
                    self.object.refuse_entry(name);
                    continue;
                }
                Err(_) => {
                    self.object.refuse_entry(b"");
                    continue;
                }
            };
            let ino = Ino(entry.ino);
            match entry.name {
                b"." | b".." => {
                    // They are in their places, and name what they must; nothing is done with them.
                    if entry.name == b"." && ino != directory {
                        self.object.refuse_entry(entry.name);
                    }
                    if entry.name == b"." {
                        // The blocks of another directory, whose header is lost. What was only changed by damage hardly
                        // ever names an object.
                        let other = self.maps.on_tape.contains(ino) || self.maps.unmade.contains(ino);
                        self.object.astray = ino != directory && other;
                    }
                }
                _ if self.object.astray => {}
                name if (Ino::FIRST..=Ino::LAST).contains(&ino) && ino != Ino::ROOT => {
                    builder.entry(self.scratch, directory, name, ino).map_err(SinkError::Scratch)?;
                }
                name => self.object.refuse_entry(name),
            }
        }
        Ok(())
    }

    fn payload(&mut self, bytes: &[u8]) -> Result<(), SinkError<V::Error, B::Error>> {
        let len = self.object.payload_left.min(bytes.len());
        let mut input = bytes.get(..len).unwrap_or_default();
        self.object.payload_left -= len;
        let mut failure = None;
        while let Some(part) = self.object.parser.next::<C>(&mut input) {
            let result = match part {
                PayloadPart::Owner(owner) => {
                    self.object.payload_bad |= Ino(owner) != self.object.ino;
                    Ok(())
                }
                PayloadPart::Property { kind, name_len: _, value_len } => {
                    let name = self.object.parser.name();
                    match self.object.taken {
                        Use::Directory => self.note(|name| NoteBuf::property(kind, name, value_len)),
                        Use::Target | Use::Attributes => {
                            match self.admission.begin(kind, value_len, self.object.qtree_place) {
                                Ok(()) => self
                                    .target
                                    .begin_property(kind, name, value_len)
                                    .map_err(|error| SinkError::Target(FailedPart::Property(kind), error)),
                                Err(reduction) => {
                                    self.object.reduced = self.object.reduced.or(reduction);
                                    Ok(())
                                }
                            }
                        }
                        _ => Ok(()),
                    }
                }
                PayloadPart::Value(piece) => self.value(piece),
                PayloadPart::End(true) => Ok(()),
                PayloadPart::End(false) | PayloadPart::Damaged => {
                    self.object.payload_bad = true;
                    Ok(())
                }
            };
            match result {
                Err(error @ SinkError::Scratch(_)) => return Err(error),
                // Of several the one counts that ends the restore, or else the first.
                Err(SinkError::Target(_, error)) if failure.is_some() && !super::is_final(&error) => {}
                Err(error) => failure = Some(error),
                Ok(()) => {}
            }
        }
        failure.map_or(Ok(()), Err)
    }

    fn value(&mut self, piece: &[u8]) -> Result<(), SinkError<V::Error, B::Error>> {
        match self.object.taken {
            Use::Directory => {
                for piece in piece.chunks(PIECE_LEN_MAX) {
                    self.note(|_| NoteBuf::piece(piece))?;
                }
                Ok(())
            }
            Use::Target | Use::Attributes => match self.admission.piece(piece) {
                Piece::Passes => self
                    .target
                    .write_property(piece)
                    .map_err(|error| SinkError::Target(FailedPart::Attributes, error)),
                Piece::Stays => Ok(()),
                Piece::Ends(reduction) => {
                    self.target.abandon_property();
                    self.object.reduced = self.object.reduced.or(Some(reduction));
                    Ok(())
                }
            },
            _ => Ok(()),
        }
    }

    fn note(&mut self, note: impl FnOnce(&[u8]) -> NoteBuf) -> Result<(), SinkError<V::Error, B::Error>> {
        let Catalog::Building(builder) = &mut *self.catalog else { return Ok(()) };
        let note = note(self.object.parser.name());
        builder.note(self.scratch, self.object.ino, note.bytes()).map_err(SinkError::Scratch)
    }
}
