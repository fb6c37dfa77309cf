//! What a system keeps of a dump that is under way, in a region of the contexts' device: a context of the core, and in its
//! *request* what the system itself has to know to make the same dump again.

use tapedump_core::catalog::SuspendedCatalog;
use tapedump_core::context::{ContextError, ContextRecord, ContextState, ContextStore, Part, Parts};
use tapedump_core::device::snapshot::SnapshotName;
use tapedump_core::engine::dump::restart::{DumpState, Held};
use tapedump_core::units::DumpId;

use crate::machine::{CONTEXTS_LEN, Disk, Error};

/// Dumps that can be under way at once.
pub const REGIONS: usize = 2;
const REGION_LEN: u64 = (CONTEXTS_LEN / REGIONS) as u64;

/// What a dump was asked to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What it is written to, in their order.
    pub tapes: Vec<u8>,
    pub base: Option<DumpId>,
    pub snapshot: SnapshotName,
}

impl Request {
    fn to_bytes(&self) -> Vec<u8> {
        let base = self.base.map_or([0; 16], |base| base.0);
        let tapes = [&[self.tapes.len() as u8], &self.tapes[..]].concat();
        [&tapes[..], &base, self.snapshot.bytes()].concat()
    }

    fn from_bytes(bytes: &[u8]) -> Self {
        let (count, rest) = bytes.split_first().expect("a context is what was stored");
        let (tapes, rest) = rest.split_at(usize::from(*count));
        let (base, name) = rest.split_first_chunk().expect("a context is what was stored");
        let base = (*base != [0; 16]).then_some(DumpId(*base));
        Self { tapes: tapes.to_vec(), base, snapshot: SnapshotName::new(name).expect("it was a name") }
    }
}

/// Where a dump stopped.
#[derive(Clone)]
pub struct Stopped {
    pub state: DumpState,
    pub catalog: SuspendedCatalog,
    pub rest: Vec<u8>,
    pub in_use: Vec<u8>,
    pub pending: Vec<u8>,
    pub known: Vec<u8>,
}

impl Stopped {
    pub fn new(state: DumpState, catalog: SuspendedCatalog, held: Held<'_>) -> Self {
        let [in_use, pending, known] = [held.in_use, held.pending, held.known].map(<[u8]>::to_vec);
        Self { state, catalog, rest: held.rest.to_vec(), in_use, pending, known }
    }
}

/// A dump that is under way, or was.
#[derive(Clone)]
pub struct Kept {
    pub record: ContextRecord,
    pub request: Request,
    /// `None`: it begins anew.
    pub stopped: Option<Stopped>,
}

type Result<T> = std::result::Result<T, ContextError<Error>>;

const fn place_of(region: usize) -> std::ops::Range<u64> {
    let from = region as u64 * REGION_LEN;
    from..from + REGION_LEN
}

/// What is kept in a region, if anything is.
pub fn load(disk: &mut Disk<'_>, region: usize) -> Result<Option<Kept>> {
    let place = place_of(region);
    let mut store = match ContextStore::open(disk, place) {
        Ok(store) => store,
        // The very first one of a region may have been cut off within its head: that none was lost is the model's to say.
        Err(ContextError::Absent | ContextError::Damaged) => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut part = |part: Part| -> Result<Vec<u8>> {
        let len = store.len(part)?;
        let mut bytes = vec![0; len as usize];
        store.read(part, &mut bytes)?;
        Ok(bytes)
    };
    let record = ContextRecord::from_bytes(&part(Part::Record)?).ok_or(ContextError::Damaged)?;
    if record.state == ContextState::Deleting {
        return Ok(None);
    }
    let request = Request::from_bytes(&part(Part::Request)?);
    let state = part(Part::State)?;
    let stopped = if state.is_empty() {
        None
    } else {
        Some(Stopped {
            state: DumpState::from_bytes(&state).ok_or(ContextError::Damaged)?,
            catalog: SuspendedCatalog::from_bytes(&part(Part::Catalog)?).ok_or(ContextError::Damaged)?,
            rest: part(Part::Rest)?,
            in_use: part(Part::InUse)?,
            pending: part(Part::Pending)?,
            known: part(Part::Known)?,
        })
    };
    Ok(Some(Kept { record, request, stopped }))
}

/// Keeps this in the region, in place of whatever is there.
pub fn store(disk: &mut Disk<'_>, region: usize, kept: &Kept) -> Result<()> {
    let (record, request) = (kept.record.to_bytes(), kept.request.to_bytes());
    let nothing = [0; 0];
    let mut parts: Parts<'_> = [&nothing; 8];
    (parts[Part::Record as usize], parts[Part::Request as usize]) = (&record, &request);
    if let Some(stopped) = &kept.stopped {
        parts[Part::State as usize] = stopped.state.bytes();
        parts[Part::Catalog as usize] = stopped.catalog.bytes();
        parts[Part::Rest as usize] = &stopped.rest;
        parts[Part::InUse as usize] = &stopped.in_use;
        parts[Part::Pending as usize] = &stopped.pending;
        parts[Part::Known as usize] = &stopped.known;
    }
    put(disk, region, &parts)
}

/// Nothing is kept in the region from here on.
pub fn remove(disk: &mut Disk<'_>, region: usize, kept: &Kept) -> Result<()> {
    let record = ContextRecord { state: ContextState::Deleting, ..kept.record }.to_bytes();
    let nothing = [0; 0];
    let mut parts: Parts<'_> = [&nothing; 8];
    parts[Part::Record as usize] = &record;
    put(disk, region, &parts)
}

fn put(disk: &mut Disk<'_>, region: usize, parts: &Parts<'_>) -> Result<()> {
    let place = place_of(region);
    // What is there counts up to the moment when this does.
    let opened = match ContextStore::open(&mut *disk, place.clone()) {
        Ok(store) => Some(store),
        Err(ContextError::Absent | ContextError::Damaged) => None,
        Err(error) => return Err(error),
    };
    match opened {
        Some(mut store) => store.store(parts),
        None => ContextStore::blank(disk, place).store(parts),
    }
}
