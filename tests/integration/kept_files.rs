//! What is kept in the state directory and beside applied trees, where somebody put something else in its place: nothing is
//! written through links, nobody waits for a pipe, and what is wrong is named.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tapedump_tests::cli::{Outcome, Run, code};
use tapedump_tests::product::{dump, restore};
use tapedump_tests::scratch::{Scratch, path_text, remove_tree, run};
use tapedump_tests::tree::{Compare, Tree};

use crate::Case;

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "something_else_in_the_state_directory",
        needs: &[],
        run: something_else_in_the_state_directory,
    },
    Case {
        name: "a_base_that_nobody_knows_the_place_of",
        needs: &[],
        run: a_base_that_nobody_knows_the_place_of,
    },
    Case { name: "links_where_a_restore_is_noted", needs: &[], run: links_where_a_restore_is_noted },
    Case { name: "links_beside_an_applied_tree", needs: &[], run: links_beside_an_applied_tree },
    Case { name: "a_dump_with_a_folder_of_its_own", needs: &[], run: a_dump_with_a_folder_of_its_own },
];

const PRECIOUS: &str = "precious";

/// A tree that was dumped and changed then, and a file that is none of anybody's business.
struct Kept {
    scratch: Scratch,
    tree: PathBuf,
    outside: PathBuf,
}

impl Kept {
    fn new(name: &str) -> Self {
        let scratch = Scratch::in_memory(name);
        let (tree, outside) = (scratch.directory("tree"), scratch.join("outside"));
        fs::write(&outside, PRECIOUS).expect("own file");
        fs::write(tree.join("gone"), "gone").expect("tree");
        fs::write(tree.join("stays"), "as it was").expect("tree");
        let kept = Self { scratch, tree, outside };
        let _ = kept.dump(0).outcome().done();
        fs::remove_file(kept.tree.join("gone")).expect("tree");
        fs::write(kept.tree.join("new"), "new").expect("tree");
        kept
    }

    fn tape(&self, level: usize) -> PathBuf {
        self.scratch.join(&format!("level {level}"))
    }

    fn dump(&self, level: usize) -> Run {
        let run = dump(&self.scratch, &self.tree, self.tape(level)).args(["--level", &level.to_string()]);
        run.arg("--overwrite").timeout(Duration::from_secs(30))
    }

    fn restore(&self, level: usize) -> Outcome {
        let out = self.scratch.directory("out");
        let outcome =
            restore(&self.scratch, self.tape(level), &out).timeout(Duration::from_secs(30)).outcome();
        if level > 0 && outcome.ended_with(code::DONE) {
            let tree = |path: &Path| Tree::read(path).expect("tree");
            Compare::EXACT.assert_equal(&tree(&self.tree), &tree(&out));
        }
        remove_tree(&out).expect("own directory");
        outcome
    }

    fn check(&self, outcome: &Outcome) {
        outcome.is_orderly().unwrap_or_else(|why| panic!("{why}"));
        assert_eq!(fs::read_to_string(&self.outside).expect("own file"), PRECIOUS, "{outcome}");
    }

    /// Puts something else in a file's place; the file itself is kept beside.
    fn replace(&self, path: &Path, how: &str) {
        let aside = self.scratch.join("aside");
        fs::rename(path, &aside).expect("state");
        match how {
            "pipe" => _ = run("mkfifo", &[path_text(path)]),
            "link" => symlink(&self.outside, path).expect("state"),
            "link to itself" => symlink(&aside, path).expect("state"),
            _ => fs::create_dir(path).expect("state"),
        }
    }

    fn put_back(&self, path: &Path) {
        if path.is_dir() && !path.is_symlink() { fs::remove_dir(path) } else { fs::remove_file(path) }
            .expect("state");
        fs::rename(self.scratch.join("aside"), path).expect("state");
    }
}

/// The files in a directory and below it.
fn files_in(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("state").map(|entry| entry.expect("state").path()) {
        if entry.is_dir() { found.extend(files_in(&entry)) } else { found.push(entry) }
    }
    found.sort();
    found
}

fn something_else_in_the_state_directory() {
    let kept = Kept::new("kept-state");
    let files = files_in(&kept.scratch.join("state"));
    assert!(files.len() >= 5, "{files:?}");
    for path in files {
        for how in ["pipe", "link", "link to itself", "directory"] {
            println!("{how} at {}", path.display());
            kept.replace(&path, how);
            let made = kept.dump(1).outcome();
            kept.check(&made);
            if made.ended_with(code::DONE) {
                let restored = kept.restore(1);
                kept.check(&restored);
            } else {
                let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
                assert!(made.ended_with(code::FAILED) && made.mentions(name), "{made}");
                assert!(made.mentions("put it away"), "{made}");
            }
            kept.put_back(&path);
        }
    }
    let _ = kept.dump(1).outcome().done();
    let _ = kept.restore(1).done();
}

/// Its tape may have been written over unnoticed.
fn a_base_that_nobody_knows_the_place_of() {
    let kept = Kept::new("kept-place");
    let places = files_in(&kept.scratch.join("state"));
    let place = places.iter().find(|path| path.ends_with("tape")).expect("it is kept");
    let written = fs::read(place).expect("state");
    for text in [&b""[..], b"relative", b"/with\0zero"] {
        fs::write(place, text).expect("state");
        let refused = kept.dump(1).outcome().expect(code::FAILED);
        assert!(refused.mentions("/tape") && refused.mentions("--level 0"), "{refused}");
    }
    fs::write(place, &written).expect("state");
    let _ = kept.dump(1).outcome().done();
    fs::remove_file(place).expect("state");
    let refused = kept.restore(1).expect(code::FAILED);
    assert!(refused.mentions("level 0 of") && refused.mentions("name where it is with --base"), "{refused}");
}

fn links_where_a_restore_is_noted() {
    let kept = Kept::new("kept-restoring");
    let _ = kept.restore(0);
    let folders = fs::read_dir(kept.scratch.join("state/restoring")).expect("state");
    let folder = folders.map(|entry| entry.expect("state").path()).next().expect("there was a restore");
    for (name, how) in [("mutex", "link"), ("mutex", "pipe"), ("4711", "pipe"), ("4711", "link")] {
        fs::write(folder.join(name), "").expect("state");
        kept.replace(&folder.join(name), how);
        let refused = kept.restore(0).expect(code::FAILED);
        kept.check(&refused);
        assert!(refused.mentions(name) && refused.mentions("put it away"), "{refused}");
        kept.put_back(&folder.join(name));
        fs::remove_file(folder.join(name)).expect("state");
    }
}

fn apply(kept: &Kept, level: usize, to: &Path) -> Outcome {
    let run = restore(&kept.scratch, kept.tape(level), to).arg("--apply");
    let outcome = run.timeout(Duration::from_secs(30)).outcome();
    kept.check(&outcome);
    outcome
}

/// Somebody else may own the tree.
fn links_beside_an_applied_tree() {
    let kept = Kept::new("kept-applied");
    let _ = kept.dump(1).outcome().done();
    let out = kept.scratch.directory("applied");
    let _ = apply(&kept, 0, &out).done();
    let folder = out.join(".tapedump");
    let dumps = fs::read_dir(kept.scratch.join("state/dumps")).expect("state");
    for dump in dumps.map(|entry| entry.expect("state").file_name()) {
        let catalog = folder.join(format!("{}.catalog", dump.to_str().expect("an identity")));
        if !catalog.exists() {
            symlink(&kept.outside, catalog).expect("planted");
        }
    }
    symlink(&kept.outside, folder.join("applied.new")).expect("planted");
    for (name, how) in [("applied", "pipe"), ("applied", "link"), ("", "link")] {
        let path = if name.is_empty() { folder.clone() } else { folder.join(name) };
        kept.replace(&path, how);
        let refused = apply(&kept, 1, &out).expect(code::FAILED);
        assert!(refused.mentions("put it away"), "{refused}");
        kept.put_back(&path);
    }
    let elsewhere = kept.scratch.directory("elsewhere");
    symlink(&elsewhere, folder.join("aside")).expect("planted");
    let refused = apply(&kept, 1, &out).expect(code::FAILED);
    assert!(refused.mentions("aside") && refused.mentions("put it away"), "{refused}");
    assert_eq!(fs::read_dir(&elsewhere).expect("own directory").count(), 0);
}

/// What came with a dump would be taken for what is kept here, and links in it would be followed.
fn a_dump_with_a_folder_of_its_own() {
    let kept = Kept::new("kept-own");
    fs::create_dir(kept.tree.join(".tapedump")).expect("tree");
    let _ = kept.dump(1).outcome().done();
    let out = kept.scratch.directory("applied");
    let _ = apply(&kept, 0, &out).done();
    let refused = apply(&kept, 1, &out).expect(code::FAILED);
    assert!(refused.mentions(".tapedump of its own"), "{refused}");
    let _ = kept.dump(0).outcome().done();
    let out = kept.scratch.directory("applied anew");
    let refused = apply(&kept, 0, &out).expect(code::FAILED);
    assert!(refused.mentions(".tapedump of its own"), "{refused}");
    assert_eq!(fs::read_dir(&out).expect("own directory").count(), 0);
}
