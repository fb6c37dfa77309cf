//! Another cartridge for a drive: a command of the user's puts it in, for instance with `mtx`.
//!
//! The cartridge that is in the drive is ejected first, since a robot takes only what the drive let go of. The command
//! runs in a shell, with what is wanted in its environment, and ends when the cartridge is in; any code but 0 says that
//! there is none. What it prints goes to standard error.

use super::exit::CliError;
use super::interrupt::Interrupt;
use crate::tape::st::StTape;
use crate::tape::{TapeError, TapeSpec};
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Names the command where `--changer` does not.
const VARIABLE: &str = "TAPEDUMP_CHANGER";
/// A command that always says yes and never brings the right cartridge is asked this often for each one.
const CHANGES_MAX: u32 = 32;
/// How often to look whether the command has ended.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changer(OsString);

/// The cartridge that is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// `read` or `write`.
    pub purpose: &'static str,
    /// Which tape of the dump, counted from 1.
    pub number: u32,
    /// The dump's label; empty where it has or tells none.
    pub label: &'a str,
}

impl Changer {
    /// The command that the user named, if any, for these tapes.
    ///
    /// # Errors
    /// It was named as an argument, and none of them is in a drive.
    pub fn find<'a>(
        argument: Option<&OsStr>,
        mut tapes: impl Iterator<Item = &'a TapeSpec>,
    ) -> Result<Option<Self>, CliError> {
        if !tapes.any(|tape| matches!(tape, TapeSpec::Drive(_))) {
            return match argument {
                Some(_) => Err(CliError::failed("--changer is for tape drives, and no tape named is in one")),
                None => Ok(None),
            };
        }
        let command = argument.map(OsStr::to_owned).or_else(|| std::env::var_os(VARIABLE));
        Ok(command.filter(|command| !command.is_empty()).map(Self))
    }

    /// Has the cartridge in the drive changed; `why` says what is wrong with it.
    pub fn change(
        &self,
        device: &Path,
        wanted: &Wanted<'_>,
        why: &str,
        interrupt: &Interrupt,
    ) -> Result<(), CliError> {
        eprintln!("{why}; asking the changer for another cartridge");
        StTape::eject(device)?;
        self.run(device, wanted, why, interrupt)
    }

    fn run(
        &self,
        device: &Path,
        wanted: &Wanted<'_>,
        why: &str,
        interrupt: &Interrupt,
    ) -> Result<(), CliError> {
        let failed = |what: &dyn std::fmt::Display| {
            CliError::Failed(format!("{why}; the changer brought no other cartridge: {what}"))
        };
        let mut command = Command::new("/bin/sh")
            .arg("-c")
            .arg(&self.0)
            .env("TAPEDUMP_DEVICE", device)
            .env("TAPEDUMP_PURPOSE", wanted.purpose)
            .env("TAPEDUMP_NUMBER", wanted.number.to_string())
            .env("TAPEDUMP_LABEL", wanted.label)
            .env("TAPEDUMP_REASON", why)
            .stdout(io::stderr())
            .spawn()
            .map_err(|error| failed(&error))?;
        let status = loop {
            if let Some(status) = command.try_wait().map_err(|error| failed(&error))? {
                break status;
            }
            // Ctrl-C reaches the command by itself; an event that aborts this session does not.
            if interrupt.is_set() {
                // Only the shell: a robot that is moving comes to rest by itself.
                _ = kill_process(Pid::from_child(&command), Signal::TERM);
                _ = command.wait();
                return Err(failed(&interrupt.cause()));
            }
            std::thread::sleep(LOOK_EVERY);
        };
        if status.success() { Ok(()) } else { Err(failed(&status)) }
    }
}

/// Makes an attempt with the tape in `spec`, and further ones with other cartridges while there are any and this one
/// will not do.
pub fn with_changes<R>(
    changer: Option<&Changer>,
    spec: &TapeSpec,
    wanted: &Wanted<'_>,
    interrupt: &Interrupt,
    mut attempt: impl FnMut() -> Result<R, TapeError>,
) -> Result<R, CliError> {
    let mut changes = 0;
    loop {
        let error = match attempt() {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        match (changer, spec) {
            (Some(changer), TapeSpec::Drive(device))
                if error.wants_another_cartridge() && !interrupt.is_set() && may_change(changes) =>
            {
                changer.change(device, wanted, &error.to_string(), interrupt)?;
            }
            _ => return Err(error.into()),
        }
        changes += 1;
    }
}

/// Whether to ask for a cartridge once more, after so many times.
pub fn may_change(changes: u32) -> bool {
    changes < CHANGES_MAX
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;
    use tapedump_core::session::{Abort, Event};

    const WANTED: Wanted<'static> = Wanted { purpose: "read", number: 2, label: "home; rm x" };

    fn changer(command: &str) -> Changer {
        Changer(command.into())
    }

    #[test]
    fn the_command_is_told_what_is_wanted() {
        let dir = tempfile::tempdir().unwrap();
        let said = dir.path().join("said");
        let command = format!(
            "printf '%s\\n' \"$TAPEDUMP_DEVICE\" \"$TAPEDUMP_PURPOSE\" \"$TAPEDUMP_NUMBER\" \"$TAPEDUMP_LABEL\" \
             \"$TAPEDUMP_REASON\" >'{}'",
            said.display()
        );
        changer(&command).run(Path::new("/dev/nst0"), &WANTED, "it is empty", &Interrupt::unset()).unwrap();
        assert_eq!(std::fs::read_to_string(said).unwrap(), "/dev/nst0\nread\n2\nhome; rm x\nit is empty\n");
    }

    #[test]
    fn a_command_that_fails_says_why_it_was_asked() {
        for (command, how) in [("exit 7", "7"), ("kill -TERM $$", "signal"), ("/no/such/program", "127")] {
            let interrupt = Interrupt::unset();
            let error =
                changer(command).run(Path::new("/dev/nst0"), &WANTED, "it is empty", &interrupt).unwrap_err();
            let text = error.to_string();
            assert!(text.starts_with("it is empty; ") && text.contains(how), "{text}");
        }
    }

    #[test]
    fn an_event_ends_a_command_that_waits() {
        let interrupt = Interrupt::unset();
        interrupt.abort(Abort { event: Event::Takeover, is_automatic: false });
        let error = changer("exec sleep 60")
            .run(Path::new("/dev/nst0"), &WANTED, "it is empty", &interrupt)
            .unwrap_err();
        assert!(error.to_string().contains("interrupted by a takeover"), "{error}");
    }

    #[test]
    fn only_drives_have_one() {
        let (drive, file) = (TapeSpec::Drive("/dev/nst0".into()), TapeSpec::File(PathBuf::from("f")));
        let argument = Some(OsStr::new("mtx next"));
        assert_eq!(Changer::find(argument, [&file, &drive].into_iter()).unwrap(), Some(changer("mtx next")));
        assert!(Changer::find(argument, [&file].into_iter()).is_err());
        assert_eq!(Changer::find(None, [&file].into_iter()).unwrap(), None);
        assert_eq!(Changer::find(Some(OsStr::new("")), [&drive].into_iter()).unwrap(), None);
    }
}
