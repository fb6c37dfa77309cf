//! The context of a dump, on the block device: stored as the dump goes along, and gone on from when the power is back.
//!
//! A board has no memory for a second tape record besides the one being filled. So a context is stored only where what is not
//! on tape yet is short enough for the memory that a dump leaves idle: there it is read to when the dump goes on.

use tapedump_core::catalog::{CatalogWriter, SuspendedCatalog};
use tapedump_core::checksum::CompactCrc32c;
use tapedump_core::context::{
    BackupStatus, ContextError, ContextRecord, ContextState, ContextStore, Part as ContextPart, Parts,
};
use tapedump_core::device::ErrorKind;
use tapedump_core::device::mem::MemVolume;
use tapedump_core::device::tape::{TapeDevice, TapePosition};
use tapedump_core::engine::dump::Dump;
use tapedump_core::engine::dump::restart::{DumpState, Held, find_end};
use tapedump_core::units::{BlockAddr, Timestamp};

use crate::demo::Deviation;
use crate::engine::{Job, Lent, Tape, dump_deviation};
use crate::part::Part;

/// What a dump goes on from, besides the maps and what of the stream was not on tape: these are in the memory lent.
pub struct Kept {
    /// How the dump stood.
    pub state: DumpState,
    /// How its catalog stood.
    pub catalog: SuspendedCatalog,
    /// Bytes that were not on tape.
    pub rest_len: usize,
}

/// The place of a dump's context. It is looked at anew whenever it is needed: the stack is for the dump.
pub struct Contexts<'d> {
    device: Part<'d>,
    /// What the dump is to go on from.
    pub kept: Option<Kept>,
    /// Blocks on tape when it was last stored.
    stored_at: BlockAddr,
}

fn deviation(error: ContextError<ErrorKind>) -> Deviation {
    Deviation::Context(error.kind())
}

/// A dump as it is here.
type BoardDump<'w, 'a, 'v, 't, 'c, 'd, T> = Dump<
    'w,
    &'a mut MemVolume<'v>,
    &'a mut Tape<'t, T>,
    CompactCrc32c,
    &'a mut CatalogWriter<'c, Part<'d>, CompactCrc32c>,
>;

type Store<'d> = ContextStore<Part<'d>, CompactCrc32c>;

/// What is stored there now.
#[inline(never)]
fn open(device: Part<'_>) -> Result<Store<'_>, Deviation> {
    match Store::open_with_crc(device, 0..u64::MAX) {
        Ok(store) => Ok(store),
        Err(ContextError::Absent) => Ok(Store::blank_with_crc(device, 0..u64::MAX)),
        Err(error) => Err(deviation(error)),
    }
}

/// Stores something there.
#[inline(never)]
fn store(device: Part<'_>, parts: &Parts<'_>) -> Result<(), Deviation> {
    match &mut open(device) {
        Ok(store) => store.store(parts).map_err(deviation),
        Err(deviation) => Err(*deviation),
    }
}

impl<'d> Contexts<'d> {
    /// That of a dump of which nothing is known.
    pub const fn new(device: Part<'d>) -> Self {
        Self { device, kept: None, stored_at: BlockAddr(0) }
    }

    /// Reads what this dump is to go on from, if there is such a thing.
    ///
    /// # Errors
    /// It is another dump's, is damaged or does not fit, or the device failed.
    #[inline(never)]
    pub fn find(&mut self, job: &Job<'d>, lent: &mut Lent<'_>) -> Result<(), Deviation> {
        let Lent { memory, idle } = lent;
        let store = &mut open(self.device);
        let store = match store {
            Ok(store) => store,
            Err(deviation) => return Err(*deviation),
        };
        let mut read = |part, to: &mut [u8]| match store.read(part, to) {
            Err(ContextError::Absent) => Ok(0),
            read => read.map_err(deviation),
        };
        let len = read(ContextPart::Record, memory.stream)?;
        if len == 0 {
            return Ok(());
        }
        let damaged = Deviation::Context(ErrorKind::Medium);
        if memory.stream.get(..len) != Some(&record(job)) {
            return Err(Deviation::Context(ErrorKind::Invalid));
        }
        let len = read(ContextPart::State, memory.stream)?;
        let state = memory.stream.get(..len).and_then(DumpState::from_bytes).ok_or(damaged)?;
        let len = read(ContextPart::Catalog, memory.stream)?;
        let catalog = memory.stream.get(..len).and_then(SuspendedCatalog::from_bytes).ok_or(damaged)?;
        let rest_len = read(ContextPart::Rest, idle)?;
        for (part, map) in [
            (ContextPart::InUse, &mut memory.in_use),
            (ContextPart::Pending, &mut memory.on_tape),
            (ContextPart::Known, &mut memory.known),
        ] {
            read(part, map)?;
        }
        self.stored_at = state.record_at();
        self.kept = Some(Kept { state, catalog, rest_len });
        Ok(())
    }

    /// There is nothing to go on from any more: the dump is whole, or a new one begins.
    ///
    /// # Errors
    /// The device failed.
    pub fn forget(&mut self) -> Result<(), Deviation> {
        (self.kept, self.stored_at) = (None, BlockAddr(0));
        store(self.device, &Parts::default())
    }

    /// Stores how the dump stands, if more of it is on tape than when that was last done, and what is not on it is short.
    ///
    /// # Errors
    /// The tape or the device failed.
    #[inline(never)]
    pub fn keep<T: TapeDevice>(
        &mut self,
        dump: &mut BoardDump<'_, '_, '_, '_, '_, 'd, T>,
        job: &Job<'d>,
        rest_max: usize,
    ) -> Result<(), Deviation> {
        let Some(state) = dump.suspend().map_err(|error| dump_deviation(&error))? else { return Ok(()) };
        if state.record_at() == self.stored_at || dump.held().rest.len() > rest_max {
            return Ok(());
        }
        // A dump without a catalog any more is not worth going on with here.
        let Ok(catalog) = dump.catalog_mut() else { return Ok(()) };
        let catalog = catalog.suspend().map_err(|error| Deviation::Catalog(error.kind()))?;
        let record = record(job);
        let Held { rest, in_use, pending, known } = dump.held();
        let parts = [&record[..], &[], state.bytes(), catalog.bytes(), rest, in_use, pending, known];
        store(self.device, &parts)?;
        self.stored_at = state.record_at();
        Ok(())
    }
}

/// What is known of a dump.
#[inline(never)]
fn record(job: &Job<'_>) -> [u8; ContextRecord::LEN] {
    let record = ContextRecord {
        identity: job.identity,
        blocking: job.blocking,
        volume: job.volume,
        begin: TapePosition::default(),
        updated: Timestamp { secs: job.identity.date.into(), nanos: 0 },
        snapshot_is_own: false,
        has_offset_map: true,
        offset_verify: true,
        restartable: true,
        restart_pass: 0,
        status: BackupStatus::Unfinished,
        state: ContextState::Dumping,
    };
    record.to_bytes()
}

impl Kept {
    /// Puts the tape to where the dump goes on.
    ///
    /// # Errors
    /// What is on the tape is not what was written.
    #[inline(never)]
    pub fn find_end<T: TapeDevice>(
        &self,
        tape: &mut Tape<'_, T>,
        job: &Job<'_>,
        lent: &mut Lent<'_>,
    ) -> Result<(), Deviation> {
        let rest = lent.idle.get(..self.rest_len).unwrap_or_default();
        let (begin, room) = (TapePosition::default(), &mut *lent.memory.stream);
        find_end::<_, CompactCrc32c>(tape, begin, &job.identity, job.blocking, &self.state, rest, room)
            .map_err(|_| Deviation::NotThisTape)
    }
}
