//! The dumps and restores that run with this state directory, those that wait for their turn, and the events under way.
//!
//! ```text
//! sessions/lock            held by whoever looks at something here, or changes it
//! sessions/SERIAL          one session: what it is; locked by its process as long as that lives
//! sessions/SERIAL.abort    why it is to abort: its process looks for this several times a second
//! sessions/under-way       the events that have begun, and that somebody will say the end of
//! ```
//!
//! Numbers rise, and who came first has the lower one. A session is there as long as its file is locked, whatever its process
//! number says: the kernel ends the lock with the process, and whoever comes next removes the rest. Who can tell the
//! limit is the caller.

use super::kept::{
    damaged, is_held, lock_alone, mode_700, open_held, open_kept, parsed, read_kept, remove_if_there, replace,
};
use super::{StateDir, StateError};
use crate::text::{from_hex, hex};
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};
use tapedump_core::session::{Abort, Event, Kind, Session};
use tapedump_core::units::VolumeId;

/// Version of the files.
const FORMAT: u32 = 1;

/// What a session is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// A dump or a restore.
    pub kind: Kind,
    /// The volume that it reads or writes.
    pub volume: VolumeId,
    /// The tree that is dumped, or where a restore goes to.
    pub path: PathBuf,
    /// Of a dump.
    pub level: Option<u32>,
    /// The tape, as far as it is known yet.
    pub tape: String,
}

/// Whether a session does its work yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// It waits for its turn.
    Waiting,
    /// It runs.
    Running,
}

/// A session of a process that lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its number.
    pub serial: u64,
    /// What it is about.
    pub about: About,
    /// Whether it runs.
    pub stage: Stage,
    /// Seconds since 1970 at which it came.
    pub since: i64,
    /// Its process.
    pub process: u32,
}

/// An event that is not over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnderWay {
    /// What happens.
    pub event: Event,
    /// The volume that it happens to, and where that was when it began; `None`: all.
    pub volume: Option<(VolumeId, PathBuf)>,
    /// Seconds since 1970 at which it began.
    pub since: i64,
}

/// A session of this process, until it is dropped.
#[derive(Debug)]
pub struct Entry {
    path: PathBuf,
    file: File,
    stored: Stored,
    serial: u64,
}

/// Tells a session whether it is to abort.
#[derive(Clone, Debug)]
pub struct AbortFile(PathBuf);

/// All sessions. Nobody else changes them meanwhile.
#[derive(Debug)]
pub struct SessionsFolder {
    path: PathBuf,
    _lock: File,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Stored {
    format: u32,
    kind: String,
    stage: Stage,
    volume: String,
    /// In hexadecimal, since it may have any bytes.
    path: String,
    level: Option<u32>,
    tape: String,
    since: i64,
    process: u32,
}

#[derive(Serialize, Deserialize)]
struct StoredAbort {
    format: u32,
    event: String,
    automatic: bool,
}

#[derive(Serialize, Deserialize)]
struct StoredEvents {
    format: u32,
    events: Vec<StoredEvent>,
}

#[derive(Serialize, Deserialize)]
struct StoredEvent {
    event: String,
    volume: Option<String>,
    /// In hexadecimal.
    path: Option<String>,
    since: i64,
}

/// The word for a kind of sessions.
#[must_use]
pub const fn kind_word(kind: Kind) -> &'static str {
    match kind {
        Kind::Dump => "dump",
        Kind::Restore => "restore",
        Kind::Copy => "copy",
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn unhex(text: &str) -> io::Result<Vec<u8>> {
    from_hex(text).ok_or_else(damaged)
}

fn volume_of_text(text: &str) -> io::Result<VolumeId> {
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    unhex(&digits)?.try_into().map(VolumeId).map_err(|_| damaged())
}

fn path_of_text(text: &str) -> io::Result<PathBuf> {
    Ok(OsString::from_vec(unhex(text)?).into())
}

fn text_of_path(path: &Path) -> String {
    hex(path.as_os_str().as_bytes())
}

impl Stored {
    fn new(about: &About, stage: Stage) -> Self {
        Self {
            format: FORMAT,
            kind: kind_word(about.kind).into(),
            stage,
            volume: hex(&about.volume.0),
            path: text_of_path(&about.path),
            level: about.level,
            tape: about.tape.clone(),
            since: now(),
            process: std::process::id(),
        }
    }

    fn about(&self) -> io::Result<About> {
        let kinds = [Kind::Dump, Kind::Restore, Kind::Copy];
        let kind = kinds.into_iter().find(|kind| kind_word(*kind) == self.kind).ok_or_else(damaged)?;
        let (volume, path) = (volume_of_text(&self.volume)?, path_of_text(&self.path)?);
        Ok(About { kind, volume, path, level: self.level, tape: self.tape.clone() })
    }

    /// In its place: nobody reads it without the folder's lock, and after a crash nobody holds its own.
    fn write(&self, file: &File) -> io::Result<()> {
        let text = serde_json::to_vec(self)?;
        file.set_len(0)?;
        file.write_all_at(&text, 0)
    }
}

impl Listed {
    /// As the rules see it.
    #[must_use]
    pub const fn session(&self) -> Session {
        Session { kind: self.about.kind, volume: self.about.volume }
    }
}

impl SessionsFolder {
    /// Opens the folder, after others are done with it.
    ///
    /// # Errors
    /// The state directory cannot be used.
    pub fn open(state: &StateDir) -> Result<Self, StateError> {
        let path = state.root().join("sessions");
        let failed = |path: PathBuf| |source| StateError::Io { path, source };
        mode_700(&path).map_err(failed(path.clone()))?;
        let name = path.join("lock");
        let lock = lock_alone(&name).map_err(failed(name))?;
        Ok(Self { path, _lock: lock })
    }

    fn at<R>(&self, name: &str, work: impl FnOnce(&Path) -> io::Result<R>) -> Result<R, StateError> {
        let path = self.path.join(name);
        work(&path).map_err(|source| StateError::Io { path, source })
    }

    /// All sessions whose processes live, in the order in which they came. What others left is removed.
    ///
    /// # Errors
    /// They cannot be read: nobody can tell then how many there are.
    pub fn all(&self) -> Result<Vec<Listed>, StateError> {
        let names: Vec<String> = self.at("", |path| {
            let entries = fs::read_dir(path)?;
            entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
        })?;
        let mut all = Vec::new();
        for serial in names.iter().filter_map(|name| name.parse().ok()) {
            if let Some(listed) = self.at(&name_of(serial), |path| look_at(path, serial))? {
                all.push(listed);
            }
        }
        all.sort_by_key(|listed| listed.serial);
        // The session ended between being asked and looking.
        for name in names.iter().filter(|name| name.ends_with(".abort")) {
            let is_asked = |listed: &Listed| abort_name(listed.serial) == *name;
            if !all.iter().any(is_asked) {
                self.at(name, remove_if_there)?;
            }
        }
        Ok(all)
    }

    /// Takes up a session of this process behind all others.
    ///
    /// # Errors
    /// That cannot be kept.
    pub fn enter(&self, about: &About, stage: Stage) -> Result<Entry, StateError> {
        let serial = self.all()?.last().map_or(1, |last| last.serial.saturating_add(1));
        let stored = Stored::new(about, stage);
        self.at(&name_of(serial), |path| {
            let file = open_held(path)?;
            let entry = Entry { path: path.into(), file, stored, serial };
            entry.stored.write(&entry.file)?;
            Ok(entry)
        })
    }

    /// Asks a session to abort. Its process notices within a moment.
    ///
    /// # Errors
    /// That cannot be kept.
    pub fn abort(&self, serial: u64, why: Abort) -> Result<(), StateError> {
        let stored =
            StoredAbort { format: FORMAT, event: why.event.name().into(), automatic: why.is_automatic };
        self.at(&abort_name(serial), |path| {
            // Its name ends in `.new` until it is whole.
            replace(path, &stored).map(drop)
        })
    }

    /// The events that are not over, the oldest first.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn under_way(&self) -> Result<Vec<UnderWay>, StateError> {
        self.at("under-way", |path| {
            let text = match read_kept(path) {
                Ok(text) => text,
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
                Err(error) => return Err(error),
            };
            parsed::<StoredEvents>(&text, FORMAT)?.events.iter().map(StoredEvent::read).collect()
        })
    }

    /// Makes durable which events are not over.
    ///
    /// # Errors
    /// That cannot be kept.
    pub fn keep_under_way(&self, events: &[UnderWay]) -> Result<(), StateError> {
        let events = events.iter().map(StoredEvent::new).collect();
        self.at("under-way", |path| replace(path, &StoredEvents { format: FORMAT, events }).map(drop))
    }
}

fn name_of(serial: u64) -> String {
    format!("{serial:08}")
}

fn abort_name(serial: u64) -> String {
    format!("{serial:08}.abort")
}

/// Looks at one session; one whose process is gone is removed.
fn look_at(path: &Path, serial: u64) -> io::Result<Option<Listed>> {
    let file = match open_kept(path) {
        Ok(file) => file,
        // It has just ended.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if !is_held(&file)? {
        return remove_if_there(path).map(|()| None);
    }
    let stored: Stored = parsed(&read_kept(path)?, FORMAT)?;
    let Stored { stage, since, process, .. } = stored;
    Ok(Some(Listed { serial, about: stored.about()?, stage, since, process }))
}

impl StoredEvent {
    fn new(under_way: &UnderWay) -> Self {
        let (volume, path) =
            under_way.volume.as_ref().map(|(id, path)| (hex(&id.0), text_of_path(path))).unzip();
        Self { event: under_way.event.name().into(), volume, path, since: under_way.since }
    }

    fn read(&self) -> io::Result<UnderWay> {
        let event = Event::of_name(&self.event).ok_or_else(damaged)?;
        let volume = match (&self.volume, &self.path) {
            (Some(volume), Some(path)) => Some((volume_of_text(volume)?, path_of_text(path)?)),
            (None, None) => None,
            _ => return Err(damaged()),
        };
        Ok(UnderWay { event, volume, since: self.since })
    }
}

impl UnderWay {
    /// An event that begins now.
    #[must_use]
    pub fn new(event: Event, volume: Option<(VolumeId, PathBuf)>) -> Self {
        Self { event, volume, since: now() }
    }
}

impl Entry {
    /// Its number.
    #[must_use]
    pub const fn serial(&self) -> u64 {
        self.serial
    }

    /// It runs from now on.
    ///
    /// # Errors
    /// That cannot be kept.
    pub fn run(&mut self, _folder: &SessionsFolder) -> Result<(), StateError> {
        self.stored.stage = Stage::Running;
        self.keep()
    }

    /// Its tape is known now.
    ///
    /// # Errors
    /// That cannot be kept.
    pub fn on_tape(&mut self, _folder: &SessionsFolder, tape: String) -> Result<(), StateError> {
        self.stored.tape = tape;
        self.keep()
    }

    fn keep(&self) -> Result<(), StateError> {
        let failed = |source| StateError::Io { path: self.path.clone(), source };
        self.stored.write(&self.file).map_err(failed)
    }

    /// Where it is told to abort.
    #[must_use]
    pub fn abort_file(&self) -> AbortFile {
        AbortFile(self.path.with_extension("abort"))
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        // What stays behind is removed by the next one.
        _ = fs::remove_file(&self.path);
        _ = fs::remove_file(self.abort_file().0);
    }
}

impl AbortFile {
    /// Why to abort; `None`: nobody asked for it.
    #[must_use]
    pub fn asked(&self) -> Option<Abort> {
        // It takes this name when it is whole.
        let stored: StoredAbort = parsed(&read_kept(&self.0).ok()?, FORMAT).ok()?;
        Some(Abort { event: Event::of_name(&stored.event)?, is_automatic: stored.automatic })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> (tempfile::TempDir, StateDir) {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::at(dir.path().join("state"));
        (dir, state)
    }

    fn about(kind: Kind) -> About {
        let path = OsString::from_vec(b"/a\xff\n".to_vec()).into();
        About { kind, volume: VolumeId([7; 16]), path, level: Some(3), tape: "weekly".into() }
    }

    /// R-SESSION-1
    #[test]
    fn sessions_are_there_as_long_as_they_last() {
        let (_dir, state) = state();
        let open = || SessionsFolder::open(&state).unwrap();
        let mut first = open().enter(&about(Kind::Dump), Stage::Waiting).unwrap();
        let second = open().enter(&about(Kind::Restore), Stage::Running).unwrap();
        let all = open().all().unwrap();
        assert_eq!(
            all.iter().map(|listed| listed.serial).collect::<Vec<_>>(),
            [first.serial(), second.serial()]
        );
        assert_eq!(all[0].about, about(Kind::Dump));
        assert_eq!((all[0].stage, all[1].stage), (Stage::Waiting, Stage::Running));
        assert_eq!(all[0].process, std::process::id());
        let folder = open();
        first.run(&folder).unwrap();
        first.on_tape(&folder, "x".into()).unwrap();
        drop(folder);
        let all = open().all().unwrap();
        assert_eq!((all[0].stage, all[0].about.tape.as_str()), (Stage::Running, "x"));
        drop(first);
        assert_eq!(open().all().unwrap().len(), 1);
        // As a killed one leaves it: a file that nobody locks.
        fs::copy(&second.path, second.path.with_file_name("00000009")).unwrap();
        fs::write(second.path.with_file_name("00000009.abort"), "").unwrap();
        assert_eq!(open().all().unwrap().len(), 1);
        assert!(!second.path.with_file_name("00000009").exists());
        assert!(!second.path.with_file_name("00000009.abort").exists());
        // What is alive and cannot be read is not passed over.
        second.file.set_len(1).unwrap();
        assert!(open().all().unwrap_err().to_string().contains(&name_of(second.serial())));
    }

    #[test]
    fn a_session_is_told_to_abort() {
        let (_dir, state) = state();
        let open = || SessionsFolder::open(&state).unwrap();
        let entry = open().enter(&about(Kind::Dump), Stage::Running).unwrap();
        let (file, why) = (entry.abort_file(), Abort { event: Event::Giveback, is_automatic: true });
        assert_eq!(file.asked(), None);
        open().abort(entry.serial(), why).unwrap();
        assert_eq!(file.asked(), Some(why));
        assert_eq!(open().all().unwrap().len(), 1);
        drop(entry);
        assert_eq!(file.asked(), None);
    }

    /// R-EVENT-2
    #[test]
    fn events_under_way_outlive_their_process() {
        let (_dir, state) = state();
        let open = || SessionsFolder::open(&state).unwrap();
        assert_eq!(open().under_way().unwrap(), []);
        let moved = UnderWay::new(Event::VolumeMoveCutover, Some((VolumeId([3; 16]), "/srv".into())));
        let all = [UnderWay { since: 5, ..UnderWay::new(Event::Switchover, None) }, moved];
        open().keep_under_way(&all).unwrap();
        assert_eq!(open().under_way().unwrap(), all);
        fs::write(state.root().join("sessions/under-way"), "{}").unwrap();
        assert!(open().under_way().unwrap_err().to_string().contains("under-way"));
    }
}
