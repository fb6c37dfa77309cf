//! Chains: finding the base of an increment and the plan of a restore, among dumps in memory and in a history on a
//! device; opening a history, and appending to it.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tapedump_benches::checksums::Instruction;
use tapedump_benches::processor_time::ProcessorTime;
use tapedump_core::chain::history::{History, memory_len};
use tapedump_core::chain::{
    Application, BaseRef, Dump, DumpRequest, Dumps, Entry, Maker, Numbering, Outcome, Point, Recorded,
    Release, SliceDumps, Tape, VolumeState, base, plan,
};
use tapedump_core::checksum::{Crc32c, PortableCrc32c};
use tapedump_core::device::block::BlockDevice;
use tapedump_core::device::mem::MemBlock;
use tapedump_core::limits::PAGE_LEN;
use tapedump_core::units::{BlockAddr, BlockingFactor, DumpId, Ino, Level, Timestamp, VolumeId};

const VOLUME: VolumeId = VolumeId([7; 16]);
const PATH: &[u8] = b"home/projects";
const DAY: i64 = 86_400;

fn id(number: usize) -> DumpId {
    DumpId((number as u128).to_be_bytes())
}

fn date(number: usize) -> Timestamp {
    Timestamp { secs: number as i64 * DAY, nanos: 1 }
}

/// One dump a day: a baseline every four weeks, level 1 every week, then 2 to 7.
fn dumps(count: usize) -> Vec<Dump> {
    let mut dumps: Vec<Dump> = Vec::new();
    for number in 0..count {
        let level = if number.is_multiple_of(28) { 0 } else { 1 + (number % 7) as u32 };
        // The last one of a lower level; in the week of a baseline that is the baseline.
        let below = dumps.iter().rev().find(|dump| dump.level.number() < level);
        let base = below.filter(|_| level > 0).map(|dump| BaseRef { id: Some(dump.id), date: dump.date });
        dumps.push(Dump {
            id: id(number),
            level: Level::new(level).expect("a level"),
            date: date(number),
            order: number as u64,
            base,
            outcome: Outcome::Good,
            numbering: Numbering::Real,
            ino_limit: Ino(1 << 20),
            maker: Maker::Tapedump { release: Release::CURRENT, format: 1 },
            state: VolumeState::default(),
        });
    }
    dumps
}

fn request(dumps: &[Dump]) -> DumpRequest {
    DumpRequest {
        level: Level::MAX,
        date: date(dumps.len()),
        state: VolumeState::default(),
        real_numbers_fit: true,
        has_namesake: false,
        replaced: None,
        release: Release::CURRENT,
        application: Application::default(),
    }
}

fn entry<'a>(dump: Dump, tapes: &'a [Tape]) -> Entry<'a> {
    Entry {
        dump,
        volume: VOLUME,
        volume_name: b"vol1",
        path: PATH,
        blocking: BlockingFactor::DEFAULT,
        blocks: 1 << 20,
        objects: 1 << 16,
        catalog: None,
        catalog_file: None,
        tapes,
    }
}

/// Base of the next increment, and plans for the last dump and for one in the middle.
fn resolve<S: Dumps>(dumps: &mut S, request: &DumpRequest) -> usize
where
    S::Error: core::fmt::Debug,
{
    base(dumps, request).expect("good").expect("a base");
    let latest = plan(dumps, Point::Latest).expect("whole");
    let middle = plan(dumps, Point::At(Timestamp { secs: request.date.secs / 2, nanos: 0 })).expect("whole");
    latest.links().len() + middle.links().len()
}

fn in_memory(c: &mut Criterion<ProcessorTime>) {
    let mut group = c.benchmark_group("chain/in memory");
    for count in [30, 365, 3650] {
        let dumps = dumps(count);
        let recorded: Vec<_> = dumps.iter().map(|dump| Recorded { dump: *dump, tapes: &[] }).collect();
        let request = request(&dumps);
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(BenchmarkId::new("base and plans", count), |b| {
            b.iter(|| resolve(&mut SliceDumps::new(black_box(&recorded)), &request));
        });
    }
    group.finish();
}

fn in_history<C: Crc32c>(c: &mut Criterion<ProcessorTime>, checksum: &str) {
    let tapes = [Tape::new([9; 16], b"LTO001", 3, BlockAddr(0))];
    let mut group = c.benchmark_group(format!("chain/history, {checksum}"));
    for count in [30, 365, 3650] {
        let dumps = dumps(count);
        let request = request(&dumps);
        let mut bytes = vec![0; (count + 4) * PAGE_LEN];
        let mut device = MemBlock::new(&mut bytes, 512).expect("a block length");
        let region = 0..device.capacity();
        let mut memory = vec![0; memory_len(&region)];
        let mut history =
            History::<C>::create_with_crc(&mut device, region.clone(), [1; 16], &mut memory).expect("room");
        for dump in &dumps {
            history.append(&mut device, &entry(*dump, &tapes)).expect("room");
        }
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(BenchmarkId::new("base and plans", count), |b| {
            b.iter(|| resolve(&mut history.dumps_of(&mut device, VOLUME, black_box(PATH)), &request));
        });
        group.bench_function(BenchmarkId::new("open", count), |b| {
            b.iter(|| {
                let opened = History::<C>::open_with_crc(&mut device, region.clone(), &mut memory);
                opened.expect("good").used_len()
            });
        });
        group.bench_function(BenchmarkId::new("make", count), |b| {
            b.iter(|| {
                let made = History::<C>::create_with_crc(&mut device, region.clone(), [1; 16], &mut memory);
                let mut made = made.expect("room");
                for dump in &dumps {
                    made.append(&mut device, &entry(*dump, &tapes)).expect("room");
                }
                made.used_len()
            });
        });
    }
    group.finish();
}

fn chain(c: &mut Criterion<ProcessorTime>) {
    in_memory(c);
    in_history::<Instruction>(c, "crc32c");
    in_history::<PortableCrc32c>(c, "portable");
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(ProcessorTime)
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = chain
}
criterion_main!(benches);
