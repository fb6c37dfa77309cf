//! What the engine tells by number, as text with paths.

use crate::cli::json::JsonPath;
use crate::cli::progress::count as count_of;
use crate::cli::reading::Engine;
use crate::text::printable;
use serde::Serialize;
use std::fmt::Display;
use tapedump_core::device::volume::{Difference, FailedPart, Failure, NameBuf, PropertyKind, TargetVolume};
use tapedump_core::device::{DeviceError, ErrorKind};
use tapedump_core::engine::restore::{Damage, Reduction};
use tapedump_core::limits::NAME_LEN_MAX;
use tapedump_core::units::Ino;

/// Directories above an object that are followed for its path; deeper paths are cut at the front.
const DEPTH_MAX: usize = 100_000;

/// Where the fault lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The tape is not as it was written.
    Damage,
    /// The tape is; the dump was not whole when it was made.
    Incomplete,
    /// The destination could not take something, or the tree could not be compared.
    Failure,
    /// The target cannot hold it, as it declared, and it is something else there.
    Reduced,
    /// It has to be something else in its new place, and nothing is lost.
    Adapted,
    /// The tree is not as the dump has it.
    Difference,
    /// A number of findings that are not listed one by one.
    Further,
}

/// What a dump is read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To be restored.
    Restore,
    /// To be listed, verified or compared.
    Look,
}

/// Something that is not as it should be.
#[derive(Debug, Serialize)]
pub struct Finding {
    #[serde(rename = "finding")]
    kind: Kind,
    #[serde(flatten)]
    path: Option<JsonPath>,
    #[serde(skip_serializing_if = "Option::is_none")]
    inode: Option<u32>,
    /// What it is, for a person.
    /// How many there are, where it stands for several.
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
    text: String,
    #[serde(skip)]
    bytes: Option<Vec<u8>>,
    #[serde(skip)]
    names_lost: bool,
    #[serde(skip)]
    end_missing: bool,
    #[serde(skip)]
    made_good: bool,
}

impl Finding {
    /// A finding about the object `inode`, which is called `path`.
    pub fn about(kind: Kind, inode: Option<Ino>, path: Option<Vec<u8>>, text: impl Into<String>) -> Self {
        let json = path.as_deref().map(JsonPath::new);
        let inode = inode.map(|ino| ino.0);
        let text = text.into();
        Self {
            kind,
            path: json,
            inode,
            count: None,
            text,
            bytes: path,
            names_lost: false,
            end_missing: false,
            made_good: false,
        }
    }

    /// `count` findings of a kind that are not listed one by one.
    pub fn further(kind: &'static str, count: u64) -> Self {
        let text = format!("{count} more of these are not listed: {kind}");
        Self { count: Some(count), ..Self::about(Kind::Further, None, None, text) }
    }

    /// Where the fault lies.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Something is not as it should be.
    pub fn is_fault(&self) -> bool {
        self.kind != Kind::Adapted
    }

    /// The object it is about.
    pub fn ino(&self) -> Option<Ino> {
        self.inode.map(Ino)
    }

    /// It is about a directory of which names may be lost.
    pub const fn are_names_lost(&self) -> bool {
        self.names_lost
    }

    /// It says that the dump has no end.
    pub const fn is_end_missing(&self) -> bool {
        self.end_missing
    }

    /// The object has what it lost from elsewhere.
    pub const fn is_made_good(&self) -> bool {
        self.made_good
    }

    /// Says that what is lost was had from elsewhere.
    #[must_use]
    pub fn made_good(self) -> Self {
        let text = format!("{}; made good from the catalog", self.text);
        Self { text, names_lost: false, made_good: true, ..self }
    }

    /// The line for a person.
    pub fn line(&self) -> String {
        match (&self.bytes, self.inode) {
            (Some(path), _) => format!("{}: {}", printable(path), self.text),
            (None, Some(inode)) => format!("inode {inode}: {}", self.text),
            (None, None) => self.text.clone(),
        }
    }
}

/// Path of an object from the root of the dump, or `None` where the dump names it nowhere.
pub fn path_of<V: TargetVolume>(engine: &mut Engine<'_, V>, ino: Ino) -> Option<Vec<u8>> {
    if ino == Ino::ROOT {
        return Some(b".".to_vec());
    }
    let mut name: NameBuf = [0; NAME_LEN_MAX];
    let mut components: Vec<Vec<u8>> = Vec::new();
    let mut at = ino;
    // An error of the scratch device comes up at the engine's next step; here the number has to do.
    while let Ok(Some((parent, len))) = engine.component(at, &mut name) {
        components.push(name.get(..len)?.to_vec());
        if parent == Ino::ROOT || components.len() >= DEPTH_MAX {
            break;
        }
        at = parent;
    }
    components.reverse();
    (!components.is_empty()).then(|| components.join(&b'/'))
}

/// The kind of a damage: what such findings are counted as.
pub fn kind_of_damage(damage: &Damage) -> &'static str {
    match damage {
        Damage::Gap(_) => "damaged places on the tape",
        Damage::Unreadable { .. } => "records that cannot be read",
        Damage::Data { .. } => "damaged data",
        Damage::Unread { .. } => "data that could not be read when it was dumped",
        Damage::Changed { .. } => "objects that changed while they were dumped",
        Damage::Properties { .. } => "damaged ACLs or extended attributes",
        Damage::Directory { .. } => "damaged directories",
        Damage::BadEntries { .. } => "directories with refused entries",
        Damage::RepeatedName { .. } => "names that come twice",
        Damage::DirectoryNamedTwice { .. } => "further names of directories",
        Damage::Unannounced { .. } => "objects that the maps do not announce, or that came before",
        Damage::Unchecked { .. } => "data that could not be checked",
        Damage::Nameless { .. } => "objects without a name",
        Damage::BadObject { .. } => "objects with impossible numbers",
        Damage::Missing { .. } => "objects that should be on the tape and are not",
        _ => "other damage",
    }
}

/// The kind of a failure, in the same way.
pub fn kind_of_failure(what: FailedPart) -> &'static str {
    match what {
        FailedPart::Different(_) => "differences",
        FailedPart::Create => "objects that are not restored",
        FailedPart::Data => "objects that are not wholly restored",
        FailedPart::Link => "names that are not restored",
        FailedPart::Attributes => "owners, permissions or times that are not restored",
        FailedPart::Property(_) => "ACLs or extended attributes that are not restored",
        _ => "other failures",
    }
}

/// The kind of a property that the destination's file system holds none of, for whatever object.
pub fn kind_of_unsupported(kind: PropertyKind) -> &'static str {
    match kind {
        PropertyKind::PosixAccessAcl => "access ACLs that the destination cannot hold",
        PropertyKind::PosixDefaultAcl => "default ACLs that the destination cannot hold",
        PropertyKind::Xattr => "extended attributes that the destination cannot hold",
        PropertyKind::Nfs4Acl => "NFSv4 ACLs that the destination cannot hold",
        PropertyKind::NtDescriptor => "NT security descriptors that the destination cannot hold",
        PropertyKind::DosAttributes => "DOS attributes that the destination cannot hold",
        PropertyKind::Stream => "streams that the destination cannot hold",
        PropertyKind::Qtree => "qtree attributes that the destination cannot hold",
        PropertyKind::Lun => "LUN attributes that the destination cannot hold",
        PropertyKind::VmAlignment => "alignments that the destination cannot hold",
    }
}

/// The kind of what the target cannot hold, and what it is for an object.
pub fn reduction(what: Reduction) -> (&'static str, String) {
    match what {
        Reduction::DefaultAcl { kind, entries } => (
            "ACLs with more entries than the target takes",
            format!(
                "its {} has {entries} entries, more than the target takes; it has the ACL of its permission bits instead",
                property(kind)
            ),
        ),
        Reduction::QtreeBelow => (
            "qtrees that are not restored to the root of a volume",
            "a qtree on the dump, and a directory here: qtrees are the directories in the root of a volume"
                .into(),
        ),
        Reduction::QtreeName => (
            "qtrees whose names the target's qtrees cannot have",
            "a qtree on the dump, and a directory here: the target's qtrees have ASCII names only".into(),
        ),
        other => ("other things that the target cannot hold", format!("{other:?}")),
    }
}

/// What is wrong with the tape; `culprit` is the name it is about, where it is about one. `lost`: parts of the tape
/// could not be used so far.
pub fn damage<V: TargetVolume>(
    engine: &mut Engine<'_, V>,
    damage: &Damage,
    culprit: &[u8],
    lost: bool,
) -> Finding {
    let (ino, text) = match damage {
        Damage::Missing { ino } if !lost => {
            (Some(*ino), "not on the dump: it could not be read when the dump was made".into())
        }
        damage => describe(damage, culprit),
    };
    let path = ino.and_then(|ino| path_of(engine, ino));
    let kind = match damage {
        Damage::Truncated { .. } | Damage::Unread { .. } | Damage::Changed { .. } => Kind::Incomplete,
        Damage::Missing { .. } if !lost => Kind::Incomplete,
        _ => Kind::Damage,
    };
    let mut finding = Finding::about(kind, ino, path, text);
    finding.names_lost = matches!(damage, Damage::Directory { .. } | Damage::BadEntries { .. });
    finding.end_missing = matches!(damage, Damage::Truncated { .. });
    finding
}

/// Whether objects may be missing because of this.
pub const fn may_lose_objects(damage: &Damage) -> bool {
    matches!(
        damage,
        Damage::Gap(_)
            | Damage::Unreadable { .. }
            | Damage::Truncated { .. }
            | Damage::Maps
            | Damage::BadObject { .. }
    )
}

fn describe(damage: &Damage, culprit: &[u8]) -> (Option<Ino>, String) {
    let of = |ino: &Ino, text: &str| (Some(*ino), text.to_owned());
    match damage {
        Damage::Gap(gap) => {
            let text = match gap.found.and_then(|found| found.since(gap.expected)) {
                Some(0) | None => {
                    format!("the tape is damaged at {}; {} bytes passed over", gap.expected, gap.skipped)
                }
                Some(lost) => format!("the tape is damaged at {}; {lost} blocks are lost", gap.expected),
            };
            (None, text)
        }
        Damage::Unreadable { at, error } => (None, format!("the record at {at} cannot be read: {error}")),
        Damage::Truncated { at } => (
            None,
            format!(
                "the dump is incomplete: it is cut short at {at}; should it go on on a further tape, name that \
                 with a further --tape"
            ),
        ),
        Damage::Maps => (None, "the maps are damaged; whether objects are missing is not known".into()),
        Damage::Data { ino, from, to } => of(ino, &format!("damaged on the tape: bytes {from} to {to}")),
        Damage::Unread { ino, from, to } => of(
            ino,
            &format!("could not be read when it was dumped: some of the bytes {from} to {to} are zeros"),
        ),
        Damage::Changed { ino } => of(ino, "changed while it was dumped; its parts may not belong together"),
        Damage::Properties { ino } => {
            of(ino, "its ACLs or extended attributes are damaged or missing on the tape")
        }
        Damage::Directory { ino } => of(ino, "damaged on the tape: names in it may be wrong or missing"),
        Damage::BadEntries { ino, count } if culprit.is_empty() => {
            let entries = count_of(u64::from(*count), "entry");
            of(
                ino,
                &format!(
                    "{entries} in it without a name that can be used; what has no other is in lost+found"
                ),
            )
        }
        Damage::BadEntries { ino, count: 1 } => {
            of(ino, &format!("an entry in it was refused: '{}'", printable(culprit)))
        }
        Damage::BadEntries { ino, count } => {
            of(ino, &format!("{count} entries in it were refused, the first one '{}'", printable(culprit)))
        }
        Damage::RepeatedName { ino } => {
            of(ino, &format!("it holds the name '{}' twice; the later one wins", printable(culprit)))
        }
        Damage::DirectoryNamedTwice { ino, .. } => {
            of(ino, &format!("this directory is named a second time, '{}'; refused", printable(culprit)))
        }
        Damage::Unannounced { ino } => of(ino, "the maps do not announce it, or it came before"),
        Damage::Unchecked { ino, from, to } => {
            of(ino, &format!("bytes {from} to {to} could not be checked: the header behind them is lost"))
        }
        Damage::Nameless { ino } => of(ino, "no directory names it; it goes to lost+found"),
        Damage::BadObject { ino } => (None, format!("an object with the impossible number {}", ino.0)),
        Damage::Missing { ino } => of(ino, "it should be on the tape and is not"),
        other => (None, format!("{other:?}")),
    }
}

/// What the target could not take, or how it differs.
pub fn failure<V: TargetVolume>(
    engine: &mut Engine<'_, V>,
    failure: &Failure<V::Error>,
    purpose: Purpose,
) -> Finding
where
    V::Error: Display,
{
    let path = path_of(engine, failure.ino);
    let (kind, text) = failure_text(failure.what, &failure.error, purpose);
    let text = match (purpose, failure.error.kind()) {
        (Purpose::Restore, ErrorKind::Exists) => {
            format!("{text}; rename or remove what is in the way, or restore elsewhere")
        }
        _ => text,
    };
    Finding::about(kind, Some(failure.ino), path, text)
}

fn failure_text(what: FailedPart, error: &impl Display, purpose: Purpose) -> (Kind, String) {
    let text = match (what, purpose) {
        // Of an attribute, the short form of the error is its name.
        (FailedPart::Different(Difference::Property(kind)), _) => {
            return (Kind::Difference, format!("differs: another {}{error:#}", property(kind)));
        }
        (FailedPart::Different(difference), _) => {
            return (Kind::Difference, format!("differs: {}", difference_text(difference)));
        }
        (_, Purpose::Look) => format!("not compared: {error}"),
        (FailedPart::Create, _) => format!("not restored: {error}"),
        (FailedPart::Data, _) => format!("not wholly restored: {error}"),
        (FailedPart::Link, _) => format!("one of its names is not restored: {error}"),
        (FailedPart::Attributes, _) => format!("owner, permissions or times are not restored: {error}"),
        (FailedPart::Property(kind), _) => {
            format!("{}{error:#} not restored: {error}", property(kind))
        }
        (_, _) => error.to_string(),
    };
    (Kind::Failure, text)
}

/// What a kind of property is called.
pub const fn property(kind: PropertyKind) -> &'static str {
    match kind {
        PropertyKind::PosixAccessAcl => "access ACL",
        PropertyKind::PosixDefaultAcl => "default ACL",
        PropertyKind::Xattr => "extended attribute",
        PropertyKind::Nfs4Acl => "NFSv4 ACL",
        PropertyKind::NtDescriptor => "NT security descriptor",
        PropertyKind::DosAttributes => "DOS attributes",
        PropertyKind::Stream => "stream",
        PropertyKind::Qtree => "qtree attributes",
        PropertyKind::Lun => "LUN attributes",
        PropertyKind::VmAlignment => "alignment for virtual machines",
    }
}

fn difference_text(difference: Difference) -> String {
    match difference {
        Difference::Missing => "it is not there".into(),
        Difference::Kind => "it is of another type".into(),
        Difference::Data(at) => format!("other data, from byte {at} on"),
        Difference::Size => "another size".into(),
        Difference::Permissions => "other permissions".into(),
        Difference::Owner => "another owner or group".into(),
        Difference::Modified => "another modification time".into(),
        Difference::Device => "another device number".into(),
        Difference::Property(kind) => format!("another {}", property(kind)),
        Difference::Link => "a further name of it is missing or another object".into(),
        other => format!("{other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tapedump_core::units::BlockAddr;

    #[test]
    fn lines_name_the_object_and_what_is_wrong() {
        let (ino, text) = describe(&Damage::Data { ino: Ino(7), from: 0, to: 1024 }, b"");
        let finding = Finding::about(Kind::Damage, ino, Some(b"dir/a\nb".to_vec()), text.clone());
        assert_eq!(finding.line(), "dir/a\\nb: damaged on the tape: bytes 0 to 1024");
        let finding = Finding::about(Kind::Damage, ino, None, text);
        assert_eq!(finding.line(), "inode 7: damaged on the tape: bytes 0 to 1024");
        let (ino, text) = describe(&Damage::Truncated { at: BlockAddr(12) }, b"");
        assert_eq!(
            Finding::about(Kind::Damage, ino, None, text).line(),
            "the dump is incomplete: it is cut short at block 12; should it go on on a further tape, name that with \
             a further --tape"
        );
    }

    #[test]
    fn findings_as_json() {
        let finding = Finding::about(Kind::Damage, Some(Ino(7)), Some(b"\xff".to_vec()), "bad");
        assert_eq!(
            serde_json::to_string(&finding).unwrap(),
            "{\"finding\":\"damage\",\"path\":\"\u{fffd}\",\"path_bytes\":\"ff\",\"inode\":7,\"text\":\"bad\"}"
        );
        let finding = Finding::about(Kind::Damage, None, None, "bad");
        assert_eq!(serde_json::to_string(&finding).unwrap(), r#"{"finding":"damage","text":"bad"}"#);
    }
}
