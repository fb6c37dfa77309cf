//! `tapedump qtree`: qtrees of a volume that is mounted.

use super::exit::{CliError, Ended};
use super::json::{self, JsonPath};
use super::raw::qtree::{Change, Qtree as Raw, QtreeCommand, Switch};
use crate::text::{printable, printable_path};
use crate::volume::qtree::{self, Found, TopLevel};
use rustix::fs::{Mode, OFlags};
use serde::Serialize;
use std::io::{self, Write};
use std::path::Path;
use tapedump_core::record::qtree::{Qtree, SecurityStyle};

pub fn run(raw: Raw) -> Result<Ended, CliError> {
    match raw.command {
        QtreeCommand::Create { path, change } => {
            let made = TopLevel::find(&path).and_then(|directory| directory.create(change_of(&change)));
            eprintln!("made {}", describe(&path, &made.map_err(CliError::failed)?));
            Ok(Ended::Done)
        }
        QtreeCommand::Set { path, none: true, .. } => {
            TopLevel::find(&path).and_then(|directory| directory.clear()).map_err(CliError::failed)?;
            Ok(Ended::Done)
        }
        QtreeCommand::Set { path, change, .. } => {
            let set = TopLevel::find(&path).and_then(|directory| directory.set(change_of(&change)));
            eprintln!("now {}", describe(&path, &set.map_err(CliError::failed)?));
            Ok(Ended::Done)
        }
        QtreeCommand::List { volume, json } => list(&volume, json),
    }
}

fn change_of(raw: &Change) -> qtree::Change {
    qtree::Change {
        id: raw.id.map(std::num::NonZero::get),
        style: raw.style.map(SecurityStyle::from),
        oplocks: raw.oplocks.map(|switch| switch == Switch::On),
        default_mode: raw.default_mode,
    }
}

fn describe(path: &Path, qtree: &Qtree) -> String {
    let path = printable_path(path);
    format!("the qtree {path}: number {}, style {}, oplocks {}", qtree.id, style(qtree.style), oplocks(qtree))
}

/// What a style is called.
pub const fn style(style: SecurityStyle) -> &'static str {
    match style {
        SecurityStyle::Unix => "unix",
        SecurityStyle::Ntfs => "ntfs",
        SecurityStyle::Mixed => "mixed",
    }
}

const fn oplocks(qtree: &Qtree) -> &'static str {
    if qtree.oplocks { "on" } else { "off" }
}

/// A qtree as a JSON object.
#[derive(Debug, Serialize)]
struct Row {
    #[serde(flatten)]
    path: JsonPath,
    #[serde(flatten)]
    qtree: Option<Attributes>,
}

#[derive(Debug, Serialize)]
struct Attributes {
    id: u32,
    style: &'static str,
    oplocks: bool,
    default_mode: String,
}

/// Prints one qtree of a volume or of a dump; the root's own is called `.`.
pub fn print(name: &[u8], qtree: Option<&Qtree>, json: bool) -> Result<(), CliError> {
    let name = if name.is_empty() { b"." } else { name };
    if json {
        let qtree = qtree.map(|qtree| Attributes {
            id: qtree.id,
            style: style(qtree.style),
            oplocks: qtree.oplocks,
            default_mode: format!("{:03o}", qtree.default_mode),
        });
        return put(&json::text(&Row { path: JsonPath::new(name), qtree })?);
    }
    match qtree {
        Some(qtree) => put(&format!(
            "{:>5}  {:<5}  oplocks {:<3}  {:03o}  {}",
            qtree.id,
            style(qtree.style),
            oplocks(qtree),
            qtree.default_mode,
            printable(name)
        )),
        None => put(&format!("{:>5}  not understood           {}", "?", printable(name))),
    }
}

fn put(line: &str) -> Result<(), CliError> {
    Ok(writeln!(io::stdout().lock(), "{line}")?)
}

fn list(volume: &Path, json: bool) -> Result<Ended, CliError> {
    let failed = |why: &dyn std::fmt::Display| {
        CliError::failed(format!("{}: cannot list its qtrees: {why}", printable_path(volume)))
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(volume, flags, Mode::empty()).map_err(|errno| failed(&errno))?;
    if !crate::volume::place::is_volume_root(&root).map_err(|errno| failed(&errno))? {
        return Err(failed(&"it is not the root of a volume (a mounted file system, or a subvolume)"));
    }
    let mut ended = Ended::Done;
    for Found { name, qtree } in qtree::list(&root).map_err(|errno| failed(&errno))? {
        if qtree.is_none() {
            ended = Ended::Incomplete;
        }
        print(&name, qtree.as_ref(), json)?;
    }
    Ok(ended)
}
