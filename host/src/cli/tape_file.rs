//! Which tape file of a tape has the dump that is wanted.

use crate::tape::label::data_path;
use crate::tape::virtual_tape::VirtualTape;
use crate::tape::{Tape, TapeError, TapeSpec};
use crate::text::{printable_path, size};
use std::path::{Path, PathBuf};
use tapedump_core::device::ErrorKind;
use tapedump_core::device::tape::{Space, Spaced, TapeDevice, TapePosition};
use tapedump_core::units::TAPE_BLOCK_LEN;

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
            // One that is gone is not passed over: the dump before it is an older one.
            let lost = VirtualTape::lost(dir)?.last().map(|lost| lost.file as usize);
            let last = files.iter().rposition(|file| file.records > 0).max(lost);
            let Some(last) = last else {
                return wrong("the tape is empty: nothing was written to it".into());
            };
            let number = file.unwrap_or(last as u32);
            let Some(found) = files.get(number as usize) else {
                return wrong(format!("there is no tape file {number}; the last one is {}", files.len() - 1));
            };
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
            if file.is_none() && files.len() > 1 {
                eprintln!("reading tape file {number}, the last one of {}", spec);
            }
            check_lost(dir, number)?;
            Ok(Some((data_path(dir, number), found.len)))
        }
        TapeSpec::Drive(_) => {
            let number = match file {
                Some(number) => number,
                None => match last_file(tape)? {
                    Some(last) => last,
                    None => return wrong("the tape is blank".into()).map_err(TapeError::another_cartridge),
                },
            };
            if !is_there(tape, number)? {
                return wrong(format!("there is no tape file {number}"));
            }
            if file.is_none() && number != 0 {
                eprintln!("reading tape file {number}, the last one of {spec}");
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

/// Goes to a tape file. `false`: the tape ends before it begins, or there.
fn is_there(tape: &mut Box<dyn Tape>, number: u32) -> Result<bool, TapeError> {
    let begin = TapePosition { file: number, record: 0 };
    if tape.locate(begin)? != Spaced::Done || tape.space(Space::Records(1))? == Spaced::EndOfData {
        return Ok(false);
    }
    Ok(tape.locate(begin)? == Spaced::Done)
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
