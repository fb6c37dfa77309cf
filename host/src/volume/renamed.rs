//! A target on which some objects get other places than on the dump (R-RESTORE-5).
//!
//! The engine goes on to speak of the names of the dump; here they become others. A renamed directory takes all that is in
//! it along. Directories of the dump that were only on the way to what is renamed are not made at all.

use rustix::process::{getegid, geteuid};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{SystemTime, UNIX_EPOCH};
use tapedump_core::device::volume::{
    Attributes, Failure, Kind, Made, Place, PropertyKind, Room, TargetCapabilities, TargetVolume,
};
use tapedump_core::units::{Ino, Timestamp};

/// What is restored to another place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rename {
    /// The directory on the dump, and the name in it.
    pub parent: Ino,
    /// See `parent`.
    pub name: Vec<u8>,
    /// The new path, from the destination on.
    pub to: Vec<Vec<u8>>,
}

/// A target, and what is renamed on it.
#[derive(Debug)]
pub struct Renamed<V> {
    inner: V,
    /// By directory and name: the directory it is to be in, and its name there.
    renames: BTreeMap<(u32, Vec<u8>), (Ino, Vec<u8>)>,
    /// Directories of the dump that are not made.
    passed: BTreeSet<u32>,
    /// Directories that new paths lead through.
    ways: Vec<WayPoint>,
    umask: u16,
}

/// A directory on the way to a new path.
#[derive(Debug)]
struct WayPoint {
    ino: Ino,
    parent: Ino,
    name: Vec<u8>,
    /// The dump has nothing to say about it.
    own: bool,
    state: WayState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WayState {
    ToMake,
    New,
    Kept,
}

impl<V: TargetVolume> Renamed<V> {
    /// A target on which nothing is renamed yet. Directories that new paths need get permissions by this mask.
    pub fn new(inner: V, umask: u16) -> Self {
        let (renames, passed, ways) = (BTreeMap::new(), BTreeSet::new(), Vec::new());
        Self { inner, renames, passed, ways, umask }
    }

    /// The target itself.
    pub const fn inner(&self) -> &V {
        &self.inner
    }

    /// Renames an object; before anything is made. `is_of_dump` tells whether a path will be a directory of the dump.
    pub fn rename(&mut self, rename: Rename, mut is_of_dump: impl FnMut(&[Vec<u8>]) -> bool) {
        let Some((name, above)) = rename.to.split_last() else { return };
        let mut parent = Ino::ROOT;
        for (depth, component) in above.iter().enumerate() {
            let found = self.ways.iter().find(|way| way.parent == parent && way.name == *component);
            parent = match found {
                Some(way) => way.ino,
                None => {
                    // No object of a dump has such a number.
                    let ino = Ino(u32::MAX - self.ways.len() as u32);
                    let own = !is_of_dump(&above[..=depth]);
                    let name = component.clone();
                    self.ways.push(WayPoint { ino, parent, name, own, state: WayState::ToMake });
                    ino
                }
            };
        }
        self.renames.insert((rename.parent.0, rename.name), (parent, name.clone()));
    }

    /// The directory of the dump is only on the way to what is renamed.
    pub fn pass(&mut self, directory: Ino) {
        self.passed.insert(directory.0);
    }

    /// Where the object is to be: its new directory, which is known then, and its name there.
    fn new_place(&mut self, place: Place<'_>) -> Result<Option<(Ino, Vec<u8>)>, V::Error> {
        if self.renames.is_empty() {
            return Ok(None);
        }
        let Some((parent, name)) = self.renames.get(&(place.parent.0, place.name.to_vec())).cloned() else {
            return Ok(None);
        };
        self.reach(parent)?;
        Ok(Some((parent, name)))
    }

    /// Makes a directory of a new path known, and those above it.
    fn reach(&mut self, directory: Ino) -> Result<(), V::Error> {
        let mut chain = Vec::new();
        let mut at = directory;
        while !self.inner.knows(at) {
            let Some(index) = self.ways.iter().position(|way| way.ino == at) else { break };
            chain.push(index);
            at = self.ways[index].parent;
        }
        for index in chain.into_iter().rev() {
            let way = &mut self.ways[index];
            let place = Place { parent: way.parent, name: &way.name };
            if way.state == WayState::ToMake {
                way.state = match self.inner.make_directory(place, way.ino)? {
                    Made::New => WayState::New,
                    Made::Kept => WayState::Kept,
                };
            } else {
                self.inner.enter(place, way.ino)?;
            }
        }
        Ok(())
    }

    /// Gives the directories that were made for new paths the permissions of any new directory.
    fn complete_ways(&mut self) -> Result<(), V::Error> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = Timestamp { secs: since.as_secs() as i64, nanos: since.subsec_nanos() };
        for index in (0..self.ways.len()).rev() {
            let (ino, parent) = (self.ways[index].ino, self.ways[index].parent);
            if !self.ways[index].own || self.ways[index].state != WayState::New {
                continue;
            }
            self.reach(parent)?;
            self.reach(ino)?;
            let mut attributes = Attributes::new(Kind::Directory);
            attributes.permissions = 0o777 & !self.umask;
            (attributes.uid, attributes.gid) = (geteuid().as_raw(), getegid().as_raw());
            (attributes.accessed, attributes.modified) = (now, now);
            self.inner.reopen(Place { parent, name: &self.ways[index].name }, ino)?;
            self.inner.finish(&attributes)?;
        }
        Ok(())
    }
}

impl<V: TargetVolume> TargetVolume for Renamed<V> {
    type Error = V::Error;

    fn capabilities(&self) -> TargetCapabilities {
        self.inner.capabilities()
    }

    fn room(&mut self) -> Result<Room, V::Error> {
        self.inner.room()
    }

    fn knows(&mut self, directory: Ino) -> bool {
        self.passed.contains(&directory.0) || self.inner.knows(directory)
    }

    fn enter(&mut self, place: Place<'_>, directory: Ino) -> Result<(), V::Error> {
        if self.passed.contains(&directory.0) {
            return Ok(());
        }
        match self.new_place(place)? {
            Some((parent, name)) => self.inner.enter(Place { parent, name: &name }, directory),
            None => self.inner.enter(place, directory),
        }
    }

    fn make_directory(&mut self, place: Place<'_>, directory: Ino) -> Result<Made, V::Error> {
        if self.passed.contains(&directory.0) {
            return Ok(Made::Kept);
        }
        match self.new_place(place)? {
            Some((parent, name)) => self.inner.make_directory(Place { parent, name: &name }, directory),
            None => self.inner.make_directory(place, directory),
        }
    }

    fn create(&mut self, place: Place<'_>, ino: Ino, attributes: &Attributes) -> Result<(), V::Error> {
        match self.new_place(place)? {
            Some((parent, name)) => self.inner.create(Place { parent, name: &name }, ino, attributes),
            None => self.inner.create(place, ino, attributes),
        }
    }

    fn reopen(&mut self, place: Place<'_>, ino: Ino) -> Result<(), V::Error> {
        match self.new_place(place)? {
            Some((parent, name)) => {
                // The engine knows the object's directory, where that has a number; finding the new one may have cost it.
                self.inner.knows(ino);
                self.inner.reopen(Place { parent, name: &name }, ino)
            }
            None => self.inner.reopen(place, ino),
        }
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Result<(), V::Error> {
        self.inner.write(offset, data)
    }

    fn begin_property(&mut self, kind: PropertyKind, name: &[u8], value_len: u32) -> Result<(), V::Error> {
        self.inner.begin_property(kind, name, value_len)
    }

    fn write_property(&mut self, piece: &[u8]) -> Result<(), V::Error> {
        self.inner.write_property(piece)
    }

    fn abandon_property(&mut self) {
        self.inner.abandon_property();
    }

    fn finish(&mut self, attributes: &Attributes) -> Result<(), V::Error> {
        self.inner.finish(attributes)
    }

    fn release(&mut self) {
        self.inner.release();
    }

    fn link(&mut self, existing: Place<'_>, place: Place<'_>, ino: Ino) -> Result<(), V::Error> {
        let (from, to) = (self.new_place(existing)?, self.new_place(place)?);
        let new = |found: &Option<(Ino, Vec<u8>)>, old: Place<'_>| match found {
            Some((parent, name)) => (*parent, name.clone()),
            None => (old.parent, old.name.to_vec()),
        };
        let ((from_parent, from_name), (to_parent, to_name)) = (new(&from, existing), new(&to, place));
        self.inner.knows(from_parent);
        let from = Place { parent: from_parent, name: &from_name };
        self.inner.link(from, Place { parent: to_parent, name: &to_name }, ino)
    }

    fn poll_failure(&mut self) -> Option<Failure<V::Error>> {
        self.inner.poll_failure()
    }

    fn barrier(&mut self) {
        self.inner.barrier();
    }

    fn flush(&mut self) -> Result<(), V::Error> {
        if !self.ways.is_empty() {
            self.inner.barrier();
            self.complete_ways()?;
        }
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::target::LinuxTarget;
    use crate::volume::target::tests::{at, attributes, put};
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    fn rename(parent: u32, name: &str, to: &str) -> Rename {
        let to = to.split('/').map(|name| name.as_bytes().to_vec()).collect();
        Rename { parent: Ino(parent), name: name.as_bytes().to_vec(), to }
    }

    #[test]
    fn objects_come_to_their_new_places() {
        let root = tempfile::tempdir().unwrap();
        let mut target = Renamed::new(LinuxTarget::open(root.path()).unwrap(), 0o027);
        target.rename(rename(10, "file", "new/deep/name"), |_| false);
        target.rename(rename(2, "dir", "new/directory"), |_| false);
        target.pass(Ino(10));
        assert_eq!(target.make_directory(at(2, "on the way"), Ino(10)), Ok(Made::Kept));
        assert!(target.knows(Ino(10)));
        target.make_directory(at(2, "dir"), Ino(11)).unwrap();
        let file = attributes(Kind::File, 0o640, 3);
        put(&mut target, at(10, "file"), 20, &file, b"one");
        target.link(at(10, "file"), at(11, "link"), Ino(20)).unwrap();
        put(&mut target, at(11, "below"), 21, &file, b"two");
        target.reopen(at(2, "dir"), Ino(11)).unwrap();
        target.finish(&attributes(Kind::Directory, 0o711, 0)).unwrap();
        target.flush().unwrap();
        assert!(target.poll_failure().is_none());
        let path = |path: &str| root.path().join(path);
        assert_eq!(std::fs::read(path("new/deep/name")).unwrap(), b"one");
        assert_eq!(std::fs::read(path("new/directory/below")).unwrap(), b"two");
        let ino = |name: &str| std::fs::metadata(path(name)).unwrap().ino();
        assert_eq!(ino("new/directory/link"), ino("new/deep/name"));
        assert!(!path("on the way").exists() && !path("dir").exists());
        let mode = |name: &str| std::fs::metadata(path(name)).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode("new"), mode("new/deep"), mode("new/directory")), (0o750, 0o750, 0o711));
    }
}
