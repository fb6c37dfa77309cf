//! `tapedump lun`.

use clap::{Args, Subcommand, ValueEnum, ValueHint};
use std::path::PathBuf;
use tapedump_core::record::lun::{OsType, SERIAL_LEN, Serial};

/// Make, show and change LUNs: files that hosts use as disks
///
/// A LUN is a regular file with an extended attribute that only root can set. It is dumped whole, and stays a LUN where it is
/// restored into the root of a volume or a qtree.
#[derive(Debug, Args)]
pub struct Lun {
    #[command(subcommand)]
    pub command: LunCommand,
}

#[derive(Debug, Subcommand)]
pub enum LunCommand {
    Create(Create),
    Set(Set),
    List(List),
    Clone(Clone),
}

/// Make a LUN: a new file without data, or without --size one of a file that is there
#[derive(Debug, Args)]
pub struct Create {
    /// The file
    #[arg(value_hint = ValueHint::FilePath)]
    pub path: PathBuf,
    /// What hosts see: bytes, or with K, M, G, T (powers of 1,024)
    #[arg(long, value_parser = super::byte_count)]
    pub size: Option<u64>,
    /// The operating system it is for
    #[arg(long, value_name = "TYPE", default_value = "linux", value_parser = os_type)]
    pub os_type: OsType,
    /// What identifies it to hosts: 12 characters [default: random ones]
    #[arg(long, value_parser = serial)]
    pub serial: Option<Serial>,
}

/// Change a LUN's attributes
///
/// A restore that was cut short leaves what it was restoring restricted: --state online (or offline) frees it. While a restore
/// is under way on it, nothing can be changed.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("change").required(true).multiple(true))]
pub struct Set {
    /// The LUN, or a file that a restore left restricted
    #[arg(value_hint = ValueHint::FilePath)]
    pub path: PathBuf,
    /// What hosts may do with it
    #[arg(long, group = "change")]
    pub state: Option<State>,
    /// The operating system it is for
    #[arg(long, value_name = "TYPE", group = "change", value_parser = os_type)]
    pub os_type: Option<OsType>,
    /// What identifies it to hosts: 12 characters, or "new" for random ones
    #[arg(long, group = "change", value_parser = new_serial)]
    pub serial: Option<NewSerial>,
    /// Whether hosts see it
    #[arg(long, value_name = "YES|NO", group = "change", value_parser = yes_or_no)]
    pub mapped: Option<bool>,
}

/// A serial given, or one to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewSerial {
    Random,
    This(Serial),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum State {
    /// It takes I/O
    Online,
    /// It was taken offline
    Offline,
    /// Clients are kept away, and it is not dumped
    Restricted,
    /// Its data is not what it should be, and it is not dumped
    Inconsistent,
}

/// List LUNs, and files that a restore left restricted
#[derive(Debug, Args)]
pub struct List {
    /// LUNs, and directories to look through; other file systems mounted in them are not entered [default: here]
    #[arg(value_hint = ValueHint::AnyPath)]
    pub paths: Vec<PathBuf>,
    /// One JSON object for each
    #[arg(long)]
    pub json: bool,
}

/// Make a LUN of its own that shares the data of another one (btrfs and XFS)
#[derive(Debug, Args)]
pub struct Clone {
    /// The LUN
    #[arg(value_hint = ValueHint::FilePath)]
    pub from: PathBuf,
    /// The new LUN
    #[arg(value_hint = ValueHint::FilePath)]
    pub to: PathBuf,
    /// What identifies it to hosts: 12 characters [default: random ones]
    #[arg(long, value_parser = serial)]
    pub serial: Option<Serial>,
}

fn os_type(text: &str) -> Result<OsType, String> {
    let found = OsType::ALL.iter().find(|os_type| os_type.name() == text.to_ascii_lowercase());
    found.copied().ok_or_else(|| {
        let names: Vec<&str> = OsType::ALL.iter().map(|os_type| os_type.name()).collect();
        format!("it is one of {}", names.join(", "))
    })
}

fn serial(text: &str) -> Result<Serial, String> {
    let bytes: Option<[u8; SERIAL_LEN]> = text.as_bytes().try_into().ok();
    bytes
        .and_then(Serial::new)
        .ok_or_else(|| format!("it has {SERIAL_LEN} characters of ASCII, without spaces"))
}

fn new_serial(text: &str) -> Result<NewSerial, String> {
    if text == "new" { Ok(NewSerial::Random) } else { serial(text).map(NewSerial::This) }
}

fn yes_or_no(text: &str) -> Result<bool, String> {
    match text {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err("it is yes or no".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments() {
        assert_eq!(os_type("Windows_GPT"), Ok(OsType::WindowsGpt));
        assert!(os_type("unknown").unwrap_err().contains("vmware"));
        assert_eq!(serial("abcdefghijkl").unwrap().to_string(), "abcdefghijkl");
        assert_eq!(new_serial("new"), Ok(NewSerial::Random));
        for bad in ["", "short", "abcdefghijk ", "abcdefghijklm", "äbcdefghijk"] {
            assert!(serial(bad).is_err() && new_serial(bad).is_err(), "{bad}");
        }
        assert_eq!((yes_or_no("yes"), yes_or_no("no")), (Ok(true), Ok(false)));
        assert!(yes_or_no("maybe").is_err());
    }
}
