//! Every tape of the host, and combinations of them, under the one suite for tapes.

use std::num::NonZeroU64;
use std::path::Path;
use tapedump::tape::Stop;
use tapedump::tape::Tape;
use tapedump::tape::compressed::Compressed;
use tapedump::tape::qualify::{Check, checks, fill, one_tape_file_checks};
use tapedump::tape::read_ahead::ReadAhead;
use tapedump::tape::stream_file::StreamFile;
use tapedump::tape::virtual_tape::{Access, VirtualTape};
use tapedump::tape::write_behind::WriteBehind;
use tapedump_core::device::mem::MemTape;
use tapedump_core::device::tape::TapeDevice;

/// Makes blank virtual tapes below a directory that lasts as long as this.
struct Tapes(tempfile::TempDir);

impl Tapes {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    fn blank(&self, capacity: Option<u64>) -> VirtualTape {
        let number = std::fs::read_dir(self.0.path()).expect("the directory").count();
        let dir = self.0.path().join(format!("tape-{number}"));
        VirtualTape::create(&dir, "test", capacity.and_then(NonZeroU64::new)).expect("a tape");
        VirtualTape::open(&dir, Access::Write).expect("the tape opens")
    }
}

fn run<T: TapeDevice>(checks: &[Check<T>], make: impl Fn() -> T) {
    assert!(!checks.is_empty());
    for check in checks {
        if let Err(what) = check.run(&|| Ok(make())) {
            panic!("{}: {}: {what}", check.area.name(), check.name);
        }
    }
}

fn tape_device_contract<T: TapeDevice>(make: impl Fn() -> T) {
    run(&checks(), make);
}

fn one_tape_file_contract<T: TapeDevice>(make: impl Fn() -> T) {
    run(&one_tape_file_checks(), make);
}

/// The early warning comes at least `warned_records` records before the end.
fn end_of_medium_contract<T: TapeDevice>(make: impl Fn() -> T, record_len: usize, warned_records: u64) {
    let found = fill(make(), record_len, 1 << 32).expect("the contract holds");
    assert!(found.early_warning >= warned_records * record_len as u64, "{found:?}");
}

#[test]
fn virtual_tape() {
    let tapes = Tapes::new();
    tape_device_contract(|| tapes.blank(None));
    tape_device_contract(|| tapes.blank(Some(2 << 30)));
}

/// The core's tape in memory. Its bytes are never freed: a tape is lent them for good.
#[test]
fn memory() {
    let medium = |len: usize| Vec::leak(vec![0; len]);
    tape_device_contract(|| MemTape::blank(medium(5 << 20)).with_record_len_max(64 << 10));
    end_of_medium_contract(|| MemTape::blank(medium(1 << 20)).with_early_warning(128 << 10), 4096, 30);
}

#[test]
fn plain_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let blank = |path: &Path| {
        if path.exists() {
            std::fs::remove_file(path).expect("the last tape");
        }
        StreamFile::open_for_writing(path).expect("a tape")
    };
    one_tape_file_contract(|| blank(&dir.path().join("image")));
}

#[test]
fn read_ahead() {
    let tapes = Tapes::new();
    for queue_len in [0, 3 * 4096, 1 << 20] {
        tape_device_contract(|| {
            ReadAhead::new(tapes.blank(None), queue_len, Stop::never()).expect("a thread")
        });
    }
}

#[test]
fn write_behind() {
    let tapes = Tapes::new();
    for depth in [1, 3, 64] {
        tape_device_contract(|| {
            WriteBehind::new("tape", tapes.blank(None), depth, Stop::never()).expect("a thread")
        });
    }
}

#[test]
fn compressed_reader_over_plain_data() {
    let tapes = Tapes::new();
    tape_device_contract(|| Compressed::new(tapes.blank(None)).expect("a position"));
}

#[test]
fn all_of_them_on_top_of_each_other() {
    let tapes = Tapes::new();
    tape_device_contract(|| {
        let tape = Compressed::new(tapes.blank(None)).expect("a position");
        let tape: Box<dyn Tape> =
            Box::new(WriteBehind::new("tape", tape, 4, Stop::never()).expect("a thread"));
        ReadAhead::new(tape, 16 * 4096, Stop::never()).expect("a thread")
    });
}

#[test]
fn end_of_medium() {
    let tapes = Tapes::new();
    // An eighth of 1 MiB is the early warning: 32 records of 4 KiB.
    end_of_medium_contract(|| tapes.blank(Some(1 << 20)), 4096, 31);
    end_of_medium_contract(|| tapes.blank(Some((1 << 20) + 1000)), 4096, 31);
    let behind =
        |depth| WriteBehind::new("tape", tapes.blank(Some(1 << 20)), depth, Stop::never()).expect("a thread");
    for depth in [1, 8, 24] {
        // How late the warning reaches the caller depends on the queue; that the end is told truly does not.
        end_of_medium_contract(|| behind(depth), 4096, 31 - 24);
    }
}
