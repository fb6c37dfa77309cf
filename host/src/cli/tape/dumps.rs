//! What a tape file says of the dump in it, by its first and its last block only: enough to tell dumps apart.

use crate::checksum::HostCrc32c;
use crate::cli::json::JsonPath;
use crate::cli::list::utc;
use crate::text::{printable, printable_path};
use serde::Serialize;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use tapedump_core::record::catalog_file::CatalogFileHead;
use tapedump_core::record::dialect::Dialect;
use tapedump_core::record::header::{Header, HeaderKind, HeaderRepr, TapeBlock};
use tapedump_core::units::{DumpId, TAPE_BLOCK_LEN};

/// `DR_COMPRESSED`: Linux' `dump -z` and the like. Where such a dump ends cannot be told from its last bytes.
const FLAG_COMPRESSED: u32 = 0x0080;

/// How far a dump is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Extent {
    /// Its end is there.
    Complete,
    /// It has no end: it was cut short, or goes on on a further tape.
    CutShort,
    /// Another program is writing it.
    BeingWritten,
    /// Only reading it tells.
    Unknown,
}

impl Extent {
    /// As it follows a dump in a list.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::CutShort => "cut short, or goes on on a further tape",
            Self::BeingWritten => "being written",
            Self::Unknown => "not known whether complete",
        }
    }
}

/// A dump as its headers describe it.
#[derive(Debug, Serialize)]
pub struct DumpHead {
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<String>,
    level: u32,
    /// RFC 3339, in UTC.
    #[serde(serialize_with = "rfc3339")]
    date: u32,
    host: String,
    /// The tree that was dumped.
    #[serde(flatten)]
    source: JsonPath,
    /// Which tape of the dump this is.
    tape: u32,
    #[serde(skip)]
    source_bytes: Vec<u8>,
    extent: Extent,
    #[serde(skip)]
    id: Option<DumpId>,
}

impl DumpHead {
    /// Its identity, if it is one of ours.
    pub const fn id(&self) -> Option<DumpId> {
        self.id
    }

    /// Whether all of it is there, as far as its last block tells.
    pub const fn extent(&self) -> Extent {
        self.extent
    }

    /// For who knows better.
    pub const fn set_extent(&mut self, extent: Extent) {
        self.extent = extent;
    }

    /// The line for a person.
    pub fn line(&self) -> String {
        let label = self.label.as_deref().map_or_else(String::new, |label| format!(" '{label}'"));
        let part = if self.tape > 1 { format!("tape {} of the ", self.tape) } else { String::new() };
        format!(
            "{part}dump{label} of {}:{}, level {}, {}, {}",
            self.host,
            printable(&self.source_bytes),
            self.level,
            utc(self.date.into()),
            self.extent.text()
        )
    }
}

/// Looks at the dump in the tape file `path`, of which `len` bytes count. `None`: no dump begins there.
pub fn look(path: &Path, len: u64) -> io::Result<Option<DumpHead>> {
    let file = File::open(path)?;
    let Some((first, dialect, block)) = block_at(&file, 0)? else { return Ok(None) };
    if first.kind != HeaderKind::Tape || first.is_catalog() {
        return Ok(None);
    }
    let extent = if first.flags & FLAG_COMPRESSED != 0 {
        Extent::Unknown
    } else if ends(&file, len, &first, dialect)? {
        Extent::Complete
    } else {
        Extent::CutShort
    };
    let header = Header::new(&block);
    let names = header.names();
    let label = text(&header.label());
    Ok(Some(DumpHead {
        label: (!label.is_empty() && label != "none").then_some(label),
        tape: first.tape.0,
        level: first.level,
        date: first.date,
        host: text(&names.host),
        source: JsonPath::new(until_nul(&names.path)),
        source_bytes: until_nul(&names.path).to_vec(),
        extent,
        id: first.extension.map(|extension| extension.dump_id),
    }))
}

/// The catalog of a dump in a tape file.
#[derive(Clone, Copy, Debug)]
pub struct CatalogFile {
    /// The dump.
    pub dump: DumpId,
    /// All of it is there.
    pub is_whole: bool,
}

/// Looks for the catalog of a dump in the tape file `path`, of which `len` bytes count, by its first and its last block.
pub fn look_for_catalog(path: &Path, len: u64) -> io::Result<Option<CatalogFile>> {
    let file = File::open(path)?;
    let mut block: TapeBlock = [0; TAPE_BLOCK_LEN];
    let last = len.checked_sub(TAPE_BLOCK_LEN as u64);
    let head = match last {
        Some(at) => {
            file.read_exact_at(&mut block, at).map(|()| CatalogFileHead::parse::<HostCrc32c>(&block))?
        }
        None => return Ok(None),
    };
    if let Ok(head) = head {
        // The same block stands before the pages: there, nothing is behind it.
        let is_whole =
            len / TAPE_BLOCK_LEN as u64 > head.archive_blocks.saturating_add(head.pages).saturating_add(1);
        return Ok(Some(CatalogFile { dump: head.dump, is_whole }));
    }
    let first = block_at(&file, 0)?.map(|(first, ..)| first).filter(HeaderRepr::is_catalog);
    let dump = first.and_then(|first| first.extension).map(|extension| extension.dump_id);
    Ok(dump.map(|dump| CatalogFile { dump, is_whole: false }))
}

/// As [`look`], for messages: what cannot be looked at is no dump.
pub fn extent_of(path: &Path, len: u64) -> Extent {
    look(path, len).ok().flatten().map_or(Extent::Unknown, |head| head.extent())
}

/// Says that a dump is not all there; `name` is its tape.
pub fn cut_short(name: &Path) -> String {
    format!(
        "{}: the dump is cut short: it does not hold everything that it names; see what is missing with: \
         tapedump verify",
        printable_path(name)
    )
}

/// Whether the last block is the end of this dump.
fn ends(file: &File, len: u64, first: &HeaderRepr, dialect: Dialect) -> io::Result<bool> {
    let whole = len.is_multiple_of(TAPE_BLOCK_LEN as u64);
    let Some(at) = len.checked_sub(TAPE_BLOCK_LEN as u64).filter(|_| whole) else { return Ok(false) };
    let mut block: TapeBlock = [0; TAPE_BLOCK_LEN];
    file.read_exact_at(&mut block, at)?;
    let last = Header::new(&block).parse::<HostCrc32c>(dialect);
    Ok(last.is_ok_and(|last| last.kind == HeaderKind::End && last.date == first.date))
}

/// The header at `at`, or `None`.
fn block_at(file: &File, at: u64) -> io::Result<Option<(HeaderRepr, Dialect, TapeBlock)>> {
    let mut block: TapeBlock = [0; TAPE_BLOCK_LEN];
    match file.read_exact_at(&mut block, at) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let header = Header::new(&block);
    let Ok(dialect) = header.detect() else { return Ok(None) };
    Ok(header.parse::<HostCrc32c>(dialect).ok().map(|repr| (repr, dialect, block)))
}

fn rfc3339<S: serde::Serializer>(secs: &u32, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&utc((*secs).into()).replace(' ', "T"))
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

fn text(bytes: &[u8]) -> String {
    printable(until_nul(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_dump_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        for content in [&b""[..], b"short", &[0; 1024], &[7; 4096]] {
            std::fs::write(&path, content).unwrap();
            assert!(look(&path, content.len() as u64).unwrap().is_none());
            assert_eq!(extent_of(&path, content.len() as u64), Extent::Unknown);
        }
        assert!(look(&dir.path().join("missing"), 0).is_err());
    }
}
