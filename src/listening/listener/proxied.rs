//! Clients behind a proxy in front of the listener: who they are, and who may say so.
//!
//! Two ways are known. A PROXY header names the client of a whole connection, before TLS. The lines
//! `Forwarded` and `X-Forwarded-*` name the client of one request.

use http::{HeaderMap, StatusCode};
use tokio::time::{Instant, timeout_at};

use super::not_admitted;
use super::shared::Listener;
use super::under_way::UnderWay;
use super::visitor::Visitor;
use crate::node::slots::PendingSocket;
use crate::protocol::classification::LossKind;
use crate::protocol::forwarded::{self, BadForwarded};
use crate::settings::Forwarded;
use crate::transport::any_socket::AnySocket;
use crate::transport::opening_handshake::{FailedHandshake, Refusal, Request, refuse_unread};
use crate::transport::proxy_header::{self, NoHeader};
use crate::transport::socket::SocketName;
use crate::transport::tls::ServerTls;
use crate::vocabulary::{Limit, OpenFailure, TransportEnd};

impl Listener {
    /// Makes a visitor of a peer that has just connected.
    pub(super) fn visitor(&self, peer: SocketName, local: Option<SocketName>) -> Visitor {
        let mut visitor = Visitor::new(peer, local);
        let is_trusted = self.proxies.trust(visitor.peer.ip());
        visitor.is_believed = is_trusted && self.proxies.forwarded == Forwarded::Trust;
        visitor.is_proxy = is_trusted && (visitor.is_believed || self.proxies.proxy_protocol);
        visitor
    }

    /// Reads the PROXY header of a connection, if the listener takes them. Returns `None` if that
    /// failed, which is recorded then.
    pub(super) async fn identify(
        &self,
        mut socket: AnySocket,
        visitor: &mut Visitor,
        arrived: &mut PendingSocket,
        deadline: Instant,
    ) -> Option<AnySocket> {
        if !self.proxies.proxy_protocol {
            return Some(socket);
        }
        if !self.proxies.trust(visitor.peer.ip()) {
            let text = format!(
                "{} is not among the trusted_proxies of this listener, which takes connections of \
                 those only",
                Named(&visitor.peer)
            );
            let refusal = Refusal::new(StatusCode::FORBIDDEN, OpenFailure::UntrustedProxy, text);
            self.turn_down(socket, visitor, (refusal, None)).await;
            return None;
        }
        let client = match timeout_at(deadline, proxy_header::read(&mut socket)).await {
            Ok(Ok(client)) => client,
            Ok(Err(NoHeader::Bad(bad))) => {
                let text = format!("{bad}: have the balancer send one, version 1 or 2");
                let (status, failure) = (StatusCode::BAD_REQUEST, OpenFailure::BadRequest);
                let refusal = Refusal::new(status, failure, text);
                self.turn_down(socket, visitor, (refusal, None)).await;
                return None;
            }
            Ok(Err(NoHeader::Ended { begun })) => {
                let what = if begun { "inside of its" } else { "before its" };
                let detail = format!("the peer closed the connection {what} PROXY header");
                self.lost(visitor, OpenFailure::PeerGone, TransportEnd::Fin, detail);
                return None;
            }
            Ok(Err(NoHeader::Io(error))) => {
                let end = match LossKind::from(&error) {
                    LossKind::Reset => TransportEnd::Reset,
                    _ => TransportEnd::Error,
                };
                let detail = format!("the connection failed before its PROXY header: {error}");
                self.lost(visitor, OpenFailure::PeerGone, end, detail);
                return None;
            }
            Err(_) => {
                let within = self.timeout();
                let detail = format!("the PROXY header was not complete within {within:?}");
                let failure = OpenFailure::HandshakeTimeout;
                self.lost(visitor, failure, TransportEnd::Local, detail);
                return None;
            }
        };
        // Without a client the balancer checks this end's health.
        let Some(client) = client else { return Some(socket) };
        let client = SocketName::tcp(client);
        visitor.via = Some(std::mem::replace(&mut visitor.peer, client));
        let is_trusted = self.proxies.trust(visitor.peer.ip());
        visitor.is_believed = is_trusted && self.proxies.forwarded == Forwarded::Trust;
        visitor.is_proxy = visitor.is_believed;
        match arrived.belongs_to(visitor.counted_ip()) {
            Ok(()) => Some(socket),
            Err(why) => {
                self.turn_down(socket, visitor, not_admitted(why)).await;
                None
            }
        }
    }

    /// Refuses a peer whose request was not read: with an alert, where TLS is due.
    pub(super) async fn turn_down(
        &self,
        socket: AnySocket,
        visitor: &Visitor,
        (refusal, limit): (Refusal, Option<Limit>),
    ) {
        let mut under_way = UnderWay::new(self, visitor);
        under_way.limit = limit;
        if self.tls.is_none() {
            return under_way.failed(refuse_unread(socket, refusal).await);
        }
        socket.answer_at_once(&ServerTls::ALERT);
        let Refusal { failure, text: detail, .. } = refusal;
        under_way.failed(FailedHandshake::unread(failure, TransportEnd::Local, detail));
    }

    fn lost(
        &self,
        visitor: &Visitor,
        failure: OpenFailure,
        transport_end: TransportEnd,
        detail: String,
    ) {
        let failed = FailedHandshake::unread(failure, transport_end, detail);
        UnderWay::new(self, visitor).failed(failed);
    }

    /// Returns whose request this is, if a proxy may have sent it for somebody else.
    ///
    /// # Errors
    /// What the proxy says can be read in two ways.
    pub(super) fn client_of(
        &self,
        headers: &HeaderMap,
        visitor: &Visitor,
    ) -> Result<Option<Visitor>, BadForwarded> {
        if !visitor.is_believed {
            return Ok(None);
        }
        let seen = forwarded::read(headers, |ip| self.proxies.trust(Some(ip)))?;
        let mut client = visitor.clone();
        if let Some(address) = seen.client {
            let named = match address.port() {
                0 => SocketName::Ip(address.ip()),
                _ => SocketName::tcp(address),
            };
            let sender = std::mem::replace(&mut client.peer, named);
            client.via.get_or_insert_with(|| sender.clone());
            client.sender = Some(sender);
            client.is_proxy = false;
        }
        client.told = Some(seen);
        Ok(Some(client))
    }

    /// As [`Listener::client_of`], with the refusal of the request.
    pub(super) fn client_of_request(
        &self,
        request: &Request,
        visitor: &Visitor,
    ) -> Result<Option<Visitor>, Refusal> {
        let client = self.client_of(request.headers(), visitor);
        let (status, failure) = (StatusCode::BAD_REQUEST, OpenFailure::BadRequest);
        client.map_err(|bad| Refusal::new(status, failure, bad.to_string()))
    }
}

/// A peer as a sentence names it.
struct Named<'a>(&'a SocketName);

impl std::fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.ip() {
            Some(ip) => ip.fmt(f),
            None => f.write_str("a client of this Unix socket (unix)"),
        }
    }
}
