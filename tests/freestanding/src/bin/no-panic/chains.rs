//! The rules of chains, and the history.

use core::hint::black_box;

use tapedump_core::chain::history::{DamagedPages, History, memory_len};
use tapedump_core::chain::{
    Access, Application, BaseRef, CatalogPlace, Dump, DumpRequest, Dumps, Entry, Maker, Numbering, Outcome,
    Place, PlannedTapes, Point, Recorded, Release, SliceDumps, Tape, TapeDump, VolumeState, base, chain,
    plan,
};
use tapedump_core::units::{BlockAddr, BlockingFactor, DumpId, Ino, Level, Timestamp, VolumeId};

use crate::opaque::{Opaque, Unit};
use crate::pieces::bytes;

fn a_dump() -> Dump {
    let date = black_box(Timestamp { secs: 1, nanos: 2 });
    black_box(Dump {
        id: DumpId([1; 16]),
        level: Level::BASELINE,
        date,
        order: 3,
        base: black_box(Some(BaseRef { id: black_box(Some(DumpId([2; 16]))), date })),
        outcome: black_box(Outcome::Incomplete { skipped: 4 }),
        numbering: black_box(Numbering::Dense),
        ino_limit: Ino(5),
        maker: black_box(Maker::Tapedump { release: Release::CURRENT, format: 1 }),
        state: black_box(VolumeState::default()),
    })
}

/// All that is asked of dumps.
fn rules<S: Dumps>(mut dumps: S) {
    let request = black_box(DumpRequest {
        level: Level::MAX,
        date: Timestamp::default(),
        state: VolumeState::default(),
        real_numbers_fit: true,
        has_namesake: false,
        replaced: None,
        release: Release::CURRENT,
        application: Application::default(),
    });
    if let Ok(Some(found)) = base(&mut dumps, &request) {
        black_box((found.outcome.is_usable(), found.outcome.skipped()));
    }
    let id = black_box(DumpId([7; 16]));
    let point = black_box(Point::At(Timestamp::default()));
    for found in [chain(&mut dumps, id), plan(&mut dumps, point), plan(&mut dumps, black_box(Point::Latest))]
    {
        let Ok(found) = black_box(found) else { continue };
        let mut tapes = black_box(PlannedTapes::new());
        while let Ok(Some((link, tape))) = tapes.next(&found, &mut dumps) {
            black_box((tape.id(), tape.label(), tape.file(), tape.first()));
            let on_tape = TapeDump { id: Some(id), level: link.level, date: 1, base_date: 2 };
            black_box(link.check(&black_box(on_tape))).ok();
            black_box(found.takes(link, black_box(Access::ReadOnly))).ok();
        }
        let missing = found.missing_tape(&mut dumps, |link, tape| {
            black_box((link, tape));
            black_box(true)
        });
        black_box(missing.is_ok());
    }
}

pub fn rules_in_memory() {
    let tapes = [Tape::new(black_box([1; 16]), black_box(b"label"), black_box(2), BlockAddr(black_box(3)))];
    let dumps = [a_dump(), a_dump()].map(|dump| Recorded { dump, tapes: black_box(&tapes) });
    rules(SliceDumps::new(black_box(&dumps[..])));
}

pub fn history() {
    let (mut space, mut other) = (black_box([0; 16384]), black_box([0; 16384]));
    let from = black_box(1);
    let region = from..black_box(2);
    black_box(memory_len(&region));
    let id = black_box([3; 16]);
    let made = History::<Unit>::create_with_crc(&mut Opaque, region.clone(), id, bytes(&mut space));
    let Ok(mut made) = black_box(made) else { return };
    let opened = History::<Unit>::open_with_crc(&mut Opaque, region, bytes(&mut other));
    let Ok(mut opened) = black_box(opened) else { return };
    let (mut path, mut name) = (black_box([0; 5000]), black_box([0; 300]));
    let tapes = black_box([Tape::new([1; 16], b"label", 2, BlockAddr(3)); 60]);
    let entry = black_box(Entry {
        dump: a_dump(),
        volume: VolumeId([8; 16]),
        volume_name: bytes(&mut name),
        path: bytes(&mut path),
        blocking: BlockingFactor::DEFAULT,
        blocks: 1,
        objects: 2,
        catalog: black_box(Some(CatalogPlace { at: 1, len: 2 })),
        catalog_file: black_box(Some(3)),
        tapes: black_box(&tapes[..]),
    });
    black_box(entry.check()).ok();
    while black_box(true) {
        let place = black_box(Place(4));
        black_box(opened.append(&mut Opaque, &entry)).ok();
        black_box(opened.replace(&mut Opaque, place, &entry)).ok();
        black_box(opened.remove(&mut Opaque, place)).ok();
        black_box(opened.entry(&mut Opaque, place)).ok();
        black_box((opened.next_before(black_box(Some(place))), opened.next_after(place)));
        black_box((opened.id(), opened.used_len()));
        for DamagedPages { page, count } in opened.damaged() {
            black_box((page, count));
        }
        rules(opened.dumps_of(&mut Opaque, VolumeId(black_box([8; 16])), black_box(b"path")));
        black_box(made.append_all(&mut Opaque, &mut opened, &mut Opaque)).ok();
    }
}
