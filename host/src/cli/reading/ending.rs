//! What is told of a restore that did not come to its end.

use super::Engine;
use super::names;
use super::repeats::Repeats;
use crate::cli::exit::CliError;
use crate::cli::progress::count;
use crate::state::scratch::ScratchError;
use crate::tape::TapeError;
use crate::text::printable;
use std::fmt::Display;
use tapedump_core::catalog::TableError;
use tapedump_core::device::volume::TargetVolume;
use tapedump_core::engine::restore::RestoreError;
use tapedump_core::stream::reader::ReaderError;
use tapedump_core::units::Ino;

/// Why the engine was stopped.
pub enum Stopped {
    /// By the target, which can take nothing more.
    Full(String),
    /// By itself.
    Engine(String),
    /// By what was found on the tapes, and can be had from elsewhere: it is to begin again.
    Again,
    /// By the command.
    Other(CliError),
}

impl std::convert::From<CliError> for Stopped {
    fn from(error: CliError) -> Self {
        Self::Other(error)
    }
}

impl Stopped {
    /// The error that ends the command; `missing`: what could not be restored was listed, so many objects.
    pub fn told(self, tape: &str, missing: Option<u64>) -> CliError {
        match (self, missing) {
            (Self::Full(why), Some(missing)) => CliError::Incomplete(format!(
                "{why}; not restored, or not wholly: {}",
                count(missing, "object")
            )),
            (Self::Full(why), None) => CliError::Failed(why),
            (Self::Engine(why), _) => CliError::Failed(format!("{tape}: {why}")),
            (Self::Again, _) => CliError::failed(format!("{tape}: damaged")),
            (Self::Other(error), _) => error,
        }
    }
}

/// Names what is to be restored and is not (R-RESTORE-6); gives how many there are.
pub fn list_missing<V: TargetVolume>(engine: &mut Engine<'_, V>) -> u64 {
    let (mut from, mut missing) = (Ino::FIRST, 0);
    while let Some(ino) = engine.next_missing(from) {
        match names::path_of(engine, ino) {
            Some(path) => eprintln!("tapedump: {}: not restored, or not wholly", printable(&path)),
            None => eprintln!("tapedump: inode {}: not restored, or not wholly", ino.0),
        }
        missing += 1;
        from = ino.next();
    }
    missing
}

/// Names what was restored without what the tape has of it behind all files; gives how many there are.
pub fn list_awaiting<V: TargetVolume>(engine: &mut Engine<'_, V>) -> u64 {
    let (mut from, mut awaiting) = (Ino::FIRST, 0);
    while let Some(ino) = engine.next_awaiting(from) {
        let path = names::path_of(engine, ino).unwrap_or_else(|| format!("inode {}", ino.0).into_bytes());
        eprintln!(
            "tapedump: {}: restored without its ACLs, attributes or streams, and where it is a LUN, as a plain file: these are \
             at the end of the tape",
            printable(&path)
        );
        awaiting += 1;
        from = ino.next();
    }
    eprintln!(
        "tapedump: not all directories that were made have their owners, permissions, times and attributes"
    );
    awaiting
}

/// After an early end: lets the target finish what it was given, and names what is not whole.
pub fn settle<V: TargetVolume>(target: &mut V, open: Option<&[u8]>)
where
    V::Error: Display,
{
    target.barrier();
    let mut repeats = Repeats::default();
    while let Some(failure) = target.poll_failure() {
        if repeats.count(names::kind_of_failure(failure.what)) {
            eprintln!("tapedump: not restored, or not wholly: {}", failure.error);
        }
    }
    repeats.rest().for_each(|rest| eprintln!("tapedump: {}", rest.line()));
    if let Some(path) = open {
        eprintln!("tapedump: {}: the last one begun; it may not be whole", printable(path));
    }
}

/// Why an engine cannot go on.
type EngineError<V> = RestoreError<TapeError, <V as TargetVolume>::Error, ScratchError>;

/// Why the engine stopped, with what the devices say.
pub fn explain<V: TargetVolume>(error: &EngineError<V>) -> String
where
    V::Error: Display,
{
    match error {
        RestoreError::Tape { at, source } => format!("the tape failed at {at} of the dump: {source}"),
        RestoreError::Target { source, .. } => {
            format!(
                "the destination can take nothing more, and what follows is not restored: {source}; make room, \
                 or restore to another place"
            )
        }
        RestoreError::Scratch(TableError::Device { source, .. }) => source.to_string(),
        RestoreError::Stream(ReaderError::NotADump { .. }) => format!("this tape holds no dump: {error}"),
        other => other.to_string(),
    }
}
