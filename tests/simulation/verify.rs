//! Restores of what a system has dumped, and whether they give what was there, or tell exactly what they do not give.

use std::collections::{BTreeMap, BTreeSet};

use tapedump_core::chain::Outcome;
use tapedump_core::checksum::{Crc32c, PortableCrc32c};
use tapedump_core::device::mem::{MemVolume, differs};
use tapedump_core::device::tape::TapeDevice;
use tapedump_core::device::volume::{Kind, PropertyKind};
use tapedump_core::engine::restore::{Damage, Restore, RestoreEvent, RestoreSummary};
use tapedump_core::units::{DumpId, Ino};

use crate::catalog::{Tapes, Workroom};
use crate::system::{System, text};
use crate::world::{Image, NOTES, Room, names, objects};

/// What a restore told.
#[derive(Debug, Default)]
pub struct Told {
    pub summary: RestoreSummary,
    /// Objects that are damaged, or were.
    pub named: BTreeSet<Ino>,
    /// All that was told, for whom it concerns.
    pub log: Vec<String>,
    /// It is not known what is missing.
    pub maps: bool,
}

impl Told {
    fn note(&mut self, damage: Damage) {
        self.log.push(text(damage));
        match damage {
            Damage::Data { ino, .. }
            | Damage::Unchecked { ino, .. }
            | Damage::Unread { ino, .. }
            | Damage::Changed { ino }
            | Damage::Properties { ino }
            | Damage::Directory { ino }
            | Damage::BadEntries { ino, .. }
            | Damage::RepeatedName { ino }
            | Damage::DirectoryNamedTwice { ino, .. }
            | Damage::Nameless { ino }
            | Damage::Unannounced { ino }
            | Damage::Missing { ino } => {
                self.named.insert(ino);
            }
            Damage::Maps => self.maps = true,
            _ => {}
        }
    }
}

/// Restores a dump and all that it builds on.
pub fn restore(system: &mut System<'_, '_>, id: DumpId, target: &mut MemVolume<'_>) -> Result<Told, String> {
    let mut chain = system.chain(id)?;
    chain.reverse();
    let dumps = system.dumps()?;
    let of_dumps = chain.iter().map(|id| {
        let listed = dumps.iter().find(|listed| listed.dump.id == *id);
        listed.map(|listed| listed.tapes.clone()).ok_or("not in the history")
    });
    let of_dumps = of_dumps.collect::<Result<Vec<_>, _>>()?;
    let mut tapes = Tapes::new(&mut system.machine.tapes, &of_dumps)?;
    let mut room = Workroom::new();
    let (memory, scratch) = room.lend()?;
    let (first, len) = (tapes.first()?, chain.len() as u32);
    let mut restore =
        Restore::<_, _, _, PortableCrc32c>::of_chain(first, target, scratch, memory, len).map_err(text)?;
    let mut told = Told::default();
    loop {
        match restore.step().map_err(text)? {
            RestoreEvent::Damage(damage) => told.note(damage),
            RestoreEvent::Failed(failure) => {
                told.log.push(text(failure));
                told.named.insert(failure.ino);
            }
            RestoreEvent::NeedTape(tape) => {
                let present = (tapes.dump(), tape.0 as usize - 1);
                // Without one it is told that the dump has no end.
                if let Some(next) = tapes.take(present.0, present.1)? {
                    tapes.put_back(restore.next_tape(next), present);
                }
            }
            RestoreEvent::NeedDump { index } => match tapes.take(index as usize, 0)? {
                Some(next) => {
                    let before = restore.next_dump(Some(next)).ok_or("there was no tape")?;
                    tapes.put_back(before, (index as usize, 0));
                }
                // It is in the drive.
                None => {
                    restore.tape_mut().rewind().map_err(text)?;
                    restore.next_dump(None);
                }
            },
            RestoreEvent::Done(summary) => {
                told.summary = summary;
                return Ok(told);
            }
            _ => {}
        }
    }
}

/// What a dump must be: the volume as it was then, but for an object that could not be opened.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    pub image: Image,
    pub shut: Option<Ino>,
}

/// A dump must give what is expected, and tell nothing but what is missing of it.
pub fn check_whole(system: &mut System<'_, '_>, id: DumpId, expected: Expected, context: &str) {
    let (mut there, mut here) = (Room::new(), Room::new());
    let (original, mut restored) = (expected.image.volume(&mut there), here.empty());
    let told = restore(system, id, &mut restored).unwrap_or_else(|error| panic!("{context}: {id}: {error}"));
    let dumps = system.dumps().expect(context);
    let outcome = dumps.iter().find(|listed| listed.dump.id == id).map(|listed| listed.dump.outcome);
    // An increment that had no need of the object did not notice.
    let shut = expected.shut.filter(|_| outcome == Some(Outcome::Incomplete { skipped: 1 }));
    assert!(shut.is_some() || outcome == Some(Outcome::Good), "{context}: {id}: {outcome:?}");
    assert!(told.summary.checked && told.named.iter().eq(&shut), "{context}: {id}: {told:?}");
    if shut.is_some() {
        check_named(&[expected.image], &mut restored, &told, context);
        return;
    }
    assert!(told.summary.is_good(), "{context}: {id}: {told:?}");
    assert_eq!(differs(&original, &restored), None, "{context}: {id} is not what was dumped");
}

/// The catalogs of a dump and of what it builds on must tell every object of the volume, and nothing that it did not have.
pub fn check_catalogs(system: &mut System<'_, '_>, id: DumpId, expected: Expected, context: &str) {
    let dumps = system.dumps().expect(context);
    let chain = system.chain(id).expect(context);
    let mut room = Room::new();
    let original = expected.image.volume(&mut room);
    let mut left: BTreeSet<Ino> = objects(&original).into_iter().map(|(ino, _)| ino).collect();
    for (age, link) in chain.iter().rev().enumerate() {
        let listed = dumps.iter().find(|listed| listed.dump.id == *link).expect(context);
        let place = listed.catalog.unwrap_or_else(|| panic!("{context}: {link} has no catalog"));
        let found = system.with_catalog(place, |catalog| {
            assert_eq!(catalog.identity().dump, *link, "{context}");
            let mut found = Vec::new();
            let mut at = catalog.first_on_tape()?;
            while let Some(row) = catalog.next_on_tape(&mut at)? {
                found.push(row.ino);
            }
            Ok::<_, tapedump_core::catalog::CatalogError<_>>(found)
        });
        let found = found.and_then(|found| found.map_err(text));
        for ino in found.unwrap_or_else(|error| panic!("{context}: catalog of {link}: {error}")) {
            assert!(left.remove(&ino) || age > 0, "{context}: {link} has object {ino}, which is not there");
        }
    }
    left.retain(|ino| Some(*ino) != expected.shut);
    assert!(left.is_empty(), "{context}: no catalog has {left:?}");
}

/// What has a name in a volume.
struct Found {
    ino: Ino,
    /// Differs from object to object, and never changes.
    uid: u32,
    /// All that is to come back of it.
    what: String,
}

/// Every path of a volume, and what it leads to.
fn listing(volume: &mut MemVolume<'_>) -> BTreeMap<Vec<u8>, Found> {
    let mut found = BTreeMap::new();
    let mut directories = vec![(Vec::new(), Ino::ROOT)];
    while let Some((path, directory)) = directories.pop() {
        for (name, ino) in names(volume, directory) {
            let path = [&path[..], b"/", &name].concat();
            let of = volume.attributes(ino).expect("it has a name");
            let mut data = vec![0; if of.kind.has_data() { of.size as usize } else { 0 }];
            if of.kind.has_data() {
                volume.read_data(ino, 0, &mut data).expect("it has data");
            }
            let (kind, sum) = (of.kind, PortableCrc32c::update(0, &data));
            let notes = NOTES.map(|name| volume.property_value(ino, PropertyKind::Xattr, name));
            let attributes = (of.permissions, of.uid, of.modified);
            let what = format!("{kind:?} {attributes:?} {} bytes {sum:08x} {notes:?}", data.len());
            found.insert(path.clone(), Found { ino, uid: of.uid, what });
            if kind == Kind::Directory {
                directories.push((path, ino));
            }
        }
    }
    found
}

/// What there can be of a chain besides what the newest dump has, when the maps are lost and it was told that anything may be
/// missing: what the chain has of an object elsewhere, and what was named, under a name that some dump has.
struct Mixture {
    whats: BTreeSet<String>,
    uids: BTreeSet<u32>,
}

impl Mixture {
    fn new(images: &[Image], told: &Told) -> Self {
        let (mut whats, mut uids) = (BTreeSet::new(), BTreeSet::new());
        for image in images.iter().filter(|_| told.maps && images.len() > 1) {
            for found in listing(&mut image.volume(&mut Room::new())).into_values() {
                whats.insert(found.what);
                uids.extend(told.named.contains(&found.ino).then_some(found.uid));
            }
        }
        Self { whats, uids }
    }

    fn has(&self, found: &Found) -> bool {
        self.whats.contains(&found.what) || self.uids.contains(&found.uid)
    }
}

/// What came back is what was there, but for objects that were named and what is in directories that were. `chain` is what
/// the dump and those that it builds on were made of, the newest first. Gives whether all of it came back.
pub fn check_named(chain: &[Image], restored: &mut MemVolume<'_>, told: &Told, context: &str) -> bool {
    let mut room = Room::new();
    let mut original = chain[0].volume(&mut room);
    let Some(difference) = differs(&original, restored) else { return true };
    assert!(!told.summary.is_good(), "{context}: silently wrong: {difference:?}");
    let mixture = Mixture::new(chain, told);
    let (original, restored) = (listing(&mut original), listing(restored));
    let is_named = |path: &[u8]| {
        let prefixes = (0..=path.len()).filter(|&len| len == path.len() || path[len] == b'/');
        let mut objects = prefixes.filter_map(|len| original.get(&path[..len]));
        told.named.contains(&Ino::ROOT) || objects.any(|found| told.named.contains(&found.ino))
    };
    let mut counterparts = BTreeMap::new();
    for (path, expected) in original.iter().filter(|(path, _)| !is_named(path)) {
        let (path_text, ino) = (path.escape_ascii(), expected.ino);
        let Some(found) = restored.get(path) else {
            assert!(told.maps, "{context}: {path_text} ({ino}) is missing, and {told:?}");
            continue;
        };
        if found.what == expected.what {
            let counterpart = *counterparts.entry(ino).or_insert(found.ino);
            assert!(told.maps || found.ino == counterpart, "{context}: names of {ino} lead to two objects");
        } else {
            let (is, was) = (&found.what, &expected.what);
            assert!(mixture.has(found), "{context}: {path_text} ({ino}) is {is}, not {was}, and {told:?}");
        }
    }
    for (path, found) in restored.iter().filter(|(path, _)| !original.contains_key(*path)) {
        let is_told = path.starts_with(b"/lost+found") || is_named(path) || mixture.has(found);
        assert!(is_told, "{context}: {} was not there, and {told:?}", path.escape_ascii());
    }
    false
}
