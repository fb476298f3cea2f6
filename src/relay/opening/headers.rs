//! The header fields that a relay passes on, and those that it adds. Pure.

use std::net::IpAddr;

use bytes::Bytes;
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue};

use super::identity::{SUBJECT, TAGS};
use crate::protocol::forwarded::{
    self, Seen, X_FORWARDED_FOR as FORWARDED_FOR, X_FORWARDED_HOST as FORWARDED_HOST,
    X_FORWARDED_PROTO as FORWARDED_PROTO,
};
use crate::protocol::header_names::is_reserved;
use crate::transport::socket::SocketName;
use crate::vocabulary::ConnectionId;

pub(super) const CONNECTION_ID: HeaderName = HeaderName::from_static("lastword-connection-id");
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

/// The hop that a request came over.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hop<'a> {
    /// Who sent the request to this end: the client, or a proxy in front.
    pub(crate) peer: &'a SocketName,
    /// The scheme by which it was sent.
    pub(crate) scheme: &'static str,
    /// What `Forwarded` and `X-Forwarded-*` say of the request, if they are believed.
    pub(crate) told: Option<&'a Seen>,
}

/// Returns the fields of a client's request for `host` to pass on, and adds the `Forwarded` fields.
///
/// Those of a trusted proxy are continued: `X-Forwarded-Host` and `-Proto` pass unchanged or repeat
/// its `Forwarded`, and our `Forwarded` agrees with them, because otherwise an application that forces
/// https would redirect the clients of a TLS proxy forever. Those of anybody else are replaced.
pub(super) fn of_request(
    request: &HeaderMap,
    host: &str,
    hop: Hop<'_>,
    id: Option<ConnectionId>,
) -> HeaderMap {
    let mut headers = end_to_end(request);
    let ours = names(&headers, |name| is_ours(name, hop.told.is_some()));
    remove(&mut headers, ours);
    add_forwarded(&mut headers, host, hop);
    if let Some(id) = id {
        insert(&mut headers, CONNECTION_ID, id.to_string());
    }
    headers
}

/// Changes the fields of a plain request for `host` to those to pass on, and adds the `Forwarded`
/// fields. Those that frame its body pass, because hyper frames it in the same way.
pub(super) fn change_plain_request(headers: &mut HeaderMap, host: &str, hop: Hop<'_>) {
    const PASS: [HeaderName; 4] =
        [header::HOST, header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::TRAILER];
    // RFC 9110 section 10.1.4: `TE` is hop-by-hop, and this hop does forward trailers.
    let takes_trailers = headers.get_all(header::TE).into_iter().any(|line| {
        line.to_str()
            .is_ok_and(|te| te.split(',').any(|it| it.trim().eq_ignore_ascii_case("trailers")))
    });
    let due = {
        let is_named = named_by_connection(headers);
        names(headers, |name| {
            let is_due = is_named(name) || is_hop_by_hop(name) || is_reserved(name.as_str());
            is_due && !PASS.contains(name) || is_ours(name, hop.told.is_some())
        })
    };
    remove(headers, due);
    add_forwarded(headers, host, hop);
    if takes_trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("TE"));
    }
}

/// Adds what this end sees of the client to the `Forwarded` fields of a trusted proxy. There are none
/// of these if nothing is told.
fn add_forwarded(headers: &mut HeaderMap, host: &str, hop: Hop<'_>) {
    let ip = hop.peer.ip();
    let plain = ip.map_or_else(|| "unknown".to_owned(), |ip| ip.to_string());
    let of = match ip {
        Some(IpAddr::V6(_)) => &format!("\"[{plain}]\""),
        _ => &plain,
    };
    // A proxy in front knows what the client asked for: this end sees only the proxy's request.
    let told_host = hop.told.and_then(|told| told.host.as_deref());
    let told_proto = hop.told.and_then(|told| told.proto.as_deref());
    let seen_host = told_host.unwrap_or(host);
    let seen_proto = told_proto.filter(|proto| is_scheme(proto)).unwrap_or(hop.scheme);
    let forwarded = format!("for={of};host={};proto={seen_proto}", quoted(seen_host));
    let is_continued = hop.told.is_some();
    if is_continued {
        complete_lists(headers);
    }
    for (name, entry) in [(header::FORWARDED, forwarded), (FORWARDED_FOR, plain)] {
        // The entries of proxies in front stay before ours.
        if is_continued { append(headers, name, &entry) } else { insert(headers, name, entry) }
    }
    for (name, value) in [(FORWARDED_HOST, seen_host), (FORWARDED_PROTO, seen_proto)] {
        let is_there = is_continued && forwarded::first_entry(headers, &name).is_some();
        if !is_there && !value.is_empty() {
            insert(headers, name, value.to_owned());
        }
    }
}

/// Writes the one of the two lists that the proxies in front did not, so that both name one client.
fn complete_lists(headers: &mut HeaderMap) {
    let lists = [header::FORWARDED, FORWARDED_FOR];
    let [forwarded, x_for] = lists.map(|name| forwarded::joined(headers.get_all(name).iter()));
    let (name, missing) = match (forwarded, x_for) {
        (None, Some(x_for)) => (header::FORWARDED, forwarded::as_forwarded(&x_for)),
        (Some(forwarded), None) => (FORWARDED_FOR, forwarded::as_x_for(&forwarded)),
        (None, None) | (Some(_), Some(_)) => return,
    };
    if !missing.is_empty() {
        insert(headers, name, missing);
    }
}

/// RFC 3986 section 3.1.
fn is_scheme(text: &str) -> bool {
    text.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'+' | b'-' | b'.'))
}

/// Returns whether an application could mistake a field for ours. CGI, WSGI and the like turn every
/// character that is neither letter nor digit into `_`, so to them `Lastword_Connection_Id` is
/// `Lastword-Connection-Id`.
fn is_ours(name: &HeaderName, keeps_forwarded: bool) -> bool {
    let name = name.as_str();
    // Most names are told apart by their first letter.
    if !name.starts_with(['f', 'l', 'x']) {
        return false;
    }
    let read_as = name.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    let is_forwarded =
        read_as == "forwarded" || read_as == "x-real-ip" || read_as.starts_with("x-forwarded-");
    read_as.starts_with("lastword-")
        // Those of a trusted proxy are continued, but only under their exact names.
        || is_forwarded && !(keeps_forwarded && read_as == name)
        || read_as != name && read_as.starts_with("x-original-")
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
    for name in [header::DATE, SUBJECT, TAGS] {
        headers.remove(name);
    }
    headers
}

/// Removes the hop-by-hop fields of an answer to a plain request. `Content-Length` passes, also in
/// an answer to HEAD, unless the answer is chunked.
pub(super) fn change_plain_answer(answer: &mut HeaderMap) {
    let is_chunked = answer.contains_key(header::TRANSFER_ENCODING);
    let due = {
        let is_named = named_by_connection(answer);
        names(answer, |name| match *name {
            header::CONTENT_LENGTH if is_chunked => true,
            // Trailers are forwarded.
            header::TRAILER => is_named(name),
            _ => is_named(name) || is_hop_by_hop(name),
        })
    };
    remove(answer, due);
}

/// Returns the fields that are neither hop-by-hop nor reserved for the opening handshake.
fn end_to_end(from: &HeaderMap) -> HeaderMap {
    let is_named = named_by_connection(from);
    let passes =
        |name: &HeaderName| !is_named(name) && !is_hop_by_hop(name) && !is_reserved(name.as_str());
    // As a rule nearly all pass, and those of this hop are added.
    let mut headers = HeaderMap::with_capacity(from.len() + 5);
    headers.extend(
        from.iter()
            .filter(|(name, _)| passes(name))
            .map(|(name, value)| (name.clone(), value.clone())),
    );
    headers
}

fn is_hop_by_hop(name: &HeaderName) -> bool {
    HOP_BY_HOP.contains(&name.as_str())
}

/// Returns what tells whether `Connection` names a field, which makes it hop-by-hop, too.
fn named_by_connection(headers: &HeaderMap) -> impl Fn(&HeaderName) -> bool {
    let named: Vec<&str> = headers
        .get_all(header::CONNECTION)
        .into_iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(str::trim)
        .collect();
    move |name| named.iter().any(|named| named.eq_ignore_ascii_case(name.as_str()))
}

fn names(headers: &HeaderMap, is_due: impl Fn(&HeaderName) -> bool) -> Vec<HeaderName> {
    headers.keys().filter(|name| is_due(name)).cloned().collect()
}

fn remove(headers: &mut HeaderMap, names: Vec<HeaderName>) {
    for name in names {
        headers.remove(name);
    }
}

/// Appends an entry to a list field, which may not exist yet.
fn append(headers: &mut HeaderMap, name: HeaderName, entry: &str) {
    let mut list = Vec::new();
    for line in headers.get_all(&name).iter().filter(|line| !line.is_empty()) {
        list.extend_from_slice(line.as_bytes());
        list.extend_from_slice(b", ");
    }
    list.extend_from_slice(entry.as_bytes());
    insert(headers, name, list);
}

/// Inserts a field, unless its value cannot be sent.
fn insert(headers: &mut HeaderMap, name: HeaderName, value: impl Into<Bytes>) {
    if let Ok(value) = HeaderValue::from_maybe_shared(value.into()) {
        headers.insert(name, value);
    }
}

/// Quotes a value of `Forwarded`, in which a colon needs quotes (RFC 7239 section 4).
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    quoted.extend(text.split(['"', '\\']));
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines
            .iter()
            .map(|(name, value)| {
                (HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap())
            })
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
            ("sec-websocket-origin", "x"),
            ("authorization", "Bearer t"),
        ]);
        let passed = end_to_end(&from);
        assert_eq!(passed, map(&[("cookie", "a=b"), ("authorization", "Bearer t")]));
    }

    #[test]
    fn trailers_are_announced_unless_connection_names_the_field() {
        for (connection, passes) in [("close", true), ("close, Trailer", false)] {
            let mut answer = map(&[
                ("connection", connection),
                ("trailer", "x-sum"),
                ("transfer-encoding", "chunked"),
                ("content-length", "7"),
                ("x-kept", "1"),
            ]);
            change_plain_answer(&mut answer);
            assert_eq!(answer.remove("trailer").is_some(), passes, "{connection}");
            assert_eq!(answer, map(&[("x-kept", "1")]));
        }
    }

    /// What an application gets of these lines when `10.0.0.1` sends them.
    fn passed(lines: &[(&'static str, &'static str)], is_trusted: bool) -> HeaderMap {
        let peer = SocketName::Tcp("10.0.0.1:5000".parse().unwrap());
        let lines = map(lines);
        let told = is_trusted.then(|| forwarded::read(&lines, |_| false).unwrap());
        let hop = Hop { peer: &peer, scheme: "http", told: told.as_ref() };
        of_request(&lines, "inner:80", hop, None)
    }

    const OF_A_PROXY: [(&str, &str); 5] = [
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "chat.example.org"),
        ("x-forwarded-port", "443"),
        ("x-forwarded-for", "203.0.113.9, 2001:db8::9"),
        ("x-real-ip", "203.0.113.9"),
    ];

    #[test]
    fn what_a_trusted_proxy_said_of_the_client_stays_and_forwarded_agrees() {
        let forwarded = "for=203.0.113.9, for=\"[2001:db8::9]\", \
                         for=10.0.0.1;host=\"chat.example.org\";proto=https";
        let mut due = map(&OF_A_PROXY);
        due.insert("x-forwarded-for", "203.0.113.9, 2001:db8::9, 10.0.0.1".parse().unwrap());
        due.insert("forwarded", forwarded.parse().unwrap());
        assert_eq!(passed(&OF_A_PROXY, true), due);
        let headers = passed(&[("forwarded", "for=\"[2001:db8::9]:7\";proto=https, for=_x")], true);
        assert_eq!(headers[FORWARDED_FOR], "2001:db8::9, unknown, 10.0.0.1");
        let headers = passed(&[("x-forwarded-proto", "https, http")], true);
        assert_eq!(headers[FORWARDED_PROTO], "https, http");
        assert!(headers[header::FORWARDED].to_str().unwrap().ends_with(";proto=https"));
        let headers = passed(&[("x-forwarded-proto", "a b;c")], true);
        assert!(headers[header::FORWARDED].to_str().unwrap().ends_with(";proto=http"));
        let line = "for=203.0.113.9;proto=HTTPS;host=\"chat.example.org:8443\"";
        for empty in ["", " , "] {
            let headers = passed(&[("forwarded", line), ("x-forwarded-proto", empty)], true);
            assert_eq!(headers[FORWARDED_PROTO], "https");
            assert_eq!(headers[FORWARDED_HOST], "chat.example.org:8443");
            let ours = "for=10.0.0.1;host=\"chat.example.org:8443\";proto=https";
            assert!(headers[header::FORWARDED].to_str().unwrap().ends_with(ours));
        }
        let headers = passed(&[("forwarded", "for=203.0.113.9;proto=\"a b\"")], true);
        assert_eq!(headers[FORWARDED_PROTO], "http");
        let headers = passed(&[("x-forwarded-host", "b\u{fc}cher.example")], true);
        assert_eq!(headers[FORWARDED_HOST], "inner:80");
        assert_eq!(headers[header::FORWARDED], "for=10.0.0.1;host=\"inner:80\";proto=http");
        let headers = passed(&[], true);
        assert_eq!(headers[FORWARDED_PROTO], "http");
        assert_eq!(headers[FORWARDED_HOST], "inner:80");
    }

    #[test]
    fn what_anybody_else_said_is_replaced() {
        let due = map(&[
            ("x-forwarded-proto", "http"),
            ("x-forwarded-host", "inner:80"),
            ("x-forwarded-for", "10.0.0.1"),
            ("forwarded", "for=10.0.0.1;host=\"inner:80\";proto=http"),
        ]);
        assert_eq!(passed(&OF_A_PROXY, false), due);
        assert_eq!(passed(&[("forwarded", "for=1.2.3.4;proto=https")], false), due);
    }

    #[test]
    fn what_an_application_would_take_for_ours_does_not_pass() {
        let lines = [
            ("lastword_connection_id", "forged"),
            ("lastword-subject", "forged"),
            ("lastword.tags", "forged"),
            ("x_forwarded_for", "127.0.0.1"),
            ("x-forwarded_proto", "https"),
            ("x_real_ip", "127.0.0.1"),
            ("x-forwarded-for", "203.0.113.9"),
            ("x_room", "7"),
        ];
        for (is_trusted, x_for) in [(true, "203.0.113.9, 10.0.0.1"), (false, "10.0.0.1")] {
            let passed = passed(&lines, is_trusted);
            let mut names: Vec<&str> = passed.keys().map(HeaderName::as_str).collect();
            names.sort_unstable();
            assert_eq!(
                names,
                ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x_room"]
            );
            assert_eq!(passed[FORWARDED_FOR], x_for);
        }
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
