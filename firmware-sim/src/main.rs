//! The demonstration on the machine it was built on: the board is standard output and the exit code.

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Mutex;

use tapedump_firmware_sim::board::Board;
use tapedump_firmware_sim::demo::{self, Memory};

/// As on a board, the memory is there from the start and is all there is.
static MEMORY: Mutex<Memory> = Mutex::new(Memory::new());

struct Native;

impl Board for Native {
    fn log(&mut self, line: fmt::Arguments<'_>) {
        // Whoever closes the output still gets the exit code.
        let _ = writeln!(io::stdout(), "{line}");
    }
}

fn main() -> ExitCode {
    let Ok(mut memory) = MEMORY.lock() else { return ExitCode::FAILURE };
    match demo::run(&mut memory, &mut Native) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
