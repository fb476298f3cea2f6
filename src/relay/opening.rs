//! Opening a relay: the client gets its 101 only after the application has answered 101.

mod feed;
mod headers;
mod identity;
mod proxying;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, StatusCode};

use super::answered::Answered;
use super::applications::{Application, Applications, NotConnected};
use super::health;
use crate::actor::link::Losses;
use crate::policy::balance::{InstanceView, NoInstance};
use crate::runtime::tasks::{Owned, Task};
use crate::settings::{ByteSize, ConnectionSettings, HostHeader, OnClientLost, RelayBackend};
use crate::transport::connect::FailedConnect;
use crate::transport::dial::InvalidUrl;
use crate::transport::opening_handshake::{
    self, Agreement, AnswerBody, FailedOpening, Passed, Refusal, Request, Subprotocol,
    extension_name, extensions,
};
use crate::transport::socket::SocketName;
use crate::vocabulary::{ConnectionId, Limit, OpenFailure, Upstream};
pub(crate) use feed::{NotWaiting, Waiting};
pub(crate) use headers::Hop;
pub(crate) use identity::Identity;
pub(crate) use proxying::{PlainClient, PlainRoute, Proxying};

/// The bytes of a refusal's body that are buffered; the rest is streamed.
const REFUSAL_BODY: usize = 16 * 1024;

/// The `Retry-After` of clients for whom the application has no capacity.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The applications that a route relays its connections to, with their load and health.
#[derive(Debug)]
pub struct Relay {
    settings: Arc<RelayBackend>,
    applications: Arc<Applications>,
    /// The health task, once it was started.
    watcher: OnceLock<Owned>,
}

/// A client to relay.
pub(crate) struct Offer<'a> {
    /// The id of its leg.
    pub(crate) id: ConnectionId,
    /// The client's address, by which an application may be chosen.
    pub(crate) peer: &'a SocketName,
    /// Who sent the request.
    pub(crate) hop: Hop<'a>,
    pub(crate) request: &'a Request,
    /// The 101 for the client, before the application has its say.
    pub(crate) agreement: Agreement,
    /// The subprotocols that may be offered to the application; if empty, all may.
    pub(crate) subprotocols: &'a [String],
    pub(crate) settings: &'a ConnectionSettings,
}

/// An application that has accepted a client.
pub(crate) struct OpenedRelay {
    pub(crate) application: Answered,
    /// The 101 for the client.
    pub(crate) agreement: Agreement,
    /// The reserved bits that the agreed extensions use.
    pub(crate) allowed_rsv: u8,
    /// The client's subject and tags from the application, or why they are invalid.
    pub(crate) identity: Result<Identity, String>,
}

/// Why a client is not relayed.
pub(crate) struct Unopened {
    pub(crate) refusal: Refusal,
    pub(crate) limit: Option<Limit>,
}

impl Relay {
    /// Makes a relay to one application, or to several that share the clients.
    ///
    /// # Errors
    /// A URL is invalid, or there is none.
    pub fn new(settings: RelayBackend) -> Result<Arc<Self>, InvalidUrl> {
        let settings = Arc::new(settings);
        let applications = Arc::new(Applications::new(Arc::clone(&settings))?);
        Ok(Arc::new(Self { settings, applications, watcher: OnceLock::new() }))
    }

    /// Returns this relay in place of another: the applications that both have keep their state and
    /// their connections, and those that only the other has get no clients any more.
    pub(crate) fn succeeding(&self, other: &Self) -> Arc<Self> {
        let applications = Arc::new(self.applications.succeeding(&other.applications));
        let settings = Arc::clone(&self.settings);
        Arc::new(Self { settings, applications, watcher: OnceLock::new() })
    }

    /// Starts the health task, which runs until the relay is dropped.
    pub(crate) fn watch(&self) {
        self.watcher.get_or_init(|| {
            let applications = Arc::downgrade(&self.applications);
            Owned::spawn(async move {
                Task::new("health").keep(|| health::watch(applications.clone())).await;
            })
        });
    }

    /// Returns the state of each application, in the order of the configuration.
    pub(crate) fn view(&self) -> Vec<InstanceView> {
        self.applications.view()
    }

    /// Returns the configured URLs.
    pub(crate) fn urls(&self) -> impl Iterator<Item = &str> {
        self.applications.all().iter().map(|application| &*application.url)
    }

    /// Stops sending new clients to an application; returns whether it was draining already.
    ///
    /// # Errors
    /// There is no such application.
    pub(crate) fn drain(&self, n: usize) -> Result<bool, NoInstance> {
        Ok(!self.applications.try_change(n, |pool, n| pool.drain(n))?)
    }

    /// Sends clients to an application again.
    ///
    /// # Errors
    /// There is no such application.
    pub(crate) fn resume(&self, n: usize) -> Result<(), NoInstance> {
        self.applications.try_change(n, |pool, n| pool.resume(n)).map(drop)
    }

    pub(crate) fn losses(&self) -> Losses {
        let on_client_lost = match self.settings.on_client_lost {
            OnClientLost::Abort => None,
            OnClientLost::Close(code) => Some(code),
        };
        let on_backend_lost = self.settings.on_backend_lost;
        Losses { on_client_lost, on_backend_lost, caller: "client" }
    }

    pub(crate) fn checks_utf8(&self) -> bool {
        self.settings.check_utf8
    }

    /// Returns the settings of the application's leg: the client's, but for sizes and rate.
    pub(crate) fn settings_of_leg(&self, client: &ConnectionSettings) -> ConnectionSettings {
        let mut settings = client.clone();
        let size = self.settings.max_message_size.unwrap_or(ByteSize::MAX);
        settings.limits.max_message_size = size;
        settings.limits.max_frame_size = size;
        settings.limits.messages_per_second = 0;
        settings.limits.bytes_per_second = ByteSize(0);
        settings
    }

    /// Opens a connection to an application for a client. `asked` is the one that was tried last,
    /// even if the future is dropped. Cancel safe: dropping the future aborts the attempt.
    pub(crate) async fn open(
        &self,
        offer: Offer<'_>,
        asked: &mut Option<Upstream>,
    ) -> Result<OpenedRelay, Box<Unopened>> {
        let opened = self.request_upgrade(offer, asked).await;
        opened.map_err(|(refusal, limit)| Box::new(Unopened { refusal, limit }))
    }

    async fn request_upgrade(
        &self,
        offer: Offer<'_>,
        asked: &mut Option<Upstream>,
    ) -> Result<OpenedRelay, (Refusal, Option<Limit>)> {
        let records = &offer.settings.records;
        let reached = match self.applications.connect(offer.peer.ip()).await {
            Ok(reached) => reached,
            Err(NotConnected::Draining) => return Err((all_draining(), None)),
            Err(NotConnected::TooMany(limit)) => return Err((too_many(&limit), Some(limit))),
            Err(NotConnected::Failed(application, failed)) => {
                *asked = Some(application.record(records));
                return Err((unreachable(failed), None));
            }
        };
        let upstream = asked.insert(reached.record(records));
        let request =
            self.request(&offer, reached.application).map_err(|refusal| (refusal, None))?;
        let within = self.settings.response_timeout;
        let answered = reached.request_upgrade(request, within, REFUSAL_BODY, upstream).await;
        let application = answered.map_err(|failed| (refused(*failed), None))?;
        let deflates = extensions(&application.headers).next().is_some();
        let agreement = offer
            .agreement
            .subprotocol(application.subprotocol.clone())
            .passing(headers::of_agreement(&application.headers));
        // The only extension that is offered uses RSV1 (RFC 7692 section 6).
        let allowed_rsv = if deflates { 0b100 } else { 0 };
        let identity = identity::of_answer(&application.headers);
        Ok(OpenedRelay { application, agreement, allowed_rsv, identity })
    }

    /// Makes the request to an application from the client's request.
    fn request(
        &self,
        offer: &Offer<'_>,
        application: &Application,
    ) -> Result<opening_handshake::ClientRequest, Refusal> {
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
        request.check_subprotocols()?;
        let subprotocols = request.subprotocols().into_iter().filter(offered).collect();
        // Any other extension could change frames in ways that the relay cannot follow.
        let extensions = extensions(request.headers())
            .filter(|offer| extension_name(offer).eq_ignore_ascii_case("permessage-deflate"))
            .collect();
        let headers: HeaderMap = headers::of_request(
            request.headers(),
            request.host().unwrap_or_default(),
            offer.hop,
            Some(offer.id),
        );
        let request = application.upstream.request(target, host);
        let request = request.with_headers(headers).map_err(|error| bad(&error.to_string()))?;
        Ok(request.with_subprotocols(subprotocols).with_extensions(extensions))
    }
}

/// Refuses a client because all applications are draining.
fn all_draining() -> Refusal {
    let text = "the application is about to stop: connect again in a moment";
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, OpenFailure::RefusedDraining, text)
        .retry_after(RETRY_AFTER)
}

fn too_many(limit: &Limit) -> Refusal {
    let text = format!("{} requests wait for the application already: try again", limit.limit);
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, OpenFailure::RefusedLimit, text)
        .retry_after(RETRY_AFTER)
}

fn unreachable(failed: FailedConnect) -> Refusal {
    let (status, failure) = (status_of(&failed), recorded(&failed));
    refusal_hiding(status, failure, "the application cannot be reached", failed.detail)
}

/// Returns the status for a client whose application cannot be reached.
fn status_of(failed: &FailedConnect) -> StatusCode {
    match failed.failure {
        OpenFailure::ConnectTimeout | OpenFailure::HandshakeTimeout => StatusCode::GATEWAY_TIMEOUT,
        OpenFailure::PortsExhausted => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::BAD_GATEWAY,
    }
}

/// Returns the recorded failure of an application that cannot be reached.
fn recorded(failed: &FailedConnect) -> OpenFailure {
    match failed.failure {
        OpenFailure::PortsExhausted => OpenFailure::PortsExhausted,
        _ => OpenFailure::BackendUnreachable,
    }
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
            let body = answer
                .body
                .unwrap_or_else(|| AnswerBody::whole(Bytes::from(format!("{status}\n"))));
            refusal.wait = failed.retry_after;
            refusal.passed = Some(Box::new(Passed { headers, body }));
            refusal
        }
        _ => {
            let public = "the application did not open the WebSocket";
            refusal_hiding(status, failure, public, failed.detail)
        }
    }
}

/// Makes a refusal that shows `public` to the client and records `detail`, which names addresses.
fn refusal_hiding(
    status: StatusCode,
    failure: OpenFailure,
    public: &str,
    detail: String,
) -> Refusal {
    Refusal::new(status, failure, detail).showing(public)
}
