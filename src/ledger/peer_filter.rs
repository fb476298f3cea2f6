//! Matches a peer as a person writes it against recorded peers.

use std::net::{IpAddr, SocketAddr};

/// A requested peer: an address with or without port, in any notation of IPv6, or a name or path as
/// recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PeerFilter {
    /// The whole peer as recorded, if that was requested.
    pub(super) whole: String,
    /// The part before the colon and the port; a peer may have been recorded without those.
    pub(super) address: String,
}

impl PeerFilter {
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

    /// Returns whether a recorded peer matches.
    pub(super) fn matches(&self, recorded: &str) -> bool {
        let port = recorded.strip_prefix(&*self.address);
        recorded == self.whole || port.is_some_and(|port| port.is_empty() || port.starts_with(':'))
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
            assert!(PeerFilter::new(asked).matches(v6), "{asked}");
        }
        for asked in
            ["203.0.113.9", "203.0.113.9:80", "::ffff:203.0.113.9", "[::ffff:203.0.113.9]:80"]
        {
            assert!(PeerFilter::new(asked).matches("203.0.113.9:80"), "{asked}");
        }
        for asked in ["2001:db8::1", "[2001:db8::1]", "2001:0DB8:0:0:0:0:0:1"] {
            assert!(PeerFilter::new(asked).matches("[2001:db8::1]"), "{asked}");
        }
        assert!(PeerFilter::new("::ffff:203.0.113.9").matches("203.0.113.9"));
        for (asked, recorded) in [("unix:/run/x", "unix:/run/x"), ("example.org", "example.org:80")]
        {
            assert!(PeerFilter::new(asked).matches(recorded), "{asked}");
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
            ("::1", "[::1:1]:80"),
        ] {
            assert!(!PeerFilter::new(asked).matches(recorded), "{asked}");
        }
    }
}
