//! Which web pages may connect to a route: its `origins`.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde::de::Deserializer;

use super::patterns::{is_host, split_port};
use super::values::{self, InvalidValue};
use crate::protocol::url::Scheme;

/// An entry of a route's `origins`.
///
/// It is parsed from text: `"https://example.org".parse()`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OriginPattern {
    /// `same`: pages of the host that the request is for, and every page whose request carries no
    /// cookie.
    ///
    /// A browser adds the cookies of a host to every WebSocket to it, also to one that a page of
    /// another site opens: such a page would act in the name of its visitor.
    Same,
    /// `*`: every origin.
    Any,
    /// `null`: what browsers send for files and sandboxed frames.
    Null,
    /// `scheme://host[:port]` in lower case, without the scheme's default port, as browsers write
    /// it (RFC 6454 section 6.2).
    Exact(String),
}

/// What a request tells of the page that sent it.
#[derive(Debug, Clone, Copy)]
pub struct PageRequest<'r> {
    /// The `Origin`. Browsers always send one to open a WebSocket.
    pub origin: Option<&'r str>,
    /// The host that the request is for, with its port.
    pub host: Option<&'r str>,
    /// Whether the request carries a cookie.
    pub has_cookie: bool,
    /// Whether the client is known to use TLS. Without it, a proxy in front may have ended TLS.
    pub over_tls: bool,
}

/// Returns the `origins` of a route that sets none: `same`.
pub fn default_origins() -> Vec<OriginPattern> {
    vec![OriginPattern::Same]
}

/// Returns whether the page that sent a request may connect where these are allowed; an empty list
/// allows every page. A request without an `Origin` does not come from a browser and passes.
pub fn origin_allowed(allowed: &[OriginPattern], request: &PageRequest<'_>) -> bool {
    let Some(origin) = request.origin else { return true };
    allowed.is_empty() || allowed.iter().any(|allowed| allowed.allows(origin, request))
}

impl OriginPattern {
    fn allows(&self, origin: &str, request: &PageRequest<'_>) -> bool {
        match self {
            Self::Same => {
                let own = |host| is_of_host(origin, host, request.over_tls);
                !request.has_cookie || request.host.is_some_and(own)
            }
            Self::Any => true,
            Self::Null => origin == "null",
            Self::Exact(exact) => exact.eq_ignore_ascii_case(origin),
        }
    }
}

/// Returns whether a page of `origin` comes from `host`, which names its port as the `Host` header
/// does: the default port of the page's scheme may be missing.
///
/// Over TLS a page of `http` is another one: anybody on its path may have changed it.
fn is_of_host(origin: &str, host: &str, over_tls: bool) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    let scheme = Scheme::named(scheme).filter(|scheme| scheme.is_secure() || !over_tls);
    let Some(scheme) = scheme else { return false };
    let default_port = scheme.default_port().to_string();
    let parts = |authority| {
        let (name, port) = split_port(authority);
        (name, port.filter(|port| !port.is_empty()).unwrap_or(&default_port))
    };
    let ((theirs, their_port), (ours, our_port)) = (parts(authority), parts(host));
    theirs.eq_ignore_ascii_case(ours) && their_port == our_port
}

impl FromStr for OriginPattern {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        match text {
            "same" => return Ok(Self::Same),
            "*" => return Ok(Self::Any),
            "null" => return Ok(Self::Null),
            _ => {}
        }
        let invalid = || InvalidValue::Origin(text.to_owned());
        let (scheme, authority) = text.split_once("://").ok_or_else(invalid)?;
        let scheme_is_valid = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
        let (host, port) = split_port(authority);
        let port_is_valid = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
        if !scheme_is_valid || !port_is_valid || !is_host(host) {
            return Err(invalid());
        }
        // Browsers leave it out of an origin.
        let default_port =
            Scheme::named(scheme).map(|scheme| format!(":{}", scheme.default_port()));
        let origin = default_port.and_then(|port| text.strip_suffix(&port)).unwrap_or(text);
        Ok(Self::Exact(origin.to_ascii_lowercase()))
    }
}

impl fmt::Display for OriginPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Same => "same",
            Self::Any => "*",
            Self::Null => "null",
            Self::Exact(origin) => origin,
        })
    }
}

impl<'de> Deserialize<'de> for OriginPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        values::text(deserializer, "an origin such as \"https://example.org\"", Self::from_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns whether the patterns allow a request with a cookie.
    fn allowed(patterns: &[&str], origin: &str, host: &str, over_tls: bool) -> bool {
        let patterns: Vec<OriginPattern> = patterns.iter().map(|it| it.parse().unwrap()).collect();
        let (origin, host) = (Some(origin), Some(host));
        origin_allowed(&patterns, &PageRequest { origin, host, has_cookie: true, over_tls })
    }

    #[test]
    fn origins_match_as_browsers_write_them() {
        let matches = |pattern: &str, origin| allowed(&[pattern], origin, "inner", false);
        assert!(matches("https://Example.org:443", "https://example.org"));
        assert!(matches("http://example.org:443", "http://example.org:443"));
        assert!(!matches("https://example.org", "http://example.org"));
        assert!(!matches("https://example.org", "https://example.org.evil.net"));
        assert!(matches("http://[::1]:3000", "http://[::1]:3000"));
        assert!(matches("null", "null"));
        assert!(!matches("null", "https://example.org"));
        assert!(matches("*", "https://example.org"));
    }

    #[test]
    fn with_a_cookie_a_page_must_come_from_the_host_of_the_request() {
        for (origin, host) in [
            ("https://example.org", "example.org"),
            ("https://Example.ORG", "example.org:443"),
            ("http://example.org", "example.org"),
            ("http://example.org", "example.org:80"),
            ("http://example.org:80", "example.org"),
            ("http://example.org:8080", "EXAMPLE.org:8080"),
            ("https://example.org:8443", "example.org:8443"),
            ("https://example.org", "example.org:"),
            ("http://[::1]:8080", "[::1]:8080"),
            ("http://[::1]", "[::1]:80"),
        ] {
            assert!(allowed(&["same"], origin, host, false), "{origin} at {host}");
        }
        for (origin, host) in [
            ("https://evil.example", "example.org"),
            ("https://example.org.evil.example", "example.org"),
            ("https://chat.example.org", "example.org"),
            ("http://example.org:8080", "example.org"),
            ("http://example.org", "example.org:8080"),
            ("http://example.org", "example.org:443"),
            ("https://example.org", "example.org:80"),
            ("http://[::1]:8080", "[::2]:8080"),
            ("chrome-extension://example.org", "example.org"),
            ("null", "null"),
            ("example.org", "example.org"),
            ("", "example.org"),
            ("https://", "example.org"),
            ("https://example.org, https://example.org", "example.org"),
        ] {
            assert!(!allowed(&["same"], origin, host, false), "{origin} at {host}");
        }
    }

    #[test]
    fn over_tls_a_page_without_tls_is_another_one() {
        assert!(allowed(&["same"], "https://example.org", "example.org", true));
        assert!(allowed(&["same"], "https://example.org:8443", "example.org:8443", true));
        assert!(!allowed(&["same"], "http://example.org", "example.org", true));
        assert!(!allowed(&["same"], "http://example.org:8443", "example.org:8443", true));
    }

    #[test]
    fn without_a_cookie_or_an_origin_a_request_needs_no_page_of_ours() {
        let page = PageRequest {
            origin: Some("https://evil.example"),
            host: Some("example.org"),
            has_cookie: false,
            over_tls: false,
        };
        assert!(origin_allowed(&default_origins(), &page));
        let with_cookie = PageRequest { has_cookie: true, ..page };
        assert!(!origin_allowed(&default_origins(), &with_cookie));
        assert!(!origin_allowed(&default_origins(), &PageRequest { host: None, ..with_cookie }));
        assert!(origin_allowed(&default_origins(), &PageRequest { origin: None, ..with_cookie }));
        // A list of origins alone holds whether or not there is a cookie.
        assert!(!origin_allowed(&["https://example.org".parse().unwrap()], &page));
    }

    #[test]
    fn other_entries_add_to_the_same_host() {
        let both = ["same", "https://app.example.org"];
        assert!(allowed(&both, "https://app.example.org", "example.org", false));
        assert!(allowed(&both, "https://example.org", "example.org", false));
        assert!(!allowed(&both, "https://evil.example", "example.org", false));
        assert!(allowed(&["same", "*"], "https://evil.example", "example.org", false));
        assert!(allowed(&[], "https://evil.example", "example.org", false));
    }

    #[test]
    fn what_is_no_origin_is_refused() {
        for text in [
            "",
            "example.org",
            "Same",
            "https://",
            "https://a/",
            "https://a/b",
            "https://a:b",
            "https://a:0",
            "https://a:",
            "https://u@a",
            "https://*.a",
            "://a",
            "https://[::1",
            "https://a b",
        ] {
            assert_eq!(text.parse::<OriginPattern>(), Err(InvalidValue::Origin(text.to_owned())));
        }
    }
}
