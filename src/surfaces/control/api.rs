//! What all requests share, and how they are answered.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use tokio::sync::{Semaphore, watch};

use super::queries::Queries;
use super::strangers::Strangers;
use super::tokens::Tokens;
use crate::contract::plain_json;
use crate::ledger::Archive;
use crate::manager::Supervisor;
use crate::settings;
use crate::settings::{ConnectionSettings, HostName};
use crate::surfaces::probes::Probes;
use crate::vocabulary::ListenAddress;

/// What the API shows and commands.
pub struct Control {
    /// The connections.
    pub supervisor: Supervisor,
    /// The readable side of the supervisor's ledger.
    pub archive: Arc<dyn Archive>,
    /// What the ledger has to say of itself.
    pub ledger: Arc<dyn Fn() -> LedgerFigures + Send + Sync>,
    /// What probes and scrapers are told.
    pub probes: Probes,
    /// Who may use it; anybody who reaches it, if there are none.
    pub tokens: Tokens,
    /// The section `[control]`.
    pub settings: settings::Control,
    /// The section `[drain]`: what holds where a request says nothing else.
    pub drain: settings::Drain,
    /// What holds for connections that it dials.
    pub dialled: ConnectionSettings,
}

/// What a ledger has to say of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LedgerFigures {
    /// Whether endings outlive the process.
    pub durable: bool,
    /// Endings that could not be stored since the start.
    pub unrecorded: u64,
    /// Connections that the process before left open.
    pub recovered: u64,
}

/// What all requests share. Cloning is cheap.
#[derive(Clone)]
pub(super) struct Api(pub(super) Arc<Shared>);

pub(super) struct Shared {
    pub(super) control: Control,
    pub(super) started_at: SystemTime,
    pub(super) started: Instant,
    /// The hosts that are always listed.
    pub(super) hosts: Vec<HostName>,
    pub(super) queries: Queries,
    pub(super) strangers: Strangers,
    /// Places for streams of events, so that they leave some for everything else.
    pub(super) streams: Arc<Semaphore>,
    /// Likewise for calls that wait for an ending.
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
            Some(ListenAddress::Unix(_)) | None => String::new(),
        };
        let hosts = ["localhost", "127.0.0.1", "[::1]", &own];
        let hosts = hosts.iter().filter_map(|host| host.parse().ok()).collect();
        let places = |part: u32| {
            let places = usize::try_from((control.settings.max_connections / part).max(1));
            Arc::new(Semaphore::new(places.unwrap_or(usize::MAX >> 3)))
        };
        let (streams, waits) = (places(2), places(4));
        Self {
            queries: Queries::new(Arc::clone(&control.archive)),
            control,
            started_at: SystemTime::now(),
            started: Instant::now(),
            hosts,
            strangers: Strangers::default(),
            streams,
            waits,
            stop,
        }
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
        // No record of ours can refuse to be written.
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Answers with JSON that is written already.
pub(super) fn json_text(status: StatusCode, json: String) -> Response {
    // What was stored by an older version may hold more than is safe to look at.
    let mut response = Response::new(Body::from(plain_json::escaped(json)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
