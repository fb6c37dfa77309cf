//! The sequence of a dump on tape. No device, clock or random source: [`writer::Writer`] fills tape records,
//! [`reader::Reader`] takes them apart again and finds its way after damage.

pub mod reader;
mod window;
pub mod writer;
