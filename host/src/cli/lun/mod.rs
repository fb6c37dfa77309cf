//! `tapedump lun`: files that hosts use as disks (R-DATA-6).

mod list;

use crate::cli::exit::{CliError, Ended};
use crate::cli::raw;
use crate::cli::raw::lun::{Create, LunCommand, NewSerial, Set, State};
use crate::text::{printable_path, size};
use crate::volume::VolumeError;
use crate::volume::lun::{LunFile, Marked, new_serial, state_name};
use std::path::Path;
use tapedump_core::device::{DeviceError, ErrorKind};
use tapedump_core::record::lun::{LunRepr, LunState, Serial};

pub fn run(raw: raw::Lun) -> Result<Ended, CliError> {
    match raw.command {
        LunCommand::Create(raw) => create(&raw),
        LunCommand::Set(raw) => set(&raw),
        LunCommand::List(raw) => return list::run(raw),
        LunCommand::Clone(raw) => clone(&raw),
    }
    .map(|()| Ended::Done)
}

fn refused(path: &Path, why: impl std::fmt::Display) -> CliError {
    CliError::failed(format!("{}: {why}", printable_path(path)))
}

fn serial_or_new(serial: Option<Serial>) -> Result<Serial, CliError> {
    serial.map_or_else(|| new_serial().map_err(CliError::failed), Ok)
}

/// Refuses a serial that the user wants for a LUN if another one of the volume has it: hosts would take both for one disk.
fn check_serial(serial: Option<Serial>, path: &Path) -> Result<(), CliError> {
    let Some(serial) = serial else { return Ok(()) };
    match list::find_serial(serial, path)? {
        None => Ok(()),
        Some(other) => Err(refused(
            path,
            format!(
                "the LUN {} has the serial {serial} already, and hosts would take both for one disk; choose another, or let \
                 one be made",
                printable_path(&other)
            ),
        )),
    }
}

fn create(raw: &Create) -> Result<(), CliError> {
    check_serial(raw.serial, &raw.path)?;
    let serial = serial_or_new(raw.serial)?;
    let made = match raw.size {
        Some(size) => LunFile::create(&raw.path, size, serial, raw.os_type).map_err(|error| {
            in_the_way(
                &error,
                "give another name, or leave --size away to make a LUN of the file that is there",
            )
        })?,
        None => {
            let mut file = LunFile::open(&raw.path).map_err(CliError::failed)?;
            match file.marked() {
                Marked::As(lun) if !lun.plain_file => {
                    return Err(refused(&raw.path, "it is a LUN already; tapedump lun set changes it"));
                }
                Marked::As(_) => return Err(refused(&raw.path, RESTRICTED)),
                Marked::Not | Marked::Garbage(_) => {}
            }
            let len = file.data_len().map_err(CliError::failed)?;
            file.set(LunRepr::new(serial, raw.os_type, len)).map_err(CliError::failed)?;
            file
        }
    };
    tell(&made, "made");
    Ok(())
}

/// Why a LUN cannot be made, with what to do where something of its name is there.
fn in_the_way(error: &VolumeError, advice: &str) -> CliError {
    match error.kind() {
        ErrorKind::Exists => CliError::failed(format!("{error}; {advice}")),
        _ => CliError::failed(error),
    }
}

fn tell(made: &LunFile, how: &str) {
    if let Marked::As(lun) = made.marked() {
        eprintln!(
            "{how} the LUN {} of {}, serial {}, {}",
            printable_path(made.path()),
            size(lun.size),
            lun.serial,
            state_name(&lun)
        );
    }
}

/// What to do about a file that a restore left restricted.
const RESTRICTED: &str = "a restore left it restricted; free it with: tapedump lun set --state online";

/// Opens a LUN, or a file that is restricted.
fn open(path: &Path) -> Result<(LunFile, LunRepr), CliError> {
    let file = LunFile::open(path).map_err(CliError::failed)?;
    match file.marked() {
        Marked::As(lun) => Ok((file, lun)),
        Marked::Not => Err(refused(path, "it is no LUN; make it one with: tapedump lun create")),
        Marked::Garbage(why) => Err(refused(
            path,
            format!("its LUN attributes are not understood: {why}; mark it anew with: tapedump lun create"),
        )),
    }
}

fn set(raw: &Set) -> Result<(), CliError> {
    let (mut file, mut lun) = open(&raw.path)?;
    // Others may lock a LUN for reasons of their own; what matters is a restore's lock.
    if lun.restricted && !file.lock().map_err(CliError::failed)? {
        return Err(refused(&raw.path, "a restore is under way on it: wait for its end"));
    }
    if lun.plain_file && (raw.state != Some(State::Online) || has_other_changes(raw)) {
        return Err(refused(&raw.path, format!("it is no LUN, and {RESTRICTED}")));
    }
    match raw.state {
        Some(State::Restricted) => lun.restricted = true,
        Some(state) => {
            lun.restricted = false;
            lun.state = match state {
                State::Offline => LunState::Offline,
                State::Inconsistent => LunState::Inconsistent,
                State::Online | State::Restricted => LunState::Online,
            };
        }
        None => {}
    }
    if let Some(NewSerial::This(serial)) = raw.serial {
        check_serial(Some(serial), &raw.path)?;
    }
    lun.os_type = raw.os_type.unwrap_or(lun.os_type);
    lun.mapped = raw.mapped.unwrap_or(lun.mapped);
    lun.serial = match raw.serial {
        Some(NewSerial::This(serial)) => serial,
        Some(NewSerial::Random) => new_serial().map_err(CliError::failed)?,
        None => lun.serial,
    };
    file.set(lun).map_err(CliError::failed)?;
    if lun.plain_file {
        eprintln!("{}: no longer restricted", printable_path(&raw.path));
    }
    tell(&file, "changed");
    Ok(())
}

const fn has_other_changes(raw: &Set) -> bool {
    raw.os_type.is_some() || raw.mapped.is_some() || raw.serial.is_some()
}

fn clone(raw: &raw::lun::Clone) -> Result<(), CliError> {
    let (file, lun) = open(&raw.from)?;
    if lun.plain_file {
        return Err(refused(&raw.from, "it is no LUN"));
    }
    if lun.restricted || lun.state == LunState::Inconsistent {
        return Err(refused(&raw.from, format!("it is {}, and cannot be cloned", state_name(&lun))));
    }
    let serial = serial_or_new(raw.serial)?;
    if serial == lun.serial {
        return Err(refused(&raw.from, "the clone needs a serial of its own"));
    }
    check_serial(raw.serial, &raw.to)?;
    let clone = LunRepr::new(serial, lun.os_type, lun.size);
    let made = file.clone_to(&raw.to, clone).map_err(|error| in_the_way(&error, "give another name"))?;
    tell(&made, "made");
    Ok(())
}
