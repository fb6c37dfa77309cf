//! Directories of virtual tapes that somebody else has prepared: nothing outside of them changes, nothing waits for
//! ever, and nothing is restored in place of what is missing.

use std::fs;
use std::os::unix::fs::{FileTypeExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use tapedump_tests::cli::{Outcome, Run, code};
use tapedump_tests::product::dump;
use tapedump_tests::scratch::Scratch;

use crate::Case;
use crate::hostile::Findings;

pub(crate) const CASES: &[Case] = &[
    Case { name: "links_in_place_of_a_new_label", needs: &[], run: links_in_place_of_a_new_label },
    Case { name: "other_files_under_the_tapes_names", needs: &[], run: other_files_under_the_tapes_names },
    Case { name: "pipes_under_the_tapes_names", needs: &[], run: pipes_under_the_tapes_names },
    Case { name: "terabytes_that_nobody_wrote", needs: &[], run: terabytes_that_nobody_wrote },
    Case { name: "labels_that_quote_escapes", needs: &[], run: labels_that_quote_escapes },
];

/// A virtual tape with one dump, and a file elsewhere that must not change.
struct Planted {
    scratch: Scratch,
    tape: PathBuf,
    victim: PathBuf,
}

impl Planted {
    fn new(name: &str) -> Self {
        let scratch = Scratch::in_memory(name);
        let source = scratch.directory("source");
        fs::write(source.join("file"), b"first").expect("source");
        let (tape, victim) = (scratch.join("tape"), scratch.join("victim"));
        fs::write(&victim, b"precious").expect("victim");
        let planted = Self { scratch, tape, victim };
        let _ = planted.run(&["tape", "create"], &[]).done();
        let _ = dump(&planted.scratch, &source, &planted.tape).outcome().done();
        planted
    }

    /// Runs a command with the tape behind `before`.
    fn run(&self, before: &[&str], after: &[&str]) -> Outcome {
        let run = Run::checked_tapedump(&self.scratch).args(before).arg(&self.tape).args(after);
        // Half a GiB of zeros, where maps may be, is read three times at most.
        run.timeout(Duration::from_secs(60)).outcome()
    }

    /// Every command that reads or writes a tape.
    fn every_command(&self) -> Vec<Outcome> {
        let path = |name: &str| self.scratch.join(name).to_str().expect("UTF-8").to_owned();
        vec![
            self.run(&["tape", "info"], &[]),
            self.run(&["list", "--tape"], &[]),
            self.run(&["verify", "--tape"], &[]),
            self.run(&["restore", "--to", &path("target"), "--tape"], &[]),
            self.run(&["dump", "--live", &path("source"), "--append", "--tape"], &[]),
            self.run(&["tape", "label"], &["other name"]),
            self.run(&["dump", "--live", &path("source"), "--overwrite", "--tape"], &[]),
            self.run(&["tape", "erase"], &[]),
        ]
    }

    fn check_victim(&self, findings: &mut Findings, what: &str, outcome: &Outcome) {
        let content = fs::read(&self.victim).unwrap_or_default();
        findings.check(content == b"precious", &format!("{what}: a file elsewhere has changed"), outcome);
    }

    fn plant(&self, name: &str, plant: fn(&Path, &Path)) {
        let path = self.tape.join(name);
        if path.symlink_metadata().is_ok() {
            fs::remove_file(&path).expect("own file");
        }
        plant(&self.victim, &path);
    }
}

fn link(to: &Path, name: &Path) {
    symlink(to, name).expect("link");
}

fn second_name(of: &Path, name: &Path) {
    fs::hard_link(of, name).expect("link");
}

fn pipe(_: &Path, name: &Path) {
    mknodat(CWD, name, FileType::Fifo, Mode::RWXU, 0).expect("pipe");
}

fn links_in_place_of_a_new_label() {
    let mut findings = Findings::default();
    for plant in [link, second_name] {
        for index in 0..3 {
            let planted = Planted::new("new-label");
            planted.plant("label.json.new", plant);
            let source = planted.scratch.join("source");
            let outcome = match index {
                0 => planted.run(&["tape", "label"], &["other name"]),
                1 => planted.run(&["tape", "erase"], &[]),
                _ => dump(&planted.scratch, &source, &planted.tape).arg("--append").outcome(),
            };
            planted.check_victim(&mut findings, "label.json.new", &outcome);
            let label = planted.tape.join("label.json").symlink_metadata().expect("label");
            findings.check(label.is_file(), "the label is not a plain file any more", &outcome);
            findings.check(
                outcome.ended_with(code::DONE),
                "a planted link keeps the tape from use",
                &outcome,
            );
        }
    }
    findings.finish();
}

fn other_files_under_the_tapes_names() {
    let mut findings = Findings::default();
    for plant in [link, second_name] {
        for name in ["label.json", "label.json.new", "lock", "file-0000.tape", "file-0001.tape"] {
            let planted = Planted::new("other-file");
            planted.plant(name, plant);
            for outcome in planted.every_command() {
                findings.check(outcome.is_orderly().is_ok(), name, &outcome);
                planted.check_victim(&mut findings, name, &outcome);
            }
        }
    }
    findings.finish();
}

fn pipes_under_the_tapes_names() {
    let mut findings = Findings::default();
    for name in ["label.json", "lock", "file-0000.tape"] {
        let planted = Planted::new("pipe");
        planted.plant(name, pipe);
        for outcome in planted.every_command() {
            findings.check(outcome.is_orderly().is_ok(), &format!("a pipe as {name}"), &outcome);
            // The lock says nothing about the tape; looking at it needs none.
            let needless = name == "lock" && outcome.ended_with(code::DONE);
            findings.check(
                needless || outcome.mentions("not a plain file"),
                &format!("a pipe as {name} is not named"),
                &outcome,
            );
        }
        let kept = planted.tape.join(name).symlink_metadata().expect("pipe");
        assert!(kept.file_type().is_fifo(), "the pipe as {name} is gone");
    }
    // One such tape must not keep the library from being listed.
    let planted = Planted::new("library");
    let _ = Run::checked_tapedump(&planted.scratch).args(["tape", "create", "evil"]).outcome().done();
    let label = planted.scratch.join("state/tapes/evil/label.json");
    fs::remove_file(&label).expect("label");
    pipe(&label, &label);
    for arguments in [&["tape", "list"][..], &["list"]] {
        let run = Run::checked_tapedump(&planted.scratch).args(arguments);
        let outcome = run.timeout(Duration::from_secs(20)).outcome();
        findings.check(
            outcome.is_orderly().is_ok(),
            "a pipe as the label of a tape in the library",
            &outcome,
        );
    }
    findings.finish();
}

/// A label, and the data of tape file 0.
fn label(record_len: u64, len: u64, state: &str) -> String {
    let records = len.div_ceil(record_len);
    format!(
        r#"{{"format":1,"name":"x","capacity":null,"early_warning":0,"write_protected":false,"written_ns":0,
           "files":[{{"record_len":{record_len},"records":{records},"len":{len},"state":"{state}"}}]}}"#
    )
}

fn terabytes_that_nobody_wrote() {
    const LEN: u64 = 10 << 40;
    let mut findings = Findings::default();
    // Most file systems in memory take a sparse file of this length; some on disk do not.
    for (record_len, state) in [(1, "open"), (1024, "open"), (65_536, "closed")] {
        let planted = Planted::new("sparse");
        let data = planted.tape.join("file-0000.tape");
        let whole = fs::metadata(&data).expect("tape file").len();
        // The dump's first records, and its last ones at the far end.
        let file = fs::File::options().write(true).open(&data).expect("tape file");
        file.set_len(whole / 2).and_then(|()| file.set_len(LEN)).expect("sparse file");
        let written = if state == "open" { whole } else { LEN };
        fs::write(planted.tape.join("label.json"), label(record_len, written, state)).expect("label");
        for command in ["list", "verify"] {
            let outcome = planted.run(&[command, "--tape"], &[]);
            findings.check(outcome.is_orderly().is_ok(), "10 TiB of nothing", &outcome);
            findings.check(!outcome.ended_with(code::DONE), "10 TiB of nothing are accepted", &outcome);
        }
        let run = Run::checked_tapedump(&planted.scratch).arg("verify").arg("--tape").arg(&data);
        let outcome = run.timeout(Duration::from_secs(20)).outcome();
        findings.check(outcome.is_orderly().is_ok(), "a plain file of 10 TiB of nothing", &outcome);
    }
    findings.finish();
}

/// What the parser of the label quotes must not reach the terminal as it is.
fn labels_that_quote_escapes() {
    let planted = Planted::new("quote");
    let text = label(1024, 1024, "\\u001b[2K\\u009b");
    fs::write(planted.tape.join("label.json"), text).expect("label");
    let outcome = planted.run(&["tape", "info"], &[]).expect(code::FAILED).says("damaged");
    assert!(!outcome.stderr.contains(&0x1b) && !outcome.err().contains('\u{9b}'), "{outcome}");
}
