//! Whether a restore fits, and what happens when it does not (R-RESTORE-6).

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use tapedump_tests::cli::{Outcome, code};
use tapedump_tests::needs::Need;
use tapedump_tests::product::{dump, restore};
use tapedump_tests::scratch::{Mount, Scratch, make_btrfs, make_ext4, remove_tree};

use crate::Case;

pub(crate) const CASES: &[Case] = &[
    Case { name: "chosen_paths", needs: &[Need::Root], run: chosen_paths },
    Case { name: "holes_need_no_room", needs: &[Need::Root], run: holes_need_no_room },
    Case { name: "a_chain_needs_its_tree", needs: &[Need::Root], run: a_chain_needs_its_tree },
    Case { name: "inodes", needs: &[Need::Root, Need::Loop, Need::MKE2FS], run: inodes },
    Case {
        name: "what_fits_by_force",
        needs: &[Need::Root, Need::Loop, Need::MKE2FS, Need::BTRFS],
        run: what_fits_by_force,
    },
    Case {
        name: "names_that_fit_by_force",
        needs: &[Need::Root, Need::Loop, Need::MKE2FS],
        run: names_that_fit,
    },
];

const MIB: u64 = 1 << 20;

fn fill(path: &Path, mebibytes: usize, with: u8) {
    fs::create_dir_all(path.parent().expect("one")).expect("made");
    fs::write(path, vec![with; mebibytes << 20]).expect("written");
}

/// Refused, with what is needed and what is there, and nothing written.
fn assert_refused(outcome: Outcome, needed: &str, out: &Path) {
    let refused = outcome.expect(code::FAILED);
    assert!(refused.mentions("not enough space") && refused.mentions(needed), "needed {needed}: {refused}");
    assert!(refused.mentions("are free") && refused.mentions("--force"), "{refused}");
    let left = fs::read_dir(out).expect("read").filter_map(|entry| Some(entry.ok()?.file_name()));
    assert_eq!(left.filter(|name| name != "lost+found").count(), 0, "nothing has been written");
}

fn chosen_paths() {
    let scratch = Scratch::in_memory("room-paths");
    let tree = scratch.directory("tree");
    fill(&tree.join("large/one"), 30, 1);
    fill(&tree.join("large/two"), 31, 2);
    fill(&tree.join("small/one"), 5, 3);
    let tape = scratch.join("tape");
    let _ = dump(&scratch, &tree, &tape).outcome().done();
    let mount = Mount::tmpfs(&scratch.join("small"), "size=120m,mode=755");
    assert_refused(restore(&scratch, &tape, mount.path()).arg("large").outcome(), "161.0 MiB", mount.path());
    assert_refused(restore(&scratch, &tape, mount.path()).outcome(), "166.0 MiB", mount.path());
    // A dry run says so, and reads all the same.
    let dry = restore(&scratch, &tape, mount.path()).args(["large", "--dry-run"]).outcome();
    let dry = dry.expect(code::INCOMPLETE).says("this restore would be refused: not enough space");
    assert!(
        dry.mentions("161.0 MiB") && dry.mentions("nothing was written") && dry.mentions("61.0 MiB of data")
    );
    assert_eq!(fs::read_dir(mount.path()).expect("read").count(), 0, "nothing has been written");
    let _ = restore(&scratch, &tape, mount.path()).args(["small", "--dry-run"]).outcome().done();
    // The same path twice is not restored twice.
    let twice = restore(&scratch, &tape, mount.path()).args(["large/one", "large"]).outcome();
    assert_refused(twice, "161.0 MiB", mount.path());
    let _ = restore(&scratch, &tape, mount.path()).arg("small").outcome().done();
    remove_tree(&mount.path().join("small")).expect("removed");
    // Without catalogs, only that there are 100 MiB at all.
    remove_tree(&scratch.join("state")).expect("removed");
    let _ = restore(&scratch, &tape, mount.path()).arg("small").outcome().done();
    remove_tree(&mount.path().join("small")).expect("removed");
    fill(&mount.path().join("lost+found/in the way"), 30, 4);
    assert_refused(restore(&scratch, &tape, mount.path()).arg("small").outcome(), "100.0 MiB", mount.path());
    let _ = restore(&scratch, &tape, mount.path()).args(["small", "--force"]).outcome().done();
}

fn holes_need_no_room() {
    let scratch = Scratch::in_memory("room-holes");
    let tree = scratch.directory("tree");
    let sparse = File::create(tree.join("sparse")).expect("made");
    sparse.set_len(3 << 30).expect("long");
    sparse.write_all_at(&vec![7; 3 << 20], 1 << 30).expect("written");
    let tape = scratch.join("tape");
    let _ = dump(&scratch, &tree, &tape).outcome().done();
    let mount = Mount::tmpfs(&scratch.join("small"), "size=125m,mode=755");
    for paths in [&[][..], &["sparse"]] {
        let _ = restore(&scratch, &tape, mount.path()).args(paths).outcome().done();
        let found = fs::metadata(mount.path().join("sparse")).expect("there");
        assert!(found.len() == 3 << 30 && found.blocks() * 512 < 5 * MIB, "{found:?}");
        fs::remove_file(mount.path().join("sparse")).expect("removed");
    }
}

/// The catalogs tell what the tree of a chain needs; its tapes hold more than that.
fn a_chain_needs_its_tree() {
    let scratch = Scratch::in_memory("room-chain");
    let tree = scratch.directory("tree");
    fill(&tree.join("changes"), 40, 1);
    fill(&tree.join("goes"), 40, 2);
    let level0 = scratch.join("level0");
    let _ = dump(&scratch, &tree, &level0).outcome().done();
    fs::remove_file(tree.join("goes")).expect("removed");
    std::thread::sleep(std::time::Duration::from_millis(1100));
    fill(&tree.join("changes"), 42, 3);
    let level1 = scratch.join("level1");
    let _ = dump(&scratch, &tree, &level1).args(["--level", "1"]).outcome().done();
    let mount = Mount::tmpfs(&scratch.join("small"), "size=150m,mode=755");
    assert_refused(restore(&scratch, &level0, mount.path()).outcome(), "180.0 MiB", mount.path());
    let _ = restore(&scratch, &level1, mount.path()).outcome().done();
    assert_eq!(fs::metadata(mount.path().join("changes")).expect("there").len(), 42 * MIB);
    fs::remove_file(mount.path().join("changes")).expect("removed");
    fill(&mount.path().join("lost+found/in the way"), 20, 4);
    assert_refused(restore(&scratch, &level1, mount.path()).outcome(), "142.0 MiB", mount.path());
}

fn many_files(tree: &Path, count: usize) {
    for index in 0..count {
        fs::create_dir_all(tree.join(format!("d{}", index % 3))).expect("made");
        fs::write(tree.join(format!("d{}/f{index}", index % 3)), [index as u8; 100]).expect("written");
    }
}

fn inodes() {
    let scratch = Scratch::new("room-inodes");
    let tree = scratch.directory("tree");
    many_files(&tree, 300);
    let tape = scratch.join("tape");
    let _ = dump(&scratch, &tree, &tape).outcome().done();
    let image = scratch.join("ext4.img");
    make_ext4(&image, 300 << 20, &["-N", "128"]);
    let mount = Mount::image(&image, &scratch.join("small"), "");
    let free = rustix::fs::statvfs(mount.path()).expect("asked").f_favail;
    assert!((101..300).contains(&free), "{free} inodes");
    for (paths, needed) in [(&[][..], "it needs 304"), (&["d0", "d1"], "it needs 202")] {
        let refused = restore(&scratch, &tape, mount.path()).args(paths).outcome().expect(code::FAILED);
        assert!(refused.mentions("not enough inodes") && refused.mentions(needed), "{refused}");
        assert!(refused.mentions(&format!("{free} are free")), "{refused}");
    }
    // As far as the names tell, without catalogs.
    remove_tree(&scratch.join("state")).expect("removed");
    let refused = restore(&scratch, &tape, mount.path()).args(["d0", "d1"]).outcome().expect(code::FAILED);
    assert!(refused.mentions("not enough inodes") && refused.mentions("it needs 202"), "{refused}");
    let _ = restore(&scratch, &tape, mount.path()).arg("d0").outcome().done();
}

/// Each file is there as it was, or it is named.
fn assert_there_or_named(tree: &Path, out: &Path, names: &[String], outcome: &Outcome) {
    let said = outcome.err();
    let (mut there, mut missing) = (0, 0);
    for name in names {
        let expected = fs::read(tree.join(name)).expect("source");
        if fs::read(out.join(name)).is_ok_and(|found| found == expected) {
            there += 1;
        } else {
            missing += 1;
            let named = said.lines().any(|line| line.contains(&format!("{name}:")));
            assert!(named, "{name} is missing, and not named:\n{outcome}");
        }
    }
    assert!(there > 0 && missing > 0, "{there} there, {missing} missing: {outcome}");
    assert!(outcome.mentions("not restored, or not wholly: ") && outcome.mentions("space"), "{outcome}");
}

fn what_fits_by_force() {
    let scratch = Scratch::new("room-force");
    let tree = scratch.directory("tree");
    let names: Vec<String> = (0..80).map(|index| format!("d{}/file {index:02}", index % 4)).collect();
    for (index, name) in names.iter().enumerate() {
        fs::create_dir_all(tree.join(name).parent().expect("one")).expect("made");
        // What is not the same cannot be stored once.
        let data: Vec<u8> = (0..2 * MIB as usize).map(|at| (at * 7 + index + (at >> 9)) as u8).collect();
        fs::write(tree.join(name), data).expect("written");
    }
    let (level0, level1) = (scratch.join("level0"), scratch.join("level1"));
    let _ = dump(&scratch, &tree, &level0).outcome().done();
    std::thread::sleep(std::time::Duration::from_millis(1100));
    fs::write(tree.join(&names[5]), "changed").expect("written");
    let _ = dump(&scratch, &tree, &level1).args(["--level", "1"]).outcome().done();
    for (kind, tape) in [("ext4", &level1), ("btrfs", &level1), ("tmpfs", &level1)] {
        let image = scratch.join(&format!("{kind}.img"));
        let at = scratch.join(kind);
        let mount = match kind {
            "ext4" => {
                make_ext4(&image, 60 << 20, &[]);
                Mount::image(&image, &at, "")
            }
            "btrfs" => {
                make_btrfs(&image, 150 << 20, &[]);
                Mount::image(&image, &at, "")
            }
            _ => Mount::tmpfs(&at, "size=50m,mode=755"),
        };
        let refused = restore(&scratch, tape, mount.path()).outcome();
        assert_refused(refused, "258.0 MiB", mount.path());
        let forced = restore(&scratch, tape, mount.path()).arg("--force").outcome().expect(code::INCOMPLETE);
        assert_there_or_named(&tree, mount.path(), &names, &forced);
    }
    // Chosen paths are listed alone, also without catalogs.
    remove_tree(&scratch.join("state")).expect("removed");
    let mount = Mount::tmpfs(&scratch.join("paths"), "size=20m,mode=755");
    let run = restore(&scratch, &level0, mount.path()).args(["d2", "d3", "--force"]);
    let forced = run.outcome().expect(code::INCOMPLETE);
    let chosen: Vec<String> =
        names.iter().filter(|name| name.starts_with("d2") || name.starts_with("d3")).cloned().collect();
    assert_there_or_named(&tree, mount.path(), &chosen, &forced);
    assert!(!forced.err().contains("d0/") && !forced.err().contains("d1/"), "{forced}");
}

/// Inodes that run out, while directories are made and while files are.
fn names_that_fit() {
    let scratch = Scratch::new("room-names");
    let tree = scratch.directory("tree");
    let mut names = Vec::new();
    for directory in 0..150 {
        for file in 0..2 {
            let name = format!("dir {directory}/file {file}");
            fs::create_dir_all(tree.join(&name).parent().expect("one")).expect("made");
            fs::write(tree.join(&name), name.as_bytes()).expect("written");
            names.push(name);
        }
    }
    let tape = scratch.join("tape");
    let _ = dump(&scratch, &tree, &tape).outcome().done();
    for (inodes, where_it_ends) in [("64", "directories"), ("256", "files")] {
        let image = scratch.join(&format!("{inodes}.img"));
        make_ext4(&image, 200 << 20, &["-N", inodes]);
        let mount = Mount::image(&image, &scratch.join(inodes), "");
        let forced = restore(&scratch, &tape, mount.path()).arg("--force").outcome().expect(code::INCOMPLETE);
        let there = names.iter().filter(|name| mount.path().join(name).exists()).count();
        assert_eq!(there > 0, where_it_ends == "files", "{forced}");
        for name in names.iter().filter(|name| !mount.path().join(name).exists()) {
            let named = forced.err().lines().any(|line| line.contains(&format!("{name}:")));
            assert!(named, "{name}: {forced}");
        }
    }
}
