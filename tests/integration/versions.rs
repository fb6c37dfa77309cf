//! Trees as of a dump and versions of names, from catalogs alone.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tapedump_tests::cli::{Outcome, code};
use tapedump_tests::fixtures::{self, Section};
use tapedump_tests::product::list;
use tapedump_tests::scratch::Scratch;
use tapedump_tests::tree::Tree;

use crate::Case;
use crate::history::{numbered, objects, tapedump};

pub(crate) const CASES: &[Case] = &[
    Case { name: "a_tree_as_of_each_dump", needs: &[], run: a_tree_as_of_each_dump },
    Case { name: "a_listing_like_that_of_the_tape", needs: &[], run: a_listing_like_that_of_the_tape },
    Case { name: "versions_of_names", needs: &[], run: versions_of_names },
    Case { name: "patterns", needs: &[], run: patterns },
    Case { name: "catalogs_that_are_no_use", needs: &[], run: catalogs_that_are_no_use },
];

/// A tree that changes in all ways, dumped at levels 0, 1, 2 and 1 and 0 again; the names in it as they were.
fn changing(scratch: &Scratch) -> (PathBuf, Vec<BTreeSet<String>>) {
    let tree = scratch.directory("tree");
    let mut names = Vec::new();
    let mut dump = |number, level| {
        let _ = numbered(scratch, &tree, number, level);
        names.push(names_of(&tree));
    };
    fs::create_dir_all(tree.join("dir/deep")).expect("made");
    fs::write(tree.join("dir/deep/kept"), "kept").expect("written");
    fs::write(tree.join("dir/grows"), "1").expect("written");
    fs::write(tree.join("Goes"), "away").expect("written");
    dump(1, 0);
    fs::write(tree.join("dir/grows"), "22").expect("written");
    dump(2, 1);
    fs::remove_file(tree.join("Goes")).expect("removed");
    fs::rename(tree.join("dir"), tree.join("moved")).expect("renamed");
    dump(3, 2);
    fs::write(tree.join("Goes"), "is back").expect("written");
    dump(4, 1);
    dump(5, 0);
    (tree, names)
}

fn names_of(tree: &Path) -> BTreeSet<String> {
    let tree = Tree::read(tree).expect("tree");
    let names = tree.entries.keys().map(|path| String::from_utf8_lossy(path).into_owned());
    names.filter(|path| !path.is_empty()).collect()
}

fn a_tree_as_of_each_dump() {
    let scratch = Scratch::in_memory("as-of");
    let (_, names) = changing(&scratch);
    // No tape is read.
    for number in 1..=5 {
        fs::remove_file(scratch.join(&format!("tape {number}"))).expect("removed");
    }
    for (number, expected) in (1..).zip(&names) {
        let id = format!("{number:02x}").repeat(2);
        let listed = tapedump(&scratch, &["list", "--at", &id]).outcome().done();
        let found: BTreeSet<String> = listed.out().lines().map(str::to_owned).collect();
        assert_eq!(found, *expected, "dump {number}");
        assert_eq!(listed.out().lines().count(), expected.len(), "each name once");
    }
    let some =
        tapedump(&scratch, &["list", "--at", "0303", "moved/deep", "moved/deep/kept"]).outcome().done();
    assert_eq!(some.out(), "moved/deep\nmoved/deep/kept\n");
    let missing = tapedump(&scratch, &["list", "--at", "0303", "moved", "dir/deep"]).outcome();
    let missing = missing.expect(code::FAILED).says("dir/deep").says("tapedump find");
    assert_eq!(missing.out(), "", "nothing is printed before");
}

fn a_listing_like_that_of_the_tape() {
    let scratch = Scratch::in_memory("as-listed");
    let tree = scratch.directory("tree");
    fixtures::build(&tree, &[Section::Types]).expect("fixtures");
    let tape = numbered(&scratch, &tree, 1, 0);
    let sorted = |outcome: Outcome| {
        let mut listed = objects(&outcome.done());
        for object in &mut listed {
            // What only the tape tells.
            let object = object.as_object_mut().expect("an object");
            object.remove("target");
            object.remove("device");
        }
        listed.sort_by_key(|object| object["path"].as_str().map(str::to_owned));
        listed
    };
    let of_tape = sorted(list(&scratch, &tape).arg("--json").outcome());
    let of_catalog = sorted(tapedump(&scratch, &["list", "--json", "--of"]).arg(&tree).outcome());
    assert_eq!(of_tape, of_catalog);
    assert!(of_tape.len() > 5);
    let long = |run: tapedump_tests::cli::Run| {
        let out = run.outcome().done().out();
        let plain = |line: &&str| line.starts_with(['-', 'd', 'p']);
        out.lines().filter(plain).map(str::to_owned).collect::<BTreeSet<_>>()
    };
    let of_tape = long(list(&scratch, &tape).arg("--long"));
    assert_eq!(of_tape, long(tapedump(&scratch, &["list", "--at", "0101", "--long"])));
}

/// Dump and size of each version of the paths found; a size of -1: it is gone.
fn versions(outcome: &Outcome) -> Vec<(String, Vec<(String, i64)>)> {
    let version = |version: &Value| {
        let dump = version["dump"].as_str().expect("identity")[..2].to_owned();
        (dump, if version["gone"] == true { -1 } else { version["size"].as_i64().expect("size") })
    };
    let path = |found: &Value| {
        let versions = found["versions"].as_array().expect("versions").iter().map(version).collect();
        (found["path"].as_str().expect("path").to_owned(), versions)
    };
    objects(outcome).iter().map(path).collect()
}

fn versions_of_names() {
    let scratch = Scratch::in_memory("find");
    let (tree, _) = changing(&scratch);
    let find = |arguments: &[&str]| tapedump(&scratch, &["find", "--json"]).args(arguments).outcome();
    let found =
        |expected: &[(&str, i64)]| expected.iter().map(|(dump, size)| ((*dump).to_owned(), *size)).collect();
    let grows: Vec<(String, Vec<(String, i64)>)> = vec![
        ("dir/grows".into(), found(&[("01", 1), ("02", 2), ("03", -1)])),
        // A directory's new name is that of all in it; the later dumps have nothing new.
        ("moved/grows".into(), found(&[("03", 2)])),
    ];
    assert_eq!(versions(&find(&["grows"]).done()), grows);
    let goes = vec![("Goes".to_owned(), found(&[("01", 4), ("03", -1), ("04", 7)]))];
    assert_eq!(versions(&find(&["Goes"]).done()), goes);
    assert_eq!(versions(&find(&["goes", "-i"]).done()), goes);
    let kept = vec![
        ("dir/deep/kept".to_owned(), found(&[("01", 4), ("03", -1)])),
        ("moved/deep/kept".to_owned(), found(&[("03", 4)])),
    ];
    assert_eq!(versions(&find(&["k?p[a-z]"]).done()), kept);
    let text = tapedump(&scratch, &["find", "Goes", "--of"]).arg(&tree).outcome().done().out();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 4, "{text}");
    assert!(lines[0] == "Goes" && lines[2].ends_with("03030303  gone"), "{text}");
    assert!(lines[3].contains("tape 4, file 0"), "{text}");
    let nothing = find(&["goes"]).expect(code::INCOMPLETE).says("no dump holds");
    assert_eq!(nothing.out(), "");
}

fn patterns() {
    let scratch = Scratch::in_memory("find-patterns");
    let (_, _) = changing(&scratch);
    let paths = |pattern: &str| {
        let found = tapedump(&scratch, &["find", "--json", pattern]).outcome().done();
        versions(&found).into_iter().map(|(path, _)| path).collect::<Vec<_>>()
    };
    assert_eq!(paths("/dir/*"), ["dir/deep", "dir/grows"]);
    assert_eq!(paths("**/kept"), ["dir/deep/kept", "moved/deep/kept"]);
    assert_eq!(paths("moved/**"), ["moved", "moved/deep", "moved/deep/kept", "moved/grows"]);
    assert_eq!(
        paths("*"),
        [
            "Goes",
            "dir",
            "dir/deep",
            "dir/deep/kept",
            "dir/grows",
            "moved",
            "moved/deep",
            "moved/deep/kept",
            "moved/grows"
        ]
    );
    for (pattern, why) in [("[a", "]"), ("", "empty"), ("a\\", "\\")] {
        let refused = tapedump(&scratch, &["find", pattern]).outcome().expect(code::FAILED);
        assert!(refused.mentions(why), "{refused}");
    }
    let nobody = tapedump(&scratch, &["find", "x", "--of", "/never dumped"]).outcome();
    let _ = nobody.expect(code::FAILED).says("no dump of this tree");
}

fn catalogs_that_are_no_use() {
    let scratch = Scratch::in_memory("catalogs-bad");
    let (_, _) = changing(&scratch);
    let catalog = |number: u8| {
        let id = format!("{number:02x}");
        let parts = [4, 2, 2, 2, 6].map(|bytes| id.repeat(bytes));
        scratch.join(&format!("state/dumps/{}/catalog", parts.join("-")))
    };
    let whole = fs::read(catalog(2)).expect("catalog");
    let mut damaged = whole.clone();
    // Behind both heads.
    damaged[2 * 1024 + 300] ^= 0x10;
    // One that is missing takes all dumps with it that are based on its own.
    for (bytes, why, refused) in
        [(Some(&damaged[..]), "damaged", &["0202"][..]), (None, "there is no catalog", &["0202", "0303"][..])]
    {
        match bytes {
            Some(bytes) => fs::write(catalog(2), bytes).expect("written"),
            None => fs::remove_file(catalog(2)).expect("removed"),
        }
        for id in refused {
            let outcome = tapedump(&scratch, &["list", "--at", id]).outcome().expect(code::FAILED);
            let _ = outcome.says(why).says("02020202-").says("tapedump catalog rebuild");
        }
        let _ = tapedump(&scratch, &["list", "--at", "0404"]).outcome().done();
        let found = tapedump(&scratch, &["find", "--json", "grows"]).outcome().expect(code::INCOMPLETE);
        for id in refused {
            assert!(found.mentions(&format!("the dump {} ", id.repeat(2))), "{found}");
        }
        let grows = versions(&found);
        assert_eq!(grows[0].1[0], ("01".to_owned(), 1), "{found}");
        let first = if refused.len() == 1 { "03" } else { "04" };
        assert_eq!(grows[1], ("moved/grows".to_owned(), vec![(first.to_owned(), 2)]), "{found}");
    }
    // That of another dump.
    fs::copy(catalog(1), catalog(2)).expect("copied");
    let _ = tapedump(&scratch, &["list", "--at", "0202"]).outcome().expect(code::FAILED).says("another dump");
}
