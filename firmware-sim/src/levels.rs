//! A chain of three dumps: each with a catalog, recorded in a history, on the base that the history tells. What is wanted is
//! looked up in the catalogs and restored straight from its place, and then all of it as it is now.
//!
//! ```text
//! block device   | names of a restore | history | known, catalog | known, catalog | known, catalog | - , catalog | context |
//! ```

use tapedump_core::catalog::{Catalog, CatalogError, MEMORY_LEN_MIN, View};
use tapedump_core::chain::history::{History, HistoryError};
use tapedump_core::chain::{
    Application, BaseRef, CatalogPlace, Dump, DumpRequest, Entry, Maker, Numbering, Outcome, Release, Tape,
    VolumeState, base, chain,
};
use tapedump_core::checksum::CompactCrc32c;
use tapedump_core::device::ErrorKind;
use tapedump_core::device::block::BlockDevice;
use tapedump_core::device::fault::FaultInjector;
use tapedump_core::device::mem::MemVolume;
use tapedump_core::device::tape::TapeDevice;
use tapedump_core::device::volume::SourceVolume;
use tapedump_core::engine::dump::DumpSummary;
use tapedump_core::engine::restore::{ChainStop, Leg, RestoreSummary, stops_on_the_way};
use tapedump_core::stream::writer::DumpIdentity;
use tapedump_core::units::{BlockAddr, BlockingFactor, DumpId, Ino, Level, TapeNo, Timestamp, VolumeId};

use crate::board::{Board, Report};
use crate::demo::{Demo, Deviation, STORAGE_LEN, equal, quiet};
use crate::drive::Drive;
use crate::engine::{CHAIN_LEN, Job, MAP_LEN, Straight, dump, restore};
use crate::part::Part;
use crate::tree;

/// Where on the block device what is.
const SCRATCH_LEN: u64 = 64 << 10;
const HISTORY_LEN: u64 = 16 << 10;
/// For each dump: the map of what its chain gives rightly, and its catalog.
const DUMPS_AT: u64 = SCRATCH_LEN + HISTORY_LEN;
const DUMP_LEN: u64 = 48 << 10;
const KNOWN_LEN: u64 = MAP_LEN as u64;
/// Behind those of the chain and that of a further dump.
const CONTEXT_AT: u64 = DUMPS_AT + (CHAIN_LEN as u64 + 1) * DUMP_LEN;
const CONTEXT_LEN: u64 = 32 << 10;
const _: () = assert!(CONTEXT_AT + CONTEXT_LEN <= STORAGE_LEN);

/// The volume, whatever it is called.
const VOLUME: VolumeId = VolumeId(*b"the board's disk");

/// When the baseline is made, and how much later each increment.
const BEGIN: u32 = 1_750_000_000;
const INTERVAL: u32 = 1000;

/// Stops on the way to one object: a path has few names here.
const STOPS_MAX: usize = 8;

/// What the dump of a level is made as, on the one of the level below.
fn identity(level: u32) -> DumpIdentity {
    let mut id = *b"firmware demo 00";
    if let Some(last) = id.last_mut() {
        *last += level as u8;
    }
    let date = BEGIN + level * INTERVAL;
    let base_date = if level > 0 { date - INTERVAL } else { 0 };
    DumpIdentity { id: DumpId(id), date, base_date, level: Level::new(level).unwrap_or(Level::BASELINE) }
}

const fn at(secs: u32) -> Timestamp {
    Timestamp { secs: secs as i64, nanos: 0 }
}

fn history_deviation(error: HistoryError<ErrorKind>) -> Deviation {
    Deviation::History(error.kind())
}

fn catalog_deviation(error: CatalogError<ErrorKind>) -> Deviation {
    Deviation::Catalog(error.kind())
}

/// The dumps of the chain, the baseline first: where their catalogs are.
type Catalogs = [CatalogPlace; CHAIN_LEN];

/// The places where something is to be restored from, in their order.
struct Stops {
    list: [ChainStop; STOPS_MAX],
    len: usize,
}

impl Stops {
    const fn new() -> Self {
        let (block, tape) = (BlockAddr(0), TapeNo::FIRST);
        let nothing = ChainStop { dump: 0, leg: Leg::Directories, block, ino: Ino(0), tape };
        Self { list: [nothing; STOPS_MAX], len: 0 }
    }

    /// They are few: each is put before those that are greater.
    fn insert(&mut self, stop: ChainStop) {
        let mut stop = stop;
        for place in self.list.iter_mut().take(self.len) {
            if stop < *place {
                core::mem::swap(&mut stop, place);
            }
        }
        if let Some(place) = self.list.get_mut(self.len) {
            *place = stop;
        }
        self.len += 1;
    }

    fn get(&self) -> Result<&[ChainStop], Deviation> {
        self.list.get(..self.len).ok_or(Deviation::Memory)
    }
}

impl<'d, T: TapeDevice, L: Board> Demo<'d, '_, T, L> {
    /// For what does not fit the memory of a restore.
    pub fn scratch(&self) -> Part<'d> {
        self.storage.part(0, SCRATCH_LEN)
    }

    fn history(&self) -> Part<'d> {
        self.storage.part(SCRATCH_LEN, HISTORY_LEN)
    }

    /// All of the volume.
    pub fn baseline(&self, blocking: BlockingFactor) -> Job<'d> {
        let catalog = self.catalog(Self::place_of(0));
        Job { identity: identity(0), base: None, volume: VOLUME, blocking, catalog }
    }

    /// All of the volume once more, after the chain.
    pub fn whole(&self, blocking: BlockingFactor) -> Job<'d> {
        let after = CHAIN_LEN as u32;
        let identity = DumpIdentity { base_date: 0, level: Level::BASELINE, ..identity(after) };
        Job { identity, catalog: self.catalog(Self::place_of(after)), ..self.baseline(blocking) }
    }

    /// The place of the context of a dump that is under way.
    pub fn context(&self) -> Part<'d> {
        self.storage.part(CONTEXT_AT, CONTEXT_LEN)
    }

    /// Where the dump of a level is remembered.
    fn place_of(level: u32) -> CatalogPlace {
        let at = DUMPS_AT + u64::from(level) * DUMP_LEN + KNOWN_LEN;
        CatalogPlace { at, len: DUMP_LEN - KNOWN_LEN }
    }

    fn catalog(&self, place: CatalogPlace) -> Part<'d> {
        self.storage.part(place.at, place.len)
    }

    /// A catalog on too small a part of a device is none, and says what it needs; the dump is as good as ever.
    #[inline(never)]
    pub fn small_device(
        &mut self,
        source: &mut MemVolume<'_>,
        blocking: BlockingFactor,
    ) -> Result<(), Deviation> {
        tree::crowd(source).map_err(Deviation::Volume)?;
        let mut len = 4 << 10;
        let mut refused = 0;
        loop {
            let mut job = self.baseline(blocking);
            job.catalog = self.storage.part(DUMPS_AT, len);
            let mut tape = FaultInjector::counting(Drive::with(&mut *self.tape));
            let dumped = dump(source, &mut tape, &job, self.work, None, None::<&mut L>)?;
            let lost = dumped.lost;
            match dumped.catalog {
                Err(CatalogError::DeviceTooSmall { needed }) if needed > len => {
                    self.board.log(&Report::CatalogTooSmall { lost, len, needed });
                    len = needed;
                    refused += 1;
                }
                Ok(figures) if refused > 0 => {
                    self.board.log(&Report::Catalog(figures));
                    return tree::disperse(source).map_err(Deviation::Volume);
                }
                _ => return Err(Deviation::Catalog(ErrorKind::Full)),
            }
        }
    }

    /// Dumps of the levels 0 to 2 with changes between them, and what they are good for.
    #[inline(never)]
    pub fn levels(&mut self, source: &mut MemVolume<'_>, blocking: BlockingFactor) -> Result<(), Deviation> {
        History::<CompactCrc32c>::create_with_crc(
            &mut self.history(),
            0..HISTORY_LEN,
            *b"the board's past",
            self.work.record(),
        )
        .map_err(history_deviation)?;
        for level in 0..CHAIN_LEN as u32 {
            tree::change(source, level, i64::from(BEGIN + level * INTERVAL) - 1)
                .map_err(Deviation::Volume)?;
            self.level(source, level, blocking)?;
        }
        let catalogs = self.catalogs()?;
        let stops = self.look_up(&catalogs)?;
        let straight = self.straight(source, &stops)?;
        let whole = self.whole_chain(source)?;
        // Hardly anything of the tapes was read.
        if straight.records * 2 > whole.records || blocking == BlockingFactor::MIN && straight.seeks == 0 {
            return Err(Deviation::RestoreSummary);
        }
        Ok(())
    }

    /// Dumps what changed since the base that the history tells, and records that.
    #[inline(never)]
    fn level(
        &mut self,
        source: &mut MemVolume<'_>,
        level: u32,
        blocking: BlockingFactor,
    ) -> Result<(), Deviation> {
        let identity = identity(level);
        let base = self.base(&identity)?;
        self.board.log(&Report::Level { level: identity.level, base: base.map(|base| base.level) });
        let below = level.checked_sub(1);
        if base.map(|base| base.date) != below.map(|below| at(BEGIN + below * INTERVAL)) {
            return Err(Deviation::Base);
        }
        let place = Self::place_of(level);
        if let Some(below) = below {
            let mut known = self.storage.part(Self::place_of(below).at - KNOWN_LEN, KNOWN_LEN);
            known.read(0, self.work.known()).map_err(Deviation::Catalog)?;
        }
        let (catalog, base_id) = (self.catalog(place), base.map(|base| base.id));
        let job = Job { identity, base: base_id, volume: VOLUME, blocking, catalog };
        let tape = match (below, &mut self.increments) {
            (None, _) => &mut *self.tape,
            (Some(0), [first, _]) => &mut **first,
            (_, [_, second]) => &mut **second,
        };
        let mut tape = FaultInjector::counting(Drive::with(tape));
        let dumped = dump(source, &mut tape, &job, self.work, None, None::<&mut L>)?;
        let summary = dumped.summary;
        self.board.log(&Report::Dumped(summary));
        if summary.incomplete > 0 || (summary.unchanged > 0) == below.is_none() {
            return Err(Deviation::DumpSummary);
        }
        let figures = dumped.catalog.map_err(catalog_deviation)?;
        self.board.log(&Report::Catalog(figures));
        // Only when all else is durable the dump is one that counts.
        let mut known = self.storage.part(place.at - KNOWN_LEN, KNOWN_LEN);
        known.write(0, self.work.known()).and_then(|()| known.flush()).map_err(Deviation::Catalog)?;
        let ino_limit = source.ino_limit().map_err(Deviation::Volume)?;
        self.record(&job, base.as_ref(), &summary, place, ino_limit)
    }

    /// What a dump is to build on.
    #[inline(never)]
    fn base(&mut self, identity: &DumpIdentity) -> Result<Option<Dump>, Deviation> {
        let mut device = self.history();
        let mut history =
            History::<CompactCrc32c>::open_with_crc(&mut device, 0..HISTORY_LEN, self.work.record())
                .map_err(history_deviation)?;
        let request = DumpRequest {
            level: identity.level,
            date: at(identity.date),
            state: VolumeState::default(),
            real_numbers_fit: true,
            has_namesake: false,
            replaced: None,
            release: Release::CURRENT,
            application: Application::default(),
        };
        base(&mut history.dumps_of(&mut device, VOLUME, b""), &request).map_err(|_| Deviation::Base)
    }

    #[inline(never)]
    fn record(
        &mut self,
        job: &Job<'_>,
        base: Option<&Dump>,
        summary: &DumpSummary,
        place: CatalogPlace,
        ino_limit: Ino,
    ) -> Result<(), Deviation> {
        let identity = &job.identity;
        let dump = Dump {
            id: identity.id,
            level: identity.level,
            date: at(identity.date),
            order: 0,
            base: base.map(|base| BaseRef { id: Some(base.id), date: base.date }),
            outcome: Outcome::Good,
            numbering: Numbering::Real,
            ino_limit,
            maker: Maker::Tapedump { release: Release::CURRENT, format: 1 },
            state: VolumeState::default(),
        };
        let tapes = [Tape::new(identity.id.0, b"demo", 0, BlockAddr(0))];
        let entry = Entry {
            dump,
            volume: VOLUME,
            volume_name: b"disk",
            path: b"",
            blocking: job.blocking,
            blocks: summary.blocks,
            objects: summary.handled as u32,
            catalog: Some(place),
            catalog_file: None,
            tapes: &tapes,
        };
        let mut device = self.history();
        let mut history =
            History::<CompactCrc32c>::open_with_crc(&mut device, 0..HISTORY_LEN, self.work.record())
                .map_err(history_deviation)?;
        history.append(&mut device, &entry).map(|_| ()).map_err(history_deviation)
    }

    /// The chain of the newest dump, as the history has it.
    #[inline(never)]
    fn catalogs(&mut self) -> Result<Catalogs, Deviation> {
        let newest = identity(CHAIN_LEN as u32 - 1).id;
        let mut device = self.history();
        let mut history =
            History::<CompactCrc32c>::open_with_crc(&mut device, 0..HISTORY_LEN, self.work.record())
                .map_err(history_deviation)?;
        let found = chain(&mut history.dumps_of(&mut device, VOLUME, b""), newest);
        // Used where it is, as the engines are.
        let Ok(found) = &found else { return Err(Deviation::Base) };
        let mut catalogs = [CatalogPlace { at: 0, len: 0 }; CHAIN_LEN];
        if found.links().len() != catalogs.len() {
            return Err(Deviation::Base);
        }
        for (catalog, link) in catalogs.iter_mut().zip(found.links()) {
            let entry = history.entry(&mut device, link.place).map_err(history_deviation)?;
            *catalog = entry.catalog.ok_or(Deviation::NotFound)?;
        }
        Ok(catalogs)
    }

    /// Looks at the tree as it is now, and finds where a file is that changed before the second of the dumps.
    #[inline(never)]
    fn look_up(&mut self, catalogs: &Catalogs) -> Result<Stops, Deviation> {
        let [one, two, three] = catalogs.map(|place| self.catalog(place));
        let mut memory = self.work.record().chunks_mut(MEMORY_LEN_MIN);
        let mut open = |part: Part<'d>| {
            let memory = memory.next().unwrap_or_default();
            Catalog::<_, CompactCrc32c>::open(part, 0..u64::MAX, memory).map_err(catalog_deviation)
        };
        let mut opened = [open(one)?, open(two)?, open(three)?];
        let mut view = View::new(&mut opened);
        for (path, exists) in tree::CHANGED_NAMES {
            if view.look_up(path).map_err(catalog_deviation)?.is_some() != exists {
                return Err(Deviation::NotFound);
            }
        }
        let mut stops = Stops::new();
        let found = stops_on_the_way(&mut view, tree::CHANGED, &mut |stop| stops.insert(stop));
        let ino = found.map_err(catalog_deviation)?.ok_or(Deviation::NotFound)?;
        let (dump, row) = view.newest(ino).map_err(catalog_deviation)?.ok_or(Deviation::NotFound)?;
        let block = row.place.filter(|_| dump == 1).ok_or(Deviation::NotFound)?;
        let catalog = view.catalog(dump).ok_or(Deviation::NotFound)?;
        let place = catalog.place(block).map_err(catalog_deviation)?;
        self.board.log(&Report::Newest { ino, level: dump as u32, place });
        Ok(stops)
    }

    /// Restores one file straight from its place, and nothing else.
    #[inline(never)]
    fn straight(&mut self, source: &MemVolume<'_>, stops: &Stops) -> Result<RestoreSummary, Deviation> {
        let mut stops = stops.get()?;
        let scratch = self.scratch();
        let [level_1, level_2] = &mut self.increments;
        let mut first = FaultInjector::counting(Drive::with(&mut **level_2));
        let mut second = FaultInjector::counting(Drive::with(&mut **level_1));
        let mut third = FaultInjector::counting(Drive::with(&mut *self.tape));
        let tapes = [Some(&mut first), Some(&mut second), Some(&mut third)];
        let mut restored = self.target.empty()?;
        let way = Some(Straight { path: tree::CHANGED, route: &mut stops });
        let summary = restore(CHAIN_LEN as u32, tapes, &mut restored, scratch, self.work, way, &mut quiet)?;
        if summary.objects != 1 || !summary.is_good() || !tree::same_data(source, &restored) {
            return Err(Deviation::RestoreSummary);
        }
        self.board.log(&Report::Straight(summary));
        Ok(summary)
    }

    /// Restores the whole chain: that is the volume as it is.
    #[inline(never)]
    fn whole_chain(&mut self, source: &MemVolume<'_>) -> Result<RestoreSummary, Deviation> {
        let scratch = self.scratch();
        let [level_1, level_2] = &mut self.increments;
        let mut first = FaultInjector::counting(Drive::with(&mut **level_2));
        let mut second = FaultInjector::counting(Drive::with(&mut **level_1));
        let mut third = FaultInjector::counting(Drive::with(&mut *self.tape));
        let tapes = [Some(&mut first), Some(&mut second), Some(&mut third)];
        let mut restored = self.target.empty()?;
        let summary = restore(CHAIN_LEN as u32, tapes, &mut restored, scratch, self.work, None, &mut quiet)?;
        if !summary.is_good() {
            return Err(Deviation::RestoreSummary);
        }
        equal(source, &restored)?;
        self.board.log(&Report::ChainEqual(summary));
        Ok(summary)
    }
}
