//! The machine that a system runs on: what outlives its power, and the devices of one run, which count their operations
//! together. At any one of them the power fails for all of them, or the program is killed.
//!
//! The faults themselves are those of [`FaultInjector`]. What it cannot know is what other devices do at the same time, and
//! how much of the records that were not flushed a tape loses: that is here.

use std::cell::Cell;

use tapedump_core::device::ErrorKind;
use tapedump_core::device::block::BlockDevice;
use tapedump_core::device::fault::{
    Fault, FaultError, FaultInjector, JOURNAL_OVERHEAD, SplitMix64, What, When,
};
use tapedump_core::device::mem::{ITEM_OVERHEAD, MemBlock, MemTape, TapeItem};
use tapedump_core::device::snapshot::{SnapshotName, Snapshots};
use tapedump_core::device::tape::{
    Space, Spaced, TapeCapabilities, TapeDevice, TapePosition, TapeRead, TapeWrite,
};
use tapedump_core::units::DumpId;

pub const TAPES: usize = 12;
pub const BLOCK_LEN: usize = 512;

/// The block devices: the history, the contexts, and the catalogs and maps of dumps.
pub const DISKS: usize = 3;
pub const HISTORY_LEN: usize = 48 << 10;
pub const CONTEXTS_LEN: usize = 64 << 10;
pub const CATALOGS_LEN: usize = TAPES * (48 << 10);
const DISK_LENS: [usize; DISKS] = [HISTORY_LEN, CONTEXTS_LEN, CATALOGS_LEN];

/// An address that no device has: to read it is the moment when its power fails.
const NOWHERE: u64 = 1 << 60;
/// How far from its end a tape warns, where it does.
const EARLY_WARNING: usize = 6 << 10;
/// Stands behind the last item of a [`MemTape`].
const END_OF_DATA: [u8; 4] = [0; 4];
const FILEMARK_LEN: usize = 4;

pub type Error = FaultError<ErrorKind>;

/// How a run ends before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Writes since the last flush are lost, or not.
    PowerCut,
    /// Only what was in memory is lost.
    Kill,
}

/// What goes wrong in one run, besides.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// At which operation of all devices.
    pub end: Option<(u64, End)>,
    /// Of each tape.
    pub tapes: [Vec<Fault>; TAPES],
    /// Of each block device.
    pub disks: [Vec<Fault>; DISKS],
    /// From so many operations of it on, this tape fails.
    pub stuck: Option<(usize, u64)>,
    /// So many writes of this tape leave half of a record, and fail.
    pub torn: Option<(usize, u64)>,
}

/// Counts the operations of all devices of a run.
pub struct Power {
    operations: Cell<u64>,
    end: Option<(u64, End)>,
    is_on: Cell<bool>,
}

/// What becomes of an operation.
#[derive(PartialEq, Eq)]
enum Turn {
    Done,
    /// The power fails in the midst of it.
    Last,
    Never,
}

impl Power {
    fn turn(&self) -> Turn {
        if !self.is_on.get() {
            return Turn::Never;
        }
        let number = self.operations.get();
        self.operations.set(number + 1);
        if self.end.is_some_and(|(at, _)| at == number) {
            self.is_on.set(false);
            return Turn::Last;
        }
        Turn::Done
    }

    fn check(&self) -> Result<(), Error> {
        if self.turn() == Turn::Done { Ok(()) } else { Err(FaultError::PowerLost) }
    }

    pub const fn is_on(&self) -> bool {
        self.is_on.get()
    }

    pub const fn operations(&self) -> u64 {
        self.operations.get()
    }
}

/// A snapshot of the volume: after how many changes it was made.
#[derive(Clone, Debug)]
pub struct Snapshot {
    name: SnapshotName,
    holder: Option<DumpId>,
    changes: u32,
}

/// All that outlives the power.
#[derive(Clone)]
pub struct Media {
    tapes: Vec<Vec<u8>>,
    disks: [Vec<u8>; DISKS],
    snapshots: Vec<Snapshot>,
}

impl Media {
    /// Blank tapes of these lengths, and empty disks.
    pub fn new(tapes: [usize; TAPES]) -> Self {
        let disks = DISK_LENS.map(|len| vec![0; len]);
        Self { tapes: tapes.map(|len| vec![0; len]).to_vec(), disks, snapshots: Vec::new() }
    }

    /// Runs something on the machine, whose volume has changed so often. `seed` decides what a power cut takes with it.
    pub fn run<R>(
        &mut self,
        plan: &Plan,
        seed: u64,
        changes: u32,
        act: impl FnOnce(&mut Machine<'_>) -> R,
    ) -> (R, Told) {
        let power = Power { operations: Cell::new(0), end: plan.end, is_on: Cell::new(true) };
        let mut schedules = plan.disks.clone();
        for schedule in &mut schedules {
            schedule.push(Fault { when: When::Address(NOWHERE), what: What::PowerCut });
        }
        let mut journals = DISK_LENS.map(|len| vec![0; len / BLOCK_LEN * (BLOCK_LEN + JOURNAL_OVERHEAD)]);
        let mut disks = Vec::new();
        for (index, (bytes, journal)) in self.disks.iter_mut().zip(&mut journals).enumerate() {
            let device = MemBlock::new(bytes, BLOCK_LEN).expect("a good length of blocks");
            let device = FaultInjector::scheduled(device, &schedules[index]);
            let device = device.with_seed(seed ^ index as u64).with_journal(journal);
            disks.push(Disk { device, power: &power });
        }
        let mut tapes = Vec::new();
        for (index, bytes) in self.tapes.iter_mut().enumerate() {
            let tape = MemTape::open(bytes).expect("what a tape left");
            // Half of the tapes end without a warning.
            let tape = tape.with_early_warning(if index % 2 == 0 { EARLY_WARNING } else { 0 });
            let durable = tape.used();
            let device = FaultInjector::scheduled(tape, &plan.tapes[index]);
            let of_this =
                |fault: Option<(usize, u64)>| fault.filter(|(tape, _)| *tape == index).map(|(_, at)| at);
            let (stuck, torn) = (of_this(plan.stuck), of_this(plan.torn));
            tapes.push(Drive { device, power: &power, durable, stuck, torn, writes: 0 });
        }
        let disks = disks.try_into().ok().expect("as many as there are");
        let snapshots = Volume { snapshots: &mut self.snapshots, power: &power, changes };
        let mut machine = Machine { tapes, disks, snapshots, power: &power, begun: Vec::new() };
        let result = act(&mut machine);
        let was_cut = !power.is_on() && plan.end.is_some_and(|(_, end)| end == End::PowerCut);
        let mut random = SplitMix64::new(!seed);
        let mut injected = 0;
        for disk in &mut machine.disks {
            injected += disk.device.injected();
            if was_cut {
                let lost = disk.device.read(NOWHERE, &mut [0]);
                assert_eq!(lost, Err(FaultError::PowerLost));
            }
        }
        let ends: Vec<usize> = machine.tapes.iter().map(|tape| tape.end(was_cut, &mut random)).collect();
        injected += machine.tapes.iter().map(|tape| tape.device.injected()).sum::<u64>();
        drop(machine);
        for (bytes, end) in self.tapes.iter_mut().zip(ends) {
            if let Some(place) = bytes.get_mut(end..).and_then(<[u8]>::first_chunk_mut) {
                *place = END_OF_DATA;
            }
        }
        (result, Told { operations: power.operations(), ended: !power.is_on(), injected })
    }

    /// Damages one record of a tape, if there is one: a bit of it is the other one, or a stretch is zero. Gives whether it is
    /// another one now.
    pub fn rot(&mut self, tape: usize, random: &mut SplitMix64) -> bool {
        let mut medium = MemTape::open(&mut self.tapes[tape]).expect("what a tape left");
        let count = medium.records(0).count() as u64;
        let place = TapePosition { file: 0, record: random.below(count) };
        let Some(record) = medium.record_mut(place) else { return false };
        let before = record.to_vec();
        let at = random.below(record.len() as u64) as usize;
        if random.below(2) == 0 {
            record[at] ^= 1 << random.below(8);
        } else {
            let len = (1 + random.below(2048) as usize).min(record.len() - at);
            record[at..at + len].fill(0);
        }
        before != record
    }
}

/// What a run was.
#[derive(Clone, Copy, Debug)]
pub struct Told {
    pub operations: u64,
    /// The power failed, or the program was killed.
    pub ended: bool,
    /// Other faults that took effect.
    pub injected: u64,
}

/// The devices of a run.
pub struct Machine<'m> {
    pub tapes: Vec<Drive<'m>>,
    pub disks: [Disk<'m>; DISKS],
    pub snapshots: Volume<'m>,
    pub power: &'m Power,
    /// Dumps that were begun in this run: from then on they are kept.
    pub begun: Vec<DumpId>,
}

/// A block device.
pub struct Disk<'m> {
    device: FaultInjector<'m, MemBlock<'m>>,
    power: &'m Power,
}

impl BlockDevice for Disk<'_> {
    type Error = Error;

    fn block_len(&self) -> usize {
        self.device.block_len()
    }

    fn capacity(&self) -> u64 {
        self.device.capacity()
    }

    fn read(&mut self, at: u64, buf: &mut [u8]) -> Result<(), Error> {
        self.power.check()?;
        self.device.read(at, buf)
    }

    fn write(&mut self, at: u64, data: &[u8]) -> Result<(), Error> {
        match self.power.turn() {
            Turn::Done => self.device.write(at, data),
            Turn::Last => {
                // It is one of the writes that may be lost.
                let _ = self.device.write(at, data);
                Err(FaultError::PowerLost)
            }
            Turn::Never => Err(FaultError::PowerLost),
        }
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.power.check()?;
        self.device.flush()
    }
}

/// A drive, with its tape.
pub struct Drive<'m> {
    device: FaultInjector<'m, MemTape<'m>>,
    power: &'m Power,
    /// Bytes of the medium that no power cut takes.
    durable: usize,
    stuck: Option<u64>,
    torn: Option<u64>,
    writes: u64,
}

impl Drive<'_> {
    fn check(&self) -> Result<(), Error> {
        self.power.check()?;
        match self.stuck {
            Some(from) if self.device.operations() >= from => Err(FaultError::Injected(ErrorKind::Medium)),
            _ => Ok(()),
        }
    }

    /// Writes something that takes `len` bytes of the medium: it is not durable yet, and what was behind it is gone.
    fn put(
        &mut self,
        len: usize,
        write: impl FnOnce(&mut FaultInjector<'_, MemTape<'_>>) -> Result<TapeWrite, Error>,
    ) -> Result<TapeWrite, Error> {
        let before = (self.device.device().used(), self.device.injected());
        let written = write(&mut self.device)?;
        let used = self.device.device().used();
        // Otherwise the drive only said so.
        let is_there = used != before.0 || self.device.injected() == before.1;
        if written != TapeWrite::EndOfMedium && is_there {
            self.durable = self.durable.min(used.saturating_sub(len));
        }
        Ok(written)
    }

    /// Where the tape ends afterwards: of what was not flushed, a power cut leaves any part from the front.
    fn end(&self, was_cut: bool, random: &mut SplitMix64) -> usize {
        let tape = self.device.device();
        if !was_cut {
            return tape.used();
        }
        let ends = tape.items().scan(0, |end, item| {
            *end += match item {
                TapeItem::Record(record) => record.len() + ITEM_OVERHEAD,
                TapeItem::Filemark => FILEMARK_LEN,
            };
            Some(*end)
        });
        let possible: Vec<usize> = ends.filter(|end| *end > self.durable).collect();
        let kept = random.below(possible.len() as u64 + 1) as usize;
        kept.checked_sub(1).and_then(|index| possible.get(index)).copied().unwrap_or(self.durable)
    }
}

impl Drive<'_> {
    /// Records in the first tape file.
    pub fn records(&self) -> u64 {
        self.device.device().records(0).count() as u64
    }
}

impl TapeDevice for Drive<'_> {
    type Error = Error;

    fn capabilities(&self) -> TapeCapabilities {
        self.device.capabilities()
    }

    fn read(&mut self, buf: &mut [u8]) -> Result<TapeRead, Error> {
        self.check()?;
        self.device.read(buf)
    }

    fn write(&mut self, record: &[u8]) -> Result<TapeWrite, Error> {
        self.check()?;
        self.writes += 1;
        if self.torn == Some(self.writes) {
            let half = &record[..record.len() / 2];
            self.put(half.len() + ITEM_OVERHEAD, |device| device.write(half))?;
            return Err(FaultError::Injected(ErrorKind::Medium));
        }
        self.put(record.len() + ITEM_OVERHEAD, |device| device.write(record))
    }

    fn write_filemark(&mut self) -> Result<TapeWrite, Error> {
        self.check()?;
        let written = self.put(FILEMARK_LEN, |device| device.write_filemark())?;
        self.durable = self.device.device().used();
        Ok(written)
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.check()?;
        self.device.flush()?;
        self.durable = self.device.device().used();
        Ok(())
    }

    fn position(&mut self) -> Result<TapePosition, Error> {
        self.check()?;
        self.device.position()
    }

    fn locate(&mut self, to: TapePosition) -> Result<Spaced, Error> {
        self.check()?;
        self.device.locate(to)
    }

    fn space(&mut self, by: Space) -> Result<Spaced, Error> {
        self.check()?;
        self.device.space(by)
    }

    fn rewind(&mut self) -> Result<(), Error> {
        self.check()?;
        self.device.rewind()
    }

    fn unload(&mut self) -> Result<(), Error> {
        self.check()?;
        self.device.unload()
    }
}

/// The snapshots of the volume: each change of them is durable at once or not made. An image is how often the volume had
/// changed.
pub struct Volume<'m> {
    snapshots: &'m mut Vec<Snapshot>,
    power: &'m Power,
    /// How often it has changed by now.
    pub changes: u32,
}

impl Volume<'_> {
    fn find(&mut self, name: &SnapshotName) -> Result<&mut Snapshot, Error> {
        self.power.check()?;
        let found = self.snapshots.iter_mut().find(|snapshot| snapshot.name == *name);
        found.ok_or(FaultError::Device(ErrorKind::NotFound))
    }

    /// Every snapshot, and for which dump it is locked.
    pub fn all(&self) -> Vec<(SnapshotName, Option<DumpId>)> {
        self.snapshots.iter().map(|snapshot| (snapshot.name, snapshot.holder)).collect()
    }
}

impl Snapshots for Volume<'_> {
    type Error = Error;
    type Image = u32;

    fn create(&mut self, name: &SnapshotName, holder: Option<DumpId>) -> Result<(), Error> {
        match self.find(name) {
            Ok(_) => Err(FaultError::Device(ErrorKind::Exists)),
            Err(FaultError::Device(ErrorKind::NotFound)) => {
                self.snapshots.push(Snapshot { name: *name, holder, changes: self.changes });
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn open(&mut self, name: &SnapshotName) -> Result<u32, Error> {
        self.find(name).map(|snapshot| snapshot.changes)
    }

    fn lock(&mut self, name: &SnapshotName, holder: DumpId) -> Result<(), Error> {
        let snapshot = self.find(name)?;
        match snapshot.holder {
            Some(other) if other != holder => Err(FaultError::Device(ErrorKind::Full)),
            _ => {
                snapshot.holder = Some(holder);
                Ok(())
            }
        }
    }

    fn unlock(&mut self, name: &SnapshotName, holder: DumpId) -> Result<(), Error> {
        match self.find(name) {
            Ok(snapshot) => {
                snapshot.holder = snapshot.holder.filter(|other| *other != holder);
                Ok(())
            }
            Err(FaultError::Device(ErrorKind::NotFound)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn delete(&mut self, name: &SnapshotName) -> Result<(), Error> {
        if self.find(name)?.holder.is_some() {
            return Err(FaultError::Device(ErrorKind::Busy));
        }
        self.snapshots.retain(|snapshot| snapshot.name != *name);
        Ok(())
    }
}
