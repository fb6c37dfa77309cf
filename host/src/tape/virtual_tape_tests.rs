use super::*;

struct Bench {
    _dir: tempfile::TempDir,
    tape: PathBuf,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let tape = dir.path().join("tape");
        VirtualTape::create(&tape, "bench", None).unwrap();
        Self { _dir: dir, tape }
    }

    fn open(&self) -> VirtualTape {
        VirtualTape::open(&self.tape, Access::Write).unwrap()
    }

    fn data(&self, file: u32) -> PathBuf {
        label::data_path(&self.tape, file)
    }

    /// Two closed tape files: 3 records of 2,048 bytes, the last shorter; 2 records of 1,024.
    fn written(self) -> Self {
        let mut tape = self.open();
        for (seed, len) in [(1, 2048), (2, 2048), (3, 100)] {
            tape.write(&vec![seed; len]).unwrap();
        }
        tape.write_filemark().unwrap();
        tape.write(&[4; 1024]).unwrap();
        tape.write(&[5; 1024]).unwrap();
        tape.write_filemark().unwrap();
        drop(tape);
        self
    }
}

/// What a fresh opening reads: records as (first byte, length), marks as themselves, errors as their kind.
#[derive(Debug, PartialEq)]
enum Met {
    Record(u8, usize),
    Mark,
    End,
    Error(ErrorKind),
}

fn contents(tape: &mut VirtualTape) -> Vec<Met> {
    let mut met = Vec::new();
    let mut buf = vec![0; 4096];
    for _ in 0..100 {
        met.push(match tape.read(&mut buf) {
            Ok(TapeRead::Record(len)) => Met::Record(buf[0], len),
            Ok(TapeRead::Filemark) => Met::Mark,
            Ok(TapeRead::EndOfData) => Met::End,
            Ok(other) => panic!("{other:?}"),
            Err(error) => Met::Error(error.kind()),
        });
        if met.last() == Some(&Met::End) {
            return met;
        }
    }
    panic!("the tape does not end: {met:?}");
}

fn reopened(bench: &Bench) -> Vec<Met> {
    contents(&mut VirtualTape::open(&bench.tape, Access::Read).unwrap())
}

fn first_file() -> Vec<Met> {
    vec![Met::Record(1, 2048), Met::Record(2, 2048), Met::Record(3, 100), Met::Mark]
}

fn second_file() -> Vec<Met> {
    vec![Met::Record(4, 1024), Met::Record(5, 1024), Met::Mark]
}

fn joined(parts: impl IntoIterator<Item = Vec<Met>>) -> Vec<Met> {
    parts.into_iter().flatten().chain([Met::End]).collect()
}

#[test]
fn the_files_hold_the_records_and_nothing_else() {
    let bench = Bench::new().written();
    let first = std::fs::read(bench.data(0)).unwrap();
    assert!(first == [vec![1; 2048], vec![2; 2048], vec![3; 100]].concat());
    assert_eq!(std::fs::read(bench.data(1)).unwrap().len(), 2048);
    assert_eq!(reopened(&bench), joined([first_file(), second_file()]));
}

#[test]
fn one_writer_or_several_readers() {
    let bench = Bench::new().written();
    let writer = bench.open();
    for access in [Access::Read, Access::Write] {
        let error = VirtualTape::open(&bench.tape, access).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Busy);
        assert!(error.to_string().contains("another program"), "{error}");
    }
    assert_eq!(VirtualTape::inspect(&bench.tape).unwrap().files.len(), 2);
    drop(writer);
    let readers = [Access::Read; 2].map(|access| VirtualTape::open(&bench.tape, access).unwrap());
    assert_eq!(VirtualTape::open(&bench.tape, Access::Write).unwrap_err().kind(), ErrorKind::Busy);
    drop(readers);
    drop(bench.open());
}

#[test]
fn unloading_gives_the_lock_back() {
    let bench = Bench::new();
    let mut tape = bench.open();
    tape.write(&[1; 1024]).unwrap();
    tape.unload().unwrap();
    assert_eq!(tape.write(&[1; 1024]).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(tape.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::NotFound);
    drop(bench.open());
}

#[test]
fn a_crash_while_writing_leaves_what_was_written() {
    let bench = Bench::new().written();
    let mut tape = bench.open();
    tape.space(Space::EndOfData).unwrap();
    tape.write(&[6; 1024]).unwrap();
    tape.write(&[7; 1024]).unwrap();
    // Nothing runs after a crash: neither a filemark nor the destructor's part.
    std::mem::forget(tape);
    rustix::fs::flock(
        File::open(bench.tape.join(LOCK_FILE)).unwrap(),
        rustix::fs::FlockOperation::NonBlockingLockShared,
    )
    .expect_err("the forgotten tape still holds its lock");
    std::fs::remove_file(bench.tape.join(LOCK_FILE)).unwrap();
    // The last record reached the disk in part only.
    std::fs::OpenOptions::new().write(true).open(bench.data(2)).unwrap().set_len(1024 + 300).unwrap();
    let third = vec![Met::Record(6, 1024), Met::Record(7, 300)];
    assert_eq!(reopened(&bench), joined([first_file(), second_file(), third]));

    // Closing it keeps that; nothing follows a shorter record in the same file.
    let mut tape = bench.open();
    tape.space(Space::EndOfData).unwrap();
    assert_eq!(tape.write(&[8; 1024]).unwrap_err().kind(), ErrorKind::Invalid);
    tape.write_filemark().unwrap();
    tape.write(&[9; 4096]).unwrap();
    tape.write_filemark().unwrap();
    drop(tape);
    let third = vec![Met::Record(6, 1024), Met::Record(7, 300), Met::Mark];
    assert_eq!(
        reopened(&bench),
        joined([first_file(), second_file(), third, vec![Met::Record(9, 4096), Met::Mark]])
    );
}

#[test]
fn a_crash_before_the_first_record_leaves_an_empty_open_file() {
    let bench = Bench::new().written();
    let mut label = Label::read(&bench.tape).unwrap();
    label.files.push(TapeFile::new(65536, 0, FileState::Open));
    label.write(&bench.tape).unwrap();
    assert_eq!(reopened(&bench), joined([first_file(), second_file()]));
    let mut tape = bench.open();
    assert_eq!(tape.space(Space::EndOfData).unwrap(), Spaced::Done);
    tape.write(&[6; 1024]).unwrap();
    tape.write(&[7; 1024]).unwrap();
    drop(tape);
    assert_eq!(
        reopened(&bench),
        joined([first_file(), second_file(), vec![Met::Record(6, 1024), Met::Record(7, 1024)]])
    );
}

/// Overwriting voids in the label first; a crash then finds the files as they were.
#[test]
fn a_crash_while_cutting_never_brings_old_data_back() {
    let bench = Bench::new().written();
    let mut label = Label::read(&bench.tape).unwrap();
    label.files = vec![TapeFile::new(2048, 2048, FileState::Cut)];
    label.write(&bench.tape).unwrap();
    assert_eq!(reopened(&bench), joined([vec![Met::Record(1, 2048)]]));
    let mut tape = bench.open();
    tape.space(Space::EndOfData).unwrap();
    tape.write(&[9; 2048]).unwrap();
    tape.write_filemark().unwrap();
    drop(tape);
    assert_eq!(reopened(&bench), joined([vec![Met::Record(1, 2048), Met::Record(9, 2048), Met::Mark]]));
    assert_eq!(std::fs::metadata(bench.data(0)).unwrap().len(), 4096);
}

#[test]
fn overwriting_removes_what_lies_behind() {
    let bench = Bench::new().written();
    let mut tape = bench.open();
    tape.write(&[9; 4096]).unwrap();
    assert!(!bench.data(1).exists());
    drop(tape);
    assert_eq!(reopened(&bench), joined([vec![Met::Record(9, 4096)]]));
}

#[test]
fn nothing_is_cut_before_the_first_write() {
    let bench = Bench::new().written();
    let mut tape = bench.open();
    tape.locate(TapePosition { file: 0, record: 1 }).unwrap();
    assert_eq!(tape.write(&[9; 2049]).unwrap_err().kind(), ErrorKind::Invalid);
    drop(tape);
    assert_eq!(reopened(&bench), joined([first_file(), second_file()]));
}

#[test]
fn one_record_length_per_tape_file() {
    let bench = Bench::new();
    let mut tape = bench.open();
    tape.write(&[1; 2048]).unwrap();
    let error = tape.write(&[2; 4096]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("records of 2048 bytes"), "{error}");
    tape.write(&[3; 1000]).unwrap();
    let error = tape.write(&[4; 1000]).unwrap_err();
    assert!(error.to_string().contains("shorter last one"), "{error}");
    tape.write_filemark().unwrap();
    tape.write(&[5; 4096]).unwrap();
}

#[test]
fn missing_data_is_an_error_once_and_the_rest_is_readable() {
    let bench = Bench::new().written();
    std::fs::OpenOptions::new().write(true).open(bench.data(0)).unwrap().set_len(2048).unwrap();
    let lost = vec![Met::Record(1, 2048), Met::Error(ErrorKind::Medium), Met::Mark];
    assert_eq!(reopened(&bench), joined([lost, second_file()]));
    std::fs::remove_file(bench.data(0)).unwrap();
    let lost = vec![Met::Error(ErrorKind::Medium), Met::Mark];
    assert_eq!(reopened(&bench), joined([lost, second_file()]));
}

#[test]
fn bytes_behind_a_closed_file_are_not_read() {
    let bench = Bench::new().written();
    let mut bytes = std::fs::read(bench.data(0)).unwrap();
    bytes.extend_from_slice(&[0xff; 5000]);
    std::fs::write(bench.data(0), bytes).unwrap();
    assert_eq!(reopened(&bench), joined([first_file(), second_file()]));
}

#[test]
fn a_link_in_place_of_a_tape_file_is_not_followed() {
    let bench = Bench::new().written();
    let outside = bench._dir.path().join("outside");
    std::fs::write(&outside, "precious").unwrap();
    std::fs::remove_file(bench.data(0)).unwrap();
    std::os::unix::fs::symlink(&outside, bench.data(0)).unwrap();
    assert!(VirtualTape::open(&bench.tape, Access::Write).is_err());
    // As a stray name where the next tape file is to be made.
    let bench = Bench::new();
    std::fs::write(bench._dir.path().join("outside"), "precious").unwrap();
    std::os::unix::fs::symlink("../outside", bench.data(0)).unwrap();
    let mut tape = bench.open();
    tape.write(&[1; 1024]).unwrap();
    assert_eq!(std::fs::read(bench._dir.path().join("outside")).unwrap(), b"precious");
    assert!(bench.data(0).symlink_metadata().unwrap().is_file(), "the link made room");
}

#[test]
fn write_protection() {
    let bench = Bench::new().written();
    let mut tape = bench.open();
    tape.relabel(Some("archive"), Some(true)).unwrap();
    assert!(tape.capabilities().write_protected);
    assert_eq!(tape.write(&[1; 1024]).unwrap_err().kind(), ErrorKind::ReadOnly);
    assert_eq!(tape.write_filemark().unwrap_err().kind(), ErrorKind::ReadOnly);
    assert_eq!(tape.erase().unwrap_err().kind(), ErrorKind::ReadOnly);
    drop(tape);
    let mut tape = bench.open();
    assert_eq!((tape.label().name.as_str(), tape.label().write_protected), ("archive", true));
    assert_eq!(contents(&mut tape), joined([first_file(), second_file()]));
    tape.relabel(None, Some(false)).unwrap();
    tape.write(&[1; 1024]).unwrap();
    drop(tape);

    let mut tape = VirtualTape::open(&bench.tape, Access::Read).unwrap();
    assert!(tape.capabilities().write_protected);
    assert_eq!(tape.write(&[1; 1024]).unwrap_err().kind(), ErrorKind::ReadOnly);
}

#[test]
fn erasing_keeps_the_name() {
    let bench = Bench::new().written();
    let mut tape = bench.open();
    assert!(!tape.is_blank());
    tape.erase().unwrap();
    assert!(tape.is_blank());
    drop(tape);
    assert_eq!(reopened(&bench), [Met::End]);
    assert!(!bench.data(0).exists() && !bench.data(1).exists());
    assert_eq!(VirtualTape::inspect(&bench.tape).unwrap().name, "bench");
}

#[test]
fn only_a_blank_tape_can_be_removed() {
    let bench = Bench::new().written();
    assert_eq!(bench.open().remove().unwrap_err().kind(), ErrorKind::Exists);
    let mut tape = bench.open();
    tape.erase().unwrap();
    tape.remove().unwrap();
    assert!(!bench.tape.exists());
}

#[test]
fn without_a_record_it_is_blank() {
    let bench = Bench::new();
    let mut tape = bench.open();
    tape.write(&[1; 2048]).unwrap();
    assert!(!tape.is_blank());
    drop(tape);
    // As a program leaves it that is killed before its first record.
    File::create(bench.data(0)).unwrap();
    let mut tape = bench.open();
    assert!(tape.is_blank());
    assert_eq!(contents(&mut tape), [Met::End]);
    tape.rewind().unwrap();
    tape.write(&[2; 1024]).unwrap();
    assert!(!tape.is_blank());
    drop(tape);
    assert_eq!(reopened(&bench), [Met::Record(2, 1024), Met::End]);

    File::create(bench.data(0)).unwrap();
    bench.open().remove().unwrap();
    assert!(!bench.tape.exists());
}

#[test]
fn creating_over_something_is_refused() {
    let bench = Bench::new();
    let error = VirtualTape::create(&bench.tape, "again", None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exists);
    let error = VirtualTape::open(bench._dir.path(), Access::Write).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(!bench._dir.path().join(LOCK_FILE).exists(), "what is no tape is left alone");
}
