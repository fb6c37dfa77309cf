//! What happens to the system while dumps and restores run: vetoes, aborts, and what may not begin meanwhile.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use tapedump_tests::cli::{Outcome, Run, Running, code};
use tapedump_tests::product::{dump, dump_snapshot, restore, verify};
use tapedump_tests::scratch::Scratch;

use crate::Case;
use crate::interruption::{len_of, long_tree, wait_until};
use crate::sessions::{Held, listed};
use crate::snapshots::{BTRFS, Pool};

pub(crate) const CASES: &[Case] = &[
    Case { name: "failovers_and_switches", needs: &[], run: failovers_and_switches },
    Case { name: "the_system_is_not_vetoed", needs: &[], run: the_system_is_not_vetoed },
    Case { name: "nothing_runs", needs: &[], run: nothing_runs },
    Case { name: "a_dump_that_waits_in_a_pipe", needs: &[], run: a_dump_that_waits_in_a_pipe },
    Case { name: "a_restore_that_waits_for_data", needs: &[], run: a_restore_that_waits_for_data },
    Case { name: "a_switch_lets_none_begin", needs: &[], run: a_switch_lets_none_begin },
    Case { name: "a_volume_moves", needs: &[], run: a_volume_moves },
    Case { name: "only_one_volume", needs: &[], run: only_one_volume },
    Case { name: "several_sessions_abort", needs: &[], run: several_sessions_abort },
    Case { name: "the_snapshot_is_deleted", needs: BTRFS, run: the_snapshot_is_deleted },
];

/// How long an aborted session may take to end.
const ENDED_WITHIN: Duration = Duration::from_secs(10);

fn event(scratch: &Scratch, arguments: &[&str]) -> Run {
    Run::tapedump(scratch).arg("event").args(arguments)
}

fn under_way(scratch: &Scratch) -> Vec<Value> {
    let outcome = event(scratch, &["list", "--json"]).outcome().done();
    outcome.out().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// A dump to a plain file that is in the middle of its work.
fn dumping(scratch: &Scratch, tree: &Path, tape: &Path) -> Running {
    let running = dump(scratch, tree, tape).arg("--overwrite").start();
    wait_until("data on the tape", || len_of(tape) > 1 << 20);
    running
}

/// It ended in time, and says by what.
#[track_caller]
fn assert_aborted(outcome: &Outcome, name: &str, since: Instant) {
    assert!(since.elapsed() < ENDED_WITHIN, "took {:?}\n{outcome}", since.elapsed());
    assert!(outcome.ended_with(code::FAILED), "{outcome}");
    assert!(outcome.mentions(&format!("interrupted by a {name}")), "{outcome}");
}

/// R-EVENT-1, R-EVENT-2, R-RESTART-6: a user begins it, with and without `--override-vetoes`.
fn failovers_and_switches() {
    for (name, restartable) in [
        ("takeover", false),
        ("giveback", false),
        ("relocation", false),
        ("switchover", true),
        ("switchback", true),
    ] {
        let scratch = Scratch::new(name);
        let (tree, tape) = (long_tree(&scratch), scratch.join("tape"));
        let running = dumping(&scratch, &tree, &tape);
        let vetoed = event(&scratch, &[name]).outcome().expect(code::VETOED);
        for words in [name, "--override-vetoes", tree.to_str().expect("own name")] {
            assert!(vetoed.mentions(words), "{words}\n{vetoed}");
        }
        assert_eq!(under_way(&scratch), Vec::<Value>::new(), "it does not happen");
        let before = len_of(&tape);
        wait_until("the dump goes on", || len_of(&tape) > before);
        let since = Instant::now();
        let told = event(&scratch, &[name, "--override-vetoes"]).outcome().done();
        assert!(told.mentions("aborting") && told.mentions("goes on"), "{told}");
        // The event is told done when the session has ended.
        assert_eq!(listed(&scratch), Vec::<Value>::new(), "{told}");
        let aborted = running.wait();
        assert_aborted(&aborted, name, since);
        assert_eq!(aborted.mentions("after which it cannot be restarted"), !restartable, "{aborted}");
        assert!(aborted.mentions("--overwrite"), "says what to do: {aborted}");
        let _ = verify(&scratch, &tape).outcome().expect(code::INCOMPLETE).says("incomplete");
        let history = Run::tapedump(&scratch).args(["history", "--json"]).outcome();
        assert_eq!(history.out(), "", "it is no base: {history}");
    }
}

/// R-EVENT-1
fn the_system_is_not_vetoed() {
    for name in ["takeover", "giveback", "relocation", "switchover", "switchback"] {
        let scratch = Scratch::new("automatic");
        let running = dumping(&scratch, &long_tree(&scratch), &scratch.join("tape"));
        let since = Instant::now();
        let _ = event(&scratch, &[name, "--automatic"]).outcome().done();
        let aborted = running.wait();
        assert_aborted(&aborted, name, since);
        assert!(aborted.mentions("that the system began"), "{aborted}");
    }
}

/// Without a session nobody is asked.
fn nothing_runs() {
    let scratch = Scratch::new("nothing");
    for arguments in [
        &["takeover"][..],
        &["giveback"],
        &["relocation", "/"],
        &["takeover", "--automatic"],
        &["switchover"],
        &["switchover-end"],
        &["switchback"],
        &["switchback-end"],
        &["volume-move-start", "/"],
        &["volume-move-cutover", "/"],
        &["volume-move-end", "/"],
    ] {
        let outcome = event(&scratch, arguments).outcome().done();
        assert!(!outcome.mentions("aborting"), "{outcome}");
    }
    assert_eq!(under_way(&scratch), Vec::<Value>::new());
    // What did not begin does not end.
    for arguments in [&["switchover-end"][..], &["switchback-end"], &["volume-move-end", "/"]] {
        let _ = event(&scratch, arguments).outcome().expect(code::FAILED).says("under way");
    }
    let missing = scratch.join("missing");
    let _ = event(&scratch, &["volume-move-start", missing.to_str().expect("own name")])
        .outcome()
        .expect(code::FAILED)
        .says("missing");
}

fn a_dump_that_waits_in_a_pipe() {
    let scratch = Scratch::new("in-a-pipe");
    let held = Held::start(dump(&scratch, &long_tree(&scratch), "-"), &scratch);
    wait_until("it runs", || listed(&scratch).len() == 1);
    std::thread::sleep(Duration::from_millis(300));
    let since = Instant::now();
    let _ = event(&scratch, &["takeover", "--override-vetoes"]).outcome().done();
    assert_aborted(&held.running.wait(), "takeover", since);
    drop(held.pipe);
}

fn a_restore_that_waits_for_data() {
    let scratch = Scratch::new("for-data");
    let (read_end, write_end): (OwnedFd, OwnedFd) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("pipe");
    let tree = scratch.directory("tree");
    fs::write(tree.join("file"), vec![7; 1 << 20]).expect("tree");
    let _ = dump(&scratch, &tree, scratch.join("tape")).outcome().done();
    let tape = fs::read(scratch.join("tape")).expect("tape");
    let target = scratch.directory("target");
    let running = restore(&scratch, "-", &target).stdin_from(File::from(read_end)).start();
    let mut writer = File::from(write_end);
    writer.write_all(&tape[..tape.len() / 2]).expect("the restore reads");
    wait_until("it runs", || listed(&scratch).len() == 1);
    let vetoed = event(&scratch, &["giveback"]).outcome().expect(code::VETOED);
    assert!(vetoed.mentions("restore to") && vetoed.mentions("target"), "{vetoed}");
    let since = Instant::now();
    let _ = event(&scratch, &["giveback", "--override-vetoes"]).outcome().done();
    assert_aborted(&running.wait(), "giveback", since);
    drop(writer);
}

/// R-EVENT-2: what is started while a switch is under way fails, and the switch goes on.
fn a_switch_lets_none_begin() {
    for name in ["switchover", "switchback"] {
        let scratch = Scratch::new("switch");
        let tree = scratch.directory("tree");
        let tape = scratch.join("tape");
        let _ = dump(&scratch, &tree, &tape).outcome().done();
        let _ = event(&scratch, &[name]).outcome().done();
        let state = under_way(&scratch);
        assert_eq!((&state[0]["event"], &state[0]["refuses"]), (&name.into(), &"all".into()));
        let shown = Run::tapedump(&scratch).args(["session", "list"]).outcome().done();
        assert!(shown.out().contains(name), "{shown}");
        let target = scratch.directory("target");
        for run in [
            dump(&scratch, &tree, "null:"),
            dump(&scratch, &tree, "null:").arg("--wait"),
            restore(&scratch, &tape, &target),
        ] {
            let _ = run.outcome().expect(code::FAILED).says(name).says("under way");
        }
        // Reading a tape touches no volume.
        let _ = verify(&scratch, &tape).outcome().done();
        for other in ["switchover", "switchback"] {
            let _ = event(&scratch, &[other]).outcome().expect(code::FAILED).says(&format!("{name}-end"));
        }
        assert_eq!(under_way(&scratch), state, "it goes on");
        let _ = event(&scratch, &[&format!("{name}-end")]).outcome().done();
        let _ = dump(&scratch, &tree, "null:").outcome().done();
    }
}

/// R-EVENT-3
fn a_volume_moves() {
    let scratch = Scratch::new("moves");
    let other = Scratch::in_memory("stays");
    let (tree, tape) = (long_tree(&scratch), scratch.join("tape"));
    let small = scratch.directory("small");
    let volume = scratch.path().to_str().expect("own name");
    let running = dumping(&scratch, &tree, &tape);
    let _ = event(&scratch, &["volume-move-start", volume]).outcome().done();
    assert_eq!(under_way(&scratch)[0]["refuses"], "nothing");
    let _ = dump(&scratch, &small, "null:").outcome().done();
    let _ = event(&scratch, &["volume-move-start", volume]).outcome().expect(code::FAILED);
    let _ = event(&scratch, &["volume-move-cutover", volume]).outcome().done();
    assert_eq!(under_way(&scratch).len(), 1, "it is the same move");
    assert_eq!(under_way(&scratch)[0]["refuses"], "volume");
    for run in [dump(&scratch, &small, "null:"), restore(&scratch, &tape, &scratch.join("small"))] {
        let _ = run.outcome().expect(code::FAILED).says("cutover").says(volume);
    }
    let device = |path: &Path| fs::metadata(path).expect("scratch").dev();
    if device(other.path()) != device(scratch.path()) {
        let _ = dump(&scratch, other.path(), "null:").outcome().done();
    }
    // What ran before goes on meanwhile.
    let before = len_of(&tape);
    wait_until("the dump goes on", || len_of(&tape) > before);
    let _ = event(&scratch, &["volume-move-end", volume]).outcome().done();
    let _ = dump(&scratch, &small, "null:").outcome().done();
    let _ = event(&scratch, &["takeover", "--override-vetoes"]).outcome().done();
    drop(running.wait());
}

/// R-EVENT-1: what happens to one volume does not concern another.
fn only_one_volume() {
    let scratch = Scratch::new("one");
    let other = Scratch::in_memory("other");
    let device = |path: &Path| fs::metadata(path).expect("scratch").dev();
    if device(other.path()) == device(scratch.path()) {
        println!("there is only one volume on this machine");
        return;
    }
    let elsewhere = Held::start(dump(&scratch, &long_tree(&other), "-"), &scratch);
    wait_until("it runs", || listed(&scratch).len() == 1);
    let here = scratch.path().to_str().expect("own name");
    let there = other.path().to_str().expect("own name");
    let _ = event(&scratch, &["relocation", there]).outcome().expect(code::VETOED);
    let _ = event(&scratch, &["relocation", here]).outcome().done();
    let running = dumping(&scratch, &long_tree(&scratch), &scratch.join("tape"));
    let since = Instant::now();
    let _ = event(&scratch, &["relocation", here, "--override-vetoes"]).outcome().done();
    assert_aborted(&running.wait(), "relocation", since);
    assert_eq!(listed(&scratch).len(), 1, "the other one runs");
    assert!(elsewhere.running.is_running());
    elsewhere.kill();
}

/// R-EVENT-1: all that run, and one that waits for its turn stays in the queue.
fn several_sessions_abort() {
    let scratch = Scratch::new("several");
    let tree = long_tree(&scratch);
    let small = scratch.directory("small");
    let limited = |run: Run| run.env("TAPEDUMP_MEMORY", "8G");
    let held: Vec<Held> =
        (0..4).map(|_| Held::start(limited(dump(&scratch, &tree, "-")), &scratch)).collect();
    wait_until("all run", || listed(&scratch).len() == 4);
    let waiting = limited(dump(&scratch, &small, scratch.join("tape")).arg("--wait")).start();
    wait_until("one waits", || listed(&scratch).len() == 5);
    let vetoed = event(&scratch, &["takeover"]).outcome().expect(code::VETOED);
    assert!(vetoed.mentions("4 sessions"), "{vetoed}");
    let since = Instant::now();
    let _ = event(&scratch, &["takeover", "--override-vetoes"]).outcome().done();
    for held in held {
        assert_aborted(&held.running.wait(), "takeover", since);
        drop(held.pipe);
    }
    let _ = waiting.wait().done();
}

/// R-EVENT-1, R-SNAP-3: as after any early end.
fn the_snapshot_is_deleted() {
    let pool = Pool::new("event-snapshot");
    let data = pool.data(8 << 20);
    let held = Held::start(dump_snapshot(&pool.scratch, &data, "-"), &pool.scratch);
    wait_until("the snapshot is there", || pool.names().len() == 1);
    let since = Instant::now();
    let volume = pool.volume();
    let volume = volume.to_str().expect("own name");
    let _ = event(&pool.scratch, &["relocation", volume, "--override-vetoes"]).outcome().done();
    assert_eq!(pool.names(), Vec::<String>::new());
    assert_aborted(&held.running.wait(), "relocation", since);
    drop(held.pipe);
}
