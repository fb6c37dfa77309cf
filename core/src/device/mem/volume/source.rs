//! A memory volume as the source of a dump.

use super::{MemVolume, Node, Open, ROOT, data, ino_of};
use crate::device::ErrorKind;
use crate::device::volume::{
    Attributes, Class, Entry, NameBuf, Property, SourceVolume, Stretch, VolumeNames,
};
use crate::limits::NAME_LEN_MAX;
use crate::units::Ino;

impl MemVolume<'_> {
    fn open_source(&self) -> Result<(u32, &Node), ErrorKind> {
        let Open::Source { node: index, .. } = self.open else { return Err(ErrorKind::Invalid) };
        Ok((index, self.node(index).ok_or(ErrorKind::NotFound)?))
    }

    fn open_directory(&self) -> Result<(u32, &Node), ErrorKind> {
        self.open_source().and_then(|(index, node)| {
            if node.is_directory() { Ok((index, node)) } else { Err(ErrorKind::Invalid) }
        })
    }

    fn open_data(&self) -> Result<&Node, ErrorKind> {
        let (_, node) = self.open_source()?;
        if node.attributes.kind.has_data() { Ok(node) } else { Err(ErrorKind::Invalid) }
    }
}

impl SourceVolume for MemVolume<'_> {
    type Error = ErrorKind;

    fn names(&mut self) -> Result<VolumeNames, ErrorKind> {
        Ok(self.names)
    }

    fn ino_limit(&mut self) -> Result<Ino, ErrorKind> {
        Ok(ino_of(self.limit))
    }

    fn map(&mut self, stretch: &mut Stretch<'_>) -> Result<(), ErrorKind> {
        let first = stretch.from.0.saturating_sub(Ino::ROOT.0);
        let end = stretch.end().0.saturating_sub(Ino::ROOT.0).min(self.limit);
        for index in first..end {
            let Some(node) = self.node(index) else { continue };
            let class = if node.is_directory() { Class::Directories } else { Class::Others };
            let Attributes { changed, modified, .. } = self.attributes(ino_of(index))?;
            let is_changed =
                stretch.since.is_none_or(|since| changed.secs >= since || modified.secs >= since);
            stretch.note(ino_of(index), class, is_changed);
        }
        Ok(())
    }

    fn next_inode(&mut self, from: Ino, class: Class) -> Result<Option<Ino>, ErrorKind> {
        for index in from.0.saturating_sub(Ino::ROOT.0)..self.limit {
            let directories = class == Class::Directories;
            if self.node(index).is_some_and(|node| node.is_directory() == directories) {
                return Ok(Some(ino_of(index)));
            }
        }
        Ok(None)
    }

    fn open(&mut self, ino: Ino) -> Result<Attributes, ErrorKind> {
        if !matches!(self.open, Open::Nothing) {
            return Err(ErrorKind::Invalid);
        }
        let attributes = self.attributes(ino)?;
        let node = self.find(ino)?;
        let entry = self.node(node).map_or(super::NONE, |node| node.head);
        self.open = Open::Source { node, entry };
        Ok(attributes)
    }

    fn parent(&mut self, ino: Ino) -> Result<Ino, ErrorKind> {
        let index = self.find(ino)?;
        let node = self.node(index).ok_or(ErrorKind::NotFound)?;
        if index == ROOT {
            return Ok(Ino::ROOT);
        }
        if node.is_directory() {
            return Ok(ino_of(node.parent));
        }
        let mut name = [0; NAME_LEN_MAX];
        self.name_of(ino, &mut name).map(|(parent, _)| parent).ok_or(ErrorKind::NotFound)
    }

    fn next_entry(&mut self, name: &mut NameBuf) -> Result<Option<Entry>, ErrorKind> {
        self.open_directory()?;
        let Open::Source { entry, .. } = &mut self.open else { return Err(ErrorKind::Invalid) };
        let Some(piece) = self.arena.entry(*entry) else { return Ok(None) };
        *entry = piece.next;
        let found = self.arena.entry_name(&piece);
        let name_len = found.len();
        name.get_mut(..name_len).ok_or(ErrorKind::Invalid)?.copy_from_slice(found);
        Ok(Some(Entry { ino: ino_of(piece.node), name_len }))
    }

    fn rewind_entries(&mut self) -> Result<(), ErrorKind> {
        let (node, found) = self.open_directory()?;
        self.open = Open::Source { node, entry: found.head };
        Ok(())
    }

    fn next_data(&mut self, from: u64) -> Result<Option<(u64, u64)>, ErrorKind> {
        Ok(data::next_range(self.open_data()?, &self.arena, from))
    }

    fn read(&mut self, offset: u64, buf: &mut [u8]) -> Result<usize, ErrorKind> {
        Ok(data::read(self.open_data()?, &self.arena, offset, buf))
    }

    fn property(&mut self, index: u32, name: &mut NameBuf) -> Result<Option<Property>, ErrorKind> {
        let (node, _) = self.open_source()?;
        let Some(property) = self.properties_of(node).nth(index as usize) else { return Ok(None) };
        let found = self.arena.property_name(&property);
        name.get_mut(..found.len()).ok_or(ErrorKind::Invalid)?.copy_from_slice(found);
        Ok(Some(Property { kind: property.kind, name_len: found.len(), value_len: property.value_len }))
    }

    fn read_property(&mut self, index: u32, offset: u32, buf: &mut [u8]) -> Result<usize, ErrorKind> {
        let (node, _) = self.open_source()?;
        let property = self.properties_of(node).nth(index as usize).ok_or(ErrorKind::NotFound)?;
        let value = self.arena.property_value(&property);
        let rest = value.get(offset as usize..).unwrap_or_default();
        let len = rest.len().min(buf.len());
        for (place, &byte) in buf.iter_mut().zip(rest) {
            *place = byte;
        }
        Ok(len)
    }

    fn close(&mut self) -> Result<bool, ErrorKind> {
        self.open_source()?;
        self.open = Open::Nothing;
        // Whoever could change the volume needs it mutably, and the one who opened the object has it.
        Ok(true)
    }
}
