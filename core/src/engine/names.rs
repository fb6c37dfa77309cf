//! What the directories of a dump say, in two sorted tables on a scratch device: so that a restore knows the names
//! of each object, and the tree can be walked in name order, in memory that does not grow with the tree.
//!
//! ```text
//! contents   directory u32 | name            -> object u32     the tree from above
//!            directory u32 | 0 | sequence u32 -> note          attributes and properties of the directory itself
//! names      object u32 | directory u32 | name -> nothing      the tree from below
//! ```
//!
//! Invariant: every walk uses only a directory's *canonical* name, its first one in `names`. It is in one place of the
//! tree at most then, whatever the tape says, and every walk ends.

use crate::catalog::{Cursor, Table, TableBuilder, TableError};
use crate::checksum::Crc32c;
use crate::device::block::BlockDevice;
use crate::device::volume::NameBuf;
use crate::limits::{NAME_LEN_MAX, PAGE_LEN};
use crate::units::Ino;

/// Longest note: what remains of an entry beside its key.
pub const NOTE_LEN_MAX: usize = 300;
/// Directory, mark, sequence.
const NOTE_KEY_LEN: usize = 9;
const _: () = assert!(NOTE_KEY_LEN + NOTE_LEN_MAX <= crate::limits::ENTRY_LEN_MAX);

type Key = [u8; 8 + NAME_LEN_MAX];

/// A key of the numbers and the name; the length of it.
fn key_of(numbers: &[Ino], name: &[u8]) -> (Key, usize) {
    let mut key = [0; 8 + NAME_LEN_MAX];
    let numbers = numbers.iter().flat_map(|ino| ino.0.to_be_bytes());
    let mut len = 0;
    for (to, from) in key.iter_mut().zip(numbers.chain(name.iter().copied())) {
        *to = from;
        len += 1;
    }
    (key, len)
}

fn number(bytes: &[u8]) -> Option<Ino> {
    bytes.first_chunk().map(|bytes| Ino(u32::from_be_bytes(*bytes)))
}

fn copy_name(name: &[u8], to: &mut NameBuf) -> usize {
    to.iter_mut().zip(name).for_each(|(to, from)| *to = *from);
    name.len().min(NAME_LEN_MAX)
}

/// Takes entries and notes while the directories come from tape.
pub struct NamesBuilder<'m, C> {
    contents: TableBuilder<'m, C>,
    names: TableBuilder<'m, C>,
    sequence: u32,
}

impl<'m, C: Crc32c> NamesBuilder<'m, C> {
    /// Two tables in the halves of `device` and of `memory`.
    pub fn new<B: BlockDevice>(device: &B, memory: &'m mut [u8]) -> Result<Self, TableError<B::Error>> {
        let page = PAGE_LEN as u64;
        let half = device.capacity() / 2 / page * page;
        let middle = memory.len() / 2;
        let (contents, names) = memory.split_at_mut(middle);
        Ok(Self {
            contents: TableBuilder::with_crc(device, 0..half, contents)?,
            names: TableBuilder::with_crc(device, half..half * 2, names)?,
            sequence: 0,
        })
    }

    /// `name` in `directory` is `ino`.
    pub fn entry<B: BlockDevice>(
        &mut self,
        device: &mut B,
        directory: Ino,
        name: &[u8],
        ino: Ino,
    ) -> Result<(), TableError<B::Error>> {
        let (key, len) = key_of(&[directory], name);
        self.contents.push(device, key.get(..len).unwrap_or_default(), &ino.0.to_be_bytes())?;
        let (key, len) = key_of(&[ino, directory], name);
        self.names.push(device, key.get(..len).unwrap_or_default(), &[])
    }

    /// A note on `directory`; notes are given back in this order.
    pub fn note<B: BlockDevice>(
        &mut self,
        device: &mut B,
        directory: Ino,
        note: &[u8],
    ) -> Result<(), TableError<B::Error>> {
        let [a, b, c, d] = self.sequence.to_be_bytes();
        self.sequence = self.sequence.saturating_add(1);
        let (key, len) = key_of(&[directory], &[0, a, b, c, d]);
        self.contents.push(device, key.get(..len).unwrap_or_default(), note)
    }

    /// Sorts what was taken.
    pub fn finish<B: BlockDevice>(self, device: &mut B) -> Result<Names<'m, C>, TableError<B::Error>> {
        Ok(Names { contents: self.contents.finish(device)?, names: self.names.finish(device)? })
    }
}

/// The names of a dump.
pub struct Names<'m, C> {
    contents: Table<'m, C>,
    names: Table<'m, C>,
}

impl<C: Crc32c> Names<'_, C> {
    /// What `name` in `directory` is.
    pub fn lookup<B: BlockDevice>(
        &mut self,
        device: &mut B,
        directory: Ino,
        name: &[u8],
    ) -> Result<Option<Ino>, TableError<B::Error>> {
        let (key, len) = key_of(&[directory], name);
        Ok(self.contents.find(device, key.get(..len).unwrap_or_default())?.and_then(|row| number(row.value)))
    }

    /// The place before the names of `ino`.
    pub fn names_of<B: BlockDevice>(
        &mut self,
        device: &mut B,
        ino: Ino,
    ) -> Result<Cursor, TableError<B::Error>> {
        self.names.seek(device, &ino.0.to_be_bytes())
    }

    /// The next name of `ino`: its directory, and the length of the name put into `name`.
    pub fn next_name<B: BlockDevice>(
        &mut self,
        device: &mut B,
        cursor: &mut Cursor,
        ino: Ino,
        name: &mut NameBuf,
    ) -> Result<Option<(Ino, usize)>, TableError<B::Error>> {
        let row = self.names.next_with_prefix(device, cursor, &ino.0.to_be_bytes())?;
        Ok(row.and_then(|row| {
            let rest = row.key.get(4..)?;
            Some((number(rest)?, copy_name(rest.get(4..)?, name)))
        }))
    }

    /// The object that has a name at or after the place, which stays.
    pub fn peek_named<B: BlockDevice>(
        &mut self,
        device: &mut B,
        cursor: Cursor,
    ) -> Result<Option<Ino>, TableError<B::Error>> {
        let mut cursor = cursor;
        Ok(self.names.next(device, &mut cursor)?.and_then(|row| number(row.key)))
    }

    /// The one name by which a directory is known.
    pub fn canonical<B: BlockDevice>(
        &mut self,
        device: &mut B,
        directory: Ino,
        name: &mut NameBuf,
    ) -> Result<Option<(Ino, usize)>, TableError<B::Error>> {
        let mut cursor = self.names_of(device, directory)?;
        self.next_name(device, &mut cursor, directory, name)
    }

    /// Copies the next note of `directory` into `note`, and gives its length. Begin with [`notes_of`](Self::notes_of).
    pub fn next_note<B: BlockDevice>(
        &mut self,
        device: &mut B,
        cursor: &mut Cursor,
        directory: Ino,
        note: &mut [u8; NOTE_LEN_MAX],
    ) -> Result<Option<usize>, TableError<B::Error>> {
        let [a, b, c, d] = directory.0.to_be_bytes();
        let row = self.contents.next_with_prefix(device, cursor, &[a, b, c, d, 0])?;
        Ok(row.map(|row| {
            note.iter_mut().zip(row.value).for_each(|(to, from)| *to = *from);
            row.value.len().min(NOTE_LEN_MAX)
        }))
    }

    /// The place before the notes and entries of `directory`.
    pub fn notes_of<B: BlockDevice>(
        &mut self,
        device: &mut B,
        directory: Ino,
    ) -> Result<Cursor, TableError<B::Error>> {
        self.contents.seek(device, &directory.0.to_be_bytes())
    }

    /// The directory that the row at the place belongs to.
    pub fn peek_directory<B: BlockDevice>(
        &mut self,
        device: &mut B,
        cursor: Cursor,
    ) -> Result<Option<Ino>, TableError<B::Error>> {
        let mut cursor = cursor;
        Ok(self.contents.next(device, &mut cursor)?.and_then(|row| number(row.key)))
    }
}

/// A name met on a walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Visit {
    /// The directory the name is in.
    pub directory: Ino,
    /// What it is the name of.
    pub ino: Ino,
    /// Length of the name.
    pub name_len: usize,
    /// The name before in this directory is the same.
    pub repeated: bool,
}

/// A walk over the tree below a directory, in name order, parents first. The walker enters only what it is told to.
pub struct Walk {
    start: Ino,
    directory: Ino,
    cursor: Cursor,
    depth: u32,
    name: NameBuf,
    name_len: usize,
    /// Looked up when the walk comes to the directory.
    placed: bool,
}

impl Walk {
    /// A walk below `start`.
    pub const fn new(start: Ino) -> Self {
        Self {
            start,
            directory: start,
            cursor: Cursor::START,
            depth: 0,
            name: [0; NAME_LEN_MAX],
            name_len: 0,
            placed: false,
        }
    }

    /// Name of the last visit.
    pub fn name(&self) -> &[u8] {
        self.name.get(..self.name_len).unwrap_or_default()
    }

    /// Directories between the start and the last visit.
    pub const fn depth(&self) -> u32 {
        self.depth
    }

    /// Goes on below the directory visited last.
    pub const fn enter(&mut self, directory: Ino) {
        self.directory = directory;
        self.placed = false;
        self.depth = self.depth.saturating_add(1);
        self.name_len = 0;
    }

    /// The next name.
    pub fn next<C: Crc32c, B: BlockDevice>(
        &mut self,
        names: &mut Names<'_, C>,
        device: &mut B,
    ) -> Result<Option<Visit>, TableError<B::Error>> {
        if !self.placed {
            // Notes come first: their names begin with 0, those of entries with at least 1.
            let (key, len) = key_of(&[self.directory], &[1]);
            self.cursor = names.contents.seek(device, key.get(..len).unwrap_or_default())?;
            self.placed = true;
        }
        loop {
            let prefix = self.directory.0.to_be_bytes();
            if let Some(row) = names.contents.next_with_prefix(device, &mut self.cursor, &prefix)? {
                let name = row.key.get(4..).unwrap_or_default();
                let repeated = self.name_len > 0 && self.name.get(..self.name_len) == Some(name);
                let ino = number(row.value).unwrap_or_default();
                self.name_len = copy_name(name, &mut self.name);
                return Ok(Some(Visit { directory: self.directory, ino, name_len: self.name_len, repeated }));
            }
            if self.directory == self.start || !self.leave(names, device)? {
                return Ok(None);
            }
        }
    }

    /// Goes back behind the name by which the directory was entered.
    fn leave<C: Crc32c, B: BlockDevice>(
        &mut self,
        names: &mut Names<'_, C>,
        device: &mut B,
    ) -> Result<bool, TableError<B::Error>> {
        let left = self.directory;
        let Some((parent, len)) = names.canonical(device, left, &mut self.name)? else { return Ok(false) };
        self.name_len = len;
        let (key, len) = key_of(&[parent], self.name.get(..len).unwrap_or_default());
        let key = key.get(..len).unwrap_or_default();
        self.cursor = names.contents.seek(device, key)?;
        self.directory = parent;
        self.depth = self.depth.saturating_sub(1);
        // Several objects may bear the same name on a damaged tape.
        while let Some(row) = names.contents.next_with_prefix(device, &mut self.cursor, key)? {
            if row.key.len() == key.len() && number(row.value) == Some(left) {
                return Ok(true);
            }
        }
        Ok(true)
    }
}
