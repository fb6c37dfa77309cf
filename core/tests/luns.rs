//! LUNs and files that may not be dumped now are named, left out, and taken by the next increment (R-DATA-7).

use tapedump_core::checksum::PortableCrc32c;
use tapedump_core::device::ErrorKind;
use tapedump_core::device::mem::{MemTape, MemVolume, Node};
use tapedump_core::device::volume::{Attributes, Kind, PropertyKind};
use tapedump_core::engine::dump::{Dump, DumpEvent, DumpMemory, DumpOptions, DumpSummary};
use tapedump_core::record::lun::{LunRepr, LunState, OsType, Serial};
use tapedump_core::record::map::MapView;
use tapedump_core::stream::writer::DumpIdentity;
use tapedump_core::units::{BlockingFactor, DumpId, Ino, Level, Timestamp};

const NOW: u32 = 1_700_000_000;

fn dump(volume: &mut MemVolume<'_>, known: &mut [u8], level: u32) -> (DumpSummary, Vec<(Ino, ErrorKind)>) {
    let identity = DumpIdentity {
        id: DumpId(*b"0123456789abcdef"),
        date: NOW + 100 * (level + 1),
        base_date: if level == 0 { 0 } else { NOW + 100 },
        level: Level::new(level).unwrap(),
    };
    let blocking = BlockingFactor::new(4).unwrap();
    let mut space = vec![0; 1 << 20];
    let mut tape = MemTape::blank(&mut space);
    let (mut stream, mut in_use, mut on_tape) =
        (vec![0; 1024 + blocking.record_len()], vec![0; 64], vec![0; 64]);
    let memory = DumpMemory { stream: &mut stream, in_use: &mut in_use, on_tape: &mut on_tape, known };
    let options = DumpOptions { identity, blocking, label: [0; 16] };
    let mut dump = Dump::<_, _, PortableCrc32c>::new(volume, &mut tape, memory, options).unwrap();
    let mut skipped = Vec::new();
    let summary = loop {
        match dump.step().unwrap() {
            DumpEvent::Skipped { ino, error } => skipped.push((ino, error)),
            DumpEvent::Done(summary) => break summary,
            _ => {}
        }
    };
    drop(dump);
    (summary, skipped)
}

#[test]
fn what_is_restricted_or_inconsistent_is_left_out_until_it_is_not() {
    let (mut nodes, mut arena) = (vec![Node::EMPTY; 20], vec![0; 1 << 16]);
    let mut volume = MemVolume::new(&mut nodes, &mut arena).unwrap();
    let mut attributes = Attributes::new(Kind::File);
    // Long before the dumps: their times never tell that they are to be dumped.
    attributes.changed = Timestamp { secs: 1000, nanos: 0 };
    attributes.modified = attributes.changed;
    let lun = LunRepr::new(Serial::new(*b"abcdefghijkl").unwrap(), OsType::Linux, 3000);
    let values = [
        lun,
        LunRepr { restricted: true, ..lun },
        LunRepr { state: LunState::Inconsistent, ..lun },
        LunRepr { restricted: true, state: LunState::Inconsistent, ..lun },
        LunRepr { state: LunState::Offline, ..lun },
        LunRepr::restricted_file(),
    ];
    let mut inos = Vec::new();
    for (index, value) in values.iter().enumerate() {
        let name = format!("lun{index}");
        let ino = volume.add_file(Ino::ROOT, name.as_bytes(), &attributes, &[7; 3000]).unwrap();
        volume.set_property(ino, PropertyKind::Lun, b"", &value.value()).unwrap();
        inos.push(ino);
    }
    // What is not understood is no reason to leave a file out, nor is an attribute of a directory.
    let garbage = volume.add_file(Ino::ROOT, b"garbage", &attributes, &[7; 3000]).unwrap();
    volume.set_property(garbage, PropertyKind::Lun, b"", &[0xff; 32]).unwrap();
    let short = volume.add_file(Ino::ROOT, b"short", &attributes, &[7; 3000]).unwrap();
    volume.set_property(short, PropertyKind::Lun, b"", b"TDLU").unwrap();
    volume.set_property(Ino::ROOT, PropertyKind::Lun, b"", &values[1].value()).unwrap();

    let mut known = vec![0; 64];
    let (summary, skipped) = dump(&mut volume, &mut known, 0);
    let expected = [
        (inos[1], ErrorKind::Restricted),
        (inos[2], ErrorKind::Inconsistent),
        (inos[3], ErrorKind::Restricted),
        (inos[5], ErrorKind::Restricted),
    ];
    assert_eq!((skipped.as_slice(), summary.incomplete), (&expected[..], 4));
    assert!(expected.iter().all(|(ino, _)| !MapView::new(&known).contains(*ino)));
    assert!([inos[0], inos[4], garbage, short].iter().all(|ino| MapView::new(&known).contains(*ino)));

    // Still so: named again.
    let (summary, skipped) = dump(&mut volume, &mut known.clone(), 1);
    assert_eq!((skipped.as_slice(), summary.incomplete), (&expected[..], 4));

    for (ino, _) in expected {
        volume.set_property(ino, PropertyKind::Lun, b"", &lun.value()).unwrap();
        volume.set_attributes(ino, &attributes).unwrap();
    }
    let (summary, skipped) = dump(&mut volume, &mut known, 1);
    assert_eq!((skipped.as_slice(), summary.incomplete), (&[][..], 0));
    assert_eq!((summary.others, summary.unchanged), (4, 4), "just those");
    assert!(expected.iter().all(|(ino, _)| MapView::new(&known).contains(*ino)));
}
