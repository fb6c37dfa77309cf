//! What a restore needs, in which order, and whether a tape is the right one.

use core::fmt;

use super::dump::{Access, Maker, Tape};
use super::resolve::{Chain, ChainError, Dumps, Key, Link, chain, complete, key_of, on_tape};
use crate::units::{DumpId, Level, Timestamp};

/// The state of the tree that a restore is to bring back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Point {
    /// What the most recent dump shows.
    Latest,
    /// What the most recent dump up to this time shows, the time itself included.
    At(Timestamp),
    /// What this dump shows.
    Dump(DumpId),
}

/// The dumps that bring a tree back, in the order in which they are to be applied (R-CHAIN-5).
///
/// # Errors
/// There is no such dump, or something it builds on is missing: a state older than the one asked for is never given
/// instead. Or the dumps cannot be read.
pub fn plan<S: Dumps>(dumps: &mut S, point: Point) -> Result<Chain, ChainError<S::Error>> {
    let until = match point {
        Point::Dump(id) => return chain(dumps, id),
        Point::Latest => Timestamp { secs: i64::MAX, nanos: u32::MAX },
        Point::At(time) => time,
    };
    let mut best = None::<(Key, _)>;
    dumps.rewind();
    while let Some((place, dump)) = dumps.next().map_err(ChainError::Source)? {
        let key = key_of(&dump);
        let may_be = dump.outcome.is_usable() && dump.date <= until;
        if may_be && best.as_ref().is_none_or(|(best, _)| *best < key) {
            best = Some((key, (place, dump)));
        }
    }
    let Some((_, (place, dump))) = best else {
        return Err(ChainError::NothingBefore { time: until });
    };
    complete(dumps, place, &dump)
}

/// The tapes of a chain, in the order in which they are read.
#[derive(Clone, Copy, Debug, Default)]
pub struct PlannedTapes {
    link: usize,
    tape: usize,
}

impl PlannedTapes {
    /// Before the first one.
    #[must_use]
    pub const fn new() -> Self {
        Self { link: 0, tape: 0 }
    }

    /// The next tape, and the dump it is for.
    ///
    /// # Errors
    /// The dumps cannot be read.
    pub fn next<'c, S: Dumps>(
        &mut self,
        chain: &'c Chain,
        dumps: &mut S,
    ) -> Result<Option<(&'c Link, Tape)>, S::Error> {
        while let Some(link) = chain.links().get(self.link) {
            if let Some(tape) = dumps.tape(link.place, self.tape)? {
                self.tape = self.tape.saturating_add(1);
                return Ok(Some((link, tape)));
            }
            self.link = self.link.saturating_add(1);
            self.tape = 0;
        }
        Ok(None)
    }
}

/// A tape that a restore needs and that is not at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MissingTape {
    /// The dump.
    pub dump: DumpId,
    /// The tape.
    pub tape: Tape,
}

impl Chain {
    /// The first tape of the chain that is not at hand, so that it is named before anything is written.
    ///
    /// # Errors
    /// The dumps cannot be read.
    pub fn missing_tape<S: Dumps>(
        &self,
        dumps: &mut S,
        mut is_at_hand: impl FnMut(&Link, &Tape) -> bool,
    ) -> Result<Option<MissingTape>, S::Error> {
        let mut tapes = PlannedTapes::new();
        while let Some((link, tape)) = tapes.next(self, dumps)? {
            if !is_at_hand(link, &tape) {
                return Ok(Some(MissingTape { dump: link.id, tape }));
            }
        }
        Ok(None)
    }

    /// Whether an increment may be applied to a tree that this chain brought back; `access` is the access type of the
    /// volume that the tree is in.
    ///
    /// Its base must be in the chain, and it must be newer than the tree: what was created after the base and is gone
    /// by the increment is then told by the increment's maps.
    ///
    /// # Errors
    /// Why not.
    pub fn takes(&self, increment: &Link, access: Access) -> Result<(), CannotApply> {
        let (Some(base), Some(last)) = (increment.base, self.last()) else {
            return Err(CannotApply::Baseline);
        };
        let is_base = |link: &Link| match base.id {
            Some(id) => link.id == id && link.date == base.date,
            None => on_tape(link.date) == on_tape(base.date) && link.level < increment.level,
        };
        if !self.links().iter().any(is_base) {
            return Err(CannotApply::OtherBase { tree: last.id });
        }
        if increment.date < last.date {
            return Err(CannotApply::OlderThanTree { tree: last.id });
        }
        // Of a dump by another program nothing is known.
        let is_ours = matches!(increment.maker, Maker::Tapedump { .. });
        if is_ours && increment.state.access != access {
            return Err(CannotApply::AccessChanged { before: increment.state.access, now: access });
        }
        Ok(())
    }
}

/// Why a dump cannot be applied to a tree that was restored before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum CannotApply {
    /// It is a baseline, or there is no tree.
    Baseline,
    /// The tree was made without the dump that it builds on.
    OtherBase {
        /// The dump that the tree shows.
        tree: DumpId,
    },
    /// The tree shows a later time.
    OlderThanTree {
        /// The dump that the tree shows.
        tree: DumpId,
    },
    /// The volume's access type is another one: a baseline has to be restored first (R-CHAIN-7).
    AccessChanged {
        /// What it was when the dump was made.
        before: Access,
        /// What it is.
        now: Access,
    },
}

impl fmt::Display for CannotApply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Baseline => f.write_str("a baseline is not applied to a tree"),
            Self::OtherBase { tree } => {
                write!(f, "the tree shows the dump {tree}, and was made without this dump's base")
            }
            Self::OlderThanTree { tree } => write!(f, "the tree shows the dump {tree}, which is newer"),
            Self::AccessChanged { .. } => {
                f.write_str("the volume's access type changed: a baseline has to be restored first")
            }
        }
    }
}

/// The dump that a tape is found to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct TapeDump {
    /// Its identity, where its headers have one.
    pub id: Option<DumpId>,
    /// Its level.
    pub level: Level,
    /// Its date in seconds, as in headers: the low 32 bits.
    pub date: u32,
    /// Date of its base likewise; 0 for none.
    pub base_date: u32,
}

/// What shows that a tape has another dump than the one asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum WrongDump {
    /// The identity.
    Id {
        /// What is on the tape; `None` for a dump of another program.
        found: Option<DumpId>,
    },
    /// The date.
    Date {
        /// What is on the tape, in seconds.
        found: u32,
    },
    /// The date of the base.
    BaseDate {
        /// What is on the tape, in seconds.
        found: u32,
    },
    /// The level.
    Level {
        /// What is on the tape.
        found: Level,
    },
}

impl fmt::Display for WrongDump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id { found: Some(id) } => write!(f, "the tape has the dump {id}"),
            Self::Id { found: None } => f.write_str("the tape has a dump of another program"),
            Self::Date { found } => write!(f, "the tape has a dump of {found} s"),
            Self::BaseDate { found } => write!(f, "the dump on the tape builds on one of {found} s"),
            Self::Level { found } => write!(f, "the dump on the tape is of level {found}"),
        }
    }
}

impl Link {
    /// Whether a tape has this dump.
    ///
    /// # Errors
    /// What is different.
    pub fn check(&self, found: &TapeDump) -> Result<(), WrongDump> {
        // Of a dump by another program the identity was given when it was recorded: its tape has none.
        let expected = matches!(self.maker, Maker::Tapedump { .. }).then_some(self.id);
        let base_date = self.base.map_or(0, |base| on_tape(base.date));
        if found.id != expected {
            Err(WrongDump::Id { found: found.id })
        } else if found.date != on_tape(self.date) {
            Err(WrongDump::Date { found: found.date })
        } else if found.base_date != base_date {
            Err(WrongDump::BaseDate { found: found.base_date })
        } else if found.level != self.level {
            Err(WrongDump::Level { found: found.level })
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec::Vec;

    use super::super::{BaseRef, Dump, Numbering, Outcome, Recorded, Release, SliceDumps, VolumeState};
    use super::*;
    use crate::units::{BlockAddr, Ino};

    fn dump(number: u8, level: u32, base: Option<u8>, maker: Maker) -> Dump {
        let date = |number| Timestamp { secs: 1_700_000_000 + i64::from(number), nanos: 5 };
        let is_ours = maker != Maker::Foreign;
        Dump {
            id: DumpId([number; 16]),
            level: Level::new(level).unwrap(),
            date: date(number),
            order: number.into(),
            // From a tape alone only the date of the base is known, in seconds.
            base: base.map(|base| BaseRef {
                id: is_ours.then_some(DumpId([base; 16])),
                date: Timestamp { nanos: if is_ours { 5 } else { 0 }, ..date(base) },
            }),
            outcome: Outcome::Good,
            numbering: Numbering::Real,
            ino_limit: Ino(9),
            maker,
            state: VolumeState::default(),
        }
    }

    const OURS: Maker = Maker::Tapedump { release: Release::CURRENT, format: 1 };

    #[test]
    fn names_the_tapes_in_order_and_the_first_one_that_is_missing() {
        // R-CHAIN-5
        let tape = |number: u8, file| Tape::new([number; 16], &[b'T', b'0' + number], file, BlockAddr(0));
        let tapes = [tape(1, 0), tape(2, 0), tape(2, 1), tape(3, 4)];
        let dumps = [
            Recorded { dump: dump(1, 0, None, OURS), tapes: &tapes[..2] },
            Recorded { dump: dump(2, 1, Some(1), OURS), tapes: &tapes[2..3] },
            Recorded { dump: dump(3, 1, Some(1), OURS), tapes: &tapes[2..] },
        ];
        let mut source = SliceDumps::new(&dumps);
        let chain = plan(&mut source, Point::Latest).unwrap();
        let mut planned = PlannedTapes::new();
        let mut found = Vec::new();
        while let Some((link, tape)) = planned.next(&chain, &mut source).unwrap() {
            found.push((link.id.0[0], tape.label().to_vec(), tape.file()));
        }
        let expected = [(1, "T1", 0), (1, "T2", 0), (3, "T2", 1), (3, "T3", 4)];
        assert_eq!(found, expected.map(|(dump, label, file)| (dump, label.as_bytes().to_vec(), file)));
        assert_eq!(planned.next(&chain, &mut source), Ok(None));
        for (absent, expected) in [(1, Some(1)), (2, Some(1)), (3, Some(3)), (4, None)] {
            let missing = chain.missing_tape(&mut source, |_, tape| tape.id() != [absent; 16]).unwrap();
            assert_eq!(missing.map(|missing| missing.dump.0[0]), expected);
            assert!(missing.is_none_or(|missing| missing.tape.id() == [absent; 16]));
        }
    }

    #[test]
    fn a_tape_of_another_dump_is_told_by_what_is_different() {
        let dumps = [dump(1, 0, None, OURS), dump(2, 1, Some(1), OURS)];
        let dumps = dumps.map(|dump| Recorded { dump, tapes: &[] });
        let chain = plan(&mut SliceDumps::new(&dumps), Point::Latest).unwrap();
        let [baseline, increment] = chain.links() else { panic!("{chain:?}") };
        let right = TapeDump {
            id: Some(increment.id),
            level: increment.level,
            date: 1_700_000_002,
            base_date: 1_700_000_001,
        };
        assert_eq!(increment.check(&right), Ok(()));
        let first =
            TapeDump { id: Some(baseline.id), level: Level::BASELINE, date: 1_700_000_001, base_date: 0 };
        assert_eq!(baseline.check(&first), Ok(()));
        assert_eq!(baseline.check(&right), Err(WrongDump::Id { found: right.id }));
        let other = DumpId([9; 16]);
        for (found, wrong) in [
            (TapeDump { id: Some(other), ..right }, WrongDump::Id { found: Some(other) }),
            (TapeDump { id: None, ..right }, WrongDump::Id { found: None }),
            (TapeDump { date: 5, ..right }, WrongDump::Date { found: 5 }),
            (TapeDump { base_date: 0, ..right }, WrongDump::BaseDate { found: 0 }),
            (TapeDump { level: Level::MAX, ..right }, WrongDump::Level { found: Level::MAX }),
        ] {
            assert_eq!(increment.check(&found), Err(wrong));
        }
    }

    #[test]
    fn dumps_of_another_program_are_chained_by_their_dates() {
        let mut dumps = [
            dump(1, 0, None, Maker::Foreign),
            dump(2, 1, Some(1), Maker::Foreign),
            dump(3, 2, Some(2), Maker::Foreign),
            // One of ours within the same second is none of theirs.
            dump(4, 0, None, OURS),
        ];
        dumps[3].date = dumps[0].date;
        let recorded = dumps.map(|dump| Recorded { dump, tapes: &[] });
        let point = Point::Dump(DumpId([3; 16]));
        let chain = plan(&mut SliceDumps::new(&recorded), point).unwrap();
        assert_eq!(chain.links().iter().map(|link| link.id.0[0]).collect::<Vec<_>>(), [1, 2, 3]);
        let found = TapeDump { id: None, level: Level::BASELINE, date: 1_700_000_001, base_date: 0 };
        assert_eq!(chain.links()[0].check(&found), Ok(()));
        let missing = plan(&mut SliceDumps::new(&recorded[1..]), point);
        let base = dumps[1].base.unwrap();
        assert_eq!(missing, Err(ChainError::BaseMissing { dump: dumps[1].id, base }));
    }

    #[test]
    fn an_increment_is_applied_to_a_tree_that_has_its_base() {
        let dumps = [
            dump(1, 0, None, OURS),
            dump(2, 1, Some(1), OURS),
            dump(3, 2, Some(2), OURS),
            dump(4, 1, Some(1), OURS),
            dump(5, 2, Some(4), OURS),
        ];
        let recorded = dumps.map(|dump| Recorded { dump, tapes: &[] });
        let chain =
            |number| plan(&mut SliceDumps::new(&recorded), Point::Dump(DumpId([number; 16]))).unwrap();
        let apply = |tree, number, access| chain(tree).takes(chain(number).last().unwrap(), access);
        let tree = |number| DumpId([number; 16]);
        let ok = Access::ReadWrite;
        assert_eq!(apply(1, 2, ok), Ok(()));
        assert_eq!(apply(2, 3, ok), Ok(()));
        // The base is further down in the chain.
        assert_eq!(apply(3, 4, ok), Ok(()));
        assert_eq!(apply(4, 2, ok), Err(CannotApply::OlderThanTree { tree: tree(4) }));
        assert_eq!(apply(3, 5, ok), Err(CannotApply::OtherBase { tree: tree(3) }));
        assert_eq!(apply(3, 1, ok), Err(CannotApply::Baseline));
        // R-CHAIN-7
        let changed = CannotApply::AccessChanged { before: Access::ReadWrite, now: Access::ReadOnly };
        assert_eq!(apply(1, 2, Access::ReadOnly), Err(changed));
    }
}
