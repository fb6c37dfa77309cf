//! The tree side of a restore: selecting, making directories, finding lost ones a place, further names, and the
//! attributes of directories at the end.

use super::admission::{Piece, QtreePlace};
use super::places::digits;
use super::{
    Catalog, Damage, EMPTY_NAME, LOST_FOUND, Object, Orphans, Phase, Restore, RestoreError, RestoreEvent,
    Selected,
};
use super::{RestoreResult, RestoreStage};
use crate::catalog::Cursor;
use crate::checksum::Crc32c;
use crate::device::DeviceError;
use crate::device::block::BlockDevice;
use crate::device::tape::TapeDevice;
use crate::device::volume::{FailedPart, Made, NameBuf, Place, TargetVolume};
use crate::engine::names::{NOTE_LEN_MAX, Names, Walk};
use crate::engine::notes::Note;
use crate::units::Ino;

/// A directory and the length of a name in it, and where the object's further names begin.
type FirstPlace = (Option<(Ino, usize)>, Cursor);

impl<T: TapeDevice, V: TargetVolume, B: BlockDevice, C: Crc32c> Restore<'_, T, V, B, C> {
    /// Restores only what is selected: the object at `path` (components separated by `/`, from the root of the dump), a
    /// directory with all it holds. Between [`RestoreEvent::Catalogued`] and the next step.
    ///
    /// # Errors
    /// The scratch device failed.
    pub fn select(&mut self, path: &[u8]) -> RestoreResult<Selected, T, V, B> {
        let Catalog::Ready(names) = &mut self.catalog else { return Ok(Selected::NoSuchPath) };
        let mut parent = Ino::ROOT;
        let mut ino = Ino::ROOT;
        let mut last: &[u8] = &[];
        for component in path.split(|byte| *byte == b'/').filter(|name| !matches!(name, [] | [b'.'])) {
            parent = ino;
            match names.lookup(&mut self.scratch, parent, component).map_err(RestoreError::Scratch)? {
                Some(found) => ino = found,
                None => return Ok(Selected::NoSuchPath),
            }
            last = component;
        }
        let directory = self.maps.unmade.contains(ino);
        if !directory && self.maps_good && !self.maps.on_tape.contains(ino) && !self.chain.has(ino) {
            return Ok(Selected::NotOnDump);
        }
        self.selected = true;
        let mut above = parent;
        let mut name = EMPTY_NAME;
        while above != Ino::ROOT && self.maps.passage.insert(above).is_ok() {
            let parent =
                names.canonical(&mut self.scratch, above, &mut name).map_err(RestoreError::Scratch)?;
            match parent {
                Some((parent, _)) if !self.maps.passage.contains(parent) => above = parent,
                _ => break,
            }
        }
        let _ = self.maps.passage.insert(Ino::ROOT);
        if directory {
            self.want_tree(ino)?;
        } else {
            let _ = self.maps.wanted.insert(ino);
            for mark in self.marks(parent, last) {
                let _ = self.maps.picked.insert(mark);
            }
        }
        Ok(Selected::Yes)
    }

    fn want_tree(&mut self, top: Ino) -> RestoreResult<(), T, V, B> {
        let Catalog::Ready(names) = &mut self.catalog else { return Ok(()) };
        let _ = self.maps.wanted.insert(top);
        let mut walk = Walk::new(top);
        while let Some(visit) = walk.next(names, &mut self.scratch).map_err(RestoreError::Scratch)? {
            let first = !self.maps.wanted.contains(visit.ino);
            let _ = self.maps.wanted.insert(visit.ino);
            // Only once, and only by its canonical name: a hostile tape can name directories in circles.
            if first
                && self.maps.unmade.contains(visit.ino)
                && is_canonical(names, &mut self.scratch, &visit, &walk)?
            {
                walk.enter(visit.ino);
            }
        }
        Ok(())
    }

    /// The object was made on the target in this run, and may be opened there again.
    pub(super) fn is_made(&self, ino: Ino) -> bool {
        let made = self.maps.passage.contains(ino) || !self.selected && self.maps.wanted.contains(ino);
        ino == Ino::ROOT || made && !self.maps.unmade.contains(ino)
    }

    /// The object was made, well or not: whether a further copy of it would be taken. A second one always was the last.
    pub(super) fn note_made(&mut self, object: &Object) {
        let good = self.summary.damaged == object.damaged_before;
        let map = if good || object.last { &mut self.maps.passage } else { &mut self.maps.wanted };
        let _ = map.insert(object.ino);
    }

    /// Whether the present dump's object is to be restored.
    pub(super) fn is_due(&self, ino: Ino) -> bool {
        self.is_wanted(ino) && !self.chain.is_superseded(ino)
    }

    /// Whether an object is to be restored.
    pub(super) fn is_wanted(&self, ino: Ino) -> bool {
        !self.selected || self.maps.wanted.contains(ino)
    }

    /// Whether a selected object is to have this name.
    fn is_wanted_name(&self, directory: Ino, name: &[u8]) -> bool {
        !self.selected
            || self.maps.wanted.contains(directory)
            || self.marks(directory, name).iter().all(|mark| self.maps.picked.contains(*mark))
    }

    /// The places of a name in the map of picked names, by two hashes: CRC32C and FNV-1a. They only ever tell apart the names
    /// of one picked object, so that none is taken for another.
    fn marks(&self, directory: Ino, name: &[u8]) -> [Ino; 2] {
        let number = directory.0.to_be_bytes();
        let crc = C::update(C::update(0, &number), name);
        let mix = |hash: u32, byte: &u8| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
        let fnv = number.iter().chain(name).fold(0x811c_9dc5, mix);
        let places = u32::try_from(self.maps.picked.bytes().len().saturating_mul(8)).unwrap_or(u32::MAX);
        [crc, fnv].map(|hash| Ino(hash.checked_rem(places).unwrap_or(0).saturating_add(1)))
    }

    #[inline(never)]
    pub(super) fn end_catalog(&mut self) -> RestoreResult<(), T, V, B> {
        if self.chain.names_go_on() {
            return self.leave_dump();
        }
        if let Catalog::Building(builder) = core::mem::replace(&mut self.catalog, Catalog::Gone) {
            self.catalog = Catalog::Ready(builder.finish(&mut self.scratch).map_err(RestoreError::Scratch)?);
        }
        self.phase = Phase::Selecting;
        self.tell(RestoreEvent::Catalogued);
        Ok(())
    }

    /// One name of the walk that makes directories and shows the tree.
    #[inline(never)]
    pub(super) fn make_directories(&mut self) -> RestoreResult<(), T, V, B> {
        let Catalog::Ready(names) = &mut self.catalog else { return Ok(()) };
        let Some(visit) = self.walk.next(names, &mut self.scratch).map_err(RestoreError::Scratch)? else {
            self.maps.unmade.remove(Ino::ROOT);
            self.phase = Phase::Orphans;
            return Ok(());
        };
        let (mut name, len) = (EMPTY_NAME, visit.name_len);
        name.iter_mut().zip(self.walk.name()).for_each(|(to, from)| *to = *from);
        if visit.repeated {
            self.culprit = (name, len);
            self.damage(Damage::RepeatedName { ino: visit.directory });
        }
        let depth = self.walk.depth();
        let unmade = self.maps.unmade.contains(visit.ino) && visit.ino != Ino::ROOT;
        let wanted = self.is_wanted(visit.ino);
        if !unmade && self.maps.passage.contains(visit.ino) {
            self.culprit = (name, len);
            self.damage(Damage::DirectoryNamedTwice { ino: visit.ino, parent: visit.directory });
            return Ok(());
        }
        if !unmade {
            self.tell_unannounced(visit.ino);
            if wanted && self.is_wanted_name(visit.directory, name.get(..len).unwrap_or_default()) {
                self.tell(RestoreEvent::Entry {
                    ino: visit.ino,
                    parent: visit.directory,
                    depth,
                    directory: false,
                });
            }
            return Ok(());
        }
        if !(wanted || self.maps.passage.contains(visit.ino)) {
            return Ok(());
        }
        let Catalog::Ready(names) = &mut self.catalog else { return Ok(()) };
        if !is_canonical(names, &mut self.scratch, &visit, &self.walk)? {
            self.culprit = (name, len);
            self.damage(Damage::DirectoryNamedTwice { ino: visit.ino, parent: visit.directory });
            return Ok(());
        }
        if wanted {
            self.tell(RestoreEvent::Entry {
                ino: visit.ino,
                parent: visit.directory,
                depth,
                directory: true,
            });
        }
        self.maps.unmade.remove(visit.ino);
        let _ = self.maps.passage.insert(visit.ino);
        self.ensure(visit.directory, None)?;
        let place = Place { parent: visit.directory, name: self.walk.name() };
        let made = self.target.make_directory(place, visit.ino);
        if !wanted && matches!(made, Ok(Made::Kept)) {
            // Somebody else's directory, on the way: it stays as it is.
            self.maps.passage.remove(visit.ino);
        }
        self.outcome(visit.ino, FailedPart::Create, made)?;
        self.walk.enter(visit.ino);
        Ok(())
    }

    /// Tells an object that has a name and should be on the tape, when the maps know nothing of it.
    fn tell_unannounced(&mut self, ino: Ino) {
        let expected = self.baseline && self.chain.is_single() && self.maps_good && self.is_wanted(ino);
        if expected && !self.maps.on_tape.contains(ino) {
            self.damage(Damage::Missing { ino });
        }
    }

    /// Gives one directory that no walk reached a place in `lost+found`, and walks below it.
    #[inline(never)]
    pub(super) fn place_orphan(&mut self) -> RestoreResult<(), T, V, B> {
        let Orphans { from, circles } = self.orphans;
        let Some(ino) = self.maps.unmade.next_from(from).filter(|_| !self.selected) else {
            if circles || self.selected {
                return self.end_directories();
            }
            self.orphans = Orphans { from: Ino::FIRST, circles: true };
            return Ok(());
        };
        // Those before it are placed by now, or will be together with a directory above them.
        self.orphans.from = ino.next();
        let Catalog::Ready(names) = &mut self.catalog else { return Ok(()) };
        let mut name = EMPTY_NAME;
        let parent = names.canonical(&mut self.scratch, ino, &mut name).map_err(RestoreError::Scratch)?;
        if !circles && parent.is_some_and(|(parent, _)| self.maps.unmade.contains(parent)) {
            return Ok(());
        }
        self.culprit = (name, parent.map_or(0, |(_, len)| len));
        self.damage(match parent {
            Some((parent, _)) => Damage::DirectoryNamedTwice { ino, parent },
            None => Damage::Nameless { ino },
        });
        self.make_lost_found()?;
        let _ = self.maps.lost.insert(ino);
        self.maps.unmade.remove(ino);
        let _ = self.maps.passage.insert(ino);
        let len = digits(ino.0, &mut name);
        let name = name.get(..len).unwrap_or_default();
        let made = self.target.make_directory(Place { parent: LOST_FOUND, name }, ino);
        self.outcome(ino, FailedPart::Create, made)?;
        self.walk = Walk::new(ino);
        self.phase = Phase::Directories;
        Ok(())
    }

    fn end_directories(&mut self) -> RestoreResult<(), T, V, B> {
        if self.directories_only {
            self.target.barrier();
            self.phase = Phase::SetAttributes { cursor: Cursor::START };
            self.begin(RestoreStage::Attributes);
            return Ok(());
        }
        self.phase = Phase::Stream;
        self.begin(RestoreStage::Files);
        if self.way.is_on() { self.begin_route_of_files() } else { Ok(()) }
    }

    /// Where the owner of a record of stage V was made; the root's name is empty.
    pub(super) fn owner_place(
        &mut self,
        owner: Ino,
        name: &mut NameBuf,
    ) -> RestoreResult<Option<(Ino, usize)>, T, V, B> {
        let directory = match &mut self.catalog {
            Catalog::Ready(names) => {
                let cursor = names.notes_of(&mut self.scratch, owner).map_err(RestoreError::Scratch)?;
                names.peek_directory(&mut self.scratch, cursor).map_err(RestoreError::Scratch)? == Some(owner)
            }
            _ => false,
        };
        if !directory {
            return Ok(self.first_place(owner, name)?.0);
        }
        let place = self.place_of(owner, name)?.or((owner == Ino::ROOT).then_some((Ino::ROOT, 0)));
        if let Some((parent, _)) = place {
            self.ensure(parent, None)?;
            self.ensure(owner, Some(parent))?;
        }
        Ok(place)
    }

    /// The first wanted name of an object that is no directory; in `lost+found` when there is none at all.
    #[inline(never)]
    pub(super) fn first_place(&mut self, ino: Ino, name: &mut NameBuf) -> RestoreResult<FirstPlace, T, V, B> {
        let mut cursor = self.cursor_of(ino)?;
        let mut any = false;
        while let Some((parent, len)) = self.next_name(&mut cursor, ino, name)? {
            any = true;
            if self.is_wanted_name(parent, name.get(..len).unwrap_or_default()) {
                return Ok((Some((parent, len)), cursor));
            }
        }
        if any || self.selected {
            return Ok((None, cursor));
        }
        if !self.maps.lost.contains(ino) {
            self.damage(Damage::Nameless { ino });
        }
        self.make_lost_found()?;
        let _ = self.maps.lost.insert(ino);
        Ok((Some((LOST_FOUND, digits(ino.0, name))), cursor))
    }

    /// The first directory that names an object.
    pub(super) fn names_begin(&mut self, ino: Ino) -> RestoreResult<Option<Ino>, T, V, B> {
        let mut name = EMPTY_NAME;
        let mut cursor = self.cursor_of(ino)?;
        let place = self.next_name(&mut cursor, ino, &mut name)?;
        Ok(place.map(|(parent, _)| parent))
    }

    /// Where the names of `ino` begin. Objects mostly come in ascending order, and so do their names.
    fn cursor_of(&mut self, ino: Ino) -> RestoreResult<Cursor, T, V, B> {
        let Catalog::Ready(names) = &mut self.catalog else { return Ok(Cursor::START) };
        let here = names.peek_named(&mut self.scratch, self.name_cursor).map_err(RestoreError::Scratch)?;
        // Of the object before, or of one before that, some names may be passed already.
        let passed = core::mem::replace(&mut self.name_ino, ino) >= ino;
        if here != Some(ino) || passed {
            self.name_cursor = names.names_of(&mut self.scratch, ino).map_err(RestoreError::Scratch)?;
        }
        Ok(self.name_cursor)
    }

    fn next_name(
        &mut self,
        cursor: &mut Cursor,
        ino: Ino,
        name: &mut NameBuf,
    ) -> RestoreResult<Option<(Ino, usize)>, T, V, B> {
        let Catalog::Ready(names) = &mut self.catalog else { return Ok(None) };
        let next = names.next_name(&mut self.scratch, cursor, ino, name).map_err(RestoreError::Scratch)?;
        self.name_cursor = *cursor;
        Ok(next)
    }

    /// One further name of the object that was just finished.
    #[inline(never)]
    pub(super) fn link(&mut self) -> RestoreResult<(), T, V, B> {
        let Some(mut object) = self.linking.take() else { return Ok(()) };
        let mut name = EMPTY_NAME;
        let mut cursor = object.names;
        let Some((parent, len)) = self.next_name(&mut cursor, object.ino, &mut name)? else { return Ok(()) };
        object.names = cursor;
        if self.is_wanted_name(parent, name.get(..len).unwrap_or_default()) {
            let (first, first_len) = object.place;
            self.ensure(first, None)?;
            self.ensure(parent, Some(first))?;
            let existing = Place { parent: first, name: object.name.get(..first_len).unwrap_or_default() };
            let place = Place { parent, name: name.get(..len).unwrap_or_default() };
            let linked = self.target.link(existing, place, object.ino);
            if self.outcome(object.ino, FailedPart::Link, linked)? {
                self.summary.links += 1;
            }
        }
        self.linking = Some(object);
        Ok(())
    }

    /// Tells what the map and the objects announced and the tape did not hold, one object a step.
    #[inline(never)]
    pub(super) fn tell_missing(&mut self, from: Ino) -> RestoreResult<(), T, V, B> {
        if let Some(ino) = self.maps.on_tape.next_from(from).filter(|ino| *ino <= Ino::LAST) {
            self.phase = Phase::Missing { from: ino.next() };
            let made = self.is_made(ino) && ino != Ino::ROOT;
            if (made || self.maps_good) && self.is_due(ino) {
                self.damage(if made { Damage::Properties { ino } } else { Damage::Missing { ino } });
            }
            return Ok(());
        }
        self.phase = Phase::Absent { from: Ino::FIRST };
        Ok(())
    }

    /// Tells what the chain should have and no dump of it has, one object a step.
    #[inline(never)]
    pub(super) fn tell_absent(&mut self, from: Ino) -> RestoreResult<(), T, V, B> {
        let Some(ino) = self.chain.next_absent(from) else { return self.leave_dump() };
        self.phase = Phase::Absent { from: ino.next() };
        if self.is_wanted(ino) {
            self.damage(Damage::Missing { ino });
        }
        Ok(())
    }

    /// Attributes and properties of the next directory; the end when there is none.
    pub(super) fn set_attributes(&mut self, cursor: Cursor) -> RestoreResult<(), T, V, B> {
        let Catalog::Ready(names) = &mut self.catalog else { return self.finish() };
        let Some(ino) = names.peek_directory(&mut self.scratch, cursor).map_err(RestoreError::Scratch)?
        else {
            return self.finish();
        };
        let next = names.notes_of(&mut self.scratch, ino.next()).map_err(RestoreError::Scratch)?;
        self.phase = Phase::SetAttributes { cursor: next };
        let made = !self.maps.unmade.contains(ino);
        if made
            && (self.is_wanted(ino) || self.selected && self.maps.passage.contains(ino) && ino != Ino::ROOT)
        {
            self.directory_notes(ino, cursor)?;
        }
        Ok(())
    }

    #[inline(never)]
    fn directory_notes(&mut self, ino: Ino, mut cursor: Cursor) -> RestoreResult<(), T, V, B> {
        let mut name = EMPTY_NAME;
        let (parent, len) = self.place_of(ino, &mut name)?.unwrap_or((Ino::ROOT, 0));
        self.ensure(parent, None)?;
        self.ensure(ino, Some(parent))?;
        let place = Place { parent, name: name.get(..len).unwrap_or_default() };
        let opened = self.target.reopen(place, ino);
        if !self.outcome(ino, FailedPart::Attributes, opened)? {
            return Ok(());
        }
        let qtree_place = QtreePlace::of(&self.target.capabilities(), parent, place.name);
        let mut note = [0; NOTE_LEN_MAX];
        let mut attributes = None;
        let mut told = false;
        let mut reduced = None;
        while let Catalog::Ready(names) = &mut self.catalog {
            let found = names.next_note(&mut self.scratch, &mut cursor, ino, &mut note);
            let Some(len) = found.map_err(RestoreError::Scratch)? else { break };
            let result = match Note::parse(note.get(..len).unwrap_or_default()) {
                Some(Note::Attributes(found)) => {
                    attributes = Some(found);
                    continue;
                }
                Some(Note::Property { kind, name, value_len }) => {
                    if let Err(reduction) = self.admission.begin(kind, value_len, qtree_place) {
                        reduced = reduced.or(reduction);
                        continue;
                    }
                    (FailedPart::Property(kind), self.target.begin_property(kind, name, value_len))
                }
                Some(Note::Piece(piece)) => match self.admission.piece(piece) {
                    Piece::Passes => (FailedPart::Attributes, self.target.write_property(piece)),
                    Piece::Stays => continue,
                    Piece::Ends(reduction) => {
                        self.target.abandon_property();
                        reduced = reduced.or(Some(reduction));
                        continue;
                    }
                },
                None => continue,
            };
            self.outcome_once(&mut told, ino, result.0, result.1)?;
        }
        match attributes {
            Some(attributes) => {
                let finished = self.target.finish(&attributes);
                self.outcome(ino, FailedPart::Attributes, finished)?;
            }
            None => self.target.release(),
        }
        if let Some(what) = reduced {
            self.reduced(ino, what);
        }
        Ok(())
    }

    #[inline(never)]
    fn finish(&mut self) -> RestoreResult<(), T, V, B> {
        self.target.barrier();
        if let Some(failure) = self.target.poll_failure() {
            return self.failure(failure);
        }
        self.target.flush().map_err(|source| RestoreError::Target { ino: Ino::ROOT, source }).or_else(
            |error| match &error {
                RestoreError::Target { source, .. }
                    if source.kind() == crate::device::ErrorKind::Unsupported =>
                {
                    Ok(())
                }
                _ => Err(error),
            },
        )?;
        // What only the end brings to light.
        if let Some(failure) = self.target.poll_failure() {
            return self.failure(failure);
        }
        self.phase = Phase::Over;
        self.summary = self.progress();
        self.reader.restart();
        self.tell(RestoreEvent::Done(self.summary));
        Ok(())
    }

    /// Releases an object whose further names are to be made next.
    pub(super) fn begin_links(&mut self, object: Object) {
        self.linking = Some(object);
    }
}

/// Whether the walk came to a directory by the one name that counts.
fn is_canonical<T, V, B: BlockDevice, C: Crc32c>(
    names: &mut Names<'_, C>,
    scratch: &mut B,
    visit: &crate::engine::names::Visit,
    walk: &Walk,
) -> Result<bool, RestoreError<T, V, B::Error>> {
    let mut name = EMPTY_NAME;
    let canonical = names.canonical(scratch, visit.ino, &mut name).map_err(RestoreError::Scratch)?;
    Ok(canonical
        .is_some_and(|(parent, len)| parent == visit.directory && name.get(..len) == Some(walk.name())))
}
