//! Dumps that stop anywhere and go on: the tape, the catalog and the map of what is known are those of a dump that did not.

extern crate std;
use std::format;
use std::string::String;
use std::vec;
use std::vec::Vec;

use super::restart::{DumpState, RestartError, find_end};
use super::{Dump, DumpError, DumpEvent, DumpMemory, DumpOptions, Stage};
use crate::catalog::{Catalog, CatalogIdentity, CatalogWriter, SuspendedCatalog};
use crate::checksum::PortableCrc32c;
use crate::device::ErrorKind;
use crate::device::fault::{Fault, FaultInjector, Operation, What, When};
use crate::device::mem::{MemBlock, MemTape, MemVolume};
use crate::device::tape::{TapeDevice, TapePosition};
use crate::device::volume::{Attributes, Kind, PropertyKind, VolumeNames};
use crate::engine::tests::{leak, options, sample};
use crate::units::{Ino, Level};

type Tape = MemTape<'static>;

const MAP_LEN: usize = 64;
const TAPE_LEN: usize = 8 << 20;
const CATALOG_LEN: usize = 1 << 20;

/// A file of several segments, in the first of which data cannot be read, and objects that cannot be opened, besides
/// all that a volume can hold.
fn volume() -> (MemVolume<'static>, Vec<Fault>) {
    let mut v = sample();
    let long = v.add_file(Ino::ROOT, b"long", &Attributes::new(Kind::File), b"").unwrap();
    for at in 0..13 {
        v.write_data(long, at * 100_003, &[at as u8 + 1; 70_001]).unwrap();
    }
    v.set_property(long, PropertyKind::Xattr, b"user.long", &[7; 3000]).unwrap();
    let shut = v.add_file(Ino::ROOT, b"shut", &Attributes::new(Kind::File), b"not to be had").unwrap();
    let last = v.add_file(Ino::ROOT, b"zz", &Attributes::new(Kind::File), b"the last one").unwrap();
    let faults = [(shut, Operation::Open), (last, Operation::Close)];
    let what = |operation| match operation {
        Operation::Close => What::Change,
        _ => What::Error(ErrorKind::Denied),
    };
    (
        v,
        faults
            .map(|(ino, operation)| Fault { when: When::Object(ino, operation), what: what(operation) })
            .to_vec(),
    )
}

fn identity(options: &DumpOptions) -> CatalogIdentity {
    CatalogIdentity {
        dump: options.identity.id,
        base: None,
        level: Level::BASELINE,
        date: options.identity.date.into(),
        base_date: 0,
        volume: [1; 16],
        names: VolumeNames::default(),
        label: options.label,
    }
}

/// All that outlives the power.
#[derive(Clone)]
struct Stored {
    state: DumpState,
    rest: Vec<u8>,
    maps: [Vec<u8>; 3],
    catalog: SuspendedCatalog,
}

/// How a dump ended: its tape, catalog and map of what is known.
#[derive(PartialEq, Debug)]
struct Made {
    tape: Vec<u8>,
    catalog: Vec<String>,
    known: Vec<u8>,
    told: Vec<DumpEvent>,
}

/// Everything in a catalog.
fn rows<D>(catalog: &mut Catalog<'_, D>) -> Vec<String>
where
    D: crate::device::block::BlockDevice<Error = ErrorKind>,
{
    let mut rows = Vec::new();
    let mut at = catalog.first_on_tape().unwrap();
    while let Some(row) = catalog.next_on_tape(&mut at).unwrap() {
        rows.push(format!("{row:?} {:?}", catalog.apart(row.ino).unwrap()));
        let mut names = catalog.names_from(row.ino, b"").unwrap();
        while let Some(name) = catalog.next_name(&mut names).unwrap() {
            rows.push(format!("{name:?}"));
        }
    }
    rows
}

/// Runs a dump from its beginning or from what is stored, for so many steps, suspending it before every `every`th.
struct Run<'a> {
    options: DumpOptions,
    tape: &'a mut Tape,
    disk: &'a mut [u8],
    steps: usize,
    every: usize,
}

impl Run<'_> {
    /// `Ok`: it came to its end. `Err`: the power went; what was stored last, and what was told before that.
    #[expect(clippy::result_large_err, reason = "it is what the test is about")]
    fn go(self, from: Option<(Stored, Vec<DumpEvent>)>) -> Result<Made, Option<(Stored, Vec<DumpEvent>)>> {
        let Self { options, tape, disk, steps, every } = self;
        let (source, faults) = volume();
        let source = FaultInjector::scheduled(source, &faults);
        let mut stream = vec![0; 1024 + options.blocking.record_len() * 2];
        let (mut maps, mut catalog_memory) = ([(); 3].map(|()| vec![0; MAP_LEN]), vec![0; 64 << 10]);
        if let Some((stored, _)) = &from {
            maps = stored.maps.clone();
        }
        let [in_use, on_tape, known] = &mut maps;
        let memory = DumpMemory { stream: &mut stream, in_use, on_tape, known };
        let block = MemBlock::new(disk, 512).unwrap();
        let (region, identity) = (0..CATALOG_LEN as u64, identity(&options));
        let mut told = Vec::new();
        let mut stored = None;
        let mut dump: Dump<'_, _, _, PortableCrc32c, _> = match from {
            None => {
                let catalog = CatalogWriter::new(block, region, &mut catalog_memory, identity).unwrap();
                Dump::with_catalog(source, &mut *tape, catalog, memory, options).unwrap()
            }
            Some((from, before)) => {
                let Stored { state, rest, catalog, .. } = &from;
                let catalog =
                    CatalogWriter::resumed(block, region, &mut catalog_memory, identity, catalog).unwrap();
                let dump =
                    Dump::restarted(source, &mut *tape, catalog, memory, options, state, rest).unwrap();
                told = before.clone();
                stored = Some((from, before));
                dump
            }
        };
        for step in 0..steps {
            if step % every == 0
                && let Some(state) = dump.suspend().unwrap()
            {
                let catalog = dump.catalog_mut().unwrap().suspend().unwrap();
                let held = dump.held();
                let maps = [held.in_use, held.pending, held.known].map(<[u8]>::to_vec);
                stored = Some((Stored { state, rest: held.rest.to_vec(), maps, catalog }, told.clone()));
            }
            match dump.step().unwrap() {
                DumpEvent::Done(summary) => {
                    told.push(DumpEvent::Done(summary));
                    let (_, _, catalog) = dump.into_parts();
                    let rows = rows(&mut catalog.unwrap().finish().unwrap());
                    let bytes = tape.records(0).flatten().copied().collect();
                    return Ok(Made { tape: bytes, catalog: rows, known: maps[2].clone(), told });
                }
                DumpEvent::Working | DumpEvent::Stage(_) => {}
                event => told.push(event),
            }
        }
        Err(stored)
    }
}

fn blank() -> (Tape, Vec<u8>) {
    (MemTape::blank(leak(TAPE_LEN)), vec![0; CATALOG_LEN])
}

fn whole(options: DumpOptions) -> Made {
    let (mut tape, mut disk) = blank();
    let run = Run { options, tape: &mut tape, disk: &mut disk, steps: usize::MAX, every: usize::MAX };
    run.go(None).ok().unwrap()
}

fn place(options: &DumpOptions, tape: &mut Tape, stored: &Stored) -> Result<(), RestartError<ErrorKind>> {
    let (dump, blocking) = (&options.identity, options.blocking);
    let mut memory = vec![0; blocking.record_len()];
    find_end::<_, PortableCrc32c>(
        tape,
        TapePosition::default(),
        dump,
        blocking,
        &stored.state,
        &stored.rest,
        &mut memory,
    )
}

/// R-RESTART-4: wherever the power goes, the dump that goes on is the one that would have come without.
#[test]
fn whatever_step_a_dump_stops_at_it_goes_on_as_if_it_had_not() {
    for (blocking, every) in [(4, 1), (10, 5), (64, 17)] {
        let options = options(blocking);
        let reference = whole(options);
        assert!(reference.told.len() > 2, "{:?}", reference.told);
        let mut stages = Vec::new();
        for steps in (0..).step_by(if blocking == 4 { 1 } else { 7 }) {
            let (mut tape, mut disk) = blank();
            let run = Run { options, tape: &mut tape, disk: &mut disk, steps, every };
            let made = match run.go(None) {
                Ok(made) => {
                    assert!(made == reference, "suspending it changed it");
                    break;
                }
                Err(None) => continue,
                Err(Some((stored, told))) => {
                    if stages.last() != Some(&stored.state.stage()) {
                        stages.push(stored.state.stage());
                    }
                    place(&options, &mut tape, &stored).unwrap();
                    let run = Run {
                        options,
                        tape: &mut tape,
                        disk: &mut disk,
                        steps: usize::MAX,
                        every: usize::MAX,
                    };
                    run.go(Some((stored, told))).ok().unwrap()
                }
            };
            assert!(made == reference, "stopped before step {steps}, blocking factor {blocking}");
        }
        if every == 1 {
            assert_eq!(stages, [Stage::Map, Stage::Directories, Stage::Files, Stage::Attributes]);
        }
    }
}

/// A dump whose power goes every so many steps comes to its end all the same.
#[test]
fn a_dump_goes_on_as_often_as_it_takes() {
    let options = options(10);
    let reference = whole(options);
    let (mut tape, mut disk) = blank();
    let mut from = None;
    for restarts in 0..100 {
        let run = Run { options, tape: &mut tape, disk: &mut disk, steps: 23, every: 1 };
        match run.go(from) {
            Ok(made) => {
                assert!(made == reference && restarts > 2, "{restarts} restarts");
                return;
            }
            Err(stored) => {
                let (stored, told) = stored.unwrap();
                place(&options, &mut tape, &stored).unwrap();
                from = Some((stored, told));
            }
        }
    }
    panic!("it makes no headway");
}

fn stopped(options: DumpOptions, steps: usize) -> (Tape, Stored) {
    let (mut tape, mut disk) = blank();
    let run = Run { options, tape: &mut tape, disk: &mut disk, steps, every: 1 };
    let (stored, _) = run.go(None).err().flatten().unwrap();
    (tape, stored)
}

/// Another tape, one that ends too early, one on which something else stands: each is refused before anything is written.
#[test]
fn a_tape_that_is_not_the_one_is_refused() {
    let options = options(4);
    let (mut tape, stored) = stopped(options, 66);
    let end = stored.state.record_at().0 / 4;
    assert!(end > 20 && stored.state.stage() == Stage::Files);
    place(&options, &mut tape, &stored).unwrap();
    assert_eq!(tape.position().unwrap(), TapePosition { file: 0, record: end });

    let (mut blank_tape, _) = blank();
    let refused = place(&options, &mut blank_tape, &stored).unwrap_err();
    assert_eq!(refused, RestartError::Missing { at: crate::units::BlockAddr(0) });
    blank_tape.write_file(&[1; 40_960], 4096).unwrap();
    assert_eq!(place(&options, &mut blank_tape, &stored), Err(RestartError::OtherDump));
    let mut other = options;
    other.identity.id.0[3] ^= 1;
    assert_eq!(place(&other, &mut tape, &stored), Err(RestartError::OtherDump));

    let records: Vec<Vec<u8>> = tape.records(0).map(<[u8]>::to_vec).collect();
    let written = |records: &[Vec<u8>]| {
        let mut tape = MemTape::blank(leak(TAPE_LEN));
        for record in records {
            tape.write(record).unwrap();
        }
        tape
    };
    let refused = place(&options, &mut written(&records[..end as usize - 1]), &stored).unwrap_err();
    assert!(matches!(refused, RestartError::Missing { .. }), "{refused:?}");
    // Any bit of what is before that place, as far back as the segment before the last header.
    for at in (0..4096).step_by(511) {
        let mut damaged = records.clone();
        damaged[end as usize - 1][at] ^= 4;
        let result = place(&options, &mut written(&damaged), &stored);
        assert!(matches!(result, Err(RestartError::Differs { .. })), "byte {at}: {result:?}");
    }
}

/// What was stored is not believed either.
#[test]
fn another_image_of_the_volume_or_a_broken_state_is_refused() {
    let options = options(4);
    let (_, stored) = stopped(options, 66);
    let restart = |stored: &Stored, change: fn(&mut MemVolume<'static>)| {
        let (mut tape, _) = blank();
        let mut source = volume().0;
        change(&mut source);
        let mut stream = vec![0; 8192];
        let mut maps = stored.maps.clone();
        let [in_use, on_tape, known] = &mut maps;
        let memory = DumpMemory { stream: &mut stream, in_use, on_tape, known };
        let dump = Dump::<_, _, PortableCrc32c>::restarted(
            source,
            &mut tape,
            (),
            memory,
            options,
            &stored.state,
            &stored.rest,
        );
        let mut dump = dump.map_err(|error| matches!(error, DumpError::NotThisDump))?;
        for _ in 0..100_000 {
            match dump.step() {
                Ok(DumpEvent::Done(_)) | Err(_) => break,
                Ok(_) => {}
            }
        }
        Ok::<(), bool>(())
    };
    restart(&stored, |_| {}).unwrap();
    let long = volume().0.look_up(Ino::ROOT, b"long");
    let in_file =
        (40..400).map(|steps| stopped(options, steps).1).find(|stored| stored.state.in_file() == long);
    let in_file = in_file.unwrap();
    restart(&in_file, |_| {}).unwrap();
    let shorter = |v: &mut MemVolume<'static>| {
        let long = v.look_up(Ino::ROOT, b"long").unwrap();
        v.set_size(long, 100).unwrap();
    };
    assert_eq!(restart(&in_file, shorter), Err(true));
    // Any bit of it: an error or a dump that ends, but nothing else.
    for byte in 0..size_of::<DumpState>() {
        for bit in 0..8 {
            let mut bytes = in_file.state.bytes().to_vec();
            bytes[byte] ^= 1 << bit;
            let broken = Stored { state: DumpState::from_bytes(&bytes).unwrap(), ..in_file.clone() };
            let _ = restart(&broken, |_| {});
        }
    }
    let mut longer = in_file;
    longer.rest = vec![0; 4096];
    assert_eq!(restart(&longer, |_| {}), Err(true));
}
