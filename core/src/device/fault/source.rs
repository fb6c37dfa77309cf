//! Faults of a volume that is dumped.

use super::{FaultError, FaultInjector, Operation, Subject, What};
use crate::device::ErrorKind;

use crate::device::volume::{
    Attributes, Class, Entry, NameBuf, Property, SourceVolume, Stretch, VolumeNames,
};
use crate::units::Ino;

const OPEN_MENU: &[What] = &[
    What::Error(ErrorKind::NotFound),
    What::Error(ErrorKind::Denied),
    What::Error(ErrorKind::Changed),
    What::Error(ErrorKind::Medium),
];
const READ_MENU: &[What] = &[What::Error(ErrorKind::Medium), What::Short(0)];
const OTHER_MENU: &[What] = &[What::Error(ErrorKind::Medium)];
const CLOSE_MENU: &[What] = &[What::Change];

impl<D: SourceVolume> SourceVolume for FaultInjector<'_, D> {
    type Error = FaultError<D::Error>;

    fn names(&mut self) -> Result<VolumeNames, Self::Error> {
        self.plain(Operation::Walk, Subject::Nothing, &[])?;
        self.device.names().map_err(FaultError::Device)
    }

    fn ino_limit(&mut self) -> Result<Ino, Self::Error> {
        self.plain(Operation::Walk, Subject::Nothing, &[])?;
        self.device.ino_limit().map_err(FaultError::Device)
    }

    fn map(&mut self, stretch: &mut Stretch<'_>) -> Result<(), Self::Error> {
        self.plain(Operation::Walk, Subject::Nothing, &[])?;
        self.device.map(stretch).map_err(FaultError::Device)
    }

    fn next_inode(&mut self, from: Ino, class: Class) -> Result<Option<Ino>, Self::Error> {
        self.plain(Operation::Walk, Subject::Nothing, &[])?;
        self.device.next_inode(from, class).map_err(FaultError::Device)
    }

    fn will_open(&mut self, objects: &[u8]) {
        self.device.will_open(objects);
    }

    fn open(&mut self, ino: Ino) -> Result<Attributes, Self::Error> {
        self.plain(Operation::Open, Subject::Object { ino, offset: 0 }, OPEN_MENU)?;
        let attributes = self.device.open(ino).map_err(FaultError::Device)?;
        self.object = Some(ino);
        Ok(attributes)
    }

    fn parent(&mut self, ino: Ino) -> Result<Ino, Self::Error> {
        self.plain(Operation::Entries, Subject::Object { ino, offset: 0 }, OTHER_MENU)?;
        self.device.parent(ino).map_err(FaultError::Device)
    }

    fn next_entry(&mut self, name: &mut NameBuf) -> Result<Option<Entry>, Self::Error> {
        self.plain(Operation::Entries, self.of_object(0), OTHER_MENU)?;
        self.device.next_entry(name).map_err(FaultError::Device)
    }

    fn rewind_entries(&mut self) -> Result<(), Self::Error> {
        self.plain(Operation::Entries, self.of_object(0), OTHER_MENU)?;
        self.device.rewind_entries().map_err(FaultError::Device)
    }

    fn next_data(&mut self, from: u64) -> Result<Option<(u64, u64)>, Self::Error> {
        self.plain(Operation::NextData, self.of_object(from), OTHER_MENU)?;
        self.device.next_data(from).map_err(FaultError::Device)
    }

    fn read(&mut self, offset: u64, buf: &mut [u8]) -> Result<usize, Self::Error> {
        let occurrence = self.plain(Operation::Read, self.of_object(offset), READ_MENU)?;
        let len = self.device.read(offset, buf).map_err(FaultError::Device)?;
        Ok(self.damage(&occurrence, buf, len))
    }

    fn property(&mut self, index: u32, name: &mut NameBuf) -> Result<Option<Property>, Self::Error> {
        self.plain(Operation::Property, self.of_object(0), OTHER_MENU)?;
        self.device.property(index, name).map_err(FaultError::Device)
    }

    fn read_property(&mut self, index: u32, offset: u32, buf: &mut [u8]) -> Result<usize, Self::Error> {
        let occurrence = self.plain(Operation::Property, self.of_object(offset.into()), OTHER_MENU)?;
        let len = self.device.read_property(index, offset, buf).map_err(FaultError::Device)?;
        Ok(self.damage(&occurrence, buf, len))
    }

    fn close(&mut self) -> Result<bool, Self::Error> {
        let occurrence = self.begin(Operation::Close, self.of_object(0), CLOSE_MENU);
        self.object = None;
        // The object is closed whether or not closing it fails; only a volume without power stays as it is.
        let unchanged = if self.has_power { self.device.close() } else { Ok(true) };
        self.check(&occurrence)?;
        let changed = self.takes(&occurrence, |what| what == What::Change);
        Ok(unchanged.map_err(FaultError::Device)? && !changed)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Fault, Operation::*, When};
    use super::*;
    use crate::device::mem::{MemVolume, Node};

    use crate::device::volume::{Kind, PropertyKind};

    /// Runs `check` with a volume of two files, 3 and 4, of the bytes `0123456789`, and one property each.
    fn with_files(faults: &[Fault], check: impl FnOnce(&mut FaultInjector<'_, MemVolume<'_>>)) {
        let mut nodes = [Node::EMPTY; 4];
        let mut arena = [0; 512];
        let mut volume = MemVolume::new(&mut nodes, &mut arena).unwrap();
        for name in [b"a", b"b"] {
            let ino = volume.add_file(Ino::ROOT, name, &Attributes::new(Kind::File), b"0123456789").unwrap();
            volume.set_property(ino, PropertyKind::Xattr, b"user.n", b"value").unwrap();
        }
        check(&mut FaultInjector::scheduled(volume, faults));
    }

    #[test]
    fn only_the_chosen_object_fails() {
        let bad =
            |operation| Fault { when: When::Object(Ino(3), operation), what: What::Error(ErrorKind::Denied) };
        with_files(&[bad(Open)], |volume| {
            assert_eq!(volume.open(Ino(3)), Err(FaultError::Injected(ErrorKind::Denied)));
            volume.open(Ino(4)).unwrap();
            volume.close().unwrap();
            volume.open(Ino::ROOT).unwrap();
        });
        with_files(&[bad(Read), bad(Property)], |volume| {
            let mut buf = [0; 16];
            volume.open(Ino(3)).unwrap();
            assert_eq!(volume.read(0, &mut buf), Err(FaultError::Injected(ErrorKind::Denied)));
            assert_eq!(volume.read_property(0, 0, &mut buf), Err(FaultError::Injected(ErrorKind::Denied)));
            assert_eq!(volume.close(), Ok(true));
            volume.open(Ino(4)).unwrap();
            assert_eq!(volume.read(0, &mut buf), Ok(10));
            assert_eq!(volume.read_property(0, 0, &mut buf), Ok(5));
        });
    }

    #[test]
    fn an_object_changes_shrinks_and_reads_wrong() {
        let of_first = |operation, what| Fault { when: When::Object(Ino(3), operation), what };
        let faults = [
            of_first(Close, What::Change),
            of_first(Read, What::Short(6)),
            of_first(Read, What::FlipBit(16)),
        ];
        with_files(&faults, |volume| {
            let mut buf = [0; 4];
            volume.open(Ino(3)).unwrap();
            assert_eq!((volume.read(0, &mut buf), &buf), (Ok(4), b"0133"));
            assert_eq!((volume.read(2, &mut buf), &buf), (Ok(4), b"3345"));
            assert_eq!((volume.read(4, &mut buf), &buf[..2]), (Ok(2), &b"45"[..]));
            assert_eq!(volume.read(7, &mut buf), Ok(0));
            assert_eq!(volume.close(), Ok(false));
            volume.open(Ino(4)).unwrap();
            assert_eq!(volume.read(7, &mut buf), Ok(3));
            assert_eq!(volume.close(), Ok(true));
        });
    }

    #[test]
    fn a_failed_close_closes_all_the_same() {
        with_files(&[Fault { when: When::Nth(Close, 0), what: What::Error(ErrorKind::Other) }], |volume| {
            volume.open(Ino(3)).unwrap();
            assert_eq!(volume.close(), Err(FaultError::Injected(ErrorKind::Other)));
            volume.open(Ino(4)).unwrap();
        });
    }
}
