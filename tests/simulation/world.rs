//! The model: a volume that changes, by a seed. Every state that it ever had can be made again, so that a restore is compared
//! with the tree as it was, and not with something that was kept of it.

use tapedump_core::device::fault::SplitMix64;
use tapedump_core::device::mem::{MemVolume, Node};
use tapedump_core::device::volume::{Attributes, Kind, NameBuf, PropertyKind, SourceVolume};
use tapedump_core::limits::{NAME_LEN_MAX, SEGMENT_LEN_MAX};
use tapedump_core::units::{Ino, Timestamp};

/// Objects that a volume has at most.
const NODES: usize = 60;
const ARENA_LEN: usize = 384 << 10;
/// Bytes of a map of all of them.
pub const MAP_LEN: usize = 16;

/// Names are drawn from few, so that they come again.
const NAMES: u64 = 20;
/// Properties likewise.
pub const NOTES: [&[u8]; 2] = [b"user.note", b"user.other"];

/// When the first change is made.
const BEGIN: u32 = 1_750_000_000;

/// Memory for a volume.
pub struct Room {
    nodes: Vec<Node>,
    arena: Vec<u8>,
}

impl Room {
    pub fn new() -> Self {
        Self { nodes: vec![Node::EMPTY; NODES], arena: vec![0; ARENA_LEN] }
    }

    /// A volume without anything in it.
    pub fn empty(&mut self) -> MemVolume<'_> {
        MemVolume::new(&mut self.nodes, &mut self.arena).expect("there is room for a root")
    }
}

/// Which volume, and after how many changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Image {
    pub seed: u64,
    pub changes: u32,
}

impl Image {
    /// The volume as it was then.
    pub fn volume(self, room: &mut Room) -> MemVolume<'_> {
        let mut world = World { volume: room.empty(), random: SplitMix64::new(self.seed), now: BEGIN };
        for change in 0..self.changes {
            // Two changes in each second.
            world.now = BEGIN + change / 2;
            world.change();
        }
        world.volume
    }

    /// The time then.
    pub const fn date(self) -> u32 {
        BEGIN + self.changes / 2
    }
}

/// A volume that changes; each change has its time.
struct World<'m> {
    volume: MemVolume<'m>,
    random: SplitMix64,
    now: u32,
}

impl World<'_> {
    fn time(&mut self) -> Timestamp {
        Timestamp { secs: self.now.into(), nanos: self.random.below(1_000_000_000) as u32 }
    }

    fn attributes(&mut self, kind: Kind) -> Attributes {
        let mut attributes = Attributes::new(kind);
        attributes.permissions = 0o600 + self.random.below(0o200) as u16;
        attributes.uid = self.random.below(100_000) as u32;
        attributes.modified = self.time();
        attributes.changed = attributes.modified;
        attributes
    }

    /// The object itself changed.
    fn touch(&mut self, ino: Ino, data_too: bool) {
        let mut attributes = self.volume.attributes(ino).expect("it is there");
        attributes.changed = self.time();
        if data_too {
            attributes.modified = attributes.changed;
        }
        self.volume.set_attributes(ino, &attributes).expect("it is there");
    }

    /// One of the objects that are directories, or that are none.
    fn object(&mut self, directory: bool) -> Option<Ino> {
        let all = objects(&self.volume);
        let of_kind: Vec<Ino> = all
            .into_iter()
            .filter(|(_, kind)| (*kind == Kind::Directory) == directory)
            .map(|(ino, _)| ino)
            .collect();
        of_kind.get(self.random.below(of_kind.len() as u64) as usize).copied()
    }

    fn directory(&mut self) -> Ino {
        self.object(true).unwrap_or(Ino::ROOT)
    }

    /// Some name of any object but the root.
    fn name(&mut self) -> Option<(Ino, Vec<u8>, Ino)> {
        let directory = self.directory();
        let names = names(&mut self.volume, directory);
        let index = self.random.below(names.len() as u64) as usize;
        names.into_iter().nth(index).map(|(name, ino)| (directory, name, ino))
    }

    fn data(&mut self, len_max: u64) -> Vec<u8> {
        let len = self.random.below(len_max);
        (0..len).map(|_| self.random.next_u64() as u8).collect()
    }

    /// One change, or none if it is not possible here.
    fn change(&mut self) {
        let parent = self.directory();
        let name = format!("name {}", self.random.below(NAMES)).into_bytes();
        match self.random.below(16) {
            0..=3 => {
                let (attributes, data) = (self.attributes(Kind::File), self.data(4000));
                if self.volume.add_file(parent, &name, &attributes, &data).is_ok() {
                    self.touch(parent, true);
                }
            }
            4 | 5 => {
                let attributes = self.attributes(Kind::Directory);
                if self.volume.add_directory(parent, &name, &attributes).is_ok() {
                    self.touch(parent, true);
                }
            }
            6 => {
                let attributes = self.attributes(Kind::Symlink);
                if self.volume.add_symlink(parent, &name, &attributes, &name).is_ok() {
                    self.touch(parent, true);
                }
            }
            7 => {
                if let Some(object) = self.object(false)
                    && self.volume.add_link(object, parent, &name).is_ok()
                {
                    self.touch(parent, true);
                    self.touch(object, false);
                }
            }
            8 | 9 => self.remove(),
            10 | 11 => self.rename(parent, &name),
            12 => self.rewrite(),
            13 => self.spread(),
            _ => {
                let object = self.object(false).unwrap_or(parent);
                let (value, name) = (self.data(300), NOTES[self.random.below(2) as usize]);
                if self.random.below(4) == 0 {
                    let _ = self.volume.remove_property(object, PropertyKind::Xattr, name);
                } else {
                    let set = self.volume.set_property(object, PropertyKind::Xattr, name, &value);
                    set.expect("there is room for it");
                }
                self.touch(object, false);
            }
        }
    }

    fn remove(&mut self) {
        let Some((from, name, object)) = self.name() else { return };
        if self.volume.remove(from, &name).is_ok() {
            self.touch(from, true);
            if self.volume.attributes(object).is_ok() {
                self.touch(object, false);
            }
        }
    }

    fn rename(&mut self, parent: Ino, name: &[u8]) {
        let Some((from, old, object)) = self.name() else { return };
        if self.volume.rename(from, &old, parent, name).is_ok() {
            self.touch(from, true);
            self.touch(parent, true);
            // Not every volume counts a rename as a change of the object.
            if self.random.below(2) == 0 {
                self.touch(object, false);
            }
        }
    }

    /// Replaces data of a file, and cuts off or extends what is behind.
    fn rewrite(&mut self) {
        let Some(object) = self.object(false) else { return };
        let data = self.data(4000);
        if self.volume.attributes(object).is_ok_and(|found| found.kind == Kind::File) {
            self.volume.write_data(object, 0, &data).expect("there is room for it");
            self.volume
                .set_size(object, data.len() as u64 * (1 + self.random.below(3)))
                .expect("it is a file");
            self.touch(object, true);
        }
    }

    /// Makes a file of several segments, most of which is holes.
    fn spread(&mut self) {
        let Some(object) = self.object(false) else { return };
        let data = self.data(3000);
        if self.volume.attributes(object).is_ok_and(|found| found.kind == Kind::File) {
            let at = self.random.below(3 * SEGMENT_LEN_MAX as u64);
            self.volume.write_data(object, at, &data).expect("there is room for it");
            self.touch(object, true);
        }
    }
}

/// Every object of a volume, and what it is.
pub fn objects(volume: &MemVolume<'_>) -> Vec<(Ino, Kind)> {
    let all = (Ino::ROOT.0..Ino::ROOT.0 + NODES as u32).map(Ino);
    all.filter_map(|ino| volume.attributes(ino).ok().map(|found| (ino, found.kind))).collect()
}

/// The names in a directory.
pub fn names(volume: &mut MemVolume<'_>, directory: Ino) -> Vec<(Vec<u8>, Ino)> {
    let mut found = Vec::new();
    let mut name: NameBuf = [0; NAME_LEN_MAX];
    volume.open(directory).expect("it is there");
    while let Some(entry) = volume.next_entry(&mut name).expect("memory can be read") {
        found.push((name[..entry.name_len].to_vec(), entry.ino));
    }
    volume.close().expect("it is open");
    found
}
