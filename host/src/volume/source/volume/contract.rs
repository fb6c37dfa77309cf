//! The contract of a source volume.

use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use rustix::io::{Errno, pread};
use tapedump_core::device::ErrorKind;
use tapedump_core::device::volume::{
    Attributes, Class, Entry, Kind, Mapped, NameBuf, Property, SourceVolume, Stretch, VolumeNames,
};
use tapedump_core::units::Ino;

use super::super::entries::EntryTrouble;
use super::super::load::{self, Trouble, is_unchanged};
use super::super::properties::{Kept, names};
use super::super::reach::{Places, mount_source, stat_fd};
use super::super::walk::interrupted;
use super::{
    LIST, LinuxSource, Open, READ_DIRECTORY, READ_PROPERTY, REPLACED, Walk, no_such_object, not_open,
};
use crate::volume::VolumeError;
use crate::volume::carrier::property_of;

impl SourceVolume for LinuxSource {
    type Error = VolumeError;

    fn names(&mut self) -> Result<VolumeNames, VolumeError> {
        let mut names = VolumeNames::default();
        let root = &self.volume.root;
        fill(&mut names.path, root.path().as_os_str().as_bytes());
        // Without /proc the device has no name; that is no reason not to dump.
        let image = self.volume.options.image.as_ref().map(|image| image.name.clone());
        if let Some(source) = image.or_else(|| mount_source(root)) {
            fill(&mut names.device, &source);
        }
        fill(&mut names.host, rustix::system::uname().nodename().to_bytes());
        Ok(names)
    }

    fn ino_limit(&mut self) -> Result<Ino, VolumeError> {
        Ok(self.volume.index.numbers.limit())
    }

    fn map(&mut self, stretch: &mut Stretch<'_>) -> Result<(), VolumeError> {
        if self.volume.options.is_interrupted() {
            return Err(interrupted(&self.volume.root));
        }
        let index = &self.volume.index;
        // The walk answered for one time.
        let is_answered = stretch.since.is_some()
            && self.volume.options.base.as_ref().map(|base| base.since) == stretch.since;
        let from = (stretch.from.0.saturating_sub(1) / 8) as usize;
        let Mapped { directories, others, unchanged } = &mut stretch.found;
        let maps = stretch.in_use.iter_mut().zip(stretch.changed.iter_mut()).zip(stretch.known);
        for (at, ((to_in_use, to_changed), known)) in (from..).zip(maps) {
            let (in_use, directory) = (index.in_use.byte(at), index.directory_numbers.byte(at));
            let changed = if is_answered { index.changed.byte(at) | in_use & !known } else { in_use };
            *directories += (changed & directory).count_ones();
            *others += (changed & !directory).count_ones();
            *unchanged += (in_use & !changed).count_ones();
            *to_in_use |= in_use;
            *to_changed |= changed;
        }
        Ok(())
    }

    fn next_inode(&mut self, from: Ino, class: Class) -> Result<Option<Ino>, VolumeError> {
        if self.volume.options.is_interrupted() {
            return Err(interrupted(&self.volume.root));
        }
        let slot = usize::from(class == Class::Others);
        if self.walks[slot].as_ref().is_none_or(|walk| from < walk.from) {
            let cursor = self.cursor(class, from)?;
            self.walks[slot] = Some(Walk { cursor, from, next: None });
            self.advance(slot)?;
        }
        while self.walks[slot].as_ref().is_some_and(|walk| walk.next.is_some_and(|next| next.ino < from)) {
            self.advance(slot)?;
        }
        let Some(walk) = &mut self.walks[slot] else { return Ok(None) };
        walk.from = from;
        let ino = walk.next.map(|record| record.ino);
        self.given = ino.map(|ino| (ino, class));
        Ok(ino)
    }

    fn will_open(&mut self, objects: &[u8]) {
        // Told once: the first time counts.
        let _ = self.volume.wanted.set(objects.into());
    }

    fn open(&mut self, ino: Ino) -> Result<Attributes, VolumeError> {
        self.open = None;
        self.late.has_names = false;
        self.late.index = None;
        let class = match self.given {
            Some((given, class)) if given == ino => class,
            _ => self.look_up(ino)?.0,
        };
        let slot = usize::from(class == Class::Others);
        let in_order = self.last[slot].is_none_or(|last| ino > last);
        let (record, object, is_single) = if in_order && self.advance_to(class, ino)? {
            self.last[slot] = Some(ino);
            let record = self.batch.records[self.position];
            let taken = Err(Trouble::Replaced);
            let object = match self.batch.objects.get_mut(self.position) {
                Some(object) => std::mem::replace(object, taken),
                None => taken,
            };
            self.position += 1;
            (record, object.map_err(|trouble| self.error(&record, trouble))?, false)
        } else {
            let (record, object) = self.load_single(ino)?;
            (record, object, true)
        };
        if record.tag.kind() == Kind::Directory {
            self.entries.reset();
        }
        let attributes = object.attributes;
        let kept_at = object.properties.as_ref().map_or(0, |range| range.start);
        self.open = Some(Open { record, object, is_single, kept_index: 0, kept_at });
        Ok(attributes)
    }

    fn parent(&mut self, ino: Ino) -> Result<Ino, VolumeError> {
        let record = self.known(ino)?;
        let index = &self.volume.index;
        let real = (|| {
            let parent = match record.tag.kind() {
                Kind::Directory => index.places.read(record.place)?.parent,
                _ => record.place,
            };
            if parent == Places::ROOT {
                return Ok(Some(Ino::ROOT));
            }
            index.numbers.number(index.places.read(parent)?.real)
        })();
        let ino = real.map_err(|error| self.scratch_error(&error))?;
        ino.ok_or(no_such_object(record.ino))
    }

    fn next_entry(&mut self, name: &mut NameBuf) -> Result<Option<Entry>, VolumeError> {
        let record = self.current_directory()?.record;
        self.need_fd()?;
        let volume = Arc::clone(&self.volume);
        let mut entries = std::mem::take(&mut self.entries);
        let result = match entries.next_entry(&volume, self.fd()?, record.place) {
            Ok(Some((ino, found))) => {
                name[..found.len()].copy_from_slice(found);
                Ok(Some(Entry { ino, name_len: found.len() }))
            }
            // What could not be read in the walk is missing from the dump.
            Ok(None) => match record.walk_errno() {
                Some(errno) => {
                    let errno = Errno::from_raw_os_error(errno);
                    Err(self.system(&record, READ_DIRECTORY, errno))
                }
                None => Ok(None),
            },
            Err(EntryTrouble::System(errno)) => Err(self.system(&record, READ_DIRECTORY, errno)),
            Err(EntryTrouble::Unknown(name)) => {
                let path = self.path_in(record.place, &name);
                Err(VolumeError::own("read", path, ErrorKind::Changed, REPLACED))
            }
        };
        self.entries = entries;
        result
    }

    fn rewind_entries(&mut self) -> Result<(), VolumeError> {
        let record = self.current_directory()?.record;
        self.need_fd()?;
        let mut entries = std::mem::take(&mut self.entries);
        let result = entries.rewind(self.fd()?);
        self.entries = entries;
        result.map_err(|errno| self.system(&record, READ_DIRECTORY, errno))
    }

    fn next_data(&mut self, from: u64) -> Result<Option<(u64, u64)>, VolumeError> {
        let open = self.current()?;
        let size = open.object.attributes.size;
        if from >= size || !open.record.tag.kind().has_data() {
            return Ok(None);
        }
        if let Some(extents) = &open.object.extents {
            let (extents, _) = self.bytes(open, extents).as_chunks::<8>();
            let mut ranges = extents.iter().map(|[a, b, c, d, e, f, g, h]| {
                let data = u64::from(u32::from_le_bytes([*a, *b, *c, *d]));
                (data.max(from), u64::from(u32::from_le_bytes([*e, *f, *g, *h])))
            });
            return Ok(ranges.find(|(_, end)| *end > from));
        }
        if !open.object.is_sparse {
            return Ok(Some((from, size)));
        }
        self.need_fd()?;
        let found = load::next_data(self.fd()?, from, size);
        found.map_err(|errno| match self.current() {
            Ok(open) => self.system(&open.record, "find the data of", errno),
            Err(error) => error,
        })
    }

    fn read(&mut self, offset: u64, buf: &mut [u8]) -> Result<usize, VolumeError> {
        let open = self.current()?;
        if !open.record.tag.kind().has_data() {
            return Err(not_open());
        }
        if let Some(range) = &open.object.data {
            return Ok(copy_from(self.bytes(open, range), offset, buf));
        }
        // The file may have grown meanwhile.
        let rest = open.object.attributes.size.saturating_sub(offset);
        let len = buf.len().min(usize::try_from(rest).unwrap_or(usize::MAX));
        self.need_fd()?;
        let fd = self.fd()?;
        let mut done = 0;
        while done < len {
            match pread(fd, &mut buf[done..len], offset + done as u64) {
                Ok(0) => break,
                Ok(more) => done += more,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(self.system(&self.current()?.record, "read", errno)),
            }
        }
        Ok(done)
    }

    fn property(&mut self, index: u32, name: &mut NameBuf) -> Result<Option<Property>, VolumeError> {
        let open = self.current()?;
        let record = open.record;
        let Some(range) = open.object.properties.clone() else {
            let is_there = self.read_late(index)?;
            let Some(full_name) = names(&self.late.names).nth(index as usize).filter(|_| is_there) else {
                return Ok(None);
            };
            return Ok(Some(describe(full_name.to_bytes(), self.late.value.len(), name)));
        };
        let errno = match self.kept(&range, index)? {
            None => return Ok(None),
            Some(Kept { errno: None, name: full_name, value }) => {
                return Ok(Some(describe(full_name, value.len(), name)));
            }
            Some(Kept { errno: Some(errno), name: b"", .. }) => (LIST, errno),
            Some(Kept { errno: Some(errno), .. }) => (READ_PROPERTY, errno),
        };
        Err(self.system(&record, errno.0, errno.1))
    }

    fn read_property(&mut self, index: u32, offset: u32, buf: &mut [u8]) -> Result<usize, VolumeError> {
        let open = self.current()?;
        let (record, offset) = (open.record, u64::from(offset));
        let Some(range) = open.object.properties.clone() else {
            let is_there = self.read_late(index)?;
            return Ok(if is_there { copy_from(&self.late.value, offset, buf) } else { 0 });
        };
        let errno = match self.kept(&range, index)? {
            None => return Ok(0),
            Some(Kept { errno: None, value, .. }) => return Ok(copy_from(value, offset, buf)),
            Some(Kept { errno: Some(errno), .. }) => errno,
        };
        Err(self.system(&record, READ_PROPERTY, errno))
    }

    fn close(&mut self) -> Result<bool, VolumeError> {
        let Open { record, object, .. } = self.open.take().ok_or_else(not_open)?;
        match &object.fd {
            Some(fd) if !self.volume.options.frozen => {
                let now = stat_fd(fd.as_fd());
                let now = now.map_err(|errno| self.system(&record, load::STAT, errno))?;
                Ok(object.is_unchanged && is_unchanged(&object.attributes, &now))
            }
            _ => Ok(object.is_unchanged),
        }
    }
}

/// Copies what of `data` is at `offset`.
fn copy_from(data: &[u8], offset: u64, buf: &mut [u8]) -> usize {
    let data = usize::try_from(offset).ok().and_then(|offset| data.get(offset..)).unwrap_or_default();
    let len = data.len().min(buf.len());
    buf[..len].copy_from_slice(&data[..len]);
    len
}

/// Puts a property's name in `name` and describes it.
fn describe(full_name: &[u8], value_len: usize, name: &mut NameBuf) -> Property {
    let (kind, short_name) = property_of(full_name);
    name[..short_name.len()].copy_from_slice(short_name);
    Property { kind, name_len: short_name.len(), value_len: value_len as u32 }
}

/// Puts `text` in a field that ends in NUL.
fn fill(field: &mut [u8; 64], text: &[u8]) {
    let len = text.len().min(field.len() - 1);
    field[..len].copy_from_slice(&text[..len]);
}
