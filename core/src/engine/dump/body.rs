//! One object on its way to tape, segment by segment: holes, data, and the payload with its properties.

use super::{Done, Dump, DumpError, DumpEvent, NotPortable, State, Step};
use crate::catalog::{CatalogSink, Flaws, NameRow, ObjectRow};
use crate::checksum::Crc32c;
use crate::device::tape::TapeDevice;
use crate::device::volume::{Attributes, Class, Kind, SourceVolume};
use crate::device::{DeviceError, ErrorKind};
use crate::engine::content::{DirectoryContent, PayloadContent, PayloadSurvey};
use crate::limits::{
    PORTABLE_DIRECTORY_LEN_MAX, PORTABLE_NAME_LEN_MAX, SEGMENT_BLOCKS_MAX, TRAILING_LEN_MAX,
};
use crate::record::dirent::DirectoryLen;
use crate::record::extension::{Role, extension_flags};
use crate::record::header::HeaderKind;
use crate::record::holes::Holes;
use crate::record::lun::{LunRepr, LunState};
use crate::record::map::max_ino;
use crate::units::{Ino, StreamBlock, TAPE_BLOCK_LEN};

/// Content of the object being written.
#[expect(clippy::large_enum_variant, reason = "one of them exists at a time, and there is no allocator")]
enum Content {
    File { extent: (u64, u64) },
    Directory(DirectoryContent),
    Payload,
}

/// The object being written, segment by segment.
pub(super) struct Body {
    ino: Ino,
    attributes: Attributes,
    content: Content,
    role: Role,
    /// Data blocks and holes in all, and of these done.
    blocks: u64,
    next: u64,
    segment: u32,
    payload: Option<PayloadContent>,
    payload_len: u64,
    /// Its first header.
    place: StreamBlock,
    flaws: Flaws,
}

impl Body {
    fn trailing_blocks(&self) -> usize {
        match (&self.payload, &self.content) {
            (Some(_), Content::File { .. } | Content::Directory(_)) => {
                self.payload_len.div_ceil(TAPE_BLOCK_LEN as u64) as usize
            }
            _ => 0,
        }
    }
}

/// Why a LUN is not dumped (R-DATA-7). The next increment takes it whatever its times, as all that is skipped.
const fn bar(lun: &LunRepr) -> Option<ErrorKind> {
    match lun.state {
        _ if lun.restricted => Some(ErrorKind::Restricted),
        LunState::Inconsistent if !lun.plain_file => Some(ErrorKind::Inconsistent),
        _ => None,
    }
}

/// How far a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reached {
    pub ino: Ino,
    pub segment: u32,
    /// Data blocks and holes done.
    pub blocks: u64,
    /// Its length in bytes.
    pub size: u64,
    pub place: StreamBlock,
    pub flaws: Flaws,
}

impl Body {
    /// How far it is; `None`: what this body is of is written in one go.
    pub(super) fn reached(&self) -> Option<Reached> {
        let Self { ino, segment, next: blocks, place, flaws, .. } = *self;
        let is_file = self.role == Role::Normal && matches!(self.content, Content::File { .. });
        is_file.then_some(Reached { ino, segment, blocks, size: self.attributes.size, place, flaws })
    }
}

impl<S: SourceVolume, T: TapeDevice, C: Crc32c, K: CatalogSink> Dump<'_, S, T, C, K> {
    /// Goes on in the midst of a file, which must be the same still.
    pub(super) fn go_on_with(&mut self, reached: &Reached) -> Done<S, T> {
        let attributes = self.source.open(reached.ino).map_err(DumpError::Source)?;
        self.begin_body(reached.ino, attributes)?;
        // All of it was told before.
        self.waiting.clear();
        let Some(body) = &mut self.body else { return Err(DumpError::NotThisDump) };
        let is_same = matches!(body.content, Content::File { .. })
            && body.attributes.size == reached.size
            && reached.blocks < body.blocks.max(1);
        if !is_same {
            return Err(DumpError::NotThisDump);
        }
        body.next = reached.blocks;
        body.segment = reached.segment;
        body.place = reached.place;
        body.flaws = reached.flaws;
        Ok(())
    }

    pub(super) fn begin_body(&mut self, ino: Ino, mut attributes: Attributes) -> Step<S, T> {
        let mut event = DumpEvent::Working;
        let mut flaws = Flaws::NONE;
        let survey = PayloadContent::survey(&mut self.source, self.left_out);
        let rows_len = survey.rows_len;
        if let Some(why) = survey.lun.filter(|_| attributes.kind == Kind::File).and_then(|lun| bar(&lun)) {
            let _ = self.source.close();
            return Ok(self.skip(ino, Class::Others, why));
        }
        flaws.properties_unread = !survey.whole || survey.too_long.is_some();
        if !survey.whole {
            event = DumpEvent::PropertiesUnread { ino };
        }
        let too_long = survey.too_long.map(|(kind, entries)| DumpEvent::AclTooLong { ino, kind, entries });
        self.tell(too_long);
        let content = match attributes.kind {
            Kind::Directory => {
                let (content, len, told) = self.begin_directory(ino)?;
                attributes.size = len;
                flaws.unread = matches!(told, Some(DumpEvent::EntriesUnread { .. }));
                flaws.changed = matches!(told, Some(DumpEvent::Changed { .. }));
                self.tell(told);
                Content::Directory(content)
            }
            _ => Content::File { extent: (0, 0) },
        };
        let data_len = match attributes.kind {
            Kind::File | Kind::Symlink | Kind::Directory => attributes.size,
            _ => 0,
        };
        let payload_len = if rows_len == 0 { 0 } else { PayloadContent::len(rows_len) };
        // An empty file cannot have blocks (FreeBSD panics), and a segment ends somewhere: those go to stage V.
        let apart = payload_len > TRAILING_LEN_MAX as u64
            || payload_len > 0 && attributes.kind.has_data() && data_len == 0;
        let payload =
            (payload_len > 0 && !apart).then(|| PayloadContent::new(rows_len as u32, None, survey.left_out));
        if matches!(attributes.kind, Kind::Fifo | Kind::CharDevice | Kind::BlockDevice | Kind::Socket) {
            attributes.size = if payload.is_some() { payload_len } else { 0 };
        }
        if !apart {
            self.pending.remove(ino);
        }
        self.body = Some(Body {
            ino,
            attributes,
            content,
            role: Role::Normal,
            blocks: data_len.div_ceil(TAPE_BLOCK_LEN as u64),
            next: 0,
            segment: 0,
            payload,
            payload_len,
            place: self.writer.block(),
            flaws,
        });
        Ok(event)
    }

    /// Surveys the open directory. A directory that cannot be read is written empty, and the event says so.
    #[expect(clippy::type_complexity, reason = "the parts of a body, named where they are taken")]
    fn begin_directory(
        &mut self,
        ino: Ino,
    ) -> Result<(DirectoryContent, u64, Option<DumpEvent>), DumpError<S::Error, T::Error>> {
        let parent = self.source.parent(ino);
        let content = DirectoryContent::new(ino, *parent.as_ref().unwrap_or(&ino));
        let Ok(survey) = DirectoryContent::survey(&mut self.source, &self.in_use) else {
            let _ = self.source.rewind_entries();
            let mut len = DirectoryLen::default();
            len.add(2);
            return Ok((content, len.bytes(), Some(DumpEvent::EntriesUnread { ino })));
        };
        let len = survey.len.bytes();
        let mut told = None;
        if survey.strangers || parent.is_err() {
            told = Some(DumpEvent::Changed { ino });
        } else if survey.longest > PORTABLE_NAME_LEN_MAX && !self.told_names {
            self.told_names = true;
            told = Some(DumpEvent::NotPortable { ino, why: NotPortable::Name });
        } else if len > PORTABLE_DIRECTORY_LEN_MAX && !self.told_directories {
            self.told_directories = true;
            told = Some(DumpEvent::NotPortable { ino, why: NotPortable::Directory });
        }
        Ok((content, len, told))
    }

    /// Writes the next segment of the body, or ends it.
    pub(super) fn segment(&mut self) -> Step<S, T> {
        let Some(mut body) = self.body.take() else { return Ok(DumpEvent::Working) };
        let trailing = body.trailing_blocks();
        let rest = body.blocks - body.next;
        let mut count = rest.min(SEGMENT_BLOCKS_MAX as u64) as usize;
        let mut last = rest == count as u64;
        if last && count + trailing > SEGMENT_BLOCKS_MAX {
            // The last data block shares a header with the payload, and with nothing before it if need be.
            count -= 1;
            last = false;
        }
        let trailing = if last { trailing } else { 0 };
        let holes = self.segment_holes(&mut body, count, trailing);
        let mut header =
            self.writer.plain(if body.segment == 0 { HeaderKind::Inode } else { HeaderKind::Continuation });
        header.ino = if body.role == Role::Normal { body.ino.0 } else { max_ino(self.map_blocks) };
        header.attributes = Some(body.attributes);
        header.count = (count + trailing) as u32;
        if let Some(extension) = &mut header.extension {
            extension.role = body.role;
            extension.offset = body.next * TAPE_BLOCK_LEN as u64;
            extension.segment = body.segment;
            extension.trailing_blocks = trailing as u16;
            extension.payload_len = if trailing > 0 { body.payload_len as u32 } else { 0 };
            if body.payload.is_none() && body.payload_len > 0 {
                extension.flags = extension_flags::PROPERTIES_APART;
            }
        }
        self.header(header, &holes)?;
        let event = self.segment_data(&mut body, count, &holes)?;
        if trailing > 0 {
            self.trailing_payload(&mut body)?;
        }
        body.segment += 1;
        body.next += count as u64;
        if !last {
            self.body = Some(body);
            return Ok(event);
        }
        Ok(self.end_body(body, event))
    }

    /// Closes the object. Its last event is told first, what the closing finds after it.
    fn end_body(&mut self, mut body: Body, event: DumpEvent) -> DumpEvent {
        let ino = body.ino;
        if body.flaws.properties_unread {
            self.writer.flag_preceding(extension_flags::PROPERTIES_UNREAD);
        }
        if body.payload.as_ref().is_some_and(PayloadContent::is_spoiled) {
            body.flaws.properties_unread = true;
            self.tell(Some(DumpEvent::PropertiesUnread { ino }));
        }
        let whole = match &mut body.content {
            Content::Directory(content) => content.is_complete(&mut self.source, &self.in_use),
            _ => true,
        };
        if !(self.source.close().unwrap_or(false) && whole) && body.role == Role::Normal {
            body.flaws.changed = true;
            self.writer.flag_preceding(extension_flags::PRECEDING_CHANGED);
            self.tell(Some(DumpEvent::Changed { ino }));
        }
        self.summary.handled += u64::from(body.role == Role::Normal);
        if body.flaws != Flaws::NONE {
            self.spoil(ino);
        }
        match body.role {
            Role::Normal => {
                let mut row = ObjectRow::of(ino, &body.attributes, body.place);
                row.flaws = body.flaws;
                self.note(|catalog| catalog.object(&row));
            }
            _ => self.note(|catalog| catalog.apart(ino, body.place)),
        }
        event
    }

    /// Which of the next `count` blocks hold data; the payload's follow them.
    fn segment_holes(&mut self, body: &mut Body, count: usize, trailing: usize) -> Holes {
        let Content::File { extent } = &mut body.content else { return Holes::all_data(count + trailing) };
        let block_len = TAPE_BLOCK_LEN as u64;
        let (begin, end) = (body.next * block_len, (body.next + count as u64) * block_len);
        let size = body.attributes.size;
        let mut holes = Holes::NONE;
        let mut at = begin;
        while at < end.min(size) {
            if extent.1 <= at {
                // A volume that cannot tell has data everywhere: slower, never wrong.
                *extent = match self.source.next_data(at) {
                    Ok(Some((from, to))) if to > at => (from.max(at), to.min(size)),
                    Ok(None) => (size, u64::MAX),
                    _ => (at, size),
                };
            }
            if extent.0 >= end {
                break;
            }
            let first = (extent.0.max(begin) - begin) / block_len;
            let behind = (extent.1.min(end) - begin).div_ceil(block_len);
            holes.set_run(first as usize, behind.saturating_sub(first) as usize);
            at = extent.1;
        }
        if count > 0 && body.next + count as u64 == body.blocks {
            // Readers that seek over holes would leave the file short.
            holes.set_data(count - 1);
        }
        holes.set_run(count, trailing);
        holes
    }

    fn segment_data(&mut self, body: &mut Body, count: usize, holes: &Holes) -> Step<S, T> {
        let mut event = DumpEvent::Working;
        let mut entry = 0;
        while entry < count {
            let run = holes.run_len(entry, count);
            if holes.is_data(entry) {
                let from = (body.next + entry as u64) * TAPE_BLOCK_LEN as u64;
                if let Some(unread) = self.data_run(body, from, run * TAPE_BLOCK_LEN)? {
                    event = unread;
                }
            }
            entry += run;
        }
        Ok(event)
    }

    /// Writes blocks of content; says what could not be read.
    fn data_run(
        &mut self,
        body: &mut Body,
        from: u64,
        len: usize,
    ) -> Result<Option<DumpEvent>, DumpError<S::Error, T::Error>> {
        let mut event = None;
        let mut lost = None;
        let content_end = match body.content {
            Content::Payload => body.payload_len,
            _ => body.attributes.size,
        };
        let mut at = from;
        let end = (from + len as u64).min(content_end);
        while at < end {
            self.make_room()?;
            let space = self.writer.space();
            let most = space.len().min((end - at) as usize);
            let Some(space) = space.get_mut(..most) else { break };
            let done = match &mut body.content {
                Content::File { .. } => match self.source.read(at, space) {
                    Ok(done) if done > 0 => {
                        self.summary.data_len += done as u64;
                        done.min(most)
                    }
                    _ => 0,
                },
                Content::Directory(content) => {
                    let (catalog, parent) = (self.catalog.as_mut().ok(), body.ino);
                    let mut catalog = catalog.filter(|_| lost.is_none());
                    let note = |ino, name: &[u8]| {
                        let row = NameRow { parent, name, ino, kind: None };
                        if let Some(Err(error)) = catalog.as_mut().map(|catalog| catalog.name(row)) {
                            lost = Some(error);
                            catalog = None;
                        }
                    };
                    match content.next_chunk(&mut self.source, &self.in_use, note) {
                        Ok(chunk) => {
                            space.iter_mut().zip(chunk).for_each(|(to, from)| *to = from);
                            most.min(chunk.len())
                        }
                        Err(_) => 0,
                    }
                }
                Content::Payload => {
                    body.payload.as_mut().map_or(0, |payload| payload.fill::<S, C>(&mut self.source, space))
                }
            };
            if done == 0 {
                space.fill(0);
                self.writer.commit(most);
                self.writer.flag_preceding(extension_flags::PRECEDING_UNREAD);
                match body.content {
                    Content::Payload => body.flaws.properties_unread = true,
                    _ => body.flaws.unread = true,
                }
                event = Some(match (&body.content, event) {
                    (Content::Directory(_), _) => DumpEvent::EntriesUnread { ino: body.ino },
                    (Content::Payload, _) => DumpEvent::PropertiesUnread { ino: body.ino },
                    (_, Some(DumpEvent::DataUnread { ino, from, .. })) => {
                        DumpEvent::DataUnread { ino, from, to: at + most as u64 }
                    }
                    _ => DumpEvent::DataUnread { ino: body.ino, from: at, to: at + most as u64 },
                });
                at += most as u64;
            } else {
                self.writer.commit(done);
                at += done as u64;
            }
        }
        self.writer.pad();
        if let Some(error) = lost {
            self.note(|_| Err(error));
        }
        Ok(event)
    }

    fn trailing_payload(&mut self, body: &mut Body) -> Done<S, T> {
        let Some(payload) = &mut body.payload else { return Ok(()) };
        loop {
            self.make_room()?;
            let done = payload.fill::<S, C>(&mut self.source, self.writer.space());
            if done == 0 {
                break;
            }
            self.writer.commit(done);
        }
        self.writer.pad();
        Ok(())
    }

    /// Stage V: the payload of an object that could not bear it.
    pub(super) fn next_attributes(&mut self, from: Ino) -> Step<S, T> {
        let Some(ino) = self.pending.next_from(from) else {
            self.state = State::End;
            return Ok(DumpEvent::Working);
        };
        self.state = State::Attributes { from: ino.next() };
        let survey = match self.source.open(ino) {
            Ok(_) => Some(PayloadContent::survey(&mut self.source, self.left_out)),
            Err(error) if error.kind() == ErrorKind::Interrupted => return Err(DumpError::Source(error)),
            Err(_) => None,
        };
        let with_owner = |survey: PayloadSurvey| {
            let rows_len = survey.rows_len + u64::from(PayloadContent::OWNER_ROW_LEN);
            (PayloadContent::len(rows_len) <= u32::MAX.into()).then_some((rows_len, survey.left_out))
        };
        let Some((rows_len, left_out)) = survey.and_then(with_owner) else {
            let _ = self.source.close();
            self.spoil(ino);
            return Ok(DumpEvent::PropertiesUnread { ino });
        };
        self.pending.remove(ino);
        let payload_len = PayloadContent::len(rows_len);
        let mut attributes = Attributes::new(Kind::File);
        attributes.permissions = 0o600;
        attributes.size = payload_len;
        // The owner's number stands under the header's checksum, too: a reader opens the owner before the payload.
        attributes.real_ino = ino.0.into();
        self.body = Some(Body {
            ino,
            attributes,
            content: Content::Payload,
            role: Role::Attributes,
            blocks: payload_len.div_ceil(TAPE_BLOCK_LEN as u64),
            next: 0,
            segment: 0,
            payload: Some(PayloadContent::new(rows_len as u32, Some(ino), left_out)),
            payload_len,
            place: self.writer.block(),
            flaws: Flaws::NONE,
        });
        Ok(DumpEvent::Working)
    }
}
