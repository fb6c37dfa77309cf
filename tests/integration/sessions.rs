//! How many dumps and restores run at once: the limit by memory, the queue, and what a process that dies leaves.

use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tapedump_tests::cli::{Outcome, Run, Running, code};
use tapedump_tests::product::{dump, list, restore, verify};
use tapedump_tests::scratch::Scratch;

use crate::Case;
use crate::interruption::{long_tree, wait_until, with_output_pipe};

pub(crate) const CASES: &[Case] = &[
    Case { name: "the_limit_by_memory", needs: &[], run: the_limit_by_memory },
    Case { name: "a_copy_counts_two", needs: &[], run: a_copy_counts_two },
    Case { name: "the_queue", needs: &[], run: the_queue },
    Case { name: "an_interrupted_wait", needs: &[], run: an_interrupted_wait },
    Case { name: "what_does_not_count", needs: &[], run: what_does_not_count },
    Case { name: "a_session_is_shown", needs: &[], run: a_session_is_shown },
    Case { name: "no_usable_state", needs: &[], run: no_usable_state },
    Case { name: "a_memory_that_is_none", needs: &[], run: a_memory_that_is_none },
];

/// A dump to a pipe that nobody reads: it runs until the other end is closed.
pub(crate) struct Held {
    pub(crate) running: Running,
    pub(crate) pipe: File,
}

impl Held {
    pub(crate) fn start(run: Run, scratch: &Scratch) -> Self {
        let (running, pipe) = with_output_pipe(run, scratch);
        Self { running, pipe }
    }

    /// Ends it, as a power cut would.
    pub(crate) fn kill(self) {
        self.running.signal(Signal::KILL);
        drop(self.running.wait());
    }
}

/// The sessions, as `session list --json` shows them.
pub(crate) fn listed(scratch: &Scratch) -> Vec<Value> {
    let outcome = Run::tapedump(scratch).args(["session", "list", "--json"]).outcome().done();
    outcome.out().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn count(scratch: &Scratch, state: &str) -> usize {
    listed(scratch).iter().filter(|session| session["state"] == state).count()
}

/// So many dumps that run.
fn held(scratch: &Scratch, tree: &Path, memory: &str, number: usize) -> Vec<Held> {
    let one = |_| Held::start(dump(scratch, tree, "-").env("TAPEDUMP_MEMORY", memory), scratch);
    let held: Vec<Held> = (0..number).map(one).collect();
    wait_until("all sessions run", || count(scratch, "running") == number);
    held
}

fn small_tree(scratch: &Scratch) -> std::path::PathBuf {
    let tree = scratch.directory("small");
    fs::write(tree.join("file"), b"content").expect("tree");
    tree
}

/// R-SESSION-1, with as many real processes as may run.
fn the_limit_by_memory() {
    for (memory, limit) in [("15G", 4), ("16G", 16), ("24G", 32)] {
        let scratch = Scratch::new("limit");
        let (long, small) = (long_tree(&scratch), small_tree(&scratch));
        let tape = scratch.join("tape");
        let next = || dump(&scratch, &small, &tape).env("TAPEDUMP_MEMORY", memory);
        // All but one, and then that one, which is a restore's turn as well as a dump's.
        let mut held = held(&scratch, &long, memory, limit - 1);
        let _ = next().outcome().done();
        let target = scratch.directory("target");
        let back = || restore(&scratch, &tape, &target).env("TAPEDUMP_MEMORY", memory);
        let _ = back().outcome().done();
        held.push(Held::start(dump(&scratch, &long, "-").env("TAPEDUMP_MEMORY", memory), &scratch));
        wait_until("all sessions run", || count(&scratch, "running") == limit);
        let full = format!("{limit} of {limit}");
        for refused in [next().arg("--overwrite").outcome(), back().outcome()] {
            let refused = refused.expect(code::FAILED).says(&full).says("--wait");
            assert!(refused.mentions("session"), "{refused}");
        }
        // Whatever becomes of a process, its session is free.
        held.pop().expect("there are some").kill();
        let _ = next().arg("--overwrite").outcome().done();
        for held in held {
            held.kill();
        }
        assert_eq!(listed(&scratch), Vec::<Value>::new());
    }
}

/// R-SESSION-2: a dump and a restore joined by a pipe.
fn a_copy_counts_two() {
    let scratch = Scratch::new("copy");
    let long = long_tree(&scratch);
    let target = scratch.directory("target");
    let held = held(&scratch, &long, "8G", 2);
    let from = Held::start(dump(&scratch, &long, "-").env("TAPEDUMP_MEMORY", "8G"), &scratch);
    let to = restore(&scratch, "-", &target).env("TAPEDUMP_MEMORY", "8G").stdin_from(from.pipe).start();
    wait_until("the copy runs", || count(&scratch, "running") == 4);
    let restores = listed(&scratch).iter().filter(|session| session["kind"] == "restore").count();
    assert_eq!(restores, 1, "{:?}", listed(&scratch));
    let small = small_tree(&scratch);
    let refused = dump(&scratch, &small, scratch.join("tape")).env("TAPEDUMP_MEMORY", "8G").outcome();
    let _ = refused.expect(code::FAILED).says("4 of 4");
    to.signal(Signal::KILL);
    from.running.signal(Signal::KILL);
    drop((to.wait(), from.running.wait()));
    let _ = dump(&scratch, &small, scratch.join("tape")).env("TAPEDUMP_MEMORY", "8G").outcome().done();
    held.into_iter().for_each(Held::kill);
}

/// R-SESSION-1: those that wait come to their turn in the order in which they came, and say their places.
fn the_queue() {
    let scratch = Scratch::new("queue");
    let (long, small) = (long_tree(&scratch), small_tree(&scratch));
    let mut running = held(&scratch, &long, "8G", 4);
    let waits = |run: Run, place: usize| {
        let held = Held::start(run.arg("--wait").env("TAPEDUMP_MEMORY", "8G"), &scratch);
        wait_until("it waits", || count(&scratch, "waiting") == place);
        held
    };
    let first = waits(dump(&scratch, &long, "-"), 1);
    let second = waits(dump(&scratch, &long, "-"), 2);
    let third = waits(dump(&scratch, &small, scratch.join("third")), 3);
    let places: Vec<Value> =
        listed(&scratch).iter().filter_map(|session| session.get("place").cloned()).collect();
    assert_eq!(places, [1, 2, 3]);
    // Nobody overtakes them, and one that does not wait is told of them.
    let hasty = || dump(&scratch, &small, scratch.join("tape")).env("TAPEDUMP_MEMORY", "8G").outcome();
    let _ = hasty().expect(code::FAILED).says("4 of 4").says("3 wait");
    // Who gives up leaves the queue; the others move up.
    second.kill();
    assert_eq!(count(&scratch, "waiting"), 2);
    // It looks several times a second, and tells its place.
    std::thread::sleep(Duration::from_millis(800));
    running.pop().expect("there are some").kill();
    wait_until("the first one runs", || count(&scratch, "running") == 4 && count(&scratch, "waiting") == 1);
    let process = first.running.pid().as_raw_nonzero().get();
    let runs = |session: &Value| session["process"] == process && session["state"] == "running";
    assert!(listed(&scratch).iter().any(runs), "{:?}", listed(&scratch));
    // The third is the first of those that wait now, and says so.
    std::thread::sleep(Duration::from_millis(800));
    running.pop().expect("there are some").kill();
    let done = third.running.wait().done();
    for place in ["place 3", "place 2", "place 1"] {
        assert!(done.mentions(place), "{place} is not told\n{done}");
    }
    assert!(done.err().find("place 3") < done.err().find("place 1"), "{done}");
    let _ = hasty().done();
    first.kill();
    running.into_iter().for_each(Held::kill);
}

fn an_interrupted_wait() {
    let scratch = Scratch::new("interrupted");
    let (long, small) = (long_tree(&scratch), small_tree(&scratch));
    let running = held(&scratch, &long, "8G", 4);
    let waiting =
        dump(&scratch, &small, scratch.join("tape")).arg("--wait").env("TAPEDUMP_MEMORY", "8G").start();
    wait_until("it waits", || count(&scratch, "waiting") == 1);
    waiting.signal(Signal::INT);
    let outcome = waiting.wait().expect(code::FAILED).says("interrupted").says("nothing was written");
    assert!(!scratch.join("tape").exists(), "{outcome}");
    assert_eq!(count(&scratch, "waiting"), 0);
    running.into_iter().for_each(Held::kill);
}

/// Listing, verifying, and restores that write nothing are no sessions.
fn what_does_not_count() {
    let scratch = Scratch::new("others");
    let (long, small) = (long_tree(&scratch), small_tree(&scratch));
    let tape = scratch.join("tape");
    let _ = dump(&scratch, &small, &tape).outcome().done();
    let running = held(&scratch, &long, "8G", 4);
    let limited = |run: Run| run.env("TAPEDUMP_MEMORY", "8G").outcome();
    let _ = limited(list(&scratch, &tape)).done();
    let _ = limited(verify(&scratch, &tape)).done();
    let target = scratch.directory("target");
    let _ = limited(restore(&scratch, &tape, &target).arg("--dry-run")).done();
    let _ = limited(restore(&scratch, &tape, &target).arg("--plan")).done();
    let _ = limited(restore(&scratch, &tape, &target)).expect(code::FAILED).says("4 of 4");
    // A dump that is refused makes no tape.
    let refused = limited(Run::tapedump(&scratch).args(["dump", "--live"]).arg(&small));
    let _ = refused.expect(code::FAILED).says("4 of 4");
    assert!(!scratch.join("state/tapes").exists());
    running.into_iter().for_each(Held::kill);
}

fn a_session_is_shown() {
    let scratch = Scratch::new("shown");
    let long = long_tree(&scratch);
    let shown = || Run::tapedump(&scratch).args(["session", "list"]).outcome().done();
    assert!(shown().out().contains("0 of"), "{}", shown());
    let held = held(&scratch, &long, "8G", 1);
    let session = listed(&scratch).remove(0);
    let process = held[0].running.pid().as_raw_nonzero().get();
    assert_eq!(session["kind"], "dump");
    assert_eq!(session["level"], 0);
    assert_eq!(session["process"], process);
    assert_eq!(session["path"], long.to_str().expect("own name"));
    assert_eq!(session["tape"], "-");
    assert!(session["since"].as_str().expect("time").ends_with('Z'), "{session}");
    let text = shown().out();
    for word in ["dump", "running", long.to_str().expect("own name"), &process.to_string(), "1 of"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    held.into_iter().for_each(Held::kill);
}

/// What cannot be counted is refused, and says what to do.
fn no_usable_state() {
    let scratch = Scratch::new("no-state");
    let small = small_tree(&scratch);
    fs::write(scratch.join("state"), b"a file").expect("file");
    let runs: [Run; 4] = [
        dump(&scratch, &small, scratch.join("tape")),
        restore(&scratch, scratch.join("tape"), &scratch.directory("target")),
        Run::tapedump(&scratch).args(["session", "list"]),
        Run::tapedump(&scratch).args(["event", "takeover"]),
    ];
    for run in runs {
        let outcome: Outcome = run.outcome().expect(code::FAILED).says("state");
        assert!(outcome.mentions("TAPEDUMP_STATE"), "{outcome}");
    }
    assert!(!scratch.join("tape").exists());
}

fn a_memory_that_is_none() {
    let scratch = Scratch::new("no-memory");
    let small = small_tree(&scratch);
    for wrong in ["much", "-1", "16X"] {
        let outcome = dump(&scratch, &small, "null:").env("TAPEDUMP_MEMORY", wrong).outcome();
        let _ = outcome.expect(code::FAILED).says("TAPEDUMP_MEMORY").says(wrong);
    }
    let _ = dump(&scratch, &small, "null:").env("TAPEDUMP_MEMORY", "").outcome().done();
}
