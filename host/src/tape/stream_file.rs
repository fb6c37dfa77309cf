//! One tape file as a plain file or a pipe: the image of a dump that another program made, or a dump that goes to
//! another program. Layer: tape.
//!
//! Neither keeps record lengths, so reading cuts the bytes into records of a length chosen at the start; the
//! last may be shorter. An image that was there before ends in a filemark: it is a whole tape file.

use super::error::TapeError;
use super::guarded;
use super::holes::end_of_long_hole;
use super::motion::{self, Layout};
use crate::text::printable_path;
use rustix::fs::Advice;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::num::NonZeroU64;
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use tapedump_core::device::ErrorKind;
use tapedump_core::device::tape::{
    Space, Spaced, TapeCapabilities, TapeDevice, TapePosition, TapeRead, TapeWrite,
};

/// Length of the records that an image or a pipe is read in when nothing else is asked for.
pub const READ_LEN: usize = 64 << 10;
/// The longest record.
const RECORD_LEN_MAX: usize = super::label::RECORD_LEN_MAX as usize;
/// The kernel is asked to start writing out after this many bytes.
const WRITE_OUT_LEN: u64 = 8 << 20;

/// A plain file with one tape file in it.
#[derive(Debug)]
pub struct StreamFile {
    path: PathBuf,
    file: File,
    record_len: u64,
    len: u64,
    filemark: bool,
    at: TapePosition,
    writable: bool,
    written_out: u64,
    /// Up to where it is known to have no long hole.
    dense_until: u64,
}

/// Whether `path` can be read and written as a plain file; the error says what it is instead.
fn check_plain(path: &Path, file: &File) -> Result<u64, TapeError> {
    let metadata = file.metadata().map_err(|error| TapeError::io(path, "cannot look at the file", error))?;
    let kind = metadata.file_type();
    if kind.is_file() {
        return Ok(metadata.len());
    }
    Err(not_plain(path, kind))
}

fn not_plain(path: &Path, kind: std::fs::FileType) -> TapeError {
    let (what, advice) = if kind.is_char_device() {
        (
            "this device is not a tape drive",
            "use /dev/nst0 or another drive, a virtual tape, a plain file, - or null:",
        )
    } else if kind.is_dir() {
        ("this is a directory", "make a virtual tape with: tapedump tape create NAME")
    } else {
        ("this is neither a virtual tape nor a plain file", "use a virtual tape, a plain file, - or null:")
    };
    TapeError::new(ErrorKind::Unsupported, printable_path(path), what).advise(advice)
}

impl StreamFile {
    /// Opens the image `path` for reading in records of `record_len` bytes.
    ///
    /// # Errors
    /// It is not there, is not a plain file, cannot be read, or another program writes it.
    pub fn open(path: &Path, record_len: usize) -> Result<Self, TapeError> {
        let kind = std::fs::metadata(path)
            .map_err(|error| TapeError::io(path, "cannot open the tape", error))?
            .file_type();
        // Looked at first, since opening a tape drive or a pipe does something to it.
        if !kind.is_file() {
            return Err(not_plain(path, kind));
        }
        let file = File::open(path).map_err(|error| TapeError::io(path, "cannot open the tape", error))?;
        let len = check_plain(path, &file)?;
        guarded::hold(&file, false, path, "file")?;
        _ = rustix::fs::fadvise(&file, 0, None, Advice::Sequential);
        Ok(Self::new(path, file, record_len.clamp(1, RECORD_LEN_MAX), len, false))
    }

    /// Opens `path` for writing and reading back; makes it where it is not there. What it holds stays until the
    /// first write.
    ///
    /// # Errors
    /// It is not a plain file, cannot be written, or another program writes it.
    pub fn open_for_writing(path: &Path) -> Result<Self, TapeError> {
        if let Ok(metadata) = std::fs::metadata(path)
            && !metadata.is_file()
        {
            return Err(not_plain(path, metadata.file_type()));
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            // A dump holds what its owner only may read. A file that is there keeps its permissions.
            .mode(0o600)
            .open(path)
            .map_err(|error| TapeError::io(path, "cannot open the tape for writing", error))?;
        let len = check_plain(path, &file)?;
        guarded::hold(&file, true, path, "file")?;
        Ok(Self::new(path, file, READ_LEN, len, true))
    }

    /// As [`open_for_writing`](Self::open_for_writing), in the midst of what the file holds in records of `record_len`
    /// bytes; it must be there.
    ///
    /// # Errors
    /// As there.
    pub fn open_to_go_on(path: &Path, record_len: usize) -> Result<Self, TapeError> {
        if let Err(error) = std::fs::metadata(path) {
            return Err(TapeError::io(path, "cannot open the tape", error));
        }
        let file = Self::open_for_writing(path)?;
        Ok(Self { record_len: record_len.clamp(1, RECORD_LEN_MAX) as u64, ..file })
    }

    fn new(path: &Path, file: File, record_len: usize, len: u64, writable: bool) -> Self {
        Self {
            path: path.into(),
            file,
            record_len: record_len as u64,
            len,
            filemark: len != 0,
            at: TapePosition::default(),
            writable,
            written_out: 0,
            dense_until: 0,
        }
    }

    /// Whether the file holds nothing.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        self.len == 0 && !self.filemark
    }

    fn offset(&self) -> u64 {
        self.at.record.saturating_mul(self.record_len).min(self.len)
    }

    fn io(&self, what: &str, error: io::Error) -> TapeError {
        TapeError::io(&self.path, what, error)
    }

    fn check_writable(&self) -> Result<(), TapeError> {
        if !self.writable {
            let what = "the file was opened for reading";
            return Err(TapeError::new(ErrorKind::ReadOnly, printable_path(&self.path), what));
        }
        if self.at.file != 0 {
            let what = "a plain file holds one tape file only";
            return Err(TapeError::new(ErrorKind::Unsupported, printable_path(&self.path), what)
                .advise("use a virtual tape: tapedump tape create NAME"));
        }
        Ok(())
    }

    /// Makes the position the end of what is written.
    fn cut(&mut self) -> Result<(), TapeError> {
        let end = self.offset();
        if end != self.len {
            self.file.set_len(end).map_err(|error| self.io("cannot cut what is written over", error))?;
            self.len = end;
        }
        self.written_out = self.written_out.min(end);
        self.filemark = false;
        Ok(())
    }
}

impl Layout for StreamFile {
    fn files(&self) -> u32 {
        u32::from(!self.is_blank())
    }
    fn records(&self, file: u32) -> u64 {
        if file == 0 { self.len.div_ceil(self.record_len) } else { 0 }
    }
    fn ends_in_filemark(&self, file: u32) -> bool {
        file == 0 && self.filemark
    }
}

impl TapeDevice for StreamFile {
    type Error = TapeError;

    fn capabilities(&self) -> TapeCapabilities {
        let mut capabilities = TapeCapabilities::new(RECORD_LEN_MAX);
        capabilities.write_protected = !self.writable;
        capabilities
    }

    fn read(&mut self, buf: &mut [u8]) -> Result<TapeRead, TapeError> {
        if self.at.file != 0 {
            return Ok(TapeRead::EndOfData);
        }
        let from = self.offset();
        let len = (self.len - from).min(self.record_len) as usize;
        if len == 0 {
            if !self.filemark {
                return Ok(TapeRead::EndOfData);
            }
            self.at = TapePosition { file: 1, record: 0 };
            return Ok(TapeRead::Filemark);
        }
        let Some(record) = buf.get_mut(..len) else { return Ok(TapeRead::BufferTooSmall { needed: len }) };
        if let Some(end) = end_of_long_hole(&self.file, from, self.len, &mut self.dense_until) {
            // To the record in which data comes again.
            let next = if end >= self.len { self.records(0) } else { end / self.record_len };
            self.at.record = next.max(self.at.record + 1);
            let what = format!("nothing was ever written from byte {from} to {end}");
            return Err(TapeError::new(ErrorKind::Medium, printable_path(&self.path), what));
        }
        self.at.record += 1;
        self.file.read_exact_at(record, from).map_err(|error| self.io("cannot read", error))?;
        Ok(TapeRead::Record(len))
    }

    fn write(&mut self, record: &[u8]) -> Result<TapeWrite, TapeError> {
        self.check_writable()?;
        let len = record.len() as u64;
        let end = self.offset();
        let fits = if end == 0 {
            (1..=RECORD_LEN_MAX as u64).contains(&len)
        } else {
            (1..=self.record_len).contains(&len) && end.is_multiple_of(self.record_len)
        };
        if !fits {
            let what = format!("a record of {len} bytes does not fit records of {} bytes", self.record_len);
            return Err(TapeError::new(ErrorKind::Invalid, printable_path(&self.path), what));
        }
        self.cut()?;
        if end == 0 {
            self.record_len = len;
        }
        if let Err(error) = self.file.write_all_at(record, end) {
            // A part of a record would be read as a shorter one. Should even this fail, it is.
            _ = self.file.set_len(end);
            return Err(self.io("cannot write", error));
        }
        self.len = end + len;
        self.at.record += 1;
        if let Some(due) = NonZeroU64::new((self.len - self.written_out) / WRITE_OUT_LEN * WRITE_OUT_LEN) {
            // For dirty pages this advice means: begin to write them out. They stay in memory.
            _ = rustix::fs::fadvise(&self.file, self.written_out, Some(due), Advice::DontNeed);
            self.written_out += due.get();
        }
        Ok(TapeWrite::Written)
    }

    fn write_filemark(&mut self) -> Result<TapeWrite, TapeError> {
        self.check_writable()?;
        self.cut()?;
        self.flush()?;
        self.filemark = true;
        self.at = TapePosition { file: 1, record: 0 };
        Ok(TapeWrite::Written)
    }

    fn flush(&mut self) -> Result<(), TapeError> {
        let parent = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        self.file
            .sync_all()
            .and_then(|()| super::label::sync_directory(parent.unwrap_or(Path::new("."))))
            .map_err(|error| self.io("cannot make what was written durable", error))
    }

    fn position(&mut self) -> Result<TapePosition, TapeError> {
        Ok(self.at)
    }

    fn locate(&mut self, to: TapePosition) -> Result<Spaced, TapeError> {
        let (at, spaced) = motion::locate(self, to);
        self.at = at;
        Ok(spaced)
    }

    fn space(&mut self, by: Space) -> Result<Spaced, TapeError> {
        let (at, spaced) = motion::space(self, self.at, by);
        self.at = at;
        Ok(spaced)
    }

    fn rewind(&mut self) -> Result<(), TapeError> {
        self.at = TapePosition::default();
        Ok(())
    }

    fn unload(&mut self) -> Result<(), TapeError> {
        if self.writable {
            self.file.sync_all().map_err(|error| self.io("cannot make what was written durable", error))?;
        }
        Ok(())
    }
}

/// A tape file that comes out of a pipe. It can only be read, once, from the beginning to the end.
#[derive(Debug)]
pub struct ReadPipe<R> {
    name: &'static str,
    input: R,
    record_len: usize,
    /// A record that was taken out of the pipe already, for a reader whose buffer was too small.
    pending: Vec<u8>,
    at: TapePosition,
    ended: bool,
}

impl<R: Read> ReadPipe<R> {
    /// Reads `input`, which messages call `name`, in records of `record_len` bytes.
    pub fn new(name: &'static str, input: R, record_len: usize) -> Self {
        let record_len = record_len.clamp(1, RECORD_LEN_MAX);
        Self { name, input, record_len, pending: Vec::new(), at: TapePosition::default(), ended: false }
    }

    fn unsupported<T>(&self, what: &str) -> Result<T, TapeError> {
        Err(TapeError::new(ErrorKind::Unsupported, self.name, what))
    }
}

/// Fills `buf` as far as the input goes.
fn fill(input: &mut impl Read, buf: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buf.len() {
        match input.read(&mut buf[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

impl<R: Read> TapeDevice for ReadPipe<R> {
    type Error = TapeError;

    fn capabilities(&self) -> TapeCapabilities {
        let mut capabilities = TapeCapabilities::new(RECORD_LEN_MAX);
        capabilities.can_position = false;
        capabilities.write_protected = true;
        capabilities
    }

    fn read(&mut self, buf: &mut [u8]) -> Result<TapeRead, TapeError> {
        if self.ended {
            return Ok(TapeRead::EndOfData);
        }
        let failed = |error| TapeError::io(Path::new(self.name), "cannot read", error);
        let len = if self.pending.is_empty() && buf.len() >= self.record_len {
            fill(&mut self.input, &mut buf[..self.record_len]).map_err(failed)?
        } else {
            if self.pending.is_empty() {
                self.pending.resize(self.record_len, 0);
                let filled = fill(&mut self.input, &mut self.pending);
                self.pending.truncate(*filled.as_ref().unwrap_or(&0));
                filled.map_err(failed)?;
            }
            let len = self.pending.len();
            let Some(record) = buf.get_mut(..len) else {
                return Ok(TapeRead::BufferTooSmall { needed: len });
            };
            record.copy_from_slice(&self.pending);
            self.pending.clear();
            len
        };
        if len == 0 {
            self.ended = true;
            if self.at.record == 0 {
                return Ok(TapeRead::EndOfData);
            }
            self.at = TapePosition { file: 1, record: 0 };
            return Ok(TapeRead::Filemark);
        }
        self.at.record += 1;
        Ok(TapeRead::Record(len))
    }

    fn write(&mut self, _: &[u8]) -> Result<TapeWrite, TapeError> {
        self.unsupported("this pipe can only be read")
    }
    fn write_filemark(&mut self) -> Result<TapeWrite, TapeError> {
        self.unsupported("this pipe can only be read")
    }
    fn flush(&mut self) -> Result<(), TapeError> {
        self.unsupported("this pipe can only be read")
    }
    fn position(&mut self) -> Result<TapePosition, TapeError> {
        Ok(self.at)
    }
    fn locate(&mut self, _: TapePosition) -> Result<Spaced, TapeError> {
        self.unsupported("a pipe cannot be positioned")
    }
    fn space(&mut self, _: Space) -> Result<Spaced, TapeError> {
        self.unsupported("a pipe cannot be positioned")
    }
    fn rewind(&mut self) -> Result<(), TapeError> {
        self.unsupported("a pipe cannot be positioned")
    }
    fn unload(&mut self) -> Result<(), TapeError> {
        Ok(())
    }
}

/// A tape file that goes into a pipe, or to a file the shell opened. It can only be written, once.
#[derive(Debug)]
pub struct WritePipe {
    name: &'static str,
    output: File,
    at: TapePosition,
}

impl WritePipe {
    /// Writes to `output`, which messages call `name`.
    #[must_use]
    pub fn new(name: &'static str, output: File) -> Self {
        Self { name, output, at: TapePosition::default() }
    }

    /// Makes what was written durable where the output is something that can be.
    fn sync(&self) -> Result<(), TapeError> {
        match self.output.sync_all() {
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
            done => done.map_err(|error| self.failed(error)),
        }
    }

    fn unsupported<T>(&self, what: &str) -> Result<T, TapeError> {
        Err(TapeError::new(ErrorKind::Unsupported, self.name, what))
    }

    fn failed(&self, error: io::Error) -> TapeError {
        let what = match error.kind() {
            io::ErrorKind::BrokenPipe => "the program that reads the dump went away",
            _ => "cannot write",
        };
        TapeError::io(Path::new(self.name), what, error)
    }
}

impl TapeDevice for WritePipe {
    type Error = TapeError;

    fn capabilities(&self) -> TapeCapabilities {
        let mut capabilities = TapeCapabilities::new(RECORD_LEN_MAX);
        capabilities.can_position = false;
        capabilities
    }
    fn read(&mut self, _: &mut [u8]) -> Result<TapeRead, TapeError> {
        Ok(TapeRead::EndOfData)
    }
    fn write(&mut self, record: &[u8]) -> Result<TapeWrite, TapeError> {
        if self.at.file != 0 {
            return self.unsupported("a pipe takes one tape file only");
        }
        if record.is_empty() || record.len() > RECORD_LEN_MAX {
            let what = format!("a record cannot have {} bytes", record.len());
            return Err(TapeError::new(ErrorKind::Invalid, self.name, what));
        }
        self.output.write_all(record).map_err(|error| self.failed(error))?;
        self.at.record += 1;
        Ok(TapeWrite::Written)
    }
    fn write_filemark(&mut self) -> Result<TapeWrite, TapeError> {
        if self.at.file != 0 {
            return self.unsupported("a pipe takes one tape file only");
        }
        self.sync()?;
        self.at = TapePosition { file: 1, record: 0 };
        Ok(TapeWrite::Written)
    }
    fn flush(&mut self) -> Result<(), TapeError> {
        self.sync()
    }
    fn position(&mut self) -> Result<TapePosition, TapeError> {
        Ok(self.at)
    }
    fn locate(&mut self, _: TapePosition) -> Result<Spaced, TapeError> {
        self.unsupported("a pipe cannot be positioned")
    }
    fn space(&mut self, _: Space) -> Result<Spaced, TapeError> {
        self.unsupported("a pipe cannot be positioned")
    }
    fn rewind(&mut self) -> Result<(), TapeError> {
        self.unsupported("a pipe cannot be positioned")
    }
    fn unload(&mut self) -> Result<(), TapeError> {
        self.sync()
    }
}

#[cfg(test)]
#[path = "stream_file_tests.rs"]
mod tests;
