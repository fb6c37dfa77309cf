use super::*;
use tapedump_core::device::DeviceError;
use tapedump_core::device::tape::{TapePosition, TapeRead};

struct Place {
    dir: tempfile::TempDir,
    library: Library,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let library = Library::new(dir.path().join("tapes"));
        library.create("weekly", None).unwrap();
        Self { dir, library }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn resolve(&self, argument: impl AsRef<OsStr>, mode: Mode) -> Result<TapeSpec, TapeError> {
        TapeSpec::resolve(argument.as_ref(), &self.library, mode)
    }
}

const NEW: Mode = Mode::Write(Existing::Refuse);
const OVERWRITE: Mode = Mode::Write(Existing::Overwrite);
const APPEND: Mode = Mode::Write(Existing::Append);

#[test]
fn names_and_paths() {
    let place = Place::new();
    let weekly = place.library.path("weekly").unwrap();
    assert_eq!(place.resolve("-", Mode::Read).unwrap(), TapeSpec::Standard);
    assert_eq!(place.resolve("null:", NEW).unwrap(), TapeSpec::Null);
    assert_eq!(place.resolve("null:", Mode::Read).unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(place.resolve("weekly", Mode::Read).unwrap(), TapeSpec::Virtual(weekly.clone()));
    assert_eq!(place.resolve(&weekly, NEW).unwrap(), TapeSpec::Virtual(weekly));
    std::fs::write(place.path("image"), "x").unwrap();
    assert_eq!(place.resolve(place.path("image"), Mode::Read).unwrap(), TapeSpec::File(place.path("image")));
    assert_eq!(place.resolve(place.path("new"), NEW).unwrap(), TapeSpec::File(place.path("new")));
}

#[test]
fn what_is_not_there_is_named() {
    let place = Place::new();
    for mode in [Mode::Read, NEW] {
        let error = place.resolve("no-such-tape-anywhere", mode).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.to_string().contains("there is no such tape"), "{error}");
    }
    assert_eq!(place.resolve(place.path("none"), Mode::Read).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(place.resolve(place.path("none/new"), NEW).unwrap_err().kind(), ErrorKind::NotFound);
    std::fs::create_dir(place.path("folder")).unwrap();
    let spec = place.resolve(place.path("folder"), Mode::Read).unwrap();
    let error = open(&spec, Mode::Read).map(drop).unwrap_err();
    assert!(error.to_string().contains("not a virtual tape"), "{error}");
    assert_eq!(std::fs::read_dir(place.path("folder")).unwrap().count(), 0);
}

#[test]
fn a_tape_with_data_is_written_over_only_on_demand() {
    let place = Place::new();
    let spec = place.resolve("weekly", NEW).unwrap();
    let mut tape = open(&spec, NEW).unwrap();
    tape.write(&[1; 1024]).unwrap();
    tape.write_filemark().unwrap();
    tape.write(&[2; 1024]).unwrap();
    drop(tape);

    let error = open(&spec, NEW).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exists);
    assert!(error.to_string().contains("--overwrite"), "{error}");

    let mut tape = open(&spec, APPEND).unwrap();
    assert_eq!(tape.position().unwrap(), TapePosition { file: 2, record: 0 }, "behind the unclosed file");
    drop(tape);
    let mut tape = open(&spec, OVERWRITE).unwrap();
    assert_eq!(tape.position().unwrap(), TapePosition::default());
    assert_eq!(
        tape.read(&mut [0; 1024]).unwrap(),
        TapeRead::Record(1024),
        "nothing is gone before the first write"
    );
    tape.rewind().unwrap();
    tape.write(&[3; 2048]).unwrap();
    assert_eq!(tape.read(&mut [0; 1024]).unwrap(), TapeRead::EndOfData);
}

#[test]
fn a_file_with_data_is_written_over_only_on_demand() {
    let place = Place::new();
    let path = place.path("image");
    std::fs::write(&path, vec![1; 3000]).unwrap();
    let spec = place.resolve(&path, NEW).unwrap();
    assert_eq!(open(&spec, NEW).map(drop).unwrap_err().kind(), ErrorKind::Exists);
    assert_eq!(open(&spec, APPEND).map(drop).unwrap_err().kind(), ErrorKind::Unsupported);
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 3000);
    open(&spec, OVERWRITE).unwrap().write(&[2; 1024]).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 1024);
}

#[test]
fn a_protected_tape_is_refused_before_anything_happens() {
    let place = Place::new();
    let spec = place.resolve("weekly", NEW).unwrap();
    VirtualTape::open(&place.library.path("weekly").unwrap(), Access::Write)
        .unwrap()
        .relabel(None, Some(true))
        .unwrap();
    for mode in [NEW, OVERWRITE, APPEND] {
        assert_eq!(open(&spec, mode).map(drop).unwrap_err().kind(), ErrorKind::ReadOnly);
    }
    open(&spec, Mode::Read).unwrap();
}

#[test]
fn threads_keep_the_bytes() {
    let place = Place::new();
    let spec = place.resolve("weekly", NEW).unwrap();
    let mut tape =
        ahead_or_behind(&spec, open(&spec, NEW).unwrap(), NEW, 1 << 20, 4096, Stop::never()).unwrap();
    for seed in 0..200 {
        tape.write(&[seed; 4096]).unwrap();
    }
    tape.write_filemark().unwrap();
    drop(tape);
    let mut tape =
        ahead_or_behind(&spec, open(&spec, Mode::Read).unwrap(), Mode::Read, 1 << 20, 4096, Stop::never())
            .unwrap();
    let mut buf = [0; 4096];
    for seed in 0..200 {
        assert_eq!(tape.read(&mut buf).unwrap(), TapeRead::Record(4096));
        assert!(buf == [seed; 4096]);
    }
    assert_eq!(tape.read(&mut buf).unwrap(), TapeRead::Filemark);
}
