//! The kernel's tape interface, `<linux/mtio.h>`: the three ioctls of the `st` driver and nothing else. Layer: below
//! [`super::st`].

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::raw::{c_int, c_long, c_short};

/// The major number of SCSI tape drives (`SCSI_TAPE_MAJOR`).
pub(super) const TAPE_MAJOR: u32 = 9;

/// `struct mtop`.
#[repr(C)]
pub struct MtOp {
    op: c_short,
    count: c_int,
}

/// `struct mtget`.
#[repr(C)]
#[derive(Default)]
pub struct MtGet {
    kind: c_long,
    resid: c_long,
    dsreg: c_long,
    gstat: c_long,
    erreg: c_long,
    fileno: c_int,
    blkno: c_int,
}

/// `struct mtpos`.
#[repr(C)]
#[derive(Default)]
pub struct MtPos {
    blkno: c_long,
}

mod ioctl {
    #![allow(missing_docs, reason = "the macros make the functions")]
    use super::{MtGet, MtOp, MtPos};

    nix::ioctl_write_ptr!(mtioctop, b'm', 1, MtOp);
    nix::ioctl_read!(mtiocget, b'm', 2, MtGet);
    nix::ioctl_read!(mtiocpos, b'm', 3, MtPos);
}

/// What a drive is told to do; the numbers are the kernel's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i16)]
pub(super) enum Op {
    /// `MTFSF`: over filemarks, towards the end.
    ForwardFilemarks = 1,
    /// `MTBSF`: over filemarks, towards the beginning.
    BackFilemarks = 2,
    /// `MTFSR`: over records, towards the end.
    ForwardRecords = 3,
    /// `MTBSR`: over records, towards the beginning.
    BackRecords = 4,
    /// `MTWEOF`: write filemarks and wait until all is on the medium; with 0 only wait.
    WriteFilemarks = 5,
    /// `MTREW`
    Rewind = 6,
    /// `MTOFFL`: rewind and eject.
    Unload = 7,
    /// `MTEOM`: to the end of data.
    EndOfData = 12,
    /// `MTERASE`: from here on; with 0 quickly, by a mark, otherwise all of the tape.
    Erase = 13,
    /// `MTSETBLK`: length of records; 0: each has its own.
    SetRecordLen = 20,
    /// `MTSEEK`: to a logical block.
    Seek = 22,
}

/// What `MTIOCGET` tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Status {
    flags: u32,
    /// Length of all records; 0: each has its own.
    pub record_len: u32,
    /// The tape file by the driver's count, which it may have lost.
    pub file: Option<u32>,
    /// The record in that file, the same way.
    pub record: Option<u64>,
    /// Errors the drive corrected since this was asked last.
    pub soft_errors: u32,
}

impl Status {
    /// The last operation ended behind a filemark (`GMT_EOF`).
    pub fn behind_filemark(self) -> bool {
        self.flags & 0x8000_0000 != 0
    }
    /// The last operation ended at the end of data (`GMT_EOD`).
    pub fn end_of_data(self) -> bool {
        self.flags & 0x0800_0000 != 0
    }
    /// `GMT_WR_PROT`
    pub fn write_protected(self) -> bool {
        self.flags & 0x0400_0000 != 0
    }
    /// A cartridge is in and ready (`GMT_ONLINE`).
    pub fn online(self) -> bool {
        self.flags & 0x0100_0000 != 0
    }
    /// No cartridge is in (`GMT_DR_OPEN`).
    pub fn empty(self) -> bool {
        self.flags & 0x0004_0000 != 0
    }
}

impl From<MtGet> for Status {
    fn from(get: MtGet) -> Self {
        Self {
            // The kernel's longs hold 32 bits here.
            flags: get.gstat as u32,
            record_len: get.dsreg as u32 & 0x00ff_ffff,
            file: u32::try_from(get.fileno).ok(),
            record: u64::try_from(get.blkno).ok(),
            soft_errors: get.erreg as u32 & 0xffff,
        }
    }
}

/// An open tape drive.
#[derive(Debug)]
pub(super) struct Drive(File);

impl Drive {
    /// Takes a file, which the caller found to be a tape drive.
    pub fn new(file: File) -> Self {
        Self(file)
    }

    /// The open file.
    pub fn file(&self) -> &File {
        &self.0
    }

    /// `MTIOCTOP`
    pub fn operate(&self, op: Op, count: i32) -> io::Result<()> {
        let operation = MtOp { op: op as c_short, count };
        // SAFETY: the descriptor is open as long as `self` is, and `operation` is a `struct mtop` as the kernel
        // declares it (`repr(C)`: a short, then an int), which the kernel only reads while the call lasts.
        unsafe { ioctl::mtioctop(self.0.as_raw_fd(), &operation) }?;
        Ok(())
    }

    /// `MTIOCGET`
    pub fn status(&self) -> io::Result<Status> {
        let mut get = MtGet::default();
        // SAFETY: the descriptor is open as long as `self` is, and `get` is a `struct mtget` as the kernel declares it
        // (`repr(C)`: five longs, two ints), exclusively borrowed while the call lasts. The kernel writes no more
        // than the length that is part of the request's number, and all bit patterns of integers are valid.
        unsafe { ioctl::mtiocget(self.0.as_raw_fd(), &mut get) }?;
        Ok(get.into())
    }

    /// `MTIOCPOS`: the logical block the drive is at, where records and filemarks count one each.
    pub fn block(&self) -> io::Result<u64> {
        let mut pos = MtPos::default();
        // SAFETY: as for `status`, with `struct mtpos`, which is one long.
        unsafe { ioctl::mtiocpos(self.0.as_raw_fd(), &mut pos) }?;
        u64::try_from(pos.blkno).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))
    }

    /// One record, or 0 at a mark.
    pub fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        (&self.0).read(buf)
    }

    /// One record.
    pub fn write(&self, record: &[u8]) -> io::Result<usize> {
        (&self.0).write(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As measured with the kernel's header on 64-bit and 32-bit Linux.
    #[test]
    fn the_structures_are_the_kernels() {
        let long = size_of::<c_long>();
        assert_eq!((size_of::<MtOp>(), std::mem::offset_of!(MtOp, count)), (8, 4));
        assert_eq!((size_of::<MtGet>(), std::mem::offset_of!(MtGet, fileno)), (5 * long + 8, 5 * long));
        assert_eq!(size_of::<MtPos>(), long);
    }

    #[test]
    fn status_flags() {
        let status = |gstat| Status::from(MtGet { gstat, ..MtGet::default() });
        let blank = status(0x4101_0000);
        assert!(blank.online() && !blank.empty() && !blank.write_protected() && !blank.end_of_data());
        assert!(status(0x0005_0000).empty());
        assert!(status(0x4501_0000).write_protected());
        assert!(status(0x8101_0000).behind_filemark());
        assert!(status(0x0901_0000).end_of_data());
        let unknown =
            Status::from(MtGet { fileno: -1, blkno: -1, dsreg: 0x5800_0200, erreg: 3, ..MtGet::default() });
        assert_eq!((unknown.file, unknown.record), (None, None));
        assert_eq!((unknown.record_len, unknown.soft_errors), (512, 3));
    }

    #[test]
    fn what_is_no_drive_takes_no_operation() {
        let drive = Drive::new(File::open("/dev/null").unwrap());
        assert_eq!(
            drive.operate(Op::Rewind, 1).unwrap_err().raw_os_error(),
            Some(nix::errno::Errno::ENOTTY as i32)
        );
        assert!(drive.status().is_err() && drive.block().is_err());
    }
}
