//! An allocator that counts, for proving that something does not allocate.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator, counting calls per thread. Install it with `#[global_allocator]`.
pub struct CountingAllocator;

thread_local! {
    // Without a destructor and with a constant first value: using it allocates nothing.
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    COUNT.with(|count| count.set(count.get() + 1));
}

// SAFETY: every call goes to `System` with the caller's arguments unchanged, so its guarantees are the system
// allocator's own; counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's obligations are those of `System::alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's obligations are those of `System::alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count();
        // SAFETY: `ptr` came from `System`, since everything here does; the rest is the caller's obligation.
        unsafe { System.realloc(ptr, layout, new_size) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: `ptr` came from `System` with this layout, since everything here does.
        unsafe { System.dealloc(ptr, layout) }
    }
}

/// Runs `work` and gives what it gave, with the number of allocations that this thread made in it.
///
/// # Panics
/// When [`CountingAllocator`] is not installed: nothing would be counted.
pub fn counted<T>(work: impl FnOnce() -> T) -> (T, u64) {
    let before = COUNT.get();
    drop(std::hint::black_box(Box::new(0u8)));
    let start = COUNT.get();
    assert!(start > before, "the counting allocator is not the global one");
    let result = work();
    (result, COUNT.get() - start)
}
