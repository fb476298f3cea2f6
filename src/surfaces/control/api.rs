//! What all requests share, and how they are answered.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION};
use http::{HeaderValue, StatusCode};
use parking_lot::RwLock;
use serde::Serialize;
use tokio::sync::{Semaphore, watch};

use super::queries::Queries;
use super::strangers::Strangers;
use super::tokens::TokenStore;
use crate::contract::plain_json;
use crate::ledger::Archive;
use crate::manager::Supervisor;
use crate::settings;
use crate::settings::{ConnectionSettings, HostName};
use crate::surfaces::probes::Probes;
use crate::surfaces::reloads::Reloads;
use crate::vocabulary::ListenAddress;

/// The parts of the daemon that the API shows and controls.
pub struct Control {
    /// The connections.
    pub supervisor: Supervisor,
    /// The read side of the supervisor's ledger.
    pub archive: Arc<dyn Archive>,
    /// The ledger's figures.
    pub ledger: Arc<dyn Fn() -> LedgerFigures + Send + Sync>,
    /// The answers for probes and scrapers.
    pub probes: Probes,
    /// The tokens; if there are none, every client that reaches the API may use it.
    pub tokens: TokenStore,
    /// The settings, which may change while it is served.
    pub settings: LiveSettings,
    /// Takes requests to reload the configuration.
    pub reloads: Reloads,
    /// When the daemon started.
    pub started: Started,
}

/// When the daemon started.
#[derive(Debug, Clone, Copy)]
pub struct Started {
    pub(super) at: SystemTime,
    pub(super) since: Instant,
}

impl Started {
    /// It starts now.
    pub fn now() -> Self {
        Self { at: SystemTime::now(), since: Instant::now() }
    }
}

/// The settings of the API.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ControlSettings {
    /// The section `[control]`.
    pub control: settings::Control,
    /// The section `[drain]`: the defaults of a drain.
    pub drain: settings::Drain,
    /// The settings of connections that it dials.
    pub dialled: ConnectionSettings,
}

/// The settings of the API as they are now. Clones share them.
///
/// The number of connections and the timeouts of a server, but for that of bodies, stay as they were
/// when it began to serve.
#[derive(Debug, Clone, Default)]
pub struct LiveSettings(Arc<RwLock<Arc<ControlSettings>>>);

impl LiveSettings {
    /// Makes settings that can be replaced.
    pub fn new(settings: ControlSettings) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(settings))))
    }

    /// Changes the settings for requests that come from now on.
    pub fn change(&self, change: impl FnOnce(&mut ControlSettings)) {
        change(Arc::make_mut(&mut self.0.write()));
    }

    /// Returns the settings that hold now.
    pub fn current(&self) -> Arc<ControlSettings> {
        Arc::clone(&self.0.read())
    }
}

/// Figures about a ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LedgerFigures {
    /// Whether endings survive the process.
    pub durable: bool,
    /// The number of endings that could not be stored since the start.
    pub unrecorded: u64,
    /// The number of connections that the previous process left open.
    pub recovered: u64,
}

/// The state shared by all requests. Cloning is cheap.
#[derive(Clone)]
pub(super) struct Api(pub(super) Arc<Shared>);

pub(super) struct Shared {
    pub(super) control: Control,
    /// The hosts that are always allowed.
    pub(super) hosts: Vec<HostName>,
    pub(super) queries: Queries,
    pub(super) strangers: Strangers,
    /// Permits for event streams, limited so that other requests find a connection.
    pub(super) streams: Arc<Semaphore>,
    /// Permits for requests that wait for an ending, limited for the same reason.
    pub(super) waits: Arc<Semaphore>,
    pub(super) stop: watch::Receiver<bool>,
}

impl Shared {
    pub(super) fn new(
        control: Control,
        listen: Option<&ListenAddress>,
        stop: watch::Receiver<bool>,
    ) -> Self {
        let own = match listen {
            Some(ListenAddress::Tcp(address)) if address.is_ipv6() => format!("[{}]", address.ip()),
            Some(ListenAddress::Tcp(address)) => address.ip().to_string(),
            Some(ListenAddress::Unix(_) | ListenAddress::Systemd(_)) | None => String::new(),
        };
        let hosts = ["localhost", "127.0.0.1", "[::1]", &own];
        let hosts = hosts.iter().filter_map(|host| host.parse().ok()).collect();
        let max_connections = control.settings.current().control.max_connections;
        let places = |part: u32| {
            let places = usize::try_from((max_connections / part).max(1));
            Arc::new(Semaphore::new(places.unwrap_or(usize::MAX >> 3)))
        };
        let (streams, waits) = (places(2), places(4));
        Self {
            queries: Queries::new(Arc::clone(&control.archive)),
            control,
            hosts,
            strangers: Strangers::default(),
            streams,
            waits,
            stop,
        }
    }
}

impl Shared {
    /// Returns the settings that hold now.
    pub(super) fn settings(&self) -> Arc<ControlSettings> {
        self.control.settings.current()
    }
}

impl std::ops::Deref for Api {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

/// Answers with a record.
pub(super) fn json(status: StatusCode, record: &impl Serialize) -> Response {
    match plain_json::write(record) {
        Ok(json) => json_text(status, json),
        // Serializing one of our records cannot fail.
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Answers with the record of what was made, and its place.
pub(super) fn created(place: &str, record: &impl Serialize) -> Response {
    let mut response = json(StatusCode::CREATED, record);
    let place = HeaderValue::try_from(place).ok();
    response.headers_mut().extend(place.map(|place| (LOCATION, place)));
    response
}

/// Answers with serialized JSON.
pub(super) fn json_text(status: StatusCode, json: String) -> Response {
    // A record stored by an older version may contain unescaped control characters.
    let mut response = Response::new(Body::from(plain_json::escaped(json)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
