//! The further tapes of a dump: named by the user, brought by the changer's command, or asked for.

use super::changer::{Changer, Wanted};
use super::exit::CliError;
use super::interrupt::Interrupt;
use super::raw::Cartridges;
use crate::tape::library::Library;
use crate::tape::st::StTape;
use crate::tape::{Mode, TapeSpec};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::io::{self, IsTerminal, Write};
use std::os::unix::ffi::OsStrExt;

/// Longest answer: a path.
const ANSWER_LEN_MAX: usize = 4096;
/// How often to look whether the program is to stop, in nanoseconds.
const LOOK_EVERY: i64 = 100_000_000;

/// Where they come from.
#[derive(Debug)]
pub struct Further {
    pub changer: Option<Changer>,
    /// The user is asked.
    asks: bool,
    library: Library,
    mode: Mode,
}

impl Further {
    /// For a dump whose tapes, as far as they are named, are these.
    ///
    /// # Errors
    /// A changer is named, and none of them is in a drive; or the user is to be asked where the dump itself comes from.
    pub fn new(
        arguments: &Cartridges,
        named: &[TapeSpec],
        library: Library,
        mode: Mode,
    ) -> Result<Self, CliError> {
        let changer = Changer::find(arguments.changer.as_deref(), named.iter())?;
        let reads_input = mode == Mode::Read && named.contains(&TapeSpec::Standard);
        if arguments.prompt && reads_input {
            return Err(CliError::failed(
                "--prompt: standard input has the dump, and cannot have answers; put the dump into a file",
            ));
        }
        let is_attended = io::stdin().is_terminal() && io::stderr().is_terminal();
        Ok(Self { changer, asks: arguments.prompt || is_attended && !reads_input, library, mode })
    }

    /// Whether another tape may be had after the one in `present`.
    pub fn may_bring(&self, present: &TapeSpec) -> bool {
        self.asks || self.changer.is_some() && matches!(present, TapeSpec::Drive(_))
    }

    /// Whether another tape may be had in place of one that will not do.
    pub fn may_ask(&self) -> bool {
        self.asks
    }

    /// Has a tape put in, or named, after the one in `present`. `None`: there is none. `why` says what it is for, or what is
    /// wrong with the one that is there.
    pub fn bring(
        &self,
        wanted: &Wanted<'_>,
        present: &TapeSpec,
        why: &str,
        interrupt: &Interrupt,
    ) -> Result<Option<TapeSpec>, CliError> {
        match (&self.changer, present) {
            (Some(changer), TapeSpec::Drive(device)) => {
                changer.change(device, wanted, why, interrupt)?;
                Ok(Some(present.clone()))
            }
            _ if self.asks => self.ask(wanted, present, why, interrupt),
            _ => Ok(None),
        }
    }

    fn ask(
        &self,
        wanted: &Wanted<'_>,
        present: &TapeSpec,
        why: &str,
        interrupt: &Interrupt,
    ) -> Result<Option<TapeSpec>, CliError> {
        eprintln!("{why}");
        let in_drive = match present {
            TapeSpec::Drive(device) => {
                StTape::eject(device)?;
                format!("put it into {present} and press Enter, or ")
            }
            _ => String::new(),
        };
        loop {
            eprint!("tape {} is wanted: {in_drive}name it (q: there is none): ", wanted.number);
            _ = io::stderr().flush();
            let Some(answer) = line(interrupt)? else { return Ok(None) };
            match answer.trim_ascii() {
                b"q" => return Ok(None),
                b"" if !in_drive.is_empty() => return Ok(Some(present.clone())),
                b"" => {}
                name => match TapeSpec::resolve(OsStr::from_bytes(name), &self.library, self.mode) {
                    Ok(spec @ (TapeSpec::Virtual(_) | TapeSpec::File(_) | TapeSpec::Drive(_))) => {
                        return Ok(Some(spec));
                    }
                    Ok(spec) => eprintln!("tapedump: {spec}: this is no tape to go on with"),
                    Err(error) => eprintln!("tapedump: {error}"),
                },
            }
        }
    }
}

/// A line of standard input, without buffering: what follows it is another answer. `None`: it has ended.
fn line(interrupt: &Interrupt) -> Result<Option<Vec<u8>>, CliError> {
    let input = io::stdin();
    let failed = |errno: Errno| CliError::failed(format!("standard input: {errno}"));
    let mut line = Vec::new();
    while line.len() < ANSWER_LEN_MAX {
        let wait = Timespec { tv_sec: 0, tv_nsec: LOOK_EVERY };
        let ready = poll(&mut [PollFd::new(&input, PollFlags::IN)], Some(&wait));
        if interrupt.is_set() {
            eprintln!();
            return Err(CliError::failed(interrupt.cause()));
        }
        match ready {
            Ok(0) | Err(Errno::INTR) => continue,
            Ok(_) => {}
            Err(errno) => return Err(failed(errno)),
        }
        let mut byte = [0];
        match rustix::io::read(&input, &mut byte) {
            Ok(0) if line.is_empty() => return Ok(None),
            Ok(0) => break,
            Ok(_) if byte == *b"\n" => break,
            Ok(_) => line.extend_from_slice(&byte),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(failed(errno)),
        }
    }
    Ok(Some(line))
}
