//! `tapedump context`: dumps that ended early and can be restarted.

use super::dump::again;
use super::exit::{CliError, Ended};
use super::json::{self, JsonPath};
use super::list::{exact, utc};
use super::raw::context::{Context as Raw, ContextCommand};
use super::snapshot::store::{Store, shown};
use crate::state::StateDir;
use crate::state::contexts::{self, ContextFailure, ContextFile, Request};
use crate::state::history::{DumpFolder, parse_id};
use crate::text::{printable, size};
use crate::volume::btrfs::Subvolume;
use serde::Serialize;
use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use tapedump_core::context::{BackupStatus, ContextRecord, ContextState};
use tapedump_core::device::DeviceError;
use tapedump_core::device::ErrorKind;
use tapedump_core::device::snapshot::{SnapshotName, Snapshots};
use tapedump_core::engine::dump::restart::DumpState;
use tapedump_core::units::{DumpId, TAPE_BLOCK_LEN};

pub fn run(raw: Raw) -> Result<Ended, CliError> {
    let state = StateDir::find()?;
    match raw.command {
        ContextCommand::List { json } => list(&state, json),
        ContextCommand::Show { id, json } => show(&state, find(&state, &id)?, json),
        ContextCommand::Restart { id, tape, turn, cartridges } => {
            again::run(find(&state, &id)?, &tape, turn, cartridges)
        }
        ContextCommand::Delete { id } => delete(&state, find(&state, &id)?),
    }
}

/// The context whose identity begins like this; there must be one only.
fn find(state: &StateDir, text: &str) -> Result<DumpId, CliError> {
    if let Some(id) = parse_id(text) {
        return Ok(id);
    }
    let wanted = text.to_ascii_lowercase();
    let all = contexts::all(state)?;
    let mut found = all.iter().filter(|id| id.to_string().starts_with(&wanted));
    match (found.next(), found.next()) {
        (Some(id), None) if !wanted.is_empty() => Ok(*id),
        (Some(_), Some(_)) => Err(CliError::failed(format!(
            "{text}: several contexts begin like this; see them with: tapedump context list"
        ))),
        _ => Err(CliError::failed(format!(
            "there is no context {text}; see which there are with: tapedump context list"
        ))),
    }
}

/// All that is told of a context (R-RESTART-3).
struct Known {
    id: DumpId,
    record: ContextRecord,
    request: Request,
    state: DumpState,
    is_busy: bool,
    /// The snapshot is there, or none is needed.
    has_snapshot: bool,
}

fn known(state: &StateDir, id: DumpId) -> Result<Known, ContextFailure> {
    // A dump that runs stores it meanwhile: what is read then may be neither the one nor the other.
    let mut tries = 0;
    loop {
        let read = || {
            let mut file = ContextFile::open(state, id, false)?;
            Ok((file.record()?, file.request()?, file.state()?))
        };
        let is_busy = contexts::is_busy(state, id);
        match read() {
            Ok((record, request, state)) => {
                let has_snapshot = has_snapshot(&request);
                return Ok(Known { id, record, request, state, is_busy, has_snapshot });
            }
            Err(ContextFailure::Broken { .. }) if is_busy && tries < 10 => tries += 1,
            Err(error) => return Err(error),
        }
    }
}

/// The tape that the dump goes on on.
fn tape_of(request: &Request) -> String {
    request.tapes.last().map_or_else(String::new, |tape| printable(&tape.path.0))
}

fn volume_of(request: &Request) -> Option<Subvolume> {
    Subvolume::of(Path::new(OsStr::from_bytes(&request.path.0))).ok().flatten()
}

fn has_snapshot(request: &Request) -> bool {
    let Some(name) = &request.snapshot else { return true };
    let found = SnapshotName::new(&name.0).ok().zip(volume_of(request));
    found.is_some_and(|(name, volume)| volume.find(&name).is_ok())
}

impl Known {
    fn is_restartable(&self) -> bool {
        self.record.restartable && self.has_snapshot && self.record.state != ContextState::Deleting
    }

    fn is_cleanup_pending(&self) -> bool {
        self.record.state == ContextState::Deleting
    }

    fn status(&self) -> &'static str {
        match self.record.status {
            BackupStatus::Unfinished if self.is_busy => "running",
            BackupStatus::Unfinished => "cut off",
            BackupStatus::Interrupted => "interrupted",
            BackupStatus::Tape => "the tape failed",
            BackupStatus::Volume => "the volume failed",
            BackupStatus::Event => "aborted by an event",
        }
    }

    fn state(&self) -> &'static str {
        match self.record.state {
            ContextState::Dumping if self.is_busy => "dumping",
            ContextState::Dumping | ContextState::Ended => "waiting",
            ContextState::Deleting => "deleting",
        }
    }

    fn snapshot(&self) -> String {
        self.request.snapshot.as_ref().map_or_else(|| "none".into(), |name| printable(&name.0))
    }

    /// Names and values, as they are shown.
    fn fields(&self) -> [(&'static str, String); 22] {
        let yes = |is: bool| if is { "yes" } else { "no" }.to_owned();
        let Self { record, request, .. } = self;
        let done = self.state.progress();
        [
            ("Volume owner", request.owner.clone()),
            ("Context", self.id.to_string()),
            ("Volume", printable(&request.volume_name.0)),
            ("Volume identity", record.volume.to_string()),
            ("Cleanup pending", yes(self.is_cleanup_pending())),
            ("Engine", "dump".into()),
            ("Snapshot made for it", yes(record.snapshot_is_own)),
            ("Path", printable(&request.path.0)),
            ("Level", record.identity.level.to_string()),
            ("Dump name", if request.label.is_empty() { "none".into() } else { request.label.clone() }),
            ("Last update", utc(record.updated.secs)),
            ("Has offset map", yes(record.has_offset_map)),
            ("Offset verify", yes(record.offset_verify)),
            ("Restartable", yes(self.is_restartable())),
            ("Busy", yes(self.is_busy)),
            ("Restart pass", record.restart_pass.to_string()),
            ("Status", self.status().into()),
            ("Snapshot", self.snapshot()),
            ("State", self.state().into()),
            ("Tape", tape_of(request)),
            ("Stage", self.state.stage().number().into()),
            ("On tape", size(done.blocks * TAPE_BLOCK_LEN as u64)),
        ]
    }
}

#[derive(Serialize)]
struct ContextJson<'a> {
    owner: &'a str,
    context: String,
    volume: String,
    volume_identity: String,
    cleanup_pending: bool,
    engine: &'static str,
    snapshot_auto_created: bool,
    #[serde(flatten)]
    path: JsonPath,
    level: u32,
    dump_name: &'a str,
    last_update: String,
    has_offset_map: bool,
    offset_verify: bool,
    restartable: bool,
    busy: bool,
    restart_pass: u32,
    status: &'static str,
    snapshot: Option<String>,
    state: &'static str,
    tape: String,
    stage: &'static str,
    blocks: u64,
}

impl<'a> ContextJson<'a> {
    fn new(known: &'a Known) -> Self {
        let Known { record, request, .. } = known;
        Self {
            owner: &request.owner,
            context: known.id.to_string(),
            volume: printable(&request.volume_name.0),
            volume_identity: record.volume.to_string(),
            cleanup_pending: known.is_cleanup_pending(),
            engine: "dump",
            snapshot_auto_created: record.snapshot_is_own,
            path: JsonPath::new(&request.path.0),
            level: record.identity.level.number(),
            dump_name: &request.label,
            last_update: exact(record.updated),
            has_offset_map: record.has_offset_map,
            offset_verify: record.offset_verify,
            restartable: known.is_restartable(),
            busy: known.is_busy,
            restart_pass: record.restart_pass,
            status: known.status(),
            snapshot: request.snapshot.as_ref().map(|name| printable(&name.0)),
            state: known.state(),
            tape: tape_of(request),
            stage: known.state.stage().number(),
            blocks: known.state.progress().blocks,
        }
    }
}

fn list(state: &StateDir, as_json: bool) -> Result<Ended, CliError> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut ended = Ended::Done;
    let ids = contexts::all(state)?;
    for id in &ids {
        let known = match known(state, *id) {
            Ok(known) => known,
            // It has just ended.
            Err(ContextFailure::None(_)) => continue,
            Err(error) => {
                eprintln!("tapedump: {id}: {error}");
                ended = Ended::Incomplete;
                continue;
            }
        };
        if as_json {
            writeln!(out, "{}", json::text(&ContextJson::new(&known))?)?;
            continue;
        }
        let restartable = if known.is_restartable() { "restartable" } else { "not restartable" };
        writeln!(
            out,
            "{id}  {}  level {}  {}  {}, {restartable}",
            utc(known.record.updated.secs),
            known.record.identity.level,
            printable(&known.request.path.0),
            known.status()
        )?;
    }
    if ids.is_empty() && !as_json {
        writeln!(out, "there are no contexts: no dump ended early that could be restarted")?;
    }
    out.flush()?;
    Ok(ended)
}

fn show(state: &StateDir, id: DumpId, as_json: bool) -> Result<Ended, CliError> {
    let known = known(state, id).map_err(CliError::failed)?;
    let mut out = io::stdout().lock();
    if as_json {
        writeln!(out, "{}", json::text(&ContextJson::new(&known))?)?;
        return Ok(Ended::Done);
    }
    for (name, value) in known.fields() {
        writeln!(out, "{name:<22}{value}")?;
    }
    Ok(Ended::Done)
}

/// Releases the snapshot, and deletes it if it was made for the dump (R-RESTART-5).
fn delete(state: &StateDir, id: DumpId) -> Result<Ended, CliError> {
    let mut context = match ContextFile::open(state, id, true) {
        Ok(context) => context,
        // What it held is known from elsewhere: see `snapshot list`.
        Err(ContextFailure::Broken { .. }) if !contexts::is_busy(state, id) => {
            DumpFolder::of(state, id).remove();
            writeln!(io::stdout(), "deleted the context {id}, which was of no use")?;
            return Ok(Ended::Done);
        }
        Err(error) => return Err(CliError::failed(error)),
    };
    let mut record = context.record().map_err(CliError::failed)?;
    let request = context.request().map_err(CliError::failed)?;
    record.state = ContextState::Deleting;
    context.set_record(&record).map_err(CliError::failed)?;
    if let Err(why) = let_go(state, id, &record, &request) {
        return Err(CliError::failed(format!(
            "the context {id} could not be deleted yet: {why}; its cleanup is pending: delete it again when that is mended"
        )));
    }
    DumpFolder::of(state, id).remove();
    writeln!(io::stdout(), "deleted the context {id}")?;
    Ok(Ended::Done)
}

fn let_go(state: &StateDir, id: DumpId, record: &ContextRecord, request: &Request) -> Result<(), String> {
    let Some(name) = &request.snapshot else { return Ok(()) };
    let name = SnapshotName::new(&name.0).map_err(|error| error.to_string())?;
    let tree = Path::new(OsStr::from_bytes(&request.path.0));
    let volume = volume_of(request).filter(|volume| volume.id() == record.volume);
    let volume = volume.ok_or_else(|| format!("{}: its volume is not there", printable(&request.path.0)))?;
    let mut store = Store::open(state, &volume, tree).map_err(|error| error.to_string())?;
    store.unlock(&name, id).map_err(|error| error.to_string())?;
    if !record.snapshot_is_own {
        return Ok(());
    }
    match store.delete(&name) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => {
            // It is known for what it is then.
            _ = store.own_again(&name, id);
            Err(format!("the snapshot {}: {error}", shown(&name)))
        }
    }
}
