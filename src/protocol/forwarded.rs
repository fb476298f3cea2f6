//! What proxies say of a client in `Forwarded` (RFC 7239) and `X-Forwarded-*`.
//!
//! Each proxy adds its own client at the right end of a list, and the client may have sent the left
//! end itself. The client is therefore the first entry from the right that no trusted proxy has.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::header_names::{is_token, is_token_char};

/// `X-Forwarded-For`.
pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// `X-Forwarded-Host`.
pub const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// `X-Forwarded-Proto`.
pub const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// What trusted proxies say of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The client; `None` if they do not say, or say that they do not tell.
    pub client: Option<SocketAddr>,
    /// The scheme by which the client came, in lower case.
    pub proto: Option<String>,
    /// The host that the client asked for.
    pub host: Option<String>,
}

/// Why these lines cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadForwarded {
    /// `Forwarded` breaks the grammar of RFC 7239 section 4.
    #[error("the Forwarded line is malformed: have the proxy in front remove it, or write it anew")]
    Malformed,
    /// The two lists name different clients, so one of them is the client's own invention.
    #[error(
        "Forwarded and X-Forwarded-For name different clients: have the proxy in front write both, \
         or remove one"
    )]
    Contradiction,
}

/// Reads what proxies say of a request that came from one that is trusted.
///
/// # Errors
/// The lines can be read in two ways.
pub fn read(
    headers: &HeaderMap,
    is_trusted: impl Fn(IpAddr) -> bool,
) -> Result<Seen, BadForwarded> {
    let line = |name: HeaderName| joined(headers.get_all(name).iter());
    let hops = line(header::FORWARDED).as_deref().map(parse).transpose()?;
    let by_forwarded = hops.as_ref().map(|hops| {
        client(hops.iter().map(|hop| hop.client.as_deref().and_then(node)), &is_trusted)
    });
    let by_list = line(X_FORWARDED_FOR).map(|list| client(list.split(',').map(node), &is_trusted));
    let client = match (by_forwarded, by_list) {
        // The ports are left out by many.
        (Some(a), Some(b)) if a.map(|a| a.ip()) != b.map(|b| b.ip()) => {
            return Err(BadForwarded::Contradiction);
        }
        (Some(client), _) | (None, Some(client)) => client,
        (None, None) => None,
    };
    // The first entry is by the proxy next to the client. A client that lies here deceives itself.
    let first = hops.as_ref().and_then(|hops| hops.first());
    let proto = first_entry(headers, &X_FORWARDED_PROTO).or_else(|| first?.proto.clone());
    let host = first_entry(headers, &X_FORWARDED_HOST).or_else(|| first?.host.clone());
    Ok(Seen { client, proto: proto.map(|proto| proto.to_ascii_lowercase()), host })
}

/// Returns the first entry of a list, which the proxy next to the client wrote; `None` if it is not
/// ASCII.
pub fn first_entry(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let first = headers.get(name)?.to_str().ok()?.split(',').next()?.trim();
    (!first.is_empty()).then(|| first.to_owned())
}

/// Joins the lines of a list; a line that is not ASCII stands for somebody unknown.
pub fn joined<'l>(lines: impl Iterator<Item = &'l HeaderValue>) -> Option<String> {
    let lines: Vec<&str> = lines.map(|line| line.to_str().unwrap_or("unknown")).collect();
    (!lines.is_empty()).then(|| lines.join(", "))
}

/// Writes a list of `X-Forwarded-For` as `Forwarded` (RFC 7239 section 7.4).
pub fn as_forwarded(x_for: &str) -> String {
    let elements = x_for.split(',').map(|entry| match node(entry) {
        Some(SocketAddr::V4(address)) => format!("for={}", address.ip()),
        Some(SocketAddr::V6(address)) => format!("for=\"[{}]\"", address.ip()),
        None => "for=unknown".to_owned(),
    });
    elements.collect::<Vec<_>>().join(", ")
}

/// Writes `Forwarded` as a list of `X-Forwarded-For`.
pub fn as_x_for(forwarded: &str) -> String {
    let entries = parse(forwarded).unwrap_or_default().into_iter().map(|hop| {
        let client = hop.client.as_deref().and_then(node);
        client.map_or_else(|| "unknown".to_owned(), |client| client.ip().to_string())
    });
    entries.collect::<Vec<_>>().join(", ")
}

/// Walks a list from the right to the first address that is not trusted, or to its left end.
fn client(
    list: impl DoubleEndedIterator<Item = Option<SocketAddr>>,
    is_trusted: &impl Fn(IpAddr) -> bool,
) -> Option<SocketAddr> {
    let mut last = None;
    for entry in list.rev() {
        // Who is hidden here is not to be guessed from entries further left: anybody wrote them.
        let address = entry?;
        last = Some(address);
        if !is_trusted(address.ip()) {
            break;
        }
    }
    last
}

/// Reads `203.0.113.9`, `203.0.113.9:5`, `2001:db8::9`, `[2001:db8::9]` or `[2001:db8::9]:5`; the port
/// is 0 where none is named. `None` for `unknown` and hidden names.
fn node(text: &str) -> Option<SocketAddr> {
    let text = text.trim();
    let address = text.parse::<SocketAddr>().ok().or_else(|| {
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let ip = bare.map_or_else(|| text.parse().ok(), |ip| ip.parse().ok().map(IpAddr::V6))?;
        Some(SocketAddr::new(ip, 0))
    })?;
    Some(SocketAddr::new(address.ip().to_canonical(), address.port()))
}

/// An element of `Forwarded`.
#[derive(Debug, Default)]
struct Hop {
    client: Option<String>,
    proto: Option<String>,
    host: Option<String>,
}

/// Parses `Forwarded` (RFC 7239 section 4). It is read strictly: a quotation mark of the client could
/// otherwise swallow what a proxy added.
fn parse(line: &str) -> Result<Vec<Hop>, BadForwarded> {
    let mut hops = Vec::new();
    let mut rest = line;
    loop {
        let mut hop = Hop::default();
        let mut is_empty = true;
        loop {
            rest = rest.trim_start_matches([' ', '\t']);
            // Empty pairs and elements are permitted.
            if !rest.starts_with([';', ',']) && !rest.is_empty() {
                let (name, value, after) = pair(rest).ok_or(BadForwarded::Malformed)?;
                let place = match name.to_ascii_lowercase().as_str() {
                    "for" => Some(&mut hop.client),
                    "proto" => Some(&mut hop.proto),
                    "host" => Some(&mut hop.host),
                    _ => None,
                };
                // Each parameter at most once per element.
                if place.is_some_and(|place| place.replace(value).is_some()) {
                    return Err(BadForwarded::Malformed);
                }
                is_empty = false;
                rest = after.trim_start_matches([' ', '\t']);
            }
            match rest.strip_prefix(';') {
                Some(after) => rest = after,
                None => break,
            }
        }
        if !is_empty {
            hops.push(hop);
        }
        rest = match rest.strip_prefix(',') {
            Some(after) => after,
            None if rest.is_empty() => return Ok(hops),
            None => return Err(BadForwarded::Malformed),
        };
    }
}

/// Splits `name=value` or `name="value"` from the beginning of a text.
fn pair(text: &str) -> Option<(&str, String, &str)> {
    let (name, rest) = text.split_once('=').filter(|(name, _)| is_token(name))?;
    let Some(quoted) = rest.strip_prefix('"') else {
        // Colons and brackets need quotes, and many leave them out.
        let end = rest.find([',', ';', ' ', '\t']).unwrap_or(rest.len());
        let (value, rest) = rest.split_at(end);
        let is_value = |c| is_token_char(c) || b"[]:/".contains(&c);
        let is_good = !value.is_empty() && value.bytes().all(is_value);
        return is_good.then(|| (name, value.to_owned(), rest));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return Some((name, value, &quoted[at + 1..])),
            '\\' => value.push(characters.next()?.1),
            c if c.is_control() => return None,
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The proxies of these tests: 10.0.0.0/8 and `fd00::`.
    fn is_trusted(ip: IpAddr) -> bool {
        match ip {
            IpAddr::V4(ip) => ip.octets()[0] == 10,
            IpAddr::V6(ip) => ip.segments()[0] == 0xfd00,
        }
    }

    fn seen(lines: &[(&str, &str)]) -> Result<Seen, BadForwarded> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let name: HeaderName = name.parse().unwrap();
            headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        read(&headers, is_trusted)
    }

    fn x_for(list: &str) -> Option<String> {
        let seen = seen(&[("x-forwarded-for", list)]).unwrap();
        seen.client.map(|client| client.to_string())
    }

    fn forwarded(line: &str) -> Result<Seen, BadForwarded> {
        seen(&[("forwarded", line)])
    }

    #[test]
    fn the_client_is_the_first_from_the_right_that_is_not_trusted() {
        for (list, client) in [
            ("203.0.113.9", Some("203.0.113.9:0")),
            ("127.0.0.1, 203.0.113.9", Some("203.0.113.9:0")),
            ("1.2.3.4,203.0.113.9, 10.0.0.2 ,10.0.0.1", Some("203.0.113.9:0")),
            ("10.0.0.3, 10.0.0.2", Some("10.0.0.3:0")),
            ("203.0.113.9:51342", Some("203.0.113.9:51342")),
            ("2001:db8::9", Some("[2001:db8::9]:0")),
            ("[2001:db8::9]", Some("[2001:db8::9]:0")),
            ("[2001:db8::9]:7, fd00::1", Some("[2001:db8::9]:7")),
            ("::ffff:203.0.113.9", Some("203.0.113.9:0")),
            // Who is hidden stays so, whatever stands further left.
            ("1.2.3.4, unknown", None),
            ("1.2.3.4, _hidden, 10.0.0.1", None),
            ("1.2.3.4, ", None),
            ("", None),
        ] {
            assert_eq!(x_for(list).as_deref(), client, "{list:?}");
        }
    }

    #[test]
    fn forwarded_is_read_with_its_quotes() {
        let seen = forwarded(
            "for=1.2.3.4;by=x, For=\"[2001:db8:cafe::17]:4711\";Proto=HTTPS; host=\"a.b:1\" , for=10.0.0.1",
        );
        let client = Some("[2001:db8:cafe::17]:4711".parse().unwrap());
        assert_eq!(seen.unwrap().client, client);
        let seen =
            forwarded("for=203.0.113.9;proto=https;host=\"example.org\",for=10.0.0.1").unwrap();
        assert_eq!(seen.client, Some("203.0.113.9:0".parse().unwrap()));
        assert_eq!(
            (seen.proto.as_deref(), seen.host.as_deref()),
            (Some("https"), Some("example.org"))
        );
        for hidden in ["for=unknown", "for=_x", "proto=https", "for=1.2.3.4, proto=http", ";;,,"] {
            assert_eq!(forwarded(hidden).unwrap().client, None, "{hidden}");
        }
    }

    #[test]
    fn a_malformed_line_is_no_one_s_client() {
        for line in [
            "for=\"203.0.113.9",
            "for",
            "=1",
            "for=",
            "for=a b",
            "for=1.2.3.4;for=5.6.7.8",
            "for=\"a\"b",
            "for = 1.2.3.4",
            // The client's quotation mark swallows what the proxy added.
            "for=9.9.9.9;x=\", for=203.0.113.9",
            "for=9.9.9.9;x=\", for=\"[2001:db8::9]\"",
            "for=\"\\",
        ] {
            assert_eq!(forwarded(line), Err(BadForwarded::Malformed), "{line}");
        }
    }

    #[test]
    fn both_lists_must_name_one_client() {
        let both = |forwarded, x_for| {
            let seen = seen(&[("forwarded", forwarded), ("x-forwarded-for", x_for)]);
            seen.map(|seen| seen.client.map(|client| client.to_string()))
        };
        assert_eq!(both("for=203.0.113.9", "203.0.113.9"), Ok(Some("203.0.113.9:0".to_owned())));
        assert_eq!(
            both("for=\"203.0.113.9:7\"", "1.1.1.1, 203.0.113.9").unwrap().unwrap(),
            "203.0.113.9:7"
        );
        assert_eq!(both("for=unknown", "unknown"), Ok(None));
        for (forwarded, x_for) in [("for=9.9.9.9", "203.0.113.9"), ("for=unknown", "203.0.113.9")] {
            assert_eq!(both(forwarded, x_for), Err(BadForwarded::Contradiction));
        }
    }

    #[test]
    fn the_first_proto_and_host_are_those_of_the_client() {
        let forwarded = ("forwarded", "for=1.2.3.4;proto=http;host=inner");
        for (proto, host, due) in [
            ("HTTPS, http", "example.org , inner", ("https", "example.org")),
            ("", " ", ("http", "inner")),
        ] {
            let lines = [forwarded, ("x-forwarded-proto", proto), ("x-forwarded-host", host)];
            let seen = seen(&lines).unwrap();
            assert_eq!((seen.proto.as_deref(), seen.host.as_deref()), (Some(due.0), Some(due.1)));
        }
    }

    #[test]
    fn several_lines_are_one_list() {
        let lines = ["1.2.3.4", "203.0.113.9, 10.0.0.2", "10.0.0.1"];
        let seen = seen(&lines.map(|line| ("x-forwarded-for", line))).unwrap();
        assert_eq!(seen.client, Some("203.0.113.9:0".parse().unwrap()));
    }

    #[test]
    fn each_list_can_be_written_as_the_other() {
        let forwarded = as_forwarded("203.0.113.9:7, 2001:db8::9, x");
        assert_eq!(forwarded, "for=203.0.113.9, for=\"[2001:db8::9]\", for=unknown");
        assert_eq!(as_x_for(&forwarded), "203.0.113.9, 2001:db8::9, unknown");
        assert_eq!(as_x_for("for=\"broken"), "");
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in "[ -~\u{e9}\t]{0,80}") {
            let _ = forwarded(&text);
            let _ = x_for(&text);
        }

        #[test]
        fn whatever_the_client_sent_the_proxy_s_entry_counts(sent in "[ -~]{0,60}", ip: std::net::Ipv4Addr) {
            prop_assume!(!is_trusted(ip.into()));
            let client = SocketAddr::from((ip, 0));
            prop_assert_eq!(x_for(&format!("{sent}, {ip}")), Some(client.to_string()));
            match forwarded(&format!("{sent}, for={ip};proto=https")) {
                Ok(seen) => prop_assert_eq!(seen.client, Some(client)),
                Err(error) => prop_assert_eq!(error, BadForwarded::Malformed),
            }
        }
    }
}
