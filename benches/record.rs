//! Single structures of the format: headers, hole maps and directory entries.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tapedump_benches::checksums::{Folding, Instruction};
use tapedump_benches::processor_time::ProcessorTime;
use tapedump_benches::sizes::Random;
use tapedump_core::checksum::{Crc32c, PortableCrc32c};
use tapedump_core::device::volume::{Attributes, Kind, VolumeNames};
use tapedump_core::record::dialect::Dialect;
use tapedump_core::record::dirent::{CHUNK_LEN, ChunkWriter, Dirents};
use tapedump_core::record::extension::Extension;
use tapedump_core::record::header::{Header, HeaderKind, HeaderRepr, HeaderTemplate, TapeBlock};
use tapedump_core::record::holes::Holes;
use tapedump_core::units::{BlockAddr, DumpId, Ino, TAPE_BLOCK_LEN, TapeNo};

fn header_of(count: u32) -> HeaderRepr {
    let mut attributes = Attributes::new(Kind::File);
    attributes.permissions = 0o644;
    attributes.size = u64::from(count) * 1024;
    HeaderRepr {
        kind: HeaderKind::Inode,
        date: 1_700_000_000,
        base_date: 0,
        tape: TapeNo::FIRST,
        addr: BlockAddr(77),
        ino: 4711,
        mode: 0o100_644,
        attributes: Some(attributes),
        count,
        level: 0,
        flags: 0,
        first_block: 0,
        blocking: 64,
        linux_extended: 0,
        extension: Some(Extension::new(DumpId([7; 16]))),
    }
}

fn headers_with<C: Crc32c>(c: &mut Criterion<ProcessorTime>, provider: &str) {
    let mut group = c.benchmark_group("record/header");
    let template = HeaderTemplate::new(&VolumeNames::default(), &[0; 16]);
    group.throughput(Throughput::Bytes(TAPE_BLOCK_LEN as u64));
    for count in [4, 512] {
        let repr = header_of(count);
        let holes = Holes::all_data(count as usize);
        let mut block: TapeBlock = [0; TAPE_BLOCK_LEN];
        group.bench_function(format!("emit/{count} blocks/{provider}"), |b| {
            b.iter(|| template.emit::<C>(black_box(&repr), black_box(&holes), black_box(&mut block)));
        });
        group.bench_function(format!("parse/{count} blocks/{provider}"), |b| {
            b.iter(|| {
                let header = Header::new(black_box(&block));
                let repr = header.parse::<C>(Dialect::OURS).expect("a header");
                (header.holes(repr.count), repr)
            });
        });
    }
    group.finish();
}

fn no_header(c: &mut Criterion<ProcessorTime>) {
    // What the reader asks of each data block.
    let block: TapeBlock = [0xea; TAPE_BLOCK_LEN];
    c.bench_function("record/header/reject data", |b| {
        b.iter(|| Header::new(black_box(&block)).may_be(Dialect::OURS));
    });
}

fn holes(c: &mut Criterion<ProcessorTime>) {
    let mut group = c.benchmark_group("record/holes");
    let mut random = Random(3);
    let mut mixed = Holes::NONE;
    for index in 0..512 {
        if random.bits() & 1 == 0 {
            mixed.set_data(index);
        }
    }
    for (name, map) in [("all data", Holes::all_data(512)), ("mixed", mixed)] {
        let mut entries = [0; 512];
        group.bench_function(format!("emit/{name}"), |b| {
            b.iter(|| black_box(&map).emit(512, black_box(&mut entries)));
        });
        group.bench_function(format!("parse/{name}"), |b| b.iter(|| Holes::parse(black_box(&entries))));
        group.bench_function(format!("runs/{name}"), |b| {
            b.iter(|| {
                let map = black_box(&map);
                let (mut at, mut runs) = (0, 0);
                while at < 512 {
                    at += map.run_len(at, 512);
                    runs += 1;
                }
                runs
            });
        });
    }
    group.finish();
}

fn directories(c: &mut Criterion<ProcessorTime>) {
    let names: Vec<String> = (0..10_000).map(|index| format!("file-{index:06}.dat")).collect();
    let pack = |names: &[String], data: &mut Vec<u8>| {
        data.clear();
        let mut writer = ChunkWriter::new();
        for (index, name) in names.iter().enumerate() {
            let ino = Ino(index as u32 + 3);
            if !writer.push(ino, name.as_bytes()) {
                data.extend_from_slice(&writer.finish());
                assert!(writer.push(ino, name.as_bytes()));
            }
        }
        data.extend_from_slice(&writer.finish());
    };
    let mut group = c.benchmark_group("record/dirents");
    group.throughput(Throughput::Elements(names.len() as u64));
    let mut data = Vec::with_capacity(names.len() * 32 + CHUNK_LEN);
    group.bench_function("write", |b| b.iter(|| pack(black_box(&names), &mut data)));
    pack(&names, &mut data);
    group.bench_function("read", |b| {
        b.iter(|| {
            let found = Dirents::new(black_box(&data), Dialect::OURS).filter(Result::is_ok).count();
            assert_eq!(found, names.len());
        });
    });
    group.finish();
}

fn record(c: &mut Criterion<ProcessorTime>) {
    headers_with::<Instruction>(c, "crc32c");
    headers_with::<Folding>(c, "crc-fast");
    headers_with::<PortableCrc32c>(c, "portable");
    no_header(c);
    holes(c);
    directories(c);
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(ProcessorTime).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    targets = record
}
criterion_main!(benches);
