//! A controller that keeps a nightly dump of its volume: what an integrator writes, in little. The guide in
//! `core/docs/integrating.md` goes through it. It is compiled for bare machines by `tests/cross/check.sh`; natively it
//! is a program that runs.
#![cfg_attr(target_os = "none", no_std, no_main)]

use tapedump_core::checksum::PortableCrc32c;
use tapedump_core::device::tape::{
    Space, Spaced, TapeCapabilities, TapeDevice, TapePosition, TapeRead, TapeWrite,
};
use tapedump_core::device::volume::SourceVolume;
use tapedump_core::device::{DeviceError, ErrorKind};
use tapedump_core::engine::dump::{Dump, DumpError, DumpEvent, DumpMemory, DumpOptions};
use tapedump_core::stream::writer::DumpIdentity;
use tapedump_core::units::{BlockingFactor, DumpId, Level, TAPE_BLOCK_LEN};

/// Tape records of 16 KiB.
const BLOCKING: BlockingFactor = match BlockingFactor::new(16) {
    Ok(factor) => factor,
    Err(_) => BlockingFactor::MIN,
};
/// Bytes of a map: a bit for each object number.
const MAP_LEN: usize = 8192 / 8;

/// What the drive's command set is spoken through. This is the integrator's own.
pub trait Transport {
    /// Sends a command with data, and gives how it ended.
    fn command(&mut self, code: u8, argument: i64, data: &[u8]) -> Status;
    /// Reads the next record into `buf`.
    fn receive(&mut self, buf: &mut [u8]) -> Status;
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Well; so many bytes were moved.
    Good(usize),
    /// At a filemark.
    Filemark,
    /// At the end of what is written.
    Blank,
    /// The next record is this long, and the buffer is shorter.
    TooLong(usize),
    /// Well, but the tape is nearly full.
    Warning,
    /// The tape is full; nothing was written.
    Full,
    /// At the beginning of the tape.
    Beginning,
    /// Not well.
    Failed,
}

/// The drive's error: there is only one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DriveFailed;

impl DeviceError for DriveFailed {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Medium
    }
}

/// A tape drive behind a transport.
pub struct Drive<X> {
    transport: X,
    at: TapePosition,
}

const WRITE: u8 = 0x0a;
const FILEMARK: u8 = 0x10;
const SPACE_RECORDS: u8 = 0x11;
const SPACE_FILEMARKS: u8 = 0x12;
const SPACE_END: u8 = 0x13;
const REWIND: u8 = 0x01;
const UNLOAD: u8 = 0x1b;

impl<X: Transport> Drive<X> {
    fn written(&mut self, status: Status) -> Result<TapeWrite, DriveFailed> {
        match status {
            Status::Good(_) => Ok(TapeWrite::Written),
            Status::Warning => Ok(TapeWrite::EarlyWarning),
            Status::Full => Ok(TapeWrite::EndOfMedium),
            _ => Err(DriveFailed),
        }
    }

    fn spaced(status: Status) -> Result<Spaced, DriveFailed> {
        match status {
            Status::Good(_) => Ok(Spaced::Done),
            Status::Filemark => Ok(Spaced::Filemark),
            Status::Blank => Ok(Spaced::EndOfData),
            Status::Beginning => Ok(Spaced::BeginningOfTape),
            _ => Err(DriveFailed),
        }
    }
}

impl<X: Transport> TapeDevice for Drive<X> {
    type Error = DriveFailed;

    fn capabilities(&self) -> TapeCapabilities {
        TapeCapabilities::new(BlockingFactor::MAX.record_len())
    }

    fn read(&mut self, buf: &mut [u8]) -> Result<TapeRead, DriveFailed> {
        match self.transport.receive(buf) {
            Status::Good(len) => {
                self.at.record += 1;
                Ok(TapeRead::Record(len))
            }
            Status::Filemark => {
                self.at = TapePosition { file: self.at.file + 1, record: 0 };
                Ok(TapeRead::Filemark)
            }
            Status::Blank => Ok(TapeRead::EndOfData),
            Status::TooLong(needed) => Ok(TapeRead::BufferTooSmall { needed }),
            _ => Err(DriveFailed),
        }
    }

    fn write(&mut self, record: &[u8]) -> Result<TapeWrite, DriveFailed> {
        let status = self.transport.command(WRITE, 0, record);
        let written = self.written(status)?;
        self.at.record += u64::from(written != TapeWrite::EndOfMedium);
        Ok(written)
    }

    fn write_filemark(&mut self) -> Result<TapeWrite, DriveFailed> {
        let status = self.transport.command(FILEMARK, 1, &[]);
        let written = self.written(status)?;
        self.at = TapePosition { file: self.at.file + 1, record: 0 };
        Ok(written)
    }

    fn flush(&mut self) -> Result<(), DriveFailed> {
        // No filemark at all: the drive answers when its buffer is on the medium.
        let status = self.transport.command(FILEMARK, 0, &[]);
        self.written(status).map(|_| ())
    }

    fn position(&mut self) -> Result<TapePosition, DriveFailed> {
        Ok(self.at)
    }

    fn locate(&mut self, to: TapePosition) -> Result<Spaced, DriveFailed> {
        self.rewind()?;
        match self.space(Space::Filemarks(i64::from(to.file)))? {
            Spaced::Done => self.space(Space::Records(i64::try_from(to.record).unwrap_or(i64::MAX))),
            early => Ok(early),
        }
    }

    fn space(&mut self, by: Space) -> Result<Spaced, DriveFailed> {
        let (code, argument) = match by {
            Space::Records(count) => (SPACE_RECORDS, count),
            Space::Filemarks(count) => (SPACE_FILEMARKS, count),
            Space::EndOfData => (SPACE_END, 0),
        };
        let spaced = Self::spaced(self.transport.command(code, argument, &[]))?;
        match (by, spaced) {
            (Space::Records(count), Spaced::Done) => {
                self.at.record = self.at.record.saturating_add_signed(count);
                Ok(spaced)
            }
            (Space::Filemarks(count @ 1..), Spaced::Done) => {
                let file = self.at.file.saturating_add(u32::try_from(count).unwrap_or(u32::MAX));
                self.at = TapePosition { file, record: 0 };
                Ok(spaced)
            }
            (Space::Filemarks(0), _) => Ok(spaced),
            // Where that is only the drive could tell, and this one cannot.
            _ => Err(DriveFailed),
        }
    }

    fn rewind(&mut self) -> Result<(), DriveFailed> {
        self.at = TapePosition::default();
        Self::spaced(self.transport.command(REWIND, 0, &[])).map(|_| ())
    }

    fn unload(&mut self) -> Result<(), DriveFailed> {
        Self::spaced(self.transport.command(UNLOAD, 0, &[])).map(|_| ())
    }
}

/// All memory of a dump; a `static`.
pub struct Memory {
    stream: [u8; TAPE_BLOCK_LEN + BLOCKING.record_len()],
    in_use: [u8; MAP_LEN],
    on_tape: [u8; MAP_LEN],
}

impl Memory {
    /// For the `static`.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            stream: [0; TAPE_BLOCK_LEN + BLOCKING.record_len()],
            in_use: [0; MAP_LEN],
            on_tape: [0; MAP_LEN],
        }
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

/// What the rest of the firmware hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All of the volume is on tape.
    Whole,
    /// So many objects are not, or not rightly.
    Incomplete(u64),
    /// There is no dump.
    None(ErrorKind),
}

/// Dumps `source` to `tape`; `idle` is called between any two steps, and ends the dump when it says no. A step takes as
/// long as one tape record does. `id` is never used twice: random bytes, or a serial number and a counter.
pub fn nightly<S: SourceVolume, T: TapeDevice>(
    source: &mut S,
    tape: &mut T,
    memory: &mut Memory,
    id: DumpId,
    date: u32,
    mut idle: impl FnMut() -> bool,
) -> Outcome {
    let Memory { stream, in_use, on_tape } = memory;
    let memory = DumpMemory { stream, in_use, on_tape, known: &mut [] };
    let identity = DumpIdentity { id, date, base_date: 0, level: Level::BASELINE };
    let options = DumpOptions { identity, blocking: BLOCKING, label: *b"nightly\0\0\0\0\0\0\0\0\0" };
    let mut dump = Dump::<_, _, PortableCrc32c>::new(source, tape, memory, options);
    // By reference: taken out of the result, it would be on the stack once more.
    let dump = match &mut dump {
        Ok(dump) => dump,
        Err(error) => return Outcome::None(kind(error)),
    };
    while idle() {
        match dump.step() {
            Ok(DumpEvent::Done(summary)) if summary.incomplete == 0 => return Outcome::Whole,
            Ok(DumpEvent::Done(summary)) => return Outcome::Incomplete(summary.incomplete),
            // Which objects these are is told by events in between: here would be the place to log them.
            Ok(_) => {}
            Err(error) => return Outcome::None(kind(&error)),
        }
    }
    Outcome::None(ErrorKind::Interrupted)
}

/// No two units have the same serial number, and no unit makes two dumps in the same second.
fn dump_id(serial: [u8; 12], seconds: u32) -> DumpId {
    let mut id = [0; 16];
    let bytes = serial.into_iter().chain(seconds.to_be_bytes());
    id.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
    DumpId(id)
}

fn kind<S: DeviceError, T: DeviceError>(error: &DumpError<S, T>) -> ErrorKind {
    match error {
        DumpError::Source(error) => error.kind(),
        DumpError::Tape { source, .. } => source.kind(),
        DumpError::EndOfMedium { .. } => ErrorKind::Full,
        _ => ErrorKind::Invalid,
    }
}

#[cfg(target_os = "none")]
mod machine {
    use super::{Drive, ErrorKind, Memory, Outcome, Status, Transport, dump_id, nightly};
    use tapedump_core::device::mem::{MemVolume, Node};

    /// No drive is attached.
    struct Nothing;

    impl Transport for Nothing {
        fn command(&mut self, _: u8, _: i64, _: &[u8]) -> Status {
            Status::Failed
        }
        fn receive(&mut self, _: &mut [u8]) -> Status {
            Status::Failed
        }
    }

    /// What start-up code calls, once, with a `static` (`cortex_m::singleton!` lends one), the unit's serial number, and what
    /// its clock says.
    #[used]
    static START: fn(&'static mut Memory, [u8; 12], u32) -> Outcome = start;

    fn start(memory: &'static mut Memory, serial: [u8; 12], seconds: u32) -> Outcome {
        let (mut nodes, mut arena) = ([Node::EMPTY; 4], [0; 1024]);
        let Ok(mut source) = MemVolume::new(&mut nodes, &mut arena) else {
            return Outcome::None(ErrorKind::Invalid);
        };
        let mut drive = Drive { transport: Nothing, at: Default::default() };
        nightly(&mut source, &mut drive, memory, dump_id(serial, seconds), seconds, || true)
    }

    #[panic_handler]
    fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
        loop {
            core::hint::spin_loop();
        }
    }
}

#[cfg(not(target_os = "none"))]
fn main() {
    use tapedump_core::device::mem::{MemTape, MemVolume, Node};
    use tapedump_core::device::volume::{Attributes, Kind};
    use tapedump_core::units::Ino;

    /// A drive whose cartridge is memory.
    struct Simulated<'m>(MemTape<'m>);

    impl Transport for Simulated<'_> {
        fn command(&mut self, code: u8, argument: i64, data: &[u8]) -> Status {
            let written = |result| match result {
                Ok(TapeWrite::Written) => Status::Good(data.len()),
                Ok(TapeWrite::EarlyWarning) => Status::Warning,
                Ok(TapeWrite::EndOfMedium) => Status::Full,
                Err(_) => Status::Failed,
            };
            match code {
                WRITE => written(self.0.write(data)),
                FILEMARK if argument == 1 => written(self.0.write_filemark()),
                REWIND if self.0.rewind().is_ok() => Status::Good(0),
                _ => Status::Failed,
            }
        }

        fn receive(&mut self, buf: &mut [u8]) -> Status {
            match self.0.read(buf) {
                Ok(TapeRead::Record(len)) => Status::Good(len),
                Ok(TapeRead::Filemark) => Status::Filemark,
                Ok(TapeRead::EndOfData) => Status::Blank,
                Ok(TapeRead::BufferTooSmall { needed }) => Status::TooLong(needed),
                Err(_) => Status::Failed,
            }
        }
    }

    let (mut nodes, mut arena) = ([Node::EMPTY; 8], [0; 8192]);
    let mut source = MemVolume::new(&mut nodes, &mut arena).expect("a volume");
    source.add_file(Ino::ROOT, b"file", &Attributes::new(Kind::File), &[1; 5000]).expect("a file");
    let mut cartridge = vec![0; 1 << 16];
    let mut drive = Drive { transport: Simulated(MemTape::blank(&mut cartridge)), at: Default::default() };
    let mut memory = Memory::new();
    let mut steps = 0;
    let (serial, seconds) = (*b"unit 0000001", 1_750_000_000);
    let outcome = nightly(&mut source, &mut drive, &mut memory, dump_id(serial, seconds), seconds, || {
        steps += 1;
        true
    });
    assert_eq!(outcome, Outcome::Whole);
    println!("dumped in {steps} steps, to {:?}", drive.position());
}
