//! Making the catalog of a dump from its tapes: what a restore tells while it reads the dump over a target that keeps
//! nothing ([`crate::device::mem::NullTarget`]) is taken down as the dump itself took it down when it was made.
//!
//! Everything is as the dump told it, except what no tape can tell: damage on the tape is a flaw of its object.

use crate::catalog::{CatalogSink, Flaws, NameRow, ObjectRow};
use crate::checksum::Crc32c;
use crate::device::block::BlockDevice;
use crate::device::tape::TapeDevice;
use crate::device::volume::TargetVolume;
use crate::engine::restore::{Damage, LOST_FOUND, Restore, RestoreEvent, RestoreStage};
use crate::limits::NAME_LEN_MAX;
use crate::units::{BlockAddr, Ino, StreamBlock, TapeNo};

/// How a catalog was made from tapes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Rebuilt {
    /// The maps could not be relied on: the catalog says nothing of what was deleted, and must not be used.
    pub maps_damaged: bool,
    /// Some flaw was found when the row of its object was taken down already.
    pub flaws_missed: bool,
    /// Objects with flaws.
    pub flawed: u64,
}

/// Takes down what a restore tells. See the module.
#[derive(Debug)]
pub struct Rebuild<K> {
    sink: K,
    tape: TapeNo,
    /// A further tape was asked for, which begins with this block.
    next_tape: Option<(TapeNo, BlockAddr)>,
    /// The object told last, of which more may be found.
    open: Option<ObjectRow>,
    /// Of an object that is not told yet.
    early: Option<(Ino, Flaws)>,
    stage: RestoreStage,
    attributes: bool,
    rebuilt: Rebuilt,
}

impl<K: CatalogSink> Rebuild<K> {
    /// Of a restore that was not stepped yet. It is to restore one dump, and everything in it.
    pub const fn new(sink: K) -> Self {
        let rebuilt = Rebuilt { maps_damaged: false, flaws_missed: false, flawed: 0 };
        Self {
            sink,
            tape: TapeNo::FIRST,
            next_tape: None,
            open: None,
            early: None,
            stage: RestoreStage::Catalog,
            attributes: false,
            rebuilt,
        }
    }

    /// The restore told this, and was not stepped since.
    ///
    /// # Errors
    /// It cannot be taken down.
    pub fn handle_event<T, V, B, C>(
        &mut self,
        restore: &mut Restore<'_, T, V, B, C>,
        event: &RestoreEvent<V::Error>,
    ) -> Result<(), K::Error>
    where
        T: TapeDevice,
        V: TargetVolume,
        B: BlockDevice,
        C: Crc32c,
    {
        if !matches!(event, RestoreEvent::NeedTape(_) | RestoreEvent::Damage(Damage::Truncated { .. }))
            && let Some((tape, first)) = self.next_tape.take()
        {
            self.tape = tape;
            self.sink.tape(tape, first)?;
        }
        match event {
            RestoreEvent::Dump(_) => self.sink.tape(TapeNo::FIRST, BlockAddr(0)),
            RestoreEvent::Stage(stage) => {
                self.stage = *stage;
                Ok(())
            }
            RestoreEvent::Map { which, at } => match u32::try_from(*at) {
                Ok(at) => self.sink.map(*which, at, restore.map_piece()),
                // Beyond any number that an object can have.
                Err(_) => Ok(()),
            },
            RestoreEvent::Directory { ino, attributes, at }
            | RestoreEvent::Object { ino, attributes, at } => {
                self.close()?;
                let mut row = ObjectRow::of(*ino, attributes, self.place(*at));
                // Other programs' dumps have no second number.
                row.real_ino = row.real_ino.filter(|real| *real != 0);
                if let Some((_, flaws)) = self.early.take_if(|(early, _)| early == ino) {
                    row.flaws = flaws;
                }
                self.open = Some(row);
                Ok(())
            }
            RestoreEvent::Catalogued => self.close(),
            RestoreEvent::Entry { ino, parent, directory, .. } => {
                self.name(restore, *ino, *parent, *directory)
            }
            RestoreEvent::Apart { ino, at } => {
                self.close()?;
                self.begin_attributes(*at);
                self.sink.apart(*ino, self.place(*at))
            }
            RestoreEvent::End { at } => {
                self.begin_attributes(*at);
                Ok(())
            }
            RestoreEvent::NeedTape(tape) => {
                self.next_tape = Some((*tape, BlockAddr(restore.progress().blocks)));
                Ok(())
            }
            RestoreEvent::Damage(damage) => self.damage(damage),
            RestoreEvent::Done(_) => self.close(),
            _ => Ok(()),
        }
    }

    /// Gives the sink back, and how it went. For after [`RestoreEvent::Done`].
    pub fn finish(mut self) -> (K, Rebuilt) {
        self.rebuilt.flaws_missed |= self.early.is_some();
        (self.sink, self.rebuilt)
    }

    fn place(&self, addr: BlockAddr) -> StreamBlock {
        StreamBlock::of(addr, self.tape)
    }

    fn begin_attributes(&mut self, at: BlockAddr) {
        if !self.attributes {
            self.attributes = true;
            let from = self.place(at);
            self.sink.attributes(from);
        }
    }

    fn close(&mut self) -> Result<(), K::Error> {
        let Some(row) = self.open.take() else { return Ok(()) };
        self.rebuilt.flawed += u64::from(row.flaws != Flaws::NONE);
        self.sink.object(&row)
    }

    fn name<T, V, B, C>(
        &mut self,
        restore: &mut Restore<'_, T, V, B, C>,
        ino: Ino,
        parent: Ino,
        directory: bool,
    ) -> Result<(), K::Error>
    where
        T: TapeDevice,
        V: TargetVolume,
        B: BlockDevice,
        C: Crc32c,
    {
        if parent == LOST_FOUND {
            return Ok(());
        }
        let mut buf = [0; NAME_LEN_MAX];
        let name = if directory {
            // A failing scratch device ends the restore at its next step.
            let len = restore.component(ino, &mut buf).ok().flatten().map_or(0, |(_, len)| len);
            buf.get(..len).unwrap_or_default()
        } else {
            restore.entry_name()
        };
        if name.is_empty() { Ok(()) } else { self.sink.name(NameRow { parent, name, ino, kind: None }) }
    }

    fn damage(&mut self, damage: &Damage) -> Result<(), K::Error> {
        let mut flaws = Flaws::NONE;
        let ino = match damage {
            Damage::Maps => {
                self.rebuilt.maps_damaged = true;
                return Ok(());
            }
            Damage::Missing { ino } => {
                // Told of a name, too, whose object was never announced: of that one there is no row.
                if self.stage != RestoreStage::Directories {
                    self.close()?;
                    self.rebuilt.flawed += 1;
                    return self.sink.object(&ObjectRow::skipped(*ino, false));
                }
                return Ok(());
            }
            Damage::Data { ino, .. }
            | Damage::Unchecked { ino, .. }
            | Damage::Unread { ino, .. }
            | Damage::Directory { ino }
            | Damage::BadEntries { ino, .. } => {
                flaws.unread = true;
                *ino
            }
            Damage::Changed { ino } => {
                flaws.changed = true;
                *ino
            }
            Damage::Properties { ino } => {
                flaws.properties_unread = true;
                *ino
            }
            _ => return Ok(()),
        };
        let known = match (&mut self.open, &mut self.early) {
            (Some(row), _) if row.ino == ino => &mut row.flaws,
            (_, Some((early, known))) if *early == ino => known,
            (_, early) => {
                self.rebuilt.flaws_missed |= early.is_some();
                &mut early.insert((ino, Flaws::NONE)).1
            }
        };
        known.unread |= flaws.unread;
        known.changed |= flaws.changed;
        known.properties_unread |= flaws.properties_unread;
        Ok(())
    }
}
