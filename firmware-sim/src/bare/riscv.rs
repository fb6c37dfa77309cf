//! RISC-V: what is painted of the stack is painted here.

// Its critical section is used.
use riscv as _;

// What functions of code for the feature `save-restore` begin and end with, in place of a store and a load for each register
// that they have to keep: it is in no library that Rust has. The number is that of the registers besides the return address,
// for which `t0` is used in between; more than those may be stored, but the stack moves by whole 16 bytes, as the compiler
// expects.
core::arch::global_asm!(
    ".pushsection .text.save_restore, \"ax\", @progbits",
    ".globl __riscv_save_12",
    "__riscv_save_12:",
    "addi sp, sp, -64",
    "li t1, 0",
    "sw s11, 12(sp)",
    "j 1f",
    ".irp number, 11, 10, 9, 8",
    ".globl __riscv_save_\\number",
    "__riscv_save_\\number:",
    ".endr",
    "addi sp, sp, -64",
    "li t1, 16",
    "1:",
    "sw s10, 16(sp)",
    "sw s9, 20(sp)",
    "sw s8, 24(sp)",
    "sw s7, 28(sp)",
    "j 2f",
    ".irp number, 7, 6, 5, 4",
    ".globl __riscv_save_\\number",
    "__riscv_save_\\number:",
    ".endr",
    "addi sp, sp, -64",
    "li t1, 32",
    "2:",
    "sw s6, 32(sp)",
    "sw s5, 36(sp)",
    "sw s4, 40(sp)",
    "sw s3, 44(sp)",
    "sw s2, 48(sp)",
    "sw s1, 52(sp)",
    "sw s0, 56(sp)",
    "sw ra, 60(sp)",
    "add sp, sp, t1",
    "jr t0",
    ".irp number, 3, 2, 1, 0",
    ".globl __riscv_save_\\number",
    "__riscv_save_\\number:",
    ".endr",
    "addi sp, sp, -16",
    "sw s2, 0(sp)",
    "sw s1, 4(sp)",
    "sw s0, 8(sp)",
    "sw ra, 12(sp)",
    "jr t0",
    ".globl __riscv_restore_12",
    "__riscv_restore_12:",
    "lw s11, 12(sp)",
    "addi sp, sp, 16",
    ".irp number, 11, 10, 9, 8",
    ".globl __riscv_restore_\\number",
    "__riscv_restore_\\number:",
    ".endr",
    "lw s10, 0(sp)",
    "lw s9, 4(sp)",
    "lw s8, 8(sp)",
    "lw s7, 12(sp)",
    "addi sp, sp, 16",
    ".irp number, 7, 6, 5, 4",
    ".globl __riscv_restore_\\number",
    "__riscv_restore_\\number:",
    ".endr",
    "lw s6, 0(sp)",
    "lw s5, 4(sp)",
    "lw s4, 8(sp)",
    "lw s3, 12(sp)",
    "addi sp, sp, 16",
    ".irp number, 3, 2, 1, 0",
    ".globl __riscv_restore_\\number",
    "__riscv_restore_\\number:",
    ".endr",
    "lw s2, 0(sp)",
    "lw s1, 4(sp)",
    "lw s0, 8(sp)",
    "lw ra, 12(sp)",
    "addi sp, sp, 16",
    "ret",
    ".popsection",
);

const PAINT: u32 = 0xcccc_cccc;
/// Bytes below the stack's beginning that are painted: more than anything here may use.
const PAINTED: usize = 256 << 10;
/// Bytes that `main` and `paint` use themselves, at the most.
const OWN: usize = 512;

// SAFETY: the linker script defines the symbol; its value is never read, only its address taken.
unsafe extern "C" {
    /// One more than the highest address of the stack. Not a variable: only its address means something.
    static _stack_start: u32;
}

#[riscv_rt::entry]
fn main() -> ! {
    paint();
    super::run()
}

fn bottom() -> *mut u32 {
    (&raw const _stack_start).cast_mut().wrapping_byte_sub(PAINTED)
}

#[inline(never)]
fn paint() {
    let mut place = bottom();
    for _ in 0..(PAINTED - OWN) / size_of::<u32>() {
        // SAFETY: the stack is the rest of RAM behind all variables, which is more than PAINTED; what of it is in use now is
        // less than OWN.
        unsafe {
            place.write_volatile(PAINT);
            place = place.add(1);
        }
    }
}

/// Bytes of the stack that were ever in use.
pub fn stack_used() -> usize {
    let top = &raw const _stack_start as usize;
    let mut place = bottom().cast_const();
    // SAFETY: as in `paint`; reading ends at the stack's beginning at the latest.
    unsafe {
        while (place as usize) < top && place.read_volatile() == PAINT {
            place = place.add(1);
        }
    }
    top - place as usize
}
