//! Points in time: what `--at` and `--of` mean, and the chain that leads there.

use crate::cli::exit::CliError;
use crate::cli::history::recorded::{DumpedTree, RecordedDump, Recordings, for_rules};
use crate::cli::list::utc;
use crate::text::printable;
use crate::volume::identity::TreeIdentity;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use tapedump_core::chain::{BaseRef, ChainError, Point, SliceDumps, plan};
use tapedump_core::units::Timestamp;

/// Fewest digits of an identity that `--at` takes for one.
const PREFIX_MIN: usize = 4;
/// Where an identity has its dashes; dates have them elsewhere.
const DASHES: [usize; 4] = [8, 13, 18, 23];
const DAY: i64 = 86_400;
const LAST_NANO: u32 = 999_999_999;

/// What `--at` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum When {
    /// The newest dump up to this time, itself included.
    Time(Timestamp),
    /// The dump whose identity begins with these hexadecimal digits.
    Dump(String),
}

/// Understands `--at`.
///
/// What a time leaves out is its end: a day is the whole day, a minute the whole minute.
pub fn when(text: &str) -> Result<When, String> {
    if let Some(time) = time(text) {
        return Ok(When::Time(time));
    }
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    let has_dashes = digits.len() < text.len();
    let is_grouped = |(at, byte): (usize, u8)| (byte == b'-') == DASHES.contains(&at);
    if digits.bytes().all(|byte| byte.is_ascii_hexdigit())
        && (PREFIX_MIN..=32).contains(&digits.len())
        && (!has_dashes || text.bytes().enumerate().all(is_grouped))
    {
        return Ok(When::Dump(digits.to_ascii_lowercase()));
    }
    Err("it is a time in UTC, as 2026-11-21, \"2026-11-21 22:56\", 2026-11-21T22:56:12Z or @SECONDS, or the first four \
         or more digits of a dump's identity, as tapedump history shows them"
        .into())
}

/// A time, or `None`.
fn time(text: &str) -> Option<Timestamp> {
    if let Some(secs) = text.strip_prefix('@') {
        return Some(Timestamp { secs: secs.parse().ok()?, nanos: LAST_NANO });
    }
    let (date, clock) = match text.split_once(['T', 't', ' ']) {
        Some((date, clock)) => (date, Some(clock)),
        None => (text, None),
    };
    let [year, month, day] = numbers::<3>(date, '-', &[4, 2, 2])?;
    let days = days_from_civil(year, month, day)?;
    let Some(clock) = clock else {
        return Some(Timestamp { secs: days * DAY + DAY - 1, nanos: LAST_NANO });
    };
    let clock = clock.strip_suffix(['Z', 'z']).unwrap_or(clock);
    let (whole, nanos) = match clock.split_once('.') {
        Some((whole, fraction)) => (whole, fraction_of(fraction)?),
        None => (clock, LAST_NANO),
    };
    let (hour, minute, second) = match numbers::<3>(whole, ':', &[2, 2, 2]) {
        Some([hour, minute, second]) => (hour, minute, second),
        None if nanos == LAST_NANO => {
            let [hour, minute] = numbers::<2>(whole, ':', &[2, 2])?;
            (hour, minute, 59)
        }
        None => return None,
    };
    let is_clock = hour < 24 && minute < 60 && second < 60;
    is_clock.then(|| Timestamp { secs: days * DAY + hour * 3600 + minute * 60 + second, nanos })
}

/// Digits behind the point of a second, as nanoseconds.
fn fraction_of(digits: &str) -> Option<u32> {
    let is_fraction = (1..=9).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_fraction.then(|| format!("{digits:0<9}").parse().ok()).flatten()
}

/// Numbers with a separator between them, each of so many digits.
fn numbers<const N: usize>(text: &str, separator: char, lens: &[usize; N]) -> Option<[i64; N]> {
    let mut parts = text.split(separator);
    let mut numbers = [0; N];
    for (number, len) in numbers.iter_mut().zip(lens) {
        let part = parts.next()?;
        if part.len() != *len || !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        *number = part.parse().ok()?;
    }
    parts.next().is_none().then_some(numbers)
}

/// Days since 1970 of a date of the Gregorian calendar, or `None` where there is no such day.
fn days_from_civil(year: i64, month: i64, day: i64) -> Option<i64> {
    if !(1..=12).contains(&month) || day < 1 {
        return None;
    }
    // Years that begin in March have their leap day at the end.
    let shifted = if month > 2 { year } else { year - 1 };
    let (era, of_era) = (shifted.div_euclid(400), shifted.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    // A day that the month does not have is one of the next.
    (crate::cli::tape::civil(days) == (year, month, day)).then_some(days)
}

/// The tree that `--of` names; without it, the only one there is.
pub fn tree<'r>(recordings: &'r Recordings, of: Option<&OsStr>) -> Result<&'r DumpedTree, CliError> {
    match (of, recordings.trees.as_slice()) {
        (Some(of), _) => named(recordings, of),
        (None, [tree]) => Ok(tree),
        (None, []) => Err(CliError::failed(
            "the history has no dumps: dump a tree with tapedump dump, or name the tape with --tape",
        )),
        (None, _) => Err(CliError::failed(format!(
            "the history has dumps of several trees: name one with --of: {}",
            labels(recordings)
        ))),
    }
}

/// The tree that an argument names: a directory, or the label of a tree.
pub fn named<'r>(recordings: &'r Recordings, of: &OsStr) -> Result<&'r DumpedTree, CliError> {
    let shown = printable(of.as_bytes());
    // A tree that is gone, or was made anew, is known by its label.
    let by_label = recordings.trees.iter().find(|tree| tree.label == shown);
    // Where it is mounted does not matter.
    let by_directory = TreeIdentity::of(Path::new(of)).ok().and_then(|identity| {
        let is_it = |tree: &&DumpedTree| tree.volume == identity.volume && tree.path == identity.path;
        recordings.trees.iter().find(is_it)
    });
    by_directory.or(by_label).ok_or_else(|| {
        CliError::failed(match recordings.trees.as_slice() {
            [] => format!("{shown}: the history has no dumps at all"),
            _ => format!("{shown}: the history has no dump of this tree; it has of: {}", labels(recordings)),
        })
    })
}

fn labels(recordings: &Recordings) -> String {
    recordings.trees.iter().map(|tree| tree.label.as_str()).collect::<Vec<_>>().join(", ")
}

/// The dumps that lead to a point, the oldest first: a baseline and increments.
#[derive(Clone, Debug)]
pub struct Way<'r> {
    pub tree: &'r DumpedTree,
    /// Never empty.
    pub dumps: Vec<&'r RecordedDump>,
}

impl<'r> Way<'r> {
    /// The dump that is restored.
    pub fn last(&self) -> Option<&'r RecordedDump> {
        self.dumps.last().copied()
    }
}

/// The way to a point of a tree; `None`: to its newest dump.
pub fn way<'r>(
    recordings: &'r Recordings,
    of: Option<&OsStr>,
    at: Option<&When>,
) -> Result<Way<'r>, CliError> {
    let (tree, point) = match at {
        None => (tree(recordings, of)?, Point::Latest),
        Some(When::Time(time)) => (tree(recordings, of)?, Point::At(*time)),
        Some(When::Dump(prefix)) => {
            let dump = by_prefix(recordings, prefix)?;
            let tree = recordings.tree_of(dump).ok_or_else(|| CliError::failed("a dump of no tree"))?;
            if let Some(of) = of
                && named(recordings, of)? != tree
            {
                return Err(CliError::failed(format!(
                    "{}: the dump {} is of another tree, {}",
                    printable(of.as_bytes()),
                    recordings.short(dump.dump.id),
                    tree.label
                )));
            }
            (tree, Point::Dump(dump.dump.id))
        }
    };
    way_to(recordings, tree, point)
}

/// The way to a point of this tree.
pub fn way_to<'r>(
    recordings: &'r Recordings,
    tree: &'r DumpedTree,
    point: Point,
) -> Result<Way<'r>, CliError> {
    let dumps: Vec<&RecordedDump> = recordings.dumps_of(tree).collect();
    let rules = for_rules(dumps.iter().copied());
    match plan(&mut SliceDumps::new(&rules), point) {
        Ok(chain) => {
            let links = chain.links().iter();
            let dumps = links.filter_map(|link| dumps.get(link.place.0 as usize).copied()).collect();
            Ok(Way { tree, dumps })
        }
        Err(error) => Err(CliError::failed(format!("{}: {}", tree.label, why(recordings, &dumps, error)))),
    }
}

/// Why there is no chain, with times and identities as they are shown everywhere.
fn why<E: std::fmt::Display>(
    recordings: &Recordings,
    dumps: &[&RecordedDump],
    error: ChainError<E>,
) -> String {
    let of = |base: &BaseRef| {
        let id = base.id.map_or_else(String::new, |id| format!(" ({})", recordings.short(id)));
        format!("the dump of {}{id}", utc(base.date.secs))
    };
    match error {
        ChainError::NothingBefore { time } => {
            let usable = |recorded: &&&RecordedDump| recorded.dump.outcome.is_usable();
            match dumps.iter().find(usable) {
                Some(oldest) => format!(
                    "no dump is as old as {}; the oldest is of {}",
                    utc(time.secs),
                    utc(oldest.dump.date.secs)
                ),
                None => "all of its dumps failed".into(),
            }
        }
        ChainError::Failed { dump } => format!("the dump {} failed", recordings.short(dump)),
        ChainError::Unknown { dump } => format!("no dump {dump} is recorded"),
        ChainError::BaseMissing { dump, base } => format!(
            "the dump {} builds on {}, which is missing: its tape was written over; restore what the tape holds with \
             --tape and --only, or with --base where a copy is",
            recordings.short(dump),
            of(&base)
        ),
        ChainError::BaseDiffers { dump, base } => format!(
            "the dump {} builds on {}, which is recorded as another one",
            recordings.short(dump),
            of(&base)
        ),
        error => error.to_string(),
    }
}

/// The only dump whose identity begins like this.
pub fn by_prefix<'r>(recordings: &'r Recordings, prefix: &str) -> Result<&'r RecordedDump, CliError> {
    let digits = |recorded: &RecordedDump| recorded.dump.id.to_string().replace('-', "");
    let mut found: Vec<&RecordedDump> =
        recordings.dumps.iter().filter(|recorded| digits(recorded).starts_with(prefix)).collect();
    found.dedup_by_key(|recorded| recorded.dump.id);
    match found.as_slice() {
        [dump] => Ok(dump),
        [] => Err(CliError::failed(format!(
            "no dump's identity begins with {prefix}; see which there are with: tapedump history"
        ))),
        several => {
            let ids: Vec<String> =
                several.iter().map(|recorded| recordings.short(recorded.dump.id)).collect();
            Err(CliError::failed(format!(
                "the identities of several dumps begin with {prefix}: {}; name more digits",
                ids.join(", ")
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::history::recorded::tests::recorded;

    fn at(text: &str) -> (i64, u32) {
        match when(text) {
            Ok(When::Time(time)) => (time.secs, time.nanos),
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn times_and_what_they_leave_out() {
        let exact = 1_795_301_772;
        assert_eq!(utc(exact), "2026-11-21 22:56:12Z");
        for text in ["2026-11-21 22:56:12", "2026-11-21T22:56:12Z", "2026-11-21t22:56:12z", "@1795301772"] {
            assert_eq!(at(text), (exact, LAST_NANO), "{text}");
        }
        assert_eq!(at("2026-11-21T22:56:12.5Z"), (exact, 500_000_000));
        assert_eq!(at("2026-11-21T22:56:12.000000001Z"), (exact, 1));
        assert_eq!(at("2026-11-21 22:56"), (exact + 47, LAST_NANO));
        assert_eq!(utc(at("2026-11-21").0), "2026-11-21 23:59:59Z");
        assert_eq!(utc(at("2024-02-29").0), "2024-02-29 23:59:59Z");
        assert_eq!(utc(at("1969-12-31 00:00:00").0), "1969-12-31 00:00:00Z");
        assert_eq!(at("@-5"), (-5, LAST_NANO));
    }

    #[test]
    fn what_is_no_time_is_an_identity_or_refused() {
        assert_eq!(when("1A2b"), Ok(When::Dump("1a2b".into())));
        assert_eq!(when("11223344-5566"), Ok(When::Dump("112233445566".into())));
        assert_eq!(when("2026"), Ok(When::Dump("2026".into())));
        for bad in [
            "",
            "-",
            "abc",
            "yesterday",
            "2026-13-01",
            "2026-02-29x",
            "2025-02-29 10:00",
            "2026-11-21 25:00",
            "2026-11-21 22:60",
            "2026-11-21 22:56:60",
            "2026-11-21 2:56",
            "@",
            "@x",
            "2026-11-21 22:56.5",
            "2026-11-21T22:56:12.",
            "2026-11-21T22:56:12.0000000001",
            "2026-11-21 22:56:12+01:00",
            "112233445566778899aabbccddeeff001",
            "2026-02-30",
            "1122-3344",
        ] {
            assert!(when(bad).is_err(), "{bad}: {:?}", when(bad));
        }
    }

    /// R-CHAIN-2, asked by time and by identity.
    #[test]
    fn the_way_is_the_chain() {
        let levels = [(1, 0, None), (2, 2, Some(1)), (3, 3, Some(2)), (4, 1, Some(1)), (5, 4, Some(4))];
        let dumps = levels.map(|(number, level, base)| recorded("home", number, level, base));
        let recordings = Recordings::of(dumps.to_vec(), Vec::new());
        let numbers = |at: Option<When>| {
            let way = way(&recordings, None, at.as_ref()).unwrap();
            way.dumps.iter().map(|recorded| recorded.dump.id.0[0]).collect::<Vec<_>>()
        };
        assert_eq!(numbers(None), [1, 4, 5]);
        assert_eq!(numbers(Some(When::Dump("0303".into()))), [1, 2, 3]);
        let time =
            |number: i64| When::Time(Timestamp { secs: 1_790_000_000 + 60 * number, nanos: LAST_NANO });
        assert_eq!(numbers(Some(time(4))), [1, 4]);
        assert_eq!(numbers(Some(time(3))), [1, 2, 3]);
        let refused = way(&recordings, None, Some(&time(0))).unwrap_err().to_string();
        assert!(refused.contains("no dump is as old as") && refused.contains("/dev/sda1:/home"), "{refused}");
    }

    #[test]
    fn what_is_not_there_or_not_clear_is_named() {
        let mut twin = recorded("srv", 9, 0, None);
        twin.dump.id.0 = [1; 16];
        twin.dump.id.0[15] = 2;
        let lost = recorded("lost", 7, 1, Some(6));
        let recordings = Recordings::of(vec![recorded("home", 1, 0, None), twin, lost], Vec::new());
        let refused = |of: Option<&str>, at: &str| {
            let at = when(at).unwrap();
            way(&recordings, of.map(OsStr::new), Some(&at)).unwrap_err().to_string()
        };
        assert!(refused(None, "0101").contains("several dumps"), "{}", refused(None, "0101"));
        assert!(refused(None, "ffff").contains("tapedump history"));
        assert!(refused(None, "2099-01-01").contains("--of"));
        assert!(refused(Some("/nowhere at all"), "2099-01-01").contains("no dump of this tree"));
        assert!(refused(Some("/dev/sda1:/home"), "0707").contains("another tree"));
        assert!(refused(None, "0707").contains("which is missing"));
        assert_eq!(tree(&recordings, Some(OsStr::new("/dev/sda1:/srv"))).unwrap().path, b"srv");
        assert!(tree(&Recordings::default(), None).unwrap_err().to_string().contains("no dumps"));
    }
}
