//! What damage took from the maps and directories of a dump, had from their copy in its catalog on tape, or as the catalog in
//! the state directory tells it.
//!
//! It shows when all names are read, and nothing is written yet. The reading begins again then, over [`MendedTape`]s; what
//! was found on the tapes is told all the same.

use super::front::{Front, MendedTape};
use super::sources::Sources;
use super::{Drive, Engine, Visitor, front_of_catalog, names};
use crate::cli::exit::CliError;
use crate::cli::interrupt::Interrupt;
use crate::state::StateDir;
use crate::state::catalogs;
use crate::tape::{Tape, TapeSpec};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tapedump_core::device::tape::{Spaced, TapeDevice, TapePosition};
use tapedump_core::device::volume::TargetVolume;
use tapedump_core::engine::restore::{Damage, RestoreSummary};
use tapedump_core::units::DumpId;

/// Damage, and the name that it is about.
pub type Found = (Damage, Vec<u8>);

/// What the first reading of the names found.
#[derive(Debug, Default)]
pub struct Survey {
    /// The dumps of ours that were read, by their places in the chain.
    ids: BTreeMap<usize, DumpId>,
    /// The dumps that are damaged; it may show before it is known which they are.
    found: BTreeSet<usize>,
}

impl Survey {
    /// The dump was found on its tape.
    pub fn found(&mut self, index: usize, id: Option<DumpId>) {
        if let Some(id) = id {
            self.ids.insert(index, id);
        }
    }

    /// Its tape is damaged in a way that a copy may make good. What the dump itself says of its objects no copy has otherwise.
    pub fn damage(&mut self, index: usize, damage: &Damage) {
        let may_help = matches!(
            damage,
            Damage::Gap(_)
                | Damage::Unreadable { .. }
                | Damage::Truncated { .. }
                | Damage::Maps
                | Damage::Directory { .. }
                | Damage::Missing { .. }
        );
        if may_help {
            self.found.insert(index);
        }
    }

    /// The dumps of ours that are damaged, and their places in the chain.
    fn damaged(&self) -> impl Iterator<Item = (usize, DumpId)> {
        self.found.iter().filter_map(|index| Some((*index, *self.ids.get(index)?)))
    }

    /// Whether a copy of what is damaged may be had.
    pub fn is_worth_mending(&self, sources: &Sources, state: &StateDir) -> bool {
        self.damaged()
            .any(|(index, id)| sources.spec(index).is_some_and(|spec| may_have_copy(spec, id, state)))
    }
}

/// How a reading ended.
pub enum Ending<V> {
    Over(V, RestoreSummary),
    /// All names were read and nothing else: what the tapes are found to lack may be had from elsewhere.
    Again(V, Survey, Vec<Found>),
}

/// Behind the dump may be its catalog, or that is in the state directory; and the tape can be read once more.
fn may_have_copy(spec: &TapeSpec, id: DumpId, state: &StateDir) -> bool {
    match spec {
        TapeSpec::Virtual(_) | TapeSpec::Drive(_) => true,
        TapeSpec::File(path) => path.is_file() && catalogs::path_of(state, id).is_file(),
        TapeSpec::Standard | TapeSpec::Null => false,
    }
}

/// What the second reading is given in place of what is damaged.
#[derive(Default)]
pub struct Mending {
    /// By the places of the dumps in the chain.
    fronts: BTreeMap<usize, Arc<Front>>,
    /// What the first reading found.
    found: Vec<Found>,
    /// Of some dump, not all that is damaged could be had.
    pub lacks: bool,
    /// Where copies were had from.
    pub copies: Vec<String>,
}

impl Mending {
    /// Looks for copies of what a first reading found damaged. All tapes are closed.
    pub fn gather(
        sources: &Sources,
        survey: &Survey,
        found: Vec<Found>,
        state: &StateDir,
        interrupt: &Interrupt,
    ) -> Result<Self, CliError> {
        let mut mending = Self { found, ..Self::default() };
        for (index, id) in survey.damaged() {
            let Some(spec) = sources.spec(index).filter(|spec| may_have_copy(spec, id, state)) else {
                mending.lacks = true;
                continue;
            };
            let mut front = Front::new(id, state.scratch_file()?);
            let mut tape = sources.reopen(index)?;
            let file = tape.position()?.file;
            let failed = |error| CliError::failed(format!("the scratch file failed: {error}"));
            front.gather(&mut tape, interrupt).map_err(failed)?;
            let own = front.blocks();
            let behind = TapePosition { file: file + 1, record: 0 };
            if matches!(tape.locate(behind), Ok(Spaced::Done)) {
                front.gather(&mut tape, interrupt).map_err(failed)?;
            }
            if front.blocks() > own {
                mending.copies.push(format!("{spec}, tape file {}", behind.file));
            }
            if !front.is_whole() {
                mending.take_from_state(&mut front, id, state);
            }
            mending.lacks |= !front.is_whole();
            if front.blocks() > own {
                mending.fronts.insert(index, Arc::new(front));
            }
        }
        Ok(mending)
    }

    /// Takes what no tape has from the catalog in the state directory, if there is one.
    fn take_from_state(&mut self, front: &mut Front, id: DumpId, state: &StateDir) {
        let before = front.blocks();
        let mut memory = vec![0; catalogs::MEMORY_LEN];
        let filled = match catalogs::open(state, id, &mut memory) {
            Ok(mut catalog) => front_of_catalog::fill(front, &mut catalog).map_err(|why| why.to_string()),
            Err(failure) if failure.absent => Ok(()),
            Err(failure) => Err(failure.to_string()),
        };
        if let Err(why) = filled {
            eprintln!("tapedump: names are not taken from the catalog of dump {id}: {why}");
        }
        if front.blocks() > before {
            self.copies.push(format!("that of dump {id} in the state directory"));
        }
    }

    /// Nothing is given in place of anything.
    pub fn is_empty(&self) -> bool {
        self.fronts.is_empty()
    }

    /// The tape, which stands before a dump, with what is mended of it.
    pub fn over(&self, index: usize, tape: Box<dyn Tape>) -> Box<dyn Tape> {
        match self.fronts.get(&index) {
            Some(front) => Box::new(MendedTape::new(tape, Arc::clone(front))),
            None => tape,
        }
    }

    /// What of the damage the second reading did not find again. That the dump has no end is found later.
    pub fn not_again(&mut self, again: &[Found]) -> Vec<Found> {
        let found = std::mem::take(&mut self.found).into_iter();
        found.filter(|found| !again.contains(found) && !matches!(found.0, Damage::Truncated { .. })).collect()
    }
}

impl<W> Drive<'_, W> {
    /// Tells what the first reading found, and where what is lost was had from.
    pub(super) fn tell_mended<V>(&mut self, engine: &mut Engine<'_, V>) -> Result<(), CliError>
    where
        V: TargetVolume,
        W: Visitor<V>,
    {
        for copy in std::mem::take(&mut self.mending.copies) {
            self.progress.tell(&format!(
                "tapedump: maps or directories are damaged on the tape; what could be had of them was taken from the catalog: \
                 {copy}"
            ));
        }
        let again = self.early.as_deref().unwrap_or_default();
        for (damage, culprit) in self.mending.not_again(again) {
            self.made_good += 1;
            if self.repeats.count(names::kind_of_damage(&damage)) {
                let finding = names::damage(engine, &damage, &culprit, true);
                let finding = if self.mending.lacks { finding } else { finding.made_good() };
                self.visitor.finding(&finding, self.progress)?;
            }
        }
        Ok(())
    }

    /// With what only the first reading found.
    pub(super) const fn counted(&self, mut summary: RestoreSummary) -> RestoreSummary {
        summary.damaged += self.made_good;
        summary
    }

    /// Whether the reading is to begin again, with copies of what is damaged.
    pub(super) fn is_to_begin_again(&self) -> bool {
        !self.moved
            && self.survey.as_ref().is_some_and(|survey| survey.is_worth_mending(self.sources, self.state))
    }
}
