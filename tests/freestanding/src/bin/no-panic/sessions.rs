//! The rules of sessions and events.

use core::hint::black_box;

use tapedump_core::session::{Event, Kind, Occurrence, Refuses, Session, Verdict, admit, limit};
use tapedump_core::units::VolumeId;

pub fn rules() {
    let volume = VolumeId(black_box([1; 16]));
    let running = black_box([Session { kind: black_box(Kind::Copy), volume }; 40]);
    let running = black_box(&running[..]);
    let under_way = black_box([black_box(Refuses::Volume(volume)); 3]);
    let new = black_box(Session { kind: Kind::Dump, volume });
    let limit = limit(black_box(16 << 30));
    black_box(admit(&new, running.iter().copied(), limit, black_box(&under_way[..]))).ok();
    let Some(event) = Event::of_name(black_box("takeover")) else { return };
    let occurrence = black_box(Occurrence { volume: black_box(Some(volume)), ..Occurrence::new(event) });
    match black_box(occurrence.verdict(running.iter().copied())) {
        Verdict::Vetoed { sessions } => _ = black_box(sessions),
        Verdict::Proceeds(proceeding) => {
            black_box((proceeding.aborts(&new), proceeding.refuses.refuses(&new)));
            black_box(proceeding.abort.is_some_and(|abort| abort.is_restartable()));
        }
    }
    black_box((event.name(), new.kind.sessions()));
}
