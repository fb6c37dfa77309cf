//! Moving a tape, and knowing where it is then.

use super::super::sys::{Op, Status};
use super::StTape;
use crate::tape::error::TapeError;
use nix::errno::Errno;
use tapedump_core::device::ErrorKind;
use tapedump_core::device::tape::{Spaced, TapePosition};

/// One command spaces over this many at most (24 bits, signed).
const SPACE_MAX: u64 = 0x007f_ffff;

/// How a move by a count ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moved {
    All,
    /// Something was in the way.
    Stopped(Status),
}

impl StTape {
    /// Before anything but a write: the driver is not to close with a filemark what was written.
    pub(super) fn before_move(&mut self) -> Result<(), TapeError> {
        if self.writing {
            self.writing = false;
            if let Err(error) = self.drive.operate(Op::BackRecords, 0) {
                let error = self.io("cannot write what was accepted", error);
                return Err(self.recover_write(error));
            }
        }
        self.warned = false;
        Ok(())
    }

    /// Before a write: what lies behind will be void.
    pub(super) fn before_write(&mut self) -> Result<(), TapeError> {
        let at = self.know_place()?;
        self.begins.truncate(at.file as usize + 1);
        self.writing = true;
        self.blank = false;
        Ok(())
    }

    /// The place; where it was lost, the drive tells it, or the tape goes back to its beginning to be counted.
    pub(super) fn know_place(&mut self) -> Result<TapePosition, TapeError> {
        if let Some(at) = self.at {
            return Ok(at);
        }
        let block = if self.has_blocks { self.drive.block().ok() } else { None };
        let Some(block) = block else {
            return Err(self.error(ErrorKind::Medium, "the place on the tape was lost; rewind it"));
        };
        self.go_to_beginning()?;
        // Forward, file by file, to the last one that begins at or before that block.
        loop {
            let before = self.at.unwrap_or_default();
            let spaced = self.forward_filemarks(1)?;
            let begin = self.begins.get(before.file as usize + 1).copied().flatten();
            if spaced == Spaced::Done && begin.is_some_and(|begin| begin <= block) {
                continue;
            }
            let begin = self.begins.get(before.file as usize).copied().flatten().unwrap_or_default();
            self.seek(begin)?;
            self.at = Some(TapePosition { file: before.file, record: 0 });
            self.forward_records(block.saturating_sub(begin))?;
            return self
                .at
                .ok_or_else(|| self.error(ErrorKind::Medium, "the place on the tape was lost; rewind it"));
        }
    }

    /// A command whose failure leaves the tape nobody knows where.
    pub(super) fn command(&mut self, op: Op, count: i32, what: &str) -> Result<(), TapeError> {
        self.drive.operate(op, count).map_err(|error| self.io(what, error)).inspect_err(|_| self.at = None)
    }

    /// A move by at most [`SPACE_MAX`].
    fn try_move(&mut self, op: Op, count: u64) -> Result<Moved, TapeError> {
        match self.drive.operate(op, count.min(SPACE_MAX) as i32) {
            Ok(()) => Ok(Moved::All),
            Err(error) if error.raw_os_error() == Some(Errno::EIO as i32) => {
                self.status().map(Moved::Stopped)
            }
            Err(error) => {
                self.at = None;
                Err(self.io("cannot move the tape", error))
            }
        }
    }

    fn cannot_move(&mut self) -> TapeError {
        self.at = None;
        self.error(ErrorKind::Medium, "the drive cannot move the tape to that place")
    }

    pub(super) fn go_to_beginning(&mut self) -> Result<(), TapeError> {
        self.command(Op::Rewind, 1, "cannot rewind")?;
        self.at = Some(TapePosition::default());
        Ok(())
    }

    fn seek(&mut self, block: u64) -> Result<(), TapeError> {
        let Ok(block) = i32::try_from(block) else { return Err(self.cannot_move()) };
        self.command(Op::Seek, block, "cannot go to a block")
    }

    /// Whether a block can be given to `MTSEEK`, which takes an int.
    fn can_seek(&self, block: u64) -> bool {
        self.has_blocks && i32::try_from(block).is_ok()
    }

    fn begin_of(&self, file: u32) -> Option<u64> {
        self.begins.get(file as usize).copied().flatten()
    }

    fn set_begin(&mut self, file: u32, block: u64) {
        let index = file as usize;
        if self.begins.len() <= index {
            self.begins.resize(index + 1, None);
        }
        self.begins[index] = Some(block);
    }

    fn block(&mut self) -> Result<u64, TapeError> {
        self.drive.block().map_err(|error| self.io("the drive does not tell its place", error))
    }

    /// The tape is at the beginning of this file.
    pub(super) fn arrive_at_file(&mut self, file: u32) -> Result<(), TapeError> {
        self.at = None;
        if self.has_blocks {
            let block = self.block()?;
            self.set_begin(file, block);
        }
        self.at = Some(TapePosition { file, record: 0 });
        Ok(())
    }

    pub(super) fn forward_records(&mut self, count: u64) -> Result<Spaced, TapeError> {
        let mut left = count;
        while left > 0 {
            let part = left.min(SPACE_MAX);
            let at = self.know_place()?;
            match self.try_move(Op::ForwardRecords, part)? {
                Moved::All => self.at = Some(TapePosition { record: at.record + part, ..at }),
                Moved::Stopped(status) if status.end_of_data() => {
                    self.arrive_at_end(at.file)?;
                    return Ok(Spaced::EndOfData);
                }
                Moved::Stopped(status) if status.behind_filemark() => {
                    self.arrive_at_file(at.file + 1)?;
                    return Ok(Spaced::Filemark);
                }
                Moved::Stopped(_) => return Err(self.cannot_move()),
            }
            left -= part;
        }
        Ok(Spaced::Done)
    }

    pub(super) fn back_records(&mut self, at: TapePosition, count: u64) -> Result<Spaced, TapeError> {
        if count <= at.record {
            let mut left = count;
            while left > 0 {
                let part = left.min(SPACE_MAX);
                self.command(Op::BackRecords, part as i32, "cannot go back over records")?;
                left -= part;
            }
            self.at = Some(TapePosition { record: at.record - count, ..at });
            return Ok(Spaced::Done);
        }
        if at.file == 0 {
            self.go_to_beginning()?;
            return Ok(Spaced::BeginningOfTape);
        }
        self.back_filemarks(at, 1)?;
        Ok(Spaced::Filemark)
    }

    pub(super) fn forward_filemarks(&mut self, count: u64) -> Result<Spaced, TapeError> {
        let mut left = count;
        while left > 0 {
            let part = left.min(SPACE_MAX);
            let at = self.know_place()?;
            match self.try_move(Op::ForwardFilemarks, part)? {
                Moved::All => self.arrive_at_file(at.file.saturating_add(part as u32))?,
                Moved::Stopped(status) if status.end_of_data() => {
                    let file = match status.file {
                        Some(file) => file,
                        // The driver lost count, so it is done again one by one.
                        None if part > 1 => {
                            self.go_to(TapePosition { file: at.file, record: 0 })?;
                            while self.forward_filemarks(1)? == Spaced::Done {}
                            return Ok(Spaced::EndOfData);
                        }
                        None => at.file,
                    };
                    self.arrive_at_end(file)?;
                    return Ok(Spaced::EndOfData);
                }
                Moved::Stopped(_) => return Err(self.cannot_move()),
            }
            left -= part;
        }
        Ok(Spaced::Done)
    }

    /// Ends before the last filemark passed.
    pub(super) fn back_filemarks(&mut self, at: TapePosition, count: u64) -> Result<Spaced, TapeError> {
        let Some(file) = u64::from(at.file).checked_sub(count) else {
            self.go_to_beginning()?;
            return Ok(Spaced::BeginningOfTape);
        };
        let mut left = count;
        while left > 0 {
            let part = left.min(SPACE_MAX);
            self.command(Op::BackFilemarks, part as i32, "cannot go back over filemarks")?;
            left -= part;
        }
        let file = file as u32;
        let record = self.count_records(file)?;
        if !self.has_blocks {
            // Counting ended behind the filemark.
            self.command(Op::BackFilemarks, 1, "cannot go back over a filemark")?;
        }
        self.at = Some(TapePosition { file, record });
        Ok(Spaced::Done)
    }

    /// The end of data was met in `file`.
    fn arrive_at_end(&mut self, file: u32) -> Result<(), TapeError> {
        self.at = None;
        let record = self.count_records(file)?;
        self.at = Some(TapePosition { file, record });
        Ok(())
    }

    /// The records of `file`, at whose end the tape is: before its filemark or at the end of data. The tape stays there
    /// where the drive tells blocks; otherwise it ends behind the filemark, or at the end of data.
    fn count_records(&mut self, file: u32) -> Result<u64, TapeError> {
        if self.has_blocks {
            let end = self.block()?;
            let begin = match self.begin_of(file) {
                Some(begin) => begin,
                None if file == 0 => 0,
                None => {
                    self.command(Op::BackFilemarks, 1, "cannot go back over a filemark")?;
                    let begin = self.block()? + 1;
                    self.seek(end)?;
                    begin
                }
            };
            self.set_begin(file, begin);
            return end.checked_sub(begin).ok_or_else(|| self.cannot_move());
        }
        if file == 0 {
            self.command(Op::Rewind, 1, "cannot rewind")?;
        } else {
            self.command(Op::BackFilemarks, 1, "cannot go back over a filemark")?;
            self.command(Op::ForwardFilemarks, 1, "cannot go over a filemark")?;
        }
        let mut records = 0;
        loop {
            match self.try_move(Op::ForwardRecords, 1)? {
                Moved::All => records += 1,
                Moved::Stopped(status) if status.end_of_data() || status.behind_filemark() => {
                    return Ok(records);
                }
                Moved::Stopped(_) => return Err(self.cannot_move()),
            }
        }
    }

    pub(super) fn go_to_end(&mut self) -> Result<(), TapeError> {
        // From here the driver counts the files, unless a seek made it lose count or it is set up not to.
        if self.status()?.file.is_none() {
            self.go_to_beginning()?;
        }
        self.command(Op::EndOfData, 1, "cannot go to the end of data")?;
        match self.status()?.file {
            Some(file) => self.arrive_at_end(file),
            None => {
                self.go_to_beginning()?;
                while self.forward_filemarks(1)? == Spaced::Done {}
                Ok(())
            }
        }
    }

    pub(super) fn go_to(&mut self, to: TapePosition) -> Result<Spaced, TapeError> {
        let at = match self.at {
            Some(at) => at,
            None => {
                self.go_to_beginning()?;
                TapePosition::default()
            }
        };
        if to.file == at.file && to.record <= at.record {
            return self.back_records(at, at.record - to.record);
        }
        if to.file < at.file {
            self.back_to_file(at, to.file)?;
        } else if let Some(ahead @ 1..) = to.file.checked_sub(at.file)
            && self.forward_filemarks(u64::from(ahead))? == Spaced::EndOfData
        {
            return Ok(Spaced::EndOfData);
        }
        let at = self.know_place()?;
        self.forward_records(to.record.saturating_sub(at.record))
    }

    /// To the beginning of an earlier file.
    fn back_to_file(&mut self, at: TapePosition, file: u32) -> Result<(), TapeError> {
        if file == 0 {
            return self.go_to_beginning();
        }
        if let Some(begin) = self.begin_of(file).filter(|begin| self.can_seek(*begin)) {
            self.seek(begin)?;
        } else {
            let mut left = u64::from(at.file - file) + 1;
            while left > 0 {
                let part = left.min(SPACE_MAX);
                self.command(Op::BackFilemarks, part as i32, "cannot go back over filemarks")?;
                left -= part;
            }
            self.command(Op::ForwardFilemarks, 1, "cannot go over a filemark")?;
        }
        self.arrive_at_file(file)
    }
}
