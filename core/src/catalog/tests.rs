//! Tables against a sorted `Vec`, on devices that fail and lie.

extern crate std;

use core::ops::Range;
use std::vec;
use std::vec::Vec;

use super::{Cursor, EntryBuf, MEMORY_LEN_MIN, Table, TableBuilder, TableError, region_len};
use crate::checksum::{Crc32c, PortableCrc32c};
use crate::device::ErrorKind;
use crate::device::block::BlockDevice;
use crate::limits::{ENTRY_LEN_MAX, PAGE_LEN};

/// A device in memory that counts operations and fails at a chosen one.
pub(super) struct Disk {
    pub bytes: Vec<u8>,
    pub operations: u32,
    pub fail_at: Option<u32>,
    pub written: u64,
}

impl Disk {
    pub fn new(len: u64) -> Self {
        Self { bytes: vec![0xa5; len as usize], operations: 0, fail_at: None, written: 0 }
    }

    fn range(&mut self, at: u64, len: usize) -> Result<Range<usize>, ErrorKind> {
        assert!(at.is_multiple_of(512) && len.is_multiple_of(512) && len > 0, "unaligned: {at} {len}");
        let range = at as usize..at as usize + len;
        self.operations += 1;
        if self.fail_at == Some(self.operations) {
            return Err(ErrorKind::Medium);
        }
        if range.end > self.bytes.len() { Err(ErrorKind::Invalid) } else { Ok(range) }
    }
}

impl BlockDevice for Disk {
    type Error = ErrorKind;

    fn block_len(&self) -> usize {
        512
    }
    fn capacity(&self) -> u64 {
        self.bytes.len() as u64
    }
    fn read(&mut self, at: u64, buf: &mut [u8]) -> Result<(), ErrorKind> {
        let range = self.range(at, buf.len())?;
        buf.copy_from_slice(&self.bytes[range]);
        Ok(())
    }
    fn write(&mut self, at: u64, data: &[u8]) -> Result<(), ErrorKind> {
        let range = self.range(at, data.len())?;
        self.written = self.written.max(range.end as u64);
        self.bytes[range].copy_from_slice(data);
        Ok(())
    }
    fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}

/// xorshift64*: the tests need variety, not quality.
pub(super) struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16) % bound
    }

    pub fn bytes(&mut self, len: u64, alphabet: u64) -> Vec<u8> {
        (0..len).map(|_| self.below(alphabet) as u8).collect()
    }
}

type Pair = (Vec<u8>, Vec<u8>);
type TestError = TableError<ErrorKind>;

/// How long keys and values are, and of how many different bytes.
#[derive(Clone, Copy, Debug)]
struct Shape {
    key_max: u64,
    value_max: u64,
    alphabet: u64,
}

const SHAPES: [Shape; 5] = [
    // All sorts of lengths, few duplicates.
    Shape { key_max: 40, value_max: 20, alphabet: 256 },
    // Mostly duplicates and keys that are prefixes of others, zeros included.
    Shape { key_max: 3, value_max: 1, alphabet: 2 },
    // Long common prefixes.
    Shape { key_max: 260, value_max: 67, alphabet: 2 },
    // Only duplicates of one empty entry.
    Shape { key_max: 0, value_max: 0, alphabet: 1 },
    // One key, different values.
    Shape { key_max: 0, value_max: 327, alphabet: 256 },
];

impl Shape {
    fn pairs(self, random: &mut Random, count: usize) -> Vec<Pair> {
        let pair = |random: &mut Random| {
            let (key_len, value_len) = (random.below(self.key_max + 1), random.below(self.value_max + 1));
            (random.bytes(key_len, self.alphabet), random.bytes(value_len, self.alphabet))
        };
        (0..count).map(|_| pair(random)).collect()
    }
}

fn total_len(pairs: &[Pair]) -> u64 {
    pairs.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum()
}

fn build<'m>(
    disk: &mut Disk,
    region: Range<u64>,
    memory: &'m mut [u8],
    pairs: &[Pair],
) -> Result<Table<'m>, TestError> {
    let mut builder = TableBuilder::new(disk, region, memory)?;
    for (key, value) in pairs {
        builder.push(disk, key, value)?;
    }
    assert_eq!(builder.len(), pairs.len() as u64);
    builder.finish(disk)
}

fn rest(table: &mut Table<'_>, disk: &mut Disk, mut cursor: Cursor) -> Result<Vec<Pair>, TestError> {
    let mut pairs = Vec::new();
    while let Some(entry) = table.next(disk, &mut cursor)? {
        pairs.push((entry.key.to_vec(), entry.value.to_vec()));
    }
    let end = cursor;
    assert_eq!(table.next(disk, &mut cursor)?, None);
    assert_eq!(cursor, end);
    Ok(pairs)
}

/// Every way to read the table gives what the sorted model gives.
fn check(table: &mut Table<'_>, disk: &mut Disk, sorted: &[Pair], random: &mut Random) {
    assert_eq!(table.len(), sorted.len() as u64);
    assert_eq!(table.is_empty(), sorted.is_empty());
    assert_eq!(rest(table, disk, Cursor::START).unwrap(), sorted);
    for _ in 0..60 {
        let mut key = match sorted.len() as u64 {
            0 => Vec::new(),
            len => sorted[random.below(len) as usize].0.clone(),
        };
        let len = random.below(12);
        match random.below(4) {
            0 => key.truncate(random.below(key.len() as u64 + 1) as usize),
            1 => key.push(random.below(256) as u8),
            2 => key = random.bytes(len, 256),
            _ => {}
        }
        let from = sorted.partition_point(|pair| pair.0 < key);
        let expected = sorted.get(from).map(|(key, value)| (&key[..], &value[..]));
        let mut cursor = table.seek(disk, &key).unwrap();
        for pair in sorted[from..].iter().take(3) {
            let entry = table.next(disk, &mut cursor).unwrap().expect("not the end");
            assert_eq!((entry.key, entry.value), (&pair.0[..], &pair.1[..]));
        }
        let found = table.find(disk, &key).unwrap().map(|entry| (entry.key, entry.value));
        assert_eq!(found, expected.filter(|entry| entry.0 == key));
        let found = table.first_with_prefix(disk, &key).unwrap().map(|entry| (entry.key, entry.value));
        assert_eq!(found, expected.filter(|entry| entry.0.starts_with(&key)));
    }
}

#[test]
fn equals_a_sorted_model_in_any_memory() {
    for (number, shape) in SHAPES.into_iter().enumerate() {
        for count in [0, 1, 2, 50, 3000] {
            for memory_len in [4096, 5000, 8192, 40_000, 200_000, 4 << 20] {
                let mut random = Random(1 + number as u64 * 1000 + count as u64);
                let mut pairs = shape.pairs(&mut random, count);
                let needed = region_len(count as u64, total_len(&pairs), memory_len);
                let mut disk = Disk::new(needed);
                let mut memory = vec![0x5a; memory_len];
                let mut table = build(&mut disk, 0..needed, &mut memory, &pairs)
                    .unwrap_or_else(|error| panic!("{shape:?} {count} {memory_len}: {error}"));
                pairs.sort();
                check(&mut table, &mut disk, &pairs, &mut random);
                assert_eq!(disk.operations == 0, needed == 0, "memory is used as far as it goes");
                assert_eq!(table.into_memory().len(), memory_len);
            }
        }
    }
}

#[test]
fn entries_in_order_or_in_reverse() {
    let mut pairs: Vec<Pair> = (0..5000u32).map(|n| (n.to_be_bytes().to_vec(), vec![1; 9])).collect();
    for _ in 0..2 {
        let mut disk = Disk::new(1 << 20);
        let mut memory = vec![0; 16384];
        let mut table = build(&mut disk, 0..1 << 20, &mut memory, &pairs).unwrap();
        let mut sorted = pairs.clone();
        sorted.sort();
        assert_eq!(rest(&mut table, &mut disk, Cursor::START).unwrap(), sorted);
        pairs.reverse();
    }
}

#[test]
fn the_longest_entries() {
    let mut random = Random(7);
    let entry = |random: &mut Random| {
        let key_len = random.below(ENTRY_LEN_MAX as u64 + 1);
        (random.bytes(key_len, 256), random.bytes(ENTRY_LEN_MAX as u64 - key_len, 256))
    };
    let mut pairs: Vec<Pair> = (0..2000).map(|_| entry(&mut random)).collect();
    let needed = region_len(2000, total_len(&pairs), MEMORY_LEN_MIN);
    let mut disk = Disk::new(needed);
    let mut memory = vec![0; MEMORY_LEN_MIN];
    let mut table = build(&mut disk, 0..needed, &mut memory, &pairs).unwrap();
    pairs.sort();
    check(&mut table, &mut disk, &pairs, &mut random);
}

#[test]
fn two_tables_share_a_device_and_cursors_alternate() {
    let mut random = Random(11);
    let [mut first, mut second] = [SHAPES[0], SHAPES[2]].map(|shape| shape.pairs(&mut random, 1500));
    let middle = region_len(1500, total_len(&first), 8192);
    // The second region does not begin at a page.
    let region = middle + 512..middle + 1024 + region_len(1500, total_len(&second), 8192);
    let mut disk = Disk::new(region.end);
    let (mut memory, mut other) = (vec![0; 8192], vec![0; 8192]);
    let mut builder = TableBuilder::new(&disk, 0..middle, &mut memory).unwrap();
    let mut other = TableBuilder::new(&disk, region, &mut other).unwrap();
    for (a, b) in first.iter().zip(&second) {
        builder.push(&mut disk, &a.0, &a.1).unwrap();
        other.push(&mut disk, &b.0, &b.1).unwrap();
    }
    let mut table = builder.finish(&mut disk).unwrap();
    let mut other = other.finish(&mut disk).unwrap();
    first.sort();
    second.sort();
    let mut cursors = [Cursor::START; 2];
    let mut behind = table.seek(&mut disk, &first[700].0).unwrap();
    let mut held = EntryBuf::new();
    for (n, (a, b)) in first.iter().zip(&second).enumerate() {
        held.set(table.next(&mut disk, &mut cursors[0]).unwrap().unwrap());
        if n % 3 == 0 {
            table.next(&mut disk, &mut behind).unwrap();
        }
        let entry = other.next(&mut disk, &mut cursors[1]).unwrap().unwrap();
        assert_eq!((entry.key, entry.value), (&b.0[..], &b.1[..]));
        assert_eq!((held.entry().key, held.entry().value), (&a.0[..], &a.1[..]));
    }
    check(&mut table, &mut disk, &first, &mut random);
    check(&mut other, &mut disk, &second, &mut random);
}

#[test]
fn next_with_prefix_stops_before_the_first_other_key() {
    let pairs: Vec<Pair> =
        (0..2000u32).map(|n| ((n * 7 / 10).to_be_bytes().to_vec(), vec![n as u8])).collect();
    for memory_len in [4096, 1 << 20] {
        let mut disk = Disk::new(1 << 20);
        let mut memory = vec![0; memory_len];
        let mut table = build(&mut disk, 0..1 << 20, &mut memory, &pairs).unwrap();
        let mut cursor = table.seek(&mut disk, &[0, 0, 3]).unwrap();
        let mut count = 0;
        while let Some(entry) = table.next_with_prefix(&mut disk, &mut cursor, &[0, 0, 3]).unwrap() {
            assert_eq!(entry.key[..3], [0, 0, 3]);
            count += 1;
        }
        assert_eq!(count, pairs.iter().filter(|pair| pair.0[..3] == [0, 0, 3]).count());
        let next = table.next(&mut disk, &mut cursor).unwrap().unwrap();
        assert_eq!(next.key, [0, 0, 4, 0]);
    }
}

#[test]
fn refuses_too_little_memory_and_too_long_entries() {
    let mut disk = Disk::new(0);
    let mut memory = vec![0; MEMORY_LEN_MIN];
    let refused = TableBuilder::new(&disk, 0..0, &mut memory[1..]).err();
    assert_eq!(refused, Some(TableError::MemoryTooSmall { needed: MEMORY_LEN_MIN }));
    let mut builder = TableBuilder::new(&disk, 0..0, &mut memory).unwrap();
    let refused = builder.push(&mut disk, &[0; ENTRY_LEN_MAX], &[0]);
    assert_eq!(refused, Err(TableError::EntryTooLong { len: ENTRY_LEN_MAX + 1 }));
    assert!(builder.is_empty());
    assert!(builder.finish(&mut disk).unwrap().is_empty());
}

#[test]
fn a_region_too_small_names_the_length_that_suffices() {
    let mut random = Random(3);
    for shape in SHAPES {
        let pairs = shape.pairs(&mut random, 3000);
        let mut region = 0;
        let mut memory = vec![0; 4096];
        // Each refusal names what suffices for the entries so far, so that the end is reached in the end.
        let mut refusals = 0;
        let mut disk = loop {
            let mut disk = Disk::new(1 << 24);
            match build(&mut disk, 0..region, &mut memory, &pairs) {
                Ok(_) => break disk,
                Err(TableError::RegionTooSmall { needed }) => {
                    assert!(needed > region, "{needed} is no more than {region}");
                    assert!(disk.written <= region, "nothing outside the region is written");
                    region = needed;
                    refusals += 1;
                }
                Err(other) => panic!("{other}"),
            }
        };
        assert!(refusals > 0);
        assert!(region <= region_len(3000, total_len(&pairs), 4096));
        // A device smaller than the region counts the same.
        disk.bytes.truncate(2048);
        let refused = build(&mut disk, 0..1 << 40, &mut memory, &pairs).err();
        assert!(matches!(refused, Some(TableError::RegionTooSmall { .. })), "{refused:?}");
    }
}

#[test]
fn a_failed_push_can_be_repeated() {
    let mut random = Random(5);
    let mut pairs = SHAPES[0].pairs(&mut random, 1000);
    let mut disk = Disk::new(1 << 20);
    let mut memory = vec![0; 4096];
    let mut builder = TableBuilder::new(&disk, 0..1 << 20, &mut memory).unwrap();
    let mut failures = 0;
    for (key, value) in &pairs {
        disk.fail_at = Some(disk.operations + 2);
        while let Err(error) = builder.push(&mut disk, key, value) {
            assert!(matches!(error, TableError::Device { source: ErrorKind::Medium, .. }), "{error}");
            failures += 1;
            disk.fail_at = None;
        }
    }
    disk.fail_at = None;
    let mut table = builder.finish(&mut disk).unwrap();
    assert!(failures > 10);
    pairs.sort();
    check(&mut table, &mut disk, &pairs, &mut random);
}

#[test]
fn every_device_error_is_told() {
    let pairs = SHAPES[0].pairs(&mut Random(13), 900);
    let mut sorted = pairs.clone();
    sorted.sort();
    let mut memory = vec![0; 4096];
    let mut run = |fail_at: Option<u32>| -> (u32, Result<Vec<Pair>, TestError>) {
        let mut disk = Disk::new(1 << 20);
        disk.fail_at = fail_at;
        let all = build(&mut disk, 0..1 << 20, &mut memory, &pairs).and_then(|mut table| {
            table.seek(&mut disk, &sorted[300].0)?;
            rest(&mut table, &mut disk, Cursor::START)
        });
        (disk.operations, all)
    };
    let (operations, all) = run(None);
    assert_eq!(all.unwrap(), sorted);
    assert!(operations > 100);
    for operation in 1..=operations {
        let (stopped_at, result) = run(Some(operation));
        let error = result.expect_err("the device failed");
        assert!(matches!(error, TableError::Device { source: ErrorKind::Medium, .. }), "{error}");
        assert_eq!((stopped_at, error.kind()), (operation, ErrorKind::Medium));
    }
}

#[test]
fn a_failed_read_can_be_repeated() {
    let mut disk = Disk::new(1 << 20);
    let mut pairs = SHAPES[0].pairs(&mut Random(17), 900);
    let mut memory = vec![0; 4096];
    let mut table = build(&mut disk, 0..1 << 20, &mut memory, &pairs).unwrap();
    pairs.sort();
    let mut cursor = Cursor::START;
    let mut failures = 0;
    for (key, value) in &pairs {
        disk.fail_at = Some(disk.operations + 1);
        if table.next(&mut disk, &mut cursor).is_err() {
            failures += 1;
            let entry = table.next(&mut disk, &mut cursor).unwrap().unwrap();
            assert_eq!((entry.key, entry.value), (&key[..], &value[..]));
        }
    }
    assert!(failures > 10);
}

#[test]
fn every_damaged_page_is_told() {
    let mut random = Random(19);
    let pairs = SHAPES[0].pairs(&mut random, 900);
    let mut disk = Disk::new(1 << 18);
    let mut memory = vec![0; 4096];
    build(&mut disk, 0..1 << 18, &mut memory, &pairs).unwrap();
    let good = disk.bytes.clone();
    // Which half the last pass wrote depends on the number of passes; pages of the other half are not read.
    let mut told = 0;
    for page in 0..good.len() / PAGE_LEN {
        let mut table = build(&mut disk, 0..1 << 18, &mut memory, &pairs).unwrap();
        let flipped = page * PAGE_LEN + random.below(PAGE_LEN as u64) as usize;
        disk.bytes[flipped] ^= 1 << random.below(8);
        match rest(&mut table, &mut disk, Cursor::START) {
            Err(error) => {
                assert_eq!(error, TableError::Damaged { page: page as u64 });
                told += 1;
            }
            Ok(all) => assert_eq!(all.len(), pairs.len()),
        }
    }
    assert!(told * PAGE_LEN as u64 > total_len(&pairs), "{told}");
}

/// A device that flips a bit of what is read in one operation, or gives pages from elsewhere.
struct Liar {
    disk: Disk,
    reads: u32,
    lie_at: u32,
    bit: Option<usize>,
}

impl BlockDevice for Liar {
    type Error = ErrorKind;

    fn block_len(&self) -> usize {
        512
    }
    fn capacity(&self) -> u64 {
        self.disk.capacity()
    }
    fn read(&mut self, at: u64, buf: &mut [u8]) -> Result<(), ErrorKind> {
        self.reads += 1;
        if self.reads != self.lie_at {
            return self.disk.read(at, buf);
        }
        match self.bit {
            Some(bit) => {
                self.disk.read(at, buf)?;
                buf[bit / 8 % PAGE_LEN] ^= 1 << (bit % 8);
            }
            None => {
                let elsewhere = if at == 0 { PAGE_LEN as u64 } else { at - PAGE_LEN as u64 };
                self.disk.read(elsewhere, buf)?;
            }
        }
        Ok(())
    }
    fn write(&mut self, at: u64, data: &[u8]) -> Result<(), ErrorKind> {
        self.disk.write(at, data)
    }
    fn flush(&mut self) -> Result<(), ErrorKind> {
        self.disk.flush()
    }
}

#[test]
fn lies_of_the_device_are_told_in_merges_and_reads() {
    let mut random = Random(23);
    let pairs = SHAPES[0].pairs(&mut random, 600);
    let mut memory = vec![0; 4096];
    let mut run = |lie_at: u32, bit: Option<usize>| -> (u32, Result<u64, TestError>) {
        let mut liar = Liar { disk: Disk::new(1 << 18), reads: 0, lie_at, bit };
        let result = (|| {
            let mut builder = TableBuilder::new(&liar, 0..1 << 18, &mut memory)?;
            for (key, value) in &pairs {
                builder.push(&mut liar, key, value)?;
            }
            let mut table = builder.finish(&mut liar)?;
            let mut cursor = Cursor::START;
            let mut count = 0;
            while table.next(&mut liar, &mut cursor)?.is_some() {
                count += 1;
            }
            Ok(count)
        })();
        (liar.reads, result)
    };
    let (reads, count) = run(0, None);
    assert_eq!(count, Ok(600));
    for read in 1..=reads {
        for bit in [Some(random.below(8192) as usize), None] {
            let (_, result) = run(read, bit);
            assert!(
                matches!(result, Err(TableError::Damaged { .. })),
                "read {read}, bit {bit:?}: {result:?}"
            );
        }
    }
}

/// A provider that can be told from the portable one.
struct Inverted;

impl Crc32c for Inverted {
    fn update(crc: u32, data: &[u8]) -> u32 {
        !PortableCrc32c::update(!crc, data)
    }
}

#[test]
fn pages_are_checked_by_the_given_provider() {
    let mut pairs = SHAPES[0].pairs(&mut Random(31), 900);
    let mut disks = [Disk::new(1 << 18), Disk::new(1 << 18)];
    let mut memory = vec![0; 4096];
    build(&mut disks[0], 0..1 << 18, &mut memory, &pairs).unwrap();
    let mut builder = TableBuilder::<Inverted>::with_crc(&disks[1], 0..1 << 18, &mut memory).unwrap();
    for (key, value) in &pairs {
        builder.push(&mut disks[1], key, value).unwrap();
    }
    let mut table = builder.finish(&mut disks[1]).unwrap();
    pairs.sort();
    let mut cursor = Cursor::START;
    for (key, value) in &pairs {
        let entry = table.next(&mut disks[1], &mut cursor).unwrap().unwrap();
        assert_eq!((entry.key, entry.value), (&key[..], &value[..]));
    }
    let [portable, inverted] = disks.map(|disk| disk.bytes);
    assert_ne!(portable[..4], inverted[..4]);
    assert_eq!(portable[4..PAGE_LEN], inverted[4..PAGE_LEN]);
}

#[test]
fn a_cursor_of_another_table_is_harmless() {
    let pairs = SHAPES[0].pairs(&mut Random(29), 900);
    for memory_len in [4096, 1 << 20] {
        let mut disk = Disk::new(1 << 20);
        let mut memory = vec![0; memory_len];
        let mut table = build(&mut disk, 0..1 << 20, &mut memory, &pairs).unwrap();
        for page in [0, 1, 2, u32::MAX] {
            for at in (0..1100).chain([u32::MAX]) {
                let _ = table.next(&mut disk, &mut Cursor { page, at });
            }
        }
    }
}
