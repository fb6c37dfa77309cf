//! Attributes of the objects on a tape, kept in a scratch file until their names are printed.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use tapedump_core::device::volume::{
    Attributes, Failure, Kind, Made, Place, PropertyKind, Room, TargetVolume,
};
use tapedump_core::limits::SYMLINK_LEN_MAX;
use tapedump_core::record::dos::DosAttributes;
use tapedump_core::units::{Ino, Timestamp};

/// In a slot of the table, what stands before DOS attributes: numbers, and the place of a link's target.
const DOS_AT: usize = 52;
/// DOS attributes in a slot: a bit for each of what is known, the attribute bits, and the time of creation.
const DOS_LEN: usize = 1 + 4 + 8 + 4;
const SLOT_LEN: u64 = (DOS_AT + DOS_LEN) as u64;

/// The longest value that is looked at for DOS attributes: those of all versions of Samba have up to 52 bytes and a name.
const DOS_LEN_MAX: usize = 4096;

/// Keeps the attributes of every object in a file, at a place that its number gives.
pub(super) struct Attributed {
    pub(super) table: Table,
    open: Option<(Ino, Kind)>,
    link: Vec<u8>,
    /// The DOS attributes that come, and how long their value is; they are of the open object.
    dos: Option<(usize, Vec<u8>)>,
    /// Bytes of them that are to come; other values pass by.
    awaited: usize,
    pub(super) failure: Option<io::Error>,
}

/// The file: slots by number, and the targets of links in another place of it.
pub(super) struct Table {
    pub(super) file: File,
    pub(super) links_end: u64,
}

/// Where targets of links begin: behind the slots of all numbers.
const LINKS_AT: u64 = (Ino::LAST.0 as u64 + 1) * SLOT_LEN;

/// What the table keeps of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) mode: u16,
    pub(super) links: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) size: u64,
    pub(super) modified: Timestamp,
    pub(super) device: (u32, u32),
    pub(super) dos: DosAttributes,
}

impl Table {
    pub(super) fn put(&mut self, ino: Ino, kept: &Kept, link: &[u8]) -> io::Result<()> {
        let mut slot = [0; SLOT_LEN as usize];
        let mut rest = &mut slot[..];
        let mut put = |bytes: &[u8]| {
            let (to, left) = std::mem::take(&mut rest).split_at_mut(bytes.len());
            to.copy_from_slice(bytes);
            rest = left;
        };
        put(&kept.mode.to_le_bytes());
        put(&(link.len() as u16).to_le_bytes());
        put(&kept.links.to_le_bytes());
        put(&kept.uid.to_le_bytes());
        put(&kept.gid.to_le_bytes());
        put(&kept.size.to_le_bytes());
        put(&kept.modified.secs.to_le_bytes());
        put(&kept.modified.nanos.to_le_bytes());
        put(&kept.device.0.to_le_bytes());
        put(&kept.device.1.to_le_bytes());
        put(&self.links_end.to_le_bytes());
        put(&dos_bytes(&kept.dos));
        debug_assert!(rest.is_empty(), "a slot is filled");
        self.file.write_all_at(&slot, u64::from(ino.0) * SLOT_LEN)?;
        if !link.is_empty() {
            self.file.write_all_at(link, LINKS_AT + self.links_end)?;
            self.links_end += link.len() as u64;
        }
        Ok(())
    }

    /// Adds the DOS attributes of an object, which stand apart from it on the tape.
    pub(super) fn put_dos(&mut self, ino: Ino, dos: &DosAttributes) -> io::Result<()> {
        self.file.write_all_at(&dos_bytes(dos), u64::from(ino.0) * SLOT_LEN + DOS_AT as u64)
    }

    /// The DOS attributes of an object, as far as they have come.
    pub(super) fn dos(&self, ino: Ino) -> io::Result<DosAttributes> {
        Ok(dos_of(&self.slot(ino)?[DOS_AT..]))
    }

    /// What the table has of an object; zeros where it has nothing.
    fn slot(&self, ino: Ino) -> io::Result<[u8; SLOT_LEN as usize]> {
        let mut slot = [0; SLOT_LEN as usize];
        let mut filled = 0;
        while filled < slot.len() {
            match self.file.read_at(&mut slot[filled..], u64::from(ino.0) * SLOT_LEN + filled as u64)? {
                0 => break,
                count => filled += count,
            }
        }
        Ok(slot)
    }

    /// `None`: nothing of the object is on the tape.
    pub(super) fn get(&self, ino: Ino) -> io::Result<Option<(Kept, Vec<u8>)>> {
        let slot = self.slot(ino)?;
        let mut rest = &slot[..];
        let mode = u16::from_le_bytes(take(&mut rest));
        let link_len = usize::from(u16::from_le_bytes(take(&mut rest)));
        let mut kept = Kept {
            mode,
            links: u32::from_le_bytes(take(&mut rest)),
            uid: u32::from_le_bytes(take(&mut rest)),
            gid: u32::from_le_bytes(take(&mut rest)),
            size: u64::from_le_bytes(take(&mut rest)),
            modified: Timestamp {
                secs: i64::from_le_bytes(take(&mut rest)),
                nanos: u32::from_le_bytes(take(&mut rest)),
            },
            device: (u32::from_le_bytes(take(&mut rest)), u32::from_le_bytes(take(&mut rest))),
            dos: DosAttributes::default(),
        };
        let link_at = u64::from_le_bytes(take(&mut rest));
        kept.dos = dos_of(rest);
        if mode == 0 {
            return Ok(None);
        }
        let mut link = vec![0; link_len];
        self.file.read_exact_at(&mut link, LINKS_AT + link_at)?;
        Ok(Some((kept, link)))
    }
}

const DOS_BITS: u8 = 1;
const DOS_CREATED: u8 = 2;

/// The next number of a slot.
fn take<const N: usize>(rest: &mut &[u8]) -> [u8; N] {
    let (bytes, left) = rest.split_first_chunk().unwrap_or((&[0; N], &[]));
    *rest = left;
    *bytes
}

fn dos_of(mut bytes: &[u8]) -> DosAttributes {
    let [known] = take(&mut bytes);
    let bits = u32::from_le_bytes(take(&mut bytes));
    let created =
        Timestamp { secs: i64::from_le_bytes(take(&mut bytes)), nanos: u32::from_le_bytes(take(&mut bytes)) };
    DosAttributes {
        bits: Some(bits).filter(|_| known & DOS_BITS != 0),
        created: Some(created).filter(|_| known & DOS_CREATED != 0),
    }
}

fn dos_bytes(dos: &DosAttributes) -> [u8; DOS_LEN] {
    let created = dos.created.unwrap_or(Timestamp { secs: 0, nanos: 0 });
    let known = if dos.bits.is_some() { DOS_BITS } else { 0 };
    let known = known | if dos.created.is_some() { DOS_CREATED } else { 0 };
    let mut bytes = [0; DOS_LEN];
    let parts = [known]
        .into_iter()
        .chain(dos.bits.unwrap_or(0).to_le_bytes())
        .chain(created.secs.to_le_bytes())
        .chain(created.nanos.to_le_bytes());
    bytes.iter_mut().zip(parts).for_each(|(to, from)| *to = from);
    bytes
}

impl Attributed {
    pub(super) fn new(file: File) -> Self {
        let table = Table { file, links_end: 0 };
        Self { table, open: None, link: Vec::new(), dos: None, awaited: 0, failure: None }
    }

    /// The DOS attributes that came whole of the open object. What is none says nothing.
    fn take_dos(&mut self) -> Option<DosAttributes> {
        let (len, value) = self.dos.take()?;
        DosAttributes::parse(&value).filter(|_| len == value.len())
    }

    fn note(&mut self, done: io::Result<()>) {
        if let Err(error) = done {
            self.failure.get_or_insert(error);
        }
    }
}

impl TargetVolume for Attributed {
    type Error = std::convert::Infallible;

    fn room(&mut self) -> Result<Room, Self::Error> {
        Ok(Room { bytes: u64::MAX, inodes: u64::MAX })
    }
    fn knows(&mut self, _: Ino) -> bool {
        true
    }
    fn enter(&mut self, _: Place<'_>, _: Ino) -> Result<(), Self::Error> {
        Ok(())
    }
    fn make_directory(&mut self, _: Place<'_>, _: Ino) -> Result<Made, Self::Error> {
        Ok(Made::New)
    }
    fn create(&mut self, _: Place<'_>, ino: Ino, attributes: &Attributes) -> Result<(), Self::Error> {
        self.open = Some((ino, attributes.kind));
        self.link.clear();
        self.dos = None;
        Ok(())
    }
    fn reopen(&mut self, _: Place<'_>, ino: Ino) -> Result<(), Self::Error> {
        self.open = Some((ino, Kind::Directory));
        self.dos = None;
        Ok(())
    }
    fn write(&mut self, _: u64, data: &[u8]) -> Result<(), Self::Error> {
        if self.open.is_some_and(|(_, kind)| kind == Kind::Symlink) {
            let room = SYMLINK_LEN_MAX.saturating_sub(self.link.len());
            self.link.extend_from_slice(data.get(..room).unwrap_or(data));
        }
        Ok(())
    }
    fn begin_property(&mut self, kind: PropertyKind, _: &[u8], value_len: u32) -> Result<(), Self::Error> {
        self.awaited = 0;
        if kind == PropertyKind::DosAttributes {
            self.dos = Some((value_len as usize, Vec::new()));
            self.awaited = value_len as usize;
        }
        Ok(())
    }
    fn write_property(&mut self, piece: &[u8]) -> Result<(), Self::Error> {
        if let Some((_, value)) = self.dos.as_mut().filter(|_| self.awaited > 0) {
            let room = DOS_LEN_MAX.saturating_sub(value.len());
            value.extend_from_slice(piece.get(..room).unwrap_or(piece));
            self.awaited = self.awaited.saturating_sub(piece.len());
        }
        Ok(())
    }
    fn finish(&mut self, attributes: &Attributes) -> Result<(), Self::Error> {
        let Some((ino, _)) = self.open.take() else { return Ok(()) };
        let kept = Kept {
            mode: attributes.kind.mode_bits() | attributes.permissions,
            links: attributes.links,
            uid: attributes.uid,
            gid: attributes.gid,
            size: attributes.size,
            modified: attributes.modified,
            device: (attributes.device.major, attributes.device.minor),
            dos: self.take_dos().unwrap_or_default(),
        };
        let kept = match attributes.kind {
            // What stands apart of a directory came before its attributes.
            Kind::Directory if kept.dos == DosAttributes::default() => {
                self.table.dos(ino).map(|dos| Kept { dos, ..kept })
            }
            _ => Ok(kept),
        };
        let done = kept.and_then(|kept| self.table.put(ino, &kept, &self.link));
        self.note(done);
        self.link.clear();
        Ok(())
    }
    fn release(&mut self) {
        // Properties that stand apart from their object.
        if let (Some(dos), Some((ino, _))) = (self.take_dos(), self.open) {
            let done = self.table.put_dos(ino, &dos);
            self.note(done);
        }
        self.open = None;
        self.link.clear();
    }
    fn link(&mut self, _: Place<'_>, _: Place<'_>, _: Ino) -> Result<(), Self::Error> {
        Ok(())
    }
    fn poll_failure(&mut self) -> Option<Failure<Self::Error>> {
        None
    }
    fn barrier(&mut self) {}
    fn flush(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }
}
