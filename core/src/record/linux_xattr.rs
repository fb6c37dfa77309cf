//! Extended attributes and ACLs as Linux `dump` has them on tape (`format.md` 3.1).
//!
//! They follow the object in records of their own: a second (and third) TS_INODE header with flag 0x8000 and
//! kind 3, whose size is that of the content. The content is what ext2/3/4 has on disk, always little-endian, in
//! one of two forms:
//!
//! | | attribute block | attributes within the inode |
//! |---|---|---|
//! | magic (u32 at 0) | `0xEA02_0000` | `0xEA02_0001` (on disk it is the other one; `dump` changes it) |
//! | entries from | 32 | 4 |
//! | value offsets count from | 0 | 4 |
//! | content length | the file system's block | the file system's inode |
//!
//! An object has none, one or both. Behind the content, up to the end of the tape block, is anything.
//!
//! An entry is: name length (u8), name index (u8: the namespace), value offset (u16), number of an inode that holds
//! the value (u32, 0: the value is here), value length (u32), hash of name and value (u32; within inodes it may be 0
//! for none), name; padded to 4. Four zeros end the list. Nothing of this is trusted.

use core::fmt;

use crate::device::volume::{NameBuf, PropertyKind};
use crate::limits::NAME_LEN_MAX;

const BLOCK_MAGIC: u32 = 0xea02_0000;
const INODE_MAGIC: u32 = 0xea02_0001;
const BLOCK_HEADER_LEN: usize = 32;
const INODE_HEADER_LEN: usize = 4;
const ENTRY_HEADER_LEN: usize = 16;

/// Why an attribute, or all that follow, cannot be had. Offsets count from the start of the content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum XattrError {
    /// The content is not an attribute block. Nothing follows.
    BadMagic {
        /// What is in place of the magic; 0 when the content is shorter than that.
        found: u32,
    },
    /// The list of entries runs out of the content. Nothing follows.
    Cut {
        /// Offset of the entry.
        at: usize,
    },
    /// A value lies outside the content, or within the list of entries up to its own.
    ValueOutside {
        /// Offset of the entry.
        at: usize,
    },
    /// A value is in an inode of its own, which Linux `dump` does not put on tape.
    ValueNotOnTape {
        /// Offset of the entry.
        at: usize,
        /// That inode.
        inode: u32,
    },
    /// Name and value do not belong to the hash: they are damaged. The hash is a weak one; not all damage shows.
    BadHash {
        /// Offset of the entry.
        at: usize,
    },
    /// The namespace is unknown, or is none of attributes.
    UnknownNamespace {
        /// Offset of the entry.
        at: usize,
        /// The name index.
        index: u8,
    },
    /// The name is empty, too long, or holds a NUL.
    BadName {
        /// Offset of the entry.
        at: usize,
    },
    /// The value is not an ACL.
    BadAcl,
    /// The lent buffer is too small for the converted ACL.
    BufferTooSmall {
        /// Bytes that suffice.
        needed: usize,
    },
}

impl fmt::Display for XattrError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadMagic { found } => write!(f, "no attribute block: magic {found:#010x}"),
            Self::Cut { at } => write!(f, "the attribute list is cut off at {at}"),
            Self::ValueOutside { at } => write!(f, "the value of the attribute at {at} is out of bounds"),
            Self::ValueNotOnTape { at, inode } => {
                write!(f, "the value of the attribute at {at} is in inode {inode}, which is not on the tape")
            }
            Self::BadHash { at } => write!(f, "the attribute at {at} is damaged"),
            Self::UnknownNamespace { at, index } => {
                write!(f, "the attribute at {at} is of unknown namespace {index}")
            }
            Self::BadName { at } => write!(f, "the attribute at {at} has no valid name"),
            Self::BadAcl => f.write_str("the ACL is damaged"),
            Self::BufferTooSmall { needed } => write!(f, "converting the ACL needs {needed} bytes"),
        }
    }
}

/// One attribute of a Linux dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinuxXattr<'a> {
    /// What it is.
    pub kind: PropertyKind,
    /// The name's namespace with its dot (`user.`); empty for an ACL.
    pub namespace: &'static str,
    /// The rest of the name, without NUL; together with the namespace at most [`NAME_LEN_MAX`] bytes.
    pub suffix: &'a [u8],
    /// The value as it is on tape; of an ACL, in ext4's own form ([`property_value`](Self::property_value)).
    pub value: &'a [u8],
}

impl<'a> LinuxXattr<'a> {
    /// The whole name, put in `buf`; empty for an ACL.
    pub fn name<'b>(&self, buf: &'b mut NameBuf) -> &'b [u8] {
        let parts = self.namespace.as_bytes().iter().chain(self.suffix);
        let len = buf.iter_mut().zip(parts).map(|(to, &from)| *to = from).count();
        &buf[..len]
    }

    /// Length of what [`property_value`](Self::property_value) gives.
    ///
    /// # Errors
    /// [`XattrError::BadAcl`].
    pub fn property_len(&self) -> Result<usize, XattrError> {
        match self.kind {
            PropertyKind::PosixAccessAcl | PropertyKind::PosixDefaultAcl => acl_entries(self.value)?
                .try_fold(ACL_HEADER_LEN, |len, entry| entry.map(|_| len + ACL_ENTRY_LEN)),
            _ => Ok(self.value.len()),
        }
    }

    /// The value as [`PropertyKind`] defines it: ACLs are converted into `buf`, others are as they are on tape.
    /// Twice the length of the content always suffices.
    ///
    /// # Errors
    /// [`XattrError::BadAcl`], [`XattrError::BufferTooSmall`].
    pub fn property_value<'b>(&self, buf: &'b mut [u8]) -> Result<&'b [u8], XattrError>
    where
        'a: 'b,
    {
        if !matches!(self.kind, PropertyKind::PosixAccessAcl | PropertyKind::PosixDefaultAcl) {
            return Ok(self.value);
        }
        let needed = self.property_len()?;
        let acl = buf.get_mut(..needed).ok_or(XattrError::BufferTooSmall { needed })?;
        let (version, entries) = acl.split_first_chunk_mut().ok_or(XattrError::BadAcl)?;
        *version = XATTR_ACL_VERSION.to_le_bytes();
        for (to, entry) in entries.as_chunks_mut::<ACL_ENTRY_LEN>().0.iter_mut().zip(acl_entries(self.value)?)
        {
            let AclEntry { tag, permissions, id } = entry?;
            to[..2].copy_from_slice(&tag.to_le_bytes());
            to[2..4].copy_from_slice(&permissions.to_le_bytes());
            to[4..].copy_from_slice(&id.to_le_bytes());
        }
        Ok(acl)
    }
}

/// The attributes in the content of one record. After an error that concerns one attribute the next ones follow.
#[derive(Clone, Debug)]
pub struct LinuxXattrs<'a> {
    content: &'a [u8],
    /// Offset of the next entry; `None`: the magic was not looked at yet.
    at: Option<usize>,
    /// Where value offsets count from.
    values_from: usize,
    done: bool,
}

impl<'a> LinuxXattrs<'a> {
    /// `content` is as long as the size in the record's header says, without the rest of the last tape block.
    #[must_use]
    pub const fn new(content: &'a [u8]) -> Self {
        Self { content, at: None, values_from: 0, done: false }
    }

    /// Checks the magic, and gives the offset of the first entry.
    fn first(&mut self) -> Result<usize, XattrError> {
        let found = u32_at(self.content, 0).unwrap_or(0);
        match found {
            BLOCK_MAGIC => Ok(BLOCK_HEADER_LEN),
            INODE_MAGIC => {
                self.values_from = INODE_HEADER_LEN;
                Ok(INODE_HEADER_LEN)
            }
            _ => Err(XattrError::BadMagic { found }),
        }
    }

    /// The entry at `at`, checked; `next` is the offset after it.
    fn check(&self, at: usize, next: usize, entry: RawEntry<'a>) -> Result<LinuxXattr<'a>, XattrError> {
        if entry.value_inode != 0 {
            return Err(XattrError::ValueNotOnTape { at, inode: entry.value_inode });
        }
        let value =
            entry.value(self.content, self.values_from, next).ok_or(XattrError::ValueOutside { at })?;
        let unhashed = self.values_from == INODE_HEADER_LEN && entry.hash == 0;
        if !unhashed && !hashes(entry.name, value).contains(&entry.hash) {
            return Err(XattrError::BadHash { at });
        }
        let (kind, namespace) = match entry.index {
            1 => (PropertyKind::Xattr, "user."),
            2 => (PropertyKind::PosixAccessAcl, ""),
            3 => (PropertyKind::PosixDefaultAcl, ""),
            4 => (PropertyKind::Xattr, "trusted."),
            5 => (PropertyKind::Xattr, "lustre."),
            6 => (PropertyKind::Xattr, "security."),
            // `system.data` is the file's data within its inode.
            7 if entry.name != b"data" => (PropertyKind::Xattr, "system."),
            10 => (PropertyKind::Xattr, "gnu."),
            index => return Err(XattrError::UnknownNamespace { at, index }),
        };
        let name_len = namespace.len() + entry.name.len();
        if entry.name.is_empty() != namespace.is_empty() || name_len > NAME_LEN_MAX || entry.name.contains(&0)
        {
            return Err(XattrError::BadName { at });
        }
        Ok(LinuxXattr { kind, namespace, suffix: entry.name, value })
    }
}

impl<'a> Iterator for LinuxXattrs<'a> {
    type Item = Result<LinuxXattr<'a>, XattrError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let at = match self.at.map_or_else(|| self.first(), Ok) {
            Ok(at) => at,
            Err(error) => {
                self.done = true;
                return Some(Err(error));
            }
        };
        if u32_at(self.content, at) == Some(0) {
            self.done = true;
            return None;
        }
        let Some(entry) = RawEntry::parse(self.content, at) else {
            self.done = true;
            return Some(Err(XattrError::Cut { at }));
        };
        let next = at + (ENTRY_HEADER_LEN + entry.name.len()).next_multiple_of(4);
        self.at = Some(next);
        Some(self.check(at, next, entry))
    }
}

impl core::iter::FusedIterator for LinuxXattrs<'_> {}

/// An entry as it is there.
#[derive(Clone, Copy)]
struct RawEntry<'a> {
    index: u8,
    name: &'a [u8],
    value_offset: u16,
    value_inode: u32,
    value_len: u32,
    hash: u32,
}

impl<'a> RawEntry<'a> {
    fn parse(content: &'a [u8], at: usize) -> Option<Self> {
        let (header, rest) = content.get(at..)?.split_first_chunk::<ENTRY_HEADER_LEN>()?;
        let &[name_len, index, o0, o1, ..] = header;
        Some(Self {
            index,
            name: rest.get(..usize::from(name_len))?,
            value_offset: u16::from_le_bytes([o0, o1]),
            value_inode: u32_at(header, 4)?,
            value_len: u32_at(header, 8)?,
            hash: u32_at(header, 12)?,
        })
    }

    /// The value, which lies behind the entry, whose end is `next`.
    fn value(&self, content: &'a [u8], values_from: usize, next: usize) -> Option<&'a [u8]> {
        if self.value_len == 0 {
            return Some(&[]);
        }
        let from = values_from + usize::from(self.value_offset);
        let len = usize::try_from(self.value_len).ok()?;
        if from < next {
            return None;
        }
        content.get(from..)?.get(..len)
    }
}

/// The hashes an entry may have: Linux took the bytes of names as signed on some machines, before 6.2.
fn hashes(name: &[u8], value: &[u8]) -> [u32; 2] {
    let of_name =
        |byte: fn(u8) -> u32| name.iter().fold(0u32, |hash, &next| hash.rotate_left(5) ^ byte(next));
    let of_value = |hash: u32| {
        let (words, rest) = value.as_chunks::<4>();
        let mut last = [0; 4];
        last[..rest.len()].copy_from_slice(rest);
        let last = (!rest.is_empty()).then_some(&last);
        words.iter().chain(last).fold(hash, |hash, &word| hash.rotate_left(16) ^ u32::from_le_bytes(word))
    };
    [of_name(u32::from), of_name(|byte| byte as i8 as u32)].map(of_value)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|bytes| u16::from_le_bytes(*bytes))
}

/// Version of ACLs on ext4's disk, and of those in `system.posix_acl_access`.
const DISK_ACL_VERSION: u32 = 1;
const XATTR_ACL_VERSION: u32 = 2;
/// The version number; the same in both.
const ACL_HEADER_LEN: usize = 4;
/// Entry of the latter: tag (u16), permissions (u16), id (u32). On disk the id is there only where it means something.
const ACL_ENTRY_LEN: usize = 8;
const ACL_SHORT_ENTRY_LEN: usize = 4;
/// The id of entries that have none.
const NO_ID: u32 = u32::MAX;

#[derive(Clone, Copy)]
struct AclEntry {
    tag: u16,
    permissions: u16,
    id: u32,
}

/// The entries of an ACL in ext4's form.
fn acl_entries(value: &[u8]) -> Result<impl Iterator<Item = Result<AclEntry, XattrError>>, XattrError> {
    let mut rest = match u32_at(value, 0) {
        Some(DISK_ACL_VERSION) => value.get(ACL_HEADER_LEN..).unwrap_or_default(),
        _ => return Err(XattrError::BadAcl),
    };
    Ok(core::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (entry, len) = match acl_entry(rest) {
            Some((entry, len)) => (Ok(entry), len),
            None => (Err(XattrError::BadAcl), rest.len()),
        };
        rest = rest.get(len..).unwrap_or_default();
        Some(entry)
    }))
}

/// The entry at the front, and its length.
fn acl_entry(bytes: &[u8]) -> Option<(AclEntry, usize)> {
    let (tag, permissions) = (u16_at(bytes, 0)?, u16_at(bytes, 2)?);
    let (id, len) = match tag {
        // Owner, owning group, mask, others.
        0x01 | 0x04 | 0x10 | 0x20 => (NO_ID, ACL_SHORT_ENTRY_LEN),
        // A user, a group.
        0x02 | 0x08 => (u32_at(bytes, 4)?, ACL_ENTRY_LEN),
        _ => return None,
    };
    (permissions <= 7).then_some((AclEntry { tag, permissions, id }, len))
}

#[cfg(test)]
mod tests;
