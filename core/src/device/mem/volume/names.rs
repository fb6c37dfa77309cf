//! Names in the directories of a memory volume: lists of entries in the order in which they were made.

use super::arena::{EntryPiece, NONE};
use super::{MemVolume, Node};
use crate::device::ErrorKind;
use crate::device::volume::Kind;
use crate::limits::NAME_LEN_MAX;

impl MemVolume<'_> {
    /// The entry `name` of the directory `node`.
    pub(super) fn entry_of(&self, node: u32, name: &[u8]) -> Option<EntryPiece> {
        self.entries_of(node).find(|entry| self.arena.entry_name(entry) == name)
    }

    pub(super) fn entries_of(&self, node: u32) -> impl Iterator<Item = EntryPiece> {
        let mut at = self.node(node).filter(|node| node.is_directory()).map_or(NONE, |node| node.head);
        core::iter::from_fn(move || {
            let entry = self.arena.entry(at)?;
            at = entry.next;
            Some(entry)
        })
    }

    /// Adds `name` for the object `node`. A directory has one name, so that this is also where it is.
    pub(super) fn add_name(&mut self, directory: u32, name: &[u8], node: u32) -> Result<(), ErrorKind> {
        let entry = self.arena.add_entry(node, name)?;
        let tail = match self.node_mut(directory) {
            Some(found) => core::mem::replace(&mut found.tail, entry),
            None => return Err(ErrorKind::NotFound),
        };
        if tail == NONE {
            if let Some(found) = self.node_mut(directory) {
                found.head = entry;
            }
        } else {
            self.arena.set_next(tail, entry);
        }
        let Some(named) = self.node_mut(node) else { return Err(ErrorKind::NotFound) };
        if named.is_directory() {
            named.parent = directory;
            named.own_entry = entry;
            if let Some(parent) = self.node_mut(directory) {
                parent.attributes.links = parent.attributes.links.saturating_add(1);
            }
        } else {
            named.attributes.links = named.attributes.links.saturating_add(1);
        }
        Ok(())
    }

    /// Takes a name away, and the object with its last one. A directory must be empty.
    pub(super) fn remove_name(&mut self, directory: u32, name: &[u8]) -> Result<(), ErrorKind> {
        let entry = self.entry_of(directory, name).ok_or(ErrorKind::NotFound)?;
        let is_directory = self.node(entry.node).is_some_and(Node::is_directory);
        if is_directory && self.entries_of(entry.node).next().is_some() {
            return Err(ErrorKind::Exists);
        }
        self.detach_name(directory, name)?;
        let gone = is_directory || self.node(entry.node).is_some_and(|node| node.attributes.links == 0);
        if gone {
            self.free_node(entry.node);
        }
        Ok(())
    }

    /// Takes a name away; the object stays.
    pub(super) fn detach_name(&mut self, directory: u32, name: &[u8]) -> Result<(), ErrorKind> {
        let mut before = NONE;
        let mut found = None;
        for entry in self.entries_of(directory) {
            if self.arena.entry_name(&entry) == name {
                found = Some(entry);
                break;
            }
            before = entry.at;
        }
        let entry = found.ok_or(ErrorKind::NotFound)?;
        let is_directory = self.node(entry.node).is_some_and(Node::is_directory);
        if before != NONE {
            self.arena.set_next(before, entry.next);
        }
        if let Some(parent) = self.node_mut(directory) {
            if before == NONE {
                parent.head = entry.next;
            }
            if entry.next == NONE {
                parent.tail = before;
            }
            if is_directory {
                parent.attributes.links = parent.attributes.links.saturating_sub(1);
            }
        }
        if let Some(node) = self.node_mut(entry.node)
            && !is_directory
        {
            node.attributes.links = node.attributes.links.saturating_sub(1);
        }
        Ok(())
    }
}

/// What the contracts allow as a name.
pub(super) fn check_name(name: &[u8]) -> Result<(), ErrorKind> {
    let fits = (1..=NAME_LEN_MAX).contains(&name.len());
    if !fits || name == b"." || name == b".." || name.iter().any(|&byte| byte == b'/' || byte == 0) {
        return Err(ErrorKind::Invalid);
    }
    Ok(())
}

impl Node {
    pub(super) fn is_directory(&self) -> bool {
        self.in_use && self.attributes.kind == Kind::Directory
    }
}
