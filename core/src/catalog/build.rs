//! Making the catalog of one dump while it streams to tape, or while its tapes are read.

use core::ops::Range;

use zerocopy::byteorder::{BE, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::checksum::{Crc32c, PortableCrc32c};
use crate::device::block::BlockDevice;
use crate::limits::{NAME_LEN_MAX, PAGE_LEN};
use crate::record::{get_u64, put_u64};
use crate::units::{BlockAddr, Ino, StreamBlock, TapeNo};

use super::error::CatalogError;
use super::page::{PageAt, Region, entries_of};
use super::query::Catalog;
use super::row::{
    NameRow, OBJECT_LEN_MAX, ObjectRow, PIECE_INOS, PIECE_LEN, Row, WhichMap, apart_key, apart_value,
    link_key, name_key, name_value, object_key, object_value, piece_key, position_key, tape_key,
};
use super::sort::{SuspendedTable, TableBuilder, run_len};
use super::superblock::{CatalogFigures, CatalogIdentity, HEADS, Head};
use super::tree::{LEVELS_MAX, Tree};

/// The least memory a catalog is made in.
pub const CATALOG_MEMORY_MIN: usize = 8 * PAGE_LEN;

/// Longest row of an object: key and value.
const OBJECT_ROW_LEN: u64 = 120;
const _: () = assert!(OBJECT_ROW_LEN >= 4 + OBJECT_LEN_MAX as u64);
const PIECE_ROW_LEN: u64 = 8 + PIECE_LEN as u64;

/// How much there is to know of a dump; what a catalog of it needs follows from that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct CatalogSize {
    /// Objects, directories included.
    pub objects: u64,
    /// Names in directories.
    pub names: u64,
    /// Bytes of all names together.
    pub name_bytes: u64,
    /// Pieces of [`CatalogSize::PIECE_INOS`] numbers of either map in which there is any number.
    pub map_pieces: u64,
    /// Objects whose properties stand apart from them.
    pub apart: u64,
    /// Tapes.
    pub tapes: u64,
}

impl CatalogSize {
    /// Object numbers that one piece of a map is for.
    pub const PIECE_INOS: u32 = PIECE_INOS;

    /// Bytes on the device that suffice to make the catalog in `memory_len` bytes of memory, in whatever order it is
    /// told. In the order of a tape, and with rows of usual length, much less is used: [`CatalogFigures::len`] tells.
    #[must_use]
    pub fn len_max(&self, memory_len: usize) -> u64 {
        let Self { objects, names, name_bytes, map_pieces, apart, tapes } = *self;
        let entries = [names, map_pieces, apart, tapes].into_iter().fold(objects, u64::saturating_add);
        let bytes = (objects.saturating_mul(OBJECT_ROW_LEN))
            .saturating_add(names.saturating_mul(4 + 5))
            .saturating_add(name_bytes)
            .saturating_add(map_pieces.saturating_mul(PIECE_ROW_LEN))
            .saturating_add(apart.saturating_mul(8 + 12))
            .saturating_add(tapes.saturating_mul(16));
        let main = run_len(entries, bytes, memory_len);
        let memory_len = sorting_len(memory_len);
        let links = run_len(names, names.saturating_mul(8), memory_len);
        let positions = run_len(objects, objects.saturating_mul(12), memory_len);
        // Sorting takes the room of two runs, an index that of half of one and a page for each level.
        let heads = (u64::from(HEADS) + 3 * LEVELS_MAX as u64) * PAGE_LEN as u64;
        let runs = main.saturating_add(links).saturating_add(positions);
        runs.saturating_mul(2).saturating_add(positions / 2).saturating_add(heads)
    }
}

/// Where the making of a catalog stands, to go on with it after a loss of power: 100 bytes as they are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct SuspendedCatalog {
    table: SuspendedTable,
    /// The fields of [`CatalogSize`], in their order.
    size: [U64<BE>; 6],
    directories: U64<BE>,
    /// All ones: stage V has not begun.
    attributes_from: U64<BE>,
}

const _: () = assert!(size_of::<SuspendedCatalog>() == 100);

impl SuspendedCatalog {
    /// As it is stored.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.as_bytes()
    }

    /// As it was stored; `None`: these bytes are none.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Self::read_from_bytes(bytes).ok()
    }
}

/// Of the memory: what links and positions are sorted in, while the main tree is read through the rest.
const fn sorting_len(memory_len: usize) -> usize {
    memory_len - memory_len / (4 * PAGE_LEN) * PAGE_LEN
}

/// Makes the catalog of one dump, beneath the memory lent and no more.
///
/// What it is told may come in any order. In that of a tape it is cheapest: maps, directories in ascending order with
/// all their names, other objects in ascending order. Nothing of the catalog counts before [`finish`](Self::finish) has
/// returned; a catalog that was in its place before is gone from [`new`](Self::new) on.
#[derive(Debug)]
pub struct CatalogWriter<'m, D, C = PortableCrc32c> {
    device: D,
    region: Region,
    memory_len: usize,
    builder: TableBuilder<'m, C>,
    identity: CatalogIdentity,
    attributes_from: Option<StreamBlock>,
    size: CatalogSize,
    directories: u64,
}

type Done<D> = Result<(), CatalogError<<D as BlockDevice>::Error>>;

impl<'m, D: BlockDevice, C: Crc32c> CatalogWriter<'m, D, C> {
    /// A catalog on the bytes `region` of the device, of which it uses whole pages of [`PAGE_LEN`] bytes.
    ///
    /// # Errors
    /// Memory or device are too small for any catalog, or the device failed.
    pub fn new(
        mut device: D,
        region: Range<u64>,
        memory: &'m mut [u8],
        identity: CatalogIdentity,
    ) -> Result<Self, CatalogError<D::Error>> {
        let memory_len = memory.len();
        let region = Region::new(region.start, region.end.min(device.capacity()), identity.salt::<C>());
        let too_small = CatalogError::MemoryTooSmall { needed: CATALOG_MEMORY_MIN };
        if memory_len < CATALOG_MEMORY_MIN {
            return Err(too_small);
        }
        let size = CatalogSize::default();
        if region.pages <= HEADS {
            return Err(CatalogError::DeviceTooSmall { needed: size.len_max(memory_len) });
        }
        let builder = TableBuilder::on_region(region.rest(HEADS), memory).ok_or(too_small)?;
        // One after the other: as long as a head of an earlier catalog is there, so is all of that catalog.
        for page in 0..HEADS {
            write_head(&mut device, region, page, &[[0; PAGE_LEN]])?;
        }
        let (attributes_from, directories) = (None, 0);
        Ok(Self { device, region, memory_len, builder, identity, attributes_from, size, directories })
    }

    /// Takes a piece of a map, as it stands on tape: the bytes from `at` on, which is a multiple of 128.
    ///
    /// # Errors
    /// The device is too small, or failed.
    pub fn map(&mut self, which: WhichMap, at: u32, bytes: &[u8]) -> Done<D> {
        for (number, piece) in (at / PIECE_LEN as u32..).zip(bytes.chunks(PIECE_LEN)) {
            let first = number.saturating_mul(PIECE_INOS).saturating_add(1);
            if first > Ino::LAST.0 {
                break;
            }
            if piece.iter().all(|byte| *byte == 0) {
                continue;
            }
            let mut whole = [0; PIECE_LEN];
            whole.iter_mut().zip(piece).for_each(|(to, from)| *to = *from);
            self.size.map_pieces += 1;
            self.push(piece_key(which, Ino(first)).get(), &whole)?;
        }
        Ok(())
    }

    /// Takes a name; `.` and `..` are none.
    ///
    /// # Errors
    /// The name or a number is none that can be, the device is too small, or failed.
    pub fn name(&mut self, row: NameRow<'_>) -> Done<D> {
        let len = row.name.len();
        if len == 0 || len > NAME_LEN_MAX {
            return Err(CatalogError::BadName { len });
        }
        for ino in [row.parent, row.ino] {
            self.check_number(ino)?;
        }
        self.size.names += 1;
        self.size.name_bytes += len as u64;
        self.push(name_key(row.parent, row.name).get(), name_value(row.ino, row.kind).get())
    }

    /// Takes an object, when all is known of it.
    ///
    /// # Errors
    /// The number is none that can be, the device is too small, or failed.
    pub fn object(&mut self, row: &ObjectRow) -> Done<D> {
        self.check_number(row.ino)?;
        self.size.objects += 1;
        self.directories += u64::from(row.is_directory);
        self.push(&object_key(row.ino, row.is_directory), object_value(row).get())
    }

    /// The properties of an object stand apart from it, in stage V, with a header of their own here.
    ///
    /// # Errors
    /// The number is none that can be, the device is too small, or failed.
    pub fn apart(&mut self, ino: Ino, place: StreamBlock) -> Done<D> {
        self.check_number(ino)?;
        self.size.apart += 1;
        self.push(apart_key(ino).get(), &apart_value(place))
    }

    /// A tape begins with this block of the dump.
    ///
    /// # Errors
    /// The device is too small, or failed.
    pub fn tape(&mut self, tape: TapeNo, first: BlockAddr) -> Done<D> {
        self.size.tapes += 1;
        self.push(tape_key(tape).get(), &first.0.to_be_bytes())
    }

    /// Stage V begins with this block.
    pub const fn attributes(&mut self, from: StreamBlock) {
        self.attributes_from = Some(from);
    }

    /// How much the catalog was told so far.
    #[must_use]
    pub const fn size(&self) -> CatalogSize {
        self.size
    }

    /// Makes all that it was told durable on the device, and tells how to go on from here, in whatever catalog is
    /// [`resumed`](Self::resumed) from it. This one goes on, too.
    ///
    /// # Errors
    /// The device is too small, or failed.
    pub fn suspend(&mut self) -> Result<SuspendedCatalog, CatalogError<D::Error>> {
        let needed = self.size.len_max(self.memory_len);
        let table =
            self.builder.suspend(&mut self.device).map_err(|error| CatalogError::of(error, HEADS, needed))?;
        let at = self.region.byte(PageAt::new(0));
        self.device.flush().map_err(|source| CatalogError::Device { at, source })?;
        let CatalogSize { objects, names, name_bytes, map_pieces, apart, tapes } = self.size;
        let size = [objects, names, name_bytes, map_pieces, apart, tapes];
        Ok(SuspendedCatalog {
            table,
            size: size.map(put_u64),
            directories: put_u64(self.directories),
            attributes_from: put_u64(self.attributes_from.map_or(u64::MAX, |block| block.0)),
        })
    }

    /// The catalog that was suspended on these bytes of the device, to be told what comes next. The memory may have
    /// another length.
    ///
    /// # Errors
    /// Memory or device are too small, or it was not suspended there.
    pub fn resumed(
        device: D,
        region: Range<u64>,
        memory: &'m mut [u8],
        identity: CatalogIdentity,
        at: &SuspendedCatalog,
    ) -> Result<Self, CatalogError<D::Error>> {
        let memory_len = memory.len();
        let region = Region::new(region.start, region.end.min(device.capacity()), identity.salt::<C>());
        if memory_len < CATALOG_MEMORY_MIN {
            return Err(CatalogError::MemoryTooSmall { needed: CATALOG_MEMORY_MIN });
        }
        let [objects, names, name_bytes, map_pieces, apart, tapes] = at.size.each_ref().map(get_u64);
        let size = CatalogSize { objects, names, name_bytes, map_pieces, apart, tapes };
        let directories = get_u64(&at.directories);
        let counts = [objects, names, name_bytes, map_pieces, apart, tapes];
        // No device holds more, and no count comes near an overflow.
        if directories > objects || counts.iter().any(|count| *count >= 1 << 48) {
            return Err(CatalogError::Damaged { page: 0 });
        }
        if region.pages <= HEADS {
            return Err(CatalogError::DeviceTooSmall { needed: size.len_max(memory_len) });
        }
        let builder = TableBuilder::resumed(region.rest(HEADS), memory, &at.table)
            .ok_or(CatalogError::Damaged { page: HEADS.into() })?;
        let attributes_from =
            Some(get_u64(&at.attributes_from)).filter(|block| *block != u64::MAX).map(StreamBlock);
        Ok(Self { device, region, memory_len, builder, identity, attributes_from, size, directories })
    }

    /// The catalog is complete: makes it durable, and opens it in the same memory. What it was
    /// [`suspended`](Self::suspend) to is overwritten meanwhile: a catalog resumed from that afterwards is damaged, which its own
    /// `finish` tells. Who may have to resume it keeps a copy of the region, or makes it again from the tapes
    /// ([`crate::engine::rebuild`]).
    ///
    /// # Errors
    /// The device is too small, damaged, or failed. There is no catalog then.
    pub fn finish(self) -> Result<Catalog<'m, D, C>, CatalogError<D::Error>> {
        let needed = self.needed();
        let Self { mut device, region, builder, .. } = self;
        let entries = builder.len();
        let (run, memory) =
            builder.finish_run(&mut device).map_err(|error| CatalogError::of(error, HEADS, needed))?;
        let mut main = Tree { first: HEADS, pass: run.pass, entries, ..Tree::default() };
        main.levels[0] = run.end;
        let of_region = |error| CatalogError::of(error, 0, needed);
        main.build_index::<D, C>(region, &mut device, memory, needed).map_err(of_region)?;
        let mut trees = Trees { region, device: &mut device, memory, main: &main, needed };
        let mut last = None;
        let mut in_order = true;
        let links = trees.derive::<C, 8>(main.end(), |row, page| match row {
            Row::Name(name) => Some(link_key(name.ino, page)),
            Row::Object(row) => {
                let block = row.place;
                in_order &= block.is_none() || block >= last;
                last = block.or(last);
                None
            }
            _ => None,
        })?;
        let mut end = links.end();
        let mut positions = None;
        if !in_order {
            let tree = trees.derive::<C, 12>(end, |row, _| match row {
                Row::Object(row) => {
                    row.place.map(|place| position_key(place, object_key(row.ino, row.is_directory)))
                }
                _ => None,
            })?;
            end = tree.end();
            positions = Some(tree);
        }
        let figures = CatalogFigures {
            directories: self.directories,
            others: self.size.objects - self.directories,
            names: self.size.names,
            len: u64::from(end.unwrap_or(0)).saturating_mul(PAGE_LEN as u64),
        };
        let (identity, attributes_from) = (self.identity, self.attributes_from);
        let head = Head { identity, figures, attributes_from, main, links, positions };
        let mut pages = [[0; PAGE_LEN]];
        head.emit::<C>(&mut pages[0]);
        device.flush().map_err(|source| CatalogError::Device { at: region.byte(PageAt::new(0)), source })?;
        for page in 0..HEADS {
            write_head(&mut device, region, page, &pages)?;
        }
        Ok(Catalog::new(device, region, memory, head))
    }

    fn check_number(&self, ino: Ino) -> Done<D> {
        if ino == Ino(0) || ino > Ino::LAST { Err(CatalogError::BadNumber { ino }) } else { Ok(()) }
    }

    fn push(&mut self, key: &[u8], value: &[u8]) -> Done<D> {
        self.builder
            .push(&mut self.device, key, value)
            .map_err(|error| CatalogError::of(error, HEADS, self.size.len_max(self.memory_len)))
    }

    fn needed(&self) -> u64 {
        self.size.len_max(self.memory_len)
    }
}

fn write_head<D: BlockDevice>(
    device: &mut D,
    region: Region,
    page: u32,
    content: &[[u8; PAGE_LEN]],
) -> Done<D> {
    let at = PageAt::new(page);
    region.write(device, at, content)?;
    device.flush().map_err(|source| CatalogError::Device { at: region.byte(at), source })
}

/// What trees are made of and with, once the main one is there.
struct Trees<'t, D> {
    region: Region,
    device: &'t mut D,
    memory: &'t mut [u8],
    main: &'t Tree,
    needed: u64,
}

impl<D: BlockDevice> Trees<'_, D> {
    /// A tree from the page `from` on, of the keys that `key_of` gives for rows of the main tree and the leaves that
    /// they are in.
    fn derive<C: Crc32c, const N: usize>(
        &mut self,
        from: Option<u32>,
        mut key_of: impl FnMut(Row<'_>, u32) -> Option<[u8; N]>,
    ) -> Result<Tree, CatalogError<D::Error>> {
        let needed = self.needed;
        let from = from.ok_or(CatalogError::DeviceTooSmall { needed })?;
        let of_rest = |error| CatalogError::of(error, from, needed);
        let memory_len = self.memory.len();
        let (sorting, input) = self.memory.split_at_mut_checked(sorting_len(memory_len)).unwrap_or_default();
        let input = input.as_chunks_mut::<PAGE_LEN>().0;
        let too_small = CatalogError::MemoryTooSmall { needed: CATALOG_MEMORY_MIN };
        let mut builder = TableBuilder::<C>::on_region(self.region.rest(from), sorting).ok_or(too_small)?;
        let mut scan = self.main.scan(self.region);
        while let Some((number, page)) = scan.next::<D, C>(self.device, input)? {
            for entry in entries_of(page) {
                let row = Row::parse(entry).ok_or(self.main.damaged(self.region, number))?;
                if let Some(key) = key_of(row, number) {
                    builder.push(self.device, &key, &[]).map_err(of_rest)?;
                }
            }
        }
        let entries = builder.len();
        let (run, _) = builder.finish_run(self.device).map_err(of_rest)?;
        let mut tree = Tree { first: from, pass: run.pass, entries, ..Tree::default() };
        tree.levels[0] = run.end;
        tree.build_index::<D, C>(self.region, self.device, self.memory, needed)
            .map_err(|error| CatalogError::of(error, 0, needed))?;
        Ok(tree)
    }
}
