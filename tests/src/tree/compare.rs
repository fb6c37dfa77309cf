//! Comparison of trees, with what a third party is not expected to keep left out.

use std::fmt;

use super::{Entry, Kind, Time, Tree, abridged, printable};

/// How exact times must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Precision {
    Nanoseconds,
    Microseconds,
    Seconds,
    Ignored,
}

/// What is compared.
#[derive(Clone, Copy, Debug)]
pub struct Compare {
    modified: Precision,
    link_times: bool,
    accessed: bool,
    owners: bool,
    xattrs: bool,
    holes: bool,
    root: bool,
}

/// One difference, ready to print.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The path it concerns.
    pub path: Vec<u8>,
    /// What differs.
    pub what: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", abridged(&self.path), self.what)
    }
}

impl Compare {
    /// Everything but access times.
    pub const EXACT: Self = Self {
        modified: Precision::Nanoseconds,
        link_times: true,
        accessed: false,
        owners: true,
        xattrs: true,
        holes: true,
        root: true,
    };

    /// Names, kinds and content alone.
    pub const CONTENT: Self = Self {
        modified: Precision::Ignored,
        link_times: false,
        accessed: false,
        owners: false,
        xattrs: false,
        holes: false,
        root: false,
    };

    /// Also the access times of files and directories.
    #[must_use]
    pub const fn with_access_times(mut self) -> Self {
        self.accessed = true;
        self
    }

    /// Times to the microsecond, as the format's original fields hold them.
    #[must_use]
    pub const fn to_the_microsecond(mut self) -> Self {
        self.modified = Precision::Microseconds;
        self
    }

    /// Times to the second.
    #[must_use]
    pub const fn to_the_second(mut self) -> Self {
        self.modified = Precision::Seconds;
        self
    }

    /// Without the times of symbolic links.
    #[must_use]
    pub const fn without_link_times(mut self) -> Self {
        self.link_times = false;
        self
    }

    /// Without extended attributes and ACLs.
    #[must_use]
    pub const fn without_xattrs(mut self) -> Self {
        self.xattrs = false;
        self
    }

    /// Without owners and groups.
    #[must_use]
    pub const fn without_owners(mut self) -> Self {
        self.owners = false;
        self
    }

    /// Without the places of holes.
    #[must_use]
    pub const fn without_holes(mut self) -> Self {
        self.holes = false;
        self
    }

    /// Without the attributes of the root directory.
    #[must_use]
    pub const fn without_root(mut self) -> Self {
        self.root = false;
        self
    }

    /// All differences, in order of the paths.
    #[must_use]
    pub fn differences(self, expected: &Tree, found: &Tree) -> Vec<Difference> {
        let mut differences = Vec::new();
        for (path, entry) in &expected.entries {
            match found.entries.get(path) {
                None => differences.push(Difference { path: path.clone(), what: "is missing".into() }),
                Some(other) => {
                    let found = self.entry_differences(path, entry, other);
                    differences.extend(found.into_iter().map(|what| Difference { path: path.clone(), what }));
                }
            }
        }
        for path in found.entries.keys().filter(|path| !expected.entries.contains_key(*path)) {
            differences.push(Difference { path: path.clone(), what: "is too much".into() });
        }
        differences
    }

    /// Demands that the trees are equal.
    ///
    /// # Panics
    /// With the differences, when there are any.
    #[track_caller]
    pub fn assert_equal(self, expected: &Tree, found: &Tree) {
        let differences = self.differences(expected, found);
        assert!(differences.is_empty(), "{}", summary(&differences));
    }

    fn entry_differences(self, path: &[u8], expected: &Entry, found: &Entry) -> Vec<String> {
        let mut out = Vec::new();
        self.kind_differences(expected, found, &mut out);
        if path.is_empty() && !self.root {
            return out;
        }
        let mut field = |name: &str, expected: &dyn fmt::Display, found: &dyn fmt::Display| {
            let (expected, found) = (expected.to_string(), found.to_string());
            if expected != found {
                out.push(format!("{name} {found}, not {expected}"));
            }
        };
        field("size", &expected.size, &found.size);
        let is_link = matches!(expected.kind, Kind::Symlink(_));
        if self.modified != Precision::Ignored && !is_link {
            field("mode", &format!("{:04o}", expected.mode), &format!("{:04o}", found.mode));
        }
        if self.owners {
            field("uid", &expected.uid, &found.uid);
            field("gid", &expected.gid, &found.gid);
        }
        if !is_link || self.link_times {
            field("mtime", &self.time(expected.modified), &self.time(found.modified));
        }
        // Reading a link's target counts as access to it, and cannot be done without.
        if self.accessed && !is_link {
            field("atime", &self.time(expected.accessed), &self.time(found.accessed));
        }
        let links = |entry: &Entry| entry.same_as.as_deref().map_or_else(|| "nothing".into(), abridged);
        field("is linked to", &links(expected), &links(found));
        if self.xattrs {
            xattr_differences(expected, found, &mut out);
        }
        out
    }

    fn time(self, (seconds, nanos): Time) -> String {
        match self.modified {
            Precision::Nanoseconds => format!("{seconds}.{nanos:09}"),
            Precision::Microseconds => format!("{seconds}.{:06}", nanos / 1000),
            Precision::Seconds => format!("{seconds}"),
            Precision::Ignored => String::new(),
        }
    }

    fn kind_differences(self, expected: &Entry, found: &Entry, out: &mut Vec<String>) {
        match (&expected.kind, &found.kind) {
            (
                Kind::Regular { content, data, sectors },
                Kind::Regular { content: other, data: other_data, sectors: other_sectors },
            ) => {
                if content != other {
                    out.push("content differs".into());
                }
                if self.holes && !same_holes(data, other_data) {
                    out.push(format!("has data at {}, not {}", ranges(other_data), ranges(data)));
                }
                // The last block is always data on tape, and the file system may need blocks to find blocks.
                if self.holes && *other_sectors > sectors + 16 {
                    out.push(format!("occupies {other_sectors} sectors, not {sectors}"));
                }
            }
            (Kind::Symlink(target), Kind::Symlink(other)) if target != other => {
                out.push(format!("leads to {}, not {}", abridged(other), abridged(target)));
            }
            (kind, other) if kind != other => {
                out.push(format!("is {}, not {}", kind_name(other), kind_name(kind)));
            }
            _ => {}
        }
    }
}

/// True when data lies in the same places, but for the last block, which the format always stores as data.
fn same_holes(expected: &[(u64, u64)], found: &[(u64, u64)]) -> bool {
    if expected == found {
        return true;
    }
    let Some((&last, others)) = found.split_last() else { return false };
    let block = 64 * 1024;
    // Either a block of its own at the end, or the last data of the file made longer by one.
    others == expected && last.1 - last.0 <= block
        || expected.split_last().is_some_and(|(end, before)| {
            before == others && end.0 == last.0 && last.1.abs_diff(end.1) <= block
        })
}

fn ranges(data: &[(u64, u64)]) -> String {
    let shown: Vec<String> = data.iter().take(8).map(|(begin, end)| format!("{begin}..{end}")).collect();
    let more = if data.len() > 8 { format!(" and {} more", data.len() - 8) } else { String::new() };
    format!("[{}{more}]", shown.join(" "))
}

pub(super) fn kind_name(kind: &Kind) -> String {
    match kind {
        Kind::Directory => "directory".into(),
        Kind::Regular { .. } => "file".into(),
        Kind::Symlink(_) => "link".into(),
        Kind::CharacterDevice(number) => format!("character device {number:#x}"),
        Kind::BlockDevice(number) => format!("block device {number:#x}"),
        Kind::Fifo => "fifo".into(),
        Kind::Socket => "socket".into(),
    }
}

fn xattr_differences(expected: &Entry, found: &Entry, out: &mut Vec<String>) {
    for (name, value) in &expected.xattrs {
        match found.xattrs.get(name) {
            None => out.push(format!("attribute {} is missing", printable(name))),
            Some(other) if other != value => out.push(format!(
                "attribute {} is {} bytes {}, not {} bytes {}",
                printable(name),
                other.len(),
                printable(&other[..other.len().min(40)]),
                value.len(),
                printable(&value[..value.len().min(40)])
            )),
            Some(_) => {}
        }
    }
    for name in found.xattrs.keys().filter(|name| !expected.xattrs.contains_key(*name)) {
        out.push(format!("attribute {} is too much", printable(name)));
    }
}

/// The first differences and how many there are.
#[must_use]
pub(super) fn summary(differences: &[Difference]) -> String {
    let mut text = format!("{} differences:\n", differences.len());
    for difference in differences.iter().take(40) {
        text.push_str(&format!("  {difference}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_may_differ_in_the_last_block_only() {
        assert!(same_holes(&[(0, 4096)], &[(0, 4096)]));
        assert!(same_holes(&[(0, 4096)], &[(0, 4096), (126_976, 131_072)]));
        assert!(same_holes(&[], &[(0, 4096)]));
        assert!(!same_holes(&[(0, 4096)], &[(0, 131_072)]));
        assert!(!same_holes(&[], &[(0, 300_000)]));
        assert!(!same_holes(&[(0, 4096), (8192, 12_288)], &[(0, 12_288)]));
    }
}
