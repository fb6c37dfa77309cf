//! What is told of the LUNs of a restore.

use crate::cli::progress::count;
use crate::text::printable_path;
use crate::volume::target::{Report, Restrictions};
use std::path::Path;
use tapedump_core::device::volume::TargetCapabilities;
use tapedump_core::record::lun::LunState;

/// LUNs that are named; more are counted.
const NAMED_MAX: usize = 100;

/// After a restore that came to its end. `false`: some LUN is not what it should be.
pub fn report(report: &Report, capabilities: &TargetCapabilities) -> bool {
    let Report { restored, as_files, doubled, unaligned } = report;
    if !restored.is_empty() {
        eprintln!(
            "{} of these: clients may use them again, and hosts must drop what they have cached of them:",
            count(restored.len() as u64, "LUN")
        );
        names(restored.iter().map(|(path, _)| path.as_path()));
    }
    if !doubled.is_empty() {
        eprintln!(
            "tapedump: another LUN beside these has the same serial, and hosts take both for one disk; give one of them its own with \
             tapedump lun set --serial new:"
        );
        names(doubled.iter().map(AsRef::as_ref));
    }
    if *as_files > 0 {
        let luns = count(*as_files, "LUN");
        let why = if capabilities.older_release {
            "the target is of an older release"
        } else if !capabilities.luns {
            "the target holds no LUNs"
        } else {
            "only the root of a volume or a qtree holds LUNs, where the file system has extended attributes of root's"
        };
        eprintln!("{luns} of these restored as plain files: {why}");
    }
    if *unaligned > 0 {
        eprintln!(
            "{} lost the alignment for virtual machines: the volume has none",
            count(*unaligned, "file")
        );
    }
    let bad = restored.iter().filter(|(_, state)| *state == LunState::Inconsistent);
    let bad: Vec<&Path> = bad.map(|(path, _)| path.as_path()).collect();
    if bad.is_empty() {
        return true;
    }
    eprintln!("tapedump: inconsistent, since not all of their data could be restored:");
    names(bad.into_iter());
    false
}

/// After a restore that did not come to its end.
pub fn tell_left(restrictions: &Restrictions, capabilities: &TargetCapabilities) {
    restrictions.end_early();
    // Nothing of this is a LUN that clients may use again.
    report(&restrictions.report(), capabilities);
    let left = restrictions.left();
    if left.is_empty() {
        return;
    }
    eprintln!(
        "tapedump: still restricted, so that no client takes them for whole; restore them again, or free them with tapedump lun \
         set --state online:"
    );
    names(left.iter().map(AsRef::as_ref));
}

fn names<'p>(paths: impl ExactSizeIterator<Item = &'p Path>) {
    let len = paths.len();
    paths.take(NAMED_MAX).for_each(|path| eprintln!("    {}", printable_path(path)));
    if len > NAMED_MAX {
        eprintln!("    and {} more", len - NAMED_MAX);
    }
}
