//! A dump over two tapes, and the power cut in the midst of it: at whatever record that is, the dump goes on from its context,
//! and what is restored of the tapes is the volume.

use tapedump_core::device::ErrorKind;
use tapedump_core::device::fault::{Fault, FaultInjector, Operation, What, When};
use tapedump_core::device::mem::MemVolume;
use tapedump_core::device::tape::{TapeDevice, TapePosition};
use tapedump_core::units::{BlockingFactor, TapeNo};

use crate::board::{Board, Report};
use crate::contexts::Contexts;
use crate::demo::{Demo, Deviation, equal, quiet};
use crate::drive::Drive;
use crate::engine::{Dumped, Job, dump, restore};

/// So many writes that some contexts are stored on either tape.
const WRITES_MANY: u64 = 16;

impl<'d, T: TapeDevice, L: Board> Demo<'d, '_, T, L> {
    /// Dumps all of the volume to two tapes, undisturbed and then with the power cut at each record.
    #[inline(never)]
    pub fn two_tapes(
        &mut self,
        source: &mut MemVolume<'_>,
        blocking: BlockingFactor,
    ) -> Result<(), Deviation> {
        let job = self.whole(blocking);
        let (_, records) = self.dump_over(source, &job, &[], None)?;
        // So that the rest of it, and the header of the second tape, fit on that one.
        let record = records / 2 + 1;
        let end = Fault { when: When::Record(TapePosition { file: 0, record }), what: What::EndOfMedium };
        let (undisturbed, writes) = self.dump_over(source, &job, &[end], None)?;
        self.both_equal(source)?;
        self.board.log(&Report::TwoTapes(undisturbed.summary));
        let (mut restarted, mut on_second) = (0, 0);
        for write in 0..writes {
            self.cut_off(source, &job, end, write)?;
            self.work.lose();
            let (dumped, tape) = self.go_on(source, &job, end)?;
            restarted += u64::from(tape.is_some());
            on_second += u64::from(tape > Some(TapeNo::FIRST));
            if dumped.summary != undisturbed.summary || dumped.catalog != undisturbed.catalog {
                return Err(Deviation::DumpSummary);
            }
            self.both_equal(source)?;
        }
        // Of a few long records, none on the second tape may have so little behind it that a context is stored there.
        let is_fine = writes >= WRITES_MANY;
        if restarted == 0 || is_fine && (on_second == 0 || on_second == restarted) {
            return Err(Deviation::NotRestarted);
        }
        self.board.log(&Report::PowerCuts { cuts: writes, restarted, on_second });
        Ok(())
    }

    /// Dumps to the two tapes, or goes on with that; gives the number of writes, too.
    #[inline(never)]
    fn dump_over(
        &mut self,
        source: &mut MemVolume<'_>,
        job: &Job<'d>,
        faults: &[Fault],
        contexts: Option<&mut Contexts<'d>>,
    ) -> Result<(Dumped, u64), Deviation> {
        let [first, second] = &mut self.pair;
        let kept = contexts.as_ref().and_then(|contexts| contexts.kept.as_ref());
        let drive = match kept {
            Some(kept) if kept.state.tape() > TapeNo::FIRST => Drive::with(&mut **second),
            _ => Drive::with_both(&mut **first, &mut **second),
        };
        let mut tape = FaultInjector::scheduled(drive, faults);
        let dumped = dump(source, &mut tape, job, self.work, contexts, None::<&mut L>)?;
        Ok((dumped, tape.operations_of(Operation::Write)))
    }

    /// The power fails while a record is written.
    #[inline(never)]
    fn cut_off(
        &mut self,
        source: &mut MemVolume<'_>,
        job: &Job<'d>,
        end: Fault,
        write: u64,
    ) -> Result<(), Deviation> {
        let cut = Fault { when: When::Nth(Operation::Write, write), what: What::PowerCut };
        let mut contexts = Contexts::new(self.context());
        match self.dump_over(source, job, &[end, cut], Some(&mut contexts)) {
            Err(Deviation::Tape { at: Some(_), kind: ErrorKind::Interrupted }) => Ok(()),
            Err(other) => Err(other),
            Ok(_) => Err(Deviation::Unnoticed(cut)),
        }
    }

    /// The power is back: goes on with the dump, on the tape that is given, or begins anew when it was not far enough.
    #[inline(never)]
    fn go_on(
        &mut self,
        source: &mut MemVolume<'_>,
        job: &Job<'d>,
        end: Fault,
    ) -> Result<(Dumped, Option<TapeNo>), Deviation> {
        let mut contexts = Contexts::new(self.context());
        let (mut lent, _) = self.work.lend(job.blocking).ok_or(Deviation::Memory)?;
        contexts.find(job, &mut lent)?;
        let tape = contexts.kept.as_ref().map(|kept| kept.state.tape());
        let (dumped, _) = self.dump_over(source, job, &[end], Some(&mut contexts))?;
        Ok((dumped, tape))
    }

    /// Restores the dump that is on the two tapes: that is the volume.
    #[inline(never)]
    fn both_equal(&mut self, source: &MemVolume<'_>) -> Result<(), Deviation> {
        let scratch = self.scratch();
        let [first, second] = &mut self.pair;
        let mut first = FaultInjector::counting(Drive::with(&mut **first));
        let mut second = FaultInjector::counting(Drive::with(&mut **second));
        let mut restored = self.target.empty()?;
        let tapes = [Some(&mut first), Some(&mut second), None];
        let summary = restore(1, tapes, &mut restored, scratch, self.work, None, &mut quiet)?;
        if !summary.is_good() {
            return Err(Deviation::RestoreSummary);
        }
        equal(source, &restored)
    }
}
