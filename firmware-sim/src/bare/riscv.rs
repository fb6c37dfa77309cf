//! RISC-V: what is painted of the stack is painted here.

// Its critical section is used.
use riscv as _;

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
