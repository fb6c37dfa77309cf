//! Writing a dump: stages I to V (R-SEL-2) as a step machine.
//!
//! ```text
//! map objects -> tape header, maps -> directories -> files -> attributes -> end, filemark
//!     I/II                                III          IV         V
//! ```
//!
//! Where a tape ends, the dump goes on on the next one ([`TapeDevice::next_tape`]).
//!
//! An increment (level above 0) holds what changed since its base, what its base does not hold rightly, and the
//! directories on the way there (R-CHAIN-4).
//!
//! The dump is whole only when [`DumpEvent::Done`] was given: by then the filemark behind its last record is durable.

mod body;
mod map;
mod output;
pub mod restart;
#[cfg(test)]
mod restart_tests;
#[cfg(test)]
mod tapes_tests;

use heapless::Deque;

use self::body::Body;
use crate::catalog::{CatalogSink, ObjectRow};
use crate::checksum::Crc32c;
use crate::device::tape::TapeDevice;
use crate::device::volume::{Class, Kind, PropertyKind, PropertyKinds, SourceVolume};
use crate::device::{DeviceError, ErrorKind};
use crate::record::header::{HeaderKind, HeaderTemplate};
use crate::record::holes::Holes;
use crate::record::map::{DumpMap, map_blocks};
use crate::stream::writer::{DumpIdentity, Writer};
use crate::units::{BlockAddr, BlockingFactor, Ino, Level, TapeNo};

/// What a dump is made as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct DumpOptions {
    /// Identity, time and level.
    pub identity: DumpIdentity,
    /// Tape blocks per record.
    pub blocking: BlockingFactor,
    /// Label, NUL-padded.
    pub label: [u8; 16],
}

/// Memory lent to a dump.
#[derive(Debug)]
pub struct DumpMemory<'m> {
    /// A tape block, and the tape records being filled: at least one; larger reads are made with more.
    pub stream: &'m mut [u8],
    /// Map of the objects in use: a bit for each number below [`SourceVolume::ino_limit`].
    pub in_use: &'m mut [u8],
    /// Map of the objects on the dump: as many.
    pub on_tape: &'m mut [u8],
    /// Map of the objects that a restore of the chain gives rightly: as many, or none for a baseline that no increment
    /// is to be based on. Of an increment it is, at first, what it was when the base was done, with zeros behind; with
    /// [`DumpEvent::Done`] it is this dump's, to be kept.
    pub known: &'m mut [u8],
}

/// Where a dump is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Stage {
    /// I and II: finding files and directories.
    Map,
    /// III: directories to tape.
    Directories,
    /// IV: files to tape.
    Files,
    /// V: attributes that travel apart from their objects.
    Attributes,
}

impl Stage {
    /// The stage's Roman number, as backup logs name it.
    #[must_use]
    pub const fn number(self) -> &'static str {
        match self {
            Self::Map => "I",
            Self::Directories => "III",
            Self::Files => "IV",
            Self::Attributes => "V",
        }
    }
}

/// Why third-party `restore` programs cannot read something that this engine can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum NotPortable {
    /// A name longer than 254 bytes in this directory.
    Name,
    /// A directory of 256 MiB or more.
    Directory,
}

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum DumpEvent {
    /// Some work, nothing to tell.
    Working,
    /// A stage begins.
    Stage(Stage),
    /// The object is not on the dump: it could not be opened, or it is a LUN or file that may not be dumped now (R-DATA-7:
    /// [`ErrorKind::Restricted`], [`ErrorKind::Inconsistent`]). The next increment takes it, whatever its times.
    Skipped {
        /// The object.
        ino: Ino,
        /// Why.
        error: ErrorKind,
    },
    /// The directory's entries (from some on) could not be read; what is in them is on the dump without a name.
    EntriesUnread {
        /// The directory.
        ino: Ino,
    },
    /// Data could not be read; the dump says so to the restore.
    DataUnread {
        /// The object.
        ino: Ino,
        /// First byte not read.
        from: u64,
        /// One more than the last.
        to: u64,
    },
    /// Some property of the object could not be read and is not (rightly) on the dump.
    PropertiesUnread {
        /// The object.
        ino: Ino,
    },
    /// An ACL of the object has more entries than a dump takes (R-DATA-3): it is not on the dump, and the object has its
    /// permission bits only. Told of the first one, where it has several.
    AclTooLong {
        /// The object.
        ino: Ino,
        /// Which ACL.
        kind: PropertyKind,
        /// Entries it has.
        entries: u32,
    },
    /// The object changed while it was read.
    Changed {
        /// The object.
        ino: Ino,
    },
    /// Third-party programs cannot read this; told once for each reason.
    NotPortable {
        /// The object.
        ino: Ino,
        /// Why.
        why: NotPortable,
    },
    /// The catalog can take nothing more, and there will be none; the dump goes on. [`Dump::into_parts`] gives the reason.
    CatalogLost,
    /// The dump is whole and durable on the tape.
    Done(DumpSummary),
}

/// How far a dump is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct DumpSummary {
    /// Directories that stage I found to be dumped.
    pub directories: u64,
    /// Objects that are no directories, and are to be dumped.
    pub others: u64,
    /// Objects of the volume that need not be dumped, since the chain has them.
    pub unchanged: u64,
    /// Objects handled in stages III and IV.
    pub handled: u64,
    /// Objects not on the dump, or not rightly.
    pub incomplete: u64,
    /// Bytes of file data read.
    pub data_len: u64,
    /// Tape blocks written so far.
    pub blocks: u64,
}

/// Why a dump ended early. Nothing of it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum DumpError<S, T> {
    /// The volume cannot be walked.
    Source(S),
    /// The tape failed.
    Tape {
        /// First block that is not on it.
        at: BlockAddr,
        /// Why.
        source: T,
    },
    /// The tape is full, and there is no further one ([`TapeDevice::next_tape`]).
    EndOfMedium {
        /// First block that is not on it.
        at: BlockAddr,
    },
    /// A map lent is too small.
    MapTooSmall {
        /// Bytes needed.
        needed: usize,
    },
    /// The stream memory lent is too small.
    StreamTooSmall {
        /// Bytes needed.
        needed: usize,
    },
    /// The tape takes no records this long.
    RecordTooLong {
        /// Longest record it takes.
        limit: usize,
    },
    /// What was stored to go on from is not of this dump, or the object it stopped in is not what it was: this is another
    /// image of the volume.
    NotThisDump,
    /// `step` was called after the end.
    Over,
}

enum State {
    Begin,
    Map {
        at: u32,
    },
    /// Dumping the directories above what is dumped: of those from `from` on; `above` is between two steps.
    Parents {
        from: Ino,
        above: Option<Ino>,
    },
    Header,
    InUseMap {
        block: Option<u32>,
    },
    OnTapeMap {
        block: Option<u32>,
    },
    Objects {
        class: Class,
        from: Ino,
    },
    Attributes {
        from: Ino,
    },
    End,
    Over,
}

/// A dump being written. See the module.
pub struct Dump<'m, S, T, C, K: CatalogSink = ()> {
    source: S,
    tape: T,
    catalog: Result<K, K::Error>,
    writer: Writer<'m, C>,
    in_use: DumpMap<'m>,
    /// From stage III on: what is still to be written, so that after stage IV just the objects remain whose
    /// attributes travel in stage V.
    pending: DumpMap<'m>,
    /// Before the header is written, of the base; then of this dump.
    known: DumpMap<'m>,
    /// Of an increment: when the base was made.
    since: Option<i64>,
    map_blocks: u32,
    state: State,
    body: Option<Body>,
    /// Told after the step's own event: at most two, from closing an object.
    waiting: Deque<DumpEvent, 4>,
    /// The tape takes no more records.
    tape_ends: bool,
    told_names: bool,
    told_directories: bool,
    /// Properties that do not get on the dump.
    left_out: PropertyKinds,
    stage: Stage,
    summary: DumpSummary,
}

type Step<S, T> = Result<DumpEvent, DumpError<<S as SourceVolume>::Error, <T as TapeDevice>::Error>>;
type Done<S, T> = Result<(), DumpError<<S as SourceVolume>::Error, <T as TapeDevice>::Error>>;

impl<'m, S: SourceVolume, T: TapeDevice, C: Crc32c> Dump<'m, S, T, C> {
    /// A dump of `source` from where `tape` stands, without a catalog. Nothing is written before the first
    /// [`step`](Self::step).
    ///
    /// # Errors
    /// The memory lent does not suffice, the tape takes no such records, or the volume cannot be read.
    pub fn new(
        source: S,
        tape: T,
        memory: DumpMemory<'m>,
        options: DumpOptions,
    ) -> Result<Self, DumpError<S::Error, T::Error>> {
        Self::with_catalog(source, tape, (), memory, options)
    }
}

impl<'m, S: SourceVolume, T: TapeDevice, C: Crc32c, K: CatalogSink> Dump<'m, S, T, C, K> {
    /// As [`new`](Dump::new), and `catalog` takes down what the dump holds. Its failure does not end the dump.
    ///
    /// # Errors
    /// See [`new`](Dump::new).
    // Apart, as is a step: what they have on the stack is not there while the other is at work, nor while a dump is suspended.
    #[inline(never)]
    pub fn with_catalog(
        mut source: S,
        tape: T,
        catalog: K,
        memory: DumpMemory<'m>,
        options: DumpOptions,
    ) -> Result<Self, DumpError<S::Error, T::Error>> {
        let limit = tape.capabilities().record_len_max;
        if options.blocking.record_len() > limit {
            return Err(DumpError::RecordTooLong { limit });
        }
        let names = source.names().map_err(DumpError::Source)?;
        let ino_limit = source.ino_limit().map_err(DumpError::Source)?;
        let needed = (ino_limit.0.saturating_sub(1)).div_ceil(8) as usize;
        let since = (options.identity.level > Level::BASELINE).then(|| options.identity.base_date.into());
        let no_known = since.is_some() && memory.known.len() < needed;
        if memory.in_use.len() < needed || memory.on_tape.len() < needed || no_known {
            return Err(DumpError::MapTooSmall { needed });
        }
        let template = HeaderTemplate::new(&names, &options.label);
        let writer = Writer::new(memory.stream, options.blocking, template, options.identity)
            .map_err(|error| DumpError::StreamTooSmall { needed: error.needed })?;
        Ok(Self {
            source,
            tape,
            catalog: Ok(catalog),
            writer,
            in_use: DumpMap::new(memory.in_use),
            pending: DumpMap::new(memory.on_tape),
            known: DumpMap::new(memory.known),
            since,
            map_blocks: map_blocks(ino_limit),
            state: State::Begin,
            body: None,
            waiting: Deque::new(),
            tape_ends: false,
            told_names: false,
            told_directories: false,
            left_out: PropertyKinds::NONE,
            stage: Stage::Map,
            summary: DumpSummary::default(),
        })
    }

    /// Before the first [`step`](Self::step): leaves properties of these kinds out, and nothing is told of it.
    pub const fn leave_out(&mut self, kinds: PropertyKinds) {
        self.left_out = kinds;
    }

    /// How far the dump is.
    #[must_use]
    pub const fn progress(&self) -> DumpSummary {
        let mut summary = self.summary;
        summary.blocks = self.writer.addr().0;
        summary
    }

    /// The stage it is in.
    #[must_use]
    pub const fn stage(&self) -> Stage {
        self.stage
    }

    /// The volume, to ask for the path of an object.
    #[must_use]
    pub const fn source(&self) -> &S {
        &self.source
    }

    /// The catalog so far, or why there is none any more.
    ///
    /// # Errors
    /// What [`DumpEvent::CatalogLost`] was told for.
    pub const fn catalog(&self) -> Result<&K, &K::Error> {
        self.catalog.as_ref()
    }

    /// Gives the devices back.
    #[must_use]
    pub fn into_devices(self) -> (S, T) {
        (self.source, self.tape)
    }

    /// Gives the devices back, and the catalog, which is yet to be finished; or why there is none.
    pub fn into_parts(self) -> (S, T, Result<K, K::Error>) {
        (self.source, self.tape, self.catalog)
    }

    /// Does some work: at most one segment of an object, one block of a map, or a few thousand objects of the walk.
    ///
    /// # Errors
    /// The dump cannot go on; what is on tape is not a dump.
    #[inline(never)]
    pub fn step(&mut self) -> Step<S, T> {
        if let Some(event) = self.waiting.pop_front() {
            return Ok(event);
        }
        if self.body.is_some() {
            return self.segment();
        }
        match self.state {
            State::Begin => {
                self.in_use.clear();
                self.pending.clear();
                if self.since.is_none() {
                    self.known.clear();
                }
                self.state = State::Map { at: 0 };
                Ok(DumpEvent::Stage(Stage::Map))
            }
            State::Map { at } => self.map_objects(at),
            State::Parents { from, above } => self.map_parents(from, above),
            State::Header => {
                self.begin_known();
                self.note(|catalog| catalog.tape(TapeNo::FIRST, BlockAddr(0)));
                self.header(self.writer.plain(HeaderKind::Tape), &Holes::NONE)?;
                self.state = State::InUseMap { block: None };
                Ok(DumpEvent::Working)
            }
            State::InUseMap { block } => {
                self.state = match self.map_block(HeaderKind::InUseMap, block)? {
                    Some(next) => State::InUseMap { block: Some(next) },
                    None => State::OnTapeMap { block: None },
                };
                Ok(DumpEvent::Working)
            }
            State::OnTapeMap { block } => match self.map_block(HeaderKind::OnTapeMap, block)? {
                Some(next) => {
                    self.state = State::OnTapeMap { block: Some(next) };
                    Ok(DumpEvent::Working)
                }
                None => Ok(self.begin_objects(Class::Directories)),
            },
            State::Objects { class, from } => self.next_object(class, from),
            State::Attributes { from } => self.next_attributes(from),
            State::End => self.end(),
            State::Over => Err(DumpError::Over),
        }
    }

    fn tell(&mut self, event: Option<DumpEvent>) {
        if let Some(event) = event {
            let told = self.waiting.push_back(event);
            debug_assert!(
                told.is_ok(),
                "a step tells at most three events and the next ones tell them first"
            );
        }
    }

    /// Has the catalog take something down. Its first failure is its last.
    fn note(&mut self, take: impl FnOnce(&mut K) -> Result<(), K::Error>) {
        let Ok(catalog) = &mut self.catalog else { return };
        if let Err(error) = take(catalog) {
            self.catalog = Err(error);
            self.tell(Some(DumpEvent::CatalogLost));
        }
    }

    fn begin_objects(&mut self, class: Class) -> DumpEvent {
        self.state = State::Objects { class, from: Ino::FIRST };
        self.stage = match class {
            Class::Directories => Stage::Directories,
            Class::Others => Stage::Files,
        };
        DumpEvent::Stage(self.stage)
    }

    fn next_object(&mut self, class: Class, from: Ino) -> Step<S, T> {
        let from = self.pending.next_from(from).unwrap_or(Ino(u32::MAX));
        let Some(ino) = self.source.next_inode(from, class).map_err(DumpError::Source)? else {
            return Ok(match class {
                Class::Directories => self.begin_objects(Class::Others),
                Class::Others => {
                    let from = self.writer.block();
                    self.note(|catalog| {
                        catalog.attributes(from);
                        Ok(())
                    });
                    self.state = State::Attributes { from: Ino::FIRST };
                    self.stage = Stage::Attributes;
                    DumpEvent::Stage(Stage::Attributes)
                }
            });
        };
        self.state = State::Objects { class, from: ino.next() };
        // What appeared since the volume was mapped is not on this dump.
        if !self.pending.contains(ino) {
            return Ok(DumpEvent::Working);
        }
        match self.source.open(ino) {
            Ok(attributes) if (attributes.kind == Kind::Directory) == (class == Class::Directories) => {
                self.begin_body(ino, attributes)
            }
            Ok(_) => {
                let _ = self.source.close();
                Ok(self.skip(ino, class, ErrorKind::Changed))
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Err(DumpError::Source(error)),
            Err(error) => Ok(self.skip(ino, class, error.kind())),
        }
    }

    /// Counts an object that is not on the dump, or not rightly; the next increment takes it again.
    fn spoil(&mut self, ino: Ino) {
        self.summary.incomplete += 1;
        self.known.remove(ino);
    }

    pub(super) fn skip(&mut self, ino: Ino, class: Class, error: ErrorKind) -> DumpEvent {
        let row = ObjectRow::skipped(ino, class == Class::Directories);
        self.note(|catalog| catalog.object(&row));
        self.pending.remove(ino);
        self.summary.handled += 1;
        self.spoil(ino);
        DumpEvent::Skipped { ino, error }
    }
}
