//! Tables of the catalog: taking entries, sorting them, reading in order and looking up; in memory and, with less
//! of it, on a device. Then the catalog of a dump of 1,000,000 files, made and asked in 64 KiB.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tapedump_benches::checksums::{Folding, Instruction};
use tapedump_benches::processor_time::ProcessorTime;
use tapedump_benches::sizes::Random;
use tapedump_core::catalog::{
    Catalog, CatalogIdentity, CatalogWriter, Cursor, NameRow, ObjectRow, Table, TableBuilder, View, WhichMap,
    region_len,
};
use tapedump_core::checksum::{Crc32c, PortableCrc32c};
use tapedump_core::device::ErrorKind;
use tapedump_core::device::block::BlockDevice;
use tapedump_core::device::mem::MemBlock;
use tapedump_core::device::volume::{Kind, VolumeNames};
use tapedump_core::units::{DumpId, Ino, Level, StreamBlock, Timestamp};

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

/// A device in memory that counts what is read.
struct Counting<'a> {
    device: MemBlock<'a>,
    reads: u64,
}

impl BlockDevice for Counting<'_> {
    type Error = ErrorKind;

    fn block_len(&self) -> usize {
        self.device.block_len()
    }
    fn capacity(&self) -> u64 {
        self.device.capacity()
    }
    fn read(&mut self, at: u64, buf: &mut [u8]) -> Result<(), ErrorKind> {
        self.reads += 1;
        self.device.read(at, buf)
    }
    fn write(&mut self, at: u64, data: &[u8]) -> Result<(), ErrorKind> {
        self.device.write(at, data)
    }
    fn flush(&mut self) -> Result<(), ErrorKind> {
        self.device.flush()
    }
}

type Names = Vec<(Vec<u8>, Ino)>;

/// Directories beneath each other to the depth of four, and files in the lowest: 1,000,000 at paths of five names.
struct Tree {
    /// Directories by ascending number, each with its names in the order of its volume.
    directories: Vec<(Ino, Names)>,
    /// Files by ascending number.
    files: Vec<Ino>,
    paths: Vec<Vec<u8>>,
}

const FILES: u64 = 1_000_000;
const MEMORY_LEN: usize = 64 << 10;

impl Tree {
    fn new() -> Self {
        let (mut directories, mut files, mut paths) = (Vec::new(), Vec::new(), Vec::new());
        let mut random = Random(3);
        let mut level = vec![(Ino::ROOT, Vec::new())];
        let mut last = Ino::ROOT.0;
        for (depth, fan_out) in [10, 10, 10, 20, 50].into_iter().enumerate() {
            let mut below = Vec::new();
            for (directory, path) in level {
                let mut names = Vec::with_capacity(fan_out);
                for index in 0..fan_out {
                    // As file systems do: numbers near those of the directory, with gaps.
                    last += 1 + (random.bits() % 8 / 7) as u32 * 40;
                    let ino = Ino(last);
                    let name = if depth < 4 {
                        format!("directory-{index}")
                    } else {
                        format!("picture-{:06}.jpeg", random.bits() % 1_000_000)
                    };
                    let path = [&path[..], b"/", name.as_bytes()].concat();
                    if depth < 4 {
                        below.push((ino, path));
                    } else {
                        files.push(ino);
                        if files.len() % 100 == 0 {
                            paths.push(path);
                        }
                    }
                    names.push((name.into_bytes(), ino));
                }
                // The order of a volume's hashes.
                for last in (1..names.len()).rev() {
                    names.swap(last, (random.bits() % (last as u64 + 1)) as usize);
                }
                directories.push((directory, names));
            }
            level = below;
        }
        directories.sort_by_key(|(ino, _)| *ino);
        files.sort();
        Self { directories, files, paths }
    }

    fn map(&self) -> Vec<u8> {
        let last = self.files.last().expect("files").0.max(self.directories.last().expect("the root").0.0);
        let mut map = vec![0; (last as usize).div_ceil(8)];
        for ino in self.files.iter().chain(self.directories.iter().map(|(ino, _)| ino)) {
            map[(ino.0 as usize - 1) / 8] |= 1 << ((ino.0 - 1) % 8);
        }
        map
    }
}

fn row(ino: Ino, kind: Kind, block: &mut u64) -> ObjectRow {
    let mut row = ObjectRow::new(ino, kind);
    (row.permissions, row.links, row.uid, row.gid) = (0o644, 1, 1000, 1000);
    row.size = u64::from(ino.0.wrapping_mul(0x9e37_79b1) >> 8);
    row.modified = Timestamp { secs: 1_700_000_000 + i64::from(ino.0), nanos: ino.0.wrapping_mul(977) };
    row.changed = Timestamp { secs: row.modified.secs + 1, ..row.modified };
    row.place = Some(StreamBlock(*block));
    *block += 2 + row.size.min(60_000) / 1024;
    row
}

/// The catalog of a dump of every `step`th file and all directories that hold any.
fn make<'m, D: BlockDevice<Error = ErrorKind>, C: Crc32c>(
    tree: &Tree,
    map: &[u8],
    step: usize,
    device: D,
    memory: &'m mut [u8],
) -> Catalog<'m, D, C> {
    let identity = CatalogIdentity {
        dump: DumpId([step as u8; 16]),
        base: None,
        level: Level::BASELINE,
        date: 1_700_000_000,
        base_date: 0,
        volume: [7; 16],
        names: VolumeNames::default(),
        label: [0; 16],
    };
    let mut writer = CatalogWriter::<_, C>::new(device, 0..u64::MAX, memory, identity).expect("room");
    writer.map(WhichMap::InUse, 0, map).expect("room");
    let mut block = 100;
    if step == 1 {
        writer.map(WhichMap::OnTape, 0, map).expect("room");
        for (directory, names) in &tree.directories {
            for (name, ino) in names {
                writer.name(NameRow { parent: *directory, name, ino: *ino, kind: None }).expect("room");
            }
            writer.object(&row(*directory, Kind::Directory, &mut block)).expect("room");
        }
    } else {
        let mut on_tape = vec![0; map.len()];
        for ino in tree.files.iter().step_by(step) {
            on_tape[(ino.0 as usize - 1) / 8] |= 1 << ((ino.0 - 1) % 8);
        }
        writer.map(WhichMap::OnTape, 0, &on_tape).expect("room");
    }
    for ino in tree.files.iter().step_by(step) {
        writer.object(&row(*ino, Kind::File, &mut block)).expect("room");
    }
    writer.finish().expect("room")
}

fn dump_catalog<C: Crc32c>(c: &mut Criterion<ProcessorTime>, crc: &str) {
    let tree = Tree::new();
    let map = tree.map();
    let (mut bytes, mut memory) = (vec![0; 110 << 20], vec![0; MEMORY_LEN]);
    let mut group = c.benchmark_group(format!("catalog of {FILES} files, 64 KiB, {crc}"));
    group.sample_size(10).throughput(Throughput::Elements(FILES));
    group.bench_function("make", |b| {
        b.iter(|| {
            let device = MemBlock::new(&mut bytes, BLOCK_LEN).expect("a block length");
            make::<_, C>(&tree, black_box(&map), 1, device, &mut memory).figures().len
        });
    });
    let device = MemBlock::new(&mut bytes, BLOCK_LEN).expect("a block length");
    let mut device = Counting { device, reads: 0 };
    let figures = make::<_, C>(&tree, &map, 1, &mut device, &mut memory).figures();
    let mut most = 0;
    for path in tree.paths.iter().step_by(10) {
        let mut catalog = Catalog::<_, C>::open(&mut device, 0..u64::MAX, &mut memory).expect("a catalog");
        catalog.device().reads = 0;
        let ino = catalog.look_up(path).expect("good").expect("there");
        assert!(catalog.object(ino).expect("good").is_some_and(|row| row.is_on_tape()));
        most = most.max(catalog.device().reads);
    }
    println!(
        "{:.1} bytes per file; look-up by path: {most} reads at most",
        figures.len as f64 / FILES as f64
    );
    group.throughput(Throughput::Elements(1));
    let mut catalog = Catalog::<_, C>::open(&mut device, 0..u64::MAX, &mut memory).expect("a catalog");
    let mut at = 0;
    group.bench_function("look up a path, warm", |b| {
        b.iter(|| {
            at = (at + 7919) % tree.paths.len();
            let ino = catalog.look_up(black_box(&tree.paths[at])).expect("good").expect("there");
            black_box(catalog.object(ino)).expect("good");
        });
    });
    let mut room = [0; 4096];
    group.bench_function("path of an object", |b| {
        b.iter(|| {
            at = (at + 7919) % tree.files.len();
            black_box(catalog.path_of(tree.files[at], &mut room)).expect("good").expect("a path");
        });
    });
    let mut others = vec![vec![0; 12 << 20]; 3];
    let mut memories = vec![vec![0; 16 << 10]; 4];
    let mut devices: Vec<_> =
        others.iter_mut().map(|bytes| MemBlock::new(bytes, BLOCK_LEN).expect("a block length")).collect();
    for (index, device) in devices.iter_mut().enumerate() {
        make::<_, C>(&tree, &map, 10 + index, device, &mut memory);
    }
    devices.insert(0, device.device);
    let mut chain: Vec<_> = devices
        .iter_mut()
        .zip(&mut memories)
        .map(|(device, memory)| Catalog::<_, C>::open(device, 0..u64::MAX, memory).expect("a catalog"))
        .collect();
    group.throughput(Throughput::Elements(FILES));
    group.bench_function("restore order of a chain of four", |b| {
        b.iter(|| {
            let mut view = View::new(&mut chain);
            let mut count = 0;
            for dump in 0..4 {
                let mut cursor = view.first_to_restore(dump).expect("good").expect("a dump");
                while view.next_to_restore(&mut cursor).expect("good").is_some() {
                    count += 1;
                }
            }
            assert_eq!(count, tree.files.len() + tree.directories.len());
        });
    });
    group.finish();
}

fn dumps(c: &mut Criterion<ProcessorTime>) {
    dump_catalog::<Instruction>(c, "crc32c");
    dump_catalog::<PortableCrc32c>(c, "portable");
}

criterion_group! {
    name = dump_catalogs;
    config = Criterion::default().with_measurement(ProcessorTime)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(5));
    targets = dumps
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(ProcessorTime)
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = catalog
}
criterion_main!(benches, dump_catalogs);
