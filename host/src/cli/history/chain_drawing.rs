//! Chains as a tree on the terminal.

use crate::cli::history::chain::{Below, Forest};
use crate::cli::history::recorded::Recordings;
use crate::cli::history::table::{self, Align};
use crate::cli::list::utc;
use crate::state::StateDir;
use tapedump_core::chain::BaseRef;

/// What the drawing is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Glyphs {
    branch: &'static str,
    last: &'static str,
    down: &'static str,
    needed: &'static str,
    other: &'static str,
    failed: &'static str,
    newest: &'static str,
}

impl Glyphs {
    const UNICODE: Self = Self {
        branch: "├── ",
        last: "└── ",
        down: "│   ",
        needed: "●",
        other: "○",
        failed: "✗",
        newest: "◀ newest",
    };
    const ASCII: Self = Self {
        branch: "|-- ",
        last: "`-- ",
        down: "|   ",
        needed: "*",
        other: "o",
        failed: "x",
        newest: "<- newest",
    };

    /// Those that a terminal of the user's locale shows.
    pub fn of_locale() -> Self {
        Self::of(|name| std::env::var(name).ok())
    }

    fn of(variable: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name| variable(name).filter(|value| !value.is_empty());
        let locale = set("LC_ALL").or_else(|| set("LC_CTYPE")).or_else(|| set("LANG"));
        let locale = locale.unwrap_or_default().to_ascii_lowercase();
        if locale.contains("utf-8") || locale.contains("utf8") { Self::UNICODE } else { Self::ASCII }
    }
}

const ALIGNED: [Align; 6] = [Align::Left; 6];

/// The drawing of one tree's dumps.
pub fn lines(recordings: &Recordings, forest: &Forest<'_>, state: &StateDir, glyphs: Glyphs) -> Vec<String> {
    let drawing = Drawing { recordings, forest, state, glyphs };
    let mut rows = Vec::new();
    let missing = forest.missing();
    let grounded: Vec<usize> =
        (0..forest.nodes.len()).filter(|index| forest.nodes[*index].below == Below::Ground).collect();
    let roots = grounded.len() + missing.len();
    for (at, index) in grounded.into_iter().enumerate() {
        drawing.dump(index, "", at + 1 == roots, &mut rows);
    }
    for (at, (base, on_it)) in missing.iter().enumerate() {
        let last = at + 1 == missing.len();
        rows.push(drawing.missing(base, last));
        for (at, index) in on_it.iter().enumerate() {
            let before = if last { "    " } else { glyphs.down };
            drawing.dump(*index, before, at + 1 == on_it.len(), &mut rows);
        }
    }
    let mut lines = vec![forest.tree.label.clone()];
    lines.extend(table::lines(&rows, &ALIGNED));
    lines.push(match &forest.broken {
        Some(why) => format!("the newest dump cannot be restored: {why}"),
        None => format!("{} is read by a restore of the newest dump", glyphs.needed),
    });
    lines
}

struct Drawing<'d, 'r> {
    recordings: &'d Recordings,
    forest: &'d Forest<'r>,
    state: &'d StateDir,
    glyphs: Glyphs,
}

impl Drawing<'_, '_> {
    /// A dump, and those based on it. Levels ascend, so this goes no deeper than there are levels.
    fn dump(&self, index: usize, before: &str, last: bool, rows: &mut Vec<[String; 6]>) {
        let node = &self.forest.nodes[index];
        let dump = &node.recorded.dump;
        let mark = match (node.needed, dump.outcome.is_usable()) {
            (true, _) => self.glyphs.needed,
            (false, true) => self.glyphs.other,
            (false, false) => self.glyphs.failed,
        };
        let branch = if last { self.glyphs.last } else { self.glyphs.branch };
        let file = node.recorded.file().map_or_else(String::new, |file| format!(", file {file}"));
        let newest = if self.forest.newest() == Some(index) { self.glyphs.newest } else { "" };
        rows.push([
            format!("{before}{branch}{mark} level {}", dump.level),
            utc(dump.date.secs),
            self.recordings.short(dump.id),
            format!("{}{file}", node.recorded.tape(self.state)),
            node.recorded.outcome(),
            newest.into(),
        ]);
        let before = format!("{before}{}", if last { "    " } else { self.glyphs.down });
        for (at, above) in node.above.iter().enumerate() {
            self.dump(*above, &before, at + 1 == node.above.len(), rows);
        }
    }

    fn missing(&self, base: &BaseRef, last: bool) -> [String; 6] {
        let branch = if last { self.glyphs.last } else { self.glyphs.branch };
        [
            format!("{branch}? base"),
            utc(base.date.secs),
            base.id.map_or_else(String::new, |id| self.recordings.short(id)),
            "missing".into(),
            String::new(),
            String::new(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::history::chain::tests::documented;
    use crate::cli::history::recorded::tests::recorded;

    fn drawn(recordings: &Recordings, glyphs: Glyphs) -> Vec<String> {
        let forest = Forest::of(recordings, &recordings.trees[0]);
        lines(recordings, &forest, &StateDir::at("/state".into()), glyphs)
    }

    #[test]
    fn the_documented_order_as_a_tree() {
        let mut recordings = documented();
        recordings.dumps.retain(|recorded| recorded.dump.id.0[0] < 6);
        let lines = drawn(&recordings, Glyphs::UNICODE);
        let expected = [
            "/dev/sda1:/home",
            "└── ● level 0              2026-09-21 14:14:20Z  01010101  /tapes/weekly, file 1  good",
            "    ├── ○ level 2          2026-09-21 14:15:20Z  02020202  /tapes/weekly, file 2  good",
            "    │   └── ○ level 3      2026-09-21 14:16:20Z  03030303  /tapes/weekly, file 3  good",
            "    └── ● level 1          2026-09-21 14:17:20Z  04040404  /tapes/weekly, file 4  good",
            "        └── ● level 4      2026-09-21 14:18:20Z  05050505  /tapes/weekly, file 5  good  ◀ newest",
            "● is read by a restore of the newest dump",
        ];
        let squeezed = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(
            lines.iter().map(|line| squeezed(line)).collect::<Vec<_>>(),
            expected.iter().map(|line| squeezed(line)).collect::<Vec<_>>()
        );
        // The branches themselves, unsqueezed.
        for (line, branch) in lines[1..].iter().zip(["└── ●", "    ├── ○", "    │   └── ○", "    └── ●"])
        {
            assert!(line.starts_with(branch), "{line}");
        }
    }

    #[test]
    fn what_is_missing_is_shown_and_plain_terminals_get_ascii() {
        let lines = drawn(&documented(), Glyphs::ASCII);
        assert!(lines.iter().all(|line| line.is_ascii()), "{lines:#?}");
        let at = lines.iter().position(|line| line.starts_with("`-- ? base") && line.ends_with("missing"));
        assert!(lines[at.unwrap() + 1].starts_with("    `-- o level 6"), "{lines:#?}");
        assert!(lines.last().unwrap().contains("cannot be restored"));
    }

    #[test]
    fn names_cannot_steer_the_terminal() {
        let mut dump = recorded("a\x1b[31m", 1, 0, None);
        dump.places = vec!["/tapes/\x1b[0m\n".into()];
        let lines = drawn(&Recordings::of(vec![dump], Vec::new()), Glyphs::UNICODE);
        assert!(lines.iter().all(|line| !line.contains(char::is_control)), "{lines:#?}");
    }

    #[test]
    fn locales() {
        let of = |pairs: &[(&str, &str)]| {
            Glyphs::of(|name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).into()))
        };
        assert_eq!(of(&[("LANG", "de_DE.UTF-8")]), Glyphs::UNICODE);
        assert_eq!(of(&[("LANG", "de_DE.UTF-8"), ("LC_ALL", "C")]), Glyphs::ASCII);
        assert_eq!(of(&[("LC_ALL", ""), ("LC_CTYPE", "C.utf8")]), Glyphs::UNICODE);
        assert_eq!(of(&[]), Glyphs::ASCII);
    }
}
