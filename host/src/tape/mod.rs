//! The tapes of a Linux host, all behind the core's `TapeDevice`. Layer: device; knows nothing of dumps, except
//! [`compressed`], which knows how one kind of them is packed.

pub mod compressed;
pub mod copied;
mod error;
mod guarded;
mod holes;
pub mod label;
pub mod library;
mod motion;
pub mod null;
mod open;
pub mod qualify;
pub mod read_ahead;
pub mod st;
pub mod stream_file;
mod sys;
mod thread;
pub mod virtual_tape;
pub mod write_behind;

pub use error::TapeError;
pub use open::{Existing, Mode, TapeSpec, ahead_or_behind, open};
pub use thread::Stop;

use tapedump_core::device::tape::{
    Space, Spaced, TapeCapabilities, TapeDevice, TapePosition, TapeRead, TapeWrite,
};

/// Any tape of the host.
pub trait Tape: TapeDevice<Error = TapeError> + Send {}

impl<T: TapeDevice<Error = TapeError> + Send + ?Sized> Tape for T {}

impl TapeDevice for Box<dyn Tape> {
    type Error = TapeError;

    fn capabilities(&self) -> TapeCapabilities {
        (**self).capabilities()
    }
    fn read(&mut self, buf: &mut [u8]) -> Result<TapeRead, TapeError> {
        (**self).read(buf)
    }
    fn write(&mut self, record: &[u8]) -> Result<TapeWrite, TapeError> {
        (**self).write(record)
    }
    fn write_filemark(&mut self) -> Result<TapeWrite, TapeError> {
        (**self).write_filemark()
    }
    fn flush(&mut self) -> Result<(), TapeError> {
        (**self).flush()
    }
    fn position(&mut self) -> Result<TapePosition, TapeError> {
        (**self).position()
    }
    fn locate(&mut self, to: TapePosition) -> Result<Spaced, TapeError> {
        (**self).locate(to)
    }
    fn space(&mut self, by: Space) -> Result<Spaced, TapeError> {
        (**self).space(by)
    }
    fn rewind(&mut self) -> Result<(), TapeError> {
        (**self).rewind()
    }
    fn unload(&mut self) -> Result<(), TapeError> {
        (**self).unload()
    }
}
