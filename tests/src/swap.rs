//! Turns a tape written by a little-endian machine into what a big-endian one would have written, and back.

use crate::tape::{BLOCK, Order, Record, RecordKind, Tape};

/// Volume tables stand in the hole map of these headers, as 32-bit numbers.
const INODE_INFO: u32 = 2;

/// The same tape in the other byte order.
///
/// Swapped are the numbers of the headers and of the directory entries. Hole maps, dump maps and attribute blocks
/// are bytes, or have an order of their own, and stay.
#[must_use]
pub fn swap(tape: &Tape) -> Vec<u8> {
    let (from, to) = match tape.order {
        Order::Big => (Order::Big, Order::Little),
        Order::Little => (Order::Little, Order::Big),
    };
    let mut bytes = tape.bytes.clone();
    for record in &tape.records {
        swap_header(&mut bytes[record.at * BLOCK..(record.at + 1) * BLOCK], record.kind, from, to);
    }
    // What pads the last record behind the first end record are copies of that.
    let end = tape.records.last().expect("a tape has an end").blocks().end;
    for at in end..tape.blocks() {
        let header = &mut bytes[at * BLOCK..(at + 1) * BLOCK];
        if from.u32(header, 24) == 60012 {
            swap_header(header, RecordKind::End, from, to);
        }
    }
    for records in directories(tape) {
        swap_directory(&mut bytes, &records, from, to);
    }
    bytes
}

fn swap_header(header: &mut [u8], kind: RecordKind, from: Order, to: Order) {
    let volume_table =
        matches!(kind, RecordKind::Tape | RecordKind::End) && from.u32(header, 888) & INODE_INFO != 0;
    let words = [0, 4, 8, 12, 16, 20, 24, 48, 52, 56, 60, 64, 68]
        .into_iter()
        .chain((72..160).step_by(4))
        .chain([160])
        .chain((164..676).step_by(4).filter(|_| volume_table))
        .chain([692, 888, 892, 896, 900]);
    for at in words {
        let value = from.u32(header, at);
        to.put_u32(header, at, value);
    }
    for at in [32, 34, 36, 38] {
        let value = from.u16(header, at);
        to.put_u16(header, at, value);
    }
    let size = from.u64(header, 40);
    to.put_u64(header, 40, size);
    to.seal(header);
}

/// The records of each directory.
fn directories(tape: &Tape) -> Vec<Vec<&Record>> {
    let mut directories: Vec<Vec<&Record>> = Vec::new();
    for record in tape.records.iter().filter(|record| record.is_directory()) {
        match directories.last_mut() {
            Some(records) if records[0].number == record.number => records.push(record),
            _ => directories.push(vec![record]),
        }
    }
    directories
}

/// Entries may cross the segments of a directory, so its data is put together, swapped and put back.
fn swap_directory(bytes: &mut [u8], records: &[&Record], from: Order, to: Order) {
    let ranges: Vec<_> =
        records.iter().map(|record| (record.at + 1) * BLOCK..record.blocks().end * BLOCK).collect();
    let mut data: Vec<u8> = ranges.iter().flat_map(|range| bytes[range.clone()].to_vec()).collect();
    let end = data.len().min(records[0].size as usize);
    let mut at = 0;
    while at + 8 <= end {
        let number = from.u32(&data, at);
        let len = from.u16(&data, at + 4);
        to.put_u32(&mut data, at, number);
        to.put_u16(&mut data, at + 4, len);
        if len < 8 {
            break;
        }
        at += usize::from(len);
    }
    let mut rest = data.as_slice();
    for range in ranges {
        let (part, after) = rest.split_at(range.len());
        bytes[range].copy_from_slice(part);
        rest = after;
    }
}
