//! An exact reader of a tree: everything a restore must bring back, in a form that can be compared and printed.

mod compare;
mod listing;

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{SeekFrom, seek};

use crate::digest::Content;

pub use compare::{Compare, Difference};
pub use listing::{parse_listing, print_listing};

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    Regular {
        /// Digest of its content.
        content: Content,
        /// Where the file system keeps data, as begin and end.
        data: Vec<(u64, u64)>,
        /// Units of 512 bytes it occupies.
        sectors: u64,
    },
    /// A symbolic link and its target.
    Symlink(Vec<u8>),
    /// A character device and its number.
    CharacterDevice(u64),
    /// A block device and its number.
    BlockDevice(u64),
    /// A FIFO.
    Fifo,
    /// A socket.
    Socket,
}

/// Point in time: seconds since 1970 and nanoseconds forward from them.
pub type Time = (i64, i64);

/// One name of a tree and what it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub kind: Kind,
    /// Permission bits with set-id and sticky bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Length; 0 for everything but files and links.
    pub size: u64,
    /// Time of last modification.
    pub modified: Time,
    /// Time of last access, as it was before the tree was read.
    pub accessed: Time,
    /// Extended attributes, ACLs among them.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The first path, in order, of the same object, when it has several names.
    pub same_as: Option<Vec<u8>>,
    /// The object's number in its file system; never compared.
    pub number: u64,
}

/// A tree: relative paths and what they stand for. The root's path is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    /// In order of the paths' bytes.
    pub entries: BTreeMap<Vec<u8>, Entry>,
}

impl Tree {
    /// Reads the tree at `root`, following no link and entering no other file system.
    ///
    /// # Errors
    /// The first thing that cannot be read, with its path.
    pub fn read(root: &Path) -> io::Result<Self> {
        let mut reader = Reader { entries: BTreeMap::new(), links: HashMap::new(), device: 0 };
        reader.device = fs::symlink_metadata(root)?.dev();
        reader.visit(root, Vec::new())?;
        let mut tree = Self { entries: reader.entries };
        tree.name_link_groups(&reader.links);
        Ok(tree)
    }

    /// Reads what dumps of a volume hold, of it, of a snapshot of it or of what was restored: without its snapshots,
    /// and without the root, whose times they change.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_content(root: &Path) -> io::Result<Self> {
        let tree = Self::read(root)?;
        Ok(tree.without(|path, _| path.is_empty() || path == b".snapshot" || path.starts_with(b".snapshot/")))
    }

    fn name_link_groups(&mut self, links: &HashMap<u64, Vec<Vec<u8>>>) {
        for paths in links.values().filter(|paths| paths.len() > 1) {
            let first = paths.iter().min().expect("at least two").clone();
            for path in paths {
                if let Some(entry) = self.entries.get_mut(path) {
                    entry.same_as = Some(first.clone());
                }
            }
        }
    }

    /// The entry at a path.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn at(&self, path: impl AsRef<[u8]>) -> &Entry {
        let path = path.as_ref();
        self.entries.get(path).unwrap_or_else(|| panic!("no {} in the tree", printable(path)))
    }

    /// The tree without the paths for which `unwanted` holds.
    #[must_use]
    pub fn without(mut self, unwanted: impl Fn(&[u8], &Entry) -> bool) -> Self {
        self.entries.retain(|path, entry| !unwanted(path, entry));
        // The names that are left of an object are a group of their own.
        let mut groups: HashMap<Vec<u8>, Vec<Vec<u8>>> = HashMap::new();
        for (path, entry) in &mut self.entries {
            if let Some(first) = entry.same_as.take() {
                groups.entry(first).or_default().push(path.clone());
            }
        }
        for paths in groups.into_values().filter(|paths| paths.len() > 1) {
            for path in &paths {
                if let Some(entry) = self.entries.get_mut(path) {
                    entry.same_as = paths.first().cloned();
                }
            }
        }
        self
    }

    /// The tree beneath `path`, as a tree of its own.
    #[must_use]
    pub fn beneath(&self, path: &[u8]) -> Self {
        let mut entries = BTreeMap::new();
        for (full, entry) in &self.entries {
            if let Some(rest) = full.strip_prefix(path) {
                match rest.first() {
                    None => entries.insert(Vec::new(), entry.clone()),
                    Some(b'/') => entries.insert(rest[1..].to_vec(), entry.clone()),
                    Some(_) => None,
                };
            }
        }
        Self { entries }
    }
}

struct Reader {
    entries: BTreeMap<Vec<u8>, Entry>,
    links: HashMap<u64, Vec<Vec<u8>>>,
    device: u64,
}

impl Reader {
    /// Visits what `place`, a short way to it, stands for; `path` is its name in the tree.
    fn visit(&mut self, place: &Path, path: Vec<u8>) -> io::Result<()> {
        let entry = self.entry(place, &path).map_err(|error| named(&path, &error))?;
        let descend = entry.kind == Kind::Directory && fs::symlink_metadata(place)?.dev() == self.device;
        self.entries.insert(path.clone(), entry);
        if !descend {
            return Ok(());
        }
        let directory = open_quietly(place, libc::O_DIRECTORY).map_err(|error| named(&path, &error))?;
        let here = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()));
        for entry in rustix::fs::Dir::read_from(&directory)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let separator: &[u8] = if path.is_empty() { b"" } else { b"/" };
            self.visit(&here.join(OsStr::from_bytes(name)), [&path, separator, name].concat())?;
        }
        Ok(())
    }

    fn entry(&mut self, place: &Path, path: &[u8]) -> io::Result<Entry> {
        let meta = fs::symlink_metadata(place)?;
        let kind = kind_of(place, &meta)?;
        if meta.nlink() > 1 && kind != Kind::Directory {
            self.links.entry(meta.ino()).or_default().push(path.to_vec());
        }
        let sized = matches!(kind, Kind::Regular { .. } | Kind::Symlink(_));
        Ok(Entry {
            mode: meta.mode() & 0o7777,
            uid: meta.uid(),
            gid: meta.gid(),
            size: if sized { meta.size() } else { 0 },
            modified: (meta.mtime(), meta.mtime_nsec()),
            accessed: (meta.atime(), meta.atime_nsec()),
            xattrs: read_xattrs(place)?,
            same_as: None,
            number: meta.ino(),
            kind,
        })
    }
}

fn named(path: &[u8], error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", printable(path)))
}

fn kind_of(place: &Path, meta: &fs::Metadata) -> io::Result<Kind> {
    let kind = meta.file_type();
    Ok(if kind.is_dir() {
        Kind::Directory
    } else if kind.is_file() {
        read_content(place, meta)?
    } else if kind.is_symlink() {
        Kind::Symlink(fs::read_link(place)?.into_os_string().into_vec())
    } else if kind.is_char_device() {
        Kind::CharacterDevice(meta.rdev())
    } else if kind.is_block_device() {
        Kind::BlockDevice(meta.rdev())
    } else if kind.is_fifo() {
        Kind::Fifo
    } else {
        Kind::Socket
    })
}

/// Opens without leaving a trace in the access time, where the system allows that.
fn open_quietly(place: &Path, flags: i32) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(libc::O_NOFOLLOW | flags);
    let quiet = options.clone().custom_flags(libc::O_NOFOLLOW | libc::O_NOATIME | flags).open(place);
    quiet.or_else(|_| options.open(place))
}

fn read_content(place: &Path, meta: &fs::Metadata) -> io::Result<Kind> {
    let file = open_quietly(place, 0)?;
    let mut content = Content::default();
    let mut data = Vec::new();
    let mut at = 0;
    // Where data lies is known for certain, and the sectors are final, only when it has been written out.
    if meta.blocks() * 512 < meta.size() {
        let _ = file.sync_data();
    }
    while let Some((begin, end)) = next_data(&file, at, meta.size())? {
        data.push((begin, end));
        add_range(&file, &mut content, begin, end)?;
        at = end;
    }
    Ok(Kind::Regular { content, data, sectors: file.metadata()?.blocks() })
}

fn next_data(file: &File, at: u64, size: u64) -> io::Result<Option<(u64, u64)>> {
    if at >= size {
        return Ok(None);
    }
    let begin = match seek(file, SeekFrom::Data(at)) {
        Ok(begin) => begin,
        Err(rustix::io::Errno::NXIO) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let end = seek(file, SeekFrom::Hole(begin))?;
    Ok(Some((begin, end)))
}

fn add_range(file: &File, content: &mut Content, begin: u64, end: u64) -> io::Result<()> {
    let mut buffer = vec![0; 64 * Content::PIECE_LEN as usize];
    let mut at = begin - begin % Content::PIECE_LEN;
    while at < end {
        let mut filled = 0;
        while filled < buffer.len() {
            match file.read_at(&mut buffer[filled..], at + filled as u64)? {
                0 => break,
                count => filled += count,
            }
        }
        for piece in buffer[..filled].chunks(Content::PIECE_LEN as usize) {
            // Each piece counts once, in the range where it begins.
            if at < end {
                content.add(at, piece);
            }
            at += Content::PIECE_LEN;
        }
        if filled == 0 {
            break;
        }
    }
    Ok(())
}

fn read_xattrs(place: &Path) -> io::Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let mut names = vec![0; 64 * 1024];
    let len = match rustix::fs::llistxattr(place, &mut names) {
        Ok(len) => len,
        Err(rustix::io::Errno::OPNOTSUPP) => 0,
        Err(error) => return Err(error.into()),
    };
    let mut xattrs = BTreeMap::new();
    for name in names[..len].split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; 64 * 1024];
        let len = rustix::fs::lgetxattr(place, OsStr::from_bytes(name), &mut value)?;
        value.truncate(len);
        xattrs.insert(name.to_vec(), value);
    }
    Ok(xattrs)
}

/// A path for people and listings: bytes that are not printable ASCII, and the backslash, as `\xHH`.
#[must_use]
pub fn printable(path: &[u8]) -> String {
    if path.is_empty() {
        return ".".into();
    }
    let mut text = String::new();
    for &byte in path {
        if (b' '..=b'~').contains(&byte) && byte != b'\\' {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

/// [`printable`], with the middle of a very long path left out.
#[must_use]
pub fn abridged(path: &[u8]) -> String {
    const KEPT: usize = 100;
    if path.len() <= 2 * KEPT {
        return printable(path);
    }
    format!("{}...{}", printable(&path[..KEPT]), printable(&path[path.len() - KEPT..]))
}

/// The bytes that [`printable`] made text of.
///
/// # Errors
/// The text, when it is not of that form.
pub fn from_printable(text: &str) -> Result<Vec<u8>, String> {
    if text == "." {
        return Ok(Vec::new());
    }
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        if byte != b'\\' {
            bytes.push(byte);
            rest = after;
            continue;
        }
        let digits = after.get(1..3).and_then(|digits| std::str::from_utf8(digits).ok());
        bytes.push(digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()).ok_or(text)?);
        rest = &after[3..];
    }
    Ok(bytes)
}

/// A name of the tree as the system takes it.
#[must_use]
pub fn os_path(path: &[u8]) -> OsString {
    OsString::from_vec(path.to_vec())
}
