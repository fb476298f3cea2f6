//! The opening of a relay: the client gets its 101 only after the application has answered 101.

mod headers;
mod proxying;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use tokio::sync::Semaphore;

use super::Losses;
use crate::config::{ConnectionSettings, HostHeader, OnClientLost, PlainHttp, RelayBackend};
use crate::contract::masking;
use crate::supervision::listener::masking_of;
use crate::transport::dial::{FailedDial, InvalidUrl};
use crate::transport::opening_handshake::{
    self, Agreement, FailedOpening, Opened, Passed, Refusal, Request, Subprotocol, extension_name,
    extensions,
};
use crate::transport::socket::{AnySocket, SocketName};
use crate::transport::upstream::{self, Connected};
use crate::vocabulary::{ConnectionId, Limit, OpenFailure, Upstream};

/// How much of the body of a refusal is passed on, in bytes.
const REFUSAL_BODY: usize = 64 * 1024;

/// How a client is asked to wait when the application has too much to do.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// An application that connections are passed on to, and what is under way there.
#[derive(Debug)]
pub struct Relay {
    upstream: upstream::Upstream,
    settings: RelayBackend,
    pending: Semaphore,
    /// The source address whose turn it is.
    turn: AtomicUsize,
}

/// A client that is to be passed on.
pub(in crate::supervision) struct Offer<'a> {
    /// What its leg will be called.
    pub(in crate::supervision) id: ConnectionId,
    pub(in crate::supervision) peer: &'a SocketName,
    pub(in crate::supervision) request: &'a Request,
    /// What the client is to be answered if it is taken.
    pub(in crate::supervision) agreement: Agreement,
    /// The subprotocols that may be offered on; all, if there are none.
    pub(in crate::supervision) subprotocols: &'a [String],
    pub(in crate::supervision) settings: &'a ConnectionSettings,
}

/// An application that has answered 101.
pub(in crate::supervision) struct Application {
    pub(in crate::supervision) socket: AnySocket,
    pub(in crate::supervision) read_ahead: Bytes,
    pub(in crate::supervision) upstream: Upstream,
    /// What the client is to be answered.
    pub(in crate::supervision) agreement: Agreement,
    pub(in crate::supervision) subprotocol: Option<String>,
    /// The reserved bits that were agreed on.
    pub(in crate::supervision) allowed_rsv: u8,
}

/// Why a client is not passed on.
pub(in crate::supervision) struct Unopened {
    pub(in crate::supervision) refusal: Refusal,
    pub(in crate::supervision) limit: Option<Limit>,
    pub(in crate::supervision) upstream: Upstream,
}

impl Relay {
    /// Makes the relay to an application.
    ///
    /// # Errors
    /// A URL that cannot be dialled.
    pub fn new(settings: RelayBackend) -> Result<Arc<Self>, InvalidUrl> {
        Ok(Arc::new(Self {
            upstream: settings.url.as_str().parse()?,
            pending: Semaphore::new(settings.max_pending as usize),
            turn: AtomicUsize::new(0),
            settings,
        }))
    }

    pub(in crate::supervision) fn losses(&self) -> Losses {
        let on_client_lost = match self.settings.on_client_lost {
            OnClientLost::Abort => None,
            OnClientLost::Close(code) => Some(code),
        };
        Losses { on_client_lost, on_backend_lost: self.settings.on_backend_lost }
    }

    /// Tells whether a request goes to the application as plain HTTP.
    pub(in crate::supervision) fn takes_plain(&self, request: &Request) -> bool {
        let plain = !request.asks_for_websocket() && request.method() != Method::CONNECT;
        self.settings.http == PlainHttp::Proxy && plain
    }

    pub(in crate::supervision) fn checks_utf8(&self) -> bool {
        self.settings.check_utf8
    }

    /// Returns what holds for the application's leg: as for the client's, but for the sizes.
    pub(in crate::supervision) fn settings_of_leg(
        &self,
        client: &ConnectionSettings,
    ) -> ConnectionSettings {
        let mut settings = client.clone();
        settings.limits.max_message_size = self.settings.max_message_size;
        settings.limits.max_frame_size = self.settings.max_message_size;
        settings.limits.messages_per_second = 0;
        settings
    }

    /// Asks the application. Cancel safe: dropped, the attempt is dropped with it.
    pub(in crate::supervision) async fn open(
        &self,
        offer: Offer<'_>,
    ) -> Result<Application, Box<Unopened>> {
        let records = &offer.settings.records;
        let url = self.settings.url.as_str();
        let url = masking::record_url(url, masking_of(records), &records.query_keep);
        let mut upstream = Upstream { url, addr: None, connect: None, status: None };
        match self.ask(&offer, &mut upstream).await {
            Ok(opened) => {
                let deflates = extensions(&opened.headers).next().is_some();
                let agreement = offer
                    .agreement
                    .subprotocol(opened.subprotocol.clone())
                    .passing(headers::of_agreement(&opened.headers));
                Ok(Application {
                    socket: opened.socket,
                    read_ahead: opened.read_ahead,
                    upstream,
                    agreement,
                    subprotocol: opened.subprotocol.map(String::from),
                    // The only extension that is offered on uses RSV1 (RFC 7692 section 6).
                    allowed_rsv: if deflates { 0b100 } else { 0 },
                })
            }
            Err((refusal, limit)) => Err(Box::new(Unopened { refusal, limit, upstream })),
        }
    }

    async fn ask(
        &self,
        offer: &Offer<'_>,
        upstream: &mut Upstream,
    ) -> Result<Opened<AnySocket>, (Refusal, Option<Limit>)> {
        let Ok(_pending) = self.pending.try_acquire() else {
            let limit = u64::from(self.settings.max_pending);
            let limit = Limit { name: "max_pending", limit, observed: limit };
            return Err((too_many(&limit), Some(limit)));
        };
        let request = self.request(offer).map_err(|refusal| (refusal, None))?;
        let connected = self.connect().await.map_err(|failed| (unreachable(failed), None))?;
        upstream.addr = Some(connected.addr);
        upstream.connect = Some(connected.connect);
        let opened = opening_handshake::open_or_answer(
            connected.socket,
            request,
            self.settings.response_timeout,
            REFUSAL_BODY,
        );
        match opened.await {
            Ok(opened) => {
                upstream.status = Some(opened.status);
                Ok(opened)
            }
            Err(failed) => {
                upstream.status = failed.status;
                Err((refused(*failed), None))
            }
        }
    }

    /// Makes the request to the application of the client's.
    fn request(&self, offer: &Offer<'_>) -> Result<opening_handshake::ClientRequest, Refusal> {
        let request = offer.request;
        let bad = |what: &str| Refusal::new(StatusCode::BAD_REQUEST, OpenFailure::BadRequest, what);
        let target: PathAndQuery =
            request.target().parse().map_err(|_| bad("the path cannot be passed on"))?;
        let host = match self.settings.host {
            HostHeader::Preserve => {
                request.host().and_then(|host| HeaderValue::from_str(host).ok())
            }
            HostHeader::Upstream => None,
        };
        let offered = |name: &Subprotocol| {
            let allowed = offer.subprotocols;
            allowed.is_empty() || allowed.iter().any(|allowed| allowed == name.as_str())
        };
        let subprotocols = request.subprotocols().into_iter().filter(offered).collect();
        // Any other extension could change frames in ways that the relay cannot follow.
        let extensions = extensions(request.headers())
            .filter(|offer| extension_name(offer).eq_ignore_ascii_case("permessage-deflate"))
            .collect();
        let headers: HeaderMap = headers::of_request(
            request.headers(),
            request.host().unwrap_or_default(),
            offer.peer,
            Some(offer.id),
        );
        let request = self.upstream.request(target, host);
        let request = request.with_headers(headers).map_err(|error| bad(&error.to_string()))?;
        Ok(request.with_subprotocols(subprotocols).with_extensions(extensions))
    }

    async fn connect(&self) -> Result<Connected, FailedDial> {
        let mut tries = self.settings.tries;
        loop {
            tries = tries.saturating_sub(1);
            let sources = &self.settings.source_addresses;
            let source = match sources.len() {
                0 => None,
                len => sources.get(self.turn.fetch_add(1, Ordering::Relaxed) % len).copied(),
            };
            let within = self.settings.connect_timeout;
            match upstream::connect(&self.upstream, within, source).await {
                Ok(connected) => return Ok(connected),
                Err(failed) if tries == 0 => return Err(failed),
                Err(_) => {}
            }
        }
    }
}

fn too_many(limit: &Limit) -> Refusal {
    let text = format!("{} requests wait for the application already: try again", limit.limit);
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, OpenFailure::RefusedLimit, text)
        .retry_after(RETRY_AFTER)
}

fn unreachable(failed: FailedDial) -> Refusal {
    let (status, failure) = match failed.failure {
        OpenFailure::ConnectTimeout => {
            (StatusCode::GATEWAY_TIMEOUT, OpenFailure::BackendUnreachable)
        }
        OpenFailure::PortsExhausted => {
            (StatusCode::SERVICE_UNAVAILABLE, OpenFailure::PortsExhausted)
        }
        _ => (StatusCode::BAD_GATEWAY, OpenFailure::BackendUnreachable),
    };
    told(status, failure, "the application cannot be reached", failed.detail)
}

fn refused(failed: FailedOpening) -> Refusal {
    let (status, failure) = match failed.failure {
        OpenFailure::HandshakeTimeout => {
            (StatusCode::GATEWAY_TIMEOUT, OpenFailure::BackendUnreachable)
        }
        OpenFailure::UpgradeRejected { .. } => {
            (StatusCode::BAD_GATEWAY, OpenFailure::BackendRefused)
        }
        _ => (StatusCode::BAD_GATEWAY, OpenFailure::BackendUnreachable),
    };
    let status_of_answer = failed.status.and_then(|status| StatusCode::from_u16(status).ok());
    match (failed.answer, status_of_answer) {
        (Some(answer), Some(status)) => {
            let text = format!("the application answered {status}");
            let mut refusal = Refusal::new(status, OpenFailure::BackendRefused, text);
            let headers = headers::of_refusal(&answer.headers, answer.body.is_some());
            let body = answer.body.unwrap_or_else(|| Bytes::from(format!("{status}\n")));
            refusal.passed = Some(Box::new(Passed { headers, body }));
            refusal
        }
        _ => told(status, failure, "the application did not open the WebSocket", failed.detail),
    }
}

/// Makes a refusal whose record says more than the client is told: addresses are nobody's business.
fn told(status: StatusCode, failure: OpenFailure, public: &str, detail: String) -> Refusal {
    let mut refusal = Refusal::new(status, failure, detail);
    let mut headers = HeaderMap::new();
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    headers.insert(http::header::CONTENT_TYPE, plain);
    let body = Bytes::from(format!("{public}\n"));
    refusal.passed = Some(Box::new(Passed { headers, body }));
    refusal
}
