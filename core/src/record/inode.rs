//! The 128-byte inode image in headers of objects (`struct dinode`), in its three layouts.

use zerocopy::byteorder::{BE, U16, U32, U64};
use zerocopy::{ByteOrder, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::device::volume::{Attributes, DeviceNumber, Kind};
use crate::record::dialect::InodeLayout;
use crate::record::extension::RawExtension;
use crate::units::Timestamp;

#[repr(C)]
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
pub(super) struct RawInode<O: ByteOrder> {
    pub(super) mode: U16<O>,
    links: U16<O>,
    old_uid: U16<O>,
    old_gid: U16<O>,
    size: U64<O>,
    accessed: U32<O>,
    accessed_fraction: U32<O>,
    modified: U32<O>,
    modified_fraction: U32<O>,
    changed: U32<O>,
    changed_fraction: U32<O>,
    /// `di_db[0..12]`: the device number in the first two; birth and 64-bit times in UFS2.
    blocks: [U32<O>; 12],
    indirect: [U32<O>; 3],
    file_flags: U32<O>,
    block_count: U32<O>,
    generation: U32<O>,
    /// Offsets 144 to 159: owner and group, in places that differ by dialect.
    ids: [U32<O>; 4],
}

const _: () = assert!(size_of::<RawInode<BE>>() == 128);

/// 16-bit owner that stands for one that does not fit; 65535 would make Solaris take the group as owner.
const OWNER_STAND_IN: u16 = 65534;

/// Writes attributes over an inode image in the layout we use, and what it has no place for over the extension.
pub(super) fn emit_attributes(
    attributes: &Attributes,
    inode: &mut RawInode<BE>,
    extension: &mut RawExtension,
) {
    let narrow = |id: u32| if id < 65535 { id as u16 } else { OWNER_STAND_IN };
    inode.mode.set(attributes.kind.mode_bits() | attributes.permissions & 0o7777);
    inode.links.set(attributes.links.min(i16::MAX as u32) as u16);
    inode.old_uid.set(narrow(attributes.uid));
    inode.old_gid.set(narrow(attributes.gid));
    let [uid, gid, ..] = &mut inode.ids;
    uid.set(attributes.uid);
    gid.set(attributes.gid);
    inode.size.set(attributes.size);
    inode.generation.set(attributes.generation);
    inode.accessed.set(believable(attributes.accessed) as u32);
    inode.accessed_fraction.set(attributes.accessed.nanos / 1000);
    inode.modified.set(believable(attributes.modified) as u32);
    inode.modified_fraction.set(attributes.modified.nanos / 1000);
    inode.changed.set(believable(attributes.changed) as u32);
    inode.changed_fraction.set(attributes.changed.nanos / 1000);
    if matches!(attributes.kind, Kind::CharDevice | Kind::BlockDevice) {
        let [first, second, ..] = &mut inode.blocks;
        first.set(pack_device(attributes.device));
        second.set(pack_device(attributes.device));
    }
    extension.real_ino.set(attributes.real_ino);
    extension.generation.set(attributes.generation);
    extension.qtree.set(attributes.qtree);
    let born = attributes.born.unwrap_or(NEVER_BORN);
    for (index, time) in
        [attributes.accessed, attributes.modified, attributes.changed, born].into_iter().enumerate()
    {
        if let (Some(high), Some(nanos)) =
            (extension.time_high.get_mut(index), extension.nanos.get_mut(index))
        {
            *high = (believable(time) >> 32) as i8;
            nanos.set(time.nanos);
        }
    }
    extension.born.set(believable(born) as u32);
}

/// Seconds of a time, brought into the 40 bits that the format has: 17,000 years before and after 1970.
fn believable(time: Timestamp) -> i64 {
    time.secs.clamp(-(1 << 39), (1 << 39) - 1)
}

/// Stands for "birth time unknown": nanoseconds that no time has.
const NEVER_BORN: Timestamp = Timestamp { secs: 0, nanos: u32::MAX };

/// Reads attributes; `None`: the mode names no known type.
pub(super) fn attributes_of<O: ByteOrder>(
    inode: &RawInode<O>,
    layout: InodeLayout,
    extension: Option<&RawExtension>,
) -> Option<Attributes> {
    let mode = inode.mode.get();
    let kind = Kind::from_mode(mode)?;
    let mut attributes = Attributes::new(kind);
    attributes.permissions = mode & 0o7777;
    attributes.links = u32::from(inode.links.get());
    attributes.size = inode.size.get();
    attributes.generation = inode.generation.get();
    let [second, third, fourth] = match &inode.ids {
        [second, third, fourth, _] => [second.get(), third.get(), fourth.get()],
    };
    let (old_uid, old_gid) = (inode.old_uid.get(), inode.old_gid.get());
    (attributes.uid, attributes.gid) = match layout {
        InodeLayout::Bsd | InodeLayout::Ufs2 => (second, third),
        InodeLayout::Solaris => (
            if old_uid == u16::MAX { third } else { old_uid.into() },
            if old_gid == u16::MAX { fourth } else { old_gid.into() },
        ),
    };
    if matches!(kind, Kind::CharDevice | Kind::BlockDevice) {
        let [first, second, ..] = &inode.blocks;
        let raw_device = if first.get() == 0 { second.get() } else { first.get() };
        attributes.device = unpack_device(raw_device);
    }
    match extension {
        Some(extension) => times_of_extension(inode, extension, &mut attributes),
        None => times_of_inode(inode, layout, &mut attributes),
    }
    Some(attributes)
}

fn times_of_extension<O: ByteOrder>(
    inode: &RawInode<O>,
    extension: &RawExtension,
    attributes: &mut Attributes,
) {
    let lows = [inode.accessed.get(), inode.modified.get(), inode.changed.get(), extension.born.get()];
    let mut times = [Timestamp::default(); 4];
    for (((time, low), high), nanos) in
        times.iter_mut().zip(lows).zip(extension.time_high).zip(extension.nanos.iter())
    {
        *time = Timestamp { secs: i64::from(high) << 32 | i64::from(low), nanos: nanos.get() };
    }
    let [accessed, modified, changed, born] = times;
    attributes.accessed = accessed.legal();
    attributes.modified = modified.legal();
    attributes.changed = changed.legal();
    attributes.born = (born.nanos < NANOS_PER_SECOND).then_some(born);
    attributes.real_ino = extension.real_ino.get();
    attributes.qtree = extension.qtree.get();
}

const NANOS_PER_SECOND: u32 = 1_000_000_000;

impl Timestamp {
    /// The same second with a legal fraction; a tape can hold any.
    fn legal(self) -> Self {
        Self { nanos: if self.nanos < NANOS_PER_SECOND { self.nanos } else { 0 }, ..self }
    }
}

/// Times of a foreign inode image. Fractions from 10⁶ on are nanoseconds, below they are microseconds
/// (Linux, ONTAP), always nanoseconds in UFS2; seconds are unsigned on Linux and signed on the others, which only
/// differ outside 1970 to 2038 (`format.md` 3).
fn times_of_inode<O: ByteOrder>(inode: &RawInode<O>, layout: InodeLayout, attributes: &mut Attributes) {
    let fraction = |raw: u32| match (layout, raw) {
        (InodeLayout::Ufs2, nanos) => nanos,
        (_, micros) if micros < 1_000_000 => micros * 1000,
        (_, nanos) => nanos,
    };
    let secs = |raw: u32| match layout {
        InodeLayout::Bsd => i64::from(raw),
        InodeLayout::Solaris | InodeLayout::Ufs2 => i64::from(raw as i32),
    };
    let time = |at: u32, nanos: u32| Timestamp { secs: secs(at), nanos: fraction(nanos) }.legal();
    attributes.accessed = time(inode.accessed.get(), inode.accessed_fraction.get());
    attributes.modified = time(inode.modified.get(), inode.modified_fraction.get());
    attributes.changed = time(inode.changed.get(), inode.changed_fraction.get());
    if layout == InodeLayout::Ufs2 {
        let words: &[u8] = inode.blocks.as_bytes();
        let wide = |at: usize| {
            words.get(at..at + 8).and_then(|b| U64::<O>::read_from_bytes(b).ok()).map_or(0, U64::get) as i64
        };
        let [_, born_nanos, ..] = &inode.blocks;
        attributes.born = Some(Timestamp { secs: wide(8), nanos: born_nanos.get() }.legal());
        attributes.accessed.secs = wide(16);
        attributes.modified.secs = wide(24);
        attributes.changed = attributes.modified;
    }
}

/// The kernel's 32-bit encoding of a device number (`new_encode_dev` of Linux); the old 16-bit one is its low part.
const fn pack_device(device: DeviceNumber) -> u32 {
    (device.minor & 0xff) | ((device.major & 0xfff) << 8) | ((device.minor & 0xf_ff00) << 12)
}

const fn unpack_device(raw: u32) -> DeviceNumber {
    DeviceNumber { major: (raw >> 8) & 0xfff, minor: (raw & 0xff) | ((raw >> 12) & 0xf_ff00) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_numbers_survive() {
        for device in [(8, 1), (4095, 0xf_ffff), (0, 0), (259, 300)] {
            let device = DeviceNumber { major: device.0, minor: device.1 };
            assert_eq!(unpack_device(pack_device(device)), device);
        }
    }
}
