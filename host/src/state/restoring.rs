//! Which restores are under way, by the volume they go to: a restore of single paths and any other one cannot run on one
//! volume at once (R-RESTORE-13).
//!
//! ```text
//! restoring/MAJOR-MINOR/mutex    locked while the others are looked at
//! restoring/MAJOR-MINOR/PID      one restore: what it is, and where it goes to; locked as long as it runs
//! ```
//!
//! A restore that was killed holds no lock any more; whoever comes next removes what it left.

use super::kept::{is_held, lock_alone, mode_700, open_held, open_kept};
use super::{StateDir, StateError};
use crate::text::printable_path;
use rustix::fs::{major, minor};
use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What a restore brings back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All of a dump or a chain.
    Whole,
    /// Some paths: single files or LUNs.
    Paths,
}

impl Extent {
    const fn word(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Paths => "paths",
        }
    }

    fn of_word(word: &[u8]) -> Option<Self> {
        [Self::Whole, Self::Paths].into_iter().find(|extent| extent.word().as_bytes() == word)
    }
}

/// A restore that is under way, until it is dropped.
#[derive(Debug)]
pub struct Restoring {
    path: PathBuf,
    _lock: File,
}

/// Why a restore cannot begin.
#[derive(Debug)]
pub enum RestoringError {
    /// Another one is under way on the volume.
    Other {
        /// Its process.
        pid: String,
        /// What it brings back.
        extent: Extent,
        /// Where to.
        to: PathBuf,
    },
    /// The state directory cannot be used.
    State(StateError),
}

impl fmt::Display for RestoringError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::State(error) => error.fmt(f),
            Self::Other { pid, extent, to } => {
                let what = match extent {
                    Extent::Whole => "a restore",
                    Extent::Paths => "a restore of single paths",
                };
                let to = printable_path(to);
                write!(f, "{what} to {to} is under way on this volume (process {pid}): wait for its end")
            }
        }
    }
}

impl std::error::Error for RestoringError {}

impl Restoring {
    /// Begins a restore to a directory that is there; several whole ones may run at once.
    ///
    /// # Errors
    /// Another one is in the way, or the state directory cannot be used.
    pub fn begin(state: &StateDir, to: &Path, extent: Extent) -> Result<Self, RestoringError> {
        let io_error = |path: &Path| {
            let path = path.to_owned();
            move |source| RestoringError::State(StateError::Io { path, source })
        };
        let device = fs::metadata(to).map_err(io_error(to))?.dev();
        let folder = state.root().join("restoring").join(format!("{}-{}", major(device), minor(device)));
        mode_700(&folder).map_err(io_error(&folder))?;
        let mutex = folder.join("mutex");
        let _mutex = lock_alone(&mutex).map_err(io_error(&mutex))?;
        for entry in fs::read_dir(&folder).map_err(io_error(&folder))? {
            let path = entry.map_err(io_error(&folder))?.path();
            if path.file_name() != Some(OsStr::new("mutex")) {
                look_at(&path, extent, io_error(&path))?;
            }
        }
        let path = folder.join(std::process::id().to_string());
        let begin = || {
            let mut lock = open_held(&path)?;
            lock.set_len(0)?;
            let to = std::path::absolute(to)?;
            lock.write_all(&[extent.word().as_bytes(), b" ", to.as_os_str().as_bytes()].concat())?;
            Ok(lock)
        };
        let lock = begin().map_err(io_error(&path))?;
        Ok(Self { path, _lock: lock })
    }
}

/// Looks at another restore: one that is over is removed, and one that is not is in the way or not.
fn look_at(
    path: &Path,
    extent: Extent,
    failed: impl FnOnce(io::Error) -> RestoringError,
) -> Result<(), RestoringError> {
    let mut file = match open_kept(path) {
        Ok(file) => file,
        // It ended meanwhile.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    match is_held(&file) {
        Ok(true) => {}
        Ok(false) => return fs::remove_file(path).map_err(failed),
        Err(error) => return Err(failed(error)),
    }
    let mut text = Vec::new();
    if let Err(error) = file.read_to_end(&mut text) {
        return Err(failed(error));
    }
    let (word, to) = text.split_at(text.iter().position(|byte| *byte == b' ').unwrap_or(text.len()));
    let other = Extent::of_word(word).unwrap_or(Extent::Paths);
    if (other, extent) == (Extent::Whole, Extent::Whole) {
        return Ok(());
    }
    let pid = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let to = PathBuf::from(OsStr::from_bytes(to.get(1..).unwrap_or_default()));
    Err(RestoringError::Other { pid, extent: other, to })
}

impl Drop for Restoring {
    fn drop(&mut self) {
        // What stays behind is removed by the next one.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restore_of_paths_is_alone_on_its_volume() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::at(dir.path().join("state"));
        let begin = |extent| Restoring::begin(&state, dir.path(), extent);
        let whole = begin(Extent::Whole).unwrap();
        let refused = begin(Extent::Paths).unwrap_err().to_string();
        assert!(refused.starts_with("a restore to /") && refused.contains("process"), "{refused}");
        drop(whole);
        let paths = begin(Extent::Paths).unwrap();
        for extent in [Extent::Whole, Extent::Paths] {
            let refused = begin(extent).unwrap_err().to_string();
            assert!(refused.contains("of single paths to"), "{refused}");
        }
        // As a killed one leaves it.
        fs::rename(&paths.path, paths.path.with_file_name("1")).unwrap();
        drop(paths);
        begin(Extent::Paths).unwrap();
        assert!(
            !dir.path()
                .join("state/restoring")
                .read_dir()
                .unwrap()
                .any(|volume| { volume.unwrap().path().join("1").exists() })
        );
    }
}
