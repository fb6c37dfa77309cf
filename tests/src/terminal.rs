//! A pseudo terminal, for programs that want one: keys are typed into it, and what it would show is read.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use crate::cli::Run;

/// What is not there after this long does not come.
const PATIENCE: Duration = Duration::from_secs(30);

/// See the module's head.
pub struct Terminal {
    master: File,
    /// The end that the program has. Kept open, so that what is written to it is never lost.
    slave: File,
    path: PathBuf,
    shown: Arc<Mutex<Vec<u8>>>,
    closed: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
}

impl Terminal {
    /// A terminal of this size.
    ///
    /// # Panics
    /// When the system has none.
    #[must_use]
    pub fn new(columns: u16, rows: u16) -> Self {
        let master =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("pseudo terminal");
        grantpt(&master).and_then(|()| unlockpt(&master)).expect("pseudo terminal");
        let name = ptsname(&master, Vec::new()).expect("its name");
        let path = Path::new(std::ffi::OsStr::from_bytes(name.to_bytes())).to_owned();
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let slave = File::from(rustix::fs::open(&path, flags, Mode::empty()).expect("its other end"));
        let master = File::from(master);
        let shown = Arc::new(Mutex::new(Vec::new()));
        let closed = Arc::new(AtomicBool::new(false));
        let (from, to, stop) =
            (master.try_clone().expect("descriptor"), Arc::clone(&shown), Arc::clone(&closed));
        let reader = std::thread::spawn(move || read_until(&from, &to, &stop));
        let terminal = Self { master, slave, path, shown, closed, reader: Some(reader) };
        terminal.resize(columns, rows);
        terminal
    }

    /// Gives it to a run as standard input and output.
    ///
    /// # Panics
    /// When it cannot be opened.
    #[must_use]
    pub fn given_to(&self, run: Run) -> Run {
        run.stdin_from(self.slave.try_clone().expect("descriptor")).stdout_file_existing(&self.path)
    }

    /// Makes it another size; a program that runs there is to be told by a signal.
    ///
    /// # Panics
    /// When the system refuses.
    pub fn resize(&self, columns: u16, rows: u16) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.master, size).expect("size");
    }

    /// Types keys.
    ///
    /// # Panics
    /// When it cannot.
    pub fn type_keys(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).expect("typed");
    }

    /// All that was written to it so far.
    #[must_use]
    pub fn shown(&self) -> String {
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&shown).into_owned()
    }

    /// Waits until this is written to it, behind what was written before as far as `from`; gives how far it is then.
    ///
    /// # Panics
    /// When it does not come.
    pub fn wait_for(&self, from: usize, text: &str) -> usize {
        let begin = Instant::now();
        loop {
            let shown = self.shown();
            if let Some(at) = shown.get(from..).and_then(|new| new.find(text)) {
                return from + at + text.len();
            }
            let last: String = shown.chars().rev().take(2000).collect();
            assert!(
                begin.elapsed() < PATIENCE,
                "no '{text}' comes, but: {:?}",
                last.chars().rev().collect::<String>()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Whether it echoes keys and waits for whole lines, as it does for a shell.
    ///
    /// # Panics
    /// When the system does not tell.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        let modes = tcgetattr(&self.slave).expect("modes").local_modes;
        modes.contains(LocalModes::ECHO | LocalModes::ICANON)
    }
}

/// What is written to the terminal, until it is closed.
fn read_until(mut from: &File, to: &Mutex<Vec<u8>>, closed: &AtomicBool) {
    let wait = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
    let mut bytes = [0; 4096];
    while !closed.load(Ordering::SeqCst) {
        let mut ready = [PollFd::new(from, PollFlags::IN)];
        if !matches!(poll(&mut ready, Some(&wait)), Ok(1..)) {
            continue;
        }
        // It fails while nobody has the other end.
        let Ok(count) = from.read(&mut bytes) else { return };
        to.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&bytes[..count]);
    }
}

/// As when a window is closed: a program that runs there finds its terminal gone.
impl Drop for Terminal {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::SeqCst);
        _ = self.reader.take().map(JoinHandle::join);
    }
}
