//! Whole dumps and restores over devices in memory: what the engine itself costs, without any system call.
//!
//! Throughput is counted in bytes of file data. `large` is one file, `small` a mix of small files; the number of objects
//! a second is then the files of a pass by its time.

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tapedump_benches::allocations::{CountingAllocator, counted};
use tapedump_benches::checksums::{Folding, Instruction};
use tapedump_benches::processor_time::ProcessorTime;
use tapedump_benches::tree::Shape;
use tapedump_core::checksum::{Crc32c, PortableCrc32c};
use tapedump_core::device::mem::{MemBlock, MemTape, MemVolume, NullTarget, differs};
use tapedump_core::device::tape::TapeDevice;
use tapedump_core::device::volume::TargetVolume;
use tapedump_core::engine::dump::{Dump, DumpEvent, DumpMemory, DumpOptions, DumpSummary};
use tapedump_core::engine::restore::{Restore, RestoreEvent, RestoreMemory, RestoreSummary};
use tapedump_core::stream::writer::DumpIdentity;
use tapedump_core::units::{BlockingFactor, DumpId, Level, TAPE_BLOCK_LEN};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

const OPTIONS: DumpOptions = DumpOptions {
    identity: DumpIdentity { id: DumpId([7; 16]), date: 1_700_000_000, base_date: 0, level: Level::BASELINE },
    blocking: BlockingFactor::DEFAULT,
    label: [0; 16],
};

/// Memory that is lent to dumps and restores.
struct Lent {
    stream: Vec<u8>,
    maps: Vec<u8>,
    names: Vec<u8>,
    scratch: Vec<u8>,
}

impl Lent {
    fn new(objects: usize) -> Self {
        Self {
            stream: vec![0; 4 * BlockingFactor::DEFAULT.record_len()],
            maps: vec![0; 6 * (objects / 8 + 16).next_multiple_of(TAPE_BLOCK_LEN)],
            names: vec![0; 4 << 20],
            scratch: vec![0; 4 << 20],
        }
    }
}

fn dump<C: Crc32c>(source: &mut MemVolume<'_>, tape: &mut MemTape<'_>, lent: &mut Lent) -> DumpSummary {
    let middle = lent.maps.len() / 2;
    let (in_use, on_tape) = lent.maps.split_at_mut(middle);
    let memory = DumpMemory { stream: &mut lent.stream, in_use, on_tape, known: &mut [] };
    tape.rewind().expect("a tape");
    let mut dump = Dump::<_, _, C>::new(source, tape, memory, OPTIONS).expect("memory that suffices");
    loop {
        if let DumpEvent::Done(summary) = dump.step().expect("room on the tape") {
            assert_eq!(summary.incomplete, 0);
            return summary;
        }
    }
}

fn restore<C: Crc32c, V: TargetVolume>(tape: &mut MemTape<'_>, target: V, lent: &mut Lent) -> RestoreSummary {
    lent.maps.fill(0);
    let scratch = MemBlock::new(&mut lent.scratch, 512).expect("a block length");
    let memory = RestoreMemory {
        stream: &mut lent.stream,
        maps: &mut lent.maps,
        chain: &mut [],
        names: &mut lent.names,
        attributes: &mut [],
    };
    tape.rewind().expect("a tape");
    let mut restore =
        Restore::<_, _, _, C>::new(tape, target, scratch, memory).expect("memory that suffices");
    loop {
        match restore.step() {
            Ok(RestoreEvent::Done(summary)) => {
                assert!(summary.is_good(), "{summary:?}");
                return summary;
            }
            Ok(_) => {}
            Err(_) => panic!("a good tape is read to its end"),
        }
    }
}

fn engine_with<C: Crc32c>(c: &mut Criterion<ProcessorTime>, provider: &str) {
    for (case, shape) in [("large", Shape::large(16 << 20)), ("small", Shape::small(4000))] {
        let mut source_memory = shape.memory();
        let mut source = source_memory.volume();
        shape.fill(&mut source);
        let mut lent = Lent::new(shape.objects());
        let mut tape_memory = vec![0; 3 * shape.len() + (2 << 20)];
        let mut tape = MemTape::blank(&mut tape_memory);

        let mut group = c.benchmark_group("engine");
        group.sample_size(20);
        group.throughput(Throughput::Bytes(shape.len() as u64));
        let (summary, allocations) = counted(|| dump::<C>(&mut source, &mut tape, &mut lent));
        assert_eq!((allocations, summary.data_len), (0, shape.len() as u64), "a dump allocates");
        group.bench_function(BenchmarkId::new(format!("dump/{case}"), provider), |b| {
            b.iter(|| dump::<C>(&mut source, &mut tape, &mut lent));
        });
        let (_, allocations) = counted(|| restore::<C, _>(&mut tape, NullTarget::new(), &mut lent));
        assert_eq!(allocations, 0, "a restore allocates");
        group.bench_function(BenchmarkId::new(format!("verify/{case}"), provider), |b| {
            b.iter(|| restore::<C, _>(&mut tape, NullTarget::new(), &mut lent));
        });
        let mut target_memory = shape.memory();
        {
            let mut target = target_memory.volume();
            restore::<C, _>(&mut tape, &mut target, &mut lent);
            assert_eq!(differs(&source, &target), None, "what comes back is what was dumped");
        }
        group.bench_function(BenchmarkId::new(format!("restore/{case}"), provider), |b| {
            b.iter(|| {
                let mut target = target_memory.volume();
                restore::<C, _>(&mut tape, &mut target, &mut lent)
            });
        });
        group.finish();
    }
}

fn engine(c: &mut Criterion<ProcessorTime>) {
    engine_with::<Instruction>(c, "crc32c");
    engine_with::<Folding>(c, "crc-fast");
    engine_with::<PortableCrc32c>(c, "portable");
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(ProcessorTime).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(2));
    targets = engine
}
criterion_main!(benches);
