//! The machine: entry point, two system calls, and the memory functions that compiled code calls.

use core::arch::{asm, global_asm};

// The kernel enters with the stack pointer aligned to 16 bytes and no return address; a function expects to
// have been called.
global_asm!(
    ".globl _start",
    ".type _start, @function",
    "_start:",
    "xor ebp, ebp",
    "call {enter}",
    "ud2",
    enter = sym enter,
);

// What the compiler calls by these names. In assembly, because it would find them again in code that does the same,
// and make them call themselves.
global_asm!(
    ".globl memcpy",
    "memcpy:",
    "mov rax, rdi",
    "mov rcx, rdx",
    "rep movsb",
    "ret",
    ".globl memmove",
    "memmove:",
    "mov rax, rdi",
    "mov rcx, rdx",
    "mov r8, rdi",
    "sub r8, rsi",
    "cmp r8, rdx",
    // Ascending, unless the destination begins within the source.
    "jb 2f",
    "rep movsb",
    "ret",
    "2:",
    "lea rdi, [rdi + rdx - 1]",
    "lea rsi, [rsi + rdx - 1]",
    "std",
    "rep movsb",
    "cld",
    "ret",
    ".globl memset",
    "memset:",
    "mov r8, rdi",
    "mov eax, esi",
    "mov rcx, rdx",
    "rep stosb",
    "mov rax, r8",
    "ret",
    ".globl memcmp",
    ".globl bcmp",
    "memcmp:",
    "bcmp:",
    "xor eax, eax",
    "mov rcx, rdx",
    // Equal when there is nothing to compare.
    "cmp eax, eax",
    "repe cmpsb",
    "je 3f",
    "movzx eax, byte ptr [rdi - 1]",
    "movzx ecx, byte ptr [rsi - 1]",
    "sub eax, ecx",
    "3:",
    "ret",
);

extern "C" fn enter() -> ! {
    exit(crate::main())
}

/// Ends the process.
pub fn exit(code: u8) -> ! {
    // SAFETY: exit_group takes one number, touches no memory of ours, and does not return.
    unsafe { asm!("syscall", in("rax") 231, in("rdi") u64::from(code), options(noreturn, nostack)) }
}

/// Writes to standard output. What cannot be written is lost: the exit code is what counts.
pub fn write(bytes: &[u8]) {
    // SAFETY: write reads the given bytes only; the kernel changes rcx and r11 besides the result.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") 1_u64 => _,
            in("rdi") 1_u64,
            in("rsi") bytes.as_ptr(),
            in("rdx") bytes.len(),
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack, readonly),
        );
    }
}
