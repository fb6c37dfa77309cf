//! How many entries an ACL has, told from its value as that passes by: the limits of a dump (R-DATA-3) and of a target
//! (R-RESTORE-10) go by it.
//!
//! | kind | value | source |
//! |---|---|---|
//! | POSIX | `u32` version 2; entries of 8 bytes; little-endian | Linux, `include/uapi/linux/posix_acl_xattr.h` |
//! | NFSv4 | `u32` number of entries; entries of type, flags and mask, `u32` each, and who, a string padded to 4; big-endian | RFC 7530, 6.2.1; Linux passes it through as `system.nfs4_acl` |
//! | NT | Samba's `xattr_NTACL`; little-endian | Samba, `librpc/idl/xattr.idl` and `security.idl` |
//!
//! An `xattr_NTACL` is NDR: `u16` version, the same again, then what the version says, and the security descriptor last.
//! The descriptor's offsets count from the beginning of the whole value, as Samba and the kernel's `ksmbd` write them:
//!
//! ```text
//! version 1:  4  pointer                                                        8  descriptor
//!         2:  4  pointer | pointer | hash, 16                                  28  descriptor
//!         3:  4  pointer | pointer | u16 hash type | hash, 64                  80  descriptor
//!         4:  4  pointer | pointer | u16 hash type | hash, 64 | text, NUL |
//!             aligned to 4: u64 time | hash, 64 | aligned to 4                 ..  descriptor
//! descriptor: u8 revision 1 | u8 | u16 control | u32 owner | u32 group | u32 SACL | u32 DACL
//! ACL:        u16 revision | u16 length | u32 number of entries | entries of at least 16 bytes
//! ```
//!
//! What is no such value has no number of entries: it travels as it is.

use crate::device::volume::PropertyKind;

const POSIX_VERSION: u32 = 2;
const POSIX_HEAD_LEN: u32 = 4;
const POSIX_ENTRY_LEN: u32 = 8;
const NFS4_ENTRY_HEAD_LEN: u32 = 16;
const DESCRIPTOR_LEN: u32 = 20;
const LIST_HEAD_LEN: u32 = 8;
const NT_ENTRY_LEN_MIN: u32 = 16;
/// Where version 4 has its text.
const DESCRIPTION_AT: u32 = 78;
/// Behind the text of version 4: time and hash.
const BEHIND_DESCRIPTION_LEN: u32 = 8 + 64;

/// The most bytes that are looked at together.
const HELD_MAX: usize = DESCRIPTOR_LEN as usize;

/// Where in a value of Samba's the security descriptor begins; at least its fixed part is there.
#[must_use]
pub fn descriptor_at(value: &[u8]) -> Option<usize> {
    let [a, b, c, d] = *value.first_chunk()?;
    if [a, b] != [c, d] {
        return None;
    }
    let at = match u16::from_le_bytes([a, b]) {
        1 => 8,
        2 => 28,
        3 => 80,
        4 => {
            let text = value.get(DESCRIPTION_AT as usize..)?;
            let behind = DESCRIPTION_AT as usize + text.iter().position(|byte| *byte == 0)? + 1;
            behind.checked_next_multiple_of(4)? + BEHIND_DESCRIPTION_LEN as usize
        }
        _ => return None,
    };
    let descriptor = value.get(at..)?;
    (descriptor.len() >= DESCRIPTOR_LEN as usize && descriptor.first() == Some(&1)).then_some(at)
}

/// What is looked at next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    PosixHead,
    Nfs4Head,
    Nfs4Entry {
        announced: u32,
        done: u32,
    },
    NtHead,
    /// A byte of the text of version 4.
    NtText,
    NtDescriptor,
    /// The head of a list; where the other one is.
    NtList {
        other: Option<u32>,
    },
    Known,
    NoAcl,
}

/// Counts the entries of one ACL from pieces of its value.
#[derive(Clone, Copy, Debug)]
pub struct AclCounter {
    len: u32,
    /// Offset of what comes next in the value, and of what is looked at next.
    at: u32,
    wanted_at: u32,
    wanted_len: u32,
    held: [u8; HELD_MAX],
    held_len: usize,
    next: Next,
    entries: u32,
}

impl AclCounter {
    /// A counter for a value of `len` bytes. `None`: properties of this kind are no ACLs.
    #[must_use]
    pub const fn new(kind: PropertyKind, len: u32) -> Option<Self> {
        let (next, wanted_len) = match kind {
            PropertyKind::PosixAccessAcl | PropertyKind::PosixDefaultAcl => (Next::PosixHead, POSIX_HEAD_LEN),
            PropertyKind::Nfs4Acl => (Next::Nfs4Head, 4),
            PropertyKind::NtDescriptor => (Next::NtHead, 4),
            _ => return None,
        };
        let held = [0; HELD_MAX];
        Some(Self { len, at: 0, wanted_at: 0, wanted_len, held, held_len: 0, next, entries: 0 })
    }

    /// The most entries that an ACL with a value of this length can have, whatever its kind.
    #[must_use]
    pub const fn entries_max(len: u32) -> u32 {
        len / POSIX_ENTRY_LEN
    }

    /// The number of entries, as soon as it is known; of an NT descriptor, of the longer one of its two lists.
    #[must_use]
    pub const fn entries(&self) -> Option<u32> {
        match self.next {
            Next::Known => Some(self.entries),
            _ => None,
        }
    }

    /// Takes the next piece of the value.
    pub fn take(&mut self, piece: &[u8]) {
        let mut rest = piece;
        while !rest.is_empty() && !matches!(self.next, Next::Known | Next::NoAcl) {
            if self.at < self.wanted_at {
                let skipped = rest.len().min((self.wanted_at - self.at) as usize);
                self.at = self.at.saturating_add(skipped as u32);
                rest = rest.get(skipped..).unwrap_or_default();
                continue;
            }
            let missing = (self.wanted_len as usize).saturating_sub(self.held_len);
            let (taken, behind) = rest.split_at(missing.min(rest.len()));
            for (to, from) in self.held.iter_mut().skip(self.held_len).zip(taken) {
                *to = *from;
            }
            self.held_len += taken.len();
            self.at = self.at.saturating_add(taken.len() as u32);
            rest = behind;
            if self.held_len >= self.wanted_len as usize {
                let held = self.held;
                self.held_len = 0;
                self.next = self.look(&held).unwrap_or(Next::NoAcl);
            }
        }
    }

    /// The next `len` bytes to be looked at begin at `at`. `None`: they are not in the value, or passed already.
    fn want(&mut self, at: u32, len: u32, next: Next) -> Option<Next> {
        if at < self.at || at.checked_add(len)? > self.len {
            return None;
        }
        (self.wanted_at, self.wanted_len) = (at, len);
        Some(next)
    }

    fn known(&mut self, entries: u32) -> Option<Next> {
        self.entries = entries;
        Some(Next::Known)
    }

    fn look(&mut self, held: &[u8; HELD_MAX]) -> Option<Next> {
        let little = |at: usize| held.get(at..)?.first_chunk().copied().map(u32::from_le_bytes);
        let big = |at: usize| held.get(at..)?.first_chunk().copied().map(u32::from_be_bytes);
        match self.next {
            Next::PosixHead => {
                let entries = self.len.checked_sub(POSIX_HEAD_LEN)?;
                if little(0)? != POSIX_VERSION || !entries.is_multiple_of(POSIX_ENTRY_LEN) {
                    return None;
                }
                self.known(entries / POSIX_ENTRY_LEN)
            }
            Next::Nfs4Head => self.nfs4_entry(big(0)?, 0, 4),
            Next::Nfs4Entry { announced, done } => {
                let who_len = big(12)?.checked_next_multiple_of(4)?;
                self.nfs4_entry(announced, done + 1, self.at.checked_add(who_len)?)
            }
            Next::NtHead => {
                let [a, b, c, d, ..] = *held;
                if [a, b] != [c, d] {
                    return None;
                }
                match u16::from_le_bytes([a, b]) {
                    1 => self.want(8, DESCRIPTOR_LEN, Next::NtDescriptor),
                    2 => self.want(28, DESCRIPTOR_LEN, Next::NtDescriptor),
                    3 => self.want(80, DESCRIPTOR_LEN, Next::NtDescriptor),
                    4 => self.want(DESCRIPTION_AT, 1, Next::NtText),
                    _ => None,
                }
            }
            Next::NtText if held.first() != Some(&0) => self.want(self.at, 1, Next::NtText),
            Next::NtText => {
                let behind = self.at.checked_next_multiple_of(4)?.checked_add(BEHIND_DESCRIPTION_LEN)?;
                self.want(behind, DESCRIPTOR_LEN, Next::NtDescriptor)
            }
            Next::NtDescriptor => {
                if held.first() != Some(&1) {
                    return None;
                }
                let (sacl, dacl) = (little(12)?, little(16)?);
                match (sacl.min(dacl), sacl.max(dacl)) {
                    (_, 0) => self.known(0),
                    (0, one) => self.want(one, LIST_HEAD_LEN, Next::NtList { other: None }),
                    (first, second) if first < second => {
                        self.want(first, LIST_HEAD_LEN, Next::NtList { other: Some(second) })
                    }
                    (one, _) => self.want(one, LIST_HEAD_LEN, Next::NtList { other: None }),
                }
            }
            Next::NtList { other } => {
                let [_, _, a, b, ..] = *held;
                let (len, entries) = (u32::from(u16::from_le_bytes([a, b])), little(4)?);
                let begin = self.at.checked_sub(LIST_HEAD_LEN)?;
                let room = len.checked_sub(LIST_HEAD_LEN)? / NT_ENTRY_LEN_MIN;
                if entries > room || begin.checked_add(len)? > self.len {
                    return None;
                }
                self.entries = self.entries.max(entries);
                match other {
                    Some(other) => self.want(other, LIST_HEAD_LEN, Next::NtList { other: None }),
                    None => Some(Next::Known),
                }
            }
            Next::Known | Next::NoAcl => None,
        }
    }

    /// The entry at `at`, of which `done` come before; or the end.
    fn nfs4_entry(&mut self, announced: u32, done: u32, at: u32) -> Option<Next> {
        if done == announced {
            return if at == self.len { self.known(announced) } else { None };
        }
        self.want(at, NFS4_ENTRY_HEAD_LEN, Next::Nfs4Entry { announced, done })
    }
}

#[cfg(test)]
mod tests;
