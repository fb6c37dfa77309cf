//! The head of a catalog: what dump it is of, and where its trees are. `docs/catalog.md` has the layout.

use crate::checksum::Crc32c;
use crate::device::volume::VolumeNames;
use crate::limits::PAGE_LEN;
use crate::units::{DumpId, Level, StreamBlock};

use super::tree::{LEVELS_MAX, Tree};

/// Pages at the front of a catalog: the head, twice.
pub(super) const HEADS: u32 = 2;

const MAGIC: [u8; 3] = *b"TDC";
/// The version of the format this code reads and writes.
const VERSION: u8 = b'2';

const TREES_FROM: usize = 384;
const TREE_LEN: usize = 16 + 4 * (LEVELS_MAX + 1);
const _: () = assert!(TREES_FROM + 3 * TREE_LEN <= PAGE_LEN);

/// What dump a catalog is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct CatalogIdentity {
    /// The dump; of a foreign one, what the caller makes up for it.
    pub dump: DumpId,
    /// The dump it builds on, where that is known.
    pub base: Option<DumpId>,
    /// Level.
    pub level: Level,
    /// Time of the dump, seconds since 1970.
    pub date: i64,
    /// Time of the base, seconds since 1970; 0 for a baseline.
    pub base_date: i64,
    /// Identity of the volume.
    pub volume: [u8; 16],
    /// Path, device and host in the dump's headers.
    pub names: VolumeNames,
    /// Label, NUL-padded.
    pub label: [u8; 16],
}

impl CatalogIdentity {
    /// What the checksums of this catalog's pages start with, so that no page of an earlier one passes for one of it.
    pub(super) fn salt<C: Crc32c>(&self) -> u32 {
        C::update(C::update(0, &self.dump.0), &self.date.to_be_bytes())
    }
}

/// How much is in a catalog.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct CatalogFigures {
    /// Rows of directories.
    pub directories: u64,
    /// Rows of other objects.
    pub others: u64,
    /// Names in directories.
    pub names: u64,
    /// Length of the catalog on its device in bytes.
    pub len: u64,
}

/// All that a head tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub identity: CatalogIdentity,
    pub figures: CatalogFigures,
    pub attributes_from: Option<StreamBlock>,
    pub main: Tree,
    pub links: Tree,
    /// Only where the rows are in another order than the objects on tape.
    pub positions: Option<Tree>,
}

/// What is where a head should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "one at a time, and on the stack in any case")]
pub(super) enum Found {
    Head(Head),
    /// Something else, or nothing.
    Nothing,
    /// Of a version that this code does not know.
    Version(u8),
    /// A head that is not what was written.
    Damaged,
}

impl Head {
    /// Writes the head over the whole page.
    pub(super) fn emit<C: Crc32c>(&self, page: &mut [u8; PAGE_LEN]) {
        let mut to = Out { rest: page.as_mut_slice() };
        to.put(&[0; 4]);
        to.put(&MAGIC);
        to.put(&[VERSION]);
        let identity = &self.identity;
        to.put(&identity.dump.0);
        to.put(&identity.base.map_or([0; 16], |base| base.0));
        to.put(&identity.volume);
        to.put(&identity.date.to_be_bytes());
        to.put(&identity.base_date.to_be_bytes());
        to.put(&identity.level.number().to_be_bytes());
        to.put(&[identity.base.is_some().into(), self.attributes_from.is_some().into()]);
        to.put(&[self.positions.is_some().into(), 0]);
        to.put(&self.attributes_from.map_or(0, |block| block.0).to_be_bytes());
        let figures = &self.figures;
        for figure in [figures.directories, figures.others, figures.names, figures.len] {
            to.put(&figure.to_be_bytes());
        }
        to.put(&identity.names.path);
        to.put(&identity.names.device);
        to.put(&identity.names.host);
        to.put(&identity.label);
        to.put(&[0; TREES_FROM - 328]);
        for tree in [self.main, self.links, self.positions.unwrap_or_default()] {
            to.put(&tree.first.to_be_bytes());
            to.put(&[tree.pass, 0, 0, 0]);
            to.put(&tree.entries.to_be_bytes());
            tree.levels.iter().for_each(|pages| to.put(&pages.to_be_bytes()));
        }
        to.rest.fill(0);
        let checksum = C::update(0, &page[4..]);
        page[..4].copy_from_slice(&checksum.to_be_bytes());
    }

    /// What a page is that should be a head, of a region of so many pages.
    pub(super) fn parse<C: Crc32c>(page: &[u8; PAGE_LEN], pages: u32) -> Found {
        if page[4..7] != MAGIC {
            return Found::Nothing;
        }
        if C::update(0, &page[4..]).to_be_bytes() != page[..4] {
            return Found::Damaged;
        }
        if page[7] != VERSION {
            return Found::Version(page[7]);
        }
        match Self::parse_fields(&page[8..]) {
            Some(head) if head.is_within(pages) => Found::Head(head),
            _ => Found::Damaged,
        }
    }

    fn parse_fields(fields: &[u8]) -> Option<Self> {
        let mut from = In { rest: fields };
        let (dump, base, volume) = (DumpId(from.take()?), DumpId(from.take()?), from.take()?);
        let (date, base_date) = (i64::from_be_bytes(from.take()?), i64::from_be_bytes(from.take()?));
        let level = Level::new(u32::from_be_bytes(from.take()?)).ok()?;
        let [has_base, has_attributes, has_positions, _] = from.take()?;
        let attributes_from = StreamBlock(from.u64()?);
        let figures = CatalogFigures {
            directories: from.u64()?,
            others: from.u64()?,
            names: from.u64()?,
            len: from.u64()?,
        };
        let names = VolumeNames { path: from.take()?, device: from.take()?, host: from.take()? };
        let label = from.take()?;
        let _: [u8; TREES_FROM - 328] = from.take()?;
        let (main, links, positions) = (from.tree()?, from.tree()?, from.tree()?);
        let base = (has_base != 0).then_some(base);
        Some(Self {
            identity: CatalogIdentity { dump, base, level, date, base_date, volume, names, label },
            figures,
            attributes_from: (has_attributes != 0).then_some(attributes_from),
            main,
            links,
            positions: (has_positions != 0).then_some(positions),
        })
    }

    fn is_within(&self, pages: u32) -> bool {
        [Some(self.main), Some(self.links), self.positions]
            .iter()
            .flatten()
            .all(|tree| tree.is_sound() && tree.end().is_some_and(|end| end <= pages))
    }
}

/// What is left of a page being written.
struct Out<'a> {
    rest: &'a mut [u8],
}

impl Out<'_> {
    fn put(&mut self, bytes: &[u8]) {
        let rest = core::mem::take(&mut self.rest);
        if let Some((to, rest)) = rest.split_at_mut_checked(bytes.len()) {
            to.copy_from_slice(bytes);
            self.rest = rest;
        }
    }
}

/// What is left of a page being read.
struct In<'a> {
    rest: &'a [u8],
}

impl In<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*taken)
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_be_bytes(self.take()?))
    }

    fn tree(&mut self) -> Option<Tree> {
        let first = u32::from_be_bytes(self.take()?);
        let [pass, ..] = self.take::<4>()?;
        let mut tree = Tree { first, pass, entries: self.u64()?, ..Tree::default() };
        for pages in &mut tree.levels {
            *pages = u32::from_be_bytes(self.take()?);
        }
        Some(tree)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use crate::checksum::PortableCrc32c;

    fn head() -> Head {
        let identity = CatalogIdentity {
            dump: DumpId([1; 16]),
            base: Some(DumpId([2; 16])),
            level: Level::new(3).unwrap(),
            date: 0x0102_0304_0506_0708,
            base_date: -2,
            volume: [4; 16],
            names: VolumeNames { path: [5; 64], device: [6; 64], host: [7; 64] },
            label: [8; 16],
        };
        let mut levels = [0; LEVELS_MAX + 1];
        levels[..3].copy_from_slice(&[9, 3, 1]);
        let main = Tree { first: 2, pass: 1, entries: 40, levels };
        let links = Tree { first: 15, ..Tree::default() };
        let figures = CatalogFigures { directories: 1, others: 2, names: 3, len: 4 };
        let attributes_from = Some(StreamBlock(99));
        Head { identity, figures, attributes_from, main, links, positions: None }
    }

    fn parse(page: &[u8; PAGE_LEN]) -> Found {
        Head::parse::<PortableCrc32c>(page, 15)
    }

    #[test]
    fn the_bytes_of_a_head() {
        let mut page = [0xa5; PAGE_LEN];
        head().emit::<PortableCrc32c>(&mut page);
        assert_eq!(page[4..8], *b"TDC2");
        assert_eq!(page[8..24], [1; 16]);
        assert_eq!(page[24..40], [2; 16]);
        assert_eq!(page[40..56], [4; 16]);
        assert_eq!(page[56..64], [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(page[64..72], (-2i64).to_be_bytes());
        assert_eq!(page[72..80], [0, 0, 0, 3, 1, 1, 0, 0]);
        assert_eq!(page[80..88], 99u64.to_be_bytes());
        assert_eq!((page[95], page[103], page[111], page[119]), (1, 2, 3, 4));
        assert_eq!((page[120], page[184], page[248], page[312], page[328]), (5, 6, 7, 8, 0));
        assert_eq!(page[384..404], [0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 40, 0, 0, 0, 9]);
        assert_eq!(page[384 + TREE_LEN + 3], 15);
        assert_eq!(page[384 + 3 * TREE_LEN..], [0; 640 - 3 * TREE_LEN]);
        assert_eq!(parse(&page), Found::Head(head()));
    }

    #[test]
    fn what_is_no_head_and_what_is_a_damaged_one() {
        assert_eq!(parse(&[0; PAGE_LEN]), Found::Nothing);
        assert_eq!(parse(&[0xff; PAGE_LEN]), Found::Nothing);
        let mut good = [0; PAGE_LEN];
        head().emit::<PortableCrc32c>(&mut good);
        for bit in 0..8 * PAGE_LEN {
            let mut page = good;
            page[bit / 8] ^= 1 << (bit % 8);
            let expected = if (32..56).contains(&bit) { Found::Nothing } else { Found::Damaged };
            assert_eq!(parse(&page), expected, "bit {bit}");
        }
        let changed = |at: usize, byte: u8| {
            let mut page = good;
            page[at] = byte;
            let checksum = PortableCrc32c::update(0, &page[4..]);
            page[..4].copy_from_slice(&checksum.to_be_bytes());
            parse(&page)
        };
        assert_eq!(changed(7, b'1'), Found::Version(b'1'));
        assert_eq!(changed(75, 32), Found::Damaged, "no such level");
        assert_eq!(changed(387, 3), Found::Damaged, "a tree beyond the region");
        assert_eq!(changed(384, 255), Found::Damaged, "a tree far beyond the region");
        assert_eq!(changed(411, 2), Found::Damaged, "two pages at the top");
        assert_eq!(changed(407, 0), Found::Damaged, "a level is missing");
        assert_eq!(changed(388, 0x80), Found::Damaged, "leaves marked as an index");
    }
}
