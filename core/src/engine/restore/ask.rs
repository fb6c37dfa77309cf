//! What a caller may ask of a restore that is under way: what paths name, what is wanted, and what is missing.

use super::{Catalog, Restore, RestoreError, RestoreResult, Use};
use crate::checksum::Crc32c;
use crate::device::block::BlockDevice;
use crate::device::tape::TapeDevice;
use crate::device::volume::TargetVolume;
use crate::units::Ino;

/// What a path of the dump names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Named {
    /// The object.
    pub ino: Ino,
    /// The directory that holds its name; the root's is the root.
    pub parent: Ino,
    /// It is a directory of the dump, or of its chain.
    pub directory: bool,
}

impl<T: TapeDevice, V: TargetVolume, B: BlockDevice, C: Crc32c> Restore<'_, T, V, B, C> {
    /// The target, to be told what the dump's names told.
    pub const fn target_mut(&mut self) -> &mut V {
        &mut self.target
    }

    /// What a path names (components separated by `/`, from the root of the dump); `None`: nothing. Between
    /// [`RestoreEvent::Catalogued`](super::RestoreEvent::Catalogued) and the next step.
    ///
    /// # Errors
    /// The scratch device failed.
    pub fn look_up(&mut self, path: &[u8]) -> RestoreResult<Option<Named>, T, V, B> {
        let Catalog::Ready(names) = &mut self.catalog else { return Ok(None) };
        let (mut parent, mut ino) = (Ino::ROOT, Ino::ROOT);
        for name in path.split(|byte| *byte == b'/').filter(|name| !matches!(name, [] | [b'.'])) {
            parent = ino;
            match names.lookup(&mut self.scratch, parent, name).map_err(RestoreError::Scratch)? {
                Some(found) => ino = found,
                None => return Ok(None),
            }
        }
        let directory = ino == Ino::ROOT || self.maps.unmade.contains(ino);
        Ok(Some(Named { ino, parent, directory }))
    }

    /// Whether the object is to be restored: all are, unless some were [selected](Self::select).
    #[must_use]
    pub fn wants(&self, ino: Ino) -> bool {
        self.is_wanted(ino)
    }

    /// Objects that are to be restored, as far as the names tell.
    #[must_use]
    pub fn wanted(&self) -> u64 {
        if self.selected { self.maps.wanted.count() } else { self.summary.announced }
    }

    /// After an early end: the first object from `from` on that is to be restored and is not, or not wholly. Of a dump whose
    /// maps are damaged, not all are known.
    #[must_use]
    pub fn next_missing(&self, from: Ino) -> Option<Ino> {
        let mut from = from;
        loop {
            let ino = self.next_unmade(from)?;
            if self.is_wanted(ino) {
                return Some(ino);
            }
            from = ino.next();
        }
    }

    /// After an early end: the first object from `from` on that was restored, but for properties that stand apart from it, in
    /// stage V, and had not come, or not wholly.
    #[must_use]
    pub fn next_awaiting(&self, from: Ino) -> Option<Ino> {
        let open = self.object.as_ref().filter(|object| object.taken == Use::Attributes);
        let open = open.map(|object| object.ino).filter(|ino| *ino >= from);
        let mut ahead = self.next_ahead(from, true);
        while let Some(ino) = ahead.filter(|ino| !self.is_due(*ino)) {
            ahead = self.next_ahead(ino.next(), true);
        }
        [open, ahead].into_iter().flatten().min()
    }

    /// The next object of which the tape has more: all of it, or when it was `made` its properties.
    fn next_ahead(&self, from: Ino, made: bool) -> Option<Ino> {
        let mut ino = self.maps.on_tape.next_from(from)?;
        while self.is_made(ino) != made {
            ino = self.maps.on_tape.next_from(ino.next())?;
        }
        Some(ino)
    }

    fn next_unmade(&self, from: Ino) -> Option<Ino> {
        if let Some(first) = self.chain.next_in_use(from) {
            let mut ino = first;
            while self.is_made(ino) {
                ino = self.chain.next_in_use(ino.next())?;
            }
            return Some(ino);
        }
        let from = from.max(Ino::FIRST);
        let open = self.object.as_ref().filter(|object| object.taken == Use::Target);
        let open = open.map(|object| object.ino).filter(|ino| *ino >= from);
        let pending = self.next_ahead(from, false).filter(|_| self.maps_good);
        let unmade = self.maps.unmade.next_from(from);
        [open, pending, unmade].into_iter().flatten().min()
    }
}
