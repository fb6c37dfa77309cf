//! Items of a subvolume's tree, found by key and by generation: the kernel's `BTRFS_IOC_TREE_SEARCH_V2`
//! (`<linux/btrfs.h>`, `<linux/btrfs_tree.h>`). What is in the items is little-endian; their headers are as the machine is.

use std::io;
use std::mem::{offset_of, size_of};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;
use rustix::ioctl::{Direction, Opcode, Updater, ioctl, opcode};
use tapedump_core::device::volume::Kind;
use zerocopy::FromBytes;

/// `BTRFS_IOCTL_MAGIC`
const GROUP: u8 = 0x94;

/// Types of items: `BTRFS_INODE_ITEM_KEY`, `BTRFS_INODE_REF_KEY`, `BTRFS_INODE_EXTREF_KEY`, `BTRFS_DIR_INDEX_KEY`.
const INODE: u8 = 1;
const NAME: u8 = 12;
const NAME_BY_HASH: u8 = 13;
const ENTRY: u8 = 96;

/// Bytes of items got at once; the longest item is as long as a tree node, 64 KiB.
const BUF_LEN: usize = 256 * 1024;

/// Of the first object that is not the file system's own, and of the last (`BTRFS_FIRST_FREE_OBJECTID`,
/// `BTRFS_LAST_FREE_OBJECTID`).
const FIRST: u64 = 256;
const LAST: u64 = u64::MAX - 255;

/// `struct btrfs_ioctl_search_key`, and the length of the buffer behind it.
#[repr(C)]
struct Request {
    tree: u64,
    min_object: u64,
    max_object: u64,
    min_offset: u64,
    max_offset: u64,
    min_transid: u64,
    max_transid: u64,
    min_type: u32,
    max_type: u32,
    items: u32,
    unused: u32,
    unused_too: [u64; 4],
    buf_len: u64,
}

/// `struct btrfs_ioctl_search_args_v2`, with its buffer.
#[repr(C)]
struct Args {
    request: Request,
    buf: [u8; BUF_LEN],
}

/// `struct btrfs_ioctl_search_header`, before each item.
#[derive(FromBytes)]
#[repr(C)]
struct Head {
    _transid: u64,
    object: u64,
    offset: u64,
    kind: u32,
    len: u32,
}

/// The kernel's structure ends before the buffer, which is as long as it says.
const REQUEST_LEN: usize = 112;
const _: () = assert!(size_of::<Request>() == REQUEST_LEN && offset_of!(Args, buf) == REQUEST_LEN);

const TREE_SEARCH_V2: Opcode = opcode::from_components(Direction::ReadWrite, GROUP, 17, REQUEST_LEN);

/// Where an item is in a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    object: u64,
    kind: u8,
    offset: u64,
}

impl Key {
    fn next(self) -> Option<Self> {
        let (offset, carry) = self.offset.overflowing_add(1);
        let (kind, carry) = self.kind.overflowing_add(carry.into());
        let object = self.object.checked_add(carry.into())?;
        Some(Self { object, kind, offset })
    }
}

/// What a tree says of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inode {
    /// Its number.
    pub number: u64,
    /// The generation in which it was made.
    pub made: u64,
    /// The generation in which it changed last: data, attributes, names in it or of it.
    pub generation: u64,
    /// Its type.
    pub kind: Kind,
    /// How many names it has; none: it was deleted and is still open.
    pub links: u32,
}

impl Inode {
    fn parse(number: u64, item: &[u8]) -> Option<Self> {
        let links = u32::from_le_bytes(*item.get(40..)?.first_chunk()?);
        let mode = u32::from_le_bytes(*item.get(52..)?.first_chunk()?);
        let kind = Kind::from_mode(u16::try_from(mode).ok()?)?;
        Some(Self { number, made: number_at(item, 0)?, generation: number_at(item, 8)?, kind, links })
    }
}

fn number_at(item: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*item.get(at..)?.first_chunk()?))
}

/// Searches the tree of one subvolume.
pub struct TreeSearch<'a> {
    subvolume: BorrowedFd<'a>,
    args: Box<Args>,
}

impl<'a> TreeSearch<'a> {
    /// Searches the tree of the subvolume that `subvolume` is in.
    pub fn new(subvolume: BorrowedFd<'a>) -> Self {
        let request = Request {
            tree: 0,
            min_object: 0,
            max_object: 0,
            min_offset: 0,
            max_offset: 0,
            min_transid: 0,
            max_transid: u64::MAX,
            min_type: 0,
            max_type: 0,
            items: 0,
            unused: 0,
            unused_too: [0; 4],
            buf_len: BUF_LEN as u64,
        };
        Self { subvolume, args: Box::new(Args { request, buf: [0; BUF_LEN] }) }
    }

    /// Gets the items from `from` up to `to`, as many as fit, out of nodes of this generation or a later one.
    fn fill(&mut self, from: Key, to: Key, generation: u64) -> Result<u32, Errno> {
        let request = &mut self.args.request;
        (request.min_object, request.max_object) = (from.object, to.object);
        (request.min_type, request.max_type) = (from.kind.into(), to.kind.into());
        (request.min_offset, request.max_offset) = (from.offset, to.offset);
        request.min_transid = generation;
        request.items = u32::MAX;
        request.buf_len = BUF_LEN as u64;
        loop {
            let (subvolume, args) = (self.subvolume.as_fd(), &mut *self.args);
            // SAFETY: the kernel reads and writes `Request`, whose fields are those of its structure (the number of the
            // request carries their length, 112 bytes, see the assertion above), and writes at most `buf_len` bytes
            // behind it, which is what `Args` has there. All are integers, and `args` is exclusively borrowed meanwhile.
            match unsafe { ioctl(subvolume, Updater::<TREE_SEARCH_V2, _>::new(args)) } {
                Ok(()) => return Ok(self.args.request.items),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }

    /// Gives all items from `from` up to `to` that are in nodes of this generation or a later one; there may be older items
    /// in these nodes.
    fn search<E: From<Errno>>(
        &mut self,
        from: Key,
        to: Key,
        generation: u64,
        mut each: impl FnMut(Key, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut next = Some(from);
        while let Some(from) = next.filter(|from| *from <= to) {
            let count = self.fill(from, to, generation)?;
            if count == 0 {
                break;
            }
            let mut rest = self.args.buf.as_slice();
            for _ in 0..count {
                let (key, item, behind) = split_item(rest).ok_or(Errno::IO)?;
                next = key.next();
                rest = behind;
                each(key, item)?;
            }
        }
        Ok(())
    }

    /// Gives every object that changed in this generation or a later one, in ascending order of their numbers.
    ///
    /// # Errors
    /// The tree cannot be searched (that needs `CAP_SYS_ADMIN`), or the error of `each`.
    pub fn changed_since<E: From<Errno>>(
        &mut self,
        generation: u64,
        mut each: impl FnMut(Inode) -> Result<(), E>,
    ) -> Result<(), E> {
        let from = Key { object: FIRST, kind: INODE, offset: 0 };
        let to = Key { object: LAST, kind: INODE, offset: 0 };
        self.search(from, to, generation, |key, item| {
            if key.kind != INODE {
                return Ok(());
            }
            let inode = Inode::parse(key.object, item).ok_or(Errno::IO)?;
            if inode.generation >= generation { each(inode) } else { Ok(()) }
        })
    }

    /// The object of this number; `None`: there is none.
    ///
    /// # Errors
    /// The tree cannot be searched.
    pub fn inode(&mut self, number: u64) -> io::Result<Option<Inode>> {
        let key = Key { object: number, kind: INODE, offset: 0 };
        let mut found = None;
        self.search(key, key, 0, |_, item| {
            found = Some(Inode::parse(number, item).ok_or(Errno::IO)?);
            Ok::<_, Errno>(())
        })?;
        Ok(found)
    }

    /// Gives the numbers of the objects that have names in a directory. `true`: there are roots of other subvolumes, too.
    ///
    /// # Errors
    /// The tree cannot be searched.
    pub fn objects_in(&mut self, directory: u64, mut each: impl FnMut(u64)) -> io::Result<bool> {
        let mut has_roots = false;
        let from = Key { object: directory, kind: ENTRY, offset: 0 };
        let to = Key { offset: u64::MAX, ..from };
        self.search(from, to, 0, |_, item| {
            // `struct btrfs_dir_item` begins with the key of what the name stands for.
            let object = number_at(item, 0).ok_or(Errno::IO)?;
            match item.get(8) {
                Some(&INODE) => each(object),
                _ => has_roots = true,
            }
            Ok::<_, Errno>(())
        })?;
        Ok(has_roots)
    }

    /// Gives the names of an object: the number of the directory, and the name.
    ///
    /// # Errors
    /// The tree cannot be searched.
    pub fn names_of(&mut self, number: u64, mut each: impl FnMut(u64, &[u8])) -> io::Result<()> {
        let from = Key { object: number, kind: NAME, offset: 0 };
        let to = Key { object: number, kind: NAME_BY_HASH, offset: u64::MAX };
        self.search(from, to, 0, |key, item| {
            let mut rest = item;
            while !rest.is_empty() {
                // By hash, the directory's number stands in the item.
                let (directory, name) = match key.kind {
                    NAME => (key.offset, rest),
                    _ => (number_at(rest, 0).ok_or(Errno::IO)?, rest.get(8..).ok_or(Errno::IO)?),
                };
                let (len, name) = name.get(8..).and_then(<[u8]>::split_first_chunk).ok_or(Errno::IO)?;
                let (name, behind) =
                    name.split_at_checked(u16::from_le_bytes(*len).into()).ok_or(Errno::IO)?;
                each(directory, name);
                rest = behind;
            }
            Ok::<_, Errno>(())
        })?;
        Ok(())
    }
}

/// The first item in `bytes`, and what is behind it.
fn split_item(bytes: &[u8]) -> Option<(Key, &[u8], &[u8])> {
    let (head, rest) = Head::read_from_prefix(bytes).ok()?;
    let key = Key { object: head.object, kind: u8::try_from(head.kind).ok()?, offset: head.offset };
    let (item, rest) = rest.split_at_checked(usize::try_from(head.len).ok()?)?;
    Some((key, item, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_is_the_kernels() {
        assert_eq!(TREE_SEARCH_V2, 0xc070_9411);
    }

    #[test]
    fn keys_follow_each_other() {
        let key = |object, kind, offset| Key { object, kind, offset };
        assert_eq!(key(5, 1, 7).next(), Some(key(5, 1, 8)));
        assert_eq!(key(5, 1, u64::MAX).next(), Some(key(5, 2, 0)));
        assert_eq!(key(5, u8::MAX, u64::MAX).next(), Some(key(6, 0, 0)));
        assert_eq!(key(u64::MAX, u8::MAX, u64::MAX).next(), None);
    }

    #[test]
    fn items_that_are_cut_short_are_none() {
        let mut bytes = [0; 40];
        bytes[8] = 9;
        bytes[24] = 1;
        bytes[28] = 8;
        let (key, item, rest) = split_item(&bytes).unwrap();
        assert_eq!((key, item.len(), rest.len()), (Key { object: 9, kind: 1, offset: 0 }, 8, 0));
        assert!(split_item(&bytes[..39]).is_none() && split_item(&bytes[..31]).is_none());
        assert_eq!(Inode::parse(9, &[0; 55]), None);
    }

    #[test]
    fn other_file_systems_have_no_such_trees() {
        let proc = std::fs::File::open("/proc").unwrap();
        assert!(TreeSearch::new(proc.as_fd()).inode(256).is_err());
    }
}
