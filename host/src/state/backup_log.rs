//! What dumps and restores did: a line for each event, in files that programs can read and that are exchanged every week.
//!
//! ```text
//! backup.log           of this week, which began on Sunday at 00:00 UTC
//! backup.log.0 … .5    of the weeks before in which something was written, the newest first
//! backup.log.lock      held by whoever exchanges them
//!
//! TYPE TIME IDENTIFIER EVENT [(INFO)]
//! dmp 2026-11-22T22:00:01Z /home(4711) Phase_change (III: directories to tape)
//! ```
//!
//! TYPE is `dmp` for a dump, `rst` for a restore, and `log` for the log itself. TIME is in UTC. IDENTIFIER is the tree that is dumped,
//! or the directory that a restore goes to, and in parentheses the number of the process; of the log itself it is `-`. No character
//! of a line steers a terminal, and IDENTIFIER has no space: what stands for them are the escapes of [`crate::text::printable`] and
//! `\x20`. A line is written by one call at the end of the file, so that those of several processes are not mixed.

use super::kept::{lock_alone, mode_700, open_kept, open_private};
use super::{StateDir, StateError};
use crate::text::{civil, printable, printable_path, steers_terminal};
use rustix::fs::{FlockOperation, OFlags, flock};
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Files of weeks before.
const OLD: u32 = 6;
const DAY_SECS: i64 = 86_400;
/// Bytes of a time: `2026-11-22T22:00:01Z`.
const TIME_LEN: usize = 20;

/// Whose event it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogType {
    /// A dump's.
    Dump,
    /// A restore's.
    Restore,
    /// The log's own.
    Log,
}

impl LogType {
    /// As it is written.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Dump => "dmp",
            Self::Restore => "rst",
            Self::Log => "log",
        }
    }
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogEvent {
    /// The log of a week begins.
    StartLogging,
    /// It ends.
    StopLogging,
    /// A dump or restore begins; the level of a dump.
    Start,
    /// A dump goes on where it was interrupted.
    Restart,
    /// What it was asked to do.
    Options,
    /// The snapshot that is read.
    Snapshot,
    /// The dump that an increment is based on.
    BaseDump,
    /// A stage begins.
    PhaseChange,
    /// A tape is opened.
    TapeOpen,
    /// It is closed.
    TapeClose,
    /// Something could not be dumped or restored, or is not as it was.
    Error,
    /// Anything else that was told.
    Message,
    /// It came to its end: what was moved.
    End,
    /// It did not: why.
    Abort,
}

impl LogEvent {
    /// As it is written.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::StartLogging => "Start_Logging",
            Self::StopLogging => "Stop_Logging",
            Self::Start => "Start",
            Self::Restart => "Restart",
            Self::Options => "Options",
            Self::Snapshot => "Snapshot",
            Self::BaseDump => "Base_dump",
            Self::PhaseChange => "Phase_change",
            Self::TapeOpen => "Tape_open",
            Self::TapeClose => "Tape_close",
            Self::Error => "Error",
            Self::Message => "Log_msg",
            Self::End => "End",
            Self::Abort => "Abort",
        }
    }
}

/// A line of the log, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLine<'a> {
    /// Whose event it is.
    pub kind: &'a str,
    /// When it happened.
    pub time: &'a str,
    /// Which dump or restore.
    pub identifier: &'a str,
    /// What happened.
    pub event: &'a str,
    /// What is said of it; empty: nothing.
    pub info: &'a str,
}

impl<'a> LogLine<'a> {
    /// Takes a line apart; `None`: it is none, as where a disk was full.
    #[must_use]
    pub fn parse(line: &'a str) -> Option<Self> {
        let mut words = line.splitn(5, ' ');
        let (kind, time, identifier, event) = (words.next()?, words.next()?, words.next()?, words.next()?);
        let info = match words.next() {
            None => "",
            Some(info) => info.strip_prefix('(')?.strip_suffix(')')?,
        };
        (time.len() == TIME_LEN).then_some(Self { kind, time, identifier, event, info })
    }
}

impl fmt::Display for LogLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, time, identifier, event, info } = self;
        write!(f, "{kind} {time} {identifier} {event}")?;
        if info.is_empty() { Ok(()) } else { write!(f, " ({info})") }
    }
}

/// The identifier of a dump or restore.
#[must_use]
pub fn identifier(path: &Path, process: u32) -> String {
    format!("{}({process})", printable_path(path).replace(' ', "\\x20"))
}

/// `2026-11-22T22:00:01Z`; years have four digits until 10000.
fn time(secs: i64) -> String {
    let (year, month, day) = civil(secs.div_euclid(DAY_SECS));
    let secs = secs.rem_euclid(DAY_SECS);
    let (hour, minute, second) = (secs / 3600, secs / 60 % 60, secs % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// When the week began; 1970-01-04 was a Sunday.
const fn week_begin(secs: i64) -> i64 {
    let sunday = 3 * DAY_SECS;
    secs - (secs - sunday).rem_euclid(7 * DAY_SECS)
}

/// The log of a state directory.
#[derive(Clone, Debug)]
pub struct BackupLog {
    root: PathBuf,
}

impl BackupLog {
    /// The log; made when its first line is written.
    #[must_use]
    pub fn of(state: &StateDir) -> Self {
        Self { root: state.root().into() }
    }

    fn path(&self) -> PathBuf {
        self.root.join("backup.log")
    }

    fn old(&self, index: u32) -> PathBuf {
        self.root.join(format!("backup.log.{index}"))
    }

    /// Writes what happened at `secs` since 1970. The identifier is one that [`identifier`] made.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(
        &self,
        kind: LogType,
        secs: i64,
        identifier: &str,
        event: LogEvent,
        info: &str,
    ) -> Result<(), StateError> {
        let path = self.path();
        let line = line(kind, secs, identifier, event, info);
        self.current(secs)
            .and_then(|file| append(&file, &line))
            .map_err(|source| StateError::Io { path, source })
    }

    /// The file of the week; that of another one is put aside.
    fn current(&self, secs: i64) -> io::Result<File> {
        let path = self.path();
        match open(&path) {
            Ok(file) if is_of_week(&file, secs) => return Ok(file),
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => mode_700(&self.root)?,
        }
        let _lock = lock_alone(&self.root.join("backup.log.lock"))?;
        match open(&path) {
            // Another process was faster.
            Ok(file) if is_of_week(&file, secs) => return Ok(file),
            Ok(file) => {
                append(&file, &line(LogType::Log, secs, "-", LogEvent::StopLogging, ""))?;
                for index in (0..OLD - 1).rev() {
                    rename(&self.old(index), &self.old(index + 1))?;
                }
                rename(&path, &self.old(0))?;
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        // It takes its name when its first line is there: that tells its week.
        let new = self.root.join("backup.log.new");
        match fs::remove_file(&new) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = open_private(&new)?;
        append(&file, &line(LogType::Log, secs, "-", LogEvent::StartLogging, ""))?;
        rename(&new, &path)?;
        open(&path)
    }

    /// All lines there are, the oldest first.
    ///
    /// # Errors
    /// A file cannot be read, or `each` fails.
    pub fn read<E: From<StateError>>(&self, mut each: impl FnMut(&str) -> Result<(), E>) -> Result<(), E> {
        let old = (0..OLD).rev().map(|index| self.old(index));
        for path in old.chain([self.path()]) {
            let text = open_kept(&path).and_then(|mut file| {
                let mut text = Vec::new();
                file.read_to_end(&mut text).map(|_| text)
            });
            match text {
                Ok(text) => String::from_utf8_lossy(&text).lines().try_for_each(&mut each)?,
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(source) => return Err(StateError::Io { path, source }.into()),
            }
        }
        Ok(())
    }
}

fn line(kind: LogType, secs: i64, identifier: &str, event: LogEvent, info: &str) -> String {
    let (kind, event, time, info) = (kind.word(), event.word(), time(secs), safe(info));
    format!("{}\n", LogLine { kind, time: &time, identifier, event, info: &info })
}

/// Text that was made for people has the names in it escaped already; nothing else in it may steer a terminal either, or end the
/// line.
fn safe(info: &str) -> String {
    let mut text = String::with_capacity(info.len());
    for c in info.chars() {
        if steers_terminal(c) {
            text.push_str(&printable(c.encode_utf8(&mut [0; 4]).as_bytes()));
        } else {
            text.push(c);
        }
    }
    text
}

/// Never through a link, and nothing but a regular file: others would wait, or lead elsewhere.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file =
        OpenOptions::new().read(true).append(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::other("this is no regular file, and not what is kept here: put it away"))
    }
}

fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Whether a log that is there is that of the week, by its first line; a later one is, too: clocks are set.
fn is_of_week(file: &File, secs: i64) -> bool {
    let mut begin = [0; 4 + TIME_LEN];
    if file.read_exact_at(&mut begin, 0).is_err() {
        return false;
    }
    let (_, first) = begin.split_at(4);
    // In this form times are in the order of their text.
    first >= time(week_begin(secs)).as_bytes()
}

/// Writes a line in one call; behind one that was cut short, as by a full disk, a new line begins. The lock is for that look: half
/// of a line of another process is not one that was cut short.
fn append(mut file: &File, line: &str) -> io::Result<()> {
    flock(file, FlockOperation::LockExclusive)?;
    let mut last = [b'\n'];
    if let Some(end) = file.metadata()?.len().checked_sub(1) {
        file.read_exact_at(&mut last, end)?;
    }
    let begin = if last == [b'\n'] { "" } else { "\n" };
    file.write_all([begin, line].concat().as_bytes())?;
    Ok(flock(file, FlockOperation::Unlock)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUNDAY: i64 = 1_795_305_600; // 2026-11-22
    const WEEK: i64 = 7 * DAY_SECS;

    fn log() -> (tempfile::TempDir, BackupLog) {
        let dir = tempfile::tempdir().unwrap();
        let log = BackupLog::of(&StateDir::at(dir.path().join("state")));
        (dir, log)
    }

    fn lines(log: &BackupLog) -> Vec<String> {
        let mut all = Vec::new();
        log.read(|line| {
            all.push(line.to_owned());
            Ok::<_, StateError>(())
        })
        .unwrap();
        all
    }

    #[test]
    fn the_format_of_a_line() {
        let (_dir, log) = log();
        let name = identifier(Path::new("/a b\n"), 7);
        assert_eq!(name, "/a\\x20b\\n(7)");
        log.write(LogType::Dump, SUNDAY + 79_201, &name, LogEvent::Start, "level 1").unwrap();
        log.write(LogType::Restore, SUNDAY + 79_202, "/x(8)", LogEvent::TapeClose, "").unwrap();
        log.write(LogType::Dump, SUNDAY + 79_203, "/x(8)", LogEvent::Error, "x\x1b[2J (\\xff)\ny").unwrap();
        let expected = [
            "log 2026-11-22T22:00:01Z - Start_Logging",
            "dmp 2026-11-22T22:00:01Z /a\\x20b\\n(7) Start (level 1)",
            "rst 2026-11-22T22:00:02Z /x(8) Tape_close",
            "dmp 2026-11-22T22:00:03Z /x(8) Error (x\\x1b[2J (\\xff)\\ny)",
        ];
        assert_eq!(lines(&log), expected);
        for line in expected {
            assert_eq!(LogLine::parse(line).unwrap().to_string(), line);
        }
        let parsed = LogLine::parse(expected[1]).unwrap();
        assert_eq!((parsed.kind, parsed.identifier), ("dmp", "/a\\x20b\\n(7)"));
        assert_eq!((parsed.event, parsed.info), ("Start", "level 1"));
        for bad in ["", "dmp", "dmp 2026 /x Start", "dmp 2026-11-22T22:00:02Z /x(8) Start (cut"] {
            assert_eq!(LogLine::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn weeks_begin_on_sunday() {
        for (secs, begin) in [
            (SUNDAY, SUNDAY),
            (SUNDAY + WEEK - 1, SUNDAY),
            (SUNDAY + WEEK, SUNDAY + WEEK),
            (SUNDAY - 1, SUNDAY - WEEK),
            (0, -4 * DAY_SECS),
        ] {
            assert_eq!(week_begin(secs), begin, "{secs}");
        }
        assert_eq!(time(SUNDAY), "2026-11-22T00:00:00Z");
    }

    #[test]
    fn files_are_exchanged_every_week() {
        let (_dir, log) = log();
        let write = |secs| log.write(LogType::Dump, secs, "/x(1)", LogEvent::Start, "").unwrap();
        write(SUNDAY - 1);
        write(SUNDAY);
        write(SUNDAY + WEEK - 1);
        assert!(log.old(0).exists() && !log.old(1).exists());
        let old = fs::read_to_string(log.old(0)).unwrap();
        assert!(old.starts_with("log 2026-11-21T23:59:59Z - Start_Logging\n"), "{old}");
        assert!(old.ends_with("log 2026-11-22T00:00:00Z - Stop_Logging\n"), "{old}");
        assert_eq!(lines(&log).len(), 6);
        // A week without a dump has no file, and of the others six are kept.
        for week in 2..9 {
            write(SUNDAY + week * WEEK);
        }
        assert!(log.old(5).exists() && !log.old(6).exists());
        let kept = lines(&log);
        assert!(kept[0].contains("2026-12-06"), "{}", kept[0]);
        assert!(kept.last().unwrap().contains("2027-01-17"), "{kept:?}");
        // A clock that is set back puts nothing aside.
        write(SUNDAY);
        assert_eq!(lines(&log).len(), kept.len() + 1);
    }

    #[test]
    fn a_line_that_was_cut_short_spoils_no_other() {
        let (_dir, log) = log();
        log.write(LogType::Dump, SUNDAY, "/x(1)", LogEvent::Start, "").unwrap();
        append(&open(&log.path()).unwrap(), "dmp 2026-11-22T22:0").unwrap();
        log.write(LogType::Dump, SUNDAY, "/x(1)", LogEvent::End, "").unwrap();
        let all = lines(&log);
        assert_eq!(all.iter().filter(|line| LogLine::parse(line).is_some()).count(), 3, "{all:?}");
        // One that lost its beginning is put aside.
        fs::write(log.path(), "").unwrap();
        log.write(LogType::Dump, SUNDAY, "/x(1)", LogEvent::End, "").unwrap();
        assert!(lines(&log).iter().any(|line| line.ends_with("/x(1) End")));
    }

    #[test]
    fn lines_of_several_writers_are_whole() {
        let (_dir, log) = log();
        let text = "x".repeat(3000);
        std::thread::scope(|scope| {
            for writer in 0..8 {
                let (log, text) = (&log, &text);
                scope.spawn(move || {
                    for _ in 0..100 {
                        let name = format!("/{writer}(1)");
                        log.write(LogType::Dump, SUNDAY, &name, LogEvent::Message, text).unwrap();
                    }
                });
            }
        });
        let all = lines(&log);
        assert_eq!(all.len(), 801);
        for line in &all[1..] {
            assert_eq!(LogLine::parse(line).unwrap().info, text);
        }
    }
}
