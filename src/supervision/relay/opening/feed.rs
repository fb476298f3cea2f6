//! The application of a connection that is dialled and passed on.
//!
//! It is asked before the feed is dialled. Applications are restarted more often than feeds are
//! down, and a feed counts sessions, limits and bills them: it is not to be bothered with one that
//! serves nobody. And what the application chooses of the subprotocols is what the feed is then
//! offered, so both ends speak the same. The price is a session of the application that is closed at
//! once, with 1001, when the feed cannot be opened.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::sync::oneshot;

use super::Relay;
use crate::config::{ConnectionSettings, Records};
use crate::policy::balance::Sign;
use crate::supervision::backend::Backend;
use crate::supervision::handle::ConnectionHandle;
use crate::supervision::relay::Losses;
use crate::supervision::relay::applications::{Lease, NotReached, Reached};
use crate::supervision::supervisor::{Adoption, Pair};
use crate::transport::opening_handshake::{self, FailedOpening, Subprotocol};
use crate::transport::socket::Transport;
use crate::vocabulary::{
    ConnectionId, Direction, Limit, Message, OpenFailure, Origin, Role, Upstream,
};

const CONNECTION_ID: HeaderName = HeaderName::from_static("lastword-connection-id");

/// An application that has answered 101, and waits for its feed.
pub(crate) struct Waiting {
    transport: Box<dyn Transport>,
    read_ahead: Bytes,
    upstream: Upstream,
    local_addr: Option<String>,
    /// The version of TLS.
    tls: Option<&'static str>,
    /// Held as long as it is connected.
    lease: Lease,
    /// What it has chosen of what it was offered.
    pub(crate) subprotocol: Option<Subprotocol>,
    relay: Arc<Relay>,
}

/// Why an application does not wait for a feed.
pub(crate) struct NotWaiting {
    pub(crate) failure: OpenFailure,
    /// The application that was tried last.
    pub(crate) upstream: Option<Upstream>,
    /// How long it asked to wait (`Retry-After`).
    pub(crate) retry_after: Option<Duration>,
    pub(crate) detail: String,
}

impl Relay {
    /// Asks the application to wait for the feed of this id. Cancel safe: dropped, the attempt is
    /// dropped with it.
    pub(crate) async fn await_feed(
        self: &Arc<Self>,
        id: ConnectionId,
        subprotocols: Vec<Subprotocol>,
        records: &Records,
    ) -> Result<Waiting, NotWaiting> {
        let Reached { application, connected, lease, _pending } =
            match self.applications.reach(None).await {
                Ok(reached) => reached,
                Err(not_reached) => return Err(unreachable(not_reached, records)),
            };
        let mut upstream = application.record(records);
        (upstream.addr, upstream.connect) = (connected.addr, connected.connect);
        let mut headers = HeaderMap::new();
        if let Ok(id) = HeaderValue::try_from(id.to_string()) {
            headers.insert(CONNECTION_ID, id);
        }
        let request = application.upstream.request(PathAndQuery::from_static("/"), None);
        let request = match request.with_headers(headers) {
            Ok(request) => request.with_subprotocols(subprotocols),
            Err(error) => {
                let failure = OpenFailure::BadRequest;
                return Err(NotWaiting::new(failure, Some(upstream), error.to_string()));
            }
        };
        let within = self.settings.response_timeout;
        match opening_handshake::open(connected.transport, request, within).await {
            Ok(opened) => {
                lease.saw(Sign::Answered);
                upstream.status = Some(opened.status);
                Ok(Waiting {
                    transport: opened.socket,
                    read_ahead: opened.read_ahead,
                    upstream,
                    local_addr: connected.local_addr,
                    tls: connected.tls,
                    lease,
                    subprotocol: opened.subprotocol,
                    relay: Arc::clone(self),
                })
            }
            Err(failed) => {
                if let Some(sign) = Sign::of_dial(failed.failure) {
                    lease.saw(sign);
                }
                upstream.status = failed.status;
                Err(refused(*failed, upstream))
            }
        }
    }

    /// Returns the backend of a connection that is passed on, once its application waits.
    pub(crate) fn backend(&self) -> Backend {
        // Dialled connections offer no extension.
        Backend::leg(0, self.checks_utf8())
    }
}

impl Waiting {
    /// Pairs it with its feed. `first` is said to the feed before anything that passes.
    pub(in crate::supervision) fn pair(
        self,
        feed: Adoption,
        injects: bool,
        first: Vec<Message>,
        adopted: oneshot::Sender<ConnectionHandle>,
    ) -> Pair {
        let (relay, backend) = (Arc::clone(&self.relay), self.relay.backend());
        let (application, lease) = self.adoption(&feed.origin, &feed.settings, backend);
        let losses = Losses { caller: "feed", ..relay.losses() };
        Pair { client: feed, application, losses, lease, injects, first, adopted: Some(adopted) }
    }

    /// Makes a connection of it that has no feed and is to be closed.
    pub(in crate::supervision) fn alone(
        self,
        feed: &Origin,
        settings: &ConnectionSettings,
    ) -> Adoption {
        self.adoption(feed, settings, Backend::none()).0
    }

    fn adoption(
        self,
        feed: &Origin,
        settings: &ConnectionSettings,
        backend: Backend,
    ) -> (Adoption, Lease) {
        let Self { transport, read_ahead, upstream, local_addr, tls, lease, subprotocol, relay } =
            self;
        let mut origin = Origin::new(Direction::Outbound);
        if let Ok(uri) = upstream.url.parse::<http::Uri>() {
            origin.host = uri.authority().map(ToString::to_string);
            origin.path = uri.path_and_query().map(ToString::to_string);
        }
        origin.peer.clone_from(&upstream.addr);
        origin.local_addr = local_addr;
        origin.tls = tls.map(str::to_owned);
        origin.dialer.clone_from(&feed.dialer);
        origin.backend.clone_from(&feed.backend);
        origin.subprotocol = subprotocol.map(String::from);
        origin.upstream = Some(upstream);
        let adoption = Adoption {
            id: ConnectionId::new(),
            transport,
            read_ahead,
            role: Role::Client,
            origin: Arc::new(origin),
            settings: Arc::new(relay.settings_of_leg(settings)),
            backend,
            place: None,
        };
        (adoption, lease)
    }
}

impl NotWaiting {
    fn new(failure: OpenFailure, upstream: Option<Upstream>, detail: String) -> Self {
        Self { failure, upstream, retry_after: None, detail }
    }
}

fn unreachable(why: NotReached<'_>, records: &Records) -> NotWaiting {
    match why {
        NotReached::Draining => {
            let detail = "every application is draining".to_owned();
            NotWaiting::new(OpenFailure::RefusedDraining, None, detail)
        }
        NotReached::TooMany(Limit { limit, .. }) => {
            let detail = format!("{limit} requests wait for the application already");
            NotWaiting::new(OpenFailure::RefusedLimit, None, detail)
        }
        NotReached::Failed(application, failed) => {
            let failure = match failed.failure {
                OpenFailure::PortsExhausted => OpenFailure::PortsExhausted,
                _ => OpenFailure::BackendUnreachable,
            };
            let detail = format!("the application cannot be reached: {}", failed.detail);
            NotWaiting::new(failure, Some(application.record(records)), detail)
        }
    }
}

fn refused(failed: FailedOpening, upstream: Upstream) -> NotWaiting {
    let failure = match failed.failure {
        OpenFailure::UpgradeRejected { .. } => OpenFailure::BackendRefused,
        _ => OpenFailure::BackendUnreachable,
    };
    let detail = format!("the application did not open the WebSocket: {}", failed.detail);
    let retry_after = failed.retry_after;
    NotWaiting { retry_after, ..NotWaiting::new(failure, Some(upstream), detail) }
}
