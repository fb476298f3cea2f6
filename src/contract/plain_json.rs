//! JSON that is safe to print: characters that would control a terminal or change the direction of a
//! line are written as `\\uXXXX`, which does not change the value.

use std::fmt::Write;

use serde::Serialize;

use crate::policy::masking::is_unprintable;

/// Writes a value as one line of JSON.
///
/// # Errors
/// When the value cannot be serialized.
pub fn write(value: &(impl Serialize + ?Sized)) -> serde_json::Result<String> {
    serde_json::to_string(value).map(escaped)
}

/// Escapes what is not safe to look at in a text that is JSON already: outside of its strings there
/// is nothing of the kind.
pub fn escaped(json: String) -> String {
    // What is below a space is escaped by every writer of JSON, or is white space between values.
    let is_unsafe = |c: char| c >= '\u{7f}' && is_unprintable(c);
    let is_plain = json.is_ascii() && !json.as_bytes().contains(&0x7f);
    if is_plain || !json.contains(is_unsafe) {
        return json;
    }
    let mut plain = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if is_unsafe(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing into a String cannot fail.
                let _ = write!(plain, "\\u{unit:04x}");
            }
        } else {
            plain.push(c);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_safe_to_look_at_is_escaped_and_means_the_same() {
        let hostile = "a\u{9b}2J\u{202e}b\u{7f}\u{e0041}\u{2066}\u{feff}\n\u{1b}ü😀";
        let json = write(hostile).unwrap();
        assert!(!json.contains(is_unprintable), "{json:?}");
        assert!(json.contains("\\u009b2J\\u202eb\\u007f\\udb40\\udc41"), "{json}");
        assert!(json.contains("ü😀"));
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), hostile);
    }

    #[test]
    fn what_was_stored_is_escaped_as_a_whole() {
        let stored = "{\"reason\":\"\u{202e}gpj\"}".to_owned();
        assert_eq!(escaped(stored), r#"{"reason":"\u202egpj"}"#);
    }
}
