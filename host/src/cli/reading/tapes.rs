//! The tapes of one dump: the present one, the next, and another cartridge in their drive.

use super::tape_file::find_file;
use super::{Engine, read_ahead};
use crate::cli::changer::{Changer, Wanted, may_change, with_changes};
use crate::cli::exit::CliError;
use crate::cli::interrupt::Interrupt;
use crate::cli::progress::Progress;
use crate::tape::null::NullTape;
use crate::tape::{Mode, TapeSpec, open};
use std::collections::VecDeque;
use tapedump_core::device::volume::TargetVolume;

/// Where the tapes of the dump come from.
pub struct Tapes {
    /// What the present one is in.
    pub present: TapeSpec,
    /// The further ones, in order.
    pub further: VecDeque<TapeSpec>,
    pub changer: Option<Changer>,
    /// The dump's label, once it is known.
    pub label: String,
    /// How often the present one was changed because it was not the one wanted.
    pub changes: u32,
}

impl Tapes {
    /// Whether another cartridge can be had for the present one.
    pub fn may_change(&self) -> bool {
        self.changer.is_some() && matches!(self.present, TapeSpec::Drive(_)) && may_change(self.changes)
    }

    /// Goes on on the next tape. Without one the engine says what is missing.
    pub fn next<V: TargetVolume>(
        &mut self,
        engine: &mut Engine<'_, V>,
        number: u32,
        interrupt: &Interrupt,
        progress: &Progress,
    ) -> Result<(), CliError> {
        self.changes = 0;
        let next = self.further.pop_front();
        // One drive for several tapes; without a further tape that is all there can be.
        let is_drive = matches!(self.present, TapeSpec::Drive(_));
        let is_same = next.as_ref().is_none_or(|next| is_drive && *next == self.present);
        if is_same && !self.may_change() {
            // The engine says that the dump is cut short.
            return Ok(());
        }
        let why = format!("{}: the dump goes on on tape {number}", self.present);
        self.present = next.unwrap_or_else(|| self.present.clone());
        self.put_in(engine, number, is_same.then_some(&why), interrupt, progress)
    }

    /// Opens the present tape, in place of the one before, for tape `number` of the dump; changed first because of `why`.
    pub fn put_in<V: TargetVolume>(
        &self,
        engine: &mut Engine<'_, V>,
        number: u32,
        why: Option<&str>,
        interrupt: &Interrupt,
        progress: &Progress,
    ) -> Result<(), CliError> {
        // Closed before the next one is opened, since both may be in one drive.
        drop(engine.next_tape(Box::new(NullTape::default())));
        let (spec, changer) = (&self.present, self.changer.as_ref());
        let wanted = Wanted { purpose: "read", number, label: &self.label };
        let tape = progress.print(|| {
            if let (Some(why), Some(changer), TapeSpec::Drive(device)) = (why, changer, spec) {
                changer.change(device, &wanted, why, interrupt)?;
            }
            with_changes(changer, spec, &wanted, interrupt, || {
                let mut tape = open(spec, Mode::Read)?;
                find_file(spec, &mut tape, None)?;
                Ok(tape)
            })
        })?;
        progress.tell(&format!("tape {number}: {spec}"));
        let tape = read_ahead(spec, tape, interrupt)?;
        drop(engine.next_tape(tape));
        Ok(())
    }
}
