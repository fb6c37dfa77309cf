//! Makes what the fuzzer starts from, the same bytes each time: `cargo run --example corpus`.

use std::fs;
use std::path::{Path, PathBuf};

use tapedump_core::checksum::{Crc32c, PortableCrc32c};
use tapedump_core::device::volume::PropertyKind;
use tapedump_core::engine::dump::Stage;
use tapedump_core::record::payload::{Row, payload_head, row_head};
use tapedump_core::units::TAPE_BLOCK_LEN;
use tapedump_fuzz::{catalog, context, genuine, history, record, restore, stream};

fn main() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let foreign =
        fs::read(top.join("../../host/src/tape/golden/plain.dump")).expect("the dump of another program");
    let dumps = genuine::dumps();
    let corpus = Corpus { top: top.join("corpus") };
    records(&corpus, &dumps[0].tape, &foreign);
    tapes(&corpus, &dumps, &foreign);
    catalogs(&corpus, &dumps);
    histories(&corpus);
    contexts(&corpus);
}

struct Corpus {
    top: PathBuf,
}

impl Corpus {
    fn add(&self, target: &str, name: &str, parts: &[&[u8]]) {
        let directory = self.top.join(target);
        fs::create_dir_all(&directory).expect("the directory of the corpus");
        fs::write(directory.join(name), parts.concat()).expect("the corpus can be written");
    }
}

fn records(corpus: &Corpus, tape: &[u8], foreign: &[u8]) {
    let blocks: Vec<&[u8]> = tape.chunks(TAPE_BLOCK_LEN).collect();
    // The kind of a header is in its first word: 1 begins the tape, 2 is of an object, 3 and 6 are of maps, 5 is the end.
    for (name, kind) in [("tape", 1), ("object", 2), ("end", 5)] {
        let block = blocks.iter().find(|block| block[24..28] == 60012_u32.to_be_bytes() && block[3] == kind);
        let block = block.expect("each dump has it");
        corpus.add("record", &format!("header-{name}"), &[&[record::REPAIRED_HEADER], block]);
    }
    corpus.add("record", "header-unrepaired", &[&[record::HEADER], blocks[0]]);
    corpus.add("record", "header-foreign", &[&[record::REPAIRED_HEADER], &foreign[..TAPE_BLOCK_LEN]]);
    let directory = blocks.windows(2).find(|pair| pair[1][..4] == 2_u32.to_be_bytes() && pair[1][8] == b'.');
    let directory = directory.expect("the data of the root behind its header")[1];
    corpus.add("record", "directory", &[&[record::DIRECTORY], &directory[..512]]);
    let rows = [
        &row_head(Row::Owner, 4)[..],
        &9_u32.to_be_bytes(),
        &[0; 4],
        &row_head(Row::Property(PropertyKind::Xattr), 15),
        &[0, 9],
        b"user.note",
        b"good",
        &[0],
    ]
    .concat();
    let mut payload = [&payload_head(rows.len() as u32)[..], &rows].concat();
    let crc = PortableCrc32c::update(0, &payload);
    payload.extend(crc.to_be_bytes());
    corpus.add("record", "payload", &[&[record::PAYLOAD, 3, 5, 9, 20], &payload]);
    let entry = [&[4_u8, 1][..], &[52, 0], &[0; 4], &[5, 0, 0, 0], &[0; 4], b"note", &[0; 4]].concat();
    let magic = 0xea02_0000_u32.to_le_bytes();
    corpus.add(
        "record",
        "linux-xattrs",
        &[&[record::LINUX_XATTRS], &magic, &[0; 28], &entry, &[0; 16], b"value"],
    );
    corpus.add("record", "map", &[&[record::MAP, 6, 0, 2, 0, 9, 1, 1], &[0x1e, 0x80, 0, 1], &[0; 20]]);
}

fn tapes(corpus: &Corpus, dumps: &[genuine::Genuine], foreign: &[u8]) {
    let (first, second) = (&dumps[0].tape, &dumps[1].tape);
    let all = stream::HEADERS | stream::DATA;
    corpus.add("stream", "ours", &[&[all | 8, 6, 0, 10, 1, 0, 11, 12], second]);
    corpus.add("stream", "foreign", &[&[stream::HEADERS | stream::LARGE | 16, 0], &foreign[..10 << 10]]);
    let all = restore::HEADERS | restore::DATA;
    let all = all | restore::VOLUME;
    corpus.add(
        "restore",
        "ours-paths",
        &[&[all | restore::PATHS, 11], b"dir/deep\nno", &[0, 0xff, 0xff], first],
    );
    let split = ((second.len() / 16) as u16).to_be_bytes();
    corpus.add("restore", "ours-chain", &[&[all | restore::CHAIN, 0, 0], &split, second, first]);
    corpus.add(
        "restore",
        "foreign",
        &[&[restore::HEADERS | restore::VOLUME, 0, 0, 0xff, 0xff], &foreign[..10 << 10]],
    );
}

fn catalogs(corpus: &Corpus, dumps: &[genuine::Genuine]) {
    for (name, dump) in ["level-0", "level-1"].iter().zip(dumps) {
        corpus.add("catalog", name, &[&[catalog::REPAIRED], &dump.catalog]);
    }
    let chain = catalog::REPAIRED | catalog::CHAIN | catalog::NEWEST;
    corpus.add("catalog", "level-1-chain", &[&[chain], &dumps[1].catalog]);
}

fn histories(corpus: &Corpus) {
    let settings = history::REPAIRED | history::ROOM;
    corpus.add("history", "chain", &[&[settings], &genuine::history(&[0, 1, 2, 3, 4], None)]);
    corpus.add("history", "long", &[&[settings | history::REPLACE], &genuine::history(&[3, 5], None)]);
    corpus.add(
        "history",
        "removed",
        &[&[settings | history::REMOVE], &genuine::history(&[0, 1, 6], Some(1))],
    );
}

fn contexts(corpus: &Corpus) {
    let settings = context::REPAIRED;
    for (name, stage) in
        [("header", Stage::Map), ("directories", Stage::Directories), ("files", Stage::Files)]
    {
        let [mut image, mut catalog, tape] = genuine::suspended(stage);
        image.truncate(context::COPY_LEN);
        catalog.truncate(context::COPY_LEN);
        corpus.add("context", name, &[&[settings], &image, &catalog, &tape]);
        corpus.add(
            "context",
            &format!("{name}-any-tape"),
            &[&[settings | context::ANY_TAPE], &image, &catalog],
        );
    }
}
