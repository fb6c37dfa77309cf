//! The board is standard output, the exit code, and six files in the directory that is given, or in a temporary one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;

use tapedump_core::device::ErrorKind;
use tapedump_firmware_sim::board::{Board, Report};
use tapedump_firmware_sim::demo::{self, Arenas, Memory, Nodes, STORAGE_LEN, no_arenas, no_nodes};
use tapedump_firmware_sim::engine::{BLOCKING_MAX, Work};
use tapedump_firmware_sim::files::{BoardFile, FileBlock, FileTape};

/// As on a board, the memory is there from the start and is all there is.
static NODES: Mutex<Nodes> = Mutex::new(no_nodes());
static ARENAS: Mutex<Arenas> = Mutex::new(no_arenas());
static WORK: Mutex<Work> = Mutex::new(Work::new());

struct Native;

impl Board for Native {
    fn log(&mut self, report: &Report) {
        // Whoever closes the output still gets the exit code.
        let _ = writeln!(io::stdout(), "{report}");
    }
}

struct Plain(File);

impl Plain {
    fn blank(path: &Path) -> io::Result<Self> {
        OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path).map(Self)
    }
}

impl BoardFile for Plain {
    fn length(&mut self) -> Result<u64, ErrorKind> {
        self.0.metadata().map(|metadata| metadata.len()).map_err(failed)
    }

    fn read_at(&mut self, at: u64, buf: &mut [u8]) -> Result<usize, ErrorKind> {
        let mut filled = 0;
        while filled < buf.len() {
            match self.0.read_at(&mut buf[filled..], at + filled as u64) {
                Ok(0) => break,
                Ok(len) => filled += len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(filled)
    }

    fn write_at(&mut self, at: u64, data: &[u8]) -> Result<(), ErrorKind> {
        self.0.write_all_at(data, at).map_err(failed)
    }

    fn clear(&mut self) -> Result<(), ErrorKind> {
        self.0.set_len(0).map_err(failed)
    }

    fn flush(&mut self) -> Result<(), ErrorKind> {
        self.0.sync_all().map_err(failed)
    }
}

fn failed(error: io::Error) -> ErrorKind {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Full,
        _ => ErrorKind::Medium,
    }
}

/// Removed with all it holds at the end.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // What cannot be removed is where temporary files are looked for.
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub fn main() -> ExitCode {
    let mut temporary = None;
    let given = std::env::args_os().nth(1).map(PathBuf::from);
    let dir = given.unwrap_or_else(|| {
        let dir = std::env::temp_dir().join(format!("tapedump-firmware-sim.{}", std::process::id()));
        temporary.insert(Temporary(dir)).0.clone()
    });
    match run(&dir) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{}: {error}", dir.display());
            ExitCode::FAILURE
        }
    }
}

fn run(dir: &Path) -> io::Result<bool> {
    fs::create_dir_all(dir)?;
    let storage = Plain::blank(&dir.join("storage.bin"))?;
    let other = |kind: ErrorKind| io::Error::other(kind.to_string());
    let tape =
        |name: &str| FileTape::new(Plain::blank(&dir.join(name))?, BLOCKING_MAX.record_len()).map_err(other);
    let [mut one, mut two, mut three] = [tape("demo.tape")?, tape("demo-1.tape")?, tape("demo-2.tape")?];
    let [mut first, mut second] = [tape("pair-001")?, tape("pair-002")?];
    let mut storage = FileBlock::new(storage, STORAGE_LEN);
    let (Ok(mut nodes), Ok(mut arenas), Ok(mut work)) = (NODES.lock(), ARENAS.lock(), WORK.lock()) else {
        return Ok(false);
    };
    let memory = Memory { nodes: &mut nodes, arenas: &mut arenas, work: &mut work };
    let tapes = [&mut one, &mut two, &mut three, &mut first, &mut second];
    Ok(demo::run(memory, tapes, &mut storage, &mut Native).is_ok())
}
