//! Extended attributes and ACLs of an open object.

use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::buffer::spare_capacity;
use rustix::fs::{fgetxattr, flistxattr, getxattr, listxattr};
use rustix::io::Errno;

/// Longest list of names and longest value of Linux (`XATTR_LIST_MAX`, `XATTR_SIZE_MAX`), in bytes.
const VALUE_LEN_MAX: usize = 64 * 1024;
const ACCESS_ACL: &[u8] = b"system.posix_acl_access";
const DEFAULT_ACL: &[u8] = b"system.posix_acl_default";

/// Bytes tried first for the list of names.
const LIST_LEN: usize = 2 * 1024;

/// How the attributes of an object are asked for.
pub enum Access<'a> {
    /// It is open for reading.
    Fd(BorrowedFd<'a>),
    /// It is open by `O_PATH` only: by its name in `/proc/self/fd`, which leads to a link itself, too.
    Path(CString),
}

impl<'a> Access<'a> {
    /// Access through `fd`; `by_path` if that is an `O_PATH` one.
    pub fn new(fd: BorrowedFd<'a>, by_path: bool) -> Self {
        if by_path {
            let path = format!("/proc/self/fd/{}\0", fd.as_raw_fd());
            return Self::Path(CStr::from_bytes_until_nul(path.as_bytes()).unwrap_or_default().to_owned());
        }
        Self::Fd(fd)
    }

    /// Puts the names of all attributes in `names`, each followed by NUL.
    ///
    /// # Errors
    /// They cannot be listed. A file system that knows no attributes has none.
    pub fn list(&self, names: &mut Vec<u8>) -> Result<(), Errno> {
        let mut len_max = LIST_LEN;
        loop {
            names.clear();
            names.reserve(len_max);
            let result = match self {
                Self::Fd(fd) => flistxattr(fd, spare_capacity(names)),
                Self::Path(path) => listxattr(path.as_c_str(), spare_capacity(names)),
            };
            match result {
                Err(Errno::RANGE) if len_max < VALUE_LEN_MAX => len_max = VALUE_LEN_MAX,
                Ok(_) | Err(Errno::OPNOTSUPP) => return Ok(()),
                Err(errno) => return Err(errno),
            }
        }
    }

    /// Puts the value of an attribute in `value`.
    ///
    /// # Errors
    /// It is gone or may not be read.
    pub fn value(&self, name: &CStr, value: &mut Vec<u8>) -> Result<(), Errno> {
        value.clear();
        value.reserve(VALUE_LEN_MAX);
        match self {
            Self::Fd(fd) => fgetxattr(fd, name, spare_capacity(value)),
            Self::Path(path) => getxattr(path.as_c_str(), name, spare_capacity(value)),
        }
        .map(drop)
    }
}

/// The names in a list, without those that show an ACL of the list once more: XFS also lists the form in which it
/// stores ACLs, which means nothing elsewhere.
pub fn names(list: &[u8]) -> impl Iterator<Item = &CStr> {
    let all =
        || list.split_inclusive(|byte| *byte == 0).filter_map(|name| CStr::from_bytes_with_nul(name).ok());
    all().filter(move |name| match name.to_bytes() {
        b"trusted.SGI_ACL_FILE" => !all().any(|other| other.to_bytes() == ACCESS_ACL),
        b"trusted.SGI_ACL_DEFAULT" => !all().any(|other| other.to_bytes() == DEFAULT_ACL),
        _ => true,
    })
}

/// One property kept in memory.
pub struct Kept<'a> {
    /// Set if the value (or, without a name, the list of properties) could not be read.
    pub errno: Option<Errno>,
    pub name: &'a [u8],
    pub value: &'a [u8],
}

const KEPT_FIXED_LEN: usize = 4 + 1 + 4;

impl<'a> Kept<'a> {
    /// Appends the property to `bytes`.
    pub fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.errno.map_or(0, Errno::raw_os_error).to_le_bytes());
        bytes.push(self.name.len() as u8);
        bytes.extend_from_slice(&(self.value.len() as u32).to_le_bytes());
        bytes.extend_from_slice(self.name);
        bytes.extend_from_slice(self.value);
    }

    /// Takes a property from the front of `bytes`; gives the rest, too.
    pub fn decode(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (fixed, rest) = bytes.split_first_chunk::<KEPT_FIXED_LEN>()?;
        let [e0, e1, e2, e3, name_len, v0, v1, v2, v3] = *fixed;
        let (name, rest) = rest.split_at_checked(usize::from(name_len))?;
        let (value, rest) = rest.split_at_checked(u32::from_le_bytes([v0, v1, v2, v3]) as usize)?;
        let errno = i32::from_le_bytes([e0, e1, e2, e3]);
        let errno = (errno != 0).then(|| Errno::from_raw_os_error(errno));
        Some((Self { errno, name, value }, rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tapedump_core::limits::NAME_LEN_MAX;

    fn listed(list: &[u8]) -> Vec<&str> {
        names(list).map(|name| name.to_str().unwrap()).collect()
    }

    #[test]
    fn an_acl_is_listed_once() {
        let list = b"trusted.SGI_ACL_FILE\0user.a\0trusted.SGI_ACL_DEFAULT\0system.posix_acl_access\0";
        assert_eq!(listed(list), ["user.a", "trusted.SGI_ACL_DEFAULT", "system.posix_acl_access"]);
        assert_eq!(listed(b"trusted.SGI_ACL_FILE\0"), ["trusted.SGI_ACL_FILE"]);
        assert!(listed(b"").is_empty());
    }

    #[test]
    fn kept_properties_come_back_in_order_and_whole() {
        let mut bytes = Vec::new();
        let long_name = [b'n'; NAME_LEN_MAX];
        let long_value = vec![7; VALUE_LEN_MAX];
        Kept { errno: None, name: &long_name, value: &long_value }.encode(&mut bytes);
        Kept { errno: Some(Errno::ACCESS), name: b"security.x", value: b"" }.encode(&mut bytes);
        let (first, rest) = Kept::decode(&bytes).unwrap();
        assert!(first.errno.is_none() && first.name == long_name && first.value == long_value);
        let (second, rest) = Kept::decode(rest).unwrap();
        assert_eq!(
            (second.errno, second.name, second.value),
            (Some(Errno::ACCESS), b"security.x".as_slice(), b"".as_slice())
        );
        assert!(Kept::decode(rest).is_none());
        assert!(Kept::decode(&bytes[..bytes.len() - 20]).and_then(|(_, rest)| Kept::decode(rest)).is_none());
    }
}
