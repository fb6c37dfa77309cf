//! The rules against tables, and against a model that tries everything.

extern crate std;

use std::string::{String, ToString};
use std::vec::Vec;
use std::{format, vec};

use super::*;
use crate::units::{DumpId, Ino, Level, Timestamp};

const NOW: Release = Release { major: 2, minor: 3, patch: 1 };

fn level(number: u32) -> Level {
    Level::new(number).unwrap()
}

fn id(number: u64) -> DumpId {
    DumpId(u128::from(number).to_be_bytes())
}

/// The `number`-th second.
fn date(number: u64) -> Timestamp {
    Timestamp { secs: number as i64, nanos: 0 }
}

/// A good dump; its number is its date and its order, too.
fn dump(number: u64, of_level: u32, base: Option<u64>) -> Dump {
    Dump {
        id: id(number),
        level: level(of_level),
        date: date(number),
        order: number,
        base: base.map(|base| BaseRef { id: Some(id(base)), date: date(base) }),
        outcome: Outcome::Good,
        numbering: Numbering::Real,
        ino_limit: Ino(1000),
        maker: Maker::Tapedump { release: NOW, format: 1 },
        state: VolumeState::default(),
    }
}

fn request(number: u64, of_level: u32) -> DumpRequest {
    DumpRequest {
        level: level(of_level),
        date: date(number),
        state: VolumeState::default(),
        real_numbers_fit: true,
        has_namesake: false,
        replaced: None,
        release: NOW,
        application: Application::default(),
    }
}

fn recorded(dumps: &[Dump]) -> Vec<Recorded<'static>> {
    dumps.iter().map(|dump| Recorded { dump: *dump, tapes: &[] }).collect()
}

type BaseResult = Result<Option<u64>, BaselineReason>;

fn number_of(id: DumpId) -> u64 {
    u128::from_be_bytes(id.0) as u64
}

fn base_in(dumps: &[Dump], request: &DumpRequest) -> BaseResult {
    let dumps = recorded(dumps);
    match base(&mut SliceDumps::new(&dumps), request) {
        Ok(base) => Ok(base.map(|dump| number_of(dump.id))),
        Err(BaseError::Baseline(reason)) => Err(reason),
        Err(BaseError::Source(never)) => match never {},
    }
}

fn plan_in(dumps: &[Dump], point: Point) -> Result<Vec<u64>, ChainError<core::convert::Infallible>> {
    let dumps = recorded(dumps);
    let chain = plan(&mut SliceDumps::new(&dumps), point)?;
    Ok(chain.links().iter().map(|link| number_of(link.id)).collect())
}

/// Dumps of these levels, one after the other, each on the base that the rules give it. Levels without one are left out.
fn history(levels: &[u32]) -> Vec<Dump> {
    let mut dumps = Vec::new();
    for (number, of_level) in (1..).zip(levels) {
        if let Ok(base) = base_in(&dumps, &request(number, *of_level)) {
            dumps.push(dump(number, *of_level, base));
        }
    }
    dumps
}

/// Levels of the chain that leads to each dump.
fn chains(levels: &[u32]) -> Vec<String> {
    let dumps = history(levels);
    let text = |chain: Vec<u64>| {
        let levels = chain.iter().map(|number| levels[*number as usize - 1].to_string());
        levels.collect::<Vec<_>>().join(",")
    };
    dumps.iter().map(|dump| text(plan_in(&dumps, Point::Dump(dump.id)).unwrap())).collect()
}

#[test]
fn the_documented_orders() {
    // R-CHAIN-2: level 2 builds on 0, 3 on 2, 1 on 0, 4 on 1. R-CHAIN-3: the others.
    let cases: [(&[u32], &[&str]); 8] = [
        (&[0, 2, 3, 1, 4], &["0", "0,2", "0,2,3", "0,1", "0,1,4"]),
        (&[0, 1, 2, 3], &["0", "0,1", "0,1,2", "0,1,2,3"]),
        (&[0, 1, 1, 1], &["0", "0,1", "0,1", "0,1"]),
        (&[0, 1, 2, 1, 2], &["0", "0,1", "0,1,2", "0,1", "0,1,2"]),
        (&[0, 9, 5, 31, 1], &["0", "0,9", "0,5", "0,5,31", "0,1"]),
        (&[0, 1, 0, 2], &["0", "0,1", "0", "0,2"]),
        // The Tower of Hanoi, as the manual pages of dump have it.
        (&[0, 3, 2, 5, 4, 7], &["0", "0,3", "0,2", "0,2,5", "0,2,4", "0,2,4,7"]),
        (&[3, 2, 1], &[]),
    ];
    for (levels, expected) in cases {
        assert_eq!(chains(levels), expected, "{levels:?}");
    }
}

#[test]
fn all_levels_can_follow_one_another() {
    // R-CHAIN-1
    let levels: Vec<u32> = (0..=31).collect();
    let dumps = history(&levels);
    let whole: Vec<u64> = (1..=32).collect();
    assert_eq!(plan_in(&dumps, Point::Latest), Ok(whole.clone()));
    // Whatever the order in which they are found.
    let mut backwards = dumps.clone();
    backwards.reverse();
    assert_eq!(plan_in(&backwards, Point::Latest), Ok(whole));
    assert_eq!(Level::new(32), Err(32));
}

/// The rule as it is written, on a list: from the end to the first good dump of a lower level all of whose own bases
/// are there.
fn model_base(dumps: &[Dump], before: usize, of_level: Level) -> Option<usize> {
    (0..before).rev().find(|at| {
        let candidate = &dumps[*at];
        candidate.level < of_level && model_chain(dumps, *at).is_some()
    })
}

fn model_chain(dumps: &[Dump], at: usize) -> Option<Vec<usize>> {
    if dumps[at].outcome == Outcome::Failed {
        return None;
    }
    let Some(base) = dumps[at].base else { return Some(vec![at]) };
    let below = dumps.iter().position(|dump| Some(dump.id) == base.id)?;
    let mut chain = model_chain(dumps, below)?;
    chain.push(at);
    Some(chain)
}

/// What a restore of the chain has of the changes, one before each dump: each increment holds those since its base.
fn model_changes(dumps: &[Dump], chain: &[u64]) -> Vec<u64> {
    let mut found = Vec::new();
    for number in chain {
        let dump = dumps.iter().find(|dump| number_of(dump.id) == *number).unwrap();
        let from = dump.base.map_or(0, |base| base.date.secs as u64);
        found.extend(from + 1..=*number);
    }
    found
}

fn sequences(len: u32) -> impl Iterator<Item = Vec<u32>> {
    (0..4u32.pow(len)).map(move |code| (0..len).map(|at| code >> (2 * at) & 3).collect())
}

#[test]
fn every_order_of_up_to_six_dumps_of_four_levels() {
    // R-CHAIN-2 to R-CHAIN-5
    let mut checked = 0;
    for levels in (1..=6).flat_map(sequences) {
        let mut dumps: Vec<Dump> = Vec::new();
        for (number, of_level) in (1..).zip(&levels) {
            let found = base_in(&dumps, &request(number, *of_level));
            let expected = match model_base(&dumps, dumps.len(), level(*of_level)) {
                _ if *of_level == 0 => Ok(None),
                Some(at) => Ok(Some(number_of(dumps[at].id))),
                // R-CHAIN-6
                None => Err(BaselineReason::NoLowerLevel { level: level(*of_level) }),
            };
            assert_eq!(found, expected, "{levels:?} at {number}");
            if let Ok(base) = found {
                dumps.push(dump(number, *of_level, base));
            }
        }
        for (at, dump) in dumps.iter().enumerate() {
            let number = number_of(dump.id);
            let chain = plan_in(&dumps, Point::Dump(dump.id)).unwrap();
            let expected: Vec<u64> =
                model_chain(&dumps, at).unwrap().iter().map(|at| number_of(dumps[*at].id)).collect();
            assert_eq!(chain, expected, "{levels:?}");
            // R-CHAIN-4: every change up to this dump is there, once.
            assert_eq!(model_changes(&dumps, &chain), (1..=number).collect::<Vec<_>>(), "{levels:?}");
            // R-CHAIN-5: a time is that of the last dump up to it.
            let until = dumps.get(at + 1).map_or(100, |next| number_of(next.id) - 1);
            for time in number..=until {
                assert_eq!(plan_in(&dumps, Point::At(date(time))).as_ref(), Ok(&chain), "{levels:?} {time}");
            }
        }
        checked += 1;
    }
    assert_eq!(checked, 4 + 16 + 64 + 256 + 1024 + 4096);
}

#[test]
fn failed_and_lost_dumps_in_every_place_of_every_order_of_five() {
    let mut broken = 0;
    for levels in sequences(5) {
        let whole = history(&levels);
        for mask in 0..1u32 << whole.len() {
            for lost in [false, true] {
                let mut dumps = whole.clone();
                for (bit, dump) in dumps.iter_mut().enumerate() {
                    if mask >> bit & 1 != 0 {
                        dump.outcome = Outcome::Failed;
                    }
                }
                if lost {
                    dumps.retain(|dump| dump.outcome != Outcome::Failed);
                }
                for of_level in 1..=4 {
                    let expected = model_base(&dumps, dumps.len(), level(of_level))
                        .map(|at| Some(number_of(dumps[at].id)));
                    let found = base_in(&dumps, &request(9, of_level));
                    match (&found, expected) {
                        (Ok(found), Some(expected)) => assert_eq!(*found, expected, "{levels:?} {mask:b}"),
                        (Err(BaselineReason::NoLowerLevel { .. }), None) => {}
                        (Err(BaselineReason::ChainBroken { .. }), None) => broken += 1,
                        _ => panic!("{levels:?} {mask:b} {of_level}: {found:?}, expected {expected:?}"),
                    }
                }
                for (at, dump) in dumps.iter().enumerate() {
                    let found = plan_in(&dumps, Point::Dump(dump.id));
                    match model_chain(&dumps, at) {
                        Some(chain) => assert_eq!(found.unwrap().len(), chain.len()),
                        None if dump.outcome == Outcome::Failed => {
                            assert_eq!(found, Err(ChainError::Failed { dump: dump.id }));
                        }
                        None => assert!(matches!(found, Err(ChainError::BaseMissing { .. })), "{found:?}"),
                    }
                }
            }
        }
    }
    assert!(broken > 1000, "{broken}");
}

#[test]
fn a_level_without_a_lower_one_asks_for_a_baseline() {
    // R-CHAIN-6
    let reason = BaselineReason::NoLowerLevel { level: level(1) };
    assert_eq!(base_in(&[], &request(1, 1)), Err(reason));
    assert_eq!(base_in(&[dump(1, 1, Some(0)), dump(2, 3, Some(1))], &request(3, 1)), Err(reason));
    let text = BaseError::<String>::Baseline(reason).to_string();
    assert_eq!(text, "a baseline (level 0) is needed: there is no dump below level 1");
    // A baseline needs nothing, whatever there is.
    assert_eq!(base_in(&[], &request(1, 0)), Ok(None));
}

#[test]
fn a_failed_dump_is_no_base_and_an_incomplete_one_is() {
    let mut dumps = vec![dump(1, 0, None), dump(2, 0, None)];
    dumps[1].outcome = Outcome::Failed;
    assert_eq!(base_in(&dumps, &request(3, 1)), Ok(Some(1)));
    dumps[1].outcome = Outcome::Incomplete { skipped: 7 };
    let all = recorded(&dumps);
    let found = base(&mut SliceDumps::new(&all), &request(3, 1)).unwrap().unwrap();
    // The increment learns that there is something to take up.
    assert_eq!((number_of(found.id), found.outcome.skipped()), (2, 7));
    dumps[0].outcome = Outcome::Failed;
    dumps[1].outcome = Outcome::Failed;
    assert!(base_in(&dumps, &request(3, 1)).is_err());
    let end = Timestamp { secs: i64::MAX, nanos: u32::MAX };
    assert_eq!(plan_in(&dumps, Point::Latest), Err(ChainError::NothingBefore { time: end }));
}

#[test]
fn dates_decide_and_then_the_order_of_recording() {
    // Taken up from tapes in any order; dump 5 is of the same instant as dump 4, and was recorded later.
    let mut same = dump(5, 1, Some(1));
    same.date = date(4);
    let dumps = [same, dump(3, 1, Some(1)), dump(4, 1, Some(1)), dump(1, 0, None)];
    assert_eq!(base_in(&dumps, &request(9, 2)), Ok(Some(5)));
    assert_eq!(plan_in(&dumps, Point::At(date(4))), Ok(vec![1, 5]));
    // Within the same instant a dump may build on another one.
    assert_eq!(base_in(&dumps, &request(4, 2)), Ok(Some(5)));
    // What is dated later is not earlier, wherever it is recorded.
    assert_eq!(base_in(&dumps, &request(3, 2)), Ok(Some(3)));
    assert_eq!(base_in(&dumps, &request(2, 2)), Ok(Some(1)));
    let mut just_before = request(1, 1);
    just_before.date = Timestamp { secs: 0, nanos: 999_999_999 };
    assert_eq!(base_in(&dumps, &just_before), Err(BaselineReason::NoLowerLevel { level: level(1) }));
}

/// A baseline, and an increment asked for, with one thing changed.
struct Change {
    what: &'static str,
    change: fn(&mut Dump, &mut DumpRequest),
    expected: BaseResult,
}

/// R-CHAIN-7: what had the name of the volume before.
#[test]
fn a_volume_in_the_place_of_another_one() {
    let reason = |replaced, access| {
        let mut request = request(100, 1);
        (request.replaced, request.state.access) = (replaced, access);
        base(&mut SliceDumps::new(&[]), &request)
    };
    let none = BaselineReason::NoLowerLevel { level: level(1) };
    for (replaced, access, expected) in [
        (None, Access::ReadWrite, none),
        (Some(Access::ReadWrite), Access::ReadWrite, BaselineReason::Replaced),
        (Some(Access::ReadWrite), Access::Mirror, BaselineReason::Replaced),
        (Some(Access::Mirror), Access::ReadWrite, BaselineReason::MirrorBroken),
        (Some(Access::Mirror), Access::Mirror, BaselineReason::MirrorResynchronized),
    ] {
        assert_eq!(reason(replaced, access), Err(BaseError::Baseline(expected)), "{replaced:?} {access:?}");
    }
}

#[test]
fn a_base_that_is_no_longer_valid() {
    // R-CHAIN-7, R-CHAIN-8
    const OLDER: Release = Release { major: 2, minor: 2, patch: 9 };
    const CAB: Application = Application { supports_cab: true, follows_volumes: false };
    const FOLLOWS: Application = Application { supports_cab: false, follows_volumes: true };
    fn moved(request: &mut DumpRequest, application: Application, has_namesake: bool) {
        request.state.node = NodeId([7; 16]);
        (request.application, request.has_namesake) = (application, has_namesake);
    }
    let became = |before, now| Err(BaselineReason::AccessChanged { before, now });
    let cases = [
        Change { what: "nothing", change: |_, _| {}, expected: Ok(Some(1)) },
        Change {
            what: "an older release now",
            change: |_, request| request.release = OLDER,
            expected: Err(BaselineReason::OlderRelease { made_by: NOW, now: OLDER }),
        },
        Change {
            what: "a newer release now",
            change: |dump, _| dump.maker = Maker::Tapedump { release: OLDER, format: 1 },
            expected: Ok(Some(1)),
        },
        Change {
            what: "a broken mirror",
            change: |_, request| request.state.mirror_breaks = 1,
            expected: Err(BaselineReason::MirrorBroken),
        },
        Change {
            what: "a resynchronized mirror",
            change: |dump, request| {
                (dump.state.mirror_breaks, request.state.mirror_breaks) = (1, 1);
                request.state.mirror_resyncs = 3;
            },
            expected: Err(BaselineReason::MirrorResynchronized),
        },
        Change {
            what: "read-only now",
            change: |_, request| request.state.access = Access::ReadOnly,
            expected: became(Access::ReadWrite, Access::ReadOnly),
        },
        Change {
            what: "writable now",
            change: |dump, _| dump.state.access = Access::ReadOnly,
            expected: became(Access::ReadOnly, Access::ReadWrite),
        },
        Change {
            what: "a mirror now",
            change: |_, request| {
                (request.state.access, request.state.mirror_resyncs) = (Access::Mirror, 7);
            },
            expected: became(Access::ReadWrite, Access::Mirror),
        },
        Change {
            what: "a mirror no longer",
            change: |dump, request| {
                (dump.state.access, dump.state.mirror_resyncs) = (Access::Mirror, 7);
                request.state.access = Access::ReadOnly;
            },
            expected: Err(BaselineReason::MirrorBroken),
        },
        Change {
            what: "a mirror as before",
            change: |dump, request| {
                (dump.state.access, dump.state.mirror_resyncs) = (Access::Mirror, 7);
                request.state = dump.state;
            },
            expected: Ok(Some(1)),
        },
        Change {
            what: "a mirror that was received again",
            change: |dump, request| {
                (dump.state.access, dump.state.mirror_resyncs) = (Access::Mirror, 7);
                (request.state.access, request.state.mirror_resyncs) = (Access::Mirror, 8);
            },
            expected: Err(BaselineReason::MirrorResynchronized),
        },
        Change {
            what: "moved",
            change: |_, request| moved(request, Application::default(), false),
            expected: Err(BaselineReason::Moved),
        },
        Change {
            what: "moved, and followed",
            change: |_, request| moved(request, FOLLOWS, false),
            expected: Ok(Some(1)),
        },
        Change {
            what: "moved, with CAB",
            change: |_, request| moved(request, CAB, false),
            expected: Ok(Some(1)),
        },
        Change {
            what: "moved to a namesake",
            change: |_, request| moved(request, Application::default(), true),
            expected: Err(BaselineReason::Namesake),
        },
        Change {
            what: "followed to a namesake",
            change: |_, request| moved(request, FOLLOWS, true),
            expected: Err(BaselineReason::Namesake),
        },
        Change {
            what: "moved to a namesake, with CAB",
            change: |_, request| moved(request, CAB, true),
            expected: Ok(Some(1)),
        },
        Change {
            what: "a namesake where it was before",
            change: |_, request| request.has_namesake = true,
            expected: Ok(Some(1)),
        },
        Change {
            what: "numbers that do not fit any more",
            change: |_, request| request.real_numbers_fit = false,
            expected: Err(BaselineReason::NumbersTooLarge),
        },
        Change {
            what: "numbers that never fit",
            change: |dump, request| {
                dump.numbering = Numbering::Dense;
                request.real_numbers_fit = false;
            },
            expected: Ok(Some(1)),
        },
        Change {
            what: "another program's base",
            change: |dump, _| dump.maker = Maker::Foreign,
            expected: Err(BaselineReason::NoLowerLevel { level: level(1) }),
        },
    ];
    for Change { what, change, expected } in cases {
        let (mut before, mut request) = (dump(1, 0, None), request(2, 1));
        change(&mut before, &mut request);
        assert_eq!(base_in(&[before], &request), expected, "{what}");
        // A baseline is always possible.
        request.level = Level::BASELINE;
        assert_eq!(base_in(&[before], &request), Ok(None), "{what}");
    }
}

#[test]
fn a_newer_release_after_the_base_counts_as_long_as_there_is_no_new_baseline() {
    // R-CHAIN-7: 2.3.1 made the baseline, 3.0.0 an increment, and then the engine went back.
    let newer = Release { major: 3, minor: 0, patch: 0 };
    let mut dumps = vec![dump(1, 0, None), dump(2, 1, Some(1))];
    dumps[1].maker = Maker::Tapedump { release: newer, format: 1 };
    let reason = BaselineReason::OlderRelease { made_by: newer, now: NOW };
    for of_level in [1, 2] {
        assert_eq!(base_in(&dumps, &request(3, of_level)), Err(reason));
    }
    dumps[1].outcome = Outcome::Failed;
    assert_eq!(base_in(&dumps, &request(3, 1)), Err(reason), "it ran all the same");
    dumps.push(dump(3, 0, None));
    assert_eq!(base_in(&dumps, &request(4, 1)), Ok(Some(3)));
}

#[test]
fn a_state_older_than_asked_for_is_never_given_instead() {
    // R-CHAIN-5
    let dumps = [dump(1, 0, None), dump(3, 2, Some(2)), dump(4, 3, Some(3))];
    let base = BaseRef { id: Some(id(2)), date: date(2) };
    let missing = Err(ChainError::BaseMissing { dump: id(3), base });
    assert_eq!(plan_in(&dumps, Point::Latest), missing);
    assert_eq!(plan_in(&dumps, Point::At(date(3))), missing);
    assert_eq!(plan_in(&dumps, Point::Dump(id(4))), missing);
    assert_eq!(plan_in(&dumps, Point::At(date(2))), Ok(vec![1]));
    assert_eq!(plan_in(&dumps, Point::At(date(0))), Err(ChainError::NothingBefore { time: date(0) }));
    assert_eq!(plan_in(&dumps, Point::Dump(id(9))), Err(ChainError::Unknown { dump: id(9) }));
    // A dump has to be made on something, though, and the baseline is whole.
    assert_eq!(base_in(&dumps, &request(9, 4)), Ok(Some(1)));
    let chain_broken = BaselineReason::ChainBroken { dump: id(3), base };
    assert_eq!(base_in(&dumps[1..], &request(9, 4)), Err(chain_broken));
    let text = format!("{chain_broken}");
    assert!(text.contains("00000003") && text.contains("00000002"), "{text}");
}

#[test]
fn a_base_recorded_with_another_date_or_level_is_another_one() {
    let mut dumps = [dump(1, 0, None), dump(2, 1, Some(1)), dump(3, 2, Some(2))];
    let differs = |dumps: &[Dump], of, base| {
        let base = BaseRef { id: Some(id(base)), date: date(base) };
        assert_eq!(plan_in(dumps, Point::Latest), Err(ChainError::BaseDiffers { dump: id(of), base }));
    };
    dumps[0].date.nanos = 1;
    differs(&dumps, 2, 1);
    dumps[0] = dump(1, 0, None);
    dumps[1].level = level(2);
    differs(&dumps, 3, 2);
    // Two that build on each other, as no engine makes them.
    dumps = [dump(1, 1, Some(2)), dump(2, 1, Some(1)), dump(3, 2, Some(2))];
    differs(&dumps, 2, 1);
}
