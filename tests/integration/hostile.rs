//! Tapes that somebody made to do harm. Nothing outside the destination is touched, memory stays bounded, the
//! culprit is named, and the exit code is not 0.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use tapedump_tests::cli::{Outcome, Run, code};
use tapedump_tests::forge::{Forge, Header, SYMLINK, directory_data};
use tapedump_tests::random::Random;
use tapedump_tests::scratch::Scratch;
use tapedump_tests::tape::Order;
use tapedump_tests::tree::{Compare, Tree, printable};

use crate::Case;

pub(crate) const CASES: &[Case] = &[
    Case { name: "names_that_leave_the_destination", needs: &[], run: names_that_leave_the_destination },
    Case { name: "names_that_are_none", needs: &[], run: names_that_are_none },
    Case { name: "links_that_lead_out", needs: &[], run: links_that_lead_out },
    Case { name: "directories_in_circles", needs: &[], run: directories_in_circles },
    Case { name: "directory_entries_out_of_shape", needs: &[], run: directory_entries_out_of_shape },
];

/// The inode maps and buffers of a run are allowed; anything that a number on the tape asks for is not.
const PEAK_RSS_MAX_KIB: u64 = 96 * 1024;

/// What a test has found, so that one finding does not hide the next.
#[derive(Default)]
pub(crate) struct Findings(Vec<String>);

impl Findings {
    pub(crate) fn check(&mut self, holds: bool, what: &str, outcome: &Outcome) {
        if !holds {
            self.0.push(format!("{what}\n{outcome}"));
        }
    }

    /// Demands an exit code other than 0.
    pub(crate) fn refused(&mut self, what: &str, outcome: &Outcome) {
        self.check(!outcome.ended_with(code::DONE), &format!("{what}: accepted"), outcome);
    }

    /// The same, and a message with these words.
    pub(crate) fn refused_by_name(&mut self, what: &str, words: &str, outcome: &Outcome) {
        self.refused(what, outcome);
        self.check(outcome.mentions(words), &format!("{what}: no message with '{words}'"), outcome);
    }

    /// Demands the content of a file in the destination.
    pub(crate) fn restored(
        &mut self,
        what: &str,
        arena: &Arena,
        name: &str,
        content: &[u8],
        outcome: &Outcome,
    ) {
        let found = fs::read(arena.target().join(name)).unwrap_or_default();
        self.check(found == content, &format!("{what}: '{name}' is not restored"), outcome);
    }

    pub(crate) fn finish(self) {
        let shown: Vec<&str> = self.0.iter().take(12).map(String::as_str).collect();
        assert!(self.0.is_empty(), "{} findings:\n{}", self.0.len(), shown.join("\n"));
    }
}

/// A destination with neighbors that must not change.
pub(crate) struct Arena {
    scratch: Scratch,
    before: Tree,
}

impl Arena {
    pub(crate) fn new(name: &str) -> Self {
        let scratch = Scratch::in_memory(name);
        let outside = scratch.directory("outside");
        fs::create_dir(outside.join("directory")).expect("neighbor");
        fs::write(outside.join("directory/file"), b"precious").expect("neighbor");
        fs::write(outside.join("file"), b"precious").expect("neighbor");
        fs::create_dir(outside.join("target")).expect("destination");
        let before = Self::neighbors(&outside);
        Self { scratch, before }
    }

    /// All beside the destination.
    fn neighbors(outside: &Path) -> Tree {
        let mut tree = Tree::read(outside).expect("tree");
        tree.entries.retain(|path, _| !path.starts_with(b"target"));
        tree
    }

    fn outside(&self) -> std::path::PathBuf {
        self.scratch.join("outside")
    }

    pub(crate) fn target(&self) -> std::path::PathBuf {
        self.scratch.join("outside/target")
    }

    /// Lists, verifies and restores a tape, and checks what must hold of any tape; gives the restore's outcome.
    pub(crate) fn run(&self, tape: &[u8]) -> Outcome {
        let path = self.scratch.join("tape");
        fs::write(&path, tape).expect("tape");
        for command in ["list", "verify"] {
            let run = Run::checked_tapedump(&self.scratch).arg(command).arg("--tape").arg(&path);
            self.check(&run.timeout(Duration::from_secs(30)).outcome());
        }
        let run = Run::checked_tapedump(&self.scratch).arg("restore").arg("--to").arg(self.target());
        let outcome = run.arg("--tape").arg(&path).timeout(Duration::from_secs(30)).outcome();
        self.check(&outcome);
        Compare::EXACT.without_root().assert_equal(&self.before, &Self::neighbors(&self.outside()));
        outcome
    }

    fn check(&self, outcome: &Outcome) {
        outcome.is_orderly().unwrap_or_else(|why| panic!("{why}"));
        assert!(outcome.peak_rss_kib <= PEAK_RSS_MAX_KIB, "too much memory:\n{outcome}");
    }
}

/// The three dialects a reader treats differently.
pub(crate) fn forges() -> [Forge; 3] {
    [Forge::ours(), Forge::foreign(Order::Big), Forge::foreign(Order::Little)]
}

/// A tape whose root holds a good file and one more entry.
fn with_entry(mut forge: Forge, name: &[u8]) -> Vec<u8> {
    forge
        .tape()
        .maps(&[2, 3, 4])
        .directory(2, &[(2, b"."), (2, b".."), (3, b"good file"), (4, name)])
        .file(3, b"good")
        .file(4, b"evil")
        .end()
}

fn names_that_leave_the_destination() {
    let mut findings = Findings::default();
    let absolute = |arena: &Arena| arena.outside().join("planted").as_os_str().as_bytes().to_vec();
    let names: [fn(&Arena) -> Vec<u8>; 9] = [
        |_| b"../planted".to_vec(),
        |_| b"../../planted".to_vec(),
        |_| b"../file".to_vec(),
        |_| b"/planted".to_vec(),
        |_| b"sub/../../planted".to_vec(),
        |_| b"with/slash".to_vec(),
        |_| b"/".to_vec(),
        |_| b"./x".to_vec(),
        |_| b"trailing/".to_vec(),
    ];
    let arena = Arena::new("leave");
    let mut all: Vec<Vec<u8>> = names.iter().map(|name| name(&arena)).collect();
    all.push(absolute(&arena));
    for name in all {
        for forge in forges() {
            let arena = Arena::new("leave");
            let outcome = arena.run(&with_entry(forge, &name));
            findings.refused_by_name("name", &printable(&name), &outcome);
            findings.restored("name", &arena, "good file", b"good", &outcome);
            assert!(!Path::new("/planted").exists());
        }
    }
    findings.finish();
}

fn names_that_are_none() {
    let mut findings = Findings::default();
    for name in [&b""[..], b".", b"..", b"a\0b", b"\0", b"..\0x"] {
        for forge in forges() {
            let arena = Arena::new("none");
            let outcome = arena.run(&with_entry(forge, name));
            findings.refused_by_name(&printable(name), "name", &outcome);
            findings.restored(&printable(name), &arena, "good file", b"good", &outcome);
        }
    }
    findings.finish();
}

fn links_that_lead_out() {
    let mut findings = Findings::default();
    for forge in forges() {
        let arena = Arena::new("link-then-directory");
        let outside = arena.outside();
        let target = outside.join("directory").as_os_str().as_bytes().to_vec();

        // One name twice: a link out of the destination, and a directory with a file to be written through it.
        let twice = forge
            .clone()
            .tape()
            .maps(&[2, 3, 4, 5])
            .directory(2, &[(2, b"."), (2, b".."), (3, b"way out"), (4, b"way out")])
            .directory(3, &[(3, b"."), (2, b".."), (5, b"file")])
            .symlink(4, &target)
            .file(5, b"evil")
            .end();
        let outcome = arena.run(&twice);
        findings.refused_by_name("one name twice", "way out", &outcome);

        // A link first, and entries that claim to lie beneath it.
        let arena = Arena::new("link-as-directory");
        let target = arena.outside().join("directory").as_os_str().as_bytes().to_vec();
        let beneath = forge
            .clone()
            .tape()
            .maps(&[2, 3, 4])
            .directory(2, &[(2, b"."), (2, b".."), (3, b"link"), (4, b"link/file")])
            .symlink(3, &target)
            .file(4, b"evil")
            .end();
        findings.refused_by_name("beneath a link", "link/file", &arena.run(&beneath));

        // A hard link to a link, then data for the number under both.
        let arena = Arena::new("link-and-file");
        let target = arena.outside().join("file").as_os_str().as_bytes().to_vec();
        let mixed = forge
            .clone()
            .tape()
            .maps(&[2, 3])
            .directory(2, &[(2, b"."), (2, b".."), (3, b"one"), (3, b"two")])
            .symlink(3, &target)
            .file(3, b"evil")
            .end();
        arena.run(&mixed);

        // A link that a former restore has left in the destination.
        let arena = Arena::new("link-left");
        std::os::unix::fs::symlink(arena.outside().join("directory"), arena.target().join("sub"))
            .expect("link");
        let through = forge
            .clone()
            .tape()
            .maps(&[2, 3, 4])
            .directory(2, &[(2, b"."), (2, b".."), (3, b"sub")])
            .directory(3, &[(3, b"."), (2, b".."), (4, b"file")])
            .file(4, b"evil")
            .end();
        arena.run(&through);

        // Targets out of shape: with NUL, empty, longer than any system takes, a hole.
        for (name, header, data) in [
            ("with NUL", Header::inode(3, SYMLINK, 3), b"a\0b".to_vec()),
            ("empty", Header::inode(3, SYMLINK, 0), Vec::new()),
            ("too long", Header::inode(3, SYMLINK, 5000), vec![b'x'; 5000]),
        ] {
            let arena = Arena::new("link-target");
            let tape = forge
                .clone()
                .tape()
                .maps(&[2, 3])
                .directory(2, &[(2, b"."), (2, b".."), (3, b"the link")])
                .object(&header, &data)
                .end();
            let outcome = arena.run(&tape);
            findings.refused_by_name(&format!("target {name}"), "the link", &outcome);
        }
    }
    findings.finish();
}

fn directories_in_circles() {
    let mut findings = Findings::default();
    for forge in forges() {
        let arena = Arena::new("circle");
        let circle = forge
            .clone()
            .tape()
            .maps(&[2, 3, 4])
            .directory(2, &[(2, b"."), (2, b".."), (3, b"a")])
            .directory(3, &[(3, b"."), (2, b".."), (4, b"b")])
            .directory(4, &[(4, b"."), (3, b".."), (3, b"back to a")])
            .end();
        findings.refused_by_name("circle", "back to a", &arena.run(&circle));

        let arena = Arena::new("itself");
        let itself = forge
            .clone()
            .tape()
            .maps(&[2, 3])
            .directory(2, &[(2, b"."), (2, b".."), (3, b"a")])
            .directory(3, &[(3, b"."), (2, b".."), (3, b"itself")])
            .end();
        findings.refused_by_name("in itself", "itself", &arena.run(&itself));

        let arena = Arena::new("to-root");
        let to_root = forge
            .clone()
            .tape()
            .maps(&[2, 3])
            .directory(2, &[(2, b"."), (2, b".."), (3, b"a"), (2, b"root again")])
            .directory(3, &[(3, b"."), (2, b".."), (2, b"up to the root")])
            .end();
        let outcome = arena.run(&to_root);
        findings.refused("the root again", &outcome);
        let named = outcome.mentions("root again") && outcome.mentions("up to the root");
        findings.check(named, "the root again: not named", &outcome);

        let arena = Arena::new("two-names");
        let two_names = forge
            .clone()
            .tape()
            .maps(&[2, 3, 4])
            .directory(2, &[(2, b"."), (2, b".."), (3, b"first name"), (3, b"second name")])
            .directory(3, &[(3, b"."), (2, b".."), (4, b"file")])
            .file(4, b"content")
            .end();
        let outcome = arena.run(&two_names);
        findings.refused("two names", &outcome);
        let named = outcome.mentions("first name") || outcome.mentions("second name");
        findings.check(named, "two names: not named", &outcome);

        // Thousands of directories, each with all the others in it: work must not multiply.
        let arena = Arena::new("mesh");
        let numbers: Vec<u32> = (2..60).collect();
        let mut mesh = forge.clone();
        mesh.tape().maps(&numbers);
        let names: Vec<String> = numbers.iter().map(|number| format!("to {number}")).collect();
        for &number in &numbers {
            let mut entries: Vec<(u32, &[u8])> = vec![(number, b"."), (2, b"..")];
            entries.extend(numbers.iter().zip(&names).map(|(&number, name)| (number, name.as_bytes())));
            mesh.directory(number, &entries);
        }
        let outcome = arena.run(&mesh.end());
        findings.refused("mesh", &outcome);
        findings.check(outcome.elapsed < Duration::from_secs(5), "mesh: slow", &outcome);
    }
    findings.finish();
}

fn directory_entries_out_of_shape() {
    let mut findings = Findings::default();
    for (order, forge) in [(Order::Big, Forge::ours()), (Order::Little, Forge::foreign(Order::Little))] {
        let good = directory_data(order, &[(2, b"."), (2, b".."), (3, b"good file"), (4, b"other")]);
        let third = 12 + 12;
        let mut shapes: Vec<(String, Vec<u8>)> = Vec::new();
        for len in [0_u16, 1, 2, 3, 7, 8, 9, 11, 13, 500, 511, 1024, 4096, 0xfffc, 0xffff] {
            let mut data = good.clone();
            order.put_u16(&mut data, third + 4, len);
            shapes.push((format!("entry length {len}"), data));
        }
        for name_len in [0_u8, 200, 255] {
            let mut data = good.clone();
            data[third + 7] = name_len;
            shapes.push((format!("name length {name_len}"), data));
        }
        for number in [0_u32, 1, 5, 65_536, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff] {
            let mut data = good.clone();
            order.put_u32(&mut data, third, number);
            shapes.push((format!("number {number}"), data));
        }
        shapes.push(("all ones".into(), vec![0xff; 512]));
        shapes.push(("noise".into(), Random::new(9).bytes(4096)));
        shapes.push(("odd length".into(), good[..good.len() - 3].to_vec()));
        for (name, data) in shapes {
            let arena = Arena::new("shape");
            let tape = forge
                .clone()
                .tape()
                .maps(&[2, 3, 4])
                .directory_data(2, &data)
                .file(3, b"good")
                .file(4, b"o")
                .end();
            let outcome = arena.run(&tape);
            // A free entry drops its name only; all else leaves something to be reported.
            findings.refused(&name, &outcome);
        }
    }
    findings.finish();
}
