//! Tables of the catalog: taking entries, sorting them, reading in order and looking up; in memory and, with less
//! of it, on a device.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tapedump_benches::checksums::{Folding, Instruction};
use tapedump_benches::processor_time::ProcessorTime;
use tapedump_benches::sizes::Random;
use tapedump_core::catalog::{Cursor, Table, TableBuilder, region_len};
use tapedump_core::checksum::{Crc32c, PortableCrc32c};
use tapedump_core::device::mem::MemBlock;

const ENTRIES: u32 = 50_000;
const BLOCK_LEN: usize = 512;

/// Directory, then name: what a restore keeps of each entry of a directory.
fn key_of(index: u32, key: &mut [u8; 19]) {
    key[..4].copy_from_slice(&(index % 500).to_be_bytes());
    key[4..13].copy_from_slice(b"file-name");
    let mut rest = index;
    for digit in key[13..].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
}

/// The numbers in the order in which a volume's directories list them: none.
fn order() -> Vec<u32> {
    let mut order: Vec<u32> = (0..ENTRIES).collect();
    let mut random = Random(4);
    for last in (1..order.len()).rev() {
        order.swap(last, (random.bits() % (last as u64 + 1)) as usize);
    }
    order
}

struct Lent {
    memory: Vec<u8>,
    device: Vec<u8>,
}

impl Lent {
    fn new(memory_len: usize) -> Self {
        let bytes = u64::from(ENTRIES) * 23;
        let region = region_len(ENTRIES.into(), bytes, memory_len) as usize;
        Self { memory: vec![0; memory_len], device: vec![0; region.next_multiple_of(BLOCK_LEN)] }
    }
}

fn build<'m, C: Crc32c>(memory: &'m mut [u8], device: &mut MemBlock<'_>, order: &[u32]) -> Table<'m, C> {
    let mut builder = TableBuilder::<C>::with_crc(device, 0..u64::MAX, memory).expect("memory");
    let mut key = [0; 19];
    for index in order {
        key_of(*index, &mut key);
        builder.push(device, &key, &index.to_be_bytes()).expect("room");
    }
    builder.finish(device).expect("room")
}

fn tables<C: Crc32c>(c: &mut Criterion<ProcessorTime>, place: &str, memory_len: usize) {
    let order = order();
    let mut lent = Lent::new(memory_len);
    let mut device = MemBlock::new(&mut lent.device, BLOCK_LEN).expect("a block length");
    let mut group = c.benchmark_group(format!("catalog/{place}"));
    group.throughput(Throughput::Elements(ENTRIES.into()));
    group.bench_function("push and sort", |b| {
        b.iter(|| build::<C>(&mut lent.memory, &mut device, black_box(&order)).len());
    });
    let mut table = build::<C>(&mut lent.memory, &mut device, &order);
    group.bench_function("iterate", |b| {
        b.iter(|| {
            let mut cursor = Cursor::START;
            let mut count = 0;
            while let Some(entry) = table.next(&mut device, &mut cursor).expect("good") {
                black_box(entry);
                count += 1;
            }
            assert_eq!(count, ENTRIES);
        });
    });
    group.throughput(Throughput::Elements(1));
    let mut at = 0;
    group.bench_function("look up", |b| {
        b.iter(|| {
            at = (at + 1) % order.len();
            let mut key = [0; 19];
            key_of(order[at], &mut key);
            assert!(table.find(&mut device, black_box(&key)).expect("good").is_some());
        });
    });
    group.finish();
}

fn catalog(c: &mut Criterion<ProcessorTime>) {
    tables::<Instruction>(c, "in memory", 4 << 20);
    tables::<Instruction>(c, "256 KiB, crc32c", 256 << 10);
    tables::<Folding>(c, "256 KiB, crc-fast", 256 << 10);
    tables::<PortableCrc32c>(c, "256 KiB, portable", 256 << 10);
    tables::<PortableCrc32c>(c, "16 KiB, portable", 16 << 10);
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(ProcessorTime)
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = catalog
}
criterion_main!(benches);
