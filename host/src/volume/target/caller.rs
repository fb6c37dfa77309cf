//! Who restores: what this process may do, and what objects it makes get by themselves.

use super::handle::Handle;
use rustix::fs::{AtFlags, FileType, Mode, StatxFlags, statx};
use rustix::io::{self, Errno};
use rustix::process::geteuid;
use rustix::time::{ClockId, clock_gettime};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use tapedump_core::device::volume::Attributes;
use tapedump_core::units::Ino;

/// Directories that wait for permissions that would lock their owner out; each holds a descriptor.
const LOCKED_MAX: usize = 256;

/// Seconds by which the clock of a file server may be behind.
const CLOCKS_APART_MAX: i64 = 5;

/// The process as the restore sees it; workers share it.
#[derive(Debug)]
pub(crate) struct Caller {
    superuser: bool,
    umask: u16,
    /// When the restore began, as file systems note the time.
    started: i64,
    /// Whether giving files away might be allowed; false once it was refused.
    may_give: AtomicBool,
    locked: Mutex<Vec<Locked>>,
    kept_owner: AtomicU64,
    kept_set_id: AtomicU64,
}

/// How many objects are not as on the dump, because that takes the superuser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    /// Without their owner or group.
    pub(crate) owner: u64,
    /// Of these, without set-id bits that they had.
    pub(crate) set_id: u64,
}

/// A directory that gets its permissions last.
#[derive(Debug)]
pub(crate) struct Locked {
    pub(crate) ino: Ino,
    pub(super) handle: Handle,
    pub(super) permissions: u16,
}

/// Which of an object's owners it got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Given {
    pub(super) uid: bool,
    pub(super) gid: bool,
}

impl Caller {
    pub(crate) fn of_this_process() -> Self {
        Self {
            superuser: geteuid().is_root(),
            umask: umask(),
            started: clock_gettime(ClockId::RealtimeCoarse).tv_sec,
            may_give: AtomicBool::new(true),
            locked: Mutex::default(),
            kept_owner: AtomicU64::new(0),
            kept_set_id: AtomicU64::new(0),
        }
    }

    /// What this process could not give so far.
    pub(crate) fn count(&self) -> Kept {
        Kept {
            owner: self.kept_owner.load(Ordering::Relaxed),
            set_id: self.kept_set_id.load(Ordering::Relaxed),
        }
    }

    /// Notes an object that does not have all of its owners, and whether it lost set-id bits.
    fn note_kept(&self, given: Given, permissions: u16) {
        let lost = if given.uid { 0 } else { 0o4000 } | if given.gid { 0 } else { 0o2000 };
        self.kept_owner.fetch_add(1, Ordering::Relaxed);
        if permissions & lost != 0 {
            self.kept_set_id.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether an object under a name may be what this restore made there. Somebody who owns the directory may have put another
    /// name of a file in its place that is not his: one with several names, and older than the restore.
    pub(super) fn may_have_made(&self, handle: &Handle) -> io::Result<bool> {
        let mask = StatxFlags::TYPE | StatxFlags::NLINK | StatxFlags::BTIME;
        let stat = statx(handle.fd(), c"", AtFlags::EMPTY_PATH, mask)?;
        let is_directory = FileType::from_raw_mode(stat.stx_mode.into()) == FileType::Directory;
        let has_birth = stat.stx_mask & StatxFlags::BTIME.bits() != 0;
        Ok(is_directory
            || stat.stx_nlink <= 1
            || !has_birth
            || stat.stx_btime.tv_sec >= self.started - CLOCKS_APART_MAX)
    }

    /// Whether permissions do not bind this process.
    pub(super) const fn is_superuser(&self) -> bool {
        self.superuser
    }

    /// Whether a directory needs its owner's permissions set once more after it was made.
    pub(super) const fn masks_owner(&self) -> bool {
        self.umask & 0o700 != 0
    }

    /// The mode to ask for when making an object that shall have `permissions`, and the one that it has then.
    ///
    /// Until the object has its owner and ACL, its group is the caller's, who must not get more than everybody
    /// does. Set-id bits come last.
    pub(super) fn birth_mode(&self, permissions: u16) -> (Mode, u16) {
        let (group, other) = (permissions >> 3 & 7, permissions & 7);
        let mut mode = permissions & 0o777;
        if group & !other != 0 {
            mode &= !0o070;
        }
        (Mode::from_raw_mode(mode.into()), mode & !self.umask)
    }

    /// Gives an object that belongs to `owner` (user and group) to those of `attributes`.
    ///
    /// Who is not the superuser keeps what he restores, as with other programs: that is no failure, but counted.
    pub(super) fn give(
        &self,
        handle: &Handle,
        owner: (u32, u32),
        attributes: &Attributes,
    ) -> (Given, io::Result<()>) {
        let uid = (attributes.uid != owner.0).then_some(attributes.uid);
        let gid = (attributes.gid != owner.1).then_some(attributes.gid);
        let all = Given { uid: true, gid: true };
        if uid.is_none() && gid.is_none() {
            return (all, Ok(()));
        }
        let none = Given { uid: uid.is_none(), gid: gid.is_none() };
        if self.superuser {
            return match handle.set_owner(uid, gid) {
                Ok(()) => (all, Ok(())),
                Err(errno) => (none, Err(errno)),
            };
        }
        if uid.is_some() && self.may_give.load(Ordering::Relaxed) {
            match handle.set_owner(uid, gid) {
                Ok(()) => return (all, Ok(())),
                Err(Errno::PERM) => self.may_give.store(false, Ordering::Relaxed),
                Err(_) => {}
            }
        }
        let given = match handle.set_owner(None, gid) {
            Ok(()) => Given { uid: uid.is_none(), gid: true },
            Err(Errno::PERM | Errno::ACCESS | Errno::INVAL) => none,
            Err(errno) => return (none, Err(errno)),
        };
        if given != all {
            self.note_kept(given, attributes.permissions);
        }
        (given, Ok(()))
    }

    /// Takes a directory whose permissions would keep its owner from reaching what is in it. Gives it back when
    /// there are too many.
    pub(super) fn lock_later(&self, directory: Locked) -> Result<(), Locked> {
        let mut locked = self.locked.lock().unwrap_or_else(PoisonError::into_inner);
        if locked.len() >= LOCKED_MAX {
            return Err(directory);
        }
        locked.push(directory);
        Ok(())
    }

    /// The directories that waited.
    pub(super) fn take_locked(&self) -> Vec<Locked> {
        std::mem::take(&mut self.locked.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// This process' mask of permission bits. When the system does not tell it without changing it, as if it took
/// everything away: then each object's permissions are set once more.
pub(crate) fn umask() -> u16 {
    std::fs::read_to_string("/proc/self/status").ok().and_then(|status| umask_of(&status)).unwrap_or(0o777)
}

fn umask_of(status: &str) -> Option<u16> {
    let digits = status.lines().find_map(|line| line.strip_prefix("Umask:"))?;
    u16::from_str_radix(digits.trim(), 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(umask: u16) -> Caller {
        Caller { superuser: true, umask, ..Caller::of_this_process() }
    }

    #[test]
    fn an_object_is_born_with_its_permissions_unless_a_foreign_group_profits() {
        let modes = |permissions| {
            let (mode, expected) = caller(0o022).birth_mode(permissions);
            (mode.as_raw_mode(), expected)
        };
        assert_eq!(modes(0o644), (0o644, 0o644));
        assert_eq!(modes(0o666), (0o666, 0o644));
        assert_eq!(modes(0o640), (0o600, 0o600));
        assert_eq!(modes(0o775), (0o705, 0o705));
        assert_eq!(modes(0o4755), (0o755, 0o755));
        assert_eq!(modes(0o1777), (0o777, 0o755));
    }

    #[test]
    fn older_files_with_several_names_were_not_made_here() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        std::fs::write(&file, "").unwrap();
        let handle = || Handle::File(std::fs::File::open(&file).unwrap().into());
        let now = Caller::of_this_process();
        let later = Caller { started: now.started + 100, ..Caller::of_this_process() };
        assert!(later.may_have_made(&handle()).unwrap());
        std::fs::hard_link(&file, link).unwrap();
        assert!(now.may_have_made(&handle()).unwrap());
        // Some file systems do not tell.
        if std::fs::metadata(&file).unwrap().created().is_ok() {
            assert!(!later.may_have_made(&handle()).unwrap());
        }
        let directory = Handle::Path(std::fs::File::open(dir.path()).unwrap().into());
        assert!(later.may_have_made(&directory).unwrap());
    }

    #[test]
    fn the_mask_is_read_from_the_system() {
        assert_eq!(umask_of("Name:\tx\nUmask:\t0027\nState:\tR\n"), Some(0o027));
        assert_eq!(umask_of("Name:\tx\n"), None);
        assert!(umask() <= 0o777);
    }
}
