//! An append-only store of bytes that starts in memory and moves to an unlinked temporary file when it outgrows a
//! limit, so that what grows with the number of files does not grow in memory. Offsets in bytes.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, openat, unlinkat};

/// Bytes collected before they are written to the file.
const TAIL_LEN: usize = 64 * 1024;

/// Append-only bytes, read at any offset.
pub struct Spool {
    scratch_dir: Arc<Path>,
    memory_max: usize,
    file: Option<File>,
    /// What is in the file; `tail` follows it.
    written: u64,
    tail: Vec<u8>,
}

impl Spool {
    /// An empty spool that keeps up to `memory_max` bytes in memory, and its file in `scratch_dir`.
    #[must_use]
    pub fn new(scratch_dir: Arc<Path>, memory_max: usize) -> Self {
        Self { scratch_dir, memory_max, file: None, written: 0, tail: Vec::new() }
    }

    /// Bytes in the spool.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.written + self.tail.len() as u64
    }

    /// Whether nothing was appended yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the spool has outgrown memory.
    #[must_use]
    pub fn is_on_disk(&self) -> bool {
        self.file.is_some()
    }

    /// Appends `bytes` and gives where they begin.
    ///
    /// # Errors
    /// The temporary file could not be made or written.
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<u64> {
        let at = self.len();
        let tail_max = if self.file.is_some() { TAIL_LEN } else { self.memory_max };
        if self.tail.len() + bytes.len() > tail_max {
            self.write_tail()?;
        }
        self.tail.extend_from_slice(bytes);
        Ok(at)
    }

    /// Fills the front of `buf` from `at` and gives the length: less than `buf.len()` only at the end.
    ///
    /// # Errors
    /// The temporary file could not be read.
    pub fn read_at(&self, at: u64, buf: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        if let Some(file) = &self.file {
            let in_file = self.written.saturating_sub(at).min(buf.len() as u64) as usize;
            file.read_exact_at(&mut buf[..in_file], at)?;
            done = in_file;
        }
        let from = (at + done as u64).saturating_sub(self.written).min(self.tail.len() as u64) as usize;
        let rest = (buf.len() - done).min(self.tail.len() - from);
        buf[done..done + rest].copy_from_slice(&self.tail[from..from + rest]);
        Ok(done + rest)
    }

    fn write_tail(&mut self) -> io::Result<()> {
        if self.file.is_none() {
            self.file = Some(temporary_file(&self.scratch_dir)?);
        }
        if let Some(file) = &self.file {
            file.write_all_at(&self.tail, self.written)?;
        }
        self.written += self.tail.len() as u64;
        self.tail.clear();
        self.tail.shrink_to(TAIL_LEN);
        Ok(())
    }
}

/// A file in `dir` that has no name, so that nothing stays behind whatever ends the program.
fn temporary_file(dir: &Path) -> io::Result<File> {
    static SERIAL: AtomicU32 = AtomicU32::new(0);
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    if let Ok(fd) = openat(CWD, dir, flags | OFlags::TMPFILE, mode) {
        return Ok(File::from(fd));
    }
    // Not every file system knows nameless files.
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
    let path = dir.join(format!(".tapedump-{}-{serial}", std::process::id()));
    let fd = openat(CWD, &path, flags | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW, mode)?;
    unlinkat(CWD, &path, AtFlags::empty())?;
    Ok(File::from(fd))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spool(memory_max: usize) -> Spool {
        Spool::new(Arc::from(std::env::temp_dir()), memory_max)
    }

    #[test]
    fn gives_back_what_was_appended_in_memory_and_on_disk() {
        for memory_max in [0, 1, 100, 70_000, 1 << 20] {
            let mut spool = spool(memory_max);
            let mut model = Vec::new();
            for index in 0..20_000_u32 {
                let piece = index.to_le_bytes().repeat(1 + index as usize % 4);
                assert_eq!(spool.append(&piece).unwrap(), model.len() as u64);
                model.extend_from_slice(&piece);
            }
            assert_eq!(spool.len(), model.len() as u64);
            assert_eq!(spool.is_on_disk(), memory_max < model.len());
            for at in (0..model.len()).step_by(997) {
                let mut buf = vec![0xa5; 3000];
                let len = spool.read_at(at as u64, &mut buf).unwrap();
                assert_eq!(len, (model.len() - at).min(3000));
                assert_eq!(buf[..len], model[at..at + len]);
            }
        }
    }

    #[test]
    fn reads_nothing_at_and_beyond_the_end() {
        let mut spool = spool(4);
        spool.append(b"abcdef").unwrap();
        let mut buf = [0xa5; 4];
        assert_eq!(spool.read_at(6, &mut buf).unwrap(), 0);
        assert_eq!(spool.read_at(1000, &mut buf).unwrap(), 0);
        assert_eq!(spool.read_at(4, &mut buf).unwrap(), 2);
        assert_eq!(&buf[..2], b"ef");
    }

    #[test]
    fn a_directory_that_is_not_there_is_an_error() {
        let mut spool = Spool::new(Arc::from(Path::new("/nonexistent/scratch")), 0);
        assert_eq!(
            spool.append(b"x").and_then(|_| spool.append(b"y")).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
    }
}
