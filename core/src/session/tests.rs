extern crate std;

use std::format;
use std::string::ToString;
use std::vec::Vec;

use super::*;

const A: VolumeId = VolumeId([1; 16]);
const B: VolumeId = VolumeId([2; 16]);

const fn on(kind: Kind, volume: VolumeId) -> Session {
    Session { kind, volume }
}

/// R-SESSION-1: "below 16 GB 4; 16 to below 24 GB 16; 24 GB and more 32".
#[test]
fn the_limit_follows_the_memory() {
    const GIB: u64 = 1 << 30;
    let table = [
        (0, 4),
        (GIB, 4),
        (16 * GIB - 1, 4),
        (16 * GIB, 16),
        (24 * GIB - 1, 16),
        (24 * GIB, 32),
        (1024 * GIB, 32),
        (u64::MAX, 32),
    ];
    for (memory_len, sessions) in table {
        assert_eq!(limit(memory_len), sessions, "{memory_len}");
    }
}

/// R-SESSION-1, R-SESSION-2
#[test]
fn the_next_one_is_refused_with_limit_and_count() {
    let dump = on(Kind::Dump, A);
    let copy = on(Kind::Copy, A);
    for limit in [4, 16, 32] {
        let full: Vec<Session> =
            (0..limit).map(|index| on(if index % 2 == 0 { Kind::Dump } else { Kind::Restore }, B)).collect();
        let but_one = &full[1..];
        assert_eq!(admit(&dump, but_one.iter().copied(), limit, &[]), Ok(()));
        let refused = admit(&dump, full.iter().copied(), limit, &[]).unwrap_err();
        assert_eq!(refused, Refusal::Limit { limit, running: limit, needed: 1 });
        assert!(refused.to_string().contains(&format!("{limit} of {limit}")), "{refused}");
        // A copy needs two, and takes two.
        let refused = admit(&copy, but_one.iter().copied(), limit, &[]).unwrap_err();
        assert_eq!(refused, Refusal::Limit { limit, running: limit - 1, needed: 2 });
        assert!(refused.to_string().contains("takes 2"), "{refused}");
        assert_eq!(admit(&copy, full[2..].iter().copied(), limit, &[]), Ok(()));
        let copies = std::iter::repeat_n(copy, (limit / 2) as usize);
        assert_eq!(
            admit(&on(Kind::Restore, A), copies, limit, &[]),
            Err(Refusal::Limit { limit, running: limit, needed: 1 })
        );
    }
}

/// What a row of the documentation says of sessions that run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// They go on, the event does not happen.
    Veto,
    /// They abort; whether they can be restarted.
    Abort { restartable: bool },
    /// Both go on.
    Beside,
}

/// R-EVENT-1, R-EVENT-2, R-EVENT-3, R-RESTART-6: each row of the documentation, and each kind of session.
#[test]
fn each_row_of_the_documentation() {
    const LOST: Fate = Fate::Abort { restartable: false };
    const KEPT: Fate = Fate::Abort { restartable: true };
    // Event, automatic, override-vetoes, what becomes of the sessions, what may not begin.
    let table = [
        (Event::Takeover, false, false, Fate::Veto, Refuses::Nothing),
        (Event::Takeover, false, true, LOST, Refuses::Nothing),
        (Event::Takeover, true, false, LOST, Refuses::Nothing),
        (Event::Takeover, true, true, LOST, Refuses::Nothing),
        (Event::Giveback, false, false, Fate::Veto, Refuses::Nothing),
        (Event::Giveback, false, true, LOST, Refuses::Nothing),
        (Event::Giveback, true, false, LOST, Refuses::Nothing),
        (Event::Giveback, true, true, LOST, Refuses::Nothing),
        (Event::Relocation, false, false, Fate::Veto, Refuses::Nothing),
        (Event::Relocation, false, true, LOST, Refuses::Nothing),
        (Event::Relocation, true, false, LOST, Refuses::Nothing),
        (Event::Relocation, true, true, LOST, Refuses::Nothing),
        (Event::Switchover, false, false, Fate::Veto, Refuses::All),
        (Event::Switchover, false, true, KEPT, Refuses::All),
        (Event::Switchover, true, false, KEPT, Refuses::All),
        (Event::Switchover, true, true, KEPT, Refuses::All),
        (Event::Switchback, false, false, Fate::Veto, Refuses::All),
        (Event::Switchback, false, true, KEPT, Refuses::All),
        (Event::Switchback, true, false, KEPT, Refuses::All),
        (Event::Switchback, true, true, KEPT, Refuses::All),
        (Event::VolumeMoveStart, false, false, Fate::Beside, Refuses::Nothing),
        (Event::VolumeMoveStart, true, false, Fate::Beside, Refuses::Nothing),
        (Event::VolumeMoveStart, false, true, Fate::Beside, Refuses::Nothing),
        (Event::VolumeMoveCutover, false, false, Fate::Beside, Refuses::Volume(A)),
        (Event::VolumeMoveCutover, true, false, Fate::Beside, Refuses::Volume(A)),
        (Event::VolumeMoveCutover, false, true, Fate::Beside, Refuses::Volume(A)),
    ];
    for (event, is_automatic, overrides_vetoes, fate, refuses) in table {
        let is_move = matches!(event, Event::VolumeMoveStart | Event::VolumeMoveCutover);
        let occurrence = Occurrence { event, volume: is_move.then_some(A), overrides_vetoes, is_automatic };
        for kind in [Kind::Dump, Kind::Restore, Kind::Copy] {
            let session = on(kind, A);
            let row = format!("{occurrence:?} {kind:?}");
            let abort = Abort { event, is_automatic };
            match (fate, occurrence.verdict([session])) {
                (Fate::Veto, verdict) => {
                    assert_eq!(verdict, Verdict::Vetoed { sessions: kind.sessions() }, "{row}");
                }
                (Fate::Abort { restartable }, Verdict::Proceeds(proceeding)) => {
                    assert_eq!(proceeding.abort, Some(abort), "{row}");
                    assert!(proceeding.aborts(&session), "{row}");
                    assert_eq!(abort.is_restartable(), restartable, "{row}");
                    assert_eq!(proceeding.refuses, refuses, "{row}");
                }
                (Fate::Beside, Verdict::Proceeds(proceeding)) => {
                    assert!(proceeding.abort.is_none() && !proceeding.aborts(&session), "{row}");
                    assert_eq!(proceeding.refuses, refuses, "{row}");
                }
                (_, verdict) => panic!("{row}: {verdict:?}"),
            }
        }
        // Without a session there is nobody to veto it, and nothing to abort.
        let alone = occurrence.verdict([]);
        assert_eq!(
            alone,
            Verdict::Proceeds(Proceeding { abort: None, volume: occurrence.volume, refuses }),
            "{event}"
        );
    }
}

/// An event on one volume leaves those on others alone.
#[test]
fn other_volumes_are_not_concerned() {
    for event in Event::ALL {
        let asked = Occurrence { volume: Some(A), ..Occurrence::new(event) };
        let Verdict::Proceeds(_) = asked.verdict([on(Kind::Dump, B)]) else { panic!("{event}") };
        let forced = Occurrence { overrides_vetoes: true, ..asked };
        let both = [on(Kind::Dump, A), on(Kind::Restore, B)];
        let Verdict::Proceeds(proceeding) = forced.verdict(both) else { panic!("{event}") };
        assert!(!proceeding.aborts(&both[1]), "{event}");
        assert!(!proceeding.refuses.refuses(&both[1]), "{event}");
    }
}

/// R-EVENT-2: a session that is started while a switch is under way fails; R-EVENT-3: from cutover on, on that volume.
#[test]
fn what_is_under_way_refuses_sessions() {
    let (here, there) = (on(Kind::Dump, A), on(Kind::Restore, B));
    let admitted = |session: &Session, under_way: &[Refuses]| admit(session, [], 4, under_way);
    assert_eq!(admitted(&here, &[Refuses::Nothing]), Ok(()));
    let cutover = [Refuses::Nothing, Refuses::Volume(A)];
    assert_eq!(admitted(&here, &cutover), Err(Refusal::UnderWay { index: 1 }));
    assert_eq!(admitted(&there, &cutover), Ok(()));
    for session in [here, there] {
        assert_eq!(admitted(&session, &[Refuses::All]), Err(Refusal::UnderWay { index: 0 }));
    }
    // It is said first: waiting for the end of a session would not help.
    let full = [there; 4];
    assert_eq!(admit(&here, full, 4, &cutover), Err(Refusal::UnderWay { index: 1 }));
    assert!(!Refusal::UnderWay { index: 0 }.to_string().is_empty());
}

#[test]
fn names() {
    for event in Event::ALL {
        assert_eq!(Event::of_name(event.name()), Some(event));
        let abort = |is_automatic| Abort { event, is_automatic }.to_string();
        assert_eq!(abort(false), event.to_string());
        assert!(abort(true).ends_with("that the system began"));
    }
    assert_eq!(Event::of_name("flood"), None);
}
