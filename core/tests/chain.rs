//! Random histories of a random tree: whatever is dumped at whatever levels, the restore of a dump's chain gives the
//! tree as it was (R-CHAIN-2 to R-CHAIN-5).

mod world;

use tapedump_core::catalog::{CATALOG_MEMORY_MIN, Catalog, CatalogIdentity, CatalogWriter, View, WhichMap};
use tapedump_core::checksum::PortableCrc32c;
use tapedump_core::device::mem::{MemBlock, MemTape, MemVolume, Node, differs};
use tapedump_core::device::tape::{TapeDevice, TapePosition};
use tapedump_core::device::volume::{Kind, NameBuf, PropertyKind, SourceVolume, VolumeNames};
use tapedump_core::engine::dump::{Dump, DumpEvent, DumpMemory, DumpOptions, DumpSummary};
use tapedump_core::engine::restore::{
    ChainStop, Restore, RestoreError, RestoreEvent, RestoreMemory, RestoreSummary, Selected, stops_at,
    stops_on_the_way,
};
use tapedump_core::limits::NAME_LEN_MAX;
use tapedump_core::record::dialect::Dialect;
use tapedump_core::record::extension::Role;
use tapedump_core::record::header::Header;
use tapedump_core::record::map::MapView;
use tapedump_core::stream::writer::DumpIdentity;
use tapedump_core::units::{BlockingFactor, DumpId, Ino, Level, TAPE_BLOCK_LEN};
use world::{NODES, Random, World};

const BLOCKING: u32 = 4;
const ARENA_LEN: usize = 1 << 20;
const MAP_LEN: usize = 64;
const SEEDS: u64 = 200;
const DUMPS: u32 = 8;

/// A dump of the history.
struct Made {
    level: u32,
    date: u32,
    base: Option<usize>,
    tape: Vec<u8>,
    catalog: Vec<u8>,
    known: Vec<u8>,
    /// Changes before it.
    changes: u32,
}

fn options(level: u32, date: u32, base_date: u32) -> DumpOptions {
    let identity = DumpIdentity {
        id: DumpId(u128::from(date).to_be_bytes()),
        date,
        base_date,
        level: Level::new(level).unwrap(),
    };
    DumpOptions { identity, blocking: BlockingFactor::new(BLOCKING).unwrap(), label: [0; 16] }
}

/// Gives the tape, the catalog and what was told.
fn dump(
    source: &mut MemVolume<'_>,
    known: &mut [u8],
    options: DumpOptions,
) -> (Vec<u8>, Vec<u8>, DumpSummary) {
    let mut catalog_bytes = vec![0; 256 << 10];
    let catalog_device = MemBlock::new(&mut catalog_bytes, 512).unwrap();
    let mut catalog_memory = [0; CATALOG_MEMORY_MIN];
    let DumpIdentity { id, date, base_date, level } = options.identity;
    let identity = CatalogIdentity {
        dump: id,
        base: None,
        level,
        date: date.into(),
        base_date: base_date.into(),
        volume: [7; 16],
        names: VolumeNames::default(),
        label: [0; 16],
    };
    let catalog: CatalogWriter<'_, _, PortableCrc32c> =
        CatalogWriter::new(catalog_device, 0..u64::MAX, &mut catalog_memory, identity).unwrap();
    let mut bytes = vec![0; 1 << 20];
    let mut tape = MemTape::blank(&mut bytes);
    let mut stream = vec![0; 1024 + options.blocking.record_len()];
    let (mut in_use, mut on_tape) = (vec![0; MAP_LEN], vec![0; MAP_LEN]);
    let memory = DumpMemory { stream: &mut stream, in_use: &mut in_use, on_tape: &mut on_tape, known };
    let mut dump =
        Dump::<_, _, PortableCrc32c, _>::with_catalog(source, &mut tape, catalog, memory, options).unwrap();
    let summary = loop {
        if let DumpEvent::Done(summary) = dump.step().unwrap() {
            break summary;
        }
    };
    let (_, _, catalog) = dump.into_parts();
    let Ok(catalog) = catalog else { panic!("all is taken down") };
    let figures = catalog.finish().unwrap().figures();
    assert_eq!((figures.directories, figures.others), (summary.directories, summary.others));
    (tape.records(0).flatten().copied().collect(), catalog_bytes, summary)
}

/// Restores dumps, the newest first.
fn restore(tapes: &[&[u8]], target: &mut MemVolume<'_>) -> Result<RestoreSummary, String> {
    restore_paths(tapes, target, &[], None)
}

/// As [`restore`], of some paths only; and straight to them where a route is given.
fn restore_paths(
    tapes: &[&[u8]],
    target: &mut MemVolume<'_>,
    paths: &[Vec<u8>],
    route: Option<&[ChainStop]>,
) -> Result<RestoreSummary, String> {
    let mut route = route;
    let mut bytes = vec![0; 2 << 20];
    let mut tape = MemTape::blank(&mut bytes);
    for dump in tapes {
        tape.write_file(dump, BLOCKING as usize * TAPE_BLOCK_LEN).unwrap();
    }
    tape.rewind().unwrap();
    let mut scratch = vec![0; 256 << 10];
    let scratch = MemBlock::new(&mut scratch, 512).unwrap();
    let (mut stream, mut maps) = (vec![0; 5 << 10], vec![0; 6 * 1024]);
    let (mut chain, mut names) = (vec![0; 3 * 1024], vec![0; 16 << 10]);
    let memory = RestoreMemory {
        stream: &mut stream,
        maps: &mut maps,
        chain: &mut chain,
        names: &mut names,
        attributes: &mut [],
    };
    let len = tapes.len() as u32;
    let mut restore =
        Restore::<_, _, _, PortableCrc32c>::of_chain(&mut tape, target, scratch, memory, len).unwrap();
    if let Some(route) = &mut route {
        restore.go_along(route);
    }
    let mut told = Vec::new();
    for _ in 0..1_000_000 {
        match restore.step() {
            Ok(RestoreEvent::Catalogued) => {
                for path in paths {
                    assert_eq!(restore.select(path).unwrap(), Selected::Yes);
                }
            }
            Ok(RestoreEvent::NeedDump { index }) => {
                let place = TapePosition { file: index, record: 0 };
                restore.tape_mut().locate(place).unwrap();
                assert!(restore.next_dump(None).is_none());
            }
            Ok(RestoreEvent::Damage(damage)) => told.push(format!("{damage:?}")),
            Ok(RestoreEvent::Failed(failure)) => told.push(format!("{failure:?}")),
            Ok(RestoreEvent::Done(summary)) if told.is_empty() => return Ok(summary),
            Ok(RestoreEvent::Done(_)) => return Err(told.join(", ")),
            Ok(_) => {}
            Err(RestoreError::WrongDump { index, .. }) => return Err(format!("wrong dump {index}")),
            Err(error) => return Err(format!("{error:?}")),
        }
    }
    panic!("no end")
}

/// The newest earlier dump of a lower level.
fn base_of(made: &[Made], level: u32) -> Option<usize> {
    made.iter().rposition(|dump| dump.level < level)
}

fn chain(made: &[Made], newest: usize) -> Vec<usize> {
    std::iter::successors(Some(newest), |index| made[*index].base).collect()
}

/// The volume after so many changes of a seed's history.
fn replay<R>(seed: u64, changes: u32, with: impl FnOnce(&mut World<'_>) -> R) -> R {
    let (mut nodes, mut arena) = (vec![Node::EMPTY; NODES], vec![0; ARENA_LEN]);
    let volume = MemVolume::new(&mut nodes, &mut arena).unwrap();
    let mut world = World::new(volume, seed);
    for _ in 0..changes {
        world.change();
    }
    with(&mut world)
}

/// Restores a chain into an empty volume, and compares it with the tree as it was.
fn check(seed: u64, made: &[Made], newest: usize) {
    let what = || {
        let chain: Vec<_> = chain(made, newest).iter().map(|index| (*index, made[*index].level)).collect();
        format!("seed {seed}, dump {newest}, chain of (dump, level) {chain:?}")
    };
    let tapes: Vec<&[u8]> = chain(made, newest).iter().map(|index| made[*index].tape.as_slice()).collect();
    let (mut nodes, mut arena) = (vec![Node::EMPTY; NODES], vec![0; ARENA_LEN]);
    let mut target = MemVolume::new(&mut nodes, &mut arena).unwrap();
    let summary = restore(&tapes, &mut target).unwrap_or_else(|told| panic!("{}: {told}", what()));
    assert!(summary.is_good() && summary.checked, "{}", what());
    replay(seed, made[newest].changes, |world| {
        assert_eq!(differs(&world.volume, &target), None, "{}", what());
    });
}

/// The header of a dump at a block.
fn header_at(dump: &Made, block: u64) -> tapedump_core::record::header::HeaderRepr {
    let at = block as usize * TAPE_BLOCK_LEN;
    let block = dump.tape[at..].first_chunk::<TAPE_BLOCK_LEN>().unwrap();
    Header::new(block).parse::<PortableCrc32c>(Dialect::OURS).unwrap()
}

fn open_catalogs<'m>(
    bytes: &'m mut [Vec<u8>],
    memory: &'m mut [u8],
) -> Vec<Catalog<'m, MemBlock<'m>, PortableCrc32c>> {
    let devices = bytes.iter_mut().map(|bytes| MemBlock::new(bytes, 512).unwrap());
    devices
        .zip(memory.chunks_mut(CATALOG_MEMORY_MIN))
        .map(|(device, memory)| Catalog::open(device, 0..u64::MAX, memory).unwrap())
        .collect()
}

/// The stops at what is in a directory.
fn stops_below(view: &mut View<'_, '_, MemBlock<'_>, PortableCrc32c>, top: Ino, stops: &mut Vec<ChainStop>) {
    let mut children = Vec::new();
    let mut cursor = view.names_from(top, b"").unwrap().unwrap();
    while let Some(row) = view.next_name(&mut cursor).unwrap() {
        children.push(row.ino);
    }
    for child in children {
        if stops_at(view, child, &mut |stop| stops.push(stop)).unwrap() == Some(true) {
            stops_below(view, child, stops);
        }
    }
}

/// Some paths of a chain restored straight from their places are what a restore that reads all of the tapes gives.
fn check_route(seed: u64, made: &[Made], newest: usize) {
    let mut dumps = chain(made, newest);
    let tapes: Vec<&[u8]> = dumps.iter().map(|index| made[*index].tape.as_slice()).collect();
    dumps.reverse();
    let mut bytes: Vec<_> = dumps.iter().map(|index| made[*index].catalog.clone()).collect();
    let mut memory = vec![0; CATALOG_MEMORY_MIN * dumps.len()];
    let mut catalogs = open_catalogs(&mut bytes, &mut memory);
    let mut view = View::new(&mut catalogs);
    let mut random = Random(seed ^ newest as u64);
    replay(seed, made[newest].changes, |world| {
        let mut paths = Vec::new();
        for _ in 0..1 + random.below(3) {
            let mut objects = world.objects(random.below(3) == 0);
            objects.retain(|ino| *ino != Ino::ROOT);
            if objects.is_empty() {
                continue;
            }
            let ino = objects[random.below(objects.len() as u64) as usize];
            let mut room = [0; 4096];
            paths.push(view.path_of(ino, &mut room).unwrap().expect("it has a name").to_vec());
        }
        if paths.is_empty() {
            return;
        }
        let mut stops = Vec::new();
        for path in &paths {
            let ino = stops_on_the_way(&mut view, path, &mut |stop| stops.push(stop)).unwrap().unwrap();
            if world.volume.attributes(ino).unwrap().kind == Kind::Directory {
                stops_below(&mut view, ino, &mut stops);
            }
        }
        stops.sort();
        stops.dedup();
        let (mut nodes, mut arena) = (vec![Node::EMPTY; NODES], vec![0; ARENA_LEN]);
        let mut straight = MemVolume::new(&mut nodes, &mut arena).unwrap();
        let what = format!("seed {seed}, dump {newest}, {paths:?}");
        let summary = restore_paths(&tapes, &mut straight, &paths, Some(&stops))
            .unwrap_or_else(|told| panic!("{what}: {told}"));
        assert!(summary.is_good() && summary.checked, "{what}");
        let (mut nodes, mut arena) = (vec![Node::EMPTY; NODES], vec![0; ARENA_LEN]);
        let mut through = MemVolume::new(&mut nodes, &mut arena).unwrap();
        let all = restore_paths(&tapes, &mut through, &paths, None).unwrap();
        assert_eq!(differs(&straight, &through), None, "{what}");
        assert_eq!((summary.objects, summary.links), (all.objects, all.links), "{what}");
        assert!(summary.records <= all.records + summary.seeks, "{what}");
    });
}

/// What the catalogs of a chain tell is the tree as it was, and where each object is on which dump.
fn check_catalogs(seed: u64, made: &[Made], newest: usize) {
    let mut dumps = chain(made, newest);
    dumps.reverse();
    let mut bytes: Vec<_> = dumps.iter().map(|index| made[*index].catalog.clone()).collect();
    let mut memory = vec![0; CATALOG_MEMORY_MIN * dumps.len()];
    let mut catalogs = open_catalogs(&mut bytes, &mut memory);
    let mut view = View::new(&mut catalogs);
    replay(seed, made[newest].changes, |world| {
        let mut objects = world.objects(true);
        objects.extend(world.objects(false));
        for ino in objects {
            let attributes = world.volume.attributes(ino).unwrap();
            let (dump, row) = view.newest(ino).unwrap().expect("some dump holds it");
            assert_eq!((row.kind, row.permissions), (Some(attributes.kind), attributes.permissions));
            assert_eq!((row.uid, row.modified), (attributes.uid, attributes.modified), "seed {seed}");
            let place = row.place.unwrap();
            let header = header_at(&made[dumps[dump]], place.0);
            assert_eq!((header.ino, header.extension.unwrap().role), (ino.0, Role::Normal));
            let apart = view.catalog(dump).unwrap().apart(ino).unwrap();
            if let Some(place) = apart {
                let header = header_at(&made[dumps[dump]], place.0);
                let owner = header.attributes.unwrap().real_ino;
                assert_eq!((owner, header.extension.unwrap().role), (ino.0.into(), Role::Attributes));
            }
            let empty = attributes.kind.has_data() && attributes.size == 0;
            let has_property = world.volume.property_value(ino, PropertyKind::Xattr, b"user.note").is_some();
            assert_eq!(apart.is_some(), empty && has_property, "seed {seed}");
            if attributes.kind != Kind::Directory {
                continue;
            }
            let mut name: NameBuf = [0; NAME_LEN_MAX];
            let mut expected = Vec::new();
            world.volume.open(ino).unwrap();
            while let Some(entry) = world.volume.next_entry(&mut name).unwrap() {
                expected.push((name[..entry.name_len].to_vec(), entry.ino));
            }
            world.volume.close().unwrap();
            expected.sort();
            let mut cursor = view.names_from(ino, b"").unwrap().expect("a directory");
            let mut found = Vec::new();
            while let Some(row) = view.next_name(&mut cursor).unwrap() {
                found.push((row.name.to_vec(), row.ino));
            }
            assert_eq!(found, expected, "seed {seed}, dump {newest}, directory {ino}");
        }
    });
    let catalog = view.catalog(dumps.len() - 1).unwrap();
    let mut from = Ino::FIRST;
    while let Some(ino) = catalog.next_in_map(WhichMap::OnTape, from).unwrap() {
        assert!(MapView::new(&made[newest].known).contains(ino));
        assert!(catalog.object(ino).unwrap().is_some_and(|row| row.is_on_tape()));
        from = ino.next();
    }
}

/// A history of a seed: dumps of random levels with changes between them.
fn history(seed: u64) -> Vec<Made> {
    let mut schedule = Random(!seed);
    let mut made: Vec<Made> = Vec::new();
    replay(seed, 0, |world| {
        let mut changes = 0;
        for index in 0..DUMPS {
            for _ in 0..schedule.below(30) + u64::from(index == 0) * 40 {
                world.change();
                changes += 1;
            }
            let level = if index == 0 { 0 } else { schedule.below(5) as u32 };
            let date = u32::try_from(world.now).unwrap();
            let base = base_of(&made, level);
            let base_date = base.map_or(0, |base| made[base].date);
            let mut known = base.map_or_else(|| vec![0; MAP_LEN], |base| made[base].known.clone());
            let (tape, catalog, summary) =
                dump(&mut world.volume, &mut known, options(level, date, base_date));
            assert_eq!(summary.incomplete, 0, "seed {seed}");
            made.push(Made { level, date, base, tape, catalog, known, changes });
        }
    });
    made
}

#[test]
fn every_chain_of_a_random_history_gives_the_tree_as_it_was() {
    let from: u64 = std::env::var("TAPEDUMP_SEED").map_or(0, |seed| seed.parse().expect("a number"));
    for seed in from..from + SEEDS {
        let made = history(seed);
        for newest in 0..made.len() {
            check(seed, &made, newest);
            check_catalogs(seed, &made, newest);
            check_route(seed, &made, newest);
        }
    }
}

#[test]
fn an_increment_holds_what_changed_and_the_way_there() {
    replay(7, 60, |world| {
        let mut known = vec![0; MAP_LEN];
        let date = u32::try_from(world.now).unwrap();
        let (_, _, all) = dump(&mut world.volume, &mut known, options(0, date, 0));
        assert_eq!(all.unchanged, 0);
        world.now += 10;
        let (_, _, none) = dump(&mut world.volume, &mut known.clone(), options(1, date + 10, date + 1));
        assert_eq!((none.directories, none.others), (1, 0), "only the root");
        assert_eq!(none.unchanged + 1, all.directories + all.others);

        let file = world.other().unwrap();
        world.touch(file, false);
        let (_, _, one) = dump(&mut world.volume, &mut known.clone(), options(1, date + 10, date + 1));
        let mut depth = 1;
        let mut at = world.volume.parent(file).unwrap();
        while at != Ino::ROOT {
            at = world.volume.parent(at).unwrap();
            depth += 1;
        }
        assert_eq!((one.directories, one.others), (depth, 1));

        // What the base does not hold rightly is taken again, whatever its times.
        let again = world.objects(false)[0];
        tapedump_core::record::map::DumpMap::new(&mut known).remove(again);
        let (_, _, two) = dump(&mut world.volume, &mut known, options(1, date + 10, date + 1));
        assert_eq!(two.others, 1 + u64::from(again != file));
        assert!(tapedump_core::record::map::MapView::new(&known).contains(again), "now it does");
    });
}

#[test]
fn dumps_that_do_not_belong_together_are_refused() {
    let made = (0..).map(history).find(|made| made[1].level > 0 && made[2].level > made[1].level).unwrap();
    let tape = |index: usize| made[index].tape.as_slice();
    let (mut nodes, mut arena) = (vec![Node::EMPTY; NODES], vec![0; ARENA_LEN]);
    let mut target = MemVolume::new(&mut nodes, &mut arena).unwrap();
    // One between them is left out; the order is the wrong one.
    for tapes in [[tape(2), tape(0)], [tape(0), tape(2)]] {
        if made[2].date != made[1].date || tapes[0] == tape(0) {
            assert_eq!(restore(&tapes, &mut target), Err("wrong dump 1".into()));
        }
    }
}
