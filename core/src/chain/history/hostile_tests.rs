//! Histories made of anything, as a device or somebody else may leave them.

extern crate std;

use super::super::*;
use super::page::{BODY_LEN, HEAD_LEN};
use super::tests::{Disk, Owned, numbers};
use super::*;
use crate::device::fault::SplitMix64;
use crate::limits::PAGE_LEN;
use crate::units::DumpId;

/// Makes the checksums of a page right, and with luck those of the payload.
fn seal(page: &mut [u8], with_payload: bool) {
    let len = u32::from_be_bytes(page[36..40].try_into().unwrap()) as usize;
    if with_payload && (1..=BODY_LEN).contains(&len) {
        let checksum = PortableCrc32c::update(0, &page[HEAD_LEN..HEAD_LEN + len]);
        page[32..36].copy_from_slice(&checksum.to_be_bytes());
    }
    let checksum = PortableCrc32c::update(0, &page[4..]);
    page[..4].copy_from_slice(&checksum.to_be_bytes());
}

#[test]
fn any_bytes_are_opened_or_refused_and_what_is_told_is_legal() {
    let (template, _) = Disk::filled(24, &[1, 2, 3, 4, 5, 6]);
    let mut outcomes = [0; 3];
    for seed in 0..6000 {
        let mut random = SplitMix64::new(seed);
        let mut disk = Disk { bytes: template.bytes.clone(), memory: template.memory.clone() };
        for _ in 0..1 + random.below(40) {
            let page = random.below(24) as usize;
            let bytes = &mut disk.bytes[page * PAGE_LEN..(page + 1) * PAGE_LEN];
            match random.below(8) {
                0 => bytes.fill_with(|| random.next_u64() as u8),
                1 => {
                    let from = random.below(24) as usize * PAGE_LEN;
                    disk.bytes.copy_within(from..from + PAGE_LEN, page * PAGE_LEN);
                }
                _ => {
                    // Most of it is in the first part of a page.
                    let limit = if random.below(4) == 0 { 1020 } else { 330 };
                    let at = 4 + random.below(limit) as usize;
                    bytes[at] = if random.below(2) == 0 {
                        random.next_u64() as u8
                    } else {
                        bytes[at].wrapping_add(1)
                    };
                    seal(bytes, random.below(4) != 0);
                }
            }
        }
        let (mut device, history) = disk.try_open();
        let mut history = match history {
            Ok(history) => history,
            Err(HistoryError::NoHistory | HistoryError::RegionTooSmall { .. }) => {
                outcomes[0] += 1;
                continue;
            }
            Err(error) => panic!("seed {seed}: {error:?}"),
        };
        outcomes[1 + usize::from(history.damaged().next().is_some())] += 1;
        let mut place = Place(0);
        while let Some(next) = history.next_after(place) {
            place = next;
            let entry =
                history.entry(&mut device, place).unwrap_or_else(|error| panic!("seed {seed}: {error:?}"));
            assert_eq!(entry.check(), Ok(()), "seed {seed}");
        }
        let known = numbers(&mut device, &mut history);
        for point in [Point::Latest, Point::Dump(DumpId([3; 16]))] {
            let mut dumps = history.dumps_of(&mut device, VolumeId([0xd4; 16]), b"");
            if let Ok(chain) = plan(&mut dumps, point) {
                assert!(chain.links().windows(2).all(|pair| pair[0].level < pair[1].level), "seed {seed}");
            }
        }
        // What can be opened can be written to, unless its numbers are used up.
        match history.append(&mut device, &Owned::new(99, 0, b"").entry()) {
            Ok(_) => {
                let (mut device, mut history) = disk.open();
                let mut expected = known;
                expected.push(99);
                assert_eq!(numbers(&mut device, &mut history), expected, "seed {seed}");
            }
            Err(error) => {
                assert!(matches!(error, HistoryError::RegionTooSmall { .. }), "seed {seed}: {error:?}")
            }
        }
    }
    assert!(outcomes.iter().all(|count| *count > 200), "{outcomes:?}");
}
