//! The demonstration of the core on a machine without an allocator: the part that every board shares. A board
//! has a [`demo::Memory`] in static memory, implements [`board::Board`], and calls [`demo::run`].
//!
//! [`files`] makes tape and block devices of whatever files a board has.
#![no_std]
#![forbid(unsafe_code)]

pub mod board;
mod contexts;
pub mod demo;
mod drive;
pub mod engine;
pub mod files;
mod levels;
mod nowhere;
pub mod part;
mod restart;
mod tree;
