//! The target of a restore that only verifies, with the error of a volume: so that one restore serves both.

use core::convert::Infallible;

use tapedump_core::device::ErrorKind;
use tapedump_core::device::mem::NullTarget;
use tapedump_core::device::volume::{Attributes, Failure, Made, Place, PropertyKind, Room, TargetVolume};
use tapedump_core::units::Ino;

/// Takes everything and keeps nothing.
pub struct Nowhere(NullTarget);

impl Nowhere {
    pub fn new() -> Self {
        Self(NullTarget::new())
    }
}

fn never<R>(result: Result<R, Infallible>) -> Result<R, ErrorKind> {
    result.map_err(|error| match error {})
}

impl TargetVolume for Nowhere {
    type Error = ErrorKind;

    fn room(&mut self) -> Result<Room, ErrorKind> {
        never(self.0.room())
    }
    fn knows(&mut self, directory: Ino) -> bool {
        self.0.knows(directory)
    }
    fn enter(&mut self, place: Place<'_>, directory: Ino) -> Result<(), ErrorKind> {
        never(self.0.enter(place, directory))
    }
    fn make_directory(&mut self, place: Place<'_>, directory: Ino) -> Result<Made, ErrorKind> {
        never(self.0.make_directory(place, directory))
    }
    fn create(&mut self, place: Place<'_>, ino: Ino, attributes: &Attributes) -> Result<(), ErrorKind> {
        never(self.0.create(place, ino, attributes))
    }
    fn reopen(&mut self, place: Place<'_>, ino: Ino) -> Result<(), ErrorKind> {
        never(self.0.reopen(place, ino))
    }
    fn write(&mut self, offset: u64, data: &[u8]) -> Result<(), ErrorKind> {
        never(self.0.write(offset, data))
    }
    fn begin_property(&mut self, kind: PropertyKind, name: &[u8], value_len: u32) -> Result<(), ErrorKind> {
        never(self.0.begin_property(kind, name, value_len))
    }
    fn write_property(&mut self, piece: &[u8]) -> Result<(), ErrorKind> {
        never(self.0.write_property(piece))
    }
    fn finish(&mut self, attributes: &Attributes) -> Result<(), ErrorKind> {
        never(self.0.finish(attributes))
    }
    fn release(&mut self) {
        self.0.release();
    }
    fn link(&mut self, existing: Place<'_>, place: Place<'_>, ino: Ino) -> Result<(), ErrorKind> {
        never(self.0.link(existing, place, ino))
    }
    fn poll_failure(&mut self) -> Option<Failure<ErrorKind>> {
        let failure = self.0.poll_failure()?;
        match failure.error {}
    }
    fn barrier(&mut self) {
        self.0.barrier();
    }
    fn flush(&mut self) -> Result<(), ErrorKind> {
        never(self.0.flush())
    }
}
