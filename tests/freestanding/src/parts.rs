//! What is used of the core beside the demonstration, part by part. Each says whether it went as it should.

use core::hint::black_box;

use tapedump_core::catalog::EntryBuf;
use tapedump_core::catalog::{MEMORY_LEN_MIN, TableBuilder, region_len};
use tapedump_core::checksum::{CompactCrc32c, Crc32c, PortableCrc32c, combine};
use tapedump_core::device::block::BlockDevice;
use tapedump_core::device::fault::{
    Fault, FaultError, FaultInjector, JOURNAL_OVERHEAD, Operation, SplitMix64, What, When,
};
use tapedump_core::device::mem::{MemBlock, MemTape, MemVolume, Node, NullTarget, TapeItem, differs};
use tapedump_core::device::tape::{Space, Spaced, TapeDevice, TapePosition, TapeRead, TapeWrite};
use tapedump_core::device::volume::{
    Attributes, Class, Kind, Place, PropertyKind, SourceVolume, TargetVolume,
};
use tapedump_core::device::{DeviceError, ErrorKind};
use tapedump_core::limits::{NAME_LEN_MAX, PAGE_LEN};
use tapedump_core::units::{BlockingFactor, Ino, Level};

/// All parts; the exit code is the place in this list, from 1.
pub const ALL: [fn() -> bool; 7] =
    [units, checksum, tape, block_device, volumes, catalog, crate::faulty::check];

fn units() -> bool {
    let blocking = BlockingFactor::new(black_box(64));
    let refused = [3, 257].map(|blocks| BlockingFactor::new(black_box(blocks)).is_err());
    let levels = Level::new(black_box(31)).is_ok() && Level::new(black_box(32)).is_err();
    blocking.is_ok_and(|blocking| blocking.record_len() == 65536) && refused == [true; 2] && levels
}

fn checksum() -> bool {
    let text = black_box(b"123456789");
    let whole = PortableCrc32c::update(0, text);
    let (front, back) = text.split_at(4);
    let joined = combine(PortableCrc32c::update(0, front), CompactCrc32c::update(0, back), 5);
    whole == 0xe306_9283 && joined == whole
}

fn tape() -> bool {
    tape_steps().unwrap_or(false)
}

fn tape_steps() -> Result<bool, FaultError<ErrorKind>> {
    let mut bytes = black_box([0; 512]);
    let mut buf = [0; 16];
    let schedule = black_box([
        Fault { when: When::Record(TapePosition { file: 0, record: 1 }), what: What::FlipBit(0) },
        Fault { when: When::Nth(Operation::Write, 3), what: What::EndOfMedium },
    ]);
    let mut tape = FaultInjector::scheduled(MemTape::blank(&mut bytes), &schedule);
    let mut good = tape.capabilities().can_position;
    for _ in 0..3 {
        good &= tape.write(b"record")? == TapeWrite::Written;
    }
    good &= tape.write(b"record")? == TapeWrite::EndOfMedium;
    good &= tape.write_filemark()? == TapeWrite::Written;
    good &= tape.locate(TapePosition { file: 0, record: 1 })? == Spaced::Done;
    good &= tape.read(&mut buf)? == TapeRead::Record(6) && buf.starts_with(b"secord");
    good &= tape.space(Space::Records(1))? == Spaced::Done && tape.read(&mut buf)? == TapeRead::Filemark;
    good &= tape.position()? == TapePosition { file: 1, record: 0 };
    good &= tape.read(&mut buf)? == TapeRead::EndOfData;
    tape.rewind()?;
    tape.unload()?;
    let mut tape = tape.into_device();
    good &= tape.items().last() == Some(TapeItem::Filemark) && tape.records(0).count() == 3;
    tape.load();
    tape.write_file(black_box(b"0123456789"), 4).map_err(FaultError::Device)?;
    let used = tape.used();
    let last = tape.record_mut(TapePosition { file: 0, record: 2 });
    good &= last.is_some_and(|record| record == b"89");
    Ok(good && MemTape::open(&mut bytes).is_ok_and(|tape| tape.used() == used))
}

fn block_device() -> bool {
    const BLOCK_LEN: usize = 64;
    let mut bytes = black_box([0; 16 * BLOCK_LEN]);
    let mut journal = [0; 8 * (BLOCK_LEN + JOURNAL_OVERHEAD)];
    let schedule = black_box([Fault { when: When::Nth(Operation::Write, 2), what: What::PowerCut }]);
    let Ok(device) = MemBlock::new(&mut bytes, BLOCK_LEN) else { return false };
    let mut device =
        FaultInjector::scheduled(device, &schedule).with_seed(black_box(5)).with_journal(&mut journal);
    let written = device.write(0, &[1; BLOCK_LEN]).is_ok() && device.flush().is_ok();
    let unflushed = device.write(0, &[2; BLOCK_LEN]).is_ok();
    let cut = device.write(0, &[3; BLOCK_LEN]);
    let lost = cut.is_err_and(|error| error.kind() == ErrorKind::Interrupted);
    let mut buf = [0; BLOCK_LEN];
    let mut device = device.into_device();
    let read = device.read(0, &mut buf).is_ok() && device.capacity() == 1024;
    written && unflushed && lost && read && buf.iter().all(|&byte| (1..=3).contains(&byte) && byte == buf[0])
}

fn volumes() -> bool {
    volume_steps().unwrap_or(false)
}

/// Copies one object from volume to volume by the two contracts.
fn volume_steps() -> Result<bool, ErrorKind> {
    let (mut nodes_a, mut nodes_b) = ([Node::EMPTY; 8], [Node::EMPTY; 8]);
    let (mut arena_a, mut arena_b) = (black_box([0; 1024]), black_box([0; 1024]));
    let mut source = MemVolume::new(&mut nodes_a, &mut arena_a)?;
    let mut target = MemVolume::new(&mut nodes_b, &mut arena_b)?;
    let mut null = NullTarget::new();
    let file = source.add_file(Ino::ROOT, b"file", &Attributes::new(Kind::File), b"content")?;
    source.set_property(file, PropertyKind::Xattr, b"user.x", b"value")?;
    source.add_link(file, Ino::ROOT, b"link")?;
    let mut good = differs(&source, &target).is_some();
    let found = source.next_inode(Ino::FIRST, Class::Others)?;
    let (mut name, mut buf) = ([0; NAME_LEN_MAX], [0; 16]);
    let attributes = source.open(found.unwrap_or_default())?;
    let place = Place { parent: Ino::ROOT, name: b"file" };
    target.create(place, Ino(77), &attributes)?;
    let len = source.read(0, &mut buf)?;
    target.write(0, buf.get(..len).unwrap_or_default())?;
    if let Some(property) = source.property(0, &mut name)? {
        let name = name.get(..property.name_len).unwrap_or_default();
        target.begin_property(property.kind, name, property.value_len)?;
        let len = source.read_property(0, 0, &mut buf)?;
        target.write_property(buf.get(..len).unwrap_or_default())?;
    }
    target.finish(&attributes)?;
    good &= source.close()?;
    target.link(place, Place { parent: Ino::ROOT, name: b"link" }, Ino(77))?;
    target.barrier();
    target.flush()?;
    good &= null.create(place, Ino(77), &attributes).is_ok() && null.objects == 1;
    Ok(good && target.poll_failure().is_none() && differs(&source, &target).is_none())
}

/// More entries than the memory holds, so that they are sorted through the device.
fn catalog() -> bool {
    const ENTRIES: u32 = 1500;
    const MEMORY_LEN: usize = MEMORY_LEN_MIN + 2 * PAGE_LEN;
    let mut memory = black_box([0; MEMORY_LEN]);
    let mut bytes = black_box([0; 256 * PAGE_LEN]);
    let Ok(mut device) = MemBlock::new(&mut bytes, PAGE_LEN) else { return false };
    let capacity = device.capacity();
    if region_len(ENTRIES.into(), u64::from(ENTRIES) * 8, MEMORY_LEN) > capacity {
        return false;
    }
    let Ok(mut builder) = TableBuilder::new(&device, 0..capacity, &mut memory) else { return false };
    let mut random = SplitMix64::new(black_box(1));
    let mut sum = 0_u64;
    for n in 0..ENTRIES {
        let key = random.below(1 << 32) as u32;
        sum = sum.wrapping_add(key.into());
        if builder.push(&mut device, &key.to_be_bytes(), &n.to_be_bytes()).is_err() {
            return false;
        }
    }
    let Ok(mut table) = builder.finish(&mut device) else { return false };
    let Ok(mut cursor) = table.seek(&mut device, &[]) else { return false };
    let mut last = EntryBuf::new();
    let mut count = 0;
    while let Ok(Some(entry)) = table.next(&mut device, &mut cursor) {
        if entry.key < last.entry().key {
            return false;
        }
        let key = entry.key.first_chunk().map_or(0, |key| u32::from_be_bytes(*key));
        sum = sum.wrapping_sub(key.into());
        last.set(entry);
        count += 1;
    }
    let key = last.entry().key;
    let found = table.find(&mut device, key).is_ok_and(|found| found.is_some());
    let first = table.first_with_prefix(&mut device, key).is_ok_and(|found| found.is_some());
    count == ENTRIES && sum == 0 && found && first && table.into_memory().len() == MEMORY_LEN
}
