//! Listing, verifying and the care of virtual tapes.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;
use tapedump_tests::cli::{Outcome, Run, code};
use tapedump_tests::fixtures::Section;
use tapedump_tests::product::{dump, list, restore, verify};
use tapedump_tests::scratch::{Scratch, path_text};
use tapedump_tests::tree::{Compare, Tree};

use crate::Case;
use crate::round_trip::{ORDINARY, make_tree};

pub(crate) const CASES: &[Case] = &[
    Case { name: "list_shows_every_name", needs: &[], run: list_shows_every_name },
    Case { name: "list_as_json", needs: &[], run: list_as_json },
    Case { name: "list_of_chosen_paths", needs: &[], run: list_of_chosen_paths },
    Case { name: "list_is_safe_to_print", needs: &[], run: list_is_safe_to_print },
    Case { name: "verify_against_the_tree", needs: &[], run: verify_against_the_tree },
    Case { name: "tape_create_info_label_erase", needs: &[], run: tape_create_info_label_erase },
    Case { name: "default_tape_library", needs: &[], run: default_tape_library },
    Case { name: "several_dumps_on_one_tape", needs: &[], run: several_dumps_on_one_tape },
    Case { name: "completions_and_manual", needs: &[], run: completions_and_manual },
    Case { name: "help_and_version", needs: &[], run: help_and_version },
];

/// The values of JSON output: one document, or one per line.
fn json(outcome: &Outcome) -> Vec<Value> {
    let text = outcome.out();
    match serde_json::from_str(&text) {
        Ok(Value::Array(values)) => values,
        Ok(value) => vec![value],
        Err(_) => text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
            .collect(),
    }
}

/// All strings anywhere in JSON values.
fn strings(values: &[Value]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open: Vec<&Value> = values.iter().collect();
    while let Some(value) = open.pop() {
        match value {
            Value::String(text) => drop(found.insert(text.clone())),
            Value::Array(inner) => open.extend(inner),
            Value::Object(fields) => open.extend(fields.values()),
            _ => {}
        }
    }
    found
}

fn plain_names(tree: &Tree) -> Vec<&str> {
    let is_plain = |path: &&str| path.bytes().all(|byte| (b'!'..=b'~').contains(&byte) && byte != b'\\');
    tree.entries.keys().filter_map(|path| std::str::from_utf8(path).ok()).filter(is_plain).collect()
}

fn list_shows_every_name() {
    let scratch = Scratch::new("list");
    let (source, tree) = make_tree(&scratch, ORDINARY);
    let _ = dump(&scratch, &source, scratch.join("tape")).outcome().done();
    for options in [&[][..], &["--long"]] {
        let listing = list(&scratch, scratch.join("tape")).args(options).outcome().done();
        let out = listing.out();
        for name in plain_names(&tree) {
            assert!(out.contains(name), "{name} is not listed\n{listing}");
        }
    }
    let long = list(&scratch, scratch.join("tape")).arg("--long").outcome().done().out();
    let line = long.lines().find(|line| line.contains("sizes/524289")).expect("the file's line");
    assert!(line.contains("524289"), "{line}");
    assert!(
        long.lines().any(|line| line.contains("types/link") && line.contains("regular")),
        "targets of links"
    );
}

fn list_as_json() {
    let scratch = Scratch::new("json");
    let (source, tree) = make_tree(&scratch, ORDINARY);
    let _ = dump(&scratch, &source, scratch.join("tape")).outcome().done();
    let values = json(&list(&scratch, scratch.join("tape")).arg("--json").outcome().done());
    let strings = strings(&values);
    for name in plain_names(&tree) {
        let there = strings.iter().any(|text| text.trim_start_matches("./").trim_start_matches('/') == name);
        assert!(there || name.is_empty(), "{name} is not listed");
    }
    let verified = json(&verify(&scratch, scratch.join("tape")).arg("--json").outcome().done());
    assert!(!verified.is_empty());
}

fn list_of_chosen_paths() {
    let scratch = Scratch::new("list-chosen");
    let (source, _) = make_tree(&scratch, ORDINARY);
    let _ = dump(&scratch, &source, scratch.join("tape")).outcome().done();
    let listing = list(&scratch, scratch.join("tape")).arg("types").outcome().done();
    assert!(listing.out().contains("types/regular") && !listing.out().contains("sizes"), "{listing}");
    let missing = list(&scratch, scratch.join("tape")).arg("no such name").outcome();
    assert!(
        missing.is_orderly().expect("orderly") != code::DONE && missing.mentions("no such name"),
        "{missing}"
    );
}

/// A name cannot write over the terminal or pose as another line.
fn list_is_safe_to_print() {
    let scratch = Scratch::new("list-safe");
    let (source, tree) = make_tree(&scratch, &[Section::Names]);
    let _ = dump(&scratch, &source, scratch.join("tape")).outcome().done();
    let listing = list(&scratch, scratch.join("tape")).outcome().done();
    let control = |byte: &u8| (*byte < b' ' && *byte != b'\n') || *byte == 0x7f;
    assert!(!listing.stdout.iter().any(control), "{listing}");
    let lines = listing.out().lines().filter(|line| !line.trim().is_empty()).count();
    assert!(lines.abs_diff(tree.entries.len()) <= 3, "{lines} lines for {} names", tree.entries.len());
}

fn verify_against_the_tree() {
    let scratch = Scratch::new("against");
    let (source, _) = make_tree(&scratch, &[Section::Types, Section::Sizes]);
    let tape = scratch.join("tape");
    let _ = dump(&scratch, &source, &tape).outcome().done();
    let against = || verify(&scratch, &tape).arg("--against").arg(&source).outcome();
    let _ = against().done();
    // Another byte, the same length and times.
    let times = fs::metadata(source.join("sizes/1025")).expect("meta").modified().expect("time");
    let mut content = fs::read(source.join("sizes/1025")).expect("file");
    content[1024] ^= 1;
    fs::write(source.join("sizes/1025"), content).expect("change");
    fs::File::options()
        .write(true)
        .open(source.join("sizes/1025"))
        .and_then(|file| file.set_modified(times))
        .expect("times");
    let changed = against().expect(code::INCOMPLETE);
    assert!(changed.mentions("sizes/1025") || changed.out().contains("sizes/1025"), "{changed}");
    fs::remove_file(source.join("types/fifo")).expect("change");
    let missing = against().expect(code::INCOMPLETE);
    assert!(missing.mentions("types/fifo") || missing.out().contains("types/fifo"), "{missing}");
}

fn tape_create_info_label_erase() {
    let scratch = Scratch::new("tape");
    let (source, tree) = make_tree(&scratch, &[Section::Types]);
    let tape = scratch.join("virtual");
    let command = |name: &str| Run::tapedump(&scratch).args(["tape", name]).arg(&tape);
    let _ = command("create").args(["--capacity", "20M"]).outcome().done();
    let again = command("create").args(["--capacity", "20M"]).outcome();
    assert!(matches!(again.is_orderly(), Ok(code::USAGE | code::FAILED)), "{again}");
    assert!(again.mentions(path_text(&tape)), "{again}");
    let _ = dump(&scratch, &source, &tape).args(["--label", "my label"]).outcome().done();
    let info = command("info").outcome().done();
    assert!(info.out().contains("20") && !info.out().is_empty(), "{info}");
    assert_eq!(json(&command("info").arg("--json").outcome().done()).len(), 1);
    let _ = command("label").arg("--protect").outcome().done();
    let refused = dump(&scratch, &source, &tape).arg("--overwrite").outcome().expect(code::FAILED);
    assert!(refused.mentions("protect"), "{refused}");
    let _ = restore(&scratch, &tape, &scratch.directory("target")).outcome().done();
    Compare::EXACT.assert_equal(&tree, &Tree::read(&scratch.join("target")).expect("tree"));
    let _ = command("label").arg("--writable").outcome().done();
    let _ = command("erase").outcome().done();
    let empty = restore(&scratch, &tape, &scratch.directory("nothing")).outcome().expect(code::FAILED);
    assert!(empty.mentions("blank") || empty.mentions("empty"), "{empty}");
    let _ = dump(&scratch, &source, &tape).outcome().done();
}

/// With no `--tape`: a virtual tape in the state directory.
fn default_tape_library() {
    let scratch = Scratch::new("default");
    let (source, tree) = make_tree(&scratch, &[Section::Types]);
    let _ = Run::tapedump(&scratch).args(["dump", "--live"]).arg(&source).outcome().done();
    let listing = Run::tapedump(&scratch).args(["tape", "list"]).outcome().done();
    assert!(!listing.out().trim().is_empty(), "{listing}");
    let target = scratch.directory("target");
    let _ = Run::tapedump(&scratch).arg("restore").arg("--to").arg(&target).outcome().done();
    Compare::EXACT.assert_equal(&tree, &Tree::read(&target).expect("tree"));
    assert!(scratch.join("state").is_dir(), "the library is in the state directory");
}

/// Each dump is a tape file of its own, and each can be read.
fn several_dumps_on_one_tape() {
    let scratch = Scratch::new("appended");
    let (source, first) = make_tree(&scratch, &[Section::Types]);
    let tape = scratch.join("virtual");
    let _ = Run::tapedump(&scratch).args(["tape", "create"]).arg(&tape).outcome().done();
    let _ = dump(&scratch, &source, &tape).outcome().done();
    fs::write(source.join("later"), b"later").expect("tree");
    let second = Tree::read(&source).expect("tree");
    let _ = dump(&scratch, &source, &tape).arg("--append").outcome().done();
    for (file, expected) in [("0", &first), ("2", &second)] {
        let target = scratch.directory(&format!("target {file}"));
        let _ = restore(&scratch, &tape, &target).args(["--file", file]).outcome().done();
        Compare::EXACT.assert_equal(expected, &Tree::read(&target).expect("tree"));
    }
    let missing = restore(&scratch, &tape, &scratch.directory("none")).args(["--file", "4"]).outcome();
    assert!(missing.ended_with(code::FAILED), "{missing}");
}

fn completions_and_manual() {
    let scratch = Scratch::new("manual");
    for shell in ["bash", "zsh", "fish"] {
        let completions = Run::tapedump(&scratch).args(["completions", shell]).outcome().done().out();
        assert!(completions.contains("tapedump") && completions.contains("blocking-factor"), "{shell}");
    }
    let page = Run::tapedump(&scratch).arg("man").outcome().done().out();
    assert!(page.contains(".TH tapedump"), "{page}");
    let pages = scratch.directory("pages");
    let _ = Run::tapedump(&scratch).arg("man").arg(&pages).outcome().done();
    assert!(fs::read_dir(&pages).expect("pages").count() > 4);
}

fn help_and_version() {
    let scratch = Scratch::new("help");
    let help = Run::tapedump(&scratch).arg("--help").outcome().done().out();
    for command in ["dump", "restore", "list", "verify", "tape", "snapshot"] {
        assert!(help.contains(command), "{help}");
        let of_command = Run::tapedump(&scratch).args([command, "--help"]).outcome().done().out();
        assert!(of_command.lines().count() > 5, "{of_command}");
    }
    let version = Run::tapedump(&scratch).arg("--version").outcome().done().out();
    assert!(version.contains(env!("CARGO_PKG_VERSION")), "{version}");
}
