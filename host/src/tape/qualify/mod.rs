//! Whether a tape does what the contract of `TapeDevice` says: one suite for users, who have a drive or a virtual tape,
//! and for tests. Layer: on top of any tape.
//!
//! The suite writes: whatever the tape held is lost.

mod checks;

use std::time::{Duration, Instant};
use tapedump_core::device::DeviceError;
use tapedump_core::device::tape::{TapeDevice, TapeRead, TapeWrite};

/// How a check ended; the error says what was not as it should be.
pub type Outcome = Result<(), String>;
/// Gives a blank tape at its beginning. The one it gave before is gone by then.
pub type Make<'a, T> = dyn Fn() -> Result<T, String> + 'a;

/// What a check is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Area {
    /// What a tape without data tells.
    Blank,
    /// Records and their lengths.
    Records,
    /// Filemarks, and the end of data.
    Filemarks,
    /// Moving.
    Positioning,
    /// Giving the medium back.
    Unloading,
}

impl Area {
    /// In one word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Blank => "blank",
            Self::Records => "records",
            Self::Filemarks => "filemarks",
            Self::Positioning => "positioning",
            Self::Unloading => "unloading",
        }
    }
}

/// One check of the suite.
#[derive(Clone, Copy)]
pub struct Check<T> {
    /// What it is about.
    pub area: Area,
    /// What holds when it passes.
    pub name: &'static str,
    run: fn(&Make<'_, T>) -> Outcome,
}

impl<T> Check<T> {
    /// Runs it on tapes from `make`.
    ///
    /// # Errors
    /// The tape breaks the contract.
    pub fn run(&self, make: &Make<'_, T>) -> Outcome {
        (self.run)(make)
    }
}

/// All checks. They need room for 64 KiB and for one record of the longest length.
#[must_use]
pub fn checks<T: TapeDevice>() -> Vec<Check<T>> {
    checks::all()
}

/// The checks that a tape with room for one tape file can pass.
#[must_use]
pub fn one_tape_file_checks<T: TapeDevice>() -> Vec<Check<T>> {
    let mut checks = checks();
    checks.retain(|check| matches!(check.area, Area::Blank | Area::Records | Area::Unloading));
    checks
}

/// What a run to the end of the medium found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Bytes that found room.
    pub len: u64,
    /// Bytes that found room from the early warning on.
    pub early_warning: u64,
}

/// Writes `tape`, which is blank, full with records of `record_len`, and reads it back. No medium has room for
/// `len_max` bytes.
///
/// # Errors
/// The tape breaks the contract.
pub fn fill<T: TapeDevice>(tape: T, record_len: usize, len_max: u64) -> Result<Capacity, String> {
    let record_len = record_len.max(1);
    let len = record_len as u64;
    let filled = checks::fill(tape, record_len, (len_max / len).max(1))?;
    Ok(Capacity { len: filled.accepted * len, early_warning: (filled.accepted - filled.warned_at) * len })
}

/// How fast a tape is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Speed {
    /// Bytes written, and read.
    pub len: u64,
    /// Until all was durable.
    pub write: Duration,
    /// Until the filemark was read.
    pub read: Duration,
}

/// Writes `len` bytes in records of `record_len`, and reads them, on a blank tape. Ends earlier on a short tape.
///
/// # Errors
/// The tape fails, or gives back something else.
pub fn speed<T: TapeDevice>(mut tape: T, record_len: usize, len: u64) -> Result<Speed, String> {
    let told = |error: T::Error| format!("{}: {error:?}", error.kind());
    let record = checks::record(1, record_len);
    let mut written = 0;
    let began = Instant::now();
    while written < len {
        match tape.write(&record).map_err(told)? {
            TapeWrite::Written => written += record_len as u64,
            TapeWrite::EarlyWarning | TapeWrite::EndOfMedium => break,
        }
    }
    tape.write_filemark().map_err(told)?;
    let write = began.elapsed();
    tape.rewind().map_err(told)?;
    let mut buf = vec![0; record_len];
    let mut left = written;
    let began = Instant::now();
    while let TapeRead::Record(len) = tape.read(&mut buf).map_err(told)? {
        if buf[..len] != record {
            return Err("a record came back as another one".into());
        }
        left = left.saturating_sub(len as u64);
    }
    if left != 0 {
        return Err(format!("{left} of {written} bytes did not come back"));
    }
    Ok(Speed { len: written, write, read: began.elapsed() })
}
