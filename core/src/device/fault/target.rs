//! Faults of a volume that is restored to.

use super::{FaultError, FaultInjector, Operation, Subject, What};
use crate::device::ErrorKind;
use crate::device::volume::{Attributes, Failure, Place, PropertyKind, Room, TargetVolume};
use crate::units::Ino;

const MENU: &[What] =
    &[What::Error(ErrorKind::Denied), What::Error(ErrorKind::Medium), What::Error(ErrorKind::Unsupported)];

impl<D: TargetVolume> FaultInjector<'_, D> {
    fn about(&mut self, operation: Operation, ino: Ino) -> Result<(), FaultError<D::Error>> {
        self.plain(operation, Subject::Object { ino, offset: 0 }, MENU).map(|_| ())
    }
}

impl<D: TargetVolume> TargetVolume for FaultInjector<'_, D> {
    type Error = FaultError<D::Error>;

    fn room(&mut self) -> Result<Room, Self::Error> {
        self.plain(Operation::Walk, Subject::Nothing, &[])?;
        self.device.room().map_err(FaultError::Device)
    }

    fn knows(&mut self, directory: Ino) -> bool {
        self.has_power && self.device.knows(directory)
    }

    fn enter(&mut self, place: Place<'_>, directory: Ino) -> Result<(), Self::Error> {
        self.about(Operation::Open, directory)?;
        self.device.enter(place, directory).map_err(FaultError::Device)
    }

    fn make_directory(&mut self, place: Place<'_>, directory: Ino) -> Result<(), Self::Error> {
        self.about(Operation::Create, directory)?;
        self.device.make_directory(place, directory).map_err(FaultError::Device)
    }

    fn create(&mut self, place: Place<'_>, ino: Ino, attributes: &Attributes) -> Result<(), Self::Error> {
        self.about(Operation::Create, ino)?;
        self.device.create(place, ino, attributes).map_err(FaultError::Device)?;
        self.object = Some(ino);
        Ok(())
    }

    fn reopen(&mut self, place: Place<'_>, ino: Ino) -> Result<(), Self::Error> {
        self.about(Operation::Open, ino)?;
        self.device.reopen(place, ino).map_err(FaultError::Device)?;
        self.object = Some(ino);
        Ok(())
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Result<(), Self::Error> {
        self.plain(Operation::Write, self.of_object(offset), MENU)?;
        self.device.write(offset, data).map_err(FaultError::Device)
    }

    fn begin_property(&mut self, kind: PropertyKind, name: &[u8], value_len: u32) -> Result<(), Self::Error> {
        self.plain(Operation::Property, self.of_object(0), MENU)?;
        self.device.begin_property(kind, name, value_len).map_err(FaultError::Device)
    }

    fn write_property(&mut self, piece: &[u8]) -> Result<(), Self::Error> {
        // Pieces are no operations of their own: how a value is cut is the caller's business.
        if !self.has_power {
            return Err(FaultError::PowerLost);
        }
        self.device.write_property(piece).map_err(FaultError::Device)
    }

    fn finish(&mut self, attributes: &Attributes) -> Result<(), Self::Error> {
        let occurrence = self.begin(Operation::Close, self.of_object(0), MENU);
        self.object = None;
        if let Err(error) = self.check(&occurrence) {
            // Closed all the same, unless there is nobody left to do it.
            if !matches!(error, FaultError::PowerLost) {
                self.device.release();
            }
            return Err(error);
        }
        self.device.finish(attributes).map_err(FaultError::Device)
    }

    fn release(&mut self) {
        self.object = None;
        if self.has_power {
            self.device.release();
        }
    }

    fn link(&mut self, existing: Place<'_>, place: Place<'_>, ino: Ino) -> Result<(), Self::Error> {
        self.about(Operation::Create, ino)?;
        self.device.link(existing, place, ino).map_err(FaultError::Device)
    }

    fn poll_failure(&mut self) -> Option<Failure<Self::Error>> {
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
}
