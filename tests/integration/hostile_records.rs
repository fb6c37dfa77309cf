//! Forged records: counts, sizes, numbers, sequences and extensions that no writer would write.

use std::fs;

use tapedump_tests::forge::{DIRECTORY, Forge, Header, REGULAR, SYMLINK, directory_data};
use tapedump_tests::random::Random;
use tapedump_tests::tape::Order;

use crate::Case;
use crate::hostile::{Arena, Findings, forges};

pub(crate) const CASES: &[Case] = &[
    Case { name: "counts_and_sizes_at_their_extremes", needs: &[], run: counts_and_sizes_at_their_extremes },
    Case { name: "extreme_numbers", needs: &[], run: extreme_numbers },
    Case { name: "records_out_of_order", needs: &[], run: records_out_of_order },
    Case { name: "extensions_that_lie", needs: &[], run: extensions_that_lie },
    Case { name: "random_headers", needs: &[], run: random_headers },
];

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
