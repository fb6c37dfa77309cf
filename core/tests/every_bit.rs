//! Each single bit of a small tape flipped, one at a time: whatever was restored wrongly or not at all is told, and
//! nothing beyond what the bit lies in is lost.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use tapedump_core::checksum::PortableCrc32c;
use tapedump_core::device::mem::{MemBlock, MemTape, MemVolume, Node};
use tapedump_core::device::tape::TapeDevice;
use tapedump_core::device::volume::{Attributes, Kind, PropertyKind};
use tapedump_core::engine::dump::{Dump, DumpEvent, DumpMemory, DumpOptions};
use tapedump_core::engine::restore::{Restore, RestoreEvent, RestoreMemory};
use tapedump_core::record::dialect::Dialect;
use tapedump_core::record::header::{Header, HeaderKind};
use tapedump_core::stream::writer::DumpIdentity;
use tapedump_core::units::{BlockingFactor, DumpId, Ino, Level, TAPE_BLOCK_LEN, Timestamp};

const BLOCKING: u32 = 4;
const ARENA_LEN: usize = 32 * 1024;
const NOTE: &[u8] = b"user.note";

/// Everything in the tree, by the names on the way to it.
const PATHS: [&[&[u8]]; 7] = [
    &[],
    &[b"dir"],
    &[b"empty"],
    &[b"dir", b"large"],
    &[b"dir", b"noted"],
    &[b"dir", b"symlink"],
    &[b"dir", b"fifo"],
];

fn attributes(kind: Kind, seed: u32) -> Attributes {
    let mut attributes = Attributes::new(kind);
    attributes.permissions = 0o640 + seed as u16;
    attributes.uid = 70_000 + seed;
    attributes.modified = Timestamp { secs: 1_600_000_000 + i64::from(seed), nanos: seed * 1001 };
    attributes
}

fn fill(volume: &mut MemVolume<'_>) {
    let pattern = |len: u32| (0..len).map(|at| (at * 7 + at / 256 + 1) as u8).collect::<Vec<u8>>();
    volume.set_attributes(Ino::ROOT, &attributes(Kind::Directory, 1)).unwrap();
    let dir = volume.add_directory(Ino::ROOT, b"dir", &attributes(Kind::Directory, 2)).unwrap();
    volume.set_property(dir, PropertyKind::Xattr, NOTE, b"of a directory").unwrap();
    volume.add_file(Ino::ROOT, b"empty", &attributes(Kind::File, 3), b"").unwrap();
    volume.add_file(dir, b"large", &attributes(Kind::File, 4), &pattern(2500)).unwrap();
    let noted = volume.add_file(dir, b"noted", &attributes(Kind::File, 5), &pattern(100)).unwrap();
    volume.set_property(noted, PropertyKind::Xattr, NOTE, &pattern(200)).unwrap();
    volume.add_symlink(dir, b"symlink", &attributes(Kind::Symlink, 6), b"large").unwrap();
    let fifo = volume.add_node(dir, b"fifo", &attributes(Kind::Fifo, 7)).unwrap();
    volume.set_property(fifo, PropertyKind::Xattr, NOTE, b"of a fifo").unwrap();
}

fn look_up(volume: &MemVolume<'_>, path: &[&[u8]]) -> Option<Ino> {
    path.iter().try_fold(Ino::ROOT, |parent, name| volume.look_up(parent, name))
}

fn is_same(a: &MemVolume<'_>, b: &MemVolume<'_>, path: &[&[u8]]) -> bool {
    let (Some(in_a), Some(in_b)) = (look_up(a, path), look_up(b, path)) else { return false };
    let of = |volume: &MemVolume<'_>, ino| {
        let mut found = volume.attributes(ino).unwrap();
        // The target has its own of these.
        (found.changed, found.real_ino, found.generation, found.born) = (Timestamp::default(), 0, 0, None);
        let mut data = vec![0; if found.kind.has_data() { found.size as usize } else { 0 }];
        if !data.is_empty() {
            volume.read_data(ino, 0, &mut data).unwrap();
        }
        if found.kind == Kind::Directory {
            (found.size, found.links) = (0, 0);
        }
        let note = volume.property_value(ino, PropertyKind::Xattr, NOTE).map(<[u8]>::to_vec);
        (found, data, note)
    };
    of(a, in_a) == of(b, in_b)
}

fn dump(source: &mut MemVolume<'_>) -> Vec<u8> {
    let blocking = BlockingFactor::new(BLOCKING).unwrap();
    let id = DumpId(*b"every single bit");
    let identity = DumpIdentity { id, date: 1_700_000_000, base_date: 0, level: Level::BASELINE };
    let options = DumpOptions { identity, blocking, label: *b"bits\0\0\0\0\0\0\0\0\0\0\0\0" };
    let mut bytes = vec![0; 1 << 20];
    let mut tape = MemTape::blank(&mut bytes);
    let (mut stream, mut in_use, mut on_tape) =
        (vec![0; 1024 + blocking.record_len()], vec![0; 64], vec![0; 64]);
    let memory =
        DumpMemory { stream: &mut stream, in_use: &mut in_use, on_tape: &mut on_tape, known: &mut [] };
    let mut dump = Dump::<_, _, PortableCrc32c>::new(source, &mut tape, memory, options).unwrap();
    while !matches!(dump.step().unwrap(), DumpEvent::Done(_)) {}
    drop(dump);
    tape.records(0).flatten().copied().collect()
}

/// The memory of one restore after the other.
struct Bench {
    tape: Vec<u8>,
    stream: Vec<u8>,
    maps: Vec<u8>,
    names: Vec<u8>,
    scratch: Vec<u8>,
    nodes: Vec<Node>,
    arena: Vec<u8>,
}

impl Bench {
    fn new(tape_len: usize) -> Self {
        Self {
            tape: vec![0; tape_len * 2 + 4096],
            stream: vec![0; (BLOCKING as usize + 1) * TAPE_BLOCK_LEN],
            maps: vec![0; 6 * 64],
            names: vec![0; 8 << 10],
            scratch: vec![0; 64 << 10],
            nodes: vec![Node::EMPTY; 40],
            arena: vec![0; ARENA_LEN],
        }
    }

    /// Restores the tape `bytes`; whether it said that all is well, and which of the paths are not.
    fn restore(&mut self, bytes: &[u8], original: &MemVolume<'_>) -> (bool, Vec<usize>) {
        let mut tape = MemTape::blank(&mut self.tape);
        tape.write_file(bytes, BLOCKING as usize * TAPE_BLOCK_LEN).unwrap();
        tape.rewind().unwrap();
        self.nodes.fill(Node::EMPTY);
        self.arena.fill(0);
        let mut target = MemVolume::new(&mut self.nodes, &mut self.arena).unwrap();
        self.maps.fill(0);
        let scratch = MemBlock::new(&mut self.scratch, 512).unwrap();
        let memory = RestoreMemory {
            stream: &mut self.stream,
            maps: &mut self.maps,
            chain: &mut [],
            names: &mut self.names,
            attributes: &mut [],
        };
        let mut restore =
            Restore::<_, _, _, PortableCrc32c>::new(&mut tape, &mut target, scratch, memory).unwrap();
        let good = (0..100_000).find_map(|_| match restore.step() {
            Ok(RestoreEvent::Done(summary)) => Some(summary.is_good()),
            Ok(_) => None,
            Err(_) => Some(false),
        });
        drop(restore);
        let wrong = (0..PATHS.len()).filter(|at| !is_same(original, &target, PATHS[*at])).collect();
        (good.expect("it ends"), wrong)
    }
}

/// For each block of the dump the number of the object that it belongs to; 0: none. Behind the dump come only copies
/// of its end header that fill the record.
fn owners(bytes: &[u8], limit: u32) -> Vec<u32> {
    let (mut owner, mut ended) = (0, false);
    let blocks = bytes.chunks_exact(TAPE_BLOCK_LEN).map(|block| block.try_into().unwrap());
    blocks
        .map_while(|block| {
            if ended {
                return None;
            }
            if let Ok(header) = Header::new(block).parse::<PortableCrc32c>(Dialect::OURS) {
                ended = header.kind == HeaderKind::End;
                owner = match header.kind {
                    // What stage V holds is of an object that the extension names.
                    HeaderKind::Inode | HeaderKind::Continuation if header.ino > limit => {
                        header.attributes.unwrap().real_ino as u32
                    }
                    HeaderKind::Inode | HeaderKind::Continuation => header.ino,
                    _ => 0,
                };
            }
            Some(owner)
        })
        .collect()
}

#[test]
fn no_flipped_bit_is_silent_or_costs_more_than_what_it_lies_in() {
    let (mut nodes, mut arena) = (vec![Node::EMPTY; 40], vec![0; ARENA_LEN]);
    let mut source = MemVolume::new(&mut nodes, &mut arena).unwrap();
    fill(&mut source);
    let bytes = dump(&mut source);

    assert_eq!(Bench::new(bytes.len()).restore(&bytes, &source), (true, vec![]));

    let numbers: Vec<u32> = PATHS.iter().map(|path| look_up(&source, path).unwrap().0).collect();
    let owners = owners(&bytes, *numbers.iter().max().unwrap());
    let is_directory = |number: &u32| numbers[..2].contains(number);
    let next = AtomicUsize::new(0);
    let (source, bytes) = (&source, &bytes);
    let flip = || {
        let mut bench = Bench::new(bytes.len());
        let mut damaged = bytes.clone();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(byte) = bytes.get(at) else { return };
            let owner = owners.get(at / TAPE_BLOCK_LEN);
            for bit in 0..8 {
                damaged[at] = byte ^ 1 << bit;
                let (good, wrong) = bench.restore(&damaged, source);
                assert!(!good || owner.is_none(), "byte {at}, bit {bit}: a damaged tape is called good");
                // A directory takes the names of all in it along.
                let costly = wrong.iter().any(|path| Some(&numbers[*path]) != owner);
                assert!(
                    !costly || owner.is_some_and(is_directory),
                    "byte {at}, bit {bit}, of object {owner:?}: {wrong:?} lost"
                );
            }
            damaged[at] = *byte;
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(flip);
        }
    });
}
