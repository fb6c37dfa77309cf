//! Faults, injected between the engine and a device: [`FaultInjector`] wraps any of the device contracts and is
//! one of the same kind.
//!
//! Faults come from a schedule lent by the caller, or from a seed. With neither, the injector counts: a first run
//! tells how many operations there are, and each further run fails another one.
//!
//! A fault that does not fit the operation it falls on does nothing; [`FaultInjector::injected`] tells how many
//! took effect. A fault bound to a place ([`When::Record`], [`When::Address`], [`When::Object`]) takes effect
//! each time, as a defect of a medium does.

mod block;
mod random;
mod source;
mod tape;
mod target;

pub use random::SplitMix64;

use self::block::Journal;
use self::target::Swallowing;
use crate::device::tape::TapePosition;
use crate::device::volume::Failure;
use crate::device::{DeviceError, ErrorKind};
use crate::units::Ino;

/// The operations of the device contracts, as far as faults tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Operation {
    /// Reading a tape record, blocks, or data of an object.
    Read,
    /// Writing a tape record, blocks, or data of an object.
    Write,
    /// Writing a filemark.
    Filemark,
    /// Asking for or changing the position on a tape, unloading it, and going over to another one.
    Position,
    /// Making writes durable.
    Flush,
    /// Asking for something of the volume as a whole: names, numbers, the next object, free room.
    Walk,
    /// Opening an object of a volume, or making a directory of a target known again.
    Open,
    /// Making an object, a directory or a further name.
    Create,
    /// Reading names of a directory, or where it is.
    Entries,
    /// Asking where a file has data.
    NextData,
    /// Reading or setting a property.
    Property,
    /// Closing an object of a source, finishing one of a target.
    Close,
}

const OPERATIONS: usize = Operation::Close as usize + 1;

/// When a fault takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum When {
    /// At the operation of this number, counted from 0 over operations of all kinds.
    Any(u64),
    /// At this one of the operations of a kind, counted from 0.
    Nth(Operation, u64),
    /// Reading or writing the tape record at this place of the medium.
    Record(TapePosition),
    /// Reading or writing blocks that include the byte at this address.
    Address(u64),
    /// At each operation of a kind that concerns this object.
    Object(Ino, Operation),
}

/// What a fault does.
///
/// Places in data are counted from the beginning of what is at the place a fault is bound to: of the record, of the
/// byte addressed, of the object's data. Otherwise they are counted from the beginning of the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum What {
    /// The operation fails with this error, and nothing of it is done. A failed read of a tape record goes past it.
    Error(ErrorKind),
    /// The power fails: everything from here on fails. On a block device, writes since the last flush are lost
    /// in a selection drawn from the seed; that includes the write during which the power fails.
    PowerCut,
    /// One bit of what is read is the other one; bit 0 is the lowest of the first byte.
    FlipBit(u64),
    /// A range of bytes of what is read is zero.
    Zero {
        /// First byte.
        from: u64,
        /// Number of bytes.
        len: u64,
    },
    /// What is read ends after this many bytes; of a tape record at least one is left.
    Short(u64),
    /// The tape record is passed over, or not written although the drive says so.
    Remove,
    /// The tape record comes twice, or is written twice.
    Repeat,
    /// The tape warns that it is nearly full, from this write on, and until another one is in its place.
    EarlyWarning,
    /// The tape is full, from this write on and until it is positioned or another one is in its place.
    EndOfMedium,
    /// The object of a source changed while it was open: closing it says so.
    Change,
    /// The target works behind: making, writing or finishing an object, linking it or setting a property seems to
    /// succeed, is not done, and fails with this error when asked for failures. One at a time.
    Late(ErrorKind),
}

/// One entry of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Fault {
    /// When it takes effect.
    pub when: When,
    /// What it does.
    pub what: What,
}

/// The error of a device with a [`FaultInjector`] before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum FaultError<E> {
    /// A fault.
    Injected(ErrorKind),
    /// The power has failed.
    PowerLost,
    /// The device's own.
    Device(E),
}

impl<E: DeviceError> DeviceError for FaultError<E> {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Injected(kind) => *kind,
            // Whoever meets this has no power either; only a test goes on, and it should come to an end.
            Self::PowerLost => ErrorKind::Interrupted,
            Self::Device(error) => error.kind(),
        }
    }
}

/// A device that fails as it is told to; see the [module](self).
pub struct FaultInjector<'f, D> {
    device: D,
    schedule: &'f [Fault],
    random: SplitMix64,
    /// One of so many operations fails at random; 0: none does.
    one_in: u32,
    counts: [u64; OPERATIONS],
    total: u64,
    injected: u64,
    has_power: bool,
    /// Tape: the record before the position was given once and is to be given again.
    repeating: bool,
    early_warning: bool,
    medium_ended: bool,
    /// Block device: what was there before the writes since the last flush.
    journal: Journal<'f>,
    /// Volume: the open object.
    object: Option<Ino>,
    /// Target: what of the open object is not passed on, and the failure not told yet.
    swallowing: Swallowing,
    late: Option<Failure<ErrorKind>>,
}

/// What an operation is about, for the faults that are bound to it.
#[derive(Clone, Copy)]
enum Subject {
    Nothing,
    Record(TapePosition),
    Range {
        at: u64,
        len: u64,
    },
    /// `offset` is where the data that is asked for begins in the object's.
    Object {
        ino: Ino,
        offset: u64,
    },
}

/// One operation as the schedule sees it.
#[derive(Clone, Copy)]
struct Occurrence {
    operation: Operation,
    total: u64,
    nth: u64,
    subject: Subject,
    /// The fault drawn for it when faults come from a seed.
    drawn: Option<What>,
}

impl<'f, D> FaultInjector<'f, D> {
    /// A wrapper without faults, which counts.
    pub fn counting(device: D) -> Self {
        Self::scheduled(device, &[])
    }

    /// A wrapper with the faults of a schedule.
    pub fn scheduled(device: D, schedule: &'f [Fault]) -> Self {
        Self {
            device,
            schedule,
            random: SplitMix64::new(0),
            one_in: 0,
            counts: [0; OPERATIONS],
            total: 0,
            injected: 0,
            has_power: true,
            repeating: false,
            early_warning: false,
            medium_ended: false,
            journal: Journal::new(&mut []),
            object: None,
            swallowing: Swallowing::Nothing,
            late: None,
        }
    }

    /// A wrapper that lets one of about `one_in` operations fail, in a way that fits it. The same seed gives the same
    /// faults. Power does not fail by itself.
    pub fn seeded(device: D, seed: u64, one_in: u32) -> Self {
        Self { one_in, ..Self::scheduled(device, &[]).with_seed(seed) }
    }

    /// Sets the seed of what is drawn: which writes a power cut loses.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.random = SplitMix64::new(seed);
        self
    }

    /// Lends memory for what a power cut may lose: of each block written since the last flush its old content and
    /// [`JOURNAL_OVERHEAD`] bytes. When it is full, the oldest writes are safe; with none, all are.
    #[must_use]
    pub fn with_journal(mut self, memory: &'f mut [u8]) -> Self {
        self.journal = Journal::new(memory);
        self
    }

    /// Operations so far.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.total
    }

    /// Operations of one kind so far.
    #[must_use]
    pub fn operations_of(&self, operation: Operation) -> u64 {
        self.counts.get(operation as usize).copied().unwrap_or(0)
    }

    /// Faults that took effect so far.
    #[must_use]
    pub fn injected(&self) -> u64 {
        self.injected
    }

    /// The device.
    pub fn device(&self) -> &D {
        &self.device
    }

    /// The device, past all faults.
    pub fn device_mut(&mut self) -> &mut D {
        &mut self.device
    }

    /// Gives the device back: after a power cut, as the next start finds it.
    pub fn into_device(self) -> D {
        self.device
    }

    /// Counts an operation and draws its random fault from `menu`.
    fn begin(&mut self, operation: Operation, subject: Subject, menu: &[What]) -> Occurrence {
        let nth = match self.counts.get_mut(operation as usize) {
            Some(count) => core::mem::replace(count, count.saturating_add(1)),
            None => 0,
        };
        let total = self.total;
        self.total += 1;
        let drawn = match self.one_in {
            0 => None,
            one_in => (self.random.below(one_in.into()) == 0).then(|| self.random.pick(menu)).flatten(),
        };
        Occurrence { operation, total, nth, subject, drawn }
    }

    /// Fails the operation, if it is to fail.
    fn check<E>(&mut self, occurrence: &Occurrence) -> Result<(), FaultError<E>> {
        if !self.has_power {
            return Err(FaultError::PowerLost);
        }
        if self.takes(occurrence, |what| what == What::PowerCut) {
            self.has_power = false;
            return Err(FaultError::PowerLost);
        }
        let mut error = None;
        let fails = self.takes(occurrence, |what| {
            if let What::Error(kind) = what {
                error = Some(kind);
            }
            error.is_some()
        });
        match error {
            Some(kind) if fails => Err(FaultError::Injected(kind)),
            _ => Ok(()),
        }
    }

    /// Begins and checks an operation that nothing else can happen to.
    fn plain<E>(
        &mut self,
        operation: Operation,
        subject: Subject,
        menu: &[What],
    ) -> Result<Occurrence, FaultError<E>> {
        let occurrence = self.begin(operation, subject, menu);
        self.check(&occurrence)?;
        Ok(occurrence)
    }

    /// Whether a fault of this occurrence is wanted; counts it as injected.
    fn takes(&mut self, occurrence: &Occurrence, mut wanted: impl FnMut(What) -> bool) -> bool {
        let found = occurrence.faults(self.schedule).any(|(what, _)| wanted(what));
        self.injected += u64::from(found);
        found
    }

    /// Damages the first `len` bytes of `buf`, which were read, and gives the length that is left.
    fn damage(&mut self, occurrence: &Occurrence, buf: &mut [u8], len: usize) -> usize {
        let mut left = len;
        for (what, origin) in occurrence.faults(self.schedule) {
            let data = buf.get_mut(..left).unwrap_or_default();
            let done = match what {
                What::FlipBit(bit) => flip(data, bit, origin),
                What::Zero { from, len } => zero(data, from, len, origin),
                What::Short(keep) => {
                    let keep = origin.in_buffer(keep, left as u64).map_or(0, |keep| keep as usize);
                    let shorter = keep < left;
                    left = left.min(keep);
                    shorter
                }
                _ => false,
            };
            self.injected += u64::from(done);
        }
        left
    }

    fn of_object(&self, offset: u64) -> Subject {
        self.object.map_or(Subject::Nothing, |ino| Subject::Object { ino, offset })
    }
}

/// Bytes of journal for each block besides its content.
pub const JOURNAL_OVERHEAD: usize = block::SLOT_HEAD_LEN;

/// Where the zero of a fault's count is, relative to the buffer.
#[derive(Clone, Copy)]
enum Origin {
    /// The buffer begins this many bytes after it.
    Before(u64),
    /// It is this many bytes into the buffer.
    Within(u64),
    /// Anything: the place is taken modulo the length.
    Drawn,
}

impl Origin {
    /// Where the place `at` is in a buffer, if it is not before it.
    fn in_buffer(self, at: u64, len: u64) -> Option<u64> {
        match self {
            Self::Before(offset) => at.checked_sub(offset),
            Self::Within(offset) => at.checked_add(offset),
            Self::Drawn => at.checked_rem(len),
        }
    }
}

fn flip(data: &mut [u8], bit: u64, origin: Origin) -> bool {
    let place = origin.in_buffer(bit / 8, data.len() as u64);
    let byte = place.and_then(|at| data.get_mut(usize::try_from(at).ok()?));
    let Some(byte) = byte else { return false };
    *byte ^= 1 << (bit % 8);
    true
}

fn zero(data: &mut [u8], from: u64, len: u64, origin: Origin) -> bool {
    let (begin, end) = match origin {
        Origin::Before(offset) => {
            (from.saturating_sub(offset), from.saturating_add(len).saturating_sub(offset))
        }
        Origin::Within(_) | Origin::Drawn => {
            let begin = origin.in_buffer(from, data.len() as u64).unwrap_or(u64::MAX);
            (begin, begin.saturating_add(len))
        }
    };
    let end = end.min(data.len() as u64);
    let Some(range) = data.get_mut(begin.min(end) as usize..end as usize) else { return false };
    range.fill(0);
    !range.is_empty()
}

impl Occurrence {
    /// The faults that fall on this operation, each with the origin of its places.
    fn faults<'s>(&self, schedule: &'s [Fault]) -> impl Iterator<Item = (What, Origin)> + use<'s> {
        let occurrence = *self;
        let scheduled = schedule
            .iter()
            .filter_map(move |fault| occurrence.origin(fault.when).map(|origin| (fault.what, origin)));
        scheduled.chain(self.drawn.map(|what| (what, Origin::Drawn)))
    }

    fn origin(&self, when: When) -> Option<Origin> {
        let begin = Origin::Before(0);
        match (when, self.subject) {
            (When::Any(n), _) => (n == self.total).then_some(begin),
            (When::Nth(operation, n), _) => (operation == self.operation && n == self.nth).then_some(begin),
            (When::Record(place), Subject::Record(position)) => (place == position).then_some(begin),
            (When::Address(wanted), Subject::Range { at, len }) => {
                wanted.checked_sub(at).filter(|&within| within < len).map(Origin::Within)
            }
            (When::Object(wanted, operation), Subject::Object { ino, offset }) => {
                (wanted == ino && operation == self.operation).then_some(Origin::Before(offset))
            }
            _ => None,
        }
    }
}
