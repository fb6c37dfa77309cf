//! `tapedump restore --plan`, and the choice of a dump from the history: which dumps a restore needs, and whether their tapes
//! are there, before anything is written (R-CHAIN-5).

use crate::cli::exit::{CliError, Ended};
use crate::cli::history::points::{self, Way};
use crate::cli::history::recorded::{RecordedDump, Recordings};
use crate::cli::history::table::{self, Align};
use crate::cli::increments::{Placed, chain_of};
use crate::cli::json;
use crate::cli::list::utc;
use crate::cli::progress::count;
use crate::cli::raw::{From, Restore};
use crate::cli::reading::first_header::Named;
use crate::cli::reading::sources::{Source, from_argument, from_history};
use crate::state::StateDir;
use crate::text::size;
use serde::Serialize;
use std::ffi::OsString;
use std::io::{self, BufWriter, Write};
use tapedump_core::record::header::HeaderRepr;
use tapedump_core::units::DumpId;

/// A dump that a restore needs.
struct Needed {
    id: Option<DumpId>,
    level: Option<u32>,
    /// In seconds.
    date: i64,
    tape: String,
    file: Option<u32>,
    /// Bytes on tape, where they are known.
    len: Option<u64>,
    /// Why it cannot be read.
    missing: Option<String>,
}

impl Needed {
    fn level_text(&self) -> String {
        self.level.map_or_else(|| "a dump".into(), |level| format!("level {level}"))
    }
}

/// Shows what the restore needs.
pub fn run(raw: &Restore, state: &StateDir) -> Result<Ended, CliError> {
    let recordings = Recordings::load(state)?;
    let needed = if raw.moment.is_asked_for() {
        let way = points::way(&recordings, raw.moment.of.as_deref(), raw.moment.at.as_ref())?;
        of_way(&way, raw.only, state)
    } else {
        of_tape(raw, &recordings, state)?
    };
    let mut out = BufWriter::new(io::stdout().lock());
    if raw.json {
        for needed in &needed {
            writeln!(out, "{}", json::text(&NeededJson::new(needed))?)?;
        }
    } else {
        let rows: Vec<_> = needed.iter().map(|needed| row(&recordings, needed)).collect();
        for line in table::lines(&rows, &ALIGNED) {
            writeln!(out, "{line}")?;
        }
    }
    out.flush()?;
    check(&needed)?;
    if !raw.json {
        let sum = needed.iter().filter_map(|needed| needed.len).sum();
        eprintln!("all is there: {}, {} of tape", count(needed.len() as u64, "dump"), size(sum));
    }
    Ok(Ended::Done)
}

/// Where the dump is that `--at` or `--of` choose; `None`: the tape was named. What all of it needs is there.
pub fn choose(raw: &Restore, state: &StateDir) -> Result<Option<From>, CliError> {
    if !raw.moment.is_asked_for() {
        return Ok(None);
    }
    let recordings = Recordings::load(state)?;
    let way = points::way(&recordings, raw.moment.of.as_deref(), raw.moment.at.as_ref())?;
    let newest = way.last().ok_or_else(|| CliError::failed("a chain without dumps"))?;
    // Of some paths only, not all dumps of the chain may be needed: those that are, are looked for when that is known.
    check(&of_way(&way, raw.only || !raw.paths.is_empty(), state))
        .map_err(|error| CliError::failed(format!("nothing was restored: {error}")))?;
    eprintln!(
        "restoring {} as of {} (level {}, dump {})",
        way.tree.label,
        utc(newest.dump.date.secs),
        newest.dump.level,
        recordings.short(newest.dump.id)
    );
    let tape: Vec<OsString> = newest.places.iter().map(|place| place.clone().into_os_string()).collect();
    Ok(Some(From { tape, file: newest.file(), cartridges: raw.from.cartridges.clone() }))
}

/// The dumps of a way, the oldest first, looked for one by one.
fn of_way(way: &Way<'_>, only: bool, state: &StateDir) -> Vec<Needed> {
    let skipped = if only { way.dumps.len().saturating_sub(1) } else { 0 };
    way.dumps.iter().skip(skipped).map(|recorded| of_recorded(recorded, state)).collect()
}

fn of_recorded(recorded: &RecordedDump, state: &StateDir) -> Needed {
    let missing = if recorded.places.is_empty() {
        Some("where it was written is not known any more: name its tape with --tape or --base".into())
    } else {
        let placed = Placed {
            id: recorded.dump.id,
            level: recorded.dump.level,
            date: recorded.dump.date,
            tapes: recorded.tapes_at(),
        };
        from_history(&placed).look().err()
    };
    Needed {
        id: Some(recorded.dump.id),
        level: Some(recorded.dump.level.number()),
        date: recorded.dump.date.secs,
        tape: recorded.tape(state),
        file: recorded.file(),
        len: Some(recorded.len()),
        missing,
    }
}

/// The dumps that a restore of the tape named needs, the oldest first.
fn of_tape(raw: &Restore, recordings: &Recordings, state: &StateDir) -> Result<Vec<Needed>, CliError> {
    // Closed before the others are looked for: they may be on tapes for the same drive.
    let Named { spec, file, len, first } = Named::find(&raw.from, state, "a plan is made of tapes", "")?;
    let (id, header) = (Some(first.id()), first.repr);
    let newest = Needed {
        id,
        level: Some(header.level),
        date: header.date.into(),
        tape: spec.to_string(),
        file: Some(file),
        len,
        missing: None,
    };
    if raw.only || header.level == 0 {
        return Ok(vec![newest]);
    }
    let sources = match (raw.base.as_slice(), id) {
        ([], Some(id)) => match chain_of(state, id)? {
            Some(chain) => {
                let older = chain.iter().skip(1).rev();
                let recorded =
                    |placed: &Placed| recordings.dumps.iter().find(|recorded| recorded.dump.id == placed.id);
                let mut needed: Vec<Needed> =
                    older.filter_map(recorded).map(|recorded| of_recorded(recorded, state)).collect();
                needed.push(newest);
                return Ok(needed);
            }
            None => Vec::new(),
        },
        (bases, _) => bases.iter().map(|base| from_argument(base, state)).collect::<Result<_, _>>()?,
    };
    let mut needed = of_arguments(&sources, &header);
    needed.push(newest);
    Ok(needed)
}

/// The dumps that were named with `--base`, the oldest first, as far as they make a chain below a header.
fn of_arguments(sources: &[Source], header: &HeaderRepr) -> Vec<Needed> {
    let mut needed = Vec::new();
    let mut wanted = header.base_date;
    for source in sources {
        let looked = source.look();
        let missing = match &looked {
            Ok((found, _)) if found.date != wanted => Some(format!(
                "the chain needs the dump of {} here, and this one is of {}",
                shown(wanted),
                shown(found.date)
            )),
            Ok(_) => None,
            Err(why) => Some(why.clone()),
        };
        let found = looked.as_ref().ok().map(|(found, _)| found);
        needed.push(Needed {
            id: found.and_then(|found| found.extension).map(|extension| extension.dump_id),
            level: found.map(|found| found.level),
            date: found.map_or(wanted, |found| found.date).into(),
            tape: source.text.clone(),
            file: None,
            len: looked.as_ref().ok().map(|(_, len)| *len).filter(|len| *len > 0),
            missing,
        });
        match found {
            Some(found) if found.date == wanted => wanted = found.base_date,
            // What is below a dump that is not there cannot be known.
            _ => {
                wanted = 0;
                break;
            }
        }
    }
    if wanted != 0 {
        needed.push(Needed {
            id: None,
            level: None,
            date: wanted.into(),
            tape: "?".into(),
            file: None,
            len: None,
            missing: Some("the history does not have it: name its tape with --base".into()),
        });
    }
    needed.reverse();
    needed
}

fn shown(date: u32) -> String {
    utc(date.into())
}

/// All that is missing, in one message.
fn check(needed: &[Needed]) -> Result<(), CliError> {
    let missing: Vec<String> = needed
        .iter()
        .filter_map(|needed| {
            let why = needed.missing.as_ref()?;
            let file = needed.file.map_or_else(String::new, |file| format!(", tape file {file}"));
            Some(format!("{} of {} on {}{file}: {why}", needed.level_text(), utc(needed.date), needed.tape))
        })
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(CliError::failed(format!(
        "{} of {} not there: {}",
        missing.len(),
        count(needed.len() as u64, "dump"),
        missing.join("; ")
    )))
}

const ALIGNED: [Align; 7] =
    [Align::Left, Align::Left, Align::Left, Align::Left, Align::Left, Align::Right, Align::Left];

fn row(recordings: &Recordings, needed: &Needed) -> [String; 7] {
    [
        needed.level_text(),
        utc(needed.date),
        needed.id.map_or_else(|| "-".into(), |id| recordings.short(id)),
        needed.tape.clone(),
        needed.file.map_or_else(String::new, |file| format!("file {file}")),
        needed.len.map_or_else(String::new, size),
        needed.missing.as_ref().map_or_else(|| "there".into(), |why| format!("missing: {why}")),
    ]
}

/// A dump of the plan as `--json` shows it.
#[derive(Serialize)]
struct NeededJson<'n> {
    #[serde(skip_serializing_if = "Option::is_none")]
    dump: Option<String>,
    level: Option<u32>,
    date: String,
    tape: &'n str,
    file: Option<u32>,
    len: Option<u64>,
    there: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    missing: Option<&'n str>,
}

impl<'n> NeededJson<'n> {
    fn new(needed: &'n Needed) -> Self {
        Self {
            dump: needed.id.map(|id| id.to_string()),
            level: needed.level,
            date: utc(needed.date).replace(' ', "T"),
            tape: &needed.tape,
            file: needed.file,
            len: needed.len,
            there: needed.missing.is_none(),
            missing: needed.missing.as_deref(),
        }
    }
}
