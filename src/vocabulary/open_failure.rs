//! Why an opening handshake failed.

use std::fmt;

/// Why an opening handshake failed (CONTRACT: `open_failure`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OpenFailure {
    /// Too many connections, in total or from this address.
    RefusedLimit,
    /// Too many opening handshakes per second, in total or from this address.
    RefusedRate,
    /// The daemon is draining.
    RefusedDraining,
    /// The route does not allow the `Origin` of the request.
    RefusedOrigin,
    /// Only trusted proxies may connect to the listener, or name a client in a PROXY header.
    UntrustedProxy,
    /// Authentication failed.
    Unauthorized,
    /// Nobody could say whether the client may connect.
    AuthUnavailable,
    /// No route matches.
    NoRoute,
    /// The request is not a WebSocket opening handshake.
    BadRequest,
    /// The opening handshake took too long.
    HandshakeTimeout,
    /// The peer left before the handshake was complete.
    PeerGone,
    /// The host name could not be resolved.
    Dns,
    /// The TCP connection was refused.
    ConnectRefused,
    /// The TCP connection took too long to establish.
    ConnectTimeout,
    /// This machine has no free source port or descriptor for dialling.
    PortsExhausted,
    /// The TLS handshake failed.
    Tls,
    /// The server answered, but not with 101.
    UpgradeRejected {
        /// The HTTP status of the answer.
        status: u16,
    },
    /// The backend refused the connection.
    BackendRefused,
    /// The backend could not be reached.
    BackendUnreachable,
}

impl OpenFailure {
    /// The strings of the contract, in its order.
    pub const WORDS: [&'static str; 19] = [
        "refused_limit",
        "refused_rate",
        "refused_draining",
        "refused_origin",
        "untrusted_proxy",
        "unauthorized",
        "auth_unavailable",
        "no_route",
        "bad_request",
        "handshake_timeout",
        "peer_gone",
        "dns",
        "connect_refused",
        "connect_timeout",
        "ports_exhausted",
        "tls",
        "upgrade_rejected",
        "backend_refused",
        "backend_unreachable",
    ];

    /// Every failure in the order of [`Self::WORDS`], a rejected upgrade with status 0.
    pub const ALL: [Self; 19] = [
        Self::RefusedLimit,
        Self::RefusedRate,
        Self::RefusedDraining,
        Self::RefusedOrigin,
        Self::UntrustedProxy,
        Self::Unauthorized,
        Self::AuthUnavailable,
        Self::NoRoute,
        Self::BadRequest,
        Self::HandshakeTimeout,
        Self::PeerGone,
        Self::Dns,
        Self::ConnectRefused,
        Self::ConnectTimeout,
        Self::PortsExhausted,
        Self::Tls,
        Self::UpgradeRejected { status: 0 },
        Self::BackendRefused,
        Self::BackendUnreachable,
    ];

    /// Returns the string of the contract.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RefusedLimit => "refused_limit",
            Self::RefusedRate => "refused_rate",
            Self::RefusedDraining => "refused_draining",
            Self::RefusedOrigin => "refused_origin",
            Self::UntrustedProxy => "untrusted_proxy",
            Self::Unauthorized => "unauthorized",
            Self::AuthUnavailable => "auth_unavailable",
            Self::NoRoute => "no_route",
            Self::BadRequest => "bad_request",
            Self::HandshakeTimeout => "handshake_timeout",
            Self::PeerGone => "peer_gone",
            Self::Dns => "dns",
            Self::ConnectRefused => "connect_refused",
            Self::ConnectTimeout => "connect_timeout",
            Self::PortsExhausted => "ports_exhausted",
            Self::Tls => "tls",
            Self::UpgradeRejected { .. } => "upgrade_rejected",
            Self::BackendRefused => "backend_refused",
            Self::BackendUnreachable => "backend_unreachable",
        }
    }
}

impl fmt::Display for OpenFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_those_of_all_failures() {
        assert_eq!(OpenFailure::ALL.map(OpenFailure::as_str), OpenFailure::WORDS);
    }
}
