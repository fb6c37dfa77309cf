//! Taking the catalog of a dump from its tape file: each page is checked before it is kept, and the catalog counts only when
//! all of them are there.

use core::fmt;
use core::marker::PhantomData;

use crate::catalog::{CatalogFigures, PageCheck};
use crate::checksum::Crc32c;
use crate::device::block::BlockDevice;
use crate::device::tape::{Spaced, TapeDevice, TapePosition, TapeRead};
use crate::device::{DeviceError, ErrorKind};
use crate::limits::PAGE_LEN;
use crate::record::catalog_file::{CatalogFileHead, CatalogFileHeadError};
use crate::record::header::TapeBlock;
use crate::units::{DumpId, TAPE_BLOCK_LEN};

const _: () = assert!(PAGE_LEN == TAPE_BLOCK_LEN);
/// Pages at the front of a catalog: both of them its head.
const HEADS: u64 = 2;

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum CatalogReadStep {
    /// A record was read.
    Working,
    /// The whole catalog is on the device, durable.
    Done(CatalogFigures),
}

/// Why the catalog cannot be had from this tape file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum CatalogReadError<T, D> {
    /// The tape failed.
    Tape(T),
    /// The device failed.
    Device(D),
    /// There is no catalog in this tape file, or nothing of it that could be recognized.
    NoCatalog,
    /// It is the catalog of another dump.
    OtherDump {
        /// The dump that was asked for.
        wanted: DumpId,
        /// The dump that it is of.
        found: DumpId,
    },
    /// It is of a version that is not read.
    Version {
        /// The version's number.
        found: u8,
    },
    /// A page is not as it was written.
    Damaged {
        /// Its number within the catalog.
        page: u64,
    },
    /// The tape file ends too early.
    CutShort {
        /// The first page that is not there.
        page: u64,
    },
    /// A tape record is longer than the memory lent.
    RecordTooLong {
        /// Its length.
        len: usize,
    },
    /// The device is too small.
    DeviceTooSmall {
        /// Bytes needed.
        needed: u64,
    },
}

enum State {
    /// Looking for the head; where it is, once the one at the end of the tape file told.
    Search { told: Option<u64> },
    /// This page comes next.
    Pages { next: u64 },
}

/// Takes the catalog of a dump from the tape file before which the tape stands. See the module.
pub struct CatalogFileReader<'m, T, D, C> {
    tape: T,
    begin: TapePosition,
    device: D,
    device_at: u64,
    wanted: Option<DumpId>,
    record: &'m mut [u8],
    /// Block of the tape file that comes next.
    at: u64,
    state: State,
    /// The last block read that looks like a head, and its number.
    head: (TapeBlock, u64),
    first: [u8; PAGE_LEN],
    check: Option<PageCheck>,
    checksums: PhantomData<fn() -> C>,
}

type Done<R, T, D> = Result<R, CatalogReadError<<T as TapeDevice>::Error, <D as BlockDevice>::Error>>;

impl<'m, T: TapeDevice, D: BlockDevice, C: Crc32c> CatalogFileReader<'m, T, D, C> {
    /// Of the dump `wanted`, or of any. The catalog goes to the device from byte `device_at` on, in place of what is there.
    /// `record` is as long as the longest tape record.
    ///
    /// # Errors
    /// The tape does not know where it stands.
    pub fn new(
        mut tape: T,
        device: D,
        device_at: u64,
        wanted: Option<DumpId>,
        record: &'m mut [u8],
    ) -> Done<Self, T, D> {
        let begin = tape.position().map_err(CatalogReadError::Tape)?;
        Ok(Self {
            tape,
            begin,
            device,
            device_at,
            wanted,
            record,
            at: 0,
            state: State::Search { told: None },
            head: ([0; TAPE_BLOCK_LEN], u64::MAX),
            first: [0; PAGE_LEN],
            check: None,
            checksums: PhantomData,
        })
    }

    /// The block that says what the tape file consists of; only after [`CatalogReadStep::Done`].
    ///
    /// # Errors
    /// It was not read yet.
    pub fn head(&self) -> Result<CatalogFileHead<'_>, CatalogFileHeadError> {
        CatalogFileHead::parse::<C>(&self.head.0)
    }

    /// Gives the devices back.
    pub fn into_devices(self) -> (T, D) {
        (self.tape, self.device)
    }

    /// Reads a record.
    ///
    /// # Errors
    /// There is no such catalog, or it cannot be had. What was on the device before is gone if any page was written.
    pub fn step(&mut self) -> Done<CatalogReadStep, T, D> {
        match self.tape.read(self.record).map_err(CatalogReadError::Tape)? {
            TapeRead::Record(len) => self.take_record(len),
            TapeRead::Filemark | TapeRead::EndOfData => self.end_of_file(),
            TapeRead::BufferTooSmall { needed } => Err(CatalogReadError::RecordTooLong { len: needed }),
        }
    }

    fn take_record(&mut self, len: usize) -> Done<CatalogReadStep, T, D> {
        let record = core::mem::take(&mut self.record);
        let mut result = Ok(CatalogReadStep::Working);
        let blocks = record.get(..len).unwrap_or_default().as_chunks::<TAPE_BLOCK_LEN>().0;
        for block in blocks {
            match self.take_block(block) {
                Ok(None) => {}
                Ok(Some(figures)) => {
                    result = Ok(CatalogReadStep::Done(figures));
                    break;
                }
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
        }
        self.record = record;
        result
    }

    /// Gives the figures of the catalog when it is complete.
    fn take_block(&mut self, block: &TapeBlock) -> Done<Option<CatalogFigures>, T, D> {
        let at = self.at;
        self.at = at.saturating_add(1);
        match self.state {
            State::Search { told } => {
                let here = told == Some(at);
                if !here && !CatalogFileHead::may_be(block) {
                    return Ok(None);
                }
                if !here {
                    self.head = (*block, at);
                }
                let found = match CatalogFileHead::parse::<C>(&self.head.0) {
                    Ok(head) => (head.dump, head.archive_blocks, head.pages),
                    // A file name can look like one from afar.
                    Err(CatalogFileHeadError::Version { found }) => {
                        return Err(CatalogReadError::Version { found });
                    }
                    Err(_) => return Ok(None),
                };
                let (dump, archive_blocks, pages) = found;
                if let Some(wanted) = self.wanted.filter(|wanted| *wanted != dump) {
                    return Err(CatalogReadError::OtherDump { wanted, found: dump });
                }
                if archive_blocks == at {
                    self.begin_pages(pages)?;
                }
                Ok(None)
            }
            State::Pages { next } => self.take_page(next, block),
        }
    }

    fn begin_pages(&mut self, pages: u64) -> Done<(), T, D> {
        let needed = pages.saturating_mul(PAGE_LEN as u64);
        if pages <= HEADS || u32::try_from(pages).is_err() {
            return Err(CatalogReadError::Damaged { page: 0 });
        }
        if self.device.capacity().saturating_sub(self.device_at) < needed {
            return Err(CatalogReadError::DeviceTooSmall { needed: needed.saturating_add(self.device_at) });
        }
        self.state = State::Pages { next: 0 };
        Ok(())
    }

    fn pages(&self) -> u64 {
        self.head().map_or(0, |head| head.pages)
    }

    fn take_page(&mut self, number: u64, page: &TapeBlock) -> Done<Option<CatalogFigures>, T, D> {
        if number == 0 {
            let pages = u32::try_from(self.pages()).unwrap_or(0);
            let check = PageCheck::new::<C>(page, pages).ok_or(CatalogReadError::Damaged { page: 0 })?;
            let of_dump = self.head().map(|head| (head.dump, head.date.secs));
            if of_dump != Ok((check.identity().dump, check.identity().date)) {
                return Err(CatalogReadError::Damaged { page: 0 });
            }
            self.first = *page;
            // As when a catalog is made: first the heads of what was there before are gone, one after the other.
            self.put(0, &[0; PAGE_LEN], true)?;
            self.put(1, &[0; PAGE_LEN], true)?;
            self.check = Some(check);
        } else {
            let short = u32::try_from(number).unwrap_or(u32::MAX);
            let genuine = self.check.is_some_and(|check| check.is_genuine::<C>(short, page));
            if !genuine {
                return Err(CatalogReadError::Damaged { page: number });
            }
            if number >= HEADS {
                self.put(number, page, false)?;
            }
        }
        let next = number.saturating_add(1);
        self.state = State::Pages { next };
        let Some(check) = self.check.filter(|_| next == self.pages()) else { return Ok(None) };
        self.device.flush().map_err(CatalogReadError::Device)?;
        let first = self.first;
        self.put(0, &first, true)?;
        self.put(1, &first, true)?;
        Ok(Some(check.figures()))
    }

    fn put(&mut self, number: u64, page: &[u8; PAGE_LEN], flush: bool) -> Done<(), T, D> {
        let at = self.device_at.saturating_add(number.saturating_mul(PAGE_LEN as u64));
        self.device.write(at, page).map_err(CatalogReadError::Device)?;
        if flush {
            self.device.flush().map_err(CatalogReadError::Device)?;
        }
        Ok(())
    }

    /// The tape file is over. Where the head in front is lost, the one at the end says where the pages are.
    fn end_of_file(&mut self) -> Done<CatalogReadStep, T, D> {
        match self.state {
            State::Pages { next } => Err(CatalogReadError::CutShort { page: next }),
            State::Search { told: None } if self.head.1.saturating_add(1) == self.at => {
                let head = self.head().map_err(|_| CatalogReadError::NoCatalog)?;
                let told = head.archive_blocks;
                let back = self.tape.locate(self.begin).map_err(CatalogReadError::Tape)?;
                if back != Spaced::Done {
                    return Err(CatalogReadError::NoCatalog);
                }
                self.at = 0;
                self.state = State::Search { told: Some(told) };
                Ok(CatalogReadStep::Working)
            }
            State::Search { .. } => Err(CatalogReadError::NoCatalog),
        }
    }
}

impl<T: DeviceError, D: DeviceError> fmt::Display for CatalogReadError<T, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = |f: &mut fmt::Formatter<'_>, what, kind: ErrorKind| write!(f, "{what}: {kind}");
        match self {
            Self::Tape(source) => kind(f, "the tape failed", source.kind()),
            Self::Device(source) => kind(f, "the device of the catalog failed", source.kind()),
            Self::NoCatalog => f.write_str("there is no catalog in this tape file"),
            Self::OtherDump { found, .. } => write!(f, "this is the catalog of another dump, {found}"),
            Self::Version { found } => write!(f, "the catalog is of version {found}, which is not read"),
            Self::Damaged { page } => write!(f, "page {page} of the catalog is damaged"),
            Self::CutShort { page } => {
                write!(f, "the catalog is cut short: its page {page} and what follows is not there")
            }
            Self::RecordTooLong { len } => {
                write!(f, "the tape holds records of {len} bytes, which are too long")
            }
            Self::DeviceTooSmall { needed } => write!(f, "the catalog needs {needed} bytes"),
        }
    }
}
