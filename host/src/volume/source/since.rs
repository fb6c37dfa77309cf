//! What changed in a btrfs volume since an earlier dump, without a walk: the volume's tree gives the objects that changed
//! since a generation, and what was in the base gives those that are gone.
//!
//! A name that is gone was in a directory that changed, or in one that is gone itself; so all objects that are gone are
//! found by comparing the directories that changed with what they held in the base.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::path::Path;
use std::sync::Arc;

use tapedump_core::device::volume::Kind;
use tapedump_core::record::map::MapView;
use tapedump_core::units::Ino;

use super::SourceOptions;
use super::bits::Bits;
use super::exclude::is_special;
use super::reach::Places;
use super::sort::Sorter;
use super::table::Tag;
use super::walk::Walked;
use crate::volume::btrfs::tree_search::{Inode, TreeSearch};

/// Directories below each other, at most; deeper ones are a loop, or beyond what paths can name.
const DEPTH_MAX: usize = 4096;

/// The dump that another one builds on, as its volume was.
pub struct Earlier<'a> {
    /// What changed in this generation of the volume or later is looked for.
    pub generation: u64,
    /// Map of the objects that there were.
    pub in_use: &'a [u8],
    /// The names that there were.
    pub names: &'a mut dyn EarlierNames,
}

/// The names in the tree of an earlier dump.
pub trait EarlierNames {
    /// Gives the objects that had names in a directory; none, if it was no directory.
    ///
    /// # Errors
    /// They are not known.
    fn objects_in(&mut self, directory: Ino, each: &mut dyn FnMut(Ino)) -> io::Result<()>;
}

/// Finds what changed. `None`: only a walk tells, since there are numbers too large for a dump, other subvolumes, a
/// directory that was moved into or out of what is dumped, or names or times that are left out. The earlier dump must not
/// have left out any either.
///
/// # Errors
/// The tree cannot be searched, or the base's names are not known.
pub fn find(
    mut tree: TreeSearch<'_>,
    root_real: u64,
    options: &SourceOptions,
    earlier: &mut Earlier<'_>,
    scratch_dir: &Arc<Path>,
) -> io::Result<Option<Walked>> {
    if !options.excluded.is_empty() || options.ignore_ctime {
        return Ok(None);
    }
    let places = Places::new(Arc::clone(scratch_dir), options.tuning.spool_memory, root_real)?;
    let mut found = Finding {
        sorter: Sorter::new(Arc::clone(scratch_dir), options.tuning.sort_memory),
        places,
        root_real,
        generation: earlier.generation,
        directories: HashMap::from([(root_real, Some(Places::ROOT))]),
    };
    let mut unchanged = Bits::of(earlier.in_use);
    unchanged.remove(Ino::ROOT);
    let mut highest = unchanged.highest().map_or(0, |ino| ino.0.into());
    let mut changed = Vec::new();
    let mut directories = Vec::new();
    tree.changed_since(earlier.generation, |inode| {
        if options.is_interrupted() {
            return Err(io::Error::from(io::ErrorKind::Interrupted));
        }
        changed.push(inode);
        Ok(())
    })?;
    for inode in changed {
        highest = highest.max(inode.number);
        if inode.number >= options.tuning.direct_limit {
            return Ok(None);
        }
        let ino = Ino(inode.number as u32);
        let is_directory = inode.kind == Kind::Directory;
        let is_new = inode.made >= earlier.generation;
        let was_there = inode.number == root_real || MapView::new(earlier.in_use).contains(ino);
        let has_name = is_directory && inode.links > 0;
        let is_there = has_name && found.place_of(&mut tree, inode.number)?.is_some();
        if has_name && !is_new && is_there != was_there {
            return Ok(None);
        }
        // Numbers of what is gone come back when the file system is mounted again: a directory may have had this one.
        if is_there || was_there && (is_directory || is_new) {
            directories.push(inode.number);
        }
        // It has a record then, or is not part of the dump.
        unchanged.remove(ino);
        found.add(&mut tree, inode)?;
    }
    if !remove_gone(&mut tree, earlier, directories, root_real, &mut unchanged)? {
        return Ok(None);
    }
    // What a restore of the chain would not give rightly is dumped, too.
    if let Some(base) = &options.base {
        let known = base.known.iter().copied().chain(std::iter::repeat(0));
        let unknown: Vec<u8> =
            earlier.in_use.iter().zip(known).map(|(in_use, known)| in_use & !known).collect();
        for ino in MapView::new(&unknown).iter() {
            if unchanged.contains(ino)
                && let Some(inode) = tree.inode(ino.0.into())?
            {
                found.add(&mut tree, inode)?;
            }
        }
    }
    let Finding { sorter, places, .. } = found;
    Ok(Some(Walked { places, sorters: vec![sorter], unchanged, highest, covered: Vec::new() }))
}

struct Finding {
    sorter: Sorter,
    places: Places,
    root_real: u64,
    generation: u64,
    /// The places of directories found so far; `None`: they are not part of the dump.
    directories: HashMap<u64, Option<u64>>,
}

impl Finding {
    /// Adds an object, and the directories above it.
    fn add(&mut self, tree: &mut TreeSearch<'_>, inode: Inode) -> io::Result<()> {
        if inode.links == 0 || inode.number == self.root_real {
            return Ok(());
        }
        if inode.kind == Kind::Directory {
            return self.place_of(tree, inode.number).map(drop);
        }
        for (directory, name) in names_of(tree, inode.number)? {
            if let Some(place) =
                self.place_of(tree, directory)?.filter(|place| !is_special(*place == Places::ROOT, &name))
            {
                let tag = Tag::new(inode.kind).changed_if(inode.generation >= self.generation);
                return self.sorter.push(inode.number, place, tag.0, &name);
            }
        }
        Ok(())
    }

    /// The place of a directory, which is added if it is new; `None`: it is not part of the dump.
    fn place_of(&mut self, tree: &mut TreeSearch<'_>, directory: u64) -> io::Result<Option<u64>> {
        // From the directory upward, to one whose place is known.
        let mut above: Vec<(Inode, Vec<u8>)> = Vec::new();
        let mut at = directory;
        let mut place = loop {
            if let Some(place) = self.directories.get(&at) {
                break *place;
            }
            let inode = tree.inode(at)?.filter(|inode| inode.links > 0);
            let name = names_of(tree, at)?.pop();
            let (Some(inode), Some((parent, name))) = (inode, name) else { break None };
            above.push((inode, name));
            if above.len() > DEPTH_MAX {
                return Err(io::Error::other("directories are too deep"));
            }
            at = parent;
        };
        for (inode, name) in above.into_iter().rev() {
            place = match place.filter(|parent| !is_special(*parent == Places::ROOT, &name)) {
                Some(parent) => Some(self.places.push(parent, inode.number, &name)?),
                None => None,
            };
            self.directories.insert(inode.number, place);
            if let Some(place) = place {
                let tag = Tag::new(Kind::Directory).changed_if(inode.generation >= self.generation);
                self.sorter.push(inode.number, place, tag.0, b"")?;
            }
        }
        Ok(place)
    }
}

/// The names of an object, with the directories that they are in.
fn names_of(tree: &mut TreeSearch<'_>, number: u64) -> io::Result<Vec<(u64, Vec<u8>)>> {
    let mut names = Vec::new();
    tree.names_of(number, |directory, name| names.push((directory, name.to_vec())))?;
    Ok(names)
}

/// Takes what is gone out of `unchanged`, beginning with the directories that changed, whether they are still there or not.
/// `false`: there are other subvolumes, or the names are not those of the base.
fn remove_gone(
    tree: &mut TreeSearch<'_>,
    earlier: &mut Earlier<'_>,
    changed: Vec<u64>,
    root_real: u64,
    unchanged: &mut Bits,
) -> io::Result<bool> {
    let in_use = MapView::new(earlier.in_use);
    // Directories that changed or are gone.
    let mut queue = changed;
    while let Some(directory) = queue.pop() {
        let number = if directory == root_real { Ino::ROOT } else { Ino(directory as u32) };
        let mut suspects = BTreeSet::new();
        let mut is_of_base = true;
        let mut suspect = |ino| {
            is_of_base &= in_use.contains(ino);
            // What changed is no longer in question.
            if unchanged.contains(ino) {
                suspects.insert(ino);
            }
        };
        earlier.names.objects_in(number, &mut suspect)?;
        if !is_of_base {
            return Ok(false);
        }
        let has_roots = tree.objects_in(directory, |real| {
            if let Ok(real) = u32::try_from(real) {
                suspects.remove(&Ino(real));
            }
        })?;
        if has_roots {
            return Ok(false);
        }
        for ino in suspects {
            if tree.inode(ino.0.into())?.is_none_or(|inode| inode.links == 0) {
                unchanged.remove(ino);
                queue.push(ino.0.into());
            }
        }
    }
    Ok(true)
}
