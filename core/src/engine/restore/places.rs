//! Where directories are on the target: the way to them, and `lost+found`, where objects go that have no name.

use super::RestoreResult;
use super::{Catalog, EMPTY_NAME, LOST_FOUND, Restore, RestoreError};
use crate::checksum::Crc32c;
use crate::device::block::BlockDevice;
use crate::device::tape::TapeDevice;
use crate::device::volume::{FailedPart, NameBuf, Place, TargetVolume};
use crate::engine::names::Walk;
use crate::units::Ino;

/// Directories entered between two looks at what the target knows.
const CHAIN_LEN: usize = 64;

/// Marks on a long way up.
type Marks = heapless::Vec<Ino, MARKS_MAX>;

/// An even number.
const MARKS_MAX: usize = 32;

/// Directories on one path that are believed: more than any system's path length allows to make.
const DEPTH_MAX: usize = 1 << 20;

const LOST_FOUND_LEN: usize = 10;

const LOST_FOUND_NAME: &[u8; LOST_FOUND_LEN] = b"lost+found";

/// Decimal digits of a number, as the name of a lost object.
pub fn digits(number: u32, name: &mut [u8]) -> usize {
    let mut rest = number;
    let mut len = 0;
    for byte in name.iter_mut() {
        *byte = b'0' + (rest % 10) as u8;
        rest /= 10;
        len += 1;
        if rest == 0 {
            break;
        }
    }
    name.get_mut(..len).unwrap_or_default().reverse();
    len
}

/// The name of the directory for lost objects: `lost+found`, `lost+found-2` and so on.
fn lost_found_name(number: u32, name: &mut NameBuf) -> usize {
    let Some((stem, suffix)) = name.split_first_chunk_mut::<LOST_FOUND_LEN>() else { return 0 };
    *stem = *LOST_FOUND_NAME;
    match suffix.split_first_mut() {
        Some((dash, suffix)) if number > 1 => {
            *dash = b'-';
            LOST_FOUND_LEN + 1 + digits(number, suffix)
        }
        _ => LOST_FOUND_LEN,
    }
}

impl<T: TapeDevice, V: TargetVolume, B: BlockDevice, C: Crc32c> Restore<'_, T, V, B, C> {
    /// Makes `directory` known to the target, and keeps `keep` known.
    ///
    /// The way down begins at the nearest directory above that is known. How far that is shows only on the way up, so
    /// marks are set there, twice as far from each other whenever there are too many: the way down goes from mark to mark.
    #[inline(never)]
    pub(super) fn ensure(&mut self, directory: Ino, keep: Option<Ino>) -> RestoreResult<(), T, V, B> {
        if self.target.knows(directory) {
            return Ok(());
        }
        let mut marks = Marks::new();
        self.climb(directory, &mut marks)?;
        while let Some(mark) = marks.pop() {
            if !self.descend(mark, keep)? {
                break;
            }
        }
        Ok(())
    }

    /// Goes up to a directory that is known; there are no marks where none is.
    #[inline(never)]
    fn climb(&mut self, directory: Ino, marks: &mut Marks) -> RestoreResult<(), T, V, B> {
        let mut spacing = CHAIN_LEN;
        let mut name = EMPTY_NAME;
        let mut at = directory;
        let (mut above, mut next) = (0usize, 0usize);
        while !self.target.knows(at) {
            if above == next {
                if marks.push(at).is_err() {
                    let mut odd = false;
                    marks.retain(|_| {
                        odd = !odd;
                        odd
                    });
                    spacing = spacing.saturating_mul(2);
                    // There was an even number of them, so that this place is one of the marks that stay.
                    let _ = marks.push(at);
                }
                next = next.saturating_add(spacing);
            }
            above += 1;
            match self.place_of(at, &mut name)? {
                Some((parent, _)) if above < DEPTH_MAX => at = parent,
                _ => {
                    marks.clear();
                    break;
                }
            }
        }
        Ok(())
    }

    /// As [`ensure`](Self::ensure), for one that is not far below a known one; `false`: the target could not.
    #[inline(never)]
    fn descend(&mut self, directory: Ino, keep: Option<Ino>) -> RestoreResult<bool, T, V, B> {
        let mut name = EMPTY_NAME;
        for _ in 0..DEPTH_MAX / CHAIN_LEN {
            // The last CHAIN_LEN directories below the first one that is known.
            let mut chain = [Ino::ROOT; CHAIN_LEN];
            let mut len = 0;
            let mut at = directory;
            while !self.target.knows(at) {
                if let Some(slot) = chain.get_mut(len % CHAIN_LEN) {
                    *slot = at;
                }
                len += 1;
                match self.place_of(at, &mut name)? {
                    Some((parent, _)) if len < DEPTH_MAX => at = parent,
                    _ => return Ok(false),
                }
            }
            for below in (0..len).rev().take(CHAIN_LEN) {
                let Some(ino) = chain.get(below % CHAIN_LEN).copied() else { break };
                let Some((parent, name_len)) = self.place_of(ino, &mut name)? else { return Ok(false) };
                if let Some(keep) = keep {
                    self.target.knows(keep);
                }
                self.target.knows(parent);
                let place = Place { parent, name: name.get(..name_len).unwrap_or_default() };
                let entered = self.target.enter(place, ino);
                if !self.outcome(ino, FailedPart::Create, entered)? {
                    return Ok(false);
                }
            }
            if len <= CHAIN_LEN {
                break;
            }
        }
        Ok(true)
    }

    /// Where a directory was made.
    pub(super) fn place_of(
        &mut self,
        ino: Ino,
        name: &mut NameBuf,
    ) -> RestoreResult<Option<(Ino, usize)>, T, V, B> {
        if ino == Ino::ROOT {
            return Ok(None);
        }
        if ino == LOST_FOUND {
            let len = self.lost_found_name(name);
            return Ok(Some((Ino::ROOT, len)));
        }
        if self.maps.lost.contains(ino) {
            return Ok(Some((LOST_FOUND, digits(ino.0, name))));
        }
        match &mut self.catalog {
            Catalog::Ready(names) => {
                names.canonical(&mut self.scratch, ino, name).map_err(RestoreError::Scratch)
            }
            _ => Ok(None),
        }
    }

    /// The path of an object from the dump's root: its components from the last to the first, one call each, beginning
    /// with the object itself. `None`: that was all, or the object has no name.
    ///
    /// # Errors
    /// The scratch device failed.
    pub fn component(
        &mut self,
        ino: Ino,
        name: &mut NameBuf,
    ) -> RestoreResult<Option<(Ino, usize)>, T, V, B> {
        self.place_of(ino, name)
    }

    pub(super) fn make_lost_found(&mut self) -> RestoreResult<(), T, V, B> {
        if !self.lost_found_made {
            self.choose_lost_found()?;
            let mut name = EMPTY_NAME;
            let len = self.lost_found_name(&mut name);
            let place = Place { parent: Ino::ROOT, name: name.get(..len).unwrap_or_default() };
            let made = self.target.make_directory(place, LOST_FOUND);
            self.lost_found_made = self.outcome(LOST_FOUND, FailedPart::Create, made)?;
            return Ok(());
        }
        self.ensure(LOST_FOUND, None)
    }

    /// Chooses a name for `lost+found`, once: what it gets must not replace what the dump has there under a name.
    #[inline(never)]
    fn choose_lost_found(&mut self) -> RestoreResult<(), T, V, B> {
        let mut number = 1;
        while self.lost_found.is_none() {
            let mut name = EMPTY_NAME;
            let len = lost_found_name(number, &mut name);
            let Catalog::Ready(names) = &mut self.catalog else { return Ok(()) };
            let name = name.get(..len).unwrap_or_default();
            let free =
                match names.lookup(&mut self.scratch, Ino::ROOT, name).map_err(RestoreError::Scratch)? {
                    None => true,
                    Some(ino) => number == 1 && self.may_take_lost(ino)?,
                };
            if free {
                self.lost_found = Some(number);
            }
            number = number.saturating_add(1);
        }
        Ok(())
    }

    /// The dump's own `lost+found` is a directory in which nothing has a name of digits.
    fn may_take_lost(&mut self, ino: Ino) -> RestoreResult<bool, T, V, B> {
        let mut name = EMPTY_NAME;
        let Catalog::Ready(names) = &mut self.catalog else { return Ok(false) };
        let place = names.canonical(&mut self.scratch, ino, &mut name).map_err(RestoreError::Scratch)?;
        let named = place.is_some_and(|(parent, len)| {
            parent == Ino::ROOT && name.get(..len) == Some(&LOST_FOUND_NAME[..])
        });
        let cursor = names.notes_of(&mut self.scratch, ino).map_err(RestoreError::Scratch)?;
        let row = names.peek_directory(&mut self.scratch, cursor).map_err(RestoreError::Scratch)?;
        if !named || row != Some(ino) || !self.maps.passage.contains(ino) {
            return Ok(false);
        }
        let mut walk = Walk::new(ino);
        while walk.next(names, &mut self.scratch).map_err(RestoreError::Scratch)?.is_some() {
            if walk.name().iter().all(u8::is_ascii_digit) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn lost_found_name(&self, name: &mut NameBuf) -> usize {
        lost_found_name(self.lost_found.unwrap_or(1), name)
    }
}
