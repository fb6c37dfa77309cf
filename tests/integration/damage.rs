//! Every damage of one kind at every place of a small tape. What must hold each time: the restore ends by itself;
//! what the damage does not touch is restored; what differs is named, and the exit code is not 0.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use tapedump_tests::cli::{Outcome, Run, code};
use tapedump_tests::digest::Content;
use tapedump_tests::fixtures;
use tapedump_tests::product::{dump, reproducible, restore, verify};
use tapedump_tests::random::{Random, seed};
use tapedump_tests::scratch::{Scratch, remove_tree};
use tapedump_tests::tape::{BLOCK, Record, RecordKind, Tape};
use tapedump_tests::tree::{Compare, Difference, Kind, Tree};

use crate::Case;

pub(crate) const CASES: &[Case] = &[
    Case { name: "undamaged", needs: &[], run: undamaged },
    Case { name: "every_block_zeroed", needs: &[], run: every_block_zeroed },
    Case { name: "every_block_removed", needs: &[], run: every_block_removed },
    Case { name: "every_block_doubled", needs: &[], run: every_block_doubled },
    Case { name: "every_truncation", needs: &[], run: every_truncation },
    Case { name: "flipped_bits_of_bookkeeping", needs: &[], run: flipped_bits_of_bookkeeping },
    Case { name: "flipped_bits_of_objects", needs: &[], run: flipped_bits_of_objects },
    Case { name: "flipped_bits_anywhere", needs: &[], run: flipped_bits_anywhere },
    Case { name: "lost_properties", needs: &[], run: lost_properties },
    Case { name: "several_damages_at_once", needs: &[], run: several_damages_at_once },
    Case { name: "garbage_before_the_tape", needs: &[], run: garbage_before_the_tape },
    Case { name: "a_tape_within_the_tape", needs: &[], run: a_tape_within_the_tape },
];

/// No run on a tape of a few hundred blocks has reason to hold more.
const PEAK_RSS_MAX_KIB: u64 = 96 * 1024;

/// How many failures a test collects before it gives up.
const FAILURES_MAX: usize = 8;

/// The small tape, what it holds, and where its objects lie.
struct Sample {
    scratch: Scratch,
    tree: Tree,
    tape: Tape,
    paths: BTreeMap<u32, BTreeSet<Vec<u8>>>,
    failures: Vec<String>,
    runs: usize,
}

/// What one damage may affect.
#[derive(Default)]
struct Touched {
    /// These objects, and all beneath those of them that are directories.
    numbers: BTreeSet<u32>,
    /// The records that hold attributes of other objects.
    stage_five: bool,
}

impl Sample {
    fn new(name: &str) -> Self {
        let scratch = Scratch::in_memory(name);
        let source = scratch.directory("tree");
        fixtures::build_small(&source).expect("fixtures");
        let tree = Tree::read(&source).expect("tree");
        let path = scratch.join("good");
        let run = reproducible(dump(&scratch, &source, &path)).args(["--blocking-factor", "4"]);
        let _ = run.outcome().done();
        let tape = Tape::parse(fs::read(&path).expect("tape")).expect("whole");
        assert!((200..1000).contains(&places(&tape).len()), "{} places", places(&tape).len());
        let paths = tape.paths();
        assert_eq!(paths.values().map(BTreeSet::len).sum::<usize>(), tree.entries.len());
        Self { scratch, tree, tape, paths, failures: Vec::new(), runs: 0 }
    }

    /// The blocks that damage is tested on.
    fn places(&self) -> Vec<usize> {
        places(&self.tape)
    }

    fn touched_by_block(&self, block: usize) -> Touched {
        let mut touched = Touched::default();
        if let Some(record) = self.tape.record_of(block) {
            self.touch(record, &mut touched);
        }
        touched
    }

    fn touch(&self, record: &Record, touched: &mut Touched) {
        if matches!(record.kind, RecordKind::Inode | RecordKind::Addr) {
            if record.number == self.tape.number_limit() {
                touched.stage_five = true;
            } else {
                touched.numbers.insert(record.number);
            }
        }
    }

    /// Restores a damaged tape and checks what must hold.
    fn check(&mut self, what: &str, bytes: &[u8], touched: &Touched) {
        self.runs += 1;
        let path = self.scratch.join("damaged");
        fs::write(&path, bytes).expect("tape");
        let target = self.scratch.directory("target");
        let outcome = restore_checked(&self.scratch, &path, &target);
        if let Err(why) = self.judge(&outcome, &target, touched) {
            self.failures.push(format!("{what}: {why}\n{outcome}"));
        }
        remove_tree(&target).expect("own directory");
        assert!(self.failures.len() < FAILURES_MAX, "{}", self.failures.join("\n"));
    }

    fn judge(&self, outcome: &Outcome, target: &std::path::Path, touched: &Touched) -> Result<(), String> {
        let code = outcome.is_orderly()?;
        if outcome.peak_rss_kib > PEAK_RSS_MAX_KIB {
            return Err(format!("{} KiB held at once", outcome.peak_rss_kib));
        }
        let found = Tree::read(target).map_err(|error| error.to_string())?;
        let differences = Compare::EXACT.differences(&self.tree, &found);
        if !differences.is_empty() && code == code::DONE {
            return Err(format!("exit code 0, but {}", first(&differences)));
        }
        let allowed = self.allowed(touched);
        for difference in &differences {
            self.judge_difference(difference, &allowed, touched, outcome)?;
        }
        self.contents_are_somewhere(touched, &found)
    }

    /// The paths a damage may affect, and whether a directory is among them.
    fn allowed(&self, touched: &Touched) -> BTreeSet<Vec<u8>> {
        let mut allowed = BTreeSet::new();
        for path in touched.numbers.iter().filter_map(|number| self.paths.get(number)).flatten() {
            let beneath = |other: &&Vec<u8>| {
                path.is_empty() || *other == path || other.starts_with(&[path.as_slice(), b"/"].concat())
            };
            allowed.extend(self.tree.entries.keys().filter(beneath).cloned());
        }
        allowed
    }

    fn judge_difference(
        &self,
        difference: &Difference,
        allowed: &BTreeSet<Vec<u8>>,
        touched: &Touched,
        outcome: &Outcome,
    ) -> Result<(), String> {
        let path = &difference.path;
        let kind = self.tree.entries.get(path).map(|entry| &entry.kind);
        // What has lost its directory is kept under its number; and a damaged name is still a name.
        let parent = path.iter().rposition(|&byte| byte == b'/').map_or(&b""[..], |slash| &path[..slash]);
        let strange_name = path.starts_with(b"lost+found") || allowed.contains(parent);
        if kind.is_none() && strange_name && self.touches_directory(touched) {
            return Ok(());
        }
        let number = self.paths.iter().find(|(_, paths)| paths.contains(path)).map(|(number, _)| *number);
        let names = number.and_then(|number| self.paths.get(&number)).cloned().unwrap_or_default();
        let attribute_only = touched.stage_five && difference.what.starts_with("attribute");
        // Where one name of an object is lost, the others are no longer linked to it.
        let link_only =
            difference.what.starts_with("is linked to") && names.iter().any(|name| allowed.contains(name));
        if !allowed.contains(path) && !attribute_only && !link_only {
            return Err(format!("not touched by the damage, but: {difference}"));
        }
        // A file that is not as it was must be named, by one of its names or by its number; unless what would tell
        // that it is missing is damaged as well, and that is said.
        let last = |path: &Vec<u8>| {
            String::from_utf8_lossy(path.rsplit(|&byte| byte == b'/').next().unwrap_or(path)).into_owned()
        };
        let by_name = names.iter().any(|name| outcome.mentions(&last(name)));
        let by_number = number.is_some_and(|number| outcome.mentions(&format!("inode {number}")));
        let unknown =
            difference.what == "is missing" && outcome.mentions("whether objects are missing is not known");
        let excused = by_name || by_number || unknown || link_only || self.touches_directory(touched);
        if matches!(kind, Some(Kind::Regular { .. })) && !excused {
            return Err(format!("not reported: {difference}"));
        }
        Ok(())
    }

    fn touches_directory(&self, touched: &Touched) -> bool {
        let is_directory = |number: &u32| {
            self.tape.records.iter().any(|record| record.number == *number && record.is_directory())
        };
        touched.numbers.iter().any(is_directory)
    }

    /// Files that the damage does not touch are restored even when their directory is lost.
    fn contents_are_somewhere(&self, touched: &Touched, found: &Tree) -> Result<(), String> {
        let contents = |tree: &Tree| -> Vec<(u64, Content)> {
            let content = |entry: &tapedump_tests::tree::Entry| match entry.kind {
                Kind::Regular { content, .. } => Some((entry.size, content)),
                _ => None,
            };
            tree.entries.values().filter_map(content).collect()
        };
        let there = contents(found);
        for (number, paths) in self.paths.iter().filter(|(number, _)| !touched.numbers.contains(number)) {
            let path = paths.first().expect("each object has a path");
            let entry = self.tree.at(path);
            if let Kind::Regular { content, .. } = entry.kind
                && !there.contains(&(entry.size, content))
            {
                return Err(format!("inode {number}, {}, is nowhere", String::from_utf8_lossy(path)));
            }
        }
        Ok(())
    }

    /// Ends the test: says how much it did, and fails with what it found.
    fn finish(self) {
        println!("{} damaged tapes of {} blocks", self.runs, self.tape.blocks());
        assert!(self.failures.is_empty(), "{}", self.failures.join("\n"));
    }
}

/// Blocks up to and with the first end header, but of a map only its ends: how long the maps are depends on what
/// numbers the file system gives, and their blocks are all alike.
fn places(tape: &Tape) -> Vec<usize> {
    let mut places = Vec::new();
    for record in &tape.records {
        let is_map = matches!(record.kind, RecordKind::Clri | RecordKind::Bits);
        let blocks = record.blocks();
        let at_the_ends = |block: &usize| *block < blocks.start + 5 || *block + 3 >= blocks.end;
        places.extend(blocks.clone().filter(|block| !is_map || at_the_ends(block)));
    }
    places
}

fn restore_checked(scratch: &Scratch, tape: &std::path::Path, target: &std::path::Path) -> Outcome {
    let run = Run::checked_tapedump(scratch).arg("restore").arg("--to").arg(target).arg("--tape").arg(tape);
    run.timeout(std::time::Duration::from_secs(20)).outcome()
}

fn verify_checked(scratch: &Scratch, tape: &std::path::Path) -> Outcome {
    let run = Run::checked_tapedump(scratch).arg("verify").arg("--tape").arg(tape);
    run.timeout(std::time::Duration::from_secs(20)).outcome()
}

fn first(differences: &[Difference]) -> String {
    format!("{} ({} differences)", differences[0], differences.len())
}

/// Of empty files, whose properties are in stage V: records of it are lost, one, several or all. Who lost some is named, of
/// the whole dump and of a file by itself.
fn lost_properties() {
    let scratch = Scratch::in_memory("properties");
    let source = scratch.directory("tree");
    let names: Vec<String> = (0..6).map(|number| format!("empty {number}")).collect();
    for name in &names {
        fs::write(source.join(name), "").expect("tree");
        rustix::fs::setxattr(
            source.join(name),
            "user.note",
            name.as_bytes(),
            rustix::fs::XattrFlags::empty(),
        )
        .expect("xattr");
    }
    let tape = scratch.join("good");
    let _ = dump(&scratch, &source, &tape).args(["--blocking-factor", "4"]).outcome().done();
    let good = Tape::parse(fs::read(&tape).expect("tape")).expect("whole");
    let limit = good.number_limit();
    let is_apart = |record: &&Record| record.kind == RecordKind::Inode && record.number == limit;
    let apart: Vec<_> = good.records.iter().filter(is_apart).map(Record::blocks).collect();
    assert_eq!(apart.len(), names.len());
    for lost in [0..1, 2..3, 5..6, 1..4, 0..6] {
        let mut bytes = good.bytes.clone();
        drop(bytes.drain(apart[lost.start].start * BLOCK..apart[lost.end - 1].end * BLOCK));
        fs::write(&tape, bytes).expect("tape");
        let out = scratch.directory("out");
        for outcome in [restore(&scratch, &tape, &out).outcome(), verify(&scratch, &tape).outcome()] {
            let outcome = outcome.expect(code::INCOMPLETE);
            for (number, name) in names.iter().enumerate() {
                let told = format!("{name}: its ACLs or extended attributes are damaged or missing");
                // What is before a lost one cannot be checked: the header behind it is lost.
                let expected = lost.contains(&number) || number + 1 == lost.start;
                assert_eq!(outcome.mentions(&told), expected, "{lost:?}: {name}\n{outcome}");
            }
        }
        for (number, name) in names.iter().enumerate() {
            let out = scratch.directory("single");
            let outcome = restore(&scratch, &tape, &out).arg(name).outcome();
            let has_note = rustix::fs::getxattr(out.join(name), "user.note", &mut [0; 64]).is_ok();
            let is_told = outcome.mentions(&format!("{name}: its ACLs or extended attributes are damaged"));
            assert!(
                (has_note || is_told) && !(has_note && lost.contains(&number)),
                "{lost:?}: {name}\n{outcome}"
            );
            let _ = outcome.expect(if is_told { code::INCOMPLETE } else { code::DONE });
            remove_tree(&out).expect("own directory");
        }
        remove_tree(&out).expect("own directory");
    }
}

/// The measure itself: without damage nothing differs.
fn undamaged() {
    let mut sample = Sample::new("undamaged");
    let bytes = sample.tape.bytes.clone();
    sample.check("no damage", &bytes, &Touched::default());
    let _ =
        restore_checked(&sample.scratch, &sample.scratch.join("good"), &sample.scratch.join("again")).done();
    let _ = verify_checked(&sample.scratch, &sample.scratch.join("good")).done();
    sample.finish();
}

fn every_block_zeroed() {
    let mut sample = Sample::new("zeroed");
    for block in sample.places() {
        let mut bytes = sample.tape.bytes.clone();
        bytes[block * BLOCK..(block + 1) * BLOCK].fill(0);
        let touched = sample.touched_by_block(block);
        sample.check(&format!("block {block} zeroed"), &bytes, &touched);
        let unchanged = bytes == sample.tape.bytes;
        let verified = verify_checked(&sample.scratch, &sample.scratch.join("damaged"));
        let code = verified.is_orderly().expect("orderly");
        assert!(unchanged || code != code::DONE, "block {block} zeroed, yet verified\n{verified}");
    }
    sample.finish();
}

fn every_block_removed() {
    let mut sample = Sample::new("removed");
    for block in sample.places() {
        let mut bytes = sample.tape.bytes.clone();
        bytes.drain(block * BLOCK..(block + 1) * BLOCK);
        let touched = sample.touched_by_block(block);
        sample.check(&format!("block {block} removed"), &bytes, &touched);
    }
    sample.finish();
}

fn every_block_doubled() {
    let mut sample = Sample::new("doubled");
    for block in sample.places() {
        let mut bytes = sample.tape.bytes[..(block + 1) * BLOCK].to_vec();
        bytes.extend_from_slice(&sample.tape.bytes[block * BLOCK..]);
        let touched = sample.touched_by_block(block);
        sample.check(&format!("block {block} doubled"), &bytes, &touched);
    }
    sample.finish();
}

fn every_truncation() {
    let mut sample = Sample::new("truncated");
    let mut random = Random::new(seed());
    for block in sample.places() {
        let mut touched = Touched::default();
        for record in sample.tape.records.iter().filter(|record| record.blocks().end > block) {
            sample.touch(record, &mut touched);
        }
        // At the border of a block, and in the middle of one.
        for len in [block * BLOCK, block * BLOCK + 1 + random.below(BLOCK as u64 - 1) as usize] {
            let bytes = sample.tape.bytes[..len].to_vec();
            sample.check(&format!("cut to {len} bytes"), &bytes, &touched);
            let verified = verify_checked(&sample.scratch, &sample.scratch.join("damaged"));
            let code = verified.is_orderly().expect("orderly");
            assert!(code != code::DONE, "cut to {len} bytes, yet verified\n{verified}");
        }
    }
    sample.finish();
}

impl Sample {
    fn check_flipped(&mut self, block: usize, bit: usize) {
        let mut bytes = self.tape.bytes.clone();
        bytes[block * BLOCK + bit / 8] ^= 1 << (bit % 8);
        let touched = self.touched_by_block(block);
        self.check(&format!("block {block}, bit {bit} flipped"), &bytes, &touched);
    }

    /// Flips the bits of a header: all that mean something, and of the hole map a share.
    fn flip_header(&mut self, block: usize) {
        let exhaustive = std::env::var_os("TAPEDUMP_EXHAUSTIVE").is_some();
        for bit in 0..BLOCK * 8 {
            let meaningful = !(168 * 8..888 * 8).contains(&bit);
            if exhaustive || (meaningful && bit % 4 == block % 4) || bit % 29 == 0 {
                self.check_flipped(block, bit);
            }
        }
    }

    fn first_block(&self, wanted: impl Fn(&Record) -> bool) -> Option<usize> {
        self.tape.records.iter().find(|record| wanted(record)).map(|record| record.at)
    }
}

fn flipped_bits_of_bookkeeping() {
    let mut sample = Sample::new("flipped-maps");
    for kind in [RecordKind::Tape, RecordKind::Clri, RecordKind::Bits, RecordKind::End] {
        let block = sample.first_block(|record| record.kind == kind).expect("every tape has one");
        sample.flip_header(block);
    }
    sample.finish();
}

fn flipped_bits_of_objects() {
    let mut sample = Sample::new("flipped-objects");
    let limit = sample.tape.number_limit();
    let inner =
        sample.first_block(|record| record.is_directory() && record.number != 2).expect("a directory");
    let file =
        sample.first_block(|record| record.kind == RecordKind::Inode && record.data == 9).expect("a file");
    let segment = sample.first_block(|record| record.kind == RecordKind::Addr).expect("a second segment");
    sample.flip_header(inner);
    sample.flip_header(file);
    sample.flip_header(segment);
    if let Some(attributes) = sample.first_block(|record| record.number == limit) {
        sample.flip_header(attributes);
    }
    sample.finish();
}

/// A few bits of every block, data and headers alike.
fn flipped_bits_anywhere() {
    let seed = seed();
    println!("seed {seed}");
    let mut random = Random::new(seed);
    let mut sample = Sample::new("flipped");
    for block in sample.places() {
        for _ in 0..6 {
            let bit = random.below(BLOCK as u64 * 8) as usize;
            sample.check_flipped(block, bit);
            let verified = verify_checked(&sample.scratch, &sample.scratch.join("damaged"));
            let code = verified.is_orderly().expect("orderly");
            assert!(code != code::DONE, "block {block}, bit {bit} flipped, yet verified\n{verified}");
        }
    }
    sample.finish();
}

fn several_damages_at_once() {
    let seed = seed() ^ 0x5eed;
    println!("seed {seed}");
    let mut random = Random::new(seed);
    let mut sample = Sample::new("several");
    let places = sample.places();
    for round in 0..300 {
        let mut blocks: Vec<Vec<u8>> = sample.tape.bytes.chunks(BLOCK).map(<[u8]>::to_vec).collect();
        let mut touched = Touched::default();
        let place = |random: &mut Random| places[random.below(places.len() as u64) as usize];
        let mut hit: Vec<usize> = (0..2 + random.below(6)).map(|_| place(&mut random)).collect();
        hit.sort_unstable();
        // Removing at one place twice would remove what follows.
        hit.dedup();
        // From the back, so that the places of those still to come stay valid.
        for &block in hit.iter().rev() {
            if let Some(record) = sample.tape.record_of(block) {
                sample.touch(&record.clone(), &mut touched);
            }
            match random.below(4) {
                0 => blocks[block].fill(0),
                1 => blocks[block] = random.bytes(BLOCK),
                2 => drop(blocks.remove(block)),
                _ => blocks.insert(block, random.bytes(BLOCK)),
            }
        }
        sample.check(&format!("round {round}, blocks {hit:?}"), &blocks.concat(), &touched);
    }
    sample.finish();
}

fn garbage_before_the_tape() {
    let mut sample = Sample::new("garbage");
    for len in [1, 3, 28, 511, 512, 513, 1000, 1023, 1024, 1025, 4096, 5000, 65_535, 70_001] {
        for (name, garbage) in [("noise", Random::new(len as u64).bytes(len)), ("zeros", vec![0; len])] {
            let bytes = [garbage, sample.tape.bytes.clone()].concat();
            sample.check(&format!("{len} bytes of {name} before the tape"), &bytes, &Touched::default());
        }
    }
    sample.finish();
}

/// Section 7.9: the image of a dump stored as a file in a dump is never mistaken for the outer one.
fn a_tape_within_the_tape() {
    let sample = Sample::new("within");
    let scratch = &sample.scratch;
    let source = scratch.directory("outer");
    fs::write(source.join("0 before"), Random::new(1).bytes(3000)).expect("tree");
    fs::copy(scratch.join("good"), source.join("inner tape")).expect("tree");
    fs::write(source.join("z after"), Random::new(2).bytes(3000)).expect("tree");
    let before = Tree::read(&source).expect("tree");
    let path: PathBuf = scratch.join("outer tape");
    let _ = dump(scratch, &source, &path).outcome().done();
    let tape = Tape::parse(fs::read(&path).expect("tape")).expect("whole");
    let inner = tape.records.iter().find(|record| record.data > 100).expect("the inner tape");
    // With its header gone, what comes next on the tape is the header of another dump.
    let mut bytes = tape.bytes.clone();
    bytes[inner.at * BLOCK..(inner.at + 1) * BLOCK].fill(0);
    fs::write(scratch.join("damaged"), bytes).expect("tape");
    let target = scratch.directory("target of outer");
    let outcome = restore_checked(scratch, &scratch.join("damaged"), &target);
    assert_eq!(outcome.is_orderly().expect("orderly"), code::INCOMPLETE, "{outcome}");
    let found = Tree::read(&target).expect("tree");
    let others = |tree: Tree| tree.without(|path, _| path == b"inner tape");
    Compare::EXACT.assert_equal(&others(before), &others(found));
}
