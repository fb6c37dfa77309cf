//! Keeping a dump restartable while it runs (R-RESTART): its context is stored again and again, as often as costs little.

use super::behind::Beginning;
use super::image::Taken;
use super::output::UsedTapes;
use super::plan::{Plan, now};
use super::{Engine, FailedDump};
use crate::checksum::HostCrc32c;
use crate::cli::increments::{UsedTape, place_of};
use crate::state::StateDir;
use crate::state::catalogs;
use crate::state::contexts::{self, Bytes, ContextFile, Request, TapeUsed};
use crate::tape::TapeSpec;
use crate::volume::source::LinuxSource;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::time::{Duration, Instant};
use tapedump_core::checksum::Crc32c;
use tapedump_core::context::{BackupStatus, ContextRecord, ContextState};
use tapedump_core::device::tape::TapePosition;
use tapedump_core::units::TapeNo;

/// Of the dump's time, what keeping it restartable takes at most: one part in so many.
const SHARE: u32 = 100;

/// The context of the dump that runs.
pub struct Keeper {
    state: StateDir,
    /// There from the first time on.
    file: Option<ContextFile>,
    pub record: ContextRecord,
    request: Request,
    used: UsedTapes,
    /// At least this long between two times.
    interval: Duration,
    /// The last time: when it was done, and how long it took. `None`: nothing is stored yet.
    last: Option<(Instant, Duration)>,
    /// Why the dump cannot be restarted any more.
    lost: Option<String>,
}

/// Why a dump is not restartable from the beginning (R-RESTART-1).
pub fn obstacle(plan: &Plan, taken: &Taken<'_>, can_position: bool) -> Option<&'static str> {
    if taken.snapshot().is_none() {
        return Some("it reads the tree itself, without a snapshot");
    }
    if !can_position || !matches!(plan.tape, TapeSpec::Virtual(_) | TapeSpec::File(_) | TapeSpec::Drive(_)) {
        return Some("what it writes to cannot be gone back on");
    }
    None
}

/// A checksum of where other volumes are in the tree: with others, objects would have other numbers, or be others.
pub fn junctions(source: &LinuxSource) -> u32 {
    source
        .mount_points()
        .iter()
        .fold(0, |sum, path| HostCrc32c::update(HostCrc32c::update(sum, path.as_os_str().as_bytes()), &[0]))
}

impl Keeper {
    /// Makes the context of a new dump. Nothing is stored yet.
    pub fn begin(
        plan: &Plan,
        state: &StateDir,
        taken: &Taken<'_>,
        source: &LinuxSource,
        used: UsedTapes,
    ) -> Self {
        let begin = used.present().map_or_else(TapePosition::default, |tape| tape.begin);
        let record = ContextRecord {
            identity: plan.identity,
            blocking: plan.blocking,
            volume: plan.base.tree.volume,
            begin,
            updated: now(),
            snapshot_is_own: taken.snapshot().is_some_and(|(_, _, is_own)| is_own),
            has_offset_map: true,
            offset_verify: true,
            restartable: true,
            restart_pass: 0,
            status: BackupStatus::Unfinished,
            state: ContextState::Dumping,
        };
        let request = Request {
            arguments: std::env::args_os().map(|argument| Bytes(argument.into_vec())).collect(),
            label: plan.label_text.clone(),
            snapshot: taken.snapshot().map(|(name, ..)| Bytes(name.bytes().to_vec())),
            image: taken.snapshot().map_or_else(Bytes::default, |(_, image, _)| Bytes(image)),
            junctions: junctions(source),
            left_out: plan.excluded.top_level.iter().map(|name| Bytes(name.clone())).collect(),
            base: plan.base.dump.map(|base| base.id.to_string()),
            nanos: plan.date.nanos,
            owner: String::from_utf8_lossy(rustix::system::uname().nodename().to_bytes()).into_owned(),
            volume_name: Bytes(plan.base.tree.name.clone()),
            path: Bytes(std::path::absolute(&plan.tree).unwrap_or_default().as_os_str().as_bytes().to_vec()),
            ..Request::new()
        };
        let interval = plan.context_interval;
        Self { state: state.clone(), file: None, record, request, used, interval, last: None, lost: None }
    }

    /// The context of a dump that goes on.
    pub fn again(
        state: &StateDir,
        file: ContextFile,
        mut record: ContextRecord,
        request: Request,
        used: UsedTapes,
        interval: Duration,
    ) -> Self {
        record.restart_pass = record.restart_pass.saturating_add(1);
        (record.status, record.state) = (BackupStatus::Unfinished, ContextState::Dumping);
        let last = Some((Instant::now(), Duration::ZERO));
        Self { state: state.clone(), file: Some(file), record, request, used, interval, last, lost: None }
    }

    /// Stores how to go on from here, if it is time.
    pub fn keep(&mut self, engine: &mut Engine<'_>, beginning: &Beginning) -> Result<(), FailedDump> {
        let is_due = self.last.is_none_or(|(at, took)| {
            self.interval.is_zero() || at.elapsed() >= self.interval.max(took * SHARE)
        });
        if is_due && self.lost.is_none() { self.store(engine, beginning) } else { Ok(()) }
    }

    /// Stores how to go on from here, if it can be told here.
    pub fn store(&mut self, engine: &mut Engine<'_>, beginning: &Beginning) -> Result<(), FailedDump> {
        let begun = Instant::now();
        let Some(state) = engine.suspend()? else { return Ok(()) };
        let catalog = match engine.catalog_mut() {
            Ok(Some(catalog)) => catalog.suspend().map_err(|error| catalogs::text(&error)),
            _ => Err("the dump has no catalog".into()),
        };
        let stored = catalog.and_then(|catalog| {
            self.record.updated = now();
            self.note_tapes(state.tape());
            self.request.files_from = beginning.files_from().map(|block| block.0);
            let (record, held) = (self.record.to_bytes(), engine.held());
            let request = serde_json::to_vec(&self.request).map_err(|error| error.to_string())?;
            let parts = [
                &record,
                &request[..],
                state.bytes(),
                catalog.bytes(),
                held.rest,
                held.in_use,
                held.pending,
                held.known,
            ];
            if self.file.is_none() {
                let (id, record_len) = (self.record.identity.id, self.record.blocking.record_len());
                let file = ContextFile::create(&self.state, id, held.in_use.len(), record_len);
                self.file = Some(file.map_err(|error| error.to_string())?);
            }
            self.file.as_mut().map_or(Ok(()), |file| file.store(&parts)).map_err(|error| error.to_string())
        });
        match stored {
            Ok(()) => self.last = Some((Instant::now(), begun.elapsed())),
            Err(why) => {
                eprintln!("tapedump: should the dump end early, it cannot be restarted: {why}");
                self.lost = Some(why);
            }
        }
        Ok(())
    }

    /// The dump goes on on that tape.
    fn note_tapes(&mut self, present: TapeNo) {
        let used = self.used.all();
        let used = used.get(..present.0 as usize).unwrap_or(&used);
        if let Some(tape) = used.last() {
            self.record.begin = tape.begin;
        }
        let tape = |tape: &UsedTape| TapeUsed {
            path: Bytes(place_of(&tape.spec).unwrap_or_default().into_os_string().into_vec()),
            file: tape.begin.file,
            first: tape.first.0,
        };
        self.request.tapes = used.iter().map(tape).collect();
    }

    /// The dump ended early. Gives why it cannot be restarted, if it cannot.
    pub fn end_early(mut self, failure: &FailedDump) -> Result<(), String> {
        if let Some(why) = self.lost {
            return Err(why);
        }
        if self.last.is_none() {
            return Err("nothing of it was on the tape".into());
        }
        if let Some(why) = failure.obstacle() {
            return Err(why.into());
        }
        self.record.status = failure.status();
        self.record.state = ContextState::Ended;
        let Some(file) = &mut self.file else { return Ok(()) };
        file.set_record(&self.record).map_err(|error| error.to_string())
    }

    /// The dump is whole, and recorded.
    pub fn end(self) {
        // In this order: a context without its catalog would be of no use.
        let id = self.record.identity.id;
        if let Err(error) = contexts::end(&self.state, id) {
            eprintln!(
                "tapedump: the context of the dump could not be removed: {error}; delete it with: tapedump context delete {id}"
            );
        }
        // Best effort: it is of no use to anybody any more.
        _ = catalogs::forget_suspended(&self.state, id);
    }
}
