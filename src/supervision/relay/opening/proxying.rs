//! Plain HTTP beside the relay: Socket.IO's polling, SignalR's negotiation, the page itself.

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderValue, StatusCode, Uri, header, request, response};

use super::{Relay, headers};
use crate::config::HostHeader;
use crate::transport::http_proxy::{self, Forwarding, NotPassed};
use crate::transport::socket::{AnySocket, SocketName};
use crate::vocabulary::OpenFailure;

impl Relay {
    /// Passes one plain request on, which `read_ahead` begins with, and its answer back.
    pub(in crate::supervision) async fn proxy(
        &self,
        client: AnySocket,
        read_ahead: Bytes,
        peer: &SocketName,
    ) {
        let forwarding = Proxying { relay: self, peer };
        http_proxy::pass(client, read_ahead, self.settings.http_timeout, &forwarding).await;
    }
}

/// One request on its way.
struct Proxying<'a> {
    relay: &'a Relay,
    peer: &'a SocketName,
}

impl Forwarding for Proxying<'_> {
    async fn connect(&self, request: &mut request::Parts) -> Result<AnySocket, NotPassed> {
        let settings = &self.relay.settings;
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
        let preserved = HeaderValue::from_str(&host).ok().filter(|host| !host.is_empty());
        let host = match settings.host {
            HostHeader::Preserve => preserved,
            HostHeader::Upstream => None,
        };
        let host = host.unwrap_or_else(|| self.relay.upstream.authority());
        request.headers.insert(header::HOST, host);
        request.uri = Uri::from(target);
        request.version = http::Version::HTTP_11;

        let Ok(_pending) = self.relay.pending.try_acquire() else {
            let text = "too many requests wait for the application: try again";
            return Err(not_passed(StatusCode::SERVICE_UNAVAILABLE, text));
        };
        match self.relay.connect().await {
            Ok(connected) => Ok(connected.socket),
            Err(failed) => {
                tracing::debug!(upstream = %settings.url, detail = failed.detail, "not proxied");
                let status = match failed.failure {
                    OpenFailure::ConnectTimeout => StatusCode::GATEWAY_TIMEOUT,
                    OpenFailure::PortsExhausted => StatusCode::SERVICE_UNAVAILABLE,
                    _ => StatusCode::BAD_GATEWAY,
                };
                Err(not_passed(status, "the application cannot be reached"))
            }
        }
    }

    fn answer(&self, answer: &mut response::Parts) {
        let length = answer.headers.get(header::CONTENT_LENGTH).cloned();
        answer.headers = headers::of_answer(&answer.headers);
        // The answer to HEAD says how long another would be.
        if let Some(length) = length {
            answer.headers.insert(header::CONTENT_LENGTH, length);
        }
    }
}
