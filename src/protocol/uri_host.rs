//! Validation of the host of a request, in `Host` and in targets of absolute form.

/// Returns whether a string is `uri-host [ ":" port ]` (RFC 9110 section 7.2, RFC 3986 section 3.2.2)
/// with a host that is not empty (RFC 9110 section 4.2.1).
pub fn is_host_and_port(text: &str) -> bool {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let Some((address, port)) = rest.split_once(']') else { return false };
        let future = || {
            let (version, rest) = address.strip_prefix(['v', 'V'])?.split_once('.')?;
            let hex = !version.is_empty() && version.bytes().all(|c| c.is_ascii_hexdigit());
            let rest_is_good = !rest.is_empty()
                && rest.bytes().all(|c| is_unreserved(c) || is_sub_delimiter(c) || c == b':');
            Some(hex && rest_is_good)
        };
        if address.parse::<std::net::Ipv6Addr>().is_err() && future() != Some(true) {
            return false;
        }
        ("", port)
    } else {
        let end = text.find(':').unwrap_or(text.len());
        let (host, port) = text.split_at(end);
        if host.is_empty() {
            return false;
        }
        (host, port)
    };
    let port_is_good = match port.strip_prefix(':') {
        None => port.is_empty(),
        Some(digits) => {
            digits.is_empty()
                || digits.bytes().all(|c| c.is_ascii_digit()) && digits.parse::<u16>().is_ok()
        }
    };
    port_is_good && is_registered_name(host.as_bytes())
}

/// Matches `reg-name` of RFC 3986 section 3.2.2: unreserved characters, percent-encoded octets and
/// sub-delimiters.
fn is_registered_name(mut name: &[u8]) -> bool {
    loop {
        name = match name {
            [] => return true,
            [b'%', high, low, rest @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                rest
            }
            [c, rest @ ..] if is_unreserved(*c) || is_sub_delimiter(*c) => rest,
            _ => return false,
        }
    }
}

const fn is_unreserved(c: u8) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, b'-' | b'.' | b'_' | b'~')
}

const fn is_sub_delimiter(c: u8) -> bool {
    matches!(c, b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=')
}
