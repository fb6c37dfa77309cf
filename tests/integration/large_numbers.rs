//! Trees whose inode numbers do not fit on a tape: increments go on with the numbers that the dumps before gave.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use tapedump_tests::cli::code;
use tapedump_tests::needs::Need;
use tapedump_tests::random::seed;
use tapedump_tests::scratch::{Mount, Scratch, make_large_xfs};
use tapedump_tests::tree::Tree;

use crate::Case;
use crate::increments::{check, debian_applies, dump_and_restore, dump_level};
use crate::world::World;

const XFS: &[Need] = &[Need::Root, Need::Loop, Need::MKFS_XFS];

pub(crate) const CASES: &[Case] = &[
    Case { name: "the_documented_order", needs: XFS, run: the_documented_order },
    Case { name: "a_number_of_another_object", needs: XFS, run: a_number_of_another_object },
    Case {
        name: "debian_applies_our_levels",
        needs: &[Need::Root, Need::Loop, Need::MKFS_XFS, Need::RESTORE],
        run: debian_applies_our_levels,
    },
    Case { name: "a_tree_that_outgrows_its_chain", needs: XFS, run: a_tree_that_outgrows_its_chain },
    Case { name: "without_the_numbers", needs: XFS, run: without_the_numbers },
];

/// From here on a tree's numbers are not used as they are.
const LARGE: u64 = 1 << 26;

/// A large file system, empty.
fn mounted(scratch: &Scratch) -> Mount {
    let image = scratch.join("image");
    make_large_xfs(&image);
    Mount::image(&image, &scratch.directory("mounted"), "rw")
}

/// Makes directories until one has a large number.
fn grow(tree: &Path) -> PathBuf {
    (0..100)
        .map(|index| tree.join(format!("large {index}")))
        .find(|path| {
            fs::create_dir(path).expect("made");
            fs::metadata(path).expect("made").ino() >= LARGE
        })
        .expect("directories are spread over the file system")
}

/// What is kept of each dump.
fn folders(scratch: &Scratch) -> Vec<PathBuf> {
    let dumps = fs::read_dir(scratch.join("state/dumps")).expect("dumps");
    dumps.map(|folder| folder.expect("folder").path()).collect()
}

/// There were so many dumps, and none had the numbers of the file system.
fn assert_kept(scratch: &Scratch, dumps: usize) {
    let kept = folders(scratch).iter().filter(|folder| folder.join("numbers").exists()).count();
    assert_eq!(kept, dumps);
}

fn the_documented_order() {
    let seed = seed();
    println!("seed {seed}");
    for (seed, levels) in (seed..).zip([&[0, 2, 3, 1, 4][..], &[0, 1, 2], &[0, 1, 2, 2, 1, 3, 2, 5]]) {
        let scratch = Scratch::in_memory("large-numbers");
        let mount = mounted(&scratch);
        grow(mount.path());
        let mut world = World::within(mount.path().to_path_buf(), seed);
        dump_and_restore(&scratch, &mut world, levels, &format!("seed {seed}"));
        assert_kept(&scratch, levels.len());
    }
}

/// Objects whose numbers on the file system were other objects' before.
fn a_number_of_another_object() {
    let scratch = Scratch::in_memory("large-numbers-again");
    let mount = mounted(&scratch);
    let (tree, large) = (mount.path(), grow(mount.path()));
    let beside = tree.join("beside");
    fs::create_dir(&beside).expect("made");
    let mut world = World::within(beside, 11);
    let names = || (0..40).map(|index| large.join(format!("again {index}")));
    names().for_each(|path| fs::write(path, "before").expect("written"));
    let numbers = || names().map(|path| fs::metadata(path).expect("there").ino()).collect::<Vec<_>>();
    let before = numbers();
    let tapes: Vec<PathBuf> = (0..3).map(|level| scratch.join(&format!("level{level}"))).collect();
    let mut expected = Vec::new();
    for (level, tape) in tapes.iter().enumerate() {
        let _ = dump_level(&scratch, tree, level as u32, tape).outcome().done();
        expected.push(Tree::read(tree).expect("tree"));
        names().for_each(|path| fs::remove_file(&path).or_else(|_| fs::remove_dir(&path)).expect("removed"));
        // XFS gives numbers free a little later.
        std::thread::sleep(std::time::Duration::from_millis(500));
        // In another order, and of other types.
        for (index, path) in names().enumerate().collect::<Vec<_>>().into_iter().rev() {
            match (index + level) % 3 {
                0 => fs::create_dir(path).expect("made"),
                _ => fs::write(path, format!("after {level}")).expect("written"),
            }
        }
        let after = numbers();
        let again = after.iter().filter(|number| before.contains(number)).count();
        assert!(again > 0, "this kernel gives no number again, so that nothing is tested: {after:?}");
        (0..10).for_each(|_| world.change());
    }
    for (tape, expected) in tapes.iter().zip(&expected) {
        check(&scratch, tape, expected, "numbers given again");
    }
    assert_kept(&scratch, tapes.len());
}

fn debian_applies_our_levels() {
    let scratch = Scratch::in_memory("large-numbers-debian");
    let mount = mounted(&scratch);
    grow(mount.path());
    let mut world = World::within(mount.path().to_path_buf(), 7);
    // What does not change from here on is on the baseline only.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    debian_applies(&scratch, &mut world);
    assert_kept(&scratch, 3);
}

fn a_tree_that_outgrows_its_chain() {
    let scratch = Scratch::in_memory("large-numbers-grown");
    let mount = mounted(&scratch);
    let tree = mount.path();
    fs::write(tree.join("file"), "in the first allocation group").expect("written");
    let _ = dump_level(&scratch, tree, 0, &scratch.join("small 0")).outcome().done();
    let _ = dump_level(&scratch, tree, 1, &scratch.join("small 1")).outcome().done();
    grow(tree);
    let tape = scratch.join("small 2");
    let refused = dump_level(&scratch, tree, 2, &tape).outcome().expect(code::FAILED);
    let _ = refused
        .says("a baseline is needed")
        .says("inode numbers do not fit on tape any more")
        .says("tapedump dump --level 0");
    assert!(!tape.exists());
    let mut world = World::within(tree.to_path_buf(), 13);
    dump_and_restore(&scratch, &mut world, &[0, 1, 2], "after it");
    assert_kept(&scratch, 3);
}

fn without_the_numbers() {
    let scratch = Scratch::in_memory("large-numbers-lost");
    let mount = mounted(&scratch);
    grow(mount.path());
    let _ = dump_level(&scratch, mount.path(), 0, &scratch.join("level0")).outcome().done();
    let folders = folders(&scratch);
    let [folder] = folders.as_slice() else { panic!("{folders:?}") };
    let numbers = folder.join("numbers");
    let whole = fs::read(&numbers).expect("numbers");
    let tape = scratch.join("level1");
    let refused = |why: &str| {
        let refused = dump_level(&scratch, mount.path(), 1, &tape).outcome().expect(code::FAILED);
        let _ = refused.says(why).says("dumps").says("a baseline is needed: dump with --level 0");
        assert!(!tape.exists());
    };
    let mut damaged = whole.clone();
    damaged[30] ^= 1;
    fs::write(&numbers, &damaged).expect("written");
    refused("not as it was written");
    fs::remove_file(&numbers).expect("removed");
    refused("No such file");
    fs::write(&numbers, &whole).expect("written");
    let _ = dump_level(&scratch, mount.path(), 1, &tape).outcome().done();
}
