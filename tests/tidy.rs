//! The shape of the project (`core/docs/architecture.md`), checked on its source text: who may use whom, where `unsafe`
//! may stand, how long a file may be, and words that must not be left behind.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// A module and what it may use besides itself and its own parts. The longest name that fits counts, for the user and
/// for the used; an ancestor on the list does not stand for its listed parts.
type Layer = (&'static str, &'static [&'static str]);

/// From the bottom to the top.
const CORE: &[Layer] = &[
    ("units", &[]),
    ("limits", &["units"]),
    ("checksum", &[]),
    ("device", &[]),
    ("device::block", &["device", "limits"]),
    ("device::snapshot", &["device", "limits", "units"]),
    ("device::tape", &["device", "units"]),
    ("device::volume", &["device", "limits", "units"]),
    (
        "device::mem",
        &["device", "device::block", "device::snapshot", "device::tape", "device::volume", "limits", "units"],
    ),
    ("device::fault", &["device", "device::block", "device::tape", "device::volume", "units"]),
    // Of the devices only the values that a volume and the tape have in common: attributes, kinds, names.
    ("record", &["checksum", "device::volume", "limits", "units"]),
    ("stream", &["checksum", "limits", "record", "units"]),
    ("catalog", &["checksum", "device", "device::block", "device::volume", "limits", "record", "units"]),
    // The rules hold no device; what they are asked about is a history or a slice.
    ("chain", &["limits", "units"]),
    ("session", &["limits", "units"]),
    ("chain::history", &["chain", "checksum", "device", "device::block", "limits", "units"]),
    (
        "engine",
        &[
            "catalog",
            "checksum",
            "device",
            "device::block",
            "device::tape",
            "device::volume",
            "limits",
            "record",
            "stream",
            "units",
        ],
    ),
    ("context", &["checksum", "device", "device::block", "device::tape", "limits", "stream", "units"]),
];

/// Likewise, of the host.
const HOST: &[Layer] = &[
    ("text", &[]),
    ("checksum", &[]),
    ("tape", &["text"]),
    ("pipeline", &[]),
    ("pipeline::read_ahead", &[]),
    ("volume", &["checksum", "pipeline::read_ahead", "text"]),
    ("pipeline::write_behind", &["volume"]),
    ("state", &["checksum", "tape", "text"]),
    (
        "cli",
        &["checksum", "pipeline::read_ahead", "pipeline::write_behind", "state", "tape", "text", "volume"],
    ),
];

/// Where `unsafe` may stand, and why.
const UNSAFE: &[(&str, &str)] = &[
    ("benches/src/allocations.rs", "an allocator that counts"),
    ("host/src/tape/sys.rs", "ioctl: what the kernel's tape driver is told and asked"),
    ("host/src/volume/btrfs/ioctl.rs", "ioctl: what btrfs is told and asked"),
    ("host/src/volume/btrfs/tree_search.rs", "ioctl: what is in a subvolume's tree"),
    ("firmware-sim/src/bare/cortex_m.rs", "the bounds of the stack, and what was painted there"),
    ("firmware-sim/src/bare/riscv.rs", "the bounds of the stack, and painting it"),
    ("tests/freestanding/src/bin/no-panic/main.rs", "a symbol that does not exist, where a panic would go"),
    ("tests/src/cli.rs", "wait4: the peak memory of a child, which the standard library does not tell"),
    (
        "tests/freestanding/src/machine.rs",
        "a machine without operating system library: entry and system calls",
    ),
];

const LINES_MAX: usize = 600;

/// Files that are longer, and why they are not cut.
const LONG: &[(&str, &str)] = &[
    ("core/src/engine/restore/mod.rs", "half of it are the events, damages and errors that a caller meets"),
    ("host/src/volume/target/tests.rs", "tests"),
];

/// Names that say nothing of what is in a file or directory.
const EMPTY_NAMES: &[&str] = &["common", "helper", "helpers", "misc", "types", "util", "utils"];

const PACKAGES: &[&str] = &["benches", "core", "firmware-sim", "host", "tests"];

struct Source {
    /// From the top of the project, with `/`.
    path: String,
    text: String,
    /// The text with comments, strings and characters blanked out, line for line.
    code: String,
}

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the tests are a member of the workspace")
        .to_owned()
}

/// All files of the packages with one of these extensions, without what is built or recorded.
fn files(extensions: &[&str]) -> Vec<(String, PathBuf)> {
    let top = top();
    let mut waiting: Vec<PathBuf> = PACKAGES.iter().map(|package| top.join(package)).collect();
    let mut files = Vec::new();
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(&directory).unwrap_or_else(|error| panic!("{directory:?}: {error}")) {
            let path = entry.expect("directory entry").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() {
                if !matches!(name.as_str(), "target" | "fixtures" | "golden") || path.join("mod.rs").exists()
                {
                    waiting.push(path);
                }
            } else if path.extension().is_some_and(|found| extensions.iter().any(|wanted| found == *wanted)) {
                let relative = path.strip_prefix(&top).expect("beneath the top");
                files.push((relative.to_string_lossy().replace('\\', "/"), path));
            }
        }
    }
    files.sort();
    assert!(!files.is_empty(), "no {extensions:?} beneath {}", top.display());
    files
}

fn sources() -> Vec<Source> {
    let read = |(path, file): (String, PathBuf)| {
        let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{path}: {error}"));
        let code = code_of(&text);
        Source { path, text, code }
    };
    files(&["rs"]).into_iter().map(read).collect()
}

/// Blanks out comments, strings and characters, and keeps the lines.
fn code_of(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let len = match rest {
            [b'/', b'/', ..] => rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len()),
            [b'/', b'*', ..] => comment_len(rest),
            [b'"', ..] => string_len(rest),
            [b'r', b'"' | b'#', ..] if at == 0 || !is_word(bytes[at - 1]) || bytes[at - 1] == b'b' => {
                raw_string_len(rest)
            }
            // A character, not a lifetime.
            [b'\'', b'\\', ..] => {
                rest.iter().skip(3).position(|byte| *byte == b'\'').map_or(1, |end| end + 4)
            }
            [b'\'', ..] => text[at + 1..]
                .char_indices()
                .nth(1)
                .filter(|(end, quote)| *quote == '\'' && *end > 0)
                .map_or(0, |(end, _)| end + 2),
            _ => 0,
        };
        let end = (at + len).min(bytes.len());
        code[at..end].iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
        at = end.max(at + 1);
    }
    String::from_utf8_lossy(&code).into_owned()
}

fn comment_len(rest: &[u8]) -> usize {
    let (mut at, mut depth) = (0, 0);
    while at < rest.len() {
        match &rest[at..] {
            [b'/', b'*', ..] => (at, depth) = (at + 2, depth + 1),
            [b'*', b'/', ..] => (at, depth) = (at + 2, depth - 1),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn string_len(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != b'"' {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    at + 1
}

/// 0 when it is a raw name instead.
fn raw_string_len(rest: &[u8]) -> usize {
    let hashes = rest[1..].iter().take_while(|byte| **byte == b'#').count();
    if rest.get(1 + hashes) != Some(&b'"') {
        return 0;
    }
    let end: Vec<u8> = [b'"'].into_iter().chain(vec![b'#'; hashes]).collect();
    let from = 2 + hashes;
    let found = rest[from..].windows(end.len()).position(|window| window == end);
    found.map_or(rest.len(), |at| from + at + end.len())
}

const fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Places of a word in code.
fn words<'c>(code: &'c str, word: &'c str) -> impl Iterator<Item = usize> + 'c {
    code.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let before = at.checked_sub(1).and_then(|at| code.as_bytes().get(at));
        let behind = code.as_bytes().get(at + word.len());
        !before.is_some_and(|byte| is_word(*byte)) && !behind.is_some_and(|byte| is_word(*byte))
    })
}

fn line_of(code: &str, at: usize) -> usize {
    code[..at].matches('\n').count() + 1
}

/// Whether a whole file is a test.
fn is_test_file(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.ends_with("_tests.rs") || path.contains("/tests/")
}

/// Code without its test modules, line for line.
fn without_tests(code: &str) -> String {
    let mut code = code.to_owned();
    let mut from = 0;
    while let Some(found) = code[from..].find("#[cfg(test)]") {
        let start = from + found;
        let Some(open) = code[start..].find(['{', ';']).map(|at| start + at) else { break };
        let mut end = open + 1;
        if code.as_bytes()[open] == b'{' {
            let mut depth = 1;
            while depth > 0 && end < code.len() {
                depth += match code.as_bytes()[end] {
                    b'{' => 1,
                    b'}' => -1,
                    _ => 0,
                };
                end += 1;
            }
        }
        let blank: String =
            code[start..end].chars().map(|char| if char == '\n' { '\n' } else { ' ' }).collect();
        code.replace_range(start..end, &blank);
        from = end.min(code.len());
    }
    code
}

/// The module that a file is: `src/engine/restore/mod.rs` is `engine`, `restore`.
fn module_of(path_in_src: &str) -> Vec<String> {
    let stem = path_in_src.trim_end_matches(".rs").trim_end_matches("/mod");
    stem.split('/').map(str::to_owned).collect()
}

/// The paths that a use tree, of which `text` begins with the first name, stands for.
fn expand(text: &str, prefix: &[String], out: &mut Vec<Vec<String>>) -> usize {
    let mut path = prefix.to_vec();
    let mut at = 0;
    loop {
        at += text[at..].len() - text[at..].trim_start().len();
        if text[at..].starts_with('{') {
            at += 1;
            loop {
                at += expand(&text[at..], &path, out);
                at += text[at..].len() - text[at..].trim_start().len();
                match text.as_bytes().get(at) {
                    Some(b',') => at += 1,
                    _ => return at + 1,
                }
            }
        }
        let rest = &text[at..];
        let len = rest.find(|char: char| !(char.is_alphanumeric() || char == '_')).unwrap_or(rest.len());
        if len > 0 {
            path.push(text[at..at + len].to_owned());
            at += len;
        }
        if len == 0 || !text[at..].starts_with("::") {
            break;
        }
        at += 2;
    }
    if path.len() > prefix.len() || !prefix.is_empty() {
        out.push(path);
    }
    // What is behind it, as `as name` or `*`, is not of interest.
    at + text[at..].find([',', '}', ';', '\n', ')']).unwrap_or(0)
}

/// Paths within the crate that code in `module` names, with their places.
fn used(code: &str, module: &[String]) -> Vec<(usize, Vec<String>)> {
    let mut found = Vec::new();
    for at in words(code, "crate") {
        if let Some(tree) = code[at..].strip_prefix("crate::") {
            let mut paths = Vec::new();
            expand(tree, &[], &mut paths);
            found.extend(paths.into_iter().map(|path| (at, path)));
        }
    }
    for at in words(code, "super") {
        if code[..at].ends_with("::") {
            continue;
        }
        let (mut tree, mut base) = (&code[at..], module.to_vec());
        while let Some(rest) = tree.strip_prefix("super::") {
            base.pop();
            tree = rest;
        }
        let mut paths = Vec::new();
        expand(tree, &base, &mut paths);
        found.extend(paths.into_iter().map(|path| (at, path)));
    }
    found
}

/// The layer that a path belongs to; `None`: the crate's root, or a name that is no listed module.
fn layer_of<'l>(layers: &'l [Layer], path: &[String]) -> Option<&'l Layer> {
    let fits = |name: &str| {
        let parts: Vec<&str> = name.split("::").collect();
        parts.len() <= path.len() && parts.iter().zip(path).all(|(part, found)| part == found)
    };
    layers.iter().filter(|(name, _)| fits(name)).max_by_key(|(name, _)| name.len())
}

fn check_arrows(package: &str, layers: &[Layer], sources: &[Source], faults: &mut String) {
    let mut seen = BTreeSet::new();
    let src = format!("{package}/src/");
    for source in sources {
        let Some(inside) = source.path.strip_prefix(&src) else { continue };
        if matches!(inside, "lib.rs" | "main.rs") {
            continue;
        }
        let module = module_of(inside);
        let Some((name, allowed)) = layer_of(layers, &module) else {
            let _ = writeln!(faults, "{}: its module has no place in the layers", source.path);
            continue;
        };
        seen.insert(*name);
        if is_test_file(&source.path) {
            continue;
        }
        let code = without_tests(&source.code);
        for (at, path) in used(&code, &module) {
            let Some((other, _)) = layer_of(layers, &path) else { continue };
            if other != name && !allowed.contains(other) {
                let line = line_of(&code, at);
                let _ =
                    writeln!(faults, "{}:{line}: `{name}` uses `{other}` ({})", source.path, path.join("::"));
            }
        }
    }
    for (name, _) in layers.iter().filter(|(name, _)| !seen.contains(name)) {
        let _ = writeln!(faults, "{package}: there is no module `{name}` any more");
    }
}

/// What is listed must be there and need its place on the list.
fn check_list(what: &str, list: &[(&str, &str)], found: &BTreeSet<String>, faults: &mut String) {
    for path in found.iter().filter(|path| !list.iter().any(|(listed, _)| listed == path)) {
        let _ = writeln!(faults, "{path}: {what}");
    }
    for (path, _) in list.iter().filter(|(path, _)| !found.contains(*path)) {
        let _ = writeln!(faults, "{path}: on the list, and no longer: {what}");
    }
}

fn report(faults: &str) {
    assert!(faults.is_empty(), "\n{faults}");
}

#[test]
fn a_module_uses_only_what_stands_below_it() {
    let sources = sources();
    let mut faults = String::new();
    check_arrows("core", CORE, &sources, &mut faults);
    check_arrows("host", HOST, &sources, &mut faults);
    report(&faults);
}

/// The layers are listed from the bottom: one that used a higher one would make a circle possible.
#[test]
fn the_layers_have_no_circle() {
    let mut faults = String::new();
    for layers in [CORE, HOST] {
        for (index, (name, allowed)) in layers.iter().enumerate() {
            for other in *allowed {
                if !layers[..index].iter().any(|(lower, _)| lower == other) {
                    let _ = writeln!(faults, "`{name}` may use `{other}`, which does not stand below it");
                }
            }
        }
    }
    report(&faults);
}

#[test]
fn the_core_knows_neither_the_host_nor_the_standard_library() {
    let manifest = fs::read_to_string(top().join("core/Cargo.toml")).expect("manifest of the core");
    let mut faults = String::new();
    for line in manifest.lines().filter(|line| line.starts_with("tapedump")) {
        let _ = writeln!(faults, "core/Cargo.toml: {line}");
    }
    for source in sources().iter().filter(|source| source.path.starts_with("core/src/")) {
        if is_test_file(&source.path) {
            continue;
        }
        let code = without_tests(&source.code);
        for word in ["tapedump", "std", "alloc"] {
            for at in words(&code, word).filter(|at| code[*at..].starts_with(&format!("{word}::"))) {
                let _ = writeln!(faults, "{}:{}: `{word}`", source.path, line_of(&code, at));
            }
        }
    }
    let root = fs::read_to_string(top().join("core/src/lib.rs")).expect("the core's root");
    for attribute in ["#![no_std]", "#![forbid(unsafe_code)]", "#![deny(missing_docs)]"] {
        if !root.lines().any(|line| line == attribute) {
            let _ = writeln!(faults, "core/src/lib.rs: no `{attribute}`");
        }
    }
    report(&faults);
}

#[test]
fn unsafe_code_stands_where_it_is_listed_and_is_justified() {
    let mut found = BTreeSet::new();
    let mut faults = String::new();
    for source in sources() {
        let lines: Vec<&str> = source.text.lines().collect();
        for at in words(&source.code, "unsafe") {
            found.insert(source.path.clone());
            let line = line_of(&source.code, at);
            let above = lines.get(line.saturating_sub(4)..line).unwrap_or_default();
            // An attribute, as `unsafe(naked)`, or a function whose caller has to see to it.
            let is_exempt = ["unsafe(", "unsafe fn"].iter().any(|text| source.code[at..].starts_with(text));
            if !is_exempt && !above.iter().any(|text| text.contains("SAFETY:")) {
                let _ = writeln!(faults, "{}:{line}: unsafe code without `SAFETY:`", source.path);
            }
        }
    }
    check_list("unsafe code", UNSAFE, &found, &mut faults);
    report(&faults);
}

#[test]
fn a_long_file_is_listed_with_its_reason() {
    let long = sources().into_iter().filter(|source| source.text.lines().count() > LINES_MAX);
    let found = long.map(|source| source.path).collect();
    let mut faults = String::new();
    check_list("more than 600 lines", LONG, &found, &mut faults);
    report(&faults);
}

#[test]
fn nothing_is_left_to_be_done() {
    let mut faults = String::new();
    // Put together here, so that this file is not its own fault.
    let notes = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("X", "XX")];
    for (path, file) in files(&["rs", "md", "toml", "sh"]) {
        let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{path}: {error}"));
        for note in notes {
            for at in words(&text, note) {
                let _ = writeln!(faults, "{path}:{}: {note}", line_of(&text, at));
            }
        }
    }
    for source in sources() {
        for name in ["todo", "unimplemented", "dbg"] {
            for at in words(&source.code, name).filter(|at| source.code[at + name.len()..].starts_with('!')) {
                let _ = writeln!(faults, "{}:{}: {name}!", source.path, line_of(&source.code, at));
            }
        }
    }
    report(&faults);
}

#[test]
fn names_say_what_is_in_a_file() {
    let mut faults = String::new();
    for (path, _) in files(&["rs"]) {
        let empty = |part: &str| EMPTY_NAMES.contains(&part.trim_end_matches(".rs"));
        if path.split('/').any(empty) {
            let _ = writeln!(faults, "{path}: a name that says nothing");
        }
    }
    report(&faults);
}

/// The instrument itself: what it must see, and what it must not.
#[test]
fn code_is_told_from_comments_and_strings() {
    let text = "let a = \"unsafe \\\" x\"; // unsafe\n/* a /* b */ unsafe */ let c = '\"'; r#\"unsafe\"#; 'l: unsafe {}";
    let code = code_of(text);
    assert_eq!(code.len(), text.len());
    assert_eq!(words(&code, "unsafe").count(), 1, "{code}");
    assert!(code.contains("'l: unsafe"), "{code}");
    assert_eq!(line_of(&code, words(&code, "unsafe").next().unwrap()), 2);

    let module = module_of("device/fault/tape.rs");
    let code = "use crate::{units::Ino, engine::{dump::{A, B}, restore}}; super::super::mem::f(); super::x";
    let paths: Vec<String> = used(code, &module).into_iter().map(|(_, path)| path.join("::")).collect();
    let expected = [
        "units::Ino",
        "engine::dump::A",
        "engine::dump::B",
        "engine::restore",
        "device::mem::f",
        "device::fault::x",
    ];
    assert_eq!(paths, expected);

    let code = "a\n#[cfg(test)]\nmod tests;\nb\n#[cfg(test)]\nmod t {\n{ x }\n}\nc";
    let left = without_tests(code);
    assert_eq!(left.split_whitespace().collect::<Vec<_>>(), ["a", "b", "c"]);
    assert_eq!(left.len(), code.len());
}
