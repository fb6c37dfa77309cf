//! Cortex-M: the run-time crate paints the stack.

// Its critical section is used.
use cortex_m as _;
use cortex_m_rt::STACK_PAINT_VALUE;

// SAFETY: the linker script defines the symbol; its value is never read, only its address taken.
unsafe extern "C" {
    /// One more than the highest address of the stack, and the lowest. Not variables: only their addresses mean something.
    static _stack_start: u32;
    static _stack_end: u32;
}

#[cortex_m_rt::entry]
fn main() -> ! {
    super::run()
}

/// Bytes of the stack that were ever in use.
pub fn stack_used() -> usize {
    let top = &raw const _stack_start;
    let mut place = &raw const _stack_end;
    // SAFETY: the linker script makes this one aligned range of RAM, which the start code painted as a whole.
    unsafe {
        while place < top && place.read_volatile() == STACK_PAINT_VALUE {
            place = place.add(1);
        }
    }
    top as usize - place as usize
}
