//! Going straight to what is wanted (R-RESTORE-2): a route tells where on the tapes it is, and all else is passed over.
//!
//! ```text
//! tape header -> wanted directories, and those above them -> wanted objects -> their properties that stand apart
//! ```
//!
//! What comes at a stop is taken up as in any other restore; what does not come there is told as missing.

use super::begin::is_linux_extended;
use super::{Damage, Object, Phase, Restore, RestoreError, RestoreEvent, RestoreResult, Use};
use crate::catalog::{CatalogError, TapePlace, View};
use crate::checksum::Crc32c;
use crate::device::block::BlockDevice;
use crate::device::tape::{Spaced, TapeDevice, TapePosition};
use crate::device::volume::{Attributes, Kind, TargetVolume};
use crate::device::{DeviceError, ErrorKind};
use crate::limits::READ_ERRORS_MAX;
use crate::record::extension::Role;
use crate::record::header::{HeaderKind, HeaderRepr};
use crate::units::{BlockAddr, Ino, TAPE_BLOCK_LEN, TapeNo};

/// Records that are read and passed over rather than the tape moved.
const NEAR_RECORDS: u64 = 16;

/// What is looked for in a dump, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Leg {
    /// Wanted directories, and those on the way to anything that is wanted.
    Directories,
    /// Wanted objects that are no directories.
    Others,
    /// Properties that stand apart from their objects.
    Attributes,
}

/// Something to be taken up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Stop {
    /// The object.
    pub ino: Ino,
    /// Its first header, counted from the dump's first.
    pub block: BlockAddr,
    /// The tape that it is on.
    pub tape: TapeNo,
}

/// The route cannot be told; whoever made it knows why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct RouteFailed;

/// Where what is wanted is on the tapes of a chain, mostly out of its catalogs.
pub trait Route {
    /// The first stop from block `from` on of a dump, counted from the newest, which is 0.
    ///
    /// # Errors
    /// The restore ends.
    fn next_stop(&mut self, dump: u32, leg: Leg, from: BlockAddr) -> Result<Option<Stop>, RouteFailed>;
}

/// A stop in one dump of a chain. Their order is that in which they are to be gone to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ChainStop {
    /// The dump, counted from the newest, which is 0.
    pub dump: u32,
    /// What is there.
    pub leg: Leg,
    /// Where it is.
    pub block: BlockAddr,
    /// What it is.
    pub ino: Ino,
    /// The tape of the dump that it is on.
    pub tape: TapeNo,
}

/// Stops in their order, without doubles.
impl Route for &[ChainStop] {
    fn next_stop(&mut self, dump: u32, leg: Leg, from: BlockAddr) -> Result<Option<Stop>, RouteFailed> {
        let first = ChainStop { dump, leg, block: from, ino: Ino(0), tape: TapeNo(0) };
        let found = self.get(self.partition_point(|stop| *stop < first)).copied();
        let found = found.filter(|stop| stop.dump == dump && stop.leg == leg);
        Ok(found.map(|stop| Stop { ino: stop.ino, block: stop.block, tape: stop.tape }))
    }
}

/// Tells the stops at the object at a path, and at the directories above it, in no order, with doubles where several
/// paths are asked for. Gives the object; `None`: there is no such path, or a directory on the way is on no dump.
///
/// # Errors
/// A page of a catalog is damaged, or the device failed.
pub fn stops_on_the_way<D: BlockDevice, C: Crc32c>(
    view: &mut View<'_, '_, D, C>,
    path: &[u8],
    visit: &mut impl FnMut(ChainStop),
) -> Result<Option<Ino>, CatalogError<D::Error>> {
    let mut ino = Ino::ROOT;
    if stops_at(view, ino, visit)?.is_none() {
        return Ok(None);
    }
    for name in path.split(|byte| *byte == b'/').filter(|name| !matches!(name, [] | [b'.'])) {
        let Some(child) = view.child(ino, name)? else { return Ok(None) };
        ino = child;
        if stops_at(view, ino, visit)?.is_none() {
            return Ok(None);
        }
    }
    Ok(Some(ino))
}

/// Tells the stops at one object. `Some(true)`: it is a directory; `None`: no dump has it.
///
/// # Errors
/// A page of a catalog is damaged, or the device failed.
pub fn stops_at<D: BlockDevice, C: Crc32c>(
    view: &mut View<'_, '_, D, C>,
    ino: Ino,
    visit: &mut impl FnMut(ChainStop),
) -> Result<Option<bool>, CatalogError<D::Error>> {
    let Some((dump, row)) = view.newest(ino)? else { return Ok(None) };
    let age = u32::try_from(view.len().saturating_sub(1).saturating_sub(dump)).unwrap_or(u32::MAX);
    let (Some(block), Some(catalog)) = (row.place, view.catalog(dump)) else { return Ok(None) };
    let leg = if row.is_directory { Leg::Directories } else { Leg::Others };
    let TapePlace { tape, block } = catalog.place(block)?;
    visit(ChainStop { dump: age, leg, block, ino, tape });
    if let Some(block) = catalog.apart(ino)? {
        let TapePlace { tape, block } = catalog.place(block)?;
        visit(ChainStop { dump: age, leg: Leg::Attributes, block, ino, tape });
    }
    Ok(Some(row.is_directory))
}

/// The route, and where on it the restore is.
pub(super) struct Way<'m> {
    route: Option<&'m mut dyn Route>,
    leg: Leg,
    /// Stops before this block are passed.
    from: BlockAddr,
    stop: Option<Stop>,
    /// The tape was moved to the stop, and nothing was read there yet.
    sought: bool,
    /// The next stop is gone to, wherever the tape is.
    departing: bool,
    /// The dump's first record on the present tape, and the blocks of its records.
    begin: Option<TapePosition>,
    record_blocks: u64,
    /// The tape that was asked for out of turn: nothing goes on on it that was read before.
    turn: Option<TapeNo>,
    /// It is in place, and nothing was read there yet.
    arriving: bool,
    /// The last one that was asked for and not given.
    lacking: Option<TapeNo>,
}

impl<'m> Way<'m> {
    pub(super) const fn new() -> Self {
        Self {
            route: None,
            leg: Leg::Directories,
            from: BlockAddr(0),
            stop: None,
            sought: false,
            departing: false,
            begin: None,
            record_blocks: 0,
            turn: None,
            arriving: false,
            lacking: None,
        }
    }

    pub(super) const fn is_on(&self) -> bool {
        self.route.is_some()
    }

    pub(super) const fn is_departing(&self) -> bool {
        self.departing
    }

    /// Another dump is to be read.
    pub(super) const fn begin_dump(&mut self, leg: Leg) {
        self.begin_leg(leg);
        self.begin = None;
        self.record_blocks = 0;
        self.lacking = None;
    }

    const fn begin_leg(&mut self, leg: Leg) {
        self.leg = leg;
        self.from = BlockAddr(0);
        self.stop = None;
        self.sought = false;
        self.departing = false;
    }

    /// Another tape is in place. The one that was asked for out of turn, if it was that.
    pub(super) const fn handle_tape(&mut self) -> Option<TapeNo> {
        self.begin = None;
        let turn = self.turn.take();
        self.arriving |= turn.is_some();
        turn
    }

    /// The tape that was asked for out of turn.
    pub(super) const fn turn(&self) -> Option<TapeNo> {
        self.turn
    }

    /// The tape asked for was not given: nothing on it is looked for.
    pub(super) const fn lack_tape(&mut self, next: TapeNo) {
        self.lacking = Some(match self.turn.take() {
            Some(tape) => tape,
            None => next,
        });
        self.departing = true;
    }

    /// Where the dump begins on its tape is yet to be known.
    pub(super) const fn wants_begin(&self) -> bool {
        self.is_on() && self.begin.is_none()
    }

    pub(super) const fn set_begin(&mut self, begin: TapePosition) {
        self.begin = Some(begin);
    }

    /// The dump's records are as long as its first one.
    pub(super) const fn note_record(&mut self, len: usize) {
        if self.record_blocks == 0 {
            self.record_blocks = len.div_ceil(TAPE_BLOCK_LEN) as u64;
        }
    }

    fn next(&mut self, dump: u32, leg: Leg, from: BlockAddr) -> Result<Option<Stop>, RouteFailed> {
        match &mut self.route {
            Some(route) => route.next_stop(dump, leg, from),
            None => Ok(None),
        }
    }

    /// Whether there is anything to do in a dump, of its names or of what comes behind them.
    pub(super) fn leads_to(&mut self, dump: u32, names: bool) -> Result<bool, RouteFailed> {
        let legs: &[Leg] = if names { &[Leg::Directories] } else { &[Leg::Others, Leg::Attributes] };
        for leg in legs {
            if self.next(dump, *leg, BlockAddr(0))?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    const fn pass(&mut self, stop: Stop) {
        self.from = stop.block.plus(1);
        self.stop = None;
        self.sought = false;
    }

    /// Whether this is the header of what the stop is for. A later segment is, too, when the first one is lost.
    fn is_for(&self, header: &HeaderRepr, stop: Stop) -> bool {
        let Some(attributes) = &header.attributes else { return false };
        let role = header.extension.map_or(Role::Normal, |extension| extension.role);
        let directory = attributes.kind == Kind::Directory;
        let of_object = header.ino == stop.ino.0 && role == Role::Normal && !is_linux_extended(header);
        let right = match self.leg {
            Leg::Directories => of_object && directory,
            Leg::Others => of_object && !directory,
            Leg::Attributes => role == Role::Attributes && attributes.real_ino == u64::from(stop.ino.0),
        };
        let first = match header.kind {
            // Others count their blocks in their own way.
            HeaderKind::Inode => header.extension.is_none() || header.addr == stop.block,
            _ => header.extension.is_some() && header.addr > stop.block,
        };
        right && first
    }
}

impl<'m, T: TapeDevice, V: TargetVolume, B: BlockDevice, C: Crc32c> Restore<'m, T, V, B, C> {
    /// Goes straight to what is wanted, on tapes that can be positioned. Before the first [`step`](Self::step); then
    /// [`select`](Self::select) what the route leads to. The maps of the dumps are not read, so the route must not lead to what
    /// was deleted, nor to superseded copies.
    pub fn go_along(&mut self, route: &'m mut dyn Route) {
        self.way.route = Some(route);
    }

    fn route_failed(_: RouteFailed) -> RestoreError<T::Error, V::Error, B::Error> {
        RestoreError::Route
    }

    fn next_stop(&mut self) -> RestoreResult<Option<Stop>, T, V, B> {
        if self.way.stop.is_none() {
            let (leg, from) = (self.way.leg, self.way.from);
            self.way.stop = self.way.next(self.chain.at(), leg, from).map_err(Self::route_failed)?;
        }
        Ok(self.way.stop)
    }

    /// A header came: it is taken up, passed over, or left behind for the next stop.
    #[inline(never)]
    pub(super) fn follow(&mut self, header: HeaderRepr) -> RestoreResult<(), T, V, B> {
        if core::mem::replace(&mut self.way.arriving, false) {
            self.way.departing = true;
            return Ok(());
        }
        if header.kind == HeaderKind::Tape {
            return self.begin_object(header);
        }
        let Some(stop) = self.next_stop()? else {
            self.end_leg();
            return Ok(());
        };
        if self.way.is_for(&header, stop) {
            self.way.pass(stop);
            if self.way.leg != Leg::Attributes {
                // No map that announces it is read.
                let _ = self.maps.on_tape.insert(stop.ino);
            }
            return self.begin_object(header);
        }
        let ours = header.extension.is_some();
        let sought = core::mem::replace(&mut self.way.sought, false);
        if sought || header.kind == HeaderKind::End || ours && header.addr >= stop.block {
            self.miss(stop);
            self.held = Some(header);
            return Ok(());
        }
        let near = self.way.record_blocks.saturating_mul(NEAR_RECORDS);
        if ours && stop.tape == self.reader.tape() && stop.block.0.saturating_sub(header.addr.0) <= near {
            let attributes = header.attributes.unwrap_or(Attributes::new(Kind::File));
            let mut object = Object::new(&header, Ino(0), attributes, Use::Discard);
            object.data_entries = header.count as usize;
            self.object = Some(object);
            return Ok(());
        }
        self.seek(stop)
    }

    /// Goes to the next stop from anywhere.
    #[inline(never)]
    pub(super) fn depart(&mut self) -> RestoreResult<(), T, V, B> {
        match self.next_stop()? {
            Some(stop) => self.seek(stop),
            None => {
                self.end_leg();
                Ok(())
            }
        }
    }

    fn seek(&mut self, stop: Stop) -> RestoreResult<(), T, V, B> {
        self.way.departing = false;
        if stop.tape != self.reader.tape() && self.way.lacking != Some(stop.tape) {
            self.way.turn = Some(stop.tape);
            self.want_tape = true;
            self.tell(RestoreEvent::NeedTape(stop.tape));
            return Ok(());
        }
        let ahead = self.reader.tape_from().and_then(|first| stop.block.since(first));
        if let Some(ahead) = ahead.filter(|_| stop.tape == self.reader.tape()) {
            let begin = self.way.begin.unwrap_or_default();
            let blocks = self.way.record_blocks.max(1);
            let records = ahead / blocks;
            let record = begin.record.saturating_add(records);
            let skip = ahead.wrapping_sub(records.wrapping_mul(blocks)) as usize * TAPE_BLOCK_LEN;
            match self.tape.locate(TapePosition { file: begin.file, record }) {
                Ok(Spaced::Done) => {
                    self.reader.handle_seek(stop.block, skip);
                    self.way.sought = true;
                    self.summary.seeks = self.summary.seeks.saturating_add(1);
                    return Ok(());
                }
                Ok(_) => {}
                Err(source)
                    if self.read_errors >= READ_ERRORS_MAX || source.kind() == ErrorKind::Interrupted =>
                {
                    return Err(RestoreError::Tape { at: stop.block, source });
                }
                Err(source) => {
                    self.read_errors += 1;
                    self.damage(Damage::Unreadable { at: stop.block, error: source.kind() });
                }
            }
        }
        self.miss(stop);
        self.way.departing = true;
        Ok(())
    }

    /// The tape ended where a stop was to be.
    pub(super) fn end_at_stop(&mut self) -> RestoreResult<(), T, V, B> {
        if let Some(stop) = self.next_stop()? {
            self.miss(stop);
        }
        self.end_object()?;
        self.way.departing = true;
        Ok(())
    }

    /// A tape that was asked for is not there.
    pub(super) const fn lack_tape(&mut self) {
        self.way.lack_tape(self.reader.tape().next());
    }

    fn miss(&mut self, stop: Stop) {
        let ino = stop.ino;
        self.way.pass(stop);
        // Properties of an object are missed at the end of the dump: until they come its bit is set in the map of what is to come.
        if self.way.leg != Leg::Attributes {
            self.damage(Damage::Missing { ino });
        }
    }

    fn end_leg(&mut self) {
        match self.way.leg {
            Leg::Directories => {
                self.way.departing = false;
                self.phase = Phase::EndCatalog;
            }
            Leg::Others => {
                self.way.begin_leg(Leg::Attributes);
                self.way.departing = true;
            }
            Leg::Attributes => {
                self.way.departing = false;
                self.end_of_dump = true;
            }
        }
    }

    /// Directories are made: on to the files of the oldest dump, which is the present one.
    pub(super) fn begin_route_of_files(&mut self) -> RestoreResult<(), T, V, B> {
        let index = self.chain.at();
        self.end_of_dump = false;
        self.way.begin_leg(Leg::Others);
        if self.dump_known {
            self.way.departing = true;
        } else if self.way.leads_to(index, false).map_err(Self::route_failed)? {
            self.want_dump = true;
            self.tell(RestoreEvent::NeedDump { index });
        } else {
            self.end_of_dump = true;
        }
        Ok(())
    }
}
