//! Numbers that last from one dump of a tree to the next.

use super::*;
use crate::volume::source::NumberMap;

/// The tree as the next dump of a chain sees it, and what that one keeps for the one after it.
fn next_dump(tree: &TempTree, base: Option<&Arc<NumberMap>>) -> (BTreeMap<Ino, Seen>, Arc<NumberMap>) {
    let open = |memory: Option<usize>| {
        tree.open(|options| {
            options.tuning.direct_limit = 0;
            options.base_numbers = base.map(Arc::clone);
            if let Some(memory) = memory {
                options.threads = 3;
                (options.tuning.sort_memory, options.tuning.spool_memory) = (memory, memory);
            }
        })
    };
    let mut source = open(None);
    let all = read_all(&mut source);
    let mut numbers = tempfile::tempfile().unwrap();
    source.write_numbers(&mut numbers).unwrap();
    // Whatever the lists that outgrow memory.
    let mut spilled = open(Some(500));
    assert!(read_all(&mut spilled) == all);
    (all, Arc::new(NumberMap::read(numbers).unwrap()))
}

/// Which numbers the real ones have.
fn numbers_of(all: &BTreeMap<Ino, Seen>) -> BTreeMap<u64, Ino> {
    all.iter().map(|(ino, seen)| (seen.attributes.real_ino, *ino)).collect()
}

#[test]
fn a_chain_of_dense_numbers_shows_every_tree_and_keeps_its_numbers() {
    let tree = weird_tree();
    let mut last: Option<(BTreeMap<Ino, Seen>, Arc<NumberMap>)> = None;
    for round in 0..5 {
        let plain = read_all(&mut tree.open(|_| {}));
        let (all, kept) = next_dump(&tree, last.as_ref().map(|(_, kept)| kept));
        assert!(by_path(&plain) == by_path(&all));
        let numbers = numbers_of(&all);
        assert_eq!(numbers.len(), all.len());
        assert!(all.keys().skip(1).all(|ino| kept.is_used(*ino)));
        if let Some((before, used)) = &last {
            let before = numbers_of(before);
            let stays = numbers.iter().filter(|(real, ino)| before.get(real) == Some(ino)).count();
            assert!(stays > 100, "{stays} objects");
            for (real, ino) in &numbers {
                assert!(before.get(real).is_none_or(|before| before == ino));
                assert!(before.contains_key(real) || !used.is_used(*ino), "{ino} was in use");
            }
        }
        last = Some((all, kept));
        for index in (round..300).step_by(7) {
            fs::remove_file(tree.path(format!("a/b/small {index}"))).unwrap_or_default();
            tree.file(format!("new {round} {index}"), b"new");
        }
        fs::create_dir(tree.path(format!("directory {round}"))).unwrap();
        fs::rename(tree.path("a/b/small 299"), tree.path(format!("a/b/c/{round}"))).unwrap_or_default();
        fs::hard_link(tree.path("empty-file"), tree.path(format!("link {round}"))).unwrap();
    }
}
