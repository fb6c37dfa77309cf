//! Framing without devices: how fast a stream is written and taken apart, checksums included, on one core.
//!
//! Throughput is counted in bytes on tape. `large` is one file of full segments, `small` a mix of small files.
//! Every case is run once under the counting allocator first: framing allocates nothing.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tapedump_benches::allocations::{CountingAllocator, counted};
use tapedump_benches::checksums::{Folding, Instruction, Nothing};
use tapedump_benches::processor_time::ProcessorTime;
use tapedump_benches::sizes::{noise, small_files};
use tapedump_core::checksum::{Crc32c, PortableCrc32c};
use tapedump_core::device::volume::{Attributes, Kind, VolumeNames};
use tapedump_core::record::header::{HeaderKind, HeaderTemplate};
use tapedump_core::record::holes::Holes;
use tapedump_core::stream::reader::{Preceding, Reader, ReaderAction};
use tapedump_core::stream::writer::{DumpIdentity, Writer};
use tapedump_core::units::{BlockingFactor, DumpId, Level, TAPE_BLOCK_LEN};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// Bytes of data in one pass: more than caches hold would measure the memory, less the start.
const PASS_LEN: usize = 8 << 20;
/// Records in the writer's memory. They stay in the second-level cache, as those just read from files do.
const RECORDS: usize = 4;

/// Sizes of the files of one pass.
fn cases() -> [(&'static str, Vec<usize>); 2] {
    [("large", vec![PASS_LEN]), ("small", small_files(PASS_LEN / 4096))]
}

fn writer<C: Crc32c>(memory: &mut [u8]) -> Writer<'_, C> {
    let identity =
        DumpIdentity { id: DumpId([7; 16]), date: 1_700_000_000, base_date: 0, level: Level::BASELINE };
    let template = HeaderTemplate::new(&VolumeNames::default(), b"bench\0\0\0\0\0\0\0\0\0\0\0");
    Writer::new(memory, BlockingFactor::DEFAULT, template, identity).expect("memory for a record")
}

/// Writes a stream of these files, with data that `fill` puts in place; gives its length.
fn write<C: Crc32c>(
    writer: &mut Writer<'_, C>,
    sizes: &[usize],
    mut fill: impl FnMut(&mut [u8]),
    mut record: impl FnMut(&[u8]),
) -> u64 {
    let mut room = |writer: &mut Writer<'_, C>| {
        if writer.space().is_empty() {
            while let Some(full) = writer.poll_record() {
                record(full);
                writer.record_written();
            }
        }
    };
    let mut attributes = Attributes::new(Kind::File);
    room(writer);
    assert!(writer.header(writer.plain(HeaderKind::Tape), &Holes::NONE));
    for (index, size) in sizes.iter().enumerate() {
        attributes.size = *size as u64;
        let mut blocks = size.div_ceil(TAPE_BLOCK_LEN);
        let mut kind = HeaderKind::Inode;
        loop {
            let count = blocks.min(512);
            room(writer);
            let mut header = writer.plain(kind);
            header.ino = index as u32 + 3;
            header.count = count as u32;
            header.attributes = Some(attributes);
            assert!(writer.header(header, &Holes::all_data(count)));
            let mut len = count * TAPE_BLOCK_LEN;
            while len > 0 {
                room(writer);
                let piece = writer.space().len().min(len);
                fill(&mut writer.space()[..piece]);
                writer.commit(piece);
                len -= piece;
            }
            blocks -= count;
            kind = HeaderKind::Continuation;
            if blocks == 0 {
                break;
            }
        }
    }
    loop {
        room(writer);
        assert!(writer.header(writer.plain(HeaderKind::End), &Holes::NONE));
        if writer.is_record_aligned() {
            break;
        }
    }
    while let Some(full) = writer.poll_record() {
        record(full);
        writer.record_written();
    }
    writer.addr().byte_offset()
}

/// A whole stream, as it stands on tape.
fn tape<C: Crc32c>(sizes: &[usize]) -> Vec<u8> {
    let mut memory = vec![0; RECORDS * BlockingFactor::DEFAULT.record_len()];
    let data = noise(memory.len());
    let mut tape = Vec::new();
    let mut writer = writer::<C>(&mut memory);
    write(
        &mut writer,
        sizes,
        // Data must be data: a header left over from the last record would be found out as one.
        |space| space.copy_from_slice(&data[..space.len()]),
        |record| tape.extend_from_slice(record),
    );
    tape
}

/// Takes a stream apart; gives the number of headers and the bytes of data.
fn read<C: Crc32c>(memory: &mut [u8], tape: &[u8]) -> (u64, u64) {
    let mut records = tape.chunks(BlockingFactor::DEFAULT.record_len());
    let mut reader: Reader<'_, C> = Reader::new(memory);
    let (mut headers, mut len) = (0, 0);
    loop {
        match reader.poll().expect("a dump") {
            ReaderAction::NeedRecord => match records.next() {
                Some(record) => {
                    reader.space()[..record.len()].copy_from_slice(record);
                    reader.handle_record(record.len());
                }
                None => reader.handle_end(),
            },
            ReaderAction::Header { preceding, .. } => {
                assert_eq!(preceding, Preceding::Good);
                headers += 1;
            }
            ReaderAction::Data { bytes, .. } => len += black_box(bytes).len() as u64,
            ReaderAction::Gap(gap) => panic!("{gap:?}"),
            ReaderAction::Ended => return (headers, len),
        }
    }
}

fn write_with<C: Crc32c>(c: &mut Criterion<ProcessorTime>, provider: &str) {
    let mut group = c.benchmark_group("stream/write");
    for (case, sizes) in cases() {
        let mut memory = noise(RECORDS * BlockingFactor::DEFAULT.record_len());
        let mut pass = || {
            let mut writer = writer::<C>(&mut memory);
            // What the memory holds already is as good as any data.
            let fill = |space: &mut [u8]| {
                black_box(space);
            };
            let record = |record: &[u8]| {
                black_box(record);
            };
            write(&mut writer, &sizes, fill, record)
        };
        let (len, allocations) = counted(&mut pass);
        assert_eq!(allocations, 0, "writing a stream allocates");
        group.throughput(Throughput::Bytes(len));
        group.bench_function(BenchmarkId::new(case, provider), |b| b.iter(&mut pass));
    }
    group.finish();
}

fn read_with<C: Crc32c>(c: &mut Criterion<ProcessorTime>, provider: &str) {
    let mut group = c.benchmark_group("stream/read");
    for (case, sizes) in cases() {
        let tape = tape::<C>(&sizes);
        let mut memory = vec![0; BlockingFactor::DEFAULT.record_len() + TAPE_BLOCK_LEN];
        let mut pass = || read::<C>(&mut memory, &tape);
        let ((_, len), allocations) = counted(&mut pass);
        assert_eq!(allocations, 0, "reading a stream allocates");
        let expected: usize = sizes.iter().map(|size| size.next_multiple_of(TAPE_BLOCK_LEN)).sum();
        assert_eq!(len, expected as u64);
        group.throughput(Throughput::Bytes(tape.len() as u64));
        group.bench_function(BenchmarkId::new(case, provider), |b| b.iter(&mut pass));
    }
    group.finish();
}

/// What reading pays for its input: a copy of each record, which a device would make in its place.
fn copy(c: &mut Criterion<ProcessorTime>) {
    let mut group = c.benchmark_group("stream/copy");
    let record_len = BlockingFactor::DEFAULT.record_len();
    let tape = noise(PASS_LEN);
    let mut memory = vec![0; record_len];
    group.throughput(Throughput::Bytes(tape.len() as u64));
    group.bench_function("records", |b| {
        b.iter(|| {
            for record in tape.chunks(record_len) {
                black_box(&mut memory)[..record.len()].copy_from_slice(record);
            }
        });
    });
    group.finish();
}

fn checksum_with<C: Crc32c>(c: &mut Criterion<ProcessorTime>, provider: &str) {
    let mut group = c.benchmark_group("stream/checksum");
    for len in [TAPE_BLOCK_LEN, 4 * TAPE_BLOCK_LEN, 64 * TAPE_BLOCK_LEN] {
        let data = noise(len);
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(BenchmarkId::new(len.to_string(), provider), |b| {
            b.iter(|| C::update(0, black_box(&data)));
        });
    }
    group.finish();
}

fn stream(c: &mut Criterion<ProcessorTime>) {
    checksum_with::<Instruction>(c, "crc32c");
    checksum_with::<Folding>(c, "crc-fast");
    checksum_with::<PortableCrc32c>(c, "portable");
    copy(c);
    write_with::<Instruction>(c, "crc32c");
    write_with::<Folding>(c, "crc-fast");
    write_with::<PortableCrc32c>(c, "portable");
    write_with::<Nothing>(c, "without");
    read_with::<Instruction>(c, "crc32c");
    read_with::<Folding>(c, "crc-fast");
    read_with::<PortableCrc32c>(c, "portable");
    read_with::<Nothing>(c, "without");
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(ProcessorTime).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = stream
}
criterion_main!(benches);
