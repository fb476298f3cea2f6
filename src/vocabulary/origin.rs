//! Where a connection came from: the part of its record that is known when it opens.

use std::collections::BTreeMap;
use std::time::Duration;

words! {
    /// Which way a connection was opened.
    pub enum Direction {
        /// The peer connected to one of our listeners.
        Inbound = "inbound",
        /// This end dialled.
        Outbound = "outbound",
    }
}

words! {
    /// Which side of RFC 6455 this end plays: clients mask, servers end TCP first.
    pub enum Role {
        /// This end accepted the opening handshake.
        Server = "server",
        /// This end sent the opening handshake.
        Client = "client",
    }
}

/// What is known of a connection, or of an attempt, from its opening handshake.
///
/// What is unknown is `None`. Texts that a peer chose are at most 1 KiB and already masked as
/// `[records]` says.
#[derive(Debug, Clone, PartialEq)]
pub struct Origin {
    /// Which way it was opened.
    pub direction: Direction,
    /// The listener that accepted it.
    pub listener: Option<String>,
    /// The dialer that keeps it.
    pub dialer: Option<String>,
    /// The route that matched.
    pub route: Option<String>,
    /// Where its messages go: `echo`, `relay`, or what an embedder called its handler.
    pub backend: Option<String>,
    /// The peer's address, or the name of its Unix socket.
    pub peer: Option<String>,
    /// This end's address.
    pub local_addr: Option<String>,
    /// The version of TLS.
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
    /// Who it is, if authenticated.
    pub subject: Option<String>,
    /// Labels for people and selectors.
    pub tags: BTreeMap<String, String>,
    /// What this end dialled.
    pub upstream: Option<Upstream>,
}

impl Origin {
    /// Makes an origin of which only the direction is known.
    pub fn new(direction: Direction) -> Self {
        Self {
            direction,
            listener: None,
            dialer: None,
            route: None,
            backend: None,
            peer: None,
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

    /// Returns about how much memory it holds.
    pub(crate) fn held_bytes(&self) -> usize {
        let Self { path, user_agent, host, peer, local_addr, subject, traceparent, .. } = self;
        let texts =
            [path, user_agent, host, peer, local_addr, subject, traceparent, &self.subprotocol];
        let texts = texts.into_iter().flatten().map(|text| text.len() + 16).sum::<usize>();
        let tags = self.tags.iter().map(|(key, value)| key.len() + value.len() + 64).sum::<usize>();
        size_of::<Self>() + texts + tags
    }
}

/// What a dialled connection was dialled to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// The URL, masked as `[records]` says.
    pub url: String,
    /// Which of the route's applications it is, from 0; two may have one URL once it is masked.
    pub number: Option<usize>,
    /// The address that answered.
    pub addr: Option<String>,
    /// How long TCP (and TLS) took.
    pub connect: Option<Duration>,
    /// The HTTP status of the answer.
    pub status: Option<u16>,
}
