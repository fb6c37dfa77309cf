//! The arguments as they are written: the one definition that parsing, help, completions and the manual come from.

mod capabilities;
pub mod context;
pub mod event;
pub mod history;
pub mod lun;
pub mod qtree;
pub mod session;
pub mod snapshot;

pub use self::capabilities::Limits;
use self::history::{Browse, Chain, Find, History, Moment};
pub use self::lun::Lun;
use self::snapshot::Snapshot;
use crate::volume::source::Pattern;
use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueHint};
use std::ffi::OsString;
use std::num::NonZeroU64;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;
use tapedump_core::units::{BlockingFactor, Level};

const TAPE_HELP: &str = "Name of a tape in the library, directory of a virtual tape, tape drive (/dev/nst0), plain file, or - for a pipe";

/// Dumps directory trees to BSD-style dump tapes and restores them.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 110, after_help = crate::cli::exit::HELP)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Dump(Dump),
    Restore(Restore),
    List(List),
    Verify(Verify),
    History(History),
    Chain(Chain),
    Find(Find),
    Browse(Browse),
    Lun(Lun),
    Tape(Tape),
    Catalog(Catalog),
    Qtree(qtree::Qtree),
    Snapshot(Snapshot),
    Context(context::Context),
    Session(session::Session),
    Event(event::Event),
    /// Show the backup log: what dumps and restores did in this week and the six before in which there were any
    Log {
        /// One JSON object for each event
        #[arg(long)]
        json: bool,
    },
    /// Print the completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write one page per command into a directory
    Man {
        /// Where the pages go
        #[arg(value_hint = ValueHint::DirPath)]
        directory: Option<PathBuf>,
    },
}

/// Dump a directory tree to a tape
///
/// The tree is read from a snapshot that is made for the dump, so that it can be changed meanwhile. Where the file system has no
/// snapshots (only btrfs has), --live is needed. Without --tape the dump goes to a new tape in the library, named by the label or by
/// date and time. Other volumes in the tree (mount points, nested subvolumes) are not entered, and are
/// links on the dump. What cannot be read is named and left out, and the
/// exit code is 1 then.
#[derive(Debug, Args)]
pub struct Dump {
    /// The tree
    #[arg(value_hint = ValueHint::DirPath)]
    pub path: PathBuf,
    #[arg(
        short,
        long,
        help = format!("{TAPE_HELP}; null: keeps nothing. Once more for each further tape, should the one before be full"),
        value_hint = ValueHint::AnyPath
    )]
    pub tape: Vec<OsString>,
    /// Level, 0 to 31: 0 dumps everything, a higher one what changed since the last dump of a lower level
    #[arg(short = 'L', long, value_name = "N", default_value = "0", value_parser = level)]
    pub level: Level,
    /// Tape blocks of 1 KiB per tape record, 4 to 256
    #[arg(short, long, value_name = "N", default_value = "64", value_parser = blocking_factor)]
    pub blocking_factor: BlockingFactor,
    /// Label of the dump, up to 15 bytes
    #[arg(short, long, value_parser = label)]
    pub label: Option<String>,
    /// Read this snapshot of the volume; it stays [default: one made for this dump, and deleted at its end]
    ///
    /// Snapshots are in the directory .snapshot in the root of a btrfs subvolume; see tapedump snapshot.
    #[arg(long, value_name = "NAME", conflicts_with = "live")]
    pub snapshot: Option<OsString>,
    /// Read the tree as it is meanwhile, without a snapshot: what changes while it is read is named, and the exit code is 1
    /// then
    #[arg(long)]
    pub live: bool,
    /// Threads that read the tree [default: as many as suit the machine]
    #[arg(long, value_name = "N", value_parser = threads)]
    pub threads: Option<usize>,
    /// Write over what the tape holds
    #[arg(long, requires = "tape")]
    pub overwrite: bool,
    /// Write behind what the tape holds
    #[arg(long, conflicts_with = "overwrite")]
    pub append: bool,
    /// Do not write the dump's catalog behind it on the tape
    ///
    /// It is the next tape file on virtual tapes and cartridges: with it tapedump catalog rebuild need not read the dump, and
    /// third-party restore programs can take it as their archive (restore -A). The state directory has a catalog in any case.
    #[arg(long)]
    pub no_catalog: bool,
    /// Leave out files and directories of this name, wherever they are; once more for each further name, up to 32
    ///
    /// An asterisk at the beginning or the end, or at both, stands for any characters. An increment that names other ones than its
    /// base dumps what is not left out any more, and its restore removes what is.
    #[arg(long, value_name = "NAME", value_parser = pattern())]
    pub exclude: Vec<Pattern>,
    /// Leave out the qtrees of a volume; level 0 only
    #[arg(long, conflicts_with = "exclude")]
    pub without_qtrees: bool,
    /// In an increment, leave out files that only got other permissions, owners or attributes
    ///
    /// These are then as in the base when the increment is restored. A file that took the place of another one, with an old time of
    /// modification, is left out, too, where the file system does not keep when files were made.
    #[arg(long)]
    pub ignore_ctime: bool,
    /// Dump no ACLs: objects have their permission bits
    #[arg(long)]
    pub no_acls: bool,
    /// Seconds that a dump of a snapshot runs at least before it stores again how it can be restarted from here; see
    /// tapedump context
    ///
    /// No more than a hundredth of the dump's time goes into it, except with 0: as often as possible, whatever that costs.
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    pub context_interval: Duration,
    /// Eject the cartridge of a tape drive at the end
    #[arg(long)]
    pub eject: bool,
    #[command(flatten)]
    pub turn: session::Turn,
    #[command(flatten)]
    pub cartridges: Cartridges,
}

/// Which dump is read: the same for restore, list and verify.
#[derive(Debug, Args)]
pub struct From {
    #[arg(
        short,
        long,
        help = format!(
            "{TAPE_HELP}; once more for each further tape of the dump [default: the tape of the library that was \
             written last]"
        ),
        value_hint = ValueHint::AnyPath
    )]
    pub tape: Vec<OsString>,
    /// Tape file with the dump, counted from 0 [default: the last one]
    #[arg(short, long, value_name = "N", value_parser = tape_file)]
    pub file: Option<u32>,
    #[command(flatten)]
    pub cartridges: Cartridges,
}

/// Where further cartridges come from.
#[derive(Clone, Debug, Args)]
pub struct Cartridges {
    /// Shell command that puts another cartridge into the drive, for when there is none or not the right one
    /// [default: $TAPEDUMP_CHANGER]
    ///
    /// The one in the drive is ejected before. The command finds in its environment TAPEDUMP_DEVICE, TAPEDUMP_PURPOSE (read or
    /// write), TAPEDUMP_NUMBER (which tape of the dump is wanted, from 1), TAPEDUMP_LABEL (of the dump, where it is known) and
    /// TAPEDUMP_REASON (why the one in the drive will not do). It ends with code 0 when the cartridge is in, and with another
    /// one when there is none. With a robot: mtx -f /dev/sg3 next 0
    #[arg(long, value_name = "COMMAND", value_hint = ValueHint::CommandString)]
    pub changer: Option<OsString>,
    /// Ask for further tapes: a line of standard input for each, with its name or empty for another cartridge in the same drive
    /// [default: only on a terminal]
    #[arg(long)]
    pub prompt: bool,
}

/// Restore a dump, or some paths of it
///
/// Files that are there already are replaced, directories are kept. What is damaged on the tape is named, and
/// everything else is restored; the exit code is 1 then.
#[derive(Debug, Args)]
pub struct Restore {
    /// What to restore, as paths from the root of the dump [default: everything]
    pub paths: Vec<OsString>,
    /// The directory to restore into; made where it is not there
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, required_unless_present = "plan")]
    pub to: Option<PathBuf>,
    #[command(flatten)]
    pub from: From,
    #[command(flatten)]
    pub moment: Moment,
    /// Show the dumps and tapes that this restore needs, and whether they are there; write nothing
    #[arg(long)]
    pub plan: bool,
    /// With --plan: one JSON object for each dump
    #[arg(long, requires = "plan")]
    pub json: bool,
    /// Of an increment: restore only what it holds itself, not the whole tree as it was
    #[arg(long)]
    pub only: bool,
    /// Of an increment whose chain is not in the history: the tape of the dump it is based on, and once more for that one's
    /// base, down to level 0; a tape file other than the last is named by TAPE:N
    #[arg(long, value_name = "TAPE", value_hint = ValueHint::AnyPath,
        conflicts_with_all = ["only", "at", "of"])]
    pub base: Vec<OsString>,
    /// Apply the dump to a tree that stays: a level 0 to an empty directory first, then each increment on it, by and by
    ///
    /// What is gone is removed, what was moved is moved, and what the dump holds is restored over it. The tree keeps what the next
    /// one needs in its folder .tapedump. The dump's catalog is needed; see tapedump catalog.
    #[arg(long, requires = "to", conflicts_with_all = ["paths", "only", "base", "plan", "at", "of"])]
    pub apply: bool,
    /// Restore no ACLs: objects have their permission bits
    #[arg(long)]
    pub no_acls: bool,
    /// Restore qtrees as directories
    #[arg(long)]
    pub ignore_qtrees: bool,
    /// What the target cannot hold, as a list with commas: aces=N (ACLs of more than N entries), no-luns, no-unicode-qtrees,
    /// older-release. What it cannot hold becomes the nearest thing that it can, and is named
    #[arg(long, value_name = "LIST", default_value = "", hide_default_value = true,
        value_parser = capabilities::limits)]
    pub target_capabilities: Limits,
    /// Restore the one path under another name, which is a path below the directory of --to
    #[arg(long = "as", value_name = "NAME", requires = "paths", value_hint = ValueHint::AnyPath,
        conflicts_with_all = ["plan", "apply"])]
    pub as_name: Option<OsString>,
    /// Restore OLD, a path from the root of the dump, as NEW, a path below the directory of --to; may be given several times. A =
    /// in OLD is written \=
    #[arg(long, value_name = "OLD=NEW", conflicts_with_all = ["plan", "apply"])]
    pub rename: Vec<OsString>,
    /// Do not check whether there is room: restore what fits, then stop and list what is missing
    #[arg(long)]
    pub force: bool,
    /// Read and check everything, and write nothing; that there is no room is said, with exit code 1
    #[arg(long, conflicts_with_all = ["plan", "apply"])]
    pub dry_run: bool,
    /// Threads that write the tree [default: one for each processor]
    #[arg(long, value_name = "N", value_parser = threads)]
    pub threads: Option<usize>,
    #[command(flatten)]
    pub turn: session::Turn,
}

/// List what a dump holds
///
/// With --at or --of list the whole tree as it was then, from the catalogs of its dumps: no tape is read.
#[derive(Debug, Args)]
pub struct List {
    /// What to list, as paths from the root of the dump [default: everything]
    pub paths: Vec<OsString>,
    #[command(flatten)]
    pub from: From,
    #[command(flatten)]
    pub moment: Moment,
    /// List the qtrees on the dump, and what they are
    #[arg(long, conflicts_with_all = ["paths", "long", "at", "of"])]
    pub qtrees: bool,
    /// With mode, links, owner, size and time
    #[arg(short, long)]
    pub long: bool,
    /// One JSON object for each name
    #[arg(long)]
    pub json: bool,
}

/// Read a whole dump and check all its checksums
///
/// With --against also compare it with a tree. What differs is named, and the exit code is 1 then.
#[derive(Debug, Args)]
pub struct Verify {
    #[command(flatten)]
    pub from: From,
    /// Compare with this tree
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub against: Option<PathBuf>,
    /// Findings and result as JSON objects
    #[arg(long)]
    pub json: bool,
}

/// Make, check and export the catalogs of dumps
#[derive(Debug, Args)]
pub struct Catalog {
    #[command(subcommand)]
    pub command: CatalogCommand,
}

#[derive(Debug, Subcommand)]
pub enum CatalogCommand {
    Rebuild(Rebuild),
    Export(Export),
    /// List the dumps of the history with their catalogs
    List {
        /// One JSON object for each dump
        #[arg(long)]
        json: bool,
    },
    /// Read all pages of catalogs, and name those that are damaged
    Check {
        /// Identity of the dump, or how it begins [default: all dumps of the history]
        dump: Option<String>,
    },
}

/// Make the catalog of a dump from its tapes, and take the dump up in the history
///
/// What is behind the dump on its tape is taken if it is whole, and the dump is read otherwise. Dumps of other programs are
/// taken up, too: they can be restored with all they are based on, and no increment of tapedump is based on them. Entries that
/// the history has are kept.
#[derive(Debug, Args)]
pub struct Rebuild {
    #[command(flatten)]
    pub from: From,
    /// All dumps on the tape
    #[arg(long, conflicts_with = "file")]
    pub all: bool,
    /// Read the dump, whatever is behind it
    #[arg(long)]
    pub scan: bool,
}

/// Write the positions of a dump's files for another program
///
/// With --qfa: for Debian's restore -Q. Positions are bytes from the beginning of the dump, so the dump has to be in a plain
/// file, as those of a virtual tape are.
#[derive(Debug, Args)]
pub struct Export {
    /// Identity of the dump, or how it begins [default: the newest dump of the history]
    pub dump: Option<String>,
    /// The format of restore -Q
    #[arg(long, required = true)]
    pub qfa: bool,
    /// The dump on this tape
    #[arg(short, long, conflicts_with = "dump", value_hint = ValueHint::AnyPath)]
    pub tape: Option<OsString>,
    /// Tape file with the dump, counted from 0 [default: the last one]
    #[arg(short, long, value_name = "N", requires = "tape", value_parser = tape_file)]
    pub file: Option<u32>,
    /// File to write [default: standard output]
    #[arg(short, long, value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,
}

/// Make, show and change virtual tapes, and look after tape drives
#[derive(Debug, Args)]
pub struct Tape {
    #[command(subcommand)]
    pub command: TapeCommand,
}

#[derive(Debug, Subcommand)]
pub enum TapeCommand {
    /// Make a blank tape in the library, or in a directory when NAME has a slash
    Create {
        /// Name of the tape, or its directory
        #[arg(value_hint = ValueHint::AnyPath)]
        name: OsString,
        /// What it holds: bytes, or with K, M, G, T (powers of 1,024) [default: as much as there is room]
        #[arg(long, value_name = "SIZE", value_parser = capacity)]
        capacity: Option<NonZeroU64>,
    },
    /// Give a virtual tape another name in its label, or write-protect it
    #[command(group = clap::ArgGroup::new("change").required(true).multiple(true))]
    Label {
        /// The tape
        #[arg(value_hint = ValueHint::AnyPath)]
        tape: OsString,
        /// What the label says from now on
        #[arg(group = "change", value_parser = tape_label)]
        text: Option<String>,
        /// Refuse writes from now on
        #[arg(long, group = "change")]
        protect: bool,
        /// Allow writes again
        #[arg(long, group = "change", conflicts_with = "protect")]
        writable: bool,
    },
    /// Show a tape's label and its tape files; of a tape drive, what it can and what is on its cartridge
    Info {
        /// The tape [default: the tape of the library that was written last]
        #[arg(value_hint = ValueHint::AnyPath)]
        tape: Option<OsString>,
        /// As a JSON object
        #[arg(long)]
        json: bool,
    },
    /// List the tapes of the library
    ///
    /// Cartridges are not part of it: one that is in a drive is shown by tapedump tape info DEVICE.
    List {
        /// One JSON object for each tape
        #[arg(long)]
        json: bool,
    },
    /// Make a tape blank; all dumps on it are lost
    Erase {
        /// The tape
        #[arg(value_hint = ValueHint::AnyPath)]
        tape: OsString,
        /// Remove the tape from the library as well
        #[arg(long)]
        remove: bool,
    },
    /// Eject the cartridge of a tape drive
    Eject {
        /// Tape drive (/dev/nst0)
        #[arg(value_hint = ValueHint::AnyPath)]
        device: OsString,
    },
    /// Check whether a drive, or a virtual tape, does all that dumps and restores need; all data on the tape is lost
    Qualify(Qualify),
}

/// What a tape is put to.
#[derive(Debug, Args)]
pub struct Qualify {
    /// Tape drive (/dev/nst0), or a virtual tape
    #[arg(value_hint = ValueHint::AnyPath)]
    pub tape: OsString,
    /// Yes, write over what the tape holds
    #[arg(long, required = true)]
    pub overwrite: bool,
    /// Also write the tape full and read all of it back
    #[arg(long)]
    pub fill: bool,
    /// Also eject the cartridge, at the end
    #[arg(long)]
    pub eject: bool,
    /// Tape blocks of 1 KiB per tape record, for measuring speed and for --fill
    #[arg(short, long, value_name = "N", default_value = "64", value_parser = blocking_factor)]
    pub blocking_factor: BlockingFactor,
    /// The report as a JSON object
    #[arg(long)]
    pub json: bool,
}

/// Names that a dump leaves out, of any bytes.
fn pattern() -> impl TypedValueParser<Value = Pattern> {
    OsStringValueParser::new().try_map(|text| Pattern::parse(text.as_bytes()))
}

fn blocking_factor(text: &str) -> Result<BlockingFactor, String> {
    let number: u32 = text.parse().map_err(|_| "it is a number from 4 to 256".to_owned())?;
    BlockingFactor::new(number).map_err(|_| "it is from 4 to 256".to_owned())
}

fn level(text: &str) -> Result<Level, String> {
    let number: u32 = text.parse().map_err(|_| "it is a number from 0 to 31".to_owned())?;
    Level::new(number).map_err(|_| "it is from 0 to 31".to_owned())
}

/// The 16 bytes of a label end in a NUL for third-party programs.
fn label(text: &str) -> Result<String, String> {
    if text.len() > 15 {
        return Err(format!("it has {} bytes, and a tape has room for 15", text.len()));
    }
    tape_label(text)
}

fn tape_label(text: &str) -> Result<String, String> {
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err("it has at least one character and no control characters".into());
    }
    Ok(text.into())
}

fn tape_file(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| "it is the number of a tape file, counted from 0".into())
}

fn threads(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(threads @ 1..=256) => Ok(threads),
        _ => Err("the number of threads is from 1 to 256".into()),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds @ 0..=86_400) => Ok(Duration::from_secs(seconds)),
        _ => Err("the number of seconds is from 0 to 86400".into()),
    }
}

/// One tape record of the default length.
const CAPACITY_MIN: u64 = 64 << 10;

/// Bytes, with K, M, G or T behind them; also KiB, MB and the like, all of them powers of 1,024.
fn capacity(text: &str) -> Result<NonZeroU64, String> {
    NonZeroU64::new(byte_count(text)?)
        .filter(|bytes| bytes.get() >= CAPACITY_MIN)
        .ok_or_else(|| "a tape of less than 64K has no room for a single tape record".into())
}

/// Bytes, with K, M, G or T behind them; also KiB, MB and the like, all of them powers of 1,024.
pub fn byte_count(text: &str) -> Result<u64, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim().to_ascii_lowercase().trim_end_matches("ib").trim_end_matches('b') {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return Err("it is a number of bytes, with K, M, G or T for powers of 1,024".into()),
    };
    let number: u64 = number.parse().map_err(|_| "it is a number of bytes".to_owned())?;
    let bytes = number.checked_mul(1 << shift).filter(|bytes| i64::try_from(*bytes).is_ok());
    bytes.ok_or_else(|| "nothing holds that much".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definitions_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn blocking_factors() {
        assert_eq!(blocking_factor("4").unwrap(), BlockingFactor::MIN);
        assert_eq!(blocking_factor("256").unwrap(), BlockingFactor::MAX);
        for bad in ["3", "257", "x", "", "-4", "4.0", "99999999999999999999"] {
            assert!(blocking_factor(bad).unwrap_err().contains("from 4 to 256"), "{bad}");
        }
    }

    #[test]
    fn capacities() {
        for (text, bytes) in
            [("65536", 1 << 16), ("64K", 1 << 16), ("3 MiB", 3 << 20), ("2gb", 2 << 30), ("1T", 1 << 40)]
        {
            assert_eq!(capacity(text).unwrap().get(), bytes, "{text}");
        }
        for bad in
            ["", "0", "1", "65535", "0G", "x", "1X", "-1", "1.5G", "99999999999999T", "16777216T", "8388608T"]
        {
            assert!(capacity(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn labels() {
        assert!(tape_label("").is_err() && tape_label("a\nb").is_err());
        assert_eq!(tape_label("longer than fifteen bytes").unwrap(), "longer than fifteen bytes");
        assert_eq!(tape_file("7").unwrap(), 7);
        assert!(tape_file("x").unwrap_err().contains("tape file"));
        assert_eq!(label("weekly").unwrap(), "weekly");
        for bad in ["", "sixteen bytes ..", "a\nb"] {
            assert!(label(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn overwriting_and_appending_exclude_each_other() {
        let parse = |arguments: &[&str]| Arguments::try_parse_from(arguments.iter().copied());
        assert!(parse(&["tapedump", "dump", ".", "-t", "x", "--overwrite", "--append"]).is_err());
        assert!(parse(&["tapedump", "dump", ".", "--overwrite"]).is_err());
        assert!(parse(&["tapedump", "dump", ".", "-t", "x", "--overwrite"]).is_ok());
        assert!(parse(&["tapedump", "dump", ".", "--append", "--tape", "weekly"]).is_ok());
        assert!(parse(&["tapedump", "tape", "label", "weekly"]).is_err());
        assert!(parse(&["tapedump", "restore"]).is_err());
    }
}
