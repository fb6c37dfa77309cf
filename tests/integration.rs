//! The shipped binary, driven as a user drives it, against generated trees, Debian's programs and broken tapes.
//!
//! A test that needs something the machine lacks is ignored, with one line that says why; where `CI` is `true` it
//! fails. `TAPEDUMP_BIN` names another binary, `TAPEDUMP_SEED` another seed, `TAPEDUMP_EXHAUSTIVE` lifts sampling.

use libtest_mimic::{Arguments, Failed, Trial};
use tapedump_tests::needs::{self, Need};

#[path = "integration/acls.rs"]
mod acls;
#[path = "integration/applying.rs"]
mod applying;
#[path = "integration/backup_log.rs"]
mod backup_log;
#[path = "integration/browse.rs"]
mod browse;
#[path = "integration/catalogs.rs"]
mod catalogs;
#[path = "integration/commands.rs"]
mod commands;
#[path = "integration/damage.rs"]
mod damage;
#[path = "integration/damaged_chains.rs"]
mod damaged_chains;
#[path = "integration/direct.rs"]
mod direct;
#[path = "integration/events.rs"]
mod events;
#[path = "integration/exclude.rs"]
mod exclude;
#[path = "integration/format.rs"]
mod format;
#[path = "integration/generations.rs"]
mod generations;
#[path = "integration/golden.rs"]
mod golden;
#[path = "integration/history.rs"]
mod history;
#[path = "integration/hostile.rs"]
mod hostile;
#[path = "integration/hostile_amounts.rs"]
mod hostile_amounts;
#[path = "integration/hostile_directory.rs"]
mod hostile_directory;
#[path = "integration/hostile_objects.rs"]
mod hostile_objects;
#[path = "integration/hostile_properties.rs"]
mod hostile_properties;
#[path = "integration/hostile_records.rs"]
mod hostile_records;
#[path = "integration/increments.rs"]
mod increments;
#[path = "integration/instruments.rs"]
mod instruments;
#[path = "integration/interop.rs"]
mod interop;
#[path = "integration/interruption.rs"]
mod interruption;
#[path = "integration/junctions.rs"]
mod junctions;
#[path = "integration/kept_files.rs"]
mod kept_files;
#[path = "integration/large_numbers.rs"]
mod large_numbers;
#[path = "integration/live.rs"]
mod live;
#[path = "integration/luns.rs"]
mod luns;
#[path = "integration/luns_restored.rs"]
mod luns_restored;
#[path = "integration/qtrees.rs"]
mod qtrees;
#[path = "integration/rename.rs"]
mod rename;
#[path = "integration/restart.rs"]
mod restart;
#[path = "integration/room.rs"]
mod room;
#[path = "integration/round_trip.rs"]
mod round_trip;
#[path = "integration/sessions.rs"]
mod sessions;
#[path = "integration/snapshots.rs"]
mod snapshots;
#[path = "integration/tapes.rs"]
mod tapes;
#[path = "integration/telling.rs"]
mod telling;
#[path = "integration/turmoil.rs"]
mod turmoil;
#[path = "integration/usage.rs"]
mod usage;
#[path = "integration/versions.rs"]
mod versions;
#[path = "integration/volumes.rs"]
mod volumes;
#[path = "integration/world.rs"]
mod world;

/// One test: its name, what it needs, and what it does. It fails by panicking.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) needs: &'static [Need],
    pub(crate) run: fn(),
}

fn main() {
    let arguments = Arguments::from_args();
    let cases = [
        ("acls", acls::CASES),
        ("applying", applying::CASES),
        ("backup_log", backup_log::CASES),
        ("browse", browse::CASES),
        ("catalogs", catalogs::CASES),
        ("commands", commands::CASES),
        ("damage", damage::CASES),
        ("damaged_chains", damaged_chains::CASES),
        ("direct", direct::CASES),
        ("events", events::CASES),
        ("exclude", exclude::CASES),
        ("format", format::CASES),
        ("golden", golden::CASES),
        ("history", history::CASES),
        ("hostile", hostile::CASES),
        ("hostile_amounts", hostile_amounts::CASES),
        ("hostile_directory", hostile_directory::CASES),
        ("hostile_objects", hostile_objects::CASES),
        ("hostile_properties", hostile_properties::CASES),
        ("hostile_records", hostile_records::CASES),
        ("increments", increments::CASES),
        ("instruments", instruments::CASES),
        ("interop", interop::CASES),
        ("interruption", interruption::CASES),
        ("junctions", junctions::CASES),
        ("kept_files", kept_files::CASES),
        ("large_numbers", large_numbers::CASES),
        ("luns", luns::CASES),
        ("luns_restored", luns_restored::CASES),
        ("rename", rename::CASES),
        ("restart", restart::CASES),
        ("room", room::CASES),
        ("qtrees", qtrees::CASES),
        ("live", live::CASES),
        ("round_trip", round_trip::CASES),
        ("generations", generations::CASES),
        ("sessions", sessions::CASES),
        ("snapshots", snapshots::CASES),
        ("tapes", tapes::CASES),
        ("telling", telling::CASES),
        ("turmoil", turmoil::CASES),
        ("usage", usage::CASES),
        ("versions", versions::CASES),
        ("volumes", volumes::CASES),
    ];
    let mut skipped = 0;
    let mut trials = Vec::new();
    for (group, cases) in cases {
        for case in cases {
            let name = format!("{group}::{}", case.name);
            let missing: Vec<String> = case.needs.iter().filter_map(|need| need.missing()).collect();
            trials.push(if missing.is_empty() {
                let run = case.run;
                Trial::test(name, move || {
                    run();
                    Ok(())
                })
            } else {
                let why = missing.join(" and ");
                if !arguments.list {
                    println!("skipped: {name}: {why}");
                }
                skipped += 1;
                Trial::test(name, move || Err(Failed::from(why)))
                    .with_ignored_flag(!needs::everything_is_required())
            });
        }
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    if !arguments.list {
        println!("skipped for want of something on this machine: {skipped}");
    }
    conclusion.exit();
}
