//! The view of a chain against trees that change at random.

extern crate std;

use std::collections::BTreeMap;
use std::format;
use std::vec;
use std::vec::Vec;

use super::catalog_tests::{Model, Opened};
use super::tests::{Disk, Random};
use super::{CATALOG_MEMORY_MIN, MEMORY_LEN_MIN, ObjectRow, View};
use crate::device::volume::Kind;
use crate::units::{Ino, StreamBlock};

/// A volume: of each directory its names, of each other object its version.
#[derive(Clone, Debug, Default)]
struct Volume {
    directories: BTreeMap<Ino, BTreeMap<Vec<u8>, Ino>>,
    files: BTreeMap<Ino, u64>,
    /// Changed since the last dump.
    changed: Vec<Ino>,
    version: u64,
}

impl Volume {
    fn new() -> Self {
        let mut volume = Self::default();
        volume.directories.insert(Ino::ROOT, BTreeMap::new());
        volume.changed.push(Ino::ROOT);
        volume
    }

    fn any_directory(&self, random: &mut Random) -> Ino {
        let index = random.below(self.directories.len() as u64) as usize;
        *self.directories.keys().nth(index).unwrap()
    }

    fn any_name(&self, random: &mut Random) -> Option<(Ino, Vec<u8>, Ino)> {
        let all: Vec<_> =
            self.directories.iter().flat_map(|(of, names)| names.iter().map(|(n, i)| (*of, n, *i))).collect();
        let index = random.below(all.len().max(1) as u64) as usize;
        all.get(index).map(|(of, name, ino)| (*of, name.to_vec(), *ino))
    }

    fn change(&mut self, random: &mut Random) {
        self.version += 1;
        let name = format!("n{}", random.below(40)).into_bytes();
        let parent = self.any_directory(random);
        match random.below(8) {
            // Numbers are used again, for another type of object too.
            0..=3 => {
                let free = (3..200).map(Ino).filter(|ino| !self.directories.contains_key(ino));
                let free: Vec<_> = free.filter(|ino| !self.files.contains_key(ino)).collect();
                let ino = free[random.below(free.len().min(5) as u64) as usize];
                if self.directories[&parent].contains_key(&name) {
                    return;
                }
                if random.below(4) == 0 {
                    self.directories.insert(ino, BTreeMap::new());
                } else {
                    self.files.insert(ino, self.version);
                }
                self.put(parent, name, ino);
                self.changed.push(ino);
            }
            4 => {
                if let Some(&ino) = self.files.keys().nth(random.below(20) as usize) {
                    self.files.insert(ino, self.version);
                    self.changed.push(ino);
                }
            }
            5 => {
                let Some((of, old, ino)) = self.any_name(random) else { return };
                if self.files.contains_key(&ino) && !self.directories[&parent].contains_key(&name) {
                    // A further name, or a move.
                    if random.below(2) == 0 {
                        self.directories.get_mut(&of).unwrap().remove(&old);
                        self.changed.push(of);
                    }
                    self.put(parent, name, ino);
                    self.changed.push(ino);
                }
            }
            _ => {
                let Some((of, name, ino)) = self.any_name(random) else { return };
                if self.directories.get(&ino).is_some_and(|names| !names.is_empty()) {
                    return;
                }
                self.directories.get_mut(&of).unwrap().remove(&name);
                self.directories.remove(&ino);
                if !self.directories.values().any(|names| names.values().any(|other| *other == ino)) {
                    self.files.remove(&ino);
                }
                self.changed.extend([of, ino]);
            }
        }
    }

    fn put(&mut self, parent: Ino, name: Vec<u8>, ino: Ino) {
        self.directories.get_mut(&parent).unwrap().insert(name, ino);
        self.changed.push(parent);
    }

    /// What a dump of all that changed holds.
    fn dump(&mut self, random: &mut Random) -> Model {
        let mut model = Model::default();
        let mut block = 50;
        let objects = self.directories.keys().map(|ino| (false, *ino));
        let objects: Vec<_> = objects.chain(self.files.keys().map(|ino| (true, *ino))).collect();
        let mut still_changed = Vec::new();
        for (other, ino) in objects {
            model.in_use.push(ino);
            if !self.changed.contains(&ino) {
                continue;
            }
            let mut row = ObjectRow::new(ino, if other { Kind::File } else { Kind::Directory });
            row.size = self.files.get(&ino).copied().unwrap_or(0);
            row.place = Some(StreamBlock(block));
            block += 1;
            // What cannot be opened stays as it is on an earlier dump, and is tried again next time.
            if other && random.below(12) == 0 {
                row = ObjectRow::skipped(ino, false);
                still_changed.push(ino);
            }
            model.rows.insert((other, ino), row);
            for (name, child) in self.directories.get(&ino).into_iter().flatten() {
                model.names.insert((ino, name.clone()), (*child, None));
            }
        }
        model.in_use.sort();
        self.changed = still_changed;
        model
    }
}

/// What is on the tapes of a chain: the newest row of each object that exists, and the dump it is on. An object of
/// which no dump of the chain has the type it has now is skipped since then.
fn expected(volume: &Volume, dumps: &[Model]) -> BTreeMap<Ino, (usize, ObjectRow)> {
    let mut newest = BTreeMap::new();
    for (number, dump) in dumps.iter().enumerate() {
        for row in dump.rows.values().filter(|row| row.is_on_tape()) {
            newest.insert(row.ino, (number, *row));
        }
    }
    newest.retain(|ino, _| volume.directories.contains_key(ino) || volume.files.contains_key(ino));
    newest
}

fn check(volume: &Volume, dumps: &[Model], view: &mut View<'_, '_, &mut Disk>) {
    let expected = expected(volume, dumps);
    for ino in (1..205).map(Ino) {
        let exists = volume.directories.contains_key(&ino) || volume.files.contains_key(&ino);
        assert_eq!(view.exists(ino).unwrap(), exists, "{ino}");
        assert_eq!(view.newest(ino).unwrap(), expected.get(&ino).copied(), "{ino}");
    }
    for (number, dump) in dumps.iter().enumerate() {
        let rows = dump.rows.values().filter(|row| expected.get(&row.ino) == Some(&(number, **row)));
        let rows: Vec<_> = rows.copied().collect();
        let mut cursor = view.first_to_restore(number).unwrap().unwrap();
        let mut found = Vec::new();
        while let Some(row) = view.next_to_restore(&mut cursor).unwrap() {
            found.push(row);
        }
        assert_eq!(found, rows, "dump {number}");
    }
    assert!(view.first_to_restore(dumps.len()).unwrap().is_none());
    let mut waiting = vec![(Ino::ROOT, Vec::new())];
    while let Some((directory, path)) = waiting.pop() {
        assert_eq!(view.look_up(&path).unwrap(), Some(directory));
        let mut cursor = view.names_from(directory, b"").unwrap().unwrap();
        let mut found = BTreeMap::new();
        while let Some(row) = view.next_name(&mut cursor).unwrap() {
            assert!(found.insert(row.name.to_vec(), row.ino).is_none());
        }
        assert_eq!(found, volume.directories[&directory]);
        for (name, ino) in found {
            let path = [&path[..], if path.is_empty() { b"" } else { b"/" }, &name].concat();
            assert_eq!(view.look_up(&path).unwrap(), Some(ino));
            if volume.directories.contains_key(&ino) {
                let mut room = [0; 2000];
                assert_eq!(view.path_of(ino, &mut room).unwrap(), Some(&path[..]));
                waiting.push((ino, path));
            } else {
                let mut room = [0; 2000];
                let path = view.path_of(ino, &mut room).unwrap().unwrap().to_vec();
                assert_eq!(view.look_up(&path).unwrap(), Some(ino), "one of its names");
            }
        }
    }
    assert_eq!(view.look_up(b"n1/no such name").unwrap(), None);
}

#[test]
fn the_view_of_random_histories_is_the_tree() {
    for seed in 1..=60 {
        let mut random = Random(seed);
        let mut volume = Volume::new();
        let mut dumps: Vec<Model> = Vec::new();
        let mut disks: Vec<Disk> = Vec::new();
        for number in 0..8 {
            for _ in 0..1 + random.below(40) {
                volume.change(&mut random);
            }
            dumps.push(volume.dump(&mut random));
            let mut disk = Disk::new(1 << 20);
            let mut memory = vec![0; CATALOG_MEMORY_MIN];
            let shuffled = (random.below(2) == 0).then_some(seed);
            dumps.last().unwrap().build(number, &mut disk, &mut memory, shuffled).unwrap();
            disks.push(disk);
            let mut memories = vec![vec![0; MEMORY_LEN_MIN]; disks.len()];
            let mut catalogs: Vec<_> = disks
                .iter_mut()
                .zip(&mut memories)
                .map(|(disk, memory)| Opened::open(disk, 0..1 << 20, memory).unwrap())
                .collect();
            check(&volume, &dumps, &mut View::new(&mut catalogs));
        }
    }
}

#[test]
fn a_view_of_nothing() {
    let mut view = View::<&mut Disk>::new(&mut []);
    assert_eq!(view.look_up(b"").unwrap(), None);
    assert_eq!(view.newest(Ino::ROOT).unwrap(), None);
    assert!(view.names_from(Ino::ROOT, b"").unwrap().is_none());
    assert!(view.catalog(0).is_none());
}
