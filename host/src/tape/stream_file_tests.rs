use super::*;
use tapedump_core::device::DeviceError;

#[test]
fn an_image_reads_in_records_and_ends_in_a_filemark() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image");
    std::fs::write(&path, vec![7; 2500]).unwrap();
    let mut tape = StreamFile::open(&path, 1024).unwrap();
    let mut buf = [0; 4096];
    for len in [1024, 1024, 452] {
        assert_eq!(tape.read(&mut buf).unwrap(), TapeRead::Record(len));
    }
    assert_eq!(tape.read(&mut buf).unwrap(), TapeRead::Filemark);
    assert_eq!(tape.read(&mut buf).unwrap(), TapeRead::EndOfData);
    assert_eq!(tape.space(Space::Filemarks(-1)).unwrap(), Spaced::Done);
    assert_eq!(tape.space(Space::Records(-1)).unwrap(), Spaced::Done);
    assert_eq!(tape.read(&mut buf).unwrap(), TapeRead::Record(452));
    assert!(tape.capabilities().write_protected);
    assert_eq!(
        tape.rewind().map(|()| tape.write(&[0; 1024]).unwrap_err().kind()).unwrap(),
        ErrorKind::ReadOnly
    );
}

#[test]
fn what_the_file_holds_stays_until_the_first_write() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image");
    std::fs::write(&path, vec![7; 5000]).unwrap();
    let mut tape = StreamFile::open_for_writing(&path).unwrap();
    assert!(!tape.is_blank());
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 5000);
    tape.write(&[1; 2048]).unwrap();
    tape.write(&[2; 1000]).unwrap();
    assert_eq!(tape.write(&[3; 1000]).unwrap_err().kind(), ErrorKind::Invalid);
    tape.write_filemark().unwrap();
    let error = tape.write(&[3; 1000]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("one tape file"), "{error}");
    assert!(std::fs::read(&path).unwrap() == [vec![1; 2048], vec![2; 1000]].concat());
}

#[test]
fn two_writers_do_not_share_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image");
    let _first = StreamFile::open_for_writing(&path).unwrap();
    assert_eq!(StreamFile::open_for_writing(&path).unwrap_err().kind(), ErrorKind::Busy);
}

#[test]
fn what_is_no_plain_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    for open in [|path: &Path| StreamFile::open(path, 1024), |path: &Path| StreamFile::open_for_writing(path)]
    {
        let error = open(Path::new("/dev/null")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("not a tape drive"), "{error}");
        assert!(open(dir.path()).unwrap_err().to_string().contains("a directory"));
    }
    assert_eq!(StreamFile::open(&dir.path().join("none"), 1).unwrap_err().kind(), ErrorKind::NotFound);
}

/// Delivers in pieces, as a pipe may.
struct Drip(Vec<u8>, usize);

impl Read for Drip {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = buf.len().min(self.0.len()).min(self.1);
        if len == 3 {
            self.1 = 2;
            return Err(io::ErrorKind::Interrupted.into());
        }
        buf[..len].copy_from_slice(&self.0[..len]);
        self.0.drain(..len);
        Ok(len)
    }
}

#[test]
fn a_pipe_gives_whole_records_however_it_delivers() {
    for piece in [1, 3, 700, 100_000] {
        let bytes: Vec<u8> = (0..5000_u32).map(|index| index as u8).collect();
        let mut tape = ReadPipe::new("pipe", Drip(bytes.clone(), piece), 2048);
        assert!(!tape.capabilities().can_position);
        let mut buf = [0; 4096];
        assert_eq!(tape.read(&mut buf[..100]).unwrap(), TapeRead::BufferTooSmall { needed: 2048 });
        assert_eq!(tape.position().unwrap(), TapePosition::default());
        let mut got = Vec::new();
        for len in [2048, 2048, 904] {
            assert_eq!(tape.read(&mut buf).unwrap(), TapeRead::Record(len));
            got.extend_from_slice(&buf[..len]);
        }
        assert!(got == bytes);
        assert_eq!(tape.read(&mut buf).unwrap(), TapeRead::Filemark);
        assert_eq!(tape.position().unwrap(), TapePosition { file: 1, record: 0 });
        assert_eq!(tape.read(&mut buf).unwrap(), TapeRead::EndOfData);
        assert_eq!(tape.rewind().unwrap_err().kind(), ErrorKind::Unsupported);
    }
}

#[test]
fn an_empty_pipe_is_a_blank_tape() {
    let mut tape = ReadPipe::new("pipe", io::empty(), 2048);
    for len in [0, 10, 4096] {
        assert_eq!(tape.read(&mut vec![0; len]).unwrap(), TapeRead::EndOfData);
    }
}

#[test]
fn a_pipe_takes_one_tape_file() {
    let (mut reader, writer) = io::pipe().unwrap();
    let mut tape = WritePipe::new("pipe", std::os::fd::OwnedFd::from(writer).into());
    assert_eq!(tape.write(&[1; 2048]).unwrap(), TapeWrite::Written);
    assert_eq!(tape.position().unwrap(), TapePosition { file: 0, record: 1 });
    assert_eq!(tape.write_filemark().unwrap(), TapeWrite::Written);
    assert_eq!(tape.write(&[1; 2048]).unwrap_err().kind(), ErrorKind::Unsupported);
    drop(tape);
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).unwrap();
    assert!(bytes == [1; 2048]);
}

#[test]
fn a_reader_that_went_away_is_named() {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let mut tape = WritePipe::new("pipe", std::os::fd::OwnedFd::from(writer).into());
    let error = tape.write(&[1; 2048]).unwrap_err();
    assert!(error.to_string().contains("went away"), "{error}");
}
