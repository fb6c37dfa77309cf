//! What `--tape` names, and opening it. Layer: on top of all tapes.

use super::Tape;
use super::compressed::Compressed;
use super::error::TapeError;
use super::label::{FIRST_FILE, LABEL_FILE};
use super::library::{Library, is_tape_name};
use super::null::NullTape;
use super::read_ahead::ReadAhead;
use super::st::{self, StTape};
use super::stream_file::{READ_LEN, ReadPipe, StreamFile, WritePipe};
use super::thread::Stop;
use super::virtual_tape::{Access, VirtualTape};
use super::write_behind::WriteBehind;
use crate::text::printable_path;
use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use tapedump_core::device::ErrorKind;
use tapedump_core::device::tape::{Space, TapeDevice};

/// What a user named as a tape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TapeSpec {
    /// A virtual tape in this directory.
    Virtual(PathBuf),
    /// A plain file, or a named pipe, with one tape file in it.
    File(PathBuf),
    /// A tape drive.
    Drive(PathBuf),
    /// Standard input or output.
    Standard,
    /// A tape that keeps nothing.
    Null,
}

/// What to do with a tape that holds data, when writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// Refuse it.
    Refuse,
    /// Write over it from the beginning.
    Overwrite,
    /// Write behind it.
    Append,
    /// Go on in the midst of it, where it is positioned to, with records of this length in bytes.
    GoOn(usize),
}

/// What a tape is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Reading from the beginning.
    Read,
    /// Writing.
    Write(Existing),
}

impl fmt::Display for TapeSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Virtual(path) | Self::File(path) | Self::Drive(path) => f.write_str(&printable_path(path)),
            Self::Standard => f.write_str("-"),
            Self::Null => f.write_str(NullTape::NAME),
        }
    }
}

impl TapeSpec {
    /// Finds out what `argument` names: `-`, `null:`, a tape of `library`, the directory of a virtual tape, or a
    /// plain file. A word without a slash is a tape of the library where that has one, then a file here.
    ///
    /// # Errors
    /// There is no such tape, or what is there is none.
    pub fn resolve(argument: &OsStr, library: &Library, mode: Mode) -> Result<Self, TapeError> {
        if argument == "-" {
            return Ok(Self::Standard);
        }
        if argument == NullTape::NAME {
            return match mode {
                Mode::Read => {
                    Err(TapeError::new(ErrorKind::Invalid, NullTape::NAME, "there is nothing to read"))
                }
                Mode::Write(_) => Ok(Self::Null),
            };
        }
        let path = Path::new(argument);
        let name = argument.to_str().filter(|name| is_tape_name(name));
        if let Some(name) = name {
            let tape = library.path(name)?;
            // One that lost its label is still not something else.
            if [LABEL_FILE, FIRST_FILE].iter().any(|file| tape.join(file).symlink_metadata().is_ok()) {
                return Ok(Self::Virtual(tape));
            }
        }
        match std::fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => Ok(Self::Virtual(path.into())),
            Ok(metadata) if st::is_drive(&metadata) => {
                st::refuse_rewinding(path, &metadata)?;
                Ok(Self::Drive(path.into()))
            }
            Ok(_) => Ok(Self::File(path.into())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => match (mode, name) {
                (Mode::Write(_), None) => Self::new_file(path),
                (Mode::Write(_), Some(name)) => Err(no_such_tape(path).advise(format!(
                    "make it with: tapedump tape create {name}, or write to a plain file with: --tape ./{name}"
                ))),
                (Mode::Read, _) => Err(no_such_tape(path).advise("see what there is with: tapedump tape list")),
            },
            Err(error) => Err(TapeError::io(path, "cannot open the tape", error)),
        }
    }

    /// What is at this path, by its kind. A path at which there is nothing is taken for a plain file.
    #[must_use]
    pub fn of_existing(path: &Path) -> Self {
        match std::fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => Self::Virtual(path.into()),
            Ok(metadata) if metadata.file_type().is_char_device() => Self::Drive(path.into()),
            _ => Self::File(path.into()),
        }
    }

    /// A plain file that does not exist yet, in a directory that does.
    fn new_file(path: &Path) -> Result<Self, TapeError> {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if parent == Path::new("/dev") {
            return Err(TapeError::new(ErrorKind::NotFound, printable_path(path), "there is no such device")
                .advise("see which drives there are with: ls /dev/nst*"));
        }
        match std::fs::metadata(parent) {
            Ok(metadata) if metadata.is_dir() && path.file_name().is_some() => Ok(Self::File(path.into())),
            Ok(_) => Err(no_such_tape(path)),
            Err(error) => Err(TapeError::io(path, "cannot make a tape there", error)),
        }
    }
}

fn no_such_tape(path: &Path) -> TapeError {
    TapeError::new(ErrorKind::NotFound, printable_path(path), "there is no such tape")
}

/// Opens a tape: for reading at its beginning, for writing where the first record goes. A compressed dump reads
/// as if it were not compressed.
///
/// # Errors
/// The tape cannot be opened, is in use, or holds data that may not be written over.
pub fn open(spec: &TapeSpec, mode: Mode) -> Result<Box<dyn Tape>, TapeError> {
    match mode {
        Mode::Read => open_for_reading(spec),
        Mode::Write(existing) => open_for_writing(spec, existing),
    }
}

fn open_for_reading(spec: &TapeSpec) -> Result<Box<dyn Tape>, TapeError> {
    Ok(match spec {
        TapeSpec::Virtual(dir) => Box::new(Compressed::new(VirtualTape::open(dir, Access::Read)?)?),
        TapeSpec::File(path) if is_pipe(path) => {
            let pipe =
                File::open(path).map_err(|error| TapeError::io(path, "cannot open the pipe", error))?;
            Box::new(Compressed::new(ReadPipe::new("named pipe", pipe, READ_LEN))?)
        }
        TapeSpec::File(path) => Box::new(Compressed::new(StreamFile::open(path, READ_LEN)?)?),
        TapeSpec::Drive(path) => Box::new(Compressed::new(StTape::open(path, Access::Read)?)?),
        TapeSpec::Standard => {
            let input = duplicate("standard input", std::io::stdin().as_fd())?;
            Box::new(Compressed::new(ReadPipe::new("standard input", input, READ_LEN))?)
        }
        TapeSpec::Null => Box::new(NullTape::default()),
    })
}

fn open_for_writing(spec: &TapeSpec, existing: Existing) -> Result<Box<dyn Tape>, TapeError> {
    Ok(match spec {
        TapeSpec::Virtual(dir) => {
            let mut tape = VirtualTape::open(dir, Access::Write)?;
            if tape.label().write_protected {
                return Err(TapeError::new(
                    ErrorKind::ReadOnly,
                    spec.to_string(),
                    "the tape is write-protected",
                )
                .advise("lift it with: tapedump tape label TAPE --writable"));
            }
            let blank = tape.is_blank();
            go_where_writing_begins(spec, &mut tape, blank, existing)?;
            Box::new(tape)
        }
        TapeSpec::Drive(path) => {
            let mut tape = StTape::open(path, Access::Write)?;
            let blank = tape.is_blank();
            if existing == Existing::Refuse && !blank {
                return Err(refuses_data(spec).another_cartridge());
            }
            go_where_writing_begins(spec, &mut tape, blank, existing)?;
            Box::new(tape)
        }
        TapeSpec::File(path) if is_pipe(path) => {
            let pipe = File::options()
                .write(true)
                .open(path)
                .map_err(|error| TapeError::io(path, "cannot open the pipe", error))?;
            Box::new(WritePipe::new("named pipe", pipe))
        }
        TapeSpec::File(path) => {
            if let Existing::GoOn(record_len) = existing {
                return Ok(Box::new(StreamFile::open_to_go_on(path, record_len)?));
            }
            if existing != Existing::Overwrite && std::fs::metadata(path).is_ok_and(|file| file.len() != 0) {
                return Err(match existing {
                    Existing::Append => TapeError::new(
                        ErrorKind::Unsupported,
                        spec.to_string(),
                        "a plain file holds one dump only",
                    )
                    .advise("use a virtual tape to append: tapedump tape create NAME"),
                    _ => holds_data(spec, "--overwrite writes over it"),
                });
            }
            Box::new(StreamFile::open_for_writing(path)?)
        }
        TapeSpec::Standard => {
            let output = std::io::stdout();
            if std::io::IsTerminal::is_terminal(&output) {
                return Err(TapeError::new(
                    ErrorKind::Invalid,
                    "standard output",
                    "a dump is not for a terminal",
                )
                .advise("send it into a pipe or a file"));
            }
            Box::new(WritePipe::new("standard output", duplicate("standard output", output.as_fd())?))
        }
        TapeSpec::Null => Box::new(NullTape::default()),
    })
}

/// To the first record that is to be written, on a tape that is at its beginning.
fn go_where_writing_begins(
    spec: &TapeSpec,
    tape: &mut impl TapeDevice<Error = TapeError>,
    blank: bool,
    existing: Existing,
) -> Result<(), TapeError> {
    match existing {
        Existing::Overwrite | Existing::GoOn(_) => Ok(()),
        _ if blank => Ok(()),
        Existing::Refuse => Err(refuses_data(spec)),
        Existing::Append => {
            tape.space(Space::EndOfData)?;
            if tape.position()?.record != 0 {
                // The last dump was cut short: closed, it stays readable as far as it goes.
                tape.write_filemark()?;
            }
            Ok(())
        }
    }
}

fn refuses_data(spec: &TapeSpec) -> TapeError {
    holds_data(spec, "--overwrite writes over it, --append behind it")
}

fn holds_data(spec: &TapeSpec, advice: &str) -> TapeError {
    TapeError::new(ErrorKind::Exists, spec.to_string(), "the tape holds data").advise(advice)
}

fn is_pipe(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_fifo())
}

/// A file without the standard library's buffering.
fn duplicate(name: &'static str, fd: std::os::fd::BorrowedFd<'_>) -> Result<File, TapeError> {
    fd.try_clone_to_owned()
        .map(File::from)
        .map_err(|error| TapeError::io(Path::new(name), "cannot use", error))
}

/// Lets a thread work ahead (reading) or behind (writing records of `record_len`) of the tape that `spec` named, by up to
/// `queue_len` bytes. `stop` ends waiting for a pipe. No more is written behind than a tape takes after its early warning;
/// on a small one each record is written at once.
///
/// # Errors
/// The system gives no thread.
pub fn ahead_or_behind(
    spec: &TapeSpec,
    tape: Box<dyn Tape>,
    mode: Mode,
    queue_len: usize,
    record_len: usize,
    stop: Stop,
) -> Result<Box<dyn Tape>, TapeError> {
    Ok(match mode {
        Mode::Read => Box::new(ReadAhead::new(tape, queue_len, stop)?),
        Mode::Write(_) => {
            // The record that is warned of is one of those that fit.
            let left = early_warning(spec)?.saturating_sub(record_len);
            let depth = left.min(queue_len) / record_len.max(1);
            match depth.min(1024) {
                0 => tape,
                depth => Box::new(WriteBehind::new(spec.to_string(), tape, depth, stop)?),
            }
        }
    })
}

/// Bytes that a tape takes after its early warning, as far as that is known: a tape without an end takes any.
fn early_warning(spec: &TapeSpec) -> Result<usize, TapeError> {
    match spec {
        TapeSpec::Virtual(dir) => {
            let label = VirtualTape::inspect(dir)?;
            let warning = usize::try_from(label.early_warning).unwrap_or(usize::MAX);
            Ok(if label.capacity.is_some() { warning } else { usize::MAX })
        }
        _ => Ok(usize::MAX),
    }
}

#[cfg(test)]
#[path = "open_tests.rs"]
mod tests;
