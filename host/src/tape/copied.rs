//! A tape whose first blocks are kept in a file as well, while they are written. Layer: on top of any tape.

use super::{Tape, TapeError};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tapedump_core::device::tape::{
    Space, Spaced, TapeCapabilities, TapeDevice, TapePosition, TapeRead, TapeWrite,
};

/// See the module's head.
pub struct Copied {
    tape: Box<dyn Tape>,
    copy: Option<Copy>,
}

/// Where the blocks go.
struct Copy {
    file: File,
    len: u64,
    limit: Arc<AtomicU64>,
    failure: Option<io::Error>,
    /// What follows is on another tape.
    is_cut: bool,
}

impl Copied {
    /// The tape alone.
    #[must_use]
    pub fn nothing(tape: Box<dyn Tape>) -> Self {
        Self { tape, copy: None }
    }

    /// What is written goes to `file` as well, as far as `limit` bytes, which may be set while it is being written.
    #[must_use]
    pub fn to(tape: Box<dyn Tape>, file: File, limit: Arc<AtomicU64>) -> Self {
        Self { tape, copy: Some(Copy { file, len: 0, limit, failure: None, is_cut: false }) }
    }

    /// The file has this many bytes already, which were written before.
    #[must_use]
    pub fn from(mut self, len: u64) -> Self {
        if let Some(copy) = &mut self.copy {
            copy.len = len;
        }
        self
    }

    /// Writes to another tape from now on. What is kept ends with the one before: it is of no use, if it was to have more.
    pub fn put_in(&mut self, tape: Box<dyn Tape>) {
        self.tape = tape;
        if let Some(copy) = &mut self.copy {
            copy.is_cut = true;
        }
    }

    /// Gives the tape back, and the file with what it was to have.
    pub fn into_parts(self) -> (Box<dyn Tape>, Option<io::Result<File>>) {
        let copy = self.copy.map(|copy| match copy.failure {
            Some(failure) => Err(failure),
            None => Ok(copy.file),
        });
        (self.tape, copy)
    }
}

impl Copy {
    fn take(&mut self, record: &[u8]) {
        let left = self.limit.load(Ordering::Relaxed).saturating_sub(self.len);
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(record.len());
        if wanted > 0 && self.is_cut {
            let what = "its names are on several tapes";
            self.failure.get_or_insert_with(|| io::Error::new(io::ErrorKind::Unsupported, what));
        } else if wanted > 0
            && self.failure.is_none()
            && let Err(failure) = self.file.write_all_at(&record[..wanted], self.len)
        {
            self.failure = Some(failure);
        }
        self.len += wanted as u64;
    }
}

impl TapeDevice for Copied {
    type Error = TapeError;

    fn capabilities(&self) -> TapeCapabilities {
        self.tape.capabilities()
    }
    fn read(&mut self, buf: &mut [u8]) -> Result<TapeRead, TapeError> {
        self.tape.read(buf)
    }
    fn write(&mut self, record: &[u8]) -> Result<TapeWrite, TapeError> {
        if let Some(copy) = &mut self.copy {
            copy.take(record);
        }
        self.tape.write(record)
    }
    fn write_filemark(&mut self) -> Result<TapeWrite, TapeError> {
        self.tape.write_filemark()
    }
    fn flush(&mut self) -> Result<(), TapeError> {
        self.tape.flush()
    }
    fn position(&mut self) -> Result<TapePosition, TapeError> {
        self.tape.position()
    }
    fn locate(&mut self, to: TapePosition) -> Result<Spaced, TapeError> {
        self.tape.locate(to)
    }
    fn space(&mut self, by: Space) -> Result<Spaced, TapeError> {
        self.tape.space(by)
    }
    fn rewind(&mut self) -> Result<(), TapeError> {
        self.tape.rewind()
    }
    fn unload(&mut self) -> Result<(), TapeError> {
        self.tape.unload()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tape::null::NullTape;
    use std::io::Read;

    #[test]
    fn as_much_is_kept_as_was_asked_for() {
        let limit = Arc::new(AtomicU64::new(u64::MAX));
        let file = tempfile::tempfile().unwrap();
        let mut tape = Copied::to(Box::new(NullTape::default()), file, Arc::clone(&limit));
        tape.write(&[1; 1024]).unwrap();
        limit.store(1500, Ordering::Relaxed);
        tape.write(&[2; 1024]).unwrap();
        tape.write(&[3; 1024]).unwrap();
        let mut kept = Vec::new();
        tape.into_parts().1.unwrap().unwrap().read_to_end(&mut kept).unwrap();
        assert_eq!(kept, [vec![1; 1024], vec![2; 476]].concat());
    }

    #[test]
    fn a_copy_that_fails_does_not_fail_the_tape() {
        let file = File::open("/dev/null").unwrap();
        let mut tape = Copied::to(Box::new(NullTape::default()), file, Arc::new(AtomicU64::new(u64::MAX)));
        assert_eq!(tape.write(&[1; 1024]).unwrap(), TapeWrite::Written);
        assert!(tape.into_parts().1.unwrap().is_err());
    }
}
