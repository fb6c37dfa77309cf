//! Faults of a volume that is restored to.

use super::{FaultError, FaultInjector, Operation, Subject, What};
use crate::device::ErrorKind;
use crate::device::volume::{
    Attributes, FailedPart, Failure, Made, Place, PropertyKind, Room, TargetCapabilities, TargetVolume,
};
use crate::units::Ino;

const MENU: &[What] =
    &[What::Error(ErrorKind::Denied), What::Error(ErrorKind::Medium), What::Error(ErrorKind::Unsupported)];

/// What of the open object is not passed on, because it is to fail later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Swallowing {
    Nothing,
    /// The value of the property announced.
    Property,
    /// Everything until it is closed.
    Object,
}

impl<D: TargetVolume> FaultInjector<'_, D> {
    /// Begins an operation on an object; `true`: it is not to be passed on, and its failure of `part` is noted.
    fn about(
        &mut self,
        operation: Operation,
        ino: Option<Ino>,
        offset: u64,
        part: Option<FailedPart>,
    ) -> Result<bool, FaultError<D::Error>> {
        let subject = ino.map_or(Subject::Nothing, |ino| Subject::Object { ino, offset });
        let occurrence = self.plain(operation, subject, MENU)?;
        let (Some(ino), Some(part), None) = (ino, part, self.late) else { return Ok(false) };
        let mut late = None;
        self.takes(&occurrence, |what| {
            if let What::Late(error) = what {
                late = Some(Failure { ino, what: part, error });
            }
            late.is_some()
        });
        self.late = late;
        Ok(late.is_some())
    }
}

impl<D: TargetVolume> TargetVolume for FaultInjector<'_, D> {
    type Error = FaultError<D::Error>;

    fn capabilities(&self) -> TargetCapabilities {
        self.device.capabilities()
    }

    fn room(&mut self) -> Result<Room, Self::Error> {
        self.plain(Operation::Walk, Subject::Nothing, &[])?;
        self.device.room().map_err(FaultError::Device)
    }

    fn knows(&mut self, directory: Ino) -> bool {
        self.has_power && self.device.knows(directory)
    }

    fn enter(&mut self, place: Place<'_>, directory: Ino) -> Result<(), Self::Error> {
        self.about(Operation::Open, Some(directory), 0, None)?;
        self.device.enter(place, directory).map_err(FaultError::Device)
    }

    fn make_directory(&mut self, place: Place<'_>, directory: Ino) -> Result<Made, Self::Error> {
        self.about(Operation::Create, Some(directory), 0, None)?;
        self.device.make_directory(place, directory).map_err(FaultError::Device)
    }

    fn create(&mut self, place: Place<'_>, ino: Ino, attributes: &Attributes) -> Result<(), Self::Error> {
        if self.about(Operation::Create, Some(ino), 0, Some(FailedPart::Create))? {
            self.swallowing = Swallowing::Object;
        } else {
            self.device.create(place, ino, attributes).map_err(FaultError::Device)?;
        }
        self.object = Some(ino);
        Ok(())
    }

    fn reopen(&mut self, place: Place<'_>, ino: Ino) -> Result<(), Self::Error> {
        self.about(Operation::Open, Some(ino), 0, None)?;
        self.device.reopen(place, ino).map_err(FaultError::Device)?;
        self.object = Some(ino);
        Ok(())
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Result<(), Self::Error> {
        let late = self.about(Operation::Write, self.object, offset, Some(FailedPart::Data))?;
        if late || self.swallowing == Swallowing::Object {
            return Ok(());
        }
        self.device.write(offset, data).map_err(FaultError::Device)
    }

    fn begin_property(&mut self, kind: PropertyKind, name: &[u8], value_len: u32) -> Result<(), Self::Error> {
        let late = self.about(Operation::Property, self.object, 0, Some(FailedPart::Property(kind)))?;
        if self.swallowing == Swallowing::Object {
            return Ok(());
        }
        self.swallowing = if late { Swallowing::Property } else { Swallowing::Nothing };
        if late {
            return Ok(());
        }
        self.device.begin_property(kind, name, value_len).map_err(FaultError::Device)
    }

    fn write_property(&mut self, piece: &[u8]) -> Result<(), Self::Error> {
        // Pieces are no operations of their own: how a value is cut is the caller's business.
        if !self.has_power {
            return Err(FaultError::PowerLost);
        }
        if self.swallowing != Swallowing::Nothing {
            return Ok(());
        }
        self.device.write_property(piece).map_err(FaultError::Device)
    }

    fn abandon_property(&mut self) {
        if self.has_power && self.swallowing != Swallowing::Object {
            self.device.abandon_property();
        }
    }

    fn finish(&mut self, attributes: &Attributes) -> Result<(), Self::Error> {
        let result = self.about(Operation::Close, self.object, 0, Some(FailedPart::Attributes));
        self.object = None;
        let swallowed = core::mem::replace(&mut self.swallowing, Swallowing::Nothing);
        let is_there = swallowed != Swallowing::Object;
        match result {
            // What cannot be finished is closed all the same, unless there is no power left to do it.
            Ok(true) | Err(FaultError::Injected(_)) if is_there => self.device.release(),
            Ok(false) if is_there => return self.device.finish(attributes).map_err(FaultError::Device),
            _ => {}
        }
        result.map(|_| ())
    }

    fn release(&mut self) {
        self.object = None;
        let swallowed = core::mem::replace(&mut self.swallowing, Swallowing::Nothing);
        if self.has_power && swallowed != Swallowing::Object {
            self.device.release();
        }
    }

    fn link(&mut self, existing: Place<'_>, place: Place<'_>, ino: Ino) -> Result<(), Self::Error> {
        if self.about(Operation::Create, Some(ino), 0, Some(FailedPart::Link))? {
            return Ok(());
        }
        self.device.link(existing, place, ino).map_err(FaultError::Device)
    }

    fn poll_failure(&mut self) -> Option<Failure<Self::Error>> {
        if let Some(Failure { ino, what, error }) = self.late.take() {
            return Some(Failure { ino, what, error: FaultError::Injected(error) });
        }
        let Failure { ino, what, error } = self.device.poll_failure()?;
        Some(Failure { ino, what, error: FaultError::Device(error) })
    }

    fn barrier(&mut self) {
        if self.has_power {
            self.device.barrier();
        }
    }

    fn flush(&mut self) -> Result<(), Self::Error> {
        self.plain(Operation::Flush, Subject::Nothing, MENU)?;
        self.device.flush().map_err(FaultError::Device)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Fault, Operation::*, When};
    use super::*;
    use crate::device::mem::NullTarget;
    use crate::device::volume::Kind;

    /// Makes a directory and files 3 to 6 of one write each; gives the first error.
    fn run(target: &mut FaultInjector<'_, NullTarget>) -> Result<(), ErrorKind> {
        use crate::device::DeviceError;
        let attributes = Attributes::new(Kind::File);
        let place = Place { parent: Ino::ROOT, name: b"x" };
        let mut steps = || {
            target.make_directory(place, Ino(10))?;
            for ino in 3..7 {
                target.create(place, Ino(ino), &attributes)?;
                target.write(0, b"data")?;
                target.finish(&attributes)?;
            }
            target.flush()
        };
        steps().map_err(|error| error.kind())
    }

    #[test]
    fn is_full_at_each_operation_in_turn() {
        let mut counting = FaultInjector::counting(NullTarget::new());
        assert_eq!(run(&mut counting), Ok(()));
        assert_eq!((counting.operations(), counting.operations_of(Create)), (14, 5));
        for n in 0..counting.operations() {
            let faults = [Fault { when: When::Any(n), what: What::Error(ErrorKind::Full) }];
            let mut target = FaultInjector::scheduled(NullTarget::new(), &faults);
            assert_eq!(run(&mut target), Err(ErrorKind::Full), "{n}");
            assert_eq!((target.operations(), target.injected()), (n + 1, 1));
        }
    }

    #[test]
    fn an_object_that_cannot_be_finished_is_closed_and_power_stops_everything() {
        let faults = [Fault { when: When::Object(Ino(4), Close), what: What::Error(ErrorKind::Denied) }];
        let mut target = FaultInjector::scheduled(NullTarget::new(), &faults);
        assert_eq!(run(&mut target), Err(ErrorKind::Denied));
        assert_eq!((target.device().finished, target.device().abandoned), (1, 1));
        let faults = [Fault { when: When::Nth(Write, 1), what: What::PowerCut }];
        let mut target = FaultInjector::scheduled(NullTarget::new(), &faults);
        assert_eq!(run(&mut target), Err(ErrorKind::Interrupted));
        target.release();
        assert_eq!(
            (target.knows(Ino::ROOT), target.write_property(b"x")),
            (false, Err(FaultError::PowerLost))
        );
        assert_eq!((target.device().objects, target.device().abandoned, target.device().bytes), (2, 0, 4));
    }

    #[test]
    fn late_failures_swallow_their_part_and_are_told_once() {
        use crate::device::mem::{MemVolume, Node};
        let late = |operation| [Fault { when: When::Nth(operation, 0), what: What::Late(ErrorKind::Denied) }];
        let cases = [
            (late(Create), FailedPart::Create, (false, 0, 0, false)),
            (late(Write), FailedPart::Data, (true, 0, 7, true)),
            (late(Property), FailedPart::Property(PropertyKind::Xattr), (true, 4, 7, false)),
            (late(Close), FailedPart::Attributes, (true, 4, 0, true)),
        ];
        for (faults, part, expected) in cases {
            let mut nodes = [Node::EMPTY; 4];
            let mut arena = [0; 512];
            let volume = MemVolume::new(&mut nodes, &mut arena).unwrap();
            let mut target = FaultInjector::scheduled(volume, &faults);
            let mut attributes = Attributes::new(Kind::File);
            (attributes.size, attributes.uid) = (4, 7);
            for name in [b"a", b"b"] {
                let place = Place { parent: Ino::ROOT, name };
                target.create(place, Ino(name[0].into()), &attributes).unwrap();
                target.write(0, b"data").unwrap();
                target.begin_property(PropertyKind::Xattr, b"user.x", 2).unwrap();
                target.write_property(b"xy").unwrap();
                target.finish(&attributes).unwrap();
            }
            let error = FaultError::Injected(ErrorKind::Denied);
            assert_eq!(target.poll_failure(), Some(Failure { ino: Ino(b'a'.into()), what: part, error }));
            assert_eq!(target.poll_failure(), None);
            let volume = target.into_device();
            let state = |name: &[u8]| {
                let Some(ino) = volume.look_up(Ino::ROOT, name) else { return (false, 0, 0, false) };
                let mut buf = [0; 8];
                let len = volume.read_data(ino, 0, &mut buf).unwrap();
                let data = buf[..len].iter().filter(|byte| **byte != 0).count();
                let value = volume.property_value(ino, PropertyKind::Xattr, b"user.x");
                (true, data, volume.attributes(ino).unwrap().uid, value == Some(b"xy"))
            };
            assert_eq!((state(b"a"), state(b"b")), (expected, (true, 4, 7, true)), "{part:?}");
        }
    }
}
