//! Matches a peer as a person writes it against recorded peers.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

/// A requested peer: an address in any notation, with or without port and zone, or a text as recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PeerFilter {
    spellings: Vec<Spelling>,
    is_address: bool,
}

/// Recorded texts that a filter matches. There are few per filter, so that an index can find them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Spelling {
    /// This text.
    Exactly(String),
    /// Texts that begin with the first and end with the second.
    Between(String, String),
}

impl PeerFilter {
    /// Parses a peer as logs, `ss`, browsers and people write it: `203.0.113.9:51342`, `::1`, `[::1]`,
    /// `[::1]:8080`, `::ffff:203.0.113.9`, `fe80::1%2`, `unix:/run/x.sock`.
    pub(crate) fn parse(asked: &str) -> Self {
        let asked = asked.trim();
        if let Some(address) = Address::parse(asked) {
            return Self { spellings: address.spellings(), is_address: true };
        }
        let mut spellings = vec![Spelling::Exactly(asked.to_owned())];
        let is_address = asked.starts_with("unix:");
        if !is_address {
            // A name, whose port is as free as that of an address. A path may contain a colon itself.
            spellings.push(Spelling::Between(format!("{asked}:"), String::new()));
        }
        Self { spellings, is_address }
    }

    /// Returns whether the text could be nothing but a peer.
    pub(crate) fn is_address(&self) -> bool {
        self.is_address
    }

    /// Returns whether a recorded peer matches.
    pub(crate) fn matches(&self, recorded: &str) -> bool {
        self.spellings.iter().any(|spelling| match spelling {
            Spelling::Exactly(text) => text == recorded,
            Spelling::Between(start, end) => {
                recorded.strip_prefix(&**start).is_some_and(|rest| rest.ends_with(&**end))
            }
        })
    }

    /// Returns how a peer that matches may have been recorded.
    pub(crate) fn spellings(&self) -> &[Spelling] {
        &self.spellings
    }
}

/// An address as it was asked for.
struct Address<'a> {
    /// The address; an IPv4 address that was written as a mapped one is IPv4.
    ip: IpAddr,
    /// The zone of a link-local address; a recorded peer without one may be in any zone.
    zone: Option<&'a str>,
    /// The port; `None` means any.
    port: Option<u16>,
}

impl<'a> Address<'a> {
    fn parse(asked: &'a str) -> Option<Self> {
        // A zone stands before the bracket: `[fe80::1%eth0]:80`.
        let (without_zone, zone) = match asked.split_once('%') {
            None => (Cow::Borrowed(asked), None),
            Some((before, rest)) => {
                let (zone, after) = rest.split_at(rest.find(']').unwrap_or(rest.len()));
                (Cow::Owned(format!("{before}{after}")), Some(zone))
            }
        };
        let (ip, port) = match without_zone.parse::<SocketAddr>() {
            Ok(address) => (address.ip(), Some(address.port())),
            Err(_) => {
                let bare = without_zone.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
                (bare.unwrap_or(&without_zone).parse().ok()?, None)
            }
        };
        match (ip.to_canonical(), zone) {
            (IpAddr::V4(_), Some(_)) | (IpAddr::V6(_), Some("")) => None,
            // Zone 0 means that none was chosen.
            (ip, zone) => Some(Self { ip, zone: zone.filter(|zone| *zone != "0"), port }),
        }
    }

    fn spellings(&self) -> Vec<Spelling> {
        let mut spellings = Vec::new();
        let mut add = |host: String| match self.port {
            Some(port) => spellings.push(Spelling::Exactly(format!("{host}:{port}"))),
            None => {
                spellings.push(Spelling::Between(format!("{host}:"), String::new()));
                spellings.push(Spelling::Exactly(host));
            }
        };
        match (self.ip, self.zone) {
            (IpAddr::V4(ip), _) => {
                add(ip.to_string());
                // A server that was dialled by a mapped address is recorded by it.
                add(format!("[{}]", ip.to_ipv6_mapped()));
            }
            (IpAddr::V6(ip), Some(zone)) => {
                add(format!("[{ip}]"));
                add(format!("[{ip}%{zone}]"));
            }
            (IpAddr::V6(ip), None) => {
                add(format!("[{ip}]"));
                let end = self.port.map_or(String::new(), |port| format!("]:{port}"));
                spellings.push(Spelling::Between(format!("[{ip}%"), end));
            }
        }
        spellings
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV6};

    use proptest::prelude::*;

    use super::*;

    fn matches(asked: &str, recorded: &str) -> bool {
        PeerFilter::parse(asked).matches(recorded)
    }

    #[test]
    fn an_address_is_found_in_every_form() {
        for (recorded, asked) in [
            (
                "[2001:db8::1]:51342",
                &[
                    "2001:db8::1",
                    "[2001:db8::1]",
                    "[2001:db8::1]:51342",
                    "2001:0DB8:0:0:0:0:0:1",
                    "[2001:DB8::1]:51342",
                    "[2001:0db8:0000:0000:0000:0000:0000:0001]:51342",
                    " 2001:db8::1 ",
                ][..],
            ),
            ("[2001:db8::1]", &["2001:db8::1", "[2001:db8::1]", "2001:0DB8:0:0:0:0:0:1"]),
            ("[::1]:8080", &["::1", "[::1]", "[::1]:8080", "0:0:0:0:0:0:0:1", "::0.0.0.1"]),
            (
                "127.0.0.1:80",
                &[
                    "127.0.0.1",
                    "127.0.0.1:80",
                    "::ffff:127.0.0.1",
                    "::FFFF:127.0.0.1",
                    "[::ffff:127.0.0.1]",
                    "[::ffff:127.0.0.1]:80",
                    "::ffff:7f00:1",
                    "[0:0:0:0:0:ffff:7f00:0001]:80",
                ],
            ),
            ("203.0.113.9", &["203.0.113.9", "::ffff:203.0.113.9"]),
            (
                "[::ffff:127.0.0.1]:80",
                &["127.0.0.1", "127.0.0.1:80", "::ffff:127.0.0.1", "[::ffff:127.0.0.1]:80"],
            ),
            (
                "[fe80::1%2]:80",
                &[
                    "fe80::1",
                    "[fe80::1]",
                    "[fe80::1]:80",
                    "fe80::1%2",
                    "[FE80::1%2]",
                    "[fe80::1%2]:80",
                ],
            ),
            ("[fe80::1%2]", &["fe80::1", "fe80::1%2", "[fe80::1%2]"]),
            // What accepts connections knows no zones.
            ("[fe80::1]:80", &["fe80::1%eth0", "[fe80::1%eth0]", "[fe80::1%eth0]:80", "fe80::1%0"]),
            ("unix:/run/a:b.sock", &["unix:/run/a:b.sock"]),
            ("unix:", &["unix:"]),
            ("example.org:80", &["example.org", "example.org:80"]),
        ] {
            for asked in asked {
                assert!(matches(asked, recorded), "{asked} is {recorded}");
            }
        }
    }

    #[test]
    fn others_are_not_taken_for_it() {
        for (asked, recorded) in [
            ("2001:db8::1", "[2001:db8::12]:80"),
            ("[2001:db8::1]:51342", "[2001:db8::1]:51343"),
            ("203.0.113.9", "203.0.113.90:80"),
            ("203.0.113.9:80", "203.0.113.9:8080"),
            ("203.0.113.9:80", "203.0.113.9"),
            ("127.0.0.1:80", "[::ffff:127.0.0.1]:8080"),
            ("::1", "[::1:1]:80"),
            ("fe80::1%2", "[fe80::1%3]:80"),
            ("[fe80::1]:80", "[fe80::1%2]:8080"),
            ("[fe80::1%2]:80", "[fe80::1%2]:8080"),
            ("unix:/run/x", "unix:/run/x:y"),
            ("unix:", "unix:/run/x"),
            ("", "203.0.113.9:80"),
        ] {
            assert!(!matches(asked, recorded), "{asked} is not {recorded}");
        }
    }

    #[test]
    fn what_is_no_address_is_a_text() {
        for text in ["ann", "10.0.0", "10.0.0.1:x", "10.0.0.1%2", "[::1", "::1%", "[::1]:", "1:2"] {
            assert!(matches(text, text) && !PeerFilter::parse(text).is_address(), "{text}");
        }
        for text in ["::1", "[::1]:80", "10.0.0.1", "fe80::1%eth0", "unix:", "unix:/run/x"] {
            assert!(PeerFilter::parse(text).is_address(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_address_finds_its_own_record(bits: u128, v4: u32, port: u16, other: u16, zone in 0..9u32) {
            let six = Ipv6Addr::from_bits(bits);
            let whole = six.segments().map(|part| format!("{part:04X}")).join(":");
            let four = Ipv4Addr::from_bits(v4);
            let scoped = SocketAddrV6::new(six, port, 0, zone).to_string();
            for (recorded, asked) in [
                (scoped.clone(), vec![six.to_string(), whole.clone(), scoped]),
                (SocketAddr::new(six.into(), port).to_string(), vec![
                    six.to_string(), format!("[{six}]"), whole.clone(), format!("[{whole}]:{port}"),
                ]),
                (SocketAddr::new(four.into(), port).to_string(), vec![
                    four.to_string(),
                    format!("{four}:{port}"),
                    four.to_ipv6_mapped().to_string(),
                    format!("[{}]:{port}", four.to_ipv6_mapped()),
                ]),
            ] {
                for asked in asked {
                    prop_assert!(matches(&asked, &recorded), "{} is {}", asked, recorded);
                }
            }
            let recorded = SocketAddr::new(six.into(), port).to_string();
            let differs = format!("[{whole}]:{other}");
            prop_assert_eq!(matches(&differs, &recorded), other == port);
        }

        #[test]
        fn no_text_is_too_odd(asked in "[0-9a-f:.%\\[\\]]{0,24}|\\PC{0,24}") {
            prop_assert!(!PeerFilter::parse(&asked).spellings().is_empty());
        }
    }
}
