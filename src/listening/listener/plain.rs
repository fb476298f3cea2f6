//! Plain HTTP clients: they are proxied until they ask for a WebSocket.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};

use super::RETRY_AFTER;
use super::shared::Listener;
use super::visitor::Visitor;
use crate::relay::{PlainClient, PlainRoute, Proxying, Relay};
use crate::transport::any_socket::AnySocket;
use crate::transport::http_proxy::Served;
use crate::transport::opening_handshake::{Received, Refusal, Request};
use crate::vocabulary::{HttpOutcome, OpenFailure};

impl Listener {
    /// Returns the relay that proxies this request as plain HTTP, if there is one.
    pub(super) fn takes_plain(&self, request: &Request) -> Option<Arc<Relay>> {
        if request.asks_for_websocket() {
            // `decide` looks up its route.
            return None;
        }
        let path = match (request.path(), request.method()) {
            ("*", &Method::OPTIONS) => "/",
            (path, _) => path,
        };
        let host = request.host();
        let relay = self.route_of(host, path)?.application()?;
        relay.takes_plain(request.method().as_str()).then(|| Arc::clone(relay))
    }

    /// Proxies the requests of a client, beginning with `received`. If the client then asks for a
    /// WebSocket, returns its socket and the bytes read.
    pub(super) async fn pass_plain(
        self: &Arc<Self>,
        relay: &Relay,
        received: Received<AnySocket>,
        visitor: &Visitor,
    ) -> Option<(AnySocket, Bytes)> {
        let session = relay.session();
        let _place = match self.node.plain.enter(visitor.counted_ip(), &session) {
            Ok(slot) => slot,
            Err(refused) => {
                self.node.plain.count(HttpOutcome::RefusedLimit);
                let limit = refused.limit;
                let text = format!(
                    "{} is {}, and that many are open: try again later",
                    limit.name, limit.limit
                );
                let status = StatusCode::SERVICE_UNAVAILABLE;
                let refusal = Refusal::new(status, OpenFailure::RefusedLimit, text);
                // Plain requests are not recorded.
                let _ = received.refuse(refusal.retry_after(RETRY_AFTER)).await;
                return None;
            }
        };
        let find = |host: Option<&str>, path: &str| {
            // A client may stay for long: each of its requests follows the routes of its time.
            let latest = self.latest();
            let route = latest.route_of(host, path)?;
            let relay = Arc::clone(route.application()?);
            let auth = route.auth().map(Arc::clone);
            Some(PlainRoute { relay, auth, client: OnceLock::new() })
        };
        let client_of = |headers: &HeaderMap| match self.client_of(headers, visitor) {
            Ok(Some(Visitor { peer, told, .. })) => Ok(PlainClient { peer, told }),
            Ok(None) => Ok(PlainClient { peer: visitor.peer.clone(), told: None }),
            Err(bad) => Err(bad.to_string()),
        };
        let proxying = Proxying {
            node: &self.node,
            find: &find,
            hop: visitor.hop(),
            client_of: &client_of,
            subject: visitor.subject.as_deref(),
        };
        let (socket, read) = received.rewind();
        match proxying.serve(socket, read, session).await {
            Served::Closed => None,
            Served::HandedBack(socket, read) => Some((socket, read)),
        }
    }
}
