//! Stages I and II: finding what is in the tree, and what of it changed.

use super::super::exit::CliError;
use super::super::increments::chain_of;
use super::super::interrupt::Interrupt;
use super::super::progress::Progress;
use super::image::Taken;
use super::plan::Plan;
use crate::checksum::HostCrc32c;
use crate::state::StateDir;
use crate::state::catalogs;
use crate::state::file_device::FileDevice;
use crate::state::history::{DumpFolder, Generation};
use crate::text::printable_path;
use crate::volume::VolumeError;
use crate::volume::place::place_of;
use crate::volume::source::{Earlier, EarlierNames, LinuxSource, SourceOptions};
use rustix::fs::{Mode, OFlags};
use std::io;
use std::path::Path;
use tapedump_core::catalog::View;
use tapedump_core::device::volume::TargetRoot;
use tapedump_core::units::{DumpId, Ino};

/// Other volumes in the tree that are named; more are counted.
const MOUNT_POINTS_NAMED: usize = 20;

/// A tree whose objects are known.
pub struct Opened {
    pub source: LinuxSource,
    /// The generation of the volume, if the next dump can ask what changed since.
    pub generation: Option<Generation>,
    /// It is neither a volume nor a qtree: stages I and II are two (R-SEL-2).
    pub is_subtree: bool,
}

/// Opens what was taken of the tree.
pub fn open_tree(
    plan: &Plan,
    state: &StateDir,
    taken: &Taken<'_>,
    interrupt: &Interrupt,
    progress: &mut Progress,
) -> Result<Opened, CliError> {
    let mut options = SourceOptions::new(state.scratch_dir()?);
    options.threads = plan.threads;
    options.interrupt = Some(interrupt.flag());
    options.base = plan.base.source.clone();
    options.frozen = taken.is_frozen;
    options.image = taken.image();
    options.excluded = plan.excluded.clone();
    options.ignore_ctime = plan.ignore_ctime;
    let is_all = plan.excluded.is_empty() && !plan.ignore_ctime;
    let failed = |error: VolumeError| match interrupt.is_set() {
        true => CliError::failed(format!("{}; nothing was written", interrupt.cause())),
        false => CliError::failed(error),
    };
    let is_subtree = is_subtree(&taken.path);
    let stages = if is_subtree { "stage I" } else { "stages I and II" };
    let source = match open_since(plan, state, taken, &options).map_err(failed)? {
        Some(source) => {
            progress.stage(&format!("{stages}: the volume tells what changed"), 0);
            source
        }
        None => {
            progress.stage(&format!("{stages}: finding files and directories"), 0);
            LinuxSource::open(&taken.path, options).map_err(failed)?
        }
    };
    plan.base.check_numbers(&plan.tree, &source)?;
    let mount_points = source.mount_points();
    for path in mount_points.iter().take(MOUNT_POINTS_NAMED) {
        progress.tell(&format!(
            "{}: another volume is here; it is not entered, and on the dump it is a link",
            printable_path(path)
        ));
    }
    if mount_points.len() > MOUNT_POINTS_NAMED {
        progress.tell(&format!("and {} further volumes", mount_points.len() - MOUNT_POINTS_NAMED));
    }
    // What was left out is no change that the volume would tell.
    let generation = taken.generation().filter(|_| mount_points.is_empty() && is_all);
    Ok(Opened { source, generation, is_subtree })
}

/// Whether a tree is a part of a volume that is no qtree. Of one that cannot be opened, opening it tells more.
fn is_subtree(tree: &Path) -> bool {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(tree, flags, Mode::empty())
        .is_ok_and(|tree| !matches!(place_of(&tree), TargetRoot::Volume | TargetRoot::Qtree))
}

/// Asks the volume what changed since the base. `None`: a walk must tell, since the volume cannot, or too little is known of
/// the base.
fn open_since(
    plan: &Plan,
    state: &StateDir,
    taken: &Taken<'_>,
    options: &SourceOptions,
) -> Result<Option<LinuxSource>, VolumeError> {
    let Some(base) = plan.base.dump.filter(|_| taken.is_whole_volume()) else { return Ok(None) };
    let base_generation = DumpFolder::of(state, base.id).generation();
    let Some((generation, in_use)) = base_generation.filter(|(earlier, _)| taken.comes_after(earlier)) else {
        return Ok(None);
    };
    let Ok(Some(chain)) = chain_of(state, base.id) else { return Ok(None) };
    let ids: Vec<DumpId> = chain.iter().rev().map(|placed| placed.id).collect();
    let mut memory = Vec::new();
    let Ok(mut chain) = catalogs::open_chain(state, &ids, &mut memory) else { return Ok(None) };
    let mut names = Names { view: View::new(&mut chain), failed: false };
    let mut earlier =
        Earlier { generation: generation.number.saturating_add(1), in_use: &in_use, names: &mut names };
    match LinuxSource::open_since(&taken.path, options.clone(), &mut earlier) {
        // A catalog that is of no use is no reason not to dump.
        Err(_) if names.failed => Ok(None),
        result => result,
    }
}

/// The names in the base's tree, out of the catalogs of its chain.
struct Names<'v, 'm> {
    view: View<'v, 'm, FileDevice, HostCrc32c>,
    failed: bool,
}

impl EarlierNames for Names<'_, '_> {
    fn objects_in(&mut self, directory: Ino, each: &mut dyn FnMut(Ino)) -> io::Result<()> {
        let mut all = || {
            let Some(mut cursor) = self.view.names_from(directory, b"")? else { return Ok(()) };
            while let Some(name) = self.view.next_name(&mut cursor)? {
                each(name.ino);
            }
            Ok(())
        };
        all().map_err(|error| {
            self.failed = true;
            io::Error::other(catalogs::text(&error))
        })
    }
}
