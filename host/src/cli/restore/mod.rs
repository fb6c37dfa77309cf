//! `tapedump restore`: a dump, or some paths of it, into a directory.

pub mod apply;
pub mod plan;
pub mod tally;

use self::tally::Tally;
use crate::cli::exit::{CliError, Ended};
use crate::cli::interrupt::Interrupt;
use crate::cli::progress::{Progress, count, rate};
use crate::cli::raw;
use crate::cli::reading::names::{Finding, Purpose};
use crate::cli::reading::sources::Scope;
use crate::cli::reading::{self, Engine, Entry, Reading, Visitor};
use crate::pipeline::write_behind::WriteBehind;
use crate::state::StateDir;
use crate::text::{printable_path, size};
use crate::volume::target::{Kept, LinuxTarget};
use rustix::fs::{Access, AtFlags, CWD};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tapedump_core::device::volume::{PropertyKind, PropertyKinds, TargetVolume};
use tapedump_core::engine::restore::{DumpInfo, RestoreSummary};
use tapedump_core::units::Ino;

/// What a restore needs beside the data (R-RESTORE-6).
const ROOM_BESIDE: u64 = 100 << 20;

pub fn run(raw: raw::Restore) -> Result<Ended, CliError> {
    let state = StateDir::find()?;
    match &raw.to {
        Some(to) if raw.apply => apply::run(&raw, to, &state, &Interrupt::install()?),
        Some(to) if !raw.plan => into(&raw, to, &state, &Interrupt::install()?),
        _ => plan::run(&raw, &state),
    }
}

/// Restores what the arguments name into this directory.
pub fn into(
    raw: &raw::Restore,
    to: &Path,
    state: &StateDir,
    interrupt: &Interrupt,
) -> Result<Ended, CliError> {
    let scope = if raw.only { Scope::Dump } else { Scope::Chain { bases: &raw.base } };
    within(raw, scope, to, state, interrupt)
}

/// As [`into`], of the dump alone, whatever it is based on.
pub fn all(
    raw: &raw::Restore,
    to: &Path,
    state: &StateDir,
    interrupt: &Interrupt,
) -> Result<Ended, CliError> {
    within(raw, Scope::Dump, to, state, interrupt)
}

fn within(
    raw: &raw::Restore,
    scope: Scope<'_>,
    to: &Path,
    state: &StateDir,
    interrupt: &Interrupt,
) -> Result<Ended, CliError> {
    let started = Instant::now();
    let missing = check_destination(to)?;
    let chosen = plan::choose(raw, state)?;
    let from = chosen.as_ref().unwrap_or(&raw.from);
    let paths = reading::path_bytes(&raw.paths);
    let reading = Reading::open(from, scope, &paths, state, interrupt)?;
    let mut restorer = Restorer {
        paths,
        to: to.to_owned(),
        tape_len: reading.len.filter(|_| raw.paths.is_empty()),
        force: raw.force,
        only: raw.only,
        left_out: left_out(raw),
        tally: Tally::new(raw.paths.is_empty()),
    };
    if missing {
        fs::create_dir(to).map_err(|error| cannot_restore(to, &error))?;
    }
    let opened = LinuxTarget::open(to).map(|target| target.limited_to(raw.target_capabilities));
    let restored = opened.map_err(CliError::failed).and_then(|target| {
        let kept = target.kept();
        let target = WriteBehind::new(target, raw.threads.unwrap_or(0));
        reading.run(target, &mut restorer, interrupt).map(|(_, summary)| (kept.count(), summary))
    });
    match restored {
        Ok((kept, summary)) => {
            report_kept(kept);
            Ok(report(&summary, &restorer.tally, to, started.elapsed()))
        }
        Err(error) => {
            if missing {
                // Goes only while nothing is in it.
                _ = fs::remove_dir(to);
            }
            Err(error)
        }
    }
}

/// What the user does not want.
fn left_out(raw: &raw::Restore) -> PropertyKinds {
    let kinds = if raw.no_acls { PropertyKinds::ACLS } else { PropertyKinds::NONE };
    if raw.ignore_qtrees { kinds.with(PropertyKind::Qtree) } else { kinds }
}

fn cannot_restore(to: &Path, why: &dyn std::fmt::Display) -> CliError {
    CliError::failed(format!("{}: cannot restore there: {why}", printable_path(to)))
}

/// Checks all that can be checked before the tape is read. `true`: the directory is yet to be made.
fn check_destination(to: &Path) -> Result<bool, CliError> {
    let (place, missing) = match fs::metadata(to) {
        Ok(metadata) if metadata.is_dir() => (to, false),
        Ok(_) => return Err(cannot_restore(to, &"it is not a directory")),
        Err(error) if error.kind() == io::ErrorKind::NotFound && fs::symlink_metadata(to).is_err() => {
            let parent =
                to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            if !parent.is_dir() {
                return Err(cannot_restore(to, &"neither it nor the directory above it exists"));
            }
            (parent, true)
        }
        Err(error) => return Err(cannot_restore(to, &error)),
    };
    rustix::fs::accessat(CWD, place, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS)
        .map_err(|errno| cannot_restore(to, &io::Error::from(errno)))?;
    Ok(missing)
}

/// What happens before the first object is made.
struct Restorer {
    paths: Vec<Vec<u8>>,
    to: PathBuf,
    /// No more data than this is on the tape, where that is known and all of it is wanted.
    tape_len: Option<u64>,
    force: bool,
    only: bool,
    left_out: PropertyKinds,
    tally: Tally,
}

impl<V: TargetVolume> Visitor<V> for Restorer
where
    V::Error: std::fmt::Display,
{
    fn dump(&mut self, info: &DumpInfo) -> Result<(), CliError> {
        if info.level != 0 && self.only {
            eprintln!("this dump has level {}: only what changed since its base is restored", info.level);
        }
        Ok(())
    }

    fn left_out(&self) -> PropertyKinds {
        self.left_out
    }

    fn purpose(&self) -> Purpose {
        Purpose::Restore
    }

    fn object(&mut self, ino: Ino) {
        self.tally.object(ino);
    }

    fn entry(&mut self, _: &mut Engine<'_, V>, entry: Entry, _: &Progress) -> Result<(), CliError> {
        self.tally.entry(entry);
        Ok(())
    }

    fn unlisted(&mut self, finding: &Finding) {
        self.tally.finding(finding);
    }

    fn finding(&mut self, finding: &Finding, progress: &Progress) -> Result<(), CliError> {
        self.tally.finding(finding);
        progress.tell(&format!("tapedump: {}", finding.line()));
        Ok(())
    }

    fn catalogued(&mut self, engine: &mut Engine<'_, V>) -> Result<(), CliError> {
        reading::select(engine, &self.paths)?;
        if self.force || !self.paths.is_empty() {
            return Ok(());
        }
        let room = rustix::fs::statvfs(&self.to)
            .map_err(|errno| cannot_restore(&self.to, &io::Error::from(errno)))?;
        // A file system that makes inodes as it needs them says that it has none.
        let inodes = if room.f_files == 0 { u64::MAX } else { room.f_favail };
        let bytes = room.f_bavail.saturating_mul(room.f_frsize);
        check_room(self.tape_len, engine.progress().announced, bytes, inodes)
            .map_err(|why| cannot_restore(&self.to, &why))
    }
}

/// R-RESTORE-6: the data plus about 100 MB, and an inode for each object.
fn check_room(tape_len: Option<u64>, objects: u64, bytes: u64, inodes: u64) -> Result<(), String> {
    let needed = tape_len.map_or(ROOM_BESIDE, |len| len.saturating_add(ROOM_BESIDE));
    let advice = "make room, or restore what fits with --force";
    if needed > bytes {
        return Err(format!(
            "not enough space: it needs about {}, and {} are free; {advice}",
            size(needed),
            size(bytes)
        ));
    }
    if objects > inodes {
        return Err(format!("not enough inodes: it needs {objects}, and {inodes} are free; {advice}"));
    }
    Ok(())
}

/// What somebody who is not root cannot restore.
fn report_kept(kept: Kept) {
    if kept.owner == 0 {
        return;
    }
    let bits = match kept.set_id {
        0 => String::new(),
        set_id => format!(", and {set_id} of them lost the set-user-ID or set-group-ID bit"),
    };
    eprintln!(
        "tapedump: not restored: the owner or group of {}{bits}; only root can restore these",
        count(kept.owner, "object")
    );
}

fn report(summary: &RestoreSummary, tally: &Tally, to: &Path, time: Duration) -> Ended {
    let RestoreSummary { data_len, failed, reduced, checked, records, seeks, .. } = summary;
    let whole = if summary.is_good() { "" } else { " whole" };
    eprintln!(
        "restored {} and {}{whole}, {} of data, to {} ({})",
        count(tally.directories(), "directory"),
        count(tally.others(), "other object"),
        size(*data_len),
        printable_path(to),
        rate(*data_len, time)
    );
    if *seeks > 0 {
        eprintln!("went straight to it: {} read", count(*records, "tape record"));
    }
    if !checked {
        eprintln!("this dump has no checksums of data, so damage inside of files would not show");
    }
    if !summary.is_good() {
        eprintln!(
            "tapedump: the restore is incomplete; damaged on the tape: {}, not whole when dumped: {}, failed: {failed}{}{}",
            tally.damaged(),
            tally.incomplete(),
            if *reduced > 0 { format!(", more than the target takes: {reduced}") } else { String::new() },
            if tally.is_cut_short() { "; the dump is cut short" } else { "" }
        );
    }
    reading::ended(summary)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_refused_with_both_figures() {
        assert_eq!(check_room(Some(1 << 20), 10, 101 << 20, 10), Ok(()));
        let why = check_room(Some(1 << 20), 10, (101 << 20) - 1, 10).unwrap_err();
        assert!(why.contains("space") && why.contains("101.0 MiB") && why.contains("--force"), "{why}");
        let why = check_room(Some(1 << 20), 11, u64::MAX, 10).unwrap_err();
        assert!(why.contains("11") && why.contains("10 are free") && why.contains("inodes"), "{why}");
        assert!(check_room(Some(u64::MAX), 0, u64::MAX - 1, 0).is_err());
    }

    #[test]
    fn destinations() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        assert!(!check_destination(dir.path()).unwrap());
        assert!(check_destination(&dir.path().join("new")).unwrap());
        for (bad, why) in
            [("file", "not a directory"), ("new/new", "neither it nor"), ("file/x", "directory")]
        {
            let error = check_destination(&dir.path().join(bad)).unwrap_err();
            assert!(error.to_string().to_lowercase().contains(why), "{error}");
        }
    }
}
