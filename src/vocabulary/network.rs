//! Networks: what counts as one peer where peers share something.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::{Direction, Origin};

/// The network whose share of a ledger the ending of a connection or an attempt takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Network {
    /// What counts as one address.
    Ip(IpAddr),
    /// Unix sockets, and peers whose address is unknown.
    Local,
    /// Connections that this end dialled for no client.
    Dialled,
}

impl Network {
    /// Returns the network of the client, also for a connection that was dialled on its behalf.
    pub(crate) fn of(origin: &Origin) -> Self {
        let client = match origin.direction {
            Direction::Inbound => &origin.peer,
            Direction::Outbound if origin.client.is_none() => return Self::Dialled,
            Direction::Outbound => &origin.client,
        };
        let ip = client.as_deref().and_then(ip_of);
        ip.map_or(Self::Local, |ip| Self::Ip(network_of(ip)))
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip @ IpAddr::V4(_)) => write!(f, "{ip}"),
            Self::Ip(ip @ IpAddr::V6(_)) => write!(f, "{ip}/64"),
            Self::Local => f.write_str("local"),
            Self::Dialled => f.write_str("dialled"),
        }
    }
}

/// Returns what counts as one address: an IPv4 address, or an IPv6 /64.
pub(crate) fn network_of(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        ip @ IpAddr::V4(_) => ip,
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 64)).into(),
    }
}

/// Parses an address with a port or without: `10.0.0.5:8081`, `10.0.0.5`, `[::1]:8081` or `[::1]`.
pub(crate) fn ip_of(peer: &str) -> Option<IpAddr> {
    if let Ok(address) = peer.parse::<SocketAddr>() {
        return Some(address.ip().to_canonical());
    }
    let bare = peer.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(peer);
    bare.parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_takes_the_share_of_its_network() {
        for (peer, network) in [
            (Some("203.0.113.9:51342"), "203.0.113.9"),
            (Some("[::ffff:203.0.113.9]:5"), "203.0.113.9"),
            (Some("203.0.113.9"), "203.0.113.9"),
            (Some("[2001:db8:7:8::1]:5"), "2001:db8:7:8::/64"),
            (Some("[2001:db8:7:8:9::1]"), "2001:db8:7:8::/64"),
            (Some("unix:/run/x.sock"), "local"),
            (None, "local"),
        ] {
            let peer = peer.map(str::to_owned);
            let inbound = Origin { peer: peer.clone(), ..Origin::new(Direction::Inbound) };
            assert_eq!(Network::of(&inbound).to_string(), network);
        }
    }

    #[test]
    fn a_dialled_connection_takes_the_share_of_its_client() {
        let dialled = |client: Option<&str>| Origin {
            peer: Some("10.0.0.1:3000".into()),
            client: client.map(str::to_owned),
            ..Origin::new(Direction::Outbound)
        };
        assert_eq!(Network::of(&dialled(Some("203.0.113.9:5"))).to_string(), "203.0.113.9");
        assert_eq!(Network::of(&dialled(Some("unix:/run/x.sock"))), Network::Local);
        assert_eq!(Network::of(&dialled(None)), Network::Dialled);
    }

    #[test]
    fn an_address_is_read_with_a_port_and_without() {
        let ip = |text: &str| Some(text.parse::<IpAddr>().unwrap());
        assert_eq!(ip_of("10.0.0.5:8081"), ip("10.0.0.5"));
        assert_eq!(ip_of("10.0.0.5"), ip("10.0.0.5"));
        assert_eq!(ip_of("[::1]:8081"), ip("::1"));
        assert_eq!(ip_of("[::1]"), ip("::1"));
        for name in ["example.org", "10.0.0.5.example.org", "10.0.0.5:x", ""] {
            assert_eq!(ip_of(name), None, "{name}");
        }
    }
}
