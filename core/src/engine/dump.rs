//! Writing a dump: stages I to V (R-SEL-2) as a step machine.
//!
//! ```text
//! map objects -> tape header, maps -> directories -> files -> attributes -> end, filemark
//!     I/II                                III          IV         V
//! ```
//!
//! The dump is whole only when [`DumpEvent::Done`] was given: by then the filemark behind its last record is durable.

use heapless::Deque;

use crate::checksum::Crc32c;
use crate::device::tape::{TapeDevice, TapeWrite};
use crate::device::volume::{Attributes, Class, Kind, SourceVolume};
use crate::device::{DeviceError, ErrorKind};
use crate::engine::content::{DirectoryContent, PayloadContent};
use crate::limits::{
    PORTABLE_DIRECTORY_LEN_MAX, PORTABLE_NAME_LEN_MAX, SEGMENT_BLOCKS_MAX, TRAILING_LEN_MAX,
};
use crate::record::header::{HeaderKind, HeaderTemplate, Role, extension_flags};
use crate::record::holes::Holes;
use crate::record::map::{DumpMap, map_blocks, max_ino};
use crate::stream::writer::{DumpIdentity, Writer};
use crate::units::{BlockAddr, BlockingFactor, Ino, TAPE_BLOCK_LEN};

/// Objects looked at in one step while mapping.
const MAPPED_PER_STEP: u32 = 4096;

/// What a dump is made as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// Tape records being filled: at least one; larger reads are made with more.
    pub stream: &'m mut [u8],
    /// Map of the objects in use: a bit for each number below [`SourceVolume::ino_limit`].
    pub in_use: &'m mut [u8],
    /// Map of the objects on the dump: as many.
    pub on_tape: &'m mut [u8],
}

/// Where a dump is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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
#[non_exhaustive]
pub enum NotPortable {
    /// A name longer than 254 bytes in this directory.
    Name,
    /// A directory of 256 MiB or more.
    Directory,
}

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DumpEvent {
    /// Some work, nothing to tell.
    Working,
    /// A stage begins.
    Stage(Stage),
    /// The object is not on the dump: it could not be opened.
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
    /// The dump is whole and durable on the tape.
    Done(DumpSummary),
}

/// How far a dump is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DumpSummary {
    /// Directories and other objects found in stage I.
    pub directories: u64,
    /// Objects that are no directories, found in stage I.
    pub others: u64,
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
    /// The tape is full.
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
    /// `step` was called after the end.
    Over,
}

/// Content of the object being written.
#[expect(clippy::large_enum_variant, reason = "one of them exists at a time, and there is no allocator")]
enum Content {
    File { extent: (u64, u64) },
    Directory(DirectoryContent),
    Payload,
}

/// The object being written, segment by segment.
struct Body {
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
    unread: bool,
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

enum State {
    Begin,
    Map { class: Class, from: Ino },
    Header,
    InUseMap { block: Option<u32> },
    OnTapeMap { block: Option<u32> },
    Objects { class: Class, from: Ino },
    Attributes { from: Ino },
    End,
    Over,
}

/// A dump being written. See the module.
pub struct Dump<'m, S, T, C> {
    source: S,
    tape: T,
    writer: Writer<'m, C>,
    in_use: DumpMap<'m>,
    /// From stage III on: what is still to be written, so that after stage IV just the objects remain whose
    /// attributes travel in stage V.
    pending: DumpMap<'m>,
    map_blocks: u32,
    state: State,
    body: Option<Body>,
    /// Told after the step's own event: at most two, from closing an object.
    waiting: Deque<DumpEvent, 4>,
    told_names: bool,
    told_directories: bool,
    stage: Stage,
    summary: DumpSummary,
}

type Step<S, T> = Result<DumpEvent, DumpError<<S as SourceVolume>::Error, <T as TapeDevice>::Error>>;
type Done<S, T> = Result<(), DumpError<<S as SourceVolume>::Error, <T as TapeDevice>::Error>>;

impl<'m, S: SourceVolume, T: TapeDevice, C: Crc32c> Dump<'m, S, T, C> {
    /// A dump of `source` from where `tape` stands. Nothing is written before the first [`step`](Self::step).
    ///
    /// # Errors
    /// The memory lent does not suffice, the tape takes no such records, or the volume cannot be read.
    pub fn new(
        mut source: S,
        tape: T,
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
        if memory.in_use.len() < needed || memory.on_tape.len() < needed {
            return Err(DumpError::MapTooSmall { needed });
        }
        let template = HeaderTemplate::new(&names, &options.label);
        let writer = Writer::new(memory.stream, options.blocking, template, options.identity)
            .map_err(|error| DumpError::StreamTooSmall { needed: error.needed })?;
        let mut in_use = DumpMap::new(memory.in_use);
        let mut pending = DumpMap::new(memory.on_tape);
        in_use.clear();
        pending.clear();
        Ok(Self {
            source,
            tape,
            writer,
            in_use,
            pending,
            map_blocks: map_blocks(ino_limit),
            state: State::Begin,
            body: None,
            waiting: Deque::new(),
            told_names: false,
            told_directories: false,
            stage: Stage::Map,
            summary: DumpSummary::default(),
        })
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

    /// Gives the devices back.
    #[must_use]
    pub fn into_devices(self) -> (S, T) {
        (self.source, self.tape)
    }

    /// Does some work: at most one segment of an object, one block of a map, or a few thousand objects of the walk.
    ///
    /// # Errors
    /// The dump cannot go on; what is on tape is not a dump.
    pub fn step(&mut self) -> Step<S, T> {
        if let Some(event) = self.waiting.pop_front() {
            return Ok(event);
        }
        if self.body.is_some() {
            return self.segment();
        }
        match self.state {
            State::Begin => {
                self.state = State::Map { class: Class::Directories, from: Ino::FIRST };
                Ok(DumpEvent::Stage(Stage::Map))
            }
            State::Map { class, from } => self.map_objects(class, from),
            State::Header => {
                let mut header = self.writer.plain(HeaderKind::Tape);
                header.first_block = 0;
                self.header(header, &Holes::NONE)?;
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
            debug_assert!(told.is_ok(), "a step tells at most two events and the next ones tell them first");
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

    fn map_objects(&mut self, class: Class, from: Ino) -> Step<S, T> {
        let mut from = from;
        for _ in 0..MAPPED_PER_STEP {
            let Some(ino) = self.source.next_inode(from, class).map_err(DumpError::Source)? else {
                self.state = match class {
                    Class::Directories => State::Map { class: Class::Others, from: Ino::FIRST },
                    Class::Others => State::Header,
                };
                return Ok(DumpEvent::Working);
            };
            for map in [&mut self.in_use, &mut self.pending] {
                map.insert(ino).map_err(|error| DumpError::MapTooSmall { needed: error.needed })?;
            }
            match class {
                Class::Directories => self.summary.directories += 1,
                Class::Others => self.summary.others += 1,
            }
            from = ino.next();
        }
        self.state = State::Map { class, from };
        Ok(DumpEvent::Working)
    }

    /// Writes the header of a map, or one block of it; gives the next block.
    fn map_block(
        &mut self,
        kind: HeaderKind,
        block: Option<u32>,
    ) -> Result<Option<u32>, DumpError<S::Error, T::Error>> {
        let Some(block) = block else {
            let mut header = self.writer.plain(kind);
            header.count = self.map_blocks;
            self.header(header, &Holes::NONE)?;
            return Ok(Some(0));
        };
        self.make_room()?;
        let map = if kind == HeaderKind::InUseMap { &self.in_use } else { &self.pending };
        let at = block as usize * TAPE_BLOCK_LEN;
        let bytes = map.bytes();
        let piece = bytes.get(at..bytes.len().min(at + TAPE_BLOCK_LEN)).unwrap_or_default();
        if let Some(space) = self.writer.space().get_mut(..piece.len()) {
            space.copy_from_slice(piece);
        }
        self.writer.commit(piece.len());
        if piece.is_empty() {
            self.zero_block()?;
        } else {
            self.writer.pad();
        }
        Ok(Some(block + 1).filter(|next| *next < self.map_blocks))
    }

    fn next_object(&mut self, class: Class, from: Ino) -> Step<S, T> {
        let Some(ino) = self.source.next_inode(from, class).map_err(DumpError::Source)? else {
            return Ok(match class {
                Class::Directories => self.begin_objects(Class::Others),
                Class::Others => {
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
                Ok(self.skip(ino, ErrorKind::Changed))
            }
            Err(error) => Ok(self.skip(ino, error.kind())),
        }
    }

    fn skip(&mut self, ino: Ino, error: ErrorKind) -> DumpEvent {
        self.pending.remove(ino);
        self.summary.handled += 1;
        self.summary.incomplete += 1;
        DumpEvent::Skipped { ino, error }
    }

    fn begin_body(&mut self, ino: Ino, mut attributes: Attributes) -> Step<S, T> {
        let mut event = DumpEvent::Working;
        let rows_len = PayloadContent::survey(&mut self.source).unwrap_or_else(|_| {
            self.summary.incomplete += 1;
            event = DumpEvent::PropertiesUnread { ino };
            0
        });
        let content = match attributes.kind {
            Kind::Directory => {
                let (content, len, told) = self.begin_directory(ino)?;
                attributes.size = len;
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
        let payload = (payload_len > 0 && !apart).then(|| PayloadContent::new(rows_len as u32, None));
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
            unread: false,
        });
        Ok(event)
    }

    /// Surveys the open directory. A directory that cannot be read is written empty, and the event says so.
    #[expect(clippy::type_complexity, reason = "the parts of a body, named where they are taken")]
    fn begin_directory(
        &mut self,
        ino: Ino,
    ) -> Result<(DirectoryContent, u64, Option<DumpEvent>), DumpError<S::Error, T::Error>> {
        let parent = self.source.parent().unwrap_or(ino);
        let content = DirectoryContent::new(ino, parent);
        let Ok(survey) = DirectoryContent::survey(&mut self.source, &self.in_use) else {
            self.summary.incomplete += 1;
            let _ = self.source.rewind_entries();
            let mut len = crate::record::dirent::DirectoryLen::default();
            len.add(2);
            return Ok((content, len.bytes(), Some(DumpEvent::EntriesUnread { ino })));
        };
        let len = survey.len.bytes();
        let mut told = None;
        if survey.strangers {
            self.summary.incomplete += 1;
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
    fn segment(&mut self) -> Step<S, T> {
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
        let mut bad = body.unread;
        if body.payload.as_ref().is_some_and(PayloadContent::is_spoiled) {
            bad = true;
            self.tell(Some(DumpEvent::PropertiesUnread { ino }));
        }
        let whole = match &mut body.content {
            Content::Directory(content) => content.is_complete(&mut self.source, &self.in_use),
            _ => true,
        };
        if !(self.source.close().unwrap_or(false) && whole) && body.role == Role::Normal {
            bad = true;
            self.writer.flag_preceding(extension_flags::PRECEDING_CHANGED);
            self.tell(Some(DumpEvent::Changed { ino }));
        }
        self.summary.handled += u64::from(body.role == Role::Normal);
        self.summary.incomplete += u64::from(bad);
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
                Content::Directory(content) => match content.next_chunk(&mut self.source, &self.in_use) {
                    Ok(chunk) => {
                        space.iter_mut().zip(chunk).for_each(|(to, from)| *to = from);
                        most.min(chunk.len())
                    }
                    Err(_) => 0,
                },
                Content::Payload => {
                    body.payload.as_mut().map_or(0, |payload| payload.fill::<S, C>(&mut self.source, space))
                }
            };
            if done == 0 {
                space.fill(0);
                self.writer.commit(most);
                self.writer.flag_preceding(extension_flags::PRECEDING_UNREAD);
                body.unread = true;
                event = Some(match (&body.content, event) {
                    (Content::Directory(_), _) => DumpEvent::EntriesUnread { ino: body.ino },
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
    fn next_attributes(&mut self, from: Ino) -> Step<S, T> {
        let Some(ino) = self.pending.next_from(from) else {
            self.state = State::End;
            return Ok(DumpEvent::Working);
        };
        self.state = State::Attributes { from: ino.next() };
        let rows_len = match self.source.open(ino) {
            Ok(_) => PayloadContent::survey(&mut self.source),
            Err(error) => Err(error),
        };
        let Some(rows_len) = rows_len
            .ok()
            .map(|len| len + u64::from(PayloadContent::OWNER_ROW_LEN))
            .filter(|len| PayloadContent::len(*len) <= u32::MAX.into())
        else {
            self.summary.incomplete += 1;
            return Ok(DumpEvent::PropertiesUnread { ino });
        };
        self.pending.remove(ino);
        let payload_len = PayloadContent::len(rows_len);
        let mut attributes = Attributes::new(Kind::File);
        attributes.permissions = 0o600;
        attributes.size = payload_len;
        self.body = Some(Body {
            ino,
            attributes,
            content: Content::Payload,
            role: Role::Attributes,
            blocks: payload_len.div_ceil(TAPE_BLOCK_LEN as u64),
            next: 0,
            segment: 0,
            payload: Some(PayloadContent::new(rows_len as u32, Some(ino))),
            payload_len,
            unread: false,
        });
        Ok(DumpEvent::Working)
    }

    fn end(&mut self) -> Step<S, T> {
        let header = self.writer.plain(HeaderKind::End);
        loop {
            self.header(header, &Holes::NONE)?;
            if self.writer.is_record_aligned() {
                break;
            }
        }
        self.summary.blocks = self.writer.addr().0;
        self.write_records()?;
        let at = self.writer.addr();
        match self.tape.write_filemark().map_err(|source| DumpError::Tape { at, source })? {
            TapeWrite::Written | TapeWrite::EarlyWarning => {}
            TapeWrite::EndOfMedium => return Err(DumpError::EndOfMedium { at }),
        }
        self.state = State::Over;
        Ok(DumpEvent::Done(self.summary))
    }

    fn header(&mut self, header: crate::record::header::HeaderRepr, holes: &Holes) -> Done<S, T> {
        self.make_room()?;
        self.writer.header(header, holes);
        Ok(())
    }

    fn zero_block(&mut self) -> Done<S, T> {
        self.make_room()?;
        if let Some(space) = self.writer.space().get_mut(..TAPE_BLOCK_LEN) {
            space.fill(0);
        }
        self.writer.commit(TAPE_BLOCK_LEN);
        Ok(())
    }

    /// Returns with at least one block of space, or in the midst of a block with its rest.
    fn make_room(&mut self) -> Done<S, T> {
        if self.writer.space().is_empty() { self.write_records() } else { Ok(()) }
    }

    fn write_records(&mut self) -> Done<S, T> {
        let at = self.writer.unsent_addr();
        while let Some(record) = self.writer.poll_record() {
            match self.tape.write(record).map_err(|source| DumpError::Tape { at, source })? {
                TapeWrite::Written | TapeWrite::EarlyWarning => self.writer.record_written(),
                TapeWrite::EndOfMedium => return Err(DumpError::EndOfMedium { at }),
            }
        }
        Ok(())
    }
}
