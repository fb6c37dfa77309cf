//! LUNs: where they are restored to, and what their clients see meanwhile (R-RESTORE-8, 9, 11, 13).

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{XattrFlags, setxattr};
use rustix::process::Signal;
use tapedump_tests::cli::{Run, Running, code};
use tapedump_tests::needs::Need;
use tapedump_tests::product::{dump, restore};
use tapedump_tests::scratch::{Mount, Scratch, make_ext4, remove_tree};
use tapedump_tests::tape::{BLOCK, Record, RecordKind, Tape};

use crate::Case;
use crate::luns::{ON_BTRFS, create, dump_level, listed, lun, mark, volume, write};

pub(crate) const CASES: &[Case] = &[
    Case { name: "where_a_lun_stays_one", needs: ON_BTRFS, run: where_a_lun_stays_one },
    Case { name: "an_existing_lun_keeps_its_identifiers", needs: ON_BTRFS, run: an_existing_lun },
    Case { name: "clients_are_kept_away", needs: ON_BTRFS, run: clients_are_kept_away },
    Case { name: "a_crash_leaves_it_visible", needs: ON_BTRFS, run: a_crash_leaves_it_visible },
    Case {
        name: "on_a_volume_that_fills_up",
        needs: &[Need::Root, Need::Loop, Need::BTRFS, Need::MKE2FS],
        run: on_a_volume_that_fills_up,
    },
    Case { name: "a_single_file", needs: ON_BTRFS, run: a_single_file },
    Case { name: "damaged_data", needs: ON_BTRFS, run: damaged_data },
    Case {
        name: "locks_of_others",
        needs: &[Need::Root, Need::Loop, Need::BTRFS, Need::PERL],
        run: locks_of_others,
    },
];

/// R-RESTORE-8.
fn where_a_lun_stays_one() {
    let scratch = Scratch::new("luns-where");
    let source = volume(&scratch, "volume");
    create(&scratch, &source.path().join("lun"), "1M");
    fs::create_dir(source.path().join("qtree")).expect("made");
    fs::create_dir(source.path().join("plain")).expect("made");
    create(&scratch, &source.path().join("qtree/lun"), "1M");
    create(&scratch, &source.path().join("plain/lun"), "1M");
    let tape = scratch.join("tape");
    let _ = dump(&scratch, source.path(), &tape).outcome().done();
    let of = |name: &str| mark(&source.path().join(name));

    let out = volume(&scratch, "out");
    let qtree = out.path().join("qtree");
    fs::create_dir(&qtree).expect("made");
    let is_qtree = tapedump_qtree();
    setxattr(&qtree, "trusted.tapedump.qtree", &is_qtree, XattrFlags::empty()).expect("set");
    let said = restore(&scratch, &tape, out.path()).outcome().done();
    let found = |name: &str| mark(&out.path().join(name));
    assert_eq!(found("lun"), of("lun"));
    assert_eq!(found("qtree/lun"), of("qtree/lun"));
    assert_eq!(found("plain/lun"), None);
    assert_eq!(fs::read(out.path().join("plain/lun")).ok(), fs::read(source.path().join("plain/lun")).ok());
    assert!(said.mentions("1 LUN of these restored as plain files"), "{said}");

    // Into the root of a qtree, and below it.
    for (to, stays) in [("qtree/lun", true), ("qtree/below/lun", false)] {
        let to = out.path().join(to);
        _ = fs::remove_file(&to);
        let _ = restore(&scratch, &tape, to.parent().expect("one")).arg("lun").outcome().done();
        assert_eq!(mark(&to).is_some(), stays, "{}", to.display());
    }
    for (limit, why) in [("no-luns", "holds no LUNs"), ("older-release", "older release")] {
        let out = volume(&scratch, limit);
        let run = restore(&scratch, &tape, out.path()).args(["--target-capabilities", limit]);
        let said = run.outcome().done();
        assert!(said.mentions("3 LUNs of these restored as plain files") && said.mentions(why), "{said}");
        assert_eq!(mark(&out.path().join("lun")), None);
        assert_eq!(fs::read(out.path().join("lun")).ok(), fs::read(source.path().join("lun")).ok());
    }
}

/// The attributes of a qtree: only that there are some counts here.
fn tapedump_qtree() -> Vec<u8> {
    vec![1; 32]
}

/// R-RESTORE-8, 9: its data is replaced in its place, so that hosts find it where they had it.
fn an_existing_lun() {
    let scratch = Scratch::new("luns-existing");
    let source = volume(&scratch, "volume");
    create(&scratch, &source.path().join("lun"), "3M");
    let _ = lun(&scratch, "set", &source.path().join("lun")).args(["--os-type", "xen"]).outcome().done();
    fs::write(source.path().join("plain"), "restored over a LUN").expect("written");
    let tape = scratch.join("tape");
    let _ = dump(&scratch, source.path(), &tape).outcome().done();

    let out = volume(&scratch, "out");
    let (target, plain) = (out.path().join("lun"), out.path().join("plain"));
    let mut before = Vec::new();
    for path in [&target, &plain] {
        create(&scratch, path, "9M");
        write(path, 8 << 20, &[9; 100_000]);
        setxattr(path, "user.old", b"of before", XattrFlags::empty()).expect("set");
        let _ = lun(&scratch, "set", path).args(["--mapped", "yes"]).outcome().done();
        before.push((listed(&scratch, path), fs::metadata(path).expect("there").ino()));
    }
    // Restored alone, which is a restriction of its own, and with all.
    let _ = restore(&scratch, &tape, out.path()).arg("lun").outcome().done().says("hosts must drop");
    let said = restore(&scratch, &tape, out.path()).outcome().done();
    assert!(said.mentions("2 LUNs of these: clients may use them again"), "{said}");
    for (path, (before, ino)) in [&target, &plain].into_iter().zip(before) {
        let after = listed(&scratch, path);
        assert_eq!((&after["serial"], &after["mapped"]), (&before["serial"], &true.into()));
        assert_eq!(after["state"], before["state"]);
        let metadata = fs::metadata(path).expect("there");
        assert_eq!((metadata.ino(), &after["size"]), (ino, &metadata.len().into()));
        assert!(rustix::fs::lgetxattr(path, "user.old", &mut [0; 20][..]).is_err(), "nothing else of before");
        let name = path.file_name().expect("one");
        assert_eq!(fs::read(path).expect("read"), fs::read(source.path().join(name)).expect("read"));
    }
    assert_eq!(listed(&scratch, &target)["os_type"], serde_json::Value::from("xen"));
}

/// A restore whose tape stops coming in its midst.
struct Halted {
    running: Running,
    rest: Vec<u8>,
    pipe: std::io::PipeWriter,
}

impl Halted {
    /// Feeds all of a tape but the end, which is long enough that what comes before it has been written.
    fn begin(scratch: &Scratch, tape: &Path, to: &Path) -> Self {
        let mut bytes = fs::read(tape).expect("tape");
        let rest = bytes.split_off(bytes.len() - (2 << 20));
        let (reader, mut pipe) = std::io::pipe().expect("pipe");
        let running = restore(scratch, "-", to).stdin_from(File::from(OwnedFd::from(reader))).start();
        pipe.write_all(&bytes).expect("fed");
        Self { running, rest, pipe }
    }

    fn end(mut self) -> tapedump_tests::cli::Outcome {
        self.pipe.write_all(&self.rest).expect("fed");
        drop(self.pipe);
        self.running.wait()
    }
}

/// A LUN and what comes behind it on tape.
fn source_of_halted(scratch: &Scratch) -> (tapedump_tests::scratch::Mount, std::path::PathBuf) {
    let source = volume(scratch, "volume");
    create(scratch, &source.path().join("lun"), "1M");
    for index in 0..20 {
        fs::write(source.path().join(format!("z{index}")), vec![index; 1 << 20]).expect("written");
    }
    let tape = scratch.join("tape");
    let _ = dump(scratch, source.path(), &tape).outcome().done();
    (source, tape)
}

fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < end, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn is_in_restore(scratch: &Scratch, path: &Path) -> bool {
    let found = lun(scratch, "list", path).arg("--json").outcome();
    let found: Option<serde_json::Value> = serde_json::from_slice(&found.stdout).ok();
    found.is_some_and(|found| found["in_restore"] == true && found["state"] == "restricted")
}

/// R-RESTORE-9: also a LUN that is online and mapped. R-RESTORE-13: meanwhile nobody else restores there.
fn clients_are_kept_away() {
    let scratch = Scratch::new("luns-kept-away");
    let (source, tape) = source_of_halted(&scratch);
    let out = volume(&scratch, "out");
    let target = out.path().join("lun");
    create(&scratch, &target, "2M");
    let _ = lun(&scratch, "set", &target).args(["--mapped", "yes"]).outcome().done();
    let halted = Halted::begin(&scratch, &tape, out.path());
    wait_for("the LUN is restricted", || is_in_restore(&scratch, &target));
    for change in [["--state", "online"], ["--mapped", "no"], ["--state", "restricted"]] {
        let refused = lun(&scratch, "set", &target).args(change).outcome().expect(code::FAILED);
        assert!(refused.mentions("a restore is under way on it"), "{refused}");
    }
    let skipped = dump(&scratch, out.path(), "null:").outcome().expect(code::INCOMPLETE);
    assert!(skipped.mentions("lun: not dumped: the I/O of clients on it is restricted"), "{skipped}");
    let refused = restore(&scratch, &tape, &out.path().join("new")).arg("lun").outcome().expect(code::FAILED);
    let other = format!("a restore to {} is under way", out.path().display());
    assert!(refused.mentions(&other) && refused.mentions("process"), "{refused}");
    assert!(!out.path().join("new").exists(), "nothing has been written");
    let _ = restore(&scratch, &tape, &scratch.join("another volume")).arg("lun").outcome().done();

    let said = halted.end().done();
    assert!(said.mentions("hosts must drop what they have cached"), "{said}");
    let after = listed(&scratch, &target);
    assert_eq!((&after["state"], &after["mapped"]), (&"online".into(), &true.into()));
    assert_eq!(after["in_restore"], serde_json::Value::from(false));
    assert_eq!(fs::read(&target).expect("read"), fs::read(source.path().join("lun")).expect("read"));
    let _ = lun(&scratch, "set", &target).args(["--state", "offline"]).outcome().done();

    // And the other way round; two whole ones are not in each other's way.
    let begun = Halted::begin(&scratch, &tape, &out.path().join("one"));
    wait_for("it has begun", || out.path().join("one/z0").exists());
    let _ = restore(&scratch, &tape, &out.path().join("two")).outcome().done();
    let refused = restore(&scratch, &tape, out.path()).arg("z1").outcome().expect(code::FAILED);
    assert!(refused.mentions("is under way on this volume"), "{refused}");
    let _ = begun.end().done();
    let _ = restore(&scratch, &tape, out.path()).arg("z1").outcome().done();
}

/// R-RESTORE-9: never silently lost, and not dumped; whoever knows better frees it.
fn a_crash_leaves_it_visible() {
    let scratch = Scratch::new("luns-crash");
    let (source, tape) = source_of_halted(&scratch);
    for was_there in [true, false] {
        let out = volume(&scratch, if was_there { "out" } else { "fresh" });
        let target = out.path().join("lun");
        if was_there {
            create(&scratch, &target, "2M");
        }
        let halted = Halted::begin(&scratch, &tape, out.path());
        wait_for("the LUN is restricted", || is_in_restore(&scratch, &target));
        halted.running.signal(Signal::KILL);
        let Halted { running, pipe, .. } = halted;
        let _ = running.wait();
        drop(pipe);
        let left = listed(&scratch, &target);
        assert_eq!((&left["state"], &left["in_restore"]), (&"restricted".into(), &false.into()));
        let _ = dump(&scratch, out.path(), "null:").outcome().expect(code::INCOMPLETE).says("restricted");
        let _ = lun(&scratch, "set", &target).args(["--state", "online"]).outcome().done();
        assert_eq!(listed(&scratch, &target)["state"], serde_json::Value::from("online"));
        let _ = restore(&scratch, &tape, out.path()).arg("lun").outcome().done();
        assert_eq!(fs::read(&target).expect("read"), fs::read(source.path().join("lun")).expect("read"));
    }
    // One that was stopped says what it leaves.
    let out = volume(&scratch, "stopped");
    create(&scratch, &out.path().join("lun"), "2M");
    let halted = Halted::begin(&scratch, &tape, out.path());
    wait_for("the LUN is restricted", || is_in_restore(&scratch, &out.path().join("lun")));
    halted.running.signal(Signal::INT);
    let Halted { running, pipe, .. } = halted;
    drop(pipe);
    let said = running.wait().expect(code::FAILED);
    assert!(said.mentions("still restricted") && said.mentions("stopped/lun"), "{said}");
}

/// R-RESTORE-6, 8, 9: what is a LUN where it is restored stays restricted, since the restore is not complete; what is a plain file
/// there is one; and a LUN whose attributes did not come is named.
fn on_a_volume_that_fills_up() {
    let scratch = Scratch::new("luns-full");
    let source = volume(&scratch, "volume");
    fs::create_dir_all(source.path().join("top/below")).expect("made");
    for name in ["lun", "top/lun", "top/below/lun"] {
        create(&scratch, &source.path().join(name), "1M");
    }
    for name in ["empty", "top/empty file"] {
        fs::write(source.path().join(name), "").expect("written");
    }
    let _ = lun(&scratch, "create", &source.path().join("empty")).outcome().done();
    for index in 0..60 {
        fs::write(source.path().join(format!("z{index:02}")), vec![index; 2 << 20]).expect("written");
    }
    let tape = scratch.join("tape");
    let _ = dump(&scratch, source.path(), &tape).outcome().done();
    for has_catalog in [true, false] {
        let image = scratch.join(&format!("small {has_catalog}.img"));
        make_ext4(&image, 60 << 20, &[]);
        let out = Mount::image(&image, &scratch.join(&format!("small {has_catalog}")), "");
        if !has_catalog {
            remove_tree(&scratch.join("state")).expect("removed");
        }
        let said = restore(&scratch, &tape, out.path()).arg("--force").outcome().expect(code::INCOMPLETE);
        assert!(said.mentions("z59: not restored"), "{said}");
        for name in ["top/lun", "top/below/lun"] {
            assert_eq!(mark(&out.path().join(name)), None, "{name}: {said}");
            assert_eq!(
                fs::read(out.path().join(name)).expect("read"),
                fs::read(source.path().join(name)).expect("read")
            );
        }
        assert!(said.mentions("2 LUNs of these restored as plain files"), "{said}");
        let found = listed(&scratch, &out.path().join("lun"));
        assert_eq!((&found["state"], &found["kind"]), (&"restricted".into(), &"lun".into()));
        let err = said.err();
        let left = err.split("still restricted").nth(1).expect("what is left is told");
        assert!(left.contains("/lun\n") && !left.contains("top/"), "{said}");
        // What is of 0 bytes came, and its attributes are behind all the rest.
        assert!(out.path().join("empty").exists() && mark(&out.path().join("empty")).is_none(), "{said}");
        assert!(said.mentions("empty: restored without its ACLs, attributes"), "{said}");
        assert!(!said.mentions("empty file: restored without"), "{said}");
    }
}

/// R-RESTORE-9: a file that is restored by itself, too; a mark that was left goes with the next restore.
fn a_single_file() {
    let scratch = Scratch::new("luns-file");
    let source = volume(&scratch, "volume");
    fs::write(source.path().join("file"), vec![4; 3 << 20]).expect("written");
    fs::write(source.path().join("zz"), vec![5; 3 << 20]).expect("written");
    let tape = scratch.join("tape");
    let _ = dump(&scratch, source.path(), &tape).outcome().done();
    let out = volume(&scratch, "out");
    let target = out.path().join("file");
    let mut bytes = fs::read(&tape).expect("tape");
    let rest = bytes.split_off(bytes.len() - (1 << 20));
    let (reader, mut pipe) = std::io::pipe().expect("pipe");
    let run = restore(&scratch, "-", out.path()).arg("file");
    let running = run.stdin_from(File::from(OwnedFd::from(reader))).start();
    pipe.write_all(&bytes).expect("fed");
    wait_for("the file is restricted", || is_in_restore(&scratch, &target));
    assert_eq!(listed(&scratch, &target)["kind"], serde_json::Value::from("file"));
    let _ = dump(&scratch, out.path(), "null:").outcome().expect(code::INCOMPLETE).says("file: not dumped");
    // Nobody needs what comes behind it.
    _ = pipe.write_all(&rest);
    drop(pipe);
    let _ = running.wait().done();
    assert_eq!(mark(&target), None);
    assert_eq!(fs::read(&target).expect("read"), vec![4; 3 << 20]);

    let left = tapedump_core::record::lun::LunRepr::restricted_file().value();
    setxattr(&target, crate::luns::MARK, &left, XattrFlags::empty()).expect("set");
    let _ = restore(&scratch, &tape, out.path()).outcome().done();
    assert_eq!(mark(&target), None);
}

/// A LUN that did not come whole from the tape is inconsistent, and says so.
fn damaged_data() {
    let scratch = Scratch::new("luns-damaged");
    let source = volume(&scratch, "volume");
    create(&scratch, &source.path().join("lun"), "1M");
    let path = scratch.join("tape");
    let _ = dump(&scratch, source.path(), &path).outcome().done();
    let mut tape = Tape::parse(fs::read(&path).expect("tape")).expect("a dump");
    let is_lun = |record: &&Record| record.kind == RecordKind::Inode && !record.is_directory();
    let at = tape.records.iter().find(is_lun).expect("the LUN").blocks().start * BLOCK + BLOCK;
    tape.bytes[at + 5] ^= 0x40;
    fs::write(&path, &tape.bytes).expect("tape");
    let out = volume(&scratch, "out");
    let said = restore(&scratch, &path, out.path()).outcome().expect(code::INCOMPLETE);
    assert!(said.mentions("inconsistent") && said.mentions("out/lun"), "{said}");
    assert_eq!(listed(&scratch, &out.path().join("lun"))["state"], serde_json::Value::from("inconsistent"));
    let (_, run) = dump_level(&scratch, out.path(), 0);
    let _ = run.outcome().expect(code::INCOMPLETE).says("lun: not dumped: it is inconsistent");
}

/// Locks all files that it is given, each in its own way, says so, and waits.
const HOLDER: &str = r#"
    use Fcntl;
    my @open;
    my @how = (
        sub { flock($_[0], 2) },                                               # LOCK_EX
        sub { my $all = pack("s s x4 q q i x4", 1, 0, 0, 0, 0); fcntl($_[0], 37, $all) }, # F_OFD_SETLK, F_WRLCK
        sub { my $all = pack("s s x4 q q i x4", 1, 0, 0, 0, 0); fcntl($_[0], 6, $all) },  # F_SETLK, F_WRLCK
        sub { fcntl($_[0], 1024, 1) },                                         # F_SETLEASE, F_WRLCK
        sub { flock($_[0], 2) },
    );
    for (@ARGV) {
        open(my $file, "+<", $_) or die "$_: $!";
        (shift @how)->($file) or die "$_: $!";
        push @open, $file;
    }
    $| = 1;
    $SIG{IO} = "IGNORE";
    print "held\n";
    <STDIN>;
"#;

/// R-RESTORE-11: ignored, whichever they are, and without waiting for them.
fn locks_of_others() {
    let scratch = Scratch::new("luns-locks");
    let source = volume(&scratch, "volume");
    let names = ["flock", "ofd", "posix", "lease", "lun"];
    for name in names {
        if name == "lun" {
            create(&scratch, &source.path().join(name), "1M");
        } else {
            fs::write(source.path().join(name), format!("new {name}")).expect("written");
        }
    }
    let tape = scratch.join("tape");
    let _ = dump(&scratch, source.path(), &tape).outcome().done();
    let out = volume(&scratch, "out");
    let paths: Vec<_> = names.iter().map(|name| out.path().join(name)).collect();
    for path in &paths {
        fs::write(path, "old").expect("written");
    }
    fs::remove_file(&paths[4]).expect("there");
    create(&scratch, &paths[4], "2M");
    let mut holder = Command::new("perl")
        .args(["-e", HOLDER])
        .args(&paths)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("perl");
    let mut said = String::new();
    let _ = BufReader::new(holder.stdout.take().expect("piped")).read_line(&mut said);
    assert_eq!(said, "held\n", "the locks are held");
    let outcome = restore(&scratch, &tape, out.path()).timeout(Duration::from_secs(30)).outcome();
    let still_there = holder.try_wait().expect("asked").is_none();
    drop(holder.stdin.take());
    _ = holder.wait();
    assert!(still_there, "the holder held all the time");
    let _ = outcome.done();
    for name in names {
        let (old, new) = (source.path().join(name), out.path().join(name));
        assert_eq!(fs::read(old).expect("read"), fs::read(new).expect("read"), "{name}");
    }
    let listing = Run::tapedump(&scratch).args(["lun", "list"]).arg(out.path()).outcome().done().out();
    assert!(listing.contains("online"), "{listing}");
}
