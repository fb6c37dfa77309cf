//! What the user sees of work that takes time: a bar on a terminal, a few lines in a log. On standard error.

use super::journal::Journal;
use crate::state::backup_log::LogEvent;
use crate::text::size;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Steps between two looks at the clock: a step is short.
const STEPS_PER_LOOK: u32 = 64;
const REDRAW: Duration = Duration::from_millis(100);
/// A log gets a line this often while a stage goes on.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// How far the work is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progressed {
    /// Objects done.
    pub objects: u64,
    /// Bytes moved.
    pub bytes: u64,
}

/// See the module's head.
pub struct Progress {
    /// None: the output is a log.
    bar: Option<ProgressBar>,
    stage: String,
    total: u64,
    begin: Instant,
    last: Instant,
    steps: u32,
    /// Where it is noted, too.
    journal: Option<Journal>,
}

impl Progress {
    /// Progress on this process' standard error.
    pub fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
            bar.enable_steady_tick(REDRAW);
            bar
        });
        let now = Instant::now();
        Self { bar, stage: String::new(), total: 0, begin: now, last: now, steps: 0, journal: None }
    }

    /// Where it is noted.
    pub fn journal(&self) -> Option<Journal> {
        self.journal.clone()
    }

    /// The same, that leaves all but figures in the backup log.
    pub fn noted(journal: Option<Journal>) -> Self {
        let mut progress = Self::new();
        progress.journal = journal;
        progress
    }

    /// Something happened that is for the backup log only.
    pub fn note(&self, event: LogEvent, info: &str) {
        if let Some(journal) = &self.journal {
            journal.note(event, info);
        }
    }

    /// A stage begins, with so many objects in all; 0: not known.
    pub fn stage(&mut self, name: &str, total: u64) {
        self.stage = name.into();
        self.begin = Instant::now();
        self.last = self.begin;
        self.total = total;
        if let Some(journal) = &self.journal {
            journal.stage(name);
        }
        let Some(bar) = &self.bar else {
            eprintln!("{name}");
            return;
        };
        let template = if total == 0 {
            "{prefix} {spinner} {pos} objects, {msg} {elapsed}"
        } else {
            "{prefix} {wide_bar} {pos}/{len} objects, {msg} ETA {eta}"
        };
        // The templates are fixed; should one be wrong, the default style serves.
        bar.set_style(
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
        );
        bar.reset();
        if total != 0 {
            bar.set_length(total);
        }
        bar.set_prefix(self.stage.clone());
    }

    /// Called after each step of the work; `progressed` is asked only when something is to be shown.
    pub fn step(&mut self, progressed: impl FnOnce() -> Progressed) {
        self.steps += 1;
        if self.steps < STEPS_PER_LOOK {
            return;
        }
        self.steps = 0;
        let now = Instant::now();
        let due = if self.bar.is_some() { REDRAW } else { LOG_INTERVAL };
        if now.duration_since(self.last) < due {
            return;
        }
        self.last = now;
        let done = progressed();
        let rate = rate(done.bytes, now.duration_since(self.begin));
        match &self.bar {
            Some(bar) => {
                bar.set_message(format!("{}, {rate}", size(done.bytes)));
                bar.set_position(done.objects);
            }
            None if self.total == 0 => {
                eprintln!("{}: {} objects, {}, {rate}", self.stage, done.objects, size(done.bytes));
            }
            None => eprintln!(
                "{}: {} of {} objects, {}, {rate}",
                self.stage,
                done.objects,
                self.total,
                size(done.bytes)
            ),
        }
    }

    /// A line for the user that stays, such as the name of a file that could not be read.
    pub fn tell(&self, line: &str) {
        if let Some(journal) = &self.journal {
            journal.told(line);
        }
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{line}")),
            None => eprintln!("{line}"),
        }
    }

    /// Runs something that prints to standard output, without the bar in its way.
    pub fn print<R>(&self, print: impl FnOnce() -> R) -> R {
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    /// The work is over.
    pub fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.end();
    }
}

/// A number with what it counts, as in `1 file` and `2 files`. The plural is regular, `y` included.
pub fn count(number: u64, what: &str) -> String {
    match (number, what.strip_suffix('y')) {
        (1, _) => format!("1 {what}"),
        (_, Some(stem)) => format!("{number} {stem}ies"),
        (_, None) => format!("{number} {what}s"),
    }
}

/// Bytes per second for a person.
pub fn rate(bytes: u64, time: Duration) -> String {
    let seconds = time.as_secs_f64().max(0.001);
    format!("{}/s", size((bytes as f64 / seconds) as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plurals() {
        assert_eq!(count(1, "directory"), "1 directory");
        assert_eq!(count(0, "directory"), "0 directories");
        assert_eq!(count(2, "other object"), "2 other objects");
    }

    #[test]
    fn rates() {
        assert_eq!(rate(1 << 20, Duration::from_secs(2)), "512.0 KiB/s");
        assert_eq!(rate(0, Duration::ZERO), "0 B/s");
    }
}
