//! Plain HTTP beside the relay: Socket.IO's polling, SignalR's negotiation, the page itself.

use std::sync::OnceLock;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderValue, StatusCode, Uri, header, request, response};

use super::{Relay, headers, status_of};
use crate::config::HostHeader;
use crate::policy::balance::Sign;
use crate::supervision::relay::applications::{Lease, NotReached, Reached};
use crate::transport::http_proxy::{self, Forwarding, NotPassed};
use crate::transport::socket::{AnySocket, SocketName, Transport};

impl Relay {
    /// Passes one plain request on, which `read_ahead` begins with, and its answer back.
    pub(in crate::supervision) async fn proxy(
        &self,
        client: AnySocket,
        read_ahead: Bytes,
        peer: &SocketName,
    ) {
        let forwarding = Proxying { relay: self, peer, lease: OnceLock::new() };
        http_proxy::pass(client, read_ahead, self.settings.http_timeout, &forwarding).await;
    }
}

/// One request on its way.
struct Proxying<'a> {
    relay: &'a Relay,
    peer: &'a SocketName,
    /// There once an application is connected to.
    lease: OnceLock<Lease>,
}

impl Forwarding for Proxying<'_> {
    async fn connect(&self, request: &mut request::Parts) -> Result<Box<dyn Transport>, NotPassed> {
        let not_passed = |status, text| NotPassed { status, text };
        let host = match (request.uri.authority(), request.headers.get(header::HOST)) {
            (Some(authority), _) => authority.to_string(),
            (None, Some(host)) => String::from_utf8_lossy(host.as_bytes()).into_owned(),
            (None, None) => String::new(),
        };
        // In origin form (RFC 9112 section 3.2.1): the application is no proxy.
        let target = request.uri.path_and_query().cloned();
        let target = target.unwrap_or_else(|| PathAndQuery::from_static("/"));
        request.headers = headers::of_request(&request.headers, &host, self.peer, None);
        request.uri = Uri::from(target);
        request.version = http::Version::HTTP_11;

        let unavailable = StatusCode::SERVICE_UNAVAILABLE;
        match self.relay.applications.reach(self.peer.ip()).await {
            Ok(Reached { application, connected, lease, .. }) => {
                let preserved = HeaderValue::from_str(&host).ok().filter(|host| !host.is_empty());
                let host = match self.relay.settings.host {
                    HostHeader::Preserve => preserved,
                    HostHeader::Upstream => None,
                };
                let host = host.unwrap_or_else(|| application.upstream.authority());
                request.headers.insert(header::HOST, host);
                // There is one request.
                let _ = self.lease.set(lease);
                Ok(connected.transport)
            }
            Err(NotReached::Draining) => {
                Err(not_passed(unavailable, "the application is about to stop: try again"))
            }
            Err(NotReached::TooMany(_)) => {
                let text = "too many requests wait for the application: try again";
                Err(not_passed(unavailable, text))
            }
            Err(NotReached::Failed(_, failed)) => {
                tracing::debug!(detail = failed.detail, "not proxied");
                Err(not_passed(status_of(&failed), "the application cannot be reached"))
            }
        }
    }

    fn answer(&self, answer: &mut response::Parts) {
        // Its status is about one page, not about the application.
        if let Some(lease) = self.lease.get() {
            lease.saw(Sign::Answered);
        }
        let length = answer.headers.get(header::CONTENT_LENGTH).cloned();
        answer.headers = headers::of_answer(&answer.headers);
        // The answer to HEAD says how long another would be.
        if let Some(length) = length {
            answer.headers.insert(header::CONTENT_LENGTH, length);
        }
    }
}
