//! Damage to the tapes of a chain of three dumps: names and maps come from their copy in the catalog, and whatever is not as
//! it was is told.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use tapedump_tests::cli::{Outcome, Run, code};
use tapedump_tests::fixtures;
use tapedump_tests::product::{dump, list, restore, verify};
use tapedump_tests::random::{Random, seed};
use tapedump_tests::scratch::{Scratch, remove_tree};
use tapedump_tests::tape::{BLOCK, RecordKind, Tape};
use tapedump_tests::tree::{Compare, Kind, Tree};

use crate::Case;

pub(crate) const CASES: &[Case] = &[
    Case { name: "names_from_the_catalog_on_tape", needs: &[], run: names_from_the_catalog_on_tape },
    Case { name: "names_from_the_state", needs: &[], run: names_from_the_state },
    Case { name: "a_large_directory", needs: &[], run: a_large_directory },
    Case { name: "each_copy_has_a_part", needs: &[], run: each_copy_has_a_part },
    Case { name: "without_a_copy", needs: &[], run: without_a_copy },
    Case { name: "a_single_file", needs: &[], run: a_single_file },
    Case { name: "random_damages", needs: &[], run: random_damages },
];

/// What is said where names were taken from the catalog.
const COPIED: &str = "was taken from the catalog";

/// What dumps are on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum On {
    /// Virtual tapes, with the catalogs behind.
    Tapes,
    /// Plain files, without.
    Files,
}

/// Three dumps on tapes of their own, and the tree as it was when each was made.
struct Chain {
    on: On,
    /// Directories have extended attributes, too.
    attributes: bool,
    scratch: Scratch,
    tapes: Vec<PathBuf>,
    trees: Vec<Tree>,
    /// The dumps, and the catalogs behind them, as they were written.
    good: Vec<Vec<Vec<u8>>>,
}

impl Chain {
    fn new(name: &str, on: On) -> Self {
        let scratch = Scratch::in_memory(name);
        let source = scratch.directory("tree");
        fixtures::build_small(&source).expect("fixtures");
        for directory in ["one", "two", "two/inner", "three"] {
            fs::create_dir(source.join(directory)).expect("tree");
            fs::write(source.join(directory).join("file"), format!("{directory} at first")).expect("tree");
            fs::write(source.join(directory).join("old"), Random::new(7).bytes(5000)).expect("tree");
        }
        let value = rustix::fs::XattrFlags::empty();
        let attributes = rustix::fs::setxattr(source.join("three"), "user.note", b"kept", value).is_ok();
        let mut chain =
            Self { on, attributes, scratch, tapes: Vec::new(), trees: Vec::new(), good: Vec::new() };
        chain.add(&source, "0");
        fs::write(source.join("one/file"), "one at level 1").expect("tree");
        fs::rename(source.join("two/inner"), source.join("three/moved")).expect("tree");
        fs::remove_file(source.join("two/old")).expect("tree");
        chain.add(&source, "1");
        fs::write(source.join("three/moved/new"), Random::new(8).bytes(9000)).expect("tree");
        fs::rename(source.join("one/old"), source.join("two/other name")).expect("tree");
        chain.add(&source, "2");
        chain
    }

    fn add(&mut self, source: &Path, level: &str) {
        let tape = self.scratch.join(&format!("tape {level}"));
        if self.on == On::Tapes {
            let _ = Run::tapedump(&self.scratch).args(["tape", "create"]).arg(&tape).outcome().done();
        }
        let run = dump(&self.scratch, source, &tape).args(["--level", level, "--blocking-factor", "4"]);
        let _ = run.outcome().done();
        self.tapes.push(tape);
        let numbers = if self.on == On::Tapes { 0..2 } else { 0..1 };
        let bytes = numbers.map(|number| fs::read(self.file(self.tapes.len() - 1, number)).expect("tape"));
        self.good.push(bytes.collect());
        self.trees.push(Tree::read(source).expect("tree"));
    }

    fn file(&self, level: usize, number: usize) -> PathBuf {
        match self.on {
            On::Tapes => self.tapes[level].join(format!("file-{number:04}.tape")),
            On::Files => self.tapes[level].clone(),
        }
    }

    /// Without the catalogs in the state directory.
    fn forget_catalogs(&self) {
        for folder in fs::read_dir(self.scratch.join("state/dumps")).expect("state") {
            fs::remove_file(folder.expect("entry").path().join("catalog")).expect("catalog");
        }
    }

    fn put(&self, level: usize, number: usize, bytes: &[u8]) {
        fs::write(self.file(level, number), bytes).expect("tape");
    }

    fn mend(&self, level: usize) {
        for (number, bytes) in self.good[level].iter().enumerate() {
            self.put(level, number, bytes);
        }
    }

    /// Restores all of the newest dump; gives the outcome and the tree.
    fn restored(&self, arguments: &[&str]) -> (Outcome, Tree) {
        let out = self.scratch.directory("out");
        let outcome = restore(&self.scratch, &self.tapes[2], &out).args(arguments).outcome();
        let tree = Tree::read(&out).expect("tree");
        remove_tree(&out).expect("own directory");
        (outcome, tree)
    }

    /// What stands before the files of a dump.
    fn parts(&self, level: usize) -> BTreeMap<&'static str, Range<usize>> {
        let tape = Tape::parse(self.good[level][0].clone()).expect("whole");
        let stretch = |wanted: &dyn Fn(usize) -> bool| {
            let mut found = (0..tape.records.len()).filter(|at| wanted(*at)).map(|at| &tape.records[at]);
            let first = found.next().expect("every tape has one").blocks();
            first.start..found.last().map_or(first.end, |record| record.blocks().end)
        };
        let is_map = |at: usize| matches!(tape.records[at].kind, RecordKind::Clri | RecordKind::Bits);
        let is_directory = |at: usize| tape.records[at].is_directory();
        let last = tape.records.iter().rposition(|record| record.is_directory()).expect("directories");
        BTreeMap::from([
            ("the tape header", 0..1),
            ("all before the files", 0..stretch(&is_directory).end),
            ("the maps", stretch(&is_map)),
            ("a directory", stretch(&|at| at == last)),
            ("the directories", stretch(&is_directory)),
            ("maps and directories", stretch(&|at| is_map(at) || is_directory(at))),
        ])
    }
}

#[derive(Clone, Copy, Debug)]
enum How {
    Zeroed,
    Flipped,
    Missing,
}

fn damaged(bytes: &[u8], blocks: &Range<usize>, how: How) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let range = blocks.start * BLOCK..blocks.end * BLOCK;
    match how {
        How::Zeroed => bytes[range].fill(0),
        // A bit of every block.
        How::Flipped => range.step_by(BLOCK).for_each(|at| bytes[at + 40] ^= 4),
        How::Missing => drop(bytes.drain(range)),
    }
    bytes
}

/// Whatever is lost of what stands before the files of any of the dumps, all is restored, and the damage is named.
fn names_from_the_catalog_on_tape() {
    let chain = Chain::new("damaged-names", On::Tapes);
    // The copy on the tape is all there is.
    chain.forget_catalogs();
    every_part_is_made_good(&chain, Compare::EXACT);
}

/// Of dumps in plain files: from the catalogs in the state directory, which have no extended attributes of directories.
fn names_from_the_state() {
    let chain = Chain::new("damaged-files", On::Files);
    let runs = every_part_is_made_good(&chain, Compare::EXACT.without_xattrs());
    if chain.attributes {
        chain.put(2, 0, &damaged(&chain.good[2][0], &chain.parts(2)["the directories"], How::Zeroed));
        let (outcome, tree) = chain.restored(&[]);
        let is_whole = Compare::EXACT.differences(&chain.trees[2], &tree).is_empty();
        let is_named = outcome.mentions("three: its ACLs or extended attributes are damaged or missing");
        assert!(is_named && !is_whole, "{outcome}");
    }
    assert!(runs > 0);
}

fn every_part_is_made_good(chain: &Chain, compare: Compare) -> usize {
    let mut runs = 0;
    for level in 0..3 {
        let listed = list(&chain.scratch, &chain.tapes[level]).outcome().done().stdout;
        for (what, blocks) in chain.parts(level) {
            for how in [How::Zeroed, How::Flipped, How::Missing] {
                chain.put(level, 0, &damaged(&chain.good[level][0], &blocks, how));
                let (outcome, tree) = chain.restored(&[]);
                let told = format!("{what} of level {level}, {how:?}\n{outcome}");
                assert_eq!(outcome.is_orderly().expect("orderly"), code::INCOMPLETE, "{told}");
                let differences = compare.differences(&chain.trees[2], &tree);
                assert!(differences.is_empty(), "{}\n{told}", differences[0]);
                // All headers tell the same of the dump: of its very first one nothing is lost.
                let is_copied = what != "the tape header";
                assert!(outcome.mentions(COPIED) || !is_copied, "{told}");
                assert!(outcome.mentions("made good from the catalog") || !is_copied, "{told}");
                let verified = verify(&chain.scratch, &chain.tapes[level]).outcome();
                assert_eq!(verified.is_orderly().expect("orderly"), code::INCOMPLETE, "{told}\n{verified}");
                let again = list(&chain.scratch, &chain.tapes[level]).outcome();
                assert_eq!(again.is_orderly().expect("orderly"), code::INCOMPLETE, "{told}\n{again}");
                assert!(again.stdout == listed, "{told}\n{again}");
                runs += 1;
            }
        }
        chain.mend(level);
    }
    let (outcome, _) = chain.restored(&[]);
    assert!(!outcome.done().mentions(COPIED));
    println!("{runs} damaged tapes");
    runs
}

/// A directory of several segments, of which one is lost, or all: made from the catalog in the state directory.
fn a_large_directory() {
    let scratch = Scratch::in_memory("damaged-large");
    let source = scratch.directory("tree");
    fs::create_dir(source.join("large")).expect("tree");
    let mut random = Random::new(9);
    for number in 0..9000 {
        let name = format!("{number} {}", "x".repeat(random.below(240) as usize));
        fs::write(source.join("large").join(name), [number as u8; 3]).expect("tree");
    }
    let tree = Tree::read(&source).expect("tree");
    let path = scratch.join("tape");
    let _ = dump(&scratch, &source, &path).outcome().done();
    let tape = Tape::parse(fs::read(&path).expect("tape")).expect("whole");
    let segments: Vec<_> = tape.records.iter().filter(|record| record.is_directory()).skip(1).collect();
    assert!(segments.len() > 2, "{} segments", segments.len());
    let all = segments[0].at..segments.last().map_or(0, |record| record.blocks().end);
    for blocks in [segments[1].blocks(), all] {
        fs::write(&path, damaged(&tape.bytes, &blocks, How::Zeroed)).expect("tape");
        let out = scratch.directory("out");
        let outcome = restore(&scratch, &path, &out).outcome();
        assert_eq!(outcome.is_orderly().expect("orderly"), code::INCOMPLETE, "{outcome}");
        let differences = Compare::EXACT.differences(&tree, &Tree::read(&out).expect("tree"));
        assert!(differences.is_empty(), "{} ({})\n{outcome}", differences[0], differences.len());
        remove_tree(&out).expect("own directory");
    }
}

/// The catalog's copy is damaged as well, at other places: what each has is taken.
fn each_copy_has_a_part() {
    let chain = Chain::new("damaged-copies", On::Tapes);
    chain.forget_catalogs();
    let parts = chain.parts(2);
    let (maps, directories) = (&parts["the maps"], &parts["the directories"]);
    for (on_dump, on_copy) in [(maps, directories), (directories, maps)] {
        chain.put(2, 0, &damaged(&chain.good[2][0], on_dump, How::Zeroed));
        chain.put(2, 1, &damaged(&chain.good[2][1], on_copy, How::Zeroed));
        let (outcome, tree) = chain.restored(&[]);
        assert_eq!(outcome.is_orderly().expect("orderly"), code::INCOMPLETE, "{outcome}");
        Compare::EXACT.assert_equal(&chain.trees[2], &tree);
    }
}

/// Both copies lack the same: that is told as ever, and what has no name is in lost+found.
fn without_a_copy() {
    let chain = Chain::new("damaged-everywhere", On::Tapes);
    chain.forget_catalogs();
    let directories = &chain.parts(2)["the directories"];
    for number in [0, 1] {
        chain.put(2, number, &damaged(&chain.good[2][number], directories, How::Zeroed));
    }
    let (outcome, tree) = chain.restored(&["--only"]);
    assert_eq!(outcome.is_orderly().expect("orderly"), code::INCOMPLETE, "{outcome}");
    assert!(!outcome.mentions("made good"), "{outcome}");
    assert!(tree.entries.keys().any(|path| path.starts_with(b"lost+found/")), "{outcome}");
}

/// A single path, with the catalogs that lead straight to it, and without them.
fn a_single_file() {
    let chain = Chain::new("damaged-single", On::Tapes);
    let expected = chain.trees[2].at("three/moved/new").clone();
    for state in ["with", "without"] {
        if state == "without" {
            chain.forget_catalogs();
        }
        for (what, blocks) in chain.parts(2) {
            for how in [How::Zeroed, How::Flipped] {
                chain.put(2, 0, &damaged(&chain.good[2][0], &blocks, how));
                let (outcome, tree) = chain.restored(&["three/moved/new"]);
                let code = outcome.is_orderly().expect("orderly");
                // Straight on the way to it lie only directories.
                let passes_by = state == "with" && matches!(what, "the maps" | "the tape header");
                let allowed = code == code::INCOMPLETE || passes_by && code == code::DONE;
                assert!(allowed, "{what}, {how:?}, {state} catalogs\n{outcome}");
                assert!(tree.at("three/moved/new").kind == expected.kind, "{what}, {how:?}\n{outcome}");
            }
        }
    }
}

/// Bits flipped, stretches zeroed, missing and doubled, on the dumps and the catalogs behind them.
fn random_damages() {
    let seed = seed() ^ 0xcaa1;
    println!("seed {seed}");
    let mut random = Random::new(seed);
    let chain = Chain::new("damaged-at-random", On::Tapes);
    let rounds = if std::env::var_os("TAPEDUMP_EXHAUSTIVE").is_some() { 2000 } else { 60 };
    let (mut equal, mut named) = (0, 0);
    for round in 0..rounds {
        let mut what = Vec::new();
        for _ in 0..1 + random.below(3) {
            let (level, number) = (random.below(3) as usize, usize::from(random.below(4) == 0));
            let mut bytes = fs::read(chain.file(level, number)).expect("tape");
            what.push(format!("tape {level}, file {number}: {}", damage(&mut bytes, &mut random)));
            chain.put(level, number, &bytes);
        }
        let (outcome, tree) = chain.restored(&[]);
        let told = format!("round {round}: {}\n{outcome}", what.join("; "));
        let code = outcome.is_orderly().unwrap_or_else(|why| panic!("{why}: {told}"));
        let differences = Compare::EXACT.differences(&chain.trees[2], &tree);
        if differences.is_empty() {
            equal += 1;
        } else {
            assert!(code != code::DONE, "{told}");
            named += 1;
            assert_files_are_named(&chain.trees[2], &tree, &outcome, &told);
        }
        (0..3).for_each(|level| chain.mend(level));
    }
    println!("{rounds} runs: {equal} restored equal, {named} named, 0 silently wrong");
}

fn damage(bytes: &mut Vec<u8>, random: &mut Random) -> String {
    let len = bytes.len() as u64;
    let blocks = random.below(2) == 0;
    let unit = if blocks { BLOCK as u64 } else { 1 };
    let at = random.below(len / unit) * unit;
    let to = (at + (1 + random.below(20 * BLOCK as u64 / unit)) * unit).min(len);
    let (from, to) = (at as usize, to as usize);
    match random.below(4) {
        0 => {
            bytes[from] ^= 1 << random.below(8);
            format!("a bit of byte {from} flipped")
        }
        1 => {
            bytes[from..to].fill(0);
            format!("{from}..{to} zeroed")
        }
        2 => {
            bytes.drain(from..to);
            format!("{from}..{to} missing")
        }
        _ => {
            let again = bytes[from..to].to_vec();
            bytes.splice(to..to, again);
            format!("{from}..{to} twice")
        }
    }
}

/// A file that is there with other data than it had is named, or it was said that maps or directories are damaged.
fn assert_files_are_named(wanted: &Tree, found: &Tree, outcome: &Outcome, told: &str) {
    let general = ["the maps are damaged", "names in it may be wrong or missing", "entries in it"];
    let is_general = general.iter().any(|words| outcome.mentions(words));
    for (path, entry) in &wanted.entries {
        let (Kind::Regular { content, .. }, Some(other)) = (&entry.kind, found.entries.get(path)) else {
            continue;
        };
        let is_same = matches!(&other.kind, Kind::Regular { content: other, .. } if other == content);
        let name = String::from_utf8_lossy(path.rsplit(|byte| *byte == b'/').next().unwrap_or(path));
        assert!(is_same || is_general || outcome.mentions(&name), "{name} is not named\n{told}");
    }
}
