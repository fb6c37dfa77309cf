//! Histories out of any image of a device: opened, read, written to, and opened again.
//!
//! Input: settings, and the image, behind which there is some room.

use tapedump_core::chain::history::{History, HistoryError, memory_len};
use tapedump_core::chain::{Place, Point, plan};
use tapedump_core::device::mem::MemBlock;
use tapedump_core::limits::PAGE_LEN;
use tapedump_core::units::DumpId;

use crate::{genuine, repair};

/// Bits of the first byte. The checksums are set right.
pub const REPAIRED: u8 = 1;
/// There are pages behind the image.
pub const ROOM: u8 = 2;
/// The first entry is removed, or replaced, before another one is appended.
pub const REMOVE: u8 = 4;
pub const REPLACE: u8 = 8;

const PAGES_MAX: usize = 64;

pub fn run(data: &[u8]) {
    let Some((&settings, image)) = data.split_first() else { return };
    let mut image = image[..image.len().min(PAGES_MAX * PAGE_LEN)].to_vec();
    if settings & REPAIRED != 0 {
        repair::history(&mut image);
    }
    if settings & ROOM != 0 {
        image.resize(image.len() + 12 * PAGE_LEN, 0);
    }
    let region = 0..image.len() as u64 / PAGE_LEN as u64 * PAGE_LEN as u64;
    let mut memory = vec![0; memory_len(&region)];
    let mut device = MemBlock::new(&mut image, 512).expect("the length of a block");
    let Ok(mut history) = History::<'_>::open(&mut device, region.clone(), &mut memory) else { return };
    let mut known = read(&mut device, &mut history);
    if let Some((place, _)) = known.first().copied() {
        let changed = if settings & REMOVE != 0 {
            history.remove(&mut device, place)
        } else if settings & REPLACE != 0 {
            genuine::with_entry(8, |entry| history.replace(&mut device, place, entry)).map(drop)
        } else {
            Err(HistoryError::NoEntry)
        };
        match changed {
            Ok(()) => known = read(&mut device, &mut history),
            Err(error) => refused(&error),
        }
    }
    let ids: Vec<DumpId> = known.into_iter().map(|(_, id)| id).collect();
    let appended = genuine::with_entry(9, |entry| history.append(&mut device, entry).map(|_| entry.dump.id));
    let mut expected = ids;
    match appended {
        Ok(id) => expected.push(id),
        Err(error) => refused(&error),
    }
    let mut memory = vec![0; memory_len(&region)];
    let mut again = History::<'_>::open(&mut device, region, &mut memory).expect("it was opened before");
    let found: Vec<DumpId> = read(&mut device, &mut again).into_iter().map(|(_, id)| id).collect();
    assert_eq!(found, expected, "what was recorded is there when it is opened again");
}

/// Only what is full refuses a change, or what was never there.
fn refused(error: &HistoryError<tapedump_core::device::ErrorKind>) {
    assert!(matches!(error, HistoryError::RegionTooSmall { .. } | HistoryError::NoEntry), "{error:?}");
}

/// All that it tells, and the places and identities of its dumps.
fn read(device: &mut MemBlock<'_>, history: &mut History<'_>) -> Vec<(Place, DumpId)> {
    let mut known = Vec::new();
    let mut trees = Vec::new();
    let mut place = Place(0);
    while let Some(next) = history.next_after(place) {
        place = next;
        let entry = history.entry(device, place).expect("what is told to be there is there");
        assert_eq!(entry.check(), Ok(()));
        known.push((place, entry.dump.id));
        let tree = (entry.volume, entry.path.to_vec());
        if !trees.contains(&tree) {
            trees.push(tree);
        }
    }
    let mut backward = known.iter().rev();
    let mut before = None;
    while let Some(next) = history.next_before(before) {
        assert_eq!(backward.next().map(|(place, _)| *place), Some(next));
        before = Some(next);
    }
    assert_eq!(backward.next(), None);
    for (volume, path) in &trees {
        for point in known.iter().map(|(_, id)| Point::Dump(*id)).chain([Point::Latest]) {
            let mut dumps = history.dumps_of(device, *volume, path);
            if let Ok(chain) = plan(&mut dumps, point) {
                assert!(chain.links().windows(2).all(|pair| pair[0].level < pair[1].level));
            }
        }
    }
    history.damaged().count();
    known
}
