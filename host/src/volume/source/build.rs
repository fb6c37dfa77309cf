//! Makes the index of a tree of what the walk found: every object once, with its number in the dump.

use std::io;
use std::path::Path;
use std::sync::Arc;

use tapedump_core::device::ErrorKind;
use tapedump_core::device::volume::Kind;
use tapedump_core::units::Ino;

use super::SourceOptions;
use super::bits::Bits;
use super::numbers::{Numbering, Numbers};
use super::reach::{Places, Root, errno_of};
use super::sort::{Found, Merge, Sorter};
use super::table::{Record, Table, Tag};
use super::walk::{Covered, STORE_LIST, Walked};
use crate::volume::VolumeError;

/// All objects of a tree.
pub struct Index {
    pub places: Places,
    pub numbers: Numbers,
    pub directories: Arc<Table>,
    pub others: Arc<Table>,
    /// The numbers that are in use, those of directories, and those of what changed since the base.
    pub in_use: Bits,
    pub directory_numbers: Bits,
    pub changed: Bits,
    /// The places of directories that belong to other volumes, and the numbers of the links that stand for them.
    pub covered_places: Vec<u64>,
    pub junctions: Vec<Ino>,
    /// Of those whose directory entry does not tell their number: parent, name, number; sorted.
    strangers: Vec<(u64, Vec<u8>, Ino)>,
}

impl Index {
    /// Numbers what the walk found.
    ///
    /// # Errors
    /// The lists cannot be read or written, or there are more objects than numbers.
    pub fn build(
        walked: Walked,
        root: &Root,
        options: &SourceOptions,
        scratch_dir: &Arc<Path>,
    ) -> Result<Self, VolumeError> {
        Self::try_build(walked, root, options, scratch_dir).map_err(|error| {
            if error.kind() == io::ErrorKind::QuotaExceeded && error.raw_os_error().is_none() {
                let reason = "it has more objects than a dump can number";
                return VolumeError::own("dump", root.path(), ErrorKind::Unsupported, reason);
            }
            VolumeError::system(STORE_LIST, scratch_dir.as_ref(), errno_of(&error))
        })
    }

    fn try_build(
        walked: Walked,
        root: &Root,
        options: &SourceOptions,
        scratch_dir: &Arc<Path>,
    ) -> io::Result<Self> {
        let root_real = root.real_number(root.stat());
        let memory_max = options.tuning.spool_memory;
        let base = options.base.as_ref().and_then(|base| base.numbers.clone());
        let new_table = || Table::new(Arc::clone(scratch_dir), memory_max);
        let mut building = Building {
            numbers: if walked.fits(root_real, options) && base.is_none() {
                Numbers::direct(root_real, walked.unchanged.clone())
            } else {
                Numbers::dense(root_real, base, Arc::clone(scratch_dir), memory_max)
            },
            directories: new_table(),
            others: new_table(),
            in_use: walked.unchanged,
            directory_numbers: Bits::default(),
            changed: Bits::default(),
            junctions: Vec::new(),
        };
        let tag = Tag::new(Kind::Directory).changed_if(true);
        building.add_extra(Record::directory(Ino::ROOT, root_real, Places::ROOT, tag));
        let by_number = Sorter::new(Arc::clone(scratch_dir), options.tuning.sort_memory);
        building.add_all(walked.sorters, root_real, by_number)?;
        let strangers = building.add_strangers(&walked.covered)?;
        Ok(Self {
            places: walked.places,
            numbers: building.numbers,
            directories: Arc::new(building.directories),
            others: Arc::new(building.others),
            in_use: building.in_use,
            directory_numbers: building.directory_numbers,
            changed: building.changed,
            junctions: building.junctions,
            covered_places: walked.covered.iter().map(|covered| covered.place).collect(),
            strangers,
        })
    }

    /// Whether names in the directory at `parent` stand for roots of other volumes, which
    /// [`stranger`](Self::stranger) then numbers.
    pub fn has_strangers(&self, parent: u64) -> bool {
        self.strangers.binary_search_by_key(&parent, |stranger| stranger.0).is_ok()
    }

    /// The number of the root of another volume that has this name here.
    pub fn stranger(&self, parent: u64, name: &[u8]) -> Option<Ino> {
        let wanted = (parent, name);
        let found =
            self.strangers.binary_search_by(|(place, name, _)| (*place, name.as_slice()).cmp(&wanted));
        found.ok().map(|index| self.strangers[index].2)
    }
}

struct Building {
    numbers: Numbers,
    directories: Table,
    others: Table,
    in_use: Bits,
    directory_numbers: Bits,
    changed: Bits,
    junctions: Vec<Ino>,
}

impl Building {
    /// Numbers all objects. `by_number` is where they are sorted again, if their numbers are in another order than
    /// the real ones.
    fn add_all(&mut self, sorters: Vec<Sorter>, root_real: u64, mut by_number: Sorter) -> io::Result<()> {
        let mut merge = Merge::new(sorters)?;
        let are_ascending = self.numbers.are_ascending();
        let mut last = None;
        // Real numbers 0, 1 and 2 at most.
        let mut without_number: Vec<Found> = Vec::new();
        while let Some(mut found) = merge.next_found()? {
            // Any of several names of an object will do to open it.
            if last == Some(found.real) || found.real == root_real {
                continue;
            }
            last = Some(found.real);
            let Some(ino) = self.numbers.add(found.real)? else {
                without_number.push(found);
                continue;
            };
            if !are_ascending {
                found.ino = ino;
                by_number.push_found(&found)?;
                continue;
            }
            let record = Record::from_found(ino, &found);
            let is_swapped = found.real <= 2 && self.numbers.numbering() == Numbering::Direct;
            if is_swapped { self.add_extra(record) } else { self.add(&record)? }
        }
        drop(merge);
        self.add_sorted(by_number)?;
        for found in without_number {
            let ino = self.numbers.free(Some(found.real))?;
            let mut record = Record::from_found(ino, &found);
            // The number may have been another object's in the dump before.
            record.tag = record.tag.changed_if(true);
            self.add_extra(record);
        }
        Ok(())
    }

    fn add_sorted(&mut self, by_number: Sorter) -> io::Result<()> {
        let mut merge = Merge::new(vec![by_number])?;
        while let Some(found) = merge.next_found()? {
            let record = Record::from_found(found.ino, &found);
            self.add(&record)?;
        }
        Ok(())
    }

    /// Adds an object with a higher number than all before.
    fn add(&mut self, record: &Record) -> io::Result<()> {
        self.table(record).push(record)
    }

    /// Adds an object whose number is out of the order.
    fn add_extra(&mut self, record: Record) {
        self.table(&record).push_extra(record);
    }

    /// The table that the object goes to; its bits are set.
    fn table(&mut self, record: &Record) -> &mut Table {
        self.in_use.insert(record.ino);
        // The number of a junction is another object's when that is not there any more.
        if record.tag.is_covered() {
            self.junctions.push(record.ino);
        }
        if record.tag.is_changed() || record.tag.is_covered() || record.tag.is_unread() {
            self.changed.insert(record.ino);
        }
        if record.tag.kind() == Kind::Directory {
            self.directory_numbers.insert(record.ino);
        }
        match record.tag.kind() {
            Kind::Directory => &mut self.directories,
            _ => &mut self.others,
        }
    }

    fn add_strangers(&mut self, covered: &[Covered]) -> io::Result<Vec<(u64, Vec<u8>, Ino)>> {
        let mut strangers = Vec::new();
        for covered in covered.iter().filter(|covered| !covered.has_number) {
            let ino = self.numbers.free(None)?;
            self.add_extra(Record::junction(ino, covered.real, covered.parent, &covered.name));
            strangers.push((covered.parent, covered.name.clone(), ino));
        }
        strangers.sort();
        Ok(strangers)
    }
}
