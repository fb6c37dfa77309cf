//! Ctrl-C in the middle of a dump and of a restore: an early end, an exit code that is not 0, a clean state.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tapedump_tests::cli::{Ending, Outcome, Run, code};
use tapedump_tests::product::{dump, list, restore, verify};
use tapedump_tests::random::Random;
use tapedump_tests::scratch::Scratch;
use tapedump_tests::tree::{Compare, Tree};

use crate::Case;

pub(crate) const CASES: &[Case] = &[
    Case { name: "dump_to_a_virtual_tape", needs: &[], run: dump_to_a_virtual_tape },
    Case { name: "dump_to_a_plain_file", needs: &[], run: dump_to_a_plain_file },
    Case { name: "dump_to_a_pipe", needs: &[], run: dump_to_a_pipe },
    Case { name: "reader_of_the_pipe_goes_away", needs: &[], run: reader_of_the_pipe_goes_away },
    Case { name: "restore_in_the_middle", needs: &[], run: restore_in_the_middle },
    Case { name: "verify_that_waits_for_data", needs: &[], run: verify_that_waits_for_data },
    Case { name: "restore_that_waits_for_data", needs: &[], run: restore_that_waits_for_data },
];

/// How long a program may take to obey.
const OBEYED_WITHIN: Duration = Duration::from_secs(10);

/// A tree whose dump takes long enough to be interrupted: terabytes of hole, a header for each 512 KiB.
pub(crate) fn long_tree(scratch: &Scratch) -> std::path::PathBuf {
    let tree = scratch.directory("tree");
    fs::write(tree.join("a small file"), b"content").expect("tree");
    let file = File::create(tree.join("hole")).expect("tree");
    // The longest file that every file system in question takes.
    file.set_len(4 << 40).or_else(|_| file.set_len(1 << 40)).expect("tree");
    tree
}

pub(crate) fn wait_until(what: &str, mut reached: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !reached() {
        assert!(Instant::now() < end, "never reached: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) fn len_of(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |meta| meta.len())
}

/// Ended in time, by itself or by the signal, and not as if all were done.
#[track_caller]
fn assert_interrupted(outcome: &Outcome, since: Instant) {
    assert!(since.elapsed() < OBEYED_WITHIN, "took {:?} to obey\n{outcome}", since.elapsed());
    let expected = match outcome.ending {
        Ending::Code(code) => code != code::DONE,
        Ending::Signal(_) | Ending::TimedOut => false,
    };
    assert!(expected, "{outcome}");
    assert!(outcome.mentions("interrupt"), "{outcome}");
}

fn dump_to_a_virtual_tape() {
    let scratch = Scratch::new("virtual");
    let tree = long_tree(&scratch);
    let tape = scratch.join("tape");
    let created = Run::tapedump(&scratch).args(["tape", "create"]).arg(&tape).args(["--capacity", "100G"]);
    let _ = created.outcome().done();
    let running = dump(&scratch, &tree, &tape).start();
    wait_until("data on the tape", || len_of(&tape.join("file-0000.tape")) > 1 << 20);
    let since = Instant::now();
    running.signal(Signal::INT);
    let interrupted = running.wait();
    assert_interrupted(&interrupted, since);
    assert!(interrupted.mentions("--overwrite"), "says what to do: {interrupted}");
    let verified = verify(&scratch, &tape).outcome().expect(code::INCOMPLETE).says("incomplete");
    assert!(!verified.mentions("goes on on"), "{verified}");
    let info = Run::tapedump(&scratch).args(["tape", "info"]).arg(&tape).outcome().done();
    println!("{}", info.out());
    // The tape and the state take the next dump.
    fs::remove_file(tree.join("hole")).expect("tree");
    let _ = dump(&scratch, &tree, &tape).arg("--overwrite").outcome().done();
    assert!(list(&scratch, &tape).outcome().done().out().contains("a small file"));
}

fn dump_to_a_plain_file() {
    let scratch = Scratch::new("plain");
    let tree = long_tree(&scratch);
    let tape = scratch.join("tape");
    let running = dump(&scratch, &tree, &tape).start();
    wait_until("data on the tape", || len_of(&tape) > 1 << 20);
    let since = Instant::now();
    running.signal(Signal::INT);
    assert_interrupted(&running.wait(), since);
    if tape.exists() {
        let verified = verify(&scratch, &tape).outcome();
        assert!(verified.is_orderly().expect("orderly") != code::DONE, "half a dump is no dump\n{verified}");
    }
    let names: Vec<_> = fs::read_dir(scratch.path())
        .expect("scratch")
        .map(|entry| entry.expect("entry").file_name())
        .collect();
    let known = |name: &std::ffi::OsString| ["tree", "tape", "state"].iter().any(|known| name == known);
    assert!(names.iter().all(known), "something is left behind: {names:?}");
}

/// Starts a run with a pipe in place of standard output; gives the reading end.
pub(crate) fn with_output_pipe(run: Run, scratch: &Scratch) -> (tapedump_tests::cli::Running, File) {
    static SERIAL: AtomicU32 = AtomicU32::new(0);
    let fifo = scratch.join(&format!("fifo {}", SERIAL.fetch_add(1, Ordering::Relaxed)));
    make_fifo(&fifo);
    // Opened for both, so that neither open waits for the other side.
    let both = File::options().read(true).write(true).open(&fifo).expect("fifo");
    let running = run.stdout_file_existing(&fifo).start();
    let reader = File::open(&fifo).expect("fifo");
    drop(both);
    (running, reader)
}

fn make_fifo(path: &Path) {
    let kind = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, path, kind, 0o600.into(), 0).expect("fifo");
}

fn dump_to_a_pipe() {
    let scratch = Scratch::new("pipe");
    let tree = long_tree(&scratch);
    let (running, mut reader) = with_output_pipe(dump(&scratch, &tree, "-"), &scratch);
    let mut buffer = vec![0; 1 << 20];
    reader.read_exact(&mut buffer).expect("the dump begins");
    let since = Instant::now();
    // From here on nobody reads: the dump waits in a write when the signal comes.
    running.signal(Signal::INT);
    assert_interrupted(&running.wait(), since);
}

fn reader_of_the_pipe_goes_away() {
    let scratch = Scratch::new("reader");
    let tree = long_tree(&scratch);
    let (running, mut reader) = with_output_pipe(dump(&scratch, &tree, "-"), &scratch);
    let mut buffer = vec![0; 1 << 16];
    reader.read_exact(&mut buffer).expect("the dump begins");
    drop(reader);
    let outcome = running.wait();
    assert!(outcome.ended_with(code::FAILED), "{outcome}");
    assert!(!outcome.err().trim().is_empty(), "{outcome}");
}

/// A tape of 64 MiB and the tree on it.
fn tape_to_restore(scratch: &Scratch) -> (Vec<u8>, Tree) {
    let tree = scratch.directory("tree");
    let mut random = Random::new(1);
    for index in 0..64 {
        fs::write(tree.join(format!("file {index:02}")), random.bytes(1 << 20)).expect("tree");
    }
    let _ = dump(scratch, &tree, scratch.join("tape")).outcome().done();
    (fs::read(scratch.join("tape")).expect("tape"), Tree::read(&tree).expect("tree"))
}

/// Starts a restore from a pipe and feeds it half of the tape; gives the writing end.
fn half_restored(scratch: &Scratch, tape: &[u8]) -> (tapedump_tests::cli::Running, File) {
    let (read_end, write_end): (OwnedFd, OwnedFd) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("pipe");
    let target = scratch.directory("target");
    let running = restore(scratch, "-", &target).stdin_from(File::from(read_end)).start();
    let mut writer = File::from(write_end);
    writer.write_all(&tape[..tape.len() / 2]).expect("the restore reads");
    wait_until("restored files", || fs::read_dir(&target).is_ok_and(|entries| entries.count() > 4));
    (running, writer)
}

/// What is there under its name is whole, or not there.
fn check_restored(scratch: &Scratch, expected: &Tree, outcome: &Outcome) {
    let found = Tree::read(&scratch.join("target")).expect("tree");
    for (path, entry) in found.entries.iter().filter(|(path, _)| path.starts_with(b"file ")) {
        let name = std::str::from_utf8(path).expect("own name");
        let same = expected.at(path).kind == entry.kind;
        assert!(
            same || entry.size == 0 || outcome.mentions(name),
            "{name} is cut short and not reported\n{outcome}"
        );
    }
}

fn restore_in_the_middle() {
    let scratch = Scratch::new("middle");
    let (tape, tree) = tape_to_restore(&scratch);
    let (running, mut writer) = half_restored(&scratch, &tape);
    let since = Instant::now();
    running.signal(Signal::INT);
    // Data keep coming; the restore may end while they do.
    let rest = tape[tape.len() / 2..].to_vec();
    let feeder = std::thread::spawn(move || writer.write_all(&rest));
    let outcome = running.wait();
    let fed = feeder.join().expect("feeder");
    assert!(fed.is_err() || !outcome.ended_with(code::DONE), "{outcome}");
    assert_interrupted(&outcome, since);
    check_restored(&scratch, &tree, &outcome);
    // Nothing stands in the way of doing it again.
    let again = restore(&scratch, scratch.join("tape"), &scratch.join("target")).outcome().done();
    drop(again);
    Compare::EXACT.assert_equal(&tree, &Tree::read(&scratch.join("target")).expect("tree"));
}

/// Nothing is said of restoring where nothing is restored.
fn verify_that_waits_for_data() {
    let scratch = Scratch::new("verify-waits");
    let (tape, _) = tape_to_restore(&scratch);
    let (read_end, write_end): (OwnedFd, OwnedFd) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("pipe");
    let running = verify(&scratch, "-").stdin_from(File::from(read_end)).start();
    let mut writer = File::from(write_end);
    writer.write_all(&tape[..tape.len() / 2]).expect("the verify reads");
    std::thread::sleep(Duration::from_millis(200));
    let since = Instant::now();
    running.signal(Signal::INT);
    let outcome = running.wait();
    assert_interrupted(&outcome, since);
    assert!(!outcome.mentions("restored") && !outcome.mentions("the last one begun"), "{outcome}");
    drop(writer);
}

fn restore_that_waits_for_data() {
    let scratch = Scratch::new("waits");
    let (tape, tree) = tape_to_restore(&scratch);
    let (running, writer) = half_restored(&scratch, &tape);
    std::thread::sleep(Duration::from_millis(200));
    let since = Instant::now();
    running.signal(Signal::INT);
    let outcome = running.wait();
    assert_interrupted(&outcome, since);
    check_restored(&scratch, &tree, &outcome);
    drop(writer);
}
