//! Which objects came through whole, for the figures at the end.

use crate::cli::reading::Entry;
use crate::cli::reading::names::{Finding, Kind};
use std::collections::HashMap;
use tapedump_core::units::Ino;

/// Numbers, kept in pages, so that memory follows how many there are and not how high they are.
#[derive(Debug, Default)]
struct InoSet {
    pages: HashMap<u32, Box<[u64; PAGE_WORDS]>>,
    len: u64,
}

const PAGE_WORDS: usize = 64;
const PAGE_INOS: u32 = PAGE_WORDS as u32 * 64;

impl InoSet {
    fn insert(&mut self, ino: Ino) {
        let page = self.pages.entry(ino.0 / PAGE_INOS).or_insert_with(|| Box::new([0; PAGE_WORDS]));
        let (word, bit) = ((ino.0 % PAGE_INOS / 64) as usize, 1 << (ino.0 % 64));
        if page[word] & bit == 0 {
            page[word] |= bit;
            self.len += 1;
        }
    }

    /// How many of these are not among `others`.
    fn without(&self, others: &Self) -> u64 {
        let shared: u32 = others
            .pages
            .iter()
            .filter_map(|(number, other)| Some((self.pages.get(number)?, other)))
            .flat_map(|(own, other)| own.iter().zip(other.iter()))
            .map(|(own, other)| (own & other).count_ones())
            .sum();
        self.len - u64::from(shared)
    }
}

/// Counts what a reading tells.
#[derive(Debug, Default)]
pub struct Tally {
    directories: InoSet,
    others: InoSet,
    not_whole: InoSet,
    damaged: u64,
    incomplete: u64,
    cut_short: bool,
}

impl Tally {
    /// A tally of all of a dump, its root included, or of chosen paths.
    pub fn new(whole_dump: bool) -> Self {
        let mut tally = Self::default();
        if whole_dump {
            tally.directories.insert(Ino::ROOT);
        }
        tally
    }

    /// A name of the tree.
    pub fn entry(&mut self, entry: Entry) {
        if entry.directory {
            self.directories.insert(entry.ino);
        }
    }

    /// An object that is no directory begins.
    pub fn object(&mut self, ino: Ino) {
        self.others.insert(ino);
    }

    /// Something is wrong.
    pub fn finding(&mut self, finding: &Finding) {
        // What is another thing in its new place is whole there.
        if let Some(ino) = finding.ino().filter(|_| finding.is_fault() && !finding.is_made_good()) {
            self.not_whole.insert(ino);
        }
        self.cut_short |= finding.is_end_missing();
        match finding.kind() {
            Kind::Damage => self.damaged += 1,
            Kind::Incomplete => self.incomplete += 1,
            Kind::Failure | Kind::Reduced | Kind::Adapted | Kind::Difference | Kind::Further => {}
        }
    }

    /// Directories about which nothing was found.
    pub fn directories(&self) -> u64 {
        self.directories.without(&self.not_whole)
    }

    /// Other objects about which nothing was found.
    pub fn others(&self) -> u64 {
        self.others.without(&self.not_whole)
    }

    /// How often the tape was found damaged.
    pub const fn damaged(&self) -> u64 {
        self.damaged
    }

    /// What was not whole when the dump was made already.
    pub const fn incomplete(&self) -> u64 {
        self.incomplete
    }

    /// The end of the dump is not there.
    pub const fn is_cut_short(&self) -> bool {
        self.cut_short
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets() {
        let (mut all, mut some) = (InoSet::default(), InoSet::default());
        for ino in [2, 3, 64, 4095, 4096, 2_147_475_455, 2] {
            all.insert(Ino(ino));
        }
        assert_eq!((all.len, all.without(&some)), (6, 6));
        for ino in [3, 4096, 70_000, 2_147_475_455] {
            some.insert(Ino(ino));
        }
        assert_eq!((all.without(&some), some.without(&all)), (3, 1));
    }

    #[test]
    fn what_something_was_found_about_is_not_whole() {
        let mut tally = Tally::new(true);
        tally.entry(Entry { ino: Ino(3), parent: Ino::ROOT, directory: true });
        tally.entry(Entry { ino: Ino(4), parent: Ino(3), directory: false });
        tally.object(Ino(4));
        tally.object(Ino(5));
        let finding = Finding::about(Kind::Damage, Some(Ino(4)), None, "bad");
        tally.finding(&finding);
        tally.finding(&finding);
        assert_eq!((tally.directories(), tally.others(), tally.damaged()), (2, 1, 2));
        assert!(!tally.is_cut_short());
    }
}
