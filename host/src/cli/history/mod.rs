//! `tapedump history`: which dumps there are.

pub mod chain;
pub mod chain_drawing;
pub mod chain_svg;
pub mod find;
pub mod glob;
pub mod points;
pub mod recorded;
pub mod table;
pub mod tree_view;
pub mod versions;

use self::recorded::{RecordedDump, Recordings};
use self::table::Align;
use crate::cli::exit::{CliError, Ended};
use crate::cli::json::{self, JsonPath};
use crate::cli::list::{exact, utc};
use crate::cli::raw::history::History;
use crate::state::StateDir;
use crate::text::size;
use serde::Serialize;
use std::io::{self, BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use tapedump_core::chain::{Access, BaseRef, Maker, Outcome};

pub fn run(raw: History) -> Result<Ended, CliError> {
    let state = StateDir::find()?;
    let recordings = Recordings::load(&state)?;
    let tree = raw.path.as_deref().map(|path| points::named(&recordings, path)).transpose()?;
    let shown: Vec<&RecordedDump> = match tree {
        Some(tree) => recordings.dumps_of(tree).collect(),
        None => recordings.dumps.iter().collect(),
    };
    let mut out = BufWriter::new(io::stdout().lock());
    if raw.json {
        for recorded in shown {
            writeln!(out, "{}", json::text(&DumpJson::new(recorded))?)?;
        }
    } else if shown.is_empty() {
        writeln!(out, "the history has no dumps yet")?;
    } else {
        let rows: Vec<_> = std::iter::once(HEADS.map(str::to_owned))
            .chain(shown.into_iter().map(|recorded| row(&recordings, recorded, &state)))
            .collect();
        for line in table::lines(&rows, &ALIGNED) {
            writeln!(out, "{line}")?;
        }
    }
    out.flush()?;
    Ok(recordings.tell_damage(&state))
}

const HEADS: [&str; 10] =
    ["DATE", "LEVEL", "DUMP", "BASE", "OUTCOME", "OBJECTS", "SIZE", "TAPE", "FILE", "TREE"];
const ALIGNED: [Align; 10] = [
    Align::Left,
    Align::Right,
    Align::Left,
    Align::Left,
    Align::Left,
    Align::Right,
    Align::Right,
    Align::Left,
    Align::Right,
    Align::Left,
];

fn row(recordings: &Recordings, recorded: &RecordedDump, state: &StateDir) -> [String; 10] {
    let tree = recordings.tree_of(recorded).map_or_else(String::new, |tree| tree.label.clone());
    [
        utc(recorded.dump.date.secs),
        recorded.dump.level.to_string(),
        recordings.short(recorded.dump.id),
        base_text(recordings, recorded.dump.base),
        recorded.outcome(),
        recorded.objects.to_string(),
        size(recorded.len()),
        recorded.tape(state),
        recorded.file().map_or_else(String::new, |file| file.to_string()),
        tree,
    ]
}

/// The base: its identity, or its date where that is all that is known.
fn base_text(recordings: &Recordings, base: Option<BaseRef>) -> String {
    match base {
        None => "-".into(),
        Some(BaseRef { id: Some(id), .. }) => recordings.short(id),
        Some(BaseRef { id: None, date }) => utc(date.secs),
    }
}

/// A dump as `--json` shows it.
#[derive(Serialize)]
pub struct DumpJson {
    dump: String,
    date: String,
    level: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    base: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base_date: Option<String>,
    outcome: &'static str,
    skipped: u32,
    objects: u32,
    len: u64,
    volume: String,
    volume_name: String,
    /// What the volume was: `read-write`, `read-only`, `mirror`.
    access: &'static str,
    #[serde(flatten)]
    path: JsonPath,
    #[serde(skip_serializing_if = "Option::is_none")]
    tape: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tape_bytes: Option<String>,
    file: Option<u32>,
    by_tapedump: bool,
}

impl DumpJson {
    pub fn new(recorded: &RecordedDump) -> Self {
        let dump = &recorded.dump;
        let tape =
            recorded.places.first().map(|place| JsonPath::new(place.as_os_str().as_bytes()).into_parts());
        let (tape, tape_bytes) = tape.map_or((None, None), |(text, bytes)| (Some(text), bytes));
        Self {
            dump: dump.id.to_string(),
            date: exact(dump.date),
            level: dump.level.number(),
            base: dump.base.and_then(|base| base.id).map(|id| id.to_string()),
            base_date: dump.base.map(|base| exact(base.date)),
            outcome: outcome(dump.outcome),
            skipped: dump.outcome.skipped(),
            objects: recorded.objects,
            len: recorded.len(),
            volume: recorded.volume.to_string(),
            volume_name: String::from_utf8_lossy(&recorded.volume_name).into_owned(),
            access: match dump.state.access {
                Access::ReadWrite => "read-write",
                Access::ReadOnly => "read-only",
                Access::Mirror => "mirror",
            },
            path: JsonPath::new(&recorded.path),
            tape,
            tape_bytes,
            file: recorded.file(),
            by_tapedump: matches!(dump.maker, Maker::Tapedump { .. }),
        }
    }
}

/// One word for programs.
pub fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Good => "good",
        Outcome::Incomplete { .. } => "incomplete",
        Outcome::Failed => "failed",
    }
}
