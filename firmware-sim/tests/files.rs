//! Tape and block device in a file, held to their contracts.

use std::cell::RefCell;
use std::rc::Rc;

use tapedump::tape::qualify::one_tape_file_checks;
use tapedump_core::device::ErrorKind;
use tapedump_core::device::block::BlockDevice;
use tapedump_core::device::tape::{Space, Spaced, TapeDevice, TapePosition, TapeRead};
use tapedump_firmware_sim::files::{BoardFile, FileBlock, FileTape};

/// A file whose bytes can be looked at from outside.
#[derive(Clone, Default)]
struct Bytes(Rc<RefCell<Vec<u8>>>);

impl BoardFile for Bytes {
    fn length(&mut self) -> Result<u64, ErrorKind> {
        Ok(self.0.borrow().len() as u64)
    }

    fn read_at(&mut self, at: u64, buf: &mut [u8]) -> Result<usize, ErrorKind> {
        let bytes = self.0.borrow();
        let from = bytes.get(at as usize..).unwrap_or_default();
        let len = from.len().min(buf.len());
        buf[..len].copy_from_slice(&from[..len]);
        Ok(len)
    }

    fn write_at(&mut self, at: u64, data: &[u8]) -> Result<(), ErrorKind> {
        let mut bytes = self.0.borrow_mut();
        let (at, end) = (at as usize, at as usize + data.len());
        let len = bytes.len().max(end);
        bytes.resize(len, 0);
        bytes[at..end].copy_from_slice(data);
        Ok(())
    }

    fn clear(&mut self) -> Result<(), ErrorKind> {
        self.0.borrow_mut().clear();
        Ok(())
    }

    fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}

#[test]
fn a_tape_keeps_the_contract() {
    for check in one_tape_file_checks() {
        let tape = || FileTape::new(Bytes::default(), 512).map_err(|error| error.to_string());
        check.run(&tape).unwrap_or_else(|what| panic!("{}: {}: {what}", check.area.name(), check.name));
    }
}

#[test]
fn a_tape_goes_where_it_is_sent() {
    let at = |file, record| TapePosition { file, record };
    let file = Bytes(Rc::new(RefCell::new(vec![7; 2500])));
    let mut tape = FileTape::new(file, 1000).unwrap();
    for (from, by, to, how) in [
        (at(0, 0), Space::Records(2), at(0, 2), Spaced::Done),
        (at(0, 1), Space::Records(2), at(0, 3), Spaced::Done),
        (at(0, 1), Space::Records(3), at(1, 0), Spaced::Filemark),
        (at(0, 2), Space::Records(-2), at(0, 0), Spaced::Done),
        (at(0, 2), Space::Records(-3), at(0, 0), Spaced::BeginningOfTape),
        (at(1, 0), Space::Records(-1), at(0, 3), Spaced::Filemark),
        (at(1, 0), Space::Records(1), at(1, 0), Spaced::EndOfData),
        (at(1, 0), Space::Records(0), at(1, 0), Spaced::Done),
        (at(0, 1), Space::Filemarks(1), at(1, 0), Spaced::Done),
        (at(0, 1), Space::Filemarks(2), at(1, 0), Spaced::EndOfData),
        (at(1, 0), Space::Filemarks(-1), at(0, 3), Spaced::Done),
        (at(1, 0), Space::Filemarks(-2), at(0, 0), Spaced::BeginningOfTape),
        (at(0, 1), Space::EndOfData, at(1, 0), Spaced::Done),
    ] {
        assert_eq!(tape.locate(from), Ok(Spaced::Done));
        assert_eq!((tape.space(by), tape.position()), (Ok(how), Ok(to)), "from {from:?} by {by:?}");
    }
    assert_eq!(tape.locate(at(0, 4)), Ok(Spaced::Filemark));
    assert_eq!(tape.locate(at(1, 1)), Ok(Spaced::EndOfData));
    assert_eq!(tape.locate(at(0, 2)), Ok(Spaced::Done));
    assert_eq!(tape.read(&mut [0; 1000]), Ok(TapeRead::Record(500)));
}

#[test]
fn a_tape_that_is_written_again_holds_nothing_of_before() {
    let file = Bytes::default();
    let mut tape = FileTape::new(file.clone(), 512).unwrap();
    for record in [[1; 512], [2; 512], [3; 512]] {
        tape.write(&record).unwrap();
    }
    tape.write_filemark().unwrap();
    tape.locate(TapePosition { file: 0, record: 1 }).unwrap();
    tape.write(&[4; 512]).unwrap();
    assert_eq!(tape.read(&mut [0; 512]), Ok(TapeRead::EndOfData));
    assert_eq!(tape.write_filemark(), Err(ErrorKind::Unsupported), "nothing is cut off in the middle");
    tape.write(&[6; 512]).unwrap();
    tape.write_filemark().unwrap();
    assert_eq!(*file.0.borrow(), [[1; 512], [4; 512], [6; 512]].concat());
    tape.rewind().unwrap();
    tape.write(&[5; 100]).unwrap();
    assert_eq!(*file.0.borrow(), [5; 100]);
    assert_eq!(tape.read(&mut [0; 512]), Ok(TapeRead::EndOfData));
}

#[test]
fn a_block_device_reads_what_was_written_and_refuses_what_is_outside() {
    let mut device = FileBlock::new(Bytes::default(), 2100);
    assert_eq!((device.block_len(), device.capacity()), (512, 2048));
    device.write(1024, &[9; 512]).unwrap();
    let mut found = [1; 2048];
    device.read(0, &mut found).unwrap();
    assert_eq!(found[1024..1536], [9; 512]);
    assert_eq!(found[1536..], [0; 512], "never written");
    for (at, len) in [(2048, 512), (1536, 1024), (1, 512), (0, 100), (u64::MAX - 511, 512)] {
        assert_eq!(device.read(at, &mut found[..len]), Err(ErrorKind::Invalid), "{len} bytes at {at}");
        assert_eq!(device.write(at, &found[..len]), Err(ErrorKind::Invalid), "{len} bytes at {at}");
    }
}
