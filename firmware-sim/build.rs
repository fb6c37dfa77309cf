//! Lays out the image of a bare machine: its memory, and the linker scripts of the run-time crates.

use std::path::PathBuf;
use std::{env, fs};

/// The machines, by the architecture that tells them apart: QEMU's `mps2-an386`, and its `virt` for RISC-V.
const MACHINES: [(&str, &str); 2] = [("arm", "mps2-an386"), ("riscv32", "riscv-virt")];

fn main() {
    println!("cargo:rerun-if-changed=memory");
    if variable("CARGO_CFG_TARGET_OS") != "none" {
        return;
    }
    let architecture = variable("CARGO_CFG_TARGET_ARCH");
    let Some((_, machine)) = MACHINES.into_iter().find(|(name, _)| *name == architecture) else {
        panic!("no board with a processor of the architecture {architecture}");
    };
    let out = PathBuf::from(variable("OUT_DIR"));
    let memory = format!("{}/memory/{machine}.x", variable("CARGO_MANIFEST_DIR"));
    fs::copy(&memory, out.join("memory.x")).unwrap_or_else(|error| panic!("{memory}: {error}"));
    println!("cargo:rustc-link-search={}", out.display());
    for argument in ["--nmagic", "-Tlink.x", "-Tdefmt.x"] {
        println!("cargo:rustc-link-arg-bins={argument}");
    }
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_default()
}
