//! How often each kind of finding was told. A tape of a megabyte can make millions of them, and nobody reads those: from
//! some number on they are counted, and the end tells how many there were.

use crate::cli::reading::names::Finding;
use std::collections::BTreeMap;

/// Findings of one kind that are told one by one.
const TOLD_MAX: u64 = 10_000;

/// Findings by their kind.
#[derive(Debug, Default)]
pub struct Repeats(BTreeMap<&'static str, u64>);

impl Repeats {
    /// Counts a finding; `false`: there were enough of its kind.
    pub fn count(&mut self, kind: &'static str) -> bool {
        let count = self.0.entry(kind).or_default();
        *count += 1;
        *count <= TOLD_MAX
    }

    /// What was not told.
    pub fn rest(self) -> impl Iterator<Item = Finding> {
        let rest = self.0.into_iter().map(|(kind, count)| (kind, count.saturating_sub(TOLD_MAX)));
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
        let rest: Vec<String> = repeats.rest().map(|finding| finding.line()).collect();
        assert_eq!(rest, ["3 more of these are not listed: missing objects"]);
    }
}
