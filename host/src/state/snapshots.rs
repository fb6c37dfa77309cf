//! Which snapshots dumps hold, and the numbers of those that they make.
//!
//! ```text
//! snapshots/lock        held by whoever changes something here
//! snapshots/numbers     the boot, and the number that the next snapshot for a dump gets in it
//! snapshots/held/DUMP   which snapshot the dump holds; locked by its process as long as that lives
//! ```
//!
//! What a killed dump held stays here: so its snapshot is known for what it is.

use super::history::parse_id;
use super::kept::{
    damaged, is_held, lock_alone, mode_700, open_kept, parsed, read_kept, remove_if_there, replace,
};
use super::{StateDir, StateError};
use crate::text::hex;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use tapedump_core::device::snapshot::{BackupNumbers, BootId, SnapshotName};
use tapedump_core::units::{DumpId, VolumeId};

/// Version of the files.
const FORMAT: u32 = 1;

/// Names another boot than that of this system: what a reboot does can be tried out with it.
pub const BOOT_ID: &str = "TAPEDUMP_BOOT_ID";

/// What this state directory knows of snapshots. Nobody else changes it meanwhile.
#[derive(Debug)]
pub struct SnapshotsFolder {
    path: PathBuf,
    _lock: File,
}

/// A dump that holds a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its identity.
    pub dump: DumpId,
    /// Number of its process.
    pub process: u32,
    /// The process is still there.
    pub is_alive: bool,
    /// Who made the snapshot.
    pub origin: Origin,
}

/// Who made a snapshot that a dump holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// The dump, for itself: nobody wants it any more once that has ended.
    Dump,
    /// Somebody else, whose it stays (R-SNAP-2).
    #[default]
    User,
}

/// A snapshot is held as long as this is there, or until it is [released](SnapshotsFolder::release).
#[derive(Debug)]
pub struct Hold {
    _file: File,
}

#[derive(Serialize, Deserialize)]
struct Numbers {
    format: u32,
    boot: String,
    next: u32,
}

#[derive(Serialize, Deserialize)]
struct Held {
    format: u32,
    volume: String,
    /// In hexadecimal, since it may have any bytes.
    snapshot: String,
    process: u32,
    /// What does not say is nobody's to delete.
    #[serde(default)]
    origin: Origin,
}

impl SnapshotsFolder {
    /// Opens the folder, after others are done with it.
    ///
    /// # Errors
    /// The state directory cannot be used.
    pub fn open(state: &StateDir) -> Result<Self, StateError> {
        let path = state.root().join("snapshots");
        let failed = |source| StateError::Io { path: path.clone(), source };
        mode_700(&path.join("held")).map_err(failed)?;
        let lock_path = path.join("lock");
        let lock = lock_alone(&lock_path).map_err(|source| StateError::Io { path: lock_path, source })?;
        Ok(Self { path, _lock: lock })
    }

    fn at<R>(&self, name: &str, work: impl FnOnce(&Path) -> io::Result<R>) -> Result<R, StateError> {
        let path = self.path.join(name);
        work(&path).map_err(|source| StateError::Io { path, source })
    }

    /// The number of the next snapshot for a dump in this boot (R-SNAP-3).
    ///
    /// # Errors
    /// It cannot be read, or the system does not tell its boot.
    pub fn numbers(&self) -> Result<BackupNumbers, StateError> {
        let boot = boot_id()?;
        let stored = self.at("numbers", |path| match read_kept(path) {
            Ok(text) => {
                let numbers: Numbers = parsed(&text, FORMAT)?;
                let boot = parse_id(&numbers.boot).ok_or_else(damaged)?;
                Ok(BackupNumbers { boot: BootId(boot.0), next: numbers.next })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BackupNumbers::default()),
            Err(error) => Err(error),
        })?;
        Ok(stored.in_boot(boot))
    }

    /// Makes the next number durable.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn keep_numbers(&self, numbers: BackupNumbers) -> Result<(), StateError> {
        let stored = Numbers { format: FORMAT, boot: hex(&numbers.boot.0), next: numbers.next };
        self.at("numbers", |path| replace(path, &stored).map(drop))
    }

    fn file_of(dump: DumpId) -> String {
        format!("held/{dump}")
    }

    /// The dump of this process holds a snapshot from now on (R-SNAP-5).
    ///
    /// # Errors
    /// That cannot be kept.
    pub fn hold(
        &self,
        volume: VolumeId,
        name: &SnapshotName,
        dump: DumpId,
        origin: Origin,
    ) -> Result<Hold, StateError> {
        let held = Held {
            format: FORMAT,
            volume: volume.to_string(),
            snapshot: hex(name.bytes()),
            process: std::process::id(),
            origin,
        };
        self.at(&Self::file_of(dump), |path| Ok(Hold { _file: replace(path, &held)? }))
    }

    /// The dump does not hold a snapshot any more.
    ///
    /// # Errors
    /// That cannot be kept.
    pub fn release(&self, dump: DumpId) -> Result<(), StateError> {
        self.at(&Self::file_of(dump), remove_if_there)
    }

    /// The dumps that hold a snapshot; those that were killed, too.
    ///
    /// # Errors
    /// What is kept of them cannot be read: nobody can tell who holds it then.
    pub fn holders(&self, volume: VolumeId, name: &SnapshotName) -> Result<Vec<Holder>, StateError> {
        let (volume, name) = (volume.to_string(), hex(name.bytes()));
        let mut holders = Vec::new();
        for (dump, held, is_alive) in self.all()? {
            if held.volume == volume && held.snapshot == name {
                holders.push(Holder { dump, process: held.process, is_alive, origin: held.origin });
            }
        }
        Ok(holders)
    }

    fn all(&self) -> Result<Vec<(DumpId, Held, bool)>, StateError> {
        let names: Vec<String> = self.at("held", |path| {
            let names =
                fs::read_dir(path)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
            names.collect::<io::Result<_>>()
        })?;
        let mut all = Vec::new();
        for name in names {
            // What has no such name was never finished.
            let Some(dump) = parse_id(&name) else { continue };
            let found = self.at(&Self::file_of(dump), |path| {
                let held = parsed::<Held>(&read_kept(path)?, FORMAT)?;
                Ok((held, is_held(&open_kept(path)?)?))
            })?;
            all.push((dump, found.0, found.1));
        }
        Ok(all)
    }
}

/// The boot that this is.
fn boot_id() -> Result<BootId, StateError> {
    const SYSTEM: &str = "/proc/sys/kernel/random/boot_id";
    let (source, text) = match std::env::var(BOOT_ID) {
        Ok(text) => (BOOT_ID, Ok(text)),
        Err(_) => (SYSTEM, fs::read_to_string(SYSTEM)),
    };
    let parsed = text.and_then(|text| {
        parse_id(text.trim()).ok_or_else(|| io::Error::other("it is not 32 hexadecimal digits"))
    });
    parsed.map(|id| BootId(id.0)).map_err(|error| StateError::Io { path: source.into(), source: error })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> (tempfile::TempDir, StateDir) {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::at(dir.path().join("state"));
        (dir, state)
    }

    #[test]
    fn numbers_are_kept() {
        let (_dir, state) = state();
        let folder = SnapshotsFolder::open(&state).unwrap();
        let numbers = folder.numbers().unwrap();
        assert_eq!(numbers.next, 0);
        folder.keep_numbers(BackupNumbers { next: 7, ..numbers }).unwrap();
        drop(folder);
        let folder = SnapshotsFolder::open(&state).unwrap();
        assert_eq!(folder.numbers().unwrap(), BackupNumbers { next: 7, ..numbers });
        // Of another boot.
        folder.keep_numbers(BackupNumbers { boot: BootId([1; 16]), next: 9 }).unwrap();
        assert_eq!(folder.numbers().unwrap(), BackupNumbers { next: 0, ..numbers });
        fs::write(state.root().join("snapshots/numbers"), "{}").unwrap();
        assert!(folder.numbers().unwrap_err().to_string().contains("numbers"));
    }

    #[test]
    fn who_holds_what() {
        let (_dir, state) = state();
        let folder = SnapshotsFolder::open(&state).unwrap();
        let (volume, name) = (VolumeId([5; 16]), SnapshotName::new(b"a\xff").unwrap());
        let (one, other) = (DumpId([1; 16]), DumpId([2; 16]));
        let process = std::process::id();
        let hold = folder.hold(volume, &name, one, Origin::Dump).unwrap();
        let _elsewhere = folder.hold(VolumeId([6; 16]), &name, other, Origin::User).unwrap();
        let holders = || folder.holders(volume, &name).unwrap();
        let holder = Holder { dump: one, process, is_alive: true, origin: Origin::Dump };
        assert_eq!(holders(), [holder]);
        drop(hold);
        assert_eq!(holders(), [Holder { is_alive: false, ..holder }]);
        folder.release(one).unwrap();
        folder.release(one).unwrap();
        assert_eq!(holders(), []);
        // What cannot be read may be about any snapshot.
        fs::write(state.root().join("snapshots/held").join(one.to_string()), "").unwrap();
        assert!(folder.holders(volume, &name).is_err());
    }
}
