//! `tapedump restore`: a dump, or some paths of it, into a directory.

pub mod apply;
mod luns;
mod note;
pub mod plan;
mod renames;
mod room;
pub mod tally;

use self::renames::Renames;
use self::room::Wanted;
use self::tally::Tally;
use crate::cli::exit::{CliError, Ended};
use crate::cli::interrupt::Interrupt;
use crate::cli::journal::Journal;
use crate::cli::progress::{Progress, count, rate};
use crate::cli::raw;
use crate::cli::reading::names::{Finding, Kind, Purpose};
use crate::cli::reading::sources::Scope;
use crate::cli::reading::{self, Engine, Entry, Reading, Visitor};
use crate::cli::session;
use crate::pipeline::write_behind::WriteBehind;
use crate::state::StateDir;
use crate::state::backup_log::LogEvent;
use crate::state::restoring::{Extent, Restoring};
use crate::text::{printable_path, size};
use crate::volume::renamed::Renamed;
use crate::volume::target::{Kept, LinuxTarget, Report, Restrictions, umask};
use rustix::fs::{Access, AtFlags, CWD};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tapedump_core::device::mem::NullTarget;
use tapedump_core::device::volume::{PropertyKind, PropertyKinds, TargetVolume};
use tapedump_core::engine::restore::{DumpInfo, RestoreSummary};
use tapedump_core::units::{DumpId, Ino};

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
    let session = session::restore(raw, to, state, interrupt)?;
    let journal = session.as_ref().map(|session| session.journal());
    let scope = if raw.only { Scope::Dump } else { Scope::Chain { bases: &raw.base } };
    within(raw, scope, to, state, interrupt, journal)
}

/// As [`into`], of the dump alone, whatever it is based on.
pub fn all(
    raw: &raw::Restore,
    to: &Path,
    state: &StateDir,
    interrupt: &Interrupt,
    journal: Option<&Journal>,
) -> Result<Ended, CliError> {
    within(raw, Scope::Dump, to, state, interrupt, journal)
}

fn within(
    raw: &raw::Restore,
    scope: Scope<'_>,
    to: &Path,
    state: &StateDir,
    interrupt: &Interrupt,
    journal: Option<&Journal>,
) -> Result<Ended, CliError> {
    let Some(journal) = journal else { return unnoted(raw, scope, to, state, interrupt, None) };
    journal.note(LogEvent::Start, "");
    journal.note(LogEvent::Options, &note::options(raw));
    journal.ends(unnoted(raw, scope, to, state, interrupt, Some(journal)))
}

fn unnoted(
    raw: &raw::Restore,
    scope: Scope<'_>,
    to: &Path,
    state: &StateDir,
    interrupt: &Interrupt,
    journal: Option<&Journal>,
) -> Result<Ended, CliError> {
    let started = Instant::now();
    let renames = Renames::parse(raw)?;
    let missing = check_destination(to)?;
    let chosen = plan::choose(raw, state)?;
    let from = chosen.as_ref().unwrap_or(&raw.from);
    let paths = reading::path_bytes(&raw.paths);
    let reading = Reading::open(from, scope, &paths, state, interrupt)?.noted(journal);
    let place = if missing { above(to) } else { to };
    let mut restorer = Restorer {
        to: place.to_owned(),
        ids: reading.ids(),
        tape_len: reading.len,
        force: raw.force,
        dry_run: raw.dry_run,
        no_room: false,
        only: raw.only,
        left_out: left_out(raw),
        tally: Tally::new(raw.paths.is_empty()),
        renames,
        restrictions: None,
        state: state.clone(),
        paths,
    };
    if raw.dry_run {
        let target = Renamed::new(NullTarget::new(), 0);
        let (_, summary) = reading.run(target, &mut restorer, interrupt)?;
        eprintln!("nothing was written; without --dry-run, this would be:");
        let ended = report(&summary, &restorer.tally, to, started.elapsed());
        return Ok(if restorer.no_room { Ended::Incomplete } else { ended });
    }
    let extent = if raw.paths.is_empty() { Extent::Whole } else { Extent::Paths };
    let _alone = Restoring::begin(state, place, extent).map_err(|error| cannot_restore(to, &error))?;
    if missing {
        fs::create_dir(to).map_err(|error| cannot_restore(to, &error))?;
    }
    let restored = restore_to(raw, to, reading, &mut restorer, interrupt);
    match restored {
        Ok((kept, luns, summary)) => {
            report_kept(kept);
            let ended = report(&summary, &restorer.tally, to, started.elapsed());
            if let Some(journal) = journal {
                journal.note(LogEvent::End, &note::end(&summary, &restorer.tally));
            }
            let luns_are_good = luns::report(&luns, &raw.target_capabilities);
            Ok(if luns_are_good { ended } else { Ended::Incomplete })
        }
        Err(error) => {
            if let Some(restrictions) = &restorer.restrictions {
                luns::tell_left(restrictions, &raw.target_capabilities);
            }
            if missing {
                // Goes only while nothing is in it.
                _ = fs::remove_dir(to);
            }
            Err(error)
        }
    }
}

/// Reads the dump over the directory, which is there.
fn restore_to(
    raw: &raw::Restore,
    to: &Path,
    reading: Reading,
    restorer: &mut Restorer,
    interrupt: &Interrupt,
) -> Result<(Kept, Report, RestoreSummary), CliError> {
    let target = LinuxTarget::open(to).map_err(CliError::failed)?.limited_to(raw.target_capabilities);
    let (kept, restrictions) = (target.kept(), target.restrictions());
    restorer.restrictions = Some(Arc::clone(&restrictions));
    let target = Renamed::new(WriteBehind::new(target, raw.threads.unwrap_or(0)), umask());
    let (_, summary) = reading.run(target, restorer, interrupt)?;
    Ok((kept.count(), restrictions.report(), summary))
}

/// The directory that a path is in.
fn above(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
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
            let parent = above(to);
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

/// What happens before the first object is made, and what becomes of each.
struct Restorer {
    paths: Vec<Vec<u8>>,
    /// The destination, or the directory that it will be in.
    to: PathBuf,
    /// The dumps from the newest on, where they are known.
    ids: Option<Vec<DumpId>>,
    /// No more data than this is on the tapes, where that is known.
    tape_len: Option<u64>,
    force: bool,
    dry_run: bool,
    /// A dry run found that there is no room.
    no_room: bool,
    only: bool,
    left_out: PropertyKinds,
    tally: Tally,
    renames: Renames,
    /// Those of the target, once there is one.
    restrictions: Option<Arc<Restrictions>>,
    state: StateDir,
}

impl Restorer {
    fn count(&mut self, finding: &Finding) {
        self.tally.finding(finding);
        let from_tape = matches!(finding.kind(), Kind::Damage | Kind::Incomplete);
        if let (Some(restrictions), Some(ino), true) = (&self.restrictions, finding.ino(), from_tape) {
            restrictions.spoil(ino);
        }
    }
}

impl<V: TargetVolume> Visitor<Renamed<V>> for Restorer
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

    fn entry(&mut self, _: &mut Engine<'_, Renamed<V>>, entry: Entry, _: &Progress) -> Result<(), CliError> {
        self.tally.entry(entry);
        Ok(())
    }

    fn restores_what_fits(&self) -> bool {
        self.force
    }

    fn unlisted(&mut self, finding: &Finding) {
        self.count(finding);
    }

    fn finding(&mut self, finding: &Finding, progress: &Progress) -> Result<(), CliError> {
        self.count(finding);
        progress.tell(&format!("tapedump: {}", finding.line()));
        Ok(())
    }

    fn catalogued(&mut self, engine: &mut Engine<'_, Renamed<V>>) -> Result<(), CliError> {
        reading::select(engine, &self.paths)?;
        for path in &self.paths {
            // A file that is restored by itself is kept from its clients meanwhile (R-RESTORE-9).
            let found = engine.look_up(path).map_err(|_| CliError::failed("the scratch file failed"))?;
            if let (Some(restrictions), Some(found)) =
                (&self.restrictions, found.filter(|found| !found.directory))
            {
                restrictions.single(found.ino);
            }
        }
        self.renames.apply(engine, &self.paths)?;
        if self.force {
            return Ok(());
        }
        let wanted = Wanted {
            ids: self.ids.as_deref(),
            paths: &self.paths,
            tape_len: self.tape_len,
            objects: engine.wanted(),
        };
        match room::check(&wanted, &self.to, &self.state) {
            Err(why) if self.dry_run => {
                let to = printable_path(&self.to);
                eprintln!("tapedump: {to}: without --dry-run, this restore would be refused: {why}");
                self.no_room = true;
                Ok(())
            }
            checked => checked.map_err(|why| cannot_restore(&self.to, &why)),
        }
    }
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
