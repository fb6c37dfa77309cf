//! Tape and block devices in files, for a board that has files of any kind: of a card, or of the host that a debugger
//! or an emulator gives access to.

use tapedump_core::device::ErrorKind;
use tapedump_core::device::block::BlockDevice;
use tapedump_core::device::tape::{
    Space, Spaced, TapeCapabilities, TapeDevice, TapePosition, TapeRead, TapeWrite,
};
use tapedump_core::units::BlockingFactor;

/// A file that is read and written at places.
pub trait BoardFile {
    /// Length in bytes.
    ///
    /// # Errors
    /// The file cannot tell.
    fn length(&mut self) -> Result<u64, ErrorKind>;

    /// Reads at `at`. Less than `buf.len()` only at the end of the file.
    ///
    /// # Errors
    /// It cannot be read.
    fn read_at(&mut self, at: u64, buf: &mut [u8]) -> Result<usize, ErrorKind>;

    /// Writes all of `data` at `at`; what then lies between the end before and `at` reads as zeros.
    ///
    /// # Errors
    /// It cannot be written (entirely).
    fn write_at(&mut self, at: u64, data: &[u8]) -> Result<(), ErrorKind>;

    /// Removes all content.
    ///
    /// # Errors
    /// It stays.
    fn clear(&mut self) -> Result<(), ErrorKind>;

    /// Returns when what was written is where it outlives the board's power.
    ///
    /// # Errors
    /// It is not.
    fn flush(&mut self) -> Result<(), ErrorKind>;
}

/// A tape in a file: one tape file, its records one after the other and nothing else, as `restore` programs read it.
///
/// All records have the length of the first one, except that the last may be shorter. Nothing is cut off in the middle,
/// which not every file system of a board can do: what is written there ends the tape, but what stood behind it stands in the
/// file until it is written over, which is to be done before the tape file is whole.
pub struct FileTape<F> {
    file: F,
    len: u64,
    /// Bytes of the file: at least as many.
    file_len: u64,
    record_len: u64,
    /// The tape file is whole.
    filemark: bool,
    at: TapePosition,
}

/// Where the tape file is over.
const BEHIND: TapePosition = TapePosition { file: 1, record: 0 };

impl<F: BoardFile> FileTape<F> {
    /// A tape with what `file` holds: nothing, or a whole tape file whose records are `record_len` bytes long.
    ///
    /// # Errors
    /// The file cannot be read, or records of no bytes are asked for.
    pub fn new(mut file: F, record_len: usize) -> Result<Self, ErrorKind> {
        let len = file.length()?;
        if record_len == 0 {
            return Err(ErrorKind::Invalid);
        }
        let at = TapePosition::default();
        Ok(Self { file, len, file_len: len, record_len: record_len as u64, filemark: len > 0, at })
    }

    fn records(&self) -> u64 {
        self.len.div_ceil(self.record_len)
    }

    fn offset(&self) -> u64 {
        self.at.record.saturating_mul(self.record_len).min(self.len)
    }

    fn end(&self) -> TapePosition {
        if self.filemark { BEHIND } else { TapePosition { file: 0, record: self.records() } }
    }

    /// Makes the position the end of what is written.
    fn cut(&mut self) -> Result<(), ErrorKind> {
        if self.at.file > 0 {
            return Err(ErrorKind::Unsupported);
        }
        if self.at.record == 0 {
            self.file.clear()?;
            self.file_len = 0;
        }
        self.len = self.offset();
        self.filemark = false;
        Ok(())
    }

    fn space_records(&mut self, by: i64) -> Spaced {
        let from = if self.at == BEHIND && by < 0 {
            // Towards the beginning, the filemark is the first that is met.
            self.at = TapePosition { file: 0, record: self.records() };
            return Spaced::Filemark;
        } else {
            self.at
        };
        match from.record.checked_add_signed(by) {
            Some(record) if from.file == 0 && record <= self.records() => {
                self.at.record = record;
                Spaced::Done
            }
            None if by < 0 => {
                self.at = TapePosition::default();
                Spaced::BeginningOfTape
            }
            _ if by == 0 => Spaced::Done,
            _ => {
                let marked = from.file == 0 && self.filemark;
                self.at = self.end();
                if marked { Spaced::Filemark } else { Spaced::EndOfData }
            }
        }
    }

    fn space_filemarks(&mut self, by: i64) -> Spaced {
        match (by, self.at.file) {
            (0, _) => Spaced::Done,
            (1, 0) if self.filemark => {
                self.at = BEHIND;
                Spaced::Done
            }
            (-1, 1) => {
                self.at = TapePosition { file: 0, record: self.records() };
                Spaced::Done
            }
            (1.., _) => {
                self.at = self.end();
                Spaced::EndOfData
            }
            _ => {
                self.at = TapePosition::default();
                Spaced::BeginningOfTape
            }
        }
    }
}

impl<F: BoardFile> TapeDevice for FileTape<F> {
    type Error = ErrorKind;

    fn capabilities(&self) -> TapeCapabilities {
        TapeCapabilities::new(BlockingFactor::MAX.record_len())
    }

    fn read(&mut self, buf: &mut [u8]) -> Result<TapeRead, ErrorKind> {
        if self.at.file > 0 {
            return Ok(TapeRead::EndOfData);
        }
        let from = self.offset();
        let len = (self.len - from).min(self.record_len) as usize;
        if len == 0 {
            if !self.filemark {
                return Ok(TapeRead::EndOfData);
            }
            self.at = BEHIND;
            return Ok(TapeRead::Filemark);
        }
        let Some(record) = buf.get_mut(..len) else { return Ok(TapeRead::BufferTooSmall { needed: len }) };
        self.at.record += 1;
        if self.file.read_at(from, record)? < len {
            return Err(ErrorKind::Medium);
        }
        Ok(TapeRead::Record(len))
    }

    fn write(&mut self, record: &[u8]) -> Result<TapeWrite, ErrorKind> {
        let len = record.len() as u64;
        let offset = self.offset();
        let longest =
            if self.at.record == 0 { self.capabilities().record_len_max as u64 } else { self.record_len };
        // Behind a shorter record there is no place for another one.
        if !(1..=longest).contains(&len) || !offset.is_multiple_of(self.record_len) {
            return Err(ErrorKind::Invalid);
        }
        self.cut()?;
        if offset == 0 {
            self.record_len = len;
        }
        self.file.write_at(offset, record)?;
        self.len = offset + len;
        self.file_len = self.file_len.max(self.len);
        self.at.record += 1;
        Ok(TapeWrite::Written)
    }

    fn write_filemark(&mut self) -> Result<TapeWrite, ErrorKind> {
        self.cut()?;
        if self.file_len > self.len {
            return Err(ErrorKind::Unsupported);
        }
        self.file.flush()?;
        self.filemark = true;
        self.at = BEHIND;
        Ok(TapeWrite::Written)
    }

    fn flush(&mut self) -> Result<(), ErrorKind> {
        self.file.flush()
    }

    fn position(&mut self) -> Result<TapePosition, ErrorKind> {
        Ok(self.at)
    }

    fn locate(&mut self, to: TapePosition) -> Result<Spaced, ErrorKind> {
        let end = self.end();
        if to > end {
            self.at = end;
            return Ok(Spaced::EndOfData);
        }
        if to.file == 0 && to.record > self.records() {
            self.at = BEHIND;
            return Ok(Spaced::Filemark);
        }
        self.at = to;
        Ok(Spaced::Done)
    }

    fn space(&mut self, by: Space) -> Result<Spaced, ErrorKind> {
        Ok(match by {
            Space::Records(by) => self.space_records(by),
            Space::Filemarks(by) => self.space_filemarks(by),
            Space::EndOfData => {
                self.at = self.end();
                Spaced::Done
            }
        })
    }

    fn rewind(&mut self) -> Result<(), ErrorKind> {
        self.at = TapePosition::default();
        Ok(())
    }

    fn unload(&mut self) -> Result<(), ErrorKind> {
        self.file.flush()
    }
}

/// A block device in a file.
pub struct FileBlock<F> {
    file: F,
    capacity: u64,
}

/// Any length divides what a file can do; this one is a card's.
const BLOCK_LEN: usize = 512;

impl<F: BoardFile> FileBlock<F> {
    /// A device of `capacity` bytes, rounded down to whole blocks.
    pub fn new(file: F, capacity: u64) -> Self {
        Self { file, capacity: capacity / BLOCK_LEN as u64 * BLOCK_LEN as u64 }
    }

    fn check(&self, at: u64, len: usize) -> Result<(), ErrorKind> {
        let end = at.checked_add(len as u64).filter(|end| *end <= self.capacity).ok_or(ErrorKind::Invalid)?;
        let whole = at.is_multiple_of(BLOCK_LEN as u64) && end.is_multiple_of(BLOCK_LEN as u64);
        if whole { Ok(()) } else { Err(ErrorKind::Invalid) }
    }
}

impl<F: BoardFile> BlockDevice for FileBlock<F> {
    type Error = ErrorKind;

    fn block_len(&self) -> usize {
        BLOCK_LEN
    }

    fn capacity(&self) -> u64 {
        self.capacity
    }

    fn read(&mut self, at: u64, buf: &mut [u8]) -> Result<(), ErrorKind> {
        self.check(at, buf.len())?;
        let len = self.file.read_at(at, buf)?;
        // Never written.
        buf.get_mut(len..).unwrap_or_default().fill(0);
        Ok(())
    }

    fn write(&mut self, at: u64, data: &[u8]) -> Result<(), ErrorKind> {
        self.check(at, data.len())?;
        self.file.write_at(at, data)
    }

    fn flush(&mut self) -> Result<(), ErrorKind> {
        self.file.flush()
    }
}
