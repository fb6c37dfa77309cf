//! Dump numbers for real inode numbers (`format.md` 7.4).
//!
//! * **Direct**, where all real numbers are below a limit: the number is the real one. The root and whatever owns 2
//!   swap; real 0 and 1 get a free number.
//! * **Dense** otherwise; the root is 2. What the dump before in the chain had keeps its number; everything else gets
//!   the lowest numbers from 3 on that no object of that dump had, in the order of real numbers. In a baseline that is
//!   the rank of the real number.
//!
//! Objects without a usable real number (roots of other subvolumes, whose number means something else there) get
//! the lowest free numbers, in the order they are asked for.
//!
//! Within a chain a number stands for another object only after a dump whose in-use map had it clear: the numbers that
//! a dump may give out are those which the dump it builds on did not have.

use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use tapedump_core::units::Ino;

use super::bits::Bits;
use super::number_map::{self, ENTRY_LEN, Follower, NumberMap};
use crate::volume::spool::Spool;

/// Real numbers below this are used as they are: the two dump maps then take at most 8 MiB each, on tape and in
/// memory, however few objects the tree has.
pub const DIRECT_LIMIT: u64 = 1 << 26;

/// First number that is free for any object.
pub const FIRST_FREE: u32 = Ino::ROOT.0 + 1;
/// Real numbers per block of the list that dense numbers are looked up in.
const BLOCK_NUMBERS: usize = 512;
const BLOCK_LEN: usize = BLOCK_NUMBERS * ENTRY_LEN;

/// Which rule a tree's numbers follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbering {
    /// The real inode numbers.
    Direct,
    /// Numbers of our own.
    Dense,
}

/// The map from real numbers to dump numbers.
pub struct Numbers {
    root_real: u64,
    /// Real numbers that the rule does not hold for.
    special: Vec<(u64, Ino)>,
    rule: Rule,
    /// The lowest number that may be free.
    free_from: u32,
    /// One more than the highest number given.
    limit: u32,
}

enum Rule {
    Direct {
        used: Bits,
    },
    Dense {
        /// The dump before in the chain.
        base: Option<Follower>,
        list: List,
        /// Numbers of objects without a real one.
        unnamed: Vec<Ino>,
    },
}

impl Rule {
    /// Whether an object has the number, or must be thought to have it. Numbers that [`Numbers::free`] gave are not
    /// asked for.
    fn is_used(&self, ino: u32) -> bool {
        match self {
            Self::Direct { used } => used.contains(Ino(ino)),
            Self::Dense { base, .. } => base.as_ref().is_some_and(|base| base.is_used(Ino(ino))),
        }
    }
}

impl Numbers {
    /// The real numbers; no objects yet but the root and `unchanged`, whose numbers the rule holds for.
    pub fn direct(root_real: u64, unchanged: Bits) -> Self {
        let limit = unchanged.highest().map_or(0, |ino| ino.next().0);
        let mut numbers = Self::new(root_real, Rule::Direct { used: unchanged });
        numbers.limit = numbers.limit.max(limit);
        numbers
    }

    /// Numbers of our own, on top of those of the dump before; no objects yet but the root.
    pub fn dense(
        root_real: u64,
        base: Option<Arc<NumberMap>>,
        scratch_dir: Arc<Path>,
        memory_max: usize,
    ) -> Self {
        let list = List::new(Spool::new(scratch_dir, memory_max));
        Self::new(root_real, Rule::Dense { base: base.map(Follower::new), list, unnamed: Vec::new() })
    }

    fn new(root_real: u64, rule: Rule) -> Self {
        Self { root_real, special: Vec::new(), rule, free_from: FIRST_FREE, limit: Ino::ROOT.0 + 1 }
    }

    /// Which rule is followed.
    pub fn numbering(&self) -> Numbering {
        match self.rule {
            Rule::Direct { .. } => Numbering::Direct,
            Rule::Dense { .. } => Numbering::Dense,
        }
    }

    /// Whether [`add`](Self::add) gives ascending numbers, but for the few that the direct rule swaps.
    pub fn are_ascending(&self) -> bool {
        !matches!(self.rule, Rule::Dense { base: Some(_), .. })
    }

    /// One more than the highest number given.
    pub fn limit(&self) -> Ino {
        Ino(self.limit)
    }

    /// The number of an object other than the root; objects come in ascending order of their real numbers, each
    /// once. `Ok(None)`: it cannot have its number by the rule and is to be given a [`free`](Self::free) one, in
    /// the end.
    ///
    /// # Errors
    /// The list of numbers could not be read or written, or (kind `QuotaExceeded`) there are more objects than
    /// numbers.
    pub fn add(&mut self, real: u64) -> io::Result<Option<Ino>> {
        let ino = match &mut self.rule {
            Rule::Direct { used } => {
                let wanted = if real == u64::from(Ino::ROOT.0) { self.root_real } else { real };
                let ino = u32::try_from(wanted).map_err(|_| io::ErrorKind::QuotaExceeded)?;
                if ino < FIRST_FREE {
                    return Ok(None);
                }
                if ino > Ino::LAST.0 {
                    return Err(io::ErrorKind::QuotaExceeded.into());
                }
                used.insert(Ino(ino));
                if wanted != real {
                    self.special.push((real, Ino(ino)));
                }
                return self.give(ino).map(Some);
            }
            Rule::Dense { base, .. } => base.as_mut().map(|base| base.find(real)).transpose()?.flatten(),
        };
        let ino = match ino {
            Some(ino) => self.give(ino.0)?,
            None => self.next_free()?,
        };
        if let Rule::Dense { list, .. } = &mut self.rule {
            list.push(real, ino)?;
        }
        Ok(Some(ino))
    }

    /// A number that nothing else has; after all that [`add`](Self::add) gave. `real`: whose it is, where that is
    /// a number to look up.
    ///
    /// # Errors
    /// (Kind `QuotaExceeded`.) There is none.
    pub fn free(&mut self, real: Option<u64>) -> io::Result<Ino> {
        let ino = self.next_free()?;
        self.special.extend(real.map(|real| (real, ino)));
        if let Rule::Dense { unnamed, .. } = &mut self.rule {
            unnamed.push(ino);
        }
        Ok(ino)
    }

    fn next_free(&mut self) -> io::Result<Ino> {
        let ino = (self.free_from..).find(|ino| !self.rule.is_used(*ino)).unwrap_or(u32::MAX);
        self.free_from = ino.saturating_add(1);
        self.give(ino)
    }

    fn give(&mut self, ino: u32) -> io::Result<Ino> {
        if ino > Ino::LAST.0 {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        self.limit = self.limit.max(ino + 1);
        Ok(Ino(ino))
    }

    /// The number of the object with this real number, if it is in the tree.
    ///
    /// # Errors
    /// The list of numbers could not be read.
    pub fn number(&self, real: u64) -> io::Result<Option<Ino>> {
        if real == self.root_real {
            return Ok(Some(Ino::ROOT));
        }
        if let Some((_, ino)) = self.special.iter().find(|(other, _)| *other == real) {
            return Ok(Some(*ino));
        }
        match &self.rule {
            Rule::Direct { .. } => {
                let Ok(ino) = u32::try_from(real) else { return Ok(None) };
                Ok((ino >= FIRST_FREE && self.rule.is_used(ino)).then_some(Ino(ino)))
            }
            Rule::Dense { list, .. } => list.find(real),
        }
    }

    /// Writes what the next dump of the chain has to know, where that is not in the real numbers.
    ///
    /// # Errors
    /// The list of numbers could not be read, or the map not written.
    pub fn write(&self, to: &mut dyn Write) -> io::Result<()> {
        match &self.rule {
            Rule::Direct { .. } => Ok(()),
            Rule::Dense { list, unnamed, .. } => number_map::write(&list.entries, unnamed, to),
        }
    }
}

/// Real numbers in ascending order, with their dump numbers.
struct List {
    entries: Spool,
    /// The first real number of each block.
    firsts: Vec<u64>,
    block: Mutex<Block>,
}

/// The block of the list looked at last.
struct Block {
    index: usize,
    bytes: Vec<u8>,
}

impl List {
    fn new(entries: Spool) -> Self {
        Self {
            entries,
            firsts: Vec::new(),
            block: Mutex::new(Block { index: usize::MAX, bytes: Vec::new() }),
        }
    }

    fn push(&mut self, real: u64, ino: Ino) -> io::Result<()> {
        if self.entries.len().is_multiple_of(BLOCK_LEN as u64) {
            self.firsts.push(real);
        }
        self.entries.append(&number_map::encode(real, ino)).map(drop)
    }

    fn find(&self, real: u64) -> io::Result<Option<Ino>> {
        let Some(index) = self.firsts.partition_point(|first| *first <= real).checked_sub(1) else {
            return Ok(None);
        };
        let mut block = self.block.lock().unwrap_or_else(PoisonError::into_inner);
        if block.index != index {
            block.index = usize::MAX;
            block.bytes.resize(BLOCK_LEN, 0);
            let len = self.entries.read_at((index * BLOCK_LEN) as u64, &mut block.bytes)?;
            block.bytes.truncate(len);
            block.index = index;
        }
        let (list, _) = block.bytes.as_chunks();
        let found = list.binary_search_by_key(&real, |entry| number_map::decode(entry).0);
        Ok(found.ok().and_then(|at| list.get(at)).map(|entry| number_map::decode(entry).1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    fn dense(root: u64, base: Option<Arc<NumberMap>>) -> Numbers {
        Numbers::dense(root, base, Arc::from(std::env::temp_dir()), 100)
    }

    fn numbers(numbering: Numbering, root: u64, reals: &[u64]) -> (Numbers, Vec<Option<Ino>>) {
        let mut numbers = match numbering {
            Numbering::Direct => Numbers::direct(root, Bits::default()),
            Numbering::Dense => dense(root, None),
        };
        let mut given = Vec::new();
        for real in reals {
            given.push(numbers.add(*real).unwrap());
        }
        (numbers, given)
    }

    #[test]
    fn direct_numbers_are_the_real_ones_and_the_root_swaps_with_the_owner_of_2() {
        let (numbers, given) = numbers(Numbering::Direct, 256, &[2, 3, 257, 1000]);
        assert_eq!(given, [Some(Ino(256)), Some(Ino(3)), Some(Ino(257)), Some(Ino(1000))]);
        assert_eq!(numbers.number(256).unwrap(), Some(Ino::ROOT));
        assert_eq!(numbers.number(2).unwrap(), Some(Ino(256)));
        assert_eq!(numbers.number(1000).unwrap(), Some(Ino(1000)));
        assert_eq!(numbers.number(999).unwrap(), None);
        assert_eq!(numbers.number(u64::MAX).unwrap(), None);
        assert_eq!(numbers.limit(), Ino(1001));
    }

    #[test]
    fn reserved_real_numbers_and_objects_without_one_get_free_numbers() {
        let (mut numbers, given) = numbers(Numbering::Direct, 1, &[0, 2, 3, 5]);
        assert_eq!(given, [None, None, Some(Ino(3)), Some(Ino(5))]);
        assert_eq!(numbers.free(Some(0)).unwrap(), Ino(4));
        assert_eq!(numbers.free(Some(2)).unwrap(), Ino(6));
        assert_eq!(numbers.free(None).unwrap(), Ino(7));
        assert_eq!(numbers.number(0).unwrap(), Some(Ino(4)));
        assert_eq!(numbers.number(2).unwrap(), Some(Ino(6)));
        assert_eq!(numbers.number(1).unwrap(), Some(Ino::ROOT));
        assert_eq!(numbers.number(4).unwrap(), None);
        assert_eq!(numbers.limit(), Ino(8));
    }

    #[test]
    fn dense_numbers_are_ranks() {
        let reals: Vec<u64> = (0..3000).map(|index| index * 1_000_000_007).collect();
        let (mut numbers, given) = numbers(Numbering::Dense, 77, &reals);
        assert!(given.iter().copied().eq((3..3003).map(|ino| Some(Ino(ino)))));
        for (index, real) in reals.iter().enumerate().rev() {
            assert_eq!(numbers.number(*real).unwrap(), Some(Ino(index as u32 + 3)));
            assert_eq!(numbers.number(*real + 1).unwrap(), None);
        }
        assert_eq!(numbers.number(77).unwrap(), Some(Ino::ROOT));
        assert_eq!(numbers.free(None).unwrap(), Ino(3003));
        assert_eq!(numbers.number(3003).unwrap(), None);
        assert_eq!(numbers.limit(), Ino(3004));
    }

    /// What the next dump of a chain gets of these numbers.
    fn kept(numbers: &Numbers) -> Arc<NumberMap> {
        let mut file = tempfile::tempfile().unwrap();
        numbers.write(&mut file).unwrap();
        Arc::new(NumberMap::read(file).unwrap())
    }

    /// A bit sequence that depends on its seed alone.
    struct Random(u64);

    impl Random {
        fn below(&mut self, bound: u64) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 >> 11) % bound
        }
    }

    /// A dump of a chain.
    #[derive(Clone)]
    struct Dump {
        /// The objects by real number; which object it is, and its number.
        objects: BTreeMap<u64, (u64, Ino)>,
        kept: Arc<NumberMap>,
    }

    /// Dumps `tree` on top of a chain, and checks the numbers against all dumps of it: `Numbers` sees the last only.
    fn dump(chain: &[Dump], tree: &BTreeMap<u64, u64>, strangers: u64) -> Dump {
        const ROOT: u64 = 77;
        let base = chain.last();
        let mut numbers = dense(ROOT, base.map(|base| Arc::clone(&base.kept)));
        let mut objects = BTreeMap::new();
        let mut given = BTreeSet::new();
        for (real, object) in tree {
            let ino = numbers.add(*real).unwrap().unwrap();
            assert!(given.insert(ino), "{ino} is given twice");
            let before = base.and_then(|base| base.objects.get(real));
            match before {
                Some((_, before)) => assert_eq!(*before, ino, "it keeps its number"),
                None => {
                    let owner = base.and_then(|base| base.objects.iter().find(|entry| entry.1.1 == ino));
                    assert!(owner.is_none(), "{ino} was another object's, and no dump has shown it clear");
                }
            }
            objects.insert(*real, (*object, ino));
        }
        for _ in 0..strangers {
            let ino = numbers.free(None).unwrap();
            assert!(given.insert(ino), "{ino} is given twice");
            assert!(base.is_none_or(|base| !base.kept.is_used(ino)), "{ino} was in use");
        }
        for (real, (_, ino)) in &objects {
            assert_eq!(numbers.number(*real).unwrap(), Some(*ino));
            assert_eq!(numbers.number(*real + 1).unwrap(), objects.get(&(real + 1)).map(|object| object.1));
        }
        assert_eq!(numbers.number(ROOT).unwrap(), Some(Ino::ROOT));
        assert!(given.iter().all(|ino| *ino > Ino::ROOT && *ino < numbers.limit()));
        // Every number is free, or was before.
        let most = given.len() + base.map_or(0, |base| base.objects.len() + 3);
        assert!(numbers.limit().0 as usize <= most + FIRST_FREE as usize);
        Dump { objects, kept: kept(&numbers) }
    }

    /// A map of a dump holds all its numbers, and so those that its own in-use map shows.
    #[test]
    fn dense_numbers_last_over_chains() {
        for seed in 1..=12 {
            let mut random = Random(seed << 32 | 0x9e37);
            let mut tree: BTreeMap<u64, u64> = BTreeMap::new();
            let mut objects_made = 0;
            let mut change = |tree: &mut BTreeMap<u64, u64>, random: &mut Random| {
                for _ in 0..random.below(400) {
                    // Few enough for a number to come back.
                    let real = 1000 + (random.below(700) << (random.below(2) * 33));
                    objects_made += 1;
                    match random.below(2) {
                        0 => _ = tree.remove(&real),
                        _ => _ = tree.insert(real, objects_made),
                    }
                }
            };
            change(&mut tree, &mut random);
            let mut chain = vec![dump(&[], &tree, 2)];
            for _ in 0..12 {
                change(&mut tree, &mut random);
                // Back to any dump of the chain: a level that is not above the last one.
                chain.truncate(1 + random.below(chain.len() as u64) as usize);
                let next = dump(&chain, &tree, random.below(3));
                chain.push(next);
            }
        }
    }

    #[test]
    fn a_number_is_reused_after_the_dump_that_shows_it_clear_and_not_before() {
        let tree = |reals: &[u64]| reals.iter().map(|real| (*real << 40, *real)).collect();
        let numbers_of = |dump: &Dump| dump.objects.values().map(|object| object.1.0).collect::<Vec<_>>();
        let mut chain = vec![dump(&[], &tree(&[1, 2, 3]), 0)];
        // 2 goes, 4 and 5 come: its number is not theirs yet.
        chain.push(dump(&chain, &tree(&[1, 3, 4, 5]), 0));
        assert_eq!(numbers_of(&chain[1]), [3, 5, 6, 7]);
        chain.push(dump(&chain, &tree(&[1, 3, 4, 5, 6, 7]), 0));
        assert_eq!(numbers_of(&chain[2]), [3, 5, 6, 7, 4, 8]);
        // Another dump on the baseline does not know of these.
        assert_eq!(numbers_of(&dump(&chain[..1], &tree(&[1, 2, 3, 7]), 1)), [3, 4, 5, 6]);
    }
}
