//! The header fields that a relay passes on, and those that it adds. Pure.

use std::collections::HashSet;
use std::net::IpAddr;

use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue};

use super::identity::{SUBJECT, TAGS};
use crate::transport::socket::SocketName;
use crate::vocabulary::ConnectionId;

pub(super) const CONNECTION_ID: HeaderName = HeaderName::from_static("lastword-connection-id");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const EXTENSIONS: HeaderName = HeaderName::from_static("sec-websocket-extensions");

/// Hop-by-hop fields (RFC 9110 section 7.6.1), beside those that `Connection` names.
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

/// Returns the fields of a client's request for `host` to pass on, and adds the `Forwarded` fields: the
/// client's address, and the scheme by which it reached this end.
///
/// `X-Forwarded-Host` and `-Proto` pass unchanged, and `Forwarded` agrees with them: otherwise an
/// application that forces https would redirect the clients of a TLS proxy forever.
pub(super) fn of_request(
    request: &HeaderMap,
    host: &str,
    (peer, scheme): (&SocketName, &str),
    id: Option<ConnectionId>,
) -> HeaderMap {
    let mut headers = without_our_names(end_to_end(request));
    for name in [header::HOST, header::CONTENT_LENGTH, CONNECTION_ID, SUBJECT, TAGS] {
        headers.remove(name);
    }
    // Entries that the client sent stay in front: only the last one is ours.
    let (of, plain) = match peer.ip() {
        Some(IpAddr::V4(ip)) => (ip.to_string(), ip.to_string()),
        Some(IpAddr::V6(ip)) => (format!("\"[{ip}]\""), ip.to_string()),
        None => ("unknown".to_owned(), "unknown".to_owned()),
    };
    // A proxy in front knows what the client asked for: this end sees only the proxy's request.
    let (forwarded_host, forwarded_proto) =
        (client_entry(&headers, &FORWARDED_HOST), client_entry(&headers, &FORWARDED_PROTO));
    let seen_host = quoted(forwarded_host.as_deref().unwrap_or(host));
    let seen_proto = forwarded_proto.as_deref().filter(|proto| is_scheme(proto)).unwrap_or(scheme);
    let forwarded = format!("for={of};host={seen_host};proto={seen_proto}");
    append(&mut headers, header::FORWARDED, &forwarded);
    append(&mut headers, FORWARDED_FOR, &plain);
    let id = id.map(|id| id.to_string());
    for (name, value) in [
        (FORWARDED_HOST, forwarded_host.is_none().then_some(host)),
        (FORWARDED_PROTO, forwarded_proto.is_none().then_some(scheme)),
        (CONNECTION_ID, id.as_deref()),
    ] {
        let value = value.filter(|value| !value.is_empty());
        if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
            headers.insert(name, value);
        }
    }
    headers
}

/// Returns the first entry of a list, which the proxy next to the client wrote.
fn client_entry(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let first = headers.get(name)?.to_str().ok()?.split(',').next()?.trim();
    Some(first.to_owned()).filter(|first| !first.is_empty())
}

/// RFC 3986 section 3.1.
fn is_scheme(text: &str) -> bool {
    text.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'+' | b'-' | b'.'))
}

/// Removes fields that an application could mistake for ours. CGI, WSGI and the like turn every
/// character that is neither letter nor digit into `_`, so to them `Lastword_Connection_Id` is
/// `Lastword-Connection-Id`.
fn without_our_names(mut headers: HeaderMap) -> HeaderMap {
    let is_ours = |name: &str| {
        let read_as = name.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
        let list = ["x-forwarded-", "x-real-ip", "x-original-"];
        // Lists that a proxy in front began are continued, but only under their exact names.
        read_as.starts_with("lastword-")
            || read_as != name && list.iter().any(|ours| read_as.starts_with(ours))
    };
    let ours: Vec<HeaderName> =
        headers.keys().filter(|name| is_ours(name.as_str())).cloned().collect();
    for name in ours {
        headers.remove(name);
    }
    headers
}

/// Returns the fields of an application's 101 to pass on, including the agreed extensions.
pub(super) fn of_agreement(answer: &HeaderMap) -> HeaderMap {
    let mut headers = of_answer(answer);
    for line in answer.get_all(EXTENSIONS) {
        headers.append(EXTENSIONS, line.clone());
    }
    headers
}

/// Returns the fields of an application's refusal to pass on, including `Upgrade` and
/// `Sec-WebSocket-Version`. Without its body, the fields that describe it are left out.
pub(super) fn of_refusal(answer: &HeaderMap, with_body: bool) -> HeaderMap {
    let mut headers = of_answer(answer);
    for name in [header::UPGRADE, header::SEC_WEBSOCKET_VERSION] {
        for line in answer.get_all(&name) {
            headers.append(name.clone(), line.clone());
        }
    }
    if headers.contains_key(header::UPGRADE) {
        // RFC 9110 section 7.8.
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    }
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

/// Returns the fields of an application's answer that the answer to the client does not set itself.
pub(super) fn of_answer(answer: &HeaderMap) -> HeaderMap {
    let mut headers = end_to_end(answer);
    for name in [header::CONTENT_LENGTH, header::DATE, SUBJECT, TAGS] {
        headers.remove(name);
    }
    headers
}

/// Returns the fields of a plain request for `host` to pass on, including those that frame its
/// body: hyper frames it in the same way.
pub(super) fn of_plain_request(
    request: &HeaderMap,
    host: &str,
    client: (&SocketName, &str),
) -> HeaderMap {
    let mut headers = of_request(request, host, client, None);
    for name in [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::TRAILER] {
        for line in request.get_all(&name) {
            headers.append(&name, line.clone());
        }
    }
    // RFC 9110 section 10.1.4: `TE` is hop-by-hop, and this hop does forward trailers.
    let takes_trailers = request.get_all(header::TE).into_iter().any(|line| {
        line.to_str()
            .is_ok_and(|te| te.split(',').any(|it| it.trim().eq_ignore_ascii_case("trailers")))
    });
    if takes_trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("TE"));
    }
    headers
}

/// Removes the hop-by-hop fields of an answer to a plain request. `Content-Length` passes, also in
/// an answer to HEAD, unless the answer is chunked.
pub(super) fn change_plain_answer(answer: &mut HeaderMap) {
    let named: Vec<HeaderName> = answer
        .get_all(header::CONNECTION)
        .into_iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    if answer.contains_key(header::TRANSFER_ENCODING) {
        answer.remove(header::CONTENT_LENGTH);
    }
    named.iter().for_each(|name| drop(answer.remove(name)));
    for name in HOP_BY_HOP.iter().filter(|name| **name != "trailer") {
        answer.remove(*name);
    }
}

/// Returns the fields that are neither hop-by-hop nor part of the opening handshake.
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

/// Appends an entry to a list field, which may not exist yet.
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

/// Quotes a value of `Forwarded`, in which a colon needs quotes (RFC 7239 section 4).
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
    fn what_a_proxy_in_front_said_of_the_client_stays_and_forwarded_agrees() {
        let peer = SocketName::Tcp("10.0.0.1:5000".parse().unwrap());
        let of = |lines: &[_]| of_request(&map(lines), "inner:80", (&peer, "http"), None);
        let headers = of(&[
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "chat.example.org"),
            ("x-forwarded-for", "203.0.113.9"),
        ]);
        let forwarded = "for=10.0.0.1;host=\"chat.example.org\";proto=https";
        let due = [
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "chat.example.org"),
            ("x-forwarded-for", "203.0.113.9, 10.0.0.1"),
            ("forwarded", forwarded),
        ];
        assert_eq!(headers, map(&due));
        let headers = of(&[("x-forwarded-proto", "https, http")]);
        assert_eq!(headers[FORWARDED_PROTO], "https, http");
        assert!(headers[header::FORWARDED].to_str().unwrap().ends_with(";proto=https"));
        let headers = of(&[("x-forwarded-proto", "a b;c")]);
        assert!(headers[header::FORWARDED].to_str().unwrap().ends_with(";proto=http"));
        let headers = of(&[]);
        assert_eq!(headers[FORWARDED_PROTO], "http");
        assert_eq!(headers[FORWARDED_HOST], "inner:80");
    }

    #[test]
    fn what_an_application_would_take_for_ours_does_not_pass() {
        let from = map(&[
            ("lastword_connection_id", "forged"),
            ("lastword-subject", "forged"),
            ("lastword.tags", "forged"),
            ("x_forwarded_for", "127.0.0.1"),
            ("x-forwarded_proto", "https"),
            ("x-forwarded-for", "10.0.0.1"),
            ("x_room", "7"),
        ]);
        let peer = SocketName::Tcp("203.0.113.9:5".parse().unwrap());
        let passed = of_request(&from, "example.org", (&peer, "http"), None);
        let mut names: Vec<&str> = passed.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x_room"]
        );
        assert_eq!(passed[FORWARDED_FOR], "10.0.0.1, 203.0.113.9");
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
