//! The tapes that a dump is written to, one after the other, as one device for the engine.

use super::super::changer::{Wanted, with_changes};
use super::super::exit::CliError;
use super::super::increments::{UsedTape, check_base_is_elsewhere, forget};
use super::super::interrupt::Interrupt;
use super::super::journal::Journal;
use super::plan::Plan;
use super::{BEHIND_LEN, Placed};
use crate::cli::reading::first_header::{FirstHeader, peek};
use crate::cli::reading::tape_file::find_file;
use crate::state::StateDir;
use crate::state::backup_log::LogEvent;
use crate::tape::copied::Copied;
use crate::tape::null::NullTape;
use crate::tape::{Existing, Mode, Stop, Tape, TapeError, TapeSpec, ahead_or_behind, open};
use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::rc::Rc;
use tapedump_core::device::tape::{
    Space, Spaced, TapeCapabilities, TapeDevice, TapePosition, TapeRead, TapeWrite,
};
use tapedump_core::device::{DeviceError, ErrorKind};
use tapedump_core::limits::DUMP_TAPES_MAX;
use tapedump_core::units::{BlockAddr, DumpId, TAPE_BLOCK_LEN, TapeNo};

/// The tapes that were used so far, known to whoever keeps the dump restartable.
#[derive(Clone, Debug)]
pub struct UsedTapes(Rc<RefCell<Vec<UsedTape>>>);

impl UsedTapes {
    pub fn new(tapes: Vec<UsedTape>) -> Self {
        Self(Rc::new(RefCell::new(tapes)))
    }

    /// All of them, in order.
    pub fn all(&self) -> Vec<UsedTape> {
        self.0.borrow().clone()
    }

    /// The one that is written.
    pub fn present(&self) -> Option<UsedTape> {
        self.0.borrow().last().cloned()
    }

    fn put(&self, tape: TapeNo, used: UsedTape) {
        let mut tapes = self.0.borrow_mut();
        // One that has room for nothing is none of them.
        tapes.truncate(tape.0.saturating_sub(1) as usize);
        tapes.push(used);
    }
}

/// See the module's head.
pub struct Output<'p> {
    tape: Copied,
    plan: &'p Plan,
    state: &'p StateDir,
    interrupt: &'p Interrupt,
    journal: Option<Journal>,
    used: UsedTapes,
    /// Blocks of the dump on all its tapes.
    blocks: u64,
    /// Another part of the dump, which was cut off, may be on a further tape already.
    again: bool,
}

impl<'p> Output<'p> {
    /// Goes on on `tape`, the last of `used`, behind so many blocks; `again`: in a dump that was cut off.
    pub fn new(
        tape: Copied,
        (plan, state): (&'p Plan, &'p StateDir),
        interrupt: &'p Interrupt,
        journal: Option<Journal>,
        used: UsedTapes,
        (blocks, again): (u64, bool),
    ) -> Self {
        Self { tape, plan, state, interrupt, journal, used, blocks, again }
    }

    /// The present tape, and the file with the beginning of the dump.
    pub fn into_parts(self) -> (Box<dyn Tape>, Option<io::Result<File>>) {
        self.tape.into_parts()
    }

    fn note(&self, event: LogEvent, spec: &TapeSpec) {
        if let Some(journal) = &self.journal {
            journal.note(event, &spec.to_string());
        }
    }

    /// Has another tape put in, and opens it as tape `number` of the dump. `false`: there is none.
    fn go_on(&mut self, number: TapeNo) -> Result<bool, CliError> {
        let Some(present) = self.used.present() else { return Ok(false) };
        if number.0 as usize > DUMP_TAPES_MAX {
            eprintln!("tapedump: a dump is on up to {DUMP_TAPES_MAX} tapes: use larger ones");
            return Ok(false);
        }
        self.note(LogEvent::TapeClose, &present.spec);
        // Closed before the next one is opened, since both may be in one drive.
        self.tape.put_in(Box::new(NullTape::default()));
        let mut why = format!("{}: the tape is full; the dump goes on on tape {}", present.spec, number.0);
        let mut before = present.spec;
        let mut named = self.named(number, &before);
        loop {
            let label = &self.plan.label_text;
            let wanted = Wanted { purpose: "write", number: number.0, label };
            let spec = match named.take() {
                Some(spec) => spec.clone(),
                None => match self.plan.further.bring(&wanted, &before, &why, self.interrupt)? {
                    Some(spec) => spec,
                    None => return Ok(false),
                },
            };
            match self.open(&spec, number, &wanted) {
                Ok(placed) => {
                    eprintln!("tape {}: {spec}", number.0);
                    self.note(LogEvent::TapeOpen, &spec);
                    let first = BlockAddr(self.blocks);
                    self.used.put(number, UsedTape { spec, begin: placed.begin, first });
                    self.tape.put_in(placed.tape);
                    return Ok(true);
                }
                Err(error) if self.plan.further.may_ask() && !self.interrupt.is_set() => {
                    why = format!("tapedump: {error}");
                    before = spec;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The tape that the user named for this number; a drive's own next cartridge is none.
    fn named(&self, number: TapeNo, present: &TapeSpec) -> Option<&'p TapeSpec> {
        self.plan.tapes.get(number.0.checked_sub(1)? as usize).filter(|spec| *spec != present)
    }

    fn open(&self, spec: &TapeSpec, number: TapeNo, wanted: &Wanted<'_>) -> Result<Placed, CliError> {
        let is_drive = matches!(spec, TapeSpec::Drive(_));
        if !is_drive && self.used.all().iter().any(|used| used.spec == *spec) {
            return Err(CliError::failed(format!("{spec}: this tape is full: the dump is on it already")));
        }
        let mode = Mode::Write(self.plan.existing);
        if self.plan.existing == Existing::Overwrite && !is_drive {
            check_base_is_elsewhere(self.state, self.plan.base.dump.map(|base| base.id), spec)?;
        }
        let placed = with_changes(self.plan.further.changer.as_ref(), spec, wanted, self.interrupt, || {
            let over = if self.again { self.cut_off_part(spec, number)? } else { None };
            let mut tape = match over {
                Some(begin) => {
                    let mut tape = open(spec, Mode::Write(Existing::GoOn(self.plan.blocking.record_len())))?;
                    tape.locate(begin)?;
                    tape
                }
                None => open(spec, mode)?,
            };
            let begin = tape.position()?;
            Placed { tape, begin }.written_behind(spec, self.plan, self.interrupt)
        })?;
        if self.plan.existing == Existing::Overwrite {
            forget(self.state, spec)?;
        }
        Ok(placed)
    }

    /// Where on the tape this very part of the dump begins, as it was written before the dump was cut off.
    fn cut_off_part(&self, spec: &TapeSpec, number: TapeNo) -> Result<Option<TapePosition>, TapeError> {
        let look = || {
            let mut tape = open(spec, Mode::Read)?;
            find_file(spec, &mut tape, None)?;
            let at = tape.position()?;
            let is_it = |first: FirstHeader| is_part(&first, self.plan.identity.id, number);
            Ok::<_, TapeError>(peek(&mut tape, at)?.is_some_and(is_it).then_some(at))
        };
        match look() {
            Ok(found) => Ok(found),
            Err(error) if error.kind() == ErrorKind::Interrupted => Err(error),
            // What is wrong with it is told when it is opened for writing.
            Err(_) => Ok(None),
        }
    }
}

/// Whether tape `number` of the dump begins with this header.
fn is_part(first: &FirstHeader, dump: DumpId, number: TapeNo) -> bool {
    first.id() == dump && first.repr.tape == number
}

impl Placed {
    /// Lets a thread write behind.
    pub fn written_behind(
        self,
        spec: &TapeSpec,
        plan: &Plan,
        interrupt: &Interrupt,
    ) -> Result<Self, TapeError> {
        if *spec == TapeSpec::Null || plan.at_once {
            // Takes no time: handing records to a thread would cost more than it saves.
            return Ok(self);
        }
        let (record_len, stop) = (plan.blocking.record_len(), Stop::when(interrupt.flag()));
        let mode = Mode::Write(plan.existing);
        let tape = ahead_or_behind(spec, self.tape, mode, BEHIND_LEN, record_len, stop)?;
        Ok(Self { tape, ..self })
    }
}

impl TapeDevice for Output<'_> {
    type Error = TapeError;

    fn capabilities(&self) -> TapeCapabilities {
        self.tape.capabilities()
    }
    fn read(&mut self, buf: &mut [u8]) -> Result<TapeRead, TapeError> {
        self.tape.read(buf)
    }
    fn write(&mut self, record: &[u8]) -> Result<TapeWrite, TapeError> {
        let written = self.tape.write(record)?;
        if written != TapeWrite::EndOfMedium {
            self.blocks += (record.len() / TAPE_BLOCK_LEN) as u64;
        }
        Ok(written)
    }
    fn write_filemark(&mut self) -> Result<TapeWrite, TapeError> {
        self.tape.write_filemark()
    }
    fn flush(&mut self) -> Result<(), TapeError> {
        self.tape.flush()
    }
    fn position(&mut self) -> Result<TapePosition, TapeError> {
        self.tape.position()
    }
    fn locate(&mut self, to: TapePosition) -> Result<Spaced, TapeError> {
        self.tape.locate(to)
    }
    fn space(&mut self, by: Space) -> Result<Spaced, TapeError> {
        self.tape.space(by)
    }
    fn rewind(&mut self) -> Result<(), TapeError> {
        self.tape.rewind()
    }
    fn unload(&mut self) -> Result<(), TapeError> {
        self.tape.unload()
    }
    fn has_next_tape(&self, tape: TapeNo) -> bool {
        self.used.present().is_some_and(|present| {
            self.named(tape, &present.spec).is_some() || self.plan.further.may_bring(&present.spec)
        })
    }
    fn next_tape(&mut self, tape: TapeNo) -> Result<bool, TapeError> {
        self.go_on(tape).map_err(|error| {
            TapeError::new(ErrorKind::Other, format!("tape {} of the dump", tape.0), error.to_string())
        })
    }
}
