//! The PROXY protocol, versions 1 and 2: what a balancer says of its client before anything else.
//!
//! <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>. A header is read piece by piece:
//! [`parse`] says how many bytes certainly follow, so that none of what comes after it is read.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// The beginning of a header of version 1 (section 2.1).
const V1: &[u8] = b"PROXY ";

/// The beginning of a header of version 2 (section 2.2).
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The size of the longest header of version 1, with its line end.
const LONGEST_V1: usize = 107;

/// The most bytes that [`parse`] looks at: a line of version 1. Those of version 2 are fewer.
pub const LONGEST_READ: usize = LONGEST_V1;

/// The size of the shortest header: `PROXY UNKNOWN` with its line end.
const SHORTEST: usize = 15;

/// The size of the fixed part of version 2.
const FIXED_V2: usize = 16;

/// How much of a header is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsed {
    /// At least so many bytes follow.
    Incomplete(usize),
    /// All that counts.
    Complete {
        /// The client; `None` if the balancer speaks for itself, or does not say.
        client: Option<SocketAddr>,
        /// The bytes of the header that follow and may be skipped: fields of no use here.
        rest: usize,
    },
}

/// Why bytes are no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadProxyHeader {
    /// Something else came.
    #[error("it did not begin with a PROXY header")]
    Missing,
    /// The header has errors.
    #[error("its PROXY header is malformed: {0}")]
    Malformed(&'static str),
}

use BadProxyHeader::Malformed;

/// What a listener that takes no header answers to one.
pub const NOT_TAKEN: &str = "this listener takes no PROXY header: set proxy_protocol = true and \
                             trusted_proxies in it, or turn the header off in the proxy";

/// Returns whether the first bytes of a connection begin a header. Five are enough: neither a request
/// nor TLS begins in the same way.
pub fn begins_header(first: &[u8]) -> bool {
    [V1, V2].iter().any(|magic| first.starts_with(&magic[..5]))
}

/// Parses what has been read of a header.
///
/// # Errors
/// It can no longer become a header.
pub fn parse(read: &[u8]) -> Result<Parsed, BadProxyHeader> {
    let begins = |magic: &[u8]| read.iter().zip(magic).all(|(read, due)| read == due);
    if begins(V2) && !read.is_empty() {
        parse_v2(read)
    } else if begins(V1) {
        parse_v1(read)
    } else {
        Err(BadProxyHeader::Missing)
    }
}

fn parse_v1(read: &[u8]) -> Result<Parsed, BadProxyHeader> {
    let Some(end) = read.windows(2).position(|two| two == b"\r\n") else {
        let left = least_left_of_v1(read);
        return match read.len() + left <= LONGEST_V1 {
            true => Ok(Parsed::Incomplete(left)),
            false => Err(Malformed("the line is longer than 107 bytes")),
        };
    };
    let complete = |client| Ok(Parsed::Complete { client, rest: 0 });
    let line = read.get(V1.len()..end).unwrap_or_default();
    let line = std::str::from_utf8(line).map_err(|_| Malformed("the line is not ASCII"))?;
    let fields: Vec<&str> = line.split(' ').collect();
    let [family, source, destination, source_port, destination_port] = *fields else {
        // Whatever follows it is to be ignored.
        return match fields.first() {
            Some(&"UNKNOWN") => complete(None),
            Some(_) | None => Err(Malformed("the line does not have six fields")),
        };
    };
    if family == "UNKNOWN" {
        return complete(None);
    }
    let address = |ip: &str, port: &str| {
        let ip = match family {
            "TCP4" => ip.parse().ok().map(IpAddr::V4),
            "TCP6" => ip.parse().ok().map(IpAddr::V6),
            _ => return Err(Malformed("the protocol is not TCP4, TCP6 or UNKNOWN")),
        };
        let ip = ip.ok_or(Malformed("an address does not fit the protocol"))?;
        let port = read_port(port).ok_or(Malformed("a port is not a number from 0 to 65535"))?;
        Ok(SocketAddr::new(ip, port))
    };
    let client = address(source, source_port)?;
    address(destination, destination_port)?;
    complete(Some(client))
}

/// Returns how many bytes at least are missing from an unfinished line.
fn least_left_of_v1(read: &[u8]) -> usize {
    let line_end = if read.ends_with(b"\r") { 1 } else { 2 };
    if read.len() < SHORTEST {
        return SHORTEST - read.len();
    }
    // The least of each field behind the protocol, with the space before it.
    let fields: [usize; 4] = match read.get(V1.len()..V1.len() + 4) {
        Some(b"TCP4") => [8, 8, 2, 2],
        Some(b"TCP6") => [3, 3, 2, 2],
        Some(_) | None => [0; 4],
    };
    let begun = read.iter().filter(|byte| **byte == b' ').count().saturating_sub(1);
    fields.iter().skip(begun).sum::<usize>() + line_end
}

/// Reads a port as the specification writes it: digits without leading zeros.
fn read_port(text: &str) -> Option<u16> {
    let is_plain =
        text.bytes().all(|c| c.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    is_plain.then(|| text.parse().ok()).flatten()
}

fn parse_v2(read: &[u8]) -> Result<Parsed, BadProxyHeader> {
    let Some((fixed, block)) = read.split_at_checked(FIXED_V2) else {
        return Ok(Parsed::Incomplete(FIXED_V2 - read.len()));
    };
    let (command, family) = (fixed[12], fixed[13]);
    let length = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    let skipped = Ok(Parsed::Complete { client: None, rest: length });
    match command {
        // LOCAL: the balancer checks this end's health. Nothing else in the header counts.
        0x20 => return skipped,
        // PROXY.
        0x21 => {}
        _ => return Err(Malformed("the version is not 2, or the command neither LOCAL nor PROXY")),
    }
    let too_short = Err(Malformed("it is too short for its addresses"));
    // The family and the protocol, which is a stream or datagrams.
    let size = match family {
        0x00 => return skipped,
        0x11 | 0x12 => 12,
        0x21 | 0x22 => 36,
        // The client is on a Unix socket of the balancer's: its path means nothing here.
        0x31 | 0x32 => return if length < 216 { too_short } else { skipped },
        _ => return Err(Malformed("the address family or the protocol is unknown")),
    };
    if length < size {
        return too_short;
    }
    let Some(addresses) = block.get(..size) else {
        return Ok(Parsed::Incomplete(size - block.len()));
    };
    // Both addresses, then both ports; the source comes first.
    let ip = match *addresses {
        [a, b, c, d, ..] if size == 12 => IpAddr::from([a, b, c, d]),
        _ => addresses.first_chunk::<16>().map_or(Ipv6Addr::UNSPECIFIED.into(), |ip| (*ip).into()),
    };
    let port = u16::from_be_bytes([addresses[size - 4], addresses[size - 3]]);
    let client = Some(SocketAddr::new(ip, port));
    Ok(Parsed::Complete { client, rest: length - size })
}

#[cfg(test)]
mod tests;
