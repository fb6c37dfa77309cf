//! The terminal as a screen, and as it was before: also after a panic, and when somebody ends the program.

use super::super::exit::{CliError, FAILED};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use signal_hook::SigId;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use std::io::{self, IsTerminal, Stdout, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Once};
use std::time::Duration;

/// Whether the terminal is a screen now.
static IS_SCREEN: AtomicBool = AtomicBool::new(false);

/// How often the guard looks, and how long it lets the program come to its end by itself.
const GUARD: Duration = Duration::from_millis(200);
const GRACE: Duration = Duration::from_secs(2);

/// The terminal, until this is dropped.
pub struct Screen {
    pub terminal: Terminal<CrosstermBackend<Stdout>>,
    ended: Arc<AtomicBool>,
    /// The guard is to go.
    closed: Arc<AtomicBool>,
    signals: Vec<SigId>,
}

fn failed(error: &io::Error) -> CliError {
    CliError::failed(format!("the terminal cannot be used as a screen: {error}"))
}

impl Screen {
    /// Takes the terminal.
    pub fn open() -> Result<Self, CliError> {
        if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
            return Err(CliError::failed(
                "browse needs a terminal; tapedump list --at and tapedump find do without one",
            ));
        }
        restore_after_panics();
        let ended = Arc::new(AtomicBool::new(false));
        let register = |signal| signal_hook::flag::register(signal, Arc::clone(&ended));
        let signals = [SIGHUP, SIGINT, SIGQUIT, SIGTERM].map(register);
        let signals = signals.into_iter().collect::<io::Result<_>>().map_err(|error| failed(&error))?;
        enable_raw_mode().map_err(|error| failed(&error))?;
        IS_SCREEN.store(true, Ordering::SeqCst);
        let made = execute!(io::stdout(), EnterAlternateScreen)
            .and_then(|()| Terminal::new(CrosstermBackend::new(io::stdout())));
        match made {
            Ok(terminal) => {
                let closed = Arc::new(AtomicBool::new(false));
                guard(Arc::clone(&ended), Arc::clone(&closed));
                Ok(Self { terminal, ended, closed, signals })
            }
            Err(error) => {
                leave();
                Err(failed(&error))
            }
        }
    }

    /// Whether a signal asked the program to end.
    pub fn is_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::SeqCst);
        leave();
        self.signals.drain(..).for_each(|signal| _ = signal_hook::low_level::unregister(signal));
    }
}

/// Ends the program when its terminal is gone, which reading keys never returns from, and when it does not end by itself
/// after a signal.
fn guard(ended: Arc<AtomicBool>, closed: Arc<AtomicBool>) {
    let watch = move || {
        let mut waited = Duration::ZERO;
        while !closed.load(Ordering::SeqCst) {
            std::thread::sleep(GUARD);
            waited = if ended.load(Ordering::SeqCst) { waited + GUARD } else { Duration::ZERO };
            let is_gone = !io::stdin().is_terminal();
            if (is_gone || waited > GRACE) && !closed.load(Ordering::SeqCst) {
                leave();
                let why = if is_gone { "the terminal is gone" } else { "interrupted" };
                // Where standard error is that terminal, nobody reads this.
                _ = writeln!(io::stderr(), "tapedump: {why}; nothing was restored");
                std::process::exit(FAILED.into());
            }
        }
    };
    // Without it, the program ends all the same, but for a terminal that is gone.
    _ = std::thread::Builder::new().name("guard".into()).spawn(watch);
}

/// Makes the terminal what it was. What fails cannot be told anywhere.
fn leave() {
    if IS_SCREEN.swap(false, Ordering::SeqCst) {
        _ = execute!(io::stdout(), LeaveAlternateScreen, Show);
        _ = disable_raw_mode();
    }
}

/// The message of a panic is for the terminal as it was.
fn restore_after_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            leave();
            before(panic);
        }));
    });
}
