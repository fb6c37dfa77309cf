//! Names of any bytes in JSON.

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

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_bytes_are_there_where_the_text_is_not_exact() {
        let text = |bytes| serde_json::to_string(&JsonPath::new(bytes)).unwrap();
        assert_eq!(text(b"a/b"), r#"{"path":"a/b"}"#);
        assert_eq!(text(b"a\n\x1b"), r#"{"path":"a\n\u001b"}"#);
        assert_eq!(text(b"a\xff"), "{\"path\":\"a\u{fffd}\",\"path_bytes\":\"61ff\"}");
    }
}
