//! tapedump's core: a dump engine for appliances. It writes a volume to tape as a BSD-style dump that third-party
//! `restore` programs read, and brings it back, without an allocator and without a panic on any tape.
//!
//! A module uses only what stands below it:
//!
//! ```text
//! context   what is kept of a dump so that it goes on, on a BlockDevice
//! engine    dump · restore: the only place that joins machines with devices
//! stream    the sequence of a dump: what may follow what, checksums, resynchronizing   (no device)
//! catalog   sorted tables, the catalogs of dumps, and the view of a chain, on BlockDevices
//! chain     levels, bases, restore plans                                               (no device); the history on a BlockDevice
//! session   how many dumps and restores at once, and what events of the system do to them  (no device)
//! record    bytes: headers, directory entries, maps, extensions                        (no device)
//! device    TapeDevice · BlockDevice · SourceVolume · TargetVolume: what an integrator implements
//! units, limits, checksum
//! ```
#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod catalog;
pub mod chain;
pub mod checksum;
pub mod context;
pub mod device;
pub mod engine;
pub mod limits;
pub mod record;
pub mod session;
pub mod stream;
pub mod units;
