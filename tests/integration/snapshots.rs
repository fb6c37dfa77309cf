//! Dumps of snapshots, on btrfs images made here: whose they are, what they are called, and when they go.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use tapedump_tests::cli::{Ending, Run, Running, code};
use tapedump_tests::fixtures;
use tapedump_tests::needs::Need;
use tapedump_tests::product::{context, contexts, dump, dump_snapshot, list, restore, snapshot};
use tapedump_tests::random::{Random, seed};
use tapedump_tests::scratch::{Mount, Scratch, make_btrfs, path_text, run};
use tapedump_tests::tree::{Compare, Tree};

use crate::Case;
use crate::world::World;

pub(crate) const BTRFS: &[Need] = &[Need::Root, Need::Loop, Need::BTRFS];

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "the_volume_changes_during_the_dump",
        needs: BTRFS,
        run: the_volume_changes_during_the_dump,
    },
    Case { name: "a_snapshot_of_the_user", needs: BTRFS, run: a_snapshot_of_the_user },
    Case { name: "two_dumps_at_once", needs: BTRFS, run: two_dumps_at_once },
    Case { name: "numbers_begin_anew_after_a_boot", needs: BTRFS, run: numbers_begin_anew_after_a_boot },
    Case { name: "what_a_killed_dump_left", needs: BTRFS, run: what_a_killed_dump_left },
    Case { name: "what_a_killed_dump_only_read", needs: BTRFS, run: what_a_killed_dump_only_read },
    Case { name: "an_interrupted_dump_leaves_none", needs: BTRFS, run: an_interrupted_dump_leaves_none },
    Case { name: "a_snapshot_that_is_held_stays", needs: BTRFS, run: a_snapshot_that_is_held_stays },
    Case { name: "no_room_for_a_snapshot", needs: BTRFS, run: no_room_for_a_snapshot },
    Case { name: "levels_over_snapshots", needs: BTRFS, run: levels_over_snapshots },
    Case { name: "levels_over_named_snapshots", needs: BTRFS, run: levels_over_named_snapshots },
    Case { name: "snapshots_are_on_no_dump", needs: BTRFS, run: snapshots_are_on_no_dump },
    Case { name: "what_is_refused", needs: BTRFS, run: what_is_refused },
    Case { name: "only_a_part_is_mounted", needs: BTRFS, run: only_a_part_is_mounted },
    Case { name: "who_may_not_delete_makes_none", needs: BTRFS, run: who_may_not_delete_makes_none },
];

/// A file system with the subvolume `vol`.
pub(crate) struct Pool {
    // Unmounted before the image is removed.
    mount: Mount,
    pub(crate) scratch: Scratch,
}

impl Pool {
    pub(crate) fn new(name: &str) -> Self {
        Self::made(name, 1 << 30, &[])
    }

    fn made(name: &str, size: u64, arguments: &[&str]) -> Self {
        let scratch = Scratch::new(name);
        let image = scratch.join("image");
        make_btrfs(&image, size, arguments);
        let mount = Mount::image(&image, &scratch.join("pool"), "rw");
        let pool = Self { mount, scratch };
        btrfs(&["subvolume", "create", path_text(&pool.volume())]);
        pool
    }

    pub(crate) fn root(&self) -> &Path {
        self.mount.path()
    }

    pub(crate) fn volume(&self) -> PathBuf {
        self.root().join("vol")
    }

    /// A directory of the volume with `len` random bytes in files: more than pipes and buffers hold.
    pub(crate) fn data(&self, len: u64) -> PathBuf {
        let data = self.volume().join("data");
        fs::create_dir(&data).expect("volume");
        let mut random = Random::new(5);
        for index in 0..len >> 18 {
            fs::write(data.join(format!("file {index:03}")), random.bytes(1 << 18)).expect("volume");
        }
        data
    }

    /// The names of its snapshots.
    pub(crate) fn names(&self) -> Vec<String> {
        let listed = self.listed();
        listed.iter().map(|snapshot| snapshot["name"].as_str().expect("name").to_owned()).collect()
    }

    fn listed(&self) -> Vec<Value> {
        let outcome = snapshot(&self.scratch, "list", &self.volume()).arg("--json").outcome().done();
        outcome.out().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    /// A dump to a pipe that nobody reads yet; it has begun.
    fn waiting(&self, pipe: &str, tree: &Path, arguments: &[&str]) -> Waiting {
        let fifo = self.scratch.join(pipe);
        run("mkfifo", &[path_text(&fifo)]);
        let both = File::options().read(true).write(true).open(&fifo).expect("fifo");
        let running =
            dump_snapshot(&self.scratch, tree, "-").args(arguments).stdout_file_existing(&fifo).start();
        let mut pipe = File::open(&fifo).expect("fifo");
        drop(both);
        let mut beginning = vec![0; 1024];
        pipe.read_exact(&mut beginning).expect("the dump begins");
        Waiting { running, pipe, beginning }
    }
}

pub(crate) fn btrfs(arguments: &[&str]) {
    run("btrfs", arguments);
}

struct Waiting {
    running: Running,
    pipe: File,
    beginning: Vec<u8>,
}

impl Waiting {
    /// Reads the rest to a file; the dump must end well.
    fn finish(mut self, to: &Path) {
        let mut file = File::create(to).expect("file");
        io::copy(&mut self.beginning.as_slice(), &mut file).expect("file");
        io::copy(&mut self.pipe, &mut file).expect("the dump goes on");
        let _ = self.running.wait().done();
    }
}

/// What the first header says it was read from (`c_dev`).
fn device_of(tape: &Path) -> String {
    let bytes = fs::read(tape).expect("tape");
    String::from_utf8_lossy(bytes[760..824].split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
}

fn restored(scratch: &Scratch, tape: &Path) -> Tree {
    let out = scratch.directory("restored");
    let _ = restore(scratch, tape, &out).outcome().done();
    let tree = Tree::read(&out).expect("tree");
    tapedump_tests::scratch::remove_tree(&out).expect("own directory");
    tree
}

/// Changes a tree until it is dropped.
struct Writer {
    stop: Arc<AtomicBool>,
    changes: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    fn start(tree: &Path, seed: u64) -> Self {
        let mut writer = Self { stop: Arc::default(), changes: Arc::default(), thread: None };
        let (stop, changes, tree) = (writer.stop.clone(), writer.changes.clone(), tree.to_path_buf());
        let change = move || {
            let mut world = World::within(tree, seed);
            while !stop.load(Ordering::Relaxed) {
                world.change();
                changes.fetch_add(1, Ordering::Relaxed);
            }
        };
        writer.thread = Some(std::thread::spawn(change));
        writer.go_on();
        writer
    }

    /// Waits until it has changed some more.
    fn go_on(&self) {
        let (before, since) = (self.changes.load(Ordering::Relaxed), Instant::now());
        while self.changes.load(Ordering::Relaxed) < before + 3 {
            assert!(since.elapsed() < Duration::from_secs(60), "the writer stands still");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // A writer that panicked has said so.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// R-SNAP-1, R-SNAP-3: what is dumped is the snapshot, byte for byte, whatever is written meanwhile.
fn the_volume_changes_during_the_dump() {
    let seed = seed();
    println!("seed {seed}");
    let pool = Pool::new("snapshot-changes");
    let data = pool.data(8 << 20);
    fs::create_dir(data.join("fixtures")).expect("volume");
    fixtures::build_small(&data.join("fixtures")).expect("fixtures");
    let busy = data.join("busy");
    fs::create_dir(&busy).expect("volume");
    let writer = Writer::start(&busy, seed);
    let waiting = pool.waiting("pipe", &data, &[]);
    let image = pool.volume().join(".snapshot/snapshot_for_backup.0/data");
    let expected = Tree::read(&image).expect("the snapshot is there while the dump waits");
    assert!(expected.entries.keys().any(|path| path.starts_with(b"busy/")), "the writer wrote before");
    for index in 0..8 {
        fs::write(data.join(format!("file {:03}", 31 - index)), "written over").expect("volume");
    }
    let tape = pool.scratch.join("tape");
    waiting.finish(&tape);
    writer.go_on();
    drop(writer);
    Compare::EXACT.assert_equal(&expected, &restored(&pool.scratch, &tape));
    assert_ne!(Tree::read(&data).expect("tree"), expected, "nothing was written meanwhile");
    assert_eq!(pool.names(), Vec::<String>::new());
    assert_eq!(device_of(&tape), "snapshot_for_backup.0");
    // The tree is known by its own path everywhere.
    let history = Run::tapedump(&pool.scratch).arg("history").outcome().done().out();
    assert!(history.contains("[/vol]:/data") && !history.contains("snapshot"), "{history}");
}

/// R-SNAP-2: one that has a name is used, and stays.
fn a_snapshot_of_the_user() {
    let seed = seed();
    println!("seed {seed}");
    let pool = Pool::new("snapshot-named");
    let data = pool.data(1 << 20);
    let writer = Writer::start(&data, seed);
    let _ = snapshot(&pool.scratch, "create", &data).arg("nightly").outcome().done();
    let image = pool.volume().join(".snapshot/nightly/data");
    let expected = Tree::read(&image).expect("snapshot");
    let tape = pool.scratch.join("tape");
    for _ in 0..3 {
        let run = dump_snapshot(&pool.scratch, &data, &tape).args(["--overwrite", "--snapshot", "nightly"]);
        let _ = run.outcome().done();
        Compare::EXACT.assert_equal(&expected, &restored(&pool.scratch, &tape));
        writer.go_on();
    }
    drop(writer);
    assert_eq!(device_of(&tape), "nightly");
    assert_eq!(pool.names(), ["nightly"]);
    let again = snapshot(&pool.scratch, "create", &data).arg("nightly").outcome().expect(code::FAILED);
    let _ = again.says("there is a snapshot of this name");
    let _ = snapshot(&pool.scratch, "delete", &data).arg("nightly").outcome().done();
    assert_eq!(pool.names(), Vec::<String>::new());
}

/// R-SNAP-4
fn two_dumps_at_once() {
    let pool = Pool::new("snapshot-two");
    let data = pool.data(8 << 20);
    let first = pool.waiting("pipe 0", &data, &[]);
    fs::write(data.join("between"), "the second one has this").expect("volume");
    let second = pool.waiting("pipe 1", &data, &[]);
    let listed = pool.listed();
    assert_eq!(pool.names(), ["snapshot_for_backup.0", "snapshot_for_backup.1"]);
    assert!(listed.iter().all(|snapshot| snapshot["state"] == "held"), "{listed:?}");
    assert_ne!(listed[0]["dumps"][0]["dump"], listed[1]["dumps"][0]["dump"]);
    assert_eq!(listed[1]["dumps"][0]["process"], second.running.pid().as_raw_nonzero().get());
    let tapes = [0, 1].map(|index| pool.scratch.join(&format!("tape {index}")));
    first.finish(&tapes[0]);
    second.finish(&tapes[1]);
    assert_eq!(
        tapes.each_ref().map(|tape| device_of(tape)),
        ["snapshot_for_backup.0", "snapshot_for_backup.1"]
    );
    assert_eq!(pool.names(), Vec::<String>::new());
    let has = |tape: &Path| list(&pool.scratch, tape).outcome().done().out().contains("between");
    assert_eq!(tapes.each_ref().map(|tape| has(tape)), [false, true]);

    // Many, none of which waits for another.
    let running: Vec<_> = (0..8)
        .map(|index| {
            let tape = pool.scratch.join(&format!("many {index}"));
            (dump_snapshot(&pool.scratch, &data, &tape).start(), tape)
        })
        .collect();
    let mut devices: Vec<String> = running
        .into_iter()
        .map(|(running, tape)| {
            let _ = running.wait().done();
            device_of(&tape)
        })
        .collect();
    devices.sort();
    let expected: Vec<String> = (2..10).map(|number| format!("snapshot_for_backup.{number}")).collect();
    assert_eq!(devices, expected);
}

/// R-SNAP-3: the number rises by one for each, and is 0 after a reboot.
fn numbers_begin_anew_after_a_boot() {
    let pool = Pool::new("snapshot-boot");
    let data = pool.data(1 << 20);
    let tape = pool.scratch.join("tape");
    let dump_in = |boot: &str| {
        let run = dump_snapshot(&pool.scratch, &data, &tape).arg("--overwrite").env("TAPEDUMP_BOOT_ID", boot);
        let _ = run.outcome().done();
        device_of(&tape)
    };
    let (first, second) = ("0123456789abcdef0123456789abcdef", "0123456789abcdef0123456789abcd00");
    let numbers = [first, first, second, second, second, first].map(dump_in);
    let expected = [0, 1, 0, 1, 2, 0].map(|number| format!("snapshot_for_backup.{number}"));
    assert_eq!(numbers, expected);
    // What is there is not written over.
    let _ = snapshot(&pool.scratch, "create", &data).arg("snapshot_for_backup.1").outcome().done();
    assert_eq!(dump_in(first), "snapshot_for_backup.2");
    let wrong = dump_snapshot(&pool.scratch, &data, &tape).arg("--overwrite").env("TAPEDUMP_BOOT_ID", "x");
    let _ = wrong.outcome().expect(code::FAILED).says("TAPEDUMP_BOOT_ID");
}

/// R-SNAP-3, R-SNAP-5: a dump that was killed holds nothing; what it left is named, and can be deleted.
fn what_a_killed_dump_left() {
    let pool = Pool::new("snapshot-killed");
    let data = pool.data(8 << 20);
    let waiting = pool.waiting("pipe", &data, &[]);
    waiting.running.signal(Signal::KILL);
    assert_eq!(waiting.running.wait().ending, Ending::Signal(9));
    let listed = pool.listed();
    assert_eq!((&listed[0]["state"], &listed[0]["name"]), (&"left".into(), &"snapshot_for_backup.0".into()));
    let dump_id = listed[0]["dumps"][0]["dump"].as_str().expect("identity").to_owned();
    let shown = snapshot(&pool.scratch, "list", &data).outcome().done().out();
    assert!(shown.contains("left by the dump") && shown.contains(&dump_id), "{shown}");
    // The next dump is not in its way.
    let tape = pool.scratch.join("tape");
    let _ = dump_snapshot(&pool.scratch, &data, &tape).outcome().done();
    assert_eq!(device_of(&tape), "snapshot_for_backup.1");
    assert_eq!(pool.names(), ["snapshot_for_backup.0"]);
    let _ = snapshot(&pool.scratch, "delete", &data).arg("snapshot_for_backup.0").outcome().done();
    assert_eq!(pool.names(), Vec::<String>::new());
    let held = fs::read_dir(pool.scratch.join("state/snapshots/held")).expect("folder");
    assert_eq!(held.count(), 0, "nothing is kept of it");
}

/// R-SNAP-2: a snapshot of the user is his, and free again, when a dump that read it was killed.
fn what_a_killed_dump_only_read() {
    let pool = Pool::new("snapshot-killed-reader");
    let data = pool.data(8 << 20);
    let _ = snapshot(&pool.scratch, "create", &data).arg("monday").outcome().done();
    let waiting = pool.waiting("pipe", &data, &["--snapshot", "monday"]);
    assert_eq!(pool.listed()[0]["state"], "held");
    waiting.running.signal(Signal::KILL);
    assert_eq!(waiting.running.wait().ending, Ending::Signal(9));
    let listed = pool.listed();
    assert_eq!((&listed[0]["state"], &listed[0]["dumps"][0]["alive"]), (&"free".into(), &false.into()));
    let shown = snapshot(&pool.scratch, "list", &data).outcome().done().out();
    assert!(
        shown.contains("monday  free; the dump ") && shown.contains("which read it, was killed"),
        "{shown}"
    );
    assert!(!shown.contains("delete") && !shown.contains("left"), "{shown}");
    // Read again it is held, and one that a dump made for itself is left all the same when another one reads it.
    let waiting = pool.waiting("pipe 1", &data, &["--snapshot", "monday"]);
    assert_eq!(pool.listed()[0]["state"], "held");
    waiting.finish(&pool.scratch.join("tape"));
    for arguments in [&[][..], &["--snapshot", "snapshot_for_backup.0"]] {
        let waiting = pool.waiting(&format!("pipe of {}", arguments.len()), &data, arguments);
        waiting.running.signal(Signal::KILL);
        assert_eq!(waiting.running.wait().ending, Ending::Signal(9));
    }
    let states = pool.listed().iter().map(|one| one["state"].as_str().map(str::to_owned)).collect::<Vec<_>>();
    assert_eq!(states, [Some("free".to_owned()), Some("left".to_owned())]);
}

fn an_interrupted_dump_leaves_none() {
    let pool = Pool::new("snapshot-interrupted");
    let data = pool.data(8 << 20);
    for (index, signal) in [Signal::INT, Signal::TERM].into_iter().enumerate() {
        let waiting = pool.waiting(&format!("pipe {index}"), &data, &[]);
        assert_eq!(pool.names().len(), 1);
        let since = Instant::now();
        waiting.running.signal(signal);
        let _ = waiting.running.wait().expect(code::FAILED).says("interrupted");
        assert!(since.elapsed() < Duration::from_secs(10));
        assert_eq!(pool.names(), Vec::<String>::new());
    }
    // So does one that fails.
    let nowhere = pool.scratch.join("no/such/place");
    let _ = dump_snapshot(&pool.scratch, &data, &nowhere).outcome().expect(code::FAILED);
    assert_eq!(pool.names(), Vec::<String>::new());
    // One that can go on keeps it, until it is given up.
    let tape = pool.scratch.join("virtual");
    let create = Run::tapedump(&pool.scratch).args(["tape", "create", "--capacity", "1M"]).arg(&tape);
    let _ = create.outcome().done();
    let _ = dump_snapshot(&pool.scratch, &data, &tape).outcome().expect(code::FAILED).says("full");
    assert_eq!(pool.names().len(), 1);
    let listed = contexts(&pool.scratch);
    let id = listed[0]["context"].as_str().expect("identity");
    let _ = context(&pool.scratch, "delete").arg(id).outcome().done();
    assert_eq!(pool.names(), Vec::<String>::new());
}

/// R-SNAP-5
fn a_snapshot_that_is_held_stays() {
    let pool = Pool::new("snapshot-held");
    let data = pool.data(8 << 20);
    let _ = snapshot(&pool.scratch, "create", &data).arg("mine").outcome().done();
    let delete = |name: &str| snapshot(&pool.scratch, "delete", &data).arg(name).outcome();
    let own = pool.waiting("pipe 0", &data, &[]);
    let named = pool.waiting("pipe 1", &data, &["--snapshot", "mine"]);
    let listed = pool.listed();
    for held in &listed {
        assert_eq!(held["state"], "held");
        let refused = delete(held["name"].as_str().expect("name")).expect(code::FAILED);
        let _ = refused.says("holds this snapshot").says(held["dumps"][0]["dump"].as_str().expect("dump"));
    }
    assert_eq!(listed.len(), 2);
    assert_eq!(pool.names().len(), 2);
    own.finish(&pool.scratch.join("tape 0"));
    named.finish(&pool.scratch.join("tape 1"));
    assert_eq!(pool.names(), ["mine"]);
    let _ = delete("mine").done();
}

/// R-EVENT-4
fn no_room_for_a_snapshot() {
    let pool = Pool::made("snapshot-full", 128 << 20, &["--mixed"]);
    let data = pool.volume().join("data");
    fs::create_dir(&data).expect("volume");
    let base = pool.scratch.join("base");
    let _ = dump_snapshot(&pool.scratch, &data, &base).outcome().done();
    let filled = (0..).find(|index| fs::write(data.join(format!("fill {index}")), [7; 1 << 20]).is_err());
    run("sync", &["-f", path_text(&data)]);
    assert!(filled.is_some_and(|filled| filled > 20));
    let tape = pool.scratch.join("tape");
    let refused = || dump_snapshot(&pool.scratch, &data, &tape).args(["--level", "1"]).outcome();
    let _ = refused()
        .expect(code::FAILED)
        .says("there is no room for a snapshot")
        .says("delete files or old snapshots")
        .says("tapedump snapshot list");
    assert!(!tape.exists() && pool.names().is_empty());
    let made = snapshot(&pool.scratch, "create", &data).arg("mine").outcome().expect(code::FAILED);
    let _ = made.says("there is no room for a snapshot");
    // What it says helps.
    (0..filled.unwrap_or(0)).for_each(|index| _ = fs::remove_file(data.join(format!("fill {index}"))));
    run("sync", &["-f", path_text(&data)]);
    let since = Instant::now();
    while !refused().ended_with(code::DONE) {
        assert!(since.elapsed() < Duration::from_secs(60), "{}", refused());
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// R-CHAIN-2 over snapshots: each level is restored as its snapshot was.
fn levels_over_snapshots() {
    let seed = seed();
    println!("seed {seed}");
    let pool = Pool::new("snapshot-levels");
    let data = pool.data(1 << 20);
    fs::create_dir(data.join("fixtures")).expect("volume");
    fixtures::build_small(&data.join("fixtures")).expect("fixtures");
    let busy = data.join("busy");
    fs::create_dir(&busy).expect("volume");
    let mut world = World::within(busy, seed);
    let mut made = Vec::new();
    for (index, level) in [0, 1, 2, 1, 3].into_iter().enumerate() {
        let tape = pool.scratch.join(&format!("tape {index}"));
        let run = dump_snapshot(&pool.scratch, &data, &tape).args(["--level", &level.to_string()]);
        let _ = run.outcome().done();
        made.push((tape, Tree::read(&data).expect("tree")));
        (0..15).for_each(|_| world.change());
    }
    for (tape, expected) in &made {
        Compare::EXACT.assert_equal(expected, &restored(&pool.scratch, tape));
    }
    assert_eq!(pool.names(), Vec::<String>::new());
}

/// An increment on a dump of a snapshot takes what changed since the snapshot, not since the dump.
fn levels_over_named_snapshots() {
    let pool = Pool::new("snapshot-named-levels");
    let data = pool.data(1 << 20);
    let create = |name: &str| {
        let _ = snapshot(&pool.scratch, "create", &data).arg(name).outcome().done();
        // Increments go by whole seconds.
        std::thread::sleep(Duration::from_millis(1100));
    };
    // The second before a snapshot is taken for one after it.
    std::thread::sleep(Duration::from_millis(2100));
    create("monday");
    fs::write(data.join("file 000"), "changed on monday").expect("volume");
    fs::remove_file(data.join("file 001")).expect("volume");
    create("tuesday");
    fs::write(data.join("file 002"), "changed on tuesday").expect("volume");
    let dump_of = |name: &str, level: &str| {
        let tape = pool.scratch.join(name);
        let run = dump_snapshot(&pool.scratch, &data, &tape).args(["--snapshot", name, "--level", level]);
        (run.outcome().done().err(), tape)
    };
    let (_, monday) = dump_of("monday", "0");
    let (said, tuesday) = dump_of("tuesday", "1");
    assert!(said.contains("1 other object"), "{said}");
    let now = pool.scratch.join("now");
    let _ = dump_snapshot(&pool.scratch, &data, &now).args(["--level", "2"]).outcome().done();
    let image =
        |name: &str| Tree::read(&pool.volume().join(format!(".snapshot/{name}/data"))).expect("snapshot");
    for (tape, expected) in
        [(monday, image("monday")), (tuesday, image("tuesday")), (now, Tree::read(&data).expect("tree"))]
    {
        Compare::EXACT.assert_equal(&expected, &restored(&pool.scratch, &tape));
    }
    // The older one cannot be an increment on the newer one.
    let backwards = dump_snapshot(&pool.scratch, &data, pool.scratch.join("x"))
        .args(["--snapshot", "monday", "--level", "1"])
        .outcome();
    assert!(backwards.ended_with(code::DONE) || backwards.mentions("a baseline is needed"), "{backwards}");
}

/// R-SNAP-6
fn snapshots_are_on_no_dump() {
    let pool = Pool::new("snapshot-none");
    let data = pool.data(1 << 20);
    let _ = snapshot(&pool.scratch, "create", &data).arg("mine").outcome().done();
    let tape = pool.scratch.join("tape");
    let _ = dump_snapshot(&pool.scratch, &pool.volume(), &tape).outcome().done();
    let _ = dump(&pool.scratch, &pool.volume(), &tape).arg("--overwrite").outcome().done();
    let listing = list(&pool.scratch, &tape).outcome().done().out();
    assert!(listing.contains("data/file 000") && !listing.contains(".snapshot"), "{listing}");
}

fn what_is_refused() {
    let pool = Pool::new("snapshot-refused");
    let data = pool.data(1 << 20);
    let tape = pool.scratch.join("tape");
    let dump_of =
        |name: &str| dump_snapshot(&pool.scratch, &data, &tape).args(["--snapshot", name]).outcome();
    let _ = dump_of("none").expect(code::FAILED).says("there is no such snapshot");
    for name in ["", ".", "..", "a/b", "../../data"] {
        let _ = dump_of(name).expect(code::FAILED).says("snapshot");
        for command in ["create", "delete"] {
            let refused = snapshot(&pool.scratch, command, &data).arg(name).outcome().expect(code::FAILED);
            let refused = refused.says("snapshot").says("give one without slashes, such as monday");
            assert!(refused.mentions(&format!("'{name}': ")), "{refused}");
        }
    }
    let _ =
        snapshot(&pool.scratch, "delete", &data).arg("none").outcome().expect(code::FAILED).says("no such");
    // What is there, and is no snapshot of this volume.
    fs::create_dir(pool.volume().join(".snapshot")).expect("volume");
    fs::create_dir(pool.volume().join(".snapshot/directory")).expect("volume");
    fs::write(pool.volume().join(".snapshot/file"), "").expect("volume");
    let path = |name: &str| pool.volume().join(".snapshot").join(name);
    btrfs(&["subvolume", "create", path_text(&path("other"))]);
    btrfs(&["subvolume", "snapshot", path_text(&pool.volume()), path_text(&path("writable"))]);
    btrfs(&["subvolume", "snapshot", "-r", path_text(&path("other")), path_text(&path("another's"))]);
    std::os::unix::fs::symlink("another's", path("link")).expect("volume");
    for name in ["directory", "file", "other", "writable", "another's", "link"] {
        let _ = dump_of(name).expect(code::FAILED).says("no snapshot of the volume");
        let refused = snapshot(&pool.scratch, "delete", &data).arg(name).outcome().expect(code::FAILED);
        let _ = refused.says("no snapshot of the volume");
        assert!(path(name).symlink_metadata().is_ok());
    }
    assert_eq!(pool.names(), Vec::<String>::new());
    assert!(!tape.exists());
    let both = dump_snapshot(&pool.scratch, &data, &tape).args(["--live", "--snapshot", "x"]);
    let _ = both.outcome().expect(code::USAGE);
}

/// The volume's root, where snapshots are, must be reachable from the tree.
fn only_a_part_is_mounted() {
    let pool = Pool::new("snapshot-part");
    let data = pool.data(1 << 20);
    let part = pool.scratch.directory("part");
    run("mount", &["--bind", path_text(&data), path_text(&part)]);
    let tape = pool.scratch.join("tape");
    let refused = dump_snapshot(&pool.scratch, &part, &tape).outcome();
    let named = snapshot(&pool.scratch, "create", &part).arg("x").outcome();
    let live = dump(&pool.scratch, &part, &tape).outcome();
    run("umount", &[path_text(&part)]);
    let _ = refused.expect(code::FAILED).says("only a part of its subvolume is mounted here").says("--live");
    let _ = named.expect(code::FAILED).says("name it where the whole is mounted");
    let _ = live.done();
}

/// The kernel lets everybody make snapshots of what is his, and only root delete them.
fn who_may_not_delete_makes_none() {
    let pool = Pool::new("snapshot-nobody");
    let data = pool.data(1 << 20);
    run("chown", &["-R", "65534:65534", path_text(&pool.volume())]);
    let state = pool.scratch.directory("state of nobody");
    run("chown", &["65534:65534", path_text(&state)]);
    let tape = state.join("tape");
    let run_as_nobody = |run: Run| run.env("TAPEDUMP_STATE", &state).as_nobody().outcome();
    let refused = run_as_nobody(dump_snapshot(&pool.scratch, &data, &tape)).expect(code::FAILED);
    let _ = refused.says("only root can delete it again").says("--live");
    assert!(!tape.exists() && !pool.volume().join(".snapshot").exists());
    let _ = run_as_nobody(dump(&pool.scratch, &data, &tape)).done();
    // One that root made is for everybody who can read it.
    let _ = snapshot(&pool.scratch, "create", &data).arg("mine").outcome().done();
    run("chmod", &["755", path_text(&pool.volume().join(".snapshot"))]);
    let named = dump_snapshot(&pool.scratch, &data, &tape).args(["--overwrite", "--snapshot", "mine"]);
    let _ = run_as_nobody(named).done();
    let denied = run_as_nobody(snapshot(&pool.scratch, "delete", &data).arg("mine")).expect(code::FAILED);
    let _ = denied.says("root");
    assert_eq!(pool.names(), ["mine"]);
}
