//! The data of a file or link: extents in ascending order that do not overlap. What lies between is a hole.

use super::Node;
use super::arena::{Arena, ExtentPiece, NONE};
use crate::device::ErrorKind;

/// Writes `data` at `offset`. On [`ErrorKind::Full`] the front of it is written.
pub(super) fn write(
    node: &mut Node,
    arena: &mut Arena<'_>,
    offset: u64,
    data: &[u8],
) -> Result<(), ErrorKind> {
    let end = offset.checked_add(data.len() as u64).ok_or(ErrorKind::Invalid)?;
    let mut at = offset;
    let mut data = data;
    while !data.is_empty() {
        let (before, after) = neighbors(node, arena, at);
        let taken = match before {
            Some(extent) if extent.end() > at => overwrite(arena, &extent, at, data),
            _ => {
                let gap = after.map_or(u64::MAX, |extent| extent.start - at);
                let piece = data.get(..gap.min(data.len() as u64) as usize).unwrap_or(data);
                insert(node, arena, before, at, piece)?
            }
        };
        at += taken as u64;
        data = data.get(taken..).unwrap_or_default();
        node.attributes.size = node.attributes.size.max(at);
    }
    debug_assert_eq!(at, end);
    Ok(())
}

/// Reads at `offset`, holes as zeros, up to the size.
pub(super) fn read(node: &Node, arena: &Arena<'_>, offset: u64, buf: &mut [u8]) -> usize {
    let len = node.attributes.size.saturating_sub(offset).min(buf.len() as u64);
    let Some(buf) = buf.get_mut(..len as usize) else { return 0 };
    buf.fill(0);
    let end = offset + len;
    for extent in extents(node, arena) {
        let (from, to) = (extent.start.max(offset), extent.end().min(end));
        if extent.start >= end {
            break;
        }
        if from < to {
            let source = arena.slice(extent.data_at((from - extent.start) as u32), (to - from) as usize);
            let place = buf.get_mut((from - offset) as usize..).and_then(|rest| rest.get_mut(..source.len()));
            if let Some(place) = place {
                place.copy_from_slice(source);
            }
        }
    }
    buf.len()
}

/// The first range at or after `from` that is not a hole.
pub(super) fn next_range(node: &Node, arena: &Arena<'_>, from: u64) -> Option<(u64, u64)> {
    let mut found: Option<(u64, u64)> = None;
    for extent in extents(node, arena) {
        match &mut found {
            None if extent.end() > from => found = Some((extent.start.max(from), extent.end())),
            Some((_, end)) if *end == extent.start => *end = extent.end(),
            Some(_) => break,
            None => {}
        }
    }
    found
}

/// Gives the data the length `size`: cuts what is behind, or adds a hole.
pub(super) fn set_size(node: &mut Node, arena: &mut Arena<'_>, size: u64) {
    if size < node.attributes.size {
        let (mut at, mut last) = (node.head, NONE);
        while let Some(extent) = arena.extent(at).filter(|extent| extent.start < size) {
            let kept = (size - extent.start).min(extent.len.into());
            arena.set_extent_len(&extent, kept as u32);
            last = at;
            at = extent.next;
        }
        if last == NONE {
            node.head = NONE;
        } else {
            arena.set_next(last, NONE);
        }
        node.tail = last;
    }
    node.attributes.size = size;
}

fn extents<'t>(node: &Node, arena: &'t Arena<'_>) -> impl Iterator<Item = ExtentPiece> + 't {
    let mut at = node.head;
    core::iter::from_fn(move || {
        let extent = arena.extent(at)?;
        at = extent.next;
        Some(extent)
    })
}

/// The last extent that begins at or before `at`, and the one after it.
fn neighbors(node: &Node, arena: &Arena<'_>, at: u64) -> (Option<ExtentPiece>, Option<ExtentPiece>) {
    // Data comes in ascending order nearly always: then the last extent is the neighbor.
    if let Some(last) = arena.extent(node.tail).filter(|last| last.start <= at) {
        return (Some(last), None);
    }
    let mut before = None;
    for extent in extents(node, arena) {
        if extent.start > at {
            return (before, Some(extent));
        }
        before = Some(extent);
    }
    (before, None)
}

fn overwrite(arena: &mut Arena<'_>, extent: &ExtentPiece, at: u64, data: &[u8]) -> usize {
    let taken = (extent.end() - at).min(data.len() as u64) as usize;
    arena.put_extent(extent, (at - extent.start) as u32, data.get(..taken).unwrap_or_default());
    taken
}

/// Puts the front of `data` into the hole after `before`, of which the rest is as long as `data`.
fn insert(
    node: &mut Node,
    arena: &mut Arena<'_>,
    before: Option<ExtentPiece>,
    at: u64,
    data: &[u8],
) -> Result<usize, ErrorKind> {
    if let Some(extent) = before.filter(|extent| extent.end() == at) {
        let taken = arena.grow_extent(&extent, data);
        if taken > 0 {
            return Ok(taken);
        }
    }
    let next = before.map_or(node.head, |extent| extent.next);
    let (made, taken) = arena.add_extent(at, data, next)?;
    match before {
        Some(extent) => arena.set_next(extent.at, made),
        None => node.head = made,
    }
    if next == NONE {
        node.tail = made;
    }
    Ok(taken)
}
