//! The client of an attempt.

use std::net::IpAddr;
use std::time::SystemTime;

use crate::protocol::forwarded::Seen;
use crate::protocol::url::Scheme;
use crate::relay::Hop;
use crate::transport::opening_handshake::Request;
use crate::transport::socket::SocketName;

/// The client of an attempt: its addresses, when it connected, what proxies in front say of it, and what
/// is known before its request.
#[derive(Debug, Clone)]
pub(super) struct Visitor {
    /// The client, as far as is known.
    pub(super) peer: SocketName,
    /// The proxy that connected for it.
    pub(super) via: Option<SocketName>,
    /// The proxy that sent the request for it.
    pub(super) sender: Option<SocketName>,
    /// Whether the peer is a trusted proxy: no client is known yet.
    pub(super) is_proxy: bool,
    /// Whether `Forwarded` and `X-Forwarded-*` of its requests are believed.
    pub(super) is_believed: bool,
    /// What they say of the request, if they are believed.
    pub(super) told: Option<Seen>,
    pub(super) local: Option<SocketName>,
    pub(super) began: SystemTime,
    /// The TLS version.
    pub(super) tls: Option<&'static str>,
    /// Who its certificate was issued to.
    pub(super) subject: Option<String>,
}

impl Visitor {
    pub(super) fn new(peer: SocketName, local: Option<SocketName>) -> Self {
        Self {
            peer,
            via: None,
            sender: None,
            is_proxy: false,
            is_believed: false,
            told: None,
            local,
            began: SystemTime::now(),
            tls: None,
            subject: None,
        }
    }

    /// Returns the scheme of its requests.
    pub(super) fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// Returns the address that limits per address count; `None` for a proxy, whose connections are
    /// those of its clients.
    pub(super) fn counted_ip(&self) -> Option<IpAddr> {
        self.peer.ip().filter(|_| !self.is_proxy)
    }

    /// Returns whether the client uses TLS, as far as is known.
    pub(super) fn over_tls(&self) -> bool {
        let proto = self.told.as_ref().and_then(|told| told.proto.as_deref());
        proto
            .map_or(self.tls.is_some(), |proto| Scheme::named(proto).is_some_and(Scheme::is_secure))
    }

    /// Returns the hop that its requests come over.
    pub(super) fn hop(&self) -> Hop<'_> {
        let peer = self.sender.as_ref().unwrap_or(&self.peer);
        Hop { peer, scheme: self.scheme(), told: self.told.as_ref() }
    }

    /// Returns the host that the client asked for, as far as is known.
    pub(super) fn host<'v>(&'v self, request: &'v Request) -> Option<&'v str> {
        let told = self.told.as_ref().and_then(|told| told.host.as_deref());
        told.or_else(|| request.host())
    }
}
