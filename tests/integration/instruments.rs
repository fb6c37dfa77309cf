//! The tests' own tools against Debian's programs: what they make and read is what they say.

use std::fs;

use tapedump_tests::debian;
use tapedump_tests::fixtures::{self, Section};
use tapedump_tests::forge::Forge;
use tapedump_tests::needs::Need;
use tapedump_tests::scratch::{Mount, Scratch, make_ext4};
use tapedump_tests::swap::swap;
use tapedump_tests::tape::{Order, Tape};
use tapedump_tests::tree::{Compare, Kind, Tree};

use crate::Case;

pub(crate) const CASES: &[Case] = &[
    Case { name: "generated_tree_reads_back", needs: &[], run: generated_tree_reads_back },
    Case { name: "comparison_sees_every_change", needs: &[], run: comparison_sees_every_change },
    Case {
        name: "every_case_can_be_made",
        needs: &[Need::Root, Need::Loop, Need::MKE2FS],
        run: every_case_can_be_made,
    },
    Case {
        name: "debian_reads_forged_tapes",
        needs: &[Need::Root, Need::RESTORE],
        run: debian_reads_forged_tapes,
    },
    Case {
        name: "debian_reads_swapped_tapes",
        needs: &[Need::Root, Need::Loop, Need::MKE2FS, Need::DUMP, Need::RESTORE],
        run: debian_reads_swapped_tapes,
    },
];

fn generated_tree_reads_back() {
    let scratch = Scratch::new("reads-back");
    let tree = scratch.directory("tree");
    let omitted = fixtures::build(&tree, fixtures::UNPRIVILEGED).expect("fixtures");
    println!("left out by this file system: {:?}", omitted.lines());
    let first = Tree::read(&tree).expect("tree");
    Compare::EXACT.with_access_times().assert_equal(&first, &Tree::read(&tree).expect("tree"));
    assert_eq!(first.at("types/link").kind, Kind::Symlink(b"regular".to_vec()));
    assert_eq!(first.at("hardlinks/two/second").same_as.as_deref(), Some(&b"hardlinks/one/first"[..]));
    assert!(first.entries.keys().any(|path| path.len() > 4096), "the deep path is there");
    let Kind::Regular { data, .. } = &first.at("holes/only a hole").kind else { panic!("not a file") };
    assert!(data.is_empty(), "the file system keeps holes");
}

fn comparison_sees_every_change() {
    let scratch = Scratch::new("changes");
    let tree = scratch.directory("tree");
    fixtures::build(&tree, &[Section::Types, Section::HardLinks, Section::Sizes]).expect("fixtures");
    let before = Tree::read(&tree).expect("tree");
    fs::write(tree.join("sizes/1"), b"!").expect("change");
    fs::remove_file(tree.join("types/fifo")).expect("change");
    fs::write(tree.join("types/fifo"), b"").expect("change");
    fs::remove_file(tree.join("types/empty")).expect("change");
    fs::copy(tree.join("hardlinks/third"), tree.join("hardlinks/new")).expect("change");
    fs::rename(tree.join("hardlinks/new"), tree.join("hardlinks/third")).expect("change");
    let found = Compare::EXACT.differences(&before, &Tree::read(&tree).expect("tree"));
    let said = |path: &str, what: &str| {
        found.iter().any(|difference| difference.path == path.as_bytes() && difference.what.contains(what))
    };
    assert!(said("sizes/1", "content differs"));
    assert!(said("sizes/1", "mtime"));
    assert!(said("types/fifo", "is file, not fifo"));
    assert!(said("types/empty", "is missing"));
    assert!(said("hardlinks/third", "is linked to"));
}

/// On an ext4 with large attribute values nothing may be left out, or the round trip would not test it.
fn every_case_can_be_made() {
    let scratch = Scratch::new("every-case");
    make_ext4(&scratch.join("image"), 256 << 20, &["-O", "ea_inode", "-I", "512"]);
    let mount = Mount::image(&scratch.join("image"), &scratch.join("mount"), "");
    let omitted = fixtures::build(mount.path(), fixtures::ALL).expect("fixtures");
    assert!(omitted.lines().is_empty(), "left out: {:#?}", omitted.lines());
}

fn well_formed(mut forge: Forge) -> Vec<u8> {
    let long = tapedump_tests::random::Random::new(5).bytes(700_000);
    forge
        .tape()
        .maps(&[2, 3, 4, 5, 6])
        .directory(2, &[(2, b"."), (2, b".."), (3, b"sub"), (4, b"file"), (5, b"link")])
        .directory(3, &[(3, b"."), (2, b".."), (6, b"long")])
        .file(4, b"content of the file")
        .symlink(5, b"sub/long")
        .file(6, &long)
        .end()
}

fn debian_reads_forged_tapes() {
    for forge in [Forge::ours(), Forge::foreign(Order::Big), Forge::foreign(Order::Little)] {
        let scratch = Scratch::new("forged");
        let tape = well_formed(forge);
        fs::write(scratch.join("tape"), &tape).expect("tape");
        let parsed = Tape::parse(tape).expect("well-formed");
        assert_eq!(parsed.paths()[&6].first().map(Vec::as_slice), Some(&b"sub/long"[..]));
        let out = scratch.directory("out");
        let restored = debian::restore(["-x", "-a", "-y", "-f", "../tape"], &out).done();
        assert!(debian::unusual_messages(&restored).is_empty(), "{restored}");
        assert_eq!(fs::read(out.join("file")).expect("restored"), b"content of the file");
        assert_eq!(fs::read(out.join("link")).expect("restored").len(), 700_000);
    }
}

fn debian_reads_swapped_tapes() {
    let scratch = Scratch::new("swapped");
    make_ext4(&scratch.join("image"), 64 << 20, &[]);
    let mount = Mount::image(&scratch.join("image"), &scratch.join("mount"), "");
    fixtures::build(mount.path(), fixtures::PORTABLE).expect("fixtures");
    let original = Tree::read(mount.path()).expect("tree").without(|path, _| path == b"lost+found");
    let original = debian::as_restore_knows(original);
    drop(mount);
    debian::dump(&scratch.join("image"), &scratch.join("little"), &[]);
    let little = Tape::parse(fs::read(scratch.join("little")).expect("tape")).expect("tape");
    assert_eq!(little.order, Order::Little);
    let swapped = swap(&little);
    fs::write(scratch.join("big"), &swapped).expect("tape");
    let big = Tape::parse(swapped).expect("swapped tape");
    assert_eq!(big.order, Order::Big);
    assert!(swap(&big) == little.bytes, "swapping twice gives the original");
    for name in ["little", "big"] {
        let out = scratch.directory(&format!("out of {name}"));
        let restored = debian::restore(["-x", "-a", "-y", "-f", &format!("../{name}")], &out).done();
        println!("{name}: {:?}", debian::unusual_messages(&restored));
        let found = Tree::read(&out).expect("tree").without(|path, _| path == b"lost+found");
        let found = debian::as_restore_knows(found);
        Compare::EXACT.to_the_second().without_holes().without_root().assert_equal(&original, &found);
    }
}
