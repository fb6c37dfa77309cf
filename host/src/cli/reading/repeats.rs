//! How often each kind of finding was told. A tape of a megabyte can make millions of them, and nobody reads those: from
//! some number on they are counted, and the end tells how many there were.

use crate::cli::reading::names::Finding;
use std::collections::BTreeMap;

/// Findings of one kind that are told one by one.
const TOLD_MAX: u64 = 10_000;

/// Findings by their kind: how many there were, and how many are told.
#[derive(Debug, Default)]
pub struct Repeats(BTreeMap<&'static str, (u64, u64)>);

impl Repeats {
    /// Counts a finding; `false`: there were enough of its kind.
    pub fn count(&mut self, kind: &'static str) -> bool {
        self.count_up_to(kind, TOLD_MAX)
    }

    /// As [`count`](Self::count), where one of the kind says all that there is to say.
    pub fn count_once(&mut self, kind: &'static str) -> bool {
        self.count_up_to(kind, 1)
    }

    fn count_up_to(&mut self, kind: &'static str, told_max: u64) -> bool {
        let (count, _) = self.0.entry(kind).or_insert((0, told_max));
        *count += 1;
        *count <= told_max
    }

    /// What was not told.
    pub fn rest(self) -> impl Iterator<Item = Finding> {
        let rest = self.0.into_iter().map(|(kind, (count, told_max))| (kind, count.saturating_sub(told_max)));
        rest.filter(|(_, count)| *count > 0).map(|(kind, count)| Finding::further(kind, count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_told_for_a_while_and_counted_all_along() {
        let mut repeats = Repeats::default();
        let told = (0..TOLD_MAX + 3).filter(|_| repeats.count("missing objects")).count();
        assert_eq!(told as u64, TOLD_MAX);
        assert!(repeats.count("damaged directories"));
        let once = (0..3).filter(|_| repeats.count_once("streams that cannot be held")).count();
        assert_eq!(once, 1);
        let rest: Vec<String> = repeats.rest().map(|finding| finding.line()).collect();
        assert_eq!(
            rest,
            [
                "3 more of these are not listed: missing objects",
                "2 more of these are not listed: streams that cannot be held"
            ]
        );
    }
}
