//! The core on a machine that has nothing: no standard library, no C library, no allocator, no unwinding. Linking this
//! proves that no function of the public API needs one of them; running it, that they work without.
//!
//! The exit code names the first part that failed; 0 is success.
#![no_std]
#![no_main]

mod faulty;
mod machine;
mod parts;

use core::fmt;
use core::hint::black_box;
use core::panic::PanicInfo;

use tapedump_core::device::mem::{MemBlock, MemTape};
use tapedump_firmware_sim::board::{Board, Report};
use tapedump_firmware_sim::demo::{self, Memory, STORAGE_LEN, TAPES, no_arenas, no_nodes};
use tapedump_firmware_sim::engine::Work;

const TAPE_LEN: usize = 160 * 1024;

/// Writes lines to standard output by system calls.
struct Console;

impl fmt::Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        machine::write(text.as_bytes());
        Ok(())
    }
}

impl Board for Console {
    fn log(&mut self, report: &Report) {
        // The console takes everything.
        let _ = fmt::write(self, format_args!("  {report}\n"));
    }
}

/// Called by the entry point, once.
fn main() -> u8 {
    for (index, part) in parts::ALL.iter().enumerate() {
        // What the optimizer cannot see through it cannot leave out.
        if !black_box(part)() {
            return index as u8 + 1;
        }
    }
    const DEMO_FAILED: u8 = 100;
    let mut nodes = black_box(no_nodes());
    let mut arenas = black_box(no_arenas());
    let mut work = black_box(Work::new());
    let mut tapes = black_box([[0; TAPE_LEN]; TAPES]);
    let mut storage = black_box([0; STORAGE_LEN as usize]);
    let memory = Memory { nodes: &mut nodes, arenas: &mut arenas, work: &mut work };
    let mut tapes = tapes.each_mut().map(|tape| MemTape::blank(tape));
    let Ok(mut storage) = MemBlock::new(&mut storage, 512) else { return DEMO_FAILED };
    demo::run(memory, tapes.each_mut(), &mut storage, &mut Console).map_or(DEMO_FAILED, |()| 0)
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let _ = fmt::write(&mut Console, format_args!("{info}\n"));
    machine::exit(101)
}
