//! What an error number of the kernel means to the engine.

use rustix::io::Errno;
use tapedump_core::device::ErrorKind;

/// The kind of failure that an error number stands for.
#[must_use]
pub fn kind_of(errno: Errno) -> ErrorKind {
    match errno {
        Errno::NOENT | Errno::NODATA => ErrorKind::NotFound,
        // A component that was a directory is none, a link is where none was, or the server forgot the file.
        Errno::NOTDIR | Errno::LOOP | Errno::STALE => ErrorKind::Changed,
        Errno::ACCESS | Errno::PERM => ErrorKind::Denied,
        Errno::EXIST | Errno::ISDIR | Errno::NOTEMPTY => ErrorKind::Exists,
        Errno::NOSPC | Errno::DQUOT => ErrorKind::Full,
        Errno::ROFS => ErrorKind::ReadOnly,
        Errno::BUSY | Errno::TXTBSY | Errno::AGAIN => ErrorKind::Busy,
        Errno::INTR => ErrorKind::Interrupted,
        Errno::OPNOTSUPP | Errno::NOSYS | Errno::NOTTY | Errno::XDEV | Errno::MLINK => ErrorKind::Unsupported,
        // Within the contract, but more than this file system holds.
        Errno::FBIG | Errno::TOOBIG | Errno::RANGE | Errno::OVERFLOW | Errno::NAMETOOLONG => {
            ErrorKind::Unsupported
        }
        Errno::IO | Errno::NXIO | Errno::NODEV | Errno::REMOTEIO | Errno::UCLEAN | Errno::BADMSG => {
            ErrorKind::Medium
        }
        Errno::INVAL | Errno::BADF | Errno::ILSEQ => ErrorKind::Invalid,
        _ => ErrorKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stops_a_restore_is_told_from_what_concerns_one_object() {
        assert_eq!(kind_of(Errno::NOSPC), ErrorKind::Full);
        assert_eq!(kind_of(Errno::DQUOT), ErrorKind::Full);
        assert_eq!(kind_of(Errno::ROFS), ErrorKind::ReadOnly);
        assert_eq!(kind_of(Errno::INTR), ErrorKind::Interrupted);
        for errno in [Errno::FBIG, Errno::PERM, Errno::NAMETOOLONG, Errno::IO, Errno::MFILE] {
            let kind = kind_of(errno);
            assert!(
                !matches!(kind, ErrorKind::Full | ErrorKind::ReadOnly | ErrorKind::Interrupted),
                "{kind:?}"
            );
        }
    }

    #[test]
    fn a_link_where_a_directory_was_is_a_change() {
        assert_eq!(kind_of(Errno::LOOP), ErrorKind::Changed);
        assert_eq!(kind_of(Errno::NOTDIR), ErrorKind::Changed);
        assert_eq!(kind_of(Errno::NOENT), ErrorKind::NotFound);
    }
}
