//! A tree as text, to be kept beside a tape: one line per path, fields separated by tabs.

use super::compare::kind_name;
use super::{Entry, Kind, Tree, from_printable, printable};

/// The listing of a tree: path, kind, mode, owner, group, size, modification time, then the content's digest or
/// the link's target, then the path it is a hard link of, then the extended attributes.
#[must_use]
pub fn print_listing(tree: &Tree) -> String {
    let mut text = String::new();
    for (path, entry) in &tree.entries {
        let detail = match &entry.kind {
            Kind::Regular { content, .. } => content.to_string(),
            Kind::Symlink(target) => printable(target),
            _ => "-".into(),
        };
        let linked = entry.same_as.as_deref().map_or_else(|| "-".into(), printable);
        let Entry { mode, uid, gid, size, modified: (seconds, nanos), .. } = entry;
        text.push_str(&format!(
            "{}\t{}\t{mode:04o}\t{uid}\t{gid}\t{size}\t{seconds}.{nanos:09}\t{detail}\t{linked}",
            printable(path),
            kind_name(&entry.kind),
        ));
        for (name, value) in &entry.xattrs {
            text.push_str(&format!("\t{}={}", printable(name), printable(value)));
        }
        text.push('\n');
    }
    text
}

/// One line of a listing: the path and the fields after it.
pub type Line = (Vec<u8>, Vec<String>);

/// The lines of a listing by path, so that a tree can be compared with a stored one field by field.
///
/// # Errors
/// The line that has too few fields or no legible path.
pub fn parse_listing(text: &str) -> Result<Vec<Line>, String> {
    text.lines()
        .map(|line| {
            let mut fields = line.split('\t').map(str::to_owned);
            let path = fields.next().and_then(|path| from_printable(&path).ok()).ok_or(line)?;
            let rest: Vec<String> = fields.collect();
            if rest.len() < 8 { Err(line.to_owned()) } else { Ok((path, rest)) }
        })
        .collect()
}
