//! Reading a dump back (R-RESTORE-1) as a step machine; also how it is listed and verified.
//!
//! ```text
//! catalog -> directories -> files -> attributes
//! read maps and      make them,  each file and    of directories,
//! directories        or visit    its further names  when nothing in them changes any more
//! ```
//!
//! A restore that only visits ([`crate::device::mem::NullTarget`] as target) lists and verifies; with a target that
//! compares it checks a tree. Nothing a tape says is trusted: names that could leave the target, loops, and objects
//! that contradict the maps become [`Damage`], and everything that the damage does not touch is restored.

mod admission;
mod ask;
mod begin;
mod chain;
mod events;
mod places;
mod route;
mod sink;
mod stream;
mod tree;

use core::fmt;

pub use self::admission::Reduction;
use self::admission::{Admission, QtreePlace};
pub use self::ask::Named;
use self::chain::Chain;
use self::events::Events;
use self::route::Way;
pub use self::route::{ChainStop, Leg, Route, RouteFailed, Stop, stops_at, stops_on_the_way};
use crate::catalog::{Cursor, TableError, WhichMap};
use crate::checksum::Crc32c;
use crate::device::block::BlockDevice;
use crate::device::tape::TapeDevice;
use crate::device::volume::{
    Attributes, FailedPart, Failure, NameBuf, PropertyKinds, TargetVolume, VolumeNames,
};
use crate::device::{DeviceError, ErrorKind};
use crate::engine::names::{Names, NamesBuilder, Walk};
use crate::limits::NAME_LEN_MAX;
use crate::record::dialect::Dialect;
use crate::record::header::HeaderRepr;
use crate::record::map::DumpMap;
use crate::record::payload::PayloadParser;
use crate::stream::reader::{Gap, Reader, ReaderError};
use crate::units::{BlockAddr, DumpId, Ino, TapeNo};

/// Longest extended attribute block that Linux `dump` writes (`format.md` 2.4).
pub const LINUX_XATTRS_LEN_MAX: usize = 4096;

/// The number under which the engine makes `lost+found` on the target: no object of a dump has it.
pub const LOST_FOUND: Ino = Ino(1);

/// Maps that [`RestoreMemory::maps`] is divided into.
const MAPS: usize = 6;

/// Memory lent to a restore.
#[derive(Debug)]
pub struct RestoreMemory<'m> {
    /// One tape block and the longest tape record.
    pub stream: &'m mut [u8],
    /// Six maps of equal length, each with a bit for every object number; must be zero. Memory that is not touched
    /// need not be there: 6 × [`crate::limits::MAP_LEN_MAX`] of untouched zero pages suffice for any tape.
    pub maps: &'m mut [u8],
    /// Three maps more, each as long as one of `maps`; must be zero, too. Only a chain of several dumps needs them.
    pub chain: &'m mut [u8],
    /// For sorting names: the more, the fewer passes over the scratch device. At least 2 × [`crate::catalog::MEMORY_LEN_MIN`].
    pub names: &'m mut [u8],
    /// For the extended attributes of an object on a dump of Linux: [`LINUX_XATTRS_LEN_MAX`] bytes hold all there can be. What
    /// does not fit is not restored, but told as [`Damage::Properties`]: who reads dumps of this engine only needs none.
    pub attributes: &'m mut [u8],
}

/// Where a restore is (R-RESTORE-1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum RestoreStage {
    /// Reading maps and directories.
    Catalog,
    /// Making directories.
    Directories,
    /// Restoring files.
    Files,
    /// Setting the attributes of directories.
    Attributes,
}

/// What is known of the dump from its first header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct DumpInfo {
    /// How its headers are written.
    pub dialect: Dialect,
    /// Its identity; `None`: it is not one of ours, and has no checksums of data.
    pub id: Option<DumpId>,
    /// Time of the dump, seconds since 1970.
    pub date: u32,
    /// Time of its base, 0 for a baseline.
    pub base_date: u32,
    /// Level.
    pub level: u32,
    /// Blocking factor it was written with, or 0 when it does not say.
    pub blocking: u32,
    /// Label, NUL-padded.
    pub label: [u8; 16],
    /// Names of the volume.
    pub names: VolumeNames,
    /// It is not the dump, but its catalog: its directories, and none of its objects.
    pub is_catalog: bool,
}

/// Something on the tape that is not as it was written, or cannot be used as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Damage {
    /// A stretch of the tape is missing, foreign or doubled.
    Gap(Gap),
    /// A tape record could not be read.
    Unreadable {
        /// The block it began with.
        at: BlockAddr,
        /// What the drive said.
        error: ErrorKind,
    },
    /// The tape ends before the dump does.
    Truncated {
        /// Where.
        at: BlockAddr,
    },
    /// The maps cannot be relied on: whether objects are missing is not known.
    Maps,
    /// These bytes of the object are wrong or missing.
    Data {
        /// The object.
        ino: Ino,
        /// First byte.
        from: u64,
        /// One more than the last.
        to: u64,
    },
    /// These bytes of the object could not be checked, because the header with their checksum is lost. They may be right.
    Unchecked {
        /// The object.
        ino: Ino,
        /// First byte.
        from: u64,
        /// One more than the last.
        to: u64,
    },
    /// These bytes could not be read when the dump was made; zeros stand for them.
    Unread {
        /// The object.
        ino: Ino,
        /// First byte of the segment they are in.
        from: u64,
        /// One more than the segment's last.
        to: u64,
    },
    /// The object changed while it was dumped; its parts may not belong together.
    Changed {
        /// The object.
        ino: Ino,
    },
    /// Properties of the object (ACLs, extended attributes) are wrong or missing.
    Properties {
        /// The object.
        ino: Ino,
    },
    /// The directory is damaged: names in it may be wrong or missing.
    Directory {
        /// The directory.
        ino: Ino,
    },
    /// Entries of the directory were refused: illegal names, or numbers that no object can have.
    BadEntries {
        /// The directory.
        ino: Ino,
        /// How many.
        count: u32,
    },
    /// The directory has the same name twice; the later one wins.
    RepeatedName {
        /// The directory.
        ino: Ino,
    },
    /// A directory is named a second time, or names lead in a circle; the further name is refused.
    DirectoryNamedTwice {
        /// The directory with the further name.
        ino: Ino,
        /// The directory it is in.
        parent: Ino,
    },
    /// No directory names the object; it is restored as `lost+found/NUMBER`, or in `lost+found-2` and so on where the dump
    /// has such names itself.
    Nameless {
        /// The object.
        ino: Ino,
    },
    /// A header with a number that no object has.
    BadObject {
        /// The number.
        ino: Ino,
    },
    /// The map does not announce the object, or it came before. It is restored if a directory names it, unless it was
    /// restored well before. Of a directory that comes again the names are not taken.
    Unannounced {
        /// The object.
        ino: Ino,
    },
    /// The object should be on the tape and was not found there.
    Missing {
        /// The object.
        ino: Ino,
    },
}

/// What came of [`Restore::select`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Selected {
    /// It will be restored.
    Yes,
    /// The object has this name, and is not on the dump: an increment does not hold what did not change.
    NotOnDump,
    /// Nothing has this name.
    NoSuchPath,
}

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum RestoreEvent<E> {
    /// Some work, nothing to tell.
    Working,
    /// A stage begins.
    Stage(RestoreStage),
    /// The dump was found on the tape.
    Dump(DumpInfo),
    /// All directories are read: [`Restore::select`] may be called now, and only now.
    Catalogued,
    /// A name in the tree, directories before what they hold. [`Restore::entry_name`] gives the name of an object that is
    /// no directory, [`Restore::component`] that of a directory, which has only one.
    Entry {
        /// The object.
        ino: Ino,
        /// The directory that holds the name; it need not have been told, where only some objects are selected.
        parent: Ino,
        /// Directories between the root and the name.
        depth: u32,
        /// The object is a directory of this dump; its entries follow one deeper.
        directory: bool,
    },
    /// Bytes of one of the dump's maps: [`Restore::map_piece`] gives them, until the next step. They are good unless
    /// [`Damage::Maps`] comes behind them.
    Map {
        /// Which map.
        which: WhichMap,
        /// The first of them, within the map.
        at: u64,
    },
    /// A directory of the dump begins: before the tree is known, and before any of its names is told.
    Directory {
        /// The directory.
        ino: Ino,
        /// Its attributes.
        attributes: Attributes,
        /// Where its header is.
        at: BlockAddr,
    },
    /// Properties that stand apart from their object, in stage V, begin.
    Apart {
        /// The object.
        ino: Ino,
        /// Where their header is.
        at: BlockAddr,
    },
    /// The end of a dump was met.
    End {
        /// Where its header is.
        at: BlockAddr,
    },
    /// An object that is not a directory begins.
    Object {
        /// The object.
        ino: Ino,
        /// Its attributes.
        attributes: Attributes,
        /// Where its header is.
        at: BlockAddr,
    },
    /// The tape is not as it should be here.
    Damage(Damage),
    /// The target cannot hold something of an object, as it declared: the object is restored as what it can. Told once for
    /// each object.
    Reduced {
        /// The object.
        ino: Ino,
        /// What, and what it is instead.
        what: Reduction,
    },
    /// The target could not take something.
    Failed(Failure<E>),
    /// The dump goes on on another tape: call [`Restore::next_tape`], or step on if there is none.
    NeedTape(TapeNo),
    /// Another dump of the chain is to be read, counted from the newest, which is 0: call [`Restore::next_dump`].
    NeedDump {
        /// Which one.
        index: u32,
    },
    /// Everything was read.
    Done(RestoreSummary),
}

/// How far a restore is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct RestoreSummary {
    /// Directories on the tape.
    pub directories: u64,
    /// Other objects restored (or visited).
    pub objects: u64,
    /// Objects the maps announce.
    pub announced: u64,
    /// Further names made.
    pub links: u64,
    /// Bytes of file data taken from tape.
    pub data_len: u64,
    /// Tape blocks read. Along a [`Route`], where on the tapes it is.
    pub blocks: u64,
    /// Tape records read.
    pub records: u64,
    /// How often the tape was moved to a stop of a [`Route`].
    pub seeks: u64,
    /// [`Damage`] told.
    pub damaged: u64,
    /// Failures told.
    pub failed: u64,
    /// Objects that are less than they were, because the target cannot hold more ([`Reduction::is_loss`]).
    pub reduced: u64,
    /// The dump has checksums of all data.
    pub checked: bool,
}

impl RestoreSummary {
    /// Nothing was damaged, nothing failed, and nothing was more than the target can hold.
    #[must_use]
    pub const fn is_good(&self) -> bool {
        self.damaged == 0 && self.failed == 0 && self.reduced == 0
    }
}

/// Why a restore cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum RestoreError<T, V, B> {
    /// The tape holds no dump, or the wrong one.
    Stream(ReaderError),
    /// A tape record is longer than the stream memory (R-BLOCK-2).
    RecordTooLong {
        /// Its length in bytes.
        len: usize,
        /// What would fit.
        limit: usize,
    },
    /// The tape failed, again and again.
    Tape {
        /// First block not read.
        at: BlockAddr,
        /// Why.
        source: T,
    },
    /// The target cannot take anything more.
    Target {
        /// The object at which it became known.
        ino: Ino,
        /// Why.
        source: V,
    },
    /// The scratch device is too small or failed, or the memory for names is too small.
    Scratch(TableError<B>),
    /// This dump does not belong here in the chain.
    WrongDump {
        /// Its place, counted from the newest, which is 0.
        index: u32,
        /// The date it should have, in seconds since 1970.
        wanted: u32,
        /// The date it has.
        found: u32,
    },
    /// [`RestoreEvent::NeedDump`] was given, and no dump.
    NoDump,
    /// The [`Route`] cannot be told.
    Route,
    /// The maps lent are too small.
    MapTooSmall {
        /// Bytes needed in all.
        needed: usize,
    },
    /// `step` was called after the end.
    Over,
}

/// What the stream's present object is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    /// Passed over.
    Discard,
    /// The map of objects on tape, or the other one.
    Map { on_tape: bool },
    /// A directory being catalogued.
    Directory,
    /// An object open on the target.
    Target,
    /// A record of stage V; its owner is open on the target.
    Attributes,
}

/// What the blocks of the present header are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Collect {
    /// Data and payload of the object.
    Own,
    /// Linux' extended attribute block, of this length.
    LinuxXattrs { len: usize },
    /// Something else of Linux'.
    Ignore,
}

/// The object whose segments are coming.
#[derive(Clone, Debug)]
struct Object {
    ino: Ino,
    /// The number in its header: another than `ino` in stage V.
    tape_ino: u32,
    attributes: Attributes,
    taken: Use,
    collect: Collect,
    /// Offset of the present segment's first entry, and of what follows it.
    segment_at: u64,
    segment_end: u64,
    /// Entries of the present segment that are data, and bytes of payload behind them still to come.
    data_entries: usize,
    payload_left: usize,
    parser: PayloadParser,
    payload_seen: bool,
    payload_bad: bool,
    /// Bytes of data that came.
    data_len: u64,
    /// Damage told before its own; the last copy of it that is taken.
    damaged_before: u64,
    last: bool,
    /// Whether it can be a qtree where it is, and what of it the target could not hold; that is told once.
    qtree_place: QtreePlace,
    reduced: Option<Reduction>,
    reduced_told: bool,
    /// Attribute blocks of Linux that came with it.
    linux_xattrs: u32,
    /// Of a directory: the entries are those of another one.
    astray: bool,
    /// Bytes that the map would need, when it has numbers beyond the memory lent.
    map_needed: usize,
    bad_entries: u32,
    /// It was made on the target, and the name under which it was.
    made: bool,
    place: (Ino, usize),
    name: NameBuf,
    /// Where its further names are.
    names: Cursor,
}

enum Phase {
    /// Taking the stream apart. Before and after the catalog is whole.
    Stream,
    /// The directories end with the header that is held.
    EndCatalog,
    /// The caller may select.
    Selecting,
    Directories,
    /// Placing directories that no walk from the root reaches.
    Orphans,
    Missing {
        from: Ino,
    },
    Absent {
        from: Ino,
    },
    SetAttributes {
        cursor: Cursor,
    },
    Over,
}

/// The search for directories that no walk from the root reaches: first those whose parent is not there, then, from
/// the beginning, those that are left, whose names lead in circles.
#[derive(Clone, Copy)]
struct Orphans {
    from: Ino,
    circles: bool,
}

enum Catalog<'m, C> {
    Building(NamesBuilder<'m, C>),
    Ready(Names<'m, C>),
    /// Only while one becomes the other, or after the scratch device failed.
    Gone,
}

struct Maps<'m> {
    on_tape: DumpMap<'m>,
    /// Directories on tape that are not yet made, and other objects that could not be made.
    unmade: DumpMap<'m>,
    /// Objects placed in `lost+found`.
    lost: DumpMap<'m>,
    /// Selected objects; directories of these with all they hold. Where all is restored: objects that came once, damaged.
    wanted: DumpMap<'m>,
    /// Directories on the way to selected ones, those that are made, and other objects that are: no further copy of
    /// them is taken.
    passage: DumpMap<'m>,
    /// Marks of the names by which objects that are no directories were selected.
    picked: DumpMap<'m>,
}

/// A dump being restored. See the module.
pub struct Restore<'m, T, V: TargetVolume, B, C> {
    tape: T,
    target: V,
    scratch: B,
    reader: Reader<'m, C>,
    catalog: Catalog<'m, C>,
    maps: Maps<'m>,
    chain: Chain<'m>,
    way: Way<'m>,
    phase: Phase,
    stage: Option<RestoreStage>,
    /// A header that waits until what it ends is finished.
    held: Option<HeaderRepr>,
    object: Option<Object>,
    /// The object whose further names are being made.
    linking: Option<Object>,
    walk: Walk,
    orphans: Orphans,
    /// Names in `names` below here are of objects already passed.
    name_cursor: Cursor,
    /// The object whose names were looked up last.
    name_ino: Ino,
    admission: Admission,
    directories_only: bool,
    /// Linux' extended attribute block.
    linux_xattrs: &'m mut [u8],
    /// The name that the last damage of a directory is about, and its length.
    culprit: (NameBuf, usize),
    events: Events<V::Error>,
    selected: bool,
    /// The map of objects on tape was read to its end without damage.
    maps_good: bool,
    map_seen: bool,
    in_use_map_seen: bool,
    map_damaged: bool,
    in_use_damaged: bool,
    dump_known: bool,
    /// A dump of the chain is known.
    any_dump: bool,
    dialect: Dialect,
    /// Length of the tape's records, as its headers tell; 0 when they do not.
    record_len: usize,
    end_of_dump: bool,
    lost_found_made: bool,
    /// Which name `lost+found` has, once that is known.
    lost_found: Option<u32>,
    /// Owner of the last record of stage V.
    last_owner: Ino,
    /// The dump is one of ours, and a baseline: what has a name is on it.
    baseline: bool,
    want_tape: bool,
    want_dump: bool,
    read_errors: u32,
    summary: RestoreSummary,
}

type RestoreResult<R, T, V, B> =
    Result<R, RestoreError<<T as TapeDevice>::Error, <V as TargetVolume>::Error, <B as BlockDevice>::Error>>;

/// Splits a map of `len` bytes off.
#[inline(never)]
fn zeroed_map<'m>(rest: &mut &'m mut [u8], len: usize) -> DumpMap<'m> {
    let (map, behind) = core::mem::take(rest).split_at_mut_checked(len).unwrap_or_default();
    *rest = behind;
    DumpMap::zeroed(map)
}

impl<'m, T: TapeDevice, V: TargetVolume, B: BlockDevice, C: Crc32c> Restore<'m, T, V, B, C> {
    /// A restore of the dump that begins where `tape` stands. Nothing is done before the first [`step`](Self::step).
    ///
    /// # Errors
    /// The memory lent does not suffice.
    pub fn new(tape: T, target: V, scratch: B, memory: RestoreMemory<'m>) -> RestoreResult<Self, T, V, B> {
        Self::of_chain(tape, target, scratch, memory, 1)
    }

    /// A restore of a chain of `len` dumps, at most [`crate::limits::CHAIN_LEN_MAX`]: the tree as it was at the newest, whose dump begins
    /// where `tape` stands. [`RestoreEvent::NeedDump`] asks for the others. With one dump, what that holds is restored.
    ///
    /// # Errors
    /// The memory lent does not suffice.
    #[inline(never)]
    pub fn of_chain(
        tape: T,
        target: V,
        scratch: B,
        memory: RestoreMemory<'m>,
        len: u32,
    ) -> RestoreResult<Self, T, V, B> {
        let catalog = NamesBuilder::new(&scratch, memory.names).map_err(RestoreError::Scratch)?;
        let each = memory.maps.len() / MAPS;
        if len > 1 && memory.chain.len() / chain::CHAIN_MAPS < each {
            return Err(RestoreError::MapTooSmall { needed: each * (MAPS + chain::CHAIN_MAPS) });
        }
        let mut rest = memory.maps;
        let mut map = || zeroed_map(&mut rest, each);
        let admission = Admission::new(target.capabilities());
        Ok(Self {
            admission,
            directories_only: false,
            tape,
            target,
            scratch,
            reader: Reader::new(memory.stream),
            catalog: Catalog::Building(catalog),
            maps: Maps {
                on_tape: map(),
                unmade: map(),
                lost: map(),
                wanted: map(),
                passage: map(),
                picked: map(),
            },
            chain: Chain::new(len, memory.chain),
            way: Way::new(),
            phase: Phase::Stream,
            stage: None,
            held: None,
            object: None,
            linking: None,
            walk: Walk::new(Ino::ROOT),
            orphans: Orphans { from: Ino::FIRST, circles: false },
            name_cursor: Cursor::START,
            name_ino: Ino(0),
            linux_xattrs: memory.attributes,
            culprit: (EMPTY_NAME, 0),
            events: Events::new(),
            selected: false,
            maps_good: false,
            map_seen: false,
            in_use_map_seen: false,
            map_damaged: false,
            in_use_damaged: false,
            dump_known: false,
            any_dump: false,
            dialect: Dialect::OURS,
            record_len: 0,
            end_of_dump: false,
            lost_found_made: false,
            lost_found: None,
            last_owner: Ino(0),
            baseline: false,
            want_tape: false,
            want_dump: false,
            read_errors: 0,
            summary: RestoreSummary::default(),
        })
    }

    /// Before the first [`step`](Self::step): restores no properties of these kinds, and nothing is told of it.
    pub const fn leave_out(&mut self, kinds: PropertyKinds) {
        self.admission.left_out = kinds;
    }

    /// Before the first [`step`](Self::step): restores directories with their properties, and nothing of what the tape has
    /// behind them.
    pub const fn directories_only(&mut self) {
        self.directories_only = true;
    }

    /// How far the restore is.
    #[must_use]
    pub const fn progress(&self) -> RestoreSummary {
        let mut summary = self.summary;
        summary.blocks = summary.blocks.saturating_add(self.reader.addr().0);
        summary
    }

    /// The tape.
    #[must_use]
    pub const fn tape(&self) -> &T {
        &self.tape
    }

    /// The target.
    #[must_use]
    pub const fn target(&self) -> &V {
        &self.target
    }

    /// Gives the devices back.
    #[must_use]
    pub fn into_devices(self) -> (T, V, B) {
        (self.tape, self.target, self.scratch)
    }

    /// The next tape of the dump, at the beginning of the dump's tape file there. For [`RestoreEvent::NeedTape`]; gives back the tape before.
    pub fn next_tape(&mut self, tape: T) -> T {
        self.want_tape = false;
        match self.way.handle_tape() {
            Some(tape) => self.reader.handle_tape(tape),
            None => self.reader.handle_next_tape(),
        }
        core::mem::replace(&mut self.tape, tape)
    }

    /// The name that the last [`Damage::BadEntries`], [`Damage::RepeatedName`] or [`Damage::DirectoryNamedTwice`] is about:
    /// of several the first. It holds any bytes.
    #[must_use]
    pub fn culprit(&self) -> &[u8] {
        self.culprit.0.get(..self.culprit.1).unwrap_or_default()
    }

    /// Name of the last [`RestoreEvent::Entry`] that is no directory.
    #[must_use]
    pub fn entry_name(&self) -> &[u8] {
        self.walk.name()
    }

    /// The bytes that the last [`RestoreEvent::Map`] is about.
    #[must_use]
    pub fn map_piece(&self) -> &[u8] {
        self.reader.last_data()
    }

    /// Does some work: at most one tape record, one object's begin or end, or one name.
    ///
    /// # Errors
    /// The restore cannot go on. What was restored so far stays.
    pub fn step(&mut self) -> RestoreResult<RestoreEvent<V::Error>, T, V, B> {
        // Events are made below `advance` and copied here: never both on the stack at once.
        if self.events.is_empty() {
            self.advance()?;
        }
        Ok(self.events.pop().unwrap_or(RestoreEvent::Working))
    }

    #[inline(never)]
    fn advance(&mut self) -> RestoreResult<(), T, V, B> {
        if let Some(failure) = self.target.poll_failure() {
            return self.failure(failure);
        }
        if self.stage.is_none() {
            self.begin(RestoreStage::Catalog);
            return Ok(());
        }
        match self.phase {
            Phase::Stream if self.want_dump => Err(RestoreError::NoDump),
            Phase::Stream if self.linking.is_some() => self.link(),
            Phase::Stream if self.want_tape => {
                // Asked for and not given.
                self.want_tape = false;
                if self.way.turn().is_none() {
                    return self.truncated();
                }
                self.lack_tape();
                Ok(())
            }
            Phase::Stream if self.way.is_departing() => self.depart(),
            Phase::Stream => match self.held.take() {
                Some(header) if self.way.is_on() => self.follow(header),
                Some(header) => self.begin_object(header),
                None if self.end_of_dump => {
                    self.close_stream();
                    Ok(())
                }
                None => self.read(),
            },
            Phase::EndCatalog => self.end_catalog(),
            Phase::Selecting => {
                self.phase = Phase::Directories;
                self.begin(RestoreStage::Directories);
                Ok(())
            }
            Phase::Directories => self.make_directories(),
            Phase::Orphans => self.place_orphan(),
            Phase::Missing { from } => self.tell_missing(from),
            Phase::Absent { from } => self.tell_absent(from),
            Phase::SetAttributes { cursor } => self.set_attributes(cursor),
            Phase::Over => Err(RestoreError::Over),
        }
    }

    fn begin(&mut self, stage: RestoreStage) {
        self.stage = Some(stage);
        self.tell(RestoreEvent::Stage(stage));
    }

    fn tell(&mut self, event: RestoreEvent<V::Error>) {
        let told = self.events.push(event);
        debug_assert!(told, "events are told before the next step makes new ones");
    }

    fn damage(&mut self, damage: Damage) {
        self.summary.damaged += 1;
        self.tell(RestoreEvent::Damage(damage));
    }

    /// Tells what the target could not hold of an object.
    fn reduced(&mut self, ino: Ino, what: Reduction) {
        self.summary.reduced += u64::from(what.is_loss());
        self.tell(RestoreEvent::Reduced { ino, what });
    }

    /// A failure of the target: told, or the end when the target can take nothing more.
    fn failure(&mut self, failure: Failure<V::Error>) -> RestoreResult<(), T, V, B> {
        self.summary.failed += 1;
        if is_final(&failure.error) {
            return Err(RestoreError::Target { ino: failure.ino, source: failure.error });
        }
        self.tell(RestoreEvent::Failed(failure));
        Ok(())
    }

    /// As [`outcome`](Self::outcome), for one of many calls on the same object: only the first failure is told, so that a
    /// step tells a bounded number of events.
    fn outcome_once(
        &mut self,
        told: &mut bool,
        ino: Ino,
        what: FailedPart,
        result: Result<(), V::Error>,
    ) -> RestoreResult<(), T, V, B> {
        match result {
            Err(error) if *told && !is_final(&error) => Ok(()),
            result => {
                *told |= !self.outcome(ino, what, result)?;
                Ok(())
            }
        }
    }

    /// Tells what came of a call on the target; `true`: it went well.
    fn outcome<R>(
        &mut self,
        ino: Ino,
        what: FailedPart,
        result: Result<R, V::Error>,
    ) -> RestoreResult<bool, T, V, B> {
        match result {
            Ok(_) => Ok(true),
            Err(error) => {
                self.failure(Failure { ino, what, error })?;
                Ok(false)
            }
        }
    }
}

/// After such a failure the target can take nothing more.
fn is_final(error: &impl DeviceError) -> bool {
    matches!(error.kind(), ErrorKind::Full | ErrorKind::ReadOnly | ErrorKind::Interrupted)
}

impl<T: DeviceError, V: DeviceError, B: DeviceError> fmt::Display for RestoreError<T, V, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stream(ReaderError::NotADump { searched }) => {
                write!(f, "no dump found in the first {searched} bytes")
            }
            Self::Stream(ReaderError::UnsupportedDialect { magic }) => {
                write!(f, "a dump of a kind that is not read (magic {magic})")
            }
            Self::Stream(ReaderError::WrongTape { wanted, found: Some(found) }) => {
                write!(f, "tape {} of the dump was wanted, and this is tape {}", wanted.0, found.0)
            }
            Self::Stream(ReaderError::WrongTape { wanted, found: None }) => {
                write!(f, "tape {} of the dump was wanted, and this is no tape of it", wanted.0)
            }
            Self::RecordTooLong { len, limit } => write!(
                f,
                "the tape holds records of {len} bytes (blocking factor {}), and only {limit} bytes are supported",
                len.div_ceil(crate::units::TAPE_BLOCK_LEN)
            ),
            Self::Tape { at, source } => write!(f, "{at}: {}", source.kind()),
            Self::Target { ino, source } => write!(f, "{ino}: {}", source.kind()),
            Self::Scratch(error) => error.fmt(f),
            Self::WrongDump { index, wanted, found } => write!(
                f,
                "dump {index} of the chain was to be of {wanted} seconds since 1970, and this one is of {found}"
            ),
            Self::Route => f.write_str("where on the tapes it is could not be told"),
            Self::NoDump => f.write_str("the next dump of the chain was not given"),
            Self::MapTooSmall { needed } => write!(f, "the dump needs {needed} bytes of memory for maps"),
            Self::Over => f.write_str("the restore is over"),
        }
    }
}

const EMPTY_NAME: NameBuf = [0; NAME_LEN_MAX];
