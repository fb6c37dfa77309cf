//! A dump of a volume that fails, restored in part to a volume that fails: everything that a dump and a restore can
//! tell, and every fault injector at work.

use core::hint::black_box;

use tapedump_core::catalog::MEMORY_LEN_MIN;
use tapedump_core::checksum::PortableCrc32c;
use tapedump_core::device::ErrorKind;
use tapedump_core::device::fault::{Fault, FaultInjector, Operation, What, When};
use tapedump_core::device::mem::{MemBlock, MemTape, MemVolume, Node};
use tapedump_core::device::tape::TapeDevice;
use tapedump_core::device::volume::{Attributes, FailedPart, Kind, PropertyKind};
use tapedump_core::engine::dump::{Dump, DumpEvent, DumpMemory, DumpOptions};
use tapedump_core::engine::restore::{Restore, RestoreEvent, RestoreMemory, Selected};
use tapedump_core::limits::{NAME_LEN_MAX, PAGE_LEN};
use tapedump_core::stream::writer::DumpIdentity;
use tapedump_core::units::{BlockingFactor, DumpId, Ino, Level, TAPE_BLOCK_LEN, Timestamp};

const RECORD_LEN: usize = BlockingFactor::MIN.record_len();
const MAP_LEN: usize = 8 * TAPE_BLOCK_LEN;
const ARENA_LEN: usize = 16 * 1024;

/// Memory of one run, on the stack.
struct Memory {
    nodes: [Node; 8],
    arena: [u8; ARENA_LEN],
    stream: [u8; RECORD_LEN + TAPE_BLOCK_LEN],
    maps: [u8; 6 * MAP_LEN],
}

impl Memory {
    fn new() -> Self {
        black_box(Self {
            nodes: [Node::EMPTY; 8],
            arena: [0; ARENA_LEN],
            stream: [0; RECORD_LEN + TAPE_BLOCK_LEN],
            maps: [0; 6 * MAP_LEN],
        })
    }
}

/// Whether all faults are told, and what they leave comes back.
pub fn check() -> bool {
    let mut bytes = black_box([0; 64 * 1024]);
    let mut tape = MemTape::blank(&mut bytes).with_early_warning(60 * 1024).with_record_len_max(RECORD_LEN);
    let told = dump(&mut tape);
    tape.set_write_protected(true);
    if told != Some(DumpTold { skipped: 1, unread: 1, changed: 1 }) {
        return false;
    }
    restore(&mut tape).unwrap_or(false)
}

#[derive(Debug, Default, PartialEq, Eq)]
struct DumpTold {
    skipped: u32,
    unread: u32,
    changed: u32,
}

/// Objects 4 to 7 in the directory 3: 4 cannot be opened, 5 cannot be read, 6 changes, 7 is well.
fn fill(volume: &mut MemVolume<'_>) -> Result<(), ErrorKind> {
    let mut attributes = Attributes::new(Kind::Directory);
    attributes.modified = Timestamp { secs: 1, nanos: 2 };
    let directory = volume.add_directory(Ino::ROOT, b"sub", &attributes)?;
    for name in [b"4", b"5", b"6", b"7"] {
        let file = volume.add_file(directory, name, &Attributes::new(Kind::File), &[name[0]; 3000])?;
        volume.set_property(file, PropertyKind::Xattr, b"user.x", b"value")?;
    }
    volume.remove_property(Ino(7), PropertyKind::Xattr, b"user.x")?;
    volume.set_property(Ino(7), PropertyKind::PosixAccessAcl, b"", b"\x02\0\0\0")
}

fn dump(tape: &mut MemTape<'_>) -> Option<DumpTold> {
    let at = |ino, operation, what| Fault { when: When::Object(Ino(ino), operation), what };
    let schedule = black_box([
        at(4, Operation::Open, What::Error(ErrorKind::Denied)),
        at(5, Operation::Read, What::Error(ErrorKind::Medium)),
        at(6, Operation::Close, What::Change),
    ]);
    let mut memory = Memory::new();
    let mut volume = MemVolume::new(&mut memory.nodes, &mut memory.arena).ok()?;
    fill(&mut volume).ok()?;
    let source = FaultInjector::scheduled(volume, &schedule);
    let (in_use, rest) = memory.maps.split_at_mut(MAP_LEN);
    let lent = DumpMemory { stream: &mut memory.stream, in_use, on_tape: rest, known: &mut [] };
    let identity =
        DumpIdentity { id: DumpId([7; 16]), date: 1_750_000_000, base_date: 0, level: Level::BASELINE };
    let options = DumpOptions { identity, blocking: BlockingFactor::MIN, label: [0; 16] };
    let tape = FaultInjector::counting(tape);
    let mut dump = Dump::<_, _, PortableCrc32c>::new(source, tape, lent, options).ok()?;
    let mut told = DumpTold::default();
    loop {
        match dump.step().ok()? {
            DumpEvent::Skipped { ino: Ino(4), error: ErrorKind::Denied } => told.skipped += 1,
            DumpEvent::DataUnread { ino: Ino(5), .. } => told.unread += 1,
            DumpEvent::Changed { ino: Ino(6) } => told.changed += 1,
            DumpEvent::Done(summary) if summary.incomplete == 3 => return Some(told),
            DumpEvent::Working | DumpEvent::Stage(_) => {}
            _ => return None,
        }
    }
}

/// Restores `sub/6` and `sub/7`, of which the target refuses the properties of the latter when it is too late.
fn restore(tape: &mut MemTape<'_>) -> Option<bool> {
    let schedule = black_box([Fault {
        when: When::Object(Ino(7), Operation::Property),
        what: What::Late(ErrorKind::Unsupported),
    }]);
    let mut memory = Memory::new();
    let (mut names, mut scratch) = ([0; 2 * MEMORY_LEN_MIN], [0; 16 * PAGE_LEN]);
    let volume = MemVolume::new(&mut memory.nodes, &mut memory.arena).ok()?;
    let target = FaultInjector::scheduled(volume, &schedule);
    // So rarely that none comes: what is drawn is in the binary all the same.
    let scratch = FaultInjector::seeded(MemBlock::new(&mut scratch, 512).ok()?, black_box(1), u32::MAX);
    let lent = RestoreMemory {
        stream: &mut memory.stream,
        maps: &mut memory.maps,
        chain: &mut [],
        names: &mut names,
        attributes: &mut [],
    };
    tape.rewind().ok()?;
    let mut restore = Restore::<_, _, _, PortableCrc32c>::new(tape, target, scratch, lent).ok()?;
    let (mut entries, mut failed) = (0, 0);
    let summary = loop {
        match restore.step().ok()? {
            RestoreEvent::Catalogued => {
                let found = [&b"sub/6"[..], b"sub/7", b"sub/8"].map(|path| restore.select(path));
                if found != [Ok(Selected::Yes), Ok(Selected::Yes), Ok(Selected::NoSuchPath)] {
                    return None;
                }
            }
            RestoreEvent::Entry { .. } if !restore.entry_name().is_empty() => entries += 1,
            RestoreEvent::Failed(failure) => {
                let expected = FailedPart::Property(PropertyKind::PosixAccessAcl);
                failed += u32::from(failure.ino == Ino(7) && failure.what == expected);
            }
            RestoreEvent::Done(summary) => break summary,
            _ => {}
        }
    };
    let restored = restore.into_devices().1.into_device();
    let of = |ino| restored.made_for(Ino(ino));
    let (mut data, mut name) = ([0; 4000], [0; NAME_LEN_MAX]);
    let len = restored.read_data(of(7)?, 0, &mut data).ok()?;
    let (parent, name_len) = restored.name_of(of(7)?, &mut name)?;
    let good = data.get(..len)? == [b'7'; 3000]
        && (parent, name.get(..name_len)?) == (of(3)?, b"7")
        && restored.property_value(of(7)?, PropertyKind::PosixAccessAcl, b"").is_none()
        && restored.property_value(of(6)?, PropertyKind::Xattr, b"user.x") == Some(b"value")
        && restored.attributes(of(3)?).ok()?.modified == Timestamp { secs: 1, nanos: 2 };
    Some(good && of(5).is_none() && entries > 0 && failed == 1 && summary.failed == 1)
}
