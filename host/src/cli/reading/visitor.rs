//! What one command does with what the engine tells.

use super::Engine;
use super::names::{Finding, Purpose};
use crate::cli::exit::CliError;
use crate::cli::increments::UsedTape;
use crate::cli::progress::Progress;
use tapedump_core::device::volume::{PropertyKinds, TargetVolume};
use tapedump_core::engine::restore::{DumpInfo, RestoreEvent, RestoreStage};
use tapedump_core::units::Ino;

/// What a caller wants after an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// To go on.
    On,
    /// To end here: it knows what it wanted to know.
    Enough,
}

/// What one command does with what the engine tells; everything has a default that does nothing.
pub trait Visitor<V: TargetVolume> {
    /// The dump was found.
    fn dump(&mut self, _info: &DumpInfo) -> Result<(), CliError> {
        Ok(())
    }
    /// Anything, as the engine tells it, and before it is told otherwise.
    fn event(
        &mut self,
        _engine: &mut Engine<'_, V>,
        _event: &RestoreEvent<V::Error>,
    ) -> Result<(), CliError> {
        Ok(())
    }
    /// All names are known and nothing is written yet.
    fn catalogued(&mut self, _engine: &mut Engine<'_, V>) -> Result<(), CliError> {
        Ok(())
    }
    /// The target was full before the end: what is missing is to be listed, and that is all.
    fn restores_what_fits(&self) -> bool {
        false
    }
    /// Properties that are not restored, though they are on the dump.
    fn left_out(&self) -> PropertyKinds {
        PropertyKinds::NONE
    }
    /// Nothing is to be read behind the directories.
    fn directories_only(&self) -> bool {
        false
    }
    /// What is damaged on the tapes may be taken from elsewhere.
    fn takes_copies(&self) -> bool {
        true
    }
    /// What the dump is read for.
    fn purpose(&self) -> Purpose {
        Purpose::Look
    }
    /// The dump goes on on that tape.
    fn tape(&mut self, _tape: UsedTape) {}
    /// An object that is no directory begins.
    fn object(&mut self, _ino: Ino) {}
    /// A stage begins.
    fn stage(&mut self, _stage: RestoreStage) -> Flow {
        Flow::On
    }
    /// A name.
    fn entry(
        &mut self,
        _engine: &mut Engine<'_, V>,
        _entry: Entry,
        _progress: &Progress,
    ) -> Result<(), CliError> {
        Ok(())
    }
    /// Something is not as it should be, and is not told since very much like it was: to be counted.
    fn unlisted(&mut self, _finding: &Finding) {}
    /// Something is not as it should be.
    fn finding(&mut self, finding: &Finding, progress: &Progress) -> Result<(), CliError> {
        progress.tell(&format!("tapedump: {}", finding.line()));
        Ok(())
    }
}

/// A name that the engine visits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    pub ino: Ino,
    /// The directory it is in.
    pub parent: Ino,
    /// Its entries follow.
    pub directory: bool,
}
