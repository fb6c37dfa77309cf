extern crate std;
use std::vec;
use std::vec::Vec;

use super::*;
use crate::checksum::CompactCrc32c;
use crate::device::fault::{Fault, FaultInjector, What, When};
use crate::device::mem::MemBlock;
use crate::device::tape::TapePosition;
use crate::stream::writer::DumpIdentity;
use crate::units::{BlockingFactor, DumpId, Level, Timestamp, VolumeId};

const LEN: usize = 64 << 10;

/// Parts of lengths around the page's, all different from those of another `seed`.
fn parts(seed: u8) -> Vec<Vec<u8>> {
    let lens = [ContextRecord::LEN, 0, 116, 100, 3000, PAGE_LEN, 2 * PAGE_LEN, PAGE_LEN + 1];
    lens.iter().map(|len| (0..*len).map(|at| (at as u8).wrapping_mul(31) ^ seed).collect()).collect()
}

fn borrowed(parts: &[Vec<u8>]) -> Parts<'_> {
    let mut all = [&[][..]; PARTS];
    all.iter_mut().zip(parts).for_each(|(to, part)| *to = part);
    all
}

const ALL: [Part; PARTS] = [
    Part::Record,
    Part::Request,
    Part::State,
    Part::Catalog,
    Part::Rest,
    Part::InUse,
    Part::Pending,
    Part::Known,
];

/// What is stored in these bytes.
fn stored(bytes: &mut [u8]) -> Result<Vec<Vec<u8>>, ContextError<ErrorKind>> {
    let device = MemBlock::new(bytes, 512).unwrap();
    let mut store = ContextStore::open(device, 0..LEN as u64)?;
    ALL.into_iter()
        .map(|part| {
            let mut bytes = vec![0; 4 * PAGE_LEN];
            assert_eq!(store.len(part)?, store.read(part, &mut bytes)? as u64);
            let len = store.read(part, &mut bytes)?;
            bytes.truncate(len);
            Ok(bytes)
        })
        .collect()
}

#[test]
fn what_was_stored_last_is_read() {
    let mut bytes = vec![0; LEN];
    assert_eq!(stored(&mut bytes), Err(ContextError::Absent));
    for seed in 1..6 {
        let device = MemBlock::new(&mut bytes, 512).unwrap();
        let mut store = match seed {
            1 => ContextStore::blank(device, 0..LEN as u64),
            _ => ContextStore::open(device, 0..LEN as u64).unwrap(),
        };
        store.store(&borrowed(&parts(seed))).unwrap();
        let mut short = [0; 8];
        let needed = ContextRecord::LEN as u64;
        assert_eq!(store.read(Part::Record, &mut short), Err(ContextError::MemoryTooSmall { needed }));
        assert_eq!(stored(&mut bytes).unwrap(), parts(seed));
    }
    let large = vec![vec![1; LEN / 2]];
    let mut store = ContextStore::open(MemBlock::new(&mut bytes, 512).unwrap(), 0..LEN as u64).unwrap();
    let refused = store.store(&borrowed(&large)).unwrap_err();
    assert!(matches!(refused, ContextError::DeviceTooSmall { needed } if needed > LEN as u64));
    assert_eq!(stored(&mut bytes).unwrap(), parts(5));
}

#[test]
fn the_provider_of_the_checksum_makes_no_difference() {
    let mut bytes = vec![0; LEN];
    let device = MemBlock::new(&mut bytes, 512).unwrap();
    let mut store = ContextStore::<_, CompactCrc32c>::blank_with_crc(device, 0..LEN as u64);
    store.store(&borrowed(&parts(3))).unwrap();
    assert_eq!(stored(&mut bytes).unwrap(), parts(3));
    let device = MemBlock::new(&mut bytes, 512).unwrap();
    let mut store = ContextStore::<_, CompactCrc32c>::open_with_crc(device, 0..LEN as u64).unwrap();
    assert_eq!(store.len(Part::State).unwrap(), parts(3)[2].len() as u64);
}

/// R-RESTART-2: wherever the power goes while something is stored, it or what was stored before is there, whole.
#[test]
fn a_power_cut_leaves_one_context_or_the_other() {
    let mut before = vec![0; LEN];
    for seed in [1, 2] {
        let device = MemBlock::new(&mut before, 512).unwrap();
        let store = ContextStore::open(device, 0..LEN as u64);
        match store {
            Ok(mut store) => store.store(&borrowed(&parts(seed))).unwrap(),
            Err(_) => {
                let device = MemBlock::new(&mut before, 512).unwrap();
                ContextStore::blank(device, 0..LEN as u64).store(&borrowed(&parts(seed))).unwrap();
            }
        }
    }
    let mut seen = [0; 2];
    for seed in 0..20 {
        for operation in 0.. {
            let mut bytes = before.clone();
            let mut journal = vec![0; LEN * 2];
            let fault = [Fault { when: When::Any(operation), what: What::PowerCut }];
            let device = MemBlock::new(&mut bytes, 512).unwrap();
            let device = FaultInjector::scheduled(device, &fault).with_seed(seed).with_journal(&mut journal);
            let mut done = false;
            if let Ok(mut store) = ContextStore::open(device, 0..LEN as u64) {
                done = store.store(&borrowed(&parts(3))).is_ok();
            }
            let found = stored(&mut bytes).unwrap();
            let is_new = found == parts(3);
            assert!(is_new || (!done && found == parts(2)), "operation {operation}, seed {seed}");
            seen[usize::from(is_new)] += 1;
            if done {
                break;
            }
        }
    }
    assert!(seen.iter().all(|count| *count > 20), "{seen:?}");
}

/// A store that fails at any operation may leave a copy that is there and not durable. What is stored next must not cost
/// the older one, which is.
#[test]
fn a_store_that_failed_and_a_power_cut_in_the_next_one() {
    let mut before = vec![0; LEN];
    let device = MemBlock::new(&mut before, 512).unwrap();
    let mut store = ContextStore::blank(device, 0..LEN as u64);
    store.store(&borrowed(&parts(1))).unwrap();
    store.store(&borrowed(&parts(2))).unwrap();
    let (mut cuts, mut failures) = (0, 0);
    for failing in 0..60 {
        for cut in failing + 1..failing + 90 {
            let mut bytes = before.clone();
            let mut journal = vec![0; LEN * 4];
            let faults = [
                Fault { when: When::Any(failing), what: What::Error(ErrorKind::Medium) },
                Fault { when: When::Any(cut), what: What::PowerCut },
            ];
            let device = MemBlock::new(&mut bytes, 512).unwrap();
            let device = FaultInjector::scheduled(device, &faults).with_seed(cut).with_journal(&mut journal);
            let Ok(mut store) = ContextStore::open(device, 0..LEN as u64) else { break };
            failures += u32::from(store.store(&borrowed(&parts(3))).is_err());
            // As another process does that finds it.
            let again = ContextStore::open(store.into_device(), 0..LEN as u64);
            let done = again.and_then(|mut store| store.store(&borrowed(&parts(4)))).is_ok();
            let found = stored(&mut bytes).unwrap();
            assert!(
                found == parts(4) || !done && (found == parts(3) || found == parts(2)),
                "operation {failing} failed, power cut at {cut}"
            );
            if done {
                break;
            }
            cuts += 1;
        }
    }
    assert!(cuts > 200 && failures > 20, "{cuts} cuts, {failures} failures");
}

#[test]
fn no_changed_byte_is_believed() {
    let mut good = vec![0; LEN];
    let device = MemBlock::new(&mut good, 512).unwrap();
    let mut store = ContextStore::blank(device, 0..LEN as u64);
    store.store(&borrowed(&parts(1))).unwrap();
    store.store(&borrowed(&parts(2))).unwrap();
    for at in (0..LEN).step_by(97) {
        let mut bytes = good.clone();
        bytes[at] ^= 0x40;
        let found = stored(&mut bytes).unwrap();
        assert!(found == parts(2) || (at >= LEN / 2 && found == parts(1)), "byte {at}");
    }
    good[200] ^= 1;
    good[LEN / 2 + 200] ^= 1;
    assert_eq!(stored(&mut good), Err(ContextError::Damaged));
}

#[test]
fn records_come_back() {
    let mut record = ContextRecord {
        identity: DumpIdentity { id: DumpId([7; 16]), date: 1_700_000_000, base_date: 5, level: Level::MAX },
        blocking: BlockingFactor::MAX,
        volume: VolumeId([9; 16]),
        begin: TapePosition { file: 3, record: 1 << 40 },
        updated: Timestamp { secs: -5, nanos: 999_999_999 },
        snapshot_is_own: true,
        has_offset_map: false,
        offset_verify: true,
        restartable: true,
        restart_pass: 12,
        status: BackupStatus::Event,
        state: ContextState::Deleting,
    };
    assert_eq!(ContextRecord::from_bytes(&record.to_bytes()), Some(record));
    (record.snapshot_is_own, record.has_offset_map) = (false, true);
    (record.offset_verify, record.restartable) = (false, false);
    (record.status, record.state) = (BackupStatus::Volume, ContextState::Dumping);
    assert_eq!(ContextRecord::from_bytes(&record.to_bytes()), Some(record));
    assert_eq!(ContextRecord::from_bytes(&record.to_bytes()[1..]), None);
}
