//! Tapes that somebody made to do harm. Nothing outside the destination is touched, memory stays bounded, the
//! culprit is named, and the exit code is not 0.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use tapedump_tests::cli::{Outcome, Run, code};
use tapedump_tests::forge::{DIRECTORY, Forge, Header, REGULAR, SYMLINK, directory_data};
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
    Case { name: "counts_and_sizes_at_their_extremes", needs: &[], run: counts_and_sizes_at_their_extremes },
    Case { name: "extreme_numbers", needs: &[], run: extreme_numbers },
    Case { name: "records_out_of_order", needs: &[], run: records_out_of_order },
    Case { name: "extensions_that_lie", needs: &[], run: extensions_that_lie },
    Case { name: "random_headers", needs: &[], run: random_headers },
];

/// The inode maps and buffers of a run are allowed; anything that a number on the tape asks for is not.
const PEAK_RSS_MAX_KIB: u64 = 96 * 1024;

/// What a test has found, so that one finding does not hide the next.
#[derive(Default)]
struct Findings(Vec<String>);

impl Findings {
    fn check(&mut self, holds: bool, what: &str, outcome: &Outcome) {
        if !holds {
            self.0.push(format!("{what}\n{outcome}"));
        }
    }

    /// Demands an exit code other than 0.
    fn refused(&mut self, what: &str, outcome: &Outcome) {
        self.check(!outcome.ended_with(code::DONE), &format!("{what}: accepted"), outcome);
    }

    /// The same, and a message with these words.
    fn refused_by_name(&mut self, what: &str, words: &str, outcome: &Outcome) {
        self.refused(what, outcome);
        self.check(outcome.mentions(words), &format!("{what}: no message with '{words}'"), outcome);
    }

    /// Demands the content of a file in the destination.
    fn restored(&mut self, what: &str, arena: &Arena, name: &str, content: &[u8], outcome: &Outcome) {
        let found = fs::read(arena.target().join(name)).unwrap_or_default();
        self.check(found == content, &format!("{what}: '{name}' is not restored"), outcome);
    }

    fn finish(self) {
        let shown: Vec<&str> = self.0.iter().take(12).map(String::as_str).collect();
        assert!(self.0.is_empty(), "{} findings:\n{}", self.0.len(), shown.join("\n"));
    }
}

/// A destination with neighbors that must not change.
struct Arena {
    scratch: Scratch,
    before: Tree,
}

impl Arena {
    fn new(name: &str) -> Self {
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

    fn target(&self) -> std::path::PathBuf {
        self.scratch.join("outside/target")
    }

    /// Lists, verifies and restores a tape, and checks what must hold of any tape; gives the restore's outcome.
    fn run(&self, tape: &[u8]) -> Outcome {
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
fn forges() -> [Forge; 3] {
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

fn counts_and_sizes_at_their_extremes() {
    let mut findings = Findings::default();
    let base = |forge: &Forge| {
        let mut forge = forge.clone();
        forge.tape().maps(&[2, 3, 4]);
        forge.directory(2, &[(2, b"."), (2, b".."), (3, b"culprit"), (4, b"good file")]);
        forge
    };
    for forge in forges() {
        for (name, size) in
            [("-1", u64::MAX), ("2^63 - 1", i64::MAX as u64), ("2^60", 1 << 60), ("2^41", 1 << 41)]
        {
            let arena = Arena::new("size");
            let mut tape = base(&forge);
            tape.header(&Header::inode(3, REGULAR, size).with_blocks(1)).data(b"short").file(4, b"good");
            let outcome = arena.run(&tape.end());
            findings.refused_by_name(&format!("size {name}"), "culprit", &outcome);
            findings.restored(&format!("size {name}"), &arena, "good file", b"good", &outcome);
        }
        for count in [513_u32, 1024, 65_536, i32::MAX as u32, u32::MAX] {
            let arena = Arena::new("count");
            let mut header = Header::inode(3, REGULAR, 5).with_blocks(1);
            header.count = count;
            let mut tape = base(&forge);
            tape.header(&header).data(b"short").file(4, b"good");
            let outcome = arena.run(&tape.end());
            findings.refused(&format!("count {count}"), &outcome);
            findings.restored(&format!("count {count}"), &arena, "good file", b"good", &outcome);
        }
        // A map as long as a number can say: nothing of that length may be reserved.
        for kind in [6, 3] {
            for count in [513_u32, 262_144, i32::MAX as u32, u32::MAX] {
                let arena = Arena::new("map");
                let mut header = Header::of_kind(kind);
                header.count = count;
                header.flags = 2;
                let mut tape = forge.clone();
                tape.tape();
                if kind == 3 {
                    tape.header(&Header::of_kind(6).with_blocks(8)).data(&[0xff; 8192]);
                }
                tape.header(&header).data(&[0xff; 8192]);
                tape.directory(2, &[(2, b"."), (2, b".."), (4, b"good file")]).file(4, b"good");
                let outcome = arena.run(&tape.end());
                findings.refused(&format!("map of {count} blocks"), &outcome);
            }
        }
        // A directory that claims to be larger than the tape.
        let arena = Arena::new("directory-size");
        let mut tape = forge.clone();
        let data = directory_data(Order::Big, &[(2, b"."), (2, b"..")]);
        tape.tape().maps(&[2]).header(&Header::inode(2, DIRECTORY, 1 << 50).with_blocks(1)).data(&data);
        findings.refused("directory larger than the tape", &arena.run(&tape.end()));
    }
    findings.finish();
}

fn extreme_numbers() {
    let mut findings = Findings::default();
    for forge in forges() {
        for number in [0_u32, 1, 65_537, 0x7fff_dfff, 0x7fff_ffff, 0x8000_0000, u32::MAX] {
            let arena = Arena::new("number");
            let tape = forge
                .clone()
                .tape()
                .maps(&[2, 3])
                .directory(2, &[(2, b"."), (2, b".."), (3, b"good file"), (number, b"culprit")])
                .file(3, b"good")
                .file(number, b"content")
                .end();
            let outcome = arena.run(&tape);
            findings.restored(&format!("number {number}"), &arena, "good file", b"good", &outcome);
            if arena.target().join("culprit").exists() {
                findings.restored(&format!("number {number}"), &arena, "culprit", b"content", &outcome);
            } else {
                findings.refused(&format!("number {number}"), &outcome);
            }
        }
    }
    findings.finish();
}

fn records_out_of_order() {
    let mut findings = Findings::default();
    for forge in forges() {
        let root: &[(u32, &[u8])] = &[(2, b"."), (2, b".."), (3, b"file")];
        let mut tapes: Vec<(&str, Vec<u8>)> = Vec::new();
        let start = |forge: &Forge| forge.clone();
        tapes.push(("only an end", start(&forge).end()));
        tapes.push(("no maps", start(&forge).tape().directory(2, root).file(3, b"x").end()));
        tapes.push(("no directories", start(&forge).tape().maps(&[2, 3]).file(3, b"x").end()));
        tapes.push(("no root", start(&forge).tape().maps(&[2, 3]).directory(3, root).end()));
        tapes.push(("the root is a file", start(&forge).tape().maps(&[2]).file(2, b"x").end()));
        tapes.push((
            "continuation without a beginning",
            start(&forge)
                .tape()
                .maps(&[2, 3])
                .directory(2, root)
                .header(&Header {
                    kind: 4,
                    offset: 512 << 10,
                    segment: 1,
                    ..Header::inode(3, REGULAR, 600_000)
                })
                .end(),
        ));
        tapes.push((
            "one file twice",
            start(&forge).tape().maps(&[2, 3]).directory(2, root).file(3, b"first").file(3, b"second").end(),
        ));
        tapes.push((
            "a directory after the files",
            start(&forge).tape().maps(&[2, 3, 4]).directory(2, root).file(3, b"x").directory(4, root).end(),
        ));
        tapes.push((
            "no end",
            start(&forge).tape().maps(&[2, 3]).directory(2, root).file(3, b"x").unfinished(),
        ));
        tapes.push((
            "unknown record kind",
            start(&forge).tape().maps(&[2, 3]).directory(2, root).header(&Header::of_kind(99)).end(),
        ));
        tapes.push((
            "announced, but not on the tape",
            start(&forge).tape().maps(&[2, 3]).directory(2, root).end(),
        ));
        for (name, tape) in tapes {
            let arena = Arena::new("order");
            let outcome = arena.run(&tape);
            findings.refused(name, &outcome);
        }
    }
    findings.finish();
}

/// Valid checksums, and an extension that says what cannot be.
fn extensions_that_lie() {
    let mut findings = Findings::default();
    let root: &[(u32, &[u8])] = &[(2, b"."), (2, b".."), (3, b"culprit"), (4, b"good file")];
    let lies = [
        (
            "trailing blocks beyond the segment",
            Header { trailing: (600, 10), ..Header::inode(3, REGULAR, 5) },
        ),
        (
            "extension longer than its blocks",
            Header { trailing: (1, u32::MAX), ..Header::inode(3, REGULAR, 5) },
        ),
        ("extension without blocks", Header { trailing: (0, 500), ..Header::inode(3, REGULAR, 5) }),
        ("offset beyond the size", Header { offset: 1 << 60, ..Header::inode(3, REGULAR, 5) }),
        ("odd offset", Header { offset: 3, ..Header::inode(3, REGULAR, 5) }),
        ("extension that is noise", Header { trailing: (1, 900), ..Header::inode(3, REGULAR, 1024) }),
    ];
    for (name, header) in lies {
        let arena = Arena::new("lie");
        let mut tape = Forge::ours();
        tape.tape().maps(&[2, 3, 4]).directory(2, root);
        let data = Random::new(3).bytes(2048);
        tape.header(&header.with_blocks(2)).data(&data).file(4, b"good");
        let outcome = arena.run(&tape.end());
        findings.refused(name, &outcome);
        findings.restored(name, &arena, "good file", b"good", &outcome);
    }
    // Attributes with lengths that lead out of their block, in a payload whose own checksum is right.
    for (name, kind, length) in
        [("long", 4_u16, u32::MAX), ("zero", 4, 0), ("unknown", 999, 8), ("just too long", 4, 5000)]
    {
        let mut payload = b"TDT1".to_vec();
        let mut record = [kind.to_be_bytes(), [0, 0]].concat();
        record.extend_from_slice(&length.to_be_bytes());
        record.extend_from_slice(&[0x41; 16]);
        payload.extend_from_slice(&(record.len() as u32).to_be_bytes());
        payload.extend_from_slice(&record);
        let crc = tapedump_tests::digest::crc32c(&payload);
        payload.extend_from_slice(&crc.to_be_bytes());
        let arena = Arena::new("lie");
        let mut tape = Forge::ours();
        tape.tape().maps(&[2, 3, 4]).directory(2, root);
        let header = Header { trailing: (1, payload.len() as u32), ..Header::inode(3, REGULAR, 4) };
        tape.header(&header.with_blocks(2)).data(b"file").data(&payload).file(4, b"good");
        let outcome = arena.run(&tape.end());
        println!("attribute of {name} length: {:?}", outcome.ending);
        findings.restored(name, &arena, "good file", b"good", &outcome);
    }
    findings.finish();
}

/// Noise in valid headers: whatever a reader believes of it, it stays orderly and inside.
fn random_headers() {
    let mut findings = Findings::default();
    let seed = tapedump_tests::random::seed();
    println!("seed {seed}");
    let mut random = Random::new(seed);
    let arena = Arena::new("random");
    for round in 0..400 {
        let forges = forges();
        let mut tape = forges[round % 3].clone();
        tape.tape()
            .maps(&[2, 3, 4, 5])
            .directory(2, &[(2, b"."), (2, b".."), (3, b"a"), (4, b"b"), (5, b"c")]);
        for _ in 0..random.below(8) {
            tape.header(&random_header(&mut random));
            let len = random.below(4096) as usize;
            let data = random.bytes(len);
            tape.data(&data);
        }
        let outcome = arena.run(&tape.end());
        findings.refused(&format!("round {round}, where objects are missing"), &outcome);
        tapedump_tests::scratch::remove_tree(&arena.target()).expect("own directory");
        fs::create_dir(arena.target()).expect("own directory");
    }
    findings.finish();
}

fn random_header(random: &mut Random) -> Header {
    let modes =
        [DIRECTORY, REGULAR, SYMLINK, 0o010_644, 0o020_600, 0o060_600, 0o140_600, 0, 0o170_000, 0o130_000];
    let sizes = [0, 1, 1024, 5000, 1 << 20, 1 << 40, u64::MAX];
    let mut header = Header::inode(
        random.below(7) as u32,
        modes[random.below(10) as usize],
        sizes[random.below(7) as usize],
    );
    header.kind = 1 + random.below(7) as u32;
    header.count = random.below(6) as u32;
    header.map = (0..512).map(|_| (random.below(4) == 0).into()).collect();
    header.flags = [0, 2, 0x80, 0x100, 0x8000, u32::MAX][random.below(6) as usize];
    header.device = random.bits() as u32;
    header.volume = random.below(3) as u32;
    header.stage_five = random.below(5) as u8;
    header.trailing = (random.below(3) as u16, random.below(3000) as u32);
    header
}
