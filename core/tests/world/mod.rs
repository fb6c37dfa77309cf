//! A random tree that changes, for tests of chains.

use tapedump_core::device::mem::MemVolume;
use tapedump_core::device::volume::{Attributes, Kind, NameBuf, PropertyKind, SourceVolume};
use tapedump_core::limits::NAME_LEN_MAX;
use tapedump_core::units::{Ino, Timestamp};

/// The attribute that some objects have.
pub const NOTE: &[u8] = b"user.note";

/// Objects that a volume has room for.
pub const NODES: usize = 120;

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// A volume that changes; time passes with every change.
pub struct World<'m> {
    pub volume: MemVolume<'m>,
    random: Random,
    pub now: i64,
}

impl<'m> World<'m> {
    pub fn new(volume: MemVolume<'m>, seed: u64) -> Self {
        Self { volume, random: Random(seed), now: 1_700_000_000 }
    }

    fn attributes(&mut self, kind: Kind) -> Attributes {
        let mut attributes = Attributes::new(kind);
        attributes.permissions = 0o600 + self.random.below(0o200) as u16;
        attributes.uid = self.random.below(100_000) as u32;
        attributes.modified = self.time();
        attributes.changed = attributes.modified;
        attributes
    }

    fn time(&mut self) -> Timestamp {
        Timestamp { secs: self.now, nanos: self.random.below(1_000_000_000) as u32 }
    }

    /// The object itself changed.
    pub fn touch(&mut self, ino: Ino, data_too: bool) {
        let mut attributes = self.volume.attributes(ino).unwrap();
        attributes.changed = self.time();
        if data_too {
            attributes.modified = attributes.changed;
        }
        self.volume.set_attributes(ino, &attributes).unwrap();
    }

    pub fn objects(&self, directories: bool) -> Vec<Ino> {
        let all = (2..2 + NODES as u32).map(Ino);
        all.filter(|ino| {
            self.volume.attributes(*ino).is_ok_and(|found| (found.kind == Kind::Directory) == directories)
        })
        .collect()
    }

    fn directory(&mut self) -> Ino {
        let all = self.objects(true);
        all[self.random.below(all.len() as u64) as usize]
    }

    pub fn other(&mut self) -> Option<Ino> {
        let all = self.objects(false);
        let index = self.random.below(all.len().max(1) as u64) as usize;
        all.get(index).copied()
    }

    /// Some name of any object but the root.
    fn name(&mut self) -> Option<(Ino, Vec<u8>, Ino)> {
        let directory = self.directory();
        let mut found = Vec::new();
        let mut name: NameBuf = [0; NAME_LEN_MAX];
        self.volume.open(directory).unwrap();
        while let Some(entry) = self.volume.next_entry(&mut name).unwrap() {
            found.push((directory, name[..entry.name_len].to_vec(), entry.ino));
        }
        self.volume.close().unwrap();
        let index = self.random.below(found.len().max(1) as u64) as usize;
        found.into_iter().nth(index)
    }

    fn new_name(&mut self) -> Vec<u8> {
        // Few, so that names are used again.
        format!("name {}", self.random.below(40)).into_bytes()
    }

    fn data(&mut self) -> Vec<u8> {
        let len = self.random.below(4000);
        (0..len).map(|_| self.random.next() as u8).collect()
    }

    /// One change, or none if it is not possible here.
    pub fn change(&mut self) {
        self.now += i64::from(self.random.below(3) == 0);
        let parent = self.directory();
        let name = self.new_name();
        match self.random.below(13) {
            0..=2 => {
                let (attributes, data) = (self.attributes(Kind::File), self.data());
                if self.volume.add_file(parent, &name, &attributes, &data).is_ok() {
                    self.touch(parent, true);
                }
            }
            3 | 4 => {
                let attributes = self.attributes(Kind::Directory);
                if self.volume.add_directory(parent, &name, &attributes).is_ok() {
                    self.touch(parent, true);
                }
            }
            5 => {
                let attributes = self.attributes(Kind::Symlink);
                if self.volume.add_symlink(parent, &name, &attributes, &name).is_ok() {
                    self.touch(parent, true);
                }
            }
            6 => {
                if let Some(object) = self.other()
                    && self.volume.add_link(object, parent, &name).is_ok()
                {
                    self.touch(parent, true);
                    self.touch(object, false);
                }
            }
            7 | 8 => {
                if let Some((from, old, object)) = self.name()
                    && self.volume.remove(from, &old).is_ok()
                {
                    self.touch(from, true);
                    if self.volume.attributes(object).is_ok() {
                        self.touch(object, false);
                    }
                }
            }
            9 | 10 => {
                if let Some((from, old, object)) = self.name()
                    && self.volume.rename(from, &old, parent, &name).is_ok()
                {
                    self.touch(from, true);
                    self.touch(parent, true);
                    // Not every volume counts a rename as a change of the object.
                    if self.random.below(2) == 0 {
                        self.touch(object, false);
                    }
                }
            }
            11 => {
                if let Some(object) = self.other() {
                    let data = self.data();
                    if self.volume.attributes(object).unwrap().kind == Kind::File {
                        self.volume.set_size(object, data.len() as u64 / 2).unwrap();
                        self.volume.write_data(object, 0, &data).unwrap();
                        self.touch(object, true);
                    }
                }
            }
            _ => {
                let object = self.other().unwrap_or(parent);
                let value = self.data();
                let value = &value[..value.len().min(300)];
                self.volume.set_property(object, PropertyKind::Xattr, NOTE, value).unwrap();
                self.touch(object, false);
            }
        }
    }
}
