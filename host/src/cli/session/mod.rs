//! Sessions of this process: a dump or a restore that counts among those that run (R-SESSION-1), waits for its turn where that is
//! asked for, and ends when an event aborts it.

pub mod list;
pub mod memory;

use super::exit::CliError;
use super::interrupt::Interrupt;
use super::journal::Journal;
use super::raw;
use super::raw::session::Turn;
use crate::state::sessions::{AbortFile, About, Entry, Listed, SessionsFolder, Stage, UnderWay};
use crate::state::{StateDir, StateError};
use crate::tape::TapeSpec;
use crate::text::{printable, printable_path};
use crate::volume::identity::volume_of;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;
use tapedump_core::session::{Kind, Occurrence, Refusal, Refuses, Session, Verdict, admit};
use tapedump_core::units::VolumeId;

/// How often a session looks whether it is to abort, or whether it is its turn.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// A session that runs, until it is dropped.
#[derive(Debug)]
pub struct Running {
    state: StateDir,
    entry: Entry,
    journal: Journal,
    /// Ends the watch.
    _watch: Option<Sender<()>>,
}

/// What a dump is about.
pub fn dump(raw: &raw::Dump) -> About {
    let tapes: Vec<String> = raw.tape.iter().map(|tape| printable(tape.as_bytes())).collect();
    about(Kind::Dump, &raw.path, Some(raw.level.number()), tapes.join(" "))
}

/// Begins the session of a restore; one that writes nothing is none.
pub fn restore(
    raw: &raw::Restore,
    to: &Path,
    state: &StateDir,
    interrupt: &Interrupt,
) -> Result<Option<Running>, CliError> {
    if raw.dry_run {
        return Ok(None);
    }
    let tapes: Vec<String> = raw.from.tape.iter().map(|tape| printable(tape.as_bytes())).collect();
    begin(state, about(Kind::Restore, to, None, tapes.join(" ")), raw.turn, interrupt).map(Some)
}

fn about(kind: Kind, path: &Path, level: Option<u32>, tape: String) -> About {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.into());
    // What cannot be read at all is told by the work itself, and at once.
    let volume = volume_above(&absolute).unwrap_or(VolumeId([0; 16]));
    About { kind, volume, path: absolute, level, tape }
}

/// The volume of the lowest directory on a path that is there: a destination is yet to be made.
fn volume_above(path: &Path) -> Option<VolumeId> {
    path.ancestors().find_map(|directory| volume_of(directory).ok())
}

/// Begins a session.
///
/// # Errors
/// As many run as may, and it does not wait; what is under way lets none begin; or the state directory cannot be used.
pub fn begin(state: &StateDir, about: About, turn: Turn, interrupt: &Interrupt) -> Result<Running, CliError> {
    let limit = memory::limit()?;
    let path = about.path.clone();
    let what = if about.kind == Kind::Dump { "dump this tree" } else { "restore there" };
    let refused = |why: &dyn std::fmt::Display| {
        CliError::failed(format!("{}: cannot {what}: {why}", printable_path(&path)))
    };
    let folder = SessionsFolder::open(state)?;
    let entry = match attempt(&folder, &about, limit, None)? {
        Ok(()) => folder.enter(&about, Stage::Running)?,
        Err(Refused::UnderWay(why)) => return Err(refused(&why)),
        Err(Refused::Full(full)) if !turn.wait => {
            return Err(refused(&format!("{full}; wait for the end of one, or use --wait")));
        }
        Err(Refused::Full(_)) => {
            let mut entry = folder.enter(&about, Stage::Waiting)?;
            drop(folder);
            wait(state, &about, limit, &mut entry, interrupt, refused)?;
            entry
        }
    };
    let watch = watch(entry.abort_file(), interrupt.clone());
    let journal = Journal::of(state, &about);
    Ok(Running { state: state.clone(), entry, journal, _watch: watch })
}

/// Why a session cannot begin now.
enum Refused {
    /// There is no room for it.
    Full(Full),
    /// An event lets none begin.
    UnderWay(String),
}

/// No room for a session.
struct Full {
    limit: u32,
    running: u32,
    /// Sessions that came earlier and wait.
    ahead: u32,
}

impl std::fmt::Display for Full {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { limit, running, ahead } = self;
        write!(
            f,
            "{running} of {limit} dump and restore sessions that this system's memory allows run already"
        )?;
        match ahead {
            0 => Ok(()),
            1 => f.write_str(", and 1 waits"),
            more => write!(f, ", and {more} wait"),
        }
    }
}

/// Whether it is the session's turn; `serial` is its place among those that wait, if it does.
fn attempt(
    folder: &SessionsFolder,
    about: &About,
    limit: u32,
    serial: Option<u64>,
) -> Result<Result<(), Refused>, StateError> {
    let all = folder.all()?;
    let is_ahead = |listed: &&Listed| {
        listed.stage == Stage::Waiting && serial.is_none_or(|serial| listed.serial < serial)
    };
    let running = || all.iter().filter(|listed| listed.stage == Stage::Running).map(Listed::session);
    let ahead = || all.iter().filter(is_ahead).map(Listed::session);
    let (events, refusing): (Vec<UnderWay>, Vec<Refuses>) =
        folder.under_way()?.into_iter().flat_map(|event| refusals(&event)).unzip();
    let new = Session { kind: about.kind, volume: about.volume };
    Ok(match admit(&new, running().chain(ahead()), limit, &refusing) {
        Ok(()) => Ok(()),
        Err(Refusal::UnderWay { index }) => {
            Err(Refused::UnderWay(events.get(index).map_or_else(String::new, explain)))
        }
        Err(_) => {
            let count =
                |sessions: &mut dyn Iterator<Item = Session>| sessions.map(|it| it.kind.sessions()).sum();
            Err(Refused::Full(Full { limit, running: count(&mut running()), ahead: count(&mut ahead()) }))
        }
    })
}

/// What an event that is under way refuses.
fn refusals(event: &UnderWay) -> Vec<(UnderWay, Refuses)> {
    let volume = event.volume.as_ref().map(|(volume, _)| *volume);
    let Verdict::Proceeds(proceeding) =
        (Occurrence { volume, ..Occurrence::new(event.event) }).verdict(std::iter::empty())
    else {
        return Vec::new();
    };
    let mut refused = vec![(event.clone(), proceeding.refuses)];
    // Once the volume was exchanged for its copy, that is in its place.
    if let (Refuses::Volume(_), Some((_, path))) = (proceeding.refuses, &event.volume)
        && let Ok(copy) = volume_of(path)
    {
        refused.push((event.clone(), Refuses::Volume(copy)));
    }
    refused
}

fn explain(event: &UnderWay) -> String {
    let since = super::list::utc(event.since);
    match &event.volume {
        None => format!("{} is under way since {since}, and no session begins until it is over", event.event),
        Some((_, path)) => format!(
            "{} at {} is under way since {since}, and no session on it begins until it is over",
            event.event,
            printable_path(path)
        ),
    }
}

/// Waits for the turn of a session, and tells its place whenever that changes.
fn wait(
    state: &StateDir,
    about: &About,
    limit: u32,
    entry: &mut Entry,
    interrupt: &Interrupt,
    refused: impl Fn(&dyn std::fmt::Display) -> CliError,
) -> Result<(), CliError> {
    let mut told = None;
    loop {
        if interrupt.is_set() {
            return Err(refused(&format!("{} while it waited; nothing was written", interrupt.cause())));
        }
        let folder = SessionsFolder::open(state)?;
        match attempt(&folder, about, limit, Some(entry.serial()))? {
            Ok(()) => return Ok(entry.run(&folder)?),
            Err(Refused::UnderWay(why)) => return Err(refused(&why)),
            Err(Refused::Full(Full { ahead, limit, running })) => {
                drop(folder);
                if told.replace(ahead) != Some(ahead) {
                    eprintln!(
                        "waiting for the end of another session: place {} in the queue ({running} of {limit} run)",
                        ahead + 1
                    );
                }
            }
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Interrupts the work when the session is asked to abort. `None`: there is no thread for that, and it runs to its end.
fn watch(file: AbortFile, interrupt: Interrupt) -> Option<Sender<()>> {
    let (sender, ended) = channel();
    let look = move || {
        while ended.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
            if let Some(why) = file.asked() {
                return interrupt.abort(why);
            }
        }
    };
    std::thread::Builder::new().name("events".into()).spawn(look).ok().map(|_| sender)
}

impl Running {
    /// What it does is noted there.
    pub const fn journal(&self) -> &Journal {
        &self.journal
    }

    /// The tape is known now: those who list sessions see it.
    pub fn on_tape(&mut self, tape: &TapeSpec) {
        // What is told of a session is no reason to end it.
        _ = SessionsFolder::open(&self.state)
            .and_then(|folder| self.entry.on_tape(&folder, tape.to_string()));
    }
}

/// The volume that an argument names, and its path.
pub fn volume_named(path: &Path) -> Result<(VolumeId, PathBuf), CliError> {
    let volume = volume_of(path).map_err(CliError::failed)?;
    Ok((volume, place_named(path)))
}

/// The path of an argument, which need not be there any more.
pub fn place_named(path: &Path) -> PathBuf {
    std::fs::canonicalize(path).or_else(|_| std::path::absolute(path)).unwrap_or_else(|_| path.into())
}

/// The tape as it is shown where none is known.
pub fn shown_tape(tape: &str) -> &str {
    if OsStr::new(tape).is_empty() { "-" } else { tape }
}
