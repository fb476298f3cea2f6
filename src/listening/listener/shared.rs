//! The listener that its attempts share, their client, and the outcome of their checks.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::watch;

use super::visitor::Visitor;
use crate::connection::budget::MemoryBudget;
use crate::listening::route::Route;
use crate::node::Node;
use crate::node::slots::ConnectionSlot;
use crate::policy::masking;
use crate::settings::Proxies;
use crate::transport::opening_handshake::RequestFacts;
use crate::transport::tls::ServerTls;
use crate::vocabulary::{ConnectionId, Direction, Grant, Origin};

/// The recorded backend of a relayed connection.
pub(super) const RELAY: &str = "relay";

/// A listener as it is for the sockets that it accepts now: each attempt keeps the one that it began
/// with, so that it is not decided by the routes of two configurations.
#[derive(Clone)]
pub(crate) struct Listener {
    pub(crate) name: String,
    pub(crate) node: Arc<Node>,
    pub(crate) routes: Arc<[Route]>,
    pub(crate) budget: Arc<MemoryBudget>,
    pub(crate) tls: Option<Arc<ServerTls>>,
    /// The parameters of queries that hold tokens, which are never recorded.
    pub(crate) token_parameters: Vec<String>,
    pub(crate) proxies: Proxies,
    /// What has replaced this one.
    pub(crate) latest: Weak<Latest>,
}

/// The listener as it is now.
pub(crate) type Latest = watch::Sender<Arc<Listener>>;

/// A request that passed all checks.
pub(super) struct Decision {
    pub(super) slot: ConnectionSlot,
    /// The slot of the connection to the application, if the route is a relay.
    pub(super) upstream_slot: Option<ConnectionSlot>,
    pub(super) route: Route,
    /// The id of the connection to come.
    pub(super) id: ConnectionId,
    pub(super) subject: Option<String>,
    pub(super) tags: BTreeMap<String, String>,
    /// What it is admitted with.
    pub(super) grant: Option<Grant>,
}

impl Listener {
    /// Replaces the routes.
    pub(crate) fn set_routes(&mut self, routes: Vec<Route>) {
        let auths = routes.iter().filter_map(Route::auth);
        let parameters = auths.flat_map(|auth| auth.query_parameters()).map(str::to_owned);
        self.token_parameters = parameters.collect();
        self.routes = routes.into();
    }

    /// Returns the listener as it is now.
    pub(super) fn latest(self: &Arc<Self>) -> Arc<Self> {
        let latest = self.latest.upgrade().map(|latest| Arc::clone(&latest.borrow()));
        latest.unwrap_or_else(|| Arc::clone(self))
    }

    /// Returns the time limit of opening handshakes.
    pub(super) fn timeout(&self) -> Duration {
        self.node.settings().handshake_timeout
    }

    /// Returns the first route that matches.
    pub(super) fn route_of(&self, host: Option<&str>, path: &str) -> Option<&Route> {
        self.routes.iter().find(|route| route.matches(host, path))
    }

    pub(super) fn origin(
        &self,
        visitor: &Visitor,
        request: Option<&RequestFacts>,
        route: Option<&Route>,
    ) -> Origin {
        let mut origin = Origin::new(Direction::Inbound);
        origin.listener = Some(self.name.clone());
        origin.peer = Some(visitor.peer.to_string());
        origin.via = visitor.via.as_ref().map(ToString::to_string);
        origin.local_addr = visitor.local.as_ref().map(ToString::to_string);
        origin.tls = visitor.tls.map(str::to_owned);
        origin.subject.clone_from(&visitor.subject);
        origin.route = route.map(|route| route.name.clone());
        if let Some(request) = request {
            let settings = self.node.settings();
            let records = route.map_or(&settings.records, |route| &route.settings.records);
            let target = masking::without_values(&request.target, &self.token_parameters);
            origin.path = Some(records.recorded_path(&target));
            let text = |text: &Option<String>| text.as_deref().map(masking::record_text);
            origin.host = text(&request.host);
            origin.user_agent = text(&request.user_agent);
            origin.traceparent = text(&request.traceparent);
        }
        origin
    }
}
