//! The catalogs of dumps in the state directory: `dumps/ID/catalog`, as the core makes and reads them.

use super::StateDir;
use super::file_device::{FileDevice, FileError};
use super::history::DumpFolder;
use super::kept::{open_kept, open_private, remove_if_there, sync_directory};
use crate::checksum::HostCrc32c;
use crate::text::printable_path;
use std::fmt;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use tapedump_core::catalog::{
    Catalog, CatalogError, CatalogIdentity, CatalogWriter, PageCheck, SuspendedCatalog,
};
use tapedump_core::device::block::BlockDevice;
use tapedump_core::limits::PAGE_LEN;
use tapedump_core::units::DumpId;

/// Memory that a catalog is made in, and read through.
pub const MEMORY_LEN: usize = 64 << 10;
/// Room for some billions of objects. The file grows only where it is written.
const REGION: std::ops::Range<u64> = 0..1 << 40;

/// The file of a catalog as it was suspended, beside the one that is finished.
const SUSPENDED: &str = "catalog.suspended";

/// The catalog of a dump.
pub type HostCatalog<'m> = Catalog<'m, FileDevice, HostCrc32c>;
/// The catalog of a dump being made.
pub type HostCatalogWriter<'m> = CatalogWriter<'m, FileDevice, HostCrc32c>;

/// Why there is no catalog to be used.
#[derive(Debug)]
pub struct CatalogFailure {
    /// The dump.
    pub id: DumpId,
    /// There is none, rather than one that cannot be trusted or read.
    pub absent: bool,
    path: PathBuf,
    what: String,
}

impl fmt::Display for CatalogFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {}; make it anew from the dump's tapes with: tapedump catalog rebuild",
            printable_path(&self.path),
            self.what
        )
    }
}

impl std::error::Error for CatalogFailure {}

/// What a catalog says of itself when it fails.
#[must_use]
pub fn text(error: &CatalogError<FileError>) -> String {
    match error {
        CatalogError::Device { source, .. } => source.to_string(),
        other => other.to_string(),
    }
}

/// The file of a dump's catalog.
#[must_use]
pub fn path_of(state: &StateDir, id: DumpId) -> PathBuf {
    DumpFolder::of(state, id).path().join("catalog")
}

/// Why the catalog of a dump, or one of its chain, cannot be used.
pub fn failure(state: &StateDir, id: DumpId, error: &CatalogError<FileError>) -> CatalogFailure {
    CatalogFailure {
        id,
        absent: matches!(error, CatalogError::Absent),
        path: path_of(state, id),
        what: text(error),
    }
}

/// Which catalog of a chain failed, and why: the merged tree does not tell. `ids` are those of the chain, at least one.
pub fn culprit(state: &StateDir, ids: &[DumpId], error: &CatalogError<FileError>) -> CatalogFailure {
    let found = ids.iter().find_map(|id| check(state, *id).err());
    found.unwrap_or_else(|| failure(state, ids.last().copied().unwrap_or_default(), error))
}

/// Begins the catalog of a dump, in place of one that there may be. It counts when it is [`finish`]ed.
///
/// # Errors
/// The state directory cannot be used.
pub fn create<'m>(
    state: &StateDir,
    identity: CatalogIdentity,
    memory: &'m mut [u8],
) -> Result<HostCatalogWriter<'m>, CatalogFailure> {
    let id = identity.dump;
    let device = make(state, id, path_of(state, id))?;
    CatalogWriter::new(device, REGION, memory, identity).map_err(|error| failure(state, id, &error))
}

/// The catalog of a dump that is gone on with.
///
/// # Errors
/// It is not there as it was suspended, or the state directory cannot be used.
pub fn resume<'m>(
    state: &StateDir,
    identity: CatalogIdentity,
    memory: &'m mut [u8],
    at: &SuspendedCatalog,
) -> Result<HostCatalogWriter<'m>, CatalogFailure> {
    let id = identity.dump;
    let folder = DumpFolder::of(state, id);
    let back = std::fs::rename(folder.path().join(SUSPENDED), path_of(state, id));
    if let Err(error) = back.and_then(|()| sync_directory(folder.path()))
        && error.kind() != io::ErrorKind::NotFound
    {
        let path = path_of(state, id);
        return Err(CatalogFailure { id, absent: false, path, what: error.to_string() });
    }
    let device = make(state, id, path_of(state, id))?;
    CatalogWriter::resumed(device, REGION, memory, identity, at).map_err(|error| failure(state, id, &error))
}

/// Copies a catalog as it was suspended, durably: [`finish`] writes over what it is resumed from, and until the dump is
/// recorded it may have to be.
///
/// # Errors
/// The state directory cannot be used.
pub fn keep_suspended(state: &StateDir, id: DumpId) -> Result<(), CatalogFailure> {
    let folder = DumpFolder::of(state, id);
    let (new, path) = (new_path_of(state, id), folder.path().join(SUSPENDED));
    let copy = || {
        std::fs::copy(path_of(state, id), &new)?;
        File::open(&new)?.sync_all()?;
        std::fs::rename(&new, &path)?;
        sync_directory(folder.path())
    };
    copy().map_err(|error| CatalogFailure { id, absent: false, path: path.clone(), what: error.to_string() })
}

/// Removes the copy of a catalog as it was suspended, if there is one.
///
/// # Errors
/// It cannot be removed.
pub fn forget_suspended(state: &StateDir, id: DumpId) -> io::Result<()> {
    remove_if_there(&DumpFolder::of(state, id).path().join(SUSPENDED))
}

/// Begins a catalog in place of one that is there; that one stays until this one is [`finish`]ed and [`replace`] was
/// called.
///
/// # Errors
/// The state directory cannot be used.
pub fn create_anew<'m>(
    state: &StateDir,
    identity: CatalogIdentity,
    memory: &'m mut [u8],
) -> Result<HostCatalogWriter<'m>, CatalogFailure> {
    let id = identity.dump;
    let device = device_anew(state, id)?;
    CatalogWriter::new(device, REGION, memory, identity).map_err(|error| failure(state, id, &error))
}

/// An empty file for a catalog that comes from elsewhere, until [`replace`] is called.
///
/// # Errors
/// The state directory cannot be used.
pub fn device_anew(state: &StateDir, id: DumpId) -> Result<FileDevice, CatalogFailure> {
    let device = make(state, id, new_path_of(state, id))?;
    device.truncate(0).map_err(|source| failure(state, id, &CatalogError::Device { at: 0, source }))?;
    Ok(device)
}

/// The catalog that was made anew is from now on the one of the dump, durably.
///
/// # Errors
/// The state directory cannot be used.
pub fn replace(state: &StateDir, id: DumpId) -> Result<(), CatalogFailure> {
    let path = path_of(state, id);
    std::fs::rename(new_path_of(state, id), &path)
        .and_then(|()| sync_directory(DumpFolder::of(state, id).path()))
        .map_err(|error| CatalogFailure { id, absent: false, path, what: error.to_string() })
}

/// Forgets a catalog that was being made anew.
pub fn give_up(state: &StateDir, id: DumpId) {
    _ = std::fs::remove_file(new_path_of(state, id));
    // Only a folder with nothing in it goes.
    _ = std::fs::remove_dir(DumpFolder::of(state, id).path());
}

fn new_path_of(state: &StateDir, id: DumpId) -> PathBuf {
    DumpFolder::of(state, id).path().join("catalog.new")
}

fn make(state: &StateDir, id: DumpId, path: PathBuf) -> Result<FileDevice, CatalogFailure> {
    let file = DumpFolder::of(state, id).make().and_then(|()| open_private(&path)).map_err(|error| {
        CatalogFailure { id, absent: false, path, what: format!("cannot make the catalog: {error}") }
    })?;
    Ok(FileDevice::new(file, REGION.end))
}

/// Reads all pages of a dump's catalog, and gives its length in bytes.
///
/// # Errors
/// There is none, or a page is not as it was written.
pub fn check(state: &StateDir, id: DumpId) -> Result<u64, CatalogFailure> {
    let mut memory = vec![0; MEMORY_LEN];
    let len = open(state, id, &mut memory)?.figures().len;
    let mut device = device(state, id)?;
    let mut check: Option<PageCheck> = None;
    let damaged = |page: u64| failure(state, id, &CatalogError::Damaged { page });
    for chunk_at in (0..len).step_by(MEMORY_LEN) {
        let wanted = usize::try_from(len - chunk_at).unwrap_or(usize::MAX).min(MEMORY_LEN);
        let chunk = memory.get_mut(..wanted).unwrap_or_default();
        device
            .read(chunk_at, chunk)
            .map_err(|source| failure(state, id, &CatalogError::Device { at: chunk_at, source }))?;
        for (page, number) in chunk.as_chunks::<PAGE_LEN>().0.iter().zip(chunk_at / PAGE_LEN as u64..) {
            let pages = u32::try_from(len / PAGE_LEN as u64).unwrap_or(u32::MAX);
            let check = match check {
                Some(check) => check,
                None => *check.insert(PageCheck::new::<HostCrc32c>(page, pages).ok_or_else(|| damaged(0))?),
            };
            if !check.is_genuine::<HostCrc32c>(u32::try_from(number).unwrap_or(u32::MAX), page) {
                return Err(damaged(number));
            }
        }
    }
    Ok(len)
}

/// Makes the catalog durable, and gives its length in bytes.
///
/// # Errors
/// It cannot be written.
pub fn finish(state: &StateDir, id: DumpId, writer: HostCatalogWriter<'_>) -> Result<u64, CatalogFailure> {
    let done = || {
        let catalog = writer.finish()?;
        let len = catalog.figures().len;
        let (device, _) = catalog.into_parts();
        // Sorting takes more room than what it makes.
        device.truncate(len).map_err(|source| CatalogError::Device { at: len, source })?;
        Ok(len)
    };
    done().map_err(|error| failure(state, id, &error))
}

/// The file of a dump's catalog as it is, whatever is in it.
///
/// # Errors
/// It cannot be opened.
pub fn device(state: &StateDir, id: DumpId) -> Result<FileDevice, CatalogFailure> {
    let path = path_of(state, id);
    let failed = |error: &io::Error| CatalogFailure {
        id,
        absent: error.kind() == io::ErrorKind::NotFound,
        path: path.clone(),
        what: error.to_string(),
    };
    open_kept(&path).map(|file| FileDevice::new(file, REGION.end)).map_err(|error| failed(&error))
}

/// Opens the catalog of a dump, to be read through `memory`.
///
/// # Errors
/// There is none, or it is not as it was written, or is of another dump.
pub fn open<'m>(
    state: &StateDir,
    id: DumpId,
    memory: &'m mut [u8],
) -> Result<HostCatalog<'m>, CatalogFailure> {
    let path = path_of(state, id);
    open_file(open_kept(&path), path, id, memory)
}

/// As [`open`], of a catalog that is kept elsewhere, at `path`, which is for messages.
///
/// # Errors
/// See [`open`].
pub(super) fn open_file(
    file: io::Result<File>,
    path: PathBuf,
    id: DumpId,
    memory: &mut [u8],
) -> Result<HostCatalog<'_>, CatalogFailure> {
    let failed = |absent, what: String| CatalogFailure { id, absent, path: path.clone(), what };
    let file = file.map_err(|error| {
        let absent = error.kind() == io::ErrorKind::NotFound;
        failed(absent, if absent { "there is no catalog of this dump".into() } else { error.to_string() })
    })?;
    let catalog = HostCatalog::open(FileDevice::new(file, REGION.end), REGION, memory)
        .map_err(|error| failed(matches!(error, CatalogError::Absent), text(&error)))?;
    if catalog.identity().dump != id {
        return Err(failed(
            false,
            format!("this is the catalog of another dump, {}", catalog.identity().dump),
        ));
    }
    Ok(catalog)
}

/// Opens the catalogs of a chain's dumps, in the order of `ids`.
///
/// # Errors
/// See [`open`].
pub fn open_chain<'m>(
    state: &StateDir,
    ids: &[DumpId],
    memory: &'m mut Vec<u8>,
) -> Result<Vec<HostCatalog<'m>>, CatalogFailure> {
    memory.resize(ids.len() * MEMORY_LEN, 0);
    ids.iter().zip(memory.chunks_mut(MEMORY_LEN)).map(|(id, memory)| open(state, *id, memory)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tapedump_core::device::volume::VolumeNames;
    use tapedump_core::units::Level;

    fn identity(number: u8) -> CatalogIdentity {
        CatalogIdentity {
            dump: DumpId([number; 16]),
            base: None,
            level: Level::BASELINE,
            date: 5,
            base_date: 0,
            volume: [9; 16],
            names: VolumeNames::default(),
            label: [0; 16],
        }
    }

    #[test]
    fn a_catalog_is_made_opened_and_not_taken_for_another() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::at(dir.path().join("state"));
        let mut memory = vec![0; MEMORY_LEN];
        let missing = open(&state, DumpId([1; 16]), &mut memory).unwrap_err();
        assert!(missing.absent && missing.to_string().contains("catalog rebuild"), "{missing}");
        let writer = create(&state, identity(1), &mut memory).unwrap();
        let len = finish(&state, DumpId([1; 16]), writer).unwrap();
        assert_eq!(std::fs::metadata(path_of(&state, DumpId([1; 16]))).unwrap().len(), len);
        assert_eq!(*open(&state, DumpId([1; 16]), &mut memory).unwrap().identity(), identity(1));
        DumpFolder::of(&state, DumpId([2; 16])).make().unwrap();
        std::fs::copy(path_of(&state, DumpId([1; 16])), path_of(&state, DumpId([2; 16]))).unwrap();
        let wrong = open(&state, DumpId([2; 16]), &mut memory).unwrap_err();
        assert!(!wrong.absent && wrong.to_string().contains("another dump"), "{wrong}");
        let _ = create(&state, identity(1), &mut memory).unwrap();
        let unfinished = open(&state, DumpId([1; 16]), &mut memory).unwrap_err();
        assert!(unfinished.absent, "{unfinished}");
    }
}
