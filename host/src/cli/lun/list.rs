//! `tapedump lun list`.

use crate::cli::exit::{CliError, Ended};
use crate::cli::history::table::{self, Align};
use crate::cli::json::{self, JsonPath};
use crate::cli::raw;
use crate::text::{printable_path, size};
use crate::volume::lun::{LunFile, Marked, state_name};
use rustix::fs::{AtFlags, CWD, FileType, StatxFlags, statx};
use serde::Serialize;
use std::collections::BTreeSet;
use std::io::{self, BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use tapedump_core::record::lun::{LunRepr, Serial};

/// What was found.
struct Found {
    path: PathBuf,
    lun: LunRepr,
    /// A restore is under way on it.
    in_restore: bool,
}

pub fn run(raw: raw::lun::List) -> Result<Ended, CliError> {
    if !rustix::process::geteuid().is_root() {
        return Err(CliError::failed("only root can see which files are LUNs"));
    }
    let mut search = Search::default();
    let paths = if raw.paths.is_empty() { vec![PathBuf::from(".")] } else { raw.paths };
    for path in &paths {
        search.begin(path)?;
    }
    let mut out = BufWriter::new(io::stdout().lock());
    if raw.json {
        for found in &search.found {
            writeln!(out, "{}", json::text(&LunJson::new(found))?)?;
        }
    } else {
        let mut rows = vec![HEAD.map(str::to_owned)];
        rows.extend(search.found.iter().map(row));
        let rows = if search.found.is_empty() { &[] } else { &rows[..] };
        for line in table::lines(rows, &ALIGNED) {
            writeln!(out, "{line}")?;
        }
    }
    out.flush()?;
    Ok(if search.failures == 0 { Ended::Done } else { Ended::Incomplete })
}

/// Another LUN than that at `path`, which need not be there, that has a serial, on the same volume.
///
/// # Errors
/// The volume cannot be looked through.
pub fn find_serial(serial: Serial, path: &Path) -> Result<Option<PathBuf>, CliError> {
    let failed = |error: io::Error| CliError::failed(format!("{}: {error}", printable_path(path)));
    let own = number(path).ok();
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Of a path that does not lead anywhere the caller tells more.
    let Ok(directory) = std::fs::canonicalize(directory) else { return Ok(None) };
    let (_, device) = look(&directory, AtFlags::empty()).map_err(failed)?;
    let is_on_volume = |above: &&Path| look(above, AtFlags::empty()).is_ok_and(|(_, found)| found == device);
    let root = directory.ancestors().take_while(is_on_volume).last().unwrap_or(&directory);
    let mut search = Search::default();
    search.begin(root)?;
    let has_it = |found: &Found| {
        !found.lun.plain_file && found.lun.serial == serial && number(&found.path).ok() != own
    };
    Ok(search.found.into_iter().find(has_it).map(|found| found.path))
}

/// What tells an object from others of its volume.
fn number(path: &Path) -> io::Result<u64> {
    Ok(std::fs::metadata(path)?.ino())
}

#[derive(Default)]
struct Search {
    found: Vec<Found>,
    failures: u64,
}

impl Search {
    fn begin(&mut self, path: &Path) -> Result<(), CliError> {
        let failed = |error: io::Error| CliError::failed(format!("{}: {error}", printable_path(path)));
        let (kind, device) = look(path, AtFlags::empty()).map_err(failed)?;
        if kind != FileType::Directory {
            self.take(path);
            return Ok(());
        }
        let mut waiting = vec![path.to_owned()];
        while let Some(directory) = waiting.pop() {
            match entries(&directory) {
                // The last one is looked into first.
                Ok(names) => {
                    let mut below = Vec::new();
                    for path in names {
                        match look(&path, AtFlags::SYMLINK_NOFOLLOW) {
                            Ok((FileType::Directory, found)) if found == device => below.push(path),
                            Ok((FileType::RegularFile, _)) => self.take(&path),
                            Ok(_) => {}
                            Err(error) => self.fail(&path, error),
                        }
                    }
                    waiting.extend(below.into_iter().rev());
                }
                Err(error) => self.fail(&directory, error),
            }
        }
        Ok(())
    }

    fn fail(&mut self, path: &Path, why: impl std::fmt::Display) {
        eprintln!("tapedump: {}: {why}", printable_path(path));
        self.failures += 1;
    }

    fn take(&mut self, path: &Path) {
        match Marked::at(path) {
            Ok(Marked::Not) => {}
            Ok(Marked::As(lun)) => {
                let in_restore = lun.restricted && is_locked(path);
                self.found.push(Found { path: path.to_owned(), lun, in_restore });
            }
            Ok(Marked::Garbage(why)) => {
                self.fail(path, format_args!("its LUN attributes are not understood: {why}"));
            }
            Err(errno) => self.fail(path, io::Error::from(errno)),
        }
    }
}

/// Somebody holds a lock on the file, as a restore does.
fn is_locked(path: &Path) -> bool {
    LunFile::open(path).and_then(|file| file.lock()).is_ok_and(|got| !got)
}

/// Type and device of an object.
fn look(path: &Path, flags: AtFlags) -> io::Result<(FileType, (u32, u32))> {
    let stat = statx(CWD, path, flags | AtFlags::NO_AUTOMOUNT, StatxFlags::TYPE)?;
    Ok((FileType::from_raw_mode(stat.stx_mode.into()), (stat.stx_dev_major, stat.stx_dev_minor)))
}

/// What is in a directory, in the order of names.
fn entries(directory: &Path) -> io::Result<BTreeSet<PathBuf>> {
    std::fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect()
}

const HEAD: [&str; 6] = ["LUN", "SERIAL", "OS TYPE", "SIZE", "STATE", "MAPPED"];
const ALIGNED: [Align; 6] = [Align::Left, Align::Left, Align::Left, Align::Right, Align::Left, Align::Left];

fn row(found: &Found) -> [String; 6] {
    let Found { path, lun, in_restore } = found;
    let state = if *in_restore { "restricted (in restore)" } else { state_name(lun) };
    if lun.plain_file {
        let text = |cell: &str| cell.to_owned();
        return [printable_path(path), text("-"), text("plain file"), text("-"), text(state), text("-")];
    }
    [
        printable_path(path),
        lun.serial.to_string(),
        lun.os_type.name().into(),
        size(lun.size),
        state.into(),
        if lun.mapped { "yes" } else { "no" }.into(),
    ]
}

/// A LUN as `--json` shows it.
#[derive(Serialize)]
struct LunJson {
    #[serde(flatten)]
    path: JsonPath,
    /// `lun`, or `file` for a plain file that is restricted.
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    serial: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    os_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    mapped: Option<bool>,
    in_restore: bool,
}

impl LunJson {
    fn new(found: &Found) -> Self {
        let lun = Some(&found.lun).filter(|lun| !lun.plain_file);
        Self {
            path: JsonPath::new(found.path.as_os_str().as_bytes()),
            kind: if lun.is_some() { "lun" } else { "file" },
            serial: lun.map(|lun| lun.serial.to_string()),
            os_type: lun.map(|lun| lun.os_type.name()),
            size: lun.map(|lun| lun.size),
            state: state_name(&found.lun),
            mapped: lun.map(|lun| lun.mapped),
            in_restore: found.in_restore,
        }
    }
}
