//! The walk of a tree: every directory is read once, on several threads, and every name found goes to a sorter.
//! Memory does not grow with the tree: the queue of directories still to be read is the list of all directories.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use rustix::fs::{FileType, OFlags, RawDir, RawDirEntry, Statx};
use rustix::io::Errno;
use tapedump_core::device::ErrorKind;
use tapedump_core::device::volume::Kind;
use tapedump_core::limits::NAME_LEN_MAX;
use tapedump_core::units::Ino;

use super::SourceOptions;
use super::bits::Bits;
use super::numbers::FIRST_FREE;
use super::reach::{Places, Reach, Root, errno_of, stat_fd, stat_name};
use super::sort::Sorter;
use super::table::Tag;
use crate::volume::VolumeError;

/// How directories are opened.
pub const DIRECTORY_FLAGS: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOATIME);

/// Bytes of directory entries read at once.
pub const ENTRIES_LEN: usize = 64 * 1024;

/// What failed when a list that outgrows memory could not be stored.
pub const STORE_LIST: &str = "store the list of files in";

/// More threads than this do not make a walk faster.
const THREADS_MAX: usize = 4;
/// Bytes of names of directories that a thread collects before it tells the others.
const CHILDREN_LEN_MAX: usize = 64 * 1024;

/// What the walk found.
pub struct Walked {
    pub places: Places,
    pub sorters: Vec<Sorter>,
    /// What did not change since the base, and is in no sorter: all names of these objects, unless one of them was seen
    /// after a change.
    pub unchanged: Bits,
    /// The highest real number of an object.
    pub highest: u64,
    /// Directories that belong to other volumes and were not entered.
    pub covered: Vec<Covered>,
}

impl Walked {
    /// Whether all objects can have their real numbers.
    pub fn fits(&self, root_real: u64, options: &SourceOptions) -> bool {
        self.highest.max(root_real) < options.tuning.direct_limit
    }
}

/// A directory that belongs to another volume.
pub struct Covered {
    pub place: u64,
    pub parent: u64,
    pub name: Vec<u8>,
    /// What the directory entry says; only a sort key if the object has no number in this tree.
    pub real: u64,
    /// The number is one of this tree (that of the directory beneath the mount).
    pub has_number: bool,
}

/// Walks the tree.
///
/// # Errors
/// The root cannot be read, what was found cannot be stored, or the walk was interrupted. A directory that cannot be
/// read is noted in its record instead.
pub fn walk(root: &Root, options: &SourceOptions, scratch_dir: &Arc<Path>) -> Result<Walked, VolumeError> {
    let scratch_error =
        |error: io::Error| VolumeError::system(STORE_LIST, scratch_dir.as_ref(), errno_of(&error));
    let tuning = &options.tuning;
    let root_real = root.real_number(root.stat());
    let places =
        Places::new(Arc::clone(scratch_dir), tuning.spool_memory, root_real).map_err(scratch_error)?;
    let queue = Queue { places, next: Places::ROOT, active: 0, failure: None };
    let walk = Walk { root, options, queue: Mutex::new(queue), changed: Condvar::new() };
    let threads = options.thread_count().clamp(1, THREADS_MAX);
    let sorter = || Sorter::new(Arc::clone(scratch_dir), tuning.sort_memory / threads);
    let mut walkers: Vec<Walker> = (0..threads).map(|_| Walker::new(sorter())).collect();
    thread::scope(|scope| {
        let mut walkers = walkers.iter_mut();
        let own = walkers.next();
        for walker in walkers {
            // Where no thread can be had, the others do its part.
            let _ = thread::Builder::new().spawn_scoped(scope, || walk.run(walker));
        }
        if let Some(walker) = own {
            walk.run(walker);
        }
    });
    let queue = walk.queue.into_inner().unwrap_or_else(PoisonError::into_inner);
    match queue.failure {
        Some(Failure::Root(errno)) => {
            return Err(VolumeError::system("read the directory", root.path(), errno));
        }
        Some(Failure::Scratch(error)) => return Err(scratch_error(error)),
        Some(Failure::Interrupted) => return Err(interrupted(root)),
        None => {}
    }
    let mut walked = Walked {
        places: queue.places,
        sorters: Vec::new(),
        unchanged: Bits::default(),
        highest: 0,
        covered: Vec::new(),
    };
    for walker in walkers {
        walked.highest = walked.highest.max(walker.highest);
        walked.sorters.push(walker.sorter);
        walked.unchanged.add(walker.unchanged);
        walked.covered.extend(walker.covered);
    }
    walked.covered.sort_by(|a, b| (a.real, &a.name).cmp(&(b.real, &b.name)));
    Ok(walked)
}

/// The user or the system asked to stop.
pub fn interrupted(root: &Root) -> VolumeError {
    VolumeError::own("finish reading", root.path(), ErrorKind::Interrupted, "interrupted")
}

struct Walk<'a> {
    root: &'a Root,
    options: &'a SourceOptions,
    queue: Mutex<Queue>,
    changed: Condvar,
}

struct Queue {
    places: Places,
    /// The first place nobody has read yet.
    next: u64,
    /// Threads that are reading a directory, and may find more.
    active: usize,
    failure: Option<Failure>,
}

enum Failure {
    Root(Errno),
    Scratch(io::Error),
    Interrupted,
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Scratch(error)
    }
}

/// What one thread keeps.
struct Walker {
    sorter: Sorter,
    unchanged: Bits,
    reach: Reach,
    highest: u64,
    covered: Vec<Covered>,
    /// Directories found in the directory being read: number, length of the name, name.
    children: Vec<u8>,
    entries: Vec<u8>,
}

impl Walker {
    fn new(sorter: Sorter) -> Self {
        Self {
            sorter,
            unchanged: Bits::default(),
            reach: Reach::new(),
            highest: 0,
            covered: Vec::new(),
            children: Vec::new(),
            entries: Vec::with_capacity(ENTRIES_LEN),
        }
    }
}

/// A directory to be read.
struct Job {
    place: u64,
    parent: u64,
    real: u64,
    name: Vec<u8>,
}

/// Takes a thread out of the queue when it leaves, also by a panic: nobody is to wait for it.
struct Leave<'a, 'b>(&'a Walk<'b>);

impl Drop for Leave<'_, '_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.lock().failure = Some(Failure::Interrupted);
        }
        self.0.changed.notify_all();
    }
}

impl Walk<'_> {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, walker: &mut Walker) {
        let _leave = Leave(self);
        loop {
            let result = match self.claim(walker) {
                Ok(Some(job)) => self.visit(walker, &job),
                Ok(None) => return,
                Err(error) => Err(Failure::Scratch(error)),
            };
            let mut queue = self.lock();
            queue.active -= 1;
            if let Err(failure) = result {
                queue.failure.get_or_insert(failure);
            }
            if queue.active == 0 || queue.failure.is_some() {
                self.changed.notify_all();
            }
        }
    }

    /// Takes the next directory from the queue, and looks up its path while the queue is at hand.
    fn claim(&self, walker: &mut Walker) -> io::Result<Option<Job>> {
        let mut queue = self.lock();
        while queue.next == queue.places.end() && queue.active > 0 && queue.failure.is_none() {
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        if queue.failure.is_some() || queue.next == queue.places.end() {
            return Ok(None);
        }
        queue.active += 1;
        let place = queue.next;
        let found = queue.places.read(place)?;
        queue.next = found.next;
        walker.reach.find(&queue.places, place)?;
        Ok(Some(Job { place, parent: found.parent, real: found.real, name: found.name().to_vec() }))
    }

    fn visit(&self, walker: &mut Walker, job: &Job) -> Result<(), Failure> {
        let is_root = job.place == Places::ROOT;
        let mut changed = false;
        let errno = match self.open(walker, job) {
            Ok((fd, stat)) => {
                changed = self.is_changed(&stat);
                self.read(walker, job.place, fd.as_fd())?
            }
            Err(Cover::Mount) => return self.cover(walker, job, self.root.mounts_have_numbers()),
            Err(Cover::Subvolume) => return self.cover(walker, job, false),
            Err(Cover::Unreadable(errno)) => Some(errno),
        };
        self.tell(walker, job.place)?;
        match errno {
            Some(errno) if is_root => Err(Failure::Root(errno)),
            Some(errno) => {
                walker.highest = walker.highest.max(job.real);
                let errno = errno.raw_os_error().to_le_bytes();
                Ok(walker.sorter.push(job.real, job.place, Tag::unread().0, &errno)?)
            }
            None if is_root => Ok(()),
            None => {
                walker.highest = walker.highest.max(job.real);
                let tag = Tag::new(Kind::Directory).changed_if(changed);
                Ok(walker.sorter.push(job.real, job.place, tag.0, b"")?)
            }
        }
    }

    fn open(&self, walker: &mut Walker, job: &Job) -> Result<(OwnedFd, Statx), Cover> {
        let fd = match walker.reach.open_found(self.root, b"", DIRECTORY_FLAGS) {
            Ok(fd) => fd,
            Err(Errno::XDEV) => return Err(Cover::Mount),
            Err(errno) => return Err(Cover::Unreadable(errno)),
        };
        let stat = stat_fd(fd.as_fd()).map_err(Cover::Unreadable)?;
        if !self.root.is_own_device(&stat) || self.root.is_empty_subvolume(&stat) {
            return Err(Cover::Subvolume);
        }
        if self.root.hides_mount(walker.reach.found()) {
            return Err(Cover::Mount);
        }
        if !self.root.is_same(&stat, job.real) {
            // Another directory has the name by now; it is read when the object is opened, or reported then.
            return Err(Cover::Unreadable(Errno::STALE));
        }
        Ok((fd, stat))
    }

    /// Whether the object changed since the time asked for. That is a whole second, and its own second counts.
    fn is_changed(&self, stat: &Statx) -> bool {
        let Some(base) = &self.options.base else { return false };
        // What is new has a number that the base knows as another object's, perhaps, and may have been given any other time.
        let changed = if self.options.ignore_ctime { stat.stx_btime } else { stat.stx_ctime };
        changed.tv_sec >= base.since || stat.stx_mtime.tv_sec >= base.since
    }

    fn cover(&self, walker: &mut Walker, job: &Job, has_number: bool) -> Result<(), Failure> {
        if has_number {
            walker.highest = walker.highest.max(job.real);
            walker.sorter.push(job.real, job.parent, Tag::covered().0, &job.name)?;
        }
        let &Job { place, parent, real, .. } = job;
        walker.covered.push(Covered { place, parent, name: job.name.clone(), real, has_number });
        Ok(())
    }

    /// Reads a directory. Gives why it could not be read, or not all of it.
    fn read(&self, walker: &mut Walker, place: u64, fd: BorrowedFd<'_>) -> Result<Option<Errno>, Failure> {
        let mut buf = std::mem::take(&mut walker.entries);
        let mut entries = RawDir::new(fd, buf.spare_capacity_mut());
        let mut problem = None;
        loop {
            if entries.is_buffer_empty() && self.options.is_interrupted() {
                return Err(Failure::Interrupted);
            }
            match entries.next() {
                Some(Ok(entry)) => {
                    problem = self.note(walker, place, fd, &entry)?.or(problem);
                }
                Some(Err(Errno::INTR)) => {}
                Some(Err(errno)) => {
                    problem = Some(errno);
                    break;
                }
                None => break,
            }
        }
        walker.entries = buf;
        Ok(problem)
    }

    /// Notes one entry. Gives why it cannot be part of the dump.
    fn note(
        &self,
        walker: &mut Walker,
        place: u64,
        dir: BorrowedFd<'_>,
        entry: &RawDirEntry<'_>,
    ) -> Result<Option<Errno>, Failure> {
        let name = entry.file_name().to_bytes();
        if !self.options.excluded.takes(place == Places::ROOT, name) {
            return Ok(None);
        }
        if name.len() > NAME_LEN_MAX {
            return Ok(Some(Errno::NAMETOOLONG));
        }
        let (real, kind) = match identify(self.root, dir, entry) {
            Ok(Some((real, kind))) => (real, kind),
            Ok(None) => return Ok(None),
            Err(errno) => return Ok(Some(errno)),
        };
        if kind != Kind::Directory {
            // What cannot be asked may have changed; should it be gone, opening it will tell.
            let base = self.options.base.as_ref();
            let changed = base.is_some()
                && stat_name(dir, entry.file_name()).map_or(true, |stat| self.is_changed(&stat));
            walker.highest = walker.highest.max(real);
            let is_direct = (FIRST_FREE.into()..self.options.tuning.direct_limit).contains(&real);
            if !changed && is_direct && base.is_some_and(|base| base.has(real)) {
                walker.unchanged.insert(Ino(real as u32));
                return Ok(None);
            }
            walker.sorter.push(real, place, Tag::new(kind).changed_if(changed).0, name)?;
            return Ok(None);
        }
        walker.children.extend_from_slice(&real.to_le_bytes());
        walker.children.push(name.len() as u8);
        walker.children.extend_from_slice(name);
        if walker.children.len() > CHILDREN_LEN_MAX {
            self.tell(walker, place)?;
        }
        Ok(None)
    }

    /// Puts the directories found in the queue.
    fn tell(&self, walker: &mut Walker, parent: u64) -> Result<(), Failure> {
        if walker.children.is_empty() {
            return Ok(());
        }
        let mut queue = self.lock();
        let mut rest = walker.children.as_slice();
        while let Some((real, tail)) = rest.split_first_chunk::<8>() {
            let Some((name_len, tail)) = tail.split_first() else { break };
            let (name, tail) = tail.split_at(usize::from(*name_len));
            queue.places.push(parent, u64::from_le_bytes(*real), name)?;
            rest = tail;
        }
        drop(queue);
        walker.children.clear();
        self.changed.notify_all();
        Ok(())
    }
}

/// Why a directory is not read.
enum Cover {
    Mount,
    Subvolume,
    Unreadable(Errno),
}

/// The object's real number and kind, from its entry where that tells; `Ok(None)`: it is gone.
///
/// # Errors
/// The object cannot be asked.
pub fn identify(
    root: &Root,
    dir: BorrowedFd<'_>,
    entry: &RawDirEntry<'_>,
) -> Result<Option<(u64, Kind)>, Errno> {
    let entry_real = Some(entry.ino()).filter(|real| root.entries_have_numbers && *real != 0);
    if let (Some(real), Some(kind)) = (entry_real, kind_of_type(entry.file_type())) {
        return Ok(Some((real, kind)));
    }
    let stat = match stat_name(dir, entry.file_name()) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(errno),
    };
    let kind = Kind::from_mode(stat.stx_mode).ok_or(Errno::INVAL)?;
    Ok(Some((entry_real.unwrap_or_else(|| root.real_number(&stat)), kind)))
}

fn kind_of_type(file_type: FileType) -> Option<Kind> {
    Some(match file_type {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Symlink,
        FileType::Fifo => Kind::Fifo,
        FileType::CharacterDevice => Kind::CharDevice,
        FileType::BlockDevice => Kind::BlockDevice,
        FileType::Socket => Kind::Socket,
        FileType::Unknown => return None,
    })
}
