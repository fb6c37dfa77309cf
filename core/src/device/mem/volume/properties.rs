//! The properties of the objects of a memory volume: lists in the order in which they were set.

use super::arena::{NONE, PropertyPiece};
use super::{MemVolume, Node};
use crate::device::ErrorKind;
use crate::device::volume::PropertyKind;
use crate::limits::NAME_LEN_MAX;

impl MemVolume<'_> {
    pub(super) fn properties_of(&self, node: u32) -> impl Iterator<Item = PropertyPiece> {
        let mut at = self.node(node).map_or(NONE, |node| node.properties);
        core::iter::from_fn(move || {
            let property = self.arena.property(at)?;
            at = property.next;
            Some(property)
        })
    }

    pub(super) fn property_of(&self, node: u32, kind: PropertyKind, name: &[u8]) -> Option<PropertyPiece> {
        self.properties_of(node)
            .find(|property| property.kind == kind && self.arena.property_name(property) == name)
    }

    /// Makes `property`, which is in no list, the one of its kind and name.
    pub(super) fn attach_property(&mut self, node: u32, property: &PropertyPiece) {
        let (mut last, mut before_replaced, mut replaced) = (NONE, NONE, None);
        for found in self.properties_of(node) {
            if found.kind == property.kind
                && self.arena.property_name(&found) == self.arena.property_name(property)
            {
                (before_replaced, replaced) = (last, Some(found));
            }
            last = found.at;
        }
        // The new one takes the old one's place in the list, or goes to its end.
        let before = match replaced {
            Some(old) => {
                self.arena.set_next(property.at, old.next);
                before_replaced
            }
            None => last,
        };
        if before != NONE {
            self.arena.set_next(before, property.at);
        } else if let Some(node) = self.node_mut(node) {
            node.properties = property.at;
        }
    }

    /// Takes the property `kind`, `name` away; says whether it was there.
    pub(super) fn detach_property(&mut self, node: u32, kind: PropertyKind, name: &[u8]) -> bool {
        let Some(property) = self.property_of(node, kind, name) else { return false };
        let before = self.properties_of(node).find(|before| before.next == property.at);
        if let Some(before) = before {
            self.arena.set_next(before.at, property.next);
        } else if let Some(node) = self.node_mut(node) {
            node.properties = property.next;
        }
        true
    }
}

/// An extended attribute or a stream has a name, other properties have none.
pub(super) fn check_property_name(kind: PropertyKind, name: &[u8]) -> Result<(), ErrorKind> {
    let fits = match kind.is_named() {
        false => name.is_empty(),
        true => (1..=NAME_LEN_MAX).contains(&name.len()) && !name.contains(&0),
    };
    if fits { Ok(()) } else { Err(ErrorKind::Invalid) }
}

impl Node {
    pub(super) fn forget_content(&mut self) {
        self.head = NONE;
        self.tail = NONE;
        self.properties = NONE;
        self.own_entry = NONE;
    }
}
