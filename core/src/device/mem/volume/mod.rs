//! A volume in memory: source and target.
//!
//! The caller lends a table of nodes, one for each object, and bytes for names, data and properties. The object
//! in node `n` has the number `n + 2`, so that the root, in the first node, has the root's number.
//! Space in the byte arena is given out once: what a replaced or removed object took is free again only in a new
//! volume; its node is free at once, and the next object in it has the next generation number.
//!
//! The volume has no clock: times are what the builder functions and the target contract are given.

mod arena;
mod compare;
mod data;
mod names;
mod properties;
mod source;
mod target;

pub use compare::{Where, differs};

use self::arena::{Arena, NONE, PropertyPiece};
use self::names::check_name;
use self::properties::check_property_name;
use crate::device::ErrorKind;
use crate::device::volume::{Attributes, Kind, NameBuf, PropertyKind, VolumeNames};
use crate::units::Ino;

/// Space for one object of a [`MemVolume`].
#[derive(Clone, Copy, Debug)]
pub struct Node {
    attributes: Attributes,
    in_use: bool,
    /// How many objects this node held before.
    generation: u32,
    /// Of a directory: its first and last entry. Of anything else: its first and last extent.
    head: u32,
    tail: u32,
    properties: u32,
    /// Of a directory: the directory it is in, and the entry there.
    parent: u32,
    own_entry: u32,
    /// As a target: the object's number in the dump, or 0, and the next node in the same bucket.
    dump_ino: u32,
    next_in_bucket: u32,
    /// Independent of the object: the first node of those whose number in the dump falls on this bucket.
    bucket: u32,
}

impl Node {
    /// A node that holds nothing.
    pub const EMPTY: Self = Self {
        attributes: Attributes::new(Kind::File),
        in_use: false,
        generation: 0,
        head: NONE,
        tail: NONE,
        properties: NONE,
        parent: NONE,
        own_entry: NONE,
        dump_ino: 0,
        next_in_bucket: NONE,
        bucket: NONE,
    };
}

/// A volume over lent memory.
pub struct MemVolume<'a> {
    nodes: &'a mut [Node],
    arena: Arena<'a>,
    names: VolumeNames,
    open: Open,
    /// Nodes in use.
    used: u32,
    /// No node below this one is free.
    first_free: u32,
    /// No node from this one on is in use.
    limit: u32,
}

/// Which object is open, and for what.
#[derive(Clone, Copy)]
enum Open {
    Nothing,
    /// For reading; of a directory, `entry` is the next name.
    Source {
        node: u32,
        entry: u32,
    },
    /// For writing; `property` is announced, and `written` bytes of its value are there.
    Target {
        node: u32,
        property: Option<PropertyPiece>,
        written: u32,
    },
}

/// The root's node.
const ROOT: u32 = 0;

impl<'a> MemVolume<'a> {
    /// An empty volume: a root directory with permissions 0755. What was in the memory is gone.
    ///
    /// # Errors
    /// [`ErrorKind::Full`]: not even the root has a node.
    pub fn new(nodes: &'a mut [Node], arena: &'a mut [u8]) -> Result<Self, ErrorKind> {
        let len = nodes.len().min((Ino::LAST.0 - Ino::ROOT.0) as usize);
        let nodes = nodes.get_mut(..len).unwrap_or_default();
        nodes.fill(Node::EMPTY);
        let names = VolumeNames::default();
        let arena = Arena::new(arena);
        let mut volume = Self { nodes, arena, names, open: Open::Nothing, used: 0, first_free: 0, limit: 0 };
        let mut attributes = Attributes::new(Kind::Directory);
        attributes.permissions = 0o755;
        let root = volume.take_node(&attributes)?;
        volume.map(Ino::ROOT, root);
        if let Some(node) = volume.node_mut(root) {
            // The root is where `..` of the root leads: it counts for itself what a parent counts for others.
            node.parent = root;
            node.attributes.links = 2;
        }
        Ok(volume)
    }

    /// Sets the names that a dump writes in its headers.
    pub fn set_names(&mut self, names: VolumeNames) {
        self.names = names;
    }

    /// Makes an empty directory.
    ///
    /// # Errors
    /// [`ErrorKind::Full`], [`ErrorKind::Exists`], [`ErrorKind::NotFound`] (the parent), or
    /// [`ErrorKind::Invalid`]: a name, or attributes of another kind.
    pub fn add_directory(
        &mut self,
        parent: Ino,
        name: &[u8],
        attributes: &Attributes,
    ) -> Result<Ino, ErrorKind> {
        if attributes.kind != Kind::Directory {
            return Err(ErrorKind::Invalid);
        }
        self.add_object(parent, name, attributes)
    }

    /// Makes a regular file with `data` from its beginning. A larger size in `attributes` adds a hole behind.
    ///
    /// # Errors
    /// As [`add_directory`](Self::add_directory).
    pub fn add_file(
        &mut self,
        parent: Ino,
        name: &[u8],
        attributes: &Attributes,
        data: &[u8],
    ) -> Result<Ino, ErrorKind> {
        if attributes.kind != Kind::File {
            return Err(ErrorKind::Invalid);
        }
        let ino = self.add_object(parent, name, attributes)?;
        self.write_data(ino, 0, data)?;
        self.set_size(ino, attributes.size.max(data.len() as u64))?;
        Ok(ino)
    }

    /// Makes a symbolic link to `target`; the size in `attributes` is not used.
    ///
    /// # Errors
    /// As [`add_directory`](Self::add_directory).
    pub fn add_symlink(
        &mut self,
        parent: Ino,
        name: &[u8],
        attributes: &Attributes,
        target: &[u8],
    ) -> Result<Ino, ErrorKind> {
        if attributes.kind != Kind::Symlink {
            return Err(ErrorKind::Invalid);
        }
        let ino = self.add_object(parent, name, attributes)?;
        self.write_data(ino, 0, target)?;
        Ok(ino)
    }

    /// Makes a named pipe, a socket or a device node.
    ///
    /// # Errors
    /// As [`add_directory`](Self::add_directory).
    pub fn add_node(&mut self, parent: Ino, name: &[u8], attributes: &Attributes) -> Result<Ino, ErrorKind> {
        if attributes.kind == Kind::Directory || attributes.kind.has_data() {
            return Err(ErrorKind::Invalid);
        }
        self.add_object(parent, name, attributes)
    }

    /// Gives an object that is not a directory a further name.
    ///
    /// # Errors
    /// As [`add_directory`](Self::add_directory).
    pub fn add_link(&mut self, object: Ino, parent: Ino, name: &[u8]) -> Result<(), ErrorKind> {
        let node = self.find(object)?;
        if self.node(node).is_none_or(Node::is_directory) {
            return Err(ErrorKind::Invalid);
        }
        let directory = self.find_new_place(parent, name)?;
        self.add_name(directory, name, node)
    }

    /// Takes a name away, and its object when it was the last. A directory must be empty.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], or [`ErrorKind::Exists`]: the directory holds something.
    pub fn remove(&mut self, parent: Ino, name: &[u8]) -> Result<(), ErrorKind> {
        let directory = self.find_directory(parent)?;
        self.remove_name(directory, name)
    }

    /// Gives an object another name, here or in another directory.
    ///
    /// # Errors
    /// As [`add_directory`](Self::add_directory); [`ErrorKind::Invalid`] also for a directory into itself.
    pub fn rename(&mut self, from: Ino, name: &[u8], to: Ino, new_name: &[u8]) -> Result<(), ErrorKind> {
        let old = self.find_directory(from)?;
        let node = self.entry_of(old, name).ok_or(ErrorKind::NotFound)?.node;
        let new = self.find_new_place(to, new_name)?;
        let mut above = new;
        while above != ROOT {
            if above == node {
                return Err(ErrorKind::Invalid);
            }
            above = self.node(above).map_or(ROOT, |node| node.parent);
        }
        // The new name first: should there be no space for it, the old one is still there.
        self.add_name(new, new_name, node)?;
        self.detach_name(old, name)
    }

    /// Writes data of a file or link at `offset`; what is never written within the size is a hole.
    ///
    /// # Errors
    /// [`ErrorKind::Full`], [`ErrorKind::NotFound`], or [`ErrorKind::Invalid`]: it has no data.
    pub fn write_data(&mut self, object: Ino, offset: u64, data: &[u8]) -> Result<(), ErrorKind> {
        let node = self.find_with_data(object)?;
        self.write_node(node, offset, data)
    }

    /// Gives a file the length `size`: cuts its data, or adds a hole.
    ///
    /// # Errors
    /// As [`write_data`](Self::write_data).
    pub fn set_size(&mut self, object: Ino, size: u64) -> Result<(), ErrorKind> {
        let node = self.find_with_data(object)?;
        self.set_node_size(node, size);
        Ok(())
    }

    /// Reads data of a file or link from `offset` and gives the length; holes read as zeros.
    ///
    /// # Errors
    /// As [`write_data`](Self::write_data).
    pub fn read_data(&self, object: Ino, offset: u64, buf: &mut [u8]) -> Result<usize, ErrorKind> {
        let node = self.find_with_data(object)?;
        Ok(self.node(node).map_or(0, |node| data::read(node, &self.arena, offset, buf)))
    }

    /// Sets a property, or replaces it.
    ///
    /// # Errors
    /// [`ErrorKind::Full`], [`ErrorKind::NotFound`], or [`ErrorKind::Invalid`]: the name does not fit the kind.
    pub fn set_property(
        &mut self,
        object: Ino,
        kind: PropertyKind,
        name: &[u8],
        value: &[u8],
    ) -> Result<(), ErrorKind> {
        let node = self.find(object)?;
        check_property_name(kind, name)?;
        let len = u32::try_from(value.len()).map_err(|_| ErrorKind::Full)?;
        let property = self.arena.add_property(kind, name, len)?;
        self.arena.put_value(&property, 0, value);
        self.attach_property(node, &property);
        Ok(())
    }

    /// Takes a property away.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`]: the object or the property.
    pub fn remove_property(&mut self, object: Ino, kind: PropertyKind, name: &[u8]) -> Result<(), ErrorKind> {
        let node = self.find(object)?;
        if self.detach_property(node, kind, name) { Ok(()) } else { Err(ErrorKind::NotFound) }
    }

    /// The value of a property.
    #[must_use]
    pub fn property_value(&self, object: Ino, kind: PropertyKind, name: &[u8]) -> Option<&[u8]> {
        let node = self.find(object).ok()?;
        self.property_of(node, kind, name).map(|property| self.arena.property_value(&property))
    }

    /// Sets owner, permissions, times and, of a device node, the device number. Kind, links and size stay.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`].
    pub fn set_attributes(&mut self, object: Ino, attributes: &Attributes) -> Result<(), ErrorKind> {
        let node = self.find(object)?;
        self.set_node_attributes(node, attributes);
        Ok(())
    }

    /// The attributes of an object.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`].
    pub fn attributes(&self, object: Ino) -> Result<Attributes, ErrorKind> {
        let index = self.find(object)?;
        let node = self.node(index).ok_or(ErrorKind::NotFound)?;
        let mut attributes = node.attributes;
        attributes.real_ino = object.0.into();
        attributes.generation = node.generation;
        Ok(attributes)
    }

    /// The object that has the name `name` in `parent`.
    #[must_use]
    pub fn look_up(&self, parent: Ino, name: &[u8]) -> Option<Ino> {
        let directory = self.find_directory(parent).ok()?;
        self.entry_of(directory, name).map(|entry| ino_of(entry.node))
    }

    /// A name of an object: puts it in `name`, and gives the directory and the length. The root has none.
    pub fn name_of(&self, object: Ino, name: &mut NameBuf) -> Option<(Ino, usize)> {
        let node = self.find(object).ok()?;
        for directory in 0..self.limit {
            let Some(entry) = self.entries_of(directory).find(|entry| entry.node == node) else { continue };
            let found = self.arena.entry_name(&entry);
            name.get_mut(..found.len())?.copy_from_slice(found);
            return Some((ino_of(directory), found.len()));
        }
        None
    }

    fn add_object(&mut self, parent: Ino, name: &[u8], attributes: &Attributes) -> Result<Ino, ErrorKind> {
        let directory = self.find_new_place(parent, name)?;
        self.make_object(directory, name, attributes).map(ino_of)
    }

    /// Makes an object without data under a name that is free and valid.
    fn make_object(
        &mut self,
        directory: u32,
        name: &[u8],
        attributes: &Attributes,
    ) -> Result<u32, ErrorKind> {
        let node = self.take_node(attributes)?;
        match self.add_name(directory, name, node) {
            Ok(()) => Ok(node),
            Err(error) => {
                self.free_node(node);
                Err(error)
            }
        }
    }

    fn take_node(&mut self, attributes: &Attributes) -> Result<u32, ErrorKind> {
        let free = self.nodes.iter().skip(self.first_free as usize).position(|node| !node.in_use);
        let index = self.first_free.saturating_add(free.ok_or(ErrorKind::Full)? as u32);
        let node = self.node_mut(index).ok_or(ErrorKind::Full)?;
        node.forget_content();
        node.in_use = true;
        node.attributes = Attributes { size: 0, ..*attributes };
        // A directory counts its own `.`, and one more for each name leading to it.
        node.attributes.links = if node.is_directory() { 2 } else { 0 };
        self.used += 1;
        self.first_free = index + 1;
        self.limit = self.limit.max(index + 1);
        Ok(index)
    }

    fn free_node(&mut self, index: u32) {
        self.unmap(index);
        if let Some(node) = self.node_mut(index) {
            node.in_use = false;
            node.generation = node.generation.wrapping_add(1);
            node.forget_content();
            self.used = self.used.saturating_sub(1);
            self.first_free = self.first_free.min(index);
        }
    }

    fn write_node(&mut self, index: u32, offset: u64, bytes: &[u8]) -> Result<(), ErrorKind> {
        let node = self.nodes.get_mut(index as usize).ok_or(ErrorKind::NotFound)?;
        data::write(node, &mut self.arena, offset, bytes)
    }

    fn set_node_size(&mut self, index: u32, size: u64) {
        if let Some(node) = self.nodes.get_mut(index as usize) {
            data::set_size(node, &mut self.arena, size);
        }
    }

    fn set_node_attributes(&mut self, index: u32, attributes: &Attributes) {
        if let Some(node) = self.node_mut(index) {
            let Attributes { kind, links, size, .. } = node.attributes;
            node.attributes = Attributes { kind, links, size, ..*attributes };
        }
    }

    fn node(&self, index: u32) -> Option<&Node> {
        self.nodes.get(index as usize).filter(|node| node.in_use)
    }

    fn node_mut(&mut self, index: u32) -> Option<&mut Node> {
        self.nodes.get_mut(index as usize)
    }

    fn find(&self, object: Ino) -> Result<u32, ErrorKind> {
        let index = object.0.checked_sub(Ino::ROOT.0).ok_or(ErrorKind::NotFound)?;
        self.node(index).map(|_| index).ok_or(ErrorKind::NotFound)
    }

    fn find_directory(&self, object: Ino) -> Result<u32, ErrorKind> {
        let index = self.find(object)?;
        self.node(index).filter(|node| node.is_directory()).map(|_| index).ok_or(ErrorKind::NotFound)
    }

    fn find_with_data(&self, object: Ino) -> Result<u32, ErrorKind> {
        let index = self.find(object)?;
        let has_data = self.node(index).is_some_and(|node| node.attributes.kind.has_data());
        if has_data { Ok(index) } else { Err(ErrorKind::Invalid) }
    }

    fn find_new_place(&self, parent: Ino, name: &[u8]) -> Result<u32, ErrorKind> {
        check_name(name)?;
        let directory = self.find_directory(parent)?;
        if self.entry_of(directory, name).is_some() { Err(ErrorKind::Exists) } else { Ok(directory) }
    }
}

fn ino_of(index: u32) -> Ino {
    Ino(index.saturating_add(Ino::ROOT.0))
}

#[cfg(test)]
mod tests;
