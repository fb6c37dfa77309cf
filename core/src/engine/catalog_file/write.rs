//! Writing the catalog of a dump behind it.

use core::marker::PhantomData;

use crate::checksum::Crc32c;
use crate::device::block::BlockDevice;
use crate::device::tape::{TapeDevice, TapeWrite};
use crate::record::catalog_file::CatalogFileHead;
use crate::record::dialect::Dialect;
use crate::record::extension::{Extension, extension_flags};
use crate::record::header::{Header, HeaderKind, HeaderTemplate, TapeBlock, flags, set_extension_flags};
use crate::record::holes::Holes;
use crate::units::{BlockAddr, TAPE_BLOCK_LEN};

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum CatalogWriteStep {
    /// A record was written.
    Working,
    /// The catalog and the filemark behind it are durable on the tape.
    Done,
}

/// Why there is no catalog on the tape. What of it was written is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum CatalogWriteError<T, A, D> {
    /// The tape failed.
    Tape(T),
    /// The tape is full.
    EndOfMedium,
    /// The device with the archive failed.
    Archive(A),
    /// The device with the catalog failed.
    Catalog(D),
    /// What should become the archive does not begin with a tape header of this engine, or no header follows it.
    BadArchive,
    /// The record lent is not as long as the head says.
    RecordTooShort {
        /// Bytes needed.
        needed: usize,
    },
}

/// Makes an archive of the beginning of a dump: `archive` holds, from byte 0 on, the `blocks` blocks of the dump before its
/// first header that is none of a directory, and that header. Gives the length of the archive in blocks.
///
/// # Errors
/// These are no such blocks, or the device failed.
pub fn seal_archive<A: BlockDevice, C: Crc32c>(
    archive: &mut A,
    blocks: u64,
) -> Result<u64, CatalogWriteError<core::convert::Infallible, A::Error, core::convert::Infallible>> {
    let mut first: TapeBlock = [0; TAPE_BLOCK_LEN];
    let mut last: TapeBlock = [0; TAPE_BLOCK_LEN];
    let end = BlockAddr(blocks);
    archive.read(0, &mut first).map_err(CatalogWriteError::Archive)?;
    archive.read(end.byte_offset(), &mut last).map_err(CatalogWriteError::Archive)?;
    let parse = |block: &TapeBlock| Header::new(block).parse::<C>(Dialect::OURS).ok();
    let (Some(tape), Some(behind)) = (parse(&first), parse(&last)) else {
        return Err(CatalogWriteError::BadArchive);
    };
    let (Some(of_tape), Some(of_behind)) = (tape.extension, behind.extension) else {
        return Err(CatalogWriteError::BadArchive);
    };
    if tape.kind != HeaderKind::Tape || of_tape.dump_id != of_behind.dump_id || behind.addr != end {
        return Err(CatalogWriteError::BadArchive);
    }
    let mut extension = Extension::new(of_tape.dump_id);
    // The header behind the last directory says what that one's blocks are: the archive's end says it instead.
    extension.preceding_crc = of_behind.preceding_crc;
    extension.flags = of_behind.flags;
    let mut header = tape;
    header.kind = HeaderKind::End;
    header.addr = end;
    header.flags = flags::NEW_INODE_FORMAT;
    header.extension = Some(extension);
    let template = HeaderTemplate::new(&Header::new(&first).names(), &Header::new(&first).label());
    template.emit::<C>(&header, &Holes::NONE, &mut last);
    set_extension_flags::<C>(&mut first, extension_flags::CATALOG);
    archive.write(end.byte_offset(), &last).map_err(CatalogWriteError::Archive)?;
    archive.write(0, &first).map_err(CatalogWriteError::Archive)?;
    Ok(blocks.saturating_add(1))
}

/// Writes the tape file with the catalog of a dump, from where the tape stands: behind the dump's filemark.
#[derive(Debug)]
pub struct CatalogFileWriter<'m, T, A, D, C> {
    tape: T,
    archive: A,
    catalog: D,
    /// Where the catalog begins on its device, in bytes.
    catalog_at: u64,
    head: TapeBlock,
    archive_blocks: u64,
    pages: u64,
    /// Blocks of the tape file, of which `next` is to be written next.
    total: u64,
    next: u64,
    record: &'m mut [u8],
    checksums: PhantomData<fn() -> C>,
}

type Done<R, T, A, D> = Result<
    R,
    CatalogWriteError<<T as TapeDevice>::Error, <A as BlockDevice>::Error, <D as BlockDevice>::Error>,
>;

impl<'m, T: TapeDevice, A: BlockDevice, D: BlockDevice, C: Crc32c> CatalogFileWriter<'m, T, A, D, C> {
    /// Of the archive that [`seal_archive`] made, and the catalog that begins at byte `catalog_at` of its device. `record` is
    /// one tape record long.
    ///
    /// # Errors
    /// The record lent is too short.
    pub fn new(
        tape: T,
        archive: A,
        catalog: D,
        catalog_at: u64,
        head: &CatalogFileHead<'_>,
        record: &'m mut [u8],
    ) -> Done<Self, T, A, D> {
        let needed = head.blocking.record_len();
        let record = record.get_mut(..needed).ok_or(CatalogWriteError::RecordTooShort { needed })?;
        let mut block = [0; TAPE_BLOCK_LEN];
        head.emit::<C>(&mut block);
        let (archive_blocks, pages) = (head.archive_blocks, head.pages);
        let least = archive_blocks.saturating_add(pages).saturating_add(2);
        let factor = u64::from(head.blocking.blocks());
        let total = least.checked_next_multiple_of(factor).unwrap_or(u64::MAX);
        Ok(Self {
            tape,
            archive,
            catalog,
            catalog_at,
            head: block,
            archive_blocks,
            pages,
            total,
            next: 0,
            record,
            checksums: PhantomData,
        })
    }

    /// Blocks written, and in all.
    #[must_use]
    pub const fn progress(&self) -> (u64, u64) {
        (self.next, self.total)
    }

    /// Gives the devices back.
    pub fn into_devices(self) -> (T, A, D) {
        (self.tape, self.archive, self.catalog)
    }

    /// Writes a record; behind the last one, the filemark.
    ///
    /// # Errors
    /// The catalog cannot be written. What is on the tape of it is not taken for one.
    pub fn step(&mut self) -> Done<CatalogWriteStep, T, A, D> {
        if self.next >= self.total {
            return match self.tape.write_filemark().map_err(CatalogWriteError::Tape)? {
                TapeWrite::Written | TapeWrite::EarlyWarning => Ok(CatalogWriteStep::Done),
                TapeWrite::EndOfMedium => Err(CatalogWriteError::EndOfMedium),
            };
        }
        self.fill()?;
        match self.tape.write(self.record).map_err(CatalogWriteError::Tape)? {
            TapeWrite::Written | TapeWrite::EarlyWarning => Ok(CatalogWriteStep::Working),
            TapeWrite::EndOfMedium => Err(CatalogWriteError::EndOfMedium),
        }
    }

    fn fill(&mut self) -> Done<(), T, A, D> {
        let head_at = self.archive_blocks;
        let pages_from = head_at.saturating_add(1);
        let pages_to = pages_from.saturating_add(self.pages);
        let mut rest = &mut *self.record;
        while !rest.is_empty() {
            let at = self.next;
            // What one piece of the file has from here on.
            let (until, piece) = match at {
                _ if at < head_at => (head_at, Piece::Archive),
                _ if at == head_at || at.saturating_add(1) == self.total => {
                    (at.saturating_add(1), Piece::Head)
                }
                _ if at < pages_to => (pages_to, Piece::Pages),
                _ => (self.total.saturating_sub(1), Piece::Nothing),
            };
            let len = usize::try_from(until.saturating_sub(at)).unwrap_or(usize::MAX);
            let len = len.saturating_mul(TAPE_BLOCK_LEN).min(rest.len());
            let Some((space, behind)) = core::mem::take(&mut rest).split_at_mut_checked(len) else { break };
            match piece {
                Piece::Archive => {
                    self.archive
                        .read(BlockAddr(at).byte_offset(), space)
                        .map_err(CatalogWriteError::Archive)?;
                }
                Piece::Pages => {
                    let page = BlockAddr(at.saturating_sub(pages_from));
                    let from = self.catalog_at.saturating_add(page.byte_offset());
                    self.catalog.read(from, space).map_err(CatalogWriteError::Catalog)?;
                }
                Piece::Head => space.iter_mut().zip(&self.head).for_each(|(to, from)| *to = *from),
                Piece::Nothing => space.fill(0),
            }
            self.next = at.saturating_add((len / TAPE_BLOCK_LEN) as u64);
            rest = behind;
        }
        Ok(())
    }
}

/// Of what a piece of the tape file consists.
enum Piece {
    Archive,
    Head,
    Pages,
    Nothing,
}
