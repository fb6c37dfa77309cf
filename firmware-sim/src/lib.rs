//! The demonstration of the core on a machine without an allocator: the part that every board shares. A board
//! has a [`demo::Memory`] in static memory, implements [`board::Board`], and calls [`demo::run`].
#![no_std]
#![forbid(unsafe_code)]

pub mod board;
pub mod demo;
mod tree;
