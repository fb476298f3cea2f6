//! The application of a dialled connection (the feed) that is relayed.
//!
//! The application is connected before the feed is dialled. Applications restart more often than
//! feeds are down, and feeds count, limit and bill sessions, so no session should be opened that no
//! application uses. The feed is then offered the subprotocol that the application selected, so
//! that both ends speak the same one. The price is that the application sees a session closed at
//! once, with 1001, when the feed cannot be opened.

use std::sync::Arc;
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue};
use tokio::sync::oneshot;

use super::headers::CONNECTION_ID;
use super::{Relay, recorded};
use crate::actor::backend::Backend;
use crate::actor::link::Losses;
use crate::connection::handle::ConnectionHandle;
use crate::node::adoption::{Adoption, Pair};
use crate::node::slots::ConnectionSlot;
use crate::node::{Node, ShutDown};
use crate::protocol::classification::LossKind;
use crate::relay::answered::Answered;
use crate::relay::applications::{ApplicationLease, NotConnected};
use crate::settings::{ConnectionSettings, Records};
use crate::transport::opening_handshake::{FailedOpening, Subprotocol};
use crate::vocabulary::{ConnectionId, Direction, Limit, Message, OpenFailure, Origin, Upstream};

/// An application that has answered 101 and waits for its feed.
pub(crate) struct Waiting {
    application: Answered,
    relay: Arc<Relay>,
}

/// Why no application waits for the feed.
pub(crate) struct NotWaiting {
    pub(crate) failure: OpenFailure,
    /// The application that was tried last.
    pub(crate) upstream: Option<Upstream>,
    /// The application's `Retry-After`.
    pub(crate) retry_after: Option<Duration>,
    pub(crate) detail: String,
}

impl Relay {
    /// Connects to an application that will wait for the feed with this id. Cancel safe: dropping
    /// the future aborts the attempt.
    pub(crate) async fn await_feed(
        self: &Arc<Self>,
        id: ConnectionId,
        subprotocols: Vec<Subprotocol>,
        records: &Records,
    ) -> Result<Waiting, NotWaiting> {
        let reached = match self.applications.connect(None).await {
            Ok(reached) => reached,
            Err(not_connected) => return Err(unreachable(not_connected, records)),
        };
        let mut upstream = reached.record(records);
        let mut headers = HeaderMap::new();
        if let Ok(id) = HeaderValue::try_from(id.to_string()) {
            headers.insert(CONNECTION_ID, id);
        }
        let request = reached.application.upstream.request(PathAndQuery::from_static("/"), None);
        let request = match request.with_headers(headers) {
            Ok(request) => request.with_subprotocols(subprotocols),
            Err(error) => {
                let failure = OpenFailure::BadRequest;
                return Err(NotWaiting::new(failure, Some(upstream), error.to_string()));
            }
        };
        let within = self.settings.response_timeout;
        match reached.request_upgrade(request, within, 0, &mut upstream).await {
            Ok(application) => Ok(Waiting { application, relay: Arc::clone(self) }),
            Err(failed) => Err(refused(*failed, upstream)),
        }
    }

    /// Returns the backend of a relayed feed.
    pub(crate) fn backend(&self) -> Backend {
        // Dialled connections offer no extension.
        Backend::leg(0, self.checks_utf8())
    }
}

impl Waiting {
    /// Waits until the application disconnects. Cancel safe.
    pub(crate) async fn left(&mut self) -> LossKind {
        self.application.left().await
    }

    /// Returns the recorded facts about the application.
    pub(crate) fn upstream(&self) -> &Upstream {
        &self.application.upstream
    }

    /// Returns the subprotocol that the application selected.
    pub(crate) fn subprotocol(&self) -> Option<&Subprotocol> {
        self.application.subprotocol.as_ref()
    }

    /// Hands the application and its feed to the node as the legs of a relay. The feed is sent
    /// `first` before any relayed message.
    pub(crate) async fn adopt(
        self,
        node: &Node,
        feed: Adoption,
        injects: bool,
        first: Vec<Message>,
    ) -> Result<ConnectionHandle, ShutDown> {
        let (adopted, handle) = oneshot::channel();
        let slot = node.slot_for_dialled();
        node.adopt_pair(self.pair(feed, injects, first, adopted, slot))?;
        handle.await.map_err(|_| ShutDown)
    }

    /// Adopts and closes the application's connection, because its feed could not be opened.
    pub(crate) fn dismiss(
        self,
        node: &Node,
        feed: &Origin,
        settings: &ConnectionSettings,
        reason: &str,
    ) {
        let application = self.alone(feed, settings, node.slot_for_dialled());
        node.dismiss(application, reason);
    }

    /// Pairs the application with its feed.
    fn pair(
        self,
        feed: Adoption,
        injects: bool,
        first: Vec<Message>,
        adopted: oneshot::Sender<ConnectionHandle>,
        slot: ConnectionSlot,
    ) -> Pair {
        let losses = Losses { caller: "feed", ..self.relay.losses() };
        let backend = self.relay.backend();
        let (application, lease) = self.leg(&feed.origin, &feed.settings, backend, slot);
        let lease = Box::new(lease);
        Pair { client: feed, application, losses, lease, injects, first, adopted: Some(adopted) }
    }

    /// Makes a connection without a feed, to be closed.
    fn alone(self, feed: &Origin, settings: &ConnectionSettings, slot: ConnectionSlot) -> Adoption {
        self.leg(feed, settings, Backend::discarding(), slot).0
    }

    fn leg(
        self,
        feed: &Origin,
        settings: &ConnectionSettings,
        backend: Backend,
        slot: ConnectionSlot,
    ) -> (Adoption, ApplicationLease) {
        let Self { application, relay } = self;
        let mut origin = Origin::new(Direction::Outbound);
        if let Ok(uri) = application.upstream.url.parse::<http::Uri>() {
            origin.host = uri.authority().map(ToString::to_string);
            origin.path = uri.path_and_query().map(ToString::to_string);
        }
        origin.dialer.clone_from(&feed.dialer);
        origin.backend.clone_from(&feed.backend);
        origin.subprotocol = application.subprotocol.as_ref().map(Subprotocol::recorded);
        application.leg(origin, relay.settings_of_leg(settings), backend, Some(slot))
    }
}

impl NotWaiting {
    fn new(failure: OpenFailure, upstream: Option<Upstream>, detail: String) -> Self {
        Self { failure, upstream, retry_after: None, detail }
    }
}

fn unreachable(why: NotConnected<'_>, records: &Records) -> NotWaiting {
    match why {
        NotConnected::Draining => {
            let detail = "every application is draining".to_owned();
            NotWaiting::new(OpenFailure::RefusedDraining, None, detail)
        }
        NotConnected::TooMany(Limit { limit, .. }) => {
            let detail = format!("{limit} requests wait for the application already");
            NotWaiting::new(OpenFailure::RefusedLimit, None, detail)
        }
        NotConnected::Failed(application, failed) => {
            let failure = recorded(&failed);
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
