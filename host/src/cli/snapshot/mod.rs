//! `tapedump snapshot`: the snapshots of a volume, those that dumps left among them.

pub mod store;

use self::store::{Store, StoreError, shown};
use super::exit::{CliError, Ended};
use super::json::{self, JsonPath};
use super::list::{exact, utc};
use super::raw::snapshot::{Snapshot as Raw, SnapshotCommand};
use crate::state::StateDir;
use crate::state::snapshots::{Holder, Origin};
use crate::text::{printable, printable_path};
use crate::volume::btrfs::{Snapshot, Subvolume};
use crate::volume::identity::file_system_of;
use serde::Serialize;
use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use tapedump_core::device::snapshot::{SnapshotName, Snapshots};
use tapedump_core::units::DumpId;

impl From<StoreError> for CliError {
    fn from(error: StoreError) -> Self {
        Self::failed(error)
    }
}

pub fn run(raw: Raw) -> Result<Ended, CliError> {
    let state = StateDir::find()?;
    match raw.command {
        SnapshotCommand::List { tree, json } => list(&state, &tree, json),
        SnapshotCommand::Create { tree, name } => {
            let (volume, name) = (volume_of(&tree)?, named(&name)?);
            Store::open(&state, &volume, &tree)?.create(&name, None)?;
            writeln!(
                io::stdout(),
                "made the snapshot {}",
                printable_path(&volume.find(&name).map_err(CliError::failed)?.path)
            )?;
            Ok(Ended::Done)
        }
        SnapshotCommand::Delete { tree, name } => {
            let (volume, name) = (volume_of(&tree)?, named(&name)?);
            Store::open(&state, &volume, &tree)?.delete(&name)?;
            writeln!(io::stdout(), "deleted the snapshot {}", shown(&name))?;
            Ok(Ended::Done)
        }
    }
}

/// The volume of a tree, which must have snapshots.
pub fn volume_of(tree: &Path) -> Result<Subvolume, CliError> {
    let volume = Subvolume::of(tree).map_err(CliError::failed)?;
    volume.ok_or_else(|| {
        CliError::failed(format!(
            "{}: its file system ({}) has no snapshots; btrfs has",
            printable_path(tree),
            file_system_of(tree)
        ))
    })
}

/// The name of a snapshot as the user gave it.
pub fn named(name: &OsStr) -> Result<SnapshotName, CliError> {
    SnapshotName::new(name.as_bytes()).map_err(|error| {
        let name = printable(name.as_bytes());
        CliError::failed(format!("'{name}': {error}; give one without slashes, such as monday"))
    })
}

/// A snapshot as `--json` shows it.
#[derive(Serialize)]
struct SnapshotJson {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name_bytes: Option<String>,
    #[serde(flatten)]
    path: JsonPath,
    made: String,
    /// `free`, `held` by dumps that run or can be restarted, or `left` by one that made it and was killed.
    state: &'static str,
    dumps: Vec<HolderJson>,
}

#[derive(Serialize)]
struct HolderJson {
    dump: String,
    process: u32,
    alive: bool,
}

impl SnapshotJson {
    fn new(name: &SnapshotName, snapshot: &Snapshot, holders: &[Holder], kept_for: Option<DumpId>) -> Self {
        let (text, name_bytes) = JsonPath::new(name.bytes()).into_parts();
        let dumps = holders.iter().map(|holder| HolderJson {
            dump: holder.dump.to_string(),
            process: holder.process,
            alive: holder.is_alive,
        });
        Self {
            name: text,
            name_bytes,
            path: JsonPath::new(snapshot.path.as_os_str().as_bytes()),
            made: exact(snapshot.made),
            state: match holders {
                holders if holders.iter().any(|holder| holder.is_alive) || kept_for.is_some() => "held",
                holders if holders.iter().any(|holder| holder.origin == Origin::Dump) => "left",
                _ => "free",
            },
            dumps: dumps.collect(),
        }
    }
}

fn list(state: &StateDir, tree: &Path, as_json: bool) -> Result<Ended, CliError> {
    let volume = volume_of(tree)?;
    let store = Store::open(state, &volume, tree)?;
    let snapshots = volume.list().map_err(CliError::failed)?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    for (name, snapshot) in &snapshots {
        let holders = store.holders(name)?;
        let kept_for = store.kept_for(&holders);
        if as_json {
            writeln!(out, "{}", json::text(&SnapshotJson::new(name, snapshot, &holders, kept_for))?)?;
            continue;
        }
        writeln!(out, "{}  {}  {}", utc(snapshot.made.secs), shown(name), described(&holders, kept_for))?;
    }
    if snapshots.is_empty() && !as_json {
        writeln!(out, "the volume of {} has no snapshots", printable_path(tree))?;
    }
    out.flush()?;
    Ok(Ended::Done)
}

/// Who holds a snapshot.
fn described(holders: &[Holder], kept_for: Option<DumpId>) -> String {
    let alive: Vec<String> = holders
        .iter()
        .filter(|holder| holder.is_alive)
        .map(|Holder { dump, process, .. }| format!("held by the dump {dump} (process {process})"))
        .collect();
    if !alive.is_empty() {
        return alive.join(", ");
    }
    if let Some(dump) = kept_for {
        return format!("held by the context {dump}");
    }
    let made_by = holders.iter().find(|holder| holder.origin == Origin::Dump);
    match (made_by, holders) {
        (Some(Holder { dump, .. }), _) => {
            format!("left by the dump {dump}, which was killed: to be deleted")
        }
        // It was there before that dump, and its end changes nothing about it (R-SNAP-2).
        (None, [Holder { dump, .. }, ..]) => format!("free; the dump {dump}, which read it, was killed"),
        (None, []) => String::new(),
    }
}
