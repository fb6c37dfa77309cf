//! All dumps that the history knows, in memory: what the commands that look at it work on.

use crate::cli::exit::{CliError, Ended};
use crate::cli::increments::TapeAt;
use crate::cli::progress::count;
use crate::state::StateDir;
use crate::state::history::{DumpFolder, HistoryFile};
use crate::text::printable;
use std::ffi::OsStr;
use std::path::PathBuf;
use tapedump_core::chain::history::{DamagedPages, HistoryError};
use tapedump_core::chain::{Dump, Outcome, Recorded, Tape};
use tapedump_core::units::{DumpId, TAPE_BLOCK_LEN, VolumeId};

/// Digits of an identity that are shown at least, where fewer would do.
const SHORT_MIN: usize = 8;

/// What the history and the folder beside it know of a dump.
#[derive(Clone, Debug)]
pub struct RecordedDump {
    pub dump: Dump,
    pub volume: VolumeId,
    pub volume_name: Vec<u8>,
    /// Of the tree within its volume.
    pub path: Vec<u8>,
    pub blocks: u64,
    pub objects: u32,
    pub tapes: Vec<Tape>,
    /// Where it was written: a path for each tape, or `-`; nothing: that is not known any more.
    pub places: Vec<PathBuf>,
}

/// A tree that was dumped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DumpedTree {
    pub volume: VolumeId,
    pub path: Vec<u8>,
    /// What it is called for people, and for `--of`. No two trees of a history are called the same.
    pub label: String,
}

/// The dumps of a history.
#[derive(Clone, Debug, Default)]
pub struct Recordings {
    /// By date, the newest last.
    pub dumps: Vec<RecordedDump>,
    pub trees: Vec<DumpedTree>,
    pub damaged: Vec<DamagedPages>,
    short: usize,
}

impl RecordedDump {
    /// Bytes on tape.
    pub fn len(&self) -> u64 {
        self.blocks.saturating_mul(TAPE_BLOCK_LEN as u64)
    }

    /// Number of its tape file.
    pub fn file(&self) -> Option<u32> {
        self.tapes.first().map(Tape::file)
    }

    pub fn outcome(&self) -> String {
        match self.dump.outcome {
            Outcome::Good => "good".into(),
            Outcome::Incomplete { skipped } => format!("incomplete: {skipped} skipped"),
            Outcome::Failed => "failed".into(),
        }
    }

    /// The tape, as a user names it; one of the library by its name. Of several the first, and how many follow.
    pub fn tape(&self, state: &StateDir) -> String {
        let first = match self.places.first() {
            Some(place) if place == OsStr::new("-") => "(pipe)".into(),
            Some(place) => {
                let within = place.strip_prefix(state.library().dir()).unwrap_or(place);
                printable(within.as_os_str().as_encoded_bytes())
            }
            // The folder of the dump is gone; the history has the last name of the path.
            None => self.tapes.first().map_or_else(String::new, |tape| printable(tape.label())),
        };
        match self.tapes.len().saturating_sub(1) {
            0 => first,
            further => format!("{first} (+{further})"),
        }
    }

    /// Its tapes, and the tape file on each; nothing: that is not known any more.
    pub fn tapes_at(&self) -> Vec<TapeAt> {
        let files = self.tapes.iter().map(Tape::file).chain(std::iter::repeat(0));
        self.places.iter().zip(files).map(|(path, file)| TapeAt { path: path.clone(), file }).collect()
    }

    fn is_of(&self, tree: &DumpedTree) -> bool {
        self.volume == tree.volume && self.path == tree.path
    }
}

impl Recordings {
    /// Reads the history. Where there is none, none is made.
    pub fn load(state: &StateDir) -> Result<Self, CliError> {
        if !state.root().join("history").exists() {
            return Ok(Self::default());
        }
        let mut history = HistoryFile::open(state).map_err(CliError::failed)?;
        let mut dumps = Vec::new();
        let damaged = history
            .with(|history, device| {
                let mut place = None;
                while let Some(next) = history.next_before(place) {
                    place = Some(next);
                    match history.entry(device, next) {
                        Ok(entry) => dumps.push(RecordedDump {
                            dump: entry.dump,
                            volume: entry.volume,
                            volume_name: entry.volume_name.to_vec(),
                            path: entry.path.to_vec(),
                            blocks: entry.blocks,
                            objects: entry.objects,
                            tapes: entry.tapes.to_vec(),
                            places: Vec::new(),
                        }),
                        // It is among the damaged ones then.
                        Err(HistoryError::Damaged { .. }) => {}
                        Err(error) => return Err(error),
                    }
                }
                Ok(history.damaged().collect())
            })
            .map_err(CliError::failed)?;
        for recorded in &mut dumps {
            recorded.places = DumpFolder::of(state, recorded.dump.id).tapes();
        }
        Ok(Self::of(dumps, damaged))
    }

    /// These dumps, in any order.
    pub fn of(mut dumps: Vec<RecordedDump>, damaged: Vec<DamagedPages>) -> Self {
        dumps.sort_by_key(|recorded| (recorded.dump.date, recorded.dump.order));
        let short = short_len(dumps.iter().map(|recorded| recorded.dump.id));
        let trees = trees_of(&dumps);
        Self { dumps, trees, damaged, short }
    }

    /// The dumps of a tree, the newest last.
    pub fn dumps_of(&self, tree: &DumpedTree) -> impl DoubleEndedIterator<Item = &RecordedDump> {
        self.dumps.iter().filter(move |recorded| recorded.is_of(tree))
    }

    /// The tree of a dump.
    pub fn tree_of(&self, recorded: &RecordedDump) -> Option<&DumpedTree> {
        self.trees.iter().find(|tree| recorded.is_of(tree))
    }

    /// As many digits of an identity as tell it from all others.
    pub fn short(&self, id: DumpId) -> String {
        let mut text = id.to_string();
        text.truncate(self.short);
        text
    }

    /// Tells on standard error what of the history is damaged.
    pub fn tell_damage(&self, state: &StateDir) -> Ended {
        for pages in &self.damaged {
            eprintln!(
                "tapedump: {}: {} from page {} on damaged: what dumps were recorded there is lost; their tapes can be \
                 restored by name, with --base for the dumps they are based on",
                printable(state.root().join("history").as_os_str().as_encoded_bytes()),
                count(pages.count.into(), "page"),
                pages.page
            );
        }
        if self.damaged.is_empty() { Ended::Done } else { Ended::Incomplete }
    }
}

/// The dumps of one tree as the rules of chains take them.
pub fn for_rules<'a>(dumps: impl Iterator<Item = &'a RecordedDump>) -> Vec<Recorded<'a>> {
    dumps.map(|recorded| Recorded { dump: recorded.dump, tapes: &recorded.tapes }).collect()
}

/// How many characters of the identities are needed so that no two look alike.
fn short_len(ids: impl Iterator<Item = DumpId>) -> usize {
    let mut ids: Vec<String> = ids.map(|id| id.to_string()).collect();
    ids.sort();
    ids.dedup();
    let alike = |pair: &[String]| {
        let [one, other] = pair else { return 0 };
        one.bytes().zip(other.bytes()).take_while(|(one, other)| one == other).count()
    };
    ids.windows(2).map(alike).max().map_or(SHORT_MIN, |alike| SHORT_MIN.max(alike + 1))
}

fn trees_of(dumps: &[RecordedDump]) -> Vec<DumpedTree> {
    let mut trees: Vec<DumpedTree> = Vec::new();
    // The name that the volume had last.
    for recorded in dumps.iter().rev() {
        if !trees.iter().any(|tree| recorded.is_of(tree)) {
            let label = label(&recorded.volume_name, &recorded.path);
            trees.push(DumpedTree { volume: recorded.volume, path: recorded.path.clone(), label });
        }
    }
    let labels: Vec<String> = trees.iter().map(|tree| tree.label.clone()).collect();
    for tree in &mut trees {
        if labels.iter().filter(|label| **label == tree.label).count() > 1 {
            tree.label = format!("{}@{}", tree.label, tree.volume);
        }
    }
    trees.sort_by(|one, other| one.label.cmp(&other.label));
    trees
}

fn label(volume_name: &[u8], path: &[u8]) -> String {
    match volume_name {
        [] => format!("/{}", printable(path)),
        name => format!("{}:/{}", printable(name), printable(path)),
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use tapedump_core::chain::{BaseRef, Maker, Numbering, Release, VolumeState};
    use tapedump_core::units::{BlockAddr, Ino, Level, Timestamp};

    /// A dump of the tree `path`: number, level, number of its base. Its date is its number in minutes.
    pub fn recorded(path: &str, number: u8, level: u32, base: Option<u8>) -> RecordedDump {
        let date = |number: u8| Timestamp { secs: 1_790_000_000 + 60 * i64::from(number), nanos: 7 };
        let id = |number: u8| DumpId([number; 16]);
        RecordedDump {
            dump: Dump {
                id: id(number),
                level: Level::new(level).unwrap(),
                date: date(number),
                order: number.into(),
                base: base.map(|base| BaseRef { id: Some(id(base)), date: date(base) }),
                outcome: Outcome::Good,
                numbering: Numbering::Real,
                ino_limit: Ino(9),
                maker: Maker::Tapedump { release: Release::CURRENT, format: 1 },
                state: VolumeState::default(),
            },
            volume: VolumeId([1; 16]),
            volume_name: b"/dev/sda1".to_vec(),
            path: path.as_bytes().to_vec(),
            blocks: 2048,
            objects: 12,
            tapes: vec![Tape::new([0; 16], b"weekly", number.into(), BlockAddr(0))],
            places: vec!["/tapes/weekly".into()],
        }
    }

    #[test]
    fn identities_are_as_short_as_they_can_be() {
        let id = |first: [u8; 6]| {
            let mut id = [0; 16];
            id[..6].copy_from_slice(&first);
            DumpId(id)
        };
        assert_eq!(short_len([].into_iter()), 8);
        assert_eq!(short_len([id([1; 6]), id([2; 6]), id([1; 6])].into_iter()), 8);
        // 11223344-5566: the dash counts, too.
        let alike = [id([0x11, 0x22, 0x33, 0x44, 0x55, 0x66]), id([0x11, 0x22, 0x33, 0x44, 0x55, 0x67])];
        assert_eq!(short_len(alike.into_iter()), 13);
        let recordings = Recordings::of(vec![recorded("home", 0xab, 0, None)], Vec::new());
        assert_eq!(recordings.short(DumpId([0xab; 16])), "abababab");
    }

    #[test]
    fn trees_of_the_same_name_are_told_apart() {
        let mut other = recorded("home", 2, 0, None);
        other.volume = VolumeId([2; 16]);
        let dumps = vec![recorded("home", 1, 0, None), other, recorded("srv", 3, 0, None)];
        let recordings = Recordings::of(dumps, Vec::new());
        let labels: Vec<&str> = recordings.trees.iter().map(|tree| tree.label.as_str()).collect();
        assert_eq!(labels[2], "/dev/sda1:/srv");
        assert!(labels[0].starts_with("/dev/sda1:/home@01010101-"), "{labels:?}");
        assert_ne!(labels[0], labels[1]);
        assert_eq!(recordings.dumps_of(&recordings.trees[1]).count(), 1);
    }
}
