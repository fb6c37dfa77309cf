//! The tape contract. Filemark, end of data, early warning and end of medium are values; an `Err` means that
//! the drive or the medium failed.

use super::DeviceError;
use crate::units::TapeNo;

/// What a read met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum TapeRead {
    /// One tape record of this many bytes (never 0, never more than the buffer) is at the front of the buffer.
    Record(usize),
    /// A filemark; the position is after it. The next read gives the first record of the next tape file.
    Filemark,
    /// Nothing was ever written from here on. The position stays, so a further read gives the same again.
    EndOfData,
    /// The next record is longer than the buffer. The position is before that record again, where the device
    /// can go back; otherwise after it ([`TapeDevice::position`] tells).
    BufferTooSmall {
        /// Length of that record in bytes.
        needed: usize,
    },
}

/// What a write met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum TapeWrite {
    /// The record is accepted.
    Written,
    /// The record is accepted, and the medium is nearly full (LEOM). Further writes are allowed.
    EarlyWarning,
    /// The medium is full. Nothing of this record is on it, and all records accepted before are.
    EndOfMedium,
}

/// Place on a tape: tape files and records in that file, both from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct TapePosition {
    /// Filemarks passed since the beginning of the tape.
    pub file: u32,
    /// Records passed since the last filemark.
    pub record: u64,
}

/// Where to space to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Space {
    /// Over this many records; negative is towards the beginning.
    Records(i64),
    /// Over this many filemarks; negative is towards the beginning, and ends before the last one passed.
    Filemarks(i64),
    /// To the end of what is written.
    EndOfData,
}

/// Where spacing ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Spaced {
    /// At the place asked for.
    Done,
    /// At a filemark met while spacing over records; the position is after it (before it, going backward).
    Filemark,
    /// At the end of data.
    EndOfData,
    /// At the beginning of the tape.
    BeginningOfTape,
}

/// What a tape device can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct TapeCapabilities {
    /// The longest record it reads and writes, in bytes.
    pub record_len_max: usize,
    /// [`TapeDevice::locate`], [`TapeDevice::space`] and [`TapeDevice::rewind`] work (false: a pipe).
    pub can_position: bool,
    /// The medium refuses writes.
    pub write_protected: bool,
}

impl TapeCapabilities {
    /// A device that can position and write records up to `record_len_max` bytes.
    #[must_use]
    pub const fn new(record_len_max: usize) -> Self {
        Self { record_len_max, can_position: true, write_protected: false }
    }
}

/// A tape drive with a medium in it.
///
/// A record written by one [`write`](Self::write) is read back by one [`read`](Self::read). Writing anywhere
/// makes everything behind that place unreadable ([`TapeRead::EndOfData`]).
pub trait TapeDevice {
    /// The drive's own error.
    type Error: DeviceError;

    /// What this device and medium can do; constant while the medium stays in.
    fn capabilities(&self) -> TapeCapabilities;

    /// Reads the next record into the front of `buf`. An empty `buf` gives `BufferTooSmall` or the mark met.
    ///
    /// # Errors
    /// The record could not be read. The position is after it where the device knows how to go on; a
    /// following read may therefore succeed. A device that stays in place fails again the same way.
    fn read(&mut self, buf: &mut [u8]) -> Result<TapeRead, Self::Error>;

    /// Writes one record of `record.len()` bytes, at least one and at most `record_len_max`.
    ///
    /// The record may still be on its way to the medium when this returns; [`write_filemark`](Self::write_filemark)
    /// and [`flush`](Self::flush) make all of them durable.
    ///
    /// # Errors
    /// The record, or one accepted earlier, could not be written. What is on the medium ends before it.
    fn write(&mut self, record: &[u8]) -> Result<TapeWrite, Self::Error>;

    /// Writes a filemark and returns when it and every record before it are durable on the medium.
    ///
    /// # Errors
    /// Something accepted earlier, or the filemark, could not be made durable.
    fn write_filemark(&mut self) -> Result<TapeWrite, Self::Error>;

    /// Returns when every record accepted before is durable on the medium; writes no filemark. What reads the tape finds
    /// those records whatever happens afterwards. It may cost the drive its pace.
    ///
    /// # Errors
    /// Something accepted earlier could not be made durable.
    fn flush(&mut self) -> Result<(), Self::Error>;

    /// Where the next read or write takes place.
    ///
    /// # Errors
    /// The drive does not know.
    fn position(&mut self) -> Result<TapePosition, Self::Error>;

    /// Goes to `to`. A place behind the end of data gives [`Spaced::EndOfData`] there.
    ///
    /// # Errors
    /// The drive failed, or cannot position at all ([`super::ErrorKind::Unsupported`]).
    fn locate(&mut self, to: TapePosition) -> Result<Spaced, Self::Error>;

    /// Moves relative to the present position.
    ///
    /// # Errors
    /// As [`locate`](Self::locate).
    fn space(&mut self, by: Space) -> Result<Spaced, Self::Error>;

    /// Goes to the beginning of the tape.
    ///
    /// # Errors
    /// As [`locate`](Self::locate).
    fn rewind(&mut self) -> Result<(), Self::Error>;

    /// Makes everything durable and gives the medium back.
    ///
    /// # Errors
    /// Something accepted earlier could not be made durable, or the drive failed.
    fn unload(&mut self) -> Result<(), Self::Error>;

    /// Whether there may be another medium for a dump to go on on, as its tape number `tape`. Without one, the present one is
    /// written to its very end.
    fn has_next_tape(&self, tape: TapeNo) -> bool {
        let _ = tape;
        false
    }

    /// A dump goes on on another medium, as its tape number `tape`: puts one in, ready to be written from where it stands. All
    /// that was written to the present one is durable, and nothing more goes to it. It may be asked for the same number again, when
    /// that medium has room for nothing. `false`: there is none, and the dump ends here.
    ///
    /// # Errors
    /// The change failed, or was given up.
    fn next_tape(&mut self, tape: TapeNo) -> Result<bool, Self::Error> {
        let _ = tape;
        Ok(false)
    }
}

impl<D: TapeDevice + ?Sized> TapeDevice for &mut D {
    type Error = D::Error;

    fn capabilities(&self) -> TapeCapabilities {
        (**self).capabilities()
    }
    fn read(&mut self, buf: &mut [u8]) -> Result<TapeRead, Self::Error> {
        (**self).read(buf)
    }
    fn write(&mut self, record: &[u8]) -> Result<TapeWrite, Self::Error> {
        (**self).write(record)
    }
    fn write_filemark(&mut self) -> Result<TapeWrite, Self::Error> {
        (**self).write_filemark()
    }
    fn flush(&mut self) -> Result<(), Self::Error> {
        (**self).flush()
    }
    fn position(&mut self) -> Result<TapePosition, Self::Error> {
        (**self).position()
    }
    fn locate(&mut self, to: TapePosition) -> Result<Spaced, Self::Error> {
        (**self).locate(to)
    }
    fn space(&mut self, by: Space) -> Result<Spaced, Self::Error> {
        (**self).space(by)
    }
    fn rewind(&mut self) -> Result<(), Self::Error> {
        (**self).rewind()
    }
    fn unload(&mut self) -> Result<(), Self::Error> {
        (**self).unload()
    }
    fn has_next_tape(&self, tape: TapeNo) -> bool {
        (**self).has_next_tape(tape)
    }
    fn next_tape(&mut self, tape: TapeNo) -> Result<bool, Self::Error> {
        (**self).next_tape(tape)
    }
}
