//! Names that are not part of a dump.

use crate::text::printable;
use crate::volume::btrfs::SNAPSHOT_DIRECTORY;
use std::collections::HashSet;
use tapedump_core::limits::NAME_LEN_MAX;

/// The names of files and directories that a dump leaves out: one name, or all that begin, end, or both, as written before,
/// behind or between asterisks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: Box<[u8]>,
    any_before: bool,
    any_behind: bool,
}

impl Pattern {
    /// Patterns of one dump.
    pub const COUNT_MAX: usize = 32;

    /// Reads a pattern.
    ///
    /// # Errors
    /// Why it is none.
    pub fn parse(text: &[u8]) -> Result<Self, &'static str> {
        let (any_before, rest) = text.strip_prefix(b"*").map_or((false, text), |rest| (true, rest));
        let (any_behind, rest) = rest.strip_suffix(b"*").map_or((false, rest), |rest| (true, rest));
        if text.is_empty() {
            return Err("it is empty");
        }
        if rest.contains(&b'*') {
            return Err("asterisks are at its beginning or its end, and nowhere else");
        }
        if rest.contains(&b'/') {
            return Err("it is a name, not a path: it has no slash");
        }
        if rest.len() > NAME_LEN_MAX {
            return Err("no name is longer than 255 bytes");
        }
        Ok(Self { text: rest.into(), any_before, any_behind })
    }

    /// The pattern as it was written, where it has characters that stand for others elsewhere, as in a shell: here they do not.
    #[must_use]
    pub fn looks_like_another_kind(&self) -> Option<String> {
        let has_any = self.text.iter().any(|byte| matches!(byte, b'?' | b'[' | b'\\' | b'{'));
        let star = |is_there| if is_there { "*" } else { "" };
        has_any
            .then(|| format!("{}{}{}", star(self.any_before), printable(&self.text), star(self.any_behind)))
    }

    /// Whether a name is one of these.
    #[must_use]
    pub fn matches(&self, name: &[u8]) -> bool {
        let text = &*self.text;
        match (self.any_before, self.any_behind) {
            (false, false) => name == text,
            (true, false) => name.ends_with(text),
            (false, true) => name.starts_with(text),
            (true, true) => text.is_empty() || name.windows(text.len()).any(|part| part == text),
        }
    }
}

/// What of a tree is not part of its dump.
#[derive(Clone, Debug, Default)]
pub struct Excluded {
    /// Names at any depth.
    pub patterns: Vec<Pattern>,
    /// Directories in the root.
    pub top_level: HashSet<Vec<u8>>,
}

/// Whether a name is never part of a dump: the snapshots in the root never dump themselves (R-SNAP-6).
#[must_use]
pub fn is_special(in_root: bool, name: &[u8]) -> bool {
    name == b"." || name == b".." || in_root && name == SNAPSHOT_DIRECTORY.as_bytes()
}

impl Excluded {
    /// Nothing is left out.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty() && self.top_level.is_empty()
    }

    /// Whether a name, in the root or elsewhere, is part of the dump.
    #[must_use]
    pub fn takes(&self, in_root: bool, name: &[u8]) -> bool {
        let is_named = || self.patterns.iter().any(|pattern| pattern.matches(name));
        !(is_special(in_root, name) || is_named() || in_root && self.top_level.contains(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_patterns_match() {
        let cases: [(&str, &[&str], &[&str]); 6] = [
            ("core", &["core"], &["core.1", "score", "Core", ""]),
            ("*.o", &["a.o", ".o"], &["a.oo", "o"]),
            ("tmp*", &["tmp", "tmpfile"], &["atmp"]),
            ("*cache*", &["cache", "a cache of b"], &["cach e"]),
            ("*", &["", "anything"], &[]),
            ("**", &["", "anything"], &[]),
        ];
        for (text, matched, others) in cases {
            let pattern = Pattern::parse(text.as_bytes()).unwrap();
            assert!(matched.iter().all(|name| pattern.matches(name.as_bytes())), "{text}");
            assert!(!others.iter().any(|name| pattern.matches(name.as_bytes())), "{text}");
        }
    }

    #[test]
    fn what_is_no_pattern() {
        for bad in ["", "a*b", "***", "*a*b*", "a/b", "/", &"n".repeat(256)] {
            assert!(Pattern::parse(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(Pattern::parse("n".repeat(255).as_bytes()).is_ok());
    }

    #[test]
    fn what_stands_for_itself() {
        let looks = |text: &str| Pattern::parse(text.as_bytes()).unwrap().looks_like_another_kind();
        assert_eq!(looks("?x*").as_deref(), Some("?x*"));
        assert_eq!(looks("*.[ch]").as_deref(), Some("*.[ch]"));
        assert_eq!((looks("*.c"), looks("tmp*"), looks("*")), (None, None, None));
    }

    #[test]
    fn what_is_taken() {
        let mut excluded = Excluded::default();
        assert!(excluded.takes(true, b"a") && excluded.takes(false, b".snapshot"));
        assert!(
            !excluded.takes(false, b".")
                && !excluded.takes(true, b"..")
                && !excluded.takes(true, b".snapshot")
        );
        excluded.top_level.insert(b"sales".to_vec());
        excluded.patterns.push(Pattern::parse(b"*.o").unwrap());
        assert!(!excluded.takes(true, b"sales") && excluded.takes(false, b"sales"));
        assert!(!excluded.takes(false, b"a.o") && !excluded.takes(true, b"b.o"));
    }
}
