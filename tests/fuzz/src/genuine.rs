//! Small genuine dumps, catalogs and histories, the same each time: what the fuzzer starts from.

use tapedump_core::catalog::{CATALOG_MEMORY_MIN, CatalogIdentity, CatalogWriter};
use tapedump_core::chain::history::{History, memory_len};
use tapedump_core::chain::{
    BaseRef, CatalogPlace, Dump as Recorded, Entry, Maker, Numbering, Outcome, Release, Tape, VolumeState,
};
use tapedump_core::checksum::PortableCrc32c;
use tapedump_core::context::{BackupStatus, ContextRecord, ContextState, ContextStore};
use tapedump_core::device::mem::{MemBlock, MemTape, MemVolume, Node};
use tapedump_core::device::tape::TapePosition;
use tapedump_core::device::volume::{Attributes, Kind, PropertyKind, VolumeNames};
use tapedump_core::engine::dump::{Dump, DumpEvent, DumpMemory, DumpOptions, Stage};
use tapedump_core::limits::PAGE_LEN;
use tapedump_core::stream::writer::DumpIdentity;
use tapedump_core::units::{BlockAddr, BlockingFactor, DumpId, Ino, Level, Timestamp, VolumeId};

/// Bytes of the maps of a dump.
pub const MAP_LEN: usize = 64;
const BEGIN: i64 = 1_700_000_000;

/// A dump: the bytes of its tape, and the image of its catalog.
#[derive(Clone, Debug)]
pub struct Genuine {
    pub tape: Vec<u8>,
    pub catalog: Vec<u8>,
}

fn attributes(kind: Kind, secs: i64) -> Attributes {
    let mut attributes = Attributes::new(kind);
    attributes.permissions = 0o640;
    attributes.uid = 1000;
    attributes.modified = Timestamp { secs, nanos: 500 };
    attributes.changed = attributes.modified;
    attributes
}

fn fill(volume: &mut MemVolume<'_>) {
    let at = BEGIN - 1000;
    let (file, directory) = (attributes(Kind::File, at), attributes(Kind::Directory, at));
    let dir = volume.add_directory(Ino::ROOT, b"dir", &directory).expect("room");
    let deep = volume.add_directory(dir, b"deep", &directory).expect("room");
    volume.add_file(deep, b"file", &file, &[b'x'; 900]).expect("room");
    let linked = volume.add_file(Ino::ROOT, b"linked", &file, b"of two names").expect("room");
    volume.add_link(linked, deep, b"linked").expect("room");
    volume.set_property(linked, PropertyKind::Xattr, b"user.note", b"a value").expect("room");
    volume.set_property(dir, PropertyKind::PosixDefaultAcl, b"", &[2, 0, 0, 0]).expect("room");
    let sparse = volume.add_file(dir, b"sparse", &file, b"").expect("room");
    volume.write_data(sparse, 5000, b"behind a hole").expect("room");
    volume.set_size(sparse, 20_000).expect("room");
}

fn change(volume: &mut MemVolume<'_>, at: i64) {
    let deep = volume.look_up(Ino::ROOT, b"dir").and_then(|dir| volume.look_up(dir, b"deep"));
    volume.add_file(deep.expect("it was made"), b"later", &attributes(Kind::File, at), b"new").expect("room");
    volume.add_symlink(Ino::ROOT, b"link", &attributes(Kind::Symlink, at), b"dir/deep/later").expect("room");
    volume.remove(Ino::ROOT, b"linked").expect("it was made");
    for directory in [Ino::ROOT, deep.expect("it was made")] {
        volume.set_attributes(directory, &attributes(Kind::Directory, at)).expect("it is there");
    }
}

/// What the dump of level 0 is made as, and what its catalog is.
#[must_use]
pub fn baseline() -> (DumpOptions, CatalogIdentity) {
    described(0)
}

/// Lends the volume as the dump of level 0 finds it.
pub fn with_volume(then: impl FnOnce(&mut MemVolume<'_>)) {
    let (mut nodes, mut arena) = (vec![Node::EMPTY; 32], vec![0; 64 << 10]);
    let mut volume = MemVolume::new(&mut nodes, &mut arena).expect("room for a root");
    fill(&mut volume);
    then(&mut volume);
}

/// The dump of level 0 suspended in this stage: its context, its catalog, and what is on its tape.
#[must_use]
pub fn suspended(stage: Stage) -> [Vec<u8>; 3] {
    let (options, identity) = baseline();
    let (mut image, mut catalog, mut bytes) = (vec![0; 64 << 10], vec![0; 64 << 10], vec![0; 256 << 10]);
    let mut tape = MemTape::blank(&mut bytes);
    with_volume(|volume| {
        let device = MemBlock::new(&mut catalog, 512).expect("the length of a block");
        let mut memory = [0; CATALOG_MEMORY_MIN];
        let writer: CatalogWriter<'_, _, PortableCrc32c> =
            CatalogWriter::new(device, 0..u64::MAX, &mut memory, identity).expect("room");
        let mut stream = vec![0; 1024 + options.blocking.record_len()];
        let (mut in_use, mut on_tape, mut known) = ([0; MAP_LEN], [0; MAP_LEN], [0; MAP_LEN]);
        let memory =
            DumpMemory { stream: &mut stream, in_use: &mut in_use, on_tape: &mut on_tape, known: &mut known };
        let mut dump =
            Dump::<_, _, PortableCrc32c, _>::with_catalog(volume, &mut tape, writer, memory, options)
                .unwrap_or_else(|_| panic!("the memory suffices"));
        // Some way into the stage.
        let mut places = 0;
        let state = loop {
            assert!(!matches!(dump.step(), Ok(DumpEvent::Done(_)) | Err(_)), "it goes on");
            let state = dump.suspend().ok().flatten().filter(|state| state.stage() == stage);
            places += u32::from(state.is_some());
            if let Some(state) = state.filter(|_| places == 3 || stage == Stage::Map) {
                break state;
            }
        };
        let catalog = dump.catalog_mut().expect("it has room").suspend().expect("it has room");
        let held = dump.held();
        let record = ContextRecord {
            identity: options.identity,
            blocking: options.blocking,
            volume: VolumeId(identity.volume),
            begin: TapePosition::default(),
            updated: Timestamp { secs: BEGIN, nanos: 9 },
            snapshot_is_own: true,
            has_offset_map: true,
            offset_verify: true,
            restartable: true,
            restart_pass: 1,
            status: BackupStatus::Tape,
            state: ContextState::Ended,
        };
        let record = record.to_bytes();
        let maps = [held.in_use, held.pending, held.known];
        let [in_use, pending, known] = maps;
        let device = MemBlock::new(&mut image, 512).expect("the length of a block");
        ContextStore::blank(device, 0..u64::MAX)
            .store(&[&record, b"{}", state.bytes(), catalog.bytes(), held.rest, in_use, pending, known])
            .expect("room");
    });
    let tape = tape.records(0).flatten().copied().collect();
    [image, catalog, tape]
}

/// A dump of level 0, and one of level 1.
#[must_use]
pub fn dumps() -> Vec<Genuine> {
    let (mut nodes, mut arena) = (vec![Node::EMPTY; 32], vec![0; 64 << 10]);
    let mut volume = MemVolume::new(&mut nodes, &mut arena).expect("room for a root");
    let mut known = vec![0; MAP_LEN];
    fill(&mut volume);
    let baseline = dump(&mut volume, 0, &mut known);
    change(&mut volume, BEGIN + 50);
    vec![baseline, dump(&mut volume, 1, &mut known)]
}

fn described(number: u8) -> (DumpOptions, CatalogIdentity) {
    let level = Level::new(number.into()).expect("a level");
    let date = BEGIN as u32 + 100 * u32::from(number);
    let base_date = if number == 0 { 0 } else { date - 100 };
    let id = DumpId([number + 1; 16]);
    let identity = CatalogIdentity {
        dump: id,
        base: (number > 0).then_some(DumpId([number; 16])),
        level,
        date: date.into(),
        base_date: base_date.into(),
        volume: [7; 16],
        names: VolumeNames::default(),
        label: [0; 16],
    };
    let options = DumpOptions {
        identity: DumpIdentity { id, date, base_date, level },
        blocking: BlockingFactor::MIN,
        label: *b"sample\0\0\0\0\0\0\0\0\0\0",
    };
    (options, identity)
}

fn dump(volume: &mut MemVolume<'_>, number: u8, known: &mut [u8]) -> Genuine {
    let (options, identity) = described(number);
    let (mut image, mut catalog_memory) = (vec![0; 256 << 10], [0; CATALOG_MEMORY_MIN]);
    let device = MemBlock::new(&mut image, 512).expect("the length of a block");
    let catalog: CatalogWriter<'_, _, PortableCrc32c> =
        CatalogWriter::new(device, 0..u64::MAX, &mut catalog_memory, identity).expect("room");
    let mut bytes = vec![0; 256 << 10];
    let mut tape = MemTape::blank(&mut bytes);
    let mut stream = vec![0; 1024 + options.blocking.record_len()];
    let (mut in_use, mut on_tape) = ([0; MAP_LEN], [0; MAP_LEN]);
    let memory = DumpMemory { stream: &mut stream, in_use: &mut in_use, on_tape: &mut on_tape, known };
    let mut dump = Dump::<_, _, PortableCrc32c, _>::with_catalog(volume, &mut tape, catalog, memory, options)
        .unwrap_or_else(|_| panic!("the memory suffices"));
    while !matches!(dump.step(), Ok(DumpEvent::Done(_))) {}
    let (_, _, catalog) = dump.into_parts();
    let Ok(catalog) = catalog else { panic!("the catalog has room") };
    let len = catalog.finish().expect("the catalog has room").figures().len;
    let tape = tape.records(0).flatten().copied().collect();
    image.truncate(len as usize);
    Genuine { tape, catalog: image }
}

/// An entry of a history; its number decides what it is.
pub fn with_entry<R>(number: u8, then: impl FnOnce(&Entry<'_>) -> R) -> R {
    let date = |number: u8| Timestamp { secs: BEGIN + 100 * i64::from(number), nanos: 7 };
    let id = |number: u8| DumpId([number; 16]);
    let level = number % 3;
    let tapes: Vec<Tape> = (0..=number % 3)
        .map(|tape| Tape::new([tape; 16], b"weekly", u32::from(number), BlockAddr(u64::from(tape) * 1000)))
        .collect();
    then(&Entry {
        dump: Recorded {
            id: id(number),
            level: Level::new(level.into()).expect("a level"),
            date: date(number),
            order: 0,
            base: (level > 0).then(|| BaseRef { id: Some(id(number - 1)), date: date(number - 1) }),
            outcome: if number == 4 { Outcome::Incomplete { skipped: 2 } } else { Outcome::Good },
            numbering: if number == 3 { Numbering::Dense } else { Numbering::Real },
            ino_limit: Ino(500),
            maker: Maker::Tapedump { release: Release::CURRENT, format: 1 },
            state: VolumeState::default(),
        },
        volume: VolumeId([0xd4; 16]),
        volume_name: b"vault",
        path: if number == 5 { &[b'p'; 1500] } else { b"home" },
        blocking: BlockingFactor::DEFAULT,
        blocks: 1000,
        objects: 30,
        catalog: (number == 2).then_some(CatalogPlace { at: 0, len: 9000 }),
        catalog_file: None,
        tapes: &tapes,
    })
}

/// The image of a history with these entries, of which one is removed.
#[must_use]
pub fn history(entries: &[u8], removed: Option<usize>) -> Vec<u8> {
    let mut image = vec![0; 64 * PAGE_LEN];
    let region = 0..image.len() as u64;
    let mut memory = vec![0; memory_len(&region)];
    let mut device = MemBlock::new(&mut image, 512).expect("the length of a block");
    let mut history = History::create(&mut device, region, [3; 16], &mut memory).expect("room");
    let mut places = Vec::new();
    for number in entries {
        places.push(with_entry(*number, |entry| history.append(&mut device, entry)).expect("room"));
    }
    if let Some(place) = removed.and_then(|removed| places.get(removed)) {
        history.remove(&mut device, *place).expect("it was recorded");
    }
    let used = history.used_len() as usize;
    image.truncate(used);
    image
}
