//! Opening a drive: what can be wrong, each with its own message, and what the drive and the cartridge are like.

use super::super::sys::{Drive, Op, Status, TAPE_MAJOR};
use super::{BUF_LEN_MIN, RECORD_LEN_MAX, StTape};
use crate::tape::error::TapeError;
use crate::tape::virtual_tape::Access;
use crate::text::printable_path;
use nix::errno::Errno;
use rustix::fs::OFlags;
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};
use tapedump_core::device::ErrorKind;
use tapedump_core::device::tape::{TapeCapabilities, TapePosition};
use tapedump_core::units::TAPE_BLOCK_LEN;

/// The minor number's bit of devices that do not rewind when they are closed.
const NO_REWIND: u32 = 0x80;
/// A cartridge that was put in takes this long at most until the drive is ready.
const LOADING_MAX: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What stands at the beginning of a tape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum First {
    /// A record, or something that cannot be read.
    Something,
    /// A record longer than any that can be read.
    TooLong,
    Filemark,
    Nothing,
}

/// Whether this is a tape drive.
#[must_use]
pub fn is_drive(metadata: &Metadata) -> bool {
    metadata.file_type().is_char_device() && rustix::fs::major(metadata.rdev()) == TAPE_MAJOR
}

/// Refuses a drive that rewinds by itself: a second dump would be written over the first one.
///
/// # Errors
/// It rewinds ([`ErrorKind::Invalid`]).
pub(in crate::tape) fn refuse_rewinding(path: &Path, metadata: &Metadata) -> Result<(), TapeError> {
    let minor = rustix::fs::minor(metadata.rdev());
    if minor & NO_REWIND != 0 {
        return Ok(());
    }
    Err(TapeError::new(
        ErrorKind::Invalid,
        printable_path(path),
        "this device rewinds when it is closed, so that the next dump would be written over this one",
    )
    .advise(format!("use {}", no_rewind_name(minor))))
}

/// The kernel's name of the device that does not rewind: `nst`, the drive's number, and the letter of its mode.
fn no_rewind_name(minor: u32) -> String {
    let number = (minor & 0x1f) | ((minor & !0xff) >> 3);
    let mode = ["", "l", "m", "a"][(minor >> 5 & 3) as usize];
    format!("/dev/nst{number}{mode}")
}

impl StTape {
    /// Opens the drive `path` with the cartridge that is in it, at the beginning of the tape.
    ///
    /// # Errors
    /// No drive, no cartridge, in use ([`ErrorKind::Busy`]), no permission, write-protected, or not usable.
    pub fn open(path: &Path, access: Access) -> Result<Self, TapeError> {
        let (drive, status) = wait_until_ready(path, access)?;
        let error = |kind, what: &str| TapeError::new(kind, printable_path(path), what);
        if access == Access::Write && status.write_protected() {
            return Err(write_protected(path));
        }
        // From here on the drive is waited for.
        let flags = rustix::fs::fcntl_getfl(drive.file())
            .and_then(|flags| rustix::fs::fcntl_setfl(drive.file(), flags - OFlags::NONBLOCK));
        flags.map_err(|errno| TapeError::io(path, "cannot set up the drive", errno.into()))?;
        let set_up =
            |op, count, what| drive.operate(op, count).map_err(|error| TapeError::io(path, what, error));
        set_up(Op::Rewind, 1, "cannot rewind")?;
        set_up(Op::SetRecordLen, 0, "the drive takes no records of different lengths")?;
        let status = drive
            .status()
            .map_err(|error| TapeError::io(path, "the drive does not tell its status", error))?;
        if status.record_len != 0 {
            return Err(error(ErrorKind::Unsupported, "the drive takes no records of different lengths"));
        }
        let has_blocks = matches!(drive.block(), Ok(0));
        let mut tape = Self {
            drive,
            name: printable_path(path),
            writable: access == Access::Write,
            capabilities: TapeCapabilities::new(RECORD_LEN_MAX),
            has_blocks,
            blank: false,
            at: Some(TapePosition::default()),
            begins: vec![Some(0)],
            writing: false,
            warned: false,
            loaded: true,
            lost: None,
            soft_errors: Arc::new(AtomicU64::new(status.soft_errors.into())),
            scratch: Vec::new(),
        };
        tape.capabilities.write_protected = status.write_protected();
        let first = tape.explore()?;
        if first == First::TooLong && access == Access::Read {
            return Err(tape.record_too_long());
        }
        Ok(tape)
    }

    /// Ejects the cartridge of the drive `path`. `false`: there is none.
    ///
    /// # Errors
    /// No drive, in use, no permission, or the drive does not let go of it.
    pub fn eject(path: &Path) -> Result<bool, TapeError> {
        let drive = open_drive(path, Access::Read)?;
        let status = drive
            .status()
            .map_err(|error| TapeError::io(path, "the drive does not tell its status", error))?;
        if status.empty() {
            return Ok(false);
        }
        drive
            .operate(Op::Unload, 1)
            .map_err(|error| TapeError::io(path, "cannot eject the cartridge", error))?;
        Ok(true)
    }

    /// Finds the longest record, and whether the tape is blank, by reading its beginning: the driver refuses a length that
    /// the drive, the adapter or the kernel cannot take before the tape moves.
    fn explore(&mut self) -> Result<First, TapeError> {
        let mut buf = vec![0; RECORD_LEN_MAX];
        let mut refused = RECORD_LEN_MAX + TAPE_BLOCK_LEN;
        let mut len = RECORD_LEN_MAX;
        let mut first = loop {
            if let Some(first) = self.try_first(&mut buf[..len])? {
                break first;
            }
            refused = len;
            len /= 2;
            if len < BUF_LEN_MIN {
                return Err(self.error(ErrorKind::Unsupported, "the drive takes no records, however short"));
            }
        };
        while refused - len > TAPE_BLOCK_LEN {
            let between = len + (refused - len) / 2 / TAPE_BLOCK_LEN * TAPE_BLOCK_LEN;
            self.go_to_beginning()?;
            match self.try_first(&mut buf[..between])? {
                Some(found) => (first, len) = (found, between),
                None => refused = between,
            }
        }
        self.capabilities.record_len_max = len;
        self.blank = match first {
            First::Nothing => true,
            First::Something | First::TooLong => false,
            // Behind a lone filemark is how tapes are often made blank.
            First::Filemark => {
                self.go_to_beginning()?;
                self.forward_filemarks(1)?;
                self.try_first(&mut buf[..len])? == Some(First::Nothing)
            }
        };
        self.go_to_beginning()?;
        Ok(first)
    }

    /// Reads here. `None`: the length is refused.
    fn try_first(&mut self, buf: &mut [u8]) -> Result<Option<First>, TapeError> {
        match self.drive.read(buf) {
            Ok(0) if self.status()?.end_of_data() => Ok(Some(First::Nothing)),
            Ok(0) => Ok(Some(First::Filemark)),
            Ok(_) => Ok(Some(First::Something)),
            Err(error) if Self::is_too_long(&error) => Ok(None),
            Err(error) if error.raw_os_error() == Some(Errno::EIO as i32) => {
                let nothing =
                    self.drive.operate(Op::ForwardRecords, 1).is_err() && self.status()?.end_of_data();
                Ok(Some(if nothing { First::Nothing } else { First::Something }))
            }
            Err(error) if error.raw_os_error() == Some(Errno::ENOMEM as i32) => Ok(Some(First::TooLong)),
            Err(error) => Err(self.io("cannot read the beginning of the tape", error)),
        }
    }
}

/// Opens the drive as soon as its cartridge is ready. The driver's own waiting tells nothing and cannot be interrupted.
fn wait_until_ready(path: &Path, access: Access) -> Result<(Drive, Status), TapeError> {
    let began = Instant::now();
    loop {
        let drive = open_drive(path, access)?;
        let status = drive
            .status()
            .map_err(|error| TapeError::io(path, "the drive does not tell its status", error))?;
        if status.empty() {
            return Err(empty(path));
        }
        if status.online() {
            return Ok((drive, status));
        }
        if began.elapsed() >= LOADING_MAX {
            let what = format!("the drive did not become ready in {} seconds", LOADING_MAX.as_secs());
            return Err(TapeError::new(ErrorKind::Busy, printable_path(path), what)
                .advise("look at its display, or clean it"));
        }
        drop(drive);
        std::thread::sleep(LOOK_EVERY);
    }
}

fn open_drive(path: &Path, access: Access) -> Result<Drive, TapeError> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let file: File = OpenOptions::new()
        .read(true)
        .write(access == Access::Write)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
        .map_err(|error| explain(path, error))?;
    // The name may stand for something else by now.
    if !file.metadata().is_ok_and(|metadata| is_drive(&metadata)) {
        return Err(TapeError::new(ErrorKind::Invalid, printable_path(path), "this is not a tape drive"));
    }
    Ok(Drive::new(file))
}

fn explain(path: &Path, error: io::Error) -> TapeError {
    let say = |kind, what: &str| TapeError::new(kind, printable_path(path), what);
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EBUSY) => {
            say(ErrorKind::Busy, "another program is using this drive").advise("wait until it is done")
        }
        Some(Errno::ENXIO | Errno::ENODEV) => {
            say(ErrorKind::NotFound, "there is no drive behind this device")
                .advise("see which drives there are with: ls /dev/nst*")
        }
        Some(Errno::EACCES | Errno::EPERM) => say(ErrorKind::Denied, "you may not use this drive")
            .advise("become root, or a member of the group that owns the device (often: tape)"),
        Some(Errno::EROFS) => write_protected(path),
        Some(Errno::ENOMEDIUM) => empty(path),
        _ => TapeError::io(path, "cannot open the drive", error),
    }
}

fn write_protected(path: &Path) -> TapeError {
    TapeError::new(ErrorKind::ReadOnly, printable_path(path), "the cartridge is write-protected")
        .advise("move its tab, or use another one")
        .another_cartridge()
}

fn empty(path: &Path) -> TapeError {
    TapeError::new(ErrorKind::NotFound, printable_path(path), "there is no cartridge in the drive")
        .advise("put one in")
        .another_cartridge()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_devices_that_do_not_rewind() {
        for (minor, name) in
            [(0, "nst0"), (1, "nst1"), (31, "nst31"), (0x20, "nst0l"), (0x61, "nst1a"), (0x100, "nst32")]
        {
            assert_eq!(no_rewind_name(minor), format!("/dev/{name}"));
        }
    }

    #[test]
    fn only_tape_drives_are_tape_drives() {
        for other in ["/dev/null", "/dev", "/proc/self/exe"] {
            assert!(!is_drive(&std::fs::metadata(other).unwrap()), "{other}");
        }
        let error = open_drive(Path::new("/dev/null"), Access::Read).unwrap_err();
        assert!(error.to_string().contains("not a tape drive"), "{error}");
    }

    #[test]
    fn each_reason_has_its_message() {
        for (errno, words) in [
            (Errno::EBUSY, "another program"),
            (Errno::ENXIO, "no drive"),
            (Errno::EACCES, "group"),
            (Errno::EROFS, "write-protected"),
            (Errno::ENOMEDIUM, "no cartridge"),
        ] {
            let text = explain(Path::new("/dev/nst0"), errno.into()).to_string();
            assert!(text.starts_with("/dev/nst0: ") && text.contains(words), "{text}");
        }
    }
}
