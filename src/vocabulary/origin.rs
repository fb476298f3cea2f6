//! The origin of a connection: the part of its record that is known when it opens.

use std::collections::BTreeMap;
use std::time::Duration;

contract_enum! {
    /// Which side opened a connection.
    pub enum Direction {
        /// The peer connected to one of our listeners.
        Inbound = "inbound",
        /// This end dialled.
        Outbound = "outbound",
    }
}

contract_enum! {
    /// The role of this end in RFC 6455: clients mask (section 5.1), servers close TCP first (7.1.1).
    pub enum Role {
        /// This end accepted the opening handshake.
        Server = "server",
        /// This end sent the opening handshake.
        Client = "client",
    }
}

/// What the opening handshake tells about a connection or an attempt.
///
/// Unknown values are `None`. Strings chosen by the peer are cut to 1 KiB and masked as `[records]`
/// configures.
#[derive(Debug, Clone, PartialEq)]
pub struct Origin {
    /// Which side opened it.
    pub direction: Direction,
    /// The listener that accepted it.
    pub listener: Option<String>,
    /// The dialer that keeps it.
    pub dialer: Option<String>,
    /// The route that matched.
    pub route: Option<String>,
    /// Where its messages go: `echo`, `relay`, or the name of an embedder's handler.
    pub backend: Option<String>,
    /// The peer's address, or the path of its Unix socket.
    pub peer: Option<String>,
    /// The proxy in front through which it came, if that is not the peer.
    pub via: Option<String>,
    /// The client on whose behalf this end dialled: its peer, as above. It is not in the record, where
    /// `relay_peer` names the client's connection.
    pub client: Option<String>,
    /// This end's address.
    pub local_addr: Option<String>,
    /// The TLS version.
    pub tls: Option<String>,
    /// The `Host` of the request.
    pub host: Option<String>,
    /// The path and the masked query of the request.
    pub path: Option<String>,
    /// The subprotocol that was agreed on.
    pub subprotocol: Option<String>,
    /// The `User-Agent` of the request.
    pub user_agent: Option<String>,
    /// The W3C trace context of the request.
    pub traceparent: Option<String>,
    /// The authenticated subject.
    pub subject: Option<String>,
    /// The tags, for people and selectors.
    pub tags: BTreeMap<String, String>,
    /// The server that this end dialled.
    pub upstream: Option<Upstream>,
}

impl Origin {
    /// Returns the HTTP status with which an application refused the client that it was asked about;
    /// `None` if its 101 could not be used.
    pub(crate) fn refused_with(&self) -> Option<u16> {
        let status = self.upstream.as_ref()?.status?;
        // What a client's route dialled is the application.
        (self.direction == Direction::Inbound && status != 101).then_some(status)
    }

    /// Makes an origin with only the direction known.
    pub fn new(direction: Direction) -> Self {
        Self {
            direction,
            listener: None,
            dialer: None,
            route: None,
            backend: None,
            peer: None,
            via: None,
            client: None,
            local_addr: None,
            tls: None,
            host: None,
            path: None,
            subprotocol: None,
            user_agent: None,
            traceparent: None,
            subject: None,
            tags: BTreeMap::new(),
            upstream: None,
        }
    }

    /// Returns the approximate memory it occupies, in bytes.
    pub(crate) fn held_bytes(&self) -> usize {
        let Self { path, user_agent, host, peer, via, client, local_addr, .. } = self;
        let Self { subject, traceparent, subprotocol, .. } = self;
        let texts = [
            path,
            user_agent,
            host,
            peer,
            via,
            client,
            local_addr,
            subject,
            traceparent,
            subprotocol,
        ];
        let texts = texts.into_iter().flatten().map(|text| text.len() + 16).sum::<usize>();
        let tags = self.tags.iter().map(|(key, value)| key.len() + value.len() + 64).sum::<usize>();
        size_of::<Self>() + texts + tags
    }
}

/// The server of a dialled connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// The URL, masked as `[records]` configures.
    pub url: String,
    /// The number of the application in its route, from 0; masked URLs may be equal.
    pub number: Option<usize>,
    /// The address that answered.
    pub addr: Option<String>,
    /// How long TCP and TLS took to connect.
    pub connect: Option<Duration>,
    /// The HTTP status of the answer.
    pub status: Option<u16>,
}
