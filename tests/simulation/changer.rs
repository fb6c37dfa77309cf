//! The drive of a dump, which takes one tape after the other.

use std::cell::RefCell;
use std::rc::Rc;

use tapedump_core::device::tape::{
    Space, Spaced, TapeCapabilities, TapeDevice, TapePosition, TapeRead, TapeWrite,
};
use tapedump_core::units::TapeNo;

use crate::machine::{Drive, Error};

/// A drive with the last of a dump's tapes in it. Tapes are their places among all that the machine has.
pub struct Changer<'c, 'm> {
    tapes: &'c mut [Drive<'m>],
    /// The dump's, in order. Whoever keeps the dump knows them, too.
    order: Rc<RefCell<Vec<u8>>>,
    /// Those that nothing is on.
    free: Vec<u8>,
}

impl<'c, 'm> Changer<'c, 'm> {
    /// With the last tape of `order` in the drive.
    pub const fn new(tapes: &'c mut [Drive<'m>], order: Rc<RefCell<Vec<u8>>>, free: Vec<u8>) -> Self {
        Self { tapes, order, free }
    }

    /// All tapes.
    pub const fn tapes(&mut self) -> &mut [Drive<'m>] {
        self.tapes
    }

    fn last(&self) -> usize {
        usize::from(*self.order.borrow().last().expect("a dump begins on a tape"))
    }

    fn loaded(&mut self) -> &mut Drive<'m> {
        let last = self.last();
        &mut self.tapes[last]
    }
}

impl TapeDevice for Changer<'_, '_> {
    type Error = Error;

    fn capabilities(&self) -> TapeCapabilities {
        self.tapes[self.last()].capabilities()
    }

    fn read(&mut self, buf: &mut [u8]) -> Result<TapeRead, Error> {
        self.loaded().read(buf)
    }

    fn write(&mut self, record: &[u8]) -> Result<TapeWrite, Error> {
        self.loaded().write(record)
    }

    fn write_filemark(&mut self) -> Result<TapeWrite, Error> {
        self.loaded().write_filemark()
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.loaded().flush()
    }

    fn position(&mut self) -> Result<TapePosition, Error> {
        self.loaded().position()
    }

    fn locate(&mut self, to: TapePosition) -> Result<Spaced, Error> {
        self.loaded().locate(to)
    }

    fn space(&mut self, by: Space) -> Result<Spaced, Error> {
        self.loaded().space(by)
    }

    fn rewind(&mut self) -> Result<(), Error> {
        self.loaded().rewind()
    }

    fn unload(&mut self) -> Result<(), Error> {
        self.loaded().unload()
    }

    fn has_next_tape(&self, _: TapeNo) -> bool {
        !self.free.is_empty()
    }

    fn next_tape(&mut self, tape: TapeNo) -> Result<bool, Error> {
        if self.free.is_empty() {
            return Ok(false);
        }
        // The last one had room for nothing when it is asked for again.
        self.order.borrow_mut().truncate(tape.0 as usize - 1);
        self.order.borrow_mut().push(self.free.remove(0));
        self.rewind()?;
        Ok(true)
    }
}
