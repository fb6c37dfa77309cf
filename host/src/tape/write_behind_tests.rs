use super::*;
use tapedump_core::device::DeviceError;

/// A tape that keeps records in memory, ends after `capacity` of them, warns `distance` before, and fails at one.
#[derive(Debug, Default)]
struct Scripted {
    records: Vec<Vec<u8>>,
    capacity: usize,
    distance: usize,
    fails_at: Option<usize>,
    marks: u32,
    /// Records that were made durable.
    flushed: usize,
    delay: std::time::Duration,
}

impl Scripted {
    fn with_room_for(capacity: usize) -> Self {
        Self { capacity, ..Self::default() }
    }

    fn room(&self) -> TapeWrite {
        if self.records.len() + self.distance > self.capacity {
            TapeWrite::EarlyWarning
        } else {
            TapeWrite::Written
        }
    }
}

impl TapeDevice for Scripted {
    type Error = TapeError;

    fn capabilities(&self) -> TapeCapabilities {
        TapeCapabilities::new(1 << 20)
    }
    fn read(&mut self, _: &mut [u8]) -> Result<TapeRead, TapeError> {
        Ok(TapeRead::EndOfData)
    }
    fn write(&mut self, record: &[u8]) -> Result<TapeWrite, TapeError> {
        std::thread::sleep(self.delay);
        if self.fails_at == Some(self.records.len()) {
            self.fails_at = None;
            return Err(TapeError::new(ErrorKind::Medium, "scripted", "a bad spot"));
        }
        if self.records.len() >= self.capacity {
            return Ok(TapeWrite::EndOfMedium);
        }
        self.records.push(record.to_vec());
        Ok(self.room())
    }
    fn write_filemark(&mut self) -> Result<TapeWrite, TapeError> {
        self.marks += 1;
        Ok(self.room())
    }
    fn flush(&mut self) -> Result<(), TapeError> {
        self.flushed = self.records.len();
        Ok(())
    }
    fn position(&mut self) -> Result<TapePosition, TapeError> {
        Ok(TapePosition { file: self.marks, record: self.records.len() as u64 })
    }
    fn locate(&mut self, _: TapePosition) -> Result<Spaced, TapeError> {
        Ok(Spaced::Done)
    }
    fn space(&mut self, _: Space) -> Result<Spaced, TapeError> {
        Ok(Spaced::Done)
    }
    fn rewind(&mut self) -> Result<(), TapeError> {
        self.records.clear();
        Ok(())
    }
    fn unload(&mut self) -> Result<(), TapeError> {
        Ok(())
    }
}

#[test]
fn an_error_comes_up_and_nothing_is_written_behind_it() {
    let mut tape = WriteBehind::new(
        "tape",
        Scripted { fails_at: Some(2), ..Scripted::with_room_for(1000) },
        4,
        Stop::never(),
    )
    .unwrap();
    let failed = (0..100).find_map(|seed| tape.write(&[seed; 16]).err());
    let error = failed.unwrap_or_else(|| tape.write_filemark().unwrap_err());
    assert_eq!(error.kind(), ErrorKind::Medium);
    assert_eq!(tape.position().unwrap(), TapePosition { file: 0, record: 2 });
    assert_eq!(locked(&tape.shared.tape).records, [vec![0; 16], vec![1; 16]]);
    // Told once: what is there can still be closed.
    tape.write_filemark().unwrap();
}

#[test]
fn an_error_of_the_last_records_comes_up_at_the_filemark() {
    let mut tape = WriteBehind::new(
        "tape",
        Scripted { fails_at: Some(2), ..Scripted::with_room_for(1000) },
        64,
        Stop::never(),
    )
    .unwrap();
    let mut error = None;
    for seed in 0..3 {
        error = error.or(tape.write(&[seed; 16]).err());
    }
    let error = error.or_else(|| tape.write_filemark().err()).unwrap();
    assert_eq!(error.kind(), ErrorKind::Medium);
}

#[test]
fn the_end_of_medium_after_a_warning_is_exact() {
    for depth in [1, 3, 8] {
        let scripted = Scripted { distance: 10, ..Scripted::with_room_for(50) };
        let mut tape = WriteBehind::new("tape", scripted, depth, Stop::never()).unwrap();
        let mut accepted = 0;
        while tape.write(&[accepted; 16]).unwrap() != TapeWrite::EndOfMedium {
            accepted += 1;
        }
        assert_eq!(accepted, 50);
        assert_eq!(tape.position().unwrap().record, 50);
    }
}

#[test]
fn the_end_of_medium_without_a_warning_is_an_error_that_counts() {
    let delay = std::time::Duration::from_millis(2);
    let mut tape =
        WriteBehind::new("tape", Scripted { delay, ..Scripted::with_room_for(20) }, 8, Stop::never())
            .unwrap();
    let mut accepted = 0_u8;
    let error = loop {
        match tape.write(&[accepted; 16]) {
            Ok(TapeWrite::Written) => accepted += 1,
            Ok(other) => panic!("{other:?}"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Full);
    let lost = u64::from(accepted) - tape.position().unwrap().record;
    assert!(lost > 0);
    let text = error.to_string();
    assert!(
        text.starts_with("tape: ") && text.contains(&format!("with {lost} records")),
        "{text}, lost {lost}"
    );
}

#[test]
fn dropping_writes_what_is_queued() {
    let delay = std::time::Duration::from_millis(1);
    let mut tape =
        WriteBehind::new("tape", Scripted { delay, ..Scripted::with_room_for(100) }, 16, Stop::never())
            .unwrap();
    for seed in 0..16 {
        tape.write(&[seed; 16]).unwrap();
    }
    let shared = Arc::clone(&tape.shared);
    drop(tape);
    assert_eq!(locked(&shared.tape).records.len(), 16);
}

#[test]
fn a_flush_is_of_everything_accepted() {
    let tape = Scripted { delay: std::time::Duration::from_millis(1), ..Scripted::with_room_for(100) };
    let mut tape = WriteBehind::new("tape", tape, 8, Stop::never()).unwrap();
    for seed in 0..16 {
        tape.write(&[seed; 16]).unwrap();
    }
    tape.flush().unwrap();
    assert_eq!(locked(&tape.shared.tape).flushed, 16);
}

#[test]
fn positions_count_what_was_accepted() {
    let mut tape = WriteBehind::new("tape", Scripted::with_room_for(100), 4, Stop::never()).unwrap();
    assert_eq!(tape.position().unwrap().record, 0);
    for accepted in 1..=20 {
        tape.write(&[0; 16]).unwrap();
        assert_eq!(tape.position().unwrap().record, accepted);
    }
    tape.write_filemark().unwrap();
    assert_eq!(tape.position().unwrap(), TapePosition { file: 1, record: 20 });
    tape.rewind().unwrap();
    assert_eq!(tape.position().unwrap().record, 0);
}

#[test]
fn an_interruption_ends_the_wait_for_a_pipe() {
    use super::super::stream_file::WritePipe;
    let (reader, writer) = std::io::pipe().unwrap();
    let flag = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let pipe = WritePipe::new("pipe", std::os::fd::OwnedFd::from(writer).into());
    let mut tape = WriteBehind::new("tape", pipe, 2, Stop::when(Arc::clone(&flag))).unwrap();
    flag.store(true, std::sync::atomic::Ordering::Relaxed);
    // More than a pipe holds, and nobody reads.
    let failed = (0..16).find_map(|_| tape.write(&[0; 64 << 10]).err());
    assert_eq!(failed.unwrap().kind(), ErrorKind::Interrupted);
    drop(tape);
    drop(reader);
}
