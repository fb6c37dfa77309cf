//! Working ahead and behind on several threads, behind the device contracts: what comes out is the same for any
//! number of threads.

pub mod read_ahead;
