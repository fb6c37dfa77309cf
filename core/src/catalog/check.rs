//! Checking the pages of a catalog one by one, in any order: while they are copied, or where they lie.

use crate::checksum::Crc32c;
use crate::limits::PAGE_LEN;

use super::page::{PageHeader, entries_of};
use super::row::Row;
use super::superblock::{CatalogFigures, CatalogIdentity, Found, HEADS, Head};

/// What tells a page of a catalog from one that is damaged, or of another catalog.
#[derive(Clone, Copy, Debug)]
pub struct PageCheck {
    head: Head,
    salt: u32,
}

impl PageCheck {
    /// By the first page of a catalog that has `pages` of them. `None`: it is no genuine head of such a catalog.
    #[must_use]
    pub fn new<C: Crc32c>(first: &[u8; PAGE_LEN], pages: u32) -> Option<Self> {
        let Found::Head(head) = Head::parse::<C>(first, pages) else { return None };
        let whole = head.figures.len == u64::from(pages).saturating_mul(PAGE_LEN as u64);
        let salt = head.identity.salt::<C>();
        whole.then_some(Self { head, salt })
    }

    /// What dump the catalog is of.
    #[must_use]
    pub const fn identity(&self) -> &CatalogIdentity {
        &self.head.identity
    }

    /// How much is in it.
    #[must_use]
    pub const fn figures(&self) -> CatalogFigures {
        self.head.figures
    }

    /// Whether this is the page of that number, as it was written.
    #[must_use]
    pub fn is_genuine<C: Crc32c>(&self, number: u32, page: &[u8; PAGE_LEN]) -> bool {
        if number < HEADS {
            return Head::parse::<C>(page, u32::MAX) == Found::Head(self.head);
        }
        let trees = [Some(self.head.main), Some(self.head.links), self.head.positions];
        let place = trees.iter().zip(0..).find_map(|(tree, index)| {
            tree.and_then(|tree| tree.expected_at(number)).map(|expected| (index, expected))
        });
        let Some((tree, expected)) = place else { return false };
        let header = PageHeader::parse::<C>(self.salt, page);
        let fits = header.is_some_and(|found| found.number == expected.number && found.pass == expected.pass);
        let is_leaf = self.head.main.pass == expected.pass;
        fits && (tree > 0 || !is_leaf || entries_of(page).all(|entry| Row::parse(entry).is_some()))
    }
}
