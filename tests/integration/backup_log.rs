//! The log of what dumps and restores did: its lines, its weeks, and what happens where it cannot be written.

use std::fs;
use std::path::Path;

use rustix::process::Signal;
use serde_json::Value;
use tapedump_tests::cli::{Run, code};
use tapedump_tests::product::{dump, restore};
use tapedump_tests::scratch::Scratch;

use crate::Case;
use crate::interruption::{len_of, long_tree, wait_until};

pub(crate) const CASES: &[Case] = &[
    Case { name: "a_dump_and_its_restore", needs: &[], run: a_dump_and_its_restore },
    Case { name: "early_ends", needs: &[], run: early_ends },
    Case { name: "names_steer_nothing", needs: &[], run: names_steer_nothing },
    Case { name: "dumps_at_once", needs: &[], run: dumps_at_once },
    Case { name: "the_week_ends", needs: &[], run: the_week_ends },
    Case { name: "it_cannot_be_written", needs: &[], run: it_cannot_be_written },
];

/// The lines, as `log --json` shows them.
fn logged(scratch: &Scratch) -> Vec<Value> {
    let outcome = Run::tapedump(scratch).args(["log", "--json"]).outcome().done();
    outcome.out().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// Events and what is said of them, of one type.
fn events(scratch: &Scratch, kind: &str) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let all = logged(scratch).into_iter().filter(|line| line["type"] == kind);
    all.map(|line| (text(&line["event"]), text(&line["info"]))).collect()
}

fn names(events: &[(String, String)]) -> Vec<&str> {
    events.iter().map(|(event, _)| event.as_str()).collect()
}

fn said<'e>(events: &'e [(String, String)], event: &str) -> &'e str {
    &events.iter().find(|(name, _)| name == event).unwrap_or_else(|| panic!("{event}: {events:?}")).1
}

fn a_dump_and_its_restore() {
    let scratch = Scratch::new("log");
    let tree = scratch.directory("tree");
    fs::write(tree.join("file"), b"content").expect("tree");
    let (tape, second) = (scratch.join("tape"), scratch.join("second"));
    let _ = dump(&scratch, &tree, &tape).args(["--label", "home"]).outcome().done();
    let dumped = events(&scratch, "dmp");
    let expected = [
        "Start",
        "Options",
        "Tape_open",
        "Phase_change",
        "Phase_change",
        "Phase_change",
        "Phase_change",
        "Phase_change",
        "End",
        "Tape_close",
    ];
    assert_eq!(names(&dumped), expected, "{dumped:?}");
    assert_eq!(said(&dumped, "Start"), "level 0");
    for option in ["b=64", "live", "label=home"] {
        assert!(said(&dumped, "Options").contains(option), "{dumped:?}");
    }
    assert_eq!(said(&dumped, "Tape_open"), tape.to_str().expect("own name"));
    let stages: Vec<&str> =
        dumped.iter().filter(|(event, _)| event == "Phase_change").map(|(_, info)| info.as_str()).collect();
    for (stage, number) in stages.iter().zip(["I: ", "II: ", "III: ", "IV: ", "V: "]) {
        assert!(stage.starts_with(number), "{stages:?}");
    }
    let len = len_of(&tape);
    let told: u64 =
        said(&dumped, "End").split(' ').next().and_then(|len| len.parse().ok()).expect("a length");
    assert!(told <= len && len - told < 1 << 20, "{told} of {len}: {dumped:?}");

    let _ = dump(&scratch, &tree, &second).args(["--level", "1"]).outcome().done();
    let dumped = events(&scratch, "dmp");
    assert!(said(&dumped, "Base_dump").starts_with("level 0, "), "{dumped:?}");

    let target = scratch.directory("target");
    let _ = restore(&scratch, &second, &target).outcome().done();
    let restored = events(&scratch, "rst");
    for event in ["Start", "Options", "Tape_open", "Phase_change", "Tape_close", "End"] {
        assert!(names(&restored).contains(&event), "{event}: {restored:?}");
    }
    assert!(said(&restored, "End").contains("bytes"), "{restored:?}");
    // The file itself, as it is documented.
    let text = fs::read_to_string(scratch.join("state/backup.log")).expect("log");
    let shown = Run::tapedump(&scratch).arg("log").outcome().done().out();
    assert_eq!(shown, text);
    let first = text.lines().next().expect("a line");
    assert!(first.starts_with("log 2") && first.ends_with("Z - Start_Logging"), "{first}");
    let begin = |path: &Path| format!(" {}(", path.to_str().expect("own name"));
    assert!(text.lines().any(|line| line.starts_with("dmp 2") && line.contains(&begin(&tree))), "{text}");
    assert!(text.lines().any(|line| line.starts_with("rst 2") && line.contains(&begin(&target))), "{text}");
}

fn early_ends() {
    let scratch = Scratch::new("early");
    let (tree, tape) = (long_tree(&scratch), scratch.join("tape"));
    let running = dump(&scratch, &tree, &tape).start();
    wait_until("data on the tape", || len_of(&tape) > 1 << 20);
    running.signal(Signal::INT);
    drop(running.wait().expect(code::FAILED));
    let logged = events(&scratch, "dmp");
    assert!(said(&logged, "Abort").contains("interrupted"), "{logged:?}");
    assert!(!names(&logged).contains(&"End"), "{logged:?}");
    let other = scratch.join("other");
    let running = dump(&scratch, &tree, &other).start();
    wait_until("data on the tape", || len_of(&other) > 1 << 20);
    let _ = Run::tapedump(&scratch).args(["event", "takeover", "--automatic"]).outcome().done();
    drop(running.wait().expect(code::FAILED));
    let logged = events(&scratch, "dmp");
    assert!(logged.last().expect("lines").1.contains("takeover"), "{logged:?}");
    // What never began is noted, too.
    let _ = dump(&scratch, &scratch.join("missing"), &tape).outcome().expect(code::FAILED);
    let logged = events(&scratch, "dmp");
    assert!(logged.last().expect("lines").1.contains("missing"), "{logged:?}");
}

/// No name ends a line, passes for another field or steers a terminal.
fn names_steer_nothing() {
    let scratch = Scratch::new("steer");
    let tree = scratch.directory("a b\n\x1b[2Jdmp (x)");
    let file = tree.join("\x1b]0;title\x07\nlog");
    fs::write(&file, b"content").expect("tree");
    let _ = dump(&scratch, &tree, scratch.join("tape")).outcome().done();
    let text = fs::read(scratch.join("state/backup.log")).expect("log");
    assert!(!text.iter().any(|byte| *byte < b' ' && *byte != b'\n'), "{}", String::from_utf8_lossy(&text));
    for line in String::from_utf8_lossy(&text).lines().skip(1) {
        let words: Vec<&str> = line.splitn(5, ' ').collect();
        assert_eq!(words[0], "dmp", "{line}");
        assert!(words[2].contains("a\\x20b\\n") && words[2].ends_with(')'), "{line}");
        assert!(words[3].starts_with(|c: char| c.is_ascii_uppercase()), "{line}");
    }
}

fn dumps_at_once() {
    let scratch = Scratch::new("at-once");
    let trees: Vec<_> = (0..8)
        .map(|index| {
            let tree = scratch.directory(&format!("tree{index}"));
            fs::write(tree.join("file"), b"content").expect("tree");
            tree
        })
        .collect();
    let running: Vec<_> = trees
        .iter()
        .map(|tree| dump(&scratch, tree, "null:").env("TAPEDUMP_MEMORY", "16G").start())
        .collect();
    for running in running {
        let _ = running.wait().done();
    }
    let logged = logged(&scratch);
    assert_eq!(logged.iter().filter(|line| line["event"] == "Start_Logging").count(), 1);
    for tree in trees {
        let name = format!("{}(", tree.to_str().expect("own name"));
        let of_tree: Vec<&Value> = logged
            .iter()
            .filter(|line| {
                line["identifier"].as_str().is_some_and(|identifier| identifier.starts_with(&name))
            })
            .collect();
        assert_eq!(of_tree.len(), 10, "{of_tree:?}");
    }
}

fn the_week_ends() {
    let scratch = Scratch::new("week");
    let tree = scratch.directory("tree");
    let log = scratch.join("state/backup.log");
    let _ = dump(&scratch, &tree, "null:").outcome().done();
    let text = fs::read_to_string(&log).expect("log");
    let aged: String =
        text.lines().map(|line| format!("{} 2001-01-01T00:00:00Z{}\n", &line[..3], &line[24..])).collect();
    fs::write(&log, &aged).expect("log");
    let _ = dump(&scratch, &tree, "null:").outcome().done();
    let old = fs::read_to_string(scratch.join("state/backup.log.0")).expect("old log");
    assert!(old.starts_with(&aged) && old.trim_end().ends_with("Stop_Logging"), "{old}");
    assert!(fs::read_to_string(&log).expect("log").contains("- Start_Logging"));
    // Both are shown, the oldest first.
    let times: Vec<String> =
        logged(&scratch).iter().map(|line| line["time"].as_str().expect("time").to_owned()).collect();
    assert!(times.is_sorted() && times[0].starts_with("2001"), "{times:?}");
}

/// It is told once, and the dump is as good as ever.
fn it_cannot_be_written() {
    let scratch = Scratch::new("unwritable");
    let tree = scratch.directory("tree");
    fs::create_dir_all(scratch.join("state/backup.log")).expect("a directory in its place");
    let outcome = dump(&scratch, &tree, scratch.join("tape")).outcome().done();
    let told = outcome.err().lines().filter(|line| line.contains("backup log")).count();
    assert_eq!(told, 1, "{outcome}");
    let target = scratch.directory("target");
    let outcome = restore(&scratch, scratch.join("tape"), &target).outcome().done();
    assert!(outcome.mentions("backup.log"), "{outcome}");
    let _ = Run::tapedump(&scratch).arg("log").outcome().expect(code::FAILED).says("backup.log");
}
