//! Dump numbers for real inode numbers (`format.md` 7.4).
//!
//! * **Direct**, where all real numbers are below a limit: the number is the real one. The root and whatever owns 2
//!   swap; real 0 and 1 get a free number.
//! * **Dense** otherwise: rank of the real number among all in the tree, from 3 on; the root is 2.
//!
//! Objects without a usable real number (roots of other subvolumes, whose number means something else there) get
//! the lowest free numbers, in the order they are asked for.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use tapedump_core::units::Ino;

use crate::volume::spool::Spool;

/// Real numbers below this are used as they are: the two dump maps then take at most 8 MiB each, on tape and in
/// memory, however few objects the tree has.
pub const DIRECT_LIMIT: u64 = 1 << 26;

/// First number that is free for any object.
const FIRST_FREE: u32 = Ino::ROOT.0 + 1;
/// Real numbers per block of the list that dense numbers are looked up in.
const BLOCK_NUMBERS: usize = 512;
const BLOCK_LEN: usize = BLOCK_NUMBERS * 8;

/// Which rule a tree's numbers follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbering {
    /// The real inode numbers.
    Direct,
    /// Ranks.
    Dense,
}

/// The map from real numbers to dump numbers.
pub struct Numbers {
    root_real: u64,
    /// Real numbers that the rule does not hold for.
    special: Vec<(u64, Ino)>,
    rule: Rule,
    /// One more than the highest number given.
    limit: u32,
}

enum Rule {
    /// One bit for each number in use.
    Direct {
        used: Vec<u64>,
        free_from: u32,
    },
    Dense {
        reals: Spool,
        firsts: Vec<u64>,
        count: u64,
        block: Mutex<Block>,
    },
}

/// The block of real numbers looked at last.
struct Block {
    index: usize,
    bytes: Vec<u8>,
}

impl Numbers {
    /// No objects yet but the root. Real numbers will be at most `highest`.
    pub fn new(
        numbering: Numbering,
        root_real: u64,
        highest: u64,
        scratch_dir: Arc<Path>,
        memory_max: usize,
    ) -> Self {
        let rule = match numbering {
            Numbering::Direct => {
                let words = (highest.max(root_real).min(u64::from(Ino::LAST.0)) / 64 + 1) as usize;
                Rule::Direct { used: vec![0; words], free_from: FIRST_FREE }
            }
            Numbering::Dense => {
                let block = Mutex::new(Block { index: usize::MAX, bytes: Vec::new() });
                Rule::Dense {
                    reals: Spool::new(scratch_dir, memory_max),
                    firsts: Vec::new(),
                    count: 0,
                    block,
                }
            }
        };
        Self { root_real, special: Vec::new(), rule, limit: Ino::ROOT.0 + 1 }
    }

    /// Which rule is followed.
    pub fn numbering(&self) -> Numbering {
        match self.rule {
            Rule::Direct { .. } => Numbering::Direct,
            Rule::Dense { .. } => Numbering::Dense,
        }
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
    /// The list of numbers could not be written, or (kind `QuotaExceeded`) there are more objects than numbers.
    pub fn add(&mut self, real: u64) -> io::Result<Option<Ino>> {
        let ino = match &mut self.rule {
            Rule::Direct { used, .. } => {
                let wanted = if real == u64::from(Ino::ROOT.0) { self.root_real } else { real };
                let ino = u32::try_from(wanted).map_err(|_| io::ErrorKind::QuotaExceeded)?;
                if ino < FIRST_FREE {
                    return Ok(None);
                }
                let word = used.get_mut(ino as usize / 64).ok_or(io::ErrorKind::QuotaExceeded)?;
                *word |= 1 << (ino % 64);
                if wanted != real {
                    self.special.push((real, Ino(ino)));
                }
                ino
            }
            Rule::Dense { reals, firsts, count, .. } => {
                if count.is_multiple_of(BLOCK_NUMBERS as u64) {
                    firsts.push(real);
                }
                reals.append(&real.to_le_bytes())?;
                let ino = u32::try_from(*count + u64::from(FIRST_FREE));
                *count += 1;
                ino.map_err(|_| io::ErrorKind::QuotaExceeded)?
            }
        };
        self.give(ino).map(Some)
    }

    /// A number that nothing else has; after all that [`add`](Self::add) gave. `real`: whose it is, where that is
    /// a number to look up.
    ///
    /// # Errors
    /// (Kind `QuotaExceeded`.) There is none.
    pub fn free(&mut self, real: Option<u64>) -> io::Result<Ino> {
        let ino = match &mut self.rule {
            Rule::Direct { used, free_from } => {
                let is_used =
                    |ino: u32| used.get(ino as usize / 64).is_some_and(|word| word & 1 << (ino % 64) != 0);
                let ino = (*free_from..).find(|ino| !is_used(*ino)).unwrap_or(u32::MAX);
                *free_from = ino.saturating_add(1);
                ino
            }
            Rule::Dense { .. } => self.limit,
        };
        let ino = self.give(ino)?;
        self.special.extend(real.map(|real| (real, ino)));
        Ok(ino)
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
            Rule::Direct { used, .. } => {
                let Ok(ino) = u32::try_from(real) else { return Ok(None) };
                let word = used.get(ino as usize / 64).copied().unwrap_or(0);
                Ok((ino >= FIRST_FREE && word & 1 << (ino % 64) != 0).then_some(Ino(ino)))
            }
            Rule::Dense { reals, firsts, block, .. } => {
                let Some(index) = firsts.partition_point(|first| *first <= real).checked_sub(1) else {
                    return Ok(None);
                };
                let mut block = block.lock().unwrap_or_else(PoisonError::into_inner);
                if block.index != index {
                    block.index = usize::MAX;
                    block.bytes.resize(BLOCK_LEN, 0);
                    let len = reals.read_at((index * BLOCK_LEN) as u64, &mut block.bytes)?;
                    block.bytes.truncate(len);
                    block.index = index;
                }
                let (list, _) = block.bytes.as_chunks::<8>();
                let rank = list.binary_search_by_key(&real, |bytes| u64::from_le_bytes(*bytes));
                Ok(rank.ok().map(|rank| Ino((index * BLOCK_NUMBERS + rank) as u32 + FIRST_FREE)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(numbering: Numbering, root: u64, reals: &[u64]) -> (Numbers, Vec<Option<Ino>>) {
        let highest = reals.iter().copied().max().unwrap_or(0);
        let mut numbers = Numbers::new(numbering, root, highest, Arc::from(std::env::temp_dir()), 100);
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
}
