//! Reading the catalog of one dump: by path, by number, in the order of names and of the tape.

use core::marker::PhantomData;
use core::ops::Range;

use crate::checksum::{Crc32c, PortableCrc32c};
use crate::device::block::BlockDevice;
use crate::limits::{NAME_LEN_MAX, PAGE_LEN};
use crate::record::map::MapView;
use crate::units::{BlockAddr, Ino, StreamBlock, TapeNo};

use super::cache::PageCache;
use super::error::CatalogError;
use super::page::{Entry, PageAt, Region};
use super::row::{
    DIRECTORIES_FROM, NameRow, OTHERS_FROM, ObjectRow, PIECE_INOS, Row, TapePlace, WhichMap, apart_key,
    link_key, name_key, object_key, parse_link, parse_position, piece_key, tape_key,
};
use super::sort::MEMORY_LEN_MIN;
use super::superblock::{CatalogFigures, CatalogIdentity, Found, HEADS, Head};
use super::table::Cursor;

/// A place among the names of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameCursor {
    parent: Ino,
    cursor: Cursor,
}

/// A place among the objects of a dump, in the order in which they are on tape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TapeCursor {
    cursor: Cursor,
}

/// A place among the objects of a catalog, in the order of their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NumberCursor {
    /// Of directories and of others: the place behind the waiting one.
    cursors: [Cursor; 2],
    waiting: [Option<ObjectRow>; 2],
}

/// A place among the names of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkCursor {
    ino: Ino,
    /// Among the links.
    cursor: Cursor,
    /// Among the names of one leaf.
    at: Option<Cursor>,
    /// The leaf gone through last.
    leaf: Option<u32>,
}

/// A piece of a map, kept for the numbers next to the one asked for last.
#[derive(Clone, Debug)]
pub struct MapCursor {
    which: WhichMap,
    /// First number of the piece, and its bytes.
    first: u32,
    bytes: [u8; PIECE_INOS as usize / 8],
}

impl MapCursor {
    /// Nothing of this map yet.
    #[must_use]
    pub const fn new(which: WhichMap) -> Self {
        Self { which, first: 0, bytes: [0; PIECE_INOS as usize / 8] }
    }
}

/// The catalog of one dump. The memory lent is a cache of its pages.
#[derive(Debug)]
pub struct Catalog<'m, D, C = PortableCrc32c> {
    device: D,
    memory: &'m mut [u8],
    cache: PageCache,
    head: Head,
    crc: PhantomData<fn() -> C>,
}

type Answer<T, D> = Result<T, CatalogError<<D as BlockDevice>::Error>>;

impl<'m, D: BlockDevice, C: Crc32c> Catalog<'m, D, C> {
    /// Opens the catalog on the bytes `region` of the device, which begin where it was made.
    ///
    /// # Errors
    /// There is no catalog, it is of another version or damaged, the memory is less than [`MEMORY_LEN_MIN`], or the
    /// device failed.
    pub fn open(mut device: D, region: Range<u64>, memory: &'m mut [u8]) -> Answer<Self, D> {
        if memory.len() < MEMORY_LEN_MIN {
            return Err(CatalogError::MemoryTooSmall { needed: MEMORY_LEN_MIN });
        }
        let mut region = Region::new(region.start, region.end.min(device.capacity()), 0);
        let pages = memory.as_chunks_mut::<PAGE_LEN>().0.get_mut(..1).unwrap_or_default();
        let mut error = CatalogError::Absent;
        for number in 0..HEADS.min(region.pages) {
            let found = match region.read(&mut device, PageAt::new(number), pages) {
                Ok(()) => pages.first().map_or(Found::Nothing, |page| Head::parse::<C>(page, region.pages)),
                Err(failed) => {
                    error = failed.into();
                    continue;
                }
            };
            let seen = match found {
                Found::Head(head) => {
                    region.salt = head.identity.salt::<C>();
                    return Ok(Self::new(device, region, memory, head));
                }
                Found::Nothing => CatalogError::Absent,
                Found::Version(found) => CatalogError::Version { found },
                Found::Damaged => CatalogError::Damaged { page: number.into() },
            };
            // Half a head beside none is one that was being written, or removed, when the power failed.
            error = match (error, seen) {
                (first @ CatalogError::Damaged { .. }, CatalogError::Damaged { .. }) => first,
                (CatalogError::Damaged { .. }, seen) => seen,
                (_, seen) if number == 0 => seen,
                (first, _) => first,
            };
        }
        Err(error)
    }

    pub(super) fn new(device: D, region: Region, memory: &'m mut [u8], head: Head) -> Self {
        let cache = PageCache::new(region, memory);
        Self { device, memory, cache, head, crc: PhantomData }
    }

    /// What dump this is the catalog of.
    #[must_use]
    pub const fn identity(&self) -> &CatalogIdentity {
        &self.head.identity
    }

    /// How much is in it.
    #[must_use]
    pub const fn figures(&self) -> CatalogFigures {
        self.head.figures
    }

    /// Where stage V begins, if that was told.
    #[must_use]
    pub const fn attributes_from(&self) -> Option<StreamBlock> {
        self.head.attributes_from
    }

    /// Gives device and memory back.
    #[must_use]
    pub fn into_parts(self) -> (D, &'m mut [u8]) {
        (self.device, self.memory)
    }

    /// The device.
    pub const fn device(&mut self) -> &mut D {
        &mut self.device
    }

    /// The row of an object.
    ///
    /// # Errors
    /// A page is damaged, or the device failed.
    pub fn object(&mut self, ino: Ino) -> Answer<Option<ObjectRow>, D> {
        if ino > Ino::LAST {
            return Ok(None);
        }
        match self.object_row(object_key(ino, false))? {
            Some(row) => Ok(Some(row)),
            None => self.directory(ino),
        }
    }

    /// The row of a directory.
    ///
    /// # Errors
    /// A page is damaged, or the device failed.
    pub fn directory(&mut self, ino: Ino) -> Answer<Option<ObjectRow>, D> {
        if ino > Ino::LAST {
            return Ok(None);
        }
        self.object_row(object_key(ino, true))
    }

    /// The row of this name in a directory.
    ///
    /// # Errors
    /// A page is damaged, or the device failed.
    pub fn child(&mut self, parent: Ino, name: &[u8]) -> Answer<Option<NameRow<'_>>, D> {
        if name.is_empty() || name.len() > NAME_LEN_MAX {
            return Ok(None);
        }
        let key = name_key(parent, name);
        let mut cursor = self.seek(key.get())?;
        Ok(match self.next(&mut cursor)? {
            Some((entry, Row::Name(row))) if entry.key == key.get() => Some(row),
            _ => None,
        })
    }

    /// The object of a path from the root on: names with `/` between them.
    ///
    /// # Errors
    /// A page is damaged, or the device failed.
    pub fn look_up(&mut self, path: &[u8]) -> Answer<Option<Ino>, D> {
        let mut ino = Ino::ROOT;
        for name in names_in(path) {
            match self.child(ino, name)? {
                Some(row) => ino = row.ino,
                None => return Ok(None),
            }
        }
        Ok(Some(ino))
    }

    /// The place before the first name of a directory that is `from` or above; all are above the empty one.
    ///
    /// # Errors
    /// A page is damaged, or the device failed.
    pub fn names_from(&mut self, parent: Ino, from: &[u8]) -> Answer<NameCursor, D> {
        Ok(NameCursor { parent, cursor: self.seek(name_key(parent, from).get())? })
    }

    /// The next name of the directory, in the order of their bytes.
    ///
    /// # Errors
    /// A page is damaged, or the device failed. The place stays.
    pub fn next_name(&mut self, cursor: &mut NameCursor) -> Answer<Option<NameRow<'_>>, D> {
        let mut place = cursor.cursor;
        // The row of the directory itself may come first.
        for _ in 0..2 {
            let before = place;
            match self.next(&mut place)? {
                Some((_, Row::Name(row))) if row.parent == cursor.parent => {
                    cursor.cursor = place;
                    // Asked for anew: what was found cannot be given from within a loop.
                    place = before;
                    return Ok(match self.next(&mut place)? {
                        Some((_, Row::Name(row))) => Some(row),
                        _ => None,
                    });
                }
                Some((_, Row::Object(row))) if row.is_directory && row.ino == cursor.parent => {}
                _ => return Ok(None),
            }
        }
        Ok(None)
    }

    /// The place before the first object on tape.
    ///
    /// # Errors
    /// A page is damaged, or the device failed.
    pub fn first_on_tape(&mut self) -> Answer<TapeCursor, D> {
        let cursor =
            if self.head.positions.is_some() { Cursor::START } else { self.seek(&DIRECTORIES_FROM)? };
        Ok(TapeCursor { cursor })
    }

    /// The next object on tape, in the order of their places there.
    ///
    /// # Errors
    /// A page is damaged, or the device failed. The place stays.
    pub fn next_on_tape(&mut self, cursor: &mut TapeCursor) -> Answer<Option<ObjectRow>, D> {
        loop {
            let mut place = cursor.cursor;
            let row = if self.head.positions.is_some() {
                let Some(key) = self.next_position(&mut place)? else { return Ok(None) };
                self.object_row(key)?
            } else {
                match self.next(&mut place)? {
                    Some((_, Row::Object(row))) => Some(row),
                    Some(_) => None,
                    None => return Ok(None),
                }
            };
            cursor.cursor = place;
            if let Some(row) = row.filter(ObjectRow::is_on_tape) {
                return Ok(Some(row));
            }
        }
    }

    /// The place before the first object.
    ///
    /// # Errors
    /// A page is damaged, or the device failed.
    pub fn first_by_number(&mut self) -> Answer<NumberCursor, D> {
        let mut cursors = [self.seek(&DIRECTORIES_FROM)?, self.seek(&OTHERS_FROM)?];
        let mut waiting = [None; 2];
        for (cursor, row) in cursors.iter_mut().zip(&mut waiting) {
            *row = self.next_object(cursor)?;
        }
        // Behind the directories come the others.
        waiting[0] = waiting[0].filter(|row| row.is_directory);
        Ok(NumberCursor { cursors, waiting })
    }

    /// The next object, in the order of their numbers, on tape or not.
    ///
    /// # Errors
    /// A page is damaged, or the device failed. The place stays.
    pub fn next_by_number(&mut self, cursor: &mut NumberCursor) -> Answer<Option<ObjectRow>, D> {
        let [directory, other] = cursor.waiting;
        let takes_directory = match (directory, other) {
            (Some(directory), Some(other)) => directory.ino <= other.ino,
            (directory, _) => directory.is_some(),
        };
        let [of_directories, of_others] = &mut cursor.cursors;
        if takes_directory {
            cursor.waiting[0] = self.next_object(of_directories)?.filter(|row| row.is_directory);
            Ok(directory)
        } else {
            cursor.waiting[1] = self.next_object(of_others)?;
            Ok(other)
        }
    }

    /// The place before the first name of an object.
    ///
    /// # Errors
    /// A page is damaged, or the device failed.
    pub fn names_of(&mut self, ino: Ino) -> Answer<LinkCursor, D> {
        let Self { device, memory, cache, head, .. } = self;
        let cursor = head.links.seek::<D, C>(cache, device, memory, &link_key(ino, 0))?;
        Ok(LinkCursor { ino, cursor, at: None, leaf: None })
    }

    /// The next name of the object, with the directory that it is in.
    ///
    /// # Errors
    /// A page is damaged, or the device failed.
    pub fn next_name_of(&mut self, cursor: &mut LinkCursor) -> Answer<Option<NameRow<'_>>, D> {
        loop {
            let mut place = match cursor.at {
                Some(place) if Some(place.page) == cursor.leaf => place,
                _ => {
                    let Some(leaf) = self.next_leaf_of(cursor)? else { return Ok(None) };
                    cursor.leaf = Some(leaf);
                    Cursor { page: leaf, at: 0 }
                }
            };
            let before = place;
            let found = match self.next(&mut place)? {
                Some((_, Row::Name(row))) => row.ino == cursor.ino,
                _ => false,
            };
            cursor.at = Some(place);
            if found {
                let mut place = before;
                return Ok(match self.next(&mut place)? {
                    Some((_, Row::Name(row))) => Some(row),
                    _ => None,
                });
            }
        }
    }

    /// The path of an object from the root on, by the first of its names, at the end of `room`; without a `/` at its
    /// front, and empty for the root. `None`: it has no name, or a directory above it has none.
    ///
    /// # Errors
    /// [`CatalogError::PathTooLong`], a page is damaged, or the device failed.
    pub fn path_of<'p>(&mut self, ino: Ino, room: &'p mut [u8]) -> Answer<Option<&'p [u8]>, D> {
        let mut from = room.len();
        let mut ino = ino;
        while ino != Ino::ROOT {
            let mut cursor = self.names_of(ino)?;
            let Some(row) = self.next_name_of(&mut cursor)? else { return Ok(None) };
            from = prepend(room, from, row.name).ok_or(CatalogError::PathTooLong)?;
            ino = row.parent;
        }
        Ok(Some(room.get(from..).unwrap_or_default()))
    }

    /// Whether a number is in a map of the dump.
    ///
    /// # Errors
    /// A page is damaged, or the device failed.
    pub fn contains(&mut self, cursor: &mut MapCursor, ino: Ino) -> Answer<bool, D> {
        let within = ino.0.checked_sub(cursor.first).filter(|_| cursor.first > 0 && ino.0 > 0);
        let within = match within.filter(|within| *within < PIECE_INOS) {
            Some(within) => within,
            None if ino == Ino(0) => return Ok(false),
            None => {
                let within = (ino.0 - 1) % PIECE_INOS;
                let key = piece_key(cursor.which, ino);
                let mut place = self.seek(key.get())?;
                let mut bytes = [0; PIECE_INOS as usize / 8];
                if let Some((_, Row::MapPiece { which, first, bytes: found })) = self.next(&mut place)?
                    && which == cursor.which
                    && first.0 == ino.0 - within
                {
                    bytes = *found;
                }
                cursor.first = ino.0 - within;
                cursor.bytes = bytes;
                within
            }
        };
        Ok(MapView::new(&cursor.bytes).contains(Ino(within + 1)))
    }

    /// The first number in a map that is at least `from`.
    ///
    /// # Errors
    /// A page is damaged, or the device failed.
    pub fn next_in_map(&mut self, which: WhichMap, from: Ino) -> Answer<Option<Ino>, D> {
        let from = Ino(from.0.max(1));
        let mut place = self.seek(piece_key(which, from).get())?;
        while let Some((_, Row::MapPiece { which: found, first, bytes })) = self.next(&mut place)? {
            if found != which {
                break;
            }
            let within = Ino(from.0.saturating_sub(first.0).saturating_add(1));
            if let Some(ino) = MapView::new(bytes).next_from(within) {
                return Ok(Some(Ino(first.0.saturating_add(ino.0 - 1))));
            }
        }
        Ok(None)
    }

    /// Where the properties of an object stand, if that is apart from it.
    ///
    /// # Errors
    /// A page is damaged, or the device failed.
    pub fn apart(&mut self, ino: Ino) -> Answer<Option<StreamBlock>, D> {
        let mut place = self.seek(apart_key(ino).get())?;
        Ok(match self.next(&mut place)? {
            Some((_, Row::Apart { ino: found, place })) if found == ino => Some(place),
            _ => None,
        })
    }

    /// The first tape with a number of at least `from`, and the block of the dump that it begins with.
    ///
    /// # Errors
    /// A page is damaged, or the device failed.
    pub fn next_tape(&mut self, from: TapeNo) -> Answer<Option<(TapeNo, BlockAddr)>, D> {
        let mut place = self.seek(tape_key(from).get())?;
        Ok(match self.next(&mut place)? {
            Some((_, Row::Tape { tape, first })) => Some((tape, first)),
            _ => None,
        })
    }

    /// On which tape a block is, and where. The catalog names no first tape: the dump begins on it.
    ///
    /// # Errors
    /// A page is damaged, or the device failed.
    pub fn place(&mut self, block: StreamBlock) -> Answer<TapePlace, D> {
        let mut found = TapePlace { tape: TapeNo::FIRST, block: block.on(TapeNo::FIRST) };
        let mut last = match self.next_tape(TapeNo::FIRST.next())? {
            Some(_) => u32::MAX,
            None => return Ok(found),
        };
        while found.tape.0 < last {
            let middle = TapeNo(last - (last - found.tape.0) / 2);
            match self.next_tape(middle)? {
                // The header of a further tape is no block of the stream.
                Some((tape, first)) if tape >= middle && block.on(tape) > first => {
                    found = TapePlace { tape, block: block.on(tape) };
                }
                _ => last = middle.0 - 1,
            }
        }
        Ok(found)
    }

    /// The row with this key, if it is an object's.
    fn object_row(&mut self, key: [u8; 4]) -> Answer<Option<ObjectRow>, D> {
        let mut cursor = self.seek(&key)?;
        Ok(match self.next(&mut cursor)? {
            Some((entry, Row::Object(row))) if entry.key == key => Some(row),
            _ => None,
        })
    }

    /// The next row that is an object's.
    fn next_object(&mut self, cursor: &mut Cursor) -> Answer<Option<ObjectRow>, D> {
        while let Some((_, row)) = self.next(cursor)? {
            if let Row::Object(row) = row {
                return Ok(Some(row));
            }
        }
        Ok(None)
    }

    fn seek(&mut self, key: &[u8]) -> Answer<Cursor, D> {
        let Self { device, memory, cache, head, .. } = self;
        Ok(head.main.seek::<D, C>(cache, device, memory, key)?)
    }

    /// The row behind a place in the main tree, which moves on.
    fn next(&mut self, cursor: &mut Cursor) -> Answer<Option<(Entry<'_>, Row<'_>)>, D> {
        let Self { device, memory, cache, head, .. } = self;
        let damaged = head.main.damaged(cache.region(), cursor.page);
        let mut moved = *cursor;
        let Some(entry) = head.main.next::<D, C>(cache, device, memory, &mut moved)? else {
            return Ok(None);
        };
        let row = Row::parse(entry).ok_or(damaged)?;
        *cursor = moved;
        Ok(Some((entry, row)))
    }

    /// The key of the row behind a place among the positions, which moves on.
    fn next_position(&mut self, cursor: &mut Cursor) -> Answer<Option<[u8; 4]>, D> {
        let Self { device, memory, cache, head, .. } = self;
        let Some(tree) = &head.positions else { return Ok(None) };
        let damaged = tree.damaged(cache.region(), cursor.page);
        let Some(entry) = tree.next::<D, C>(cache, device, memory, cursor)? else { return Ok(None) };
        Ok(Some(parse_position(entry).ok_or(damaged)?))
    }

    /// The next leaf of the main tree in which the object has a name.
    fn next_leaf_of(&mut self, of: &mut LinkCursor) -> Answer<Option<u32>, D> {
        let Self { device, memory, cache, head, .. } = self;
        loop {
            let damaged = head.links.damaged(cache.region(), of.cursor.page);
            let mut moved = of.cursor;
            let Some(entry) = head.links.next::<D, C>(cache, device, memory, &mut moved)? else {
                return Ok(None);
            };
            // A leaf that is not there would never be gone through to its end.
            let link = parse_link(entry).filter(|(_, leaf)| *leaf < head.main.levels[0]);
            let (ino, leaf) = link.ok_or(damaged)?;
            if ino != of.ino {
                return Ok(None);
            }
            of.cursor = moved;
            if of.leaf != Some(leaf) {
                return Ok(Some(leaf));
            }
        }
    }
}

/// The names of a path.
pub(super) fn names_in(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".")
}

/// Puts a name before what is in `room` from `from` on; gives where it begins.
pub(super) fn prepend(room: &mut [u8], from: usize, name: &[u8]) -> Option<usize> {
    let mut end = from;
    if end < room.len() {
        end = end.checked_sub(1)?;
        *room.get_mut(end)? = b'/';
    }
    let start = end.checked_sub(name.len())?;
    room.get_mut(start..end)?.copy_from_slice(name);
    Some(start)
}
