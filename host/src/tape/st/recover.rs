//! What a drive is asked when a read or a write failed: where it stands, what is on the medium, and whether this is
//! still the same cartridge.

use super::super::sys::{Op, Status};
use super::StTape;
use crate::tape::error::TapeError;
use nix::errno::Errno;
use std::io;
use std::sync::atomic::Ordering;
use tapedump_core::device::ErrorKind;
use tapedump_core::device::tape::TapeRead;

const REMOVED: &str = "the drive no longer answers: was the cartridge removed?";
const CHANGED: &str =
    "the drive is back at the beginning of a tape: was the cartridge changed, or the drive reset?";
const UNCERTAIN: &str = "after the failure the drive cannot tell where it stands; nothing more is written";

/// Where a drive stands after a failure, compared with where it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// Where it was before.
    Still,
    /// One block further.
    Next,
    /// Before, by so many blocks, in the same tape file.
    Before(u64),
    /// Somewhere else.
    Elsewhere,
    /// Nobody can tell.
    Unknown,
}

impl StTape {
    /// The driver's status; what it tells of corrected errors is told once only, and kept.
    pub(super) fn status(&mut self) -> Result<Status, TapeError> {
        let status =
            self.drive.status().map_err(|error| self.io("the drive does not tell its status", error))?;
        self.soft_errors.fetch_add(status.soft_errors.into(), Ordering::Relaxed);
        Ok(status)
    }

    /// The logical block the tape should be at.
    pub(super) fn expected_block(&self) -> Option<u64> {
        let at = self.at.filter(|_| self.has_blocks)?;
        let begin = (*self.begins.get(at.file as usize)?)?;
        begin.checked_add(at.record)
    }

    /// Compares the drive's place with ours. Finds out that the cartridge is not there, or is another one.
    fn standing(&mut self) -> Result<Standing, TapeError> {
        let Some(expected) = self.expected_block() else { return Ok(Standing::Unknown) };
        let Ok(block) = self.drive.block() else { return Err(self.lose(REMOVED)) };
        if block == 0 && expected > 0 {
            return Err(self.lose(CHANGED));
        }
        let in_file = self.at.map_or(0, |at| at.record);
        Ok(match expected.checked_sub(block) {
            Some(0) => Standing::Still,
            Some(before) if before <= in_file => Standing::Before(before),
            None if block == expected + 1 => Standing::Next,
            _ => Standing::Elsewhere,
        })
    }

    /// Gives this cartridge up.
    fn lose(&mut self, why: &'static str) -> TapeError {
        self.lost = Some(why);
        self.at = None;
        // Whatever comes of it: the driver then no longer takes the tape for one that is to be closed with a filemark.
        _ = self.drive.operate(Op::BackRecords, 0);
        self.error(ErrorKind::Changed, why)
    }

    /// After a failed read: the end of data, or a record that cannot be read and is then passed. It is tried once more,
    /// since the driver gives up on a disturbed transfer at once.
    pub(super) fn recover_read(&mut self, error: io::Error, buf: &mut [u8]) -> Result<TapeRead, TapeError> {
        if self.status()?.end_of_data() {
            return Ok(TapeRead::EndOfData);
        }
        match self.standing()? {
            Standing::Still => {}
            Standing::Next => {
                self.passed_record();
                return Err(self.io("cannot read a record", error));
            }
            Standing::Before(_) | Standing::Elsewhere => {
                self.at = None;
                return Err(self.io("cannot read, and the place on the tape was lost", error));
            }
            // Back to where it was, by counting.
            Standing::Unknown => {
                let Some(at) = self.at else { return Err(self.io("cannot read", error)) };
                self.at = None;
                self.go_to(at)?;
            }
        }
        self.skip_unreadable(error, buf)
    }

    /// In front of something that could not be read.
    fn skip_unreadable(&mut self, error: io::Error, buf: &mut [u8]) -> Result<TapeRead, TapeError> {
        if self.drive.operate(Op::ForwardRecords, 1).is_err() {
            let status = self.status()?;
            if status.end_of_data() {
                return Ok(TapeRead::EndOfData);
            }
            if status.behind_filemark() {
                self.passed_filemark()?;
                return Ok(TapeRead::Filemark);
            }
            self.standing()?;
            return Err(self.io("cannot read", error));
        }
        // There is a record: back before it, and once more.
        self.passed_record();
        self.back_over_record()?;
        match self.drive.read(buf) {
            Ok(len) if len > 0 => {
                self.passed_record();
                self.soft_errors.fetch_add(1, Ordering::Relaxed);
                return Ok(TapeRead::Record(len));
            }
            Err(again) if again.raw_os_error() == Some(Errno::ENOMEM as i32) => {
                self.passed_record();
                self.back_over_record()?;
                return Ok(TapeRead::BufferTooSmall { needed: self.capabilities.record_len_max });
            }
            Ok(_) | Err(_) => {}
        }
        match self.standing()? {
            Standing::Next => self.passed_record(),
            Standing::Still => self.pass_over_record()?,
            Standing::Unknown => {
                let at = self.know_place()?;
                self.at = None;
                self.go_to(at)?;
                self.pass_over_record()?;
            }
            Standing::Before(_) | Standing::Elsewhere => self.at = None,
        }
        Err(self.io("cannot read a record", error))
    }

    fn pass_over_record(&mut self) -> Result<(), TapeError> {
        self.command(Op::ForwardRecords, 1, "cannot go over a record")?;
        self.passed_record();
        Ok(())
    }

    /// After a failed write: brings the count to what is on the medium. Where that is not certain, nothing more is written.
    pub(super) fn recover_write(&mut self, error: TapeError) -> TapeError {
        match self.standing() {
            Err(lost) => lost,
            Ok(Standing::Still) => error,
            Ok(Standing::Before(records)) => {
                if let Some(at) = &mut self.at {
                    at.record -= records;
                }
                error.advise(format!("{records} records accepted before are not on the medium either"))
            }
            Ok(Standing::Next | Standing::Elsewhere | Standing::Unknown) => {
                _ = self.lose(UNCERTAIN);
                error.advise(UNCERTAIN)
            }
        }
    }

    /// At the end of the medium: what was accepted is on it, and nothing of the record that found no room.
    pub(super) fn settle_at_end(&mut self) -> Result<(), TapeError> {
        match self.standing()? {
            Standing::Still | Standing::Unknown => Ok(()),
            Standing::Next => {
                // A part of it is there, which the next filemark writes over.
                self.passed_record();
                self.back_over_record()
            }
            Standing::Before(records) => {
                if let Some(at) = &mut self.at {
                    at.record -= records;
                }
                let what = format!("the medium ended, and {records} records accepted before are not on it");
                Err(self.error(ErrorKind::Full, what))
            }
            Standing::Elsewhere => Err(self.lose(UNCERTAIN)),
        }
    }
}
