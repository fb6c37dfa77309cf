//! What a volume is known by, and when its dumps are no base any more (R-CHAIN-7).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tapedump_tests::cli::{Outcome, Run, code};
use tapedump_tests::product::{dump_snapshot, restore, snapshot};
use tapedump_tests::scratch::{path_text, run};
use tapedump_tests::tree::{Compare, Tree};

use crate::Case;
use crate::snapshots::{BTRFS, Pool, btrfs};

pub(crate) const CASES: &[Case] = &[
    Case { name: "a_volume_that_became_read_only", needs: BTRFS, run: a_volume_that_became_read_only },
    Case { name: "a_clone_in_its_place", needs: BTRFS, run: a_clone_in_its_place },
    Case { name: "a_volume_with_another_name", needs: BTRFS, run: a_volume_with_another_name },
    Case { name: "a_mirror", needs: BTRFS, run: a_mirror },
];

struct Chain<'a> {
    pool: &'a Pool,
    tree: PathBuf,
    made: u32,
}

impl<'a> Chain<'a> {
    fn new(pool: &'a Pool, tree: PathBuf) -> Self {
        Self { pool, tree, made: 0 }
    }

    fn tape(&mut self) -> PathBuf {
        self.made += 1;
        self.pool.scratch.join(&format!("tape {}", self.made))
    }

    fn dump(&mut self, level: u32) -> (Outcome, PathBuf) {
        let tape = self.tape();
        let run = dump_snapshot(&self.pool.scratch, &self.tree, &tape).args(["--level", &level.to_string()]);
        (run.outcome(), tape)
    }

    /// Level 1 is refused for this reason, and level 0 made instead.
    #[track_caller]
    fn needs_baseline(&mut self, reason: &str) {
        let (refused, tape) = self.dump(1);
        let _ = refused.expect(code::FAILED).says("a baseline is needed").says(reason);
        assert!(!tape.exists());
        let _ = self.dump(0).0.done();
        self.goes_on();
    }

    #[track_caller]
    fn goes_on(&mut self) {
        let (outcome, tape) = self.dump(1);
        let _ = outcome.done();
        let out = self.pool.scratch.directory(&format!("out {}", self.made));
        let _ = restore(&self.pool.scratch, &tape, &out).outcome().done();
        let [expected, found] = [&self.tree, &out].map(|tree| Tree::read_content(tree).expect("tree"));
        Compare::EXACT.assert_equal(&expected, &found);
    }

    /// What the history says of the newest dump's volume.
    fn access(&self) -> String {
        let history = Run::tapedump(&self.pool.scratch).args(["history", "--json"]).outcome().done().out();
        let newest = history.lines().last().expect("a dump");
        let newest: serde_json::Value = serde_json::from_str(newest).expect("JSON");
        newest["access"].as_str().expect("access").to_owned()
    }
}

fn volume(pool: &Pool) -> PathBuf {
    fs::write(pool.volume().join("file"), "content").expect("volume");
    pool.volume()
}

fn set_read_only(volume: &Path, value: &str) {
    btrfs(&["property", "set", "-f", path_text(volume), "ro", value]);
}

/// R-CHAIN-7, and R-SNAP-1: a volume that nobody can change needs no snapshot.
fn a_volume_that_became_read_only() {
    let pool = Pool::new("volume-read-only");
    let mut chain = Chain::new(&pool, volume(&pool));
    let _ = chain.dump(0).0.done();
    chain.goes_on();
    assert_eq!(chain.access(), "read-write");
    set_read_only(&chain.tree, "true");
    chain.needs_baseline("the volume became read-only");
    assert_eq!(chain.access(), "read-only");
    let made = snapshot(&pool.scratch, "list", &chain.tree).outcome().done().out();
    assert!(made.contains("has no snapshots"), "{made}");
    set_read_only(&chain.tree, "false");
    chain.needs_baseline("the volume became writable");
}

/// R-CHAIN-7: a restored clone, and a copy on another file system, under the name of the volume.
fn a_clone_in_its_place() {
    let pool = Pool::new("volume-clone");
    let mut chain = Chain::new(&pool, volume(&pool));
    let _ = chain.dump(0).0.done();
    let old = pool.root().join("old");
    fs::rename(&chain.tree, &old).expect("volume");
    btrfs(&["subvolume", "snapshot", path_text(&old), path_text(&chain.tree)]);
    chain.needs_baseline("another volume had this name");
    // One that was made anew.
    fs::rename(&chain.tree, pool.root().join("clone")).expect("volume");
    btrfs(&["subvolume", "create", path_text(&chain.tree)]);
    run("cp", &["-a", path_text(&old.join("file")), path_text(&chain.tree)]);
    chain.needs_baseline("another volume had this name");
    // A snapshot of the volume is not the volume.
    let clone = pool.root().join("frozen");
    btrfs(&["subvolume", "snapshot", "-r", path_text(&chain.tree), path_text(&clone)]);
    Chain { pool: &pool, tree: clone, made: 100 }.needs_baseline("there is no dump below level 1");
}

/// R-CHAIN-8: by its identity, not by its path.
fn a_volume_with_another_name() {
    let pool = Pool::new("volume-renamed");
    let mut chain = Chain::new(&pool, volume(&pool));
    let _ = chain.dump(0).0.done();
    let renamed = pool.root().join("renamed");
    fs::rename(&chain.tree, &renamed).expect("volume");
    chain.tree = renamed;
    chain.goes_on();
    // Mounted alone, somewhere else.
    let mounted = pool.scratch.join("alone");
    fs::create_dir(&mounted).expect("directory");
    let device = run("findmnt", &["-no", "SOURCE", path_text(pool.root())]);
    run("mount", &["-o", "subvol=renamed", device.trim(), path_text(&mounted)]);
    let tree = std::mem::replace(&mut chain.tree, mounted.clone());
    let (outcome, _) = chain.dump(1);
    run("umount", &[path_text(&mounted)]);
    let _ = outcome.done();
    chain.tree = tree;
    chain.goes_on();
}

/// Sends a snapshot of the volume to `to`, where the subvolume `mirror` stays.
fn send(pool: &Pool, name: &str, parent: Option<&str>) {
    let sent = |name: &str| pool.root().join(name);
    btrfs(&["subvolume", "snapshot", "-r", path_text(&pool.volume()), path_text(&sent(name))]);
    let to = pool.root().join("received");
    let _ = fs::create_dir(&to);
    let mut send = Command::new("btrfs");
    send.args(["-q", "send"]).args(parent.map(|parent| ["-p".into(), sent(parent)]).into_iter().flatten());
    let mut send = send.arg(sent(name)).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("send");
    let stream = send.stdout.take().expect("pipe");
    let received =
        Command::new("btrfs").args(["-q", "receive"]).arg(&to).stdin(stream).status().expect("receive");
    assert!(received.success() && send.wait().expect("send").success());
}

/// R-CHAIN-7, R-DATA-11: a mirror is known as one; what it is made of, its partner and its state, is on no dump.
fn a_mirror() {
    let pool = Pool::new("volume-mirror");
    let source = volume(&pool);
    send(&pool, "first", None);
    let mirror = pool.root().join("received/mirror");
    fs::rename(pool.root().join("received/first"), &mirror).expect("received");
    let mut chain = Chain::new(&pool, mirror.clone());
    let _ = chain.dump(0).0.done();
    assert_eq!(chain.access(), "mirror");
    chain.goes_on();
    // Resynchronized: received again, on what was there.
    fs::write(source.join("later"), "more").expect("volume");
    send(&pool, "second", Some("first"));
    fs::rename(&mirror, pool.root().join("received/former")).expect("received");
    fs::rename(pool.root().join("received/second"), &mirror).expect("received");
    chain.needs_baseline("the mirror was resynchronized");
    // Broken: it is a volume of its own from here on, also when it is made read-only again.
    set_read_only(&mirror, "false");
    chain.needs_baseline("the mirror was broken");
    assert_eq!(chain.access(), "read-write");
    set_read_only(&mirror, "true");
    chain.needs_baseline("the volume became read-only");
    assert_eq!(chain.access(), "read-only");
    // Restored, it is no mirror of anything.
    let out = pool.root().join("restored");
    btrfs(&["subvolume", "create", path_text(&out)]);
    let (outcome, tape) = chain.dump(0);
    let _ = outcome.done();
    let _ = restore(&pool.scratch, &tape, &out).outcome().done();
    let shown = run("btrfs", &["subvolume", "show", path_text(&out)]);
    let received = shown.lines().find(|line| line.contains("Received UUID:")).expect("shown");
    assert!(received.trim_end().ends_with('-'), "{shown}");
}
