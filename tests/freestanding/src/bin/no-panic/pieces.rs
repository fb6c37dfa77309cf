//! What the engines are made of, for those who use it alone: with any bytes and any numbers.

use core::hint::black_box;

use tapedump_core::catalog::{
    Catalog, CatalogIdentity, CatalogSize, CatalogWriter, Cursor, EntryBuf, MapCursor, NameRow, ObjectRow,
    TableBuilder, View, WhichMap, region_len,
};
use tapedump_core::checksum::combine;
use tapedump_core::device::mem::{MemSnapshot, MemSnapshots, MemVolume, Node, differs};
use tapedump_core::device::snapshot::{BackupNumbers, BootId, SnapshotName, Snapshots};
use tapedump_core::device::volume::{Kind, NameBuf, PropertyKind, PropertyKinds, SourceVolume, VolumeNames};
use tapedump_core::engine::restore::{stops_at, stops_on_the_way};
use tapedump_core::limits::{NAME_LEN_MAX, SEGMENT_BLOCKS_MAX};
use tapedump_core::record::acl::{AclCounter, descriptor_at};
use tapedump_core::record::dialect::Dialect;
use tapedump_core::record::dirent::{ChunkWriter, DirectoryLen, Dirents};
use tapedump_core::record::dos::DosAttributes;
use tapedump_core::record::extension::Extension;
use tapedump_core::record::header::{Header, HeaderKind, HeaderTemplate};
use tapedump_core::record::holes::Holes;
use tapedump_core::record::linux_xattr::LinuxXattrs;
use tapedump_core::record::lun::{LUN_LEN, Lun, LunRepr, OsType, SERIAL_LEN, Serial};
use tapedump_core::record::map::{DumpMap, MapView, map_blocks, max_ino};
use tapedump_core::record::payload::{PayloadParser, Row, payload_head, row_head, row_len, row_value_len};
use tapedump_core::record::qtree::{QTREE_LEN_MAX, Qtree};
use tapedump_core::stream::reader::{Reader, ReaderAction};
use tapedump_core::stream::writer::{DumpIdentity, Writer};
use tapedump_core::units::{
    BlockAddr, BlockingFactor, DumpId, Ino, Level, StreamBlock, TAPE_BLOCK_LEN, TapeNo,
};

use crate::opaque::{Opaque, Unit, attributes};

/// A slice of a length that is not known.
pub fn bytes(space: &mut [u8]) -> &mut [u8] {
    black_box(space)
}

pub fn number() -> usize {
    black_box(7)
}

/// Names and numbers of snapshots, and those in memory.
pub fn snapshots() {
    let mut slots = black_box([MemSnapshot::EMPTY; 3]);
    let mut snapshots = MemSnapshots::new(&mut slots);
    let mut numbers = black_box(BackupNumbers::default()).in_boot(black_box(BootId([1; 16])));
    let holder = black_box(DumpId([2; 16]));
    black_box(numbers.create(&mut snapshots, holder)).ok();
    let mut space = black_box([0; 64]);
    let Ok(name) = SnapshotName::new(bytes(&mut space)) else { return };
    black_box((name.bytes(), SnapshotName::for_backup(number() as u32)));
    black_box((
        snapshots.create(&name, black_box(None)),
        snapshots.open(&name),
        snapshots.lock(&name, holder),
    ))
    .0
    .ok();
    black_box((snapshots.unlock(&name, holder), snapshots.delete(&name))).0.ok();
}

pub fn record() {
    let block = black_box([0; TAPE_BLOCK_LEN]);
    let header = Header::new(&block);
    black_box(header.detect()).ok();
    black_box((header.may_be_ours(), header.holes(number() as u32), header.names(), header.label()));
    let dialect = black_box(Dialect::OURS);
    black_box((header.may_be(dialect), dialect.magic_bytes()));
    if let Ok(mut repr) = black_box(header.parse::<Unit>(dialect)) {
        let template = HeaderTemplate::new(&black_box(VolumeNames::default()), &black_box([0; 16]));
        repr.extension = black_box(Some(Extension::new(black_box(DumpId([0; 16])))));
        let mut out = block;
        template.emit::<Unit>(&repr, &header.holes(repr.count), &mut out);
        black_box(out);
    }
    let mut holes = black_box(Holes::all_data(number()));
    holes.set_data(number());
    holes.set_hole(number());
    holes.set_run(number(), number());
    let mut entries = black_box([0; SEGMENT_BLOCKS_MAX]);
    holes.emit(number(), &mut entries);
    black_box((holes.is_data(number()), holes.run_len(number(), number()), holes.data_count(number())));
    black_box(Holes::parse(bytes(&mut entries)));
    directories(dialect);
    luns();
    maps();
    payloads();
    black_box(combine(black_box(1), black_box(2), black_box(3)));
    black_box((
        BlockAddr(black_box(1)).since(BlockAddr(black_box(2))),
        BlockAddr(black_box(1)).byte_offset(),
    ));
}

fn directories(dialect: Dialect) {
    let mut space = black_box([0; 2048]);
    for entry in Dirents::new(bytes(&mut space), dialect) {
        black_box(entry).ok();
    }
    let mut writer = ChunkWriter::new();
    let mut len = DirectoryLen::default();
    len.add(number());
    black_box((
        writer.push(Ino(black_box(2)), bytes(&mut space)),
        writer.is_empty(),
        writer.finish(),
        len.bytes(),
    ));
    let mut name: NameBuf = black_box([0; NAME_LEN_MAX]);
    let mut value = black_box([0; 64]);
    for xattr in LinuxXattrs::new(black_box(&space[..])) {
        let Ok(xattr) = black_box(xattr) else { continue };
        black_box(xattr.name(&mut name));
        black_box(xattr.property_len()).ok();
        black_box(xattr.property_value(bytes(&mut value))).ok();
    }
}

fn luns() {
    let mut value = black_box([0; LUN_LEN]);
    if let Ok(view) = black_box(Lun::new_checked(bytes(&mut value))) {
        black_box((view.magic(), view.version(), view.size()));
        if let Ok(lun) = black_box(LunRepr::parse(&view)) {
            black_box((lun.value(), lun.os_type.name()));
            lun.emit(&mut black_box([0; LUN_LEN]));
        }
    }
    black_box(LunRepr::of_value(bytes(&mut value))).ok();
    if let Some(serial) = black_box(Serial::new(black_box([0; SERIAL_LEN]))) {
        black_box((serial.bytes(), LunRepr::new(serial, black_box(OsType::Linux), black_box(1))));
    }
    black_box(LunRepr::restricted_file());
}

fn maps() {
    let mut space = black_box([0; 64]);
    let ino = Ino(black_box(9));
    black_box((map_blocks(ino), max_ino(black_box(3))));
    let mut map = DumpMap::new(bytes(&mut space));
    black_box(map.insert(ino)).ok();
    black_box((map.contains(ino), map.next_from(ino), map.count(), map.remove(ino)));
    black_box(map.put(number(), black_box(b"bytes")));
    black_box(DumpMap::zeroed(black_box(&mut [0; 8])).view());
    map.clear();
    for ino in MapView::new(black_box(map.bytes())).iter() {
        black_box(ino);
    }
}

fn payloads() {
    let mut space = black_box([0; 64]);
    let row = black_box(Row::Property(PropertyKind::Xattr));
    black_box((row_head(row, black_box(1)), payload_head(black_box(1)), row_len(black_box(1))));
    black_box(row_value_len(black_box(PropertyKind::Xattr), number(), black_box(1)));
    let mut parser = PayloadParser::new();
    while black_box(true) {
        let mut input = &*bytes(&mut space);
        while let Some(part) = parser.next::<Unit>(&mut input) {
            black_box(part);
        }
        black_box((parser.name(), parser.is_done()));
    }
    values();
}

/// What is understood of values, which are any bytes.
fn values() {
    let mut space = black_box([0; 512]);
    let value = &*bytes(&mut space);
    let kind = black_box(PropertyKind::NtDescriptor);
    if let Some(mut counter) = AclCounter::new(kind, black_box(512)) {
        while black_box(true) {
            counter.take(value);
            black_box(counter.entries());
        }
    }
    black_box((AclCounter::entries_max(black_box(9)), descriptor_at(value), DosAttributes::parse(value)));
    black_box((kind.is_acl(), PropertyKinds::ACLS.with(kind).contains(kind)));
    if let Some((qtree, name)) = black_box(Qtree::parse(value)) {
        let mut made = black_box([0; QTREE_LEN_MAX]);
        black_box(qtree.emit(name, &mut made));
        black_box(made);
    }
}

pub fn stream() {
    let mut space = black_box([0; 8192]);
    let mut reader = Reader::<Unit>::new(bytes(&mut space));
    while black_box(true) {
        black_box(reader.space());
        match black_box(number()) {
            0 => reader.handle_record(number()),
            1 => reader.handle_unreadable(number()),
            2 => reader.handle_end(),
            _ => reader.handle_next_tape(),
        }
        match black_box(reader.poll()) {
            Ok(ReaderAction::Data { entry, bytes }) => {
                black_box((entry, bytes));
            }
            Ok(ReaderAction::Header { repr, .. }) => {
                black_box(repr);
            }
            _ => {}
        }
        black_box((reader.tape(), reader.addr(), reader.dialect(), reader.last_data(), reader.holes()));
    }
    let identity = DumpIdentity { id: DumpId([1; 16]), date: 1, base_date: 0, level: Level::BASELINE };
    let template = HeaderTemplate::new(&VolumeNames::default(), &[0; 16]);
    let blocking = black_box(BlockingFactor::MIN);
    let Ok(mut writer) = Writer::<Unit>::new(bytes(&mut space), blocking, template, black_box(identity))
    else {
        return;
    };
    while black_box(true) {
        let mut header = writer.plain(black_box(HeaderKind::End));
        header.attributes = black_box(Some(attributes()));
        header.count = black_box(5);
        header.tape = black_box(TapeNo::FIRST);
        black_box(writer.header(header, &black_box(Holes::all_data(number()))));
        black_box(writer.space());
        writer.commit(number());
        writer.pad();
        writer.flag_preceding(black_box(1));
        black_box((writer.addr(), writer.unsent_addr(), writer.is_record_aligned(), writer.poll_record()));
        writer.record_written();
    }
}

pub fn catalog() {
    let mut space = black_box([0; 8192]);
    black_box(region_len(black_box(1), black_box(2), number()));
    let from = black_box(1);
    let builder = TableBuilder::<Unit>::with_crc(&Opaque, from..black_box(2), bytes(&mut space));
    let Ok(mut builder) = builder else { return };
    let (mut key, mut value) = (black_box([0; 400]), black_box([0; 400]));
    while black_box(true) {
        black_box(builder.push(&mut Opaque, bytes(&mut key), bytes(&mut value))).ok();
        black_box((builder.len(), builder.is_empty()));
    }
    let Ok(mut table) = builder.finish(&mut Opaque) else { return };
    let mut cursor = black_box(Cursor::START);
    let mut copy = EntryBuf::new();
    while black_box(true) {
        black_box(table.seek(&mut Opaque, bytes(&mut key))).ok();
        if let Ok(Some(entry)) = table.next(&mut Opaque, &mut cursor) {
            copy.set(black_box(entry));
            black_box(copy.entry());
        }
        black_box(table.next_with_prefix(&mut Opaque, &mut cursor, bytes(&mut key))).ok();
        black_box(table.first_with_prefix(&mut Opaque, bytes(&mut key))).ok();
        black_box(table.find(&mut Opaque, bytes(&mut key))).ok();
        black_box((table.len(), table.is_empty()));
    }
    black_box(table.into_memory());
}

/// The catalogs of dumps, and of a chain.
pub fn dump_catalog() {
    let (mut space, mut name) = (black_box([0; 16384]), black_box([0; 400]));
    let ino = Ino(black_box(3));
    let which = black_box(WhichMap::InUse);
    let identity = CatalogIdentity {
        dump: DumpId([1; 16]),
        base: black_box(None),
        level: black_box(Level::BASELINE),
        date: black_box(1),
        base_date: black_box(0),
        volume: black_box([0; 16]),
        names: black_box(VolumeNames::default()),
        label: black_box([0; 16]),
    };
    black_box(black_box(CatalogSize::default()).len_max(number()));
    let region = black_box(0)..black_box(1 << 20);
    let Ok(mut writer) = CatalogWriter::<_, Unit>::new(Opaque, region.clone(), bytes(&mut space), identity)
    else {
        return;
    };
    while black_box(true) {
        black_box(writer.map(which, number() as u32, bytes(&mut name))).ok();
        let row = NameRow { parent: ino, name: bytes(&mut name), ino, kind: black_box(Some(Kind::File)) };
        black_box(writer.name(row)).ok();
        let mut row = black_box(ObjectRow::skipped(ino, black_box(true)));
        row.place = black_box(Some(StreamBlock(1)));
        row.digest = black_box(Some([0; 32]));
        black_box(writer.object(&black_box(row))).ok();
        black_box(writer.tape(black_box(TapeNo::FIRST), BlockAddr(black_box(1)))).ok();
        writer.attributes(StreamBlock(black_box(1)));
        let place = StreamBlock(black_box(1));
        black_box(writer.apart(ino, black_box(place))).ok();
        black_box(writer.size());
    }
    if let Ok(catalog) = black_box(writer.finish()) {
        black_box(catalog.into_parts());
    }
    let mut memory = black_box([0; 8192]);
    let Ok(catalog) = Catalog::<_, Unit>::open(Opaque, region, bytes(&mut memory)) else { return };
    let mut chain = [catalog];
    ask(&mut chain[0], ino, which, &mut name);
    let mut view = View::new(black_box(&mut chain[..]));
    while black_box(true) {
        black_box((view.exists(ino), view.newest(ino))).0.ok();
        black_box(view.look_up(bytes(&mut name))).ok();
        black_box(view.path_of(ino, bytes(&mut name))).ok();
        black_box(view.child(ino, bytes(&mut name))).ok();
        black_box((view.len(), view.is_empty()));
        let mut visit = |stop| {
            black_box(stop);
        };
        black_box(stops_at(&mut view, ino, &mut visit)).ok();
        black_box(stops_on_the_way(&mut view, bytes(&mut name), &mut visit)).ok();
        if let Ok(Some(mut cursor)) = view.names_from(ino, bytes(&mut name)) {
            black_box(view.next_name(&mut cursor)).ok();
        }
        if let Ok(Some(mut cursor)) = view.first_to_restore(number()) {
            black_box(view.next_to_restore(&mut cursor)).ok();
        }
        black_box(view.catalog(number()).is_some());
    }
}

fn ask(catalog: &mut Catalog<'_, Opaque, Unit>, ino: Ino, which: WhichMap, name: &mut [u8]) {
    let mut map = MapCursor::new(which);
    while black_box(true) {
        black_box((catalog.identity(), catalog.figures(), catalog.attributes_from()));
        black_box((catalog.object(ino), catalog.directory(ino))).0.ok();
        black_box(catalog.child(ino, bytes(name))).ok();
        black_box(catalog.apart(ino)).ok();
        black_box(catalog.look_up(bytes(name))).ok();
        black_box(catalog.path_of(ino, bytes(name))).ok();
        black_box((catalog.contains(&mut map, ino), catalog.next_in_map(which, ino))).0.ok();
        black_box(catalog.next_tape(black_box(TapeNo::FIRST))).ok();
        black_box(catalog.place(black_box(StreamBlock(1)))).ok();
        if let Ok(mut cursor) = catalog.names_from(ino, bytes(name)) {
            black_box(catalog.next_name(&mut cursor)).ok();
        }
        if let Ok(mut cursor) = catalog.names_of(ino) {
            black_box(catalog.next_name_of(&mut cursor)).ok();
        }
        if let Ok(mut cursor) = catalog.first_on_tape() {
            black_box(catalog.next_on_tape(&mut cursor)).ok();
        }
        if let Ok(mut cursor) = catalog.first_by_number() {
            black_box(catalog.next_by_number(&mut cursor)).ok();
        }
    }
}

/// The volume in memory, whose other functions are among the parts.
pub fn volume() {
    let (mut nodes, mut others) = (black_box([Node::EMPTY; 4]), black_box([Node::EMPTY; 4]));
    let (mut arena, mut other) = (black_box([0; 512]), black_box([0; 512]));
    let Ok(mut volume) = MemVolume::new(black_box(&mut nodes[..]), bytes(&mut arena)) else { return };
    let Ok(second) = MemVolume::new(black_box(&mut others[..]), bytes(&mut other)) else { return };
    let ino = Ino(black_box(3));
    let mut name = black_box([0; NAME_LEN_MAX]);
    let of = attributes();
    volume.set_names(black_box(VolumeNames::default()));
    black_box(volume.add_directory(ino, black_box(b"directory"), &of)).ok();
    black_box(volume.add_file(ino, black_box(b"file"), &of, bytes(&mut name))).ok();
    black_box(volume.add_symlink(ino, black_box(b"link"), &of, bytes(&mut name))).ok();
    black_box(volume.add_node(ino, black_box(b"node"), &of)).ok();
    black_box(volume.add_link(ino, Ino(black_box(4)), black_box(b"further"))).ok();
    black_box(volume.write_data(ino, black_box(5), bytes(&mut name))).ok();
    black_box(volume.set_size(ino, black_box(6))).ok();
    black_box(volume.read_data(ino, black_box(7), bytes(&mut name))).ok();
    let kind = black_box(PropertyKind::Xattr);
    black_box(volume.set_property(ino, kind, black_box(b"user.x"), bytes(&mut name))).ok();
    black_box(volume.property_value(ino, kind, black_box(b"user.x")));
    black_box(volume.remove_property(ino, kind, black_box(b"user.x"))).ok();
    black_box(volume.set_attributes(ino, &of)).ok();
    black_box((volume.attributes(ino), volume.look_up(ino, black_box(b"file")))).0.ok();
    black_box((volume.name_of(ino, &mut name), volume.made_for(ino), Kind::File));
    black_box(volume.remove(ino, black_box(b"file"))).ok();
    black_box(SourceVolume::close(&mut volume)).ok();
    black_box(differs(&volume, &second));
}
