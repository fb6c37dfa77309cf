//! The library: the virtual tapes that are known by their names. Layer: tape.

use super::error::TapeError;
use super::label::Label;
use super::virtual_tape::VirtualTape;
use crate::text::printable;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use tapedump_core::device::ErrorKind;

/// A directory of virtual tapes.
#[derive(Clone, Debug)]
pub struct Library {
    dir: PathBuf,
}

/// A tape of a library.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its name in the library.
    pub name: String,
    /// Its directory.
    pub path: PathBuf,
    /// Its label, or why that cannot be read.
    pub label: Result<Label, TapeError>,
}

/// Longest name of a tape in bytes.
const NAME_LEN_MAX: usize = 128;

/// Whether `name` may name a tape of a library: one path component that needs no quoting anywhere.
#[must_use]
pub fn is_tape_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '+');
    !name.is_empty() && name.len() <= NAME_LEN_MAX && name.chars().all(plain) && !name.starts_with(['.', '-'])
}

impl Library {
    /// The library in `dir`, which need not exist yet.
    #[must_use]
    pub fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Where the library is.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the tape `name` is or would be.
    ///
    /// # Errors
    /// No tape can have this name.
    pub fn path(&self, name: &str) -> Result<PathBuf, TapeError> {
        if is_tape_name(name) {
            return Ok(self.dir.join(name));
        }
        Err(TapeError::new(ErrorKind::Invalid, printable(name.as_bytes()), "this is not a name for a tape")
            .advise(format!(
                "use up to {NAME_LEN_MAX} letters, digits and . _ - +, beginning with a letter or digit"
            )))
    }

    /// Makes the blank tape `name` and gives its directory.
    ///
    /// # Errors
    /// The name cannot be one, is taken, or the tape cannot be made.
    pub fn create(&self, name: &str, capacity: Option<NonZeroU64>) -> Result<PathBuf, TapeError> {
        let path = self.path(name)?;
        std::fs::create_dir_all(&self.dir)
            .map_err(|error| TapeError::io(&self.dir, "cannot make the tape library", error))?;
        if path.symlink_metadata().is_ok() {
            return Err(TapeError::new(
                ErrorKind::Exists,
                name,
                "the library has a tape of this name already",
            )
            .advise("choose another name, or remove it with: tapedump tape erase"));
        }
        VirtualTape::create(&path, name, capacity)?;
        Ok(path)
    }

    /// The tapes in order of their names.
    ///
    /// # Errors
    /// The library cannot be read. A library that does not exist is empty.
    pub fn list(&self) -> Result<Vec<Entry>, TapeError> {
        let failed = |error| TapeError::io(&self.dir, "cannot read the tape library", error);
        let found = match std::fs::read_dir(&self.dir) {
            Ok(found) => found,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut tapes = Vec::new();
        for found in found {
            let found = found.map_err(failed)?;
            let Ok(name) = found.file_name().into_string() else { continue };
            let path = found.path();
            if is_tape_name(&name) && path.is_dir() {
                let label = VirtualTape::inspect(&path);
                tapes.push(Entry { name, path, label });
            }
        }
        tapes.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(tapes)
    }

    /// The tape that was written last, of those that hold something.
    ///
    /// # Errors
    /// The library cannot be read, or holds no such tape.
    pub fn newest(&self) -> Result<Entry, TapeError> {
        let written = |entry: &Entry| match &entry.label {
            Ok(label) if !label.files.is_empty() => Some(label.written_ns),
            _ => None,
        };
        self.list()?.into_iter().filter(|entry| written(entry).is_some()).max_by_key(written).ok_or_else(
            || {
                let what = "the tape library holds no dump";
                TapeError::new(ErrorKind::NotFound, crate::text::printable_path(&self.dir), what)
                    .advise("make one with: tapedump dump PATH, or name a tape with --tape")
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::virtual_tape::Access;
    use super::*;
    use tapedump_core::device::DeviceError;
    use tapedump_core::device::tape::TapeDevice;

    #[test]
    fn names() {
        for good in ["a", "weekly-2", "2026.11.21", "A_b+c"] {
            assert!(is_tape_name(good), "{good}");
        }
        for bad in ["", ".", "..", ".hidden", "a/b", "a b", "ä", "-x", "a\n", &"x".repeat(129)] {
            assert!(!is_tape_name(bad), "{bad:?}");
        }
    }

    #[test]
    fn lists_by_name_and_finds_the_newest_that_holds_something() {
        let dir = tempfile::tempdir().unwrap();
        let library = Library::new(dir.path().join("tapes"));
        assert!(library.list().unwrap().is_empty());
        assert_eq!(library.newest().unwrap_err().kind(), ErrorKind::NotFound);

        for name in ["b", "a"] {
            let path = library.create(name, None).unwrap();
            let mut tape = VirtualTape::open(&path, Access::Write).unwrap();
            tape.write(&[1; 1024]).unwrap();
            tape.write_filemark().unwrap();
        }
        library.create("z-blank", None).unwrap();
        std::fs::create_dir(library.dir().join("other")).unwrap();
        std::fs::write(library.dir().join("file"), "").unwrap();

        let list = library.list().unwrap();
        let names: Vec<_> = list.iter().map(|entry| (entry.name.as_str(), entry.label.is_ok())).collect();
        assert_eq!(names, [("a", true), ("b", true), ("other", false), ("z-blank", true)]);
        assert_eq!(library.newest().unwrap().name, "a");
        assert_eq!(library.create("a", None).unwrap_err().kind(), ErrorKind::Exists);
        assert_eq!(library.create("../a", None).unwrap_err().kind(), ErrorKind::Invalid);
    }
}
