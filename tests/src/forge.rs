//! Writes tapes with arbitrary content: whatever a header or a directory can be made to say.
//!
//! Every header gets a valid checksum, and a valid extension where the tape has extensions, so that what is wrong
//! with a forged tape is only what the test put there.

use crate::digest::{Crc32c, crc32c};
use crate::tape::{BLOCK, Order};

/// Mode bits of a directory.
pub const DIRECTORY: u16 = 0o040_755;
/// Mode bits of a regular file.
pub const REGULAR: u16 = 0o100_644;
/// Mode bits of a symbolic link.
pub const SYMLINK: u16 = 0o120_777;

/// The date in every forged header.
pub const DATE: u32 = 1_700_000_000;

const NEW_HEADER: u32 = 1;
const NEW_INODE_FORMAT: u32 = 2;
const DUMP_ID: [u8; 16] = *b"forged-dump-id-0";

/// One header, with every field a test may want to lie about.
#[derive(Clone, Debug)]
pub struct Header {
    /// Record kind.
    pub kind: u32,
    /// Object number.
    pub number: u32,
    /// Mode, kind included.
    pub mode: u16,
    /// Owner and group.
    pub ids: (u32, u32),
    /// Size of the object.
    pub size: u64,
    /// Time of modification.
    pub modified: u32,
    /// Entries in use, or blocks of a map.
    pub count: u32,
    /// The hole map's entries.
    pub map: Vec<u8>,
    /// Device number.
    pub device: u32,
    /// Flags.
    pub flags: u32,
    /// Number of the tape in the dump.
    pub volume: u32,
    /// Offset in the file of the first entry, for the extension.
    pub offset: u64,
    /// Segment number, for the extension.
    pub segment: u32,
    /// Kind in the extension; non-zero in stage V.
    pub stage_five: u8,
    /// Trailing extension blocks and the bytes in them.
    pub trailing: (u16, u32),
    /// Whose payload it is in stage V, for the extension.
    pub owner: Option<u32>,
    /// What other programs have in place of an object: 3 are the extended attributes of Linux.
    pub linux: u32,
}

impl Header {
    /// A header of an object's first segment.
    #[must_use]
    pub fn inode(number: u32, mode: u16, size: u64) -> Self {
        Self {
            kind: 2,
            number,
            mode,
            ids: (0, 0),
            size,
            modified: DATE,
            count: 0,
            map: Vec::new(),
            device: 0,
            flags: 0,
            volume: 1,
            offset: 0,
            segment: 0,
            stage_five: 0,
            trailing: (0, 0),
            owner: None,
            linux: 0,
        }
    }

    /// A header that is not an object's.
    #[must_use]
    pub fn of_kind(kind: u32) -> Self {
        Self { kind, ..Self::inode(0, 0, 0) }
    }

    /// The same with `blocks` present data blocks.
    #[must_use]
    pub fn with_blocks(mut self, blocks: usize) -> Self {
        self.count = blocks as u32;
        self.map = vec![1; blocks];
        self
    }
}

/// A tape in the making.
#[derive(Clone, Debug)]
pub struct Forge {
    order: Order,
    extended: bool,
    bytes: Vec<u8>,
    data: Option<Crc32c>,
}

impl Forge {
    /// A tape of our own kind.
    #[must_use]
    pub fn ours() -> Self {
        Self { order: Order::Big, extended: true, bytes: Vec::new(), data: None }
    }

    /// A tape of another program.
    #[must_use]
    pub fn foreign(order: Order) -> Self {
        Self { order, extended: false, bytes: Vec::new(), data: None }
    }

    /// A tape of another program that begins so many blocks further on, for records that claim to stand there.
    #[must_use]
    pub fn foreign_from(order: Order, block: usize) -> Self {
        Self { bytes: vec![0; block * BLOCK], ..Self::foreign(order) }
    }

    /// Index of the next block.
    #[must_use]
    pub fn next_block(&self) -> usize {
        self.bytes.len() / BLOCK
    }

    /// Writes a header.
    pub fn header(&mut self, header: &Header) -> &mut Self {
        let order = self.order;
        let mut block = [0; BLOCK];
        let fields = [
            (0, header.kind),
            (4, DATE),
            (12, header.volume),
            (16, self.next_block() as u32),
            (20, header.number),
            (24, 60012),
            (48, header.modified),
            (56, header.modified),
            (64, header.modified),
            (72, header.device),
            (76, header.device),
            (144, header.ids.0),
            (148, header.ids.1),
            (160, header.count),
            (888, header.flags),
            (896, 10),
            (900, header.linux),
        ];
        for (at, value) in fields {
            order.put_u32(&mut block, at, value);
        }
        order.put_u16(&mut block, 32, header.mode);
        order.put_u16(&mut block, 34, 1);
        order.put_u16(&mut block, 36, header.ids.0.min(65_534) as u16);
        order.put_u16(&mut block, 38, header.ids.1.min(65_534) as u16);
        order.put_u64(&mut block, 40, header.size);
        let map = &header.map[..header.map.len().min(512)];
        block[164..164 + map.len()].copy_from_slice(map);
        block[676..682].copy_from_slice(b"forged");
        if self.extended {
            self.extend(&mut block, header);
        }
        order.seal(&mut block);
        self.data = None;
        self.bytes.extend_from_slice(&block);
        self
    }

    /// Fills the extension, always big-endian: bytes 904 to 1023.
    fn extend(&self, block: &mut [u8; BLOCK], header: &Header) {
        block[904..908].copy_from_slice(b"TDH1");
        block[908] = 1;
        block[909] = header.stage_five;
        block[912..928].copy_from_slice(&DUMP_ID);
        Order::Big.put_u64(block, 928, u64::from(header.owner.unwrap_or(header.number)));
        Order::Big.put_u64(block, 944, header.offset);
        Order::Big.put_u32(block, 952, header.segment);
        Order::Big.put_u32(block, 956, self.data.map_or(0, Crc32c::value));
        Order::Big.put_u16(block, 960, header.trailing.0);
        Order::Big.put_u32(block, 964, header.trailing.1);
        let crc = crc32c(&block[..1020]);
        Order::Big.put_u32(block, 1020, crc);
    }

    /// Writes data blocks, the last one filled up with zeros.
    pub fn data(&mut self, data: &[u8]) -> &mut Self {
        for piece in data.chunks(BLOCK) {
            let mut block = [0; BLOCK];
            block[..piece.len()].copy_from_slice(piece);
            self.data.get_or_insert_default().update(&block);
            self.bytes.extend_from_slice(&block);
        }
        self
    }

    /// Writes bytes that are no part of any record.
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// Writes the tape's header.
    pub fn tape(&mut self) -> &mut Self {
        let mut header = Header::of_kind(1);
        header.flags = NEW_HEADER | NEW_INODE_FORMAT;
        // Slot 1 of the volume table: unknown.
        header.map = [vec![0; 4], vec![0xff; 4]].concat();
        self.header(&header)
    }

    /// Writes both maps with these numbers in them.
    pub fn maps(&mut self, numbers: &[u32]) -> &mut Self {
        let highest = numbers.iter().copied().max().unwrap_or(2) as usize;
        let blocks = highest.div_ceil(8192).max(8);
        let mut map = vec![0; blocks * BLOCK];
        for &number in numbers.iter().filter(|&&number| number > 0) {
            let index = number as usize - 1;
            map[index / 8] |= 1 << (index % 8);
        }
        for kind in [6, 3] {
            let mut header = Header::of_kind(kind).with_blocks(blocks.min(512));
            header.count = blocks as u32;
            header.flags = NEW_INODE_FORMAT;
            self.header(&header).data(&map);
        }
        self
    }

    /// Writes a directory with these entries, none added.
    pub fn directory(&mut self, number: u32, entries: &[(u32, &[u8])]) -> &mut Self {
        let data = directory_data(self.order, entries);
        self.directory_data(number, &data)
    }

    /// Writes a directory whose data is these bytes.
    pub fn directory_data(&mut self, number: u32, data: &[u8]) -> &mut Self {
        self.object(&Header::inode(number, DIRECTORY, data.len() as u64), data)
    }

    /// Writes a regular file.
    pub fn file(&mut self, number: u32, content: &[u8]) -> &mut Self {
        self.object(&Header::inode(number, REGULAR, content.len() as u64), content)
    }

    /// Writes a symbolic link.
    pub fn symlink(&mut self, number: u32, target: &[u8]) -> &mut Self {
        self.object(&Header::inode(number, SYMLINK, target.len() as u64), target)
    }

    /// Writes an object with its data, in as many segments as it needs.
    pub fn object(&mut self, header: &Header, data: &[u8]) -> &mut Self {
        let mut header = header.clone();
        let mut pieces = data.chunks(512 * BLOCK);
        let first = pieces.next().unwrap_or_default();
        self.header(&header.clone().with_blocks(first.len().div_ceil(BLOCK))).data(first);
        for piece in pieces {
            header.kind = 4;
            header.segment += 1;
            header.offset += 512 * BLOCK as u64;
            self.header(&header.clone().with_blocks(piece.len().div_ceil(BLOCK))).data(piece);
        }
        self
    }

    /// Writes a stage V record of an object.
    pub fn stage_five(&mut self, owner: u32, payload: &[u8]) -> &mut Self {
        let mut header = Header::inode(65_537, 0o100_600, payload.len() as u64);
        header.stage_five = 1;
        header.owner = Some(owner);
        self.object(&header, payload)
    }

    /// Writes the end and gives the tape.
    #[must_use]
    pub fn end(&mut self) -> Vec<u8> {
        loop {
            self.header(&Header::of_kind(5));
            if self.next_block().is_multiple_of(10) {
                return self.bytes.clone();
            }
        }
    }

    /// The tape as far as it is written.
    #[must_use]
    pub fn unfinished(&self) -> Vec<u8> {
        self.bytes.clone()
    }
}

/// What stage V says of an object: extended attributes without values, by their names.
#[must_use]
pub fn attributes<'n>(names: impl IntoIterator<Item = &'n [u8]>) -> Vec<u8> {
    const ATTRIBUTE: u16 = 4;
    let mut payload = b"TDT1\0\0\0\0".to_vec();
    for name in names {
        let len = 2 + name.len();
        payload.extend(ATTRIBUTE.to_be_bytes());
        payload.extend([0, 0]);
        payload.extend((len as u32).to_be_bytes());
        payload.extend((name.len() as u16).to_be_bytes());
        payload.extend_from_slice(name);
        payload.resize(payload.len() + len.next_multiple_of(8) - len, 0);
    }
    let len = payload.len() - 8;
    Order::Big.put_u32(&mut payload, 4, len as u32);
    let crc = crc32c(&payload);
    payload.extend(crc.to_be_bytes());
    payload
}

/// A directory's data in chunks of 512 bytes.
#[must_use]
pub fn directory_data(order: Order, entries: &[(u32, &[u8])]) -> Vec<u8> {
    const CHUNK: usize = 512;
    let mut data: Vec<u8> = Vec::new();
    let mut last = 0;
    for (number, name) in entries {
        let len = 8 + (name.len() + 1).next_multiple_of(4);
        if data.len() % CHUNK + len > CHUNK || (data.len().is_multiple_of(CHUNK) && !data.is_empty()) {
            close_chunk(order, &mut data, last, CHUNK);
        }
        last = data.len();
        let mut entry = vec![0; len];
        order.put_u32(&mut entry, 0, *number);
        order.put_u16(&mut entry, 4, len as u16);
        entry[7] = name.len() as u8;
        entry[8..8 + name.len()].copy_from_slice(name);
        data.extend_from_slice(&entry);
    }
    close_chunk(order, &mut data, last, CHUNK);
    data
}

/// Lets the last entry of a chunk absorb what is left of it.
fn close_chunk(order: Order, data: &mut Vec<u8>, last: usize, chunk: usize) {
    data.resize(data.len().next_multiple_of(chunk).max(chunk), 0);
    let len = data.len() - last;
    if len <= chunk {
        order.put_u16(data, last + 4, len as u16);
    }
}
