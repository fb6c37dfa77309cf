//! Finding the base of an increment, and the chain of a dump.

use core::convert::Infallible;
use core::fmt;

use heapless::Vec;

use super::baseline::{BaselineReason, DumpRequest};
use super::dump::{BaseRef, Dump, Maker, Outcome, Release, Tape, VolumeState};
use crate::limits::CHAIN_LEN_MAX;
use crate::units::{DumpId, Level, Timestamp};

/// Where a [`Dumps`] finds a dump again: an index in a slice, a page of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Place(pub u32);

/// The recorded dumps of one path of one volume, in any order. Newest first is the fastest.
pub trait Dumps {
    /// Why they cannot be read.
    type Error;

    /// Begins anew.
    fn rewind(&mut self);

    /// The next dump, or `None` at the end.
    ///
    /// # Errors
    /// The dumps cannot be read.
    fn next(&mut self) -> Result<Option<(Place, Dump)>, Self::Error>;

    /// One of the tapes of a dump that [`next`](Self::next) gave, counted from 0; `None` behind the last.
    ///
    /// # Errors
    /// The dump cannot be read.
    fn tape(&mut self, place: Place, index: usize) -> Result<Option<Tape>, Self::Error>;
}

impl<S: Dumps + ?Sized> Dumps for &mut S {
    type Error = S::Error;

    fn rewind(&mut self) {
        (**self).rewind();
    }
    fn next(&mut self) -> Result<Option<(Place, Dump)>, Self::Error> {
        (**self).next()
    }
    fn tape(&mut self, place: Place, index: usize) -> Result<Option<Tape>, Self::Error> {
        (**self).tape(place, index)
    }
}

/// A dump in memory.
#[derive(Clone, Copy, Debug)]
pub struct Recorded<'a> {
    /// The dump.
    pub dump: Dump,
    /// Its tapes in order.
    pub tapes: &'a [Tape],
}

/// Dumps in memory, which are all of one path of one volume.
#[derive(Clone, Debug)]
pub struct SliceDumps<'a> {
    dumps: &'a [Recorded<'a>],
    /// Those not given yet.
    left: usize,
}

impl<'a> SliceDumps<'a> {
    /// The dumps, given from the last to the first.
    #[must_use]
    pub const fn new(dumps: &'a [Recorded<'a>]) -> Self {
        Self { dumps, left: dumps.len() }
    }
}

impl Dumps for SliceDumps<'_> {
    type Error = Infallible;

    fn rewind(&mut self) {
        self.left = self.dumps.len();
    }

    fn next(&mut self) -> Result<Option<(Place, Dump)>, Infallible> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.left = left;
        let place = Place(u32::try_from(left).unwrap_or(u32::MAX));
        Ok(self.dumps.get(left).map(|recorded| (place, recorded.dump)))
    }

    fn tape(&mut self, place: Place, index: usize) -> Result<Option<Tape>, Infallible> {
        Ok(self.dumps.get(place.0 as usize).and_then(|recorded| recorded.tapes.get(index)).copied())
    }
}

/// A dump as part of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Link {
    /// Where it was found.
    pub place: Place,
    /// Its identity.
    pub id: DumpId,
    /// Its level.
    pub level: Level,
    /// Its date.
    pub date: Timestamp,
    /// What it builds on.
    pub base: Option<BaseRef>,
    /// Whether it is whole.
    pub outcome: Outcome,
    /// What made it.
    pub maker: Maker,
    /// The volume at that time.
    pub state: VolumeState,
}

impl Link {
    fn new(place: Place, dump: &Dump) -> Self {
        let Dump { id, level, date, base, outcome, maker, state, .. } = *dump;
        Self { place, id, level, date, base, outcome, maker, state }
    }
}

/// A dump and all that it builds on: a baseline first, then each increment on the one before, in ascending levels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    links: Vec<Link, CHAIN_LEN_MAX>,
}

impl Chain {
    /// The dumps from the baseline on.
    #[must_use]
    pub fn links(&self) -> &[Link] {
        &self.links
    }

    /// The dump that the chain leads to.
    #[must_use]
    pub fn last(&self) -> Option<&Link> {
        self.links.last()
    }
}

/// Why there is no chain. `E` is the error of what the dumps are read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ChainError<E> {
    /// No such dump is recorded.
    Unknown {
        /// The one that was asked for.
        dump: DumpId,
    },
    /// The dump failed.
    Failed {
        /// The one that was asked for.
        dump: DumpId,
    },
    /// No dump is as old as that.
    NothingBefore {
        /// The time that was asked for.
        time: Timestamp,
    },
    /// What a dump builds on is not recorded, or failed.
    BaseMissing {
        /// The dump.
        dump: DumpId,
        /// What it builds on.
        base: BaseRef,
    },
    /// What a dump builds on is recorded with another date, or with no lower level.
    BaseDiffers {
        /// The dump.
        dump: DumpId,
        /// What it builds on.
        base: BaseRef,
    },
    /// The dumps cannot be read.
    Source(E),
}

impl<E: fmt::Display> fmt::Display for ChainError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { dump } => write!(f, "no dump {dump} is recorded"),
            Self::Failed { dump } => write!(f, "the dump {dump} failed"),
            Self::NothingBefore { time } => write!(f, "no dump is as old as {} s", time.secs),
            Self::BaseMissing { dump, base } => {
                write!(f, "the dump {dump} builds on {base}, which is missing")
            }
            Self::BaseDiffers { dump, base } => {
                write!(f, "the dump {dump} builds on {base}, which is recorded as another one")
            }
            Self::Source(source) => source.fmt(f),
        }
    }
}

impl fmt::Display for BaseRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.id {
            Some(id) => write!(f, "the dump {id}"),
            None => write!(f, "the dump of {} s", self.date.secs),
        }
    }
}

/// Why there is no base. `E` is the error of what the dumps are read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum BaseError<E> {
    /// A baseline has to be made (R-CHAIN-6, R-CHAIN-7).
    Baseline(BaselineReason),
    /// The dumps cannot be read.
    Source(E),
}

impl<E: fmt::Display> fmt::Display for BaseError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Baseline(reason) => write!(f, "a baseline (level 0) is needed: {reason}"),
            Self::Source(source) => source.fmt(f),
        }
    }
}

/// Order of dumps.
pub(super) type Key = (Timestamp, u64);

pub(super) const fn key_of(dump: &Dump) -> Key {
    (dump.date, dump.order)
}

/// The dump that an increment builds on: the most recent one of a lower level, from those whose chain is whole
/// (R-CHAIN-2, R-CHAIN-3). `None` for a baseline.
///
/// # Errors
/// A baseline has to be made, and why; or the dumps cannot be read.
pub fn base<S: Dumps>(dumps: &mut S, request: &DumpRequest) -> Result<Option<Dump>, BaseError<S::Error>> {
    if request.level == Level::BASELINE {
        return Ok(None);
    }
    // Dumps that nothing can build on, so that those on them are passed over without a look at their chains.
    let mut lost: Vec<DumpId, CHAIN_LEN_MAX> = Vec::new();
    let mut before = (request.date, u64::MAX);
    let mut reason = BaselineReason::NoLowerLevel { level: request.level };
    loop {
        let found = candidate(dumps, request.level, before, &lost).map_err(BaseError::Source)?;
        let Some((place, dump)) = found else {
            if reason == (BaselineReason::NoLowerLevel { level: request.level }) {
                reason = request.nothing_recorded();
            }
            return Err(BaseError::Baseline(reason));
        };
        // The links are not kept: a chain is the largest thing here, and this is asked in little memory.
        match descend(dumps, place, &dump, &mut |_| {}) {
            Ok(()) => {
                let newest = newest_release(dumps, key_of(&dump)).map_err(BaseError::Source)?;
                let objection = request.objection(&dump, newest);
                return objection.map_or(Ok(Some(dump)), |reason| Err(BaseError::Baseline(reason)));
            }
            Err(ChainError::Source(source)) => return Err(BaseError::Source(source)),
            Err(
                ChainError::BaseMissing { dump: above, base } | ChainError::BaseDiffers { dump: above, base },
            ) => {
                // The first one is the newest: the one that somebody expects to be the base.
                if matches!(reason, BaselineReason::NoLowerLevel { .. }) {
                    reason = BaselineReason::ChainBroken { dump: above, base };
                }
                // With no room left it takes longer, and the result is the same.
                let _ = lost.push(above);
                if let Some(id) = base.id {
                    let _ = lost.push(id);
                }
            }
            Err(_) => {}
        }
        before = key_of(&dump);
    }
}

/// The most recent dump of a lower level before a place in the order, whose base is not known to be lost.
fn candidate<S: Dumps>(
    dumps: &mut S,
    level: Level,
    before: Key,
    lost: &[DumpId],
) -> Result<Option<(Place, Dump)>, S::Error> {
    let mut best: Option<(Place, Dump)> = None;
    dumps.rewind();
    while let Some((place, dump)) = dumps.next()? {
        let may_be = dump.level < level
            && dump.outcome.is_usable()
            && matches!(dump.maker, Maker::Tapedump { .. })
            && key_of(&dump) < before
            && !dump.base.and_then(|base| base.id).is_some_and(|base| lost.contains(&base));
        if may_be && best.as_ref().is_none_or(|(_, best)| key_of(best) < key_of(&dump)) {
            best = Some((place, dump));
        }
    }
    Ok(best)
}

/// The newest release that made a dump from a place in the order on.
fn newest_release<S: Dumps>(dumps: &mut S, from: Key) -> Result<Option<Release>, S::Error> {
    let mut newest = None;
    dumps.rewind();
    while let Some((_, dump)) = dumps.next()? {
        if let Maker::Tapedump { release, .. } = dump.maker
            && key_of(&dump) >= from
        {
            newest = newest.max(Some(release));
        }
    }
    Ok(newest)
}

/// The chain of a dump.
///
/// # Errors
/// The dump or something it builds on is not there or failed; or the dumps cannot be read.
pub fn chain<S: Dumps>(dumps: &mut S, id: DumpId) -> Result<Chain, ChainError<S::Error>> {
    let mut failed = false;
    dumps.rewind();
    while let Some((place, dump)) = dumps.next().map_err(ChainError::Source)? {
        if dump.id == id {
            if dump.outcome.is_usable() {
                return complete(dumps, place, &dump);
            }
            failed = true;
        }
    }
    Err(if failed { ChainError::Failed { dump: id } } else { ChainError::Unknown { dump: id } })
}

/// The chain of a dump that was found.
pub(super) fn complete<S: Dumps>(
    dumps: &mut S,
    place: Place,
    dump: &Dump,
) -> Result<Chain, ChainError<S::Error>> {
    let mut chain = Chain { links: Vec::new() };
    descend(dumps, place, dump, &mut |link| {
        // Levels descend, so there is room for every link.
        let _ = chain.links.push(link);
    })?;
    chain.links.reverse();
    Ok(chain)
}

/// Visits a dump and all that it builds on.
fn descend<S: Dumps>(
    dumps: &mut S,
    place: Place,
    dump: &Dump,
    visit: &mut dyn FnMut(Link),
) -> Result<(), ChainError<S::Error>> {
    let mut top = Link::new(place, dump);
    while let Some(wanted) = top.base {
        let found = below(dumps, &top, &wanted)?;
        visit(core::mem::replace(&mut top, found));
    }
    visit(top);
    Ok(())
}

/// What a dump builds on.
fn below<S: Dumps>(dumps: &mut S, link: &Link, wanted: &BaseRef) -> Result<Link, ChainError<S::Error>> {
    let mut differs = false;
    let mut best: Option<(Key, Link)> = None;
    dumps.rewind();
    while let Some((place, dump)) = dumps.next().map_err(ChainError::Source)? {
        if !dump.outcome.is_usable() {
            continue;
        }
        let fits = dump.level < link.level
            && match wanted.id {
                Some(_) => dump.date == wanted.date,
                // From tape: whole seconds, and both of the same kind of maker.
                None => on_tape(dump.date) == on_tape(wanted.date) && same_kind(&dump.maker, &link.maker),
            };
        match wanted.id {
            Some(id) if dump.id != id => {}
            Some(_) if fits => return Ok(Link::new(place, &dump)),
            Some(_) => differs = true,
            None if fits && best.as_ref().is_none_or(|(key, _)| *key < key_of(&dump)) => {
                best = Some((key_of(&dump), Link::new(place, &dump)));
            }
            None => {}
        }
    }
    match best {
        Some((_, found)) => Ok(found),
        None if differs => Err(ChainError::BaseDiffers { dump: link.id, base: *wanted }),
        None => Err(ChainError::BaseMissing { dump: link.id, base: *wanted }),
    }
}

/// A date as headers have it.
pub(super) const fn on_tape(date: Timestamp) -> u32 {
    date.secs as u32
}

const fn same_kind(one: &Maker, other: &Maker) -> bool {
    matches!(one, Maker::Foreign) == matches!(other, Maker::Foreign)
}
