//! Peers as people write them, and as they are recorded.

use std::net::{IpAddr, SocketAddr};

/// A peer that is asked for: an address with its port, or without, in any form in which IPv6 is
/// written; or a name or path as it is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PeerName {
    /// The whole peer as it is recorded, if that was asked for.
    pub(super) whole: String,
    /// What is recorded before the colon and the port.
    pub(super) address: String,
}

impl PeerName {
    pub(super) fn new(asked: &str) -> Self {
        if let Ok(address) = asked.parse::<SocketAddr>() {
            let recorded = SocketAddr::new(address.ip().to_canonical(), address.port()).to_string();
            return Self { whole: recorded.clone(), address: recorded };
        }
        let unbracketed = asked.strip_prefix('[').and_then(|asked| asked.strip_suffix(']'));
        let address = match unbracketed.unwrap_or(asked).parse::<IpAddr>() {
            Ok(address) => match address.to_canonical() {
                IpAddr::V4(address) => address.to_string(),
                IpAddr::V6(address) => format!("[{address}]"),
            },
            Err(_) => asked.to_owned(),
        };
        Self { whole: asked.to_owned(), address }
    }

    /// Returns whether a recorded peer is the one that is asked for.
    pub(super) fn is(&self, recorded: &str) -> bool {
        let port = recorded.strip_prefix(&*self.address);
        recorded == self.whole || port.is_some_and(|port| port.starts_with(':'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_found_in_every_form() {
        let v6 = "[2001:db8::1]:51342";
        for asked in [
            "2001:db8::1",
            "[2001:db8::1]",
            "[2001:db8::1]:51342",
            "2001:0DB8:0:0:0:0:0:1",
            "[2001:DB8::1]:51342",
        ] {
            assert!(PeerName::new(asked).is(v6), "{asked}");
        }
        for asked in
            ["203.0.113.9", "203.0.113.9:80", "::ffff:203.0.113.9", "[::ffff:203.0.113.9]:80"]
        {
            assert!(PeerName::new(asked).is("203.0.113.9:80"), "{asked}");
        }
        for (asked, recorded) in [("unix:/run/x", "unix:/run/x"), ("example.org", "example.org:80")]
        {
            assert!(PeerName::new(asked).is(recorded), "{asked}");
        }
    }

    #[test]
    fn others_are_not_taken_for_it() {
        for (asked, recorded) in [
            ("2001:db8::1", "[2001:db8::12]:80"),
            ("[2001:db8::1]:51342", "[2001:db8::1]:51343"),
            ("203.0.113.9", "203.0.113.90:80"),
            ("203.0.113.9:80", "203.0.113.9:8080"),
            ("::1", "[::1:1]:80"),
        ] {
            assert!(!PeerName::new(asked).is(recorded), "{asked}");
        }
    }
}
