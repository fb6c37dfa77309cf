//! A tape drive behind Linux' `st` driver, `/dev/nstN`, in variable-block mode. Layer: tape.
//!
//! The driver's own count of files and records is lost after errors, after seeks and behind backward moves over a
//! filemark. So this counts itself, and where the drive tells logical blocks (`MTIOCPOS`) it holds the count against them:
//! after a failure, what is really on the medium, and whether this is still the same cartridge. A drive that
//! does not tell blocks is rewound and counted again where that is needed.
//!
//! Invariants: while `at` is known and the drive tells blocks, the first block of that tape file is known, too. After
//! `lost` is set nothing more is written, not even the filemark which the driver adds when a tape is closed.

mod motion;
mod open;
mod recover;
mod survey;

pub use open::is_drive;
pub(super) use open::refuse_rewinding;
pub use survey::TapeFile;

use super::error::TapeError;
use super::sys::{Drive, Op};
use nix::errno::Errno;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tapedump_core::device::ErrorKind;
use tapedump_core::device::tape::{
    Space, Spaced, TapeCapabilities, TapeDevice, TapePosition, TapeRead, TapeWrite,
};
use tapedump_core::units::TAPE_BLOCK_LEN;

/// The longest record tried: Linux `dump` writes up to 1,024 tape blocks.
const RECORD_LEN_MAX: usize = 1024 * TAPE_BLOCK_LEN;
/// Shorter buffers are not given to the driver: some drives have a shortest record.
const BUF_LEN_MIN: usize = TAPE_BLOCK_LEN;

/// A drive with a cartridge in it. See the module's head.
#[derive(Debug)]
pub struct StTape {
    drive: Drive,
    name: String,
    writable: bool,
    capabilities: TapeCapabilities,
    /// The drive tells logical blocks and seeks them.
    has_blocks: bool,
    /// Whether anything is on the tape.
    blank: bool,
    at: Option<TapePosition>,
    /// The logical block at which a tape file begins, by its number.
    begins: Vec<Option<u64>>,
    /// The last thing done was a write: the driver would close it with a filemark before it moves.
    writing: bool,
    warned: bool,
    loaded: bool,
    /// Why nothing can be done with this cartridge any more.
    lost: Option<&'static str>,
    soft_errors: Arc<AtomicU64>,
    /// For records longer than the caller's buffer.
    scratch: Vec<u8>,
}

impl StTape {
    /// Whether nothing is on the tape, or nothing but a filemark.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        self.blank
    }

    /// Counts errors that the drive told of and corrected in `counter` from now on.
    pub fn count_soft_errors(&mut self, counter: Arc<AtomicU64>) {
        counter.fetch_add(self.soft_errors.load(Ordering::Relaxed), Ordering::Relaxed);
        self.soft_errors = counter;
    }

    /// Makes the tape blank, in the quick way; goes to its beginning.
    ///
    /// # Errors
    /// The cartridge is write-protected, or the drive cannot erase.
    pub fn erase(&mut self) -> Result<(), TapeError> {
        self.check_writable()?;
        self.rewind()?;
        self.before_write()?;
        self.writing = false;
        self.command(Op::Erase, 0, "cannot erase")?;
        self.blank = true;
        self.rewind()
    }

    fn error(&self, kind: ErrorKind, what: impl Into<String>) -> TapeError {
        TapeError::new(kind, self.name.clone(), what)
    }

    fn io(&self, what: &str, error: io::Error) -> TapeError {
        TapeError::io(std::path::Path::new(&self.name), what, error)
    }

    fn check_ready(&self) -> Result<(), TapeError> {
        if !self.loaded {
            return Err(self.error(ErrorKind::NotFound, "the tape has been unloaded"));
        }
        match self.lost {
            Some(why) => Err(self.error(ErrorKind::Changed, why)),
            None => Ok(()),
        }
    }

    /// Whether the cartridge can be written.
    ///
    /// # Errors
    /// It is write-protected, was opened for reading or is unloaded.
    pub fn check_writable(&self) -> Result<(), TapeError> {
        self.check_ready()?;
        if self.capabilities.write_protected {
            return Err(self.error(ErrorKind::ReadOnly, "the cartridge is write-protected"));
        }
        if !self.writable {
            return Err(self.error(ErrorKind::ReadOnly, "the tape was opened for reading"));
        }
        Ok(())
    }

    /// One record was passed.
    fn passed_record(&mut self) {
        if let Some(at) = &mut self.at {
            at.record += 1;
        }
    }

    /// A filemark was passed: a tape file begins here.
    fn passed_filemark(&mut self) -> Result<(), TapeError> {
        let Some(at) = self.at else { return Ok(()) };
        self.arrive_at_file(at.file + 1)
    }

    fn is_too_long(error: &io::Error) -> bool {
        matches!(
            error.raw_os_error().map(Errno::from_raw),
            Some(Errno::EINVAL | Errno::EBUSY | Errno::EOVERFLOW | Errno::E2BIG)
        )
    }

    /// Reads a record into memory of our own, which is as long as records can be. A caller's buffer that has room
    /// gets it; otherwise the tape goes back before it.
    fn read_aside(&mut self, buf: &mut [u8]) -> Result<TapeRead, TapeError> {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.resize(self.capabilities.record_len_max, 0);
        let read = self.read_at_once(&mut scratch);
        let read = match read {
            Ok(TapeRead::Record(len)) => match buf.get_mut(..len) {
                Some(to) => {
                    to.copy_from_slice(&scratch[..len]);
                    Ok(TapeRead::Record(len))
                }
                None => self.back_over_record().map(|()| TapeRead::BufferTooSmall { needed: len }),
            },
            read => read,
        };
        self.scratch = scratch;
        read
    }

    /// Reads into a buffer the driver takes.
    fn read_at_once(&mut self, buf: &mut [u8]) -> Result<TapeRead, TapeError> {
        match self.drive.read(buf) {
            Ok(0) => {
                if self.status()?.end_of_data() {
                    return Ok(TapeRead::EndOfData);
                }
                self.passed_filemark()?;
                Ok(TapeRead::Filemark)
            }
            Ok(len) => {
                self.passed_record();
                Ok(TapeRead::Record(len))
            }
            Err(error) if error.raw_os_error() == Some(Errno::ENOMEM as i32) => {
                self.passed_record();
                if buf.len() < self.capabilities.record_len_max {
                    self.back_over_record()?;
                    return Ok(TapeRead::BufferTooSmall { needed: self.capabilities.record_len_max });
                }
                Err(self.record_too_long())
            }
            Err(error) => self.recover_read(error, buf),
        }
    }

    fn record_too_long(&self) -> TapeError {
        let limit = self.capabilities.record_len_max;
        let what = format!(
            "a record is longer than the {limit} bytes that can be read here: its blocking factor is above {}",
            limit / TAPE_BLOCK_LEN
        );
        self.error(ErrorKind::Unsupported, what)
            .advise("read this tape with a drive and an adapter that take longer records")
    }

    fn back_over_record(&mut self) -> Result<(), TapeError> {
        self.drive
            .operate(Op::BackRecords, 1)
            .map_err(|error| self.io("cannot go back over a record", error))
            .inspect_err(|_| self.at = None)?;
        if let Some(at) = &mut self.at {
            at.record = at.record.saturating_sub(1);
        }
        Ok(())
    }

    /// Writes one record, or tells that the medium is full.
    fn write_at_once(&mut self, record: &[u8]) -> Result<TapeWrite, TapeError> {
        // The driver answers in turn behind the early warning: this record was not written, the next one is.
        for _ in 0..2 {
            match self.drive.write(record) {
                Ok(len) if len == record.len() => {
                    self.passed_record();
                    return Ok(if self.warned { TapeWrite::EarlyWarning } else { TapeWrite::Written });
                }
                Ok(len) => {
                    let what = format!("only {len} bytes of a record of {} were written", record.len());
                    let error = self.error(ErrorKind::Medium, what);
                    return Err(self.recover_write(error));
                }
                Err(error) if error.raw_os_error() == Some(Errno::ENOSPC as i32) => self.warned = true,
                Err(error) if Self::is_too_long(&error) => {
                    let limit = self.capabilities.record_len_max.min(record.len() - 1);
                    let what = format!("the drive takes no record of {} bytes", record.len());
                    return Err(self
                        .error(ErrorKind::Invalid, what)
                        .advise(format!("use --blocking-factor {} or less", limit / TAPE_BLOCK_LEN)));
                }
                Err(error) => {
                    let error = self.io("cannot write", error);
                    return Err(self.recover_write(error));
                }
            }
        }
        self.settle_at_end()?;
        Ok(TapeWrite::EndOfMedium)
    }
}

impl TapeDevice for StTape {
    type Error = TapeError;

    fn capabilities(&self) -> TapeCapabilities {
        self.capabilities
    }

    fn read(&mut self, buf: &mut [u8]) -> Result<TapeRead, TapeError> {
        self.check_ready()?;
        self.before_move()?;
        self.know_place()?;
        if buf.len() < BUF_LEN_MIN {
            return self.read_aside(buf);
        }
        let len = buf.len().min(self.capabilities.record_len_max);
        match self.read_at_once(&mut buf[..len])? {
            TapeRead::BufferTooSmall { .. } => self.read_aside(buf),
            read => Ok(read),
        }
    }

    fn write(&mut self, record: &[u8]) -> Result<TapeWrite, TapeError> {
        self.check_writable()?;
        let limit = self.capabilities.record_len_max;
        if record.is_empty() || record.len() > limit {
            let what = format!("a record of {} bytes; this drive takes 1 to {limit}", record.len());
            return Err(self.error(ErrorKind::Invalid, what));
        }
        self.before_write()?;
        self.write_at_once(record)
    }

    fn write_filemark(&mut self) -> Result<TapeWrite, TapeError> {
        self.check_writable()?;
        self.before_write()?;
        match self.drive.operate(Op::WriteFilemarks, 1) {
            Ok(()) => {
                self.writing = false;
                self.passed_filemark()?;
                Ok(if self.warned { TapeWrite::EarlyWarning } else { TapeWrite::Written })
            }
            Err(error) if error.raw_os_error() == Some(Errno::ENOSPC as i32) => {
                self.warned = true;
                self.settle_at_end()?;
                Ok(TapeWrite::EndOfMedium)
            }
            Err(error) => {
                let error = self.io("cannot write a filemark", error);
                Err(self.recover_write(error))
            }
        }
    }

    fn flush(&mut self) -> Result<(), TapeError> {
        self.check_ready()?;
        if !self.writing {
            return Ok(());
        }
        match self.drive.operate(Op::WriteFilemarks, 0) {
            Ok(()) => Ok(()),
            // Written, and near the end of the medium: the next write tells.
            Err(error) if error.raw_os_error() == Some(Errno::ENOSPC as i32) => Ok(()),
            Err(error) => {
                let error = self.io("cannot make everything durable", error);
                Err(self.recover_write(error))
            }
        }
    }

    fn position(&mut self) -> Result<TapePosition, TapeError> {
        self.check_ready()?;
        self.know_place()
    }

    fn locate(&mut self, to: TapePosition) -> Result<Spaced, TapeError> {
        self.check_ready()?;
        self.before_move()?;
        self.go_to(to)
    }

    fn space(&mut self, by: Space) -> Result<Spaced, TapeError> {
        self.check_ready()?;
        self.before_move()?;
        let at = self.know_place()?;
        match by {
            Space::EndOfData => self.go_to_end().map(|()| Spaced::Done),
            Space::Records(count @ 0..) => self.forward_records(count.unsigned_abs()),
            Space::Records(count) => self.back_records(at, count.unsigned_abs()),
            Space::Filemarks(0) => Ok(Spaced::Done),
            Space::Filemarks(count @ 1..) => self.forward_filemarks(count.unsigned_abs()),
            Space::Filemarks(count) => self.back_filemarks(at, count.unsigned_abs()),
        }
    }

    fn rewind(&mut self) -> Result<(), TapeError> {
        self.check_ready()?;
        self.before_move()?;
        self.go_to_beginning()
    }

    fn unload(&mut self) -> Result<(), TapeError> {
        self.check_ready()?;
        if self.writing {
            self.drive
                .operate(Op::WriteFilemarks, 0)
                .map_err(|error| self.io("cannot make everything durable", error))?;
        }
        self.before_move()?;
        self.drive.operate(Op::Unload, 1).map_err(|error| self.io("cannot unload the tape", error))?;
        self.loaded = false;
        Ok(())
    }
}

impl Drop for StTape {
    fn drop(&mut self) {
        // For the count of corrected errors; what else it tells is of no use to anybody now.
        _ = self.status();
    }
}
