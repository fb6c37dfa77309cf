//! tapedump on a Linux host: what stands around the core so that a person can dump a directory tree to a tape
//! and bring it back.
//!
//! ```text
//! cli       arguments → plan → work → exit code
//! pipeline  reading ahead and writing behind, behind the volume contracts
//! tape      tape drives, virtual tapes, plain files, pipes: TapeDevice
//! volume    a mounted file system: SourceVolume, TargetVolume
//! state     where tapes and scratch files live
//! checksum  the processor's CRC32C
//! text      names of any bytes as safe text
//! ```
#![deny(missing_docs)]

/// Says something to the user. Nobody may be there to read it any more, or its disk may be full: that ends nothing.
macro_rules! eprintln {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($text)*);
    }};
}

pub mod checksum;
pub mod cli;
pub mod pipeline;
pub mod state;
pub mod tape;
pub mod text;
pub mod volume;
