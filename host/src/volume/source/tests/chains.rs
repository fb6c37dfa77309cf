//! Numbers that last from one dump of a tree to the next.

use super::*;
use crate::volume::source::{Base, NumberMap};
use tapedump_core::device::volume::{Mapped, Stretch};
use tapedump_core::record::map::MapView;

/// The tree as the next dump of a chain sees it, and what that one keeps for the one after it.
fn next_dump(tree: &TempTree, base: Option<&Arc<NumberMap>>) -> (BTreeMap<Ino, Seen>, Arc<NumberMap>) {
    let open = |memory: Option<usize>| {
        tree.open(|options| {
            options.tuning.direct_limit = 0;
            let numbers = base.map(Arc::clone);
            options.base = numbers.map(|numbers| Base { since: 0, known: [].into(), numbers: Some(numbers) });
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

/// In use, changed, and how many are which.
fn maps_of(source: &mut LinuxSource, base: Option<&Base>) -> (Vec<Ino>, Vec<Ino>, Mapped) {
    let len = source.ino_limit().unwrap().0 as usize / 8 + 1;
    let (mut in_use, mut changed, mut known) = (vec![0; len], vec![0; len], vec![0; len]);
    if let Some(base) = base {
        known.iter_mut().zip(base.known.iter()).for_each(|(to, from)| *to = *from);
    }
    let mut found = Mapped::default();
    for at in (0..len).step_by(100) {
        let to = len.min(at + 100);
        let mut stretch = Stretch {
            from: Ino(8 * at as u32 + 1),
            since: base.map(|base| base.since),
            known: &known[at..to],
            in_use: &mut in_use[at..to],
            changed: &mut changed[at..to],
            found,
        };
        source.map(&mut stretch).unwrap();
        found = stretch.found;
    }
    let numbers = |map: &[u8]| MapView::new(map).iter().collect();
    (numbers(&in_use), numbers(&changed), found)
}

#[test]
fn an_increment_keeps_what_it_need_not_dump_as_bits() {
    let tree = weird_tree();
    let mut source = tree.open(|_| {});
    let all = read_all(&mut source);
    let (in_use, changed, found) = maps_of(&mut source, None);
    assert!(in_use.iter().eq(all.keys()) && changed == in_use);
    assert_eq!(found, Mapped { unchanged: 0, ..found });

    let file = *all.iter().find(|(_, seen)| seen.attributes.kind == Kind::File).unwrap().0;
    let mut known = vec![0; source.ino_limit().unwrap().0 as usize / 8 + 1];
    for ino in all.keys().filter(|ino| **ino != file) {
        known[(ino.0 as usize - 1) / 8] |= 1 << ((ino.0 - 1) % 8);
    }
    let base = Base { since: i64::MAX, known: known.into(), numbers: None };
    for direct_limit in [u64::MAX, 0] {
        let mut source = tree.open(|options| {
            options.base = Some(base.clone());
            options.tuning.direct_limit = direct_limit;
        });
        let (in_use, changed, found) = maps_of(&mut source, Some(&base));
        if direct_limit == 0 {
            assert_eq!(in_use.len(), all.len());
            assert_eq!(changed, in_use, "other numbers: nothing is known of them");
            continue;
        }
        assert!(in_use.iter().eq(all.keys()));
        assert_eq!(changed, [Ino::ROOT, file]);
        assert_eq!(found, Mapped { directories: 1, others: 1, unchanged: all.len() as u32 - 2 });
        assert_eq!(source.next_inode(Ino::FIRST, Class::Others).unwrap(), Some(file));
        assert_eq!(source.next_inode(file.next(), Class::Others).unwrap(), None);
    }
}
