//! Which proxies in front of a listener are believed, and what.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::Deserialize;
use serde::de::Deserializer;

use super::values::{self, InvalidValue};

/// An entry of `trusted_proxies`: a network such as `10.0.0.0/8`, an address, or `unix` for every
/// client of a Unix socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TrustedProxy(Kind);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Unix,
    Network {
        ip: IpAddr,
        /// The number of leading bits that count.
        bits: u8,
    },
}

impl TrustedProxy {
    /// Returns whether it includes a peer at this address; a peer without one is on a Unix socket.
    pub fn includes(&self, peer: Option<IpAddr>) -> bool {
        match (self.0, peer) {
            (Kind::Unix, None) => true,
            (Kind::Network { ip, bits }, Some(peer)) => {
                let peer = peer.to_canonical();
                ip.is_ipv4() == peer.is_ipv4() && masked(ip, bits) == masked(peer, bits)
            }
            (Kind::Unix, Some(_)) | (Kind::Network { .. }, None) => false,
        }
    }
}

/// Returns the leading bits of an address.
fn masked(ip: IpAddr, bits: u8) -> u128 {
    let (all, width) = match ip {
        IpAddr::V4(ip) => (u128::from(ip.to_bits()), 32),
        IpAddr::V6(ip) => (ip.to_bits(), 128),
    };
    all.checked_shr(u32::from(width - bits.min(width))).unwrap_or(0)
}

impl FromStr for TrustedProxy {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        if text == "unix" {
            return Ok(Self(Kind::Unix));
        }
        let invalid = || InvalidValue::Network(text.to_owned());
        let (ip, bits) = match text.split_once('/') {
            Some((ip, bits)) if bits.bytes().all(|c| c.is_ascii_digit()) => {
                (ip, Some(bits.parse::<u8>().map_err(|_| invalid())?))
            }
            Some(_) => return Err(invalid()),
            None => (text, None),
        };
        let ip: IpAddr = ip.parse().map_err(|_| invalid())?;
        let width = if ip.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(width);
        // Peers are compared as IPv4 wherever they are: a mapped network could never match.
        if bits > width || ip != ip.to_canonical() {
            return Err(invalid());
        }
        // `10.1.2.3/8` could mean the address or the network.
        let shift = u32::from(width - bits);
        let rest = masked(ip, width) & 1_u128.checked_shl(shift).map_or(u128::MAX, |bit| bit - 1);
        if rest != 0 {
            return Err(invalid());
        }
        Ok(Self(Kind::Network { ip, bits }))
    }
}

impl fmt::Display for TrustedProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Kind::Unix => f.write_str("unix"),
            Kind::Network { ip, bits } => write!(f, "{ip}/{bits}"),
        }
    }
}

impl<'de> Deserialize<'de> for TrustedProxy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        values::text(deserializer, "a network such as \"10.0.0.0/8\"", Self::from_str)
    }
}

/// What becomes of `Forwarded` and `X-Forwarded-*` in requests from `trusted_proxies`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Forwarded {
    /// They are replaced, as those of everybody else.
    #[default]
    Replace,
    /// They name the client, and are continued on their way to an application.
    Trust,
}

/// The proxies in front of a listener, and how they name the client.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Proxies {
    /// Those that are believed.
    pub trusted: Vec<TrustedProxy>,
    /// Whether each connection begins with a PROXY header, version 1 or 2.
    pub proxy_protocol: bool,
    /// What becomes of `Forwarded` and `X-Forwarded-*`.
    pub forwarded: Forwarded,
}

impl Proxies {
    /// Returns whether a peer at this address is believed; one without an address is on a Unix socket.
    pub fn trust(&self, peer: Option<IpAddr>) -> bool {
        self.trusted.iter().any(|proxy| proxy.includes(peer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn includes(network: &str, peer: &str) -> bool {
        let proxy: TrustedProxy = network.parse().unwrap();
        assert_eq!(proxy.to_string().parse(), Ok(proxy));
        proxy.includes(Some(peer.parse().unwrap()))
    }

    #[test]
    fn a_network_includes_its_addresses() {
        for (network, peer) in [
            ("10.0.0.0/8", "10.255.0.1"),
            ("10.0.0.1", "10.0.0.1"),
            ("10.0.0.1/32", "::ffff:10.0.0.1"),
            ("0.0.0.0/0", "203.0.113.9"),
            ("192.168.1.128/25", "192.168.1.200"),
            ("fd00::/8", "fd12::1"),
            ("::1", "::1"),
            ("::/0", "2001:db8::9"),
            ("2001:db8::/33", "2001:db8:7fff::1"),
        ] {
            assert!(includes(network, peer), "{network} {peer}");
        }
        for (network, peer) in [
            ("10.0.0.0/8", "11.0.0.1"),
            ("10.0.0.1", "10.0.0.2"),
            ("0.0.0.0/0", "2001:db8::9"),
            ("::/0", "203.0.113.9"),
            ("192.168.1.128/25", "192.168.1.100"),
            ("2001:db8::/33", "2001:db8:8000::1"),
        ] {
            assert!(!includes(network, peer), "{network} {peer}");
        }
        let unix: TrustedProxy = "unix".parse().unwrap();
        assert!(unix.includes(None) && !unix.includes(Some([10, 0, 0, 1].into())));
        assert!(!"0.0.0.0/0".parse::<TrustedProxy>().unwrap().includes(None));
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in [
            "",
            "10",
            "10.0.0.0/33",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "10.0.0.0/x",
            "::1/129",
            "example.org",
            "10.1.2.3/8",
            "fd00::1/8",
            "1.2.3.4/0",
            "::ffff:10.0.0.0/104",
            "10.0.0.0-10.0.0.9",
            "Unix",
        ] {
            assert_eq!(text.parse::<TrustedProxy>(), Err(InvalidValue::Network(text.to_owned())));
        }
    }
}
