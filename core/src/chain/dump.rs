//! What is remembered of a dump.

use core::fmt;

use zerocopy::byteorder::{BE, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::limits::{DUMP_TAPES_MAX, NAME_LEN_MAX, TAPE_LABEL_LEN, TREE_PATH_LEN_MAX};
use crate::units::{BlockAddr, BlockingFactor, DumpId, Ino, Level, Timestamp, VolumeId};

/// A dump as far as the rules go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Dump {
    /// Its identity.
    pub id: DumpId,
    /// Its level.
    pub level: Level,
    /// When the snapshot was made that it shows.
    pub date: Timestamp,
    /// Order of recording, which decides between equal dates. The history gives it when it takes the dump up.
    pub order: u64,
    /// What it builds on; `None` for a baseline, and for nothing else.
    pub base: Option<BaseRef>,
    /// How it ended.
    pub outcome: Outcome,
    /// How its objects are numbered.
    pub numbering: Numbering,
    /// Above all its object numbers.
    pub ino_limit: Ino,
    /// What made it.
    pub maker: Maker,
    /// The volume at that time.
    pub state: VolumeState,
}

/// The base as the increment names it. Headers on tape have the whole seconds of its date only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct BaseRef {
    /// Its identity; `None` when all that is known of the increment is from its tape.
    pub id: Option<DumpId>,
    /// Its date, of which only the low 32 bits of the seconds count when there is no identity.
    pub date: Timestamp,
}

/// How a dump ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Outcome {
    /// Whole.
    Good,
    /// Whole but for objects that could not be dumped. They are named in the catalog, and an increment on this
    /// dump takes them up, whatever their times.
    Incomplete {
        /// Number of these objects; not 0.
        skipped: u32,
    },
    /// Not whole. It is no base, and no restore uses it.
    Failed,
}

impl Outcome {
    /// Whether a chain may contain the dump.
    #[must_use]
    pub const fn is_usable(self) -> bool {
        !matches!(self, Self::Failed)
    }

    /// Objects that an increment has to take up although nothing changed in them.
    #[must_use]
    pub const fn skipped(self) -> u32 {
        match self {
            Self::Incomplete { skipped } => skipped,
            Self::Good | Self::Failed => 0,
        }
    }
}

/// How the objects of a chain are numbered (`format.md` 7.4). It is decided by the baseline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Numbering {
    /// By the volume's own inode numbers.
    Real,
    /// Densely, by a map that is kept from dump to dump.
    Dense,
}

/// What made a dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Maker {
    /// This engine.
    Tapedump {
        /// Its release.
        release: Release,
        /// Version of the header extension.
        format: u8,
    },
    /// Another program. Such dumps build chains of their own, and no dump of ours builds on them: nothing is known of
    /// their volume, and their numbers are not ours.
    Foreign,
}

/// A release of this engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Release {
    /// Raised with what older releases cannot go on with.
    pub major: u16,
    /// Raised with what is new.
    pub minor: u16,
    /// Raised with what is mended.
    pub patch: u16,
}

impl Release {
    /// This one.
    pub const CURRENT: Self = Self {
        major: number(env!("CARGO_PKG_VERSION_MAJOR")),
        minor: number(env!("CARGO_PKG_VERSION_MINOR")),
        patch: number(env!("CARGO_PKG_VERSION_PATCH")),
    };
}

/// Evaluated when this is compiled, where a panic is an error of the compiler.
const fn number(text: &str) -> u16 {
    match u16::from_str_radix(text, 10) {
        Ok(number) => number,
        Err(_) => panic!("a number of the version is too large"),
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// What of a volume decides whether a base is still valid (R-CHAIN-7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct VolumeState {
    /// Whose it is.
    pub owner: OwnerId,
    /// Where it is.
    pub node: NodeId,
    /// Whether it can be written to.
    pub access: Access,
    /// How often its mirror was broken.
    pub mirror_breaks: u32,
    /// How often its mirror was resynchronized, or any other number that is a new one each time.
    pub mirror_resyncs: u32,
}

/// The owner of a volume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct OwnerId(pub [u8; 16]);

/// A place where volumes are: a node, or a machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct NodeId(pub [u8; 16]);

/// Access type of a volume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Access {
    /// It can be written to.
    #[default]
    ReadWrite,
    /// It can only be read.
    ReadOnly,
    /// It is the mirror of another volume, and can only be read.
    Mirror,
}

/// Identity of a tape, where it has one; zeros otherwise.
pub type TapeId = [u8; 16];

/// One tape of a dump, as it is stored.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
pub struct Tape {
    id: TapeId,
    first: U64<BE>,
    file: U32<BE>,
    label: [u8; TAPE_LABEL_LEN],
}

impl Tape {
    /// The tape of this identity and label, whose tape file `file` begins with the dump's block `first`. Of a label longer
    /// than [`TAPE_LABEL_LEN`] the end is cut off.
    #[must_use]
    pub fn new(id: TapeId, label: &[u8], file: u32, first: BlockAddr) -> Self {
        let mut padded = [0; TAPE_LABEL_LEN];
        padded.iter_mut().zip(label).for_each(|(to, from)| *to = *from);
        Self { id, first: first.0.into(), file: file.into(), label: padded }
    }

    /// Its identity; zeros when it has none.
    #[must_use]
    pub const fn id(&self) -> TapeId {
        self.id
    }

    /// What is written on it.
    #[must_use]
    pub fn label(&self) -> &[u8] {
        self.label.split(|byte| *byte == 0).next().unwrap_or_default()
    }

    /// Number of the tape file, from 0.
    #[must_use]
    pub fn file(&self) -> u32 {
        self.file.get()
    }

    /// Address of the first block of the dump in that tape file.
    #[must_use]
    pub fn first(&self) -> BlockAddr {
        BlockAddr(self.first.get())
    }
}

/// Where a catalog is kept; what the numbers mean is the owner's business.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct CatalogPlace {
    /// First byte.
    pub at: u64,
    /// Bytes.
    pub len: u64,
}

/// All that the history keeps of a dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// What the rules need.
    pub dump: Dump,
    /// The volume.
    pub volume: VolumeId,
    /// The volume's name when it was dumped, at most [`NAME_LEN_MAX`] bytes. It is for people; no rule uses it.
    pub volume_name: &'a [u8],
    /// Path of the tree within the volume, at most [`TREE_PATH_LEN_MAX`] bytes: names with `/` between, empty for
    /// the whole volume. Compared byte by byte.
    pub path: &'a [u8],
    /// Tape blocks per tape record.
    pub blocking: BlockingFactor,
    /// Tape blocks written.
    pub blocks: u64,
    /// Objects on tape.
    pub objects: u32,
    /// The catalog, while there is one.
    pub catalog: Option<CatalogPlace>,
    /// Tape file of the last tape that has the catalog, when there is one.
    pub catalog_file: Option<u32>,
    /// The tapes in order, at most [`DUMP_TAPES_MAX`]; none only where the dump failed.
    pub tapes: &'a [Tape],
}

/// Why an entry cannot be taken up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum EntryError {
    /// The path is longer than [`TREE_PATH_LEN_MAX`].
    PathTooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// The volume's name is longer than [`NAME_LEN_MAX`].
    NameTooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// There are more tapes than [`DUMP_TAPES_MAX`].
    TooManyTapes {
        /// Their number.
        count: usize,
    },
    /// The dump is usable, and on no tape.
    NoTape,
    /// A baseline with a base, or an increment without one.
    BaseAndLevel {
        /// The level.
        level: Level,
    },
    /// A time whose nanoseconds are a second or more.
    Nanoseconds {
        /// These nanoseconds.
        nanos: u32,
    },
    /// Incomplete, and nothing was skipped.
    NothingSkipped,
}

impl fmt::Display for EntryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PathTooLong { len } => {
                write!(f, "the path has {len} bytes, and {TREE_PATH_LEN_MAX} are possible")
            }
            Self::NameTooLong { len } => {
                write!(f, "the volume's name has {len} bytes, and {NAME_LEN_MAX} are possible")
            }
            Self::TooManyTapes { count } => {
                write!(f, "the dump is on {count} tapes, and {DUMP_TAPES_MAX} are possible")
            }
            Self::NoTape => f.write_str("the dump is on no tape"),
            Self::BaseAndLevel { level } if *level == Level::BASELINE => f.write_str("a baseline has a base"),
            Self::BaseAndLevel { level } => write!(f, "a dump of level {level} has no base"),
            Self::Nanoseconds { nanos } => write!(f, "a time has {nanos} nanoseconds"),
            Self::NothingSkipped => f.write_str("the dump is incomplete, and nothing was skipped"),
        }
    }
}

impl Entry<'_> {
    /// Whether the entry can be taken up.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), EntryError> {
        const SECOND: u32 = 1_000_000_000;
        let dump = &self.dump;
        let base_nanos = dump.base.map_or(0, |base| base.date.nanos);
        if self.path.len() > TREE_PATH_LEN_MAX {
            Err(EntryError::PathTooLong { len: self.path.len() })
        } else if self.volume_name.len() > NAME_LEN_MAX {
            Err(EntryError::NameTooLong { len: self.volume_name.len() })
        } else if self.tapes.len() > DUMP_TAPES_MAX {
            Err(EntryError::TooManyTapes { count: self.tapes.len() })
        } else if self.tapes.is_empty() && dump.outcome.is_usable() {
            Err(EntryError::NoTape)
        } else if dump.base.is_some() == (dump.level == Level::BASELINE) {
            Err(EntryError::BaseAndLevel { level: dump.level })
        } else if dump.date.nanos.max(base_nanos) >= SECOND {
            Err(EntryError::Nanoseconds { nanos: dump.date.nanos.max(base_nanos) })
        } else if dump.outcome == (Outcome::Incomplete { skipped: 0 }) {
            Err(EntryError::NothingSkipped)
        } else {
            Ok(())
        }
    }
}
