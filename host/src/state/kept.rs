//! The files of the state directory: private, never behind links, durably replaced, and locked as long as a process lives.

use rustix::fd::AsFd;
use rustix::fs::{CWD, FlockOperation, Mode, OFlags, flock, openat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// Makes a directory that nobody else can enter, and those above it; keeps what is there.
pub(super) fn mode_700(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// Makes durable which names a directory has.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    let fd = rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    Ok(rustix::fs::fsync(fd)?)
}

/// Longest file that is read as a whole; what is kept in such files is far shorter.
const SHORT_LEN_MAX: u64 = 1 << 20;

/// Opens a file that nobody else may read; makes it where there is none. Never through a link, and nothing but a regular
/// file.
pub(super) fn open_private(path: &Path) -> io::Result<File> {
    open_regular(CWD, path, OFlags::RDWR | OFlags::CREATE)
}

/// Opens a file that is kept, to be read. Never through a link, and nothing but a regular file: others would wait, or lead
/// elsewhere.
pub(super) fn open_kept(path: &Path) -> io::Result<File> {
    open_regular(CWD, path, OFlags::RDONLY)
}

/// As [`open_kept`], of a name in an open directory.
pub(super) fn open_kept_in(directory: impl AsFd, name: &str) -> io::Result<File> {
    open_regular(directory, Path::new(name), OFlags::RDONLY)
}

/// Makes a file in an open directory, anew where there is one.
pub(super) fn make_in(directory: impl AsFd, name: &str) -> io::Result<File> {
    let directory = directory.as_fd();
    match rustix::fs::unlinkat(directory, name, rustix::fs::AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno.into()),
    }
    open_regular(directory, Path::new(name), OFlags::RDWR | OFlags::CREATE | OFlags::EXCL)
}

/// Removes a file; one that is not there is gone.
pub(super) fn remove_if_there(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Reads a short file that is kept.
pub(super) fn read_kept(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_kept(path)?.take(SHORT_LEN_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn open_regular(directory: impl AsFd, path: &Path, flags: OFlags) -> io::Result<File> {
    let something_else =
        || io::Error::other("this is a link, or no regular file, and not what is kept here: put it away");
    let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = match openat(directory, path, flags, Mode::RUSR | Mode::WUSR) {
        Ok(fd) => File::from(fd),
        // A link; a socket; a directory.
        Err(Errno::LOOP | Errno::NXIO | Errno::ISDIR) => return Err(something_else()),
        Err(errno) => return Err(errno.into()),
    };
    if file.metadata()?.is_file() { Ok(file) } else { Err(something_else()) }
}

/// Opens a lock file, after others are done with it; nobody else has it until it is closed.
pub(super) fn lock_alone(path: &Path) -> io::Result<File> {
    let file = open_private(path)?;
    flock(&file, FlockOperation::LockExclusive)?;
    Ok(file)
}

/// As [`open_private`], of a file that shows that this process lives: locked until it is closed.
pub(super) fn open_held(path: &Path) -> io::Result<File> {
    let file = open_private(path)?;
    flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    Ok(file)
}

/// Whether a process that lives has this file locked.
pub(super) fn is_held(file: &File) -> io::Result<bool> {
    match flock(file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(false),
        Err(Errno::WOULDBLOCK) => Ok(true),
        Err(errno) => Err(errno.into()),
    }
}

/// What is said of a kept file that cannot be understood.
pub(super) fn damaged() -> io::Error {
    io::Error::other(
        "this is not what was written there, or a later release wrote it; where no dump runs, it can be deleted",
    )
}

/// What [`replace`] wrote, if its version is `format`.
pub(super) fn parsed<T: for<'a> Deserialize<'a>>(text: &[u8], format: u32) -> io::Result<T> {
    let value: serde_json::Value = serde_json::from_slice(text).map_err(|_| damaged())?;
    if value.get("format").and_then(serde_json::Value::as_u64) != Some(format.into()) {
        return Err(damaged());
    }
    serde_json::from_value(value).map_err(|_| damaged())
}

/// Puts a file in the place of another one, durably; it is locked for this process as long as it is open.
pub(super) fn replace(path: &Path, value: &impl Serialize) -> io::Result<File> {
    let new = path.with_extension("new");
    let _ = fs::remove_file(&new);
    let mut file = open_held(&new)?;
    file.write_all(&serde_json::to_vec(value)?)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    sync_directory(path.parent().unwrap_or(path))?;
    Ok(file)
}
