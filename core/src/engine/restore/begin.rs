//! An object begins: what its first header says is looked at, and it is made on the target, or passed over.

use super::admission::QtreePlace;
use super::{Catalog, Collect, Damage, EMPTY_NAME, Object, Phase, Restore, RestoreError, RestoreEvent};
use super::{RestoreResult, Use};
use crate::catalog::Cursor;
use crate::checksum::Crc32c;
use crate::device::block::BlockDevice;
use crate::device::tape::TapeDevice;
use crate::device::volume::{Attributes, FailedPart, Kind, Place, TargetVolume};
use crate::engine::notes::NoteBuf;
use crate::limits::SYMLINK_LEN_MAX;
use crate::record::extension::{Role, extension_flags};
use crate::record::header::{HeaderKind, HeaderRepr, flags};
use crate::record::payload::PayloadParser;
use crate::units::{Ino, TAPE_BLOCK_LEN};

impl<T: TapeDevice, V: TargetVolume, B: BlockDevice, C: Crc32c> Restore<'_, T, V, B, C> {
    /// Takes up the object whose header is held.
    #[inline(never)]
    pub(super) fn begin_object(&mut self, repr: HeaderRepr) -> RestoreResult<(), T, V, B> {
        let building = matches!(self.catalog, Catalog::Building(_));
        match repr.kind {
            HeaderKind::Tape | HeaderKind::Unknown(_) => {}
            HeaderKind::InUseMap | HeaderKind::OnTapeMap => self.begin_map(&repr, building),
            HeaderKind::End => {
                self.end_of_dump = true;
                self.tell(RestoreEvent::End { at: repr.addr });
            }
            HeaderKind::Inode | HeaderKind::Continuation => {
                let role = repr.extension.map_or(Role::Normal, |extension| extension.role);
                let of_directory =
                    repr.attributes.is_some_and(|attributes| attributes.kind == Kind::Directory);
                if building && !(role == Role::Normal && of_directory) && !self.is_noise(&repr) {
                    self.held = Some(repr);
                    self.phase = Phase::EndCatalog;
                    return Ok(());
                }
                match (role, repr.attributes) {
                    (Role::Normal, Some(attributes)) if of_directory => {
                        self.begin_directory(&repr, attributes, building)?;
                    }
                    (Role::Normal, Some(attributes)) => self.begin_file(&repr, attributes)?,
                    (Role::Attributes, Some(attributes)) => self.begin_attributes(&repr, attributes)?,
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// A record that cannot be an object of this dump: foreign dumps have such before their files, too.
    fn is_noise(&self, repr: &HeaderRepr) -> bool {
        repr.attributes.is_none()
            || is_linux_extended(repr)
            || repr.extension.is_none() && repr.kind == HeaderKind::Continuation
    }

    fn begin_map(&mut self, repr: &HeaderRepr, building: bool) {
        let on_tape = repr.kind == HeaderKind::OnTapeMap;
        // BSD repeats the map at the beginning of each tape.
        let again = on_tape && self.map_seen || !building && !self.chain.is_named();
        self.map_seen |= on_tape;
        self.in_use_map_seen |= !on_tape;
        let taken = if again { Use::Discard } else { Use::Map { on_tape } };
        let mut object = Object::new(repr, Ino(0), Attributes::new(Kind::File), taken);
        object.tape_ino = repr.ino;
        object.data_entries = repr.count as usize;
        self.object = Some(object);
    }

    #[inline(never)]
    fn begin_directory(
        &mut self,
        repr: &HeaderRepr,
        attributes: Attributes,
        building: bool,
    ) -> RestoreResult<(), T, V, B> {
        let ino = Ino(repr.ino);
        if is_linux_extended(repr) {
            // Attributes of a directory that is passed over.
            return Ok(());
        }
        if !building && self.chain.is_named() {
            self.pass_directory(ino);
            self.await_properties(repr);
            return Ok(());
        }
        if self.chain.is_superseded(ino) {
            return Ok(());
        }
        let expected = self.maps.on_tape.contains(ino);
        if !building || repr.kind == HeaderKind::Continuation && !expected {
            // The names in it come too late: what they name is placed already.
            if expected && self.maps_good {
                self.maps.on_tape.remove(ino);
                self.damage(Damage::Directory { ino });
            }
            return Ok(());
        }
        if self.maps.unmade.contains(ino) {
            self.damage(Damage::Unannounced { ino });
            return Ok(());
        }
        if !(Ino::FIRST..=Ino::LAST).contains(&ino) || self.maps.unmade.insert(ino).is_err() {
            self.damage(Damage::BadObject { ino });
            return Ok(());
        }
        self.maps.on_tape.remove(ino);
        self.await_properties(repr);
        self.tell(RestoreEvent::Directory { ino, attributes, at: repr.addr });
        self.chain.note(ino);
        self.summary.directories += 1;
        let mut object = Object::new(repr, ino, attributes, Use::Directory);
        object.damaged_before = self.summary.damaged;
        if object.segment_at > 0 {
            self.damage(Damage::Directory { ino });
        }
        if let Catalog::Building(builder) = &mut self.catalog {
            let note = NoteBuf::attributes(&attributes);
            builder.note(&mut self.scratch, ino, note.bytes()).map_err(RestoreError::Scratch)?;
        }
        self.object = Some(object);
        Ok(())
    }

    #[inline(never)]
    fn begin_file(&mut self, repr: &HeaderRepr, attributes: Attributes) -> RestoreResult<(), T, V, B> {
        let ino = Ino(repr.ino);
        let mut object = Object::new(repr, ino, attributes, Use::Discard);
        let noise =
            is_linux_extended(repr) || repr.extension.is_none() && repr.kind == HeaderKind::Continuation;
        let announced = self.maps.on_tape.remove(ino) || !self.maps_good;
        let known = (Ino::FIRST..=Ino::LAST).contains(&ino);
        if !known {
            self.damage(Damage::BadObject { ino });
        } else if noise && repr.kind == HeaderKind::Continuation {
            // Where in the object it belongs, a foreign header does not tell.
            self.damage(Damage::Unannounced { ino });
        }
        let wanted = self.is_wanted(ino);
        if known && !noise && !wanted && self.way.is_on() {
            // The directories that name it did not come.
            self.damage(Damage::Missing { ino });
        }
        if noise || !known || !wanted || self.chain.is_superseded(ino) {
            self.object = Some(object);
            return Ok(());
        }
        let made = self.maps.passage.contains(ino);
        if !announced || made {
            self.damage(Damage::Unannounced { ino });
            // What is there is not given up for what comes again, nor are all its names made once more.
            if made || self.names_begin(ino)?.is_none() {
                self.object = Some(object);
                return Ok(());
            }
        }
        self.chain.note(ino);
        // What was for it in stage V has passed by.
        object.payload_bad |= ino <= self.last_owner;
        object.last = !announced || self.selected || self.maps.wanted.contains(ino);
        object.damaged_before = self.summary.damaged;
        let too_long = attributes.kind == Kind::Symlink && attributes.size > SYMLINK_LEN_MAX as u64;
        if object.segment_at > 0 || too_long {
            let to = if too_long { attributes.size } else { object.segment_at };
            self.damage(Damage::Data { ino, from: 0, to });
        }
        let (place, names) = self.first_place(ino, &mut object.name)?;
        if let (Some((parent, len)), false) = (place, too_long) {
            self.tell(RestoreEvent::Object { ino, attributes, at: repr.addr });
            self.ensure(parent, None)?;
            let place = Place { parent, name: object.name.get(..len).unwrap_or_default() };
            let created = self.target.create(place, ino, &attributes);
            if self.outcome(ino, FailedPart::Create, created)? {
                self.await_properties(repr);
                object.taken = Use::Target;
                object.made = true;
                object.place = (parent, len);
                object.names = names;
            } else {
                let _ = self.maps.unmade.insert(ino);
            }
        }
        self.object = Some(object);
        Ok(())
    }

    /// Properties of the object will come in stage V. Until then its bit is set in the map of what is to come, again: what is
    /// left of these at the end was lost.
    fn await_properties(&mut self, repr: &HeaderRepr) {
        let flags = repr.extension.map_or(0, |extension| extension.flags);
        if flags & extension_flags::PROPERTIES_APART != 0 {
            let _ = self.maps.on_tape.insert(Ino(repr.ino));
        }
    }

    /// Takes up a record of stage V: opens the object whose properties it holds.
    #[inline(never)]
    fn begin_attributes(&mut self, repr: &HeaderRepr, attributes: Attributes) -> RestoreResult<(), T, V, B> {
        let owner = Ino(u32::try_from(attributes.real_ino).unwrap_or_default());
        let mut object = Object::new(repr, owner, attributes, Use::Discard);
        object.payload_left = usize::try_from(attributes.size).unwrap_or(usize::MAX);
        // They come once for each object, in the order of their numbers.
        let again = owner <= self.last_owner;
        self.last_owner = self.last_owner.max(owner);
        // What has the name of an owner that was not restored is none of the dump's.
        let there = self.is_made(owner) && !again;
        if there {
            self.maps.on_tape.remove(owner);
        }
        let due = self.is_due(owner);
        let told =
            self.maps.unmade.contains(owner) || self.maps_good && self.maps.on_tape.contains(owner) || !due;
        if again || !there && !told {
            self.damage(Damage::Properties { ino: owner });
        }
        if !again {
            self.tell(RestoreEvent::Apart { ino: owner, at: repr.addr });
        }
        let mut name = EMPTY_NAME;
        if there
            && due
            && let Some((parent, len)) = self.owner_place(owner, &mut name)?
        {
            self.ensure(parent, None)?;
            self.target.barrier();
            let place = Place { parent, name: name.get(..len).unwrap_or_default() };
            let opened = self.target.reopen(place, owner);
            if self.outcome(owner, FailedPart::Attributes, opened)? {
                object.taken = Use::Attributes;
                object.payload_seen = true;
                object.qtree_place = QtreePlace::of(&self.target.capabilities(), parent, place.name);
            }
        }
        self.object = Some(object);
        Ok(())
    }
}

/// The record holds extended attributes of Linux, or something else of Linux'.
pub const fn is_linux_extended(repr: &HeaderRepr) -> bool {
    repr.extension.is_none() && repr.flags & flags::LINUX_EXTENDED != 0
}

impl Object {
    pub(super) fn new(repr: &HeaderRepr, ino: Ino, attributes: Attributes, taken: Use) -> Self {
        let mut object = Self {
            ino,
            tape_ino: repr.ino,
            attributes,
            taken,
            collect: Collect::Own,
            segment_at: 0,
            segment_end: 0,
            data_entries: 0,
            payload_left: 0,
            parser: PayloadParser::new(),
            payload_seen: false,
            payload_bad: false,
            data_len: 0,
            damaged_before: 0,
            last: false,
            // What is no directory is none of the kind: the target says so.
            qtree_place: QtreePlace::Yes,
            reduced: None,
            reduced_told: false,
            linux_xattrs: 0,
            astray: false,
            map_needed: 0,
            made: false,
            bad_entries: 0,
            place: (Ino::ROOT, 0),
            name: EMPTY_NAME,
            names: Cursor::START,
        };
        object.next_segment(repr);
        object
    }

    /// Counts an entry that is not taken, and keeps the first one's name.
    pub(super) fn refuse_entry(&mut self, name: &[u8]) {
        if self.bad_entries == 0 {
            self.name.iter_mut().zip(name).for_each(|(to, from)| *to = *from);
            self.place.1 = name.len().min(self.name.len());
        }
        self.bad_entries = self.bad_entries.saturating_add(1);
    }

    /// Takes up a segment; gives the range of data missing before it.
    pub(super) fn next_segment(&mut self, repr: &HeaderRepr) -> Option<(u64, u64)> {
        let expected = self.segment_end;
        let count = repr.count as usize;
        let (at, trailing, payload_len) = match &repr.extension {
            Some(extension) => {
                (extension.offset, usize::from(extension.trailing_blocks), extension.payload_len as usize)
            }
            None => (expected, 0, 0),
        };
        self.data_entries = count.saturating_sub(trailing);
        self.segment_at = at;
        self.segment_end = at.saturating_add(self.data_entries as u64 * TAPE_BLOCK_LEN as u64);
        if payload_len > 0 || trailing > 0 {
            // Blocks without a payload hold something that is lost; a second payload is of no object.
            self.payload_bad |= payload_len == 0 || self.payload_seen;
            self.payload_left = payload_len;
            self.payload_seen = true;
        }
        // A segment that is the directory's own after one that was not.
        self.astray = false;
        (at > expected && repr.kind == HeaderKind::Continuation)
            .then_some((expected, at.min(self.attributes.size)))
    }
}
