//! A board under an emulator or a debugger: its tapes and its block device are files of the host, by semihosting; its
//! log goes there by defmt; its exit code says how it went.

#[cfg_attr(target_arch = "arm", path = "cortex_m.rs")]
#[cfg_attr(target_arch = "riscv32", path = "riscv.rs")]
mod machine;

use core::cell::RefCell;
use core::ffi::CStr;
use core::panic::PanicInfo;

use critical_section::Mutex;
use defmt_semihosting as _;
use semihosting::fs::{File, OpenOptions};
use semihosting::io::{Read, Seek, SeekFrom, Write};
use semihosting::process;
use tapedump_core::device::ErrorKind;
use tapedump_firmware_sim::board::{Board, Report};
use tapedump_firmware_sim::demo::{self, Arenas, Memory, Nodes, STORAGE_LEN, TAPES, no_arenas, no_nodes};
use tapedump_firmware_sim::engine::{BLOCKING_MAX, Work};
use tapedump_firmware_sim::files::{BoardFile, FileBlock, FileTape};

/// The board's disks. Not part of what the engines need.
static DISK_NODES: Mutex<RefCell<Nodes>> = Mutex::new(RefCell::new(no_nodes()));
static DISK_ARENAS: Mutex<RefCell<Arenas>> = Mutex::new(RefCell::new(no_arenas()));
/// What the engines work with.
static ENGINE_WORK: Mutex<RefCell<Work>> = Mutex::new(RefCell::new(Work::new()));

const PATHS: [&CStr; TAPES] = [c"demo.tape", c"demo-1.tape", c"demo-2.tape", c"pair-001", c"pair-002"];
const STORAGE: &CStr = c"storage.bin";

/// Exit codes; 0 is success.
const FAILED: i32 = 1;
const NO_FILES: i32 = 2;
const PANICKED: i32 = 101;

struct Emulated;

impl Board for Emulated {
    fn log(&mut self, report: &Report) {
        match report {
            Report::Failed(deviation) => defmt::error!("FAILED: {}", deviation),
            Report::Told(trouble) => defmt::warn!("told: {}", trouble),
            report => defmt::info!("{}", report),
        }
    }
}

/// A file of the host.
struct HostFile {
    file: File,
    path: &'static CStr,
}

impl HostFile {
    fn blank(path: &'static CStr) -> Result<Self, ErrorKind> {
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)
            .map(|file| Self { file, path })
            .map_err(|_| ErrorKind::Other)
    }

    fn seek(&mut self, at: u64) -> Result<(), ErrorKind> {
        self.file.seek(SeekFrom::Start(at)).map(|_| ()).map_err(|_| ErrorKind::Medium)
    }
}

impl BoardFile for HostFile {
    fn length(&mut self) -> Result<u64, ErrorKind> {
        self.file.metadata().map(|metadata| metadata.len()).map_err(|_| ErrorKind::Medium)
    }

    fn read_at(&mut self, at: u64, buf: &mut [u8]) -> Result<usize, ErrorKind> {
        // Some hosts refuse to go beyond the end.
        if at >= self.length()? {
            return Ok(0);
        }
        self.seek(at)?;
        let mut filled = 0;
        while let Some(rest) = buf.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.file.read(rest).map_err(|_| ErrorKind::Medium)? {
                0 => break,
                len => filled += len,
            }
        }
        Ok(filled)
    }

    fn write_at(&mut self, at: u64, data: &[u8]) -> Result<(), ErrorKind> {
        self.seek(at)?;
        self.file.write_all(data).map_err(|_| ErrorKind::Medium)
    }

    fn clear(&mut self) -> Result<(), ErrorKind> {
        *self = Self::blank(self.path)?;
        Ok(())
    }

    fn flush(&mut self) -> Result<(), ErrorKind> {
        // Semihosting has no such call; the host holds what was written.
        Ok(())
    }
}

/// Called by the machine's entry point, once, with its stack painted.
fn run() -> ! {
    // Used where they are: taken out of the result, they would be on the stack once more.
    let code = match &mut devices() {
        Ok((tapes, storage)) => critical_section::with(|cs| {
            let nodes = &mut *DISK_NODES.borrow_ref_mut(cs);
            let arenas = &mut *DISK_ARENAS.borrow_ref_mut(cs);
            let work = &mut *ENGINE_WORK.borrow_ref_mut(cs);
            let memory = Memory { nodes, arenas, work };
            demo::run(memory, tapes.each_mut(), storage, &mut Emulated).map_or(FAILED, |()| 0)
        }),
        Err(kind) => {
            defmt::error!("cannot open the files of tapes and block device: {}", *kind);
            NO_FILES
        }
    };
    defmt::info!("stack: {=usize} bytes at the most", machine::stack_used());
    process::exit(code)
}

type Devices = ([FileTape<HostFile>; TAPES], FileBlock<HostFile>);

#[inline(never)]
fn devices() -> Result<Devices, ErrorKind> {
    let tape = |path| FileTape::new(HostFile::blank(path)?, BLOCKING_MAX.record_len());
    let [one, two, three, first, second] = PATHS.map(tape);
    Ok(([one?, two?, three?, first?, second?], FileBlock::new(HostFile::blank(STORAGE)?, STORAGE_LEN)))
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    if let Some(place) = info.location() {
        defmt::error!("panic at {=str}:{=u32}", place.file(), place.line());
    }
    process::exit(PANICKED)
}
