//! Payloads as bytes; `docs/history.md` has the layout.

use zerocopy::byteorder::{BE, I64, U16, U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::chain::dump::{
    Access, BaseRef, CatalogPlace, Dump, Entry, Maker, NodeId, Numbering, Outcome, OwnerId, Release, Tape,
    VolumeState,
};
use crate::limits::{DUMP_TAPES_MAX, NAME_LEN_MAX, TREE_PATH_LEN_MAX};
use crate::units::{BlockingFactor, DumpId, Ino, Level, Timestamp, VolumeId};

/// Longest payload of an entry.
pub(super) const PAYLOAD_LEN_MAX: usize =
    FIXED_LEN + DUMP_TAPES_MAX * size_of::<Tape>() + NAME_LEN_MAX + TREE_PATH_LEN_MAX;

const FIXED_LEN: usize = 192;
const _: () = assert!(size_of::<RawEntry>() == FIXED_LEN);
const _: () = assert!(size_of::<Tape>() == 92);

const FLAG_BASE: u8 = 1;
const FLAG_BASE_ID: u8 = 2;
const FLAG_CATALOG: u8 = 4;
const FLAG_CATALOG_FILE: u8 = 8;
const FLAG_FOREIGN: u8 = 16;
const FLAG_DENSE: u8 = 32;
const FLAG_READ_ONLY: u8 = 64;
const FLAG_MIRROR: u8 = 128;

#[repr(C)]
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
struct RawEntry {
    id: [u8; 16],
    volume: [u8; 16],
    owner: [u8; 16],
    node: [u8; 16],
    base_id: [u8; 16],
    secs: I64<BE>,
    base_secs: I64<BE>,
    nanos: U32<BE>,
    base_nanos: U32<BE>,
    order: U64<BE>,
    blocks: U64<BE>,
    catalog_at: U64<BE>,
    catalog_len: U64<BE>,
    catalog_file: U32<BE>,
    objects: U32<BE>,
    skipped: U32<BE>,
    ino_limit: U32<BE>,
    mirror_breaks: U32<BE>,
    mirror_resyncs: U32<BE>,
    replaced: U32<BE>,
    release: [U16<BE>; 3],
    blocking: U16<BE>,
    path_len: U16<BE>,
    tape_count: U16<BE>,
    name_len: u8,
    level: u8,
    outcome: u8,
    format: u8,
    flags: u8,
    reserved: [u8; 11],
}

/// Stores an entry, and the page of the one it replaces, at the front of `bytes`; the length of it.
/// `None`: it does not fit, which no checked entry does.
pub(super) fn emit_entry(entry: &Entry<'_>, replaced: Option<u32>, bytes: &mut [u8]) -> Option<usize> {
    let raw = raw_of(entry, replaced);
    let mut len = 0;
    let mut rest = bytes;
    for part in [raw.as_bytes(), entry.tapes.as_bytes(), entry.volume_name, entry.path] {
        let (to, behind) = core::mem::take(&mut rest).split_at_mut_checked(part.len())?;
        to.copy_from_slice(part);
        rest = behind;
        len += part.len();
    }
    Some(len)
}

fn raw_of(entry: &Entry<'_>, replaced: Option<u32>) -> RawEntry {
    let dump = &entry.dump;
    let mut raw = RawEntry::new_zeroed();
    raw.id = dump.id.0;
    raw.volume = entry.volume.0;
    raw.owner = dump.state.owner.0;
    raw.node = dump.state.node.0;
    raw.secs = dump.date.secs.into();
    raw.nanos = dump.date.nanos.into();
    if let Some(base) = dump.base {
        raw.base_secs = base.date.secs.into();
        raw.base_nanos = base.date.nanos.into();
        raw.base_id = base.id.map_or([0; 16], |id| id.0);
        raw.flags |= FLAG_BASE | if base.id.is_some() { FLAG_BASE_ID } else { 0 };
    }
    raw.order = dump.order.into();
    raw.blocks = entry.blocks.into();
    if let Some(catalog) = entry.catalog {
        raw.catalog_at = catalog.at.into();
        raw.catalog_len = catalog.len.into();
        raw.flags |= FLAG_CATALOG;
    }
    if let Some(file) = entry.catalog_file {
        raw.catalog_file = file.into();
        raw.flags |= FLAG_CATALOG_FILE;
    }
    raw.objects = entry.objects.into();
    raw.skipped = dump.outcome.skipped().into();
    raw.ino_limit = dump.ino_limit.0.into();
    raw.mirror_breaks = dump.state.mirror_breaks.into();
    raw.mirror_resyncs = dump.state.mirror_resyncs.into();
    raw.replaced = replaced.unwrap_or(0).into();
    match dump.maker {
        Maker::Tapedump { release, format } => {
            raw.release = [release.major.into(), release.minor.into(), release.patch.into()];
            raw.format = format;
        }
        Maker::Foreign => raw.flags |= FLAG_FOREIGN,
    }
    if dump.numbering == Numbering::Dense {
        raw.flags |= FLAG_DENSE;
    }
    raw.flags |= match dump.state.access {
        Access::ReadWrite => 0,
        Access::ReadOnly => FLAG_READ_ONLY,
        Access::Mirror => FLAG_MIRROR,
    };
    // All of these were checked to fit.
    raw.blocking = (entry.blocking.blocks() as u16).into();
    raw.path_len = (entry.path.len() as u16).into();
    raw.tape_count = (entry.tapes.len() as u16).into();
    raw.name_len = entry.volume_name.len() as u8;
    raw.level = dump.level.number() as u8;
    raw.outcome = match dump.outcome {
        Outcome::Good => 0,
        Outcome::Incomplete { .. } => 1,
        Outcome::Failed => 2,
    };
    raw
}

/// The entry that a payload is, and the page of the one it replaces. `None`: it is not a legal one.
pub(super) fn parse_entry(bytes: &[u8]) -> Option<(Entry<'_>, Option<u32>)> {
    let (raw, rest) = RawEntry::ref_from_prefix(bytes).ok()?;
    let tape_count = usize::from(raw.tape_count.get());
    let (tapes, rest) = <[Tape]>::ref_from_prefix_with_elems(rest, tape_count).ok()?;
    let (volume_name, path) = rest.split_at_checked(usize::from(raw.name_len))?;
    if path.len() != usize::from(raw.path_len.get()) || raw.reserved != [0; 11] {
        return None;
    }
    let has = |flag| raw.flags & flag != 0;
    let entry = Entry {
        dump: dump_of(raw)?,
        volume: VolumeId(raw.volume),
        volume_name,
        path,
        blocking: BlockingFactor::new(raw.blocking.get().into()).ok()?,
        blocks: raw.blocks.get(),
        objects: raw.objects.get(),
        catalog: has(FLAG_CATALOG)
            .then(|| CatalogPlace { at: raw.catalog_at.get(), len: raw.catalog_len.get() }),
        catalog_file: has(FLAG_CATALOG_FILE).then(|| raw.catalog_file.get()),
        tapes,
    };
    entry.check().ok()?;
    Some((entry, Some(raw.replaced.get()).filter(|page| *page != 0)))
}

fn dump_of(raw: &RawEntry) -> Option<Dump> {
    let has = |flag| raw.flags & flag != 0;
    let base_date = Timestamp { secs: raw.base_secs.get(), nanos: raw.base_nanos.get() };
    let base_id = has(FLAG_BASE_ID).then_some(DumpId(raw.base_id));
    let [major, minor, patch] = raw.release.map(U16::get);
    Some(Dump {
        id: DumpId(raw.id),
        level: Level::new(raw.level.into()).ok()?,
        date: Timestamp { secs: raw.secs.get(), nanos: raw.nanos.get() },
        order: raw.order.get(),
        base: has(FLAG_BASE).then_some(BaseRef { id: base_id, date: base_date }),
        outcome: match raw.outcome {
            0 => Outcome::Good,
            1 => Outcome::Incomplete { skipped: raw.skipped.get() },
            2 => Outcome::Failed,
            _ => return None,
        },
        numbering: if has(FLAG_DENSE) { Numbering::Dense } else { Numbering::Real },
        ino_limit: Ino(raw.ino_limit.get()),
        maker: if has(FLAG_FOREIGN) {
            Maker::Foreign
        } else {
            Maker::Tapedump { release: Release { major, minor, patch }, format: raw.format }
        },
        state: VolumeState {
            owner: OwnerId(raw.owner),
            node: NodeId(raw.node),
            access: match (has(FLAG_READ_ONLY), has(FLAG_MIRROR)) {
                (false, false) => Access::ReadWrite,
                (true, false) => Access::ReadOnly,
                (false, true) => Access::Mirror,
                (true, true) => return None,
            },
            mirror_breaks: raw.mirror_breaks.get(),
            mirror_resyncs: raw.mirror_resyncs.get(),
        },
    })
}

/// That an entry is no longer valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Removal {
    /// Page where it begins.
    pub page: u32,
}

impl Removal {
    /// Stores it at the front of `bytes`; the length of it.
    pub(super) fn emit(self, bytes: &mut [u8]) -> Option<usize> {
        let stored = self.page.to_be_bytes();
        bytes.get_mut(..stored.len())?.copy_from_slice(&stored);
        Some(stored.len())
    }

    /// `None`: it is not one.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        <[u8; 4]>::try_from(bytes).ok().map(|bytes| Self { page: u32::from_be_bytes(bytes) })
    }
}
