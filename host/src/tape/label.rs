//! The label of a virtual tape: what `label.json` in the tape's directory says. Layer: below `virtual_tape`.
//!
//! Lengths are in bytes. The label is replaced as a whole (written beside, made durable, renamed), so that it is
//! either the old or the new one after a crash. It is input like any other: [`Label::read`] refuses what cannot be.

use super::error::TapeError;
use super::guarded;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};
use tapedump_core::device::ErrorKind;

/// Name of the label in the tape's directory.
pub const LABEL_FILE: &str = "label.json";
/// Name of the first tape file in the tape's directory.
pub const FIRST_FILE: &str = "file-0000.tape";
const LABEL_FILE_NEW: &str = "label.json.new";

/// Version of the label this program writes; it reads no later one.
const FORMAT: u32 = 1;
/// A label longer than this is not one: more than 100,000 tape files.
const LABEL_LEN_MAX: u64 = 16 << 20;
/// The longest record of a virtual tape: what the Linux tape driver takes, too.
pub const RECORD_LEN_MAX: u32 = 16 << 20;

/// What is known of one tape file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TapeFile {
    /// Length of every record but the last, which may be shorter. 0 in a file without records.
    pub record_len: u32,
    /// Number of records.
    pub records: u64,
    /// Length of the file.
    pub len: u64,
    /// How far the file is.
    pub state: FileState,
}

/// How far a tape file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileState {
    /// Being written: it has as many bytes as it has, and no filemark.
    Open,
    /// About to be cut to `len` and written on from there; what lies behind is void already.
    Cut,
    /// A filemark follows, and all `len` bytes are durable.
    Closed,
}

/// Bytes of a tape file that its label knows and the disk does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    /// The tape file.
    pub file: u32,
    /// What is missing, at its end.
    pub missing: u64,
    /// Its length when it was whole.
    pub len: u64,
}

impl TapeFile {
    /// Where a record begins.
    pub(super) fn offset_of(&self, record: u64) -> u64 {
        record.saturating_mul(u64::from(self.record_len)).min(self.len)
    }

    /// A tape file of `len` bytes in records of `record_len`.
    #[must_use]
    pub fn new(record_len: u32, len: u64, state: FileState) -> Self {
        let records = if len == 0 { 0 } else { len.div_ceil(u64::from(record_len.max(1))) };
        Self { record_len, records, len, state }
    }

    /// Whether the last record is shorter than the others, so that none can follow it.
    #[must_use]
    pub fn ends_short(&self) -> bool {
        self.len != 0 && !self.len.is_multiple_of(u64::from(self.record_len.max(1)))
    }
}

/// The label of a virtual tape.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Label {
    format: u32,
    /// What the user calls this tape.
    pub name: String,
    /// Bytes the tape holds; none: as many as the file system has room for.
    pub capacity: Option<u64>,
    /// Writing warns as soon as less than this is left of the capacity.
    pub early_warning: u64,
    /// The tape refuses writes.
    pub write_protected: bool,
    /// When the label was last written: nanoseconds since 1970-01-01 UTC.
    pub written_ns: u64,
    /// The tape files in order.
    pub files: Vec<TapeFile>,
}

#[derive(Deserialize)]
struct Version {
    format: u32,
}

impl Label {
    /// The label of a new, blank tape.
    #[must_use]
    pub fn new(name: &str, capacity: Option<u64>) -> Self {
        Self {
            format: FORMAT,
            name: name.into(),
            capacity,
            early_warning: capacity.map_or(0, early_warning_distance),
            write_protected: false,
            written_ns: 0,
            files: Vec::new(),
        }
    }

    /// Reads and checks the label in `dir`.
    ///
    /// # Errors
    /// `dir` is not a virtual tape, or its label cannot be read or contradicts itself.
    pub fn read(dir: &Path) -> Result<Self, TapeError> {
        let path = dir.join(LABEL_FILE);
        let file = guarded::open_plain(&path, OpenOptions::new().read(true)).map_err(|error| match error
            .kind()
        {
            std::io::ErrorKind::NotFound => not_a_tape(dir),
            _ => TapeError::io(&path, "cannot open the tape's label", error),
        })?;
        let mut text = Vec::new();
        file.take(LABEL_LEN_MAX + 1)
            .read_to_end(&mut text)
            .map_err(|error| TapeError::io(&path, "cannot read the tape's label", error))?;
        if text.len() as u64 > LABEL_LEN_MAX {
            return Err(damaged(&path, "it is too long"));
        }
        let version: Version = serde_json::from_slice(&text).map_err(|error| damaged(&path, error))?;
        if version.format != FORMAT {
            return Err(TapeError::new(
                ErrorKind::Unsupported,
                crate::text::printable_path(&path),
                format!("the label has version {}, this program reads version {FORMAT}", version.format),
            )
            .advise("use a newer tapedump"));
        }
        let label: Self = serde_json::from_slice(&text).map_err(|error| damaged(&path, error))?;
        label.check().map_err(|why| damaged(&path, why))?;
        Ok(label)
    }

    fn check(&self) -> Result<(), String> {
        let mut total = 0_u64;
        for (index, file) in self.files.iter().enumerate() {
            if file.record_len > RECORD_LEN_MAX {
                return Err(format!("tape file {index} has records of {} bytes", file.record_len));
            }
            if *file != TapeFile::new(file.record_len, file.len, file.state) {
                return Err(format!(
                    "tape file {index} cannot have {} records of {} bytes in {} bytes",
                    file.records, file.record_len, file.len
                ));
            }
            if file.record_len == 0 && file.len != 0 {
                return Err(format!("tape file {index} has records of no bytes"));
            }
            if file.state != FileState::Closed && index + 1 != self.files.len() {
                return Err(format!("tape file {index} is not closed, but others follow"));
            }
            total = total.checked_add(file.len).ok_or("its lengths are impossible")?;
        }
        i64::try_from(total).map(drop).map_err(|_| "its lengths are impossible".into())
    }

    /// Replaces the label in `dir`, durably.
    ///
    /// # Errors
    /// The label cannot be written; the old one stands.
    pub fn write(&mut self, dir: &Path) -> Result<(), TapeError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // Nanoseconds fit until the year 2554.
        self.written_ns = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        let path = dir.join(LABEL_FILE_NEW);
        let write = || -> std::io::Result<()> {
            let mut text = serde_json::to_vec_pretty(self)?;
            text.push(b'\n');
            let mut file = guarded::create_anew(&path)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&path, dir.join(LABEL_FILE))?;
            sync_directory(dir)
        };
        write().map_err(|error| TapeError::io(&path, "cannot write the tape's label", error))
    }
}

/// Makes a tape file durable, with its name in the tape's directory.
pub(super) fn make_durable(file: &File, dir: &Path) -> Result<(), TapeError> {
    let synced = file.sync_all().and_then(|()| sync_directory(dir));
    synced.map_err(|error| TapeError::io(dir, "cannot make what was written durable", error))
}

/// Makes the names in `dir` durable.
pub(super) fn sync_directory(dir: &Path) -> std::io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Path of the data of a tape file.
#[must_use]
pub fn data_path(dir: &Path, file: u32) -> PathBuf {
    dir.join(format!("file-{file:04}.tape"))
}

/// The early warning that a tape of `capacity` gets: room for what a writer has in flight, but no more than
/// an eighth of a small tape.
fn early_warning_distance(capacity: u64) -> u64 {
    (capacity / 8).min(16 << 20)
}

fn not_a_tape(dir: &Path) -> TapeError {
    if dir.join(FIRST_FILE).symlink_metadata().is_ok() {
        return TapeError::new(
            ErrorKind::Medium,
            crate::text::printable_path(dir),
            format!("the tape's label is missing: there is no {LABEL_FILE}"),
        )
        .advise(READ_FILES);
    }
    TapeError::new(
        ErrorKind::Invalid,
        crate::text::printable_path(dir),
        format!("this directory is not a virtual tape: it has no {LABEL_FILE}"),
    )
    .advise("make one with: tapedump tape create NAME")
}

const READ_FILES: &str =
    "its tape files can still be read one by one: --tape DIRECTORY/file-0000.tape, and so on";

fn damaged(path: &Path, why: impl std::fmt::Display) -> TapeError {
    TapeError::new(
        ErrorKind::Medium,
        crate::text::printable_path(path),
        // The parser may quote what it did not understand.
        format!("the tape's label is damaged: {}", crate::text::printable(why.to_string().as_bytes())),
    )
    .advise(READ_FILES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tapedump_core::device::DeviceError;

    fn refused(text: &str) -> TapeError {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(LABEL_FILE), text).unwrap();
        Label::read(dir.path()).unwrap_err()
    }

    fn with_files(files: &str) -> String {
        format!(
            r#"{{"format":1,"name":"x","capacity":null,"early_warning":0,"write_protected":false,
               "written_ns":0,"files":[{files}]}}"#
        )
    }

    #[test]
    fn reads_what_it_wrote() {
        let dir = tempfile::tempdir().unwrap();
        let mut label = Label::new("weekly", Some(1 << 30));
        label.files.push(TapeFile::new(65536, 100_000, FileState::Closed));
        label.files.push(TapeFile::new(1024, 1024, FileState::Open));
        label.write(dir.path()).unwrap();
        assert_eq!(Label::read(dir.path()).unwrap(), label);
        assert_eq!(label.files[0].records, 2);
        assert!(label.files[0].ends_short() && !label.files[1].ends_short());
        assert_eq!(label.early_warning, 16 << 20);
    }

    #[test]
    fn a_directory_without_label_is_no_tape() {
        let dir = tempfile::tempdir().unwrap();
        let error = Label::read(dir.path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains("not a virtual tape"), "{error}");
    }

    #[test]
    fn a_later_version_is_refused_as_such() {
        let error = refused(r#"{"format":2,"other":[]}"#);
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("version 2"), "{error}");
    }

    #[test]
    fn impossible_numbers_are_refused() {
        for (files, why) in [
            (r#"{"record_len":1024,"records":3,"len":2048,"state":"closed"}"#, "cannot have 3 records"),
            (r#"{"record_len":0,"records":1,"len":1,"state":"closed"}"#, "records of no bytes"),
            (r#"{"record_len":4294967295,"records":0,"len":0,"state":"closed"}"#, "records of 4294967295"),
            (
                r#"{"record_len":1,"records":18446744073709551615,"len":18446744073709551615,"state":"closed"}"#,
                "impossible",
            ),
            (
                r#"{"record_len":1,"records":1,"len":1,"state":"open"},
                   {"record_len":1,"records":1,"len":1,"state":"closed"}"#,
                "not closed",
            ),
            (r#"{"record_len":-1,"records":1,"len":1,"state":"open"}"#, "invalid value"),
        ] {
            let error = refused(&with_files(files));
            assert_eq!(error.kind(), ErrorKind::Medium, "{files}");
            assert!(error.to_string().contains(why), "{error}");
        }
        assert!(refused("not json").to_string().contains("damaged"));
    }
}
