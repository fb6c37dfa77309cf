//! The tree at the newest point of a chain of dumps, out of their catalogs, none of which is loaded into memory.

use crate::checksum::{Crc32c, PortableCrc32c};
use crate::device::block::BlockDevice;
use crate::limits::CHAIN_LEN_MAX;
use crate::units::Ino;

use super::error::CatalogError;
use super::query::{Catalog, LinkCursor, MapCursor, NameCursor, TapeCursor, names_in, prepend};
use super::row::{NameRow, ObjectRow, WhichMap};

/// A place among the names of a directory of a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ViewCursor {
    dump: usize,
    cursor: NameCursor,
}

/// A place among the names of an object of a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ViewLinkCursor {
    dump: usize,
    ino: Ino,
    cursor: LinkCursor,
}

/// A place among the objects that a restore takes from one dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestoreCursor {
    dump: usize,
    cursor: TapeCursor,
    /// For each dump of a chain: from which number on up to which none is in its map, that one excluded.
    without: [Range; CHAIN_LEN_MAX],
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Range {
    from: u32,
    to: u32,
}

/// A chain's tree: the catalogs of a level 0 dump and of those increments after it that lead to the point wanted, from
/// the oldest to the newest. With fewer of them, from the oldest on, it is the tree at an earlier point.
///
/// What exists is what was in use at the time of the newest dump. The names in a directory are those of the newest dump
/// that holds the directory, and an object is as it is on the newest dump that holds it.
#[derive(Debug)]
pub struct View<'v, 'm, D, C = PortableCrc32c> {
    catalogs: &'v mut [Catalog<'m, D, C>],
    in_use: MapCursor,
}

type Answer<T, D> = Result<T, CatalogError<<D as BlockDevice>::Error>>;

impl<'v, 'm, D: BlockDevice, C: Crc32c> View<'v, 'm, D, C> {
    /// The tree that these catalogs tell of, of which there are at most [`CHAIN_LEN_MAX`].
    #[must_use]
    pub const fn new(catalogs: &'v mut [Catalog<'m, D, C>]) -> Self {
        Self { catalogs, in_use: MapCursor::new(WhichMap::InUse) }
    }

    /// How many dumps there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.catalogs.len()
    }

    /// There is no dump at all.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.catalogs.is_empty()
    }

    /// The catalog of one dump, counted from the oldest.
    pub fn catalog(&mut self, dump: usize) -> Option<&mut Catalog<'m, D, C>> {
        self.catalogs.get_mut(dump)
    }

    /// Whether the object exists.
    ///
    /// # Errors
    /// A page is damaged, or the device failed.
    pub fn exists(&mut self, ino: Ino) -> Answer<bool, D> {
        match self.catalogs.last_mut() {
            Some(newest) => newest.contains(&mut self.in_use, ino),
            None => Ok(false),
        }
    }

    /// The newest dump that holds the object, and its row there. `None`: it does not exist, or no dump holds it.
    ///
    /// # Errors
    /// A page is damaged, or the device failed.
    pub fn newest(&mut self, ino: Ino) -> Answer<Option<(usize, ObjectRow)>, D> {
        if !self.exists(ino)? {
            return Ok(None);
        }
        self.newest_of_any(ino)
    }

    /// As [`newest`](Self::newest), of an object that exists.
    fn newest_of_any(&mut self, ino: Ino) -> Answer<Option<(usize, ObjectRow)>, D> {
        for (dump, catalog) in self.catalogs.iter_mut().enumerate().rev() {
            if let Some(row) = catalog.object(ino)?.filter(ObjectRow::is_on_tape) {
                return Ok(Some((dump, row)));
            }
        }
        Ok(None)
    }

    /// The object of a path from the root on: names with `/` between them.
    ///
    /// # Errors
    /// A page is damaged, or the device failed.
    pub fn look_up(&mut self, path: &[u8]) -> Answer<Option<Ino>, D> {
        let mut ino = Ino::ROOT;
        for name in names_in(path) {
            match self.child(ino, name)? {
                Some(child) => ino = child,
                None => return Ok(None),
            }
        }
        Ok(Some(ino).filter(|_| !self.catalogs.is_empty()))
    }

    /// The object of a name in a directory.
    ///
    /// # Errors
    /// A page is damaged, or the device failed.
    pub fn child(&mut self, directory: Ino, name: &[u8]) -> Answer<Option<Ino>, D> {
        let Some(dump) = self.holder(directory)? else { return Ok(None) };
        let Some(catalog) = self.catalogs.get_mut(dump) else { return Ok(None) };
        let Some(ino) = catalog.child(directory, name)?.map(|row| row.ino) else { return Ok(None) };
        Ok(if self.exists(ino)? { Some(ino) } else { None })
    }

    /// The place before the first name of a directory that is `from` or above. `None`: there is no such directory.
    ///
    /// # Errors
    /// A page is damaged, or the device failed.
    pub fn names_from(&mut self, directory: Ino, from: &[u8]) -> Answer<Option<ViewCursor>, D> {
        let Some(dump) = self.holder(directory)? else { return Ok(None) };
        let Some(catalog) = self.catalogs.get_mut(dump) else { return Ok(None) };
        Ok(Some(ViewCursor { dump, cursor: catalog.names_from(directory, from)? }))
    }

    /// The next name of the directory, in the order of their bytes; only names of what exists.
    ///
    /// # Errors
    /// A page is damaged, or the device failed.
    pub fn next_name(&mut self, cursor: &mut ViewCursor) -> Answer<Option<NameRow<'_>>, D> {
        loop {
            let before = cursor.cursor;
            let Some(catalog) = self.catalogs.get_mut(cursor.dump) else { return Ok(None) };
            let Some(ino) = catalog.next_name(&mut cursor.cursor)?.map(|row| row.ino) else {
                return Ok(None);
            };
            if self.exists(ino)? {
                let Some(catalog) = self.catalogs.get_mut(cursor.dump) else { return Ok(None) };
                let mut again = before;
                return catalog.next_name(&mut again);
            }
        }
    }

    /// The path of an object that exists, as [`Catalog::path_of`].
    ///
    /// # Errors
    /// [`CatalogError::PathTooLong`], a page is damaged, or the device failed.
    pub fn path_of<'p>(&mut self, ino: Ino, room: &'p mut [u8]) -> Answer<Option<&'p [u8]>, D> {
        let mut from = room.len();
        let mut ino = ino;
        while ino != Ino::ROOT {
            let Some((parent, start)) = self.prepend_name(ino, room, from)? else { return Ok(None) };
            (ino, from) = (parent, start);
        }
        Ok(Some(room.get(from..).unwrap_or_default()))
    }

    /// The place before the first object that a restore takes from one dump.
    ///
    /// # Errors
    /// A page is damaged, or the device failed.
    pub fn first_to_restore(&mut self, dump: usize) -> Answer<Option<RestoreCursor>, D> {
        let Some(catalog) = self.catalogs.get_mut(dump) else { return Ok(None) };
        let cursor = catalog.first_on_tape()?;
        Ok(Some(RestoreCursor { dump, cursor, without: [Range::default(); CHAIN_LEN_MAX] }))
    }

    /// The next object that a restore takes from the dump, in the order in which they are on its tapes: it exists, and
    /// no later dump of the chain holds it.
    ///
    /// # Errors
    /// A page is damaged, or the device failed.
    pub fn next_to_restore(&mut self, cursor: &mut RestoreCursor) -> Answer<Option<ObjectRow>, D> {
        loop {
            let Some(catalog) = self.catalogs.get_mut(cursor.dump) else { return Ok(None) };
            let Some(row) = catalog.next_on_tape(&mut cursor.cursor)? else { return Ok(None) };
            if self.exists(row.ino)? && !self.is_superseded(cursor, row.ino)? {
                return Ok(Some(row));
            }
        }
    }

    /// Whether a later dump holds the object. Numbers come almost in ascending order, so that its map need not be looked
    /// at for most.
    fn is_superseded(&mut self, cursor: &mut RestoreCursor, ino: Ino) -> Answer<bool, D> {
        let later = self.catalogs.iter_mut().zip(&mut cursor.without).skip(cursor.dump.saturating_add(1));
        for (catalog, without) in later {
            if (without.from..without.to).contains(&ino.0) {
                continue;
            }
            let next = catalog.next_in_map(WhichMap::OnTape, ino)?;
            if next != Some(ino) {
                *without = Range { from: ino.0, to: next.map_or(u32::MAX, |next| next.0) };
            } else if catalog.object(ino)?.is_some_and(|row| row.is_on_tape()) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The newest dump that holds the directory.
    fn holder(&mut self, directory: Ino) -> Answer<Option<usize>, D> {
        let newest = self.newest(directory)?;
        Ok(newest.filter(|(_, row)| row.is_directory).map(|(dump, _)| dump))
    }

    /// The place before the first name of an object.
    ///
    /// # Errors
    /// A page is damaged, or the device failed.
    pub fn names_of(&mut self, ino: Ino) -> Answer<Option<ViewLinkCursor>, D> {
        self.names_in_dump(ino, self.catalogs.len())
    }

    /// As [`names_of`](Self::names_of), in the newest dump before one.
    fn names_in_dump(&mut self, ino: Ino, before: usize) -> Answer<Option<ViewLinkCursor>, D> {
        let Some(dump) = before.checked_sub(1) else { return Ok(None) };
        let Some(catalog) = self.catalogs.get_mut(dump) else { return Ok(None) };
        let cursor = catalog.names_of(ino)?;
        Ok(Some(ViewLinkCursor { dump, ino, cursor }))
    }

    /// The next name of the object, with the directory that it is in.
    ///
    /// # Errors
    /// A page is damaged, or the device failed.
    pub fn next_name_of(&mut self, cursor: &mut ViewLinkCursor) -> Answer<Option<NameRow<'_>>, D> {
        loop {
            let (dump, before) = (cursor.dump, cursor.cursor);
            let Some(catalog) = self.catalogs.get_mut(dump) else { return Ok(None) };
            let Some(parent) = catalog.next_name_of(&mut cursor.cursor)?.map(|row| row.parent) else {
                match self.names_in_dump(cursor.ino, dump)? {
                    Some(older) => *cursor = older,
                    None => return Ok(None),
                }
                continue;
            };
            // A name that a directory had in an earlier dump than the newest that holds it is none any more.
            if self.holder(parent)? == Some(dump) {
                let Some(catalog) = self.catalogs.get_mut(dump) else { return Ok(None) };
                let mut again = before;
                return catalog.next_name_of(&mut again);
            }
        }
    }

    /// Puts a name of the object before what is in `room` from `from` on; gives its directory, and where it begins.
    fn prepend_name(&mut self, ino: Ino, room: &mut [u8], from: usize) -> Answer<Option<(Ino, usize)>, D> {
        if !self.exists(ino)? {
            return Ok(None);
        }
        let Some(mut cursor) = self.names_of(ino)? else { return Ok(None) };
        let Some(row) = self.next_name_of(&mut cursor)? else { return Ok(None) };
        let start = prepend(room, from, row.name).ok_or(CatalogError::PathTooLong)?;
        Ok(Some((row.parent, start)))
    }
}
