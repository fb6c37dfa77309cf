//! What the engine tells by number, as text with paths.

use super::json::JsonPath;
use super::reading::Engine;
use crate::text::printable;
use serde::Serialize;
use std::fmt::Display;
use tapedump_core::device::volume::{Difference, FailedPart, Failure, NameBuf, PropertyKind, TargetVolume};
use tapedump_core::engine::restore::Damage;
use tapedump_core::limits::NAME_LEN_MAX;
use tapedump_core::units::Ino;

/// Directories above an object that are followed for its path; deeper paths are cut at the front.
const DEPTH_MAX: usize = 100_000;

/// Something that is not as it should be: of the tape, of the target, or a difference.
#[derive(Debug, Serialize)]
pub struct Finding {
    /// `damage`, `failure`, `difference`, or `further` for a number of them that is not listed.
    finding: &'static str,
    #[serde(flatten)]
    path: Option<JsonPath>,
    #[serde(skip_serializing_if = "Option::is_none")]
    inode: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
    /// What it is, for a person.
    text: String,
    #[serde(skip)]
    bytes: Option<Vec<u8>>,
}

impl Finding {
    fn new(
        finding: &'static str,
        inode: Option<Ino>,
        path: Option<Vec<u8>>,
        text: impl Into<String>,
    ) -> Self {
        let json = path.as_deref().map(JsonPath::new);
        let inode = inode.map(|ino| ino.0);
        Self { finding, path: json, inode, count: None, text: text.into(), bytes: path }
    }

    /// `count` findings of a kind that are not listed one by one.
    pub fn further(kind: &'static str, count: u64) -> Self {
        let text = format!("{count} more of these are not listed: {kind}");
        Self { count: Some(count), ..Self::new("further", None, None, text) }
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

/// What is wrong with the tape; `culprit` is the name it is about, where it is about one.
pub fn damage<V: TargetVolume>(engine: &mut Engine<'_, V>, damage: &Damage, culprit: &[u8]) -> Finding {
    let (ino, text) = describe(damage, culprit);
    let path = ino.and_then(|ino| path_of(engine, ino));
    Finding::new("damage", ino, path, text)
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
        Damage::Truncated { at } => (None, format!("the tape ends at {at}, before the dump does")),
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
pub fn failure<V: TargetVolume>(engine: &mut Engine<'_, V>, failure: &Failure<V::Error>) -> Finding
where
    V::Error: Display,
{
    let path = path_of(engine, failure.ino);
    let error = &failure.error;
    let (finding, text) = match failure.what {
        FailedPart::Different(difference) => {
            ("difference", format!("differs: {}", difference_text(difference)))
        }
        FailedPart::Create => ("failure", format!("not restored: {error}")),
        FailedPart::Data => ("failure", format!("not wholly restored: {error}")),
        FailedPart::Link => ("failure", format!("one of its names is not restored: {error}")),
        FailedPart::Attributes => {
            ("failure", format!("owner, permissions or times are not restored: {error}"))
        }
        FailedPart::Property(kind) => ("failure", format!("{} not restored: {error}", property(kind))),
        _ => ("failure", error.to_string()),
    };
    Finding::new(finding, Some(failure.ino), path, text)
}

fn property(kind: PropertyKind) -> &'static str {
    match kind {
        PropertyKind::PosixAccessAcl => "access ACL",
        PropertyKind::PosixDefaultAcl => "default ACL",
        PropertyKind::Xattr => "extended attribute",
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
        let finding = Finding::new("damage", ino, Some(b"dir/a\nb".to_vec()), text.clone());
        assert_eq!(finding.line(), "dir/a\\nb: damaged on the tape: bytes 0 to 1024");
        let finding = Finding::new("damage", ino, None, text);
        assert_eq!(finding.line(), "inode 7: damaged on the tape: bytes 0 to 1024");
        let (ino, text) = describe(&Damage::Truncated { at: BlockAddr(12) }, b"");
        assert_eq!(
            Finding::new("damage", ino, None, text).line(),
            "the tape ends at block 12, before the dump does"
        );
    }

    #[test]
    fn findings_as_json() {
        let finding = Finding::new("damage", Some(Ino(7)), Some(b"\xff".to_vec()), "bad");
        assert_eq!(
            serde_json::to_string(&finding).unwrap(),
            "{\"finding\":\"damage\",\"path\":\"\u{fffd}\",\"path_bytes\":\"ff\",\"inode\":7,\"text\":\"bad\"}"
        );
        let finding = Finding::new("damage", None, None, "bad");
        assert_eq!(serde_json::to_string(&finding).unwrap(), r#"{"finding":"damage","text":"bad"}"#);
    }
}
