//! What a dump tells while it is written, as its catalog takes it down.

use core::convert::Infallible;

use crate::checksum::Crc32c;
use crate::device::block::BlockDevice;
use crate::units::{BlockAddr, Ino, StreamBlock, TapeNo};

use super::build::CatalogWriter;
use super::error::CatalogError;
use super::row::{NameRow, ObjectRow, WhichMap};

/// Takes down what a dump consists of, in the order of its tapes: [`CatalogWriter`] makes a catalog of it, `()` forgets it.
pub trait CatalogSink {
    /// Why nothing more can be taken down.
    type Error;

    /// A tape begins with this block of the dump, in the order of the tapes. What is told before and stands behind that place is
    /// on this tape: an end of medium can come after the fact.
    ///
    /// # Errors
    /// As for all calls: it cannot be taken down, and nothing more.
    fn tape(&mut self, tape: TapeNo, first: BlockAddr) -> Result<(), Self::Error>;

    /// Bytes of a map, as on tape, from byte `at` of it on, which is a multiple of 128.
    ///
    /// # Errors
    /// See [`tape`](Self::tape).
    fn map(&mut self, which: WhichMap, at: u32, bytes: &[u8]) -> Result<(), Self::Error>;

    /// A name in a directory; `.` and `..` are none.
    ///
    /// # Errors
    /// See [`tape`](Self::tape).
    fn name(&mut self, row: NameRow<'_>) -> Result<(), Self::Error>;

    /// An object, when all is known of it; of a directory, behind its names.
    ///
    /// # Errors
    /// See [`tape`](Self::tape).
    fn object(&mut self, row: &ObjectRow) -> Result<(), Self::Error>;

    /// Stage V begins with this block.
    fn attributes(&mut self, from: StreamBlock);

    /// Properties of an object that stand apart from it.
    ///
    /// # Errors
    /// See [`tape`](Self::tape).
    fn apart(&mut self, ino: Ino, place: StreamBlock) -> Result<(), Self::Error>;
}

impl<D: BlockDevice, C: Crc32c> CatalogSink for CatalogWriter<'_, D, C> {
    type Error = CatalogError<D::Error>;

    fn tape(&mut self, tape: TapeNo, first: BlockAddr) -> Result<(), Self::Error> {
        CatalogWriter::tape(self, tape, first)
    }
    fn map(&mut self, which: WhichMap, at: u32, bytes: &[u8]) -> Result<(), Self::Error> {
        CatalogWriter::map(self, which, at, bytes)
    }
    fn name(&mut self, row: NameRow<'_>) -> Result<(), Self::Error> {
        CatalogWriter::name(self, row)
    }
    fn object(&mut self, row: &ObjectRow) -> Result<(), Self::Error> {
        CatalogWriter::object(self, row)
    }
    fn attributes(&mut self, from: StreamBlock) {
        CatalogWriter::attributes(self, from);
    }
    fn apart(&mut self, ino: Ino, place: StreamBlock) -> Result<(), Self::Error> {
        CatalogWriter::apart(self, ino, place)
    }
}

/// A sink that stays where it is: a dump is smaller without it.
impl<K: CatalogSink + ?Sized> CatalogSink for &mut K {
    type Error = K::Error;

    fn tape(&mut self, tape: TapeNo, first: BlockAddr) -> Result<(), K::Error> {
        (**self).tape(tape, first)
    }
    fn map(&mut self, which: WhichMap, at: u32, bytes: &[u8]) -> Result<(), K::Error> {
        (**self).map(which, at, bytes)
    }
    fn name(&mut self, row: NameRow<'_>) -> Result<(), K::Error> {
        (**self).name(row)
    }
    fn object(&mut self, row: &ObjectRow) -> Result<(), K::Error> {
        (**self).object(row)
    }
    fn attributes(&mut self, from: StreamBlock) {
        (**self).attributes(from);
    }
    fn apart(&mut self, ino: Ino, place: StreamBlock) -> Result<(), K::Error> {
        (**self).apart(ino, place)
    }
}

impl CatalogSink for () {
    type Error = Infallible;

    fn tape(&mut self, _: TapeNo, _: BlockAddr) -> Result<(), Infallible> {
        Ok(())
    }
    fn map(&mut self, _: WhichMap, _: u32, _: &[u8]) -> Result<(), Infallible> {
        Ok(())
    }
    fn name(&mut self, _: NameRow<'_>) -> Result<(), Infallible> {
        Ok(())
    }
    fn object(&mut self, _: &ObjectRow) -> Result<(), Infallible> {
        Ok(())
    }
    fn attributes(&mut self, _: StreamBlock) {}
    fn apart(&mut self, _: Ino, _: StreamBlock) -> Result<(), Infallible> {
        Ok(())
    }
}

/// A sink that need not be there.
impl<K: CatalogSink> CatalogSink for Option<K> {
    type Error = K::Error;

    fn tape(&mut self, tape: TapeNo, first: BlockAddr) -> Result<(), K::Error> {
        self.as_mut().map_or(Ok(()), |sink| sink.tape(tape, first))
    }
    fn map(&mut self, which: WhichMap, at: u32, bytes: &[u8]) -> Result<(), K::Error> {
        self.as_mut().map_or(Ok(()), |sink| sink.map(which, at, bytes))
    }
    fn name(&mut self, row: NameRow<'_>) -> Result<(), K::Error> {
        self.as_mut().map_or(Ok(()), |sink| sink.name(row))
    }
    fn object(&mut self, row: &ObjectRow) -> Result<(), K::Error> {
        self.as_mut().map_or(Ok(()), |sink| sink.object(row))
    }
    fn attributes(&mut self, from: StreamBlock) {
        if let Some(sink) = self {
            sink.attributes(from);
        }
    }
    fn apart(&mut self, ino: Ino, place: StreamBlock) -> Result<(), K::Error> {
        self.as_mut().map_or(Ok(()), |sink| sink.apart(ino, place))
    }
}
