use super::super::stream_file::ReadPipe;
use super::*;
use tapedump_core::device::DeviceError;

/// A tape of ten records with a bad spot at one of them.
#[derive(Debug)]
struct BadSpot {
    at: u64,
    bad: u64,
}

impl TapeDevice for BadSpot {
    type Error = TapeError;

    fn capabilities(&self) -> TapeCapabilities {
        TapeCapabilities::new(1 << 20)
    }
    fn read(&mut self, buf: &mut [u8]) -> Result<TapeRead, TapeError> {
        let at = self.at;
        if at >= 10 {
            return Ok(TapeRead::EndOfData);
        }
        self.at += 1;
        if at == self.bad {
            return Err(TapeError::new(ErrorKind::Medium, "bad spot", "a bad spot"));
        }
        buf[..8].copy_from_slice(&at.to_le_bytes());
        Ok(TapeRead::Record(8))
    }
    fn write(&mut self, _: &[u8]) -> Result<TapeWrite, TapeError> {
        self.at += 1;
        Ok(TapeWrite::Written)
    }
    fn write_filemark(&mut self) -> Result<TapeWrite, TapeError> {
        Ok(TapeWrite::Written)
    }
    fn flush(&mut self) -> Result<(), TapeError> {
        Ok(())
    }
    fn position(&mut self) -> Result<TapePosition, TapeError> {
        Ok(TapePosition { file: 0, record: self.at })
    }
    fn locate(&mut self, to: TapePosition) -> Result<Spaced, TapeError> {
        self.at = to.record;
        Ok(Spaced::Done)
    }
    fn space(&mut self, by: Space) -> Result<Spaced, TapeError> {
        let Space::Records(count) = by else {
            return Err(TapeError::new(ErrorKind::Unsupported, "bad spot", "no"));
        };
        self.at = self.at.saturating_add_signed(count);
        Ok(Spaced::Done)
    }
    fn rewind(&mut self) -> Result<(), TapeError> {
        self.at = 0;
        Ok(())
    }
    fn unload(&mut self) -> Result<(), TapeError> {
        Ok(())
    }
}

#[test]
fn an_error_comes_in_its_place_and_reading_goes_on_behind_it() {
    for queue_len in [0, 128, 1 << 20] {
        let mut tape = ReadAhead::new(BadSpot { at: 0, bad: 4 }, queue_len, Stop::never()).unwrap();
        let mut buf = [0; 64];
        for record in 0..10 {
            assert_eq!(tape.position().unwrap().record, record);
            let read = tape.read(&mut buf);
            if record == 4 {
                assert_eq!(read.unwrap_err().kind(), ErrorKind::Medium);
            } else {
                assert_eq!(read.unwrap(), TapeRead::Record(8));
                assert_eq!(buf[..8], record.to_le_bytes());
            }
        }
        assert_eq!(tape.read(&mut buf).unwrap(), TapeRead::EndOfData);
        assert_eq!(tape.read(&mut buf).unwrap(), TapeRead::EndOfData);
        assert_eq!(tape.position().unwrap().record, 10);
    }
}

#[test]
fn moves_start_where_the_reader_stands() {
    let mut tape = ReadAhead::new(BadSpot { at: 0, bad: 99 }, 512, Stop::never()).unwrap();
    let mut buf = [0; 64];
    let mut expect = |tape: &mut ReadAhead<BadSpot>, record: u64| {
        assert_eq!(tape.read(&mut buf).unwrap(), TapeRead::Record(8));
        assert_eq!(buf[..8], record.to_le_bytes());
    };
    expect(&mut tape, 0);
    expect(&mut tape, 1);
    tape.space(Space::Records(1)).unwrap();
    expect(&mut tape, 3);
    tape.space(Space::Records(-2)).unwrap();
    expect(&mut tape, 2);
    tape.write(&[0; 8]).unwrap();
    assert_eq!(tape.position().unwrap().record, 4);
    expect(&mut tape, 4);
}

#[test]
fn a_pipe_loses_nothing_to_a_move_it_cannot_make() {
    let bytes: Vec<u8> = (0..=255).collect();
    let mut tape =
        ReadAhead::new(ReadPipe::new("pipe", std::io::Cursor::new(bytes), 16), 64, Stop::never()).unwrap();
    let mut buf = [0; 64];
    assert_eq!(tape.read(&mut []).unwrap(), TapeRead::BufferTooSmall { needed: 16 });
    for record in 0..16_u8 {
        assert_eq!(tape.read(&mut buf[..4]).unwrap(), TapeRead::BufferTooSmall { needed: 16 });
        assert_eq!(tape.read(&mut buf).unwrap(), TapeRead::Record(16));
        assert_eq!(buf[0], record * 16);
        assert_eq!(tape.rewind().unwrap_err().kind(), ErrorKind::Unsupported);
        assert_eq!(tape.locate(TapePosition::default()).unwrap_err().kind(), ErrorKind::Unsupported);
    }
    assert_eq!(tape.read(&mut buf).unwrap(), TapeRead::Filemark);
    assert_eq!(tape.read(&mut buf).unwrap(), TapeRead::EndOfData);
}

#[test]
fn dropping_does_not_wait_for_a_silent_pipe() {
    let (reader, writer) = std::io::pipe().unwrap();
    let mut tape = ReadAhead::new(ReadPipe::new("pipe", reader, 16), 64, Stop::never()).unwrap();
    std::io::Write::write_all(&mut &writer, &[1; 16]).unwrap();
    assert_eq!(tape.read(&mut [0; 64]).unwrap(), TapeRead::Record(16));
    drop(tape);
    drop(writer);
}

#[test]
fn an_interruption_ends_the_wait_for_a_pipe() {
    let (reader, writer) = std::io::pipe().unwrap();
    let flag = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stop = Stop::when(Arc::clone(&flag));
    let mut tape = ReadAhead::new(ReadPipe::new("pipe", reader, 16), 64, stop).unwrap();
    let setter = std::thread::spawn(move || flag.store(true, std::sync::atomic::Ordering::Relaxed));
    assert_eq!(tape.read(&mut [0; 64]).unwrap_err().kind(), ErrorKind::Interrupted);
    setter.join().unwrap();
    drop(tape);
    drop(writer);
}

#[test]
fn records_longer_than_the_first_buffers_are_read_all_the_same() {
    let record: Vec<u8> = (0..FIRST_BUF_LEN * 3).map(|index| (index / 7) as u8).collect();
    let bytes = [&record[..], &record].concat();
    let mut tape =
        ReadAhead::new(ReadPipe::new("pipe", std::io::Cursor::new(bytes), record.len()), 0, Stop::never())
            .unwrap();
    let mut buf = vec![0; 1 << 20];
    for _ in 0..2 {
        assert_eq!(tape.read(&mut buf).unwrap(), TapeRead::Record(record.len()));
        assert!(buf[..record.len()] == record);
    }
    assert_eq!(tape.read(&mut buf).unwrap(), TapeRead::Filemark);
}
