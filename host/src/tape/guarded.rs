//! Opening the files of a tape's directory, which may have been prepared by somebody else: a name in it may be a
//! link that leads away, a pipe that never answers, or a second name of another file. Layer: below the tapes.

use super::error::TapeError;
use crate::text::printable_path;
use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use tapedump_core::device::ErrorKind;

/// Opens a plain file; anything else is refused, and never waited for.
pub(super) fn open_plain(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    // Without blocking, a pipe is opened at once; plain files do not heed the flag.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = options.custom_flags(flags.bits().cast_signed()).open(path)?;
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(io::Error::other("it is not a plain file"))
}

/// Makes an empty file for reading and writing. What has the name loses it, but is neither followed nor cut.
pub(super) fn create_anew(path: &Path) -> io::Result<File> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
}

/// Holds a file until it is closed: what it belongs to, a `tape` or `file` at `path`, is not read while it is written.
pub(super) fn hold(file: &File, writes: bool, path: &Path, thing: &str) -> Result<(), TapeError> {
    let operation = match writes {
        true => FlockOperation::NonBlockingLockExclusive,
        false => FlockOperation::NonBlockingLockShared,
    };
    match flock(file, operation) {
        Ok(()) => Ok(()),
        Err(Errno::WOULDBLOCK) => {
            let use_of_it = if writes { "using" } else { "writing" };
            let what = format!("another program is {use_of_it} this {thing}");
            Err(TapeError::new(ErrorKind::Busy, printable_path(path), what)
                .advise(format!("wait until it is done, or use another {thing}")))
        }
        // A file system without locks: what was written there long ago can be read all the same.
        Err(_) if !writes => Ok(()),
        Err(error) => Err(TapeError::io(path, format!("cannot lock the {thing}"), error.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn what_has_the_name_is_replaced_and_never_changed() {
        let dir = tempfile::tempdir().unwrap();
        let (other, path) = (dir.path().join("other"), dir.path().join("path"));
        std::fs::write(&other, "precious").unwrap();
        let link: fn(&Path, &Path) -> io::Result<()> = |to, name| std::os::unix::fs::symlink(to, name);
        let second_name: fn(&Path, &Path) -> io::Result<()> = |to, name| std::fs::hard_link(to, name);
        for plant in [link, second_name] {
            plant(&other, &path).unwrap();
            create_anew(&path).unwrap().write_all(b"new").unwrap();
            assert_eq!(std::fs::read(&other).unwrap(), b"precious");
            assert_eq!(std::fs::read(&path).unwrap(), b"new");
            std::fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn only_plain_files_are_opened() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        std::fs::write(&file, "").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert!(open_plain(&file, OpenOptions::new().read(true)).is_ok());
        assert!(open_plain(&link, OpenOptions::new().read(true)).is_err());
        assert!(open_plain(dir.path(), OpenOptions::new().read(true)).is_err());
        assert!(open_plain(Path::new("/dev/null"), OpenOptions::new().read(true)).is_err());
    }
}
