//! Contexts out of any image of a device, with any catalog and tape beside them: opened, and gone on with.
//!
//! Input: settings, the first copy of a context (16 KiB), the image of a catalog (16 KiB), and a tape.

use tapedump_core::catalog::{CATALOG_MEMORY_MIN, CatalogWriter, SuspendedCatalog};
use tapedump_core::checksum::PortableCrc32c;
use tapedump_core::context::{ContextError, ContextRecord, ContextStore, Part};
use tapedump_core::device::mem::{MemBlock, MemTape};
use tapedump_core::device::tape::{TapeDevice, TapePosition};
use tapedump_core::engine::dump::restart::{DumpState, find_end};
use tapedump_core::engine::dump::{Dump, DumpEvent, DumpMemory};

use crate::{genuine, repair};

/// Bits of the first byte. The checksums of the context are set right.
pub const REPAIRED: u8 = 1;
/// The dump goes on, whatever is on the tape.
pub const ANY_TAPE: u8 = 2;

/// Bytes of a copy of a context, and of a catalog.
pub const COPY_LEN: usize = 16 << 10;
const PART_LEN_MAX: usize = COPY_LEN;

pub fn run(data: &[u8]) {
    let Some((&settings, data)) = data.split_first() else { return };
    let Some((copy, data)) = data.split_at_checked(COPY_LEN) else { return };
    let Some((catalog, tape)) = data.split_at_checked(COPY_LEN) else { return };
    let mut image = copy.to_vec();
    if settings & REPAIRED != 0 {
        repair::context(&mut image);
    }
    image.resize(2 * COPY_LEN, 0);
    let device = MemBlock::new(&mut image, 512).expect("the length of a block");
    let Ok(mut store) = ContextStore::open(device, 0..2 * COPY_LEN as u64) else { return };
    let mut part = |part| {
        let mut bytes = vec![0; PART_LEN_MAX];
        match store.read(part, &mut bytes) {
            Ok(len) => bytes.truncate(len),
            Err(error) => assert!(matches!(error, ContextError::MemoryTooSmall { .. }), "it was read before"),
        }
        bytes
    };
    let record = ContextRecord::from_bytes(&part(Part::Record));
    if let Some(record) = record {
        assert_eq!(ContextRecord::from_bytes(&record.to_bytes()), Some(record));
    }
    let (state, at) =
        (DumpState::from_bytes(&part(Part::State)), SuspendedCatalog::from_bytes(&part(Part::Catalog)));
    let (Some(state), Some(at)) = (state, at) else { return };
    let rest = part(Part::Rest);
    let mut maps = [Part::InUse, Part::Pending, Part::Known].map(|kind| {
        let mut map = part(kind);
        map.resize(genuine::MAP_LEN, 0);
        map
    });
    go_on(settings, &state, &at, &rest, &mut maps, catalog, tape);
}

/// Goes on with the dump, to its end or to an error.
fn go_on(
    settings: u8,
    state: &DumpState,
    at: &SuspendedCatalog,
    rest: &[u8],
    maps: &mut [Vec<u8>; 3],
    catalog: &[u8],
    tape: &[u8],
) {
    let (options, identity) = genuine::baseline();
    let mut bytes = vec![0; 512 << 10];
    let mut medium = MemTape::blank(&mut bytes);
    let _ = medium.write_file(tape, options.blocking.record_len());
    medium.rewind().expect("a tape in memory");
    let mut record = vec![0; options.blocking.record_len()];
    let begin = TapePosition::default();
    let found = find_end::<_, PortableCrc32c>(
        &mut medium,
        begin,
        &options.identity,
        options.blocking,
        state,
        rest,
        &mut record,
    );
    if found.is_err() {
        if settings & ANY_TAPE == 0 {
            return;
        }
        medium.rewind().expect("a tape in memory");
    }
    let mut catalog = catalog.to_vec();
    catalog.resize(256 << 10, 0);
    let device = MemBlock::new(&mut catalog, 512).expect("the length of a block");
    let mut memory = [0; CATALOG_MEMORY_MIN];
    let sink =
        CatalogWriter::<_, PortableCrc32c>::resumed(device, 0..u64::MAX, &mut memory, identity, at).ok();
    genuine::with_volume(|volume| {
        let mut stream = vec![0; 1024 + options.blocking.record_len()];
        let [in_use, on_tape, known] = maps;
        let memory = DumpMemory { stream: &mut stream, in_use, on_tape, known };
        let dump = Dump::<_, _, PortableCrc32c, _>::restarted(
            volume,
            &mut medium,
            sink,
            memory,
            options,
            state,
            rest,
        );
        let Ok(mut dump) = dump else { return };
        for _ in 0..10_000 {
            match dump.step() {
                Ok(DumpEvent::Done(_)) => {
                    if let Ok(Some(catalog)) = dump.into_parts().2 {
                        let _ = catalog.finish();
                    }
                    return;
                }
                Ok(_) => {}
                Err(_) => return,
            }
        }
        panic!("no end");
    });
}
