//! A tape that forgets what is written to it: for measuring how fast a dump is without its medium. Layer: tape.

use super::error::TapeError;
use tapedump_core::device::ErrorKind;
use tapedump_core::device::tape::{
    Space, Spaced, TapeCapabilities, TapeDevice, TapePosition, TapeRead, TapeWrite,
};

/// See the module's head. It counts tape files and records, and cannot be positioned.
#[derive(Debug, Default)]
pub struct NullTape {
    at: TapePosition,
}

impl NullTape {
    /// What messages and `--tape` call it.
    pub const NAME: &str = "null:";
}

fn unsupported<T>() -> Result<T, TapeError> {
    Err(TapeError::new(
        ErrorKind::Unsupported,
        NullTape::NAME,
        "this tape keeps nothing and cannot be positioned",
    ))
}

impl TapeDevice for NullTape {
    type Error = TapeError;

    fn capabilities(&self) -> TapeCapabilities {
        let mut capabilities = TapeCapabilities::new(super::label::RECORD_LEN_MAX as usize);
        capabilities.can_position = false;
        capabilities
    }
    fn read(&mut self, _: &mut [u8]) -> Result<TapeRead, TapeError> {
        Ok(TapeRead::EndOfData)
    }
    fn write(&mut self, record: &[u8]) -> Result<TapeWrite, TapeError> {
        if record.is_empty() || record.len() > super::label::RECORD_LEN_MAX as usize {
            let what = format!("a record cannot have {} bytes", record.len());
            return Err(TapeError::new(ErrorKind::Invalid, Self::NAME, what));
        }
        self.at.record += 1;
        Ok(TapeWrite::Written)
    }
    fn write_filemark(&mut self) -> Result<TapeWrite, TapeError> {
        self.at = TapePosition { file: self.at.file + 1, record: 0 };
        Ok(TapeWrite::Written)
    }
    fn flush(&mut self) -> Result<(), TapeError> {
        Ok(())
    }
    fn position(&mut self) -> Result<TapePosition, TapeError> {
        Ok(self.at)
    }
    fn locate(&mut self, _: TapePosition) -> Result<Spaced, TapeError> {
        unsupported()
    }
    fn space(&mut self, _: Space) -> Result<Spaced, TapeError> {
        unsupported()
    }
    fn rewind(&mut self) -> Result<(), TapeError> {
        unsupported()
    }
    fn unload(&mut self) -> Result<(), TapeError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tapedump_core::device::DeviceError;

    #[test]
    fn counts_and_keeps_nothing() {
        let mut tape = NullTape::default();
        assert_eq!(tape.write(&[1; 1024]).unwrap(), TapeWrite::Written);
        assert_eq!(tape.position().unwrap(), TapePosition { file: 0, record: 1 });
        assert_eq!(tape.write_filemark().unwrap(), TapeWrite::Written);
        assert_eq!(tape.position().unwrap(), TapePosition { file: 1, record: 0 });
        assert_eq!(tape.read(&mut [0; 8]).unwrap(), TapeRead::EndOfData);
        assert!(!tape.capabilities().can_position);
        assert_eq!(tape.rewind().unwrap_err().kind(), ErrorKind::Unsupported);
        assert_eq!(tape.write(&[]).unwrap_err().kind(), ErrorKind::Invalid);
    }
}
