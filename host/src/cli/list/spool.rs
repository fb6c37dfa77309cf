//! The names of a dump in the order of its tree, each with the number of its directory only: with whole paths, a file of
//! them would outgrow the tape by far, since a deep directory's path is that of all it holds.

use crate::cli::reading::Entry;
use std::io::{self, Read, Write};
use tapedump_core::units::Ino;

/// Number, number of the directory, length of the name, length of the base, kind.
const HEAD_LEN: usize = 4 + 4 + 4 + 4 + 1;

/// Names on their way to a file, or back.
pub struct Spool<F>(pub F);

/// What is kept of a name.
#[derive(Debug, PartialEq, Eq)]
pub struct Spooled {
    pub entry: Entry,
    pub name: Vec<u8>,
    /// The path of its directory, where that is not a directory named before.
    pub base: Option<Vec<u8>>,
}

impl<F: Write> Spool<F> {
    /// Adds a name; `base` is the path of its directory where what was added before does not tell it.
    pub fn put(&mut self, entry: Entry, name: &[u8], base: Option<&[u8]>) -> io::Result<()> {
        let too_long = |_| io::Error::from(io::ErrorKind::InvalidInput);
        let name_len = u32::try_from(name.len()).map_err(too_long)?;
        let base_len = u32::try_from(base.unwrap_or_default().len()).map_err(too_long)?;
        for number in [entry.ino.0, entry.parent.0, name_len, base_len] {
            self.0.write_all(&number.to_le_bytes())?;
        }
        self.0.write_all(&[u8::from(entry.directory)])?;
        self.0.write_all(name)?;
        self.0.write_all(base.unwrap_or_default())
    }
}

impl<F: Read> Spool<F> {
    /// The next name; `None` behind the last one.
    pub fn next(&mut self) -> io::Result<Option<Spooled>> {
        let mut head = Vec::with_capacity(HEAD_LEN);
        if (&mut self.0).take(HEAD_LEN as u64).read_to_end(&mut head)? == 0 {
            return Ok(None);
        }
        let mut head = &head[..];
        let mut number = || {
            let (bytes, rest) = head.split_first_chunk().ok_or(io::ErrorKind::UnexpectedEof)?;
            head = rest;
            Ok::<u32, io::Error>(u32::from_le_bytes(*bytes))
        };
        let (ino, parent) = (Ino(number()?), Ino(number()?));
        let (name_len, base_len) = (number()?, number()?);
        let directory = head.first() == Some(&1);
        let mut bytes = |len: u32| -> io::Result<Vec<u8>> {
            let mut bytes = vec![0; len as usize];
            self.0.read_exact(&mut bytes)?;
            Ok(bytes)
        };
        let name = bytes(name_len)?;
        let base = bytes(base_len)?;
        let entry = Entry { ino, parent, directory };
        Ok(Some(Spooled { entry, name, base: (!base.is_empty()).then_some(base) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_back_what_it_was_given() {
        let entry = |ino, parent, directory| Entry { ino: Ino(ino), parent: Ino(parent), directory };
        let names = [
            Spooled { entry: entry(3, 2, true), name: b"a".to_vec(), base: None },
            Spooled { entry: entry(u32::MAX, 7, false), name: vec![0xff; 255], base: Some(b"b/c".to_vec()) },
            Spooled { entry: entry(4, 3, false), name: Vec::new(), base: None },
        ];
        let mut spool = Spool(Vec::new());
        for Spooled { entry, name, base } in &names {
            spool.put(*entry, name, base.as_deref()).unwrap();
        }
        assert_eq!(spool.0.len(), 3 * HEAD_LEN + 1 + 255 + 3);
        let mut back = Spool(&spool.0[..]);
        for name in names {
            assert_eq!(back.next().unwrap(), Some(name));
        }
        assert_eq!(back.next().unwrap(), None);
        let mut cut = Spool(&spool.0[..HEAD_LEN - 1]);
        assert_eq!(cut.next().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
