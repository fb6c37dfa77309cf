//! `tapedump session list`.

use super::{memory, shown_tape};
use crate::cli::event;
use crate::cli::exit::{CliError, Ended};
use crate::cli::history::table::{Align, lines};
use crate::cli::json::{self, JsonPath};
use crate::cli::list::{exact, utc};
use crate::cli::raw::session::{Session as Raw, SessionCommand};
use crate::state::StateDir;
use crate::state::sessions::{Listed, SessionsFolder, Stage, kind_word};
use crate::text::printable_path;
use serde::Serialize;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use tapedump_core::units::Timestamp;

pub fn run(raw: Raw) -> Result<Ended, CliError> {
    let SessionCommand::List { json } = raw.command;
    let state = StateDir::find()?;
    let limit = memory::limit()?;
    let folder = SessionsFolder::open(&state)?;
    let (all, events) = (folder.all()?, folder.under_way()?);
    drop(folder);
    let mut out = io::stdout().lock();
    if json {
        for (listed, place) in placed(&all) {
            writeln!(out, "{}", json::text(&SessionJson::new(listed, place))?)?;
        }
        return Ok(Ended::Done);
    }
    if !all.is_empty() {
        let head = ["KIND", "STATE", "LEVEL", "SINCE", "PROCESS", "TREE", "TAPE"].map(str::to_owned);
        let rows: Vec<[String; 7]> =
            std::iter::once(head).chain(placed(&all).map(|(listed, place)| row(listed, place))).collect();
        for line in lines(&rows, &ALIGNED) {
            writeln!(out, "{line}")?;
        }
    }
    let running = all.iter().filter(|listed| listed.stage == Stage::Running);
    let count: u32 = running.map(|listed| listed.about.kind.sessions()).sum();
    writeln!(out, "{count} of {limit} sessions run")?;
    for line in events.iter().map(event::line) {
        writeln!(out, "{line}")?;
    }
    Ok(Ended::Done)
}

const ALIGNED: [Align; 7] =
    [Align::Left, Align::Left, Align::Right, Align::Left, Align::Right, Align::Left, Align::Left];

/// Each session, with its place in the queue where it waits.
fn placed(all: &[Listed]) -> impl Iterator<Item = (&Listed, Option<u32>)> {
    let mut waiting = 0;
    all.iter().map(move |listed| {
        let place = (listed.stage == Stage::Waiting).then(|| {
            waiting += 1;
            waiting
        });
        (listed, place)
    })
}

fn row(listed: &Listed, place: Option<u32>) -> [String; 7] {
    let about = &listed.about;
    [
        kind_word(about.kind).into(),
        place.map_or_else(|| "running".into(), |place| format!("waiting, place {place}")),
        about.level.map_or_else(|| "-".into(), |level| level.to_string()),
        utc(listed.since),
        listed.process.to_string(),
        printable_path(&about.path),
        shown_tape(&about.tape).into(),
    ]
}

/// A session as `--json` shows it.
#[derive(Serialize)]
struct SessionJson {
    kind: &'static str,
    /// `running` or `waiting`.
    state: Stage,
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    level: Option<u32>,
    since: String,
    process: u32,
    volume: String,
    #[serde(flatten)]
    path: JsonPath,
    #[serde(skip_serializing_if = "Option::is_none")]
    tape: Option<String>,
}

impl SessionJson {
    fn new(listed: &Listed, place: Option<u32>) -> Self {
        let about = &listed.about;
        Self {
            kind: kind_word(about.kind),
            state: listed.stage,
            place,
            level: about.level,
            since: exact(Timestamp { secs: listed.since, nanos: 0 }),
            process: listed.process,
            volume: about.volume.to_string(),
            path: JsonPath::new(about.path.as_os_str().as_bytes()),
            tape: Some(about.tape.clone()).filter(|tape| !tape.is_empty()),
        }
    }
}
