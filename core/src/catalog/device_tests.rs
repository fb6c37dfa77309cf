//! Catalogs on devices that lose power, rot and lie; and what a catalog of 1,000,000 files costs.

extern crate std;

use std::format;
use std::vec;
use std::vec::Vec;

use super::catalog_tests::{Error, Model, Opened, identity};
use super::tests::{Disk, Random};
use super::{
    CATALOG_MEMORY_MIN, Catalog, CatalogError, CatalogWriter, MEMORY_LEN_MIN, MapCursor, NameRow, ObjectRow,
    WhichMap,
};
use crate::checksum::{Crc32c, PortableCrc32c};
use crate::device::ErrorKind;
use crate::device::block::BlockDevice;
use crate::device::fault::{Fault, FaultInjector, What, When};
use crate::device::mem::MemBlock;
use crate::device::volume::Kind;
use crate::limits::PAGE_LEN;
use crate::units::{Ino, StreamBlock, TapeNo};

const LEN: usize = 160 << 10;
const BLOCK_LEN: usize = 512;

/// The device of the contract, whose errors are those of the device in memory.
struct Cut<'f, 'b>(FaultInjector<'f, MemBlock<'b>>);

impl BlockDevice for Cut<'_, '_> {
    type Error = ErrorKind;

    fn block_len(&self) -> usize {
        self.0.block_len()
    }
    fn capacity(&self) -> u64 {
        self.0.capacity()
    }
    fn read(&mut self, at: u64, buf: &mut [u8]) -> Result<(), ErrorKind> {
        self.0.read(at, buf).map_err(|_| ErrorKind::Other)
    }
    fn write(&mut self, at: u64, data: &[u8]) -> Result<(), ErrorKind> {
        self.0.write(at, data).map_err(|_| ErrorKind::Other)
    }
    fn flush(&mut self) -> Result<(), ErrorKind> {
        self.0.flush().map_err(|_| ErrorKind::Other)
    }
}

/// Makes a catalog on `bytes` until the power fails; tells whether it was made, and writes and flushes until then.
fn make_until(bytes: &mut [u8], model: &Model, number: u8, faults: &[Fault], seed: u64) -> (bool, u64) {
    let mut journal = vec![0; 2 * LEN];
    let device = MemBlock::new(bytes, BLOCK_LEN).unwrap();
    let device = FaultInjector::scheduled(device, faults).with_seed(seed).with_journal(&mut journal);
    let mut device = Cut(device);
    let mut memory = vec![0; CATALOG_MEMORY_MIN];
    let made = model.build(number, &mut device, &mut memory, None).is_ok();
    (made, device.0.operations())
}

/// Which catalog is there, checked from end to end.
fn found(bytes: &mut [u8], models: &[Model; 2]) -> Option<u8> {
    let mut memory = vec![0; MEMORY_LEN_MIN];
    let device = MemBlock::new(bytes, BLOCK_LEN).unwrap();
    match Catalog::<_, PortableCrc32c>::open(device, 0..u64::MAX, &mut memory) {
        Ok(mut catalog) => {
            let number = catalog.identity().dump.0[0];
            models[usize::from(number)].check(&mut catalog, &mut Random(1));
            Some(number)
        }
        Err(CatalogError::Absent) => None,
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn after_a_power_cut_at_any_operation_a_catalog_is_complete_or_absent() {
    let mut random = Random(77);
    let models = [Model::random(&mut random, 12, 150), Model::random(&mut random, 9, 170)];
    let mut old = vec![0xa5; LEN];
    assert!(make_until(&mut old, &models[0], 0, &[], 0).0);
    let (made, operations) = make_until(&mut old.clone(), &models[1], 1, &[], 0);
    assert!(made && operations > 40, "{operations}");
    let mut outcomes = [0; 3];
    for operation in 0..operations {
        for seed in 0..4 {
            let faults = [Fault { when: When::Any(operation), what: What::PowerCut }];
            let mut bytes = old.clone();
            let (made, _) = make_until(&mut bytes, &models[1], 1, &faults, seed);
            assert!(!made, "operation {operation}");
            let outcome = found(&mut bytes, &models);
            outcomes[outcome.map_or(2, usize::from)] += 1;
            // What is left never keeps the next one from being made.
            assert!(make_until(&mut bytes, &models[1], 1, &[], 0).0);
            assert_eq!(found(&mut bytes, &models), Some(1), "operation {operation}, seed {seed}");
        }
    }
    assert!(outcomes.iter().all(|count| *count > 0), "{outcomes:?}");
    assert!(outcomes[2] > outcomes[0] + outcomes[1], "{outcomes:?}");
}

#[test]
fn every_failure_of_the_device_is_told() {
    let model = Model::random(&mut Random(5), 12, 300);
    let make = |fail_at| {
        let mut disk = Disk::new(1 << 20);
        disk.fail_at = fail_at;
        let mut memory = vec![0; CATALOG_MEMORY_MIN];
        let result = model.build(1, &mut disk, &mut memory, Some(3)).map(drop);
        (result, disk)
    };
    let (made, disk) = make(None);
    made.unwrap();
    for operation in 1..=disk.operations {
        let (result, mut disk) = make(Some(operation));
        assert!(matches!(result, Err(CatalogError::Device { source: ErrorKind::Medium, .. })), "{result:?}");
        disk.fail_at = None;
        let mut memory = vec![0; MEMORY_LEN_MIN];
        match Opened::open(&mut disk, 0..1 << 20, &mut memory) {
            Err(error) => assert_eq!(error, CatalogError::Absent),
            // Only the second head is missing.
            Ok(_) => assert_eq!(operation, made_before_the_last_head(&make)),
        }
    }
}

/// The operation that writes the second head: the last one.
fn made_before_the_last_head(make: &impl Fn(Option<u32>) -> (Result<(), Error>, Disk)) -> u32 {
    make(None).1.operations
}

/// All that a catalog tells, or the first error.
fn read_all<D: BlockDevice<Error = ErrorKind>>(catalog: &mut Catalog<'_, D>) -> Result<usize, Error> {
    let mut count = 0;
    let mut inos = Vec::new();
    let mut cursor = catalog.first_by_number()?;
    while let Some(row) = catalog.next_by_number(&mut cursor)? {
        inos.push(row.ino);
        count += 1;
        assert!(count < 1 << 20);
    }
    let mut cursor = catalog.first_on_tape()?;
    while catalog.next_on_tape(&mut cursor)?.is_some() {
        count += 1;
        assert!(count < 1 << 20);
    }
    let mut map = MapCursor::new(WhichMap::OnTape);
    let mut room = [0; 2000];
    for ino in inos {
        let mut cursor = catalog.names_from(ino, b"")?;
        while catalog.next_name(&mut cursor)?.is_some() {
            count += 1;
            assert!(count < 1 << 20);
        }
        match catalog.path_of(ino, &mut room) {
            Ok(path) => count += path.map_or(0, <[u8]>::len),
            Err(CatalogError::PathTooLong) => {}
            Err(error) => return Err(error),
        }
        count += usize::from(catalog.contains(&mut map, ino)?);
        catalog.next_in_map(WhichMap::InUse, ino)?;
    }
    catalog.next_tape(TapeNo(0))?;
    Ok(count)
}

#[test]
fn a_damaged_page_is_named_and_never_trusted() {
    let mut random = Random(9);
    let model = Model::random(&mut random, 30, 900);
    let mut disk = Disk::new(1 << 20);
    let mut memory = vec![0; CATALOG_MEMORY_MIN];
    let pages = model.build(1, &mut disk, &mut memory, Some(2)).unwrap().figures().len as usize / PAGE_LEN;
    let good = disk.bytes.clone();
    let expected = read_all(&mut Opened::open(&mut disk, 0..1 << 20, &mut memory).unwrap()).unwrap();
    for page in 0..pages {
        disk.bytes.copy_from_slice(&good);
        let at = page * PAGE_LEN + random.below(PAGE_LEN as u64) as usize;
        disk.bytes[at] ^= 1 << random.below(8);
        let mut catalog = Opened::open(&mut disk, 0..1 << 20, &mut memory).unwrap();
        // One of two heads is enough.
        let damaged = Err(CatalogError::Damaged { page: page as u64 });
        assert_eq!(read_all(&mut catalog), if page < 2 { Ok(expected) } else { damaged }, "page {page}");
    }
    for at in [100, PAGE_LEN + 100] {
        disk.bytes[at] ^= 1;
    }
    let damaged = Opened::open(&mut disk, 0..1 << 20, &mut memory).err();
    assert_eq!(damaged, Some(CatalogError::Damaged { page: 0 }));
}

/// Pages with right checksums and wrong content are damage or lead to wrong answers, not to panics or loops.
#[test]
fn pages_made_up_with_right_checksums_do_no_harm() {
    let mut random = Random(21);
    let model = Model::random(&mut random, 12, 150);
    let mut disk = Disk::new(128 << 10);
    let mut memory = vec![0; CATALOG_MEMORY_MIN];
    let pages = model.build(1, &mut disk, &mut memory, Some(2)).unwrap().figures().len / PAGE_LEN as u64;
    let salt = identity(1).salt::<PortableCrc32c>();
    let good = disk.bytes.clone();
    let mut outcomes = [0; 2];
    for _ in 0..600 {
        disk.bytes.copy_from_slice(&good);
        for _ in 0..1 + random.below(3) {
            let number = random.below(pages) as usize;
            let page = &mut disk.bytes[number * PAGE_LEN..][..PAGE_LEN];
            // Near the front, where lengths and numbers are.
            let end = if random.below(2) == 0 { 40 } else { PAGE_LEN as u64 };
            for _ in 0..1 + random.below(3) {
                page[4 + random.below(end - 4) as usize] = (random.below(256) as u8) >> random.below(8);
            }
            let checksum = PortableCrc32c::update(if number < 2 { 0 } else { salt }, &page[4..]);
            page[..4].copy_from_slice(&checksum.to_be_bytes());
        }
        let result =
            Opened::open(&mut disk, 0..1 << 20, &mut memory).and_then(|mut catalog| read_all(&mut catalog));
        outcomes[usize::from(result.is_ok())] += 1;
    }
    assert!(outcomes[0] > 100 && outcomes[1] > 20, "{outcomes:?}");
}

#[test]
fn pages_of_another_catalog_do_not_pass() {
    let mut random = Random(4);
    let model = Model::random(&mut random, 10, 500);
    let mut disks = [Disk::new(1 << 20), Disk::new(1 << 20)];
    let mut memory = vec![0; CATALOG_MEMORY_MIN];
    for (number, disk) in disks.iter_mut().enumerate() {
        model.build(number as u8, disk, &mut memory, None).unwrap();
    }
    let [mut disk, other] = disks;
    for number in 2..9 {
        let good = disk.bytes.clone();
        let page = number * PAGE_LEN..(number + 1) * PAGE_LEN;
        disk.bytes[page.clone()].copy_from_slice(&other.bytes[page]);
        let mut catalog = Opened::open(&mut disk, 0..1 << 20, &mut memory).unwrap();
        assert_eq!(read_all(&mut catalog), Err(CatalogError::Damaged { page: number as u64 }));
        disk.bytes = good;
    }
}

/// Counts, and remembers how much was moved at once.
struct Counting {
    disk: Disk,
    reads: u64,
    longest: usize,
}

impl BlockDevice for Counting {
    type Error = ErrorKind;

    fn block_len(&self) -> usize {
        PAGE_LEN
    }
    fn capacity(&self) -> u64 {
        self.disk.capacity()
    }
    fn read(&mut self, at: u64, buf: &mut [u8]) -> Result<(), ErrorKind> {
        self.reads += (buf.len() / PAGE_LEN) as u64;
        self.longest = self.longest.max(buf.len());
        self.disk.read(at, buf)
    }
    fn write(&mut self, at: u64, data: &[u8]) -> Result<(), ErrorKind> {
        self.longest = self.longest.max(data.len());
        self.disk.write(at, data)
    }
    fn flush(&mut self) -> Result<(), ErrorKind> {
        self.disk.flush()
    }
}

const FILES: u32 = 1_000_000;
const MEMORY_LEN: usize = 64 << 10;

/// Directories below each other: 10, 10, 10 and 20, and in each of the lowest 50 files.
const FAN_OUT: [u32; 5] = [10, 10, 10, 20, 50];

/// Number of an object: of those of one level, the one with this index; level by level, scattered within.
fn ino_of(level: usize, index: u32) -> Ino {
    let count: u32 = FAN_OUT[..level].iter().product();
    let before: u32 = (0..level).map(|level| FAN_OUT[..level].iter().product::<u32>()).sum();
    // 7919 is prime to all counts, which are powers of 2 and 5.
    Ino(2 + before + (u64::from(index) * 7919 % u64::from(count)) as u32)
}

fn name_of(level: usize, index: u32) -> std::string::String {
    if level < FAN_OUT.len() { format!("directory-{index}") } else { format!("picture-{index:07}.jpeg") }
}

/// Tells the catalog of the tree: each directory's names in no order, objects by ascending number.
fn tell_big(writer: &mut CatalogWriter<'_, &mut Counting>) -> Result<(), Error> {
    let mut block = 100;
    let mut tell = |writer: &mut CatalogWriter<'_, &mut Counting>, ino: Ino, kind| {
        let mut row = ObjectRow::new(ino, kind);
        (row.permissions, row.links, row.uid, row.gid) = (0o644, 1, 1000, 1000);
        row.size = u64::from(ino.0.wrapping_mul(0x9e37_79b1) >> 8);
        row.modified.secs = 1_700_000_000 + i64::from(ino.0);
        row.modified.nanos = ino.0.wrapping_mul(977) % 1_000_000_000;
        row.changed = row.modified;
        row.changed.secs += 100;
        row.place = Some(StreamBlock(block));
        block += 2 + row.size.min(60_000) / 1024;
        writer.object(&row)
    };
    let inverse_of = |level: usize, first: u32| {
        let count: u64 = FAN_OUT[..level].iter().map(|n| u64::from(*n)).product();
        let inverse = (1..count.max(2)).find(|n| n * 7919 % count.max(1) == 1 % count).unwrap_or(0);
        move |at: u32| (u64::from(at - first) * inverse % count.max(1)) as u32
    };
    for (level, fan_out) in FAN_OUT.into_iter().enumerate() {
        let first = ino_of(level, 0);
        let count: u32 = FAN_OUT[..level].iter().product();
        let index_of = inverse_of(level, first.0);
        for ino in first.0..first.0 + count {
            let index = index_of(ino);
            for child in (0..fan_out).map(|child| index * fan_out + child * 3 % fan_out + child / fan_out) {
                // 3 is prime to the fan-outs.
                let name = name_of(level + 1, child);
                let ino_below = ino_of(level + 1, child);
                writer.name(NameRow {
                    parent: Ino(ino),
                    name: name.as_bytes(),
                    ino: ino_below,
                    kind: None,
                })?;
            }
            tell(writer, Ino(ino), Kind::Directory)?;
        }
    }
    let first = ino_of(FAN_OUT.len(), 0).0;
    (first..first + FILES).try_for_each(|ino| tell(writer, Ino(ino), Kind::File))
}

#[test]
fn a_million_files_in_64_kib() {
    // Making it takes a little more room than it has in the end.
    let len = 110 * u64::from(FILES);
    let mut counting = Counting { disk: Disk::new(len), reads: 0, longest: 0 };
    // The lent memory stands between guards: no allocator and no other memory is there to be used.
    let mut memory = vec![0x5a; MEMORY_LEN + 2 * PAGE_LEN];
    let lent = &mut memory[PAGE_LEN..][..MEMORY_LEN];
    let mut writer =
        CatalogWriter::<_, PortableCrc32c>::new(&mut counting, 0..len, lent, identity(0)).unwrap();
    assert!(size_of_val(&writer) < 1536, "{}", size_of_val(&writer));
    let last = ino_of(FAN_OUT.len(), 0).0 + FILES - 1;
    let map = vec![0xff; last as usize / 8];
    writer.map(WhichMap::InUse, 0, &map).unwrap();
    writer.map(WhichMap::OnTape, 0, &map).unwrap();
    tell_big(&mut writer).unwrap();
    let catalog = writer.finish().unwrap();
    assert!(size_of_val(&catalog) < 1536, "{}", size_of_val(&catalog));
    let figures = catalog.figures();
    assert_eq!((figures.others, figures.names), (FILES.into(), 1_021_110));
    assert!(memory[..PAGE_LEN].iter().chain(&memory[PAGE_LEN + MEMORY_LEN..]).all(|byte| *byte == 0x5a));
    assert!(counting.longest <= MEMORY_LEN);
    assert!(figures.len <= 96 * u64::from(FILES), "{} bytes", figures.len);
    // In the order of a tape no merge is needed: all but the links is written once, and read twice.
    assert!(counting.reads * (PAGE_LEN as u64) < 4 * figures.len, "{}", counting.reads);
    let mut most = 0;
    for index in (0..FILES).step_by(7919) {
        let mut path = Vec::new();
        for level in 1..=FAN_OUT.len() {
            let beneath: u32 = FAN_OUT[level..].iter().product();
            path.push(name_of(level, index / beneath));
        }
        let mut catalog =
            Catalog::<_, PortableCrc32c>::open(&mut counting, 0..len, &mut memory[..MEMORY_LEN]).unwrap();
        catalog.device().reads = 0;
        let ino = catalog.look_up(path.join("/").as_bytes()).unwrap().expect("there");
        assert_eq!(ino, ino_of(FAN_OUT.len(), index));
        assert!(catalog.object(ino).unwrap().is_some());
        most = most.max(catalog.device().reads);
        let mut room = [0; 300];
        assert_eq!(catalog.path_of(ino, &mut room).unwrap(), Some(path.join("/").as_bytes()));
    }
    assert!(most <= 20, "{most} reads for one path");
}
