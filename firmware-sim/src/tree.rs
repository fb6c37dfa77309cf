//! The tree that the demonstration dumps: every kind of object, in little space.

use tapedump_core::device::ErrorKind;
use tapedump_core::device::mem::MemVolume;
use tapedump_core::device::volume::{Attributes, DeviceNumber, Kind, PropertyKind, VolumeNames};
use tapedump_core::units::{Ino, Timestamp};

/// Byte that the file `pattern` is made of and nothing else is: so its data is found on the tape.
pub const PATTERN: u8 = 0xd5;

/// Name and length of that file.
pub const PATTERN_NAME: &[u8] = b"pattern";
const PATTERN_LEN: usize = 5000;

/// An extended attribute.
const NOTE: &[u8] = b"user.note";

/// Objects in the tree that are not directories, and directories including the root.
pub const OTHERS: u64 = 14;
pub const DIRECTORIES: u64 = 5;

/// Further names of objects.
pub const LINKS: u64 = 2;

/// Numbers the objects, so that each has attributes of its own.
struct Seed(u32);

impl Seed {
    fn attributes(&mut self, kind: Kind) -> Attributes {
        self.0 += 1;
        let seed = self.0;
        let mut attributes = Attributes::new(kind);
        attributes.permissions = 0o7000 >> (seed % 4 * 3) & 0o7000 | 0o600 | (seed as u16 & 0o177);
        attributes.uid = 1000 + seed;
        attributes.gid = 70_000 + seed;
        attributes.accessed = Timestamp { secs: 1_700_000_000 + i64::from(seed), nanos: 123_456_789 };
        attributes.modified = Timestamp { secs: 1_600_000_000, nanos: 999_999_999 - seed };
        attributes.changed = Timestamp { secs: 1_700_000_001, nanos: seed };
        attributes.born = Some(Timestamp { secs: 1_500_000_000, nanos: seed * 1000 });
        if matches!(kind, Kind::CharDevice | Kind::BlockDevice) {
            attributes.device = DeviceNumber { major: 8, minor: seed };
        }
        attributes
    }
}

/// Fills an empty volume.
#[inline(never)]
pub fn fill(volume: &mut MemVolume<'_>) -> Result<(), ErrorKind> {
    let mut names = VolumeNames::default();
    names.path[..1].copy_from_slice(b"/");
    names.device[..3].copy_from_slice(b"ram");
    names.host[..5].copy_from_slice(b"board");
    volume.set_names(names);
    let mut seed = Seed(0);
    volume.set_attributes(Ino::ROOT, &seed.attributes(Kind::Directory))?;
    let boot = volume.add_directory(Ino::ROOT, b"boot", &seed.attributes(Kind::Directory))?;
    let etc = volume.add_directory(Ino::ROOT, b"etc", &seed.attributes(Kind::Directory))?;
    let deep = volume.add_directory(etc, b"deep", &seed.attributes(Kind::Directory))?;
    volume.add_directory(deep, b"empty", &seed.attributes(Kind::Directory))?;

    add_files(volume, &mut seed, boot, etc)?;
    add_others(volume, &mut seed, deep)?;
    let acl =
        b"\x02\0\0\0\x01\0\x07\0\xff\xff\xff\xff\x04\0\x05\0\xff\xff\xff\xff\x20\0\x05\0\xff\xff\xff\xff";
    volume.set_property(deep, PropertyKind::PosixAccessAcl, b"", acl)?;
    volume.set_property(deep, PropertyKind::PosixDefaultAcl, b"", acl)
}

/// Makes the file `pattern` of `restored` what it is in `source`.
#[inline(never)]
pub fn repair(source: &MemVolume<'_>, restored: &mut MemVolume<'_>) -> Result<(), ErrorKind> {
    let original = source.look_up(Ino::ROOT, PATTERN_NAME).ok_or(ErrorKind::NotFound)?;
    let damaged = restored.look_up(Ino::ROOT, PATTERN_NAME).ok_or(ErrorKind::NotFound)?;
    let data = [PATTERN; PATTERN_LEN];
    restored.write_data(damaged, 0, &data)?;
    restored.set_size(damaged, PATTERN_LEN as u64)?;
    let note = source.property_value(original, PropertyKind::Xattr, NOTE).ok_or(ErrorKind::NotFound)?;
    restored.set_property(damaged, PropertyKind::Xattr, NOTE, note)?;
    restored.set_attributes(damaged, &source.attributes(original)?)
}

#[inline(never)]
fn add_files(volume: &mut MemVolume<'_>, seed: &mut Seed, boot: Ino, etc: Ino) -> Result<(), ErrorKind> {
    // Variables, not constants: these would be in flash, byte for byte.
    let data = [PATTERN; PATTERN_LEN];
    let pattern = volume.add_file(Ino::ROOT, PATTERN_NAME, &seed.attributes(Kind::File), &data)?;
    volume.set_property(pattern, PropertyKind::Xattr, NOTE, b"one repeated byte")?;
    // One byte less, as many, and one more than a tape block.
    for (name, len) in [(b"1023", 1023), (b"1024", 1024), (b"1025", 1025)] {
        volume.add_file(boot, name, &seed.attributes(Kind::File), &[name[3]; 1025][..len])?;
    }
    let empty = volume.add_file(etc, b"empty", &seed.attributes(Kind::File), b"")?;
    volume.set_property(empty, PropertyKind::Xattr, NOTE, b"no data, but this")?;
    // More than one segment, nearly all of it holes, one of them at the end.
    let sparse = volume.add_file(etc, b"sparse", &seed.attributes(Kind::File), b"begin")?;
    volume.write_data(sparse, 700_000, b"middle")?;
    volume.set_size(sparse, 3_000_000)?;
    let linked = volume.add_file(etc, b"linked", &seed.attributes(Kind::File), b"three names")?;
    volume.set_property(linked, PropertyKind::Xattr, b"user.empty", b"")?;
    volume.add_link(linked, Ino::ROOT, b"linked too")?;
    volume.add_link(linked, boot, b"and here")?;
    // A value longer than a tape block.
    let long = volume.add_file(etc, b"long value", &seed.attributes(Kind::File), b"short data")?;
    let value = [0x5a; 1500];
    volume.set_property(long, PropertyKind::Xattr, b"security.long", &value)
}

#[inline(never)]
fn add_others(volume: &mut MemVolume<'_>, seed: &mut Seed, deep: Ino) -> Result<(), ErrorKind> {
    volume.add_symlink(deep, b"link", &seed.attributes(Kind::Symlink), b"../../pattern")?;
    let target = [b't'; 2000];
    volume.add_symlink(Ino::ROOT, &[b'n'; 254], &seed.attributes(Kind::Symlink), &target)?;
    for (name, kind) in [
        (&b"fifo"[..], Kind::Fifo),
        (b"char device", Kind::CharDevice),
        (b"block device", Kind::BlockDevice),
        (b"socket", Kind::Socket),
    ] {
        volume.add_node(deep, name, &seed.attributes(kind))?;
    }
    Ok(())
}

/// A file that changes before the first increment only.
pub const CHANGED: &[u8] = b"etc/linked";

/// What another file grows by then, so that the changed one is far behind on the tape: so many tape blocks.
const GROWTH: u8 = 80;

/// Paths, and whether they are there after all changes.
pub const CHANGED_NAMES: [(&[u8], bool); 5] = [
    (b"etc/deep/fifo", false),
    (b"boot/1023", false),
    (b"boot/first", false),
    (b"etc/second", true),
    (b"new", true),
];

/// Changes the tree before the increment of a level is made of it.
#[inline(never)]
pub fn change(volume: &mut MemVolume<'_>, level: u32, now: i64) -> Result<(), ErrorKind> {
    let find = |volume: &MemVolume<'_>, parent, name| volume.look_up(parent, name).ok_or(ErrorKind::NotFound);
    let boot = find(volume, Ino::ROOT, b"boot")?;
    let etc = find(volume, Ino::ROOT, b"etc")?;
    match level {
        1 => {
            let file = find(volume, boot, b"1024")?;
            for block in 1..=GROWTH {
                volume.write_data(file, u64::from(block) * 1024, &[block; 1024])?;
            }
            touch(volume, file, now)?;
            let file = find(volume, etc, b"linked")?;
            volume.write_data(file, 6, b"names, and changed")?;
            touch(volume, file, now)?;
            let deep = find(volume, etc, b"deep")?;
            volume.remove(deep, b"fifo")?;
            touch(volume, deep, now)?;
            volume.rename(boot, b"1023", boot, b"first")?;
            touch(volume, boot, now)?;
            volume.add_file(Ino::ROOT, b"new", &Attributes::new(Kind::File), b"as it was at first")?;
        }
        2 => {
            volume.remove(boot, b"1025")?;
            volume.rename(boot, b"first", etc, b"second")?;
            touch(volume, boot, now)?;
            touch(volume, etc, now)?;
            let new = find(volume, Ino::ROOT, b"new")?;
            volume.set_size(new, 10)?;
            touch(volume, new, now)?;
        }
        _ => return Ok(()),
    }
    touch(volume, Ino::ROOT, now)
}

fn touch(volume: &mut MemVolume<'_>, object: Ino, now: i64) -> Result<(), ErrorKind> {
    let mut attributes = volume.attributes(object)?;
    attributes.modified = Timestamp { secs: now, nanos: 5 };
    attributes.changed = attributes.modified;
    volume.set_attributes(object, &attributes)
}

/// Whether the changed file has the same data in both.
pub fn same_data(one: &MemVolume<'_>, other: &MemVolume<'_>) -> bool {
    let (mut data, mut second) = ([0; 64], [0; 64]);
    let read = |volume: &MemVolume<'_>, data: &mut [u8]| {
        let mut file = Ino::ROOT;
        for name in CHANGED.split(|byte| *byte == b'/') {
            file = volume.look_up(file, name)?;
        }
        volume.read_data(file, 0, data).ok()
    };
    let lens = (read(one, &mut data), read(other, &mut second));
    lens.0.is_some() && lens.0 == lens.1 && data == second
}

/// Further names of a file, more than a catalog keeps in memory.
const CROWD: u8 = 40;

/// Gives one file very many names.
#[inline(never)]
pub fn crowd(volume: &mut MemVolume<'_>) -> Result<(), ErrorKind> {
    let file = volume.look_up(Ino::ROOT, PATTERN_NAME).ok_or(ErrorKind::NotFound)?;
    (0..CROWD).try_for_each(|name| volume.add_link(file, Ino::ROOT, &[b'A' + name; 200]))
}

/// Takes these names away again.
#[inline(never)]
pub fn disperse(volume: &mut MemVolume<'_>) -> Result<(), ErrorKind> {
    (0..CROWD).try_for_each(|name| volume.remove(Ino::ROOT, &[b'A' + name; 200]))
}
