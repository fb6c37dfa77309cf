//! What a dump or restore leaves in the backup log. That the log cannot be written is told once, and ends nothing.

use super::exit::{CliError, Ended};
use super::json;
use crate::state::StateDir;
use crate::state::backup_log::{BackupLog, LogEvent, LogLine, LogType, identifier};
use crate::state::sessions::About;
use serde::Serialize;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};
use tapedump_core::session::Kind;

/// The log, as one dump or restore writes it.
#[derive(Clone, Debug)]
pub struct Journal {
    log: BackupLog,
    kind: LogType,
    identifier: String,
    has_failed: Arc<AtomicBool>,
}

impl Journal {
    pub fn of(state: &StateDir, about: &About) -> Self {
        let kind = if about.kind == Kind::Restore { LogType::Restore } else { LogType::Dump };
        let identifier = identifier(&about.path, std::process::id());
        Self { log: BackupLog::of(state), kind, identifier, has_failed: Arc::default() }
    }

    /// Something happened.
    pub fn note(&self, event: LogEvent, info: &str) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let secs = i64::try_from(now.as_secs()).unwrap_or(0);
        let Err(error) = self.log.write(self.kind, secs, &self.identifier, event, info) else {
            return;
        };
        if !self.has_failed.swap(true, Ordering::Relaxed) {
            eprintln!("tapedump: this is not in the backup log, which cannot be written: {error}");
        }
    }

    /// What was told to the user.
    pub fn told(&self, line: &str) {
        match line.strip_prefix("tapedump: ") {
            Some(error) => self.note(LogEvent::Error, error),
            None => self.note(LogEvent::Message, line),
        }
    }

    /// A stage begins, under the name that the user is told: `stage III: directories to tape`.
    pub fn stage(&self, name: &str) {
        let name = name.strip_prefix("stages ").or_else(|| name.strip_prefix("stage ")).unwrap_or(name);
        self.note(LogEvent::PhaseChange, name);
    }

    /// It has ended; what ended it early is noted.
    pub fn ends(&self, ended: Result<Ended, CliError>) -> Result<Ended, CliError> {
        if let Err(error) = &ended {
            self.note(LogEvent::Abort, &error.to_string());
        }
        ended
    }
}

/// A line as `--json` shows it.
#[derive(Serialize)]
struct LineJson<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    time: &'a str,
    identifier: &'a str,
    event: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    info: &'a str,
}

/// `tapedump log`: the lines there are, the oldest first.
pub fn run(as_json: bool) -> Result<Ended, CliError> {
    let mut out = io::stdout().lock();
    BackupLog::of(&StateDir::find()?).read(|line| {
        // What a full disk cut short is no line.
        let Some(parsed) = LogLine::parse(line) else { return Ok(()) };
        let LogLine { kind, time, identifier, event, info } = parsed;
        let shown = match as_json {
            true => json::text(&LineJson { kind, time, identifier, event, info })?,
            false => parsed.to_string(),
        };
        Ok::<_, CliError>(writeln!(out, "{shown}")?)
    })?;
    Ok(Ended::Done)
}
