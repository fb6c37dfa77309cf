//! The rows of a dump's catalog, as keys and values of a sorted table; `docs/catalog.md` has the layout.

use crate::device::volume::{Attributes, Kind};
use crate::limits::NAME_LEN_MAX;
use crate::units::{BlockAddr, Ino, StreamBlock, TapeNo, Timestamp};

use super::page::Entry;

/// Longest key: a directory and a name.
pub(super) const KEY_LEN_MAX: usize = 4 + NAME_LEN_MAX;
/// Bytes of a map in one row, and the numbers they are for.
pub(super) const PIECE_LEN: usize = 128;
pub(super) const PIECE_INOS: u32 = PIECE_LEN as u32 * 8;
const _: () = assert!(Ino::LAST.0 / PIECE_INOS < 1 << 24);

/// Marks the number of an object that is no directory, so that directories come first, as they do on tape.
const OTHER: u32 = 1 << 31;
/// The groups of other rows: the maps before all objects, the properties apart and the tapes behind them.
const MAPS: u32 = 0;
const APART: u32 = u32::MAX - 1;
const TAPES: u32 = u32::MAX;
const _: () = assert!(Ino::LAST.0 | OTHER < APART);

/// Which of the two maps of a dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum WhichMap {
    /// The objects in use at the time of the dump.
    InUse,
    /// The objects that are on the dump.
    OnTape,
}

/// What went wrong with an object of a dump. Several may be true.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Flaws {
    /// It is not on the dump: it could not be opened.
    pub skipped: bool,
    /// Some of its data, or some names of a directory, could not be read.
    pub unread: bool,
    /// It changed while it was read.
    pub changed: bool,
    /// Some property of it could not be read.
    pub properties_unread: bool,
}

impl Flaws {
    /// No flaw at all.
    pub const NONE: Self = Self { skipped: false, unread: false, changed: false, properties_unread: false };

    pub(crate) const fn bits(self) -> u8 {
        self.skipped as u8
            | (self.unread as u8) << 1
            | (self.changed as u8) << 2
            | (self.properties_unread as u8) << 3
    }

    pub(crate) const fn from_bits(bits: u8) -> Option<Self> {
        if bits > 15 {
            return None;
        }
        Some(Self {
            skipped: bits & 1 != 0,
            unread: bits & 2 != 0,
            changed: bits & 4 != 0,
            properties_unread: bits & 8 != 0,
        })
    }
}

/// Where a header is on the tapes of a dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct TapePlace {
    /// The tape.
    pub tape: TapeNo,
    /// The header; [`BlockAddr::byte_offset`] is what other programs count in.
    pub block: BlockAddr,
}

/// What a catalog knows of one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ObjectRow {
    /// Its number in the dump.
    pub ino: Ino,
    /// Whether it is a directory; known of an object that could not be opened, too.
    pub is_directory: bool,
    /// Type; `None` where it could not be opened.
    pub kind: Option<Kind>,
    /// Permission bits, set-id bits and sticky bit.
    pub permissions: u16,
    /// Names it had on its volume.
    pub links: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Length of its data in bytes.
    pub size: u64,
    /// Last modification of the data.
    pub modified: Timestamp,
    /// Last change of data or attributes.
    pub changed: Timestamp,
    /// Where it is on tape, if it is.
    pub place: Option<StreamBlock>,
    /// The volume's own number, where it is another one.
    pub real_ino: Option<u64>,
    /// Digest of the whole data.
    pub digest: Option<[u8; 32]>,
    /// What went wrong.
    pub flaws: Flaws,
}

impl ObjectRow {
    /// A row of an object, nothing of which is known but its type.
    #[must_use]
    pub const fn new(ino: Ino, kind: Kind) -> Self {
        const EPOCH: Timestamp = Timestamp { secs: 0, nanos: 0 };
        Self {
            ino,
            is_directory: matches!(kind, Kind::Directory),
            kind: Some(kind),
            permissions: 0,
            links: 0,
            uid: 0,
            gid: 0,
            size: 0,
            modified: EPOCH,
            changed: EPOCH,
            place: None,
            real_ino: None,
            digest: None,
            flaws: Flaws::NONE,
        }
    }

    /// A row of an object with these attributes, which is at this place.
    #[must_use]
    pub fn of(ino: Ino, attributes: &Attributes, place: StreamBlock) -> Self {
        let mut row = Self::new(ino, attributes.kind);
        row.permissions = attributes.permissions;
        row.links = attributes.links;
        row.uid = attributes.uid;
        row.gid = attributes.gid;
        row.size = attributes.size;
        row.modified = attributes.modified;
        row.changed = attributes.changed;
        row.place = Some(place);
        row.real_ino = Some(attributes.real_ino).filter(|real| *real != u64::from(ino.0));
        row
    }

    /// A row of an object that could not be opened.
    #[must_use]
    pub const fn skipped(ino: Ino, is_directory: bool) -> Self {
        let mut row = Self::new(ino, Kind::File);
        row.is_directory = is_directory;
        row.kind = None;
        row.flaws.skipped = true;
        row
    }

    /// Whether the dump holds the object.
    #[must_use]
    pub const fn is_on_tape(&self) -> bool {
        self.place.is_some() && !self.flaws.skipped
    }
}

/// A name in a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameRow<'a> {
    /// The directory.
    pub parent: Ino,
    /// The name: 1 to [`NAME_LEN_MAX`] bytes.
    pub name: &'a [u8],
    /// The object it stands for.
    pub ino: Ino,
    /// The object's type, where the directory tells.
    pub kind: Option<Kind>,
}

/// Any row of the main tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Row<'a> {
    MapPiece { which: WhichMap, first: Ino, bytes: &'a [u8; PIECE_LEN] },
    Object(ObjectRow),
    Name(NameRow<'a>),
    Apart { ino: Ino, place: StreamBlock },
    Tape { tape: TapeNo, first: BlockAddr },
}

impl<'a> Row<'a> {
    /// `None`: not a row.
    pub(super) fn parse(entry: Entry<'a>) -> Option<Self> {
        let (group, rest) = entry.key.split_first_chunk::<4>()?;
        match u32::from_be_bytes(*group) {
            MAPS => {
                let (&which, index) = rest.split_first()?;
                let which = match which {
                    0 => WhichMap::InUse,
                    1 => WhichMap::OnTape,
                    _ => return None,
                };
                let &[i2, i1, i0] = index else { return None };
                let index = u32::from_be_bytes([0, i2, i1, i0]);
                let first = Ino(index.checked_mul(PIECE_INOS)?.checked_add(1)?);
                Some(Self::MapPiece { which, first, bytes: entry.value.try_into().ok()? })
            }
            APART => {
                let ino = Ino(u32::from_be_bytes(rest.try_into().ok()?));
                let place = StreamBlock(u64::from_be_bytes(entry.value.try_into().ok()?));
                Some(Self::Apart { ino, place })
            }
            TAPES => {
                let tape = TapeNo(u32::from_be_bytes(rest.try_into().ok()?));
                let first = BlockAddr(u64::from_be_bytes(entry.value.try_into().ok()?));
                Some(Self::Tape { tape, first })
            }
            number if rest.is_empty() => {
                let (ino, is_directory) = (Ino(number & !OTHER), number & OTHER == 0);
                parse_object(ino, is_directory, entry.value).map(Self::Object)
            }
            parent if parent & OTHER == 0 && rest.len() <= NAME_LEN_MAX => {
                let (ino, kind) = entry.value.split_first_chunk::<4>()?;
                let kind = match *kind {
                    [] => None,
                    [code] => Some(kind_of(code)?),
                    _ => return None,
                };
                let ino = Ino(u32::from_be_bytes(*ino));
                Some(Self::Name(NameRow { parent: Ino(parent), name: rest, ino, kind }))
            }
            _ => None,
        }
    }
}

/// A key being put together, or a value.
#[derive(Clone, Debug)]
pub(super) struct Bytes<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Bytes<N> {
    pub(super) fn new() -> Self {
        Self { bytes: [0; N], len: 0 }
    }

    /// Adds bytes, as far as there is room.
    pub(super) fn put(&mut self, more: &[u8]) {
        for (to, from) in self.bytes.iter_mut().skip(self.len).zip(more) {
            *to = *from;
            self.len += 1;
        }
    }

    /// Seven bits a byte, the lowest first; the highest bit says that more follow.
    fn put_varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.put(&[number as u8 | 0x80]);
            number >>= 7;
        }
        self.put(&[number as u8]);
    }

    /// The bytes so far.
    pub(super) fn get(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

pub(super) type Key = Bytes<KEY_LEN_MAX>;

fn key(parts: &[&[u8]]) -> Key {
    let mut key = Key::new();
    parts.iter().for_each(|part| key.put(part));
    key
}

/// Key of an object's row.
pub(super) fn object_key(ino: Ino, is_directory: bool) -> [u8; 4] {
    (ino.0 | if is_directory { 0 } else { OTHER }).to_be_bytes()
}

/// Key of a name's row; what is over [`NAME_LEN_MAX`] is cut off.
pub(super) fn name_key(parent: Ino, name: &[u8]) -> Key {
    key(&[&parent.0.to_be_bytes(), name])
}

/// Key of the piece of a map that holds a number from 1 on.
pub(super) fn piece_key(which: WhichMap, ino: Ino) -> Key {
    let which = match which {
        WhichMap::InUse => 0,
        WhichMap::OnTape => 1,
    };
    let [_, index @ ..] = (ino.0.saturating_sub(1) / PIECE_INOS).to_be_bytes();
    key(&[&MAPS.to_be_bytes(), &[which], &index])
}

/// Key of the row that says where the properties of an object stand that are not behind its data.
pub(super) fn apart_key(ino: Ino) -> Key {
    key(&[&APART.to_be_bytes(), &ino.0.to_be_bytes()])
}

/// Value of that row.
pub(super) const fn apart_value(place: StreamBlock) -> [u8; 8] {
    place.0.to_be_bytes()
}

/// Key of the row of a tape.
pub(super) fn tape_key(tape: TapeNo) -> Key {
    key(&[&TAPES.to_be_bytes(), &tape.0.to_be_bytes()])
}

/// Key of the first object that is no directory, behind all directories.
pub(super) const OTHERS_FROM: [u8; 4] = OTHER.to_be_bytes();
/// Key of the first directory.
pub(super) const DIRECTORIES_FROM: [u8; 4] = 1u32.to_be_bytes();

/// Longest value of an object's row: head, flaws, permissions, links, owner, group, size, two times, place, real number,
/// digest.
pub(super) const OBJECT_LEN_MAX: usize = 1 + 1 + 3 + 3 * 5 + 10 + 2 * (10 + 4) + 10 + 8 + 32;
pub(super) type ObjectValue = Bytes<OBJECT_LEN_MAX>;

const HAS_PLACE: u8 = 0x08;
const HAS_OTHER_CHANGED: u8 = 0x10;
const HAS_REAL_INO: u8 = 0x20;
const HAS_DIGEST: u8 = 0x40;
const HAS_FLAWS: u8 = 0x80;

/// Value of an object's row.
pub(super) fn object_value(row: &ObjectRow) -> ObjectValue {
    let flag = |set, bit| if set { bit } else { 0 };
    let mut value = ObjectValue::new();
    value.put(&[row.kind.map_or(0, kind_code)
        | flag(row.place.is_some(), HAS_PLACE)
        | flag(row.changed != row.modified, HAS_OTHER_CHANGED)
        | flag(row.real_ino.is_some(), HAS_REAL_INO)
        | flag(row.digest.is_some(), HAS_DIGEST)
        | flag(row.flaws != Flaws::NONE, HAS_FLAWS)]);
    if row.flaws != Flaws::NONE {
        value.put(&[row.flaws.bits()]);
    }
    let numbers = [row.permissions.into(), row.links.into(), row.uid.into(), row.gid.into(), row.size];
    numbers.into_iter().for_each(|number| value.put_varint(number));
    value.put_varint(zigzag(row.modified.secs));
    value.put(&row.modified.nanos.to_be_bytes());
    if row.changed != row.modified {
        value.put_varint(zigzag(row.changed.secs.wrapping_sub(row.modified.secs)));
        value.put(&row.changed.nanos.to_be_bytes());
    }
    if let Some(place) = row.place {
        value.put_varint(place.0);
    }
    if let Some(real_ino) = row.real_ino {
        value.put(&real_ino.to_be_bytes());
    }
    if let Some(digest) = row.digest {
        value.put(&digest);
    }
    value
}

fn parse_object(ino: Ino, is_directory: bool, value: &[u8]) -> Option<ObjectRow> {
    let mut rest = Rest(value);
    let [head] = rest.take()?;
    let mut row = ObjectRow::new(ino, Kind::File);
    row.is_directory = is_directory;
    row.kind = match head & 7 {
        0 => None,
        code => Some(kind_of(code)?),
    };
    if head & HAS_FLAWS != 0 {
        let [bits] = rest.take()?;
        row.flaws = Flaws::from_bits(bits)?;
    }
    row.permissions = rest.number()?;
    row.links = rest.number()?;
    row.uid = rest.number()?;
    row.gid = rest.number()?;
    row.size = rest.varint()?;
    row.modified = rest.time(0)?;
    row.changed = if head & HAS_OTHER_CHANGED != 0 { rest.time(row.modified.secs)? } else { row.modified };
    if head & HAS_PLACE != 0 {
        row.place = Some(StreamBlock(rest.varint()?));
    }
    if head & HAS_REAL_INO != 0 {
        row.real_ino = Some(u64::from_be_bytes(rest.take()?));
    }
    if head & HAS_DIGEST != 0 {
        row.digest = Some(rest.take()?);
    }
    rest.0.is_empty().then_some(row)
}

/// What is left of a value.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let [byte] = self.take()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                return None;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    /// A varint that fits the type.
    fn number<N: TryFrom<u64>>(&mut self) -> Option<N> {
        N::try_from(self.varint()?).ok()
    }

    /// A time whose seconds are counted from `from`.
    fn time(&mut self, from: i64) -> Option<Timestamp> {
        let secs = from.wrapping_add(unzigzag(self.varint()?));
        Some(Timestamp { secs, nanos: u32::from_be_bytes(self.take()?) })
    }
}

/// Small numbers of either sign as small numbers without.
const fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)) as u64
}

const fn unzigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

/// Value of a name's row.
pub(super) fn name_value(ino: Ino, kind: Option<Kind>) -> Bytes<5> {
    let mut value = Bytes::new();
    value.put(&ino.0.to_be_bytes());
    if let Some(kind) = kind {
        value.put(&[kind_code(kind)]);
    }
    value
}

const fn kind_code(kind: Kind) -> u8 {
    match kind {
        Kind::File => 1,
        Kind::Directory => 2,
        Kind::Symlink => 3,
        Kind::Fifo => 4,
        Kind::CharDevice => 5,
        Kind::BlockDevice => 6,
        Kind::Socket => 7,
    }
}

const fn kind_of(code: u8) -> Option<Kind> {
    Some(match code {
        1 => Kind::File,
        2 => Kind::Directory,
        3 => Kind::Symlink,
        4 => Kind::Fifo,
        5 => Kind::CharDevice,
        6 => Kind::BlockDevice,
        7 => Kind::Socket,
        _ => return None,
    })
}

/// Key of a row of the tree of links: an object, and the page of the main tree that holds a name of it.
pub(super) fn link_key(ino: Ino, page: u32) -> [u8; 8] {
    (u64::from(ino.0) << 32 | u64::from(page)).to_be_bytes()
}

/// Object and page of a link; `None`: not a link.
pub(super) fn parse_link(entry: Entry<'_>) -> Option<(Ino, u32)> {
    let key = u64::from_be_bytes(entry.key.try_into().ok()?);
    entry.value.is_empty().then_some((Ino((key >> 32) as u32), key as u32))
}

/// Key of a row of the tree of positions: where an object begins, and the key of its row.
pub(super) fn position_key(block: StreamBlock, row: [u8; 4]) -> [u8; 12] {
    let mut key = [0; 12];
    key[..8].copy_from_slice(&block.0.to_be_bytes());
    key[8..].copy_from_slice(&row);
    key
}

/// Key of the row that a position is of; `None`: not a position.
pub(super) fn parse_position(entry: Entry<'_>) -> Option<[u8; 4]> {
    let key: &[u8; 12] = entry.key.try_into().ok()?;
    let &[.., r3, r2, r1, r0] = key;
    entry.value.is_empty().then_some([r3, r2, r1, r0])
}

#[cfg(test)]
#[path = "row_tests.rs"]
mod tests;
