//! Comparing two memory volumes as trees.

use super::arena::EntryPiece;
use super::{MemVolume, Node, ROOT, data, ino_of};
use crate::device::volume::{Difference, Kind, PropertyKind};
use crate::units::Ino;

/// Where two volumes differ, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Where {
    /// The object in the first volume; `None`: it is not there.
    pub a: Option<Ino>,
    /// The object in the second volume; `None`: it is not there.
    pub b: Option<Ino>,
    /// How they differ.
    pub what: Difference,
}

/// The first difference between two trees: names, attributes, data (a hole is equal to zeros), properties, and
/// which names stand for the same object. Numbers and the order of names and properties do not matter, nor does the time of
/// the last change, which no volume lets anybody set. `None`: they are equal.
#[must_use]
pub fn differs(a: &MemVolume<'_>, b: &MemVolume<'_>) -> Option<Where> {
    let mut pairs = Pairs::new(a, b);
    let mut pair = Some((ROOT, ROOT));
    while let Some((in_a, in_b)) = pair {
        let found = |what| Some(Where { a: Some(ino_of(in_a)), b: Some(ino_of(in_b)), what });
        let (Some(node_a), Some(node_b)) = (a.node(in_a), b.node(in_b)) else {
            return found(Difference::Missing);
        };
        if let Some(what) =
            object_differs(a, node_a, b, node_b).or_else(|| properties_differ(a, in_a, b, in_b))
        {
            return found(what);
        }
        if node_a.is_directory() {
            if let Some(place) = names_differ(a, in_a, b, in_b) {
                return Some(place);
            }
        } else if node_a.attributes.links > 1 && links_differ(a, in_a, b, in_b) {
            return found(Difference::Link);
        }
        pair = pairs.next();
    }
    None
}

/// Walks both trees by the names of the first, from each directory to the ones in it, without a stack: the way
/// back leads over the entry by which a directory was entered.
struct Pairs<'v, 'm> {
    a: &'v MemVolume<'m>,
    b: &'v MemVolume<'m>,
    directory_a: u32,
    directory_b: u32,
    entry: Option<EntryPiece>,
}

impl<'v, 'm> Pairs<'v, 'm> {
    fn new(a: &'v MemVolume<'m>, b: &'v MemVolume<'m>) -> Self {
        let entry = a.entries_of(ROOT).next();
        Self { a, b, directory_a: ROOT, directory_b: ROOT, entry }
    }

    /// The next pair of objects with the same name in a pair of directories. Names that the second tree does not
    /// have are passed over.
    fn next(&mut self) -> Option<(u32, u32)> {
        loop {
            let Some(entry) = self.entry else {
                if self.directory_a == ROOT {
                    return None;
                }
                let done = self.a.node(self.directory_a)?;
                self.entry = self.a.arena.entry(done.own_entry).and_then(|own| self.a.arena.entry(own.next));
                self.directory_a = done.parent;
                self.directory_b = self.b.node(self.directory_b)?.parent;
                continue;
            };
            let in_b = self.b.entry_of(self.directory_b, self.a.arena.entry_name(&entry));
            self.entry = self.a.arena.entry(entry.next);
            let Some(in_b) = in_b else { continue };
            let are_directories = self.a.node(entry.node).is_some_and(Node::is_directory)
                && self.b.node(in_b.node).is_some_and(Node::is_directory);
            if are_directories {
                self.directory_a = entry.node;
                self.directory_b = in_b.node;
                self.entry = self.a.entries_of(entry.node).next();
            }
            return Some((entry.node, in_b.node));
        }
    }
}

/// A name that only one of two directories has.
fn names_differ(a: &MemVolume<'_>, in_a: u32, b: &MemVolume<'_>, in_b: u32) -> Option<Where> {
    let only = |one: &MemVolume<'_>, node, other: &MemVolume<'_>, counterpart| {
        let mut entries = one.entries_of(node);
        let entry = entries.find(|entry| other.entry_of(counterpart, one.arena.entry_name(entry)).is_none());
        entry.map(|entry| ino_of(entry.node))
    };
    if let Some(ino) = only(a, in_a, b, in_b) {
        return Some(Where { a: Some(ino), b: None, what: Difference::Missing });
    }
    let ino = only(b, in_b, a, in_a)?;
    Some(Where { a: None, b: Some(ino), what: Difference::Missing })
}

fn object_differs(a: &MemVolume<'_>, in_a: &Node, b: &MemVolume<'_>, in_b: &Node) -> Option<Difference> {
    let (of_a, of_b) = (&in_a.attributes, &in_b.attributes);
    if of_a.kind != of_b.kind {
        return Some(Difference::Kind);
    }
    if of_a.kind.has_data() {
        if of_a.size != of_b.size {
            return Some(Difference::Size);
        }
        if let Some(offset) = data_differs(a, in_a, b, in_b) {
            return Some(Difference::Data(offset));
        }
    }
    if of_a.permissions != of_b.permissions {
        return Some(Difference::Permissions);
    }
    if (of_a.uid, of_a.gid) != (of_b.uid, of_b.gid) {
        return Some(Difference::Owner);
    }
    if matches!(of_a.kind, Kind::CharDevice | Kind::BlockDevice) && of_a.device != of_b.device {
        return Some(Difference::Device);
    }
    if (of_a.accessed, of_a.modified, of_a.born) != (of_b.accessed, of_b.modified, of_b.born) {
        return Some(Difference::Modified);
    }
    (of_a.links != of_b.links).then_some(Difference::Link)
}

/// The first byte that differs. What is a hole in both is passed over, however long.
fn data_differs(a: &MemVolume<'_>, in_a: &Node, b: &MemVolume<'_>, in_b: &Node) -> Option<u64> {
    const STEP: u64 = 256;
    let next = |from| {
        let ranges = [data::next_range(in_a, &a.arena, from), data::next_range(in_b, &b.arena, from)];
        ranges.into_iter().flatten().min()
    };
    let mut range = next(0);
    while let Some((mut at, end)) = range {
        while at < end {
            let len = (end - at).min(STEP) as usize;
            let (mut of_a, mut of_b) = ([0; STEP as usize], [0; STEP as usize]);
            data::read(in_a, &a.arena, at, of_a.get_mut(..len).unwrap_or_default());
            data::read(in_b, &b.arena, at, of_b.get_mut(..len).unwrap_or_default());
            if let Some(first) = of_a.iter().zip(&of_b).position(|(a, b)| a != b) {
                return Some(at + first as u64);
            }
            at += len as u64;
        }
        range = next(end);
    }
    None
}

/// A property that only one of two objects has, or that differs.
fn properties_differ(a: &MemVolume<'_>, in_a: u32, b: &MemVolume<'_>, in_b: u32) -> Option<Difference> {
    let differ = |one: &MemVolume<'_>, node, other: &MemVolume<'_>, counterpart| -> Option<PropertyKind> {
        let mut properties = one.properties_of(node);
        let found = properties.find(|property| {
            let theirs = other.property_of(counterpart, property.kind, one.arena.property_name(property));
            let value = one.arena.property_value(property);
            theirs.is_none_or(|theirs| other.arena.property_value(&theirs) != value)
        });
        found.map(|property| property.kind)
    };
    differ(a, in_a, b, in_b).or_else(|| differ(b, in_b, a, in_a)).map(Difference::Property)
}

/// Whether another name of the object in the first tree is another object in the second. Both have the same number of
/// names, so that this finds every difference between the groups.
fn links_differ(a: &MemVolume<'_>, in_a: u32, b: &MemVolume<'_>, in_b: u32) -> bool {
    let mut pairs = Pairs::new(a, b);
    core::iter::from_fn(|| pairs.next()).any(|(of_a, of_b)| of_a == in_a && of_b != in_b)
}
