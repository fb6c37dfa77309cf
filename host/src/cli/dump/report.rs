//! What is told of a dump while it is made, and of how it ended.

use super::super::exit::Ended;
use super::super::progress::{Progress, count, rate};
use super::super::reading::names::property;
use super::Engine;
use crate::cli::increments::UsedTape;
use crate::tape::{TapeError, TapeSpec};
use crate::text::{printable, printable_path, size};
use crate::volume::VolumeError;
use rustix::fs::OFlags;
use std::path::Path;
use std::time::Duration;
use tapedump_core::engine::dump::{DumpError, DumpEvent, DumpSummary, NotPortable, Stage};
use tapedump_core::limits::ACL_ENTRIES_MAX;
use tapedump_core::units::{Ino, TAPE_BLOCK_LEN};

/// Objects that the engine counts and that did not get on the tape.
#[derive(Default)]
pub(super) struct LeftOut {
    directories: u64,
    others: u64,
}

impl LeftOut {
    pub(super) fn note(&mut self, event: &DumpEvent, stage: Stage) {
        match (event, stage) {
            (DumpEvent::Skipped { .. }, Stage::Directories) => self.directories += 1,
            (DumpEvent::Skipped { .. }, _) => self.others += 1,
            _ => {}
        }
    }
}

/// Tells the first name that third-party programs cannot read; the engine knows its directory.
pub(super) fn tell_long_name(engine: &Engine<'_>, directory: Ino, progress: &Progress) {
    const NAME_LEN_PORTABLE: usize = 254;
    let path = engine.source().path_of(directory).unwrap_or_default();
    let name = long_name_in(&engine.source().readable_path(&path), NAME_LEN_PORTABLE);
    let name = name.map_or_else(|| "a name".into(), |name| printable(&name));
    progress.tell(&format!(
        "tapedump: {}: {name}: with more than {NAME_LEN_PORTABLE} bytes, third-party restore programs cannot \
         read it; tapedump can",
        printable_path(&path)
    ));
}

/// The first name longer than `len` in a directory, whose access time stays as it is on the dump.
fn long_name_in(directory: &Path, len: usize) -> Option<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOATIME;
    let directory = rustix::fs::open(directory, flags, rustix::fs::Mode::empty()).ok()?;
    let mut entries = rustix::fs::Dir::new(directory).ok()?;
    let long = entries.find_map(|entry| entry.ok().filter(|entry| entry.file_name().count_bytes() > len))?;
    Some(long.file_name().to_bytes().to_vec())
}

pub(super) fn begin_stage(engine: &Engine<'_>, stage: Stage, is_subtree: bool, progress: &mut Progress) {
    let found = engine.progress();
    let total = found.directories + found.others;
    let text = match stage {
        Stage::Map if is_subtree => return progress.stage("stage II: marking what goes to tape", total),
        // Named when the tree was opened, which is where the time goes.
        Stage::Map => return,
        Stage::Directories => "directories to tape",
        Stage::Files => "files to tape",
        Stage::Attributes => "further attributes to tape",
    };
    progress.stage(&format!("stage {}: {text}", stage.number()), total);
}

pub(super) fn path_of(engine: &Engine<'_>, ino: Ino) -> String {
    engine.source().path_of(ino).map_or_else(|| ino.to_string(), |path| printable_path(&path))
}

/// The object an event is about, and what the user is told of it.
pub(super) fn describe(event: &DumpEvent) -> Option<(Ino, String)> {
    Some(match event {
        DumpEvent::Skipped { ino, error } => (*ino, format!("not dumped: {error}")),
        DumpEvent::EntriesUnread { ino } => (*ino, "its names could not all be read".into()),
        DumpEvent::DataUnread { ino, from, to } => {
            (*ino, format!("bytes {from} to {to} could not be read; the dump has zeros there and says so"))
        }
        DumpEvent::PropertiesUnread { ino } => {
            (*ino, "its ACLs or extended attributes could not all be read".into())
        }
        DumpEvent::AclTooLong { ino, kind, entries } => (
            *ino,
            format!(
                "its {} has {entries} entries, and a dump takes up to {ACL_ENTRIES_MAX}: dumped with its permission bits only",
                property(*kind)
            ),
        ),
        DumpEvent::Changed { ino } => (*ino, "changed while it was read".into()),
        DumpEvent::NotPortable { ino, why } => {
            let what = match why {
                NotPortable::Directory => "a directory of 256 MiB or more",
                _ => "something",
            };
            (*ino, format!("{what}: third-party restore programs cannot read this; tapedump can"))
        }
        _ => return None,
    })
}

pub(super) fn explain(error: &DumpError<VolumeError, TapeError>, tape: &TapeSpec) -> String {
    match error {
        DumpError::Source(source) => source.to_string(),
        DumpError::Tape { source, .. } if source.is_end_of_medium() => {
            format!("{tape}: the tape is full: {source}")
        }
        DumpError::Tape { source, .. } => source.to_string(),
        DumpError::EndOfMedium { .. } => {
            format!("{tape}: the tape is full, and there is no further one: name it with --tape")
        }
        DumpError::MapTooSmall { needed } => {
            format!("the maps need {needed} bytes: the tree grew while it was read")
        }
        DumpError::RecordTooLong { limit } => format!(
            "{tape}: it takes records of up to {limit} bytes only; use --blocking-factor {} or less",
            limit / TAPE_BLOCK_LEN
        ),
        other => format!("{tape}: {other:?}"),
    }
}

pub(super) fn report(summary: &DumpSummary, left_out: &LeftOut, tapes: &[UsedTape], time: Duration) -> Ended {
    let tape = match tapes {
        [one] => one.spec.to_string(),
        several => {
            let specs: Vec<String> = several.iter().map(|tape| tape.spec.to_string()).collect();
            format!("{} tapes: {}", specs.len(), specs.join(", "))
        }
    };
    let DumpSummary { directories, others, data_len, blocks, incomplete, .. } = summary;
    let tape_len = blocks * TAPE_BLOCK_LEN as u64;
    eprintln!(
        "dumped {} and {}, {} of data in {} of tape, to {tape} ({})",
        count(directories.saturating_sub(left_out.directories), "directory"),
        count(others.saturating_sub(left_out.others), "other object"),
        size(*data_len),
        size(tape_len),
        rate(tape_len, time)
    );
    if *incomplete == 0 {
        return Ended::Done;
    }
    let objects = count(*incomplete, "object");
    eprintln!("tapedump: the dump is incomplete: {objects} named above, not on it or not as on the volume");
    Ended::Incomplete
}
