//! The catalog of a dump, made again from its tape; and the memory that everything works with that reads tapes.

use tapedump_core::catalog::{CATALOG_MEMORY_MIN, CatalogWriter};
use tapedump_core::chain::CatalogPlace;
use tapedump_core::checksum::PortableCrc32c;
use tapedump_core::device::mem::{MemBlock, NullTarget};
use tapedump_core::device::tape::TapeDevice;
use tapedump_core::engine::rebuild::Rebuild;
use tapedump_core::engine::restore::{Restore, RestoreEvent, RestoreMemory};
use tapedump_core::units::TAPE_BLOCK_LEN;

use crate::kept::Kept;
use crate::machine::{BLOCK_LEN, Disk, Drive};
use crate::system::{BLOCKING, catalog_identity, catalog_of, text};

/// Object numbers that a restore can tell apart, with those that only damage makes.
const RESTORE_MAP_LEN: usize = 1024;
const SCRATCH_LEN: usize = 64 << 10;
const NAMES_LEN: usize = 16 << 10;

/// Memory for a restore.
pub struct Workroom {
    stream: Vec<u8>,
    maps: Vec<u8>,
    chain: Vec<u8>,
    names: Vec<u8>,
    scratch: Vec<u8>,
}

impl Workroom {
    pub fn new() -> Self {
        Self {
            stream: vec![0; (BLOCKING as usize + 1) * TAPE_BLOCK_LEN],
            maps: vec![0; 6 * RESTORE_MAP_LEN],
            chain: vec![0; 3 * RESTORE_MAP_LEN],
            names: vec![0; NAMES_LEN],
            scratch: vec![0; SCRATCH_LEN],
        }
    }

    pub fn lend(&mut self) -> Result<(RestoreMemory<'_>, MemBlock<'_>), String> {
        let Self { stream, maps, chain, names, scratch } = self;
        let scratch = MemBlock::new(scratch, BLOCK_LEN).map_err(text)?;
        Ok((RestoreMemory { stream, maps, chain, names, attributes: &mut [] }, scratch))
    }
}

/// The tapes of the dumps of a chain, the newest first: but for the one that is in the drive.
pub struct Tapes<'t, 'm> {
    tapes: Vec<Vec<Option<&'t mut Drive<'m>>>>,
    /// Where the one in the drive belongs.
    present: (usize, usize),
}

impl<'t, 'm> Tapes<'t, 'm> {
    pub fn new(all: &'t mut [Drive<'m>], dumps: &[Vec<u8>]) -> Result<Self, String> {
        let mut all: Vec<_> = all.iter_mut().map(Some).collect();
        let mut tapes = Vec::new();
        for dump in dumps {
            let of_dump: Vec<_> = dump.iter().map(|tape| all[usize::from(*tape)].take()).collect();
            if of_dump.iter().any(Option::is_none) {
                return Err("a tape is in two dumps".into());
            }
            tapes.push(of_dump);
        }
        Ok(Self { tapes, present: (0, 0) })
    }

    /// The first tape of the newest dump, at its beginning.
    pub fn first(&mut self) -> Result<&'t mut Drive<'m>, String> {
        self.take(0, 0)?.ok_or_else(|| "there is no tape".into())
    }

    /// Takes a tape of a dump, at its beginning, if it is not in the drive and there is one.
    pub fn take(&mut self, dump: usize, tape: usize) -> Result<Option<&'t mut Drive<'m>>, String> {
        let mut taken = self.tapes[dump].get_mut(tape).and_then(Option::take);
        if let Some(tape) = &mut taken {
            tape.rewind().map_err(text)?;
        }
        Ok(taken)
    }

    /// Puts the tape before back, now that another one is in the drive.
    pub fn put_back(&mut self, before: &'t mut Drive<'m>, present: (usize, usize)) {
        let (dump, tape) = std::mem::replace(&mut self.present, present);
        self.tapes[dump][tape] = Some(before);
    }

    /// The dump whose tape is in the drive.
    pub const fn dump(&self) -> usize {
        self.present.0
    }
}

/// Makes the catalog of a whole dump from its tape, which must tell as many incomplete objects as the dump did. A dump
/// without a catalog is one all the same.
pub fn rebuild(
    tapes: &mut [Drive<'_>],
    catalogs: &mut Disk<'_>,
    kept: &Kept,
    incomplete: u64,
) -> Result<CatalogPlace, String> {
    let place = catalog_of(kept.request.tapes[0]);
    let mut memory = vec![0; CATALOG_MEMORY_MIN];
    let at = place.at..place.at + place.len;
    let catalog: CatalogWriter<'_, _, PortableCrc32c> =
        CatalogWriter::new(catalogs, at, &mut memory, catalog_identity(kept)).map_err(text)?;
    let mut room = Workroom::new();
    let (memory, scratch) = room.lend()?;
    let mut tapes = Tapes::new(tapes, std::slice::from_ref(&kept.request.tapes))?;
    let first = tapes.first()?;
    let mut restore =
        Restore::<_, _, _, PortableCrc32c>::new(first, NullTarget::new(), scratch, memory).map_err(text)?;
    let mut rebuild = Rebuild::new(catalog);
    loop {
        let event = restore.step().map_err(text)?;
        rebuild.handle_event(&mut restore, &event).map_err(text)?;
        if let RestoreEvent::NeedTape(tape) = event
            && let Some(next) = tapes.take(0, tape.0 as usize - 1)?
        {
            let before = restore.next_tape(next);
            tapes.put_back(before, (0, tape.0 as usize - 1));
        }
        if matches!(event, RestoreEvent::Done(_)) {
            let (catalog, rebuilt) = rebuild.finish();
            catalog.finish().map_err(text)?;
            let is_good = rebuilt.flawed == incomplete && !rebuilt.maps_damaged && !rebuilt.flaws_missed;
            return if is_good { Ok(place) } else { Err(text(rebuilt)) };
        }
    }
}
