//! A target that keeps nothing.

use core::convert::Infallible;

use crate::device::volume::{Attributes, Failure, Made, Place, PropertyKind, Room, TargetVolume};
use crate::units::Ino;

/// A target volume that accepts and discards everything, and counts it: a restore over it reads and checks a
/// whole dump without writing anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NullTarget {
    /// Directories made.
    pub directories: u64,
    /// Other objects made.
    pub objects: u64,
    /// Objects closed as complete, counted each time; directories too.
    pub finished: u64,
    /// Objects abandoned because something of them could not be read.
    pub abandoned: u64,
    /// Further names of objects.
    pub links: u64,
    /// Properties announced.
    pub properties: u64,
    /// Bytes of data and of property values.
    pub bytes: u64,
}

impl NullTarget {
    /// A target that has seen nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl TargetVolume for NullTarget {
    type Error = Infallible;

    fn room(&mut self) -> Result<Room, Infallible> {
        Ok(Room { bytes: u64::MAX, inodes: u64::MAX })
    }

    fn knows(&mut self, _directory: Ino) -> bool {
        true
    }

    fn enter(&mut self, _place: Place<'_>, _directory: Ino) -> Result<(), Infallible> {
        Ok(())
    }

    fn make_directory(&mut self, _place: Place<'_>, _directory: Ino) -> Result<Made, Infallible> {
        self.directories += 1;
        Ok(Made::New)
    }

    fn create(&mut self, _place: Place<'_>, _ino: Ino, _attributes: &Attributes) -> Result<(), Infallible> {
        self.objects += 1;
        Ok(())
    }

    fn reopen(&mut self, _place: Place<'_>, _ino: Ino) -> Result<(), Infallible> {
        Ok(())
    }

    fn write(&mut self, _offset: u64, data: &[u8]) -> Result<(), Infallible> {
        self.bytes += data.len() as u64;
        Ok(())
    }

    fn begin_property(
        &mut self,
        _kind: PropertyKind,
        _name: &[u8],
        _value_len: u32,
    ) -> Result<(), Infallible> {
        self.properties += 1;
        Ok(())
    }

    fn write_property(&mut self, piece: &[u8]) -> Result<(), Infallible> {
        self.bytes += piece.len() as u64;
        Ok(())
    }

    fn finish(&mut self, _attributes: &Attributes) -> Result<(), Infallible> {
        self.finished += 1;
        Ok(())
    }

    fn release(&mut self) {
        self.abandoned += 1;
    }

    fn link(&mut self, _existing: Place<'_>, _place: Place<'_>, _ino: Ino) -> Result<(), Infallible> {
        self.links += 1;
        Ok(())
    }

    fn poll_failure(&mut self) -> Option<Failure<Infallible>> {
        None
    }

    fn barrier(&mut self) {}

    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::volume::Kind;

    #[test]
    fn counts_what_it_discards() {
        let mut target = NullTarget::new();
        let attributes = Attributes::new(Kind::File);
        let place = Place { parent: Ino::ROOT, name: b"a" };
        target.make_directory(place, Ino(3)).unwrap();
        target.create(place, Ino(4), &attributes).unwrap();
        target.write(0, &[1; 10]).unwrap();
        target.begin_property(PropertyKind::Xattr, b"user.a", 3).unwrap();
        target.write_property(b"abc").unwrap();
        target.finish(&attributes).unwrap();
        target.link(place, place, Ino(4)).unwrap();
        target.create(place, Ino(5), &attributes).unwrap();
        target.release();
        let expected = NullTarget {
            directories: 1,
            objects: 2,
            finished: 1,
            abandoned: 1,
            links: 1,
            properties: 1,
            bytes: 13,
        };
        assert_eq!(target, expected);
    }
}
