//! Single structures of a tape: headers with their extension, directory data, maps, payloads, Linux' extended attributes.
//! The first byte says which; the rest is the structure.

use tapedump_core::checksum::PortableCrc32c;
use tapedump_core::limits::NAME_LEN_MAX;
use tapedump_core::record::dialect::{Dialect, InodeLayout, Order};
use tapedump_core::record::dirent::{CHUNK_LEN, Dirents};
use tapedump_core::record::header::{Header, HeaderTemplate};
use tapedump_core::record::linux_xattr::LinuxXattrs;
use tapedump_core::record::map::{DumpMap, MapView};
use tapedump_core::record::payload::{PayloadParser, PayloadPart};
use tapedump_core::units::{Ino, TAPE_BLOCK_LEN};

use crate::input::Input;
use crate::repair;

pub const HEADER: u8 = 0;
pub const REPAIRED_HEADER: u8 = 1;
pub const DIRECTORY: u8 = 2;
pub const PAYLOAD: u8 = 3;
pub const LINUX_XATTRS: u8 = 4;
pub const MAP: u8 = 5;

const LINKS_MAX: u32 = i16::MAX as u32;

pub fn run(data: &[u8]) {
    let Some((&which, data)) = data.split_first() else { return };
    match which % 6 {
        HEADER => header(data, false),
        REPAIRED_HEADER => header(data, true),
        DIRECTORY => directory(data),
        PAYLOAD => payload(data),
        LINUX_XATTRS => linux_xattrs(data),
        _ => map(data),
    }
}

fn header(data: &[u8], repaired: bool) {
    let mut block = [0; TAPE_BLOCK_LEN];
    block.iter_mut().zip(data).for_each(|(to, from)| *to = *from);
    if repaired {
        repair::header(&mut block, None);
    }
    let header = Header::new(&block);
    let Ok(dialect) = header.detect() else { return };
    let Ok(repr) = header.parse::<PortableCrc32c>(dialect) else { return };
    let holes = header.holes(repr.count);
    let count = repr.count.min(512) as usize;
    let mut data_count = 0;
    let mut at = 0;
    while at < count {
        let run = holes.run_len(at, count);
        assert!(run > 0 && at + run <= count, "a run of {run} entries at {at} of {count}");
        data_count += if holes.is_data(at) { run } else { 0 };
        at += run;
    }
    assert_eq!(data_count, holes.data_count(count));
    if dialect == Dialect::OURS && repr.extension.is_some() {
        let mut emitted = [0xa5; TAPE_BLOCK_LEN];
        let template = HeaderTemplate::new(&header.names(), &header.label());
        template.emit::<PortableCrc32c>(&repr, &holes, &mut emitted);
        let again = Header::new(&emitted);
        assert_eq!(again.detect(), Ok(dialect));
        let mut expected = repr;
        if let Some(attributes) = &mut expected.attributes {
            // What programs that take the field for a signed one would misread is not written.
            attributes.links = attributes.links.min(LINKS_MAX);
        }
        assert_eq!(
            again.parse::<PortableCrc32c>(dialect),
            Ok(expected),
            "a header is read as it was written"
        );
        assert_eq!((again.names(), again.label()), (header.names(), header.label()));
    }
}

fn directory(data: &[u8]) {
    for order in [Order::Big, Order::Little] {
        for layout in [InodeLayout::Bsd, InodeLayout::Ufs2, InodeLayout::Solaris] {
            let mut count = 0;
            for entry in Dirents::new(data, Dialect { order, layout }) {
                count += 1;
                if let Ok(entry) = entry {
                    assert!((1..=NAME_LEN_MAX).contains(&entry.name.len()), "{entry:?}");
                    assert!(!entry.name.contains(&0) && !entry.name.contains(&b'/'), "{entry:?}");
                }
            }
            assert!(count <= data.len() / 8 + data.len() / CHUNK_LEN + 1, "{count} entries");
        }
    }
}

/// What a parser tells, with pieces of values put together.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    parts: Vec<String>,
    value: Vec<u8>,
}

impl Told {
    fn take(&mut self, parser: &mut PayloadParser, mut input: &[u8]) {
        while let Some(part) = parser.next::<PortableCrc32c>(&mut input) {
            match part {
                PayloadPart::Value(bytes) => self.value.extend(bytes),
                PayloadPart::Property { name_len, .. } => {
                    let name = parser.name().to_vec();
                    assert_eq!(name.len(), name_len);
                    self.parts.push(format!("{:?} {name:?}", self.value.len()));
                }
                other => self.parts.push(format!("{:?} {other:?}", self.value.len())),
            }
        }
    }
}

/// The payload says the same however it comes in pieces.
fn payload(data: &[u8]) {
    let mut input = Input(data);
    let cuts = input.some();
    let mut whole = Told::default();
    whole.take(&mut PayloadParser::new(), input.0);
    let (mut pieces, mut parser) = (Told::default(), PayloadParser::new());
    let mut rest = input.0;
    for cut in cuts {
        let (piece, after) = rest.split_at(usize::from(*cut).min(rest.len()));
        pieces.take(&mut parser, piece);
        rest = after;
    }
    pieces.take(&mut parser, rest);
    assert_eq!(pieces, whole);
}

fn linux_xattrs(data: &[u8]) {
    let mut name = [0; NAME_LEN_MAX];
    let mut count = 0;
    for xattr in LinuxXattrs::new(data) {
        count += 1;
        let Ok(xattr) = xattr else { continue };
        assert!(xattr.name(&mut name).len() <= NAME_LEN_MAX);
        let Ok(len) = xattr.property_len() else { continue };
        assert!(len <= 16 * data.len() + 4096, "a value of {len} bytes out of {}", data.len());
        let mut value = vec![0; len];
        if let Ok(value) = xattr.property_value(&mut value) {
            assert_eq!(value.len(), len);
        }
    }
    assert!(count <= data.len() / 4 + 1, "{count} attributes");
}

fn map(data: &[u8]) {
    let mut input = Input(data);
    let changes = input.some();
    let mut bytes = input.0.to_vec();
    let mut map = DumpMap::new(&mut bytes);
    for change in changes.as_chunks().0 {
        let ino = Ino(u32::from(u16::from_be_bytes(*change)));
        if map.insert(ino).is_ok() {
            assert!(map.contains(ino));
            if ino.0.is_multiple_of(3) {
                assert!(map.remove(ino) && !map.contains(ino));
            }
        }
    }
    let view = MapView::new(&bytes);
    let mut before = None;
    let mut count = 0;
    for ino in view.iter() {
        assert!(before < Some(ino) && view.contains(ino));
        assert_eq!(view.next_from(ino), Some(ino));
        before = Some(ino);
        count += 1;
    }
    assert_eq!(count, view.count());
}
