//! Tapes that other programs made, kept with their listings: read without root and without those programs.

use std::fs;
use std::path::PathBuf;

use tapedump_tests::needs::Need;
use tapedump_tests::product::{list, restore, verify};
use tapedump_tests::scratch::Scratch;
use tapedump_tests::swap::swap;
use tapedump_tests::tape::Tape;
use tapedump_tests::tree::{Tree, parse_listing, print_listing};

use crate::Case;

pub(crate) const CASES: &[Case] = &[
    Case { name: "content_of_a_debian_dump", needs: &[], run: content_of_a_debian_dump },
    Case {
        name: "content_of_a_compressed_debian_dump",
        needs: &[],
        run: content_of_a_compressed_debian_dump,
    },
    Case { name: "content_of_a_swapped_debian_dump", needs: &[], run: content_of_a_swapped_debian_dump },
    Case { name: "owners_of_a_debian_dump", needs: &[Need::Root], run: owners_of_a_debian_dump },
    Case { name: "names_of_a_debian_dump", needs: &[], run: names_of_a_debian_dump },
];

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures")).join(name)
}

/// Fields of a listing that only root can restore: owner and group.
const OWNER_FIELDS: [usize; 2] = [2, 3];

/// Permissions; the first digit is set-id and sticky bits.
const MODE_FIELD: usize = 1;

/// Restores a tape and compares the tree with the stored listing, field by field.
fn check(tape: &std::path::Path, with_owners: bool) {
    let scratch = Scratch::new("golden");
    let target = scratch.directory("target");
    let restored = restore(&scratch, tape, &target).outcome();
    if with_owners {
        assert!(restored.ended_with(0), "{restored}");
    } else {
        restored.is_orderly().expect("orderly");
    }
    let _ = verify(&scratch, tape).outcome().done();
    let stored = fs::read_to_string(fixture("debian-ext4.listing")).expect("listing");
    let expected = parse_listing(&stored).expect("listing");
    let found = print_listing(&Tree::read(&target).expect("tree"));
    let found = parse_listing(&found).expect("listing");
    let relevant = |lines: Vec<(Vec<u8>, Vec<String>)>| -> Vec<(Vec<u8>, Vec<String>)> {
        let blank = |(path, mut fields): (Vec<u8>, Vec<String>)| {
            if !with_owners {
                // Who cannot give a file its owner does not give it set-id bits either.
                fields[MODE_FIELD].replace_range(..1, "");
                OWNER_FIELDS.iter().for_each(|&field| fields[field].clear());
            }
            (path, fields)
        };
        lines.into_iter().map(blank).collect()
    };
    let (expected, found) = (relevant(expected), relevant(found));
    for (expected, found) in expected.iter().zip(&found) {
        assert_eq!(expected, found);
    }
    assert_eq!(expected.len(), found.len());
}

fn content_of_a_debian_dump() {
    check(&fixture("debian-ext4.tape"), false);
}

fn content_of_a_compressed_debian_dump() {
    check(&fixture("debian-ext4-zlib.tape"), false);
}

fn owners_of_a_debian_dump() {
    check(&fixture("debian-ext4.tape"), true);
}

fn content_of_a_swapped_debian_dump() {
    let scratch = Scratch::new("golden-swapped");
    let tape = Tape::parse(fs::read(fixture("debian-ext4.tape")).expect("tape")).expect("tape");
    fs::write(scratch.join("swapped"), swap(&tape)).expect("tape");
    check(&scratch.join("swapped"), false);
}

fn names_of_a_debian_dump() {
    let scratch = Scratch::new("golden-names");
    let listing = list(&scratch, fixture("debian-ext4.tape")).outcome().done();
    let stored = fs::read_to_string(fixture("debian-ext4.listing")).expect("listing");
    for (path, _) in parse_listing(&stored).expect("listing") {
        let plain = path.iter().all(|byte| (b'!'..=b'~').contains(byte));
        let name = String::from_utf8_lossy(&path).into_owned();
        assert!(!plain || listing.out().contains(&name), "{name} is not listed\n{listing}");
    }
}
