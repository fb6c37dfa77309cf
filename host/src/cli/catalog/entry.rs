//! What the history is told of a dump that was found on a tape.

use super::super::exit::CliError;
use super::super::increments::{UsedTape, place_of};
use crate::cli::reading::first_header::{id_of, made_up_volume, until_nul};
use crate::state::StateDir;
use crate::state::catalogs::{self, HostCatalog};
use crate::state::history::{DumpFolder, HistoryFile};
use crate::tape::TapeSpec;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use tapedump_core::catalog::{Flaws, WhichMap};
use tapedump_core::chain::{
    BaseRef, CatalogPlace, Dump, Entry, Maker, Numbering, Outcome, Release, Tape as DumpTape, VolumeState,
};
use tapedump_core::device::tape::TapePosition;
use tapedump_core::device::volume::VolumeNames;
use tapedump_core::engine::restore::DumpInfo;
use tapedump_core::record::catalog_file::CatalogFileHead;
use tapedump_core::record::extension::EXTENSION_VERSION;
use tapedump_core::units::{BlockAddr, BlockingFactor, Ino, Level, Timestamp, VolumeId};

/// A dump that was found on a tape.
pub struct Found {
    pub dump: Dump,
    pub volume: VolumeId,
    pub volume_name: Vec<u8>,
    pub path: Vec<u8>,
    pub blocking: BlockingFactor,
    pub blocks: u64,
    pub objects: u64,
    /// Its tape file, and that of its catalog.
    pub file: u32,
    pub catalog_file: Option<u32>,
    /// Its tapes behind the first one.
    pub further: Vec<UsedTape>,
    /// All that went wrong with its objects is in the catalog.
    pub is_exact: bool,
}

/// How a dump is taken up with objects that are not on it, or not rightly.
fn outcome(skipped: u64) -> Outcome {
    match u32::try_from(skipped).unwrap_or(u32::MAX) {
        0 => Outcome::Good,
        skipped => Outcome::Incomplete { skipped },
    }
}

impl Found {
    /// By what is behind the dump on its tape.
    pub fn by_head(head: &CatalogFileHead<'_>, file: u32, catalog_file: u32, names: &VolumeNames) -> Self {
        let [major, minor, patch] = head.release;
        let release = Release { major, minor, patch };
        let is_increment = head.level > Level::BASELINE;
        let dump = Dump {
            id: head.dump,
            level: head.level,
            date: head.date,
            order: 0,
            base: is_increment.then_some(BaseRef { id: head.base, date: head.base_date }),
            outcome: outcome(head.skipped),
            numbering: if head.is_dense { Numbering::Dense } else { Numbering::Real },
            ino_limit: head.ino_limit,
            maker: Maker::Tapedump { release, format: EXTENSION_VERSION },
            state: VolumeState::default(),
        };
        // A path that does not fit there is not known: the volume is another one then than that of any tree.
        let (volume, path) = match head.path {
            Some(path) => (head.volume, path.to_vec()),
            None => (made_up_volume(names), Vec::new()),
        };
        Self {
            dump,
            volume,
            volume_name: head.volume_name.to_vec(),
            path,
            blocking: head.blocking,
            blocks: head.blocks,
            objects: head.objects,
            file,
            further: Vec::new(),
            catalog_file: Some(catalog_file),
            is_exact: true,
        }
    }

    /// By its headers alone: of the volume nothing is known but the names.
    pub fn by_headers(info: &DumpInfo, level: Level, file: u32) -> Self {
        let base = BaseRef { id: None, date: seconds(info.base_date) };
        let maker = match info.id {
            Some(_) => Maker::Tapedump { release: Release::CURRENT, format: EXTENSION_VERSION },
            None => Maker::Foreign,
        };
        let dump = Dump {
            id: id_of(info),
            level,
            date: seconds(info.date),
            order: 0,
            base: (level > Level::BASELINE).then_some(base),
            outcome: Outcome::Good,
            numbering: Numbering::Real,
            ino_limit: Ino(0),
            maker,
            state: VolumeState::default(),
        };
        Self {
            dump,
            volume: made_up_volume(&info.names),
            volume_name: until_nul(&info.names.device).to_vec(),
            path: until_nul(&info.names.path)
                .trim_ascii_start()
                .strip_prefix(b"/")
                .unwrap_or_default()
                .to_vec(),
            blocking: BlockingFactor::new(info.blocking).unwrap_or_default(),
            blocks: 0,
            objects: 0,
            file,
            further: Vec::new(),
            catalog_file: None,
            is_exact: true,
        }
    }

    /// Objects that are not on the dump, or not rightly.
    pub fn skipped(&mut self, objects: u64) {
        self.dump.outcome = outcome(objects);
    }

    /// Takes the dump up in the history, unless it is there; then only its catalog is told. `true`: it was not there.
    pub fn record(&mut self, state: &StateDir, spec: &TapeSpec) -> Result<bool, CliError> {
        let id = self.dump.id;
        let mut memory = vec![0; catalogs::MEMORY_LEN];
        let mut catalog = catalogs::open(state, id, &mut memory).map_err(CliError::failed)?;
        let len = catalog.figures().len;
        let folder = DumpFolder::of(state, id);
        let further = self.further.iter().filter_map(|tape| place_of(&tape.spec));
        let places: Vec<PathBuf> =
            place_of(spec).or_else(|| Some("-".into())).into_iter().chain(further).collect();
        let mut history = HistoryFile::open(state).map_err(CliError::failed)?;
        let known = self.known(state, &mut catalog)?;
        let kept = self.keep_catalog(&mut history, len)?;
        let is_ours = self.dump.maker != Maker::Foreign;
        match known.filter(|_| is_ours && folder.known().is_err()) {
            Some(known) if kept => folder.keep(&known, &folder.known_tapes().unwrap_or(places.clone()))?,
            Some(known) => folder.keep(&known, &places)?,
            None if kept => {}
            None => folder.keep_tapes(&places)?,
        }
        if kept {
            return Ok(false);
        }
        let first = UsedTape {
            spec: spec.clone(),
            begin: TapePosition { file: self.file, record: 0 },
            first: BlockAddr(0),
        };
        let mut tapes = Vec::new();
        for (used, place) in std::iter::once(&first).chain(&self.further).zip(&places) {
            let label = place.file_name().unwrap_or(place.as_os_str()).as_bytes();
            tapes.push(DumpTape::new([0; 16], label, used.begin.file, used.first));
        }
        let entry = Entry {
            dump: self.dump,
            volume: self.volume,
            volume_name: self.volume_name.get(..255).unwrap_or(&self.volume_name),
            path: &self.path,
            blocking: self.blocking,
            blocks: self.blocks,
            objects: u32::try_from(self.objects).unwrap_or(u32::MAX),
            catalog: Some(CatalogPlace { at: 0, len }),
            catalog_file: self.catalog_file,
            tapes: &tapes,
        };
        history.with(|history, device| history.append(device, &entry).map(drop)).map_err(CliError::failed)?;
        Ok(true)
    }

    /// Tells the history where the catalog is of a dump that it has. `false`: it does not have the dump.
    fn keep_catalog(&self, history: &mut HistoryFile, len: u64) -> Result<bool, CliError> {
        let mut found = None;
        let (id, file) = (self.dump.id, self.catalog_file);
        let catalog = Some(CatalogPlace { at: 0, len });
        history
            .visit(|place, entry| {
                if entry.dump.id == id {
                    let is_told = entry.catalog == catalog && (file.is_none() || entry.catalog_file == file);
                    let names = (entry.volume_name.to_vec(), entry.path.to_vec(), entry.tapes.to_vec());
                    let bare = Entry { volume_name: b"", path: b"", tapes: &[], ..*entry };
                    let (dump, volume, blocking) = (bare.dump, bare.volume, bare.blocking);
                    let rest = (dump, volume, blocking, bare.blocks, bare.objects, bare.catalog_file);
                    found = Some((place, is_told, names, rest));
                }
                found.is_none()
            })
            .map_err(CliError::failed)?;
        let Some((place, is_told, (volume_name, path, tapes), rest)) = found else { return Ok(false) };
        if !is_told {
            let (dump, volume, blocking, blocks, objects, before) = rest;
            let catalog_file = file.or(before);
            let entry = Entry {
                dump,
                volume,
                volume_name: &volume_name,
                path: &path,
                blocking,
                blocks,
                objects,
                catalog,
                catalog_file,
                tapes: &tapes,
            };
            history
                .with(|history, device| history.replace(device, place, &entry).map(drop))
                .map_err(CliError::failed)?;
        }
        Ok(true)
    }

    /// The objects that a restore of the dump's chain gives rightly: those in use but for those with flaws, since an
    /// increment holds whatever its base does not hold rightly. `None`: not all flaws are known.
    fn known(
        &mut self,
        state: &StateDir,
        catalog: &mut HostCatalog<'_>,
    ) -> Result<Option<Vec<u8>>, CliError> {
        let id = self.dump.id;
        let wrong = |error| CliError::failed(catalogs::failure(state, id, &error));
        let mut map: Vec<u8> = Vec::new();
        let mut from = Ino(1);
        while let Some(ino) = catalog.next_in_map(WhichMap::InUse, from).map_err(wrong)? {
            let at = (ino.0 as usize - 1) / 8;
            map.resize(map.len().max(at + 1), 0);
            map[at] |= 1 << ((ino.0 - 1) % 8);
            from = ino.next();
        }
        if self.dump.ino_limit == Ino(0) {
            self.dump.ino_limit = from;
        }
        let mut flawed = 0;
        let mut cursor = catalog.first_by_number().map_err(wrong)?;
        while let Some(row) = catalog.next_by_number(&mut cursor).map_err(wrong)? {
            if row.flaws != Flaws::NONE {
                flawed += 1;
                if let Some(byte) = map.get_mut((row.ino.0 as usize).saturating_sub(1) / 8) {
                    *byte &= !(1 << (row.ino.0.wrapping_sub(1) % 8));
                }
            }
        }
        // What stood apart from its object and could not be read is counted, and not in the catalog.
        let is_exact = self.is_exact && flawed == self.dump.outcome.skipped();
        Ok(Some(map).filter(|_| is_exact))
    }
}

const fn seconds(secs: u32) -> Timestamp {
    Timestamp { secs: secs as i64, nanos: 0 }
}
