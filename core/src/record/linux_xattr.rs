//! Extended attributes and ACLs as Linux `dump` has them on tape (`tape-format` 1.2, 3).
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
            PropertyKind::Xattr => Ok(self.value.len()),
            PropertyKind::PosixAccessAcl | PropertyKind::PosixDefaultAcl => acl_entries(self.value)?
                .try_fold(ACL_HEADER_LEN, |len, entry| entry.map(|_| len + ACL_ENTRY_LEN)),
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
        if self.kind == PropertyKind::Xattr {
            return Ok(self.value);
        }
        let needed = self.property_len()?;
        let acl = buf.get_mut(..needed).ok_or(XattrError::BufferTooSmall { needed })?;
        let (version, entries) = acl.split_at_mut(ACL_HEADER_LEN);
        version.copy_from_slice(&XATTR_ACL_VERSION.to_le_bytes());
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
mod tests {
    extern crate std;

    use super::{LinuxXattr, LinuxXattrs, XattrError};
    use crate::device::volume::PropertyKind;
    use crate::limits::NAME_LEN_MAX;
    use std::collections::BTreeMap;
    use std::string::String;
    use std::vec;
    use std::vec::Vec;

    /// Names and values as the kernel tells them.
    type Properties = BTreeMap<Vec<u8>, Vec<u8>>;

    /// The records of a tape of Debian's dump: inode and content.
    fn records() -> Vec<(u32, &'static [u8])> {
        let mut rest: &[u8] = include_bytes!("../../fixtures/linux-xattr/attributes.bin");
        let mut records = Vec::new();
        while let Some((head, behind)) = rest.split_first_chunk::<8>() {
            let [inode, len] =
                [[0, 1, 2, 3], [4, 5, 6, 7]].map(|at| u32::from_le_bytes(at.map(|at| head[at])));
            let (content, behind) = behind.split_at(len as usize);
            records.push((inode, content));
            rest = behind;
        }
        records
    }

    /// What `getfattr` says about the same files. Names are in there as they are, in any bytes.
    fn truth() -> BTreeMap<u32, Properties> {
        let mut all = BTreeMap::new();
        let mut inode = 0;
        for line in include_bytes!("../../fixtures/linux-xattr/attributes.txt").split(|&byte| byte == b'\n') {
            if let Some(number) = line.strip_prefix(b"inode ") {
                inode = str::from_utf8(number).unwrap().parse().unwrap();
            } else if let Some(end) = line.windows(3).position(|bytes| bytes == b"=0x") {
                let digits = str::from_utf8(&line[end + 3..]).unwrap();
                let bytes = (0..digits.len()).step_by(2);
                let value = bytes.map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect();
                let properties: &mut Properties = all.entry(inode).or_default();
                properties.insert(line[..end].to_vec(), value);
            }
        }
        all
    }

    fn property(xattr: &LinuxXattr<'_>) -> Result<(Vec<u8>, Vec<u8>), XattrError> {
        let mut name = [0; NAME_LEN_MAX];
        let name = match xattr.kind {
            PropertyKind::Xattr => xattr.name(&mut name),
            PropertyKind::PosixAccessAcl => b"system.posix_acl_access",
            PropertyKind::PosixDefaultAcl => b"system.posix_acl_default",
        };
        let mut buf = vec![0xa5; 2 * xattr.value.len()];
        let value = xattr.property_value(&mut buf)?;
        assert_eq!(xattr.property_len(), Ok(value.len()));
        Ok((name.to_vec(), value.to_vec()))
    }

    #[test]
    fn a_tape_of_debian_dump_has_what_the_kernel_had() {
        let mut all: BTreeMap<u32, Properties> = BTreeMap::new();
        let mut forms = [0, 0];
        for (inode, content) in records() {
            forms[usize::from(content[0])] += 1;
            for xattr in LinuxXattrs::new(content) {
                let (name, value) = xattr.and_then(|xattr| property(&xattr)).unwrap();
                let before = all.entry(inode).or_default().insert(name, value);
                assert_eq!(before, None, "inode {inode}: twice");
            }
        }
        assert_eq!(all, truth());
        assert_eq!(all.values().map(BTreeMap::len).sum::<usize>(), 27);
        assert!(forms.iter().all(|&count| count > 3), "both forms: {forms:?}");
    }

    #[test]
    fn flipped_bits_are_found_where_there_is_a_hash() {
        for (inode, content) in records().into_iter().filter(|(_, content)| content[0] == 0) {
            let good: Vec<_> = LinuxXattrs::new(content).collect();
            let mut places = Vec::new();
            let mut at = 32;
            while content[at..at + 4] != [0; 4] {
                places.extend((at + 2..at + 4).chain(at + 8..at + 12));
                at += (16 + usize::from(content[at])).next_multiple_of(4);
            }
            // The hash is only a sum of rotated words: of a value that repeats itself, a part elsewhere may have the same.
            for bit in (0..8 * content.len()).filter(|bit| !places.contains(&(bit / 8))) {
                let mut content = content.to_vec();
                content[bit / 8] ^= 1 << (bit % 8);
                let all: Vec<_> = LinuxXattrs::new(&content).collect();
                assert!(all.len() <= content.len() / 16 + 1, "it ends");
                let told = all.iter().any(|xattr| xattr.and_then(|xattr| property(&xattr)).is_err());
                // The namespace is not in the hash, so a property may be told under another one.
                let same = all.iter().zip(&good).all(|(a, b)| match (a, b) {
                    (Ok(a), Ok(b)) => a.suffix == b.suffix && a.value == b.value,
                    _ => false,
                });
                assert!(told || (same && all.len() == good.len()), "inode {inode}, bit {bit}: {all:?}");
            }
        }
    }

    #[test]
    fn any_flipped_bit_and_any_cut_is_harmless() {
        for (_, content) in records() {
            for bit in 0..8 * content.len() {
                let mut content = content.to_vec();
                content[bit / 8] ^= 1 << (bit % 8);
                for xattr in LinuxXattrs::new(&content).flatten() {
                    let _ = property(&xattr);
                }
            }
            let good: Vec<_> = LinuxXattrs::new(content).flatten().collect();
            for len in 0..content.len() {
                let cut: Vec<_> = LinuxXattrs::new(&content[..len]).flatten().collect();
                assert!(cut.iter().all(|xattr| good.contains(xattr)), "cut at {len}");
            }
        }
    }

    /// Attributes within an inode, without hashes: index, name, value. Values are put behind the list.
    fn body(entries: &[(u8, &[u8], &[u8])]) -> Vec<u8> {
        let mut content = vec![0; 1024];
        content[..4].copy_from_slice(&[1, 0, 2, 0xea]);
        let (mut at, mut value_at) = (4, 1024);
        for (index, name, value) in entries {
            value_at -= value.len();
            content[at] = name.len() as u8;
            content[at + 1] = *index;
            content[at + 2..at + 4].copy_from_slice(&(value_at as u16 - 4).to_le_bytes());
            content[at + 8..at + 12].copy_from_slice(&(value.len() as u32).to_le_bytes());
            content[at + 16..][..name.len()].copy_from_slice(name);
            content[value_at..][..value.len()].copy_from_slice(value);
            at += (16 + name.len()).next_multiple_of(4);
        }
        content
    }

    fn first(content: &[u8]) -> Result<LinuxXattr<'_>, XattrError> {
        LinuxXattrs::new(content).next().unwrap()
    }

    #[test]
    fn namespaces() {
        let mut buf = [0; NAME_LEN_MAX];
        for (index, name) in [
            (1, "user.n"),
            (4, "trusted.n"),
            (5, "lustre.n"),
            (6, "security.n"),
            (7, "system.n"),
            (10, "gnu.n"),
        ] {
            let content = body(&[(index, b"n", b"v")]);
            let xattr = first(&content).unwrap();
            assert_eq!((xattr.kind, xattr.value), (PropertyKind::Xattr, &b"v"[..]));
            assert_eq!(xattr.name(&mut buf), name.as_bytes());
        }
        for (index, name) in [(0, &b"n"[..]), (7, b"data"), (8, b""), (9, b"c"), (11, b"n"), (255, b"n")] {
            assert_eq!(
                first(&body(&[(index, name, b"v")])),
                Err(XattrError::UnknownNamespace { at: 4, index })
            );
        }
    }

    #[test]
    fn names_that_are_none() {
        for (index, name) in [(1, &b""[..]), (1, b"a\0b"), (2, b"x"), (3, b"x")] {
            assert_eq!(first(&body(&[(index, name, b"v")])), Err(XattrError::BadName { at: 4 }));
        }
        let longest = [b'n'; NAME_LEN_MAX - 5];
        let content = body(&[(1, &longest, b"v")]);
        assert_eq!(first(&content).unwrap().name(&mut [0; NAME_LEN_MAX]).len(), NAME_LEN_MAX);
        assert_eq!(first(&body(&[(1, &[b'n'; 251], b"v")])), Err(XattrError::BadName { at: 4 }));
    }

    #[test]
    fn a_bad_attribute_does_not_hide_the_next() {
        let mut content = body(&[(9, b"c", b"v"), (1, b"a", b"w")]);
        let all: Vec<_> = LinuxXattrs::new(&content).collect();
        assert_eq!(all[0], Err(XattrError::UnknownNamespace { at: 4, index: 9 }));
        assert_eq!(all[1].unwrap().value, b"w");
        content[8] = 77;
        assert_eq!(first(&content), Err(XattrError::ValueNotOnTape { at: 4, inode: 77 }));
        assert_eq!(LinuxXattrs::new(&content).count(), 2);
    }

    #[test]
    fn values_out_of_bounds() {
        let change = |at: usize, bytes: &[u8]| {
            let mut content = body(&[(1, b"abc", b"value")]);
            content[at..at + bytes.len()].copy_from_slice(bytes);
            first(&content).map(|xattr| xattr.value.len())
        };
        let outside = Err(XattrError::ValueOutside { at: 4 });
        // Offsets count from 4; the value is at 1019, and the entry ends at 24.
        assert_eq!(change(6, &1015u16.to_le_bytes()), Ok(5));
        assert_eq!(change(6, &1016u16.to_le_bytes()), outside);
        assert_eq!(change(6, &u16::MAX.to_le_bytes()), outside);
        assert_eq!(change(6, &20u16.to_le_bytes()), Ok(5));
        assert_eq!(change(6, &19u16.to_le_bytes()), outside);
        assert_eq!(change(6, &0u16.to_le_bytes()), outside);
        assert_eq!(change(12, &6u32.to_le_bytes()), outside);
        assert_eq!(change(12, &u32::MAX.to_le_bytes()), outside);
        assert_eq!(change(6, &[0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0]), Ok(0), "an empty value is nowhere");
        assert_eq!(change(16, &1u32.to_le_bytes()), Err(XattrError::BadHash { at: 4 }));
    }

    #[test]
    fn lists_that_are_none() {
        for content in [&[][..], &[0xea], &[0; 1024], b"\x00\x00\x03\xea"] {
            let found = content.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
            let all: Vec<_> = LinuxXattrs::new(content).collect();
            assert_eq!(all, [Err(XattrError::BadMagic { found })]);
        }
        for (header_len, magic) in [(32, b"\x00\x00\x02\xea"), (4, b"\x01\x00\x02\xea")] {
            let mut content = [0; 36];
            content[..4].copy_from_slice(magic);
            for len in 4..36 {
                let all: Vec<_> = LinuxXattrs::new(&content[..len]).collect();
                let cut = [Err(XattrError::Cut { at: header_len })];
                assert_eq!(all, if len < header_len + 4 { &cut[..] } else { &[] }, "{len}");
            }
        }
        // A list without an end.
        let content =
            [&b"\x01\x00\x02\xea"[..], &b"\x01\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0a\0\0\0".repeat(9)].concat();
        let all: Vec<_> = LinuxXattrs::new(&content).collect();
        assert_eq!(all.len(), 10);
        assert_eq!(all[9], Err(XattrError::Cut { at: 184 }));
        assert!(all[..9].iter().all(Result::is_ok));
    }

    fn acl(entries: &[u8]) -> Result<Vec<u8>, XattrError> {
        let value = [&[1, 0, 0, 0], entries].concat();
        let acl =
            LinuxXattr { kind: PropertyKind::PosixAccessAcl, namespace: "", suffix: b"", value: &value };
        acl.property_value(&mut [0xa5; 64]).map(<[u8]>::to_vec)
    }

    #[test]
    fn acls_are_converted() {
        let none = [0xff; 4];
        let expected: Vec<u8> = [
            &[2, 0, 0, 0][..],
            &[1, 0, 7, 0],
            &none,
            &[2, 0, 5, 0, 0x70, 0x11, 1, 0],
            &[0x20, 0, 0, 0],
            &none,
        ]
        .concat();
        assert_eq!(acl(&[1, 0, 7, 0, 2, 0, 5, 0, 0x70, 0x11, 1, 0, 0x20, 0, 0, 0]), Ok(expected));
        assert_eq!(acl(&[]), Ok(vec![2, 0, 0, 0]));
    }

    #[test]
    fn acls_that_are_none() {
        for entries in [
            &[1, 0, 7][..],
            &[1, 0, 8, 0],
            &[3, 0, 7, 0],
            &[0, 0, 7, 0],
            &[2, 0, 7, 0],
            &[2, 0, 7, 0, 1, 0, 0],
            &[1, 0, 7, 0, 1],
        ] {
            assert_eq!(acl(entries), Err(XattrError::BadAcl), "{entries:?}");
        }
        assert_eq!(acl(&[1, 0, 7, 0].repeat(8)), Err(XattrError::BufferTooSmall { needed: 68 }));
        for value in [&[][..], &[1, 0, 0], &[2, 0, 0, 0], &[0, 0, 0, 0]] {
            let acl = LinuxXattr { kind: PropertyKind::PosixDefaultAcl, namespace: "", suffix: b"", value };
            assert_eq!(acl.property_value(&mut [0; 64]), Err(XattrError::BadAcl));
            assert_eq!(acl.property_len(), Err(XattrError::BadAcl));
        }
    }

    #[test]
    fn errors_say_what_is_wrong() {
        let message = std::format!("{}", XattrError::ValueNotOnTape { at: 32, inode: 77 });
        assert_eq!(
            message,
            String::from("the value of the attribute at 32 is in inode 77, which is not on the tape")
        );
    }
}
