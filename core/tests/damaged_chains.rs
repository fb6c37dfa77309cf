//! Random damage to the tapes of chains of three dumps, of which every other chain has several tapes for a dump (R-RESTORE-1, `format.md` on damage): whatever is restored and is
//! not as it was must have been told. `TAPEDUMP_EXHAUSTIVE=1` does more than 10,000 of them.

mod world;

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};
use tapedump_core::checksum::PortableCrc32c;
use tapedump_core::device::ErrorKind;
use tapedump_core::device::mem::{MemBlock, MemVolume, Node, differs};
use tapedump_core::device::tape::{
    Space, Spaced, TapeCapabilities, TapeDevice, TapePosition, TapeRead, TapeWrite,
};
use tapedump_core::device::volume::PropertyKind;
use tapedump_core::engine::dump::{Dump, DumpEvent, DumpMemory, DumpOptions};
use tapedump_core::engine::restore::{Damage, Restore, RestoreEvent, RestoreMemory, RestoreSummary};
use tapedump_core::stream::writer::DumpIdentity;
use tapedump_core::units::{BlockingFactor, DumpId, Ino, Level, TAPE_BLOCK_LEN, TapeNo};
use world::{NODES, NOTE, Random, World};

const BLOCKING: u32 = 4;
const RECORD_LEN: usize = BLOCKING as usize * TAPE_BLOCK_LEN;
/// Of a dump on one tape, and of one on several.
const TAPE_LENS: [usize; 2] = [usize::MAX, 260 << 10];
const ARENA_LEN: usize = 4 << 20;
const MAP_LEN: usize = 64;
/// Longer than a segment: the file goes on in further ones.
const LONG_LEN: usize = 700 << 10;

/// Worlds, and damages to each: always the same ones, and new ones every time.
const FIXED: (u64, u64) = (6, 40);
const NEW: (u64, u64) = (2, 40);
const EXHAUSTIVE: (u64, u64) = (42, 250);

/// A drive: with a tape that is read, or with blank ones, one after the other, that are written.
struct Drive<'t> {
    read: &'t [u8],
    at: usize,
    written: Tapes,
    capacity: usize,
}

impl<'t> Drive<'t> {
    fn with(read: &'t [u8]) -> Self {
        Self { read, at: 0, written: Vec::new(), capacity: 0 }
    }

    fn blank(capacity: usize) -> Self {
        Self { read: &[], at: 0, written: vec![Vec::new()], capacity }
    }
}

impl TapeDevice for Drive<'_> {
    type Error = ErrorKind;

    fn capabilities(&self) -> TapeCapabilities {
        TapeCapabilities::new(RECORD_LEN)
    }
    fn read(&mut self, buf: &mut [u8]) -> Result<TapeRead, ErrorKind> {
        let rest = &self.read[self.at..];
        if rest.is_empty() {
            return Ok(TapeRead::EndOfData);
        }
        let len = rest.len().min(RECORD_LEN);
        buf[..len].copy_from_slice(&rest[..len]);
        self.at += len;
        Ok(TapeRead::Record(len))
    }
    fn write(&mut self, record: &[u8]) -> Result<TapeWrite, ErrorKind> {
        let tape = self.written.last_mut().unwrap();
        if tape.len() + record.len() > self.capacity {
            return Ok(TapeWrite::EndOfMedium);
        }
        tape.extend_from_slice(record);
        Ok(TapeWrite::Written)
    }
    fn write_filemark(&mut self) -> Result<TapeWrite, ErrorKind> {
        Ok(TapeWrite::Written)
    }
    fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
    fn position(&mut self) -> Result<TapePosition, ErrorKind> {
        Ok(TapePosition { file: 0, record: (self.at / RECORD_LEN) as u64 })
    }
    fn locate(&mut self, _: TapePosition) -> Result<Spaced, ErrorKind> {
        Err(ErrorKind::Unsupported)
    }
    fn space(&mut self, _: Space) -> Result<Spaced, ErrorKind> {
        Err(ErrorKind::Unsupported)
    }
    fn rewind(&mut self) -> Result<(), ErrorKind> {
        Err(ErrorKind::Unsupported)
    }
    fn unload(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
    fn has_next_tape(&self, _: TapeNo) -> bool {
        true
    }
    fn next_tape(&mut self, _: TapeNo) -> Result<bool, ErrorKind> {
        self.written.push(Vec::new());
        Ok(true)
    }
}

/// The tapes of a dump, in order.
type Tapes = Vec<Vec<u8>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Flipped,
    Zeroed,
    Missing,
    Repeated,
    Several,
}

const KINDS: [Kind; 5] = [Kind::Flipped, Kind::Zeroed, Kind::Missing, Kind::Repeated, Kind::Several];

/// Damages the tapes of a chain, and says how.
fn damage(chain: &mut [Tapes], kind: Kind, random: &mut Random) -> String {
    if kind == Kind::Several {
        let times = 2 + random.below(5);
        let all: Vec<_> = (0..times)
            .map(|_| {
                let kind = KINDS[random.below(4) as usize];
                damage(chain, kind, random)
            })
            .collect();
        return all.join("; ");
    }
    let dump = random.below(chain.len() as u64) as usize;
    let tape = random.below(chain[dump].len() as u64) as usize;
    let bytes = &mut chain[dump][tape];
    let len = bytes.len() as u64;
    let (at, to) = stretch(len, random);
    let what = match kind {
        Kind::Flipped => {
            bytes[at] ^= 1 << random.below(8);
            format!("bit of byte {at} flipped")
        }
        Kind::Zeroed => {
            bytes[at..to].fill(0);
            format!("{at}..{to} zeroed")
        }
        Kind::Missing => {
            bytes.drain(at..to);
            format!("{at}..{to} cut out")
        }
        Kind::Repeated | Kind::Several => {
            let again = bytes[at..to].to_vec();
            bytes.splice(to..to, again);
            format!("{at}..{to} twice")
        }
    };
    format!("dump {dump}, tape {tape}: {what}")
}

/// Of whole blocks or of any bytes; mostly short ones. Every other one begins in the first part of the tape, where maps
/// and directories are.
fn stretch(len: u64, random: &mut Random) -> (usize, usize) {
    let block = TAPE_BLOCK_LEN as u64;
    let begin = if random.below(2) == 0 { len.min(64 * block) } else { len };
    let many = [4, 40, 400][random.below(3) as usize];
    let (at, to) = if random.below(2) == 0 {
        let at = random.below(begin / block) * block;
        (at, at + (1 + random.below(many)) * block)
    } else {
        let at = random.below(begin);
        (at, at + 1 + random.below(many * block))
    };
    (at as usize, to.min(len) as usize)
}

/// Three dumps, the newest first, each on as many tapes of this length as it takes.
fn made(world: &mut World<'_>, capacity: usize) -> Vec<Tapes> {
    let mut known = vec![0; MAP_LEN];
    let mut base_date = 0;
    let mut chain = Vec::new();
    let mut random = Random(!world.now.cast_unsigned());
    for (level, changes) in [(0, 90), (1, 25), (2, 25)] {
        for _ in 0..changes {
            world.change();
        }
        if level == 0 || random.below(2) == 0 {
            let files = world.objects(false);
            let file = files.iter().copied().find(|ino| {
                world.volume.attributes(*ino).unwrap().kind == tapedump_core::device::volume::Kind::File
            });
            let long: Vec<u8> = (0..LONG_LEN / 8).flat_map(|_| random.next().to_le_bytes()).collect();
            if let Some(file) = file {
                // With a hole in its middle.
                world.volume.set_size(file, 2 * LONG_LEN as u64).unwrap();
                world.volume.write_data(file, 0, &long).unwrap();
                world.volume.write_data(file, (2 * LONG_LEN - 5000) as u64, &long[..5000]).unwrap();
                world.touch(file, true);
            }
        }
        let date = u32::try_from(world.now).unwrap();
        chain.insert(0, dumped(world, &mut known, [level, date, base_date], capacity));
        base_date = date;
        world.now += 10;
    }
    chain
}

fn dumped(
    world: &mut World<'_>,
    known: &mut [u8],
    [level, date, base_date]: [u32; 3],
    capacity: usize,
) -> Tapes {
    let level = Level::new(level).unwrap();
    let identity = DumpIdentity { id: DumpId(u128::from(date).to_be_bytes()), date, base_date, level };
    let blocking = BlockingFactor::new(BLOCKING).unwrap();
    let options = DumpOptions { identity, blocking, label: [0; 16] };
    let mut drive = Drive::blank(capacity);
    let mut stream = vec![0; TAPE_BLOCK_LEN + RECORD_LEN];
    let (mut in_use, mut on_tape) = (vec![0; MAP_LEN], vec![0; MAP_LEN]);
    let memory = DumpMemory { stream: &mut stream, in_use: &mut in_use, on_tape: &mut on_tape, known };
    let mut dump = Dump::<_, _, PortableCrc32c>::new(&mut world.volume, &mut drive, memory, options).unwrap();
    while !matches!(dump.step().unwrap(), DumpEvent::Done(_)) {}
    drop(dump);
    drive.written
}

/// How a restore ended, and what was told.
struct Told {
    /// `Err`: it could not go on.
    ended: Result<RestoreSummary, String>,
    damage: Vec<Damage>,
}

fn restore(chain: &[Tapes], target: &mut MemVolume<'_>) -> Told {
    let mut scratch = vec![0; 1 << 20];
    let scratch = MemBlock::new(&mut scratch, 512).unwrap();
    let (mut stream, mut maps) = (vec![0; 5 << 10], vec![0; 6 * 1024]);
    let (mut chain_maps, mut names) = (vec![0; 3 * 1024], vec![0; 16 << 10]);
    let memory = RestoreMemory {
        stream: &mut stream,
        maps: &mut maps,
        chain: &mut chain_maps,
        names: &mut names,
        attributes: &mut [],
    };
    let tape = |dump: usize, tape: usize| chain[dump].get(tape).map(|bytes| Drive::with(bytes));
    let first = tape(0, 0).unwrap();
    let mut restore =
        Restore::<_, _, _, PortableCrc32c>::of_chain(first, target, scratch, memory, chain.len() as u32)
            .unwrap();
    let mut damage = Vec::new();
    let mut present = 0;
    for _ in 0..10_000_000 {
        match restore.step() {
            Ok(RestoreEvent::NeedDump { index }) => {
                present = index as usize;
                restore.next_dump(tape(present, 0));
            }
            Ok(RestoreEvent::NeedTape(number)) => {
                if let Some(next) = tape(present, number.0 as usize - 1) {
                    restore.next_tape(next);
                }
            }
            Ok(RestoreEvent::Damage(found)) => damage.push(found),
            Ok(RestoreEvent::Done(summary)) => return Told { ended: Ok(summary), damage },
            Ok(_) => {}
            Err(error) => return Told { ended: Err(format!("{error:?}")), damage },
        }
    }
    panic!("no end");
}

#[derive(Clone, Copy, Debug, Default)]
struct Figures {
    runs: u64,
    equal: u64,
    /// Each file that is not as it was is named.
    named: u64,
    /// Some are not, and it is told that maps or directories are damaged, so that not all can be known.
    in_general: u64,
    /// The restore could not go on, and said so.
    ended: u64,
    silent: u64,
}

/// What came of a restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Equal,
    Named,
    InGeneral,
    Ended,
    Silent,
}

fn judge(told: &Told, model: &mut MemVolume<'_>, files: &[Ino], target: &MemVolume<'_>) -> Outcome {
    let Ok(summary) = &told.ended else { return Outcome::Ended };
    if differs(model, target).is_none() {
        return Outcome::Equal;
    }
    if summary.is_good() || told.damage.is_empty() {
        return Outcome::Silent;
    }
    let named: BTreeSet<Ino> = told.damage.iter().filter_map(object_of).collect();
    let unnamed = files.iter().filter(|ino| !is_whole(**ino, model, target)).any(|ino| !named.contains(ino));
    match (unnamed, told.damage.iter().any(is_general)) {
        (false, _) => Outcome::Named,
        (true, true) => Outcome::InGeneral,
        (true, false) => Outcome::Silent,
    }
}

/// The object was made with the data and the attribute that it had.
fn is_whole(ino: Ino, model: &MemVolume<'_>, target: &MemVolume<'_>) -> bool {
    let Some(there) = target.made_for(ino) else { return false };
    let (Ok(wanted), Ok(found)) = (model.attributes(ino), target.attributes(there)) else { return false };
    let data = |volume: &MemVolume<'_>, ino: Ino, size: u64| {
        let mut bytes = vec![0; size as usize];
        let len = volume.read_data(ino, 0, &mut bytes);
        (len, bytes)
    };
    let same = (wanted.kind, wanted.size, wanted.modified, wanted.permissions)
        == (found.kind, found.size, found.modified, found.permissions);
    let note = |volume: &MemVolume<'_>, ino: Ino| {
        volume.property_value(ino, PropertyKind::Xattr, NOTE).map(<[u8]>::to_vec)
    };
    same && data(model, ino, wanted.size) == data(target, there, found.size)
        && note(model, ino) == note(target, there)
}

fn object_of(damage: &Damage) -> Option<Ino> {
    match damage {
        Damage::Data { ino, .. }
        | Damage::Unchecked { ino, .. }
        | Damage::Properties { ino }
        | Damage::Nameless { ino }
        | Damage::Unannounced { ino }
        | Damage::Missing { ino } => Some(*ino),
        _ => None,
    }
}

/// What is missing because of it cannot be known.
fn is_general(damage: &Damage) -> bool {
    matches!(damage, Damage::Maps | Damage::Directory { .. } | Damage::BadEntries { .. })
}

impl Figures {
    fn count(&mut self, outcome: Outcome) {
        self.runs += 1;
        let counted = match outcome {
            Outcome::Equal => &mut self.equal,
            Outcome::Named => &mut self.named,
            Outcome::InGeneral => &mut self.in_general,
            Outcome::Ended => &mut self.ended,
            Outcome::Silent => &mut self.silent,
        };
        *counted += 1;
    }
}

/// Damages the chain of a world again and again; gives what went by silently.
fn run(seed: u64, damages: u64, figures: &mut [Figures; KINDS.len()]) -> Vec<String> {
    let (mut nodes, mut arena) = (vec![Node::EMPTY; NODES], vec![0; ARENA_LEN]);
    let mut world = World::new(MemVolume::new(&mut nodes, &mut arena).unwrap(), seed);
    let capacity = TAPE_LENS[seed as usize % TAPE_LENS.len()];
    let chain = made(&mut world, capacity);
    assert!(capacity == usize::MAX || chain.iter().any(|tapes| tapes.len() > 2), "seed {seed}");
    let files = world.objects(false);
    let mut random = Random(!seed);
    let mut silent = Vec::new();
    let (mut nodes, mut arena) = (vec![Node::EMPTY; 2 * NODES], vec![0; ARENA_LEN]);
    for number in 0..=damages {
        let mut damaged = chain.clone();
        // The measure itself comes first: nothing is told of what is not damaged.
        let kind = KINDS[random.below(KINDS.len() as u64) as usize];
        let what = if number == 0 { String::new() } else { damage(&mut damaged, kind, &mut random) };
        nodes.fill(Node::EMPTY);
        let mut target = MemVolume::new(&mut nodes, &mut arena).unwrap();
        let told = restore(&damaged, &mut target);
        let outcome = judge(&told, &mut world.volume, &files, &target);
        if number == 0 {
            assert!(outcome == Outcome::Equal && told.ended.unwrap().is_good(), "seed {seed}");
            continue;
        }
        figures[kind as usize].count(outcome);
        if outcome == Outcome::Silent {
            let place = differs(&world.volume, &target);
            silent.push(format!("seed {seed}, damage {number}: {what}: {place:?}, told {:?}", told.damage));
        }
    }
    silent
}

fn print(figures: &[Figures; KINDS.len()]) {
    let line = |name: &str, figures: Figures| {
        let Figures { runs, equal, named, in_general, ended, silent } = figures;
        println!("{name:9} {runs:7} {equal:7} {named:7} {in_general:11} {ended:7} {silent:14}");
    };
    println!("damage       runs   equal   named  in general   ended silently wrong");
    let mut all = Figures::default();
    for (kind, figures) in KINDS.iter().zip(figures) {
        line(&format!("{kind:?}").to_lowercase(), *figures);
        all.runs += figures.runs;
        all.equal += figures.equal;
        all.named += figures.named;
        all.in_general += figures.in_general;
        all.ended += figures.ended;
        all.silent += figures.silent;
    }
    line("all", all);
}

#[test]
fn nothing_of_a_damaged_chain_is_silently_wrong() {
    let mut figures = [Figures::default(); KINDS.len()];
    let mut silent = Vec::new();
    let given = std::env::var("TAPEDUMP_SEED").ok().map(|seed| seed.parse::<u64>().expect("a number"));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let (from, (worlds, damages)) = match (given, std::env::var_os("TAPEDUMP_EXHAUSTIVE")) {
        (seed, Some(_)) => (seed.unwrap_or(0), EXHAUSTIVE),
        (Some(seed), None) => (seed, NEW),
        (None, None) => {
            for seed in 0..FIXED.0 {
                silent.extend(run(seed, FIXED.1, &mut figures));
            }
            (now, NEW)
        }
    };
    println!("seeds {from} to {}; one of them again with TAPEDUMP_SEED", from + worlds - 1);
    for seed in from..from + worlds {
        silent.extend(run(seed, damages, &mut figures));
    }
    print(&figures);
    assert!(silent.is_empty(), "{} silently wrong:\n{}", silent.len(), silent.join("\n"));
}
