//! Every bound of the core, with where it comes from. Nothing here is tunable at run time.

use crate::units::TAPE_BLOCK_LEN;

/// Entries of a header's hole map (`TP_NINDIR`): the most tape blocks one segment describes.
pub const SEGMENT_BLOCKS_MAX: usize = 512;

/// Bytes of data and extension one segment can hold.
pub const SEGMENT_LEN_MAX: usize = SEGMENT_BLOCKS_MAX * TAPE_BLOCK_LEN;

/// Longest name of a directory entry in bytes: `u8` on tape, and `NAME_MAX` of every system we know.
pub const NAME_LEN_MAX: usize = 255;

/// Longest name that third-party `restore` programs read (`format.md` 2.4: Debian 12).
pub const PORTABLE_NAME_LEN_MAX: usize = 254;

/// Longest target of a symbolic link in bytes: `PATH_MAX` less its NUL.
pub const SYMLINK_LEN_MAX: usize = 4095;

/// Length of a page of a catalog table. Equal to the tape block, so that one staging buffer
/// serves both; holds at least two of the largest entries ([`ENTRY_LEN_MAX`]).
pub const PAGE_LEN: usize = 1024;

/// Longest key plus value of a table entry: two numbers, a name, and 64 bytes of value.
pub const ENTRY_LEN_MAX: usize = 4 + 4 + NAME_LEN_MAX + 64;

/// Largest dump map in bytes per map: one bit for each number up to [`crate::units::Ino::LAST`].
pub const MAP_LEN_MAX: usize = (crate::units::Ino::LAST.0 as usize).div_ceil(8);

/// Longest extension payload that travels in a file's last segment: one segment less one block, so that the
/// file's last data block can share a header with nothing else. Longer ones go to stage V.
pub const TRAILING_LEN_MAX: usize = (SEGMENT_BLOCKS_MAX - 1) * TAPE_BLOCK_LEN;

/// Properties of one object: Linux lists at most 64 KiB of attribute names, each of at least `user.` and two bytes.
pub const PROPERTIES_MAX: u32 = 65536 / 7;

/// Entries that an ACL may have on a dump (R-DATA-3): as many as NAS systems keep, more than Windows takes in 64 KiB with
/// SIDs of users, and few enough that a target of any kind can be asked for them.
pub const ACL_ENTRIES_MAX: u32 = 1024;

/// Bytes looked through for a dump's first header before the tape is taken for none: more than any label or
/// leader that software puts there, and a second or two of any drive's time.
pub const SEARCH_LEN_MAX: u64 = 64 << 20;

/// Directory size in bytes from which Linux and OpenBSD `restore` misread the rest of the tape
/// (`format.md` 2.4, "quad swapping").
pub const PORTABLE_DIRECTORY_LEN_MAX: u64 = 0x0fff_ffff;

/// Dumps of an increment chain: each has a lower level than the one that builds on it, and there are 32 levels.
pub const CHAIN_LEN_MAX: usize = crate::units::Level::MAX.number() as usize + 1;

/// Longest path of a dumped tree within its volume, in bytes: `PATH_MAX`.
pub const TREE_PATH_LEN_MAX: usize = 4096;

/// Longest name of a tape in bytes, as the history keeps it.
pub const TAPE_LABEL_LEN: usize = 64;

/// Tapes one dump may span in the history: what fits beside the longest path in a record of ten pages, and more than
/// any library's drive is given for one job.
pub const DUMP_TAPES_MAX: usize = 48;

/// Reads that fail one after the other before a tape is given up.
pub const READ_ERRORS_MAX: u32 = 64;

/// Dump and restore sessions at once on a system with less memory than [`SESSIONS_MEDIUM_MEMORY_MIN`], by the documentation of
/// the dump engine (R-SESSION-1). What one of ours takes is little of it: four maps of up to [`MAP_LEN_MAX`], some MiB of tape
/// records and of data read ahead: little more than 1 GiB where a volume has the most objects that a dump can hold.
pub const SESSIONS_SMALL_MAX: u32 = 4;

/// Bytes of memory from which [`SESSIONS_MEDIUM_MAX`] sessions are allowed: 16 GiB.
pub const SESSIONS_MEDIUM_MEMORY_MIN: u64 = 16 << 30;

/// Sessions at once from there on.
pub const SESSIONS_MEDIUM_MAX: u32 = 16;

/// Bytes of memory from which [`SESSIONS_LARGE_MAX`] sessions are allowed: 24 GiB.
pub const SESSIONS_LARGE_MEMORY_MIN: u64 = 24 << 30;

/// Sessions at once from there on, and so the most on any system: who keeps a table of them needs this many entries.
pub const SESSIONS_LARGE_MAX: u32 = 32;

const _: () = assert!(SESSIONS_SMALL_MAX < SESSIONS_MEDIUM_MAX && SESSIONS_MEDIUM_MAX < SESSIONS_LARGE_MAX);
const _: () = assert!(SESSIONS_MEDIUM_MEMORY_MIN < SESSIONS_LARGE_MEMORY_MIN);
const _: () = assert!(SEGMENT_LEN_MAX == 524_288);
const _: () = assert!(2 * (ENTRY_LEN_MAX + 8) <= PAGE_LEN);
const _: () = assert!(PAGE_LEN.is_power_of_two() && PAGE_LEN == TAPE_BLOCK_LEN);
