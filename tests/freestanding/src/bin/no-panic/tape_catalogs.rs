//! The catalog of a dump on tape, over devices that may answer anything.

use core::hint::black_box;

use tapedump_core::catalog::PageCheck;
use tapedump_core::engine::catalog_file::{CatalogFileReader, CatalogFileWriter, seal_archive};
use tapedump_core::engine::rebuild::Rebuild;
use tapedump_core::engine::restore::{Restore, RestoreMemory};
use tapedump_core::limits::PAGE_LEN;
use tapedump_core::record::catalog_file::CatalogFileHead;
use tapedump_core::units::{DumpId, TAPE_BLOCK_LEN};

use crate::opaque::{Opaque, Unit};
use crate::pieces::bytes;

pub fn on_tape() {
    black_box(seal_archive::<_, Unit>(&mut Opaque, black_box(7))).ok();
    let block = black_box([1; TAPE_BLOCK_LEN]);
    black_box(CatalogFileHead::may_be(&block));
    if let Ok(head) = black_box(CatalogFileHead::parse::<Unit>(&block)) {
        let mut record = black_box([0; 4096]);
        let writer = CatalogFileWriter::<_, _, _, Unit>::new(
            Opaque,
            Opaque,
            Opaque,
            black_box(0),
            &head,
            bytes(&mut record),
        );
        if let Ok(mut writer) = writer {
            while black_box(writer.step()).is_ok() {
                black_box(writer.progress());
            }
            black_box(writer.into_devices());
        }
    }
    let mut record = black_box([0; 4096]);
    let wanted = black_box(Some(DumpId([1; 16])));
    let reader =
        CatalogFileReader::<_, _, Unit>::new(Opaque, Opaque, black_box(0), wanted, bytes(&mut record));
    if let Ok(mut reader) = reader {
        while black_box(reader.step()).is_ok() {
            black_box(reader.head()).ok();
        }
        black_box(reader.into_devices());
    }
    let page = black_box([1; PAGE_LEN]);
    if let Some(check) = black_box(PageCheck::new::<Unit>(&page, black_box(9))) {
        black_box((check.identity(), check.figures(), check.is_genuine::<Unit>(black_box(3), &page)));
    }
}

pub fn rebuilt() {
    let (mut stream, mut maps, mut names) = (black_box([0; 5120]), black_box([0; 48]), black_box([0; 8192]));
    let memory = RestoreMemory {
        stream: bytes(&mut stream),
        maps: bytes(&mut maps),
        chain: &mut [],
        names: bytes(&mut names),
        attributes: &mut [],
    };
    let Ok(mut restore) = Restore::<_, _, _, Unit>::new(Opaque, Opaque, Opaque, memory) else { return };
    let mut rebuild = Rebuild::new(());
    while let Ok(event) = black_box(restore.step()) {
        black_box(rebuild.handle_event(&mut restore, &event)).ok();
    }
    black_box(rebuild.finish());
}
