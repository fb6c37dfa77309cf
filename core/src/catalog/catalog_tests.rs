//! Catalogs against a model, on devices that fail, forget and lie.

extern crate std;

use std::collections::BTreeMap;
use std::vec;
use std::vec::Vec;

use super::tests::{Disk, Random};
use super::{
    CATALOG_MEMORY_MIN, Catalog, CatalogError, CatalogIdentity, CatalogSize, CatalogWriter, MEMORY_LEN_MIN,
    MapCursor, NameRow, ObjectRow, TapePlace, WhichMap,
};
use crate::checksum::PortableCrc32c;
use crate::device::ErrorKind;
use crate::device::block::BlockDevice;
use crate::device::volume::{Kind, VolumeNames};
use crate::limits::PAGE_LEN;
use crate::units::{BlockAddr, DumpId, Ino, Level, StreamBlock, TapeNo, Timestamp};

pub(super) type Error = CatalogError<ErrorKind>;
pub(super) type Opened<'m, 'd> = Catalog<'m, &'d mut Disk>;

pub(super) fn identity(number: u8) -> CatalogIdentity {
    CatalogIdentity {
        dump: DumpId([number; 16]),
        base: number.checked_sub(1).map(|base| DumpId([base; 16])),
        level: Level::new(number.into()).unwrap(),
        date: 1_700_000_000 + i64::from(number),
        base_date: 0,
        volume: [7; 16],
        names: VolumeNames { path: [1; 64], device: [2; 64], host: [3; 64] },
        label: *b"weekly\0\0\0\0\0\0\0\0\0\0",
    }
}

/// What a catalog is told, and what it should tell.
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    pub rows: BTreeMap<(bool, Ino), ObjectRow>,
    pub names: BTreeMap<(Ino, Vec<u8>), (Ino, Option<Kind>)>,
    pub in_use: Vec<Ino>,
    pub tapes: Vec<(TapeNo, BlockAddr)>,
}

/// One thing a catalog is told.
#[derive(Clone, Debug)]
enum Told {
    Name(Ino, Vec<u8>, Ino, Option<Kind>),
    Object(ObjectRow),
    Tape(TapeNo, BlockAddr),
}

impl Model {
    /// A tree of this many directories and other objects, with links and all sorts of rows.
    pub fn random(random: &mut Random, directories: u64, others: u64) -> Self {
        let mut model = Self::default();
        let mut inos = vec![Ino::ROOT];
        let mut last = 2;
        for _ in 1..directories + others {
            last += 1 + random.below(3) as u32 * random.below(2000) as u32;
            inos.push(Ino(last));
        }
        let mut parents = vec![Ino::ROOT];
        let mut block = 40;
        for pass in [true, false] {
            for (index, &ino) in inos.iter().enumerate() {
                let is_directory = index == 0 || (index as u64).is_multiple_of(others / directories + 2);
                if pass != is_directory {
                    continue;
                }
                let kind = if is_directory { Kind::Directory } else { Kind::File };
                let mut row = ObjectRow::new(ino, kind);
                row.size = random.below(1 << 40) >> random.below(40);
                row.modified.secs = 1_600_000_000 + random.below(100_000_000) as i64;
                row.modified.nanos = random.below(1_000_000_000) as u32;
                row.changed = row.modified;
                row.changed.secs += random.below(2) as i64;
                row.real_ino = (random.below(9) == 0).then(|| random.below(u64::MAX));
                row.digest = (random.below(9) == 0).then_some([ino.0 as u8; 32]);
                row.place = Some(StreamBlock(block));
                row.flaws.changed = random.below(9) == 0;
                if random.below(20) == 0 {
                    row = ObjectRow::skipped(ino, is_directory);
                }
                block += 1 + random.below(30);
                model.rows.insert((!is_directory, ino), row);
                model.in_use.push(ino);
                let names = 1 + random.below(5) / 4 + random.below(30) / 29 * 6;
                for _ in 0..if index == 0 {
                    0
                } else if is_directory {
                    1
                } else {
                    names
                } {
                    let parent = parents[random.below(parents.len() as u64) as usize];
                    let longest = if random.below(20) == 0 { 255 } else { 12 };
                    let len = 1 + random.below(longest);
                    let kind = (random.below(2) == 0).then_some(kind);
                    model.names.entry((parent, random.bytes(len, 200))).or_insert((ino, kind));
                }
                if is_directory {
                    parents.push(ino);
                }
            }
        }
        model.in_use.sort();
        model.tapes =
            (0..=block / 900).map(|tape| (TapeNo(1 + tape as u32), BlockAddr(tape * 900))).collect();
        model
    }

    /// In the order of a tape: directories with their names, then other objects, tapes where they begin.
    fn told(&self, random: &mut Random) -> Vec<Told> {
        let mut told = Vec::new();
        let mut tapes = self.tapes.iter().copied().peekable();
        for row in self.rows.values() {
            while let Some((tape, first)) =
                tapes.next_if(|(tape, first)| row.place.is_some_and(|place| place.on(*tape) > *first))
            {
                told.push(Told::Tape(tape, first));
            }
            if row.is_directory {
                let from = told.len();
                let names = self.names.range((row.ino, Vec::new())..(row.ino.next(), Vec::new()));
                told.extend(
                    names.map(|((parent, name), (ino, kind))| Told::Name(*parent, name.clone(), *ino, *kind)),
                );
                shuffle(&mut told[from..], random);
            }
            told.push(Told::Object(*row));
        }
        told.extend(tapes.map(|(tape, first)| Told::Tape(tape, first)));
        told
    }

    pub fn map_bytes(inos: &[Ino]) -> Vec<u8> {
        let last = inos.last().map_or(0, |ino| ino.0);
        let mut bytes = vec![0; last.div_ceil(8) as usize];
        for ino in inos {
            bytes[(ino.0 as usize - 1) / 8] |= 1 << ((ino.0 - 1) % 8);
        }
        bytes
    }

    /// Bytes that suffice whatever the order.
    fn size(&self) -> CatalogSize {
        CatalogSize {
            objects: self.rows.len() as u64,
            names: self.names.len() as u64,
            name_bytes: self.names.keys().map(|(_, name)| name.len() as u64).sum(),
            apart: 0,
            map_pieces: 2 * self.in_use.len() as u64,
            tapes: self.tapes.len() as u64,
        }
    }

    pub fn build<'m, D: BlockDevice<Error = ErrorKind>>(
        &self,
        number: u8,
        disk: D,
        memory: &'m mut [u8],
        shuffled: Option<u64>,
    ) -> Result<Catalog<'m, D>, Error> {
        self.build_in(number, disk, 0..u64::MAX, memory, shuffled)
    }

    fn build_in<'m, D: BlockDevice<Error = ErrorKind>>(
        &self,
        number: u8,
        disk: D,
        region: core::ops::Range<u64>,
        memory: &'m mut [u8],
        shuffled: Option<u64>,
    ) -> Result<Catalog<'m, D>, Error> {
        let mut random = Random(shuffled.unwrap_or(1));
        let mut told = self.told(&mut random);
        let mut writer = CatalogWriter::<_, PortableCrc32c>::new(disk, region, memory, identity(number))?;
        if shuffled.is_some() {
            shuffle(&mut told, &mut random);
        } else {
            self.tell_maps(&mut writer)?;
        }
        for told in &told {
            match told {
                Told::Name(parent, name, ino, kind) => {
                    writer.name(NameRow { parent: *parent, name, ino: *ino, kind: *kind })?;
                }
                Told::Object(row) => writer.object(row)?,
                Told::Tape(tape, first) => writer.tape(*tape, *first)?,
            }
        }
        if shuffled.is_some() {
            self.tell_maps(&mut writer)?;
        }
        writer.attributes(StreamBlock(77));
        writer.finish()
    }

    fn tell_maps<D: BlockDevice<Error = ErrorKind>>(
        &self,
        writer: &mut CatalogWriter<'_, D>,
    ) -> Result<(), Error> {
        let mut on_tape: Vec<Ino> = self.rows.values().map(|row| row.ino).collect();
        on_tape.sort();
        for (which, inos) in [(WhichMap::InUse, &self.in_use), (WhichMap::OnTape, &on_tape)] {
            // As the blocks of a tape come.
            for (index, block) in Self::map_bytes(inos).chunks(1024).enumerate() {
                writer.map(which, index as u32 * 1024, block)?;
            }
        }
        Ok(())
    }

    /// Everything the catalog tells is what the model says.
    pub fn check<D: BlockDevice<Error = ErrorKind>>(
        &self,
        catalog: &mut Catalog<'_, D>,
        random: &mut Random,
    ) {
        let others = self.rows.keys().filter(|(other, _)| *other).count() as u64;
        let figures = catalog.figures();
        assert_eq!((figures.others, figures.directories), (others, self.rows.len() as u64 - others));
        assert_eq!(figures.names, self.names.len() as u64);
        assert_eq!(catalog.attributes_from(), Some(StreamBlock(77)));
        self.check_objects(catalog);
        self.check_names(catalog, random);
        let mut found = Vec::new();
        let mut from = TapeNo(0);
        while let Some((tape, first)) = catalog.next_tape(from).unwrap() {
            found.push((tape, first));
            from = TapeNo(tape.0 + 1);
        }
        assert_eq!(found, self.tapes);
        for row in self.rows.values() {
            let Some(block) = row.place else { continue };
            let is_there = |(tape, first): &&(TapeNo, BlockAddr)| block.on(*tape) > *first;
            let (tape, _) = *self.tapes.iter().rfind(is_there).unwrap();
            let place = TapePlace { tape, block: block.on(tape) };
            assert_eq!(catalog.place(block).unwrap(), place);
        }
        let mut cursor = MapCursor::new(WhichMap::InUse);
        let last = self.in_use.last().map_or(5, |ino| ino.0 + 2000);
        for _ in 0..500 {
            let ino = match random.below(2) {
                0 => Ino(random.below(u64::from(last)) as u32),
                _ => self.in_use[random.below(self.in_use.len() as u64) as usize],
            };
            let expected = self.in_use.binary_search(&ino).is_ok();
            assert_eq!(catalog.contains(&mut cursor, ino).unwrap(), expected, "{ino}");
            let next = self.in_use.get(self.in_use.partition_point(|used| *used < ino)).copied();
            assert_eq!(catalog.next_in_map(WhichMap::InUse, ino).unwrap(), next, "{ino}");
        }
        assert!(!catalog.contains(&mut cursor, Ino(u32::MAX)).unwrap());
    }

    fn check_objects<D: BlockDevice<Error = ErrorKind>>(&self, catalog: &mut Catalog<'_, D>) {
        for row in self.rows.values() {
            assert_eq!(catalog.object(row.ino).unwrap(), Some(*row));
            let next = row.ino.next();
            if self.in_use.binary_search(&next).is_err() {
                assert_eq!(catalog.object(next).unwrap(), None);
            }
            assert_eq!(catalog.object(Ino(row.ino.0 | 1 << 31)).unwrap(), None);
        }
        let mut expected: Vec<_> = self.rows.values().copied().collect();
        expected.sort_by_key(|row| row.ino);
        let mut cursor = catalog.first_by_number().unwrap();
        let mut found = Vec::new();
        while let Some(row) = catalog.next_by_number(&mut cursor).unwrap() {
            found.push(row);
        }
        assert_eq!(found, expected);
        expected.retain(ObjectRow::is_on_tape);
        expected.sort_by_key(|row| row.place);
        let mut cursor = catalog.first_on_tape().unwrap();
        let mut found = Vec::new();
        while let Some(row) = catalog.next_on_tape(&mut cursor).unwrap() {
            found.push(row);
        }
        assert_eq!(found, expected);
    }

    fn check_names<D: BlockDevice<Error = ErrorKind>>(
        &self,
        catalog: &mut Catalog<'_, D>,
        random: &mut Random,
    ) {
        let mut of: BTreeMap<Ino, Vec<(Ino, &[u8])>> = BTreeMap::new();
        for ((parent, name), (ino, kind)) in &self.names {
            let row = NameRow { parent: *parent, name, ino: *ino, kind: *kind };
            assert_eq!(catalog.child(*parent, name).unwrap(), Some(row));
            of.entry(*ino).or_default().push((*parent, name));
        }
        for row in self.rows.values() {
            let mut found = Vec::new();
            let mut cursor = catalog.names_of(row.ino).unwrap();
            while let Some(name) = catalog.next_name_of(&mut cursor).unwrap() {
                found.push((name.parent, name.name.to_vec()));
            }
            found.sort();
            let expected: Vec<_> =
                of.remove(&row.ino).unwrap_or_default().iter().map(|(p, n)| (*p, n.to_vec())).collect();
            assert_eq!(found, expected);
            let mut room = [0; 4096];
            if let Some(path) = catalog.path_of(row.ino, &mut room).unwrap() {
                // Random names may have a slash in them.
                if !self.names.keys().any(|(_, name)| name.contains(&b'/') || name == b".") {
                    assert_eq!(catalog.look_up(path).unwrap(), Some(row.ino));
                }
            } else {
                assert!(expected.is_empty() || row.ino == Ino::ROOT);
            }
        }
        for directory in self.rows.values().filter(|row| row.is_directory).map(|row| row.ino) {
            let len = random.below(3);
            let from = random.bytes(len, 200);
            let mut cursor = catalog.names_from(directory, &from).unwrap();
            let mut found = Vec::new();
            while let Some(row) = catalog.next_name(&mut cursor).unwrap() {
                found.push((row.name.to_vec(), row.ino));
            }
            let expected = self.names.range((directory, from)..(directory.next(), Vec::new()));
            let expected: Vec<_> = expected.map(|((_, name), (ino, _))| (name.clone(), *ino)).collect();
            assert_eq!(found, expected);
            assert_eq!(catalog.child(directory, b"no such name, ever").unwrap(), None);
        }
    }
}

fn shuffle<T>(items: &mut [T], random: &mut Random) {
    for last in (1..items.len()).rev() {
        items.swap(last, random.below(last as u64 + 1) as usize);
    }
}

#[test]
fn equals_a_model_in_any_order_and_memory() {
    for (round, (directories, others)) in
        [(1, 1), (1, 3), (3, 40), (1, 4000), (300, 2000), (900, 100), (40, 9000)].into_iter().enumerate()
    {
        for memory_len in [CATALOG_MEMORY_MIN, 20_000, 65_536] {
            for shuffled in [None, Some(9)] {
                let mut random = Random(1 + round as u64);
                let model = Model::random(&mut random, directories, others);
                let mut disk = Disk::new(model.size().len_max(memory_len));
                let mut memory = vec![0x5a; memory_len];
                let mut catalog = model.build(1, &mut disk, &mut memory, shuffled).unwrap();
                model.check(&mut catalog, &mut random);
                let figures = catalog.figures();
                let mut cache = vec![0; MEMORY_LEN_MIN + memory_len / 3];
                disk.bytes.truncate(figures.len as usize);
                let mut catalog = Opened::open(&mut disk, 0..figures.len, &mut cache).unwrap();
                assert_eq!((catalog.figures(), *catalog.identity()), (figures, identity(1)));
                model.check(&mut catalog, &mut random);
            }
        }
    }
}

#[test]
fn what_is_told_twice_is_found() {
    let mut disk = Disk::new(1 << 20);
    let mut memory = vec![0; CATALOG_MEMORY_MIN];
    let mut writer =
        CatalogWriter::<_, PortableCrc32c>::new(&mut disk, 0..1 << 20, &mut memory, identity(0)).unwrap();
    let mut row = ObjectRow::new(Ino(5), Kind::File);
    for size in 0..2000 {
        row.size = size;
        writer.object(&row).unwrap();
        let name = NameRow { parent: Ino(2), name: b"twin", ino: Ino(5 + size as u32), kind: None };
        writer.name(name).unwrap();
    }
    let mut catalog = writer.finish().unwrap();
    assert_eq!(catalog.object(Ino(5)).unwrap().map(|row| row.size), Some(0));
    assert_eq!(catalog.look_up(b"twin").unwrap(), Some(Ino(5)));
    let mut cursor = catalog.names_from(Ino(2), b"").unwrap();
    let mut found = 0;
    while let Some(row) = catalog.next_name(&mut cursor).unwrap() {
        assert_eq!(row.ino, Ino(5 + found));
        found += 1;
    }
    assert_eq!(found, 2000);
}

#[test]
fn refuses_what_no_dump_holds() {
    let mut disk = Disk::new(1 << 20);
    let mut memory = vec![0; CATALOG_MEMORY_MIN];
    let few = Opened::open(&mut disk, 0..1 << 20, &mut memory[..MEMORY_LEN_MIN - 1]).err();
    assert_eq!(few, Some(CatalogError::MemoryTooSmall { needed: MEMORY_LEN_MIN }));
    let few =
        CatalogWriter::<_, PortableCrc32c>::new(&mut disk, 0..1 << 20, &mut memory[1..], identity(0)).err();
    assert_eq!(few, Some(CatalogError::MemoryTooSmall { needed: CATALOG_MEMORY_MIN }));
    let mut writer =
        CatalogWriter::<_, PortableCrc32c>::new(&mut disk, 0..1 << 20, &mut memory, identity(0)).unwrap();
    let row = |parent, name, ino| NameRow { parent, name, ino, kind: None };
    for len in [0, 256] {
        let refused = writer.name(row(Ino(2), &[b'n'; 256][..len], Ino(3)));
        assert_eq!(refused, Err(CatalogError::BadName { len }));
    }
    for ino in [Ino(0), Ino(Ino::LAST.0 + 1), Ino(u32::MAX)] {
        assert_eq!(writer.name(row(Ino(2), b"n", ino)), Err(CatalogError::BadNumber { ino }));
        assert_eq!(writer.name(row(ino, b"n", Ino(2))), Err(CatalogError::BadNumber { ino }));
        assert_eq!(writer.object(&ObjectRow::new(ino, Kind::File)), Err(CatalogError::BadNumber { ino }));
    }
    let mut catalog = writer.finish().unwrap();
    assert_eq!(catalog.look_up(b"n").unwrap(), None);
    assert_eq!(catalog.look_up(b"/").unwrap(), Some(Ino::ROOT));
    assert_eq!(catalog.object(Ino::ROOT).unwrap(), None);
}

#[test]
fn a_path_without_an_end_is_refused() {
    let mut disk = Disk::new(1 << 20);
    let mut memory = vec![0; CATALOG_MEMORY_MIN];
    let mut writer =
        CatalogWriter::<_, PortableCrc32c>::new(&mut disk, 0..1 << 20, &mut memory, identity(0)).unwrap();
    // Each is in the other.
    for (parent, ino) in [(Ino(3), Ino(4)), (Ino(4), Ino(3))] {
        writer.name(NameRow { parent, name: b"loop", ino, kind: None }).unwrap();
    }
    let mut catalog = writer.finish().unwrap();
    assert_eq!(catalog.path_of(Ino(4), &mut [0; 4096]), Err(CatalogError::PathTooLong));
    assert_eq!(catalog.path_of(Ino(9), &mut [0; 4096]), Ok(None));
}

#[test]
fn a_device_too_small_names_what_suffices() {
    for shuffled in [None, Some(5)] {
        let mut random = Random(3);
        let model = Model::random(&mut random, 60, 3000);
        let mut memory = vec![0; CATALOG_MEMORY_MIN];
        let (mut len, mut refusals) = (0, 0);
        loop {
            let mut disk = Disk::new(1 << 23);
            match model.build_in(1, &mut disk, 0..len, &mut memory, shuffled) {
                Ok(mut catalog) => {
                    model.check(&mut catalog, &mut random);
                    break;
                }
                Err(CatalogError::DeviceTooSmall { needed }) => {
                    assert!(needed > len, "{needed} is no more than {len}");
                    assert!(disk.written <= len, "nothing outside the region is written");
                    assert_eq!(
                        Opened::open(&mut disk, 0..1 << 23, &mut memory).err(),
                        Some(CatalogError::Absent)
                    );
                    len = needed;
                    refusals += 1;
                }
                Err(other) => panic!("{other}"),
            }
        }
        assert!(refusals > 1);
        assert!(len <= model.size().len_max(CATALOG_MEMORY_MIN));
    }
}

#[test]
fn time_is_kept_to_the_nanosecond() {
    let mut disk = Disk::new(1 << 16);
    let mut memory = vec![0; CATALOG_MEMORY_MIN];
    let mut writer =
        CatalogWriter::<_, PortableCrc32c>::new(&mut disk, 0..1 << 16, &mut memory, identity(0)).unwrap();
    let mut row = ObjectRow::new(Ino(5), Kind::File);
    row.modified = Timestamp { secs: i64::MIN, nanos: 999_999_999 };
    row.changed = Timestamp { secs: i64::MAX, nanos: 1 };
    writer.object(&row).unwrap();
    let mut catalog = writer.finish().unwrap();
    assert_eq!(catalog.object(Ino(5)).unwrap(), Some(row));
    assert_eq!(catalog.identity().date, 1_700_000_000);
    assert!(catalog.figures().len <= 8 * PAGE_LEN as u64);
}
