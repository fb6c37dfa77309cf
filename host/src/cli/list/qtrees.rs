//! `tapedump list --qtrees`: the qtrees on a dump. What they are stands with their directories, so that nothing behind
//! those is read.

use crate::cli::exit::{CliError, Ended};
use crate::cli::interrupt::Interrupt;
use crate::cli::qtree;
use crate::cli::raw::List;
use crate::cli::reading::names::path_of;
use crate::cli::reading::sources::Scope;
use crate::cli::reading::{self, Engine, Reading, Visitor};
use crate::state::StateDir;
use std::convert::Infallible;
use tapedump_core::device::volume::{Attributes, Failure, Made, Place, PropertyKind, Room, TargetVolume};
use tapedump_core::engine::restore::RestoreEvent;
use tapedump_core::record::qtree::{QTREE_LEN_MAX, Qtree};
use tapedump_core::units::Ino;

pub fn run(raw: &List, state: &StateDir) -> Result<Ended, CliError> {
    let interrupt = Interrupt::install()?;
    let reading = Reading::open(&raw.from, Scope::Dump, &[], state, &interrupt)?;
    let mut lister = Lister { found: Vec::new(), seen: 0, not_understood: false };
    let (_, summary) = reading.run(Collector::default(), &mut lister, &interrupt)?;
    lister.found.sort();
    for (path, value) in &lister.found {
        let qtree = Qtree::parse(value).map(|(qtree, _)| qtree);
        lister.not_understood |= qtree.is_none();
        qtree::print(path, qtree.as_ref(), raw.json)?;
    }
    Ok(if lister.not_understood { Ended::Incomplete } else { reading::ended(&summary) })
}

struct Lister {
    /// Paths and values.
    found: Vec<(Vec<u8>, Vec<u8>)>,
    /// Of those that the target has.
    seen: usize,
    not_understood: bool,
}

impl Visitor<Collector> for Lister {
    fn directories_only(&self) -> bool {
        true
    }

    fn event(
        &mut self,
        engine: &mut Engine<'_, Collector>,
        _: &RestoreEvent<Infallible>,
    ) -> Result<(), CliError> {
        let Some((ino, value)) = engine.target().found.get(self.seen).cloned() else { return Ok(()) };
        self.seen += 1;
        let path = path_of(engine, ino).unwrap_or_else(|| format!("inode {}", ino.0).into_bytes());
        self.found.push((path, value));
        Ok(())
    }
}

/// A target that keeps what says that a directory is a qtree, and nothing else.
#[derive(Debug, Default)]
struct Collector {
    open: Option<Ino>,
    /// The value that comes, and its length.
    value: Option<(usize, Vec<u8>)>,
    found: Vec<(Ino, Vec<u8>)>,
}

impl Collector {
    /// Keeps the value when it is whole.
    fn keep(&mut self) {
        let whole = self.value.take_if(|(len, value)| value.len() >= *len);
        if let (Some(ino), Some((_, value))) = (self.open, whole) {
            self.found.push((ino, value));
        }
    }
}

impl TargetVolume for Collector {
    type Error = Infallible;

    fn room(&mut self) -> Result<Room, Infallible> {
        Ok(Room { bytes: u64::MAX, inodes: u64::MAX })
    }
    fn knows(&mut self, _: Ino) -> bool {
        true
    }
    fn enter(&mut self, _: Place<'_>, _: Ino) -> Result<(), Infallible> {
        Ok(())
    }
    fn make_directory(&mut self, _: Place<'_>, _: Ino) -> Result<Made, Infallible> {
        Ok(Made::New)
    }
    fn create(&mut self, _: Place<'_>, _: Ino, _: &Attributes) -> Result<(), Infallible> {
        self.open = None;
        Ok(())
    }
    fn reopen(&mut self, _: Place<'_>, ino: Ino) -> Result<(), Infallible> {
        self.open = Some(ino);
        Ok(())
    }
    fn write(&mut self, _: u64, _: &[u8]) -> Result<(), Infallible> {
        Ok(())
    }
    fn begin_property(&mut self, kind: PropertyKind, _: &[u8], value_len: u32) -> Result<(), Infallible> {
        self.value = (kind == PropertyKind::Qtree).then(|| (value_len as usize, Vec::new()));
        self.keep();
        Ok(())
    }
    fn write_property(&mut self, piece: &[u8]) -> Result<(), Infallible> {
        if let Some((len, value)) = &mut self.value {
            // What is longer than any that is written is none, and need not be kept as a whole.
            let room = QTREE_LEN_MAX.saturating_sub(value.len());
            value.extend_from_slice(piece.get(..room).unwrap_or(piece));
            *len = (*len).min(QTREE_LEN_MAX);
            self.keep();
        }
        Ok(())
    }
    fn finish(&mut self, _: &Attributes) -> Result<(), Infallible> {
        self.open = None;
        Ok(())
    }
    fn release(&mut self) {
        self.open = None;
    }
    fn link(&mut self, _: Place<'_>, _: Place<'_>, _: Ino) -> Result<(), Infallible> {
        Ok(())
    }
    fn poll_failure(&mut self) -> Option<Failure<Infallible>> {
        None
    }
    fn barrier(&mut self) {}
    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}
