# For setup.sh and check.sh: which compiler builds for other machines, and where.
#
# Debian's toolchain, because it comes with the source of the standard library, from which `-Zbuild-std` builds it for
# any target: nothing has to be downloaded besides packages and crates. It is used by these scripts only; it has
# target directories of its own, since its version is not that of the compiler used otherwise.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cross_target=${TAPEDUMP_CROSS_TARGET:-$root/target/cross}
# rustup's own variables would lead away from /usr/bin.
unset RUSTUP_TOOLCHAIN RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_TARGET
home_path=$PATH
cross_path=/usr/bin:$PATH
tools=$cross_target/tools

# `cargo` of Debian, allowed to build the standard library. On RISC-V the linker may shorten calls, as it does for C: by
# itself, Rust's target has eight bytes for each.
cross_cargo() {
    env PATH="$cross_path" RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR="$cross_target" DEFMT_LOG=info \
        CARGO_TARGET_THUMBV7EM_NONE_EABIHF_LINKER=ld.lld-22 \
        CARGO_TARGET_RISCV32IMAC_UNKNOWN_NONE_ELF_LINKER=ld.lld-22 \
        CARGO_TARGET_RISCV32IMAC_UNKNOWN_NONE_ELF_RUSTFLAGS=-Ctarget-feature=+relax,+save-restore \
        CARGO_TARGET_S390X_UNKNOWN_LINUX_GNU_LINKER=s390x-linux-gnu-gcc \
        CARGO_TARGET_S390X_UNKNOWN_LINUX_GNU_RUNNER="qemu-s390x -L /usr/s390x-linux-gnu" \
        cargo "$@"
}
