//! The tape side of a restore: records into headers and blocks, and what each object does with its own.

use super::admission::{Piece, QtreePlace};
use super::begin::is_linux_extended;
use super::{
    Catalog, Collect, Damage, DumpInfo, EMPTY_NAME, Object, Phase, Restore, RestoreError, RestoreEvent,
    is_final,
};
use super::{RestoreResult, Use};
use crate::catalog::WhichMap;
use crate::checksum::Crc32c;
use crate::device::DeviceError;
use crate::device::block::BlockDevice;
use crate::device::tape::{TapeDevice, TapeRead};
use crate::device::volume::{FailedPart, Kind, TargetVolume};
use crate::engine::notes::NoteBuf;
use crate::engine::restore::sink::{Sink, SinkError};
use crate::limits::READ_ERRORS_MAX;
use crate::record::dialect::Dialect;
use crate::record::extension::extension_flags;
use crate::record::header::{Header, HeaderKind, HeaderRepr, LINUX_EXTENDED_XATTR};
use crate::record::linux_xattr::LinuxXattrs;
use crate::stream::reader::{Preceding, ReaderAction};
use crate::units::{BlockingFactor, Ino, TAPE_BLOCK_LEN};

/// Attribute blocks of Linux that an object has: one in its inode, one beside it.
const LINUX_XATTRS_MAX: u32 = 2;

/// A POSIX ACL converted from Linux' on-disk form: larger ones are refused.
const ACL_LEN_MAX: usize = 2048;

/// What takes blocks, and the blocks.
type SinkAndData<'s, 'm, V, B, C> = (Sink<'s, 'm, V, B, C>, &'s [u8]);

impl<'m, T: TapeDevice, V: TargetVolume, B: BlockDevice, C: Crc32c> Restore<'m, T, V, B, C> {
    /// One action of the reader.
    #[inline(never)]
    pub(super) fn read(&mut self) -> RestoreResult<(), T, V, B> {
        match self.reader.poll().map_err(RestoreError::Stream)? {
            ReaderAction::NeedRecord => self.read_record(),
            ReaderAction::Gap(gap) => {
                self.damage(Damage::Gap(gap));
                Ok(())
            }
            ReaderAction::Header { repr, view, preceding } => {
                let info = (!self.dump_known).then(|| dump_info(&repr, view));
                if let (Some(mut info), Some(dialect)) = (info, self.reader.dialect()) {
                    info.dialect = dialect;
                    self.dump_known = true;
                    self.dialect = dialect;
                    self.record_len = info.blocking as usize * TAPE_BLOCK_LEN;
                    self.baseline = info.id.is_some() && info.base_date == 0 && info.level == 0;
                    let first_sight = self.admit(&repr)?;
                    if first_sight {
                        self.summary.checked = info.id.is_some() && (!self.any_dump || self.summary.checked);
                        self.any_dump = true;
                        self.tell(RestoreEvent::Dump(info));
                    }
                }
                self.header(repr, preceding)
            }
            ReaderAction::Data { entry, .. } => self.take_data(entry),
            ReaderAction::Ended if self.way.is_on() && !is_taken_up(self.object.as_ref()) => {
                self.end_at_stop()
            }
            ReaderAction::Ended => {
                self.want_tape = true;
                self.tell(RestoreEvent::NeedTape(self.reader.tape().next()));
                Ok(())
            }
        }
    }

    /// The present object takes the blocks that the reader gave last.
    #[inline(never)]
    fn take_data(&mut self, entry: usize) -> RestoreResult<(), T, V, B> {
        let Some((mut sink, bytes)) = self.sink() else { return Ok(()) };
        let result = sink.data(entry, bytes);
        self.tell_reduced();
        let ino = self.object.as_ref().map_or(Ino::ROOT, |object| object.ino);
        match result {
            Ok(()) => {
                self.tell_map(entry);
                Ok(())
            }
            Err(SinkError::Scratch(error)) => Err(RestoreError::Scratch(error)),
            Err(SinkError::Target(what, error)) => {
                self.outcome::<()>(ino, what, Err(error))?;
                if what == FailedPart::Data {
                    self.target.release();
                    if let Some(object) = &mut self.object {
                        object.taken = Use::Discard;
                    }
                }
                Ok(())
            }
        }
    }

    /// Tells what the target could not hold of the present object, once.
    fn tell_reduced(&mut self) {
        let Some(object) = self.object.as_mut().filter(|object| !object.reduced_told) else { return };
        if let Some(what) = object.reduced {
            object.reduced_told = true;
            let ino = object.ino;
            self.reduced(ino, what);
        }
    }

    /// Tells the blocks of a map, as long as the names are gathered.
    fn tell_map(&mut self, entry: usize) {
        let Some(object) = &self.object else { return };
        let Use::Map { on_tape } = object.taken else { return };
        if matches!(self.catalog, Catalog::Building(_)) {
            let which = if on_tape { WhichMap::OnTape } else { WhichMap::InUse };
            let at = object.segment_at.saturating_add(entry as u64 * TAPE_BLOCK_LEN as u64);
            self.tell(RestoreEvent::Map { which, at });
        }
    }

    fn sink(&mut self) -> Option<SinkAndData<'_, 'm, V, B, C>> {
        let sink = Sink {
            object: self.object.as_mut()?,
            maps: &mut self.maps,
            chain: &mut self.chain,
            target: &mut self.target,
            admission: &mut self.admission,
            catalog: &mut self.catalog,
            scratch: &mut self.scratch,
            linux_xattrs: self.linux_xattrs,
            data_len: &mut self.summary.data_len,
            dialect: self.dialect,
        };
        Some((sink, self.reader.last_data()))
    }

    #[inline(never)]
    fn read_record(&mut self) -> RestoreResult<(), T, V, B> {
        let at = self.reader.record_addr();
        if self.way.wants_begin() {
            let begin = self.tape.position().map_err(|source| RestoreError::Tape { at, source })?;
            self.way.set_begin(begin);
        }
        let space = self.reader.space();
        let limit = space.len();
        match self.tape.read(space) {
            Ok(TapeRead::Record(len)) => {
                self.read_errors = 0;
                self.summary.records = self.summary.records.saturating_add(1);
                self.way.note_record(len);
                self.reader.handle_record(len);
            }
            Ok(TapeRead::Filemark | TapeRead::EndOfData) => self.reader.handle_end(),
            Ok(TapeRead::BufferTooSmall { needed }) => {
                let limit = limit - limit % TAPE_BLOCK_LEN;
                return Err(RestoreError::RecordTooLong { len: needed, limit });
            }
            Err(source)
                if self.read_errors >= READ_ERRORS_MAX
                    || source.kind() == crate::device::ErrorKind::Interrupted =>
            {
                return Err(RestoreError::Tape { at, source });
            }
            Err(source) => {
                self.read_errors += 1;
                let likely =
                    if self.record_len > 0 { self.record_len } else { BlockingFactor::DEFAULT.record_len() };
                self.reader.handle_unreadable(likely);
                self.damage(Damage::Unreadable { at, error: source.kind() });
            }
        }
        Ok(())
    }

    /// The input ended before the dump did, and there is no further tape.
    pub(super) fn truncated(&mut self) -> RestoreResult<(), T, V, B> {
        self.damage(Damage::Truncated { at: self.reader.addr() });
        if let Some(object) = &self.object {
            let (ino, from, size) = (object.ino, object.segment_at, object.attributes.size);
            match object.taken {
                Use::Directory => self.damage(Damage::Directory { ino }),
                Use::Map { on_tape } => self.damage_map(on_tape),
                Use::Target => self.damage(Damage::Data { ino, from, to: size.max(from) }),
                Use::Attributes => self.damage(Damage::Properties { ino }),
                _ => {}
            }
            if let Some(object) = &mut self.object {
                object.segment_end = u64::MAX;
            }
        }
        self.end_object()?;
        if self.way.is_on() {
            self.lack_tape();
        } else {
            self.end_of_dump = true;
        }
        Ok(())
    }

    /// The stream is read to its end.
    pub(super) fn close_stream(&mut self) {
        if matches!(self.catalog, Catalog::Building(_)) {
            self.phase = Phase::EndCatalog;
            return;
        }
        // Linux marks number 1 in its maps, which no object has.
        self.phase = Phase::Missing { from: Ino::FIRST };
        // Only a dump with nothing in it does without the map of what is.
        let empty = self.in_use_map_seen && self.summary.directories == 0;
        if !self.map_seen && !empty && !self.way.is_on() {
            self.damage(Damage::Maps);
        }
    }

    fn damage_map(&mut self, on_tape: bool) {
        self.map_damaged |= on_tape;
        self.in_use_damaged |= !on_tape;
        self.damage(Damage::Maps);
    }

    #[inline(never)]
    fn header(&mut self, repr: HeaderRepr, preceding: Preceding) -> RestoreResult<(), T, V, B> {
        self.settle(&repr, preceding);
        self.linux_xattrs_ended()?;
        let Some(object) = &mut self.object else {
            self.held = Some(repr);
            return Ok(());
        };
        let same = object.tape_ino == repr.ino;
        let extended = is_linux_extended(&repr);
        match repr.kind {
            HeaderKind::Continuation if same && object.collect == Collect::Own => {
                let missing = object.next_segment(&repr);
                let ino = object.ino;
                if let (Some((from, to)), true) = (missing, object.taken == Use::Target) {
                    self.damage(Damage::Data { ino, from, to });
                }
                Ok(())
            }
            HeaderKind::Continuation if same => Ok(()),
            HeaderKind::Inode if same && extended => {
                let ours = repr.linux_extended == LINUX_EXTENDED_XATTR
                    && matches!(object.taken, Use::Target | Use::Directory);
                let len = repr.attributes.map_or(0, |attributes| attributes.size) as usize;
                // What does not come is no attribute of the object before.
                self.linux_xattrs.fill(0);
                object.collect = Collect::Ignore;
                if ours && object.linux_xattrs < LINUX_XATTRS_MAX {
                    object.linux_xattrs += 1;
                    object.collect = Collect::LinuxXattrs { len };
                } else if ours {
                    let ino = object.ino;
                    self.damage(Damage::Properties { ino });
                }
                Ok(())
            }
            // The next tape begins in the middle of an object.
            HeaderKind::Tape => Ok(()),
            _ => {
                self.end_object()?;
                self.held = Some(repr);
                Ok(())
            }
        }
    }

    /// What the header says of the blocks before it.
    fn settle(&mut self, repr: &HeaderRepr, preceding: Preceding) {
        let Some(object) = &self.object else { return };
        let (ino, taken) = (object.ino, object.taken);
        let size = if object.attributes.kind.has_data() { object.attributes.size } else { 0 };
        let (from, to) = (object.segment_at, object.segment_end.min(size).max(object.segment_at));
        let extension_flags = repr.extension.map_or(0, |extension| extension.flags);
        let checked = self.summary.checked;
        if preceding == Preceding::Damaged || preceding == Preceding::Unchecked && checked {
            match taken {
                Use::Map { on_tape } => self.damage_map(on_tape),
                Use::Directory => self.damage(Damage::Directory { ino }),
                Use::Target if preceding == Preceding::Unchecked => {
                    self.damage(Damage::Unchecked { ino, from, to });
                }
                Use::Target if from < to => self.damage(Damage::Data { ino, from, to }),
                Use::Target => self.damage(Damage::Properties { ino }),
                Use::Attributes => self.damage(Damage::Properties { ino }),
                Use::Discard => {}
            }
        }
        if extension_flags & extension_flags::PRECEDING_UNREAD != 0 {
            match taken {
                Use::Target => self.damage(Damage::Unread { ino, from, to }),
                Use::Directory => self.damage(Damage::Directory { ino }),
                _ => {}
            }
        }
        if extension_flags & extension_flags::PROPERTIES_UNREAD != 0
            && matches!(taken, Use::Target | Use::Directory)
        {
            self.damage(Damage::Properties { ino });
        }
        if extension_flags & extension_flags::PRECEDING_CHANGED != 0
            && matches!(taken, Use::Target | Use::Directory)
        {
            self.damage(Damage::Changed { ino });
        }
    }

    /// Ends the present object: what it lacks is told, and it is closed on the target.
    #[inline(never)]
    pub(super) fn end_object(&mut self) -> RestoreResult<(), T, V, B> {
        let Some(object) = self.object.take() else { return Ok(()) };
        let ino = object.ino;
        if object.bad_entries > 0 {
            self.culprit = (object.name, object.place.1);
            self.damage(Damage::BadEntries { ino, count: object.bad_entries });
        }
        let unharmed = self.summary.damaged == object.damaged_before;
        let bad_payload = object.payload_bad || object.payload_seen && !object.parser.is_done();
        if bad_payload && matches!(object.taken, Use::Directory | Use::Attributes | Use::Target) {
            self.damage(Damage::Properties { ino });
        }
        match object.taken {
            Use::Map { on_tape: false } => self.chain.end_in_use(!self.in_use_damaged),
            Use::Map { on_tape: true } => {
                self.maps_good |= !self.map_damaged;
                if self.maps_good {
                    self.chain.end_on_tape(&self.maps.on_tape);
                }
                if matches!(self.catalog, Catalog::Building(_)) {
                    self.summary.announced += self.maps.on_tape.count();
                }
                if self.maps_good && object.map_needed > 0 {
                    return Err(RestoreError::MapTooSmall {
                        needed: object.map_needed.saturating_mul(super::MAPS),
                    });
                }
            }
            Use::Directory => {
                let size = object.attributes.size;
                if object.segment_end < size || unharmed && object.data_len < size {
                    self.damage(Damage::Directory { ino });
                }
            }
            Use::Discard if object.made => {
                self.note_made(&object);
                self.begin_links(object);
            }
            Use::Discard => {}
            Use::Attributes => self.target.release(),
            Use::Target => {
                let size = object.attributes.size;
                let cut = unharmed && object.attributes.kind == Kind::Symlink && object.data_len < size;
                if object.attributes.kind.has_data() && object.segment_end < size {
                    self.damage(Damage::Data { ino, from: object.segment_end, to: size });
                } else if cut {
                    self.damage(Damage::Data { ino, from: 0, to: size });
                }
                let finished = self.target.finish(&object.attributes);
                self.outcome(ino, FailedPart::Attributes, finished)?;
                self.summary.objects += 1;
                self.note_made(&object);
                self.begin_links(object);
            }
        }
        Ok(())
    }

    /// Linux' extended attributes are complete when the next header comes.
    #[inline(never)]
    fn linux_xattrs_ended(&mut self) -> RestoreResult<(), T, V, B> {
        let Some(object) = &mut self.object else { return Ok(()) };
        let Collect::LinuxXattrs { len } = object.collect else { return Ok(()) };
        object.collect = Collect::Ignore;
        let (ino, directory) = (object.ino, object.taken == Use::Directory);
        let mut name = EMPTY_NAME;
        let mut value_buf = [0; ACL_LEN_MAX];
        let mut bad = len > self.linux_xattrs.len();
        let mut failed = None;
        let content = self.linux_xattrs.get(..len).unwrap_or(self.linux_xattrs);
        // Values that overlap would be more than what is on the tape.
        let mut left = content.len();
        for xattr in LinuxXattrs::new(content) {
            let Ok(xattr) = xattr else {
                bad = true;
                continue;
            };
            let Some(rest) = left.checked_sub(xattr.value.len()) else {
                bad = true;
                break;
            };
            left = rest;
            let Ok(value) = xattr.property_value(&mut value_buf) else {
                bad = true;
                continue;
            };
            let name = xattr.name(&mut name);
            if directory {
                let Catalog::Building(builder) = &mut self.catalog else { continue };
                let mut note = |note: NoteBuf| builder.note(&mut self.scratch, ino, note.bytes());
                note(NoteBuf::property(xattr.kind, name, value.len() as u32))
                    .map_err(RestoreError::Scratch)?;
                for piece in value.chunks(crate::engine::notes::PIECE_LEN_MAX) {
                    note(NoteBuf::piece(piece)).map_err(RestoreError::Scratch)?;
                }
            } else {
                let begun = self.admission.begin(xattr.kind, value.len() as u32, QtreePlace::Below);
                let passes = begun.map(|()| self.admission.piece(value));
                object.reduced = object.reduced.or(match passes {
                    Ok(Piece::Ends(reduction)) | Err(Some(reduction)) => Some(reduction),
                    _ => None,
                });
                if !matches!(passes, Ok(Piece::Passes)) {
                    continue;
                }
                let mut result = self.target.begin_property(xattr.kind, name, value.len() as u32);
                if result.is_ok() && !value.is_empty() {
                    result = self.target.write_property(value);
                }
                let Err(error) = result else { continue };
                // One failure is told for all of them, but one that ends the restore ends it.
                let ends = is_final(&error);
                if ends || failed.is_none() {
                    failed = Some((FailedPart::Property(xattr.kind), error));
                }
                if ends {
                    break;
                }
            }
        }
        self.tell_reduced();
        if let Some((what, error)) = failed {
            self.outcome::<()>(ino, what, Err(error))?;
        }
        if bad {
            self.damage(Damage::Properties { ino });
        }
        Ok(())
    }
}

/// Whether something comes of the object: then it goes on, or is known to be good, on the next tape.
fn is_taken_up(object: Option<&Object>) -> bool {
    object.is_some_and(|object| object.taken != Use::Discard)
}

fn dump_info(repr: &HeaderRepr, view: Header<'_>) -> DumpInfo {
    DumpInfo {
        dialect: Dialect::OURS,
        id: repr.extension.map(|extension| extension.dump_id),
        date: repr.date,
        base_date: repr.base_date,
        level: repr.level,
        blocking: repr.blocking.min(BlockingFactor::MAX.blocks()),
        label: view.label(),
        names: view.names(),
        is_catalog: repr.is_catalog(),
    }
}
