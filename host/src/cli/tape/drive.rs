//! `tapedump tape` on the cartridge in a tape drive.

use crate::cli::exit::{CliError, Ended};
use crate::cli::interrupt::Interrupt;
use crate::cli::json::JsonPath;
use crate::cli::tape::print_json;
use crate::tape::st::{StTape, TapeFile};
use crate::tape::virtual_tape::Access;
use crate::text::{printable_path, size};
use serde::Serialize;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use tapedump_core::device::tape::TapeDevice;
use tapedump_core::units::TAPE_BLOCK_LEN;

/// A tape file as `--json` shows it.
#[derive(Serialize)]
struct FileJson {
    record_len: Option<usize>,
    records: Option<u64>,
    closed: bool,
}

/// A drive and its cartridge as `--json` shows them.
#[derive(Serialize)]
struct DriveJson {
    #[serde(flatten)]
    path: JsonPath,
    record_len_max: usize,
    positions: bool,
    write_protected: bool,
    files: Vec<FileJson>,
}

/// Shows what the drive can and what is on its cartridge, which is gone over once.
pub fn info(device: &Path, json: bool) -> Result<Ended, CliError> {
    let interrupt = Interrupt::install()?;
    let mut tape = StTape::open(device, Access::Read)?;
    let capabilities = tape.capabilities();
    let mut out = io::stdout().lock();
    if !json {
        let limit = capabilities.record_len_max;
        writeln!(out, "drive     {}", printable_path(device))?;
        writeln!(out, "records   up to {limit} bytes (blocking factor {})", limit / TAPE_BLOCK_LEN)?;
        let positions = if tape.has_positions() { "told and sought by the drive" } else { "counted" };
        writeln!(out, "positions {positions}")?;
        writeln!(out, "writable  {}", if capabilities.write_protected { "no" } else { "yes" })?;
        if tape.is_blank() {
            writeln!(out, "the tape is blank")?;
        }
    }
    let mut files = Vec::new();
    while !tape.is_blank()
        && let Some(file) = tape.survey_file()?
    {
        if interrupt.is_set() {
            return Err(CliError::failed("interrupted"));
        }
        if !json {
            writeln!(out, "file {:<4} {}", files.len(), describe(file))?;
            out.flush()?;
        }
        files.push(FileJson { record_len: file.record_len, records: file.records, closed: file.closed });
    }
    tape.rewind()?;
    if json {
        print_json(&DriveJson {
            path: JsonPath::new(device.as_os_str().as_bytes()),
            record_len_max: capabilities.record_len_max,
            positions: tape.has_positions(),
            write_protected: capabilities.write_protected,
            files,
        })?;
    }
    Ok(Ended::Done)
}

fn describe(file: TapeFile) -> String {
    let state = if file.closed { "" } else { ", not closed: cut short" };
    let content = match (file.records, file.record_len) {
        (Some(0), _) => "empty".to_owned(),
        (Some(records), Some(len)) => {
            format!("{} in {records} records of {len} bytes", size(records.saturating_mul(len as u64)))
        }
        (Some(records), None) => format!("{records} records, the first one unreadable"),
        (None, Some(len)) => format!("records of {len} bytes"),
        (None, None) => "the first record is unreadable".to_owned(),
    };
    format!("{content}{state}")
}

/// Makes the cartridge blank, once `before` is done.
pub fn erase(device: &Path, before: impl FnOnce() -> Result<(), CliError>) -> Result<Ended, CliError> {
    let mut tape = StTape::open(device, Access::Write)?;
    tape.check_writable()?;
    before()?;
    tape.erase()?;
    Ok(Ended::Done)
}

/// Ejects the cartridge.
pub fn eject(device: &Path) -> Result<Ended, CliError> {
    if !StTape::eject(device)? {
        eprintln!("{}: there is no cartridge in the drive", printable_path(device));
    }
    Ok(Ended::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tape_files_are_described_as_far_as_they_are_known() {
        let text = |record_len, records, closed| describe(TapeFile { record_len, records, closed });
        assert_eq!(text(Some(65_536), Some(32), true), "2.0 MiB in 32 records of 65536 bytes");
        assert_eq!(
            text(Some(1024), Some(3), false),
            "3.0 KiB in 3 records of 1024 bytes, not closed: cut short"
        );
        assert_eq!(text(None, Some(0), true), "empty");
        assert_eq!(text(Some(10_240), None, true), "records of 10240 bytes");
        assert!(text(None, Some(3), true).contains("unreadable"));
    }
}
