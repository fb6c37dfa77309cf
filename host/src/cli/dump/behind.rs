//! The catalog behind the dump on its tape: the next tape file, so that the tape explains itself.

use super::super::interrupt::Interrupt;
use super::plan::Plan;
use crate::checksum::HostCrc32c;
use crate::cli::increments::UsedTape;
use crate::state::StateDir;
use crate::state::catalogs;
use crate::state::scratch::ScratchDevice;
use crate::tape::copied::Copied;
use crate::tape::{Tape, TapeError, TapeSpec};
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tapedump_core::chain::Release;
use tapedump_core::device::tape::TapeDevice;
use tapedump_core::engine::catalog_file::{
    CatalogFileWriter, CatalogWriteError, CatalogWriteStep, seal_archive,
};
use tapedump_core::engine::dump::DumpSummary;
use tapedump_core::record::catalog_file::CatalogFileHead;
use tapedump_core::units::{BlockAddr, Ino, TAPE_BLOCK_LEN, Timestamp};

/// How much of the dump is kept for its catalog: known when the first object comes that is no directory.
pub struct Beginning {
    limit: Arc<AtomicU64>,
}

impl Beginning {
    /// The tape for the engine; its beginning is kept, if there is to be a catalog behind the dump.
    pub fn keep(plan: &Plan, state: &StateDir, tape: Box<dyn Tape>) -> (Self, Copied) {
        let limit = Arc::new(AtomicU64::new(u64::MAX));
        let wanted = wants_catalog(plan);
        // A scratch directory that cannot be used has failed the dump by now.
        let file = wanted.then(|| state.scratch_file().ok()).flatten();
        let copied = match file {
            Some(file) => Copied::to(tape, file, Arc::clone(&limit)),
            None => Copied::nothing(tape),
        };
        (Self { limit }, copied)
    }

    /// As [`keep`](Self::keep), for a dump that goes on: `copied` has its first blocks, of which there are so many bytes.
    pub fn keep_again(
        plan: &Plan,
        tape: Box<dyn Tape>,
        files_from: Option<BlockAddr>,
        copied: Option<(File, u64)>,
    ) -> (Self, Copied) {
        let beginning = Self { limit: Arc::new(AtomicU64::new(u64::MAX)) };
        if let Some(first) = files_from {
            beginning.ends(first);
        }
        let copied = match copied {
            Some((file, len)) if wants_catalog(plan) => {
                Copied::to(tape, file, Arc::clone(&beginning.limit)).from(len)
            }
            _ => Copied::nothing(tape),
        };
        (beginning, copied)
    }

    /// The first block that is no directory's, as far as that is known.
    pub fn files_from(&self) -> Option<BlockAddr> {
        let limit = self.limit.load(Ordering::Relaxed);
        (limit != u64::MAX).then(|| BlockAddr(limit / TAPE_BLOCK_LEN as u64 - 1))
    }

    /// The dump's block `first` is the first one that is no directory's; it says how the last one ended.
    pub fn ends(&self, first: BlockAddr) {
        self.limit.store(first.byte_offset().saturating_add(TAPE_BLOCK_LEN as u64), Ordering::Relaxed);
    }

    /// Blocks of the dump before that one.
    fn blocks(&self) -> u64 {
        self.limit.load(Ordering::Relaxed) / TAPE_BLOCK_LEN as u64 - 1
    }
}

/// Whether there is to be a catalog behind the dump.
pub fn wants_catalog(plan: &Plan) -> bool {
    plan.catalog && takes_catalog(&plan.tape)
}

/// A plain file has one tape file only.
const fn takes_catalog(spec: &TapeSpec) -> bool {
    matches!(spec, TapeSpec::Virtual(_) | TapeSpec::Drive(_))
}

/// What is written behind the dump.
pub struct Behind<'a> {
    pub plan: &'a Plan,
    pub state: &'a StateDir,
    pub beginning: &'a Beginning,
    pub summary: &'a DumpSummary,
    /// The dump's last tape.
    pub last: Option<&'a UsedTape>,
    pub ino_limit: Ino,
    pub is_dense: bool,
    /// Length of the catalog.
    pub len: u64,
}

impl Behind<'_> {
    /// Writes the catalog behind the dump, and gives its tape file. Without it the dump is good all the same.
    pub fn write(
        &self,
        tape: &mut Box<dyn Tape>,
        copy: io::Result<File>,
        interrupt: &Interrupt,
    ) -> Option<u32> {
        if !self.last.is_none_or(|tape| takes_catalog(&tape.spec)) {
            return None;
        }
        let at = tape.position();
        let written = match (copy, &at) {
            (Ok(file), Ok(_)) => self.try_write(tape, file, interrupt),
            (Err(error), _) if error.kind() == io::ErrorKind::Unsupported => Err(error.to_string()),
            (Err(error), _) => Err(format!("the scratch file in the state directory failed: {error}")),
            (_, Err(error)) => Err(error.to_string()),
        };
        let why = match written {
            Ok(()) => return at.ok().map(|at| at.file),
            Err(why) => why,
        };
        eprintln!(
            "tapedump: the dump is whole, but its catalog is not behind it on the tape: {why}; it is in the state directory, \
             and can be made again from the dump with: tapedump catalog rebuild --scan"
        );
        // What there is of it is no catalog; without it, there is room for something else.
        if let Ok(at) = at {
            let cut = tape.locate(at).or_else(|_| tape.locate(at)).and_then(|_| tape.write_filemark());
            if let Err(error) = cut {
                eprintln!(
                    "tapedump: {}: what there is of the catalog could not be removed: {error}",
                    self.last.map_or(&self.plan.tape, |tape| &tape.spec)
                );
            }
        }
        None
    }

    fn head(&self, archive_blocks: u64) -> CatalogFileHead<'_> {
        let (plan, tree) = (self.plan, &self.plan.base.tree);
        let base = plan.base.dump;
        let Release { major, minor, patch } = Release::CURRENT;
        CatalogFileHead {
            dump: plan.identity.id,
            base: base.map(|base| base.id),
            volume: tree.volume,
            level: plan.identity.level,
            date: plan.date,
            base_date: base.map_or_else(Timestamp::default, |base| base.date),
            archive_blocks,
            pages: self.len / TAPE_BLOCK_LEN as u64,
            blocks: self.summary.blocks,
            objects: self.summary.directories + self.summary.others,
            skipped: self.summary.incomplete,
            ino_limit: self.ino_limit,
            is_dense: self.is_dense,
            file: self.last.map_or(0, |tape| tape.begin.file),
            blocking: plan.blocking,
            release: [major, minor, patch],
            path: Some(&tree.path),
            volume_name: &tree.name,
        }
    }

    fn try_write(
        &self,
        tape: &mut Box<dyn Tape>,
        archive: File,
        interrupt: &Interrupt,
    ) -> Result<(), String> {
        let mut archive = ScratchDevice::new(archive);
        let blocks = match seal_archive::<_, HostCrc32c>(&mut archive, self.beginning.blocks()) {
            Ok(blocks) => blocks,
            Err(CatalogWriteError::Archive(error)) => return Err(error.to_string()),
            Err(_) => return Err("the beginning of the dump is not as it was written".into()),
        };
        let catalog =
            catalogs::device(self.state, self.plan.identity.id).map_err(|error| error.to_string())?;
        let head = self.head(blocks);
        let mut record = vec![0; self.plan.blocking.record_len()];
        let mut writer =
            CatalogFileWriter::<_, _, _, HostCrc32c>::new(tape, archive, catalog, 0, &head, &mut record)
                .map_err(|error| explain(&error))?;
        loop {
            if interrupt.is_set() {
                return Err(interrupt.cause().to_string());
            }
            match writer.step().map_err(|error| explain(&error))? {
                CatalogWriteStep::Working => {}
                CatalogWriteStep::Done => return Ok(()),
            }
        }
    }
}

fn explain<A, D>(error: &CatalogWriteError<TapeError, A, D>) -> String
where
    A: std::fmt::Display,
    D: std::fmt::Display,
{
    match error {
        CatalogWriteError::EndOfMedium => "the tape is full".into(),
        CatalogWriteError::Tape(error) if error.is_end_of_medium() => "the tape is full".into(),
        CatalogWriteError::Tape(error) => error.to_string(),
        CatalogWriteError::Archive(error) => error.to_string(),
        CatalogWriteError::Catalog(error) => error.to_string(),
        _ => "there is too little memory for a tape record".into(),
    }
}
