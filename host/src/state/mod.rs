//! The state directory: where the tape library and scratch files live. Layer: host.

pub mod applied;
pub mod backup_log;
pub mod catalogs;
pub mod contexts;
pub mod file_device;
pub mod history;
mod kept;
pub mod restoring;
pub mod scratch;
pub mod sessions;
pub mod snapshots;

use self::kept::mode_700;
use crate::tape::library::Library;
use crate::text::printable_path;
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Where everything is kept that outlives one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateDir {
    root: PathBuf,
}

/// Why there is no usable state directory.
#[derive(Debug)]
pub enum StateError {
    /// Neither the environment nor the user's rights name one.
    Unknown,
    /// It cannot be made or written.
    Io {
        /// What was tried where.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str(
                "there is no state directory: TAPEDUMP_STATE, XDG_STATE_HOME and HOME are not set; set TAPEDUMP_STATE",
            ),
            Self::Io { path, source } => write!(
                f,
                "{}: cannot use the state directory: {source}; name another with TAPEDUMP_STATE",
                printable_path(path)
            ),
        }
    }
}

impl std::error::Error for StateError {}

impl StateDir {
    /// The state directory of this process: `$TAPEDUMP_STATE`, else `$XDG_STATE_HOME/tapedump`, else
    /// `/var/lib/tapedump` for root, else `~/.local/state/tapedump`. Nothing is made yet.
    ///
    /// # Errors
    /// None of these is there.
    pub fn find() -> Result<Self, StateError> {
        Self::choose(|name| std::env::var_os(name), rustix::process::geteuid().is_root())
    }

    fn choose(variable: impl Fn(&str) -> Option<OsString>, is_root: bool) -> Result<Self, StateError> {
        let path = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        // The XDG rules: a relative path is none.
        let absolute = |name: &str| path(name).filter(|path| path.is_absolute());
        let root = path("TAPEDUMP_STATE")
            .or_else(|| absolute("XDG_STATE_HOME").map(|base| base.join("tapedump")))
            .or_else(|| is_root.then(|| PathBuf::from("/var/lib/tapedump")))
            .or_else(|| absolute("HOME").map(|home| home.join(".local/state/tapedump")))
            .ok_or(StateError::Unknown)?;
        Ok(Self { root })
    }

    /// The state directory `root`.
    #[must_use]
    pub fn at(root: PathBuf) -> Self {
        Self { root }
    }

    /// Where it is.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The tape library; made when its first tape is.
    #[must_use]
    pub fn library(&self) -> Library {
        Library::new(self.root.join("tapes"))
    }

    /// The folder for scratch files, made on demand. What a killed run left there has no name any more.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn scratch_dir(&self) -> Result<PathBuf, StateError> {
        let dir = self.root.join("scratch");
        let failed = |source| StateError::Io { path: dir.clone(), source };
        // Scratch files hold names of what is dumped: they are nobody else's business.
        mode_700(&dir).map_err(failed)?;
        Ok(dir)
    }

    /// A new scratch file without a name: it is gone when it is closed, however the process ends.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn scratch_file(&self) -> Result<File, StateError> {
        let dir = self.scratch_dir()?;
        nameless_file(&dir).map_err(|source| StateError::Io { path: dir, source })
    }
}

/// Fills `buf` from a file that stands for a device: behind its end nothing was written, which reads as zeros.
fn read_or_zeros(file: &File, at: u64, buf: &mut [u8]) -> io::Result<()> {
    let mut filled = 0;
    while let Some(rest) = buf.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, at + filled as u64) {
            Ok(0) => {
                rest.fill(0);
                break;
            }
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn nameless_file(dir: &Path) -> io::Result<File> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    match rustix::fs::open(dir, flags | OFlags::TMPFILE, Mode::RUSR | Mode::WUSR) {
        Ok(fd) => return Ok(fd.into()),
        // A file system without nameless files: take the name away at once.
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::ISDIR) => {}
        Err(error) => return Err(error.into()),
    }
    for attempt in 0..1000_u32 {
        let path = dir.join(format!("{}-{attempt}", std::process::id()));
        match rustix::fs::open(&path, flags | OFlags::CREATE | OFlags::EXCL, Mode::RUSR | Mode::WUSR) {
            Ok(fd) => {
                fs::remove_file(&path)?;
                return Ok(fd.into());
            }
            Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Seek, Write};

    fn chosen(variables: &[(&str, &str)], is_root: bool) -> Option<String> {
        let variable = |name: &str| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
        };
        StateDir::choose(variable, is_root).ok().map(|state| state.root().display().to_string())
    }

    #[test]
    fn the_order_of_the_places() {
        let all = [("TAPEDUMP_STATE", "/a"), ("XDG_STATE_HOME", "/b"), ("HOME", "/c")];
        assert_eq!(chosen(&all, true).unwrap(), "/a");
        assert_eq!(chosen(&all[1..], true).unwrap(), "/b/tapedump");
        assert_eq!(chosen(&all[2..], true).unwrap(), "/var/lib/tapedump");
        assert_eq!(chosen(&all[2..], false).unwrap(), "/c/.local/state/tapedump");
        assert_eq!(
            chosen(&[("XDG_STATE_HOME", "relative"), ("HOME", "/c")], false).unwrap(),
            "/c/.local/state/tapedump"
        );
        assert_eq!(chosen(&[("TAPEDUMP_STATE", "")], false), None);
    }

    #[test]
    fn scratch_files_work_and_leave_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::at(dir.path().join("s"));
        let mut file = state.scratch_file().unwrap();
        file.write_all(b"abc").unwrap();
        file.rewind().unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "abc");
        assert_eq!(fs::read_dir(state.scratch_dir().unwrap()).unwrap().count(), 0);
    }

    #[test]
    fn an_impossible_place_is_named() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("f"), "").unwrap();
        let error = StateDir::at(dir.path().join("f/s")).scratch_dir().unwrap_err();
        assert!(error.to_string().contains("TAPEDUMP_STATE"), "{error}");
    }
}
