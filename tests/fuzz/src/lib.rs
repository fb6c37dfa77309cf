//! What the fuzz targets do with their input. Each `run` takes any bytes, and panics when the core breaks a promise; the core
//! itself is built with debug assertions and overflow checks.
//!
//! Checksums would stop nearly all that a fuzzer makes of a genuine input, so the targets can set them right first: then the
//! code behind the checksums sees what no writer wrote.

pub mod catalog;
pub mod context;
pub mod genuine;
pub mod history;
pub mod input;
pub mod record;
pub mod repair;
pub mod restore;
pub mod stream;
