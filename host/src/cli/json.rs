//! Names of any bytes in JSON.

use super::exit::CliError;
use crate::text::{hex, steers_terminal};
use serde::Serialize;
use std::fmt::Write as _;

/// A path as two members of a JSON object: `path` for people, and `path_bytes` in hexadecimal where the path is
/// not UTF-8, so that nothing is lost.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct JsonPath {
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_bytes: Option<String>,
}

impl JsonPath {
    pub fn new(bytes: &[u8]) -> Self {
        let path = String::from_utf8_lossy(bytes).into_owned();
        let path_bytes = std::str::from_utf8(bytes).is_err().then(|| hex(bytes));
        Self { path, path_bytes }
    }

    /// The text, and the bytes in hexadecimal where the text is not exact.
    pub fn into_parts(self) -> (String, Option<String>) {
        (self.path, self.path_bytes)
    }
}

/// A value as one line of JSON that is safe to print: what could steer a terminal is escaped, which changes nothing
/// for a program that reads it.
pub fn text(value: &impl Serialize) -> Result<String, CliError> {
    let plain = serde_json::to_string(value).map_err(CliError::failed)?;
    if !plain.contains(steers_terminal) {
        return Ok(plain);
    }
    // Such characters are in strings only, and all of them have numbers of 16 bits.
    Ok(plain.chars().fold(String::with_capacity(plain.len() + 64), |mut text, c| {
        if steers_terminal(c) {
            _ = write!(text, "\\u{:04x}", u32::from(c));
        } else {
            text.push(c);
        }
        text
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_bytes_are_there_where_the_text_is_not_exact() {
        let text = |bytes| super::text(&JsonPath::new(bytes)).unwrap();
        assert_eq!(text(b"a/b"), r#"{"path":"a/b"}"#);
        assert_eq!(text(b"a\n\x1b"), r#"{"path":"a\n\u001b"}"#);
        assert_eq!(text("\u{9b}\u{7f}\u{202e}ä".as_bytes()), r#"{"path":"\u009b\u007f\u202eä"}"#);
        assert_eq!(text(b"a\xff"), "{\"path\":\"a\u{fffd}\",\"path_bytes\":\"61ff\"}");
    }
}
