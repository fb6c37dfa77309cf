//! `--as` and `--rename`: what is restored to another place than it has on the dump (R-RESTORE-5).

use crate::cli::exit::CliError;
use crate::cli::raw;
use crate::cli::reading::Engine;
use crate::text::printable;
use crate::volume::renamed::{Rename, Renamed};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use tapedump_core::device::volume::TargetVolume;
use tapedump_core::engine::restore::Named;
use tapedump_core::limits::NAME_LEN_MAX;

type Path = Vec<Vec<u8>>;

/// Old paths on the dump, and the new ones below the destination.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Renames(BTreeMap<Path, Path>);

impl Renames {
    /// What the arguments say.
    pub fn parse(raw: &raw::Restore) -> Result<Self, CliError> {
        let mut renames = Self::default();
        if let Some(name) = &raw.as_name {
            let [path] = raw.paths.as_slice() else {
                return Err(CliError::failed(
                    "--as gives one path another name: name that path, and no other",
                ));
            };
            renames.add(path.as_bytes(), name.as_bytes())?;
        }
        for argument in &raw.rename {
            let (old, new) = split(argument).ok_or_else(|| {
                let shown = printable(argument.as_bytes());
                CliError::failed(format!("--rename '{shown}': it has the form OLD=NEW (a = in OLD is \\=)"))
            })?;
            renames.add(&old, &new)?;
        }
        Ok(renames)
    }

    fn add(&mut self, old: &[u8], new: &[u8]) -> Result<(), CliError> {
        let refused = |path: &[u8], why: &str| CliError::failed(format!("{}: {why}", printable(path)));
        let (from, to) = (components(old), components(new));
        if from.is_empty() {
            return Err(refused(old, "the root of the dump has no name that could be another one: use --to"));
        }
        let leaves = |path: &Path| path.iter().any(|name| name == b"..");
        if to.is_empty() || new.starts_with(b"/") || leaves(&to) {
            return Err(refused(new, "a new name is a path below the destination (--to)"));
        }
        if to.iter().any(|name| name.len() > NAME_LEN_MAX || name.contains(&0)) {
            return Err(refused(new, "no file system takes such a name"));
        }
        if self.0.values().any(|other| *other == to) {
            return Err(refused(new, "two objects cannot have the same new name"));
        }
        if self.0.insert(from, to).is_some() {
            return Err(refused(old, "it cannot have two new names"));
        }
        Ok(())
    }

    /// Tells the target, now that the names of the dump are known and what is wanted is selected.
    pub fn apply<V: TargetVolume>(
        &self,
        engine: &mut Engine<'_, Renamed<V>>,
        paths: &[Vec<u8>],
    ) -> Result<(), CliError> {
        let mut renames = Vec::new();
        for (old, new) in &self.0 {
            let Some(found) = look_up(engine, old)?.filter(|found| engine.wants(found.ino)) else {
                let why = "it cannot be renamed: it is not among what is restored";
                return Err(CliError::failed(format!("{}: {why}", shown(old))));
            };
            self.check_free(engine, new)?;
            let name = old.last().cloned().unwrap_or_default();
            renames.push(Rename { parent: found.parent, name, to: new.clone() });
        }
        for rename in renames {
            let mut of_dump = Vec::new();
            for depth in 1..rename.to.len() {
                let above = &rename.to[..depth];
                let found = if self.0.contains_key(above) { None } else { look_up(engine, above)? };
                of_dump.push(found.is_some_and(|found| found.directory && engine.wants(found.ino)));
            }
            let is_of_dump = |path: &[Vec<u8>]| of_dump.get(path.len() - 1).copied().unwrap_or(false);
            engine.target_mut().rename(rename, is_of_dump);
        }
        self.pass(engine, paths)
    }

    /// Nothing else may come to the new place.
    fn check_free<V: TargetVolume>(
        &self,
        engine: &mut Engine<'_, Renamed<V>>,
        new: &[Vec<u8>],
    ) -> Result<(), CliError> {
        for depth in 1..=new.len() {
            let path = &new[..depth];
            if self.0.contains_key(path) {
                // That goes elsewhere itself, with all that is in it.
                return Ok(());
            }
            let Some(found) = look_up(engine, path)?.filter(|found| engine.wants(found.ino)) else {
                return Ok(());
            };
            if depth == new.len() || !found.directory {
                let why = "it cannot be a new name: the dump has something there that is restored, too";
                return Err(CliError::failed(format!("{}: {why}", shown(path))));
            }
        }
        Ok(())
    }

    /// Directories that only lead to what is renamed are not made.
    fn pass<V: TargetVolume>(
        &self,
        engine: &mut Engine<'_, Renamed<V>>,
        paths: &[Vec<u8>],
    ) -> Result<(), CliError> {
        let chosen: Vec<Path> = paths.iter().map(|path| components(path)).collect();
        let is_needed = |directory: &[Vec<u8>]| {
            chosen.iter().any(|path| {
                let renamed = (1..=path.len()).rev().find(|len| self.0.contains_key(&path[..*len]));
                let from = renamed.unwrap_or(0);
                path.len() > directory.len() && path.starts_with(directory) && directory.len() >= from
            })
        };
        for old in self.0.keys() {
            for depth in 1..old.len() {
                let above = &old[..depth];
                if let Some(found) = look_up(engine, above)?
                    && !engine.wants(found.ino)
                    && !is_needed(above)
                {
                    engine.target_mut().pass(found.ino);
                }
            }
        }
        Ok(())
    }
}

fn look_up<V: TargetVolume>(
    engine: &mut Engine<'_, Renamed<V>>,
    path: &[Vec<u8>],
) -> Result<Option<Named>, CliError> {
    engine.look_up(&path.join(&b'/')).map_err(|_| CliError::failed("the scratch file failed"))
}

fn shown(path: &[Vec<u8>]) -> String {
    printable(&path.join(&b'/'))
}

/// The names of a path.
fn components(path: &[u8]) -> Path {
    let names = path.split(|byte| *byte == b'/').filter(|name| !matches!(name, [] | [b'.']));
    names.map(<[u8]>::to_vec).collect()
}

/// `OLD=NEW`, at the first `=` that has no backslash before it.
fn split(argument: &OsStr) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut old = Vec::new();
    let mut rest = argument.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        match (first, behind) {
            (b'\\', [b'=', behind @ ..]) => {
                old.push(b'=');
                rest = behind;
            }
            (b'=', _) => return Some((old, behind.to_vec())),
            _ => {
                old.push(*first);
                rest = behind;
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments() {
        let split = |text: &str| split(OsStr::new(text));
        assert_eq!(split("a/b=c=d"), Some((b"a/b".to_vec(), b"c=d".to_vec())));
        assert_eq!(split(r"a\=b=c"), Some((b"a=b".to_vec(), b"c".to_vec())));
        assert_eq!(split(r"a\b=c"), Some((br"a\b".to_vec(), b"c".to_vec())));
        assert_eq!((split("a"), split(r"a\=b")), (None, None));
        assert_eq!(components(b"/a//./b/"), [b"a".to_vec(), b"b".to_vec()]);
    }

    #[test]
    fn new_names_stay_below_the_destination_and_apart() {
        let mut renames = Renames::default();
        renames.add(b"a", b"x").unwrap();
        for (old, new, why) in [
            ("b", "/x", "below the destination"),
            ("b", "../x", "below the destination"),
            ("b", "x/../y", "below the destination"),
            ("b", ".", "below the destination"),
            ("b", "./x", "the same new name"),
            ("a", "y", "two new names"),
            (".", "y", "the root"),
        ] {
            let error = renames.add(old.as_bytes(), new.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        assert!(renames.add(b"c", &[b'n'; 256]).is_err());
    }
}
