//! Reading the compressed dumps of Linux `dump -z`, `-j` and `-y` (`format.md` 3.2). Layer: on top of any tape.
//!
//! Such a tape file begins with one plain record. Its TS_TAPE header has the flag 0x0080 and the number of tape blocks
//! per record (`c_ntrec`). Every later record is a prefix of 4 bytes, little-endian, and that many bytes: bit 0
//! compressed, bits 1 to 3 method (0 zlib, 1 bzip2, 2 LZO), bits 4 to 31 length. Files and pipes keep no
//! record boundaries, so the prefixes are followed through the bytes, however the tape below cuts them.
//!
//! Whether a tape file is compressed shows in its first record; the others pass through unchanged.

use super::Tape;
use super::error::TapeError;
use flate2::{Decompress, FlushDecompress, Status};
use tapedump_core::device::ErrorKind;
use tapedump_core::device::tape::{
    Space, Spaced, TapeCapabilities, TapeDevice, TapePosition, TapeRead, TapeWrite,
};
use tapedump_core::units::TAPE_BLOCK_LEN;

const PREFIX_LEN: usize = 4;
/// Most tape blocks per record of a compressed dump that are believed: `dump -b` takes no more than 1,024.
const RECORD_BLOCKS_MAX: u32 = 1024;
/// Room for reading the tape below; grows where its records are longer.
const READ_LEN: usize = 256 << 10;
const RECORD_LEN_MAX: usize = RECORD_BLOCKS_MAX as usize * TAPE_BLOCK_LEN;

/// A tape whose compressed tape files read as if they were not compressed. See the module's head.
#[derive(Debug)]
pub struct Compressed<T> {
    tape: T,
    /// Where in the present tape file, when that is compressed.
    unpacking: Option<Unpacking>,
    /// Whether the next record is the first of its tape file.
    at_start: bool,
}

/// A compressed tape file being read. `window[from..]` is what was read from the tape and not yet used.
#[derive(Debug)]
struct Unpacking {
    file: u32,
    record: u64,
    record_len: usize,
    window: Vec<u8>,
    from: usize,
    /// One unpacked record, for a reader whose buffer was too small; empty: none.
    pending: Vec<u8>,
    /// The filemark that ended the file, once it was met.
    mark: Option<TapeRead>,
    /// The prefixes lead nowhere any more; only the filemark is of use.
    lost: bool,
    zlib: Decompress,
}

/// How a record is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Packing {
    Stored,
    Zlib,
    Bzip2,
    Lzo,
}

/// The prefix of a record: how it is packed, and in how many bytes.
fn parse_prefix(prefix: [u8; PREFIX_LEN]) -> Option<(Packing, usize)> {
    let word = u32::from_le_bytes(prefix);
    let packing = match (word & 1, (word >> 1) & 7) {
        (0, _) => Packing::Stored,
        (_, 0) => Packing::Zlib,
        (_, 1) => Packing::Bzip2,
        (_, 2) => Packing::Lzo,
        _ => return None,
    };
    Some((packing, (word >> 4) as usize))
}

/// The record length of a compressed tape file, if its first bytes `start` say that it is one.
fn compressed_record_len(start: &[u8]) -> Option<usize> {
    const TS_TAPE: u32 = 1;
    const FLAG_COMPRESSED: u32 = 0x0080;
    const MAGIC_NFS: u32 = 60012;
    let header = start.get(..TAPE_BLOCK_LEN)?;
    let field = |at: usize| header.get(at..at + 4).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok());
    let read = match field(24)? {
        magic if u32::from_le_bytes(magic) == MAGIC_NFS => u32::from_le_bytes,
        magic if u32::from_be_bytes(magic) == MAGIC_NFS => u32::from_be_bytes,
        _ => return None,
    };
    let blocks = read(field(896)?);
    let compressed = read(field(0)?) == TS_TAPE && read(field(888)?) & FLAG_COMPRESSED != 0;
    (compressed && (1..=RECORD_BLOCKS_MAX).contains(&blocks)).then(|| blocks as usize * TAPE_BLOCK_LEN)
}

fn damaged<T>(what: impl Into<String>) -> Result<T, TapeError> {
    Err(TapeError::new(ErrorKind::Medium, "compressed dump", what))
}

/// Unpacks `packed` into `record`; gives the length.
fn unpack(
    zlib: &mut Decompress,
    packing: Packing,
    packed: &[u8],
    record: &mut [u8],
) -> Result<usize, TapeError> {
    let len = match packing {
        Packing::Stored => record.get_mut(..packed.len()).map(|to| {
            to.copy_from_slice(packed);
            packed.len()
        }),
        Packing::Zlib => {
            zlib.reset(true);
            match zlib.decompress(packed, record, FlushDecompress::Finish) {
                Ok(Status::StreamEnd) => Some(zlib.total_out() as usize),
                _ => None,
            }
        }
        Packing::Bzip2 => {
            let mut bzip2 = bzip2::Decompress::new(false);
            match bzip2.decompress(packed, record) {
                Ok(bzip2::Status::StreamEnd) => Some(bzip2.total_out() as usize),
                _ => None,
            }
        }
        Packing::Lzo => lzokay::decompress::decompress(packed, record).ok(),
    };
    match len {
        Some(len) if len > 0 && len.is_multiple_of(TAPE_BLOCK_LEN) => Ok(len),
        _ => damaged("a record does not unpack"),
    }
}

impl Unpacking {
    fn new(file: u32, record_len: usize) -> Self {
        Self {
            file,
            record: 0,
            record_len,
            window: Vec::new(),
            from: 0,
            pending: Vec::new(),
            mark: None,
            lost: false,
            zlib: Decompress::new(true),
        }
    }

    fn available(&self) -> usize {
        self.window.len() - self.from
    }

    /// Reads on until `len` bytes are in the window. `None` is success; otherwise what came instead.
    fn want<T: Tape>(&mut self, tape: &mut T, len: usize) -> Result<Option<TapeRead>, TapeError> {
        while self.available() < len {
            if self.mark.is_some() {
                return Ok(self.mark);
            }
            self.window.drain(..self.from);
            self.from = 0;
            let filled = self.window.len();
            let mut room = READ_LEN;
            loop {
                self.window.resize(filled + room, 0);
                let read = tape.read(&mut self.window[filled..]);
                self.window.truncate(match read {
                    Ok(TapeRead::Record(len)) => filled + len,
                    _ => filled,
                });
                match read? {
                    TapeRead::Record(_) => break,
                    TapeRead::BufferTooSmall { needed } if needed > room => room = needed,
                    TapeRead::Filemark => {
                        self.mark = Some(TapeRead::Filemark);
                        break;
                    }
                    mark => return Ok(Some(mark)),
                }
            }
        }
        Ok(None)
    }

    /// Takes `len` bytes, which are there, out of the window.
    fn take(&mut self, len: usize) -> std::ops::Range<usize> {
        let range = self.from..self.from + len;
        self.from = range.end;
        range
    }

    /// The next record into `record`, which has room for one.
    fn next<T: Tape>(&mut self, tape: &mut T, record: &mut [u8]) -> Result<TapeRead, TapeError> {
        if self.lost {
            return self.skip_to_mark(tape);
        }
        let (packing, len) = if self.record == 0 {
            (Packing::Stored, self.record_len)
        } else {
            match self.want(tape, PREFIX_LEN) {
                Ok(None) => {}
                Ok(Some(mark)) if self.available() == 0 => return Ok(mark),
                Ok(Some(_)) => return self.lose("its last record is cut off"),
                Err(error) => return self.lose_by(error),
            }
            let prefix = self.take(PREFIX_LEN);
            let prefix = self.window.get(prefix).and_then(|bytes| <[u8; PREFIX_LEN]>::try_from(bytes).ok());
            match prefix.and_then(parse_prefix) {
                // What does not shrink is stored; packed data is never longer than that.
                Some((packing, len)) if (1..=self.record_len).contains(&len) => (packing, len),
                _ => {
                    return self
                        .lose("the length of a record is impossible; the rest of the tape file is lost");
                }
            }
        };
        match self.want(tape, len) {
            Ok(None) => {}
            Ok(Some(_)) => return self.lose("its last record is cut off"),
            Err(error) => return self.lose_by(error),
        }
        let packed = self.take(len);
        self.record += 1;
        unpack(&mut self.zlib, packing, &self.window[packed], record).map(TapeRead::Record)
    }

    fn lose(&mut self, what: &str) -> Result<TapeRead, TapeError> {
        self.lost = true;
        self.record += 1;
        damaged(what)
    }

    /// Where bytes of the tape are missing, the next prefix cannot be found.
    fn lose_by(&mut self, error: TapeError) -> Result<TapeRead, TapeError> {
        self.lost = true;
        self.record += 1;
        Err(error)
    }

    fn skip_to_mark<T: Tape>(&mut self, tape: &mut T) -> Result<TapeRead, TapeError> {
        self.window.clear();
        self.from = 0;
        while self.want(tape, 1)?.is_none() {
            self.window.clear();
        }
        self.want(tape, 1).map(|mark| mark.unwrap_or(TapeRead::EndOfData))
    }
}

impl<T: Tape> Compressed<T> {
    /// Reads `tape` from where it stands.
    ///
    /// # Errors
    /// The tape does not know where it stands.
    pub fn new(mut tape: T) -> Result<Self, TapeError> {
        let at_start = tape.position()?.record == 0;
        Ok(Self { tape, unpacking: None, at_start })
    }

    /// After a positioning of the tape below.
    fn moved(&mut self) -> Result<(), TapeError> {
        self.unpacking = None;
        self.at_start = self.tape.position()?.record == 0;
        Ok(())
    }

    fn unpack_next(&mut self, buf: &mut [u8]) -> Result<TapeRead, TapeError> {
        let Some(unpacking) = &mut self.unpacking else { return self.tape.read(buf) };
        if unpacking.pending.is_empty() {
            if buf.len() >= unpacking.record_len {
                return unpacking.next(&mut self.tape, buf);
            }
            let mut record = vec![0; unpacking.record_len];
            match unpacking.next(&mut self.tape, &mut record)? {
                TapeRead::Record(len) => record.truncate(len),
                mark => return Ok(mark),
            }
            unpacking.pending = record;
        }
        let needed = unpacking.pending.len();
        let Some(record) = buf.get_mut(..needed) else { return Ok(TapeRead::BufferTooSmall { needed }) };
        record.copy_from_slice(&unpacking.pending);
        unpacking.pending = Vec::new();
        Ok(TapeRead::Record(needed))
    }

    /// Looks at the first record of a tape file; when it is the beginning of a compressed dump, what was read
    /// becomes the window.
    fn recognize(&mut self, buf: &mut [u8], read: TapeRead) -> Result<Option<TapeRead>, TapeError> {
        let TapeRead::Record(len) = read else { return Ok(Some(read)) };
        let start = &buf[..len];
        let Some(record_len) = compressed_record_len(start) else { return Ok(Some(read)) };
        let at = self.tape.position()?;
        let mut unpacking = Unpacking::new(at.file, record_len);
        unpacking.window.extend_from_slice(start);
        self.unpacking = Some(unpacking);
        Ok(None)
    }

    /// Goes to `to` in a compressed tape file, by unpacking all that lies before.
    fn unpack_to(&mut self, to: TapePosition) -> Result<Spaced, TapeError> {
        let spaced = self.tape.locate(TapePosition { file: to.file, record: 0 })?;
        self.moved()?;
        if spaced != Spaced::Done {
            return Ok(spaced);
        }
        let mut record = vec![0; RECORD_LEN_MAX];
        for _ in 0..to.record {
            match self.read(&mut record) {
                Ok(TapeRead::Record(_)) => {}
                Ok(TapeRead::Filemark) => return Ok(Spaced::Filemark),
                Ok(TapeRead::EndOfData) => return Ok(Spaced::EndOfData),
                Ok(TapeRead::BufferTooSmall { needed }) => record.resize(needed, 0),
                // A record that does not unpack is passed over like any other.
                Err(_) => {}
            }
        }
        Ok(Spaced::Done)
    }
}

impl<T: Tape> TapeDevice for Compressed<T> {
    type Error = TapeError;

    fn capabilities(&self) -> TapeCapabilities {
        self.tape.capabilities()
    }

    fn read(&mut self, buf: &mut [u8]) -> Result<TapeRead, TapeError> {
        let read = if self.unpacking.is_some() {
            self.unpack_next(buf)?
        } else {
            let read = self.tape.read(buf)?;
            if !self.at_start || matches!(read, TapeRead::BufferTooSmall { .. }) {
                read
            } else {
                self.at_start = false;
                match self.recognize(buf, read)? {
                    Some(read) => read,
                    None => self.unpack_next(buf)?,
                }
            }
        };
        if read == TapeRead::Filemark {
            self.unpacking = None;
            self.at_start = true;
        }
        Ok(read)
    }

    fn write(&mut self, record: &[u8]) -> Result<TapeWrite, TapeError> {
        self.unpacking = None;
        self.at_start = false;
        self.tape.write(record)
    }

    fn write_filemark(&mut self) -> Result<TapeWrite, TapeError> {
        let written = self.tape.write_filemark()?;
        self.moved()?;
        Ok(written)
    }

    fn flush(&mut self) -> Result<(), TapeError> {
        self.tape.flush()
    }

    fn position(&mut self) -> Result<TapePosition, TapeError> {
        match &self.unpacking {
            Some(unpacking) => {
                let record = unpacking.record - u64::from(!unpacking.pending.is_empty());
                Ok(TapePosition { file: unpacking.file, record })
            }
            None => self.tape.position(),
        }
    }

    fn locate(&mut self, to: TapePosition) -> Result<Spaced, TapeError> {
        if to.record != 0 && self.tape.capabilities().can_position {
            // Whether that tape file is compressed shows only at its beginning.
            self.tape.locate(TapePosition { file: to.file, record: 0 })?;
            self.moved()?;
            let mut start = vec![0; RECORD_LEN_MAX];
            // What cannot be read here is met again by the locate or the reads that follow.
            _ = self.read(&mut start);
            if self.unpacking.is_some() {
                return self.unpack_to(to);
            }
        }
        let spaced = self.tape.locate(to)?;
        self.moved()?;
        Ok(spaced)
    }

    fn space(&mut self, by: Space) -> Result<Spaced, TapeError> {
        let Some(unpacking) = &self.unpacking else {
            let spaced = self.tape.space(by)?;
            self.moved()?;
            return Ok(spaced);
        };
        let at = TapePosition { file: unpacking.file, ..self.position()? };
        match by {
            Space::Records(count) => match at.record.checked_add_signed(count) {
                Some(record) => self.unpack_to(TapePosition { file: at.file, record }),
                None => {
                    // Over the beginning of this tape file: before the filemark ahead of it.
                    self.tape.locate(TapePosition { file: at.file, record: 0 })?;
                    let spaced = self.tape.space(Space::Filemarks(-1))?;
                    self.moved()?;
                    Ok(if spaced == Spaced::Done { Spaced::Filemark } else { spaced })
                }
            },
            Space::Filemarks(0) => Ok(Spaced::Done),
            Space::Filemarks(_) | Space::EndOfData => {
                // The tape below may be ahead, even behind the filemark.
                self.tape.locate(TapePosition { file: at.file, record: 0 })?;
                let spaced = self.tape.space(by)?;
                self.moved()?;
                Ok(spaced)
            }
        }
    }

    fn rewind(&mut self) -> Result<(), TapeError> {
        self.tape.rewind()?;
        self.moved()
    }

    fn unload(&mut self) -> Result<(), TapeError> {
        self.tape.unload()
    }
}

#[cfg(test)]
#[path = "compressed_tests.rs"]
mod tests;
