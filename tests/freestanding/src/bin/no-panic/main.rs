//! Links only when no panic can be reached from the public API of the core: what a panic would call does not exist.
//!
//! Everything is called with values and by devices that the optimizer knows nothing of. It is linked, not run.
#![no_std]
#![no_main]

mod chains;
mod engines;
#[path = "../../faulty.rs"]
mod faulty;
#[path = "../../machine.rs"]
mod machine;
mod opaque;
#[path = "../../parts.rs"]
mod parts;
mod pieces;
mod sessions;
mod tape_catalogs;

use core::hint::black_box;
use core::panic::PanicInfo;

// SAFETY: nobody defines the symbol, so that nothing that calls it can be linked.
unsafe extern "C" {
    safe fn a_panic_can_be_reached() -> !;
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    a_panic_can_be_reached()
}

/// Called by the entry point.
fn main() -> u8 {
    for part in parts::ALL {
        black_box(black_box(part)());
    }
    for part in [
        engines::dump,
        engines::dump_with_catalog,
        engines::restarted,
        engines::restore,
        pieces::record,
        pieces::snapshots,
        pieces::stream,
        pieces::catalog,
        pieces::dump_catalog,
        pieces::volume,
        chains::rules_in_memory,
        chains::history,
        sessions::rules,
        tape_catalogs::on_tape,
        tape_catalogs::rebuilt,
    ] {
        black_box(part)();
    }
    #[cfg(feature = "one-panic")]
    black_box(b"panic"[black_box(5)]);
    machine::write(b"not to be run\n");
    1
}
