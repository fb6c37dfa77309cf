//! The two engines over devices that may answer anything.

use core::hint::black_box;

use tapedump_core::engine::dump::{Dump, DumpMemory, DumpOptions};
use tapedump_core::engine::restore::{Restore, RestoreEvent, RestoreMemory};
use tapedump_core::limits::NAME_LEN_MAX;
use tapedump_core::stream::writer::DumpIdentity;
use tapedump_core::units::{BlockingFactor, DumpId, Ino, Level};

use crate::opaque::{Opaque, Unit};
use crate::pieces::bytes;

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
    while black_box(true) {
        let event = black_box(dump.step());
        black_box((dump.progress(), dump.stage(), dump.stage().number(), dump.source()));
        if event.is_err() {
            break;
        }
    }
    black_box(dump.into_devices());
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
    let Ok(mut restore) = Restore::<_, _, _, Unit>::of_chain(Opaque, Opaque, Opaque, memory, len) else {
        return;
    };
    let mut name = black_box([0; NAME_LEN_MAX]);
    while black_box(true) {
        let event = black_box(restore.step());
        black_box((restore.progress(), restore.progress().is_good(), restore.tape(), restore.target()));
        black_box(restore.entry_name());
        match event {
            Ok(RestoreEvent::Catalogued) => {
                black_box(restore.select(black_box(b"a/b"))).ok();
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
    black_box(restore.into_devices());
}
