//! What is on a tape: its tape files, found by going over it once.

use super::StTape;
use crate::tape::error::TapeError;
use tapedump_core::device::tape::{Space, Spaced, TapeDevice, TapeRead};

/// A tape file, as far as it shows without reading all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TapeFile {
    /// Length of its first record; none: that one cannot be read.
    pub record_len: Option<usize>,
    /// Number of its records; none: this drive would have to count them one by one.
    pub records: Option<u64>,
    /// A filemark follows. The last file of a dump that was cut short has none.
    pub closed: bool,
}

impl StTape {
    /// Whether the drive tells and seeks logical blocks, so that going to a place takes one command.
    #[must_use]
    pub fn has_positions(&self) -> bool {
        self.has_blocks
    }

    /// The next tape file, from the beginning of one on; the tape then is behind it. `None`: there are no more.
    ///
    /// # Errors
    /// The drive cannot go over the file.
    pub fn survey_file(&mut self) -> Result<Option<TapeFile>, TapeError> {
        let file = self.position()?.file;
        let record_len = match self.read(&mut []) {
            Ok(TapeRead::EndOfData) => return Ok(None),
            Ok(TapeRead::Filemark) => {
                return Ok(Some(TapeFile { record_len: None, records: Some(0), closed: true }));
            }
            Ok(TapeRead::Record(len) | TapeRead::BufferTooSmall { needed: len }) => Some(len),
            Err(error) => {
                // Unreadable, or too long: the rest of the file can be gone over all the same.
                self.check_ready()?;
                self.know_place().map_err(|_| error)?;
                None
            }
        };
        let closed = self.space(Space::Filemarks(1))? == Spaced::Done;
        let at = self.position()?;
        let records = if closed { self.records_of(file) } else { Some(at.record) };
        Ok(Some(TapeFile { record_len, records, closed }))
    }

    /// The records of a file that was gone over, where the drive tells blocks: one of them is its filemark.
    fn records_of(&self, file: u32) -> Option<u64> {
        let begin = |file: u32| self.begins.get(file as usize).copied().flatten();
        let next = begin(file.checked_add(1)?)?;
        next.checked_sub(begin(file)?)?.checked_sub(1)
    }
}
