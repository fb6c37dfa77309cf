//! Devices that may answer anything, also what their contracts forbid.

use core::hint::black_box;

use tapedump_core::checksum::Crc32c;
use tapedump_core::device::block::BlockDevice;
use tapedump_core::device::tape::{
    Space, Spaced, TapeCapabilities, TapeDevice, TapePosition, TapeRead, TapeWrite,
};
use tapedump_core::device::volume::{
    Attributes, Class, Entry, FailedPart, Failure, Kind, Made, NameBuf, Place, Property, PropertyKind, Room,
    SourceVolume, Stretch, TargetCapabilities, TargetRoot, TargetVolume, VolumeNames,
};
use tapedump_core::device::{DeviceError, ErrorKind};
use tapedump_core::units::{Ino, TapeNo};

/// Says nothing of itself.
#[derive(Clone, Copy, Debug)]
pub struct Error(u32);

impl DeviceError for Error {
    fn kind(&self) -> ErrorKind {
        black_box(if black_box(self.0) == 0 { ErrorKind::Medium } else { ErrorKind::Full })
    }
}

/// Whatever type it is asked for.
pub fn any<R>(value: R) -> Result<R, Error> {
    black_box(if black_box(true) { Ok(black_box(value)) } else { Err(Error(black_box(1))) })
}

pub fn attributes() -> Attributes {
    black_box(Attributes::new(black_box(Kind::File)))
}

pub struct Opaque;

impl TapeDevice for Opaque {
    type Error = Error;

    fn capabilities(&self) -> TapeCapabilities {
        black_box(TapeCapabilities::new(black_box(1)))
    }
    fn read(&mut self, buf: &mut [u8]) -> Result<TapeRead, Error> {
        black_box(buf);
        any(TapeRead::Record(black_box(1)))
    }
    fn write(&mut self, record: &[u8]) -> Result<TapeWrite, Error> {
        black_box(record);
        any(TapeWrite::Written)
    }
    fn write_filemark(&mut self) -> Result<TapeWrite, Error> {
        any(TapeWrite::Written)
    }
    fn flush(&mut self) -> Result<(), Error> {
        any(())
    }
    fn position(&mut self) -> Result<TapePosition, Error> {
        any(TapePosition::default())
    }
    fn locate(&mut self, to: TapePosition) -> Result<Spaced, Error> {
        black_box(to);
        any(Spaced::Done)
    }
    fn space(&mut self, by: Space) -> Result<Spaced, Error> {
        black_box(by);
        any(Spaced::Done)
    }
    fn rewind(&mut self) -> Result<(), Error> {
        any(())
    }
    fn unload(&mut self) -> Result<(), Error> {
        any(())
    }
    fn has_next_tape(&self, tape: TapeNo) -> bool {
        black_box(black_box(tape) > TapeNo(1))
    }
    fn next_tape(&mut self, tape: TapeNo) -> Result<bool, Error> {
        black_box(tape);
        any(black_box(true))
    }
}

impl BlockDevice for Opaque {
    type Error = Error;

    fn block_len(&self) -> usize {
        black_box(1)
    }
    fn capacity(&self) -> u64 {
        black_box(1)
    }
    fn read(&mut self, at: u64, buf: &mut [u8]) -> Result<(), Error> {
        black_box((at, buf));
        any(())
    }
    fn write(&mut self, at: u64, data: &[u8]) -> Result<(), Error> {
        black_box((at, data));
        any(())
    }
    fn flush(&mut self) -> Result<(), Error> {
        any(())
    }
}

impl SourceVolume for Opaque {
    type Error = Error;

    fn names(&mut self) -> Result<VolumeNames, Error> {
        any(VolumeNames::default())
    }
    fn ino_limit(&mut self) -> Result<Ino, Error> {
        any(Ino::ROOT)
    }
    fn map(&mut self, stretch: &mut Stretch<'_>) -> Result<(), Error> {
        stretch.note(black_box(Ino::ROOT), black_box(Class::Others), black_box(true));
        any(())
    }
    fn next_inode(&mut self, from: Ino, class: Class) -> Result<Option<Ino>, Error> {
        black_box((from, class));
        any(Some(Ino::ROOT))
    }
    fn open(&mut self, ino: Ino) -> Result<Attributes, Error> {
        black_box(ino);
        any(attributes())
    }
    fn parent(&mut self, ino: Ino) -> Result<Ino, Error> {
        black_box(ino);
        any(Ino::ROOT)
    }
    fn next_entry(&mut self, name: &mut NameBuf) -> Result<Option<Entry>, Error> {
        black_box(name);
        any(Some(Entry { ino: Ino::ROOT, name_len: 1 }))
    }
    fn rewind_entries(&mut self) -> Result<(), Error> {
        any(())
    }
    fn next_data(&mut self, from: u64) -> Result<Option<(u64, u64)>, Error> {
        any(Some((from, from)))
    }
    fn read(&mut self, offset: u64, buf: &mut [u8]) -> Result<usize, Error> {
        black_box((offset, buf));
        any(1)
    }
    fn property(&mut self, index: u32, name: &mut NameBuf) -> Result<Option<Property>, Error> {
        black_box((index, name));
        any(Some(Property { kind: PropertyKind::Xattr, name_len: 1, value_len: 1 }))
    }
    fn read_property(&mut self, index: u32, offset: u32, buf: &mut [u8]) -> Result<usize, Error> {
        black_box((index, offset, buf));
        any(1)
    }
    fn close(&mut self) -> Result<bool, Error> {
        any(true)
    }
}

impl TargetVolume for Opaque {
    type Error = Error;

    fn room(&mut self) -> Result<Room, Error> {
        any(Room { bytes: 1, inodes: 1 })
    }
    fn knows(&mut self, directory: Ino) -> bool {
        black_box(directory.0 > 3)
    }
    fn enter(&mut self, place: Place<'_>, directory: Ino) -> Result<(), Error> {
        black_box((place, directory));
        any(())
    }
    fn make_directory(&mut self, place: Place<'_>, directory: Ino) -> Result<Made, Error> {
        black_box((place, directory));
        any(Made::New)
    }
    fn create(&mut self, place: Place<'_>, ino: Ino, attributes: &Attributes) -> Result<(), Error> {
        black_box((place, ino, attributes));
        any(())
    }
    fn reopen(&mut self, place: Place<'_>, ino: Ino) -> Result<(), Error> {
        black_box((place, ino));
        any(())
    }
    fn write(&mut self, offset: u64, data: &[u8]) -> Result<(), Error> {
        black_box((offset, data));
        any(())
    }
    fn begin_property(&mut self, kind: PropertyKind, name: &[u8], value_len: u32) -> Result<(), Error> {
        black_box((kind, name, value_len));
        any(())
    }
    fn write_property(&mut self, piece: &[u8]) -> Result<(), Error> {
        black_box(piece);
        any(())
    }
    fn capabilities(&self) -> TargetCapabilities {
        let mut capabilities = black_box(TargetCapabilities::ALL);
        capabilities.ace_limit = black_box(7);
        capabilities.root = black_box(TargetRoot::Volume);
        capabilities.unicode_qtree_names = black_box(false);
        black_box(capabilities)
    }
    fn abandon_property(&mut self) {
        black_box(self);
    }
    fn finish(&mut self, attributes: &Attributes) -> Result<(), Error> {
        black_box(attributes);
        any(())
    }
    fn release(&mut self) {
        black_box(self);
    }
    fn link(&mut self, existing: Place<'_>, place: Place<'_>, ino: Ino) -> Result<(), Error> {
        black_box((existing, place, ino));
        any(())
    }
    fn poll_failure(&mut self) -> Option<Failure<Error>> {
        black_box(Some(Failure { ino: Ino::ROOT, what: FailedPart::Data, error: Error(1) }))
    }
    fn barrier(&mut self) {
        black_box(self);
    }
    fn flush(&mut self) -> Result<(), Error> {
        any(())
    }
}

/// A checksum in hardware.
pub struct Unit;

impl Crc32c for Unit {
    fn update(crc: u32, data: &[u8]) -> u32 {
        black_box((crc, data));
        black_box(1)
    }
}
