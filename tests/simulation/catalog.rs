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

/// Makes the catalog of a whole dump from its tape, which must tell as many incomplete objects as the dump did. A dump
/// without a catalog is one all the same.
pub fn rebuild(
    tape: &mut Drive<'_>,
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
    tape.rewind().map_err(text)?;
    let mut restore =
        Restore::<_, _, _, PortableCrc32c>::new(tape, NullTarget::new(), scratch, memory).map_err(text)?;
    let mut rebuild = Rebuild::new(catalog);
    loop {
        let event = restore.step().map_err(text)?;
        rebuild.handle_event(&mut restore, &event).map_err(text)?;
        if matches!(event, RestoreEvent::Done(_)) {
            let (catalog, rebuilt) = rebuild.finish();
            catalog.finish().map_err(text)?;
            let is_good = rebuilt.flawed == incomplete && !rebuilt.maps_damaged && !rebuilt.flaws_missed;
            return if is_good { Ok(place) } else { Err(text(rebuilt)) };
        }
    }
}
