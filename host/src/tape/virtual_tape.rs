//! A virtual tape: a directory with one plain file per tape file and a label. Layer: tape.
//!
//! `file-0000.tape`, `file-0001.tape`, … hold the records of the tape files one after the other and nothing else, so
//! that any third-party `restore -f` reads them as they are. All records of a tape file have one length, except
//! that the last may be shorter. Capacity and early warning are simulated from the label.
//!
//! What is durable when: the label names a tape file before its first record is written, and closes it after its
//! last one is durable. A file that is not closed is taken up to its length, so whatever stops the machine, what was
//! written is readable. Overwriting first voids what lies behind in the label, then in the files.

use super::error::TapeError;
use super::guarded;
use super::holes::end_of_long_hole;
use super::label::{self, FileState, Label, Lost, RECORD_LEN_MAX, TapeFile};
use super::motion::{self, Layout};
use crate::text::printable_path;
use rustix::fs::Advice;
use std::fs::{File, OpenOptions};
use std::io;
use std::num::NonZeroU64;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use tapedump_core::device::tape::{
    Space, Spaced, TapeCapabilities, TapeDevice, TapePosition, TapeRead, TapeWrite,
};
use tapedump_core::device::{DeviceError, ErrorKind};

const LOCK_FILE: &str = "lock";
/// The kernel is asked to start writing out after this many bytes, so that a filemark finds little left to do.
const WRITE_OUT_LEN: u64 = 8 << 20;

/// What a virtual tape is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading; others may read, too.
    Read,
    /// Reading and writing; nobody else may use the tape.
    Write,
}

/// One tape file as it is on the disk.
#[derive(Clone, Copy, Debug)]
struct Extent {
    file: TapeFile,
    /// Fewer bytes are there than were made durable: one more, unreadable record stands for them.
    lost: bool,
}

/// A virtual tape in its drive. See the module's head.
#[derive(Debug)]
pub struct VirtualTape {
    dir: PathBuf,
    label: Label,
    extents: Vec<Extent>,
    at: TapePosition,
    /// The data file used last.
    data: Option<(u32, File)>,
    /// A tape file, and up to where it is known to have no long hole.
    dense_until: (u32, u64),
    /// The tape file being written, at whose end the position is.
    writing: bool,
    written_out: u64,
    access: Access,
    loaded: bool,
    /// Held as long as the tape is in use.
    lock: Option<File>,
}

/// Opening, creating and changing tapes as a whole.
impl VirtualTape {
    /// Makes the blank tape `dir`; its parent exists.
    ///
    /// # Errors
    /// `dir` exists, or cannot be made.
    pub fn create(dir: &Path, name: &str, capacity: Option<NonZeroU64>) -> Result<(), TapeError> {
        // Dumps hold what their owners only may read.
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(dir)
            .map_err(|error| TapeError::io(dir, "cannot make the tape", error))?;
        Label::new(name, capacity.map(NonZeroU64::get)).write(dir)?;
        let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        label::sync_directory(parent).map_err(|error| TapeError::io(dir, "cannot make the tape", error))
    }

    /// Opens the tape `dir` at its beginning.
    ///
    /// # Errors
    /// It is not a tape, its label is damaged, or somebody else uses it ([`ErrorKind::Busy`]).
    pub fn open(dir: &Path, access: Access) -> Result<Self, TapeError> {
        // The label first: a directory that is no tape gets no lock file.
        Label::read(dir).map_err(|error| match (error.kind(), access) {
            (ErrorKind::Invalid, Access::Read) => {
                error.advise("see what there is to read with: tapedump tape list")
            }
            _ => error,
        })?;
        let lock = lock(dir, access)?;
        let label = Label::read(dir)?;
        let extents = extents(dir, &label)?;
        let at = TapePosition::default();
        Ok(Self {
            dir: dir.into(),
            label,
            extents,
            at,
            data: None,
            dense_until: (0, 0),
            writing: false,
            written_out: 0,
            access,
            loaded: true,
            lock,
        })
    }

    /// The label with the tape files as they are on the disk now. Needs no lock: a tape in use can be looked at.
    ///
    /// # Errors
    /// As [`open`](Self::open), except for the lock.
    pub fn inspect(dir: &Path) -> Result<Label, TapeError> {
        let mut label = Label::read(dir)?;
        label.files = extents(dir, &label)?.into_iter().map(|extent| extent.file).collect();
        Ok(label)
    }

    /// The tape files of which bytes are missing. Needs no lock.
    ///
    /// # Errors
    /// As [`inspect`](Self::inspect).
    pub fn lost(dir: &Path) -> Result<Vec<Lost>, TapeError> {
        let label = Label::read(dir)?;
        let found = extents(dir, &label)?;
        let lost = (0..).zip(label.files.iter().zip(found)).filter(|(_, (_, found))| found.lost);
        let of = |(file, (whole, found)): (u32, (&TapeFile, Extent))| Lost {
            file,
            missing: whole.len.saturating_sub(found.file.len),
            len: whole.len,
        };
        Ok(lost.map(of).collect())
    }

    /// Whether another program writes the tape right now.
    #[must_use]
    pub fn is_being_written(dir: &Path) -> bool {
        lock(dir, Access::Read).is_err_and(|error| error.kind() == ErrorKind::Busy)
    }

    /// Gives the tape another name in its label, or switches its write protection.
    ///
    /// # Errors
    /// The label cannot be written.
    pub fn relabel(&mut self, name: Option<&str>, write_protected: Option<bool>) -> Result<(), TapeError> {
        let mut label = self.label.clone();
        if let Some(name) = name {
            label.name = name.into();
        }
        if let Some(write_protected) = write_protected {
            label.write_protected = write_protected;
        }
        label.write(&self.dir)?;
        self.label = label;
        Ok(())
    }

    /// Makes the tape blank; name, capacity and protection stay.
    ///
    /// # Errors
    /// The tape is write-protected, or cannot be written.
    pub fn erase(&mut self) -> Result<(), TapeError> {
        self.check_writable()?;
        self.at = TapePosition::default();
        self.cut()
    }

    /// Removes the tape, which is blank. Files in its directory that are not the tape's make this fail.
    ///
    /// # Errors
    /// The tape holds data, or its directory cannot be removed.
    pub fn remove(mut self) -> Result<(), TapeError> {
        if !self.is_blank() {
            return Err(TapeError::new(ErrorKind::Exists, self.name(), "the tape holds data"));
        }
        // A tape file that has no record yet.
        self.at = TapePosition::default();
        self.cut()?;
        let remove = || {
            for name in [LOCK_FILE, label::LABEL_FILE] {
                match std::fs::remove_file(self.dir.join(name)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
            std::fs::remove_dir(&self.dir)
        };
        remove().map_err(|error| TapeError::io(&self.dir, "cannot remove the tape", error))
    }

    /// What the label says.
    #[must_use]
    pub fn label(&self) -> &Label {
        &self.label
    }

    /// Whether there is neither a record nor a filemark: nothing was ever written, everything was erased, or a program was
    /// killed before its first record.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        match &self.extents[..] {
            [] => true,
            [only] => only.file.state == FileState::Open && only.file.len == 0,
            _ => false,
        }
    }
}

/// Takes the tape's lock, or says who is in the way.
fn lock(dir: &Path, access: Access) -> Result<Option<File>, TapeError> {
    let path = dir.join(LOCK_FILE);
    let mut options = OpenOptions::new();
    options.read(true);
    if access == Access::Write {
        options.write(true).create(true).mode(0o600);
    }
    let file = match guarded::open_plain(&path, &mut options) {
        Ok(file) => file,
        // A tape that nobody ever wrote, or a copy of one.
        Err(error) if access == Access::Read && error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(TapeError::io(&path, "cannot open the tape's lock", error)),
    };
    guarded::hold(&file, access == Access::Write, dir, "tape").map(|()| Some(file))
}

/// What of the label's tape files is really there.
fn extents(dir: &Path, label: &Label) -> Result<Vec<Extent>, TapeError> {
    let mut extents = Vec::with_capacity(label.files.len());
    for (index, file) in (0..).zip(&label.files) {
        let path = label::data_path(dir, index);
        let len = match std::fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_file() => metadata.len(),
            Ok(_) => {
                return Err(TapeError::new(ErrorKind::Medium, printable_path(&path), "not a plain file"));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(TapeError::io(&path, "cannot look at the tape file", error)),
        };
        let (len, lost) = match file.state {
            FileState::Open => (len, false),
            FileState::Cut | FileState::Closed => (len.min(file.len), len < file.len),
        };
        if len != 0 && file.record_len == 0 {
            return Err(TapeError::new(ErrorKind::Medium, printable_path(&path), "not what the label says"));
        }
        extents.push(Extent { file: TapeFile::new(file.record_len, len, file.state), lost });
    }
    Ok(extents)
}

/// Parts of reading and writing.
impl VirtualTape {
    fn extent(&self) -> Option<Extent> {
        self.extents.get(self.at.file as usize).copied()
    }

    fn name(&self) -> String {
        printable_path(&self.dir)
    }

    fn check_loaded(&self) -> Result<(), TapeError> {
        if self.loaded {
            return Ok(());
        }
        Err(TapeError::new(ErrorKind::NotFound, self.name(), "the tape has been unloaded"))
    }

    /// Whether the tape can be written.
    ///
    /// # Errors
    /// It is write-protected, was opened for reading or is unloaded.
    pub fn check_writable(&self) -> Result<(), TapeError> {
        self.check_loaded()?;
        let error =
            |what, advice: &str| Err(TapeError::new(ErrorKind::ReadOnly, self.name(), what).advise(advice));
        if self.label.write_protected {
            return error("the tape is write-protected", "lift it with: tapedump tape label NAME --writable");
        }
        if self.access == Access::Read {
            return error("the tape was opened for reading", "open it for writing");
        }
        Ok(())
    }

    /// The data file of the present tape file.
    fn data(&mut self) -> Result<&File, TapeError> {
        let index = self.at.file;
        if self.data.as_ref().is_none_or(|(open, _)| *open != index) {
            let path = label::data_path(&self.dir, index);
            let mut options = OpenOptions::new();
            options.read(true).write(self.access == Access::Write);
            let file = guarded::open_plain(&path, &mut options)
                .map_err(|error| TapeError::io(&path, "cannot open the tape file", error))?;
            // Only advice: a file system that does not take it reads all the same.
            _ = rustix::fs::fadvise(&file, 0, None, Advice::Sequential);
            self.data = Some((index, file));
        }
        match &self.data {
            Some((_, file)) => Ok(file),
            None => Err(TapeError::new(ErrorKind::Other, self.name(), "no tape file is open")),
        }
    }

    /// Bytes before the position.
    fn used(&self) -> u64 {
        let before: u64 = self.extents.iter().take(self.at.file as usize).map(|extent| extent.file.len).sum();
        before + self.extent().map_or(0, |extent| extent.file.offset_of(self.at.record))
    }

    /// Whether `len` more bytes fit, and whether the warning is due then.
    fn room(&self, len: u64) -> TapeWrite {
        let Some(capacity) = self.label.capacity else { return TapeWrite::Written };
        match capacity.checked_sub(self.used().saturating_add(len)) {
            None => TapeWrite::EndOfMedium,
            Some(left) if left < self.label.early_warning => TapeWrite::EarlyWarning,
            Some(_) => TapeWrite::Written,
        }
    }

    fn write_label(&mut self) -> Result<(), TapeError> {
        self.label.files = self.extents.iter().map(|extent| extent.file).collect();
        self.label.write(&self.dir)
    }

    /// Makes everything from the position on void: in the label first, then on the disk.
    fn cut(&mut self) -> Result<(), TapeError> {
        let index = self.at.file as usize;
        let past = self.extents.len();
        let keep = match self.extents.get_mut(index) {
            None => return Ok(()),
            Some(_) if self.at.record == 0 => index,
            Some(extent) => {
                let len = extent.file.offset_of(self.at.record);
                extent.file = TapeFile::new(extent.file.record_len, len, FileState::Cut);
                extent.lost = false;
                // A record that was lost and is written over is no longer counted.
                self.at.record = extent.file.records;
                index + 1
            }
        };
        self.extents.truncate(keep);
        self.data = None;
        self.write_label()?;
        for void in keep..past {
            let path = label::data_path(&self.dir, void as u32);
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(TapeError::io(&path, "cannot remove what is written over", error));
                }
                _ => {}
            }
        }
        label::sync_directory(&self.dir)
            .map_err(|error| TapeError::io(&self.dir, "cannot remove what is written over", error))?;
        let Some(extent) = self.extent() else { return Ok(()) };
        self.data()?
            .set_len(extent.file.len)
            .map_err(|error| TapeError::io(&self.dir, "cannot cut what is written over", error))?;
        self.extents[index].file.state = FileState::Open;
        self.write_label()
    }

    /// Prepares writing at the position, in records of `record_len`.
    fn begin_writing(&mut self, record_len: u32) -> Result<(), TapeError> {
        let at_end = self.extent().is_some_and(|extent| {
            // An open file without records is begun anew, since its record length may be another.
            extent.file.state == FileState::Open
                && self.at.record != 0
                && self.at.record == extent.file.records
        });
        if !at_end {
            self.cut()?;
        }
        if self.extent().is_none() {
            let path = label::data_path(&self.dir, self.at.file);
            let file = guarded::create_anew(&path)
                .map_err(|error| TapeError::io(&path, "cannot make the tape file", error))?;
            self.data = Some((self.at.file, file));
            self.extents.push(Extent { file: TapeFile::new(record_len, 0, FileState::Open), lost: false });
            self.write_label()?;
        }
        self.written_out = self.extent().map_or(0, |extent| extent.file.len);
        self.writing = true;
        Ok(())
    }

    /// One record length per tape file.
    fn check_record_len(&self, len: u32) -> Result<(), TapeError> {
        let Some(extent) = self.extent().filter(|extent| self.at.record != 0 && extent.file.record_len != 0)
        else {
            return Ok(());
        };
        let record_len = extent.file.record_len;
        let short_before = extent.file.ends_short() && self.at.record >= extent.file.records;
        if len > record_len || short_before {
            let what = format!(
                "tape file {} has records of {record_len} bytes; one of {len} cannot follow {}",
                self.at.file,
                if short_before { "its shorter last one" } else { "them" },
            );
            return Err(TapeError::new(ErrorKind::Invalid, self.name(), what)
                .advise("use the same blocking factor, or begin a new tape file"));
        }
        Ok(())
    }
}

impl Layout for VirtualTape {
    fn files(&self) -> u32 {
        self.extents.len() as u32
    }
    fn records(&self, file: u32) -> u64 {
        self.extents.get(file as usize).map_or(0, |extent| extent.file.records + u64::from(extent.lost))
    }
    fn ends_in_filemark(&self, file: u32) -> bool {
        self.extents.get(file as usize).is_some_and(|extent| extent.file.state == FileState::Closed)
    }
}

impl TapeDevice for VirtualTape {
    type Error = TapeError;

    fn capabilities(&self) -> TapeCapabilities {
        let mut capabilities = TapeCapabilities::new(RECORD_LEN_MAX as usize);
        capabilities.write_protected = self.label.write_protected || self.access == Access::Read;
        capabilities
    }

    fn read(&mut self, buf: &mut [u8]) -> Result<TapeRead, TapeError> {
        self.check_loaded()?;
        let Some(extent) = self.extent() else { return Ok(TapeRead::EndOfData) };
        if self.at.record >= extent.file.records {
            if extent.lost && self.at.record == extent.file.records {
                self.at.record += 1;
                let path = label::data_path(&self.dir, self.at.file);
                return Err(TapeError::new(
                    ErrorKind::Medium,
                    printable_path(&path),
                    format!("the end of this tape file is missing, from byte {} on", extent.file.len),
                ));
            }
            if extent.file.state != FileState::Closed {
                return Ok(TapeRead::EndOfData);
            }
            self.at = TapePosition { file: self.at.file + 1, record: 0 };
            self.writing = false;
            return Ok(TapeRead::Filemark);
        }
        let from = extent.file.offset_of(self.at.record);
        let len = (extent.file.len - from).min(u64::from(extent.file.record_len)) as usize;
        let Some(record) = buf.get_mut(..len) else { return Ok(TapeRead::BufferTooSmall { needed: len }) };
        self.writing = false;
        let (file, known) = self.dense_until;
        let mut dense_until = if file == self.at.file { known } else { 0 };
        let hole = end_of_long_hole(self.data()?, from, extent.file.len, &mut dense_until);
        self.dense_until = (self.at.file, dense_until);
        if let Some(end) = hole {
            // To the record in which data comes again.
            let record_len = u64::from(extent.file.record_len);
            let next = if end >= extent.file.len { extent.file.records } else { end / record_len };
            self.at.record = next.max(self.at.record + 1);
            let path = label::data_path(&self.dir, self.at.file);
            let what = format!("nothing was ever written from byte {from} to {end}");
            return Err(TapeError::new(ErrorKind::Medium, printable_path(&path), what));
        }
        let done = self.data()?.read_exact_at(record, from);
        self.at.record += 1;
        done.map_err(|error| {
            TapeError::io(&label::data_path(&self.dir, self.at.file), "cannot read a record", error)
        })?;
        Ok(TapeRead::Record(len))
    }

    fn write(&mut self, record: &[u8]) -> Result<TapeWrite, TapeError> {
        self.check_writable()?;
        let len = match u32::try_from(record.len()) {
            Ok(len @ 1..=RECORD_LEN_MAX) => len,
            _ => {
                let what = format!("a record cannot have {} bytes", record.len());
                return Err(TapeError::new(ErrorKind::Invalid, self.name(), what));
            }
        };
        self.check_record_len(len)?;
        let room = self.room(u64::from(len));
        if room == TapeWrite::EndOfMedium {
            return Ok(room);
        }
        if !self.writing {
            self.begin_writing(len)?;
        }
        let index = self.at.file as usize;
        let end = self.extents[index].file.len;
        let written_out = self.written_out;
        let file = self.data()?;
        if let Err(error) = file.write_all_at(record, end) {
            // A part of the record would be read as a shorter one. Should even this fail, it is.
            _ = file.set_len(end);
            let path = label::data_path(&self.dir, self.at.file);
            return Err(TapeError::io(&path, "cannot write", error));
        }
        let new_end = end + u64::from(len);
        if let Some(due) = NonZeroU64::new((new_end - written_out) / WRITE_OUT_LEN * WRITE_OUT_LEN) {
            // For dirty pages this advice means: begin to write them out. They stay in memory.
            _ = rustix::fs::fadvise(file, written_out, Some(due), Advice::DontNeed);
            self.written_out += due.get();
        }
        let state = &mut self.extents[index].file;
        let record_len = if state.records == 0 { len } else { state.record_len };
        *state = TapeFile::new(record_len, new_end, FileState::Open);
        self.at.record += 1;
        Ok(room)
    }

    fn write_filemark(&mut self) -> Result<TapeWrite, TapeError> {
        self.check_writable()?;
        if !self.writing {
            self.begin_writing(0)?;
        }
        self.flush()?;
        let index = self.at.file as usize;
        self.extents[index].file.state = FileState::Closed;
        if let Err(error) = self.write_label() {
            self.extents[index].file.state = FileState::Open;
            return Err(error);
        }
        self.at = TapePosition { file: self.at.file + 1, record: 0 };
        self.writing = false;
        self.data = None;
        Ok(match self.room(0) {
            TapeWrite::EndOfMedium => TapeWrite::EarlyWarning,
            room => room,
        })
    }

    fn flush(&mut self) -> Result<(), TapeError> {
        self.check_writable()?;
        if self.writing {
            let dir = self.dir.clone();
            label::make_durable(self.data()?, &dir)?;
        }
        Ok(())
    }

    fn position(&mut self) -> Result<TapePosition, TapeError> {
        self.check_loaded()?;
        Ok(self.at)
    }

    fn locate(&mut self, to: TapePosition) -> Result<Spaced, TapeError> {
        self.check_loaded()?;
        self.writing = false;
        let (at, spaced) = motion::locate(self, to);
        self.at = at;
        Ok(spaced)
    }

    fn space(&mut self, by: Space) -> Result<Spaced, TapeError> {
        self.check_loaded()?;
        self.writing = false;
        let (at, spaced) = motion::space(self, self.at, by);
        self.at = at;
        Ok(spaced)
    }

    fn rewind(&mut self) -> Result<(), TapeError> {
        self.locate(TapePosition::default()).map(drop)
    }

    fn unload(&mut self) -> Result<(), TapeError> {
        self.check_loaded()?;
        if let Some((_, file)) = self.data.take().filter(|_| self.access == Access::Write) {
            label::make_durable(&file, &self.dir)?;
        }
        self.loaded = false;
        self.lock = None;
        Ok(())
    }
}

#[cfg(test)]
#[path = "virtual_tape_tests.rs"]
mod tests;
