//! How the program ends: the one place that turns what happened into an exit code.

use crate::state::StateError;
use crate::tape::TapeError;
use std::fmt;
use std::io;
use std::process::ExitCode;

/// Everything was done.
pub const DONE: u8 = 0;
/// Done, but the dump is incomplete, or the tape or the tree is not as it should be.
pub const INCOMPLETE: u8 = 1;
/// The command line is not understood; nothing was touched.
pub const USAGE: u8 = 2;
/// It failed.
pub const FAILED: u8 = 3;
/// Sessions stand against the event, and it does not happen; nothing was touched.
pub const VETOED: u8 = 4;

/// The exit codes as the manual has them.
pub const HELP: &str = "Exit codes: 0 done; 1 done, but incomplete or damaged; 2 wrong usage; \
                        3 failed; 4 an event was vetoed.";

/// How a command ended that came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// All is well.
    Done,
    /// Something is missing, damaged or different; it was named.
    Incomplete,
}

/// Why a command did not come to its end.
#[derive(Debug)]
pub enum CliError {
    /// It failed.
    Failed(String),
    /// It did as much as could be done; the message says what is missing.
    Incomplete(String),
    /// An event was vetoed; the message says by what.
    Vetoed(String),
    /// The program that reads our output has enough.
    OutputClosed,
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(message) | Self::Incomplete(message) | Self::Vetoed(message) => f.write_str(message),
            Self::OutputClosed => f.write_str("the output was closed"),
        }
    }
}

impl CliError {
    /// A failure to do what the plan says.
    pub fn failed(message: impl fmt::Display) -> Self {
        Self::Failed(message.to_string())
    }
}

impl From<StateError> for CliError {
    fn from(error: StateError) -> Self {
        Self::failed(error)
    }
}

impl From<TapeError> for CliError {
    fn from(error: TapeError) -> Self {
        Self::failed(error)
    }
}

/// A failure to write to standard output.
impl From<io::Error> for CliError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::OutputClosed,
            _ => Self::failed(format!("standard output: cannot write: {error}")),
        }
    }
}

/// The exit code; an error is told here.
pub fn code(ended: Result<Ended, CliError>) -> ExitCode {
    let code = match &ended {
        Ok(Ended::Done) | Err(CliError::OutputClosed) => DONE,
        Ok(Ended::Incomplete) | Err(CliError::Incomplete(_)) => INCOMPLETE,
        Err(CliError::Failed(_)) => FAILED,
        Err(CliError::Vetoed(_)) => VETOED,
    };
    if let Err(error @ (CliError::Failed(_) | CliError::Incomplete(_) | CliError::Vetoed(_))) = ended {
        eprintln!("tapedump: {error}");
    }
    code.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes() {
        let shown = |ended| format!("{:?}", code(ended));
        let plain = |code: u8| format!("{:?}", ExitCode::from(code));
        assert_eq!(shown(Ok(Ended::Done)), plain(DONE));
        assert_eq!(shown(Ok(Ended::Incomplete)), plain(INCOMPLETE));
        assert_eq!(shown(Err(CliError::failed("f"))), plain(FAILED));
        assert_eq!(shown(Err(CliError::Vetoed("v".into()))), plain(VETOED));
        assert_eq!(shown(Err(io::Error::from(io::ErrorKind::BrokenPipe).into())), plain(DONE));
    }
}
