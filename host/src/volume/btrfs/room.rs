//! Whether there is space for a snapshot (R-EVENT-4).
//!
//! A snapshot takes no data. What it takes is metadata, and the kernel sets that aside before it begins: for each item that
//! it changes, two nodes on each of up to 8 levels of a tree. Making a snapshot changes up to 10 items, and deleting it up
//! to 5. As much again is for those who write to the volume meanwhile: as long as the snapshot is there, what they change
//! is copied, not replaced. So the rule is 32 items: 512 nodes, 8 MiB where a node has its usual 16 KiB.
//!
//! What is free: in the block groups for metadata what is neither used nor the kernel's reserve for emergencies, and what
//! of the devices belongs to no block group yet, once for each copy that is kept of metadata.

use super::ioctl::Space;

const ITEMS: u64 = 32;
/// `BTRFS_MAX_LEVEL`
const LEVELS: u64 = 8;
const NODES_PER_ITEM: u64 = 2 * LEVELS;

/// `BTRFS_BLOCK_GROUP_METADATA`, also of block groups that mix data and metadata.
const METADATA: u64 = 1 << 2;
/// `BTRFS_SPACE_INFO_GLOBAL_RSV`
const RESERVE: u64 = 1 << 49;
/// Profiles with two copies (`RAID1`, `DUP`, `RAID10`), three and four.
const TWO_COPIES: u64 = 1 << 4 | 1 << 5 | 1 << 6;
const THREE_COPIES: u64 = 1 << 9;
const FOUR_COPIES: u64 = 1 << 10;

/// Less than this of a device is never made a block group of.
const GROUP_LEN_MIN: u64 = 1 << 20;

/// Too little space for a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shortage {
    /// Bytes that are needed.
    pub needed: u64,
    /// Bytes that are free.
    pub free: u64,
}

/// What is missing; `None`: nothing.
pub(super) fn shortage(spaces: &[Space], unallocated: &[u64], node_len: u32) -> Option<Shortage> {
    let needed = ITEMS * NODES_PER_ITEM * u64::from(node_len);
    let (mut free, mut reserved, mut copies) = (0_u64, 0_u64, 1);
    for space in spaces {
        let unused = space.total.saturating_sub(space.used);
        if space.flags & RESERVE != 0 {
            reserved = reserved.saturating_add(unused);
        } else if space.flags & METADATA != 0 {
            free = free.saturating_add(unused);
            copies = copies.max(copies_of(space.flags));
        }
    }
    let new = unallocated.iter().filter(|len| **len >= GROUP_LEN_MIN).sum::<u64>() / copies;
    let free = free.saturating_sub(reserved).saturating_add(new);
    (free < needed).then_some(Shortage { needed, free })
}

const fn copies_of(flags: u64) -> u64 {
    if flags & FOUR_COPIES != 0 {
        4
    } else if flags & THREE_COPIES != 0 {
        3
    } else if flags & TWO_COPIES != 0 {
        2
    } else {
        1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const DUP: u64 = 1 << 5;
    const DATA: u64 = 1;

    fn space(flags: u64, total: u64, used: u64) -> Space {
        Space { flags, total: total * MIB, used: used * MIB }
    }

    #[test]
    fn metadata_counts_and_data_does_not() {
        let full_data = space(DATA, 1000, 1000);
        let rest = [full_data, space(METADATA | DUP, 100, 80), space(RESERVE, 10, 0)];
        assert_eq!(shortage(&rest, &[], 16384), None);
        let rest = [space(DATA, 1000, 0), space(METADATA | DUP, 100, 80), space(RESERVE, 13, 0)];
        assert_eq!(shortage(&rest, &[], 16384), Some(Shortage { needed: 8 * MIB, free: 7 * MIB }));
        // Smaller nodes need less.
        assert_eq!(shortage(&rest, &[], 4096), None);
        // Mixed block groups.
        assert_eq!(shortage(&[space(DATA | METADATA, 100, 90)], &[], 16384), None);
    }

    #[test]
    fn what_is_not_allocated_counts_once_for_all_copies() {
        let full = |profile| [space(METADATA | profile, 100, 100)];
        for (profile, copies) in [(0, 1), (DUP, 2), (1 << 4, 2), (1 << 6, 2), (1 << 9, 3), (1 << 10, 4)] {
            assert_eq!(shortage(&full(profile), &[8 * MIB * copies], 16384), None, "{copies}");
            let less = shortage(&full(profile), &[8 * MIB * copies - 4 * copies], 16384);
            assert!(less.is_some(), "{copies}");
        }
        // Scraps.
        assert!(shortage(&full(0), &[MIB - 1; 20], 16384).is_some());
        assert!(shortage(&full(0), &[MIB; 8], 16384).is_none());
    }
}
