//! What a board gives to the demonstration.

use core::fmt;

/// A board.
pub trait Board {
    /// Shows a line to whoever watches.
    fn log(&mut self, line: fmt::Arguments<'_>);
}
