//! The relays of a supervisor, by the names of their routes.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::SystemTime;

use parking_lot::Mutex;

use crate::draining::options::DrainUnderWay;
use crate::listening::route::Route;
use crate::policy::balance::{InstanceState, NoInstance};
use crate::relay::Relay;
use crate::runtime::now;
use crate::settings::Records;
use crate::vocabulary::{BackendState, BackendStatus};

/// The relays of a supervisor; a relay is removed with the last listener that uses it.
#[derive(Default)]
pub(crate) struct Relays {
    by_route: Mutex<BTreeMap<String, Known>>,
}

struct Known {
    relay: Weak<Relay>,
    records: Records,
}

/// A relay in use, with the record settings for its URLs.
pub(crate) struct Entry {
    route: String,
    relay: Arc<Relay>,
    records: Records,
}

/// There is no such application.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoBackend {
    /// No relay route has this name.
    #[error("there is no route {0:?} that relays to an application")]
    NoRoute(String),
    /// The route has fewer applications than that.
    #[error(transparent)]
    NoInstance(#[from] NoInstance),
}

/// Why an application was not drained.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DrainBackendError {
    /// There is no such application.
    #[error(transparent)]
    NoBackend(#[from] NoBackend),
    /// Another drain is under way.
    #[error(transparent)]
    UnderWay(#[from] DrainUnderWay),
}

impl From<NoInstance> for DrainBackendError {
    fn from(error: NoInstance) -> Self {
        Self::NoBackend(error.into())
    }
}

impl Relays {
    /// Adds the relay of a route, if it has one, and starts its health task. A route replaces an
    /// earlier one with the same name.
    pub(crate) fn enter(&self, route: &Route) {
        let Some(relay) = route.application() else { return };
        relay.watch();
        let records = route.settings.records.clone();
        let known = Known { relay: Arc::downgrade(relay), records };
        self.by_route.lock().insert(route.name.clone(), known);
    }

    pub(crate) fn get(&self, route: &str) -> Result<Entry, NoBackend> {
        let known = self.by_route.lock().get(route).and_then(|known| known.entry(route));
        known.ok_or_else(|| NoBackend::NoRoute(route.to_owned()))
    }

    /// Returns the status of all applications, ordered by route.
    pub(crate) fn statuses(&self) -> Vec<BackendStatus> {
        let mut known = self.by_route.lock();
        known.retain(|_, known| known.relay.strong_count() > 0);
        let entries = known.iter().filter_map(|(route, known)| known.entry(route));
        entries.flat_map(|entry| entry.statuses()).collect()
    }
}

impl Known {
    fn entry(&self, route: &str) -> Option<Entry> {
        let relay = self.relay.upgrade()?;
        Some(Entry { route: route.to_owned(), relay, records: self.records.clone() })
    }
}

impl Entry {
    /// Stops sending new clients to an application; returns whether it was draining already.
    pub(crate) fn drain(&self, number: usize) -> Result<bool, NoInstance> {
        self.relay.drain(number)
    }

    /// Sends clients to an application again.
    pub(crate) fn resume(&self, number: usize) -> Result<(), NoInstance> {
        self.relay.resume(number)
    }

    /// Returns the recorded URL of an application.
    pub(crate) fn url(&self, number: usize) -> Option<String> {
        self.urls().into_iter().nth(number)
    }

    fn urls(&self) -> Vec<String> {
        self.relay.urls().map(|url| self.records.recorded_url(url)).collect()
    }

    fn statuses(&self) -> Vec<BackendStatus> {
        let (now, at) = (now(), SystemTime::now());
        let views = self.relay.view().into_iter();
        views
            .zip(self.urls())
            .enumerate()
            .map(|(number, (view, url))| BackendStatus {
                route: self.route.clone(),
                number,
                url,
                state: BackendState::from(view.state),
                ejected_until: match view.state {
                    InstanceState::Ejected { until } => {
                        Some(at + until.saturating_duration_since(now))
                    }
                    InstanceState::Serving | InstanceState::Unhealthy | InstanceState::Draining => {
                        None
                    }
                },
                healthy: view.healthy,
                connections: view.connections,
                failures: view.failures,
                chosen: view.chosen,
                ejections: view.ejections,
            })
            .collect()
    }
}
