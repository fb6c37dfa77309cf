//! `tapedump list`: what a dump holds. Names alone are known once the directories are read; everything else needs
//! the whole tape, and is kept in scratch files meanwhile, so that memory does not grow with the dump.

pub mod at;
mod attributed;
mod qtrees;
pub mod spool;

use self::attributed::{Attributed, Kept, Table};
use self::spool::Spool;
use crate::cli::exit::{CliError, Ended};
use crate::cli::interrupt::Interrupt;
use crate::cli::json::{self, JsonPath};
use crate::cli::progress::Progress;
use crate::cli::raw::List;
use crate::cli::reading::names::path_of;
use crate::cli::reading::sources::Scope;
use crate::cli::reading::{self, Engine, Entry, Flow, Reading, Visitor};
use crate::cli::tape::civil;
use crate::cli::tape::dumps::{Extent, cut_short, extent_of};
use crate::state::StateDir;
use crate::text::printable;
use serde::Serialize;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Seek, Write};
use tapedump_core::device::mem::NullTarget;
use tapedump_core::device::volume::{Kind, TargetVolume};
use tapedump_core::engine::restore::RestoreStage;
use tapedump_core::limits::NAME_LEN_MAX;
use tapedump_core::record::dos::{DosAttributes, dos_bits};
use tapedump_core::units::{Ino, Timestamp};

pub fn run(raw: List) -> Result<Ended, CliError> {
    let state = StateDir::find()?;
    if raw.qtrees {
        return qtrees::run(&raw, &state);
    }
    if raw.moment.is_asked_for() {
        return at::run(&raw, &state);
    }
    let interrupt = Interrupt::install()?;
    let reading = Reading::open(&raw.from, Scope::Dump, &[], &state, &interrupt)?;
    let paths = reading::path_bytes(&raw.paths);
    if raw.long || raw.json {
        let spool = Spool(BufWriter::new(state.scratch_file()?));
        let target = Attributed::new(state.scratch_file()?);
        let mut lister = Spooler { paths, tree: Tree::default(), spool };
        let (target, summary) = reading.run(target, &mut lister, &interrupt)?;
        target.failure.map_or(Ok(()), |error| Err(scratch_failed(&error)))?;
        let spool = lister.spool.0.into_inner().map_err(|error| scratch_failed(error.error()))?;
        print_attributed(spool, &target.table, raw.json)?;
        return Ok(reading::ended(&summary));
    }
    // Only the names are read; whether what they name is there shows at the end of the tape file.
    let (data, len) = (reading.data.clone(), reading.len);
    let mut lister = Names { paths, tree: Tree::default(), out: io::stdout().lock() };
    let (_, summary) = reading.run(NullTarget::new(), &mut lister, &interrupt)?;
    if let (Some(path), Some(len)) = (data, len)
        && extent_of(&path, len) == Extent::CutShort
    {
        eprintln!("tapedump: {}", cut_short(&path));
        return Ok(Ended::Incomplete);
    }
    Ok(reading::ended(&summary))
}

fn scratch_failed(error: &io::Error) -> CliError {
    CliError::failed(format!("the scratch file in the state directory failed: {error}"))
}

/// Puts paths together: the way to the directory that was named last, so that few paths are looked up.
#[derive(Default)]
struct Tree {
    path: Vec<u8>,
    /// The directories on the way, with the length of `path` up to each.
    way: Vec<(Ino, usize)>,
}

impl Tree {
    /// The path of `name` in `parent`; `look_up` gives the path of a directory that is not on the way.
    fn place(&mut self, parent: Ino, name: &[u8], look_up: impl FnOnce() -> Option<Vec<u8>>) -> &[u8] {
        if parent == Ino::ROOT {
            self.way.clear();
            self.path.clear();
        } else if let Some(found) = self.way.iter().rposition(|(ino, _)| *ino == parent) {
            self.way.truncate(found + 1);
            self.path.truncate(self.way.get(found).map_or(0, |(_, len)| *len));
        } else {
            // Without a path, the number says at least which directory it is.
            self.path = look_up().unwrap_or_else(|| format!("inode {}", parent.0).into_bytes());
            self.way = vec![(parent, self.path.len())];
        }
        if !self.path.is_empty() {
            self.path.push(b'/');
        }
        self.path.extend_from_slice(name);
        &self.path
    }

    /// What was placed last is a directory.
    fn enter(&mut self, directory: Ino) {
        self.way.push((directory, self.path.len()));
    }

    /// The path of a name that the engine visits.
    fn visit<V: TargetVolume>(&mut self, engine: &mut Engine<'_, V>, entry: Entry) -> &[u8] {
        let mut buf = [0; NAME_LEN_MAX];
        let name = name_of(engine, entry, &mut buf);
        self.place(entry.parent, name, || path_of(engine, entry.parent));
        if entry.directory {
            self.enter(entry.ino);
        }
        &self.path
    }
}

/// The name that the engine visits.
fn name_of<'n, V: TargetVolume>(
    engine: &mut Engine<'_, V>,
    entry: Entry,
    buf: &'n mut [u8; NAME_LEN_MAX],
) -> &'n [u8] {
    let len = if entry.directory {
        // An error of the scratch device comes up again at the engine's next step.
        engine.component(entry.ino, buf).ok().flatten().map_or(0, |(_, len)| len)
    } else {
        let name = engine.entry_name();
        buf.iter_mut().zip(name).for_each(|(to, from)| *to = *from);
        name.len().min(NAME_LEN_MAX)
    };
    buf.get(..len).unwrap_or_default()
}

/// Prints names as they come, and has enough when there are no more.
struct Names<W> {
    paths: Vec<Vec<u8>>,
    tree: Tree,
    out: W,
}

impl<W: Write, V: TargetVolume> Visitor<V> for Names<W>
where
    V::Error: std::fmt::Display,
{
    fn catalogued(&mut self, engine: &mut Engine<'_, V>) -> Result<(), CliError> {
        reading::select(engine, &self.paths)
    }

    fn stage(&mut self, stage: RestoreStage) -> Flow {
        if stage == RestoreStage::Files { Flow::Enough } else { Flow::On }
    }

    fn entry(
        &mut self,
        engine: &mut Engine<'_, V>,
        entry: Entry,
        progress: &Progress,
    ) -> Result<(), CliError> {
        let path = self.tree.visit(engine, entry);
        progress.print(|| writeln!(self.out, "{}", printable(path)))?;
        Ok(())
    }
}

/// Keeps names in order, until the attributes are known.
struct Spooler {
    paths: Vec<Vec<u8>>,
    tree: Tree,
    spool: Spool<BufWriter<File>>,
}

impl<V: TargetVolume> Visitor<V> for Spooler
where
    V::Error: std::fmt::Display,
{
    fn catalogued(&mut self, engine: &mut Engine<'_, V>) -> Result<(), CliError> {
        reading::select(engine, &self.paths)
    }

    fn entry(&mut self, engine: &mut Engine<'_, V>, entry: Entry, _: &Progress) -> Result<(), CliError> {
        let mut buf = [0; NAME_LEN_MAX];
        let name = name_of(engine, entry, &mut buf);
        let mut base = None;
        self.tree.place(entry.parent, name, || {
            base = path_of(engine, entry.parent);
            base.clone()
        });
        if entry.directory {
            self.tree.enter(entry.ino);
        }
        self.spool.put(entry, name, base.as_deref()).map_err(|error| scratch_failed(&error))
    }
}

/// An object as `--json` shows it.
#[derive(Serialize)]
pub struct ObjectJson {
    #[serde(flatten)]
    pub path: JsonPath,
    pub inode: u32,
    #[serde(flatten)]
    pub attributes: Option<AttributesJson>,
}

#[derive(Serialize)]
pub struct AttributesJson {
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub mode: String,
    pub links: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    pub modified: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_bytes: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<(u32, u32)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dos_attributes: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dos_created: Option<String>,
}

fn print_attributed(mut spool: File, table: &Table, json: bool) -> Result<(), CliError> {
    let failed = |error: io::Error| scratch_failed(&error);
    spool.rewind().map_err(failed)?;
    let mut spool = Spool(BufReader::new(spool));
    let mut out = BufWriter::new(io::stdout().lock());
    let mut tree = Tree::default();
    while let Some(mut spooled) = spool.next().map_err(failed)? {
        let Entry { ino, parent, directory } = spooled.entry;
        let path = tree.place(parent, &spooled.name, || spooled.base.take());
        let kept = table.get(ino).map_err(failed)?;
        if json {
            let attributes = kept.map(|(kept, link)| attributes_json(&kept, &link));
            let object = ObjectJson { path: JsonPath::new(path), inode: ino.0, attributes };
            writeln!(out, "{}", json::text(&object)?)?;
        } else {
            writeln!(out, "{}", long_line(path, kept.as_ref().map(|(kept, link)| (kept, &link[..]))))?;
        }
        if directory {
            tree.enter(ino);
        }
    }
    out.flush()?;
    Ok(())
}

fn attributes_json(kept: &Kept, link: &[u8]) -> AttributesJson {
    let kind = Kind::from_mode(kept.mode);
    let is_device = matches!(kind, Some(Kind::CharDevice | Kind::BlockDevice));
    let (target, target_bytes) = JsonPath::new(link).into_parts();
    AttributesJson {
        kind: kind_word(kind),
        mode: format!("{:04o}", kept.mode & 0o7777),
        links: kept.links,
        uid: kept.uid,
        gid: kept.gid,
        size: kept.size,
        modified: exact(kept.modified),
        target: (kind == Some(Kind::Symlink)).then_some(target),
        target_bytes,
        device: is_device.then_some(kept.device),
        dos_attributes: kept.dos.bits.map(|bits| dos_letters(bits).replace('-', "")),
        dos_created: kept.dos.created.map(exact),
    }
}

/// A type in one word, for programs.
pub fn kind_word(kind: Option<Kind>) -> &'static str {
    match kind {
        Some(Kind::File) => "file",
        Some(Kind::Directory) => "directory",
        Some(Kind::Symlink) => "symlink",
        Some(Kind::Fifo) => "fifo",
        Some(Kind::CharDevice) => "char_device",
        Some(Kind::BlockDevice) => "block_device",
        Some(Kind::Socket) => "socket",
        None => "unknown",
    }
}

fn long_line(path: &[u8], object: Option<(&Kept, &[u8])>) -> String {
    let Some((kept, link)) = object else { return unknown_line(path) };
    let kind = Kind::from_mode(kept.mode);
    let size = match kind {
        Some(Kind::CharDevice | Kind::BlockDevice) => format!("{},{}", kept.device.0, kept.device.1),
        _ => kept.size.to_string(),
    };
    let arrow = if kind == Some(Kind::Symlink) { format!(" -> {}", printable(link)) } else { String::new() };
    format!(
        "{} {:>4} {:>8} {:>8} {size:>12} {} {}{arrow}{}",
        mode_text(kept.mode),
        kept.links,
        kept.uid,
        kept.gid,
        utc(kept.modified.secs),
        printable(path),
        dos_text(&kept.dos),
    )
}

/// What stands behind the path of an object with DOS attributes (R-DATA-2).
fn dos_text(dos: &DosAttributes) -> String {
    let created = dos.created.map(|created| format!("created {}", utc(created.secs)));
    let parts: Vec<String> = dos.bits.map(dos_letters).into_iter().chain(created).collect();
    if parts.is_empty() { String::new() } else { format!("  [DOS: {}]", parts.join(", ")) }
}

/// `rhsa`: read-only, hidden, system, archive, with `-` for what is not set.
fn dos_letters(bits: u32) -> String {
    let letters = [
        (dos_bits::READ_ONLY, 'r'),
        (dos_bits::HIDDEN, 'h'),
        (dos_bits::SYSTEM, 's'),
        (dos_bits::ARCHIVE, 'a'),
    ];
    letters.iter().map(|(bit, letter)| if bits & bit != 0 { *letter } else { '-' }).collect()
}

/// The line of something of which only the name is known.
pub fn unknown_line(path: &[u8]) -> String {
    let path = printable(path);
    format!("?????????? {:>4} {:>8} {:>8} {:>12} {:>20} {path}", "?", "?", "?", "?", "?")
}

/// `drwxr-xr-x`.
pub fn mode_text(mode: u16) -> String {
    let kind = match Kind::from_mode(mode) {
        Some(Kind::File) => '-',
        Some(Kind::Directory) => 'd',
        Some(Kind::Symlink) => 'l',
        Some(Kind::Fifo) => 'p',
        Some(Kind::CharDevice) => 'c',
        Some(Kind::BlockDevice) => 'b',
        Some(Kind::Socket) => 's',
        None => '?',
    };
    let bit = |at: u16, c: char| if mode & (1 << at) != 0 { c } else { '-' };
    let execute =
        |at: u16, special: u16, both: char| match (mode & (1 << at) != 0, mode & (1 << special) != 0) {
            (true, true) => both,
            (false, true) => both.to_ascii_uppercase(),
            (true, false) => 'x',
            (false, false) => '-',
        };
    [
        kind,
        bit(8, 'r'),
        bit(7, 'w'),
        execute(6, 11, 's'),
        bit(5, 'r'),
        bit(4, 'w'),
        execute(3, 10, 's'),
        bit(2, 'r'),
        bit(1, 'w'),
        execute(0, 9, 't'),
    ]
    .iter()
    .collect()
}

/// A time in UTC, which the `Z` says: `2026-11-21 22:56:12Z`.
pub fn utc(secs: i64) -> String {
    let (days, secs) = (secs.div_euclid(86_400), secs.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (secs / 3600, secs / 60 % 60, secs % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}Z")
}

/// For programs: `2026-11-21T22:56:12.000000001Z`.
pub fn exact(time: Timestamp) -> String {
    utc(time.secs).replace(' ', "T").replace('Z', &format!(".{:09}Z", time.nanos))
}

#[cfg(test)]
mod tests;
