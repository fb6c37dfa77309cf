//! Dumps that end early and are restarted (R-RESTART): killed, interrupted, and what is refused.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::process::Signal;
use serde_json::Value;
use tapedump_tests::cli::{Ending, Outcome, Run, code};
use tapedump_tests::product::{
    context, contexts, dump, dump_snapshot, reproducible, restore, snapshot, verify,
};
use tapedump_tests::random::{Random, seed};
use tapedump_tests::scratch::{Scratch, path_text};
use tapedump_tests::tree::{Compare, Tree};

use crate::Case;
use crate::snapshots::{BTRFS, Pool, btrfs};

pub(crate) const CASES: &[Case] = &[
    Case { name: "killed_at_any_moment", needs: BTRFS, run: killed_at_any_moment },
    Case { name: "levels_that_were_killed", needs: BTRFS, run: levels_that_were_killed },
    Case { name: "interrupted_on_a_virtual_tape", needs: BTRFS, run: interrupted_on_a_virtual_tape },
    Case { name: "what_is_shown_and_held", needs: BTRFS, run: what_is_shown_and_held },
    Case { name: "what_cannot_be_restarted", needs: BTRFS, run: what_cannot_be_restarted },
    Case { name: "why_it_is_not_restartable", needs: &[], run: why_it_is_not_restartable },
];

/// The only context there is.
fn only(scratch: &Scratch) -> String {
    let contexts = contexts(scratch);
    assert_eq!(contexts.len(), 1, "{contexts:?}");
    contexts[0]["context"].as_str().expect("identity").to_owned()
}

/// Files of all lengths, one of many segments, some with attributes that travel in stage V, in some directories.
fn fill(tree: &Path, random: &mut Random) {
    for directory in 0..6 {
        let directory = tree.join(format!("directory {directory}"));
        fs::create_dir_all(&directory).expect("volume");
        for file in 0..25 {
            let len = random.below(40_000) as usize;
            let path = directory.join(format!("file {file}"));
            fs::write(&path, random.bytes(len)).expect("volume");
            if file % 5 == 0 {
                fs::write(directory.join(format!("empty {file}")), "").expect("volume");
                for path in [path, directory.join(format!("empty {file}"))] {
                    run_setfattr(&path);
                }
            }
        }
    }
    let long = File::create(tree.join("long")).expect("volume");
    for part in 0..8 {
        long.write_all_at(&random.bytes(700_000), part * 1_500_000).expect("volume");
    }
}

fn run_setfattr(path: &Path) {
    rustix::fs::setxattr(path, "user.note", b"travels along", rustix::fs::XattrFlags::empty())
        .expect("xattr");
}

fn content(tree: &Path) -> Tree {
    Tree::read_content(tree).expect("tree")
}

/// A dump that can be killed anywhere: it stores how to go on whenever it can.
fn restartable(run: Run) -> Run {
    run.args(["--context-interval", "0"])
}

/// Starts `run`, and kills it after a while, if it has not ended by then.
fn killed_after(run: Run, delay: Duration) -> Outcome {
    let running = run.start();
    std::thread::sleep(delay);
    if running.is_running() {
        running.signal(Signal::KILL);
    }
    running.wait()
}

fn was_killed(outcome: &Outcome) -> bool {
    matches!(outcome.ending, Ending::Signal(_))
}

/// R-RESTART-2, R-RESTART-4: `kill -9` at random moments, also while it is restarted; the tape is, byte for byte, that of a dump that ran
/// through.
fn killed_at_any_moment() {
    let pool = Pool::new("restart-killed");
    let mut random = Random::new(seed());
    fill(&pool.volume(), &mut random);
    let volume = pool.volume();
    let _ = snapshot(&pool.scratch, "create", &volume).arg("kept").outcome().done();
    let made = |scratch: &Scratch| {
        let run = dump_snapshot(scratch, &volume, scratch.join("tape")).args(["--snapshot", "kept"]);
        restartable(reproducible(run))
    };
    let reference = Scratch::in_memory("restart-reference");
    let since = Instant::now();
    let _ = made(&reference).outcome().done();
    let span = since.elapsed().as_micros() as u64;
    let expected = fs::read(reference.join("tape")).expect("tape");
    assert_eq!(contexts(&reference), Vec::<Value>::new(), "a dump that is whole leaves none");
    let wanted = if std::env::var_os("TAPEDUMP_EXHAUSTIVE").is_some() { 1000 } else { 100 };
    let (mut kills, mut restarts, mut stages) = (0, 0, Vec::new());
    for round in 0.. {
        if kills >= wanted {
            break;
        }
        let scratch = Scratch::in_memory(&format!("restart-{round}"));
        let mut next = made(&scratch);
        for again in 0.. {
            // Now and then it comes to its end.
            let delay = if again < 8 { random.below(span) } else { span * 50 };
            let outcome = killed_after(next, Duration::from_micros(delay));
            if !was_killed(&outcome) {
                let _ = outcome.done();
                break;
            }
            kills += 1;
            let contexts = contexts(&scratch);
            next = match contexts.as_slice() {
                [] => made(&scratch).arg("--overwrite"),
                [known] => {
                    restarts += 1;
                    stages.push(known["stage"].as_str().expect("stage").to_owned());
                    assert_eq!(
                        (&known["restartable"], &known["busy"]),
                        (&true.into(), &false.into()),
                        "{known}"
                    );
                    context(&scratch, "restart").arg(known["context"].as_str().expect("identity"))
                }
                more => panic!("{more:?}"),
            };
        }
        let found = fs::read(scratch.join("tape")).expect("tape");
        assert!(
            found == expected,
            "round {round}: {} bytes, not the {} expected",
            found.len(),
            expected.len()
        );
        assert_eq!(contexts(&scratch), Vec::<Value>::new());
        if round == 0 {
            let out = scratch.directory("out");
            let _ = restore(&scratch, scratch.join("tape"), &out).outcome().done();
            Compare::EXACT.assert_equal(&content(&volume.join(".snapshot/kept")), &content(&out));
        }
    }
    assert!(
        restarts > wanted / 2 && stages.iter().any(|stage| stage == "IV"),
        "{restarts} restarts: {stages:?}"
    );
}

/// Kills a dump until it was in stage IV, and restarts it to the end.
fn killed_and_restarted(scratch: &Scratch, made: impl Fn() -> Run, span: Duration, random: &mut Random) {
    for _ in 0..200 {
        let delay = Duration::from_micros(random.below(span.as_micros() as u64));
        if !was_killed(&killed_after(made().arg("--overwrite"), delay)) {
            continue;
        }
        let contexts = contexts(scratch);
        let Some(known) = contexts.first() else { continue };
        let id = known["context"].as_str().expect("identity");
        if known["stage"] == "IV" {
            let _ = context(scratch, "restart").arg(id).outcome().done();
            return;
        }
        let _ = context(scratch, "delete").arg(id).outcome().done();
    }
    panic!("never killed in stage IV");
}

/// Over levels 0, 1 and 2, each killed and restarted, with catalogs behind them: the chain restores, and increments know what
/// those before hold.
fn levels_that_were_killed() {
    let pool = Pool::new("restart-levels");
    let scratch = &pool.scratch;
    let mut random = Random::new(seed() ^ 1);
    let volume = pool.volume();
    fill(&volume, &mut random);
    for level in ["0", "1", "2"] {
        let name = format!("level-{level}");
        let _ = Run::tapedump(scratch).args(["tape", "create", &name]).outcome().done();
        let made = || restartable(dump_snapshot(scratch, &volume, &name).args(["--level", level]));
        let span = Duration::from_millis(600);
        killed_and_restarted(scratch, made, span, &mut random);
        assert_eq!(contexts(scratch), Vec::<Value>::new());
        let snapshots = snapshot(scratch, "list", &volume).arg("--json").outcome().done();
        // Those killed before there was a context leave theirs, which nobody holds.
        assert!(!snapshots.out().contains("held"), "its own snapshot goes with the restart: {snapshots}");
        let verified = verify(scratch, &name).outcome();
        let _ = verified.done();
        let out = scratch.directory(&format!("out-{level}"));
        let _ = Run::tapedump(scratch)
            .args(["restore", "--to"])
            .arg(&out)
            .arg("--tape")
            .arg(&name)
            .outcome()
            .done();
        Compare::EXACT.assert_equal(&content(&volume), &content(&out));
        // For the next level: changes everywhere, also of what was dumped before and after the kill.
        std::thread::sleep(Duration::from_millis(1100));
        for directory in 0..6 {
            let directory = volume.join(format!("directory {directory}"));
            for file in 0..8 {
                fs::write(directory.join(format!("file {file}")), random.bytes(30_000)).expect("volume");
            }
            fs::rename(directory.join("file 24"), directory.join(format!("moved {level}"))).expect("volume");
            fs::write(directory.join("file 24"), random.bytes(9000)).expect("volume");
            fs::remove_file(directory.join(format!("file 1{level}"))).expect("volume");
        }
    }
}

/// Blocks of the dump that is being made, as its context has them.
fn blocks_on_tape(scratch: &Scratch) -> u64 {
    let outcome = context(scratch, "list").arg("--json").outcome();
    let known = outcome.out().lines().next().and_then(|line| serde_json::from_str::<Value>(line).ok());
    known.and_then(|known| known["blocks"].as_u64()).unwrap_or(0)
}

/// Interrupts a dump of the volume in the midst of stage IV.
fn interrupted(pool: &Pool, tape: &str) -> Outcome {
    let run = restartable(dump_snapshot(&pool.scratch, &pool.volume(), tape));
    let running = run.start();
    let end = Instant::now() + Duration::from_secs(60);
    while blocks_on_tape(&pool.scratch) < 1000 {
        assert!(Instant::now() < end && running.is_running(), "never far enough");
    }
    running.signal(Signal::INT);
    running.wait().expect(code::FAILED).says("interrupted")
}

/// As [`fill`], and long enough that a dump is met in stage IV.
fn long_volume(name: &str) -> Pool {
    let pool = Pool::new(name);
    fill(&pool.volume(), &mut Random::new(seed() ^ 2));
    let hole = File::create(pool.volume().join("zz hole")).expect("volume");
    hole.set_len(1 << 28).expect("volume");
    pool
}

/// What a restart needs is told, and the tape holds behind the dump what it does without an interruption.
fn interrupted_on_a_virtual_tape() {
    let pool = long_volume("restart-interrupted");
    let scratch = &pool.scratch;
    let _ = Run::tapedump(scratch).args(["tape", "create", "home"]).outcome().done();
    let small = scratch.directory("small");
    fs::write(small.join("file"), "before").expect("file");
    let _ = dump(scratch, &small, "home").outcome().done();
    let run =
        |arguments: &[&str]| restartable(dump_snapshot(scratch, &pool.volume(), "home")).args(arguments);
    let running = run(&["--append"]).start();
    while blocks_on_tape(scratch) < 1000 {
        assert!(running.is_running());
    }
    running.signal(Signal::TERM);
    let stopped = running.wait().expect(code::FAILED);
    let id = only(scratch);
    assert!(stopped.mentions(&format!("tapedump context restart {id}")), "{stopped}");
    fs::remove_file(pool.volume().join("zz hole")).expect("the snapshot has it still");
    let _ = context(scratch, "restart").arg(&id[..8]).timeout(Duration::from_secs(300)).outcome().done();
    let log = Run::tapedump(scratch).args(["log", "--json"]).outcome().done().out();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let events: Vec<&str> = lines.iter().filter_map(|line| line["event"].as_str()).collect();
    let at = events.iter().position(|event| *event == "Restart").expect("the restart is in the log");
    assert!(events[..at].contains(&"Abort") && events[at..].contains(&"End"), "{events:?}");
    let info = Run::tapedump(scratch).args(["tape", "info", "home"]).outcome().done();
    assert!(info.out().contains("catalog"), "{info}");
    let _ = verify(scratch, "home").timeout(Duration::from_secs(300)).outcome().done();
    let listed = Run::tapedump(scratch).args(["list", "--tape", "home"]).outcome().done();
    assert!(listed.out().contains("zz hole"), "{listed}");
}

/// R-RESTART-3, R-RESTART-5, R-SNAP-5.
fn what_is_shown_and_held() {
    let pool = long_volume("restart-shown");
    let scratch = &pool.scratch;
    let _ = interrupted(&pool, path_text(&scratch.join("tape")));
    let id = only(scratch);
    let shown = context(scratch, "show").arg(&id).outcome().done();
    for (name, value) in [
        ("Volume owner", ""),
        ("Context", &*id),
        ("Volume", "/dev/loop"),
        ("Cleanup pending", "no"),
        ("Engine", "dump"),
        ("Snapshot made for it", "yes"),
        ("Path", path_text(&pool.volume())),
        ("Level", "0"),
        ("Dump name", "none"),
        ("Last update", "20"),
        ("Has offset map", "yes"),
        ("Offset verify", "yes"),
        ("Restartable", "yes"),
        ("Busy", "no"),
        ("Restart pass", "0"),
        ("Status", "interrupted"),
        ("Snapshot", "snapshot_for_backup.0"),
        ("State", "waiting"),
    ] {
        let found = shown.out().lines().any(|line| line.starts_with(name) && line.contains(value));
        assert!(found, "{name}: {value}\n{shown}");
    }
    let held = snapshot(scratch, "delete", &pool.volume()).arg("snapshot_for_backup.0").outcome();
    let held = held.expect(code::FAILED).says("holds this snapshot");
    assert!(held.mentions(&format!("context delete {id}")), "{held}");

    let file = scratch.join("state/dumps").join(&id).join("context");
    let lock = File::open(&file).expect("context");
    flock(&lock, FlockOperation::LockExclusive).expect("lock");
    assert_eq!(contexts(scratch)[0]["busy"], true);
    for command in ["delete", "restart"] {
        let _ = context(scratch, command).arg(&id).outcome().expect(code::FAILED).says("is busy");
    }
    drop(lock);
    let _ = context(scratch, "delete").arg("ffffffff").outcome().expect(code::FAILED).says("context list");

    // What the volume refuses stays pending, and is tried again.
    let root = path_text(pool.root()).to_owned();
    tapedump_tests::scratch::run("mount", &["-o", "remount,ro", &root]);
    let pending = context(scratch, "delete").arg(&id).outcome().expect(code::FAILED);
    tapedump_tests::scratch::run("mount", &["-o", "remount,rw", &root]);
    assert!(pending.mentions("cleanup is pending"), "{pending}");
    let known = &contexts(scratch)[0];
    assert_eq!((&known["cleanup_pending"], &known["restartable"]), (&true.into(), &false.into()), "{known}");
    let _ = context(scratch, "restart").arg(&id).outcome().expect(code::FAILED);
    let _ = context(scratch, "delete").arg(&id).outcome().done();
    assert_eq!(contexts(scratch), Vec::<Value>::new());
    let snapshots = snapshot(scratch, "list", &pool.volume()).arg("--json").outcome().done();
    assert_eq!(snapshots.out(), "");
}

/// Bad input: each is refused before anything is written, and loses nothing.
fn what_cannot_be_restarted() {
    let pool = long_volume("restart-refused");
    let scratch = &pool.scratch;
    let tape = scratch.join("tape");
    let _ = interrupted(&pool, path_text(&tape));
    let id = only(scratch);
    let good = fs::read(&tape).expect("tape");
    let refused = |words: &str, arguments: &[&str]| {
        let before = fs::read(&tape).ok();
        let outcome = context(scratch, "restart").arg(&id).args(arguments).outcome().expect(code::FAILED);
        assert!(outcome.mentions(words), "{words}: {outcome}");
        assert_eq!(before, fs::read(&tape).ok(), "nothing is written: {words}");
        assert_eq!(only(scratch), id);
    };
    let small = scratch.directory("small");
    let other = scratch.join("other");
    let _ = dump(scratch, &small, &other).outcome().done();
    refused("another dump", &["--tape", path_text(&other)]);
    fs::copy(&other, &tape).expect("tape");
    refused("another dump", &[]);
    fs::write(&tape, &good[..good.len() / 2]).expect("tape");
    refused("it ends before", &[]);
    let mut damaged = good.clone();
    let at = damaged.len() - 70_000;
    damaged[at..].fill(0x5a);
    fs::write(&tape, &damaged).expect("tape");
    let outcome = context(scratch, "restart").arg(&id).outcome().expect(code::FAILED);
    assert!(outcome.mentions("restarted on this tape"), "{outcome}");
    fs::remove_file(&tape).expect("tape");
    refused("cannot open the tape", &[]);
    fs::write(&tape, &good).expect("tape");

    let file = scratch.join("state/dumps").join(&id).join("context");
    let stored = fs::read(&file).expect("context");
    let mut broken = stored.clone();
    for at in (0..broken.len()).step_by(1000) {
        broken[at] ^= 0x11;
    }
    fs::write(&file, &broken).expect("context");
    let outcome = context(scratch, "restart").arg(&id).outcome().expect(code::FAILED);
    assert!(outcome.mentions("of no use") && outcome.mentions("context delete"), "{outcome}");
    fs::write(&file, &stored).expect("context");

    let mounted = pool.volume().join("directory 0");
    tapedump_tests::scratch::run("mount", &["-t", "tmpfs", "none", path_text(&mounted)]);
    refused("other volumes are mounted", &[]);
    tapedump_tests::scratch::run("umount", &[path_text(&mounted)]);

    let image: PathBuf = pool.volume().join(".snapshot/snapshot_for_backup.0");
    btrfs(&["property", "set", "-f", path_text(&image), "ro", "false"]);
    refused("it can be written to", &[]);
    fs::write(image.join("written"), "to").expect("snapshot");
    btrfs(&["property", "set", "-f", path_text(&image), "ro", "true"]);
    refused("is another one, or was written to", &[]);
    btrfs(&["subvolume", "delete", path_text(&image)]);
    refused("is gone", &[]);
    btrfs(&["subvolume", "snapshot", "-r", path_text(&pool.volume()), path_text(&image)]);
    refused("is another one, or was written to", &[]);
    btrfs(&["subvolume", "delete", path_text(&image)]);
    assert_eq!(contexts(scratch)[0]["restartable"], false);
    let _ = context(scratch, "delete").arg(&id).outcome().done();
}

/// R-RESTART-1: it is said why.
fn why_it_is_not_restartable() {
    let scratch = Scratch::new("restart-live");
    let tree = scratch.directory("tree");
    File::create(tree.join("hole")).and_then(|file| file.set_len(1 << 40)).expect("tree");
    let tape = scratch.join("tape");
    let running = dump(&scratch, &tree, &tape).start();
    while fs::metadata(&tape).map_or(0, |tape| tape.len()) < 1 << 20 {
        assert!(running.is_running());
    }
    running.signal(Signal::INT);
    let stopped = running.wait().expect(code::FAILED);
    assert!(stopped.mentions("cannot be restarted, since it reads the tree itself"), "{stopped}");
    assert_eq!(contexts(&scratch), Vec::<Value>::new());
}
