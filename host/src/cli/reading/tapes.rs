//! The tapes of one dump: the present one, any other that the engine asks for, and another cartridge in their drive.

use super::sources::TapePlace;
use super::tape_file::{find_file, find_part};
use super::{Engine, read_ahead};
use crate::cli::changer::{Wanted, may_change, with_changes};
use crate::cli::exit::CliError;
use crate::cli::further::Further;
use crate::cli::interrupt::Interrupt;
use crate::cli::progress::Progress;
use crate::tape::null::NullTape;
use crate::tape::{Mode, TapeSpec, open};
use tapedump_core::device::tape::{TapeDevice, TapePosition};
use tapedump_core::device::volume::TargetVolume;
use tapedump_core::units::DumpId;

/// What is in the tape's place.
pub struct Tapes {
    /// What the present one is in.
    pub present: TapeSpec,
    /// Its number in its dump.
    pub number: u32,
    /// Where those come from that are not named.
    pub further: Further,
    /// The dump, once it is known, and its label.
    pub dump: Option<DumpId>,
    pub label: String,
    /// How often the present one was changed because it was not the one wanted.
    pub changes: u32,
    /// The highest number of a tape that was read.
    pub highest: u32,
    /// Where on the present one the dump goes on.
    pub begin: TapePosition,
}

impl Tapes {
    /// Of a dump that begins on `first`.
    pub const fn new(first: TapeSpec, further: Further) -> Self {
        let label = String::new();
        let begin = TapePosition { file: 0, record: 0 };
        Self { present: first, number: 1, further, dump: None, label, changes: 0, highest: 1, begin }
    }

    /// Whether another one can be had in place of the present one, which is not the right one.
    pub fn may_change(&self) -> bool {
        let by_changer = self.further.changer.is_some() && matches!(self.present, TapeSpec::Drive(_));
        (by_changer || self.further.may_ask()) && may_change(self.changes)
    }

    /// Has tape `number` of the dump put in; `place` is where it is, if that is known. Without it the engine says what is
    /// missing.
    pub fn bring<V: TargetVolume>(
        &mut self,
        engine: &mut Engine<'_, V>,
        number: u32,
        place: Option<&TapePlace>,
        interrupt: &Interrupt,
        progress: &Progress,
    ) -> Result<(), CliError> {
        self.changes = 0;
        let is_elsewhere = place.is_some_and(|place| place.spec != self.present);
        if !is_elsewhere && !self.may_change() {
            return Ok(());
        }
        let why = match number {
            1 => format!("{}: the dump begins on another tape", self.present),
            _ => format!("{}: the dump goes on on tape {number}", self.present),
        };
        match place.filter(|_| is_elsewhere) {
            Some(place) if place.is_lost() && self.may_change() => {
                let why = format!("{why}, and that is not at {}", place.spec);
                self.change(engine, number, &why, interrupt, progress)
            }
            Some(place) if place.is_lost() => {
                progress.tell(&format!(
                    "tapedump: tape {number} of the dump is not at {}: what was on it is missing; what is on tapes behind it comes \
                     when its paths are named, and all of it when this tape is back or named with a further --tape",
                    place.spec
                ));
                Ok(())
            }
            Some(place) => self.put_in(engine, number, Some(place.clone()), interrupt, progress),
            None => self.change(engine, number, &why, interrupt, progress),
        }
    }

    /// Has tape `number` put in in place of the present one, because of `why`.
    pub fn change<V: TargetVolume>(
        &mut self,
        engine: &mut Engine<'_, V>,
        number: u32,
        why: &str,
        interrupt: &Interrupt,
        progress: &Progress,
    ) -> Result<(), CliError> {
        // Closed before the next one is put in, since both may be in one drive.
        drop(engine.next_tape(Box::new(NullTape::default())));
        let mut why = why.to_owned();
        let mut before = self.present.clone();
        loop {
            let label = self.label.clone();
            let wanted = Wanted { purpose: "read", number, label: &label };
            let brought = progress.print(|| self.further.bring(&wanted, &before, &why, interrupt))?;
            let Some(spec) = brought else {
                return Err(CliError::failed(format!("{why}, and there is none")));
            };
            let place = TapePlace { spec: spec.clone(), file: None };
            match self.put_in(engine, number, Some(place), interrupt, progress) {
                Err(error) if self.further.may_ask() && !interrupt.is_set() => {
                    why = format!("tapedump: {error}");
                    before = spec;
                }
                done => return done,
            }
        }
    }

    /// Opens a tape, by default the present one, as number `number` of the dump.
    pub fn put_in<V: TargetVolume>(
        &mut self,
        engine: &mut Engine<'_, V>,
        number: u32,
        place: Option<TapePlace>,
        interrupt: &Interrupt,
        progress: &Progress,
    ) -> Result<(), CliError> {
        drop(engine.next_tape(Box::new(NullTape::default())));
        let file = place.as_ref().and_then(|place| place.file);
        let spec = place.map_or_else(|| self.present.clone(), |place| place.spec);
        let wanted = Wanted { purpose: "read", number, label: &self.label };
        let (tape, begin) = progress.print(|| {
            with_changes(self.further.changer.as_ref(), &spec, &wanted, interrupt, || {
                let mut tape = open(&spec, Mode::Read)?;
                match (file, self.dump) {
                    (None, Some(dump)) => find_part(&spec, &mut tape, dump, number)?,
                    _ => drop(find_file(&spec, &mut tape, file)?),
                }
                let begin = tape.position()?;
                Ok((tape, begin))
            })
        })?;
        progress.tell(&format!("tape {number}: {spec}"));
        let tape = read_ahead(&spec, tape, interrupt)?;
        (self.present, self.number, self.begin) = (spec, number, begin);
        self.highest = self.highest.max(number);
        drop(engine.next_tape(tape));
        Ok(())
    }
}
