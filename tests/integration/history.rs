//! What the history is asked: which dumps there are, how they build on each other, and the tree as of a point in time.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tapedump_tests::cli::{Outcome, Run, code};
use tapedump_tests::product::{dump, restore};
use tapedump_tests::scratch::Scratch;
use tapedump_tests::tree::{Compare, Tree};

use crate::Case;

pub(crate) const CASES: &[Case] = &[
    Case { name: "dumps_are_told", needs: &[], run: dumps_are_told },
    Case { name: "an_empty_history", needs: &[], run: an_empty_history },
    Case { name: "damage_of_the_history", needs: &[], run: damage_of_the_history },
    Case { name: "chains_are_drawn", needs: &[], run: chains_are_drawn },
    Case { name: "a_point_in_time", needs: &[], run: a_point_in_time },
    Case { name: "points_that_are_none", needs: &[], run: points_that_are_none },
    Case { name: "a_plan_names_what_is_missing", needs: &[], run: a_plan_names_what_is_missing },
    Case { name: "a_plan_without_a_history", needs: &[], run: a_plan_without_a_history },
];

/// When the first dump is made, and what lies between two.
pub(crate) const BEGIN: u64 = 1_790_000_000;
pub(crate) const STEP: u64 = 3600;

/// Dump `number` of a tree: at its own hour, and with an identity of its own.
pub(crate) fn numbered(scratch: &Scratch, tree: &Path, number: u8, level: u32) -> PathBuf {
    let tape = scratch.join(&format!("tape {number}"));
    let _ = dump(scratch, tree, &tape)
        .args(["--level", &level.to_string()])
        .env("TAPEDUMP_DUMP_ID", format!("{number:02x}").repeat(16))
        .env("SOURCE_DATE_EPOCH", (BEGIN + STEP * u64::from(number)).to_string())
        .outcome()
        .done();
    tape
}

/// The documented order of levels (R-CHAIN-2), with a change before each; the trees as they were.
fn documented(scratch: &Scratch) -> (PathBuf, Vec<Tree>) {
    let tree = scratch.directory("tree");
    let mut trees = Vec::new();
    for (number, level) in (1..).zip([0, 2, 3, 1, 4]) {
        fs::write(tree.join(format!("file {number}")), format!("of dump {number}")).expect("written");
        if number == 4 {
            fs::remove_file(tree.join("file 2")).expect("removed");
        }
        let _ = numbered(scratch, &tree, number, level);
        trees.push(Tree::read(&tree).expect("tree"));
    }
    (tree, trees)
}

pub(crate) fn tapedump(scratch: &Scratch, arguments: &[&str]) -> Run {
    Run::tapedump(scratch).args(arguments)
}

/// The objects that a run printed.
pub(crate) fn objects(outcome: &Outcome) -> Vec<Value> {
    let lines = outcome.out();
    lines.lines().map(|line| serde_json::from_str(line).expect("one JSON object a line")).collect()
}

fn dumps_are_told() {
    let scratch = Scratch::in_memory("history");
    let (tree, _) = documented(&scratch);
    let other = scratch.directory("other");
    let _ = numbered(&scratch, &other, 9, 0);
    let all = tapedump(&scratch, &["history"]).outcome().done().out();
    let lines: Vec<&str> = all.lines().collect();
    assert_eq!(lines.len(), 7, "{all}");
    for (line, (id, base)) in lines[1..].iter().zip([
        ("01010101", "-"),
        ("02020202", "01010101"),
        ("03030303", "02020202"),
        ("04040404", "01010101"),
        ("05050505", "04040404"),
        ("09090909", "-"),
    ]) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(fields[3..6], [id, base, "good"], "{line}");
    }
    assert!(lines[1].starts_with("2026-09-21 15:13:20Z"), "{all}");
    let of_one = objects(&tapedump(&scratch, &["history", "--json"]).arg(&tree).outcome().done());
    assert_eq!(of_one.len(), 5);
    assert_eq!(of_one[4]["base"], "04040404-0404-0404-0404-040404040404");
    assert_eq!(of_one[4]["level"], 4);
    assert_eq!(of_one[4]["tape"], scratch.join("tape 5").to_str().expect("text"));
    assert!(of_one[0].get("base").is_none());
    // By what it is called, too, when it is there no more.
    let label = all.lines().last().and_then(|line| line.split("  ").last()).expect("a tree").to_owned();
    fs::remove_dir(&other).expect("removed");
    assert_eq!(objects(&tapedump(&scratch, &["history", "--json", &label]).outcome().done()).len(), 1);
    let refused = tapedump(&scratch, &["history"]).arg(&other).outcome().expect(code::FAILED);
    let _ = refused.says("no dump of this tree").says(&label);
}

fn an_empty_history() {
    let scratch = Scratch::in_memory("history-empty");
    for command in ["history", "chain"] {
        let empty = tapedump(&scratch, &[command]).outcome().done();
        assert!(empty.out().contains("no dumps"), "{empty}");
        assert_eq!(tapedump(&scratch, &[command, "--json"]).outcome().done().out(), "");
    }
    assert!(!scratch.join("state").exists(), "looking makes nothing");
}

fn damage_of_the_history() {
    let scratch = Scratch::in_memory("history-damaged");
    let _ = documented(&scratch);
    let path = scratch.join("state/history");
    let mut bytes = fs::read(&path).expect("history");
    // The page of the third dump, behind the two of the superblock.
    bytes[4 * 1024 + 100] ^= 1;
    fs::write(&path, bytes).expect("written");
    let told = tapedump(&scratch, &["history"]).outcome().expect(code::INCOMPLETE).says("page 4");
    assert_eq!(told.out().lines().count(), 5, "{told}");
    assert!(!told.out().contains("03030303"), "{told}");
    let drawn = tapedump(&scratch, &["chain"]).outcome().expect(code::INCOMPLETE);
    assert!(drawn.out().contains("05050505"), "{drawn}");
}

fn chains_are_drawn() {
    let scratch = Scratch::in_memory("chain");
    let (tree, _) = documented(&scratch);
    let plain = tapedump(&scratch, &["chain"]).outcome().done().out();
    assert!(plain.is_ascii(), "{plain}");
    let unicode = tapedump(&scratch, &["chain"]).arg(&tree).env("LC_ALL", "C.UTF-8").outcome().done().out();
    let branches: Vec<&str> = unicode.lines().filter_map(|line| line.split("  2026").next()).collect();
    let trimmed: Vec<&str> = branches.iter().map(|line| line.trim_end()).collect();
    assert_eq!(
        trimmed[1..6],
        [
            "└── ● level 0",
            "    ├── ○ level 2",
            "    │   └── ○ level 3",
            "    └── ● level 1",
            "        └── ● level 4"
        ],
        "{unicode}"
    );
    let forest = objects(&tapedump(&scratch, &["chain", "--json"]).outcome().done());
    let newest: Vec<&str> = forest[0]["newest_chain"]
        .as_array()
        .expect("ids")
        .iter()
        .filter_map(|id| id.as_str()?.get(..2))
        .collect();
    assert_eq!(newest, ["01", "04", "05"]);
    let svg = scratch.join("chain.svg");
    let _ = tapedump(&scratch, &["chain", "--svg"]).arg(&svg).outcome().done();
    let text = fs::read_to_string(&svg).expect("drawn");
    assert!(text.starts_with("<?xml") && text.ends_with("</svg>\n"));
    assert_eq!(text.matches("class=\"edge needed\"").count(), 2);
    let nowhere = tapedump(&scratch, &["chain", "--svg"]).arg(scratch.join("no/where")).outcome();
    let _ = nowhere.expect(code::FAILED).says("no/where");
    // A base whose tape is written over is missing.
    let other = scratch.directory("other");
    let _ = dump(&scratch, &other, scratch.join("tape 1")).arg("--overwrite").outcome().done();
    let drawn = tapedump(&scratch, &["chain"]).arg(&tree).outcome().done();
    assert!(drawn.out().contains("? base") && drawn.out().contains("cannot be restored"), "{drawn}");
}

fn a_point_in_time() {
    let scratch = Scratch::in_memory("point");
    let (tree, trees) = documented(&scratch);
    let other = scratch.directory("other");
    let _ = numbered(&scratch, &other, 20, 0);
    let time = |number: u64| format!("@{}", BEGIN + STEP * number);
    let points = [
        ("01010101-0101", 0),
        ("0202", 1),
        (&*time(2), 1),
        (&*format!("@{}", BEGIN + STEP * 4 - 1), 2),
        ("2026-09-21 18:13", 3),
        ("2026-09-21T18:13:20Z", 3),
        ("2026-09-21T18:13:20.0Z", 3),
        ("2026-09-21T18:13:19Z", 2),
        ("2026-09-21", 4),
        ("2099-01-01", 4),
    ];
    for (index, (point, expected)) in points.iter().enumerate() {
        let out = scratch.join(&format!("out {index}"));
        let run = tapedump(&scratch, &["restore", "--at", point, "--of"]).arg(&tree).arg("--to").arg(&out);
        let _ = run.outcome().done();
        Compare::EXACT.assert_equal(&trees[*expected], &Tree::read(&out).expect("tree"));
    }
    // A dump tells its tree; a tree alone means its newest dump.
    let out = scratch.join("by dump");
    let _ = tapedump(&scratch, &["restore", "--at", "0303", "file 2", "--to"]).arg(&out).outcome().done();
    assert_eq!(fs::read(out.join("file 2")).expect("restored"), b"of dump 2");
    let out = scratch.join("newest");
    let _ = tapedump(&scratch, &["restore", "--of"]).arg(&tree).arg("--to").arg(&out).outcome().done();
    Compare::EXACT.assert_equal(&trees[4], &Tree::read(&out).expect("tree"));
}

fn points_that_are_none() {
    let scratch = Scratch::in_memory("point-none");
    let (tree, _) = documented(&scratch);
    let other = scratch.directory("other");
    let _ = dump(&scratch, &other, scratch.join("alike"))
        .env("TAPEDUMP_DUMP_ID", format!("0101{}", "ab".repeat(14)))
        .outcome()
        .done();
    let missing = scratch.directory("never dumped");
    let out = scratch.join("out");
    let at = |point: &str| tapedump(&scratch, &["restore", "--at", point, "--to"]).arg(&out);
    for (run, code, words) in [
        (at("yesterday"), code::USAGE, "2026-11-21"),
        (at("2026-02-30"), code::USAGE, "2026-11-21"),
        (at("0f"), code::USAGE, "four"),
        (at("ffff"), code::FAILED, "no dump's identity begins with ffff"),
        (at("0101"), code::FAILED, "several dumps begin with 0101: 01010101, 0101abab"),
        (at("2099-01-01"), code::FAILED, "--of"),
        (at("2001-01-01").arg("--of").arg(&tree), code::FAILED, "no dump is as old as 2001-01-01"),
        (at("2099-01-01").arg("--of").arg(&missing), code::FAILED, "no dump of this tree"),
        (at("0505").arg("--of").arg(&other), code::FAILED, "another tree"),
        (at("0505").arg("--tape").arg("x"), code::USAGE, "--tape"),
        (at("0505").arg("--base").arg("x"), code::USAGE, "--base"),
        (at("0505").arg("--json"), code::USAGE, "--plan"),
    ] {
        let outcome = run.outcome().expect(code);
        assert!(outcome.mentions(words), "{words}: {outcome}");
        assert!(!out.exists());
    }
}

fn a_plan_names_what_is_missing() {
    let scratch = Scratch::in_memory("plan");
    let (tree, _) = documented(&scratch);
    let plan = |arguments: &[&str]| tapedump(&scratch, &["restore", "--plan", "--json"]).args(arguments);
    let ids = |outcome: &Outcome| -> Vec<(String, bool)> {
        let needed = objects(outcome);
        let id = |needed: &Value| {
            (needed["dump"].as_str().unwrap_or_default()[..2].to_owned(), needed["there"] == true)
        };
        needed.iter().map(id).collect()
    };
    let there = |ids: &[&str]| ids.iter().map(|id| ((*id).to_owned(), true)).collect::<Vec<_>>();
    assert_eq!(ids(&plan(&["--at", "2099-01-01"]).outcome().done()), there(&["01", "04", "05"]));
    assert_eq!(ids(&plan(&["--at", "0303"]).outcome().done()), there(&["01", "02", "03"]));
    assert_eq!(ids(&plan(&["--at", "0303", "--only"]).outcome().done()), there(&["03"]));
    let named = plan(&["--tape"]).arg(scratch.join("tape 5")).outcome().done();
    assert_eq!(ids(&named), there(&["01", "04", "05"]));
    let text = tapedump(&scratch, &["restore", "--plan", "--of"]).arg(&tree).outcome().done();
    assert_eq!(text.out().lines().filter(|line| line.ends_with("there")).count(), 3, "{text}");
    // One is gone, and in the place of another there is something else.
    fs::rename(scratch.join("tape 1"), scratch.join("elsewhere")).expect("renamed");
    fs::copy(scratch.join("tape 2"), scratch.join("tape 4")).expect("copied");
    let broken = plan(&["--at", "0505"]).outcome().expect(code::FAILED);
    let expected = [("01", false), ("04", false), ("05", true)].map(|(id, there)| (id.to_owned(), there));
    assert_eq!(ids(&broken), expected);
    let _ = broken.says("2 of 3 dumps not there").says("tape 1").says("another dump is there now");
    let out = scratch.join("out");
    let refused = tapedump(&scratch, &["restore", "--at", "0505", "--to"]).arg(&out).outcome();
    let _ = refused.expect(code::FAILED).says("nothing was restored").says("tape 1").says("tape 4");
    assert!(!out.exists());
}

fn a_plan_without_a_history() {
    let scratch = Scratch::in_memory("plan-away");
    let _ = documented(&scratch);
    let away = scratch.directory("another state");
    let plan = |bases: &[&str]| {
        let mut run = tapedump(&scratch, &["restore", "--plan", "--tape"]).arg(scratch.join("tape 5"));
        for base in bases {
            run = run.arg("--base").arg(scratch.join(base));
        }
        run.env("TAPEDUMP_STATE", &away)
    };
    let _ = plan(&["tape 4", "tape 1"]).outcome().done().says("all is there: 3 dumps");
    let _ = plan(&[]).outcome().expect(code::FAILED).says("--base");
    let _ = plan(&["tape 4"]).outcome().expect(code::FAILED).says("1 of 3 dumps not there");
    let _ = plan(&["tape 2", "tape 1"]).outcome().expect(code::FAILED).says("the chain needs the dump of");
    let _ = restore(&scratch, scratch.join("tape 4"), &scratch.join("out")).arg("--plan").outcome().done();
    assert!(!scratch.join("out").exists());
}
