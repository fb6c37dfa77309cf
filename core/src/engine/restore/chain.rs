//! Several dumps restored as one: a baseline and the increments up to the newest.
//!
//! ```text
//! names   newest -> oldest    maps and directories: each directory from the newest dump that has it
//! files             oldest    of the objects that no newer dump has
//!         newest -> ...       the others, each dump with what no newer one has
//! ```
//!
//! What is in use when the newest dump was made is what there is; deleted objects are in none of its maps. Numbers
//! identify objects over all dumps of a chain, so renames and links need nothing: directories that changed are in the
//! newer dumps, whole.

use super::{Damage, Leg, Phase, Restore, RestoreError, RestoreEvent, RestoreResult};
use crate::checksum::Crc32c;
use crate::device::block::BlockDevice;
use crate::device::tape::TapeDevice;
use crate::device::volume::TargetVolume;
use crate::limits::CHAIN_LEN_MAX;
use crate::record::header::HeaderRepr;
use crate::record::map::DumpMap;
use crate::units::Ino;

/// Maps that [`super::RestoreMemory::chain`] is divided into.
pub(super) const CHAIN_MAPS: usize = 3;

/// A dump of a chain, as its header tells.
#[derive(Clone, Copy)]
struct Link {
    date: u32,
    base_date: u32,
}

/// The chain, and where in it the restore is.
pub(super) struct Chain<'m> {
    /// Dumps, and the present one; 0 is the newest.
    len: u32,
    at: u32,
    /// The names of all dumps are read.
    named: bool,
    /// Those that were seen.
    links: [Option<Link>; CHAIN_LEN_MAX],
    /// What was in use when the newest dump was made; whether that is known.
    in_use: DumpMap<'m>,
    in_use_good: bool,
    /// Objects that newer dumps than the present one have.
    newer: DumpMap<'m>,
    /// Objects that the present dump has.
    present: DumpMap<'m>,
    /// The newest dump is one of ours: what is in use is in one of its chain.
    complete: bool,
}

impl<'m> Chain<'m> {
    /// `maps` must be zero.
    pub(super) fn new(len: u32, maps: &'m mut [u8]) -> Self {
        let each = maps.len() / CHAIN_MAPS;
        let (in_use, rest) = maps.split_at_mut_checked(each).unwrap_or_default();
        let (newer, rest) = rest.split_at_mut_checked(each).unwrap_or_default();
        let present = rest.get_mut(..each).unwrap_or_default();
        Self {
            len: len.clamp(1, CHAIN_LEN_MAX as u32),
            at: 0,
            named: false,
            links: [None; CHAIN_LEN_MAX],
            in_use: DumpMap::zeroed(in_use),
            in_use_good: false,
            newer: DumpMap::zeroed(newer),
            present: DumpMap::zeroed(present),
            complete: false,
        }
    }

    /// The names of all dumps are read, and the files of the oldest.
    pub(super) const fn is_named(&self) -> bool {
        self.named
    }

    /// The present dump, counted from the newest.
    pub(super) const fn at(&self) -> u32 {
        self.at
    }

    pub(super) const fn is_single(&self) -> bool {
        self.len == 1
    }

    /// The newest dump's map of what is in use is wanted, and this is it.
    pub(super) const fn takes_in_use(&self) -> bool {
        !self.is_single() && self.at == 0 && !self.named
    }

    /// Puts bytes of the newest dump's map; gives those there is no room for.
    pub(super) fn put_in_use<'b>(&mut self, at: usize, bytes: &'b [u8]) -> &'b [u8] {
        self.in_use.put(at, bytes)
    }

    /// The newest dump's map is whole, or not.
    pub(super) fn end_in_use(&mut self, good: bool) {
        if self.takes_in_use() {
            self.in_use_good = good;
        }
    }

    /// The present dump's map of what is on its tapes is whole.
    pub(super) fn end_on_tape(&mut self, on_tape: &DumpMap<'_>) {
        if !self.is_single() {
            self.present.clear();
            self.present.put(0, on_tape.view().bytes());
        }
    }

    /// Notes an object of the present dump, where the map does not tell.
    pub(super) fn note(&mut self, ino: Ino) {
        if !self.is_single() {
            // Beyond the map there is no object that the restore would take.
            let _ = self.present.insert(ino);
        }
    }

    /// The present dump's copy of the object is not wanted: a newer one has it, or it was deleted.
    pub(super) fn is_superseded(&self, ino: Ino) -> bool {
        !self.is_single() && (self.newer.contains(ino) || self.in_use_good && !self.in_use.contains(ino))
    }

    /// Some dump of the chain, as far as they are read, has the object.
    pub(super) fn has(&self, ino: Ino) -> bool {
        self.newer.contains(ino)
    }

    /// Names are read of dumps newer than the present one or of itself, and older ones are to come.
    pub(super) const fn names_go_on(&self) -> bool {
        !self.named && self.at + 1 < self.len
    }

    /// The first object from `from` on that there is as of the newest dump, where that is known.
    pub(super) fn next_in_use(&self, from: Ino) -> Option<Ino> {
        let known = !self.is_single() && self.in_use_good;
        self.in_use.next_from(from).filter(|_| known)
    }

    /// The first object from `from` on that was in use and is in no dump; asked when the oldest dump is read.
    pub(super) fn next_absent(&self, from: Ino) -> Option<Ino> {
        if self.is_single() || !self.complete || !self.in_use_good || self.at + 1 != self.len {
            return None;
        }
        let mut from = from;
        loop {
            let ino = self.in_use.next_from(from)?;
            if !self.newer.contains(ino) && !self.present.contains(ino) {
                return Some(ino);
            }
            from = ino.next();
        }
    }

    /// Leaves the present dump; gives the next one to be read, if there is one.
    fn leave(&mut self) -> Option<u32> {
        if self.is_single() {
            return None;
        }
        let oldest = self.at + 1 == self.len;
        match (self.named, oldest) {
            (_, true) => {
                // Its files were read with its names; now those of the others, from the newest on.
                self.named = true;
                self.newer.clear();
                self.at = 0;
            }
            (true, false) if self.at + 2 >= self.len => return None,
            _ => {
                let mut from = Ino::FIRST;
                while let Some(ino) = self.present.next_from(from) {
                    let _ = self.newer.insert(ino);
                    from = ino.next();
                }
                self.at += 1;
            }
        }
        self.present.clear();
        Some(self.at)
    }

    /// Checks that the dump that was found is the one that belongs here; the error is the date it should have. `true`: it is
    /// seen for the first time.
    fn admit(&mut self, header: &HeaderRepr) -> Result<bool, u32> {
        let before = self.at.checked_sub(1).and_then(|at| self.links.get(at as usize)).copied().flatten();
        let Some(place) = self.links.get_mut(self.at as usize) else { return Ok(false) };
        if let Some(link) = place {
            return if link.date == header.date { Ok(false) } else { Err(link.date) };
        }
        *place = Some(Link { date: header.date, base_date: header.base_date });
        if self.at == 0 {
            self.complete = header.extension.is_some();
        }
        match before {
            Some(newer) if newer.base_date != header.date => Err(newer.base_date),
            _ => Ok(true),
        }
    }
}

impl<T: TapeDevice, V: TargetVolume, B: BlockDevice, C: Crc32c> Restore<'_, T, V, B, C> {
    /// The next dump of the chain, for [`RestoreEvent::NeedDump`]: `tape` stands at its beginning. Without one the present
    /// tape does, moved there by [`tape_mut`](Self::tape_mut). Gives back the tape before.
    pub fn next_dump(&mut self, tape: Option<T>) -> Option<T> {
        self.want_dump = false;
        tape.map(|tape| core::mem::replace(&mut self.tape, tape))
    }

    /// The tape, to move it to the next dump of the chain.
    pub const fn tape_mut(&mut self) -> &mut T {
        &mut self.tape
    }

    /// The first header of a dump was found.
    pub(super) fn admit(&mut self, header: &HeaderRepr) -> RestoreResult<bool, T, V, B> {
        let index = self.chain.at;
        self.chain.admit(header).map_err(|wanted| RestoreError::WrongDump {
            index,
            wanted,
            found: header.date,
        })
    }

    /// The names of the present dump, or its files, are read: on with the next dump, or to the end of the stage.
    pub(super) fn leave_dump(&mut self) -> RestoreResult<(), T, V, B> {
        loop {
            let Some(index) = self.chain.leave() else {
                self.target.barrier();
                self.phase = Phase::SetAttributes { cursor: crate::catalog::Cursor::START };
                self.begin(super::RestoreStage::Attributes);
                return Ok(());
            };
            self.end_reading();
            let names = !self.chain.is_named();
            self.way.begin_dump(if names { Leg::Directories } else { Leg::Others });
            if !self.way.is_on() || self.way.leads_to(index, names).map_err(|_| RestoreError::Route)? {
                self.want_dump = true;
                self.phase = Phase::Stream;
                self.tell(RestoreEvent::NeedDump { index });
                return Ok(());
            }
            if names && !self.chain.names_go_on() {
                // The names of the oldest dump are the last ones, and none of them is wanted.
                self.phase = Phase::EndCatalog;
                return Ok(());
            }
        }
    }

    /// Forgets what is known of the present dump only.
    fn end_reading(&mut self) {
        self.summary = self.progress();
        self.reader.restart();
        self.maps.on_tape.clear();
        self.held = None;
        self.object = None;
        self.last_owner = Ino(0);
        self.baseline = false;
        self.maps_good = false;
        self.map_seen = false;
        self.in_use_map_seen = false;
        self.map_damaged = false;
        self.dump_known = false;
        self.end_of_dump = false;
        self.want_tape = false;
    }

    /// A directory that comes again, when the files are read: its names are known.
    pub(super) fn pass_directory(&mut self, ino: Ino) {
        let expected = self.maps.on_tape.remove(ino);
        let known = ino == Ino::ROOT || self.maps.passage.contains(ino) || self.maps.unmade.contains(ino);
        if expected && self.maps_good && !known && !self.chain.is_superseded(ino) && !self.selected {
            self.damage(Damage::Directory { ino });
        }
    }
}
