//! A tree as the source of a dump, one object at a time.

use std::ffi::OsStr;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use rustix::io::{Errno, pread};
use tapedump_core::device::volume::{
    Attributes, Class, Entry, Kind, NameBuf, Property, SourceVolume, VolumeNames,
};
use tapedump_core::units::Ino;

use super::ahead::{self, Ahead, Batch};
use super::build::Index;
use super::entries::{Entries, EntryTrouble};
use super::load::{self, Loader, Object, Trouble, is_path_only, is_unchanged};
use super::numbers::Numbering;
use super::properties::{Access, Kept, classify, names};
use super::reach::{Places, Root, errno_of, mount_source, stat_fd};
use super::table::{Cursor, Record, Table};
use super::walk::walk;
use super::{SourceOptions, Volume};
use crate::volume::source::error::SourceError;

/// Objects asked for out of order before reading ahead starts anew from there.
const MISSES_MAX: u32 = 8;

/// What the walk found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Directories, the root and mount points included.
    pub directories: u64,
    /// Objects that are not directories; each counts once, however many names it has.
    pub others: u64,
    /// Directories that belong to other volumes and are dumped empty.
    pub mount_points: Vec<PathBuf>,
}

/// A tree of a mounted file system.
pub struct LinuxSource {
    volume: Arc<Volume>,
    walks: [Option<Walk>; 2],
    /// What [`SourceVolume::next_inode`] gave last.
    given: Option<(Ino, Class)>,
    ahead: Option<(Class, Ahead)>,
    /// The batch being consumed, and the first object in it not looked at yet.
    batch: Batch,
    position: usize,
    misses: u32,
    /// Where objects go that are not read ahead.
    single: Batch,
    loader: Loader,
    open: Option<Open>,
    entries: Entries,
    late: LateProperty,
}

/// A place in the order of numbers.
struct Walk {
    cursor: Cursor,
    /// There is no number from here up to that of `next`.
    from: Ino,
    next: Option<Record>,
}

/// The open object.
struct Open {
    record: Record,
    object: Object,
    is_single: bool,
    /// Which kept property is next, and where.
    kept_index: u32,
    kept_at: usize,
}

/// A property that was not read ahead.
#[derive(Default)]
struct LateProperty {
    names: Vec<u8>,
    has_names: bool,
    index: Option<u32>,
    value: Vec<u8>,
}

impl LinuxSource {
    /// Opens the tree at `root` and walks it.
    ///
    /// # Errors
    /// The root is no directory or cannot be read, or the list of what is in it cannot be stored.
    pub fn open(root: &Path, options: SourceOptions) -> Result<Self, SourceError> {
        let mut opened = Root::open(root).map_err(|errno| SourceError::System {
            path: root.to_path_buf(),
            what: "cannot open the directory",
            errno,
        })?;
        if !options.tuning.openat2 {
            opened.without_openat2();
        }
        opened.entries_have_numbers &= options.tuning.entry_numbers;
        let scratch_dir: Arc<Path> = Arc::from(options.scratch_dir.as_path());
        let walked = walk(&opened, &options, &scratch_dir)?;
        let index = Index::build(walked, &opened, &options, &scratch_dir)?;
        let held = Arc::new(AtomicUsize::new(0));
        let volume = Arc::new(Volume { root: opened, index, options, held });
        Ok(Self {
            loader: Loader::new(Arc::clone(&volume)),
            volume,
            walks: [None, None],
            given: None,
            ahead: None,
            batch: Batch::default(),
            position: 0,
            misses: 0,
            single: Batch::default(),
            open: None,
            entries: Entries::default(),
            late: LateProperty::default(),
        })
    }

    /// What the walk found.
    #[must_use]
    pub fn tally(&self) -> Tally {
        let index = &self.volume.index;
        let mut mount_points: Vec<PathBuf> =
            index.covered_places.iter().map(|place| self.path_in(*place, b"")).collect();
        mount_points.sort();
        Tally { directories: index.directories.len(), others: index.others.len(), mount_points }
    }

    /// The rule the numbers follow.
    #[must_use]
    pub fn numbering(&self) -> Numbering {
        self.volume.index.numbers.numbering()
    }

    /// One of the object's paths, the root's included, for messages.
    #[must_use]
    pub fn path_of(&self, ino: Ino) -> Option<PathBuf> {
        if let Some(open) = self.open.as_ref().filter(|open| open.record.ino == ino) {
            return Some(self.path(&open.record));
        }
        let (_, record) = self.look_up(ino).ok()?;
        Some(self.path(&record))
    }

    fn path(&self, record: &Record) -> PathBuf {
        self.path_in(record.place, if record.tag.kind() == Kind::Directory { b"" } else { record.name() })
    }

    fn path_in(&self, place: u64, name: &[u8]) -> PathBuf {
        let mut beneath = Vec::new();
        let mut path = self.volume.root.path().to_path_buf();
        // A message with less of the path is better than none.
        if self.volume.index.places.path(place, &mut beneath).is_ok() && !beneath.is_empty() {
            path.push(OsStr::from_bytes(&beneath));
        }
        if !name.is_empty() {
            path.push(OsStr::from_bytes(name));
        }
        path
    }

    fn table(&self, class: Class) -> &Arc<Table> {
        match class {
            Class::Directories => &self.volume.index.directories,
            Class::Others => &self.volume.index.others,
        }
    }

    fn cursor(&self, class: Class, from: Ino) -> Result<Cursor, SourceError> {
        Cursor::new(Arc::clone(self.table(class)), from).map_err(|error| self.scratch_error(&error))
    }

    fn scratch_error(&self, error: &io::Error) -> SourceError {
        let path = self.volume.options.scratch_dir.clone();
        SourceError::System { path, what: "cannot read the list of files", errno: errno_of(error) }
    }

    fn system(&self, record: &Record, what: &'static str, errno: Errno) -> SourceError {
        SourceError::System { path: self.path(record), what, errno }
    }

    fn error(&self, record: &Record, trouble: Trouble) -> SourceError {
        let path = self.path(record);
        match trouble {
            Trouble::System(what, errno) => SourceError::System { path, what, errno },
            Trouble::Replaced => SourceError::Replaced { path },
            Trouble::MountPoint => SourceError::MountPoint { path },
            Trouble::Interrupted => SourceError::Interrupted,
        }
    }

    fn look_up(&self, ino: Ino) -> Result<(Class, Record), SourceError> {
        for class in [Class::Directories, Class::Others] {
            let record = self.cursor(class, ino)?.next_record();
            let record = record.map_err(|error| self.scratch_error(&error))?;
            if let Some(record) = record.filter(|record| record.ino == ino) {
                return Ok((class, record));
            }
        }
        Err(SourceError::NoSuchObject(ino))
    }

    /// Moves what is read ahead to `ino`; `false`: it is not there.
    fn advance_to(&mut self, class: Class, ino: Ino) -> Result<bool, SourceError> {
        if self.ahead.as_ref().is_none_or(|(other, _)| *other != class) {
            // The threads end before others begin.
            self.ahead = None;
            self.batch.records.clear();
            self.batch.objects.clear();
            self.position = 0;
            self.ahead = Some((class, ahead::start(&self.volume, self.cursor(class, ino)?)));
        }
        let Some((_, ahead)) = &mut self.ahead else { return Ok(false) };
        loop {
            while let Some(record) = self.batch.records.get(self.position) {
                if record.ino >= ino {
                    return Ok(record.ino == ino);
                }
                self.position += 1;
            }
            let Some(next) = ahead.next_batch() else { return Ok(false) };
            ahead.recycle(std::mem::replace(&mut self.batch, next));
            self.position = 0;
        }
    }

    /// Reads the object without what is read ahead.
    fn load_single(&mut self, ino: Ino) -> Result<(Record, Object), SourceError> {
        let (_, record) = self.look_up(ino)?;
        self.single.bytes.clear();
        match self.loader.load(&record, &mut self.single.bytes) {
            Ok(object) => Ok((record, object)),
            Err(trouble) => Err(self.error(&record, trouble)),
        }
    }

    fn current(&self) -> Result<&Open, SourceError> {
        self.open.as_ref().ok_or(SourceError::NotOpen)
    }

    fn current_directory(&self) -> Result<&Open, SourceError> {
        let open = self.current()?;
        if open.record.tag.kind() == Kind::Directory { Ok(open) } else { Err(SourceError::NotOpen) }
    }

    fn bytes(&self, open: &Open, range: &Range<usize>) -> &[u8] {
        let batch = if open.is_single { &self.single } else { &self.batch };
        batch.bytes.get(range.clone()).unwrap_or_default()
    }

    /// Opens the object again if it was not left open.
    fn need_fd(&mut self) -> Result<(), SourceError> {
        let open = self.open.as_mut().ok_or(SourceError::NotOpen)?;
        if open.object.fd.is_none() {
            let record = open.record;
            match self.loader.reopen(&record) {
                Ok(fd) => open.object.fd = Some(fd),
                Err(trouble) => return Err(self.error(&record, trouble)),
            }
        }
        Ok(())
    }

    fn fd(&self) -> Result<BorrowedFd<'_>, SourceError> {
        self.current()?.object.fd.as_ref().map(AsFd::as_fd).ok_or(SourceError::NotOpen)
    }

    /// The kept property `index`; `Ok(None)`: there are no more.
    fn kept(&mut self, range: &Range<usize>, index: u32) -> Result<Option<Kept<'_>>, SourceError> {
        let open = self.open.as_mut().ok_or(SourceError::NotOpen)?;
        if index < open.kept_index || open.kept_at < range.start {
            (open.kept_index, open.kept_at) = (0, range.start);
        }
        let (mut at, mut at_index) = (open.kept_at, open.kept_index);
        let batch = if open.is_single { &self.single } else { &self.batch };
        while let Some((kept, rest)) = Kept::decode(batch.bytes.get(at..range.end).unwrap_or_default()) {
            if at_index == index {
                (open.kept_index, open.kept_at) = (at_index, at);
                return Ok(Some(kept));
            }
            at = range.end - rest.len();
            at_index += 1;
        }
        Ok(None)
    }

    /// Reads the name and value of property `index` of an object with too many to be kept.
    fn read_late(&mut self, index: u32) -> Result<bool, SourceError> {
        if self.late.index == Some(index) {
            return Ok(true);
        }
        self.need_fd()?;
        self.late.index = None;
        let mut late = std::mem::take(&mut self.late);
        let result = self.read_late_into(&mut late, index);
        self.late = late;
        result
    }

    fn read_late_into(&self, late: &mut LateProperty, index: u32) -> Result<bool, SourceError> {
        let record = self.current()?.record;
        let access = Access::new(self.fd()?, is_path_only(record.tag.kind()));
        if !late.has_names {
            let listed = access.list(&mut late.names);
            late.has_names = true;
            listed.map_err(|errno| self.system(&record, CANNOT_LIST, errno))?;
        }
        let Some(name) = names(&late.names).nth(index as usize) else { return Ok(false) };
        let read = access.value(name, &mut late.value);
        read.map_err(|errno| self.system(&record, CANNOT_READ_PROPERTY, errno))?;
        late.index = Some(index);
        Ok(true)
    }
}

const CANNOT_LIST: &str = "cannot list the extended attributes";
const CANNOT_READ_PROPERTY: &str = "cannot read an extended attribute";
const CANNOT_READ_DIRECTORY: &str = "cannot read the directory";

/// Copies what of `data` is at `offset`.
fn copy_from(data: &[u8], offset: u64, buf: &mut [u8]) -> usize {
    let data = usize::try_from(offset).ok().and_then(|offset| data.get(offset..)).unwrap_or_default();
    let len = data.len().min(buf.len());
    buf[..len].copy_from_slice(&data[..len]);
    len
}

/// Puts a property's name in `name` and describes it.
fn describe(full_name: &[u8], value_len: usize, name: &mut NameBuf) -> Property {
    let (kind, short_name) = classify(full_name);
    name[..short_name.len()].copy_from_slice(short_name);
    Property { kind, name_len: short_name.len(), value_len: value_len as u32 }
}

/// Puts `text` in a field that ends in NUL.
fn fill(field: &mut [u8; 64], text: &[u8]) {
    let len = text.len().min(field.len() - 1);
    field[..len].copy_from_slice(&text[..len]);
}

impl SourceVolume for LinuxSource {
    type Error = SourceError;

    fn names(&mut self) -> Result<VolumeNames, SourceError> {
        let mut names = VolumeNames::default();
        let root = &self.volume.root;
        fill(&mut names.path, root.path().as_os_str().as_bytes());
        // Without /proc the device has no name; that is no reason not to dump.
        if let Ok(Some(source)) = mount_source(root) {
            fill(&mut names.device, &source);
        }
        fill(&mut names.host, rustix::system::uname().nodename().to_bytes());
        Ok(names)
    }

    fn ino_limit(&mut self) -> Result<Ino, SourceError> {
        Ok(self.volume.index.numbers.limit())
    }

    fn next_inode(&mut self, from: Ino, class: Class) -> Result<Option<Ino>, SourceError> {
        if self.volume.options.is_interrupted() {
            return Err(SourceError::Interrupted);
        }
        let slot = usize::from(class == Class::Others);
        if self.walks[slot].as_ref().is_none_or(|walk| from < walk.from) {
            let cursor = self.cursor(class, from)?;
            self.walks[slot] = Some(Walk { cursor, from, next: None });
            self.advance(slot)?;
        }
        while self.walks[slot].as_ref().is_some_and(|walk| walk.next.is_some_and(|next| next.ino < from)) {
            self.advance(slot)?;
        }
        let Some(walk) = &mut self.walks[slot] else { return Ok(None) };
        walk.from = from;
        let ino = walk.next.map(|record| record.ino);
        self.given = ino.map(|ino| (ino, class));
        Ok(ino)
    }

    fn open(&mut self, ino: Ino) -> Result<Attributes, SourceError> {
        self.open = None;
        self.late.has_names = false;
        self.late.index = None;
        let class = match self.given {
            Some((given, class)) if given == ino => class,
            _ => self.look_up(ino)?.0,
        };
        let (record, object, is_single) = if self.advance_to(class, ino)? {
            let record = self.batch.records[self.position];
            let taken = Err(Trouble::Replaced);
            let object = match self.batch.objects.get_mut(self.position) {
                Some(object) => std::mem::replace(object, taken),
                None => taken,
            };
            self.position += 1;
            (record, object.map_err(|trouble| self.error(&record, trouble))?, false)
        } else {
            self.misses += 1;
            if self.misses >= MISSES_MAX {
                self.misses = 0;
                self.ahead = None;
            }
            let (record, object) = self.load_single(ino)?;
            (record, object, true)
        };
        if record.tag.kind() == Kind::Directory {
            self.entries.reset();
        }
        let attributes = object.attributes;
        let kept_at = object.properties.as_ref().map_or(0, |range| range.start);
        self.open = Some(Open { record, object, is_single, kept_index: 0, kept_at });
        Ok(attributes)
    }

    fn parent(&mut self) -> Result<Ino, SourceError> {
        let record = self.current_directory()?.record;
        let index = &self.volume.index;
        let real = (|| {
            let parent = index.places.read(record.place)?.parent;
            if parent == Places::ROOT {
                return Ok(Some(Ino::ROOT));
            }
            index.numbers.number(index.places.read(parent)?.real)
        })();
        let ino = real.map_err(|error| self.scratch_error(&error))?;
        ino.ok_or(SourceError::NoSuchObject(record.ino))
    }

    fn next_entry(&mut self, name: &mut NameBuf) -> Result<Option<Entry>, SourceError> {
        let record = self.current_directory()?.record;
        if record.tag.is_covered() {
            return Ok(None);
        }
        self.need_fd()?;
        let volume = Arc::clone(&self.volume);
        let mut entries = std::mem::take(&mut self.entries);
        let result = match entries.next_entry(&volume, self.fd()?, record.place) {
            Ok(Some((ino, found))) => {
                name[..found.len()].copy_from_slice(found);
                Ok(Some(Entry { ino, name_len: found.len() }))
            }
            // What could not be read in the walk is missing from the dump.
            Ok(None) => match record.walk_errno() {
                Some(errno) => {
                    let errno = Errno::from_raw_os_error(errno);
                    Err(self.system(&record, CANNOT_READ_DIRECTORY, errno))
                }
                None => Ok(None),
            },
            Err(EntryTrouble::System(errno)) => Err(self.system(&record, CANNOT_READ_DIRECTORY, errno)),
            Err(EntryTrouble::Unknown(name)) => {
                Err(SourceError::Replaced { path: self.path_in(record.place, &name) })
            }
        };
        self.entries = entries;
        result
    }

    fn rewind_entries(&mut self) -> Result<(), SourceError> {
        let record = self.current_directory()?.record;
        if record.tag.is_covered() {
            return Ok(());
        }
        self.need_fd()?;
        let mut entries = std::mem::take(&mut self.entries);
        let result = entries.rewind(self.fd()?);
        self.entries = entries;
        result.map_err(|errno| self.system(&record, CANNOT_READ_DIRECTORY, errno))
    }

    fn next_data(&mut self, from: u64) -> Result<Option<(u64, u64)>, SourceError> {
        let open = self.current()?;
        let size = open.object.attributes.size;
        if from >= size || !open.record.tag.kind().has_data() {
            return Ok(None);
        }
        if let Some(extents) = &open.object.extents {
            let (extents, _) = self.bytes(open, extents).as_chunks::<8>();
            let mut ranges = extents.iter().map(|[a, b, c, d, e, f, g, h]| {
                let data = u64::from(u32::from_le_bytes([*a, *b, *c, *d]));
                (data.max(from), u64::from(u32::from_le_bytes([*e, *f, *g, *h])))
            });
            return Ok(ranges.find(|(_, end)| *end > from));
        }
        if !open.object.is_sparse {
            return Ok(Some((from, size)));
        }
        self.need_fd()?;
        let found = load::next_data(self.fd()?, from, size);
        found.map_err(|errno| match self.current() {
            Ok(open) => self.system(&open.record, "cannot find the data", errno),
            Err(error) => error,
        })
    }

    fn read(&mut self, offset: u64, buf: &mut [u8]) -> Result<usize, SourceError> {
        let open = self.current()?;
        if !open.record.tag.kind().has_data() {
            return Err(SourceError::NotOpen);
        }
        if let Some(range) = &open.object.data {
            return Ok(copy_from(self.bytes(open, range), offset, buf));
        }
        // The file may have grown meanwhile.
        let rest = open.object.attributes.size.saturating_sub(offset);
        let len = buf.len().min(usize::try_from(rest).unwrap_or(usize::MAX));
        self.need_fd()?;
        let fd = self.fd()?;
        let mut done = 0;
        while done < len {
            match pread(fd, &mut buf[done..len], offset + done as u64) {
                Ok(0) => break,
                Ok(more) => done += more,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(self.system(&self.current()?.record, "cannot read", errno)),
            }
        }
        Ok(done)
    }

    fn property(&mut self, index: u32, name: &mut NameBuf) -> Result<Option<Property>, SourceError> {
        let open = self.current()?;
        let record = open.record;
        let Some(range) = open.object.properties.clone() else {
            let is_there = self.read_late(index)?;
            let Some(full_name) = names(&self.late.names).nth(index as usize).filter(|_| is_there) else {
                return Ok(None);
            };
            return Ok(Some(describe(full_name.to_bytes(), self.late.value.len(), name)));
        };
        let errno = match self.kept(&range, index)? {
            None => return Ok(None),
            Some(Kept { errno: None, name: full_name, value }) => {
                return Ok(Some(describe(full_name, value.len(), name)));
            }
            Some(Kept { errno: Some(errno), name: b"", .. }) => (CANNOT_LIST, errno),
            Some(Kept { errno: Some(errno), .. }) => (CANNOT_READ_PROPERTY, errno),
        };
        Err(self.system(&record, errno.0, errno.1))
    }

    fn read_property(&mut self, index: u32, offset: u32, buf: &mut [u8]) -> Result<usize, SourceError> {
        let open = self.current()?;
        let (record, offset) = (open.record, u64::from(offset));
        let Some(range) = open.object.properties.clone() else {
            let is_there = self.read_late(index)?;
            return Ok(if is_there { copy_from(&self.late.value, offset, buf) } else { 0 });
        };
        let errno = match self.kept(&range, index)? {
            None => return Ok(0),
            Some(Kept { errno: None, value, .. }) => return Ok(copy_from(value, offset, buf)),
            Some(Kept { errno: Some(errno), .. }) => errno,
        };
        Err(self.system(&record, CANNOT_READ_PROPERTY, errno))
    }

    fn close(&mut self) -> Result<bool, SourceError> {
        let Open { record, object, .. } = self.open.take().ok_or(SourceError::NotOpen)?;
        match &object.fd {
            Some(fd) if !self.volume.options.frozen => {
                let now = stat_fd(fd.as_fd());
                let now = now.map_err(|errno| self.system(&record, load::CANNOT_STAT, errno))?;
                Ok(object.is_unchanged && is_unchanged(&object.attributes, &now))
            }
            _ => Ok(object.is_unchanged),
        }
    }
}

impl LinuxSource {
    /// Makes the next record of a walk the current one.
    fn advance(&mut self, slot: usize) -> Result<(), SourceError> {
        let Some(walk) = &mut self.walks[slot] else { return Ok(()) };
        match walk.cursor.next_record() {
            Ok(record) => {
                walk.next = record;
                Ok(())
            }
            Err(error) => Err(self.scratch_error(&error)),
        }
    }
}
