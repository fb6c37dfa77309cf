//! Patterns of names: `*` any characters, `?` one, `[a-z]` and `[!a-z]` one of some, `\` before a character that is meant
//! itself. In a pattern with a slash, `**` stands for any number of directories.
//!
//! Names are bytes. Where they are UTF-8, a character is one of its characters, and else a byte.

use std::fmt;

/// Why a text is no pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadPattern {
    Empty,
    OpenSet,
    Escape,
}

impl fmt::Display for BadPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the pattern is empty",
            Self::OpenSet => "the pattern has a [ without a ]; \\[ is the character itself",
            Self::Escape => "the pattern ends in a \\, which stands before a character",
        })
    }
}

/// A character, or a byte that is part of none.
type Unit = u32;

/// Bytes that are no UTF-8 are numbered behind all characters.
const BYTES_FROM: Unit = 0x11_0000;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    One(Unit),
    AnyOne,
    Any,
    Set { ranges: Vec<(Unit, Unit)>, negated: bool },
}

impl Token {
    fn is(&self, unit: Unit) -> bool {
        match self {
            Self::One(one) => *one == unit,
            Self::AnyOne => true,
            Self::Any => false,
            Self::Set { ranges, negated } => {
                ranges.iter().any(|(first, last)| (*first..=*last).contains(&unit)) != *negated
            }
        }
    }
}

/// A pattern of one name; `None`: any number of directories.
type Name = Option<Vec<Token>>;

/// See the module's head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob {
    names: Vec<Name>,
    whole_path: bool,
    ignore_case: bool,
}

impl Glob {
    pub fn new(pattern: &[u8], ignore_case: bool) -> Result<Self, BadPattern> {
        let whole_path = pattern.contains(&b'/');
        let parts = pattern.split(|byte| *byte == b'/').filter(|part| !part.is_empty());
        let mut names = Vec::new();
        for part in parts {
            names.push(if whole_path && part == b"**" { None } else { Some(tokens(part, ignore_case)?) });
        }
        if names.is_empty() { Err(BadPattern::Empty) } else { Ok(Self { names, whole_path, ignore_case }) }
    }

    /// Whether the last name of a path that this matches can be this one.
    pub fn may_end_in(&self, name: &[u8]) -> bool {
        self.names.last().is_some_and(|last| self.is_name(last, name))
    }

    /// Whether a path without a slash at either end is meant.
    pub fn matches(&self, path: &[u8]) -> bool {
        if !self.whole_path {
            return self.may_end_in(path.rsplit(|byte| *byte == b'/').next().unwrap_or_default());
        }
        let names: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
        is_like(&self.names, &names, Option::is_none, |name, found| self.is_name(name, found))
    }

    fn is_name(&self, name: &Name, found: &[u8]) -> bool {
        let Some(tokens) = name else { return true };
        let units: Vec<Unit> = units(found, self.ignore_case).collect();
        is_like(tokens, &units, |token| *token == Token::Any, |token, unit| token.is(*unit))
    }
}

/// Whether `found` is like `pattern`, some parts of which stand for any number of elements. Only the last of these is ever
/// stretched again, so this takes no more than the product of both lengths.
fn is_like<P, F>(
    pattern: &[P],
    found: &[F],
    is_any: impl Fn(&P) -> bool,
    is_one: impl Fn(&P, &F) -> bool,
) -> bool {
    let (mut at, mut of) = (0, 0);
    // Behind the last part that stands for any number, and what it stands for so far.
    let mut stretch: Option<(usize, usize)> = None;
    loop {
        match (pattern.get(at), found.get(of)) {
            (Some(part), _) if is_any(part) => {
                at += 1;
                stretch = Some((at, of));
            }
            (Some(part), Some(element)) if is_one(part, element) => (at, of) = (at + 1, of + 1),
            (None, None) => return true,
            _ => match &mut stretch {
                Some((behind, until)) if *until < found.len() => {
                    *until += 1;
                    (at, of) = (*behind, *until);
                }
                _ => return false,
            },
        }
    }
}

fn units(bytes: &[u8], ignore_case: bool) -> impl Iterator<Item = Unit> {
    bytes.utf8_chunks().flat_map(move |chunk| {
        let valid = chunk.valid().chars().map(move |c| unit(c, ignore_case));
        valid.chain(chunk.invalid().iter().map(|byte| BYTES_FROM + Unit::from(*byte)))
    })
}

fn unit(c: char, ignore_case: bool) -> Unit {
    if !ignore_case {
        return c.into();
    }
    let mut lower = c.to_lowercase();
    match (lower.next(), lower.next()) {
        (Some(lower), None) => lower.into(),
        _ => c.into(),
    }
}

fn tokens(pattern: &[u8], ignore_case: bool) -> Result<Vec<Token>, BadPattern> {
    let units: Vec<Unit> = units(pattern, ignore_case).collect();
    let is = |unit: Option<&Unit>, c: char| unit == Some(&Unit::from(c));
    let mut tokens = Vec::new();
    let mut rest = units.as_slice();
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        tokens.push(if is(Some(first), '*') {
            if tokens.last() == Some(&Token::Any) {
                continue;
            }
            Token::Any
        } else if is(Some(first), '?') {
            Token::AnyOne
        } else if is(Some(first), '\\') {
            let (escaped, behind) = rest.split_first().ok_or(BadPattern::Escape)?;
            rest = behind;
            Token::One(*escaped)
        } else if is(Some(first), '[') {
            let (set, behind) = set(rest)?;
            rest = behind;
            set
        } else {
            Token::One(*first)
        });
    }
    Ok(tokens)
}

/// What stands behind a `[`, and what behind its `]`.
fn set(mut rest: &[Unit]) -> Result<(Token, &[Unit]), BadPattern> {
    const END: Unit = ']' as Unit;
    const TO: Unit = '-' as Unit;
    const ESCAPE: Unit = '\\' as Unit;
    let negated = matches!(rest.first().and_then(|unit| char::from_u32(*unit)), Some('!' | '^'));
    if negated {
        rest = rest.get(1..).unwrap_or_default();
    }
    let mut ranges = Vec::new();
    loop {
        let first = match rest {
            // In the first place it is a character like others.
            [END, behind @ ..] if !ranges.is_empty() => return Ok((Token::Set { ranges, negated }, behind)),
            [ESCAPE, escaped, behind @ ..] => {
                rest = behind;
                *escaped
            }
            [first, behind @ ..] => {
                rest = behind;
                *first
            }
            [] => return Err(BadPattern::OpenSet),
        };
        match rest {
            [TO, last, behind @ ..] if *last != END => {
                ranges.push((first, *last));
                rest = behind;
            }
            _ => ranges.push((first, first)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn glob(pattern: &str) -> Glob {
        Glob::new(pattern.as_bytes(), false).unwrap()
    }

    #[test]
    fn names() {
        for (pattern, yes, no) in [
            ("*.txt", &["a.txt", ".txt", "x/y.txt"][..], &["a.txt~", "a.TXT", "txt"][..]),
            ("a*b*c", &["abc", "aXbYc", "abbcc"], &["ab", "acb", "abcd"]),
            ("?", &["a", "ä", "x/y"], &["", "ab"]),
            ("[a-cx]1", &["a1", "c1", "x1"], &["d1", "a", "-1"]),
            ("[!a-c]", &["d", "ä"], &["a", "dd"]),
            ("[]x-]", &["]", "-", "x"], &["y"]),
            ("\\*\\[", &["*["], &["a["]),
            ("*", &["", "a", "a/b"], &[]),
            ("ä[ö-ü]", &["äö", "äü"], &["äz"]),
        ] {
            let glob = glob(pattern);
            yes.iter().for_each(|path| assert!(glob.matches(path.as_bytes()), "{pattern} {path}"));
            no.iter().for_each(|path| assert!(!glob.matches(path.as_bytes()), "{pattern} {path}"));
        }
        assert!(glob("a?").matches(b"a\xff") && !glob("a?").matches(b"a\xff\xff"));
    }

    #[test]
    fn paths() {
        for (pattern, yes, no) in [
            ("/a/*.txt", &["a/x.txt"][..], &["x.txt", "a/b/x.txt", "b/a/x.txt"][..]),
            ("a/**/x", &["a/x", "a/b/x", "a/b/c/x"], &["a/b", "b/a/x", "x"]),
            ("**/b/?", &["b/c", "a/b/c", "b/b/b"], &["b", "a/b/cc"]),
            ("a/**", &["a", "a/b", "a/b/c"], &["b/a"]),
        ] {
            let glob = glob(pattern);
            yes.iter().for_each(|path| assert!(glob.matches(path.as_bytes()), "{pattern} {path}"));
            no.iter().for_each(|path| assert!(!glob.matches(path.as_bytes()), "{pattern} {path}"));
        }
        // What a scan of names passes over can be no path of the pattern.
        assert!(glob("a/*.txt").may_end_in(b"x.txt") && !glob("a/*.txt").may_end_in(b"a"));
        assert!(glob("a/**").may_end_in(b"whatever"));
    }

    #[test]
    fn case_is_ignored_on_demand() {
        let glob = Glob::new("[A-C]Ä*".as_bytes(), true).unwrap();
        assert!(glob.matches("bäx".as_bytes()) && glob.matches("BÄX".as_bytes()));
        assert!(!super::tests::glob("A").matches(b"a"));
    }

    #[test]
    fn what_is_no_pattern() {
        let refused = |pattern: &str| Glob::new(pattern.as_bytes(), false).unwrap_err();
        assert_eq!(refused(""), BadPattern::Empty);
        assert_eq!(refused("//"), BadPattern::Empty);
        assert_eq!(refused("a[b"), BadPattern::OpenSet);
        assert_eq!(refused("[]"), BadPattern::OpenSet);
        assert_eq!(refused("a\\"), BadPattern::Escape);
    }

    #[test]
    fn many_stars_take_no_time() {
        let name = vec![b'a'; 255];
        let pattern = "*a".repeat(60) + "b";
        assert!(!glob(&pattern).matches(&name));
    }
}
