//! ACLs longer than a dump or a target takes, and qtrees where they cannot be.

extern crate std;

use super::dump::{Dump, DumpEvent, DumpMemory};
use super::restore::{Damage, Reduction, Restore, RestoreEvent, RestoreMemory, RestoreSummary};
use super::tests::{leak, options};
use crate::checksum::PortableCrc32c;
use crate::device::mem::{MemBlock, MemTape, MemVolume, Node};
use crate::device::volume::{
    Attributes, Failure, Kind, Made, Place, PropertyKind, PropertyKinds, Room, TargetCapabilities,
    TargetRoot, TargetVolume,
};
use crate::device::{ErrorKind, tape::TapeDevice};
use crate::limits::ACL_ENTRIES_MAX;
use crate::record::qtree::{QTREE_LEN_MAX, Qtree, SecurityStyle};
use crate::units::Ino;
use std::boxed::Box;
use std::vec;
use std::vec::Vec;

fn volume() -> MemVolume<'static> {
    let nodes = Box::leak(vec![Node::EMPTY; 40].into_boxed_slice());
    MemVolume::new(nodes, leak(1 << 20)).unwrap()
}

fn acl(entries: u32) -> Vec<u8> {
    let mut value = 2_u32.to_le_bytes().to_vec();
    value.resize(4 + 8 * entries as usize, 7);
    value
}

fn qtree(name: &str) -> Vec<u8> {
    let mut value = [0; QTREE_LEN_MAX];
    let qtree = Qtree { id: 7, style: SecurityStyle::Ntfs, oplocks: true, default_mode: 0o750 };
    let len = qtree.emit(name, &mut value);
    value[..len].to_vec()
}

const ACCESS: PropertyKind = PropertyKind::PosixAccessAcl;

/// Files with content and without, and directories, each with an ACL of its own length.
fn sample(lens: &[u32]) -> MemVolume<'static> {
    let mut v = volume();
    for (index, len) in lens.iter().enumerate() {
        let name = [b'a' + index as u8];
        let mut attributes = Attributes::new(Kind::File);
        attributes.permissions = 0o640;
        let ino = match index % 3 {
            0 => v.add_file(Ino::ROOT, &name, &attributes, b"content").unwrap(),
            1 => v.add_file(Ino::ROOT, &name, &attributes, b"").unwrap(),
            _ => v.add_directory(Ino::ROOT, &name, &Attributes::new(Kind::Directory)).unwrap(),
        };
        v.set_property(ino, ACCESS, b"", &acl(*len)).unwrap();
        v.set_property(ino, PropertyKind::Xattr, b"user.note", b"behind it").unwrap();
    }
    v
}

fn dump(source: &mut MemVolume<'_>, left_out: PropertyKinds) -> (MemTape<'static>, Vec<DumpEvent>) {
    let tape = MemTape::blank(leak(1 << 20));
    let memory = DumpMemory {
        stream: &mut vec![0; 11 * 1024],
        in_use: &mut [0; 64],
        on_tape: &mut [0; 64],
        known: &mut [0; 64],
    };
    let mut dump = Dump::<_, _, PortableCrc32c>::new(source, tape, memory, options(10)).unwrap();
    dump.leave_out(left_out);
    let mut events = Vec::new();
    loop {
        match dump.step().unwrap() {
            DumpEvent::Working | DumpEvent::Stage(_) => {}
            event => events.push(event),
        }
        if matches!(events.last(), Some(DumpEvent::Done(_))) {
            return (dump.into_devices().1, events);
        }
    }
}

#[derive(Default)]
struct Told {
    reduced: Vec<(Ino, Reduction)>,
    damage: Vec<Damage>,
    failures: usize,
    summary: RestoreSummary,
}

fn restore<V: TargetVolume>(tape: &mut MemTape<'_>, target: V, left_out: PropertyKinds) -> Told {
    let mut scratch = vec![0; 1 << 20];
    let scratch = MemBlock::new(&mut scratch, 512).unwrap();
    let memory = RestoreMemory {
        stream: &mut vec![0; 257 << 10],
        maps: &mut [0; 6 * 64],
        chain: &mut [],
        names: &mut vec![0; 16 << 10],
        attributes: &mut [],
    };
    tape.rewind().unwrap();
    let mut restore = Restore::<_, _, _, PortableCrc32c>::new(tape, target, scratch, memory).unwrap();
    restore.leave_out(left_out);
    let mut told = Told::default();
    loop {
        match restore.step().unwrap() {
            RestoreEvent::Reduced { ino, what } => told.reduced.push((ino, what)),
            RestoreEvent::Damage(damage) => told.damage.push(damage),
            RestoreEvent::Failed(_) => told.failures += 1,
            RestoreEvent::Done(summary) => {
                told.summary = summary;
                return told;
            }
            _ => {}
        }
    }
}

/// A memory volume that can hold less.
struct Limited<'v> {
    volume: MemVolume<'v>,
    capabilities: TargetCapabilities,
}

impl TargetVolume for Limited<'_> {
    type Error = ErrorKind;

    fn capabilities(&self) -> TargetCapabilities {
        self.capabilities
    }
    fn room(&mut self) -> Result<Room, ErrorKind> {
        self.volume.room()
    }
    fn knows(&mut self, directory: Ino) -> bool {
        self.volume.knows(directory)
    }
    fn enter(&mut self, place: Place<'_>, directory: Ino) -> Result<(), ErrorKind> {
        self.volume.enter(place, directory)
    }
    fn make_directory(&mut self, place: Place<'_>, directory: Ino) -> Result<Made, ErrorKind> {
        self.volume.make_directory(place, directory)
    }
    fn create(&mut self, place: Place<'_>, ino: Ino, attributes: &Attributes) -> Result<(), ErrorKind> {
        self.volume.create(place, ino, attributes)
    }
    fn reopen(&mut self, place: Place<'_>, ino: Ino) -> Result<(), ErrorKind> {
        self.volume.reopen(place, ino)
    }
    fn write(&mut self, offset: u64, data: &[u8]) -> Result<(), ErrorKind> {
        self.volume.write(offset, data)
    }
    fn begin_property(&mut self, kind: PropertyKind, name: &[u8], value_len: u32) -> Result<(), ErrorKind> {
        self.volume.begin_property(kind, name, value_len)
    }
    fn write_property(&mut self, piece: &[u8]) -> Result<(), ErrorKind> {
        self.volume.write_property(piece)
    }
    fn abandon_property(&mut self) {
        self.volume.abandon_property();
    }
    fn finish(&mut self, attributes: &Attributes) -> Result<(), ErrorKind> {
        self.volume.finish(attributes)
    }
    fn release(&mut self) {
        TargetVolume::release(&mut self.volume);
    }
    fn link(&mut self, existing: Place<'_>, place: Place<'_>, ino: Ino) -> Result<(), ErrorKind> {
        self.volume.link(existing, place, ino)
    }
    fn poll_failure(&mut self) -> Option<Failure<ErrorKind>> {
        self.volume.poll_failure()
    }
    fn barrier(&mut self) {
        self.volume.barrier();
    }
    fn flush(&mut self) -> Result<(), ErrorKind> {
        self.volume.flush()
    }
}

fn limited(change: impl FnOnce(&mut TargetCapabilities)) -> Limited<'static> {
    let mut capabilities = TargetCapabilities::ALL;
    change(&mut capabilities);
    Limited { volume: volume(), capabilities }
}

fn found(v: &MemVolume<'_>, name: &[u8], kind: PropertyKind, property: &[u8]) -> Option<usize> {
    let ino = v.look_up(Ino::ROOT, name)?;
    v.property_value(ino, kind, property).map(<[u8]>::len)
}

/// R-DATA-3.
#[test]
fn a_dump_takes_acls_of_up_to_1024_entries() {
    let lens = [3, 1024, 1024, 1025, 5000, 1025];
    let mut source = sample(&lens);
    let (mut tape, events) = dump(&mut source, PropertyKinds::NONE);
    let refused: Vec<u32> = events
        .iter()
        .filter_map(|event| match event {
            DumpEvent::AclTooLong { kind: ACCESS, entries, .. } => Some(*entries),
            _ => None,
        })
        .collect();
    assert_eq!(refused, [1025, 1025, 5000], "directories first");
    let Some(DumpEvent::Done(summary)) = events.last() else { panic!("{events:?}") };
    assert_eq!(summary.incomplete, 3);
    assert_eq!(events.len(), 4, "{events:?}");
    let mut target = limited(|_| {});
    let told = restore(&mut tape, &mut target.volume, PropertyKinds::NONE);
    // The tape says that they are missing, and no tape says that it is damaged.
    assert_eq!((told.damage.len(), told.failures), (3, 0));
    assert!(told.damage.iter().all(|damage| matches!(damage, Damage::Properties { .. })));
    for (index, len) in lens.into_iter().enumerate() {
        let name = [b'a' + index as u8];
        let expected = (len <= ACL_ENTRIES_MAX).then_some(4 + 8 * len as usize);
        assert_eq!(found(&target.volume, &name, ACCESS, b""), expected);
        assert_eq!(found(&target.volume, &name, PropertyKind::Xattr, b"user.note"), Some(9));
    }
}

/// R-DATA-3: what is no ACL has no entries, however long.
#[test]
fn garbage_is_dumped_as_it_is() {
    let mut source = sample(&[3]);
    let file = source.look_up(Ino::ROOT, b"a").unwrap();
    source.set_property(file, PropertyKind::NtDescriptor, b"", &[0xa5; 60_000]).unwrap();
    let (mut tape, events) = dump(&mut source, PropertyKinds::NONE);
    assert_eq!(events.len(), 1, "{events:?}");
    let mut target = limited(|capabilities| capabilities.ace_limit = 3);
    let told = restore(&mut tape, &mut target, PropertyKinds::NONE);
    assert!(told.summary.is_good());
    assert_eq!(found(&target.volume, b"a", PropertyKind::NtDescriptor, b""), Some(60_000));
}

/// R-RESTORE-10.
#[test]
fn a_target_that_takes_fewer_entries() {
    let lens = [3, 3, 3, 4, 4, 4, 1000];
    let (mut tape, _) = dump(&mut sample(&lens), PropertyKinds::NONE);
    let mut target = limited(|capabilities| capabilities.ace_limit = 3);
    let told = restore(&mut tape, &mut target, PropertyKinds::NONE);
    let entries = |(_, what): &(Ino, Reduction)| match what {
        Reduction::DefaultAcl { kind: ACCESS, entries } => *entries,
        other => panic!("{other:?}"),
    };
    let mut reduced: Vec<u32> = told.reduced.iter().map(entries).collect();
    reduced.sort_unstable();
    assert_eq!(reduced, [4, 4, 4, 1000]);
    assert_eq!((told.failures, told.damage.len(), told.summary.reduced), (0, 0, 4));
    assert!(!told.summary.is_good());
    for (index, len) in lens.into_iter().enumerate() {
        let name = [b'a' + index as u8];
        let expected = (len <= 3).then_some(4 + 8 * len as usize);
        assert_eq!(found(&target.volume, &name, ACCESS, b""), expected);
        assert_eq!(found(&target.volume, &name, PropertyKind::Xattr, b"user.note"), Some(9));
    }
}

#[test]
fn acls_that_are_not_wanted() {
    let (mut tape, events) = dump(&mut sample(&[3, 2000, 3]), PropertyKinds::ACLS);
    assert_eq!(events.len(), 1, "{events:?}");
    let mut target = limited(|_| {});
    assert!(restore(&mut tape, &mut target, PropertyKinds::NONE).summary.is_good());
    assert_eq!(found(&target.volume, b"a", ACCESS, b""), None);
    let (mut tape, _) = dump(&mut sample(&[3, 4, 5]), PropertyKinds::NONE);
    let mut target = limited(|capabilities| capabilities.ace_limit = 1);
    let told = restore(&mut tape, &mut target, PropertyKinds::ACLS);
    assert!(told.summary.is_good() && told.reduced.is_empty());
    for name in [b"a", b"b", b"c"] {
        assert_eq!(found(&target.volume, name, ACCESS, b""), None);
        assert_eq!(found(&target.volume, name, PropertyKind::Xattr, b"user.note"), Some(9));
    }
}

/// R-RESTORE-7.
#[test]
fn qtrees_are_directories_below_the_root_of_a_volume() {
    let mut source = volume();
    for name in ["sales", "büro"] {
        let directory = Attributes::new(Kind::Directory);
        let ino = source.add_directory(Ino::ROOT, name.as_bytes(), &directory).unwrap();
        source.set_property(ino, PropertyKind::Qtree, b"", &qtree(name)).unwrap();
    }
    let (mut tape, _) = dump(&mut source, PropertyKinds::NONE);
    let mut check = |target: Limited<'static>, left_out, expected: [bool; 2], reduced: &[Reduction]| {
        let mut target = target;
        let told = restore(&mut tape, &mut target, left_out);
        assert!(told.summary.is_good());
        let told: Vec<Reduction> = told.reduced.into_iter().map(|(_, what)| what).collect();
        assert_eq!(told, reduced);
        for (name, is_qtree) in ["sales", "büro"].into_iter().zip(expected) {
            assert!(target.volume.look_up(Ino::ROOT, name.as_bytes()).is_some());
            let value = found(&target.volume, name.as_bytes(), PropertyKind::Qtree, b"");
            assert_eq!(value.is_some(), is_qtree, "{name}");
        }
    };
    let none = PropertyKinds::NONE;
    check(limited(|_| {}), none, [true, true], &[]);
    let below = [Reduction::QtreeBelow; 2];
    check(limited(|c| c.root = TargetRoot::Directory), none, [false, false], &below);
    check(limited(|c| c.root = TargetRoot::TopLevel), none, [false, false], &below);
    let ascii = limited(|c| c.unicode_qtree_names = false);
    check(ascii, none, [true, false], &[Reduction::QtreeName]);
    let ignored = none.with(PropertyKind::Qtree);
    check(limited(|c| c.root = TargetRoot::Directory), ignored, [false, false], &[]);
}
