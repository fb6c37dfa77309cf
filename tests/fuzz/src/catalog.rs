//! Catalogs out of any image of a device, alone and behind a genuine one.
//!
//! Input: settings, and the image.

use std::sync::OnceLock;

use tapedump_core::catalog::{Catalog, MEMORY_LEN_MIN, MapCursor, View, WhichMap};
use tapedump_core::checksum::PortableCrc32c;
use tapedump_core::device::mem::MemBlock;
use tapedump_core::engine::restore::{stops_at, stops_on_the_way};
use tapedump_core::limits::PAGE_LEN;
use tapedump_core::units::{Ino, TapeNo};

use crate::{genuine, repair};

/// Bits of the first byte. The checksums are set right.
pub const REPAIRED: u8 = 1;
/// A chain of it and a genuine one is asked; which of them is the newest one.
pub const CHAIN: u8 = 2;
pub const NEWEST: u8 = 4;

type Opened<'m> = Catalog<'m, MemBlock<'m>, PortableCrc32c>;

/// An image of more pages is cut.
const PAGES_MAX: usize = 64;
/// Entries that so many pages can have.
const ENTRIES_MAX: usize = PAGES_MAX * PAGE_LEN / 4;
/// Objects of one input that everything is asked about.
const ASKED_MAX: usize = 40;
const PATHS: [&[u8]; 5] = [b"", b"dir", b"dir/deep/linked", b"/dir//deep/file", b"none/such"];

pub fn run(data: &[u8]) {
    static BASE: OnceLock<Vec<u8>> = OnceLock::new();
    let Some((&settings, image)) = data.split_first() else { return };
    let mut image = image[..image.len().min(PAGES_MAX * PAGE_LEN)].to_vec();
    if settings & REPAIRED != 0 {
        repair::catalog(&mut image);
    }
    let mut memory = vec![0; MEMORY_LEN_MIN.max(4 * PAGE_LEN)];
    let Some(mut opened) = open(&mut image, &mut memory) else { return };
    if settings & CHAIN == 0 {
        return ask(&mut opened);
    }
    let mut base = BASE.get_or_init(|| genuine::dumps()[0].catalog.clone()).clone();
    let mut memory = vec![0; MEMORY_LEN_MIN];
    let base = open(&mut base, &mut memory).expect("a genuine catalog");
    let mut chain = if settings & NEWEST != 0 { [opened, base] } else { [base, opened] };
    ask_chain(&mut View::new(&mut chain));
}

fn open<'m>(image: &'m mut [u8], memory: &'m mut [u8]) -> Option<Opened<'m>> {
    let device = MemBlock::new(image, 512).expect("the length of a block");
    Opened::open(device, 0..u64::MAX, memory).ok()
}

/// Takes what `next` gives up to its end, or an error, which is as good.
fn all<T, E>(mut next: impl FnMut() -> Result<Option<T>, E>) -> Vec<T> {
    let mut all = Vec::new();
    while let Ok(Some(item)) = next() {
        all.push(item);
        assert!(all.len() <= ENTRIES_MAX, "there cannot be so many entries");
    }
    all
}

fn ask(catalog: &mut Opened<'_>) {
    let mut room = [0; 600];
    for path in PATHS {
        catalog.look_up(path).ok();
    }
    let Ok(mut cursor) = catalog.first_by_number() else { return };
    let rows = all(|| catalog.next_by_number(&mut cursor));
    if let Ok(mut cursor) = catalog.first_on_tape() {
        all(|| catalog.next_on_tape(&mut cursor));
    }
    for ino in rows.iter().map(|row| row.ino).chain([Ino(0), Ino::ROOT, Ino(u32::MAX)]).take(ASKED_MAX) {
        catalog.object(ino).ok();
        catalog.directory(ino).ok();
        catalog.apart(ino).ok();
        catalog.child(ino, b"file").ok();
        if let Ok(Some(path)) = catalog.path_of(ino, &mut room) {
            assert!(path.len() <= 600);
        }
        if let Ok(mut cursor) = catalog.names_from(ino, b"") {
            all(|| catalog.next_name(&mut cursor).map(|row| row.map(|row| row.name.to_vec())));
        }
        if let Ok(mut cursor) = catalog.names_of(ino) {
            all(|| catalog.next_name_of(&mut cursor).map(|row| row.map(|row| row.parent)));
        }
    }
    for which in [WhichMap::InUse, WhichMap::OnTape] {
        let mut cursor = MapCursor::new(which);
        let mut from = Ino(0);
        for _ in 0..ASKED_MAX {
            let Ok(Some(ino)) = catalog.next_in_map(which, from) else { break };
            assert!(ino >= from, "{ino:?} comes before {from:?}");
            catalog.contains(&mut cursor, ino).ok();
            from = ino.next();
        }
    }
    let mut from = TapeNo(0);
    while let Ok(Some((tape, _))) = catalog.next_tape(from) {
        assert!(tape >= from);
        if tape.0 == u32::MAX {
            break;
        }
        from = TapeNo(tape.0 + 1);
    }
}

fn ask_chain(view: &mut View<'_, '_, MemBlock<'_>, PortableCrc32c>) {
    let mut room = [0; 600];
    let mut inos = vec![Ino(0), Ino::ROOT, Ino(u32::MAX)];
    for path in PATHS {
        view.look_up(path).ok();
        stops_on_the_way(view, path, &mut |stop| inos.push(stop.ino)).ok();
    }
    for dump in 0..2 {
        if let Ok(Some(mut cursor)) = view.first_to_restore(dump) {
            inos.extend(all(|| view.next_to_restore(&mut cursor)).iter().map(|row| row.ino));
        }
    }
    for ino in inos.into_iter().take(ASKED_MAX) {
        view.exists(ino).ok();
        view.newest(ino).ok();
        view.path_of(ino, &mut room).ok();
        stops_at(view, ino, &mut |_| {}).ok();
        if let Ok(Some(mut cursor)) = view.names_from(ino, b"") {
            all(|| view.next_name(&mut cursor).map(|row| row.map(|row| row.ino)));
        }
    }
}
