//! Each operation of a dump on its source, and of a restore on its target, fails in turn. The run goes on or says why not,
//! and every object that it does not name comes back as it was. So does everything from a damaged tape that is called good.

use std::collections::{BTreeMap, BTreeSet};

use tapedump_core::checksum::PortableCrc32c;
use tapedump_core::device::ErrorKind;
use tapedump_core::device::fault::{Fault, FaultInjector, Operation, What, When};
use tapedump_core::device::mem::{MemBlock, MemTape, MemVolume, Node, differs};
use tapedump_core::device::tape::{TapeDevice, TapePosition};
use tapedump_core::device::volume::{Attributes, Kind, PropertyKind, SourceVolume, TargetVolume};
use tapedump_core::engine::dump::{Dump, DumpError, DumpEvent, DumpMemory, DumpOptions};
use tapedump_core::engine::restore::{Restore, RestoreError, RestoreEvent, RestoreMemory, RestoreSummary};
use tapedump_core::limits::NAME_LEN_MAX;
use tapedump_core::stream::writer::DumpIdentity;
use tapedump_core::units::{BlockingFactor, DumpId, Ino, Level};

/// More operations than any run here has.
const OPERATIONS_MAX: u64 = 500;

/// Memory for a volume, given away: a test ends soon.
fn volume() -> MemVolume<'static> {
    MemVolume::new(vec![Node::EMPTY; 16].leak(), vec![0; 1 << 15].leak()).unwrap()
}

/// Two directories; files with data and without, with properties and without, with one name and with two.
fn sample() -> MemVolume<'static> {
    let mut volume = volume();
    let directory = volume.add_directory(Ino::ROOT, b"d", &Attributes::new(Kind::Directory)).unwrap();
    volume.set_property(directory, PropertyKind::Xattr, b"user.d", b"value").unwrap();
    for (number, len) in [0, 3000, 0, 3000].into_iter().enumerate() {
        let mut attributes = Attributes::new(Kind::File);
        attributes.uid = 1 + number as u32;
        let byte = b'0' + number as u8;
        let file = volume.add_file(directory, &[byte], &attributes, &vec![byte; len]).unwrap();
        if number != 1 {
            volume.set_property(file, PropertyKind::Xattr, b"user.x", &[byte; 20]).unwrap();
        }
        if number > 1 {
            volume.add_link(file, Ino::ROOT, &[b'A' + number as u8]).unwrap();
        }
    }
    volume
}

/// Every path with its object, and what is to come back of it. How many names it has is left out: others of them may
/// have been in a directory that did not.
fn listing(volume: &mut MemVolume<'_>) -> BTreeMap<Vec<u8>, (Ino, String)> {
    let mut found = BTreeMap::new();
    let mut directories = vec![(Vec::new(), Ino::ROOT)];
    let mut name = [0; NAME_LEN_MAX];
    while let Some((path, directory)) = directories.pop() {
        volume.open(directory).unwrap();
        let mut entries = Vec::new();
        while let Some(entry) = volume.next_entry(&mut name).unwrap() {
            entries.push((entry.ino, [&path[..], b"/", &name[..entry.name_len]].concat()));
        }
        volume.close().unwrap();
        for (ino, path) in entries {
            let of = volume.attributes(ino).unwrap();
            let mut data = vec![0; 4000];
            let len = if of.kind == Kind::File { volume.read_data(ino, 0, &mut data).unwrap() } else { 0 };
            let value = |name| volume.property_value(ino, PropertyKind::Xattr, name);
            let what = (of.kind, of.uid, &data[..len], value(b"user.x"), value(b"user.d"));
            found.insert(path.clone(), (ino, format!("{what:?}")));
            if of.kind == Kind::Directory {
                directories.push((path, ino));
            }
        }
    }
    found
}

/// Checks that what came back differs only in objects that were named, or that are in a directory that was.
fn check(original: &mut MemVolume<'_>, restored: &mut MemVolume<'_>, named: &BTreeSet<Ino>, what: &str) {
    let (original, restored) = (listing(original), listing(restored));
    let is_named = |path: &[u8]| {
        let prefixes = (0..=path.len()).filter(|&len| len == path.len() || path[len] == b'/');
        named.contains(&Ino::ROOT)
            || prefixes.filter_map(|len| original.get(&path[..len])).any(|(ino, _)| named.contains(ino))
    };
    for (path, (_, expected)) in original.iter().filter(|(path, _)| !is_named(path)) {
        let found = restored.get(path).map(|(_, found)| found);
        assert_eq!(found, Some(expected), "{what}: {}", path.escape_ascii());
    }
    // What could not be placed is where everybody will find it, and nowhere else.
    let strange = |path: &&Vec<u8>| !original.contains_key(*path) && !path.starts_with(b"/lost+found");
    assert_eq!(restored.keys().find(strange), None, "{what}");
}

type DumpEnd<S> = Result<(u64, BTreeSet<Ino>), DumpError<<S as SourceVolume>::Error, ErrorKind>>;

/// Dumps; gives how many objects are incomplete, and which were named.
fn dump<S: SourceVolume>(source: S, tape: &mut MemTape<'_>) -> DumpEnd<S> {
    let (mut stream, mut in_use, mut on_tape) = (vec![0; 5 * 1024], vec![0; 8], vec![0; 8]);
    let memory =
        DumpMemory { stream: &mut stream, in_use: &mut in_use, on_tape: &mut on_tape, known: &mut [] };
    let identity = DumpIdentity { id: DumpId([1; 16]), date: 1, base_date: 0, level: Level::BASELINE };
    let options = DumpOptions { identity, blocking: BlockingFactor::MIN, label: [0; 16] };
    let mut dump = Dump::<_, _, PortableCrc32c>::new(source, tape, memory, options)?;
    let mut named = BTreeSet::new();
    loop {
        match dump.step()? {
            DumpEvent::Skipped { ino, .. }
            | DumpEvent::EntriesUnread { ino }
            | DumpEvent::DataUnread { ino, .. }
            | DumpEvent::PropertiesUnread { ino }
            | DumpEvent::Changed { ino } => {
                named.insert(ino);
            }
            DumpEvent::Done(summary) => return Ok((summary.incomplete, named)),
            DumpEvent::Working | DumpEvent::Stage(_) => {}
            event => panic!("{event:?}"),
        }
    }
}

type RestoreEnd<T, V> = Result<
    (RestoreSummary, BTreeSet<Ino>),
    RestoreError<<T as TapeDevice>::Error, <V as TargetVolume>::Error, ErrorKind>,
>;

/// Restores; gives what it counted, and at which objects something failed.
fn restore<T: TapeDevice, V: TargetVolume>(tape: &mut T, target: V) -> RestoreEnd<T, V> {
    tape.rewind().unwrap();
    let (mut stream, mut maps, mut names) = (vec![0; 5120], vec![0; 6 * 8192], vec![0; 8192]);
    let mut scratch = vec![0; 1 << 15];
    let scratch = MemBlock::new(&mut scratch, 512).unwrap();
    let memory = RestoreMemory {
        stream: &mut stream,
        maps: &mut maps,
        chain: &mut [],
        names: &mut names,
        attributes: &mut [],
    };
    let mut restore = Restore::<_, _, _, PortableCrc32c>::new(tape, target, scratch, memory)?;
    let mut named = BTreeSet::new();
    loop {
        match restore.step()? {
            RestoreEvent::Failed(failure) => {
                named.insert(failure.ino);
            }
            RestoreEvent::Done(summary) => return Ok((summary, named)),
            _ => {}
        }
    }
}

#[test]
fn of_a_source() {
    use Operation::*;
    let mut bytes = vec![0; 1 << 17];
    for operation in [Walk, Open, Entries, NextData, Read, Property, Close] {
        let mut runs = 0;
        for n in 0..OPERATIONS_MAX {
            let case = format!("{operation:?} {n}");
            let faults = [Fault { when: When::Nth(operation, n), what: What::Error(ErrorKind::Medium) }];
            let mut tape = MemTape::blank(&mut bytes);
            let mut source = FaultInjector::scheduled(sample(), &faults);
            let end = dump(&mut source, &mut tape);
            if source.injected() == 0 {
                break;
            }
            runs += 1;
            match end {
                // A walk that fails ends the dump, and nothing else does.
                Err(DumpError::Source(_)) => assert_eq!(operation, Walk, "{case}"),
                Err(error) => panic!("{case}: {error:?}"),
                Ok((incomplete, named)) => {
                    assert_ne!(operation, Walk, "{case}");
                    assert_eq!(incomplete == 0, named.is_empty(), "{case}: {named:?}");
                    let closed = source.device_mut().close();
                    assert_eq!(closed, Err(ErrorKind::Invalid), "{case}: left an object open");
                    let mut restored = volume();
                    let (summary, _) = restore(&mut tape, &mut restored).unwrap();
                    assert_eq!(summary.failed, 0, "{case}");
                    check(&mut sample(), &mut restored, &named, &case);
                }
            }
        }
        assert!((2..OPERATIONS_MAX).contains(&runs), "{operation:?}: {runs}");
    }
}

#[test]
fn of_a_target() {
    let mut source = sample();
    let mut bytes = vec![0; 1 << 17];
    let mut tape = MemTape::blank(&mut bytes);
    dump(&mut source, &mut tape).unwrap();
    let (mut told, mut ended) = (0, 0);
    let kinds = [ErrorKind::Denied, ErrorKind::Full];
    let whats = kinds.into_iter().flat_map(|kind| [What::Error(kind), What::Late(kind)]);
    for what in whats.chain([What::PowerCut]) {
        for n in 0..OPERATIONS_MAX {
            let faults = [Fault { when: When::Any(n), what }];
            let mut target = FaultInjector::scheduled(volume(), &faults);
            let end = restore(&mut tape, &mut target);
            let case = format!("{what:?} at operation {n}");
            if target.operations() <= n {
                break;
            }
            let was_injected = target.injected() > 0;
            let is_lasting =
                matches!(what, What::PowerCut | What::Error(ErrorKind::Full) | What::Late(ErrorKind::Full));
            let is_flush = target.operations_of(Operation::Flush) > 0;
            match end {
                Ok((summary, named)) => {
                    assert_eq!(!summary.is_good(), was_injected, "{case}");
                    assert!(!(was_injected && is_lasting), "{case}: went on");
                    check(&mut source, target.device_mut(), &named, &case);
                    told += 1;
                }
                // A target that takes no more, or that cannot make durable what it took, ends the restore.
                Err(RestoreError::Target { .. }) => {
                    assert!(was_injected && (is_lasting || is_flush), "{case}");
                    ended += 1;
                }
                Err(error) => panic!("{case}: {error:?}"),
            }
        }
    }
    assert!(told > 40 && ended > 40, "{told} {ended}");
}

/// The beginnings of blocks are where their meaning is: there, bits of every byte are flipped.
#[test]
fn of_a_tape() {
    const BLOCK_BITS: u64 = 8 * 1024;
    let source = sample();
    let mut bytes = vec![0; 1 << 17];
    let mut tape = MemTape::blank(&mut bytes);
    dump(sample(), &mut tape).unwrap();
    let flips =
        (0..4).flat_map(|block| (0..512).step_by(5).map(move |bit| What::FlipBit(block * BLOCK_BITS + bit)));
    let zeros = (0..4).map(|block| What::Zero { from: block * 1024, len: 1024 });
    let shorts = (0..4).map(|block| What::Short(block * 1024));
    let whats: Vec<_> = flips.chain(zeros).chain(shorts).chain([What::Remove, What::Repeat]).collect();
    for record in 0..tape.records(0).count() as u64 {
        for &what in &whats {
            let faults = [Fault { when: When::Record(TapePosition { file: 0, record }), what }];
            let mut restored = volume();
            let mut faulty = FaultInjector::scheduled(&mut tape, &faults);
            let (summary, _) = restore(&mut faulty, &mut restored).unwrap();
            assert!(
                !summary.is_good() || differs(&source, &restored).is_none(),
                "{what:?} in record {record}"
            );
        }
    }
}
