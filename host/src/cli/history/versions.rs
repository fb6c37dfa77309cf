//! What a path was in all dumps of a tree, one after the other.

use crate::cli::history::chain::{Below, Forest};
use crate::cli::history::points::Way;
use crate::cli::history::recorded::RecordedDump;
use tapedump_core::catalog::ObjectRow;
use tapedump_core::units::Timestamp;

/// The ways to all dumps of a tree that can be restored, by date, and why the others cannot.
pub fn ways<'r>(forest: &Forest<'r>) -> (Vec<Way<'r>>, Vec<(&'r RecordedDump, &'static str)>) {
    let (mut ways, mut left_out) = (Vec::new(), Vec::new());
    for (index, node) in forest.nodes.iter().enumerate() {
        let mut dumps = vec![node.recorded];
        let mut at = index;
        let whole = loop {
            match forest.nodes[at].below {
                Below::Ground => break true,
                Below::Missing(_) => break false,
                // Levels descend, so this comes to an end.
                Below::Dump(base) => at = base,
            }
            dumps.push(forest.nodes[at].recorded);
        };
        if !node.recorded.dump.outcome.is_usable() {
            left_out.push((node.recorded, "it failed"));
        } else if whole {
            dumps.reverse();
            ways.push(Way { tree: forest.tree, dumps });
        } else {
            left_out.push((node.recorded, "a dump that it is based on is missing"));
        }
    }
    (ways, left_out)
}

/// What a path is as of a dump.
#[derive(Clone, Debug)]
pub enum What<'r> {
    /// An object, and the dump that holds it.
    Held { by: &'r RecordedDump, row: ObjectRow },
    /// Something that was in use, and that no dump holds: it could not be read.
    Unheld,
    /// It is not there any more.
    Gone,
}

/// A version of a path.
#[derive(Clone, Debug)]
pub struct Version<'r> {
    /// The first dump that shows it.
    pub at: &'r RecordedDump,
    pub what: What<'r>,
}

/// The versions of one path.
#[derive(Clone, Debug, Default)]
pub struct Track<'r> {
    pub versions: Vec<Version<'r>>,
    /// The last point that showed the path, counted from 1.
    seen: usize,
}

/// What tells whether an object is the same one, unchanged.
type Sameness = (u64, bool, u16, u64, Timestamp, Timestamp);

fn sameness(row: &ObjectRow) -> Sameness {
    let number = row.real_ino.unwrap_or(row.ino.0.into());
    // A directory's size is that of its file system's blocks, and says nothing.
    let size = if row.is_directory { 0 } else { row.size };
    (number, row.is_directory, row.permissions, size, row.modified, row.changed)
}

impl<'r> Track<'r> {
    /// What the path is as of the dump `at`, the `point`th of all, counted from 1. What is as before is not repeated.
    pub fn see(&mut self, point: usize, at: &'r RecordedDump, what: What<'r>) {
        self.seen = point;
        let same = match (self.versions.last().map(|version| &version.what), &what) {
            (Some(What::Held { by: before_by, row: before }), What::Held { by, row }) => {
                before_by.dump.id == by.dump.id && before.ino == row.ino || sameness(before) == sameness(row)
            }
            (Some(What::Unheld), What::Unheld) => true,
            (Some(What::Gone), What::Gone) => true,
            (None, What::Gone) => true,
            _ => false,
        };
        if !same {
            self.versions.push(Version { at, what });
        }
    }

    /// All that is there as of the dump `at` was seen: what was not is gone.
    pub fn end_point(&mut self, point: usize, at: &'r RecordedDump) {
        if self.seen != point {
            self.see(point, at, What::Gone);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::history::chain::tests::documented;
    use crate::cli::history::recorded::{Recordings, tests::recorded};
    use tapedump_core::device::volume::Kind;
    use tapedump_core::units::Ino;

    #[test]
    fn each_dump_has_its_way() {
        let recordings = documented();
        let forest = Forest::of(&recordings, &recordings.trees[0]);
        let (ways, left_out) = ways(&forest);
        let numbers: Vec<Vec<u8>> =
            ways.iter().map(|way| way.dumps.iter().map(|dump| dump.dump.id.0[0]).collect()).collect();
        let expected: [&[u8]; 6] = [&[1], &[1, 2], &[1, 2, 3], &[1, 4], &[1, 4, 5], &[1, 4, 5, 6]];
        assert_eq!(numbers, expected);
        assert_eq!(left_out.len(), 1);
        let mut failed = recorded("home", 1, 0, None);
        failed.dump.outcome = tapedump_core::chain::Outcome::Failed;
        let recordings = Recordings::of(vec![failed], Vec::new());
        assert!(super::ways(&Forest::of(&recordings, &recordings.trees[0])).0.is_empty());
    }

    #[test]
    fn what_is_as_before_is_not_repeated() {
        let dumps: Vec<RecordedDump> = (1..=6).map(|number| recorded("home", number, 0, None)).collect();
        let row = |size| ObjectRow { size, ..ObjectRow::new(Ino(7), Kind::File) };
        let mut track = Track::default();
        let mut see = |point: usize, what| {
            if let Some(what) = what {
                track.see(point, &dumps[point - 1], what);
            }
            track.end_point(point, &dumps[point - 1]);
        };
        see(1, Some(What::Held { by: &dumps[0], row: row(1) }));
        // A further baseline holds it again.
        see(2, Some(What::Held { by: &dumps[1], row: row(1) }));
        see(3, Some(What::Held { by: &dumps[2], row: row(2) }));
        see(4, None);
        see(5, None);
        see(6, Some(What::Held { by: &dumps[5], row: row(2) }));
        let told: Vec<(u8, bool)> = track
            .versions
            .iter()
            .map(|version| (version.at.dump.id.0[0], matches!(version.what, What::Gone)))
            .collect();
        assert_eq!(told, [(1, false), (3, false), (4, true), (6, false)]);
    }
}
