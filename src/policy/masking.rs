//! What of a request may be recorded: `[records]` of the configuration, pure.
//!
//! Access tokens travel in the query of WebSocket URLs, since browsers let a page set no header.
//! So a value is masked unless its parameter was named as harmless, and in doubt it is masked.

use std::borrow::Cow;
use std::fmt::Write;

use percent_encoding::percent_decode_str;

/// What becomes of the query of a recorded path (CONTRACT: `records.query`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Masking {
    /// Every value is written as `***`, except those of the parameters that are kept.
    #[default]
    Mask,
    /// The query is written as it came.
    Keep,
    /// The query is left out.
    Drop,
}

/// The longest recorded text, in bytes.
pub const MAX_RECORDED: usize = 1024;

const MASK: &str = "***";

/// Returns the path and query of a request as they may be recorded.
///
/// With [`Masking::Mask`], `keep` names the parameters whose values may be seen; names are
/// compared percent-decoded. A parameter without `=` may be a bare token, so it is a value too. A
/// value that is kept ends at a `;`, which some servers take for a separator like `&`.
/// A fragment, which has no place in a request, is left out except with [`Masking::Keep`]; so are
/// the values of path parameters, such as `;jsessionid=`, masked.
///
/// The result has at most [`MAX_RECORDED`] bytes, and control characters are escaped.
pub fn record_path(path_and_query: &str, masking: Masking, keep: &[String]) -> String {
    let mut recorded = Recorded::default();
    match masking {
        Masking::Keep => recorded.push(path_and_query),
        Masking::Drop => mask_path(&mut recorded, split(path_and_query).0, keep),
        Masking::Mask => {
            let (path, query) = split(path_and_query);
            mask_path(&mut recorded, path, keep);
            if let Some(query) = query {
                recorded.push("?");
                mask_query(&mut recorded, query, keep);
            }
        }
    }
    recorded.text
}

/// Returns the path and query of a request with `***` in place of the values of these parameters, which
/// are secret whatever else is recorded.
pub fn without_values<'a>(path_and_query: &'a str, names: &[String]) -> Cow<'a, str> {
    let Some((path, query)) = path_and_query.split_once('?').filter(|_| !names.is_empty()) else {
        return path_and_query.into();
    };
    let masked = query.split('&').map(|parameter| match parameter.split_once('=') {
        Some((name, _)) if is_kept(name, names) => format!("{name}={MASK}").into(),
        Some(_) | None => Cow::Borrowed(parameter),
    });
    format!("{path}?{}", masked.collect::<Vec<_>>().join("&")).into()
}

/// Returns a URL as it may be recorded: like [`record_path`], and always without credentials.
pub fn record_url(url: &str, masking: Masking, keep: &[String]) -> String {
    // People leave the scheme out, and not the credentials.
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) => (&url[..scheme.len() + 3], rest),
        None => ("", url),
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    match authority.rsplit_once('@') {
        Some((_, host)) => record_path(&format!("{scheme}{MASK}@{host}{path}"), masking, keep),
        None => record_path(url, masking, keep),
    }
}

/// Returns where a redirect leads to, as it may be recorded: its query may hold a session.
pub fn record_location(location: &str) -> String {
    match location.strip_prefix("//") {
        // A scheme is inherited.
        Some(_) => {
            let recorded = record_url(&format!("http:{location}"), Masking::Mask, &[]);
            recorded.trim_start_matches("http:").to_owned()
        }
        None => record_url(location, Masking::Mask, &[]),
    }
}

/// Returns another text that a peer chose, such as a `User-Agent`, as it may be recorded.
///
/// The result has at most [`MAX_RECORDED`] bytes, and control characters are escaped.
pub fn record_text(text: &str) -> String {
    let mut recorded = Recorded::default();
    recorded.push(text);
    recorded.text
}

fn split(path_and_query: &str) -> (&str, Option<&str>) {
    let without_fragment = path_and_query.split('#').next().unwrap_or_default();
    match without_fragment.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (without_fragment, None),
    }
}

/// Writes a path without the values of its parameters (RFC 3986 section 3.3).
fn mask_path(recorded: &mut Recorded, path: &str, keep: &[String]) {
    let is_separator = |rest: &str| match rest.as_bytes() {
        [b';', ..] => Some(1),
        [b'%', b'3', b'b' | b'B', ..] => Some(3),
        _ => None,
    };
    if !path.contains([';', '%']) {
        // Nearly all have none.
        recorded.push(path);
        return;
    }
    for (at, segment) in path.split('/').enumerate() {
        if at > 0 {
            recorded.push("/");
        }
        let mut rest = segment;
        let mut is_parameter = false;
        loop {
            let next =
                rest.char_indices().find_map(|(at, _)| Some((at, is_separator(&rest[at..])?)));
            let part = next.map_or(rest, |(at, _)| &rest[..at]);
            match part.split_once('=') {
                _ if !is_parameter || part.is_empty() => recorded.push(part),
                Some((name, _)) if is_kept(name, keep) => recorded.push(part),
                Some((name, _)) => {
                    recorded.push(name);
                    recorded.push("=");
                    recorded.push(MASK);
                }
                None if is_kept(part, keep) => recorded.push(part),
                None => recorded.push(MASK),
            }
            let Some((at, length)) = next else { break };
            recorded.push(&rest[at..at + length]);
            rest = &rest[at + length..];
            is_parameter = true;
        }
    }
}

/// Returns a subprotocol as it may be recorded: what follows `bearer.` is a token.
pub fn record_subprotocol(subprotocol: &str) -> Cow<'_, str> {
    const BEARER: &str = "bearer.";
    let found = subprotocol.to_ascii_lowercase().find(BEARER);
    match found.map(|at| at + BEARER.len()) {
        Some(end) if end < subprotocol.len() => format!("{}{MASK}", &subprotocol[..end]).into(),
        Some(_) | None => subprotocol.into(),
    }
}

fn mask_query(recorded: &mut Recorded, query: &str, keep: &[String]) {
    for (at, parameter) in query.split('&').enumerate() {
        if at > 0 {
            recorded.push("&");
        }
        let (name, value) = match parameter.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (parameter, None),
        };
        let kept = is_kept(name, keep);
        match value {
            None if name.is_empty() || kept => recorded.push(name),
            None => recorded.push(MASK),
            // Where `;` separates too, what precedes it is a parameter without a value.
            Some(_) if name.contains(';') => recorded.push(MASK),
            Some(value) => {
                recorded.push(name);
                recorded.push("=");
                match value.split_once(';') {
                    Some((first, _)) if kept => {
                        recorded.push(first);
                        recorded.push(";");
                        recorded.push(MASK);
                    }
                    None if kept => recorded.push(value),
                    Some(_) | None => recorded.push(MASK),
                }
            }
        }
    }
}

fn is_kept(name: &str, keep: &[String]) -> bool {
    // In a query `+` stands for a space.
    let name = name.replace('+', " ");
    let name: Vec<u8> = percent_decode_str(&name).collect();
    keep.iter().any(|kept| kept.as_bytes() == name)
}

/// A text that grows to [`MAX_RECORDED`] bytes and no further, cut between characters.
#[derive(Default)]
struct Recorded {
    text: String,
    full: bool,
}

impl Recorded {
    fn push(&mut self, text: &str) {
        let plain = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        if plain && !self.full && self.text.len() + text.len() <= MAX_RECORDED {
            // Nearly all are: nothing to escape, nothing to cut.
            self.text.push_str(text);
            return;
        }
        for c in text.chars() {
            if self.full {
                return;
            }
            let before = self.text.len();
            if is_unprintable(c) {
                // Writing into a String cannot fail.
                let _ = write!(self.text, "{}", c.escape_default());
            } else {
                self.text.push(c);
            }
            if self.text.len() > MAX_RECORDED {
                self.text.truncate(before);
                self.full = true;
            }
        }
    }
}

/// Returns whether a character would do something to a terminal or a log viewer: controls, line
/// separators, marks that change the direction of what follows, and some that are not seen at all.
pub fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn masked(path: &str) -> String {
        record_path(path, Masking::Mask, &["room".to_owned(), "a b".to_owned()])
    }

    #[test]
    fn values_are_masked_except_those_that_are_kept() {
        assert_eq!(masked("/chat?room=7&token=abc"), "/chat?room=7&token=***");
        assert_eq!(
            masked("/chat?token=abc&token=def&room=7&room=8"),
            "/chat?token=***&token=***&room=7&room=8"
        );
        assert_eq!(masked("/chat?token=a=b==&x=1"), "/chat?token=***&x=***");
        assert_eq!(masked("/chat?Room=7"), "/chat?Room=***");
        assert_eq!(masked("/chat"), "/chat");
    }

    #[test]
    fn path_parameters_are_values_too() {
        assert_eq!(masked("/a;jsessionid=31F8/b?x=1"), "/a;jsessionid=***/b?x=***");
        assert_eq!(masked("/a%3Bjsessionid=31F8;room=7;v;"), "/a%3Bjsessionid=***;room=7;***;");
        assert_eq!(masked("/a=b/c%20d"), "/a=b/c%20d");
        assert_eq!(record_path("/a;s=1?x", Masking::Drop, &[]), "/a;s=***");
        assert_eq!(record_path("/a;s=1?x", Masking::Keep, &[]), "/a;s=1?x");
    }

    #[test]
    fn the_values_of_secret_parameters_are_taken_out() {
        let names = ["token".to_owned()];
        let without = |target| without_values(target, &names).into_owned();
        assert_eq!(without("/a?token=x&b=1&%74oken=y&token"), "/a?token=***&b=1&%74oken=***&token");
        assert_eq!(without("/a"), "/a");
        assert_eq!(without_values("/a?token=x", &[]), "/a?token=x");
    }

    #[test]
    fn a_token_among_the_subprotocols_is_masked() {
        for (subprotocol, recorded) in [
            ("v1.chat", "v1.chat"),
            ("bearer.eyJhbGciOi", "bearer.***"),
            ("Bearer.x", "Bearer.***"),
            ("base64url.bearer.authorization.k8s.io.abc", "base64url.bearer.***"),
            ("bearer.", "bearer."),
        ] {
            assert_eq!(record_subprotocol(subprotocol), recorded);
        }
    }

    #[test]
    fn empty_and_valueless_parameters_keep_their_place() {
        assert_eq!(masked("/?"), "/?");
        assert_eq!(masked("/?token=&&room&x="), "/?token=***&&room&x=***");
        assert_eq!(masked("/?=abc"), "/?=***");
        assert_eq!(masked("/?eyJhbGciOi"), "/?***", "a bare token is a value");
    }

    #[test]
    fn names_are_compared_decoded_and_written_as_they_came() {
        assert_eq!(
            masked("/?%72oom=7&a+b=1&a%20b=2&%74oken=x"),
            "/?%72oom=7&a+b=1&a%20b=2&%74oken=***"
        );
        assert_eq!(masked("/?ro%6=1&%=2&%zz=3"), "/?ro%6=***&%=***&%zz=***");
    }

    #[test]
    fn nothing_hides_behind_another_separator() {
        assert_eq!(masked("/?room=7;token=abc"), "/?room=7;***");
        assert_eq!(masked("/?token=abc;def&room=7"), "/?token=***&room=7");
        assert_eq!(masked("/?abc;x=1&room;abc&abc;room=1"), "/?***&***&***");
        assert_eq!(masked("/?room=7?token=abc"), "/?room=7?token=abc", "one value, which is kept");
        assert_eq!(masked("/chat#token=abc"), "/chat");
        assert_eq!(masked("/chat?room=7#token=abc"), "/chat?room=7");
    }

    #[test]
    fn keep_and_drop_do_what_they_say() {
        assert_eq!(record_path("/a?token=abc", Masking::Keep, &[]), "/a?token=abc");
        assert_eq!(record_path("/a?token=abc", Masking::Drop, &[]), "/a");
    }

    #[test]
    fn a_url_is_recorded_without_its_credentials() {
        let url = "wss://user:pass@example.org:443/feed?token=abc";
        assert_eq!(record_url(url, Masking::Mask, &[]), "wss://***@example.org:443/feed?token=***");
        assert_eq!(record_url(url, Masking::Keep, &[]), "wss://***@example.org:443/feed?token=abc");
        assert_eq!(record_url("ws://h/a@b?c=d", Masking::Drop, &[]), "ws://h/a@b");
        assert_eq!(record_url("u:p@h:80/a@b", Masking::Keep, &[]), "***@h:80/a@b");
    }

    #[test]
    fn control_characters_are_escaped_and_the_cut_is_between_characters() {
        assert_eq!(record_text("a\r\n\u{1b}[31mb\u{202e}"), "a\\r\\n\\u{1b}[31mb\\u{202e}");
        let long = record_text(&"ü".repeat(2000));
        assert_eq!(long, "ü".repeat(512));
        assert_eq!(record_text(&format!("x{}", "ü".repeat(2000))).len(), 1023);
        assert_eq!(record_text(&"x".repeat(1024)).len(), 1024);
    }

    proptest! {
        #[test]
        fn a_masked_value_never_appears(
            path in "/[a-z/]{0,20}",
            parameters in prop::collection::vec(("[a-z%0-9+]{0,12}", "[A-Z]{4,40}[=;?A-Z]{0,8}"), 1..12),
            separators in prop::collection::vec(prop::sample::select(vec!["&", ";", "&&"]), 12),
        ) {
            let mut query = String::new();
            for ((name, value), separator) in parameters.iter().zip(&separators) {
                query += &format!("{name}={value}{separator}");
            }
            // Names are lower-case and values upper-case, so any upper-case letter is a leak.
            let recorded = record_path(&format!("{path}?{query}"), Masking::Mask, &[]);
            let bare = recorded.replace(|c: char| c.is_ascii_lowercase(), "");
            prop_assert!(!bare.contains(|c: char| c.is_ascii_uppercase()), "{}", recorded);
        }

        #[test]
        fn any_text_is_bounded_printable_and_never_panics(text in ".{0,2000}", keep in ".{0,4}") {
            for masking in [Masking::Mask, Masking::Keep, Masking::Drop] {
                for recorded in [
                    record_path(&text, masking, std::slice::from_ref(&keep)),
                    record_url(&text, masking, std::slice::from_ref(&keep)),
                ] {
                    prop_assert!(recorded.len() <= MAX_RECORDED);
                    prop_assert!(!recorded.contains(is_unprintable));
                }
            }
        }
    }
}
