//! The terminal as a screen, and as it was before: also after a panic, and when somebody ends the program.

use super::super::exit::CliError;
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use signal_hook::SigId;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use std::io::{self, IsTerminal, Stdout};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Once};

/// Whether the terminal is a screen now.
static IS_SCREEN: AtomicBool = AtomicBool::new(false);

/// The terminal, until this is dropped.
pub struct Screen {
    pub terminal: Terminal<CrosstermBackend<Stdout>>,
    ended: Arc<AtomicBool>,
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
            Ok(terminal) => Ok(Self { terminal, ended, signals }),
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
        leave();
        self.signals.drain(..).for_each(|signal| _ = signal_hook::low_level::unregister(signal));
    }
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
