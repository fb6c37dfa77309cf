//! Live trees, where there are no snapshots.

use std::fs::{self, File};
use std::io::{self, Read};

use tapedump_tests::cli::code;
use tapedump_tests::product::{dump, dump_snapshot, list, snapshot};
use tapedump_tests::random::Random;
use tapedump_tests::scratch::{Scratch, path_text, run};

use crate::Case;

pub(crate) const CASES: &[Case] = &[
    Case { name: "without_snapshots", needs: &[], run: without_snapshots },
    Case { name: "a_live_file_that_changes", needs: &[], run: a_live_file_that_changes },
    Case { name: "a_live_file_that_is_renamed", needs: &[], run: a_live_file_that_is_renamed },
];

/// R-SNAP-1: where there are no snapshots, `--live` has to be said.
fn without_snapshots() {
    let scratch = Scratch::in_memory("no-snapshots");
    let tree = scratch.directory("tree");
    let tape = scratch.join("tape");
    let refused = dump_snapshot(&scratch, &tree, &tape).outcome().expect(code::FAILED);
    let _ = refused.says("--live").says("its file system (").says("reads a snapshot");
    assert!(!tape.exists());
    let named = dump_snapshot(&scratch, &tree, &tape).args(["--snapshot", "x"]).outcome();
    let _ = named.expect(code::FAILED).says("has no snapshots");
    for command in ["list", "create", "delete"] {
        let run = snapshot(&scratch, command, &tree).args((command != "list").then_some("x"));
        let _ = run.outcome().expect(code::FAILED).says("has no snapshots");
    }
    let _ = dump(&scratch, &tree, &tape).outcome().done();
}

/// R-SNAP-1: of a live tree, what changed while it was read is named, by whatever it changed.
fn a_live_file_that_changes() {
    const LEN: u64 = 48 << 20;
    // In memory numbers are small, and with them the maps before the data.
    let scratch = Scratch::in_memory("live");
    let content = Random::new(3).bytes(LEN as usize);
    for (index, name) in ["grown", "shrunk", "written", "touched", "left"].into_iter().enumerate() {
        let tree = scratch.directory(name);
        let path = tree.join(format!("is {name}"));
        fs::write(&path, &content).expect("tree");
        run("touch", &["-d", "2020-01-01", path_text(&path)]);
        let fifo = scratch.join("fifo");
        run("mkfifo", &[path_text(&fifo)]);
        let both = File::options().read(true).write(true).open(&fifo).expect("fifo");
        let running = dump(&scratch, &tree, "-").stdout_file_existing(&fifo).start();
        let mut pipe = File::open(&fifo).expect("fifo");
        drop(both);
        // Its first megabytes are here, its last ones are not read yet.
        let mut beginning = vec![0; LEN as usize / 3];
        pipe.read_exact(&mut beginning).expect("the dump begins");
        let file = File::options().write(true).open(&path).expect("tree");
        match index {
            0 => file.set_len(LEN + 1).expect("tree"),
            1 => file.set_len(LEN - 1).expect("tree"),
            2 => std::os::unix::fs::FileExt::write_at(&file, b"x", LEN - 9).map(drop).expect("tree"),
            // Content, length and time of modification are as before.
            3 => run("touch", &["-d", "2020-01-01", path_text(&path)]).clear(),
            _ => {}
        }
        drop(file);
        io::copy(&mut pipe, &mut io::sink()).expect("the dump goes on");
        let outcome = running.wait();
        if name == "left" {
            let _ = outcome.done();
        } else {
            let outcome = outcome.expect(code::INCOMPLETE).says("changed while it was read");
            assert!(outcome.mentions(&format!("is {name}: ")), "{outcome}");
            assert!(outcome.mentions("the dump is incomplete"), "{outcome}");
        }
        fs::remove_file(&fifo).expect("own file");
        fs::remove_file(&path).expect("own file");
    }
}

/// R-SNAP-1: what gets another name before its turn comes is named as not dumped, and on the next increment.
fn a_live_file_that_is_renamed() {
    const LEN: usize = 32 << 20;
    let scratch = Scratch::in_memory("live-renamed");
    let tree = scratch.directory("tree");
    fs::write(tree.join("first"), Random::new(4).bytes(LEN)).expect("tree");
    // More than is read ahead.
    for index in 0..1000 {
        fs::write(tree.join(format!("between {index}")), "content").expect("tree");
    }
    for name in ["moved", "gone", "stays"] {
        fs::write(tree.join(name), name).expect("tree");
    }
    let fifo = scratch.join("fifo");
    run("mkfifo", &[path_text(&fifo)]);
    let both = File::options().read(true).write(true).open(&fifo).expect("fifo");
    let running = dump(&scratch, &tree, "-").args(["--threads", "1"]).stdout_file_existing(&fifo).start();
    let mut pipe = File::open(&fifo).expect("fifo");
    drop(both);
    pipe.read_exact(&mut vec![0; LEN / 4]).expect("the dump begins");
    fs::rename(tree.join("moved"), tree.join("has moved")).expect("tree");
    fs::remove_file(tree.join("gone")).expect("tree");
    io::copy(&mut pipe, &mut io::sink()).expect("the dump goes on");
    let outcome = running.wait().expect(code::INCOMPLETE);
    for name in ["moved", "gone"] {
        assert!(outcome.mentions(&format!("/{name}: not dumped")), "{outcome}");
    }
    assert!(!outcome.mentions("stays") && !outcome.mentions("first"), "{outcome}");
    let next = scratch.join("next");
    let _ = dump(&scratch, &tree, &next).args(["--level", "1"]).outcome().done();
    let on_tape = list(&scratch, &next).arg("--json").outcome().done().out();
    let moved = on_tape.lines().find(|line| line.contains("has moved")).expect("its name");
    assert!(moved.contains("\"type\":\"file\""), "{on_tape}");
    assert!(!on_tape.contains("gone"), "{on_tape}");
}
