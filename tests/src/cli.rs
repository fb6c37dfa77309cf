//! Runs programs, above all the shipped binary, and says how they ended and what they took.

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use crate::scratch::Scratch;

/// A run that takes longer hangs, as far as the tests are concerned.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Exit codes of the shipped binary.
pub mod code {
    /// Done.
    pub const DONE: i32 = 0;
    /// Done, but incomplete or damaged.
    pub const INCOMPLETE: i32 = 1;
    /// Wrong usage.
    pub const USAGE: i32 = 2;
    /// Failed.
    pub const FAILED: i32 = 3;
    /// An event was vetoed.
    pub const VETOED: i32 = 4;
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// By itself.
    Code(i32),
    /// By a signal that was not the test's.
    Signal(i32),
    /// It was stopped because it took too long.
    TimedOut,
}

/// What a run left.
#[derive(Debug)]
pub struct Outcome {
    /// The command line, for messages.
    pub command: String,
    /// How it ended.
    pub ending: Ending,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
    /// The most memory it held at once.
    pub peak_rss_kib: u64,
    /// How long it ran.
    pub elapsed: Duration,
}

impl Outcome {
    /// Standard output as text.
    #[must_use]
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text.
    #[must_use]
    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// True when it ended with `code`.
    #[must_use]
    pub fn ended_with(&self, code: i32) -> bool {
        self.ending == Ending::Code(code)
    }

    /// Demands an exit code.
    ///
    /// # Panics
    /// When it ended otherwise.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert!(self.ended_with(code), "expected exit code {code}:\n{self}");
        self
    }

    /// Demands exit code 0.
    ///
    /// # Panics
    /// When it ended otherwise.
    #[track_caller]
    pub fn done(self) -> Self {
        self.expect(code::DONE)
    }

    /// Demands a word in standard error, without regard to case.
    ///
    /// # Panics
    /// When it is not there.
    #[track_caller]
    pub fn says(self, words: &str) -> Self {
        assert!(self.mentions(words), "expected a message with '{words}':\n{self}");
        self
    }

    /// True when standard error has these words, without regard to case.
    #[must_use]
    pub fn mentions(&self, words: &str) -> bool {
        self.err().to_lowercase().contains(&words.to_lowercase())
    }

    /// What must hold for every run on any input: it ended by itself, in time, without a panic.
    ///
    /// # Errors
    /// What happened instead.
    pub fn is_orderly(&self) -> Result<i32, String> {
        match self.ending {
            Ending::Code(code @ 0..=3) if !self.err().contains("panicked at") => Ok(code),
            _ => Err(format!("not an orderly end:\n{self}")),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  $ {}", self.command)?;
        writeln!(f, "  {:?} after {:?}, {} KiB", self.ending, self.elapsed, self.peak_rss_kib)?;
        for (name, text) in [("stdout", self.out()), ("stderr", self.err())] {
            for line in text.lines().take(60) {
                writeln!(f, "  {name}: {line}")?;
            }
        }
        Ok(())
    }
}

/// A command that is about to run.
pub struct Run {
    command: Command,
    stdin: Option<File>,
    stdout: Option<File>,
    timeout: Duration,
}

impl Run {
    /// A run of any program, with the messages of the C locale and an empty standard input.
    pub fn program(program: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(program);
        command.env("LC_ALL", "C").env("TZ", "UTC");
        Self { command, stdin: None, stdout: None, timeout: TIMEOUT }
    }

    /// A run of the shipped binary, with its state in the test's own directory.
    #[must_use]
    pub fn tapedump(scratch: &Scratch) -> Self {
        Self::program(binary()).env("TAPEDUMP_STATE", scratch.join("state"))
    }

    /// The same of the binary with all assertions, for input that nobody should write.
    #[must_use]
    pub fn checked_tapedump(scratch: &Scratch) -> Self {
        Self::program(checked_binary()).env("TAPEDUMP_STATE", scratch.join("state"))
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.command.args(arguments);
        self
    }

    /// Sets a variable of the environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Sets the working directory.
    #[must_use]
    pub fn within(mut self, directory: &Path) -> Self {
        self.command.current_dir(directory);
        self
    }

    /// Gives up root's privileges; callers declare the need for root.
    #[must_use]
    pub fn as_nobody(mut self) -> Self {
        self.command.uid(65534).gid(65534);
        self
    }

    /// Gives it a file as standard input.
    ///
    /// # Panics
    /// When the file cannot be opened.
    #[must_use]
    pub fn stdin_file(mut self, path: &Path) -> Self {
        self.stdin = Some(File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())));
        self
    }

    /// Gives it bytes as standard input.
    #[must_use]
    pub fn stdin_bytes(mut self, bytes: &[u8]) -> Self {
        let mut file = memory_file();
        file.write_all(bytes).and_then(|()| file.seek(SeekFrom::Start(0))).expect("memory file");
        self.stdin = Some(file);
        self
    }

    /// Sends standard output to a new file.
    ///
    /// # Panics
    /// When the file cannot be created.
    #[must_use]
    pub fn stdout_file(mut self, path: &Path) -> Self {
        self.stdout = Some(File::create(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())));
        self
    }

    /// Gives it an open file or pipe as standard input.
    #[must_use]
    pub fn stdin_from(mut self, file: File) -> Self {
        self.stdin = Some(file);
        self
    }

    /// Sends standard output to a file or FIFO that exists.
    ///
    /// # Panics
    /// When it cannot be opened.
    #[must_use]
    pub fn stdout_file_existing(mut self, path: &Path) -> Self {
        let file = File::options().write(true).open(path);
        self.stdout = Some(file.unwrap_or_else(|error| panic!("{}: {error}", path.display())));
        self
    }

    /// Sets how long it may take.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Runs it to its end.
    #[must_use]
    pub fn outcome(self) -> Outcome {
        self.start().wait()
    }

    /// Starts it.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(mut self) -> Running {
        let stdout = memory_file();
        let stderr = memory_file();
        let target = self.stdout.unwrap_or_else(|| stdout.try_clone().expect("descriptor"));
        self.command
            .stdin(self.stdin.map_or_else(Stdio::null, Stdio::from))
            .stdout(target)
            .stderr(stderr.try_clone().expect("descriptor"));
        let command = describe(&self.command);
        let child = self.command.spawn().unwrap_or_else(|error| panic!("{command}: {error}"));
        Running { command, child, stdout, stderr, timeout: self.timeout, started: Instant::now() }
    }
}

/// Most memory that this process held so far.
fn own_peak_rss_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    peak.and_then(|peak| peak.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or(0)
}

fn describe(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    line
}

/// A program that runs.
pub struct Running {
    command: String,
    child: Child,
    stdout: File,
    stderr: File,
    timeout: Duration,
    started: Instant,
}

impl Running {
    /// Sends it a signal.
    ///
    /// # Panics
    /// When the system refuses.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("the child has not been waited for");
    }

    /// True while it has not ended.
    #[must_use]
    pub fn is_running(&self) -> bool {
        let pidfd = pidfd_open(self.pid(), PidfdFlags::empty()).expect("the child has not been waited for");
        !readable_within(pidfd.as_fd(), Duration::ZERO)
    }

    /// Its process number.
    #[must_use]
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Waits for its end, and ends it when that takes too long.
    ///
    /// # Panics
    /// When the system refuses to report the end.
    #[must_use]
    pub fn wait(self) -> Outcome {
        let pidfd = pidfd_open(self.pid(), PidfdFlags::empty()).expect("the child has not been waited for");
        let timed_out = !readable_within(pidfd.as_fd(), self.timeout.saturating_sub(self.started.elapsed()));
        if timed_out {
            self.signal(Signal::KILL);
        }
        let (status, peak_rss_kib) = reap(self.pid());
        // Before it is the program, the child is a copy of this process, and the system counts that, too. Other tests may
        // have made this process larger between the two.
        let peak_rss_kib = if peak_rss_kib > own_peak_rss_kib() { peak_rss_kib } else { 0 };
        let ending = if timed_out {
            Ending::TimedOut
        } else if libc::WIFEXITED(status) {
            Ending::Code(libc::WEXITSTATUS(status))
        } else {
            Ending::Signal(libc::WTERMSIG(status))
        };
        Outcome {
            command: self.command,
            ending,
            stdout: contents(self.stdout),
            stderr: contents(self.stderr),
            peak_rss_kib,
            elapsed: self.started.elapsed(),
        }
    }
}

fn readable_within(fd: std::os::fd::BorrowedFd<'_>, limit: Duration) -> bool {
    let end = Instant::now() + limit;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
        match poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&timeout)) {
            Ok(ready) => return ready > 0,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => panic!("poll: {error}"),
        }
    }
}

/// Waits for a child and gives its status and peak memory, which the standard library does not tell.
#[allow(unsafe_code)]
fn reap(pid: Pid) -> (i32, u64) {
    let mut status = 0;
    loop {
        // SAFETY: an all-zero `rusage` is a valid value: it holds integers only.
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        // SAFETY: both pointers are to live locals of the types the call writes.
        let reaped = unsafe { libc::wait4(pid.as_raw_nonzero().get(), &raw mut status, 0, &raw mut usage) };
        if reaped == pid.as_raw_nonzero().get() {
            return (status, usage.ru_maxrss.unsigned_abs());
        }
        let error = std::io::Error::last_os_error();
        assert_eq!(error.kind(), std::io::ErrorKind::Interrupted, "wait4: {error}");
    }
}

/// An unnamed file in memory: output of any length without a thread that drains a pipe.
fn memory_file() -> File {
    let flags = rustix::fs::MemfdFlags::CLOEXEC;
    File::from(rustix::fs::memfd_create("output", flags).expect("memory file"))
}

fn contents(mut file: File) -> Vec<u8> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0)).and_then(|_| file.read_to_end(&mut bytes)).expect("memory file");
    bytes
}

/// The binary as it is shipped: `TAPEDUMP_BIN`, or what `cargo build --release` makes.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| std::env::var_os("TAPEDUMP_BIN").map_or_else(|| build("release"), PathBuf::from))
}

/// The binary with every assertion and overflow check of the development profile, for damaged and hostile input.
pub fn checked_binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| std::env::var_os("TAPEDUMP_BIN").map_or_else(|| build("dev"), PathBuf::from))
}

fn build(profile: &str) -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["build", "--package", "tapedump", "--bin", "tapedump", "--message-format", "json"])
        .args(["--profile", profile])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo can be started");
    assert!(output.status.success(), "cargo could not build the binary");
    let executable = output
        .stdout
        .split(|&byte| byte == b'\n')
        .filter_map(|line| serde_json::from_slice::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == "tapedump")
        .filter_map(|message| message["executable"].as_str().map(PathBuf::from))
        .next_back();
    executable.expect("cargo names the executable it built")
}
