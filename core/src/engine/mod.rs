//! The step machines that join streams with devices: [`dump::Dump`] and [`restore::Restore`].
//!
//! `step()` does a bounded amount of work and says what happened, so that a caller can show progress, stop between
//! any two steps, or run several machines in one thread.

pub mod catalog_file;
mod content;
pub mod dump;
mod names;
mod notes;
pub mod rebuild;
pub mod restore;

#[cfg(test)]
mod limits_tests;
#[cfg(test)]
mod tests;
