//! Dumps over several tapes: where they end, where further ones come from, and what is said of wrong ones.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use tapedump_tests::cli::{Ending, Outcome, Run, code};
use tapedump_tests::debian::{self, unusual_messages};
use tapedump_tests::fixtures;
use tapedump_tests::needs::Need;
use tapedump_tests::product::{
    context, contexts, dump, dump_snapshot, list, reproducible, restore, snapshot, verify,
};
use tapedump_tests::random::{Random, seed};
use tapedump_tests::scratch::{Mount, Scratch, make_ext4, path_text};
use tapedump_tests::tree::{Compare, Tree};

use crate::Case;
use crate::snapshots::{BTRFS, Pool};

const DEBIAN: &[Need] = &[Need::Root, Need::Loop, Need::MKE2FS, Need::RESTORE];

pub(crate) const CASES: &[Case] = &[
    Case { name: "a_tape_ends_anywhere", needs: &[Need::Root], run: a_tape_ends_anywhere },
    Case { name: "over_forty_tapes", needs: &[Need::Root], run: over_forty_tapes },
    Case { name: "tapes_are_asked_for", needs: &[Need::Root], run: tapes_are_asked_for },
    Case { name: "wrong_tapes_are_named", needs: &[Need::Root], run: wrong_tapes_are_named },
    Case { name: "a_lost_tape", needs: &[Need::Root], run: a_lost_tape },
    Case { name: "a_chain_over_tapes", needs: &[Need::Root], run: a_chain_over_tapes },
    Case { name: "killed_on_any_of_them", needs: BTRFS, run: killed_on_any_of_them },
    Case { name: "a_full_tape_is_gone_on_from", needs: BTRFS, run: a_full_tape_is_gone_on_from },
    Case {
        name: "restore_reads_them_with_its_prompts",
        needs: DEBIAN,
        run: restore_reads_them_with_its_prompts,
    },
];

/// Tape blocks of 1 KiB in a record of these dumps.
const BLOCKING: &str = "4";

/// Makes a virtual tape that holds so many bytes.
fn make_tape(scratch: &Scratch, name: &str, capacity: u64) -> PathBuf {
    let path = scratch.join(name);
    let capacity = capacity.to_string();
    let _ = Run::tapedump(scratch)
        .args(["tape", "create", path_text(&path), "--capacity", &capacity])
        .outcome()
        .done();
    path
}

fn make_tapes(scratch: &Scratch, count: usize, capacity: u64) -> Vec<PathBuf> {
    (1..=count).map(|number| make_tape(scratch, &format!("tape-{number}"), capacity)).collect()
}

/// Names further tapes.
fn and(mut run: Run, further: &[PathBuf]) -> Run {
    for tape in further {
        run = run.arg("--tape").arg(tape);
    }
    run
}

/// A tree whose objects have low numbers: maps of few blocks.
fn few_numbers(scratch: &Scratch) -> Mount {
    Mount::tmpfs(&scratch.directory("tree"), "")
}

/// Files with these numbers in their names, of `len` random bytes each.
fn write_files(directory: &Path, numbers: Range<u32>, len: usize, random: &mut Random) {
    for number in numbers {
        fs::write(directory.join(format!("file {number}")), random.bytes(len)).expect("tree");
    }
}

/// The dump's part on a tape.
fn part(tape: &Path) -> Vec<u8> {
    fs::read(tape.join("file-0000.tape")).unwrap_or_default()
}

fn restored(scratch: &Scratch, run: impl FnOnce(&Path) -> Run) -> Tree {
    let out = scratch.directory("out");
    let _ = run(&out).outcome().done();
    let tree = Tree::read(&out).expect("tree");
    tapedump_tests::scratch::remove_tree(&out).expect("out");
    tree
}

/// The first of two tapes takes any number of records.
fn a_tape_ends_anywhere() {
    let scratch = Scratch::in_memory("tapes-anywhere");
    let mounted = few_numbers(&scratch);
    let source = mounted.path();
    fixtures::build_small(source).expect("fixtures");
    let tree = Tree::read(source).expect("tree");
    let whole = scratch.join("whole");
    let made = |tape: &Path| reproducible(dump(&scratch, source, tape)).args(["-b", BLOCKING]);
    let _ = made(&whole).outcome().done();
    let len = fs::metadata(&whole).expect("tape").len();
    let mut cuts = 0;
    for capacity in (64 << 10..len + len / 6).step_by(4096) {
        let first = make_tape(&scratch, &format!("first-{capacity}"), capacity);
        let second = make_tape(&scratch, &format!("second-{capacity}"), 64 << 20);
        let dumped = and(made(&first), std::slice::from_ref(&second)).outcome().done();
        let is_cut = dumped.mentions("2 tapes");
        cuts += u32::from(is_cut);
        assert_eq!(is_cut, !part(&second).is_empty(), "{dumped}");
        let found = restored(&scratch, |out| restore(&scratch, &first, out));
        Compare::EXACT.assert_equal(&tree, &found);
        for tape in [first, second] {
            tapedump_tests::scratch::remove_tree(&tape).expect("tape");
        }
    }
    assert!(cuts >= 20, "{cuts} of them were cut");
}

fn over_forty_tapes() {
    let scratch = Scratch::in_memory("tapes-forty");
    let mounted = few_numbers(&scratch);
    let source = mounted.path();
    let mut random = Random::new(seed());
    write_files(source, 0..40, 66_000, &mut random);
    let tree = Tree::read(source).expect("tree");
    let tapes = make_tapes(&scratch, 48, 70 << 10);
    let made = and(dump(&scratch, source, &tapes[0]), &tapes[1..]).args(["-b", BLOCKING]);
    let dumped = made.outcome().done();
    let used = tapes.iter().filter(|tape| !part(tape).is_empty()).count();
    assert!((40..=48).contains(&used) && dumped.mentions(&format!("{used} tapes")), "{used}: {dumped}");
    // The history knows the others.
    let found = restored(&scratch, |out| restore(&scratch, &tapes[0], out));
    Compare::EXACT.assert_equal(&tree, &found);
    let checked = verify(&scratch, &tapes[0]).outcome().done();
    assert!(checked.mentions(&format!("tape {used}: ")), "{checked}");
    // Of one file no more than the tapes with the names, and its own.
    let out = scratch.directory("out");
    let direct = restore(&scratch, &tapes[0], &out).arg("file 39").outcome().done();
    let read = direct.err().lines().filter(|line| line.starts_with("tape ")).count();
    assert!(read * 3 < used, "{read} of {used} tapes for one file\n{direct}");
    assert_eq!(fs::read(out.join("file 39")).expect("file"), fs::read(source.join("file 39")).expect("file"));
}

fn tapes_are_asked_for() {
    let scratch = Scratch::in_memory("tapes-asked");
    let mounted = few_numbers(&scratch);
    let source = mounted.path();
    fixtures::build_small(source).expect("fixtures");
    let tree = Tree::read(source).expect("tree");
    let tapes = make_tapes(&scratch, 3, 100 << 10);
    let full = make_tape(&scratch, "with-data", 1 << 20);
    let _ = dump(&scratch, source, &full).args(["-b", BLOCKING]).outcome().done();
    let answers = |tapes: &[&Path]| -> Vec<u8> {
        tapes.iter().flat_map(|tape| [path_text(tape).as_bytes(), b"\n"].concat()).collect()
    };
    let nowhere = scratch.join("no/such");
    let said = answers(&[&nowhere, &full, &tapes[0], &tapes[1], &tapes[2]]);
    let asked = dump(&scratch, source, &tapes[0]).args(["-b", BLOCKING, "--prompt"]).stdin_bytes(&said);
    let asked = asked.outcome().done();
    for words in
        ["tape 2 is wanted", "cannot make a tape there", "holds data", "is on it already", "tape 3 is wanted"]
    {
        assert!(asked.mentions(words), "{words}\n{asked}");
    }
    // Where nobody knows of them, they are asked for again; an empty tape and one of another dump will not do.
    let elsewhere = Scratch::in_memory("tapes-asked-elsewhere");
    let blank = make_tape(&elsewhere, "blank", 1 << 20);
    let said = answers(&[&blank, &full, &tapes[1], &tapes[2]]);
    let found =
        restored(&elsewhere, |out| restore(&elsewhere, &tapes[0], out).arg("--prompt").stdin_bytes(&said));
    Compare::EXACT.assert_equal(&tree, &found);
    // Nobody answers.
    let given_up = verify(&elsewhere, &tapes[0]).arg("--prompt").stdin_bytes(b"q\n").outcome();
    let _ = given_up.expect(code::FAILED).says("the dump goes on on tape 2, and there is none");
}

fn wrong_tapes_are_named() {
    let scratch = Scratch::in_memory("tapes-wrong");
    let mounted = few_numbers(&scratch);
    let source = mounted.path();
    fixtures::build_small(source).expect("fixtures");
    let tapes = make_tapes(&scratch, 4, 84 << 10);
    let made = and(dump(&scratch, source, &tapes[0]), &tapes[1..]).args(["-b", BLOCKING]);
    let dumped = made.outcome().done();
    assert!(dumped.mentions("3 tapes") || dumped.mentions("4 tapes"), "{dumped}");
    let other = make_tape(&scratch, "other", 4 << 20);
    let _ = dump(&scratch, source, &other).outcome().done();
    // Another state directory: nobody knows where the tapes are.
    let elsewhere = Scratch::in_memory("tapes-wrong-elsewhere");
    let out = elsewhere.directory("out");
    let with = |tapes: &[&PathBuf]| {
        let further: Vec<PathBuf> = tapes[1..].iter().map(|tape| (*tape).clone()).collect();
        and(restore(&elsewhere, tapes[0], &out), &further).outcome()
    };
    let _ = with(&[&tapes[0], &tapes[2], &tapes[1]])
        .expect(code::FAILED)
        .says("tape 2 of the dump was wanted, and this is tape 3");
    let _ = with(&[&tapes[0], &other]).expect(code::FAILED).says("tape 2 of the dump was wanted");
    let _ = with(&[&tapes[1]]).expect(code::FAILED).says("this is tape 2 of a dump; name its first tape");
    let _ = with(&[&tapes[0]]).expect(code::INCOMPLETE).says("name that with a further --tape");
    let _ = verify(&scratch, &tapes[1]).outcome().expect(code::FAILED).says(path_text(&tapes[0]));
    let twice = and(dump(&scratch, source, &other), &[tapes[0].clone(), tapes[0].clone()]);
    let _ = twice.outcome().expect(code::FAILED).says("named twice");
    let pipe = and(dump(&scratch, source, "-"), &tapes[..1]);
    let _ = pipe.outcome().expect(code::FAILED).says("cannot be one of several tapes");
    let info = Run::tapedump(&scratch).args(["tape", "info"]).arg(&tapes[1]).outcome().done();
    assert!(info.out().contains("tape 2 of the dump"), "{info}");
    // Written over, none of them is a tape of a dump any more.
    let _ = dump(&scratch, source, &tapes[1]).arg("--overwrite").args(["-b", BLOCKING]).outcome();
    let history = Run::tapedump(&scratch).arg("history").outcome().done();
    assert!(!history.out().contains("tape-1"), "{history}");
}

/// Levels 0 and 1, each on several tapes; also when their catalogs and the history were made again from them.
fn a_chain_over_tapes() {
    let scratch = Scratch::new("tapes-chain");
    let mounted = few_numbers(&scratch);
    let source = mounted.path();
    let mut random = Random::new(seed() ^ 7);
    write_files(source, 0..30, 20_000, &mut random);
    let levels = [0, 1].map(|level| {
        let tapes: Vec<_> = (0..14)
            .map(|number| make_tape(&scratch, &format!("level-{level}-{number}"), 100 << 10))
            .collect();
        let level_text = level.to_string();
        let made = and(dump(&scratch, source, &tapes[0]), &tapes[1..]);
        let dumped = made.args(["-b", BLOCKING, "--level", &level_text]).outcome().done();
        assert!(dumped.mentions(" tapes: "), "{dumped}");
        let used: Vec<_> = tapes.into_iter().filter(|tape| !part(tape).is_empty()).collect();
        // The next increment must see that these are newer.
        std::thread::sleep(Duration::from_millis(1100));
        write_files(source, 10..25, 21_000, &mut random);
        fs::remove_file(source.join(format!("file {}", 2 + level))).expect("tree");
        used
    });
    let of_level_1 = levels.each_ref().map(Vec::len);
    assert!(of_level_1.iter().all(|used| *used >= 3), "{of_level_1:?}");
    // As it was at level 1: the source has changed since.
    let reference = restored(&scratch, |out| restore(&scratch, &levels[1][0], out));
    assert_eq!(reference.entries.len(), 30, "29 files and the root");
    let elsewhere = Scratch::new("tapes-chain-elsewhere");
    for tapes in &levels {
        let mut rebuild = Run::tapedump(&elsewhere).args(["catalog", "rebuild"]);
        for tape in tapes {
            rebuild = rebuild.arg("--tape").arg(tape);
        }
        let _ = rebuild.outcome().done();
    }
    let found = restored(&elsewhere, |out| restore(&elsewhere, &levels[1][0], out));
    Compare::EXACT.assert_equal(&reference, &found);
    let names = list(&elsewhere, &levels[1][0]).outcome().done();
    let names = names.out();
    assert!(names.contains("file 29\n") && !names.contains("file 2\n"), "{names}");
}

fn fill(volume: &Path, long: usize, random: &mut Random) {
    for number in 0..15 {
        let len = random.below(50_000) as usize;
        fs::write(volume.join(format!("file {number}")), random.bytes(len)).expect("volume");
    }
    fs::write(volume.join("long"), random.bytes(long)).expect("volume");
}

/// The second of three or more is gone: what is on the others comes, from those behind it by its paths, and what is lost is named.
fn a_lost_tape() {
    let scratch = Scratch::new("tapes-lost");
    let mount = few_numbers(&scratch);
    let source = mount.path();
    let mut random = Random::new(seed() ^ 7);
    write_files(source, 0..20, 60_000, &mut random);
    let tapes = make_tapes(&scratch, 4, 500 << 10);
    let _ = and(dump(&scratch, source, &tapes[0]), &tapes[1..]).args(["-b", BLOCKING]).outcome().done();
    assert!(!part(&tapes[2]).is_empty());
    fs::rename(&tapes[1], scratch.join("away")).expect("tape");
    let gone = format!("tape 2 of the dump is not at {}", tapes[1].display());
    let missing = "it should be on the tape and is not";
    let out = scratch.directory("out");
    let whole = restore(&scratch, &tapes[0], &out).outcome().expect(code::INCOMPLETE).says(&gone);
    let _ = verify(&scratch, &tapes[0]).outcome().expect(code::INCOMPLETE).says(&gone);
    let is_same = |out: &Path, name: &str| fs::read(out.join(name)).ok() == fs::read(source.join(name)).ok();
    let (mut before, mut lost, mut behind) = (0, 0, 0);
    for name in (0..20).map(|number| format!("file {number}")) {
        let single = scratch.directory("single");
        let said = restore(&scratch, &tapes[0], &single).arg(&name).outcome();
        let is_named = |said: &Outcome| {
            said.mentions(&format!("{name}: {missing}")) || said.mentions(&format!("{name}: damaged"))
        };
        assert!(is_same(&out, &name) != is_named(&whole), "{name}: {whole}");
        assert!(is_same(&single, &name) != is_named(&said), "{name}: {said}");
        assert!(said.ended_with(if is_named(&said) { code::INCOMPLETE } else { code::DONE }), "{said}");
        match (is_named(&whole), is_named(&said)) {
            (false, false) => before += 1,
            (true, true) => lost += 1,
            (true, false) => behind += 1,
            (false, true) => panic!("{name}: {said}"),
        }
        tapedump_tests::scratch::remove_tree(&single).expect("single");
    }
    assert!(before > 0 && lost > 0 && behind > 0, "{before}, {lost}, {behind}");
    // One that is named and is not there is a mistake, and nothing is guessed.
    let named = and(restore(&scratch, &tapes[0], &out), &tapes[1..2]);
    let _ = named.outcome().expect(code::FAILED).says("there is no such tape");
    fs::rename(scratch.join("away"), &tapes[1]).expect("tape");
    let _ = restore(&scratch, &tapes[0], &scratch.directory("again")).outcome().done();
}

/// R-RESTART-4: `kill -9` at random moments, on any tape; in the end all tapes are, byte for byte, those of a dump that ran through.
fn killed_on_any_of_them() {
    let pool = Pool::new("tapes-killed");
    let mut random = Random::new(seed() ^ 3);
    let volume = pool.volume();
    fill(&volume, 600_000, &mut random);
    let _ = snapshot(&pool.scratch, "create", &volume).arg("kept").outcome().done();
    // So small that nothing is written behind: where a tape ends does not depend on the moment.
    let tapes_in = |scratch: &Scratch| make_tapes(scratch, 30, 64 << 10);
    let made = |scratch: &Scratch, tapes: &[PathBuf]| {
        let run = dump_snapshot(scratch, &volume, &tapes[0]).args(["--snapshot", "kept", "-b", "8"]);
        reproducible(and(run, &tapes[1..])).args(["--no-catalog", "--context-interval", "0"])
    };
    let reference = Scratch::in_memory("tapes-killed-reference");
    let tapes = tapes_in(&reference);
    let since = Instant::now();
    let _ = made(&reference, &tapes).outcome().done();
    let span = since.elapsed().as_micros() as u64;
    let expected: Vec<_> = tapes.iter().map(|tape| part(tape)).collect();
    assert!(expected.iter().filter(|part| !part.is_empty()).count() >= 4);
    let wanted = if std::env::var_os("TAPEDUMP_EXHAUSTIVE").is_some() { 500 } else { 40 };
    let (mut kills, mut on) = (0, Vec::new());
    while kills < wanted {
        let scratch = Scratch::in_memory(&format!("tapes-killed-{kills}"));
        let tapes = tapes_in(&scratch);
        let mut next = made(&scratch, &tapes);
        for again in 0.. {
            let delay = if again < 6 { random.below(span * 5 / 4) } else { span * 50 };
            let running = next.start();
            std::thread::sleep(Duration::from_micros(delay));
            if running.is_running() {
                running.signal(Signal::KILL);
            }
            let outcome = running.wait();
            if !matches!(outcome.ending, Ending::Signal(_)) {
                let _ = outcome.done();
                break;
            }
            kills += 1;
            next = match contexts(&scratch).as_slice() {
                [] => made(&scratch, &tapes).arg("--overwrite"),
                [known] => {
                    on.push(known["tape"].as_str().expect("tape").to_owned());
                    context(&scratch, "restart").arg(known["context"].as_str().expect("identity"))
                }
                more => panic!("{more:?}"),
            };
        }
        for (number, (tape, expected)) in tapes.iter().zip(&expected).enumerate() {
            let found = part(tape);
            assert!(found == *expected, "tape {}: {} bytes, not {}", number + 1, found.len(), expected.len());
        }
    }
    let out = reference.directory("out");
    let _ = restore(&reference, &tapes[0], &out).outcome().done();
    let found = Tree::read_content(&out).expect("tree");
    let snapshot = Tree::read_content(&volume.join(".snapshot/kept")).expect("tree");
    Compare::EXACT.assert_equal(&snapshot, &found);
    let beyond = on.iter().filter(|tape| !tape.ends_with("tape-1")).count();
    assert!(beyond > 0, "never on a further tape: {on:?}");
}

fn a_full_tape_is_gone_on_from() {
    let pool = Pool::new("tapes-full");
    let (scratch, volume) = (&pool.scratch, pool.volume());
    fill(&volume, 1_500_000, &mut Random::new(seed() ^ 5));
    let tapes = make_tapes(scratch, 4, 800 << 10);
    let full = dump_snapshot(scratch, &volume, &tapes[0]).args(["-b", BLOCKING]).outcome();
    let full = full.expect(code::FAILED).says("the tape is full, and there is no further one");
    assert!(full.mentions("context restart") && full.mentions("--tape NEXT"), "{full}");
    let kept = contexts(scratch);
    let id = kept[0]["context"].as_str().expect("identity");
    // The tape that follows is another dump's.
    let other = make_tape(scratch, "other", 4 << 20);
    let tree = scratch.directory("small");
    let _ = dump(scratch, &tree, &other).outcome().done();
    let restart = |further: &[PathBuf]| and(context(scratch, "restart").arg(id), further).outcome();
    let _ = restart(&[tapes[0].clone(), other]).expect(code::FAILED).says("holds data");
    let _ = restart(&tapes).done();
    assert_eq!(contexts(scratch), Vec::<Value>::new());
    let out = scratch.directory("out");
    let _ = restore(scratch, &tapes[0], &out).outcome().done();
    let found = Tree::read_content(&out).expect("tree");
    Compare::EXACT.assert_equal(&Tree::read_content(&volume).expect("tree"), &found);
}

/// Debian's `restore`, `-r` and `-x`, with its prompts for two and three tapes answered.
fn restore_reads_them_with_its_prompts() {
    for (count, capacity) in [(2, 700 << 10), (3, 400 << 10)] {
        let scratch = Scratch::new(&format!("tapes-debian-{count}"));
        // Few numbers: its maps must not be cut (format.md 2.2).
        let image = scratch.join("image");
        make_ext4(&image, 64 << 20, &["-N", "1000"]);
        let source = Mount::image(&image, &scratch.directory("source"), "");
        let mut random = Random::new(seed() ^ count);
        write_files(source.path(), 0..20, 30_000, &mut random);
        fs::write(source.path().join("long"), random.bytes(300_000)).expect("tree");
        let tree = Tree::read(source.path()).expect("tree");
        let tapes = make_tapes(&scratch, 4, capacity);
        let made = and(dump(&scratch, source.path(), &tapes[0]), &tapes[1..]).args([
            "-b",
            "10",
            "--exclude",
            "lost+found",
        ]);
        let dumped = made.outcome().done();
        assert!(dumped.mentions(&format!("{count} tapes")), "{dumped}");
        let parts: Vec<PathBuf> =
            tapes.iter().take(count as usize).map(|tape| tape.join("file-0000.tape")).collect();
        let named: String = parts[1..].iter().map(|part| format!("{}\n", path_text(part))).collect();
        for mode in ["-r", "-x"] {
            let out = scratch.directory(&format!("out{mode}"));
            let answers = match mode {
                "-r" => named.clone(),
                _ => {
                    let volumes =
                        (1..).zip(&parts).map(|(number, part)| format!("{number}\n{}\n", path_text(part)));
                    volumes.skip(1).fold(String::from("1\n"), |all, next| all + &next) + "none\nn\n"
                }
            };
            let run = Run::program("restore").args([mode, "-f"]).arg(&parts[0]).within(&out);
            let outcome = run.env("TMPDIR", scratch.path()).stdin_bytes(answers.as_bytes()).outcome().done();
            let unusual: Vec<_> = unusual_messages(&outcome)
                .into_iter()
                .filter(|line| line.contains("expected") || line.contains("rror") || line.contains("kipping"))
                .collect();
            assert!(unusual.is_empty(), "{unusual:?}\n{outcome}");
            let found = debian::as_restore_knows(Tree::read(&out).expect("tree"));
            let own = |path: &[u8]| path.is_empty() || path == b"restoresymtable" || path == b"lost+found";
            let (found, tree) =
                (found.without(|path, _| own(path)), tree.clone().without(|path, _| own(path)));
            Compare::EXACT.to_the_second().without_xattrs().without_holes().assert_equal(&tree, &found);
        }
    }
}
