//! `tapedump event`: what happens to the system, and the sessions that it meets (R-EVENT-1 to R-EVENT-3).

use super::exit::{CliError, Ended};
use super::json::{self, JsonPath};
use super::list::{exact, utc};
use super::progress::count;
use super::raw::event::{Concerned, Event as Raw, EventCommand, Force};
use super::session::{place_named, shown_tape, volume_named};
use crate::state::StateDir;
use crate::state::sessions::{Listed, SessionsFolder, Stage, UnderWay, kind_word};
use crate::text::printable_path;
use crate::volume::identity::volume_of;
use serde::Serialize;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tapedump_core::session::{Event, Occurrence, Proceeding, Refuses, Verdict};
use tapedump_core::units::{Timestamp, VolumeId};

/// How long the sessions have to end. Where a drive is slow to answer, that is known then, and not how long it takes.
const ENDED_WITHIN: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A volume, and where it is.
type Place = (VolumeId, PathBuf);

pub fn run(raw: Raw) -> Result<Ended, CliError> {
    let state = StateDir::find()?;
    match raw.command {
        EventCommand::Takeover(concerned) => failover(&state, Event::Takeover, concerned),
        EventCommand::Giveback(concerned) => failover(&state, Event::Giveback, concerned),
        EventCommand::Relocation(concerned) => failover(&state, Event::Relocation, concerned),
        EventCommand::Switchover(force) => happen(&state, Event::Switchover, None, force),
        EventCommand::Switchback(force) => happen(&state, Event::Switchback, None, force),
        EventCommand::SwitchoverEnd => end(&state, "switchover", |event| event.event == Event::Switchover),
        EventCommand::SwitchbackEnd => end(&state, "switchback", |event| event.event == Event::Switchback),
        EventCommand::VolumeMoveStart(raw) => moved(&state, Event::VolumeMoveStart, &raw.volume),
        EventCommand::VolumeMoveCutover(raw) => moved(&state, Event::VolumeMoveCutover, &raw.volume),
        EventCommand::VolumeMoveEnd(raw) => end_move(&state, &raw.volume),
        EventCommand::List { json } => list(&state, json),
    }
}

fn failover(state: &StateDir, event: Event, concerned: Concerned) -> Result<Ended, CliError> {
    let volume = concerned.volume.as_deref().map(volume_named).transpose()?;
    happen(state, event, volume, concerned.force)
}

fn moved(state: &StateDir, event: Event, volume: &Path) -> Result<Ended, CliError> {
    let force = Force { override_vetoes: false, automatic: false };
    happen(state, event, Some(volume_named(volume)?), force)
}

/// Lets an event happen, or says what stands against it.
fn happen(state: &StateDir, event: Event, volume: Option<Place>, force: Force) -> Result<Ended, CliError> {
    let occurrence = Occurrence {
        event,
        volume: volume.as_ref().map(|(volume, _)| *volume),
        overrides_vetoes: force.override_vetoes,
        is_automatic: force.automatic,
    };
    let folder = SessionsFolder::open(state)?;
    let (mut all, events) = (folder.all()?, folder.under_way()?);
    all.retain(|listed| listed.stage == Stage::Running);
    let next = begun(&events, event, volume.as_ref())?;
    let proceeding = match occurrence.verdict(all.iter().map(Listed::session)) {
        Verdict::Vetoed { .. } => {
            let at_all =
                Occurrence { is_automatic: true, ..occurrence }.verdict(all.iter().map(Listed::session));
            if let Verdict::Proceeds(met) = at_all {
                all.retain(|listed| met.aborts(&listed.session()));
            }
            return Err(vetoed(event, &all));
        }
        Verdict::Proceeds(proceeding) => proceeding,
    };
    if let Some(next) = next {
        folder.keep_under_way(&next)?;
    }
    all.retain(|listed| proceeding.aborts(&listed.session()));
    if let Some(why) = proceeding.abort {
        for listed in &all {
            folder.abort(listed.serial, why)?;
        }
    }
    drop(folder);
    tell(event, &proceeding, &all);
    wait_for_end(state, event, &all)
}

/// What is under way once the event has begun; `None`: it is over when its sessions are.
fn begun(
    events: &[UnderWay],
    event: Event,
    volume: Option<&Place>,
) -> Result<Option<Vec<UnderWay>>, CliError> {
    let is_move = |event| matches!(event, Event::VolumeMoveStart | Event::VolumeMoveCutover);
    let stays = matches!(event, Event::Switchover | Event::Switchback) || is_move(event);
    if !stays {
        return Ok(None);
    }
    let is_same = |other: &&UnderWay| match (is_move(event), is_move(other.event)) {
        (true, true) => match (&other.volume, volume) {
            (Some((other, _)), Some((volume, _))) => other == volume,
            _ => false,
        },
        (new, old) => !new && !old,
    };
    let before = events.iter().find(is_same);
    if let Some(before) =
        before.filter(|before| (before.event, event) != (Event::VolumeMoveStart, Event::VolumeMoveCutover))
    {
        return Err(CliError::failed(format!(
            "{}; tell its end first, with: {}",
            line(before),
            end_of(before)
        )));
    }
    let mut next: Vec<UnderWay> = events.iter().filter(|other| Some(*other) != before).cloned().collect();
    next.push(UnderWay::new(event, volume.cloned()));
    Ok(Some(next))
}

/// The command that ends an event.
fn end_of(event: &UnderWay) -> String {
    match &event.volume {
        Some((_, path)) => format!("tapedump event volume-move-end {}", printable_path(path)),
        None => format!("tapedump event {}-end", event.event.name()),
    }
}

fn vetoed(event: Event, all: &[Listed]) -> CliError {
    let sessions: Vec<String> = all.iter().map(describe).collect();
    CliError::Vetoed(format!(
        "vetoed: {event} would abort {}: {}; wait for the end, or go on with --override-vetoes",
        count(all.len() as u64, "session"),
        sessions.join(", ")
    ))
}

/// A session in a sentence.
fn describe(listed: &Listed) -> String {
    let about = &listed.about;
    let (kind, path, tape) = (kind_word(about.kind), printable_path(&about.path), shown_tape(&about.tape));
    match about.level {
        Some(level) => format!("{kind} of {path}, level {level}, to {tape} (process {})", listed.process),
        None => format!("{kind} to {path} (process {})", listed.process),
    }
}

fn tell(event: Event, proceeding: &Proceeding, aborted: &[Listed]) {
    for listed in aborted {
        eprintln!("aborting: {}", describe(listed));
    }
    let then = match proceeding.refuses {
        Refuses::Nothing => "",
        Refuses::Volume(_) => "; no session on this volume begins until its end is told",
        Refuses::All => "; no session begins until its end is told",
    };
    eprintln!("the {} goes on{then}", event.name());
}

/// Waits until sessions that were told to abort have ended.
fn wait_for_end(state: &StateDir, event: Event, aborted: &[Listed]) -> Result<Ended, CliError> {
    let until = Instant::now() + ENDED_WITHIN;
    loop {
        let left = match aborted.is_empty() {
            true => Vec::new(),
            false => SessionsFolder::open(state)?.all()?,
        };
        // A number that was given anew is another session's.
        let is_left = |session: &&Listed| {
            left.iter().any(|other| (other.serial, other.process) == (session.serial, session.process))
        };
        let mut left = aborted.iter().filter(is_left).peekable();
        if left.peek().is_none() {
            return Ok(Ended::Done);
        }
        if Instant::now() >= until {
            let left: Vec<String> = left.map(describe).collect();
            return Err(CliError::Incomplete(format!(
                "{event} goes on, but after {} seconds these sessions have not ended yet: {}",
                ENDED_WITHIN.as_secs(),
                left.join(", ")
            )));
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// An event is over.
fn end(state: &StateDir, what: &str, is_it: impl Fn(&UnderWay) -> bool) -> Result<Ended, CliError> {
    let folder = SessionsFolder::open(state)?;
    let (over, left): (Vec<_>, Vec<_>) = folder.under_way()?.into_iter().partition(is_it);
    if over.is_empty() {
        return Err(CliError::failed(format!("no {what} is under way; see tapedump event list")));
    }
    folder.keep_under_way(&left)?;
    eprintln!("the {what} is over");
    Ok(Ended::Done)
}

/// By the volume or by where it was: its copy may be there now, or nothing.
fn end_move(state: &StateDir, path: &Path) -> Result<Ended, CliError> {
    let (volume, place) = (volume_of(path).ok(), place_named(path));
    let is_it = |event: &UnderWay| {
        event.volume.as_ref().is_some_and(|(id, path)| Some(*id) == volume || *path == place)
    };
    end(state, &format!("move of the volume at {}", printable_path(path)), is_it)
}

/// An event that is under way, for people.
pub fn line(event: &UnderWay) -> String {
    let since = utc(event.since);
    match &event.volume {
        Some((_, path)) => format!("under way since {since}: {} at {}", event.event, printable_path(path)),
        None => format!("under way since {since}: {}", event.event),
    }
}

/// An event as `--json` shows it.
#[derive(Serialize)]
struct EventJson {
    event: &'static str,
    since: String,
    /// `nothing`, `volume` or `all`.
    refuses: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    volume: Option<String>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    path: Option<JsonPath>,
}

impl EventJson {
    fn new(event: &UnderWay) -> Self {
        let volume = event.volume.as_ref().map(|(volume, _)| *volume);
        let occurrence = Occurrence { volume, ..Occurrence::new(event.event) };
        let refuses = match occurrence.verdict(std::iter::empty()) {
            Verdict::Proceeds(Proceeding { refuses: Refuses::All, .. }) => "all",
            Verdict::Proceeds(Proceeding { refuses: Refuses::Volume(_), .. }) => "volume",
            _ => "nothing",
        };
        Self {
            event: event.event.name(),
            since: exact(Timestamp { secs: event.since, nanos: 0 }),
            refuses,
            volume: volume.map(|volume| volume.to_string()),
            path: event.volume.as_ref().map(|(_, path)| JsonPath::new(path.as_os_str().as_bytes())),
        }
    }
}

fn list(state: &StateDir, json: bool) -> Result<Ended, CliError> {
    let events = SessionsFolder::open(state)?.under_way()?;
    let mut out = io::stdout().lock();
    for event in &events {
        let line = if json { json::text(&EventJson::new(event))? } else { line(event) };
        writeln!(out, "{line}")?;
    }
    Ok(Ended::Done)
}
