//! Small tapes that ask for much: of memory, of scratch space, of messages; and names that steer terminals.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use tapedump_tests::cli::{Outcome, Run, code};
use tapedump_tests::forge::{DIRECTORY, Forge, Header, attributes, directory_data};
use tapedump_tests::scratch::Scratch;
use tapedump_tests::tape::Order;

use crate::Case;
use crate::hostile::Findings;

pub(crate) const CASES: &[Case] = &[
    Case { name: "names_that_steer_terminals", needs: &[], run: names_that_steer_terminals },
    Case { name: "deep_paths_take_no_scratch_space", needs: &[], run: deep_paths_take_no_scratch_space },
    Case { name: "listings_show_every_place", needs: &[], run: listings_show_every_place },
    Case { name: "failures_with_long_paths", needs: &[], run: failures_with_long_paths },
    Case { name: "attributes_without_number", needs: &[], run: attributes_without_number },
    Case { name: "millions_of_findings", needs: &[], run: millions_of_findings },
];

/// The same bound as for all hostile tapes.
const PEAK_RSS_MAX_KIB: u64 = 96 * 1024;

/// A tape in a file, and a tree.
struct Bench {
    scratch: Scratch,
    tape: PathBuf,
    tree: PathBuf,
}

impl Bench {
    fn new(name: &str, tape: &[u8]) -> Self {
        let scratch = Scratch::in_memory(name);
        let (path, tree) = (scratch.join("tape"), scratch.directory("tree"));
        fs::write(&path, tape).expect("tape");
        Self { scratch, tape: path, tree }
    }

    fn prepared(&self, arguments: &[&str]) -> Run {
        let run = Run::checked_tapedump(&self.scratch).args(arguments).arg("--tape").arg(&self.tape);
        run.timeout(Duration::from_secs(40))
    }

    fn run(&self, arguments: &[&str]) -> Outcome {
        self.prepared(arguments).outcome()
    }

    fn tree(&self) -> &str {
        self.tree.to_str().expect("UTF-8")
    }
}

fn objects(outcome: &Outcome) -> Vec<Value> {
    let line = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    outcome.out().lines().map(line).collect()
}

fn names_that_steer_terminals() {
    let mut findings = Findings::default();
    let name = "x\u{1b}[31m\u{1b}]0;title\u{7}\r\u{9b}2K\u{202e}\u{7f}good".as_bytes();
    let mut tape = Forge::ours();
    tape.tape().maps(&[2, 3]).directory(2, &[(2, b"."), (2, b".."), (3, name)]).file(3, b"x");
    // An attribute that no system takes, so that the restore has something to say of the file.
    let bench = Bench::new("steer", &tape.stage_five(3, &attributes([&b"nonsense.x"[..]])).end());
    fs::write(bench.tree.join(std::str::from_utf8(name).expect("UTF-8")), b"other").expect("tree");
    let tree = bench.tree();
    for arguments in [
        &["list"][..],
        &["list", "--long"],
        &["list", "--json"],
        &["verify", "--against", tree],
        &["verify", "--json", "--against", tree],
        &["restore", "--to", tree, "--threads", "1"],
        &["restore", "--to", tree, "--threads", "2"],
    ] {
        let outcome = bench.run(arguments);
        let named = outcome.out().contains("good") || outcome.err().contains("good");
        findings.check(named, "the name is not told", &outcome);
        let text = outcome.out() + &outcome.err();
        let steers = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        findings.check(!text.contains(steers), "something steers the terminal", &outcome);
        if arguments.contains(&"--json") {
            let exact = |object: &Value| object["path"].as_str().map(str::as_bytes) == Some(name);
            findings.check(objects(&outcome).iter().any(exact), "the name in JSON is another", &outcome);
        }
    }
    findings.finish();
}

/// Directories of these numbers, each in the one before, with names of 200 bytes; the last holds `entries`.
fn chain(numbers: std::ops::Range<u32>, entries: &[(u32, &[u8])]) -> Forge {
    let name = [b'n'; 200];
    let mut tape = Forge::ours();
    let all: Vec<u32> =
        [2].into_iter().chain(numbers.clone()).chain(entries.iter().map(|entry| entry.0)).collect();
    tape.tape().maps(&all).directory(2, &[(2, b"."), (2, b".."), (numbers.start, &name)]);
    for number in numbers.clone() {
        let mut inside: Vec<(u32, &[u8])> =
            vec![(number, b"."), (if number == numbers.start { 2 } else { number - 1 }, b"..")];
        if number + 1 == numbers.end {
            inside.extend_from_slice(entries);
        } else {
            inside.push((number + 1, &name));
        }
        let data = directory_data(Order::Big, &inside);
        tape.object(&Header::inode(number, DIRECTORY, data.len() as u64), &data);
    }
    tape
}

/// A listing of hundreds of megabytes comes from a tape of one, but nothing of that size is kept.
fn deep_paths_take_no_scratch_space() {
    let names: Vec<String> = (0..4_000).map(|index| format!("{index:05}")).collect();
    let entries: Vec<(u32, &[u8])> = (3_000..).zip(names.iter().map(|name| name.as_bytes())).collect();
    let tape = chain(3..403, &entries).end();
    let bench = Bench::new("deep", &tape);
    for format in ["--json", "--long"] {
        let run = Run::checked_tapedump(&bench.scratch).args(["list", format]).arg("--tape").arg(&bench.tape);
        let run = run.stdout_file_existing("/dev/null".as_ref()).timeout(Duration::from_secs(120));
        let Watched { outcome, scratch_len, peak_kib } = watch(run);
        assert!(outcome.ended_with(code::INCOMPLETE), "{outcome}");
        assert!(scratch_len > 0, "the scratch files were not seen");
        let tape_len = tape.len();
        assert!(scratch_len <= 64 << 20, "{scratch_len} bytes of scratch space for {tape_len} of tape");
        assert!(peak_kib <= PEAK_RSS_MAX_KIB, "{peak_kib} KiB\n{outcome}");
    }
}

/// What was seen of a run from outside while it went on.
struct Watched {
    outcome: Outcome,
    scratch_len: u64,
    peak_kib: u64,
}

/// Runs a program and looks at it again and again. The system tells its peak memory afterwards, too, but not below that
/// of this process, which holds whole tapes.
fn watch(run: Run) -> Watched {
    let run = run.start();
    let process = run.pid().as_raw_nonzero().get();
    let (mut scratch, mut peak) = (0, 0);
    while run.is_running() {
        scratch = scratch.max(scratch_len(process));
        // Before it is the program, it is a copy of this process.
        let is_program = fs::read_to_string(format!("/proc/{process}/cmdline"))
            .is_ok_and(|line| line.contains("--tape\0"));
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).filter(|_| is_program);
        peak = peak.max(line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or(0));
        std::thread::sleep(Duration::from_millis(5));
    }
    let outcome = run.wait();
    assert!(peak > 0, "its memory was not seen:\n{outcome}");
    Watched { outcome, scratch_len: scratch, peak_kib: peak }
}

/// What the files without names take that a process has open: its scratch files.
fn scratch_len(process: i32) -> u64 {
    let Ok(files) = fs::read_dir(format!("/proc/{process}/fd")) else { return 0 };
    let is_scratch = |file: &PathBuf| {
        fs::read_link(file)
            .is_ok_and(|target| target.to_str().is_some_and(|target| target.contains("/state/")))
    };
    let files = files.filter_map(|file| Some(file.ok()?.path())).filter(is_scratch);
    files.filter_map(|file| fs::metadata(file).ok()).map(|file| file.blocks() * 512).sum()
}

/// Also below a directory that was chosen, and below one that no directory names.
fn listings_show_every_place() {
    let mut tape = Forge::ours();
    tape.tape().maps(&[2, 3, 4, 5, 6, 7, 8]);
    tape.directory(2, &[(2, b"."), (2, b".."), (3, b"a"), (6, b"z")]);
    tape.directory(3, &[(3, b"."), (2, b".."), (4, b"b"), (6, b"y")]);
    tape.directory(4, &[(4, b"."), (3, b".."), (5, b"c")]);
    tape.directory(7, &[(7, b"."), (2, b".."), (8, b"d")]);
    let bench = Bench::new("places", &tape.file(5, b"5").file(6, b"6").file(8, b"8").end());
    let listed = |arguments: &[&str]| -> Vec<String> {
        let outcome = bench.run(arguments);
        let objects = objects(&outcome);
        let path = |object: &Value| object["path"].as_str().expect("path").to_owned();
        objects.iter().map(path).collect()
    };
    let all = ["a", "a/b", "a/b/c", "a/y", "z"];
    assert_eq!(listed(&["list", "--json"])[..5], all);
    assert!(listed(&["list", "--json"]).iter().any(|path| path.ends_with("7/d")));
    assert_eq!(listed(&["list", "--json", "a/b"]), all[1..3]);
    assert_eq!(listed(&["list", "--json", "a/b/c", "a/y"]), ["a/b/c", "a/y"]);
}

fn failures_with_long_paths() {
    let mut findings = Findings::default();
    let mut tape = chain(3..20, &[(50, b"file")]);
    let bad: &[u8] = b"x";
    let payload = attributes(std::iter::repeat_n(bad, 60_000));
    let bench = Bench::new("failures", &tape.file(50, b"x").stage_five(50, &payload).end());
    for threads in ["1", "2"] {
        let run = bench.prepared(&["restore", "--to", bench.tree(), "--threads", threads]);
        let Watched { outcome, peak_kib, .. } = watch(run);
        findings.check(outcome.ended_with(code::INCOMPLETE), "bad attributes", &outcome);
        findings.check(peak_kib <= PEAK_RSS_MAX_KIB, &format!("{peak_kib} KiB of memory"), &outcome);
        findings.check(outcome.stderr.len() < 100 << 20, "too many messages", &outcome);
        findings.check(outcome.mentions("more of these are not listed"), "no count", &outcome);
    }
    findings.finish();
}

fn attributes_without_number() {
    let mut findings = Findings::default();
    let mut tape = Forge::ours();
    tape.tape().maps(&[2, 3]).directory(2, &[(2, b"."), (2, b".."), (3, b"file")]).file(3, b"x");
    let names: Vec<Vec<u8>> = (0..500_000).map(|index| format!("user.{index:0250}").into_bytes()).collect();
    let payload = attributes(names.iter().map(Vec::as_slice));
    drop(names);
    let tape = tape.stage_five(3, &payload).end();
    let bench = Bench::new("attributes", &tape);
    fs::write(bench.tree.join("file"), b"x").expect("tree");
    let Watched { outcome, peak_kib, .. } = watch(bench.prepared(&["verify", "--against", bench.tree()]));
    findings.check(outcome.ended_with(code::INCOMPLETE), "attributes that the tree has not", &outcome);
    findings.check(peak_kib <= PEAK_RSS_MAX_KIB, &format!("{peak_kib} KiB of memory"), &outcome);
    findings.finish();
}

fn millions_of_findings() {
    const MORE: &str = "more of these are not listed: objects that should be on the tape";
    let mut findings = Findings::default();
    let map = vec![0xff; 256 << 10];
    let mut tape = Forge::ours();
    tape.tape();
    for kind in [6, 3] {
        let mut header = Header::of_kind(kind).with_blocks(256);
        header.flags = 2;
        tape.header(&header).data(&map);
    }
    let bench = Bench::new("millions", &tape.directory(2, &[(2, b"."), (2, b"..")]).end());
    let outcome = bench.run(&["verify"]);
    findings.check(outcome.ended_with(code::INCOMPLETE) && outcome.mentions(MORE), "no count", &outcome);
    let lines = outcome.err().lines().count();
    findings.check((1_000..20_000).contains(&lines), &format!("{lines} lines"), &outcome);
    let outcome = bench.run(&["verify", "--json"]);
    let objects = objects(&outcome);
    let further = objects.iter().find(|object| object["finding"] == "further").expect("a count");
    let listed = objects.iter().filter(|object| object["finding"] == "incomplete").count() as u64;
    let result = objects.last().expect("result");
    assert_eq!(Some(further["count"].as_u64().expect("count") + listed), result["incomplete"].as_u64());
    findings.finish();
}
