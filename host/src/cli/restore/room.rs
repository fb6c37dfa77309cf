//! Whether what is to be restored fits (R-RESTORE-6): the data and about 100 MB, and an inode for each object.
//!
//! What it needs is known
//!
//! - from the length of the tape files, where all of a dump or chain is wanted: no more than that can be on them. Often that
//!   is enough to know that it fits;
//! - from the catalogs, if they are there: the data of each object as it is on tape, without holes, in whole blocks of the
//!   file system;
//! - of chosen paths without catalogs, only as far as names tell: how many objects there are.

use crate::checksum::HostCrc32c;
use crate::state::StateDir;
use crate::state::catalogs;
use crate::state::file_device::{FileDevice, FileError};
use crate::text::size;
use rustix::fs::statvfs;
use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use tapedump_core::catalog::{CatalogError, ObjectRow, View, WhichMap};
use tapedump_core::device::volume::Kind;
use tapedump_core::limits::SEGMENT_BLOCKS_MAX;
use tapedump_core::units::{DumpId, TAPE_BLOCK_LEN};

type HostView<'v, 'm> = View<'v, 'm, FileDevice, HostCrc32c>;
type Answer<T> = Result<T, CatalogError<FileError>>;

/// What a restore needs beside the data.
const ROOM_BESIDE: u64 = 100 << 20;

/// What is to be restored, as far as its room goes.
#[derive(Debug)]
pub struct Wanted<'w> {
    /// The chain from the newest dump on, where the dumps are known.
    pub ids: Option<&'w [DumpId]>,
    /// Chosen paths; none: all of it.
    pub paths: &'w [Vec<u8>],
    /// No more data than this is on the tapes, where that is known.
    pub tape_len: Option<u64>,
    /// How many objects the names tell.
    pub objects: u64,
}

/// Room that is needed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Need {
    bytes: u64,
    inodes: u64,
}

/// Room that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Free {
    bytes: u64,
    inodes: u64,
    /// Bytes that the file system gives at once.
    unit: u64,
}

/// Checks the room on the volume of `to`.
///
/// # Errors
/// What is missing, with both figures.
pub fn check(wanted: &Wanted<'_>, to: &Path, state: &StateDir) -> Result<(), String> {
    let volume = statvfs(to).map_err(|errno| io::Error::from(errno).to_string())?;
    let free = Free {
        bytes: volume.f_bavail.saturating_mul(volume.f_frsize),
        // A file system that makes inodes as it needs them says that it has none.
        inodes: if volume.f_files == 0 { u64::MAX } else { volume.f_favail },
        unit: volume.f_frsize.max(1),
    };
    let all = wanted.paths.is_empty();
    let bytes = if all { wanted.tape_len.unwrap_or(0) } else { 0 };
    let known = Need { bytes, inodes: wanted.objects };
    // Each object may take more than its data, but no more than a unit.
    let at_most = Need { bytes: bytes.saturating_add(wanted.objects.saturating_mul(free.unit)), ..known };
    if all && wanted.tape_len.is_some() && compare(at_most, free).is_ok() {
        return Ok(());
    }
    match wanted.ids.and_then(|ids| from_catalogs(state, ids, wanted.paths, free.unit).ok()) {
        Some(need) => compare(need, free),
        None => compare(known, free),
    }
}

fn compare(need: Need, free: Free) -> Result<(), String> {
    let needed = need.bytes.saturating_add(ROOM_BESIDE);
    let advice = "make room, or restore what fits with --force";
    if needed > free.bytes {
        return Err(format!(
            "not enough space: it needs about {}, and {} are free; {advice}",
            size(needed),
            size(free.bytes)
        ));
    }
    if need.inodes > free.inodes {
        return Err(format!(
            "not enough inodes: it needs {}, and {} are free; {advice}",
            need.inodes, free.inodes
        ));
    }
    Ok(())
}

/// What the catalogs of a chain tell. That they are not there, or damaged, is told elsewhere.
fn from_catalogs(
    state: &StateDir,
    ids: &[DumpId],
    paths: &[Vec<u8>],
    unit: u64,
) -> Result<Need, catalogs::CatalogFailure> {
    let ids: Vec<DumpId> = ids.iter().rev().copied().collect();
    let mut memory = Vec::new();
    let mut catalogs = catalogs::open_chain(state, &ids, &mut memory)?;
    let mut view = View::new(&mut catalogs);
    let need = if paths.is_empty() { of_all(&mut view, unit) } else { of_paths(&mut view, paths, unit) };
    need.map_err(|error| catalogs::failure(state, ids[0], &error))
}

impl Need {
    fn add(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_add(bytes);
        self.inodes += 1;
    }
}

/// What the whole tree needs: of each dump the objects that no newer one has.
fn of_all(view: &mut HostView<'_, '_>, unit: u64) -> Answer<Need> {
    let mut need = Need::default();
    for dump in 0..view.len() {
        let Some(catalog) = view.catalog(dump) else { continue };
        let mut cursor = catalog.first_on_tape()?;
        let mut last: Option<ObjectRow> = None;
        while let Some(catalog) = view.catalog(dump) {
            let (row, end) = (catalog.next_on_tape(&mut cursor)?, catalog.attributes_from());
            if let Some(before) = last
                && view.newest(before.ino)?.is_some_and(|(newest, _)| newest == dump)
            {
                let next = row.and_then(|row| row.place).or(end);
                let blocks = before.place.and_then(|place| next?.since(place));
                need.add(room_of(&before, blocks, unit));
            }
            if row.is_none() {
                break;
            }
            last = row;
        }
    }
    Ok(need)
}

/// What chosen paths need, with all that is in them.
fn of_paths(view: &mut HostView<'_, '_>, paths: &[Vec<u8>], unit: u64) -> Answer<Need> {
    let mut wanted = BTreeSet::new();
    let mut waiting = Vec::new();
    for path in paths {
        waiting.extend(view.look_up(path)?);
    }
    let mut need = Need::default();
    while let Some(ino) = waiting.pop() {
        let Some((dump, row)) = view.newest(ino)?.filter(|_| wanted.insert(ino)) else { continue };
        if !row.is_directory {
            let blocks = blocks_of(view, dump, &row)?;
            need.add(room_of(&row, blocks, unit));
            continue;
        }
        need.add(unit);
        if let Some(mut cursor) = view.names_from(ino, b"")? {
            while let Some(below) = view.next_name(&mut cursor)?.map(|row| row.ino) {
                waiting.push(below);
            }
        }
    }
    Ok(need)
}

/// Tape blocks from an object, which is no directory, to the one behind it. Of a dump whose objects are not in the order of their
/// numbers it may be more.
fn blocks_of(view: &mut HostView<'_, '_>, dump: usize, row: &ObjectRow) -> Answer<Option<u64>> {
    let (Some(catalog), Some(place)) = (view.catalog(dump), row.place) else { return Ok(None) };
    let mut from = row.ino.next();
    while let Some(ino) = catalog.next_in_map(WhichMap::OnTape, from)? {
        let next = catalog.object(ino)?.filter(|next| !next.is_directory).and_then(|next| next.place);
        if let Some(next) = next {
            return Ok(next.since(place));
        }
        from = ino.next();
    }
    Ok(catalog.attributes_from().and_then(|end| end.since(place)))
}

/// Bytes that an object takes on a file system of such units, if it has so many tape blocks.
fn room_of(row: &ObjectRow, blocks: Option<u64>, unit: u64) -> u64 {
    match row.kind {
        Some(Kind::Directory) => return unit,
        Some(Kind::File) => {}
        _ => return 0,
    }
    // Each segment has a header, also one that is all hole.
    let of_size = row.size.div_ceil(TAPE_BLOCK_LEN as u64);
    let headers = of_size.div_ceil(SEGMENT_BLOCKS_MAX as u64).max(1);
    let data = blocks.map_or(of_size, |blocks| blocks.saturating_sub(headers).min(of_size));
    (data * TAPE_BLOCK_LEN as u64).div_ceil(unit).saturating_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tapedump_core::units::Ino;

    #[test]
    fn room_is_refused_with_both_figures() {
        let need = |bytes, inodes| Need { bytes, inodes };
        let free = |bytes, inodes| Free { bytes, inodes, unit: 4096 };
        assert_eq!(compare(need(1 << 20, 10), free(101 << 20, 10)), Ok(()));
        let why = compare(need(1 << 20, 10), free((101 << 20) - 1, 10)).unwrap_err();
        assert!(why.contains("space") && why.contains("101.0 MiB") && why.contains("--force"), "{why}");
        let why = compare(need(1 << 20, 11), free(u64::MAX, 10)).unwrap_err();
        assert!(why.contains("11") && why.contains("10 are free") && why.contains("inodes"), "{why}");
        assert!(compare(need(u64::MAX, 0), free(u64::MAX - 1, 0)).is_err());
    }

    #[test]
    fn data_counts_and_holes_do_not() {
        let mut row = ObjectRow::new(Ino(9), Kind::File);
        row.size = 10 << 20;
        // 20 headers, and one block of data.
        assert_eq!(room_of(&row, Some(21), 4096), 4096);
        assert_eq!(room_of(&row, Some(20), 4096), 0);
        assert_eq!(room_of(&row, None, 4096), 10 << 20);
        // With attributes behind the data, no more than the data.
        row.size = 1;
        assert_eq!(room_of(&row, Some(9), 4096), 4096);
        row.size = 0;
        assert_eq!(room_of(&row, Some(1), 4096), 0);
        assert_eq!(room_of(&ObjectRow::new(Ino(9), Kind::Symlink), Some(2), 4096), 0);
        assert_eq!(room_of(&ObjectRow::new(Ino(9), Kind::Directory), Some(2), 4096), 4096);
    }
}
