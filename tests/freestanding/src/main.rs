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

use tapedump_firmware_sim::board::Board;
use tapedump_firmware_sim::demo::{self, Memory};

/// Writes lines to standard output by system calls.
struct Console;

impl fmt::Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        machine::write(text.as_bytes());
        Ok(())
    }
}

impl Board for Console {
    fn log(&mut self, line: fmt::Arguments<'_>) {
        // The console takes everything.
        let _ = fmt::write(self, format_args!("  {line}\n"));
    }
}

/// Called by the entry point, once.
fn main() -> u8 {
    for (index, part) in parts::ALL.iter().enumerate() {
        // What the optimizer cannot see through it cannot leave out.
        if !core::hint::black_box(part)() {
            return index as u8 + 1;
        }
    }
    let mut memory = core::hint::black_box(Memory::new());
    if demo::run(&mut memory, &mut Console).is_err() { 100 } else { 0 }
}
