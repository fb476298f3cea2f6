//! What a route matches: hosts and paths.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde::de::Deserializer;

use super::path_template::PathTemplate;
use super::values::{self, InvalidValue};

/// The paths of a route; the query of a request does not count.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PathPattern {
    /// This path alone: `/chat`.
    Exact(String),
    /// Every path that starts so; written with a final `*`, kept without: `/chat/` for `/chat/*`.
    Prefix(String),
    /// Every path with some text in the place of each name: `/rooms/{room}`, `/rooms/{room}/*`.
    Template(PathTemplate),
}

impl PathPattern {
    /// Returns whether the pattern takes `path`, which has no query.
    pub fn matches(&self, path: &str) -> bool {
        match self {
            Self::Exact(exact) => path == exact,
            Self::Prefix(prefix) => path.starts_with(prefix.as_str()),
            Self::Template(template) => template.matches(path),
        }
    }

    /// Returns whether every path that `other` takes is taken by this pattern too.
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(a), Self::Exact(b)) => a == b,
            (Self::Exact(_), Self::Prefix(_) | Self::Template(_)) => false,
            (Self::Prefix(prefix), Self::Template(other)) => {
                other.fixed_start().starts_with(prefix.as_str())
            }
            (Self::Template(template), Self::Exact(path)) => template.matches(path),
            (Self::Template(template), Self::Prefix(prefix)) => template.covers_prefix(prefix),
            (Self::Template(a), Self::Template(b)) => a.covers(b),
            (Self::Prefix(prefix), Self::Exact(other) | Self::Prefix(other)) => {
                other.starts_with(prefix.as_str())
            }
        }
    }
}

impl FromStr for PathPattern {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let invalid = || InvalidValue::Path(text.to_owned());
        // A request target has neither of these, so such a route could never match.
        if text.contains(['?', '#']) || text.contains(|c: char| c.is_whitespace() || c.is_control())
        {
            return Err(invalid());
        }
        let (fixed, pattern) = match text.strip_suffix('*') {
            Some(prefix) if prefix.ends_with('/') => (prefix, Self::Prefix(prefix.to_owned())),
            Some(_) => return Err(invalid()),
            None => (text, Self::Exact(text.to_owned())),
        };
        if !fixed.starts_with('/') || fixed.contains('*') {
            return Err(invalid());
        }
        if fixed.contains(['{', '}']) {
            let open = matches!(pattern, Self::Prefix(_));
            return PathTemplate::parse(fixed, open).map(Self::Template).ok_or_else(invalid);
        }
        Ok(pattern)
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(path) => f.write_str(path),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
            Self::Template(template) => template.fmt(f),
        }
    }
}

impl<'de> Deserialize<'de> for PathPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        values::text(deserializer, "a path such as \"/chat/*\"", Self::from_str)
    }
}

/// Returns whether a request at `host` (as the `Host` header has it, port included) is for the host
/// that a route wants, if it wants one.
pub fn host_matches(wanted: Option<&str>, host: Option<&str>) -> bool {
    match (wanted, host) {
        (None, _) => true,
        (Some(wanted), Some(host)) => wanted.eq_ignore_ascii_case(without_port(host)),
        (Some(_), None) => false,
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        // "[::1]" has colons and no port.
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => name,
        _ => host,
    }
}

/// Reads a host: in lower case, without a port.
pub(crate) fn host<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    HostName::deserialize(deserializer).map(|host| Some(host.0))
}

/// A host name or address, in lower case, without a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostName(String);

impl HostName {
    /// Returns whether a `Host` header, or the authority of a URL, is for this host, whatever its
    /// port and case.
    pub fn matches(&self, host: &str) -> bool {
        host_matches(Some(&self.0), Some(host))
    }
}

impl FromStr for HostName {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        if is_host(text) {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err(InvalidValue::Host(text.to_owned()))
        }
    }
}

impl<'de> Deserialize<'de> for HostName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        values::text(deserializer, "a host such as \"example.org\"", Self::from_str)
    }
}

/// Splits `host:port`; an address in brackets keeps its colons.
pub(super) fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    }
}

/// Returns whether `text` is a host name, an IPv4 address or an IPv6 address in brackets.
pub(super) fn is_host(text: &str) -> bool {
    if let Some(address) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return address.parse::<std::net::Ipv6Addr>().is_ok();
    }
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> PathPattern {
        text.parse().unwrap()
    }

    #[test]
    fn a_path_is_exact_or_a_prefix() {
        assert!(path("/chat").matches("/chat"));
        assert!(!path("/chat").matches("/chat/"));
        assert!(path("/chat/*").matches("/chat/"));
        assert!(path("/chat/*").matches("/chat/7/a"));
        assert!(!path("/chat/*").matches("/chat"));
        assert!(!path("/chat/*").matches("/chatter"));
        assert!(path("/*").matches("/"));
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for text in
            ["", "*", "chat", "chat/*", "/chat*", "/*/chat", "/a/**", "/a?b", "/a#b", "/a b"]
        {
            assert_eq!(text.parse::<PathPattern>(), Err(InvalidValue::Path(text.to_owned())));
        }
    }

    #[test]
    fn a_wider_path_covers_a_narrower_one() {
        for (wide, narrow) in [("/*", "/a"), ("/*", "/a/*"), ("/a/*", "/a/*"), ("/a", "/a")] {
            assert!(path(wide).covers(&path(narrow)), "{wide} {narrow}");
        }
        for (wide, narrow) in [("/a", "/*"), ("/a/*", "/*"), ("/a/*", "/a"), ("/a", "/b")] {
            assert!(!path(wide).covers(&path(narrow)), "{wide} {narrow}");
        }
    }
}
