//! Which tape file of a tape has the dump that is wanted.

use crate::checksum::HostCrc32c;
use crate::cli::reading::RECORD_LEN_MAX;
use crate::cli::reading::first_header::peek;
use crate::cli::tape::dumps;
use crate::tape::label::{TapeFile, data_path};
use crate::tape::virtual_tape::VirtualTape;
use crate::tape::{Tape, TapeError, TapeSpec};
use crate::text::{printable_path, size};
use std::path::{Path, PathBuf};
use tapedump_core::device::ErrorKind;
use tapedump_core::device::tape::{Space, Spaced, TapeDevice, TapePosition, TapeRead};
use tapedump_core::record::dialect::Dialect;
use tapedump_core::record::header::Header;
use tapedump_core::units::{DumpId, TAPE_BLOCK_LEN};

/// Goes to the tape file with the dump, by default the last one; gives where its data is, and how long.
pub fn find_file(
    spec: &TapeSpec,
    tape: &mut Box<dyn Tape>,
    file: Option<u32>,
) -> Result<Option<(PathBuf, u64)>, TapeError> {
    let wrong = |what: String| {
        Err(TapeError::new(ErrorKind::NotFound, spec.to_string(), what)
            .advise("see what it holds with: tapedump tape info"))
    };
    match spec {
        TapeSpec::Virtual(dir) => {
            let files = VirtualTape::inspect(dir)?.files;
            let Some(last) = last_dump(dir, &files)? else {
                return wrong("the tape is empty: nothing was written to it".into());
            };
            let number = file.unwrap_or(last);
            let Some(found) = files.get(number as usize) else {
                return wrong(format!("there is no tape file {number}; the last one is {}", files.len() - 1));
            };
            if is_catalog(dir, number, found.len) {
                return wrong(catalog_of(number));
            }
            if found.records > 0 && (found.record_len as usize) < TAPE_BLOCK_LEN {
                let len = found.record_len;
                return wrong(format!("tape file {number} has records of {len} bytes, which no dump has"));
            }
            if number != 0 {
                let spaced = tape.locate(TapePosition { file: number, record: 0 })?;
                if spaced != Spaced::Done {
                    return wrong(format!("there is no tape file {number}"));
                }
            }
            if file.is_none() && number != 0 {
                eprintln!("reading tape file {number}, the last dump on {spec}");
            }
            check_lost(dir, number)?;
            Ok(Some((data_path(dir, number), found.len)))
        }
        TapeSpec::Drive(_) => {
            let mut number = match file {
                Some(number) => number,
                None => match last_file(tape)? {
                    Some(last) => last,
                    None => return wrong("the tape is blank".into()).map_err(TapeError::another_cartridge),
                },
            };
            loop {
                match is_there(tape, number)? {
                    Found::Nothing => return wrong(format!("there is no tape file {number}")),
                    Found::Other => break,
                    // Behind a dump comes its catalog.
                    Found::Catalog if file.is_none() && number > 0 => number -= 1,
                    Found::Catalog => return wrong(catalog_of(number)),
                }
            }
            if file.is_none() && number != 0 {
                eprintln!("reading tape file {number}, the last dump on {spec}");
            }
            Ok(None)
        }
        _ if file.is_some_and(|file| file != 0) => wrong("there is one tape file only, number 0".into()),
        TapeSpec::File(path) => match std::fs::metadata(path) {
            Ok(metadata) if metadata.is_file() && metadata.len() == 0 => wrong("the file is empty".into()),
            Ok(metadata) if metadata.is_file() => Ok(Some((path.clone(), metadata.len()))),
            _ => Ok(None),
        },
        TapeSpec::Standard | TapeSpec::Null => Ok(None),
    }
}

/// Goes to the tape file with that part of a dump. Where there is none, to that of [`find_file`], which may be of a program that
/// marks its dumps with nothing.
pub fn find_part(
    spec: &TapeSpec,
    tape: &mut Box<dyn Tape>,
    dump: DumpId,
    number: u32,
) -> Result<(), TapeError> {
    let can_have_several = matches!(spec, TapeSpec::Virtual(_) | TapeSpec::Drive(_));
    let mut file = 0;
    while can_have_several && is_there(tape, file)? != Found::Nothing {
        let begin = TapePosition { file, record: 0 };
        // What cannot be read is not it, or is told when it is read.
        if let Ok(Some(first)) = peek(tape, begin)
            && first.id() == dump
            && first.repr.tape.0 == number
        {
            return Ok(());
        }
        file += 1;
    }
    tape.rewind()?;
    find_file(spec, tape, None).map(drop)
}

/// The last tape file with a dump; where there are only catalogs, the last of these.
pub fn last_dump(dir: &Path, files: &[TapeFile]) -> Result<Option<u32>, TapeError> {
    // One that is gone is not passed over: the dump before it is an older one.
    let lost = VirtualTape::lost(dir)?;
    let is_lost = |number: u32| lost.iter().any(|lost| lost.file == number);
    let numbered = files.iter().enumerate().rev().map(|(number, file)| (number as u32, file));
    let written = numbered.filter(|(number, file)| file.records > 0 || is_lost(*number));
    let mut last = None;
    for (number, file) in written {
        if !is_catalog(dir, number, file.len) {
            return Ok(Some(number));
        }
        last = last.or(Some(number));
    }
    Ok(last)
}

/// Whether the tape file of a virtual tape holds the catalog of a dump.
pub fn is_catalog(dir: &Path, number: u32, len: u64) -> bool {
    // What cannot be looked at is told where it is read.
    dumps::look_for_catalog(&data_path(dir, number), len).is_ok_and(|found| found.is_some())
}

/// What is said where a dump was expected.
fn catalog_of(number: u32) -> String {
    match number.checked_sub(1) {
        Some(dump) => {
            format!("tape file {number} is the catalog of a dump, and not a dump: that is tape file {dump}")
        }
        None => format!("tape file {number} is the catalog of a dump, and not a dump"),
    }
}

/// What is in a tape file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// The tape ends before it begins, or there.
    Nothing,
    /// The catalog of a dump.
    Catalog,
    /// A dump, or something else.
    Other,
}

/// Goes to a tape file, and says by its first record what is in it.
pub fn is_there(tape: &mut Box<dyn Tape>, number: u32) -> Result<Found, TapeError> {
    let begin = TapePosition { file: number, record: 0 };
    if tape.locate(begin)? != Spaced::Done {
        return Ok(Found::Nothing);
    }
    let mut record = vec![0; RECORD_LEN_MAX];
    let found = match tape.read(&mut record) {
        Ok(TapeRead::EndOfData) => return Ok(Found::Nothing),
        Ok(TapeRead::Record(len)) if begins_catalog(&record[..len]) => Found::Catalog,
        // What cannot be read is told where it is wanted.
        _ => Found::Other,
    };
    Ok(if tape.locate(begin)? == Spaced::Done { found } else { Found::Nothing })
}

fn begins_catalog(record: &[u8]) -> bool {
    let header = record.first_chunk::<TAPE_BLOCK_LEN>().map(Header::new);
    let header = header.and_then(|header| header.parse::<HostCrc32c>(Dialect::OURS).ok());
    header.is_some_and(|header| header.is_catalog())
}

/// The last tape file with anything in it. Some programs end their tapes with several filemarks.
fn last_file(tape: &mut Box<dyn Tape>) -> Result<Option<u32>, TapeError> {
    tape.space(Space::EndOfData)?;
    let mut at = tape.position()?;
    while at.record == 0 {
        if tape.space(Space::Filemarks(-1))? != Spaced::Done {
            return Ok(None);
        }
        at = tape.position()?;
    }
    Ok(Some(at.file))
}

/// Says that bytes of a tape file are gone, which its label knows of.
fn check_lost(dir: &Path, number: u32) -> Result<(), TapeError> {
    let path = data_path(dir, number);
    let Some(lost) = VirtualTape::lost(dir)?.into_iter().find(|lost| lost.file == number) else {
        return Ok(());
    };
    if lost.missing == lost.len {
        let what = "this tape file is missing";
        return Err(TapeError::new(ErrorKind::Medium, printable_path(&path), what)
            .advise("bring it back from a copy, or name another one with --file"));
    }
    let (missing, len) = (size(lost.missing), size(lost.len));
    eprintln!("tapedump: {}: {missing} of {len} are missing; reading what is there", printable_path(&path));
    Ok(())
}
