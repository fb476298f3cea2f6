//! Which header lines pass a relay, and which it adds: pure.

use std::collections::HashSet;
use std::net::IpAddr;

use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue};

use crate::transport::socket::SocketName;
use crate::vocabulary::ConnectionId;

pub(super) const CONNECTION_ID: HeaderName = HeaderName::from_static("lastword-connection-id");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const EXTENSIONS: HeaderName = HeaderName::from_static("sec-websocket-extensions");

/// Lines that belong to one hop (RFC 9110 section 7.6.1), beside those that `Connection` names.
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Returns the lines of a client's request for `host` that pass on, and those that tell of it.
pub(super) fn of_request(
    request: &HeaderMap,
    host: &str,
    peer: &SocketName,
    id: Option<ConnectionId>,
) -> HeaderMap {
    let mut headers = end_to_end(request);
    for name in [header::HOST, header::CONTENT_LENGTH, CONNECTION_ID] {
        headers.remove(name);
    }
    // What a client sent there itself stays in front: only the last entry is ours.
    let (of, plain) = match peer.ip() {
        Some(IpAddr::V4(ip)) => (ip.to_string(), ip.to_string()),
        Some(IpAddr::V6(ip)) => (format!("\"[{ip}]\""), ip.to_string()),
        None => ("unknown".to_owned(), "unknown".to_owned()),
    };
    append(&mut headers, header::FORWARDED, &format!("for={of};host={};proto=http", quoted(host)));
    append(&mut headers, FORWARDED_FOR, &plain);
    for (name, value) in [
        (FORWARDED_HOST, host),
        (FORWARDED_PROTO, "http"),
        (CONNECTION_ID, id.map(|id| id.to_string()).unwrap_or_default().as_str()),
    ] {
        headers.remove(&name);
        if value.is_empty() {
            continue;
        }
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    }
    headers
}

/// Returns the lines of an application's 101 that pass on, the extensions it agreed on included.
pub(super) fn of_agreement(answer: &HeaderMap) -> HeaderMap {
    let mut headers = of_answer(answer);
    for line in answer.get_all(EXTENSIONS) {
        headers.append(EXTENSIONS, line.clone());
    }
    headers
}

/// Returns the lines of an application's refusal that pass on; without its body none that describe
/// it.
pub(super) fn of_refusal(answer: &HeaderMap, with_body: bool) -> HeaderMap {
    let mut headers = of_answer(answer);
    if !with_body {
        for name in [
            header::CONTENT_TYPE,
            header::CONTENT_ENCODING,
            header::CONTENT_LANGUAGE,
            header::CONTENT_RANGE,
            header::ETAG,
        ] {
            headers.remove(name);
        }
    }
    headers
}

/// Without the lines that the answer to the client has of its own.
pub(super) fn of_answer(answer: &HeaderMap) -> HeaderMap {
    let mut headers = end_to_end(answer);
    headers.remove(header::CONTENT_LENGTH);
    headers.remove(header::DATE);
    headers
}

/// Leaves out what is each hop's own: its lines, and those of its handshake.
fn end_to_end(from: &HeaderMap) -> HeaderMap {
    let named: HashSet<String> = from
        .get_all(header::CONNECTION)
        .into_iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .collect();
    let passes = |name: &HeaderName| {
        let name = name.as_str();
        !HOP_BY_HOP.contains(&name) && !named.contains(name) && !is_handshake(name)
    };
    from.iter()
        .filter(|(name, _)| passes(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// `Sec-WebSocket-Version` in an answer says what the application speaks, and that is for the client.
fn is_handshake(name: &str) -> bool {
    matches!(
        name,
        "sec-websocket-key"
            | "sec-websocket-accept"
            | "sec-websocket-protocol"
            | "sec-websocket-extensions"
            | "sec-websocket-version"
    )
}

/// Adds an entry to a list that may be there.
fn append(headers: &mut HeaderMap, name: HeaderName, entry: &str) {
    let before: Vec<&[u8]> = headers.get_all(&name).iter().map(HeaderValue::as_bytes).collect();
    let mut list = before.join(&b", "[..]);
    if !list.is_empty() {
        list.extend_from_slice(b", ");
    }
    list.extend_from_slice(entry.as_bytes());
    if let Ok(list) = HeaderValue::from_bytes(&list) {
        headers.insert(name, list);
    }
}

/// A value of `Forwarded` (RFC 7239 section 4): a colon needs quotes.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace(['"', '\\'], ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn what_belongs_to_one_hop_does_not_pass() {
        let from = map(&[
            ("connection", "Upgrade, X-Hop"),
            ("upgrade", "websocket"),
            ("x-hop", "1"),
            ("keep-alive", "5"),
            ("cookie", "a=b"),
            ("sec-websocket-key", "x"),
            ("authorization", "Bearer t"),
        ]);
        let passed = end_to_end(&from);
        assert_eq!(passed, map(&[("cookie", "a=b"), ("authorization", "Bearer t")]));
    }

    #[test]
    fn lists_keep_what_was_there() {
        let mut headers = map(&[("x-forwarded-for", "10.0.0.1")]);
        append(&mut headers, FORWARDED_FOR, "203.0.113.9");
        assert_eq!(headers[FORWARDED_FOR], "10.0.0.1, 203.0.113.9");
        assert_eq!(quoted("a:80"), "\"a:80\"");
    }

    #[test]
    fn a_refusal_without_its_body_does_not_describe_it() {
        let answer = map(&[("content-encoding", "gzip"), ("retry-after", "3"), ("date", "x")]);
        assert_eq!(of_refusal(&answer, false), map(&[("retry-after", "3")]));
        assert_eq!(of_refusal(&answer, true).len(), 2);
    }
}
