//! `tapedump tape`: making, showing and changing virtual tapes; what can be done with drives, too, is passed on.

pub mod drive;
pub mod dumps;
pub mod qualify;

use self::dumps::{DumpHead, Extent};
use crate::cli::exit::{CliError, Ended};
use crate::cli::increments::forget;
use crate::cli::json::JsonPath;
use crate::cli::progress::count;
use crate::cli::raw::{Tape, TapeCommand};
use crate::state::StateDir;
use crate::tape::label::{FileState, Label, Lost, TapeFile, data_path};
use crate::tape::library::Library;
use crate::tape::virtual_tape::{Access, VirtualTape};
use crate::tape::{Existing, Mode, TapeError, TapeSpec};
pub use crate::text::civil;
use crate::text::{printable, printable_path, size};
use serde::Serialize;
use std::ffi::OsStr;
use std::io::{self, Write};
use std::num::NonZeroU64;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use tapedump_core::device::ErrorKind;

pub fn run(raw: Tape) -> Result<Ended, CliError> {
    let state = StateDir::find()?;
    let library = state.library();
    match raw.command {
        TapeCommand::Create { name, capacity } => create(&library, &name, capacity),
        TapeCommand::Label { tape, text, protect, writable } => {
            let write_protected = if protect || writable { Some(protect) } else { None };
            label(&library, &tape, text.as_deref(), write_protected)
        }
        TapeCommand::Info { tape, json } => info(&library, tape.as_deref(), json),
        TapeCommand::List { json } => list(&library, json),
        TapeCommand::Erase { tape, remove } => erase(&state, &tape, remove),
        TapeCommand::Eject { device } => match TapeSpec::resolve(&device, &library, Mode::Read)? {
            TapeSpec::Drive(device) => drive::eject(&device),
            other => {
                Err(unfit(&other, "this is not a tape drive", "only the cartridge of a drive can be ejected"))
            }
        },
        TapeCommand::Qualify(raw) => qualify::run(&library, &raw),
    }
}

fn unfit(spec: &TapeSpec, what: &str, advice: &str) -> CliError {
    TapeError::new(ErrorKind::Invalid, spec.to_string(), what).advise(advice).into()
}

/// What is no tape of ours has nothing to show or change.
fn no_virtual_tape(spec: &TapeSpec) -> CliError {
    let advice =
        "tapedump tape works on virtual tapes and tape drives; see what there is with: tapedump tape list";
    unfit(spec, "this is not a virtual tape", advice)
}

fn create(library: &Library, name: &OsStr, capacity: Option<NonZeroU64>) -> Result<Ended, CliError> {
    let path = if name.as_bytes().contains(&b'/') {
        let path = PathBuf::from(name);
        let label = path.file_name().map_or_else(String::new, |name| printable(name.as_bytes()));
        VirtualTape::create(&path, &label, capacity)?;
        path
    } else {
        library.create(&name.to_string_lossy(), capacity)?
    };
    writeln!(io::stdout(), "made the blank tape {}", printable_path(&path))?;
    Ok(Ended::Done)
}

fn label(
    library: &Library,
    argument: &OsStr,
    text: Option<&str>,
    write_protected: Option<bool>,
) -> Result<Ended, CliError> {
    let dir = match TapeSpec::resolve(argument, library, Mode::Read)? {
        TapeSpec::Virtual(dir) => dir,
        drive @ TapeSpec::Drive(_) => {
            let what = "a cartridge has no label that could be changed";
            let advice =
                "label the dump with: tapedump dump --label; against writing, move the cartridge's tab";
            return Err(unfit(&drive, what, advice));
        }
        other => return Err(no_virtual_tape(&other)),
    };
    let mut tape = VirtualTape::open(&dir, Access::Write)?;
    tape.relabel(text, write_protected).map_err(CliError::failed)?;
    Ok(Ended::Done)
}

fn erase(state: &StateDir, argument: &OsStr, remove: bool) -> Result<Ended, CliError> {
    let spec = TapeSpec::resolve(argument, &state.library(), Mode::Read)?;
    let dir = match &spec {
        TapeSpec::Virtual(dir) => dir,
        TapeSpec::Drive(device) if !remove => {
            return drive::erase(device, || forget(state, &spec));
        }
        TapeSpec::Drive(_) => {
            return Err(unfit(&spec, "a cartridge is not in the library", "leave out --remove"));
        }
        other => return Err(no_virtual_tape(other)),
    };
    let mut tape = VirtualTape::open(dir, Access::Write)?;
    tape.check_writable()?;
    // Before it is erased: no dump is to be based on one that may be gone.
    forget(state, &spec)?;
    tape.erase().map_err(CliError::failed)?;
    if remove {
        tape.remove().map_err(CliError::failed)?;
    }
    Ok(Ended::Done)
}

/// A tape as `--json` shows it.
#[derive(Serialize)]
struct TapeJson<'a> {
    name: &'a str,
    #[serde(flatten)]
    path: JsonPath,
    capacity: Option<u64>,
    used: u64,
    early_warning: u64,
    write_protected: bool,
    written_ns: u64,
    files: &'a [FileShown],
}

/// A tape file with the dump in it.
#[derive(Serialize)]
struct FileShown {
    #[serde(flatten)]
    file: TapeFile,
    /// Bytes that were on it and are gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    missing: Option<u64>,
    /// None: no dump begins there.
    dump: Option<DumpHead>,
    /// It is the catalog of a dump.
    #[serde(skip_serializing_if = "Option::is_none")]
    catalog: Option<CatalogShown>,
}

/// The catalog of a dump in a tape file.
#[derive(Serialize)]
struct CatalogShown {
    /// Identity of the dump.
    dump: String,
    /// Tape file of the dump, where it is on this tape.
    of_file: Option<usize>,
    /// All of it is there.
    complete: bool,
}

impl CatalogShown {
    /// The line for a person.
    fn line(&self) -> String {
        let of = match self.of_file {
            Some(file) => format!("the dump in tape file {file}"),
            None => format!("the dump {}, which is not on this tape", self.dump),
        };
        format!("catalog of {of}{}", if self.complete { "" } else { ", cut short" })
    }
}

/// The tape files with their dumps.
fn shown(dir: &Path, label: &Label) -> Result<Vec<FileShown>, CliError> {
    let lost = VirtualTape::lost(dir)?;
    let last_open = label.files.last().is_some_and(|file| file.state != FileState::Closed);
    let being_written = last_open && VirtualTape::is_being_written(dir);
    let mut files = Vec::with_capacity(label.files.len());
    for (index, file) in (0..).zip(&label.files) {
        let missing = lost.iter().find(|lost| lost.file == index).map(|lost: &Lost| lost.missing);
        // What cannot be looked at is told where it is read.
        let mut dump = dumps::look(&data_path(dir, index), file.len).ok().flatten();
        if let Some(dump) = &mut dump
            && being_written
            && index as usize + 1 == label.files.len()
        {
            dump.set_extent(Extent::BeingWritten);
        }
        let catalog = dumps::look_for_catalog(&data_path(dir, index), file.len).ok().flatten();
        let catalog = catalog.filter(|_| dump.is_none()).map(|catalog| {
            let is_its = |shown: &FileShown| shown.dump.as_ref().and_then(DumpHead::id) == Some(catalog.dump);
            let (dump, complete) = (catalog.dump.to_string(), catalog.is_whole);
            CatalogShown { dump, of_file: files.iter().position(is_its), complete }
        });
        files.push(FileShown { file: *file, missing, dump, catalog });
    }
    Ok(files)
}

impl FileShown {
    /// What is in it.
    fn line(&self) -> Option<String> {
        self.dump.as_ref().map(DumpHead::line).or_else(|| self.catalog.as_ref().map(CatalogShown::line))
    }

    /// What is wrong with the file as a file.
    fn flaw(&self) -> String {
        let writing = self.dump.as_ref().is_some_and(|dump| dump.extent() == Extent::BeingWritten);
        match self.missing {
            Some(missing) => format!(", {} of it are missing", size(missing)),
            None if self.file.state != FileState::Closed && !writing => ", not closed".into(),
            None => String::new(),
        }
    }
}

impl<'a> TapeJson<'a> {
    fn new(path: &Path, label: &'a Label, files: &'a [FileShown]) -> Self {
        Self {
            name: &label.name,
            path: JsonPath::new(path.as_os_str().as_bytes()),
            capacity: label.capacity,
            used: used(label),
            early_warning: label.early_warning,
            write_protected: label.write_protected,
            written_ns: label.written_ns,
            files,
        }
    }
}

fn used(label: &Label) -> u64 {
    label.files.iter().map(|file| file.len).sum()
}

pub fn print_json(value: &impl Serialize) -> Result<(), CliError> {
    writeln!(io::stdout(), "{}", crate::cli::json::text(value)?)?;
    Ok(())
}

fn info(library: &Library, argument: Option<&OsStr>, json: bool) -> Result<Ended, CliError> {
    let dir = match argument {
        Some(argument) => match TapeSpec::resolve(argument, library, Mode::Read)? {
            TapeSpec::Virtual(dir) => dir,
            TapeSpec::Drive(device) => return drive::info(&device, json),
            other => return Err(no_virtual_tape(&other)),
        },
        None => library.newest()?.path,
    };
    let label = VirtualTape::inspect(&dir)?;
    let files = shown(&dir, &label)?;
    let ended = if files.iter().any(|file| file.missing.is_some()) { Ended::Incomplete } else { Ended::Done };
    if json {
        print_json(&TapeJson::new(&dir, &label, &files))?;
        return Ok(ended);
    }
    let mut out = io::stdout().lock();
    writeln!(out, "tape      {}", printable(label.name.as_bytes()))?;
    writeln!(out, "path      {}", printable_path(&dir))?;
    match label.capacity {
        Some(capacity) => {
            let left = capacity.saturating_sub(used(&label));
            writeln!(out, "capacity  {} ({} left)", size(capacity), size(left))?;
        }
        None => writeln!(out, "capacity  as much as there is room")?,
    }
    writeln!(out, "used      {}", size(used(&label)))?;
    writeln!(out, "writable  {}", if label.write_protected { "no" } else { "yes" })?;
    for (index, shown) in files.iter().enumerate() {
        let file = &shown.file;
        writeln!(
            out,
            "file {index:<4} {} in {} of {} bytes{}",
            size(file.len),
            count(file.records, "record"),
            file.record_len,
            shown.flaw()
        )?;
        if let Some(line) = shown.line() {
            writeln!(out, "          {line}")?;
        }
    }
    Ok(ended)
}

fn list(library: &Library, json: bool) -> Result<Ended, CliError> {
    let tapes = library.list()?;
    let mut ended = Ended::Done;
    let mut out = io::stdout().lock();
    for tape in tapes {
        let label = match &tape.label {
            Ok(label) => label,
            Err(error) => {
                eprintln!("tapedump: {error}");
                ended = Ended::Incomplete;
                continue;
            }
        };
        let files = shown(&tape.path, label)?;
        if files.iter().any(|file| file.missing.is_some()) {
            ended = Ended::Incomplete;
        }
        if json {
            let json = TapeJson::new(&tape.path, label, &files);
            writeln!(out, "{}", serde_json::to_string(&json).map_err(CliError::failed)?)?;
            continue;
        }
        let capacity = label.capacity.map_or_else(|| "-".into(), size);
        let protected = if label.write_protected { " write-protected" } else { "" };
        let (number, used) = (count(files.len() as u64, "file"), size(used(label)));
        writeln!(out, "{:<24} {number:>10} {used:>12} of {capacity}{protected}", tape.name)?;
        for (index, file) in files.iter().enumerate() {
            let dump = file.line().unwrap_or_else(|| "no dump".into());
            writeln!(out, "    file {index:<4} {dump}{}", file.flaw())?;
        }
    }
    Ok(ended)
}

/// The name of a new tape in the library: the label, or the date; with a number behind it when that is taken.
pub fn new_name(library: &Library, label: Option<&str>, now_secs: u64) -> Result<String, CliError> {
    let base = match label {
        Some(label) => tape_name_of(label),
        None => format!("dump-{}", date(now_secs)),
    };
    let is_free = |name: &str| library.path(name).is_ok_and(|path| path.symlink_metadata().is_err());
    std::iter::once(base.clone())
        .chain((2..10_000).map(|number| format!("{base}-{number}")))
        .find(|name| is_free(name))
        .ok_or_else(|| CliError::failed(format!("{base}: too many tapes of this name in the library")))
}

/// A label as a name: what cannot be in a name becomes `_`.
fn tape_name_of(label: &str) -> String {
    let plain =
        |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '+') { c } else { '_' };
    let name: String = label.chars().map(plain).collect();
    if name.starts_with(['.', '-']) { format!("_{name}") } else { name }
}

/// `20261121-225612`, in UTC.
fn date(secs: u64) -> String {
    let (year, month, day) = civil((secs / 86_400).cast_signed());
    let (hour, minute, second) = (secs / 3600 % 24, secs / 60 % 60, secs % 60);
    format!("{year:04}{month:02}{day:02}-{hour:02}{minute:02}{second:02}")
}

/// How a dump treats what the tape holds.
pub fn existing(overwrite: bool, append: bool) -> Existing {
    match (overwrite, append) {
        (true, _) => Existing::Overwrite,
        (_, true) => Existing::Append,
        _ => Existing::Refuse,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        assert_eq!(date(0), "19700101-000000");
        assert_eq!(date(951_782_399), "20000228-235959");
        assert_eq!(date(951_782_400), "20000229-000000");
        assert_eq!(date(1_795_301_772), "20261121-225612");
        assert_eq!(date(4_107_542_399), "21000228-235959");
        assert_eq!(date(4_107_542_400), "21000301-000000");
    }

    #[test]
    fn new_tapes_do_not_take_a_name_twice() {
        let dir = tempfile::tempdir().unwrap();
        let library = Library::new(dir.path().join("tapes"));
        for name in ["my_label_", "my_label_-2", "my_label_-3"] {
            assert_eq!(new_name(&library, Some("my label!"), 0).unwrap(), name);
            library.create(name, None).unwrap();
        }
        assert_eq!(new_name(&library, None, 0).unwrap(), "dump-19700101-000000");
        assert_eq!(new_name(&library, Some(".."), 0).unwrap(), "_..");
    }
}
