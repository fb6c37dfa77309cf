//! The arguments of `tapedump qtree`.

use clap::{Args, Subcommand, ValueEnum, ValueHint};
use std::num::NonZeroU32;
use std::path::PathBuf;
use tapedump_core::record::qtree::SecurityStyle;

/// Make, change and list qtrees: top-level directories of a volume with a security style of their own
///
/// A volume is a mounted file system or a btrfs subvolume. Dumps take what a qtree is along, and restores to the root of a volume
/// give it back.
#[derive(Debug, Args)]
pub struct Qtree {
    #[command(subcommand)]
    pub command: QtreeCommand,
}

#[derive(Debug, Subcommand)]
pub enum QtreeCommand {
    /// Make a qtree; a directory that is there becomes one
    Create {
        /// The directory, in the root of its volume
        #[arg(value_hint = ValueHint::DirPath)]
        path: PathBuf,
        #[command(flatten)]
        change: Change,
    },
    /// Change a qtree
    #[command(group = clap::ArgGroup::new("what").required(true).multiple(true)
        .args(["style", "oplocks", "id", "default_mode", "none"]))]
    Set {
        /// The directory, in the root of its volume
        #[arg(value_hint = ValueHint::DirPath)]
        path: PathBuf,
        #[command(flatten)]
        change: Change,
        /// Make it a directory like any other
        #[arg(long, conflicts_with_all = ["style", "oplocks", "id", "default_mode"])]
        none: bool,
    },
    /// List the qtrees of a volume
    List {
        /// The volume
        #[arg(value_hint = ValueHint::DirPath)]
        volume: PathBuf,
        /// One JSON object for each qtree
        #[arg(long)]
        json: bool,
    },
}

#[derive(Clone, Debug, Args)]
pub struct Change {
    /// Whose permissions count: those of UNIX, of Windows, or those set last [default of a new one: unix]
    #[arg(long, value_enum)]
    pub style: Option<Style>,
    /// Whether clients may cache [default of a new one: on]
    #[arg(long, value_enum)]
    pub oplocks: Option<Switch>,
    /// Number in the volume, unique in it [default of a new one: the lowest that is free]
    #[arg(long, value_name = "N", value_parser = id)]
    pub id: Option<NonZeroU32>,
    /// Permissions, in octal, for what is restored into a qtree of style unix and has those of Windows only [default of a new one: 777]
    #[arg(long, value_name = "MODE", value_parser = mode)]
    pub default_mode: Option<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Style {
    Unix,
    Ntfs,
    Mixed,
}

impl From<Style> for SecurityStyle {
    fn from(style: Style) -> Self {
        match style {
            Style::Unix => Self::Unix,
            Style::Ntfs => Self::Ntfs,
            Style::Mixed => Self::Mixed,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    On,
    Off,
}

fn id(text: &str) -> Result<NonZeroU32, String> {
    text.parse().map_err(|_| format!("the number of a qtree is from 1 to {}", u32::MAX))
}

fn mode(text: &str) -> Result<u16, String> {
    u16::from_str_radix(text, 8)
        .ok()
        .filter(|mode| *mode <= 0o777)
        .ok_or_else(|| "permissions are three octal digits, like 750".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!(id("1").unwrap().get(), 1);
        assert_eq!(id("4294967295").unwrap().get(), u32::MAX);
        for bad in ["", "0", "-1", "4294967296", "x"] {
            assert_eq!(id(bad).unwrap_err(), "the number of a qtree is from 1 to 4294967295", "{bad}");
        }
    }

    #[test]
    fn modes() {
        assert_eq!(mode("750"), Ok(0o750));
        assert_eq!(mode("0"), Ok(0));
        for bad in ["", "8", "1777", "rwx", "-1"] {
            assert!(mode(bad).is_err(), "{bad}");
        }
    }
}
