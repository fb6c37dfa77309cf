//! Faults of a tape.

use super::{FaultError, FaultInjector, Operation, Subject, What, When};
use crate::device::ErrorKind;
use crate::device::tape::{Space, Spaced, TapeCapabilities, TapeDevice, TapePosition, TapeRead, TapeWrite};
use crate::units::TapeNo;

const READ_MENU: &[What] = &[
    What::Error(ErrorKind::Medium),
    What::FlipBit(0),
    What::Zero { from: 0, len: 0 },
    What::Short(0),
    What::Remove,
    What::Repeat,
];
const WRITE_MENU: &[What] = &[What::Error(ErrorKind::Medium), What::EndOfMedium];
const OTHER_MENU: &[What] = &[What::Error(ErrorKind::Medium)];

impl<D: TapeDevice> FaultInjector<'_, D> {
    /// What the next read or write is about. The device is asked only when some fault wants to know.
    fn record(&mut self) -> Result<Subject, FaultError<D::Error>> {
        if self.has_power && self.schedule.iter().any(|fault| matches!(fault.when, When::Record(_))) {
            self.device.position().map(Subject::Record).map_err(FaultError::Device)
        } else {
            Ok(Subject::Nothing)
        }
    }

    /// Goes past the next record, but not past a filemark. `buf` is scratch.
    fn skip_record(&mut self, buf: &mut [u8]) -> Result<Option<TapeRead>, FaultError<D::Error>> {
        match self.device.read(buf).map_err(FaultError::Device)? {
            TapeRead::Record(_) => Ok(None),
            TapeRead::BufferTooSmall { .. } => {
                self.device.space(Space::Records(1)).map_err(FaultError::Device)?;
                Ok(None)
            }
            TapeRead::Filemark => Ok(Some(TapeRead::Filemark)),
            TapeRead::EndOfData => Ok(Some(TapeRead::EndOfData)),
        }
    }

    /// Leaves the tape as a failed read does: past the record, or where it was before anything else.
    fn pass_failed_record(&mut self, buf: &mut [u8]) {
        // Where the device cannot go on or back it stays, as the contract allows.
        if let Ok(Some(TapeRead::Filemark)) = self.skip_record(buf) {
            let _ = self.device.space(Space::Filemarks(-1));
        }
        // Nobody should use what a failed read left behind; this makes it show.
        buf.fill(0xa5);
    }

    fn positioned(&mut self) -> Result<(), FaultError<D::Error>> {
        self.plain(Operation::Position, Subject::Nothing, &[])?;
        self.repeating = false;
        self.medium_ended = false;
        Ok(())
    }

    fn written(&self, result: TapeWrite) -> TapeWrite {
        if self.early_warning && result == TapeWrite::Written { TapeWrite::EarlyWarning } else { result }
    }
}

impl<D: TapeDevice> TapeDevice for FaultInjector<'_, D> {
    type Error = FaultError<D::Error>;

    fn capabilities(&self) -> TapeCapabilities {
        self.device.capabilities()
    }

    fn read(&mut self, buf: &mut [u8]) -> Result<TapeRead, Self::Error> {
        let subject = self.record()?;
        let mut occurrence = self.begin(Operation::Read, subject, READ_MENU);
        if let Err(error) = self.check(&occurrence) {
            if matches!(error, FaultError::Injected(_)) {
                self.pass_failed_record(buf);
            }
            return Err(error);
        }
        let is_second = core::mem::take(&mut self.repeating);
        while self.takes(&occurrence, |what| what == What::Remove) {
            if let Some(met) = self.skip_record(buf)? {
                return Ok(met);
            }
            // Only the place decides about the following record: it is the same operation still.
            occurrence.subject = self.record()?;
            if matches!(occurrence.subject, Subject::Nothing) {
                break;
            }
            occurrence.drawn = None;
            (occurrence.total, occurrence.nth) = (u64::MAX, u64::MAX);
        }
        let read = self.device.read(buf).map_err(FaultError::Device)?;
        let TapeRead::Record(len) = read else { return Ok(read) };
        let len = self.damage(&occurrence, buf, len).max(1);
        if !is_second && self.takes(&occurrence, |what| what == What::Repeat) {
            self.device.space(Space::Records(-1)).map_err(FaultError::Device)?;
            self.repeating = true;
        }
        Ok(TapeRead::Record(len))
    }

    fn write(&mut self, record: &[u8]) -> Result<TapeWrite, Self::Error> {
        let subject = self.record()?;
        let occurrence = self.plain(Operation::Write, subject, WRITE_MENU)?;
        if self.medium_ended || self.takes(&occurrence, |what| what == What::EndOfMedium) {
            self.medium_ended = true;
            return Ok(TapeWrite::EndOfMedium);
        }
        if self.takes(&occurrence, |what| what == What::EarlyWarning) {
            self.early_warning = true;
        }
        if self.takes(&occurrence, |what| what == What::Remove) {
            return Ok(self.written(TapeWrite::Written));
        }
        let result = self.device.write(record).map_err(FaultError::Device)?;
        if result != TapeWrite::EndOfMedium && self.takes(&occurrence, |what| what == What::Repeat) {
            // A tape that has no room for the second one is one that did not repeat.
            self.device.write(record).map_err(FaultError::Device)?;
        }
        Ok(self.written(result))
    }

    fn write_filemark(&mut self) -> Result<TapeWrite, Self::Error> {
        let occurrence = self.plain(Operation::Filemark, Subject::Nothing, OTHER_MENU)?;
        if self.takes(&occurrence, |what| what == What::EndOfMedium) {
            self.medium_ended = true;
            return Ok(TapeWrite::EndOfMedium);
        }
        let result = self.device.write_filemark().map_err(FaultError::Device)?;
        Ok(self.written(result))
    }

    fn flush(&mut self) -> Result<(), Self::Error> {
        self.plain(Operation::Flush, Subject::Nothing, OTHER_MENU)?;
        self.device.flush().map_err(FaultError::Device)
    }

    fn position(&mut self) -> Result<TapePosition, Self::Error> {
        self.plain(Operation::Position, Subject::Nothing, &[])?;
        self.device.position().map_err(FaultError::Device)
    }

    fn locate(&mut self, to: TapePosition) -> Result<Spaced, Self::Error> {
        self.positioned()?;
        self.device.locate(to).map_err(FaultError::Device)
    }

    fn space(&mut self, by: Space) -> Result<Spaced, Self::Error> {
        self.positioned()?;
        self.device.space(by).map_err(FaultError::Device)
    }

    fn rewind(&mut self) -> Result<(), Self::Error> {
        self.positioned()?;
        self.device.rewind().map_err(FaultError::Device)
    }

    fn unload(&mut self) -> Result<(), Self::Error> {
        self.positioned()?;
        self.device.unload().map_err(FaultError::Device)
    }

    fn has_next_tape(&self, tape: TapeNo) -> bool {
        self.device.has_next_tape(tape)
    }

    fn next_tape(&mut self, tape: TapeNo) -> Result<bool, Self::Error> {
        self.positioned()?;
        self.early_warning = false;
        self.device.next_tape(tape).map_err(FaultError::Device)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::string::String;
    use std::vec::Vec;

    use super::super::{Fault, Operation::*};
    use super::*;
    use crate::device::mem::MemTape;

    /// What is read from a tape of the files `aaaa bbbb cccc` and `dddd` up to its end, but at most 12 times:
    /// records, filemarks as `|`, and injected errors as `!`.
    fn read_with(faults: &[Fault]) -> String {
        let mut bytes = [0; 100];
        let mut tape = MemTape::blank(&mut bytes);
        tape.write_file(b"aaaabbbbcccc", 4).unwrap();
        tape.write_file(b"dddd", 4).unwrap();
        tape.rewind().unwrap();
        let mut tape = FaultInjector::scheduled(tape, faults);
        let mut found = Vec::new();
        let mut buf = [0; 8];
        for _ in 0..12 {
            found.push(match tape.read(&mut buf) {
                Ok(TapeRead::Record(len)) => String::from_utf8_lossy(&buf[..len]).into_owned(),
                Ok(TapeRead::Filemark) => "|".into(),
                Ok(TapeRead::EndOfData) => break,
                Ok(TapeRead::BufferTooSmall { needed }) => panic!("{needed}"),
                Err(FaultError::Injected(ErrorKind::Medium)) => "!".into(),
                Err(error) => panic!("{error:?}"),
            });
        }
        assert!(tape.injected() >= faults.len() as u64, "{faults:?}");
        found.join(" ")
    }

    #[test]
    fn damages_what_it_is_told_and_nothing_else() {
        let second = When::Record(TapePosition { file: 0, record: 1 });
        let cases = [
            (What::Error(ErrorKind::Medium), "aaaa ! cccc | dddd |"),
            (What::FlipBit(9), "aaaa b`bb cccc | dddd |"),
            (What::Zero { from: 1, len: 2 }, "aaaa b\0\0b cccc | dddd |"),
            (What::Zero { from: 3, len: u64::MAX }, "aaaa bbb\0 cccc | dddd |"),
            (What::Short(3), "aaaa bbb cccc | dddd |"),
            (What::Short(0), "aaaa b cccc | dddd |"),
            (What::Remove, "aaaa cccc | dddd |"),
            (What::Repeat, "aaaa bbbb bbbb cccc | dddd |"),
        ];
        for (what, expected) in cases {
            // Operations are counted without the positions that the injector itself asks for.
            for when in [second, When::Any(1), When::Nth(Read, 1)] {
                assert_eq!(read_with(&[Fault { when, what }]), expected, "{when:?} {what:?}");
            }
        }
    }

    #[test]
    fn faults_on_neighboring_records_and_marks_stay_apart() {
        let at = |record, what| Fault { when: When::Record(TapePosition { file: 0, record }), what };
        assert_eq!(read_with(&[at(1, What::Remove), at(2, What::Remove)]), "aaaa | dddd |");
        assert_eq!(read_with(&[at(1, What::Remove), at(2, What::FlipBit(0))]), "aaaa bccc | dddd |");
        assert_eq!(read_with(&[at(1, What::Repeat), at(2, What::Remove)]), "aaaa bbbb bbbb | dddd |");
        // A failed read at a filemark does not lose it.
        let found = read_with(&[Fault { when: When::Nth(Read, 3), what: What::Error(ErrorKind::Medium) }]);
        assert_eq!(found, "aaaa bbbb cccc ! | dddd |");
    }

    #[test]
    fn writes_fail_repeat_vanish_and_meet_an_early_end() {
        let at = |n, what| Fault { when: When::Nth(Write, n), what };
        let faults = [
            at(1, What::Error(ErrorKind::Medium)),
            at(2, What::Remove),
            at(3, What::Repeat),
            at(4, What::EarlyWarning),
            at(6, What::EndOfMedium),
        ];
        let mut bytes = [0; 200];
        let mut tape = FaultInjector::scheduled(MemTape::blank(&mut bytes), &faults);
        let results: Vec<_> = (b'0'..b'8').map(|digit| tape.write(&[digit])).collect();
        let expected = [
            Ok(TapeWrite::Written),
            Err(FaultError::Injected(ErrorKind::Medium)),
            Ok(TapeWrite::Written),
            Ok(TapeWrite::Written),
            Ok(TapeWrite::EarlyWarning),
            Ok(TapeWrite::EarlyWarning),
            Ok(TapeWrite::EndOfMedium),
            Ok(TapeWrite::EndOfMedium),
        ];
        assert_eq!(results, expected);
        assert_eq!(tape.write_filemark(), Ok(TapeWrite::EarlyWarning));
        assert_eq!((tape.injected(), tape.operations(), tape.operations_of(Filemark)), (5, 9, 1));
        tape.rewind().unwrap();
        let tape = tape.into_device();
        assert_eq!(tape.records(0).collect::<Vec<_>>(), [b"0", b"3", b"3", b"4", b"5"]);
    }

    /// A drive that is given another tape as often as it is asked.
    struct Changer<'t> {
        tape: MemTape<'t>,
        asked: Vec<TapeNo>,
    }

    impl TapeDevice for Changer<'_> {
        type Error = ErrorKind;

        fn capabilities(&self) -> TapeCapabilities {
            self.tape.capabilities()
        }
        fn read(&mut self, buf: &mut [u8]) -> Result<TapeRead, ErrorKind> {
            self.tape.read(buf)
        }
        fn write(&mut self, record: &[u8]) -> Result<TapeWrite, ErrorKind> {
            self.tape.write(record)
        }
        fn write_filemark(&mut self) -> Result<TapeWrite, ErrorKind> {
            self.tape.write_filemark()
        }
        fn flush(&mut self) -> Result<(), ErrorKind> {
            self.tape.flush()
        }
        fn position(&mut self) -> Result<TapePosition, ErrorKind> {
            self.tape.position()
        }
        fn locate(&mut self, to: TapePosition) -> Result<Spaced, ErrorKind> {
            self.tape.locate(to)
        }
        fn space(&mut self, by: Space) -> Result<Spaced, ErrorKind> {
            self.tape.space(by)
        }
        fn rewind(&mut self) -> Result<(), ErrorKind> {
            self.tape.rewind()
        }
        fn unload(&mut self) -> Result<(), ErrorKind> {
            self.tape.unload()
        }
        fn next_tape(&mut self, tape: TapeNo) -> Result<bool, ErrorKind> {
            self.asked.push(tape);
            self.tape.rewind()?;
            Ok(tape < TapeNo(4))
        }
    }

    #[test]
    fn another_tape_is_neither_full_nor_nearly_so() {
        let at = |n, what| Fault { when: When::Nth(Write, n), what };
        let faults = [at(0, What::EarlyWarning), at(1, What::EndOfMedium)];
        let mut bytes = [0; 200];
        let changer = Changer { tape: MemTape::blank(&mut bytes), asked: Vec::new() };
        let mut tape = FaultInjector::scheduled(changer, &faults);
        assert_eq!(tape.write(b"1"), Ok(TapeWrite::EarlyWarning));
        assert_eq!(tape.write(b"2"), Ok(TapeWrite::EndOfMedium));
        assert_eq!(tape.next_tape(TapeNo(2)), Ok(true));
        assert_eq!(tape.write(b"2"), Ok(TapeWrite::Written));
        assert_eq!(tape.next_tape(TapeNo(4)), Ok(false));
        assert_eq!(tape.device().asked, [TapeNo(2), TapeNo(4)]);
    }

    #[test]
    fn without_power_nothing_works() {
        let faults = [Fault { when: When::Nth(Filemark, 0), what: What::PowerCut }];
        let mut bytes = [0; 200];
        let mut tape = FaultInjector::scheduled(MemTape::blank(&mut bytes), &faults);
        tape.write(b"1").unwrap();
        assert_eq!(tape.write_filemark(), Err(FaultError::PowerLost));
        assert_eq!(tape.write(b"2"), Err(FaultError::PowerLost));
        assert_eq!(tape.rewind(), Err(FaultError::PowerLost));
        assert_eq!(tape.next_tape(TapeNo(2)), Err(FaultError::PowerLost));
        assert_eq!(tape.read(&mut [0; 9]), Err(FaultError::PowerLost));
        assert_eq!(tape.device().items().count(), 1);
    }

    #[test]
    fn a_seed_gives_the_same_faults_each_time() {
        let run = |seed| {
            let mut bytes = [0; 8192];
            let mut tape = MemTape::blank(&mut bytes);
            tape.write_file(&[0xff; 4000], 20).unwrap();
            tape.rewind().unwrap();
            let mut tape = FaultInjector::seeded(tape, seed, 10);
            let mut log: Vec<(Result<TapeRead, _>, [u8; 32])> = Vec::new();
            loop {
                let mut buf = [0; 32];
                let read = tape.read(&mut buf);
                log.push((read, buf));
                if read == Ok(TapeRead::EndOfData) {
                    return (log, tape.injected());
                }
            }
        };
        let first = run(1);
        assert_eq!(first, run(1));
        assert_ne!(first.0, run(2).0);
        assert!((5..60).contains(&first.1), "{}", first.1);
    }
}
