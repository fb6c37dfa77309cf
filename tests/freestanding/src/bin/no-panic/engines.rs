//! The two engines over devices that may answer anything.

use core::hint::black_box;

use tapedump_core::catalog::{CATALOG_MEMORY_MIN, CatalogIdentity, CatalogWriter, SuspendedCatalog};
use tapedump_core::context::{ContextRecord, ContextStore, Part, region_len};
use tapedump_core::device::tape::TapePosition;
use tapedump_core::device::volume::{PropertyKinds, VolumeNames};
use tapedump_core::engine::dump::restart::{DumpState, find_end};
use tapedump_core::engine::dump::{Dump, DumpMemory, DumpOptions};
use tapedump_core::engine::restore::{Leg, Restore, RestoreEvent, RestoreMemory, Route, RouteFailed, Stop};
use tapedump_core::limits::NAME_LEN_MAX;
use tapedump_core::stream::writer::DumpIdentity;
use tapedump_core::units::{BlockAddr, BlockingFactor, DumpId, Ino, Level, TapeNo};

use crate::opaque::{Opaque, Unit};
use crate::pieces::{bytes, number};

pub fn dump() {
    let identity = DumpIdentity { id: DumpId([1; 16]), date: 1, base_date: 0, level: black_box(Level::MAX) };
    let options = black_box(DumpOptions { identity, blocking: BlockingFactor::MIN, label: [0; 16] });
    let (mut stream, mut in_use, mut on_tape) = (black_box([0; 4096]), black_box([0; 8]), black_box([0; 8]));
    let mut known = black_box([0; 8]);
    let memory = DumpMemory {
        stream: bytes(&mut stream),
        in_use: bytes(&mut in_use),
        on_tape: bytes(&mut on_tape),
        known: bytes(&mut known),
    };
    let Ok(mut dump) = Dump::<_, _, Unit>::new(Opaque, Opaque, memory, options) else { return };
    dump.leave_out(black_box(PropertyKinds::ACLS));
    while black_box(true) {
        let event = black_box(dump.step());
        black_box((dump.progress(), dump.stage(), dump.stage().number(), dump.source()));
        if event.is_err() {
            break;
        }
    }
    black_box(dump.into_devices());
}

/// A dump that is suspended, and gone on with.
pub fn restarted() {
    let identity = DumpIdentity { id: DumpId([1; 16]), date: 1, base_date: 0, level: black_box(Level::MAX) };
    let options = black_box(DumpOptions { identity, blocking: BlockingFactor::MIN, label: [0; 16] });
    let mut page = black_box([0; 1024]);
    let store = ContextStore::open(Opaque, black_box(0)..black_box(1 << 20));
    let Ok(mut store) = black_box(store) else { return };
    black_box((
        store.len(black_box(Part::Rest)).is_ok(),
        store.read(black_box(Part::Record), &mut page).is_ok(),
    ));
    black_box(ContextRecord::from_bytes(bytes(&mut page)).map(|record| record.to_bytes()));
    let Some(state) = black_box(DumpState::from_bytes(bytes(&mut page))) else { return };
    black_box((state.progress(), state.stage(), state.record_at(), state.header_at(), state.in_file()));
    let (mut record, mut rest) = (black_box([0; 4096]), black_box([0; 4096]));
    let begin = black_box(TapePosition::default());
    let blocking = options.blocking;
    let found =
        find_end::<_, Unit>(&mut Opaque, begin, &identity, blocking, &state, bytes(&mut rest), &mut record);
    if black_box(found).is_err() {
        return;
    }
    let catalog = CatalogIdentity {
        dump: identity.id,
        base: black_box(None),
        level: identity.level,
        date: black_box(1),
        base_date: black_box(0),
        volume: black_box([0; 16]),
        names: black_box(VolumeNames::default()),
        label: black_box([0; 16]),
    };
    let Some(at) = black_box(SuspendedCatalog::from_bytes(bytes(&mut page))) else { return };
    let mut space = black_box([0; CATALOG_MEMORY_MIN]);
    let region = black_box(0)..black_box(1 << 20);
    let Ok(writer) = CatalogWriter::<_, Unit>::resumed(Opaque, region, bytes(&mut space), catalog, &at)
    else {
        return;
    };
    let (mut stream, mut in_use, mut on_tape) = (black_box([0; 4096]), black_box([0; 8]), black_box([0; 8]));
    let mut known = black_box([0; 8]);
    let memory = DumpMemory {
        stream: bytes(&mut stream),
        in_use: bytes(&mut in_use),
        on_tape: bytes(&mut on_tape),
        known: bytes(&mut known),
    };
    let dump =
        Dump::<_, _, Unit, _>::restarted(Opaque, Opaque, writer, memory, options, &state, bytes(&mut rest));
    let Ok(mut dump) = dump else { return };
    while black_box(dump.step()).is_ok() {
        let Ok(Some(state)) = dump.suspend() else { continue };
        let Ok(Ok(catalog)) = dump.catalog_mut().map(CatalogWriter::suspend) else { continue };
        let held = dump.held();
        let (state, catalog) = (state.bytes(), catalog.bytes());
        let parts = [&[], &[], state, catalog, held.rest, held.in_use, held.pending, held.known];
        black_box(store.store(&parts).is_ok());
    }
    let region = || black_box(0)..black_box(1 << 20);
    let mut blank = ContextStore::blank(store.into_device(), region());
    black_box(blank.store(&[&[]; 8]).is_ok());
    let mut blank = ContextStore::<_, Unit>::blank_with_crc(Opaque, region());
    black_box(blank.store(&[&[]; 8]).is_ok());
    if let Ok(mut opened) = black_box(ContextStore::<_, Unit>::open_with_crc(Opaque, region())) {
        black_box(opened.read(black_box(Part::State), &mut page).is_ok());
    }
    black_box(region_len(black_box(&[1, 2])));
}

/// As [`dump`], with a catalog.
pub fn dump_with_catalog() {
    let date = black_box(1);
    let level = black_box(Level::MAX);
    let identity = CatalogIdentity {
        dump: DumpId([1; 16]),
        base: black_box(None),
        level,
        date: date.into(),
        base_date: black_box(0),
        volume: black_box([0; 16]),
        names: black_box(VolumeNames::default()),
        label: black_box([0; 16]),
    };
    let mut space = black_box([0; CATALOG_MEMORY_MIN]);
    let region = black_box(0)..black_box(1 << 20);
    let writer = CatalogWriter::<_, Unit>::new(Opaque, region, bytes(&mut space), identity);
    let Ok(mut writer) = writer else { return };
    let identity = DumpIdentity { id: DumpId([1; 16]), date, base_date: 0, level };
    let options = black_box(DumpOptions { identity, blocking: BlockingFactor::MIN, label: [0; 16] });
    let (mut stream, mut in_use, mut on_tape) = (black_box([0; 4096]), black_box([0; 8]), black_box([0; 8]));
    let mut known = black_box([0; 8]);
    let memory = DumpMemory {
        stream: bytes(&mut stream),
        in_use: bytes(&mut in_use),
        on_tape: bytes(&mut on_tape),
        known: bytes(&mut known),
    };
    let sink = black_box(true).then_some(&mut writer);
    let Ok(mut dump) = Dump::<_, _, Unit, _>::with_catalog(Opaque, Opaque, sink, memory, options) else {
        return;
    };
    while black_box(dump.step()).is_ok() {
        black_box(dump.catalog().is_ok());
    }
    black_box(dump.into_parts().2.is_ok());
    black_box(writer.finish()).ok();
}

/// Leads anywhere.
struct Anywhere;

impl Route for Anywhere {
    fn next_stop(&mut self, dump: u32, leg: Leg, from: BlockAddr) -> Result<Option<Stop>, RouteFailed> {
        black_box((dump, leg, from));
        let stop =
            Stop { ino: Ino(black_box(3)), block: BlockAddr(black_box(4)), tape: TapeNo(black_box(2)) };
        if black_box(true) { Ok(black_box(Some(stop))) } else { Err(RouteFailed) }
    }
}

pub fn restore() {
    let (mut stream, mut maps, mut names) = (black_box([0; 5120]), black_box([0; 48]), black_box([0; 8192]));
    let (mut chain, mut attributes) = (black_box([0; 24]), black_box([0; 4096]));
    let memory = RestoreMemory {
        stream: bytes(&mut stream),
        maps: bytes(&mut maps),
        chain: bytes(&mut chain),
        names: bytes(&mut names),
        attributes: bytes(&mut attributes),
    };
    let len = black_box(3);
    let (mut anywhere, mut stops) = (Anywhere, black_box(&[][..]));
    let Ok(mut restore) = Restore::<_, _, _, Unit>::of_chain(Opaque, Opaque, Opaque, memory, len) else {
        return;
    };
    match black_box(number()) {
        0 => restore.go_along(&mut anywhere),
        1 => restore.go_along(&mut stops),
        _ => {}
    }
    restore.leave_out(black_box(PropertyKinds::ACLS));
    if black_box(true) {
        restore.directories_only();
    }
    let mut name = black_box([0; NAME_LEN_MAX]);
    while black_box(true) {
        let event = black_box(restore.step());
        black_box((restore.progress(), restore.progress().is_good(), restore.tape(), restore.target()));
        black_box(restore.entry_name());
        match event {
            Ok(RestoreEvent::Catalogued) => {
                black_box(restore.look_up(black_box(b"a/b"))).ok();
                black_box(restore.select(black_box(b"a/b"))).ok();
                black_box((restore.wants(black_box(Ino(3))), restore.wanted(), restore.target_mut()));
            }
            Ok(RestoreEvent::NeedDump { .. }) => {
                black_box(restore.tape_mut());
                black_box(restore.next_dump(black_box(Some(Opaque))));
            }
            Ok(RestoreEvent::NeedTape(_)) => {
                black_box(restore.next_tape(Opaque));
            }
            Ok(_) => {
                black_box(restore.component(black_box(Ino(3)), &mut name)).ok();
            }
            Err(_) => break,
        }
    }
    black_box(restore.next_missing(black_box(Ino(3))));
    black_box(restore.next_awaiting(black_box(Ino(3))));
    black_box(restore.into_devices());
}
