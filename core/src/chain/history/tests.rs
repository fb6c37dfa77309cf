//! The history as it is used, damaged, and made of anything.

extern crate std;

use std::vec;
use std::vec::Vec;

use super::super::*;
use super::page::RECORD_PAGES_MAX;
use super::*;
use crate::device::fault::{Fault, FaultInjector, Operation, What, When};
use crate::device::mem::MemBlock;
use crate::limits::{DUMP_TAPES_MAX, NAME_LEN_MAX, PAGE_LEN, TAPE_LABEL_LEN, TREE_PATH_LEN_MAX};
use crate::units::{BlockAddr, BlockingFactor, DumpId, Ino, Level, Timestamp};

pub(super) const ID: HistoryId = *b"history-identity";
const ALL: Range<u64> = 0..u64::MAX;
const BLOCK_LEN: usize = 512;

/// What an entry refers to.
#[derive(Clone, Debug)]
pub(super) struct Owned {
    pub dump: Dump,
    pub volume: VolumeId,
    pub name: Vec<u8>,
    pub path: Vec<u8>,
    pub tapes: Vec<Tape>,
}

impl Owned {
    /// A dump with everything in it derived from a number; of level 0, or based on the one before.
    pub(super) fn new(number: u8, level: u32, path: &[u8]) -> Self {
        let date = |number: u8| Timestamp { secs: i64::from(number) - 100, nanos: u32::from(number) * 1000 };
        let dump = Dump {
            id: DumpId([number; 16]),
            level: Level::new(level).unwrap(),
            date: date(number),
            order: 0,
            base: (level > 0).then(|| BaseRef {
                id: Some(DumpId([number.wrapping_sub(1); 16])),
                date: date(number.wrapping_sub(1)),
            }),
            outcome: Outcome::Good,
            numbering: Numbering::Dense,
            ino_limit: Ino(0x0102_0304),
            maker: Maker::Tapedump { release: Release { major: 1, minor: 2, patch: 3 }, format: 1 },
            state: VolumeState {
                owner: OwnerId([0xa1; 16]),
                node: NodeId([0xb2; 16]),
                access: Access::ReadOnly,
                mirror_breaks: 4,
                mirror_resyncs: 5,
            },
        };
        let tapes = vec![Tape::new([0xc3; 16], b"LTO001", number.into(), BlockAddr(0))];
        Self { dump, volume: VolumeId([0xd4; 16]), name: b"vol1".to_vec(), path: path.to_vec(), tapes }
    }

    /// As long as an entry may be.
    pub(super) fn largest(number: u8) -> Self {
        let tape = |index: usize| {
            Tape::new([index as u8; 16], &[b'L'; TAPE_LABEL_LEN + 9], index as u32, BlockAddr(index as u64))
        };
        Self {
            name: vec![b'n'; NAME_LEN_MAX],
            tapes: (0..DUMP_TAPES_MAX).map(tape).collect(),
            ..Self::new(number, 0, &[b'p'; TREE_PATH_LEN_MAX])
        }
    }

    pub(super) fn entry(&self) -> Entry<'_> {
        Entry {
            dump: self.dump,
            volume: self.volume,
            volume_name: &self.name,
            path: &self.path,
            blocking: BlockingFactor::DEFAULT,
            blocks: 0x0a0b_0c0d,
            objects: 77,
            catalog: Some(CatalogPlace { at: 1 << 40, len: 4096 }),
            catalog_file: None,
            tapes: &self.tapes,
        }
    }

    pub(super) fn with_order(mut self, order: u64) -> Self {
        self.dump.order = order;
        self
    }
}

/// What a volume was to those who used it is stored with the dump.
#[test]
fn every_access_type_is_kept() {
    for access in [Access::ReadWrite, Access::ReadOnly, Access::Mirror] {
        let mut owned = Owned::new(1, 0, b"");
        owned.dump.state.access = access;
        let mut bytes = [0; 4096];
        let len = encode::emit_entry(&owned.entry(), None, &mut bytes).unwrap();
        let (entry, _) = encode::parse_entry(&bytes[..len]).unwrap();
        assert_eq!(entry.dump.state.access, access);
    }
}

pub(super) struct Disk {
    pub bytes: Vec<u8>,
    pub memory: Vec<u8>,
}

impl Disk {
    pub(super) fn new(pages: usize) -> Self {
        let bytes = vec![0xa5; pages * PAGE_LEN];
        let memory = vec![0xa5; memory_len(&(0..bytes.len() as u64))];
        Self { bytes, memory }
    }

    pub(super) fn create(&mut self) -> (MemBlock<'_>, History<'_>) {
        let mut device = MemBlock::new(&mut self.bytes, BLOCK_LEN).unwrap();
        let history = History::create(&mut device, ALL, ID, &mut self.memory).unwrap();
        (device, history)
    }

    pub(super) fn open(&mut self) -> (MemBlock<'_>, History<'_>) {
        let (device, history) = self.try_open();
        (device, history.unwrap())
    }

    #[allow(clippy::type_complexity)]
    pub(super) fn try_open(&mut self) -> (MemBlock<'_>, Result<History<'_>, HistoryError<ErrorKind>>) {
        let mut device = MemBlock::new(&mut self.bytes, BLOCK_LEN).unwrap();
        let history = History::open(&mut device, ALL, &mut self.memory);
        (device, history)
    }

    /// Dumps of these numbers, all baselines of the same tree; their places.
    pub(super) fn filled(pages: usize, numbers: &[u8]) -> (Self, Vec<Place>) {
        let mut disk = Self::new(pages);
        let (mut device, mut history) = disk.create();
        let append = |number: &u8| history.append(&mut device, &Owned::new(*number, 0, b"").entry()).unwrap();
        let places = numbers.iter().map(append).collect();
        (disk, places)
    }

    /// Numbers of the dumps that are told, oldest first, and the damage.
    fn told(&mut self) -> (Vec<u8>, Vec<DamagedPages>) {
        let (mut device, mut history) = self.open();
        (numbers(&mut device, &mut history), history.damaged().collect())
    }
}

pub(super) fn numbers<D: BlockDevice>(device: &mut D, history: &mut History<'_>) -> Vec<u8> {
    let mut found = Vec::new();
    let mut place = Place(0);
    while let Some(next) = history.next_after(place) {
        place = next;
        match history.entry(device, place) {
            Ok(entry) => found.push(entry.dump.id.0[0]),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Medium),
        }
    }
    found
}

#[test]
fn gives_back_what_was_appended() {
    let mut disk = Disk::new(64);
    let mut owned = vec![Owned::new(1, 0, b""), Owned::largest(2), Owned::new(3, 1, b"home/\xff")];
    owned[1].dump.outcome = Outcome::Incomplete { skipped: 3 };
    owned.push(Owned { tapes: Vec::new(), ..Owned::new(4, 31, b"x") });
    owned[3].dump.outcome = Outcome::Failed;
    owned.push(Owned::new(5, 2, b"y"));
    owned[4].dump.maker = Maker::Foreign;
    owned[4].dump.base.as_mut().unwrap().id = None;
    (owned[4].dump.numbering, owned[4].dump.state) = (Numbering::Real, VolumeState::default());
    let (mut device, mut history) = disk.create();
    let places: Vec<_> =
        owned.iter().map(|owned| history.append(&mut device, &owned.entry()).unwrap()).collect();
    assert_eq!(places, [2, 3, 13, 14, 15].map(Place));
    let (mut device, mut history) = disk.open();
    assert_eq!((history.id(), history.used_len()), (ID, 16 * PAGE_LEN as u64));
    for (order, (owned, place)) in (1..).zip(owned.iter().zip(&places)) {
        let expected = owned.clone().with_order(order);
        assert_eq!(history.entry(&mut device, *place), Ok(expected.entry()));
    }
    let mut found = Vec::new();
    let mut place = history.next_before(None);
    while let Some(at) = place {
        found.push(at);
        place = history.next_before(place);
    }
    assert_eq!(found.into_iter().rev().collect::<Vec<_>>(), places);
    assert_eq!(history.damaged().count(), 0);
    assert_eq!(history.entry(&mut device, Place(4)), Err(HistoryError::NoEntry), "within an entry");
}

#[test]
fn the_bytes_of_an_entry() {
    let mut disk = Disk::new(8);
    let (mut device, mut history) = disk.create();
    history.append(&mut device, &Owned::new(7, 5, b"home").entry()).unwrap();
    let page = &disk.bytes[2 * PAGE_LEN..3 * PAGE_LEN];
    let mut expected = Vec::new();
    expected.extend(PortableCrc32c::update(0, &page[4..]).to_be_bytes());
    expected.extend(*b"TDL1");
    expected.extend(ID);
    expected.extend(1u64.to_be_bytes());
    expected.extend(PortableCrc32c::update(0, &page[48..48 + 192 + 92 + 8]).to_be_bytes());
    expected.extend((192u32 + 92 + 8).to_be_bytes());
    expected.extend([0, 1, 0, 0, 0, 0, 0, 0]);
    for fill in [7, 0xd4, 0xa1, 0xb2, 6] {
        expected.extend([fill; 16]);
    }
    expected.extend((-93i64).to_be_bytes());
    expected.extend((-94i64).to_be_bytes());
    expected.extend([0, 0, 0x1b, 0x58, 0, 0, 0x17, 0x70]);
    expected.extend(1u64.to_be_bytes());
    expected.extend([0, 0, 0, 0, 10, 11, 12, 13]);
    expected.extend([0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0]);
    expected.extend([0, 0, 0, 0, 0, 0, 0, 77, 0, 0, 0, 0, 1, 2, 3, 4]);
    expected.extend([0, 0, 0, 4, 0, 0, 0, 5, 0, 0, 0, 0]);
    expected.extend([0, 1, 0, 2, 0, 3, 0, 64, 0, 4, 0, 1]);
    expected.extend([4, 5, 0, 1, 1 + 2 + 4 + 32 + 64]);
    expected.extend([0; 11]);
    expected.extend([0xc3; 16]);
    expected.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
    expected.extend(*b"LTO001");
    expected.extend([0; 58]);
    expected.extend(*b"vol1home");
    expected.resize(PAGE_LEN, 0);
    assert_eq!(page, expected);
    let superblock = &disk.bytes[..PAGE_LEN];
    assert_eq!(superblock[4..24], *b"TDS1history-identity");
    assert_eq!(superblock[24..44], [0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 3]);
    assert!(superblock[44..].iter().all(|byte| *byte == 0));
}

#[test]
fn removed_and_replaced_entries_are_gone_and_the_order_stays() {
    let (mut disk, places) = Disk::filled(32, &[1, 2, 3]);
    let (mut device, mut history) = disk.open();
    history.remove(&mut device, places[0]).unwrap();
    let mut again = Owned::new(2, 0, b"");
    again.dump.outcome = Outcome::Failed;
    let place = history.replace(&mut device, places[1], &again.entry()).unwrap();
    for gone in &places[..2] {
        assert_eq!(history.entry(&mut device, *gone), Err(HistoryError::NoEntry));
        assert_eq!(history.remove(&mut device, *gone), Err(HistoryError::NoEntry));
        assert_eq!(history.replace(&mut device, *gone, &again.entry()), Err(HistoryError::NoEntry));
    }
    assert_eq!(disk.told(), (vec![3, 2], vec![]));
    let (mut device, mut history) = disk.open();
    assert_eq!(history.entry(&mut device, place).unwrap().dump, again.clone().with_order(2).dump);
    let next = history.append(&mut device, &Owned::new(4, 0, b"").entry()).unwrap();
    assert_eq!(history.entry(&mut device, next).unwrap().dump.order, 4);
}

#[test]
fn refuses_entries_that_say_nothing_or_too_much() {
    let mut disk = Disk::new(32);
    let (mut device, mut history) = disk.create();
    let mut refused = |change: fn(&mut Owned), expected| {
        let mut owned = Owned::largest(1);
        change(&mut owned);
        assert_eq!(history.append(&mut device, &owned.entry()), Err(HistoryError::Entry(expected)));
    };
    refused(|owned| owned.path.push(b'p'), EntryError::PathTooLong { len: 4097 });
    refused(|owned| owned.name.push(b'n'), EntryError::NameTooLong { len: 256 });
    refused(|owned| owned.tapes.push(owned.tapes[0]), EntryError::TooManyTapes { count: 49 });
    refused(|owned| owned.tapes.clear(), EntryError::NoTape);
    refused(
        |owned| owned.dump.base = Owned::new(2, 1, b"").dump.base,
        EntryError::BaseAndLevel { level: Level::BASELINE },
    );
    refused(|owned| owned.dump.level = Level::MAX, EntryError::BaseAndLevel { level: Level::MAX });
    refused(|owned| owned.dump.date.nanos = 1_000_000_000, EntryError::Nanoseconds { nanos: 1_000_000_000 });
    refused(|owned| owned.dump.outcome = Outcome::Incomplete { skipped: 0 }, EntryError::NothingSkipped);
    assert_eq!(history.used_len(), 2 * PAGE_LEN as u64);
    assert_eq!(disk.told(), (vec![], vec![]));
}

#[test]
fn too_little_memory_and_too_small_regions_are_told_with_the_figure_that_suffices() {
    let mut bytes = vec![0; 16 * PAGE_LEN];
    let region = 0..bytes.len() as u64;
    let needed = memory_len(&region);
    let mut memory = vec![0; needed];
    let mut device = MemBlock::new(&mut bytes, 1).unwrap();
    let short = History::create(&mut device, region.clone(), ID, &mut memory[..needed - 1]).map(|_| ());
    assert_eq!(short, Err(HistoryError::MemoryTooSmall { needed }));
    let none = History::open(&mut device, region.clone(), &mut memory).map(|_| ());
    assert_eq!(none, Err(HistoryError::NoHistory));
    let page = PAGE_LEN as u64;
    for len in [0, page, 2 * page - 1] {
        let small = History::create(&mut device, 0..len, ID, &mut memory).map(|_| ());
        assert_eq!(small, Err(HistoryError::RegionTooSmall { needed: 2 * page }));
    }
    // A region begins at the next page.
    let mut history = History::create(&mut device, 1..4 * page, ID, &mut memory).unwrap();
    let first = history.append(&mut device, &Owned::new(1, 0, b"").entry()).unwrap();
    let full = HistoryError::RegionTooSmall { needed: 4 * page };
    let entry = Owned::new(2, 0, b"");
    assert_eq!(history.append(&mut device, &entry.entry()), Err(full));
    assert_eq!(history.remove(&mut device, first), Err(full));
    assert_eq!(full.kind(), ErrorKind::Full);
    let largest = HistoryError::RegionTooSmall { needed: 13 * page };
    assert_eq!(history.append(&mut device, &Owned::largest(2).entry()), Err(largest));
    // It suffices.
    let mut history = History::open(&mut device, page..14 * page, &mut memory).unwrap();
    history.append(&mut device, &Owned::largest(2).entry()).unwrap();
    assert_eq!(numbers(&mut device, &mut history), [1, 2]);
    let cut = History::open(&mut device, page..13 * page, &mut memory).map(|_| ());
    assert_eq!(cut, Err(HistoryError::RegionTooSmall { needed: 13 * page }));
}

#[test]
fn every_damaged_page_is_named_and_costs_its_record_only() {
    let mut disk = Disk::new(32);
    let (mut device, mut history) = disk.create();
    let gone = history.append(&mut device, &Owned::new(1, 0, b"").entry()).unwrap();
    history.append(&mut device, &Owned::new(2, 0, b"").entry()).unwrap();
    history.append(&mut device, &Owned::largest(3).entry()).unwrap();
    history.remove(&mut device, gone).unwrap();
    history.append(&mut device, &Owned::new(4, 0, b"").entry()).unwrap();
    let (whole, memory) = (disk.bytes, disk.memory);
    let at = |page| vec![DamagedPages { page, count: 1 }];
    // Page 2: entry 1; 3: entry 2; 4 to 13: entry 3; 14: the removal; 15: entry 4.
    for page in 2..16 {
        let expected = match page {
            2 => (vec![2, 3, 4], at(2)),
            3 => (vec![3, 4], at(3)),
            4..14 => (vec![2, 4], vec![DamagedPages { page: 4, count: 10 }]),
            14 => (vec![1, 2, 3, 4], at(14)),
            _ => (vec![2, 3], at(15)),
        };
        for bit in [0, 8 * 30, 8 * 500, 8 * PAGE_LEN - 1] {
            let mut disk = Disk { bytes: whole.clone(), memory: memory.clone() };
            disk.bytes[page * PAGE_LEN + bit / 8] ^= 1 << (bit % 8);
            assert_eq!(disk.told(), expected, "page {page}, bit {bit}");
            // It goes on behind, and what is damaged stays named.
            let (mut device, mut history) = disk.open();
            history.append(&mut device, &Owned::new(9, 0, b"").entry()).unwrap();
            let mut numbers = expected.0.clone();
            numbers.push(9);
            assert_eq!(disk.told(), (numbers, expected.1.clone()));
        }
    }
    // Either superblock may be lost.
    for page in 0..2 {
        let mut disk = Disk { bytes: whole.clone(), memory: memory.clone() };
        disk.bytes[page * PAGE_LEN + 40] ^= 1;
        assert_eq!(disk.told(), (vec![2, 3, 4], vec![]), "{page}");
        disk.bytes[(1 - page) * PAGE_LEN + 40] ^= 1;
        // The first opening has made a new one in place of the damaged one only where that was the newer.
        let opened = disk.try_open().1.map(|_| ());
        assert!(matches!(opened, Ok(()) | Err(HistoryError::NoHistory)), "{opened:?}");
    }
    let mut disk = Disk { bytes: whole, memory };
    disk.bytes[40] ^= 1;
    disk.bytes[PAGE_LEN + 40] ^= 1;
    assert_eq!(disk.try_open().1.map(|_| ()), Err(HistoryError::NoHistory));
}

#[test]
fn what_rots_while_the_history_is_open_is_not_trusted_either() {
    let (mut disk, places) = Disk::filled(16, &[1, 2, 3]);
    let (mut device, mut history) = disk.open();
    device.bytes_mut()[places[1].0 as usize * PAGE_LEN + 100] ^= 4;
    assert_eq!(history.entry(&mut device, places[1]), Err(HistoryError::Damaged { page: 3 }));
    assert_eq!(history.entry(&mut device, places[1]), Err(HistoryError::NoEntry));
    device.bytes_mut()[places[2].0 as usize * PAGE_LEN + 100] ^= 4;
    let mut dumps = history.dumps_of(&mut device, VolumeId([0xd4; 16]), b"");
    let mut found = Vec::new();
    while let Some((_, dump)) = dumps.next().unwrap() {
        found.push(dump.id.0[0]);
    }
    assert_eq!(found, [1]);
    let damaged: Vec<_> = history.damaged().collect();
    assert_eq!(damaged, [DamagedPages { page: 3, count: 2 }]);
}

#[test]
fn a_page_that_cannot_be_read_is_damaged_and_other_failures_are_told() {
    let (mut disk, _) = Disk::filled(16, &[1, 2, 3]);
    let at =
        |page: u64, kind| [Fault { when: When::Address(page * PAGE_LEN as u64), what: What::Error(kind) }];
    for page in 0..6 {
        let faults = at(page, ErrorKind::Medium);
        let memory = MemBlock::new(&mut disk.bytes, BLOCK_LEN).unwrap();
        let mut device = FaultInjector::scheduled(memory, &faults);
        let opened = History::open(&mut device, ALL, &mut disk.memory);
        match page {
            // The newer superblock was in 1, and the other one is a record short: that is made good, which fails.
            0..2 => {
                let failed = HistoryError::Device { at: page * 1024, source: opened_error() };
                assert!(opened.is_ok() || opened.map(|_| ()) == Err(failed), "{page}");
            }
            _ => {
                let mut history = opened.unwrap();
                let expected: Vec<u8> = (1..=3).filter(|number| u64::from(*number) + 1 != page).collect();
                assert_eq!(numbers(&mut device, &mut history), expected);
                assert_eq!(history.damaged().count(), usize::from(page < 5));
            }
        }
        let faults = at(page, ErrorKind::Denied);
        let memory = MemBlock::new(&mut disk.bytes, BLOCK_LEN).unwrap();
        let mut device = FaultInjector::scheduled(memory, &faults);
        let opened = History::open(&mut device, ALL, &mut disk.memory).map(|_| ());
        let source = crate::device::fault::FaultError::Injected(ErrorKind::Denied);
        assert_eq!(opened, Err(HistoryError::Device { at: page * 1024, source }));
    }
}

fn opened_error() -> crate::device::fault::FaultError<ErrorKind> {
    crate::device::fault::FaultError::Injected(ErrorKind::Medium)
}

#[test]
fn a_failed_change_makes_the_history_refuse_more_until_it_is_opened_again() {
    let mut counting = Disk::new(16);
    let count = |disk: &mut Disk, faults: &[Fault]| {
        let memory = MemBlock::new(&mut disk.bytes, BLOCK_LEN).unwrap();
        let mut device = FaultInjector::scheduled(memory, faults);
        let mut history = History::create(&mut device, ALL, ID, &mut disk.memory).unwrap();
        let before = device.operations_of(Operation::Write) + device.operations_of(Operation::Flush);
        let first = history.append(&mut device, &Owned::new(1, 0, b"").entry());
        let second = history.append(&mut device, &Owned::new(2, 0, b"").entry());
        if first.is_err() {
            assert_eq!(second, Err(HistoryError::Uncertain));
            assert_eq!(history.remove(&mut device, Place(2)), Err(HistoryError::NoEntry));
        }
        (before, first.is_ok())
    };
    assert_eq!(count(&mut counting, &[]), (4, true));
    let mut outcomes = Vec::new();
    for when in [
        When::Nth(Operation::Write, 2),
        When::Nth(Operation::Flush, 2),
        When::Nth(Operation::Write, 3),
        When::Nth(Operation::Flush, 3),
    ] {
        let mut disk = Disk::new(16);
        let faults = [Fault { when, what: What::Error(ErrorKind::Full) }];
        assert_eq!(count(&mut disk, &faults), (4, false));
        outcomes.push(disk.told());
        let (mut device, mut history) = disk.open();
        history.append(&mut device, &Owned::new(3, 0, b"").entry()).unwrap();
        assert_eq!(disk.told().0.last(), Some(&3));
    }
    assert_eq!(outcomes, [vec![], vec![1], vec![1], vec![1]].map(|numbers| (numbers, vec![])));
}

#[test]
fn what_a_former_history_left_is_not_taken_for_its_own() {
    let (mut disk, _) = Disk::filled(32, &[1, 2, 3, 4, 5]);
    let mut device = MemBlock::new(&mut disk.bytes, BLOCK_LEN).unwrap();
    let mut history = History::create(&mut device, ALL, [9; 16], &mut disk.memory).unwrap();
    assert_eq!(numbers(&mut device, &mut history), []);
    history.append(&mut device, &Owned::new(8, 0, b"").entry()).unwrap();
    assert_eq!(disk.told(), (vec![8], vec![]));
    // Neither when one superblock is lost.
    for page in 0..2 {
        let mut disk = Disk { bytes: disk.bytes.clone(), memory: disk.memory.clone() };
        disk.bytes[page * PAGE_LEN] ^= 1;
        assert_eq!(disk.told(), (vec![8], vec![]));
    }
}

#[test]
fn a_history_is_copied_without_what_is_gone() {
    let (mut from, places) = Disk::filled(32, &[1, 2, 3, 4, 5]);
    let (mut device, mut history) = from.open();
    history.remove(&mut device, places[1]).unwrap();
    from.bytes[places[3].0 as usize * PAGE_LEN + 60] ^= 1;
    let mut to = Disk::new(6);
    {
        let (mut from_device, mut from) = from.open();
        let (mut device, mut history) = to.create();
        assert_eq!(history.append_all(&mut device, &mut from, &mut from_device), Ok(3));
        let next = history.append(&mut device, &Owned::new(6, 0, b"").entry()).unwrap();
        assert_eq!(history.entry(&mut device, next).unwrap().dump.order, 6, "behind all that were copied");
        let full = history.append_all(&mut device, &mut from, &mut from_device);
        assert_eq!(full, Err(CopyError::To(HistoryError::RegionTooSmall { needed: 7 * PAGE_LEN as u64 })));
    }
    assert_eq!(to.told(), (vec![1, 3, 5, 6], vec![]));
}

#[test]
fn the_rules_see_the_dumps_of_one_path_of_one_volume() {
    // R-CHAIN-2, R-CHAIN-8: the volume's identity counts, not its name, and the path byte by byte.
    let mut disk = Disk::new(64);
    let (mut device, mut history) = disk.create();
    let mut other_volume = Owned::new(3, 0, b"home");
    other_volume.volume = VolumeId([1; 16]);
    let mut renamed = Owned::new(2, 1, b"home");
    renamed.name = b"vol2".to_vec();
    for owned in
        [Owned::new(1, 0, b"home"), renamed, other_volume, Owned::new(4, 0, b"hom"), Owned::new(5, 0, b"")]
    {
        history.append(&mut device, &owned.entry()).unwrap();
    }
    let volume = VolumeId([0xd4; 16]);
    let request = DumpRequest {
        level: Level::new(2).unwrap(),
        date: Timestamp { secs: 0, nanos: 0 },
        state: Owned::new(1, 0, b"").dump.state,
        real_numbers_fit: true,
        has_namesake: false,
        replaced: None,
        release: Release::CURRENT.max(Release { major: 1, minor: 2, patch: 3 }),
        application: Application::default(),
    };
    let mut base_of =
        |volume, path: &[u8]| match base(&mut history.dumps_of(&mut device, volume, path), &request) {
            Ok(base) => base.map(|dump| dump.id.0[0]),
            Err(BaseError::Baseline(BaselineReason::NoLowerLevel { .. })) => None,
            Err(error) => panic!("{error:?}"),
        };
    assert_eq!(base_of(volume, b"home"), Some(2));
    assert_eq!(base_of(VolumeId([1; 16]), b"home"), Some(3));
    assert_eq!(base_of(volume, b"hom"), Some(4));
    assert_eq!(base_of(volume, b""), Some(5));
    assert_eq!(base_of(volume, b"home/x"), None, "a path that no dump holds");
    assert_eq!(base_of(VolumeId([2; 16]), b"home"), None);
    let mut dumps = history.dumps_of(&mut device, volume, b"home");
    let chain = plan(&mut dumps, Point::Latest).unwrap();
    let missing = chain.missing_tape(&mut dumps, |link, _| link.level == Level::BASELINE).unwrap().unwrap();
    assert_eq!((missing.dump, missing.tape.file()), (DumpId([2; 16]), 2));
    let unknown = plan(&mut dumps, Point::Dump(DumpId([3; 16])));
    assert_eq!(unknown, Err(ChainError::Unknown { dump: DumpId([3; 16]) }));
}

#[test]
fn the_longest_entry_takes_the_pages_that_a_record_may_have() {
    let mut disk = Disk::new(16);
    let (mut device, mut history) = disk.create();
    history.append(&mut device, &Owned::largest(1).entry()).unwrap();
    assert_eq!(history.used_len(), (2 + RECORD_PAGES_MAX as u64) * PAGE_LEN as u64);
}

#[test]
fn a_payload_that_is_not_the_one_written_is_damaged_although_its_pages_are_whole() {
    let (mut disk, _) = Disk::filled(16, &[1, 2]);
    let page = &mut disk.bytes[3 * PAGE_LEN..4 * PAGE_LEN];
    page[48] ^= 1;
    let checksum = PortableCrc32c::update(0, &page[4..]);
    page[..4].copy_from_slice(&checksum.to_be_bytes());
    assert_eq!(disk.told(), (vec![1], vec![DamagedPages { page: 3, count: 1 }]));
}

#[test]
fn pages_of_two_attempts_make_no_entry() {
    // What the power may leave of an attempt, a second one on top of it, and another cut.
    let attempt = |number| {
        let mut disk = Disk::new(16);
        let (mut device, mut history) = disk.create();
        history.append(&mut device, &Owned::largest(number).entry()).unwrap();
        disk
    };
    let (first, second) = (attempt(1), attempt(2));
    for mixed in 2..12 {
        let mut disk = attempt(2);
        let pages = mixed * PAGE_LEN..(mixed + 1) * PAGE_LEN;
        disk.bytes[pages.clone()].copy_from_slice(&first.bytes[pages.clone()]);
        let whole = first.bytes[pages.clone()] == second.bytes[pages];
        assert_eq!(disk.told().0, if whole { vec![2] } else { vec![] }, "{mixed}");
    }
}

#[test]
fn what_was_found_behind_the_end_is_committed_before_it_is_told() {
    let (mut disk, _) = Disk::filled(16, &[1]);
    let superblocks = disk.bytes[..2 * PAGE_LEN].to_vec();
    let (mut device, mut history) = disk.open();
    history.append(&mut device, &Owned::new(2, 0, b"").entry()).unwrap();
    disk.bytes[..2 * PAGE_LEN].copy_from_slice(&superblocks);
    assert_eq!(disk.told(), (vec![1, 2], vec![]));
    // From now on its loss does not go unnoticed.
    disk.bytes[3 * PAGE_LEN + 60] ^= 1;
    assert_eq!(disk.told(), (vec![1], vec![DamagedPages { page: 3, count: 1 }]));
}
