//! `tapedump chain`: which dump is based on which.

use crate::cli::exit::{CliError, Ended};
use crate::cli::history::DumpJson;
use crate::cli::history::chain_drawing::{self, Glyphs};
use crate::cli::history::chain_svg;
use crate::cli::history::points::{self, way_to};
use crate::cli::history::recorded::{DumpedTree, RecordedDump, Recordings};
use crate::cli::json::{self, JsonPath};
use crate::cli::raw::history::Chain;
use crate::state::StateDir;
use crate::text::printable_path;
use serde::Serialize;
use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use tapedump_core::chain::{BaseRef, Maker, Point};
use tapedump_core::units::DumpId;

pub fn run(raw: Chain) -> Result<Ended, CliError> {
    let state = StateDir::find()?;
    let recordings = Recordings::load(&state)?;
    let trees: Vec<&DumpedTree> = match &raw.path {
        Some(path) => vec![points::named(&recordings, path)?],
        None => recordings.trees.iter().collect(),
    };
    let forests: Vec<Forest<'_>> = trees.into_iter().map(|tree| Forest::of(&recordings, tree)).collect();
    if let Some(path) = &raw.svg {
        write_svg(path, &chain_svg::document(&recordings, &forests, &state))?;
        return Ok(recordings.tell_damage(&state));
    }
    let mut out = BufWriter::new(io::stdout().lock());
    if raw.json {
        for forest in &forests {
            writeln!(out, "{}", json::text(&ForestJson::new(forest))?)?;
        }
    } else if forests.is_empty() {
        writeln!(out, "the history has no dumps yet")?;
    } else {
        let glyphs = Glyphs::of_locale();
        for (index, forest) in forests.iter().enumerate() {
            if index > 0 {
                writeln!(out)?;
            }
            for line in chain_drawing::lines(&recordings, forest, &state, glyphs) {
                writeln!(out, "{line}")?;
            }
        }
    }
    out.flush()?;
    Ok(recordings.tell_damage(&state))
}

fn write_svg(path: &Path, text: &str) -> Result<(), CliError> {
    let failed = |error| CliError::failed(format!("{}: cannot write: {error}", printable_path(path)));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(path).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    eprintln!("drawn to {}", printable_path(path));
    Ok(())
}

/// What a dump is based on, as far as the history has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Below {
    /// Nothing: it is a baseline.
    Ground,
    /// The dump of this index.
    Dump(usize),
    /// A base that is not recorded, failed, or is another one by now.
    Missing(BaseRef),
}

/// A dump in its forest.
#[derive(Clone, Debug)]
pub struct Node<'r> {
    pub recorded: &'r RecordedDump,
    pub below: Below,
    /// Those based on it, the oldest first.
    pub above: Vec<usize>,
    /// A restore of the newest reads it.
    pub needed: bool,
}

/// The dumps of a tree, and what is based on what.
#[derive(Clone, Debug)]
pub struct Forest<'r> {
    pub tree: &'r DumpedTree,
    /// By date, the newest last.
    pub nodes: Vec<Node<'r>>,
    /// Why the newest cannot be restored.
    pub broken: Option<String>,
}

impl<'r> Forest<'r> {
    pub fn of(recordings: &'r Recordings, tree: &'r DumpedTree) -> Self {
        let dumps: Vec<&RecordedDump> = recordings.dumps_of(tree).collect();
        let mut by_id: HashMap<DumpId, usize> = HashMap::new();
        for (index, recorded) in dumps.iter().enumerate() {
            if recorded.dump.outcome.is_usable() {
                by_id.insert(recorded.dump.id, index);
            }
        }
        let (needed, broken) = match way_to(recordings, tree, Point::Latest) {
            Ok(way) => (way.dumps.iter().map(|recorded| recorded.dump.id).collect(), None),
            Err(error) => (Vec::new(), Some(error.to_string())),
        };
        let node = |recorded: &&'r RecordedDump| Node {
            recorded,
            below: below(&dumps, &by_id, recorded),
            above: Vec::new(),
            needed: needed.contains(&recorded.dump.id),
        };
        let mut nodes: Vec<Node<'_>> = dumps.iter().map(node).collect();
        for index in 0..nodes.len() {
            if let Below::Dump(base) = nodes[index].below {
                nodes[base].above.push(index);
            }
        }
        Self { tree, nodes, broken }
    }

    /// Bases that are missing, each once, with the dumps on it.
    pub fn missing(&self) -> Vec<(BaseRef, Vec<usize>)> {
        let mut missing: Vec<(BaseRef, Vec<usize>)> = Vec::new();
        for (index, node) in self.nodes.iter().enumerate() {
            let Below::Missing(base) = node.below else { continue };
            match missing.iter_mut().find(|(known, _)| *known == base) {
                Some((_, on_it)) => on_it.push(index),
                None => missing.push((base, vec![index])),
            }
        }
        missing
    }

    /// The newest dump that a restore can take.
    pub fn newest(&self) -> Option<usize> {
        self.nodes.iter().rposition(|node| node.needed)
    }
}

/// By the rules of the core's chains, all at once.
fn below(dumps: &[&RecordedDump], by_id: &HashMap<DumpId, usize>, recorded: &RecordedDump) -> Below {
    let Some(base) = recorded.dump.base else { return Below::Ground };
    let fits = |index: &usize| {
        let dump = &dumps[*index].dump;
        dump.level < recorded.dump.level && dump.date == base.date
    };
    let found = match base.id {
        Some(id) => by_id.get(&id).copied().filter(fits),
        // From a tape alone: whole seconds, and dumps of other programs are based on their like.
        None => dumps.iter().rposition(|below| {
            let is_foreign = |recorded: &RecordedDump| recorded.dump.maker == Maker::Foreign;
            below.dump.outcome.is_usable()
                && below.dump.level < recorded.dump.level
                && below.dump.date.secs as u32 == base.date.secs as u32
                && is_foreign(below) == is_foreign(recorded)
        }),
    };
    found.map_or(Below::Missing(base), Below::Dump)
}

/// A tree as `--json` shows it.
#[derive(Serialize)]
struct ForestJson {
    volume: String,
    #[serde(flatten)]
    path: JsonPath,
    dumps: Vec<NodeJson>,
    /// Identities, the baseline first.
    newest_chain: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    broken: Option<String>,
}

#[derive(Serialize)]
struct NodeJson {
    #[serde(flatten)]
    dump: DumpJson,
    base_missing: bool,
}

impl ForestJson {
    fn new(forest: &Forest<'_>) -> Self {
        let needed = forest.nodes.iter().filter(|node| node.needed);
        Self {
            volume: forest.tree.volume.to_string(),
            path: JsonPath::new(&forest.tree.path),
            dumps: forest.nodes.iter().map(NodeJson::new).collect(),
            newest_chain: needed.map(|node| node.recorded.dump.id.to_string()).collect(),
            broken: forest.broken.clone(),
        }
    }
}

impl NodeJson {
    fn new(node: &Node<'_>) -> Self {
        let base_missing = matches!(node.below, Below::Missing(_));
        Self { dump: DumpJson::new(node.recorded), base_missing }
    }
}

#[cfg(test)]
pub mod tests {
    use super::super::recorded::{for_rules, tests::recorded};
    use super::*;
    use tapedump_core::chain::{SliceDumps, plan};

    /// The documented order of levels, R-CHAIN-2, and a dump whose base is gone.
    pub fn documented() -> Recordings {
        let levels = [
            (1, 0, None),
            (2, 2, Some(1)),
            (3, 3, Some(2)),
            (4, 1, Some(1)),
            (5, 4, Some(4)),
            (8, 6, Some(7)),
            (6, 5, Some(5)),
        ];
        let dumps = levels.map(|(number, level, base)| recorded("home", number, level, base));
        Recordings::of(dumps.to_vec(), Vec::new())
    }

    /// What is drawn is what the core's rules say, for each dump.
    #[test]
    fn the_forest_has_the_chains_of_the_rules() {
        let recordings = documented();
        let forest = Forest::of(&recordings, &recordings.trees[0]);
        let rules = for_rules(recordings.dumps.iter());
        for (index, node) in forest.nodes.iter().enumerate() {
            let mut drawn = vec![index];
            while let Below::Dump(base) = forest.nodes[drawn[0]].below {
                assert!(forest.nodes[base].above.contains(&drawn[0]));
                drawn.insert(0, base);
            }
            let chain = plan(&mut SliceDumps::new(&rules), Point::Dump(node.recorded.dump.id));
            match chain {
                Ok(chain) => {
                    let expected: Vec<_> = chain.links().iter().map(|link| link.place.0 as usize).collect();
                    assert_eq!(drawn, expected);
                    assert_eq!(forest.nodes[drawn[0]].below, Below::Ground);
                }
                Err(_) => assert!(matches!(forest.nodes[drawn[0]].below, Below::Missing(_))),
            }
        }
        // The newest is the one whose base is gone.
        assert!(forest.broken.as_deref().unwrap().contains("missing"));
        assert_eq!(forest.missing().len(), 1);
    }

    #[test]
    fn the_newest_chain_is_marked() {
        let mut recordings = documented();
        recordings.dumps.retain(|recorded| recorded.dump.id.0[0] != 8);
        let forest = Forest::of(&recordings, &recordings.trees[0]);
        let needed: Vec<u8> =
            forest.nodes.iter().filter(|node| node.needed).map(|node| node.recorded.dump.id.0[0]).collect();
        assert_eq!(needed, [1, 4, 5, 6]);
        assert_eq!(forest.newest(), Some(5));
    }
}
