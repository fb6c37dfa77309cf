//! What a dump is to do, with everything checked that can be checked before anything is touched.

use super::super::exit::CliError;
use super::super::further::Further;
use super::super::increments::Base;
use super::image::Choice;
use crate::cli::raw;
use crate::cli::tape::{existing, new_name};
use crate::state::StateDir;
use crate::state::history::parse_id;
use crate::tape::library::Library;
use crate::tape::virtual_tape::{Access, VirtualTape};
use crate::tape::{Existing, Mode, TapeSpec};
use crate::text::printable_path;
use crate::volume::place::is_volume_root;
use crate::volume::qtree;
use crate::volume::source::{Excluded, Pattern};
use rustix::fs::OFlags;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tapedump_core::device::volume::PropertyKinds;
use tapedump_core::stream::writer::DumpIdentity;
use tapedump_core::units::{BlockingFactor, DumpId, Level, Timestamp};

/// What a dump is to do, with everything checked that can be checked before anything is touched.
pub(super) struct Plan {
    pub(super) tree: PathBuf,
    /// The tape that it begins or goes on on.
    pub(super) tape: TapeSpec,
    /// All that are named, by their numbers in the dump.
    pub(super) tapes: Vec<TapeSpec>,
    /// Where others come from.
    pub(super) further: Further,
    /// What to do with a tape that holds data.
    pub(super) existing: Existing,
    pub(super) created: Created,
    pub(super) blocking: BlockingFactor,
    pub(super) label: [u8; 16],
    pub(super) label_text: String,
    pub(super) identity: DumpIdentity,
    pub(super) base: Base,
    /// When the dump began, as file systems count the time.
    pub(super) date: Timestamp,
    /// What of the tree is read.
    pub(super) choice: Choice,
    pub(super) threads: usize,
    pub(super) eject: bool,
    /// The catalog goes to the tape, too.
    pub(super) catalog: bool,
    /// Properties that do not get on the dump.
    pub(super) left_out: PropertyKinds,
    /// Names that do not.
    pub(super) excluded: Excluded,
    pub(super) ignore_ctime: bool,
    /// Nothing is written behind: its tape failed before.
    pub(super) at_once: bool,
    /// How often it is kept restartable, at most.
    pub(super) context_interval: Duration,
}

/// What was made for this dump, to be removed should nothing get onto it.
pub(super) enum Created {
    Nothing,
    Tape(PathBuf),
    File(PathBuf),
}

impl Created {
    pub(super) fn remove(&self) {
        // Best effort: what cannot be removed is a blank tape.
        match self {
            Self::Nothing => {}
            Self::Tape(path) => _ = VirtualTape::open(path, Access::Write).and_then(VirtualTape::remove),
            Self::File(path) => {
                if std::fs::metadata(path).is_ok_and(|file| file.is_file() && file.len() == 0) {
                    _ = std::fs::remove_file(path);
                }
            }
        }
    }
}

pub(super) fn resolve(raw: raw::Dump, state: &StateDir) -> Result<Plan, CliError> {
    let tree = raw.path;
    let cannot = |why: &dyn std::fmt::Display| {
        CliError::failed(format!("{}: cannot dump this tree: {why}", printable_path(&tree)))
    };
    let metadata = std::fs::metadata(&tree).map_err(|error| cannot(&error))?;
    if !metadata.is_dir() {
        return Err(cannot(&"it is not a directory; name the directory it is in"));
    }
    let excluded = excluded(&raw.exclude, raw.without_qtrees, &tree, raw.level)?;
    let choice = Choice::find(&tree, raw.snapshot.as_deref(), raw.live)?;
    let (mut identity, date) = identity(choice.date())?;
    let library = state.library();
    let existing = existing(raw.overwrite, raw.append);
    let mut created = Created::Nothing;
    let named = named(&raw.tape, &library, Mode::Write(existing))?;
    let tape = match named.first() {
        Some(spec) => {
            if let TapeSpec::File(path) = spec
                && !path.exists()
            {
                created = Created::File(path.clone());
            }
            spec.clone()
        }
        None if raw.append => {
            let newest = library.newest()?;
            eprintln!("the dump goes behind the last one on {}, the newest tape of the library", newest.name);
            TapeSpec::Virtual(newest.path)
        }
        None => {
            let name = new_name(&library, raw.label.as_deref(), u64::from(identity.date))?;
            let path = library.create(&name, None)?;
            eprintln!("the dump goes to the new tape {name}");
            created = Created::Tape(path.clone());
            TapeSpec::Virtual(path)
        }
    };
    let overwritten = Some(&tape).filter(|_| raw.overwrite);
    let base = Base::find(state, &tree, raw.level, date, overwritten).inspect_err(|_| created.remove())?;
    identity.level = raw.level;
    identity.base_date = base.date();
    let tapes = if named.is_empty() { vec![tape.clone()] } else { named };
    let further = Further::new(&raw.cartridges, &tapes, library, Mode::Write(existing));
    let further = further.inspect_err(|_| created.remove())?;
    let label = label_of(raw.label.as_deref());
    let threads = raw.threads.unwrap_or(0);
    let blocking = raw.blocking_factor;
    let (label_text, eject, catalog) = (raw.label.unwrap_or_default(), raw.eject, !raw.no_catalog);
    Ok(Plan {
        tree,
        tape,
        tapes,
        further,
        existing,
        created,
        blocking,
        label,
        label_text,
        identity,
        base,
        date,
        choice,
        threads,
        eject,
        catalog,
        excluded,
        ignore_ctime: raw.ignore_ctime,
        at_once: false,
        context_interval: raw.context_interval,
        left_out: if raw.no_acls { PropertyKinds::ACLS } else { PropertyKinds::NONE },
    })
}

/// The tapes that are named. A drive can be named for several cartridges, anything else once.
pub(super) fn named(
    arguments: &[OsString],
    library: &Library,
    mode: Mode,
) -> Result<Vec<TapeSpec>, CliError> {
    let mut named: Vec<TapeSpec> = Vec::new();
    for argument in arguments {
        let spec = TapeSpec::resolve(argument, library, mode)?;
        let is_one_of_several = arguments.len() > 1;
        match &spec {
            TapeSpec::Standard | TapeSpec::Null if is_one_of_several => {
                return Err(CliError::failed(format!(
                    "{spec}: it never ends, and cannot be one of several tapes"
                )));
            }
            TapeSpec::Virtual(_) | TapeSpec::File(_) if named.contains(&spec) => {
                return Err(CliError::failed(format!("{spec}: this tape is named twice")));
            }
            _ => named.push(spec),
        }
    }
    Ok(named)
}

/// A label as headers have it.
pub(super) fn label_of(text: Option<&str>) -> [u8; 16] {
    let mut label = [0; 16];
    label.iter_mut().zip(text.unwrap_or("none").bytes()).for_each(|(to, from)| *to = from);
    label
}

/// What of the tree is left out.
fn excluded(
    patterns: &[Pattern],
    without_qtrees: bool,
    tree: &Path,
    level: Level,
) -> Result<Excluded, CliError> {
    let mut excluded = Excluded { patterns: patterns.to_vec(), ..Excluded::default() };
    let refused = |why: &dyn std::fmt::Display| {
        CliError::failed(format!("{}: cannot dump it without its qtrees: {why}", printable_path(tree)))
    };
    if patterns.len() > Pattern::COUNT_MAX {
        return Err(CliError::failed(format!(
            "--exclude is given {} times, and a dump leaves out up to {} names; use asterisks",
            patterns.len(),
            Pattern::COUNT_MAX
        )));
    }
    for text in patterns.iter().filter_map(Pattern::looks_like_another_kind) {
        eprintln!(
            "tapedump: --exclude {text}: only asterisks at the beginning and the end stand for anything; this leaves out what is \
             called just so"
        );
    }
    if !without_qtrees {
        return Ok(excluded);
    }
    if level > Level::BASELINE {
        return Err(refused(&"that is for level 0 only"));
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(tree, flags, rustix::fs::Mode::empty()).map_err(|errno| refused(&errno))?;
    if !is_volume_root(&root).map_err(|errno| refused(&errno))? {
        return Err(refused(&"it is not the root of a volume (a mounted file system, or a subvolume)"));
    }
    let qtrees = qtree::list(&root).map_err(|errno| refused(&errno))?;
    excluded.top_level.extend(qtrees.into_iter().map(|found| found.name).filter(|name| !name.is_empty()));
    Ok(excluded)
}

/// Identity and time of the dump: now, before the snapshot is made, or when it was. For reproducible dumps both can be given: `TAPEDUMP_DUMP_ID` (32 hexadecimal
/// digits) and `SOURCE_DATE_EPOCH` (seconds since 1970).
fn identity(made: Option<Timestamp>) -> Result<(DumpIdentity, Timestamp), CliError> {
    let wrong =
        |name: &str, what: &str| CliError::failed(format!("{name}: it is {what}; correct or unset it"));
    let date = match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => {
            let secs: u32 =
                text.parse().map_err(|_| wrong("SOURCE_DATE_EPOCH", "not a number of seconds since 1970"))?;
            Timestamp { secs: secs.into(), nanos: 0 }
        }
        Err(_) => made.unwrap_or_else(now),
    };
    let secs = u32::try_from(date.secs)
        .map_err(|_| CliError::failed("the clock shows a year that no tape can hold"))?;
    let id = match std::env::var("TAPEDUMP_DUMP_ID") {
        Ok(text) => parse_id(&text).ok_or_else(|| wrong("TAPEDUMP_DUMP_ID", "not 32 hexadecimal digits"))?,
        Err(_) => random_id()?,
    };
    Ok((DumpIdentity { id, date: secs, base_date: 0, level: Level::BASELINE }, date))
}

/// The time as file systems note it: this clock is some milliseconds behind others, and a file that changes after the dump
/// has begun must not seem older than it.
pub(super) fn now() -> Timestamp {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
    Timestamp { secs: now.tv_sec, nanos: u32::try_from(now.tv_nsec).unwrap_or(0) }
}

/// A random UUID (version 4).
fn random_id() -> Result<DumpId, CliError> {
    let mut id = [0_u8; 16];
    let filled = rustix::rand::getrandom(&mut id, rustix::rand::GetRandomFlags::empty());
    if filled != Ok(id.len()) {
        return Err(CliError::failed("the system gives no random numbers for the dump's identity"));
    }
    id[6] = (id[6] & 0x0f) | 0x40;
    id[8] = (id[8] & 0x3f) | 0x80;
    Ok(DumpId(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities() {
        let id = parse_id("00112233445566778899aabbccddeeff").unwrap();
        assert_eq!(id.to_string(), "00112233-4455-6677-8899-aabbccddeeff");
        assert_eq!(parse_id(&id.to_string()), Some(id));
        for bad in ["", "0", "+0112233445566778899aabbccddeeff", "x0112233445566778899aabbccddeeff"] {
            assert_eq!(parse_id(bad), None, "{bad}");
        }
        let (a, b) = (random_id().unwrap(), random_id().unwrap());
        assert_ne!(a, b);
        assert_eq!((a.0[6] >> 4, a.0[8] >> 6), (4, 2));
    }
}
