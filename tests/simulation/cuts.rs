//! The power is cut, or the program killed, at every operation of a scenario with a baseline, an increment that is stopped and
//! restarted, and the deletion of a context and of a dump; and once more while that is repaired.

use std::collections::{BTreeMap, BTreeSet};

use tapedump_core::chain::Outcome;
use tapedump_core::device::volume::Kind;
use tapedump_core::units::{DumpId, Ino, Level};

use crate::machine::{End, Machine, Media, Plan, TAPES, Told};
use crate::system::{Ended, Order, System, Volume};
use crate::verify::{Expected, check_catalogs, check_whole};
use crate::world::{Image, Room, objects};

const SEED: u64 = 7;
/// Short ones: the baseline takes several.
const TAPE_LEN: usize = 60 << 10;

pub fn id(number: u8) -> DumpId {
    DumpId([number; 16])
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Dumps at a level, up to the end or only so many steps.
    Dump(u8, u32, Option<u32>),
    Restart(u8),
    DeleteContext(u8),
    DeleteDump(u8),
}

/// The steps, each after how many changes of the volume.
const STEPS: [(u32, Step); 7] = [
    (50, Step::Dump(1, 0, None)),
    (66, Step::Dump(2, 1, Some(24))),
    (74, Step::Restart(2)),
    (80, Step::Dump(3, 2, Some(13))),
    (84, Step::DeleteContext(3)),
    (90, Step::DeleteDump(2)),
    (96, Step::Dump(4, 1, None)),
];
/// After which the volume is dumped once more, to see that the system goes on.
const LAST: (u32, u8) = (110, 9);

/// While this dump is made, an object cannot be opened. The one that is based on it must have it.
const SHUT: u8 = 4;

/// What there is of a dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Is {
    Absent,
    Kept,
    Whole,
}

impl Step {
    const fn number(self) -> u8 {
        match self {
            Self::Dump(number, ..)
            | Self::Restart(number)
            | Self::DeleteContext(number)
            | Self::DeleteDump(number) => number,
        }
    }

    /// What there is of its dump before it, and after it.
    const fn change(self) -> (Is, Is) {
        match self {
            Self::Dump(_, _, None) => (Is::Absent, Is::Whole),
            Self::Dump(_, _, Some(_)) => (Is::Absent, Is::Kept),
            Self::Restart(_) => (Is::Kept, Is::Whole),
            Self::DeleteContext(_) => (Is::Kept, Is::Absent),
            Self::DeleteDump(_) => (Is::Whole, Is::Absent),
        }
    }
}

/// An object that came or changed between the baseline and the dump in which it cannot be opened, and is still there.
fn shut() -> Ino {
    let mut rooms = [(); 3].map(|()| Room::new());
    let [first, with, last] = &mut rooms;
    let (first, with) = (image(1).volume(first), image(SHUT).volume(with));
    let last = Image { seed: SEED, changes: LAST.0 }.volume(last);
    let found = objects(&with).into_iter().find(|(ino, kind)| {
        let [then, now, later] = [&first, &with, &last].map(|volume| volume.attributes(*ino));
        *kind == Kind::File && then != now && now == later
    });
    found.expect("there is one in the volume of this seed").0
}

fn order(number: u8, level: u32, changes: u32) -> Order {
    let date = Image { seed: SEED, changes }.date();
    Order { id: id(number), level: Level::new(level).expect("a level"), date }
}

fn perform(machine: &mut Machine<'_>, volume: Volume<'_>, changes: u32, step: Step) -> Result<(), String> {
    machine.snapshots.changes = changes;
    let mut system = System::start(machine, volume)?;
    let now = Image { seed: SEED, changes }.date();
    match step {
        Step::Dump(number, level, stop) => {
            let ended = system.dump(&order(number, level, changes), stop)?;
            assert_eq!(ended == Ended::Stopped, stop.is_some(), "{step:?}");
        }
        Step::Restart(number) => assert_eq!(system.restart(id(number), now, None)?, Ended::Whole),
        Step::DeleteContext(number) => system.delete_context(id(number))?,
        Step::DeleteDump(number) => system.delete_dump(id(number))?,
    }
    Ok(())
}

/// How far a run came.
struct Far {
    /// Steps that were begun.
    steps: usize,
    /// Dumps that were kept from some moment on.
    begun: Vec<DumpId>,
    result: Result<(), String>,
}

/// Goes through the steps.
fn run(machine: &mut Machine<'_>, volume: Volume<'_>) -> Far {
    let mut steps = 0;
    let mut result = Ok(());
    while let (Ok(()), Some((changes, step))) = (&result, STEPS.get(steps)) {
        result = perform(machine, volume, *changes, *step);
        steps += 1;
    }
    Far { steps, begun: machine.begun.clone(), result }
}

/// What there is of each dump, as the system tells; and the images of the snapshots are those of dumps that are kept.
fn state(system: &mut System<'_, '_>, context: &str) -> BTreeMap<u8, Is> {
    let whole = system.dumps().unwrap_or_else(|error| panic!("{context}: {error}"));
    let kept = system.contexts().unwrap_or_else(|error| panic!("{context}: {error}"));
    let kept = kept.into_iter().map(|(_, kept)| kept.record.identity.id.0[0]);
    let holders: BTreeSet<u8> = system
        .machine
        .snapshots
        .all()
        .into_iter()
        .filter_map(|(_, holder)| holder)
        .map(|id| id.0[0])
        .collect();
    let kept: BTreeSet<u8> = kept.collect();
    assert_eq!(holders, kept, "{context}: snapshots");
    let mut found: BTreeMap<u8, Is> = kept.into_iter().map(|number| (number, Is::Kept)).collect();
    for listed in whole {
        assert_eq!(found.insert(listed.dump.id.0[0], Is::Whole), None, "{context}: told twice");
    }
    found
}

/// After how many changes each dump was made.
fn image(number: u8) -> Image {
    let made = STEPS.iter().find(|(_, step)| step.number() == number).map_or(LAST.0, |(changes, _)| *changes);
    Image { seed: SEED, changes: made }
}

/// What may be there when the last of these steps was cut off.
fn expect(found: &BTreeMap<u8, Is>, far: &Far, context: &str) {
    let Some(((_, cut), done)) = STEPS[..far.steps].split_last() else { return };
    let mut expected = BTreeMap::new();
    for (_, step) in done {
        expected.insert(step.number(), step.change().1);
    }
    let (before, after) = cut.change();
    let possible = before.min(after)..=before.max(after);
    let of_cut = found.get(&cut.number()).copied().unwrap_or(Is::Absent);
    assert!(possible.contains(&of_cut), "{context}: cut off in {cut:?}, and it is {of_cut:?}");
    let was_begun = matches!(cut, Step::Dump(..)) && far.begun.contains(&id(cut.number()));
    assert!(!was_begun || of_cut != Is::Absent, "{context}: cut off in {cut:?}, and it is lost");
    expected.insert(cut.number(), of_cut);
    expected.retain(|_, is| *is != Is::Absent);
    assert_eq!(*found, expected, "{context}: cut off in {cut:?}");
}

/// Restarts what can be restarted.
fn repair(machine: &mut Machine<'_>, volume: Volume<'_>) -> Result<(), String> {
    machine.snapshots.changes = LAST.0;
    let mut system = System::start(machine, volume)?;
    for (_, kept) in system.contexts()? {
        system.restart(kept.record.identity.id, Image { seed: SEED, changes: LAST.0 }.date(), None)?;
    }
    Ok(())
}

fn check_all(system: &mut System<'_, '_>, context: &str) {
    for (number, is) in state(system, context) {
        if is == Is::Whole {
            let shut = system.volume.shut.iter().find(|(of, _)| *of == id(number)).map(|(_, ino)| *ino);
            let expected = Expected { image: image(number), shut };
            check_whole(system, id(number), expected, context);
            check_catalogs(system, id(number), expected, context);
        }
    }
}

/// What is there after a cut is what may be there; it can be gone on with, and all of it restores equal.
fn check(media: &mut Media, volume: Volume<'_>, seed: u64, far: &Far, context: &str) {
    let (found, _) = media.run(&Plan::default(), seed, LAST.0, |machine| {
        let mut system = System::start(machine, volume).unwrap_or_else(|error| panic!("{context}: {error}"));
        let found = state(&mut system, context);
        expect(&found, far, context);
        found
    });
    // The power goes again while what is left is restarted.
    let mut again = media.clone();
    let (_, told) = again.run(&Plan::default(), seed, LAST.0, |machine| repair(machine, volume));
    let plan = Plan { end: Some((seed % told.operations.max(1), End::PowerCut)), ..Plan::default() };
    let ((), _) = media.run(&plan, seed, LAST.0, |machine| drop(repair(machine, volume)));
    media.run(&Plan::default(), seed, LAST.0, |machine| {
        repair(machine, volume).unwrap_or_else(|error| panic!("{context}: restarting: {error}"));
        let mut system = System::start(machine, volume).unwrap_or_else(|error| panic!("{context}: {error}"));
        let now = state(&mut system, context);
        assert!(now.values().all(|is| *is == Is::Whole) && now.keys().eq(found.keys()), "{context}: {now:?}");
        let level = if now.contains_key(&1) { 2 } else { 0 };
        let ended = system.dump(&order(LAST.1, level, LAST.0), None);
        assert_eq!(ended, Ok(Ended::Whole), "{context}: going on");
        check_all(&mut system, context);
    });
}

fn scenario(volume: Volume<'_>, plan: &Plan, seed: u64) -> (Media, Far, Told) {
    let mut media = Media::new([TAPE_LEN; TAPES]);
    let (result, told) = media.run(plan, seed, 0, |machine| run(machine, volume));
    (media, result, told)
}

#[test]
fn whatever_operation_is_the_last_one_nothing_that_was_told_is_lost() {
    let shut = [(id(SHUT), shut())];
    let volume = Volume { seed: SEED, shut: &shut };
    let (mut media, far, told) = scenario(volume, &Plan::default(), 0);
    far.result.expect("nothing goes wrong");
    media.run(&Plan::default(), 0, LAST.0, |machine| {
        let mut system = System::start(machine, volume).expect("nothing goes wrong");
        assert_eq!(state(&mut system, "uncut"), [(1, Is::Whole), (4, Is::Whole)].into());
        check_all(&mut system, "uncut");
        let tapes: Vec<usize> =
            system.dumps().expect("nothing goes wrong").iter().map(|listed| listed.tapes.len()).collect();
        assert!(tapes[0] > 1 && tapes[1] > 1, "dumps on {tapes:?} tapes");
        let incomplete = system.dumps().expect("nothing goes wrong").pop().map(|listed| listed.dump.outcome);
        assert_eq!(incomplete, Some(Outcome::Incomplete { skipped: 1 }));
    });
    let draws = if std::env::var_os("TAPEDUMP_EXHAUSTIVE").is_some() { 32 } else { 1 };
    // Each cut has a machine of its own.
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for worker in 0..workers {
            let numbers = (worker as u64..told.operations).step_by(workers);
            scope.spawn(move || numbers.for_each(|n| cut_at(volume, n, draws)));
        }
    });
    println!("{} operations in {} steps, each the last one {} times", told.operations, far.steps, draws + 1);
}

/// The operation of this number is the last one: by so many cuts of power, and by a kill.
fn cut_at(volume: Volume<'_>, n: u64, draws: u64) {
    let powers = (0..draws).map(|draw| (End::PowerCut, n * 32 + draw));
    for (end, seed) in powers.chain([(End::Kill, n)]) {
        let context = format!("{end:?} at operation {n}, seed {seed}");
        let plan = Plan { end: Some((n, end)), ..Plan::default() };
        let (mut media, far, _) = scenario(volume, &plan, seed);
        assert!(far.result.is_err(), "{context}: nothing failed");
        check(&mut media, volume, seed, &far, &context);
    }
}
