//! Dumps over several tapes, that end anywhere: what is restored of them is the volume, whatever way is taken.

extern crate std;
use std::vec;
use std::vec::Vec;

use super::restart::find_end;
use super::{Dump, DumpError, DumpEvent, DumpMemory, DumpOptions};
use crate::catalog::{CatalogIdentity, CatalogWriter};
use crate::checksum::{Crc32c, PortableCrc32c, without};
use crate::device::ErrorKind;
use crate::device::mem::{ITEM_OVERHEAD, MemBlock, MemTape, MemVolume, differs};
use crate::device::tape::{Space, Spaced, TapeCapabilities, TapeDevice, TapePosition, TapeRead, TapeWrite};
use crate::device::volume::{Attributes, Kind, SourceVolume, VolumeNames};
use crate::engine::restore::{
    ChainStop, Damage, Leg, Restore, RestoreEvent, RestoreMemory, RestoreSummary, Selected,
};
use crate::engine::tests::{leak, options, sample, volume};
use crate::record::dialect::Dialect;
use crate::record::header::{Header, HeaderKind};
use crate::stream::reader::ReaderError;
use crate::units::{BlockAddr, Ino, Level, TAPE_BLOCK_LEN, TapeNo};

type Tape = MemTape<'static>;

const BLOCKING: u32 = 4;
const RECORD_LEN: usize = BLOCKING as usize * TAPE_BLOCK_LEN;
const MAP_LEN: usize = 64;
const CATALOG_LEN: usize = 1 << 20;

/// A blank tape that takes so many records.
fn blank(records: usize, early_warning: usize) -> Tape {
    let len = records * (RECORD_LEN + ITEM_OVERHEAD) + 12;
    MemTape::blank(leak(len)).with_early_warning(early_warning)
}

/// A drive, and the tapes that are put into it one after the other.
struct Drive<'t> {
    tapes: &'t mut [Tape],
    at: usize,
}

impl TapeDevice for Drive<'_> {
    type Error = ErrorKind;

    fn capabilities(&self) -> TapeCapabilities {
        self.tapes[self.at].capabilities()
    }
    fn read(&mut self, buf: &mut [u8]) -> Result<TapeRead, ErrorKind> {
        self.tapes[self.at].read(buf)
    }
    fn write(&mut self, record: &[u8]) -> Result<TapeWrite, ErrorKind> {
        self.tapes[self.at].write(record)
    }
    fn write_filemark(&mut self) -> Result<TapeWrite, ErrorKind> {
        self.tapes[self.at].write_filemark()
    }
    fn flush(&mut self) -> Result<(), ErrorKind> {
        self.tapes[self.at].flush()
    }
    fn position(&mut self) -> Result<TapePosition, ErrorKind> {
        self.tapes[self.at].position()
    }
    fn locate(&mut self, to: TapePosition) -> Result<Spaced, ErrorKind> {
        self.tapes[self.at].locate(to)
    }
    fn space(&mut self, by: Space) -> Result<Spaced, ErrorKind> {
        self.tapes[self.at].space(by)
    }
    fn rewind(&mut self) -> Result<(), ErrorKind> {
        self.tapes[self.at].rewind()
    }
    fn unload(&mut self) -> Result<(), ErrorKind> {
        self.tapes[self.at].unload()
    }
    fn has_next_tape(&self, tape: TapeNo) -> bool {
        tape.0 as usize <= self.tapes.len()
    }
    fn next_tape(&mut self, tape: TapeNo) -> Result<bool, ErrorKind> {
        self.at = self.at.max(tape.0 as usize - 1);
        Ok(self.at < self.tapes.len())
    }
}

/// Lends what a dump needs.
fn with_memory<R>(options: &DumpOptions, records: usize, run: impl FnOnce(DumpMemory<'_>) -> R) -> R {
    let mut stream = vec![0; TAPE_BLOCK_LEN + options.blocking.record_len() * records];
    let (mut in_use, mut on_tape, mut known) = (vec![0; MAP_LEN], vec![0; MAP_LEN], vec![0; MAP_LEN]);
    run(DumpMemory { stream: &mut stream, in_use: &mut in_use, on_tape: &mut on_tape, known: &mut known })
}

/// Dumps the volume onto the tapes.
fn dump(
    source: &mut MemVolume<'_>,
    tapes: &mut [Tape],
    records: usize,
) -> Result<u64, DumpError<ErrorKind, ErrorKind>> {
    let options = options(BLOCKING);
    with_memory(&options, records, |memory| {
        let drive = Drive { tapes, at: 0 };
        let mut dump = Dump::<_, _, PortableCrc32c>::new(source, drive, memory, options)?;
        loop {
            if let DumpEvent::Done(summary) = dump.step()? {
                return Ok(summary.blocks);
            }
        }
    })
}

struct Restored {
    summary: Option<RestoreSummary>,
    damage: Vec<Damage>,
    tapes_read: Vec<usize>,
    wrong: Option<ReaderError>,
}

/// Restores from the tapes in the order given.
fn restore(tapes: &mut [Tape], order: &[usize], target: &mut MemVolume<'_>) -> Restored {
    restore_along(tapes, order, target, None)
}

/// As [`restore`], of one path, and straight along `stops`.
fn restore_along(
    tapes: &mut [Tape],
    order: &[usize],
    target: &mut MemVolume<'_>,
    along: Option<(&mut &[ChainStop], &[u8])>,
) -> Restored {
    let mut scratch = vec![0; 1 << 20];
    let scratch = MemBlock::new(&mut scratch, 512).unwrap();
    let (mut stream, mut maps, mut names) = (vec![0; 9 << 10], vec![0; 6 * 1024], vec![0; 16 << 10]);
    let memory = RestoreMemory {
        stream: &mut stream,
        maps: &mut maps,
        chain: &mut [],
        names: &mut names,
        attributes: &mut [],
    };
    let mut left: Vec<Option<&mut Tape>> = tapes.iter_mut().map(Some).collect();
    let mut take = |number: usize| -> Option<&mut Tape> {
        let tape = left.get_mut(*order.get(number)?)?.take()?;
        tape.rewind().unwrap();
        Some(tape)
    };
    let first = take(0).unwrap();
    let mut restore = Restore::<_, _, _, PortableCrc32c>::new(first, target, scratch, memory).unwrap();
    let mut restored = Restored { summary: None, damage: vec![], tapes_read: vec![0], wrong: None };
    let mut path = None;
    if let Some((route, wanted)) = along {
        path = Some(wanted);
        restore.go_along(route);
    }
    for _ in 0..1_000_000 {
        match restore.step() {
            Ok(RestoreEvent::Damage(damage)) => restored.damage.push(damage),
            Ok(RestoreEvent::Failed(failure)) => panic!("{failure:?}"),
            Ok(RestoreEvent::Catalogued) => {
                if let Some(path) = path {
                    assert_eq!(restore.select(path).unwrap(), Selected::Yes);
                }
            }
            Ok(RestoreEvent::NeedTape(number)) => {
                if let Some(tape) = take(number.0 as usize - 1) {
                    restored.tapes_read.push(number.0 as usize - 1);
                    restore.next_tape(tape);
                }
            }
            Ok(RestoreEvent::Done(summary)) => {
                restored.summary = Some(summary);
                return restored;
            }
            Ok(_) => {}
            Err(crate::engine::restore::RestoreError::Stream(error)) => {
                restored.wrong = Some(error);
                return restored;
            }
            Err(error) => panic!("{error:?}"),
        }
    }
    panic!("no end");
}

/// Files of several segments besides all that a volume can hold.
fn source() -> MemVolume<'static> {
    let mut v = sample();
    let long = v.add_file(Ino::ROOT, b"long", &Attributes::new(Kind::File), b"").unwrap();
    for at in 0..9 {
        v.write_data(long, at * 100_003, &[at as u8 + 1; 20_001]).unwrap();
    }
    v
}

/// The headers on a tape, with the addresses of its first block and behind its last.
fn headers(tape: &Tape, first: u64) -> (Vec<(HeaderKind, u64, TapeNo)>, u64) {
    let blocks: Vec<u8> = tape.records(0).flatten().copied().collect();
    let (blocks, rest) = blocks.as_chunks::<TAPE_BLOCK_LEN>();
    assert!(rest.is_empty());
    let mut found = Vec::new();
    for (index, block) in blocks.iter().enumerate() {
        if let Ok(header) = Header::new(block).parse::<PortableCrc32c>(Dialect::OURS)
            && header.extension.is_some()
        {
            assert_eq!(header.addr.0, first + index as u64);
            found.push((header.kind, header.addr.0, header.tape));
        }
    }
    (found, first + blocks.len() as u64)
}

#[test]
fn a_tape_that_ends_at_any_record_goes_on_on_the_next() {
    let mut source = source();
    let mut one = [blank(600, 0)];
    let blocks = dump(&mut source, &mut one, 1).unwrap();
    let records = blocks as usize / BLOCKING as usize;
    assert!((60..200).contains(&records), "{records}");
    for (memory, early_warning) in [(1, 0), (1, 3 * RECORD_LEN), (5, 0), (5, 2 * RECORD_LEN)] {
        for len in 1..=records {
            let mut tapes = [blank(len, early_warning), blank(600, 0)];
            let dumped = dump(&mut source, &mut tapes, memory).unwrap();
            assert!((blocks..=blocks + u64::from(BLOCKING)).contains(&dumped), "{dumped} of {blocks}");
            let (on_first, end) = headers(&tapes[0], 0);
            let (on_second, _) = headers(&tapes[1], end);
            assert!(on_first.iter().all(|(.., tape)| *tape == TapeNo(1)), "{len}");
            assert!(on_second.iter().all(|(.., tape)| *tape == TapeNo(2)), "{len}");
            assert!(len == records || !on_second.is_empty());
            let mut target = volume();
            let restored = restore(&mut tapes, &[0, 1], &mut target);
            assert_eq!(restored.damage, [], "{len} records, {memory} in memory, warning at {early_warning}");
            assert!(restored.summary.unwrap().is_good());
            assert_eq!(differs(&source, &target), None);
            if on_second.first().is_some_and(|(kind, ..)| *kind != HeaderKind::Tape) {
                panic!("{on_second:?}");
            }
        }
    }
}

#[test]
fn a_dump_on_forty_tapes() {
    let mut source = source();
    for memory in [1, 7] {
        let mut tapes: Vec<_> = (0..60).map(|_| blank(2, 0)).collect();
        let blocks = dump(&mut source, &mut tapes, memory).unwrap();
        let used = blocks.div_ceil(2 * u64::from(BLOCKING)) as usize;
        assert!((40..60).contains(&used), "{used}");
        let order: Vec<_> = (0..used).collect();
        let mut target = volume();
        let restored = restore(&mut tapes, &order, &mut target);
        assert_eq!((restored.damage, restored.tapes_read.len()), (vec![], used));
        assert_eq!(differs(&source, &target), None);
    }
    // One record of a tape each, and a tape that takes nothing is passed over.
    let mut tapes: Vec<_> = (0..150).map(|_| blank(1, 0)).collect();
    let used = dump(&mut source, &mut tapes, 3).unwrap() as usize / BLOCKING as usize;
    let mut target = volume();
    let restored = restore(&mut tapes, &(0..used).collect::<Vec<_>>(), &mut target);
    assert_eq!(restored.damage, []);
    assert_eq!(differs(&source, &target), None);
}

#[test]
fn without_a_further_tape_the_dump_ends_at_the_end_of_the_last() {
    let mut source = source();
    let mut tapes = [blank(9, 0), blank(9, 0)];
    let error = dump(&mut source, &mut tapes, 2).unwrap_err();
    let DumpError::EndOfMedium { at } = error else { panic!("{error:?}") };
    assert_eq!(at, BlockAddr(18 * u64::from(BLOCKING)));
    // The last one is written to its very end, though it warns.
    let mut warning = [blank(9, 0), blank(9, 4 * RECORD_LEN)];
    let error = dump(&mut self::source(), &mut warning, 2).unwrap_err();
    assert!(matches!(error, DumpError::EndOfMedium { at: BlockAddr(72) }), "{error:?}");
    let mut full = [blank(0, 0), blank(600, 0)];
    let error = dump(&mut source, &mut full, 2).unwrap_err();
    assert!(matches!(error, DumpError::EndOfMedium { at: BlockAddr(0) }), "{error:?}");
}

#[test]
fn tapes_that_are_missing_or_in_another_order_are_named() {
    let mut source = source();
    let mut tapes = [(); 4].map(|()| blank(30, 0));
    dump(&mut source, &mut tapes, 2).unwrap();
    let swapped = restore(&mut tapes, &[0, 2, 1, 3], &mut volume());
    assert_eq!(swapped.wrong, Some(ReaderError::WrongTape { wanted: TapeNo(2), found: Some(TapeNo(3)) }));
    let mut other = [blank(600, 0)];
    dump(&mut sample(), &mut other, 2).unwrap();
    let [first, second, ..] = tapes;
    let [other] = other;
    let mut mixed = [first, other];
    let foreign = restore(&mut mixed, &[0, 1], &mut volume());
    assert!(matches!(foreign.wrong, Some(ReaderError::WrongTape { wanted: TapeNo(2), .. })));
    let [first, _] = mixed;
    let mut target = volume();
    let mut ended = [first, second];
    let cut = restore(&mut ended, &[0, 1], &mut target);
    assert!(cut.damage.iter().any(|damage| matches!(damage, Damage::Truncated { .. })), "{:?}", cut.damage);
    assert!(!cut.summary.unwrap().is_good());
}

#[test]
fn the_catalog_leads_straight_to_the_tape_of_a_file() {
    let mut source = source();
    for (memory, len) in [(1, 13), (6, 13), (6, 40)] {
        let options = options(BLOCKING);
        let mut tapes: Vec<_> = (0..12).map(|_| blank(len, 0)).collect();
        let (mut disk, mut catalog_memory) = (vec![0; CATALOG_LEN], vec![0; 64 << 10]);
        let block = MemBlock::new(&mut disk, 512).unwrap();
        let identity = CatalogIdentity {
            dump: options.identity.id,
            base: None,
            level: Level::BASELINE,
            date: options.identity.date.into(),
            base_date: 0,
            volume: [1; 16],
            names: VolumeNames::default(),
            label: options.label,
        };
        let catalog = CatalogWriter::<_, PortableCrc32c>::new(
            block,
            0..CATALOG_LEN as u64,
            &mut catalog_memory,
            identity,
        )
        .unwrap();
        let catalog = with_memory(&options, memory, |lent| {
            let drive = Drive { tapes: &mut tapes, at: 0 };
            let mut dump: Dump<'_, _, _, PortableCrc32c, _> =
                Dump::with_catalog(&mut source, drive, catalog, lent, options).unwrap();
            while !matches!(dump.step().unwrap(), DumpEvent::Done(_)) {}
            dump.into_parts().2.unwrap()
        });
        let mut catalog = catalog.finish().unwrap();
        let mut at = catalog.first_on_tape().unwrap();
        let mut objects = Vec::new();
        while let Some(row) = catalog.next_on_tape(&mut at).unwrap() {
            objects.push((row, catalog.apart(row.ino).unwrap()));
        }
        let mut place = |block| catalog.place(block).unwrap();
        let mut directories = Vec::new();
        for (row, apart) in &objects {
            let at = place(row.place.unwrap());
            if row.is_directory {
                directories.push(ChainStop {
                    dump: 0,
                    leg: Leg::Directories,
                    block: at.block,
                    ino: row.ino,
                    tape: at.tape,
                });
                continue;
            }
            let mut name = [0; crate::limits::NAME_LEN_MAX];
            let (parent, name_len) = source.name_of(row.ino, &mut name).unwrap();
            if parent != Ino::ROOT {
                continue;
            }
            let mut stops = directories.clone();
            stops.push(ChainStop { dump: 0, leg: Leg::Others, block: at.block, ino: row.ino, tape: at.tape });
            if let Some(apart) = apart.map(&mut place) {
                let (block, tape) = (apart.block, apart.tape);
                stops.push(ChainStop { dump: 0, leg: Leg::Attributes, block, ino: row.ino, tape });
            }
            stops.sort();
            let mut target = volume();
            let order: Vec<_> = (0..tapes.len()).collect();
            let along = Some((&mut stops.as_slice(), &name[..name_len]));
            let restored = restore_along(&mut tapes, &order, &mut target, along);
            assert_eq!(restored.damage, [], "{row:?}");
            let made = target.look_up(Ino::ROOT, &name[..name_len]).unwrap();
            let (mut found, mut wanted) = (vec![0; row.size as usize], vec![0; row.size as usize]);
            if row.kind == Some(Kind::File) {
                target.read_data(made, 0, &mut found).unwrap();
                source.read_data(row.ino, 0, &mut wanted).unwrap();
                assert_eq!(found, wanted);
            }
            assert!(
                restored.tapes_read.is_sorted() && restored.tapes_read.len() <= 6,
                "{:?}",
                restored.tapes_read
            );
        }
    }
}

#[derive(Debug, PartialEq)]
enum Ended {
    ByItself,
    Restarted,
    BeforeAnythingWasKept,
}

/// R-RESTART-4, over tapes: those of a dump that goes on are the ones that would have come without.
#[test]
fn a_dump_over_several_tapes_goes_on_wherever_it_stops() {
    let mut source = source();
    let options = options(BLOCKING);
    let run = |source: &mut MemVolume<'_>, tapes: &mut Vec<Tape>, stop_at: usize| -> Ended {
        let mut kept = None;
        let ended = with_memory(&options, 3, |memory| {
            let drive = Drive { tapes, at: 0 };
            let mut dump = Dump::<_, _, PortableCrc32c>::new(&mut *source, drive, memory, options).unwrap();
            for step in 0.. {
                if step % 3 == 0
                    && let Some(state) = dump.suspend().unwrap()
                {
                    let held = dump.held();
                    let maps = [held.in_use, held.pending, held.known].map(<[u8]>::to_vec);
                    kept = Some((state, held.rest.to_vec(), maps));
                }
                if step == stop_at {
                    return false;
                }
                if let DumpEvent::Done(_) = dump.step().unwrap() {
                    return true;
                }
            }
            unreachable!()
        });
        if ended {
            return Ended::ByItself;
        }
        let Some((state, rest, maps)) = kept else { return Ended::BeforeAnythingWasKept };
        // What the interrupted dump had open.
        _ = source.close();
        let at = state.tape().0 as usize - 1;
        for tape in tapes.iter_mut().skip(at + 1) {
            tape.rewind().unwrap();
        }
        let mut drive = Drive { tapes, at };
        let mut memory = vec![0; RECORD_LEN];
        find_end::<_, PortableCrc32c>(
            &mut drive,
            TapePosition::default(),
            &options.identity,
            options.blocking,
            &state,
            &rest,
            &mut memory,
        )
        .unwrap();
        with_memory(&options, 3, |memory| {
            memory.in_use.copy_from_slice(&maps[0]);
            memory.on_tape.copy_from_slice(&maps[1]);
            memory.known.copy_from_slice(&maps[2]);
            let mut dump: Dump<'_, _, _, PortableCrc32c> =
                Dump::restarted(&mut *source, drive, (), memory, options, &state, &rest).unwrap();
            while !matches!(dump.step().unwrap(), DumpEvent::Done(_)) {}
        });
        Ended::Restarted
    };
    for (len, early_warning) in [(11, 0), (11, 5 * RECORD_LEN)] {
        let fresh = || (0..30).map(|_| blank(len, early_warning)).collect::<Vec<_>>();
        let bytes = |tapes: &[Tape]| {
            tapes
                .iter()
                .map(|tape| tape.records(0).flatten().copied().collect::<Vec<_>>())
                .collect::<Vec<_>>()
        };
        let mut reference = fresh();
        assert_eq!(run(&mut source, &mut reference, usize::MAX), Ended::ByItself);
        let reference = bytes(&reference);
        for stop_at in (0..).step_by(5) {
            let mut tapes = fresh();
            let ended = run(&mut source, &mut tapes, stop_at);
            if ended != Ended::BeforeAnythingWasKept {
                assert!(bytes(&tapes) == reference, "stopped before step {stop_at}, tapes of {len} records");
            }
            if ended == Ended::ByItself {
                break;
            }
        }
    }
}

#[test]
fn a_checksum_is_undone() {
    let data: Vec<u8> = (0..3000_u32).map(|at| ((at * 7) >> 3) as u8).collect();
    for at in [0, 1, 1024, 2999, 3000] {
        let (front, back) = data.split_at(at);
        let whole = PortableCrc32c::update(0, &data);
        assert_eq!(without(whole, back), PortableCrc32c::update(0, front));
    }
}
