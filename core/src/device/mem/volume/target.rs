//! A memory volume as the target of a restore. It does everything at once, so that no failure comes later.
//!
//! Numbers of the dump lead to nodes through a hash table that is spread over the nodes: node `n` holds the
//! first node of bucket `n`, and each node the next one of its bucket. One number leads to one node.

use super::arena::NONE;
use super::names::check_name;
use super::properties::check_property_name;
use super::{MemVolume, Node, Open, ROOT};
use crate::device::ErrorKind;
use crate::device::volume::{Attributes, Failure, Kind, Made, Place, PropertyKind, Room, TargetVolume};
use crate::units::Ino;

impl MemVolume<'_> {
    /// The object of this volume that was made for the dump's object `ino` last.
    #[must_use]
    pub fn made_for(&self, ino: Ino) -> Option<Ino> {
        self.mapped(ino).map(super::ino_of)
    }

    fn bucket_of(&self, ino: Ino) -> usize {
        ino.0 as usize % self.nodes.len().max(1)
    }

    fn mapped(&self, ino: Ino) -> Option<u32> {
        let mut index = self.nodes.get(self.bucket_of(ino))?.bucket;
        while let Some(node) = self.node(index) {
            if node.dump_ino == ino.0 {
                return Some(index);
            }
            index = node.next_in_bucket;
        }
        None
    }

    pub(super) fn map(&mut self, ino: Ino, index: u32) {
        if let Some(old) = self.mapped(ino) {
            self.unmap(old);
        }
        self.unmap(index);
        let bucket = self.bucket_of(ino);
        let Some(first) = self.nodes.get_mut(bucket).map(|node| core::mem::replace(&mut node.bucket, index))
        else {
            return;
        };
        if let Some(node) = self.node_mut(index) {
            node.dump_ino = ino.0;
            node.next_in_bucket = first;
        }
    }

    pub(super) fn unmap(&mut self, index: u32) {
        let Some(node) = self.node(index).filter(|node| node.dump_ino != 0) else { return };
        let (bucket, next) = (self.bucket_of(Ino(node.dump_ino)), node.next_in_bucket);
        let mut before = self.nodes.get(bucket).map_or(NONE, |node| node.bucket);
        if before == index {
            if let Some(node) = self.nodes.get_mut(bucket) {
                node.bucket = next;
            }
        } else {
            while let Some(node) = self.nodes.get_mut(before as usize) {
                if node.next_in_bucket == index {
                    node.next_in_bucket = next;
                    break;
                }
                before = node.next_in_bucket;
            }
        }
        if let Some(node) = self.node_mut(index) {
            node.dump_ino = 0;
            node.next_in_bucket = NONE;
        }
    }

    fn known_directory(&self, ino: Ino) -> Result<u32, ErrorKind> {
        let index = if ino == Ino::ROOT { Some(ROOT) } else { self.mapped(ino) };
        index.filter(|&index| self.node(index).is_some_and(Node::is_directory)).ok_or(ErrorKind::NotFound)
    }

    /// The node that a place names.
    fn node_at(&self, place: Place<'_>) -> Result<u32, ErrorKind> {
        let directory = self.known_directory(place.parent)?;
        if place.parent == Ino::ROOT && place.name.is_empty() {
            return Ok(directory);
        }
        self.entry_of(directory, place.name).map(|entry| entry.node).ok_or(ErrorKind::NotFound)
    }

    /// Makes the name free, unless a directory has it, and gives the directory it is in.
    fn clear_place(&mut self, place: Place<'_>) -> Result<u32, ErrorKind> {
        check_name(place.name)?;
        let directory = self.known_directory(place.parent)?;
        if let Some(entry) = self.entry_of(directory, place.name) {
            if self.node(entry.node).is_some_and(Node::is_directory) {
                return Err(ErrorKind::Exists);
            }
            self.remove_name(directory, place.name)?;
        }
        Ok(directory)
    }

    fn check_nothing_open(&self) -> Result<(), ErrorKind> {
        if matches!(self.open, Open::Nothing) { Ok(()) } else { Err(ErrorKind::Invalid) }
    }

    /// The open object, when no property is announced.
    fn open_target(&self) -> Result<u32, ErrorKind> {
        match self.open {
            Open::Target { node, property: None, .. } => Ok(node),
            _ => Err(ErrorKind::Invalid),
        }
    }
}

impl TargetVolume for MemVolume<'_> {
    type Error = ErrorKind;

    fn room(&mut self) -> Result<Room, ErrorKind> {
        let inodes = (self.nodes.len() as u64).saturating_sub(self.used.into());
        Ok(Room { bytes: self.arena.free() as u64, inodes })
    }

    fn knows(&mut self, directory: Ino) -> bool {
        self.known_directory(directory).is_ok()
    }

    fn enter(&mut self, place: Place<'_>, directory: Ino) -> Result<(), ErrorKind> {
        let node = self.node_at(place)?;
        if !self.node(node).is_some_and(Node::is_directory) {
            return Err(ErrorKind::Changed);
        }
        self.map(directory, node);
        Ok(())
    }

    fn make_directory(&mut self, place: Place<'_>, directory: Ino) -> Result<Made, ErrorKind> {
        check_name(place.name)?;
        let parent = self.known_directory(place.parent)?;
        let (node, made) = match self.entry_of(parent, place.name) {
            Some(entry) if self.node(entry.node).is_some_and(Node::is_directory) => (entry.node, Made::Kept),
            Some(_) => return Err(ErrorKind::Exists),
            None => {
                let mut attributes = Attributes::new(Kind::Directory);
                attributes.permissions = 0o700;
                (self.make_object(parent, place.name, &attributes)?, Made::New)
            }
        };
        self.map(directory, node);
        Ok(made)
    }

    fn create(&mut self, place: Place<'_>, ino: Ino, attributes: &Attributes) -> Result<(), ErrorKind> {
        self.check_nothing_open()?;
        if attributes.kind == Kind::Directory {
            return Err(ErrorKind::Invalid);
        }
        let directory = self.clear_place(place)?;
        // Until it is finished, an object is nobody's: an abandoned one keeps nothing that was not restored.
        let mut bare = Attributes::new(attributes.kind);
        bare.permissions = 0o600;
        bare.device = attributes.device;
        let node = self.make_object(directory, place.name, &bare)?;
        self.map(ino, node);
        self.open = Open::Target { node, property: None, written: 0 };
        Ok(())
    }

    fn reopen(&mut self, place: Place<'_>, ino: Ino) -> Result<(), ErrorKind> {
        self.check_nothing_open()?;
        let node = self.node_at(place)?;
        if node != ROOT {
            self.map(ino, node);
        }
        self.open = Open::Target { node, property: None, written: 0 };
        Ok(())
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Result<(), ErrorKind> {
        let index = self.open_target()?;
        if !self.node(index).is_some_and(|node| node.attributes.kind.has_data()) {
            return Err(ErrorKind::Invalid);
        }
        self.write_node(index, offset, data)
    }

    fn begin_property(&mut self, kind: PropertyKind, name: &[u8], value_len: u32) -> Result<(), ErrorKind> {
        let node = self.open_target()?;
        check_property_name(kind, name)?;
        let property = self.arena.add_property(kind, name, value_len)?;
        if value_len == 0 {
            self.attach_property(node, &property);
        } else {
            self.open = Open::Target { node, property: Some(property), written: 0 };
        }
        Ok(())
    }

    fn write_property(&mut self, piece: &[u8]) -> Result<(), ErrorKind> {
        let Open::Target { node, property: Some(property), written } = self.open else {
            return if piece.is_empty() { self.open_target().map(|_| ()) } else { Err(ErrorKind::Invalid) };
        };
        let end = u32::try_from(piece.len()).ok().and_then(|len| written.checked_add(len));
        let end = end.filter(|&end| end <= property.value_len).ok_or(ErrorKind::Invalid)?;
        self.arena.put_value(&property, written, piece);
        if end == property.value_len {
            self.attach_property(node, &property);
            self.open = Open::Target { node, property: None, written: 0 };
        } else {
            self.open = Open::Target { node, property: Some(property), written: end };
        }
        Ok(())
    }

    fn abandon_property(&mut self) {
        if let Open::Target { node, .. } = self.open {
            self.open = Open::Target { node, property: None, written: 0 };
        }
    }

    fn finish(&mut self, attributes: &Attributes) -> Result<(), ErrorKind> {
        let Open::Target { node: index, property, .. } = self.open else { return Err(ErrorKind::Invalid) };
        self.open = Open::Nothing;
        let kind = self.node(index).ok_or(ErrorKind::NotFound)?.attributes.kind;
        if kind != attributes.kind {
            return Err(ErrorKind::Changed);
        }
        if kind.has_data() {
            self.set_node_size(index, attributes.size);
        }
        self.set_node_attributes(index, attributes);
        // A value that was announced and did not come is a property that is missing.
        if property.is_some() { Err(ErrorKind::Invalid) } else { Ok(()) }
    }

    fn release(&mut self) {
        if matches!(self.open, Open::Target { .. }) {
            self.open = Open::Nothing;
        }
    }

    fn link(&mut self, existing: Place<'_>, place: Place<'_>, ino: Ino) -> Result<(), ErrorKind> {
        let node = self.node_at(existing)?;
        if self.node(node).is_none_or(Node::is_directory) {
            return Err(ErrorKind::Changed);
        }
        // The name may be there already, from a restore before: then nothing is to be replaced.
        if self.node_at(place) != Ok(node) {
            let directory = self.clear_place(place)?;
            self.add_name(directory, place.name, node)?;
        }
        self.map(ino, node);
        Ok(())
    }

    fn poll_failure(&mut self) -> Option<Failure<ErrorKind>> {
        None
    }

    fn barrier(&mut self) {}

    fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}
