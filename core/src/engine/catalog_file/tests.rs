//! The catalog of a dump on tape: written, taken back, damaged and cut at every place; and made from the dump itself.

extern crate std;
use std::vec;
use std::vec::Vec;

use super::*;
use crate::catalog::{CATALOG_MEMORY_MIN, Catalog, CatalogIdentity, CatalogWriter};
use crate::checksum::PortableCrc32c;
use crate::device::ErrorKind;
use crate::device::mem::{MemBlock, MemTape, NullTarget};
use crate::device::tape::{Space, TapeDevice, TapePosition};
use crate::device::volume::{SourceVolume, VolumeNames};
use crate::engine::dump::{Dump, DumpEvent, DumpMemory, Stage};
use crate::engine::rebuild::Rebuild;
use crate::engine::restore::{Damage, Restore, RestoreEvent, RestoreMemory};
use crate::engine::tests::{leak, options, sample};
use crate::record::catalog_file::CatalogFileHead;
use crate::record::dialect::Dialect;
use crate::record::header::{Header, HeaderKind};
use crate::units::{DumpId, Ino, TAPE_BLOCK_LEN, Timestamp, VolumeId};

const BLOCK: usize = TAPE_BLOCK_LEN;
const REGION: usize = 1 << 20;
const ID: DumpId = DumpId(*b"0123456789abcdef");

fn identity(names: VolumeNames) -> CatalogIdentity {
    let options = options(4);
    CatalogIdentity {
        dump: ID,
        base: None,
        level: options.identity.level,
        date: options.identity.date.into(),
        base_date: 0,
        volume: [7; 16],
        names,
        label: options.label,
    }
}

/// A dump on a tape, the bytes of its catalog, and the number of its first block that is no directory's.
fn dumped() -> (MemTape<'static>, Vec<u8>, u64) {
    let mut source = sample();
    let mut tape = MemTape::blank(leak(4 << 20));
    let options = options(4);
    let (mut stream, mut in_use, mut on_tape) = (vec![0; 5 * 1024], vec![0; 64], vec![0; 64]);
    let memory =
        DumpMemory { stream: &mut stream, in_use: &mut in_use, on_tape: &mut on_tape, known: &mut [] };
    let (mut bytes, mut room) = (vec![0; REGION], vec![0; CATALOG_MEMORY_MIN]);
    let mut archive_blocks = 0;
    {
        let device = MemBlock::new(&mut bytes, 1024).unwrap();
        let identity = identity(source.names().unwrap());
        let catalog =
            CatalogWriter::<_, PortableCrc32c>::new(device, 0..REGION as u64, &mut room, identity).unwrap();
        let mut dump =
            Dump::<_, _, PortableCrc32c, _>::with_catalog(&mut source, &mut tape, catalog, memory, options)
                .unwrap();
        loop {
            match dump.step().unwrap() {
                DumpEvent::Done(_) => break,
                DumpEvent::Stage(Stage::Files) => archive_blocks = dump.progress().blocks,
                _ => {}
            }
        }
        let (_, _, catalog) = dump.into_parts();
        let len = catalog.unwrap().finish().unwrap().figures().len;
        bytes.truncate(len as usize);
    }
    (tape, bytes, archive_blocks)
}

fn head(archive_blocks: u64, pages: u64) -> CatalogFileHead<'static> {
    CatalogFileHead {
        dump: ID,
        base: None,
        volume: VolumeId([7; 16]),
        level: options(4).identity.level,
        date: Timestamp { secs: options(4).identity.date.into(), nanos: 5 },
        base_date: Timestamp::default(),
        archive_blocks,
        pages,
        blocks: 100,
        objects: 20,
        skipped: 0,
        ino_limit: Ino(500),
        is_dense: false,
        file: 0,
        blocking: options(4).blocking,
        release: [0, 1, 0],
        path: Some(b""),
        volume_name: b"",
    }
}

fn content(tape: &MemTape<'_>, file: u32) -> Vec<u8> {
    tape.records(file).collect::<Vec<_>>().concat()
}

type Written = Result<(), CatalogWriteError<ErrorKind, ErrorKind, ErrorKind>>;

/// Writes the catalog behind the dump, onto `tape`.
fn write(tape: &mut MemTape<'_>, dump: &[u8], catalog: &mut [u8], archive_blocks: u64) -> Written {
    let mut archive = dump[..(archive_blocks as usize + 1) * BLOCK].to_vec();
    let mut archive = MemBlock::new(&mut archive, 1024).unwrap();
    let blocks = seal_archive::<_, PortableCrc32c>(&mut archive, archive_blocks).unwrap();
    let head = head(blocks, (catalog.len() / BLOCK) as u64);
    let mut record = vec![0; head.blocking.record_len()];
    let catalog = MemBlock::new(catalog, 1024).unwrap();
    let mut writer =
        CatalogFileWriter::<_, _, _, PortableCrc32c>::new(tape, archive, catalog, 0, &head, &mut record)?;
    while writer.step()? != CatalogWriteStep::Done {}
    let (done, all) = writer.progress();
    assert_eq!(done, all);
    Ok(())
}

/// Dump and catalog on one tape, and the catalog's bytes.
fn whole() -> (MemTape<'static>, Vec<u8>, u64) {
    let (mut tape, mut catalog, archive_blocks) = dumped();
    let dump = content(&tape, 0);
    write(&mut tape, &dump, &mut catalog, archive_blocks).unwrap();
    (tape, catalog, archive_blocks)
}

type Read = Result<Vec<u8>, CatalogReadError<ErrorKind, ErrorKind>>;

/// Takes the catalog from a tape file, onto a device that is full of something else.
fn read(tape: &mut MemTape<'_>, file: u32, wanted: DumpId) -> Read {
    let mut bytes = vec![0xa5; REGION];
    let mut record = vec![0; 256 * BLOCK];
    let _ = tape.locate(TapePosition { file, record: 0 }).unwrap();
    let device = MemBlock::new(&mut bytes, 1024).unwrap();
    let mut reader =
        CatalogFileReader::<_, _, PortableCrc32c>::new(tape, device, 0, Some(wanted), &mut record)?;
    let result = loop {
        match reader.step() {
            Ok(CatalogReadStep::Working) => {}
            Ok(CatalogReadStep::Done(figures)) => {
                assert_eq!(reader.head().unwrap().dump, wanted);
                break Ok(figures.len as usize);
            }
            Err(error) => break Err(error),
        }
    };
    let _ = reader.into_devices();
    // Whatever happened, a catalog that opens is whole.
    let mut memory = vec![0; CATALOG_MEMORY_MIN];
    let mut copy = bytes.clone();
    let device = MemBlock::new(&mut copy, 1024).unwrap();
    let opened = Catalog::<_, PortableCrc32c>::open(device, 0..REGION as u64, &mut memory).is_ok();
    assert_eq!(opened, result.is_ok(), "{result:?}");
    result.map(|len| {
        bytes.truncate(len);
        bytes
    })
}

#[test]
fn the_archive_is_the_dumps_beginning_and_an_end() {
    let (tape, catalog, archive_blocks) = whole();
    let (dump, file) = (content(&tape, 0), content(&tape, 1));
    let from = archive_blocks as usize * BLOCK;
    let parse = |at: usize| {
        let block = file[at..at + BLOCK].first_chunk().unwrap();
        Header::new(block).parse::<PortableCrc32c>(Dialect::OURS).unwrap()
    };
    assert!(parse(0).is_catalog());
    assert_eq!(file[BLOCK..from], dump[BLOCK..from]);
    // Checksums, and the mark in the extension's flags.
    let differing: Vec<usize> = (0..BLOCK).filter(|at| file[*at] != dump[*at]).collect();
    assert!(differing.iter().all(|at| matches!(at, 28..=31 | 910 | 1020..)), "{differing:?}");
    let end = parse(from);
    assert_eq!((end.kind, end.addr.0), (HeaderKind::End, archive_blocks));
    let behind: &[u8; BLOCK] = dump[from..from + BLOCK].first_chunk().unwrap();
    let behind = Header::new(behind).parse::<PortableCrc32c>(Dialect::OURS).unwrap();
    assert_eq!(end.extension.unwrap().preceding_crc, behind.extension.unwrap().preceding_crc);
    assert_eq!(behind.kind, HeaderKind::Inode);
    let pages = from + 2 * BLOCK;
    assert_eq!(file[pages..pages + catalog.len()], catalog);
    assert_eq!(file[pages - BLOCK..pages], file[file.len() - BLOCK..]);
    assert!(file[pages + catalog.len()..file.len() - BLOCK].iter().all(|byte| *byte == 0));
    assert!(file.len().is_multiple_of(4 * BLOCK));
}

#[test]
fn what_is_no_beginning_of_a_dump_is_no_archive() {
    let (tape, _, archive_blocks) = dumped();
    let dump = content(&tape, 0);
    let seal = |bytes: &[u8], blocks: u64| {
        let mut bytes = bytes.to_vec();
        seal_archive::<_, PortableCrc32c>(&mut MemBlock::new(&mut bytes, 1024).unwrap(), blocks)
    };
    assert_eq!(seal(&dump, archive_blocks), Ok(archive_blocks + 1));
    assert_eq!(seal(&dump, archive_blocks - 1), Err(CatalogWriteError::BadArchive), "data follows");
    assert_eq!(
        seal(&dump[BLOCK..], archive_blocks - 1),
        Err(CatalogWriteError::BadArchive),
        "no tape header"
    );
    assert_eq!(seal(&vec![0; 4096], 2), Err(CatalogWriteError::BadArchive));
}

#[test]
fn a_catalog_comes_back_from_its_tape_file() {
    let (mut tape, catalog, _) = whole();
    assert_eq!(read(&mut tape, 1, ID), Ok(catalog));
    assert_eq!(read(&mut tape, 0, ID), Err(CatalogReadError::NoCatalog), "the dump is none");
    let wanted = DumpId([9; 16]);
    assert_eq!(read(&mut tape, 1, wanted), Err(CatalogReadError::OtherDump { wanted, found: ID }));
}

/// The tape file with another content, as file 0 of a tape.
fn forged(content: &[u8], record_len: usize) -> MemTape<'static> {
    let mut tape = MemTape::blank(leak(content.len() + (1 << 16)));
    tape.write_file(content, record_len).unwrap();
    tape
}

#[test]
fn every_damaged_block_is_found_and_a_head_may_be_lost() {
    let (tape, catalog, archive_blocks) = whole();
    let good = content(&tape, 1);
    let head_at = archive_blocks as usize + 1;
    let pages = catalog.len() / BLOCK;
    for block in 0..good.len() / BLOCK {
        for bit in [0, 31, 32, 70, 4000, 8191] {
            let mut bad = good.clone();
            bad[block * BLOCK + bit / 8] ^= 1 << (bit % 8);
            let found = read(&mut forged(&bad, 4 * BLOCK), 0, ID);
            match block.checked_sub(head_at + 1).filter(|page| *page < pages) {
                Some(page) => {
                    assert_eq!(found, Err(CatalogReadError::Damaged { page: page as u64 }), "bit {bit}");
                }
                None => assert_eq!(found.as_ref(), Ok(&catalog), "block {block}, bit {bit}"),
            }
        }
    }
    let mut bad = good.clone();
    bad[head_at * BLOCK] = 0;
    *bad.last_mut().unwrap() ^= 1;
    assert_eq!(read(&mut forged(&bad, 4 * BLOCK), 0, ID), Err(CatalogReadError::NoCatalog), "both heads");
}

#[test]
fn a_tape_file_that_is_cut_short_gives_nothing() {
    let (tape, catalog, archive_blocks) = whole();
    let good = content(&tape, 1);
    let last_page = archive_blocks as usize + 1 + catalog.len() / BLOCK;
    for blocks in 1..good.len() / BLOCK {
        let found = read(&mut forged(&good[..blocks * BLOCK], BLOCK), 0, ID);
        match blocks {
            _ if blocks <= archive_blocks as usize + 1 => assert_eq!(found, Err(CatalogReadError::NoCatalog)),
            _ if blocks <= last_page => {
                let page = (blocks - archive_blocks as usize - 2) as u64;
                assert_eq!(found, Err(CatalogReadError::CutShort { page }));
            }
            _ => assert_eq!(found.as_ref(), Ok(&catalog)),
        }
    }
}

#[test]
fn a_device_that_is_too_small_is_told_before_anything_is_written() {
    let (mut tape, catalog, _) = whole();
    let _ = tape.locate(TapePosition { file: 1, record: 0 }).unwrap();
    let (mut small, mut record) = (vec![0xa5; catalog.len() - 1], vec![0; 256 * BLOCK]);
    let device = MemBlock::new(&mut small, 1024).unwrap();
    let mut reader =
        CatalogFileReader::<_, _, PortableCrc32c>::new(&mut tape, device, 0, None, &mut record).unwrap();
    let error = loop {
        if let Err(error) = reader.step() {
            break error;
        }
    };
    assert_eq!(error, CatalogReadError::DeviceTooSmall { needed: catalog.len() as u64 });
    let _ = reader.into_devices();
    assert!(small.iter().all(|byte| *byte == 0xa5));
}

#[test]
fn a_tape_that_is_full_at_any_record_has_the_dump_and_no_catalog() {
    let (tape, mut catalog, archive_blocks) = dumped();
    let dump = content(&tape, 0);
    let mut full = 0;
    for room in (0..).step_by(4 * BLOCK) {
        let mut tape = MemTape::blank(leak(dump.len() + (8 << 10) + room));
        tape.write_file(&dump, 4 * BLOCK).unwrap();
        let _ = tape.space(Space::EndOfData).unwrap();
        match write(&mut tape, &dump, &mut catalog, archive_blocks) {
            Ok(()) => break,
            Err(error) => assert_eq!(error, CatalogWriteError::EndOfMedium),
        }
        full += 1;
        assert!(read(&mut tape, 1, ID).is_err() || content(&tape, 1).len() > catalog.len());
        assert_eq!(content(&tape, 0), dump);
    }
    assert!(full > 5);
}

/// The catalog as a scan of the dump makes it, or the damage that was met.
fn rebuilt(
    tape: &mut MemTape<'_>,
    names: VolumeNames,
) -> (Vec<u8>, Vec<Damage>, crate::engine::rebuild::Rebuilt) {
    let (mut bytes, mut room, mut scratch) = (vec![0; REGION], vec![0; CATALOG_MEMORY_MIN], vec![0; 1 << 20]);
    let (mut stream, mut maps, mut sorted) = (vec![0; 257 << 10], vec![0; 6 * 1024], vec![0; 16 << 10]);
    let memory = RestoreMemory {
        stream: &mut stream,
        maps: &mut maps,
        chain: &mut [],
        names: &mut sorted,
        attributes: &mut [],
    };
    tape.rewind().unwrap();
    let scratch = MemBlock::new(&mut scratch, 512).unwrap();
    let mut restore =
        Restore::<_, _, _, PortableCrc32c>::new(tape, NullTarget::new(), scratch, memory).unwrap();
    let device = MemBlock::new(&mut bytes, 1024).unwrap();
    let catalog =
        CatalogWriter::<_, PortableCrc32c>::new(device, 0..REGION as u64, &mut room, identity(names))
            .unwrap();
    let mut rebuild = Rebuild::new(catalog);
    let mut damage = vec![];
    loop {
        let event = restore.step().unwrap();
        rebuild.handle_event(&mut restore, &event).unwrap();
        match event {
            RestoreEvent::Done(_) => break,
            RestoreEvent::Damage(found) => damage.push(found),
            _ => {}
        }
    }
    let (catalog, how) = rebuild.finish();
    let len = catalog.finish().unwrap().figures().len;
    bytes.truncate(len as usize);
    (bytes, damage, how)
}

#[test]
fn a_scan_of_the_dump_makes_the_same_catalog_byte_by_byte() {
    let (mut tape, catalog, _) = dumped();
    let names = sample().names().unwrap();
    let (found, damage, how) = rebuilt(&mut tape, names);
    assert_eq!((damage, how), (vec![], crate::engine::rebuild::Rebuilt::default()));
    assert_eq!(found, catalog);
}

#[test]
fn what_a_scan_finds_damaged_is_flawed_in_the_catalog() {
    let (tape, _, archive_blocks) = dumped();
    let good = content(&tape, 0);
    let names = sample().names().unwrap();
    // Data of the first file with any, behind its header.
    let at = (archive_blocks as usize..good.len() / BLOCK)
        .find(|at| {
            let block = good[at * BLOCK..(at + 1) * BLOCK].first_chunk().unwrap();
            let header = Header::new(block).parse::<PortableCrc32c>(Dialect::OURS);
            header.is_ok_and(|header| header.count > 0 && header.kind == HeaderKind::Inode)
        })
        .unwrap();
    let ino = Ino(u32::from_be_bytes(*good[at * BLOCK + 20..].first_chunk().unwrap()));
    let mut bad = good.clone();
    bad[(at + 1) * BLOCK] ^= 1;
    let (mut found, damage, how) = rebuilt(&mut forged(&bad, 4 * BLOCK), names);
    assert_eq!((damage.len(), how.flawed, how.flaws_missed, how.maps_damaged), (1, 1, false, false));
    let mut memory = vec![0; CATALOG_MEMORY_MIN];
    let device = MemBlock::new(&mut found, 1024).unwrap();
    let mut catalog = Catalog::<_, PortableCrc32c>::open(device, 0..REGION as u64, &mut memory).unwrap();
    assert!(catalog.object(ino).unwrap().unwrap().flaws.unread);
    // Of the maps, nothing may be wrong.
    let mut bad = good;
    bad[2 * BLOCK] ^= 0x10;
    assert!(rebuilt(&mut forged(&bad, 4 * BLOCK), names).2.maps_damaged);
}
