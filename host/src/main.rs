//! The program `tapedump`: parses its arguments, does what they say, and ends with an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    tapedump::cli::main()
}
