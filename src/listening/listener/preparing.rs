//! What comes between accepting a socket and its first request, in the order of the bytes on the wire:
//! the PROXY header of a balancer, and TLS. It runs in the task of the attempt, within `handshake_timeout`.

use std::pin::pin;

use http::StatusCode;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::room::Room;
use super::shared::Listener;
use super::under_way::UnderWay;
use super::visitor::Visitor;
use super::{OVERDUE, not_admitted};
use crate::node::slots::PendingSocket;
use crate::transport::any_socket::AnySocket;
use crate::transport::opening_handshake::{FailedHandshake, Refusal, refuse_unread};
use crate::transport::tls::{FailedAccept, OpenedTls, ServerTls, not_tls};
use crate::vocabulary::{OpenFailure, TransportEnd};

impl Listener {
    /// Prepares a socket that was accepted at `began`; what is found out about the client goes to
    /// `visitor`. Returns `None` if that failed, which is recorded then.
    pub(super) async fn prepare(
        &self,
        socket: AnySocket,
        visitor: &mut Visitor,
        arrived: &mut PendingSocket,
        room: &mut Room,
        began: Instant,
    ) -> Option<AnySocket> {
        let socket = self.identify(socket, visitor, arrived, began + self.timeout()).await?;
        let socket = match (&self.tls, socket) {
            (Some(tls), AnySocket::Tcp(socket)) => {
                // Boxed: the handshake's state is large, and gone once it is complete.
                let opening = Box::pin(self.open_tls(tls, socket, visitor, arrived, room, began));
                let OpenedTls { socket, version, subject } = opening.await?;
                (visitor.tls, visitor.subject) = (Some(version), subject);
                AnySocket::of_tls(socket)
            }
            (_, socket) => socket,
        };
        Some(socket)
    }

    async fn open_tls(
        &self,
        tls: &ServerTls,
        socket: TcpStream,
        visitor: &Visitor,
        arrived: &mut PendingSocket,
        room: &mut Room,
        began: Instant,
    ) -> Option<OpenedTls> {
        if !room.reserve_tls() {
            let text = "limits.memory is used up, so the client was sent an alert and no TLS";
            let (status, failure) = (StatusCode::SERVICE_UNAVAILABLE, OpenFailure::RefusedLimit);
            let refused = (Refusal::new(status, failure, text), room.refusal());
            self.turn_down(AnySocket::Tcp(socket), visitor, refused).await;
            return None;
        }
        let mut under_way = UnderWay::new(self, visitor);
        let deadline = began + self.timeout();
        let mut accept = pin!(tls.accept(socket));
        let mut opened = timeout_at(deadline.min(began + OVERDUE), accept.as_mut()).await;
        if opened.is_err() {
            if let Err(why) = arrived.overdue() {
                let (refusal, limit) = not_admitted(why);
                under_way.limit = limit;
                under_way.failed(local(refusal.failure, refusal.text));
                return None;
            }
            opened = timeout_at(deadline, accept).await;
        }
        let failed = match opened {
            Ok(Ok(opened)) => {
                under_way.over();
                return Some(opened);
            }
            Ok(Err(FailedAccept::PlainHttp(socket))) => refuse_unread(socket, not_tls()).await,
            Ok(Err(FailedAccept::Failed { failure, detail, transport_end })) => {
                FailedHandshake::unread(failure, transport_end, detail)
            }
            Err(_) => {
                let timeout = self.timeout();
                let detail = format!("the TLS handshake was not complete within {timeout:?}");
                local(OpenFailure::HandshakeTimeout, detail)
            }
        };
        under_way.failed(failed);
        None
    }
}

fn local(failure: OpenFailure, detail: String) -> Box<FailedHandshake> {
    FailedHandshake::unread(failure, TransportEnd::Local, detail)
}
