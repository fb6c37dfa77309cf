//! A tree as the source of a dump, one object at a time.

mod contract;

use std::ffi::OsStr;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock};

use rustix::io::Errno;
use tapedump_core::device::ErrorKind;
use tapedump_core::device::volume::{Class, Kind};
use tapedump_core::units::Ino;

use super::ahead::{self, Ahead, Batch};
use super::build::Index;
use super::entries::Entries;
use super::load::{Loader, Object, Trouble, is_path_only};
use super::numbers::Numbering;
use super::properties::{Access, Kept, names};
use super::reach::{Root, errno_of};
use super::since::{self, Earlier};
use super::table::{Cursor, Record, Table};
use super::walk::{interrupted, walk};
use super::{Qtrees, SourceOptions, Volume};
use crate::volume::VolumeError;
use crate::volume::btrfs::tree_search::TreeSearch;

/// A tree of a mounted file system.
pub struct LinuxSource {
    volume: Arc<Volume>,
    walks: [Option<Walk>; 2],
    /// What `next_inode` gave last.
    given: Option<(Ino, Class)>,
    ahead: Option<(Class, Ahead)>,
    /// The batch being consumed, and the first object in it not looked at yet.
    batch: Batch,
    position: usize,
    /// The last object taken from what is read ahead, of each class. An object behind it is read by itself: whoever goes
    /// back (stage V, for a few objects) does not want what lies between.
    last: [Option<Ino>; 2],
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
    pub fn open(root: &Path, mut options: SourceOptions) -> Result<Self, VolumeError> {
        let opened = open_root(root, &options)?;
        let scratch_dir: Arc<Path> = Arc::from(options.scratch_dir.as_path());
        let mut walked = walk(&opened, &options, &scratch_dir)?;
        if !walked.fits(opened.real_number(opened.stat()), &options) && walked.unchanged.count() > 0 {
            // What was taken for unchanged gets another number.
            options.base = None;
            walked = walk(&opened, &options, &scratch_dir)?;
        }
        let index = Index::build(walked, &opened, &options, &scratch_dir)?;
        Ok(Self::new(opened, index, options))
    }

    /// Opens the root of a btrfs subvolume that does not change, and finds what changed since an earlier dump without
    /// walking. `None`: only a walk tells.
    ///
    /// # Errors
    /// As [`open`](Self::open); or the volume's tree or the names of the earlier dump cannot be read.
    pub fn open_since(
        root: &Path,
        options: SourceOptions,
        earlier: &mut Earlier<'_>,
    ) -> Result<Option<Self>, VolumeError> {
        let opened = open_root(root, &options)?;
        if opened.junctions.has_mounts() {
            return Ok(None);
        }
        let scratch_dir: Arc<Path> = Arc::from(options.scratch_dir.as_path());
        let root_real = opened.real_number(opened.stat());
        let tree = TreeSearch::new(opened.fd());
        let failed = |error: io::Error| VolumeError::system("find what changed in", root, errno_of(&error));
        let Some(walked) = since::find(tree, root_real, &options, earlier, &scratch_dir).map_err(failed)?
        else {
            return Ok(None);
        };
        if !walked.fits(root_real, &options) {
            return Ok(None);
        }
        let index = Index::build(walked, &opened, &options, &scratch_dir)?;
        Ok(Some(Self::new(opened, index, options)))
    }

    fn new(root: Root, index: Index, options: SourceOptions) -> Self {
        let held = Arc::new(AtomicUsize::new(0));
        let qtrees = Qtrees::of(&root);
        let volume = Arc::new(Volume { root, index, options, qtrees, wanted: OnceLock::new(), held });
        Self {
            loader: Loader::new(Arc::clone(&volume)),
            volume,
            walks: [None, None],
            given: None,
            ahead: None,
            batch: Batch::default(),
            position: 0,
            last: [None, None],
            single: Batch::default(),
            open: None,
            entries: Entries::default(),
            late: LateProperty::default(),
        }
    }

    /// Directories that belong to other volumes and were not entered.
    #[must_use]
    pub fn mount_points(&self) -> Vec<PathBuf> {
        let places = self.volume.index.covered_places.iter();
        let mut mount_points: Vec<PathBuf> = places.map(|place| self.path_in(*place, b"")).collect();
        mount_points.sort();
        mount_points
    }

    /// The rule the numbers follow.
    #[must_use]
    pub fn numbering(&self) -> Numbering {
        self.volume.index.numbers.numbering()
    }

    /// Writes the numbers that the next dump of the chain needs as its [`NumberMap`](super::NumberMap), if they are
    /// [`Numbering::Dense`].
    ///
    /// # Errors
    /// They cannot be read, or not written.
    pub fn write_numbers(&self, to: &mut dyn io::Write) -> io::Result<()> {
        self.volume.index.numbers.write(to)
    }

    /// Takes the numbers of junctions out of the map of what the chain holds: once something is not mounted any more, they
    /// are those of what was beneath, or of anything else.
    pub fn forget_junctions(&self, known: &mut [u8]) {
        for bit in self.volume.index.junctions.iter().map(|ino| ino.0.saturating_sub(1)) {
            if let Some(byte) = known.get_mut((bit / 8) as usize) {
                *byte &= !(1 << (bit % 8));
            }
        }
    }

    /// Where a path that is shown is read.
    #[must_use]
    pub fn readable_path(&self, shown: &Path) -> PathBuf {
        let root = &self.volume.root;
        shown
            .strip_prefix(root.path())
            .map_or_else(|_| shown.to_path_buf(), |beneath| root.real_path().join(beneath))
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

    fn cursor(&self, class: Class, from: Ino) -> Result<Cursor, VolumeError> {
        Cursor::new(Arc::clone(self.table(class)), from).map_err(|error| self.scratch_error(&error))
    }

    fn scratch_error(&self, error: &io::Error) -> VolumeError {
        let path = &self.volume.options.scratch_dir;
        VolumeError::system("read the list of files in", path, errno_of(error))
    }

    fn system(&self, record: &Record, what: &'static str, errno: Errno) -> VolumeError {
        VolumeError::system(what, self.path(record), errno)
    }

    fn error(&self, record: &Record, trouble: Trouble) -> VolumeError {
        let path = self.path(record);
        match trouble {
            Trouble::System(what, errno) => VolumeError::system(what, path, errno),
            Trouble::Replaced => VolumeError::own("read", path, ErrorKind::Changed, REPLACED),
            Trouble::MountPoint => {
                VolumeError::own("read", path, ErrorKind::Changed, "another file system is mounted on it")
            }
            Trouble::Interrupted => interrupted(&self.volume.root),
        }
    }

    fn look_up(&self, ino: Ino) -> Result<(Class, Record), VolumeError> {
        for class in [Class::Directories, Class::Others] {
            let record = self.cursor(class, ino)?.next_record();
            let record = record.map_err(|error| self.scratch_error(&error))?;
            if let Some(record) = record.filter(|record| record.ino == ino) {
                return Ok((class, record));
            }
        }
        Err(no_such_object(ino))
    }

    /// The record of an object; at once for the one that is open, and those that walks gave last.
    fn known(&self, ino: Ino) -> Result<Record, VolumeError> {
        let open = self.open.as_ref().map(|open| &open.record);
        let walks = self.walks.iter().flatten().filter_map(|walk| walk.next.as_ref());
        match open.into_iter().chain(walks).find(|record| record.ino == ino) {
            Some(record) => Ok(*record),
            None => Ok(self.look_up(ino)?.1),
        }
    }

    /// Moves what is read ahead to `ino`; `false`: it is not there.
    fn advance_to(&mut self, class: Class, ino: Ino) -> Result<bool, VolumeError> {
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
    fn load_single(&mut self, ino: Ino) -> Result<(Record, Object), VolumeError> {
        let (_, record) = self.look_up(ino)?;
        self.single.bytes.clear();
        match self.loader.load(&record, &mut self.single.bytes) {
            Ok(object) => Ok((record, object)),
            Err(trouble) => Err(self.error(&record, trouble)),
        }
    }

    fn current(&self) -> Result<&Open, VolumeError> {
        self.open.as_ref().ok_or_else(not_open)
    }

    fn current_directory(&self) -> Result<&Open, VolumeError> {
        let open = self.current()?;
        if open.record.tag.kind() == Kind::Directory { Ok(open) } else { Err(not_open()) }
    }

    fn bytes(&self, open: &Open, range: &Range<usize>) -> &[u8] {
        let batch = if open.is_single { &self.single } else { &self.batch };
        batch.bytes.get(range.clone()).unwrap_or_default()
    }

    /// Opens the object again if it was not left open.
    fn need_fd(&mut self) -> Result<(), VolumeError> {
        let open = self.open.as_mut().ok_or_else(not_open)?;
        if open.object.fd.is_none() {
            let record = open.record;
            match self.loader.reopen(&record) {
                Ok(fd) => open.object.fd = Some(fd),
                Err(trouble) => return Err(self.error(&record, trouble)),
            }
        }
        Ok(())
    }

    fn fd(&self) -> Result<BorrowedFd<'_>, VolumeError> {
        self.current()?.object.fd.as_ref().map(AsFd::as_fd).ok_or_else(not_open)
    }

    /// The kept property `index`; `Ok(None)`: there are no more.
    fn kept(&mut self, range: &Range<usize>, index: u32) -> Result<Option<Kept<'_>>, VolumeError> {
        let open = self.open.as_mut().ok_or_else(not_open)?;
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
    fn read_late(&mut self, index: u32) -> Result<bool, VolumeError> {
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

    fn read_late_into(&self, late: &mut LateProperty, index: u32) -> Result<bool, VolumeError> {
        let record = self.current()?.record;
        let access = Access::new(self.fd()?, is_path_only(record.tag.kind()));
        if !late.has_names {
            let listed = access.list(&mut late.names);
            late.has_names = true;
            listed.map_err(|errno| self.system(&record, LIST, errno))?;
        }
        let Some(name) = names(&late.names).nth(index as usize) else { return Ok(false) };
        let read = access.value(name, &mut late.value);
        read.map_err(|errno| self.system(&record, READ_PROPERTY, errno))?;
        late.index = Some(index);
        Ok(true)
    }
}

/// Opens the root of a tree, by the names that it has for the user.
fn open_root(root: &Path, options: &SourceOptions) -> Result<Root, VolumeError> {
    let mut opened =
        Root::open(root).map_err(|errno| VolumeError::system("open the directory", root, errno))?;
    if let Some(image) = &options.image {
        opened.show_as(&image.tree);
    }
    if !options.tuning.openat2 {
        opened.without_openat2();
    }
    opened.entries_have_numbers &= options.tuning.entry_numbers;
    Ok(opened)
}

/// The number is none of the volume's.
fn no_such_object(ino: Ino) -> VolumeError {
    VolumeError::own("open", ino.to_string(), ErrorKind::NotFound, "no object of the tree has this number")
}

/// The caller has not opened the object first.
fn not_open() -> VolumeError {
    VolumeError::pathless("read an object of this type: none is open", Errno::INVAL)
}

const REPLACED: &str = "it is no longer what was found there";
const LIST: &str = "list the extended attributes of";
const READ_PROPERTY: &str = "read an extended attribute of";
const READ_DIRECTORY: &str = "read the directory";

impl LinuxSource {
    /// Makes the next record of a walk the current one.
    fn advance(&mut self, slot: usize) -> Result<(), VolumeError> {
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
