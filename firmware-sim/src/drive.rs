//! A drive: the tape that is in it, and the one that is put in where that one ends.

use tapedump_core::device::tape::{
    Space, Spaced, TapeCapabilities, TapeDevice, TapePosition, TapeRead, TapeWrite,
};
use tapedump_core::units::TapeNo;

/// A drive with a tape in it.
pub struct Drive<'t, T> {
    tape: &'t mut T,
    next: Option<&'t mut T>,
}

impl<'t, T> Drive<'t, T> {
    /// With this tape, and no other one.
    pub fn with(tape: &'t mut T) -> Self {
        Self { tape, next: None }
    }

    /// With this tape, and one more to put in.
    pub fn with_both(tape: &'t mut T, next: &'t mut T) -> Self {
        Self { tape, next: Some(next) }
    }
}

impl<T: TapeDevice> TapeDevice for Drive<'_, T> {
    type Error = T::Error;

    fn capabilities(&self) -> TapeCapabilities {
        self.tape.capabilities()
    }
    fn read(&mut self, buf: &mut [u8]) -> Result<TapeRead, T::Error> {
        self.tape.read(buf)
    }
    fn write(&mut self, record: &[u8]) -> Result<TapeWrite, T::Error> {
        self.tape.write(record)
    }
    fn write_filemark(&mut self) -> Result<TapeWrite, T::Error> {
        self.tape.write_filemark()
    }
    fn flush(&mut self) -> Result<(), T::Error> {
        self.tape.flush()
    }
    fn position(&mut self) -> Result<TapePosition, T::Error> {
        self.tape.position()
    }
    fn locate(&mut self, to: TapePosition) -> Result<Spaced, T::Error> {
        self.tape.locate(to)
    }
    fn space(&mut self, by: Space) -> Result<Spaced, T::Error> {
        self.tape.space(by)
    }
    fn rewind(&mut self) -> Result<(), T::Error> {
        self.tape.rewind()
    }
    fn unload(&mut self) -> Result<(), T::Error> {
        self.tape.unload()
    }
    fn has_next_tape(&self, _tape: TapeNo) -> bool {
        self.next.is_some()
    }
    fn next_tape(&mut self, _tape: TapeNo) -> Result<bool, T::Error> {
        let Some(next) = self.next.take() else { return Ok(false) };
        self.tape = next;
        self.tape.rewind()?;
        Ok(true)
    }
}
