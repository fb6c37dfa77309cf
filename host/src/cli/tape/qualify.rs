//! `tapedump tape qualify`: puts a drive or a virtual tape through the suite of the tape contract, and reports.

use crate::cli::exit::{CliError, Ended};
use crate::cli::interrupt::Interrupt;
use crate::cli::progress::rate;
use crate::cli::raw::Qualify;
use crate::cli::tape::print_json;
use crate::tape::library::Library;
use crate::tape::qualify::{Area, Capacity, Speed, checks, fill, speed};
use crate::tape::st::StTape;
use crate::tape::virtual_tape::{Access, VirtualTape};
use crate::tape::{Existing, Mode, TapeError, TapeSpec};
use crate::text::{printable, size};
use serde::Serialize;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tapedump_core::device::ErrorKind;
use tapedump_core::device::tape::TapeDevice;
use tapedump_core::units::TAPE_BLOCK_LEN;

/// Bytes written and read to measure speed, where there is room.
const SPEED_LEN: u64 = 256 << 20;
/// More than any medium holds.
const CAPACITY_MAX: u64 = 1 << 50;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Passed,
    Failed,
    Skipped,
}

#[derive(Debug, Serialize)]
struct Finding {
    area: &'static str,
    name: &'static str,
    verdict: Verdict,
    /// What is wrong, or why it was skipped, or what was found.
    #[serde(skip_serializing_if = "String::is_empty")]
    detail: String,
}

#[derive(Debug, Serialize)]
struct Report {
    tape: String,
    record_len_max: usize,
    checks: Vec<Finding>,
    #[serde(skip_serializing_if = "Option::is_none")]
    write_bytes_per_s: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    read_bytes_per_s: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    capacity: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    early_warning: Option<u64>,
    soft_errors: u64,
}

pub fn run(library: &Library, raw: &Qualify) -> Result<Ended, CliError> {
    let spec = TapeSpec::resolve(&raw.tape, library, Mode::Write(Existing::Overwrite))?;
    let soft_errors = Arc::new(AtomicU64::new(0));
    match &spec {
        TapeSpec::Drive(path) => {
            let first = StTape::open(path, Access::Write)?;
            let limit = first.capabilities().record_len_max;
            drop(first);
            let make = |blank: bool| {
                let mut tape = StTape::open(path, Access::Write)?;
                tape.count_soft_errors(Arc::clone(&soft_errors));
                if blank { tape.erase() } else { tape.rewind() }.map(|()| tape)
            };
            Qualifying { raw, spec: &spec, limit, ejects: true, make: &make, soft_errors: &soft_errors }.run()
        }
        TapeSpec::Virtual(dir) => {
            let first = VirtualTape::open(dir, Access::Write)?;
            let limit = first.capabilities().record_len_max;
            if raw.fill && first.label().capacity.is_none() {
                return Err(refused(&spec, "this tape has no end, so it cannot be written full").into());
            }
            drop(first);
            let make = |blank: bool| {
                let mut tape = VirtualTape::open(dir, Access::Write)?;
                if blank { tape.erase() } else { tape.rewind() }.map(|()| tape)
            };
            Qualifying { raw, spec: &spec, limit, ejects: false, make: &make, soft_errors: &soft_errors }
                .run()
        }
        _ => Err(refused(&spec, "this is neither a tape drive nor a virtual tape").into()),
    }
}

fn refused(spec: &TapeSpec, what: &str) -> TapeError {
    TapeError::new(ErrorKind::Invalid, spec.to_string(), what)
}

/// One tape under test.
struct Qualifying<'a, T> {
    raw: &'a Qualify,
    spec: &'a TapeSpec,
    limit: usize,
    /// Unloading takes the medium away.
    ejects: bool,
    /// Gives the tape at its beginning, blank or not.
    make: &'a dyn Fn(bool) -> Result<T, TapeError>,
    soft_errors: &'a AtomicU64,
}

impl<T: TapeDevice<Error = TapeError>> Qualifying<'_, T> {
    fn run(self) -> Result<Ended, CliError> {
        let interrupt = Interrupt::install()?;
        let mut report = Report {
            tape: self.spec.to_string(),
            record_len_max: self.limit,
            checks: Vec::new(),
            write_bytes_per_s: None,
            read_bytes_per_s: None,
            capacity: None,
            early_warning: None,
            soft_errors: 0,
        };
        self.begin()?;
        // A drive that cannot erase writes over what there is, which serves for all but one check.
        let cannot_erase = (self.make)(true).err();
        let blank = cannot_erase.is_none();
        let make = || (self.make)(blank).map_err(|error| error.to_string());
        for check in checks::<T>() {
            if interrupt.is_set() {
                return Err(CliError::failed("interrupted; whatever the tape held is lost"));
            }
            let (verdict, detail) = match (check.area, &cannot_erase) {
                (Area::Unloading, _) if self.ejects => continue,
                (Area::Blank, Some(error)) => (Verdict::Skipped, error.to_string()),
                _ => match check.run(&make) {
                    Ok(()) => (Verdict::Passed, String::new()),
                    Err(what) => (Verdict::Failed, what),
                },
            };
            self.tell(&mut report, Finding { area: check.area.name(), name: check.name, verdict, detail })?;
        }
        self.measure(&mut report, &make)?;
        self.end_of_medium(&mut report, &make)?;
        self.unload(&mut report)?;
        report.soft_errors = self.soft_errors.load(Ordering::Relaxed);
        self.end(&report)
    }

    fn begin(&self) -> Result<(), CliError> {
        if self.raw.json {
            return Ok(());
        }
        writeln!(
            io::stdout(),
            "{}: records of up to {} bytes (blocking factor {})",
            self.spec,
            self.limit,
            self.limit / TAPE_BLOCK_LEN
        )?;
        Ok(())
    }

    fn tell(&self, report: &mut Report, finding: Finding) -> Result<(), CliError> {
        if !self.raw.json {
            let verdict = match finding.verdict {
                Verdict::Passed => "passed",
                Verdict::Failed => "FAILED",
                Verdict::Skipped => "skipped",
            };
            let detail = printable(finding.detail.as_bytes());
            let colon = if detail.is_empty() { "" } else { ": " };
            writeln!(io::stdout(), "{verdict:<8}{:<12}{}{colon}{detail}", finding.area, finding.name)?;
        }
        report.checks.push(finding);
        Ok(())
    }

    fn measure(&self, report: &mut Report, make: &dyn Fn() -> Result<T, String>) -> Result<(), CliError> {
        let record_len = self.raw.blocking_factor.record_len().min(self.limit);
        let (verdict, detail) = match make().and_then(|tape| speed(tape, record_len, SPEED_LEN)) {
            Ok(Speed { len, write, read }) => {
                let per_s = |time: std::time::Duration| (len as f64 / time.as_secs_f64().max(0.001)) as u64;
                report.write_bytes_per_s = Some(per_s(write));
                report.read_bytes_per_s = Some(per_s(read));
                let (write, read) = (rate(len, write), rate(len, read));
                (Verdict::Passed, format!("{write} writing, {read} reading {}", size(len)))
            }
            Err(what) => (Verdict::Failed, what),
        };
        self.tell(report, Finding { area: "speed", name: "much data comes back", verdict, detail })
    }

    fn end_of_medium(
        &self,
        report: &mut Report,
        make: &dyn Fn() -> Result<T, String>,
    ) -> Result<(), CliError> {
        let record_len = self.raw.blocking_factor.record_len().min(self.limit);
        let (verdict, detail) = if !self.raw.fill {
            (Verdict::Skipped, "--fill writes the tape full".into())
        } else {
            match make().and_then(|tape| fill(tape, record_len, CAPACITY_MAX)) {
                Ok(Capacity { len, early_warning }) => {
                    report.capacity = Some(len);
                    report.early_warning = Some(early_warning);
                    (Verdict::Passed, format!("{}, early warning {} before", size(len), size(early_warning)))
                }
                Err(what) => (Verdict::Failed, what),
            }
        };
        let name = "the end of the medium is told in time, and all before it stays";
        self.tell(report, Finding { area: "end", name, verdict, detail })
    }

    /// Last, since the cartridge is out of the drive then.
    fn unload(&self, report: &mut Report) -> Result<(), CliError> {
        if !self.ejects {
            return Ok(());
        }
        let (verdict, detail) = if !self.raw.eject {
            (Verdict::Skipped, "--eject ejects the cartridge".into())
        } else {
            match (self.make)(false).and_then(|mut tape| tape.unload()) {
                Ok(()) => (Verdict::Passed, String::new()),
                Err(error) => (Verdict::Failed, error.to_string()),
            }
        };
        self.tell(report, Finding { area: Area::Unloading.name(), name: "it unloads", verdict, detail })
    }

    fn end(&self, report: &Report) -> Result<Ended, CliError> {
        let count = |verdict| report.checks.iter().filter(|finding| finding.verdict == verdict).count();
        let (passed, failed, skipped) =
            (count(Verdict::Passed), count(Verdict::Failed), count(Verdict::Skipped));
        if self.raw.json {
            print_json(report)?;
        } else {
            let soft_errors = report.soft_errors;
            writeln!(
                io::stdout(),
                "{passed} passed, {failed} failed, {skipped} skipped; {soft_errors} errors that the drive corrected"
            )?;
        }
        Ok(if failed == 0 { Ended::Done } else { Ended::Incomplete })
    }
}
