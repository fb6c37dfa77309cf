//! The demonstration on the machine it was built for: natively, or on a board without an operating system.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod bare;
#[cfg(not(target_os = "none"))]
mod native;

#[cfg(not(target_os = "none"))]
fn main() -> std::process::ExitCode {
    native::main()
}
