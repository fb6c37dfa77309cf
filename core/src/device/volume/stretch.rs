//! A stretch of the dump maps, to be filled by the volume.

use super::Class;
use crate::units::Ino;

/// How many objects of a stretch are which.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Mapped {
    /// Directories to be dumped.
    pub directories: u32,
    /// Other objects to be dumped.
    pub others: u32,
    /// Objects that need not be dumped.
    pub unchanged: u32,
}

/// The numbers from some on, as many as its maps have bits. The bit of the number `from + i` is bit `i % 8` of byte
/// `i / 8`. All maps are equally long.
///
/// A volume calls [`note`](Self::note) for each object, in any order; one that keeps such maps itself may fill
/// [`in_use`](Self::in_use), [`changed`](Self::changed) and [`found`](Self::found) as that does.
#[derive(Debug)]
pub struct Stretch<'a> {
    /// The first number.
    pub from: Ino,
    /// Of an increment: what changed at or after this time, in seconds since 1970, is to be dumped (R-CHAIN-4). Of a
    /// baseline everything is.
    pub since: Option<i64>,
    /// The objects that a restore of the base's chain gives rightly; others are dumped in any case.
    pub known: &'a [u8],
    /// The objects that there are.
    pub in_use: &'a mut [u8],
    /// Those to be dumped.
    pub changed: &'a mut [u8],
    /// Their counts.
    pub found: Mapped,
}

impl Stretch<'_> {
    /// One more than the last number.
    #[must_use]
    pub fn end(&self) -> Ino {
        let bits = u32::try_from(self.in_use.len()).unwrap_or(u32::MAX).saturating_mul(8);
        Ino(self.from.0.saturating_add(bits))
    }

    /// Notes an object, once. `changed`: its data, attributes or names may have changed since [`since`](Self::since); a
    /// volume that cannot tell says so. Numbers outside of the stretch are passed over.
    pub fn note(&mut self, ino: Ino, class: Class, changed: bool) {
        let Some(index) = ino.0.checked_sub(self.from.0) else { return };
        let (byte, bit) = ((index / 8) as usize, 1 << (index % 8));
        let Some(in_use) = self.in_use.get_mut(byte) else { return };
        *in_use |= bit;
        let is_known = self.known.get(byte).is_some_and(|known| known & bit != 0);
        if self.since.is_some() && is_known && !changed {
            self.found.unchanged += 1;
            return;
        }
        if let Some(changed) = self.changed.get_mut(byte) {
            *changed |= bit;
        }
        match class {
            Class::Directories => self.found.directories += 1,
            Class::Others => self.found.others += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapped(since: Option<i64>) -> ([u8; 2], [u8; 2], Mapped) {
        let (mut in_use, mut changed) = ([0; 2], [0; 2]);
        let mut stretch = Stretch {
            from: Ino(9),
            since,
            known: &[0b0000_0111, 0b1000_0000],
            in_use: &mut in_use,
            changed: &mut changed,
            found: Mapped::default(),
        };
        assert_eq!(stretch.end(), Ino(25));
        stretch.note(Ino(24), Class::Others, false);
        stretch.note(Ino(9), Class::Directories, true);
        stretch.note(Ino(10), Class::Others, false);
        stretch.note(Ino(12), Class::Others, false);
        stretch.note(Ino(8), Class::Others, true);
        stretch.note(Ino(25), Class::Others, true);
        let found = stretch.found;
        (in_use, changed, found)
    }

    #[test]
    fn what_changed_and_what_no_dump_holds_is_dumped() {
        let (in_use, changed, found) = mapped(Some(7));
        assert_eq!((in_use, changed), ([0b1011, 0x80], [0b1001, 0]));
        assert_eq!(found, Mapped { directories: 1, others: 1, unchanged: 2 });
    }

    #[test]
    fn a_baseline_holds_everything() {
        let (in_use, changed, found) = mapped(None);
        assert_eq!((in_use, changed), ([0b1011, 0x80], [0b1011, 0x80]));
        assert_eq!(found, Mapped { directories: 1, others: 3, unchanged: 0 });
    }
}
